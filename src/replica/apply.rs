//! The one gate for layers of others: whole or as a delta, over a link or by radio.
//!
//! [`Replica::apply`] returns an [`ApplyOutcome`] that names every case; what follows outside the replica (an answer to the
//! peer, news for the engines) is the node's part.

use std::collections::BTreeSet;

use tombolo_transports::{LinkId, PeerId};

use crate::core::{Core, InputRejection};
use crate::envelope::{Carried, CompactEnvelope, Envelope, Payload};
use crate::federation::Refusal;
use crate::io::{Alarm, Event};
use crate::layer::{ForkEvidence, Kind, LayerId, Sequence, SignedHead};
use crate::limits::{
    BASE_CANDIDATES_MAX, BASE_CANDIDATES_ON_AIR_MAX, FORKS_KEPT_PER_AUTHOR_MAX, WHOLE_LAYER_BYTES_MAX,
};
use crate::merge::map_of;
use crate::replica::base::{Resolved, VerifiedState};
use crate::replica::recovery::Restage;
use crate::replica::{LayerSize, PeersMemory, Replica, Stored};
use crate::store::StoreWrite;
use crate::sync::frontier::State;
use crate::sync::message::{LayerPart, Message, TransferId, TreeNode};
use crate::sync::transfer::{Assembled, TransferError, TransferLane, TransferStanding};
use crate::time::Mono;

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A link to one peer, or a pairwise channel of a radio: an answer goes to that peer alone.
    Link {
        /// The peer at its far end.
        peer: PeerId,
    },
    /// A frame received by radio.
    Radio {
        /// The radio that received it.
        link: LinkId,
        /// The owner whose audience key sealed the frame.
        channel: PeerId,
        /// The sender of the frame.
        peer: PeerId,
    },
}

impl Origin {
    /// The peer that sent the message.
    pub fn peer(&self) -> PeerId {
        match self {
            Origin::Link { peer } | Origin::Radio { peer, .. } => *peer,
        }
    }

    /// By radio: the owner whose documents the frame concerns.
    pub fn channel(&self) -> Option<PeerId> {
        match self {
            Origin::Link { .. } => None,
            Origin::Radio { channel, .. } => Some(*channel),
        }
    }

    pub(super) fn is_radio(&self) -> bool {
        matches!(self, Origin::Radio { .. })
    }

    /// How many bases a delta is tried on: by radio its layer has no name, so more states may fit.
    pub(super) fn base_candidates_max(&self) -> usize {
        match self {
            Origin::Link { .. } => BASE_CANDIDATES_MAX,
            Origin::Radio { .. } => BASE_CANDIDATES_ON_AIR_MAX,
        }
    }
}

/// A layer that arrives.
pub enum Arriving<'a> {
    /// A whole envelope: with its content, or the offer of a large layer.
    Whole(Envelope),
    /// A compact envelope: a delta and claims relative to its base.
    Delta(CompactEnvelope<&'a dyn Carried>),
    /// A large layer of which all parts have arrived, verified.
    Assembled(Assembled),
}

impl<'a> Arriving<'a> {
    /// How many bytes are worked on before its signature is checked.
    fn unproven_bytes(&self) -> usize {
        match self {
            Arriving::Whole(Envelope { payload: Payload::Whole(content), .. }) => content.bytes(),
            Arriving::Delta(envelope) => envelope.delta.bytes(),
            // The signature of an offer is checked first, and parts have the hashes that it signs.
            Arriving::Whole(Envelope { payload: Payload::Offer, .. }) | Arriving::Assembled(_) => 0,
        }
    }

    /// A delta in any of its forms.
    pub fn delta<D: Carried>(envelope: &'a CompactEnvelope<D>) -> Self {
        Arriving::Delta(envelope.with(&envelope.delta as &dyn Carried))
    }
}

/// What became of a layer that arrived.
#[derive(Debug)]
pub enum ApplyOutcome {
    /// The layer took effect.
    Stored(Stored),
    /// This state, or a newer one, is held already. Of a whole envelope only the head was looked at, not its signature.
    Known(SignedHead),
    /// A newer state of this layer is held already, or a fork that goes first. Its signature holds.
    Superseded(LayerId, Sequence),
    /// What seems to be an older state than the one held. Its signature was not looked at.
    Old,
    /// It is large: its parts are asked for. Its signature holds.
    TransferBegun(LayerId),
    /// Rights or a quota refuse it.
    Refused(SignedHead, Refusal),
    /// A delta whose base is not held here.
    BaseMissing,
    /// It is not valid, or cannot be stored now; counted.
    Rejected(InputRejection),
    /// A newer state of this node's own layer: taken, with what is to be signed above it.
    Recovered(Recovered),
    /// An older own state that was not signed on this disk, with what is taken back from it.
    Reclaimed(Reclaimed),
    /// Another machine signs with this node's key: this one has stopped writing.
    AnotherMachine,
}

