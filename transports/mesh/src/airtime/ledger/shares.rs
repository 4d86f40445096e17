//! What of an hour's budget belongs to which class.
//!
//! Each class has a *share*; what is no class's share is the *pool*. A class spends its share first, then of the pool, so
//!
//! ```text
//! sum over the classes of max(spent, share) <= budget
//! ```
//! holds in every sliding hour: whatever the others send, what a class has not spent of its share is there at once. A share
//! that lies unused is lent to no class: airtime that is spent stays in the sum for an hour, so whatever it lent would be missing
//! when its class needs it within that hour. What can be lent without such a loss is the pool, which is why shares are small.
//!
//! | class | share, per thousand | of the pool |
//! |---|--:|---|
//! | alarm, rights, command | 40 each | all |
//! | document | 200 | all |
//! | upkeep | 60 | three quarters |
//! | control | 60 | a quarter: others provoke much of it |
//! | state | 80 | three quarters |
//! | bulk | 40 | half |
//!
//! What comes by itself (control, upkeep, state, bulk) leaves a quarter of the pool to what people and rights bring about, together
//! as well as each alone. A share holds at least the radio's longest frame, as far as that is no more than a twelfth of the budget.

use super::window::{Spent, total_us};
use super::{HOUR, LedgerConfig, Priority};
use crate::time::Millis;

/// Upkeep may use at most one in so many of the budget.
const UPKEEP_PART: u64 = 5;
/// A share grows up to one in so many of the budget, so that a frame fits it.
const FRAME_PART: u64 = 12;

/// What comes by itself, not because a person or a right asks for it.
const UNASKED: [Priority; 4] = [Priority::Control, Priority::Upkeep, Priority::State, Priority::Bulk];

/// Microseconds of an hour that each class may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) budget_us: u64,
    pub(super) upkeep_us: u64,
    shares_us: Spent,
    pool_us: u64,
    pub(super) dwell: Option<Millis>,
    pub(super) by_law: bool,
}

impl Limits {
    /// The limits under a configuration, of a radio whose longest frame takes so long; `None`: nothing may be sent.
    pub(super) fn new(config: &LedgerConfig, longest_frame_us: u64) -> Option<Self> {
        let rules = config.rules?;
        // A thousandth of a millisecond is a microsecond.
        let of_hour = |permille: u16| HOUR.ms() * u64::from(permille.min(1_000));
        let law_us = of_hour(rules.duty_permille.unwrap_or(1_000));
        let budget_us = law_us.min(of_hour(config.soft_cap_permille));
        let upkeep_us = (budget_us / UPKEEP_PART).min(of_hour(config.upkeep_permille));
        let frame_us = longest_frame_us.min(budget_us / FRAME_PART);
        let share = |class: Priority| (budget_us * class.share_permille() / 1_000).max(frame_us);
        let mut shares_us = Priority::ALL.map(share);
        if let Some(upkeep) = shares_us.get_mut(Priority::Upkeep as usize) {
            *upkeep = upkeep_us.min(*upkeep);
        }
        Some(Limits {
            budget_us,
            upkeep_us,
            shares_us,
            pool_us: budget_us.saturating_sub(total_us(&shares_us)),
            dwell: rules.dwell,
            by_law: rules.duty_permille.is_some() || config.soft_cap_permille < 1_000,
        })
    }

    /// What no other class can spend.
    pub(super) fn share_us(&self, class: Priority) -> u64 {
        at(&self.shares_us, class)
    }

    /// All that a class may have in an hour.
    pub(super) fn whole_us(&self, class: Priority) -> u64 {
        self.left_us(&Spent::default(), class)
    }

