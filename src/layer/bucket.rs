//! One bucket of a map layer: its entries in key order, and its hash; and what the entries of all buckets take.

use std::sync::Arc;

use tombolo_delta::CborWriter;

use crate::clock::Timestamp;
use crate::layer::content::write_entries;
use crate::layer::{ContentError, Entry, KeyPath, TreeHash};
use crate::limits::{BUCKET_BYTES_MAX, LAYER_BYTES_MAX, MAP_ENTRIES_MAX};

/// Bytes that the indexes take for an entry, about: its places in its bucket, in the merged view and in the log of changes.
const ENTRY_INDEX_BYTES: usize = 112;
/// Bytes that they take for a bucket: its list and its hashes.
const BUCKET_INDEX_BYTES: usize = 256;

/// The entries of one bucket in key order: few, since a layer has 4,096 buckets.
pub(super) type Bucket = Vec<(KeyPath, Arc<Entry>)>;

/// What the entries of a map take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapSizes {
    pub(super) entries: usize,
    /// Bytes of their canonical CBOR.
    pub(super) bytes: usize,
    /// Bytes of the keys in memory, and of the entries.
    pub(super) keys_memory: usize,
    entries_memory: usize,
    pub(super) tombstones: usize,
    /// No entry that is or was there has a later stamp.
    pub(super) newest_at_most: Timestamp,
}

impl MapSizes {
    /// An entry of so many bytes is put.
    fn put(&mut self, key: &KeyPath, entry: &Entry, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes;
        self.keys_memory += key.memory_bytes();
        self.entries_memory += entry.memory_bytes();
        self.tombstones += usize::from(entry.is_tombstone());
        self.newest_at_most = self.newest_at_most.max(entry.stamp);
    }

    /// An entry is taken out.
    pub(super) fn take(&mut self, key: &KeyPath, entry: &Entry) {
        self.entries -= 1;
        self.bytes -= entry.size(key);
        self.keys_memory -= key.memory_bytes();
        self.entries_memory -= entry.memory_bytes();
        self.tombstones -= usize::from(entry.is_tombstone());
    }

    /// The entries of another map are put, under keys that have none.
    pub(super) fn add_all(&mut self, other: MapSizes) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.keys_memory += other.keys_memory;
        self.entries_memory += other.entries_memory;
        self.tombstones += other.tombstones;
        self.newest_at_most = self.newest_at_most.max(other.newest_at_most);
    }

    /// Bytes that they take in memory, about, with their keys and the indexes in which they stand, in so many buckets.
    pub(super) fn memory_bytes(&self, buckets: usize) -> usize {
        let indexes = self.entries * ENTRY_INDEX_BYTES + buckets * BUCKET_INDEX_BYTES;
        self.keys_memory + self.entries_memory + indexes
    }

    pub(super) fn within_limits(&self) -> Result<(), ContentError> {
        if self.entries > MAP_ENTRIES_MAX {
            return Err(ContentError::TooManyEntries);
        }
        if self.bytes > LAYER_BYTES_MAX {
            return Err(ContentError::TooLarge);
        }
        Ok(())
    }
}

/// Where a key stands in its bucket, or where it would.
pub(super) fn place(bucket: &[(KeyPath, Arc<Entry>)], key: &KeyPath) -> Result<usize, usize> {
    // Most come in order.
    match bucket.last() {
        Some((last, _)) if last < key => Err(bucket.len()),
        _ => bucket.binary_search_by(|(other, _)| other.cmp(key)),
    }
}

/// Puts an entry of so many bytes, or takes it out. Returns what stood there.
pub(super) fn put(
    bucket: &mut Bucket,
    sizes: &mut MapSizes,
    key: KeyPath,
    entry: Option<(Arc<Entry>, usize)>,
) -> Option<Arc<Entry>> {
    let place = place(bucket, &key);
    if let Some((entry, bytes)) = &entry {
        sizes.put(&key, entry, *bytes);
    }
    let old = match (place.map(|at| (at, bucket.get_mut(at))), entry) {
        (Ok((_, Some((_, held)))), Some((entry, _))) => std::mem::replace(held, entry),
        (Ok((at, _)), None) => bucket.remove(at).1,
        (Err(at), Some((entry, _))) => {
            bucket.insert(at, (key, entry));
            return None;
        }
        (Ok((_, None)), Some(_)) | (Err(_), None) => return None,
    };
    sizes.take(&key, &old);
    Some(old)
}

/// The hash of a bucket; none where it is empty. `buffer` is for its CBOR, and can be used again.
///
/// # Errors
///
/// `BucketFull` where it has too many bytes.
pub(super) fn hash_of(bucket: &Bucket, buffer: &mut Vec<u8>) -> Result<Option<TreeHash>, ContentError> {
    if bucket.is_empty() {
        return Ok(None);
    }
    buffer.clear();
    let mut out = CborWriter::appending(std::mem::take(buffer));
    out.array(bucket.len());
    bucket.iter().for_each(|(key, entry)| entry.write(key, &mut out));
    *buffer = out.finish();
    let count = u32::try_from(bucket.len()).unwrap_or(u32::MAX);
    match buffer.len() {
        bytes if bytes > BUCKET_BYTES_MAX => Err(ContentError::BucketFull),
        _ => Ok(Some(TreeHash::of_bucket(count, buffer))),
    }
}

/// A bucket's canonical CBOR: the array of its entries in key order.
pub(super) fn bucket_cbor(bucket: &[(KeyPath, Arc<Entry>)]) -> Vec<u8> {
    let entries = || bucket.iter().map(|(key, entry)| (key, entry.as_ref()));
    let bytes: usize = entries().map(|(key, entry)| entry.size(key)).sum();
    write_entries(8 + bytes, bucket.len(), entries())
}
