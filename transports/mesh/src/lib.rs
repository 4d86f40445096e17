//! One radio, from frames to messages, as a state machine without I/O.
//!
//! A radio carries frames of 50 to 255 bytes, slowly, with losses, and under a law that limits its time on air. This crate
//! makes of it a channel for sealed messages of up to 64 KiB: it seals and opens frames, cuts long messages and repairs them,
//! announces boot epochs so that no nonce repeats, and lets no frame out that the airtime ledger does not allow.
//!
//! # Rooms
//!
//! | module | part | uses |
//! |---|---|---|
//! | [`time`] | instants and lengths of time, each a type of its own | |
//! | [`modulation`] | how a LoRa radio modulates, and the time on air that follows | |
//! | [`wire`] | the bytes that modems and radios of other makes exchange with their host | `modulation` |
//! | [`airtime`] | time on air, the ledger of what was sent, a band plan for each region | `modulation`; `wire` for what radios add |
//! | [`frame`] | header, keys, replay window, boot epochs, pairwise channels, the handshake of joining | |
//! | [`bulk`] | fragments, parity, repair of long messages | |
//! | [`station`] | one radio's whole link layer: receive, schedule, transmit | all of the above |
#![cfg_attr(
    feature = "emulated",
    doc = "| [`emulated`] | a channel on virtual time that many radios share, for tests | `airtime` |"
)]
//!
//! `FORMAT.md` beside this crate draws every byte on air; test vectors pin them.
//!
//! # Left out
//!
//! - Sockets, serial ports, tasks and clocks: drivers live above, in `tombolo-transports`.
//! - The meaning of a message, membership of an audience, and which message is worth its airtime: the caller decides.
//! - Storage: what must survive a restart comes out as a [`Record`](station::Record) and goes in again at the start.
//!
//! # The run loop
//!
//! Time is the caller's monotonic clock ([`Mono`](time::Mono)); randomness is one seed in [`StationConfig`](station::StationConfig). The caller
//! keeps this order:
//!
//! 1. On a frame from the driver: [`Station::receive`](station::Station::receive), then
//!    [`poll_received`](station::Station::poll_received) until it returns `None`.
//! 2. After each call: [`poll_record`](station::Station::poll_record) until `None`; write each record durably, then pass it to
//!    [`recorded`](station::Station::recorded).
//! 3. When the driver takes a frame: [`send`](station::Station::send) the most valuable message, then
//!    [`transmit`](station::Station::transmit). On [`Transmit::NeedsRecord`](station::Transmit::NeedsRecord) do step 2 and call it
//!    again; on [`Transmit::Frame`](station::Transmit::Frame) hand the frame to the driver.
//! 4. At [`poll_timeout`](station::Station::poll_timeout): step 3 again.
//!
//! The station itself chooses between what was sent, repairs, announcements and the call sign; a caller never reorders frames.
#![forbid(unsafe_code)]

pub mod airtime;
pub mod bulk;
#[cfg(feature = "emulated")]
pub mod emulated;
pub mod frame;
pub mod modulation;
pub mod peer;
mod split_mix;
pub mod station;
pub mod time;
pub mod wire;

pub use peer::PeerId;
pub use split_mix::SplitMix64;
