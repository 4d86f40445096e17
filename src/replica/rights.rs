//! Peers, audiences and writers: who may write and read the documents held. The federation decides; the documents are
//! informed here, and the signing of audiences is `node`'s part.

use crate::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

use crate::core::{Core, reserved_document};
use crate::federation::{Audience, Peer};
use crate::layer::{Content, DocumentId, DocumentName, Entry, KeyPath, Kind, LayerId, Sequence};
use crate::replica::Replica;

impl Replica {
    /// Adds a peer or replaces its record.
    pub fn put_peer(&mut self, peer: Peer) {
        self.federation.put_peer(peer);
        self.rights_changed = true;
    }

    /// Removes a peer, and its documents from memory and disk. What it wrote in the documents of others stays.
    pub fn remove_peer(&mut self, core: &mut Core, id: &PeerId) {
        self.federation.remove_peer(id);
        self.rights_changed = true;
        self.drop_given_up(core);
    }

    /// Sets which identities notices suspend.
    pub fn set_suspended(&mut self, suspended: BTreeSet<PeerId>) {
        self.federation.set_suspended(suspended);
        self.rights_changed = true;
    }

    /// Notes that a peer sent something, at this reference time.
    pub fn note_presence(&mut self, peer: &PeerId, reference: Wall) {
        if let Some(record) = self.federation.peer_mut(peer) {
            record.heard_at = Some(reference);
        }
    }

    /// Hands what the disk knows of each peer's last message to the presence of peers. The time of its newest state counts as
    /// well, here and in the record: a record is not written with every message.
    pub fn note_heard_before(&mut self, core: &mut Core) {
        let (now, reference) = (core.now(), core.reference());
        let peers: Vec<PeerId> = self.federation.peers().map(|peer| peer.id).collect();
        for id in peers {
            let state = self.node_state(&id).map(|(time, _)| time.min(reference));
            let Some(record) = self.federation.peer_mut(&id) else { continue };
            record.heard_at = record.heard_at.max(state);
            if let Some(at) = record.heard_at.filter(|_| core.presence.presence(now, &id).is_none()) {
                core.presence.heard_before_start(now, id, reference.since(at));
            }
        }
    }

    /// Reads the audience document held of an owner.
    pub(super) fn learn_audience(&mut self, owner: &PeerId) {
        let document = reserved_document(*owner, DocumentName::AUDIENCE);
        let Some(layer) = self.layers.layer(&LayerId { document, author: *owner }) else { return };
        let Content::Snapshot(value) = &layer.content else { return };
        let audience = Audience::from_value(&value.get()).unwrap_or_else(|error| {
            // The content alone decides, so that nodes with the same layers agree: it lists no one.
            tracing::warn!(%owner, %error, "an audience document is not valid");
            Audience::new([0; 16], [])
        });
        self.federation.put_audience(*owner, audience, layer.head().sequence);
    }

    /// The audience that this node's list of peers makes, if it is not the one held.
    pub fn audience_due(&self, salt: [u8; 16]) -> Option<Audience> {
        let me = self.federation.me();
        let members = self.federation.peers().map(|peer| (peer.id, peer.trust_level));
        let before = self.federation.audience(&me);
        let sequence = self.federation.audience_sequence(&me);
        let audience = match before {
            Some(before) => before.followed_by(members, sequence.next().unwrap_or(sequence)),
            None => Audience::new(salt, members),
        };
        (before != Some(&audience)).then_some(audience)
    }

    /// Sets the writers of every document again. Returns the documents that read differently.
    pub fn renew_writers(&mut self, reference: Wall) -> Vec<DocumentId> {
        let writers = self.all_writers();
        self.layers.change_documents(|id, document| {
            document.set_writers(writers.get(&id.owner).cloned().unwrap_or_default(), reference)
        })
    }

