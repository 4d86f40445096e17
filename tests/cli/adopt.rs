//! Taking over a federation that another program kept. The records are written here by hand, in the field names that programs
//! of this kind share.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use super::harness::{NodeDir, eventually};

const ONION: &str = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid";
const OTHER_ONION: &str = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad";

/// A node record; its `did:key` is base58btc of the multicodec prefix of ed25519 and the key.
fn node(seed: u8, level: &str) -> Value {
    let key = SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
    let multicodec = [&[0xed, 0x01][..], &key].concat();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "did": format!("did:key:z{}", bs58::encode(multicodec).into_string()),
        "pubkey": hex,
        "onion": format!("{ONION}.onion"),
        "trust_level": level,
        "added_at": "2026-03-01T12:00:00Z",
    })
}

fn with(mut record: Value, field: &str, value: Value) -> Value {
    record[field] = value;
    record
}

/// A folder of another program beside a node's own.
fn folder(place: &NodeDir, name: &str, nodes: &Value, invites: Option<&Value>) -> PathBuf {
    let dir = place.folder.parent().unwrap().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("nodes.json"), nodes.to_string()).unwrap();
    if let Some(invites) = invites {
        std::fs::write(dir.join("invites.json"), invites.to_string()).unwrap();
    }
    dir
}

fn adopt(place: &NodeDir, dir: &Path) -> Value {
    place.json(&["adopt", dir.to_str().unwrap()])
}

/// Every field of a node record, as far as it is in a row of `peers --json`.
fn as_record(peer: &Value) -> Value {
    let fields = ["did", "pubkey", "onion", "name", "trust_level", "added_at", "last_seen", "last_state"];
    let present = fields.iter().filter_map(|field| Some(((*field).to_owned(), peer.get(field)?.clone())));
    Value::Object(present.collect())
}

fn records(place: &NodeDir) -> Vec<Value> {
    place.json(&["peers"]).as_array().unwrap().iter().map(as_record).collect()
}

fn full_node() -> Value {
    let state = json!({
        "timestamp": "2026-05-02T10:00:00Z", "node_name": "hut",
        "apps": [{"id": "web", "status": "running", "version": "1.2"}, {"id": "db", "status": "stopped"}],
        "cpu_usage_percent": 12.5, "mem_used_bytes": 1024, "mem_total_bytes": 4096, "uptime_secs": 86_400,
        "tor_active": true
    });
    let hut = with(node(2, "trusted"), "name", json!("hut"));
    with(with(hut, "last_seen", json!("2026-05-02T10:00:00Z")), "last_state", state)
}

fn codes(list: &Value) -> Vec<(u64, String)> {
    let rows = list["refused"].as_array().unwrap();
    rows.iter().map(|r| (r["record"].as_u64().unwrap(), r["code"].as_str().unwrap().to_owned())).collect()
}

