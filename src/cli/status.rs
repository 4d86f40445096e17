//! `status`: the verdict, the node with its airtime, its peers with the links to them, and what needs the operator, in one page.

use serde_json::Value as Json;

use super::error::CliResult;
use super::{CliContext, print};
use crate::node::Query;
use crate::system_clock::now;
use crate::words::verdict::{Need, StatusVerdict, needs};
use crate::words::{airtime, routes};

/// Characters of a line of the verdict.
const WIDTH: usize = 100;
/// Characters of a peer's name in the table.
const NAME_CHARS: usize = 24;
/// Which command has more of what.
const DETAILS: &str = "details: tombolo links (why), airtime (by class), peers (apps), conflicts, log";
/// Stands beside `listens on` where there is no address.
const NO_ADDRESS: &str = "no network address now; nodes on one machine meet with `loopback = true` in [lan]";

pub(super) fn run(context: &CliContext) -> CliResult {
    let running = context.node.is_running();
    let reply = context.node.ask(Query::Status)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let status = &reply.json;
    let id = status.get("id").unwrap_or(&Json::Null);
    let needs = needs(&if running { status.clone() } else { without_peers(status) });
    let state = if running { "running" } else { "not running: `tombolo up` starts it" };
    print::line(&format!(
        "{}  {}  {state}",
        print::clean(print::text(id, "name")),
        print::short_did(print::text(id, "did"))
    ))?;
    if running {
        let verdict = StatusVerdict::of(status, &needs);
        for line in print::wrapped(&verdict.sentence, 2, WIDTH) {
            print::line(&line)?;
        }
    }
    for (label, words) in facts(status, running) {
        print::line(&format!("  {label:<11}{words}"))?;
    }
    peers(status, running)?;
    for transfer in status.get("transfers").map(print::items).unwrap_or_default() {
        print::line(&format!("on air: {}", print::clean(&print::transfer(transfer))))?;
    }
    for layer in status.get("large_layers").map(print::items).unwrap_or_default() {
        print::line(&format!("large: {}", print::clean(print::text(layer, "words"))))?;
    }
    problems(status, &needs)?;
    if running {
        print::hint(DETAILS);
    }
    Ok(())
}

