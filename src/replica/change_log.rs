//! When the keys of a map layer last changed here, both ways round: of a key, and of a sequence.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::layer::{EntryChange, HashedKey, KeyPath, KnownEntry, MapContent, NodePath, Sequence};

/// A change of more keys is looked up again for each peer that lacks it.
const LAST_CHANGES_MAX: usize = 512;

/// When keys changed. Most keys of a large map came together: those are not named one by one.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    seen: ChangesSeen,
    order: BTreeMap<Sequence, ChangedKeys>,
    /// The last change, as it came, where that is small: what most peers lack.
    last: LastChange,
    /// Bytes that the keys take in memory that are gone: no layer shares them.
    pub(super) gone_memory: usize,
    /// Keys that are named no more, and of which the memory is not given back yet.
    spent: Vec<KeyPath>,
}

/// What changed last.
#[derive(Debug, Default)]
struct LastChange {
    at: Sequence,
    /// In the order of the keys, each once.
    changes: Vec<EntryChange>,
}

/// When each key was last seen to change. A copy shares the table, until one of the two changes.
#[derive(Clone, Debug, Default)]
pub struct ChangesSeen {
    /// When the keys of the layer changed that are not named.
    unnamed: Sequence,
    /// Only looked up, so its order is not seen.
    at: Arc<HashMap<HashedKey, KeyChanged>>,
    /// Named keys that are gone.
    gone: usize,
}

impl ChangesSeen {
    /// The same once these keys have changed at a sequence. Those that are gone then are of no interest.
    #[must_use]
    pub fn with(mut self, changes: &[EntryChange], sequence: Sequence, map: &MapContent) -> Self {
        let held = || changes.iter().filter(|(_, entry)| entry.is_some()).map(|(key, _)| key);
        if held().count() == map.len() {
            return ChangesSeen { unnamed: sequence, ..ChangesSeen::default() };
        }
        let at = Arc::make_mut(&mut self.at);
        at.extend(held().map(|key| (HashedKey::of(key), KeyChanged::new(sequence, false))));
        // Some of them may be back.
        ChangesSeen { gone: 0, ..self }
    }

    /// All entries of the layer's content, each with when it was last seen to change.
    pub fn all_known(&self, map: &MapContent) -> Vec<KnownEntry> {
        let mut all = Vec::with_capacity(map.len());
        let names_any = self.at.len() > self.gone;
        for (key, entry) in map.below(NodePath::ROOT) {
            let changed = if names_any { self.at.get(&HashedKey::of(key)) } else { None };
            let changed_at = changed.map_or(self.unnamed, |changed| changed.at());
            all.push((key.clone(), entry.clone(), changed_at));
        }
        all
    }
}

/// When a key changed, and whether it is gone since, in eight bytes: a sequence is below 2^53.
#[derive(Clone, Copy, Debug)]
struct KeyChanged(u64);

impl KeyChanged {
    fn new(at: Sequence, is_gone: bool) -> Self {
        KeyChanged(at.get() << 1 | u64::from(is_gone))
    }

    fn at(self) -> Sequence {
        Sequence::new(self.0 >> 1).unwrap_or(Sequence::NONE)
    }

