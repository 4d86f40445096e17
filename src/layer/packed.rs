//! Entries as they travel in the parts of a large layer: of keys and stamps only what differs from
//! their neighbours.
//!
//! ```text
//! packed  entry…
//! entry   head varint, length varint, rest of the key, stamp varint, value (CBOR)?, saw (4 bytes)?
//!
//! head    4 * shared + 2 * (has saw) + (is tombstone)
//! ```
//!
//! A key is its segments with 0xff, which UTF-8 does not have, between them. `shared` bytes of it are those that the key before begins
//! with, `length` bytes follow. The stamp is the difference to the stamp before, modulo 2^64, zigzag. A tombstone has no value.
//! `src/envelope/FORMAT.md` draws it.

use tombolo_delta::varint::{self, VarintError, unzigzag, zigzag};
use tombolo_delta::{CborError, CborReader, CborWriter, Limits};

use crate::clock::Timestamp;
use crate::layer::{Entry, EntryError, KeyPath};
use crate::limits::{DEPTH_MAX, ENTRY_BYTES_MAX};

/// Stands between the segments of a key.
const SEPARATOR: u8 = 0xff;

const IS_TOMBSTONE: u64 = 1;
const HAS_SAW: u64 = 2;
const SHARED_SHIFT: u32 = 2;

