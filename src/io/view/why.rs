//! Decisions of the router, and what the operator has set for it.

use serde::{Deserialize, Serialize};
use tombolo_transports::{LinkId, Medium};

use crate::router::{ChoiceChange, Decision, LinkTerms, Preference};

/// A decision of the router, with its reasons as sentences.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhyView {
    /// Its id, `d17`; `now` for what would be decided at this moment.
    pub id: String,
    /// When it was made, RFC 3339.
    pub at: String,
    /// The name of the peer.
    pub peer: String,
    /// The DID of the peer.
    pub did: String,
    /// What the message was about: `plan@7`, `command 0a1b2c3d4e5f`, `engine`, `parts`, `notice`.
    pub about: String,
    /// How many equal decisions it stands for; it is the newest of them.
    pub count: u64,
    /// The name of the link that was chosen; absent if no link could carry the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// What was to be sent, and what applied to it, as a sentence.
    pub message: String,
    /// The candidates: the chosen one, then those that lost, the best first, then those that may not carry it.
    pub candidates: Vec<CandidateView>,
    /// Of what would be decided now, on a node with radios: the documents shared with the peer that stay off radio, and why, as
    /// sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_by_radio: Vec<String>,
    /// The decision: `tombolo why --replay` makes it again from this alone.
    pub decision: Decision,
}

/// One link in a decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateView {
    /// Its number in the decision.
    pub link: LinkId,
    /// `lan`, `tor`, or the radio.
    pub name: String,
    /// Whether it is used, and why or why not.
    pub why: String,
    /// What it would cost, as a sentence; empty for a link that may not carry the message.
    pub cost: String,
    /// What would change the choice in its favour, as sentences.
    pub changes: Vec<String>,
    /// The same as data.
    pub margin: Vec<ChoiceChange>,
}

/// One setting of the router.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteRowView {
    /// What it is for: `node`, `peer`, `document`, `link` or `radio`.
    #[serde(rename = "for")]
    pub of: &'static str,
    /// The name of the peer, the document or the kind of link; empty for the node.
    pub name: String,
    /// The DID of the peer, or of the document's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// Which links go first, or alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preference: Option<Preference>,
    /// The terms of the kind of link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<LinkTerms>,
    /// Where it stands: `command` for what `tombolo route` has set, else `file`.
    pub set_by: &'static str,
}

/// A change of the router's settings, as it is asked for: of the node, or of the one peer, document, kind of link or radio that it names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteOrder {
    /// The peer that the setting is for.
    pub peer: Option<String>,
    /// The document that the setting is for.
    pub doc: Option<String>,
    /// A kind of link.
    pub link: Option<Medium>,
    /// A radio, by name.
    pub radio: Option<String>,
    /// Which links go first, or alone.
    pub preference: Option<Preference>,
    /// Of a kind of link or a radio: bytes cost money.
    pub metered: Option<bool>,
    /// What a megabyte costs.
    pub price: Option<u32>,
    /// It is used while no other link is in time.
    pub last_resort: Option<bool>,
    /// The hours at which it may be used, or `always`.
    pub only: Option<String>,
    /// Goes back to what the file has.
    pub reset: bool,
}
