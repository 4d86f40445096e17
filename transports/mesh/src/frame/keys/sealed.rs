//! An audience key on its way to its readers: one ephemeral X25519 key, then 24 bytes per reader.
//!
//! A slot names no reader; a reader tries each. Slots are in order of their bytes, so that their order reveals nothing
//! either. What carries it is a signed document of the owner: nothing here proves who sealed it.

use super::{AudienceKey, Identity, KEY_BYTES, agree, agreement_key};
use crate::frame::{TAG_BYTES, open_bytes, seal_bytes};
use crate::peer::PeerId;
use curve25519_dalek::MontgomeryPoint;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Bytes per reader: the key and a tag.
pub const SLOT_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Most readers of one audience; more are refused, and a longer document is refused unread.
pub const READERS_MAX: usize = 1_024;

const EPHEMERAL_CONTEXT: &str = "tombolo 2026 radio sealed ephemeral 1";
const SLOT_CONTEXT: &str = "tombolo 2026 radio sealed slot 1";
/// A slot key seals one key only, so that its nonce never changes.
const NONCE: u32 = 0;

/// Why keys were not sealed, or are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// That identity is no usable ed25519 key.
    #[error("{0} is no usable key")]
    Reader(PeerId),
    /// There are more readers than [`READERS_MAX`].
    #[error("{readers} readers; at most {READERS_MAX}")]
    TooMany {
        /// How many there were.
        readers: usize,
    },
    /// Not an ephemeral key and whole slots.
    #[error("{bytes} bytes are no sealed keys")]
    Length {
        /// How many there were.
        bytes: usize,
    },
}

/// An audience key, sealed for each reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKeys {
    ephemeral: [u8; 32],
    slots: Vec<[u8; SLOT_BYTES]>,
}

impl SealedKeys {
    /// 32 bytes and 24 per reader.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.ephemeral.iter().chain(self.slots.iter().flatten()).copied().collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`SealError`] for a length that no number of readers has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let length = SealError::Length { bytes: bytes.len() };
        let (ephemeral, slots) = bytes.split_first_chunk().ok_or(length)?;
        if slots.len() % SLOT_BYTES != 0 {
            return Err(length);
        }
        let readers = slots.len() / SLOT_BYTES;
        if readers > READERS_MAX {
            return Err(SealError::TooMany { readers });
        }
        let slots = slots.chunks_exact(SLOT_BYTES).filter_map(|slot| slot.try_into().ok()).collect();
        Ok(SealedKeys { ephemeral: *ephemeral, slots })
    }

    /// How many readers it is for.
    pub fn readers(&self) -> usize {
        self.slots.len()
    }
}

/// Seals `key` of `owner` for each of `readers`, with 32 random bytes for the ephemeral key. The same randomness with
/// another key, owner or epoch makes another ephemeral key, so that a source that repeats itself reveals nothing.
///
/// # Errors
/// [`SealError`] where there are too many readers, or one of them is no usable key.
pub fn seal_for_readers(
    key: &AudienceKey,
    owner: &PeerId,
    readers: &BTreeSet<PeerId>,
    ephemeral_secret: &[u8; 32],
) -> Result<SealedKeys, SealError> {
    if readers.len() > READERS_MAX {
        return Err(SealError::TooMany { readers: readers.len() });
    }
    let mut hasher = blake3::Hasher::new_derive_key(EPHEMERAL_CONTEXT);
    hasher.update(ephemeral_secret).update(&key.key).update(&key.epoch.to_be_bytes());
    let secret: Zeroizing<[u8; 32]> = Zeroizing::new(super::first(hasher.update(owner.as_bytes())));
    let ephemeral = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
    let mut slots = Vec::with_capacity(readers.len());
    for reader in readers {
        let to = agreement_key(reader).ok_or(SealError::Reader(*reader))?;
        let shared = agree(&secret, &to).ok_or(SealError::Reader(*reader))?;
        let slot = slot_key(&shared, &ephemeral, &to);
        let sealed = seal_bytes(&slot, NONCE, &about(owner, key.epoch), &key.key);
        slots.push(sealed.try_into().map_err(|_| SealError::Reader(*reader))?);
    }
    slots.sort_unstable();
    Ok(SealedKeys { ephemeral, slots })
}

