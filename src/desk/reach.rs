//! How a peer is reached: over a link of its own, or by the pairwise channel of a radio that hears it.

use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::PairMessage;
use crate::commands::{OFFER_PACE, OFFER_PACE_ON_AIR, OUTPUT_BYTES_MAX, OUTPUT_BYTES_ON_AIR_MAX, OfferPace};
use crate::desk::CommandDesk;
use crate::router::{Class, RadioScope, Request, Routed, Subject};
use crate::sync::message::Message;
use crate::unicast::{Dispatch, Dispatched, route_time};

/// How a peer is reached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Over a link of its own.
    Link,
    /// Over the pairwise channel of this radio.
    Radio(LinkId),
}

impl Way {
    pub(super) fn pace(self) -> OfferPace {
        match self {
            Way::Link => OFFER_PACE,
            Way::Radio(_) => OFFER_PACE_ON_AIR,
        }
    }

    pub(super) fn output_bytes_max(self) -> usize {
        match self {
            Way::Link => OUTPUT_BYTES_MAX,
            Way::Radio(_) => OUTPUT_BYTES_ON_AIR_MAX,
        }
    }
}

/// A message of this room, as links and radios carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandMessage {
    Command(Vec<u8>),
    Answer(Vec<u8>),
    Notice(Vec<u8>),
    NoticeHeard(Vec<u8>),
}

impl CommandMessage {
    fn class(&self) -> Class {
        match self {
            CommandMessage::Command(_) | CommandMessage::Answer(_) => Class::Command,
            CommandMessage::Notice(_) | CommandMessage::NoticeHeard(_) => Class::Rights,
        }
    }

    fn for_link(&self) -> Message {
        match self {
            CommandMessage::Command(bytes) => Message::Command(bytes.clone()),
            CommandMessage::Answer(bytes) => Message::Answer(bytes.clone()),
            CommandMessage::Notice(bytes) => Message::Notice(bytes.clone()),
            CommandMessage::NoticeHeard(hash) => Message::NoticeHeard(hash.clone()),
        }
    }

    fn for_radio(&self) -> PairMessage<'_> {
        match self {
            CommandMessage::Command(bytes) => PairMessage::Command(bytes),
            CommandMessage::Answer(bytes) => PairMessage::Answer(bytes),
            CommandMessage::Notice(bytes) => PairMessage::Notice(bytes),
            CommandMessage::NoticeHeard(hash) => PairMessage::NoticeHeard(hash),
        }
    }
}

impl CommandDesk<'_> {
    /// How a peer is best reached now, by the router's choice among its links and the radios that hear it. `silent` is a link
    /// over which no answer has come.
    pub(super) fn way_to(&mut self, peer: &PeerId, silent: Option<LinkId>) -> Option<Way> {
        let radios = self.broadcast.pair_radios(self.core, peer);
        // The size of most commands; the ledger decides by the size of what is sent.
        let request = Request::new(Class::Command, 128).after_silence(silent);
        let (router, now) = (self.unicast.router(), route_time(self.core));
        let decision = router.consider(peer, &Subject::Notice, request, RadioScope::These(&radios), now);
        let chosen = decision.chosen()?;
        Some(match self.unicast.link(chosen) {
            Some(_) => Way::Link,
            None => Way::Radio(chosen),
        })
    }

    /// Sends a message the way that was found. Returns the decision, if a link or radio has taken it.
    pub(super) fn send(
        &mut self,
        peer: &PeerId,
        way: Way,
        subject: Subject,
        silent: Option<LinkId>,
        message: &CommandMessage,
    ) -> Option<Routed> {
        let radios = match (way, message) {
            // A radio stands beside the link: it is the second one if the link stays silent.
            (Way::Link, CommandMessage::Command(_)) => self.broadcast.pair_radios(self.core, peer),
            // An answer for a link is too long for the air; the others are sent again anyway.
            (
                Way::Link,
                CommandMessage::Answer(_) | CommandMessage::Notice(_) | CommandMessage::NoticeHeard(_),
            ) => Vec::new(),
            (Way::Radio(radio), _) => vec![radio],
        };
        let radios = RadioScope::These(&radios);
        let dispatch = Dispatch { radios, silent, ..Dispatch::new(*peer, message.class(), subject) };
        match self.unicast.send(self.core, dispatch, &message.for_link()) {
            Dispatched::Sent { routed, .. } => Some(routed),
            Dispatched::ForRadio { radio, routed } => {
                self.broadcast.send_to_peer(radio, *peer, &message.for_radio());
                Some(routed)
            }
            Dispatched::Stranded => None,
        }
    }
}
