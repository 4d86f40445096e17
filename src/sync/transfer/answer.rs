//! What a question holds of the layer that the asking node has, and the answers to it.

use std::collections::BTreeMap;

use crate::layer::packed::pack;
use crate::layer::{Entry, KeyPath, MapContent, NodePath, Root, TreeHash, sort_by_key_path};
use crate::limits::{BUCKET_BYTES_MAX, HELD_ENTRIES_MAX, PARTS_BYTES_MAX, PARTS_UNPACKED_MAX};
use crate::sync::message::{LayerPart, Message, NodeAsk, TransferId, TreeNode};

/// Bytes of the short hash of a child or an entry: with it a question names what is held.
pub const SHORT_HASH_BYTES: usize = 4;

/// Bytes with which a question names the 16 children of a node.
pub const HELD_CHILDREN_BYTES: usize = 16 * SHORT_HASH_BYTES;

/// The start of the hash of each child, by slot; zeros for one that is not there. None where no child is.
pub(super) fn held_children(content: &MapContent, path: NodePath) -> Option<Vec<u8>> {
    let children = content.children(path);
    let mut held = [[0; SHORT_HASH_BYTES]; 16];
    for (slot, hash) in &children {
        let place = held.get_mut(usize::from(*slot)).expect("a node has 16 slots");
        *place = short(hash);
    }
    (!children.is_empty()).then(|| held.concat())
}

/// The short hash of each entry of a bucket, in key order. None where there is none, or more than a question names.
pub(super) fn held_entries(content: &MapContent, path: NodePath, root: &Root) -> Option<Vec<u8>> {
    path.bucket()?;
    let count = content.below(path).take(HELD_ENTRIES_MAX + 1).count();
    let hashes = content.below(path).flat_map(|(key, entry)| short_hash(key, entry, root));
    (1..=HELD_ENTRIES_MAX).contains(&count).then(|| hashes.collect())
}

fn short(hash: &TreeHash) -> [u8; SHORT_HASH_BYTES] {
    let [a, b, c, d, ..] = hash.hash;
    [a, b, c, d]
}

/// The first 4 bytes of BLAKE3 of the CBOR of an entry, keyed with the root that is asked about: an author cannot choose two entries
/// whose short hashes are equal under every root.
fn short_hash(key: &KeyPath, entry: &Entry, root: &Root) -> [u8; SHORT_HASH_BYTES] {
    let [a, b, c, d, ..] = *blake3::keyed_hash(&root.0, &entry.to_cbor(key)).as_bytes();
    [a, b, c, d]
}

/// Answers a `TreeAsk` from a layer that is held here in the state asked for.
pub fn answer_tree(id: TransferId, content: &MapContent, asks: &[NodeAsk]) -> Message {
    let nodes = asks.iter().filter(|ask| ask.path.bucket().is_none());
    Message::Tree(id, nodes.map(|ask| answered_node(content, ask)).collect())
}

/// A node with its children, but for those that the question names.
fn answered_node(content: &MapContent, ask: &NodeAsk) -> TreeNode {
    let mut children = content.children(ask.path);
    let held: Option<Vec<&[u8]>> = ask.held.as_ref().map(|held| held.chunks(SHORT_HASH_BYTES).collect());
    let same = held.map(|held| {
        let is_held = |(slot, hash): &(u8, TreeHash)| held.get(usize::from(*slot)) == Some(&&short(hash)[..]);
        let same =
            children.iter().filter(|child| is_held(child)).fold(0, |same, (slot, _)| same | 1u16 << slot);
        children.retain(|child| !is_held(child));
        same
    });
    TreeNode { path: ask.path, children, same }
}

/// Answers a `PartsAsk`, as far as one message goes; the rest is asked for again. A node whose entries are too many for a part is
/// answered with its children.
pub fn answer_parts(id: TransferId, content: &MapContent, asks: &[NodeAsk]) -> Message {
    let (mut parts, mut bytes, mut read) = (Vec::new(), 0, 0);
    for ask in asks {
        // However little is asked, and whatever becomes of it: an answer looks at no more than this.
        if read > PARTS_UNPACKED_MAX / 2 {
            break;
        }
        let size = size_below(content, ask.path);
        read += size;
        if size > BUCKET_BYTES_MAX {
            match parts.is_empty() {
                true => return answer_tree(id, content, &[NodeAsk { path: ask.path, held: None }]),
                false => continue,
            }
        }
        let Some(part) = answered_part(content, ask, &id.root) else { continue };
        bytes += part.packed.len();
        if bytes > PARTS_BYTES_MAX && !parts.is_empty() {
            break;
        }
        parts.push(part);
    }
    Message::Parts(id, parts)
}

/// Bytes of the entries below a node, counted until they are more than a part may have.
fn size_below(content: &MapContent, path: NodePath) -> usize {
    let mut size = 0;
    for (key, entry) in content.below(path) {
        crate::steps::count();
        size += entry.size(key);
        if size > BUCKET_BYTES_MAX {
            break;
        }
    }
    size
}

/// The entries below a node, but for those that the question names. None where they are too many for a part.
fn answered_part(content: &MapContent, ask: &NodeAsk, root: &Root) -> Option<LayerPart> {
    let mut entries: Vec<(&KeyPath, &Entry)> =
        content.below(ask.path).map(|(key, entry)| (key, entry.as_ref())).collect();
    let same = ask.held.as_ref().map(|held| {
        let hashes = held.chunks_exact(SHORT_HASH_BYTES).take(HELD_ENTRIES_MAX).zip(0usize..);
        let places: BTreeMap<&[u8], usize> = hashes.collect();
        let mut same = vec![0u8; held.len().div_ceil(8 * SHORT_HASH_BYTES)];
        entries.retain(|(key, entry)| {
            let place = places.get(&short_hash(key, entry, root)[..]);
            if let Some((byte, at)) = place.and_then(|at| Some((same.get_mut(at / 8)?, at))) {
                *byte |= 1 << (at % 8);
            }
            place.is_none()
        });
        same
    });
    sort_by_key_path(&mut entries, |(key, _)| key);
    let packed = pack(entries, BUCKET_BYTES_MAX)?;
    Some(LayerPart { path: ask.path, packed, same })
}
