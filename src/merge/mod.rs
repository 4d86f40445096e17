//! A document as a reader sees it: the merge of its writers' layers.
//!
//! A snapshot is its owner's layer. A map takes, per key, the greatest entry over the layers of the writers
//! that count (`register.rs` has the whole rule); `view.rs` keeps the winners per key, `arriving.rs` takes changes in. Entries too far ahead of reference time wait
//! (`quarantine.rs`); tombstones end provably (`tombstone.rs`).
//!
//! This room holds layers and answers what they read like. It checks no signature and no right: layers come in
//! verified, and the caller names the writers that count.

mod arriving;
mod changes;
mod planted;
mod quarantine;
mod register;
mod shown;
mod tombstone;
mod tree;
mod view;
mod winners;

use crate::time::Wall;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

pub use changes::{DocumentChanges, KeyChange, Leaves, differences, leaves_of};
#[cfg(feature = "test-support")]
pub use planted::{PlantedFault, plant};
pub use register::{Loser, Winner};
pub use shown::ShownLeaves;
pub use tombstone::{Sweep, TombstoneWait};
pub use tree::{TreeError, flatten, leaf_count};
pub use view::{KeyView, View};

use crate::clock::Timestamp;
pub use crate::layer::KeyPath;
use crate::layer::{
    CompactValue, Content, Entry, EntryChange, EntryHash, Kind, Layer, MapContent, Root, Sequence,
};

/// Where more keys of a layer change, and they are many beside all of the document, they are not looked up one by one.
const LOOKED_UP_MAX: usize = 4_096;

/// A document: the layers held of it and, for a map, what wins under each key.
#[derive(Clone, Debug)]
pub struct Document {
    kind: Kind,
    owner: PeerId,
    layers: BTreeMap<PeerId, Layer>,
    /// The writers, and from which audience sequence on the layer of each counts.
    writers: BTreeMap<PeerId, Sequence>,
    /// The writers whose layer counts, or would as soon as it is there.
    counting: BTreeSet<PeerId>,
    merged: View,
    quarantine: quarantine::Quarantine,
    /// What was seen before the changes that are not reported yet.
    recorder: changes::ChangeRecorder,
    /// Large contents that were replaced, and of which the memory is not given back yet.
    replaced: Vec<MapContent>,
}

/// What a document is made of: it reads the same where this is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    layers: Vec<(PeerId, Sequence, Root)>,
    writers: BTreeMap<PeerId, Sequence>,
    /// How many entries wait for their time.
    waiting: usize,
}

impl Document {
    /// A document without layers; only the owner counts as a writer.
    pub fn new(kind: Kind, owner: PeerId) -> Self {
        Document {
            kind,
            owner,
            layers: BTreeMap::new(),
            writers: BTreeMap::from([(owner, Sequence::NONE)]),
            counting: BTreeSet::from([owner]),
            merged: View::default(),
            quarantine: quarantine::Quarantine::default(),
            recorder: changes::ChangeRecorder::default(),
            replaced: Vec::new(),
        }
    }

    /// A document that reads the same, and has reported all changes.
    pub fn copy(&self) -> Document {
        Document {
            kind: self.kind,
            owner: self.owner,
            layers: self.layers.clone(),
            writers: self.writers.clone(),
            counting: self.counting.clone(),
            merged: self.merged.clone(),
            quarantine: self.quarantine.clone(),
            recorder: changes::ChangeRecorder::default(),
            replaced: Vec::new(),
        }
    }

    /// Whether it is a snapshot or a map.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The layers held, by author; those of former writers too.
    pub fn layers(&self) -> impl Iterator<Item = (&PeerId, &Layer)> {
        self.layers.iter()
    }

    /// The layers that count, by author.
    pub fn effective(&self) -> impl Iterator<Item = (&PeerId, &Layer)> {
        self.layers.iter().filter(|(author, _)| self.counting.contains(author))
    }

    /// The layer of one author, if it is held.
    pub fn layer(&self, author: &PeerId) -> Option<&Layer> {
        self.layers.get(author)
    }

    /// Whether an author's layer counts: the author is a writer, and signed it since becoming one.
    pub fn counts(&self, author: &PeerId) -> bool {
        self.counting.contains(author)
    }

    fn is_to_count(&self, author: &PeerId) -> bool {
        let signed_since = |from: &Sequence| {
            self.layers.get(author).is_none_or(|layer| layer.head().audience_sequence >= *from)
        };
        self.writers.get(author).is_some_and(signed_since)
    }

