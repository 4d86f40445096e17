//! Presence through the binary: a daemon that stops answering is missed when it was to be heard again, and not before.

use std::time::{Duration, Instant};

use super::harness::{NodeDir, eventually};

/// A stopped process sends nothing and closes nothing. Its peer shows it as there until its "next by" has passed, then as overdue
/// with the reason, in `status` and in the log; and as here once it runs again.
#[test]
fn a_stopped_daemon_is_overdue_at_its_next_by_and_not_before() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    let boat_did = boat.did();
    let presence = || attic.json(&["status"])["peers"][0]["presence"].clone();
    eventually("the boat is here, and hears the attic", || {
        let it = presence();
        it["state"] == "here" && it["hears_us"]["proof"] == "heartbeat"
    });
    eventually("the state of the boat is here", || attic.run(&["state", "boat"]).status.success());
    assert!(!attic.ok(&["state", "boat"]).contains("from before"));
    let shown = attic.ok(&["status"]);
    assert!(shown.contains("PRESENCE") && shown.contains("over "), "{shown}");

    boat_up.signal("-STOP");
    let end = Instant::now() + Duration::from_secs(300);
    let overdue = loop {
        let it = presence();
        let (silent, within) = (it["silent_s"].as_u64().unwrap(), it["next_within_s"].as_u64().unwrap());
        match it["state"].as_str().unwrap() {
            "here" | "quiet" => assert!(silent <= within, "{it}"),
            _ => {
                assert!(silent >= within, "missed before its next by: {it}");
                break it;
            }
        }
        assert!(Instant::now() < end, "never missed: {it}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(
        overdue["since"].is_string() && overdue["why"].as_str().unwrap().contains("last heard"),
        "{overdue}"
    );
    let shown = attic.ok(&["status"]);
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_missed =
        words.contains("! boat is overdue since") || words.contains("! the link to boat is lost since");
    assert!(
        is_missed && words.contains("`tombolo dial boat ADDR`") | words.contains("Check its power"),
        "{shown}"
    );
    let state = attic.ok(&["state", "boat"]);
    assert!(state.contains("old ") && state.contains("what follows is from before"), "{state}");
    eventually("the log has it", || attic.ok(&["log"]).contains("boat: overdue, was "));
    let log = attic.json(&["log"]);
    let entry = log.as_array().unwrap().iter().find(|entry| entry["code"] == "overdue").unwrap();
    assert_eq!((entry["kind"].as_str(), entry["did"].as_str()), (Some("presence"), Some(&*boat_did)));

    boat_up.signal("-CONT");
    let end = Instant::now() + Duration::from_secs(300);
    while presence()["state"] != "here" {
        assert!(Instant::now() < end, "not back: {}", presence());
        std::thread::sleep(Duration::from_millis(200));
    }
}
