//! What was spent in the last hour, in a bounded number of slices.

use crate::time::Mono;
use std::collections::VecDeque;

use super::record::Slice;

/// Slices kept in memory. When one more comes, the two neighbours that are closest together become one that ends
/// with the later. With n slices over the hour some pair of neighbours spans at most 2/n of it, so a frame is
/// counted 15 s too long at most.
pub const SLICES_MAX: usize = 512;
/// Slices written to disk, likewise: a frame is counted two minutes too long at most after a restart.
pub(super) const SLICES_RECORDED_MAX: usize = 64;

/// Microseconds by priority, in the order of [`Priority::ALL`](super::Priority::ALL).
pub(super) type Spent = [u64; super::PRIORITIES];

pub(super) fn total_us(spent: &Spent) -> u64 {
    spent.iter().fold(0, |sum, us| sum.saturating_add(*us))
}

fn add(to: &mut Spent, spent: &Spent) {
    to.iter_mut().zip(spent).for_each(|(to, us)| *to = to.saturating_add(*us));
}

/// Frames that leave the sum together.
#[derive(Clone, Debug)]
struct AirtimeSpan {
    /// When the first of them could have left it.
    first_at: Mono,
    expires_at: Mono,
    spent: Spent,
}

/// Slices in the order in which they leave the sum, and the sum.
#[derive(Clone, Debug, Default)]
pub(super) struct HourWindow {
    spans: VecDeque<AirtimeSpan>,
    spent: Spent,
}

impl HourWindow {
    /// What is in the sum.
    pub(super) fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Adds what leaves the sum at that time.
    pub(super) fn push(&mut self, expires_at: Mono, spent: Spent) {
        let at = self.spans.partition_point(|span| span.expires_at <= expires_at);
        self.spans.insert(at, AirtimeSpan { first_at: expires_at, expires_at, spent });
        if self.spans.len() > SLICES_MAX {
            merge_closest(&mut self.spans);
        }
        self.sum_up();
    }

    /// Takes back what leaves the sum at that time; false if it has left or is not there.
    pub(super) fn take_back(&mut self, expires_at: Mono, spent: Spent) -> bool {
        let holds = |span: &AirtimeSpan| {
            (span.first_at..=span.expires_at).contains(&expires_at)
                && span.spent.iter().zip(&spent).all(|(held, us)| held >= us)
        };
        let Some(span) = self.spans.iter_mut().find(|span| holds(span)) else { return false };
        span.spent.iter_mut().zip(&spent).for_each(|(held, us)| *held = held.saturating_sub(*us));
        self.sum_up();
        true
    }

    /// Lets go what has left the sum.
    pub(super) fn expire(&mut self, now: Mono) {
        let before = self.spans.len();
        while self.spans.front().is_some_and(|span| span.expires_at <= now) {
            self.spans.pop_front();
        }
        if self.spans.len() < before {
            self.sum_up();
        }
    }

    /// Summed again rather than kept by difference: a saturated sum must not come down too early.
    fn sum_up(&mut self) {
        self.spent = Spent::default();
        self.spans.iter().for_each(|span| add(&mut self.spent, &span.spent));
    }

    /// When what remains in the sum first satisfies the condition; the clock's zero if it does now. An empty sum must.
    pub(super) fn when(&self, enough: impl Fn(&Spent) -> bool) -> Mono {
        if enough(&self.spent) {
            return Mono::ZERO;
        }
        // What is still in the sum after each slice has left, from the last one back.
        let mut remaining = Spent::default();
        let mut at = Mono::ZERO;
        for span in self.spans.iter().rev() {
            if !enough(&remaining) {
                break;
            }
            at = span.expires_at;
            add(&mut remaining, &span.spent);
        }
        at
    }

    /// The sum in at most [`SLICES_RECORDED_MAX`] slices, for a record.
    pub(super) fn coarse(&self, now: Mono) -> Vec<Slice> {
        let mut spans = self.spans.clone();
        while spans.len() > SLICES_RECORDED_MAX {
            merge_closest(&mut spans);
        }
        let slice = |span: &AirtimeSpan| Slice { left: span.expires_at.since(now), spent_us: span.spent };
        spans.iter().map(slice).collect()
    }
}

/// Makes one of the two neighbours that span least.
fn merge_closest(spans: &mut VecDeque<AirtimeSpan>) {
    let pairs = spans.iter().zip(spans.iter().skip(1));
    let widths = pairs.map(|(early, late)| late.expires_at.since(early.first_at));
    let Some((at, _)) = widths.enumerate().min_by_key(|(_, width)| *width) else { return };
    if let Some(early) = spans.remove(at)
        && let Some(late) = spans.get_mut(at)
    {
        late.first_at = late.first_at.min(early.first_at);
        add(&mut late.spent, &early.spent);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Priority;
    use super::super::shares::of;
    use super::*;
    use crate::time::Millis;

    #[test]
    fn slices_stay_few_and_let_nothing_go_early_nor_much_late() {
        let mut window = HourWindow::default();
        let hour = super::super::HOUR;
        // Four frames a second for an hour: far more than there are slices.
        for n in 0..14_400 {
            let now = Mono::from_ms(n * 250);
            window.expire(now);
            window.push(now + hour, of(Priority::State, 1));
            assert!(window.spans.len() <= SLICES_MAX);
        }
        for span in &window.spans {
            assert!(span.expires_at.since(span.first_at) <= Millis::from_secs(15), "{span:?}");
        }
        assert_eq!(total_us(window.spent()), 14_400);
        window.expire(Mono::ZERO + hour);
        assert_eq!(total_us(window.spent()), 14_400);
        let coarse = window.coarse(Mono::ZERO + hour);
        assert!(coarse.len() <= SLICES_RECORDED_MAX);
        assert_eq!(
            coarse.iter().map(|slice| total_us(&slice.spent_us)).sum::<u64>(),
            total_us(window.spent())
        );
    }

    #[test]
    fn the_sum_is_free_when_enough_has_left_it() {
        let mut window = HourWindow::default();
        for (expires_at, us) in [(300, 3), (100, 1), (200, 2)] {
            window.push(Mono::from_ms(expires_at), of(Priority::Alarm, us));
        }
        let below = |most: u64| window.when(move |spent| total_us(spent) <= most);
        assert_eq!(
            [below(6), below(5), below(4), below(3), below(2), below(0)],
            [0, 100, 200, 200, 300, 300].map(Mono::from_ms)
        );
    }
}