    /// What it is made of.
    pub fn basis(&self) -> Basis {
        let state = |(author, layer): (&PeerId, &Layer)| (*author, layer.head().sequence, layer.head().root);
        Basis {
            layers: self.layers.iter().map(state).collect(),
            writers: self.writers.clone(),
            waiting: self.quarantine.len(),
        }
    }

    /// Bytes of all layers, about.
    pub fn bytes(&self) -> usize {
        self.layers.values().map(|layer| layer.content.bytes()).sum()
    }

    /// Takes a layer in place of the author's older one. `changed` are the keys in which the two differ, with the entries that they
    /// have now; none means: work it out. Returns whether the document reads differently now.
    pub fn put_layer(&mut self, layer: Layer, changed: Option<&[EntryChange]>, reference: Wall) -> bool {
        let author = layer.head().layer.author;
        let old = self.layers.insert(author, layer);
        let counts = self.is_to_count(&author);
        let counted = match counts {
            true => !self.counting.insert(author),
            false => self.counting.remove(&author),
        };
        let reads_differently = match self.kind {
            Kind::Snapshot => {
                if counts {
                    self.recorder.note_snapshot(old.and_then(|layer| match layer.content {
                        Content::Snapshot(value) => Some(value),
                        Content::Map(_) => None,
                    }));
                }
                return counts;
            }
            Kind::Map if !counts && !counted => false,
            Kind::Map if counts && counted => {
                let changed =
                    changed.map_or_else(|| Cow::Owned(self.changes_of(&author, old.as_ref())), Cow::Borrowed);
                self.resolve_of(&author, old.as_ref(), &changed, reference)
            }
            Kind::Map => {
                let mut keys = match changed {
                    Some(changed) => changed.iter().map(|(key, _)| key.clone()).collect(),
                    None => self.differing_keys(&author, old.as_ref()),
                };
                // Its former content did not count, or the present one does not.
                keys.extend(self.differing_keys(&author, None));
                self.resolve(keys, reference)
            }
        };
        old.into_iter().for_each(|old| self.keep_to_shed(old));
        reads_differently
    }

    /// The memory of a large content that is of no use any more is given back in parts.
    fn keep_to_shed(&mut self, old: Layer) {
        self.replaced.extend(match old.content {
            Content::Map(map) => Some(map).filter(|map| map.len() > LOOKED_UP_MAX),
            Content::Snapshot(_) => None,
        });
    }

    /// Does a part of what large changes have left to do, which shows nowhere: their winners are put among the others, and what they have
    /// replaced is given back.
    pub fn tidy(&mut self) {
        self.merged.winners_mut().settle_some(LOOKED_UP_MAX);
        if self.replaced.last_mut().is_some_and(|map| map.shed(LOOKED_UP_MAX)) {
            self.replaced.pop();
        }
    }

    /// Gives back the memory of some keys of a document that is of no use any more. Returns whether that was all.
    pub fn shed(&mut self) -> bool {
        let layers = std::mem::take(&mut self.layers).into_values();
        self.replaced.extend(layers.filter_map(|layer| match layer.content {
            Content::Map(map) => Some(map),
            Content::Snapshot(_) => None,
        }));
        if !self.merged.winners_mut().shed(LOOKED_UP_MAX) {
            return false;
        }
        if self.replaced.last_mut().is_some_and(|map| map.shed(LOOKED_UP_MAX)) {
            self.replaced.pop();
        }
        self.replaced.is_empty()
    }

    /// Whether nothing of that is left.
    pub fn is_tidy(&self) -> bool {
        self.merged.is_settled() && self.replaced.is_empty()
    }

    /// Takes an author's layer from the store. `entries` are those of a map, in the order of their keys.
    pub fn load_layer(&mut self, layer: Layer, entries: Vec<(KeyPath, Arc<Entry>)>, reference: Wall) {
        let author = layer.head().layer.author;
        // The owner's layer comes first, and always counts.
        let is_first = self.kind == Kind::Map && self.layers.is_empty() && author == self.owner;
        match is_first && self.take_first(&author, entries, reference) {
            true => self.put_back(layer),
            false => drop(self.put_layer(layer, None, reference)),
        }
    }

    /// Drops a layer. Returns whether the document reads differently.
    pub fn remove_layer(&mut self, author: &PeerId, reference: Wall) -> bool {
        let Some(old) = self.layers.remove(author) else { return false };
        match self.is_to_count(author) {
            true => self.counting.insert(*author),
            false => self.counting.remove(author),
        };
        if self.quarantine.len() == 0 && map_of(&old).is_some_and(|map| map.len() > LOOKED_UP_MAX) {
            let mut open = Vec::new();
            let has_dropped = self.drop_gone(author, &mut open);
            self.keep_to_shed(old);
            return self.resolve(open, reference) | has_dropped;
        }
        let keys = self.differing_keys(author, Some(&old));
        self.resolve(keys, reference)
    }

