//! Writes of many keys and questions about many: what one turn does of them, and what is read in between.

use super::*;
use crate::io::ValueError;
use crate::layer::ContentError;
use crate::limits::{ANSWER_KEYS_MAX, SLICE_KEYS_MAX};
use crate::steps;

/// A little more than two slices.
const MANY: usize = 2 * SLICE_KEYS_MAX + 500;

pub(super) fn path(text: &str) -> KeyPath {
    KeyPath::parse(text).unwrap()
}

/// So many keys below one, numbered, with one value.
pub(super) fn below(top: &str, keys: usize, value: impl Into<Value>) -> Value {
    let value = value.into();
    let members: Value = (0..keys).map(|n| (format!("k{n:06}"), value.clone())).collect();
    Value::map([(top.to_owned(), members)])
}

fn put(doc: &str, value: Value) -> Write {
    Write::Put { doc: doc.into(), value, whole: false }
}

fn members(value: &Value, top: &str) -> usize {
    match value.get(top) {
        Some(Value::Map(members)) => members.len(),
        _ => 0,
    }
}

impl Wire {
    /// A document with these contents, made in one commit, beside another one.
    pub(super) fn with_large(nodes: usize, content: Value) -> Wire {
        let mut wire = Wire::new(nodes);
        wire.create(0, "large");
        wire.create(0, "other");
        wire.ask(0, Write::Put { doc: "large".into(), value: content, whole: true }).unwrap();
        wire
    }

    /// Sends a command, of which the first part is done.
    pub(super) fn begin(&mut self, command: impl Into<Command>) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.queue.push_back((0, Input::Command { request, command: command.into() }));
        self.run();
        request
    }

    /// A turn in which nothing else is asked.
    pub(super) fn turn(&mut self) {
        self.queue.push_back((0, Input::Timeout));
        self.run();
    }

    pub(super) fn reply_of(&mut self, request: RequestId) -> Option<Result<Reply, CommandError>> {
        self.replies.remove(&(0, request))
    }

    /// Lets turns follow until a command is answered, and looks at the node after each.
    fn follow(&mut self, request: RequestId, mut look: impl FnMut(&mut Wire)) -> Result<Reply, CommandError> {
        loop {
            if let Some(reply) = self.reply_of(request) {
                return reply.map(Reply::complete);
            }
            look(self);
            self.turn();
        }
    }

    fn layer_of_large(&self) -> crate::layer::MapContent {
        let node = &self.nodes[0];
        let layer = node.core.own_layer(&node.core.own_document("large"));
        map_of(node.replica.layer(&layer).unwrap()).unwrap().clone()
    }
}

pub(super) fn written(reply: Result<Reply, CommandError>) -> (usize, usize) {
    match reply {
        Ok(Reply::Written(written)) => {
            assert_eq!(written.changed, written.set + written.deleted);
            (written.set, written.deleted)
        }
        other => panic!("{other:?}"),
    }
}

/// A deletion of many keys: no turn changes more than a slice, what is asked in between is answered at once, and the reply names all
/// of it, once it is on disk.
#[test]
fn a_large_deletion_goes_in_slices() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    wire.set(0, "large", "b", 2u64).unwrap();
    let request = wire.begin(Write::Del { doc: "large".into(), key: path("a") });
    let (mut before, mut turns) = (wire.layer_of_large(), 0);
    let reply = wire.follow(request, |wire| {
        let now = wire.layer_of_large();
        assert!(now.changes_since(&before).len() <= SLICE_KEYS_MAX);
        turns += 1;
        wire.queue.push_back((
            0,
            Input::Command {
                request: RequestId(9_000 + turns),
                command: Write::Set { doc: "other".into(), key: path("k"), value: Value::from(turns) }.into(),
            },
        ));
        wire.run();
        assert!(wire.reply_of(RequestId(9_000 + turns)).is_some_and(|reply| reply.is_ok()));
        before = wire.layer_of_large();
    });
    assert_eq!(written(reply), (0, MANY));
    assert!(turns >= 2, "{turns} turns");
    assert_eq!(wire.get(0, "large"), Value::map([("b".to_owned(), Value::from(2u64))]));
    let again = wire.ask(0, Write::Del { doc: "large".into(), key: path("a") });
    assert!(matches!(again, Err(CommandError::UnknownKey { .. })), "{again:?}");
}

