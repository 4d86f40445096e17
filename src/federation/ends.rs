//! Documents that their owner has ended: a part of its audience.
//!
//! ```text
//! "ends": [[name hash, since, last], …]
//! ```
//! A name hash is 8 bytes over the audience's salt and the name, so that a reader learns no name that it does not hold. A layer of
//! the document counts only if its author held the audience of sequence `since` or a later one when it signed it: no older layer
//! brings the document back, from whichever node, and its owner may make another of that name. `last` is the sequence of the owner's
//! layer at the end: a new document goes on above it.

use std::collections::BTreeMap;

use tombolo_delta::Value;

use crate::layer::{DocumentName, Sequence};

/// Ends in one audience. One more is refused.
pub const ENDS_MAX: usize = 2_000;

/// How an ended document is named.
type NameHash = [u8; 8];

/// When a document ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentEnd {
    /// The audience sequence from which on layers of a document of that name count again.
    pub since: Sequence,
    /// The sequence that the owner's layer had.
    pub last: Sequence,
}

/// The documents of one owner that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends(BTreeMap<NameHash, DocumentEnd>);

impl Ends {
    /// The end of a document, if it had one.
    pub fn get(&self, salt: &[u8; 16], name: &DocumentName) -> Option<DocumentEnd> {
        self.0.get(&name_hash(salt, name)).copied()
    }

    /// Notes an end, in place of an earlier one.
    pub fn put(&mut self, salt: &[u8; 16], name: &DocumentName, end: DocumentEnd) {
        self.0.insert(name_hash(salt, name), end);
    }

    /// Whether one more would pass the limit.
    pub fn is_full(&self) -> bool {
        self.0.len() >= ENDS_MAX
    }

    /// As a field of the audience document; none where nothing has ended.
    pub(super) fn to_value(&self) -> Option<Value> {
        let end = |(hash, end): (&NameHash, &DocumentEnd)| {
            let numbers = [end.since, end.last].map(|sequence| Value::from(sequence.get()));
            Value::Array([Value::Bytes(hash.to_vec())].into_iter().chain(numbers).collect())
        };
        (!self.0.is_empty()).then(|| Value::Array(self.0.iter().map(end).collect()))
    }

    /// From a field of the audience document. What does not read is left out, and so is what passes the limit.
    pub(super) fn from_value(value: &Value) -> Self {
        let ends = value.as_array().into_iter().flatten().take(ENDS_MAX);
        Ends(ends.filter_map(read_end).collect())
    }
}

fn read_end(value: &Value) -> Option<(NameHash, DocumentEnd)> {
    let [hash, since, last, ..] = value.as_array()? else { return None };
    let sequence = |value: &Value| Sequence::new(value.as_u64()?);
    Some((hash.as_bytes()?.try_into().ok()?, DocumentEnd { since: sequence(since)?, last: sequence(last)? }))
}

/// BLAKE3, derive-key context `tombolo 1 ended name`, over salt and name; 8 bytes.
fn name_hash(salt: &[u8; 16], name: &DocumentName) -> NameHash {
    let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 ended name");
    hasher.update(salt);
    hasher.update(name.as_str().as_bytes());
    let mut hash = [0; 8];
    hasher.finalize_xof().fill(&mut hash);
    hash
}
