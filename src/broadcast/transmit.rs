//! The walk out by radio, from where `schedule` comes to an offer of the broadcast engine: router -> envelope on the base that
//! all listeners have -> a frame filled with what fits -> station.

use crate::time::{Millis, Mono};
use std::collections::BTreeSet;

use tombolo_mesh::airtime::ledger::{Account, Priority};
use tombolo_mesh::airtime::pace::Urgency;
use tombolo_mesh::bulk::fragment::MessageId;
use tombolo_mesh::frame::Kind as FrameKind;
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::{Outgoing, Record, SendRefusal, Sent};
use tombolo_transports::PeerId;

use crate::broadcast::keys::Keys;
use crate::broadcast::pacing::class_of;
use crate::broadcast::schedule::{HandOver, OFFERS_MAX};
use crate::broadcast::split::PartDelta;
use crate::broadcast::{RadioContext, RadioLink, SharedRadioState, kinds};
use crate::core::{Core, InputRejection};
use crate::envelope::{BaseRef, Change, CompactEnvelope, UpdateItem, encode_air, encode_update, join_update};
use crate::layer::{LayerHash, LayerId};
use crate::limits::{BASE_CANDIDATES_ON_AIR_MAX, RADIO_MESSAGE_BYTES_MAX, SHORT_PRINT_LAYERS_MAX};
use crate::replica::Replica;
use crate::router::{Exclusion, RadioScope, Request};
use crate::sync::broadcast::{Input, Transmission};
use crate::sync::frontier::State;
use crate::unicast::{self, is_confidential, route_time, subject_of};

/// Airtime is charged to the layer it was for; what is for none goes to these.
const HEARTBEATS: Account = Account(1);
/// As [`HEARTBEATS`], for frontiers.
const FRONTIERS: Account = Account(2);

/// What became of something to send.
pub(super) enum SendOutcome {
    /// The station has it; as this message, if it takes many frames.
    Sent(Option<MessageId>),
    /// Nothing to send after all.
    Nothing,
    /// Nothing can be sent before this instant.
    Wait(Mono),
}

/// A message for the station.
struct OutboundMessage {
    channel: PeerId,
    kind: FrameKind,
    bytes: Vec<u8>,
    priority: Priority,
    account: Account,
}

impl OutboundMessage {
    fn sealed_under(self, previous_key: bool) -> Outgoing {
        let OutboundMessage { channel, kind, bytes, priority, account } = self;
        Outgoing { channel, kind, bytes, priority, account, previous_key }
    }
}

/// A layer that listeners lack, as the engine offers it: [`Transmission::Supply`].
#[derive(Clone)]
pub(super) struct LayerSupply {
    pub(super) owner: PeerId,
    pub(super) layer: LayerHash,
    /// The newest state that all targets have.
    pub(super) base: Option<State>,
    pub(super) targets: Vec<PeerId>,
    pub(super) rank: u8,
}

impl LayerSupply {
    /// The candidate that the engine knows it as.
    pub(super) fn transmission(&self) -> Transmission {
        let LayerSupply { owner, layer, base, targets, rank } = self.clone();
        Transmission::Supply { owner, layer, base, targets, rank }
    }
}

/// A layer's present state as a message.
struct LayerMessage {
    id: LayerId,
    state: State,
    /// The base of the delta; `None` for a whole layer whose base is not used.
    base: Option<State>,
    offer: OutboundMessage,
}

impl RadioLink {
    /// Outputs wait for the commit that these go into, so what is written counts as recorded.
    pub(super) fn write_records(&mut self, cx: &mut RadioContext<'_>) {
        for write in cx.shared.keys.take_writes() {
            cx.core.gate.write(write);
        }
        let mut records = Vec::new();
        if std::mem::take(&mut self.write_again) {
            let ledger = self.station.ledger().snapshot(cx.shared.moment(cx.core));
            records.push(Record::Ledger(ledger));
            records.push(Record::OwnEpoch(self.station.epoch()));
        }
        while let Some(record) = self.station.poll_record() {
            self.station.recorded(&record);
            records.push(record);
        }
        let writes_ledger = records.iter().any(|record| matches!(record, Record::Ledger(_)));
        let today = self.counts.record_due(cx.core.now(), cx.shared.day, writes_ledger);
        if let Some(bytes) = today {
            cx.shared.records.write(cx.core, &self.spec.name, super::counts::RECORD, bytes);
        }
        for record in records {
            let (key, bytes) = super::records::encode(&record);
            cx.shared.records.write(cx.core, &self.spec.name, &key, bytes);
        }
    }

