//! The pace at which a class sends, so that it is never without airtime for long: budget left over time left.
//!
//! A class may have so much of an hour (`of_hour_us`, which [`Ledger::of_hour_us`](super::ledger::Ledger::of_hour_us) knows and which
//! changes with what the others send). A quarter of that it may spend at once; the other three quarters come back evenly over the hour.
//! Both together are no more than the class may have, so at this pace the ledger never makes it wait.
//!
//! What comes by itself leaves half of that quarter to what brings news.

use super::ledger::HOUR;
use crate::time::{Millis, Mono};

/// One in so many of what a class may have of an hour may be spent at once.
const AT_ONCE_PART: u64 = 4;

/// How urgent a message is within its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It brings what comes by itself, like the figures of the minute.
    Routine,
    /// It brings what a person would want to know now.
    News,
}

/// What a class has spent of what it may spend at once.
#[derive(Clone, Copy, Debug)]
pub struct ClassPace {
    debt_us: u64,
    at: Mono,
}

impl ClassPace {
    /// A class that has sent nothing.
    pub fn new(now: Mono) -> Self {
        ClassPace { debt_us: 0, at: now }
    }

    /// The time between two frames of this time on air, where nothing may be spent at once; `None`: for ever.
    pub fn interval(of_hour_us: u64, airtime_us: u64) -> Option<Millis> {
        let ms = (u128::from(airtime_us) * u128::from(HOUR.ms()))
            .checked_div(u128::from(repaid_us(of_hour_us)))?;
        u64::try_from(ms).ok().map(Millis::from_ms)
    }

    /// How long a frame of this time on air has to wait, where the class may have so much of an hour.
    pub fn wait(&self, now: Mono, of_hour_us: u64, airtime_us: u64, urgency: Urgency) -> Millis {
        let at_once_us = of_hour_us / AT_ONCE_PART;
        let most_us = match urgency {
            Urgency::Routine => at_once_us / 2,
            Urgency::News => at_once_us,
        };
        // What is longer than all that may be spent at once leaves when nothing is owed.
        let bearable_us = most_us.saturating_sub(airtime_us);
        let over_us = self.debt_at(now, of_hour_us).saturating_sub(bearable_us);
        match u64::try_from(
            u128::from(over_us) * u128::from(HOUR.ms()) / u128::from(repaid_us(of_hour_us).max(1)),
        ) {
            Ok(ms) if over_us > 0 => Millis::from_ms(ms.saturating_add(1).min(HOUR.ms())),
            Ok(_) => Millis::ZERO,
            Err(_) => HOUR,
        }
    }

    /// A frame was sent.
    pub fn spend(&mut self, now: Mono, of_hour_us: u64, airtime_us: u64) {
        // More is not owed than an hour repays.
        let debt_us = self.debt_at(now, of_hour_us).saturating_add(airtime_us);
        *self =
            ClassPace { debt_us: debt_us.min(repaid_us(of_hour_us).max(airtime_us)), at: self.at.max(now) };
    }

    fn debt_at(&self, now: Mono, of_hour_us: u64) -> u64 {
        let passed = now.since(self.at).ms().min(HOUR.ms());
        let repaid_us = u128::from(repaid_us(of_hour_us)) * u128::from(passed) / u128::from(HOUR.ms());
        self.debt_us.saturating_sub(u64::try_from(repaid_us).unwrap_or(u64::MAX))
    }
}

/// What an hour gives back.
fn repaid_us(of_hour_us: u64) -> u64 {
    of_hour_us - of_hour_us / AT_ONCE_PART
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OF_HOUR_US: u64 = 16_000_000;

    #[test]
    fn routine_leaves_room_for_news_and_both_go_on_for_ever() {
        let mut pace = ClassPace::new(Mono::ZERO);
        let mut now = Mono::ZERO;
        let mut waits = Vec::new();
        for _ in 0..60 {
            let wait = pace.wait(now, OF_HOUR_US, 1_000_000, Urgency::Routine);
            now += wait;
            pace.spend(now, OF_HOUR_US, 1_000_000);
            waits.push(wait);
        }
        // Two at once, then one each five minutes.
        assert_eq!(waits[..2], [Millis::ZERO; 2]);
        assert!(waits[2..].iter().all(|wait| (299_000..=301_000).contains(&wait.ms())), "{waits:?}");
        assert!(pace.wait(now, OF_HOUR_US, 1_000_000, Urgency::Routine) > Millis::ZERO);
        for _ in 0..2 {
            assert_eq!(pace.wait(now, OF_HOUR_US, 1_000_000, Urgency::News), Millis::ZERO);
            pace.spend(now, OF_HOUR_US, 1_000_000);
        }
        assert!(pace.wait(now, OF_HOUR_US, 1_000_000, Urgency::News) > Millis::from_secs(200));
    }

    #[test]
    fn the_interval_is_that_of_a_class_that_always_has_something_to_send() {
        assert_eq!(ClassPace::interval(OF_HOUR_US, 1_000_000), Some(Millis::from_secs(300)));
        assert_eq!(ClassPace::interval(0, 1), None);
    }

    #[test]
    fn a_frame_longer_than_all_leaves_when_nothing_is_owed_and_no_budget_waits_an_hour_at_most() {
        let mut pace = ClassPace::new(Mono::ZERO);
        assert_eq!(pace.wait(Mono::ZERO, 100, 5_000_000, Urgency::Routine), Millis::ZERO);
        pace.spend(Mono::ZERO, 0, 5_000_000);
        assert_eq!(pace.wait(Mono::ZERO, 0, 1, Urgency::News), HOUR);
        assert!(pace.wait(Mono::ZERO, u64::MAX, u64::MAX, Urgency::News) <= HOUR);
    }

    proptest! {
        /// Whatever is sent at this pace: no hour holds more than the class may have and one frame.
        #[test]
        fn no_hour_holds_more_than_the_class_may_have(
            sends in prop::collection::vec((0u64..600_000, 20_000u64..2_000_000, any::<bool>()), 1..200),
        ) {
            let mut pace = ClassPace::new(Mono::ZERO);
            let mut now_ms = 0;
            let mut sent: Vec<(u64, u64)> = Vec::new();
            for (gap_ms, airtime_us, is_news) in sends {
                now_ms += gap_ms;
                let urgency = if is_news { Urgency::News } else { Urgency::Routine };
                now_ms += pace.wait(Mono::from_ms(now_ms), OF_HOUR_US, airtime_us, urgency).ms();
                pace.spend(Mono::from_ms(now_ms), OF_HOUR_US, airtime_us);
                sent.push((now_ms, airtime_us));
                let of_hour: u64 = sent.iter().filter(|(at, _)| at + HOUR.ms() > now_ms).map(|(_, us)| us).sum();
                prop_assert!(of_hour <= OF_HOUR_US + 2_000_000, "{of_hour} us");
            }
        }
    }
}
