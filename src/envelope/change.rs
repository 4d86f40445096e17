//! What leads from a base to a layer's present state: as the author has it, and as a receiver reads it on a base.

use std::borrow::Cow;

use tombolo_delta::{Context, Value};

use crate::envelope::{CompactEnvelope, EnvelopeError, MapChanges, decode_changes, encode_changes};
use crate::limits::{COMPACT_CHANGES_MAX, COMPACT_MAP_BYTES_MAX};
use crate::time::Wall;

/// A change at hand, not yet bytes.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// A change of a snapshot.
    Snapshot {
        /// The value that the receiver holds.
        base: Value,
        /// The value that was signed.
        target: Cow<'a, Value>,
        /// Sequences and signed times of both.
        context: Context,
    },
    /// A change of a map.
    Map {
        /// What was put and dropped.
        changes: MapChanges,
        /// The signed time of the new state.
        time: Wall,
    },
}

impl Change<'_> {
    /// The bytes of a change that stands by itself: one CBOR item.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Change::Snapshot { base, target, context } => {
                tombolo_delta::encode(base, &tombolo_delta::diff(base, target, context), context)
            }
            Change::Map { changes, time } => encode_changes(changes, *time),
        }
    }
}

impl CompactEnvelope<Change<'_>> {
    /// The envelope with its change as bytes, if a receiver looks at a change of that size over a link.
    pub fn packed_for_link(&self) -> Option<CompactEnvelope> {
        match &self.delta {
            Change::Map { changes, .. } if changes.len() > COMPACT_CHANGES_MAX => None,
            Change::Map { .. } => Some(self.packed()).filter(|it| it.delta.len() <= COMPACT_MAP_BYTES_MAX),
            Change::Snapshot { .. } => Some(self.packed()),
        }
    }

    /// The envelope with its change as bytes that stand by themselves.
    pub fn packed(&self) -> CompactEnvelope {
        self.with(self.delta.encode())
    }
}

/// A change as it came, which only its base makes readable.
pub trait Carried {
    /// The value that a snapshot's change makes of a base; none if it is not for this base.
    fn target(&self, base: &Value, context: &Context) -> Option<Value>;

    /// What changed in a map, signed at that time.
    fn changes(&self, time: Wall) -> Result<MapChanges, EnvelopeError>;

    /// How many bytes it has.
    fn bytes(&self) -> usize;
}

/// As it travels by itself.
impl Carried for Vec<u8> {
    fn target(&self, base: &Value, context: &Context) -> Option<Value> {
        let delta = tombolo_delta::decode(base, self, context).ok()?;
        tombolo_delta::apply(base, &delta, context).ok()
    }

    fn changes(&self, time: Wall) -> Result<MapChanges, EnvelopeError> {
        if self.len() > COMPACT_MAP_BYTES_MAX {
            return Err(EnvelopeError::TooManyChanges);
        }
        let changes = decode_changes(self, time)?;
        if changes.len() > COMPACT_CHANGES_MAX { Err(EnvelopeError::TooManyChanges) } else { Ok(changes) }
    }

    fn bytes(&self) -> usize {
        self.len()
    }
}

/// A change behind a reference, so that one gate takes every form.
impl Carried for &dyn Carried {
    fn target(&self, base: &Value, context: &Context) -> Option<Value> {
        (**self).target(base, context)
    }

    fn changes(&self, time: Wall) -> Result<MapChanges, EnvelopeError> {
        (**self).changes(time)
    }

    fn bytes(&self) -> usize {
        (**self).bytes()
    }
}
