//! Every table, on one page.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | bytes: `format` (u64, big endian); `identity` (32 bytes) that the store belongs to; `origin` (0 known, 1 unconfirmed: [`super::StoreOrigin`]); `setback` (u64, big endian: commits lost); `recall` (since when received commands are remembered: [`crate::commands::Recall`]); `radio/…`: epochs and airtime ledger of a radio |
//! | `peers` | identity, 32 bytes | CBOR of `Peer` |
//! | `invites_out` | token hash, 32 bytes | CBOR of `OutgoingInvite` |
//! | `invites_in` | inviter, 32 bytes | CBOR of `IncomingInvite` |
//! | `layers` | layer name (below) | CBOR `[number, head …]` |
//! | `snapshots` | layer number | content, canonical CBOR |
//! | `states` | layer number, sequence | CBOR `[time, audience sequence, content]`: older states, bases for deltas |
//! | `blocks` | layer number, block number | CBOR `[changed at, entry, changed at, entry, …]`: entries of a large map ([`super::blocks`]) |
//! | `entries` | layer number, key's CBOR | CBOR `[changed at, entry]`, `[changed at]` where the entry was dropped, or `[]` where a block has the key and nothing is known of it any more; it goes above what a block has |
//! | `bases` | layer number | CBOR of `[[sequence, root prefix, time, audience sequence], …]` |
//! | `past` | layer number, sequence | the root's first 4 bytes: states of this node's maps |
//! | `calls` | sender, 32 bytes | CBOR of `CallsRecord`: JSON calls that were accepted |
//! | `called_states` | peer, 32 bytes | CBOR `[time, state's CBOR]`: states that came by call |
//! | `forks` | author 32 ‖ sequence 8 ‖ lower root 4 | CBOR of two heads |
//! | `commands_out` | command id, 16 bytes | CBOR of `SentCommand` |
//! | `commands_in` | sender 32 ‖ command id 16 | CBOR of `ReceivedCommand` |
//! | `command_floors` | sender, 32 bytes | seconds since the Unix epoch |
//! | `notices` | notice hash, 8 bytes | CBOR of `HeldNotice` |
//! | `commits` | 0 | how many commits the database has; what stands in `store.seq` counts those in the log too ([`super::witness`]) |
//! | `commits` | 1 | the check of the last of them, big endian ([`super::wal`]) |
//!
//! A layer's name is owner 32 ‖ author 32 ‖ document name. Its number is given when it is first stored.

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};
use tombolo_transports::PeerId;

use crate::commands::{self, CommandKey, ExpiryFloor, RecordChange};
use crate::federation::Peer;
use crate::layer::{Kind, LayerId, Sequence, SignedHead};
use crate::store::blocks::{self, BLOCKS};
use crate::store::maps::MapStates;
use crate::store::records::{self, Loaded};
use crate::store::wal::CommitMark;
use crate::store::{LayerWrite, StoreError, StoreWrite};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const PEERS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("peers");
const INVITES_OUT: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("invites_out");
const INVITES_IN: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("invites_in");
pub(super) const LAYERS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("layers");
const SNAPSHOTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("snapshots");
const STATES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("states");
pub(super) const ENTRIES: TableDefinition<'_, (u64, &[u8]), &[u8]> = TableDefinition::new("entries");
pub(super) const BASES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bases");
pub(super) const PAST: TableDefinition<'_, (u64, u64), [u8; 4]> = TableDefinition::new("past");
const FORKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("forks");
const CALLS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("calls");
const CALLED_STATES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("called_states");
const COMMANDS_OUT: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("commands_out");
const COMMANDS_IN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("commands_in");
const COMMAND_FLOORS: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("command_floors");
const COMMITS: TableDefinition<'_, u8, u64> = TableDefinition::new("commits");
const NOTICES: TableDefinition<'_, [u8; 8], &[u8]> = TableDefinition::new("notices");
/// The keys of the table of commits.
const COMMIT_COUNT: u8 = 0;
const COMMIT_CHECK: u8 = 1;
/// The small record with the number of the next new layer.
const LAYER_NUMBER_RECORD: &str = "next_layer";

