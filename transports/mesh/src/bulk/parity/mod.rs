//! Reed-Solomon parity over the fragments of a block.
//!
//! A block is up to 64 data fragments of one length; from them come 192 parity fragments, and **any** as many of
//! the 256 as there are data fragments give the block back. Sender and receiver always use the code with 192
//! parity fragments, of which a prefix is sent: so a later one can be sent to any listener that lacks *something*, and
//! serves listeners that lack different ones. The code is Leopard's, over GF(2^16) (crate `reed-solomon-simd`):
//! fragments have an even length. It finds no corruption; that is the work of the frame's tag and of the
//! message's print.
//!
//! How many to send is in [`plan`].

pub mod plan;

pub use plan::Plan;

use reed_solomon_simd::{Error, ReedSolomonDecoder, ReedSolomonEncoder};
use std::collections::BTreeMap;

/// Data fragments of a block: as many as a bitmap of 8 bytes names.
pub const BLOCK_FRAGMENTS_MAX: usize = 64;
/// Parity fragments that a block can have; with 64 of data they fill the one byte of the index.
pub const PARITY_MAX: usize = 192;

/// Why a block could not be given parity, or back: our own fault or too early, never a reason to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FecError {
    /// The fragments are not of one even length, or too many, or none.
    #[error("{fragments} fragments of {fragment_bytes} bytes make no block")]
    Shape {
        /// Data fragments of the block.
        fragments: usize,
        /// Length of one fragment in bytes.
        fragment_bytes: usize,
    },
    /// Too few fragments are there yet.
    #[error("{held} of {fragments} fragments")]
    TooFew {
        /// Fragments held, data and parity.
        held: usize,
        /// Data fragments of the block.
        fragments: usize,
    },
}

/// The parity fragment `number` (below [`PARITY_MAX`]) of the block `data`, which is whole fragments of
/// `fragment_bytes` in a row.
///
/// Encodes the block again at each call: some 50 microseconds, against 48 kB to keep all of them.
///
/// # Errors
/// [`FecError::Shape`].
pub fn parity(data: &[u8], fragment_bytes: usize, number: usize) -> Result<Vec<u8>, FecError> {
    let fragments = data.len().checked_div(fragment_bytes).unwrap_or(0);
    let shape = FecError::Shape { fragments, fragment_bytes };
    if fragments == 0 || fragments > BLOCK_FRAGMENTS_MAX || data.len() != fragments * fragment_bytes {
        return Err(shape);
    }
    let encode = || -> Result<Option<Vec<u8>>, Error> {
        let mut encoder = ReedSolomonEncoder::new(fragments, PARITY_MAX, fragment_bytes)?;
        data.chunks(fragment_bytes).try_for_each(|fragment| encoder.add_original_shard(fragment))?;
        Ok(encoder.encode()?.recovery(number).map(<[u8]>::to_vec))
    };
    encode().ok().flatten().ok_or(shape)
}

/// The data of a block of `fragments`, from any as many of its fragments: `held` by index, data first (below
/// `fragments`), then parity.
///
/// # Errors
/// [`FecError::TooFew`] while there are not enough, [`FecError::Shape`] where they do not fit each other.
pub fn restore(
    fragments: usize,
    fragment_bytes: usize,
    held: &BTreeMap<u8, Box<[u8]>>,
) -> Result<Vec<u8>, FecError> {
    if held.len() < fragments {
        return Err(FecError::TooFew { held: held.len(), fragments });
    }
    if held.values().any(|fragment| fragment.len() != fragment_bytes) {
        return Err(FecError::Shape { fragments, fragment_bytes });
    }
    let data = || held.iter().filter(|(index, _)| usize::from(**index) < fragments);
    if data().count() == fragments {
        return Ok(data().flat_map(|(_, fragment)| fragment.iter().copied()).collect());
    }
    decode(fragments, fragment_bytes, held).map_err(|_| FecError::Shape { fragments, fragment_bytes })
}

fn decode(fragments: usize, fragment_bytes: usize, held: &BTreeMap<u8, Box<[u8]>>) -> Result<Vec<u8>, Error> {
    let mut decoder = ReedSolomonDecoder::new(fragments, PARITY_MAX, fragment_bytes)?;
    for (index, fragment) in held {
        match usize::from(*index).checked_sub(fragments) {
            None => decoder.add_original_shard(usize::from(*index), fragment)?,
            Some(number) => decoder.add_recovery_shard(number, fragment)?,
        }
    }
    let restored = decoder.decode()?;
    let mut block = Vec::with_capacity(fragments * fragment_bytes);
    for index in 0..fragments {
        let here = u8::try_from(index).ok().and_then(|index| held.get(&index)).map(AsRef::as_ref);
        block.extend_from_slice(here.or(restored.restored_original(index)).unwrap_or_default());
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(fragments: usize, fragment_bytes: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; fragments * fragment_bytes];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any as many fragments as there are of data give the block back; one fewer does not.
        #[test]
        fn any_sufficiently_many_fragments_give_the_block(
            fragments in 1..=BLOCK_FRAGMENTS_MAX,
            half_bytes in 4_usize..60,
            seed: u8,
            order in Just((0..=255_u8).collect::<Vec<u8>>()).prop_shuffle(),
        ) {
            let fragment_bytes = 2 * half_bytes;
            let data = block(fragments, fragment_bytes, seed);
            let mut held = BTreeMap::new();
            let usable = order.iter().filter(|index| usize::from(**index) < fragments + PARITY_MAX);
            for index in usable.take(fragments) {
                prop_assert!(restore(fragments, fragment_bytes, &held).is_err());
                let fragment = match usize::from(*index).checked_sub(fragments) {
                    None => data[usize::from(*index) * fragment_bytes..][..fragment_bytes].to_vec(),
                    Some(number) => parity(&data, fragment_bytes, number).unwrap(),
                };
                held.insert(*index, fragment.into_boxed_slice());
            }
            prop_assert_eq!(restore(fragments, fragment_bytes, &held), Ok(data));
        }
    }

    #[test]
    fn what_makes_no_block_is_refused() {
        assert!(parity(&[], 8, 0).is_err());
        assert!(parity(&[1; 9], 3, 0).is_err(), "an odd length");
        assert!(parity(&[1; 10], 4, 0).is_err(), "half a fragment");
        assert!(parity(&[1; 65 * 2], 2, 0).is_err(), "too many fragments");
        assert!(parity(&[1; 8], 4, PARITY_MAX).is_err(), "no such parity");
        let unequal = BTreeMap::from([(0, vec![1; 4].into()), (1, vec![1; 6].into())]);
        assert!(restore(2, 4, &unequal).is_err());
    }
}
