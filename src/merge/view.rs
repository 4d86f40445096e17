//! The merged view of a map document, kept per key: which entry wins under each key, and what a reader sees there.
//!
//! A read or a write by key looks at that key, at its parents and at the keys below it, which the order of the keys
//! puts next to it. Only [`View::value`] assembles the document.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::ops::Bound;
use std::sync::Arc;

use tombolo_delta::Value;

use crate::layer::{CompactValue, Entry, KeyPath, sort_by_key_path};
use crate::merge::register::{self, Winner};
use crate::merge::tree;

/// The winners of a map document, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    winners: BTreeMap<KeyPath, Winner>,
    /// How many of them are tombstones.
    tombstones: usize,
}

impl View {
    /// The view of these winners: made in one go, which is many times faster than by single keys.
    pub fn of_winners(winners: Vec<(KeyPath, Winner)>) -> Self {
        let mut winners = winners;
        sort_by_key_path(&mut winners, |(key, _)| key);
        let winners: BTreeMap<KeyPath, Winner> = winners.into_iter().collect();
        let tombstones = winners.values().filter(|winner| winner.entry.is_tombstone()).count();
        View { winners, tombstones }
    }

    /// Puts another winner, or none, in the place of those that are meant. Returns whether there were any.
    pub(super) fn replace_all(
        &mut self,
        is_meant: impl Fn(&KeyPath, &Winner) -> bool,
        other: impl Fn(&KeyPath) -> Option<Winner>,
    ) -> bool {
        let before = std::mem::take(&mut self.winners);
        let mut has_replaced = false;
        let now = before.into_iter().filter_map(|(key, winner)| {
            if !is_meant(&key, &winner) {
                return Some((key, winner));
            }
            has_replaced = true;
            let winner = other(&key)?;
            Some((key, winner))
        });
        self.winners = now.collect();
        self.tombstones = self.winners.values().filter(|winner| winner.entry.is_tombstone()).count();
        has_replaced
    }

    /// How many keys have a winner.
    pub fn len(&self) -> usize {
        self.winners.len()
    }

    /// Whether nothing wins anywhere.
    pub fn is_empty(&self) -> bool {
        self.winners.is_empty()
    }

    /// The entry that wins under a key: a value or a tombstone.
    pub fn winner(&self, key: &KeyPath) -> Option<&Winner> {
        self.winners.get(key)
    }