/// A large `put` over another content, and one of little over much: what is new is there before anything is taken away, no turn changes
/// more than a slice.
#[test]
fn a_put_over_many_other_keys_goes_in_slices() {
    for (new, set) in [(below("b", MANY, 2u64), MANY), (Value::map([("b".to_owned(), Value::from(1u64))]), 1)]
    {
        let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
        let request = wire.begin(put("large", new.clone()));
        let mut before = wire.layer_of_large();
        let reply = wire.follow(request, |wire| {
            let now = wire.layer_of_large();
            assert!(now.changes_since(&before).len() <= SLICE_KEYS_MAX);
            let shown = wire.get(0, "large");
            let is_new_all_there = members(&shown, "b") == MANY || set == 1;
            assert!(is_new_all_there || members(&shown, "a") == MANY, "deletions come last");
            before = wire.layer_of_large();
        });
        assert_eq!(written(reply), (set, MANY));
        assert_eq!(wire.get(0, "large"), new);
    }
}

/// A value in the place of many keys: those below it are deleted as well, and none is left hidden, whether the write is small or large.
#[test]
fn what_a_long_write_hides_is_deleted() {
    let is_gone = |wire: &Wire| {
        let node = &wire.nodes[0];
        let document = node.replica.document(&node.core.own_document("large")).unwrap();
        document
            .winners()
            .filter(|(key, _)| path("a").is_prefix_of(key) && **key != path("a"))
            .all(|(_, w)| w.entry.is_tombstone())
    };
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    assert_eq!(written(wire.set(0, "large", "a", "short")), (1, MANY));
    assert_eq!(text(&wire.get(0, "large"), "a"), Some("short".into()));
    assert!(is_gone(&wire));

    let mut wire = Wire::with_large(1, below("a", 10, 1u64));
    let Value::Map(mut large) = below("z", MANY, 3u64) else { panic!("an object") };
    large.insert("a".to_owned(), Value::from("short"));
    assert_eq!(written(wire.ask(0, put("large", Value::Map(large.clone())))), (MANY + 1, 10));
    assert_eq!(wire.get(0, "large"), Value::Map(large));
    assert!(is_gone(&wire));
}

/// What another program writes while a deletion is under way, where that has been already, stays.
#[test]
fn a_key_that_is_written_behind_a_long_deletion_stays() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    let request = wire.begin(Write::Del { doc: "large".into(), key: path("a") });
    wire.set(0, "other", "k", 1u64).unwrap();
    let set =
        wire.begin(Write::Set { doc: "large".into(), key: path("a/k000001"), value: Value::from(7u64) });
    assert!(wire.reply_of(set).is_some(), "it does not wait for the deletion");
    wire.follow(request, |_| {}).unwrap();
    let left = Value::map([("k000001".to_owned(), Value::from(7u64))]);
    assert_eq!(wire.get(0, "large"), Value::map([("a".to_owned(), left)]));
}

/// Two long writes of one document do not mix: the later one is what is left.
#[test]
fn long_writes_follow_each_other() {
    let mut wire = Wire::with_large(1, below("a", 10, 1u64));
    let first = wire.begin(put("large", below("a", MANY, 1u64)));
    let second = wire.begin(put("large", below("b", MANY, 2u64)));
    wire.follow(second, |_| {}).unwrap();
    wire.follow(first, |_| {}).unwrap();
    assert_eq!(wire.get(0, "large"), below("b", MANY, 2u64));
}

/// Values that find no room beside those that they replace come after the deletions; what finds none even then is refused.
#[test]
fn a_long_write_that_finds_no_room_deletes_first() {
    let bytes = |of: u8| Value::Bytes(vec![of; 1_700]);
    let keys = SLICE_KEYS_MAX + 800;
    let mut wire = Wire::with_large(1, below("a", keys, bytes(1)));
    let reply = wire.ask(0, put("large", below("b", keys, bytes(2))));
    assert_eq!(written(reply), (keys, keys));
    assert_eq!(wire.get(0, "large"), below("b", keys, bytes(2)));
    let too_much = Write::Set { doc: "large".into(), key: path("c"), value: below("c", keys, bytes(3)) };
    let refused = wire.ask(0, too_much);
    let why = CommandError::BadValue(ValueError::Content(ContentError::TooLarge));
    assert_eq!(refused, Err(why));
    assert_eq!(members(&wire.get(0, "large"), "b"), keys);
}

