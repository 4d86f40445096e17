//! Large writes that are worked out on a draft: what comes of them is what the node would do, in one state, or another
//! draft.

use super::long::{below, path, written};
use super::*;
use crate::authoring::{Draft, DraftInput, DraftOrder};
use crate::io::ValueError;
use crate::layer::{ContentError, Sequence};
use crate::limits::SLICE_KEYS_MAX;
use crate::merge::version_of;

/// A few more keys than are written at once without a draft.
const MANY: usize = SLICE_KEYS_MAX + 700;

fn put(value: Value, whole: bool) -> Write {
    Write::Put { doc: "large".into(), value, whole }
}

fn on(base: &str, write: Write) -> Write {
    Write::OnBase { base: base.into(), write: Box::new(write) }
}

/// What the node answers to a write that may be large.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one is made at a time")]
enum DraftAnswer {
    Reply(Result<Reply, CommandError>),
    Draft(Box<Draft>),
}

impl DraftAnswer {
    fn into_reply(self) -> Result<Reply, CommandError> {
        match self {
            DraftAnswer::Reply(reply) => reply,
            DraftAnswer::Draft(_) => panic!("another draft"),
        }
    }

    fn into_draft(self) -> Draft {
        match self {
            DraftAnswer::Draft(draft) => *draft,
            DraftAnswer::Reply(reply) => panic!("{reply:?}"),
        }
    }
}

impl Wire {
    fn version(&mut self) -> String {
        version_of(&self.get(0, "large"))
    }

    /// Gives the node a write, or one that is worked out, and lets what follows happen. Returns the request.
    fn give(&mut self, input: DraftInput) -> RequestId {
        self.next += 1;
        let (now, request) = (self.now(), RequestId(self.next));
        self.nodes[0].handle_draft(now, request, input);
        while let Some(output) = self.nodes[0].poll_output() {
            self.output(0, output);
        }
        self.run();
        request
    }

    /// The answer to what was given, if there is one.
    fn answer_to(&mut self, request: RequestId) -> Option<DraftAnswer> {
        let draft = self.nodes[0].take_drafts().pop().map(|(of, draft)| {
            assert_eq!(of, request);
            DraftAnswer::Draft(Box::new(draft))
        });
        draft.or_else(|| Some(DraftAnswer::Reply(self.reply_of(request)?)))
    }

    /// The same, once slices are done.
    fn answered(&mut self, input: DraftInput) -> DraftAnswer {
        let request = self.give(input);
        loop {
            match self.answer_to(request) {
                Some(answer) => return answer,
                None => self.turn(),
            }
        }
    }

    /// Asks for a draft of a write.
    fn draft(&mut self, write: Write) -> Draft {
        self.answered(DraftInput::Order(DraftOrder::new(write))).into_draft()
    }

    /// Asks for a write of which no draft is made.
    fn done_at_once(&mut self, write: Write) -> Result<Reply, CommandError> {
        self.answered(DraftInput::Order(DraftOrder::new(write))).into_reply()
    }

    /// Hands in a draft that is worked out.
    fn given_in(&mut self, draft: Draft) -> DraftAnswer {
        match draft.work_out() {
            Ok(drafted) => self.answered(DraftInput::Drafted(Box::new(drafted))),
            Err(why) => DraftAnswer::Reply(Err(why)),
        }
    }

    fn hand_in(&mut self, draft: Draft) -> Result<Reply, CommandError> {
        self.given_in(draft).into_reply()
    }

    fn sequence_of_large(&self) -> Sequence {
        let core = &self.nodes[0].core;
        let layer = core.own_layer(&core.own_document("large"));
        self.nodes[0].replica.layer(&layer).unwrap().head().sequence
    }

    fn root(&self) -> crate::layer::Root {
        let core = &self.nodes[0].core;
        let layer = core.own_layer(&core.own_document("large"));
        self.nodes[0].replica.layer(&layer).unwrap().head().root
    }

