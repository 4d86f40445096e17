//! What two nodes say to each other alone: audience keys, for who was not there when they were renewed.
//!
//! An owner sends its new key under the one before it (`keys`), once, to all. That misses who slept through
//! more than one renewal, whoever listens to an owner that was restarted before all had heard, and an owner whose
//! disk is lost with its key. For these each pair of peers has a channel of its own, whose key both always know.
//!
//! ```text
//! which keys   [0][state of my keys][state of yours that I hold][sequence of your audience that I hold]
//!   state      [sequence][root print 4], of the `keys` document; sequences in LEB128
//! mine         [1][a whole layer of mine]       `audience` or `keys`
//! yours        [2][a whole layer of yours]
//! ```
//! A reader that is heard, and does not name our key among the audiences it carries, is sent what it lacks. Who
//! hears frames that it cannot read, and some peer not at all, asks that peer. Each further try waits twice as
//! long: others may speak on this frequency, and the peer may be far away.

use std::collections::{BTreeMap, VecDeque};

use tombolo_mesh::airtime::ledger::{Account, Priority, Verdict};
use tombolo_mesh::frame::keys::Identity;
use tombolo_mesh::frame::keys::pair::PairChannel;
use tombolo_mesh::station::Outgoing;
use tombolo_transports::{LinkId, PeerId};

use crate::envelope::{decode_air, encode_air};
use crate::layer::{DocumentId, DocumentName, LayerId, Sequence};
use crate::node::Node;
use crate::node::radio::outbound::account;
use crate::node::radio::{Radio, kinds};
use crate::sync::broadcast::message::{Heartbeat, OTHERS_MAX};
use crate::sync::frontier::State;

/// Airtime of questions for keys.
const ASKS: Account = Account(4);
/// Messages that wait for one radio; what does not fit is asked for again.
const WAITING_MAX: usize = 16;
/// The longest pause between two tries, milliseconds.
const PAUSE_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// After a frame that cannot be read: time for those that can be, in frames.
const HEAR_OUT_FRAMES: u64 = 16;
/// A peer whose own frames were not heard for so many heartbeats is asked.
const SILENT_HEARTBEATS: u64 = 5;

/// The channels of two, by the name that the station has for them.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    by_name: BTreeMap<PeerId, (PeerId, PairChannel)>,
}

/// What one radio knows of them.
#[derive(Debug, Default)]
pub(super) struct Talks {
    /// When a peer was heard last in its own audience.
    heard: BTreeMap<PeerId, u64>,
    asked: BTreeMap<PeerId, Pause>,
    supplied: BTreeMap<PeerId, Pause>,
    /// When to ask somebody, after a frame that could not be read.
    ask_at: Option<u64>,
    waiting: VecDeque<(PeerId, Account, Vec<u8>)>,
}

/// How long something is not tried again.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: u64,
    wait_ms: u64,
}

/// What is said in a channel of two.
#[derive(Debug, PartialEq, Eq)]
enum Talk<'a> {
    Which { mine: State, yours: State, audience: u64 },
    Mine(&'a [u8]),
    Yours(&'a [u8]),
}

impl Pairs {
    /// Makes channels with new peers, and says which are no more.
    pub(super) fn renew(&mut self, us: &Identity, peers: &[PeerId]) -> Vec<PeerId> {
        for peer in peers {
            if self.name(peer).is_none()
                && let Some(channel) = PairChannel::new(us, peer)
            {
                self.by_name.insert(channel.name, (*peer, channel));
            }
        }
        let is_over = |(_, (peer, _)): &(&PeerId, &(PeerId, PairChannel))| !peers.contains(peer);
        let ended: Vec<PeerId> = self.by_name.iter().filter(is_over).map(|(name, _)| *name).collect();
        self.by_name.retain(|name, _| !ended.contains(name));
        ended
    }

    /// Each with the peer at its other end.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(PeerId, PairChannel)> {
        self.by_name.values()
    }

    pub(super) fn is_pair(&self, channel: &PeerId) -> bool {
        self.by_name.contains_key(channel)
    }

    fn name(&self, peer: &PeerId) -> Option<PeerId> {
        self.by_name.iter().find(|(_, (known, _))| known == peer).map(|(name, _)| *name)
    }
}

