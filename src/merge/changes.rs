//! What reads differently in a document since that was last asked: each key with what it was and what it is.
//!
//! The recorder remembers what a reader saw under a key before the key, one above or one below it changes. It keeps entries by reference,
//! so it costs what the change costs, and it is bounded: what goes beyond is a hint to read the document again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::sync::Arc;

use serde::Serialize;
use tombolo_delta::{Key, Map, Value};

use crate::layer::{CompactValue, Entry, KeyPath};
use crate::merge::{KeyView, View};

/// Keys that one report names.
const CHANGES_MAX: usize = 1_000;
/// Bytes of keys and values that one report has, in JSON about as many.
const CHANGES_BYTES_MAX: usize = 256 * 1024;

/// One key of a document that reads differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyChange {
    /// The key, `a/b/c`; empty where the document is no map.
    pub key: String,
    /// What it was; `None` where it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What it is; `None` where it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// The keys of a document that read differently.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentChanges {
    /// In the order of the keys.
    pub keys: Vec<KeyChange>,
    /// Whether further keys may read differently, which had no room.
    pub has_more: bool,
}

impl DocumentChanges {
    fn add(&mut self, change: KeyChange, room: &mut usize) -> bool {
        let bytes = |value: &Option<Value>| value.as_ref().map_or(0, tombolo_delta::cbor_len);
        let size = change.key.len() + bytes(&change.old) + bytes(&change.new);
        match room.checked_sub(size) {
            Some(left) if self.keys.len() < CHANGES_MAX => {
                *room = left;
                self.keys.push(change);
                true
            }
            _ => {
                self.has_more = true;
                false
            }
        }
    }
}

/// What a reader saw before the changes that have not been reported yet.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeRecorder {
    entries: BTreeMap<KeyPath, NotedKey>,
    /// Of a snapshot: what it was; `Some(None)` where it was not there.
    snapshot: Option<Option<CompactValue>>,
    has_more: bool,
}

/// What a reader sees under a key.
#[derive(Clone, Debug)]
struct NotedKey {
    /// Before the changes.
    before: Option<Arc<Entry>>,
    /// Now, where that is known without a look: nothing stands above the key and below it, and nothing was noted there since.
    now: Option<Arc<Entry>>,
}

impl ChangeRecorder {
    /// Whether it takes no more: the next report is a hint to read the document again.
    pub(super) fn is_full(&self) -> bool {
        self.has_more
    }

    /// The winner under a key is about to change: what is seen there, above it and below it may read differently.
    pub(super) fn note(&mut self, view: &View, key: &KeyPath) {
        if !self.has_more {
            self.note_with(view, key, view.look_below(key));
        }
    }

    /// The same where what stands at the key and below it was looked up already.
    pub(super) fn note_with<'a>(
        &mut self,
        view: &View,
        key: &KeyPath,
        below: impl Iterator<Item = (&'a KeyPath, KeyView<'a>)>,
    ) {
        if self.has_more {
            return;
        }
        for above in key.parents() {
            let seen = view.look(&above);
            if seen.winner.is_some() {
                self.remember(&above, seen);
            }
        }
        let mut below = below.peekable();
        if below.peek().is_none_or(|(first, _)| *first != key) {
            self.remember(key, KeyView::default());
        }
        for (at, seen) in below {
            self.remember(at, seen);
            if self.has_more {
                return;
            }
        }
    }

    /// An entry wins under a key in the place of another, and nothing stands above the key and below it.
    pub(super) fn note_alone(&mut self, key: &KeyPath, before: Option<&Arc<Entry>>, entry: &Arc<Entry>) {
        let is_full = self.entries.len() >= CHANGES_MAX;
        match self.entries.entry(key.clone()) {
            Place::Occupied(mut place) => place.get_mut().now = Some(entry.clone()),
            Place::Vacant(_) if is_full => self.has_more = true,
            Place::Vacant(place) => {
                let before = before.filter(|before| !before.is_tombstone()).cloned();
                place.insert(NotedKey { before, now: Some(entry.clone()) });
            }
        }
    }

    /// Many keys are about to come; `is_first`: the document has none yet.
    pub(super) fn note_arriving<'a>(&mut self, is_first: bool, keys: impl Iterator<Item = &'a KeyPath>) {
        self.has_more |= !is_first;
        for key in keys {
            if self.has_more {
                return;
            }
            self.remember(key, KeyView::default());
        }
    }

    /// More change than one report names.
    pub(super) fn note_many(&mut self) {
        self.has_more = true;
    }

    fn remember(&mut self, key: &KeyPath, seen: KeyView<'_>) {
        let is_full = self.entries.len() >= CHANGES_MAX;
        match self.entries.entry(key.clone()) {
            Place::Occupied(mut place) => place.get_mut().now = None,
            Place::Vacant(_) if is_full => self.has_more = true,
            Place::Vacant(place) => {
                place.insert(NotedKey { before: seen.entry().cloned(), now: None });
            }
        }
    }

    /// A snapshot is replaced.
    pub(super) fn note_snapshot(&mut self, old: Option<CompactValue>) {
        self.snapshot.get_or_insert(old);
    }

    /// What reads differently now. The next report begins here.
    pub(super) fn take(&mut self, view: &View, snapshot: Option<&CompactValue>) -> DocumentChanges {
        let ChangeRecorder { entries, snapshot: before, has_more } = std::mem::take(self);
        let mut room = CHANGES_BYTES_MAX;
        let mut changes = DocumentChanges { keys: Vec::new(), has_more };
        for (key, NotedKey { before: old, now }) in entries {
            let new = now.as_ref().or_else(|| view.look(&key).entry());
            let [before, after] =
                [old.as_ref(), new].map(|entry| entry.and_then(|entry| entry.value.as_ref()));
            if before == after {
                continue;
            }
            let value = |held: Option<&CompactValue>| held.map(|held| held.get().into_owned());
            let change = KeyChange { key: key.to_string(), old: value(before), new: value(after) };
            if !changes.add(change, &mut room) {
                break;
            }
        }
        if let Some(before) = before {
            let leaves = |held: Option<&CompactValue>| leaves_of(held.map(CompactValue::get).as_deref());
            let [before, after] = [before.as_ref(), snapshot].map(leaves);
            for change in differences(&before, &after) {
                if !changes.add(change, &mut room) {
                    break;
                }
            }
        }
        changes
    }
}

