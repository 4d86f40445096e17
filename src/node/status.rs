//! How things stand, in the words of `status`, `peers` and `id`.

use std::collections::{BTreeMap, VecDeque};

use tombolo_transports::{LinkId, Medium, PeerId};

use crate::clock::{TimeSource, rfc3339};
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::identity::did;
use crate::node::io::Event;
use crate::node::{Node, view};

/// What is counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    rejections: BTreeMap<String, u64>,
    traffic: view::TrafficView,
    /// Bytes of messages today since the start, sent and received, to and from each peer by each medium.
    today: BTreeMap<(PeerId, Medium), (u64, u64)>,
    boots: BTreeMap<PeerId, Boots>,
}

/// Boots of one peer that are remembered; the one heard longest ago goes first.
const BOOTS_KEPT_MAX: usize = 4;
/// A boot that goes on after another one was heard is a second machine. A message that was overtaken may look
/// like it once or twice.
const BOOT_RETURNS_MAX: u32 = 3;
/// Within so many milliseconds; for so long the alarm stands.
const BOOT_RETURNS_MS: u64 = 10 * 60 * 1000;

/// The boots that were heard of a peer, each with its newest uptime; the one heard last stands last.
#[derive(Debug, Default)]
struct Boots {
    heard: VecDeque<(u32, u64)>,
    returns: u32,
    since: u64,
    alarm_until: Option<u64>,
}

impl Boots {
    /// Takes note of a sign of life. Whether it shows, for the first time in a while, that two machines run.
    fn hear(&mut self, boot: u32, uptime_ms: u64, now: u64) -> bool {
        let known = self.heard.iter().position(|(other, _)| *other == boot);
        if known.and_then(|at| self.heard.get(at)).is_some_and(|(_, newest)| uptime_ms <= *newest) {
            return false;
        }
        let returns = known.is_some_and(|at| at + 1 < self.heard.len());
        self.heard.retain(|(other, _)| *other != boot);
        self.heard.push_back((boot, uptime_ms));
        if self.heard.len() > BOOTS_KEPT_MAX {
            self.heard.pop_front();
        }
        if !returns {
            return false;
        }
        if now.saturating_sub(self.since) > BOOT_RETURNS_MS {
            (self.since, self.returns) = (now, 0);
        }
        self.returns += 1;
        if self.returns < BOOT_RETURNS_MAX {
            return false;
        }
        self.alarm_until.replace(now + BOOT_RETURNS_MS).is_none_or(|until| until <= now)
    }
}

/// The disk refused a commit.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Why, in its own words.
    pub(super) why: String,
    /// Until when peers' layers are left alone, monotonic milliseconds.
    pub(super) until: u64,
    /// The file could not be opened again yet, so the memory holds what was never saved.
    pub(super) memory_is_ahead: bool,
}

impl Counters {
    /// Something was turned away. Reasons are words of the program, never of a peer.
    pub(super) fn reject(&mut self, reason: &str) {
        match self.rejections.get_mut(reason) {
            Some(count) => *count += 1,
            None => {
                self.rejections.insert(reason.to_owned(), 1);
            }
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.traffic.messages_sent += 1;
        self.traffic.bytes_sent += bytes as u64;
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.traffic.messages_received += 1;
        self.traffic.bytes_received += bytes as u64;
    }

    fn sent_on(&mut self, peer: PeerId, medium: Medium, bytes: usize) {
        self.sent(bytes);
        self.today.entry((peer, medium)).or_default().0 += bytes as u64;
    }

    pub(super) fn received_on(&mut self, peer: PeerId, medium: Medium, bytes: usize) {
        self.received(bytes);
        self.today.entry((peer, medium)).or_default().1 += bytes as u64;
    }

    /// What links of a medium have carried today to and from a peer.
    pub(super) fn today(&self, peer: PeerId, medium: Medium) -> (u64, u64) {
        self.today.get(&(peer, medium)).copied().unwrap_or_default()
    }

    /// Nothing is kept of who is no peer.
    pub(super) fn forget_peer(&mut self, peer: &PeerId) {
        self.today.retain(|(of, _), _| of != peer);
    }

    pub(super) fn start_day(&mut self) {
        self.today.clear();
    }
}

impl Node {
    /// A message goes out on a link.
    pub(super) fn count_sent(&mut self, link: LinkId, bytes: usize) {
        match self.links.get(&link) {
            Some(to) => self.counters.sent_on(to.peer, to.caps.medium, bytes),
            None => self.counters.sent(bytes),
        }
    }

