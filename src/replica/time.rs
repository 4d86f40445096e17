//! What passing time changes in the documents held: quarantined entries take part, tombstones end, and a clock that was
//! put right moves entries back into the future.

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::core::Core;
use crate::layer::{Content, DocumentId, DocumentName, Entry, KeyPath, Kind, LayerId};
use crate::limits::FUTURE_BOUND;
use crate::merge::{Document, TombstoneWait, map_of};
use crate::replica::Replica;
use crate::time::{Millis, Mono, Wall};

/// What a sweep of tombstones leaves to sign in one document.
#[derive(Debug, PartialEq, Eq)]
pub struct DueSweep {
    /// The document to sign in.
    pub document: DocumentId,
    /// Own keys whose entries are dropped; may be empty where only a newer signed time is missing.
    pub drop: Vec<KeyPath>,
}

impl Replica {
    /// Does a part of what large changes have left to do, which shows nowhere.
    pub fn tidy(&mut self) {
        self.layers.tidy();
    }

    /// When the next quarantined entry takes part, by reference time.
    pub fn next_release(&self) -> Option<Wall> {
        self.layers.waiting().filter_map(Document::next_release).min()
    }

    /// Lets quarantined entries take part whose time has come. Returns the documents that read differently.
    pub fn release_quarantined(&mut self, reference: Wall) -> Vec<DocumentId> {
        let is_due = |document: &&Document| document.next_release().is_some_and(|due| due <= reference);
        let due: Vec<DocumentId> = self.layers.waiting_ids(is_due);
        due.into_iter()
            .filter(|id| self.layers.change_document(id, |document| document.release(reference)))
            .collect()
    }

    /// Reference time has stepped back: entries that are now in the future wait. Returns the documents that read
    /// differently.
    pub fn judge_again(&mut self, reference: Wall) -> Vec<DocumentId> {
        self.layers.change_documents(|_, document| document.judge_again(reference))
    }

    /// Maps in which this node's own layer is signed later than reference time.
    pub fn maps_signed_ahead(&self, me: &PeerId, reference: Wall) -> Vec<DocumentId> {
        let is_ahead = |document: &Document| document.layer(me).is_some_and(|l| l.head().time > reference);
        let maps = self.layers.documents().filter(|(_, d)| d.kind() == Kind::Map && is_ahead(d));
        maps.map(|(id, _)| id.clone()).collect()
    }

    /// Snapshots of this node that people or programs write, signed later than reference time, with their content.
    pub fn snapshots_signed_ahead(&self, me: &PeerId, reference: Wall) -> Vec<(DocumentId, Value)> {
        let written = |name: &DocumentName| name.as_str() == DocumentName::STATE || !name.is_reserved();
        let own = self.layers.documents().filter(|(id, _)| id.owner == *me && written(&id.name));
        own.filter_map(|(id, document)| {
            let layer = document.layer(me).filter(|layer| layer.head().time > reference)?;
            match &layer.content {
                Content::Snapshot(value) => Some((id.clone(), value.get().into_owned())),
                Content::Map(_) => None,
            }
        })
        .collect()
    }

    /// Own entries of a map that lie in the future, left by a clock that has been put right. `signed_again` are keys
    /// that get a new entry anyway.
    pub fn own_entries_ahead(
        &self,
        core: &Core,
        id: &LayerId,
        signed_again: impl Fn(&KeyPath) -> bool,
    ) -> Vec<(KeyPath, Entry)> {
        let reference = core.reference();
        let layer = self.layer(id);
        let Some((layer, map)) = layer.and_then(|layer| Some((layer, map_of(layer)?))) else {
            return Vec::new();
        };
        let is_ahead = |(key, entry): &(&KeyPath, &Entry)| {
            entry.stamp.time() > reference + FUTURE_BOUND && !signed_again(key)
        };
        let owned = |(key, entry): (&KeyPath, &Entry)| (key.clone(), entry.clone());
        if layer.head().time > reference {
            return map.iter().filter(is_ahead).map(owned).collect();
        }
        // The last commit was not later than now: only entries in quarantine can be.
        let waiting = self.document(&id.document).into_iter().flat_map(Document::waiting_keys);
        let own = waiting.filter_map(|key| Some((key, map.get(key)?)));
        own.filter(is_ahead).map(owned).collect()
    }

