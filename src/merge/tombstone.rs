//! How tombstones end: only their author drops one, and only when no node can bring an older entry for the key any
//! more.

use std::collections::BTreeSet;

use tombolo_transports::PeerId;

use crate::layer::{Entry, KeyPath, Layer};
use crate::limits::TOMBSTONE_RENEW;
use crate::merge::planted::{self, PlantedFault};
use crate::merge::{Document, Winner, map_of, register};
use crate::time::Wall;

/// What an author may tidy up in its own layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Own entries to drop: beaten by another author's tombstone, or own tombstones that are proven done.
    pub drop: Vec<KeyPath>,
    /// Whether to sign the layer again, unchanged, since tombstones wait for this author's signed time.
    pub renew: bool,
}

/// What tombstones of one author wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneWait {
    /// The number of tombstones that wait.
    pub tombstones: usize,
    /// When the oldest of them was written, milliseconds since the Unix epoch.
    pub since: Wall,
    /// The writers that have not signed since.
    pub writers: BTreeSet<PeerId>,
    /// Further writers that the owner lists and that are not known here.
    pub unknown_writers: usize,
}

impl Document {
    /// Which writers the tombstones of `author` wait for; none where all have signed since. `writers_listed` as in
    /// [`sweep`](Self::sweep).
    pub fn tombstone_wait(&self, author: &PeerId, writers_listed: usize) -> Option<TombstoneWait> {
        let entries = self.layer(author).filter(|_| self.counts(author)).and_then(map_of)?;
        if !entries.has_tombstones() {
            return None;
        }
        let unknown_writers = writers_listed.saturating_sub(self.writers.len());
        let mut wait = None;
        for (_, tombstone) in entries.iter().filter(|(_, entry)| entry.is_tombstone()) {
            let others = self.writers.keys().filter(|writer| *writer != author);
            let late: Vec<PeerId> =
                others.filter(|writer| !self.has_signed_since(writer, tombstone)).copied().collect();
            if late.is_empty() && unknown_writers == 0 {
                continue;
            }
            let since = tombstone.stamp.time();
            let fresh = TombstoneWait { tombstones: 0, since, writers: BTreeSet::new(), unknown_writers };
            let wait = wait.get_or_insert(fresh);
            wait.tombstones += 1;
            wait.since = wait.since.min(since);
            wait.writers.extend(late);
        }
        wait
    }

    /// Whether a writer's layer counts and carries a signed time later than the tombstone.
    fn has_signed_since(&self, writer: &PeerId, tombstone: &Entry) -> bool {
        // A layer that does not count yet will be signed again.
        let later = |layer: &Layer| layer.head().time > tombstone.stamp.time();
        self.counts(writer) && self.layer(writer).is_some_and(later)
    }

    /// What `author` may tidy up now. `writers_listed` is how many the owner lists, itself included: some of
    /// them may be unknown here, and are waited for.
    pub fn sweep(&self, author: &PeerId, writers_listed: usize, reference: Wall) -> Sweep {
        let Some(own) = self.layer(author).filter(|_| self.counts(author)) else { return Sweep::default() };
        let Some(entries) = map_of(own) else { return Sweep::default() };
        let waiting = self.merged.has_tombstones();
        if !waiting && !entries.has_tombstones() {
            return Sweep::default();
        }
        let all_known = self.effective().count() >= writers_listed;
        let drop = entries
            .iter()
            .filter(|(key, entry)| match entry.is_tombstone() {
                true => all_known && self.tombstone_is_done(key, author),
                false => self.is_beaten_by_tombstone(key, (*author, entry)),
            })
            .map(|(key, _)| key.clone())
            .collect();
        let signed_long_ago = reference.since(own.head().time) >= TOMBSTONE_RENEW;
        Sweep { drop, renew: waiting && signed_long_ago }
    }

    fn is_beaten_by_tombstone(&self, key: &KeyPath, own: (PeerId, &Entry)) -> bool {
        let beats =
            |w: Winner<'_>| w.entry.is_tombstone() && register::compare(own, (w.author, w.entry)).is_lt();
        self.winner(key).is_some_and(beats)
    }

    /// No layer held has an older entry for the key, and every other writer's layer carries a signed time
    /// later than the tombstone: a later write of the key is newer than the tombstone.
    fn tombstone_is_done(&self, key: &KeyPath, author: &PeerId) -> bool {
        let own = self.layer(author).and_then(map_of).and_then(|map| map.get(key));
        let Some(tombstone) = own else { return false };
        let no_older = self
            .layers()
            .filter(|(other, _)| *other != author)
            .filter_map(|(other, layer)| Some((*other, map_of(layer)?.get(key)?)))
            .all(|(other, entry)| register::compare((other, entry), (*author, tombstone)).is_gt());
        let mut others = self.writers.keys().filter(|writer| *writer != author);
        no_older
            && (planted::has(PlantedFault::TombstoneDroppedEarly)
                || others.all(|writer| self.has_signed_since(writer, tombstone)))
    }
}
