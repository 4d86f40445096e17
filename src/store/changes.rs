//! The changes of a commit as bytes, for the write-ahead log: a CBOR array of `[code, …]`, one for each change.
//!
//! | code | change | what follows |
//! |--:|---|---|
//! | 0, 2, 4 | a peer, an invite that was given out, one that was redeemed | its record |
//! | 1, 3, 5 | the same are over | identity, token hash, inviter: 32 bytes |
//! | 6 | a small record | name, bytes |
//! | 7 | a new state of a layer | name, head record, content, kept, forgotten, entries, dropped keys, forgotten keys, bases, own |
//! | 8 | a layer is gone | its name |
//! | 9 | a fork | its record |
//! | 10, 11 | JSON calls of a sender; not any more | its record; 32 bytes |
//! | 12, 13 | a state that came by call; not any more | peer, its record; 32 bytes |
//! | 14, 16, 18, 19 | a command that was sent, one that was taken, a floor, a notice | its record |
//! | 15, 17 | a sent command that is over, a taken one | its id; sender ‖ id |
//!
//! Records and names are those of [`super::tables`], as byte strings. Of a layer: `content` is a byte string or null, `kept` is
//! `[sequence, state record]` or null, `forgotten` an array of sequences, `entries` an array of entries, the keys arrays of keys,
//! `bases` the sequence of the oldest base that stays (null: as they were), `own` 1 for a map of this node, else 0.

use std::sync::Arc;

use tombolo_delta::{CborReader, CborWriter, Value};
use tombolo_transports::PeerId;

use crate::commands::{CommandKey, RecordChange};
use crate::layer::{Entry, KeyPath, Sequence};
use crate::store::records::{self, RECORD_LIMITS};
use crate::store::{LayerWrite, StoreError, StoreWrite};

/// The changes of a commit, as the log keeps them.
pub(super) fn encode(writes: &[StoreWrite]) -> Result<Vec<u8>, StoreError> {
    let mut out = CborWriter::with_capacity(512);
    out.array(writes.len());
    for write in writes {
        put(write, &mut out)?;
    }
    Ok(out.finish())
}

fn put(write: &StoreWrite, out: &mut CborWriter) -> Result<(), StoreError> {
    let mut one = |code: u64, bytes: &[u8]| {
        out.array(2).unsigned(code).bytes(bytes);
    };
    match write {
        StoreWrite::PutPeer(peer) => one(0, &records::encode(peer)?),
        StoreWrite::RemovePeer(peer) => one(1, &peer.0),
        StoreWrite::PutOutgoing(invite) => one(2, &records::encode(invite)?),
        StoreWrite::RemoveOutgoing(hash) => one(3, hash),
        StoreWrite::PutIncoming(invite) => one(4, &records::encode(invite)?),
        StoreWrite::RemoveIncoming(inviter) => one(5, &inviter.0),
        StoreWrite::PutMeta(name, bytes) => {
            out.array(3).unsigned(6).text(name).bytes(bytes);
        }
        StoreWrite::PutLayer(layer) => put_layer(layer, out),
        StoreWrite::RemoveLayer(layer) => one(8, &records::name_bytes(layer)),
        StoreWrite::PutFork(evidence) => one(9, &records::fork_record(evidence).1),
        StoreWrite::PutCalls(calls) => one(10, &records::encode(calls)?),
        StoreWrite::RemoveCalls(sender) => one(11, &sender.0),
        StoreWrite::PutCalledState(called) => {
            let record = records::called_state_record(called);
            out.array(3).unsigned(12).bytes(&called.peer.0).bytes(&record);
        }
        StoreWrite::RemoveCalledState(peer) => one(13, &peer.0),
        StoreWrite::Command(RecordChange::PutSent(command)) => one(14, &records::encode(command)?),
        StoreWrite::Command(RecordChange::DropSent(id)) => one(15, &id.0),
        StoreWrite::Command(RecordChange::PutReceived(command)) => one(16, &records::encode(command)?),
        StoreWrite::Command(RecordChange::DropReceived(key)) => one(17, &records::encode(key)?),
        StoreWrite::Command(RecordChange::PutFloor(floor)) => one(18, &records::encode(floor)?),
        StoreWrite::Command(RecordChange::PutNotice(notice)) => one(19, &records::encode(notice)?),
    }
    Ok(())
}

