//! Large writes on their way to the node. A `put` or `set` is flattened and checked in a thread of its own, so that the node only writes
//! it, slice by slice ([`Write::Flat`]). One that the node would refuse goes as it is: nothing of that is written.
//!
//! A write that is to be one commit, or for one version alone, is worked out in a thread of its own, on the draft that the node answers.

use tombolo_delta::Value;

use super::journal::EventId;
use super::{AskError, NodeClient};
use crate::authoring::DraftOrder;
use crate::clock::Timestamp;
use crate::io::{Command, CommandError, Reply, Write};
use crate::layer::{Entry, KeyPath};
use crate::limits::{LAYER_BYTES_MAX, MAP_ENTRIES_MAX, SLICE_KEYS_MAX};
use crate::merge::{flatten, leaf_count};

/// The leaves of a value below a key, in their order; none where they are few, or cannot be the content of a map.
fn leaves_of(key: Option<&KeyPath>, value: &Value) -> Option<Vec<(KeyPath, Value)>> {
    let leaves = flatten(key, value).ok()?;
    if leaves.len() <= SLICE_KEYS_MAX || leaves.len() > MAP_ENTRIES_MAX {
        return None;
    }
    let largest = |value: &Value| Entry {
        stamp: Timestamp::from_bits(u64::MAX),
        value: Some(value.clone().into()),
        saw: Some([0; 4]),
    };
    let sizes = leaves.iter().map(|(key, value)| largest(value).check(key));
    let bytes = sizes.sum::<Result<usize, _>>().ok()?;
    (bytes <= LAYER_BYTES_MAX).then(|| leaves.into_iter().collect())
}

/// The document, the key and the value of a write that may be done in slices.
fn parts(write: &Write) -> Option<(&str, Option<&KeyPath>, &Value)> {
    match write {
        Write::Put { doc, value, whole: false } => Some((doc, None, value)),
        Write::Set { doc, key, value } => Some((doc, Some(key), value)),
        Write::Put { whole: true, .. }
        | Write::Create { .. }
        | Write::Del { .. }
        | Write::Delete { .. }
        | Write::OnBase { .. }
        | Write::Settle { .. }
        | Write::Flat { .. }
        | Write::InDraft(_)
        | Write::Drafted(_)
        | Write::PublishState { .. } => None,
    }
}

/// The write in place of a large one; none where that goes as it is.
fn flat(write: &Write) -> Option<Write> {
    let (doc, key, value) = parts(write)?;
    let leaves = leaves_of(key, value)?;
    Some(Write::Flat { doc: doc.to_owned(), key: key.cloned(), leaves })
}

/// Whether a command may be answered with a draft.
pub(super) fn is_one_commit(command: &Command) -> bool {
    matches!(command, Command::Write(Write::OnBase { .. } | Write::Put { whole: true, .. }))
}

/// Whether a command is a write of so large a value that it is flattened, if it can be.
pub(super) fn is_large(command: &Command) -> bool {
    let Command::Write(write) = command else { return false };
    parts(write).is_some_and(|(.., value)| leaf_count(value) > SLICE_KEYS_MAX)
}

impl NodeClient {
    /// Sends a write of one commit and waits for the reply. The node has it worked out here where that takes long.
    pub(super) async fn ask_in_draft(&self, command: Command) -> Result<(Reply, EventId), AskError> {
        let write = match command {
            Command::Write(write) => write,
            command => return self.ask(command).await,
        };
        let order = DraftOrder::new(write);
        let mut turn = self.drafts.try_acquire().ok();
        let later = turn.is_none().then(|| order.clone());
        let mut answer = self.ask(Write::InDraft(order).into()).await?;
        if let (Some(order), (Reply::Draft(_), _)) = (later, &answer) {
            turn = self.drafts.acquire().await.ok();
            answer = self.ask(Write::InDraft(order).into()).await?;
        }
        while let (Reply::Draft(draft), _) = answer {
            let worked_out = tokio::task::spawn_blocking(move || draft.work_out());
            let drafted = worked_out.await.map_err(|_| super::NodeGone)??;
            let ballast = drafted.ballast();
            let asked = self.ask(Write::Drafted(Box::new(drafted)).into()).await;
            drop(tokio::task::spawn_blocking(move || drop(ballast)));
            answer = asked?;
        }
        drop(turn);
        Ok(answer)
    }

    /// Sends a write of a large value and waits for the reply. For a map it goes flattened.
    pub(super) async fn ask_flat(&self, command: Command) -> Result<(Reply, EventId), AskError> {
        let write = match command {
            Command::Write(write) => write,
            command => return self.ask(command).await,
        };
        // Flattening a large value is work that no other task should wait for.
        let cut = tokio::task::spawn_blocking(move || (flat(&write), write));
        let (flat, write) = cut.await.map_err(|_| super::NodeGone)?;
        let Some(flat) = flat else { return self.ask(write.into()).await };
        match self.ask(flat.into()).await {
            // A document of another kind takes the value as it is.
            Err(AskError::Refused(CommandError::UnknownDocument(_))) => self.ask(write.into()).await,
            asked => asked,
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
    fn a_large_value_is_flattened_in_order() {
        let nested = [("a".to_owned(), value(numbers(9_000))), ("b".to_owned(), value(numbers(18_000)))];
        let key = KeyPath::parse("x").unwrap();
        for below in [None, Some(&key)] {
            let leaves = leaves_of(below, &value(nested.clone())).unwrap();
            assert_eq!(leaves.len(), 27_000);
            assert!(leaves.is_sorted_by(|(a, _), (b, _)| a < b));
            assert!(leaves.iter().all(|(key, _)| below.is_none_or(|below| below.is_prefix_of(key))));
        }
    }

    #[test]
    fn what_is_small_or_would_be_refused_goes_as_it_is() {
        let is_flat = |members: Vec<(String, Value)>| leaves_of(None, &value(members)).is_some();
        assert!(is_flat(numbers(6_000)));
        assert!(!is_flat(numbers(100)));
        let too_long = ("long".to_owned(), Value::from("x".repeat(70_000).as_str()));
        assert!(!is_flat([numbers(6_000), vec![too_long]].concat()));
        assert!(!is_flat(numbers(MAP_ENTRIES_MAX as u64 + 1)));
        let large = (0..6_000).map(|n| (format!("k{n}"), Value::Bytes(vec![0; 3_000]))).collect();
        assert!(!is_flat(large));
    }
}
