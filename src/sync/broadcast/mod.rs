//! The broadcast engine: sync among all who hear one radio, where every byte is dear and one transmission
//! serves everybody.
//!
//! A *channel* is one owner's audience: what is said on it concerns that owner's documents. The engine
//! believes something of each *listener* it hears, and sends only what some listener lacks:
//!
//! - An author's news goes out at once if anybody is there; a relay waits a random while, and keeps silent if
//!   it hears somebody else send the same. For who is not heard, nothing is queued.
//! - A heartbeat says in a few bytes what its sender has, on its own channel and on the others it carries. As
//!   believed: silence. It is also the acknowledgement. Otherwise a *frontier* says it in four bytes a layer,
//!   after a random wait over as many frame times as the audience has readers; whoever has what it lacks sends
//!   that. Who hears another ask waits for that answer, and who hears the answer need not ask.
//! - Nothing is resent on a timer. A heartbeat or frontier that shows a listener still behind is the reason.
//!
//! Sans-io like its sister: `handle_input`, then `transmissions` returns what is due, best first; the node takes the
//! first that the airtime allows, and reports it with `done`.

mod channel;
mod heartbeats;
mod input;
mod layer;
pub mod message;
mod schedule;

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::random::Random;
use crate::sync::frontier::State;
pub use input::{Input, LayerOffer};

use channel::{Channel, ReplyDelays};
use heartbeats::Heartbeats;
use message::{Fingerprint, FrontierMessage, Heartbeat, OTHERS_MAX};

/// A listener is gone when three of its "next by" have passed in silence.
const MISSED_MAX: u64 = 3;
/// What a listener that has not said "next by" yet is given, milliseconds.
const FIRST_NEXT_BY_MS: u64 = 20 * 60 * 1000;
/// Longest "next by" that a listener is believed, milliseconds.
const NEXT_BY_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Readers of one audience that a random wait is spread for; of more, several speak at once.
const COMPANY_MAX: usize = 32;
/// A random wait is spread over so many frame times for each of them.
const SPREAD_FRAMES: u64 = 2;
/// An answer comes so many frame times after a question, where the owner of what is asked for is there.
const ANSWER_FRAMES: u64 = 2;
/// A relay waits so many frame times for the owner to answer, and then as many again at random, thrice.
const RELAY_FRAMES: u64 = 4;

/// How fast the radio below is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time on air of a short frame with the gap after it, milliseconds: random waits are counted in it.
    pub frame_ms: u64,
    /// Time between two heartbeats when nothing happens, milliseconds.
    pub heartbeat_ms: u64,
}

/// A candidate to transmit: something that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmission {
    /// Say what we have, briefly, on our own channel.
    Heartbeat(Heartbeat),
    /// Say what we hold of an owner's documents.
    Frontier {
        /// The owner.
        owner: PeerId,
        /// What to say.
        frontier: FrontierMessage,
    },
    /// Send a layer's newest state.
    Supply {
        /// Whose document.
        owner: PeerId,
        /// Which layer.
        layer: LayerHash,
        /// What those it is for hold of it, as far as we know.
        base: Option<State>,
        /// Whom it is for.
        targets: Vec<PeerId>,
        /// Its rank, 0 first.
        rank: u8,
    },
    /// A state on the way to the newest was sent in its place: never due by itself, only `done`.
    Intermediate {
        /// Whose document.
        owner: PeerId,
        /// Which layer.
        layer: LayerHash,
        /// What the listeners have then.
        state: State,
        /// Whom it was for.
        targets: Vec<PeerId>,
    },
}

/// How a listener stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// When it was last heard, monotonic milliseconds.
    pub at: u64,
    /// Until when it counts as there.
    pub until: u64,
}

/// What a listener and this node lack of each other on one or more channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Layers that it has said to have newer than we do.
    pub we_lack: usize,
    /// Layers that it has not, or has older, and was not sent since.
    pub they_lack: usize,
    /// Layers that it was sent, and has not said yet to have.
    pub unacknowledged: usize,
}

impl Lag {
    /// Whether both hold the same, by what the listener has said itself.
    pub fn is_in_step(&self) -> bool {
        *self == Lag::default()
    }
}

