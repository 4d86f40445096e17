//! Who a neighbour is.

use std::fmt;

/// An ed25519 public key (RFC 8032, 32 bytes, compressed form): the identity of a node.
///
/// Not every 32 bytes are a point of the curve; a key that is not one proves nothing and so never
/// comes up as a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

impl PeerId {
    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for PeerId {
    fn from(key: [u8; 32]) -> Self {
        Self(key)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_shown_by_its_first_four_bytes() {
        let peer = PeerId([0xab; 32]);
        assert_eq!((format!("{peer}"), format!("{peer:?}")), ("abababab".into(), "PeerId(abababab)".into()));
    }
}
