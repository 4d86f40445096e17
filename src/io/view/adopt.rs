//! The report of `adopt`: the fate of each record.

use serde::Serialize;

use crate::federation::TrustLevel;

/// What `adopt` took over, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AdoptedView {
    /// Of the node records.
    pub nodes: AdoptedListView,
    /// Of the invites that the node gave out.
    pub outgoing: AdoptedListView,
    /// Of the invites that the node redeemed.
    pub incoming: AdoptedListView,
}

/// The fate of each record of one list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AdoptedListView {
    /// The records that were taken over.
    pub taken: Vec<AdoptedRecordView>,
    /// The records of which this node has its own already; that one stays as it is.
    pub known: Vec<AdoptedRecordView>,
    /// The records that cannot be used.
    pub refused: Vec<RefusedRecordView>,
}

/// A record that was taken over, or that is known already.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AdoptedRecordView {
    /// Its place in its list, from 1.
    pub record: usize,
    /// The DID of the node; of an invite the inviter's.
    pub did: String,
    /// The name of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The trust level of a node, as it is here now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_level: Option<TrustLevel>,
    /// What of the record was not taken, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusedRecordView {
    /// Its place in its list, from 1.
    pub record: usize,
    /// The start of the text that stands as its DID; empty if there is none.
    pub did: String,
    /// A stable label of the reason.
    pub code: &'static str,
    /// The reason, in words for a person.
    pub why: String,
}