/// What is known of the sync lag between a listener and this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStatus {
    /// The lag, by its last report and what was sent since.
    Known(Lag),
    /// It holds something else than we believed, or has not said yet what.
    Unknown {
        /// Until when we knew, monotonic milliseconds; none: never.
        since: Option<u64>,
    },
}

/// The engine of one radio.
#[derive(Debug)]
pub struct BroadcastEngine {
    me: PeerId,
    timing: Timing,
    channels: BTreeMap<PeerId, Channel>,
    presence: BTreeMap<PeerId, Presence>,
    heartbeats: Heartbeats,
    /// From which other channel the next heartbeat goes on, when they do not all fit.
    others_from: usize,
    random: Random,
}

impl BroadcastEngine {
    /// An engine of node `me`. The first heartbeat comes soon: whoever is there then answers.
    pub fn new(me: PeerId, timing: Timing, now: u64, mut random: Random) -> Self {
        let heartbeats = Heartbeats::new(now + random.below(timing.frame_ms * 4 + 1));
        BroadcastEngine {
            me,
            timing,
            channels: BTreeMap::new(),
            presence: BTreeMap::new(),
            heartbeats,
            others_from: 0,
            random,
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: u64, input: Input) {
        match input {
            Input::Channel { owner, aliases, ours, members, readers, observes } => {
                let channel = self.channels.entry(owner).or_insert_with(|| Channel::new(owner == self.me));
                channel.set(now, aliases, ours, members, readers, observes);
            }
            Input::ChannelGone { owner } => {
                self.channels.remove(&owner);
            }
            Input::Stored { owner, layer, state, bases, rank, from, ours } => {
                let wait = (!ours).then(|| self.relay_wait());
                let again = self.frontier_wait(&owner);
                let Some(channel) = self.channels.get_mut(&owner) else { return };
                channel.stored(now, layer, (state, bases), rank, from, wait);
                match from {
                    // More may come with it.
                    Some(_) => channel.settle(now + again),
                    None => channel.settle(now),
                }
                if let Some(from) = from {
                    self.was_sent(&owner, &from);
                }
                if ours {
                    self.expect_early_heartbeat(now);
                }
            }
            Input::Joined { peer, asked } => {
                self.present(now, peer, None);
                let head_start = if asked { 0 } else { self.timing.frame_ms * 6 };
                let wait = self.settle_ms() + self.random.below(self.timing.frame_ms * 4 + 1);
                self.heartbeats.greet(peer, now + head_start + wait, true);
            }
            Input::Present { peer } => self.present(now, peer, None),
            Input::Heartbeat { from, heartbeat } => self.received_heartbeat(now, from, &heartbeat),
            Input::Frontier { owner, from, frontier } => {
                self.present(now, from, None);
                if owner == self.me {
                    self.heartbeats.has_said(&from);
                }
                self.was_sent(&owner, &from);
                let delays = ReplyDelays {
                    wait: self.frontier_wait(&owner),
                    relay: self.relay_wait(),
                    answer: self.answer_wait(now, &owner),
                    frame_ms: self.timing.frame_ms,
                };
                let Some(channel) = self.channels.get_mut(&owner) else { return };
                channel.received_frontier(now, from, &frontier, &delays);
            }
            Input::Asking { alias } => {
                let Some(owner) = self.owner_of(&alias) else { return };
                let wait = self.answer_wait(now, &owner);
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.received_asking(now + wait);
                }
                self.heartbeats.met(|peer| *peer == owner);
            }
            Input::DeliveredElsewhere { owner, peer, layer, state } => {
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.has(&peer, layer, state);
                }
            }
            Input::Overheard { owner, from, layer, state } => {
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.has(&from, layer, state);
                    channel.overheard(now, layer, state);
                }
                self.was_sent(&owner, &from);
            }
            Input::Declined { owner, layer, state } => {
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.decline(layer, state);
                    channel.settle(now);
                }
            }
            Input::Withheld { owner, layer } => {
                let wait = self.frontier_wait(&owner);
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.withhold(layer);
                    channel.must_tell(now, wait, self.timing.frame_ms);
                }
            }
            Input::BaseMissing { owner } => {
                // Not so soon that it seems to have been said before that delta was heard.
                let wait = self.settle_ms() + self.frontier_wait(&owner);
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.ask_for_declined();
                    channel.must_tell(now, wait, self.timing.frame_ms);
                }
            }
            Input::FarBase { owner } => {
                let Some(channel) = self.channels.get_mut(&owner) else { return };
                if !channel.received_far() {
                    return;
                }
                let readers = channel.readers().clamp(1, 32) as u64;
                let wait = self.settle_ms() + self.random.below(self.timing.frame_ms * 4 * readers + 1);
                self.heartbeats.acknowledge(now, now + wait, &self.timing);
            }
            Input::Timing(timing) => {
                self.timing = timing;
                self.heartbeats.by(now + timing.heartbeat_ms);
            }
        }
    }

    /// What is due, best first: what decides about rights, then frontiers and heartbeats, which make others
    /// send or keep silent, then the most valuable and newest states.
    pub fn transmissions(&self, now: u64) -> Vec<Transmission> {
        let mut supplies = Vec::new();
        for (owner, channel) in &self.channels {
            supplies.extend(
                channel.supplies(now, &self.presence).map(|due| (due.rank, due.newest_at, owner, due)),
            );
        }
        supplies.sort_by_key(|(rank, newest_at, ..)| (*rank, std::cmp::Reverse(*newest_at)));
        let (rights, rest): (Vec<_>, Vec<_>) = supplies.into_iter().partition(|(rank, ..)| *rank == 0);
        let supply = |(rank, _, owner, due): (u8, u64, &PeerId, channel::Due)| Transmission::Supply {
            owner: *owner,
            layer: due.layer,
            base: due.base,
            targets: due.targets,
            rank,
        };
        let frontiers =
            self.channels.iter().filter(|(_, channel)| channel.tells_at().is_some_and(|at| at <= now));
        let frontiers = frontiers.map(|(owner, channel)| Transmission::Frontier {
            owner: *owner,
            frontier: channel.frontier_message(),
        });
        let heartbeat = (self.heartbeats.next() <= now).then(|| Transmission::Heartbeat(self.heartbeat()));
        rights
            .into_iter()
            .map(supply)
            .chain(frontiers)
            .chain(heartbeat)
            .chain(rest.into_iter().map(supply))
            .collect()
    }

    /// A turn was taken: it has been sent, or need not be.
    pub fn done(&mut self, now: u64, transmission: &Transmission) {
        match transmission {
            Transmission::Heartbeat(heartbeat) => {
                self.others_from = match self.others().count() {
                    0 => 0,
                    count => (self.others_from + heartbeat.others.len()) % count,
                };
                let jitter = self.random.below(self.timing.heartbeat_ms / 8 + 1);
                self.heartbeats.done(now, &self.timing, jitter);
            }
            Transmission::Frontier { owner, .. } => {
                if let Some(channel) = self.channels.get_mut(owner) {
                    channel.has_told(now);
                }
                self.was_sent(owner, &self.me.clone());
            }
            Transmission::Supply { owner, layer, base, targets, .. } => {
                if let Some(channel) = self.channels.get_mut(owner) {
                    channel.supplied(now, *layer, *base, targets);
                }
                self.was_sent(owner, &self.me.clone());
                self.expect_early_heartbeat(now);
            }
            Transmission::Intermediate { owner, layer, state, targets } => {
                if let Some(channel) = self.channels.get_mut(owner) {
                    channel.stepped(*layer, *state, targets);
                }
                self.was_sent(owner, &self.me.clone());
                self.expect_early_heartbeat(now);
            }
        }
    }

    /// When something may be due.
    pub fn poll_timeout(&self, now: u64) -> Option<u64> {
        self.due_times(now).min()
    }

    /// When something becomes due that is not due yet.
    pub fn next_after(&self, now: u64) -> Option<u64> {
        self.due_times(now).filter(|at| *at > now).min()
    }

    fn due_times(&self, now: u64) -> impl Iterator<Item = u64> {
        let channels = self.channels.values().flat_map(move |channel| channel.due_times(now, &self.presence));
        channels.chain([self.heartbeats.next()])
    }

    /// When a peer was last heard on this radio.
    pub fn presence(&self, peer: &PeerId) -> Option<Presence> {
        self.presence.get(peer).copied()
    }

    /// Who is there now.
    pub fn present_peers(&self, now: u64) -> impl Iterator<Item = PeerId> {
        self.presence.iter().filter(move |(_, presence)| presence.until > now).map(|(peer, _)| *peer)
    }

    /// The lag of a peer, summed over all channels that both listen on. A channel of a third owner counts from the
    /// peer's first report on it: the peer may not know that owner.
    pub fn sync_status(&self, peer: &PeerId) -> SyncStatus {
        let mut all: Option<Lag> = None;
        let mut unknown: Option<Option<u64>> = None;
        for (owner, channel) in self.channels.iter().filter(|(_, channel)| channel.has_member(peer)) {
            let known_at = channel.known_at(peer);
            match channel.lag(peer) {
                Some(lag) => {
                    let sum = all.get_or_insert_default();
                    sum.we_lack += lag.we_lack;
                    sum.they_lack += lag.they_lack;
                    sum.unacknowledged += lag.unacknowledged;
                }
                None if *owner == self.me || owner == peer || known_at.is_some() => {
                    unknown = Some(unknown.map_or(known_at, |since| since.min(known_at)));
                }
                None => {}
            }
        }
        match (unknown, all) {
            (None, Some(lag)) => SyncStatus::Known(lag),
            (since, _) => SyncStatus::Unknown { since: since.flatten() },
        }
    }

    /// Whether a listener has, or has just been sent, the state of a layer that listeners were told of.
    pub fn should_have(&self, owner: &PeerId, layer: &LayerHash, peer: &PeerId) -> bool {
        self.channels.get(owner).is_some_and(|channel| channel.should_have(layer, peer))
    }

    /// Whether a listener holds a state of a layer, or was sent it last.
    pub fn may_have(&self, owner: &PeerId, layer: &LayerHash, peer: &PeerId, state: State) -> bool {
        self.channels.get(owner).is_some_and(|channel| channel.may_have(layer, peer, state))
    }

    /// Who is there now and listens on a channel.
    pub fn listeners(&self, owner: &PeerId, now: u64) -> Vec<PeerId> {
        let Some(channel) = self.channels.get(owner) else { return Vec::new() };
        self.present_peers(now).filter(|peer| channel.has_member(peer)).collect()
    }

    /// The states of a layer that listeners say they hold, or are known to.
    pub fn shown(&self, owner: &PeerId, layer: &LayerHash) -> Vec<State> {
        self.channels.get(owner).into_iter().flat_map(|channel| channel.shown(layer)).collect()
    }

    /// The pace of the radio.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The state of a layer that listeners were told of.
    pub fn state(&self, owner: &PeerId, layer: &LayerHash) -> Option<State> {
        self.channels.get(owner)?.ours().get(layer)
    }

    /// Whom we listen with on a channel.
    pub fn participates(&self, owner: &PeerId) -> bool {
        self.channels.contains_key(owner)
    }

    /// The owners whose channels we take part in.
    pub fn owners(&self) -> impl Iterator<Item = PeerId> {
        self.channels.keys().copied()
    }

    fn heartbeat(&self) -> Heartbeat {
        let fingerprint = self.channels.get(&self.me).map_or(0, |channel| channel.ours().fingerprint());
        let count = self.others().count();
        let from_here = self.others().cycle().skip(self.others_from).take(count.min(OTHERS_MAX));
        Heartbeat {
            // Jitter and a busy channel included.
            next_by_s: u32::try_from(self.timing.heartbeat_ms * 3 / 2 / 1000).unwrap_or(u32::MAX),
            fingerprint: (fingerprint >> 32) as u32,
            others: from_here
                .filter_map(|channel| {
                    Some((*channel.aliases.first()?, (channel.ours().fingerprint() >> 48) as u16))
                })
                .collect(),
        }
    }

    fn others(&self) -> impl Iterator<Item = &Channel> + Clone {
        self.channels.iter().filter(|(owner, _)| **owner != self.me).map(|(_, channel)| channel)
    }

    fn owner_of(&self, alias: &[u8; 2]) -> Option<PeerId> {
        let named = |channel: &Channel| channel.aliases.contains(alias);
        self.channels.iter().find(|(_, channel)| named(channel)).map(|(owner, _)| *owner)
    }

    fn received_heartbeat(&mut self, now: u64, from: PeerId, heartbeat: &Heartbeat) {
        self.present(now, from, Some(u64::from(heartbeat.next_by_s) * 1000));
        self.was_sent(&from, &from);
        self.received_fingerprint(now, from, from, Fingerprint::Own(heartbeat.fingerprint));
        for (alias, quarter) in &heartbeat.others {
            match self.owner_of(alias) {
                Some(owner) if owner != from => {
                    self.received_fingerprint(now, owner, from, Fingerprint::Other(*quarter))
                }
                _ => {}
            }
        }
    }

    fn received_fingerprint(&mut self, now: u64, owner: PeerId, from: PeerId, fingerprint: Fingerprint) {
        if owner == self.me {
            self.heartbeats.has_said(&from);
        }
        let waits = [self.frontier_wait(&owner), self.relay_wait(), self.settle_ms()];
        if let Some(channel) = self.channels.get_mut(&owner) {
            channel.received_fingerprint(now, from, fingerprint, waits);
        }
    }

    fn present(&mut self, now: u64, peer: PeerId, next_by_ms: Option<u64>) {
        let before = self.presence.get(&peer).copied();
        let is_new = before.is_none_or(|presence| presence.until <= now);
        let until = match next_by_ms {
            Some(next_by) => now + MISSED_MAX * next_by.clamp(1, NEXT_BY_MAX_MS),
            None => before.map_or(0, |presence| presence.until).max(now + FIRST_NEXT_BY_MS),
        };
        self.presence.insert(peer, Presence { at: now, until });
        if is_new {
            // Whoever comes, or comes back, learns soon that we are there, if nobody tells it before.
            let wait = self.settle_ms() + self.spread_ms(&peer) + self.frontier_wait(&peer);
            self.heartbeats.greet(peer, now + wait, false);
        }
    }

    /// Something that `from` sent on a channel was heard by whoever listens there.
    fn was_sent(&mut self, owner: &PeerId, from: &PeerId) {
        let Some(channel) = self.channels.get(owner) else { return };
        // Who sends an answer, or news, has heard somebody.
        self.heartbeats.met(|peer| peer != from && (peer == owner || channel.has_member(peer)));
    }

    fn expect_early_heartbeat(&mut self, now: u64) {
        let jitter = self.random.below(self.timing.frame_ms + 1);
        self.heartbeats.expect_early(now, &self.timing, jitter);
    }

    /// What is said so soon after something was sent may have been said before that was heard.
    fn settle_ms(&self) -> u64 {
        self.timing.frame_ms * 2
    }

    /// A relay lets the author, and other relays, go before it.
    fn relay_wait(&mut self) -> u64 {
        self.timing.frame_ms * RELAY_FRAMES + self.random.below(self.timing.frame_ms * 3 * RELAY_FRAMES + 1)
    }

    /// Over how long those who may have the same to say on a channel spread.
    fn spread_ms(&self, owner: &PeerId) -> u64 {
        let readers = self.channels.get(owner).map_or(1, Channel::readers).min(COMPANY_MAX) as u64;
        self.timing.frame_ms * (1 + SPREAD_FRAMES * readers)
    }

    /// Each of those who may have the same to say waits its own while.
    fn frontier_wait(&mut self, owner: &PeerId) -> u64 {
        // The owner has least to ask on its own channel: most often it is the others who lack something.
        let head_start = if *owner == self.me { self.timing.frame_ms * 6 } else { 0 };
        head_start + self.random.below(self.spread_ms(owner) + 1)
    }

    /// After a question of somebody else: as long as its answer takes, and a while of our own.
    fn answer_wait(&mut self, now: u64, owner: &PeerId) -> u64 {
        let is_there = self.presence.get(owner).is_some_and(|presence| presence.until > now);
        let frames = if is_there { ANSWER_FRAMES } else { 4 * RELAY_FRAMES + ANSWER_FRAMES };
        self.timing.frame_ms * frames + self.frontier_wait(owner)
    }
}

#[cfg(test)]
mod tests;
