//! What this node holds of one owner's documents on a channel: the newest state of each layer, and the latest changes,
//! so that an older fingerprint of its own is recognised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::layer::LayerHash;
use crate::sync::broadcast::layer::ChannelLayer;
use crate::sync::broadcast::listener::ChannelListener;
use crate::sync::broadcast::message::{ENTRIES_MAX, Fingerprint, FrontierEntry, FrontierMessage, short_hash};
use crate::sync::frontier::{Frontier, State};
use crate::time::Mono;

/// Changes that are remembered. A fingerprint from before them is not recognised.
const PAST_MAX: usize = 32;

/// What a listener's frontier message reports, with short names resolved.
pub(super) struct FrontierReport {
    pub(super) theirs: Frontier,
    /// Short hashes of layers that are not known here.
    pub(super) unseen: BTreeSet<u16>,
    /// Whether layers that are not named are not held.
    pub(super) complete: bool,
    /// Whether the sender only observes the owner.
    pub(super) observes: bool,
}

#[derive(Debug, Default)]
pub(super) struct Inventory {
    frontier: Frontier,
    pub(super) layers: BTreeMap<LayerHash, ChannelLayer>,
    /// The state of one layer before each change, newest last.
    past: VecDeque<(LayerHash, Option<State>)>,
    /// Short hashes are not enough to name layers here: others hold more of them.
    is_ambiguous: bool,
}

impl Inventory {
    pub(super) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Replaces the newest state of a layer.
    pub(super) fn change(&mut self, layer: LayerHash, state: Option<State>) {
        self.past.push_back((layer, self.frontier.get(&layer)));
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
        self.frontier.set(layer, state);
    }

    /// The frontier held now or a short while ago that has this fingerprint.
    pub(super) fn recognise(&self, fingerprint: Fingerprint) -> Option<Frontier> {
        let mut frontier = self.frontier.clone();
        let mut past = self.past.iter().rev();
        loop {
            if fingerprint.is_of(&frontier) {
                return Some(frontier);
            }
            let (layer, before) = past.next()?;
            frontier.set(*layer, *before);
        }
    }

    /// The present frontier, if it has this fingerprint: as it is, or without this node's own states that the
    /// listener does not have.
    pub(super) fn recognise_present(
        &self,
        fingerprint: Fingerprint,
        listener: &ChannelListener,
    ) -> Option<Frontier> {
        let mut without = self.frontier.clone();
        for (layer, _) in self.layers.iter().filter(|(_, held)| held.is_ours) {
            without.set(*layer, listener.state(layer));
        }
        [self.frontier.clone(), without].into_iter().find(|frontier| fingerprint.is_of(frontier))
    }

    /// Reads a frontier message. Where another node names a layer by a hash that begins as one held here, short
    /// hashes no longer distinguish the two.
    pub(super) fn read(&mut self, message: &FrontierMessage) -> FrontierReport {
        self.is_ambiguous |= self.is_mistakable(message);
        let mut theirs = Frontier::default();
        let mut unseen = BTreeSet::new();
        for entry in &message.entries {
            match entry {
                FrontierEntry::Long { layer, state } => theirs.set(*layer, Some(*state)),
                FrontierEntry::Short { layer, sequence, root } => match self.named(*layer) {
                    Some((hash, held)) => theirs.set(*hash, Some(held.resolve(*sequence, *root))),
                    None => {
                        unseen.insert(*layer);
                    }
                },
            }
        }
        FrontierReport { theirs, unseen, complete: message.complete, observes: message.observes() }
    }

    fn is_mistakable(&self, message: &FrontierMessage) -> bool {
        message.entries.iter().any(|entry| match entry {
            FrontierEntry::Long { layer, .. } => {
                self.layers.keys().any(|ours| ours != layer && short_hash(ours) == short_hash(layer))
            }
            FrontierEntry::Short { .. } => false,
        })
    }

    /// The only layer with this short hash.
    fn named(&self, short: u16) -> Option<(&LayerHash, &ChannelLayer)> {
        let mut named = self.layers.iter().filter(|(hash, _)| short_hash(hash) == short);
        match (named.next(), named.next()) {
            (only, None) => only,
            _ => None,
        }
    }

    /// The layers whose newest state the sender of a report lacks.
    pub(super) fn lacked_by(&self, report: &FrontierReport) -> Vec<LayerHash> {
        let lacks = |layer: &LayerHash, state: &State| match report.theirs.get(layer) {
            Some(theirs) => theirs < *state,
            None => report.complete,
        };
        self.frontier.iter().filter(|(layer, state)| lacks(layer, state)).map(|(layer, _)| *layer).collect()
    }

    /// Puts off what others wrote and a listener lacks, where it is due.
    pub(super) fn postpone(&mut self, now: Mono, until: Mono, listener: &ChannelListener) {
        let relayed = self.layers.iter_mut().filter(|(_, held)| !held.is_ours && held.due <= now);
        for (layer, held) in relayed {
            if listener.state(layer) < self.frontier.get(layer) {
                held.due = until;
            }
        }
    }

    /// Whether a report shows something that this node lacks.
    pub(super) fn lacks_of(&self, report: &FrontierReport) -> bool {
        let newer = |(layer, state): (&LayerHash, &State)| self.frontier.is_behind(layer, *state);
        !report.unseen.is_empty() || report.theirs.iter().any(newer)
    }

    /// The frontier to send, the most valuable layers first where not all can be named.
    pub(super) fn message(&self, observes: bool) -> FrontierMessage {
        let rank = |layer: &LayerHash| self.layers.get(layer).map_or(u8::MAX, |held| held.rank);
        let mut layers: Vec<(u8, LayerHash, State)> =
            self.frontier.iter().map(|(layer, state)| (rank(layer), *layer, *state)).collect();
        layers.sort_by_key(|(rank, layer, _)| (*rank, *layer));
        let complete = !observes && layers.len() <= ENTRIES_MAX;
        layers.truncate(ENTRIES_MAX);
        let short_hashes: BTreeSet<u16> = layers.iter().map(|(_, layer, _)| short_hash(layer)).collect();
        let ambiguous = self.is_ambiguous || short_hashes.len() < layers.len();
        let entry = |(_, layer, state): &(u8, LayerHash, State)| match ambiguous {
            true => FrontierEntry::Long { layer: *layer, state: *state },
            false => FrontierEntry::short(layer, *state),
        };
        FrontierMessage { complete, entries: layers.iter().map(entry).collect() }
    }
}