/// The values of a document that are no map, by key.
pub type Leaves = BTreeMap<String, Value>;

/// The leaves of a document; one that is not there has none.
pub fn leaves_of(value: Option<&Value>) -> Leaves {
    let mut leaves = Leaves::new();
    if let Some(value) = value {
        flatten(&mut Vec::new(), value, &mut leaves);
    }
    leaves
}

fn flatten(path: &mut Vec<String>, value: &Value, into: &mut Leaves) {
    let is_text = |key: &Key| matches!(key, Key::Text(_));
    let fields = value.as_map().filter(|map| !map.is_empty() && map.iter().all(|(key, _)| is_text(key)));
    let Some(fields) = fields else {
        // An empty document has no key, and one that is no map has none but itself.
        let key = KeyPath::new(&*path).map(|key| key.to_string()).unwrap_or_default();
        if !(path.is_empty() && (value.is_null() || value.as_map().is_some_and(Map::is_empty))) {
            into.insert(key, value.clone());
        }
        return;
    };
    for (key, value) in fields.iter() {
        if let Key::Text(text) = key {
            path.push(text.clone());
            flatten(path, value, into);
            path.pop();
        }
    }
}

/// The keys that differ, in order.
pub fn differences(old: &Leaves, new: &Leaves) -> Vec<KeyChange> {
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |key: &String| {
        let (before, after) = (old.get(key).cloned(), new.get(key).cloned());
        (before != after).then(|| KeyChange { key: key.clone(), old: before, new: after })
    };
    keys.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::time::Wall;
    use proptest::prelude::*;
    use tombolo_transports::PeerId;

    fn leaves(json: serde_json::Value) -> Leaves {
        leaves_of(Some(&tombolo_delta::to_value(&json).unwrap()))
    }

    #[test]
    fn each_key_that_differs_is_one_change() {
        let old = leaves(serde_json::json!({"a": {"b": 1, "c": [1]}, "d": {}, "x/y": true}));
        let new = leaves(serde_json::json!({"a": {"b": 2, "c": [1]}, "x/y": true, "e": "new"}));
        let changes: Vec<(String, bool, bool)> =
            differences(&old, &new).into_iter().map(|c| (c.key, c.old.is_some(), c.new.is_some())).collect();
        assert_eq!(
            changes,
            [("a/b".into(), true, true), ("d".into(), true, false), ("e".into(), false, true)]
        );
        assert!(old.contains_key("x\\/y"), "{old:?}");
        assert_eq!(differences(&old, &old), []);
        assert_eq!(leaves(serde_json::json!({})), Leaves::new());
    }

    fn winner(number: u64, ms: u64) -> Option<(PeerId, Arc<Entry>)> {
        let value = Some(Value::from(number).into()).filter(|_| number > 0);
        let entry = Entry { stamp: Timestamp::new(Wall::from_ms(ms), 0), value, saw: None };
        Some((PeerId([1; 32]), Arc::new(entry)))
    }

    fn set(
        recorder: &mut ChangeRecorder,
        view: &mut View,
        key: &KeyPath,
        winner: Option<(PeerId, Arc<Entry>)>,
    ) {
        recorder.note(view, key);
        view.winners_mut().set(key.clone(), winner, false);
    }

    #[test]
    fn a_report_of_too_many_keys_ends_and_shows_that() {
        let (mut view, mut recorder) = (View::default(), ChangeRecorder::default());
        for n in 0..=CHANGES_MAX {
            let key = KeyPath::parse(&format!("k/{n}")).unwrap();
            set(&mut recorder, &mut view, &key, winner(1, 1));
        }
        let changes = recorder.take(&view, None);
        assert_eq!((changes.keys.len(), changes.has_more), (CHANGES_MAX, true));
        // The next report is whole again.
        let key = KeyPath::parse("k/1").unwrap();
        set(&mut recorder, &mut view, &key, winner(2, 2));
        let changes = recorder.take(&view, None);
        let expected = KeyChange { key: "k/1".into(), old: Some(1u64.into()), new: Some(2u64.into()) };
        assert_eq!(changes, DocumentChanges { keys: vec![expected], has_more: false });
    }

    proptest! {
        /// The report is the difference of what a reader saw before and sees now, also where values hide each other.
        #[test]
        fn the_report_equals_the_difference_of_two_readings(
            writes in proptest::collection::vec(
                ("[ab](/[ab]){0,2}", 0u64..4, 1u64..9, proptest::bool::weighted(0.2)), 0..40),
        ) {
            let (mut view, mut recorder) = (View::default(), ChangeRecorder::default());
            let mut before = Leaves::new();
            for (n, (key, number, ms, is_report)) in (1..).zip(writes) {
                // No two entries of a document have one stamp and one author.
                let ms = 100 * ms + n;
                set(&mut recorder, &mut view, &KeyPath::parse(&key).unwrap(), winner(number, ms));
                if is_report {
                    let now = leaves_of(Some(&view.value()));
                    let changes = recorder.take(&view, None);
                    prop_assert_eq!(&changes.keys, &differences(&before, &now));
                    prop_assert!(!changes.has_more);
                    before = now;
                }
            }
        }
    }
}
