//! The dialling side: which peers are due, and one attempt at all of a peer's addresses.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::carrier::{BoxFuture, CarrierEnd, Close, Connection, Protocol, SessionError};
use super::greet::SessionSide;
use super::{Sessions, chance};
use crate::address::{Address, PeerId};
use crate::link::{LinkEvent, RejectReason};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between the starts of attempts at several addresses, which mostly lead to one node.
pub(super) const STAGGER: Duration = Duration::from_millis(100);
/// Addresses tried in one dial; further ones, the least likely, wait for better days.
const ADDRESSES_MAX: usize = 16;
/// Dials of one peer at a time: a second one starts only on news.
const DIALS_PER_PEER_MAX: usize = 2;
/// Dials at a time; beyond, peers that are due wait until one ends.
const DIALS_MAX: usize = 64;

/// How a carrier opens a connection: the one thing about dialling that differs between carriers.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Whether this carrier can reach addresses of this kind.
    fn dials(&self, address: &Address) -> bool;

    /// Opens one connection to one address, and accepts no other key than the peer's. Limits its own time.
    ///
    /// # Errors
    ///
    /// [`CarrierEnd`] with the reason; [`CarrierEnd::Silent`] after too long a wait.
    fn connect(
        &self,
        peer: PeerId,
        address: Address,
        protocol: Protocol,
    ) -> BoxFuture<'_, Result<Connection, CarrierEnd>>;

    /// Time a dial may take in all before the peer is due again.
    fn dial_max(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Time from a connection to a link.
    fn greet_max(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// Dials the peers that are due.
#[derive(Debug)]
pub struct Dialler {
    sessions: Arc<Sessions>,
    dial: Arc<dyn Dial>,
    /// One clone of a peer's token per dial under way.
    under_way: BTreeMap<PeerId, Arc<()>>,
}

impl Dialler {
    /// A dialler for one carrier; [`dial_due`](Self::dial_due) does the work.
    pub fn new(sessions: Arc<Sessions>, dial: Arc<dyn Dial>) -> Self {
        Self { sessions, dial, under_way: BTreeMap::new() }
    }

    /// Dials peers as they are due until the sessions end, and checks the links each second: the whole
    /// driver of a carrier that has nothing else to do.
    pub async fn run(mut self) {
        let sessions = self.sessions.clone();
        let stopped = sessions.stopped();
        tokio::pin!(stopped);
        let mut looked_at = Instant::now();
        loop {
            let next = self.dial_due(Instant::now());
            let look = sessions.look_due(looked_at);
            tokio::select! {
                () = &mut stopped => return,
                () = sessions.woken() => {}
                () = at(next) => {}
                () = at(look) => {
                    looked_at = Instant::now();
                    sessions.look(looked_at);
                }
            }
        }
    }

    /// Starts every dial that is due. Returns when the next one will be.
    pub fn dial_due(&mut self, now: Instant) -> Option<Instant> {
        self.under_way.retain(|_, token| Arc::strong_count(token) > 1);
        let mut next = None;
        for peer in self.sessions.peers() {
            if peer == self.sessions.id {
                continue;
            }
            match self.due(&peer, now) {
                Some(due) if due <= now && self.may_start(&peer) => self.start(peer, now),
                // A peer that waits for a dial to end is looked at when it ends.
                Some(due) if due > now => next = Some(next.map_or(due, |next: Instant| next.min(due))),
                _ => {}
            }
        }
        next
    }

    fn due(&self, peer: &PeerId, now: Instant) -> Option<Instant> {
        let table = self.sessions.table();
        let linked = table.by_peer.get(peer).is_some_and(|link| !link.is_suspect() || link.is_ending());
        if linked || table.asked.contains_key(peer) { None } else { table.book.due(peer, now) }
    }

    fn may_start(&self, peer: &PeerId) -> bool {
        let dials = |token: &Arc<()>| Arc::strong_count(token) - 1;
        let all: usize = self.under_way.values().map(dials).sum();
        all < DIALS_MAX && self.under_way.get(peer).map_or(0, dials) < DIALS_PER_PEER_MAX
    }

    fn start(&mut self, peer: PeerId, now: Instant) {
        let mut table = self.sessions.table();
        table.book.dialling(&peer, now, self.dial.dial_max());
        let addresses = table.book.addresses(&peer);
        drop(table);
        let token = self.under_way.entry(peer).or_default().clone();
        let (sessions, dial) = (self.sessions.clone(), self.dial.clone());
        tokio::spawn(async move {
            match sessions.dial(&dial, peer, addresses).await {
                DialEnd::Up => {}
                DialEnd::Failed => sessions.table().book.failed(&peer, Instant::now(), chance()),
                DialEnd::Denied => {
                    sessions.table().book.denied(&peer, Instant::now());
                    sessions.events.send(LinkEvent::Denied { peer }).await;
                }
            }
            drop(token);
            sessions.wake.notify_one();
        });
    }
}

/// Returns at a time, or never.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// What came of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DialEnd {
    Up,
    Failed,
    /// The peer does not take this node.
    Denied,
}

impl Sessions {
    /// Tries the addresses, one after the other has begun, until one leads to a link, or to the news that
    /// the peer takes another connection for it.
    async fn dial(self: &Arc<Self>, dial: &Arc<dyn Dial>, peer: PeerId, addresses: Vec<Address>) -> DialEnd {
        tracing::debug!(%peer, ?addresses, "dialling");
        let mut attempts = JoinSet::new();
        let mut delay = Duration::ZERO;
        for address in addresses.into_iter().filter(|address| dial.dials(address)).take(ADDRESSES_MAX) {
            let (sessions, dial) = (self.clone(), dial.clone());
            attempts.spawn(async move {
                tokio::time::sleep(delay).await;
                (address, sessions.attempt(&*dial, peer, address).await)
            });
            delay += STAGGER;
        }
        while let Some(ended) = attempts.join_next().await {
            let Ok((address, result)) = ended else { continue };
            match result {
                Ok(()) => return DialEnd::Up,
                Err(SessionError::Duplicate) => return DialEnd::Failed,
                // The other addresses lead to the same node, or to none.
                Err(SessionError::Denied) => return DialEnd::Denied,
                Err(SessionError::Rejected(reason)) => self.reject(reason, address),
                Err(error) => tracing::debug!(%peer, %address, %error, "no link"),
            }
        }
        DialEnd::Failed
    }

    async fn attempt(
        self: &Arc<Self>,
        dial: &dyn Dial,
        peer: PeerId,
        address: Address,
    ) -> Result<(), SessionError> {
        let Connection { carrier, read, write } =
            dial.connect(peer, address, Protocol::Peer).await.map_err(|ended| match ended {
                CarrierEnd::OtherKey => SessionError::Rejected(RejectReason::UnknownKey),
                CarrierEnd::Denied => SessionError::Denied,
                ended => ended.into(),
            })?;
        let streams = std::future::ready(Ok((read, write)));
        let result = self.start(carrier, streams, SessionSide::Dialled, dial.greet_max()).await;
        result.map_err(|error| match error {
            SessionError::Ended(CarrierEnd::Peer(Some(Close::Duplicate))) => SessionError::Duplicate,
            // The handshake is over here.
            SessionError::Ended(ended) if ended.after_proof() == CarrierEnd::Denied => SessionError::Denied,
            error => error,
        })
    }
}
