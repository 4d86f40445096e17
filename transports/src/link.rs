//! The shape every medium takes: a link to one peer, what it can carry, and what happens on it.
//!
//! A transport reports [`LinkEvent`]s and takes messages by [`LinkId`]. Nothing here knows a
//! document or a right; the crate above routes by [`LinkCaps`] and judges what arrives.

use crate::address::{Address, PeerId};
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// Names one link for as long as it is up; never used again in a process for another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// Hands out [`LinkId`]s. Transports of one node share a clone, so their links never collide.
#[derive(Clone, Debug, Default)]
pub struct LinkIds(Arc<AtomicU64>);

impl LinkIds {
    /// The next unused id, from 1 upwards.
    pub fn next_id(&self) -> LinkId {
        LinkId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The kind of carrier under a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Radio: LoRa or packet.
    Mesh,
    /// QUIC on the local network.
    Lan,
    /// A circuit through Tor.
    Tor,
    /// Two queues in one process, for tests.
    Memory,
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mesh => "mesh",
            Self::Lan => "lan",
            Self::Tor => "tor",
            Self::Memory => "memory",
        })
    }
}

/// What a link can carry and what that costs: data for the router, which judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCaps {
    /// The kind of carrier.
    pub medium: Medium,
    /// The longest message the link takes, in bytes; a longer one is refused, never cut.
    pub message_bytes_max: usize,
    /// Usable rate in bits per second, if known.
    pub rate_bps: Option<u64>,
    /// One-way latency in milliseconds, as last measured or assumed.
    pub latency_ms: u32,
    /// Messages lost, per thousand, after what the link repairs by itself.
    pub loss_permille: u16,
    /// Whether one transmission reaches several peers.
    pub broadcast: bool,
    /// Whether bytes cost money.
    pub metered: bool,
    /// Whether outsiders are kept from reading; `false` only where law asks for clear text.
    pub confidential: bool,
    /// Time on air per byte in microseconds; 0 where air is not scarce.
    pub airtime_us_per_byte: u32,
    /// Time on air left in the present duty-cycle window; `None` without such a limit.
    pub airtime_left: Option<Millis>,
}

/// What a link has measured of itself since it came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// The smoothed round trip, where the carrier measures one.
    pub rtt: Option<Millis>,
    /// What the link carries at present, bits per second, where that shows.
    pub rate_bps: Option<u64>,
    /// Bytes that wait in its queue.
    pub backlog_bytes: u64,
    /// Packets sent, where the carrier counts them.
    pub packets_sent: u64,
    /// Packets that the carrier took for lost and sent again.
    pub packets_lost: u64,
    /// Whether anything was received since the report before, also below the messages.
    pub alive: bool,
}

/// What happens on the links of a node. Events of one link come in order: `Up`, any number of
/// `Received` and `Drained`, `Down`; a peer's next link comes up only after the `Down` of the one before.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// A peer has proved its key and greeted; messages may be sent.
    Up {
        /// The id of the new link.
        link: LinkId,
        /// The key the peer proved, on the list of peers at this moment.
        peer: PeerId,
        /// What the link can carry.
        caps: LinkCaps,
        /// Where the peer is.
        address: Address,
    },
    /// One whole message, at most the link's `message_bytes_max` long.
    Received {
        /// The link it came by.
        link: LinkId,
        /// The message as the peer sent it.
        bytes: Vec<u8>,
    },
    /// After a [`SendError::Full`](crate::SendError::Full) the queue has fallen below half: sending may go on.
    Drained {
        /// The link that takes messages again.
        link: LinkId,
    },
    /// What the link has measured: every few seconds while it changes, left out when the reader of events is behind.
    Measured {
        /// The link that was measured.
        link: LinkId,
        /// The figures that the link has measured.
        report: LinkReport,
    },
    /// The link is gone; what was queued or in flight may or may not have arrived.
    Down {
        /// The link that ended; its id is not used again.
        link: LinkId,
        /// Why the link ended.
        reason: DownReason,
    },
    /// A peer that proved its key does not take this node: it has no place on the peer's list.
    Denied {
        /// The peer that was dialled.
        peer: PeerId,
    },
    /// A node asks to join while invites are open; its key is proved, nothing else is.
    JoinRequest {
        /// The key proved by TLS.
        peer: PeerId,
        /// Where the joiner can be dialled later, if that is known.
        address: Option<Address>,
        /// The request, at most [`JOIN_BYTES_MAX`](crate::session::JOIN_BYTES_MAX).
        bytes: Vec<u8>,
        /// Takes the answer, at most as long as a request; dropped unused it refuses.
        answer: oneshot::Sender<Vec<u8>>,
    },
    /// Something was turned away. When the reader of events is behind, some of these are left
    /// out; [`Transports::rejections`](crate::set::Transports::rejections) counts every one.
    Rejected {
        /// Why it was turned away.
        reason: RejectReason,
        /// Where it came from, as far as a source address shows.
        address: Address,
    },
    /// A peer on the list was found by its mDNS hint: a hint for people, not yet a link.
    Discovered {
        /// The peer whose hint it is.
        peer: PeerId,
        /// Where it shows itself.
        addresses: Vec<Address>,
    },
    /// The addresses of this node changed.
    ListenAddresses {
        /// The same as [`Transports::local_addresses`](crate::set::Transports::local_addresses) from now on.
        addresses: Vec<Address>,
    },
}

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// This node closed it.
    #[error("closed here")]
    Closed,
    /// The peer closed it.
    #[error("closed by the peer")]
    PeerClosed,
    /// Nothing was received for the idle time-out.
    #[error("nothing heard for too long")]
    Silent,
    /// The peer no longer knows the connection: it was restarted.
    #[error("the peer was restarted")]
    Restarted,
    /// A newer link to the same peer took over.
    #[error("replaced by a newer link")]
    Replaced,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Misbehaved(RejectReason),
    /// This node is shutting down.
    #[error("shutting down")]
    Shutdown,
    /// The transport below failed.
    #[error("the transport failed")]
    Failed,
}

/// Why something from outside was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// A key that is not on the list of peers.
    #[error("unknown key")]
    UnknownKey,
    /// A frame of unknown kind, out of turn or of impossible length.
    #[error("bad frame")]
    BadFrame,
    /// A frame that claims more than the largest message.
    #[error("oversized frame")]
    Oversized,
    /// A greeting that is malformed or of no common version.
    #[error("bad greeting")]
    BadHello,
    /// A handshake or greeting that did not end in time.
    #[error("handshake timed out")]
    HandshakeTimeout,
    /// A handshake that failed: wrong protocol, broken TLS, or no key proved.
    #[error("handshake failed")]
    HandshakeFailed,
    /// More unfinished handshakes than are allowed at once.
    #[error("too many half-open handshakes")]
    TooManyHalfOpen,
    /// A request to join while no invite was open.
    #[error("no open invite")]
    NoInvite,
    /// More requests to join at once than are allowed.
    #[error("too many requests to join")]
    TooManyJoins,
    /// A request to join that is too long or broken off.
    #[error("bad request to join")]
    BadJoin,
}
