//! Authoring without a node: what is signed, what is refused, and what a refusal leaves behind.

use proptest::prelude::*;
use tombolo_transports::PeerId;

use super::*;
use crate::core::side::{TestSide, pair};
use crate::federation::{DocumentPolicy, RadioUse, TrustLevel};
use crate::io::{App, AppHealth, AppStatus, NodeState, ReadOnlyReason, RequestId, ValueError, Write};
use crate::layer::{ContentError, DocumentId, DocumentName, KeyPath};
use crate::limits::FUTURE_BOUND;
use crate::merge::{Loser, version_of};
use crate::replica::ApplyOutcome;
use crate::store::Store;
use crate::time::Millis;

fn key(text: &str) -> KeyPath {
    KeyPath::parse(text).unwrap()
}

fn set(doc: &str, path: &str, value: u64) -> Write {
    Write::Set { doc: doc.to_owned(), key: key(path), value: Value::from(value) }
}

impl TestSide {
    fn stage(&mut self, write: Write) -> Result<(), CommandError> {
        self.authoring.stage(&mut self.core, &mut self.replica, RequestId(1), write)
    }

    fn must_settle_before(&self, write: &Write) -> bool {
        let target = Authoring::target(&self.core, &self.replica, write);
        self.authoring.must_settle_before(&self.replica, write, target.as_ref())
    }

    /// Signs everything staged.
    fn settle(&mut self) {
        let staged = self.authoring.take_staged();
        for (document, edits) in staged.maps {
            self.commit(&document, edits).unwrap();
        }
        for (document, value) in staged.snapshots {
            let TestSide { core, replica, authoring } = self;
            authoring.commit_snapshot(core, replica, &document, value).unwrap();
        }
    }

    fn create(&mut self, name: &str, kind: Kind) -> DocumentId {
        self.stage(Write::Create { name: name.to_owned(), kind }).unwrap();
        self.settle();
        self.document(name)
    }

    fn sequence(&self, document: &DocumentId) -> u64 {
        self.replica.layer(&self.core.own_layer(document)).map_or(0, |layer| layer.head().sequence.get())
    }
}

/// What no layer has room for is refused when it is staged, not when everything was done for it: a request of a million keys
/// would keep all others waiting.
#[test]
fn a_value_of_too_many_entries_is_refused_before_it_is_worked_on() {
    let mut side = TestSide::new(1);
    side.create("list", Kind::Map);
    let numbers = 0..=crate::limits::MAP_ENTRIES_MAX as u64;
    let members: tombolo_delta::Map =
        numbers.map(|n| (tombolo_delta::Key::Text(format!("k{n}")), Value::from(n))).collect();
    let value = Value::Map(members);
    let within = Write::Set { doc: "list".to_owned(), key: key("a"), value: value.clone() };
    let whole = Write::Put { doc: "list".to_owned(), value, whole: false };
    let too_many =
        |error| matches!(error, CommandError::BadValue(ValueError::Content(ContentError::TooManyEntries)));
    assert!(side.stage(within).is_err_and(too_many));
    assert!(side.stage(whole).is_err_and(too_many));
    assert!(side.authoring.take_staged().maps.is_empty());
}

#[test]
fn each_commit_of_a_map_signs_the_next_sequence_over_the_present_root() {
    let mut side = TestSide::new(1);
    let document = side.document("list");
    for n in 1..=5 {
        let stored = side.set(&document, &[("a", Some(n)), ("b", (n % 2 == 0).then_some(n))]);
        assert_eq!(stored.state.sequence.get(), n);
        let layer = side.replica.layer(&stored.id).unwrap();
        assert!(layer.signed.verify() && layer.content.root() == layer.head().root);
    }
}

/// An entry beyond the limits of the format is found while the map is taken out of the replica.
#[test]
fn a_refused_value_leaves_the_map_as_it_was() {
    let mut side = TestSide::new(1);
    let document = side.document("list");
    side.set(&document, &[("a", Some(1))]);
    let before = (side.value(&document), side.replica.state(&side.core.own_layer(&document)));
    let mut edits = side.edits(&[("b", Some(2)), ("c", Some(3))]);
    let huge = Value::Text("x".repeat(crate::limits::ENTRY_BYTES_MAX + 1));
    edits.get_mut(&key("c")).unwrap().as_mut().unwrap().value = Some(huge.into());
    assert!(matches!(side.commit(&document, edits), Err(CommandError::BadValue(_))));
    assert_eq!((side.value(&document), side.replica.state(&side.core.own_layer(&document))), before);
    assert!(side.roots_hold());
}

