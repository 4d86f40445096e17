//! What the engine offers to transmit.

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::sync::broadcast::message::{FrontierMessage, Heartbeat};
use crate::sync::frontier::State;

/// A candidate to transmit: something that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmission {
    /// The digest of what this node holds, on its own channel.
    Heartbeat(Heartbeat),
    /// The states that this node holds of an owner's documents.
    Frontier {
        /// The owner of the documents.
        owner: PeerId,
        /// The states that are held.
        frontier: FrontierMessage,
        /// The present listeners that wait for it. When it is `done`, those that can read what was sent.
        to: Vec<PeerId>,
    },
    /// A layer's newest state.
    Supply {
        /// The owner of the document.
        owner: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state of it that all targets hold; none: the whole layer is due.
        base: Option<State>,
        /// The listeners that lack it.
        targets: Vec<PeerId>,
        /// Its rank, 0 first.
        rank: u8,
    },
    /// A state on the way to the newest, sent in place of a supply. It is never due by itself, only `done`.
    Intermediate {
        /// The owner of the document.
        owner: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state that the listeners have after it.
        state: State,
        /// The listeners that lacked it.
        targets: Vec<PeerId>,
    },
}