/// A node that is killed in the middle has acknowledged nothing; it comes back with what was signed, and the write done again
/// completes it. One of which the disk takes no slice is refused.
#[test]
fn a_long_write_that_is_cut_short_is_not_acknowledged() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    let request = wire.begin(put("large", below("b", MANY, 2u64)));
    wire.turn();
    wire.restart(0);
    assert_eq!(wire.reply_of(request), None);
    let shown = wire.get(0, "large");
    assert!(members(&shown, "a") == MANY && (1..MANY).contains(&members(&shown, "b")));
    wire.ask(0, put("large", below("b", MANY, 2u64))).unwrap();
    assert_eq!(wire.get(0, "large"), below("b", MANY, 2u64));

    let mut wire = Wire::new(1);
    let (store, fill) = crate::store::tests::on_a_disk_that_fills();
    wire.nodes[0] = open(store, 0, Mono::ZERO);
    wire.create(0, "large");
    let request = wire.begin(put("large", below("a", MANY, 1u64)));
    fill(true);
    let refused = wire.follow(request, |_| {});
    assert!(matches!(refused, Err(CommandError::Store(_))), "{refused:?}");
    fill(false);
    wire.pass(60_000);
    wire.ask(0, put("large", below("a", MANY, 1u64))).unwrap();
    assert_eq!(wire.get(0, "large"), below("a", MANY, 1u64));
}

/// A peer has the same as the writer after each long write.
#[test]
fn peers_follow_a_long_write() {
    let mut wire = Wire::with_large(2, below("a", MANY, 1u64));
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.pass(20_000);
    for write in [
        put("large", below("b", MANY, 2u64)),
        Write::Set { doc: "large".into(), key: path("b"), value: Value::from(1u64) },
    ] {
        wire.ask(0, write).unwrap();
        wire.pass(20_000);
        assert_eq!(wire.hashes(0), wire.hashes(1));
    }
}

/// Lists, conflicts and whole documents: no turn looks at more than a part of the keys, and the answer is that of one look.
#[test]
fn questions_about_many_keys_are_answered_in_parts() {
    let keys = 3 * ANSWER_KEYS_MAX;
    let mut wire = Wire::with_large(2, below("a", keys, 1u64));
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.pass(20_000);
    wire.cut(0, 1);
    wire.set(1, "n0/large", "a/k000007", "theirs").unwrap();
    wire.set(0, "large", "a/k000007", "ours").unwrap();
    wire.connect(0, 1);
    wire.pass(20_000);
    let asked = [Query::Conflicts { doc: None }, Query::Conflicts { doc: Some("large".into()) }, Query::List];
    for query in asked {
        wire.nodes.truncate(1);
        steps::take();
        let in_one = wire.nodes[0].report().answer(&query).unwrap();
        let whole = steps::take();
        let request = wire.begin(query);
        let mut most = steps::take();
        let mut turns = 1;
        let reply = wire.follow(request, |_| {
            most = most.max(steps::take());
            turns += 1;
        });
        assert_eq!(reply, Ok(in_one.clone()));
        if let Reply::Conflicts(lost) = in_one {
            assert_eq!(lost.len(), 1);
            assert!(turns >= 3, "{turns} turns");
            assert!(most < whole / 2, "{most} steps in a turn, of {whole}");
        }
    }
    let whole = wire.begin(Query::Get { doc: "large".into(), key: None });
    let reply = wire.reply_of(whole).unwrap().unwrap();
    assert!(matches!(reply, Reply::Partial(_)), "the node does not put it together");
    let node = &wire.nodes[0];
    let value = node.replica.document(&node.core.own_document("large")).unwrap().view().unwrap();
    assert_eq!(reply.complete(), Reply::Value(value));
}

/// A large document that ends gives its memory back in parts.
#[test]
fn a_large_document_that_ends_is_given_back_in_parts() {
    let mut wire = Wire::with_large(1, below("a", MANY, 1u64));
    while !wire.nodes[0].replica.layers().is_tidy() {
        wire.turn();
    }
    wire.ask(0, Write::Delete { doc: "large".into(), undo: false }).unwrap();
    let is_held =
        |wire: &Wire| wire.nodes[0].replica.layers().documents().any(|(id, _)| id.name.as_str() == "large");
    assert!(!is_held(&wire) && !wire.nodes[0].replica.layers().is_tidy());
    let turns = (0..).take_while(|_| {
        wire.turn();
        !wire.nodes[0].replica.layers().is_tidy()
    });
    assert!(turns.count() >= 3);
    wire.restart(0);
    assert!(!is_held(&wire));
}
