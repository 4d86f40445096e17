//! The walk in by radio: frame -> station -> message -> the same gate as on any link (`inbound.rs`).

use tombolo_transports::{LinkId, Medium, PeerId};

use crate::broadcast::{Arrival, JoinQuestion, JoinReceived, NodeParts, PairReceived, RadioMessage, kinds};
use crate::core::InputRejection;
use crate::desk::CommandMessage;
use crate::envelope::{decode_air, decode_update};
use crate::federation::join::JoinRefusal;
use crate::membership::Redeem;
use crate::node::Node;
use crate::presence::{HeardOver, HearsUs, HearsUsProof};
use crate::replica::{Arriving, Origin};
use crate::sync::broadcast::Input;

/// An author whose deltas start so many commits back, and have become so long, is shown what is held here before the next
/// heartbeat: at ten bytes a commit that pays for a handful of listeners.
const FAR_COMMITS: u64 = 6;
/// As [`FAR_COMMITS`]: bytes of the whole message.
const FAR_BYTES: usize = 140;

impl Node {
    /// A radio received a frame, from any sender.
    pub(super) fn frame_received(&mut self, link: LinkId, bytes: &[u8]) {
        for arrival in self.broadcast.receive(&mut self.core, link, bytes) {
            match arrival {
                Arrival::Message(message) => self.message_received(message),
                Arrival::Join(frame) => self.join_frame_received(link, &frame),
            }
        }
    }

    fn message_received(&mut self, message: RadioMessage) {
        let RadioMessage { link, channel, from, bytes, .. } = &message;
        let (link, channel, from) = (*link, *channel, *from);
        if channel == self.core.me && !message.under_previous_key {
            self.broadcast.reader_has_key(&self.replica, link, from);
        }
        if !self.replica.federation().is_member(&from) {
            return self.core.reject_from(Some(from), InputRejection::FrameOfNoPeer);
        }
        self.replica.note_presence(&from, self.core.reference());
        let over = HeardOver { link, medium: Medium::Mesh };
        self.core.presence.heard(self.core.now(), from, over, None);
        self.core.metrics.received(bytes.len());
        if self.broadcast.is_pairwise(&channel) {
            return self.pair_message_received(link, from, bytes);
        }
        if !self.broadcast.hears(&self.core, link, &from) {
            self.commands.reachable(&from);
        }
        self.broadcast.sender_present(&self.core, link, channel, from);
        self.broadcast.input(&self.core, link, Input::Present { peer: from });
        self.broadcast.note_present(&mut self.unicast, link, from);
        let is_valid = match message.kind {
            kinds::UPDATE => self.update_received(link, channel, from, bytes),
            kinds::WHOLE => self.whole_received(link, channel, from, bytes),
            kinds::HEARTBEAT => {
                let parts = NodeParts { core: &self.core, replica: &self.replica, unicast: &self.unicast };
                let next_by = match channel == from {
                    true => self.broadcast.heartbeat_received(parts, link, from, bytes),
                    false => None,
                };
                self.core.presence.heard(self.core.now(), from, over, next_by);
                next_by.is_some()
            }
            kinds::FRONTIER => self.broadcast.frontier_received(&self.core, link, channel, from, bytes),
            kinds::PROVISIONAL => {
                let is_own = channel == from;
                if !(is_own
                    && self.broadcast.take_provisional(&self.core, &self.replica, link, channel, bytes))
                {
                    self.core.reject_from(Some(from), InputRejection::ProvisionalRefused);
                }
                true
            }
            _ => false,
        };
        if !is_valid {
            self.core.reject_from(Some(from), InputRejection::BadMessage);
        }
        if let Some(at) = self.broadcast.acknowledged_at(link, &from) {
            let proved = HearsUs { at, medium: Medium::Mesh, proof: HearsUsProof::Acknowledged };
            self.core.presence.hears(from, proved);
        }
    }

