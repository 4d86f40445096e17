//! How far each peer and this node lag behind each other, in the words of `status`, `peers` and `links`. Only what is known
//! is shown: a number that was not counted is left out.

use tombolo_mesh::airtime::ledger::Priority;
use tombolo_mesh::frame::keys::Mode;
use tombolo_transports::{Medium, PeerId};

use crate::broadcast::{RadioLink, class_of, goes_on_air, rank};
use crate::clock::rfc3339;
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::io::view::{DocumentLagView, StepView};
use crate::layer::LayerId;
use crate::report::NodeReport;
use crate::report::presence::span;
use crate::sync::broadcast::{LagKind, LayerLag, SyncStatus};
use crate::time::Millis;

/// Documents that are listed as behind, per peer; the counts of its lag cover all.
const BEHIND_MAX: usize = 32;

impl<'a> NodeReport<'a> {
    /// The media of a peer's links, radios last.
    pub(super) fn media_to(&self, peer: &PeerId) -> Vec<String> {
        let links = self.unicast.links().filter(|(_, link)| link.peer == *peer);
        let mut media: Vec<String> = links.map(|(_, link)| link.caps.medium.to_string()).collect();
        media.extend(self.lag_by_radio(peer).map(|_| Medium::Mesh.to_string()));
        media
    }

    /// How far a peer and this node lag: by its link, else by the radio that knows most of it.
    pub(super) fn lag_of(&self, peer: &Peer) -> StepView {
        let waits = matches!(peer.joined, Joined::Waiting { .. });
        let mut view = match self.lag_by_radio(&peer.id) {
            _ if self.unicast.has_link_to(&peer.id) => self.lag_by_link(&peer.id),
            Some((radio, status)) => self.radio_lag_view(&peer.id, radio, status),
            None => StepView { state: "not connected", ..StepView::default() },
        };
        if view.we_lack.is_none() && view.unknown_since.is_none() && view.state == "not connected" {
            view.unknown_since = peer.heard_at.map(rfc3339);
        }
        if waits {
            view.state = "waiting for the inviter";
        }
        view
    }

    fn lag_by_link(&self, peer: &PeerId) -> StepView {
        let lag = self.unicast.lag(peer).unwrap_or_default();
        let they_lack = lag.they_lack + lag.no_room_there;
        let in_step = lag.confirmed && lag.we_lack == 0 && they_lack == 0;
        let known = |count: usize| lag.known.then_some(count);
        StepView {
            state: if in_step { "in step" } else { "catching up" },
            we_lack: known(lag.we_lack),
            they_lack: known(they_lack),
            ..StepView::default()
        }
    }

    /// Whether a peer is present by radio, and then what the radio that knows most of it knows of the lag.
    pub(super) fn lag_by_radio(&self, peer: &PeerId) -> Option<(&'a RadioLink, SyncStatus)> {
        let now = self.core.now();
        let radios = self.broadcast.radios().map(|(_, radio)| radio);
        let hears = |radio: &&RadioLink| radio.is_present(peer, now);
        let statuses = radios.filter(hears).map(|radio| (radio, radio.lag(now, peer)));
        statuses.min_by_key(|(_, status)| match status {
            SyncStatus::Known(lag) => (0, lag.we_lack + lag.they_lack, lag.unacknowledged as u64),
            SyncStatus::Unknown { since } => (1, 0, since.map_or(u64::MAX, |since| u64::MAX - since.ms())),
        })
    }

    /// How many layers the peers that have answered hold newer than this node, at the peer with most; none as long as no peer
    /// has.
    pub fn layers_lacking(&self) -> Option<usize> {
        let peers = self.replica.federation().peers();
        let lacking = peers.filter_map(|peer| match self.unicast.lag(&peer.id) {
            Some(lag) => lag.known.then_some(lag.we_lack),
            None => match self.lag_by_radio(&peer.id)?.1 {
                SyncStatus::Known(lag) => Some(lag.we_lack),
                SyncStatus::Unknown { .. } => None,
            },
        });
        lacking.max()
    }

    /// What a radio knows of a listener's lag.
    pub(super) fn radio_lag_view(&self, peer: &PeerId, radio: &RadioLink, status: SyncStatus) -> StepView {
        let view = match status {
            SyncStatus::Known(lag) => StepView {
                state: if lag.is_in_step() { "in step" } else { "catching up" },
                we_lack: Some(lag.we_lack),
                they_lack: Some(lag.they_lack),
                unacknowledged: Some(lag.unacknowledged),
                ..StepView::default()
            },
            SyncStatus::Unknown { since } => StepView {
                state: "unknown",
                unknown_since: since.map(|at| self.core.clock.wall_of(at)),
                ..StepView::default()
            },
        };
        StepView { not_by_radio: Some(self.layers_not_on(radio, peer)), ..view }
    }