    /// When each key of the own layer was seen to change.
    fn changes_seen(&self) -> Vec<(KeyPath, Option<Sequence>)> {
        let node = &self.nodes[0];
        let id = node.core.own_layer(&node.core.own_document("large"));
        let map = map_of(node.replica.layer(&id).unwrap()).unwrap();
        let seen = |key: &KeyPath| node.replica.layers().change_seen(&id, key, map);
        map.iter().map(|(key, _)| (key.clone(), seen(key))).collect()
    }

    /// Two writers with keys of each, of both, above and below each other, deleted ones and conflicts.
    fn with_two_writers() -> Wire {
        let mut wire = Wire::with_large(2, below("a", MANY, 1u64));
        wire.join(0, 1, TrustLevel::Trusted);
        wire.connect(0, 1);
        wire.pass(20_000);
        for (key, value) in [("a/k000003", 7u64), ("b/x", 1), ("c", 1), ("d/e/f", 2)] {
            wire.set(1, "n0/large", key, value).unwrap();
        }
        wire.ask(1, Write::Del { doc: "n0/large".into(), key: path("a/k000004") }).unwrap();
        wire.pass(20_000);
        wire.cut(0, 1);
        for (at, doc, key, value) in [
            (1, "n0/large", "a/k000005", 9u64),
            (0, "large", "a/k000005", 8),
            (1, "n0/large", "web/image", 1),
            (0, "large", "web", 2),
            (1, "n0/large", "d", 5),
            (0, "large", "d/e/g", 6),
        ] {
            wire.set(at, doc, key, value).unwrap();
            wire.pass(5);
        }
        wire.connect(0, 1);
        wire.pass(20_000);
        assert_eq!(wire.hashes(0), wire.hashes(1));
        wire
    }
}

/// Worked out on a draft or by the node: the same entries, counts and refusals, whatever is there and whatever is written.
#[test]
fn a_drafted_write_is_what_the_node_would_do() {
    let with = |value: Value, key: &str, of: u64| {
        let Value::Map(mut members) = value else { panic!("an object") };
        members.insert(key.to_owned(), Value::from(of));
        Value::Map(members)
    };
    let values = [
        Value::Map(tombolo_delta::Map::new()),
        Value::from(1u64),
        below("a", MANY, 1u64),
        with(below("a", MANY, 2u64), "c", 1),
        with(below("a", 50, 1u64), "web", 3),
        below("d", MANY, 2u64),
    ];
    let mut writes: Vec<Write> = values.iter().map(|value| put(value.clone(), true)).collect();
    for key in ["a", "a/k000005", "c/x", "d", "web/image", "none"] {
        let (doc, key) = ("large".to_owned(), path(key));
        writes.push(Write::Del { doc: doc.clone(), key: key.clone() });
        let value = values[writes.len() % values.len()].clone();
        writes.push(Write::Set { doc, key, value });
    }
    for (number, write) in writes.into_iter().enumerate() {
        let mut wires = [Wire::with_two_writers(), Wire::with_two_writers()];
        let version = wires[0].version();
        assert_eq!(version, wires[1].version());
        let is_whole = matches!(write, Write::Put { .. }) && number % 2 == 0;
        let write = if is_whole { write } else { on(&version[..20], write) };
        let [by_node, drafted] = &mut wires;
        let expected = by_node.ask(0, write.clone());
        let draft = drafted.draft(write.clone());
        let done = drafted.hand_in(draft);
        assert_eq!(done, expected, "{number}: {write:?}");
        assert_eq!(drafted.root(), by_node.root(), "{number}");
        assert_eq!(drafted.sequence_of_large(), by_node.sequence_of_large(), "{number}: one state, or none");
        assert_eq!(drafted.get(0, "large"), by_node.get(0, "large"), "{number}");
        let conflicts =
            [&mut *drafted, by_node].map(|wire| wire.ask(0, Query::Conflicts { doc: None }).unwrap());
        assert_eq!(conflicts[0], conflicts[1], "{number}");
        // The peer has it, and so does the disk.
        let (root, seen) = (drafted.root(), drafted.changes_seen());
        assert_eq!(seen, by_node.changes_seen(), "{number}");
        drafted.pass(20_000);
        assert_eq!(drafted.hashes(0), drafted.hashes(1), "{number}");
        drafted.restart(0);
        assert_eq!(drafted.root(), root, "{number}");
        assert_eq!(drafted.changes_seen(), seen, "{number}");
        drafted.set(0, "large", "later", 1u64).unwrap();
        drafted.connect(0, 1);
        drafted.pass(20_000);
        assert_eq!(drafted.hashes(0), drafted.hashes(1), "{number}");
    }
}

