//! The walk in on air: frame -> station -> message -> the same gates as on any link.

use tombolo_mesh::frame::{Header, Kind as FrameKind};
use tombolo_mesh::station::Received;
use tombolo_transports::LinkId;

use crate::envelope::{decode_air, decode_update};
use crate::federation::Refusal;
use crate::layer::SignedHead;
use crate::node::Node;
use crate::node::io::Event;
use crate::node::radio::{Hearing, kinds};
use crate::sync::broadcast::Input;
use crate::sync::broadcast::message::{FrontierMessage, Heartbeat};
use crate::sync::frontier::State;

/// An author whose deltas start so far back, and have become so long, is told what we hold before our next heartbeat:
/// at ten bytes a commit that pays for a handful of listeners.
const FAR_COMMITS: u64 = 6;
/// As [`FAR_COMMITS`]: the whole message.
const FAR_BYTES: usize = 140;

impl Node {
    /// A radio heard a frame, from whomever.
    pub(in crate::node) fn frame_heard(&mut self, link: LinkId, bytes: &[u8]) {
        let now = self.now.mono_ms;
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return };
        radio.back_off(now, &mut self.random);
        let reception = radio.station.receive(now, bytes);
        radio.counts.received(bytes.len(), reception.from);
        let mut heard: Vec<Received> = reception.outcome.into_iter().collect();
        if heard.contains(&Received::Foreign) {
            radio.heard_stranger(now, self.random.below(u64::MAX));
        }
        while let Some(later) = radio.station.poll_received() {
            heard.extend(later.outcome);
        }
        let is_read =
            heard.iter().any(|heard| matches!(heard, Received::Message { .. } | Received::Duplicate));
        if !is_read
            && let Some((header, _)) = Header::decode(bytes)
            && header.kind == kinds::FRONTIER
        {
            // By a member whom we do not know.
            self.tell_cell(link, Input::Asking { alias: header.alias.0 });
        }
        for heard in heard {
            self.heard_on_air(link, heard);
        }
    }

    fn heard_on_air(&mut self, link: LinkId, heard: Received) {
        match heard {
            Received::Message { channel, from, kind, bytes, under_previous_key } => {
                if channel == self.me && !under_previous_key {
                    self.has_new_key(from);
                }
                if !self.federation.is_member(&from) {
                    return self.counters.reject("frame_of_no_peer");
                }
                self.heard(&from);
                self.counters.received(bytes.len());
                if self.radios.pairs.is_pair(&channel) {
                    return self.talk_heard(link, from, &bytes);
                }
                if channel == from
                    && let Some(radio) = self.radios.by_link.get_mut(&link)
                {
                    radio.talks.heard(self.now.mono_ms, from);
                }
                let hearing = Hearing { link, channel, from };
                self.hearing = Some(hearing);
                self.message_on_air(&hearing, kind, &bytes);
                self.hearing = None;
            }
            Received::Join(frame) => self.join_frame_heard(link, &frame),
            Received::OwnEpoch { .. } => {
                let message = "a radio heard this node's own key from elsewhere: a restored backup, or a second machine \
                               with this key"
                    .to_owned();
                self.event(Event::Alarm { message });
            }
            _ => {}
        }
    }

    fn message_on_air(&mut self, hearing: &Hearing, kind: FrameKind, bytes: &[u8]) {
        let Hearing { link, channel, from } = *hearing;
        self.tell_cell(link, Input::Present { peer: from });
        if kind == kinds::UPDATE {
            match decode_update(bytes) {
                Ok(envelopes) => {
                    envelopes.iter().for_each(|envelope| self.inbound_compact(from, envelope));
                    let is_far = |distance| distance >= FAR_COMMITS && bytes.len() >= FAR_BYTES;
                    if envelopes.iter().any(|envelope| is_far(envelope.base.distance)) {
                        self.tell_cell(link, Input::FarBase { owner: channel });
                    }
                }
                Err(_) => self.counters.reject("bad_message"),
            }
        } else if kind == kinds::WHOLE {
            match decode_air(channel, bytes) {
                Ok(envelope) => {
                    let signed = envelope.signed.clone();
                    self.inbound_whole(from, envelope);
                    self.overheard_on_air(&signed);
                }
                Err(_) => self.counters.reject("bad_message"),
            }
        } else if kind == kinds::HEARTBEAT && channel == from {
            match Heartbeat::decode(bytes) {
                Ok(heartbeat) => {
                    self.compare_keys(link, from, &heartbeat);
                    self.keys_named(from, &heartbeat);
                    self.tell_cell(link, Input::Heartbeat { from, heartbeat });
                }
                Err(_) => self.counters.reject("bad_message"),
            }
        } else if kind == kinds::FRONTIER {
            match FrontierMessage::decode(bytes) {
                Ok(frontier) => self.tell_cell(link, Input::Frontier { owner: channel, from, frontier }),
                Err(_) => self.counters.reject("bad_message"),
            }
        } else if kind == kinds::PROVISIONAL {
            self.provisional_heard(hearing, bytes);
        } else {
            self.counters.reject("bad_message");
        }
    }

    pub(in crate::node) fn tell_cell(&mut self, link: LinkId, input: Input) {
        let now = self.now.mono_ms;
        if let Some(radio) = self.radios.by_link.get_mut(&link) {
            radio.retry_at = None;
            radio.cell.handle_input(now, input);
        }
    }

    /// A delta came by radio whose base we do not hold: others may hear what we do hold.
    pub(in crate::node) fn base_missing_on_air(&mut self, hearing: &Hearing) {
        self.tell_cell(hearing.link, Input::BaseMissing { owner: hearing.channel });
    }

    /// What came by radio is not taken. What will not be taken later either counts as held, or it would be sent to
    /// us for ever; nothing more is said of it: a frame costs more than it would save.
    pub(in crate::node) fn refuse_on_air(
        &mut self,
        hearing: &Hearing,
        signed: &SignedHead,
        refusal: Refusal,
    ) {
        if refusal == Refusal::AudienceBehind {
            return self.base_missing_on_air(hearing);
        }
        // Whoever only observes says so in its frontier.
        if refusal == Refusal::ObservedOnly {
            return;
        }
        let (owner, layer) = (signed.head.layer.document.owner, signed.head.layer.hash());
        self.tell_cell(hearing.link, Input::Declined { owner, layer, state: State::of(signed) });
    }

    /// What is not taken from a cable is not asked for on air.
    pub(in crate::node) fn decline_on_air(&mut self, signed: &SignedHead) {
        let (owner, layer) = (signed.head.layer.document.owner, signed.head.layer.hash());
        let links: Vec<LinkId> = self.radios.by_link.keys().copied().collect();
        for link in links {
            self.tell_cell(link, Input::Declined { owner, layer, state: State::of(signed) });
        }
    }

    /// Somebody sent a state on air: all who listen have heard it, and he has it.
    pub(in crate::node) fn overheard_on_air(&mut self, signed: &SignedHead) {
        let Some(Hearing { link, from, .. }) = self.hearing else { return };
        let id = &signed.head.layer;
        let known = self.holdings.layer(id).is_some_and(|held| held.signed == *signed);
        if known {
            let (layer, state) = (id.hash(), State::of(signed));
            self.tell_cell(link, Input::Overheard { owner: id.document.owner, from, layer, state });
        }
    }
}
