//! The last stage: yes-or-no decisions, each with its chance, as the fewest bytes.
//!
//! A carrying range coder on integers. Both directions run the same code above this file: a [`Coder`] takes the
//! decision when it encodes, and returns it when it decodes. Chances are in 65536ths. The logistic function and its
//! inverse, which the text model mixes with, are tables of integers: both ends agree to the bit on any machine.

use crate::DecodeError;
use crate::limits::IMPLIED_ZEROS_MAX;
use crate::steps;

/// One direction of the coder.
pub(crate) trait Coder {
    /// Whether decisions are given rather than found.
    const ENCODING: bool;

    /// One decision that is yes with a chance of `yes` in `1 << scale`; neither answer may be impossible.
    fn decide(&mut self, yes: u32, scale: u32, decision: bool) -> bool;

    /// How many bytes the decisions so far have settled: the same at both ends.
    fn bytes(&self) -> usize;

    /// Whether the decisions so far were all there.
    fn check(&self) -> Result<(), DecodeError>;

    /// Receives each decision that a slot of the model could apply to: training overrides it.
    fn note(&mut self, _slot: usize, _decision: bool) {}
}

/// Width of the window on the number that the bytes spell.
const WINDOW_BITS: u32 = 56;
/// Bytes of the window.
const WINDOW_BYTES: usize = 7;
const WINDOW_MASK: u64 = (1 << WINDOW_BITS) - 1;
/// The range is kept above this, so that chances of 24 bits never round to nothing.
const RANGE_LEAST: u64 = 1 << 48;

/// Turns decisions into the fewest bytes.
pub(crate) struct RangeEncoder {
    low: u64,
    range: u64,
    out: Vec<u8>,
}

impl RangeEncoder {
    pub(crate) fn new() -> RangeEncoder {
        RangeEncoder { low: 0, range: 1 << WINDOW_BITS, out: Vec::with_capacity(32) }
    }

    /// The shortest bytes inside the last interval. Zeros at the end are left away, the decoder puts them back.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let read = self.out.len() + WINDOW_BYTES;
        for length in 0..=WINDOW_BYTES as u32 {
            let mask = WINDOW_MASK >> (8 * length);
            let value = (self.low + mask) & !mask;
            if value - self.low < self.range {
                self.low = value;
                self.carry();
                self.out.extend(self.low.to_be_bytes().iter().skip(1).take(length as usize));
                break;
            }
        }
        while self.out.last() == Some(&0) && read - (self.out.len() - 1) <= IMPLIED_ZEROS_MAX {
            self.out.pop();
        }
        self.out
    }

    fn carry(&mut self) {
        if self.low > WINDOW_MASK {
            self.low &= WINDOW_MASK;
            for byte in self.out.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
    }
}

impl Coder for RangeEncoder {
    const ENCODING: bool = true;

    #[inline]
    fn decide(&mut self, yes: u32, scale: u32, decision: bool) -> bool {
        steps::took(1);
        let bound = (self.range >> scale) * u64::from(yes);
        if decision {
            self.range = bound;
        } else {
            self.low += bound;
            self.range -= bound;
            self.carry();
        }
        while self.range < RANGE_LEAST {
            self.out.push((self.low >> (WINDOW_BITS - 8)) as u8);
            self.low = (self.low << 8) & WINDOW_MASK;
            self.range <<= 8;
        }
        decision
    }

    fn bytes(&self) -> usize {
        self.out.len()
    }

    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Bytes to decisions. Behind the end of its input it reads zeros, of which [`IMPLIED_ZEROS_MAX`] may be meant.
pub(crate) struct RangeDecoder<'a> {
    code: u64,
    range: u64,
    input: &'a [u8],
    read: usize,
}

/// Where a decoder stands in its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecoderState {
    code: u64,
    range: u64,
    read: usize,
}

