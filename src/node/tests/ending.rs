//! Documents come to life by their owner alone, end by it for all, and are forgotten by a reader for itself.

use std::collections::BTreeSet;

use super::*;
use crate::core::InputRejection;
use crate::federation::Refusal;
use crate::io::view::DeletedScope;
use crate::layer::Entry;
use crate::store::StoreWrite;

/// So many nodes that trust each other, all connected.
fn friends(nodes: usize) -> Wire {
    let mut wire = Wire::new(nodes);
    for a in 0..nodes {
        for b in a + 1..nodes {
            wire.join(a, b, TrustLevel::Trusted);
            wire.connect(a, b);
        }
    }
    wire.pass(2_000);
    wire
}

fn delete(wire: &mut Wire, at: usize, doc: &str, undo: bool) -> Result<DeletedScope, CommandError> {
    match wire.ask(at, Write::Delete { doc: doc.into(), undo })? {
        Reply::Deleted(deleted) => Ok(deleted.deleted),
        other => panic!("{other:?}"),
    }
}

fn knows(wire: &mut Wire, at: usize, doc: &str) -> bool {
    match wire.ask(at, Query::Get { doc: doc.into(), key: None }) {
        Ok(_) => true,
        Err(CommandError::UnknownDocument(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

/// A trusted writer signs layers in another's name. Neither the owner nor a third node takes them; no place of its quota is used.
#[test]
fn only_its_owner_brings_a_document_to_life() {
    let mut wire = friends(3);
    let owner = wire.nodes[0].peer_id();
    for name in ["log", "state.brief", "deploys"] {
        let document = DocumentId { owner, name: DocumentName::new(name).unwrap() };
        let key = KeyPath::parse("k").unwrap();
        let stamp = wire.nodes[1].core.clock.tick();
        let entry = Entry { stamp, value: Some(Value::from("planted").into()), saw: None };
        wire.nodes[1].commit_map(&document, BTreeMap::from([(key, Some(entry))])).unwrap();
        wire.queue.push_back((1, Input::Timeout));
        wire.pass(5_000);
        for at in [0, 2] {
            assert!(wire.nodes[at].replica.document(&document).is_none(), "{name} at {at}");
        }
        assert!(!knows(&mut wire, 1, &format!("n0/{name}")), "{name}: its writer does not see it either");
    }
    let refused = InputRejection::Layer(Refusal::NoSuchDocument).label();
    assert!(wire.status(0).rejections.contains_key(&refused));
    // Made by its owner, the document is as any other, and what the writer had signed may count in it.
    wire.create(0, "log");
    wire.set(0, "log", "a", "b").unwrap();
    wire.pass(20_000);
    let hashes: Vec<_> = (0..3).map(|at| wire.hashes(at)).collect();
    assert!(hashes[0] == hashes[1] && hashes[0] == hashes[2]);
    assert_eq!(text(&wire.get(2, "n0/log"), "a"), Some("b".into()));
}

#[test]
fn an_ended_document_is_gone_at_all_nodes_and_no_older_state_brings_it_back() {
    let mut wire = friends(3);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "v").unwrap();
    wire.pass(2_000);
    wire.set(1, "n0/notes", "from/b", "w").unwrap();
    wire.pass(2_000);
    wire.cut(0, 2);
    wire.cut(1, 2);
    assert_eq!(delete(&mut wire, 0, "notes", false), Ok(DeletedScope::Everywhere));
    assert!(!knows(&mut wire, 0, "notes"), "at once");
    wire.pass(2_000);
    assert!(!knows(&mut wire, 1, "n0/notes"));
    let ended = |(_, event): &(usize, Event)| matches!(event, Event::Ended(ended) if ended.name == "notes");
    assert_eq!(wire.events.iter().filter(|event| ended(event)).count(), 2);
    // One that was away has the old state, and writes to it.
    wire.set(2, "n0/notes", "late", "x").unwrap();
    wire.connect(1, 2);
    wire.pass(5_000);
    wire.restart(0);
    wire.restart(1);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        wire.connect(a, b);
    }
    wire.pass(20_000);
    for at in 0..3 {
        assert!(!knows(&mut wire, at, "n0/notes"), "at {at}");
        let held = wire.nodes[at].replica.layers().documents().any(|(id, _)| id.name.as_str() == "notes");
        assert!(!held, "nothing of it is kept at {at}");
    }
    // Another of that name begins empty, and its layers go on above those of the one before.
    wire.create(0, "notes");
    wire.set(0, "notes", "new", "y").unwrap();
    wire.pass(2_000);
    wire.set(2, "n0/notes", "again", "z").unwrap();
    wire.pass(20_000);
    for at in 0..3 {
        let notes = wire.get(at, "n0/notes");
        let keys = ["k", "from", "late", "new", "again"].map(|key| notes.get(key).is_some());
        assert_eq!(keys, [false, false, false, true, true], "at {at}");
        assert!(wire.status(at).alarms.is_empty() && wire.status(at).forks.is_empty());
    }
    let id = LayerId {
        document: DocumentId { owner: wire.nodes[0].peer_id(), name: DocumentName::new("notes").unwrap() },
        author: wire.nodes[0].peer_id(),
    };
    assert!(wire.nodes[2].replica.state(&id).unwrap().sequence > Sequence::new(2).unwrap());
}

#[test]
fn a_document_that_a_reader_forgets_stays_away_until_it_is_taken_again() {
    let mut wire = friends(2);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "v").unwrap();
    wire.pass(2_000);
    wire.set(1, "n0/notes", "mine", "w").unwrap();
    wire.pass(2_000);
    assert!(matches!(delete(&mut wire, 1, "notes", false), Err(CommandError::PeersDocument { .. })));
    assert_eq!(delete(&mut wire, 1, "n0/notes", false), Ok(DeletedScope::Here));
    wire.set(0, "notes", "k", "later").unwrap();
    wire.pass(2_000);
    wire.restart(1);
    wire.connect(0, 1);
    wire.pass(20_000);
    assert!(!knows(&mut wire, 1, "n0/notes") && knows(&mut wire, 0, "notes"));
    assert!(matches!(delete(&mut wire, 1, "n0/notes", false), Err(CommandError::UnknownDocument(_))));
    assert_eq!(delete(&mut wire, 1, "n0/notes", true), Ok(DeletedScope::Nowhere));
    wire.pass(40_000);
    assert_eq!(wire.hashes(0), wire.hashes(1));
    assert_eq!(text(&wire.get(1, "n0/notes"), "k"), Some("later".into()));
    wire.set(1, "n0/notes", "mine", "x").unwrap();
    wire.pass(2_000);
    assert_eq!(text(&wire.get(0, "notes"), "mine"), Some("x".into()));
    assert!(wire.status(0).alarms.is_empty() && wire.status(1).alarms.is_empty());
}

/// What a reader has deleted for itself is lacking on neither side: they are in step all the same, also with the writers' parts of it.
#[test]
fn a_document_that_a_reader_forgets_is_not_awaited() {
    let mut wire = friends(3);
    wire.create(0, "notes");
    wire.set(0, "notes", "k", "v").unwrap();
    wire.pass(2_000);
    wire.set(2, "n0/notes", "theirs", "w").unwrap();
    wire.pass(2_000);
    assert_eq!(delete(&mut wire, 1, "n0/notes", false), Ok(DeletedScope::Here));
    let all_in_step = |wire: &mut Wire, when: &str| {
        for at in 0..3 {
            for row in wire.status(at).peers {
                assert_eq!((row.step.state, row.behind.len()), ("in step", 0), "{when}, node {at}: {row:?}");
            }
        }
    };
    wire.pass(60_000);
    all_in_step(&mut wire, "after the deletion");
    wire.set(0, "notes", "k", "later").unwrap();
    wire.set(2, "n0/notes", "theirs", "later").unwrap();
    wire.pass(60_000);
    all_in_step(&mut wire, "after later writes");
}

/// A document that does not come for want of room is named as that on both sides.
#[test]
fn a_document_without_room_is_named_on_both_sides() {
    let mut wire = friends(2);
    wire.create(0, "notes");
    wire.pass(2_000);
    wire.nodes[1].core.settings.peers_memory_max = 0;
    wire.set(0, "notes", "k", "v").unwrap();
    wire.pass(60_000);
    for (at, kind) in [(0, "they_lack"), (1, "we_lack")] {
        let row = &wire.status(at).peers[0];
        let behind: Vec<_> = row.behind.iter().map(|lag| (lag.kind, lag.waits_for)).collect();
        assert_eq!((row.step.state, behind), ("catching up", vec![(kind, "room")]), "node {at}: {row:?}");
    }
    wire.ask(0, Write::Delete { doc: "notes".into(), undo: false }).unwrap();
    wire.pass(60_000);
    for at in 0..2 {
        assert_eq!(wire.status(at).peers[0].step.state, "in step", "node {at}");
    }
}

#[test]
fn what_the_engine_keeps_is_not_deleted() {
    let mut wire = friends(2);
    wire.ask(0, Write::publish(NodeState::default())).unwrap();
    wire.pass(2_000);
    for (at, doc) in [(0, "state"), (0, "audience"), (1, "n0/state")] {
        let refused = delete(&mut wire, at, doc, false);
        assert!(matches!(refused, Err(CommandError::ReadOnly { why: ReadOnlyReason::Engine, .. })), "{doc}");
    }
    assert!(matches!(delete(&mut wire, 0, "none", false), Err(CommandError::UnknownDocument(_))));
}

/// Numbers name the content of layers on disk: one that is gone gives its number to no other.
#[test]
fn a_layer_that_is_removed_from_disk_leaves_the_others_as_they_are() {
    let mut wire = friends(2);
    for name in ["a", "b", "c"] {
        wire.create(0, name);
        wire.set(0, name, "k", name).unwrap();
    }
    delete(&mut wire, 0, "b", false).unwrap();
    wire.create(0, "d");
    wire.set(0, "d", "k", "d").unwrap();
    let absent = LayerId {
        document: DocumentId { owner: wire.nodes[1].peer_id(), name: DocumentName::new("b").unwrap() },
        author: wire.nodes[1].peer_id(),
    };
    wire.nodes[0].core.gate.write(StoreWrite::RemoveLayer(absent));
    wire.set(0, "a", "k", "a").unwrap();
    wire.restart(0);
    for name in ["a", "c", "d"] {
        assert_eq!(text(&wire.get(0, name), "k"), Some(name.into()));
    }
    assert!(!knows(&mut wire, 0, "b"));
}

/// The names of what a node holds of another's documents, in memory, by others than itself; what its disk holds is the same.
fn held_of(wire: &Wire, at: usize, owner: usize) -> Vec<String> {
    let (me, owner) = (wire.nodes[at].peer_id(), wire.nodes[owner].peer_id());
    let theirs = |id: &&LayerId| id.document.owner == owner && id.author != me;
    let in_memory = wire.nodes[at].replica.layers().layers().map(|layer| &layer.head().layer);
    let in_memory: Vec<LayerId> = in_memory.filter(theirs).cloned().collect();
    let loaded = wire.nodes[at].core.gate.store().load().unwrap();
    let on_disk = loaded.layers.iter().map(|layer| &layer.signed.head.layer).filter(theirs);
    let (memory, disk): (BTreeSet<_>, BTreeSet<_>) = (in_memory.iter().collect(), on_disk.collect());
    assert_eq!(memory, disk);
    memory.into_iter().map(|id| id.document.name.as_str().to_owned()).collect()
}

/// A lower level leaves a peer's documents neither in memory nor on disk, but for what it still grants; a higher one brings them again.
#[test]
fn documents_of_a_peer_that_lost_its_level_are_gone_until_it_has_it_again() {
    for level in [TrustLevel::Observer, TrustLevel::Untrusted] {
        let mut wire = friends(3);
        wire.create(0, "notes");
        wire.set(0, "notes", "k", "v".repeat(4_000).as_str()).unwrap();
        wire.ask(0, Write::publish(NodeState::default())).unwrap();
        wire.pass(2_000);
        wire.set(1, "n0/notes", "mine", "w").unwrap();
        wire.set(2, "n0/notes", "theirs", "w").unwrap();
        wire.pass(20_000);
        let before = (wire.hashes(1), held_of(&wire, 1, 0));
        assert_eq!(before.1.iter().filter(|name| *name == "notes").count(), 2, "{before:?}");
        let peer = crate::identity::did(&wire.nodes[0].peer_id());
        let trust = |level| Admin::Trust { peer: peer.clone(), level };
        wire.ask(1, trust(level)).unwrap();
        let kept: &[&str] = if level == TrustLevel::Observer { &["audience", "keys", "state"] } else { &[] };
        let left = held_of(&wire, 1, 0);
        assert!(left.iter().all(|name| kept.contains(&name.as_str())), "{level:?}: {left:?}");
        assert_eq!(left.is_empty(), kept.is_empty(), "{level:?}: {left:?}");
        // Nothing comes back by a relay, by the peer itself, or by a restart.
        wire.set(0, "notes", "later", "x").unwrap();
        wire.pass(20_000);
        wire.restart(1);
        wire.connect(1, 2);
        wire.connect(0, 1);
        wire.pass(20_000);
        assert!(!held_of(&wire, 1, 0).iter().any(|name| name == "notes"), "{level:?}");
        assert!(!knows(&mut wire, 1, "n0/notes"));
        wire.ask(1, trust(TrustLevel::Trusted)).unwrap();
        wire.connect(0, 1);
        wire.pass(60_000);
        let after = (wire.hashes(1), held_of(&wire, 1, 0));
        assert_eq!((after.0.keys().collect::<Vec<_>>(), &after.1), (before.0.keys().collect(), &before.1));
        assert_eq!(wire.hashes(0), after.0, "{level:?}");
        let notes = wire.get(1, "n0/notes");
        assert!(["k", "mine", "theirs", "later"].iter().all(|key| notes.get(key).is_some()), "{notes:?}");
        assert!(wire.status(1).alarms.is_empty() && wire.status(1).forks.is_empty());
    }
}
