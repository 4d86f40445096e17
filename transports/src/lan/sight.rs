//! Peers in sight by mDNS: which of the services shown belong to peers, and where they are.
//!
//! The lock is never held across a wait, and taken before that of the sessions, never after.

use super::mdns::{Service, Sightings};
use crate::address::{Address, PeerId};
use crate::session::Sessions;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Feeds the address book of the sessions with what mDNS shows.
#[derive(Debug)]
pub(super) struct Sight {
    sessions: Arc<Sessions>,
    loopback: bool,
    sightings: Mutex<Sightings>,
}

impl Sight {
    pub(super) fn new(sessions: Arc<Sessions>, loopback: bool) -> Self {
        Self { sessions, loopback, sightings: Mutex::default() }
    }

    pub(super) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Whether loopback addresses take part.
    pub(super) fn loopback(&self) -> bool {
        self.loopback
    }

    /// Replaces the list of peers, and looks for their hints.
    pub(super) fn set_peers(&self, peers: &BTreeSet<PeerId>) {
        let mut sightings = self.lock();
        self.sessions.set_peers(peers);
        let shown = sightings.look_for(peers);
        self.note(&sightings, shown);
    }

    /// mDNS resolved a service. Returns whether another one had to be forgotten for it.
    pub(super) fn resolved(&self, name: &str, service: Service) -> bool {
        let mut sightings = self.lock();
        if let Some(peer) = sightings.resolved(name, service) {
            self.sessions.sighted(peer, to_addresses(sightings.addresses(&peer)));
        }
        sightings.take_crowded()
    }

    /// mDNS begins afresh; the address book keeps what was shown last until it is replaced.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// mDNS withdraws a service, which proves nothing: its addresses are just no longer shown.
    pub(super) fn removed(&self, name: &str) {
        let mut sightings = self.lock();
        if let Some(peer) = sightings.removed(name) {
            self.note(&sightings, BTreeSet::from([peer]));
        }
    }

    /// Where services with the hint of a node are, whether it is looked for or not.
    pub(super) fn addresses_by_hint(&self, node: &PeerId) -> Vec<Address> {
        to_addresses(self.lock().addresses_by_hint(node))
    }

    /// Notes addresses of [`addresses_by_hint`](Self::addresses_by_hint) behind which the node was not.
    pub(super) fn tried_in_vain(&self, addresses: &BTreeSet<Address>) {
        let sockets: Vec<_> = addresses.iter().filter_map(Address::as_socket).collect();
        self.lock().tried_in_vain(&sockets);
    }

    fn note(&self, sightings: &Sightings, peers: BTreeSet<PeerId>) {
        for peer in peers {
            self.sessions.resighted(peer, to_addresses(sightings.addresses(&peer)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sightings> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_addresses(sockets: Vec<SocketAddr>) -> Vec<Address> {
    sockets.into_iter().map(Address::Socket).collect()
}
