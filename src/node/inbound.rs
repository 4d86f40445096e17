//! The walk in: link -> decode -> apply -> check root, signature, rights -> store -> merge -> notify.

use tombolo_delta::{Context, Value};
use tombolo_transports::{LinkCaps, LinkId, PeerId};

use crate::envelope::{Base, Carried, CompactEnvelope, Envelope, Payload};
use crate::federation::Refusal;
use crate::federation::peer::Joined;
use crate::layer::{Content, ForkEvidence, KeyPath, Kind, Layer, LayerId, Sequence, SignedHead};
use crate::limits::{
    BASE_CANDIDATES_MAX, BASE_CANDIDATES_ON_AIR_MAX, DOCUMENTS_PER_OWNER_MAX, FORKS_KEPT_PER_AUTHOR_MAX,
    OWNER_BYTES_MAX, WHOLE_LAYER_BYTES_MAX,
};
use crate::merge::map_of;
use crate::node::holdings::Before;
use crate::node::io::{Event, Output};
use crate::node::{Link, Node, view};
use crate::router::Class;
use crate::store::{KeptState, MapBase, Write};
use crate::sync;
use crate::sync::frontier::State;
use crate::sync::message::{Message, PeerClock};
use crate::sync::transfer::{answer_parts, answer_tree};

/// A state of a layer that a compact envelope may start from.
enum StartsFrom {
    /// The one that we hold.
    Present,
    /// An older one of a snapshot.
    Kept(KeptState, Value),
    /// An older one of a map.
    Base(MapBase),
}

/// What became of a compact envelope on one base.
enum Attempt {
    /// It fits: the signature holds over what it makes of the base.
    Fits(Box<Layer>, Option<Vec<KeyPath>>),
    /// The base is the right one by its print, and the result is not what was signed.
    Wrong,
    /// If it is of this layer, it is a repetition of something that we have left behind.
    Old,
    /// Taken or refused: nothing is left to do.
    Done,
}

