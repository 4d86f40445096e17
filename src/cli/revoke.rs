//! `revoke`: reports a key as stolen, ends an identity, lists what is revoked and which members do not know yet.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::ask::JsonReply;
use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::node::{Admin, Query};

/// Bytes of a revocation file; a longer one is none.
const FILE_BYTES_MAX: u64 = 4_096;

pub(super) fn run(context: &CliContext, own_notice: Option<PathBuf>, peer: Option<String>) -> CliResult {
    match (own_notice, peer) {
        (Some(file), _) => own(context, &file),
        (None, Some(peer)) => stolen(context, peer),
        (None, None) => list(context),
    }
}

fn stolen(context: &CliContext, peer: String) -> CliResult {
    shown(context, &context.node.ask(Admin::Revoke { peer })?)
}

fn own(context: &CliContext, file: &Path) -> CliResult {
    context.node.check_there()?;
    let mut notice = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut notice),
        false => {
            std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut notice))
        }
    };
    read.map_err(|error| {
        CliError::new("bad_revocation", format!("cannot read {}: {error}", file.display()))
    })?;
    shown(context, &context.node.ask(Admin::RevokeOwn { notice })?)
}

fn list(context: &CliContext) -> CliResult {
    shown(context, &context.node.ask(Query::Revocations)?)
}

fn shown(context: &CliContext, reply: &JsonReply) -> CliResult {
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let rows = print::items(&reply.json);
    if rows.is_empty() {
        return Ok(print::line("no identity is revoked")?);
    }
    for row in rows {
        print::line(&sentence(row))?;
        let unaware: Vec<String> = row
            .get("unaware")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(print::clean))
            .collect();
        print::line(&match unaware.as_slice() {
            [] => "  every other member has confirmed it".to_owned(),
            names => format!("  not confirmed yet by {}", names.join(", ")),
        })?;
    }
    if !context.node.is_running() {
        print::hint("start `tombolo up`: a running node hands it on");
    }
    Ok(())
}

fn sentence(row: &Json) -> String {
    let field = |name: &str| print::clean(print::text(row, name));
    let (name, at) = (field("name"), field("signed_at"));
    let flag = |name: &str| row.get(name).and_then(Json::as_bool) == Some(true);
    match (flag("by_itself"), flag("suspended")) {
        (true, _) => format!("{name} has ended its identity, signed {at}"),
        (false, true) => format!(
            "{} reported the key of {name} as stolen, {at}: suspended until you `tombolo remove` it or `tombolo trust` it",
            field("by_name")
        ),
        (false, false) => format!("{} reported the key of {name} as stolen, {at}", field("by_name")),
    }
}