fn put_layer(write: &LayerWrite, out: &mut CborWriter) {
    out.array(11).unsigned(7).bytes(&records::name_bytes(write.layer()));
    out.bytes(&records::head_record(0, &write.signed));
    match &write.snapshot {
        Some(content) => out.bytes(content),
        None => out.value(&Value::Null),
    };
    match &write.kept {
        Some(kept) => {
            out.array(2).unsigned(kept.sequence.get()).bytes(&records::state_record(kept));
        }
        None => drop(out.value(&Value::Null)),
    }
    out.array(write.forgotten.len());
    for sequence in &write.forgotten {
        out.unsigned(sequence.get());
    }
    let live = || write.entries.iter().filter_map(|(key, entry)| Some((key, entry.as_ref()?)));
    out.array(live().count());
    live().for_each(|(key, entry)| entry.write(key, out));
    let dropped = || write.entries.iter().filter(|(_, entry)| entry.is_none()).map(|(key, _)| key);
    out.array(dropped().count());
    dropped().for_each(|key| key.write(out));
    out.array(write.forgotten_keys.len());
    write.forgotten_keys.iter().for_each(|key| key.write(out));
    match write.bases_from {
        Some(from) => drop(out.unsigned(from.get())),
        None => drop(out.value(&Value::Null)),
    }
    out.unsigned(u64::from(write.is_own_map));
}

/// Reads what [`encode`] wrote.
///
/// # Errors
///
/// `Damaged` where the bytes are no changes.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<StoreWrite>, StoreError> {
    let mut reader = CborReader::new(bytes, &RECORD_LIMITS);
    let changes =
        ChangeReader(&mut reader).all().ok_or(StoreError::Damaged("a commit does not read back"))?;
    reader.finish().map_err(|_| StoreError::Damaged("a commit does not read back"))?;
    Ok(changes)
}

/// Whether these changes are the same after a way through the log.
pub(super) fn read_back(writes: &[StoreWrite]) -> bool {
    let written = encode(writes);
    let again = written.as_ref().ok().and_then(|bytes| decode(bytes).ok()).map(|writes| encode(&writes));
    again.is_some_and(|again| again == written)
}

struct ChangeReader<'r, 'a>(&'r mut CborReader<'a>);

impl ChangeReader<'_, '_> {
    fn all(&mut self) -> Option<Vec<StoreWrite>> {
        self.list(Self::change)
    }

    fn change(&mut self) -> Option<StoreWrite> {
        let items = self.0.enter_array().ok()??;
        let code = self.number()?;
        Some(match (code, items) {
            (0, 2) => StoreWrite::PutPeer(self.record()?),
            (1, 2) => StoreWrite::RemovePeer(self.peer()?),
            (2, 2) => StoreWrite::PutOutgoing(self.record()?),
            (3, 2) => StoreWrite::RemoveOutgoing(self.peer()?.0),
            (4, 2) => StoreWrite::PutIncoming(self.record()?),
            (5, 2) => StoreWrite::RemoveIncoming(self.peer()?),
            (6, 3) => {
                let name = self.0.next_text().ok()??.to_owned();
                StoreWrite::PutMeta(name.into(), self.bytes()?)
            }
            (7, 11) => StoreWrite::PutLayer(Box::new(self.layer()?)),
            (8, 2) => StoreWrite::RemoveLayer(records::read_name(&self.bytes()?).ok()?),
            (9, 2) => StoreWrite::PutFork(Box::new(records::read_fork(&self.bytes()?).ok()?)),
            (10, 2) => StoreWrite::PutCalls(self.record()?),
            (11, 2) => StoreWrite::RemoveCalls(self.peer()?),
            (12, 3) => {
                let peer = self.peer()?;
                StoreWrite::PutCalledState(records::read_called_state(peer.0, &self.bytes()?).ok()?)
            }
            (13, 2) => StoreWrite::RemoveCalledState(self.peer()?),
            (14..=19, 2) => StoreWrite::Command(self.command(code)?),
            (_, _) => return None,
        })
    }

