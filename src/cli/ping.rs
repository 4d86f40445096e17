//! `ping`: a sign of life of a peer over each link, with the time that it took.

use std::time::Duration;

use serde_json::Value as Json;

use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::node::Query;

pub(super) fn run(context: &CliContext, peer: String) -> CliResult {
    let reply = context.node.ask(Query::Ping { peer })?;
    let links = reply.json.get("links").map(print::items).unwrap_or_default();
    let has_answered = links.iter().any(|link| link.get("round_trip_us").is_some());
    if context.json {
        print::exact(&reply.text)?;
    } else {
        let name = print::clean(print::text(&reply.json, "peer"));
        for link in links {
            print::line(&format!(
                "{name} over {}: {}",
                print::clean(print::text(link, "link")),
                answer(link)
            ))?;
        }
        if links.is_empty() {
            print::line(&format!("no link leads to {name}"))?;
        }
    }
    match has_answered {
        true => Ok(()),
        false if context.json => Err(CliError::shown("no_answer")),
        false => {
            print::hint("`tombolo links` shows why a link is or is not there");
            Err(CliError::shown("no_answer"))
        }
    }
}

/// How long a node may take to answer before it counts as one that does not.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn health(context: &CliContext) -> CliResult {
    let reply = context.node.ask_daemon_within(Query::Id, HEALTH_TIMEOUT);
    let reply = reply
        .unwrap_or_else(|| Err(CliError::new("needs_daemon", "no node runs here: `tombolo up` starts it")))?;
    if context.json {
        return Ok(print::exact(
            &serde_json::json!({ "ok": true, "name": reply.json.get("name") }).to_string(),
        )?);
    }
    Ok(print::line(&format!("{} answers", print::clean(print::text(&reply.json, "name"))))?)
}

/// What came of one link.
fn answer(link: &Json) -> String {
    if let Some(us) = link.get("round_trip_us").and_then(Json::as_u64) {
        return format!("{:.1} ms", us as f64 / 1_000.0);
    }
    let heard = print::text(link, "last_heard");
    let heard = if heard.is_empty() { "never heard".to_owned() } else { format!("last heard {heard}") };
    match link.get("asked").and_then(Json::as_bool) {
        Some(true) => format!("no answer; {heard}"),
        _ => format!("not asked, since that takes airtime; {heard}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_a_silence_and_a_radio_read_differently() {
        let row = |json: Json| answer(&json);
        assert_eq!(row(serde_json::json!({"asked": true, "round_trip_us": 1_540})), "1.5 ms");
        let silent = serde_json::json!({"asked": true, "last_heard": "2027-01-15T08:00:00Z"});
        assert_eq!(row(silent), "no answer; last heard 2027-01-15T08:00:00Z");
        assert_eq!(
            row(serde_json::json!({"asked": false})),
            "not asked, since that takes airtime; never heard"
        );
    }
}
