//! `state`: the state of this node or of a peer.

use serde_json::Value as Json;

use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::node::{Admin, Command, Query};
use crate::system_clock::now;
use crate::words::is_current;

pub(super) fn run(context: &CliContext, peer: Option<String>, via_rpc: bool) -> CliResult {
    let own = peer.is_none();
    let asked = peer.clone().unwrap_or_default();
    let command: Command = match peer {
        Some(peer) if via_rpc => Admin::FetchState { peer }.into(),
        peer => Query::State { peer }.into(),
    };
    let reply = context.node.ask(command).map_err(|error| {
        if own && error.code == "no_state" && !context.node.is_running() {
            let message = "this node has published no state yet: start `tombolo up`, which does";
            return CliError::new(&error.code, message);
        }
        error
    })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let state = &reply.json;
    let timestamp = print::text(state, "timestamp");
    let name = print::text(state, "node_name");
    print::line(&format!("{}, {} ({timestamp})", print::clean(name), print::age(timestamp, now().wall)))?;
    if let Some(words) = old(context, &asked) {
        print::line(&format!("  {:<8}{}", "old", print::clean(&words)))?;
    }
    for (label, words) in figures(state) {
        print::line(&format!("  {label:<8}{words}"))?;
    }
    let sensors = state.get("sensors").and_then(Json::as_object);
    for (name, sensor) in sensors.into_iter().flatten() {
        let value = sensor.get("value").map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        let text = format!("{} {}", value.unwrap_or_default(), print::text(sensor, "unit"));
        print::line(&format!("  {}: {}", print::clean(name), print::clean(text.trim_end())))?;
    }
    let apps = state.get("apps").map(print::items).unwrap_or_default();
    if apps.is_empty() {
        return Ok(());
    }
    let mut table = print::Table::new(&["APP", "STATUS", "HEALTH", "VERSION"]);
    for app in apps {
        table.row(["id", "status", "health", "version"].map(|field| match print::text(app, field) {
            "" if field == "health" => "-".to_owned(),
            text => text.to_owned(),
        }));
    }
    Ok(print::line(&table.lines())?)
}

/// That the figures of a peer are old, where it is past its "next by".
fn old(context: &CliContext, asked: &str) -> Option<String> {
    if asked.is_empty() || !context.node.is_running() {
        return None;
    }
    let status = context.node.ask(Query::Status).ok()?.json;
    let peers = status.get("peers").map(print::items).unwrap_or_default();
    let is_it = |peer: &&Json| [print::text(peer, "name"), print::text(peer, "did")].contains(&asked);
    let presence = peers.iter().find(is_it)?.get("presence")?;
    (!is_current(presence)).then(|| format!("{}; what follows is from before", print::presence(presence)))
}

fn figures(state: &Json) -> Vec<(&'static str, String)> {
    let number = |field: &str| state.get(field).and_then(Json::as_u64);
    let used = |used: &str, total: &str| match (number(used), number(total)) {
        (Some(used), Some(total)) => Some(format!("{} of {}", print::size(used), print::size(total))),
        (Some(used), None) => Some(print::size(used)),
        (None, Some(total)) => Some(format!("{} in all", print::size(total))),
        (None, None) => None,
    };
    let figures = [
        ("cpu", state.get("cpu_usage_percent").and_then(Json::as_f64).map(|cpu| format!("{cpu} %"))),
        ("memory", used("mem_used_bytes", "mem_total_bytes")),
        ("disk", used("disk_used_bytes", "disk_total_bytes")),
        ("up", number("uptime_secs").map(print::span)),
        (
            "tor",
            state
                .get("tor_active")
                .and_then(Json::as_bool)
                .map(|on| if on { "up" } else { "down" }.to_owned()),
        ),
    ];
    figures.into_iter().filter_map(|(label, words)| Some((label, words?))).collect()
}
