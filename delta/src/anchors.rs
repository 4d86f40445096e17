//! Where two long lists run alike, found from a sample of their items: a list of very short lines takes less memory
//! than a table of them would.
//!
//! Of every [`WINDOW`] neighbours the one is taken whose hash, with those of the items before it, is least (winnowing,
//! Schleimer, Wilkerson and Aiken 2003), so a run that both lists hold has the same samples in both, wherever it stands.
//! They are aligned as lists are; what lies between two of them is short and aligned exactly.

use crate::list::Items;
use crate::steps;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// So many neighbours hold at least one sample.
const WINDOW: usize = 32;
/// A sample stands for so many items, itself the last: lists of few values have few alike.
const GRAM: usize = 16;

/// The samples of a list, in its order.
pub(crate) struct Samples {
    /// Where each one stands.
    places: Vec<u32>,
    /// The hash of it and the items before it.
    grams: Vec<u32>,
}

impl Samples {
    pub(crate) fn of<I: Items + ?Sized>(items: &I, range: std::ops::Range<usize>) -> Samples {
        // Two of thirty-three are taken where hashes are like dice.
        let room = range.len() / 15 + 1;
        let mut samples = Samples { places: Vec::with_capacity(room), grams: Vec::with_capacity(room) };
        let mut last = VecDeque::with_capacity(GRAM + 1);
        let mut window: VecDeque<(u32, u32)> = VecDeque::with_capacity(WINDOW + 1);
        let mut least = None;
        for at in range {
            last.push_back(hash(items.identity(at)));
            if last.len() > GRAM {
                last.pop_front();
            }
            let sample = (gram(&last), at as u32);
            window.push_back(sample);
            let mut is_gone = false;
            if window.len() > WINDOW {
                is_gone = window.pop_front() == least;
            }
            let before = least;
            if is_gone || least.is_none_or(|least| sample.0 < least.0) {
                // Of those alike the last: it stays for longest.
                least = window.iter().rev().min_by_key(|(gram, _)| *gram).copied();
            }
            if window.len() == WINDOW && (least != before || samples.places.is_empty()) {
                samples.places.extend(least.map(|(_, place)| place));
                samples.grams.extend(least.map(|(gram, _)| gram));
            }
        }
        samples
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where a sample stands in its list.
    pub(crate) fn place(&self, sample: u32) -> Option<u32> {
        self.places.get(sample as usize).copied()
    }
}

impl Items for Samples {
    type Identity = u32;

    fn len(&self) -> usize {
        self.len()
    }

    fn identity(&self, at: usize) -> Option<&u32> {
        self.grams.get(at)
    }

    fn is_near(&self, _: usize, _: &Self, _: usize) -> bool {
        false
    }
}

fn gram(hashes: &VecDeque<u64>) -> u32 {
    let sum = hashes.iter().fold(0u64, |sum, hash| sum.wrapping_mul(SPREAD).wrapping_add(*hash));
    (sum.wrapping_mul(SPREAD) >> 32) as u32
}

/// The same on every run, unlike those of the standard library, so that a delta has the same bytes each time.
pub(crate) fn hash<T: Hash + ?Sized>(value: Option<&T>) -> u64 {
    let mut hasher = Fold(0xCBF2_9CE4_8422_2325);
    value.hash(&mut hasher);
    let folded = hasher.finish();
    (folded ^ folded >> 29).wrapping_mul(SPREAD)
}

const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Folds eight bytes at a time.
struct Fold(u64);

impl Fold {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x2545_F491_4F6C_DD1D);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        steps::bytes(bytes.len());
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(word.try_into().map_or(0, u64::from_le_bytes));
        }
        let rest = words.remainder().iter().rev().fold(0, |rest, byte| rest << 8 | u64::from(*byte));
        self.word(rest);
    }

    fn write_u8(&mut self, number: u8) {
        self.word(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.word(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    fn items(values: impl Iterator<Item = u64>) -> Vec<Value> {
        values.map(Value::from).collect()
    }

    fn samples(list: &[Value]) -> Samples {
        Samples::of(list, 0..list.len())
    }

    /// A run of both lists that is long enough has the same samples in both, shifted.
    #[test]
    fn a_shared_run_has_the_same_samples_wherever_it_stands() {
        let run = || (0..2000).map(|n: u64| n.wrapping_mul(SPREAD) >> 60);
        let (base, target) = (items(run()), items((100..137).chain(run())));
        let (base, target) = (samples(&base), samples(&target));
        let inner = |samples: &Samples, shift: u32| -> Vec<(u32, u32)> {
            let all = samples.places.iter().zip(&samples.grams).map(|(place, gram)| (*place, *gram));
            let all = all.filter_map(|(place, gram)| Some((place.checked_sub(shift)?, gram)));
            all.filter(|(place, _)| *place >= (WINDOW + GRAM) as u32).collect()
        };
        assert_eq!(inner(&base, 0), inner(&target, 37));
        assert!((2000 / WINDOW..2000 / 12).contains(&base.len()), "{}", base.len());
    }

    #[test]
    fn a_list_of_one_value_is_sampled_once_a_window() {
        let list = items((0..1000).map(|_| 7));
        let count = samples(&list).len();
        assert!((1000 / WINDOW - 2..=1000 / WINDOW + GRAM).contains(&count), "{count}");
    }
}
