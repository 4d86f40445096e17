//! Quiet hours: a span of the local day in which only urgent messages go out.

use std::fmt;
use std::str::FromStr;

use crate::time::{Millis, Wall};

const DAY_MINUTES: u64 = 24 * 60;

/// A span of the day, `22:00-07:00`; it may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    from: u16,
    to: u16,
}

/// Why a text is no span of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write two different times of the day, like 22:00-07:00")]
pub struct QuietHoursError;

impl QuietHours {
    /// How long it stays quiet from now on; `None` when it is not quiet. `offset_minutes` leads from UTC to local time.
    pub fn left(&self, now: Wall, offset_minutes: i32) -> Option<Millis> {
        let minutes = i64::try_from(now.ms() / 60_000).unwrap_or(0) + i64::from(offset_minutes);
        let minute = u64::try_from(minutes.rem_euclid(DAY_MINUTES as i64)).unwrap_or(0);
        let after = |start: u16, end: u64| (end + DAY_MINUTES - u64::from(start)) % DAY_MINUTES;
        let (length, since) = (after(self.from, self.to.into()), after(self.from, minute));
        // Within the minute the span ends at its start.
        (since < length).then(|| Millis::from_ms((length - since) * 60_000 - now.ms() % 60_000))
    }
}

impl FromStr for QuietHours {
    type Err = QuietHoursError;

    fn from_str(text: &str) -> Result<Self, QuietHoursError> {
        let (from, to) = text.split_once('-').ok_or(QuietHoursError)?;
        let (from, to) = (minute_of(from)?, minute_of(to)?);
        if from == to { Err(QuietHoursError) } else { Ok(QuietHours { from, to }) }
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

fn minute_of(text: &str) -> Result<u16, QuietHoursError> {
    let number = |text: &str, below: u16| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| is_plain && *number < below).ok_or(QuietHoursError)
    };
    let (hour, minute) = text.trim().split_once(':').ok_or(QuietHoursError)?;
    Ok(number(hour, 24)? * 60 + number(minute, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-01T00:00:00Z and so many minutes.
    fn at(minutes: u64) -> Wall {
        Wall::from_ms(1_793_491_200_000 + minutes * 60_000)
    }

    #[test]
    fn a_night_goes_over_midnight_and_ends_on_the_minute() {
        let night: QuietHours = "22:00-07:00".parse().unwrap();
        let left = |minutes: u64| night.left(at(minutes), 0).map(|left| left.ms() / 60_000);
        assert_eq!(left(22 * 60 - 1), None);
        assert_eq!(left(22 * 60), Some(9 * 60));
        assert_eq!(left(0), Some(7 * 60));
        assert_eq!((left(7 * 60 - 1), left(7 * 60)), (Some(1), None));
        let half = at(6 * 60 + 59) + Millis::from_secs(30);
        assert_eq!(night.left(half, 0), Some(Millis::from_secs(30)));
    }

    #[test]
    fn the_hours_are_those_of_the_place() {
        let noon: QuietHours = "12:00-13:00".parse().unwrap();
        assert_eq!(noon.left(at(12 * 60), 60), None);
        assert_eq!(noon.left(at(11 * 60), 60), Some(Millis::from_secs(3600)));
        assert_eq!(noon.left(at(17 * 60), -300), Some(Millis::from_secs(3600)));
        assert_eq!(noon.left(Wall::default(), -720), Some(Millis::from_secs(3600)));
    }

    #[test]
    fn only_two_times_of_the_day_are_a_span() {
        for text in ["22:00-07:00", "00:00-23:59"] {
            assert_eq!(text.parse::<QuietHours>().map(|hours| hours.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "22-7", "22:00", "24:00-07:00", "22:60-07:00", "07:00-07:00", "+1:00-02:00", "é:00-02:00"]
        {
            assert_eq!(text.parse::<QuietHours>(), Err(QuietHoursError), "{text}");
        }
    }
}
