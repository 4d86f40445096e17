//! `links`.

use serde_json::Value as Json;

use super::error::Outcome;
use super::{Context, print};
use crate::daemon::now;
use crate::node::Command;

/// Columns before the reason, which is set last and whole: no terminal is wide enough for a table of sentences.
const HEAD: [&str; 8] = ["PEER", "LINK", "STATE", "HEARD", ">SENT", ">GOT", ">AIR TODAY", "WHY"];

pub(super) fn run(context: &Context) -> Outcome {
    let reply = context.node.ask(&Command::Links)?;
    if context.json {
        return Ok(print::line(&reply.text)?);
    }
    let rows = print::items(&reply.json);
    if rows.is_empty() {
        let hint = if context.node.is_running() {
            "no links yet: `tombolo peers` lists the peers, `tombolo invite` prints a code for one"
        } else {
            "no links: the node does not run. Start `tombolo up`"
        };
        print::hint(hint);
        return Ok(());
    }
    let mut table = print::Table::new(&HEAD).with_long_end();
    for link in rows {
        table.row(row(link, now().wall_ms));
    }
    Ok(print::line(&table.lines())?)
}

fn row(link: &Json, now_ms: u64) -> [String; 8] {
    let heard = print::text(link, "last_heard");
    [
        print::text(link, "peer").to_owned(),
        print::text(link, "link").to_owned(),
        print::text(link, "state").to_owned(),
        if heard.is_empty() { "-".to_owned() } else { print::age(heard, now_ms) },
        bytes(link, "bytes_sent"),
        bytes(link, "bytes_heard"),
        link.get("airtime_today_s").and_then(Json::as_f64).map_or("-".to_owned(), print::seconds),
        print::text(link, "why").to_owned(),
    ]
}

fn bytes(link: &Json, field: &str) -> String {
    link.get(field).and_then(Json::as_u64).map_or("-".to_owned(), print::size)
}
