//! Documents: rows, writes, conflicts, policies.

use serde::Serialize;

use crate::layer::Kind;
use crate::merge::KeyChange;

/// A document after a write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenView {
    /// The document as commands take it: `plan`, or `boat/plan` where it is a peer's.
    pub document: String,
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// The sequence of this node's layer, now durable.
    pub sequence: u64,
    /// The id of the new state, `plan@7`: `why` finds the decisions about it.
    pub id: String,
    /// Keys written or deleted; 0 means that it read so already.
    pub changed: usize,
    /// Keys that have a new value.
    pub set: usize,
    /// Keys that have none any more.
    pub deleted: usize,
}

/// A document that was deleted, or is taken again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeletedView {
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// Where it is gone.
    pub deleted: DeletedScope,
}

/// Where a document is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletedScope {
    /// At all nodes, as soon as they learn of it.
    Everywhere,
    /// At this node alone.
    Here,
    /// Not any more: this node takes it again.
    Nowhere,
}

/// A document that is gone here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndedView {
    /// The document as commands took it: `plan`, or `boat/plan` where it was a peer's.
    pub document: String,
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
}

/// A document with its version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionedView {
    /// What it reads, as a hash: `hash` in the list of documents. A write may be made for it alone.
    pub version: String,
    /// The whole document as it reads now.
    pub value: tombolo_delta::Value,
}

/// One row of the list of documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentView {
    /// The document as commands take it: `plan`, or `boat/plan` where it is a peer's.
    pub document: String,
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// The kind: `map` or `snapshot`.
    pub kind: Kind,
    /// Bytes of the merged view as canonical CBOR.
    pub bytes: usize,
    /// BLAKE3 of the merged view's canonical CBOR, hex; equal on nodes in step.
    pub hash: String,
    /// The newest time at which one of its authors signed a state of it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
}

/// A layer that is held: all that its author signed, and the signature. `src/envelope/FORMAT.md` has the array.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerView {
    /// The DID of the owner of the document.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// The DID of the author.
    pub author: String,
    /// The kind of the document.
    pub kind: Kind,
    /// The sequence of the state that is held.
    pub sequence: u64,
    /// The signed time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The newest state of the owner's audience that the author held.
    pub audience_sequence: u64,
    /// The root of the content, hex.
    pub root: String,
    /// The signature of the author, hex.
    pub signature: String,
    /// Bytes of the content as canonical CBOR.
    pub bytes: usize,
}

/// A state of this node that went out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishedView {
    /// The sequence of its layer.
    pub sequence: u64,
    /// Its signed time, RFC 3339.
    pub timestamp: String,
}

/// A value that lost against a concurrent write it had not seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConflictView {
    /// The document as `owner-did/name`.
    pub document: String,
    /// The key as `a/b/c`.
    pub key: String,
    /// Who wrote the value shown.
    pub winner: String,
    /// Who wrote the value that lost.
    pub loser: String,
    /// The value that lost; `null` with `deleted` where it was a deletion.
    pub value: tombolo_delta::Value,
    /// Whether the loser had deleted the key.
    pub deleted: bool,
    /// The key above or below at which the value stands that hides this one; absent where both stand under the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_by: Option<String>,
    /// When the loser wrote it, RFC 3339.
    pub written_at: String,
}

/// A change of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedView {
    /// The document as commands take it: `plan`, or `boat/plan` where it is a peer's.
    pub document: String,
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// The author's DID; the owner's where no author wrote, but rights or time changed what is read.
    pub author: String,
    /// The name of the author, as this node knows it.
    pub by: String,
    /// The sequence of the author's layer; 0 where no author wrote.
    pub sequence: u64,
    /// The keys that read differently, each with what it was and what it is.
    pub keys: Vec<KeyChange>,
    /// Whether further keys may read differently: the document is to be read again. Left out where it is `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The policy of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyView {
    /// The name of the document.
    pub document: String,
    /// The policy as it is now in force.
    #[serde(flatten)]
    pub class: crate::federation::DocumentPolicy,
}
