//! Two and three nodes on a wire made of a queue: the smallest federations that can go wrong.

use crate::time::{Millis, Mono};
use std::collections::BTreeMap;

use tombolo_delta::Value;

use super::*;
use crate::clock::Timestamp;
use crate::commands::Deploy;
use crate::federation::{RadioUse, TrustLevel};
use crate::io::ReadOnlyReason;
use crate::layer::{DocumentId, DocumentName, Kind, LayerId, Sequence};
use crate::merge::{KeyPath, map_of};
use crate::random::Random;
use crate::sync;

mod alarms;
mod calls;
mod deploy;
mod deploy_calls;
mod deploy_restored;
mod draft;
mod ending;
mod long;
mod meeting;
mod restore;
mod revoke;
mod routes;
mod steps;
mod wire;

use wire::{START, Wire, open};

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_text).map(str::to_owned)
}

#[test]
fn two_nodes_join_and_both_write_one_document() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.pass(1_000);
    wire.set(1, "n0/notes", "from/b", "hello").unwrap();
    wire.set(0, "notes", "from/a", 7i64).unwrap();
    wire.pass(1_000);
    let seen = wire.get(0, "notes");
    assert_eq!(seen, wire.get(1, "notes"));
    assert_eq!(seen.get("from").and_then(|f| text(f, "b")), Some("hello".into()));
    assert_eq!(wire.hashes(0), wire.hashes(1));
    assert_eq!(wire.status(0).peers[0].step.state, "in step");
}

/// The list of readers comes before what counts under it, in whatever order the hashes of the layers stand: what an ordinary
/// first join leaves in `status` would worry a person for nothing.
#[test]
fn a_first_meeting_refuses_nothing() {
    let mut wire = Wire::new(9);
    for node in 0..9 {
        wire.ask(node, Write::publish(NodeState::default())).unwrap();
        wire.create(node, "notes");
    }
    for joiner in 1..9 {
        wire.join(0, joiner, TrustLevel::Trusted);
        wire.connect(0, joiner);
        wire.pass(3_000);
        for node in [0, joiner] {
            assert_eq!(wire.status(node).rejections, BTreeMap::new(), "node {node}, joiner {joiner}");
        }
    }
}

/// A record of a peer is not written with every message, its state is: who was there is not shown as never met.
#[test]
fn a_peer_that_was_there_is_no_stranger_after_a_restart() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.ask(1, Write::publish(NodeState::default())).unwrap();
    wire.pass(240_000);
    wire.restart(0);
    let Ok(Reply::Links(links)) = wire.ask(0, Query::Links) else { panic!("links") };
    assert_eq!(links[0].why, "no link to it now: it is off or out of reach");
    assert!(links[0].last_heard.is_some() && wire.status(0).peers[0].heard_at.is_some());
}

#[test]
fn a_live_write_costs_one_delta_and_no_chatter() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.pass(20_000);
    wire.sent.clear();
    wire.set(0, "notes", "k", 1i64).unwrap();
    wire.pass(500);
    let sizes: Vec<usize> = wire.sent.iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sizes.len(), 1, "one message: {sizes:?}");
    assert!(sizes[0] <= 71 + 16, "{sizes:?}");
}

#[test]
fn what_was_written_apart_comes_together() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.create(0, "notes");
    wire.connect(0, 1);
    wire.pass(2_000);
    wire.cut(0, 1);
    for i in 0..20 {
        wire.set(i % 2, "n0/notes", &format!("k{i}"), i as i64).unwrap();
    }
    wire.set(0, "notes", "both", "a").unwrap();
    wire.pass(10);
    wire.set(1, "n0/notes", "both", "b").unwrap();
    wire.connect(0, 1);
    wire.pass(2_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
    assert_eq!(text(&wire.get(0, "notes"), "both"), Some("b".into()));
    let Ok(Reply::Conflicts(lost)) = wire.ask(0, Query::Conflicts { doc: None }) else { panic!() };
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].key, "both");
}

