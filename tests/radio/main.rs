//! The built program on real TNCs: two daemons that reach each other by nothing but what Dire Wolf sends through
//! one air. Modems, carrier sense, collisions, echoes and bit errors are real; the air is a null sink. And on
//! emulated radios of stock firmware.
//!
//! The TNCs need Linux, direwolf, pulseaudio and libasound2-plugins; without them their tests print `SKIPPED: needs …`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and reads clocks"
)]
#![cfg(target_os = "linux")]

mod emulated;
#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod harness;
mod join;
mod parts;
mod tap;
