//! The router through the binary: each message over a link has its decision, each decision its explanation, and the operator's
//! word counts at once.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::harness::{Daemon, NodeDir, eventually};

/// Two running nodes, the second joined to the first, in step.
fn pair() -> (NodeDir, Daemon, NodeDir, Daemon) {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "a", "1"]);
    eventually("the document at the boat", || {
        boat.hash("plan").is_some() && boat.hash("plan") == attic.hash("plan")
    });
    (attic, attic_up, boat, boat_up)
}

/// How many decisions took a link, and how many messages were sent, in one answer.
fn taken_and_sent(place: &NodeDir) -> (u64, u64) {
    let status = place.json(&["status"]);
    let counters = status["router"].as_object().unwrap();
    let taken =
        counters.iter().filter(|(label, _)| label.ends_with(" taken")).map(|(_, n)| n.as_u64().unwrap());
    (taken.sum(), status["traffic"]["messages_sent"].as_u64().unwrap())
}

/// Without the router nothing would be counted: each message that leaves is one decision that took a link.
#[test]
fn as_many_decisions_took_a_link_as_messages_were_sent() {
    let (attic, _attic_up, boat, _boat_up) = pair();
    for n in 0..20 {
        attic.ok(&["set", "plan", "n", &n.to_string()]);
    }
    eventually("the last write", || boat.hash("plan") == attic.hash("plan"));
    for place in [&attic, &boat] {
        let (taken, sent) = taken_and_sent(place);
        // Writes that come together share a message, and the reader's answers too.
        assert!(sent >= 3, "{sent}");
        assert_eq!(taken, sent);
    }
}

#[test]
fn a_state_that_set_has_named_is_explained_and_replays() {
    let (attic, _attic_up, boat, _boat_up) = pair();
    let written = attic.json(&["set", "plan", "b", "2"]);
    let id = written["id"].as_str().unwrap();
    assert_eq!(id, format!("plan@{}", written["sequence"]));
    eventually("the write at the boat", || boat.hash("plan") == attic.hash("plan"));
    let views = attic.json(&["why", id]);
    assert_eq!((views[0]["peer"].as_str(), views[0]["chosen"].as_str()), (Some("boat"), Some("lan")));
    assert_eq!(views[0]["about"].as_str(), Some(id));
    let text = attic.ok(&["why", views[0]["id"].as_str().unwrap()]);
    assert!(text.contains("used: the cheapest in time") && text.contains("class document"), "{text}");
    assert!(attic.ok(&["why", "boat"]).starts_with("a document of 128 bytes to boat would go now, by lan"));
    assert!(attic.ok(&["why"]).contains(id));
    assert_eq!(attic.error_code(&["why", "nothing"]), "unknown_decision");
    // From the JSON alone, also where no node lives.
    let nowhere = NodeDir::empty();
    assert_eq!(replayed(&nowhere, &views).0, Some(0));
    let mut forged = views.clone();
    forged[0]["decision"]["question"]["links"][0]["message_bytes_max"] = 1.into();
    let (code, error) = replayed(&nowhere, &forged);
    assert_eq!(code, Some(1));
    assert!(error.contains("decided_otherwise"), "{error}");
}

/// Runs `why --replay -` on a JSON. Returns the exit code and standard error.
fn replayed(place: &NodeDir, views: &Value) -> (Option<i32>, String) {
    let mut command = place.command(&["why", "--replay", "-", "--json"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(views.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The change holds from the next message on, and survives a restart; the way back opens the link again.
#[test]
fn a_route_that_forbids_the_only_link_holds_at_once_and_after_a_restart() {
    let (attic, attic_up, boat, _boat_up) = pair();
    attic.ok(&["route", "tor-only", "--peer", "boat"]);
    let why = attic.json(&["why", "boat"]);
    assert_eq!(why[0].get("chosen"), None, "{why}");
    assert_eq!(why[0]["candidates"][0]["why"].as_str(), Some("not used: tor-only is set for this peer"));
    attic.ok(&["set", "plan", "secret", "1"]);
    attic_up.terminate();
    let _attic_up = attic.up();
    let rows = attic.json(&["route"]);
    let peer = rows.as_array().unwrap().iter().find(|row| row["for"] == "peer").unwrap();
    assert_eq!((peer["name"].as_str(), peer["set_by"].as_str()), (Some("boat"), Some("command")));
    assert!(boat.run(&["get", "plan", "secret"]).stdout.is_empty(), "it did not go by the LAN");
    attic.ok(&["route", "--reset", "--peer", "boat"]);
    eventually("the write after all", || boat.run(&["get", "plan", "secret"]).status.success());
    assert_eq!(attic.error_code(&["route", "--price", "1", "--link", "lan", "--only", "2-5"]), "bad_route");
}
