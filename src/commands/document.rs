//! The last outcomes as a snapshot document of the receiver. Its readers need not know each other, so it does not name the
//! senders: a sender finds its command by the id.

use tombolo_delta::Value;

use super::inbox::CommandInbox;
use super::outcome::{Outcome, RunEnd};
use super::record::{InstallProgress, ReceivedCommand};
use crate::clock::rfc3339;

/// The document `deploys`: `{"outcomes": [{id, app, version, status, …}, …]}`, newest first.
pub fn outcomes_document(inbox: &CommandInbox) -> Value {
    let outcomes = inbox.last_outcomes().into_iter().filter_map(entry).collect();
    Value::map([("outcomes", Value::Array(outcomes))])
}

fn entry(record: &ReceivedCommand) -> Option<Value> {
    let InstallProgress::Ended { outcome, at } = &record.progress else { return None };
    let text = |text: &str| Value::from(text);
    let mut fields = vec![
        ("id", text(&record.key.id.to_string())),
        ("app", text(&record.deploy.id)),
        ("version", text(&record.deploy.version)),
        ("status", text(outcome.label())),
        ("taken_at", text(&rfc3339(record.taken_at))),
        ("ended_at", text(&rfc3339(*at))),
    ];
    match outcome {
        Outcome::Refused(why) => fields.push(("reason", text(why.label()))),
        Outcome::Ended(result) => {
            if let RunEnd::Exit(code) = result.end {
                fields.push(("exit_code", Value::from(u64::from(code))));
            }
            fields.push(("output", text(&result.output)));
        }
        Outcome::Unknown => {}
    }
    Some(Value::map(fields))
}