/// Makes all tables, so that reading never meets a missing one.
pub(super) fn create_all(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(META)?;
    transaction.open_table(PEERS)?;
    transaction.open_table(INVITES_OUT)?;
    transaction.open_table(INVITES_IN)?;
    transaction.open_table(LAYERS)?;
    transaction.open_table(SNAPSHOTS)?;
    transaction.open_table(STATES)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(BASES)?;
    transaction.open_table(PAST)?;
    transaction.open_table(FORKS)?;
    transaction.open_table(CALLS)?;
    transaction.open_table(CALLED_STATES)?;
    transaction.open_table(COMMANDS_OUT)?;
    transaction.open_table(COMMANDS_IN)?;
    transaction.open_table(COMMAND_FLOORS)?;
    transaction.open_table(NOTICES)?;
    transaction.open_table(COMMITS)?;
    Ok(())
}

/// Reads a small record by its name.
pub(super) fn meta(transaction: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(transaction.open_table(META)?.get(name)?.map(|bytes| bytes.value().to_vec()))
}

/// The last commit that the database has.
pub(super) fn last_commit(transaction: &ReadTransaction) -> Result<CommitMark, StoreError> {
    let Some(table) = opened(transaction, COMMITS)? else { return Ok(CommitMark::default()) };
    let number =
        |key: u8| -> Result<u64, StoreError> { Ok(table.get(key)?.map_or(0, |number| number.value())) };
    Ok(CommitMark { number: number(COMMIT_COUNT)?, check: number(COMMIT_CHECK)?.to_be_bytes() })
}

/// Notes the last of the commits in this transaction.
pub(super) fn put_last_commit(transaction: &WriteTransaction, last: CommitMark) -> Result<(), StoreError> {
    let mut table = transaction.open_table(COMMITS)?;
    table.insert(COMMIT_COUNT, last.number)?;
    table.insert(COMMIT_CHECK, u64::from_be_bytes(last.check))?;
    Ok(())
}

/// Puts changes into a transaction, in their order.
pub(super) fn apply<'a>(
    transaction: &WriteTransaction,
    writes: impl Iterator<Item = &'a StoreWrite>,
) -> Result<(), StoreError> {
    let mut maps = MapStates::default();
    for write in writes {
        apply_one(transaction, &mut maps, write)?;
    }
    maps.write_all(transaction)
}

fn apply_one<'a>(
    transaction: &WriteTransaction,
    maps: &mut MapStates<'a>,
    write: &'a StoreWrite,
) -> Result<(), StoreError> {
    match write {
        StoreWrite::PutPeer(peer) => {
            transaction.open_table(PEERS)?.insert(peer.id.0, records::encode(peer)?.as_slice())?;
        }
        StoreWrite::RemovePeer(id) => {
            transaction.open_table(PEERS)?.remove(id.0)?;
        }
        StoreWrite::PutOutgoing(invite) => {
            let record = records::encode(invite)?;
            transaction.open_table(INVITES_OUT)?.insert(invite.token_hash, record.as_slice())?;
        }
        StoreWrite::RemoveOutgoing(hash) => {
            transaction.open_table(INVITES_OUT)?.remove(*hash)?;
        }
        StoreWrite::PutIncoming(invite) => {
            let record = records::encode(invite)?;
            transaction.open_table(INVITES_IN)?.insert(invite.inviter, record.as_slice())?;
        }
        StoreWrite::RemoveIncoming(inviter) => {
            transaction.open_table(INVITES_IN)?.remove(inviter.0)?;
        }
        StoreWrite::PutMeta(name, bytes) => {
            transaction.open_table(META)?.insert(name.as_ref(), bytes.as_slice())?;
        }
        StoreWrite::PutLayer(layer) => match layer.signed.head.kind {
            Kind::Map => maps.add(transaction, layer)?,
            Kind::Snapshot => {
                maps.write(transaction, layer.layer())?;
                put_snapshot(transaction, layer)?;
            }
        },
        StoreWrite::RemoveLayer(layer) => {
            maps.write(transaction, layer)?;
            remove_layer(transaction, layer)?;
        }
        StoreWrite::PutFork(evidence) => {
            let (key, record) = records::fork_record(evidence);
            transaction.open_table(FORKS)?.insert(key.as_slice(), record.as_slice())?;
        }
        StoreWrite::PutCalls(calls) => {
            let record = records::encode(calls)?;
            transaction.open_table(CALLS)?.insert(calls.sender.0, record.as_slice())?;
        }
        StoreWrite::RemoveCalls(sender) => {
            transaction.open_table(CALLS)?.remove(sender.0)?;
        }
        StoreWrite::PutCalledState(called) => {
            let record = records::called_state_record(called);
            transaction.open_table(CALLED_STATES)?.insert(called.peer.0, record.as_slice())?;
        }
        StoreWrite::RemoveCalledState(peer) => {
            transaction.open_table(CALLED_STATES)?.remove(peer.0)?;
        }
        StoreWrite::Command(change) => put_command(transaction, change)?,
    }
    Ok(())
}

