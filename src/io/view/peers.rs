//! The peers, and how far each is in step.

use serde::Serialize;

use crate::federation::TrustLevel;
use crate::io::NodeState;

/// The record of one peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerView {
    /// The DID of its key, `did:key:…`.
    pub did: String,
    /// The same key in hex.
    pub pubkey: String,
    /// The onion address of the peer.
    pub onion: String,
    /// Its name: the one given here, else the one that it gives itself, with a part of the DID where several nodes have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its trust level at this node.
    pub trust_level: TrustLevel,
    /// Whether a notice suspends it: whatever its level, it counts as untrusted until the operator decides.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// When it was added here, RFC 3339.
    pub added_at: String,
    /// The time in its newest state, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// The newest state that is held of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_state: Option<StateView>,
    /// When it last sent anything, by this node's clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<String>,
    /// Whether a link is up.
    pub connected: bool,
    /// `agreed`, or `waiting` while the inviter has not answered yet.
    pub joined: &'static str,
    /// The media of its links.
    pub links: Vec<String>,
    /// How far it and this node lag behind each other.
    pub step: StepView,
}

/// The peer that was removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemovedView {
    /// Its name or DID.
    pub removed: String,
    /// Entries of this node's documents that the peer had written and that this node has taken over.
    pub entries_kept: usize,
}

/// A node state with the time it was signed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateView {
    /// The layer's signed time, RFC 3339.
    pub timestamp: String,
    /// Whether it is not signed yet: received by radio between two signed states.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// The state as the node published it.
    #[serde(flatten)]
    pub state: NodeState,
}

/// How far a peer and this node lag behind each other, as far as that is known. What was not counted is `null`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// `in step`, `catching up`, `unknown`, `not connected`, `waiting for the inviter`.
    pub state: &'static str,
    /// Layers that the peer has and this node lacks.
    pub we_lack: Option<usize>,
    /// Layers that this node has and the peer lacks, and that were not sent to it yet.
    pub they_lack: Option<usize>,
    /// By radio: layers that were sent and that the peer has not acknowledged yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<usize>,
    /// Where it is not known: until when it was, RFC 3339; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<String>,
    /// By radio: layers of both that do not go by radio, so this row does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_by_radio: Option<usize>,
}
