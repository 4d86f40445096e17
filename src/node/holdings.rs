//! The documents that a node holds, and for each layer what it takes to serve deltas: older states of
//! snapshots, and for maps when each key changed here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_delta::{Limits, Value};
use tombolo_transports::PeerId;

use crate::layer::{
    Content, DocumentId, Entry, KeyPath, Kind, Layer, LayerHash, LayerId, MapContent, Sequence, SignedHead,
};
use crate::limits::{
    DROPPED_KEYS_KEPT_MAX, LAYER_OVERHEAD_BYTES, MAP_BASES_KEPT_MAX, SNAPSHOT_BYTES_MAX,
    STATES_KEPT_BYTES_MAX, STATES_KEPT_MAX,
};
use crate::merge::{Document, map_of};
use crate::store::{KeptState, LayerWrite, MapBase, StoredLayer};
use crate::sync::frontier::State;

/// A document with the histories of its layers.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) document: Document,
    histories: BTreeMap<PeerId, History>,
    /// Bytes of each layer, as quotas count them.
    bytes: BTreeMap<PeerId, usize>,
}

/// Bases on air that are kept whatever comes: the author's present anchor and the one before it.
const BASES_IN_USE_MAX: usize = 2;

/// What came before a layer's present state.
#[derive(Debug)]
enum History {
    Snapshot {
        kept: VecDeque<Kept>,
        /// The bases last used on air, oldest first: these are not forgotten while they serve.
        in_use: VecDeque<Sequence>,
    },
    Map {
        /// When each key last changed here; also of keys that are gone.
        changed: ChangeLog,
        /// States that were held here, oldest first: bases that a peer may name.
        bases: VecDeque<MapBase>,
    },
}

/// Keys by when they changed, and when each did.
#[derive(Debug, Default)]
struct ChangeLog {
    at: BTreeMap<KeyPath, Sequence>,
    order: BTreeSet<(Sequence, KeyPath)>,
}

impl ChangeLog {
    fn note(&mut self, key: &KeyPath, sequence: Sequence) {
        if let Some(old) = self.at.insert(key.clone(), sequence) {
            self.order.remove(&(old, key.clone()));
        }
        self.order.insert((sequence, key.clone()));
    }

    /// The keys that changed after `sequence`.
    fn since(&self, sequence: Sequence) -> impl Iterator<Item = &KeyPath> {
        let after = sequence.next().map(|next| (next, KeyPath::lowest()));
        after.into_iter().flat_map(|from| self.order.range(from..)).map(|(_, key)| key)
    }

    /// Forgets keys that are gone from `map`; returns them, and when the last of them went.
    fn forget_gone(&mut self, map: &MapContent) -> (Vec<KeyPath>, Sequence) {
        let gone: Vec<_> = self.order.iter().filter(|(_, key)| map.get(key).is_none()).cloned().collect();
        for place in &gone {
            self.order.remove(place);
            self.at.remove(&place.1);
        }
        let last = gone.last().map_or(Sequence::NONE, |(at, _)| *at);
        (gone.into_iter().map(|(_, key)| key).collect(), last)
    }
}

#[derive(Debug)]
struct Kept {
    state: KeptState,
    root_prefix: [u8; 4],
}

/// All documents of a node.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    documents: BTreeMap<DocumentId, Held>,
    prints: BTreeMap<LayerHash, LayerId>,
    /// Bytes of each owner's layers, as quotas count them.
    bytes_of: BTreeMap<PeerId, usize>,
}

/// A base that a peer named and that we hold as well.
pub(super) enum KnownBase {
    /// The older state of a snapshot.
    Snapshot(KeptState, Value),
    /// What changed in a map since then, and what was signed with the base.
    Map { changes: Vec<(KeyPath, Option<Entry>)>, time_ms: u64, audience_sequence: Sequence },
}

