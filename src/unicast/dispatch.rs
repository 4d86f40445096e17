//! What goes to one peer: a layer, a message as the router has to know it, and what became of it.

use tombolo_transports::{LinkId, PeerId};

use crate::layer::{DocumentName, LayerHash, LayerId};
use crate::router::{Class, RadioScope, Routed, Subject};
use crate::sync::frontier::State;

/// A layer that goes to one peer.
#[derive(Clone, Debug)]
pub struct SupplyRequest {
    /// The peer that receives it.
    pub peer: PeerId,
    /// How urgent it is for the router.
    pub class: Class,
    /// The layer to send.
    pub id: LayerId,
    /// The state that the peer holds, as far as it has shown one.
    pub held: Option<State>,
    /// A link that has carried it already without an answer.
    pub silent: Option<LinkId>,
}

impl SupplyRequest {
    /// Whether the layer lists who reads and writes its owner's documents.
    pub(super) fn is_audience(&self) -> bool {
        self.id.document.name.as_str() == DocumentName::AUDIENCE
    }
}

/// What a change of links means for radios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// A layer that a link was given may never have arrived: it is not to count as delivered.
    Undelivered {
        /// The peer that may lack it.
        peer: PeerId,
        /// The layer that was sent.
        layer: LayerHash,
        /// What the peer held before, as far as it has shown that.
        held: Option<State>,
    },
    /// No link leads to a peer any more.
    Gone(PeerId),
    /// A link leads to a peer again.
    Back(PeerId),
}

/// A message for one peer, as the router has to know it.
#[derive(Clone, Debug)]
pub struct Dispatch<'a> {
    /// The peer that receives it.
    pub peer: PeerId,
    /// How urgent it is.
    pub class: Class,
    /// What it is about.
    pub subject: Subject,
    /// Whether outsiders must not read it.
    pub confidential: bool,
    /// The radios that may carry it in place of a link.
    pub radios: RadioScope<'a>,
    /// A link that has carried it already without an answer.
    pub silent: Option<LinkId>,
    /// The link that it belongs to, as long as that may carry it.
    pub over: Option<LinkId>,
}

impl Dispatch<'_> {
    /// A confidential message that belongs to a session.
    pub fn new(peer: PeerId, class: Class, subject: Subject) -> Self {
        Dispatch {
            peer,
            class,
            subject,
            confidential: true,
            radios: RadioScope::None,
            silent: None,
            over: None,
        }
    }
}

/// What became of a message for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatched {
    /// It left over a link.
    Sent {
        /// The length of the message, bytes.
        bytes: usize,
        /// The decision, and what is to follow if no answer comes.
        routed: Routed,
    },
    /// The router gives it to this radio, whose room carries it.
    ForRadio {
        /// The radio that is to carry it.
        radio: LinkId,
        /// The decision, and what is to follow if no answer comes.
        routed: Routed,
    },
    /// No link may carry it.
    Stranded,
}
