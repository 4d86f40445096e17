//! The MeshCore companion protocol, as bytes in and out.

/// The payload that every firmware's channel datagram takes, bytes.
pub const PAYLOAD_BYTES: usize = 163;
/// The payload that the newest firmware takes, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 165;
/// Bytes of a channel's key.
pub const SECRET_BYTES: usize = 16;
/// The key of the channel where none is given. Everybody knows it: what must not be read is sealed before it comes here.
pub const CHANNEL_SECRET: [u8; SECRET_BYTES] = *b"tombolo on mesh\0";

/// Bytes that leave the antenna for a channel datagram: header, path length, channel hash, check code, and the datagram
/// in AES blocks of 16.
pub fn on_air_bytes(payload_bytes: usize) -> usize {
    5 + (3 + payload_bytes).next_multiple_of(16)
}