/// What is small is written at once; what is refused needs no draft.
#[test]
fn a_draft_is_made_of_a_large_write_alone() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    wire.create(0, "small");
    let small = |whole| Write::Put { doc: "small".into(), value: below("a", 5, 1u64), whole };
    let version = version_of(&Value::Map(tombolo_delta::Map::new()));
    for write in [
        small(true),
        on(&version_of(&below("a", 5, 1u64)), small(false)),
        Write::Set { doc: "large".into(), key: path("x"), value: Value::from(1u64) },
        Write::Del { doc: "large".into(), key: path("x") },
    ] {
        let reply = wire.done_at_once(write);
        assert!(matches!(reply, Ok(Reply::Written(_))), "{reply:?}");
    }
    let unknown = Write::Put { doc: "none".into(), value: below("a", MANY, 1u64), whole: true };
    let reply = wire.done_at_once(unknown);
    assert!(matches!(reply, Err(CommandError::UnknownDocument(_))), "{reply:?}");
    let no_base = on(&version, Write::Create { name: "new".into(), kind: Kind::Map });
    let reply = wire.done_at_once(no_base);
    assert_eq!(reply, Err(CommandError::NoBase));
    let large = put(Value::map([("b", Value::Bytes(vec![0; 70_000]))]), true);
    let refused = wire.draft(large).work_out();
    assert!(matches!(refused, Err(CommandError::BadValue(ValueError::Entry { .. }))), "{refused:?}");
    let bytes = Value::Bytes(vec![1; 3_400]);
    let refused = wire.draft(put(below("b", MANY, bytes), true)).work_out();
    let why = ContentError::TooLarge;
    assert_eq!(refused.err(), Some(CommandError::BadValue(ValueError::Content(why))));
}

/// What is written while a draft is worked out is not lost: on a version the write is refused, without one it goes above. After eight
/// drafts it is refused as well.
#[test]
fn a_draft_of_a_document_that_changes_is_made_again() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    let version = wire.version();
    let based = wire.draft(on(&version, put(below("a", MANY, 2u64), false)));
    let whole = wire.draft(put(below("a", MANY, 3u64), true));
    wire.set(0, "large", "between", 1u64).unwrap();
    let again = wire.given_in(based).into_draft();
    let refused = again.work_out();
    assert!(matches!(refused, Err(CommandError::Stale { .. })), "{refused:?}");

    let mut draft = whole;
    for n in 0..7u64 {
        wire.set(0, "large", "between", 2 + n).unwrap();
        draft = wire.given_in(draft).into_draft();
    }
    let last = draft.clone();
    assert_eq!(written(wire.hand_in(draft)), (MANY, 1));
    assert!(wire.get(0, "large") == below("a", MANY, 3u64));
    assert_eq!(wire.hand_in(last), Err(CommandError::Changing("large".to_owned())));

    // A document that is gone is no other one of its name.
    let draft = wire.draft(put(below("a", MANY, 4u64), true));
    wire.ask(0, Write::Delete { doc: "large".into(), undo: false }).unwrap();
    let gone = wire.hand_in(draft.clone());
    assert!(matches!(gone, Err(CommandError::UnknownDocument(_))), "{gone:?}");
    wire.create(0, "large");
    wire.given_in(draft);
    assert!(wire.get(0, "large") != below("a", MANY, 3u64));
}

