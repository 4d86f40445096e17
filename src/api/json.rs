//! Checks JSON before it is parsed: refuses numbers that would be rounded, and text that would take many times its length
//! in memory. It checks no grammar; the parser does that.

use std::borrow::Cow;
use std::str::from_utf8;

/// Values in one body. A value takes up to about a hundred bytes once it is parsed, so a body of two million
/// `0,` would take a hundred times its length.
pub(crate) const ITEMS_MAX: usize = 1_000_000;
/// Arrays and objects within each other. The parser goes no deeper either.
pub(crate) const NESTED_MAX: usize = 127;

/// The mark of its bytes' order that some editors put before UTF-8; it is no part of the text.
pub(crate) const BOM: &[u8] = "\u{feff}".as_bytes();

/// Why a text is refused before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    /// A reader of JSON would round the number.
    #[error("{}{number} is beyond the whole numbers that a document keeps: write '\"{number}\"' to keep it as a text", of_key(.key))]
    Number {
        /// The number as it stands there.
        number: String,
        /// The key that it stands under; empty at the top.
        key: String,
    },
    /// It has too many values for one body.
    #[error("a body has at most {ITEMS_MAX} values: send it in parts")]
    TooManyItems,
    /// It is nested too deeply.
    #[error("{}arrays and objects are nested at most {NESTED_MAX} deep", of_key(.key))]
    TooDeep {
        /// The start of the key that leads there, at most [`KEY_CHARS_MAX`] characters.
        key: String,
    },
}

/// Characters of a key that a message names.
const KEY_CHARS_MAX: usize = 80;

fn of_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("the key `{key}`: ") }
}

/// Refuses whole numbers beyond 64 bits, and what is too much or too deep.
pub(crate) fn check(text: &[u8]) -> Result<(), JsonError> {
    let (mut items, mut depth) = (0usize, 0usize);
    for (at, token) in tokens(text) {
        match token {
            JsonToken::Number(number) => {
                if let Some(number) = rounded(number) {
                    return Err(JsonError::Number { number, key: key_at(text, at) });
                }
            }
            JsonToken::Byte(b'[' | b'{') => {
                items += 1;
                depth += 1;
            }
            JsonToken::Byte(b',') => items += 1,
            JsonToken::Byte(b']' | b'}') => depth = depth.saturating_sub(1),
            JsonToken::String(_) | JsonToken::Byte(_) => {}
        }
        if items > ITEMS_MAX {
            return Err(JsonError::TooManyItems);
        }
        if depth > NESTED_MAX {
            return Err(JsonError::TooDeep { key: key_at(text, at) });
        }
    }
    Ok(())
}

/// The same text where `-0` is `0`: the whole number is the same, and the parser makes a float of it, which is another value. The
/// length stays, for the columns of errors.
pub(crate) fn with_whole_zeros(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.windows(2).any(|pair| pair == b"-0") {
        return text.into();
    }
    let mut mended = text.to_vec();
    for (at, token) in tokens(text) {
        if token == JsonToken::Number(b"-0")
            && let Some(sign) = mended.get_mut(at)
        {
            *sign = b' ';
        }
    }
    mended.into()
}

/// What a text is made of, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonToken<'a> {
    /// What stands between quotes.
    String(&'a [u8]),
    /// Characters of a number, which may make none.
    Number(&'a [u8]),
    /// Any other.
    Byte(u8),
}

/// The tokens of a text, and where each begins.
fn tokens(text: &[u8]) -> impl Iterator<Item = (usize, JsonToken<'_>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        let at = text.len() - rest.len();
        let token = match byte {
            b'"' => {
                rest = after_string(after);
                JsonToken::String(after.get(..after.len().saturating_sub(rest.len() + 1)).unwrap_or_default())
            }
            b'-' | b'0'..=b'9' => {
                let (number, after) = rest.split_at(rest.iter().take_while(|b| is_of_number(**b)).count());
                rest = after;
                JsonToken::Number(number)
            }
            byte => {
                rest = after;
                JsonToken::Byte(*byte)
            }
        };
        Some((at, token))
    })
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// What follows a string whose opening quote has been read.
fn after_string(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => return after,
            b'\\' => after.get(1..).unwrap_or_default(),
            _ => after,
        };
    }
    rest
}

/// A whole number that does not fit 64 bits, cut for a message: a parser makes a float of it.
fn rounded(text: &[u8]) -> Option<String> {
    let text = from_utf8(text).expect("the characters of a number are ASCII");
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_rounded = is_whole && text.parse::<u64>().is_err() && text.parse::<i64>().is_err();
    is_rounded.then(|| text.chars().take(80).collect())
}

