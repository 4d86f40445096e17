//! Envelopes: how a signed layer state travels.
//!
//! *Whole*: all fields, for first contact, relays, files. *Compact*: only what a receiver
//! that holds the base cannot infer: 4 to 8 bytes beside the signature, about 2 on air. The root never travels with a
//! delta: the receiver applies, computes, verifies. `FORMAT.md` draws both.
//!
//! This room turns bytes into claims and back. It looks up no base and checks no right: `node/inbound.rs`
//! does, in that order.

mod air;
mod change;
mod codec;
#[cfg(test)]
mod tests;
mod update;

pub use air::{decode_air, encode_air};
pub use change::{Carried, Change};
pub use codec::{
    CompactEnvelope, EnvelopeError, MapChanges, decode_changes, decode_compact, decode_whole,
    decode_whole_within, encode_changes, encode_compact, encode_whole,
};
pub use update::{
    ProvisionalUpdate, UpdateChange, UpdateItem, decode_provisional, decode_update, encode_provisional,
    encode_update, join_update,
};

use crate::layer::{Content, Head, Kind, Layer, LayerId, Root, Sequence, SignedHead};
use crate::limits::WHOLE_LAYER_BYTES_MAX;
use crate::time::Wall;

/// What an envelope brings beside the signed head.
#[derive(Clone, Debug)]
pub enum Payload {
    /// The whole content. Its root is computed, so it does not travel.
    Whole(Content),
    /// Nothing: the content is large and is asked for in parts (`sync::transfer`).
    Offer,
}

/// A whole envelope: a signed head and its payload.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The signed head; not yet verified when it comes from a peer.
    pub signed: SignedHead,
    /// The content or the offer of it.
    pub payload: Payload,
}

impl Envelope {
    /// Puts a layer into an envelope: with its content where that fits a message, else as an offer.
    pub fn seal(layer: &Layer) -> Envelope {
        let payload = match layer.content.bytes() {
            bytes if bytes > WHOLE_LAYER_BYTES_MAX => Payload::Offer,
            _ => Payload::Whole(layer.content.clone()),
        };
        Envelope { signed: layer.signed.clone(), payload }
    }

    /// Opens an envelope that brings its content: the signature must be the author's, over the root that
    /// the content has.
    ///
    /// # Errors
    ///
    /// `NoContent` for an envelope without content, `Signature` where the signature does not fit.
    pub fn open(self) -> Result<Layer, EnvelopeOpenError> {
        let Payload::Whole(content) = self.payload else { return Err(EnvelopeOpenError::NoContent) };
        if content.root() != self.signed.head.root || !self.signed.verify() {
            return Err(EnvelopeOpenError::Signature);
        }
        Ok(Layer { signed: self.signed, content })
    }
}

/// Why an envelope was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeOpenError {
    /// The signature is not the author's over this content, or a field is out of range.
    #[error("the signature is not the author's over this content")]
    Signature,
    /// It is an offer.
    #[error("the envelope brings no content")]
    NoContent,
}

/// A base as a compact envelope names it: how many sequences back, and the first two bytes of its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseRef {
    /// The envelope's sequence less the base's; at least 1.
    pub distance: u64,
    /// The first two bytes of the base's root.
    pub root_prefix: [u8; 2],
    /// Whether only the first of them was sent.
    pub is_short: bool,
}

impl BaseRef {
    /// Whether a state with a root that begins so may be meant.
    pub fn fits(&self, root: &[u8]) -> bool {
        let [first, second] = self.root_prefix;
        match root {
            [a, b, ..] => *a == first && (self.is_short || *b == second),
            _ => false,
        }
    }
}

/// What a receiver needs to know of a base it holds to try a compact envelope on it.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// The layer that the delta changes.
    pub layer: &'a LayerId,
    /// The sequence of the base.
    pub sequence: Sequence,
    /// The base's signed time.
    pub time: Wall,
    /// The audience sequence signed with the base.
    pub audience_sequence: Sequence,
}

impl<D> CompactEnvelope<D> {
    /// The head that this envelope claims on top of `base`, once the receiver knows the new root.
    pub fn head_on(&self, base: &Base<'_>, kind: Kind, root: Root) -> Option<Head> {
        Some(Head {
            kind,
            layer: base.layer.clone(),
            sequence: self.sequence_on(base)?,
            time: self.time_on(base)?,
            audience_sequence: match self.audience_step {
                0 => base.audience_sequence,
                step => Sequence::new(base.audience_sequence.get().checked_add_signed(step)?)?,
            },
            root,
        })
    }

    /// The sequence claimed on top of `base`.
    pub fn sequence_on(&self, base: &Base<'_>) -> Option<Sequence> {
        Sequence::new(base.sequence.get().checked_add(self.base.distance)?)
    }

    /// The signed time claimed on top of `base`.
    pub fn time_on(&self, base: &Base<'_>) -> Option<Wall> {
        base.time.ms().checked_add_signed(self.time_step_ms).map(Wall::from_ms)
    }
}

/// One byte over owner, author and name: spares a receiver of many layers most wrong guesses.
pub fn address_byte(layer: &LayerId) -> u8 {
    let [first, ..] = layer.hash().0;
    first
}
