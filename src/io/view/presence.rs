//! Presence: how a peer stands, why, and whether it hears this node.

use serde::Serialize;

/// How a peer stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresenceView {
    /// `here`, `quiet`, `overdue`, `link lost` or `gone`.
    pub state: &'static str,
    /// Of `quiet`: when it is to be heard again at the latest, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Of `overdue`, `link lost`, `gone`: since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The rule that gave the state: `session_up`, `just_heard`, `next_by_ahead`, `next_by_missed`, `three_missed`, `silent_for`.
    pub reason: &'static str,
    /// What else explains the silence: `session_closed`, `own_radio_down`, `not_since_start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// Both as a sentence.
    pub why: String,
    /// How many seconds ago the peer was last heard.
    pub silent_s: u64,
    /// Within how many seconds after each message it is to be heard again.
    pub next_within_s: u64,
    /// The link over which it was last heard: `lan`, `tor`, or the name of the radio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// When it last received something of this node, as far as it has shown that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hears_us: Option<HearsUsView>,
    /// What the states of other peers show of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub friends: Option<FriendsView>,
    /// The last day in 48 half hours since the start of this node, the oldest first: `h` heard, `s` silent as expected, `o` overdue,
    /// `-` where nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_hours: Option<String>,
}

/// What one node hears of another: this node by what it receives, others by their signed states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HearingView {
    /// The name of the node that hears.
    pub by: String,
    /// The DID of the node that hears.
    pub by_did: String,
    /// The name of the node that is heard, or is lost.
    pub of: String,
    /// The DID of the node that is heard, or is lost.
    pub of_did: String,
    /// Over what it is heard: `mesh`, `lan`, `tor` or `memory`; absent where it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// When it was heard last, RFC 3339, where it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<String>,
    /// When the node that hears signed this, RFC 3339; of this node: now.
    pub at: String,
}

/// When a peer last received something of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HearsUsView {
    /// When it did, at the latest moment that is proved, RFC 3339.
    pub at: String,
    /// How many seconds ago that was.
    pub ago_s: u64,
    /// `mesh`, `lan`, `tor` or `memory`.
    pub medium: String,
    /// How that is known: `heartbeat`, `acknowledged` or `signed_state`.
    pub proof: &'static str,
}

/// What the signed states of other peers show of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FriendsView {
    /// How many of them know the peer and show whether they hear it.
    pub friends: usize,
    /// How many of those have lost it.
    pub missing: usize,
    /// When any of those last heard it, in steps of ten minutes, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<String>,
    /// How one of the others hears it: `mesh`, `lan` or `tor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_over: Option<String>,
    /// The verdict as a sentence.
    pub verdict: String,
}

/// A peer is heard better or worse than before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresenceEventView {
    /// The DID of the peer.
    pub peer: String,
    /// Its state before; absent where it is heard for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<&'static str>,
    /// Its state now, with the reason.
    #[serde(flatten)]
    pub presence: PresenceView,
}
