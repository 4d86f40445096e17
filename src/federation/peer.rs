//! Node records and trust levels.

use crate::time::Wall;
use serde::{Deserialize, Serialize};
use tombolo_delta::Value;
use tombolo_transports::tor::SESSION_PORT;
use tombolo_transports::{Address, OnionAddress, OnionHost, PeerId};

use crate::identity::parse_onion;
use crate::limits::INVITE_ADDRESSES_MAX;

/// What a peer may do here. Ordered: each level may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustLevel {
    /// Nothing: it keeps its record and gets nothing but the handshake.
    Untrusted,
    /// It reads this node's documents; of its own, this node takes only the node state.
    Observer,
    /// It reads and writes this node's map documents, and this node participates in its documents.
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

    /// Whether an identity of this level has a right.
    pub fn grants(self, right: Right) -> bool {
        self >= right.level_needed()
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

/// What an identity may do here besides reading and writing documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// It gets the state of this node by a call.
    ReadState,
    /// It has an app installed here; and this node asks only those that it grants this for an install.
    Deploy,
    /// Its notice suspends another identity.
    Suspend,
    /// Its alarms and acknowledgements count here.
    RaiseAlarms,
}

impl Right {
    /// The lowest level that has the right.
    pub fn level_needed(self) -> TrustLevel {
        match self {
            Right::ReadState => TrustLevel::Observer,
            Right::Deploy | Right::Suspend | Right::RaiseAlarms => TrustLevel::Trusted,
        }
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
    /// When it was added.
    #[serde(rename = "added_at_ms", with = "wall_ms")]
    pub added_at: Wall,
    /// When it was last received, by the own clock.
    #[serde(rename = "heard_at_ms", with = "wall_ms::option", default)]
    pub heard_at: Option<Wall>,
    /// Whether both sides have agreed.
    pub joined: Joined,
    /// Where it may be dialled.
    pub addresses: Vec<Address>,
    /// What the program knew of it from which this peer was taken over. Records without it are as they were before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_known: Option<LastKnown>,
}

/// What another program knew of a peer when its federation was taken over. No signature proves it: it is shown until a signed
/// state of the peer arrives, and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastKnown {
    /// When the peer was last seen.
    #[serde(rename = "seen_ms", with = "wall_ms::option", default)]
    pub seen: Option<Wall>,
    /// The last state that was known of it.
    pub state: Option<LastKnownState>,
}

/// The node state in [`LastKnown`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastKnownState {
    /// The time of the state.
    #[serde(rename = "time_ms", with = "wall_ms")]
    pub time: Wall,
    /// The fields of a node state.
    pub state: Value,
}

impl Peer {
    /// The record with addresses before those that it has; the oldest beyond the limit go.
    #[must_use]
    pub fn reached_at(&self, addresses: &[Address]) -> Peer {
        let mut all: Vec<Address> = Vec::new();
        for address in addresses.iter().chain(&self.addresses) {
            if all.len() < INVITE_ADDRESSES_MAX && !all.contains(address) {
                all.push(*address);
            }
        }
        Peer { addresses: all, ..self.clone() }
    }

    /// Whether it may connect and read.
    pub fn is_member(&self) -> bool {
        self.trust_level.is_member()
    }

    /// Where its onion service takes sessions; `None` if it has none, or what it gave is no onion address.
    pub fn onion_address(&self) -> Option<Address> {
        let host = parse_onion(&self.onion).map(OnionHost)?;
        Some(Address::Onion(OnionAddress { host, port: SESSION_PORT }))
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

/// Instants of wall time in records: milliseconds since the Unix epoch, a plain number.
pub(crate) mod wall_ms {
    use crate::time::Wall;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.ms())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Wall, D::Error> {
        u64::deserialize(deserializer).map(Wall::from_ms)
    }

    pub(crate) mod option {
        use crate::time::Wall;
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        pub(crate) fn serialize<S: Serializer>(
            time: &Option<Wall>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            time.map(Wall::ms).serialize(serializer)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Wall>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Wall::from_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn cbor(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    /// Records written when an address was always a socket address stay as they are.
    #[test]
    fn a_stored_socket_address_has_the_bytes_that_serde_gives_it() {
        for text in ["192.0.2.1:8662", "[fd00::1]:8662", "[fe80::1%3]:1"] {
            let (address, socket) = (text.parse::<Address>().unwrap(), text.parse::<SocketAddr>().unwrap());
            assert_eq!(cbor(&address), cbor(&socket));
            let read: Address = ciborium::from_reader(&cbor(&socket)[..]).unwrap();
            assert_eq!(cbor(&read), cbor(&socket));
        }
        assert_eq!(
            data_encoding::HEXLOWER.encode(&cbor(&vec!["192.0.2.1:8662".parse::<Address>().unwrap()])),
            "81a1625634828418c0000201".to_owned() + "1921d6"
        );
    }

    /// A peer that was not taken over has the bytes that it had before there was such a thing, and reads back.
    #[test]
    fn a_peer_without_a_last_known_state_is_stored_as_before() {
        let peer = Peer {
            id: PeerId([7; 32]),
            onion: String::new(),
            given_name: None,
            own_name: Some("hut".to_owned()),
            trust_level: TrustLevel::Observer,
            added_at: Wall::from_ms(1),
            heard_at: None,
            joined: Joined::Agreed,
            addresses: Vec::new(),
            last_known: None,
        };
        let bytes = cbor(&peer);
        assert_eq!(bytes.first(), Some(&0xa9), "a map of nine fields");
        assert_eq!(ciborium::from_reader::<Peer, _>(&bytes[..]).unwrap(), peer);
        let state = LastKnownState { time: Wall::from_ms(4), state: Value::map([("cpu", Value::from(1.5))]) };
        let known =
            Peer { last_known: Some(LastKnown { seen: Some(Wall::from_ms(5)), state: Some(state) }), ..peer };
        assert_eq!(ciborium::from_reader::<Peer, _>(&cbor(&known)[..]).unwrap(), known);
    }

    #[test]
    fn stored_addresses_of_the_other_kinds_read_back() {
        let onion = crate::identity::Keypair::from_seeds(&[1; 32], &[2; 32]).onion();
        for text in [format!("{onion}:8662"), "memory:7".to_owned()] {
            let address: Address = text.parse().unwrap();
            assert_eq!(ciborium::from_reader::<Address, _>(&cbor(&address)[..]).unwrap(), address);
        }
    }
}
