//! The content of a layer: one value (snapshot) or entries with their hash tree (map).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use tombolo_delta::{CborError, CborReader, CborWriter, Limits, Value};

use crate::clock::Timestamp;
use crate::layer::bucket::{Bucket, MapSizes, bucket_cbor, hash_of, place, put};
use crate::layer::tree::HashTree;
use crate::layer::{BucketIndex, CompactValue, Entry, EntryError, KeyPath, Kind, NodePath, Root, TreeHash};
use crate::limits::{BUCKET_BYTES_MAX, DEPTH_MAX, LAYER_BYTES_MAX, MAP_ENTRIES_MAX, SNAPSHOT_BYTES_MAX};

/// The head of an array of at most 2^32 - 1 items.
const ARRAY_HEAD_BYTES_MAX: usize = 5;

/// A key in which two states of a map differ, and its entry in the later one; none where it has none any more.
pub type EntryChange = (KeyPath, Option<Arc<Entry>>);

/// What a change of a map has put in the place of what.
#[derive(Debug)]
pub struct MapChange {
    /// The keys that were changed, as they were named, with the entries that they have now.
    pub now: Vec<EntryChange>,
    before: Before,
}

/// An entry of so many bytes on its way to its place; none drops what stands there.
type Placed = (BucketIndex, KeyPath, Option<(Arc<Entry>, usize)>);

/// Whether two of the entries for one bucket, which are few, have one key.
fn names_a_key_twice(bucket: &[Placed]) -> bool {
    bucket.len() > 1 && {
        let mut keys = BTreeSet::new();
        !bucket.iter().all(|(_, key, _)| keys.insert(key))
    }
}

/// The content of a layer.
#[derive(Clone, Debug)]
pub enum Content {
    /// Of a snapshot: one value.
    Snapshot(CompactValue),
    /// Of a map: its entries.
    Map(MapContent),
}

/// Why bytes or a change make no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Not deterministic CBOR within the limits.
    #[error("{0}")]
    Cbor(#[from] CborError),
    /// An entry is none.
    #[error("{0}")]
    Entry(#[from] EntryError),
    /// A map's content is an array of entries.
    #[error("the content of a map is an array of entries")]
    NotEntries,
    /// Two entries for one key.
    #[error("the key `{0}` stands twice")]
    DuplicateKey(KeyPath),
    /// The layer has too many entries.
    #[error("a map layer has at most {MAP_ENTRIES_MAX} entries")]
    TooManyEntries,
    /// The entries have too many bytes.
    #[error("a map layer has at most {LAYER_BYTES_MAX} bytes of entries")]
    TooLarge,
    /// Too many bytes in one bucket.
    #[error("a bucket of a map layer has at most {BUCKET_BYTES_MAX} bytes")]
    BucketFull,
}

impl Content {
    /// The content of a layer without a state.
    pub fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Snapshot => Content::Snapshot(Value::Null.into()),
            Kind::Map => Content::Map(MapContent::default()),
        }
    }

    /// A snapshot's content, within the limits of the format.
    ///
    /// # Errors
    ///
    /// The limit that the value exceeds.
    pub fn snapshot(value: Value) -> Result<Self, ContentError> {
        snapshot_limits().check(&value)?;
        Ok(Content::Snapshot(value.into()))
    }

    /// Whether it is a snapshot or a map.
    pub fn kind(&self) -> Kind {
        match self {
            Content::Snapshot(_) => Kind::Snapshot,
            Content::Map(_) => Kind::Map,
        }
    }

    /// The BLAKE3 root that is signed.
    pub fn root(&self) -> Root {
        match self {
            Content::Snapshot(value) => snapshot_root(&value.to_cbor()),
            Content::Map(map) => map.root(),
        }
    }

    /// The whole content as canonical CBOR: the value, or the entries by bucket and key.
    pub fn to_cbor(&self) -> Vec<u8> {
        match self {
            Content::Snapshot(value) => value.to_cbor(),
            Content::Map(map) => write_entries(map.sizes.bytes + 8, map.len(), map.iter()),
        }
    }

    /// Reads what `to_cbor` wrote; the bytes may be a peer's.
    ///
    /// # Errors
    ///
    /// An error where the bytes are no content of this kind, or exceed a limit.
    pub fn from_cbor(kind: Kind, bytes: &[u8]) -> Result<Self, ContentError> {
        match kind {
            Kind::Snapshot => {
                Ok(Content::Snapshot(tombolo_delta::from_cbor(bytes, &snapshot_limits())?.into()))
            }
            Kind::Map => {
                let entries = read_entries(bytes)?.into_iter().map(|(key, entry)| (key, Arc::new(entry)));
                Ok(Content::Map(MapContent::of_entries(entries)?))
            }
        }
    }

    /// Bytes of its canonical CBOR, about: what the format limits, and what travels.
    pub fn bytes(&self) -> usize {
        match self {
            Content::Snapshot(value) => value.cbor_len(),
            Content::Map(map) => map.sizes.bytes,
        }
    }
}