/// The key `a/b/c` of the value that stands at a byte of a text, for a message: the names of the objects around it, up to the
/// first array.
pub(crate) fn key_at(text: &[u8], at: usize) -> String {
    // Of each object or array that is open: the name of the value that is read in it, as far as there is one.
    let mut open: Vec<Option<&[u8]>> = Vec::new();
    let mut string: &[u8] = &[];
    for (_, token) in tokens(text).take_while(|(begin, _)| *begin < at) {
        match token {
            JsonToken::String(last) => string = last,
            JsonToken::Byte(b':') => {
                if let Some(name) = open.last_mut() {
                    *name = Some(string);
                }
            }
            JsonToken::Byte(b'{' | b'[') => open.push(None),
            JsonToken::Byte(b'}' | b']') => drop(open.pop()),
            JsonToken::Byte(_) | JsonToken::Number(_) => {}
        }
    }
    let names = open.iter().map_while(|name| *name).map(|name| String::from_utf8_lossy(name).into_owned());
    names.collect::<Vec<_>>().join("/").chars().take(KEY_CHARS_MAX).collect()
}

/// The key at the line and column that a parser's error names, counted from 1, ready to stand before it; empty at the top.
pub(crate) fn key_before(text: &str, line: usize, column: usize) -> String {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    of_key(&key_at(text.as_bytes(), before + column.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_zero_with_a_sign_is_the_whole_number_wherever_it_stands() {
        let value =
            |text: &str| serde_json::from_slice::<tombolo_delta::Value>(&with_whole_zeros(text.as_bytes()));
        let zero = || tombolo_delta::Value::from(0u64);
        assert_eq!(value("-0").unwrap(), zero());
        assert_eq!(value(" -0\n").unwrap(), zero());
        let map = tombolo_delta::Value::map([
            ("-0,\"-0", zero()),
            ("b", (-0.0f64).into()),
            ("c", (-0.5f64).into()),
        ]);
        assert_eq!(value(r#"{"-0,\"-0":-0,"b":-0.0,"c":-0.5}"#).unwrap(), map);
        for refused in ["--0", "1-0", "- 0", "-01"] {
            assert!(value(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn whole_numbers_that_would_be_rounded_are_found_wherever_they_stand() {
        let number = |number: &str| Err(JsonError::Number { number: number.to_owned(), key: String::new() });
        for (text, expected) in [
            ("18446744073709551615", Ok(())),
            ("18446744073709551616", number("18446744073709551616")),
            ("-9223372036854775808", Ok(())),
            ("[1, -9223372036854775809]", number("-9223372036854775809")),
            (
                r#"{"x": {"y": 1}, "a": {"c": "z:", "b": [0, {"d": 123456789012345678901234567890}]}}"#,
                Err(JsonError::Number { number: "123456789012345678901234567890".into(), key: "a/b".into() }),
            ),
            (r#"{"123456789012345678901234567890": "\"123456789012345678901234567890"}"#, Ok(())),
            ("[123456789012345678901234567890.0, 1e400, -0, 12345678901234567890123e2]", Ok(())),
        ] {
            assert_eq!(check(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn too_many_values_and_too_deep_ones_are_refused_unparsed() {
        let many = format!("[{}0]", "0,".repeat(ITEMS_MAX));
        assert_eq!(check(many.as_bytes()), Err(JsonError::TooManyItems));
        let too_deep = |key: &str| Err(JsonError::TooDeep { key: key.to_owned() });
        assert_eq!(check("[[],".repeat(ITEMS_MAX).as_bytes()), too_deep(""));
        assert_eq!(check(format!("[\"{}\"]", ",[".repeat(ITEMS_MAX)).as_bytes()), Ok(()));
        let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check(deep(NESTED_MAX).as_bytes()), Ok(()));
        assert!(serde_json::from_str::<serde_json::Value>(&deep(NESTED_MAX)).is_ok());
        assert_eq!(check(deep(NESTED_MAX + 1).as_bytes()), too_deep(""));
        assert_eq!(check(format!(r#"{{"a":{{"b":{}}}}}"#, deep(NESTED_MAX)).as_bytes()), too_deep("a/b"));
    }

    /// What the parser finds is named by its key as well.
    #[test]
    fn an_error_of_the_parser_is_led_to_its_key() {
        for (text, key) in [
            ("{\"a\": 1,\n \"b\": {\"c\": 1e400}}", "the key `b/c`: "),
            ("{\"a\": 1,\n \"b\": {\"c\": tru}}", "the key `b/c`: "),
            ("[1e400]", ""),
            ("x", ""),
            ("", ""),
        ] {
            let error = serde_json::from_str::<tombolo_delta::Value>(text).unwrap_err();
            assert_eq!(key_before(text, error.line(), error.column()), key, "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_serde_prints_of_its_own_numbers_passes(numbers in proptest::collection::vec(any::<i64>(), 0..20)) {
            prop_assert_eq!(check(serde_json::to_string(&numbers).unwrap().as_bytes()), Ok(()));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
            let _ = key_at(&bytes, bytes.len());
        }
    }
}
