//! Pairwise channels: audience keys for a node that was not there when they were renewed, and commands to one peer.
//!
//! An owner sends its new key under the one before it (`keys`), once, to all. That misses a reader that was off during more
//! than one renewal, the readers of an owner that was restarted before all had received the key, and an owner whose disk is
//! lost with its key. For these each pair of peers has a channel of its own, whose key both always know.
//!
//! ```text
//! which keys   [0][state of my keys][state of yours that I hold][sequence of your audience that I hold]
//!   state      [sequence][root digest 4], of the `keys` document; sequences in LEB128
//! mine         [1][a whole layer of mine]       `audience` or `keys`
//! yours        [2][a whole layer of yours]
//! command      [3][a signed command]            `commands/FORMAT.md`
//! answer       [4][what became of a command]
//! notice       [5][a notice that an identity is revoked]
//! heard        [6][the hash of a notice, 8]
//! ```
//! A reader that is present, and does not name this node's key among the audiences it relays, is sent what it lacks. A node
//! that receives frames it cannot open, and nothing from some peer, asks that peer. Each further try waits twice as long:
//! other networks may use this frequency, and the peer may be far away.

use crate::time::{Millis, Mono};
use std::collections::{BTreeMap, VecDeque};

use tombolo_mesh::airtime::ledger::{Account, Priority};
use tombolo_mesh::frame::keys::Identity;
use tombolo_mesh::frame::keys::pair::PairChannel;
use tombolo_mesh::station::Outgoing;
use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::audience::{listeners_of, member_peers};
use crate::broadcast::schedule::HandOver;
use crate::broadcast::transmit::{SendOutcome, account};
use crate::broadcast::{Broadcast, NodeParts, RadioContext, RadioLink, kinds};
use crate::commands::{ANSWER_BYTES_MAX, COMMAND_BYTES_MAX, NOTICE_BYTES_MAX};
use crate::core::{Core, reserved_document};
use crate::envelope::{Envelope, decode_air, encode_air};
use crate::layer::{DocumentName, LayerId, Sequence, SignedHead};
use crate::replica::Replica;
use crate::sync::broadcast::message::{Heartbeat, OTHERS_MAX};
use crate::sync::frontier::State;

/// Airtime of commands and answers.
const COMMANDS: Account = Account(5);
/// Airtime of notices of revocation.
const NOTICES: Account = Account(6);
/// Airtime of questions for keys.
const ASKS: Account = Account(4);
/// Messages that wait for one radio; what does not fit is asked for again.
const WAITING_MAX: usize = 16;
/// The longest pause between two tries.
const PAUSE_MAX: Millis = Millis::from_secs(24 * 60 * 60);
/// After a frame that cannot be read: time for those that can be, in frames.
const HEAR_OUT_FRAMES: u64 = 16;
/// A peer whose own frames were not received for so many heartbeats is asked.
const SILENT_HEARTBEATS: u64 = 5;

/// Pairwise channels, by the name that the station has for them.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    by_name: BTreeMap<PeerId, (PeerId, PairChannel)>,
}

/// The key exchange over pairwise channels on one radio: who has to be asked, and what waits to be sent.
#[derive(Debug, Default)]
pub(super) struct PairExchange {
    /// When a frame of a peer in its own audience was received last.
    received: BTreeMap<PeerId, Mono>,
    asked: BTreeMap<PeerId, Pause>,
    supplied: BTreeMap<PeerId, Pause>,
    /// When a silent peer is asked, after a frame that could not be read.
    ask_at: Option<Mono>,
    waiting: VecDeque<(PeerId, Account, Vec<u8>)>,
}

/// How long something is not tried again.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Mono,
    wait: Millis,
}

/// What the sender of a question holds of both nodes' keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStates {
    /// The `keys` document of the sender.
    pub mine: State,
    /// The `keys` document of the receiver.
    pub yours: State,
    /// Sequence of the receiver's audience.
    pub audience: Sequence,
}

