//! The local network: QUIC links to peers, found by mDNS or by a known address.
//!
//! [`Lan::start`] binds, announces, browses, accepts, and dials every listed peer that has no
//! link and whose address is known: at once on news, else with back-off. What happens comes out as
//! [`LinkEvent`]s; messages go in by [`Lan::send`], which never waits.
//!
//! ```no_run
//! # async fn example(secret: [u8; 32], friend: tombolo_transports::PeerId) -> anyhow::Result<()> {
//! use tombolo_transports::{Lan, LanConfig, LinkEvent};
//!
//! let (lan, mut events) = Lan::start(LanConfig { peers: vec![friend], ..LanConfig::new(secret) }).await?;
//! while let Some(event) = events.recv().await {
//!     match event {
//!         LinkEvent::Up { link, .. } => lan.send(link, b"tide".to_vec())?,
//!         LinkEvent::Received { bytes, .. } => println!("{} bytes", bytes.len()),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! What somebody learns who dials this node's port without being a peer: that a Tombolo node
//! listens here, its public key (a TLS server shows its key first), and whether an invite is open.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

pub mod book;
pub mod mdns;

mod accept;
mod dial;
mod interfaces;
mod join;
mod outbox;
mod quic;
mod session;
mod shared;

pub use accept::{
    HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS_MAX, HANDSHAKE_BUSY_MAX, HANDSHAKE_MAX, JOINS_MAX, RETRY_ABOVE,
};

use crate::address::PeerId;
use crate::error::{JoinError, LanError, SendError};
use crate::link::{LinkCaps, LinkEvent, LinkId, LinkIds, RejectReason, Transport};
use crate::tls::{AllowList, Tls};
use dial::Dialler;
use interfaces::Interfaces;
use mdns::{Hint, Mdns};
use mdns_sd::ServiceEvent;
use quinn::Endpoint;
use shared::{Shared, hour};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// The UDP port a node listens on unless told otherwise.
pub const PORT: u16 = 8662;
/// The longest request to join and the longest answer, in bytes; a longer one is refused.
pub const JOIN_BYTES_MAX: usize = 4096;
/// Bytes that may wait in one link's queue unless set otherwise; beyond, `send` says `Full`.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Events that may wait for the node; beyond, links stop reading and their peers' queues fill.
pub const EVENTS_MAX: usize = 64;

/// How often links, interfaces and the hour are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a lost mDNS subscription the next one is asked for.
const BROWSE_AGAIN: Duration = Duration::from_secs(1);
/// mDNS events taken between two rounds of dialling; the rest comes after.
const MDNS_DRAIN_MAX: usize = 256;
/// How long goodbyes may take.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// How a [`Lan`] is set up.
#[derive(Clone)]
pub struct LanConfig {
    /// The ed25519 seed of this node (RFC 8032, section 5.1.5).
    pub secret: Zeroizing<[u8; 32]>,
    /// UDP addresses to listen on; none: off the network. Port 0 takes any port, the same for all that ask for any.
    pub listen: Vec<SocketAddr>,
    /// Announce this node and look for peers by mDNS.
    pub mdns: bool,
    /// Let loopback addresses take part, in mDNS and in `local_addresses`: for tests and demos.
    pub loopback: bool,
    /// The first list of peers; see [`Lan::set_peers`].
    pub peers: Vec<PeerId>,
    /// Bytes that may wait in one link's queue; beyond, [`Lan::send`] says `Full`.
    pub queue_bytes_max: usize,
    /// Where link ids come from, shared by the transports of a node.
    pub ids: LinkIds,
}

impl LanConfig {
    /// Both families on the default port, mDNS on, no peers yet.
    pub fn new(secret: [u8; 32]) -> Self {
        let listen = vec![(Ipv4Addr::UNSPECIFIED, PORT).into(), (Ipv6Addr::UNSPECIFIED, PORT).into()];
        Self {
            secret: Zeroizing::new(secret),
            listen,
            mdns: true,
            loopback: false,
            peers: Vec::new(),
            queue_bytes_max: QUEUE_BYTES_MAX,
            ids: LinkIds::default(),
        }
    }
}

impl fmt::Debug for LanConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanConfig")
            .field("listen", &self.listen)
            .field("mdns", &self.mdns)
            .field("loopback", &self.loopback)
            .field("peers", &self.peers)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .finish_non_exhaustive()
    }
}

/// The local network as one node sees it. Dropping it ends everything at once; [`shutdown`](Self::shutdown)
/// says goodbye first.
#[derive(Debug)]
pub struct Lan {
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
    ports: Vec<quic::Port>,
    join: quinn::ClientConfig,
    mdns: bool,
    driver: Option<JoinHandle<()>>,
}