    /// What of it is left beside what was spent.
    pub(super) fn left_us(&self, spent: &Spent, class: Priority) -> u64 {
        let beyond = |other: Priority| at(spent, other).saturating_sub(self.share_us(other));
        let beyond_all =
            |classes: &[Priority]| classes.iter().map(|class| beyond(*class)).fold(0, u64::saturating_add);
        let mut common_us = self.pool_us.saturating_sub(beyond_all(&Priority::ALL));
        if UNASKED.contains(&class) {
            let unasked_us = self.pool_us - self.pool_us / 4;
            common_us = common_us.min(unasked_us.saturating_sub(beyond_all(&UNASKED)));
        }
        let most_us = match class {
            Priority::Bulk => self.pool_us / 2,
            Priority::Control => self.pool_us / 4,
            Priority::Alarm
            | Priority::Rights
            | Priority::Command
            | Priority::Upkeep
            | Priority::State
            | Priority::Document => self.pool_us,
        };
        common_us = common_us.min(most_us.saturating_sub(beyond(class)));
        let of_share_us = self.share_us(class).saturating_sub(at(spent, class));
        // What was spent under other rules, or is not known by class, may exceed the shares; the budget it does not.
        let left_us = (of_share_us + common_us).min(self.budget_us.saturating_sub(total_us(spent)));
        match class {
            Priority::Upkeep => left_us.min(self.upkeep_us.saturating_sub(at(spent, class))),
            Priority::Alarm
            | Priority::Control
            | Priority::Rights
            | Priority::Command
            | Priority::State
            | Priority::Document
            | Priority::Bulk => left_us,
        }
    }
}

fn at(spent: &Spent, class: Priority) -> u64 {
    spent.get(class as usize).copied().unwrap_or_default()
}

/// So much of one class and nothing of the others.
pub(super) fn of(class: Priority, airtime_us: u64) -> Spent {
    let mut spent = Spent::default();
    if let Some(of_class) = spent.get_mut(class as usize) {
        *of_class = airtime_us;
    }
    spent
}

/// What was spent, without one class.
pub(super) fn without(spent: &Spent, class: Priority) -> Spent {
    let mut others = *spent;
    if let Some(of_class) = others.get_mut(class as usize) {
        *of_class = 0;
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::airtime::region::{Region, Usage};

    fn limits(longest_frame_us: u64) -> Limits {
        let rules = Region::Eu868.rules(Usage::default()).unwrap();
        Limits::new(&LedgerConfig::new(Some(rules)), longest_frame_us).unwrap()
    }

    #[test]
    fn shares_and_pool_are_the_budget_and_a_frame_fits_each_share() {
        for longest_us in [0, 2_200_000, 9_000_000] {
            let limits = limits(longest_us);
            assert_eq!(limits.budget_us, 36_000_000);
            assert_eq!(total_us(&limits.shares_us) + limits.pool_us, limits.budget_us);
            assert!(limits.pool_us >= limits.budget_us / 5, "{limits:?}");
            for class in Priority::ALL {
                assert!(limits.share_us(class) >= longest_us.min(3_000_000), "{class:?}: {limits:?}");
            }
        }
    }

    #[test]
    fn what_comes_by_itself_leaves_a_quarter_of_the_pool_and_bulk_a_half() {
        let limits = limits(0);
        let pool_us = limits.pool_us;
        let beyond_share = |class| limits.whole_us(class) - limits.share_us(class);
        assert_eq!(beyond_share(Priority::Document), pool_us);
        assert_eq!(beyond_share(Priority::State), pool_us - pool_us / 4);
        assert_eq!(beyond_share(Priority::Bulk), pool_us / 2);
        assert_eq!(beyond_share(Priority::Control), pool_us / 4);
        assert_eq!(limits.whole_us(Priority::Upkeep), limits.upkeep_us);
        let states = of(Priority::State, limits.whole_us(Priority::State));
        assert_eq!(limits.left_us(&states, Priority::Bulk), limits.share_us(Priority::Bulk));
        assert_eq!(
            limits.left_us(&states, Priority::Document),
            limits.share_us(Priority::Document) + pool_us / 4
        );
    }
}
