//! The hash tree of a map layer: 4,096 buckets below three levels of 16-way nodes.
//!
//! A bucket is the unit of hashing, transfer and resume: what a reader has verified under one root stays
//! good under every later root that contains the same bucket hash.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
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

    /// The same, where the first 8 bytes of that hash are known.
    pub(super) fn of_key_hash(hash: u64) -> Self {
        BucketIndex((hash >> 52) as u16)
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

    /// The node above the sixteen buckets of a block of the store.
    pub(crate) fn of_block(block: u16) -> Option<Self> {
        NodePath::new(u64::from(BUCKET_LEVEL) - 1, u64::from(block))
    }

    /// The bucket that this is, on the lowest level.
    pub fn bucket(self) -> Option<BucketIndex> {
        (self.level == BUCKET_LEVEL).then_some(BucketIndex(self.index))
    }

    /// The buckets that this is or that stand below it.
    pub(super) fn buckets(self) -> std::ops::Range<BucketIndex> {
        let each = BUCKETS >> (4 * u32::from(self.level));
        BucketIndex(self.index * each)..BucketIndex(self.index * each + each)
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
        TreeHash { count, hash: hash_in(&BUCKET_CONTEXT, cbor) }
    }

    /// The hash of a node: BLAKE3, derive-key context `tombolo 1 map node`, over the canonical CBOR of
    /// `[level, count, [[slot, hash], …]]`; absent children are left out.
    pub fn of_node(level: u8, children: &[(u8, TreeHash)]) -> Self {
        Self::of_node_in(level, children, &mut Vec::new())
    }

    /// The same. `buffer` is for its CBOR, and can be used again.
    fn of_node_in(level: u8, children: &[(u8, TreeHash)], buffer: &mut Vec<u8>) -> Self {
        let count = children.iter().fold(0u32, |sum, (_, child)| sum.saturating_add(child.count));
        buffer.clear();
        buffer.reserve(NODE_HEAD_BYTES_MAX + CHILD_BYTES * children.len());
        let mut node = CborWriter::appending(std::mem::take(buffer));
        node.array(3).unsigned(u64::from(level)).unsigned(u64::from(count)).array(children.len());
        for (slot, child) in children {
            // An array of two: a number below 24, and 32 bytes.
            let mut item = [0; CHILD_BYTES];
            let (head, hash) = item.split_at_mut(CHILD_BYTES - child.hash.len());
            head.copy_from_slice(&[0x82, *slot, 0x58, 32]);
            hash.copy_from_slice(&child.hash);
            node.encoded(&item);
        }
        *buffer = node.finish();
        TreeHash { count, hash: hash_in(&NODE_CONTEXT, buffer) }
    }
}

/// Bytes in front of the children in the CBOR of a node.
const NODE_HEAD_BYTES_MAX: usize = 16;
/// Bytes of a child in the CBOR of its node.
const CHILD_BYTES: usize = 4 + 32;

/// BLAKE3 in its derive-key mode begins with the hash of the context, which is the same each time.
static BUCKET_CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("tombolo 1 map bucket"));
static NODE_CONTEXT: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context("tombolo 1 map node"));

fn hash_in(context: &ContextKey, bytes: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_from_context_key(context).update(bytes).finalize().as_bytes()
}

/// All hashes of one map layer, kept up to date bucket by bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashTree {
    /// The children of each node that has some, by slot.
    children: BTreeMap<NodePath, Vec<(u8, TreeHash)>>,
    root: Option<TreeHash>,
}

impl HashTree {
    /// Takes new hashes of some buckets (none: the bucket is empty now) and renews what is above them. Returns those before.
    pub(crate) fn update(
        &mut self,
        buckets: impl IntoIterator<Item = (BucketIndex, Option<TreeHash>)>,
    ) -> Vec<(BucketIndex, Option<TreeHash>)> {
        let mut changed: Vec<(NodePath, Option<TreeHash>)> =
            buckets.into_iter().map(|(bucket, hash)| (NodePath::from(bucket), hash)).collect();
        changed.sort_by_key(|(path, _)| *path);
        let (mut before, mut buffer) = (Vec::with_capacity(changed.len()), Vec::new());
        // Level by level upwards; siblings follow each other.
        while changed.first().is_some_and(|(path, _)| *path != NodePath::ROOT) {
            let families = changed.chunk_by(|(a, _), (b, _)| a.parent() == b.parent());
            changed =
                families.filter_map(|family| self.put_family(family, &mut before, &mut buffer)).collect();
        }
        if let [(_, root)] = changed[..] {
            self.root = root;
        }
        before
    }

    /// Takes new hashes of children of one node, and notes those that buckets had. Returns the node with its new hash.
    fn put_family(
        &mut self,
        family: &[(NodePath, Option<TreeHash>)],
        before: &mut Vec<(BucketIndex, Option<TreeHash>)>,
        buffer: &mut Vec<u8>,
    ) -> Option<(NodePath, Option<TreeHash>)> {
        let parent = family.first()?.0.parent();
        let children = self.children.entry(parent).or_default();
        for (path, hash) in family {
            let slot = (path.index % FANOUT) as u8;
            let place = children.binary_search_by_key(&slot, |(other, _)| *other);
            let old = match (place.map(|at| (at, children.get_mut(at))), hash) {
                (Ok((_, Some((_, held)))), Some(hash)) => Some(std::mem::replace(held, *hash)),
                (Ok((at, _)), None) => Some(children.remove(at).1),
                (Err(at), Some(hash)) => {
                    children.insert(at, (slot, *hash));
                    None
                }
                (Ok((_, None)), Some(_)) | (Err(_), None) => None,
            };
            before.extend(path.bucket().map(|bucket| (bucket, old)));
        }
        if children.is_empty() {
            self.children.remove(&parent);
            return Some((parent, None));
        }
        Some((parent, Some(TreeHash::of_node_in(parent.level, children, buffer))))
    }

    /// The root of the layer. An empty map has the hash of a root without children.
    pub(crate) fn root(&self) -> Root {
        let hash = self.root.unwrap_or_else(|| TreeHash::of_node(0, &[]));
        Root(hash.hash)
    }

    /// The hash of a node or bucket that is not empty.
    pub(crate) fn hash(&self, path: NodePath) -> Option<TreeHash> {
        if path == NodePath::ROOT {
            return self.root;
        }
        let slot = (path.index % FANOUT) as u8;
        let siblings = self.children.get(&path.parent())?;
        let at = siblings.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        siblings.get(at).map(|(_, hash)| *hash)
    }

    /// The children of a node that are not empty, by slot.
    pub(crate) fn children(&self, path: NodePath) -> Vec<(u8, TreeHash)> {
        self.children.get(&path).cloned().unwrap_or_default()
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
        assert!(tree.children.is_empty());
    }
}
