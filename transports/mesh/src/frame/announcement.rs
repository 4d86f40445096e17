//! A boot epoch opens with one clear, signed frame.
//!
//! ```text
//! 0        1       3      4        8       16        20           84
//! +--------+-------+------+--------+-------+---------+------------+
//! | 0 | low| alias | hint | number |  salt | counter | signature  |
//! +--------+-------+------+--------+-------+---------+------------+
//! ```
//! The signature is over the deterministic CBOR array `["tombolo-epoch-1", sender, number, salt, counter]`, so that any peer
//! may repeat it for its author. `counter`: no later frame of the sender has a lower one, in any audience (it skips what is
//! below); a receiver further out than the header's low half resolves takes it from here. Alias and hint only name the signature to try first: they are of the sender's own audience key.
//!
//! Where frames are shorter than 84 bytes it goes in parts, which their length distinguishes from the whole:
//! `0 | alias | hint | part number, parts | check`, then a slice of what follows the hint; the check is 2 bytes of its BLAKE3 hash.
//! Four bytes alone, `0 | alias | hint`, or filled up with zero bytes to at most 15, *ask* for the announcement of the sender so addressed.

use super::parts::{Parts, check};
use super::{Kind, PADDED_BYTES_MAX};
use crate::frame::keys::{Alias, BootEpoch, Hint, Identity, verify};
use crate::peer::PeerId;
use std::collections::VecDeque;

/// Length of a whole announcement in bytes.
pub const ANNOUNCEMENT_BYTES: usize = ADDRESS_BYTES + BODY_BYTES;
/// Length of a request for an announcement in bytes.
pub const REQUEST_BYTES: usize = ADDRESS_BYTES;
/// Announcements of which some parts are there; the oldest goes when another starts.
pub const HALF_OPENINGS_MAX: usize = 8;

const ADDRESS_BYTES: usize = 4;
/// What follows the address: epoch, counter, signature.
pub const BODY_BYTES: usize = 4 + 8 + 4 + 64;
const PART_HEADER_BYTES: usize = ADDRESS_BYTES + 3;
/// Of frames of 50 bytes, two.
const PARTS_MAX: usize = 3;

/// A sender's signed word on its boot epoch and on where its counter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochAnnouncement {
    /// The boot epoch that it announces.
    pub epoch: BootEpoch,
    /// No later frame of the sender has a lower one.
    pub counter: u32,
    /// Over both and the sender.
    pub signature: [u8; 64],
}

/// The sender that a frame of kind `Open` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SenderAddress {
    /// Low 4 bits of an epoch: of the one that opens, or of the frame that could not be opened.
    pub epoch_low: u8,
    /// Alias of the audience that the sender belongs to.
    pub alias: Alias,
    /// Hint that names the sender within that audience.
    pub hint: Hint,
}

/// The content of a frame of kind `Open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFrame {
    /// An announcement, not verified yet.
    Announcement(SenderAddress, EpochAnnouncement),
    /// A part of one; the rest is missing still.
    Part,
    /// A peer asks for the announcement of that sender.
    Request(SenderAddress),
}

impl EpochAnnouncement {
    /// Signs an announcement of our own.
    pub fn sign(us: &Identity, epoch: BootEpoch, counter: u32) -> Self {
        let signature = us.sign(&signed_bytes(&us.peer_id(), &epoch, counter));
        EpochAnnouncement { epoch, counter, signature }
    }

    /// Whether `sender` signed it (`verify_strict`).
    pub fn is_by(&self, sender: &PeerId) -> bool {
        verify(sender, &signed_bytes(sender, &self.epoch, self.counter), &self.signature)
    }

    /// The frame, or the frames where one does not hold it.
    pub fn encode(&self, alias: Alias, hint: Hint, frame_bytes_max: usize) -> Vec<Vec<u8>> {
        let address = SenderAddress { epoch_low: self.epoch.low(), alias, hint }.encode();
        let body = self.to_bytes();
        if frame_bytes_max >= ANNOUNCEMENT_BYTES {
            return vec![[&address[..], &body].concat()];
        }
        let room = frame_bytes_max.saturating_sub(PART_HEADER_BYTES).max(BODY_BYTES.div_ceil(PARTS_MAX));
        // All of about one length: none is shorter than a radio takes.
        let parts = body.chunks(BODY_BYTES.div_ceil(BODY_BYTES.div_ceil(room)));
        let count = parts.len();
        let numbered = parts.zip(0_u8..);
        numbered
            .map(|(part, number)| {
                let header = [number << 4 | count as u8];
                [&address[..], &header, &check(&body), part].concat()
            })
            .collect()
    }

