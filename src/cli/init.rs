//! `init` makes a node, `id` shows its identity, `recover` makes a new store for an identity whose store cannot be used.

use std::path::Path;

use super::ask::show;
use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::config::CONFIG_FILE;
use crate::folder;
use crate::node::Query;

pub(super) fn init(context: &CliContext, name: Option<String>) -> CliResult {
    let name = &name.map_or_else(host_name, Ok)?;
    folder::create(&context.node.folder, name)?;
    let reply = context.node.ask(Query::Id)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let folder = show(&context.node.folder);
    print::line(&format!("{name} lives in {folder}"))?;
    print::line(&format!("  did       {}", print::text(&reply.json, "did")))?;
    print::line(&format!("  settings  {}", context.node.folder.join(CONFIG_FILE).display()))?;
    let revocation = context.node.folder.join(folder::REVOCATION_FILE);
    print::line(&format!("  to end it {}: keep a copy elsewhere", revocation.display()))?;
    print::hint("next: `tombolo up` runs it; `tombolo invite` prints a code for another node");
    Ok(())
}

/// The name of this machine, without its domain.
fn host_name() -> Result<String, CliError> {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    match name {
        "" | "localhost" | "(none)" => Err(CliError::usage(
            "this machine has no name of its own: `tombolo init --name NAME` names the node",
        )),
        name => Ok(name.to_owned()),
    }
}

pub(super) fn recover(context: &CliContext) -> CliResult {
    let aside = folder::recover(&context.node.folder)?;
    let aside = aside.map(|path| path.display().to_string());
    if context.json {
        return Ok(print::exact(&serde_json::json!({ "put_aside": aside }).to_string())?);
    }
    match aside {
        Some(path) if !Path::new(&path).extension().is_some_and(|kind| kind == "wal" || kind == "seq") => {
            print::line(&format!("the old store stands in {path}: delete it when all is back"))?
        }
        Some(path) => print::line(&format!("there was no store; what stood beside it stands in {path}"))?,
        None => print::line("there was no store")?,
    }
    print::line("a new store was made; identity and settings are as before")?;
    print::hint(
        "next: `tombolo up`, then `tombolo invite` on a peer and `tombolo join CODE` here: what this node wrote comes back",
    );
    Ok(())
}

pub(super) fn id(context: &CliContext) -> CliResult {
    let reply = context.node.ask(Query::Id)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    for field in ["name", "did", "pubkey", "onion"] {
        print::line(&format!("{field:<8}{}", print::clean(print::text(&reply.json, field))))?;
    }
    Ok(())
}
