//! What a session needs of the connection below it.

use crate::address::{Address, PeerId};
use crate::error::JoinError;
use crate::link::{DownReason, LinkCaps, RejectReason};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A boxed future: what an async method of a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// The bytes that come from the peer.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The bytes that go to the peer.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// What a connection is for, agreed upon before the first byte: by ALPN where TLS runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A link between peers that list each other.
    Peer,
    /// One request to join and its answer.
    Join,
}

/// An open connection whose other end has proved its key, with one byte stream in each direction.
pub struct Connection {
    /// The carrier that the streams belong to.
    pub carrier: Arc<dyn Carrier>,
    /// The stream from the peer.
    pub read: ReadHalf,
    /// The stream to the peer.
    pub write: WriteHalf,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

/// A connection apart from its streams. A plain byte stream is one by [`Pipe`](super::Pipe).
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// The key that the other end has proved.
    fn peer(&self) -> PeerId;

    /// Where the other end is, for people and logs.
    fn address(&self) -> Address;

    /// Where the other end can be dialled later, if that is known.
    fn dial_address(&self) -> Option<Address> {
        Some(self.address())
    }

    /// What a link over this connection can carry now, with messages of at most `message_bytes_max`.
    fn caps(&self, message_bytes_max: usize) -> LinkCaps;

    /// Why the connection is over; `None` while it is open.
    fn ended(&self) -> Option<CarrierEnd>;

    /// Closes the connection at once. The peer receives the code where the carrier has room for one.
    fn close(&self, code: Close);

    /// Returns when closing the connection can no longer lose what was written, or nothing can be sent any more.
    fn flushed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Counts signs of life of the peer below the streams, which the session cannot see; 0 without such.
    fn received(&self) -> u64 {
        0
    }

    /// What the carrier has measured of the path; `None` where it measures nothing.
    fn measured(&self) -> Option<PathMeasure> {
        None
    }

    /// Whether a stream can be ended in one direction. Without it, join messages are framed.
    fn ends_streams(&self) -> bool {
        false
    }

    /// The connection has become a link: what holds back a stranger's bytes can go.
    fn trust(&self) {}

    /// How the session notices a dead peer.
    fn liveness(&self) -> Liveness {
        Liveness::default()
    }
}

/// What a carrier has measured of the path to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMeasure {
    /// The smoothed round trip.
    pub rtt: Duration,
    /// What may be in flight at once, bytes: with the round trip that makes a rate.
    pub window_bytes: u64,
    /// Packets that were sent since the start of the link.
    pub packets_sent: u64,
    /// Packets taken for lost.
    pub packets_lost: u64,
}

/// How long a silent peer is taken for alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// After this silence the session sends a ping; `None` where the carrier keeps itself alive.
    pub ping_after: Option<Duration>,
    /// After this silence the link is suspect: its peer is dialled beside it.
    pub suspect_after: Duration,
    /// After this silence the link is down; `None` where the carrier notices by itself.
    pub down_after: Option<Duration>,
    /// A link that is asked for a sign of life has this long to give one; else another may replace it.
    pub answer_within: Duration,
}

impl Default for Liveness {
    /// For byte streams whose end may go unnoticed: a dead one is down within a minute.
    fn default() -> Self {
        Self {
            ping_after: Some(Duration::from_secs(20)),
            suspect_after: Duration::from_secs(30),
            down_after: Some(Duration::from_secs(50)),
            answer_within: Duration::from_secs(1),
        }
    }
}

/// Why a session closes a connection, as sent to the peer; listed in `FORMAT.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Close {
    /// Nothing is wrong: this end needs the connection no longer.
    Done = 0,
    /// The key is not on the list of peers.
    UnknownKey = 1,
    /// A request to join, and no invite is open.
    NoInvite = 2,
    /// Another connection is the link.
    Duplicate = 3,
    /// A frame that breaks the protocol.
    BadFrame = 4,
    /// The greeting or the request did not come in time.
    TooSlow = 5,
    /// As many requests to join are open as are allowed.
    TooMany = 6,
    /// The node refuses the request to join.
    Refused = 7,
}

