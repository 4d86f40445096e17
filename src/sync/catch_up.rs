//! What this node lacks and which peers have it: asked for from one neighbour at a time, again when it does not arrive,
//! and not at all while it is refused.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

use crate::layer::{LayerHash, Sequence};
use crate::limits::{
    FRONTIER_ENTRIES_MAX, NOTICE_DELAY, REFUSAL_HOLD, WANT_RETRY, WANT_TRIES_MAX, WANTS_MAX,
};
use crate::sync::frontier::State;
use crate::sync::message::Message;
use crate::sync::{Engine, Output, PeerSync};
use crate::time::{Millis, Mono};

/// Wants under way to one neighbour at a time; the rest wait their turn.
const WANTS_IN_FLIGHT_MAX: usize = 64;
/// Times a layer is asked for as a delta; after that whole.
const DELTA_TRIES_MAX: u32 = 2;
/// The one reason of a refusal that ends by itself (`envelope/FORMAT.md`).
const REASON_QUOTA: u8 = 5;

/// A layer that some neighbour has in a newer state than this node.
#[derive(Debug)]
pub(super) struct Want {
    /// When it is asked for next.
    pub(super) at: Mono,
    pub(super) tries: u32,
    /// The peer that was asked last.
    pub(super) asked: Option<PeerId>,
    /// The peer whose frontier showed it.
    pub(super) shown_by: PeerId,
}

impl Engine {
    /// Notes what a peer has and this node lacks, to be asked for after a wait, in which its author may push it.
    pub(super) fn want_from(&mut self, now: Mono, peer: PeerId, wait: Millis) {
        let Some(sync) = self.peers.get(&peer) else { return };
        let mut shown = self.wants.values().filter(|want| want.shown_by == peer).count();
        for (layer, state) in sync.theirs.iter() {
            let lacking = self.held.get(layer).is_none_or(|held| held < *state);
            if !lacking || self.is_refusing(now, layer, *state) || self.wants.contains_key(layer) {
                continue;
            }
            // Counted per peer, so that one that invents layers does not keep out the others' real ones.
            shown += 1;
            if shown > WANTS_MAX {
                break;
            }
            self.wants.insert(*layer, Want { at: now + wait, tries: 0, asked: None, shown_by: peer });
        }
        self.send_refusals(now, peer);
    }

    /// Sends a peer word of what it has and this node refuses, once: another peer may have been asked for it.
    fn send_refusals(&mut self, now: Mono, peer: PeerId) {
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        let mut refused = Vec::new();
        for (layer, refusal) in &self.refusing {
            let shown = sync.theirs.get(layer).filter(|state| refusal.covers(now, *state));
            if shown.is_some() && refused.len() < FRONTIER_ENTRIES_MAX && sync.refusals_sent.insert(*layer) {
                refused.push((*layer, refusal.sequence, refusal.reason));
            }
        }
        if !refused.is_empty() {
            self.send(peer, Message::Refused(refused));
        }
    }

    fn is_refusing(&self, now: Mono, layer: &LayerHash, state: State) -> bool {
        self.refusing.get(layer).is_some_and(|refusal| refusal.covers(now, state))
    }

    pub(super) fn received_want(&mut self, peer: PeerId, wants: Vec<(LayerHash, Option<State>)>) {
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        let mut named = BTreeSet::new();
        for (layer, held) in wants {
            // It wants what it had refused, and each layer once.
            sync.refused.remove(&layer);
            let Some(state) = sync.ours.get(&layer).filter(|_| named.insert(layer)) else { continue };
            if held.is_some_and(|held| held >= state) {
                sync.theirs.set(layer, held);
                continue;
            }
            // It knows best what it holds.
            sync.theirs.set(layer, held);
            sync.unconfirmed.remove(&layer);
            sync.note_supply(layer, state);
            self.outputs.push_back(Output::Supply { peer, layer, held });
        }
    }