/// The root of a snapshot: BLAKE3 of its canonical CBOR.
pub(crate) fn snapshot_root(cbor: &[u8]) -> Root {
    Root(*blake3::hash(cbor).as_bytes())
}

fn snapshot_limits() -> Limits {
    Limits { bytes_max: SNAPSHOT_BYTES_MAX, depth_max: DEPTH_MAX, items_max: SNAPSHOT_BYTES_MAX }
}

/// Reads an array of entries, each key once.
pub(crate) fn read_entries(bytes: &[u8]) -> Result<Vec<(KeyPath, Entry)>, ContentError> {
    // The limit is that of the entries, without the head of their array.
    let bytes_max = LAYER_BYTES_MAX + ARRAY_HEAD_BYTES_MAX;
    let limits = Limits { bytes_max, depth_max: DEPTH_MAX + 2, items_max: LAYER_BYTES_MAX };
    if bytes.len() > limits.bytes_max {
        return Err(CborError::TooLong { bytes: bytes.len(), max: limits.bytes_max }.into());
    }
    let mut reader = CborReader::new(bytes, &limits);
    let count = reader.enter_array()?.ok_or(ContentError::NotEntries)?;
    if count > MAP_ENTRIES_MAX {
        return Err(ContentError::TooManyEntries);
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(Entry::read(&mut reader)?);
    }
    reader.finish()?;
    match key_that_stands_twice(&entries) {
        Some(key) => Err(ContentError::DuplicateKey(key)),
        None => Ok(entries),
    }
}

/// A key of which there are two entries. Those that were written in order show at one glance that there is none.
fn key_that_stands_twice(entries: &[(KeyPath, Entry)]) -> Option<KeyPath> {
    fn place((key, _): &(KeyPath, Entry)) -> (BucketIndex, &KeyPath) {
        (BucketIndex::of(key), key)
    }
    if entries.is_sorted_by(|a, b| place(a) < place(b)) {
        return None;
    }
    let mut keys = BTreeSet::new();
    entries.iter().find(|(key, _)| !keys.insert(key)).map(|(key, _)| key.clone())
}

/// The canonical CBOR of an array of entries.
pub(super) fn write_entries<'a>(
    bytes: usize,
    count: usize,
    entries: impl Iterator<Item = (&'a KeyPath, &'a Entry)>,
) -> Vec<u8> {
    let mut out = CborWriter::with_capacity(bytes);
    out.array(count);
    entries.for_each(|(key, entry)| entry.write(key, &mut out));
    out.finish()
}

/// The entries of a map layer, with the hashes of their buckets. A copy shares the entries with its original, as the merge does
/// that shows them.
#[derive(Clone, Debug, Default)]
pub struct MapContent {
    /// The buckets that hold entries.
    buckets: BTreeMap<BucketIndex, Bucket>,
    sizes: MapSizes,
    tree: HashTree,
}

impl MapContent {
    /// The content of these entries; of two with one key the later counts.
    ///
    /// # Errors
    ///
    /// The limit that the content would exceed.
    pub fn of_entries(
        entries: impl IntoIterator<Item = (KeyPath, Arc<Entry>)>,
    ) -> Result<Self, ContentError> {
        let mut map = MapContent::default();
        for (key, entry) in entries {
            let size = entry.check(&key)?;
            let held = map.buckets.entry(BucketIndex::of(&key)).or_default();
            put(held, &mut map.sizes, key, Some((entry, size)));
        }
        map.sizes.within_limits()?;
        let mut buffer = Vec::new();
        let hashes = map.buckets.iter().map(|(bucket, held)| Ok((*bucket, hash_of(held, &mut buffer)?)));
        map.tree.update(hashes.collect::<Result<Vec<_>, ContentError>>()?);
        Ok(map)
    }

    /// The entry of a key.
    pub fn get(&self, key: &KeyPath) -> Option<&Entry> {
        self.shared(key).map(Arc::as_ref)
    }