    /// A peer's sign of life, with what it says of its start: two that go on side by side are two machines.
    pub(super) fn hear_boot(&mut self, peer: PeerId, boot: u32, uptime_ms: u64) {
        let now = self.now.mono_ms;
        if self.counters.boots.entry(peer).or_default().hear(boot, uptime_ms, now) {
            let message = self.two_machines(&peer);
            self.event(Event::Alarm { message });
        }
    }

    fn two_machines(&self, peer: &PeerId) -> String {
        let name = self.name_of(peer);
        format!(
            "two machines run with the key of {name}, and take each other's links: one of them has to be stopped, \
             and made anew with `init` in an empty folder"
        )
    }

    pub(super) fn id_view(&self) -> view::IdView {
        view::IdView {
            did: did(&self.me),
            pubkey: data_encoding::HEXLOWER.encode(&self.me.0),
            onion: self.keypair.onion(),
            name: self.settings.name.clone(),
        }
    }

    pub(super) fn peer_view(&self, peer: &Peer) -> view::PeerView {
        let last_state = self.newest_state(&peer.id);
        view::PeerView {
            did: did(&peer.id),
            pubkey: data_encoding::HEXLOWER.encode(&peer.id.0),
            onion: peer.onion.clone(),
            name: peer.name().map(str::to_owned),
            trust_level: peer.trust_level,
            added_at: rfc3339(peer.added_at_ms),
            last_seen: last_state.as_ref().map(|state| state.timestamp.clone()),
            last_state,
            heard_at: peer.heard_at_ms.map(rfc3339),
            connected: self.links.values().any(|link| link.peer == peer.id)
                || self.step_by_radio(&peer.id).is_some(),
            joined: match peer.joined {
                Joined::Agreed => "agreed",
                Joined::Waiting { .. } => "waiting",
            },
            links: self.media_to(&peer.id),
            step: self.step_of(peer),
        }
    }

    fn peer_status(&self, peer: &Peer) -> view::PeerStatusView {
        view::PeerStatusView {
            name: self.name_of(&peer.id),
            did: did(&peer.id),
            trust_level: peer.trust_level,
            links: self.media_to(&peer.id),
            step: self.step_of(peer),
            heard_at: peer.heard_at_ms.map(rfc3339),
        }
    }

    pub(super) fn status(&mut self) -> view::StatusView {
        let transfers = self.transfers_view();
        let (time, source) = self.reference.reference(self.now);
        let mut forks = BTreeMap::new();
        for fork in &self.forks {
            *forks.entry(did(&fork.lower.head.layer.author)).or_insert(0) += 1;
        }
        view::StatusView {
            id: self.id_view(),
            time: rfc3339(time),
            time_source: match source {
                TimeSource::Own => "own",
                TimeSource::Median => "median",
                TimeSource::Peer => "peer",
                TimeSource::Logical => "logical",
            },
            documents: self.holdings.documents().filter(|(id, _)| self.federation.participates(id)).count(),
            peers: self.federation.peers().map(|peer| self.peer_status(peer)).collect(),
            rejections: self.counters.rejections.clone().into_iter().chain(self.radio_rejections()).collect(),
            traffic: self.counters.traffic,
            router: self.router.counters(),
            addresses: Vec::new(),
            alarms: self.alarms(source),
            forks,
            transfers,
            quarantined: self.holdings.documents().map(|(_, document)| document.quarantined()).sum(),
        }
    }

    fn alarms(&self, source: TimeSource) -> Vec<String> {
        let mut alarms: Vec<String> = self.stopped.iter().cloned().collect();
        alarms.extend(self.trouble.iter().map(|t| format!("the last change was not saved: {}", t.why)));
        let troubles = self.invites.troubles();
        alarms.extend(
            troubles.map(|(peer, why)| format!("{} has not answered yet: {why}", self.name_of(peer))),
        );
        let now = self.now.mono_ms;
        let twice = |(_, boots): &(&PeerId, &Boots)| boots.alarm_until.is_some_and(|until| now < until);
        alarms.extend(self.counters.boots.iter().filter(twice).map(|(peer, _)| self.two_machines(peer)));
        if source == TimeSource::Median {
            alarms.push(
                "this machine's clock differs from its peers' by more than 10 minutes: set it".to_owned(),
            );
        }
        if matches!(source, TimeSource::Peer | TimeSource::Logical) {
            alarms.push("this machine's clock is not set: set it, or run a time service".to_owned());
        }
        alarms
    }
}
