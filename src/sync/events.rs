//! What goes into the engine, and what comes out.

use std::collections::BTreeSet;

use tombolo_transports::PeerId;

use super::frontier::{Frontier, State};
use super::message::Message;
use crate::layer::{LayerHash, Sequence};

/// An event that the engine must know.
#[derive(Debug)]
pub enum Input {
    /// The first link to a peer is up.
    PeerUp {
        /// The peer that this concerns.
        peer: PeerId,
        /// What this node has of what the peer may see.
        ours: Frontier,
    },
    /// The last link to a peer is gone.
    PeerDown {
        /// The peer that this concerns.
        peer: PeerId,
    },
    /// One of several links to a peer is gone, and what was sent over it may be lost.
    LinkLost {
        /// The peer that this concerns.
        peer: PeerId,
    },
    /// A peer has sent a layer that is held now, and is to know that at once.
    Acknowledge {
        /// The peer that sent it.
        peer: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
    },
    /// Rights of a peer changed.
    Rights {
        /// The peer that this concerns.
        peer: PeerId,
        /// What it may see from now on.
        ours: Frontier,
    },
    /// Rights of this node changed: what was refused may be taken now.
    RightsChanged,
    /// A layer has a new state here.
    Stored {
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state that it has now.
        state: State,
        /// The connected peers that may have it.
        readers: BTreeSet<PeerId>,
        /// The peer that sent it; none where this node wrote it.
        from: Option<PeerId>,
    },
    /// What this node holds, after layers may have gone.
    Held {
        /// The newest state of each layer that this node holds.
        held: Frontier,
    },
    /// This node no longer participates in a layer's document.
    Dropped {
        /// The hash that names the layer.
        layer: LayerHash,
    },
    /// A message of the engine's own kinds arrived. Envelopes and transfers are the node's.
    Received {
        /// The peer that sent it.
        peer: PeerId,
        /// The message itself, decoded.
        message: Message,
    },
    /// This node does not take a state that a peer sent.
    Refuse {
        /// The peer that sent it.
        peer: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The sequence of the state.
        sequence: Sequence,
        /// The reason code for the peer.
        reason: u8,
        /// Whether the reason holds for later states as well.
        lasting: bool,
    },
    /// A peer sent a state that can be taken only once another layer, its owner's audience, has arrived.
    TooEarly {
        /// The peer that sent it.
        peer: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// Its state, which the peer therefore holds.
        state: State,
    },
    /// A `Supply` was not sent: the peer does not have the layer's newest state after all.
    NotSupplied {
        /// The peer that this concerns.
        peer: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// What the peer holds of it.
        held: Option<State>,
    },
    /// A delta arrived whose base is not held here: the peer's view of this node is wrong.
    BaseMissing {
        /// The peer that sent it.
        peer: PeerId,
    },
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// An effect that the node carries out.
#[derive(Debug)]
pub enum Output {
    /// Send a message to a peer.
    Send {
        /// The peer that receives it.
        peer: PeerId,
        /// The message itself, decoded.
        message: Message,
    },
    /// Send a heartbeat, with the clock that only the node knows.
    Heartbeat {
        /// The peer that receives it.
        peer: PeerId,
        /// The fingerprint of what this node has and the peer may see.
        fingerprint: u64,
        /// By when the next one follows, seconds.
        next_by_s: u32,
    },
    /// Send a layer's newest state.
    Supply {
        /// The peer that receives it.
        peer: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// What the receiver holds of it, as far as known.
        held: Option<State>,
    },
}
