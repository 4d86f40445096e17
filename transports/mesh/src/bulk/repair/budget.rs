//! What a peer may still cause: so much at once, and so much more an hour.

use crate::time::{Millis, Mono};

/// As a plain number: rates are counted in thousandths an hour.
const HOUR_MS: u64 = 3_600_000;

/// A store that is drawn from and fills up again with time, never above its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In thousandths, so that little a time adds up.
    store: u64,
    store_max: u64,
    an_hour: u64,
    filled_at: Mono,
}

impl Budget {
    /// A full store of `at_once`, which grows by `an_hour`.
    pub fn new(at_once: u64, an_hour: u64, now: Mono) -> Self {
        let store_max = at_once.saturating_mul(1000);
        Self { store: store_max, store_max, an_hour, filled_at: now }
    }

    /// Draws as much as there is, at most `wanted`.
    pub fn draw(&mut self, now: Mono, wanted: u64) -> u64 {
        self.fill(now);
        let drawn = wanted.min(self.store / 1000);
        self.store -= drawn * 1000;
        drawn
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&mut self, now: Mono) -> bool {
        self.fill(now);
        self.store < 1000
    }

    /// When there is something to draw again, where the store is empty now.
    pub fn filled_at(&self) -> Mono {
        let lacking = 1000_u64.saturating_sub(self.store);
        self.filled_at + Millis::from_ms((lacking * HOUR_MS).div_ceil(self.an_hour.max(1) * 1000))
    }

    /// Adds thousandths that were earned.
    pub fn earn(&mut self, thousandths: u64) {
        self.store = self.store.saturating_add(thousandths).min(self.store_max);
    }

    fn fill(&mut self, now: Mono) {
        let an_hour = self.an_hour.max(1).saturating_mul(1000);
        let passed = now.since(self.filled_at).ms();
        let grown = passed.saturating_mul(an_hour) / HOUR_MS;
        // Only as far as whole thousandths have grown: what is left of the time counts later.
        let counted = Millis::from_ms(grown.saturating_mul(HOUR_MS).div_ceil(an_hour));
        self.filled_at = (self.filled_at + counted).min(now.max(self.filled_at));
        self.earn(grown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_drawn_than_the_store_and_what_grew() {
        let mut budget = Budget::new(10, 20, Mono::ZERO);
        assert_eq!(budget.draw(Mono::ZERO, 7), 7);
        assert_eq!(budget.draw(Mono::ZERO, 7), 3);
        assert!(budget.is_empty(Mono::ZERO));
        let later = budget.filled_at();
        assert!(budget.is_empty(later - Millis::from_ms(1)) && !budget.is_empty(later), "at {later:?}");
        assert_eq!(budget.draw(later, 7), 1);
        assert_eq!(budget.draw(later + Millis::from_ms(10 * HOUR_MS), 100), 10);
        let mut often = Budget::new(100, 20, Mono::ZERO);
        assert_eq!(often.draw(Mono::ZERO, 100), 100);
        let drawn: u64 = (1..=36_000).map(|tick| often.draw(Mono::from_ms(tick * 100), 1)).sum();
        assert!((19..=20).contains(&drawn), "{drawn} in an hour");
    }
}