fn put_command(transaction: &WriteTransaction, change: &RecordChange) -> Result<(), StoreError> {
    match change {
        RecordChange::PutSent(command) => {
            let record = records::encode(command)?;
            transaction.open_table(COMMANDS_OUT)?.insert(command.id.0, record.as_slice())?;
        }
        RecordChange::DropSent(id) => {
            transaction.open_table(COMMANDS_OUT)?.remove(id.0)?;
        }
        RecordChange::PutReceived(command) => {
            let record = records::encode(command)?;
            let key = command_key(&command.key);
            transaction.open_table(COMMANDS_IN)?.insert(key.as_slice(), record.as_slice())?;
        }
        RecordChange::DropReceived(key) => {
            transaction.open_table(COMMANDS_IN)?.remove(command_key(key).as_slice())?;
        }
        RecordChange::PutNotice(held) => {
            let record = records::encode(held)?;
            transaction.open_table(NOTICES)?.insert(held.notice.hash().0, record.as_slice())?;
        }
        RecordChange::PutFloor(floor) => {
            transaction.open_table(COMMAND_FLOORS)?.insert(floor.sender.0, floor.expires_s)?;
        }
    }
    Ok(())
}

fn command_key(key: &CommandKey) -> Vec<u8> {
    [&key.sender.0[..], &key.id.0].concat()
}

/// A table, or nothing in a store of the time before it.
fn opened<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match transaction.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn load_commands(transaction: &ReadTransaction) -> Result<commands::LoadedCommands, StoreError> {
    let mut loaded = commands::LoadedCommands::default();
    if let Some(table) = opened(transaction, COMMANDS_OUT)? {
        for item in table.iter()? {
            loaded.sent.push(records::decode(item?.1.value())?);
        }
    }
    if let Some(table) = opened(transaction, COMMANDS_IN)? {
        for item in table.iter()? {
            loaded.received.push(records::decode(item?.1.value())?);
        }
    }
    if let Some(table) = opened(transaction, NOTICES)? {
        for item in table.iter()? {
            loaded.notices.push(records::decode(item?.1.value())?);
        }
    }
    if let Some(table) = opened(transaction, COMMAND_FLOORS)? {
        for item in table.iter()? {
            let (sender, expires) = item?;
            loaded.floors.push(ExpiryFloor { sender: PeerId(sender.value()), expires_s: expires.value() });
        }
    }
    Ok(loaded)
}

fn put_snapshot(transaction: &WriteTransaction, write: &LayerWrite) -> Result<(), StoreError> {
    let number = layer_number(transaction, write)?;
    put_head(transaction, number, &write.signed)?;
    if let Some(content) = &write.snapshot {
        transaction.open_table(SNAPSHOTS)?.insert(number, content.as_slice())?;
    }
    let mut states = transaction.open_table(STATES)?;
    if let Some(kept) = &write.kept {
        states.insert((number, kept.sequence.get()), records::state_record(kept).as_slice())?;
    }
    for sequence in &write.forgotten {
        states.remove((number, sequence.get()))?;
    }
    Ok(())
}

