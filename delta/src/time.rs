//! RFC 3339 texts in UTC, with whole seconds or milliseconds, as numbers; only those that print back the same.

use std::fmt::Write;

/// A moment as a text writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenTime {
    /// Milliseconds since the Unix epoch.
    pub(crate) time_ms: i64,
    /// Whether the text shows the milliseconds.
    pub(crate) fine: bool,
}

const DAY_SECONDS: i64 = 86_400;
/// Days from the first of March in year 0, where the reckoning below begins, to the Unix epoch.
const EPOCH_DAYS: i64 = 719_468;
const ERA_DAYS: i64 = 146_097;
const COARSE_LENGTH: usize = "2026-01-01T00:00:00Z".len();
const FINE_LENGTH: usize = "2026-01-01T00:00:00.000Z".len();

impl WrittenTime {
    /// The moment that `text` names, if [`WrittenTime::print`] gives exactly this text.
    pub(crate) fn parse(text: &str) -> Option<WrittenTime> {
        let fine = match text.len() {
            COARSE_LENGTH => false,
            FINE_LENGTH => true,
            _ => return None,
        };
        if text.as_bytes().get(10) != Some(&b'T') {
            return None;
        }
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let days = days_of(number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let seconds = days * DAY_SECONDS + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        let moment = WrittenTime { time_ms: seconds * 1000 + if fine { number(20, 23)? } else { 0 }, fine };
        (moment.print()? == text).then_some(moment)
    }

    /// The text, for the years 0 to 9999.
    pub(crate) fn print(&self) -> Option<String> {
        let seconds = self.time_ms.div_euclid(1000);
        let (year, month, day) = date_of(seconds.div_euclid(DAY_SECONDS));
        if !(0..=9999).contains(&year) {
            return None;
        }
        let rest = seconds.rem_euclid(DAY_SECONDS);
        let mut text = String::with_capacity(FINE_LENGTH);
        put(&mut text, year, 4, '-');
        put(&mut text, month, 2, '-');
        put(&mut text, day, 2, 'T');
        put(&mut text, rest / 3600, 2, ':');
        put(&mut text, rest / 60 % 60, 2, ':');
        put(&mut text, rest % 60, 2, if self.fine { '.' } else { 'Z' });
        if self.fine {
            put(&mut text, self.time_ms.rem_euclid(1000), 3, 'Z');
        }
        Some(text)
    }

    /// Milliseconds of the smallest step the text can show.
    pub(crate) fn unit_ms(fine: bool) -> i64 {
        if fine { 1 } else { 1000 }
    }
}

fn put(text: &mut String, number: i64, width: usize, end: char) {
    write!(text, "{number:0width$}{end}").expect("a String takes every write");
}

/// Days since the Unix epoch, in a calendar whose years begin in March, so that the leap day comes last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_back_the_same_is_a_moment() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-02-28T23:59:59.999Z",
            "0000-03-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(WrittenTime::parse(text).and_then(|m| m.print()).as_deref(), Some(text));
        }
        assert_eq!(WrittenTime::parse("1970-01-01T00:01:00Z").map(|m| m.time_ms), Some(60_000));
    }

    #[test]
    fn what_does_not_is_left_as_a_text() {
        for text in [
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00z",
            "2026-01-01t00:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-+1-01T00:00:00Z",
            "2026-01-01T00:00:00+0",
            "é026-01-01T00:00:00",
        ] {
            assert_eq!(WrittenTime::parse(text), None, "{text}");
        }
    }
}
