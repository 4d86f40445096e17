//! The local network: QUIC links to peers, found by mDNS or by a known address.

use crate::address::PeerId;
use crate::error::{JoinError, LanError, SendError};
use crate::link::{LinkEvent, LinkId, LinkIds, RejectReason, Transport};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::sync::mpsc;

/// The UDP port a node listens on unless told otherwise.
pub const PORT: u16 = 8662;
/// The longest request to join and the longest answer, in bytes; a longer one is refused.
pub const JOIN_BYTES_MAX: usize = 4096;
/// Bytes that may wait in one link's queue unless set otherwise; beyond, `send` says `Full`.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;

/// How a [`Lan`] is set up.
#[derive(Clone)]
pub struct LanConfig {
    /// The ed25519 seed of this node (RFC 8032, section 5.1.5).
    pub secret: [u8; 32],
    /// UDP addresses to listen on. Port 0 takes any port, the same for all that ask for any.
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
            secret,
            listen,
            mdns: true,
            loopback: false,
            peers: Vec::new(),
            queue_bytes_max: QUEUE_BYTES_MAX,
            ids: LinkIds::default(),
        }
    }
}

/// The local network as one node sees it.
pub struct Lan {}

impl Lan {
    /// Binds the sockets and starts to dial, accept, announce and browse.
    pub async fn start(config: LanConfig) -> Result<(Self, mpsc::Receiver<LinkEvent>), LanError> {
        let _ = config;
        Err(LanError::NoAddress)
    }
    /// The identity of this node.
    pub fn id(&self) -> PeerId {
        PeerId([0; 32])
    }
    /// Addresses at which this node can be dialled now: for an invite, or to show.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
    /// Replaces the list of peers; links of those left out are closed at once.
    pub fn set_peers(&self, _peers: Vec<PeerId>) {}
    /// Answers requests to join, or no longer.
    pub fn set_joining(&self, _open: bool) {}
    /// Adds places to dial a peer at: from an invite, the operator, an earlier session.
    pub fn know_address(&self, _peer: PeerId, _addresses: Vec<SocketAddr>) {}
    /// Asks an inviter to let this node join: one request, one answer.
    pub async fn join(
        &self,
        _inviter: PeerId,
        _addresses: Vec<SocketAddr>,
        _request: Vec<u8>,
    ) -> Result<Vec<u8>, JoinError> {
        Err(JoinError::NotFound)
    }
    /// Queues one message for a link; never waits. An error leaves nothing queued.
    pub fn send(&self, _link: LinkId, _bytes: Vec<u8>) -> Result<(), SendError> {
        Err(SendError::Unknown)
    }
    /// Ends a link; its `Down` follows. Its peer stays on the list and is dialled again.
    pub fn close(&self, _link: LinkId) {}
    /// What was turned away since the start, by reason.
    pub fn rejections(&self) -> BTreeMap<RejectReason, u64> {
        BTreeMap::new()
    }
    /// Says goodbye by mDNS, closes every link and waits until the peers were told.
    pub async fn shutdown(self) {}
}

impl Transport for Lan {
    fn send(&self, link: LinkId, bytes: Vec<u8>) -> Result<(), SendError> {
        Lan::send(self, link, bytes)
    }
    fn close(&self, link: LinkId) {
        Lan::close(self, link);
    }
}
