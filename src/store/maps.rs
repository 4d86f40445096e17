//! The new states of maps that one transaction takes. A log has thousands of one map: its head, its bases and each of its keys are
//! written once, as the last of them left them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::sync::Arc;

use redb::{ReadableTable, WriteTransaction};

use crate::layer::{Entry, KeyPath, LayerId, Sequence};
use crate::limits::OWN_STATES_KEPT_MAX;
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
    /// What became of keys, oldest first.
    entries: Vec<(&'a KeyPath, KeyState<'a>)>,
    bases: Vec<MapBase>,
    /// The states of a map of this node.
    past: Vec<(Sequence, [u8; 4])>,
}

/// What is to stand under a key.
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
        Ok(MapState { number, newest: write, entries: Vec::new(), bases, past: Vec::new() })
    }

    fn add(&mut self, write: &'a LayerWrite) {
        self.newest = write;
        let head = &write.signed.head;
        let changed = |entry: &'a Option<Arc<Entry>>| KeyState::Changed(entry.as_deref(), head.sequence);
        self.entries.extend(write.entries.iter().map(|(key, entry)| (key, changed(entry))));
        self.entries.extend(write.forgotten_keys.iter().map(|key| (key, KeyState::Forgotten)));
        if let Some(from) = write.bases_from {
            self.bases.retain(|base| (from..head.sequence).contains(&base.sequence));
            self.bases.push(MapBase::of(&write.signed));
        }
        if write.is_own_map {
            self.past.push((head.sequence, head.root.prefix4()));
        }
    }

    fn write(self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let MapState { number, newest, entries, bases, past } = self;
        tables::put_head(transaction, number, &newest.signed)?;
        let with_record = |(key, state)| (records::key_record(key), key, state);
        let mut changed: Vec<(Vec<u8>, &KeyPath, KeyState<'_>)> =
            entries.into_iter().map(with_record).collect();
        // In the order of the table: neighbours then go into one page, one after the other. Of one key the last state counts.
        changed.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let mut table = transaction.open_table(ENTRIES)?;
        for states in changed.chunk_by(|(a, ..), (b, ..)| a == b) {
            let Some((record, key, state)) = states.last() else { continue };
            let at = (number, record.as_slice());
            match state {
                KeyState::Changed(entry, seen) => {
                    table.insert(at, records::entry_record(key, *entry, *seen).as_slice())?;
                }
                KeyState::Forgotten => drop(table.remove(at)?),
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
