//! A radio frame: header, alias, sender hint, counter, tag; the replay window.
//!
//! ```text
//! 0              1       3      4         6
//! +------+-------+-------+------+---------+-- … --+-------+
//! | kind | epoch | alias | hint | counter | payload |  tag  |
//! | 4 bit| 4 bit |   2   |  1   |    2    |         |   8   |
//! +------+-------+-------+------+---------+-- … --+-------+
//! ```
//! AES-128-CCM (RFC 3610) with a tag of 8 bytes; the header is its associated data, the nonce is the full 32-bit
//! counter, of which the header carries the low half. Who may open is who may read: the key is one for each audience,
//! sender and boot epoch ([`keys`]). [`announcement`] announces a boot epoch; [`track`] and [`window`] record
//! which counters were seen. In clear mode a frame is the same header, a [`SenderCheck`] and the payload, and no tag.
//!
//! A frame under an audience key proves that some member sent it, no more.

pub mod announcement;
pub mod handshake;
pub mod keys;
pub(crate) mod parts;
pub mod track;
pub mod window;

pub use track::Track;
pub use window::Window;

use crate::airtime::FRAME_BYTES_MAX;
use crate::frame::keys::{Alias, FrameKey, Hint, KEY_BYTES, SenderCheck};
use aes::Aes128;
use ccm::aead::{Aead, Payload};
use ccm::consts::{U8, U13};
use ccm::{Ccm, KeyInit};
use std::collections::BTreeSet;

/// Length of the header.
pub const HEADER_BYTES: usize = 6;
/// Length of the tag.
pub const TAG_BYTES: usize = 8;
/// What a sealed frame costs over its payload.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// What a clear frame costs over its payload.
pub const CLEAR_OVERHEAD_BYTES: usize = HEADER_BYTES + SenderCheck::BYTES;
/// The shortest frames that the layers above are built for.
pub const FRAME_BYTES_MIN: usize = 50;
/// The longest frame that is filled up, for a radio that takes none so short.
pub const PADDED_BYTES_MAX: usize = 15;

type Cipher = Ccm<Aes128, U8, U13>;

/// What a frame is: 4 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(u8);

impl Kind {
    /// A boot epoch opens, or is asked for: in clear.
    pub const OPEN: Kind = Kind(0);
    /// A part of a longer message.
    pub const FRAGMENT: Kind = Kind(1);
    /// Which parts are missing.
    pub const NACK: Kind = Kind(2);
    /// A part of a handshake to join: in clear, with a header of its own.
    pub const JOIN: Kind = Kind(3);
    /// Who transmits, in clear text.
    pub const CALL_SIGN: Kind = Kind(4);

    /// A message kind of the layers above: 5 to 15.
    pub const fn message(number: u8) -> Option<Self> {
        match number {
            5..=15 => Some(Kind(number)),
            _ => None,
        }
    }

    /// Whether it belongs to the layers above.
    pub fn is_message(self) -> bool {
        self.0 >= 5
    }

    /// The number, 0 to 15.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The kind in a frame's first byte.
    pub fn of(first_byte: u8) -> Self {
        Kind(first_byte >> 4)
    }

    /// The first byte of a frame of this kind; of `low` only 4 bits count.
    pub fn first_byte(self, low: u8) -> u8 {
        self.0 << 4 | low & 0x0f
    }
}

/// The six bytes before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Low 4 bits of the sender's boot epoch; 0 in clear mode.
    pub epoch_low: u8,
    /// The audience it is for.
    pub alias: Alias,
    /// Hint that names the sender within that audience.
    pub hint: Hint,
    /// Low 16 bits of its counter.
    pub counter_low: u16,
}

impl Header {
    /// Writes the six bytes of the header.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [[alias_0, alias_1], [counter_0, counter_1]] = [self.alias.0, self.counter_low.to_be_bytes()];
        [self.kind.first_byte(self.epoch_low), alias_0, alias_1, self.hint.0, counter_0, counter_1]
    }

    /// The header and what follows it.
    pub fn decode(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (&[first, alias_0, alias_1, hint, counter_0, counter_1], rest) = frame.split_first_chunk()?;
        let header = Header {
            kind: Kind::of(first),
            epoch_low: first & 0x0f,
            alias: Alias([alias_0, alias_1]),
            hint: Hint(hint),
            counter_low: u16::from_be_bytes([counter_0, counter_1]),
        };
        Some((header, rest))
    }
}

/// The number of one frame under its key. It can be had from [`Counters`] only and used once only: it is neither
/// copied nor made from a number.
#[derive(Debug, PartialEq, Eq)]
pub struct Counter(u32);