/// The status without its peers: a node that does not run misses none of them.
fn without_peers(status: &Json) -> Json {
    let mut status = status.clone();
    if let Some(fields) = status.as_object_mut() {
        fields.remove("peers");
    }
    status
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
    let mut facts = vec![("time", time), ("documents", documents_words(status))];
    let apps = status.get("apps").filter(|apps| print::number(apps, "count") > 0);
    facts.extend(apps.map(|apps| ("apps", apps_words(apps))));
    if running {
        let listening = if addresses.is_empty() { NO_ADDRESS.to_owned() } else { addresses.join(", ") };
        facts.push(("listens on", listening));
        facts.push(("sent", format!("{} in {}", bytes("bytes_sent"), messages("messages_sent"))));
        facts.push(("received", format!("{} in {}", bytes("bytes_received"), messages("messages_received"))));
    }
    for radio in status.get("radios").map(print::items).unwrap_or_default() {
        facts
            .push(("airtime", print::clean(&format!("{}: {}", print::text(radio, "radio"), airtime(radio)))));
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

/// `2, and 6 that nodes write by themselves`.
fn documents_words(status: &Json) -> String {
    let (all, made) = (print::number(status, "documents"), print::number(status, "documents_made"));
    match all.saturating_sub(made) {
        0 => made.to_string(),
        kept => format!("{made}, and {kept} that nodes write by themselves"),
    }
}

/// `3 of 4 run; web unhealthy, db flapping`.
fn apps_words(apps: &Json) -> String {
    let amiss = apps.get("amiss").map(print::items).unwrap_or_default();
    let amiss: Vec<String> = amiss
        .iter()
        .map(|app| print::clean(&format!("{} {}", print::text(app, "id"), print::text(app, "health"))))
        .collect();
    let run = format!("{} of {} run", print::number(apps, "running"), print::number(apps, "count"));
    if amiss.is_empty() { run } else { format!("{run}; {}", amiss.join(", ")) }
}

fn peers(status: &Json, running: bool) -> CliResult {
    let peers = status.get("peers").map(print::items).unwrap_or_default();
    // The verdict of a running node has it already.
    if peers.is_empty() && running {
        return Ok(());
    }
    if peers.is_empty() {
        return Ok(print::line("no peers yet: `tombolo invite` prints a code for one")?);
    }
    let mut table =
        print::Table::new(&["PEER", "LEVEL", "PRESENCE", "DOCUMENTS", "LINK", "HEARD", "HEARS US"]);
    for peer in peers {
        let links: Vec<&str> =
            peer.get("links").map(print::items).unwrap_or_default().iter().filter_map(Json::as_str).collect();
        let heard = print::text(peer, "heard_at");
        table.row([
            print::cut(print::text(peer, "name"), NAME_CHARS),
            print::text(peer, "trust_level").to_owned(),
            if running {
                print::presence(peer.get("presence").unwrap_or(&Json::Null))
            } else {
                "-".to_owned()
            },
            if running { print::step(peer, now().wall) } else { "-".to_owned() },
            if links.is_empty() { "-".to_owned() } else { links.join(", ") },
            if heard.is_empty() { "never".to_owned() } else { print::age(heard, now().wall) },
            if running {
                print::hears_us(peer.get("presence").unwrap_or(&Json::Null))
            } else {
                "-".to_owned()
            },
        ]);
    }
    print::line(&table.lines())?;
    if running {
        let routes = routes(peers).into_iter().flat_map(|line| print::wrapped(&line, 0, WIDTH));
        for line in routes.chain(peers.iter().flat_map(about)) {
            print::line(&line)?;
        }
    }
    Ok(())
}

/// What other nodes report of a peer that is missed, and the documents that are behind.
fn about(peer: &Json) -> Vec<String> {
    let (name, presence) = (print::text(peer, "name"), peer.get("presence").unwrap_or(&Json::Null));
    let mut lines = Vec::new();
    let verdict = presence.get("friends").map_or("", |friends| print::text(friends, "verdict"));
    let is_missed = matches!(print::text(presence, "state"), "overdue" | "link lost" | "gone");
    let missing = presence.get("friends").map_or(0, |friends| print::number(friends, "missing"));
    if !verdict.is_empty() && (is_missed || missing > 0) {
        lines.push(format!("{name}: {verdict}"));
    }
    let behind = peer.get("behind").map(print::items).unwrap_or_default();
    lines.extend(behind.iter().map(|document| format!("{name}: {}", print::text(document, "words"))));
    lines.iter().map(|line| print::clean(line)).collect()
}

/// What needs the operator, the worst first, each with what helps: as the page lists it. Then what was refused.
fn problems(status: &Json, needs: &[Need]) -> CliResult {
    for need in needs {
        let words = format!("! {}. {}", need.what.trim_end_matches('.'), need.remedy);
        for (n, line) in print::wrapped(&words, 2, WIDTH).iter().enumerate() {
            print::line(if n == 0 { line.trim_start() } else { line })?;
        }
    }
    let refused: Vec<_> = entries(status, "rejections").collect();
    if !refused.is_empty() {
        print::line("refused since the start (`tombolo log` has the newest, with the peers):")?;
    }
    for (why, count) in refused {
        let words = status.get("rejection_words").map_or("", |words| print::text(words, why));
        let words = if words.is_empty() { why } else { words };
        for (n, line) in print::wrapped(words, 8, 79).iter().enumerate() {
            let count = if n == 0 { format!("{count:>6}  ") } else { " ".repeat(8) };
            print::line(&format!("{count}{}", line.trim_start()))?;
        }
    }
    Ok(())
}

fn entries<'a>(status: &'a Json, field: &str) -> impl Iterator<Item = (&'a str, u64)> {
    let map = status.get(field).and_then(Json::as_object);
    map.into_iter().flatten().map(|(key, count)| (key.as_str(), count.as_u64().unwrap_or_default()))
}
