//! A restored backup meets its peers: nothing that was acknowledged and is still somewhere gets lost.

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::layer::{DocumentId, DocumentName, LayerHash, LayerId};
use crate::limits::{CONFIRM_PAUSE, CONFIRM_WAIT_MAX, NOTICE_DELAY, OWN_STATE_WAIT, RECLAIM_WAIT};
use crate::store::StoreOrigin;
use crate::sync::frontier::{NamedBuckets, State};
use crate::sync::message::Message;

/// Two or more friends who trust each other, in step over a document of the first.
fn friends(count: usize) -> Wire {
    let mut wire = Wire::new(count);
    for a in 0..count {
        for b in a + 1..count {
            wire.join(a, b, TrustLevel::Trusted);
            wire.connect(a, b);
        }
    }
    wire.create(0, "notes");
    wire.pass(2_000);
    wire
}

impl Wire {
    /// A copy of a node's disk, in a store of its own.
    pub(super) fn backup(&self, at: usize) -> Store {
        let copy = Store::in_memory().unwrap();
        self.nodes[at].core.gate.store().copy_into(&copy).unwrap();
        copy
    }

    /// The machine comes back with what a backup holds.
    pub(super) fn restore(&mut self, at: usize, backup: &Store) {
        let copy = Store::in_memory().unwrap();
        backup.copy_into(&copy).unwrap();
        self.restart(at);
        self.nodes[at] = open(copy, at, self.mono);
    }

    /// Asks without waiting for the answer.
    fn submit(&mut self, at: usize, key: &str, value: i64) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        let (doc, key) = ("n0/notes".to_owned(), KeyPath::parse(key).unwrap());
        let command = Write::Set { doc, key, value: Value::from(value) };
        self.queue.push_back((at, Input::Command { request, command: command.into() }));
        self.run();
        request
    }

    fn number(&mut self, at: usize, key: &str) -> Option<u64> {
        self.get(at, "notes").get(key).and_then(Value::as_u64)
    }

    /// A frontier of a peer as one node receives it.
    fn claim(&mut self, at: usize, states: Vec<(LayerHash, State)>) {
        let link = *self.links.keys().find(|(node, _)| *node == at).map(|(_, link)| link).unwrap();
        let bytes = Message::Frontier { buckets: NamedBuckets::none(), states }.encode();
        self.queue.push_back((at, Input::Received { link, bytes }));
        self.run();
    }

    fn own_layer(&self, at: usize) -> LayerId {
        let owner = self.nodes[0].peer_id();
        let document = DocumentId { owner, name: DocumentName::new("notes").unwrap() };
        LayerId { document, author: self.nodes[at].peer_id() }
    }

    fn sequence(&self, at: usize, of: usize) -> u64 {
        let layer = self.nodes[at].replica.layers().layer(&self.own_layer(of));
        layer.map_or(0, |layer| layer.head().sequence.get())
    }
}

#[test]
fn a_write_waits_for_our_own_newer_state_and_goes_above_it() {
    let mut wire = friends(3);
    let backup = wire.backup(0);
    wire.cut(0, 2);
    wire.cut(1, 2);
    for i in 0..3 {
        wire.set(0, "notes", &format!("lost{i}"), i as i64).unwrap();
    }
    wire.pass(1_000);
    wire.restore(0, &backup);
    // A relay gives notice of the newer state, which is asked for after a wait; of one that has it from the beginning it comes at once.
    wire.connect(0, 2);
    wire.connect(1, 2);
    wire.pass(2 * NOTICE_DELAY.ms());
    let before = wire.sequence(1, 0);
    let request = wire.submit(0, "since", 7);
    assert!(!wire.replies.contains_key(&(0, request)), "nothing is signed before the newer state is here");
    wire.pass(1_000);
    let Some(Ok(Reply::Written(written))) = wire.replies.remove(&(0, request)) else { panic!("an answer") };
    assert!(written.sequence > before, "{} is above {before}", written.sequence);
    for node in [0, 1] {
        assert_eq!(wire.number(node, "since"), Some(7));
        assert_eq!(wire.number(node, "lost2"), Some(2));
        assert!(wire.status(node).forks.is_empty(), "no second state was signed");
    }
}