impl Counter {
    /// What the header carries of it.
    pub fn low(&self) -> u16 {
        let [_, _, high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Returns the frame number within its epoch.
    pub fn number(&self) -> u32 {
        self.0
    }
}

/// Our counters in one audience and boot epoch.
#[derive(Debug, Default)]
pub struct Counters {
    next: u64,
    /// From `next` on, what another has used in our name: listeners take none twice. At most [`LEFT_OUT_MAX`], the nearest.
    left_out: BTreeSet<u32>,
}

/// Counters used in our name that are remembered; beyond, the furthest is forgotten, and costs a frame when it comes to that.
const LEFT_OUT_MAX: usize = 64;

impl Counters {
    /// A series whose first counter is `first`.
    pub fn starting_at(first: u32) -> Self {
        Counters { next: first.into(), left_out: BTreeSet::new() }
    }

    /// The next counter; `None` after 2^32 of them: a new boot epoch is due.
    pub fn take(&mut self) -> Option<Counter> {
        loop {
            let counter = u32::try_from(self.next).ok()?;
            self.next += 1;
            if !self.left_out.remove(&counter) {
                return Some(Counter(counter));
            }
        }
    }

    /// The number that the next frame will have, or the last there is.
    pub fn next(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }

    /// Leaves out a number that was heard in our name. (Going beyond it would let a forger lead us away from where listeners
    /// expect us.)
    pub fn leave_out(&mut self, heard: u32) {
        if u64::from(heard) >= self.next {
            self.left_out.insert(heard);
        }
        if self.left_out.len() > LEFT_OUT_MAX {
            self.left_out.pop_last();
        }
    }

    /// Skips what is below `next`, as a signed announcement asks.
    pub fn go_up_to(&mut self, next: u32) {
        self.next = self.next.max(next.into());
        self.left_out = self.left_out.split_off(&next);
    }
}

/// Seals a frame. `header.counter_low` is set from the counter.
pub fn seal(key: &FrameKey, header: Header, counter: Counter, payload: &[u8]) -> Vec<u8> {
    let header = Header { counter_low: counter.low(), ..header }.encode();
    let mut frame = Vec::with_capacity(payload.len() + OVERHEAD_BYTES);
    frame.extend_from_slice(&header);
    frame.extend(seal_bytes(&key.0, counter.0, &header, payload));
    frame
}

/// The payload of a sealed frame, if it was sealed under this key with this counter; a frame that is too short or too
/// long for a radio is not tried. The counter is the receiver's [inference](Window::infer): check the window before, move it after.
pub fn open(key: &FrameKey, frame: &[u8], counter: u32) -> Option<Vec<u8>> {
    if frame.len() > FRAME_BYTES_MAX {
        return None;
    }
    let (header, sealed) = frame.split_at_checked(HEADER_BYTES)?;
    open_bytes(&key.0, counter, header, sealed)
}

/// A frame of clear mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClearFrame<'a> {
    /// The header; its low bits are 0.
    pub header: Header,
    /// Which of the members with that hint sent it.
    pub check: SenderCheck,
    /// What follows.
    pub payload: &'a [u8],
}

impl<'a> ClearFrame<'a> {
    /// Writes the frame: the header, the check and the payload.
    pub fn encode(&self) -> Vec<u8> {
        self.header.encode().iter().chain(&self.check.0).chain(self.payload).copied().collect()
    }

    /// As [`encode`](Self::encode), filled up with zero bytes to `bytes_min`, at most [`PADDED_BYTES_MAX`]. How many they are stands
    /// where a sealed frame has its epoch.
    pub fn encode_padded(&self, bytes_min: usize) -> Vec<u8> {
        let bytes = CLEAR_OVERHEAD_BYTES + self.payload.len();
        let pad = bytes_min.min(PADDED_BYTES_MAX).saturating_sub(bytes);
        let header = Header { epoch_low: pad as u8, ..self.header };
        let mut frame = ClearFrame { header, ..*self }.encode();
        frame.resize(bytes + pad, 0);
        frame
    }

