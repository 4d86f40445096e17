//! A layer: what one author wrote in one document. The layer's *state* is signed, never a delta, so that one
//! signature serves every reader, however far behind.
//!
//! This room knows values, keys, entries, hash trees and the signed head. It does not know who may write
//! (`federation`), which value wins (`merge`), or how a layer travels (`envelope`, `sync`).

mod blocks;
mod bucket;
mod compact;
mod content;
mod entry;
mod fork;
mod key;
mod name;
pub mod packed;
mod tree;

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use serde::{Deserialize, Serialize};
use tombolo_delta::CborWriter;
use tombolo_transports::PeerId;

pub use blocks::{AllEntries, KnownEntry, MapDifference, is_written_whole};
pub(crate) use blocks::{BUCKETS_PER_BLOCK, block_of};
pub use compact::{CompactValue, tree_bytes};
pub use content::{Content, ContentError, EntryChange, MapChange, MapContent};
pub use entry::{Entry, EntryError, EntryHash};
pub use fork::ForkEvidence;
pub(crate) use key::HashedKey;
pub use key::{KeyError, KeyPath, Segments, key_excerpt, sort_by_key_path};
pub use name::{DocumentName, DocumentNameError};
pub use tree::{BUCKETS, BucketIndex, NodePath, TreeHash};

use crate::identity::{Keypair, SignatureBytes, verify};
use crate::limits::{SEQUENCE_MAX, STAMP_MAX};
use crate::time::Wall;

/// The domain of a layer's signature; the first item of the signed array.
pub const LAYER_DOMAIN: &str = "tombolo-layer-1";

/// What kind of document a layer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only the owner writes; the content is one value.
    Snapshot,
    /// Many write; the content is entries, the last writer wins per key.
    Map,
}

impl Kind {
    /// The number that is signed and travels.
    pub fn code(self) -> u8 {
        match self {
            Kind::Snapshot => 0,
            Kind::Map => 1,
        }
    }

    /// The kind of a number from outside.
    pub fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Kind::Snapshot),
            1 => Some(Kind::Map),
            _ => None,
        }
    }
}

/// Names a document: whose it is and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// The node that made it and decides who reads and writes it.
    pub owner: PeerId,
    /// What it is called.
    pub name: DocumentName,
}

/// Names a layer: one author's part of one document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId {
    /// The document that the layer is a part of.
    pub document: DocumentId,
    /// Who signs this layer.
    pub author: PeerId,
}

/// The first 8 bytes of a hash over a layer's name. Sync messages name a layer by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerHash(pub [u8; 8]);

/// BLAKE3 in its derive-key mode begins with the hash of the context, which is the same each time.
static NAME_CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("tombolo 1 layer print"));

impl LayerId {
    /// BLAKE3 with the context `tombolo 1 layer print`, over owner, author and name, cut to 8 bytes.
    pub fn hash(&self) -> LayerHash {
        let mut hasher = blake3::Hasher::new_from_context_key(&NAME_CONTEXT);
        hasher.update(&self.document.owner.0);
        hasher.update(&self.author.0);
        hasher.update(self.document.name.as_str().as_bytes());
        let mut hash = [0; 8];
        hasher.finalize_xof().fill(&mut hash);
        LayerHash(hash)
    }
}

/// A layer's version: only its author raises it. 0 means none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence of a layer without a state.
    pub const NONE: Sequence = Sequence(0);

    /// A sequence from outside, if it is below 2^53.
    pub fn new(number: u64) -> Option<Self> {
        (number <= SEQUENCE_MAX).then_some(Sequence(number))
    }

    /// The sequence as a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The following one; none after 2^53 - 1.
    pub fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

/// BLAKE3 root of a layer's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root(pub [u8; 32]);

impl Root {
    /// The first two bytes: how a delta names its base.
    pub fn prefix2(&self) -> [u8; 2] {
        let [a, b, ..] = self.0;
        [a, b]
    }

    /// The first four bytes: how a frontier names a state.
    pub fn prefix4(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0;
        [a, b, c, d]
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Root({})", data_encoding::HEXLOWER.encode(&self.prefix4()))
    }
}

/// Everything a layer's signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether the layer is a snapshot or a map.
    pub kind: Kind,
    /// The layer that this is a state of.
    pub layer: LayerId,
    /// Which version of it.
    pub sequence: Sequence,
    /// When the author signed, by its reference time.
    pub time: Wall,
    /// The newest state of the owner's audience that the author held.
    pub audience_sequence: Sequence,
    /// Root of the content.
    pub root: Root,
}

