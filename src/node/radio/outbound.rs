//! The walk out on air: a turn of the broadcast engine -> route -> envelope on the base that all have -> a frame
//! filled with what fits -> station.

use std::collections::BTreeSet;

use tombolo_mesh::airtime::ledger::{Account, Moment, Priority, Verdict};
use tombolo_mesh::bulk::fragment::MessageId;
use tombolo_mesh::frame::Kind as FrameKind;
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::{Outgoing, Record, SendRefusal, Sent, Transmit};
use tombolo_transports::{LinkId, PeerId};

use crate::envelope::{BaseRef, Change, CompactEnvelope, UpdateItem, encode_air, encode_update, join_update};
use crate::layer::{DocumentName, LayerHash, LayerId};
use crate::limits::{BASE_CANDIDATES_ON_AIR_MAX, RADIO_MESSAGE_BYTES_MAX, SHORT_PRINT_LAYERS_MAX};
use crate::node::Node;
use crate::node::radio::split::Step;
use crate::node::radio::{Radio, kinds};
use crate::router::{Candidate, Class, Reason, Request};
use crate::sync::broadcast::{Input, Transmission};
use crate::sync::frontier::State;

/// Airtime is charged to the layer it was for; what is for none goes to these.
const HEARTBEATS: Account = Account(1);
const FRONTIERS: Account = Account(2);
/// What is due and may not leave by any link is looked at again so much later, or when something happens.
const BARRED_MS: u64 = 60_000;
/// Turns looked at for one frame.
const TURNS_MAX: usize = 64;

/// What the airtime said to a turn.
pub(super) enum Chance {
    /// It is on its way; as this message, if it takes many frames.
    Taken(Option<MessageId>),
    /// Nothing to send after all.
    Nothing,
    /// Not before this, monotonic milliseconds.
    Wait(u64),
}

impl Node {
    /// Writes what the station wants written, and hands its radio a frame if it takes one.
    pub(super) fn drive_radio(&mut self, link: LinkId) {
        self.repeat_calls(link);
        self.ask_for_keys(link);
        self.write_records(link);
        let now = self.now.mono_ms;
        let may_send = |radio: &Radio| radio.up && radio.ready && radio.quiet_until <= now;
        if !self.radios.by_link.get(&link).is_some_and(may_send) {
            return;
        }
        if self.hand_over_frame(link) {
            return;
        }
        if self.take_turn(link) {
            self.hand_over_frame(link);
        }
    }

    /// A frame that the station has goes out. Records that it needs go into the same commit, before it.
    fn hand_over_frame(&mut self, link: LinkId) -> bool {
        loop {
            let moment = self.moment();
            let Some(radio) = self.radios.by_link.get_mut(&link) else { return false };
            let transmit = radio.station.transmit(moment);
            self.write_records(link);
            match transmit {
                Transmit::Frame { frame, charge } => {
                    if let Some(radio) = self.radios.by_link.get_mut(&link) {
                        radio.ready = false;
                        radio.counts.sent(frame.len(), charge);
                    }
                    self.send_frame(link, frame);
                    return true;
                }
                // What was needed is written now.
                Transmit::NeedsRecord => {}
                Transmit::Idle => return false,
            }
        }
    }

    /// Outputs wait for the commit that these go into, so what is written counts as recorded.
    fn write_records(&mut self, link: LinkId) {
        let mut records = Vec::new();
        let moment = self.moment();
        if let Some(radio) = self.radios.by_link.get_mut(&link) {
            if std::mem::take(&mut radio.write_again) {
                let ledger = radio.station.ledger().snapshot(moment);
                let epoch = radio.station.epoch();
                records.push((radio.spec.name.clone(), Record::Ledger(ledger)));
                records.push((radio.spec.name.clone(), Record::OwnEpoch(epoch)));
            }
            while let Some(record) = radio.station.poll_record() {
                radio.station.recorded(&record);
                records.push((radio.spec.name.clone(), record));
            }
        }
        let (now, day) = (self.now.mono_ms, self.radios.day);
        let writes_ledger = records.iter().any(|(_, record)| matches!(record, Record::Ledger(_)));
        let today = self.radios.by_link.get_mut(&link).and_then(|radio| {
            Some((radio.spec.name.clone(), radio.counts.record_due(now, day, writes_ledger)?))
        });
        if let Some((name, bytes)) = today {
            self.write_radio_record(&name, super::counts::RECORD, bytes);
        }
        for (name, record) in records {
            let (key, bytes) = super::records::encode(&record);
            self.write_radio_record(&name, &key, bytes);
        }
    }

