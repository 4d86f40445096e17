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
//! | [`mesh`] | radio: from frames to messages, within the airtime that the law allows; drivers of what people own |
//! | [`memory`] | a link made of two queues |
#![forbid(unsafe_code)]

pub mod address;
pub mod error;
pub mod lan;
pub mod link;
pub mod memory;
pub mod mesh;
pub mod stream;
pub mod tls;

pub use address::{Address, LinkAddr, OnionAddress, OnionHost, PeerId};
pub use error::{JoinError, LanError, SendError};
pub use lan::{Lan, LanConfig};
pub use link::{DownReason, LinkCaps, LinkEvent, LinkId, LinkIds, Medium, RejectReason, Transport};
