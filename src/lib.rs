#![forbid(unsafe_code)]
//! Tombolo keeps the state of trusted nodes in step over whatever link there is: radio mesh, LAN, Tor. No
//! server, no internet, no link that must stay up.
//!
//! What travels is *layers*: the part of a document that one author writes, signed as a state, sent as a delta. A
//! document is the merge of its writers' layers. [`node::Node`] joins everything without a socket, a clock
//! or a thread; [`handle::Tombolo`] is the same as an async library; [`runtime`] and [`cli`] are the program.
//!
//! The feature `test-support` adds what the simulator (`sim/`) checks inside a node; it is no part of the interface.
//!
//! Reading order: `tombolo_delta`, [`layer`], [`envelope`], [`merge`], [`sync`], `tombolo_transports`,
//! [`router`], then the two walks, `node/outbound.rs` and `node/inbound.rs`, then [`runtime`].
//! `ARCHITECTURE.md` has the map.

pub mod api;
pub mod authoring;
pub mod broadcast;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod core;
mod desk;
pub mod envelope;
pub mod federation;
pub mod folder;
pub mod handle;
pub mod identity;
pub mod io;
pub mod layer;
pub mod limits;
pub mod membership;
pub mod merge;
pub mod node;
pub mod plain_file;
pub mod presence;
pub mod probe;
pub mod random;
pub mod replica;
pub mod report;
pub mod router;
pub mod rpc;
pub mod runtime;
mod steps;
pub mod store;
pub mod sync;
pub mod system_clock;
pub mod unicast;
pub mod unix_http;
pub mod watches;

pub use tombolo_transports::time;