impl Holdings {
    /// Reads the layers of a store. A layer whose kind its document's owner contradicts is left out.
    pub(super) fn load(layers: Vec<StoredLayer>, reference_ms: u64) -> Result<Self, &'static str> {
        let mut holdings = Holdings::default();
        let is_owners = |stored: &StoredLayer| {
            let id = &stored.signed.head.layer;
            id.author == id.document.owner
        };
        let (of_owners, of_others): (Vec<_>, Vec<_>) = layers.into_iter().partition(is_owners);
        for stored in of_owners.into_iter().chain(of_others) {
            let head = &stored.signed.head;
            let document = holdings.document(&head.layer.document);
            if document.is_none_or(|document| document.kind() == head.kind) {
                holdings.load_layer(stored, reference_ms)?;
            }
        }
        Ok(holdings)
    }

    fn load_layer(&mut self, stored: StoredLayer, reference_ms: u64) -> Result<(), &'static str> {
        let (content, history) = match stored.signed.head.kind {
            Kind::Snapshot => {
                let cbor = stored.snapshot.ok_or("a snapshot without content")?;
                let content =
                    Content::from_cbor(Kind::Snapshot, &cbor).map_err(|_| "a snapshot's content")?;
                let kept = stored.kept.into_iter().map(Kept::new).collect();
                (content, History::Snapshot { kept, in_use: VecDeque::new() })
            }
            Kind::Map => {
                let mut content = Content::empty(Kind::Map);
                let mut changed = ChangeLog::default();
                for (key, _, at) in &stored.entries {
                    changed.note(key, *at);
                }
                if let Content::Map(map) = &mut content {
                    let live = stored.entries.into_iter().filter(|(_, entry, _)| entry.is_some());
                    map.change(live.map(|(key, entry, _)| (key, entry))).map_err(|_| "a map's entries")?;
                }
                (content, History::Map { changed, bases: stored.bases.into() })
            }
        };
        if content.root() != stored.signed.head.root {
            return Err("a layer whose content does not have its signed root");
        }
        let layer = Layer { signed: stored.signed, content };
        let id = layer.head().layer.clone();
        self.weigh(&layer);
        let held = self.held_mut(&id.document, layer.head().kind);
        held.histories.insert(id.author, history);
        // Writers are set once everything is loaded.
        held.document.put_layer(layer, None, reference_ms);
        self.prints.insert(id.hash(), id);
        Ok(())
    }

    fn held_mut(&mut self, id: &DocumentId, kind: Kind) -> &mut Held {
        let fresh = || Held {
            document: Document::new(kind, id.owner),
            histories: BTreeMap::new(),
            bytes: BTreeMap::new(),
        };
        self.documents.entry(id.clone()).or_insert_with(fresh)
    }

    /// Counts a layer's bytes in place of its older state's.
    fn weigh(&mut self, layer: &Layer) {
        let id = layer.head().layer.clone();
        let bytes = layer.content.bytes() + LAYER_OVERHEAD_BYTES;
        let old = self.held_mut(&id.document, layer.head().kind).bytes.insert(id.author, bytes).unwrap_or(0);
        let sum = self.bytes_of.entry(id.document.owner).or_default();
        *sum = sum.saturating_sub(old) + bytes;
    }

    /// Bytes of an owner's layers if one of them had so many.
    pub(super) fn bytes_with(&self, id: &LayerId, bytes: usize) -> usize {
        let old = self.documents.get(&id.document).and_then(|held| held.bytes.get(&id.author));
        let sum = self.bytes_of.get(&id.document.owner).copied().unwrap_or(0);
        sum.saturating_sub(old.copied().unwrap_or(0)) + bytes + LAYER_OVERHEAD_BYTES
    }

    /// How many layers an owner's documents have.
    pub(super) fn layers_of(&self, owner: &PeerId) -> usize {
        let documents = self.documents.iter().filter(|(id, _)| id.owner == *owner);
        documents.map(|(_, held)| held.bytes.len()).sum()
    }

    /// A document.
    pub(super) fn document(&self, id: &DocumentId) -> Option<&Document> {
        self.documents.get(id).map(|held| &held.document)
    }

    /// A document, to change who counts in it or what time it is.
    pub(super) fn document_mut(&mut self, id: &DocumentId) -> Option<&mut Document> {
        self.documents.get_mut(id).map(|held| &mut held.document)
    }

    /// All documents.
    pub(super) fn documents(&self) -> impl Iterator<Item = (&DocumentId, &Document)> {
        self.documents.iter().map(|(id, held)| (id, &held.document))
    }

    /// All documents, to change them.
    pub(super) fn documents_mut(&mut self) -> impl Iterator<Item = (&DocumentId, &mut Document)> {
        self.documents.iter_mut().map(|(id, held)| (id, &mut held.document))
    }

    /// All layers.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.documents.values().flat_map(|held| held.document.layers().map(|(_, layer)| layer))
    }

    /// A layer by its name.
    pub(super) fn layer(&self, id: &LayerId) -> Option<&Layer> {
        self.document(&id.document)?.layer(&id.author)
    }

    /// A layer by its print.
    pub(super) fn layer_of_hash(&self, print: &LayerHash) -> Option<&Layer> {
        self.layer(self.prints.get(print)?)
    }

    /// The layers whose print begins with a byte, or all.
    pub(super) fn layers_at(&self, address: Option<u8>) -> impl Iterator<Item = &Layer> {
        let (low, high) = address.map_or((0, u8::MAX), |byte| (byte, byte));
        let (mut from, mut to) = ([0; 8], [u8::MAX; 8]);
        (from[0], to[0]) = (low, high);
        self.prints.range(LayerHash(from)..=LayerHash(to)).filter_map(|(_, id)| self.layer(id))
    }

    /// Drops a document whose kind its owner contradicts. Returns the layers that it had.
    pub(super) fn drop_document(&mut self, id: &DocumentId) -> Vec<LayerHash> {
        let bytes: usize = self.documents.remove(id).map_or(0, |held| held.bytes.values().sum());
        if let Some(sum) = self.bytes_of.get_mut(&id.owner) {
            *sum = sum.saturating_sub(bytes);
        }
        let of_it = |(_, layer): &(&LayerHash, &LayerId)| layer.document == *id;
        let gone: Vec<LayerHash> = self.prints.iter().filter(of_it).map(|(print, _)| *print).collect();
        self.prints.retain(|_, layer| layer.document != *id);
        gone
    }

    /// Takes a map layer out, to change it and put it back.
    pub(super) fn take_layer(&mut self, id: &LayerId) -> Option<Layer> {
        self.documents.get_mut(&id.document)?.document.take_layer(&id.author)
    }

    /// Puts a layer back that was taken out and not changed.
    pub(super) fn put_back(&mut self, layer: Layer) {
        let id = layer.head().layer.clone();
        if let Some(held) = self.documents.get_mut(&id.document) {
            held.document.put_back(layer);
        }
    }

    /// Takes a layer's new state. `before` is the head and (of a snapshot) the content that it replaces;
    /// `changed` are the keys in which a map differs, none: work it out. Returns what to write and whether
    /// the document reads differently.
    pub(super) fn put_layer(
        &mut self,
        layer: Layer,
        before: Option<Before>,
        changed: Option<Vec<KeyPath>>,
        reference_ms: u64,
    ) -> (LayerWrite, bool) {
        let signed = layer.signed.clone();
        let id = signed.head.layer.clone();
        self.prints.entry(id.hash()).or_insert_with(|| id.clone());
        self.weigh(&layer);
        let held = self.held_mut(&id.document, signed.head.kind);
        let mut write = LayerWrite {
            signed: signed.clone(),
            snapshot: None,
            entries: Vec::new(),
            kept: None,
            forgotten: Vec::new(),
            bases: Vec::new(),
            forgotten_keys: Vec::new(),
            is_own_map: false,
        };
        let history = held.histories.entry(id.author).or_insert_with(|| History::new(signed.head.kind));
        let changed = match (&layer.content, history) {
            (Content::Snapshot(value), History::Snapshot { kept, in_use }) => {
                write.snapshot = Some(tombolo_delta::to_cbor(value));
                keep_state(kept, in_use, before, &mut write);
                None
            }
            (Content::Map(map), History::Map { changed: log, bases }) => {
                let keys = changed.unwrap_or_else(|| {
                    let old = held.document.layer(&id.author).and_then(map_of);
                    differing(old, map)
                });
                // What changed within a fork is noted at its one sequence: such a base would lack it.
                bases.retain(|base| base.sequence < signed.head.sequence);
                bases.push_back(MapBase::of(&signed));
                for key in &keys {
                    log.note(key, signed.head.sequence);
                    write.entries.push((key.clone(), map.get(key).cloned()));
                }
                write.forgotten_keys = trim_bases(bases, log, map);
                write.bases = bases.iter().copied().collect();
                Some(keys)
            }
            // A document has one kind; `inbound` drops it before it would change.
            _ => changed,
        };
        let reads_differently = held.document.put_layer(layer, changed, reference_ms);
        (write, reads_differently)
    }

    /// The base that a peer holds of a layer, if we hold it too.
    pub(super) fn known_base(&self, id: &LayerId, base: State) -> Option<KnownBase> {
        let held = self.documents.get(&id.document)?;
        match held.histories.get(&id.author)? {
            History::Snapshot { kept, .. } => {
                let kept = kept.iter().find(|k| k.state() == base)?;
                Some(KnownBase::Snapshot(kept.state.clone(), kept.value()?))
            }
            History::Map { changed, bases } => {
                let known = bases.iter().find(|known| state_of(known) == base)?;
                let map = held.document.layer(&id.author).and_then(map_of)?;
                let later = changed.since(known.sequence);
                Some(KnownBase::Map {
                    changes: later.map(|key| (key.clone(), map.get(key).cloned())).collect(),
                    time_ms: known.time_ms,
                    audience_sequence: known.audience_sequence,
                })
            }
        }
    }

    /// Whether a map layer was held here in this state, as far back as that is remembered in memory.
    pub(super) fn held_once(&self, id: &LayerId, state: State) -> bool {
        let histories = self.documents.get(&id.document).map(|held| &held.histories);
        match histories.and_then(|h| h.get(&id.author)) {
            Some(History::Map { bases, .. }) => bases.iter().any(|base| state_of(base) == state),
            _ => false,
        }
    }

    /// When this node last saw each key of a map layer change, keys that are gone included.
    pub(super) fn changes_seen(&self, id: &LayerId) -> BTreeMap<KeyPath, Sequence> {
        let histories = self.documents.get(&id.document).map(|held| &held.histories);
        match histories.and_then(|h| h.get(&id.author)) {
            Some(History::Map { changed, .. }) => changed.at.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Older states of a snapshot layer whose root begins as asked for, newest first.
    pub(super) fn kept_states(
        &self,
        id: &LayerId,
        print_fits: impl Fn(&[u8]) -> bool,
    ) -> Vec<(KeptState, Value)> {
        let histories = self.documents.get(&id.document).map(|held| &held.histories);
        match histories.and_then(|h| h.get(&id.author)) {
            Some(History::Snapshot { kept, .. }) => {
                let fits = kept.iter().rev().filter(|k| print_fits(&k.root_prefix));
                fits.filter_map(|k| Some((k.state.clone(), k.value()?))).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Holdings {
    /// Older states of a map layer whose root begins as asked for.
    pub(super) fn map_bases(
        &self,
        id: &LayerId,
        print_fits: impl Fn(&[u8]) -> bool,
    ) -> impl Iterator<Item = MapBase> {
        let histories = self.documents.get(&id.document).map(|held| &held.histories);
        let bases = match histories.and_then(|h| h.get(&id.author)) {
            Some(History::Map { bases, .. }) => Some(bases),
            _ => None,
        };
        // The last is the present state.
        let older = bases.into_iter().flat_map(|bases| bases.iter().rev().skip(1));
        older.filter(move |base| print_fits(&base.root_prefix)).copied()
    }

    /// The states of a layer that a delta may start from, oldest first.
    pub(super) fn bases(&self, id: &LayerId) -> Vec<State> {
        let histories = self.documents.get(&id.document).map(|held| &held.histories);
        match histories.and_then(|h| h.get(&id.author)) {
            Some(History::Snapshot { kept, .. }) => kept.iter().map(Kept::state).collect(),
            Some(History::Map { bases, .. }) => bases.iter().map(state_of).collect(),
            None => Vec::new(),
        }
    }

    /// A base is in use on air: it and the one before it are kept whatever comes.
    pub(super) fn keep_as_base(&mut self, id: &LayerId, base: Sequence) {
        let held = self.documents.get_mut(&id.document);
        if let Some(History::Snapshot { in_use, .. }) = held.and_then(|h| h.histories.get_mut(&id.author))
            && in_use.back() != Some(&base)
        {
            in_use.retain(|sequence| *sequence != base);
            in_use.push_back(base);
            if in_use.len() > BASES_IN_USE_MAX {
                in_use.pop_front();
            }
        }
    }
}

/// What a new state replaces.
pub(super) struct Before {
    /// Its head.
    pub(super) signed: SignedHead,
    /// Of a snapshot: its content.
    pub(super) content: Option<Vec<u8>>,
}

impl Before {
    /// The present state of a layer.
    pub(super) fn of(layer: &Layer) -> Self {
        let content = match &layer.content {
            Content::Snapshot(value) => Some(tombolo_delta::to_cbor(value)),
            Content::Map(_) => None,
        };
        Before { signed: layer.signed.clone(), content }
    }
}

impl History {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Snapshot => History::Snapshot { kept: VecDeque::new(), in_use: VecDeque::new() },
            Kind::Map => History::Map { changed: ChangeLog::default(), bases: VecDeque::new() },
        }
    }
}

impl Kept {
    fn new(state: KeptState) -> Self {
        let [a, b, c, d, ..] = *blake3::hash(&state.content).as_bytes();
        Kept { state, root_prefix: [a, b, c, d] }
    }

    fn state(&self) -> State {
        State { sequence: self.state.sequence, root_prefix: self.root_prefix }
    }

    fn value(&self) -> Option<Value> {
        let limits = Limits { bytes_max: SNAPSHOT_BYTES_MAX, ..Limits::default() };
        tombolo_delta::from_cbor(&self.state.content, &limits).ok()
    }
}

fn state_of(base: &MapBase) -> State {
    State { sequence: base.sequence, root_prefix: base.root_prefix }
}

/// Keeps the replaced state as a base, and forgets others so that number and bytes stay within bounds. What
/// stays lies ever further apart towards the past: near bases for those who are in touch, a far one for
/// who comes back after long.
fn keep_state(
    kept: &mut VecDeque<Kept>,
    in_use: &VecDeque<Sequence>,
    before: Option<Before>,
    write: &mut LayerWrite,
) {
    let Some(Before { signed, content: Some(content) }) = before else { return };
    let head = signed.head;
    let state = KeptState {
        sequence: head.sequence,
        time_ms: head.time_ms,
        audience_sequence: head.audience_sequence,
        content,
    };
    write.kept = Some(state.clone());
    kept.push_back(Kept::new(state));
    let bytes = |kept: &VecDeque<Kept>| kept.iter().map(|k| k.state.content.len()).sum::<usize>();
    while kept.len() > STATES_KEPT_MAX || bytes(kept) > STATES_KEPT_BYTES_MAX {
        let Some(gone) = kept.remove(most_crowded(kept, in_use)) else { break };
        if write.kept.as_ref().is_some_and(|k| k.sequence == gone.state.sequence) {
            write.kept = None;
        } else {
            write.forgotten.push(gone.state.sequence);
        }
    }
}

/// The state whose absence opens the smallest gap, measured by how long ago it was.
fn most_crowded(kept: &VecDeque<Kept>, in_use: &VecDeque<Sequence>) -> usize {
    let sequence = |i: usize| kept.get(i).map_or(0, |k| k.state.sequence.get());
    let newest = sequence(kept.len().saturating_sub(1)) + 1;
    let crowding = |i: &usize| {
        let gap = sequence(i + 1) - sequence(i - 1);
        gap.saturating_mul(1000) / (newest - sequence(*i)).max(1)
    };
    let is_free = |i: &usize| kept.get(*i).is_some_and(|k| !in_use.contains(&k.state.sequence));
    (1..kept.len().saturating_sub(1)).filter(is_free).min_by_key(crowding).unwrap_or(0)
}

/// Forgets old bases, and when there are too many of them the dropped keys, with the bases that need them.
/// Returns the keys forgotten.
fn trim_bases(bases: &mut VecDeque<MapBase>, log: &mut ChangeLog, map: &MapContent) -> Vec<KeyPath> {
    while bases.len() > MAP_BASES_KEPT_MAX {
        bases.pop_front();
    }
    if log.at.len().saturating_sub(map.len()) <= DROPPED_KEYS_KEPT_MAX {
        return Vec::new();
    }
    let (gone, last) = log.forget_gone(map);
    bases.retain(|base| base.sequence >= last);
    gone
}

fn differing(old: Option<&MapContent>, new: &MapContent) -> Vec<KeyPath> {
    let Some(old) = old else { return new.iter().map(|(key, _)| key.clone()).collect() };
    let gone = old.iter().filter(|(key, _)| new.get(key).is_none()).map(|(key, _)| key.clone());
    let other = new.iter().filter(|(key, entry)| old.get(key) != Some(entry)).map(|(key, _)| key.clone());
    gone.chain(other).collect()
}
