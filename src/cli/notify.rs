//! `notify test`: hands a message over as an alarm would, and shows what came of it. No node is needed: the settings decide.

use clap::Subcommand;
use serde_json::json;

use super::ask::runtime;
use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::clock::rfc3339;
use crate::folder;
use crate::io::AlarmMessage;
use crate::runtime::notify::hand_over;
use crate::system_clock::now;
use crate::watches::{DeliveryEnd, NotifyChannel};

#[derive(Debug, Subcommand)]
pub(super) enum NotifyAct {
    /// Send a test message by every way that section [notify] of the settings names; exit code 1 if one fails
    #[command(after_help = "Examples:\n  tombolo notify test\n  tombolo notify test --json")]
    Test,
}

pub(super) fn run(context: &CliContext, act: &NotifyAct) -> CliResult {
    match act {
        NotifyAct::Test => test(context),
    }
}

fn test(context: &CliContext) -> CliResult {
    let config = folder::load_config(&context.node.folder)?;
    let settings = config.notify_settings();
    let channels = settings.channels();
    if channels.is_empty() {
        let message = "nobody is notified: name a `command` or a `url` in section [notify] of tombolo.toml";
        return Err(CliError::new("no_notify", message));
    }
    let message = AlarmMessage {
        id: "0".repeat(16),
        kind: "test",
        title: format!("{}: a test", config.name),
        body: format!("A test message of {}: alarms will arrive here.", config.name),
        subject: config.name.clone(),
        did: None,
        app: None,
        priority: 3,
        tag: "test_tube",
        raised_at: rfc3339(now().wall),
        reported_by: vec![config.name.clone()],
    };
    let runtime = runtime()?;
    let ends: Vec<(NotifyChannel, DeliveryEnd, String)> = channels
        .into_iter()
        .map(|channel| {
            let (end, answer) = runtime.block_on(hand_over(&settings, channel, &message));
            (channel, end, answer)
        })
        .collect();
    let rows: Vec<_> = ends.iter().map(|(channel, end, answer)| row(*channel, end, answer)).collect();
    match context.json {
        true => print::exact(&serde_json::Value::from(rows).to_string())?,
        false => {
            for (channel, end, answer) in &ends {
                print::line(&print::clean(&sentence(*channel, end, answer)))?;
            }
        }
    }
    match ends.iter().all(|(_, end, _)| *end == DeliveryEnd::Sent) {
        true => Ok(()),
        false => Err(CliError::shown("not_notified")),
    }
}

fn parts(end: &DeliveryEnd) -> (&'static str, &str) {
    match end {
        DeliveryEnd::Sent => ("sent", ""),
        DeliveryEnd::NotYet { why } | DeliveryEnd::Refused { why } => ("failed", why),
        DeliveryEnd::Unknown { why } => ("unknown", why),
    }
}

fn row(channel: NotifyChannel, end: &DeliveryEnd, answer: &str) -> serde_json::Value {
    let (state, why) = parts(end);
    json!({ "channel": channel.label(), "state": state, "answer": answer, "why": why })
}

fn sentence(channel: NotifyChannel, end: &DeliveryEnd, answer: &str) -> String {
    let way = match channel {
        NotifyChannel::Command => "the program",
        NotifyChannel::Url => "the address",
    };
    match (parts(end), answer) {
        (("sent", _), "") => format!("{way} has taken the message"),
        (("sent", _), answer) => format!("{way} has taken the message: {answer}"),
        (("failed", why), _) => format!("{way} has not taken the message: {why}"),
        ((_, why), _) => format!("{way} may have taken the message: {why}"),
    }
}
