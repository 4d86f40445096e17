//! What a node reports to its broadcast engine.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::sync::broadcast::message::{FrontierMessage, Heartbeat};
use crate::sync::broadcast::timing::Timing;
use crate::sync::frontier::State;
use crate::time::Mono;

/// An event that the engine must know.
#[derive(Debug)]
pub enum Input {
    /// This node participates in a channel, or what it knows of the channel has changed.
    Channel {
        /// The owner of the audience.
        owner: PeerId,
        /// How frames name it; then how they did before its key was last renewed.
        aliases: Vec<[u8; 2]>,
        /// What this node holds of the owner's documents, as far as it may go over this radio.
        ours: BTreeMap<LayerHash, LayerOffer>,
        /// The known members, without this node.
        members: Vec<PeerId>,
        /// How many readers it has, known or not.
        readers: usize,
        /// Whether this node only observes the owner.
        observes: bool,
    },
    /// This node no longer participates in a channel.
    ChannelGone {
        /// The owner of the audience.
        owner: PeerId,
    },
    /// A layer of a channel has a new state here.
    Stored {
        /// The owner of the document.
        owner: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state that it has now.
        state: State,
        /// Older states that a delta may start from here, oldest first.
        bases: Vec<State>,
        /// Its rank among what is to be sent, 0 first.
        rank: u8,
        /// The peer that sent it on this radio; none where it arrived otherwise.
        from: Option<PeerId>,
        /// Whether this node is its author.
        ours: bool,
        /// Whether it brings only what the next state brings as well.
        is_routine: bool,
    },
    /// A peer and this node have joined by this radio. Each knows that the other is present, and nothing else.
    Joined {
        /// The peer that this concerns.
        peer: PeerId,
        /// Whether this node asked to join: then it sends first.
        asked: bool,
    },
    /// A frame of a member could be read: the member is present.
    Present {
        /// The member that sent it.
        peer: PeerId,
    },
    /// A heartbeat of a listener arrived.
    Heartbeat {
        /// The peer that sent it.
        from: PeerId,
        /// The message itself, decoded.
        heartbeat: Heartbeat,
    },
    /// A frontier of a listener arrived.
    Frontier {
        /// The owner of the documents.
        owner: PeerId,
        /// The peer that sent it.
        from: PeerId,
        /// The message itself, decoded.
        frontier: FrontierMessage,
    },
    /// A node that is unknown here sent its frontier. It cannot be read here, but an answer will follow.
    Asking {
        /// How its frame named the channel.
        alias: [u8; 2],
    },
    /// A listener received a state over another link.
    DeliveredElsewhere {
        /// The owner of the document.
        owner: PeerId,
        /// The listener that received it.
        peer: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state in question.
        state: State,
    },
    /// What a listener was to receive over another link may not have arrived.
    Undelivered {
        /// The owner of the document.
        owner: PeerId,
        /// The listener that may lack it.
        peer: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state that it held before, as far as known.
        held: Option<State>,
    },
    /// No link leads to a listener any more: it is greeted then, unless a link is back before.
    LinkGone {
        /// The peer that this concerns.
        peer: PeerId,
        /// When it is greeted with a heartbeat.
        greet_at: Mono,
    },
    /// A link leads to a listener.
    LinkBack {
        /// The peer that this concerns.
        peer: PeerId,
    },
    /// A node sent on this radio what this node holds already.
    Overheard {
        /// The owner of the document.
        owner: PeerId,
        /// The peer that sent it.
        from: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state in question.
        state: State,
    },
    /// A state arrived on this radio that is not taken, and will not be as rights are.
    Declined {
        /// The owner of the document.
        owner: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state in question.
        state: State,
    },
    /// A layer of this node is not reported until it is stored again: listeners have a state of it that is missing here.
    Withheld {
        /// The owner of the document.
        owner: PeerId,
        /// The hash that names the layer.
        layer: LayerHash,
    },
    /// A delta arrived whose base is not held here.
    BaseMissing {
        /// The owner of the documents.
        owner: PeerId,
    },
    /// A delta arrived from a base so old that its author seems not to know what this node holds.
    FarBase {
        /// The owner of the documents.
        owner: PeerId,
    },
    /// The timing of the radio changed.
    Timing(Timing),
}

/// A layer that this node can send on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerOffer {
    /// Its newest state here.
    pub state: State,
    /// Older states that a delta may start from here, oldest first.
    pub bases: Vec<State>,
    /// Its rank among what is to be sent, 0 first.
    pub rank: u8,
}
