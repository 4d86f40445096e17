#![forbid(unsafe_code)]
//! Tombolo keeps the state of trusted nodes in step over whatever link there is: radio mesh, LAN, Tor. No
//! server, no internet, no link that must stay up.
//!
//! A node inside a program:
//!
//! ```
//! use tombolo::{Settings, Tombolo};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("tombolo-doc-front-{}", std::process::id()));
//! // A folder with identity, settings and store; it is made where it is not there.
//! let node = Tombolo::open(&folder, Settings::on_loopback("attic")).await?;
//!
//! // A map: many may write, per key the last writer wins.
//! let plan = node.create_map("plan").await?;
//! let mut changes = plan.watch().await?;
//! plan.set("monday/watch", &"Ada").await?;
//! assert_eq!(plan.get::<String>("monday/watch").await?.as_deref(), Some("Ada"));
//!
//! // Each change, of whichever author, with its key, its old and its new value.
//! let change = changes.next().await.expect("the node runs");
//! assert_eq!((change.key.as_str(), change.old), ("monday/watch", None));
//! node.shutdown().await;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! A struct that peers follow, of which they receive what differs:
//!
//! ```
//! # use tombolo::{Settings, Tombolo};
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Report {
//!     berths_free: u32,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("tombolo-doc-snapshot-{}", std::process::id()));
//! # let node = Tombolo::open(&folder, Settings::on_loopback("attic")).await?;
//! let report = node.create_snapshot::<Report>("report").await?;
//! report.put(&Report { berths_free: 3 }).await?;
//! assert_eq!(report.get().await?.map(|report| report.berths_free), Some(3));
//! # node.shutdown().await;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! Two nodes become peers by an invite, a line of text that is handed over:
//!
//! ```
//! # use tombolo::{Settings, Tombolo, TrustLevel};
//! # use std::time::Duration;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("tombolo-doc-join-{}", std::process::id()));
//! # let attic = Tombolo::open(folder.join("attic"), Settings::on_loopback("attic")).await?;
//! # let boat = Tombolo::open(folder.join("boat"), Settings::on_loopback("boat")).await?;
//! let code = attic.invite(TrustLevel::Trusted, Duration::from_secs(3_600)).await?;
//! boat.join(&code).await?;
//! attic.in_step("boat").await?;
//! # attic.shutdown().await;
//! # boat.shutdown().await;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Settings::named`] is for a node on the network, [`Settings::on_loopback`] for tests. The programs in `examples/` are whole.
//!
//! # Features
//!
//! `cli`, on by default, is the program `tombolo`: command line, local interface, JSON calls, messages to the operator and the
//! figures of the machine; `web` and `mqtt`, on by default as well, are its page with the metrics and its bridge to a broker. A library user takes `default-features = false`, and builds none of it. `test-support` adds what the
//! simulator (`sim/`) checks inside a node; it is no part of the interface.
//!
//! # Inside
//!
//! What travels is *layers*: the part of a document that one author writes, signed as a state, sent as a delta. A
//! document is the merge of its writers' layers. [`node::Node`] joins everything without a socket, a clock
//! or a thread; [`Tombolo`] is the same as an async library.
//!
//! Reading order: `tombolo_delta`, [`layer`], [`envelope`], [`merge`], [`sync`], `tombolo_transports`,
//! [`router`], then the two walks, `node/outbound.rs` and `node/inbound.rs`, then [`runtime`].
//! `ARCHITECTURE.md` has the map.

#[cfg(feature = "cli")]
pub mod api;
pub mod authoring;
pub mod broadcast;
pub mod bundle;
#[cfg(feature = "cli")]
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
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod node;
pub mod plain_file;
pub mod presence;
#[cfg(feature = "cli")]
pub mod probe;
pub mod random;
pub mod replica;
pub mod report;
pub mod router;
pub mod rpc;
pub mod runtime;
mod socket_path;
mod steps;
pub mod store;
pub mod sync;
pub mod system_clock;
pub mod unicast;
#[cfg(feature = "cli")]
pub mod unix_http;
pub mod watches;
#[cfg(feature = "web")]
pub mod web;
#[cfg(feature = "cli")]
mod words;

pub use federation::TrustLevel;
pub use handle::{CallError, Changes, Ended, KeyChange, MapHandle, Settings, SnapshotHandle, Tombolo};
pub use io::{NodeState, Sensor, SensorValue};
pub use tombolo_delta::Value;
pub use tombolo_transports::time;