impl<'a> RangeDecoder<'a> {
    pub(crate) fn new(input: &'a [u8]) -> RangeDecoder<'a> {
        let mut decoder = RangeDecoder { code: 0, range: 1 << WINDOW_BITS, input, read: 0 };
        (0..WINDOW_BYTES).for_each(|_| decoder.shift());
        decoder
    }

    /// Where it stands, to go on from later.
    pub(crate) fn state(&self) -> DecoderState {
        DecoderState { code: self.code, range: self.range, read: self.read }
    }

    /// Goes on in the same input.
    pub(crate) fn resume(input: &'a [u8], state: DecoderState) -> RangeDecoder<'a> {
        RangeDecoder { code: state.code, range: state.range, input, read: state.read }
    }

    /// The whole input was read, and not much more.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        self.check()?;
        if self.read < self.input.len() { Err(DecodeError::Trailing) } else { Ok(()) }
    }

    #[inline]
    fn shift(&mut self) {
        let byte = self.input.get(self.read).copied().unwrap_or(0);
        self.code = (self.code << 8) | u64::from(byte);
        self.read = self.read.saturating_add(1);
    }
}

impl Coder for RangeDecoder<'_> {
    const ENCODING: bool = false;

    #[inline]
    fn decide(&mut self, yes: u32, scale: u32, _: bool) -> bool {
        steps::took(1);
        let bound = (self.range >> scale) * u64::from(yes);
        let decision = self.code < bound;
        if decision {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        while self.range < RANGE_LEAST {
            self.range <<= 8;
            self.shift();
        }
        decision
    }

    fn bytes(&self) -> usize {
        self.read - WINDOW_BYTES
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.read > self.input.len() + IMPLIED_ZEROS_MAX { Err(DecodeError::Truncated) } else { Ok(()) }
    }
}

/// Logits are in 256ths, from -[`LOGIT_MAX`] to [`LOGIT_MAX`].
pub(crate) const LOGIT_MAX: i32 = 2047;

/// The logistic function at every 32nd logit from -2048, in 65536ths, kept off 0 and 1.
#[rustfmt::skip]
pub(crate) static SQUASH_KNOTS: [u16; 129] = [
    24, 25, 28, 32, 36, 41, 47, 53, 60, 68, 77, 87, 98, 111, 126, 143,
    162, 184, 208, 236, 267, 302, 342, 387, 439, 497, 562, 636, 720, 815, 922, 1042,
    1179, 1333, 1506, 1701, 1921, 2168, 2446, 2758, 3108, 3500, 3938, 4427, 4971, 5577, 6249, 6992,
    7812, 8714, 9702, 10782, 11955, 13226, 14595, 16062, 17625, 19282, 21025, 22849, 24743, 26695, 28693, 30723,
    32768, 34813, 36843, 38841, 40793, 42687, 44511, 46254, 47911, 49474, 50941, 52310, 53581, 54754, 55834, 56822,
    57724, 58544, 59287, 59959, 60565, 61109, 61598, 62036, 62428, 62778, 63090, 63368, 63615, 63835, 64030, 64203,
    64357, 64494, 64614, 64721, 64816, 64900, 64974, 65039, 65097, 65149, 65194, 65234, 65269, 65300, 65328, 65352,
    65374, 65393, 65410, 65425, 65438, 65449, 65459, 65468, 65476, 65483, 65489, 65495, 65500, 65504, 65508, 65511,
    65512,
];

static STRETCH: [i16; 4096] = stretch_table();

/// The chance, in 65536ths, of a logit: a straight line between two knots.
pub(crate) const fn squash(logit: i32) -> u16 {
    let logit = if logit > LOGIT_MAX {
        LOGIT_MAX
    } else if logit < -LOGIT_MAX {
        -LOGIT_MAX
    } else {
        logit
    };
    let at = (logit + 2048) as usize;
    #[allow(clippy::indexing_slicing, reason = "the logit is within its bounds: at / 32 is at most 127")]
    let (low, high) = (SQUASH_KNOTS[at / 32] as u32, SQUASH_KNOTS[at / 32 + 1] as u32);
    (low + ((high - low) * (at as u32 % 32) + 16) / 32) as u16
}

/// The logit of a chance: the last one whose chance is not above it, to 12 bits.
pub(crate) fn stretch(chance: u16) -> i32 {
    i32::from(STRETCH.get(usize::from(chance >> 4)).copied().unwrap_or(0))
}

const fn stretch_table() -> [i16; 4096] {
    let mut table = [0; 4096];
    let (mut filled, mut logit) = (0, -LOGIT_MAX);
    while logit <= LOGIT_MAX {
        let chance = (squash(logit) >> 4) as usize;
        while filled <= chance {
            #[allow(
                clippy::indexing_slicing,
                reason = "a chance shifted by 4 is below 4096; evaluated when compiled"
            )]
            {
                table[filled] = logit as i16;
            }
            filled += 1;
        }
        logit += 1;
    }
    while filled < table.len() {
        #[allow(clippy::indexing_slicing, reason = "the loop ends at the length; evaluated when compiled")]
        {
            table[filled] = LOGIT_MAX as i16;
        }
        filled += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Decisions come back whatever their chances, and the input is used up.
        #[test]
        fn decisions_come_back(decisions in prop::collection::vec((1u32..65536, any::<bool>()), 0..600)) {
            let mut encoder = RangeEncoder::new();
            for (yes, decision) in &decisions {
                encoder.decide(*yes, 16, *decision);
            }
            let bytes = encoder.finish();
            let mut decoder = RangeDecoder::new(&bytes);
            for (yes, decision) in &decisions {
                prop_assert_eq!(decoder.decide(*yes, 16, false), *decision);
                prop_assert_eq!(decoder.check(), Ok(()));
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
        }
    }

    /// Proves that `steps.json`, the vectors of the parts alone, is what this coder does: values of both functions, decisions to bytes,
    /// and that the decisions of three deltas make their bytes, which they do with these chances only.
    #[test]
    fn the_parts_alone_are_as_the_vectors_have_them() {
        let load = |name: &str| -> serde_json::Value {
            let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let (steps, deltas) = (load("steps.json"), load("deltas.json"));
        let number = |value: &serde_json::Value| value.as_i64().unwrap();
        for pair in steps["squash"].as_array().unwrap() {
            assert_eq!(i64::from(squash(number(&pair[0]) as i32)), number(&pair[1]));
        }
        for pair in steps["stretch"].as_array().unwrap() {
            assert_eq!(i64::from(stretch(number(&pair[0]) as u16)), number(&pair[1]));
        }
        // A decision ends with chance, scale and answer.
        let coded = |decisions: &serde_json::Value| {
            let mut encoder = RangeEncoder::new();
            for decision in decisions.as_array().unwrap() {
                let [.., yes, scale, answer] = decision.as_array().unwrap().as_slice() else { panic!() };
                encoder.decide(number(yes) as u32, number(scale) as u32, number(answer) == 1);
            }
            encoder.finish().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        for case in steps["coder"].as_array().unwrap() {
            assert_eq!(coded(&case["decisions"]), case["hex"], "{}", case["about"]);
        }
        for walk in steps["walks"].as_array().unwrap() {
            let delta = &deltas.pointer(walk["delta"].as_str().unwrap()).unwrap()["delta"];
            let content = coded(&walk["decisions"]);
            assert_eq!(*delta, format!("{:02x}{content}", 0x40 + content.len() / 2), "{}", walk["about"]);
        }
    }

    #[test]
    fn the_tables_are_each_others_inverse() {
        assert_eq!((squash(0), stretch(32768)), (32768, 0));
        for logit in -1500..1500 {
            assert!((stretch(squash(logit)) - logit).abs() <= 1 + logit.abs() / 4, "{logit}");
            assert!(squash(logit) <= squash(logit + 1));
        }
    }
}