    /// Notes that a layer goes to a connected peer ahead of what needs it there, if the peer has not shown it from this sequence on.
    /// Returns what the peer holds of it; `None` if there is nothing to send.
    pub fn supply_ahead(
        &mut self,
        peer: &PeerId,
        layer: LayerHash,
        needed: Sequence,
    ) -> Option<Option<State>> {
        let sync = self.peers.get_mut(peer)?;
        let state = sync.ours.get(&layer).filter(|_| !sync.refused.contains_key(&layer))?;
        let held = sync.theirs.get(&layer);
        if held.is_some_and(|held| held.sequence >= needed || held >= state) {
            return None;
        }
        sync.note_supply(layer, state);
        Some(held)
    }

    pub(super) fn received_refusal(&mut self, now: Mono, peer: PeerId, list: Vec<(LayerHash, Sequence, u8)>) {
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        for (layer, _, reason) in list {
            // It asks for the layer itself when its reason is gone.
            let until = if reason == REASON_QUOTA { now + REFUSAL_HOLD } else { Mono::NEVER };
            // Only a layer that is held here can be refused, so this list stays as short as the own frontier.
            if sync.ours.get(&layer).is_some() {
                sync.theirs.set(layer, None);
                sync.unconfirmed.remove(&layer);
                sync.refused.insert(layer, until);
            }
        }
    }

    /// The newest state of a layer that any connected peer reports.
    pub fn newest_known(&self, layer: &LayerHash) -> Option<State> {
        self.peers.values().filter_map(|sync| sync.theirs.get(layer)).max()
    }

    pub(super) fn send_wants(&mut self, now: Mono) {
        let due: Vec<_> =
            self.wants.iter().filter(|(_, want)| want.at <= now).map(|(layer, _)| *layer).collect();
        if due.is_empty() {
            return;
        }
        let mut in_flight: BTreeMap<PeerId, usize> = BTreeMap::new();
        for want in self.wants.values().filter(|want| want.at > now) {
            if let Some(peer) = want.asked {
                *in_flight.entry(peer).or_default() += 1;
            }
        }
        let mut asks: BTreeMap<PeerId, Vec<(LayerHash, Option<State>)>> = BTreeMap::new();
        for layer in due {
            let Some(want) = self.wants.get(&layer) else { continue };
            let Some(peer) = self.supplier(now, &layer, want.asked) else {
                self.wants.remove(&layer);
                continue;
            };
            let count = in_flight.entry(peer).or_default();
            // What does not come as a delta is asked for whole: the two ends may not speak one codec.
            let deltas_fail = self.wants.get(&layer).is_some_and(|want| want.tries >= DELTA_TRIES_MAX);
            let held = self.held.get(&layer).filter(|_| !deltas_fail);
            let Some(want) = self.wants.get_mut(&layer) else { continue };
            if *count >= WANTS_IN_FLIGHT_MAX {
                want.at = now + NOTICE_DELAY;
                continue;
            }
            *count += 1;
            want.tries += 1;
            want.asked = Some(peer);
            want.at = now + WANT_RETRY * (1 << want.tries.min(6));
            if want.tries > WANT_TRIES_MAX {
                self.wants.remove(&layer);
                continue;
            }
            asks.entry(peer).or_default().push((layer, held));
        }
        for (peer, wants) in asks {
            self.send(peer, Message::Want(wants));
        }
    }

    /// The peer to ask for a layer: another than last time where there is one, since a peer may claim what it does
    /// not have; then the one with the newest state.
    fn supplier(&self, now: Mono, layer: &LayerHash, last: Option<PeerId>) -> Option<PeerId> {
        let held = self.held.get(layer);
        let has = |(peer, sync): (&PeerId, &PeerSync)| {
            let state = sync.theirs.get(layer)?;
            let newer = held.is_none_or(|held| held < state) && !self.is_refusing(now, layer, state);
            newer.then_some((Some(*peer) != last, state, *peer))
        };
        self.peers.iter().filter_map(has).max().map(|(_, _, peer)| peer)
    }
}