#[test]
fn a_node_receives_a_third_ones_state_through_the_second() {
    let mut wire = Wire::new(3);
    // All three know each other, but 0 and 2 never meet again.
    wire.join(0, 1, TrustLevel::Trusted);
    wire.join(1, 2, TrustLevel::Trusted);
    wire.join(0, 2, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.connect(1, 2);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "v").unwrap();
    let state = NodeState { cpu_usage_percent: Some(12.5), ..NodeState::default() };
    wire.ask(0, Write::publish(state)).unwrap();
    wire.pass(3_000);
    assert_eq!(text(&wire.get(2, "notes"), "k"), Some("v".into()));
    let Ok(Reply::State(state)) = wire.ask(2, Query::State { peer: Some("n0".into()) }) else {
        panic!("a state")
    };
    assert_eq!(state.state.cpu_usage_percent, Some(12.5));
    wire.set(2, "n0/notes", "back", "w").unwrap();
    wire.pass(3_000);
    assert_eq!(text(&wire.get(0, "notes"), "back"), Some("w".into()));
}

#[test]
fn an_observer_reads_and_does_not_write() {
    let mut wire = Wire::new(2);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "v").unwrap();
    wire.join(0, 1, TrustLevel::Observer);
    wire.connect(0, 1);
    wire.pass(2_000);
    assert_eq!(text(&wire.get(1, "notes"), "k"), Some("v".into()));
    let why = ReadOnlyReason::Observer;
    for doc in ["notes", "n0/notes"] {
        let refused = Err(CommandError::ReadOnly { doc: doc.into(), why });
        assert_eq!(wire.set(1, doc, "k", "w"), refused);
    }
    // We only observe it in turn: its node state is all we take.
    wire.create(1, "theirs");
    wire.ask(1, Write::publish(NodeState::default())).unwrap();
    wire.pass(2_000);
    assert!(matches!(
        wire.ask(0, Query::Get { doc: "theirs".into(), key: None }),
        Err(CommandError::UnknownDocument(_))
    ));
    assert!(wire.ask(0, Query::State { peer: Some("n1".into()) }).is_ok());
    assert!(wire.status(0).rejections.contains_key("owner_only_observed"));
}

