//! Audience keys, what is derived from them, boot epochs.
//!
//! Each owner has an [`AudienceKey`], known to the readers of its documents. From it come the two bytes and
//! the one that a frame's header carries in place of names, and, with the sender's identity and
//! [`BootEpoch`], the [`FrameKey`] that the frame is sealed under: two senders, two starts of one sender, or two
//! copies of one disk never share one. In clear mode no key shows which of several senders with one hint it was: a
//! [`SenderCheck`] does. [`sealed`] carries an audience key to its readers; [`pair`] holds what only two
//! identities know. Layouts are in `FORMAT.md`; frames are sealed in [`frame`](crate::frame).

pub mod pair;
pub mod sealed;

use crate::peer::PeerId;
use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::traits::IsIdentity;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Version of the frame format, part of every derived key.
pub const VERSION: u8 = 1;
/// Length of every symmetric key here (AES-128).
pub const KEY_BYTES: usize = 16;

const ALIAS_CONTEXT: &str = "tombolo 2026 radio audience alias 1";
const HINT_CONTEXT: &str = "tombolo 2026 radio sender hint 1";
const FRAME_KEY_CONTEXT: &str = "tombolo 2026 radio frame key 1";
const CLEAR_ALIAS_CONTEXT: &str = "tombolo 2026 radio clear alias 1";
const CLEAR_HINT_CONTEXT: &str = "tombolo 2026 radio clear hint 1";

/// How frames leave on a radio. Part of every frame key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Sealed under audience keys.
    Encrypted,
    /// Nothing obscured: for amateur bands, where what counts is signed.
    SignedClear,
}

impl Mode {
    fn code(self) -> u8 {
        match self {
            Mode::Encrypted => 0,
            Mode::SignedClear => 1,
        }
    }
}

/// What stands for an owner's audience in a header: 2 bytes, not unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias(pub [u8; 2]);

/// What stands for a sender within an audience: 1 byte, not unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hint(pub u8);

impl Alias {
    /// In clear mode: of the owner's public identity, which any peer can compute.
    pub fn clear(owner: &PeerId) -> Self {
        Alias(first(blake3::Hasher::new_derive_key(CLEAR_ALIAS_CONTEXT).update(owner.as_bytes())))
    }
}

/// What stands behind the header of a clear frame: 3 more bytes of what its hint is the first of. A sealed frame opens under its
/// sender's key alone; in clear mode two members of one hint would be taken for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderCheck(pub [u8; SenderCheck::BYTES]);

impl Hint {
    /// In clear mode: of the sender's public identity and the owner's.
    pub fn clear(owner: &PeerId, sender: &PeerId) -> Self {
        let [hint, ..] = clear_sender(owner, sender);
        Hint(hint)
    }
}

impl SenderCheck {
    /// Length in bytes: with the hint four, so that no two members of a federation have the same.
    pub const BYTES: usize = 3;

    /// Of the sender's public identity and the owner's.
    pub fn of(owner: &PeerId, sender: &PeerId) -> Self {
        let [_, check @ ..] = clear_sender(owner, sender);
        SenderCheck(check)
    }
}

/// What names a sender in clear mode: the hint, then the check.
fn clear_sender(owner: &PeerId, sender: &PeerId) -> [u8; 1 + SenderCheck::BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(CLEAR_HINT_CONTEXT);
    first(hasher.update(owner.as_bytes()).update(sender.as_bytes()))
}

/// The key that the readers of one owner's documents share, and the number of its renewal. Wiped when dropped.
#[derive(Clone)]
pub struct AudienceKey {
    /// Grows by one with each renewal by the owner.
    pub epoch: u32,
    /// The key itself: 16 random bytes.
    pub key: [u8; 16],
}

impl AudienceKey {
    /// What stands for this audience in headers.
    pub fn alias(&self) -> Alias {
        Alias(first(&mut self.hasher(ALIAS_CONTEXT)))
    }

    /// What stands for `sender` in headers. It needs no agreed order of readers, so that a new one changes nothing.
    pub fn hint(&self, sender: &PeerId) -> Hint {
        let [hint] = first(self.hasher(HINT_CONTEXT).update(sender.as_bytes()));
        Hint(hint)
    }

    /// The key for what `sender` sends in this audience during one of its boot epochs.
    pub fn frame_key(&self, mode: Mode, sender: &PeerId, boot: &BootEpoch) -> FrameKey {
        let mut hasher = self.hasher(FRAME_KEY_CONTEXT);
        hasher.update(&[VERSION, mode.code()]).update(sender.as_bytes());
        hasher.update(&boot.number.to_be_bytes()).update(&boot.salt);
        FrameKey(first(&mut hasher))
    }

    /// `context`, the key and its epoch: fields of fixed length, so that no two inputs run into one another.
    fn hasher(&self, context: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.key).update(&self.epoch.to_be_bytes());
        hasher
    }
}

/// The first bytes of a hash.
fn first<const N: usize>(hasher: &mut blake3::Hasher) -> [u8; N] {
    let mut bytes = [0; N];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

impl PartialEq for AudienceKey {
    fn eq(&self, other: &Self) -> bool {
        self.epoch == other.epoch && bool::from(self.key.ct_eq(&other.key))
    }
}

impl Eq for AudienceKey {}

impl Drop for AudienceKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for AudienceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AudienceKey(epoch {})", self.epoch)
    }
}

/// An AES-128 key for one audience, sender and boot epoch. Wiped when dropped.
#[derive(Clone)]
pub struct FrameKey(pub(crate) [u8; 16]);

impl FrameKey {
    /// The 16 bytes, for vectors.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Drop for FrameKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameKey")
    }
}