/// An own layer in a newer state than this disk had.
#[derive(Debug)]
pub struct Recovered {
    /// The layer as it is held now.
    pub stored: Stored,
    /// What is to be signed above it.
    pub restage: Restage,
}

/// An own layer in a state that was passed without knowing it.
#[derive(Debug)]
pub struct Reclaimed {
    /// The layer that is concerned.
    pub id: LayerId,
    /// The state that arrived.
    pub state: State,
    /// What is taken back from it; `None` if there is nothing, so that the peer only needs the present state.
    pub restage: Option<Restage>,
    /// The layer was withheld from radios until now.
    pub was_withheld: bool,
}

/// The gate's decision on a verified state.
enum GateDecision {
    /// It takes effect; if it is of another kind than the document, that is dropped first.
    Store,
    /// The same, of a layer of this node.
    Own,
    Reclaim,
    Superseded,
    Refused(Refusal),
    Rejected(InputRejection),
}

impl Replica {
    /// Decides about a layer of another author, or an own one that was not signed here, and lets it take effect.
    pub fn apply(&mut self, core: &mut Core, origin: &Origin, arriving: Arriving<'_>) -> ApplyOutcome {
        if core.gate.refuses_layers(core.now()) {
            return rejected(core, origin, InputRejection::DiskRefuses);
        }
        let bytes = arriving.unproven_bytes();
        match arriving {
            Arriving::Delta(envelope) => match self.resolve(origin, &envelope) {
                Resolved::New(candidate) => self.admit(core, origin, candidate),
                Resolved::Known(signed) => ApplyOutcome::Known(signed),
                Resolved::Old => ApplyOutcome::Old,
                Resolved::NoBase { tried } => {
                    // A digest may fit a base by chance, so this proves nothing against the sender; it is charged all the same.
                    if let (Origin::Link { peer }, 1..) = (origin, tried) {
                        core.failed_proof(*peer, bytes.saturating_mul(tried));
                    }
                    core.reject_from(
                        Some(origin.peer()),
                        match tried {
                            0 => InputRejection::DeltaWithoutBase,
                            _ => InputRejection::DeltaDoesNotMatchRoot,
                        },
                    );
                    ApplyOutcome::BaseMissing
                }
            },
            Arriving::Whole(envelope) => {
                if !self.is_wanted(core, origin, &envelope.signed) {
                    return ApplyOutcome::Known(envelope.signed);
                }
                if matches!(envelope.payload, Payload::Offer) {
                    return self.begin_transfer(core, origin, envelope.signed);
                }
                match envelope.open() {
                    Ok(layer) => self.admit(core, origin, VerifiedState::whole(layer)),
                    Err(error) => {
                        tracing::debug!(peer = %origin.peer(), %error, "an envelope was not opened");
                        if let Origin::Link { peer } = origin {
                            core.failed_proof(*peer, bytes);
                        }
                        rejected(core, origin, InputRejection::BadSignature)
                    }
                }
            }
            Arriving::Assembled(Assembled { layer, changed }) => {
                match self.is_wanted(core, origin, &layer.signed) {
                    true => self.admit(core, origin, VerifiedState::Whole(Box::new(layer), changed)),
                    false => ApplyOutcome::Known(layer.signed),
                }
            }
        }
    }

    /// Whether a state is newer than what is held, a fork of it, or one that the peer was asked for.
    fn is_wanted(&self, core: &Core, origin: &Origin, signed: &SignedHead) -> bool {
        let is_known = self.layer(&signed.head.layer).is_some_and(|held| {
            !signed.supersedes(&held.signed) && ForkEvidence::of(signed, &held.signed).is_none()
        });
        !is_known || self.recovery.is_reclaimed(&core.me, &origin.peer(), signed)
    }

