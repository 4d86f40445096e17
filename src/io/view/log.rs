//! The log of a node, as it is shown.

use serde::Serialize;

/// One entry of the log: something that was refused, or that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogEntryView {
    /// Counts up from 1 since the start of the node.
    pub id: u64,
    /// When it happened last, RFC 3339.
    pub at: String,
    /// When it happened first, RFC 3339.
    pub first_at: String,
    /// How often it happened between the two.
    pub times: u64,
    /// `rejection`, `link`, `presence`, `alarm` or `deploy`.
    pub kind: &'static str,
    /// The reason or event, a stable label for programs; of a rejection the name under which `status` counts it.
    pub code: String,
    /// The name of the peer that it concerns, or the start of its DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The DID of that peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// What happened and why, as a sentence.
    pub message: String,
}
