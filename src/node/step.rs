//! How far each peer and we are apart, in the words of `status`, `peers` and `links`. Only what is known is said: a
//! number that nobody has counted is left out.

use tombolo_transports::{Medium, PeerId};

use crate::clock::rfc3339;
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::node::view::StepView;
use crate::node::{Node, radio};
use crate::sync::broadcast::SyncStatus;

impl Node {
    /// The media of a peer's links, radios last.
    pub(super) fn media_to(&self, peer: &PeerId) -> Vec<String> {
        let links = self.links.values().filter(|link| link.peer == *peer);
        let mut media: Vec<String> = links.map(|link| link.caps.medium.to_string()).collect();
        media.extend(self.step_by_radio(peer).map(|_| Medium::Mesh.to_string()));
        media
    }

    /// How far a peer and we are apart: by its link, else by the radio that knows most of it.
    pub(super) fn step_of(&self, peer: &Peer) -> StepView {
        let waits = matches!(peer.joined, Joined::Waiting { .. });
        let has_link = self.links.values().any(|link| link.peer == peer.id);
        let mut view = match self.step_by_radio(&peer.id) {
            _ if has_link => self.step_by_link(&peer.id),
            Some(step) => self.radio_step_view(&peer.id, step),
            None => StepView { state: "not connected", ..StepView::default() },
        };
        if view.we_lack.is_none() && view.unknown_since.is_none() && view.state == "not connected" {
            view.unknown_since = peer.heard_at_ms.map(rfc3339);
        }
        if waits {
            view.state = "waiting for the inviter";
        }
        view
    }

    fn step_by_link(&self, peer: &PeerId) -> StepView {
        let distance = self.engine.lag(peer).unwrap_or_default();
        let state = match () {
            () if distance.confirmed && distance.we_lack == 0 && distance.they_lack == 0 => "in step",
            () => "catching up",
        };
        let known = |count: usize| distance.known.then_some(count);
        StepView {
            state,
            we_lack: known(distance.we_lack),
            they_lack: known(distance.they_lack),
            ..StepView::default()
        }
    }

    /// What a radio knows of a listener, for people.
    pub(super) fn radio_step_view(
        &self,
        peer: &PeerId,
        (radio, step): (&radio::Radio, SyncStatus),
    ) -> StepView {
        let view = match step {
            SyncStatus::Known(apart) => StepView {
                state: if apart.is_in_step() { "in step" } else { "catching up" },
                we_lack: Some(apart.we_lack),
                they_lack: Some(apart.they_lack),
                unacknowledged: Some(apart.unacknowledged),
                ..StepView::default()
            },
            SyncStatus::Unknown { since } => StepView {
                state: "unknown",
                unknown_since: since.map(|at| self.wall_of(at)),
                ..StepView::default()
            },
        };
        StepView { not_by_radio: Some(self.layers_not_on(radio, peer)), ..view }
    }

    /// The wall time of a moment of our monotonic clock, RFC 3339.
    pub(super) fn wall_of(&self, mono_ms: u64) -> String {
        rfc3339(self.reference_ms().saturating_sub(self.now.mono_ms.saturating_sub(mono_ms)))
    }
}