#[test]
fn a_snapshot_is_not_committed_as_a_map() {
    let mut side = TestSide::new(1);
    let document = side.create("note", Kind::Snapshot);
    let edits = side.edits(&[("a", Some(1))]);
    assert!(matches!(side.commit(&document, edits), Err(CommandError::UnknownDocument(_))));
    assert_eq!(side.sequence(&document), 1);
}

/// The copy of a running machine receives a state that the other one signs now.
#[test]
fn nothing_is_signed_after_another_machine_signed_with_the_same_key() {
    let (mut owner, reader, id) = pair();
    let copy = Store::in_memory().unwrap();
    owner.core.gate.commit(Default::default()).unwrap();
    owner.core.gate.store().copy_into(&copy).unwrap();
    let mut second = TestSide::in_store(1, copy);
    second.trust(reader.me(), TrustLevel::Trusted);
    second.core.clock.start();
    owner.at(Millis::from_ms(5_000));
    owner.set(&id.document, &[("b", Some(2))]);
    let newer = owner.supply(reader.me(), &id, None);
    assert!(matches!(second.receive(reader.me(), newer), ApplyOutcome::AnotherMachine));
    let before = second.replica.state(&id);
    let edits = second.edits(&[("c", Some(3))]);
    assert!(matches!(second.commit(&id.document, edits), Err(CommandError::Stopped(_))));
    let state = second.core.own_document(DocumentName::STATE);
    let TestSide { core, replica, authoring } = &mut second;
    let published = authoring.commit_snapshot(core, replica, &state, Value::from(1u64));
    assert!(matches!(published, Err(CommandError::Stopped(_))));
    assert_eq!(second.replica.state(&id), before);
}

#[test]
fn entries_of_a_fast_clock_get_new_stamps_with_the_next_commit() {
    let mut side = TestSide::new(1);
    let document = side.document("list");
    side.at(3 * FUTURE_BOUND);
    side.set(&document, &[("fast", Some(1))]);
    side.at(Millis::ZERO);
    side.core.clock.put_right();
    side.set(&document, &[("now", Some(2))]);
    let layer = side.replica.layer(&side.core.own_layer(&document)).unwrap();
    let limit = side.core.reference() + FUTURE_BOUND;
    assert!(map_of(layer).unwrap().iter().all(|(_, entry)| entry.stamp.time() <= limit));
}

#[test]
fn a_burst_of_plain_sets_shares_one_signature_and_all_else_settles_first() {
    let mut side = TestSide::new(1);
    side.create("list", Kind::Map);
    side.create("note", Kind::Snapshot);
    side.stage(set("list", "a/b", 1)).unwrap();
    assert!(!side.must_settle_before(&set("list", "c", 1)), "another plain key");
    assert!(side.must_settle_before(&set("list", "a/b", 2)), "the same key");
    assert!(side.must_settle_before(&set("list", "a", 2)), "a key above it");
    assert!(side.must_settle_before(&set("list", "a/b/c", 2)), "a key below it");
    let tree = Value::map([("x", Value::from(1u64)), ("y", Value::from(2u64))]);
    let spread = Write::Set { doc: "list".to_owned(), key: key("d"), value: tree.clone() };
    assert!(side.must_settle_before(&spread), "several keys");
    assert!(side.must_settle_before(&Write::Del { doc: "list".to_owned(), key: key("c") }));
    assert!(side.must_settle_before(&Write::Put { doc: "list".to_owned(), value: tree, whole: false }));
    assert!(side.must_settle_before(&set("note", "a", 1)), "a snapshot is edited as a whole");
    assert!(side.must_settle_before(&Write::Create { name: "new".to_owned(), kind: Kind::Map }));
    assert!(!side.must_settle_before(&Write::publish(NodeState::default())));
    assert!(!side.must_settle_before(&set("unknown", "a", 1)), "it is refused anyway");
    side.stage(Write::Create { name: "new".to_owned(), kind: Kind::Map }).unwrap();
    assert!(side.must_settle_before(&set("list", "c", 1)), "a document is not there yet");
}

