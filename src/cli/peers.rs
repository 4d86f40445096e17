//! `peers`, `trust`, `rename`, `dial`, `remove`.

use crate::time::Wall;
use serde_json::Value as Json;
use tombolo_transports::Address;

use super::error::CliResult;
use super::{CliContext, print};
use crate::federation::TrustLevel;
use crate::node::{Admin, Query};
use crate::system_clock::now;

pub(super) fn list(context: &CliContext) -> CliResult {
    let reply = context.node.ask(Query::Peers)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let peers = print::items(&reply.json);
    if peers.is_empty() {
        print::hint("no peers yet: `tombolo invite` prints a code for one, `tombolo join CODE` takes one");
        return Ok(());
    }
    let mut table = print::Table::new(&["NAME", "LEVEL", "LINK", "STEP", "STATE", "APPS", "DID"]);
    for peer in peers {
        table.row(row(peer, now().wall));
    }
    Ok(print::line(&table.lines())?)
}

fn row(peer: &Json, now: Wall) -> [String; 7] {
    let state = peer.get("last_state");
    [
        name(peer),
        match peer.get("suspended").and_then(Json::as_bool) {
            Some(true) => "suspended".to_owned(),
            _ => print::text(peer, "trust_level").to_owned(),
        },
        link(peer, now),
        step(peer, now),
        state.map_or("-".to_owned(), |state| print::age(print::text(state, "timestamp"), now)),
        state.and_then(|state| state.get("apps")).map_or("-".to_owned(), apps),
        print::short_did(print::text(peer, "did")),
    ]
}

/// The name of a peer, or the start of its DID.
pub(super) fn name(peer: &Json) -> String {
    match print::text(peer, "name") {
        "" => print::short_did(print::text(peer, "did")),
        name => name.to_owned(),
    }
}

fn link(peer: &Json, now: Wall) -> String {
    let heard = print::text(peer, "heard_at");
    match (print::text(peer, "joined"), peer.get("connected").and_then(Json::as_bool), heard) {
        ("waiting", ..) => "waiting for its answer".to_owned(),
        (_, Some(true), _) => links(peer),
        (_, _, "") => "never heard".to_owned(),
        _ => format!("heard {}", print::age(heard, now)),
    }
}

/// The ways to a peer that are open.
fn links(peer: &Json) -> String {
    let links = peer.get("links").map(print::items).unwrap_or_default();
    let links: Vec<&str> = links.iter().filter_map(Json::as_str).collect();
    format!("connected: {}", links.join(", "))
}

/// Its sync status; a dash without a link to it.
fn step(peer: &Json, now: Wall) -> String {
    let step = peer.get("step").filter(|_| peer.get("connected").and_then(Json::as_bool) == Some(true));
    step.map_or("-".to_owned(), |step| print::step(step, now))
}

fn apps(apps: &Json) -> String {
    let apps = print::items(apps);
    if apps.is_empty() {
        return "-".to_owned();
    }
    let with = |field: &str, word: &str| apps.iter().filter(|app| print::text(app, field) == word).count();
    let amiss = ["unhealthy", "flapping", "stale"].map(|health| (health, with("health", health)));
    let amiss =
        amiss.iter().filter(|(_, count)| *count > 0).map(|(health, count)| format!(", {count} {health}"));
    format!("{} of {} run{}", with("status", "running"), apps.len(), amiss.collect::<String>())
}

pub(super) fn trust(context: &CliContext, peer: String, level: TrustLevel) -> CliResult {
    let reply = context.node.ask(Admin::Trust { peer, level })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let level = print::text(&reply.json, "trust_level");
    Ok(print::line(&format!("{} is {level} now", print::clean(&name(&reply.json))))?)
}

pub(super) fn rename(context: &CliContext, peer: String, name: String) -> CliResult {
    let reply = context.node.ask(Admin::Rename { peer, name })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let did = print::short_did(print::text(&reply.json, "did"));
    Ok(print::line(&format!("{did} is called {} here now", print::clean(&self::name(&reply.json))))?)
}

pub(super) fn dial(context: &CliContext, peer: String, addresses: Vec<Address>) -> CliResult {
    let reply = context.node.ask(Admin::Dial { peer, addresses })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    print::line(&format!("{} is dialled there now", print::clean(&name(&reply.json))))?;
    if !context.node.is_running() {
        print::hint("no node is running here: `tombolo up` dials it");
    }
    Ok(())
}

pub(super) fn remove(context: &CliContext, peer: String) -> CliResult {
    let reply = context.node.ask(Admin::Remove { peer })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let removed = print::clean(print::text(&reply.json, "removed"));
    let kept = print::count(print::number(&reply.json, "entries_kept"), "value");
    Ok(print::line(&format!("removed {removed}; {kept} it wrote into your documents stay as yours"))?)
}
