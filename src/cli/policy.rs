//! `policy`: shows or sets the policy of a document.

use super::{CliContext, CliResult, print};
use crate::federation::RadioUse;
use crate::node::Admin;

pub(super) fn policy(
    context: &CliContext,
    doc: String,
    radio: Option<RadioUse>,
    confidential: Option<bool>,
) -> CliResult {
    let reply = context.node.ask(Admin::Policy { doc, radio, confidential })?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let document = print::clean(print::text(&reply.json, "document"));
    let by_radio = match print::text(&reply.json, "radio") {
        "never" => "does not go by radio".to_owned(),
        "brief" => format!("goes by radio as its brief, {document}.brief"),
        _ => "goes by radio as it is".to_owned(),
    };
    let seen = match reply.json.get("confidential").and_then(serde_json::Value::as_bool) {
        Some(false) => "outsiders may see it",
        _ => "only its readers may see it",
    };
    Ok(print::line(&format!("{document} {by_radio}; {seen}"))?)
}
