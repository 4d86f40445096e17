//! Peers, audiences and writers: what the federation says about the documents held.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

use crate::core::reserved_document;
use crate::federation::{Audience, Peer};
use crate::layer::{Content, DocumentId, DocumentName, Entry, KeyPath, Kind, LayerId, Sequence};
use crate::replica::Replica;

impl Replica {
    /// Adds a peer or replaces its record.
    pub fn put_peer(&mut self, peer: Peer) {
        self.federation.put_peer(peer);
        self.rights_changed = true;
    }

    /// Removes a peer.
    pub fn remove_peer(&mut self, id: &PeerId) {
        self.federation.remove_peer(id);
        self.rights_changed = true;
    }

    /// Notes that a peer was heard, at this reference time.
    pub fn note_heard(&mut self, peer: &PeerId, reference_ms: u64) {
        if let Some(record) = self.federation.peer_mut(peer) {
            record.heard_at_ms = Some(reference_ms);
        }
    }

    /// Reads the audience document held of an owner.
    pub(super) fn learn_audience(&mut self, owner: &PeerId) {
        let document = reserved_document(*owner, DocumentName::AUDIENCE);
        let Some(layer) = self.layers.layer(&LayerId { document, author: *owner }) else { return };
        let Content::Snapshot(value) = &layer.content else { return };
        let audience = Audience::from_value(value).unwrap_or_else(|error| {
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

    /// Sets the writers of every document anew. Returns the documents that read differently.
    pub fn renew_writers(&mut self, reference_ms: u64) -> Vec<DocumentId> {
        let writers = self.all_writers();
        let mut changed = Vec::new();
        for (id, document) in self.layers.documents_mut() {
            if document.set_writers(writers.get(&id.owner).cloned().unwrap_or_default(), reference_ms) {
                changed.push(id.clone());
            }
        }
        changed
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
            (id.clone(), won.map(|(key, winner)| (key.clone(), Some(winner.entry.clone()))).collect())
        })
        .collect()
    }

    /// Sets who counts in a document, with `newcomer` where the owner lists it.
    pub(super) fn set_writers_of(&mut self, id: &DocumentId, newcomer: Option<PeerId>, reference_ms: u64) {
        let mut writers = self.writers_of(&id.owner);
        writers.extend(newcomer.and_then(|a| Some((a, self.federation.counts_from(&id.owner, &a)?))));
        if let Some(document) = self.layers.document_mut(id) {
            document.set_writers(writers, reference_ms);
        }
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