/// A write that promises nothing about commits goes in slices once two drafts of it are out of date.
#[test]
fn a_draft_of_a_document_that_changes_again_and_again_goes_in_slices() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    for (write, counts) in [
        (put(below("b", MANY, 2u64), false), (MANY, MANY + 1)),
        (Write::Set { doc: "large".into(), key: path("c"), value: below("c", MANY, 1u64) }, (MANY, 0)),
        (Write::Del { doc: "large".into(), key: path("b") }, (0, MANY)),
    ] {
        let mut draft = wire.draft(write);
        for n in 0..2u64 {
            wire.set(0, "large", "between", n).unwrap();
            draft = wire.given_in(draft).into_draft();
        }
        let sequence = wire.sequence_of_large();
        assert_eq!(written(wire.hand_in(draft)), counts);
        assert!(wire.sequence_of_large().get() > sequence.get() + 1, "several commits");
    }
    let left = Value::map([("between", Value::from(1u64)), ("c", below("c", MANY, 1u64))]);
    assert!(wire.get(0, "large") == left, "what came between stays");
    let value = below("d", MANY, Value::Bytes(vec![1; 3_400]));
    let refused = wire.draft(Write::Set { doc: "large".into(), key: path("d"), value }).work_out();
    let why = CommandError::BadValue(ValueError::Content(ContentError::TooLarge));
    assert_eq!(refused.err(), Some(why));
}

/// A deletion of the document on a version: the version is compared in the draft.
#[test]
fn a_document_that_is_read_on_a_draft_may_end() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    let version = wire.version();
    let end = || Write::Delete { doc: "large".into(), undo: false };
    let stale = wire.draft(on(&"0".repeat(16), end())).work_out();
    assert!(matches!(stale, Err(CommandError::Stale { .. })), "{stale:?}");
    let draft = wire.draft(on(&version, end()));
    assert!(matches!(wire.hand_in(draft), Ok(Reply::Deleted(_))));
    assert!(wire.ask(0, Query::Get { doc: "large".into(), key: None }).is_err());
}

/// A draft that would be out of date with the next slice of another write waits for its end.
#[test]
fn a_draft_waits_for_slices() {
    let mut wire = Wire::with_large(1, below("a", 10, 1u64));
    let slices =
        wire.begin(Write::Put { doc: "large".into(), value: below("b", 3 * MANY, 1u64), whole: false });
    let asked = wire.give(DraftInput::Order(DraftOrder::new(put(below("c", MANY, 1u64), true))));
    let mut turns = 0;
    let draft = loop {
        match wire.answer_to(asked) {
            Some(answer) => break answer.into_draft(),
            None => wire.turn(),
        }
        turns += 1;
    };
    assert!(turns > 2, "{turns}");
    assert_eq!(written(wire.reply_of(slices).unwrap()), (3 * MANY, 10));
    assert_eq!(written(wire.hand_in(draft)), (MANY, 3 * MANY));
    assert_eq!(wire.get(0, "large"), below("c", MANY, 1u64));
}

/// A node that is killed before a draft is handed in has written nothing of it; one that takes a full disk for an answer neither.
#[test]
fn a_draft_that_finds_no_disk_writes_nothing() {
    let mut wire = Wire::new(1);
    let (store, fill) = crate::store::tests::on_a_disk_that_fills();
    wire.nodes[0] = open(store, 0, Mono::ZERO);
    wire.create(0, "large");
    wire.ask(0, put(below("a", MANY, 1u64), true)).unwrap();
    let draft = wire.draft(put(below("b", MANY, 2u64), true));
    fill(true);
    let refused = wire.hand_in(draft);
    assert!(matches!(refused, Err(CommandError::Store(_))), "{refused:?}");
    fill(false);
    wire.pass(60_000);
    assert_eq!(wire.get(0, "large"), below("a", MANY, 1u64));
    let draft = wire.draft(put(below("b", MANY, 2u64), true));
    wire.restart(0);
    assert_eq!(wire.get(0, "large"), below("a", MANY, 1u64));
    // The node has the state of which the draft was made.
    assert_eq!(written(wire.hand_in(draft)), (MANY, MANY));
    assert_eq!(wire.get(0, "large"), below("b", MANY, 2u64));
}
