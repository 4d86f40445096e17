//! Any order, any repetition, the same document.

use proptest::prelude::*;
use tombolo_delta::Value;
use tombolo_transports::PeerId;

use super::*;
use crate::clock::Timestamp;
use crate::identity::Keypair;
use crate::layer::{CompactValue, DocumentId, DocumentName, Head, LayerId, Sequence};
use crate::limits::FUTURE_BOUND;
use crate::time::{Millis, Wall};

const NOW: Wall = Wall::from_ms(1_800_000_000_000);

fn author(n: u8) -> PeerId {
    Keypair::from_seeds(&[n; 32], &[n; 32]).peer_id()
}

type Change = (KeyPath, Option<Entry>);

fn layer(n: u8, sequence: u64, changes: Vec<Change>) -> Layer {
    let mut map = MapContent::default();
    map.change(changes).unwrap();
    let content = Content::Map(map);
    let document = DocumentId { owner: author(0), name: DocumentName::new("d").unwrap() };
    let head = Head {
        kind: Kind::Map,
        layer: LayerId { document, author: author(n) },
        sequence: Sequence::new(sequence).unwrap(),
        time: NOW,
        audience_sequence: Sequence::NONE,
        root: content.root(),
    };
    Layer { signed: head.sign(&Keypair::from_seeds(&[n; 32], &[n; 32])), content }
}

fn entry(at: Wall, value: impl Into<Value>) -> Option<Entry> {
    Some(Entry { stamp: Timestamp::new(at, 0), value: Some(Value::into(value.into())), saw: None })
}

fn key(text: &str) -> KeyPath {
    KeyPath::parse(text).unwrap()
}

fn all(writers: u8) -> BTreeMap<PeerId, Sequence> {
    (0..writers).map(|n| (author(n), Sequence::NONE)).collect()
}

fn document(writers: u8) -> Document {
    let mut document = Document::new(Kind::Map, author(0));
    document.set_writers(all(writers), NOW);
    document
}

fn view(document: &Document) -> serde_json::Value {
    serde_json::to_value(document.view().unwrap()).unwrap()
}

/// Few keys that stand above each other, few stamps, so that everything collides.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let key = prop_oneof![Just("a"), Just("a/b"), Just("a/b/c"), Just("a/x"), Just("z")].prop_map(key);
    let value = prop_oneof![
        Just(None),
        (0i64..3).prop_map(|n| Some(Value::from(n))),
        Just(Some(Value::Map(tombolo_delta::Map::new()))),
    ];
    let stamp = prop_oneof![0u64..4, Just(2 * FUTURE_BOUND.ms())];
    let entry = (stamp, value).prop_map(|(ms, value)| Entry {
        stamp: Timestamp::new(NOW + Millis::from_ms(ms), 0),
        value: value.map(Into::into),
        saw: None,
    });
    proptest::collection::vec((key, entry.prop_map(Some)), 0..6)
}

