//! One radio, from frames to messages: keys, long messages, airtime, and what each kind of modem speaks. No socket, no
//! clock and no runtime: bytes, time and randomness come in as arguments.
#![forbid(unsafe_code)]

pub mod airtime;
pub mod ax25;
#[cfg(feature = "emulated")]
pub mod emulated;
pub mod fec;
pub mod fragment;
pub mod frame;
pub mod handshake;
pub mod keys;
pub mod kiss;
pub mod ledger;
pub mod meshcore;
pub mod meshtastic;
pub mod peer;
pub mod region;
pub mod repair;
pub mod station;

pub use peer::PeerId;
