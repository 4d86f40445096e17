//! The winner rule, whole: per key the greatest `(stamp, author, value hash)` wins. It is a total order, so
//! nodes that hold the same layers read the same document, in whatever order the layers came.

use std::cmp::Ordering;
use std::sync::Arc;

use tombolo_transports::PeerId;

use crate::clock::Timestamp;
use crate::layer::{CompactValue, Entry, EntryHash, KeyPath};
use crate::merge::planted::{self, PlantedFault};

/// The entry that wins under a key, and its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Winner<'a> {
    /// The author of the entry.
    pub author: PeerId,
    /// The entry as its author signed it; the layer that it stands in has the same one.
    pub entry: &'a Arc<Entry>,
}

/// An entry that lost against one whose author had not seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loser {
    /// The author of the entry.
    pub author: PeerId,
    /// The entry as its author signed it.
    pub entry: Entry,
    /// The author of the winning entry.
    pub winner: PeerId,
    /// The key above or below at which the winning entry stands; none where it stands under the same key.
    pub hidden_by: Option<KeyPath>,
}

/// The merge order. Value hashes are compared last, so they are hardly ever computed.
pub(super) fn compare(a: (PeerId, &Entry), b: (PeerId, &Entry)) -> Ordering {
    let stamp = |entry: &Entry| match planted::has(PlantedFault::CounterIgnored) {
        true => Timestamp::new(entry.stamp.time(), 0),
        false => entry.stamp,
    };
    let authors = || if planted::has(PlantedFault::TieBreakReversed) { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
    stamp(a.1).cmp(&stamp(b.1)).then_with(authors).then_with(|| a.1.value_hash().cmp(&b.1.value_hash()))
}

/// The greatest of the candidates.
pub(super) fn winner<'a>(candidates: impl Iterator<Item = (PeerId, &'a Arc<Entry>)>) -> Option<Winner<'a>> {
    let best = candidates.max_by(|a, b| compare((a.0, a.1), (b.0, b.1)))?;
    Some(Winner { author: best.0, entry: best.1 })
}

/// The candidates that the winner's author neither wrote nor saw, and that have another value. What an entry has replaced, its
/// author has seen, and so had the author of the one that replaced this.
pub(super) fn conflicts<'a>(
    key: &KeyPath,
    winner: Winner<'_>,
    candidates: impl Iterator<Item = (PeerId, &'a Arc<Entry>)>,
) -> Vec<Loser> {
    let others = candidates.filter(|(author, _)| *author != winner.author);
    let others: Vec<(PeerId, &Entry)> = others.map(|(author, entry)| (author, &**entry)).collect();
    if others.iter().all(|(_, entry)| entry.value == winner.entry.value) {
        return Vec::new();
    }
    let mut unseen: Vec<_> =
        others.iter().map(|(author, entry)| (*author, *entry, entry.hash4(key))).collect();
    let mut saw = winner.entry.saw;
    if saw == seen_together(key, winner.entry.value.as_ref(), others.into_iter()) {
        return Vec::new();
    }
    while let Some(at) = saw.and_then(|saw| unseen.iter().position(|(_, _, hash)| *hash == saw)) {
        saw = unseen.swap_remove(at).1.saw;
    }
    let lost = unseen.into_iter().filter(|(_, entry, _)| entry.value != winner.entry.value);
    let loser = |(author, entry, _): (PeerId, &Entry, EntryHash)| Loser {
        author,
        entry: Entry::clone(entry),
        winner: winner.author,
        hidden_by: None,
    };
    lost.map(loser).collect()
}

/// What an entry with this value carries to show that its author has seen all these others: the hash of the one of them that has
/// another value, or all such hashes together.
pub(super) fn seen_together<'a>(
    key: &KeyPath,
    value: Option<&CompactValue>,
    others: impl Iterator<Item = (PeerId, &'a Entry)>,
) -> Option<EntryHash> {
    let hashes = others.filter(|(_, entry)| entry.value.as_ref() != value).map(|(_, entry)| entry.hash4(key));
    hashes.reduce(|mut all, hash| {
        all.iter_mut().zip(hash).for_each(|(all, one)| *all ^= one);
        all
    })
}
