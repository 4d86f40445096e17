//! Rare signatures (`sign_every = n`): between two signed states of its own node, an author sends unsigned deltas that carry
//! one 4-byte tag per listener under its pairwise key, while that is shorter than a signature.
//!
//! ```text
//! [number of tags, distance][time and delta][tag 4]…
//! tag   over owner 32 ‖ base's sequence 8 ‖ base's root digest 4 ‖ all before the tags
//! ```
//! What a listener makes of it is *provisional*: shown as such, kept in memory, never relayed, never a base, no merge decided
//! by it; dropped at the next signed state, or when its author has been silent for long.

use tombolo_delta::{Context, Value};
use tombolo_mesh::airtime::ledger::Priority;
use tombolo_mesh::airtime::pace::Urgency;
use tombolo_mesh::frame::keys::pair::{PAIR_TAG_BYTES, PairKey, pair_tag, pair_tag_holds};
use tombolo_mesh::station::Outgoing;
use tombolo_transports::PeerId;

use crate::broadcast::schedule::HandOver;
use crate::broadcast::transmit::{SendOutcome, account};
use crate::broadcast::{Broadcast, RadioContext, RadioLink, kinds};
use crate::core::{Core, reserved_document};
use crate::envelope::{
    Base, Carried, CompactEnvelope, ProvisionalUpdate, UpdateChange, decode_provisional, encode_provisional,
};
use crate::layer::{Content, DocumentName, Kind, LayerId, Sequence};
use crate::replica::Replica;
use crate::sync::broadcast::Input;
use crate::sync::frontier::State;
use crate::time::{Mono, Wall};
use crate::unicast::Unicast;

/// A listener's tag costs this much less than a signature up to so many listeners.
const LISTENERS_MAX: usize = 64 / PAIR_TAG_BYTES - 1;
/// Older states that a tag is tried on: each makes a forged one a little more likely to hold.
const OLDER_BASES_MAX: usize = 3;

/// A state that its author has not signed yet.
#[derive(Clone, Debug)]
pub struct Provisional {
    /// The content of the document.
    pub value: Value,
    /// The time that its author gave it.
    pub time: Wall,
    sequence: Sequence,
    /// Until when it is shown.
    pub until: Mono,
}

/// States of the own node that are not signed yet on one radio.
#[derive(Debug, Default)]
pub(super) struct Unsigned {
    /// Unsigned states since the last signed one.
    count: u32,
    /// The layer whose newest state waits to go out unsigned.
    due: Option<LayerId>,
}

impl Unsigned {
    /// Whether a state is to go out unsigned.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Whether a state went out unsigned since the last signed one.
    pub(super) fn is_behind(&self) -> bool {
        self.count > 0
    }
}

impl RadioLink {
    /// Whether a new own state goes out unsigned on this radio; the broadcast engine then does not see it.
    pub(super) fn defers_signature(
        &mut self,
        core: &Core,
        replica: &mut Replica,
        unicast: &Unicast,
        id: &LayerId,
    ) -> bool {
        let me = core.me;
        let is_own_state =
            id.author == me && id.document.owner == me && id.document.name.as_str() == DocumentName::STATE;
        if self.spec.sign_every <= 1 || !is_own_state {
            return false;
        }
        let listeners = self.engine.listeners(&me, core.now());
        // A peer with a wired link has the signed state from there, and its heartbeats by radio show it.
        let by_link = listeners.iter().any(|peer| unicast.has_link_to(peer));
        let all_have = listeners.iter().all(|peer| self.engine.should_have(&me, &id.hash(), peer));
        let signed = self.engine.state(&me, &id.hash());
        let fits = (1..=LISTENERS_MAX).contains(&listeners.len()) && all_have && !by_link;
        let (Some(signed), true) = (signed.filter(|_| fits), self.unsigned.count + 1 < self.spec.sign_every)
        else {
            self.unsigned = Unsigned::default();
            return false;
        };
        self.unsigned.count += 1;
        self.unsigned.due = Some(id.clone());
        self.due.retry_at = None;
        replica.pin_base(id, signed.sequence);
        true
    }

    /// The next new state goes out signed, as if enough had gone out unsigned.
    pub(super) fn sign_next(&mut self) {
        self.unsigned = Unsigned { count: self.spec.sign_every, due: None };
    }