impl Lan {
    /// Binds the sockets and starts to dial, accept, announce and browse, on the present tokio
    /// runtime. Where mDNS cannot start, the rest goes on without it.
    pub async fn start(config: LanConfig) -> Result<(Self, mpsc::Receiver<LinkEvent>), LanError> {
        let (allow, (events, receiver)) = (Arc::new(AllowList::default()), mpsc::channel(EVENTS_MAX));
        let tls = Tls::new(&config.secret, allow.clone())?;
        let configs = quic::Configs::new(&tls)?;
        let (endpoints, ports) = quic::bind(&config.listen, &configs, &config.secret)?;
        let bound: Vec<SocketAddr> =
            endpoints.iter().filter_map(|endpoint| endpoint.local_addr().ok()).collect();
        let shared = Arc::new(Shared::new(tls.id(), random()?, &config, allow, events));
        shared.set_peers(config.peers.iter().copied().collect());
        tracing::info!(id = %shared.id, ?bound, "listening");
        accept::spawn(&shared, &endpoints, &configs);
        let mdns = if config.mdns && !bound.is_empty() { start_mdns(&bound, config.loopback)? } else { None };
        let driver = Driver {
            interfaces: Interfaces::new(bound, config.loopback),
            dialler: Dialler::new(shared.clone(), endpoints.clone(), configs.clone()),
            hour: 0,
            shared: shared.clone(),
        };
        let found = mdns.is_some();
        let driver = Some(tokio::spawn(driver.run(mdns)));
        Ok((Self { shared, endpoints, ports, join: configs.join, mdns: found, driver }, receiver))
    }

    /// The identity of this node.
    pub fn id(&self) -> PeerId {
        self.shared.id
    }

    /// Addresses at which this node can be dialled now: for an invite, or to show. Link-local IPv6
    /// addresses are left out, since their zone means nothing elsewhere.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let bound = self.endpoints.iter().filter_map(|endpoint| endpoint.local_addr().ok()).collect();
        Interfaces::new(bound, self.shared.loopback).reachable()
    }

    /// Replaces the list of peers. Links of those left out are closed at once, and their keys are
    /// refused from now on, in handshakes under way too.
    pub fn set_peers(&self, peers: Vec<PeerId>) {
        self.shared.set_peers(peers.into_iter().collect());
    }

    /// Answers requests to join, or no longer. At first none are.
    pub fn set_joining(&self, open: bool) {
        self.shared.joining.store(open, Ordering::Relaxed);
    }

    /// Adds places to dial a peer at: from an invite, the operator, an earlier session. They are
    /// hints; at most [`book::ADDRESSES_MAX`] are kept. The peer need not be on the list yet.
    pub fn know_address(&self, peer: PeerId, addresses: Vec<SocketAddr>) {
        self.shared.know_address(peer, &canonical(addresses));
    }

    /// Asks an inviter to let this node join: one request, one answer, each at most
    /// [`JOIN_BYTES_MAX`]. Tries the given addresses and whatever mDNS shows with the inviter's
    /// hint, side by side. Nothing is sent to anybody who does not prove the inviter's key.
    pub async fn join(
        &self,
        inviter: PeerId,
        addresses: Vec<SocketAddr>,
        request: Vec<u8>,
    ) -> Result<Vec<u8>, JoinError> {
        let ask = join::Ask {
            shared: self.shared.clone(),
            endpoints: self.endpoints.clone(),
            config: self.join.clone(),
            inviter,
            request,
            search: self.mdns,
        };
        ask.run(canonical(addresses)).await
    }

    /// Queues one message for a link; never waits. An error leaves nothing queued. After
    /// [`SendError::Full`] a `Drained` event tells when to go on.
    pub fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        self.shared.send(link, bytes)
    }

    /// Ends a link; its `Down` follows. Its peer stays on the list and is dialled again.
    pub fn close(&self, link: LinkId) {
        self.shared.close(link);
    }

    /// What a link can carry now; latency changes while it is up. `None` if there is no such link.
    pub fn caps(&self, link: LinkId) -> Option<LinkCaps> {
        self.shared.state().links.get(&link).map(|link| link.caps())
    }

    /// What was turned away since the start, by reason.
    pub fn rejections(&self) -> BTreeMap<RejectReason, u64> {
        self.shared.rejections()
    }

    /// Says goodbye by mDNS, closes every link and waits, not long, until the peers were told and the
    /// ports are free. Messages still queued are dropped.
    pub async fn shutdown(mut self) {
        let links: Vec<_> = self.shared.state().links.values().cloned().collect();
        self.shared.end_all();
        let ended = async {
            for link in links {
                link.ended().await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE_MAX, ended).await;
        if let Some(driver) = self.driver.take() {
            let _ = driver.await;
        }
        for endpoint in std::mem::take(&mut self.endpoints) {
            close(&endpoint);
            let _ = tokio::time::timeout(GOODBYE_MAX, endpoint.wait_idle()).await;
        }
        let freed = async {
            while self.ports.iter().any(|port| port.strong_count() > 0) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE_MAX, freed).await;
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.shared.end_all();
        self.endpoints.iter().for_each(close);
    }
}

impl Transport for Lan {
    fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        Lan::send(self, link, bytes)
    }

    fn close(&self, link: LinkId) {
        Lan::close(self, link);
    }
}

