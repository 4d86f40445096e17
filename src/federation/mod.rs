//! Who may do what. Rights come from one place, the owner's signed audience, and from how far this node trusts the
//! owner; both are asked when a layer takes effect, also for one that came through a relay.
//!
//! This room holds peers and audiences and answers questions about them. It stores and sends nothing.

pub mod audience;
pub mod ends;
pub mod invite;
pub mod join;
pub mod name;
pub mod peer;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

pub use audience::{Audience, DocumentPolicy, RadioUse};
pub use peer::{LastKnown, LastKnownState, Peer, Right, TrustLevel};

use crate::layer::{DocumentId, DocumentName, LayerId, Sequence};

/// An audience as held: with the sequence of the layer that brought it.
#[derive(Clone, Debug)]
struct HeldAudience {
    audience: Audience,
    sequence: Sequence,
}

/// Why a layer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The owner is unknown or untrusted here.
    OwnerNotTrusted,
    /// This node only observes the owner, and takes nothing but its node state.
    ObservedOnly,
    /// The owner's audience, as held here, does not list the author as a writer.
    NotAWriter,
    /// The owner's audience is held here in an older state than the author had.
    AudienceBehind,
    /// A quota of this node.
    Quota,
    /// The owner's layer is not held: only an owner brings a document to life.
    NoSuchDocument,
    /// The owner has ended the document since the layer was signed.
    Ended,
    /// The operator has had the document forgotten here.
    Forgotten,
}

impl Refusal {
    /// The number that travels.
    pub fn code(self) -> u8 {
        match self {
            Refusal::OwnerNotTrusted => 1,
            Refusal::ObservedOnly => 2,
            Refusal::NotAWriter => 3,
            Refusal::AudienceBehind => 4,
            Refusal::Quota => 5,
            Refusal::NoSuchDocument => 6,
            Refusal::Ended => 7,
            Refusal::Forgotten => 8,
        }
    }

    /// The label in counters and `status`.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::OwnerNotTrusted => "owner_not_trusted",
            Refusal::ObservedOnly => "owner_only_observed",
            Refusal::NotAWriter => "author_is_no_writer",
            Refusal::AudienceBehind => "audience_behind",
            Refusal::Quota => "quota",
            Refusal::NoSuchDocument => "document_without_owner",
            Refusal::Ended => "document_ended",
            Refusal::Forgotten => "document_forgotten",
        }
    }
}

/// The peers of this node and the audiences it holds.
#[derive(Clone, Debug)]
pub struct Federation {
    me: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    audiences: BTreeMap<PeerId, HeldAudience>,
    /// Identities that a notice suspends: whatever their level, they count as untrusted.
    suspended: BTreeSet<PeerId>,
    /// Documents of peers of which this node keeps nothing.
    forgotten: BTreeSet<DocumentId>,
}

impl Federation {
    /// A federation of one.
    pub fn new(me: PeerId) -> Self {
        Federation {
            me,
            peers: BTreeMap::new(),
            audiences: BTreeMap::new(),
            suspended: BTreeSet::new(),
            forgotten: BTreeSet::new(),
        }
    }

    /// Whose node this is.
    pub fn me(&self) -> PeerId {
        self.me
    }

    /// The peers, by identity.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// The peers that are members: all but the untrusted.
    pub fn members(&self) -> impl Iterator<Item = &Peer> {
        self.peers().filter(|peer| self.is_member(&peer.id))
    }

    /// The record of one peer.
    pub fn peer(&self, id: &PeerId) -> Option<&Peer> {
        self.peers.get(id)
    }

