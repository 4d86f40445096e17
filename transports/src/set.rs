//! All links of a node behind one door: a set of transports, one stream of events, messages by [`LinkId`].
//!
//! The node above knows no carrier: it receives [`LinkEvent`]s, sends by link id, and hands over the list of
//! peers with their addresses. Which carrier can dial an address is decided by its kind. Radios are not in
//! the set: they carry frames to a channel, not messages to a peer.

use crate::address::{Address, PeerId};
use crate::error::{JoinError, SendError};
use crate::events::{EVENTS_MAX, Events, Routes};
use crate::link::{LinkCaps, LinkEvent, LinkId, LinkIds, Medium, RejectReason};
use crate::session::{Asking, BoxFuture, JoinSecret, Sessions};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;

/// One carrier of links to peers.
///
/// A new carrier of byte streams implements three things:
///
/// 1. [`Dial`](crate::session::Dial): opens one connection to one address, with proof of the peer's key.
///    [`Pipe::connection`](crate::session::Pipe::connection) makes a [`Connection`](crate::session::Connection)
///    of any `AsyncRead + AsyncWrite`; a carrier that has datagrams, close codes or a keep-alive of its own
///    implements [`Carrier`](crate::session::Carrier) instead.
/// 2. A task that accepts: it takes a [`HalfOpenPlace`](crate::session::HalfOpenPlace), proves the key within the time that is
///    allowed, and calls [`Sessions::admit`]. Another task runs the
///    [`Dialler`](crate::session::Dialler). Both end when [`Sessions::stopped`] returns.
/// 3. This trait: four methods, the rest has defaults that ask the sessions.
///
/// The greeting, the choice between two connections to one peer, queues, liveness and the exchange of a
/// request to join are the same for all and live in [`session`](crate::session). [`Memory`](crate::memory::Memory)
/// is the smallest carrier, in some 150 lines. Two nodes over it:
///
/// ```
/// use tombolo_transports::memory::{Memory, Network};
/// use tombolo_transports::{Address, LinkEvent, Medium, PeerId, Transports};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (network, left, right) = (Network::default(), PeerId([1; 32]), PeerId([2; 32]));
/// let node = |id, place| {
///     let (mut transports, events) = Transports::new();
///     transports.add(Memory::start(&network, place, id, transports.events(Medium::Memory)));
///     (transports, events)
/// };
/// let (a, mut events_a) = node(left, 1);
/// let (b, mut events_b) = node(right, 2);
/// a.set_peers(&[right]);
/// b.set_peers(&[left]);
/// a.know_addresses(right, &[Address::Memory(2)]);
///
/// let Some(LinkEvent::Up { link, peer, .. }) = events_a.recv().await else { panic!("a link") };
/// assert_eq!(peer, right);
/// a.send(link, b"tide".to_vec()).unwrap();
/// assert!(matches!(events_b.recv().await, Some(LinkEvent::Up { .. })));
/// assert!(matches!(events_b.recv().await, Some(LinkEvent::Received { bytes, .. }) if bytes == b"tide"));
///
/// a.close(link);
/// assert!(matches!(events_a.recv().await, Some(LinkEvent::Down { .. })));
/// a.shutdown().await;
/// # }
/// ```
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// The kind of carrier; a set has one transport of each.
    fn medium(&self) -> Medium;

    /// The sessions over this carrier.
    fn sessions(&self) -> &Arc<Sessions>;

    /// Asks an inviter to let this node join, at those of the addresses that this carrier can dial.
    /// As a rule [`Sessions::join`].
    fn join(&self, call: JoinDial) -> BoxFuture<'_, Result<Vec<u8>, JoinError>>;

    /// Closes every link with a goodbye, and returns, before long, when what was bound is free.
    fn shutdown(self: Box<Self>) -> BoxFuture<'static, ()>;

    /// Addresses at which this node can be dialled now by this carrier.
    fn local_addresses(&self) -> Vec<Address> {
        Vec::new()
    }

    /// Answers requests to join from the holders of these secrets, or of none. At first none are answered.
    fn set_joining(&self, secrets: &[JoinSecret]) {
        self.sessions().set_joining(!secrets.is_empty());
    }

    /// Replaces the list of peers.
    fn set_peers(&self, peers: &BTreeSet<PeerId>) {
        self.sessions().set_peers(peers);
    }

    /// Adds places to dial a peer at; those of another kind of carrier are of no use and do no harm.
    fn know_addresses(&self, peer: PeerId, addresses: &[Address]) {
        self.sessions().know_addresses(peer, addresses);
    }
}

/// A call to an inviter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinDial {
    /// The identity that the other end must prove.
    pub inviter: PeerId,
    /// Where the inviter may be, of any kind of carrier.
    pub addresses: Vec<Address>,
    /// What the code makes both ends know.
    pub secret: JoinSecret,
    /// The request, at most [`JOIN_BYTES_MAX`](crate::session::JOIN_BYTES_MAX).
    pub request: Vec<u8>,
}

/// The transports of one node.
#[derive(Debug)]
pub struct Transports {
    by_medium: BTreeMap<Medium, Box<dyn Transport>>,
    sender: mpsc::Sender<LinkEvent>,
    ids: LinkIds,
    routes: Routes,
}

impl Transports {
    /// An empty set, and the stream of events of all that will be in it. At most [`EVENTS_MAX`] events wait;
    /// beyond, links stop reading.
    pub fn new() -> (Self, mpsc::Receiver<LinkEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let (ids, routes) = (LinkIds::default(), Routes::default());
        (Self { by_medium: BTreeMap::new(), sender, ids, routes }, receiver)
    }

