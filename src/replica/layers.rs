//! The documents that a node holds, with the history of each layer and the bytes that quotas count.

use crate::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::layer::{
    Content, DocumentId, DocumentName, KeyPath, Kind, Layer, LayerHash, LayerId, MapContent, MapDifference,
    Sequence, SignedHead, sort_by_key_path,
};
use crate::limits::{DOCUMENTS_PER_OWNER_MAX, OWNER_MEMORY_MAX};
use crate::merge::{Document, DocumentChanges, map_of};
use crate::replica::change_log::ChangesSeen;
use crate::replica::history::{History, KnownBase, PastSnapshot, remember_map, remember_state};
use crate::replica::states::{LayerSize, Replaced};
use crate::steps;
use crate::store::{LayerWrite, MapBase, StoredLayer};
use crate::sync::frontier::State;

/// All documents of a node.
#[derive(Debug, Default)]
pub struct Layers {
    documents: BTreeMap<DocumentId, HeldDocument>,
    by_hash: BTreeMap<LayerHash, LayerId>,
    /// The documents of each name, by owner.
    by_name: BTreeMap<DocumentName, BTreeMap<PeerId, DocumentId>>,
    /// The documents in which entries wait for their time.
    waiting: BTreeSet<DocumentId>,
    /// The documents in which large changes have left something to do.
    untidy: BTreeSet<DocumentId>,
    /// Documents that were dropped, and of which the memory is not given back yet.
    dropped: Vec<HeldDocument>,
    /// What each owner's layers take, as quotas count it.
    size_of: BTreeMap<PeerId, LayerSize>,
    /// Bytes that the layers of all owners take in memory.
    memory: usize,
}

/// Keys of a history that is of no use any more of which the memory is given back at a time.
const SHED_KEYS: usize = 8_192;

/// A document with the histories of its layers.
#[derive(Debug)]
struct HeldDocument {
    document: Document,
    histories: BTreeMap<PeerId, History>,
    /// What each layer takes, as quotas count it.
    sizes: BTreeMap<PeerId, LayerSize>,
}

/// What the documents of all other owners may take in memory together.
#[derive(Clone, Copy, Debug)]
pub struct PeersMemory {
    /// This node: its own documents are not counted.
    pub me: PeerId,
    /// Bytes, as quotas count them.
    pub bytes_max: usize,
}

impl HeldDocument {
    fn size(&self) -> LayerSize {
        self.sizes.values().fold(LayerSize::default(), |sum, size| sum.plus(*size))
    }

    /// Gives back a part of its memory, when it is of no use any more. Returns whether that was all.
    fn shed(&mut self) -> bool {
        let is_over = |history: &mut History| history.shed(SHED_KEYS);
        match self.histories.values_mut().next_back().map(is_over) {
            None => self.document.shed(),
            Some(is_over) => {
                is_over.then(|| self.histories.pop_last());
                false
            }
        }
    }

    /// Does a part of what large changes have left to do.
    fn tidy(&mut self) {
        self.document.tidy();
        self.histories.values_mut().for_each(|history| history.tidy(SHED_KEYS));
    }

    fn is_tidy(&self) -> bool {
        self.document.is_tidy() && self.histories.values().all(History::is_tidy)
    }

    fn size_of_layer(&self, author: &PeerId) -> LayerSize {
        self.sizes.get(author).copied().unwrap_or_default()
    }

