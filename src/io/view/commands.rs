//! Deploys and revocations.

use serde::Serialize;

/// A deploy that this node has sent or received.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeployView {
    /// The id of the command, 32 hex digits.
    pub id: String,
    /// `sent` by this node or `received` by it.
    pub direction: &'static str,
    /// Whether the app was installed, as far as is known here.
    pub deployed: bool,
    /// The id of the app.
    pub app_id: String,
    /// The version of the app.
    pub version: String,
    /// Where it comes from; may be empty.
    pub marketplace_url: String,
    /// The name of the other node.
    pub peer: String,
    /// The DID of the other node.
    pub peer_did: String,
    /// Its onion address; empty where it is no peer any more.
    pub peer_onion: String,
    /// `rpc` where this node asks by JSON call; else sessions and radios carry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// `waiting`, `taken`, `installed`, `failed`, `refused`, `unknown` or `expired`; by JSON call also `calling` and
    /// `unreached`.
    pub status: &'static str,
    /// Of a refusal: its reason as a label, by JSON call the code that the peer sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened, as a sentence.
    pub message: String,
    /// The exit code of the operator's command, where it ended with one other than 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The last of what the operator's command wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// When it was made, or taken, RFC 3339.
    pub created_at: String,
    /// When it expires, RFC 3339.
    pub expires: String,
    /// When the answer came, or the outcome, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// A deploy has come further.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeployEventView {
    /// The id of the command, as in [`DeployView`].
    pub deploy_id: String,
    /// `sent` by this node or `received` by it.
    pub direction: &'static str,
    /// The id of the app.
    pub app_id: String,
    /// The DID of the other node.
    pub peer_did: String,
    /// The status, as in [`DeployView`].
    pub status: &'static str,
}

/// A notice that an identity is revoked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevocationView {
    /// The DID of the revoked identity.
    pub did: String,
    /// The name of the identity at this node.
    pub name: String,
    /// The DID of the author of the notice.
    pub by: String,
    /// The author's name here.
    pub by_name: String,
    /// Whether the identity revoked itself: then it has ended for good.
    pub by_itself: bool,
    /// When it was signed, RFC 3339.
    pub signed_at: String,
    /// Whether the identity is suspended here now.
    pub suspended: bool,
    /// The members of this node that have not confirmed the notice yet.
    pub unaware: Vec<String>,
}