impl Head {
    /// The bytes that are signed: the deterministic CBOR of
    /// `["tombolo-layer-1", kind, owner, name, author, sequence, time, audience sequence, root]`.
    pub fn signing_bytes(&self) -> Vec<u8> {
        let LayerId { document, author } = &self.layer;
        let mut out = CborWriter::with_capacity(256);
        out.array(9).text(LAYER_DOMAIN).unsigned(u64::from(self.kind.code()));
        out.bytes(&document.owner.0).text(document.name.as_str()).bytes(&author.0);
        out.unsigned(self.sequence.get()).unsigned(self.time.ms());
        out.unsigned(self.audience_sequence.get()).bytes(&self.root.0);
        out.finish()
    }

    /// Signs the head; the layer's author must be the keypair's identity.
    pub fn sign(self, keypair: &Keypair) -> SignedHead {
        debug_assert_eq!(self.layer.author, keypair.peer_id(), "an author signs its own layers only");
        let signature = keypair.sign(&self.signing_bytes());
        SignedHead { head: self, signature }
    }

    /// Whether the head is one that a node could have signed: times and sequences within the format.
    pub fn in_range(&self) -> bool {
        self.sequence > Sequence::NONE
            && self.time <= STAMP_MAX
            && (self.kind == Kind::Map || self.layer.author == self.layer.document.owner)
    }
}

/// A head and its author's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// The fields that are signed.
    pub head: Head,
    /// The author's signature over the head.
    pub signature: SignatureBytes,
}

impl SignedHead {
    /// Whether the signature is the author's.
    pub fn verify(&self) -> bool {
        self.head.in_range() && verify(&self.head.layer.author, &self.head.signing_bytes(), &self.signature)
    }

    /// Whether this state takes the place of `other` of the same layer: a later sequence does, and of two
    /// states with one sequence (a fork) the higher root.
    pub fn supersedes(&self, other: &SignedHead) -> bool {
        (self.head.sequence, self.head.root) > (other.head.sequence, other.head.root)
    }
}

/// A signed head with the content it vouches for.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The head and its signature.
    pub signed: SignedHead,
    /// The content; its root is the head's.
    pub content: Content,
}

impl Layer {
    /// The signed head, without the signature.
    pub fn head(&self) -> &Head {
        &self.signed.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_array_is_the_one_of_the_design() {
        let me = Keypair::from_seeds(&[1; 32], &[2; 32]);
        let head = Head {
            kind: Kind::Snapshot,
            layer: LayerId {
                document: DocumentId { owner: me.peer_id(), name: DocumentName::new("state").unwrap() },
                author: me.peer_id(),
            },
            sequence: Sequence::new(7).unwrap(),
            time: Wall::from_ms(1_793_491_200_000),
            audience_sequence: Sequence::new(1).unwrap(),
            root: Root([9; 32]),
        };
        let bytes = head.signing_bytes();
        assert_eq!(bytes[..17], [&[0x89, 0x6f][..], b"tombolo-layer-1"].concat()[..17]);
        let signed = head.clone().sign(&me);
        assert!(signed.verify());
        for change in [
            Head { sequence: Sequence::new(8).unwrap(), ..head.clone() },
            Head { time: Wall::from_ms(1), ..head.clone() },
            Head { audience_sequence: Sequence::NONE, ..head.clone() },
            Head { root: Root([8; 32]), ..head.clone() },
            Head { kind: Kind::Map, ..head.clone() },
        ] {
            assert!(!SignedHead { head: change, signature: signed.signature }.verify());
        }
    }

    #[test]
    fn nobody_but_the_owner_signs_a_snapshot() {
        let owner = Keypair::from_seeds(&[1; 32], &[2; 32]);
        let other = Keypair::from_seeds(&[3; 32], &[4; 32]);
        let head = Head {
            kind: Kind::Snapshot,
            layer: LayerId {
                document: DocumentId { owner: owner.peer_id(), name: DocumentName::new("a").unwrap() },
                author: other.peer_id(),
            },
            sequence: Sequence::new(1).unwrap(),
            time: Wall::from_ms(0),
            audience_sequence: Sequence::NONE,
            root: Root([0; 32]),
        };
        assert!(!head.sign(&other).verify());
    }

    #[test]
    fn names_that_would_confuse_a_path_are_refused() {
        for bad in ["", "a/b", "a\\b", "a\nb", &"x".repeat(65)] {
            assert!(DocumentName::new(bad).is_err(), "{bad:?}");
        }
        assert!(DocumentName::new("Dienstplan März").is_ok());
    }
}
