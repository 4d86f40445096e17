//! What the sync engine knows of one neighbour: what it may see, what it is believed to have, and what of that it has not shown yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::layer::LayerHash;
use crate::limits::FRONTIER_ENTRIES_MAX;
use crate::sync::frontier::{Frontier, NamedBuckets, State};
use crate::time::Mono;

/// What the engine knows of one neighbour.
#[derive(Debug, Default)]
pub(super) struct PeerSync {
    /// What it may see of what this node has.
    pub(super) ours: Frontier,
    /// What it is believed to have.
    pub(super) theirs: Frontier,
    /// Before it has reported what it has: what it was asked to compare with, which is what this node would have in its place.
    pub(super) assumed: Option<Frontier>,
    /// What was sent to it and it has not shown as received, with what it held before.
    pub(super) unconfirmed: BTreeMap<LayerHash, Option<State>>,
    pub(super) confirmed: bool,
    /// Whether it has ever reported what it has: before, nothing is pushed to it unasked.
    pub(super) met: bool,
    /// Whether the last question was the first to it, so that no push of what the answer shows can be on its way.
    pub(super) asked_first: bool,
    /// Layers whose new state is to be announced to it, gathered until `notice_at`.
    pub(super) notices: BTreeSet<LayerHash>,
    pub(super) notice_at: Option<Mono>,
    pub(super) heartbeat_at: Mono,
    pub(super) asked_at: Option<Mono>,
    /// An ask that had to wait for the pause to end.
    pub(super) ask_at: Option<Mono>,
    pub(super) answers: (u64, u32),
    /// What it refused, and until when that holds.
    pub(super) refused: BTreeMap<LayerHash, Mono>,
    /// What this node refuses and it was sent word of.
    pub(super) refusals_sent: BTreeSet<LayerHash>,
    /// Since when a layer differs between the two. An entry counts only while it does.
    pub(super) differs_since: BTreeMap<LayerHash, Mono>,
}

impl PeerSync {
    /// The hashes of what it is to compare with what it has: what it is believed to have, or what both have if they are in step, as
    /// two that meet again mostly are. Until it answers, each question is about the same.
    pub(super) fn hashes_to_compare(&mut self) -> Vec<u32> {
        let believed = match self.met {
            true => &self.theirs,
            false => self.assumed.get_or_insert_with(|| self.ours.clone()),
        };
        believed.bucket_hashes(believed.bucket_size())
    }

    /// Takes the fingerprint of its heartbeat: before it has reported, that may show that it has what this node has, or had when it was
    /// asked.
    pub(super) fn note_fingerprint(&mut self, fingerprint: u64) {
        if self.met {
            return;
        }
        let both_have = [Some(&self.ours), self.assumed.as_ref()];
        let equal = both_have.into_iter().flatten().find(|held| held.fingerprint() == fingerprint);
        if let Some(theirs) = equal.cloned() {
            self.theirs = theirs;
            self.assumed = None;
        }
    }

    /// Its first answer names the buckets that differ from what was assumed: in the others it holds just that.
    pub(super) fn note_answered(&mut self, buckets: &NamedBuckets, states: &[(LayerHash, State)]) {
        let Some(mut assumed) = self.assumed.take() else { return };
        if buckets.is_empty() {
            // A part of a bucket that has too many for one message: what else it has of it comes too, and nothing is assumed.
            if states.len() >= FRONTIER_ENTRIES_MAX {
                states.iter().for_each(|(layer, _)| assumed.clear_bucket_of(layer));
            }
            self.assumed = Some(assumed);
            return;
        }
        for (layer, state) in self.theirs.iter() {
            assumed.set(*layer, Some(*state));
        }
        self.theirs = assumed;
    }

    /// What this node holds for it and it has no room for. A refusal for want of rights holds for ever.
    pub(super) fn without_room(&self) -> impl Iterator<Item = (&LayerHash, State)> {
        let refused = self.refused.iter().filter(|(_, until)| **until != Mono::NEVER);
        refused.filter_map(|(layer, _)| Some((layer, self.ours.get(layer)?)))
    }

    /// A state is sent to it.
    pub(super) fn note_supply(&mut self, layer: LayerHash, state: State) {
        self.unconfirmed.entry(layer).or_insert(self.theirs.get(&layer));
        self.theirs.set(layer, Some(state));
    }

    /// It has shown what it has of a layer.
    pub(super) fn note_shown(&mut self, layer: LayerHash, state: State) {
        if self.theirs.get(&layer).is_none_or(|believed| believed <= state) {
            self.unconfirmed.remove(&layer);
        }
        self.theirs.set(layer, Some(state));
    }

    /// One of the two has a new state of a layer: they differ from now on, unless they did already.
    pub(super) fn note_news(&mut self, layer: LayerHash, now: Mono) {
        if self.ours.get(&layer) == self.theirs.get(&layer) {
            self.differs_since.remove(&layer);
        }
        self.differs_since.entry(layer).or_insert(now);
    }
}