    fn is_gone(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Keys that changed at one sequence, in their order, unless some of them came later.
#[derive(Debug, Default)]
struct ChangedKeys {
    keys: Vec<KeyPath>,
    /// How many of them have changed again since.
    over: usize,
}

impl ChangedKeys {
    /// One of its keys has changed again. Where most have, they are taken out; `stays` is whether a key has not. Returns whether none is left.
    fn end_one(&mut self, stays: impl Fn(&KeyPath) -> bool) -> bool {
        self.over += 1;
        if self.over * 2 > self.keys.len() && self.over < self.keys.len() {
            self.keys.retain(stays);
            self.over = 0;
        }
        self.over == self.keys.len()
    }
}

impl ChangeLog {
    /// The log of keys with the sequence at which each last changed, and whether it is gone.
    pub(super) fn load<'a>(changed: impl Iterator<Item = (&'a KeyPath, Sequence, bool)> + Clone) -> Self {
        let mut counts: BTreeMap<Sequence, usize> = BTreeMap::new();
        changed.clone().for_each(|(_, at, _)| *counts.entry(at).or_default() += 1);
        let unnamed = counts.into_iter().max_by_key(|(_, count)| *count).map_or(Sequence::NONE, |(at, _)| at);
        let seen = ChangesSeen { unnamed, ..ChangesSeen::default() };
        let mut log = ChangeLog { seen, ..ChangeLog::default() };
        for (key, at, is_gone) in changed.filter(|(_, at, is_gone)| *is_gone || *at != unnamed) {
            let listed = log.note(key, is_gone, at);
            log.list(at, listed);
        }
        log
    }

    /// Gives back the memory of so many keys that are named no more.
    pub(super) fn tidy(&mut self, keys: usize) {
        self.spent.truncate(self.spent.len().saturating_sub(keys));
    }

    /// Whether nothing of that is left.
    pub(super) fn is_tidy(&self) -> bool {
        self.spent.is_empty()
    }

    /// Gives back the memory of so many keys of a log that is of no use any more. Returns whether that was all.
    pub(super) fn shed(&mut self, keys: usize) -> bool {
        // The lists have the keys as well.
        self.seen.at = Arc::default();
        let mut left = keys;
        while left > 0 {
            let Some(mut first) = self.order.first_entry() else { return true };
            let listed = &mut first.get_mut().keys;
            let stay = listed.len().saturating_sub(left);
            left -= listed.len() - stay;
            listed.truncate(stay);
            if stay == 0 {
                first.remove();
            }
        }
        self.order.is_empty()
    }

    /// Notes a change of a key. Returns the key where it is to be listed among those of this sequence.
    pub(super) fn note(&mut self, key: &KeyPath, is_gone: bool, sequence: Sequence) -> Option<KeyPath> {
        let changed = KeyChanged::new(sequence, is_gone);
        // The key that stands there already shares its memory with other indexes.
        let (key, old) = match Arc::make_mut(&mut self.seen.at).entry(HashedKey::of(key)) {
            Place::Occupied(mut place) => (place.key().key.clone(), Some(place.insert(changed))),
            Place::Vacant(place) => {
                let key = place.key().key.clone();
                place.insert(changed);
                (key, None)
            }
        };
        if is_gone {
            self.seen.gone += 1;
            self.gone_memory += key.memory_bytes();
        }
        if let Some(old) = old {
            self.uncount(&key, old);
            if old.at() == sequence {
                return None;
            }
            self.unlink(old.at());
        }
        Some(key)
    }

    /// Lists keys that have changed at a sequence.
    pub(super) fn list(&mut self, sequence: Sequence, keys: impl IntoIterator<Item = KeyPath>) {
        let mut keys = keys.into_iter().peekable();
        if keys.peek().is_some() {
            self.order.entry(sequence).or_default().keys.extend(keys);
        }
    }

    /// Names a key no more.
    fn forget(&mut self, key: &KeyPath) {
        if let Some(old) = Arc::make_mut(&mut self.seen.at).remove(&HashedKey::of(key)) {
            self.uncount(key, old);
            self.unlink(old.at());
        }
    }

    fn uncount(&mut self, key: &KeyPath, old: KeyChanged) {
        if old.is_gone() {
            self.seen.gone -= 1;
            self.gone_memory -= key.memory_bytes();
        }
    }

    /// A key that changed at a sequence has another one now, or none.
    fn unlink(&mut self, sequence: Sequence) {
        let at = &self.seen.at;
        let stays =
            |key: &KeyPath| at.get(&HashedKey::of(key)).is_some_and(|changed| changed.at() == sequence);
        if self.order.get_mut(&sequence).is_some_and(|changed| changed.end_one(stays)) {
            self.order.remove(&sequence);
        }
    }