    /// All winners, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyPath, &Winner)> + Clone {
        self.winners.iter().inspect(|_| crate::steps::count())
    }

    /// The winners at a key and below it, by key.
    pub(super) fn at_and_below<'a>(
        &'a self,
        key: &KeyPath,
    ) -> impl Iterator<Item = (&'a KeyPath, &'a Winner)> + Clone + use<'a> {
        let from = self.winners.range((Bound::Included(key), Bound::Unbounded));
        let key = key.clone();
        from.take_while(move |(other, _)| key.is_prefix_of(other))
    }

    /// Puts the entry that wins under a key, or none. Returns whether that is another than before.
    pub fn set(&mut self, key: KeyPath, winner: Option<Winner>) -> bool {
        let is_tombstone = |winner: &Winner| usize::from(winner.entry.is_tombstone());
        let old = match (self.winners.entry(key), winner) {
            (Place::Occupied(place), Some(winner)) if *place.get() == winner => return false,
            (Place::Occupied(mut place), Some(winner)) => {
                self.tombstones += is_tombstone(&winner);
                Some(place.insert(winner))
            }
            (Place::Vacant(place), Some(winner)) => {
                self.tombstones += is_tombstone(&winner);
                place.insert(winner);
                None
            }
            (Place::Occupied(place), None) => Some(place.remove()),
            (Place::Vacant(_), None) => return false,
        };
        self.tombstones -= old.as_ref().map_or(0, is_tombstone);
        true
    }

    /// Puts an entry under a key if it goes above what wins there, with one look.
    pub(super) fn raise(&mut self, key: KeyPath, entry: Winner) -> Raised {
        let is_tombstone = |winner: &Winner| usize::from(winner.entry.is_tombstone());
        match self.winners.entry(key) {
            Place::Vacant(place) => {
                self.tombstones += is_tombstone(&entry);
                place.insert(entry);
                Raised::Wins
            }
            Place::Occupied(mut place) => {
                let held = place.get();
                let raised = judge(&entry, held);
                if raised == Raised::Wins {
                    self.tombstones += is_tombstone(&entry);
                    self.tombstones -= is_tombstone(held);
                    place.insert(entry);
                }
                raised
            }
        }
    }

    /// The same with many entries of one author: the two are merged in the order of the keys. Returns whether one wins, and adds the keys
    /// under which that is to be found out.
    pub(super) fn raise_many(&mut self, entries: Vec<(KeyPath, Winner)>, open: &mut Vec<KeyPath>) -> bool {
        let mut entries = entries;
        sort_by_key_path(&mut entries, |(key, _)| key);
        let before = std::mem::take(&mut self.winners);
        let mut merged: Vec<(KeyPath, Winner)> = Vec::with_capacity(before.len() + entries.len());
        let mut before = before.into_iter().peekable();
        let mut has_won = false;
        for (key, entry) in entries {
            while let Some(earlier) = before.next_if(|(held, _)| *held <= key) {
                merged.push(earlier);
            }
            match merged.last_mut().filter(|(held, _)| *held == key) {
                None => merged.push((key, entry)),
                Some((_, held)) => match judge(&entry, held) {
                    Raised::Wins => *held = entry,
                    Raised::Loses => continue,
                    Raised::Open => {
                        open.push(key);
                        continue;
                    }
                },
            }
            has_won = true;
        }
        merged.extend(before);
        self.winners = merged.into_iter().collect();
        self.tombstones = self.winners.values().filter(|winner| winner.entry.is_tombstone()).count();
        has_won
    }

    /// Whether a tombstone wins under any key.
    pub fn has_tombstones(&self) -> bool {
        self.tombstones > 0
    }

    /// The value of the entry under a key: none where it is deleted, or hidden by one above or below it.
    pub fn shown(&self, key: &KeyPath) -> Option<&CompactValue> {
        self.look(key).shown()
    }

    /// What stands under a key, found with one look.
    pub fn look<'a>(&'a self, key: &KeyPath) -> KeyView<'a> {
        self.key_views(self.winners.range((Bound::Included(key), Bound::Unbounded)))
            .next()
            .filter(|(at, _)| *at == key)
            .map_or(KeyView::default(), |(_, seen)| seen)
    }

    /// What stands at a key and below it, by key.
    pub fn look_below<'a>(
        &'a self,
        key: &KeyPath,
    ) -> impl Iterator<Item = (&'a KeyPath, KeyView<'a>)> + use<'a> {
        self.key_views(self.at_and_below(key))
    }

    /// What stands under each key.
    pub fn look_at_all(&self) -> impl Iterator<Item = (&KeyPath, KeyView<'_>)> {
        self.key_views(self.iter())
    }

    /// What stands under keys that follow each other, of which none is left out: those below one come next.
    pub(super) fn key_views<'a>(
        &'a self,
        mut winners: impl Iterator<Item = (&'a KeyPath, &'a Winner)> + Clone,
    ) -> impl Iterator<Item = (&'a KeyPath, KeyView<'a>)> {
        std::iter::from_fn(move || {
            let (key, winner) = winners.next()?;
            let is_hidden = |value| self.hider(key, winner, value, winners.clone()).is_some();
            let is_shown = winner.entry.value.as_ref().is_some_and(|value| !is_hidden(value));
            Some((key, KeyView { winner: Some(winner), is_shown }))
        })
    }

    /// What a reader sees under a key: the value there, or the object that the entries below it make.
    pub fn get(&self, key: &KeyPath) -> Option<Value> {
        let depth = key.depth();
        let below = self.look_below(key);
        tree::assemble(below.filter_map(|(at, seen)| Some((at.segments().skip(depth), seen.shown()?))))
    }

    /// The whole document, as the object that all entries make.
    pub fn value(&self) -> Value {
        let shown = self.look_at_all().filter_map(|(key, seen)| Some((key.segments(), seen.shown()?)));
        tree::assemble(shown).unwrap_or_else(|| Value::Map(tombolo_delta::Map::default()))
    }

    /// The entry that hides the value under a key, if one does.
    pub fn hidden_by<'a>(&'a self, key: &KeyPath) -> Option<(KeyPath, &'a Winner)> {
        let mut from = self.at_and_below(key);
        let (_, winner) = from.next().filter(|(at, _)| *at == key)?;
        self.hider(key, winner, winner.entry.value.as_ref()?, from)
    }

    /// The entry above or below `key` that is greater in the merge order and hides it. An empty object hides nothing: it is
    /// where others stand. `behind` are the entries that follow.
    fn hider<'a>(
        &'a self,
        key: &KeyPath,
        winner: &Winner,
        value: &CompactValue,
        behind: impl Iterator<Item = (&'a KeyPath, &'a Winner)>,
    ) -> Option<(KeyPath, &'a Winner)> {
        let rank = |w: &Winner| (w.entry.stamp, w.author);
        let is_greater = |w: &Winner| rank(w) > rank(winner);
        let stands = |w: &Winner| w.entry.value.as_ref().is_some_and(|value| !value.is_empty_object());
        let mut above = key.parents().filter_map(|parent| self.winners.get(&parent).map(|w| (parent, w)));
        if let Some(hider) = above.find(|(_, w)| stands(w) && is_greater(w)) {
            return Some(hider);
        }
        if value.is_empty_object() {
            return None;
        }
        let mut below = behind.take_while(|(other, _)| key.is_prefix_of(other));
        let hider = below.find(|(_, w)| w.entry.value.is_some() && is_greater(w));
        hider.map(|(below, w)| (below.clone(), w))
    }
}

