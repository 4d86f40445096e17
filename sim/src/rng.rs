//! The randomness of simulations and tests: one seed, one stream.

use tombolo::random::Random;
use tombolo::time::Millis;

/// Draws from the stream of a seed; not for keys outside of tests.
#[derive(Debug)]
pub struct Rng(Random);

impl Rng {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key.split_at_mut(8).0.copy_from_slice(&seed.to_le_bytes());
        Rng(Random::new(&key))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        u64::from_le_bytes(self.0.bytes())
    }

    /// The next 32 bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        self.0.bytes()
    }

    /// As many bytes as `len`.
    pub fn byte_vec(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.bits() as u8).collect()
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A length of time from `shortest` to `longest`, both included.
    pub fn length(&mut self, shortest: Millis, longest: Millis) -> Millis {
        Millis::from_ms(self.between(shortest.ms(), longest.ms()))
    }

    /// A length of time below `bound`; none if `bound` is none.
    pub fn length_below(&mut self, bound: Millis) -> Millis {
        Millis::from_ms(self.below(bound.ms()))
    }

    /// An index below `len`; 0 if `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// One of the items, unless there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// The items in another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.index(i + 1));
        }
    }
}

/// A second stream (xorshift), for the benches: their recorded figures were drawn from it.
#[derive(Debug)]
pub struct XorShift(u64);

impl XorShift {
    /// The stream of a seed, which is not 0.
    pub fn new(seed: u64) -> Self {
        debug_assert_ne!(seed, 0, "xorshift of 0 stays 0");
        XorShift(seed)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(1_000_000) < u64::from(percent) * 10_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_alike_and_draws_stay_in_their_range() {
        let (mut a, mut b, mut c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        assert_eq!((a.bits(), a.bytes32()), (b.bits(), b.bytes32()));
        assert_ne!(a.bits(), c.bits());
        for _ in 0..1000 {
            assert!((3..=8).contains(&a.between(3, 8)));
            assert!(a.index(5) < 5);
        }
        assert_eq!((a.below(0), a.pick::<u8>(&[])), (0, None));
    }
}
