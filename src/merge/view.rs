//! The merged view of a map document, kept per key: which entry wins under each key, and what a reader sees there.
//!
//! A read or a write by key looks at that key, at its parents and at the keys below it, which the order of the keys
//! puts next to it. Only [`View::value`] assembles the document.

use std::sync::Arc;

use tombolo_delta::Value;

use crate::layer::{CompactValue, Entry, KeyPath};
use crate::merge::register::Winner;
use crate::merge::tree;
use crate::merge::winners::Winners;

/// What a reader of a map document sees.
#[derive(Clone, Debug, Default)]
pub struct View {
    winners: Winners,
}

impl View {
    /// How many keys have a winner, at most.
    pub fn len(&self) -> usize {
        self.winners.len()
    }

    /// Whether nothing wins anywhere.
    pub fn is_empty(&self) -> bool {
        self.winners.is_empty()
    }

    /// The entry that wins under a key: a value or a tombstone.
    pub fn winner(&self, key: &KeyPath) -> Option<Winner<'_>> {
        self.winners.get(key)
    }

    /// All winners, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyPath, Winner<'_>)> + Clone {
        self.iter_from(None)
    }

    /// The winners by key, from one on or all of them.
    pub(super) fn iter_from(
        &self,
        key: Option<&KeyPath>,
    ) -> impl Iterator<Item = (&KeyPath, Winner<'_>)> + Clone + use<'_> {
        let winners = key.map_or_else(|| self.winners.iter(), |key| self.winners.from(key));
        winners.inspect(|_| crate::steps::count())
    }

    /// The winners at a key and below it, by key.
    pub(super) fn at_and_below<'a>(
        &'a self,
        key: &KeyPath,
    ) -> impl Iterator<Item = (&'a KeyPath, Winner<'a>)> + Clone + use<'a> {
        self.winners.at_and_below(key)
    }

    /// Whether more winners than so many, at least one, stand at a key and below it.
    pub(super) fn has_more_than(&self, keys: usize, key: &KeyPath) -> bool {
        self.winners.may_have_below(key) && self.at_and_below(key).nth(keys).is_some()
    }

    /// Whether nothing stands above a key and below it.
    pub(super) fn is_alone(&self, key: &KeyPath) -> bool {
        !self.winners.may_have_below(key) && key.parents().all(|above| self.winners.get(&above).is_none())
    }

    /// The entries that win, to be changed.
    pub(super) fn winners_mut(&mut self) -> &mut Winners {
        &mut self.winners
    }

    /// Whether all winners stand in their places.
    pub(super) fn is_settled(&self) -> bool {
        self.winners.is_settled()
    }

    /// Whether a tombstone wins under any key.
    pub fn has_tombstones(&self) -> bool {
        self.winners.has_tombstones()
    }

    /// The value of the entry under a key: none where it is deleted, or hidden by one above or below it.
    pub fn shown(&self, key: &KeyPath) -> Option<&CompactValue> {
        self.look(key).shown()
    }

    /// What stands under a key, found with one look.
    pub fn look<'a>(&'a self, key: &KeyPath) -> KeyView<'a> {
        self.key_views(self.at_and_below(key))
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

    /// What stands under each key, from one on or all of them.
    pub fn look_from(&self, key: Option<&KeyPath>) -> impl Iterator<Item = (&KeyPath, KeyView<'_>)> {
        self.key_views(self.iter_from(key))
    }

    /// What stands under keys that follow each other, of which none is left out: those below one come next.
    pub(super) fn key_views<'a>(
        &'a self,
        mut winners: impl Iterator<Item = (&'a KeyPath, Winner<'a>)> + Clone,
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
        let shown = self.look_from(None).filter_map(|(key, seen)| Some((key.segments(), seen.shown()?)));
        tree::assemble(shown).unwrap_or_else(|| Value::Map(tombolo_delta::Map::default()))
    }

    /// The entry that hides the value under a key, if one does.
    pub fn hidden_by<'a>(&'a self, key: &KeyPath) -> Option<(KeyPath, Winner<'a>)> {
        let mut from = self.at_and_below(key);
        let (_, winner) = from.next().filter(|(at, _)| *at == key)?;
        self.hider(key, winner, winner.entry.value.as_ref()?, from)
    }

    /// The entry above or below `key` that is greater in the merge order and hides it. An empty object hides nothing: it is
    /// where others stand. `behind` are the entries that follow.
    fn hider<'a>(
        &'a self,
        key: &KeyPath,
        winner: Winner<'a>,
        value: &CompactValue,
        behind: impl Iterator<Item = (&'a KeyPath, Winner<'a>)>,
    ) -> Option<(KeyPath, Winner<'a>)> {
        let rank = |w: &Winner<'_>| (w.entry.stamp, w.author);
        let is_greater = |w: &Winner<'_>| rank(w) > rank(&winner);
        let stands = |w: &Winner<'_>| w.entry.value.as_ref().is_some_and(|value| !value.is_empty_object());
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

/// What stands under a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyView<'a> {
    /// What wins there: a value or a tombstone.
    pub winner: Option<Winner<'a>>,
    is_shown: bool,
}

impl<'a> KeyView<'a> {
    /// The entry whose value a reader sees: none where it is deleted, or hidden by one above or below it.
    pub fn entry(self) -> Option<&'a Arc<Entry>> {
        self.winner.filter(|_| self.is_shown).map(|winner| winner.entry)
    }

    /// The value that a reader sees.
    pub fn shown(self) -> Option<&'a CompactValue> {
        self.entry().and_then(|entry| entry.value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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

    type Owned = (PeerId, Arc<Entry>);

    fn winner() -> impl Strategy<Value = Option<Owned>> {
        let entry = (value(), 1u64..6, 0u8..3).prop_map(|(value, ms, author)| {
            let stamp = Timestamp::new(Wall::from_ms(ms), 0);
            (PeerId([author; 32]), Arc::new(Entry { stamp, value: value.map(Into::into), saw: None }))
        });
        prop_oneof![4 => entry.prop_map(Some), 1 => Just(None)]
    }

    /// The rule itself, by comparing every entry with every other.
    fn assembled(winners: &BTreeMap<KeyPath, Owned>) -> Value {
        let rank = |w: &Owned| (w.1.stamp, w.0);
        let is_room = |w: &Owned| w.1.value.as_ref().is_some_and(CompactValue::is_empty_object);
        let shown = winners.iter().filter(|(key, winner)| {
            winner.1.value.is_some()
                && !winners.iter().any(|(other, w)| {
                    let is_above = other.is_prefix_of(key) && !is_room(w);
                    let is_below = key.is_prefix_of(other) && !is_room(winner);
                    other != *key && w.1.value.is_some() && (is_above || is_below) && rank(w) > rank(winner)
                })
        });
        let entries = shown.filter_map(|(key, w)| Some((key.segments(), w.1.value.as_ref()?)));
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
                match &winner {
                    Some(winner) => winners.insert(key.clone(), winner.clone()),
                    None => winners.remove(&key),
                };
                view.winners_mut().set(key, winner, false);
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