    fn command(&mut self, code: u64) -> Option<RecordChange> {
        Some(match code {
            14 => RecordChange::PutSent(self.record()?),
            15 => RecordChange::DropSent(crate::commands::CommandId(self.bytes()?.try_into().ok()?)),
            16 => RecordChange::PutReceived(self.record()?),
            17 => RecordChange::DropReceived(self.record::<CommandKey>()?),
            18 => RecordChange::PutFloor(self.record()?),
            _ => RecordChange::PutNotice(self.record()?),
        })
    }

    fn layer(&mut self) -> Option<LayerWrite> {
        let layer = records::read_name(&self.bytes()?).ok()?;
        let (_, signed) = records::read_head(&self.bytes()?, &layer).ok()?;
        let snapshot = match self.0.next_value().ok()? {
            Value::Bytes(content) => Some(content.to_vec()),
            Value::Null => None,
            _ => return None,
        };
        let kept = match self.0.next_value().ok()? {
            Value::Null => None,
            Value::Array(items) => match &items[..] {
                [sequence, Value::Bytes(record)] => {
                    let sequence = Sequence::new(sequence.as_u64()?)?;
                    Some(records::read_state(sequence, record).ok()?)
                }
                _ => return None,
            },
            _ => return None,
        };
        let forgotten = self.list(|reader| Sequence::new(reader.number()?))?;
        let live = self.list(|reader| {
            let (key, entry) = Entry::read(reader.0).ok()?;
            Some((key, Some(Arc::new(entry))))
        })?;
        let dropped = self.list(|reader| Some((KeyPath::read(reader.0).ok()?, None)))?;
        let forgotten_keys = self.list(|reader| KeyPath::read(reader.0).ok())?;
        let bases_from = match self.0.next_value().ok()? {
            Value::Null => None,
            from => Some(Sequence::new(from.as_u64()?)?),
        };
        let is_own_map = self.number()? == 1;
        let entries = live.into_iter().chain(dropped).collect();
        // A large one goes to the database at once.
        let all = None;
        Some(LayerWrite {
            signed,
            snapshot,
            entries,
            all,
            kept,
            forgotten,
            forgotten_keys,
            bases_from,
            is_own_map,
        })
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.0.enter_array().ok()??;
        (0..count).map(|_| item(self)).collect()
    }

    fn number(&mut self) -> Option<u64> {
        u64::try_from(self.0.next_int().ok()??.get()).ok()
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        match self.0.next_value().ok()? {
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }

    fn peer(&mut self) -> Option<PeerId> {
        self.bytes()?.try_into().ok().map(PeerId)
    }

    fn record<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        records::decode(&self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_that_are_no_changes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }

    /// The bytes of two changes, as they stand on disk.
    #[test]
    fn changes_have_these_bytes() {
        let writes =
            [StoreWrite::PutMeta("radio/a".into(), vec![1, 2]), StoreWrite::RemovePeer(PeerId([3; 32]))];
        let bytes = encode(&writes).unwrap();
        let expected = format!("82830667726164696f2f6142010282015820{}", "03".repeat(32));
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), expected);
        assert!(read_back(&writes));
        assert!(decode(&[0x81, 0x82, 0x18, 0x63, 0x40]).is_err(), "a code that is none");
    }
}