    /// Takes a map layer out, to change it and put it back; until then the merge stays as it was.
    pub fn take_layer(&mut self, author: &PeerId) -> Option<Layer> {
        self.layers.remove(author)
    }

    /// Puts a layer back that was taken out and not changed.
    pub fn put_back(&mut self, layer: Layer) {
        self.layers.insert(layer.head().layer.author, layer);
    }

    /// Sets who counts from now on, and from which audience sequence; the owner always does. Returns whether
    /// the document reads differently.
    pub fn set_writers(&mut self, writers: BTreeMap<PeerId, Sequence>, reference: Wall) -> bool {
        let mut writers = writers;
        writers.insert(self.owner, Sequence::NONE);
        if writers == self.writers {
            return false;
        }
        self.writers = writers;
        let counting = self.writers.keys().filter(|author| self.is_to_count(author)).copied().collect();
        let before = std::mem::replace(&mut self.counting, counting);
        let turned: Vec<PeerId> = self.counting.symmetric_difference(&before).copied().collect();
        let keys = turned.iter().flat_map(|author| self.differing_keys(author, None)).collect();
        self.resolve(keys, reference)
    }

    /// Lets entries take part whose time has come. Returns whether the document reads differently.
    pub fn release(&mut self, reference: Wall) -> bool {
        let due = self.quarantine.due(reference);
        self.resolve(due, reference)
    }

    /// Judges again which entries are from the future, after reference time has stepped back. Returns whether
    /// the document reads differently.
    pub fn judge_again(&mut self, reference: Wall) -> bool {
        let ahead =
            |(_, winner): &(&KeyPath, Winner<'_>)| quarantine::holds_back(winner.entry.stamp, reference);
        let keys = self.merged.iter().filter(ahead).map(|(key, _)| key.clone()).collect();
        self.resolve(keys, reference)
    }

    /// When the next quarantined entry is due, by reference time.
    pub fn next_release(&self) -> Option<Wall> {
        self.quarantine.next()
    }

    /// The keys under which entries wait for their time.
    pub fn waiting_keys(&self) -> impl Iterator<Item = &KeyPath> {
        self.quarantine.keys()
    }

    /// How many entries wait for their time.
    pub fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// What wins under a key: value or tombstone.
    pub fn winner(&self, key: &KeyPath) -> Option<Winner<'_>> {
        self.merged.winner(key)
    }

    /// The value of the entry under a key: none where it is deleted or hidden.
    pub fn shown(&self, key: &KeyPath) -> Option<&CompactValue> {
        self.merged.shown(key)
    }

