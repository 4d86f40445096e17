//! What the tasks of one [`Lan`](super::Lan) share: the list, the links, the book, the counters.
//!
//! The lock is never held across a wait. Whether a key is listed and whether its place is free is
//! decided in one critical section, so a key struck off has no link afterwards.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::EVENTS_MAX;
use super::book::Book;
use super::mdns::{self, Service, Sightings};
use super::session::{Link, SessionError};
use crate::address::PeerId;
use crate::error::SendError;
use crate::link::{DownReason, LinkEvent, LinkId, LinkIds, RejectReason};
use crate::tls::AllowList;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc, watch};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: PeerId,
    pub(super) boot: [u8; 8],
    pub(super) ids: LinkIds,
    pub(super) queue_bytes_max: usize,
    pub(super) loopback: bool,
    pub(super) allow: Arc<AllowList>,
    pub(super) joining: AtomicBool,
    /// Wakes the driver: somebody may be due.
    pub(super) wake: Notify,
    /// True once everything is to end.
    pub(super) stop: watch::Sender<bool>,
    events: mpsc::Sender<LinkEvent>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) links: BTreeMap<LinkId, Arc<Link>>,
    pub(super) by_peer: BTreeMap<PeerId, Arc<Link>>,
    pub(super) book: Book,
    sightings: Sightings,
    rejections: BTreeMap<RejectReason, u64>,
}

