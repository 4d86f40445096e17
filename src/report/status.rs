//! The node and its peers, in the words of `status`, `peers` and `id`.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::clock::{TimeSource, rfc3339};
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::identity::did;
use crate::io::{CommandError, view};
use crate::report::NodeReport;

impl NodeReport<'_> {
    /// Who this node is.
    pub fn id(&self) -> view::IdView {
        view::IdView {
            did: did(&self.core.me),
            pubkey: data_encoding::HEXLOWER.encode(&self.core.me.0),
            onion: self.core.keypair.onion(),
            name: self.core.settings.name.clone(),
        }
    }

    /// All peers, with their newest states.
    pub fn peers(&self) -> Vec<view::PeerView> {
        self.replica.federation().peers().map(|peer| self.peer_view(peer)).collect()
    }

    /// One peer, with its newest state.
    ///
    /// # Errors
    /// [`CommandError::UnknownPeer`] if it is none, or no longer.
    pub fn peer(&self, id: &PeerId) -> Result<view::PeerView, CommandError> {
        let peer = self.replica.federation().peer(id);
        peer.map(|peer| self.peer_view(peer)).ok_or_else(|| CommandError::UnknownPeer(did(id)))
    }

    fn peer_view(&self, peer: &Peer) -> view::PeerView {
        let last_state = self.newest_state(&peer.id);
        view::PeerView {
            did: did(&peer.id),
            pubkey: data_encoding::HEXLOWER.encode(&peer.id.0),
            onion: peer.onion.clone(),
            name: peer.name().map(str::to_owned),
            trust_level: peer.trust_level,
            added_at: rfc3339(peer.added_at),
            last_seen: last_state.as_ref().map(|state| state.timestamp.clone()),
            last_state,
            heard_at: peer.heard_at.map(rfc3339),
            connected: self.unicast.has_link_to(&peer.id) || self.lag_by_radio(&peer.id).is_some(),
            joined: match peer.joined {
                Joined::Agreed => "agreed",
                Joined::Waiting { .. } => "waiting",
            },
            links: self.media_to(&peer.id),
            step: self.lag_of(peer),
        }
    }

    fn peer_status(&self, peer: &Peer) -> view::PeerStatusView {
        view::PeerStatusView {
            name: self.name_of(&peer.id),
            did: did(&peer.id),
            trust_level: peer.trust_level,
            links: self.media_to(&peer.id),
            step: self.lag_of(peer),
            heard_at: peer.heard_at.map(rfc3339),
        }
    }

    /// The state of the node and its peers at this moment.
    pub fn status(&self) -> view::StatusView {
        let (replica, source) = (self.replica, self.core.clock.source());
        let mut forks = BTreeMap::new();
        for fork in replica.forks() {
            *forks.entry(did(&fork.lower.head.layer.author)).or_insert(0) += 1;
        }
        let rejections = self.core.metrics.rejections().map(|(why, count)| (why.label(), count));
        let traffic = self.core.metrics.traffic();
        view::StatusView {
            id: self.id(),
            time: rfc3339(self.core.reference()),
            time_source: match source {
                TimeSource::Own => "own",
                TimeSource::Median => "median",
                TimeSource::Peer => "peer",
                TimeSource::Logical => "logical",
            },
            documents: replica.visible().count(),
            peers: replica.federation().peers().map(|peer| self.peer_status(peer)).collect(),
            rejections: rejections.chain(self.radio_rejections()).collect(),
            traffic: view::TrafficView {
                messages_sent: traffic.messages_sent,
                bytes_sent: traffic.bytes_sent,
                messages_received: traffic.messages_received,
                bytes_received: traffic.bytes_received,
            },
            router: self
                .unicast
                .router()
                .counters()
                .map(|(counter, count)| (counter.label(), count))
                .collect(),
            addresses: Vec::new(),
            alarms: self.alarms(source),
            forks,
            transfers: self.transfers(),
            quarantined: replica.layers().documents().map(|(_, document)| document.quarantined()).sum(),
        }
    }

    fn alarms(&self, source: TimeSource) -> Vec<String> {
        let mut alarms: Vec<String> =
            self.replica.recovery().stopped().into_iter().map(str::to_owned).collect();
        let fault = self.core.gate.fault();
        alarms.extend(fault.map(|fault| format!("the last change was not saved: {}", fault.why)));
        let failures = self.membership.failures();
        alarms.extend(
            failures.map(|(peer, why)| format!("{} has not answered yet: {why}", self.name_of(peer))),
        );
        alarms.extend(self.unicast.run_twice(self.core).map(|peer| two_machines(&self.name_of(peer))));
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

/// The alarm that two machines run with one peer's key.
pub(crate) fn two_machines(name: &str) -> String {
    format!(
        "two machines run with the key of {name}, and take each other's links: one of them has to be stopped, \
         and made again with `init` in an empty folder"
    )
}
