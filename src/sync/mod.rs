//! The sync engine: knows what each neighbour has, finds out what differs, asks for it and supplies it.
//!
//! Sans-io: `handle_input(now, Input)`, then `poll_output()` until it is empty, then `poll_timeout()`. The engine holds
//! no document: it deals in layer hashes and states, and returns `Supply` where a layer's bytes are due; `node` fetches,
//! encodes and routes them.
//!
//! Anti-entropy: every heartbeat carries a fingerprint of the sender's frontier. The receiver compares it with what it
//! believes that sender to have. If they are equal, it sends nothing. If they differ, it sends an *ask*, the sender
//! answers with a *frontier*, and what is missing is known after one round trip. An author pushes its own news at once.
//! Relayed news are only announced, and a node that lacks them asks one neighbour for them (*want*). A lost message
//! shows in the next fingerprint.

pub mod broadcast;
mod catch_up;
mod convergence;
mod events;
pub mod frontier;
pub mod message;
mod peer;
mod refusal;
pub mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::limits::{
    FRONTIER_ANSWERS_PER_MINUTE_MAX, FRONTIER_ENTRIES_MAX, HEARTBEAT, NOTICE_DELAY, PEER_FRONTIER_MAX,
    REFUSAL_HOLD, REFUSALS_KEPT_MAX, WANT_DELAY,
};
use crate::random::Random;
use crate::time::{Millis, Mono};
use broadcast::{LagKind, LayerLag};
use catch_up::Want;
pub use convergence::ConvergenceTimes;
pub use events::{Input, Output};
use frontier::{BucketSize, Frontier, NamedBuckets, State};
use message::Message;
use peer::PeerSync;
use refusal::OwnRefusal;

/// A neighbour's frontier is asked for at most this often.
const ASK_PAUSE: Millis = Millis::from_ms(200);

/// What a connected peer and this node lack of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLag {
    /// Layers that it has newer than this node.
    pub we_lack: usize,
    /// Layers that this node has newer than it.
    pub they_lack: usize,
    /// Layers of this node that it has no room for.
    pub no_room_there: usize,
    /// Whether its last report agrees with what it is believed to have.
    pub confirmed: bool,
    /// Whether it has reported what it has at all: before that, the numbers mean nothing.
    pub known: bool,
}

/// The sync engine of one node: knows what each connected peer has, and evens out the differences.
#[derive(Debug)]
pub struct Engine {
    heartbeat: Millis,
    held: Frontier,
    peers: BTreeMap<PeerId, PeerSync>,
    wants: BTreeMap<LayerHash, Want>,
    /// What this node refuses.
    refusing: BTreeMap<LayerHash, OwnRefusal>,
    outputs: VecDeque<Output>,
    random: Random,
    converged: ConvergenceTimes,
}

impl Engine {
    /// An engine of a node that holds `held`. `heartbeat` is the time between two heartbeats on an idle link; none at all
    /// stands for the usual.
    pub fn new(held: Frontier, heartbeat: Millis, random: Random) -> Self {
        Engine {
            heartbeat: if heartbeat == Millis::ZERO { HEARTBEAT } else { heartbeat },
            held,
            peers: BTreeMap::new(),
            wants: BTreeMap::new(),
            refusing: BTreeMap::new(),
            outputs: VecDeque::new(),
            random,
            converged: ConvergenceTimes::default(),
        }
    }

    /// How long the differences lasted that have ended since the start.
    pub fn converged(&self) -> ConvergenceTimes {
        self.converged
    }