#[test]
fn removing_a_writer_closes_its_links_and_keeps_what_it_wrote() {
    let mut wire = Wire::new(3);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.join(0, 2, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.connect(0, 2);
    wire.create(0, "notes");
    wire.pass(1_000);
    wire.set(1, "n0/notes", "his", "stays").unwrap();
    wire.pass(1_000);
    let Ok(Reply::Removed(removed)) = wire.ask(0, Admin::Remove { peer: "n1".into() }) else { panic!() };
    assert_eq!(removed.entries_kept, 1);
    // What the removed writer signed is owed to no node.
    wire.pass(90_000);
    for (at, peer) in [(0, "n2"), (2, "n0")] {
        let status = wire.status(at);
        let row = status.peers.iter().find(|row| row.name == peer).expect("a peer");
        assert_eq!((row.step.state, row.behind.len()), ("in step", 0), "node {at}: {row:?}");
    }
    assert!(wire.links.keys().all(|(node, _)| *node != 1), "its links are closed");
    wire.pass(1_000);
    for node in [0, 2] {
        assert_eq!(text(&wire.get(node, "notes"), "his"), Some("stays".into()), "node {node}");
    }
    wire.set(0, "notes", "after", "secret").unwrap();
    wire.set(1, "n0/notes", "late", "x").unwrap();
    wire.connect(0, 1);
    wire.pass(2_000);
    assert_eq!(text(&wire.get(0, "notes"), "late"), None);
    assert_eq!(text(&wire.get(1, "notes"), "after"), None);
    assert_eq!(wire.hashes(0), wire.hashes(2));
}

#[test]
fn an_invite_works_once_and_its_joiner_may_ask_again() {
    let mut wire = Wire::new(3);
    let invite =
        Admin::Invite { level: TrustLevel::Trusted, expires_in: Millis::from_ms(60_000), addresses: vec![] };
    let Reply::Invite(invite) = wire.ask(0, invite).unwrap() else { panic!() };
    assert!(wire.ask(1, Admin::Join { code: invite.code.clone(), addresses: vec![] }).is_ok());
    let second = wire.ask(2, Admin::Join { code: invite.compact.clone(), addresses: vec![] });
    assert!(matches!(second, Err(CommandError::JoinRefused { .. })), "{second:?}");
    assert!(wire.nodes[2].report().dialable_peers().is_empty(), "nothing is left of a refused joining");
    let again = wire.ask(1, Admin::Join { code: invite.code.clone(), addresses: vec![] });
    assert!(matches!(again, Err(CommandError::AlreadyPeer(_))));
    assert_eq!(
        wire.ask(0, Admin::Join { code: invite.code, addresses: vec![] }),
        Err(CommandError::OwnInvite)
    );
}

/// The code that it has used once lets it in no more, and leaves what it holds of the other; a new one does.
#[test]
fn a_removed_node_joins_anew_with_a_new_invite_alone() {
    let mut wire = Wire::new(2);
    let invite = || Admin::Invite {
        level: TrustLevel::Trusted,
        expires_in: Millis::from_ms(60_000),
        addresses: vec![],
    };
    let Reply::Invite(old) = wire.ask(0, invite()).unwrap() else { panic!() };
    let join = |code: &str| Admin::Join { code: code.to_owned(), addresses: vec![] };
    wire.ask(1, join(&old.code)).unwrap();
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "v").unwrap();
    wire.pass(1_000);
    wire.ask(0, Admin::Remove { peer: "n1".into() }).unwrap();
    wire.pass(1_000);
    let owner = wire.nodes[0].peer_id();
    wire.queue.push_back((1, Input::Denied { peer: owner }));
    wire.pass(10);
    assert!(wire.status(1).alarms.iter().any(|alarm| alarm.code == "removed_by"));
    assert!(matches!(wire.ask(1, join(&old.code)), Err(CommandError::JoinRefused { .. })));
    assert_eq!(text(&wire.get(1, "n0/notes"), "k"), Some("v".into()), "what it holds stays");
    assert!(wire.status(1).alarms.iter().any(|alarm| alarm.code == "removed_by"));
    let Reply::Invite(new) = wire.ask(0, invite()).unwrap() else { panic!() };
    wire.ask(1, join(&new.code)).unwrap();
    assert!(wire.status(1).alarms.iter().all(|alarm| alarm.code != "removed_by"));
    wire.set(0, "notes", "after", "w").unwrap();
    wire.connect(0, 1);
    wire.pass(5_000);
    assert_eq!(text(&wire.get(1, "n0/notes"), "after"), Some("w".into()));
    // Where it has removed the other in turn, nothing is left of a refused joining.
    wire.ask(0, Admin::Remove { peer: "n1".into() }).unwrap();
    wire.ask(1, Admin::Remove { peer: "n0".into() }).unwrap();
    assert!(matches!(wire.ask(1, join(&new.code)), Err(CommandError::JoinRefused { .. })));
    assert!(wire.nodes[1].report().dialable_peers().is_empty());
}

#[test]
fn a_restart_loses_nothing_and_goes_on_with_deltas() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "v".repeat(2_000).as_str()).unwrap();
    wire.pass(2_000);
    let before = wire.hashes(0);
    wire.restart(0);
    wire.restart(1);
    assert_eq!(wire.hashes(0), before);
    wire.set(0, "notes", "l", "w").unwrap();
    wire.sent.clear();
    wire.connect(0, 1);
    wire.pass(3_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
    let largest = wire.sent.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    assert!(largest < 500, "the large value did not travel again: {largest}");
}