/// The root's first 4 bytes that a map of this node had at a sequence, as far back as that is kept.
pub(super) fn past_state(
    transaction: &ReadTransaction,
    layer: &LayerId,
    sequence: Sequence,
) -> Result<Option<[u8; 4]>, StoreError> {
    let name = records::name_bytes(layer);
    let Some(record) = transaction.open_table(LAYERS)?.get(name.as_slice())? else { return Ok(None) };
    let (number, _) = records::read_head(record.value(), layer)?;
    let Some(past) = opened(transaction, PAST)? else { return Ok(None) };
    Ok(past.get((number, sequence.get()))?.map(|prefix| prefix.value()))
}

/// The number of a layer; one that is new gets its own. What the layer had as another kind is removed.
pub(super) fn layer_number(transaction: &WriteTransaction, write: &LayerWrite) -> Result<u64, StoreError> {
    let layers = transaction.open_table(LAYERS)?;
    let name = records::name_bytes(write.layer());
    let known = match layers.get(name.as_slice())? {
        Some(record) => Some(records::read_head(record.value(), write.layer())?),
        None => None,
    };
    if let Some((number, old)) = &known
        && old.head.kind != write.signed.head.kind
    {
        clear_layer(transaction, *number)?;
    }
    match known {
        Some((number, _)) => Ok(number),
        None => new_number(transaction, layers.len()?),
    }
}

/// Writes a head.
pub(super) fn put_head(
    transaction: &WriteTransaction,
    number: u64,
    signed: &SignedHead,
) -> Result<(), StoreError> {
    let (name, record) = (records::name_bytes(&signed.head.layer), records::head_record(number, signed));
    transaction.open_table(LAYERS)?.insert(name.as_slice(), record.as_slice())?;
    Ok(())
}

/// The number of a new layer: no layer had it before, of those that are gone neither. A store of the time before layers could go
/// has the first ones, in a row.
fn new_number(transaction: &WriteTransaction, count: u64) -> Result<u64, StoreError> {
    let mut meta = transaction.open_table(META)?;
    let next = meta.get(LAYER_NUMBER_RECORD)?.and_then(|bytes| bytes.value().try_into().ok());
    let number = next.map_or(count, u64::from_be_bytes).max(count);
    meta.insert(LAYER_NUMBER_RECORD, number.saturating_add(1).to_be_bytes().as_slice())?;
    Ok(number)
}

fn remove_layer(transaction: &WriteTransaction, layer: &LayerId) -> Result<(), StoreError> {
    let name = records::name_bytes(layer);
    let mut layers = transaction.open_table(LAYERS)?;
    let number = match layers.get(name.as_slice())? {
        Some(record) => records::read_head(record.value(), layer)?.0,
        None => return Ok(()),
    };
    layers.remove(name.as_slice())?;
    clear_layer(transaction, number)
}

/// Removes the content of a layer whose author has made another kind of it.
fn clear_layer(transaction: &WriteTransaction, number: u64) -> Result<(), StoreError> {
    transaction.open_table(SNAPSHOTS)?.remove(number)?;
    transaction.open_table(BASES)?.remove(number)?;
    transaction.open_table(PAST)?.retain_in((number, 0)..=(number, u64::MAX), |_, _| false)?;
    transaction.open_table(STATES)?.retain_in((number, 0)..=(number, u64::MAX), |_, _| false)?;
    transaction.open_table(ENTRIES)?.retain_in((number, &[][..])..(number + 1, &[][..]), |_, _| false)?;
    blocks::clear(transaction, number)
}

/// The peers that the store has, by identity.
pub(super) fn peers(transaction: &ReadTransaction) -> Result<Vec<Peer>, StoreError> {
    transaction.open_table(PEERS)?.iter()?.map(|item| records::decode(item?.1.value())).collect()
}