    /// Takes a state whose signature and root hold through rights, forks and quotas.
    fn admit(&mut self, core: &mut Core, origin: &Origin, candidate: VerifiedState) -> ApplyOutcome {
        let signed = candidate.signed().clone();
        match self.judge(core, origin, &candidate) {
            GateDecision::Store => {
                let dropped = self.drop_if_other_kind(&signed.head.layer.document, signed.head.kind);
                let (layer, replaced, changed) = candidate.accept(self);
                self.transfers.end(&signed.head.layer.hash());
                let stored = self.store(core, layer, replaced, changed);
                ApplyOutcome::Stored(Stored { dropped, ..stored })
            }
            GateDecision::Own => {
                let layer = candidate.set_aside(self);
                self.recover(core, layer)
            }
            GateDecision::Reclaim => {
                let layer = candidate.set_aside(self);
                self.reclaim(core, origin.peer(), &layer)
            }
            GateDecision::Superseded => {
                candidate.reject(self);
                ApplyOutcome::Superseded(signed.head.layer, signed.head.sequence)
            }
            GateDecision::Refused(refusal) => {
                candidate.reject(self);
                core.reject_from(Some(origin.peer()), InputRejection::Layer(refusal));
                ApplyOutcome::Refused(signed, refusal)
            }
            GateDecision::Rejected(why) => {
                candidate.reject(self);
                rejected(core, origin, why)
            }
        }
    }

    fn judge(&mut self, core: &mut Core, origin: &Origin, candidate: &VerifiedState) -> GateDecision {
        let signed = candidate.signed();
        let id = &signed.head.layer;
        if let Err(refusal) = self.admits(core, signed) {
            return GateDecision::Refused(refusal);
        }
        let held = candidate.held(self);
        if let Some(evidence) = held.as_ref().and_then(|held| ForkEvidence::of(held, signed)) {
            self.note_fork(core, evidence);
        }
        if held.is_some_and(|held| !signed.supersedes(&held)) {
            return match self.recovery.is_reclaimed(&core.me, &origin.peer(), signed) {
                true => GateDecision::Reclaim,
                false => GateDecision::Superseded,
            };
        }
        let is_other_kind = self.document(&id.document).is_some_and(|d| d.kind() != signed.head.kind);
        if is_other_kind && id.author != id.document.owner {
            return GateDecision::Rejected(InputRejection::KindDiffersFromOwner);
        }
        if id.author == core.me {
            return GateDecision::Own;
        }
        match self.has_room_for(core, id, candidate.size(), is_other_kind) {
            true => GateDecision::Store,
            false => GateDecision::Refused(Refusal::Quota),
        }
    }

    fn admits(&self, core: &Core, signed: &SignedHead) -> Result<(), Refusal> {
        let (id, audience_sequence) = (&signed.head.layer, signed.head.audience_sequence);
        if self.federation.is_ended(&id.document, audience_sequence) {
            return Err(Refusal::Ended);
        }
        if id.author == core.me {
            return Ok(());
        }
        self.federation.admits(id, audience_sequence)?;
        match id.author == id.document.owner || self.is_alive(&id.document) {
            true => Ok(()),
            false => Err(Refusal::NoSuchDocument),
        }
    }

    fn note_fork(&mut self, core: &mut Core, evidence: ForkEvidence) {
        let author = evidence.lower.head.layer.author;
        core.reject_from(Some(author), InputRejection::Fork);
        let known = self.forks.iter().filter(|fork| fork.lower.head.layer.author == author).count();
        if known >= FORKS_KEPT_PER_AUTHOR_MAX || self.forks.contains(&evidence) {
            return;
        }
        let document = evidence.lower.head.layer.document.name.clone();
        core.event(Event::Alarm(Alarm::Fork { author, document }));
        core.gate.write(StoreWrite::PutFork(Box::new(evidence.clone())));
        self.forks.push(evidence);
    }

    // ---- large layers ------------------------------------------------------------------------------------

    /// Whether the quotas of the owner, and what all owners share, have room for a layer. What the engine itself writes is taken in any
    /// case: a few snapshots for each owner, without which rights would stay as they were, and ends would make no room.
    fn has_room_for(&self, core: &Core, id: &LayerId, size: LayerSize, drops_document: bool) -> bool {
        let shared = PeersMemory { me: core.me, bytes_max: core.settings.peers_memory_max };
        id.document.name.is_reserved()
            || self.layers.does_not_grow(id, size)
            || self.layers.has_room_for(id, size, drops_document)
                && self.layers.leaves_room_for(id, size, drops_document, shared)
    }