/// The key of `owner` that is sealed for us, if one slot is ours.
pub fn open_sealed(us: &Identity, owner: &PeerId, epoch: u32, sealed: &SealedKeys) -> Option<AudienceKey> {
    let shared = agree(&us.agreement_secret(), &sealed.ephemeral)?;
    let slot = slot_key(&shared, &sealed.ephemeral, &agreement_key(&us.peer_id())?);
    let about = about(owner, epoch);
    let opened = sealed.slots.iter().find_map(|bytes| open_bytes(&slot, NONCE, &about, bytes))?;
    let key = Zeroizing::new(opened);
    Some(AudienceKey { epoch, key: key.as_slice().try_into().ok()? })
}

fn slot_key(shared: &[u8; 32], ephemeral: &[u8; 32], to: &[u8; 32]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut hasher = blake3::Hasher::new_derive_key(SLOT_CONTEXT);
    Zeroizing::new(super::first(hasher.update(shared).update(ephemeral).update(to)))
}

/// What a slot is bound to: the owner, 32 bytes, and the key's epoch.
fn about(owner: &PeerId, epoch: u32) -> Vec<u8> {
    owner.as_bytes().iter().copied().chain(epoch.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> AudienceKey {
        AudienceKey { epoch: 9, key: [0x5a; 16] }
    }

    fn sealed(readers: u8) -> (Vec<Identity>, PeerId, SealedKeys) {
        let readers: Vec<_> = (1..=readers).map(|seed| Identity::from_seed(&[seed; 32])).collect();
        let owner = Identity::from_seed(&[99; 32]).peer_id();
        let ids = readers.iter().map(Identity::peer_id).collect();
        let sealed = seal_for_readers(&key(), &owner, &ids, &[3; 32]).unwrap();
        (readers, owner, sealed)
    }

    #[test]
    fn each_reader_opens_it_and_nobody_else() {
        let (readers, owner, sealed) = sealed(5);
        assert_eq!(sealed.to_bytes().len(), 32 + 5 * 24);
        for reader in &readers {
            assert_eq!(open_sealed(reader, &owner, 9, &sealed), Some(key()));
            assert_eq!(open_sealed(reader, &owner, 8, &sealed), None);
            assert_eq!(open_sealed(reader, &reader.peer_id(), 9, &sealed), None);
        }
        assert_eq!(open_sealed(&Identity::from_seed(&[50; 32]), &owner, 9, &sealed), None);
    }

    #[test]
    fn repeated_randomness_never_seals_two_keys_under_one() {
        let (readers, owner, first) = sealed(1);
        let ids = BTreeSet::from([readers[0].peer_id()]);
        let renewed = AudienceKey { epoch: 10, key: [0x5b; 16] };
        let second = seal_for_readers(&renewed, &owner, &ids, &[3; 32]).unwrap();
        assert_ne!(first.ephemeral, second.ephemeral);
    }

    #[test]
    fn an_unusable_reader_is_named() {
        let nobody = PeerId([0; 32]);
        let owner = Identity::from_seed(&[99; 32]).peer_id();
        let readers = BTreeSet::from([nobody]);
        assert_eq!(seal_for_readers(&key(), &owner, &readers, &[3; 32]), Err(SealError::Reader(nobody)));
    }

    proptest! {
        #[test]
        fn changed_bytes_open_nothing_but_what_was_sealed(at in 0..104_usize, bit in 0..8_u8) {
            let (readers, owner, sealed) = sealed(3);
            let mut bytes = sealed.to_bytes();
            bytes[at] ^= 1 << bit;
            let changed = SealedKeys::from_bytes(&bytes).unwrap();
            let opened = readers.iter().filter_map(|reader| open_sealed(reader, &owner, 9, &changed));
            let opened: Vec<_> = opened.collect();
            // Only the reader whose slot changed is shut out; all of them if the ephemeral key changed (its top bit,
            // which X25519 ignores, counts through the slot key).
            prop_assert_eq!(opened.len(), if at < 32 { 0 } else { 2 });
            prop_assert!(opened.iter().all(|opened| *opened == key()));
        }

        #[test]
        fn any_bytes_are_refused_or_read_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(sealed) = SealedKeys::from_bytes(&bytes) {
                prop_assert_eq!(sealed.to_bytes(), bytes);
            }
        }
    }
}