#[test]
fn a_lie_about_our_own_newer_state_delays_one_write_and_no_further_one() {
    let mut wire = friends(2);
    let print = wire.own_layer(0).hash();
    wire.claim(0, vec![(print, State { sequence: Sequence::new(1 << 50).unwrap(), root_prefix: [1; 4] })]);
    let request = wire.submit(0, "k", 1);
    wire.pass(OWN_STATE_WAIT.ms() / 2);
    assert!(!wire.replies.contains_key(&(0, request)));
    wire.pass(OWN_STATE_WAIT.ms() / 2 + 10);
    let Some(Ok(Reply::Written(written))) = wire.replies.remove(&(0, request)) else { panic!("an answer") };
    assert!(written.sequence < 10, "a claim that nobody signed uses up no sequences");
    for i in 0..5u64 {
        wire.claim(
            0,
            vec![(print, State { sequence: Sequence::new((1 << 50) + i).unwrap(), root_prefix: [2; 4] })],
        );
        let request = wire.submit(0, "k", 2);
        assert!(wire.replies.contains_key(&(0, request)), "it is not believed again so soon");
    }
    assert_eq!(wire.number(0, "k"), Some(2));
}

#[test]
fn a_lie_about_an_older_state_of_ours_delays_that_peer_only() {
    let mut wire = friends(3);
    wire.set(0, "notes", "k", 1i64).unwrap();
    wire.pass(1_000);
    let (print, held) = (wire.own_layer(0).hash(), wire.sequence(0, 0));
    let link = *wire.links.keys().find(|(node, _)| *node == 0).map(|(_, link)| link).unwrap();
    let (liar, _) = wire.links[&(0, link)];
    let want = Message::Want(vec![(
        print,
        Some(State { sequence: Sequence::new(held).unwrap(), root_prefix: [0; 4] }),
    )]);
    wire.queue.push_back((0, Input::Received { link, bytes: want.encode() }));
    wire.run();
    wire.set(0, "notes", "k", 2i64).unwrap();
    wire.run();
    let other = 3 - liar;
    wire.pass(10);
    assert_eq!(wire.number(other, "k"), Some(2), "others are not kept waiting");
    wire.pass(RECLAIM_WAIT.ms() + 60_000);
    assert_eq!(wire.number(liar, "k"), Some(2));
}

#[test]
fn more_written_after_a_restore_than_was_lost_buries_nothing() {
    for restarted in [false, true] {
        let mut wire = friends(2);
        wire.set(0, "notes", "both", 1i64).unwrap();
        wire.set(0, "notes", "gone", 1i64).unwrap();
        wire.pass(1_000);
        let backup = wire.backup(0);
        for i in 0..4 {
            wire.set(0, "notes", &format!("lost{i}"), i as i64).unwrap();
        }
        let key = KeyPath::parse("gone").unwrap();
        wire.ask(0, Write::Del { doc: "notes".into(), key }).unwrap();
        wire.pass(1_000);
        wire.cut(0, 1);
        wire.restore(0, &backup);
        for i in 0..9 {
            wire.pass(10);
            wire.set(0, "notes", &format!("since{}", i % 5), i as i64).unwrap();
        }
        wire.set(0, "notes", "both", 2i64).unwrap();
        wire.set(0, "notes", "lost3", 33i64).unwrap();
        if restarted {
            wire.restart(0);
        }
        assert!(wire.sequence(0, 0) > wire.sequence(1, 0));
        wire.connect(0, 1);
        wire.pass(5_000);
        for node in [0, 1] {
            let expected = [("both", Some(2)), ("gone", None), ("lost0", Some(0)), ("lost2", Some(2))];
            for (key, value) in expected.into_iter().chain([("lost3", Some(33)), ("since3", Some(8))]) {
                assert_eq!(wire.number(node, key), value, "{key} at {node}, restarted: {restarted}");
            }
        }
        assert_eq!(wire.hashes(0), wire.hashes(1));
        assert_eq!(wire.status(0).peers[0].step.state, "in step");
        let before = wire.sequence(0, 0);
        wire.pass(120_000);
        assert_eq!(wire.sequence(0, 0), before, "it comes to rest");
    }
}

#[test]
fn as_much_written_after_a_restore_as_was_lost_buries_nothing_whichever_root_is_higher() {
    for value in 0..6i64 {
        let mut wire = friends(2);
        let backup = wire.backup(0);
        wire.set(0, "notes", "lost", 1i64).unwrap();
        wire.pass(1_000);
        wire.restore(0, &backup);
        wire.set(0, "notes", "since", value).unwrap();
        wire.restart(0);
        assert_eq!(wire.sequence(0, 0), wire.sequence(1, 0));
        wire.connect(0, 1);
        wire.pass(5_000);
        for node in [0, 1] {
            assert_eq!(wire.number(node, "lost"), Some(1), "value {value}, node {node}");
            assert_eq!(wire.number(node, "since"), Some(value as u64), "value {value}, node {node}");
            // One sequence was signed twice, and a later state has ended that: nothing is left for an operator.
            assert!(wire.status(node).forks.is_empty() && wire.status(node).alarms.is_empty());
        }
    }
}

