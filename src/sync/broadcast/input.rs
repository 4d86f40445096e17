//! What a node tells its broadcast engine.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::sync::broadcast::Timing;
use crate::sync::broadcast::message::{FrontierMessage, Heartbeat};
use crate::sync::frontier::State;

/// What the engine must know. Times are monotonic milliseconds.
#[derive(Debug)]
pub enum Input {
    /// We take part in a channel, or what we know of it has changed.
    Channel {
        /// Whose audience it is.
        owner: PeerId,
        /// How frames name it; then how they did before its key was last renewed.
        aliases: Vec<[u8; 2]>,
        /// What we hold of the owner's documents, as far as it may go over this radio.
        ours: BTreeMap<LayerHash, LayerOffer>,
        /// Its members that we know, without us.
        members: Vec<PeerId>,
        /// How many readers it has, whether we know them or not.
        readers: usize,
        /// Whether we only observe the owner.
        observes: bool,
    },
    /// We no longer take part.
    ChannelGone {
        /// Whose audience it was.
        owner: PeerId,
    },
    /// A layer of a channel has a new state here.
    Stored {
        /// Whose document.
        owner: PeerId,
        /// Which layer.
        layer: LayerHash,
        /// Its state.
        state: State,
        /// Older states that a delta may start from here, oldest first.
        bases: Vec<State>,
        /// Its rank among what is to be sent, 0 first.
        rank: u8,
        /// Who sent it on this radio; none where it came otherwise.
        from: Option<PeerId>,
        /// Whether we are its author.
        ours: bool,
    },
    /// We have joined somebody by this radio, or were joined: both know that the other is there, and nothing else.
    Joined {
        /// Who.
        peer: PeerId,
        /// Whether we asked: then we speak first.
        asked: bool,
    },
    /// Something could be read that a member sent: it is there.
    Present {
        /// Who.
        peer: PeerId,
    },
    /// A heartbeat came.
    Heartbeat {
        /// From whom.
        from: PeerId,
        /// What it said.
        heartbeat: Heartbeat,
    },
    /// A frontier came.
    Frontier {
        /// Of whose documents.
        owner: PeerId,
        /// From whom.
        from: PeerId,
        /// What it said.
        frontier: FrontierMessage,
    },
    /// Somebody whom we do not know said what it holds: it is not ours to read, but an answer will follow.
    Asking {
        /// How its frame named the channel.
        alias: [u8; 2],
    },
    /// A listener got a state over another link.
    DeliveredElsewhere {
        /// Whose document.
        owner: PeerId,
        /// Who.
        peer: PeerId,
        /// Which layer.
        layer: LayerHash,
        /// Which state.
        state: State,
    },
    /// Somebody sent on this radio what we hold already.
    Overheard {
        /// Whose document.
        owner: PeerId,
        /// Who.
        from: PeerId,
        /// Which layer.
        layer: LayerHash,
        /// Which state.
        state: State,
    },
    /// A state came on this radio that we do not take, and will not as rights are.
    Declined {
        /// Whose document.
        owner: PeerId,
        /// Which layer.
        layer: LayerHash,
        /// Which state.
        state: State,
    },
    /// A layer of our own is not to be spoken of until it is stored again: listeners have a state of it that we lack.
    Withheld {
        /// Whose document.
        owner: PeerId,
        /// Which layer.
        layer: LayerHash,
    },
    /// A delta came whose base we do not hold.
    BaseMissing {
        /// Of whose documents.
        owner: PeerId,
    },
    /// A delta came from a base so old that its author seems not to know what we hold.
    FarBase {
        /// Of whose documents.
        owner: PeerId,
    },
    /// The radio's pace changed.
    Timing(Timing),
}

/// How a layer stands here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerOffer {
    /// Its state.
    pub state: State,
    /// Older states that a delta may start from here, oldest first.
    pub bases: Vec<State>,
    /// Its rank among what is to be sent, 0 first.
    pub rank: u8,
}
