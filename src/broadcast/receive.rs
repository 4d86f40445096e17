//! The walk in by radio, up to the gate: a frame -> station -> messages, which the node takes further; and what the node
//! reports back about them, for the engine of that radio.
//!
//! Of messages it decodes heartbeats and frontiers. The layers in others go through the replica's gate, by `node`.

use std::collections::BTreeSet;

use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::frame::{Header, Kind as FrameKind};
use tombolo_mesh::station;
use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::{Broadcast, NodeParts, RadioLink, kinds};
use crate::core::Core;
use crate::federation::Refusal;
use crate::io::{Alarm, Event};
use crate::layer::{LayerHash, LayerId, Sequence, SignedHead};
use crate::limits::{OWN_STATE_WAIT, OWN_STATE_WAIT_ON_AIR_MAX};
use crate::replica::{Origin, Replica};
use crate::sync::broadcast::Input;
use crate::sync::broadcast::message::{FrontierMessage, Heartbeat};
use crate::sync::frontier::State;
use crate::time::{Millis, Mono};
use crate::unicast::Unicast;

/// A message that a radio received.
#[derive(Debug)]
pub struct RadioMessage {
    /// The radio that received it.
    pub link: LinkId,
    /// The owner whose key sealed it, or the name of a pairwise channel.
    pub channel: PeerId,
    /// The sender that the station proved.
    pub from: PeerId,
    /// The kind in the frame's header.
    pub kind: FrameKind,
    /// The content as the sender wrote it; hostile.
    pub bytes: Vec<u8>,
    /// Whether it was sealed under the key before the last renewal.
    pub under_previous_key: bool,
}

/// What a frame brought.
#[derive(Debug)]
pub enum Arrival {
    /// A message that was opened.
    Message(RadioMessage),
    /// A frame of the join handshake.
    Join(Vec<u8>),
}

impl Broadcast {
    /// Takes a frame from the air. Returns what it brought.
    pub fn receive(&mut self, core: &mut Core, link: LinkId, bytes: &[u8]) -> Vec<Arrival> {
        let now = core.now();
        let Some(radio) = self.radios.get_mut(&link) else { return Vec::new() };
        radio.back_off(now, &mut core.random);
        let reception = radio.station.receive(now, bytes);
        radio.counts.received(bytes.len(), reception.from);
        let mut outcomes: Vec<station::Received> = reception.outcome.into_iter().collect();
        if outcomes.contains(&station::Received::Foreign) {
            radio.received_foreign(now, core.random.below(u64::MAX));
        }
        while let Some(later) = radio.station.poll_received() {
            outcomes.extend(later.outcome);
        }
        let opens = |outcome: &station::Received| {
            matches!(outcome, station::Received::Message { .. } | station::Received::Duplicate)
        };
        let is_read = outcomes.iter().any(opens);
        if !is_read
            && let Some((header, _)) = Header::decode(bytes)
            && header.kind == kinds::FRONTIER
        {
            // By a member that is no peer of this node.
            radio.input(core, Input::Asking { alias: header.alias.0 });
        }
        outcomes.into_iter().filter_map(|outcome| arrival(core, link, outcome)).collect()
    }

    /// A heartbeat in its sender's own channel. Returns within which time the next one follows; none if it does not decode.
    pub fn heartbeat_received(
        &mut self,
        parts: NodeParts<'_>,
        link: LinkId,
        from: PeerId,
        bytes: &[u8],
    ) -> Option<Millis> {
        let heartbeat = Heartbeat::decode(bytes).ok()?;
        let next_by = Millis::from_secs(heartbeat.next_by_s.into());
        self.compare_keys(parts, link, from, &heartbeat);
        self.keys_named(link, from, &heartbeat);
        self.input(parts.core, link, Input::Heartbeat { from, heartbeat });
        self.drop_needless_parts(parts.core.now(), link, from);
        Some(next_by)
    }

