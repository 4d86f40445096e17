//! What is concluded about a peer: one of five states, the rule that gave it, and what else explains the silence.

use tombolo_transports::{LinkId, Medium};

use crate::time::{Millis, Mono};

/// A link that a peer was heard over: a session with it, or a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeardOver {
    /// The session, or the radio.
    pub link: LinkId,
    /// The kind of carrier under it; `Mesh` for every radio.
    pub medium: Medium,
}

/// How a peer stands, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceState {
    /// It was just heard, or a session with it is up and keeps its times.
    Here,
    /// It is silent, and may be until this instant: its "next by" lies ahead.
    Quiet {
        /// When it is to be heard again at the latest.
        until: Mono,
    },
    /// Its "next by" has passed in silence.
    Overdue {
        /// When it was to be heard at the latest.
        since: Mono,
    },
    /// Three of its "next by" have passed in silence.
    LinkLost {
        /// When the third passed.
        since: Mono,
    },
    /// It has been silent for [`GONE_AFTER`](super::GONE_AFTER), and its link is lost.
    Gone {
        /// When that limit passed.
        since: Mono,
    },
}

impl PresenceState {
    /// The word of `status` and JSON.
    pub fn word(self) -> &'static str {
        match self {
            PresenceState::Here => "here",
            PresenceState::Quiet { .. } => "quiet",
            PresenceState::Overdue { .. } => "overdue",
            PresenceState::LinkLost { .. } => "link lost",
            PresenceState::Gone { .. } => "gone",
        }
    }

    /// Whether its silence, if any, is as promised: *here* or *quiet*.
    pub fn is_expected(self) -> bool {
        match self {
            PresenceState::Here | PresenceState::Quiet { .. } => true,
            PresenceState::Overdue { .. } | PresenceState::LinkLost { .. } | PresenceState::Gone { .. } => {
                false
            }
        }
    }

    /// The place in the order from best (0) to worst.
    pub fn rank(self) -> u8 {
        match self {
            PresenceState::Here => 0,
            PresenceState::Quiet { .. } => 1,
            PresenceState::Overdue { .. } => 2,
            PresenceState::LinkLost { .. } => 3,
            PresenceState::Gone { .. } => 4,
        }
    }

    /// The instant that goes with the word: until when it is quiet, since when it is missed.
    pub fn instant(self) -> Option<Mono> {
        match self {
            PresenceState::Here => None,
            PresenceState::Quiet { until: at }
            | PresenceState::Overdue { since: at }
            | PresenceState::LinkLost { since: at }
            | PresenceState::Gone { since: at } => Some(at),
        }
    }
}

/// The rule that gave a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceReason {
    /// A session is up, and it was heard there within its "next by".
    SessionUp,
    /// A message of it arrived moments ago.
    JustHeard,
    /// Its "next by" has not passed: silence until then is normal.
    NextByAhead,
    /// It was to be heard within this time, and was not.
    NextByMissed {
        /// Its "next by", from one message to the next.
        within: Millis,
    },
    /// Three times its "next by" have passed.
    ThreeMissed {
        /// Its "next by", from one message to the next.
        within: Millis,
    },
    /// The silence has reached a limit of this node.
    SilentFor {
        /// The limit that the silence has reached.
        limit: Millis,
    },
}

/// What this node knows beside the clock about a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceCause {
    /// The session over which it was heard has closed.
    SessionClosed {
        /// When the session has closed.
        at: Mono,
    },
    /// This node's own radio is down: it could not hear the peer.
    OwnRadioDown {
        /// Since when the radio is down.
        since: Mono,
    },
    /// It has not been heard since this node started; what it was before is known from the disk.
    NotSinceStart,
}

/// How it is known that a peer receives what this node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HearsUsProof {
    /// Its signed state lists this node.
    SignedState,
    /// Its report covers a state that this node had sent.
    Acknowledged,
    /// Its heartbeat names when it last received anything of this node.
    Heartbeat,
}

/// When a peer last received something of this node, as far as it has shown that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HearsUs {
    /// When it did, at the latest moment that is proved.
    pub at: Mono,
    /// The kind of link over which it did.
    pub medium: Medium,
    /// How that is known.
    pub proof: HearsUsProof,
}

/// What is concluded about one peer at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPresence {
    /// The conclusion that was drawn.
    pub state: PresenceState,
    /// The rule that gave it.
    pub reason: PresenceReason,
    /// What else explains the silence; none where the peer is expected to be silent, or nothing is known.
    pub cause: Option<SilenceCause>,
    /// The link over which it was last heard; none: not since the start.
    pub over: Option<HeardOver>,
    /// The age of the conclusion: how long the peer has been silent on that link.
    pub silent_for: Millis,
    /// Its "next by": the time within which it is to be heard again after each message.
    pub next_within: Millis,
}
