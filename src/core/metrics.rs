//! Typed counters since the start. Labels are enums; [`InputRejection::label`] is the only place where they become text, for
//! `status`, JSON and a metrics page.

use std::collections::BTreeMap;

use tombolo_transports::{Medium, PeerId};

use crate::commands::CommandRefusal;
use crate::federation::Refusal;
use crate::federation::join::JoinRefusal;

/// Why an input was rejected. Each reason is chosen by the program, never by a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputRejection {
    /// A link came up to an identity that is not a peer, or is untrusted.
    LinkOfNoPeer,
    /// A radio frame came from an identity that is not a peer, or is untrusted.
    FrameOfNoPeer,
    /// A message did not decode.
    BadMessage,
    /// A signature or a root does not hold.
    BadSignature,
    /// A part of a large layer does not have its hash.
    BadPart,
    /// A frame of the radio handshake did not decode.
    BadJoinFrame,
    /// A delta applied to the base that it names does not have the signed root.
    DeltaDoesNotMatchRoot,
    /// No base held here fits a delta.
    DeltaWithoutBase,
    /// A member's layer has another kind than the owner's.
    KindDiffersFromOwner,
    /// An author signed two states with one sequence.
    Fork,
    /// Rights or quotas refuse a layer.
    Layer(Refusal),
    /// A request to join was refused.
    Join(JoinRefusal),
    /// A request to join by radio is answered later: the answers of this hour are spent.
    JoinAnswerDelayed,
    /// The disk refused a commit, so layers are refused until it works again.
    DiskRefuses,
    /// No link may carry a message.
    NoLinkMayCarry,
    /// An unsigned state was not accepted.
    ProvisionalRefused,
    /// The station refused a message.
    RadioRefusedMessage,
    /// A message is too long for a radio.
    TooLongForRadio,
    /// More radios than the limit.
    TooManyRadios,
    /// A JSON call was refused, with this code.
    Call(&'static str),
    /// What a peer answered to a JSON call cannot be used.
    BadCallAnswer,
    /// A command was refused.
    Command(CommandRefusal),
    /// An answer to a command that this node did not send to that peer.
    UnaskedAnswer,
    /// A notice of revocation by an author that is not trusted.
    NoticeOfNoTrust,
    /// More notices of revocation than are kept.
    TooManyNotices,
    /// A peer did not understand a message of this node.
    NotUnderstoodByPeer,
    /// A message was not looked at: its sender is slowed, as nothing proved what it sent before.
    SenderSlowed,
    /// A session was closed, or not begun: nothing proved what its peer sent.
    SenderCut,
}

impl InputRejection {
    /// The label in `status`, JSON and metrics.
    pub fn label(self) -> String {
        let label = match self {
            InputRejection::LinkOfNoPeer => "link_of_no_peer",
            InputRejection::FrameOfNoPeer => "frame_of_no_peer",
            InputRejection::BadMessage => "bad_message",
            InputRejection::BadSignature => "bad_signature",
            InputRejection::BadPart => "bad_part",
            InputRejection::BadJoinFrame => "bad_join_frame",
            InputRejection::DeltaDoesNotMatchRoot => "delta_does_not_make_the_signed_root",
            InputRejection::DeltaWithoutBase => "delta_without_base",
            InputRejection::KindDiffersFromOwner => "kind_differs_from_the_owners",
            InputRejection::Fork => "fork",
            InputRejection::Layer(refusal) => refusal.label(),
            InputRejection::Join(refusal) => return format!("join_{}", refusal.label()),
            InputRejection::JoinAnswerDelayed => "join_answer_put_off",
            InputRejection::DiskRefuses => "disk_refuses",
            InputRejection::NoLinkMayCarry => "no_link_may_carry",
            InputRejection::ProvisionalRefused => "provisional_not_taken",
            InputRejection::RadioRefusedMessage => "radio_refused_message",
            InputRejection::TooLongForRadio => "too_long_for_radio",
            InputRejection::TooManyRadios => "too_many_radios",
            InputRejection::Call(code) => return format!("call_{code}"),
            InputRejection::BadCallAnswer => "bad_call_answer",
            InputRejection::Command(why) => return format!("command_{}", why.label()),
            InputRejection::UnaskedAnswer => "unasked_answer",
            InputRejection::NoticeOfNoTrust => "notice_of_no_trust",
            InputRejection::TooManyNotices => "too_many_notices",
            InputRejection::NotUnderstoodByPeer => "not_understood_by_peer",
            InputRejection::SenderSlowed => "sender_slowed",
            InputRejection::SenderCut => "sender_cut",
        };
        label.to_owned()
    }
}

/// Messages and their bytes, as handed to and received from links, before framing and encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageTraffic {
    /// Messages sent since the start.
    pub messages_sent: u64,
    /// Bytes of the messages sent.
    pub bytes_sent: u64,
    /// Messages received since the start.
    pub messages_received: u64,
    /// Bytes of the messages received.
    pub bytes_received: u64,
}

/// Bytes of one day between this node and one peer over one medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayTraffic {
    /// Bytes sent to the peer.
    pub bytes_sent: u64,
    /// Bytes received from the peer.
    pub bytes_received: u64,
}

/// The counters of a node.
#[derive(Debug, Default)]
pub struct Metrics {
    rejections: BTreeMap<InputRejection, u64>,
    traffic: MessageTraffic,
    today: BTreeMap<(PeerId, Medium), DayTraffic>,
}

impl Metrics {
    /// Counts a rejected input; `Core::reject` keeps it in the log as well.
    pub(super) fn reject(&mut self, why: InputRejection) {
        *self.rejections.entry(why).or_default() += 1;
    }

    /// Counts a message sent by radio, to all that listen.
    pub fn sent(&mut self, bytes: usize) {
        self.traffic.messages_sent += 1;
        self.traffic.bytes_sent += bytes as u64;
    }

    /// Counts a message received by radio.
    pub fn received(&mut self, bytes: usize) {
        self.traffic.messages_received += 1;
        self.traffic.bytes_received += bytes as u64;
    }

    /// Counts a message sent over a link to one peer.
    pub fn sent_to(&mut self, peer: PeerId, medium: Medium, bytes: usize) {
        self.sent(bytes);
        self.today.entry((peer, medium)).or_default().bytes_sent += bytes as u64;
    }

    /// Counts a message received over a link from one peer.
    pub fn received_from(&mut self, peer: PeerId, medium: Medium, bytes: usize) {
        self.received(bytes);
        self.today.entry((peer, medium)).or_default().bytes_received += bytes as u64;
    }

    /// Rejections since the start, by reason.
    pub fn rejections(&self) -> impl Iterator<Item = (InputRejection, u64)> {
        self.rejections.iter().map(|(why, count)| (*why, *count))
    }

    /// Traffic since the start.
    pub fn traffic(&self) -> MessageTraffic {
        self.traffic
    }

    /// Traffic of this day with one peer over one medium.
    pub fn today(&self, peer: PeerId, medium: Medium) -> DayTraffic {
        self.today.get(&(peer, medium)).copied().unwrap_or_default()
    }

    /// Drops what was counted for a removed peer.
    pub fn forget_peer(&mut self, peer: &PeerId) {
        self.today.retain(|(of, _), _| of != peer);
    }

    /// The counters of the day start at zero.
    pub fn start_day(&mut self) {
        self.today.clear();
    }
}
