//! One radio, from frames to messages: keys, long messages, airtime, and what each kind of modem speaks. No socket, no
//! clock and no runtime: bytes, time and randomness come in as arguments.
#![forbid(unsafe_code)]

pub mod airtime;
pub mod bulk;
#[cfg(feature = "emulated")]
pub mod emulated;
pub mod frame;
pub mod peer;
pub mod station;
pub mod wire;

pub use peer::PeerId;