    /// A frame of clear mode as it was before it was filled up; `None` for what is no such frame.
    pub fn decode(frame: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::decode(frame)?;
        let (check, rest) = rest.split_first_chunk()?;
        let (payload, pad) = rest.split_at_checked(rest.len().checked_sub(header.epoch_low.into())?)?;
        let sound = pad.is_empty() || (frame.len() <= PADDED_BYTES_MAX && pad.iter().all(|byte| *byte == 0));
        let header = Header { epoch_low: 0, ..header };
        sound.then_some(ClearFrame { header, check: SenderCheck(*check), payload })
    }
}

/// AES-128-CCM with a tag of 8 bytes; the nonce is the number, big-endian, and zeros.
pub(crate) fn seal_bytes(key: &[u8; KEY_BYTES], number: u32, about: &[u8], bytes: &[u8]) -> Vec<u8> {
    Cipher::new(key.into())
        .encrypt(&nonce(number).into(), Payload { msg: bytes, aad: about })
        .expect("CCM with a nonce of 13 bytes takes up to 65,535 bytes; a frame has 255")
}

pub(crate) fn open_bytes(key: &[u8; KEY_BYTES], number: u32, about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    Cipher::new(key.into()).decrypt(&nonce(number).into(), Payload { msg: sealed, aad: about }).ok()
}

fn nonce(number: u32) -> [u8; 13] {
    let [a, b, c, d] = number.to_be_bytes();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::keys::{AudienceKey, BootEpoch, Mode};
    use crate::peer::PeerId;
    use proptest::prelude::*;

    fn key() -> FrameKey {
        let boot = BootEpoch { number: 3, salt: [1; 8] };
        AudienceKey { epoch: 1, key: [7; 16] }.frame_key(Mode::Encrypted, &PeerId([2; 32]), &boot)
    }

    fn header() -> Header {
        Header {
            kind: Kind::message(5).unwrap(),
            epoch_low: 3,
            alias: Alias([1, 2]),
            hint: Hint(9),
            counter_low: 0,
        }
    }

    /// The counter `number`, as a sender that got there would have it.
    fn counter(number: u32) -> Counter {
        Counters::starting_at(number).take().unwrap()
    }

    /// RFC 3610, section 8, packet vector 1: AES-CCM with 8 bytes of tag and a nonce of 13. Its nonce is not of
    /// our form, so that the cipher is checked by itself.
    #[test]
    fn the_cipher_is_that_of_the_rfc() {
        let bytes: Vec<u8> = (0..0x1f).collect();
        let key: [u8; 16] = std::array::from_fn(|at| 0xc0 + at as u8);
        let nonce = [0, 0, 0, 3, 2, 1, 0, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5];
        let sealed = Cipher::new(&key.into())
            .encrypt(&nonce.into(), Payload { msg: &bytes[8..], aad: &bytes[..8] })
            .unwrap();
        let expected = "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0";
        assert_eq!(data_encoding::HEXLOWER.encode(&sealed), expected);
    }

    #[test]
    fn a_frame_costs_fourteen_bytes() {
        assert_eq!(seal(&key(), header(), counter(0), b"").len(), 14);
        assert_eq!(seal(&key(), header(), counter(0), &[0; 36]).len(), FRAME_BYTES_MIN);
        assert_eq!(seal(&key(), header(), counter(0), &[0; 1]).len(), PADDED_BYTES_MAX);
    }

    #[test]
    fn a_counter_is_never_handed_out_twice_nor_after_the_last() {
        let mut counters = Counters::starting_at(u32::MAX - 1);
        assert_eq!(counters.take().unwrap().number(), u32::MAX - 1);
        assert_eq!(counters.take().unwrap().number(), u32::MAX);
        assert_eq!((counters.take(), counters.take()), (None, None));
        counters.leave_out(5);
        assert_eq!(counters.take(), None);
    }

    #[test]
    fn what_was_used_in_our_name_is_left_out_and_leads_nowhere() {
        let mut counters = Counters::starting_at(10);
        [3, 10, 11, 13, 40_000].into_iter().for_each(|heard| counters.leave_out(heard));
        let taken: Vec<u32> = (0..4).map(|_| counters.take().unwrap().number()).collect();
        assert_eq!(taken, [12, 14, 15, 16]);
        (0..1_000).for_each(|heard| counters.leave_out(50_000 + heard));
        assert!(counters.left_out.len() <= LEFT_OUT_MAX);
        counters.go_up_to(40_000);
        assert_eq!(counters.take().unwrap().number(), 40_001);
        let mut last = Counters::starting_at(u32::MAX);
        last.leave_out(u32::MAX);
        assert_eq!(last.take(), None);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_nothing_else(
            number: u32, payload in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let frame = seal(&key(), header(), counter(number), &payload);
            prop_assert_eq!(open(&key(), &frame, number), Some(payload.clone()));
            prop_assert_eq!(open(&key(), &frame, number ^ 0x1_0000), None);
            let (read, _) = Header::decode(&frame).unwrap();
            prop_assert_eq!(u32::from(read.counter_low), number & 0xffff);
            let mut changed = frame.clone();
            changed[at.index(frame.len())] ^= 1 << bit;
            prop_assert_eq!(open(&key(), &changed, number), None);
            prop_assert_eq!(open(&key(), &frame[..at.index(frame.len())], number), None);
            let longer: Vec<u8> = frame.iter().copied().chain([0]).collect();
            prop_assert_eq!(open(&key(), &longer, number), None);
        }

        #[test]
        fn a_header_reads_back(bytes: [u8; HEADER_BYTES]) {
            let (header, rest) = Header::decode(&bytes).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}
