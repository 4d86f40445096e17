//! `watch`: prints the events of a running node.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::ask::runtime;
use super::docs::{called, names};
use super::error::{CliError, CliResult};
use super::{CliContext, advice, print};
use crate::system_clock::now;

pub(super) fn run(context: &CliContext, doc: Option<&str>) -> CliResult {
    let runtime = runtime()?;
    let lines = runtime.block_on(context.node.watch(doc))?;
    let mut lines = lines.ok_or_else(|| {
        CliError::new("needs_daemon", "watching needs a running node: start `tombolo up` first")
    })?;
    let mut known = if context.json { BTreeMap::new() } else { names(&context.node)? };
    while let Some(line) = runtime.block_on(lines.next())? {
        let line = String::from_utf8_lossy(&line).into_owned();
        if context.json {
            print::line(&line)?;
            continue;
        }
        let event: Json = serde_json::from_str(&line).unwrap_or_default();
        if is_news_of_strangers(&event, &known) {
            known = names(&context.node).unwrap_or(known);
        }
        print::line(&format!("{}  {}", clock(), print::clean(&sentence(&event, &known))))?;
    }
    Err(CliError::new("gone", "the node has ended: `tombolo up` starts it"))
}

/// Whether the names must be read again.
fn is_news_of_strangers(event: &Json, known: &BTreeMap<String, String>) -> bool {
    let strange = |field: &str| match print::text(event, field) {
        "" => false,
        did => !known.contains_key(did),
    };
    print::text(event, "event") == "peers_changed" || strange("owner") || strange("author") || strange("peer")
}

fn sentence(event: &Json, names: &BTreeMap<String, String>) -> String {
    let who = |field: &str| called(names, print::text(event, field));
    match print::text(event, "event") {
        "changed" => {
            let (name, sequence) = (print::text(event, "name"), print::number(event, "sequence"));
            format!("{} / {name}  changed by {}  sequence {sequence}", who("owner"), who("author"))
        }
        "ended" => format!("{} / {}  deleted", who("owner"), print::text(event, "name")),
        "link" => {
            let up = event.get("up").and_then(Json::as_bool) == Some(true);
            format!("{}  {} {}", who("peer"), print::text(event, "medium"), if up { "up" } else { "down" })
        }
        "peers_changed" => "the list of peers changed".to_owned(),
        "joining_changed" => match event.get("open").and_then(Json::as_bool) {
            Some(true) => "an invite is open".to_owned(),
            _ => "no invite is open any more".to_owned(),
        },
        "presence" => format!("{}  {}: {}", who("peer"), print::presence(event), print::text(event, "why")),
        "alarm" => {
            let [code, message, peer] = ["code", "message", "peer"].map(|field| print::text(event, field));
            format!("! {}", advice::alarm(code, message, peer))
        }
        "missed" => format!(
            "{} left out: this reader was too slow",
            print::count(print::number(event, "count"), "event")
        ),
        _ => event.to_string(),
    }
}

fn clock() -> String {
    let now = i64::try_from(now().wall.ms()).ok().and_then(chrono::DateTime::from_timestamp_millis);
    now.map(|now| now.with_timezone(&chrono::Local).format("%H:%M:%S").to_string()).unwrap_or_default()
}
