//! What only two identities know, with no handshake: a key per direction that authenticates, and a channel of two.
//!
//! Both come from the static X25519 of both identities, so that they are there before any message, and after everything
//! else was lost. A thief of one of the two identities knows them, for the past as well.
//!
//! A [`PairKey`] proves the sender to *one* listener, who could have made the tag itself, and so proves nothing to a third.
//! It stands in for a signature between two signed states only (`radio.sign_every`). A [`PairChannel`] is an audience of two:
//! what only one may read goes there, sealed like any frame.

use super::{AudienceKey, Identity, KEY_BYTES};
use crate::peer::PeerId;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Length of a pairwise tag.
pub const PAIR_TAG_BYTES: usize = 4;

const PAIR_CONTEXT: &str = "tombolo 2026 radio pair key 1";
const CHANNEL_CONTEXT: &str = "tombolo 2026 radio pair channel 1";
const CHANNEL_NAME_CONTEXT: &str = "tombolo 2026 radio pair channel name 1";
const TAG_CONTEXT: &str = "tombolo 2026 radio pair tag 1";

/// Authenticates what one identity sends to another. Wiped when dropped.
#[derive(Clone)]
pub struct PairKey([u8; KEY_BYTES]);

impl PairKey {
    /// For what we send to `listener`; `None` if that key is unusable.
    pub fn sending(us: &Identity, listener: &PeerId) -> Option<Self> {
        Self::derive(us, listener, &us.peer_id(), listener)
    }

    /// For what `speaker` sends to us; `None` if that key is unusable.
    pub fn receiving(us: &Identity, speaker: &PeerId) -> Option<Self> {
        Self::derive(us, speaker, speaker, &us.peer_id())
    }

    fn derive(us: &Identity, other: &PeerId, from: &PeerId, to: &PeerId) -> Option<Self> {
        let mut hasher = blake3::Hasher::new_derive_key(PAIR_CONTEXT);
        hasher.update(&*us.agree(other)?).update(from.as_bytes()).update(to.as_bytes());
        Some(PairKey(super::first(&mut hasher)))
    }

    /// The 16 bytes, for vectors.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl Drop for PairKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKey")
    }
}

/// An audience of two. Which of them sends is in each frame's key, as in any audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairChannel {
    /// What a station calls it, in place of an owner: no identity, and no secret.
    pub name: PeerId,
    /// Its key, of epoch 0 for ever.
    pub key: AudienceKey,
}

impl PairChannel {
    /// Ours with another identity, the same seen from both sides; `None` if that one's key is unusable.
    pub fn new(us: &Identity, other: &PeerId) -> Option<Self> {
        let me = us.peer_id();
        let both = [me.min(*other), me.max(*other)];
        let named = |hasher: &mut blake3::Hasher| {
            both.iter().for_each(|peer| {
                hasher.update(peer.as_bytes());
            });
        };
        let mut key = blake3::Hasher::new_derive_key(CHANNEL_CONTEXT);
        key.update(&*us.agree(other)?);
        named(&mut key);
        let mut name = blake3::Hasher::new_derive_key(CHANNEL_NAME_CONTEXT);
        named(&mut name);
        let key = AudienceKey { epoch: 0, key: super::first(&mut key) };
        Some(PairChannel { name: PeerId(super::first(&mut name)), key })
    }
}

/// The tag of `bytes` for one listener. A forger's chance is 2^-32 a try: enough for a value that is shown as
/// provisional, not for anything that acts.
pub fn pair_tag(key: &PairKey, bytes: &[u8]) -> [u8; PAIR_TAG_BYTES] {
    super::first(blake3::Hasher::new_derive_key(TAG_CONTEXT).update(&key.0).update(bytes))
}

/// Whether `tag` is that of `bytes`, in constant time.
pub fn pair_tag_holds(key: &PairKey, bytes: &[u8], tag: &[u8; PAIR_TAG_BYTES]) -> bool {
    pair_tag(key, bytes).ct_eq(tag).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_holds_for_its_pair_and_direction_only() {
        let [a, b, c] = [1, 2, 3].map(|seed| Identity::from_seed(&[seed; 32]));
        let to_b = PairKey::sending(&a, &b.peer_id()).unwrap();
        let tag = pair_tag(&to_b, b"up 3");
        let from_a = PairKey::receiving(&b, &a.peer_id()).unwrap();
        assert!(pair_tag_holds(&from_a, b"up 3", &tag));
        assert!(!pair_tag_holds(&from_a, b"up 4", &tag));
        let back = PairKey::sending(&b, &a.peer_id()).unwrap();
        assert!(!pair_tag_holds(&back, b"up 3", &tag));
        let overheard = PairKey::receiving(&c, &a.peer_id()).unwrap();
        assert!(!pair_tag_holds(&overheard, b"up 3", &tag));
    }

    #[test]
    fn a_channel_of_two_is_the_same_for_both_and_for_nobody_else() {
        let [a, b, c] = [1, 2, 3].map(|seed| Identity::from_seed(&[seed; 32]));
        let ours = PairChannel::new(&a, &b.peer_id()).unwrap();
        assert_eq!(Some(&ours), PairChannel::new(&b, &a.peer_id()).as_ref());
        for (us, other) in [(&a, &c), (&c, &a), (&c, &b)] {
            let another = PairChannel::new(us, &other.peer_id()).unwrap();
            assert!(another.name != ours.name && another.key != ours.key);
        }
    }
}
