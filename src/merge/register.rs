//! The winner rule, whole: per key the greatest `(stamp, author, value hash)` wins. It is a total order, so
//! nodes that hold the same layers read the same document, in whatever order the layers came.

use std::cmp::Ordering;

use tombolo_transports::PeerId;

use crate::layer::{Entry, KeyPath};

/// The entry that wins under a key, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// Who wrote it.
    pub author: PeerId,
    /// What.
    pub entry: Entry,
}

/// An entry that lost against one whose author had not seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loser {
    /// Who wrote it.
    pub author: PeerId,
    /// What.
    pub entry: Entry,
    /// Who wrote the winner.
    pub winner: PeerId,
}

/// The merge order. Value hashes are compared last, so they are hardly ever computed.
pub(super) fn compare(a: (PeerId, &Entry), b: (PeerId, &Entry)) -> Ordering {
    (a.1.stamp, a.0).cmp(&(b.1.stamp, b.0)).then_with(|| a.1.value_hash().cmp(&b.1.value_hash()))
}

/// The greatest of the candidates.
pub(super) fn winner<'a>(candidates: impl Iterator<Item = (PeerId, &'a Entry)>) -> Option<Winner> {
    let best = candidates.max_by(|a, b| compare(*a, *b))?;
    Some(Winner { author: best.0, entry: best.1.clone() })
}

/// The candidates that the winner's author neither wrote nor saw, and that say something else.
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
