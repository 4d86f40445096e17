//! Figures and times as people read them, and text of peers without what would change the screen around it.

use crate::time::Wall;

/// Text of peers, without the control characters that move a cursor or change a title.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// The same for text of several lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { visible(c) }).collect()
}

/// Text of at most so many characters; a longer one is cut, with an ellipsis.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

fn visible(c: char) -> char {
    if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c }
}

/// Characters that change the direction of writing or join what stands apart.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// How long ago an RFC 3339 time was, in words; a time ahead of the clock is shown as such.
pub(crate) fn age(time: &str, now: Wall) -> String {
    let Ok(time) = chrono::DateTime::parse_from_rfc3339(time) else { return time.to_owned() };
    let Ok(now) = i64::try_from(now.ms()) else { return time.to_rfc3339() };
    let seconds = (now - time.timestamp_millis()) / 1000;
    match seconds {
        ..-60 => format!("clock {} ahead", span(seconds.unsigned_abs())),
        -60..2 => "now".to_owned(),
        _ => format!("{} ago", span(seconds.unsigned_abs())),
    }
}

/// An RFC 3339 time by this machine's clock and zone, to the second: without the date for times of the last and the next hours.
pub(crate) fn moment(time: &str) -> String {
    local(time, "%H:%M:%S")
}

/// An RFC 3339 time by this machine's clock and zone: as `near` has it for times of the last and the next hours, else with the date.
pub(super) fn local(time: &str, near: &str) -> String {
    let Ok(at) = chrono::DateTime::parse_from_rfc3339(time) else { return time.to_owned() };
    let now = i64::try_from(crate::system_clock::now().wall.ms()).unwrap_or(i64::MAX);
    let is_near = at.timestamp_millis().abs_diff(now) < 20 * 60 * 60 * 1000;
    let format = if is_near { near } else { "%Y-%m-%d %H:%M" };
    at.with_timezone(&chrono::Local).format(format).to_string()
}

/// The same to the minute, `14:20`.
pub(crate) fn clock_time(time: &str) -> String {
    local(time, "%H:%M")
}

/// An RFC 3339 time by this machine's clock and zone, with its date.
pub(crate) fn full_time(time: &str) -> String {
    local(time, "%Y-%m-%d %H:%M:%S")
}

/// A span of seconds in its largest unit.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Seconds as people read them: `0.35 s`, `12 s`, `3 min 20 s`, `1 h 5 min`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown, and never negative")]
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds <= 0.0 || seconds.is_nan() => "0 s".to_owned(),
        _ if seconds < 9.995 => format!("{seconds:.2} s"),
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// Bytes with a unit, in powers of 1,000.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    for unit in UNITS {
        if value < 999.5 || unit == "PB" {
            return if unit == "B" || value >= 99.95 {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{bytes} B")
}

/// The part of a DID that differs from those of others, shortened.
pub(crate) fn short_did(did: &str) -> String {
    let key = did.strip_prefix("did:key:").unwrap_or(did);
    if key.chars().count() <= 13 {
        key.to_owned()
    } else {
        format!("{}…", key.chars().take(12).collect::<String>())
    }
}

/// `1 key`, `2 keys`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_people_write_them() {
        let now = Wall::from_ms(1_800_000_000_000);
        let at = |seconds: i64| {
            let ms = i64::try_from(now.ms()).unwrap() - seconds * 1000;
            chrono::DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339()
        };
        let cases =
            [(0, "now"), (5, "5 s ago"), (180, "3 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago")];
        for (seconds, words) in cases {
            assert_eq!(age(&at(seconds), now), words);
        }
        assert_eq!(age(&at(-14_400), now), "clock 4 h ahead");
        assert_eq!(age("soon", now), "soon");
    }

    #[test]
    fn seconds_are_as_long_as_they_need_to_be() {
        let cases = [
            (-1.0, "0 s"),
            (0.0, "0 s"),
            (0.354, "0.35 s"),
            (9.999, "10 s"),
            (59.2, "59 s"),
            (200.4, "3 min 20 s"),
            (3_900.0, "1 h 5 min"),
            (f64::NAN, "0 s"),
        ];
        for (seconds, words) in cases {
            assert_eq!(super::seconds(seconds), words);
        }
    }

    #[test]
    fn sizes_keep_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (12_345, "12.3 kB"),
            (999_999, "1.0 MB"),
            (u64::MAX, "18447 PB"),
        ];
        for (bytes, words) in cases {
            assert_eq!(size(bytes), words);
        }
    }
}
