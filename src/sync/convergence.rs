//! How long a difference between a peer and this node has lasted: from the new state of a layer, on either side, to the peer's own
//! heartbeat that shows both alike. Counted since the start, over sessions.

use std::collections::BTreeMap;

use super::frontier::Frontier;
use crate::layer::LayerHash;
use crate::time::{Millis, Mono};

/// The upper bounds of the classes, seconds; a last class has none.
const CONVERGENCE_BOUNDS_S: [u64; 9] = [1, 5, 15, 30, 60, 300, 1_800, 7_200, 86_400];

/// Differences that have ended, in classes of how long they lasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvergenceTimes {
    counts: [u64; CONVERGENCE_BOUNDS_S.len() + 1],
    sum: Millis,
}

impl ConvergenceTimes {
    /// A peer has shown what it holds: the differences that are gone have ended now.
    pub(super) fn record_ended(
        &mut self,
        now: Mono,
        differs_since: &mut BTreeMap<LayerHash, Mono>,
        ours: &Frontier,
        theirs: &Frontier,
    ) {
        differs_since.retain(|layer, since| {
            let differs = ours.get(layer) != theirs.get(layer);
            if !differs {
                self.record(now.since(*since));
            }
            differs
        });
    }

    /// A difference has ended.
    fn record(&mut self, lasted: Millis) {
        let is_within = |bound: &u64| lasted <= Millis::from_secs(*bound);
        let class = CONVERGENCE_BOUNDS_S.iter().position(is_within).unwrap_or(CONVERGENCE_BOUNDS_S.len());
        if let Some(count) = self.counts.get_mut(class) {
            *count += 1;
        }
        self.sum += lasted;
    }

    /// Each class with its upper bound in seconds, the last without.
    pub fn classes(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = CONVERGENCE_BOUNDS_S.into_iter().map(Some).chain([None]);
        bounds.zip(self.counts)
    }

    /// How long all of them lasted together.
    pub fn sum(&self) -> Millis {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_in_the_class_of_its_length() {
        let mut times = ConvergenceTimes::default();
        for ms in [0, 1_000, 1_001, 90_000_000] {
            times.record(Millis::from_ms(ms));
        }
        let classes: Vec<_> = times.classes().filter(|(_, count)| *count > 0).collect();
        assert_eq!(classes, [(Some(1), 2), (Some(5), 1), (None, 1)]);
        assert_eq!(times.sum(), Millis::from_ms(90_002_001));
    }
}