    /// What is signed and the signature, for the disk: 80 bytes, as in the frame.
    pub fn to_bytes(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        let fields = self.epoch.number.to_be_bytes().into_iter().chain(self.epoch.salt);
        let fields = fields.chain(self.counter.to_be_bytes()).chain(self.signature);
        body.iter_mut().zip(fields).for_each(|(to, byte)| *to = byte);
        body
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; the signature is not checked.
    pub fn from_bytes(body: &[u8; BODY_BYTES]) -> Option<Self> {
        let (number, rest) = body.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let epoch = BootEpoch { number: u32::from_be_bytes(*number), salt: *salt };
        Some(EpochAnnouncement {
            epoch,
            counter: u32::from_be_bytes(*counter),
            signature: rest.try_into().ok()?,
        })
    }
}

impl SenderAddress {
    /// The four bytes; alone they are a request.
    pub fn encode(&self) -> [u8; REQUEST_BYTES] {
        let [alias_0, alias_1] = self.alias.0;
        [Kind::OPEN.first_byte(self.epoch_low), alias_0, alias_1, self.hint.0]
    }

    /// A request, filled up with zero bytes where the radio takes none so short.
    pub fn encode_padded(&self, bytes_min: usize) -> Vec<u8> {
        let mut frame = self.encode().to_vec();
        frame.resize(bytes_min.clamp(REQUEST_BYTES, PADDED_BYTES_MAX), 0);
        frame
    }
}

/// Puts announcements together that came in parts.
#[derive(Debug, Default)]
pub struct EpochAnnouncements {
    half: VecDeque<PartialAnnouncement>,
}

#[derive(Debug)]
struct PartialAnnouncement {
    address: SenderAddress,
    check: [u8; 2],
    parts: Parts,
}

impl EpochAnnouncements {
    /// Reads a frame of kind `Open`; `None` for what is none.
    pub fn decode(&mut self, frame: &[u8]) -> Option<OpenFrame> {
        let (&[first, alias_0, alias_1, hint], rest) = frame.split_first_chunk()?;
        let address =
            SenderAddress { epoch_low: first & 0x0f, alias: Alias([alias_0, alias_1]), hint: Hint(hint) };
        // No part begins with a zero byte.
        if frame.len() <= PADDED_BYTES_MAX && rest.iter().all(|byte| *byte == 0) {
            return Some(OpenFrame::Request(address));
        }
        let body = match <&[u8; BODY_BYTES]>::try_from(rest) {
            Ok(body) => *body,
            Err(_) => match self.join(address, rest)? {
                Some(body) => body,
                None => return Some(OpenFrame::Part),
            },
        };
        let announcement = EpochAnnouncement::from_bytes(&body)?;
        (announcement.epoch.low() == address.epoch_low)
            .then_some(OpenFrame::Announcement(address, announcement))
    }