    /// Notes keys that changed together. Where those are all that the layer has now, none has to be named; nor those that are gone, where
    /// they are too many to be remembered.
    pub(super) fn note_all(
        &mut self,
        changes: &[EntryChange],
        sequence: Sequence,
        are_all: bool,
        keeps_gone: bool,
    ) {
        if are_all {
            self.seen.unnamed = sequence;
            self.forget_held();
        }
        let mut listed = Vec::new();
        self.last = LastChange::default();
        for (key, entry) in changes {
            let is_named = if entry.is_some() { !are_all } else { keeps_gone };
            match is_named {
                true => listed.extend(self.note(key, entry.is_none(), sequence)),
                // Nothing is named that could be back.
                false if self.seen.at.is_empty() => {}
                false => self.forget(key),
            }
        }
        let is_small = changes.len() <= LAST_CHANGES_MAX && listed.len() == changes.len();
        if is_small && changes.is_sorted_by(|(a, _), (b, _)| a < b) {
            self.last = LastChange { at: sequence, changes: changes.to_vec() };
        }
        self.list(sequence, listed);
    }

    /// Names only the keys that are gone.
    fn forget_held(&mut self) {
        let gone = self.seen.at.iter().filter(|(_, changed)| changed.is_gone());
        let gone =
            if self.seen.gone == 0 { HashMap::new() } else { gone.map(|(k, c)| (k.clone(), *c)).collect() };
        self.seen.at = Arc::new(gone);
        for (_, listed) in std::mem::take(&mut self.order) {
            self.spent.extend(listed.keys);
        }
        let mut gone: Vec<(Sequence, KeyPath)> =
            self.seen.at.iter().map(|(hashed, changed)| (changed.at(), hashed.key.clone())).collect();
        gone.sort();
        for (at, key) in gone {
            self.list(at, [key]);
        }
    }

    fn changed(&self, key: &KeyPath) -> Option<KeyChanged> {
        self.seen.at.get(&HashedKey::of(key)).copied()
    }

    /// When a key was last seen to change.
    pub(super) fn seen(&self, key: &KeyPath, map: &MapContent) -> Option<Sequence> {
        match self.changed(key) {
            Some(changed) => Some(changed.at()),
            None => map.get(key).map(|_| self.seen.unnamed),
        }
    }

    /// How many keys are gone.
    pub(super) fn gone(&self) -> usize {
        self.seen.gone
    }

    /// When each key was last seen to change.
    pub(super) fn seen_all(&self) -> &ChangesSeen {
        &self.seen
    }

    /// The named keys that changed after `sequence`, with when they did; those of one sequence in no order.
    fn named_since(&self, sequence: Sequence) -> impl Iterator<Item = (Sequence, &KeyPath)> {
        let later = sequence.next().into_iter().flat_map(|from| self.order.range(from..));
        later.flat_map(|(at, changed)| {
            let stays = |key: &KeyPath| self.changed(key).is_some_and(|changed| changed.at() == *at);
            let keys = changed.keys.iter().filter(move |key| changed.over == 0 || stays(key));
            keys.map(|key| (*at, key))
        })
    }

    /// The keys that changed after `sequence`, in the order in which they did. `map` is the layer's present content.
    fn since<'a>(&'a self, sequence: Sequence, map: &'a MapContent) -> Vec<&'a KeyPath> {
        let mut all: Vec<_> = self.named_since(sequence).collect();
        if self.seen.unnamed > sequence {
            let unnamed = map.iter().map(|(key, _)| key).filter(|key| self.changed(key).is_none());
            all.extend(unnamed.map(|key| (self.seen.unnamed, key)));
        }
        // Most are in order already.
        all.sort();
        all.dedup();
        all.into_iter().map(|(_, key)| key).collect()
    }

