//! What stands before a delta in the same bytes: numbers that a receiver needs to find the base, told by the same coder
//! and so without a byte begun for each.
//!
//! Whoever opens knows nothing yet, so the chances here are the caller's: constants of its own format. Behind the
//! opening stands the delta, or bytes as they are.

use crate::entropy::{Coder, Decoder, Encoder};
use crate::pack::Packer;
use crate::{Context, DecodeError, Delta, Value};

/// The scale of the chances that a caller gives: 65536ths.
const SCALE: u32 = 16;
/// Bits told at once without a chance.
const RAW_BITS_MAX: u32 = 64;

/// Writes an opening, then what stands behind it.
pub struct PreambleWriter {
    encoder: Encoder,
}

impl Default for PreambleWriter {
    fn default() -> PreambleWriter {
        PreambleWriter::new()
    }
}

impl PreambleWriter {
    /// Nothing told yet.
    pub fn new() -> PreambleWriter {
        PreambleWriter { encoder: Encoder::new() }
    }

    /// A decision that is yes with a chance of `yes` in 65536, neither 0 nor all.
    pub fn bit(&mut self, yes: u16, decision: bool) {
        self.encoder.decide(u32::from(yes.max(1)), SCALE, decision);
    }

    /// The low `bits` of a number, at most 64, as likely one as zero.
    pub fn raw(&mut self, bits: u32, number: u64) {
        for bit in (0..bits.min(RAW_BITS_MAX)).rev() {
            self.encoder.decide(1, 1, number >> bit & 1 == 1);
        }
    }

    /// Ends with a delta. The bytes have no length of their own: whoever keeps them does.
    ///
    /// # Panics
    ///
    /// As [`encode`](crate::encode) does, if the delta was made for another base.
    pub fn delta(self, base: &Value, delta: &Delta, context: &Context) -> Vec<u8> {
        let mut packer = Packer::new(self.encoder, base, context);
        packer.delta(Some(delta)).expect("a delta fits the base it was made for");
        packer.symbols.coder.finish()
    }

    /// Ends here.
    pub fn finish(self) -> Vec<u8> {
        self.encoder.finish()
    }
}

/// Reads an opening. What stands behind it is read as often as there are bases to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreambleReader {
    input: Vec<u8>,
    /// The decoder's state behind what was read.
    at: crate::entropy::DecoderState,
}

impl PreambleReader {
    /// Bytes of anyone.
    pub fn new(input: Vec<u8>) -> PreambleReader {
        let at = Decoder::new(&input).state();
        PreambleReader { input, at }
    }

    /// A decision, as [`PreambleWriter::bit`] told it. Behind the end of the bytes it may be anything:
    /// [`check`](PreambleReader::check) says so.
    pub fn bit(&mut self, yes: u16) -> bool {
        let mut decoder = Decoder::resume(&self.input, self.at);
        let decision = decoder.decide(u32::from(yes.max(1)), SCALE, false);
        self.at = decoder.state();
        decision
    }

    /// A number of so many bits, as [`PreambleWriter::raw`] told it.
    pub fn raw(&mut self, bits: u32) -> u64 {
        let mut decoder = Decoder::resume(&self.input, self.at);
        let number = (0..bits.min(RAW_BITS_MAX))
            .fold(0, |number, _| number << 1 | u64::from(decoder.decide(1, 1, false)));
        self.at = decoder.state();
        number
    }

    /// Whether all that was read was there.
    pub fn check(&self) -> Result<(), DecodeError> {
        Decoder::resume(&self.input, self.at).check()
    }

    /// Whether all was there and nothing is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        Decoder::resume(&self.input, self.at).finish()
    }

    /// The delta behind the opening, if this is its base: what [`decode`](crate::decode) says of hostile bytes holds.
    pub fn delta(&self, base: &Value, context: &Context) -> Result<Delta, DecodeError> {
        let mut packer = Packer::new(Decoder::resume(&self.input, self.at), base, context);
        let delta = packer.delta(None)?;
        packer.symbols.coder.finish()?;
        Ok(delta)
    }
}
