//! Client authorisation of onion services (Tor rend-spec-v3, section 2.5.1.2 and appendix G): who may reach a service at all.
//!
//! A service that asks for it publishes a descriptor that only listed X25519 keys can open. So a stranger that knows the
//! address cannot reach even the port.
//!
//! * Two peers need not exchange anything: both derive the key from their X25519 agreement, for each direction its own. The
//!   secret of the identity itself never goes to tor.
//! * A joiner is no peer yet: both ends derive its key from a [`JoinSecret`], which the code carries.

use crate::address::PeerId;
use crate::session::JoinSecret;
use curve25519_dalek::MontgomeryPoint;
use std::fmt;
use tombolo_mesh::frame::keys::Identity;
use zeroize::Zeroizing;

const OF_A_PEER: &str = "tombolo 2026 onion client of a peer 1";
const OF_AN_INVITE: &str = "tombolo 2026 onion client of an invite 1";

/// An X25519 key pair by which one client reaches one onion service.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey(Zeroizing<[u8; 32]>);

impl ClientKey {
    /// The key by which `client` reaches the service of `service`; one of the two is this node. `None` if the other is no
    /// usable key.
    pub fn of_peer(identity: &Identity, service: &PeerId, client: &PeerId) -> Option<Self> {
        let other = if identity.peer_id() == *service { client } else { service };
        let agreed = identity.agree(other)?;
        let material = Zeroizing::new([&agreed[..], service.as_bytes(), client.as_bytes()].concat());
        Some(Self(Zeroizing::new(blake3::derive_key(OF_A_PEER, &material))))
    }

    /// The key by which the holder of a code reaches its inviter.
    pub fn of_invite(secret: &JoinSecret) -> Self {
        Self(Zeroizing::new(blake3::derive_key(OF_AN_INVITE, &secret.0)))
    }

    /// The half that the service lists.
    pub fn public(&self) -> [u8; 32] {
        MontgomeryPoint::mul_base_clamped(*self.0).to_bytes()
    }

    /// The half that the client's tor gets.
    pub fn secret(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_derive_the_same_key_and_each_direction_has_its_own() {
        let (a, b) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let (id_a, id_b) = (a.peer_id(), b.peer_id());
        let of = |by, service, client| ClientKey::of_peer(by, service, client).unwrap();
        assert_eq!(of(&a, &id_a, &id_b), of(&b, &id_a, &id_b));
        assert_eq!(of(&a, &id_b, &id_a), of(&b, &id_b, &id_a));
        assert_ne!(of(&a, &id_a, &id_b), of(&a, &id_b, &id_a));
        assert_eq!(format!("{:?}", of(&a, &id_a, &id_b)), "ClientKey(..)");
        assert_eq!(ClientKey::of_peer(&a, &id_a, &PeerId([0; 32])), None);
    }

    #[test]
    fn each_invite_has_a_key_of_its_own() {
        let of = |byte| ClientKey::of_invite(&JoinSecret([byte; 32]));
        assert_eq!(of(1).public(), of(1).public());
        assert_ne!(of(1).public(), of(2).public());
    }
}
