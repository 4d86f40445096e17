//! The dialling side: a stream through tor, then the session's TLS.

use super::failure::TorFailure;
use super::session_stream::SessionTls;
use super::socks;
use super::status::TorStatus;
use super::wanted::TorKeys;
use crate::address::{Address, OnionAddress, PeerId};
use crate::link::{LinkCaps, Medium};
use crate::session::{BoxFuture, CarrierEnd, Connection, Dial, Pipe, Protocol, STREAM_CAPS};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Time for the TLS handshake through an open stream: two round trips of a slow circuit.
const TLS_MAX: Duration = Duration::from_secs(20);
/// How long a dial waits for tor to have the key for a service.
const KEY_MAX: Duration = Duration::from_secs(3);
/// What is assumed of a circuit that this end did not open, in milliseconds one way.
pub(super) const LATENCY_ASSUMED_MS: u32 = 500;

/// The way to every onion service.
#[derive(Debug)]
pub(super) struct TorDial {
    configs: SessionTls,
    status: TorStatus,
    wanted: watch::Receiver<TorKeys>,
    supplied: watch::Receiver<Option<TorKeys>>,
    /// Random for each start, and counted up with each attempt: no attempt shares a circuit with one before, which may be
    /// dead without a sign.
    isolation: u32,
    attempts: AtomicU64,
}

impl TorDial {
    pub(super) fn new(
        configs: SessionTls,
        status: TorStatus,
        wanted: watch::Receiver<TorKeys>,
        supplied: watch::Receiver<Option<TorKeys>>,
        isolation: u32,
    ) -> Self {
        Self { configs, status, wanted, supplied, isolation, attempts: AtomicU64::new(0) }
    }

    async fn open(
        &self,
        peer: PeerId,
        onion: OnionAddress,
        protocol: Protocol,
    ) -> Result<Connection, CarrierEnd> {
        let result = self.stream(peer, onion, protocol).await;
        let failure = result.as_ref().err().map(|(failure, _)| failure);
        self.status.dialled(peer, failure.map_or(Ok(()), Err));
        result.map_err(|(_, ended)| ended)
    }

    async fn stream(
        &self,
        peer: PeerId,
        onion: OnionAddress,
        protocol: Protocol,
    ) -> Result<Connection, (TorFailure, CarrierEnd)> {
        self.key_supplied(&onion).await;
        let isolation = self.isolation(&peer);
        let opened = socks::connect(self.status.socks(), &onion.host, onion.port, &isolation).await;
        let stream = opened.map_err(|failure| (self.explained(failure), CarrierEnd::Failed))?;
        let begun = Instant::now();
        let session = timeout(TLS_MAX, self.configs.connect(stream, peer, &onion.host, protocol)).await;
        let session = session.unwrap_or(Err(CarrierEnd::Silent)).map_err(|ended| {
            let failure = match ended {
                CarrierEnd::OtherKey => TorFailure::OtherKey,
                CarrierEnd::Silent => TorFailure::TimedOut { after: TLS_MAX },
                _ => TorFailure::NoSession,
            };
            (failure, ended)
        })?;
        // The handshake is one round trip.
        let latency_ms = u32::try_from(begun.elapsed().as_millis() / 2).unwrap_or(u32::MAX);
        let address = Address::Onion(onion);
        Ok(Pipe::connection(session, peer, address, Some(address), caps(latency_ms)))
    }

    /// Waits, not long, until tor has the key for a service. Without a control connection there is nothing to wait for.
    async fn key_supplied(&self, onion: &OnionAddress) {
        let wanted = self.wanted.borrow().keys.get(&onion.host).cloned();
        let mut supplied = self.supplied.clone();
        let has = |has: &Option<TorKeys>| {
            has.as_ref().is_none_or(|has| has.keys.get(&onion.host) == wanted.as_ref())
        };
        let _ = timeout(KEY_MAX, supplied.wait_for(has)).await;
    }

    /// A name for one attempt, by which tor keeps it apart from every other.
    fn isolation(&self, peer: &PeerId) -> String {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let [a, b, c, d, ..] = peer.0;
        format!("{:08x}-{:08x}-{attempt}", self.isolation, u32::from_be_bytes([a, b, c, d]))
    }

    /// A tor that is not connected to its network yet fails in many ways, for one reason.
    fn explained(&self, failure: TorFailure) -> TorFailure {
        match self.status.bootstrapping() {
            Some(percent) if !failure.is_local() => TorFailure::Bootstrapping { percent },
            _ => failure,
        }
    }
}

/// What a stream through Tor can carry.
pub(super) fn caps(latency_ms: u32) -> LinkCaps {
    LinkCaps { medium: Medium::Tor, latency_ms, ..STREAM_CAPS }
}

impl Dial for TorDial {
    fn dials(&self, address: &Address) -> bool {
        matches!(address, Address::Onion(_))
    }

    fn connect(
        &self,
        peer: PeerId,
        address: Address,
        protocol: Protocol,
    ) -> BoxFuture<'_, Result<Connection, CarrierEnd>> {
        Box::pin(async move {
            let Address::Onion(onion) = address else { return Err(CarrierEnd::Failed) };
            self.open(peer, onion, protocol).await
        })
    }

    fn dial_max(&self) -> Duration {
        KEY_MAX + socks::CONNECT_MAX + TLS_MAX + self.greet_max()
    }

    fn greet_max(&self) -> Duration {
        Duration::from_secs(20)
    }
}
