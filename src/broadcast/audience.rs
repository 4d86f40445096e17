//! Which layers go over a radio, and which peers listen: rights and policies, applied to a channel. It only reads; `channels`
//! hands the result to stations and engines.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::federation::{Audience, Federation, RadioUse};
use crate::layer::{DocumentName, LayerHash, SignedHead};
use crate::replica::Replica;
use crate::sync::broadcast::{ALARMS_RANK, DOCUMENT_RANK, LayerOffer, RIGHTS_RANK, STATE_RANK};
use crate::sync::frontier::State;

/// Rank of a layer among what is to be sent, 0 first.
pub(crate) fn rank(name: &DocumentName) -> u8 {
    match name.as_str() {
        DocumentName::KEYS | DocumentName::AUDIENCE => RIGHTS_RANK,
        DocumentName::ALARMS => ALARMS_RANK,
        DocumentName::STATE => STATE_RANK,
        _ => DOCUMENT_RANK,
    }
}

/// The peers that this node exchanges state with.
pub(super) fn member_peers(federation: &Federation) -> impl Iterator<Item = PeerId> {
    federation.members().map(|peer| peer.id)
}

/// The members of an owner's audience that are peers of this node.
pub(super) fn listeners_of(federation: &Federation, owner: &PeerId) -> Vec<PeerId> {
    let audience = federation.audience(owner);
    let listed = |peer: &PeerId| peer == owner || audience.is_some_and(|a| a.lists(peer));
    member_peers(federation).filter(listed).collect()
}

/// What is held of an owner's documents, as far as it may go over a radio.
pub(super) fn layers_on_air(
    replica: &Replica,
    owner: &PeerId,
    sealed: bool,
) -> BTreeMap<LayerHash, LayerOffer> {
    let layers = replica.layers().layers().filter(|layer| layer.head().layer.document.owner == *owner);
    let goes = layers.filter(|layer| goes_on_air(replica.federation(), &layer.signed, sealed));
    let goes = goes.filter(|layer| !replica.recovery().withholds(&layer.head().layer.hash()));
    goes.map(|layer| {
        let id = &layer.head().layer;
        let state = State::of(&layer.signed);
        let mut bases = replica.layers().bases(id);
        bases.retain(|base| *base < state);
        (id.hash(), LayerOffer { state, bases, rank: rank(&id.document.name) })
    })
    .collect()
}

/// Whether readers on a radio may have a layer's present state; without a seal every listener has it.
pub(crate) fn goes_on_air(federation: &Federation, signed: &SignedHead, sealed: bool) -> bool {
    let head = &signed.head;
    let document = &head.layer.document;
    let class = federation.policy(document);
    let may_be_seen = match document.name.as_str() {
        _ if sealed => true,
        DocumentName::KEYS => false,
        // An owner that shows anything shows who may write it: as salted digests, without names.
        DocumentName::AUDIENCE => federation.audience(&document.owner).is_some_and(Audience::shows_anything),
        _ => !class.confidential,
    };
    // Outcomes carry the output of programs: too much for the air, and the answer has its end.
    let is_wanted = rank(&document.name) == 0
        || (class.radio == RadioUse::Full && document.name.as_str() != DocumentName::DEPLOYS);
    if !may_be_seen || !is_wanted {
        return false;
    }
    let knows_audience =
        rank(&document.name) == 0 || federation.audience_sequence(&document.owner) >= head.audience_sequence;
    federation.participates(document)
        && federation.is_writer(&document.owner, &head.layer.author)
        && knows_audience
}