impl Talks {
    pub(super) fn next_timer(&self) -> Option<u64> {
        self.ask_at
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A peer said something in its own audience: we have its key.
    pub(super) fn heard(&mut self, now: u64, peer: PeerId) {
        self.heard.insert(peer, now);
        self.asked.remove(&peer);
    }

    /// A frame could not be read.
    pub(super) fn stranger(&mut self, now: u64, frame_ms: u64, jitter: u64) {
        let wait = frame_ms * HEAR_OUT_FRAMES;
        self.ask_at.get_or_insert(now + wait + jitter % (wait + 1));
    }

    fn is_silent(&self, now: u64, peer: &PeerId, heartbeat_ms: u64) -> bool {
        self.heard.get(peer).is_none_or(|at| at.saturating_add(SILENT_HEARTBEATS * heartbeat_ms) <= now)
    }

    fn wait(&mut self, to: PeerId, account: Account, bytes: Vec<u8>) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((to, account, bytes));
        }
    }
}

/// Whether something may be tried now; if so, the next try waits twice as long.
fn take(pauses: &mut BTreeMap<PeerId, Pause>, peer: PeerId, now: u64, first_ms: u64) -> bool {
    let pause = pauses.entry(peer).or_insert(Pause { until: now, wait_ms: first_ms });
    let may = pause.until <= now;
    if may {
        pause.until = now + pause.wait_ms;
        pause.wait_ms = (pause.wait_ms * 2).min(PAUSE_MAX_MS);
    }
    may
}

impl Node {
    /// The peers with whom there is a channel of two.
    pub(super) fn pair_peers(&self) -> Vec<PeerId> {
        let known = self.federation.members();
        known.map(|peer| peer.id).collect()
    }

