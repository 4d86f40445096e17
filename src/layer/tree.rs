//! The hash tree of a map layer: 4,096 buckets below three levels of 16-way nodes.
//!
//! A bucket is the unit of hashing, transfer and resume: what a reader has verified under one root stays
//! good under every later root that contains the same bucket hash.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::CborWriter;

use crate::layer::{KeyPath, Root};

/// Buckets of a map layer: an entry falls into one by the first 12 bits of the hash of its key.
pub const BUCKETS: u16 = 4096;

/// Children of one node.
const FANOUT: u16 = 16;

/// Names a bucket, 0 to 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketIndex(u16);

impl BucketIndex {
    /// The bucket of a key: the first 12 bits of BLAKE3 of the key's canonical CBOR.
    pub fn of(key: &KeyPath) -> Self {
        key.bucket()
    }

    /// The same, of the key's canonical CBOR.
    pub(super) fn of_key_cbor(cbor: &[u8]) -> Self {
        let [a, b, ..] = *blake3::hash(cbor).as_bytes();
        BucketIndex(u16::from_be_bytes([a, b]) >> 4)
    }

    /// A bucket's number from outside.
    pub fn new(number: u64) -> Option<Self> {
        u16::try_from(number).ok().filter(|n| *n < BUCKETS).map(BucketIndex)
    }

    /// The number of the bucket.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// Names a node: level 0 is the root, level 1 has 16 nodes, level 2 has 256; level 3 are the buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath {
    level: u8,
    index: u16,
}

/// The level of the buckets.
pub(crate) const BUCKET_LEVEL: u8 = 3;

impl NodePath {
    /// The root of every tree.
    pub const ROOT: NodePath = NodePath { level: 0, index: 0 };

    /// A node from outside: level 0 to 3 and an index that the level has.
    pub fn new(level: u64, index: u64) -> Option<Self> {
        let level = u8::try_from(level).ok().filter(|l| *l <= BUCKET_LEVEL)?;
        let index = u16::try_from(index).ok().filter(|i| u32::from(*i) < 16u32.pow(u32::from(level)))?;
        Some(NodePath { level, index })
    }

    /// The node above; the root is its own.
    pub fn parent(self) -> Self {
        NodePath { level: self.level.saturating_sub(1), index: self.index / FANOUT }
    }

    /// The node below, if this is not a bucket.
    pub fn child(self, slot: u8) -> Option<Self> {
        NodePath::new(u64::from(self.level) + 1, u64::from(self.index) * 16 + u64::from(slot & 15))
    }

    /// The bucket that this is, on the lowest level.
    pub fn bucket(self) -> Option<BucketIndex> {
        (self.level == BUCKET_LEVEL).then_some(BucketIndex(self.index))
    }

    /// The level in the tree, 0 at the root.
    pub fn level(self) -> u8 {
        self.level
    }

    /// Its index within the level.
    pub fn index(self) -> u16 {
        self.index
    }
}

impl From<BucketIndex> for NodePath {
    fn from(bucket: BucketIndex) -> Self {
        NodePath { level: BUCKET_LEVEL, index: bucket.0 }
    }
}

/// Hash of a bucket or node, with the number of entries below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHash {
    /// Entries in it or below it; never 0.
    pub count: u32,
    /// BLAKE3 over what is below.
    pub hash: [u8; 32],
}

impl TreeHash {
    /// The hash of a bucket: BLAKE3, derive-key context `tombolo 1 map bucket`, over the canonical CBOR
    /// array of its entries in key order.
    pub fn of_bucket(count: u32, cbor: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 map bucket");
        hasher.update(cbor);
        TreeHash { count, hash: *hasher.finalize().as_bytes() }
    }

    /// The hash of a node: BLAKE3, derive-key context `tombolo 1 map node`, over the canonical CBOR of
    /// `[level, count, [[slot, hash], …]]`; absent children are left out.
    pub fn of_node(level: u8, children: &[(u8, TreeHash)]) -> Self {
        let count = children.iter().fold(0u32, |sum, (_, child)| sum.saturating_add(child.count));
        let mut node = CborWriter::with_capacity(16 + 36 * children.len());
        node.array(3).unsigned(u64::from(level)).unsigned(u64::from(count)).array(children.len());
        for (slot, child) in children {
            node.array(2).unsigned(u64::from(*slot)).bytes(&child.hash);
        }
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 map node");
        hasher.update(&node.finish());
        TreeHash { count, hash: *hasher.finalize().as_bytes() }
    }
}

/// All hashes of one map layer, kept up to date bucket by bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashTree {
    nodes: BTreeMap<NodePath, TreeHash>,
}

impl HashTree {
    /// Takes new hashes of some buckets (none: the bucket is empty now) and renews what is above them.
    pub(crate) fn update(&mut self, buckets: impl IntoIterator<Item = (BucketIndex, Option<TreeHash>)>) {
        let mut above = BTreeSet::new();
        for (bucket, hash) in buckets {
            let path = NodePath::from(bucket);
            self.put(path, hash);
            above.insert(path.parent());
        }
        while let Some(path) = above.pop_last() {
            let children = self.children(path);
            let hash = (!children.is_empty()).then(|| TreeHash::of_node(path.level, &children));
            self.put(path, hash);
            if path != NodePath::ROOT {
                above.insert(path.parent());
            }
        }
    }

    fn put(&mut self, path: NodePath, hash: Option<TreeHash>) {
        match hash {
            Some(hash) => self.nodes.insert(path, hash),
            None => self.nodes.remove(&path),
        };
    }

    /// The root of the layer. An empty map has the hash of a root without children.
    pub(crate) fn root(&self) -> Root {
        let hash = self.hash(NodePath::ROOT).unwrap_or_else(|| TreeHash::of_node(0, &[]));
        Root(hash.hash)
    }

    /// The hash of a node or bucket that is not empty.
    pub(crate) fn hash(&self, path: NodePath) -> Option<TreeHash> {
        self.nodes.get(&path).copied()
    }

    /// The children of a node that are not empty, by slot.
    pub(crate) fn children(&self, path: NodePath) -> Vec<(u8, TreeHash)> {
        let (Some(first), Some(last)) = (path.child(0), path.child(15)) else { return Vec::new() };
        // Below one node the paths follow each other.
        let below = self.nodes.range(first..=last);
        below.map(|(child, hash)| ((child.index - first.index) as u8, *hash)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_up_to_the_root_and_down_to_the_buckets() {
        let bucket = NodePath::new(3, 4095).unwrap();
        assert_eq!(bucket.parent(), NodePath::new(2, 255).unwrap());
        assert_eq!(bucket.parent().parent().parent(), NodePath::ROOT);
        assert_eq!(NodePath::new(2, 255).unwrap().child(15), Some(bucket));
        assert_eq!(bucket.child(0), None);
        assert_eq!(NodePath::new(3, 4096), None);
        assert_eq!(NodePath::new(4, 0), None);
    }

    #[test]
    fn emptied_buckets_leave_no_trace_in_the_root() {
        let mut tree = HashTree::default();
        let empty = tree.root();
        let hash = TreeHash::of_bucket(1, b"x");
        tree.update([(BucketIndex(7), Some(hash)), (BucketIndex(4000), Some(hash))]);
        assert_ne!(tree.root(), empty);
        tree.update([(BucketIndex(7), None), (BucketIndex(4000), None)]);
        assert_eq!(tree.root(), empty);
        assert!(tree.nodes.is_empty());
    }
}