#[test]
fn a_large_layer_travels_in_parts_and_only_what_differs() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.create(0, "big");
    let filler = "x".repeat(900);
    let members: Value = (0..1_000).map(|i| (format!("k{i}"), Value::from(filler.as_str()))).collect();
    wire.ask(0, Write::Put { doc: "big".into(), value: members, whole: false }).unwrap();
    wire.connect(0, 1);
    wire.pass(20_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
    let all: usize = wire.sent.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(all > 900_000);
    wire.cut(0, 1);
    for i in 0..100 {
        wire.set(0, "big", &format!("n{i}"), "new").unwrap();
    }
    wire.restart(1);
    wire.sent.clear();
    wire.connect(0, 1);
    wire.pass(20_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
    let again: usize = wire.sent.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(again < 200_000, "only what differs travels: {again}");
}

#[test]
fn a_restored_backup_recovers_from_its_peers_and_goes_on_above() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.set(0, "notes", "old", "1").unwrap();
    wire.pass(1_000);
    let backup = {
        // A copy of the disk: everything stored, in a store of its own.
        let copy = Store::in_memory().unwrap();
        wire.nodes[0].core.gate.store().copy_into(&copy).unwrap();
        copy
    };
    wire.set(0, "notes", "newer", "2").unwrap();
    wire.pass(60_000);
    wire.cut(0, 1);
    wire.nodes[0] = open(backup, 0, wire.mono);
    assert_eq!(text(&wire.get(0, "notes"), "newer"), None);
    wire.set(0, "notes", "since", "3").unwrap();
    wire.connect(0, 1);
    wire.pass(5_000);
    for node in [0, 1] {
        let notes = wire.get(node, "notes");
        assert_eq!(text(&notes, "newer"), Some("2".into()), "node {node}");
        assert_eq!(text(&notes, "since"), Some("3".into()), "node {node}");
    }
    wire.set(0, "notes", "on", "4").unwrap();
    wire.pass(1_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
}

#[test]
fn deleted_keys_stay_deleted_and_their_tombstones_end() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.pass(1_000);
    wire.set(1, "n0/notes", "k", "v").unwrap();
    wire.pass(1_000);
    let key = KeyPath::parse("k").unwrap();
    wire.ask(0, Write::Del { doc: "notes".into(), key: key.clone() }).unwrap();
    wire.pass(5_000);
    assert_eq!(text(&wire.get(1, "notes"), "k"), None);
    wire.set(1, "n0/notes", "later", "x").unwrap();
    wire.pass(3 * 3_600_000);
    for node in [0, 1] {
        let entries: usize = wire.nodes[node]
            .replica
            .layers()
            .layers()
            .filter_map(map_of)
            .filter(|map| map.get(&key).is_some())
            .count();
        assert_eq!(entries, 0, "node {node} keeps neither the entry nor its tombstone");
    }
    assert_eq!(wire.hashes(0), wire.hashes(1));
}

#[test]
fn hostile_bytes_on_a_link_are_counted_and_change_nothing() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.pass(1_000);
    let before = wire.hashes(0);
    let link = *wire.links.keys().find(|(node, _)| *node == 0).map(|(_, link)| link).unwrap();
    let mut random = Random::new(&[5; 32]);
    let valid: Vec<Vec<u8>> = wire.sent.iter().map(|(_, bytes)| bytes.clone()).collect();
    for i in 0..5_000 {
        let mut bytes = valid[i % valid.len()].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
        wire.queue.push_back((0, Input::Received { link, bytes }));
    }
    wire.run();
    assert_eq!(wire.hashes(0), before);
    assert!(wire.status(0).rejections["bad_message"] > 100);
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged_and_is_got_over() {
    let mut wire = Wire::new(2);
    let (store, fill) = crate::store::tests::on_a_disk_that_fills();
    wire.nodes[0] = open(store, 0, Mono::ZERO);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "saved").unwrap();
    wire.pass(1_000);
    fill(true);
    let refused = wire.set(0, "notes", "k", "lost");
    assert!(matches!(refused, Err(CommandError::Store(_))), "{refused:?}");
    wire.set(1, "n0/notes", "theirs", "waits").unwrap();
    wire.pass(20_000);
    fill(false);
    wire.pass(60_000);
    assert_eq!(text(&wire.get(0, "notes"), "k"), Some("saved".into()));
    assert_eq!(text(&wire.get(0, "notes"), "theirs"), Some("waits".into()));
    wire.set(0, "notes", "k", "again").unwrap();
    wire.pass(1_000);
    assert_eq!(text(&wire.get(1, "notes"), "k"), Some("again".into()));
    assert!(wire.status(0).alarms.is_empty(), "{:?}", wire.status(0).alarms);
}

