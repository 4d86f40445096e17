//! `watch`: prints the events of a running node.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::ask::runtime;
use super::docs::{called, names};
use super::error::{CliError, CliResult};
use super::{CliContext, advice, print};
use crate::api::routes::WatchRequest;
use crate::layer::DocumentName;
use crate::system_clock::now;

/// Keys of one change that are listed; `--json` has all.
const KEYS_SHOWN: usize = 8;
/// Characters of a value beside its key.
const VALUE_CHARS: usize = 60;
/// Characters of a whole document.
const SNAPSHOT_CHARS: usize = 400;

pub(super) fn run(context: &CliContext, request: &WatchRequest) -> CliResult {
    let runtime = runtime()?;
    let lines = runtime.block_on(context.node.watch(request))?;
    let mut lines = lines.ok_or_else(|| {
        CliError::new("needs_daemon", "watching needs a running node: start `tombolo up` first")
    })?;
    let mut known = if context.json { BTreeMap::new() } else { names(&context.node)? };
    while let Some(line) = runtime.block_on(lines.next())? {
        let line = String::from_utf8_lossy(&line).into_owned();
        // It shows that the node is there, to programs that read the socket themselves.
        if line.contains("\"event\":\"alive\"") {
            continue;
        }
        if context.json {
            print::exact(&line)?;
            continue;
        }
        let event: Json = serde_json::from_str(&line).unwrap_or_default();
        if is_news_of_strangers(&event, &known) {
            known = names(&context.node).unwrap_or(known);
        }
        // What is there of the documents that people made, as `ls` lists them; of the others the changes.
        let is_kept = |name: &str| DocumentName::new(name).is_ok_and(|name| name.is_owners_alone());
        if print::text(&event, "event") == "snapshot" && is_kept(print::text(&event, "name")) {
            continue;
        }
        print::line(&shown(&clock(), &event, &known))?;
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

/// An event with the time at which it came, and below it, where a document changed, a line for each key.
fn shown(clock: &str, event: &Json, names: &BTreeMap<String, String>) -> String {
    let mut lines = vec![format!("{clock}  {}", print::clean(&sentence(event, names)))];
    if print::text(event, "event") == "changed" {
        lines.extend(keys_of(event).iter().map(|line| format!("            {}", print::clean(line))));
    }
    lines.join("\n")
}

fn sentence(event: &Json, names: &BTreeMap<String, String>) -> String {
    let who = |field: &str| called(names, print::text(event, field));
    match print::text(event, "event") {
        "changed" => {
            let (name, sequence) = (print::text(event, "name"), print::number(event, "sequence"));
            format!("{} / {name}  changed by {}  sequence {sequence}", who("owner"), who("author"))
        }
        "snapshot" => {
            let value = event.get("value").map(Json::to_string).unwrap_or_default();
            format!("{} / {}  is {}", who("owner"), print::text(event, "name"), cut(&value, SNAPSHOT_CHARS))
        }
        "ready" => "from here on as it happens".to_owned(),
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
        "missed" => match event.get("count").and_then(Json::as_u64) {
            Some(count) => format!("{} left out: this reader was too slow", print::count(count, "event")),
            None => "what happened before is not known any more: the node has been started again".to_owned(),
        },
        _ => event.to_string(),
    }
}

/// The keys that changed, with what each was and is, a line for each.
fn keys_of(event: &Json) -> Vec<String> {
    let keys = event.get("keys").map(print::items).unwrap_or_default();
    let shown = |change: &Json, field: &str| {
        change.get(field).map_or_else(|| "-".to_owned(), |value| cut(&value.to_string(), VALUE_CHARS))
    };
    let line = |change: &Json| {
        format!("{}: {} -> {}", print::text(change, "key"), shown(change, "old"), shown(change, "new"))
    };
    let mut lines: Vec<String> = keys.iter().take(KEYS_SHOWN).map(line).collect();
    let left = keys.len().saturating_sub(KEYS_SHOWN);
    let has_more = event.get("more").and_then(Json::as_bool) == Some(true);
    if left > 0 || has_more {
        let and = if has_more { "more" } else { &left.to_string() };
        lines.push(format!("and {and} keys: `--json` has them, or `tombolo get`"));
    }
    lines
}

/// A text of at most so many characters.
fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn clock() -> String {
    let now = i64::try_from(now().wall.ms()).ok().and_then(chrono::DateTime::from_timestamp_millis);
    now.map(|now| now.with_timezone(&chrono::Local).format("%H:%M:%S").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_that_changed_has_a_line_of_its_own() {
        let event = serde_json::json!({
            "event": "changed", "owner": "did:a", "author": "did:a", "name": "plan", "sequence": 3,
            "keys": [{ "key": "a", "old": "x", "new": 1 }, { "key": "b\nc", "new": "two\nlines" }],
        });
        let names = BTreeMap::from([("did:a".to_owned(), "(you)".to_owned())]);
        let lines = [
            "12:00:00  (you) / plan  changed by (you)  sequence 3",
            "            a: \"x\" -> 1",
            "            b\u{fffd}c: - -> \"two\\nlines\"",
        ];
        assert_eq!(shown("12:00:00", &event, &names), lines.join("\n"));
    }
}
