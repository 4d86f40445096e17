//! Sessions: from a connection that has proved a key to a link, the same over every carrier of byte streams.
//!
//! A transport opens and accepts connections; everything after the proof of the key is here: the greeting,
//! the choice between two connections to one peer, the queue of messages, the signs of life, the exchange of
//! a request to join, and who is dialled when. QUIC, a TLS stream through Tor and a pipe in memory differ by
//! their [`Carrier`] alone.
//!
//! | file | what it holds |
//! |---|---|
//! | `carrier` | what a connection offers to the session, and why one ends |
//! | `greet` | from a connection to a link: greeting, choice of the connection, the life of a link |
//! | `link`, `outbox`, `frames` | one link: liveness, the queue of messages, frames on the stream |
//! | `accept` | limits on what strangers open |
//! | `join` | one request to join and its answer, at both ends |
//! | [`book`], `dial` | where peers may be found and when to dial them; one attempt at all addresses |
//! | `pipe` | a carrier made of a plain byte stream |
//!
//! The lock is never held across a wait. Whether a key is listed and whether its place is free is
//! decided in one critical section, so a key struck off has no link afterwards.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

pub mod book;

mod accept;
mod carrier;
mod dial;
mod frames;
mod greet;
mod join;
mod link;
mod outbox;
mod pipe;

pub use accept::{
    HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS_MAX, HANDSHAKE_BUSY_MAX, HANDSHAKE_MAX, HalfOpen, HalfOpenPlace,
    JOINS_MAX, RETRY_ABOVE,
};
pub use carrier::{
    BoxFuture, Carrier, CarrierEnd, Close, Connection, Liveness, PathMeasure, Protocol, ReadHalf,
    SessionError, WriteHalf,
};
pub(crate) use dial::at;
pub use dial::{Dial, Dialler};
pub use join::{Asking, JOIN_BYTES_MAX, JoinSecret};
pub use link::Link;
pub use pipe::{Pipe, STREAM_CAPS};

use crate::address::{Address, PeerId};
use crate::error::SendError;
use crate::events::Events;
use crate::link::{DownReason, LinkCaps, LinkEvent, LinkId, RejectReason};
use crate::tls::AllowList;
use book::{Backoff, Book};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, watch};

/// Bytes that may wait in one link's queue unless set otherwise; beyond, `send` returns `Full`.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;

/// The sessions of one node over one carrier: the list of peers, the links, the address book, the counters.
#[derive(Debug)]
pub struct Sessions {
    id: PeerId,
    boot: [u8; 8],
    queue_bytes_max: usize,
    allow: Arc<AllowList>,
    joining: AtomicBool,
    joins: Semaphore,
    half_open: Arc<HalfOpen>,
    /// Wakes the dialler: a peer may be due.
    wake: Notify,
    /// True once everything is to end.
    stop: watch::Sender<bool>,
    events: Events,
    table: Mutex<SessionTable>,
}

/// How often links are checked for signs of life.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct SessionTable {
    links: BTreeMap<LinkId, Arc<Link>>,
    by_peer: BTreeMap<PeerId, Arc<Link>>,
    book: Book,
    /// Inviters that are asked to let this node in, with the number of requests. They know it as no peer yet, so they are not dialled.
    asked: BTreeMap<PeerId, usize>,
    rejections: BTreeMap<RejectReason, u64>,
}

impl Sessions {
    /// No links and no peers yet. `boot` is random and new at each start of the node; `allow` is the list
    /// that the TLS verifiers of this carrier consult.
    pub fn new(
        id: PeerId,
        boot: [u8; 8],
        queue_bytes_max: usize,
        allow: Arc<AllowList>,
        events: Events,
    ) -> Arc<Self> {
        Self::with_backoff(id, boot, queue_bytes_max, allow, events, Backoff::default())
    }

    /// The same for a carrier on which each dial costs much.
    pub fn with_backoff(
        id: PeerId,
        boot: [u8; 8],
        queue_bytes_max: usize,
        allow: Arc<AllowList>,
        events: Events,
        backoff: Backoff,
    ) -> Arc<Self> {
        let table = SessionTable { book: Book::new(backoff), ..SessionTable::default() };
        Arc::new(Self {
            id,
            boot,
            queue_bytes_max,
            allow,
            joining: AtomicBool::new(false),
            joins: Semaphore::new(JOINS_MAX),
            half_open: Arc::default(),
            wake: Notify::new(),
            stop: watch::Sender::new(false),
            events,
            table: Mutex::new(table),
        })
    }

