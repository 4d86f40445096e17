//! A document by the design: merged from scratch out of the states that are held of it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use tombolo::layer::{CompactValue, Entry, KeyPath, Sequence};
use tombolo::time::{Millis, Wall};
use tombolo_delta::Value;
use tombolo_transports::PeerId;

use super::signed::SignedState;

/// Entries that are further ahead of reference time may wait. A node lets them take part within a minute of the bound, 10 minutes.
const MAY_WAIT: Millis = Millis::from_secs(9 * 60);
/// Entries that are further ahead must wait. The bound, and once more as much by which reference time may step back unnoticed.
const MUST_WAIT: Millis = Millis::from_secs(21 * 60);

/// A state that a node holds of an author's layer.
#[derive(Clone, Copy)]
pub(super) struct HeldState<'a> {
    pub(super) author: PeerId,
    pub(super) sequence: Sequence,
    pub(super) state: &'a SignedState,
    /// Whether its author writes in the document, and signed it since becoming a writer.
    pub(super) counts: bool,
}

/// What wins under each key.
pub(super) struct Merged<'a> {
    winners: BTreeMap<&'a KeyPath, (PeerId, &'a Entry)>,
    /// Keys with an entry that waits at one node and takes part at another.
    open: BTreeSet<&'a KeyPath>,
}

impl<'a> Merged<'a> {
    pub(super) fn of(held: &[HeldState<'a>], reference: Wall) -> Self {
        let mut merged = Merged { winners: BTreeMap::new(), open: BTreeSet::new() };
        for HeldState { author, state, .. } in held.iter().filter(|held| held.counts) {
            for (key, entry) in &state.entries {
                let time = entry.stamp.time();
                if time > reference + MUST_WAIT {
                    continue;
                }
                if time > reference + MAY_WAIT {
                    merged.open.insert(key);
                }
                let best = merged.winners.entry(key).or_insert((*author, entry));
                if is_greater((*author, entry), *best) {
                    *best = (*author, entry);
                }
            }
        }
        merged
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a KeyPath> {
        self.winners.keys().copied()
    }

    /// Whether the entry that wins under a key cannot be known.
    pub(super) fn is_open(&self, key: &KeyPath) -> bool {
        self.open.contains(key)
    }

    pub(super) fn winner(&self, key: &KeyPath) -> Option<(PeerId, &'a Entry)> {
        self.winners.get(key).copied()
    }

    /// The value that shows under a key; none of it where it cannot be known.
    pub(super) fn shown(&self, key: &KeyPath) -> VisibleValue<'a> {
        let is_related = |other: &KeyPath| other == key || is_above(other, key) || is_above(key, other);
        if self.open.iter().any(|other| is_related(other)) {
            return VisibleValue::Open;
        }
        let Some((author, entry)) = self.winner(key) else { return VisibleValue::Known(None) };
        let Some(value) = entry.value.as_ref() else { return VisibleValue::Known(None) };
        // An empty object has room for members: it hides nothing below it, and is not hidden by that.
        let is_greater = |(by, hider): (PeerId, &Entry)| (hider.stamp, by) > (entry.stamp, author);
        let stands = |hider: &Entry| hider.value.as_ref().is_some_and(|value| !is_room(value));
        let mut above = key.parents().filter_map(|above| self.winner(&above));
        let below = self.winners.range::<KeyPath, _>((Bound::Excluded(key), Bound::Unbounded));
        let is_hidden = above.any(|hider| stands(hider.1) && is_greater(hider))
            || !is_room(value)
                && below
                    .take_while(|(other, _)| is_above(key, other))
                    .any(|(_, hider)| hider.1.value.is_some() && is_greater(*hider));
        VisibleValue::Known((!is_hidden).then_some(value))
    }
}

/// What a reader sees under a key.
#[derive(Debug, PartialEq)]
pub(super) enum VisibleValue<'a> {
    /// This value, or none.
    Known(Option<&'a CompactValue>),
    /// An entry at the key, above or below it may wait or not.
    Open,
}

/// The order of the design, a total one: milliseconds, counter, author, hash of the value.
pub(super) fn is_greater((author, entry): (PeerId, &Entry), (other, than): (PeerId, &Entry)) -> bool {
    let rank =
        |author: PeerId, entry: &Entry| (entry.stamp.bits() >> 16, entry.stamp.bits() & 0xffff, author);
    match rank(author, entry).cmp(&rank(other, than)) {
        Ordering::Equal => entry.value_hash() > than.value_hash(),
        ordering => ordering.is_gt(),
    }
}

fn is_above(above: &KeyPath, below: &KeyPath) -> bool {
    above.segments().len() < below.segments().len()
        && above.segments().zip(below.segments()).all(|(a, b)| a == b)
}

fn is_room(value: &CompactValue) -> bool {
    matches!(&*value.get(), Value::Map(members) if members.is_empty())
}
