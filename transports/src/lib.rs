//! Bytes between neighbours: links over whatever medium there is, with no documents and no trust
//! of their own.
//!
//! A transport finds peers, proves their keys and reports [`LinkEvent`]s; the node above takes
//! them and sends whole messages by [`LinkId`]. Who may connect is a list handed in; what a
//! message means is none of this crate's business.
//!
//! | module | what it holds |
//! |---|---|
//! | [`address`], [`link`], [`error`] | the shape every medium takes |
//! | [`stream`] | messages on a byte stream, drawn in `FORMAT.md`; no clock, no socket |
//! | [`tls`] | raw public keys (RFC 7250) |
//! | [`lan`] | QUIC between neighbours found by mDNS |
//! | [`radio`] | drivers of the radios that people own; frames and messages are [`tombolo_mesh`]'s |
//! | [`memory`] | a link made of two queues |
#![forbid(unsafe_code)]

pub mod address;
pub mod error;
pub mod lan;
pub mod link;
pub mod memory;
pub mod radio;
pub mod stream;
pub mod tls;

pub use address::{LinkAddr, PeerId};
pub use error::{JoinError, LanError, SendError};
pub use lan::{Lan, LanConfig};
pub use link::{DownReason, LinkCaps, LinkEvent, LinkId, LinkIds, Medium, RejectReason, Transport};
