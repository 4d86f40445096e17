//! Checks JSON before it is parsed: refuses numbers that would be rounded, and text that would take many times its length
//! in memory. It checks no grammar; the parser does that.

use std::str::from_utf8;

/// Values in one body. A value takes up to about a hundred bytes once it is parsed, so a body of two million
/// `0,` would take a hundred times its length.
pub(crate) const ITEMS_MAX: usize = 1_000_000;
/// Arrays and objects within each other. The parser goes no deeper either.
pub(crate) const NESTED_MAX: usize = 127;

/// Why a text is refused before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    /// A reader of JSON would round the number.
    #[error("{0} is beyond the whole numbers that a document keeps: write '\"{0}\"' to keep it as a text")]
    Number(String),
    /// It has too many values for one body.
    #[error("a body has at most {ITEMS_MAX} values: send it in parts")]
    TooManyItems,
    /// It is nested too deeply.
    #[error("arrays and objects are nested at most {NESTED_MAX} deep")]
    TooDeep,
}

/// Refuses whole numbers beyond 64 bits, and what is too much or too deep.
pub(crate) fn check(text: &[u8]) -> Result<(), JsonError> {
    let (mut items, mut depth) = (0usize, 0usize);
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(after),
            b'-' | b'0'..=b'9' => {
                let (number, after) = rest.split_at(rest.iter().take_while(|b| is_of_number(**b)).count());
                check_number(number)?;
                after
            }
            _ => after,
        };
        match byte {
            b'[' | b'{' => {
                items += 1;
                depth += 1;
            }
            b',' => items += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if items > ITEMS_MAX {
            return Err(JsonError::TooManyItems);
        }
        if depth > NESTED_MAX {
            return Err(JsonError::TooDeep);
        }
    }
    Ok(())
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

/// Checks that a whole number fits 64 bits, as a parser makes a float of it otherwise.
fn check_number(text: &[u8]) -> Result<(), JsonError> {
    let text = from_utf8(text).expect("the characters of a number are ASCII");
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match is_whole && text.parse::<u64>().is_err() && text.parse::<i64>().is_err() {
        true => Err(JsonError::Number(text.chars().take(80).collect())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_that_would_be_rounded_are_found_wherever_they_stand() {
        let number = |text: &str| Err(JsonError::Number(text.to_owned()));
        for (text, expected) in [
            ("18446744073709551615", Ok(())),
            ("18446744073709551616", number("18446744073709551616")),
            ("-9223372036854775808", Ok(())),
            ("[1, -9223372036854775809]", number("-9223372036854775809")),
            (r#"{"a": {"b": [123456789012345678901234567890]}}"#, number("123456789012345678901234567890")),
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
        assert_eq!(check("[[],".repeat(ITEMS_MAX).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(check(format!("[\"{}\"]", ",[".repeat(ITEMS_MAX)).as_bytes()), Ok(()));
        let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check(deep(NESTED_MAX).as_bytes()), Ok(()));
        assert!(serde_json::from_str::<serde_json::Value>(&deep(NESTED_MAX)).is_ok());
        assert_eq!(check(deep(NESTED_MAX + 1).as_bytes()), Err(JsonError::TooDeep));
    }

    proptest! {
        #[test]
        fn what_serde_prints_of_its_own_numbers_passes(numbers in proptest::collection::vec(any::<i64>(), 0..20)) {
            prop_assert_eq!(check(serde_json::to_string(&numbers).unwrap().as_bytes()), Ok(()));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
