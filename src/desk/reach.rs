//! How a peer is reached: over a link of its own, or by the pairwise channel of a radio that hears it.

use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::PairMessage;
use crate::commands::{OFFER_PACE, OFFER_PACE_ON_AIR, OUTPUT_BYTES_MAX, OUTPUT_BYTES_ON_AIR_MAX, OfferPace};
use crate::desk::CommandDesk;
use crate::router::{Class, Request};
use crate::sync::message::Message;

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

impl CommandDesk<'_> {
    /// How a peer is best reached now, by the router's choice among its links and the radios that hear it.
    pub(super) fn way_to(&mut self, peer: &PeerId) -> Option<Way> {
        let mut candidates = self.unicast.candidates(peer);
        candidates.extend(self.broadcast.pair_candidates(self.core, peer));
        // The size of most commands; the ledger decides by the size of what is sent.
        let request = Request { bytes: 128, class: Class::Command, confidential: true, deadline: None };
        let chosen = self.unicast.router().decide(request, &candidates).chosen?;
        Some(match self.unicast.link(chosen) {
            Some(_) => Way::Link,
            None => Way::Radio(chosen),
        })
    }

    pub(super) fn send(&mut self, peer: &PeerId, way: Way, message: CommandMessage) {
        match way {
            Way::Link => {
                let message = match message {
                    CommandMessage::Command(bytes) => Message::Command(bytes),
                    CommandMessage::Answer(bytes) => Message::Answer(bytes),
                    CommandMessage::Notice(bytes) => Message::Notice(bytes),
                    CommandMessage::NoticeHeard(hash) => Message::NoticeHeard(hash),
                };
                self.unicast.send(self.core, *peer, Class::Command, &message);
            }
            Way::Radio(link) => {
                let message = match &message {
                    CommandMessage::Command(bytes) => PairMessage::Command(bytes),
                    CommandMessage::Answer(bytes) => PairMessage::Answer(bytes),
                    CommandMessage::Notice(bytes) => PairMessage::Notice(bytes),
                    CommandMessage::NoticeHeard(hash) => PairMessage::NoticeHeard(hash),
                };
                self.broadcast.send_to_peer(link, *peer, &message);
            }
        }
    }
}
