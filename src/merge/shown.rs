//! What a reader sees of many keys, shared with the document: to be put together where nothing waits for it.

use std::sync::Arc;

use tombolo_delta::Value;

use crate::layer::{Entry, KeyPath};
use crate::merge::{Document, KeyView, Loser, register, tree};
use crate::time::Wall;

/// The entries that a reader sees below a key or in a whole document, as they were at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownLeaves {
    /// Segments of the key below which they stand.
    depth: usize,
    leaves: Vec<(KeyPath, Arc<Entry>)>,
}

impl ShownLeaves {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether nothing is seen there.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The value that they make: an object, but where the key itself has one.
    pub fn value(&self) -> Value {
        let shown = self
            .leaves
            .iter()
            .filter_map(|(key, entry)| Some((key.segments().skip(self.depth), entry.value.as_ref()?)));
        tree::assemble(shown).unwrap_or_else(|| Value::Map(tombolo_delta::Map::default()))
    }
}

impl Document {
    /// Whether more winners than so many stand at a key and below it, or in all.
    pub fn has_more_than(&self, keys: usize, below: Option<&KeyPath>) -> bool {
        self.keys_at_most() > keys
            && match below {
                Some(below) => self.merged.has_more_than(keys, below),
                None => self.merged.iter().nth(keys).is_some(),
            }
    }

    /// The entries that a reader sees at a key and below it, or in all of a map.
    pub fn shown_leaves(&self, below: Option<&KeyPath>) -> ShownLeaves {
        let entry = |(key, at): (&KeyPath, KeyView<'_>)| Some((key.clone(), at.entry()?.clone()));
        let leaves = match below {
            Some(below) => self.look_below(below).filter_map(entry).collect(),
            None => self.look_from(None).filter_map(entry).collect(),
        };
        ShownLeaves { depth: below.map_or(0, KeyPath::depth), leaves }
    }

    /// The values that lost against writes that had not seen them, with the key: under the same key, or hidden by an entry above
    /// or below it. So many keys are looked at, from one on or from the first; the key that follows them is returned as well.
    pub fn conflicts_from(
        &self,
        from: Option<&KeyPath>,
        keys: usize,
        reference: Wall,
    ) -> (Vec<(KeyPath, Loser)>, Option<KeyPath>) {
        let mut winners = self.merged.iter_from(from).map(|(key, _)| key);
        let looked_at = winners.by_ref().take(keys);
        let of = |key: &KeyPath| {
            self.conflicts_at(key, reference).into_iter().map({
                let key = key.clone();
                move |loser| (key.clone(), loser)
            })
        };
        let found = looked_at.flat_map(of).collect();
        (found, winners.next().cloned())
    }

    /// All of them.
    pub fn conflicts(&self, reference: Wall) -> Vec<(KeyPath, Loser)> {
        self.conflicts_from(None, usize::MAX, reference).0
    }

    /// The values under one key that lost against writes that had not seen them.
    pub fn conflicts_at(&self, key: &KeyPath, reference: Wall) -> Vec<Loser> {
        let Some(winner) = self.merged.winner(key) else { return Vec::new() };
        let mut losers = register::conflicts(key, winner, self.candidates(key, reference));
        // Who writes deletes what it sees above and below: what is hidden all the same was not seen.
        let hider = self.merged.hidden_by(key).filter(|(_, hider)| hider.author != winner.author);
        losers.extend(hider.map(|(at, hider)| Loser {
            author: winner.author,
            entry: Entry::clone(winner.entry),
            winner: hider.author,
            hidden_by: Some(at),
        }));
        losers
    }
}
