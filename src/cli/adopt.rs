//! `adopt`: takes over a federation that another program kept, from the files in its folder.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value as Json;

use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::api::json;
use crate::io::FederationRecords;
use crate::limits::{ADOPT_INVITES_BYTES_MAX, ADOPT_NODES_BYTES_MAX};
use crate::node::Admin;

const NODES_FILE: &str = "nodes.json";
const INVITES_FILE: &str = "invites.json";
/// The columns of a terminal.
const WIDTH: usize = 78;

pub(super) fn run(context: &CliContext, dir: &Path) -> CliResult {
    context.node.check_there()?;
    let reply = context.node.ask(Admin::Adopt(read(dir)?))?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let mut taken = 0;
    for (list, noun) in LISTS {
        let list = reply.json.get(list).unwrap_or(&Json::Null);
        taken += records(list, "taken").len();
        show(list, noun)?;
    }
    if taken == 0 {
        print::line("nothing was changed")?;
    }
    Ok(())
}

/// The lists of a reply, and what one record of each is called.
const LISTS: [(&str, &str); 3] =
    [("nodes", "node"), ("outgoing", "invite given out"), ("incoming", "invite redeemed")];

fn records<'a>(list: &'a Json, part: &str) -> &'a [Json] {
    list.get(part).map(print::items).unwrap_or_default()
}

fn show(list: &Json, noun: &str) -> CliResult {
    for record in records(list, "taken") {
        print::line(&format!("took {noun} {}", named(record)))?;
        for left_out in print::items(record.get("left_out").unwrap_or(&Json::Null)) {
            let left_out = left_out.as_str().unwrap_or_default();
            lines(&format!("without {left_out}"))?;
        }
    }
    for record in records(list, "known") {
        print::line(&format!("{noun} {} is here already and stays as it is", named(record)))?;
    }
    for record in records(list, "refused") {
        let (place, did) = (print::number(record, "record"), print::text(record, "did"));
        let of = if did.is_empty() { String::new() } else { format!(" ({})", print::clean(did)) };
        print::line(&format!("could not take {noun} number {place}{of}:"))?;
        let advice = match print::text(record, "code") {
            "not_a_node" => ": `tombolo join` with its code joins it",
            _ => "",
        };
        lines(&format!("{}{advice}", print::text(record, "why")))?;
    }
    Ok(())
}

fn lines(text: &str) -> CliResult {
    for line in print::wrapped(text, 4, WIDTH) {
        print::line(&line)?;
    }
    Ok(())
}

/// The name, level and DID of a record.
fn named(record: &Json) -> String {
    let did = print::short_did(print::text(record, "did"));
    match (print::text(record, "name"), print::text(record, "trust_level")) {
        ("", "") => format!("of {did}"),
        ("", level) => format!("{did}, {level}"),
        (name, level) => format!("{} ({did}), {level}", print::clean(name)),
    }
}

/// Reads the files of a folder; one without invites has no `invites.json`.
fn read(dir: &Path) -> Result<FederationRecords, CliError> {
    let path = dir.join(NODES_FILE);
    let missing = || {
        let message = format!("there is no {}: name the folder that holds it", path.display());
        CliError::new("file", message)
    };
    let nodes = read_json(&path, ADOPT_NODES_BYTES_MAX)?.ok_or_else(missing)?;
    let Json::Object(mut nodes) = nodes else { return Err(not_of_a_federation(&path, "{\"nodes\": [...]}")) };
    let Some(Json::Array(nodes)) = nodes.remove("nodes") else {
        return Err(not_of_a_federation(&path, "{\"nodes\": [...]}"));
    };
    let path = dir.join(INVITES_FILE);
    let shape = "{\"outgoing\": [...], \"incoming\": [...]}";
    let (outgoing, incoming) = match read_json(&path, ADOPT_INVITES_BYTES_MAX)? {
        None => (Vec::new(), Vec::new()),
        Some(Json::Object(mut invites)) => {
            let mut list = |name: &str| match invites.remove(name) {
                None | Some(Json::Null) => Ok(Vec::new()),
                Some(Json::Array(list)) => Ok(list),
                Some(_) => Err(not_of_a_federation(&path, shape)),
            };
            (list("outgoing")?, list("incoming")?)
        }
        Some(_) => return Err(not_of_a_federation(&path, shape)),
    };
    Ok(FederationRecords { nodes, outgoing, incoming })
}

fn not_of_a_federation(path: &Path, shape: &str) -> CliError {
    CliError::new(
        "bad_file",
        format!("{} does not have the form {shape}: nothing was changed", path.display()),
    )
}

/// Reads a regular file of JSON; `None` if it is not there.
fn read_json(path: &Path, bytes_max: u64) -> Result<Option<Json>, CliError> {
    let failed = |error: io::Error| CliError::new("file", format!("cannot read {}: {error}", path.display()));
    let bad =
        |why: String| CliError::new("bad_file", format!("{} {why}: nothing was changed", path.display()));
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(failed)?,
    };
    // Reading a pipe or a device might never end.
    if !metadata.is_file() {
        return Err(bad("is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(bad(format!("is longer than {bytes_max} bytes")));
    }
    json::check(&bytes).map_err(|error| bad(format!("is not used: {error}")))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| bad(format!("is not JSON: {error}")))
}
