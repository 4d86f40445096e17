//! The entries that all rows write: keys of 17 bytes, values of 100 that no compressor shortens.

use tombolo::layer::KeyPath;
use tombolo_delta::Value;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 17;
/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 100;
/// An update as raw quinn sends it: its length, key, value.
pub(crate) const FRAME_BYTES: usize = 2 + KEY_BYTES + VALUE_BYTES;
/// The document that is written.
pub(crate) const DOCUMENT: &str = "bench";

/// The key of an entry.
pub(crate) fn key(n: usize) -> String {
    format!("k{n:016}").chars().take(KEY_BYTES).collect()
}

/// The same, as a node takes it.
pub(crate) fn path(n: usize) -> KeyPath {
    KeyPath::parse(&key(n)).unwrap()
}

/// The value of an entry in one of its versions.
pub(crate) fn value(n: usize, version: u64) -> Vec<u8> {
    let mut bytes = vec![0; VALUE_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&n.to_be_bytes()).update(&version.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// So many entries as one object, to `put`.
pub(crate) fn object(entries: usize) -> Value {
    (0..entries).map(|n| (key(n), Value::Bytes(value(n, 0)))).collect()
}

/// An entry as raw quinn sends it.
pub(crate) fn frame(n: usize) -> Vec<u8> {
    let key = format!("{:017}", n % 100_000_000_000_000_000);
    let length = u16::try_from(KEY_BYTES + VALUE_BYTES).unwrap();
    [&length.to_be_bytes()[..], key.as_bytes(), &value(n, 0)].concat()
}