    /// Compact envelopes. Returns whether they decode.
    fn update_received(&mut self, link: LinkId, channel: PeerId, from: PeerId, bytes: &[u8]) -> bool {
        let Ok(envelopes) = decode_update(bytes) else { return false };
        let origin = Origin::Radio { link, channel, peer: from };
        for envelope in &envelopes {
            self.arrived(origin, Arriving::delta(envelope));
        }
        let is_far = |distance| distance >= FAR_COMMITS && bytes.len() >= FAR_BYTES;
        if envelopes.iter().any(|envelope| is_far(envelope.base.distance)) {
            self.broadcast.input(&self.core, link, Input::FarBase { owner: channel });
        }
        true
    }

    /// A whole layer. Returns whether it decodes.
    fn whole_received(&mut self, link: LinkId, channel: PeerId, from: PeerId, bytes: &[u8]) -> bool {
        let Ok(envelope) = decode_air(channel, bytes) else { return false };
        let signed = envelope.signed.clone();
        self.arrived(Origin::Radio { link, channel, peer: from }, Arriving::Whole(envelope));
        self.broadcast.state_received(&self.core, &mut self.replica, link, from, &signed);
        true
    }

    /// A message on a pairwise channel: as from a link to that peer.
    fn pair_message_received(&mut self, link: LinkId, from: PeerId, bytes: &[u8]) {
        let parts = NodeParts { core: &self.core, replica: &self.replica, unicast: &self.unicast };
        let envelope = match self.broadcast.pair_message_received(parts, link, from, bytes) {
            PairReceived::Nothing => return,
            PairReceived::Malformed => return self.core.reject_from(Some(from), InputRejection::BadMessage),
            PairReceived::Command(bytes) => {
                return self.command_message(from, &CommandMessage::Command(bytes));
            }
            PairReceived::Answer(bytes) => return self.command_message(from, &CommandMessage::Answer(bytes)),
            PairReceived::Notice(bytes) => return self.command_message(from, &CommandMessage::Notice(bytes)),
            PairReceived::NoticeHeard(hash) => {
                return self.command_message(from, &CommandMessage::NoticeHeard(hash));
            }
            PairReceived::Layer(envelope) => *envelope,
        };
        let signed = envelope.signed.clone();
        self.arrived(Origin::Link { peer: from }, Arriving::Whole(envelope));
        let parts = NodeParts { core: &self.core, replica: &self.replica, unicast: &self.unicast };
        self.broadcast.pair_message_applied(parts, link, from, &signed);
    }

    // ---- joining -----------------------------------------------------------------------------------------

    fn join_frame_received(&mut self, link: LinkId, frame: &[u8]) {
        let invites = self.membership.known_hashes();
        match self.broadcast.join_frame_received(&mut self.core, link, frame, invites) {
            JoinReceived::Nothing => {}
            JoinReceived::Answered { inviter, answer, key } => {
                if let Some(key) = &key {
                    self.broadcast.learn_key(&mut self.core, inviter, key);
                }
                self.inviter_answered(inviter, Ok(answer));
                if key.is_some() {
                    self.broadcast.joined(&self.core, &self.replica, link, inviter, true);
                }
            }
            JoinReceived::Asked(question) => self.join_asked(link, &question),
        }
    }

    fn join_asked(&mut self, link: LinkId, question: &JoinQuestion) {
        let result = match &question.asks {
            None => Err(JoinRefusal::Signature),
            Some(asks) => {
                let (joiner, token) = (asks.joiner, question.token);
                let redeem = Redeem { joiner, address: None, request: &asks.request, token };
                let redeemed = self.redeem(&redeem);
                match redeemed {
                    Ok(()) => {
                        self.broadcast.learn_key(&mut self.core, joiner, &asks.key);
                        // The own audience has a new reader: the key is sealed for it before it is sent.
                        self.settle();
                    }
                    Err(why) => self.core.reject(InputRejection::Join(why)),
                }
                redeemed
            }
        };
        self.broadcast.answer_join(&mut self.core, &self.replica, link, question, result);
    }
}