    /// Notes a layer's new state in its history, whose older contents may have so many bytes. Returns what to write.
    fn remember(
        &mut self,
        layer: &Layer,
        replaced: Option<Replaced>,
        changed: Option<MapDifference>,
        past_bytes_max: usize,
    ) -> LayerWrite {
        let (author, kind) = (layer.head().layer.author, layer.head().kind);
        let mut write = empty_write(layer.signed.clone());
        let history = self.histories.entry(author).or_insert_with(|| History::new(kind));
        if history.kind() != kind {
            // A layer that came in before the kind of its document was known: its past is of no use.
            *history = History::new(kind);
        }
        match (&layer.content, history) {
            (Content::Snapshot(value), History::Snapshot { past, in_use }) => {
                write.snapshot = Some(value.to_cbor());
                remember_state(past, in_use, replaced, past_bytes_max, &mut write);
            }
            (Content::Map(map), History::Map { changed: log, bases }) => {
                let held = self.document.layer(&author).and_then(map_of);
                let differing = || {
                    let changes = map.changes_since(held.unwrap_or(&MapContent::default()));
                    let (mut changes, mut gone): (Vec<_>, Vec<_>) =
                        changes.into_iter().partition(|(_, entry)| entry.is_some());
                    sort_by_key_path(&mut changes, |(key, _)| key);
                    changes.append(&mut gone);
                    changes
                };
                let changed = changed.unwrap_or_else(|| MapDifference::from(differing()));
                (write.entries, write.all) = (changed.entries, changed.all);
                remember_map(bases, log, map, &mut write);
            }
            (Content::Snapshot(_), History::Map { .. }) | (Content::Map(_), History::Snapshot { .. }) => {
                unreachable!("a history of another kind was just replaced")
            }
        }
        write
    }
}

/// A write of a head whose content and bases are not filled in yet.
fn empty_write(signed: SignedHead) -> LayerWrite {
    LayerWrite {
        signed,
        snapshot: None,
        entries: Vec::new(),
        kept: None,
        forgotten: Vec::new(),
        bases_from: None,
        forgotten_keys: Vec::new(),
        is_own_map: false,
        all: None,
    }
}

