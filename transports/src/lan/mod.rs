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
//! A stranger that dials this node's port learns that a Tombolo node listens here, its public key (a TLS
//! server shows its key first), and whether an invite is open.
//!
//! Everything after the proof of a key is the [`session`](crate::session)'s.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

pub mod mdns;

mod accept;
mod dial;
mod discovery;
mod filters;
mod interfaces;
mod netlink;
mod quic;
mod sentinel;
mod sight;

use crate::address::{Address, PeerId};
use crate::error::{JoinError, LanError, SendError};
use crate::events::Events;
use crate::link::{LinkCaps, LinkEvent, LinkId, Medium, RejectReason};
use crate::session::{BoxFuture, Dialler, QUEUE_BYTES_MAX, Sessions, at};
use crate::set::{JoinDial, Transport};
use crate::tls::{AllowList, Tls};
use dial::LanDial;
use discovery::{Discovery, MdnsNews};
use interfaces::Interfaces;
use mdns::{DaemonOptions, Mdns, SaltedHint};
use mdns_sd::ServiceEvent;
use netlink::InterfaceNews;
use quinn::Endpoint;
use sight::Sight;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// The UDP port a node listens on unless set otherwise.
pub const PORT: u16 = 8662;
/// How long a salt is announced: longer, and a node could be followed by it.
const SALT_LIFE: Duration = Duration::from_secs(60 * 60);
/// Addresses that mDNS shows for an inviter and one request to join tries, beside those of the code.
const SEARCHED_MAX: usize = 24;
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
    /// Bytes that may wait in one link's queue; beyond, [`Lan::send`] returns `Full`.
    pub queue_bytes_max: usize,
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
/// sends a goodbye first.
#[derive(Debug)]
pub struct Lan {
    sight: Arc<Sight>,
    doors: Arc<LanDial>,
    ports: Vec<quic::SocketWatch>,
    mdns: bool,
    driver: Option<JoinHandle<()>>,
}