    fn begin_transfer(&mut self, core: &mut Core, origin: &Origin, signed: SignedHead) -> ApplyOutcome {
        if !signed.verify() || signed.head.kind != Kind::Map {
            return rejected(core, origin, InputRejection::BadSignature);
        }
        if let Err(refusal) = self.admits(core, &signed) {
            core.reject_from(Some(origin.peer()), InputRejection::Layer(refusal));
            return ApplyOutcome::Refused(signed, refusal);
        }
        // An offered layer has at least as many bytes as never travel whole.
        let least = LayerSize { cbor: WHOLE_LAYER_BYTES_MAX, memory: WHOLE_LAYER_BYTES_MAX };
        if !self.has_room_for(core, &signed.head.layer, least, false) {
            core.reject_from(Some(origin.peer()), InputRejection::Layer(Refusal::Quota));
            return ApplyOutcome::Refused(signed, Refusal::Quota);
        }
        self.recovery.extend_claim(origin.peer(), signed.head.layer.hash(), core.now());
        let own = self.layers.layer_of_hash(&signed.head.layer.hash()).and_then(map_of);
        let id = signed.head.layer.clone();
        self.transfers.begin(signed, origin.peer(), own, core.now());
        ApplyOutcome::TransferBegun(id)
    }

    /// Takes nodes of the hash tree of a large layer. Returns the layer if it is complete now.
    pub fn take_nodes(
        &mut self,
        core: &mut Core,
        (peer, link): (PeerId, LinkId),
        id: &TransferId,
        nodes: Vec<TreeNode>,
    ) -> Option<Assembled> {
        let own = self.layers.layer_of_hash(&id.layer).and_then(map_of);
        let taken = self.transfers.take_nodes(id, link, nodes, own, core.now());
        self.transfer_moved(core, peer, id, taken)
    }

    /// Takes parts of a large layer. Returns the layer if it is complete now.
    pub fn take_parts(
        &mut self,
        core: &mut Core,
        (peer, link): (PeerId, LinkId),
        id: &TransferId,
        parts: Vec<LayerPart>,
    ) -> Option<Assembled> {
        let own = self.layers.layer_of_hash(&id.layer).and_then(map_of);
        let taken = self.transfers.take_parts(id, link, parts, own, core.now());
        self.transfer_moved(core, peer, id, taken)
    }

    fn transfer_moved(
        &mut self,
        core: &mut Core,
        peer: PeerId,
        id: &TransferId,
        taken: Result<(), TransferError>,
    ) -> Option<Assembled> {
        if let Err(error) = taken {
            tracing::debug!(%peer, %error, "parts were not taken");
            core.reject_from(Some(peer), InputRejection::BadPart);
            return None;
        }
        self.recovery.extend_claim(peer, id.layer, core.now());
        let own = self.layers.layer_of_hash(&id.layer).and_then(map_of);
        let finished = self.transfers.finish(id, own)?;
        finished.inspect_err(|_| core.reject_from(Some(peer), InputRejection::BadPart)).ok()
    }

    /// The questions for parts that are due, each with the link that it goes over.
    pub fn transfer_questions(&mut self, now: Mono, lanes: &[TransferLane]) -> Vec<(TransferLane, Message)> {
        self.transfers.asks(now, lanes, |layer| self.layers.layer_of_hash(layer).and_then(map_of))
    }

    /// The peers that parts of large layers are asked of.
    pub fn transfer_sources(&self) -> BTreeSet<PeerId> {
        self.transfers.sources()
    }

    /// The large layers that come in parts, or wait for a place.
    pub fn large_layers(&self) -> Vec<TransferStanding> {
        self.transfers.standing()
    }

    /// A link is gone: what it was to bring is asked for over another.
    pub fn link_gone(&mut self, link: LinkId) {
        self.transfers.link_down(link);
    }

    /// When the next question for parts is due.
    pub fn transfer_timeout(&self) -> Option<Mono> {
        self.transfers.poll_timeout()
    }

    /// A peer has no link any more: nothing is waited for from it.
    pub fn disconnected(&mut self, peer: &PeerId) {
        self.transfers.peer_down(peer);
        self.recovery.disconnected(peer);
    }
}

fn rejected(core: &mut Core, origin: &Origin, why: InputRejection) -> ApplyOutcome {
    core.reject_from(Some(origin.peer()), why);
    ApplyOutcome::Rejected(why)
}
