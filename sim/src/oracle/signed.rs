//! What authors have signed, kept for ever: each state with its entries, and the tombstones that were dropped since.

use std::collections::{BTreeMap, BTreeSet};

use tombolo::layer::{Entry, Head, KeyPath, MapContent, Root, Sequence};
use tombolo::time::Wall;
use tombolo_transports::PeerId;

/// Names a state of a layer.
pub(super) type StateName = (Sequence, Root);

/// One state of a layer, as its author signed it.
#[derive(Debug)]
pub(super) struct SignedState {
    pub(super) time: Wall,
    pub(super) audience_sequence: Sequence,
    pub(super) entries: BTreeMap<KeyPath, Entry>,
}

/// A tombstone that its author has dropped, as it was proven done.
#[derive(Debug)]
pub(super) struct EndedTombstone {
    pub(super) entry: Entry,
    /// The first state without it.
    pub(super) dropped_at: Sequence,
    /// The states of others in which the author found no older entry.
    pub(super) seen: BTreeMap<PeerId, Sequence>,
}

/// All that one author has signed in one document.
#[derive(Debug, Default)]
pub(super) struct SignedLayer {
    states: BTreeMap<Sequence, Vec<(Root, SignedState)>>,
    /// Keys that were written by a clock behind the time of an earlier state: it had been put back.
    set_back: BTreeSet<KeyPath>,
    ended: BTreeMap<KeyPath, Vec<EndedTombstone>>,
}

impl SignedLayer {
    pub(super) fn state(&self, name: &StateName) -> Option<&SignedState> {
        self.states.get(&name.0)?.iter().find(|(root, _)| *root == name.1).map(|(_, state)| state)
    }

    /// Whether two states have one sequence.
    pub(super) fn is_forked(&self, sequence: Sequence) -> bool {
        self.states.get(&sequence).is_some_and(|states| states.len() > 1)
    }

    /// Keeps a state. Returns whether it was not known.
    pub(super) fn keep(&mut self, head: &Head, map: &MapContent) -> bool {
        let name = (head.sequence, head.root);
        if self.state(&name).is_some() {
            return false;
        }
        let entries: BTreeMap<_, _> = map.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        let earlier = || self.states.range(..head.sequence).flat_map(|(_, states)| states);
        let newest = earlier().map(|(_, state)| state.time).max().unwrap_or_default();
        let before = earlier().next_back().map(|(_, state)| &state.entries);
        let is_new = |key: &KeyPath, entry: &Entry| before.and_then(|before| before.get(key)) != Some(entry);
        let is_behind = |(key, entry): &(&KeyPath, &Entry)| entry.stamp.time() < newest && is_new(key, entry);
        let behind: Vec<KeyPath> = entries.iter().filter(is_behind).map(|(key, _)| key.clone()).collect();
        self.set_back.extend(behind);
        let state = SignedState { time: head.time, audience_sequence: head.audience_sequence, entries };
        self.states.entry(head.sequence).or_default().push((head.root, state));
        true
    }

    pub(super) fn end_tombstone(&mut self, key: KeyPath, ended: EndedTombstone) {
        self.ended.entry(key).or_default().push(ended);
    }

    /// The tombstones of a key that a state of this layer lacks, since they had ended before.
    pub(super) fn ended_before(
        &self,
        key: &KeyPath,
        sequence: Sequence,
    ) -> impl Iterator<Item = &EndedTombstone> {
        let of_key = self.ended.get(key).into_iter().flatten();
        of_key.filter(move |ended| ended.dropped_at <= sequence)
    }

    /// Whether the clock that stamped a key had been put back.
    pub(super) fn was_set_back(&self, key: &KeyPath) -> bool {
        self.set_back.contains(key)
    }
}
