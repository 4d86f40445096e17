//! One entry of a map layer: a key, a stamp, a value or its deletion, and what it replaced.
//!
//! ```text
//! live       [key, stamp, value]          or  [key, stamp, value, saw]
//! tombstone  [key, -1 - stamp]            or  [key, -1 - stamp, saw]
//! ```
//! `stamp` is the 64-bit hybrid clock stamp; a negative number marks the tombstone, as CBOR writes it at
//! no cost. `saw` is 4 bytes. `src/envelope/FORMAT.md` draws it.

use tombolo_delta::{CborReader, CborWriter, Value, cbor_head_len};

use crate::clock::Timestamp;
use crate::layer::compact::allocated;
use crate::layer::{CompactValue, ContentError, KeyError, KeyPath};
use crate::limits::{DEPTH_MAX, ENTRY_BYTES_MAX};

/// The first 4 bytes of the hash of an entry: how its successor proves that its author saw it.
pub type EntryHash = [u8; 4];

/// What one author wrote under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, by the hybrid clock.
    pub stamp: Timestamp,
    /// The value: a scalar, an array or an empty object; none is a tombstone.
    pub value: Option<CompactValue>,
    /// The entry of another author that this one replaced.
    pub saw: Option<EntryHash>,
}

/// Why something is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not one of the four forms.
    #[error("an entry is [key, stamp, value, saw?] or [key, -1 - stamp, saw?]")]
    Shape,
    /// Its key is not one.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// An object that has members must be spread over keys.
    #[error("an object that has members is spread over keys, not kept in one entry")]
    ObjectNotSpread,
    /// The entry is too large.
    #[error("an entry has at most {ENTRY_BYTES_MAX} bytes of CBOR")]
    TooLarge,
    /// The value is nested too deep.
    #[error("a value is nested at most {DEPTH_MAX} deep")]
    TooDeep,
}

impl Entry {
    /// Whether this entry deletes its key.
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// The entry under `key` as the array that is hashed and travels.
    pub fn to_value(&self, key: &KeyPath) -> Value {
        let stamp = i128::from(self.stamp.bits());
        let mut items = vec![key.to_value()];
        match &self.value {
            Some(value) => items.extend([int(stamp), value.get().into_owned()]),
            None => items.push(int(-1 - stamp)),
        }
        items.extend(self.saw.map(|saw| Value::Bytes(saw.to_vec())));
        Value::Array(items)
    }

    /// Appends the canonical CBOR of the entry under `key`.
    pub fn write(&self, key: &KeyPath, out: &mut CborWriter) {
        self.write_stamped(key, self.stamp, out);
    }

    /// The same with another stamp in place of the entry's.
    pub fn write_stamped(&self, key: &KeyPath, stamp: Timestamp, out: &mut CborWriter) {
        let items = 2 + usize::from(self.value.is_some()) + usize::from(self.saw.is_some());
        out.array(items);
        key.write(out);
        match &self.value {
            Some(value) => value.write(out.unsigned(stamp.bits())),
            None => drop(out.negative(stamp.bits())),
        }
        if let Some(saw) = &self.saw {
            out.bytes(saw);
        }
    }

    /// Canonical CBOR of the entry under `key`.
    pub fn to_cbor(&self, key: &KeyPath) -> Vec<u8> {
        let mut out = CborWriter::with_capacity(128);
        self.write(key, &mut out);
        out.finish()
    }

    /// The entry of a peer's array, checked against the limits of the format.
    ///
    /// # Errors
    ///
    /// An error where the value is none of the four forms, or the entry exceeds a limit.
    pub fn from_value(value: Value) -> Result<(KeyPath, Entry), EntryError> {
        let Value::Array(items) = value else { return Err(EntryError::Shape) };
        let mut items = items.into_iter();
        let (Some(key), Some(Value::Int(stamp))) = (items.next(), items.next()) else {
            return Err(EntryError::Shape);
        };
        let key = KeyPath::from_value(&key)?;
        let stamp = stamp.get();
        let (bits, value) = match stamp >= 0 {
            true => (stamp, Some(items.next().ok_or(EntryError::Shape)?.into())),
            false => (-1 - stamp, None),
        };
        let saw = items.next().as_ref().map(read_saw).transpose()?;
        if items.next().is_some() {
            return Err(EntryError::Shape);
        }
        let bits = u64::try_from(bits).map_err(|_| EntryError::Shape)?;
        let entry = Entry { stamp: Timestamp::from_bits(bits), value, saw };
        entry.check(&key)?;
        Ok((key, entry))
    }