#[test]
fn a_large_layer_that_was_passed_comes_back_in_parts() {
    let mut wire = friends(2);
    let backup = wire.backup(0);
    let filler = "x".repeat(900);
    let members: Value = (0..1_000).map(|i| (format!("k{i}"), Value::from(filler.as_str()))).collect();
    wire.ask(0, Write::Put { doc: "notes".into(), value: members, whole: false }).unwrap();
    wire.pass(20_000);
    wire.restore(0, &backup);
    for i in 0..5 {
        wire.set(0, "notes", "since", i as i64).unwrap();
    }
    wire.restart(0);
    wire.connect(0, 1);
    wire.pass(60_000);
    for node in [0, 1] {
        assert_eq!(wire.number(node, "since"), Some(4));
        assert_eq!(text(&wire.get(node, "notes"), "k999"), Some(filler.clone()));
    }
}

#[test]
fn a_peer_that_is_merely_behind_is_asked_for_nothing() {
    let mut wire = friends(2);
    wire.set(0, "notes", "k", 0i64).unwrap();
    wire.pass(1_000);
    wire.cut(0, 1);
    for i in 0..200 {
        wire.set(0, "notes", "k", i as i64).unwrap();
    }
    wire.restart(0);
    wire.sent.clear();
    wire.connect(0, 1);
    wire.pass(3_000);
    assert_eq!(wire.number(1, "k"), Some(199));
    let wants = |(at, bytes): &&(usize, Vec<u8>)| *at == 0 && bytes.first() == Some(&0x04);
    assert_eq!(wire.sent.iter().filter(wants).count(), 0, "our own past is known as such");
}

#[test]
fn a_removed_peer_is_not_listed_again_with_what_was_deleted_meanwhile() {
    let mut wire = friends(3);
    wire.set(1, "n0/notes", "k", 1i64).unwrap();
    wire.pass(1_000);
    // The others never receive this write: its author has no link.
    wire.cut(0, 1);
    wire.cut(1, 2);
    wire.set(1, "n0/notes", "unseen", 1i64).unwrap();
    wire.set(2, "n0/notes", "unseen", 2i64).unwrap();
    wire.pass(1_000);
    wire.ask(0, Admin::Remove { peer: "n1".into() }).unwrap();
    wire.pass(1_000);
    assert_eq!(wire.number(2, "k"), Some(1), "removing deletes nothing");
    for key in ["k", "unseen"] {
        let key = KeyPath::parse(key).unwrap();
        wire.ask(0, Write::Del { doc: "notes".into(), key }).unwrap();
        wire.pass(1_000);
    }
    wire.set(2, "n0/notes", "later", 1i64).unwrap();
    // Long enough for the tombstones to end: no other peer is waited for.
    wire.pass(3 * 3_600_000);
    wire.ask(1, Admin::Remove { peer: "n0".into() }).unwrap();
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.connect(1, 2);
    wire.pass(60_000);
    for node in 0..3 {
        assert_eq!(wire.number(node, "k"), None, "at {node}");
        assert_eq!(wire.number(node, "unseen"), None, "at {node}");
    }
    wire.set(1, "n0/notes", "back", 5i64).unwrap();
    wire.pass(2_000);
    for node in 0..3 {
        assert_eq!(wire.number(node, "back"), Some(5), "at {node}");
    }
    assert_eq!(wire.hashes(0), wire.hashes(1));
    assert_eq!(wire.hashes(0), wire.hashes(2));
}

// ---- a store that is newer than its key ---------------------------------------------------------------

/// An empty store for an identity that existed before.
fn store_for_an_old_key() -> Store {
    let mut store = Store::in_memory().unwrap();
    store.commit(StoreOrigin::Unconfirmed.marks()).unwrap();
    store
}