    /// Takes a part; the body once all are there, `Some(None)` before.
    fn join(&mut self, address: SenderAddress, rest: &[u8]) -> Option<Option<[u8; BODY_BYTES]>> {
        let (&[numbers, check_0, check_1], part) = rest.split_first_chunk()?;
        let (number, count, check) =
            (usize::from(numbers >> 4), usize::from(numbers & 0x0f), [check_0, check_1]);
        if number >= count || !(2..=PARTS_MAX).contains(&count) || part.is_empty() || part.len() >= BODY_BYTES
        {
            return None;
        }
        let same = |half: &PartialAnnouncement| {
            half.address == address && half.check == check && half.parts.count() == count
        };
        let at = self.half.iter().position(same).unwrap_or_else(|| {
            if self.half.len() >= HALF_OPENINGS_MAX {
                self.half.pop_front();
            }
            self.half.push_back(PartialAnnouncement { address, check, parts: Parts::new(count) });
            self.half.len() - 1
        });
        let half = self.half.get_mut(at)?;
        let Some(whole) = half.parts.put(number, part) else { return Some(None) };
        self.half.remove(at);
        let body: [u8; BODY_BYTES] = whole.try_into().ok()?;
        (self::check(&body) == check).then_some(Some(body))
    }
}

/// `["tombolo-epoch-1", sender, number, salt, counter]` in deterministic CBOR (RFC 8949, section 4.2.1).
fn signed_bytes(sender: &PeerId, epoch: &BootEpoch, counter: u32) -> Vec<u8> {
    const NAME: &[u8; 15] = b"tombolo-epoch-1";
    let mut cbor = vec![0x85, 0x60 | NAME.len() as u8];
    cbor.extend(NAME);
    cbor.extend([0x58, 32]);
    cbor.extend(sender.as_bytes());
    push_uint(&mut cbor, epoch.number);
    cbor.push(0x48);
    cbor.extend(epoch.salt);
    push_uint(&mut cbor, counter);
    cbor
}

/// An unsigned integer in its shortest form.
fn push_uint(cbor: &mut Vec<u8>, number: u32) {
    let [a, b, c, d] = number.to_be_bytes();
    match number {
        0..=23 => cbor.push(d),
        24..=0xff => cbor.extend([0x18, d]),
        0x100..=0xffff => cbor.extend([0x19, c, d]),
        _ => cbor.extend([0x1a, a, b, c, d]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIAS: Alias = Alias([0xaa, 0xbb]);
    const HINT: Hint = Hint(0xcc);

    fn us() -> Identity {
        Identity::from_seed(&[1; 32])
    }

    fn announcement(number: u32, counter: u32) -> EpochAnnouncement {
        EpochAnnouncement::sign(&us(), BootEpoch { number, salt: [9; 8] }, counter)
    }

    #[test]
    fn one_frame_where_it_fits_and_two_of_fifty_bytes() {
        assert_eq!(announcement(1, 0).encode(ALIAS, HINT, 84).iter().map(Vec::len).collect::<Vec<_>>(), [84]);
        assert_eq!(
            announcement(1, 0).encode(ALIAS, HINT, 50).iter().map(Vec::len).collect::<Vec<_>>(),
            [47, 47]
        );
    }

    #[test]
    fn integers_take_their_shortest_form() {
        let lengths = [23, 24, 255, 256, 65_535, 65_536]
            .map(|number| signed_bytes(&PeerId([0; 32]), &BootEpoch { number, salt: [0; 8] }, 0).len());
        assert_eq!(lengths.map(|length| length - lengths[0]), [0, 1, 1, 2, 2, 4]);
    }

    #[test]
    fn four_bytes_are_a_request() {
        let address = SenderAddress { epoch_low: 7, alias: ALIAS, hint: HINT };
        assert_eq!(
            EpochAnnouncements::default().decode(&address.encode()),
            Some(OpenFrame::Request(address))
        );
    }

    #[test]
    fn half_announcements_are_bounded_and_the_oldest_goes() {
        let mut announcements = EpochAnnouncements::default();
        for number in 0..100 {
            let parts = announcement(number, 0).encode(ALIAS, HINT, 50);
            assert_eq!(announcements.decode(&parts[0]), Some(OpenFrame::Part));
        }
        assert_eq!(announcements.half.len(), HALF_OPENINGS_MAX);
        let last = announcement(99, 0).encode(ALIAS, HINT, 50);
        assert!(
            matches!(announcements.decode(&last[1]), Some(OpenFrame::Announcement(_, found)) if found == announcement(99, 0))
        );
        let first = announcement(0, 0).encode(ALIAS, HINT, 50);
        assert_eq!(announcements.decode(&first[1]), Some(OpenFrame::Part));
    }

    proptest! {
        #[test]
        fn it_reads_back_at_any_frame_size_in_any_order(
            number: u32, counter: u32, frame_bytes_max in 50..=255_usize, backwards: bool,
        ) {
            let mut frames = announcement(number, counter).encode(ALIAS, HINT, frame_bytes_max);
            prop_assert!(frames.iter().all(|frame| frame.len() <= frame_bytes_max));
            if backwards {
                frames.reverse();
            }
            let mut announcements = EpochAnnouncements::default();
            let heard: Vec<_> = frames.iter().filter_map(|frame| announcements.decode(frame)).collect();
            let Some(OpenFrame::Announcement(address, found)) = heard.last() else { panic!("{heard:?}") };
            prop_assert_eq!(address.alias, ALIAS);
            prop_assert_eq!(*found, announcement(number, counter));
            prop_assert!(found.is_by(&us().peer_id()));
        }

        #[test]
        fn every_signed_field_counts(number: u32, counter: u32, at in 4..ANNOUNCEMENT_BYTES, bit in 0..8_u8) {
            let mut frame = announcement(number, counter).encode(ALIAS, HINT, 255).remove(0);
            frame[at] ^= 1 << bit;
            match EpochAnnouncements::default().decode(&frame) {
                Some(OpenFrame::Announcement(_, found)) => prop_assert!(!found.is_by(&us().peer_id())),
                other => prop_assert_eq!(other, None),
            }
        }

        #[test]
        fn any_bytes_are_bounded(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..50)) {
            let mut announcements = EpochAnnouncements::default();
            for frame in &frames {
                announcements.decode(frame);
                prop_assert!(announcements.half.len() <= HALF_OPENINGS_MAX);
            }
        }
    }
}
