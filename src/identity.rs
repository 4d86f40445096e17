//! Who a node is: an ed25519 key, written `did:key:z6Mk…`, and beside it the key of its onion service.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use tombolo_mesh::frame::keys::is_canonical;
use tombolo_transports::address::OnionError;
use tombolo_transports::{OnionHost, PeerId};
use zeroize::Zeroizing;

/// An ed25519 signature (RFC 8032), 64 bytes.
pub type SignatureBytes = [u8; 64];

/// Multicodec prefix of an ed25519 public key, as a varint (multicodec table, `ed25519-pub` = 0xed).
const ED25519_PUB: [u8; 2] = [0xed, 0x01];
const DID_PREFIX: &str = "did:key:z";

/// A node's secrets: the identity it signs with and the seed of its onion service. Wiped when dropped.
pub struct Keypair {
    signing: SigningKey,
    onion_seed: Zeroizing<[u8; 32]>,
}

impl Keypair {
    /// From two 32-byte seeds, both random.
    pub fn from_seeds(identity: &[u8; 32], onion: &[u8; 32]) -> Self {
        Keypair { signing: SigningKey::from_bytes(identity), onion_seed: Zeroizing::new(*onion) }
    }

    /// The public half: who we are to others.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.signing.verifying_key().to_bytes())
    }

    /// Signs `message` with the identity key.
    pub fn sign(&self, message: &[u8]) -> SignatureBytes {
        self.signing.sign(message).to_bytes()
    }

    /// The identity's 32-byte seed, for the TLS layer and the key file.
    pub fn identity_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// The onion service's 32-byte seed.
    pub fn onion_seed(&self) -> &[u8; 32] {
        &self.onion_seed
    }

    /// Our onion address, `….onion`: known from `init` on, before Tor ever runs.
    pub fn onion(&self) -> String {
        onion_address(&SigningKey::from_bytes(&self.onion_seed).verifying_key().to_bytes())
    }
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keypair({})", did(&self.peer_id()))
    }
}

/// Whether `signature` over `message` is by `who`. Small-order keys and non-canonical points are refused
/// (`verify_strict`, which takes a key in any form), so that two nodes never differ about a signature.
pub fn verify(who: &PeerId, message: &[u8], signature: &SignatureBytes) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&who.0) else { return false };
    if !is_canonical(&who.0) {
        return false;
    }
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

/// `did:key:z6Mk…` of an identity (W3C CCG, *The did:key Method*).
pub fn did(peer: &PeerId) -> String {
    let mut bytes = ED25519_PUB.to_vec();
    bytes.extend_from_slice(&peer.0);
    format!("{DID_PREFIX}{}", bs58::encode(bytes).into_string())
}

/// Why a text is no identity of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// Not of the form `did:key:z…`.
    #[error("a DID starts with `did:key:z6Mk`")]
    Prefix,
    /// The part after `z` is not base58btc, or not of an ed25519 key's length.
    #[error("the DID is not a base58btc ed25519 key: check for a mistyped or missing character")]
    Encoding,
    /// A key of another type.
    #[error("the DID names a key that is not ed25519")]
    KeyType,
    /// The 32 bytes are no point of the curve, or one of the few weak ones.
    #[error("the DID names no usable ed25519 key")]
    WeakKey,
}

/// The identity that a `did:key` names.
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_did(text: &str) -> Result<PeerId, DidError> {
    let encoded = text.strip_prefix(DID_PREFIX).ok_or(DidError::Prefix)?;
    if encoded.len() > 64 {
        return Err(DidError::Encoding);
    }
    let bytes = bs58::decode(encoded).into_vec().map_err(|_| DidError::Encoding)?;
    let key = bytes.strip_prefix(&ED25519_PUB).ok_or(DidError::KeyType)?;
    let key: [u8; 32] = key.try_into().map_err(|_| DidError::Encoding)?;
    usable_key(&key).then_some(PeerId(key)).ok_or(DidError::WeakKey)
}

/// Whether 32 bytes are an ed25519 key that one may trust: a point in its one form, and not of small order.
pub fn usable_key(key: &[u8; 32]) -> bool {
    is_canonical(key) && VerifyingKey::from_bytes(key).is_ok_and(|k| !k.is_weak())
}

/// `….onion` of an onion service key (Tor rend-spec-v3, section 6).
pub fn onion_address(public: &[u8; 32]) -> String {
    OnionHost(*public).to_string()
}

/// The public key inside an onion address, if its checksum and version hold.
pub fn parse_onion(text: &str) -> Option<[u8; 32]> {
    text.parse().ok().map(|OnionHost(public)| public)
}

/// An onion address as other programs write it, with or without `.onion`.
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_onion_text(text: &str) -> Result<OnionHost, OnionError> {
    match text.ends_with(".onion") {
        true => text.parse(),
        false => format!("{text}.onion").parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keypair() -> Keypair {
        Keypair::from_seeds(&[1; 32], &[2; 32])
    }

    #[test]
    fn a_did_reads_back_and_a_mistyped_one_is_told_apart() {
        let me = keypair().peer_id();
        let text = did(&me);
        assert!(text.starts_with("did:key:z6Mk"));
        assert_eq!(parse_did(&text), Ok(me));
        assert_eq!(parse_did(text.trim_start_matches("did:")), Err(DidError::Prefix));
        assert_eq!(parse_did(&format!("{text}0")), Err(DidError::Encoding));
        assert_eq!(
            parse_did("did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc"),
            Err(DidError::KeyType)
        );
    }

    #[test]
    fn strict_verification_refuses_small_order_keys() {
        let mut neutral = [0u8; 32];
        neutral[0] = 1;
        assert!(!usable_key(&neutral));
        let mut signature = [0u8; 64];
        signature[0] = 1;
        assert!(!verify(&PeerId(neutral), b"anything", &signature));
    }

    /// A point has one name: y = 3 and y = p + 3 are the same one.
    #[test]
    fn a_key_has_one_form() {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (0xf0, 0x7f);
        let mut short = [0; 32];
        short[0] = 3;
        assert!(VerifyingKey::from_bytes(&key).is_ok() && VerifyingKey::from_bytes(&short).is_ok());
        assert!(usable_key(&short) && !usable_key(&key));
    }

    #[test]
    fn a_signature_holds_for_its_message_and_signer_only() {
        let me = keypair();
        let signature = me.sign(b"message");
        assert!(verify(&me.peer_id(), b"message", &signature));
        assert!(!verify(&me.peer_id(), b"massage", &signature));
    }

    #[test]
    fn an_onion_address_carries_its_key_and_a_checksum() {
        let address = keypair().onion();
        assert_eq!(address.len(), 62);
        assert!(parse_onion(&address).is_some());
        let broken: String = address.replacen(address.chars().next().unwrap(), "7", 1);
        assert!(broken == address || parse_onion(&broken).is_none());
    }
}
