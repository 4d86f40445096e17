//! What needs no daemon works without one.

use super::harness::{NodeDir, mode};
use serde_json::json;
use std::io::Write;
use std::process::Stdio;

#[test]
fn a_document_lives_its_whole_life_without_a_daemon() {
    let place = NodeDir::empty();
    place.ok(&["init", "--name", "attic"]);
    let id = place.json(&["id"]);
    assert_eq!(id["name"], "attic");
    assert!(id["did"].as_str().unwrap().starts_with("did:key:z6Mk"));

    place.ok(&["create", "plan"]);
    place.ok(&["set", "plan", "monday/watch", "Ada"]);
    place.ok(&["set", "plan", "monday/boats", "3"]);
    place.ok(&["set", "plan", "tuesday", "{\"watch\": \"Grace\", \"boats\": [1, 4]}"]);
    assert_eq!(place.ok(&["get", "plan", "monday/watch"]), "Ada");
    assert_eq!(place.ok(&["get", "plan", "monday/watch", "--json"]), "\"Ada\"");
    let whole =
        json!({"monday": {"watch": "Ada", "boats": 3}, "tuesday": {"watch": "Grace", "boats": [1, 4]}});
    assert_eq!(place.json(&["get", "plan"])["value"], whole);

    place.ok(&["del", "plan", "monday"]);
    assert_eq!(
        place.json(&["get", "plan"])["value"],
        json!({"tuesday": {"watch": "Grace", "boats": [1, 4]}})
    );
    let listed = place.json(&["ls"]);
    let plan = listed.as_array().unwrap().iter().find(|d| d["name"] == "plan").unwrap();
    assert_eq!((&plan["owner"], &plan["kind"]), (&id["did"], &json!("map")));

    let file = place.folder.join("new.json");
    std::fs::write(&file, "{\"friday\": true}").unwrap();
    let before = place.hash("plan");
    place.ok(&["put", "plan", file.to_str().unwrap()]);
    assert_eq!(place.json(&["get", "plan"])["value"], json!({"friday": true}));
    assert_ne!(place.hash("plan"), before);
    assert_eq!(place.json(&["put", "plan", file.to_str().unwrap()])["changed"], 0);
    place.ok(&["status"]);
    place.ok(&["conflicts"]);
}

#[test]
fn init_makes_a_closed_folder_and_never_touches_an_identity() {
    let place = NodeDir::empty();
    place.ok(&["init", "--name", "attic"]);
    let key = place.folder.join("identity.key");
    assert_eq!((mode(&place.folder), mode(&key)), (0o700, 0o600));
    place.ok(&["create", "plan"]);
    for file in std::fs::read_dir(&place.folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}: documents and settings are nobody else's to read");
    }
    let before = (std::fs::read(&key).unwrap(), place.did());
    assert_eq!(place.error_code(&["init", "--name", "attic"]), "already_initialised");
    assert_eq!(place.error_code(&["init", "--name", "cellar"]), "already_initialised");
    assert_eq!((std::fs::read(&key).unwrap(), place.did()), before);

    // Lost settings come back under the same identity.
    std::fs::remove_file(place.folder.join("tombolo.toml")).unwrap();
    assert!(place.fails(1, &["id"]).contains("tombolo init --name"));
    place.ok(&["init", "--name", "cellar"]);
    assert_eq!((std::fs::read(&key).unwrap(), place.did()), before);
}

#[test]
fn odd_keys_and_values_come_back_as_they_went_in() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "odd"]);
    for (key, value, json) in [
        ("a\\/b", "-5", "-5"),
        ("-k", "1.0", "1.0"),
        ("ä ö/✓", "", "\"\""),
        ("two/lines", "a\nb", "\"a\\nb\""),
        ("big", "18446744073709551615", "18446744073709551615"),
        ("null", "null", "null"),
        ("a//b", "\"3\"", "\"3\""),
        ("quote", "'; drop table", "\"'; drop table\""),
        ("--json", "x", "\"x\""),
    ] {
        place.ok(&["set", "--", "odd", key, value]);
        assert_eq!(place.ok(&["get", "--json", "--", "odd", key]), json, "{key}");
    }
    assert_eq!(place.json(&["get", "odd"])["value"]["a/b"], -5);
}

#[test]
fn put_reads_standard_input() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    let mut child =
        place.command(&["put", "plan", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"a\": {\"b\": 1}}").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(place.ok(&["get", "plan", "a/b"]), "1");
}

#[test]
fn a_snapshot_is_written_whole() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "report", "--snapshot"]);
    let file = place.folder.join("report.json");
    std::fs::write(&file, "[1, 2.5, null, \"x\"]").unwrap();
    place.ok(&["put", "report", file.to_str().unwrap()]);
    assert_eq!(place.json(&["get", "report"])["value"], json!([1, 2.5, null, "x"]));
}

/// Many commands at once on one store: each waits its turn, none is lost.
#[test]
fn commands_side_by_side_wait_for_each_other() {
    let place = NodeDir::with_node("attic");
    place.ok(&["create", "plan"]);
    let children: Vec<_> = (0..8)
        .map(|n| {
            place.command(&["set", "plan", &format!("k{n}"), "1"]).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(place.json(&["get", "plan"])["value"].as_object().unwrap().len(), 8);
}