    /// Documents in which this node writes but has no layer that counts: a writer signs an empty layer when it joins, so
    /// that tombstones need not wait for it.
    pub fn unsigned_where_writer(&self) -> Vec<DocumentId> {
        let me = self.federation.me();
        let missing = self.layers.documents().filter(|(id, document)| {
            document.kind() == Kind::Map
                && id.owner != me
                && self.federation.participates(id)
                && self.federation.may_write(&id.owner)
                && document.layer(&id.owner).is_some()
                && (document.layer(&me).is_none() || !document.counts(&me))
        });
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// The entries with which a leaving writer wins in this node's own documents, to be signed by this node with value
    /// and stamp: removing a writer neither deletes nor reverts what it wrote.
    pub fn entries_to_take_over(
        &self,
        leaving: &PeerId,
    ) -> Vec<(DocumentId, BTreeMap<KeyPath, Option<Entry>>)> {
        let me = self.federation.me();
        let own = self.layers.documents();
        let own = own.filter(|(id, document)| id.owner == me && document.kind() == Kind::Map);
        own.map(|(id, document)| {
            let won = document.winners().filter(|(_, winner)| winner.author == *leaving);
            (id.clone(), won.map(|(key, winner)| (key.clone(), Some(Entry::clone(winner.entry)))).collect())
        })
        .collect()
    }

    /// Sets who counts in a document, with `newcomer` where the owner lists it.
    pub(super) fn set_writers_of(&mut self, id: &DocumentId, newcomer: Option<PeerId>, reference: Wall) {
        let mut writers = self.writers_of(&id.owner);
        writers.extend(newcomer.and_then(|a| Some((a, self.federation.counts_from(&id.owner, &a)?))));
        self.layers.change_document(id, |document| document.set_writers(writers, reference));
    }

    /// Every author of a layer held in an owner's documents that the owner lets write, with the audience sequence from
    /// which on its layers count.
    fn writers_of(&self, owner: &PeerId) -> BTreeMap<PeerId, Sequence> {
        let authors = self.layers.layers().map(|layer| &layer.head().layer);
        let authors = authors.filter(|id| id.document.owner == *owner).map(|id| id.author);
        let peers = self.federation.peers().map(|peer| peer.id);
        let known = authors.chain(peers).chain([self.federation.me()]);
        known.filter_map(|author| Some((author, self.federation.counts_from(owner, &author)?))).collect()
    }

    /// `writers_of` for every owner.
    pub(super) fn all_writers(&self) -> BTreeMap<PeerId, BTreeMap<PeerId, Sequence>> {
        let owners: BTreeSet<PeerId> = self.layers.documents().map(|(id, _)| id.owner).collect();
        owners.into_iter().map(|owner| (owner, self.writers_of(&owner))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::side::{TestSide, pair};
    use crate::federation::TrustLevel;
    use crate::replica::ApplyOutcome;
    use crate::time::Millis;

    #[test]
    fn an_audience_is_due_when_the_peers_differ_from_it_and_only_then() {
        let mut side = TestSide::new(1);
        side.trust(PeerId([9; 32]), TrustLevel::Trusted);
        assert!(side.replica.audience_due([1; 16]).is_some());
        side.sign_audience();
        assert!(side.replica.audience_due([2; 16]).is_none());
        side.trust(PeerId([9; 32]), TrustLevel::Observer);
        let due = side.replica.audience_due([2; 16]).expect("a level changed");
        assert_eq!(due.salt(), [1; 16], "the salt of an audience stays");
        side.remove(PeerId([9; 32]));
        assert!(side.replica.audience_due([2; 16]).is_some_and(|audience| audience.is_empty()));
    }

    #[test]
    fn every_change_of_peers_marks_rights_as_changed_once() {
        let mut side = TestSide::new(1);
        side.replica.take_rights_changed();
        side.trust(PeerId([9; 32]), TrustLevel::Trusted);
        assert!(side.replica.take_rights_changed() && !side.replica.take_rights_changed());
        side.replica.note_presence(&PeerId([9; 32]), Wall::from_ms(7));
        assert!(!side.replica.take_rights_changed(), "presence is no right");
        assert_eq!(
            side.replica.federation().peer(&PeerId([9; 32])).unwrap().heard_at,
            Some(Wall::from_ms(7))
        );
        side.remove(PeerId([9; 32]));
        assert!(side.replica.take_rights_changed());
    }

    #[test]
    fn a_writer_signs_an_empty_layer_where_it_has_none() {
        let (owner, mut reader, id) = pair();
        assert_eq!(reader.replica.unsigned_where_writer(), std::slice::from_ref(&id.document));
        assert!(owner.replica.unsigned_where_writer().is_empty(), "the owner has its own layer");
        reader.set(&id.document, &[]);
        let reference = reader.core.reference();
        reader.replica.renew_writers(reference);
        assert!(reader.replica.unsigned_where_writer().is_empty());
    }

    /// Removing a writer neither deletes nor reverts what it wrote.
    #[test]
    fn the_entries_of_a_leaving_writer_are_those_it_wins_with() {
        let (mut owner, mut reader, id) = pair();
        reader.set(&id.document, &[("b", Some(2)), ("c", Some(3))]);
        let own = reader.core.own_layer(&id.document);
        let message = reader.supply(owner.me(), &own, None);
        assert!(matches!(owner.receive(reader.me(), message), ApplyOutcome::Stored(_)));
        owner.at(Millis::from_ms(1_000));
        owner.set(&id.document, &[("c", Some(4))]);
        let taken = owner.replica.entries_to_take_over(&reader.me());
        let keys: Vec<_> = taken
            .iter()
            .filter(|(document, _)| *document == id.document)
            .flat_map(|(_, entries)| entries.keys().map(ToString::to_string))
            .collect();
        assert_eq!(keys, ["b"], "the owner wins with `c`, and `a` is its own");
    }

    #[test]
    fn an_audience_that_does_not_decode_lists_no_one() {
        let (mut owner, reader, _) = pair();
        let document = owner.core.own_document(DocumentName::AUDIENCE);
        let TestSide { core, replica, authoring } = &mut owner;
        authoring.commit_snapshot(core, replica, &document, tombolo_delta::Value::from(1u64)).unwrap();
        let me = owner.me();
        assert!(!owner.replica.federation().audience(&me).unwrap().lists(&reader.me()));
    }
}