impl Close {
    /// The reason that a code stands for; `None` for a code of a later version.
    pub fn from_code(code: u64) -> Option<Self> {
        use Close::{BadFrame, Done, Duplicate, NoInvite, Refused, TooMany, TooSlow, UnknownKey};
        let all = [Done, UnknownKey, NoInvite, Duplicate, BadFrame, TooSlow, TooMany, Refused];
        all.into_iter().find(|close| u64::from(*close as u32) == code)
    }
}

/// Why a connection is over, or never came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarrierEnd {
    /// This end closed it.
    #[error("closed by this node")]
    Here,
    /// The session at the other end closed it, with a code if it is a known one.
    #[error("closed by the peer")]
    Peer(Option<Close>),
    /// The carrier at the other end closed it.
    #[error("broken off by the peer")]
    Aborted,
    /// The other end refused this node's key, or does not take requests to join.
    #[error("refused by the peer")]
    Refused,
    /// The same, by a node that had proved its own key: no one else can refuse in its place.
    #[error("refused by the peer, which has proved its key")]
    Denied,
    /// This end refused the other's key.
    #[error("another key than expected")]
    OtherKey,
    /// Nothing was received for too long.
    #[error("nothing received for too long")]
    Silent,
    /// The other end no longer knows the connection.
    #[error("the peer was restarted")]
    Restarted,
    /// The carrier failed, or could not dial.
    #[error("the carrier failed")]
    Failed,
}

impl CarrierEnd {
    /// The end of a connection whose other end has proved its key.
    pub fn after_proof(self) -> Self {
        match self {
            Self::Refused | Self::Peer(Some(Close::UnknownKey)) => Self::Denied,
            ended => ended,
        }
    }

    /// What it means for a link.
    pub(super) fn down_reason(self) -> DownReason {
        match self {
            Self::Here => DownReason::Closed,
            Self::Peer(_) | Self::Aborted | Self::Refused | Self::Denied => DownReason::PeerClosed,
            Self::Silent => DownReason::Silent,
            Self::Restarted => DownReason::Restarted,
            Self::OtherKey | Self::Failed => DownReason::Failed,
        }
    }

    /// What it means for a request to join.
    pub(super) fn join_error(self, address: Address) -> JoinError {
        match self {
            Self::OtherKey => JoinError::OtherKey { address },
            Self::Refused | Self::Denied | Self::Peer(Some(Close::UnknownKey | Close::NoInvite)) => {
                JoinError::NoInvite { address }
            }
            Self::Here | Self::Peer(_) => JoinError::Refused { address },
            Self::Aborted | Self::Silent | Self::Restarted | Self::Failed => {
                JoinError::NobodyAnswered { tried: vec![address] }
            }
        }
    }
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer is not listed, or breaks the protocol.
    #[error("{0}")]
    Rejected(RejectReason),
    /// Another connection is the link.
    #[error("another connection is the link")]
    Duplicate,
    /// The peer, which proved its key, has no place for this node.
    #[error("the peer does not take this node")]
    Denied,
    /// The connection ended before.
    #[error("the connection ended: {0}")]
    Ended(#[from] CarrierEnd),
    /// The stream ended before.
    #[error("the stream ended early")]
    Stream,
    /// The other end took too long.
    #[error("no answer in time")]
    Slow,
    /// This node shuts down.
    #[error("shutting down")]
    Shutdown,
}

impl SessionError {
    /// The code that the peer receives.
    pub(super) fn close(&self) -> Close {
        match self {
            Self::Rejected(RejectReason::UnknownKey) => Close::UnknownKey,
            Self::Rejected(_) => Close::BadFrame,
            Self::Duplicate => Close::Duplicate,
            Self::Slow => Close::TooSlow,
            Self::Ended(_) | Self::Denied | Self::Stream | Self::Shutdown => Close::Done,
        }
    }
}
