//! Two machines with one key: a peer's boots that go on side by side.

use std::collections::VecDeque;

use crate::time::{Millis, Mono};

/// Boots of one peer that are remembered; the one received longest ago goes first.
const BOOTS_KEPT_MAX: usize = 4;
/// A boot that goes on after another one was received is a second machine. A delayed message may look like it once or twice.
const BOOT_RETURNS_MAX: u32 = 3;
/// The returns count within this time; for as long the alarm stands.
const BOOT_RETURNS: Millis = Millis::from_secs(10 * 60);

/// The boots received of one peer, each with its newest uptime; the one received last stands last.
#[derive(Debug, Default)]
pub(super) struct Boots {
    heard: VecDeque<(u32, Millis)>,
    returns: u32,
    since: Mono,
    alarm_until: Option<Mono>,
}

impl Boots {
    /// Notes a sign of life. Returns whether it shows, for the first time in a while, that two machines run.
    pub(super) fn received(&mut self, boot: u32, uptime: Millis, now: Mono) -> bool {
        let known = self.heard.iter().position(|(other, _)| *other == boot);
        if known.and_then(|at| self.heard.get(at)).is_some_and(|(_, newest)| uptime <= *newest) {
            return false;
        }
        let returns = known.is_some_and(|at| at + 1 < self.heard.len());
        self.heard.retain(|(other, _)| *other != boot);
        self.heard.push_back((boot, uptime));
        if self.heard.len() > BOOTS_KEPT_MAX {
            self.heard.pop_front();
        }
        if !returns {
            return false;
        }
        if now.since(self.since) > BOOT_RETURNS {
            (self.since, self.returns) = (now, 0);
        }
        self.returns += 1;
        if self.returns < BOOT_RETURNS_MAX {
            return false;
        }
        self.alarm_until.replace(now + BOOT_RETURNS).is_none_or(|until| until <= now)
    }

    /// Whether the alarm stands.
    pub(super) fn is_twice(&self, now: Mono) -> bool {
        self.alarm_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_restart_is_no_second_machine() {
        let mut boots = Boots::default();
        let raised = [(1, 10), (1, 20), (2, 5), (2, 15)]
            .map(|(boot, uptime)| boots.received(boot, Millis::from_ms(uptime), Mono::from_ms(uptime)));
        assert_eq!(raised, [false; 4]);
    }

    #[test]
    fn boots_that_alternate_raise_one_alarm() {
        let mut boots = Boots::default();
        let raised: Vec<bool> = (1..10)
            .map(|n| boots.received(n as u32 % 2, Millis::from_ms(n * 10), Mono::from_ms(n)))
            .collect();
        assert_eq!(raised.iter().filter(|raised| **raised).count(), 1);
        assert!(boots.is_twice(Mono::from_ms(10)));
        assert!(!boots.is_twice(Mono::from_ms(10) + BOOT_RETURNS));
    }
}
