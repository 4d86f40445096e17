//! A naive model beside the nodes: every state that was ever signed is kept, and a document is merged from scratch by the rules
//! of the design, with none of the code that it checks.
//!
//! Of an author a map has, per key, the entry of the newest state that had one: what was dropped since counts for ever. So a
//! tombstone that ends too early shows, where other checks compare nodes that are wrong alike. Per key the greatest
//! (milliseconds, counter, author, hash of the value) wins.
//!
//! Left out: which layers count (the node is asked), and keys that the model cannot know: with an entry from the future, which
//! waits, or with a stamp that went back, as a clock that is put right makes it.

use std::collections::{BTreeMap, BTreeSet};

use tombolo::layer::{DocumentId, Entry, KeyPath};
use tombolo::merge::{Document, map_of};
use tombolo::time::{Millis, Wall};
use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::{Seat, Simulation};

/// Entries that are further ahead may wait at one node and count at another.
const AHEAD_MAX: Millis = Millis::from_secs(9 * 60);

/// What one author has ever signed in one document: by sequence, the entries of that state.
#[derive(Debug, Default)]
struct SignedStates {
    by_sequence: BTreeMap<u64, BTreeMap<KeyPath, Entry>>,
    /// Keys whose stamp went back from one state to a later one.
    set_back: BTreeSet<KeyPath>,
}

impl SignedStates {
    fn note(&mut self, sequence: u64, entries: impl Iterator<Item = (KeyPath, Entry)>) {
        if self.by_sequence.contains_key(&sequence) {
            return;
        }
        let entries: BTreeMap<_, _> = entries.collect();
        for (key, entry) in &entries {
            let earlier = self.by_sequence.range(..sequence).rev().find_map(|(_, state)| state.get(key));
            if earlier.is_some_and(|earlier| earlier.stamp > entry.stamp) {
                self.set_back.insert(key.clone());
            }
        }
        self.by_sequence.insert(sequence, entries);
    }

    /// Per key the newest entry of all states up to a sequence.
    fn entries_up_to(&self, sequence: u64) -> BTreeMap<&KeyPath, &Entry> {
        self.by_sequence.range(..=sequence).flat_map(|(_, state)| state.iter()).collect()
    }
}

/// The model of all map documents of a simulation.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    signed: BTreeMap<(DocumentId, PeerId), SignedStates>,
    /// Documents that read differently at a machine since they were looked at.
    changed: BTreeSet<(Seat, DocumentId)>,
    /// A document is reported once.
    reported: BTreeSet<(Seat, DocumentId)>,
    comparisons: u64,
}

impl Oracle {
    pub(crate) fn changed(&mut self, seat: Seat, document: DocumentId) {
        self.changed.insert((seat, document));
    }

    /// Keys that were compared.
    pub(crate) fn comparisons(&self) -> u64 {
        self.comparisons
    }

    fn take_changed(&mut self, seat: Seat) -> Vec<DocumentId> {
        let changed = std::mem::take(&mut self.changed);
        let (of_seat, others): (BTreeSet<_>, BTreeSet<_>) =
            changed.into_iter().partition(|(of, _)| *of == seat);
        self.changed = others;
        of_seat.into_iter().map(|(_, document)| document).collect()
    }

    /// What a document is by the model where it is held like this, and where a node reads it differently.
    fn compare(&mut self, id: &DocumentId, held: &Document, reference: Wall) -> Option<String> {
        for (author, layer) in held.layers() {
            let map = map_of(layer)?;
            let states = self.signed.entry((id.clone(), *author)).or_default();
            let entries = map.iter().map(|(key, entry)| (key.clone(), entry.clone()));
            states.note(layer.head().sequence.get(), entries);
        }
        let mut expected: BTreeMap<&KeyPath, (PeerId, &Entry)> = BTreeMap::new();
        let mut unknown: BTreeSet<&KeyPath> = BTreeSet::new();
        for (author, layer) in held.layers().filter(|(author, _)| held.counts(author)) {
            let Some(states) = self.signed.get(&(id.clone(), *author)) else { continue };
            unknown.extend(&states.set_back);
            for (key, entry) in states.entries_up_to(layer.head().sequence.get()) {
                if entry.stamp.time() > reference + AHEAD_MAX {
                    unknown.insert(key);
                }
                let best = expected.entry(key).or_insert((*author, entry));
                if order(*author, entry) > order(best.0, best.1) {
                    *best = (*author, entry);
                }
            }
        }
        expected.retain(|key, _| !unknown.contains(*key));
        self.comparisons += expected.len() as u64;
        expected.into_iter().find_map(|(key, (author, entry))| {
            let read = held.winner(key).filter(|winner| !winner.entry.is_tombstone());
            let read: Option<(PeerId, &Value)> =
                read.and_then(|winner| Some((winner.author, winner.entry.value.as_ref()?)));
            let wins = entry.value.as_ref().map(|value| (author, value));
            (read != wins).then(|| format!("{read:?} at {key}, and by the model it is {wins:?}"))
        })
    }
}

/// The order of the design: a total one.
fn order(author: PeerId, entry: &Entry) -> (u64, u64, PeerId, [u8; 32]) {
    let counter = entry.stamp.bits() & 0xffff;
    (entry.stamp.bits() >> 16, counter, author, entry.value_hash())
}

impl Simulation {
    /// From now on every document that reads differently somewhere is compared with a naive model.
    pub fn watch_by_oracle(&mut self) {
        self.oracle = Some(Oracle::default());
    }

    /// How many keys were compared with the model so far.
    pub fn oracle_comparisons(&self) -> u64 {
        self.oracle.as_ref().map_or(0, Oracle::comparisons)
    }

    /// Notes that a document reads differently at a machine.
    pub(super) fn reads_differently(&mut self, seat: Seat, owner: &str, name: &str) {
        if self.oracle.is_none() {
            return;
        }
        let owner = self.seats().into_iter().find(|of| self.did(*of) == owner).map(|of| self.peer_id(of));
        let name = tombolo::layer::DocumentName::new(name).ok();
        if let (Some(oracle), Some(owner), Some(name)) = (&mut self.oracle, owner, name) {
            oracle.changed(seat, DocumentId { owner, name });
        }
    }

    /// Compares what has changed at a machine with the model.
    pub(super) fn consult_oracle(&mut self, seat: Seat) {
        let Some(mut oracle) = self.oracle.take() else { return };
        for id in oracle.take_changed(seat) {
            let Some(node) = self.node(seat) else { continue };
            let (report, place) = (node.report(), (seat, id.clone()));
            let Some(document) = report.replica.document(&id) else { continue };
            let differs = oracle.compare(&id, document, report.core.reference());
            if let Some(differs) = differs.filter(|_| oracle.reported.insert(place)) {
                self.wrong(format!("{seat:?} reads {}: {differs}", id.name.as_str()));
            }
        }
        self.oracle = Some(oracle);
    }
}
