//! Values, and the smallest lossless difference between two states of one.
//!
//! [`diff`] compares two states, [`apply`] makes the second from the first; [`encode`] and [`decode`] turn the
//! difference into bytes and back. All four are given the *base*, which both ends hold, and the [`Context`], which both
//! ends know: nothing else is remembered from one delta to the next, so a lost one never spoils another.
//!
//! ```
//! use tombolo_delta::{Context, Value, apply, decode, diff, encode};
//!
//! let base = Value::map([("cpu", Value::from(12.5)), ("node", Value::from("attic"))]);
//! let target = Value::map([("cpu", Value::from(13.5)), ("node", Value::from("attic"))]);
//! let context = Context::default();
//!
//! let bytes = encode(&base, &diff(&base, &target, &context), &context);
//! assert!(bytes.len() < 5);
//! let delta = decode(&base, &bytes, &context)?;
//! assert_eq!(apply(&base, &delta, &context)?, target);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate is pure: no clock, key, socket or file. Bytes and deltas may come from anyone: they are refused with a
//! named error or bounded by [`limits`], never believed. What signs a state, and which base a peer holds, is decided
//! above.

#![forbid(unsafe_code)]

// The tests share their inputs with the bench, which names the crate.
#[cfg(test)]
extern crate self as tombolo_delta;

mod anchors;
mod apply;
mod beside;
mod bump;
mod candidates;
mod codec;
mod decimal;
mod diff;
mod entropy;
mod error;
mod hint;
mod left;
pub mod limits;
mod lines;
mod list;
mod matching;
mod op;
mod pack;
mod preamble;
mod predict;
mod priors;
mod serde;
mod slots;
mod steps;
mod stream;
mod survey;
mod symbols;
#[cfg(test)]
mod tables;
mod time;
#[cfg(feature = "train")]
#[doc(hidden)]
pub mod training;
mod value;
pub mod varint;
mod words;
#[cfg(test)]
mod worst;

pub use apply::apply;
pub use codec::{CborReader, CborWriter, cbor_head_len, cbor_len, from_cbor, to_cbor};
pub use diff::diff;
pub use error::{ApplyError, CborError, DecodeError, SerdeError};
pub use limits::Limits;
pub use op::Delta;
pub use pack::{decode, encode};
pub use preamble::{PreambleReader, PreambleWriter};
pub use serde::{from_value, to_value};
pub use value::{Int, Key, Map, Value};

/// The version of the packed form, which both ends of a link agree on: FORMAT.md describes this one.
pub const VERSION: u32 = 1;

/// What both ends know of the two states besides the base's content: it stands in what was signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The sequence of the base.
    pub base_sequence: u64,
    /// The sequence of the target.
    pub sequence: u64,
    /// The signed time of the base, in milliseconds since the Unix epoch.
    pub base_time_ms: u64,
    /// The signed time of the target, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}
