//! `create`, `set`, `get`, `del`, `put`, `ls`, `conflicts`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value as Json;
use tombolo_delta::Value;

use super::ask::{JsonReply, NodeFolder};
use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::api::json;
use crate::api::server::BODY_BYTES_MAX;
use crate::layer::{DocumentName, KeyPath, Kind};
use crate::node::{Query, Write};

/// Characters of a hash that a person compares.
const HASH_CHARS: usize = 16;

pub(super) fn create(context: &CliContext, name: String, snapshot: bool) -> CliResult {
    let kind = if snapshot { Kind::Snapshot } else { Kind::Map };
    let reply = context.node.ask(Write::Create { name, kind })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    Ok(print::line(&format!("created {}", print::clean(print::text(&reply.json, "name"))))?)
}

pub(super) fn set(context: &CliContext, doc: String, key: KeyPath, value: &str) -> CliResult {
    let value = value_of(value, !context.json)?;
    written(context, "written", &context.node.ask(Write::Set { doc, key, value })?)
}

pub(super) fn del(context: &CliContext, doc: String, key: KeyPath) -> CliResult {
    written(context, "deleted", &context.node.ask(Write::Del { doc, key })?)
}

pub(super) fn delete(context: &CliContext, doc: String, undo: bool) -> CliResult {
    let reply = context.node.ask(Write::Delete { doc: doc.clone(), undo })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let doc = print::clean(&doc);
    let line = match print::text(&reply.json, "deleted") {
        "everywhere" => format!("deleted {doc}: its readers drop it when they learn of it"),
        "here" => format!("deleted {doc} here alone: `tombolo delete --undo {doc}` takes it again"),
        _ => format!("{doc} is taken again: it comes when a node that has it is met"),
    };
    Ok(print::line(&line)?)
}

pub(super) fn put(
    context: &CliContext,
    doc: String,
    file: &Path,
    whole: bool,
    base: Option<String>,
) -> CliResult {
    let text = read(file)?;
    json::check(text.as_bytes())
        .map_err(|e| CliError::new("bad_value", format!("{}: {e}", called_file(file))))?;
    let value = serde_json::from_slice(&json::with_whole_zeros(text.as_bytes()));
    let value = value.map_err(|e: serde_json::Error| {
        let key = json::key_before(&text, e.line(), e.column());
        CliError::new("bad_json", format!("{} is not JSON: {key}{e}", called_file(file)))
    })?;
    let write = Write::Put { doc, value, whole };
    let reply = context.node.ask(match base {
        Some(base) => Write::OnBase { base, write: Box::new(write) },
        None => write,
    })?;
    let (set, deleted) = (print::number(&reply.json, "set"), print::number(&reply.json, "deleted"));
    if context.json || set + deleted == 0 {
        return written(context, "changed", &reply);
    }
    let [name, id] = ["name", "id"].map(|field| print::clean(print::text(&reply.json, field)));
    Ok(print::line(&format!("{name}: {set} set, {deleted} deleted, as {id}"))?)
}

pub(super) fn get(context: &CliContext, doc: String, key: Option<KeyPath>) -> CliResult {
    // Programs get the version of a whole document with it.
    let reply = context.node.ask(match key {
        None if context.json => Query::Document { doc },
        key => Query::Get { doc, key },
    })?;
    match &reply.json {
        _ if context.json => Ok(print::exact(&reply.text)?),
        Json::String(text) => Ok(print::exact(&print::as_shown(text))?),
        _ => Ok(print::exact(&print::as_shown(&print::indented(&reply.text)))?),
    }
}

pub(super) fn list(context: &CliContext, all: bool) -> CliResult {
    let reply = context.node.ask(Query::List)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let is_shown = |row: &&Json| {
        let name = DocumentName::new(print::text(row, "name"));
        all || name.is_ok_and(|name| !name.is_owners_alone())
    };
    let documents: Vec<&Json> = print::items(&reply.json).iter().filter(is_shown).collect();
    if documents.is_empty() {
        print::hint("no documents yet: `tombolo create NAME` makes one");
        return Ok(());
    }
    let names = names(&context.node)?;
    let mut table = print::Table::new(&["OWNER", "NAME", "KIND", ">SIZE", "HASH"]);
    for document in documents {
        table.row([
            called(&names, print::text(document, "owner")),
            print::text(document, "name").to_owned(),
            print::text(document, "kind").to_owned(),
            print::size(print::number(document, "bytes")),
            print::text(document, "hash").chars().take(HASH_CHARS).collect(),
        ]);
    }
    Ok(print::line(&table.lines())?)
}

pub(super) fn conflicts(context: &CliContext, doc: Option<String>) -> CliResult {
    let reply = context.node.ask(Query::Conflicts { doc })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let conflicts = print::items(&reply.json);
    if conflicts.is_empty() {
        print::hint("no value lost against a concurrent write");
        return Ok(());
    }
    let names = names(&context.node)?;
    let mut table = print::Table::new(&["DOCUMENT", "KEY", "LOST VALUE", "BY", "TO", "WRITTEN"]);
    for conflict in conflicts {
        let document = print::text(conflict, "document");
        let deleted = conflict.get("deleted").and_then(Json::as_bool) == Some(true);
        let value = conflict.get("value").map(ToString::to_string).unwrap_or_default();
        table.row([
            document.rsplit_once('/').map_or(document, |(_, name)| name).to_owned(),
            print::text(conflict, "key").to_owned(),
            if deleted { "(deleted)".to_owned() } else { value },
            called(&names, print::text(conflict, "loser")),
            match print::text(conflict, "hidden_by") {
                "" => called(&names, print::text(conflict, "winner")),
                key => format!("{}, at {key}", called(&names, print::text(conflict, "winner"))),
            },
            print::text(conflict, "written_at").to_owned(),
        ]);
    }
    Ok(print::line(&table.lines())?)
}

