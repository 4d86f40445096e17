//! `watch-for`: adds, lists and removes watches.

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::error::CliResult;
use super::{CliContext, print};
use crate::node::{Admin, Query};
use crate::watches::WatchRule;

#[derive(Debug, Subcommand)]
pub(super) enum WatchForAct {
    /// Watch a peer, or this node; without options: silent and back
    #[command(
        after_help = "Examples:\n  tombolo watch-for add hut\n  tombolo watch-for add hut --silent --back --app web\n  tombolo watch-for add attic --disk-above 90"
    )]
    Add(WatchArguments),
    /// List what is watched here
    #[command(after_help = "Examples:\n  tombolo watch-for list\n  tombolo watch-for list --json")]
    List,
    /// Remove a watch by its id
    #[command(after_help = "Examples:\n  tombolo watch-for remove 1")]
    Remove {
        /// The id of the watch, as the list shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct WatchArguments {
    /// A name, a DID or the start of one; this node's own name watches itself
    peer: String,
    /// When nothing comes by the time that it has named
    #[arg(long)]
    silent: bool,
    /// When it is heard again
    #[arg(long)]
    back: bool,
    /// When this app does not run or is unhealthy; may be repeated
    #[arg(long = "app", value_name = "ID")]
    apps: Vec<String>,
    /// When more of its disk is in use, in per cent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=99))]
    disk_above: Option<u8>,
    /// When its clock is wrong
    #[arg(long)]
    clock: bool,
    /// When two machines use its key
    #[arg(long)]
    key_twice: bool,
}

pub(super) fn run(context: &CliContext, act: WatchForAct) -> CliResult {
    let reply = match act {
        WatchForAct::List => context.node.ask(Query::Watches)?,
        WatchForAct::Remove { id } => {
            let reply = context.node.ask(Admin::Unwatch { id })?;
            if !context.json {
                return lines(&reply.json, "no longer watched: ");
            }
            reply
        }
        WatchForAct::Add(WatchArguments { peer, silent, back, apps, disk_above, clock, key_twice }) => {
            let rule = WatchRule { peer, silent, back, apps, disk_above, clock, key_twice };
            let reply = context.node.ask(Admin::WatchFor(rule))?;
            if !context.json && !context.node.is_running() {
                print::hint("start `tombolo up`: a running node watches");
            }
            reply
        }
    };
    match context.json {
        true => Ok(print::exact(&reply.text)?),
        false => lines(&reply.json, ""),
    }
}

fn lines(json: &Json, before: &str) -> CliResult {
    let rows = print::items(json);
    if rows.is_empty() {
        return Ok(print::line("nothing is watched: `tombolo watch-for add PEER` begins that")?);
    }
    for row in rows {
        let field = |name: &str| print::clean(print::text(row, name));
        let from = if field("source") == "settings" { "  (tombolo.toml)" } else { "" };
        print::line(&format!("{before}{}  {}: {}{from}", field("id"), field("peer"), words(row)))?;
        if !field("problem").is_empty() {
            print::line(&format!("    not watched yet: {}", field("problem")))?;
        }
    }
    Ok(())
}

/// What is watched, as a list of words.
fn words(row: &Json) -> String {
    let flag = |name: &str| row.get(name).and_then(Json::as_bool) == Some(true);
    let mut words = Vec::new();
    for (name, word) in
        [("silent", "silent"), ("back", "back"), ("clock", "clock"), ("key_twice", "key used twice")]
    {
        if flag(name) {
            words.push(word.to_owned());
        }
    }
    let apps = row.get("apps").map(print::items).unwrap_or_default();
    words.extend(apps.iter().filter_map(Json::as_str).map(|app| format!("app {}", print::clean(app))));
    if let Some(percent) = row.get("disk_above").and_then(Json::as_u64) {
        words.push(format!("disk above {percent} %"));
    }
    words.join(", ")
}