#[test]
fn a_refused_write_stages_nothing() {
    let (owner, mut reader, id) = pair();
    let mut observer = TestSide::new(3);
    observer.trust(owner.me(), TrustLevel::Trusted);
    let refused = [
        Write::Create { name: DocumentName::STATE.to_owned(), kind: Kind::Map },
        Write::Create { name: "x.brief".to_owned(), kind: Kind::Snapshot },
        set("unknown", "a", 1),
        Write::Del { doc: "list".to_owned(), key: key("never") },
    ];
    for write in refused {
        assert!(reader.stage(write.clone()).is_err(), "{write:?}");
    }
    assert!(matches!(observer.stage(set("list", "a", 1)), Err(CommandError::UnknownDocument(_))));
    for side in [&mut reader, &mut observer] {
        let staged = side.authoring.take_staged();
        assert!(staged.maps.is_empty() && staged.snapshots.is_empty() && staged.replies.is_empty());
    }
    assert_eq!(reader.sequence(&id.document), 0);
}

#[test]
fn a_brief_is_due_when_a_field_moves_beyond_its_threshold() {
    let mut side = TestSide::new(1);
    let brief_for_radio = DocumentPolicy { radio: RadioUse::Brief, ..DocumentPolicy::default() };
    let audience =
        crate::federation::Audience::new([1; 16], []).with_policy(DocumentName::STATE, brief_for_radio);
    let document = side.core.own_document(DocumentName::STATE);
    let publish = |side: &mut TestSide, cpu: f64| {
        let state = NodeState { cpu_usage_percent: Some(cpu), ..NodeState::default() };
        side.stage(Write::publish(state)).unwrap();
        side.settle();
    };
    publish(&mut side, 20.0);
    assert!(
        Authoring::brief_due(&side.core, &side.replica, &document).is_none(),
        "the state itself goes out"
    );
    side.sign_this_audience(&audience);
    let (brief, value) = Authoring::brief_due(&side.core, &side.replica, &document).unwrap();
    assert_eq!(brief.name.as_str(), "state.brief");
    assert_eq!(value.get("cpu_usage_percent"), Some(&Value::from(20.0)));
    let TestSide { core, replica, authoring } = &mut side;
    authoring.commit_snapshot(core, replica, &brief, value).unwrap();
    publish(&mut side, 24.0);
    assert!(Authoring::brief_due(&side.core, &side.replica, &document).is_none(), "near enough");
    publish(&mut side, 70.0);
    assert!(Authoring::brief_due(&side.core, &side.replica, &document).is_some());
    let other = DocumentId { owner: tombolo_transports::PeerId([9; 32]), ..document };
    assert!(Authoring::brief_due(&side.core, &side.replica, &other).is_none(), "another owner makes its own");
}

proptest! {
    /// Whatever is put and dropped: the sequence counts commits, the root is the content's, and a value that is read back
    /// is the last one written.
    #[test]
    fn a_map_reads_as_the_last_writes(writes in prop::collection::vec((0usize..4, prop::option::of(0u64..9)), 1..12)) {
        let mut side = TestSide::new(1);
        let document = side.document("list");
        let mut expected = std::collections::BTreeMap::new();
        for (n, (key, value)) in writes.iter().enumerate() {
            let key = ["a", "b", "c", "d"][*key];
            side.set(&document, &[(key, *value)]);
            expected.insert(key, *value);
            prop_assert_eq!(side.sequence(&document), n as u64 + 1);
            prop_assert!(side.roots_hold());
        }
        let value = side.value(&document).unwrap();
        for (key, expected) in expected {
            prop_assert_eq!(value.get(key).and_then(Value::as_u64), expected);
        }
    }
}

/// What a peer on a LAN is sent: an app that flips each second is a few signed states, then none until the figures change.
#[test]
fn a_flapping_app_is_signed_a_few_times_and_then_once_as_flapping() {
    let mut side = TestSide::new(1);
    let document = side.core.own_document(DocumentName::STATE);
    let publish = |side: &mut TestSide, n: u64| {
        let status = if n.is_multiple_of(2) { AppStatus::Running } else { AppStatus::Stopped };
        let app = App { id: "web".into(), status, version: None, health: None };
        side.stage(Write::publish(NodeState { apps: vec![app], ..NodeState::default() })).unwrap();
        side.settle();
    };
    for n in 0..30 {
        side.at(Millis::from_secs(100 + n));
        publish(&mut side, n);
    }
    let signed = side.sequence(&document);
    assert!(signed <= 9, "{signed} states of 30 flips");
    let shown = side.replica.node_state(&side.core.me).unwrap().1;
    assert_eq!(shown.apps[0].health, Some(AppHealth::Flapping));
    assert_eq!(shown.apps[0].status, AppStatus::Running, "the last status that was published");
    // The same again is signed for its time, but not each second.
    side.at(Millis::from_secs(200));
    publish(&mut side, 30);
    assert_eq!(side.sequence(&document), signed + 1);
}

