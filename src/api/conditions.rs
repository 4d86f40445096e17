//! The conditional headers of a request. Each is kept or the request is refused: one that is passed over is an overwrite.

use hyper::Method;
use hyper::header::{
    CONTENT_RANGE, HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};

use crate::node::{Command, Write};

/// A condition of a request that changes something, and that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{header}: {value}` is a condition that cannot be kept here: nothing was done. {remedy}")]
pub(super) struct ConditionError {
    header: HeaderName,
    value: String,
    remedy: &'static str,
}

/// A command with the conditions that its request names.
#[derive(Clone, Debug)]
pub(super) struct ConditionedCommand {
    pub(super) command: Command,
    /// Only while no document has this name.
    pub(super) absent: Option<String>,
}

/// Reads the conditions of a request.
///
/// # Errors
/// [`ConditionError`] where the request changes something and a condition cannot be kept.
pub(super) fn read(
    command: Command,
    method: &Method,
    headers: &HeaderMap,
) -> Result<ConditionedCommand, ConditionError> {
    let plain = |command| ConditionedCommand { command, absent: None };
    if *method == Method::GET {
        return Ok(plain(command));
    }
    for header in [IF_UNMODIFIED_SINCE, IF_MODIFIED_SINCE, CONTENT_RANGE] {
        if let Some(value) = list(headers, &header) {
            return Err(ConditionError { header, value, remedy: "A document has a version, in `If-Match`" });
        }
    }
    let not_kept = |header, value| ConditionError { header, value, remedy: "Leave it out" };
    let mut absent = None;
    if let Some(value) = list(headers, &IF_NONE_MATCH) {
        match &command {
            Command::Write(Write::Put { doc, .. }) if value.trim() == "*" => absent = Some(doc.clone()),
            // A new document never takes the place of another.
            Command::Write(Write::Create { .. }) if value.trim() == "*" => {}
            _ => return Err(not_kept(IF_NONE_MATCH, value)),
        }
    }
    let Some(value) = list(headers, &IF_MATCH) else { return Ok(ConditionedCommand { command, absent }) };
    match command {
        Command::Write(write) if write.versioned_document().is_some() => {
            // A write to what is not there is refused in any case.
            let is_any = value.split(',').any(|tag| tag.trim() == "*");
            let command = match is_any {
                true => write.into(),
                false => Write::OnBase { base: tags(&value), write: Box::new(write) }.into(),
            };
            Ok(ConditionedCommand { command, absent })
        }
        _ => Err(not_kept(IF_MATCH, value)),
    }
}

/// All lines of a header, as one list; bytes that are no text make a tag that nothing has.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> =
        headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// The versions of a list of tags.
fn tags(value: &str) -> String {
    let tag = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
    value.split(',').map(tag).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_delta::Value;

    fn put() -> Command {
        Write::Put { doc: "plan".into(), value: Value::Null, whole: false }.into()
    }

    fn read_with(
        command: Command,
        name: HeaderName,
        values: &[&str],
    ) -> Result<ConditionedCommand, ConditionError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().expect("a header"));
        }
        read(command, &Method::PUT, &headers)
    }

    #[test]
    fn a_list_of_tags_over_several_lines_is_a_list_of_versions() {
        let read = read_with(put(), IF_MATCH, &["\"x\", W/\"y\"", "\"z\""]).unwrap();
        assert!(matches!(read.command, Command::Write(Write::OnBase { base, .. }) if base == "x,y,z"));
    }

    #[test]
    fn a_condition_is_kept_or_refused() {
        assert_eq!(read_with(put(), IF_NONE_MATCH, &["*"]).unwrap().absent.as_deref(), Some("plan"));
        let delete = |undo| Command::from(Write::Delete { doc: "plan".into(), undo });
        assert!(read_with(delete(false), IF_MATCH, &["\"x\""]).is_ok());
        let refused = [
            read_with(delete(true), IF_MATCH, &["\"x\""]),
            read_with(delete(false), IF_NONE_MATCH, &["*"]),
            read_with(put(), IF_NONE_MATCH, &["\"x\""]),
            read_with(put(), IF_UNMODIFIED_SINCE, &["Sat, 29 Oct 1994 19:43:31 GMT"]),
            read_with(put(), CONTENT_RANGE, &["bytes 0-3/4"]),
            read_with(crate::node::Admin::Remove { peer: "cabin".into() }.into(), IF_MATCH, &["\"x\""]),
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
    }
}