impl Layers {
    /// Reads the layers of a store. A layer whose kind its document's owner contradicts is left out.
    ///
    /// # Errors
    /// The kind of damage, if a layer's content does not read or does not have its signed root.
    pub fn load(layers: Vec<StoredLayer>, reference: Wall) -> Result<Self, &'static str> {
        let mut held = Layers::default();
        let is_owners = |stored: &StoredLayer| {
            let id = &stored.signed.head.layer;
            id.author == id.document.owner
        };
        let (of_owners, of_others): (Vec<_>, Vec<_>) = layers.into_iter().partition(is_owners);
        for stored in of_owners.into_iter().chain(of_others) {
            let head = &stored.signed.head;
            let document = held.document(&head.layer.document);
            if document.is_none_or(|document| document.kind() == head.kind) {
                held.load_layer(stored, reference)?;
            }
        }
        Ok(held)
    }

    fn load_layer(&mut self, stored: StoredLayer, reference: Wall) -> Result<(), &'static str> {
        let (content, history, entries) = match stored.signed.head.kind {
            Kind::Snapshot => {
                let cbor = stored.snapshot.ok_or("a snapshot without content")?;
                let content =
                    Content::from_cbor(Kind::Snapshot, &cbor).map_err(|_| "a snapshot's content")?;
                (content, History::load_snapshot(stored.kept), Vec::new())
            }
            Kind::Map => {
                let changed = stored.entries.iter().map(|(key, entry, at)| (key, *at, entry.is_none()));
                let history = History::load_map(changed, stored.bases);
                let live = stored.entries.into_iter().filter_map(|(key, entry, _)| Some((key, entry?)));
                let live: Vec<_> = live.collect();
                let map = MapContent::of_entries(live.iter().cloned()).map_err(|_| "a map's entries")?;
                (Content::Map(map), history, live)
            }
        };
        if content.root() != stored.signed.head.root {
            return Err("a layer whose content does not have its signed root");
        }
        let layer = Layer { signed: stored.signed, content };
        let id = layer.head().layer.clone();
        let held = self.held_mut(&id.document, layer.head().kind);
        held.histories.insert(id.author, history);
        self.weigh(&layer);
        let held = self.held_mut(&id.document, layer.head().kind);
        // Writers are set once everything is loaded.
        held.document.load_layer(layer, entries, reference);
        self.note_waiting(&id.document);
        self.by_hash.insert(id.hash(), id);
        Ok(())
    }

    /// A document has changed: entries of it may wait now, or none any more.
    fn note_waiting(&mut self, id: &DocumentId) {
        let waits = self.document(id).is_some_and(|document| document.quarantined() > 0);
        match waits {
            true => drop(self.waiting.insert(id.clone())),
            false => drop(self.waiting.remove(id)),
        }
    }

    /// The documents in which entries wait for their time.
    pub fn waiting(&self) -> impl Iterator<Item = &Document> {
        self.waiting.iter().filter_map(|id| self.document(id))
    }

    /// The names of those that are asked for.
    pub(super) fn waiting_ids(&self, is_meant: impl Fn(&&Document) -> bool) -> Vec<DocumentId> {
        let is_meant = |id: &&DocumentId| self.document(id).as_ref().is_some_and(&is_meant);
        self.waiting.iter().filter(is_meant).cloned().collect()
    }

    /// The documents of a name, by owner.
    pub fn called(&self, name: &str) -> impl Iterator<Item = &DocumentId> {
        self.by_name.get(name).into_iter().flat_map(BTreeMap::values)
    }

    fn held_mut(&mut self, id: &DocumentId, kind: Kind) -> &mut HeldDocument {
        let fresh = || HeldDocument {
            document: Document::new(kind, id.owner),
            histories: BTreeMap::new(),
            sizes: BTreeMap::new(),
        };
        if !self.documents.contains_key(id) {
            self.by_name.entry(id.name.clone()).or_default().insert(id.owner, id.clone());
        }
        self.documents.entry(id.clone()).or_insert_with(fresh)
    }

    /// When each key of a map layer was last seen to change.
    pub fn changes_seen(&self, id: &LayerId) -> ChangesSeen {
        self.history(id).map(History::changes_seen).unwrap_or_default()
    }

    fn history(&self, id: &LayerId) -> Option<&History> {
        self.documents.get(&id.document)?.histories.get(&id.author)
    }

    /// Counts what a layer and its history take in place of its older state's.
    fn weigh(&mut self, layer: &Layer) {
        let id = layer.head().layer.clone();
        let history = self.history(&id).map_or(0, History::memory_bytes);
        let mut size = LayerSize::of(&layer.content);
        size.memory += history;
        let held = self.held_mut(&id.document, layer.head().kind);
        let old = held.sizes.insert(id.author, size).unwrap_or_default();
        self.count(&id.document.owner, old, size);
    }

    /// An owner's layers take so much in place of so much.
    fn count(&mut self, owner: &PeerId, old: LayerSize, new: LayerSize) {
        let sum = self.size_of.entry(*owner).or_default();
        *sum = sum.less(old).plus(new);
        self.memory = self.memory.saturating_sub(old.memory) + new.memory;
        if *sum == LayerSize::default() {
            self.size_of.remove(owner);
        }
    }

    /// What an owner's layers take, as quotas count it.
    pub fn size_of(&self, owner: &PeerId) -> LayerSize {
        self.size_of.get(owner).copied().unwrap_or_default()
    }

    /// Bytes that older contents of a layer may have: a quarter of what its owner's quota leaves beside this new state.
    fn past_bytes_max(&self, layer: &Layer) -> usize {
        let id = &layer.head().layer;
        let held = self.documents.get(&id.document).map(|held| held.size_of_layer(&id.author));
        let sum = self.size_of(&id.document.owner).less(held.unwrap_or_default());
        OWNER_MEMORY_MAX.saturating_sub(sum.plus(LayerSize::of(&layer.content)).memory) / 4
    }

    /// Whether an owner's quotas have room for a layer that takes so much. `drops_document`: in place of all layers that the
    /// document has.
    pub fn has_room_for(&self, id: &LayerId, size: LayerSize, drops_document: bool) -> bool {
        let of_owner = || self.documents.keys().filter(|other| other.owner == id.document.owner);
        let is_new = !self.documents.contains_key(&id.document);
        let too_many = is_new && of_owner().count() >= DOCUMENTS_PER_OWNER_MAX;
        !too_many && self.of_owner_with(id, size, drops_document).fits()
    }

    /// Whether a layer that is held takes no more in its new state: a quota that has been reached keeps no deletion out.
    pub fn does_not_grow(&self, id: &LayerId, size: LayerSize) -> bool {
        let held = self.documents.get(&id.document).map(|held| held.size_of_layer(&id.author));
        held.is_some_and(|held| size.cbor <= held.cbor && size.memory <= held.memory)
    }

    /// Whether the documents of all other owners together leave room for a layer of one of them. An owner that takes no more than an
    /// equal share is never refused: what one has filled is not missing to the next.
    pub fn leaves_room_for(
        &self,
        id: &LayerId,
        size: LayerSize,
        drops_document: bool,
        PeersMemory { me, bytes_max }: PeersMemory,
    ) -> bool {
        let owner = &id.document.owner;
        if *owner == me {
            return true;
        }
        let wanted = self.of_owner_with(id, size, drops_document).memory;
        let [own, before] = [&me, owner].map(|of| self.size_of(of).memory);
        let of_others = self.memory.saturating_sub(own + before);
        let mut owners = self.size_of.len() - usize::from(self.size_of.contains_key(&me));
        owners += usize::from(!self.size_of.contains_key(owner));
        of_others + wanted <= bytes_max || wanted <= bytes_max / owners
    }

    /// What an owner's layers take once one of them takes so much.
    fn of_owner_with(&self, id: &LayerId, size: LayerSize, drops_document: bool) -> LayerSize {
        let freed = self.documents.get(&id.document).map(|held| match drops_document {
            true => held.size(),
            false => held.size_of_layer(&id.author),
        });
        self.size_of(&id.document.owner).less(freed.unwrap_or_default()).plus(size)
    }

    /// How many layers an owner's documents have.
    pub fn layers_of(&self, owner: &PeerId) -> usize {
        let documents = self.documents.iter().filter(|(id, _)| id.owner == *owner);
        documents.map(|(_, held)| held.sizes.len()).sum()
    }

    /// A document that is held, to read.
    pub fn document(&self, id: &DocumentId) -> Option<&Document> {
        self.documents.get(id).map(|held| &held.document)
    }

    /// Changes who counts in a document or what time it is. Returns whether it reads differently; a document that is not held
    /// does not.
    pub(super) fn change_document(
        &mut self,
        id: &DocumentId,
        change: impl FnOnce(&mut Document) -> bool,
    ) -> bool {
        let reads_differently = self.documents.get_mut(id).is_some_and(|held| change(&mut held.document));
        self.note_waiting(id);
        reads_differently
    }

    /// The keys of a document that read differently since this was last asked.
    pub(super) fn take_changes(&mut self, id: &DocumentId) -> DocumentChanges {
        self.documents.get_mut(id).map(|held| held.document.take_changes()).unwrap_or_default()
    }

    /// All documents that are held.
    pub fn documents(&self) -> impl Iterator<Item = (&DocumentId, &Document)> {
        self.documents.iter().inspect(|_| steps::count()).map(|(id, held)| (id, &held.document))
    }

    /// Changes all documents. Returns those that read differently.
    pub(super) fn change_documents(
        &mut self,
        mut change: impl FnMut(&DocumentId, &mut Document) -> bool,
    ) -> Vec<DocumentId> {
        let changed = self.documents.iter_mut().filter_map(|(id, held)| {
            steps::count();
            let reads_differently = change(id, &mut held.document);
            let waits = held.document.quarantined() > 0;
            match waits {
                true => drop(self.waiting.insert(id.clone())),
                false => drop(self.waiting.remove(id)),
            }
            reads_differently.then(|| id.clone())
        });
        changed.collect()
    }

    /// All layers of all documents.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        let all = self.documents.values().flat_map(|held| held.document.layers().map(|(_, layer)| layer));
        all.inspect(|_| steps::count())
    }

    /// A layer by its name.
    pub fn layer(&self, id: &LayerId) -> Option<&Layer> {
        self.document(&id.document)?.layer(&id.author)
    }

    /// A layer by its short name.
    pub fn layer_of_hash(&self, hash: &LayerHash) -> Option<&Layer> {
        self.layer(self.by_hash.get(hash)?)
    }

    /// The layers whose short name begins with a byte, or all.
    pub fn layers_at(&self, address: Option<u8>) -> impl Iterator<Item = &Layer> {
        let (low, high) = address.map_or((0, u8::MAX), |byte| (byte, byte));
        let (mut from, mut to) = ([0; 8], [u8::MAX; 8]);
        (from[0], to[0]) = (low, high);
        self.by_hash.range(LayerHash(from)..=LayerHash(to)).filter_map(|(_, id)| self.layer(id))
    }

    /// Drops a document whose kind its owner contradicts. Returns the layers that it had.
    pub(super) fn drop_document(&mut self, id: &DocumentId) -> Vec<LayerHash> {
        let size = self.documents.remove(id).map(|held| held.size()).unwrap_or_default();
        self.waiting.remove(id);
        if let Some(owners) = self.by_name.get_mut(&id.name) {
            owners.remove(&id.owner);
        }
        self.count(&id.owner, size, LayerSize::default());
        let of_it = |(_, layer): &(&LayerHash, &LayerId)| layer.document == *id;
        let gone: Vec<LayerHash> = self.by_hash.iter().filter(of_it).map(|(hash, _)| *hash).collect();
        self.by_hash.retain(|_, layer| layer.document != *id);
        gone
    }

    /// Drops one layer, and the document with the last one. Returns whether it was held.
    pub(super) fn drop_layer(&mut self, id: &LayerId, reference: Wall) -> bool {
        if self.by_hash.remove(&id.hash()).is_none() {
            return false;
        }
        let Some(held) = self.documents.get_mut(&id.document) else { return false };
        let size = held.sizes.remove(&id.author).unwrap_or_default();
        if held.sizes.is_empty() {
            self.dropped.extend(self.documents.remove(&id.document));
        } else {
            held.document.remove_layer(&id.author, reference);
            held.histories.remove(&id.author);
            if !held.document.is_tidy() {
                self.untidy.insert(id.document.clone());
            }
        }
        self.count(&id.document.owner, size, LayerSize::default());
        true
    }

    /// Takes a map layer out, to change it and put it back with [`put_back`](Self::put_back) or
    /// [`put_layer`](Self::put_layer).
    pub(super) fn take_map(&mut self, id: &LayerId) -> Option<(SignedHead, MapContent)> {
        let document = &mut self.documents.get_mut(&id.document)?.document;
        let Layer { signed, content } = document.take_layer(&id.author)?;
        match content {
            Content::Map(map) => Some((signed, map)),
            Content::Snapshot(_) => {
                document.put_back(Layer { signed, content });
                None
            }
        }
    }

    /// Puts a map layer back that was taken out and has its old entries again.
    pub(super) fn put_back(&mut self, signed: SignedHead, map: MapContent) {
        let held = self.documents.get_mut(&signed.head.layer.document);
        let held = held.expect("a document stays while a layer is taken out of it");
        held.document.put_back(Layer { signed, content: Content::Map(map) });
    }

    /// Puts a layer's new state in. `changed` are the keys in which a map differs, with their entries; `None` compares all keys. Returns what
    /// to write and whether the document reads differently.
    pub(super) fn put_layer(
        &mut self,
        layer: Layer,
        replaced: Option<Replaced>,
        changed: Option<MapDifference>,
        reference: Wall,
    ) -> (LayerWrite, bool) {
        let id = layer.head().layer.clone();
        self.by_hash.entry(id.hash()).or_insert_with(|| id.clone());
        let past_bytes_max = self.past_bytes_max(&layer);
        let mut changed = changed;
        let rising = changed.as_mut().and_then(|changed| changed.rising.take());
        let held = self.held_mut(&id.document, layer.head().kind);
        let write = held.remember(&layer, replaced, changed, past_bytes_max);
        self.weigh(&layer);
        let held = self.held_mut(&id.document, layer.head().kind);
        let reads_differently = match rising {
            Some(rising) => held.document.put_rising_layer(layer, rising, &write.entries, reference),
            None => held.document.put_layer(layer, Some(&write.entries), reference),
        };
        if !held.is_tidy() {
            self.untidy.insert(id.document.clone());
        }
        self.note_waiting(&id.document);
        (write, reads_differently)
    }

    /// Does a part of what large changes have left to do in one document.
    pub(super) fn tidy(&mut self) {
        if self.dropped.last_mut().is_some_and(HeldDocument::shed) {
            self.dropped.pop();
        }
        let Some(id) = self.untidy.pop_first() else { return };
        let Some(held) = self.documents.get_mut(&id) else { return };
        held.tidy();
        if !held.is_tidy() {
            self.untidy.insert(id);
        }
    }

    /// Whether some of it is left in any document.
    pub fn is_tidy(&self) -> bool {
        self.untidy.is_empty() && self.dropped.is_empty()
    }

    /// The base that a peer holds of a layer, if it is known here too.
    pub fn known_base(&self, id: &LayerId, base: State) -> Option<KnownBase> {
        self.history(id)?.known_base(base, self.layer(id).and_then(map_of))
    }

    /// Whether a layer has changed since a state by as little as a delta may have.
    pub fn fits_delta(&self, id: &LayerId, base: State) -> bool {
        let map = self.layer(id).and_then(map_of);
        self.history(id).is_some_and(|history| history.fits_delta(base.sequence, map))
    }

    /// Whether a map layer was held here in this state, as far back as memory goes.
    pub fn held_once(&self, id: &LayerId, state: State) -> bool {
        self.history(id).is_some_and(|history| history.held_once(state))
    }

    /// When this node last saw a key of a map layer change, of which `map` is the present content. `None` for a key that it does not know,
    /// keys that are gone included.
    pub fn change_seen(&self, id: &LayerId, key: &KeyPath, map: &MapContent) -> Option<Sequence> {
        self.history(id)?.change_seen(key, map)
    }

    /// Older states of a snapshot layer whose root begins as asked for, newest first; their contents are not decoded.
    pub fn past_snapshots(&self, id: &LayerId, root_fits: impl Fn(&[u8]) -> bool) -> Vec<PastSnapshot> {
        self.history(id).map(|history| history.past_snapshots(root_fits)).unwrap_or_default()
    }

    /// The content that a snapshot layer had at a sequence, if it is kept.
    pub fn past_value(&self, id: &LayerId, sequence: Sequence) -> Option<Value> {
        self.history(id)?.past_value(sequence)
    }

    /// Older states of a map layer whose root begins as asked for, newest first.
    pub fn map_bases(&self, id: &LayerId, root_fits: impl Fn(&[u8]) -> bool) -> Vec<MapBase> {
        self.history(id).map(|history| history.map_bases(root_fits)).unwrap_or_default()
    }

    /// The states of a layer that a delta may start from, oldest first.
    pub fn bases(&self, id: &LayerId) -> Vec<State> {
        self.history(id).map(History::bases).unwrap_or_default()
    }

    /// Keeps a base that is in use by radio, and the one before it, whatever comes.
    pub fn pin_base(&mut self, id: &LayerId, base: Sequence) {
        let held = self.documents.get_mut(&id.document);
        if let Some(history) = held.and_then(|held| held.histories.get_mut(&id.author)) {
            history.pin_base(base);
        }
    }
}
