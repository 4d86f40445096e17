//! Which entries an author may drop, by section 4 of the design: its own that a tombstone beats, and its own tombstones once
//! no other layer has an older entry for the key and every present writer has signed later.

use tombolo::layer::{Entry, KeyPath};
use tombolo::time::Wall;
use tombolo_transports::PeerId;

use super::merged::{HeldState, is_greater};

/// What an author held when it signed.
pub(super) struct AuthorsView<'a> {
    pub(super) author: PeerId,
    /// The layers of the document, its own included.
    pub(super) held: Vec<HeldState<'a>>,
    /// The writers that the owner lists, and how many more there are that are no machine of the simulation.
    pub(super) writers: (Vec<PeerId>, usize),
}

impl AuthorsView<'_> {
    /// Whether the author may drop an entry of its own.
    pub(super) fn may_drop(&self, key: &KeyPath, entry: &Entry) -> bool {
        self.is_beaten_by_a_tombstone(key, entry) || entry.is_tombstone() && self.is_done(key, entry)
    }

    fn others(&self) -> impl Iterator<Item = &HeldState<'_>> {
        self.held.iter().filter(|held| held.author != self.author)
    }

    fn is_beaten_by_a_tombstone(&self, key: &KeyPath, entry: &Entry) -> bool {
        self.others().filter(|held| held.counts).any(|held| {
            let tombstone = held.state.entries.get(key).filter(|other| other.is_tombstone());
            tombstone.is_some_and(|other| is_greater((held.author, other), (self.author, entry)))
        })
    }

    fn is_done(&self, key: &KeyPath, tombstone: &Entry) -> bool {
        let is_older = |held: &HeldState<'_>| {
            let other = held.state.entries.get(key);
            other.is_some_and(|other| is_greater((self.author, tombstone), (held.author, other)))
        };
        let (writers, unknown) = &self.writers;
        let mut others = writers.iter().filter(|writer| **writer != self.author);
        *unknown == 0
            && !self.others().any(is_older)
            && others.all(|writer| self.has_signed_since(writer, tombstone.stamp.time()))
    }

    fn has_signed_since(&self, writer: &PeerId, time: Wall) -> bool {
        self.held.iter().any(|held| held.author == *writer && held.counts && held.state.time > time)
    }
}