/// One start of a sender: the number only grows, the salt is new each time.
///
/// The salt makes frame keys new even where the number repeats: after a restored backup, on a cloned disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootEpoch {
    /// Grows by at least one at each start.
    pub number: u32,
    /// Random, new at each start.
    pub salt: [u8; 8],
}

impl BootEpoch {
    /// The epoch to open at a start, or on hearing that `past` is not the newest of ours: one above it. `None` when the
    /// numbers are used up (after 2^32 starts), and nothing may be sent any more.
    pub fn after(past: Option<u32>, salt: [u8; 8]) -> Option<Self> {
        let number = past.map_or(Some(1), |number| number.checked_add(1))?;
        Some(BootEpoch { number, salt })
    }

    /// What the header's first byte carries of the number.
    pub fn low(&self) -> u8 {
        self.number.to_be_bytes()[3] & 0x0f
    }
}

/// Our own identity, as the mesh needs it: it signs epochs and agrees on keys. Wiped when dropped.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// From the identity's 32-byte ed25519 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Identity(SigningKey::from_bytes(seed))
    }

    /// Who we are to others.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` (RFC 8032).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The X25519 secret that belongs to this identity: the clamped scalar of RFC 8032, section 5.1.5.
    pub(crate) fn agreement_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }

    /// X25519 (RFC 7748) with another identity: both get the same secret. `None` if the other's key is no point, or one of
    /// the few weak ones.
    pub fn agree(&self, other: &PeerId) -> Option<Zeroizing<[u8; 32]>> {
        agree(&self.agreement_secret(), &agreement_key(other)?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id())
    }
}

/// The X25519 key of an ed25519 identity (the birational map of RFC 7748, section 4.1); `None` for a key that is no point of
/// the curve, not in its one form, or of small order.
pub fn agreement_key(peer: &PeerId) -> Option<[u8; 32]> {
    if !is_canonical(peer.as_bytes()) {
        return None;
    }
    let key = VerifyingKey::from_bytes(peer.as_bytes()).ok().filter(|key| !key.is_weak())?;
    Some(key.to_montgomery().to_bytes())
}

/// X25519; `None` if the other key is of small order (RFC 7748, section 6.1).
fn agree(secret: &[u8; 32], other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = MontgomeryPoint(*other).mul_clamped(*secret);
    (!shared.is_identity()).then(|| Zeroizing::new(shared.to_bytes()))
}

/// Whether `signature` over `message` is by `who`; weak keys and non-canonical points are refused (`verify_strict`).
pub(crate) fn verify(who: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(who.as_bytes()) else { return false };
    is_canonical(who.as_bytes()) && key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

/// Whether the second coordinate of a key is below the prime 2^255 - 19. The library takes the 19 numbers from there up for what is
/// left of them, so that one point would have two names.
pub fn is_canonical(key: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = key;
    last & 0x7f != 0x7f || *first < 0xed || middle.iter().any(|byte| *byte != 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(epoch: u32) -> AudienceKey {
        AudienceKey { epoch, key: [7; 16] }
    }

    #[test]
    fn every_part_of_a_frame_key_counts() {
        let boot = BootEpoch { number: 3, salt: [1; 8] };
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let keys = [
            key(1).frame_key(Mode::Encrypted, &a, &boot),
            key(2).frame_key(Mode::Encrypted, &a, &boot),
            AudienceKey { epoch: 1, key: [8; 16] }.frame_key(Mode::Encrypted, &a, &boot),
            key(1).frame_key(Mode::SignedClear, &a, &boot),
            key(1).frame_key(Mode::Encrypted, &b, &boot),
            key(1).frame_key(Mode::Encrypted, &a, &BootEpoch { number: 4, ..boot }),
            key(1).frame_key(Mode::Encrypted, &a, &BootEpoch { salt: [2; 8], ..boot }),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(|key| *key.as_bytes()).collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn a_renewed_key_has_another_alias() {
        assert_ne!(key(1).alias(), key(2).alias());
        assert_ne!(Alias::clear(&PeerId([1; 32])), Alias::clear(&PeerId([2; 32])));
    }

    #[test]
    fn a_boot_epoch_goes_beyond_any_past_one_and_ends_at_the_last() {
        let number = |past| BootEpoch::after(past, [0; 8]).map(|epoch| epoch.number);
        assert_eq!(number(None), Some(1));
        assert_eq!(number(Some(41)), Some(42));
        assert_eq!(number(Some(u32::MAX)), None);
    }

    #[test]
    fn both_identities_agree_and_weak_keys_are_refused() {
        let (a, b) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        assert_eq!(a.agree(&b.peer_id()), b.agree(&a.peer_id()));
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(a.agree(&PeerId(one)), None);
        assert_eq!(agree(&[9; 32], &[0; 32]), None);
    }

    /// All points of small order on the curve and its twist (RFC 7748, section 6.1), each as it is and with p added.
    #[test]
    fn nothing_is_agreed_with_a_point_of_small_order_or_of_two_names() {
        let hex = |text: &str| -> [u8; 32] {
            let digit = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
            std::array::from_fn(digit)
        };
        let small = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        for point in small {
            assert_eq!(agree(&[9; 32], &hex(point)), None, "{point}");
        }
        // y = p + 3: the point of y = 3 by a second name.
        let overlong = hex("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        let mut plain = [0; 32];
        plain[0] = 3;
        assert!(agreement_key(&PeerId(plain)).is_some());
        assert_eq!(agreement_key(&PeerId(overlong)), None);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let shown = format!("{:?} {:?}", key(5), Identity::from_seed(&[3; 32]));
        assert!(shown.contains("epoch 5") && !shown.contains("[7"), "{shown}");
    }
}