/// Reads all tables into memory.
pub(super) fn load(transaction: &ReadTransaction) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded { commands: load_commands(transaction)?, ..Loaded::default() };
    for item in transaction.open_table(META)?.iter()? {
        let (name, bytes) = item?;
        loaded.meta.insert(name.value().to_owned(), bytes.value().to_vec());
    }
    loaded.peers = peers(transaction)?;
    for item in transaction.open_table(INVITES_OUT)?.iter()? {
        loaded.outgoing.push(records::decode(item?.1.value())?);
    }
    for item in transaction.open_table(INVITES_IN)?.iter()? {
        loaded.incoming.push(records::decode(item?.1.value())?);
    }
    for item in transaction.open_table(FORKS)?.iter()? {
        loaded.forks.push(records::read_fork(item?.1.value())?);
    }
    load_calls(transaction, &mut loaded)?;
    let snapshots = transaction.open_table(SNAPSHOTS)?;
    let states = transaction.open_table(STATES)?;
    let entries = transaction.open_table(ENTRIES)?;
    let blocks = opened(transaction, BLOCKS)?;
    let bases = transaction.open_table(BASES)?;
    for item in transaction.open_table(LAYERS)?.iter()? {
        let (name, record) = item?;
        let layer = records::read_name(name.value())?;
        let (number, signed) = records::read_head(record.value(), &layer)?;
        let mut stored = records::StoredLayer::new(signed);
        if let Some(content) = snapshots.get(number)? {
            stored.snapshot = Some(content.value().to_vec());
        }
        for state in states.range((number, 0)..=(number, u64::MAX))? {
            let (key, record) = state?;
            let sequence = Sequence::new(key.value().1).ok_or(StoreError::Damaged("state"))?;
            stored.kept.push(records::read_state(sequence, record.value())?);
        }
        let mut forgotten = Vec::new();
        for entry in entries.range((number, &[][..])..(number + 1, &[][..]))? {
            let (key, record) = entry?;
            match record.value() {
                blocks::FORGOTTEN => forgotten.push(records::read_key(key.value().1)?),
                record => stored.entries.push(records::read_entry(key.value().1, record)?),
            }
        }
        if let Some(blocks) = &blocks {
            let mut in_blocks = blocks::read(blocks, number, &stored.entries, &forgotten)?;
            stored.entries.append(&mut in_blocks);
        }
        if let Some(record) = bases.get(number)? {
            stored.bases = records::read_bases(record.value())?;
        }
        loaded.layers.push(stored);
    }
    Ok(loaded)
}

/// Reads the tables of JSON calls, which a store of the time before them does not have.
fn load_calls(transaction: &ReadTransaction, loaded: &mut Loaded) -> Result<(), StoreError> {
    if let Some(calls) = table(transaction.open_table(CALLS))? {
        for item in calls.iter()? {
            loaded.calls.push(records::decode(item?.1.value())?);
        }
    }
    if let Some(states) = table(transaction.open_table(CALLED_STATES))? {
        for item in states.iter()? {
            let (peer, record) = item?;
            loaded.called_states.push(records::read_called_state(peer.value(), record.value())?);
        }
    }
    Ok(())
}

/// A table; none in a store of the time before it.
fn table<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, StoreError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Copies all tables to another database.
#[cfg(any(test, feature = "test-support"))]
pub(super) fn copy(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), StoreError> {
    macro_rules! copy {
        ($($table:ident)*) => {$(
            let mut target = to.open_table($table)?;
            for item in from.open_table($table)?.iter()? {
                let (key, value) = item?;
                target.insert(key.value(), value.value())?;
            }
        )*};
    }
    copy!(META PEERS INVITES_OUT INVITES_IN LAYERS SNAPSHOTS STATES ENTRIES BLOCKS BASES PAST FORKS CALLS CALLED_STATES COMMANDS_OUT COMMANDS_IN COMMAND_FLOORS NOTICES COMMITS);
    Ok(())
}