    /// A frontier. Returns whether it decodes.
    pub fn frontier_received(
        &mut self,
        core: &Core,
        link: LinkId,
        channel: PeerId,
        from: PeerId,
        bytes: &[u8],
    ) -> bool {
        let Ok(frontier) = FrontierMessage::decode(bytes) else { return false };
        self.input(core, link, Input::Frontier { owner: channel, from, frontier });
        self.drop_needless_parts(core.now(), link, from);
        true
    }

    /// What a peer has just reported is held here: the rest of a long message of it, of which a relay or another link has brought the
    /// content, is not asked for.
    fn drop_needless_parts(&mut self, now: Mono, link: LinkId, from: PeerId) {
        let Some(RadioLink { station, engine, .. }) = self.radios.get_mut(&link) else { return };
        let begun = station.assembler().open().map(|open| open.source);
        let begun: BTreeSet<PeerId> =
            begun.filter(|source| source.sender == from).map(|source| source.channel).collect();
        for channel in begun.into_iter().filter(|channel| engine.brings_nothing(now, channel, &from)) {
            station.holds_all_of(now, channel, from);
        }
    }

    /// A layer that arrived was refused: its sender's engine, or that of each radio, does not wait for it.
    pub fn refused(&mut self, core: &Core, origin: &Origin, signed: &SignedHead, refusal: Refusal) {
        match (*origin, refusal) {
            (Origin::Radio { link, channel, .. }, Refusal::AudienceBehind | Refusal::NoSuchDocument) => {
                self.base_missing(core, link, channel);
            }
            // An observer's frontier shows that it is one.
            (Origin::Radio { .. }, Refusal::ObservedOnly) => {}
            (Origin::Radio { link, .. }, _) => self.declined(core, link, signed),
            (
                Origin::Link { .. },
                Refusal::OwnerNotTrusted | Refusal::NotAWriter | Refusal::Ended | Refusal::Forgotten,
            ) => {
                self.declined_everywhere(core, signed);
            }
            (Origin::Link { .. }, _) => {}
        }
    }

    /// When this node's radio sent the newest state that a listener has reported since: it has received what was sent then.
    pub fn acknowledged_at(&self, link: LinkId, peer: &PeerId) -> Option<Mono> {
        self.radios.get(&link)?.engine.acknowledged_at(peer)
    }

    /// Gives one radio's engine an input.
    pub fn input(&mut self, core: &Core, link: LinkId, input: Input) {
        if let Some(radio) = self.radios.get_mut(&link) {
            radio.input(core, input);
        }
    }

    /// A peer sent a frame in its own audience: this node has that key.
    pub fn sender_present(&mut self, core: &Core, link: LinkId, channel: PeerId, from: PeerId) {
        if channel == from
            && let Some(radio) = self.radios.get_mut(&link)
        {
            radio.exchange.received(core.now(), from);
        }
    }

    /// A radio has received a peer: the router may send to it there, as long as the peer counts as present.
    pub fn note_present(&self, unicast: &mut Unicast, link: LinkId, peer: PeerId) {
        if let Some(presence) = self.radios.get(&link).and_then(|radio| radio.presence(&peer)) {
            unicast.router_mut().table.present(peer, link, presence.until);
        }
    }

    /// A reader used the own present key on this radio: it has it. In clear it uses none.
    pub fn reader_has_key(&mut self, replica: &Replica, link: LinkId, reader: PeerId) {
        if self.radios.get(&link).is_none_or(|radio| radio.spec.mode != Mode::Encrypted) {
            return;
        }
        // A removed peer sends under a key that is no longer opened.
        self.is_stale |= self.shared.keys.reader_has_key(replica, reader);
    }

    /// Whether a channel is a pairwise one.
    pub fn is_pairwise(&self, channel: &PeerId) -> bool {
        self.shared.pairs.is_pair(channel)
    }