    /// Sends an offer of the engine.
    pub(super) fn send(&mut self, cx: &mut RadioContext<'_>, candidate: Transmission) -> SendOutcome {
        let candidate = self.for_one_key(cx, candidate);
        let offer = match &candidate {
            Transmission::Heartbeat(heartbeat) => OutboundMessage {
                channel: cx.core.me,
                kind: kinds::HEARTBEAT,
                bytes: heartbeat.encode(),
                priority: Priority::Upkeep,
                account: HEARTBEATS,
            },
            Transmission::Frontier { owner, frontier, .. } => OutboundMessage {
                channel: *owner,
                kind: kinds::FRONTIER,
                bytes: frontier.encode(),
                priority: Priority::Control,
                account: FRONTIERS,
            },
            Transmission::Supply { owner, layer, base, targets, rank } => {
                let supply = LayerSupply {
                    owner: *owner,
                    layer: *layer,
                    base: *base,
                    targets: targets.clone(),
                    rank: *rank,
                };
                return self.send_layer(cx, supply);
            }
            Transmission::Intermediate { .. } => {
                unreachable!("the engine offers whole supplies; parts are made of them here")
            }
        };
        self.offer(cx, &candidate, offer)
    }

    /// Hands a message to the station if the ledger lets it out now.
    fn offer(
        &mut self,
        cx: &mut RadioContext<'_>,
        candidate: &Transmission,
        offer: OutboundMessage,
    ) -> SendOutcome {
        let previous_key = self.goes_under_previous_key(cx, candidate);
        let (account, length) = (offer.account, offer.bytes.len());
        let outcome = match self.hand_over(cx.core.now(), offer.sealed_under(previous_key)) {
            // It stays due.
            HandOver::Wait(at) => return SendOutcome::Wait(at),
            HandOver::Done(sent) => {
                if let Transmission::Supply { targets, .. } | Transmission::Intermediate { targets, .. } =
                    candidate
                {
                    self.counts.meant_for(account, targets);
                }
                cx.core.metrics.sent(length);
                SendOutcome::Sent(match sent {
                    Sent::Frame => None,
                    Sent::Fragments(message) => Some(message),
                })
            }
            HandOver::Never(why) => {
                self.counts.never = Some(why);
                SendOutcome::Nothing
            }
            HandOver::Refused(error) => {
                tracing::debug!(%error, "a message did not go to the radio");
                // Before the first peer there is no listener: nothing was refused.
                if error != SendRefusal::NoChannel {
                    cx.core.reject(InputRejection::RadioRefusedMessage);
                }
                SendOutcome::Nothing
            }
        };
        self.engine.done(cx.core.now(), candidate);
        outcome
    }

    /// Whether a message is sealed under the audience key before the last renewal, for listeners that lack the present one:
    /// it brings them that key, or shows them what they lack.
    fn goes_under_previous_key(&self, cx: &RadioContext<'_>, candidate: &Transmission) -> bool {
        match candidate {
            Transmission::Supply { owner, targets, rank: 0, .. } => {
                self.needs_previous_key(cx, owner, targets)
            }
            // All that it is for have the same key: `for_one_key`.
            Transmission::Frontier { owner, to, .. } => self.needs_previous_key(cx, owner, to),
            Transmission::Supply { .. } | Transmission::Intermediate { .. } | Transmission::Heartbeat(_) => {
                false
            }
        }
    }

    /// A frontier goes to those that wait for it and have one key. Where some lack the present key, that is to them first: who has it may
    /// open nothing under the one before, and gets the frontier once more.
    fn for_one_key(&self, cx: &RadioContext<'_>, candidate: Transmission) -> Transmission {
        let Transmission::Frontier { owner, frontier, to } = candidate else { return candidate };
        let lacks_key = |peer: &PeerId| self.needs_previous_key(cx, &owner, std::slice::from_ref(peer));
        let (behind, others): (Vec<PeerId>, Vec<PeerId>) = to.into_iter().partition(lacks_key);
        let to = if behind.is_empty() { others } else { behind };
        Transmission::Frontier { owner, frontier, to }
    }

    /// Whether some of these lack the present key of an audience. On a radio in clear nothing is sealed, and there is no key to lack.
    fn needs_previous_key(&self, cx: &RadioContext<'_>, owner: &PeerId, targets: &[PeerId]) -> bool {
        self.spec.mode == Mode::Encrypted && cx.shared.keys.needs_previous(cx.replica, owner, targets)
    }

