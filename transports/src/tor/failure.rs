//! Why a peer was not reached through Tor, as states that a person understands.

use super::endpoint::Endpoint;
use std::fmt;
use std::time::Duration;

/// Why one attempt to reach an onion service failed.
///
/// The codes are those of the reply field of SOCKS5 (RFC 1928, section 6); tor adds 0xf0 to 0xf7 on a port that is
/// configured with `ExtendedErrors` (Tor proposal 304).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TorFailure {
    /// No program takes connections at the SOCKS address.
    NoTor {
        /// The address that was tried.
        socks: Endpoint,
        /// Whether the reason is missing permission, not an absent program.
        denied: bool,
    },
    /// A program answers at the SOCKS address, and it does not speak SOCKS5.
    NotSocks,
    /// Tor ended the connection in the middle of the request.
    BrokenOff,
    /// Tor runs and is not connected to its network yet.
    Bootstrapping {
        /// How far it is, 0 to 100.
        percent: u8,
    },
    /// No descriptor of the service is published (0xf0).
    NotPublished,
    /// The service's introduction points do not know it any more, or do not answer (0xf2, 0xf7).
    ServiceGone,
    /// The rendezvous failed (0xf3).
    Rendezvous,
    /// The service is reached only with a client key, and this tor has none (0xf4).
    AuthorisationMissing,
    /// The client key that this tor has is not on the service's list (0xf5).
    AuthorisationWrong,
    /// Tor takes the name for no onion address (0xf6), or its descriptor for damaged (0xf1).
    BadAddress,
    /// The service is there and has no such port (0x05).
    PortClosed,
    /// The service is there, and no program behind it takes the connection (0x01).
    DaemonDown,
    /// Not reached, and tor gives no reason (0x04): its SOCKS port has no `ExtendedErrors`.
    Unreachable,
    /// Tor gave up (0x06), or no answer came in time.
    TimedOut {
        /// How long the attempt took.
        after: Duration,
    },
    /// Tor gave another reply code.
    Refused {
        /// The reply field of SOCKS5.
        code: u8,
    },
    /// The stream was open, and the other end ended it before it had proved its key.
    NoSession,
    /// The node at the address proved another key than the peer's.
    OtherKey,
}

impl TorFailure {
    /// What a reply code of SOCKS5 means; `None` for success.
    pub fn from_reply(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => return None,
            0x01 => Self::DaemonDown,
            0x04 => Self::Unreachable,
            0x05 => Self::PortClosed,
            0x06 => Self::TimedOut { after: Duration::from_secs(120) },
            0xf0 => Self::NotPublished,
            0xf1 | 0xf6 => Self::BadAddress,
            0xf2 | 0xf7 => Self::ServiceGone,
            0xf3 => Self::Rendezvous,
            0xf4 => Self::AuthorisationMissing,
            0xf5 => Self::AuthorisationWrong,
            code => Self::Refused { code },
        })
    }

    /// Whether the fault is on this machine, the same for every peer.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::NoTor { .. } | Self::NotSocks | Self::Bootstrapping { .. })
    }

    /// Whether waiting alone does not help: an operator has to change something.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::AuthorisationMissing | Self::AuthorisationWrong | Self::BadAddress | Self::OtherKey
        )
    }
}

impl fmt::Display for TorFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTor { socks, denied: false } => write!(f, "tor is not running: nothing answers at {socks}"),
            Self::NoTor { socks, denied: true } => write!(f, "this user may not connect to tor at {socks}"),
            Self::NotSocks => f.write_str("what answers at tor's address is no SOCKS5 proxy"),
            Self::BrokenOff => f.write_str("tor broke off in the middle of the request"),
            Self::Bootstrapping { percent } => write!(f, "tor is still bootstrapping ({percent} %)"),
            Self::NotPublished => f.write_str("its onion service is not published: the peer is off or new"),
            Self::ServiceGone => f.write_str("its onion service is gone: the peer or its tor is off"),
            Self::Rendezvous => f.write_str("the rendezvous in the Tor network failed"),
            Self::AuthorisationMissing => f.write_str(
                "its onion service asks for client authorisation, and this tor has no key for it: set `tor.control`",
            ),
            Self::AuthorisationWrong => f.write_str(
                "its onion service refuses this node's client key: the peer may have removed this node",
            ),
            Self::BadAddress => f.write_str("tor takes its onion address for a wrong one"),
            Self::PortClosed => f.write_str("its onion service has no Tombolo behind it"),
            Self::DaemonDown => f.write_str("its tor runs, its daemon does not"),
            Self::Unreachable => f.write_str(
                "not reached; tor gives the reason only with `SocksPort 9050 ExtendedErrors` in its torrc",
            ),
            Self::TimedOut { after } => write!(f, "no answer within {} s", after.as_secs()),
            Self::Refused { code } => write!(f, "tor refused with code 0x{code:02x}"),
            Self::NoSession => f.write_str("reached, and the other end broke off before it proved its key"),
            Self::OtherKey => f.write_str("another node answers at its onion address"),
        }
    }
}

impl std::error::Error for TorFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_code_has_a_meaning_and_only_zero_is_success() {
        for code in 0..=u8::MAX {
            assert_eq!(TorFailure::from_reply(code).is_none(), code == 0);
        }
        assert_eq!(TorFailure::from_reply(0xf7), TorFailure::from_reply(0xf2));
        assert_eq!(TorFailure::from_reply(2), Some(TorFailure::Refused { code: 2 }));
    }
}
