//! Output for people: tables, ages, sizes, and text of peers without control characters.

use crate::time::Wall;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use serde_json::Value as Json;

/// Characters of one cell; a longer one is cut, with an ellipsis.
const CELL_CHARS_MAX: usize = 48;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a line to standard error, for people only; a closed standard error is no failure.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Text of peers, without the control characters that move a cursor or change a title.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// The same for text of several lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { visible(c) }).collect()
}

fn visible(c: char) -> char {
    if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c }
}

/// Text unchanged where a program reads it; on a terminal without control characters.
pub(crate) fn as_shown(text: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() { Cow::Owned(clean_lines(text)) } else { Cow::Borrowed(text) }
}

/// Characters that change the direction of writing or join what stands apart.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A table with a head, columns as wide as they need to be.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these columns; one that starts with `>` is set to the right.
    pub(crate) fn new(head: &[&str]) -> Self {
        let right = head.iter().map(|title| title.starts_with('>')).collect();
        let titles = head.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
        Table { rows: vec![titles], right }
    }

    /// Adds a row of cells.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| cut(&clean(&cell)));
        self.rows.push(cells.collect());
    }

    /// The table as lines.
    pub(crate) fn lines(&self) -> String {
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.right);
            let padded =
                cells.map(
                    |((cell, width), right)| {
                        if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                    },
                );
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Text in lines of at most so many characters, each behind an indent; a longer word has a line of its own.
pub(crate) fn wrapped(text: &str, indent: usize, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let text = clean(text);
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{}{word}", " ".repeat(indent))),
        }
    }
    lines
}

/// How far a long message is on its way by radio.
pub(crate) fn transfer(transfer: &Json) -> String {
    let (done, all) = (number(transfer, "frames_done"), number(transfer, "frames"));
    let to_go = match transfer.get("about_s").and_then(Json::as_f64) {
        None => "it may not leave".to_owned(),
        Some(about) => format!("about {} to go", seconds(about.ceil())),
    };
    let repair = transfer.get("repair").and_then(Json::as_bool) == Some(true);
    match (text(transfer, "way"), repair) {
        ("in", _) => format!("receiving from {}: {done} of {all} frames, {to_go}", text(transfer, "from")),
        (_, true) => format!("sending what was missed of {}: {to_go}", text(transfer, "document")),
        _ => format!("sending {}: {done} of {all} frames, {to_go}", text(transfer, "document")),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

/// A text field of a reply, or nothing.
pub(crate) fn text<'a>(json: &'a Json, field: &str) -> &'a str {
    json.get(field).and_then(Json::as_str).unwrap_or_default()
}

/// A number field of a reply, or 0.
pub(crate) fn number(json: &Json, field: &str) -> u64 {
    json.get(field).and_then(Json::as_u64).unwrap_or_default()
}