#[test]
fn a_joiner_may_write_a_document_as_soon_as_it_sees_it() {
    let mut wire = Wire::new(2);
    wire.connect(0, 1);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    for _ in 0..300 {
        wire.pass(1);
        let key = KeyPath::parse("k").unwrap();
        let written = wire.ask(1, Write::Set { doc: "n0/notes".into(), key, value: Value::from("v") });
        match written {
            Err(CommandError::UnknownDocument(_)) => continue,
            other => return assert!(other.is_ok(), "{other:?}"),
        }
    }
    panic!("the document did not come");
}

#[test]
fn a_write_in_the_same_batch_as_a_sweep_is_not_swept_away() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.pass(1_000);
    wire.set(1, "n0/notes", "k", 1i64).unwrap();
    wire.pass(1_000);
    wire.ask(0, Write::Del { doc: "notes".into(), key: KeyPath::parse("k").unwrap() }).unwrap();
    wire.pass(1_000);
    // The first input after a start also sweeps: our old entry is beaten by the other's tombstone.
    wire.restart(1);
    wire.set(1, "n0/notes", "k", "again").unwrap();
    assert_eq!(text(&wire.get(1, "notes"), "k"), Some("again".into()));
}

#[test]
fn a_delta_that_no_message_holds_goes_in_parts() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    let rack = |letter: &str| -> Value {
        (0..40).map(|i| (format!("k{i}"), Value::from(letter.repeat(40_000).as_str()))).collect()
    };
    wire.create(0, "big");
    wire.ask(0, Write::Put { doc: "big".into(), value: rack("x"), whole: false }).unwrap();
    wire.pass(10_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
    wire.ask(0, Write::Put { doc: "big".into(), value: rack("y"), whole: false }).unwrap();
    wire.pass(20_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
}

#[test]
fn a_write_after_a_restart_goes_above_what_was_seen_from_a_fast_clock() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.create(0, "notes");
    wire.pass(1_000);
    // Node 1 is five minutes fast, which is within the bound.
    let now = Now { wall: wire.now().wall + Millis::from_secs(300), ..wire.now() };
    let key = KeyPath::parse("k").unwrap();
    let command = Write::Set { doc: "n0/notes".into(), key, value: Value::from("fast") };
    wire.nodes[1].handle_input(now, Input::Command { request: RequestId(0), command: command.into() });
    while let Some(output) = wire.nodes[1].poll_output() {
        wire.output(1, output);
    }
    wire.pass(1_000);
    assert_eq!(text(&wire.get(0, "notes"), "k"), Some("fast".into()));
    wire.restart(0);
    wire.set(0, "notes", "k", "mine").unwrap();
    assert_eq!(text(&wire.get(0, "notes"), "k"), Some("mine".into()));
}

#[test]
fn two_machines_with_one_key_raise_one_alarm_and_a_restart_none() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    let alarms = |wire: &Wire| {
        let alarm = |(at, event): &&(usize, Event)| *at == 1 && matches!(event, Event::Alarm(_));
        wire.events.iter().filter(alarm).count()
    };
    for _ in 0..10 {
        wire.restart(0);
        wire.connect(0, 1);
        wire.pass(3_000);
    }
    assert_eq!((alarms(&wire), wire.status(1).alarms.len()), (0, 0), "a node that restarts is one machine");
    let copy = Store::in_memory().unwrap();
    wire.nodes[0].core.gate.store().copy_into(&copy).unwrap();
    let twin = open(copy, 0, wire.mono);
    wire.nodes.push(twin);
    for _ in 0..10 {
        wire.cut(0, 1);
        wire.connect(2, 1);
        wire.pass(3_000);
        wire.cut(2, 1);
        wire.connect(0, 1);
        wire.pass(3_000);
    }
    assert_eq!(alarms(&wire), 1);
    let told = wire.status(1).alarms;
    assert!(
        matches!(told.as_slice(), [alarm] if alarm.message.contains("two machines run with the key of n0")),
        "{told:?}"
    );
    wire.cut(2, 1);
    wire.pass(20 * 60_000);
    assert!(wire.status(1).alarms.is_empty(), "it ends when one of them is stopped");
}

