//! The entries of a large map, of which most came together: some blocks in the place of a record for each entry.
//!
//! ```text
//! block   [changed at, entry, changed at, entry, …]        CBOR; the entries of up to 16 neighbouring buckets, none empty
//! ```
//!
//! Blocks are written once, with all that the map has, and all of them go when it is written so again. What changes later stands in records
//! of the table `entries`, which go above a block: an entry, a key that was dropped, or a key of a block of which nothing is known any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use tombolo_delta::CborReader;

use crate::layer::{AllEntries, Entry, KeyPath, Sequence, block_of};
use crate::store::StoreError;
use crate::store::records::{self, RECORD_LIMITS, StoredEntry};
use crate::store::tables::ENTRIES;

pub(super) const BLOCKS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("blocks");

/// The record of a key that stands in a block, and of which nothing is known any more: an array without items.
pub(super) const FORGOTTEN: &[u8] = &[0x80];
/// What the record of a dropped key begins with: an array of one item.
const DROPPED: u8 = 0x81;

/// Puts all entries of a map in the place of what stands there. What was dropped before stays known, or not.
pub(super) fn put_all(
    transaction: &WriteTransaction,
    number: u64,
    all: &AllEntries,
    keeps_dropped: bool,
) -> Result<(), StoreError> {
    clear(transaction, number)?;
    let mut blocks = transaction.open_table(BLOCKS)?;
    for (block, bytes) in all.blocks() {
        blocks.insert((number, *block), bytes.as_slice())?;
    }
    let mut records = transaction.open_table(ENTRIES)?;
    let mut dropped: BTreeSet<Vec<u8>> = BTreeSet::new();
    records.retain_in((number, &[][..])..(number + 1, &[][..]), |(_, key), record| {
        let stays = keeps_dropped && record.first() == Some(&DROPPED);
        if stays {
            dropped.insert(key.to_vec());
        }
        stays
    })?;
    if dropped.is_empty() {
        return Ok(());
    }
    for key in
        all.entries().iter().map(|(key, ..)| records::key_record(key)).filter(|key| dropped.contains(key))
    {
        records.remove((number, key.as_slice()))?;
    }
    Ok(())
}

/// What is to be noted of a key of which nothing needs to be known any more; nothing where no block has it.
pub(super) fn note_of_forgotten(
    blocks: &impl ReadableTable<(u64, u64), &'static [u8]>,
    number: u64,
    key: &KeyPath,
    record: &[u8],
) -> Result<Option<&'static [u8]>, StoreError> {
    let block = blocks.get((number, block_of(key)))?;
    // That the bytes of the key stand elsewhere in its block does no harm.
    let has_key = block.is_some_and(|block| block.value().windows(record.len()).any(|bytes| bytes == record));
    Ok(has_key.then_some(FORGOTTEN))
}

/// Removes the blocks of a layer.
pub(super) fn clear(transaction: &WriteTransaction, number: u64) -> Result<(), StoreError> {
    Ok(transaction.open_table(BLOCKS)?.retain_in((number, 0)..=(number, u64::MAX), |_, _| false)?)
}

/// The entries of a layer that stand in blocks, but for the keys that have a record above them.
pub(super) fn read(
    blocks: &impl ReadableTable<(u64, u64), &'static [u8]>,
    number: u64,
    above: &[StoredEntry],
    forgotten: &[KeyPath],
) -> Result<Vec<StoredEntry>, StoreError> {
    let (mut entries, mut covered) = (Vec::new(), BTreeSet::new());
    for block in blocks.range((number, 0)..=(number, u64::MAX))? {
        let (_, bytes) = block?;
        if covered.is_empty() {
            covered = above.iter().map(|(key, ..)| key).chain(forgotten).collect();
        }
        read_block(bytes.value(), &covered, &mut entries).ok_or(StoreError::Damaged("block"))?;
    }
    Ok(entries)
}

