//! One entry of a map layer: a key, a stamp, a value or its deletion, and what it replaced.
//!
//! ```text
//! live       [key, stamp, value]          or  [key, stamp, value, saw]
//! tombstone  [key, -1 - stamp]            or  [key, -1 - stamp, saw]
//! ```
//! `stamp` is the 64-bit hybrid clock stamp; a negative number marks the tombstone, as CBOR writes it at
//! no cost. `saw` is 4 bytes. `src/envelope/FORMAT.md` draws it.

use tombolo_delta::{Limits, Value};

use crate::clock::Timestamp;
use crate::layer::{KeyError, KeyPath};
use crate::limits::{DEPTH_MAX, ENTRY_BYTES_MAX};

/// The first 4 bytes of the hash of an entry: how its successor proves that its author saw it.
pub type EntryHash = [u8; 4];

/// What one author wrote under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, by the hybrid clock.
    pub stamp: Timestamp,
    /// The value: a scalar, an array or an empty object; none is a tombstone.
    pub value: Option<Value>,
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
            Some(value) => items.extend([int(stamp), value.clone()]),
            None => items.push(int(-1 - stamp)),
        }
        items.extend(self.saw.map(|saw| Value::Bytes(saw.to_vec())));
        Value::Array(items)
    }

    /// Canonical CBOR of the entry under `key`.
    pub fn to_cbor(&self, key: &KeyPath) -> Vec<u8> {
        tombolo_delta::to_cbor(&self.to_value(key))
    }

    /// The entry of a peer's array, checked against the limits of the format.
    ///
    /// # Errors
    ///
    /// An error where the value is none of the four forms, or the entry exceeds a limit.
    pub fn from_value(value: &Value) -> Result<(KeyPath, Entry), EntryError> {
        let Value::Array(items) = value else { return Err(EntryError::Shape) };
        let (key, stamp, rest) = match items.as_slice() {
            [key, Value::Int(stamp), rest @ ..] => (KeyPath::from_value(key)?, stamp.get(), rest),
            _ => return Err(EntryError::Shape),
        };
        let (bits, value, saw) = match (stamp >= 0, rest) {
            (true, [value]) => (stamp, Some(value.clone()), None),
            (true, [value, saw]) => (stamp, Some(value.clone()), Some(read_saw(saw)?)),
            (false, []) => (-1 - stamp, None, None),
            (false, [saw]) => (-1 - stamp, None, Some(read_saw(saw)?)),
            _ => return Err(EntryError::Shape),
        };
        let bits = u64::try_from(bits).map_err(|_| EntryError::Shape)?;
        let entry = Entry { stamp: Timestamp::from_bits(bits), value, saw };
        entry.check(&key)?;
        Ok((key, entry))
    }

    /// The limits of the format on one entry; the same for writers and readers.
    ///
    /// # Errors
    ///
    /// `ObjectNotSpread`, or the limit that the entry exceeds.
    pub fn check(&self, key: &KeyPath) -> Result<(), EntryError> {
        if let Some(Value::Map(members)) = &self.value
            && !members.is_empty()
        {
            return Err(EntryError::ObjectNotSpread);
        }
        let cbor = self.to_cbor(key);
        if cbor.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLarge);
        }
        // The entry's own array is one level, its value may have the rest.
        let limits = Limits { depth_max: DEPTH_MAX + 1, ..Limits::default() };
        tombolo_delta::from_cbor(&cbor, &limits).map(|_| ()).map_err(|_| EntryError::TooDeep)
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
            Some(value) => *blake3::hash(&tombolo_delta::to_cbor(value)).as_bytes(),
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