    /// The next item of a reader: the array of an entry, which may be a peer's, checked against the limits of the format.
    ///
    /// # Errors
    ///
    /// An error where the item is none of the four forms, or the entry exceeds a limit.
    pub fn read(reader: &mut CborReader<'_>) -> Result<(KeyPath, Entry), ContentError> {
        let items = reader.enter_array()?.ok_or(EntryError::Shape)?;
        if items < 2 {
            return Err(EntryError::Shape.into());
        }
        let key = KeyPath::read(reader)?;
        let stamp = reader.next_int()?.ok_or(EntryError::Shape)?.get();
        let is_live = stamp >= 0;
        let value = match (is_live, items) {
            (true, 3 | 4) => Some(reader.next_value()?.into()),
            (false, 2 | 3) => None,
            (true | false, _) => return Err(EntryError::Shape.into()),
        };
        let has_saw = items > if is_live { 3 } else { 2 };
        let saw = if has_saw { Some(read_saw(&reader.next_value()?)?) } else { None };
        let bits = u64::try_from(if is_live { stamp } else { -1 - stamp }).map_err(|_| EntryError::Shape)?;
        let entry = Entry { stamp: Timestamp::from_bits(bits), value, saw };
        entry.check(&key)?;
        Ok((key, entry))
    }

    /// The limits of the format on one entry; the same for writers and readers. Returns the bytes of its CBOR.
    ///
    /// # Errors
    ///
    /// `ObjectNotSpread`, or the limit that the entry exceeds.
    pub fn check(&self, key: &KeyPath) -> Result<usize, EntryError> {
        if self.value.as_ref().is_some_and(|value| value.is_object() && !value.is_empty_object()) {
            return Err(EntryError::ObjectNotSpread);
        }
        let bytes = self.size(key);
        if bytes > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLarge);
        }
        // The entry's own array is one level, its value may have the rest.
        match self.value.as_ref().is_none_or(|value| value.depth() <= DEPTH_MAX) {
            true => Ok(bytes),
            false => Err(EntryError::TooDeep),
        }
    }

    /// Bytes of the entry's CBOR under `key`: what quotas count.
    pub fn size(&self, key: &KeyPath) -> usize {
        // The heads of an array of at most four items and of the four bytes of a hash take a byte each.
        let saw = self.saw.map_or(0, |saw| 1 + saw.len());
        1 + key.size()
            + cbor_head_len(self.stamp.bits())
            + self.value.as_ref().map_or(0, CompactValue::cbor_len)
            + saw
    }

    /// Bytes that the entry takes in memory, about, beside its key and the indexes: shared by all that hold it.
    pub fn memory_bytes(&self) -> usize {
        let counters = 2 * size_of::<usize>();
        allocated(counters + size_of::<Self>()) + self.value.as_ref().map_or(0, CompactValue::memory_bytes)
    }

    /// The hash by which a successor names this entry: BLAKE3 of its canonical CBOR, 4 bytes.
    pub fn hash4(&self, key: &KeyPath) -> EntryHash {
        let mut hash = [0; 4];
        blake3::Hasher::new().update(&self.to_cbor(key)).finalize_xof().fill(&mut hash);
        hash
    }

    /// Full hash of the value (or of the deletion): the last resort of the merge order.
    pub fn value_hash(&self) -> [u8; 32] {
        match &self.value {
            Some(value) => *blake3::hash(&value.to_cbor()).as_bytes(),
            None => [0; 32],
        }
    }
}

fn int(number: i128) -> Value {
    // A 64-bit stamp and its complement are within CBOR's -2^64 ..= 2^64 - 1.
    tombolo_delta::Int::new(number).map_or(Value::Null, Value::Int)
}

fn read_saw(value: &Value) -> Result<EntryHash, EntryError> {
    match value {
        Value::Bytes(bytes) => bytes.as_slice().try_into().map_err(|_| EntryError::Shape),
        _ => Err(EntryError::Shape),
    }
}
