//! The built program on network namespaces: real sockets, real multicast, real power cuts of a process.
//!
//! Needs Linux, root, iproute2, nftables and python3; without them each test prints `SKIPPED: needs …`.
//! Everything happens inside namespaces that the test made; they go away with it, also when it fails.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and reads clocks"
)]
#![cfg(target_os = "linux")]

mod cable;
mod converge;
mod crash;
mod discovery;
#[allow(dead_code, reason = "other tests use the rest")]
mod lab;
mod relay;