fn read_block(bytes: &[u8], covered: &BTreeSet<&KeyPath>, into: &mut Vec<StoredEntry>) -> Option<()> {
    let mut reader = CborReader::new(bytes, &RECORD_LIMITS);
    let items = reader.enter_array().ok()??;
    into.reserve(items / 2);
    for _ in 0..items.div_ceil(2) {
        let changed_at = Sequence::new(u64::try_from(reader.next_int().ok()??.get()).ok()?)?;
        let (key, entry) = Entry::read(&mut reader).ok()?;
        if covered.is_empty() || !covered.contains(&key) {
            into.push((key, Some(Arc::new(entry)), changed_at));
        }
    }
    reader.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redb::ReadableDatabase;
    use tombolo_delta::Value;

    use super::*;
    use crate::clock::Timestamp;
    use crate::identity::Keypair;
    use crate::layer::{
        BucketIndex, DocumentId, DocumentName, EntryChange, Head, Kind, KnownEntry, LayerId, Root, SignedHead,
    };
    use crate::store::{LayerWrite, Store, StoreWrite};
    use crate::time::Wall;

    /// Of so many entries nearly each block has some.
    const MANY: usize = 2_000;

    type Known = BTreeMap<KeyPath, (Option<Arc<Entry>>, Sequence)>;

    fn key(n: usize) -> KeyPath {
        KeyPath::parse(&format!("k/{n}")).unwrap()
    }

    fn entry(n: usize) -> Option<Arc<Entry>> {
        let value = Some(Value::from(n as u64).into());
        Some(Arc::new(Entry { stamp: Timestamp::from_bits(n as u64), value, saw: None }))
    }

    fn signed(sequence: u64) -> SignedHead {
        let me = Keypair::from_seeds(&[1; 32], &[2; 32]);
        let document = DocumentId { owner: me.peer_id(), name: DocumentName::new("m").unwrap() };
        Head {
            kind: Kind::Map,
            layer: LayerId { document, author: me.peer_id() },
            sequence: Sequence::new(sequence).unwrap(),
            time: Wall::from_ms(9),
            audience_sequence: Sequence::NONE,
            root: Root([0; 32]),
        }
        .sign(&me)
    }

    /// A store with a map, and what it has to give back of it.
    struct Side {
        store: Store,
        known: Known,
        sequence: u64,
        /// What is not committed yet.
        writes: Vec<StoreWrite>,
    }

    impl Side {
        fn new() -> Self {
            Side { store: Store::in_memory().unwrap(), known: Known::new(), sequence: 0, writes: Vec::new() }
        }

        /// Commits a change as the history of a layer describes it, as blocks or not, and compares what the store has then.
        fn commit(&mut self, are_blocks: bool, entries: Vec<EntryChange>, forgotten_keys: Vec<KeyPath>) {
            self.change(are_blocks, entries, forgotten_keys);
            self.commit_all();
        }

        fn change(&mut self, are_blocks: bool, entries: Vec<EntryChange>, forgotten_keys: Vec<KeyPath>) {
            self.sequence += 1;
            let signed = signed(self.sequence);
            for (key, entry) in &entries {
                self.known.insert(key.clone(), (entry.clone(), signed.head.sequence));
            }
            forgotten_keys.iter().for_each(|key| drop(self.known.remove(key)));
            let live =
                self.known.iter().filter_map(|(key, (entry, at))| Some((key.clone(), entry.clone()?, *at)));
            let mut all: Vec<KnownEntry> = live.collect();
            all.sort_by_key(|(key, ..)| BucketIndex::of(key));
            let write = LayerWrite {
                signed,
                snapshot: None,
                entries,
                all: are_blocks.then(|| Arc::new(AllEntries::of(all))),
                kept: None,
                forgotten: Vec::new(),
                forgotten_keys,
                bases_from: None,
                is_own_map: false,
            };
            self.writes.push(StoreWrite::PutLayer(Box::new(write)));
        }

        fn commit_all(&mut self) {
            self.store.commit(std::mem::take(&mut self.writes)).unwrap();
            let [layer] = &self.store.load().unwrap().layers[..] else { panic!("one layer") };
            let stored = layer.entries.iter().map(|(key, entry, at)| (key.clone(), (entry.clone(), *at)));
            assert_eq!(layer.entries.len(), self.known.len(), "each key once");
            assert!(stored.collect::<Known>() == self.known, "state {}", self.sequence);
        }

        fn blocks(&self) -> usize {
            let transaction = self.store.database().unwrap().begin_read().unwrap();
            transaction.open_table(BLOCKS).unwrap().iter().unwrap().count()
        }
    }

    #[test]
    fn what_changes_later_goes_above_the_blocks() {
        let mut side = Side::new();
        side.commit(true, (0..MANY).map(|n| (key(n), entry(n))).collect(), vec![]);
        assert!(side.blocks() > 250);
        side.commit(false, vec![(key(1), entry(7)), (key(2), None), (key(MANY), entry(3))], vec![]);
        side.commit(false, vec![(key(2), entry(8)), (key(3), None), (key(MANY), None)], vec![]);
        // Nothing is known of a key any more: neither of one that a block has, nor of another.
        side.commit(false, vec![(key(4), None)], vec![key(3), key(4), key(MANY)]);
        side.commit(false, vec![(key(3), entry(9))], vec![]);
        // Most of it once more, with keys that are dropped and one that comes again; the rest was seen to change before.
        side.commit(false, vec![(key(5), None), (key(6), None)], vec![]);
        let most = (6..MANY).map(|n| (key(n), entry(n + 1)));
        side.commit(true, most.chain((0..2).map(|n| (key(n), None))).collect(), vec![]);
        side.commit(false, vec![(key(0), entry(1))], vec![]);
    }

    /// A transaction takes many commits of the log.
    #[test]
    fn blocks_stand_between_changes_of_one_transaction() {
        for is_together in [true, false] {
            let mut side = Side::new();
            let all = |from: usize| (from..MANY).map(|n| (key(n), entry(n + from))).collect::<Vec<_>>();
            for changes in [
                (false, vec![(key(0), entry(1)), (key(MANY), entry(1)), (key(MANY + 1), None)]),
                (false, vec![(key(0), None), (key(MANY), None)]),
                (true, all(0)),
                (false, vec![(key(3), None), (key(4), entry(1))]),
                (true, all(3)),
                (false, vec![(key(5), None)]),
            ] {
                side.change(changes.0, changes.1, vec![]);
                if !is_together {
                    side.commit_all();
                }
            }
            side.change(false, vec![], vec![key(5), key(MANY), key(MANY + 1)]);
            side.commit_all();
        }
    }

    #[test]
    fn a_map_that_loses_nearly_all_its_keys_keeps_no_block_of_them() {
        let mut side = Side::new();
        side.commit(true, (0..MANY).map(|n| (key(n), entry(n))).collect(), vec![]);
        side.commit(false, vec![(key(MANY), entry(1))], vec![]);
        side.commit(false, vec![(key(MANY), None)], vec![]);
        let keys = |from: usize| (from..=MANY).map(key);
        let changes = keys(1).map(|key| (key, None)).chain([(key(0), entry(5))]);
        side.commit(true, changes.collect(), keys(1).collect());
        assert_eq!(side.blocks(), 1);
        side.commit(false, vec![(key(9), entry(1))], vec![]);
    }

    #[test]
    fn bytes_that_are_no_block_are_damage() {
        for bytes in [&[0x82, 0x01][..], &[0x81, 0x01], &[0x82, 0x20, 0x80], &[0x80, 0x00], &[0xf6]] {
            assert_eq!(read_block(bytes, &BTreeSet::new(), &mut Vec::new()), None, "{bytes:?}");
        }
        assert_eq!(read_block(&[0x80], &BTreeSet::new(), &mut Vec::new()), Some(()));
    }
}