/// Whether an entry wins under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// It does now.
    Wins,
    /// One of another author stays.
    Loses,
    /// Its author has one there that goes above it, or the same: which one wins now is to be found among all layers.
    Open,
}

/// Whether an entry wins against the one that does so far.
fn judge(entry: &Winner, held: &Winner) -> Raised {
    match register::compare((entry.author, &entry.entry), (held.author, &held.entry)) {
        Ordering::Greater => Raised::Wins,
        Ordering::Less if held.author != entry.author => Raised::Loses,
        Ordering::Less | Ordering::Equal => Raised::Open,
    }
}

/// What stands under a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyView<'a> {
    /// What wins there: a value or a tombstone.
    pub winner: Option<&'a Winner>,
    is_shown: bool,
}

impl<'a> KeyView<'a> {
    /// The entry whose value a reader sees: none where it is deleted, or hidden by one above or below it.
    pub fn entry(self) -> Option<&'a Arc<Entry>> {
        self.winner.filter(|_| self.is_shown).map(|winner| &winner.entry)
    }

    /// The value that a reader sees.
    pub fn shown(self) -> Option<&'a CompactValue> {
        self.entry().and_then(|entry| entry.value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::time::Wall;
    use proptest::prelude::*;
    use tombolo_transports::PeerId;

    fn key() -> impl Strategy<Value = KeyPath> {
        proptest::collection::vec(prop_oneof!["[ab]", Just("ab".to_owned())], 1..4)
            .prop_map(|segments| KeyPath::new(segments).unwrap())
    }

    fn value() -> impl Strategy<Value = Option<Value>> {
        let empty = Value::Map(tombolo_delta::Map::default());
        prop_oneof![
            4 => (0u64..9).prop_map(|number| Some(Value::from(number))),
            1 => Just(Some(empty)),
            1 => Just(Some(Value::array([1u64, 2]))),
            2 => Just(None),
        ]
    }

    fn winner() -> impl Strategy<Value = Option<Winner>> {
        let entry = (value(), 1u64..6, 0u8..3).prop_map(|(value, ms, author)| Winner {
            author: PeerId([author; 32]),
            entry: Arc::new(Entry {
                stamp: Timestamp::new(Wall::from_ms(ms), 0),
                value: value.map(Into::into),
                saw: None,
            }),
        });
        prop_oneof![4 => entry.prop_map(Some), 1 => Just(None)]
    }

    /// The rule itself, by comparing every entry with every other.
    fn assembled(winners: &BTreeMap<KeyPath, Winner>) -> Value {
        let rank = |w: &Winner| (w.entry.stamp, w.author);
        let is_room = |w: &Winner| w.entry.value.as_ref().is_some_and(CompactValue::is_empty_object);
        let shown = winners.iter().filter(|(key, winner)| {
            winner.entry.value.is_some()
                && !winners.iter().any(|(other, w)| {
                    let is_above = other.is_prefix_of(key) && !is_room(w);
                    let is_below = key.is_prefix_of(other) && !is_room(winner);
                    other != *key
                        && w.entry.value.is_some()
                        && (is_above || is_below)
                        && rank(w) > rank(winner)
                })
        });
        let entries = shown.filter_map(|(key, w)| Some((key.segments(), w.entry.value.as_ref()?)));
        tree::assemble(entries).unwrap_or_else(|| Value::Map(tombolo_delta::Map::default()))
    }

    fn lookup<'v>(value: &'v Value, key: &KeyPath) -> Option<&'v Value> {
        key.segments().try_fold(value, |value, segment| value.get(segment))
    }

    proptest! {
        /// A read by key returns what stands there in the assembled document, whatever was set and removed before.
        #[test]
        fn reads_by_key_agree_with_the_assembled_document(
            changes in proptest::collection::vec((key(), winner()), 0..40), asked in key(),
        ) {
            let mut view = View::default();
            let mut winners = BTreeMap::new();
            for (key, winner) in changes {
                let before: Option<Winner> = winners.get(&key).cloned();
                match &winner {
                    Some(winner) => winners.insert(key.clone(), winner.clone()),
                    None => winners.remove(&key),
                };
                prop_assert_eq!(view.set(key, winner.clone()), before != winner);
            }
            let whole = assembled(&winners);
            prop_assert_eq!(view.value(), whole.clone());
            for key in winners.keys().chain([&asked]) {
                let expected = lookup(&whole, key).cloned();
                prop_assert_eq!(view.get(key), expected, "{:?}", key);
            }
        }
    }
}