/// Why bytes are no packed entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// A number is none, or cut short.
    #[error("{0}")]
    Number(#[from] VarintError),
    /// The bytes end within an entry.
    #[error("the packed entries are cut short")]
    Truncated,
    /// More bytes are shared with the key before than it has.
    #[error("a key shares more with the one before than that has")]
    Shared,
    /// A segment of a key is not UTF-8.
    #[error("a segment of a key is no text")]
    NotText,
    /// A value is not deterministic CBOR.
    #[error("{0}")]
    Value(#[from] CborError),
    /// A key or an entry exceeds a limit of the format.
    #[error("{0}")]
    Entry(#[from] EntryError),
    /// Unpacked, the entries take more than they may.
    #[error("the packed entries take more bytes than a part may have")]
    TooLarge,
}

/// Packs entries, which take the least in key order. Returns none if their CBOR has more than `bytes_max` bytes.
pub fn pack<'a>(
    entries: impl IntoIterator<Item = (&'a KeyPath, &'a Entry)>,
    bytes_max: usize,
) -> Option<Vec<u8>> {
    let (mut out, mut unpacked) = (Vec::new(), 0);
    let (mut before, mut key, mut stamp_before) = (Vec::new(), Vec::new(), 0);
    for (path, entry) in entries {
        crate::steps::count();
        unpacked += entry.size(path);
        if unpacked > bytes_max {
            return None;
        }
        join(path, &mut key);
        let shared = key.iter().zip(&before).take_while(|(a, b)| a == b).count();
        let is_tombstone = IS_TOMBSTONE * u64::from(entry.is_tombstone());
        let flags = is_tombstone | (HAS_SAW * u64::from(entry.saw.is_some()));
        varint::put(&mut out, ((shared as u64) << SHARED_SHIFT) | flags);
        let rest = key.get(shared..).unwrap_or_default();
        varint::put(&mut out, rest.len() as u64);
        out.extend_from_slice(rest);
        let stamp = entry.stamp.bits();
        varint::put(&mut out, zigzag(stamp.wrapping_sub(stamp_before).cast_signed()));
        if let Some(value) = &entry.value {
            let mut cbor = CborWriter::appending(out);
            value.write(&mut cbor);
            out = cbor.finish();
        }
        out.extend(entry.saw.iter().flatten());
        std::mem::swap(&mut before, &mut key);
        stamp_before = stamp;
    }
    Some(out)
}

/// Reads packed entries of a peer in the order in which they stand. `room` is how many bytes their CBOR may take; what it takes is
/// subtracted.
///
/// # Errors
///
/// An error where the bytes are no packed entries, or take more than the room.
pub fn unpack(mut bytes: &[u8], room: &mut usize) -> Result<Vec<(KeyPath, Entry)>, PackedError> {
    let mut entries = Vec::new();
    let (mut key, mut stamp) = (Vec::new(), 0u64);
    while !bytes.is_empty() {
        let (head, rest) = varint::take(bytes)?;
        let (length, rest) = varint::take(rest)?;
        let shared = usize::try_from(head >> SHARED_SHIFT).ok().filter(|shared| *shared <= key.len());
        key.truncate(shared.ok_or(PackedError::Shared)?);
        bytes = extend(&mut key, rest, length)?;
        let path = split(&key)?;
        let (difference, rest) = varint::take(bytes)?;
        bytes = rest;
        stamp = stamp.wrapping_add(unzigzag(difference).cast_unsigned());
        let value = match head & IS_TOMBSTONE {
            0 => {
                let limits = Limits {
                    bytes_max: ENTRY_BYTES_MAX,
                    depth_max: DEPTH_MAX + 1,
                    items_max: ENTRY_BYTES_MAX,
                };
                let mut reader = CborReader::new(bytes, &limits);
                let value = reader.next_value()?;
                bytes = bytes.get(reader.position()..).unwrap_or_default();
                Some(value.into())
            }
            _ => None,
        };
        let saw = match head & HAS_SAW {
            0 => None,
            _ => {
                let (saw, rest) = bytes.split_first_chunk().ok_or(PackedError::Truncated)?;
                bytes = rest;
                Some(*saw)
            }
        };
        let entry = Entry { stamp: Timestamp::from_bits(stamp), value, saw };
        *room = room.checked_sub(entry.check(&path)?).ok_or(PackedError::TooLarge)?;
        entries.push((path, entry));
    }
    Ok(entries)
}

fn join(path: &KeyPath, out: &mut Vec<u8>) {
    out.clear();
    for (at, segment) in path.segments().enumerate() {
        if at > 0 {
            out.push(SEPARATOR);
        }
        out.extend_from_slice(segment.as_bytes());
    }
}

fn split(key: &[u8]) -> Result<KeyPath, PackedError> {
    let segments = key.split(|byte| *byte == SEPARATOR).map(std::str::from_utf8);
    let segments = segments.collect::<Result<Vec<_>, _>>().map_err(|_| PackedError::NotText)?;
    Ok(KeyPath::new(segments).map_err(EntryError::from)?)
}

/// Appends the first `length` bytes, and returns those behind them. A key that no entry can have is refused before it is copied.
fn extend<'a>(key: &mut Vec<u8>, bytes: &'a [u8], length: u64) -> Result<&'a [u8], PackedError> {
    let length = usize::try_from(length).map_err(|_| PackedError::Truncated)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(PackedError::Truncated)?;
    if key.len() + taken.len() > ENTRY_BYTES_MAX {
        return Err(EntryError::TooLarge.into());
    }
    key.extend_from_slice(taken);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tombolo_delta::Value;

    const ROOM: usize = 1 << 20;

    fn entries() -> impl Strategy<Value = Vec<(KeyPath, Entry)>> {
        let key = proptest::collection::vec("(sensor|αβ|)[0-9]{0,3}", 1..4);
        let value = prop_oneof![
            Just(None),
            any::<i64>().prop_map(|n| Some(Value::from(n))),
            ".{0,40}".prop_map(|text| Some(Value::from(text.as_str()))),
        ];
        let entry = (any::<u64>(), value, any::<Option<[u8; 4]>>());
        let entry = entry.prop_map(|(bits, value, saw)| Entry {
            stamp: Timestamp::from_bits(bits),
            value: value.map(Into::into),
            saw,
        });
        proptest::collection::vec((key.prop_map(|key| KeyPath::new(key).unwrap()), entry), 0..40)
    }

    fn packed(entries: &[(KeyPath, Entry)]) -> Vec<u8> {
        pack(entries.iter().map(|(key, entry)| (key, entry)), ROOM).unwrap()
    }

    proptest! {
        #[test]
        fn entries_read_back_in_any_order(entries in entries()) {
            let (bytes, mut room) = (packed(&entries), ROOM);
            prop_assert_eq!(unpack(&bytes, &mut room), Ok(entries.clone()));
            let size: usize = entries.iter().map(|(key, entry)| entry.size(key)).sum();
            prop_assert_eq!(room, ROOM - size);
            prop_assert_eq!(unpack(&bytes, &mut size.saturating_sub(1)).is_err(), size > 0);
            prop_assert_eq!(pack(entries.iter().map(|(k, e)| (k, e)), size.saturating_sub(1)).is_none(), size > 0);
        }

        #[test]
        fn no_bytes_panic(entries in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>(), noise in any::<Vec<u8>>()) {
            let _ = unpack(&noise, &mut ROOM.clone());
            let mut bytes = packed(&entries);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
                let _ = unpack(&bytes, &mut ROOM.clone());
                let _ = unpack(&bytes[..at], &mut ROOM.clone());
            }
        }
    }

    /// A key of 60 kB that each of many short entries shares would take gigabytes.
    #[test]
    fn what_unpacks_to_more_than_its_room_is_refused_early() {
        let long = KeyPath::new(vec!["x".repeat(1_000); 60]).unwrap();
        let entry = Entry { stamp: Timestamp::from_bits(1), value: Some(Value::Null.into()), saw: None };
        let mut bytes = packed(&[(long, entry)]);
        let shared = 60 * 1_000 + 59;
        for _ in 0..100_000 {
            varint::put(&mut bytes, shared << SHARED_SHIFT | IS_TOMBSTONE);
            bytes.extend([0, 0]);
        }
        assert_eq!(unpack(&bytes, &mut (512 * 1024)), Err(PackedError::TooLarge));
    }

    /// Of 100 neighbours each key takes three bytes, and each stamp one or two.
    #[test]
    fn neighbours_take_little() {
        let entry = |n: u64| Entry {
            stamp: Timestamp::from_bits((1 << 60) + 3 * n),
            value: Some(Value::Null.into()),
            saw: None,
        };
        let key = |n: u64| KeyPath::parse(&format!("harbour/gauge/{n:04}")).unwrap();
        let entries: Vec<_> = (0..100).map(|n| (key(n), entry(n))).collect();
        let cbor: usize = entries.iter().map(|(key, entry)| entry.size(key)).sum();
        let bytes = packed(&entries);
        assert!(bytes.len() * 5 < cbor, "{} of {cbor}", bytes.len());
    }
}
