//! The accepting side: who may knock, how often, and what becomes of it.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::join;
use super::quic::{self, Close, Configs};
use super::session::{self, SessionError};
use super::shared::Shared;
use crate::link::RejectReason;
use quinn::{Endpoint, Incoming};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Time from the first packet to a link or a whole request to join; then the connection is closed.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The same while more than [`RETRY_ABOVE`] are unfinished: an honest handshake takes milliseconds.
pub const HANDSHAKE_BUSY_MAX: Duration = Duration::from_secs(3);
/// Above this many unfinished handshakes a client must first show that it gets our answers (QUIC Retry).
pub const RETRY_ABOVE: usize = 16;
/// Unfinished handshakes at once; beyond, new ones are refused.
pub const HALF_OPEN_MAX: usize = 128;
/// Unfinished handshakes at once of one IPv4 address or IPv6 /64; beyond, its new ones are refused.
pub const HALF_OPEN_PER_ADDRESS_MAX: usize = 32;
/// Requests to join worked on at once; beyond, new ones are refused.
pub const JOINS_MAX: usize = 8;

/// Counts unfinished handshakes.
#[derive(Debug, Default)]
pub(super) struct HalfOpen(Mutex<BTreeMap<IpAddr, usize>>);

/// Whom a handshake is counted for: an IPv4 address, or an IPv6 /64, which is one network and as a rule one
/// machine's to draw addresses from.
fn counted(ip: IpAddr) -> IpAddr {
    const SUBNET: u128 = !0 << 64;
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & SUBNET).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// One unfinished handshake, counted while it lives.
#[derive(Debug)]
pub(super) struct Place(Arc<HalfOpen>, IpAddr);

impl HalfOpen {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn total(&self) -> usize {
        self.counts().values().sum()
    }

    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = counted(ip);
        let mut counts = self.counts();
        let (total, own) = (counts.values().sum::<usize>(), counts.get(&ip).copied().unwrap_or(0));
        if total >= HALF_OPEN_MAX || own >= HALF_OPEN_PER_ADDRESS_MAX {
            return None;
        }
        counts.insert(ip, own + 1);
        Some(Place(self.clone(), ip))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        if let Some(own) = counts.get_mut(&self.1) {
            *own -= 1;
        }
        counts.retain(|_, own| *own > 0);
    }
}

/// Accepts on all endpoints until the end.
pub(super) fn spawn(shared: &Arc<Shared>, endpoints: &[Endpoint], configs: &Configs) {
    let (half_open, joins) = (Arc::new(HalfOpen::default()), Arc::new(Semaphore::new(JOINS_MAX)));
    for endpoint in endpoints {
        let door = Door {
            shared: shared.clone(),
            configs: configs.clone(),
            half_open: half_open.clone(),
            joins: joins.clone(),
        };
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                door.knock(incoming);
            }
        });
    }
}

#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    configs: Configs,
    half_open: Arc<HalfOpen>,
    joins: Arc<Semaphore>,
}

impl Door {
    fn knock(&self, incoming: Incoming) {
        let address = incoming.remote_address();
        let busy = self.half_open.total() >= RETRY_ABOVE;
        if busy && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            return;
        }
        let Some(place) = self.half_open.enter(address.ip()) else {
            incoming.refuse();
            self.shared.reject(RejectReason::TooManyHalfOpen, address);
            return;
        };
        let (door, time_max) = (self.clone(), if busy { HANDSHAKE_BUSY_MAX } else { HANDSHAKE_MAX });
        tokio::spawn(async move { door.admit(incoming, address, time_max, place).await });
    }

    async fn admit(&self, incoming: Incoming, address: SocketAddr, time_max: Duration, place: Place) {
        let begun = tokio::time::Instant::now();
        let joining = self.shared.joining.load(Ordering::Relaxed);
        let config = if joining { &self.configs.joining } else { &self.configs.closed };
        // The first packet alone may already be refused.
        let handshake = async { incoming.accept_with(config.clone())?.await };
        let connection = match timeout(time_max, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                if let Some(reason) = quic::rejection(&error) {
                    self.shared.reject(reason, address);
                }
                return;
            }
            Err(_) => return self.shared.reject(RejectReason::HandshakeTimeout, address),
        };
        let left = time_max.saturating_sub(begun.elapsed());
        if quic::is_join(&connection) {
            if let Err(reason) = join::answer(&self.shared, &connection, left, place, &self.joins).await {
                self.shared.reject(reason, address);
            }
            return;
        }
        match timeout(left, session::start(&self.shared, connection.clone(), false)).await {
            Ok(Ok(_link)) => {}
            Ok(Err(SessionError::Rejected(reason))) => self.shared.reject(reason, address),
            Ok(Err(error)) => tracing::debug!(%address, %error, "no link"),
            Err(_) => {
                Close::TooSlow.send(&connection);
                self.shared.reject(RejectReason::HandshakeTimeout, address);
            }
        }
    }
}
