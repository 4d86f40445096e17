//! The node and its peers, in the words of `status`, `peers` and `id`.

use std::collections::BTreeMap;

use tombolo_mesh::airtime::ledger::Priority;
use tombolo_transports::PeerId;

use crate::clock::{TimeSource, rfc3339};
use crate::commands::CatalogueState;
use crate::federation::peer::Joined;
use crate::federation::{LastKnownState, Peer};
use crate::identity::did;
use crate::io::{Alarm, App, AppHealth, AppStatus, CommandError, NodeState, StopReason, view};
use crate::layer::DocumentId;
use crate::limits::TRANSFERS_MAX;
use crate::merge::TombstoneWait;
use crate::report::links::why_radio;
use crate::report::{NodeReport, rejection};
use crate::store::StoreError;
use crate::sync::transfer::{TransferPlace, TransferStanding};

impl NodeReport<'_> {
    /// Who this node is.
    pub fn id(&self) -> view::IdView {
        view::IdView {
            did: did(&self.core.me),
            pubkey: data_encoding::HEXLOWER.encode(&self.core.me.0),
            onion: self.core.onion(),
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
        let known = peer.last_known.as_ref();
        let signed = self.newest_state(&peer.id);
        let last_seen = match &signed {
            Some(state) => Some(state.timestamp.clone()),
            None => known.and_then(|known| known.seen).map(rfc3339),
        };
        let last_state = signed.or_else(|| taken_over(known?.state.as_ref()?));
        view::PeerView {
            did: did(&peer.id),
            pubkey: data_encoding::HEXLOWER.encode(&peer.id.0),
            onion: peer.onion.clone(),
            name: peer.name().map(|_| self.name_of(&peer.id)),
            trust_level: peer.trust_level,
            suspended: self.replica.federation().is_suspended(&peer.id),
            added_at: rfc3339(peer.added_at),
            last_seen,
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

    fn peer_status(&self, peer: &Peer, links: &[view::LinkView]) -> view::PeerStatusView {
        view::PeerStatusView {
            name: self.name_of(&peer.id),
            did: did(&peer.id),
            trust_level: peer.trust_level,
            links: self.media_to(&peer.id),
            step: self.lag_of(peer),
            heard_at: peer.heard_at.map(rfc3339),
            presence: self.presence_of(&peer.id),
            route: route(&did(&peer.id), links),
            behind: self.behind(peer),
        }
    }

    /// The state of the node and its peers at this moment.
    pub fn status(&self) -> view::StatusView {
        let (replica, source) = (self.replica, self.core.clock.source());
        let mut forks = BTreeMap::new();
        for fork in replica.open_forks() {
            *forks.entry(did(&fork.lower.head.layer.author)).or_insert(0) += 1;
        }
        let rejections = self.core.metrics.rejections().map(|(why, count)| (why.label(), count));
        let (traffic, links) = (self.core.metrics.traffic(), self.links());
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
            documents_made: replica.visible().filter(|id| !id.name.is_owners_alone()).count(),
            apps: self.newest_state(&self.core.me).map(|state| apps_view(&state.state)),
            peers: replica.federation().peers().map(|peer| self.peer_status(peer, &links)).collect(),
            rejections: rejections.chain(self.radio_rejections()).collect(),
            rejection_words: self.rejection_words(),
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
            tor: None,
            alarms: self.alarms(source),
            forks,
            radios: self.radios_status(),
            transfers: self.transfers(),
            large_layers: replica.large_layers().iter().map(|layer| self.large_layer_view(layer)).collect(),
            clocks: self.core.clock.peers_ahead_ms().map(|(peer, ms)| self.clock_view(&peer, ms)).collect(),
            tombstones_wait: replica
                .tombstone_waits(&self.core.me)
                .map(|(id, wait)| self.tombstone_view(id, &wait))
                .collect(),
            convergence: self.convergence(),
            quarantined: replica.layers().documents().map(|(_, document)| document.quarantined()).sum(),
        }
    }

    /// The airtime of each radio in short.
    fn radios_status(&self) -> Vec<view::RadioStatusView> {
        let now = self.core.now();
        let radios = self.broadcast.radios().map(|(_, radio)| {
            let mut ledger = radio.ledger();
            let leaves = |class| radio.leaves_in(now, class).map(|wait| wait.ms() as f64 / 1e3);
            view::RadioStatusView {
                radio: radio.spec().name.clone(),
                up: radio.is_up(),
                used_last_hour_s: ledger.hour_us(now) as f64 / 1e6,
                budget_hour_s: ledger.budget().map(|budget| budget.ms() as f64 / 1e3),
                state_leaves_in_s: leaves(Priority::State),
                document_leaves_in_s: leaves(Priority::Document),
                why: why_radio(radio, now),
            }
        });
        radios.collect()
    }

    fn convergence(&self) -> view::ConvergenceView {
        let times = self.unicast.converged();
        view::ConvergenceView {
            count: times.classes().map(|(_, count)| count).sum(),
            sum_s: times.sum().ms() as f64 / 1e3,
            classes: times.classes().collect(),
        }
    }

    /// The sentence of each reason that was counted. Those of frames are words already.
    fn rejection_words(&self) -> BTreeMap<String, String> {
        let inputs = self.core.metrics.rejections();
        let words = inputs.map(|(why, _)| (why.label(), rejection::sentence(why)));
        let frames = self.radio_rejections().into_keys();
        words.chain(frames.map(|why| (why.clone(), frame_sentence(&why)))).collect()
    }

    fn clock_view(&self, peer: &PeerId, ahead_ms: i64) -> view::PeerClockView {
        view::PeerClockView { name: self.name_of(peer), did: did(peer), ahead_s: ahead_ms / 1000 }
    }

    fn large_layer_view(&self, standing: &TransferStanding) -> view::LargeLayerView {
        let TransferStanding { layer, from, quiet_since, place } = standing;
        let author = self.name_of(&layer.author);
        let from: Vec<String> = from.iter().map(|peer| self.name_of(peer)).collect();
        let name = format!("{}/{}", self.name_of(&layer.document.owner), layer.document.name.as_str());
        let quiet_s = self.core.now().since(*quiet_since).ms() / 1000;
        let (sources, what) = (from.join(", "), format!("{name}, as {author} has signed it"));
        let (state, parts_here, parts_due, words) = match *place {
            TransferPlace::Coming { parts_here, parts_due } if from.is_empty() => {
                ("coming", parts_here, parts_due, format!("{what}: no peer that has it is connected"))
            }
            TransferPlace::Coming { parts_here, parts_due } => {
                let parts = format!("{parts_here} parts are here, {parts_due} are due");
                let words = format!("{what}, comes from {sources}: {parts}, quiet for {quiet_s} s");
                ("coming", parts_here, parts_due, words)
            }
            TransferPlace::Waits { holder, held } => {
                let holder = self.name_of(&holder);
                let words = format!(
                    "{what}, waits for a place: {held} of {TRANSFERS_MAX} are taken by what {holder} offers"
                );
                ("waits", 0, 0, words)
            }
        };
        let document = format!("{}/{}", did(&layer.document.owner), layer.document.name.as_str());
        view::LargeLayerView { document, author, from, state, parts_here, parts_due, quiet_s, words }
    }

    fn tombstone_view(&self, id: &DocumentId, wait: &TombstoneWait) -> view::TombstoneWaitView {
        view::TombstoneWaitView {
            document: format!("{}/{}", did(&id.owner), id.name.as_str()),
            tombstones: wait.tombstones,
            since: rfc3339(wait.since),
            writers: wait.writers.iter().map(|writer| self.name_of(writer)).collect(),
            unknown_writers: wait.unknown_writers,
        }
    }

    fn alarms(&self, source: TimeSource) -> Vec<view::AlarmView> {
        let mut alarms = Vec::new();
        match self.replica.recovery().stopped() {
            Some(StopReason::KeyUsedElsewhere) => alarms.push(Alarm::KeyUsedElsewhere),
            Some(StopReason::SequenceUsedUp) | None => {}
        }
        let recovery = self.replica.recovery();
        alarms.extend(recovery.is_unconfirmed().then_some(Alarm::Unconfirmed));
        let commits = recovery.lost_commits();
        alarms.extend((commits > 0).then_some(Alarm::SteppedBack { commits }));
        let fault = self.core.gate.fault().map(|fault| &fault.why);
        alarms.extend(self.core.gate.read_only().or(fault).cloned().map(|why| match why {
            StoreError::NoRoom(_) => Alarm::ReadOnly { why },
            StoreError::InUse
            | StoreError::TooNew { .. }
            | StoreError::Damaged(_)
            | StoreError::OtherNode { .. }
            | StoreError::Away
            | StoreError::Denied(_)
            | StoreError::NoTarget
            | StoreError::Closed
            | StoreError::Disk(_) => Alarm::NotSaved { why },
        }));
        let failures = self.membership.failures();
        alarms.extend(
            failures
                .map(|(peer, why)| Alarm::InviterSilent { inviter: self.name_of(peer), why: why.clone() }),
        );
        alarms.extend(self.revocation_alarms());
        if let CatalogueState::Damaged(why) = &self.commands.catalogue {
            alarms.push(Alarm::CatalogueDamaged { why: why.clone() });
        }
        let twice = self.unicast.run_twice(self.core);
        alarms.extend(twice.map(|peer| Alarm::TwoMachines { peer: self.name_of(peer) }));
        let federation = self.replica.federation();
        let denials = self.membership.denials().filter(|(peer, _)| federation.peer(peer).is_some());
        alarms.extend(denials.map(|(peer, since)| Alarm::RemovedBy { peer: self.name_of(peer), since }));
        match source {
            TimeSource::Own if self.core.clock.peers_differ() => {
                let synchronised = self.core.clock.vouchers().kernel;
                alarms.push(Alarm::PeersClocksDiffer { synchronised });
            }
            TimeSource::Own => {}
            TimeSource::Median => alarms.push(Alarm::ClockDiffers),
            TimeSource::Peer | TimeSource::Logical => alarms.push(Alarm::ClockNotSet),
        }
        alarms.extend(self.standing_alarms());
        alarms.iter().map(view::AlarmView::from).collect()
    }
}

/// The link to a peer: the one that is used, else the first that is not.
fn route(did: &str, links: &[view::LinkView]) -> view::PeerRouteView {
    let mut of_peer = links.iter().filter(|row| row.did == did);
    let row = of_peer.clone().find(|row| row.used).or_else(|| of_peer.next());
    let row = row.expect("each peer has a row in `links`, the last resort is that it is away");
    let link = Some(&row.link).filter(|link| *link != view::NO_LINK).cloned();
    view::PeerRouteView { link, used: row.used, why: row.why.clone() }
}

fn apps_view(state: &NodeState) -> view::AppsView {
    let is_amiss = |app: &&App| match app.health {
        Some(AppHealth::Unhealthy | AppHealth::Flapping | AppHealth::Stale) => true,
        Some(AppHealth::Healthy | AppHealth::Starting) | None => false,
    };
    view::AppsView {
        count: state.apps.len(),
        running: state.apps.iter().filter(|app| app.status == AppStatus::Running).count(),
        amiss: state.apps.iter().filter(is_amiss).cloned().collect(),
    }
}

/// `radio: received before` as a sentence.
fn frame_sentence(label: &str) -> String {
    let reason = label.strip_prefix("radio: ").unwrap_or(label);
    format!("a radio frame had no effect: {reason}")
}

/// The state that was taken over from another program.
fn taken_over(known: &LastKnownState) -> Option<view::StateView> {
    let state = tombolo_delta::from_value(&known.state).ok()?;
    Some(view::StateView { timestamp: rfc3339(known.time), provisional: false, state })
}