proptest! {
    /// What is reported of a document is the difference of two readings of it, whatever its layers brought in between.
    #[test]
    fn the_report_of_changed_layers_equals_the_difference_of_two_readings(
        states in proptest::collection::vec((0u8..3, changes(), any::<bool>()), 1..12),
    ) {
        let mut document = document(3);
        let mut before = leaves_of(document.view().as_ref());
        for (sequence, (n, changes, is_report)) in (1u64..).zip(states) {
            // An object without members is reported where it stands, and no leaf where others stand in it.
            let is_leaf = |(_, entry): &Change| {
                let value = entry.as_ref().and_then(|entry| entry.value.as_ref());
                value.is_none_or(|value| !value.is_empty_object())
            };
            // No two entries of a document have one stamp and one author.
            let stamped = |(at, (key, entry)): (usize, Change)| {
                let count = sequence * 16 + at as u64;
                let stamp = |entry: &Entry| Timestamp::from_bits(entry.stamp.bits() + count);
                (key, entry.map(|entry| Entry { stamp: stamp(&entry), ..entry }))
            };
            let changes = changes.into_iter().filter(is_leaf).enumerate().map(stamped).collect();
            document.put_layer(layer(n, sequence, changes), None, NOW);
            if is_report {
                let now = leaves_of(document.view().as_ref());
                let changes = document.take_changes();
                prop_assert_eq!(&changes.keys, &differences(&before, &now));
                before = now;
            }
        }
    }

    #[test]
    fn the_order_in_which_layers_come_does_not_matter(
        states in proptest::collection::vec((0u8..3, changes()), 1..8),
        order in any::<u64>(),
    ) {
        let layers: Vec<Layer> =
            states.into_iter().enumerate().map(|(i, (n, c))| layer(n, i as u64 + 1, c)).collect();
        // The newest of each author is what counts, whenever it comes.
        let mut forward = document(3);
        for layer in &layers {
            forward.put_layer(layer.clone(), None, NOW);
        }
        let mut newest: BTreeMap<PeerId, Layer> = BTreeMap::new();
        for layer in layers {
            newest.insert(layer.head().layer.author, layer);
        }
        let mut shuffled: Vec<Layer> = newest.into_values().collect();
        let steps = order as usize % shuffled.len();
        shuffled.rotate_left(steps);
        if order & 1 == 1 {
            shuffled.reverse();
        }
        let mut backward = document(0);
        for layer in &shuffled {
            backward.put_layer(layer.clone(), None, NOW);
            backward.put_layer(layer.clone(), None, NOW);
        }
        backward.set_writers(all(3), NOW);
        // From the store, the owner's first, as a node that starts takes them.
        let mut loaded = document(0);
        shuffled.sort_by_key(|layer| layer.head().layer.author != author(0));
        for layer in &shuffled {
            let mut entries: Vec<_> = map_of(layer).unwrap().iter().map(|(key, _)| key.clone()).collect();
            entries.sort();
            let entries = map_of(layer).unwrap().entries_at(&entries);
            let entries = entries.into_iter().filter_map(|(key, entry)| Some((key, entry?))).collect();
            loaded.load_layer(layer.clone(), entries, NOW);
        }
        loaded.set_writers(all(3), NOW);
        // And when the time of the quarantined has come, still.
        for time in [NOW, NOW + 3 * FUTURE_BOUND] {
            for document in [&mut forward, &mut backward, &mut loaded] {
                document.release(time);
            }
            for other in [&backward, &loaded] {
                prop_assert_eq!(view(&forward), view(other));
                prop_assert_eq!(forward.quarantined() > 0, other.quarantined() > 0);
                prop_assert_eq!(forward.merged.has_tombstones(), other.merged.has_tombstones());
            }
        }
        prop_assert_eq!(forward.quarantined(), 0);
    }
}

#[test]
fn two_people_who_edit_different_members_both_win() {
    let mut document = document(2);
    document.put_layer(layer(0, 1, vec![(key("p/name"), entry(NOW, "x"))]), None, NOW);
    document.put_layer(layer(1, 1, vec![(key("p/size"), entry(NOW, 3i64))]), None, NOW);
    assert_eq!(view(&document), serde_json::json!({"p": {"name": "x", "size": 3}}));
}

#[test]
fn of_a_value_and_what_stands_below_it_the_later_is_shown() {
    let mut document = document(2);
    document.put_layer(layer(0, 1, vec![(key("a/b"), entry(NOW, 1i64))]), None, NOW);
    document.put_layer(layer(1, 1, vec![(key("a"), entry(NOW + Millis::from_ms(1), 2i64))]), None, NOW);
    assert_eq!(view(&document), serde_json::json!({"a": 2}));
    document.put_layer(layer(0, 2, vec![(key("a/b"), entry(NOW + Millis::from_ms(2), 1i64))]), None, NOW);
    assert_eq!(view(&document), serde_json::json!({"a": {"b": 1}}));
}

#[test]
fn a_layer_counts_only_while_its_author_is_a_writer() {
    let mut document = document(1);
    document.put_layer(layer(0, 1, vec![(key("k"), entry(NOW, "mine"))]), None, NOW);
    assert!(!document.put_layer(
        layer(1, 1, vec![(key("k"), entry(NOW + Millis::from_ms(1), "his"))]),
        None,
        NOW
    ));
    assert_eq!(view(&document), serde_json::json!({"k": "mine"}));
    assert!(document.set_writers([(author(1), Sequence::NONE)].into(), NOW), "the owner stays a writer");
    assert_eq!(view(&document), serde_json::json!({"k": "his"}));
    assert!(document.set_writers(BTreeMap::new(), NOW));
    assert_eq!(view(&document), serde_json::json!({"k": "mine"}));
}

/// A layer as `layer` makes it, signed under an audience.
fn layer_under(audience: u64, n: u8, sequence: u64, changes: Vec<Change>) -> Layer {
    let Layer { signed, content } = layer(n, sequence, changes);
    let head = Head { audience_sequence: Sequence::new(audience).unwrap(), ..signed.head };
    Layer { signed: head.sign(&Keypair::from_seeds(&[n; 32], &[n; 32])), content }
}