impl Lan {
    /// The LAN alone, with a stream of events of its own; see [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn start(config: LanConfig) -> Result<(Self, mpsc::Receiver<LinkEvent>), LanError> {
        let (events, receiver) = Events::alone(Medium::Lan);
        Ok((Self::open(config, events)?, receiver))
    }

    /// Binds the sockets and starts to dial, accept, announce and browse, on the present tokio
    /// runtime. Where mDNS cannot start, the rest goes on without it.
    ///
    /// # Errors
    ///
    /// [`LanError::Bind`] when an address is taken; the others when the machine lacks what a node needs.
    pub fn open(config: LanConfig, events: Events) -> Result<Self, LanError> {
        let allow = Arc::new(AllowList::default());
        let tls = Tls::new(&config.secret, allow.clone())?;
        let configs = quic::Configs::new(&tls)?;
        let (endpoints, ports) = quic::bind(&config.listen, &configs, &config.secret)?;
        let sessions = Sessions::new(tls.id(), random()?, config.queue_bytes_max, allow, events);
        accept::spawn(&sessions, &endpoints, &configs);
        let doors = Arc::new(LanDial::new(endpoints, configs));
        let bound = doors.bound();
        tracing::info!(id = %tls.id(), ?bound, "listening");
        let sight = Arc::new(Sight::new(sessions.clone(), config.loopback));
        sight.set_peers(&config.peers.iter().copied().collect());
        let news = InterfaceNews::open();
        let options = DaemonOptions::new(&bound, config.loopback, news.is_from_kernel());
        let mdns = if config.mdns && !bound.is_empty() { start_mdns(&bound, options)? } else { None };
        let found = mdns.is_some();
        let driver = LanDriver {
            interfaces: Interfaces::new(bound, config.loopback),
            dialler: Dialler::new(sessions.clone(), doors.clone()),
            announced_at: None,
            looked_at: Instant::now(),
            linked: BTreeSet::new(),
            sight: sight.clone(),
            sessions,
            discovery: Discovery::new(mdns),
        };
        let driver = Some(tokio::spawn(driver.run(news)));
        Ok(Self { sight, doors, ports, mdns: found, driver })
    }

    /// The identity of this node.
    pub fn id(&self) -> PeerId {
        self.sessions().id()
    }

    /// Addresses at which this node can be dialled now: for an invite, or to show. Link-local IPv6
    /// addresses are left out, since their zone means nothing elsewhere.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        Interfaces::new(self.doors.bound(), self.sight.loopback()).reachable(&self.sessions().linked_ips())
    }

    /// Replaces the list of peers; see [`Sessions::set_peers`].
    pub fn set_peers(&self, peers: Vec<PeerId>) {
        self.sight.set_peers(&peers.into_iter().collect());
    }

    /// Answers requests to join, or no longer. At first none are.
    pub fn set_joining(&self, open: bool) {
        self.sessions().set_joining(open);
    }

    /// Adds places to dial a peer at: from an invite, the operator, an earlier session. They are
    /// hints; at most [`ADDRESSES_MAX`](crate::session::book::ADDRESSES_MAX) are kept. The peer need not be
    /// on the list yet.
    pub fn know_address(&self, peer: PeerId, addresses: Vec<SocketAddr>) {
        let addresses: Vec<_> = addresses.into_iter().map(Address::Socket).collect();
        Transport::know_addresses(self, peer, &addresses);
    }

    /// Asks an inviter to let this node join; see [`Sessions::join`]. Tries the given addresses and those
    /// that mDNS shows with the inviter's hint.
    ///
    /// # Errors
    ///
    /// The most specific reason of all attempts.
    pub async fn join(
        &self,
        inviter: PeerId,
        addresses: Vec<SocketAddr>,
        request: Vec<u8>,
    ) -> Result<Vec<u8>, JoinError> {
        let addresses = addresses.into_iter().map(Address::Socket).collect();
        self.ask_to_join(inviter, addresses, request).await
    }

    async fn ask_to_join(
        &self,
        inviter: PeerId,
        addresses: Vec<Address>,
        request: Vec<u8>,
    ) -> Result<Vec<u8>, JoinError> {
        let addresses = addresses.into_iter().map(canonical).collect();
        let offered = Mutex::new(BTreeSet::new());
        let found = || {
            let mut offered = offered.lock().unwrap_or_else(PoisonError::into_inner);
            for address in self.sight.addresses_by_hint(&inviter) {
                if offered.len() < SEARCHED_MAX {
                    offered.insert(address);
                }
            }
            offered.iter().copied().collect()
        };
        let shown: Option<&(dyn Fn() -> Vec<Address> + Send + Sync)> =
            if self.mdns { Some(&found) } else { None };
        let answer = self.sessions().join(self.doors.clone(), inviter, addresses, request, shown).await;
        if answer.is_err() {
            // The next request tries others first: a hint can be repeated by anyone.
            self.sight.tried_in_vain(&offered.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        answer
    }

    /// Queues one message for a link; never waits.
    ///
    /// # Errors
    ///
    /// As [`Sessions::send`].
    pub fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        self.sessions().send(link, bytes)
    }

    /// Ends a link; its `Down` follows. Its peer stays on the list and is dialled again.
    pub fn close(&self, link: LinkId) {
        self.sessions().close(link);
    }

    /// What a link can carry now; latency changes while it is up. `None` if there is no such link.
    pub fn caps(&self, link: LinkId) -> Option<LinkCaps> {
        self.sessions().caps(link)
    }

    /// What was turned away since the start, by reason.
    pub fn rejections(&self) -> BTreeMap<RejectReason, u64> {
        self.sessions().rejections()
    }

    /// Sends a goodbye by mDNS, closes every link and waits, not long, until the peers know it and the
    /// ports are free. Messages still queued are dropped.
    pub async fn shutdown(mut self) {
        let _ = tokio::time::timeout(GOODBYE_MAX, self.sessions().shutdown()).await;
        if let Some(driver) = self.driver.take() {
            let _ = driver.await;
        }
        for endpoint in self.doors.take() {
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
        self.sessions().end_all();
        self.doors.take().iter().for_each(close);
    }
}

impl Transport for Lan {
    fn medium(&self) -> Medium {
        Medium::Lan
    }

    fn sessions(&self) -> &Arc<Sessions> {
        self.sight.sessions()
    }

    fn join(&self, call: JoinDial) -> BoxFuture<'_, Result<Vec<u8>, JoinError>> {
        let JoinDial { inviter, addresses, request, secret: _ } = call;
        Box::pin(self.ask_to_join(inviter, addresses, request))
    }

    fn shutdown(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(Lan::shutdown(*self))
    }

    fn local_addresses(&self) -> Vec<Address> {
        Lan::local_addresses(self).into_iter().map(Address::Socket).collect()
    }

    fn set_peers(&self, peers: &BTreeSet<PeerId>) {
        self.sight.set_peers(peers);
    }

    fn know_addresses(&self, peer: PeerId, addresses: &[Address]) {
        let sockets = addresses.iter().copied().filter(|address| address.as_socket().is_some());
        let sockets: Vec<_> = sockets.map(canonical).collect();
        if !sockets.is_empty() {
            self.sessions().know_addresses(peer, &sockets);
        }
    }
}

