//! Names and keys of version 3 onion services, as rend-spec-v3 has them, and the hashes of the cookie login.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::montgomery::MontgomeryPoint;
use data_encoding::{BASE32_NOPAD, BASE64, HEXUPPER};
use sha2::{Digest, Sha256};
use sha3::Sha3_256;

const SERVER: &[u8] = b"Tor safe cookie authentication server-to-controller hash";
const CLIENT: &[u8] = b"Tor safe cookie authentication controller-to-server hash";

/// The 56 characters of the service that has this public key, without `.onion`.
pub(crate) fn name(key: &[u8; 32]) -> String {
    let bytes = [&key[..], &checksum(key), &[3]].concat();
    BASE32_NOPAD.encode(&bytes).to_lowercase()
}

/// Whether this is the name of a service: 56 characters, version 3, the checksum right.
pub(crate) fn is_name(text: &str) -> bool {
    let Ok(bytes) = BASE32_NOPAD.decode(text.to_uppercase().as_bytes()) else { return false };
    let Some((key, rest)) = bytes.split_first_chunk::<32>() else { return false };
    rest == [&checksum(key)[..], &[3]].concat()
}

fn checksum(key: &[u8; 32]) -> [u8; 2] {
    let hash =
        Sha3_256::new().chain_update(b".onion checksum").chain_update(key).chain_update([3]).finalize();
    [hash[0], hash[1]]
}

/// The public key of a service from its secret as `ADD_ONION` takes it: 64 bytes in base64, expanded and clamped.
pub(crate) fn public_of_expanded(blob: &str) -> Option<[u8; 32]> {
    let bytes = BASE64.decode(blob.as_bytes()).ok().filter(|bytes| bytes.len() == 64)?;
    let scalar: [u8; 32] = bytes[..32].try_into().unwrap();
    Some(EdwardsPoint::mul_base_clamped(scalar).compress().to_bytes())
}

/// A service's secret of a seed that only tests use.
pub(crate) fn expanded(seed: u64) -> String {
    let mut bytes = <[u8; 64]>::from(sha2::Sha512::digest(seed.to_be_bytes()));
    bytes[0] &= 248;
    bytes[31] = (bytes[31] & 63) | 64;
    BASE64.encode(&bytes)
}

/// The public key that `ClientAuthV3=` names, from the private key that `ONION_CLIENT_AUTH_ADD` takes in base64.
pub(crate) fn client_public(blob: &str) -> Option<[u8; 32]> {
    let bytes = BASE64.decode(blob.as_bytes()).ok()?;
    let scalar: [u8; 32] = bytes.try_into().ok()?;
    Some(MontgomeryPoint::mul_base_clamped(scalar).to_bytes())
}

/// Reads the key of `ClientAuthV3=`: 32 bytes in base32.
pub(crate) fn client_key(text: &str) -> Option<[u8; 32]> {
    BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).ok()?.try_into().ok()
}

/// What tor proves with, in an answer to `AUTHCHALLENGE`.
pub(crate) fn server_hash(cookie: &[u8], client_nonce: &[u8], server_nonce: &[u8]) -> String {
    HEXUPPER.encode(&hmac(SERVER, &[cookie, client_nonce, server_nonce].concat()))
}

/// What `AUTHENTICATE` has to bring.
pub(crate) fn client_hash(cookie: &[u8], client_nonce: &[u8], server_nonce: &[u8]) -> String {
    HEXUPPER.encode(&hmac(CLIENT, &[cookie, client_nonce, server_nonce].concat()))
}

/// HMAC-SHA256 (RFC 2104); the keys here fit a block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    assert!(key.len() <= 64);
    let pad =
        |with: u8| -> Vec<u8> { key.iter().copied().chain([0; 64]).take(64).map(|b| b ^ with).collect() };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
