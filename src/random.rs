//! Randomness from one seed: a BLAKE3 output stream. The driver brings the seed, so a simulation replays
//! and a daemon is unpredictable.

/// A stream of random bytes.
pub struct Random(blake3::OutputReader);

impl Random {
    /// The stream of a 32-byte seed.
    pub fn new(seed: &[u8; 32]) -> Self {
        Random(blake3::Hasher::new_keyed(seed).update(b"tombolo randomness").finalize_xof())
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A number below `bound`, or 0 where that is 0. The bias is below 2^-32 for bounds below 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from_be_bytes(self.bytes()) % bound.max(1)
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}
