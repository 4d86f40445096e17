//! Output for people: lines and tables on a terminal. The words in them are those of [`crate::words`].

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

pub(crate) use crate::words::{
    age, clean, clean_lines, count, cut, hears_us, items, moment, number, presence, seconds, short_did, size,
    span, step, text, transfer,
};

/// Characters of one cell; a longer one is cut, with an ellipsis.
const CELL_CHARS_MAX: usize = 48;

/// Writes a line for people to standard output, without what would change the screen around it: nearly every line has text of a peer.
pub(crate) fn line(text: &str) -> io::Result<()> {
    exact(&clean_lines(text))
}

/// Writes a line as it is: JSON, a value, a code for programs.
pub(crate) fn exact(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a line to standard error, for people only; a closed standard error is no failure.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(io::stderr(), "{}", clean_lines(text));
}

/// Text unchanged where a program reads it; on a terminal without control characters.
pub(crate) fn as_shown(text: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() { Cow::Owned(clean_lines(text)) } else { Cow::Borrowed(text) }
}

/// Whether standard output is a terminal that shows colours, and nothing asks for none (<https://no-color.org>).
pub(crate) fn in_colour() -> bool {
    let asks_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && !asks_for_none && !is_dumb
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
        let cells = cells.into_iter().map(|cell| cut(&clean(&cell), CELL_CHARS_MAX));
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_peers_name_cannot_play_tricks_on_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        let mut table = Table::new(&["NAME", ">SIZE"]);
        table.row(["x\x07".to_owned(), "1".to_owned()]);
        table.row(["y".repeat(100), "22".to_owned()]);
        let lines = table.lines();
        assert!(!lines.contains('\x07') && lines.lines().all(|line| line.chars().count() <= 54));
    }
}