    /// Sends a layer's present state to the listeners that the router gives to this radio, if it may leave now.
    fn send_layer(&mut self, cx: &mut RadioContext<'_>, supply: LayerSupply) -> SendOutcome {
        let LayerSupply { owner, layer, base, targets, rank } = supply;
        let now = cx.core.now();
        let Some(id) = cx.replica.layer_id(&layer) else { return SendOutcome::Nothing };
        if id.author == cx.core.me && self.claims_first(cx, &id) {
            return SendOutcome::Nothing;
        }
        if self.awaits_key(cx.replica, &id) {
            return SendOutcome::Nothing;
        }
        let state = cx.replica.state(&id).expect("a layer with a short name is held");
        let (targets, awaits) = self.routed_here(cx, &id, state, targets);
        if targets.is_empty() {
            return awaits.map_or(SendOutcome::Nothing, SendOutcome::Wait);
        }
        if self.engine.state(&owner, &layer).is_some_and(|known| known < state) {
            // A listener needs a signed state, and there is a newer one than the engine has: that one, then.
            self.sign_now(cx, &id);
            return SendOutcome::Wait(now);
        }
        let is_unknown = targets.iter().any(|peer| !self.engine.has_any(&owner, &layer, peer));
        let urgency = self.urgency(cx.replica, &id, is_unknown);
        let spared = if urgency == Urgency::Routine { self.spared_until(cx, &id, &targets) } else { None };
        if let Some(at) = self.paced_until(now, class_of(&id), urgency).max(spared) {
            return SendOutcome::Wait(at);
        }
        let supply = LayerSupply { owner, layer, base, targets, rank };
        let base = base.filter(|base| !is_crowded(cx.replica, &id, *base));
        let delta = base.and_then(|base| cx.shared.update_item(cx.replica, &id, base));
        let part = delta
            .as_ref()
            .and_then(|delta| cx.shared.parts.next_for(self, &id, &supply.targets, delta.len()));
        if let Some(part) = part {
            return self.send_part(cx, &supply, &id, part);
        }
        let (kind, bytes) = match delta {
            Some(item) => (kinds::UPDATE, self.filled(cx, &supply, item)),
            None => (kinds::WHOLE, self.whole(cx.replica, &id, state)),
        };
        let is_long = bytes.len() > self.station.payload_bytes_max();
        let priority = match class_of(&id) {
            Priority::State | Priority::Document if is_long => Priority::Bulk,
            // No peer spends the share that is kept for the alarms of this node.
            Priority::Alarm if id.author != cx.core.me => Priority::State,
            class => class,
        };
        let offer = OutboundMessage { channel: owner, kind, bytes, priority, account: account(&layer) };
        self.send_state(cx, &supply, LayerMessage { id, state, base, offer })
    }

    /// Hands a layer's state to the station: in one frame, or in fragments that are begun once and resumed.
    fn send_state(
        &mut self,
        cx: &mut RadioContext<'_>,
        supply: &LayerSupply,
        message: LayerMessage,
    ) -> SendOutcome {
        let now = cx.core.now();
        let LayerMessage { id, state, base, offer } = message;
        let candidate = supply.transmission();
        if offer.bytes.len() > RADIO_MESSAGE_BYTES_MAX {
            cx.core.reject(InputRejection::TooLongForRadio);
            self.engine.done(cx.core.now(), &candidate);
            return SendOutcome::Nothing;
        }
        if offer.bytes.len() > self.station.payload_bytes_max()
            && let Some(outcome) = self.resume(now, cx.replica, &id, supply, state)
        {
            return outcome;
        }
        let airtime_us = self.station.airtime_us(offer.bytes.len());
        let outcome = self.offer(cx, &candidate, offer);
        if let SendOutcome::Sent(message) = outcome {
            match message {
                Some(message) => {
                    self.note_begun(now, cx.replica, &id);
                    self.has_begun(supply, state, message);
                }
                None => self.note_paced(now, cx.replica, &id, airtime_us),
            }
            if let Some(base) = base {
                cx.replica.pin_base(&id, base.sequence);
            }
            // What listeners report next; until then its author may sign many more.
            cx.replica.pin_base(&id, state.sequence);
            tracing::trace!(?state, "supplied on air");
        }
        outcome
    }

    /// Whether a layer stays due until the owner's present key is here: a reader that was removed may have the one held.
    pub(super) fn awaits_key(&self, replica: &Replica, id: &LayerId) -> bool {
        self.spec.mode == Mode::Encrypted
            && replica.layer(id).is_some_and(|layer| Keys::are_behind(replica, layer.head()))
    }