/// What a message on a pairwise channel leads to.
#[derive(Debug)]
pub enum PairReceived {
    /// It was a question, and is answered from here.
    Nothing,
    /// A layer about rights or keys: it goes through the same gate as from any link.
    Layer(Box<Envelope>),
    /// A command, as on any link.
    Command(Vec<u8>),
    /// The answer to a command, as on any link.
    Answer(Vec<u8>),
    /// A notice that an identity is revoked, as on any link.
    Notice(Vec<u8>),
    /// A confirmation of a notice, as on any link.
    NoticeHeard(Vec<u8>),
    /// It does not decode.
    Malformed,
}

/// A message on a pairwise channel.
#[derive(Debug, PartialEq, Eq)]
pub enum PairMessage<'a> {
    /// "These are the keys that I hold": asks for later ones.
    Which(KeyStates),
    /// A whole layer of the sender's `audience` or `keys`.
    Mine(&'a [u8]),
    /// A whole layer of the receiver's `audience` or `keys`.
    Yours(&'a [u8]),
    /// A signed command, as on a link.
    Command(&'a [u8]),
    /// The answer to a command.
    Answer(&'a [u8]),
    /// A notice that an identity is revoked.
    Notice(&'a [u8]),
    /// The hash of a notice that was received.
    NoticeHeard(&'a [u8]),
}

impl Pairs {
    /// Makes channels with new peers. Returns the names of those whose peer is gone.
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

    /// Each channel with the peer at its other end.
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

impl PairExchange {
    pub(super) fn next_timer(&self) -> Option<Mono> {
        self.ask_at
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A frame of a peer in its own audience was opened: this node has its key.
    pub(super) fn received(&mut self, now: Mono, peer: PeerId) {
        self.received.insert(peer, now);
        self.asked.remove(&peer);
    }

    /// A frame could not be read.
    pub(super) fn foreign(&mut self, now: Mono, frame_airtime: Millis, jitter: u64) {
        let wait = frame_airtime * HEAR_OUT_FRAMES;
        self.ask_at.get_or_insert(now + wait + Millis::from_ms(jitter % (wait.ms() + 1)));
    }

    fn is_silent(&self, now: Mono, peer: &PeerId, heartbeat: Millis) -> bool {
        self.received.get(peer).is_none_or(|at| *at + SILENT_HEARTBEATS * heartbeat <= now)
    }

    /// Queues a message before all others; the last one makes room where there is none.
    fn wait_first(&mut self, to: PeerId, account: Account, bytes: Vec<u8>) {
        self.waiting.retain(|(peer, _, waiting)| *peer != to || *waiting != bytes);
        self.waiting.truncate(WAITING_MAX - 1);
        self.waiting.push_front((to, account, bytes));
    }

    /// Queues a message, unless it waits already.
    fn wait(&mut self, to: PeerId, account: Account, bytes: Vec<u8>) {
        let waits = self.waiting.iter().any(|(peer, _, waiting)| *peer == to && *waiting == bytes);
        if !waits && self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((to, account, bytes));
        }
    }
}

/// Whether something may be tried now; if so, the next try waits twice as long.
fn take(pauses: &mut BTreeMap<PeerId, Pause>, peer: PeerId, now: Mono, first: Millis) -> bool {
    let pause = pauses.entry(peer).or_insert(Pause { until: now, wait: first });
    let may = pause.until <= now;
    if may {
        pause.until = now + pause.wait;
        pause.wait = (pause.wait * 2).min(PAUSE_MAX);
    }
    may
}

impl Broadcast {
    /// A reader's heartbeat was received: if it does not have the present audience key, it is sent it.
    pub fn compare_keys(&mut self, parts: NodeParts<'_>, link: LinkId, from: PeerId, heartbeat: &Heartbeat) {
        let NodeParts { core, replica, .. } = parts;
        let Some(key) = self.shared.keys.key_of(core, replica, &core.me) else { return };
        let names = |alias: [u8; 2]| heartbeat.others.iter().any(|(named, _)| *named == alias);
        let before = self.shared.keys.previous(&core.me, &key);
        let is_reader = listeners_of(replica.federation(), &core.me).contains(&from);
        let Some(radio) = self.radios.get_mut(&link) else { return };
        if names(key.alias().0) {
            radio.exchange.supplied.remove(&from);
        } else if is_reader
            && heartbeat.others.len() < OTHERS_MAX
            && !before.is_some_and(|before| names(before.alias().0))
        {
            radio.supply_keys(parts, from, core.me);
        }
    }

    /// A message arrived on a pairwise channel; hostile.
    pub fn pair_message_received(
        &mut self,
        parts: NodeParts<'_>,
        link: LinkId,
        from: PeerId,
        bytes: &[u8],
    ) -> PairReceived {
        let (owner, layer) = match PairMessage::decode(bytes) {
            None => return PairReceived::Malformed,
            Some(PairMessage::Which(states)) => {
                if let Some(radio) = self.radios.get_mut(&link) {
                    radio.keys_asked(parts, from, states);
                }
                return PairReceived::Nothing;
            }
            Some(PairMessage::Mine(layer)) => (from, layer),
            Some(PairMessage::Yours(layer)) => (parts.core.me, layer),
            Some(PairMessage::Command(bytes)) if bytes.len() <= COMMAND_BYTES_MAX => {
                return PairReceived::Command(bytes.to_vec());
            }
            Some(PairMessage::Answer(bytes)) if bytes.len() <= ANSWER_BYTES_MAX => {
                return PairReceived::Answer(bytes.to_vec());
            }
            Some(PairMessage::Notice(bytes)) if bytes.len() <= NOTICE_BYTES_MAX => {
                return PairReceived::Notice(bytes.to_vec());
            }
            Some(PairMessage::NoticeHeard(hash)) if hash.len() <= NOTICE_BYTES_MAX => {
                return PairReceived::NoticeHeard(hash.to_vec());
            }
            Some(
                PairMessage::Command(_)
                | PairMessage::Answer(_)
                | PairMessage::Notice(_)
                | PairMessage::NoticeHeard(_),
            ) => return PairReceived::Malformed,
        };
        let envelope = decode_air(owner, layer).ok();
        let envelope = envelope.filter(|e| super::rank(&e.signed.head.layer.document.name) == 0);
        envelope.map_or(PairReceived::Malformed, |envelope| PairReceived::Layer(Box::new(envelope)))
    }

    /// The radios that hear a peer and have a sealed channel with it.
    pub fn pair_radios(&self, core: &Core, peer: &PeerId) -> Vec<LinkId> {
        if self.shared.pairs.name(peer).is_none() {
            return Vec::new();
        }
        let hearing = self.radios.values().filter(|radio| radio.is_present(peer, core.now()));
        hearing.map(|radio| radio.link).collect()
    }

    /// Whether a radio hears a peer now.
    pub fn hears(&self, core: &Core, link: LinkId, peer: &PeerId) -> bool {
        self.radios.get(&link).is_some_and(|radio| radio.is_present(peer, core.now()))
    }

    /// Sends a message on the pairwise channel of a radio, as soon as airtime allows; a notice before all that waits.
    pub(crate) fn send_to_peer(&mut self, link: LinkId, to: PeerId, message: &PairMessage<'_>) {
        if let Some(radio) = self.radios.get_mut(&link) {
            match message {
                PairMessage::Notice(_) => radio.exchange.wait_first(to, NOTICES, message.encode()),
                _ => radio.exchange.wait(to, COMMANDS, message.encode()),
            }
            radio.due.retry_at = None;
        }
    }

    /// A layer from a pairwise channel went through the gate: a peer that has lost its own newer state is sent it.
    pub fn pair_message_applied(
        &mut self,
        parts: NodeParts<'_>,
        link: LinkId,
        from: PeerId,
        signed: &SignedHead,
    ) {
        let replica = parts.replica;
        let owner = signed.head.layer.document.owner;
        let is_behind = replica.state(&signed.head.layer).is_some_and(|held| held > State::of(signed));
        if owner == from
            && is_behind
            && let Some(radio) = self.radios.get_mut(&link)
        {
            radio.supply_keys(parts, from, from);
        }
    }
}

impl RadioLink {
    /// Frames arrive that cannot be opened: asks the silent peer that was not asked for longest.
    pub(super) fn ask_for_keys(&mut self, cx: &mut RadioContext<'_>) {
        let now = cx.core.now();
        if self.exchange.ask_at.is_none_or(|at| at > now) {
            return;
        }
        self.exchange.ask_at = None;
        let heartbeat = self.engine.timing().heartbeat;
        let peers = member_peers(cx.replica.federation());
        let silent =
            peers.filter(|p| self.exchange.is_silent(now, p, heartbeat) && !cx.unicast.has_link_to(p));
        let rested =
            silent.map(|peer| (self.exchange.asked.get(&peer).map_or(Mono::ZERO, |pause| pause.until), peer));
        if let Some((_, peer)) = rested.filter(|(until, _)| *until <= now).min() {
            self.ask_which(cx.core, cx.replica, peer);
        }
    }

    fn ask_which(&mut self, core: &Core, replica: &Replica, peer: PeerId) {
        let audience = replica.federation().audience_sequence(&peer);
        let (mine, yours) = (keys_state(replica, &core.me), keys_state(replica, &peer));
        let bytes = PairMessage::Which(KeyStates { mine, yours, audience }).encode();
        if take(&mut self.exchange.asked, peer, core.now(), self.engine.timing().heartbeat) {
            self.exchange.wait(peer, ASKS, bytes);
        }
    }

    /// Sends the audience and the keys of one of the two, the audience first: the keys count under it.
    fn supply_keys(&mut self, parts: NodeParts<'_>, to: PeerId, owner: PeerId) {
        let NodeParts { core, replica, unicast } = parts;
        if unicast.has_link_to(&to) {
            return;
        }
        let mut messages = Vec::new();
        for name in [DocumentName::AUDIENCE, DocumentName::KEYS] {
            let id = rights_layer(&owner, name);
            let Some(layer) = replica.layer(&id) else { continue };
            let bytes = encode_air(layer, false);
            let message =
                if owner == core.me { PairMessage::Mine(&bytes) } else { PairMessage::Yours(&bytes) };
            messages.push((account(&id.hash()), message.encode()));
        }
        if take(&mut self.exchange.supplied, to, core.now(), self.engine.timing().heartbeat / 2) {
            messages.into_iter().for_each(|(account, bytes)| self.exchange.wait(to, account, bytes));
        }
    }

    /// Hands the station the next message that waits.
    pub(super) fn send_pair_message(&mut self, cx: &mut RadioContext<'_>) -> SendOutcome {
        while let Some((to, account, bytes)) = self.exchange.waiting.front().cloned() {
            let outcome = cx.shared.pairs.name(&to).map(|channel| {
                let priority = match account {
                    ASKS => Priority::Upkeep,
                    COMMANDS => Priority::Command,
                    // Revocations, audiences and their keys.
                    _ => Priority::Rights,
                };
                let kind = kinds::PAIR;
                let outgoing = Outgoing { channel, kind, bytes, priority, account, previous_key: false };
                self.hand_over(cx.core.now(), outgoing)
            });
            if let Some(HandOver::Wait(at)) = outcome {
                return SendOutcome::Wait(at);
            }
            self.exchange.waiting.pop_front();
            match outcome {
                Some(HandOver::Done(_)) => return SendOutcome::Sent(None),
                Some(HandOver::Never(why)) => self.counts.never = Some(why),
                Some(HandOver::Wait(_) | HandOver::Refused(_)) | None => {}
            }
        }
        SendOutcome::Nothing
    }

    /// `from` has sent what it has of its own keys, and of this node's.
    fn keys_asked(&mut self, parts: NodeParts<'_>, from: PeerId, states: KeyStates) {
        let NodeParts { core, replica, .. } = parts;
        let KeyStates { mine, yours, audience } = states;
        let (own, of_peer) = (keys_state(replica, &core.me), keys_state(replica, &from));
        let federation = replica.federation();
        let it_lacks = yours < own || audience < federation.audience_sequence(&core.me);
        if it_lacks && listeners_of(federation, &core.me).contains(&from) {
            self.supply_keys(parts, from, core.me);
        }
        if mine < of_peer {
            // Its disk was lost.
            self.supply_keys(parts, from, from);
        }
        if mine > of_peer || yours > own {
            self.ask_which(core, replica, from);
        }
    }

    /// A frame arrived that no known peer can have sent.
    pub(super) fn received_foreign(&mut self, now: Mono, jitter: u64) {
        self.exchange.foreign(now, self.engine.timing().frame, jitter);
    }
}

/// What is held of an owner's keys; the least possible state if nothing is.
fn keys_state(replica: &Replica, owner: &PeerId) -> State {
    replica
        .state(&rights_layer(owner, DocumentName::KEYS))
        .unwrap_or(State { sequence: Sequence::NONE, root_prefix: [0; 4] })
}

impl PairMessage<'_> {
    /// The bytes that travel in a frame of the channel.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            PairMessage::Which(KeyStates { mine, yours, audience }) => {
                let mut bytes = vec![0];
                put_state(&mut bytes, *mine);
                put_state(&mut bytes, *yours);
                tombolo_delta::varint::put(&mut bytes, audience.get());
                bytes
            }
            PairMessage::Mine(layer) => [&[1], *layer].concat(),
            PairMessage::Yours(layer) => [&[2], *layer].concat(),
            PairMessage::Command(bytes) => [&[3], *bytes].concat(),
            PairMessage::Answer(bytes) => [&[4], *bytes].concat(),
            PairMessage::Notice(bytes) => [&[5], *bytes].concat(),
            PairMessage::NoticeHeard(hash) => [&[6], *hash].concat(),
        }
    }

    /// Reads a peer's bytes; none where they are no message of a pair. Layers, commands and notices within are read by others.
    pub fn decode(bytes: &[u8]) -> Option<PairMessage<'_>> {
        match bytes.split_first()? {
            (0, rest) => {
                let (mine, rest) = read_state(rest)?;
                let (yours, rest) = read_state(rest)?;
                let (audience, rest) = tombolo_delta::varint::take(rest).ok()?;
                let audience = Sequence::new(audience)?;
                rest.is_empty().then_some(PairMessage::Which(KeyStates { mine, yours, audience }))
            }
            (1, layer) => Some(PairMessage::Mine(layer)),
            (2, layer) => Some(PairMessage::Yours(layer)),
            (3, bytes) => Some(PairMessage::Command(bytes)),
            (4, bytes) => Some(PairMessage::Answer(bytes)),
            (5, bytes) => Some(PairMessage::Notice(bytes)),
            (6, hash) => Some(PairMessage::NoticeHeard(hash)),
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
    let (prefix, rest) = rest.split_first_chunk()?;
    Some((State { sequence: Sequence::new(sequence)?, root_prefix: *prefix }, rest))
}

/// The layer that decides about rights, or has the keys: its owner is its author.
fn rights_layer(owner: &PeerId, name: &'static str) -> LayerId {
    LayerId { document: reserved_document(*owner, name), author: *owner }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_encoded_message_decodes_to_itself(
            [mine, yours, audience] in [0u64..1 << 53, 0..1 << 53, 0..1 << 53], prefix: [u8; 4], layer: Vec<u8>
        ) {
            let [mine, yours] = [mine, yours].map(|sequence| State { sequence: Sequence::new(sequence).unwrap(), root_prefix: prefix });
            let audience = Sequence::new(audience).unwrap();
            for message in [PairMessage::Which(KeyStates { mine, yours, audience }), PairMessage::Mine(&layer), PairMessage::Yours(&layer), PairMessage::Command(&layer), PairMessage::Answer(&layer)] {
                let bytes = message.encode();
                prop_assert_eq!(PairMessage::decode(&bytes), Some(message));
            }
        }

        #[test]
        fn nothing_panics_on_hostile_bytes(bytes: Vec<u8>) {
            let _ = PairMessage::decode(&bytes);
        }
    }

    #[test]
    fn each_further_try_waits_twice_as_long() {
        let (mut pauses, peer) = (BTreeMap::new(), PeerId([1; 32]));
        let tried: Vec<u64> = (0..100)
            .filter(|now| take(&mut pauses, peer, Mono::from_ms(*now), Millis::from_ms(10)))
            .collect();
        assert_eq!(tried, [0, 10, 30, 70]);
    }
}
