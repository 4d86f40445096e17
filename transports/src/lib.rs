//! Bytes between neighbours: links over whatever medium there is, with no documents and no trust
//! of their own.
//!
//! A transport finds peers, proves their keys and reports [`LinkEvent`]s; the node above receives
//! them and sends whole messages by [`LinkId`]. Which keys may connect is a list handed in; the meaning of a
//! message is none of this crate's business.
//!
//! # Reading order
//!
//! | module | what it holds |
//! |---|---|
//! | [`address`], [`link`], [`error`] | the words: identities and places, links and their events, what can fail |
//! | [`set`], [`events`] | the door: [`Transports`], one stream of events, the trait [`Transport`] |
//! | [`stream`] | messages on a byte stream, drawn in `FORMAT.md`; no clock, no socket |
//! | [`tls`] | raw public keys (RFC 7250), the list of those that may connect |
//! | [`session`] | from a proved key to a link, the same over every carrier |
//! | [`memory`] | the smallest carrier: pipes within a process |
//! | [`lan`] | QUIC between neighbours found by mDNS |
//! | [`tor`] | TLS streams between onion services, through a tor that runs beside the node |
//! | [`radio`] | drivers of the radios that people own; frames and messages are [`tombolo_mesh`]'s |
//!
//! A message goes down [`Transports::send`], the queue of its link, a frame on the stream, the carrier; it
//! comes up as [`LinkEvent::Received`]. A radio stays outside the set: it carries frames on a channel that
//! all hear, and the node above makes messages of them.
#![forbid(unsafe_code)]

pub mod address;
pub mod error;
pub mod events;
pub mod lan;
pub mod link;
pub mod memory;
pub mod radio;
pub mod session;
pub mod set;
pub mod stream;
pub mod tls;
pub mod tor;

pub use address::{Address, OnionAddress, OnionHost, PeerId};
pub use error::{JoinError, LanError, SendError};
pub use events::Events;
pub use lan::{Lan, LanConfig};
pub use link::{DownReason, LinkCaps, LinkEvent, LinkId, LinkIds, LinkReport, Medium, RejectReason};
pub use session::JoinSecret;
pub use set::{JoinDial, Transport, Transports};
pub use tombolo_mesh::time;
pub use tor::{Tor, TorConfig, TorError, TorStatus};