/// With and without a running node: what is valid is taken with all its fields, the rest is listed, and a second run changes
/// nothing.
#[test]
fn what_is_valid_is_taken_and_the_rest_is_listed() {
    for runs in [false, true] {
        let place = NodeDir::with_node("attic");
        let daemon = runs.then(|| place.up());
        let bare = with(node(3, "observer"), "onion", json!(OTHER_ONION));
        let nodes = json!({"nodes": [
            full_node(),
            bare,
            with(node(4, "trusted"), "did", json!("did:web:example.org")),
            with(node(4, "trusted"), "pubkey", node(5, "trusted")["pubkey"].clone()),
            with(node(4, "trusted"), "onion", json!("expyuzz4wqqyqhjn.onion")),
            node(4, "friend"),
            full_node(),
            with(node(4, "trusted"), "did", json!(place.did())).as_object().map(|own| {
                let mut own = own.clone();
                own.remove("pubkey");
                Value::Object(own)
            }),
            node(6, "untrusted"),
        ]});
        let dir = folder(&place, "old", &nodes, None);
        let adopted = adopt(&place, &dir);
        let refused: Vec<String> = codes(&adopted["nodes"]).into_iter().map(|(_, code)| code).collect();
        assert_eq!(
            refused,
            ["bad_did", "key_mismatch", "bad_onion", "bad_trust_level", "duplicate", "own_did"]
        );
        assert_eq!(adopted["nodes"]["taken"].as_array().unwrap().len(), 3);

        let find = |seed: u8| {
            let did = node(seed, "trusted")["did"].clone();
            records(&place).into_iter().find(|peer| peer["did"] == did).unwrap()
        };
        assert_eq!(find(2), full_node());
        assert_eq!(find(3)["onion"], format!("{OTHER_ONION}.onion"));
        assert_eq!(
            (&find(3)["trust_level"], &find(6)["trust_level"]),
            (&json!("observer"), &json!("untrusted"))
        );
        assert_eq!(place.json(&["peers"])[0]["joined"], "agreed");
        assert_eq!(place.error_code(&["state", "hut"]), "no_state", "a state that is not signed is no state");

        let before = records(&place);
        place.ok(&["trust", "hut", "observer"]);
        let again = adopt(&place, &dir);
        assert_eq!(again["nodes"]["taken"], json!([]));
        assert_eq!(again["nodes"]["known"].as_array().unwrap().len(), 3);
        assert_eq!(records(&place).len(), before.len());
        assert_eq!(find(2)["trust_level"], "observer", "what was set here stays");
        let text = place.ok(&["adopt", dir.to_str().unwrap()]);
        assert!(
            text.contains("hut") && text.contains("already") && text.contains("nothing was changed"),
            "{text}"
        );
        assert!(text.contains("number 6") && text.contains("`friend` is no trust level"), "{text}");

        // It is on disk: a power cut takes nothing of it back.
        if let Some(daemon) = daemon {
            daemon.kill();
            assert_eq!(records(&place).len(), 3);
        }
    }
}

/// `peers --json` is the list of node records: another node takes it over.
#[test]
fn the_way_back_is_open() {
    let (first, second) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let nodes = json!({"nodes": [full_node(), node(3, "observer"), node(4, "untrusted")]});
    adopt(&first, &folder(&first, "old", &nodes, None));
    // A peer of its own that has joined, beside those that were taken over.
    let third = NodeDir::with_node("mill");
    let first_up = first.up();
    third.ok(&["join", &first.ok(&["invite"]), "--addr", &first_up.address()]);
    let peers = first.json(&["peers"]);
    let mill = peers.as_array().unwrap().iter().find(|peer| peer["name"] == "mill").unwrap();
    assert_eq!(mill["did"], third.did());
    let exported = json!({ "nodes": peers });
    let adopted = adopt(&second, &folder(&second, "exported", &exported, None));
    assert_eq!(adopted["nodes"]["refused"], json!([]));
    for row in adopted["nodes"]["taken"].as_array().unwrap() {
        assert!(row.get("left_out").is_none(), "{row}");
    }
    drop(first_up);
    assert_eq!(records(&second), peers.as_array().unwrap().iter().map(as_record).collect::<Vec<_>>());
}

