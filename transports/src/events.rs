//! The one stream of events of a node's links, and the ids of those links.

use crate::link::{LinkEvent, LinkId, LinkIds, Medium};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Events that may wait for the node; beyond, links stop reading and their peers' queues fill.
pub const EVENTS_MAX: usize = 64;

/// Where one transport sends what happens on its links; the transports of a node share the stream behind it.
#[derive(Clone, Debug)]
pub struct Events {
    medium: Medium,
    sender: mpsc::Sender<LinkEvent>,
    ids: LinkIds,
    routes: Routes,
}

/// Which transport a link belongs to, from its `Up` to its `Down`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Arc<Mutex<BTreeMap<LinkId, Medium>>>);

impl Routes {
    pub(crate) fn medium(&self, link: LinkId) -> Option<Medium> {
        self.lock().get(&link).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Medium>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// A stream for one transport alone, outside a set.
    pub fn alone(medium: Medium) -> (Self, mpsc::Receiver<LinkEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        (Self::new(medium, sender, LinkIds::default(), Routes::default()), receiver)
    }

    pub(crate) fn new(medium: Medium, sender: mpsc::Sender<LinkEvent>, ids: LinkIds, routes: Routes) -> Self {
        Self { medium, sender, ids, routes }
    }

    /// The next unused link id of the node.
    pub fn next_id(&self) -> LinkId {
        self.ids.next_id()
    }

    /// Delivers an event, waiting for room: a node that does not read makes its peers wait. Returns false
    /// when there is no reader any more.
    pub async fn send(&self, event: LinkEvent) -> bool {
        match &event {
            LinkEvent::Up { link, .. } => {
                self.routes.lock().insert(*link, self.medium);
            }
            LinkEvent::Down { link, .. } => {
                self.routes.lock().remove(link);
            }
            LinkEvent::Received { .. }
            | LinkEvent::Drained { .. }
            | LinkEvent::Measured { .. }
            | LinkEvent::Denied { .. }
            | LinkEvent::JoinRequest { .. }
            | LinkEvent::Rejected { .. }
            | LinkEvent::Discovered { .. }
            | LinkEvent::ListenAddresses { .. } => {}
        }
        self.sender.send(event).await.is_ok()
    }

    /// Delivers an event that may be left out when the reader is behind: half of the room is kept
    /// for links.
    pub fn hint(&self, event: LinkEvent) {
        if self.sender.capacity() > EVENTS_MAX / 2 {
            let _ = self.sender.try_send(event);
        }
    }
}