    /// Hands the station the newest state that is not signed.
    pub(super) fn send_unsigned(&mut self, cx: &mut RadioContext<'_>) -> SendOutcome {
        let me = cx.core.me;
        let Some(id) = self.unsigned.due.take() else { return SendOutcome::Nothing };
        let urgency = self.urgency(cx.replica, &id, false);
        let listeners = self.engine.listeners(&me, cx.core.now());
        let spared = if urgency == Urgency::Routine { self.spared_until(cx, &id, &listeners) } else { None };
        if let Some(at) = self.paced_until(cx.core.now(), Priority::State, urgency).max(spared) {
            // A newer one takes its place if it comes before that.
            self.unsigned.due = Some(id);
            return SendOutcome::Wait(at);
        }
        let base = self.engine.state(&me, &id.hash());
        let bytes = base.and_then(|base| unsigned(cx.core, cx.replica, &id, base, &listeners));
        let Some(bytes) = bytes else { return SendOutcome::Nothing };
        let airtime_us = self.station.airtime_us(bytes.len());
        let outgoing = Outgoing {
            channel: me,
            kind: kinds::PROVISIONAL,
            bytes,
            priority: Priority::State,
            account: account(&id.hash()),
            previous_key: false,
        };
        match self.hand_over(cx.core.now(), outgoing) {
            HandOver::Done(_) => {
                self.note_paced(cx.core.now(), cx.replica, &id, airtime_us);
                SendOutcome::Sent(None)
            }
            HandOver::Wait(at) => {
                // A newer one takes its place if it comes before that.
                self.unsigned.due = Some(id);
                SendOutcome::Wait(at)
            }
            HandOver::Never(_) | HandOver::Refused(_) => SendOutcome::Nothing,
        }
    }
}

fn unsigned(
    core: &Core,
    replica: &Replica,
    id: &LayerId,
    base: State,
    listeners: &[PeerId],
) -> Option<Vec<u8>> {
    let tags = u8::try_from(listeners.len()).ok().filter(|tags| (1..=LISTENERS_MAX as u8).contains(tags))?;
    let body = encode_provisional(&replica.delta_for(id, base)?, tags)?;
    let us = core.radio_identity();
    let tagged = tagged(&core.me, base, &body);
    let mut bytes = body;
    for listener in listeners {
        bytes.extend(pair_tag(&PairKey::sending(&us, listener)?, &tagged));
    }
    Some(bytes)
}

impl Broadcast {
    /// Takes an unsigned state of its sender's own node. Returns whether it is valid.
    pub fn take_provisional(
        &mut self,
        core: &Core,
        replica: &Replica,
        link: tombolo_transports::LinkId,
        owner: PeerId,
        bytes: &[u8],
    ) -> bool {
        let Ok(ProvisionalUpdate { envelope, body, tags }) = decode_provisional(bytes) else { return false };
        let Some(key) = PairKey::receiving(&core.radio_identity(), &owner) else { return false };
        let id = LayerId { document: reserved_document(owner, DocumentName::STATE), author: owner };
        let is_ours = |base: &State| {
            let tagged = tagged(&owner, *base, body);
            tags.iter().take(LISTENERS_MAX).any(|tag| pair_tag_holds(&key, &tagged, tag))
        };
        // The tag is over the base as well, so it shows which one is meant.
        let older = replica.layers().bases(&id).into_iter().rev().take(OLDER_BASES_MAX);
        let Some(base) = replica.state(&id).into_iter().chain(older).find(is_ours) else {
            // The base is not held here, or the author does not know that this node listens: both learn from what this node
            // shows that it holds.
            self.input(core, link, Input::BaseMissing { owner });
            return false;
        };
        let until = self
            .radios
            .get(&link)
            .and_then(|radio| radio.engine.presence(&owner))
            .map_or(Mono::ZERO, |heard| heard.until);
        let Some(provisional) = on_base(replica, &id, base, &envelope, until) else { return false };
        let is_news = |old: &Provisional| old.sequence < provisional.sequence;
        if self.shared.provisional.get(&id).is_none_or(is_news) {
            self.shared.provisional.insert(id, provisional);
        }
        true
    }

    /// The provisional state of a layer, while it is shown.
    pub fn provisional(&self, now: Mono, id: &LayerId) -> Option<&Provisional> {
        self.shared.provisional.get(id).filter(|provisional| now < provisional.until)
    }
}

fn on_base(
    replica: &Replica,
    id: &LayerId,
    on: State,
    envelope: &CompactEnvelope<UpdateChange>,
    until: Mono,
) -> Option<Provisional> {
    let layer = replica.layer(id).filter(|layer| layer.head().kind == Kind::Snapshot)?;
    let head = layer.head();
    let older = || {
        let mut past = replica.layers().past_snapshots(id, |root| root == on.root_prefix).into_iter();
        let past = past.find(|past| past.sequence == on.sequence)?;
        Some((past.sequence, past.time, replica.layers().past_value(id, past.sequence)?))
    };
    let (sequence, time, value) = match &layer.content {
        Content::Snapshot(value) if State::of(&layer.signed) == on => {
            (head.sequence, head.time, value.get().into_owned())
        }
        _ => older()?,
    };
    let base = Base { layer: id, sequence, time, audience_sequence: head.audience_sequence };
    let (new, time) = (envelope.sequence_on(&base)?, envelope.time_on(&base)?);
    if new <= head.sequence {
        return None;
    }
    let context = Context {
        base_sequence: sequence.get(),
        sequence: new.get(),
        base_time_ms: base.time.ms(),
        time_ms: time.ms(),
    };
    let value = envelope.delta.target(&value, &context)?;
    Some(Provisional { value, time, sequence: new, until })
}

fn tagged(owner: &PeerId, base: State, body: &[u8]) -> Vec<u8> {
    [&owner.0[..], &base.sequence.get().to_be_bytes(), &base.root_prefix, body].concat()
}
