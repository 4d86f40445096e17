//! Whole federations on virtual time, one module per story. A failing seed prints the command that replays
//! it; `TOMBOLO_SEED=… cargo test --test sim replay -- --nocapture` runs one seed and prints what it did.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and reads clocks"
)]

mod air_swarm;
mod chaos;
mod clocks;
mod deploys;
mod joining;
mod livelock;
mod observers;
mod oracle;
mod radio;
mod relay;
mod removal;
mod restore;
mod seeds;
mod swarm;
mod transcripts;
mod world;
