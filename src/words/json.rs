//! Fields of a reply, as text and numbers.

use serde_json::Value as Json;

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