/// Key and settings in an empty folder: nothing is signed from the first sequence on, so no peer sees two states of one.
#[test]
fn a_node_whose_store_is_lost_signs_above_what_its_peers_hold() {
    let mut wire = friends(2);
    wire.set(0, "notes", "k", 1i64).unwrap();
    wire.pass(1_000);
    let (before, print) = (wire.sequence(0, 0), wire.own_layer(0));
    wire.cut(0, 1);
    wire.restart(0);
    wire.nodes[0] = open(store_for_an_old_key(), 0, wire.mono);
    let alarm = |wire: &mut Wire| wire.status(0).alarms.iter().map(|alarm| alarm.code).collect::<Vec<_>>();
    assert_eq!(alarm(&mut wire), ["unconfirmed"]);
    wire.pass(600_000);
    assert!(wire.nodes[0].replica.layers().layers().next().is_none(), "it signs nothing by itself");
    let refused = wire.ask(0, Write::Create { name: "notes".into(), kind: Kind::Map });
    assert_eq!(refused.unwrap_err(), CommandError::Unconfirmed);
    // A restart in between changes nothing.
    wire.restart(0);
    assert_eq!(alarm(&mut wire), ["unconfirmed"]);
    wire.join(1, 0, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.pass(10_000);
    assert_eq!(alarm(&mut wire), Vec::<&str>::new());
    wire.set(0, "notes", "k", 2i64).unwrap();
    wire.pass(2_000);
    for node in [0, 1] {
        assert_eq!(wire.number(node, "k"), Some(2));
        assert!(wire.nodes[node].replica.forks().is_empty(), "node {node}: nothing was signed twice");
        assert!(wire.nodes[node].replica.state(&print).unwrap().sequence.get() > before);
    }
    assert_eq!(wire.hashes(0), wire.hashes(1));
    // Confirmed for good.
    wire.restart(0);
    assert_eq!(alarm(&mut wire), Vec::<&str>::new());
}

/// A peer that has nothing of this identity answers as well, and one that shows what it never sends does not silence the node.
#[test]
fn a_false_claim_holds_a_new_store_back_for_a_bounded_time() {
    let mut wire = Wire::new(2);
    wire.nodes[0] = open(store_for_an_old_key(), 0, wire.mono);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    let own = LayerId {
        document: DocumentId { owner: wire.nodes[0].peer_id(), name: DocumentName::new("lost").unwrap() },
        author: wire.nodes[0].peer_id(),
    };
    let state = State { sequence: Sequence::new(9).unwrap(), root_prefix: [1; 4] };
    wire.claim(0, vec![(own.hash(), state)]);
    wire.pass(CONFIRM_PAUSE.ms() + 2_000);
    assert!(wire.nodes[0].replica.recovery().is_unconfirmed());
    wire.pass(CONFIRM_WAIT_MAX.ms());
    assert!(!wire.nodes[0].replica.recovery().is_unconfirmed());
}

// ---- any restore, any writes ---------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Set(usize, u8),
    Del(usize, u8),
    Link(usize, bool),
    Backup,
    Restore(prop::sample::Index),
    Restart,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // The first node writes most: it is the one whose disk is restored.
    let who = || prop_oneof![4 => Just(0usize), 1 => Just(1), 1 => Just(2)];
    let step = prop_oneof![
        8 => (who(), 0u8..6).prop_map(|(who, key)| Step::Set(who, key)),
        3 => (who(), 0u8..6).prop_map(|(who, key)| Step::Del(who, key)),
        4 => (1usize..3, any::<bool>()).prop_map(|(peer, up)| Step::Link(peer, up)),
        2 => Just(Step::Backup),
        2 => any::<prop::sample::Index>().prop_map(Step::Restore),
        1 => Just(Step::Restart),
        3 => prop_oneof![1u64..500, Just(20_000u64)].prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..50)
}

/// A write that was acknowledged: none is a deletion.
#[derive(Clone, Debug)]
struct Acked {
    who: usize,
    value: Option<u64>,
    /// Of the first node's: the stamp under which its layer has it.
    stamp: Option<Timestamp>,
    /// Whether some disk still has it, or what was written over it.
    is_there: bool,
}

/// What a person remembers of a document: per key all acknowledged writes, in order.
#[derive(Default)]
struct Memory {
    acked: BTreeMap<String, Vec<Acked>>,
}

impl Memory {
    fn note(&mut self, wire: &Wire, who: usize, key: &str, value: Option<u64>) {
        let layer = wire.nodes[who].replica.layers().layer(&wire.own_layer(who)).and_then(map_of);
        let stamp = layer.and_then(|map| map.get(&KeyPath::parse(key).unwrap())).map(|entry| entry.stamp);
        self.acked.entry(key.to_owned()).or_default().push(Acked { who, value, stamp, is_there: true });
    }

    /// The first node's disk is another now: of its writes there is what its peers and that backup have.
    fn look_again(&mut self, kept: &[&Node], layer: &LayerId) {
        for (key, acked) in &mut self.acked {
            let key = KeyPath::parse(key).unwrap();
            let has = |node: &&Node, stamp: Option<Timestamp>| {
                let map = node.replica.layers().layer(layer).and_then(map_of);
                map.and_then(|map| map.get(&key)).map(|entry| entry.stamp) == stamp
            };
            for write in acked {
                write.is_there = write.who != 0 || kept.iter().any(|node| has(node, write.stamp));
            }
        }
    }
}

