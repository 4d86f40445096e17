//! Node records and trust levels.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tombolo_transports::PeerId;

/// What a peer may do here. Ordered: each level may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustLevel {
    /// Nothing: it keeps its record and gets nothing but the handshake.
    Untrusted,
    /// It reads our documents; of its own we take only the node state.
    Observer,
    /// It reads and writes our map documents, and we take part in its documents.
    Trusted,
}

impl TrustLevel {
    /// The number in an audience document.
    pub fn code(self) -> u8 {
        match self {
            TrustLevel::Untrusted => 0,
            TrustLevel::Observer => 1,
            TrustLevel::Trusted => 2,
        }
    }

    /// Whether an identity of this level takes part at all: it may connect and read.
    pub fn is_member(self) -> bool {
        self >= TrustLevel::Observer
    }

    /// Whether an identity of this level may write map documents of the owner that grants it.
    pub fn may_write(self) -> bool {
        self == TrustLevel::Trusted
    }

    /// The level of a number from outside.
    pub fn from_code(code: u64) -> Option<Self> {
        [TrustLevel::Untrusted, TrustLevel::Observer, TrustLevel::Trusted]
            .into_iter()
            .find(|level| u64::from(level.code()) == code)
    }
}

impl std::fmt::Display for TrustLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            TrustLevel::Trusted => "trusted",
            TrustLevel::Observer => "observer",
            TrustLevel::Untrusted => "untrusted",
        })
    }
}

/// A word that is no trust level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no trust level: use `trusted`, `observer` or `untrusted`")]
pub struct UnknownLevel(String);

impl std::str::FromStr for TrustLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "trusted" => Ok(TrustLevel::Trusted),
            "observer" => Ok(TrustLevel::Observer),
            "untrusted" => Ok(TrustLevel::Untrusted),
            other => Err(UnknownLevel(other.to_owned())),
        }
    }
}

/// Whether both sides have agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joined {
    /// Both sides have agreed.
    Agreed,
    /// We redeemed its invite and it has not answered yet. The token is kept until it does.
    Waiting {
        /// The token of the invite.
        token: [u8; 16],
    },
}

/// The record of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The identity of the peer.
    #[serde(with = "peer_bytes")]
    pub id: PeerId,
    /// The onion address of the peer.
    pub onion: String,
    /// The name the operator gave it; takes precedence over its own.
    pub given_name: Option<String>,
    /// The name it gave itself: at joining, then in its node state.
    pub own_name: Option<String>,
    /// What it may do here.
    pub trust_level: TrustLevel,
    /// When it was added, milliseconds since the Unix epoch.
    pub added_at_ms: u64,
    /// When we last heard it, by our own clock, milliseconds since the Unix epoch.
    pub heard_at_ms: Option<u64>,
    /// Whether both sides have agreed.
    pub joined: Joined,
    /// Where it may be dialled.
    pub addresses: Vec<SocketAddr>,
}

impl Peer {
    /// Whether it may connect and read.
    pub fn is_member(&self) -> bool {
        self.trust_level.is_member()
    }

    /// The name under which it is shown.
    pub fn name(&self) -> Option<&str> {
        self.given_name.as_deref().or(self.own_name.as_deref())
    }
}

/// A `PeerId` as 32 bytes in stored records.
pub(crate) mod peer_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tombolo_transports::PeerId;

    pub(crate) fn serialize<S: Serializer>(id: &PeerId, serializer: S) -> Result<S::Ok, S::Error> {
        id.0.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        <[u8; 32]>::deserialize(deserializer).map(PeerId)
    }
}
