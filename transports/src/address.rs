//! The identity of a neighbour, and the places where it can be dialled.
//!
//! A [`PeerId`] is the identity itself, proved by every link before the link counts as up; an
//! [`Address`] is only a place. What an identity may do is decided by the crate above.

use data_encoding::BASE32_NOPAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha3::{Digest, Sha3_256};
use std::borrow::Cow;
use std::fmt;
use std::net::{AddrParseError, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::ParseIntError;
use std::str::FromStr;

pub use tombolo_mesh::PeerId;

const MEMORY_PREFIX: &str = "memory:";
const ONION_SUFFIX: &str = ".onion";

/// Where a node can be dialled, or where a link goes: a place, never a proof of who is there.
///
/// There is one text form, read back by [`FromStr`] and used in invites, in settings, in JSON and on the
/// command line: `192.0.2.1:8662`, `[fd00::1]:8662`, `<56 characters>.onion:8662`, `memory:7`. In binary
/// formats a socket address is encoded as `serde` encodes a [`SocketAddr`].
///
/// ```
/// use tombolo_transports::Address;
///
/// let address: Address = "[fe80::1%3]:8662".parse()?;
/// assert_eq!(address.to_string(), "[fe80::1%3]:8662");
/// # Ok::<(), tombolo_transports::address::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port; an IPv6 link-local one carries its zone as scope id (RFC 4007).
    Socket(SocketAddr),
    /// An onion service and a port of it.
    Onion(OnionAddress),
    /// A place within the process, by number: see [`memory`](crate::memory).
    Memory(u64),
}

impl Address {
    /// The IP address and port, if it is a socket address.
    pub fn as_socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Onion(_) | Self::Memory(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl From<OnionAddress> for Address {
    fn from(address: OnionAddress) -> Self {
        Self::Onion(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Onion(address) => address.fmt(f),
            Self::Memory(place) => write!(f, "{MEMORY_PREFIX}{place}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(place) = text.strip_prefix(MEMORY_PREFIX) {
            return place.parse().map(Self::Memory).map_err(AddressError::Memory);
        }
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        if host.ends_with(ONION_SUFFIX) {
            return text.parse().map(Self::Onion).map_err(AddressError::Onion);
        }
        text.parse().map(Self::Socket).map_err(AddressError::Socket)
    }
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither an IP address with a port, nor of one of the other forms.
    #[error("{0}")]
    Socket(AddrParseError),
    /// An onion address that is malformed.
    #[error("{0}")]
    Onion(OnionError),
    /// `memory:` without a number.
    #[error("a place in memory is a number: {0}")]
    Memory(ParseIntError),
}

/// A version 3 onion service and a port of it: `<56 characters>.onion:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OnionAddress {
    /// The name of the onion service.
    pub host: OnionHost,
    /// The virtual port that the service maps to one of its own.
    pub port: u16,
}

impl fmt::Display for OnionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for OnionAddress {
    type Err = OnionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(OnionError::Port)?;
        Ok(Self { host: host.parse()?, port: port.parse().map_err(|_| OnionError::Port)? })
    }
}

/// The name of a version 3 onion service (Tor rend-spec-v3, section 6): its ed25519 public key, which the
/// text form carries with a checksum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OnionHost(pub [u8; 32]);

impl OnionHost {
    /// The version byte of such a name.
    const VERSION: u8 = 3;
    /// Characters before `.onion`: 35 bytes in base32.
    const LABEL_CHARS: usize = 56;

    fn checksum(&self) -> [u8; 2] {
        let mut hash = Sha3_256::new();
        hash.update(b".onion checksum");
        hash.update(self.0);
        hash.update([Self::VERSION]);
        let [first, second, ..] = <[u8; 32]>::from(hash.finalize());
        [first, second]
    }
}

impl fmt::Display for OnionHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.0[..], &self.checksum(), &[Self::VERSION]].concat();
        write!(f, "{}{ONION_SUFFIX}", BASE32_NOPAD.encode(&bytes).to_lowercase())
    }
}

impl fmt::Debug for OnionHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnionHost({self})")
    }
}