    /// Where the transport of a medium is to send its events.
    pub fn events(&self, medium: Medium) -> Events {
        Events::new(medium, self.sender.clone(), self.ids.clone(), self.routes.clone())
    }

    /// Hands out link ids that no transport of this set uses: for radios.
    pub fn ids(&self) -> &LinkIds {
        &self.ids
    }

    /// Adds a transport that was started with [`events`](Self::events) of its medium. One that has the same
    /// medium and was there before is dropped.
    pub fn add(&mut self, transport: impl Transport) {
        self.by_medium.insert(transport.medium(), Box::new(transport));
    }

    /// Queues one message for a link; never waits.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] when the link's queue has no room: a `Drained` event follows when it has. An
    /// error leaves nothing queued.
    pub fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        self.sessions_of(link).ok_or(SendError::Unknown)?.send(link, bytes)
    }

    /// Ends a link, if it is still there; its `Down` follows as an event. Its peer stays on the list and is
    /// dialled again.
    pub fn close(&self, link: LinkId) {
        if let Some(sessions) = self.sessions_of(link) {
            sessions.close(link);
        }
    }

    /// What a link can carry now; `None` if there is no such link.
    pub fn caps(&self, link: LinkId) -> Option<LinkCaps> {
        self.sessions_of(link)?.caps(link)
    }

    /// Asks a peer for an answer over each link to it, side by side: how long that took, or `None` where none came in time.
    pub async fn ping(&self, peer: &PeerId) -> BTreeMap<Medium, Option<Duration>> {
        let mut asking = tokio::task::JoinSet::new();
        for transport in self.all() {
            let (medium, sessions, peer) = (transport.medium(), transport.sessions().clone(), *peer);
            asking.spawn(async move { sessions.ping(&peer).await.map(|answer| (medium, answer)) });
        }
        asking.join_all().await.into_iter().flatten().collect()
    }

    /// Replaces the list of peers, on every carrier; see [`Sessions::set_peers`](crate::session::Sessions::set_peers).
    pub fn set_peers(&self, peers: &[PeerId]) {
        let peers = peers.iter().copied().collect();
        self.all().for_each(|transport| transport.set_peers(&peers));
    }

    /// Adds places to dial a peer at: from an invite, the operator, an earlier session. The peer need not be
    /// on the list yet.
    pub fn know_addresses(&self, peer: PeerId, addresses: &[Address]) {
        self.all().for_each(|transport| transport.know_addresses(peer, addresses));
    }

    /// Answers requests to join from the holders of these secrets, one for each open invite, or of none. At first none are
    /// answered. A carrier that does not hide the node takes any request while there is an invite.
    pub fn set_joining(&self, secrets: &[JoinSecret]) {
        self.all().for_each(|transport| transport.set_joining(secrets));
    }

    /// Addresses at which this node can be dialled now: for an invite, or to show.
    pub fn local_addresses(&self) -> Vec<Address> {
        self.all().flat_map(Transport::local_addresses).collect()
    }

    /// What was turned away since the start, by carrier and reason.
    pub fn rejections(&self) -> BTreeMap<(Medium, RejectReason), u64> {
        let each = self.by_medium.iter().flat_map(|(medium, transport)| {
            let counts = transport.sessions().rejections();
            counts.into_iter().map(|(reason, count)| ((*medium, reason), count))
        });
        each.collect()
    }

    /// Keeps an inviter from being dialled as a peer by any carrier, for as long as the result is held; [`join`](Self::join) does the
    /// same from when it is first polled.
    pub fn asking(&self, inviter: PeerId) -> Vec<Asking> {
        self.all().map(|transport| transport.sessions().asking(inviter)).collect()
    }

    /// Asks an inviter to let this node join, over all carriers side by side; the first answer counts.
    ///
    /// # Errors
    ///
    /// The most specific reason of all carriers; [`JoinError::NotFound`] in an empty set.
    pub async fn join(&self, call: &JoinDial) -> Result<Vec<u8>, JoinError> {
        let asking = self.all().map(|transport| transport.join(call.clone()));
        let mut asking: Vec<_> = asking.collect();
        let mut reason = JoinError::NotFound;
        poll_fn(|cx| {
            let mut answer = None;
            asking.retain_mut(|asking| match asking.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(bytes)) => {
                    answer.get_or_insert(bytes);
                    false
                }
                Poll::Ready(Err(error)) => {
                    if error.weight() > reason.weight() {
                        reason = error;
                    }
                    false
                }
            });
            match answer {
                Some(answer) => Poll::Ready(Ok(answer)),
                None if asking.is_empty() => Poll::Ready(Err(reason.clone())),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Closes every link of every carrier with a goodbye, and waits, not long, until what was bound is free.
    /// Messages still queued are dropped.
    pub async fn shutdown(self) {
        let mut ending = tokio::task::JoinSet::new();
        for transport in self.by_medium.into_values() {
            ending.spawn(transport.shutdown());
        }
        ending.join_all().await;
    }

    fn all(&self) -> impl Iterator<Item = &dyn Transport> {
        self.by_medium.values().map(AsRef::as_ref)
    }

    fn sessions_of(&self, link: LinkId) -> Option<&Arc<Sessions>> {
        let medium = self.routes.medium(link)?;
        self.by_medium.get(&medium).map(|transport| transport.sessions())
    }
}