/// As soon as this node had a document of that name, the same command would write there instead.
#[test]
fn a_bare_name_reads_a_peers_document_and_writes_none() {
    let (_, mut reader, id) = pair();
    let list = || "list".to_owned();
    let writes = [
        set("list", "a", 2),
        Write::Del { doc: list(), key: key("a") },
        Write::Put { doc: list(), value: Value::Map(tombolo_delta::Map::new()), whole: false },
    ];
    let owner = reader.replica.name_of(&reader.core, &id.document.owner);
    let full = format!("{owner}/list");
    for write in writes {
        let refused = CommandError::PeersDocument { name: list(), full: full.clone() };
        assert_eq!(reader.stage(write), Err(refused));
    }
    assert_eq!(reader.value(&id.document).unwrap().get("a"), Some(&Value::from(1u64)));
    reader.stage(set(&full, "a", 2)).unwrap();
    reader.create("list", Kind::Map);
    reader.stage(set("list", "a", 3)).unwrap();
    reader.settle();
    let own = reader.document("list");
    assert_eq!(reader.value(&own).unwrap().get("a"), Some(&Value::from(3u64)));
    assert_eq!(reader.value(&id.document).unwrap().get("a"), Some(&Value::from(2u64)));
}

#[test]
fn each_right_that_is_missing_is_named() {
    let (mut owner, mut reader, id) = pair();
    let why = |refused: Result<(), CommandError>| match refused {
        Err(CommandError::ReadOnly { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let full = format!("{}/list", crate::identity::did(&owner.me()));
    owner.trust(reader.me(), TrustLevel::Observer);
    owner.sign_audience();
    let audience = owner.core.own_layer(&owner.core.own_document(DocumentName::AUDIENCE));
    let message = owner.supply(reader.me(), &audience, None);
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
    assert_eq!(why(reader.stage(set(&full, "a", 2))), ReadOnlyReason::Observer);
    let state = reader.core.own_document(DocumentName::STATE);
    let TestSide { core, replica, authoring } = &mut reader;
    authoring.commit_snapshot(core, replica, &state, Value::from(1u64)).unwrap();
    assert_eq!(why(reader.stage(set("state", "a", 2))), ReadOnlyReason::Engine);
    let note = owner.create("note", Kind::Snapshot);
    let layer = owner.core.own_layer(&note);
    let message = owner.supply(reader.me(), &layer, None);
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
    assert_eq!(why(reader.stage(set("note", "a", 2))), ReadOnlyReason::OwnersAlone);
    assert_eq!(id.document.owner, owner.me());
}

/// Brings one side's layer of a document to the other.
fn give(from: &TestSide, to: &mut TestSide, document: &DocumentId) {
    let id = from.core.own_layer(document);
    let message = from.supply(to.me(), &id, to.replica.state(&id));
    assert!(matches!(to.receive(from.me(), message), ApplyOutcome::Stored(_)));
}

/// The conflicts of a document: key, who won, and what hides it.
fn conflicts(side: &TestSide, document: &DocumentId) -> Vec<(String, PeerId, Option<String>)> {
    let found = side.replica.document(document).unwrap().conflicts(side.core.reference());
    let row = |(key, loser): (KeyPath, Loser)| {
        (key.to_string(), loser.winner, loser.hidden_by.map(|key| key.to_string()))
    };
    found.into_iter().map(row).collect()
}

fn read(side: &TestSide, document: &DocumentId, path: &str) -> Option<Value> {
    side.replica.document(document)?.get(&key(path))
}

/// An owner and a writer that write while they know nothing of each other, the writer a little later, and then meet.
fn written_apart(of_owner: &str, of_writer: &str) -> (TestSide, TestSide, DocumentId) {
    let (mut owner, mut writer, id) = pair();
    let full = format!("{}/list", crate::identity::did(&owner.me()));
    owner.stage(set("list", of_owner, 1)).unwrap();
    owner.settle();
    writer.at(Millis::from_ms(5_000));
    owner.at(Millis::from_ms(5_000));
    writer.stage(set(&full, of_writer, 2)).unwrap();
    writer.settle();
    give(&owner, &mut writer, &id.document);
    give(&writer, &mut owner, &id.document);
    (owner, writer, id.document)
}

/// One of the two hides the other at both nodes, which is a conflict. Who deletes what is shown has not seen the other.
#[test]
fn a_key_and_one_below_it_written_apart_are_a_conflict_and_a_deletion_takes_one() {
    for (hidden, shown) in [("web", "web/image"), ("web/image", "web"), ("web", "web/a/b")] {
        let (mut owner, writer, document) = written_apart(hidden, shown);
        let expected = [(hidden.to_owned(), writer.me(), Some(shown.to_owned()))];
        assert_eq!(conflicts(&owner, &document), expected);
        assert_eq!(conflicts(&writer, &document), expected);
        owner.stage(Write::Del { doc: "list".to_owned(), key: key("web") }).unwrap();
        owner.settle();
        assert_eq!(read(&owner, &document, hidden), Some(Value::from(1u64)), "{hidden} hidden by {shown}");
        assert_eq!(conflicts(&owner, &document), []);
        owner.stage(Write::Del { doc: "list".to_owned(), key: key("web") }).unwrap();
        owner.settle();
        assert_eq!(read(&owner, &document, "web"), None);
    }
}

/// A write replaces what its writer sees above and below it; that is history, and does not come back.
#[test]
fn a_key_and_one_below_it_written_in_turn_are_no_conflict() {
    for (first, second) in [("web", "web/image"), ("web/image", "web")] {
        let (mut owner, mut writer, id) = pair();
        let full = format!("{}/list", crate::identity::did(&owner.me()));
        owner.stage(set("list", first, 1)).unwrap();
        owner.settle();
        give(&owner, &mut writer, &id.document);
        writer.stage(set(&full, second, 2)).unwrap();
        writer.settle();
        give(&writer, &mut owner, &id.document);
        assert_eq!((conflicts(&owner, &id.document), conflicts(&writer, &id.document)), (vec![], vec![]));
        assert_eq!(read(&owner, &id.document, second), Some(Value::from(2u64)));
        owner.stage(Write::Del { doc: "list".to_owned(), key: key("web") }).unwrap();
        owner.settle();
        assert_eq!(read(&owner, &id.document, "web"), None);
    }
}

#[test]
fn a_conflict_is_settled_either_way_and_is_none_any_more_at_both() {
    for (of_owner, of_writer) in [("web", "web"), ("web", "web/image"), ("web/image", "web")] {
        for takes in [false, true] {
            let (mut owner, mut writer, document) = written_apart(of_owner, of_writer);
            assert_eq!(conflicts(&owner, &document).len(), 1);
            let take = takes.then(|| crate::identity::did(&owner.me()));
            let doc = "list".to_owned();
            owner.stage(Write::Settle { doc, key: key(of_owner), take }).unwrap();
            owner.settle();
            give(&owner, &mut writer, &document);
            let (path, value) = if takes { (of_owner, 1u64) } else { (of_writer, 2) };
            for side in [&owner, &writer] {
                assert_eq!(conflicts(side, &document), [], "{of_owner} {of_writer} {takes}");
                assert_eq!(read(side, &document, path), Some(Value::from(value)));
            }
            assert_eq!(owner.value(&document), writer.value(&document));
        }
    }
}

#[test]
fn a_write_on_a_base_is_refused_when_the_document_has_changed_since() {
    let mut side = TestSide::new(1);
    let document = side.create("list", Kind::Map);
    side.stage(set("list", "a", 1)).unwrap();
    side.settle();
    let version = version_of(&side.value(&document).unwrap());
    let on = |base: &str, write: Write| Write::OnBase { base: base.to_owned(), write: Box::new(write) };
    let put = |n: u64| Write::Put {
        doc: "list".to_owned(),
        value: Value::map([("b", Value::from(n))]),
        whole: false,
    };
    // Another program writes in between.
    side.stage(set("list", "c", 3)).unwrap();
    side.settle();
    let end = || Write::Delete { doc: "list".to_owned(), undo: false };
    for write in [put(1), set("list", "a", 9), Write::Del { doc: "list".to_owned(), key: key("a") }, end()] {
        let refused = side.stage(on(&version, write));
        assert!(matches!(refused, Err(CommandError::Stale { .. })), "{refused:?}");
    }
    let version = version_of(&side.value(&document).unwrap());
    assert!(matches!(side.stage(on("", put(1))), Err(CommandError::Stale { .. })), "no version is none");
    let both = Write::OnBase { base: "0".repeat(16), write: Box::new(on(&version, put(1))) };
    assert!(matches!(side.stage(both), Err(CommandError::Stale { .. })), "each base counts");
    side.stage(on(&format!("x,{}", &version[..16]), put(1))).unwrap();
    let reply = side.authoring.staged.replies.last().map(|reply| reply.kind.clone());
    assert_eq!(reply, Some(WriteKind::Document { set: 1, deleted: 2 }));
}
