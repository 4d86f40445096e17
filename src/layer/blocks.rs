//! All entries of a large map as they are kept together: by bucket, in blocks of neighbouring buckets, each entry with the sequence at
//! which it was seen to change. `store/blocks.rs` draws a block, and keeps them.

use std::sync::Arc;

use tombolo_delta::CborWriter;

use crate::layer::{BucketIndex, Entry, EntryChange, KeyPath, Sequence};

/// Buckets of a map whose entries stand in one block.
pub(crate) const BUCKETS_PER_BLOCK: u16 = 16;
/// Bytes of an entry with its sequence, about.
const BYTES_AN_ENTRY: usize = 64;
/// A map of which so few entries change is not written whole.
const WHOLE_ENTRIES_MIN: usize = 4_096;
/// Nor one of which less than this part changes: to write an entry in its place takes about so many times as long.
const WHOLE_PART_MIN: usize = 6;

/// A key of a map with its entry, and the sequence at which this node saw it change.
pub type KnownEntry = (KeyPath, Arc<Entry>, Sequence);

/// All entries of a map, with their blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct AllEntries {
    entries: Vec<KnownEntry>,
    blocks: Vec<(u64, Vec<u8>)>,
}

/// In what a new state of a map differs from the one before.
#[derive(Clone, Debug)]
pub struct MapDifference {
    /// The keys, with the entries that they have now.
    pub entries: Vec<EntryChange>,
    /// All that the map has now, where that was written down before.
    pub all: Option<Arc<AllEntries>>,
    /// The same entries, where each goes above what its author had under the key, and none is from the future.
    pub rising: Option<Vec<(KeyPath, Arc<Entry>)>>,
}

/// Whether all entries of a map are written of which so many change: to put many in their places takes longer.
pub fn is_written_whole(changed: usize, keys: usize) -> bool {
    changed > WHOLE_ENTRIES_MIN && changed * WHOLE_PART_MIN >= keys
}

/// The block that has the entry of a key.
pub(crate) fn block_of(key: &KeyPath) -> u64 {
    u64::from(BucketIndex::of(key).get() / BUCKETS_PER_BLOCK)
}

impl AllEntries {
    /// Writes the entries of a map, by bucket, as blocks.
    pub fn of(entries: Vec<KnownEntry>) -> Self {
        let chunks = entries.chunk_by(|(a, ..), (b, ..)| block_of(a) == block_of(b));
        let blocks = chunks.filter_map(encode).collect();
        AllEntries { entries, blocks }
    }

    /// Parts of a map that follow each other, of which no two have entries in one block.
    pub fn join(parts: impl IntoIterator<Item = AllEntries>) -> Self {
        let mut all = AllEntries { entries: Vec::new(), blocks: Vec::new() };
        for mut part in parts {
            all.entries.append(&mut part.entries);
            all.blocks.append(&mut part.blocks);
        }
        all
    }

    /// The entries, by bucket and key.
    pub fn entries(&self) -> &[KnownEntry] {
        &self.entries
    }

    /// The blocks with their numbers.
    pub fn blocks(&self) -> &[(u64, Vec<u8>)] {
        &self.blocks
    }
}

/// One block with its number.
fn encode(block: &[KnownEntry]) -> Option<(u64, Vec<u8>)> {
    let (first, ..) = block.first()?;
    let mut out = CborWriter::with_capacity(block.len() * BYTES_AN_ENTRY);
    out.array(2 * block.len());
    for (key, entry, changed_at) in block {
        entry.write(key, out.unsigned(changed_at.get()));
    }
    Some((block_of(first), out.finish()))
}

impl From<Vec<EntryChange>> for MapDifference {
    fn from(entries: Vec<EntryChange>) -> Self {
        MapDifference { entries, all: None, rising: None }
    }
}
