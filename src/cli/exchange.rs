//! `export` and `import`: a document as a file, with its name and kind.
//!
//! ```text
//! {"format": "tombolo-document-1", "name": …, "kind": "map" | "snapshot", "owner": did, "exported_at": time, "content": …}
//! ```

use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use tombolo_delta::Value;

use super::error::{CliError, CliResult};
use super::{CliContext, docs, print};
use crate::api::json;
use crate::clock::rfc3339;
use crate::layer::Kind;
use crate::node::{Query, Write};

/// The format of the file.
const FORMAT: &str = "tombolo-document-1";

pub(super) fn export(context: &CliContext, doc: String, file: &Path) -> CliResult {
    let row = row_of(context, &doc)?;
    let content = context.node.ask(Query::Get { doc, key: None })?;
    let content = RawValue::from_string(content.text)
        .map_err(|e| CliError::new("bad_answer", format!("the node's answer is not JSON: {e}")))?;
    let (name, kind) = (print::text(&row, "name"), print::text(&row, "kind"));
    // By hand, so that the content stays as the node wrote it: floats and whole numbers differ.
    let field = |value: &str| Json::from(value).to_string();
    let text = format!(
        "{{\n  \"format\": {},\n  \"name\": {},\n  \"kind\": {},\n  \"owner\": {},\n  \"exported_at\": {},\n  \"content\": {content}\n}}\n",
        field(FORMAT),
        field(name),
        field(kind),
        field(print::text(&row, "owner")),
        field(&rfc3339(crate::system_clock::now().wall)),
    );
    if file == Path::new("-") {
        return Ok(print::exact(text.trim_end())?);
    }
    write_new(file, &text)?;
    if context.json {
        return Ok(print::line(
            &serde_json::json!({ "file": file, "name": name, "kind": kind }).to_string(),
        )?);
    }
    Ok(print::line(&format!("{} is in {}", print::clean(name), file.display()))?)
}

/// A file as `export` wrote it.
#[derive(Deserialize)]
struct Exported {
    format: String,
    name: String,
    kind: Kind,
    content: Value,
}

pub(super) fn import(context: &CliContext, file: &Path, name: Option<String>, replace: bool) -> CliResult {
    let text = docs::read(file)?;
    let called = docs::called_file(file);
    json::check(text.as_bytes()).map_err(|e| CliError::new("bad_value", format!("{called}: {e}")))?;
    let exported: Exported =
        serde_json::from_slice(&json::with_whole_zeros(text.as_bytes())).map_err(|e| {
            CliError::new(
                "bad_json",
                format!("{called} is no exported document: {e}. `tombolo put DOC FILE` takes bare JSON"),
            )
        })?;
    if exported.format != FORMAT {
        let message = format!("{called} has the format `{}`, this program reads `{FORMAT}`", exported.format);
        return Err(CliError::new("bad_json", message));
    }
    let name = name.unwrap_or(exported.name);
    let mut is_new = true;
    if let Err(error) = context.node.ask(Write::Create { name: name.clone(), kind: exported.kind }) {
        match (error.code.as_str(), replace) {
            ("document_exists", true) => is_new = false,
            ("document_exists", false) => {
                let message = format!(
                    "{name} is there already: --replace makes it equal to the file, --name takes another name"
                );
                return Err(CliError::new("document_exists", message));
            }
            _ => return Err(error),
        }
    }
    let reply = context.node.ask(Write::Put { doc: name, value: exported.content, whole: false })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let keys = print::count(print::number(&reply.json, "changed"), "key");
    let done = if is_new { "made" } else { "changed" };
    Ok(print::line(&format!("{done} {}: {keys}", print::clean(print::text(&reply.json, "name"))))?)
}

/// The row of one document in the list.
fn row_of(context: &CliContext, doc: &str) -> Result<Json, CliError> {
    // It reports an unknown or ambiguous name.
    context.node.ask(Query::Get { doc: doc.to_owned(), key: None })?;
    let (me, list) = (context.node.ask(Query::Id)?, context.node.ask(Query::List)?);
    let me = print::text(&me.json, "did").to_owned();
    let (owner, name) = match doc.rsplit_once('/') {
        Some((peer, name)) => (Some(peer), name),
        None => (None, doc),
    };
    let names = docs::names(&context.node)?;
    let named = |row: &&Json| print::text(row, "name") == name;
    let of_owner = |row: &&Json| {
        let did = print::text(row, "owner");
        owner.is_none_or(|owner| {
            docs::called(&names, did) == owner
                || did
                    .strip_prefix("did:key:")
                    .is_some_and(|key| key.starts_with(owner.trim_start_matches("did:key:")))
        })
    };
    let rows: Vec<&Json> = print::items(&list.json).iter().filter(named).filter(of_owner).collect();
    // A bare name means the own document where there is one.
    let own = rows.iter().find(|row| owner.is_none() && print::text(row, "owner") == me);
    let found = own.or(rows.first()).map(|row| (*row).clone());
    found.ok_or_else(|| {
        CliError::new("unknown_document", format!("no document is called {doc}: `tombolo ls` lists them"))
    })
}

fn write_new(file: &Path, text: &str) -> CliResult {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |e: std::io::Error| CliError::new("file", format!("cannot write {}: {e}", file.display()));
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let written = opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all());
    written.map_err(|error| {
        // A part of a document is none.
        let _ = std::fs::remove_file(file);
        failed(error)
    })
}