fn close(endpoint: &Endpoint) {
    endpoint.close(quinn::VarInt::from_u32(quic::Close::Done as u32), b"");
}

/// The endpoint of an address's family.
fn endpoint_for(endpoints: &[Endpoint], address: SocketAddr) -> Option<&Endpoint> {
    let same =
        |endpoint: &&Endpoint| endpoint.local_addr().is_ok_and(|bound| bound.is_ipv6() == address.is_ipv6());
    endpoints.iter().find(same)
}

/// IPv4 addresses in IPv6 clothes become plain ones: each family has its own endpoint.
fn canonical(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let plain = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(v4) => (v4, address.port()).into(),
        IpAddr::V6(_) => address,
    };
    addresses.into_iter().map(plain).collect()
}

fn random<const N: usize>() -> Result<[u8; N], LanError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| LanError::Random)?;
    Ok(bytes)
}

type Found = mdns_sd::Receiver<ServiceEvent>;

fn start_mdns(bound: &[SocketAddr], loopback: bool) -> Result<Option<(Mdns, Found)>, LanError> {
    let instance = data_encoding::HEXLOWER.encode(&random::<8>()?);
    Ok(Mdns::start(instance, bound, loopback)
        .inspect_err(|error| tracing::warn!(%error, "no mDNS: peers are found by known addresses alone"))
        .ok())
}

/// The task behind a [`Lan`]: dials who is due, and looks after mDNS, interfaces and the hour.
struct Driver {
    shared: Arc<Shared>,
    dialler: Dialler,
    interfaces: Interfaces,
    hour: u64,
}

impl Driver {
    async fn run(mut self, mdns: Option<(Mdns, Found)>) {
        let (mdns, found) = mdns.unzip();
        let mut browsing = Browsing::new(found);
        let mut stop = self.shared.stop.subscribe();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Dialling takes its time; what waits would fill the queue meanwhile.
            for event in browsing.waiting() {
                self.mdns_event(mdns.as_ref(), event);
            }
            let next = self.dialler.dial_due(Instant::now());
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.shared.wake.notified() => {}
                () = due => {}
                _ = look.tick() => self.look(mdns.as_ref()),
                event = browsing.next(mdns.as_ref()) => self.mdns_event(mdns.as_ref(), event),
            }
        }
        if let Some(mdns) = mdns {
            mdns.shutdown().await;
        }
    }

    fn look(&mut self, mdns: Option<&Mdns>) {
        let now = Instant::now();
        self.shared.state().links.values().for_each(|link| link.look(now));
        if self.interfaces.changed() {
            self.shared.network_changed();
            self.shared.hint(LinkEvent::ListenAddresses { addresses: self.interfaces.reachable() });
        }
        let hour = hour();
        if std::mem::replace(&mut self.hour, hour) != hour {
            self.shared.new_hour(hour);
            let announced = mdns.map(|mdns| mdns.announce(Hint::new(&self.shared.id, hour)));
            if let Some(Err(error)) = announced {
                tracing::warn!(%error, "cannot announce by mDNS");
            }
        }
    }

    fn mdns_event(&self, mdns: Option<&Mdns>, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(resolved) => {
                let name = resolved.get_fullname();
                let own = mdns.is_some_and(|mdns| mdns.is_own(name));
                if let Some(service) = mdns::service(&resolved, self.shared.loopback).filter(|_| !own) {
                    self.shared.resolved(name, service);
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => self.shared.removed(&name),
            _ => {}
        }
    }
}

/// The subscription to what mDNS shows. The mDNS thread drops one whose queue is full.
struct Browsing {
    found: Option<Found>,
    /// When to subscribe anew, if there is none.
    due: tokio::time::Instant,
}

impl Browsing {
    fn new(found: Option<Found>) -> Self {
        Browsing { found, due: tokio::time::Instant::now() }
    }

    /// What waits at this moment, without waiting.
    fn waiting(&self) -> Vec<ServiceEvent> {
        let events = self.found.iter().flat_map(|found| std::iter::from_fn(|| found.try_recv().ok()));
        events.take(MDNS_DRAIN_MAX).collect()
    }

    /// The next event; a lost subscription is replaced. May be dropped and called again at any time.
    async fn next(&mut self, mdns: Option<&Mdns>) -> ServiceEvent {
        let Some(mdns) = mdns else { return std::future::pending().await };
        loop {
            if let Some(found) = &self.found {
                if let Ok(event) = found.recv_async().await {
                    return event;
                }
                tracing::warn!("mDNS shows more than was read in time: looking anew");
                self.found = None;
                self.due = tokio::time::Instant::now() + BROWSE_AGAIN;
            }
            tokio::time::sleep_until(self.due).await;
            self.found = mdns.browse().inspect_err(|error| tracing::debug!(%error, "cannot browse")).ok();
            self.due = tokio::time::Instant::now() + BROWSE_AGAIN;
        }
    }
}
