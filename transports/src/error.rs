//! What can fail here, one type per act; what a peer did wrong is a
//! [`RejectReason`](crate::link::RejectReason) instead, and ends only that peer's link.

use crate::address::Address;
use std::io;
use std::net::SocketAddr;

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The link's queue is full; `Drained` follows when there is room.
    #[error("the link's queue is full")]
    Full,
    /// No such link, or no longer.
    #[error("no such link")]
    Unknown,
    /// The message is longer than the link takes.
    #[error("a message of {bytes} bytes; the link takes {bytes_max}")]
    TooLong {
        /// Length of the message.
        bytes: usize,
        /// The `message_bytes_max` of the link.
        bytes_max: usize,
    },
}

/// Why the LAN did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LanError {
    /// A listen address could not be bound.
    #[error("cannot listen on UDP {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// None of the addresses to listen on is of a family that this machine has.
    #[error("cannot listen on UDP {}: this machine has no such address", joined(.listen))]
    NoAddress {
        /// The addresses asked for.
        listen: Vec<SocketAddr>,
    },
    /// The system gave no random bytes.
    #[error("no random bytes from the system")]
    Random,
    /// The TLS configuration was refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Why a request to join got no answer, the most specific reason first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The inviter answered and has no invite open.
    #[error("no open invite at {address}: it was used or withdrawn, or has expired")]
    NoInvite {
        /// Where the inviter was reached.
        address: Address,
    },
    /// The inviter took the request and gave no answer: it refuses, or broke off.
    #[error("{address} gave no answer to the request")]
    Refused {
        /// Where the inviter was reached.
        address: Address,
    },
    /// A node answered that does not hold the inviter's key.
    #[error("{address} answered but is not the inviter")]
    OtherKey {
        /// Where another node was reached.
        address: Address,
    },
    /// No address gave an answer.
    #[error("no node answered at {}", list(tried))]
    NobodyAnswered {
        /// The addresses that were tried.
        tried: Vec<Address>,
    },
    /// No address was given and none was found by mDNS.
    #[error("no address of the inviter is known, and it was not found on the local network")]
    NotFound,
    /// The request is longer than [`JOIN_BYTES_MAX`](crate::session::JOIN_BYTES_MAX).
    #[error("a request of {bytes} bytes is too long")]
    TooLong {
        /// Length of the request.
        bytes: usize,
    },
    /// This node was shut down meanwhile.
    #[error("shutting down")]
    Shutdown,
}

impl JoinError {
    /// Orders reasons: the higher, the more it explains.
    pub(crate) fn weight(&self) -> u8 {
        match self {
            Self::NotFound => 0,
            Self::NobodyAnswered { .. } => 1,
            Self::OtherKey { .. } => 2,
            Self::NoInvite { .. } => 3,
            Self::Refused { .. } => 4,
            Self::TooLong { .. } => 5,
            Self::Shutdown => 6,
        }
    }
}

fn list(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