/// Settles one conflict: what is shown stays, or a value that lost, of one writer or the only one, stands again.
pub(super) fn settle(
    context: &CliContext,
    doc: String,
    key: KeyPath,
    keep: bool,
    by: Option<String>,
) -> CliResult {
    let conflicts = context.node.ask(Query::Conflicts { doc: Some(doc.clone()) })?;
    let text = key.to_string();
    let at_key = print::items(&conflicts.json).iter().filter(|conflict| print::text(conflict, "key") == text);
    let losers: Vec<&str> = at_key.map(|conflict| print::text(conflict, "loser")).collect();
    let take = match (losers.as_slice(), by) {
        ([], _) => {
            let message = format!("no value of `{doc}` at `{text}` lost against a concurrent write");
            return Err(CliError::new("no_conflict", message + ": `tombolo conflicts` lists those that did"));
        }
        _ if keep => None,
        (_, Some(by)) => Some(by),
        ([only], None) => Some((*only).to_owned()),
        (several, None) => {
            let names = names(&context.node)?;
            let of: Vec<String> = several.iter().map(|did| called(&names, did)).collect();
            let message =
                format!("several values at `{text}` lost: name one with --by, of {}", of.join(", "));
            return Err(CliError::new("several_conflicts", message));
        }
    };
    written(context, "written", &context.node.ask(Write::Settle { doc, key, take })?)
}

/// The names of this node and its peers, by DID.
pub(super) fn names(node: &NodeFolder) -> Result<BTreeMap<String, String>, CliError> {
    let (id, peers) = (node.ask(Query::Id)?, node.ask(Query::Peers)?);
    let mut names: BTreeMap<String, String> = print::items(&peers.json)
        .iter()
        .map(|peer| (print::text(peer, "did").to_owned(), super::peers::name(peer)))
        .collect();
    names.insert(print::text(&id.json, "did").to_owned(), "(you)".to_owned());
    Ok(names)
}

/// The name of a DID, or its start.
pub(super) fn called(names: &BTreeMap<String, String>, did: &str) -> String {
    names.get(did).cloned().unwrap_or_else(|| print::short_did(did))
}

fn written(context: &CliContext, done: &str, reply: &JsonReply) -> CliResult {
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let name = print::clean(print::text(&reply.json, "name"));
    let line = match print::number(&reply.json, "changed") {
        0 => format!("{name} is so already: nothing changed"),
        n => format!(
            "{name}: {} {done}, as {}",
            print::count(n, "key"),
            print::clean(print::text(&reply.json, "id"))
        ),
    };
    Ok(print::line(&line)?)
}

/// Reads JSON, or else a text. A number that JSON readers would round is refused.
fn value_of(text: &str, hints: bool) -> Result<Value, CliError> {
    match serde_json::from_slice::<Value>(&json::with_whole_zeros(text.as_bytes())) {
        Ok(value) => match json::check(text.as_bytes()) {
            Ok(()) => Ok(value),
            Err(error) => Err(CliError::usage(error.to_string())),
        },
        Err(error) => {
            let is_like_json =
                text.starts_with(['{', '[', '"']) || text.parse::<f64>().is_ok_and(f64::is_infinite);
            if hints && is_like_json && !text.contains("inf") {
                print::hint(&format!("note: kept as a text, since it is not JSON: {error}"));
            }
            Ok(Value::from(text))
        }
    }
}

/// The name of a file, for messages.
pub(super) fn called_file(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// A file's text, or standard input's, without the mark that some editors put before it.
pub(super) fn read(file: &Path) -> Result<String, CliError> {
    let failed = |e: std::io::Error| CliError::new("file", format!("cannot read {}: {e}", called_file(file)));
    let limit = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(limit + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).map_err(failed)?.take(limit + 1).read_to_string(&mut text)
    };
    read.map_err(failed)?;
    if text.len() > BODY_BYTES_MAX {
        let message = format!("{} is longer than {}", called_file(file), print::size(limit));
        return Err(CliError::new("too_long", message));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_or_else_a_text() {
        let read = |text: &str| value_of(text, false).map_err(|e| e.code);
        assert_eq!(read("3"), Ok(Value::from(3)));
        assert_eq!(read("3.0"), Ok(Value::from(3.0)));
        assert_eq!(read("\"3\""), Ok(Value::from("3")));
        assert_eq!(read("true"), Ok(Value::from(true)));
        assert_eq!(read("Ada"), Ok(Value::from("Ada")));
        assert_eq!(read(""), Ok(Value::from("")));
        assert_eq!(read("{\"a\":"), Ok(Value::from("{\"a\":")));
        assert_eq!(read("18446744073709551615"), Ok(Value::from(u64::MAX)));
        for beyond in ["18446744073709551616", "-9223372036854775809", "{\"a\": [18446744073709551616]}"] {
            assert_eq!(read(beyond), Err("usage".to_owned()), "{beyond}");
        }
    }
}