#[test]
fn a_writer_who_is_listed_again_counts_once_he_has_signed_anew() {
    let mut document = document(2);
    document.put_layer(layer_under(3, 1, 1, vec![(key("k"), entry(NOW, "old"))]), None, NOW);
    assert_eq!(view(&document), serde_json::json!({"k": "old"}));
    let again = BTreeMap::from([(author(1), Sequence::new(7).unwrap())]);
    assert!(document.set_writers(again, NOW));
    assert!(!document.counts(&author(1)));
    assert_eq!(view(&document), serde_json::json!({}));
    // A later state under the old list does not count either: a tombstone of ours does not end before the author has signed.
    let stale = layer_under(6, 1, 2, vec![(key("k"), entry(NOW, "old")), (key("l"), entry(NOW, 1i64))]);
    let changed = map_of(&stale).map(|map| map.entries_at(&[key("l")]));
    assert!(!document.put_layer(stale, changed.as_deref(), NOW));
    assert_eq!(view(&document), serde_json::json!({}));
    let tombstone = Entry { stamp: Timestamp::new(NOW - Millis::from_ms(1), 0), value: None, saw: None };
    document.put_layer(layer(0, 1, vec![(key("gone"), Some(tombstone))]), None, NOW);
    assert!(document.sweep(&author(0), 2, NOW).drop.is_empty());
    let again = layer_under(7, 1, 3, vec![(key("l"), entry(NOW, 1i64)), (key("m"), entry(NOW, 2i64))]);
    // Only `m` is new in it, but nothing of it counted before.
    let changed = map_of(&again).map(|map| map.entries_at(&[key("k"), key("m")]));
    assert!(document.put_layer(again, changed.as_deref(), NOW));
    assert_eq!(view(&document), serde_json::json!({"l": 1, "m": 2}));
    assert_eq!(document.sweep(&author(0), 2, NOW).drop, [key("gone")]);
}

#[test]
fn a_stamp_beyond_the_bound_waits_for_its_time() {
    let mut document = document(2);
    document.put_layer(layer(0, 1, vec![(key("k"), entry(NOW, "now"))]), None, NOW);
    let far = NOW + FUTURE_BOUND + Millis::from_ms(1);
    document.put_layer(layer(1, 1, vec![(key("k"), entry(far, "later"))]), None, NOW);
    assert_eq!(view(&document), serde_json::json!({"k": "now"}));
    assert_eq!((document.quarantined(), document.next_release()), (1, Some(NOW + Millis::from_ms(1))));
    assert!(!document.release(NOW));
    assert!(document.release(NOW + Millis::from_ms(1)));
    assert_eq!(view(&document), serde_json::json!({"k": "later"}));
}

#[test]
fn a_loser_that_the_winner_saw_is_history_any_other_a_conflict() {
    let mut document = document(2);
    let old = Entry { stamp: Timestamp::new(NOW, 0), value: Some(Value::from("old").into()), saw: None };
    let saw = Some(old.hash4(&key("k")));
    document.put_layer(layer(0, 1, vec![(key("k"), Some(old))]), None, NOW);
    let new = Entry {
        stamp: Timestamp::new(NOW + Millis::from_ms(1), 0),
        value: Some(Value::from("new").into()),
        saw,
    };
    document.put_layer(layer(1, 1, vec![(key("k"), Some(new.clone()))]), None, NOW);
    assert!(document.conflicts(NOW).is_empty());
    document.put_layer(layer(1, 2, vec![(key("k"), Some(Entry { saw: None, ..new }))]), None, NOW);
    assert_eq!(document.conflicts(NOW).len(), 1);
}

/// The third saw the second, which had seen the first: only what none of them saw is a conflict.
#[test]
fn what_a_predecessor_saw_is_history_as_well() {
    let at = |ms: u64, value: &str, saw| Entry {
        stamp: Timestamp::new(NOW + Millis::from_ms(ms), 0),
        value: Some(Value::from(value).into()),
        saw,
    };
    let mut document = document(4);
    let first = at(0, "first", None);
    let second = at(1, "second", Some(first.hash4(&key("k"))));
    let third = at(2, "third", Some(second.hash4(&key("k"))));
    for (n, entry) in [(0, first), (1, second), (2, third)] {
        document.put_layer(layer(n, 1, vec![(key("k"), Some(entry))]), None, NOW);
    }
    assert_eq!(document.conflicts(NOW), []);
    document.put_layer(layer(3, 1, vec![(key("k"), Some(at(0, "apart", None)))]), None, NOW);
    let lost = document.conflicts(NOW);
    assert_eq!(lost.iter().map(|(_, loser)| loser.author).collect::<Vec<_>>(), [author(3)]);
    // One that has seen all of them ends it, and one more that it has not seen begins another.
    let value = CompactValue::from(Value::from("settled"));
    let saw = document.seen_together(&key("k"), &author(0), Some(&value), NOW);
    document.put_layer(layer(0, 2, vec![(key("k"), Some(at(3, "settled", saw)))]), None, NOW);
    assert_eq!(document.conflicts(NOW), []);
    document.put_layer(layer(3, 2, vec![(key("k"), Some(at(2, "apart again", None)))]), None, NOW);
    assert!(document.conflicts(NOW).iter().any(|(_, loser)| loser.author == author(3)));
}