    /// What stands under a key of a map: the winner, and whether a reader sees it.
    pub fn look(&self, key: &KeyPath) -> KeyView<'_> {
        self.merged.look(key)
    }

    /// The same at a key and below it, by key.
    pub fn look_below<'a>(
        &'a self,
        key: &KeyPath,
    ) -> impl Iterator<Item = (&'a KeyPath, KeyView<'a>)> + use<'a> {
        self.merged.look_below(key)
    }

    /// The same from a key on, or under each key.
    pub fn look_from(&self, key: Option<&KeyPath>) -> impl Iterator<Item = (&KeyPath, KeyView<'_>)> {
        self.merged.look_from(key)
    }

    /// The entry that hides the value under a key, if one does.
    pub fn hidden_by(&self, key: &KeyPath) -> Option<(KeyPath, Winner<'_>)> {
        self.merged.hidden_by(key)
    }

    /// How many keys have a winner, at most.
    pub fn keys_at_most(&self) -> usize {
        self.merged.len()
    }

    /// What a reader sees under a key: a value, or the object that the entries below make. Nothing else of a map
    /// document is looked at.
    pub fn get(&self, key: &KeyPath) -> Option<Value> {
        match self.kind {
            Kind::Map => self.merged.get(key),
            Kind::Snapshot => {
                let Content::Snapshot(value) = &self.layers.get(&self.owner)?.content else { return None };
                let value = value.get();
                let member = key.segments().try_fold(&*value, |value, segment| value.get(segment));
                member.cloned()
            }
        }
    }

    /// All winners, by key.
    pub fn winners(&self) -> impl Iterator<Item = (&KeyPath, Winner<'_>)> {
        self.merged.iter()
    }

    /// The document as one reads it: the owner's value, or the tree that the winning entries make. None
    /// where the owner's snapshot is not held.
    pub fn view(&self) -> Option<Value> {
        match self.kind {
            Kind::Map => Some(self.merged.value()),
            Kind::Snapshot => match &self.layers.get(&self.owner)?.content {
                Content::Snapshot(value) => Some(value.get().into_owned()),
                Content::Map(_) => None,
            },
        }
    }

    /// The stamp of the entry under a key that has this hash.
    pub fn stamp_of(&self, key: &KeyPath, hash: EntryHash) -> Option<Timestamp> {
        let mut found = self.effective_entries(key).map(|(_, entry)| entry);
        found.find(|entry| entry.hash4(key) == hash).map(|entry| entry.stamp)
    }

    /// What an entry of `me` with this value carries to show that all that others have under the key was seen.
    pub fn seen_together(
        &self,
        key: &KeyPath,
        me: &PeerId,
        value: Option<&CompactValue>,
        reference: Wall,
    ) -> Option<EntryHash> {
        let others = self.candidates(key, reference).filter(|(author, _)| author != me);
        register::seen_together(key, value, others.map(|(author, entry)| (author, &**entry)))
    }

    fn resolve(&mut self, keys: Vec<KeyPath>, reference: Wall) -> bool {
        let mut changed = false;
        for key in keys {
            let held_back = self.effective_entries(&key).map(|(_, entry)| entry.stamp).collect();
            self.quarantine.watch(&key, held_back, reference);
            let mut candidates = 0;
            let among = self.candidates(&key, reference).inspect(|_| candidates += 1);
            let winner = register::winner(among).map(|winner| (winner.author, winner.entry.clone()));
            changed |= self.set_winner(key, winner, candidates > 1);
        }
        changed
    }

    /// Puts the entry that wins under a key, and remembers what was seen there before. Returns whether it is another.
    fn set_winner(&mut self, key: KeyPath, winner: Option<(PeerId, Arc<Entry>)>, is_contested: bool) -> bool {
        let before = self.merged.winner(&key);
        if before == winner.as_ref().map(|(author, entry)| Winner { author: *author, entry }) {
            if is_contested {
                self.merged.winners_mut().contest(&key);
            }
            return false;
        }
        self.recorder.note(&self.merged, &key);
        self.merged.winners_mut().set(key, winner, is_contested)
    }

    /// The keys that read differently since this was last asked.
    pub fn take_changes(&mut self) -> DocumentChanges {
        let snapshot = match self.kind {
            Kind::Snapshot => self.layers.get(&self.owner).map(|layer| &layer.content),
            Kind::Map => None,
        };
        let snapshot = snapshot.and_then(|content| match content {
            Content::Snapshot(value) => Some(value),
            Content::Map(_) => None,
        });
        self.recorder.take(&self.merged, snapshot)
    }

    /// What was read from disk is no change.
    pub fn forget_changes(&mut self) {
        self.recorder = changes::ChangeRecorder::default();
    }

    /// The entries under a key that take part in the merge.
    fn candidates(&self, key: &KeyPath, reference: Wall) -> impl Iterator<Item = (PeerId, &Arc<Entry>)> {
        self.effective_entries(key).filter(move |(_, e)| !quarantine::holds_back(e.stamp, reference))
    }

    fn effective_entries(&self, key: &KeyPath) -> impl Iterator<Item = (PeerId, &Arc<Entry>)> {
        self.effective().filter_map(|(author, layer)| Some((*author, map_of(layer)?.shared(key)?)))
    }

    /// Keys under which an author's layer differs from `old` (which stood in its place), or all of them.
    fn differing_keys(&self, author: &PeerId, old: Option<&Layer>) -> Vec<KeyPath> {
        self.changes_of(author, old).into_iter().map(|(key, _)| key).collect()
    }

    /// The same with the entries that it has under them now.
    fn changes_of(&self, author: &PeerId, old: Option<&Layer>) -> Vec<EntryChange> {
        let empty = MapContent::default();
        let new = self.layers.get(author).and_then(map_of).unwrap_or(&empty);
        new.changes_since(old.and_then(map_of).unwrap_or(&empty))
    }
}

/// The version of what a document reads: BLAKE3 of its canonical CBOR, hex. Equal at nodes in step.
pub fn version_of(view: &Value) -> String {
    blake3::hash(&tombolo_delta::to_cbor(view)).to_hex().to_string()
}

/// The entries of a map layer.
pub fn map_of(layer: &Layer) -> Option<&MapContent> {
    match &layer.content {
        Content::Map(map) => Some(map),
        Content::Snapshot(_) => None,
    }
}

#[cfg(test)]
mod tests;
