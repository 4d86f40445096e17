//! `status`: the node and its alarms in one page.

use serde_json::Value as Json;

use super::error::CliResult;
use super::{CliContext, advice, print};
use crate::node::Query;
use crate::system_clock::now;

pub(super) fn run(context: &CliContext) -> CliResult {
    let running = context.node.is_running();
    let reply = context.node.ask(Query::Status)?;
    if context.json {
        return Ok(print::line(&reply.text)?);
    }
    let status = &reply.json;
    let id = status.get("id").unwrap_or(&Json::Null);
    let state = if running { "running" } else { "not running: `tombolo up` starts it" };
    print::line(&format!(
        "{}  {}  {state}",
        print::clean(print::text(id, "name")),
        print::short_did(print::text(id, "did"))
    ))?;
    for (label, words) in facts(status, running) {
        print::line(&format!("  {label:<11}{words}"))?;
    }
    peers(status, running)?;
    for transfer in status.get("transfers").map(print::items).unwrap_or_default() {
        print::line(&format!("on air: {}", print::clean(&print::transfer(transfer))))?;
    }
    problems(status)
}

fn facts(status: &Json, running: bool) -> Vec<(&'static str, String)> {
    let addresses: Vec<&str> = status
        .get("addresses")
        .map(print::items)
        .unwrap_or_default()
        .iter()
        .filter_map(Json::as_str)
        .collect();
    let traffic = status.get("traffic").unwrap_or(&Json::Null);
    let bytes = |field: &str| print::size(print::number(traffic, field));
    let messages = |field: &str| print::count(print::number(traffic, field), "message");
    let time = format!("{} (clock: {})", print::text(status, "time"), print::text(status, "time_source"));
    let mut facts = vec![("time", time), ("documents", print::number(status, "documents").to_string())];
    if running {
        let listening =
            if addresses.is_empty() { "no network address now".to_owned() } else { addresses.join(", ") };
        facts.push(("listens on", listening));
        facts.push(("sent", format!("{} in {}", bytes("bytes_sent"), messages("messages_sent"))));
        facts.push(("received", format!("{} in {}", bytes("bytes_received"), messages("messages_received"))));
    }
    if let Some(tor) = status.get("tor") {
        let words = match print::text(tor, "problem") {
            "" => format!("{} ({})", print::text(tor, "onion"), print::text(tor, "service")),
            problem => problem.to_owned(),
        };
        facts.push(("tor", words));
    }
    facts
}

fn peers(status: &Json, running: bool) -> CliResult {
    let peers = status.get("peers").map(print::items).unwrap_or_default();
    if peers.is_empty() {
        return Ok(print::line("no peers yet: `tombolo invite` prints a code for one")?);
    }
    let mut table = print::Table::new(&["PEER", "LEVEL", "STATE", "LINK", "HEARD"]);
    for peer in peers {
        let links: Vec<&str> =
            peer.get("links").map(print::items).unwrap_or_default().iter().filter_map(Json::as_str).collect();
        let heard = print::text(peer, "heard_at");
        table.row([
            print::text(peer, "name").to_owned(),
            print::text(peer, "trust_level").to_owned(),
            if running { print::step(peer, now().wall.ms()) } else { "-".to_owned() },
            if links.is_empty() { "-".to_owned() } else { links.join(", ") },
            if heard.is_empty() { "never".to_owned() } else { print::age(heard, now().wall.ms()) },
        ]);
    }
    Ok(print::line(&table.lines())?)
}

/// The alarms, which come last.
fn problems(status: &Json) -> CliResult {
    let texts = |field| status.get(field).map(print::items).unwrap_or_default().iter();
    for ((alarm, code), peer) in texts("alarms").zip(texts("alarm_codes")).zip(texts("alarm_peers")) {
        let [alarm, code, peer] = [alarm, code, peer].map(|text| text.as_str().unwrap_or_default());
        let text = advice::alarm(code, alarm, peer);
        print::line(&format!("! {}", print::clean(&text)))?;
    }
    for (author, count) in entries(status, "forks") {
        let author = print::short_did(author);
        print::line(&format!(
            "! {author} signed two states with one sequence, {count} times: a copied key?"
        ))?;
    }
    match print::number(status, "quarantined") {
        0 => {}
        n => print::line(&format!("! {} from the future wait for their time", print::count(n, "value")))?,
    }
    let refused: Vec<String> =
        entries(status, "rejections").map(|(why, count)| format!("{why} {count}")).collect();
    if !refused.is_empty() {
        print::line(&format!("refused since the start: {}", print::clean(&refused.join(", "))))?;
    }
    Ok(())
}

fn entries<'a>(status: &'a Json, field: &str) -> impl Iterator<Item = (&'a str, u64)> {
    let map = status.get(field).and_then(Json::as_object);
    map.into_iter().flatten().map(|(key, count)| (key.as_str(), count.as_u64().unwrap_or_default()))
}