#[test]
fn files_that_are_none_change_nothing() {
    let place = NodeDir::with_node("attic");
    let dir = folder(&place, "old", &json!({"nodes": [node(2, "trusted")]}), None);
    let at = dir.to_str().unwrap();
    assert_eq!(place.error_code(&["adopt", "/nonexistent"]), "file");
    let long = format!("{{\"nodes\": [\"{}\"]}}", "x".repeat(16 * 1024 * 1024));
    for junk in [
        &b"{"[..],
        b"",
        b"\xff",
        b"[]",
        b"{\"nodes\": {}}",
        b"{\"peers\": []}",
        &[b'['; 100_000],
        long.as_bytes(),
    ] {
        std::fs::write(dir.join("nodes.json"), junk).unwrap();
        assert_eq!(place.error_code(&["adopt", at]), "bad_file", "{:.20}", String::from_utf8_lossy(junk));
    }
    std::fs::remove_file(dir.join("nodes.json")).unwrap();
    assert_eq!(place.error_code(&["adopt", at]), "file");
    let pipe = dir.join("nodes.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(place.error_code(&["adopt", at]), "bad_file");
    std::fs::remove_file(&pipe).unwrap();
    // Valid nodes beside invites that are none: nothing of both.
    folder(&place, "old", &json!({"nodes": [node(2, "trusted")]}), Some(&json!({"outgoing": 7})));
    assert_eq!(place.error_code(&["adopt", at]), "bad_file");
    assert_eq!(place.json(&["peers"]), json!([]));
    let empty = NodeDir::empty();
    assert_eq!(empty.error_code(&["adopt", at]), "no_node");
}

/// The identity moved to another folder without its store: the invite that it had given out still works, once, and the one
/// that was used there stays used.
#[test]
fn an_open_invite_works_after_the_move() {
    let old = NodeDir::with_node("attic");
    let (open, used) = (old.ok(&["invite"]), old.ok(&["invite"]));
    let new = NodeDir::empty();
    std::fs::create_dir(&new.folder).unwrap();
    std::fs::copy(old.folder.join("identity.key"), new.folder.join("identity.key")).unwrap();
    std::fs::copy(old.folder.join("tombolo.toml"), new.folder.join("tombolo.toml")).unwrap();
    let invite = |code: &str, accepted: bool| {
        let id = old.json(&["id"]);
        json!({"code": code, "did": id["did"], "onion": id["onion"], "pubkey": id["pubkey"],
            "created_at": "2026-11-20T10:00:00+01:00", "accepted": accepted})
    };
    let invites = json!({"outgoing": [invite(&open, false), invite(&used, true)], "incoming": []});
    let dir = folder(&new, "old", &json!({"nodes": []}), Some(&invites));
    let new_up = new.up();
    let text = new.ok(&["adopt", dir.to_str().unwrap()]);
    assert!(text.contains("took invite given out") && text.contains("used already"), "{text}");
    assert!(!text.contains("fed1:"), "{text}");
    let (boat, other) = (NodeDir::with_node("boat"), NodeDir::with_node("other"));
    assert_eq!(other.error_code(&["join", &used, "--addr", &new_up.address()]), "join_refused");
    boat.ok(&["join", &open, "--addr", &new_up.address()]);
    assert_eq!(new.json(&["peers"])[0]["did"].as_str().unwrap(), boat.did());
    let log = std::fs::read_to_string(new.folder.join("log")).unwrap();
    assert!(!log.contains("fed1:"), "{log}");
}

/// The inviter had not answered when the node moved: the call goes on from here.
#[test]
fn a_join_without_an_answer_goes_on() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let attic_up = attic.up();
    let code = attic.ok(&["invite", "--addr", &attic_up.address()]);
    let id = attic.json(&["id"]);
    let record = json!({"did": id["did"], "pubkey": id["pubkey"], "onion": id["onion"], "trust_level": "trusted",
        "added_at": "2026-11-20T10:00:00Z"});
    let invite = json!({"code": code, "did": id["did"], "onion": id["onion"], "pubkey": id["pubkey"],
        "created_at": "2026-11-20T10:00:00Z", "accepted": false});
    let invites = json!({"incoming": [invite]});
    let dir = folder(&boat, "old", &json!({"nodes": [record]}), Some(&invites));
    let _boat_up = boat.up();
    let adopted = adopt(&boat, &dir);
    assert_eq!(adopted["incoming"]["taken"][0]["did"], id["did"]);
    eventually("both agreed", || {
        boat.json(&["peers"])[0]["joined"] == "agreed" && attic.json(&["peers"])[0]["joined"] == "agreed"
    });
}
