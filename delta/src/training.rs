//! Learning the priors: what each slot's decisions were, over many changes.
//!
//! Only for `examples/train.rs`; outside of the interface that the crate promises.

use crate::entropy::{Coder, RangeEncoder};
use crate::op::Delta;
use crate::pack::Packer;
use crate::priors::UNKNOWN;
use crate::slots::SLOTS;
use crate::{Context, DecodeError, Value};
use std::fmt::Write;

/// What was learned so far.
pub struct Training {
    /// Weight of the no and of the yes of each slot.
    seen: Vec<(f64, f64)>,
    mixer: Vec<i32>,
}

/// An encoder that counts the decisions of each slot.
struct CountingCoder<'t> {
    encoder: RangeEncoder,
    seen: &'t mut [(f64, f64)],
    weight: f64,
}

impl Coder for CountingCoder<'_> {
    const ENCODING: bool = true;

    fn decide(&mut self, yes: u32, scale: u32, decision: bool) -> bool {
        self.encoder.decide(yes, scale, decision)
    }

    fn bytes(&self) -> usize {
        self.encoder.bytes()
    }

    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn note(&mut self, slot: usize, decision: bool) {
        if let Some(seen) = self.seen.get_mut(slot) {
            if decision { seen.1 += self.weight } else { seen.0 += self.weight }
        }
    }
}

impl Default for Training {
    fn default() -> Training {
        Training::new()
    }
}

impl Training {
    /// Nothing seen; the mixer as it is built in.
    pub fn new() -> Training {
        let mixer = crate::priors::WEIGHTS.iter().map(|weight| i32::from(*weight) << 8).collect();
        Training { seen: vec![(0.0, 0.0); SLOTS], mixer }
    }

    /// Watches one change being packed, and counts it with a weight.
    pub fn watch(&mut self, base: &Value, delta: &Delta, context: &Context, weight: f64) {
        let coder = CountingCoder { encoder: RangeEncoder::new(), seen: &mut self.seen, weight };
        let mut packer = Packer::new(coder, base, context);
        packer.mixer().copy_from_slice(&self.mixer);
        packer.delta(Some(delta)).expect("a delta fits the base it was made for");
        for (learned, now) in self.mixer.iter_mut().zip(packer.mixer()) {
            *learned += (*now - *learned) / 3;
        }
    }

    /// The source of `priors.rs`.
    pub fn source(&self) -> String {
        let logits = self.seen.iter().map(|(no, yes)| {
            let total = no + yes;
            if total < 0.3 {
                return i32::from(UNKNOWN);
            }
            let yes = (yes + 0.4) / (total + 0.8);
            ((yes / (1.0 - yes)).ln() * 16.0).round().clamp(-127.0, 127.0) as i32
        });
        let weights = self.mixer.iter().map(|weight| weight >> 8);
        let mut source = String::from(HEAD);
        table(&mut source, "The logit of each slot's chance, in 16ths.", "LOGITS: [i8; SLOTS]", logits);
        source.push('\n');
        let name = format!("WEIGHTS: [i16; {}]", self.mixer.len());
        table(
            &mut source,
            "The weight of each input of the text model's mixer, in 256ths, set by set.",
            &name,
            weights,
        );
        source
    }
}

const HEAD: &str = "\
//! Where the model starts: written by `examples/train.rs`, which documents how to run it.
//!
//! Part of the format: any change is a new version of the codec.

use crate::slots::SLOTS;

/// A slot that no training saw.
pub(crate) const UNKNOWN: i8 = i8::MIN;

";

fn table(source: &mut String, doc: &str, name: &str, numbers: impl Iterator<Item = i32>) {
    let _ = write!(source, "/// {doc}\n#[rustfmt::skip]\npub(crate) static {name} = [");
    let mut column = usize::MAX;
    for number in numbers {
        let text = format!("{number},");
        if column > 110 {
            source.push_str("\n   ");
            column = 3;
        }
        column += text.len() + 1;
        let _ = write!(source, " {text}");
    }
    source.push_str("\n];\n");
}