    /// The keys that changed after `sequence`, with their entries in `map`, the layer's present content.
    pub(super) fn changes_since(&self, sequence: Sequence, map: &MapContent) -> Vec<EntryChange> {
        let first = sequence.next().and_then(|next| self.order.range(next..).next());
        match first {
            Some((at, _)) if *at == self.last.at && self.seen.unnamed <= sequence => {
                self.last.changes.clone()
            }
            _ => map.entries_at(self.since(sequence, map)),
        }
    }

    /// Whether at most so many keys have changed after `sequence`, of a layer that has so many.
    pub(super) fn has_changed_within(&self, sequence: Sequence, most: usize, keys: usize) -> bool {
        let unnamed = match self.seen.unnamed > sequence {
            true => keys.saturating_sub(self.seen.at.len() - self.seen.gone),
            false => 0,
        };
        most.checked_sub(unnamed).is_some_and(|most| self.named_since(sequence).nth(most).is_none())
    }

    /// Forgets the keys that are gone; returns them, and when the last of them went.
    pub(super) fn forget_gone(&mut self) -> (Vec<KeyPath>, Sequence) {
        let is_gone = |key: &KeyPath| self.changed(key).is_some_and(KeyChanged::is_gone);
        let named = self.named_since(Sequence::NONE);
        let mut gone: Vec<_> =
            named.filter(|(_, key)| is_gone(key)).map(|(at, key)| (at, key.clone())).collect();
        gone.sort();
        gone.iter().for_each(|(_, key)| self.forget(key));
        self.last = LastChange::default();
        let last = gone.last().map_or(Sequence::NONE, |(at, _)| *at);
        (gone.into_iter().map(|(_, key)| key).collect(), last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> KeyPath {
        KeyPath::parse(&format!("k{n}")).unwrap()
    }

    proptest! {
        /// Whatever changes again and again: each key stands at its newest sequence, and what is gone is counted.
        #[test]
        fn each_key_is_listed_where_it_changed_last(
            commits in proptest::collection::vec(
                (1u64..3, proptest::collection::btree_map(0u8..8, any::<bool>(), 0..6), proptest::option::of(0u8..8)), 0..30),
        ) {
            let (mut log, mut expected) = (ChangeLog::default(), BTreeMap::new());
            let (map, mut sequence) = (MapContent::default(), 0);
            for (step, keys, forgotten) in commits {
                sequence += step;
                let at = Sequence::new(sequence).unwrap();
                let listed: Vec<_> = keys.iter().filter_map(|(n, gone)| log.note(&key(*n), *gone, at)).collect();
                log.list(at, listed);
                expected.extend(keys.into_iter().map(|(n, gone)| (key(n), (at, gone))));
                if let Some(forgotten) = forgotten.map(key) {
                    log.forget(&forgotten);
                    expected.remove(&forgotten);
                }
                for since in 0..=sequence {
                    let since = Sequence::new(since).unwrap();
                    let mut later: Vec<_> = expected.iter().filter(|(_, (at, _))| *at > since).map(|(key, (at, _))| (*at, key)).collect();
                    later.sort();
                    let later: Vec<_> = later.into_iter().map(|(_, key)| key).collect();
                    prop_assert_eq!(log.since(since, &map), later.clone());
                    prop_assert!(log.has_changed_within(since, later.len(), 0));
                    prop_assert!(later.is_empty() || !log.has_changed_within(since, later.len() - 1, 0));
                }
                prop_assert_eq!(log.seen.gone, expected.values().filter(|(_, gone)| *gone).count());
            }
            let gone: Vec<_> = expected.iter().filter(|(_, (_, gone))| *gone).map(|(key, _)| key.clone()).collect();
            let mut forgotten = log.forget_gone().0;
            forgotten.sort();
            prop_assert_eq!(forgotten, gone);
            prop_assert_eq!((log.seen.gone, log.gone_memory), (0, 0));
        }
    }
}
