//! The new states of maps that one transaction takes. A log has thousands of one map: its head, its bases and each of its keys are
//! written once, as the last of them left them.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redb::{ReadableTable, WriteTransaction};

use crate::layer::{AllEntries, Entry, KeyPath, LayerId, Sequence};
use crate::limits::OWN_STATES_KEPT_MAX;
use crate::store::blocks::{self, BLOCKS};
use crate::store::records::{self, MapBase};
use crate::store::tables::{self, BASES, ENTRIES, PAST};
use crate::store::{LayerWrite, StoreError};

/// The maps that changed, by layer.
#[derive(Default)]
pub(super) struct MapStates<'a>(BTreeMap<&'a LayerId, MapState<'a>>);

/// One map: what its new states leave behind.
struct MapState<'a> {
    number: u64,
    newest: &'a LayerWrite,
    /// All that it had at some state, where that is written as blocks.
    all: Option<AllWritten<'a>>,
    /// What became of keys since, oldest first.
    entries: Vec<(&'a KeyPath, KeyState<'a>)>,
    bases: Vec<MapBase>,
    /// The states of a map of this node.
    past: Vec<(Sequence, [u8; 4])>,
}

/// The entries of a map at one of its states.
struct AllWritten<'a> {
    all: &'a AllEntries,
    /// Whether the keys that were dropped before stay known.
    keeps_dropped: bool,
}

/// What is to stand under a key.
#[derive(Clone, Copy)]
enum KeyState<'a> {
    /// An entry, or that it is gone, and when this node saw that.
    Changed(Option<&'a Entry>, Sequence),
    Forgotten,
}

impl<'a> MapStates<'a> {
    /// Takes the next new state of a map.
    pub(super) fn add(
        &mut self,
        transaction: &WriteTransaction,
        write: &'a LayerWrite,
    ) -> Result<(), StoreError> {
        let state = match self.0.entry(write.layer()) {
            Place::Occupied(state) => state.into_mut(),
            Place::Vacant(place) => place.insert(MapState::begin(transaction, write)?),
        };
        state.add(write);
        Ok(())
    }

    /// Writes what was taken of one layer: what follows is of another kind.
    pub(super) fn write(
        &mut self,
        transaction: &WriteTransaction,
        layer: &LayerId,
    ) -> Result<(), StoreError> {
        self.0.remove(layer).map_or(Ok(()), |state| state.write(transaction))
    }

    /// Writes what was taken of all.
    pub(super) fn write_all(self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        self.0.into_values().try_for_each(|state| state.write(transaction))
    }
}

impl<'a> MapState<'a> {
    fn begin(transaction: &WriteTransaction, write: &'a LayerWrite) -> Result<Self, StoreError> {
        let number = tables::layer_number(transaction, write)?;
        let table = transaction.open_table(BASES)?;
        let bases = match table.get(number)? {
            Some(record) => records::read_bases(record.value())?,
            None => Vec::new(),
        };
        Ok(MapState { number, newest: write, all: None, entries: Vec::new(), bases, past: Vec::new() })
    }

    fn add(&mut self, write: &'a LayerWrite) {
        self.newest = write;
        let head = &write.signed.head;
        let changed = |entry: &'a Option<Arc<Entry>>| KeyState::Changed(entry.as_deref(), head.sequence);
        match &write.all {
            Some(all) => self.add_all(all, write),
            None => {
                self.entries.extend(write.entries.iter().map(|(key, entry)| (key, changed(entry))));
                self.entries.extend(write.forgotten_keys.iter().map(|key| (key, KeyState::Forgotten)));
            }
        }
        if let Some(from) = write.bases_from {
            self.bases.retain(|base| (from..head.sequence).contains(&base.sequence));
            self.bases.push(MapBase::of(&write.signed));
        }
        if write.is_own_map {
            self.past.push((head.sequence, head.root.prefix4()));
        }
    }

    /// Takes all that the map has now: of what came before only keys that were dropped count, unless those are forgotten.
    fn add_all(&mut self, all: &'a AllEntries, write: &'a LayerWrite) {
        let keeps_dropped = write.forgotten_keys.is_empty();
        let kept_before = self.all.as_ref().is_none_or(|before| before.keeps_dropped);
        self.all = Some(AllWritten { all, keeps_dropped: keeps_dropped && kept_before });
        let is_dropped = |(_, state): &(_, KeyState<'_>)| matches!(state, KeyState::Changed(None, _));
        self.entries.retain(|change| keeps_dropped && is_dropped(change));
        if !self.entries.is_empty() {
            let live: BTreeSet<&KeyPath> = all.entries().iter().map(|(key, ..)| key).collect();
            self.entries.retain(|(key, _)| !live.contains(key));
        }
        let dropped = write.entries.iter().filter(|(_, entry)| entry.is_none() && keeps_dropped);
        let gone = KeyState::Changed(None, write.signed.head.sequence);
        self.entries.extend(dropped.map(|(key, _)| (key, gone)));
    }

    fn write(self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let MapState { number, newest, all, entries, bases, past } = self;
        tables::put_head(transaction, number, &newest.signed)?;
        if let Some(AllWritten { all, keeps_dropped }) = all {
            blocks::put_all(transaction, number, all, keeps_dropped)?;
        }
        let mut changed = entries;
        // In the order of the table: neighbours then go into one page, one after the other. Of one key the last state counts.
        changed.sort_by(|(a, _), (b, _)| a.cmp_records(b));
        let blocks = transaction.open_table(BLOCKS)?;
        let mut table = transaction.open_table(ENTRIES)?;
        let (mut record, mut content) = (Vec::new(), Vec::new());
        for states in changed.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((key, state)) = states.last() else { continue };
            record = records::key_record_in(record, key);
            let at = (number, record.as_slice());
            match state {
                KeyState::Changed(entry, seen) => {
                    content = records::entry_record_in(content, key, *entry, *seen);
                    table.insert(at, content.as_slice())?;
                }
                KeyState::Forgotten => match blocks::note_of_forgotten(&blocks, number, key, &record)? {
                    Some(note) => drop(table.insert(at, note)?),
                    None => drop(table.remove(at)?),
                },
            }
        }
        transaction.open_table(BASES)?.insert(number, records::bases_record(&bases).as_slice())?;
        let mut table = transaction.open_table(PAST)?;
        for (sequence, prefix) in past {
            table.insert((number, sequence.get()), prefix)?;
            if let Some(gone) = sequence.get().checked_sub(OWN_STATES_KEPT_MAX) {
                table.remove((number, gone))?;
            }
        }
        Ok(())
    }
}
