//! The query of a request, and percent-encoding both ways.

use super::RouteError;
use crate::layer::KeyPath;
use crate::runtime::journal::{BadEventId, EventId};

#[derive(Default)]
pub(super) struct UrlQuery {
    /// What is named in it, each once.
    pub(super) names: Vec<String>,
    pub(super) key: Option<KeyPath>,
    pub(super) doc: Option<String>,
    pub(super) whole: bool,
    pub(super) via_rpc: bool,
    pub(super) undo: bool,
    pub(super) versioned: bool,
    pub(super) base: Option<String>,
    pub(super) since: Option<EventId>,
    pub(super) snapshot: bool,
}

impl UrlQuery {
    pub(super) fn read(text: Option<&str>) -> Result<Self, RouteError> {
        let mut query = UrlQuery::default();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            if query.names.iter().any(|known| known == name) {
                return Err(RouteError::Query(format!("`{name}` stands there twice")));
            }
            query.names.push(name.to_owned());
            match name {
                "key" => {
                    let key = KeyPath::parse(&value).map_err(|e| RouteError::Query(format!("`key`: {e}")))?;
                    query.key = Some(key);
                }
                "doc" => query.doc = Some(value),
                "whole" => query.whole = truth(name, &value)?,
                "undo" => query.undo = truth(name, &value)?,
                "versioned" => query.versioned = truth(name, &value)?,
                "snapshot" => query.snapshot = truth(name, &value)?,
                "since" => {
                    let since = value.parse();
                    query.since =
                        Some(since.map_err(|e: BadEventId| RouteError::Query(format!("`since`: {e}")))?);
                }
                "base" => query.base = Some(value),
                "via" if value == "rpc" => query.via_rpc = true,
                "via" => return Err(RouteError::Query("`via` is `rpc`, or left out".into())),
                _ => {
                    return Err(RouteError::Query(format!(
                        "`{name}` means nothing here: `key`, `doc`, `whole`, `base`, `versioned`, `undo`, `since`, `snapshot` and `via` do"
                    )));
                }
            }
        }
        Ok(query)
    }
}

fn truth(name: &str, value: &str) -> Result<bool, RouteError> {
    value.parse().map_err(|_| RouteError::Query(format!("`{name}` is `true` or `false`")))
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3), so that a `/` in a name does
/// not part the path.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn decode(text: &str) -> Result<String, RouteError> {
    let bad = || RouteError::Query(format!("`{text}` is not percent-encoded UTF-8"));
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?];
        let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).map_err(|_| bad())?;
        out.extend(decoded);
    }
    String::from_utf8(out).map_err(|_| bad())
}
