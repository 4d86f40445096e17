//! What one commit changes, as the rest of the node hands it to the store.

use std::sync::Arc;

use tombolo_transports::PeerId;

use crate::commands::RecordChange;
use crate::federation::Peer;
use crate::federation::invite::{IncomingInvite, OutgoingInvite, TokenHash};
use crate::layer::{AllEntries, Entry, ForkEvidence, KeyPath, LayerId, Sequence, SignedHead};
use crate::store::{CalledState, CallsRecord, KeptState};

/// One change of what is stored.
#[derive(Clone, Debug)]
pub enum StoreWrite {
    /// Puts the record of a peer.
    PutPeer(Peer),
    /// No longer a peer.
    RemovePeer(PeerId),
    /// An invite that this node gave out.
    PutOutgoing(OutgoingInvite),
    /// An invite that is over.
    RemoveOutgoing(TokenHash),
    /// An invite that this node redeemed.
    PutIncoming(IncomingInvite),
    /// A redeemed invite that came to nothing.
    RemoveIncoming(PeerId),
    /// A small named record.
    PutMeta(std::borrow::Cow<'static, str>, Vec<u8>),
    /// A new state of a layer.
    PutLayer(Box<LayerWrite>),
    /// A layer of which nothing is kept.
    RemoveLayer(LayerId),
    /// Two states with one sequence.
    PutFork(Box<ForkEvidence>),
    /// The JSON calls of a sender that were accepted.
    PutCalls(CallsRecord),
    /// A sender whose calls no longer need to be known.
    RemoveCalls(PeerId),
    /// A state that came by call.
    PutCalledState(CalledState),
    /// The state of a peer that was removed.
    RemoveCalledState(PeerId),
    /// A command that was sent or taken.
    Command(RecordChange),
}

/// A new state of a layer, as what changes on disk.
#[derive(Clone, Debug)]
pub struct LayerWrite {
    /// The head of the new state.
    pub signed: SignedHead,
    /// Of a snapshot: its new content, canonical CBOR.
    pub snapshot: Option<Vec<u8>>,
    /// Of a map: entries put and dropped, with the sequence at which this node saw them change.
    pub entries: Vec<(KeyPath, Option<Arc<Entry>>)>,
    /// Of a map, where that is large and most of it is put: all that it has now, which is written in the place of what stands there.
    pub all: Option<Arc<AllEntries>>,
    /// Of a snapshot: older states now kept as bases; each is written once.
    pub kept: Option<KeptState>,
    /// Of a snapshot: sequences of older states no longer kept.
    pub forgotten: Vec<Sequence>,
    /// Of a map: keys dropped long ago of which nothing needs to be known any more.
    pub forgotten_keys: Vec<KeyPath>,
    /// Of a map: the oldest base that a peer may still name. Those that the state before had from there on stay, and this state is
    /// one more.
    pub bases_from: Option<Sequence>,
    /// Whether it is a map of this node: then its states are remembered, to distinguish them from those of a restored copy.
    pub is_own_map: bool,
}

impl LayerWrite {
    /// The layer that is written.
    pub fn layer(&self) -> &LayerId {
        &self.signed.head.layer
    }
}