    /// A heartbeat names the audiences that its sender relays, by the keys that it has; in clear it names none.
    pub fn keys_named(&mut self, link: LinkId, from: PeerId, heartbeat: &Heartbeat) {
        if self.radios.get(&link).is_some_and(|radio| radio.spec.mode == Mode::Encrypted) {
            self.shared.keys.keys_named(from, heartbeat);
        }
    }

    /// A delta arrived by radio whose base is not held here: the next frontier shows what is.
    pub fn base_missing(&mut self, core: &Core, link: LinkId, owner: PeerId) {
        self.input(core, link, Input::BaseMissing { owner });
    }

    /// A state that is held was received by radio: its sender has it, and so have all listeners.
    pub fn state_received(
        &mut self,
        core: &Core,
        replica: &mut Replica,
        link: LinkId,
        from: PeerId,
        signed: &SignedHead,
    ) {
        let id = &signed.head.layer;
        if replica.layer(id).is_some_and(|held| held.signed == *signed) {
            let (layer, state) = (id.hash(), State::of(signed));
            if let Some(radio) = self.radios.get_mut(&link) {
                radio.note_heard(core, replica, id);
            }
            // All who listen may report it as their base, to this node as well.
            replica.pin_base(id, state.sequence);
            self.input(core, link, Input::Overheard { owner: id.document.owner, from, layer, state });
        }
    }

    /// A state arrived by radio that is older than the one held, which came by another link meanwhile.
    pub fn older_received(&mut self, core: &Core, link: LinkId, id: &LayerId, sequence: Sequence) {
        if let Some(radio) = self.radios.get_mut(&link) {
            radio.note_older_heard(core, id, sequence);
        }
    }

    /// A state that came by radio was refused: it counts as held, or it would be sent again as long as the reason lasts.
    /// The sender gets no answer, since a frame costs more than that would save.
    pub fn declined(&mut self, core: &Core, link: LinkId, signed: &SignedHead) {
        let (owner, layer) = (signed.head.layer.document.owner, signed.head.layer.hash());
        self.input(core, link, Input::Declined { owner, layer, state: State::of(signed) });
    }

    /// A state that came over a link was refused: no radio asks for it.
    pub fn declined_everywhere(&mut self, core: &Core, signed: &SignedHead) {
        let links: Vec<LinkId> = self.radios.keys().copied().collect();
        for link in links {
            self.declined(core, link, signed);
        }
    }

    /// How long a write waits for a newer own state that a listener shows; `None` if none does. A frontier by radio has few
    /// bits of a sequence: only a higher one counts.
    pub fn newer_own_wait(&self, owner: &PeerId, layer: &LayerHash, held: Option<State>) -> Option<Millis> {
        let held = held.map_or(Sequence::NONE, |held| held.sequence);
        let up = self.radios.values().filter(|radio| radio.device.up);
        let shows = up.filter(|radio| radio.engine.shown(owner, layer).iter().any(|s| s.sequence > held));
        shows
            .map(|radio| (radio.engine.timing().frame * 64).clamp(OWN_STATE_WAIT, OWN_STATE_WAIT_ON_AIR_MAX))
            .max()
    }
}

/// What the node has to see of a frame's outcome; the rest is the station's own.
fn arrival(core: &mut Core, link: LinkId, outcome: station::Received) -> Option<Arrival> {
    match outcome {
        station::Received::Message { channel, from, kind, bytes, under_previous_key } => {
            Some(Arrival::Message(RadioMessage { link, channel, from, kind, bytes, under_previous_key }))
        }
        station::Received::Join(frame) => Some(Arrival::Join(frame)),
        station::Received::OwnEpoch { .. } => {
            core.event(Event::Alarm(Alarm::OwnKeyHeard));
            None
        }
        station::Received::Epoch { .. }
        | station::Received::Part
        | station::Received::Nack
        | station::Received::Question
        | station::Received::CallSign(_)
        | station::Received::Duplicate
        | station::Received::Echo
        | station::Received::Foreign
        | station::Received::Held => None,
    }
}
