//! How soon the document of outcomes is signed again. Its content follows what others ask for, so a peer that asks often would
//! otherwise decide how often this node signs, and how much it sends to all readers of the document.

use crate::time::{Millis, Mono};

/// The wait after a first publication, and the longest.
const OUTCOMES_PACE: (Millis, Millis) = (Millis::from_secs(2), Millis::from_secs(10 * 60));

/// The time of the last publication, and how long the next has to wait. What changes meanwhile goes out with it.
///
/// A publication that follows soon doubles the wait; after a quiet time of twice the wait the first is back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutcomesPace {
    last: Option<(Mono, Millis)>,
}

impl OutcomesPace {
    /// Before this instant nothing is published; `None`: it may be at once.
    pub(super) fn due(&self) -> Option<Mono> {
        self.last.map(|(at, wait)| at + wait)
    }

    /// Something is published now.
    pub(super) fn published(&mut self, now: Mono) {
        let (first, longest) = OUTCOMES_PACE;
        let wait = match self.last {
            Some((at, wait)) if now < at + wait * 3 => (wait * 2).min(longest),
            Some(_) | None => first,
        };
        self.last = Some((now, wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publishes as often as it may, for so long.
    fn greedy(pace: &mut OutcomesPace, from: Mono, span: Millis) -> Vec<Mono> {
        let (mut now, mut times) = (from, vec![]);
        while now < from + span {
            pace.published(now);
            times.push(now);
            now = pace.due().expect("something was published");
        }
        times
    }

    #[test]
    fn what_changes_all_the_time_is_published_ever_more_rarely() {
        let mut pace = OutcomesPace::default();
        assert_eq!(pace.due(), None, "the first at once");
        let day = greedy(&mut pace, Mono::ZERO, Millis::from_secs(86_400));
        assert!(day.len() <= 10 + 6 * 24, "{} times in a day", day.len());
        let hour = day.iter().filter(|at| **at < Mono::ZERO + Millis::from_secs(3_600)).count();
        assert!(hour <= 15, "{hour} times in the first hour");
    }

    #[test]
    fn after_a_quiet_time_the_first_wait_is_back() {
        let mut pace = OutcomesPace::default();
        let last = greedy(&mut pace, Mono::ZERO, Millis::from_secs(3_600)).pop().unwrap();
        let later = last + Millis::from_secs(30 * 60);
        pace.published(later);
        assert_eq!(pace.due(), Some(later + Millis::from_secs(2)));
    }
}