#[test]
fn a_document_whose_owner_changes_its_kind_survives_a_restart() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    let owner = Keypair::from_seeds(&[1; 32], &[1; 32]);
    let document = DocumentId { owner: owner.peer_id(), name: DocumentName::new("x").unwrap() };
    wire.connect(0, 1);
    wire.pass(1_000);
    let link = *wire.links.keys().find(|(node, _)| *node == 1).map(|(_, link)| link).unwrap();
    let entries = |key: &str| {
        let mut map = crate::layer::MapContent::default();
        let entry = crate::layer::Entry {
            stamp: Timestamp::new(START, 0),
            value: Some(Value::Null.into()),
            saw: None,
        };
        map.change([(KeyPath::parse(key).unwrap(), Some(entry))]).unwrap();
        crate::layer::Content::Map(map)
    };
    let snapshot = crate::layer::Content::snapshot(Value::from("s")).unwrap();
    for (sequence, content) in [(1, entries("a")), (2, snapshot), (3, entries("b"))] {
        let head = crate::layer::Head {
            kind: content.kind(),
            layer: LayerId { document: document.clone(), author: owner.peer_id() },
            sequence: crate::layer::Sequence::new(sequence).unwrap(),
            time: START,
            audience_sequence: crate::layer::Sequence::NONE,
            root: content.root(),
        };
        let layer = crate::layer::Layer { signed: head.sign(&owner), content };
        let envelope = crate::envelope::Envelope::seal(&layer);
        let bytes = sync::message::Message::Whole(Box::new(envelope)).encode();
        wire.queue.push_back((1, Input::Received { link, bytes }));
        wire.run();
    }
    let before = wire.hashes(1);
    assert!(before.keys().any(|(_, name)| name == "x"));
    wire.restart(1);
    assert_eq!(wire.hashes(1), before);
}

/// A writer brings a map to life under the name of a brief of the owner. Nothing of it counts, and the owner's own brief, a
/// snapshot, takes the name: once the owner signed a map there on the writer's removal, and its next brief was of two kinds.
#[test]
fn a_writers_map_under_the_name_of_a_brief_has_no_effect() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.pass(2_000);
    let (owner, writer) = (wire.nodes[0].core.me, wire.nodes[1].core.me);
    let document = DocumentId { owner, name: DocumentName::new("state.brief").unwrap() };
    let entry = crate::layer::Entry {
        stamp: Timestamp::new(START, 0),
        value: Some(Value::from(1u64).into()),
        saw: None,
    };
    let changes = BTreeMap::from([(KeyPath::parse("k").unwrap(), Some(entry))]);
    let forger = &mut wire.nodes[1];
    let forged = forger.authoring.commit_map(&mut forger.core, &mut forger.replica, &document, changes);
    let layer = forger.replica.layer(&forged.unwrap().id).unwrap();
    let envelope = crate::envelope::Envelope::seal(layer);
    let origin = crate::replica::Origin::Link { peer: writer };
    wire.nodes[0].arrived(origin, crate::replica::Arriving::Whole(envelope));
    assert!(wire.nodes[0].replica.document(&document).is_none(), "only the owner writes its briefs");
    let me = wire.nodes[0].core.settings.name.clone();
    wire.ask(0, Write::publish(NodeState { node_name: Some(me), ..NodeState::default() })).unwrap();
    let brief = Admin::Policy { doc: "state".into(), radio: Some(RadioUse::Brief), confidential: None };
    wire.ask(0, brief).unwrap();
    let held = wire.nodes[0].replica.document(&document).unwrap();
    assert_eq!(held.kind(), Kind::Snapshot);
}

/// A node whose disk has such a map from an earlier version publishes all the same: its snapshot takes the place.
#[test]
fn an_own_snapshot_replaces_a_map_that_stands_under_its_name() {
    let mut wire = Wire::new(1);
    let node = &mut wire.nodes[0];
    let document = node.core.own_document(DocumentName::STATE);
    node.authoring.commit_map(&mut node.core, &mut node.replica, &document, BTreeMap::new()).unwrap();
    wire.ask(0, Write::publish(NodeState::default())).unwrap();
    assert_eq!(wire.nodes[0].replica.document(&document).unwrap().kind(), Kind::Snapshot);
}