    /// The same, to be kept elsewhere as well.
    pub fn shared(&self, key: &KeyPath) -> Option<&Arc<Entry>> {
        let bucket = self.buckets.get(&BucketIndex::of(key))?;
        place(bucket, key).ok().and_then(|at| bucket.get(at)).map(|(_, entry)| entry)
    }

    /// The entries of these keys as they are now.
    pub fn entries_at<'a>(&self, keys: impl IntoIterator<Item = &'a KeyPath>) -> Vec<EntryChange> {
        keys.into_iter().map(|key| (key.clone(), self.shared(key).cloned())).collect()
    }

    /// All entries, by bucket and key.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyPath, &Entry)> {
        let entries = self.buckets.values().flatten().inspect(|_| crate::steps::count());
        entries.map(|(key, entry)| (key, entry.as_ref()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.sizes.entries
    }

    /// A stamp that no entry has a later one than.
    pub fn newest_at_most(&self) -> Timestamp {
        self.sizes.newest_at_most
    }

    /// Whether some of them are tombstones.
    pub fn has_tombstones(&self) -> bool {
        self.sizes.tombstones > 0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.entries == 0
    }

    /// The root that is signed.
    pub fn root(&self) -> Root {
        self.tree.root()
    }

    /// The hash of a node or bucket; none where it is empty.
    pub fn hash(&self, path: NodePath) -> Option<TreeHash> {
        self.tree.hash(path)
    }

    /// The children of a node, by slot.
    pub fn children(&self, path: NodePath) -> Vec<(u8, TreeHash)> {
        self.tree.children(path)
    }

    /// A bucket's canonical CBOR: the array of its entries in key order.
    pub fn bucket_cbor(&self, bucket: BucketIndex) -> Vec<u8> {
        self.buckets.get(&bucket).map_or_else(|| bucket_cbor(&[]), |entries| bucket_cbor(entries))
    }

    /// The entries below a node, by bucket and key.
    pub fn below(&self, path: NodePath) -> impl Iterator<Item = (&KeyPath, &Arc<Entry>)> {
        self.buckets.range(path.buckets()).flat_map(|(_, entries)| entries).map(|(key, entry)| (key, entry))
    }

    /// Bytes of the entries' canonical CBOR.
    pub fn size_bytes(&self) -> usize {
        self.sizes.bytes
    }

    /// Bytes that the entries take in memory, about, with their keys and the indexes in which they stand.
    pub fn memory_bytes(&self) -> usize {
        self.sizes.memory_bytes(self.buckets.len())
    }

    /// Bytes of that which are the keys'.
    pub fn keys_memory_bytes(&self) -> usize {
        self.sizes.keys_memory
    }

    /// Puts (`Some`) or drops (`None`) the entries of some keys; all of them or, on an error, none. Returns what was put in the place
    /// of what.
    ///
    /// # Errors
    ///
    /// The limit that the content would exceed.
    pub fn change<E: Into<Arc<Entry>>>(
        &mut self,
        changes: impl IntoIterator<Item = (KeyPath, Option<E>)>,
    ) -> Result<MapChange, ContentError> {
        let mut places = Vec::new();
        for (key, entry) in changes {
            let entry: Option<Arc<Entry>> = entry.map(Into::into);
            let size = entry.as_ref().map_or(Ok(0), |entry| entry.check(&key))?;
            places.push((BucketIndex::of(&key), key, entry.map(|entry| (entry, size))));
        }
        let put = |(_, key, entry): &Placed| (key.clone(), entry.as_ref().map(|(entry, _)| entry.clone()));
        let mut now: Vec<EntryChange> = places.iter().map(put).collect();
        // Neighbours one after the other; of two changes of one key the later still comes later.
        places.sort_by_key(|(bucket, ..)| *bucket);
        let has_twice = places.chunk_by(|a, b| a.0 == b.0).any(names_a_key_twice);
        let mut before = Before::default();
        if let Err(error) = self.put_all(places, &mut before) {
            self.put_back(before.entries);
            return Err(error);
        }
        if has_twice {
            for (key, entry) in &mut now {
                *entry = self.shared(key).cloned();
            }
        }
        Ok(MapChange { now, before })
    }

    /// Puts back what a change has replaced; no other has followed it.
    pub fn undo(&mut self, change: MapChange) {
        self.put_back(change.before.entries);
        self.tree.update(change.before.hashes);
    }

    fn put_back(&mut self, before: Vec<(BucketIndex, KeyPath, Option<Arc<Entry>>)>) {
        for (bucket, key, old) in before.into_iter().rev() {
            let old = old.map(|old| {
                let size = old.size(&key);
                (old, size)
            });
            let held = self.buckets.entry(bucket).or_default();
            put(held, &mut self.sizes, key, old);
            if held.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }

    /// The keys under which this content has another entry than an older one, or none any more, with the entries that it has. Equal
    /// buckets are passed over.
    pub fn changes_since(&self, old: &MapContent) -> Vec<EntryChange> {
        self.changes_below(NodePath::ROOT, old)
    }

    /// The same below a node.
    pub fn changes_below(&self, path: NodePath, old: &MapContent) -> Vec<EntryChange> {
        let change = |(key, entry): &(KeyPath, Arc<Entry>)| (key.clone(), Some(entry.clone()));
        if old.is_empty() {
            return self.buckets.range(path.buckets()).flat_map(|(_, bucket)| bucket).map(change).collect();
        }
        let mut changes = Vec::new();
        let Range { start, end } = path.buckets();
        for bucket in (start.get()..end.get()).filter_map(|number| BucketIndex::new(u64::from(number))) {
            let path = NodePath::from(bucket);
            if self.hash(path) == old.hash(path) {
                continue;
            }
            let none = Bucket::new();
            let [before, now] = [old, self].map(|map| map.buckets.get(&bucket).unwrap_or(&none));
            let find = |bucket: &Bucket, key: &KeyPath| place(bucket, key).ok();
            let gone = before.iter().filter(|(key, _)| find(now, key).is_none());
            changes.extend(gone.map(|(key, _)| (key.clone(), None)));
            let is_other = |(key, entry): &&(KeyPath, Arc<Entry>)| {
                let held = find(before, key).and_then(|at| before.get(at));
                held.is_none_or(|(_, held)| held != entry)
            };
            changes.extend(now.iter().filter(is_other).map(change));
        }
        changes
    }

    /// Puts what a part has below a node, of which it is the content, in the place of what stands there.
    ///
    /// # Errors
    ///
    /// The limit that the content would exceed; it has changed then.
    pub fn replace_below(
        &mut self,
        parts: impl IntoIterator<Item = (NodePath, MapContent)>,
    ) -> Result<(), ContentError> {
        let mut hashes = Vec::new();
        for (path, part) in parts {
            let replaced: Vec<BucketIndex> =
                self.buckets.range(path.buckets()).map(|(bucket, _)| *bucket).collect();
            hashes.extend(replaced.iter().filter(|b| !part.buckets.contains_key(b)).map(|b| (*b, None)));
            let replaced = replaced.iter().filter_map(|bucket| self.buckets.remove(bucket));
            for (key, entry) in replaced.flatten() {
                self.sizes.take(&key, &entry);
            }
            self.sizes.add_all(part.sizes);
            let hash_of = |bucket: &BucketIndex| (*bucket, part.hash(NodePath::from(*bucket)));
            hashes.extend(part.buckets.keys().map(hash_of));
            self.buckets.extend(part.buckets);
        }
        self.tree.update(hashes);
        self.sizes.within_limits()
    }

    /// Gives back the memory of some entries of a content that is of no use any more, bucket by bucket. Returns whether that was all.
    pub(crate) fn shed(&mut self, entries: usize) -> bool {
        let mut shed = 0;
        while shed < entries {
            let Some((_, bucket)) = self.buckets.pop_first() else { return true };
            shed += bucket.len();
        }
        false
    }

    /// Puts entries, or takes them out, and renews the hashes of their buckets, bucket by bucket. What they replace, and which hashes, is
    /// added to `before`.
    fn put_all(&mut self, places: Vec<Placed>, before: &mut Before) -> Result<(), ContentError> {
        let mut places = places.into_iter().peekable();
        let (mut hashes, mut buffer) = (Vec::with_capacity(places.len()), Vec::new());
        while let Some((bucket, mut key, mut entry)) = places.next() {
            let held = self.buckets.entry(bucket).or_default();
            loop {
                let old = put(held, &mut self.sizes, key.clone(), entry);
                before.entries.push((bucket, key, old));
                let Some((_, next, changed)) = places.next_if(|(next, ..)| *next == bucket) else { break };
                (key, entry) = (next, changed);
            }
            hashes.push((bucket, hash_of(held, &mut buffer)?));
            if held.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
        self.sizes.within_limits()?;
        before.hashes = self.tree.update(hashes);
        Ok(())
    }
}

/// What a change has replaced.
#[derive(Debug, Default)]
struct Before {
    /// What stood under the keys, in the order in which it was replaced.
    entries: Vec<(BucketIndex, KeyPath, Option<Arc<Entry>>)>,
    /// The hashes that the buckets had: what is undone is not hashed again.
    hashes: Vec<(BucketIndex, Option<TreeHash>)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use proptest::prelude::*;

    fn entry(stamp: u64, value: Option<Value>) -> Entry {
        Entry {
            stamp: Timestamp::from_bits(stamp),
            value: value.map(Into::into),
            saw: (stamp > 9).then_some([1, 2, 3, 4]),
        }
    }

    fn changes() -> impl Strategy<Value = Vec<(KeyPath, Option<Entry>)>> {
        let key = (0u8..40).prop_map(|n| KeyPath::parse(&format!("k{n}/x")).unwrap());
        let value = prop_oneof![
            Just(None),
            (any::<u64>(), any::<i64>()).prop_map(|(s, v)| Some(entry(s, Some(Value::from(v))))),
            any::<u64>().prop_map(|s| Some(entry(s, None))),
        ];
        proptest::collection::vec((key, value), 0..60)
    }

    proptest! {
        #[test]
        fn the_root_depends_on_the_entries_only_not_on_how_they_came(list in changes()) {
            let mut one_by_one = MapContent::default();
            for change in list.clone() {
                one_by_one.change([change]).unwrap();
            }
            let mut at_once = MapContent::default();
            let (first, later) = list.split_at(list.len() / 2);
            at_once.change(first.to_vec()).unwrap();
            let before = at_once.root();
            let change = at_once.change(later.to_vec()).unwrap();
            for (key, entry) in &change.now {
                prop_assert_eq!(entry.as_ref(), at_once.shared(key));
            }
            at_once.undo(change);
            prop_assert_eq!(at_once.root(), before);
            at_once.change(later.to_vec()).unwrap();
            prop_assert_eq!(one_by_one.root(), at_once.root());
            prop_assert_eq!(one_by_one.memory_bytes(), at_once.memory_bytes());
            let content = Content::Map(at_once);
            let again = Content::from_cbor(Kind::Map, &content.to_cbor()).unwrap();
            prop_assert_eq!(again.root(), content.root());
            prop_assert_eq!(again.bytes(), content.bytes());
            let Content::Map(map) = content else { unreachable!() };
            for (key, entry) in map.iter() {
                prop_assert_eq!(entry.size(key), entry.to_cbor(key).len());
            }
        }

        /// Read piece by piece or taken apart as a value: the same entry, or none.
        #[test]
        fn an_entry_reads_the_same_both_ways(
            change in changes(), flipped in any::<(prop::sample::Index, u8)>(),
        ) {
            for (key, entry) in change {
                let Some(entry) = entry else { continue };
                let mut cbor = entry.to_cbor(&key);
                let whole = [cbor.clone(), { let at = flipped.0.index(cbor.len()); cbor[at] ^= flipped.1; cbor }];
                for cbor in whole {
                    let value = tombolo_delta::from_cbor(&cbor, &Limits::SNAPSHOT).ok();
                    let taken_apart = value.and_then(|value| Entry::from_value(value).ok());
                    let mut reader = CborReader::new(&cbor, &Limits::SNAPSHOT);
                    let read = Entry::read(&mut reader).ok().filter(|_| reader.finish().is_ok());
                    prop_assert_eq!(read, taken_apart);
                }
            }
        }

        #[test]
        fn hostile_bytes_are_refused_not_believed(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Content::from_cbor(Kind::Map, &bytes);
            let _ = Content::from_cbor(Kind::Snapshot, &bytes);
        }
    }

    #[test]
    fn a_refused_change_leaves_everything_as_it_was() {
        let mut map = MapContent::default();
        let key = KeyPath::parse("a").unwrap();
        map.change([(key.clone(), Some(entry(1, Some(Value::from(1i64)))))]).unwrap();
        let before = map.root();
        let too_large = entry(2, Some(Value::Bytes(vec![0; 70_000])));
        let other = KeyPath::parse("b").unwrap();
        let refused = map.change([(key, None), (other, Some(too_large))]);
        assert_eq!(refused.unwrap_err(), ContentError::Entry(EntryError::TooLarge));
        assert_eq!(map.root(), before);
        assert_eq!(map.len(), 1);
    }
}
