//! `alarms`: shows what watches have found, here and at the nodes that are trusted; acknowledges it.

use clap::Subcommand;
use serde_json::Value as Json;

use super::error::CliResult;
use super::{CliContext, print};
use crate::node::{Admin, Query};

/// Characters of an id that people are shown: enough to name one alarm of a few.
const ID_CHARS: usize = 8;

#[derive(Debug, Subcommand)]
pub(super) enum AlarmsAct {
    /// Note that you have seen an alarm: no node sends a further message about it
    #[command(after_help = "Examples:\n  tombolo alarms ack 3f9c")]
    Ack {
        /// The id of the alarm, or the start of it
        id: String,
    },
}

pub(super) fn run(context: &CliContext, act: Option<AlarmsAct>) -> CliResult {
    let is_list = act.is_none();
    let reply = match act {
        None => context.node.ask(Query::Alarms)?,
        Some(AlarmsAct::Ack { id }) => context.node.ask(Admin::AcknowledgeAlarm { id })?,
    };
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let rows = print::items(&reply.json);
    if rows.is_empty() {
        print::line("no alarms")?;
        if is_list && print::items(&context.node.ask(Query::Watches)?.json).is_empty() {
            print::hint("nothing is watched here either: `tombolo watch-for add PEER` begins that");
        }
        return Ok(());
    }
    for row in rows {
        shown(row)?;
    }
    if !context.node.is_running() {
        print::hint("start `tombolo up`: a running node watches, and shows this to the others");
    }
    Ok(())
}

fn shown(row: &Json) -> CliResult {
    let field = |name: &str| print::clean(print::text(row, name));
    let names = |name: &str| {
        let names = row.get(name).map(print::items).unwrap_or_default();
        names.iter().filter_map(|name| name.as_str().map(print::clean)).collect::<Vec<_>>().join(", ")
    };
    let is_open = row.get("open").and_then(Json::as_bool) == Some(true);
    let sign = if is_open { '!' } else { ' ' };
    let id: String = field("id").chars().take(ID_CHARS).collect();
    print::line(&format!("{sign} {id}  {}", field("message")))?;
    let mut facts = vec![format!("raised {} by {}", field("raised_at"), names("reported_by"))];
    match field("cleared_at").as_str() {
        "" => {}
        _ if field("kind") == "back" => {}
        at => facts.push(format!("over {at}")),
    }
    match names("acknowledged_by").as_str() {
        "" if is_open => facts.push(format!("not acknowledged: `tombolo alarms ack {id}`")),
        "" => {}
        by => facts.push(format!("acknowledged by {by}")),
    }
    print::line(&format!("    {}", facts.join("; ")))?;
    for message in row.get("messages").map(print::items).unwrap_or_default() {
        print::line(&format!("    {}", print::clean(&message_words(message))))?;
    }
    match names("notified_by").as_str() {
        "" => Ok(()),
        by => Ok(print::line(&format!("    message sent by {by}"))?),
    }
}

/// One message of this node, as a sentence.
fn message_words(message: &Json) -> String {
    let way = match print::text(message, "channel") {
        "command" => "by your program",
        _ => "to your address",
    };
    let why = match print::text(message, "why") {
        "" => String::new(),
        why => format!(": {why}"),
    };
    match print::text(message, "state") {
        "sent" => format!("message sent {way}"),
        "waiting" => format!("message {way} waits{why}"),
        "taken" => format!("message {way} is on its way"),
        "dropped" => format!("no message {way}{why}"),
        "unknown" => format!("message {way} may have arrived, and is not sent again{why}"),
        _ => format!("message {way} failed{why}"),
    }
}
