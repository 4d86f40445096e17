//! The preamble: numbers before a delta in the same bytes, which a receiver needs to find the base. The same coder writes
//! them, so that none of them begins a byte of its own.
//!
//! The reader has no base yet, so the probabilities here are the caller's: constants of its own format. Behind the preamble
//! stands the delta, or bytes as they are.

use crate::entropy::{Coder, RangeDecoder, RangeEncoder};
use crate::pack::Packer;
use crate::{Context, DecodeError, Delta, Value};

/// The scale of the chances that a caller gives: 65536ths.
const SCALE: u32 = 16;
/// Bits written at once, each as likely zero as one.
const RAW_BITS_MAX: u32 = 64;

/// Writes a preamble, then what stands behind it.
pub struct PreambleWriter {
    encoder: RangeEncoder,
}

impl Default for PreambleWriter {
    fn default() -> PreambleWriter {
        PreambleWriter::new()
    }
}

impl PreambleWriter {
    /// A preamble without any number yet.
    pub fn new() -> PreambleWriter {
        PreambleWriter { encoder: RangeEncoder::new() }
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

    /// Ends with a delta. The bytes do not carry their own length.
    ///
    /// # Panics
    ///
    /// As [`encode`](crate::encode) does, if the delta was made for another base.
    pub fn delta(self, base: &Value, delta: &Delta, context: &Context) -> Vec<u8> {
        let mut packer = Packer::new(self.encoder, base, context);
        packer.delta(Some(delta)).expect("a delta fits the base it was made for");
        packer.symbols.coder.finish()
    }

    /// Ends without a delta.
    pub fn finish(self) -> Vec<u8> {
        self.encoder.finish()
    }
}

/// Reads a preamble. What stands behind it is read as often as there are bases to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreambleReader {
    input: Vec<u8>,
    /// The decoder's state behind what was read.
    at: crate::entropy::DecoderState,
}

impl PreambleReader {
    /// A reader of bytes from any source.
    pub fn new(input: Vec<u8>) -> PreambleReader {
        let at = RangeDecoder::new(&input).state();
        PreambleReader { input, at }
    }

    /// A decision that [`PreambleWriter::bit`] wrote. Behind the end of the bytes it may be anything, and
    /// [`check`](PreambleReader::check) fails.
    pub fn bit(&mut self, yes: u16) -> bool {
        let mut decoder = RangeDecoder::resume(&self.input, self.at);
        let decision = decoder.decide(u32::from(yes.max(1)), SCALE, false);
        self.at = decoder.state();
        decision
    }

    /// A number of so many bits that [`PreambleWriter::raw`] wrote.
    pub fn raw(&mut self, bits: u32) -> u64 {
        let mut decoder = RangeDecoder::resume(&self.input, self.at);
        let number = (0..bits.min(RAW_BITS_MAX))
            .fold(0, |number, _| number << 1 | u64::from(decoder.decide(1, 1, false)));
        self.at = decoder.state();
        number
    }

    /// How many bytes it reads from, the delta behind it included.
    pub fn input_bytes(&self) -> usize {
        self.input.len()
    }

    /// Checks that all that was read was there.
    ///
    /// # Errors
    ///
    /// An error where bytes behind the end were read.
    pub fn check(&self) -> Result<(), DecodeError> {
        RangeDecoder::resume(&self.input, self.at).check()
    }

    /// Checks that all was there and nothing is left.
    ///
    /// # Errors
    ///
    /// An error where bytes behind the end were read, or some are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        RangeDecoder::resume(&self.input, self.at).finish()
    }

    /// The delta behind the preamble, if this is its base.
    ///
    /// # Errors
    ///
    /// As [`decode`](crate::decode): hostile bytes are refused or bounded.
    pub fn delta(&self, base: &Value, context: &Context) -> Result<Delta, DecodeError> {
        let mut packer = Packer::new(RangeDecoder::resume(&self.input, self.at), base, context);
        let delta = packer.delta(None)?;
        packer.symbols.coder.finish()?;
        Ok(delta)
    }
}