    /// Whether an own layer is withheld now, because a listener shows a state of it that is not known here.
    fn claims_first(&mut self, cx: &mut RadioContext<'_>, id: &LayerId) -> bool {
        let shown = self.engine.shown(&id.document.owner, &id.hash());
        let withheld = cx.replica.withhold(cx.core, id, shown);
        if withheld {
            self.input(cx.core, Input::Withheld { owner: id.document.owner, layer: id.hash() });
            cx.shared.news.push(super::RadioNews::Withheld(id.clone()));
        }
        withheld
    }

    /// A state whose signature was deferred goes out signed after all, on every radio.
    fn sign_now(&mut self, cx: &mut RadioContext<'_>, id: &LayerId) {
        self.sign_next();
        self.stored(cx.core, cx.replica, cx.unicast, id, None);
        cx.shared.news.push(super::RadioNews::Stored(id.clone()));
    }

    /// Sends one part of a commit that was split; the next follows in the next frame.
    fn send_part(
        &mut self,
        cx: &mut RadioContext<'_>,
        supply: &LayerSupply,
        id: &LayerId,
        part: PartDelta,
    ) -> SendOutcome {
        let LayerSupply { owner, layer, targets, .. } = supply;
        let stepped = Transmission::Intermediate {
            owner: *owner,
            layer: *layer,
            state: part.state,
            targets: targets.clone(),
        };
        cx.replica.pin_base(id, part.state.sequence);
        let (kind, priority) = (kinds::UPDATE, class_of(id));
        let airtime_us = self.station.airtime_us(part.bytes.len());
        let offer =
            OutboundMessage { channel: *owner, kind, bytes: part.bytes, priority, account: account(layer) };
        let outcome = self.offer(cx, &stepped, offer);
        if matches!(outcome, SendOutcome::Sent(_)) {
            self.note_paced(cx.core.now(), cx.replica, id, airtime_us);
        }
        outcome
    }

    /// The listeners that the router gives to this radio; and, for the others, until when it waits for a link that was lost. Of
    /// those that have a better link the engine of that link has sent the layer.
    fn routed_here(
        &mut self,
        cx: &mut RadioContext<'_>,
        id: &LayerId,
        state: State,
        targets: Vec<PeerId>,
    ) -> (Vec<PeerId>, Option<Mono>) {
        let (link, now) = (self.link, route_time(cx.core));
        // The size of most deltas; the ledger decides by the size of what is sent.
        let request =
            Request::new(unicast::class_of(id), 128).confidential(is_confidential(cx.replica, &id.document));
        let (mut here, mut awaits) = (Vec::new(), None);
        for peer in targets {
            let request = request.after_silence(cx.unicast.silent_link(&peer, &id.hash()));
            let router = cx.unicast.router_mut();
            let subject = subject_of(id, state.sequence);
            let routed = router.route(peer, subject, request, RadioScope::These(&[link]), now);
            match (routed.chosen, router.exclusion(routed.id, link)) {
                (Some(chosen), _) if chosen == link => here.push(peer),
                (Some(_), _) => {
                    let (owner, layer) = (id.document.owner, id.hash());
                    self.engine
                        .handle_input(cx.core.now(), Input::DeliveredElsewhere { owner, peer, layer, state });
                }
                // The ledger decides, for each frame, when it may leave.
                (None, Some(Exclusion::AirtimeSpent { .. })) => here.push(peer),
                (None, Some(Exclusion::AwaitsReturn { until, .. })) => {
                    awaits = Some(awaits.map_or(until, |other: Mono| other.min(until)));
                }
                (None, _) => {}
            }
        }
        (here, awaits)
    }

    /// A whole layer in the form for radio.
    fn whole(&mut self, replica: &Replica, id: &LayerId, state: State) -> Vec<u8> {
        let layer = replica.layer(id).expect("the layer is held: its state was just read");
        let is_clear = self.spec.mode == Mode::SignedClear;
        self.long.whole(id.hash(), state, || encode_air(layer, is_clear))
    }

