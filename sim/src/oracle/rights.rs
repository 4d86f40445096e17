//! Who writes in an owner's documents, read from the owner's audience as `src/envelope/FORMAT.md` draws it, with none of
//! the code that it checks.

use std::collections::BTreeMap;

use tombolo::layer::DocumentName;
use tombolo_delta::Value;
use tombolo_transports::PeerId;

/// The level of a member that writes.
const WRITER: u64 = 2;

/// The writers of an owner's map documents, and the documents that it has ended.
#[derive(Debug)]
pub(super) struct WriterList {
    owner: PeerId,
    salt: Vec<u8>,
    /// By hash of a writer: from which audience sequence on its layers count.
    writers: BTreeMap<Vec<u8>, u64>,
    /// By hash of a name: from which audience sequence on layers of that document count.
    ends: BTreeMap<Vec<u8>, u64>,
}

impl WriterList {
    /// The rights that an audience gives; without one the owner alone writes.
    pub(super) fn of(owner: PeerId, audience: Option<&Value>) -> Self {
        let rows = |field: &str| -> Vec<&[Value]> {
            let rows = audience.and_then(|audience| audience.get(field)).and_then(Value::as_array);
            rows.into_iter().flatten().filter_map(Value::as_array).collect()
        };
        let writer = |row: &[Value]| match row {
            [hash, level, rest @ ..] if level.as_u64() == Some(WRITER) => {
                Some((hash.as_bytes()?.to_vec(), rest.first().map_or(Some(0), Value::as_u64)?))
            }
            _ => None,
        };
        let end = |row: &[Value]| match row {
            [hash, since, ..] => Some((hash.as_bytes()?.to_vec(), since.as_u64()?)),
            _ => None,
        };
        let salt = audience.and_then(|audience| audience.get("salt")).and_then(Value::as_bytes);
        WriterList {
            owner,
            salt: salt.unwrap_or_default().to_vec(),
            writers: rows("members").into_iter().filter_map(writer).collect(),
            ends: rows("ends").into_iter().filter_map(end).collect(),
        }
    }

    /// From which audience sequence on an author's layers count in a document; none where it does not write there.
    pub(super) fn counts_from(&self, author: &PeerId, name: &DocumentName) -> Option<u64> {
        let ended = self.ends.get(&self.hash("tombolo 1 ended name", name.as_str().as_bytes(), 8));
        let since = match *author == self.owner {
            true => 0,
            false => *self.writers.get(&self.member(author))?,
        };
        Some(since.max(ended.copied().unwrap_or(0)))
    }

    /// Of these identities those that write, and how many further writers are listed.
    pub(super) fn writers_among(&self, identities: &[PeerId]) -> (Vec<PeerId>, usize) {
        let lists = |peer: &&PeerId| **peer != self.owner && self.writers.contains_key(&self.member(peer));
        let known: Vec<PeerId> = identities.iter().filter(lists).copied().collect();
        let unknown = self.writers.len() - known.len();
        (known.into_iter().chain([self.owner]).collect(), unknown)
    }

    fn member(&self, peer: &PeerId) -> Vec<u8> {
        self.hash("tombolo 1 audience print", &peer.0, 16)
    }

    fn hash(&self, context: &str, what: &[u8], bytes: usize) -> Vec<u8> {
        let mut hash = vec![0; bytes];
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.salt).update(what).finalize_xof().fill(&mut hash);
        hash
    }
}
