//! A large `put` as a row of small writes: the node's thread does one of them at a time, and whatever else is asked of it in between.
//!
//! What is new is written first, in the order of the keys: the database and the indexes take neighbours fastest. What is not in the value
//! is deleted last. A `put` that is to be one commit, or for one version alone, is not cut, nor is one that the node would refuse:
//! nothing of that is written.

use tombolo_delta::Value;

use super::journal::EventId;
use super::{AskError, NodeClient};
use crate::clock::Timestamp;
use crate::io::view::WrittenView;
use crate::io::{Command, Reply, Write};
use crate::layer::{Entry, KeyPath};
use crate::limits::{LAYER_BYTES_MAX, MAP_ENTRIES_MAX};
use crate::merge::{flatten, leaf_count};

/// A `put` of more entries is cut. Slices are larger than what the log of the store takes, which would write each twice, and small enough
/// that nothing waits long behind one.
const SLICE_ENTRIES_MAX: usize = 5_000;
/// Bytes of the entries of a slice.
const SLICE_BYTES_MAX: usize = 1024 * 1024;

type PutSlice = Vec<(KeyPath, Value)>;

/// The slices of a value; none where it is small, or cannot be the content of a map.
fn slices_of(value: &Value) -> Vec<PutSlice> {
    let Ok(leaves) = flatten(None, value) else { return Vec::new() };
    if leaves.len() < SLICE_ENTRIES_MAX || leaves.len() > MAP_ENTRIES_MAX {
        return Vec::new();
    }
    let largest = |value: &Value| Entry {
        stamp: Timestamp::from_bits(u64::MAX),
        value: Some(value.clone().into()),
        saw: Some([0; 4]),
    };
    let sizes = leaves.iter().map(|(key, value)| largest(value).check(key));
    match sizes.sum::<Result<usize, _>>() {
        Ok(bytes) if bytes <= LAYER_BYTES_MAX => {}
        Ok(_) | Err(_) => return Vec::new(),
    }
    let (mut slices, mut slice, mut bytes) = (Vec::new(), PutSlice::new(), 0);
    for (key, value) in leaves {
        bytes += key.size() + tombolo_delta::cbor_len(&value);
        slice.push((key, value));
        if slice.len() == SLICE_ENTRIES_MAX || bytes >= SLICE_BYTES_MAX {
            slices.push(std::mem::take(&mut slice));
            bytes = 0;
        }
    }
    slices.push(slice);
    slices
}

/// Whether a command is a `put` of so many entries that it is cut, if it can be.
pub(super) fn may_be_cut(command: &Command) -> bool {
    let Command::Write(Write::Put { value, whole: false, .. }) = command else { return false };
    leaf_count(value) >= SLICE_ENTRIES_MAX
}

impl NodeClient {
    /// Sends a `put` that may be cut, slice by slice.
    pub(super) async fn put_in_slices(&self, command: Command) -> Result<(Reply, EventId), AskError> {
        let (command, progress) = self.written_in_slices(command).await?;
        let (mut reply, up_to) = self.ask(command).await?;
        progress.complete(&mut reply);
        Ok((reply, up_to))
    }

    /// Writes what a large `put` sets, slice by slice, and returns the write that does the rest, with what was written so far. A command
    /// of another kind is returned as it is.
    async fn written_in_slices(&self, command: Command) -> Result<(Command, PutProgress), AskError> {
        let mut progress = PutProgress::default();
        let Command::Write(Write::Put { doc, value, whole: false }) = command else {
            return Ok((command, progress));
        };
        // Flattening a large value is work that no other task should wait for.
        let cut = tokio::task::spawn_blocking(move || {
            let slices = slices_of(&value);
            let keys: Vec<KeyPath> = slices.iter().flatten().map(|(key, _)| key.clone()).collect();
            (slices, keys, value)
        });
        let (slices, keys, value) = cut.await.map_err(|_| super::NodeGone)?;
        let is_cut = !slices.is_empty();
        for leaves in slices {
            match self.ask(Write::Leaves { doc: doc.clone(), leaves }.into()).await {
                Ok((Reply::Written(written), _)) => progress.add(&written),
                // It is no map, or the whole may fit where a slice does not, since it also deletes. If not, its refusal is the answer.
                Ok(_) | Err(AskError::Refused(_)) => {
                    return Ok((Write::Put { doc, value, whole: false }.into(), progress));
                }
                Err(gone @ AskError::Gone(_)) => return Err(gone),
            }
        }
        let last = match is_cut {
            true => Write::Keep { doc, keys },
            false => Write::Put { doc, value, whole: false },
        };
        Ok((last.into(), progress))
    }
}

/// What the slices of a `put` have written.
#[derive(Debug, Default)]
struct PutProgress {
    set: usize,
    deleted: usize,
}

impl PutProgress {
    fn add(&mut self, written: &WrittenView) {
        self.set += written.set;
        self.deleted += written.deleted;
    }

    /// Adds it to the reply of the `put`.
    fn complete(&self, reply: &mut Reply) {
        if let Reply::Written(written) = reply {
            written.set += self.set;
            written.deleted += self.deleted;
            written.changed += self.set + self.deleted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(members: impl IntoIterator<Item = (String, Value)>) -> Value {
        Value::map(members)
    }

    fn numbers(count: u64) -> Vec<(String, Value)> {
        (0..count).map(|n| (format!("k{n}"), Value::from(n))).collect()
    }

    #[test]
    fn slices_hold_all_leaves_once_and_in_order() {
        let nested = [("a".to_owned(), value(numbers(9_000))), ("b".to_owned(), value(numbers(18_000)))];
        let slices = slices_of(&value(nested));
        assert!(slices.len() >= 5 && slices.iter().all(|slice| slice.len() <= SLICE_ENTRIES_MAX));
        let all: Vec<_> = slices.concat();
        assert_eq!(all.len(), 27_000);
        assert!(all.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn what_is_small_or_would_be_refused_is_not_cut() {
        let cut = |members: Vec<(String, Value)>| slices_of(&value(members)).len();
        assert_eq!(cut(numbers(100)), 0);
        let too_long = ("long".to_owned(), Value::from("x".repeat(70_000).as_str()));
        assert_eq!(cut([numbers(6_000), vec![too_long]].concat()), 0);
        let too_many = numbers(MAP_ENTRIES_MAX as u64 + 1);
        assert_eq!(cut(too_many), 0);
        let large = (0..6_000).map(|n| (format!("k{n}"), Value::Bytes(vec![0; 3_000]))).collect();
        assert_eq!(cut(large), 0);
    }
}