    /// The identity of this node.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Replaces the list of peers. The keys of those left out are refused from now on, in handshakes under way too. A link
    /// that is up stays up: the node above closes the links of a peer that it removes, with [`close`](Self::close), and a
    /// link that it does not know by then when it is reported. So a removal ends a link in one way.
    pub fn set_peers(&self, peers: &BTreeSet<PeerId>) {
        let table = self.table();
        self.allow.replace(peers.iter().copied());
        drop(table);
        self.wake.notify_one();
    }

    /// The list of peers at this moment.
    pub fn peers(&self) -> BTreeSet<PeerId> {
        self.allow.snapshot()
    }

    /// Answers requests to join, or no longer. At first none are.
    pub fn set_joining(&self, open: bool) {
        self.joining.store(open, Ordering::Relaxed);
    }

    /// Whether requests to join are answered.
    pub fn is_joining(&self) -> bool {
        self.joining.load(Ordering::Relaxed)
    }

    /// Counts unfinished handshakes, for the accepting end of the carrier.
    pub fn half_open(&self) -> &Arc<HalfOpen> {
        &self.half_open
    }

    /// Queues one message for a link; never waits.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] when the queue has no room: a `Drained` event follows when it has. An error
    /// leaves nothing queued.
    pub fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        let link = self.table().links.get(&link).cloned();
        link.ok_or(SendError::Unknown)?.send(bytes)
    }

    /// Ends a link; its `Down` follows. Its peer stays on the list and is dialled again.
    pub fn close(&self, link: LinkId) {
        if let Some(link) = self.table().links.get(&link) {
            link.end(DownReason::Closed);
        }
    }

    /// What a link can carry now; latency changes while it is up. `None` if there is no such link.
    pub fn caps(&self, link: LinkId) -> Option<LinkCaps> {
        self.table().links.get(&link).map(|link| link.caps())
    }

    /// Asks a peer for an answer over its link, and returns how long that took; `None` without a link. The inner one is `None`
    /// where no answer came in time.
    pub async fn ping(&self, peer: &PeerId) -> Option<Option<Duration>> {
        let link = self.table().by_peer.get(peer).cloned()?;
        Some(link.round_trip().await)
    }

    /// What was turned away since the start, by reason.
    pub fn rejections(&self) -> BTreeMap<RejectReason, u64> {
        self.table().rejections.clone()
    }

    /// Counts something turned away.
    pub fn reject(&self, reason: RejectReason, address: Address) {
        tracing::debug!(%reason, %address, "turned away");
        let mut table = self.table();
        let count = table.rejections.entry(reason).or_default();
        *count = count.saturating_add(1);
        drop(table);
        self.events.hint(LinkEvent::Rejected { reason, address });
    }

    /// Adds places to dial a peer at: from an invite, the operator, an earlier session.
    pub fn know_addresses(&self, peer: PeerId, addresses: &[Address]) {
        self.table().book.learn(peer, addresses, Instant::now());
        self.wake.notify_one();
    }

    /// Replaces the addresses at which the peer shows itself now. A new one makes the peer due, and puts a
    /// link that leads elsewhere to the test. Returns whether there is a new one.
    pub fn sighted(self: &Arc<Self>, peer: PeerId, addresses: Vec<Address>) -> bool {
        let mut table = self.table();
        let fresh = table.book.see(peer, addresses.clone(), Instant::now());
        let link = table.by_peer.get(&peer).cloned();
        drop(table);
        if !fresh {
            return false;
        }
        if let Some(link) = link
            && !leads_to_one_of(&link, &addresses)
        {
            self.doubt(link);
        }
        self.events.hint(LinkEvent::Discovered { peer, addresses });
        self.wake.notify_one();
        true
    }

    /// The same without a hint and without a test: what was shown may only have been withdrawn.
    pub fn resighted(&self, peer: PeerId, addresses: Vec<Address>) {
        self.table().book.see(peer, addresses, Instant::now());
        self.wake.notify_one();
    }

    /// This machine's own addresses changed: every peer is due, and every link has to show that it still works.
    pub fn network_changed(self: &Arc<Self>, reachable: Vec<Address>) {
        let mut table = self.table();
        table.book.hurry_all(Instant::now());
        let links: Vec<_> = table.links.values().cloned().collect();
        drop(table);
        links.into_iter().for_each(|link| self.doubt(link));
        self.wake.notify_one();
        self.listens_at(reachable);
    }

    /// The addresses of the machines at the other ends of links.
    pub fn linked_ips(&self) -> BTreeSet<IpAddr> {
        let links = self.table();
        links
            .links
            .values()
            .filter_map(|link| Some(link.address().as_socket()?.ip().to_canonical()))
            .collect()
    }

    /// Reports at which addresses this node can be dialled, the most useful first.
    pub fn listens_at(&self, reachable: Vec<Address>) {
        self.events.hint(LinkEvent::ListenAddresses { addresses: reachable });
    }

    /// When [`look`](Self::look) is due, if it was called last at a time; never while there is no link.
    pub fn look_due(&self, looked_at: Instant) -> Option<Instant> {
        (!self.table().links.is_empty()).then(|| looked_at + LOOK_EVERY)
    }

    /// Checks every link for signs of life, and reports what each has measured. A transport calls this when it is due.
    pub fn look(&self, now: Instant) {
        let links: Vec<_> = self.table().links.values().cloned().collect();
        for link in links {
            link.look(now);
            if let Some(report) = link.report(now) {
                self.events.hint(LinkEvent::Measured { link: link.id, report });
            }
        }
    }

    /// Returns when a peer may be due, for the driver of the transport.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Returns once everything is to end.
    pub async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Ends every link and every task, without waiting.
    pub fn end_all(&self) {
        let table = self.table();
        self.stop.send_replace(true);
        table.links.values().for_each(|link| link.end(DownReason::Shutdown));
    }

    /// Ends everything, and returns when every link's `Down` is out.
    pub async fn shutdown(&self) {
        let links: Vec<_> = self.table().links.values().cloned().collect();
        self.end_all();
        for link in links {
            link.ended().await;
        }
    }

    /// Asks a link for a sign of life; if there is none, its peer is dialled beside it.
    fn doubt(self: &Arc<Self>, link: Arc<Link>) {
        let sessions = self.clone();
        tokio::spawn(async move {
            if link.is_alive_after_all().await == Some(false) {
                sessions.table().book.hurry(&link.peer, Instant::now());
                sessions.wake.notify_one();
            }
        });
    }

    /// Gives the peer's place to this link, or returns the one that has it.
    fn claim(&self, link: &Arc<Link>) -> Result<Option<Arc<Link>>, SessionError> {
        let mut table = self.table();
        if *self.stop.borrow() {
            return Err(SessionError::Shutdown);
        }
        if !self.allow.contains(&link.peer) {
            return Err(SessionError::Rejected(RejectReason::UnknownKey));
        }
        if let Some(old) = table.by_peer.get(&link.peer) {
            return Ok(Some(old.clone()));
        }
        if let Some(address) = link.carrier.dial_address() {
            table.book.worked(link.peer, address);
        }
        table.by_peer.insert(link.peer, link.clone());
        table.links.insert(link.id, link.clone());
        drop(table);
        // The driver has a link to look after.
        self.wake.notify_one();
        Ok(None)
    }

    /// Takes an ended link's place back.
    fn release(&self, link: &Arc<Link>) {
        let mut table = self.table();
        table.links.remove(&link.id);
        if table.by_peer.get(&link.peer).is_some_and(|current| current.id == link.id) {
            table.by_peer.remove(&link.peer);
        }
        table.book.lost(&link.peer, link.since.elapsed(), Instant::now(), chance());
        drop(table);
        self.wake.notify_one();
    }

    fn table(&self) -> MutexGuard<'_, SessionTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a link's other end is at one of the addresses.
fn leads_to_one_of(link: &Link, addresses: &[Address]) -> bool {
    let remote = link.carrier.address();
    // A scope id is a matter of each end, and a port does not depend on the cable.
    addresses.iter().any(|address| match (address, &remote) {
        (Address::Socket(address), Address::Socket(remote)) => address.ip() == remote.ip(),
        (address, remote) => address == remote,
    })
}

/// A random number for jitter, where bad luck costs nothing.
fn chance() -> u32 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}
