//! `log`: what the node refused and what happened, each with its reason.

use serde_json::Value as Json;

use super::error::CliResult;
use super::{CliContext, print};
use crate::node::Query;

/// Characters of a line.
const WIDTH: usize = 100;

pub(super) fn run(context: &CliContext, last: usize) -> CliResult {
    if !context.node.is_running() {
        context.node.check_there()?;
        print::hint("no log: it is in the memory of a running node. Start `tombolo up`");
        return if context.json { Ok(print::exact("[]")?) } else { Ok(()) };
    }
    let reply = context.node.ask(Query::Log)?;
    if context.json {
        return Ok(print::exact(&reply.text)?);
    }
    let entries = print::items(&reply.json);
    if entries.is_empty() {
        print::hint("nothing was refused, and no link came or went, since the node started");
    }
    for entry in entries.iter().skip(entries.len().saturating_sub(last)) {
        for line in lines(entry) {
            print::line(&line)?;
        }
    }
    Ok(())
}

/// The time, the peer, what happened and how often; further lines are set in.
fn lines(entry: &Json) -> Vec<String> {
    let mut text = print::text(entry, "message").to_owned();
    let times = print::number(entry, "times");
    if times > 1 {
        text.push_str(&format!(" ({times} times since {})", print::moment(print::text(entry, "first_at"))));
    }
    let peer = print::text(entry, "peer");
    if !peer.is_empty() {
        text = format!("{peer}: {text}");
    }
    let at = print::moment(print::text(entry, "at"));
    let indent = at.chars().count() + 2;
    let mut lines = print::wrapped(&text, indent, WIDTH);
    if let Some(first) = lines.first_mut() {
        *first = format!("{at}  {}", first.trim_start());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_time_its_peer_and_how_often() {
        let entry = serde_json::json!({
            "id": 3, "at": "2027-01-15T08:00:00Z", "first_at": "2027-01-15T07:00:00Z", "times": 4,
            "kind": "rejection", "code": "bad_message", "peer": "hut\u{1b}[2J",
            "message": "a message was dropped: it is not of a form that this version knows",
        });
        let lines_set_in = lines(&entry);
        assert!(lines_set_in.len() == 2 && lines_set_in[1].starts_with("     "), "{lines_set_in:?}");
        let text = lines_set_in.iter().map(|line| line.trim_start()).collect::<Vec<_>>().join(" ");
        assert!(text.contains("hut\u{fffd}[2J: a message was dropped"), "{text}");
        assert!(text.contains("4 times since"), "{text}");
        let once = serde_json::json!({"at": "x", "times": 1, "message": "a link over LAN is up"});
        assert_eq!(lines(&once), ["x  a link over LAN is up"]);
    }
}
