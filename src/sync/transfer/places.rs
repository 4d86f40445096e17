//! Which large layers are fetched: places are shared by the peers that offer them, and so is the memory of what waits for its rest.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use super::{Transfer, Transfers};
use crate::layer::{LayerHash, LayerId};
use crate::limits::{TRANSFER_MEMORY_MAX, TRANSFER_QUIET, TRANSFERS_MAX};
use crate::time::Mono;

/// An offer of a large layer that found no place.
#[derive(Debug)]
pub(super) struct WaitingOffer {
    pub(super) layer: LayerId,
    pub(super) from: PeerId,
    pub(super) since: Mono,
}

/// How a large layer stands, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferStanding {
    /// The layer in question.
    pub layer: LayerId,
    /// The peers that parts are asked of, or that offered it.
    pub from: Vec<PeerId>,
    /// Since when nothing of it has come.
    pub quiet_since: Mono,
    /// Whether it comes, or waits for a place.
    pub place: TransferPlace,
}

/// Whether a large layer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferPlace {
    /// It is asked for.
    Coming {
        /// Parts that are here.
        parts_here: usize,
        /// Parts that are known to lack; more may be found.
        parts_due: usize,
    },
    /// All places are taken.
    Waits {
        /// The peer that holds most of them.
        holder: PeerId,
        /// How many it holds.
        held: usize,
    },
}

impl Transfers {
    /// Whether there is a place for a layer that this peer offers. A transfer that no peer brings gives way first; then the one that
    /// moved least recently of the peer that holds most places, if that holds more than the newcomer or stands still.
    pub(super) fn make_room(&mut self, newcomer: &PeerId, now: Mono) -> bool {
        if self.under_way.len() < TRANSFERS_MAX {
            return true;
        }
        let Some((greediest, most)) = self.greediest() else { return true };
        let own = self.places_of(newcomer);
        let slowest = |is_meant: &dyn Fn(&Transfer) -> bool| {
            let meant = self.under_way.iter().filter(|(_, transfer)| is_meant(transfer));
            meant.min_by_key(|(_, transfer)| transfer.moved_at).map(|(layer, _)| *layer)
        };
        let is_quiet = |transfer: &Transfer| now >= transfer.moved_at + TRANSFER_QUIET;
        let gives_way = slowest(&|transfer| transfer.sources.is_empty())
            .or_else(|| slowest(&|transfer| most > own + 1 && transfer.offered_by == greediest))
            .or_else(|| slowest(&|transfer| transfer.offered_by == *newcomer && is_quiet(transfer)))
            .or_else(|| slowest(&|transfer| transfer.offered_by == greediest && is_quiet(transfer)));
        gives_way.is_some_and(|layer| self.under_way.remove(&layer).is_some())
    }

    pub(super) fn places_of(&self, peer: &PeerId) -> usize {
        self.under_way.values().filter(|transfer| transfer.offered_by == *peer).count()
    }

    /// The peer that holds most places, and how many.
    fn greediest(&self) -> Option<(PeerId, usize)> {
        self.most_of(|_| 1)
    }

    /// The peer whose transfers have most of something, and how much.
    fn most_of(&self, amount: impl Fn(&Transfer) -> usize) -> Option<(PeerId, usize)> {
        let mut held: BTreeMap<PeerId, usize> = BTreeMap::new();
        for transfer in self.under_way.values() {
            *held.entry(transfer.offered_by).or_default() += amount(transfer);
        }
        held.into_iter().max_by_key(|(_, held)| *held)
    }

    /// Remembers an offer that found no place.
    pub(super) fn wait(&mut self, layer: LayerHash, offer: WaitingOffer) {
        let since = self.waiting.get(&layer).map_or(offer.since, |known| known.since);
        if self.waiting.len() < TRANSFERS_MAX || self.waiting.contains_key(&layer) {
            self.waiting.insert(layer, WaitingOffer { since, ..offer });
        }
    }

    /// While what waits takes too much memory, the peer that has most of it loses the transfer that moved least recently.
    pub(super) fn stay_within_limit(&mut self) {
        let memory = |transfer: &Transfer| transfer.parts_memory;
        while self.under_way.values().map(memory).sum::<usize>() > TRANSFER_MEMORY_MAX {
            let Some((most, _)) = self.most_of(memory) else { return };
            let of_most = self.under_way.iter().filter(|(_, t)| t.offered_by == most && memory(t) > 0);
            let oldest = of_most.min_by_key(|(_, transfer)| transfer.moved_at).map(|(layer, _)| *layer);
            let Some(oldest) = oldest else { return };
            self.under_way.remove(&oldest);
        }
    }

    /// The large layers that come or wait.
    pub fn standing(&self) -> Vec<TransferStanding> {
        let coming = self.under_way.values().map(|transfer| TransferStanding {
            layer: transfer.signed.head.layer.clone(),
            from: transfer.sources.iter().copied().collect(),
            quiet_since: transfer.moved_at,
            place: TransferPlace::Coming {
                parts_here: transfer.parts.len(),
                parts_due: transfer.parts_due.len(),
            },
        });
        let holder = self.greediest();
        let waiting = self.waiting.values().filter_map(|offer| {
            let (holder, held) = holder?;
            let (layer, from) = (offer.layer.clone(), vec![offer.from]);
            let place = TransferPlace::Waits { holder, held };
            Some(TransferStanding { layer, from, quiet_since: offer.since, place })
        });
        coming.chain(waiting).collect()
    }
}