    /// Fills what is left of the frame with further deltas of the same channel.
    fn filled(&mut self, cx: &RadioContext<'_>, supply: &LayerSupply, item: UpdateItem) -> Vec<u8> {
        let LayerSupply { owner, layer: first, targets, .. } = supply;
        let mut room = self.station.payload_bytes_max().saturating_sub(item.len());
        let others = self.engine.transmissions(cx.core.now()).into_iter().filter(|candidate| {
            matches!(candidate, Transmission::Supply { owner: of, layer, base: Some(_), .. } if of == owner && layer != first)
        });
        let others: Vec<_> = others.take(OFFERS_MAX).collect();
        let is_under_previous = self.needs_previous_key(cx, owner, targets);
        let mut items = Vec::new();
        let mut filled = BTreeSet::new();
        for candidate in others {
            let Transmission::Supply { layer, base: Some(base), targets: its_targets, rank, .. } = &candidate
            else {
                continue;
            };
            // The router has given these listeners to this radio; and what goes out under the key before a renewal is for
            // those that need the new one, and nothing else.
            if !its_targets.iter().all(|peer| targets.contains(peer)) || (is_under_previous && *rank > 0) {
                continue;
            }
            let Some(id) = cx.replica.layer_id(layer) else { continue };
            if self.awaits_key(cx.replica, &id) {
                continue;
            }
            let (now, urgency) = (cx.core.now(), self.urgency(cx.replica, &id, false));
            if self.paced_until(now, class_of(&id), urgency).is_some() {
                continue;
            }
            let Some(other) = cx.shared.update_item(cx.replica, &id, *base) else { continue };
            let Some(needed) = other.room().filter(|needed| *needed <= room) else { continue };
            room -= needed;
            items.push(other);
            if filled.insert(*layer) {
                self.engine.done(now, &candidate);
                let airtime_us = self.station.airtime_us(needed);
                self.note_paced(now, cx.replica, &id, airtime_us);
            }
        }
        items.push(item);
        join_update(&items).expect("only items that say how much room they need stand before the last")
    }

    /// The properties of this radio, as the router takes them.
    pub(super) fn caps(&mut self, now: Mono) -> tombolo_transports::LinkCaps {
        let airtime_us = self.station.airtime_us(128);
        tombolo_transports::LinkCaps {
            medium: tombolo_transports::Medium::Mesh,
            message_bytes_max: RADIO_MESSAGE_BYTES_MAX,
            rate_bps: Some(128 * 8 * 1_000_000 / airtime_us.max(1)),
            latency_ms: u32::try_from(airtime_us / 1000).unwrap_or(u32::MAX),
            loss_permille: self.station.loss_permille(),
            broadcast: true,
            metered: false,
            confidential: self.spec.mode == Mode::Encrypted,
            airtime_us_per_byte: u32::try_from(airtime_us / 128).unwrap_or(u32::MAX),
            airtime_left: self.station.ledger().airtime_left(now),
        }
    }
}

impl RadioLink {
    /// When the airtime of a short state is free again; `None` while it is.
    pub(super) fn airtime_free_in(&mut self, now: Mono) -> Option<Millis> {
        let airtime_us = self.station.airtime_us(128);
        let left = self.station.ledger().airtime_left(now)?;
        if left >= Millis::from_us_rounded_up(airtime_us) {
            return None;
        }
        self.station.ledger().leaves_in(now, airtime_us, Priority::State)
    }
}

impl SharedRadioState {
    /// A delta in the form for radio; `None` if the base is not held.
    pub(super) fn update_item(&self, replica: &Replica, id: &LayerId, base: State) -> Option<UpdateItem> {
        let envelope = replica.delta_for(id, base)?;
        // Only the signature distinguishes a snapshot's base from one that fits a short digest by chance: so few may fit.
        let is_snapshot = matches!(envelope.delta, Change::Snapshot { .. });
        let is_short =
            is_snapshot && replica.layers().layers_of(&id.document.owner) <= SHORT_PRINT_LAYERS_MAX;
        let base = BaseRef { is_short, ..envelope.base };
        Some(encode_update(&CompactEnvelope { base, ..envelope }, self.any_in_clear))
    }

    /// Now, by every clock there is.
    pub(super) fn moment(&self, core: &Core) -> tombolo_mesh::airtime::ledger::Moment {
        tombolo_mesh::airtime::ledger::Moment {
            boot: self.boot,
            monotonic: core.now(),
            trusted_wall: core.clock.own_is_set().then_some(core.clock.now().wall),
        }
    }
}

/// Whether so many layers of the channel share a base's root that a listener may not find which one a delta on it means: all
/// empty layers have the same root.
fn is_crowded(replica: &Replica, id: &LayerId, base: State) -> bool {
    let of_owner = replica.layers().layers().map(|layer| layer.head());
    let of_owner = of_owner.filter(|head| head.layer.document.owner == id.document.owner);
    of_owner.filter(|head| head.root.prefix4() == base.root_prefix).count() >= BASE_CANDIDATES_ON_AIR_MAX
}

/// The account of a layer.
pub(crate) fn account(layer: &LayerHash) -> Account {
    // Above the numbers for what belongs to no layer, below the one for all others.
    Account(u64::from_be_bytes(layer.0) >> 1 | 1 << 62)
}