fn close(endpoint: &Endpoint) {
    endpoint.close(quinn::VarInt::from_u32(crate::session::Close::Done as u32), b"");
}

/// An IPv4 address in IPv6 form becomes a plain one: each family has its own endpoint.
fn canonical(address: Address) -> Address {
    let Address::Socket(socket) = address else { return address };
    match socket.ip().to_canonical() {
        IpAddr::V4(v4) => Address::Socket((v4, socket.port()).into()),
        IpAddr::V6(_) => address,
    }
}

fn random<const N: usize>() -> Result<[u8; N], LanError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| LanError::Random)?;
    Ok(bytes)
}

fn start_mdns(bound: &[SocketAddr], options: DaemonOptions) -> Result<Option<StartedMdns>, LanError> {
    Ok(Mdns::start(random()?, bound, options)
        .inspect_err(|error| tracing::warn!(%error, "no mDNS: peers are found by known addresses alone"))
        .ok())
}

type StartedMdns = (Mdns, mdns_sd::Receiver<ServiceEvent>);

/// The task behind a [`Lan`]: dials the peers that are due, and looks after mDNS and interfaces. While there is no link and nothing
/// happens, it sleeps.
struct LanDriver {
    sessions: Arc<Sessions>,
    sight: Arc<Sight>,
    dialler: Dialler,
    interfaces: Interfaces,
    discovery: Discovery,
    /// When the present salt was announced first.
    announced_at: Option<Instant>,
    /// When the links were checked last.
    looked_at: Instant,
    /// The addresses of linked peers then.
    linked: BTreeSet<IpAddr>,
}

impl LanDriver {
    async fn run(mut self, news: InterfaceNews) {
        let sessions = self.sessions.clone();
        let stopped = sessions.stopped();
        tokio::pin!(stopped);
        self.interfaces.changed();
        self.announce();
        loop {
            // Dialling takes its time; what waits would fill the queue meanwhile.
            for event in self.discovery.waiting() {
                self.mdns_event(event);
            }
            let next = self.dialler.dial_due(Instant::now());
            let look = sessions.look_due(self.looked_at);
            let announce = self.announced_at.map(|at| at + SALT_LIFE);
            tokio::select! {
                () = &mut stopped => break,
                () = sessions.woken() => {}
                () = at(next) => {}
                () = at(look) => self.look(),
                () = at(announce) => self.announce(),
                () = news.next() => self.interfaces_news(),
                shown = self.discovery.next() => match shown {
                    MdnsNews::Event(event) => self.mdns_event(*event),
                    MdnsNews::Renewed => self.sight.clear(),
                },
            }
        }
        self.discovery.shutdown().await;
    }

    fn look(&mut self) {
        self.looked_at = Instant::now();
        self.sessions.look(self.looked_at);
        // On which networks peers are shows which addresses are of use to others.
        let linked = self.sessions.linked_ips();
        if self.linked != linked {
            self.linked = linked;
            self.sessions.listens_at(self.reachable());
        }
    }

    fn reachable(&self) -> Vec<Address> {
        self.interfaces.reachable(&self.linked).into_iter().map(Address::Socket).collect()
    }

    /// An interface may have come or gone.
    fn interfaces_news(&mut self) {
        if self.interfaces.changed() {
            self.discovery.interfaces_changed();
            self.sessions.network_changed(self.reachable());
        }
    }

    /// Announces this node under a new salt.
    fn announce(&mut self) {
        self.announced_at = Some(Instant::now());
        match random() {
            Ok(salt) => self.discovery.announce(SaltedHint::new(&self.sessions.id(), salt)),
            Err(_) => tracing::warn!("the system gives no random salt: nothing new is announced by mDNS"),
        }
    }

    fn mdns_event(&mut self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(resolved) => {
                let name = resolved.get_fullname();
                let own = self.discovery.is_own(name);
                if let Some(service) = mdns::service(&resolved, self.sight.loopback()).filter(|_| !own)
                    && self.sight.resolved(name, service)
                {
                    self.discovery.crowded();
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => self.sight.removed(&name),
            _ => {}
        }
    }
}