/// More keys than are looked up one by one: the document is that of a node which has only the newest states.
#[test]
fn a_layer_that_loses_most_of_its_keys_or_is_all_of_the_future_reads_as_from_its_newest_state() {
    let keys = |range: std::ops::Range<usize>| range.map(|n| key(&format!("k{n}")));
    let at = |ms| NOW + Millis::from_ms(ms);
    let of_owner: Vec<_> = keys(0..3_000).map(|key| (key, entry(at(1), "owner"))).collect();
    let whole: Vec<_> = keys(1_000..9_000).map(|key| (key, entry(at(2), "peer"))).collect();
    let few: Vec<_> = keys(1_500..1_503).map(|key| (key, entry(at(3), "few"))).collect();
    let future = NOW + 2 * FUTURE_BOUND;
    let later: Vec<_> = keys(2_000..8_000).map(|key| (key, entry(future, "later"))).collect();
    let states = [layer(1, 1, whole), layer(1, 2, few), layer(1, 3, later)];
    let mut walked = document(2);
    walked.put_layer(layer(0, 1, of_owner.clone()), None, NOW);
    for state in states {
        assert!(walked.put_layer(state.clone(), None, NOW));
        let mut fresh = document(2);
        fresh.put_layer(state, None, NOW);
        fresh.put_layer(layer(0, 1, of_owner.clone()), None, NOW);
        assert_eq!(walked.view(), fresh.view());
        assert_eq!(walked.quarantined(), fresh.quarantined());
        assert!(walked.winners().eq(fresh.winners()));
    }
    assert_eq!(walked.quarantined(), 6_000);
    assert!(walked.release(future));
    assert_eq!(walked.get(&key("k2500")), Some(Value::from("later")));
}

/// Large changes follow each other before the ones before are tidied up, some of them with older entries than before, one in place:
/// at each moment the greatest of the entries under a key wins.
#[test]
fn of_large_changes_that_follow_each_other_the_greatest_entries_win() {
    let keys = |range: std::ops::Range<usize>| range.map(|n| key(&format!("k{n}")));
    let state = |n: u8, range, ms| {
        keys(range).map(|key| (key, entry(NOW + Millis::from_ms(ms), u64::from(n)))).collect()
    };
    let future = 2 * FUTURE_BOUND.ms();
    let states: [(u8, std::ops::Range<usize>, u64); 9] = [
        (0, 0..6_000, 1),
        (1, 3_000..9_000, 2),
        (2, 0..9_000, 3),
        (1, 1_000..7_000, 1),
        (0, 5_000..11_000, 5),
        (2, 8_000..8_100, 4),
        (1, 0..10_000, future),
        (0, 0..10, 6),
        (1, 2_000..8_000, 2),
    ];
    for (tidied, is_in_place) in [(0, false), (1, false), (2, true), (9, false)] {
        let mut walked = document(3);
        let mut newest: BTreeMap<PeerId, Layer> = BTreeMap::new();
        for (sequence, (n, range, ms)) in (1..).zip(states.clone()) {
            let state = layer(n, sequence, state(n, range, ms));
            let old = newest.insert(author(n), state.clone());
            let changed = map_of(&state)
                .unwrap()
                .changes_since(old.as_ref().and_then(map_of).unwrap_or(&MapContent::default()));
            if is_in_place {
                walked.take_layer(&author(n));
            }
            walked.put_layer(state, Some(&changed), NOW);
            // Nothing in the place of what has arrived.
            let single = layer(2, 90 + sequence, vec![]);
            if sequence == 6 {
                newest.insert(author(2), single.clone());
                walked.put_layer(single, None, NOW);
            }
            (0..tidied).for_each(|_| walked.tidy());
            let mut expected: BTreeMap<KeyPath, (PeerId, Arc<Entry>)> = BTreeMap::new();
            for (author, layer) in &newest {
                for (key, entry) in map_of(layer).unwrap().below(crate::layer::NodePath::ROOT) {
                    let rank = |(author, entry): &(PeerId, Arc<Entry>)| (entry.stamp, *author);
                    let this = (*author, entry.clone());
                    let waits = entry.stamp.time() > NOW + FUTURE_BOUND;
                    if !waits && expected.get(key).is_none_or(|held| rank(held) < rank(&this)) {
                        expected.insert(key.clone(), this);
                    }
                }
            }
            let read =
                walked.winners().map(|(key, winner)| (key.clone(), (winner.author, winner.entry.clone())));
            assert!(read.eq(expected), "state {sequence}, tidied {tidied} times a change");
        }
        while !walked.is_tidy() {
            walked.tidy();
        }
    }
}