impl FromStr for OnionHost {
    type Err = OnionError;

    /// Reads `<56 characters>.onion`, in capitals too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = text.strip_suffix(ONION_SUFFIX).ok_or(OnionError::Suffix)?;
        if label.len() != Self::LABEL_CHARS {
            return Err(OnionError::Length(label.len()));
        }
        let bytes =
            BASE32_NOPAD.decode(label.to_ascii_uppercase().as_bytes()).map_err(|_| OnionError::Encoding)?;
        let (key, rest) = bytes.split_first_chunk().expect("56 characters of base32 are 35 bytes");
        let host = Self(*key);
        match rest {
            [first, second, Self::VERSION] if [*first, *second] == host.checksum() => Ok(host),
            [_, _, Self::VERSION] => Err(OnionError::Checksum),
            _ => Err(OnionError::Version),
        }
    }
}

/// Why a text is no onion address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnionError {
    /// The name does not end in `.onion`.
    #[error("an onion address ends in `.onion`")]
    Suffix,
    /// The name has another number of characters than 56.
    #[error("an onion address has 56 characters before `.onion`, not {0}")]
    Length(usize),
    /// A character that base32 does not have.
    #[error("an onion address has only the letters a to z and the digits 2 to 7")]
    Encoding,
    /// The checksum does not fit the rest: a character is wrong.
    #[error("the onion address is mistyped: its checksum is wrong")]
    Checksum,
    /// A version other than 3.
    #[error("the onion address is not of version 3")]
    Version,
    /// The port after the name is missing or is no number below 65,536.
    #[error("an onion address needs a port, like `….onion:8662`")]
    Port,
}

/// The binary form: the variants `V4` and `V6` are those of `serde` for a [`SocketAddr`], so that records
/// written before there were other addresses read back, and stay what they are.
#[derive(Serialize, Deserialize)]
enum Binary {
    V4(SocketAddrV4),
    V6(SocketAddrV6),
    Onion([u8; 32], u16),
    Memory(u64),
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        match *self {
            Self::Socket(SocketAddr::V4(address)) => Binary::V4(address),
            Self::Socket(SocketAddr::V6(address)) => Binary::V6(address),
            Self::Onion(OnionAddress { host, port }) => Binary::Onion(host.0, port),
            Self::Memory(place) => Binary::Memory(place),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <Cow<'de, str>>::deserialize(deserializer)?;
            return text.parse().map_err(D::Error::custom);
        }
        Ok(match Binary::deserialize(deserializer)? {
            Binary::V4(address) => Self::Socket(address.into()),
            Binary::V6(address) => Self::Socket(address.into()),
            Binary::Onion(key, port) => Self::Onion(OnionAddress { host: OnionHost(key), port }),
            Binary::Memory(place) => Self::Memory(place),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid.onion";

    #[test]
    fn every_address_reads_back_from_its_text() {
        let onion = format!("{ONION}:8662");
        for text in ["192.0.2.1:8662", "[fd00::1]:1", "[fe80::1%3]:8662", "memory:7", &onion] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(onion.to_uppercase().replace(".ONION", ".onion").parse(), onion.parse::<Address>());
    }

    #[test]
    fn each_bad_address_has_its_own_error() {
        let error = |text: &str| text.parse::<Address>().unwrap_err();
        let onion = |error| AddressError::Onion(error);
        assert_eq!(error(ONION), onion(OnionError::Port));
        assert_eq!(error(&format!("{ONION}:65536")), onion(OnionError::Port));
        assert_eq!(error(&format!("a{ONION}:1")), onion(OnionError::Length(57)));
        assert_eq!(error(&format!("{}:1", ONION.replacen('2', "1", 1))), onion(OnionError::Encoding));
        assert_eq!(error(&format!("{}:1", ONION.replacen('2', "3", 1))), onion(OnionError::Checksum));
        assert_eq!(error(&format!("{}:1", ONION.replace("d.onion", "e.onion"))), onion(OnionError::Version));
        assert!(matches!(error("memory:x"), AddressError::Memory(_)));
        assert_eq!(error("192.0.2.1").to_string(), "invalid socket address syntax");
    }
}