    /// A reader of ours was heard: does it have our key?
    pub(super) fn compare_keys(&mut self, link: LinkId, from: PeerId, heartbeat: &Heartbeat) {
        let Some(key) = self.audience_key(&self.me) else { return };
        let names = |alias: [u8; 2]| heartbeat.others.iter().any(|(named, _)| *named == alias);
        let before = self.previous_key(&self.me.clone(), &key);
        let is_reader = self.members(&self.me).contains(&from);
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return };
        if names(key.alias().0) {
            radio.talks.supplied.remove(&from);
        } else if is_reader
            && heartbeat.others.len() < OTHERS_MAX
            && !before.is_some_and(|before| names(before.alias().0))
        {
            self.supply_keys(link, from, self.me);
        }
    }

    /// Frames come that we cannot read: whom of our peers do we not hear at all?
    pub(super) fn ask_for_keys(&mut self, link: LinkId) {
        let now = self.now.mono_ms;
        let peers = self.pair_peers();
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return };
        if radio.talks.ask_at.is_none_or(|at| at > now) {
            return;
        }
        radio.talks.ask_at = None;
        let heartbeat_ms = radio.pace.heartbeat_ms;
        let has_cable = |peer: &PeerId| self.links.values().any(|link| link.peer == *peer);
        let silent =
            peers.into_iter().filter(|p| radio.talks.is_silent(now, p, heartbeat_ms) && !has_cable(p));
        let rested = silent.map(|peer| (radio.talks.asked.get(&peer).map_or(0, |pause| pause.until), peer));
        if let Some((_, peer)) = rested.filter(|(until, _)| *until <= now).min() {
            self.ask_which(link, peer);
        }
    }

    fn ask_which(&mut self, link: LinkId, peer: PeerId) {
        let audience = self.federation.audience_sequence(&peer).get();
        let (mine, yours) = (self.keys_state(&self.me), self.keys_state(&peer));
        let bytes = Talk::Which { mine, yours, audience }.encode();
        let now = self.now.mono_ms;
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return };
        if take(&mut radio.talks.asked, peer, now, radio.pace.heartbeat_ms) {
            radio.talks.wait(peer, ASKS, bytes);
        }
    }

    /// Sends the audience and the keys of one of the two, the audience first: the keys count under it.
    fn supply_keys(&mut self, link: LinkId, to: PeerId, owner: PeerId) {
        if self.links.values().any(|link| link.peer == to) {
            return;
        }
        let now = self.now.mono_ms;
        let mut messages = Vec::new();
        for name in [DocumentName::AUDIENCE, DocumentName::KEYS] {
            let Some(id) = rights_layer(&owner, name) else { continue };
            let Some(layer) = self.holdings.layer(&id) else { continue };
            let bytes = encode_air(layer, false);
            let talk = if owner == self.me { Talk::Mine(&bytes) } else { Talk::Yours(&bytes) };
            messages.push((account(&id.hash()), talk.encode()));
        }
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return };
        if take(&mut radio.talks.supplied, to, now, radio.pace.heartbeat_ms / 2) {
            messages.into_iter().for_each(|(account, bytes)| radio.talks.wait(to, account, bytes));
        }
    }

    /// Hands the station what waits. Whether something went.
    pub(super) fn send_talk(&mut self, link: LinkId) -> bool {
        let now = self.now.mono_ms;
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return false };
        while let Some((to, account, bytes)) = radio.talks.waiting.pop_front() {
            let Some(channel) = self.radios.pairs.name(&to) else { continue };
            let priority = if account == ASKS { Priority::Upkeep } else { Priority::State };
            let in_frame = bytes.len().min(radio.station.payload_bytes_max());
            match radio.station.verdict(now, in_frame, priority) {
                Verdict::Now => {}
                Verdict::Wait { ms } => {
                    radio.retry_at = Some(now.saturating_add(ms));
                    radio.talks.waiting.push_front((to, account, bytes));
                    return false;
                }
                Verdict::Never { why } => {
                    radio.counts.never = Some(why.to_string());
                    continue;
                }
            }
            let kind = kinds::PAIR;
            let outgoing = Outgoing { channel, kind, bytes, priority, account, previous_key: false };
            if radio.station.send(now, outgoing).is_ok() {
                return true;
            }
        }
        false
    }

    /// Something came in a channel of two. What it brings goes through the same gates as on any link.
    pub(super) fn talk_heard(&mut self, link: LinkId, from: PeerId, bytes: &[u8]) {
        let (owner, layer) = match Talk::decode(bytes) {
            None => return self.counters.reject("bad_message"),
            Some(Talk::Which { mine, yours, audience }) => {
                return self.keys_asked(link, from, (mine, yours, audience));
            }
            Some(Talk::Mine(layer)) => (from, layer),
            Some(Talk::Yours(layer)) => (self.me, layer),
        };
        let Ok(envelope) = decode_air(owner, layer) else { return self.counters.reject("bad_message") };
        let signed = envelope.signed.clone();
        if super::rank(&signed.head.layer.document.name) > 0 {
            return self.counters.reject("bad_message");
        }
        self.inbound_whole(from, envelope);
        let held = self.holdings.layer(&signed.head.layer).map(|layer| State::of(&layer.signed));
        if owner == from && held.is_some_and(|held| held > State::of(&signed)) {
            // It lost what it had: we hold a later state of its own.
            self.supply_keys(link, from, from);
        }
    }

    /// What we hold of an owner's keys; the least there can be if that is nothing.
    fn keys_state(&self, owner: &PeerId) -> State {
        let layer = rights_layer(owner, DocumentName::KEYS).and_then(|id| self.holdings.layer(&id));
        layer
            .map_or(State { sequence: Sequence::NONE, root_prefix: [0; 4] }, |layer| State::of(&layer.signed))
    }

    /// `from` said what it has of its own keys, and of ours.
    fn keys_asked(&mut self, link: LinkId, from: PeerId, (mine, yours, audience): (State, State, u64)) {
        let (our_own, of_theirs) = (self.keys_state(&self.me), self.keys_state(&from));
        let it_lacks = yours < our_own || audience < self.federation.audience_sequence(&self.me).get();
        if it_lacks && self.members(&self.me).contains(&from) {
            self.supply_keys(link, from, self.me);
        }
        if mine < of_theirs {
            // Its disk was lost.
            self.supply_keys(link, from, from);
        }
        if mine > of_theirs || yours > our_own {
            self.ask_which(link, from);
        }
    }
}