    /// Takes the best turn that the airtime allows.
    fn take_turn(&mut self, link: LinkId) -> bool {
        let now = self.now.mono_ms;
        let me = self.me;
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return false };
        if radio.retry_at.is_some_and(|at| at > now) {
            return false;
        }
        radio.retry_at = None;
        if radio.talks.waits() && self.send_talk(link) {
            return true;
        }
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return false };
        if !radio.held_back.waits() && radio.cell.poll_timeout(now).is_none_or(|at| at > now) {
            return false;
        }
        let turns = radio.cell.transmissions(now);
        let is_silent =
            |turn: &Transmission| matches!(turn, Transmission::Heartbeat(_)) && !radio.cell.participates(&me);
        if let Some(turn) = turns.iter().find(|turn| is_silent(turn)).cloned() {
            // Nobody reads our documents yet.
            radio.cell.done(now, &turn);
        }
        let waits = |turn: &Transmission| {
            matches!(turn, Transmission::Frontier { .. } | Transmission::Supply { rank: 0, .. })
        };
        if !turns.first().is_some_and(waits) && self.send_unsigned(link) {
            return true;
        }
        let mut earliest = self.radios.by_link.get(&link).and_then(|radio| radio.retry_at);
        for turn in turns.into_iter().take(TURNS_MAX) {
            match self.try_turn(link, turn) {
                Chance::Taken(_) => return true,
                Chance::Nothing => {}
                Chance::Wait(at) => earliest = Some(earliest.map_or(at, |other| other.min(at))),
            }
        }
        if let Some(radio) = self.radios.by_link.get_mut(&link) {
            // What no link may carry stays due: looked at again, but not at once.
            let is_due = || radio.cell.poll_timeout(now).is_some_and(|at| at <= now);
            radio.retry_at = earliest.or_else(|| is_due().then_some(now + BARRED_MS));
        }
        false
    }

    fn try_turn(&mut self, link: LinkId, turn: Transmission) -> Chance {
        match &turn {
            Transmission::Heartbeat(heartbeat) => {
                let bytes = heartbeat.encode();
                self.offer(link, &turn, self.me, kinds::HEARTBEAT, bytes, Priority::Upkeep, HEARTBEATS)
            }
            Transmission::Frontier { owner, frontier } => {
                let bytes = frontier.encode();
                self.offer(link, &turn, *owner, kinds::FRONTIER, bytes, Priority::Control, FRONTIERS)
            }
            Transmission::Supply { .. } => self.try_supply(link, turn),
            // Made here only, of a supply.
            Transmission::Intermediate { .. } => Chance::Nothing,
        }
    }

    /// Hands a message to the station if the ledger lets it out now.
    #[allow(clippy::too_many_arguments, reason = "one call for every kind of message")]
    fn offer(
        &mut self,
        link: LinkId,
        turn: &Transmission,
        channel: PeerId,
        kind: FrameKind,
        bytes: Vec<u8>,
        priority: Priority,
        account: Account,
    ) -> Chance {
        let now = self.now.mono_ms;
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return Chance::Nothing };
        let in_frame = bytes.len().min(radio.station.payload_bytes_max());
        match radio.station.verdict(now, in_frame, priority) {
            Verdict::Now => {}
            Verdict::Wait { ms } => return Chance::Wait(now.saturating_add(ms)),
            Verdict::Never { why } => {
                radio.cell.done(now, turn);
                radio.counts.never = Some(why.to_string());
                return Chance::Nothing;
            }
        }
        let previous_key = match turn {
            Transmission::Supply { owner, targets, rank: 0, .. } => self.needs_previous_key(owner, targets),
            // Whoever has not got the new key answers what it lacks.
            Transmission::Frontier { owner, .. } => {
                let listeners = radio.cell.listeners(owner, now);
                self.needs_previous_key(owner, &listeners)
            }
            _ => false,
        };
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return Chance::Nothing };
        let length = bytes.len();
        let outgoing = Outgoing { channel, kind, bytes, priority, account, previous_key };
        match radio.station.send(now, outgoing) {
            Ok(sent) => {
                radio.cell.done(now, turn);
                if let Transmission::Supply { targets, .. } | Transmission::Intermediate { targets, .. } =
                    turn
                {
                    radio.counts.meant_for(account, targets);
                }
                self.counters.sent(length);
                Chance::Taken(match sent {
                    Sent::Frame => None,
                    Sent::Fragments(message) => Some(message),
                })
            }
            Err(error) => {
                tracing::debug!(%error, "a message did not go to the radio");
                radio.cell.done(now, turn);
                // Before the first peer there is nobody to speak to: nothing was refused.
                if error != SendRefusal::NoChannel {
                    self.counters.reject("radio_refused_message");
                }
                Chance::Nothing
            }
        }
    }

    fn try_supply(&mut self, link: LinkId, turn: Transmission) -> Chance {
        let Transmission::Supply { owner, layer, base, targets, rank } = turn else { return Chance::Nothing };
        let now = self.now.mono_ms;
        let Some(id) = self.layer_of(&layer) else { return Chance::Nothing };
        if id.author == self.me && self.reclaims_on_air_first(link, &id) {
            return Chance::Nothing;
        }
        let targets = self.routed_by(link, &id, targets);
        let Some(state) = self.holdings.layer(&id).map(|layer| State::of(&layer.signed)) else {
            return Chance::Nothing;
        };
        let turn = Transmission::Supply { owner, layer, base, targets: targets.clone(), rank };
        if targets.is_empty() {
            return Chance::Nothing;
        }
        let told = self.radios.by_link.get(&link).and_then(|radio| radio.cell.state(&owner, &layer));
        if told.is_some_and(|told| told < state) {
            // Somebody needs a signed state, and we have a newer one than the engine was told of: that one, then.
            self.sign_on_air(link, &id);
            return Chance::Wait(now);
        }
        let base = base.filter(|base| !self.is_crowded(&id, *base));
        let delta = base.and_then(|base| self.air_delta(&id, base));
        let step = delta.as_ref().and_then(|delta| self.step_for(link, &id, &targets, delta.len()));
        if let Some(step) = step {
            return self.take_step(link, &turn, &id, step);
        }
        let (kind, bytes) = match delta {
            Some(envelope) => (kinds::UPDATE, self.filled(link, &owner, &layer, &targets, envelope)),
            None => (kinds::WHOLE, self.whole_on_air(link, &id, state)),
        };
        if bytes.len() > RADIO_MESSAGE_BYTES_MAX {
            self.counters.reject("too_long_for_radio");
            if let Some(radio) = self.radios.by_link.get_mut(&link) {
                radio.cell.done(now, &turn);
            }
            return Chance::Nothing;
        }
        let is_long = |radio: &Radio| bytes.len() > radio.station.payload_bytes_max();
        if self.radios.by_link.get(&link).is_some_and(is_long)
            && let Some(chance) = self.go_on(link, &id, &turn, state)
        {
            return chance;
        }
        let priority = match (rank, id.document.name.as_str()) {
            (0, _) | (_, DocumentName::STATE) => Priority::State,
            _ => Priority::Document,
        };
        let chance = self.offer(link, &turn, owner, kind, bytes, priority, account(&layer));
        if let Chance::Taken(message) = chance {
            if let Some(message) = message {
                self.has_begun(link, &turn, state, message);
            }
            if let Some(base) = base {
                self.holdings.keep_as_base(&id, base.sequence);
            }
            tracing::trace!(?state, "supplied on air");
        }
        chance
    }

    /// Sends one part of a commit that was split; the next follows in the next frame.
    fn take_step(&mut self, link: LinkId, turn: &Transmission, id: &LayerId, step: Step) -> Chance {
        let Transmission::Supply { owner, layer, targets, .. } = turn else { return Chance::Nothing };
        let stepped = Transmission::Intermediate {
            owner: *owner,
            layer: *layer,
            state: step.state,
            targets: targets.clone(),
        };
        self.holdings.keep_as_base(id, step.state.sequence);
        self.offer(link, &stepped, *owner, kinds::UPDATE, step.bytes, Priority::Document, account(layer))
    }

    /// The listeners that the router gives to this radio. The others get it by a better link, and the engine
    /// of that link has sent it.
    fn routed_by(&mut self, link: LinkId, id: &LayerId, targets: Vec<PeerId>) -> Vec<PeerId> {
        let Some(state) = self.holdings.layer(id).map(|layer| State::of(&layer.signed)) else {
            return targets;
        };
        let now = self.now.mono_ms;
        let Some(caps) = self.radios.by_link.get_mut(&link).map(|radio| radio.caps(now)) else {
            return targets;
        };
        let class = match id.document.name.as_str() {
            DocumentName::AUDIENCE | DocumentName::KEYS => Class::Audience,
            DocumentName::STATE => Class::State,
            _ => Class::Document,
        };
        // What a delta takes in most cases; the whole of what is sent is the ledger's business.
        let confidential = self.federation.policy(&id.document).confidential
            && !matches!(id.document.name.as_str(), DocumentName::AUDIENCE);
        let request = Request { bytes: 128, class, confidential, deadline_ms: None };
        let mut ours = Vec::new();
        for peer in targets {
            let links = self.links.iter().filter(|(_, other)| other.peer == peer);
            let mut candidates: Vec<Candidate> =
                links.map(|(id, other)| Candidate { link: *id, caps: other.caps.clone() }).collect();
            candidates.push(Candidate { link, caps: caps.clone() });
            let decision = self.router.route(request, &candidates);
            match decision.chosen {
                Some(chosen) if chosen == link => ours.push(peer),
                Some(_) => self.delivered_elsewhere(link, id, peer, state),
                // The ledger says, to the frame, when it may leave.
                None if decision.rejected.contains(&(link, Reason::BudgetSpent)) => ours.push(peer),
                None => {}
            }
            if let Some(radio) = self.radios.by_link.get_mut(&link) {
                radio.counts.decided(peer, decision);
            }
        }
        ours
    }

    fn delivered_elsewhere(&mut self, link: LinkId, id: &LayerId, peer: PeerId, state: State) {
        let (now, owner, layer) = (self.now.mono_ms, id.document.owner, id.hash());
        if let Some(radio) = self.radios.by_link.get_mut(&link) {
            radio.cell.handle_input(now, Input::DeliveredElsewhere { owner, peer, layer, state });
        }
    }

    /// Whether so many layers of the channel share a base's root that who hears a delta on it may not find which is
    /// meant: all empty ones have the same.
    fn is_crowded(&self, id: &LayerId, base: State) -> bool {
        let of_owner = self.holdings.layers().map(|layer| layer.head());
        let of_owner = of_owner.filter(|head| head.layer.document.owner == id.document.owner);
        of_owner.filter(|head| head.root.prefix4() == base.root_prefix).count() >= BASE_CANDIDATES_ON_AIR_MAX
    }

    /// A delta in the form for radio.
    pub(super) fn air_delta(&self, id: &LayerId, base: State) -> Option<UpdateItem> {
        let envelope = self.delta_for(id, base)?;
        // Only the signature tells a snapshot's base from one that fits a short print by chance; so few may fit.
        let is_snapshot = matches!(envelope.delta, Change::Snapshot { .. });
        let is_short = is_snapshot && self.holdings.layers_of(&id.document.owner) <= SHORT_PRINT_LAYERS_MAX;
        let base = BaseRef { is_short, ..envelope.base };
        let in_clear = self.radios.by_link.values().any(|radio| radio.spec.mode == Mode::SignedClear);
        Some(encode_update(&CompactEnvelope { base, ..envelope }, in_clear))
    }

    /// A whole layer in the form for radio. The last one is remembered: it may be looked at often until it leaves.
    fn whole_on_air(&mut self, link: LinkId, id: &LayerId, state: State) -> Vec<u8> {
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return Vec::new() };
        let key = (id.hash(), state);
        if let Some((of, bytes)) = &radio.whole
            && *of == key
        {
            return bytes.clone();
        }
        let is_clear = radio.spec.mode == Mode::SignedClear;
        let bytes = self.holdings.layer(id).map(|layer| encode_air(layer, is_clear)).unwrap_or_default();
        radio.whole = Some((key, bytes.clone()));
        bytes
    }

    /// Fills what is left of the frame with further deltas of the same channel.
    fn filled(
        &mut self,
        link: LinkId,
        owner: &PeerId,
        first: &LayerHash,
        targets: &[PeerId],
        envelope: UpdateItem,
    ) -> Vec<u8> {
        let now = self.now.mono_ms;
        let Some(radio) = self.radios.by_link.get(&link) else { return Vec::new() };
        let mut room = radio.station.payload_bytes_max().saturating_sub(envelope.len());
        let others = radio.cell.transmissions(now).into_iter().filter_map(|turn| match turn {
            Transmission::Supply { owner: of, layer, base: Some(base), targets, rank }
                if of == *owner && layer != *first =>
            {
                Some((layer, base, targets, rank))
            }
            _ => None,
        });
        let others: Vec<_> = others.take(TURNS_MAX).collect();
        let mut before = Vec::new();
        let mut filled = BTreeSet::new();
        for (layer, base, for_whom, rank) in others {
            // The router has given these listeners to this radio; and what goes out under the key before a renewal is
            // for those who need the new one, and nothing else.
            let is_under_previous = self.needs_previous_key(owner, targets);
            if !for_whom.iter().all(|peer| targets.contains(peer)) || (is_under_previous && rank > 0) {
                continue;
            }
            let Some(id) = self.layer_of(&layer) else { continue };
            let Some(item) = self.air_delta(&id, base) else { continue };
            let Some(needed) = item.room().filter(|needed| *needed <= room) else { continue };
            room -= needed;
            before.push(item);
            if filled.insert(layer)
                && let Some(radio) = self.radios.by_link.get_mut(&link)
            {
                let turn =
                    Transmission::Supply { owner: *owner, layer, base: Some(base), targets: for_whom, rank };
                radio.cell.done(now, &turn);
            }
        }
        before.push(envelope);
        join_update(&before).unwrap_or_default()
    }

    /// Now, by every clock there is.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            boot: self.radios.boot,
            monotonic_ms: self.now.mono_ms,
            trusted_wall_ms: self.reference.own_is_set(self.now).then_some(self.now.wall_ms),
        }
    }
}

/// The account of a layer.
pub(super) fn account(layer: &LayerHash) -> Account {
    // Above the numbers for what belongs to no layer, below the one for all others.
    Account(u64::from_be_bytes(layer.0) >> 1 | 1 << 62)
}

impl Radio {
    /// What the router may know of this radio.
    pub(super) fn caps(&mut self, now: u64) -> tombolo_transports::LinkCaps {
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
            airtime_left_ms: self.station.ledger().airtime_left_ms(now),
        }
    }
}
