//! The Meshtastic stream API, as bytes in and out.

/// The largest payload that a node sends, bytes; the constant in its sources says 233.
pub const PAYLOAD_BYTES_MAX: usize = 231;

/// Bytes that leave the antenna for a broadcast of `payload_bytes`: the packet's header, the encoding around the payload,
/// and the signature that the newest firmware adds where it fits.
pub fn on_air_bytes(payload_bytes: usize) -> usize {
    const HEADER: usize = 16;
    const SIGNATURE: usize = 66;
    const ON_AIR_MAX: usize = 255;
    let bytes = HEADER + payload_bytes + if payload_bytes < 128 { 7 } else { 8 };
    if bytes + SIGNATURE <= ON_AIR_MAX { bytes + SIGNATURE } else { bytes }
}