/// Two histories of one layer that have parted do not compare by their sequences: a write acknowledged on an early backup, at
/// a low sequence, was lost to an older value that a later backup had at a higher one.
#[test]
fn the_later_write_wins_over_a_higher_sequence_of_a_parted_history() {
    let mut wire = friends(3);
    wire.cut(0, 1);
    wire.cut(0, 2);
    let early = wire.backup(0);
    wire.set(0, "notes", "k0", 103i64).unwrap();
    wire.set(0, "notes", "k1", 104i64).unwrap();
    let late = wire.backup(0);
    wire.pass(5_000);
    wire.restore(0, &early);
    wire.connect(0, 1);
    wire.pass(1_000);
    wire.set(0, "notes", "k1", 108i64).unwrap();
    wire.pass(1_000);
    wire.cut(0, 1);
    wire.pass(5_000);
    wire.restore(0, &late);
    wire.connect(0, 1);
    wire.connect(0, 2);
    wire.pass(60_000);
    for node in 0..3 {
        assert_eq!((wire.number(node, "k0"), wire.number(node, "k1")), (Some(103), Some(108)), "node {node}");
    }
}

fn connected(wire: &Wire, a: usize, b: usize) -> bool {
    wire.links.iter().any(|((from, _), (to, _))| (*from, *to) == (a, b))
}

fn walk(steps: Vec<Step>) -> (Wire, Memory) {
    let mut wire = friends(3);
    let mut memory = Memory::default();
    let mut backups = vec![wire.backup(0)];
    for (n, step) in steps.into_iter().enumerate() {
        wire.pass(5);
        let value = n as u64 + 100;
        match step {
            Step::Set(who, key) => {
                let key = format!("k{key}");
                let request = wire.submit(who, &key, value as i64);
                while !wire.replies.contains_key(&(who, request)) {
                    wire.pass(100);
                }
                assert!(wire.replies.remove(&(who, request)).unwrap().is_ok());
                memory.note(&wire, who, &key, Some(value));
            }
            Step::Del(who, key) => {
                let text = format!("k{key}");
                let key = KeyPath::parse(&text).unwrap();
                wire.next += 1;
                let request = RequestId(wire.next);
                let command = Write::Del { doc: "n0/notes".into(), key };
                wire.queue.push_back((who, Input::Command { request, command: command.into() }));
                wire.run();
                while !wire.replies.contains_key(&(who, request)) {
                    wire.pass(100);
                }
                if wire.replies.remove(&(who, request)).unwrap().is_ok() {
                    memory.note(&wire, who, &text, None);
                }
            }
            Step::Link(peer, true) if !connected(&wire, 0, peer) => wire.connect(0, peer),
            Step::Link(peer, false) => wire.cut(0, peer),
            Step::Link(..) => {}
            Step::Backup => backups.push(wire.backup(0)),
            Step::Restore(which) => {
                wire.cut(0, 1);
                wire.cut(0, 2);
                // Its peers are in step with each other by the time it is back.
                wire.pass(5_000);
                wire.restore(0, which.get(&backups));
                let layer = wire.own_layer(0);
                memory.look_again(&wire.nodes.iter().collect::<Vec<_>>(), &layer);
            }
            Step::Restart => wire.restart(0),
            Step::Pass(ms) => wire.pass(ms),
        }
    }
    for peer in [1, 2] {
        if !connected(&wire, 0, peer) {
            wire.connect(0, peer);
            wire.pass(5_000);
        }
    }
    wire.pass(60_000);
    (wire, memory)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is restored when, and written where: at the end every key reads as its last acknowledged write
    /// that a disk still had, on all nodes.
    #[test]
    fn no_acknowledged_write_is_lost_by_a_restore(steps in steps()) {
        let (mut wire, memory) = walk(steps);
        for (key, acked) in memory.acked {
            let expected = acked.iter().rfind(|write| write.is_there).map(|write| write.value);
            for node in 0..3 {
                if let Some(expected) = expected {
                    prop_assert_eq!(wire.number(node, &key), expected, "{} at {}: {:?}", key, node, acked);
                }
            }
        }
        prop_assert_eq!(wire.hashes(0), wire.hashes(1));
        prop_assert_eq!(wire.hashes(0), wire.hashes(2));
        prop_assert_eq!(wire.status(0).alarms, Vec::new());
    }
}
