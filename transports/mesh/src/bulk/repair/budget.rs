//! What a peer may still cause: so much at once, and so much more an hour.

const HOUR_MS: u64 = 3_600_000;

/// A store that is drawn from and fills up again with time, never above its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In thousandths, so that little a time adds up.
    store: u64,
    store_max: u64,
    an_hour: u64,
    filled_ms: u64,
}

impl Budget {
    /// A full store of `at_once`, which grows by `an_hour`.
    pub fn new(at_once: u64, an_hour: u64, now_ms: u64) -> Self {
        let store_max = at_once.saturating_mul(1000);
        Self { store: store_max, store_max, an_hour, filled_ms: now_ms }
    }

    /// Draws as much as there is, at most `wanted`.
    pub fn draw(&mut self, now_ms: u64, wanted: u64) -> u64 {
        self.fill(now_ms);
        let drawn = wanted.min(self.store / 1000);
        self.store -= drawn * 1000;
        drawn
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&mut self, now_ms: u64) -> bool {
        self.fill(now_ms);
        self.store < 1000
    }

    /// When there is something to draw again, where the store is empty now.
    pub fn filled_at(&self) -> u64 {
        let lacking = 1000_u64.saturating_sub(self.store);
        self.filled_ms.saturating_add((lacking * HOUR_MS).div_ceil(self.an_hour.max(1) * 1000))
    }

    /// Adds thousandths that were earned.
    pub fn earn(&mut self, thousandths: u64) {
        self.store = self.store.saturating_add(thousandths).min(self.store_max);
    }

    fn fill(&mut self, now_ms: u64) {
        let an_hour = self.an_hour.max(1).saturating_mul(1000);
        let passed = now_ms.saturating_sub(self.filled_ms);
        let grown = passed.saturating_mul(an_hour) / HOUR_MS;
        // Only as far as whole thousandths have grown: what is left of the time counts later.
        let counted = grown.saturating_mul(HOUR_MS).div_ceil(an_hour);
        self.filled_ms = self.filled_ms.saturating_add(counted).min(now_ms.max(self.filled_ms));
        self.earn(grown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_drawn_than_the_store_and_what_grew() {
        let mut budget = Budget::new(10, 20, 0);
        assert_eq!(budget.draw(0, 7), 7);
        assert_eq!(budget.draw(0, 7), 3);
        assert!(budget.is_empty(0));
        let later = budget.filled_at();
        assert!(budget.is_empty(later - 1) && !budget.is_empty(later), "at {later}");
        assert_eq!(budget.draw(later, 7), 1);
        assert_eq!(budget.draw(later + 10 * HOUR_MS, 100), 10);
        let mut often = Budget::new(100, 20, 0);
        assert_eq!(often.draw(0, 100), 100);
        let drawn: u64 = (1..=36_000).map(|tick| often.draw(tick * 100, 1)).sum();
        assert!((19..=20).contains(&drawn), "{drawn} in an hour");
    }
}
