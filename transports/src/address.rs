//! Who a neighbour is and where a link to it goes.
//!
//! A [`PeerId`] is the identity itself, proved by every link before the link counts as up; a
//! [`LinkAddr`] is only a place. What an identity may do is decided by the crate above.

use std::fmt;
use std::net::SocketAddr;

pub use tombolo_mesh::PeerId;

/// Where a link goes, for people and logs: never a proof of who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LinkAddr {
    /// A UDP address; an IPv6 link-local one carries its zone as scope id (RFC 4007).
    Socket(SocketAddr),
    /// The other end of a [`memory`](crate::memory) link.
    Memory,
}

impl fmt::Display for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Memory => f.write_str("memory"),
        }
    }
}