impl Node {
    pub(super) fn link_up(&mut self, link: LinkId, peer: PeerId, caps: LinkCaps) {
        if !self.federation.is_member(&peer) {
            self.counters.reject("link_of_no_peer");
            self.output(Output::Close { link });
            return;
        }
        let first = !self.connected_peers().contains(&peer);
        let medium = caps.medium.to_string();
        self.links.insert(link, Link { peer, caps });
        self.heard(&peer);
        self.inviter_let_us_in(&peer);
        self.event(Event::Link(view::LinkEventView { peer: crate::identity::did(&peer), medium, up: true }));
        if first {
            self.sign_what_is_held_back();
            let ours = self.frontier_for(&peer);
            self.engine.handle_input(self.now.mono_ms, sync::Input::PeerUp { peer, ours });
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        let Some(Link { peer, caps }) = self.links.remove(&link) else { return };
        let medium = caps.medium.to_string();
        self.event(Event::Link(view::LinkEventView { peer: crate::identity::did(&peer), medium, up: false }));
        if !self.connected_peers().contains(&peer) {
            self.uptimes.remove(&peer);
            self.engine.handle_input(self.now.mono_ms, sync::Input::PeerDown { peer });
            self.transfers.peer_down(&peer);
            self.recovery.peer_down(&peer);
        }
    }

    /// An inviter that lets us in has agreed, even if its answer was lost.
    fn inviter_let_us_in(&mut self, peer: &PeerId) {
        let waiting = self.federation.peer(peer).is_some_and(|p| matches!(p.joined, Joined::Waiting { .. }));
        if waiting {
            self.both_agreed(peer, None);
        }
    }

    /// A repetition of an old word tells the wrong time: only a newer one of the same boot counts, for as long
    /// as the peer stays connected.
    fn hear_clock(&mut self, peer: PeerId, clock: PeerClock) {
        let PeerClock { wall_ms, uptime_ms, boot } = clock;
        self.hear_boot(peer, boot, uptime_ms);
        let is_news =
            self.uptimes.get(&peer).is_none_or(|(known, newest)| *known == boot && uptime_ms > *newest);
        if is_news {
            self.uptimes.insert(peer, (boot, uptime_ms));
            self.reference.hear(peer, wall_ms, self.now);
        }
    }

    pub(super) fn heard(&mut self, peer: &PeerId) {
        let wall = self.reference_ms();
        if let Some(record) = self.federation.peer_mut(peer) {
            record.heard_at_ms = Some(wall);
        }
    }

    pub(super) fn received(&mut self, link: LinkId, bytes: &[u8]) {
        let Some((peer, medium)) = self.links.get(&link).map(|link| (link.peer, link.caps.medium)) else {
            return;
        };
        self.counters.received_on(peer, medium, bytes.len());
        self.heard(&peer);
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%peer, %error, "a message was not understood");
                return self.counters.reject("bad_message");
            }
        };
        match message {
            Message::Compact(envelope) => self.inbound_compact(peer, &envelope),
            Message::Whole(envelope) => self.inbound_whole(peer, *envelope),
            Message::TreeAsk(id, nodes) => {
                self.answer_transfer(peer, &id, |map| answer_tree(id, map, &nodes))
            }
            Message::PartsAsk(id, buckets) => {
                self.answer_transfer(peer, &id, |map| answer_parts(id, map, &buckets))
            }
            Message::Tree(id, nodes) => {
                let own = self.holdings.layer_of_hash(&id.layer).and_then(map_of);
                let taken = self.transfers.take_nodes(&id, nodes, own, self.now.mono_ms);
                self.transfer_moved(peer, &id, taken);
            }
            Message::Parts(id, parts) => {
                let taken = self.transfers.take_parts(&id, parts, self.now.mono_ms);
                self.transfer_moved(peer, &id, taken);
            }
            Message::Heartbeat { clock, .. } => {
                if let Some(clock) = clock {
                    self.hear_clock(peer, clock);
                }
                self.engine.handle_input(self.now.mono_ms, sync::Input::Received { peer, message });
            }
            Message::Ask(_) | Message::Frontier { .. } | Message::Want(_) | Message::Refused(_) => {
                self.engine.handle_input(self.now.mono_ms, sync::Input::Received { peer, message });
            }
        }
    }

    // ---- compact envelopes -------------------------------------------------------------------------------

    pub(super) fn inbound_compact<D: Carried>(&mut self, peer: PeerId, envelope: &CompactEnvelope<D>) {
        if self.is_in_trouble() {
            return self.counters.reject("disk_refuses");
        }
        let tries_max = match self.hearing {
            Some(_) => BASE_CANDIDATES_ON_AIR_MAX,
            None => BASE_CANDIDATES_MAX,
        };
        let (mut wrong, mut old) = (0, false);
        for (layer, base) in self.base_candidates(&peer, envelope) {
            if wrong >= tries_max {
                break;
            }
            match self.attempt(peer, envelope, &layer, &base) {
                Attempt::Fits(layer, changed) => {
                    self.overheard_on_air(&layer.signed);
                    return self.accept(peer, *layer, changed);
                }
                Attempt::Done => return,
                Attempt::Wrong => wrong += 1,
                Attempt::Old => old = true,
            }
        }
        if old {
            return;
        }
        // A short print may fit a base by chance, so this proves nothing against the sender yet.
        self.counters.reject(if wrong > 0 {
            "delta_does_not_make_the_signed_root"
        } else {
            "delta_without_base"
        });
        match self.hearing {
            Some(hearing) => self.base_missing_on_air(&hearing),
            None => self.engine.handle_input(self.now.mono_ms, sync::Input::BaseMissing { peer }),
        }
    }

    /// The states that the envelope may start from: present ones first, then older ones; of each, those of its
    /// sender's own layers first. What comes by radio speaks of one owner's documents.
    fn base_candidates<D>(&self, peer: &PeerId, envelope: &CompactEnvelope<D>) -> Vec<(LayerId, StartsFrom)> {
        let mut present = Vec::new();
        let mut older = Vec::new();
        for layer in self.holdings.layers_at(envelope.address) {
            let head = layer.head();
            if self.hearing.is_some_and(|hearing| hearing.channel != head.layer.document.owner) {
                continue;
            }
            if envelope.base.fits(&head.root.0) {
                present.push((head.layer.clone(), StartsFrom::Present));
            }
            let kept = self.holdings.kept_states(&head.layer, |print| envelope.base.fits(print)).into_iter();
            older.extend(kept.map(|(state, value)| (head.layer.clone(), StartsFrom::Kept(state, value))));
            let bases = self.holdings.map_bases(&head.layer, |print| envelope.base.fits(print));
            older.extend(bases.map(|base| (head.layer.clone(), StartsFrom::Base(base))));
        }
        for candidates in [&mut present, &mut older] {
            candidates.sort_by_key(|(layer, _)| layer.author != *peer);
        }
        present.extend(older);
        present
    }

    fn attempt<D: Carried>(
        &mut self,
        peer: PeerId,
        envelope: &CompactEnvelope<D>,
        id: &LayerId,
        starts: &StartsFrom,
    ) -> Attempt {
        let Some(layer) = self.holdings.layer(id) else { return Attempt::Wrong };
        let present = layer.head().sequence;
        let base = match starts {
            StartsFrom::Present => Base {
                layer: id,
                sequence: present,
                time_ms: layer.head().time_ms,
                audience_sequence: layer.head().audience_sequence,
            },
            StartsFrom::Kept(state, _) => Base {
                layer: id,
                sequence: state.sequence,
                time_ms: state.time_ms,
                audience_sequence: state.audience_sequence,
            },
            StartsFrom::Base(base) => Base {
                layer: id,
                sequence: base.sequence,
                time_ms: base.time_ms,
                audience_sequence: base.audience_sequence,
            },
        };
        let (Some(sequence), Some(time_ms)) = (envelope.sequence_on(&base), envelope.time_on(&base)) else {
            return Attempt::Wrong;
        };
        // A print of one byte may fit by chance: there the signature decides this too.
        if sequence < present && !envelope.base.is_short {
            return Attempt::Old;
        }
        if sequence == present && envelope.signature == layer.signed.signature {
            let known = layer.signed.clone();
            self.overheard_on_air(&known);
            return Attempt::Done;
        }
        if sequence == present && matches!(starts, StartsFrom::Base(_)) {
            return Attempt::Wrong;
        }
        match (&layer.content, starts) {
            (Content::Snapshot(value), StartsFrom::Present)
            | (Content::Snapshot(_), StartsFrom::Kept(_, value)) => {
                let attempt = Self::attempt_snapshot(envelope, &base, value, sequence, time_ms);
                if matches!(attempt, Attempt::Fits(..)) && self.hearing.is_some() {
                    // Whoever broadcasts keeps to one base for a while.
                    self.holdings.keep_as_base(id, base.sequence);
                }
                attempt
            }
            (Content::Snapshot(_), StartsFrom::Base(_)) => Attempt::Wrong,
            (Content::Map(_), _) => {
                let (sequence, audience_sequence) = (base.sequence, base.audience_sequence);
                let base = (sequence, base.time_ms, audience_sequence);
                self.attempt_map(peer, envelope, id, base, time_ms)
            }
        }
    }

    fn attempt_snapshot<D: Carried>(
        envelope: &CompactEnvelope<D>,
        base: &Base<'_>,
        value: &Value,
        sequence: Sequence,
        time_ms: u64,
    ) -> Attempt {
        let context = Context {
            base_sequence: base.sequence.get(),
            sequence: sequence.get(),
            base_time_ms: base.time_ms,
            time_ms,
        };
        let target = envelope.delta.target(value, &context);
        let Some(content) = target.and_then(|target| Content::snapshot(target).ok()) else {
            return Attempt::Wrong;
        };
        match Self::signed_on(envelope, base, &content) {
            Some(signed) => Attempt::Fits(Box::new(Layer { signed, content }), None),
            None => Attempt::Wrong,
        }
    }

    /// Changes our copy of a map in place: large maps are never copied for a small change. It is changed back
    /// if the signature does not hold or the new state is not taken. Where the base is older than what we hold,
    /// the changes since then include all between the two.
    fn attempt_map<D: Carried>(
        &mut self,
        peer: PeerId,
        envelope: &CompactEnvelope<D>,
        id: &LayerId,
        (base_sequence, base_time_ms, base_audience): (Sequence, u64, Sequence),
        time_ms: u64,
    ) -> Attempt {
        let Ok(changes) = envelope.delta.changes(time_ms) else { return Attempt::Wrong };
        let Some(Layer { signed, content }) = self.holdings.take_layer(id) else { return Attempt::Wrong };
        let Content::Map(mut map) = content else { return Attempt::Wrong };
        let keys: Vec<KeyPath> = changes.iter().map(|(key, _)| key.clone()).collect();
        let undo: Vec<_> = keys.iter().map(|key| (key.clone(), map.get(key).cloned())).collect();
        let base = Base {
            layer: id,
            sequence: base_sequence,
            time_ms: base_time_ms,
            audience_sequence: base_audience,
        };
        let changed = map.change(changes).is_ok();
        let content = Content::Map(map);
        let claimed = changed.then(|| Self::signed_on(envelope, &base, &content)).flatten();
        let outcome = match claimed {
            None => Err(Attempt::Wrong),
            // Our own newer state: `accept` compares it with what we hold.
            Some(new) if id.author == self.me => Err(Attempt::Fits(
                Box::new(Layer { signed: new, content: content.clone() }),
                Some(keys.clone()),
            )),
            Some(new) => match self.admits(&new).and_then(|()| self.within_quota(&new, content.bytes())) {
                Ok(()) => Ok(new),
                Err(refusal) => {
                    self.refuse(peer, &new, refusal);
                    Err(Attempt::Done)
                }
            },
        };
        match outcome {
            Ok(new) => {
                self.transfers.end(&id.hash());
                let before = Before { signed, content: None };
                self.keep(Layer { signed: new, content }, Some(before), Some(keys), Some(peer));
                Attempt::Done
            }
            Err(attempt) => {
                let mut content = content;
                if let (true, Content::Map(map)) = (changed, &mut content) {
                    let undone = map.change(undo);
                    debug_assert!(undone.is_ok(), "what stood there before fits again");
                }
                self.holdings.put_back(Layer { signed, content });
                attempt
            }
        }
    }

    fn signed_on<D>(envelope: &CompactEnvelope<D>, base: &Base<'_>, content: &Content) -> Option<SignedHead> {
        let head = envelope.head_on(base, content.kind(), content.root())?;
        let signed = SignedHead { head, signature: envelope.signature };
        signed.verify().then_some(signed)
    }

    // ---- whole envelopes and large layers ----------------------------------------------------------------

    pub(super) fn inbound_whole(&mut self, peer: PeerId, envelope: Envelope) {
        if self.is_in_trouble() {
            return self.counters.reject("disk_refuses");
        }
        if self.is_known(&envelope.signed) && !self.is_reclaimed(&peer, &envelope.signed) {
            return;
        }
        if matches!(envelope.payload, Payload::Offer) {
            return self.inbound_offer(peer, envelope.signed);
        }
        match envelope.open() {
            Ok(layer) => self.accept(peer, layer, None),
            Err(error) => {
                tracing::debug!(%peer, %error, "an envelope was not opened");
                self.counters.reject("bad_signature");
            }
        }
    }

    fn inbound_offer(&mut self, peer: PeerId, signed: SignedHead) {
        if !signed.verify() || signed.head.kind != Kind::Map {
            return self.counters.reject("bad_signature");
        }
        // An offered layer has at least as much as does not go whole.
        let admitted = self.admits(&signed).and_then(|()| self.within_quota(&signed, WHOLE_LAYER_BYTES_MAX));
        if let Err(refusal) = admitted {
            return self.refuse(peer, &signed, refusal);
        }
        self.reclaim_moves(peer, signed.head.layer.hash());
        self.transfers.begin(signed, peer, self.now.mono_ms);
    }

    fn answer_transfer(
        &mut self,
        peer: PeerId,
        id: &sync::message::TransferId,
        answer: impl FnOnce(&crate::layer::MapContent) -> Message,
    ) {
        let Some(layer) = self.holdings.layer_of_hash(&id.layer) else { return };
        let head = layer.head();
        let may = self.federation.may_receive(&peer, &head.layer, head.audience_sequence);
        if !may || head.root != id.root {
            // Overtaken by a newer state: the next heartbeat says so.
            return;
        }
        if let Some(message) = map_of(layer).map(answer) {
            self.send(peer, Class::Bulk, &message);
        }
    }

    fn transfer_moved(
        &mut self,
        peer: PeerId,
        id: &sync::message::TransferId,
        taken: Result<(), sync::transfer::TransferError>,
    ) {
        if let Err(error) = taken {
            tracing::debug!(%peer, %error, "parts were not taken");
            return self.counters.reject("bad_part");
        }
        self.reclaim_moves(peer, id.layer);
        let own = self.holdings.layer_of_hash(&id.layer).and_then(map_of);
        match self.transfers.finish(id, own) {
            None => {}
            Some(Ok(layer)) if !self.is_known(&layer.signed) || self.is_reclaimed(&peer, &layer.signed) => {
                self.accept(peer, layer, None)
            }
            Some(Ok(_)) => {}
            Some(Err(_)) => self.counters.reject("bad_part"),
        }
    }

    // ---- taking a verified layer -------------------------------------------------------------------------

    /// Whether we hold this state or one that supersedes it.
    fn is_known(&self, signed: &SignedHead) -> bool {
        let held = self.holdings.layer(&signed.head.layer);
        held.is_some_and(|held| !signed.supersedes(&held.signed) && !is_fork(signed, &held.signed))
    }

    /// Takes a layer whose signature and root hold: rights, forks, quotas, then memory and disk.
    fn accept(&mut self, peer: PeerId, layer: Layer, changed: Option<Vec<KeyPath>>) {
        let id = layer.head().layer.clone();
        if let Err(refusal) = self.admits(&layer.signed) {
            return self.refuse(peer, &layer.signed, refusal);
        }
        let held = self.holdings.layer(&id).map(|held| held.signed.clone());
        if let Some(evidence) = held.as_ref().and_then(|held| ForkEvidence::of(held, &layer.signed)) {
            self.note_fork(evidence);
        }
        if held.is_some_and(|held| !layer.signed.supersedes(&held)) {
            if self.is_reclaimed(&peer, &layer.signed) {
                self.reclaim(peer, &layer);
            }
            return;
        }
        if self.holdings.document(&id.document).is_some_and(|d| d.kind() != layer.head().kind) {
            if id.author != id.document.owner {
                return self.counters.reject("kind_differs_from_the_owners");
            }
            for layer in self.holdings.drop_document(&id.document) {
                self.engine.handle_input(self.now.mono_ms, sync::Input::Dropped { layer });
            }
        }
        if id.author == self.me {
            return self.recover(layer);
        }
        if let Err(refusal) = self.within_quota(&layer.signed, layer.content.bytes()) {
            return self.refuse(peer, &layer.signed, refusal);
        }
        let before = self.holdings.layer(&id).map(Before::of);
        self.transfers.end(&id.hash());
        self.keep(layer, before, changed, Some(peer));
    }

    fn admits(&self, signed: &SignedHead) -> Result<(), Refusal> {
        let head = &signed.head;
        if head.layer.author == self.me {
            return Ok(());
        }
        self.federation.admits(&head.layer, head.audience_sequence)
    }

    fn refuse(&mut self, peer: PeerId, signed: &SignedHead, refusal: Refusal) {
        self.counters.reject(refusal.label());
        if let Some(hearing) = self.hearing {
            return self.refuse_on_air(&hearing, signed, refusal);
        }
        if refusal == Refusal::AudienceBehind {
            // The audience is on its way, from this peer or another.
            let (layer, state) = (signed.head.layer.hash(), State::of(signed));
            return self.engine.handle_input(self.now.mono_ms, sync::Input::TooEarly { peer, layer, state });
        }
        let (layer, sequence) = (signed.head.layer.hash(), signed.head.sequence);
        let lasting = refusal != Refusal::Quota;
        if lasting && refusal != Refusal::ObservedOnly {
            self.decline_on_air(signed);
        }
        let refuse = sync::Input::Refuse { peer, layer, sequence, reason: refusal.code(), lasting };
        self.engine.handle_input(self.now.mono_ms, refuse);
    }

    fn within_quota(&self, signed: &SignedHead, bytes: usize) -> Result<(), Refusal> {
        let id = &signed.head.layer;
        let of_owner = || self.holdings.documents().filter(|(other, _)| other.owner == id.document.owner);
        let is_new = self.holdings.document(&id.document).is_none();
        let too_many = is_new && of_owner().count() >= DOCUMENTS_PER_OWNER_MAX;
        let too_large = self.holdings.bytes_with(id, bytes) > OWNER_BYTES_MAX;
        if too_many || too_large { Err(Refusal::Quota) } else { Ok(()) }
    }

    fn note_fork(&mut self, evidence: ForkEvidence) {
        let author = evidence.lower.head.layer.author;
        self.counters.reject("fork");
        let known = self.forks.iter().filter(|fork| fork.lower.head.layer.author == author).count();
        if known >= FORKS_KEPT_PER_AUTHOR_MAX || self.forks.contains(&evidence) {
            return;
        }
        let message = format!(
            "{} signed two states of `{}` with one sequence: a copied disk or a restored backup",
            crate::identity::did(&author),
            evidence.lower.head.layer.document.name.as_str()
        );
        self.event(Event::Alarm { message });
        self.writes.push(Write::PutFork(Box::new(evidence.clone())));
        self.forks.push(evidence);
    }

    /// A peer's own name for itself, from its node state.
    pub(super) fn learn_state(&mut self, author: &PeerId) {
        let Some(state) = self.state_of(author) else { return };
        let name = state.state.node_name.filter(|name| !name.is_empty());
        let name = name.and_then(|name| crate::federation::join::usable_name(&name));
        let Some(peer) = self.federation.peer_mut(author) else { return };
        if name.is_some() && peer.own_name != name {
            peer.own_name = name;
            let record = peer.clone();
            self.writes.push(Write::PutPeer(record));
        }
    }

    fn is_in_trouble(&self) -> bool {
        self.trouble.as_ref().is_some_and(|t| self.now.mono_ms < t.until)
    }
}

fn is_fork(a: &SignedHead, b: &SignedHead) -> bool {
    ForkEvidence::of(a, b).is_some()
}