    /// Own tombstones that are proven done, own entries that a tombstone beats, and maps whose tombstones wait for this
    /// node's signed time.
    pub fn due_sweeps(&self, me: &PeerId, reference: Wall) -> Vec<DueSweep> {
        let maps = self.layers.documents().filter(|(id, document)| {
            document.kind() == Kind::Map && self.federation.participates(id) && document.counts(me)
        });
        let sweeps = maps.map(|(id, document)| (id, document.sweep(me, self.writers_listed(id), reference)));
        sweeps
            .filter(|(_, sweep)| !sweep.drop.is_empty() || sweep.renew)
            .map(|(id, sweep)| DueSweep { document: id.clone(), drop: sweep.drop })
            .collect()
    }

    /// The maps in which tombstones of this node wait for the other writers, and for which.
    pub fn tombstone_waits(&self, me: &PeerId) -> impl Iterator<Item = (&DocumentId, TombstoneWait)> {
        let maps = self
            .layers
            .documents()
            .filter(|(id, document)| document.kind() == Kind::Map && self.federation.participates(id));
        maps.filter_map(|(id, document)| Some((id, document.tombstone_wait(me, self.writers_listed(id))?)))
    }

    /// How many writers the owner of a document lists, itself included; unbounded where its audience is not held.
    fn writers_listed(&self, id: &DocumentId) -> usize {
        self.federation.audience(&id.owner).map_or(usize::MAX, |audience| audience.writers() + 1)
    }

    /// When tombstones are swept next.
    pub fn sweep_at(&self) -> Mono {
        self.sweep_at
    }

    /// Whether a sweep is due; the next then follows after `pause`.
    pub fn take_sweep_due(&mut self, now: Mono, pause: Millis) -> bool {
        let is_due = now >= self.sweep_at;
        if is_due {
            self.sweep_at = now + pause;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::side::pair;
    use crate::limits::TOMBSTONE_SWEEP;
    use crate::replica::ApplyOutcome;

    /// An entry from a clock that is fast waits at the reader, and takes part once its time has come.
    #[test]
    fn an_entry_of_the_future_is_quarantined_and_released_when_it_is_due() {
        let (mut owner, mut reader, id) = pair();
        owner.at(3 * FUTURE_BOUND);
        owner.set(&id.document, &[("fast", Some(9))]);
        let message = owner.supply(reader.me(), &id, None);
        assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
        let shows =
            |reader: &crate::core::side::TestSide| reader.value(&id.document).unwrap().get("fast").is_some();
        assert!(!shows(&reader));
        let due = reader.replica.next_release().expect("one entry waits");
        assert!(reader.replica.release_quarantined(due - Millis::from_ms(1)).is_empty() && !shows(&reader));
        assert_eq!(reader.replica.release_quarantined(due), std::slice::from_ref(&id.document));
        assert!(shows(&reader));
        assert_eq!(reader.replica.next_release(), None);
    }

    #[test]
    fn entries_wait_again_when_the_clock_steps_back() {
        let (mut owner, mut reader, id) = pair();
        for side in [&mut owner, &mut reader] {
            side.at(3 * FUTURE_BOUND);
        }
        owner.set(&id.document, &[("late", Some(9))]);
        let message = owner.supply(reader.me(), &id, None);
        reader.receive(owner.me(), message);
        assert!(reader.value(&id.document).unwrap().get("late").is_some());
        reader.at(Millis::ZERO);
        let reference = reader.core.reference();
        assert_eq!(reader.replica.judge_again(reference), std::slice::from_ref(&id.document));
        assert!(reader.value(&id.document).unwrap().get("late").is_none());
        assert!(reader.replica.judge_again(reference).is_empty(), "nothing changed since");
    }

    #[test]
    fn own_entries_ahead_are_those_that_are_not_signed_again_anyway() {
        let (mut owner, _, id) = pair();
        owner.at(3 * FUTURE_BOUND);
        owner.set(&id.document, &[("x", Some(1)), ("y", Some(2))]);
        owner.at(Millis::ZERO);
        let again = KeyPath::parse("x").unwrap();
        let ahead = owner.replica.own_entries_ahead(&owner.core, &id, |key| *key == again);
        assert_eq!(ahead.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>(), ["y"]);
        let reference = owner.core.reference();
        assert_eq!(owner.replica.maps_signed_ahead(&owner.me(), reference), [id.document]);
    }

    #[test]
    fn a_sweep_is_due_once_per_pause() {
        let (mut owner, _, _) = pair();
        let (at, pause) = (owner.replica.sweep_at(), TOMBSTONE_SWEEP);
        assert!(!owner.replica.take_sweep_due(Mono::from_ms(at.ms() - 1), pause));
        assert!(owner.replica.take_sweep_due(at, pause));
        assert!(!owner.replica.take_sweep_due(at + (pause - Millis::from_ms(1)), pause));
        assert!(owner.replica.take_sweep_due(at + pause, pause));
    }
}