impl Shared {
    pub(super) fn new(
        id: PeerId,
        boot: [u8; 8],
        config: &super::LanConfig,
        allow: Arc<AllowList>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        Self {
            id,
            boot,
            ids: config.ids.clone(),
            queue_bytes_max: config.queue_bytes_max,
            loopback: config.loopback,
            allow,
            joining: AtomicBool::new(false),
            wake: Notify::new(),
            stop: watch::Sender::new(false),
            events,
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers an event, waiting for room: a node that does not read makes its peers wait. False
    /// when nobody will read any more.
    pub(super) async fn tell(&self, event: LinkEvent) -> bool {
        self.events.send(event).await.is_ok()
    }

    /// Delivers an event that may be left out when the reader is behind: half of the room is kept
    /// for links.
    pub(super) fn hint(&self, event: LinkEvent) {
        if self.events.capacity() > EVENTS_MAX / 2 {
            let _ = self.events.try_send(event);
        }
    }

    /// Counts something turned away.
    pub(super) fn reject(&self, reason: RejectReason, address: SocketAddr) {
        tracing::debug!(%reason, %address, "turned away");
        let mut state = self.state();
        let count = state.rejections.entry(reason).or_default();
        *count = count.saturating_add(1);
        drop(state);
        self.hint(LinkEvent::Rejected { reason, address });
    }

    pub(super) fn rejections(&self) -> BTreeMap<RejectReason, u64> {
        self.state().rejections.clone()
    }

    /// Gives the peer's place to this link, or says who has it.
    pub(super) fn claim(&self, link: &Arc<Link>) -> Result<Option<Arc<Link>>, SessionError> {
        let mut state = self.state();
        if *self.stop.borrow() {
            return Err(SessionError::Shutdown);
        }
        if !self.allow.contains(&link.peer) {
            return Err(SessionError::Rejected(RejectReason::UnknownKey));
        }
        if let Some(old) = state.by_peer.get(&link.peer) {
            return Ok(Some(old.clone()));
        }
        // Peers dial from the port they listen on, so an accepted link's address is worth keeping too.
        state.book.worked(link.peer, link.connection.remote_address());
        state.by_peer.insert(link.peer, link.clone());
        state.links.insert(link.id, link.clone());
        Ok(None)
    }

    /// Takes an ended link's place back.
    pub(super) fn release(&self, link: &Arc<Link>) {
        let mut state = self.state();
        state.links.remove(&link.id);
        if state.by_peer.get(&link.peer).is_some_and(|current| current.id == link.id) {
            state.by_peer.remove(&link.peer);
        }
        state.book.lost(&link.peer, link.since.elapsed(), Instant::now(), chance());
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        let link = self.state().links.get(&link).cloned().filter(|link| !link.is_ending());
        let link = link.ok_or(SendError::Unknown)?;
        if bytes.len() > link.message_bytes_max {
            return Err(SendError::TooLong { bytes: bytes.len(), bytes_max: link.message_bytes_max });
        }
        link.outbox.push(bytes)
    }

    pub(super) fn close(&self, link: LinkId) {
        if let Some(link) = self.state().links.get(&link) {
            link.end(DownReason::Closed);
        }
    }

    /// Replaces the list, and ends the links of those no longer on it.
    pub(super) fn set_peers(&self, peers: BTreeSet<PeerId>) {
        let mut state = self.state();
        self.allow.replace(peers.iter().copied());
        for link in state.links.values().filter(|link| !peers.contains(&link.peer)) {
            link.end(DownReason::Revoked);
        }
        let shown = state.sightings.look_for(&peers, hour());
        state.note_seen(shown);
        drop(state);
        self.wake.notify_one();
    }

    /// The hour has changed: look for the new hints.
    pub(super) fn new_hour(&self, hour: u64) {
        let mut state = self.state();
        let shown = state.sightings.look_for(&self.allow.snapshot(), hour);
        state.note_seen(shown);
    }

    pub(super) fn know_address(&self, peer: PeerId, addresses: &[SocketAddr]) {
        self.state().book.tell(peer, addresses, Instant::now());
        self.wake.notify_one();
    }

    /// mDNS resolved a service.
    pub(super) fn resolved(self: &Arc<Self>, name: &str, service: Service) {
        let mut state = self.state();
        let Some(peer) = state.sightings.resolved(name, service) else { return };
        let addresses = state.sightings.addresses(&peer);
        let fresh = state.book.see(peer, addresses.clone(), Instant::now());
        let link = state.by_peer.get(&peer).cloned();
        drop(state);
        if !fresh {
            return;
        }
        if let Some(link) = link
            && !leads_to_one_of(&link, &addresses)
        {
            self.doubt(link);
        }
        self.hint(LinkEvent::Discovered { peer, addresses });
        self.wake.notify_one();
    }

    /// mDNS says a service is gone, which proves nothing: its addresses are just no longer shown.
    pub(super) fn removed(&self, name: &str) {
        let mut state = self.state();
        if let Some(peer) = state.sightings.removed(name) {
            state.note_seen(BTreeSet::from([peer]));
        }
    }

    pub(super) fn addresses_by_hint(&self, node: &PeerId) -> Vec<SocketAddr> {
        self.state().sightings.addresses_by_hint(node, hour())
    }

    /// The machine's own addresses changed: every link has to show that it still works.
    pub(super) fn network_changed(self: &Arc<Self>) {
        let mut state = self.state();
        state.book.hurry_all(Instant::now());
        let links: Vec<_> = state.links.values().cloned().collect();
        drop(state);
        links.into_iter().for_each(|link| self.doubt(link));
        self.wake.notify_one();
    }

    /// Asks a link for a sign of life; if there is none, its peer is dialled beside it.
    fn doubt(self: &Arc<Self>, link: Arc<Link>) {
        let shared = self.clone();
        tokio::spawn(async move {
            if link.is_alive_after_all().await == Some(false) {
                shared.state().book.hurry(&link.peer, Instant::now());
                shared.wake.notify_one();
            }
        });
    }

    /// Ends every link and every task.
    pub(super) fn end_all(&self) {
        let state = self.state();
        self.stop.send_replace(true);
        state.links.values().for_each(|link| link.end(DownReason::Shutdown));
    }
}

impl State {
    fn note_seen(&mut self, peers: BTreeSet<PeerId>) {
        for peer in peers {
            let addresses = self.sightings.addresses(&peer);
            self.book.see(peer, addresses, Instant::now());
        }
    }
}

fn leads_to_one_of(link: &Link, addresses: &[SocketAddr]) -> bool {
    let remote = link.connection.remote_address();
    // A scope id is a matter of each end, and a port says nothing about the cable.
    addresses.iter().any(|address| address.ip() == remote.ip())
}

/// The hour by the system clock, for hints.
pub(super) fn hour() -> u64 {
    mdns::hour(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// A random number for jitter, where bad luck costs nothing.
pub(super) fn chance() -> u32 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}