impl Talk<'_> {
    fn encode(&self) -> Vec<u8> {
        match self {
            Talk::Which { mine, yours, audience } => {
                let mut bytes = vec![0];
                put_state(&mut bytes, *mine);
                put_state(&mut bytes, *yours);
                tombolo_delta::varint::put(&mut bytes, *audience);
                bytes
            }
            Talk::Mine(layer) => [&[1], *layer].concat(),
            Talk::Yours(layer) => [&[2], *layer].concat(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Talk<'_>> {
        match bytes.split_first()? {
            (0, rest) => {
                let (mine, rest) = read_state(rest)?;
                let (yours, rest) = read_state(rest)?;
                let (audience, rest) = tombolo_delta::varint::take(rest).ok()?;
                rest.is_empty().then_some(Talk::Which { mine, yours, audience })
            }
            (1, layer) => Some(Talk::Mine(layer)),
            (2, layer) => Some(Talk::Yours(layer)),
            _ => None,
        }
    }
}

fn put_state(bytes: &mut Vec<u8>, state: State) {
    tombolo_delta::varint::put(bytes, state.sequence.get());
    bytes.extend(state.root_prefix);
}

fn read_state(bytes: &[u8]) -> Option<(State, &[u8])> {
    let (sequence, rest) = tombolo_delta::varint::take(bytes).ok()?;
    let (print, rest) = rest.split_first_chunk()?;
    Some((State { sequence: Sequence::new(sequence)?, root_prefix: *print }, rest))
}

/// The layer that decides about rights, or keeps keys: its owner is its author.
fn rights_layer(owner: &PeerId, name: &str) -> Option<LayerId> {
    let document = DocumentId { owner: *owner, name: DocumentName::new(name).ok()? };
    Some(LayerId { document, author: *owner })
}

impl Radio {
    /// A frame came that nobody we know can have sent.
    pub(super) fn heard_stranger(&mut self, now: u64, jitter: u64) {
        self.talks.stranger(now, self.pace.frame_ms, jitter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_said_reads_back(
            [mine, yours, audience] in [0u64..1 << 53, 0..1 << 53, 0..1 << 53], print: [u8; 4], layer: Vec<u8>
        ) {
            let [mine, yours] = [mine, yours].map(|sequence| State { sequence: Sequence::new(sequence).unwrap(), root_prefix: print });
            for talk in [Talk::Which { mine, yours, audience }, Talk::Mine(&layer), Talk::Yours(&layer)] {
                let bytes = talk.encode();
                prop_assert_eq!(Talk::decode(&bytes), Some(talk));
            }
        }

        #[test]
        fn nothing_panics_on_hostile_bytes(bytes: Vec<u8>) {
            let _ = Talk::decode(&bytes);
        }
    }

    #[test]
    fn each_further_try_waits_twice_as_long() {
        let (mut pauses, peer) = (BTreeMap::new(), PeerId([1; 32]));
        let tried: Vec<u64> = (0..100).filter(|now| take(&mut pauses, peer, *now, 10)).collect();
        assert_eq!(tried, [0, 10, 30, 70]);
    }
}