/// The items of a list, or none.
pub(crate) fn items(json: &Json) -> &[Json] {
    json.as_array().map(Vec::as_slice).unwrap_or_default()
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

fn local(time: &str, near: &str) -> String {
    let Ok(at) = chrono::DateTime::parse_from_rfc3339(time) else { return time.to_owned() };
    let now = i64::try_from(crate::system_clock::now().wall.ms()).unwrap_or(i64::MAX);
    let is_near = at.timestamp_millis().abs_diff(now) < 20 * 60 * 60 * 1000;
    let format = if is_near { near } else { "%Y-%m-%d %H:%M" };
    at.with_timezone(&chrono::Local).format(format).to_string()
}

/// How a peer stands, with the time that goes with the word: `quiet until 14:05`.
pub(crate) fn presence(presence: &Json) -> String {
    let state = text(presence, "state");
    match (state, text(presence, "until"), text(presence, "since")) {
        ("", _, _) => "not met yet".to_owned(),
        (_, "", "") => state.to_owned(),
        (_, until, "") => format!("{state} until {}", local(until, "%H:%M")),
        (_, _, since) => format!("{state} since {}", local(since, "%H:%M")),
    }
}

/// Whether a peer hears this node: `40 s ago, by radio`.
pub(crate) fn hears_us(presence: &Json) -> String {
    let Some(hears) = presence.get("hears_us") else { return "not known".to_owned() };
    let over = match text(hears, "medium") {
        "mesh" => "by radio".to_owned(),
        "lan" => "over LAN".to_owned(),
        "tor" => "through Tor".to_owned(),
        other => format!("by {other}"),
    };
    match number(hears, "ago_s") {
        0..2 => format!("now, {over}"),
        ago => format!("{} ago, {over}", span(ago)),
    }
}

/// The sync status with a peer, as far as it is known: the object with `state`, `we_lack` and `they_lack`.
pub(crate) fn step(step: &Json, now: Wall) -> String {
    let state = text(step, "state");
    let parts = [("we_lack", "we lack"), ("they_lack", "they lack"), ("unacknowledged", "unacknowledged")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(field, _)| number(step, field) > 0)
        .map(|(field, words)| format!("{words} {}", number(step, field)))
        .collect();
    match (state, text(step, "unknown_since")) {
        ("catching up", _)
            if number(step, "we_lack") + number(step, "they_lack") == 0 && !parts.is_empty() =>
        {
            format!("sent, {}", parts.join(", "))
        }
        ("unknown", "") => "not reported yet what it holds".to_owned(),
        // A node state that is newer than the last report is on its way as it should be.
        ("in step", _) => state.to_owned(),
        ("unknown", since) => format!("known until {}", age(since, now)),
        // Nothing is lacking, and nothing was agreed on yet.
        ("catching up", _) if parts.is_empty() => "comparing".to_owned(),
        _ if parts.is_empty() => state.to_owned(),
        // The word alone would sound as if something was amiss.
        ("catching up", _) => parts.join(", "),
        _ => format!("{state}, {}", parts.join(", ")),
    }
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

/// JSON text with line breaks and indents; every number and text in it stays as it is written.
pub(crate) fn indented(json: &str) -> String {
    let (mut out, mut depth, mut in_text, mut escaped) = (String::new(), 0_usize, false, false);
    let mut characters = json.chars().peekable();
    let line_break = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = characters.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' if characters.next_if(|next| matches!(next, '}' | ']')).is_some() => {
                out.push_str(if c == '{' { "{}" } else { "[]" });
            }
            '{' | '[' => {
                out.push(c);
                depth += 1;
                line_break(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line_break(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line_break(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                in_text = true;
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out
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
    fn indenting_changes_white_space_only() {
        let json = r#"{"a":[1.50,-18446744073709551616,"x:\"{,}\\"],"b":{},"c":[],"d":null}"#;
        let pretty = indented(json);
        let text = "{\n  \"a\": [\n    1.50,\n    -18446744073709551616,\n    \"x:\\\"{,}\\\\\"\n  ],\n  \"b\": {},\n  \"c\": [],\n  \"d\": null\n}";
        assert_eq!(pretty, text);
    }

    #[test]
    fn sentences_are_set_in_lines_that_a_terminal_holds() {
        let text = "wired, 9600bps: no limit on time [not radio]";
        assert_eq!(wrapped(text, 4, 30), ["    wired, 9600bps: no limit", "    on time [not radio]"]);
        assert_eq!(wrapped(&"x".repeat(50), 2, 20), [format!("  {}", "x".repeat(50))]);
        assert!(wrapped("", 2, 20).is_empty());
    }

    #[test]
    fn the_sync_status_shows_only_what_is_known() {
        let now = Wall::from_ms(1_800_000_000_000);
        let said = |json: &str| step(&serde_json::from_str(json).unwrap(), now);
        for (json, words) in [
            (r#"{"state":"in step","we_lack":0,"they_lack":0,"unacknowledged":0}"#, "in step"),
            (r#"{"state":"in step","we_lack":0,"they_lack":0,"unacknowledged":1}"#, "in step"),
            (r#"{"state":"catching up","we_lack":null,"they_lack":null}"#, "comparing"),
            (r#"{"state":"catching up","we_lack":2,"they_lack":1}"#, "we lack 2, they lack 1"),
            (
                r#"{"state":"catching up","we_lack":0,"they_lack":0,"unacknowledged":1}"#,
                "sent, unacknowledged 1",
            ),
            (r#"{"state":"unknown","we_lack":null,"they_lack":null}"#, "not reported yet what it holds"),
            (r#"{"state":"unknown","unknown_since":"2027-01-15T07:50:00Z"}"#, "known until 10 min ago"),
            (r#"{"state":"not connected","we_lack":null}"#, "not connected"),
        ] {
            assert_eq!(said(json), words, "{json}");
        }
    }

    #[test]
    fn presence_is_a_word_with_its_time_and_whether_the_peer_hears_us() {
        let json = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        assert_eq!(presence(&Json::Null), "not met yet");
        assert_eq!(presence(&json(r#"{"state":"here"}"#)), "here");
        let quiet = presence(&json(r#"{"state":"quiet","until":"2027-01-15T08:00:00Z"}"#));
        assert!(quiet.starts_with("quiet until 2027-01-1"), "{quiet}");
        let lost = presence(&json(r#"{"state":"link lost","since":"2027-01-15T08:00:00Z"}"#));
        assert!(lost.starts_with("link lost since 2027-01-1"), "{lost}");
        assert_eq!(hears_us(&json(r#"{"hears_us":{"medium":"mesh","ago_s":40}}"#)), "40 s ago, by radio");
        assert_eq!(hears_us(&json(r#"{"hears_us":{"medium":"lan","ago_s":1}}"#)), "now, over LAN");
        assert_eq!(hears_us(&json("{}")), "not known");
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

    #[test]
    fn a_peers_name_cannot_play_tricks_on_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        let mut table = Table::new(&["NAME", ">SIZE"]);
        table.row(["x\x07".to_owned(), "1".to_owned()]);
        table.row(["y".repeat(100), "22".to_owned()]);
        let lines = table.lines();
        assert!(!lines.contains('\x07') && lines.lines().all(|line| line.chars().count() <= 54));
    }
}
