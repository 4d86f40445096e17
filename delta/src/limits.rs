//! Every bound on what bytes may become. All are constants of the format, so that two honest nodes never differ in
//! what they accept; what lies beyond one is refused with the error that names it.

use crate::{CborError, Value, to_cbor};

/// Arrays and maps nest at most so deep: far beyond documents people keep, far within any thread's stack.
pub const DEPTH_MAX: usize = 64;

/// A snapshot's canonical CBOR is at most so long.
pub const SNAPSHOT_BYTES_MAX: usize = 256 * 1024;

/// A delta brings at most so many bytes of new content, counted as in CBOR: as much as a whole snapshot. What comes
/// out is therefore never larger than base and this together, however few bytes came in.
pub const NEW_BYTES_MAX: usize = SNAPSHOT_BYTES_MAX;

/// The decoder may take so many bytes as zero behind the end of its input. The encoder leaves zeros away, up to this.
pub const IMPLIED_ZEROS_MAX: usize = 16;

/// Bounds on what [`from_cbor`](crate::from_cbor) accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the input.
    pub bytes_max: usize,
    /// Nesting of arrays and maps.
    pub depth_max: usize,
    /// Values in the whole tree, keys not counted.
    pub items_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::SNAPSHOT
    }
}

impl Limits {
    /// A snapshot document. Each item takes a byte at least, so the third bound matters only where it is set lower.
    pub const SNAPSHOT: Limits =
        Limits { bytes_max: SNAPSHOT_BYTES_MAX, depth_max: DEPTH_MAX, items_max: SNAPSHOT_BYTES_MAX };

    /// Whether a value that was made here may travel: what this accepts, [`from_cbor`](crate::from_cbor) reads again.
    ///
    /// # Errors
    ///
    /// The limit that the value exceeds.
    pub fn check(&self, value: &Value) -> Result<(), CborError> {
        let mut items = 0;
        self.check_tree(value, 0, &mut items)?;
        let bytes = to_cbor(value).len();
        if bytes > self.bytes_max {
            return Err(CborError::TooLong { bytes, max: self.bytes_max });
        }
        Ok(())
    }

    fn check_tree(&self, value: &Value, depth: usize, items: &mut usize) -> Result<(), CborError> {
        *items += 1;
        if *items > self.items_max {
            return Err(CborError::TooManyItems { max: self.items_max });
        }
        if matches!(value, Value::Array(_) | Value::Map(_)) && depth >= self.depth_max {
            return Err(CborError::TooDeep { max: self.depth_max });
        }
        match value {
            Value::Array(array) => array.iter().try_for_each(|item| self.check_tree(item, depth + 1, items)),
            Value::Map(map) => map.iter().try_for_each(|(_, item)| self.check_tree(item, depth + 1, items)),
            _ => Ok(()),
        }
    }
}
