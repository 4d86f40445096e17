//! The broadcast engine: sync among all nodes in range of one radio, where every byte is dear and one transmission
//! serves all receivers.
//!
//! A *channel* is one owner's audience: what is sent on it concerns that owner's documents. The engine tracks what each
//! *listener* holds, and sends only what some listener lacks:
//!
//! - An author's news goes out at once if any listener is present; a relay waits a random while, and drops its copy if
//!   it receives the same from another node. For absent listeners nothing is queued.
//! - A heartbeat carries, in a few bytes, fingerprints of what its sender holds on its own channel and on the others
//!   that it relays. A fingerprint that fits what was believed needs no answer; it is the acknowledgement as well. One
//!   that does not fit is answered by a *frontier* of four bytes a layer, after a random wait over as many frame times
//!   as the audience has readers. A node that has what the frontier lacks sends it. A node that receives another's
//!   question waits for that answer, and drops its own question once the answer arrived.
//! - No timer causes a retransmission. The reason is always a heartbeat or a frontier that shows a listener still
//!   behind.
//!
//! Sans-io, as [`sync::Engine`](crate::sync::Engine): `handle_input`, then `transmissions` returns what is due, best
//! first; the node takes the first that the airtime allows, and reports it with `done`.

mod channel;
mod heartbeats;
mod input;
mod inventory;
mod layer;
mod listener;
pub mod message;
mod reach;
mod reports;
mod schedule;
mod status;
mod timing;
mod transmission;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::presence::{MISSED_MAX, NEXT_BY_MAX, RADIO_NEXT_BY_FIRST};
use crate::random::Random;
use crate::sync::frontier::State;
use crate::time::{Millis, Mono};
pub use input::{Input, LayerOffer};
pub use status::{Lag, LagKind, LayerLag, Presence, SyncStatus};
pub use timing::Timing;
pub use transmission::Transmission;

use channel::{BroadcastChannel, ChannelSettings, DueLayer};
use heartbeats::{Heartbeats, News};
use message::{Heartbeat, OTHERS_MAX};
use reach::ServedElsewhere;
use timing::{ReplyDelays, Waits};

/// The rank of audiences and keys: 0 goes first.
pub(crate) const RIGHTS_RANK: u8 = 0;
/// The rank of alarms.
pub(crate) const ALARMS_RANK: u8 = 1;
/// The rank of node states and their briefs.
pub(crate) const STATE_RANK: u8 = 2;
/// The rank of all other documents.
pub(crate) const DOCUMENT_RANK: u8 = 3;
/// Layers up to this rank go before everything else.
pub(crate) const FIRST_RANK_MAX: u8 = ALARMS_RANK;
/// Readers over which an early acknowledgement is spread; of more, several send at once.
const ACKNOWLEDGING_READERS_MAX: usize = 32;

/// The engine of one radio.
#[derive(Debug)]
pub struct BroadcastEngine {
    me: PeerId,
    channels: BTreeMap<PeerId, BroadcastChannel>,
    presence: BTreeMap<PeerId, Presence>,
    elsewhere: ServedElsewhere,
    heartbeats: Heartbeats,
    /// The first other channel of the next heartbeat, when they do not all fit.
    others_from: usize,
    waits: Waits,
}

impl BroadcastEngine {
    /// An engine of node `me`. The first heartbeat comes soon: present listeners answer it.
    pub fn new(me: PeerId, timing: Timing, now: Mono, random: Random) -> Self {
        let mut waits = Waits::new(timing, random);
        let heartbeats = Heartbeats::new(now + waits.frames(4));
        BroadcastEngine {
            me,
            channels: BTreeMap::new(),
            presence: BTreeMap::new(),
            elsewhere: ServedElsewhere::default(),
            heartbeats,
            others_from: 0,
            waits,
        }
    }

