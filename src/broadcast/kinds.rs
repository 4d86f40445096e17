//! The kinds of messages in frames, as numbers in a frame's header. The station has kinds of its own below these.

use tombolo_mesh::frame::Kind;

const fn message(number: u8) -> Kind {
    match Kind::message(number) {
        Some(kind) => kind,
        None => panic!("5 to 15 are kinds of messages"),
    }
}

/// A message of compact envelopes.
pub(crate) const UPDATE: Kind = message(5);
/// A message with one whole layer.
pub(crate) const WHOLE: Kind = message(6);
/// A heartbeat of the broadcast engine.
pub(crate) const HEARTBEAT: Kind = message(7);
/// A frontier of the broadcast engine.
pub(crate) const FRONTIER: Kind = message(8);
/// A state that is not signed yet.
pub(crate) const PROVISIONAL: Kind = message(9);
/// A message on a pairwise channel.
pub(crate) const PAIR: Kind = message(10);
