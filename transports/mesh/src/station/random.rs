//! All the randomness of a station comes of one seed.

use std::fmt;

/// A stream of random bytes.
pub(super) struct StationRandom(blake3::OutputReader);

impl StationRandom {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        StationRandom(
            blake3::Hasher::new_derive_key("tombolo 2026 radio station seed 1").update(seed).finalize_xof(),
        )
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    /// Below `bound`; 0 for a bound of 0. For waits: the slight bias is of no account.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        u64::from_be_bytes(self.bytes()) % bound.max(1)
    }
}

impl fmt::Debug for StationRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}