    /// One peer, to change its record.
    pub fn peer_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id)
    }

    /// Adds a peer or replaces its record.
    pub fn put_peer(&mut self, peer: Peer) {
        self.peers.insert(peer.id, peer);
    }

    /// Removes the record of a peer.
    pub fn remove_peer(&mut self, id: &PeerId) -> Option<Peer> {
        self.peers.remove(id)
    }

    /// Forgets the audience of an owner of which it is no longer kept.
    pub fn forget_audience(&mut self, owner: &PeerId) {
        self.audiences.remove(owner);
    }

    /// Takes note of the newest audience of an owner.
    pub fn put_audience(&mut self, owner: PeerId, audience: Audience, sequence: Sequence) {
        self.audiences.insert(owner, HeldAudience { audience, sequence });
    }

    /// An owner's audience, as held.
    pub fn audience(&self, owner: &PeerId) -> Option<&Audience> {
        self.audiences.get(owner).map(|held| &held.audience)
    }

    /// How an owner wants a document treated, by its audience as held.
    pub fn policy(&self, document: &DocumentId) -> DocumentPolicy {
        self.audience(&document.owner).map(|a| a.policy(document.name.as_str())).unwrap_or_default()
    }

    /// The sequence of an owner's audience, as held.
    pub fn audience_sequence(&self, owner: &PeerId) -> Sequence {
        self.audiences.get(owner).map_or(Sequence::NONE, |held| held.sequence)
    }

    /// How far this node trusts an identity; itself fully, unknown ones not at all.
    pub fn level(&self, id: &PeerId) -> TrustLevel {
        if *id == self.me {
            return TrustLevel::Trusted;
        }
        if self.is_suspended(id) {
            return TrustLevel::Untrusted;
        }
        self.peers.get(id).map_or(TrustLevel::Untrusted, |peer| peer.trust_level)
    }

    /// Whether a notice suspends an identity here.
    pub fn is_suspended(&self, id: &PeerId) -> bool {
        self.suspended.contains(id)
    }

    /// Sets which identities are suspended.
    pub fn set_suspended(&mut self, suspended: BTreeSet<PeerId>) {
        self.suspended = suspended;
    }

    /// Documents of peers of which this node keeps nothing.
    pub fn forgotten(&self) -> &BTreeSet<DocumentId> {
        &self.forgotten
    }

    /// Sets of which documents nothing is kept.
    pub fn set_forgotten(&mut self, forgotten: BTreeSet<DocumentId>) {
        self.forgotten = forgotten;
    }

    /// Whether a document's owner, by its audience as held, has ended it since a layer of it was signed, under that audience
    /// sequence.
    pub fn is_ended(&self, document: &DocumentId, audience_sequence: Sequence) -> bool {
        let audience = self.audience(&document.owner);
        audience.and_then(|a| a.end_of(&document.name)).is_some_and(|end| audience_sequence < end.since)
    }

    /// Whether an identity is a member: it may connect, and gets more than a handshake. This node itself is one.
    pub fn is_member(&self, id: &PeerId) -> bool {
        self.level(id).is_member()
    }

    /// Whether an identity has a right here, besides those on documents. This node itself has all; a suspended identity has
    /// none, whatever its record grants.
    pub fn grants(&self, id: &PeerId, right: Right) -> bool {
        self.level(id).grants(right)
    }

    /// Whether this node only observes an owner: of its documents it takes the reserved ones.
    pub fn observes(&self, owner: &PeerId) -> bool {
        self.level(owner) == TrustLevel::Observer
    }

    /// Whether this node keeps any layer of a document.
    pub fn participates(&self, document: &DocumentId) -> bool {
        self.part(document).is_ok()
    }

    /// Whether the level that the operator gave a document's owner leaves this node no part in it. A suspension ends without the
    /// operator, and does not count.
    pub fn is_given_up(&self, document: &DocumentId) -> bool {
        let level = match document.owner == self.me {
            true => TrustLevel::Trusted,
            false => self.peers.get(&document.owner).map_or(TrustLevel::Untrusted, |peer| peer.trust_level),
        };
        part_at(level, &document.name).is_err()
    }

    fn part(&self, document: &DocumentId) -> Result<(), Refusal> {
        if self.forgotten.contains(document) {
            return Err(Refusal::Forgotten);
        }
        part_at(self.level(&document.owner), &document.name)
    }

    /// Whether an author's layer counts in an owner's map documents, by the newest audience held.
    pub fn is_writer(&self, owner: &PeerId, author: &PeerId) -> bool {
        self.counts_from(owner, author).is_some()
    }

    /// From which audience sequence on an author's layers count in an owner's map documents, by the newest
    /// audience held; none where the author is no writer. A layer signed under an older one is kept without effect.
    pub fn counts_from(&self, owner: &PeerId, author: &PeerId) -> Option<Sequence> {
        if self.is_suspended(author) {
            return None;
        }
        match owner == author {
            true => Some(Sequence::NONE),
            false => self.audience(owner)?.writes_since(author),
        }
    }

    /// Whether this node may write into an owner's map documents.
    pub fn may_write(&self, owner: &PeerId) -> bool {
        self.is_writer(owner, &self.me)
    }

    /// Whether a layer signed under `audience_sequence` takes effect now. The owner's audience comes first:
    /// a node that shows a document also knows who writes it.
    ///
    /// # Errors
    ///
    /// The reason why it does not.
    pub fn admits(&self, layer: &LayerId, audience_sequence: Sequence) -> Result<(), Refusal> {
        let LayerId { document, author } = layer;
        self.part(document)?;
        let is_audience = document.name.as_str() == DocumentName::AUDIENCE;
        if !is_audience && audience_sequence > self.audience_sequence(&document.owner) {
            return Err(Refusal::AudienceBehind);
        }
        let may_be_anothers = *author == document.owner || !document.name.is_owners_alone();
        match may_be_anothers && self.is_writer(&document.owner, author) {
            true => Ok(()),
            false => Err(Refusal::NotAWriter),
        }
    }

    /// Whether a layer may be passed to `reader`: the owner reads its own, of all authors that the newest audience held of it lets
    /// write; others only if that audience lists them, and only by one at least as new as the author's.
    pub fn may_receive(&self, reader: &PeerId, layer: &LayerId, audience_sequence: Sequence) -> bool {
        let owner = &layer.document.owner;
        if self.is_suspended(reader) {
            return false;
        }
        if reader == owner {
            let audience = self.audience(owner);
            // The owner refuses what it has removed the author of: no reader owes it that.
            return layer.author == *owner
                || audience.is_none_or(|a| a.writes_since(&layer.author).is_some());
        }
        if !self.is_writer(owner, &layer.author) {
            return false;
        }
        let Some(held) = self.audiences.get(owner) else { return false };
        let lists = held.audience.lists(reader);
        let is_audience = layer.document.name.as_str() == DocumentName::AUDIENCE;
        lists && (is_audience || held.sequence >= audience_sequence)
    }
}

/// Whether a document of an owner of this level is kept here.
fn part_at(level: TrustLevel, name: &DocumentName) -> Result<(), Refusal> {
    match level {
        TrustLevel::Trusted => Ok(()),
        TrustLevel::Observer if name.as_str() == DocumentName::DEPLOYS => Err(Refusal::ObservedOnly),
        TrustLevel::Observer if name.is_reserved() => Ok(()),
        TrustLevel::Observer => Err(Refusal::ObservedOnly),
        TrustLevel::Untrusted => Err(Refusal::OwnerNotTrusted),
    }
}

#[cfg(test)]
mod tests;
