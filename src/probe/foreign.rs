//! What foreign programs write, read row by row: one odd row costs that row.
//!
//! A list is cut into its rows before a row is read, so that a number out of range or a broken escape in one row is no fault of the
//! others. Every field is optional, names of fields count in any case, and a byte order mark (UTF-8 or UTF-16) is skipped. A comma
//! after the last row, a comment or a `NaN`, as scripts leave them, is no fault of the list.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

use crate::node::App;

/// Brackets within each other that a text in need of mending may have; the parser of JSON5 has no limit of its own.
const NESTED_MAX: usize = 100;

/// A list that was read, and what of it could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppList {
    /// The apps of the rows that were read.
    pub apps: Vec<App>,
    /// Rows that were not read.
    pub left_out: usize,
    /// The first of them, from 1, and what is wrong with it.
    pub first_fault: Option<(usize, String)>,
}

impl AppList {
    /// Takes a row's outcome in; `None` is a row that is no app by intent.
    pub(super) fn take(&mut self, row: usize, outcome: Result<Option<App>, String>) {
        match outcome {
            Ok(app) => self.apps.extend(app),
            Err(why) => {
                self.left_out += 1;
                self.first_fault.get_or_insert((row, why));
            }
        }
    }

    /// What is to be shown of the rows that were not read.
    pub(super) fn problem(&self, source: &str) -> Option<String> {
        let (row, why) = self.first_fault.as_ref()?;
        let rows = if self.left_out == 1 { "row is" } else { "rows are" };
        Some(format!("{source}: {} {rows} left out; row {row}: {why}", self.left_out))
    }
}

/// Bytes as text. What is no text becomes replacement characters, which make no id, and so do control characters, of which a JSON parser
/// allows none in a string; a tab becomes a space.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let printable = |c: char| match c {
        '\t' => ' ',
        '\n' | '\r' => c,
        c if c.is_ascii_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    decoded(bytes).chars().map(printable).collect()
}

fn decoded(bytes: &[u8]) -> String {
    let utf16 = |pair: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units = bytes
            .chunks(2)
            .map(|unit| pair([unit.first().copied().unwrap_or(0), unit.get(1).copied().unwrap_or(0)]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0xff, 0xfe, rest @ ..] => utf16(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => utf16(u16::from_be_bytes, rest),
        bytes => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// A text as strict JSON: what is JSON5 alone (a comma after the last row, a comment, `NaN`, which becomes null) is written as JSON. What
/// is neither stays as it is, for the strict parser to name what is wrong.
pub(super) fn strict(text: &str) -> Cow<'_, str> {
    if serde_json::from_str::<&RawValue>(text).is_ok() || nesting(text) > NESTED_MAX {
        return text.into();
    }
    json5::from_str::<Value>(text).map_or_else(|_| text.into(), |value| value.to_string().into())
}

/// How deeply brackets stand within each other, those in texts as well.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The rows of a JSON array, each still as text.
///
/// # Errors
/// Why the text is no array.
pub(super) fn rows_of(text: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    serde_json::from_str(text)
}

/// A row of a foreign list.
pub(super) struct Row(Map<String, Value>);

impl Row {
    /// Reads a row.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match serde_json::from_str(&strict(text)) {
            Ok(Value::Object(fields)) => Ok(Row(fields)),
            Ok(_) => Err("it is no object".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A field under any of these names, in any case; none where it is null.
    pub(super) fn get(&self, names: &[&str]) -> Option<&Value> {
        field(&self.0, names)
    }

    /// The same as text.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        text(self.get(names)?)
    }
}

/// A field of an object under any of these names, in any case; none where it is null.
pub(super) fn field<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let exact = names.iter().find_map(|name| fields.get(*name));
    let in_any_case = || {
        fields
            .iter()
            .find(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value)
    };
    exact.or_else(in_any_case).filter(|value| !value.is_null())
}

/// A value that people read as a word: a text or a number.
pub(super) fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Checks a name of an app.
///
/// # Errors
/// What is wrong with it.
pub(super) fn checked_id(id: String) -> Result<String, String> {
    match id.chars().find(|c| c.is_control() || *c == char::REPLACEMENT_CHARACTER) {
        None => Ok(id),
        Some(_) => Err("its id is no text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_skipped_and_odd_bytes_become_replacements() {
        let expected = "web running";
        let utf16 = |order: fn(u16) -> [u8; 2]| expected.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        assert_eq!(text_of(expected.as_bytes()), expected);
        assert_eq!(text_of(&[b"\xef\xbb\xbf", expected.as_bytes()].concat()), expected);
        assert_eq!(text_of(&[b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat()), expected);
        assert_eq!(text_of(&[b"\xfe\xff".to_vec(), utf16(u16::to_be_bytes)].concat()), expected);
        assert_eq!(text_of(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(text_of(b"\xff\xfea"), "a");
        assert_eq!(text_of(b"a\tb\x1b[1mc\r\n"), "a b\u{fffd}[1mc\r\n");
    }

    /// Marks that scripts and people leave in what they take for JSON.
    #[test]
    fn what_is_json_but_for_a_comma_or_a_nan_is_read() {
        let text = "[{\"Id\": \"a\", \"load\": NaN}, // of today\n {\"Id\": \"b\", \"load\": -Infinity,},\n]";
        let mended = strict(text);
        let rows: Vec<_> =
            rows_of(&mended).unwrap().into_iter().map(|row| Row::read(row.get()).unwrap()).collect();
        assert_eq!(rows.iter().map(|row| row.text(&["id"]).unwrap()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(rows.iter().all(|row| row.get(&["load"]).is_none()));
        for not_mended in
            ["[{\"Id\": \"a\"},", "[1 2]", "{", &"[".repeat(1_000_000), &"{\"a\":[".repeat(100_000)]
        {
            assert_eq!(strict(not_mended), *not_mended);
        }
        let odd = r#"[{"n": 1e999}, {"s": "\ud800"}]"#;
        assert!(matches!(strict(odd), Cow::Borrowed(_)), "rows of strict JSON are cut as they stand");
    }

    /// What a parser refuses as a whole is one row's fault here.
    #[test]
    fn a_row_that_cannot_be_parsed_is_cut_out_of_the_list() {
        let text = r#"[{"Id": 1}, {"n": 1e999}, {"s": "\ud800"}, 7, null, {"ID": "b"}]"#;
        assert!(serde_json::from_str::<Value>(text).is_err());
        let rows: Vec<_> = rows_of(text).unwrap().into_iter().map(|row| Row::read(row.get())).collect();
        let ids: Vec<_> = rows.iter().filter_map(|row| row.as_ref().ok()?.text(&["id"])).collect();
        assert_eq!((rows.len(), ids), (6, vec!["1".to_owned(), "b".to_owned()]));
        let deep = format!("[{}1{}, {{\"id\": \"a\"}}]", "[".repeat(500), "]".repeat(500));
        let rows = rows_of(&deep).unwrap();
        assert!(Row::read(rows[0].get()).is_err() && Row::read(rows[1].get()).is_ok());
        assert!(rows_of("{}").is_err() && rows_of("[1").is_err());
        let raw = text_of(b"[{\"id\": \"a\", \"label\": \"x\ty\x07\"}, {\"id\": \"b\x1b\"}]");
        let ids: Vec<_> = rows_of(&raw)
            .unwrap()
            .iter()
            .map(|row| checked_id(Row::read(row.get()).unwrap().text(&["id"]).unwrap()))
            .collect();
        assert_eq!(ids, [Ok("a".to_owned()), Err("its id is no text".to_owned())]);
    }
}
