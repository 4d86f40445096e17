//! The last day of a peer in half hours: in which it was heard, in which it was silent as it had promised, and in which it was
//! overdue. Kept in memory since the start; one promise for each half hour in which the peer was heard is enough to conclude the
//! rest.

use std::collections::BTreeMap;

use crate::time::{Millis, Mono};

/// Half hours that are shown.
pub const HALF_HOURS: usize = 48;
/// The length of one.
const HALF_HOUR: Millis = Millis::from_secs(30 * 60);

/// How a peer was heard in one half hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfHour {
    /// Nothing is known: this node did not run, or had not met the peer.
    Unknown,
    /// The peer was heard.
    Heard,
    /// The peer was silent, and was not to be heard before the end of it.
    Expected,
    /// The peer was silent past its "next by".
    Overdue,
}

impl HalfHour {
    /// The letter in JSON: `h`, `s` for silent as expected, `o`, and `-` where nothing is known.
    pub fn letter(self) -> char {
        match self {
            HalfHour::Unknown => '-',
            HalfHour::Heard => 'h',
            HalfHour::Expected => 's',
            HalfHour::Overdue => 'o',
        }
    }
}

/// The half hour that an instant lies in, counted from the origin of `Mono`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HalfHourNumber(u64);

impl HalfHourNumber {
    fn of(at: Mono) -> Self {
        HalfHourNumber(at.ms() / HALF_HOUR.ms())
    }

    fn end(self) -> Mono {
        Mono::from_ms(self.0.saturating_add(1).saturating_mul(HALF_HOUR.ms()))
    }

    fn back(self, steps: usize) -> Option<Self> {
        self.0.checked_sub(steps as u64).map(HalfHourNumber)
    }
}

/// When a peer was heard, and by when it was to be heard again.
#[derive(Clone, Debug, Default)]
pub struct HearingStrip {
    heard: BTreeMap<HalfHourNumber, Mono>,
}

impl HearingStrip {
    /// The peer was heard, and is to be heard again by `promised`. The latest promise of several links counts.
    pub fn heard(&mut self, at: Mono, promised: Mono) {
        let known = self.heard.entry(HalfHourNumber::of(at)).or_insert(promised);
        *known = promised.max(*known);
        // One more than is shown: what the peer promised before the first of them.
        while self.heard.len() > HALF_HOURS + 1 {
            self.heard.pop_first();
        }
    }

    /// The half hours up to the present one, the oldest first.
    pub fn half_hours(&self, now: Mono) -> [HalfHour; HALF_HOURS] {
        let present = HalfHourNumber::of(now);
        std::array::from_fn(|n| match present.back(HALF_HOURS - 1 - n) {
            Some(number) => self.judge(number, now),
            None => HalfHour::Unknown,
        })
    }

    fn judge(&self, number: HalfHourNumber, now: Mono) -> HalfHour {
        match self.heard.range(..=number).next_back() {
            None => HalfHour::Unknown,
            Some((heard, _)) if *heard == number => HalfHour::Heard,
            Some((_, promised)) if number.end().min(now) <= *promised => HalfHour::Expected,
            Some(_) => HalfHour::Overdue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Mono {
        Mono::from_ms(minutes * 60_000)
    }

    fn letters(strip: &HearingStrip, now: Mono) -> String {
        strip.half_hours(now).into_iter().map(HalfHour::letter).collect()
    }

    #[test]
    fn a_silence_is_expected_up_to_the_promise_and_overdue_beyond() {
        let mut strip = HearingStrip::default();
        assert_eq!(letters(&strip, at(5)), "-".repeat(48));
        strip.heard(at(65), at(160));
        strip.heard(at(70), at(90));
        assert_eq!(letters(&strip, at(159)), format!("{}hsss", "-".repeat(44)));
        assert_eq!(letters(&strip, at(161)), format!("{}hsso", "-".repeat(44)));
        strip.heard(at(250), at(251));
        assert_eq!(letters(&strip, at(251)), format!("{}hssoooh", "-".repeat(41)));
    }

    #[test]
    fn a_peer_that_is_heard_for_ever_takes_no_more_room_than_a_day() {
        let mut strip = HearingStrip::default();
        for minute in (0..60 * 24 * 9).step_by(10) {
            strip.heard(at(minute), at(minute + 20));
        }
        assert_eq!(strip.heard.len(), HALF_HOURS + 1);
        assert_eq!(letters(&strip, at(60 * 24 * 9 - 1)), "h".repeat(48));
        assert_eq!(letters(&strip, at(60 * 24 * 12)), "o".repeat(48));
    }
}
