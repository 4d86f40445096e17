//! How far each peer and this node lag behind each other, in the words of `status`, `peers` and `links`. Only what is known
//! is shown: a number that was not counted is left out.

use tombolo_mesh::frame::keys::Mode;
use tombolo_transports::{Medium, PeerId};

use crate::broadcast::{RadioLink, goes_on_air, rank};
use crate::clock::rfc3339;
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::io::view::StepView;
use crate::report::NodeReport;
use crate::sync::broadcast::SyncStatus;

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
        let in_step = lag.confirmed && lag.we_lack == 0 && lag.they_lack == 0;
        let known = |count: usize| lag.known.then_some(count);
        StepView {
            state: if in_step { "in step" } else { "catching up" },
            we_lack: known(lag.we_lack),
            they_lack: known(lag.they_lack),
            ..StepView::default()
        }
    }

    /// Whether a peer is present by radio, and then what the radio that knows most of it knows of the lag.
    pub(super) fn lag_by_radio(&self, peer: &PeerId) -> Option<(&'a RadioLink, SyncStatus)> {
        let now = self.core.now();
        let radios = self.broadcast.radios().map(|(_, radio)| radio);
        let hears = |radio: &&RadioLink| radio.is_present(peer, now);
        let statuses = radios.filter(hears).map(|radio| (radio, radio.lag(peer)));
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
