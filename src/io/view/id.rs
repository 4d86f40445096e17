//! The node's own identity, and its invites.

use serde::Serialize;

use crate::federation::TrustLevel;

/// The identity of this node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdView {
    /// The DID of its key, `did:key:z6Mk…`.
    pub did: String,
    /// The same key in hex.
    pub pubkey: String,
    /// The onion address of this node.
    pub onion: String,
    /// The name that it gives itself.
    pub name: String,
}

/// An invite that was just made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InviteView {
    /// The code as one line, `fed1:…`.
    pub code: String,
    /// The same content in the letters that a QR code holds best.
    pub compact: String,
    /// At which level the joiner will be added.
    pub level: TrustLevel,
    /// When it ends by the clock of this node, which alone decides, RFC 3339.
    pub expires: String,
    /// Whether that clock is set.
    pub clock_is_set: bool,
}

/// An invite that this node gave out and that has not expired.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutgoingInviteView {
    /// The start of its token's hash, by which it is withdrawn; the code itself is not kept.
    pub id: String,
    /// At which level its joiner is added.
    pub level: TrustLevel,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it ends, RFC 3339.
    pub expires: String,
    /// The DID of the node that used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}