    /// The documents in which a peer and this node differ, what each waits for, and since when. Node states that are simply
    /// newer are left out.
    pub(super) fn behind(&self, peer: &Peer) -> Vec<DocumentLagView> {
        let by_link = self.unicast.has_link_to(&peer.id);
        let (radio, lags) = match self.lag_by_radio(&peer.id) {
            _ if by_link => (None, self.unicast.layer_lags(&peer.id)),
            Some((radio, _)) => (Some(radio), radio.layer_lags(self.core.now(), &peer.id)),
            None => return Vec::new(),
        };
        let shown = lags.iter().filter(|lag| !lag.is_fresh_state).take(BEHIND_MAX);
        shown.map(|lag| self.document_lag(&peer.id, lag, radio)).collect()
    }

    fn document_lag(&self, peer: &PeerId, lag: &LayerLag, radio: Option<&RadioLink>) -> DocumentLagView {
        let id = lag.layer.and_then(|layer| self.replica.layer_id(&layer));
        let document = id
            .as_ref()
            .map(|id| format!("{}/{}", self.name_of(&id.document.owner), id.document.name.as_str()));
        let (kind, waits_for, leaves_in) = match (lag.kind, radio) {
            (LagKind::WeLack, _) => ("we_lack", "peer", None),
            (LagKind::NoRoomHere, _) => ("we_lack", "room", None),
            (LagKind::NoRoomThere, _) => ("they_lack", "room", None),
            (LagKind::Unacknowledged, _) => ("unacknowledged", "acknowledgement", None),
            (LagKind::TheyLack, None) => ("they_lack", "turn", None),
            (LagKind::TheyLack, Some(radio)) => match self.wait_for_air(radio, id.as_ref()) {
                Some(Millis::ZERO) => ("they_lack", "turn", None),
                Some(wait) => ("they_lack", "airtime", Some(wait)),
                None => ("they_lack", "link", None),
            },
        };
        let since = lag.since.map(|since| self.core.now().since(since));
        let what = document.as_deref().unwrap_or("a document that this node has not seen");
        let name = self.name_of(peer);
        let words = match (lag.kind, leaves_in) {
            (LagKind::WeLack, _) => {
                format!("this node lacks the newest of {what}, and waits for {name} to send it")
            }
            (LagKind::NoRoomHere, _) => {
                format!(
                    "this node does not take the newest of {what}: its owner has used up the room (`quota`)"
                )
            }
            (LagKind::NoRoomThere, _) => {
                format!("{name} does not take {what}: its owner has used up the room there (`quota`)")
            }
            (LagKind::Unacknowledged, _) => format!("{what} was sent, and waits for its acknowledgement"),
            (LagKind::TheyLack, Some(wait)) => format!("{what} waits for airtime: leaves in {}", span(wait)),
            (LagKind::TheyLack, None) if waits_for == "link" => {
                format!("{what} waits for another link: this radio may not send it")
            }
            (LagKind::TheyLack, None) => format!("{what} waits for its turn to be sent"),
        };
        DocumentLagView {
            document,
            author: id.as_ref().map(|id| self.name_of(&id.author)),
            kind,
            since: lag.since.map(|since| self.core.clock.wall_of(since)),
            waits_for,
            sequences: lag.sequences,
            leaves_in_s: leaves_in.map(|wait| wait.ms().div_ceil(1000)),
            words: since
                .map_or_else(|| words.clone(), |since| format!("{words}; behind for {}", span(since))),
        }
    }

    /// How long a frame of a layer waits for airtime, by law and by the pace of its class; none: it may never leave on this radio.
    fn wait_for_air(&self, radio: &RadioLink, id: Option<&LayerId>) -> Option<Millis> {
        radio.spec().ledger.rules.as_ref()?;
        radio.leaves_in(self.core.now(), id.map_or(Priority::Document, class_of))
    }

    /// How many layers a peer and this node share that do not go over a radio: by their document's policy, or since any
    /// listener could read them.
    fn layers_not_on(&self, radio: &RadioLink, peer: &PeerId) -> usize {
        let sealed = radio.spec().mode == Mode::Encrypted;
        let federation = self.replica.federation();
        let stays = self.replica.layers().layers().filter(|layer| {
            let id = &layer.head().layer;
            self.replica.may_receive(peer, id)
                && rank(&id.document.name) > 0
                && !goes_on_air(federation, &layer.signed, sealed)
        });
        stays.count()
    }
}
