//! Rare signatures (`sign_every = n`): between two signed states of its own node, an author sends unsigned deltas
//! that carry one 4-byte tag per listener under its pairwise key, while that is shorter than a signature.
//!
//! ```text
//! [number of tags, distance][time and delta][tag 4]…
//! tag   over owner 32 ‖ base's sequence 8 ‖ base's root print 4 ‖ all before the tags
//! ```
//! What a listener makes of it is *provisional*: shown as such, kept in memory, never relayed, never a base, no
//! merge decided by it; gone with the next signed state or when its author has been silent for long.

use tombolo_delta::{Context, Value};
use tombolo_mesh::airtime::ledger::{Priority, Verdict};
use tombolo_mesh::frame::keys::Identity;
use tombolo_mesh::frame::keys::pair::{PAIR_TAG_BYTES, PairKey, pair_tag, pair_tag_holds};
use tombolo_mesh::station::Outgoing;
use tombolo_transports::{LinkId, PeerId};

use crate::envelope::{
    Base, Carried, CompactEnvelope, ProvisionalUpdate, UpdateChange, decode_provisional, encode_provisional,
};
use crate::layer::{Content, DocumentName, Kind, LayerId, Sequence};
use crate::node::Node;
use crate::node::radio::{Hearing, kinds};
use crate::sync::frontier::State;

/// A listener's tag costs this much less than a signature up to so many listeners.
const LISTENERS_MAX: usize = 64 / PAIR_TAG_BYTES - 1;
/// Older states that a tag is tried on: each makes a forged one a little more likely to hold.
const OLDER_BASES_MAX: usize = 3;

/// A state that nobody has signed yet.
#[derive(Clone, Debug)]
pub(in crate::node) struct Provisional {
    pub(in crate::node) value: Value,
    pub(in crate::node) time_ms: u64,
    sequence: Sequence,
    /// Until when it is shown, monotonic milliseconds.
    pub(in crate::node) until: u64,
}

/// What an author holds back from signing on one radio.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    /// Unsigned states since the last signed one.
    count: u32,
    /// The layer whose newest state waits to go out unsigned.
    due: Option<LayerId>,
}

impl HeldBack {
    /// Whether something is to go out unsigned.
    pub(super) fn waits(&self) -> bool {
        self.due.is_some()
    }
}