    /// Takes one input, whose effects are then to be drained.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::Channel { owner, aliases, ours, members, readers, observes } => {
                let channel =
                    self.channels.entry(owner).or_insert_with(|| BroadcastChannel::new(owner == self.me));
                channel.set(now, ChannelSettings { aliases, ours, members, readers, observes });
                self.elsewhere.retain(|peer| self.channels.values().any(|channel| channel.has_member(peer)));
            }
            Input::ChannelGone { owner } => {
                self.channels.remove(&owner);
            }
            Input::Stored { owner, layer, state, bases, rank, from, ours, is_routine } => {
                self.stored(now, owner, layer, LayerOffer { state, bases, rank }, from, ours);
                self.note_routine(&owner, &layer, is_routine);
                // Where other links serve all who listen, news are no reason to be heard on air.
                if ours && self.participates(&owner) && self.concerns_the_air(now, &owner) {
                    self.expect_early_heartbeat(now, &owner, &layer);
                }
            }
            Input::Joined { peer, asked } => self.joined(now, peer, asked),
            Input::Present { peer } => self.present(now, peer, None),
            Input::Heartbeat { from, heartbeat } => self.received_heartbeat(now, from, &heartbeat),
            Input::Frontier { owner, from, frontier } => self.received_frontier(now, owner, from, &frontier),
            Input::Asking { alias } => self.received_question(now, &alias),
            Input::DeliveredElsewhere { owner, peer, layer, state } => {
                self.elsewhere.delivered(peer);
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.confirm(&peer, layer, state);
                }
            }
            Input::Undelivered { owner, peer, layer, held } => {
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.undelivered(now, &peer, layer, held);
                }
            }
            Input::LinkGone { peer, greet_at } => {
                self.elsewhere.link_gone(&peer, greet_at);
                // Also where it was never received here: it may have had no reason to send.
                if self.channels.values().any(|channel| channel.has_member(&peer)) {
                    let jitter = self.waits.frames(4);
                    self.heartbeats.greet(peer, greet_at + jitter, false);
                }
            }
            Input::LinkBack { peer } => {
                self.heartbeats.withdraw_greeting(&peer);
                if self.elsewhere.link_back(&peer) {
                    // What it reported while the link was gone, the link answers.
                    self.channels.values_mut().for_each(|channel| channel.drop_question_of(now, &peer));
                }
            }
            Input::Overheard { owner, from, layer, state } => {
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.confirm(&from, layer, state);
                    channel.overheard(now, layer, state);
                }
                self.note_sender(&owner, &from);
            }
            Input::Declined { owner, layer, state } => {
                if let Some(channel) = self.channels.get_mut(&owner) {
                    channel.decline(now, layer, state);
                    channel.settle(now);
                }
            }
            Input::Withheld { owner, layer } => {
                let wait = self.frontier_wait(&owner);
                self.require_frontier(now, wait, &owner, |channel| channel.withhold(layer));
            }
            Input::BaseMissing { owner } => {
                // Late enough that the frontier does not seem to have crossed that delta.
                let wait = self.waits.timing.settle() + self.frontier_wait(&owner);
                self.require_frontier(now, wait, &owner, BroadcastChannel::ask_for_declined);
            }
            Input::FarBase { owner } => self.received_far_base(now, &owner),
            Input::Timing(timing) => {
                self.waits.timing = timing;
                self.heartbeats.by(now + timing.heartbeat);
            }
        }
    }

    /// What is due, best first: what decides about rights, then alarms, then frontiers and heartbeats, which make others send or
    /// keep silent, then the most valuable and newest states.
    pub fn transmissions(&self, now: Mono) -> Vec<Transmission> {
        let due = |(owner, channel): (&PeerId, &BroadcastChannel)| {
            let owner = *owner;
            channel.supplies(now, &self.presence).map(move |due| (owner, due)).collect::<Vec<_>>()
        };
        let mut supplies: Vec<(PeerId, DueLayer)> = self.channels.iter().flat_map(due).collect();
        supplies.sort_by_key(|(_, due)| (due.rank, std::cmp::Reverse(due.newest_at)));
        let (first, rest): (Vec<_>, Vec<_>) =
            supplies.into_iter().partition(|(_, due)| due.rank <= FIRST_RANK_MAX);
        let supply = |(owner, due): (PeerId, DueLayer)| Transmission::Supply {
            owner,
            layer: due.layer,
            base: due.supply.base,
            targets: due.supply.targets,
            rank: due.rank,
        };
        let frontiers =
            self.channels.iter().filter(|(_, channel)| channel.frontier_at().is_some_and(|at| at <= now));
        let frontiers = frontiers.map(|(owner, channel)| Transmission::Frontier {
            owner: *owner,
            frontier: channel.frontier_message(),
            to: channel.awaiting(now, &self.presence),
        });
        let heartbeat = (self.heartbeats.next() <= now).then(|| Transmission::Heartbeat(self.heartbeat(now)));
        first
            .into_iter()
            .map(supply)
            .chain(frontiers)
            .chain(heartbeat)
            .chain(rest.into_iter().map(supply))
            .collect()
    }

    /// A candidate has been transmitted, or need not be.
    pub fn done(&mut self, now: Mono, transmission: &Transmission) {
        let me = self.me;
        match transmission {
            Transmission::Heartbeat(heartbeat) => {
                self.others_from = match self.others().count() {
                    0 => 0,
                    count => (self.others_from + heartbeat.others.len()) % count,
                };
                let jitter = self.waits.heartbeat_jitter();
                self.heartbeats.done(now, &self.waits.timing, jitter);
            }
            Transmission::Frontier { owner, to, .. } => {
                if let Some(channel) = self.channels.get_mut(owner) {
                    channel.sent_frontier(now, to, &self.presence);
                }
                self.note_sender(owner, &me);
            }
            Transmission::Supply { owner, layer, base, targets, .. } => {
                if let Some(channel) = self.channels.get_mut(owner) {
                    channel.supplied(now, *layer, *base, targets);
                }
                targets.iter().for_each(|peer| self.elsewhere.sent_here(peer));
                self.note_sender(owner, &me);
                self.expect_early_heartbeat(now, owner, layer);
            }
            Transmission::Intermediate { owner, layer, state, targets } => {
                if let Some(channel) = self.channels.get_mut(owner) {
                    channel.sent_intermediate(now, *layer, *state, targets);
                }
                targets.iter().for_each(|peer| self.elsewhere.sent_here(peer));
                self.note_sender(owner, &me);
                self.expect_early_heartbeat(now, owner, layer);
            }
        }
    }

    /// When something may be due.
    pub fn poll_timeout(&self, now: Mono) -> Option<Mono> {
        self.due_times(now).min()
    }

    /// When something becomes due that is not due yet.
    pub fn next_after(&self, now: Mono) -> Option<Mono> {
        self.due_times(now).filter(|at| *at > now).min()
    }

    fn due_times(&self, now: Mono) -> impl Iterator<Item = Mono> {
        let channels = self.channels.values().flat_map(move |channel| channel.due_times(now, &self.presence));
        channels.chain([self.heartbeats.next()])
    }

    // ---- questions ---------------------------------------------------------------------------------------

    /// When a peer was last received on this radio.
    pub fn presence(&self, peer: &PeerId) -> Option<Presence> {
        self.presence.get(peer).copied()
    }

    /// When this node sent the newest state that a peer has reported as held since: it has received what was sent then.
    pub fn acknowledged_at(&self, peer: &PeerId) -> Option<Mono> {
        self.channels.values().filter_map(|channel| channel.acknowledged_at(peer)).max()
    }

    /// The peers that count as present now.
    pub fn present_peers(&self, now: Mono) -> impl Iterator<Item = PeerId> {
        self.presence.iter().filter(move |(_, presence)| presence.is_current(now)).map(|(peer, _)| *peer)
    }

    /// The lag of a peer, summed over all channels that both listen on. A channel of a third owner counts from the
    /// peer's first report on it: the peer may not know that owner. `state_pace` is the time between two node states: one that waits
    /// no longer than that counts as in step.
    pub fn sync_status(&self, now: Mono, peer: &PeerId, state_pace: Millis) -> SyncStatus {
        let mut all: Option<Lag> = None;
        let mut unknown: Option<Option<Mono>> = None;
        for (owner, channel) in &self.channels {
            let Some(listener) = channel.listener(peer) else { continue };
            let known_at = listener.known_at();
            match channel.lags(now, peer, state_pace) {
                Some(lags) => *all.get_or_insert_default() += Lag::of(&lags),
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

    /// The layers in which a peer and this node differ, on all channels where what the peer holds is known.
    pub fn layer_lags(&self, now: Mono, peer: &PeerId, state_pace: Millis) -> Vec<LayerLag> {
        self.channels.values().filter_map(|channel| channel.lags(now, peer, state_pace)).flatten().collect()
    }

    /// Whether a listener has, or has just been sent, the reported state of a layer.
    pub fn should_have(&self, owner: &PeerId, layer: &LayerHash, peer: &PeerId) -> bool {
        let Some(channel) = self.channels.get(owner) else { return false };
        match (channel.ours().get(layer), channel.listener(peer)) {
            (Some(state), Some(listener)) => listener.should_have(layer, state),
            _ => false,
        }
    }

    /// Whether a listener holds some state of a layer, or was sent one since its last report.
    pub fn has_any(&self, owner: &PeerId, layer: &LayerHash, peer: &PeerId) -> bool {
        let listener = self.channels.get(owner).and_then(|channel| channel.listener(peer));
        listener.is_some_and(|listener| listener.newest(layer).is_some())
    }

    /// Whether a listener holds a state of a layer, or was sent it last.
    pub fn may_have(&self, owner: &PeerId, layer: &LayerHash, peer: &PeerId, state: State) -> bool {
        let listener = self.channels.get(owner).and_then(|channel| channel.listener(peer));
        listener.is_some_and(|listener| listener.may_have(layer, state))
    }

    /// Whether all of these listeners, and all that are present, hold a state of a layer.
    pub fn all_hold(
        &self,
        now: Mono,
        owner: &PeerId,
        layer: &LayerHash,
        state: State,
        targets: &BTreeSet<PeerId>,
    ) -> bool {
        let channel = self.channels.get(owner);
        channel.is_some_and(|channel| channel.all_hold(now, &self.presence, layer, state, targets))
    }

    /// Whether this node holds all that a listener has reported just now on a channel.
    pub fn brings_nothing(&self, now: Mono, owner: &PeerId, peer: &PeerId) -> bool {
        let Some(channel) = self.channels.get(owner) else { return false };
        let listener = channel.listener(peer).filter(|listener| listener.known_at() == Some(now));
        listener.is_some_and(|listener| listener.brings_nothing(channel.ours()))
    }

    /// The present peers that listen on a channel.
    pub fn listeners(&self, owner: &PeerId, now: Mono) -> Vec<PeerId> {
        let Some(channel) = self.channels.get(owner) else { return Vec::new() };
        self.present_peers(now).filter(|peer| channel.has_member(peer)).collect()
    }

    /// The states of a layer that listeners reported, or are known to hold.
    pub fn shown(&self, owner: &PeerId, layer: &LayerHash) -> Vec<State> {
        self.channels.get(owner).into_iter().flat_map(|channel| channel.shown(layer)).collect()
    }

    /// The timing of the radio.
    pub fn timing(&self) -> Timing {
        self.waits.timing
    }

    /// The state of a layer that is reported to listeners.
    pub fn state(&self, owner: &PeerId, layer: &LayerHash) -> Option<State> {
        self.channels.get(owner)?.ours().get(layer)
    }

    /// Whether this node participates in an owner's channel.
    pub fn participates(&self, owner: &PeerId) -> bool {
        self.channels.contains_key(owner)
    }

    /// The owners of the channels in which this node participates.
    pub fn owners(&self) -> impl Iterator<Item = PeerId> {
        self.channels.keys().copied()
    }

    // ---- what happens here -------------------------------------------------------------------------------

    fn stored(
        &mut self,
        now: Mono,
        owner: PeerId,
        layer: LayerHash,
        offer: LayerOffer,
        from: Option<PeerId>,
        ours: bool,
    ) {
        let author_is_heard = from.is_some() || self.is_present(now, &owner);
        let wait = (!ours).then(|| match offer.rank == ALARMS_RANK && !author_is_heard {
            true => self.waits.relay_alarm(),
            false => self.waits.relay(),
        });
        let again = self.frontier_wait(&owner);
        let Some(channel) = self.channels.get_mut(&owner) else { return };
        channel.stored(now, layer, offer, from, wait);
        match from {
            // More may come with it.
            Some(_) => channel.settle(now + again),
            None => channel.settle(now),
        }
        if let Some(from) = from {
            self.note_sender(&owner, &from);
        }
    }

    fn note_routine(&mut self, owner: &PeerId, layer: &LayerHash, is_routine: bool) {
        if let Some(channel) = self.channels.get_mut(owner) {
            channel.note_routine(layer, is_routine);
        }
    }

    /// Whether a channel has a listener that no other link serves, or none at all so far.
    fn concerns_the_air(&self, now: Mono, owner: &PeerId) -> bool {
        let Some(channel) = self.channels.get(owner) else { return true };
        let mut members = channel.members().peekable();
        members.peek().is_none() || members.any(|peer| !self.elsewhere.contains(now, peer))
    }

    /// Whether a peer is present on this radio, and served by it alone.
    fn is_on_air(&self, now: Mono, peer: &PeerId) -> bool {
        self.presence(peer).is_some_and(|presence| presence.is_current(now))
            && !self.elsewhere.contains(now, peer)
    }

    fn joined(&mut self, now: Mono, peer: PeerId, asked: bool) {
        self.present(now, peer, None);
        // The node that asked sends first.
        let lead = if asked { Millis::ZERO } else { self.waits.timing.frame * 6 };
        let wait = self.waits.timing.settle() + self.waits.frames(4);
        self.heartbeats.greet(peer, now + lead + wait, true);
    }

    /// Changes a channel, and sends a frontier on it whatever others send.
    fn require_frontier(
        &mut self,
        now: Mono,
        wait: Millis,
        owner: &PeerId,
        change: impl FnOnce(&mut BroadcastChannel),
    ) {
        if let Some(channel) = self.channels.get_mut(owner) {
            change(channel);
            channel.require_frontier(now, wait, self.waits.timing.frame);
        }
    }

    fn heartbeat(&self, now: Mono) -> Heartbeat {
        let announced = |owner: &PeerId, channel: &BroadcastChannel| {
            // An owner on air has sent there what it holds.
            match *owner != self.me && self.is_on_air(now, owner) {
                true => channel.ours().fingerprint(),
                false => channel.announced(|peer| self.is_on_air(now, peer)).fingerprint(),
            }
        };
        let count = self.others().count();
        let from_here = self.others().cycle().skip(self.others_from).take(count.min(OTHERS_MAX));
        Heartbeat {
            // Jitter and a busy channel included.
            next_by_s: u32::try_from(self.timing().heartbeat.ms() * 3 / 2 / 1000).unwrap_or(u32::MAX),
            fingerprint: (self.channels.get(&self.me).map_or(0, |own| announced(&self.me, own)) >> 32) as u32,
            others: from_here
                .filter_map(|(owner, channel)| {
                    Some((*channel.aliases.first()?, (announced(owner, channel) >> 48) as u16))
                })
                .collect(),
        }
    }

    fn others(&self) -> impl Iterator<Item = (&PeerId, &BroadcastChannel)> + Clone {
        self.channels.iter().filter(|(owner, _)| **owner != self.me)
    }

    fn expect_early_heartbeat(&mut self, now: Mono, owner: &PeerId, layer: &LayerHash) {
        let news = self.channels.get(owner).map_or(News::Usual, |channel| channel.news(layer));
        let jitter = self.waits.frames(1);
        self.heartbeats.expect_early(now, &self.waits.timing, jitter, news);
    }

    /// Leaves out the early heartbeat that is due, if one is; the usual one follows.
    pub fn drop_early_heartbeat(&mut self, now: Mono) {
        self.heartbeats.drop_early(now);
    }

    /// The random waits of this radio.
    pub fn waits(&mut self) -> &mut Waits {
        &mut self.waits
    }

    // ---- who is present ----------------------------------------------------------------------------------

    fn present(&mut self, now: Mono, peer: PeerId, next_by: Option<Millis>) {
        let before = self.presence.get(&peer).copied();
        let is_new = before.is_none_or(|presence| !presence.is_current(now));
        let until = match next_by {
            Some(next_by) => now + next_by.clamp(Millis::from_ms(1), NEXT_BY_MAX) * MISSED_MAX,
            None => before.map_or(Mono::default(), |presence| presence.until).max(now + RADIO_NEXT_BY_FIRST),
        };
        self.presence.insert(peer, Presence { at: now, until });
        if is_new {
            // A node that comes, or comes back, gets a heartbeat soon if no other frame shows that this node is
            // present.
            let spread = self.waits.timing.spread(self.readers(&peer));
            let wait = self.waits.timing.settle() + spread + self.frontier_wait(&peer);
            self.heartbeats.greet(peer, now + wait, false);
        }
    }

    /// The listeners of a channel have received something that `from` sent there.
    fn note_sender(&mut self, owner: &PeerId, from: &PeerId) {
        let Some(channel) = self.channels.get(owner) else { return };
        // An answer, or news, shows them that their frames are received.
        self.heartbeats.note_met(|peer| peer != from && (peer == owner || channel.has_member(peer)));
    }

    // ---- waits -------------------------------------------------------------------------------------------

    fn is_present(&self, now: Mono, peer: &PeerId) -> bool {
        self.presence.get(peer).is_some_and(|presence| presence.is_current(now))
    }

    fn readers(&self, owner: &PeerId) -> usize {
        self.channels.get(owner).map_or(1, BroadcastChannel::readers)
    }

    fn frontier_wait(&mut self, owner: &PeerId) -> Millis {
        let readers = self.readers(owner);
        self.waits.frontier(*owner == self.me, readers)
    }

    fn reply_delays(&mut self, now: Mono, owner: &PeerId, from: &PeerId) -> ReplyDelays {
        let held_back = self.elsewhere.holds_back(now, from, self.waits.timing.heartbeat);
        ReplyDelays {
            frontier: held_back + self.frontier_wait(owner),
            relay: self.waits.relay(),
            timing: self.waits.timing,
        }
    }

    fn answer_wait(&mut self, now: Mono, owner: &PeerId) -> Millis {
        let is_present = self.is_present(now, owner);
        let readers = self.readers(owner);
        self.waits.answer(is_present, *owner == self.me, readers)
    }
}

#[cfg(test)]
mod tests;
