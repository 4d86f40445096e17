//! How things stand, in the words of `status`, `peers` and `id`.

use std::collections::BTreeMap;

use crate::clock::{TimeSource, rfc3339};
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::identity::did;
use crate::node::{Node, view};

/// What is counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    rejections: BTreeMap<String, u64>,
    traffic: view::TrafficView,
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
}

impl Node {
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
            connected: self.links.values().any(|link| link.peer == peer.id),
            joined: match peer.joined {
                Joined::Agreed => "agreed",
                Joined::Waiting { .. } => "waiting",
            },
        }
    }

    fn peer_status(&self, peer: &Peer) -> view::PeerStatusView {
        let links = self.links.values().filter(|link| link.peer == peer.id);
        let links: Vec<String> = links.map(|link| link.caps.medium.to_string()).collect();
        let distance = self.engine.distance(&peer.id).unwrap_or_default();
        let state = match () {
            () if matches!(peer.joined, Joined::Waiting { .. }) => "waiting for the inviter",
            () if links.is_empty() => "not connected",
            () if distance.confirmed && distance.we_lack == 0 && distance.they_lack == 0 => "in step",
            () => "catching up",
        };
        view::PeerStatusView {
            name: self.name_of(&peer.id),
            did: did(&peer.id),
            trust_level: peer.trust_level,
            links,
            state,
            we_lack: distance.we_lack,
            they_lack: distance.they_lack,
            heard_at: peer.heard_at_ms.map(rfc3339),
        }
    }

    pub(super) fn status(&self) -> view::StatusView {
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
            documents: self.holdings.documents().filter(|(id, _)| self.federation.takes_part(id)).count(),
            peers: self.federation.peers().map(|peer| self.peer_status(peer)).collect(),
            rejections: self.counters.rejections.clone().into_iter().chain(self.radio_rejections()).collect(),
            traffic: self.counters.traffic,
            router: self.router.counters(),
            addresses: Vec::new(),
            alarms: self.alarms(source),
            forks,
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
