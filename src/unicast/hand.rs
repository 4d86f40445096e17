//! What peers are known to hold from bundles that were carried by hand: the frontier in the newest one of each, on disk.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::core::Core;
use crate::limits::FRONTIER_ENTRIES_MAX;
use crate::store::StoreWrite;
use crate::sync::frontier::{Frontier, NamedBuckets};
use crate::sync::message::Message;
use crate::unicast::Unicast;

/// The name of a record begins so; the peer's key in hex follows.
const RECORD: &str = "hand/";

/// The frontiers that bundles brought.
#[derive(Debug, Default)]
pub(super) struct HandReceipts(BTreeMap<PeerId, Frontier>);

impl Unicast {
    /// Takes from disk what bundles brought.
    pub fn load_receipts(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        let records = meta.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(RECORD)?, bytes)));
        let known = records.filter_map(|(hex, bytes)| {
            let key = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?;
            Some((PeerId(key.try_into().ok()?), read(bytes)))
        });
        self.receipts = HandReceipts(known.collect());
    }

    /// What a peer is known to hold: by its own report over a link, else by the newest bundle of it.
    pub fn known_frontier(&self, peer: &PeerId) -> Frontier {
        let by_link = self.engine.frontier_of(peer).cloned();
        by_link.or_else(|| self.receipts.0.get(peer).cloned()).unwrap_or_default()
    }

    /// Notes the frontier of a bundle, durably.
    pub fn note_receipt(&mut self, core: &mut Core, peer: PeerId, frontier: Frontier) {
        let name = format!("{RECORD}{}", data_encoding::HEXLOWER.encode(peer.as_bytes()));
        core.gate.write(StoreWrite::PutMeta(name.into(), record(&frontier)));
        self.receipts.0.insert(peer, frontier);
    }
}

/// Messages `frontier`, each behind its length.
fn record(frontier: &Frontier) -> Vec<u8> {
    let states: Vec<_> = frontier.iter().map(|(layer, state)| (*layer, *state)).collect();
    let messages = states.chunks(FRONTIER_ENTRIES_MAX).map(|states| {
        let bytes = Message::Frontier { buckets: NamedBuckets::none(), states: states.to_vec() }.encode();
        let length = u32::try_from(bytes.len()).expect("a frontier is short").to_be_bytes();
        [&length[..], &bytes].concat()
    });
    messages.collect::<Vec<_>>().concat()
}

/// What does not read is not known: the peer is sent more than it lacks.
fn read(mut bytes: &[u8]) -> Frontier {
    let mut frontier = Frontier::default();
    while let Some((length, after)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((message, after)) = after.split_at_checked(length) else { break };
        bytes = after;
        if let Ok(Message::Frontier { states, .. }) = Message::decode(message) {
            states.into_iter().for_each(|(layer, state)| frontier.set(layer, Some(state)));
        }
    }
    frontier
}
