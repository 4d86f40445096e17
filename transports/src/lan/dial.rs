//! The dialling side: who is due, and one attempt at all of a peer's addresses.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::quic::{self, Configs};
use super::session::{self, SessionError};
use super::shared::{Shared, chance};
use crate::address::PeerId;
use crate::link::RejectReason;
use crate::tls;
use quinn::Endpoint;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time for one connection to come up. QUIC waits ever longer between its first packets, so a
/// fresh attempt finds a healed network sooner than an old one.
const CONNECT_MAX: Duration = Duration::from_secs(4);
/// Time from there to a link.
const GREET_MAX: Duration = Duration::from_secs(5);
/// Time a dial may take in all before the peer is due again.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// Between the starts of attempts at several addresses, which mostly lead to one node.
const STAGGER: Duration = Duration::from_millis(100);
/// Addresses tried in one dial; further ones, the least likely, wait for better days.
const ADDRESSES_MAX: usize = 16;
/// Dials of one peer at a time: a second one starts only on news.
const DIALS_PER_PEER_MAX: usize = 2;
/// Dials at a time; beyond, peers that are due wait until one ends.
const DIALS_MAX: usize = 64;

/// Dials whoever is due.
pub(super) struct Dialler {
    pub(super) shared: Arc<Shared>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) configs: Configs,
    /// One clone of a peer's token per dial under way.
    under_way: BTreeMap<PeerId, Arc<()>>,
}

impl Dialler {
    pub(super) fn new(shared: Arc<Shared>, endpoints: Vec<Endpoint>, configs: Configs) -> Self {
        Self { shared, endpoints, configs, under_way: BTreeMap::new() }
    }

    /// Starts every dial that is due, and says when the next one will be.
    pub(super) fn dial_due(&mut self, now: Instant) -> Option<Instant> {
        self.under_way.retain(|_, token| Arc::strong_count(token) > 1);
        let mut next = None;
        for peer in self.shared.allow.snapshot() {
            if peer == self.shared.id {
                continue;
            }
            match self.due(&peer, now) {
                Some(due) if due <= now && self.may_start(&peer) => self.start(peer, now),
                // Of those that wait for a dial to end, its end reminds us.
                Some(due) if due > now => next = Some(next.map_or(due, |next: Instant| next.min(due))),
                _ => {}
            }
        }
        next
    }

    fn due(&self, peer: &PeerId, now: Instant) -> Option<Instant> {
        let state = self.shared.state();
        let linked = state.by_peer.get(peer).is_some_and(|link| !link.is_suspect() || link.is_ending());
        if linked { None } else { state.book.due(peer, now) }
    }

    fn may_start(&self, peer: &PeerId) -> bool {
        let dials = |token: &Arc<()>| Arc::strong_count(token) - 1;
        let all: usize = self.under_way.values().map(dials).sum();
        all < DIALS_MAX && self.under_way.get(peer).map_or(0, dials) < DIALS_PER_PEER_MAX
    }

    fn start(&mut self, peer: PeerId, now: Instant) {
        let mut state = self.shared.state();
        state.book.dialling(&peer, now, DIAL_MAX);
        let addresses = state.book.addresses(&peer);
        drop(state);
        let token = self.under_way.entry(peer).or_default().clone();
        let (shared, endpoints, configs) =
            (self.shared.clone(), self.endpoints.clone(), self.configs.clone());
        tokio::spawn(async move {
            let up = dial(&shared, &endpoints, &configs, peer, addresses).await;
            if !up {
                shared.state().book.failed(&peer, Instant::now(), chance());
            }
            drop(token);
            shared.wake.notify_one();
        });
    }
}

/// Tries the addresses, one after the other has begun, until one leads to a link, or to the news that
/// the peer takes another connection for it. Says whether this dial made the link.
async fn dial(
    shared: &Arc<Shared>,
    endpoints: &[Endpoint],
    configs: &Configs,
    peer: PeerId,
    addresses: Vec<SocketAddr>,
) -> bool {
    tracing::debug!(%peer, ?addresses, "dialling");
    let mut attempts = JoinSet::new();
    let mut delay = Duration::ZERO;
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let Some(endpoint) = super::endpoint_for(endpoints, address).cloned() else { continue };
        let (shared, config) = (shared.clone(), configs.dial.clone());
        attempts.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = attempt(&shared, &endpoint, config, peer, address).await;
            (address, result)
        });
        delay += STAGGER;
    }
    while let Some(ended) = attempts.join_next().await {
        let Ok((address, result)) = ended else { continue };
        match result {
            Ok(()) => return true,
            Err(SessionError::Duplicate) => return false,
            Err(SessionError::Rejected(reason)) => shared.reject(reason, address),
            Err(error) => tracing::debug!(%peer, %address, %error, "no link"),
        }
    }
    false
}

async fn attempt(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    config: quinn::ClientConfig,
    peer: PeerId,
    address: SocketAddr,
) -> Result<(), SessionError> {
    let connecting = endpoint.connect_with(config, address, &tls::server_name(&peer));
    let connecting = connecting.map_err(|error| {
        tracing::debug!(%address, %error, "cannot dial");
        SessionError::Stream
    })?;
    let connection = match timeout(CONNECT_MAX, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) if quic::refused_key(&error) => {
            return Err(SessionError::Rejected(RejectReason::UnknownKey));
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(SessionError::Slow),
    };
    let link = timeout(GREET_MAX, session::start(shared, connection.clone(), true)).await;
    match link {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(SessionError::Connection(error))) if quic::Close::Duplicate.came(&error) => {
            Err(SessionError::Duplicate)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            quic::Close::TooSlow.send(&connection);
            Err(SessionError::Slow)
        }
    }
}