    /// Takes one input, whose effects are then to be drained.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::PeerUp { peer, ours } => {
                self.peers.insert(peer, PeerSync { ours, ..PeerSync::default() });
                self.heartbeat(now, peer);
            }
            Input::PeerDown { peer } => self.peer_down(now, peer),
            Input::LinkLost { peer } => self.link_lost(now, peer),
            Input::Acknowledge { peer, layer } => {
                if let Some(state) = self.held.get(&layer).filter(|_| self.peers.contains_key(&peer)) {
                    self.send(
                        peer,
                        Message::Frontier { buckets: NamedBuckets::none(), states: vec![(layer, state)] },
                    );
                }
            }
            Input::Rights { peer, ours } => {
                if let Some(sync) = self.peers.get_mut(&peer) {
                    sync.ours = ours;
                    self.heartbeat(now, peer);
                    self.want_from(now, peer, WANT_DELAY);
                }
            }
            Input::Stored { layer, state, readers, from } => self.stored(now, layer, state, &readers, from),
            Input::Held { held } => self.held = held,
            Input::Dropped { layer } => self.dropped(layer),
            Input::Received { peer, message } => self.received(now, peer, message),
            Input::RightsChanged => {
                self.refusing.clear();
                self.peers.values_mut().for_each(|sync| sync.refusals_sent.clear());
                // What had to wait for rights is asked for now.
                for want in self.wants.values_mut() {
                    want.at = want.at.min(now + WANT_DELAY);
                }
            }
            Input::Refuse { peer, layer, sequence, reason, lasting } => {
                // What rights forbid is forbidden until they change.
                let (up_to, until) = match lasting {
                    true => (None, Mono::NEVER),
                    false => (Some(sequence), now + REFUSAL_HOLD),
                };
                self.hold_refusal(now, layer, OwnRefusal { up_to, until, sequence, reason });
                if let Some(sync) = self.peers.get_mut(&peer) {
                    sync.refusals_sent.insert(layer);
                }
                self.send(peer, Message::Refused(vec![(layer, sequence, reason)]));
            }
            Input::TooEarly { peer, layer, state } => {
                if let Some(sync) = self.peers.get_mut(&peer) {
                    sync.theirs.set(layer, Some(state));
                    self.want_from(now, peer, WANT_DELAY);
                }
            }
            Input::NotSupplied { peer, layer, held } => {
                if let Some(sync) = self.peers.get_mut(&peer) {
                    sync.theirs.set(layer, held);
                    sync.unconfirmed.remove(&layer);
                }
            }
            Input::BaseMissing { peer } => self.ask(now, peer),
            Input::Timeout => {}
        }
        self.timers(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `Timeout` is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let peers = self.peers.values().flat_map(|p| [Some(p.heartbeat_at), p.notice_at, p.ask_at]).flatten();
        peers.chain(self.wants.values().map(|want| want.at)).min()
    }

    /// What a connected peer holds, once it has reported.
    pub fn frontier_of(&self, peer: &PeerId) -> Option<&Frontier> {
        self.peers.get(peer).filter(|sync| sync.met).map(|sync| &sync.theirs)
    }

    /// What was sent to a peer and it has not shown as received, with what it held before.
    pub fn unconfirmed(&self, peer: &PeerId) -> impl Iterator<Item = (LayerHash, Option<State>)> {
        let unconfirmed = self.peers.get(peer).into_iter().flat_map(|sync| &sync.unconfirmed);
        unconfirmed.map(|(layer, held)| (*layer, *held))
    }

    /// Whether a layer was sent to a peer, which has not shown it as received.
    pub fn is_unconfirmed(&self, peer: &PeerId, layer: &LayerHash) -> bool {
        self.peers.get(peer).is_some_and(|sync| sync.unconfirmed.contains_key(layer))
    }

    /// The lag of a connected peer.
    pub fn lag(&self, peer: &PeerId) -> Option<LinkLag> {
        let sync = self.peers.get(peer)?;
        let newer = |a: State, b: Option<State>| b.is_none_or(|b| a > b);
        Some(LinkLag {
            we_lack: sync
                .theirs
                .iter()
                .filter(|(l, s)| newer(**s, self.held.get(l)) && !self.is_forbidden(l))
                .count(),
            no_room_there: sync.without_room().count(),
            they_lack: sync
                .ours
                .iter()
                .filter(|(l, s)| newer(**s, sync.theirs.get(l)) && !sync.refused.contains_key(l))
                .count(),
            confirmed: sync.confirmed,
            known: sync.met,
        })
    }

    /// The layers in which a connected peer and this node differ, as far as the peer has reported.
    pub fn layer_lags(&self, peer: &PeerId) -> Vec<LayerLag> {
        let Some(sync) = self.peers.get(peer).filter(|sync| sync.met) else { return Vec::new() };
        let newer = |a: State, b: Option<State>| b.is_none_or(|b| a > b);
        let we_lack = sync
            .theirs
            .iter()
            .filter(|(layer, state)| newer(**state, self.held.get(layer)) && !self.is_forbidden(layer));
        let they_lack = sync.ours.iter().filter(|(layer, state)| {
            newer(**state, sync.theirs.get(layer)) && !sync.refused.contains_key(layer)
        });
        let lag = |layer: &LayerHash, kind, state: State, other: Option<State>| LayerLag {
            layer: Some(*layer),
            kind,
            since: sync.differs_since.get(layer).copied(),
            is_fresh_state: false,
            sequences: Some(state.ahead_of(other)),
        };
        let we_lack = we_lack.map(|(layer, state)| {
            let kind = match self.refusing.get(layer).is_some_and(|refusal| refusal.is_of(*state)) {
                true => LagKind::NoRoomHere,
                false => LagKind::WeLack,
            };
            lag(layer, kind, *state, self.held.get(layer))
        });
        let no_room = sync.without_room();
        let no_room = no_room.map(|(layer, state)| lag(layer, LagKind::NoRoomThere, state, None));
        let they_lack =
            they_lack.map(|(layer, state)| lag(layer, LagKind::TheyLack, *state, sync.theirs.get(layer)));
        we_lack.chain(no_room).chain(they_lack).collect()
    }

    /// Whether this node takes nothing of a layer, as rights or its operator have it.
    fn is_forbidden(&self, layer: &LayerHash) -> bool {
        self.refusing.get(layer).is_some_and(OwnRefusal::is_lasting)
    }

    /// Remembers a refusal, if there is room, and asks for the layer no more.
    fn hold_refusal(&mut self, now: Mono, layer: LayerHash, refusal: OwnRefusal) {
        if self.refusing.len() >= REFUSALS_KEPT_MAX {
            self.refusing.retain(|_, refusal| now < refusal.until);
        }
        if self.refusing.len() < REFUSALS_KEPT_MAX {
            self.refusing.insert(layer, refusal);
        }
        self.wants.remove(&layer);
    }

    fn peer_down(&mut self, now: Mono, peer: PeerId) {
        self.peers.remove(&peer);
        for want in self.wants.values_mut().filter(|want| want.asked == Some(peer)) {
            want.asked = None;
            want.at = now;
        }
    }

    /// What was sent and not shown as received goes out once more, over another link; a heartbeat shows what else is amiss.
    fn link_lost(&mut self, now: Mono, peer: PeerId) {
        let Some(sync) = self.peers.get(&peer) else { return };
        let lost = sync.unconfirmed.iter().map(|(layer, held)| (*layer, *held));
        let lost = lost.filter(|(layer, _)| sync.ours.get(layer).is_some());
        self.outputs.extend(lost.map(|(layer, held)| Output::Supply { peer, layer, held }));
        self.heartbeat(now, peer);
    }

    fn stored(
        &mut self,
        now: Mono,
        layer: LayerHash,
        state: State,
        readers: &BTreeSet<PeerId>,
        from: Option<PeerId>,
    ) {
        self.held.set(layer, Some(state));
        self.refusing.remove(&layer);
        let mut supply = Vec::new();
        for (peer, sync) in &mut self.peers {
            let may_see = readers.contains(peer);
            sync.note_news(layer, now);
            sync.ours.set(layer, may_see.then_some(state));
            let theirs = sync.theirs.get(&layer);
            if from == Some(*peer) {
                // The sender has it, and has noted that this node does.
                sync.theirs.set(layer, Some(theirs.map_or(state, |t| t.max(state))));
                continue;
            }
            if !may_see {
                continue;
            }
            if sync.refused.get(&layer).is_some_and(|until| now < *until) {
                // It refuses this layer; the next heartbeat shows it.
                continue;
            }
            if from.is_none() && theirs.map_or(sync.met, |t| t < state) {
                supply.push((*peer, theirs));
                sync.note_supply(layer, state);
            } else {
                sync.notices.insert(layer);
                sync.notice_at.get_or_insert(now + NOTICE_DELAY);
            }
        }
        for (peer, held) in supply {
            self.outputs.push_back(Output::Supply { peer, layer, held });
        }
        if self.newest_known(&layer).is_none_or(|newest| newest <= state) {
            self.wants.remove(&layer);
        }
    }

    fn dropped(&mut self, layer: LayerHash) {
        self.held.set(layer, None);
        self.wants.remove(&layer);
        for sync in self.peers.values_mut() {
            sync.ours.set(layer, None);
            sync.unconfirmed.remove(&layer);
        }
    }

    fn received(&mut self, now: Mono, peer: PeerId, message: Message) {
        if !self.peers.contains_key(&peer) {
            return;
        }
        match message {
            Message::Heartbeat { fingerprint, .. } => self.received_heartbeat(now, peer, fingerprint),
            Message::Ask(hashes) => self.answer(now, peer, &hashes),
            Message::Frontier { buckets, states } => self.received_frontier(now, peer, buckets, states),
            Message::Want(wants) => self.received_want(peer, wants),
            Message::Refused(list) => self.received_refusal(now, peer, list),
            Message::Whole(_)
            | Message::Compact(_)
            | Message::TreeAsk(..)
            | Message::Tree(..)
            | Message::PartsAsk(..)
            | Message::Parts(..)
            | Message::Command(_)
            | Message::Answer(_)
            | Message::Notice(_)
            | Message::NoticeHeard(_)
            | Message::NotUnderstood(_) => {
                debug_assert!(false, "the node keeps envelopes, transfers and commands to itself");
            }
        }
    }

    fn received_heartbeat(&mut self, now: Mono, peer: PeerId, fingerprint: u64) {
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        sync.note_fingerprint(fingerprint);
        sync.confirmed = sync.theirs.fingerprint() == fingerprint;
        sync.met |= sync.confirmed;
        if sync.confirmed {
            self.converged.record_ended(now, &mut sync.differs_since, &sync.ours, &sync.theirs);
        }
        match sync.confirmed {
            true => {
                sync.unconfirmed.clear();
                self.want_from(now, peer, WANT_DELAY);
            }
            false => self.ask(now, peer),
        }
    }

    /// Asks for the part of a peer's frontier that differs from what is believed.
    fn ask(&mut self, now: Mono, peer: PeerId) {
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        if let Some(at) = sync.asked_at.filter(|at| now < *at + ASK_PAUSE) {
            sync.ask_at = Some(at + ASK_PAUSE);
            return;
        }
        sync.asked_at = Some(now);
        sync.ask_at = None;
        sync.asked_first = !sync.met;
        let hashes = sync.hashes_to_compare();
        self.send(peer, Message::Ask(hashes));
    }

    fn answer(&mut self, now: Mono, peer: PeerId, theirs: &[u32]) {
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        let minute = now.ms() / 60_000;
        if sync.answers.0 != minute {
            sync.answers = (minute, 0);
        }
        sync.answers.1 += 1;
        if sync.answers.1 > FRONTIER_ANSWERS_PER_MINUTE_MAX {
            return;
        }
        let Some(size) = BucketSize::of_count(theirs.len()) else { return };
        let ours = sync.ours.bucket_hashes(size);
        let differing =
            (0..=u8::MAX).zip(ours.iter().zip(theirs)).filter(|(_, (ours, theirs))| ours != theirs);
        let mut messages = Vec::new();
        let (mut buckets, mut states) = (NamedBuckets { size, ..NamedBuckets::none() }, Vec::new());
        for (number, _) in differing {
            let bucket: Vec<_> = sync.ours.bucket(size, number).map(|(l, s)| (*l, *s)).collect();
            if states.len() + bucket.len() > FRONTIER_ENTRIES_MAX && !buckets.is_empty() {
                messages.push(Message::Frontier {
                    buckets: buckets.clone(),
                    states: std::mem::take(&mut states),
                });
                buckets.numbers.clear();
            }
            if bucket.len() > FRONTIER_ENTRIES_MAX {
                // Too many for one message: named without the claim that these are all.
                let part =
                    |part: &[_]| Message::Frontier { buckets: NamedBuckets::none(), states: part.to_vec() };
                messages.extend(bucket.chunks(FRONTIER_ENTRIES_MAX).map(part));
                continue;
            }
            buckets.numbers.insert(number);
            states.extend(bucket);
        }
        if !buckets.is_empty() {
            messages.push(Message::Frontier { buckets, states });
        }
        if messages.is_empty() {
            // What was missing has come in the meantime: the asker may believe itself right.
            self.heartbeat(now, peer);
        }
        for message in messages {
            self.send(peer, message);
        }
    }

    fn received_frontier(
        &mut self,
        now: Mono,
        peer: PeerId,
        buckets: NamedBuckets,
        states: Vec<(LayerHash, State)>,
    ) {
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        sync.note_answered(&buckets, &states);
        for number in &buckets.numbers {
            let gone: Vec<_> = sync.theirs.bucket(buckets.size, *number).map(|(layer, _)| *layer).collect();
            for layer in gone {
                sync.theirs.set(layer, None);
                sync.unconfirmed.remove(&layer);
            }
        }
        for (layer, state) in states {
            if sync.theirs.len() < PEER_FRONTIER_MAX || sync.theirs.get(&layer).is_some() {
                if sync.theirs.get(&layer) != Some(state) {
                    sync.note_news(layer, now);
                }
                sync.note_shown(layer, state);
                if sync.ours.get(&layer).is_none_or(|ours| ours <= state) {
                    sync.refused.remove(&layer);
                }
            }
        }
        // Its answer is newer than the heartbeat that caused the question.
        sync.confirmed |= !buckets.is_empty();
        sync.met |= !buckets.is_empty();
        // Until two have met, neither pushes anything to the other.
        let is_first = sync.asked_first && !buckets.is_empty();
        self.want_from(now, peer, if is_first { Millis::ZERO } else { WANT_DELAY });
    }

    fn send(&mut self, peer: PeerId, message: Message) {
        self.outputs.push_back(Output::Send { peer, message });
    }

    fn heartbeat(&mut self, now: Mono, peer: PeerId) {
        let jitter = Millis::from_ms(self.random.below(self.heartbeat.ms() / 8 + 1));
        let Some(sync) = self.peers.get_mut(&peer) else { return };
        sync.heartbeat_at = now + (self.heartbeat - jitter);
        let fingerprint = sync.ours.fingerprint();
        // Longer than the interval: a slow link delays one heartbeat more than another.
        let next_by_s = u32::try_from((self.heartbeat * 4 / 3).ms().div_ceil(1000)).unwrap_or(u32::MAX);
        self.outputs.push_back(Output::Heartbeat { peer, fingerprint, next_by_s });
    }

    fn timers(&mut self, now: Mono) {
        self.send_notices(now);
        let asks: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, s)| s.ask_at.is_some_and(|at| at <= now))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in asks {
            self.ask(now, peer);
        }
        let due: Vec<_> =
            self.peers.iter().filter(|(_, sync)| sync.heartbeat_at <= now).map(|(peer, _)| *peer).collect();
        for peer in due {
            self.heartbeat(now, peer);
        }
        self.send_wants(now);
    }

    fn send_notices(&mut self, now: Mono) {
        let mut due = Vec::new();
        for (peer, sync) in &mut self.peers {
            if sync.notice_at.is_some_and(|at| at <= now) {
                sync.notice_at = None;
                let ours = &sync.ours;
                let states: Vec<_> = std::mem::take(&mut sync.notices)
                    .into_iter()
                    .filter_map(|l| Some((l, ours.get(&l)?)))
                    .collect();
                due.push((*peer, states));
            }
        }
        for (peer, states) in due {
            for states in states.chunks(FRONTIER_ENTRIES_MAX) {
                self.send(peer, Message::Frontier { buckets: NamedBuckets::none(), states: states.to_vec() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
