//! The winner rule, whole: per key the greatest `(stamp, author, value hash)` wins. It is a total order, so
//! nodes that hold the same layers read the same document, in whatever order the layers came.

use std::cmp::Ordering;

use tombolo_transports::PeerId;

use crate::clock::Timestamp;
use crate::layer::{Entry, KeyPath};
use crate::merge::planted::{self, PlantedFault};

/// The entry that wins under a key, and its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// The author of the entry.
    pub author: PeerId,
    /// The entry as its author signed it.
    pub entry: Entry,
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
pub(super) fn winner<'a>(candidates: impl Iterator<Item = (PeerId, &'a Entry)>) -> Option<Winner> {
    let best = candidates.max_by(|a, b| compare(*a, *b))?;
    Some(Winner { author: best.0, entry: best.1.clone() })
}

/// The candidates that the winner's author neither wrote nor saw, and that have another value.
pub(super) fn conflicts<'a>(
    key: &KeyPath,
    winner: &Winner,
    candidates: impl Iterator<Item = (PeerId, &'a Entry)>,
) -> Vec<Loser> {
    candidates
        .filter(|(author, entry)| {
            *author != winner.author
                && entry.value != winner.entry.value
                && winner.entry.saw != Some(entry.hash4(key))
        })
        .map(|(author, entry)| Loser { author, entry: entry.clone(), winner: winner.author })
        .collect()
}