impl Node {
    /// Whether this state of ours goes out unsigned on a radio; the broadcast engine then hears nothing of it.
    pub(super) fn holds_back(&mut self, link: LinkId, id: &LayerId) -> bool {
        let (now, me) = (self.now.mono_ms, self.me);
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return false };
        let is_own_state =
            id.author == me && id.document.owner == me && id.document.name.as_str() == DocumentName::STATE;
        if radio.spec.sign_every <= 1 || !is_own_state {
            return false;
        }
        let listeners = radio.cell.listeners(&me, now);
        // Whom a cable reaches has the signed state from there, and would say on air that he has it.
        let by_cable = listeners.iter().any(|peer| self.links.values().any(|link| link.peer == *peer));
        let all_have = listeners.iter().all(|peer| radio.cell.should_have(&me, &id.hash(), peer));
        let signed = radio.cell.state(&me, &id.hash());
        let fits = (1..=LISTENERS_MAX).contains(&listeners.len()) && all_have && !by_cable;
        let (Some(signed), true) =
            (signed.filter(|_| fits), radio.held_back.count + 1 < radio.spec.sign_every)
        else {
            radio.held_back = HeldBack::default();
            return false;
        };
        radio.held_back.count += 1;
        radio.held_back.due = Some(id.clone());
        self.holdings.keep_as_base(id, signed.sequence);
        true
    }

    /// What was held back goes out signed after all.
    pub(super) fn sign_on_air(&mut self, link: LinkId, id: &LayerId) {
        if let Some(radio) = self.radios.by_link.get_mut(&link) {
            // As if enough had gone out unsigned.
            radio.held_back = HeldBack { count: radio.spec.sign_every, due: None };
        }
        self.stored_on_air(id);
    }

    /// A cable has come: whoever is at its other end gets the signed state there, so all count on it.
    pub(in crate::node) fn sign_what_is_held_back(&mut self) {
        let Some(document) = self.own_document(DocumentName::STATE) else { return };
        let id = LayerId { document, author: self.me };
        let holding = self.radios.by_link.iter().filter(|(_, radio)| radio.held_back.count > 0);
        for link in holding.map(|(link, _)| *link).collect::<Vec<LinkId>>() {
            self.sign_on_air(link, &id);
        }
    }

    /// Sends the newest state that was held back from signing.
    pub(super) fn send_unsigned(&mut self, link: LinkId) -> bool {
        let (now, me) = (self.now.mono_ms, self.me);
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return false };
        let Some(id) = radio.held_back.due.take() else { return false };
        let listeners = radio.cell.listeners(&me, now);
        let Some(base) = radio.cell.state(&me, &id.hash()) else { return false };
        let Some(bytes) = self.unsigned(&id, base, &listeners) else { return false };
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return false };
        match radio.station.verdict(now, bytes.len(), Priority::State) {
            Verdict::Now => {}
            Verdict::Wait { ms } => {
                // A newer one takes its place if it comes before that.
                radio.held_back.due = Some(id);
                radio.retry_at = Some(now.saturating_add(ms));
                return false;
            }
            Verdict::Never { .. } => return false,
        }
        let outgoing = Outgoing {
            channel: me,
            kind: kinds::PROVISIONAL,
            bytes,
            priority: Priority::State,
            account: super::outbound::account(&id.hash()),
            previous_key: false,
        };
        radio.station.send(now, outgoing).is_ok()
    }

    fn unsigned(&self, id: &LayerId, base: State, listeners: &[PeerId]) -> Option<Vec<u8>> {
        let tags =
            u8::try_from(listeners.len()).ok().filter(|tags| (1..=LISTENERS_MAX as u8).contains(tags))?;
        let body = encode_provisional(&self.delta_for(id, base)?, tags)?;
        let us = Identity::from_seed(&self.keypair.identity_seed());
        let tagged = tagged(&self.me, base, &body);
        let mut bytes = body;
        for listener in listeners {
            bytes.extend(pair_tag(&PairKey::sending(&us, listener)?, &tagged));
        }
        Some(bytes)
    }

    pub(super) fn provisional_heard(&mut self, hearing: &Hearing, bytes: &[u8]) {
        if hearing.channel != hearing.from || !self.take_provisional(hearing, bytes) {
            self.counters.reject("provisional_not_taken");
        }
    }

    fn take_provisional(&mut self, hearing: &Hearing, bytes: &[u8]) -> bool {
        let Ok(ProvisionalUpdate { envelope, body, tags }) = decode_provisional(bytes) else { return false };
        let us = Identity::from_seed(&self.keypair.identity_seed());
        let Some(key) = PairKey::receiving(&us, &hearing.from) else { return false };
        let owner = hearing.channel;
        let Ok(name) = DocumentName::new(DocumentName::STATE) else { return false };
        let id = LayerId { document: crate::layer::DocumentId { owner, name }, author: owner };
        let is_ours = |base: &State| {
            let tagged = tagged(&owner, *base, body);
            tags.iter().take(LISTENERS_MAX).any(|tag| pair_tag_holds(&key, &tagged, tag))
        };
        // The tag is over the base as well, so it tells which one is meant.
        let present = self.holdings.layer(&id).map(|layer| State::of(&layer.signed));
        let older = self.holdings.bases(&id).into_iter().rev().take(OLDER_BASES_MAX);
        let Some(base) = present.into_iter().chain(older).find(is_ours) else {
            // We lack its base, or its author does not know that we listen: both hear what we hold.
            self.base_missing_on_air(hearing);
            return false;
        };
        let Some(provisional) = self.provisional_on_base(hearing, &id, base, &envelope) else {
            return false;
        };
        let is_news = |old: &Provisional| old.sequence < provisional.sequence;
        if self.provisional.get(&id).is_none_or(is_news) {
            self.provisional.insert(id, provisional);
        }
        true
    }

    fn provisional_on_base(
        &self,
        hearing: &Hearing,
        id: &LayerId,
        on: State,
        envelope: &CompactEnvelope<UpdateChange>,
    ) -> Option<Provisional> {
        let layer = self.holdings.layer(id).filter(|layer| layer.head().kind == Kind::Snapshot)?;
        let head = layer.head();
        let older = || {
            let mut kept = self.holdings.kept_states(id, |print| print == on.root_prefix).into_iter();
            kept.find(|(state, _)| state.sequence == on.sequence)
        };
        let (sequence, time_ms, value) = match &layer.content {
            Content::Snapshot(value) if State::of(&layer.signed) == on => {
                (head.sequence, head.time_ms, value.clone())
            }
            _ => older().map(|(state, value)| (state.sequence, state.time_ms, value))?,
        };
        let base = Base { layer: id, sequence, time_ms, audience_sequence: head.audience_sequence };
        let (new, time_ms) = (envelope.sequence_on(&base)?, envelope.time_on(&base)?);
        if new <= head.sequence {
            return None;
        }
        let context = Context {
            base_sequence: sequence.get(),
            sequence: new.get(),
            base_time_ms: base.time_ms,
            time_ms,
        };
        let value = envelope.delta.target(&value, &context)?;
        let radio = self.radios.by_link.get(&hearing.link)?;
        let until = radio.cell.presence(&hearing.from).map_or(0, |heard| heard.until);
        Some(Provisional { value, time_ms, sequence: new, until })
    }
}

fn tagged(owner: &PeerId, base: State, body: &[u8]) -> Vec<u8> {
    [&owner.0[..], &base.sequence.get().to_be_bytes(), &base.root_prefix, body].concat()
}
