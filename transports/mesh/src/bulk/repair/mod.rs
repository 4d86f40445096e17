//! Which fragments are missing, and who asks for them: bitmap NACKs.
//!
//! A listener that lacks fragments names, block by block, as many of the missing data fragments as it *needs*: with
//! parity any as many others do, so the number of bits is what counts. Where the bitmaps of a long message do not
//! fit a frame, the bare numbers stand instead.
//!
//! ```text
//! 0         1          3
//! +---------+----------+-----------------------------+----- -
//! | whose   |    id    |  entry                      | ...
//! +---------+----------+-----------------------------+----- -
//!
//! entry     +----------+--------------------------+    bitmap: as many bytes as the block needs,
//!           | 01 block |  bitmap                  |    fragment 0 is the lowest bit of the first byte
//!           +----------+--------------------------+
//!           | 00 block |  how many |                   number: 1 to 64
//!           +----------+-----------+
//! ```
//! *Whose* is the first byte of the identity that sends the message. No entry at all, from that sender itself,
//! reports that it holds the message no more.
//!
//! # Who asks when
//!
//! A listener asks when the burst should have ended and [`WAIT_FRAMES`] frames of silence and a random part of
//! [`SPREAD_FRAMES`] have gone by. Another's question that covers its own is as good as its own; a fragment heard
//! that fills a gap restarts the wait. Unanswered, it waits twice as long each time, up to an hour, and goes on
//! for [`AGE_MAX`](crate::bulk::fragment::AGE_MAX): an interrupted transfer goes on where it was. A frame from a
//! sender that had been silent brings the next question forward. Once the layer above knows that all that this sender
//! has is held, by whatever way it came, what is not whole is dropped and asked for no more.
//!
//! The sender takes the questions of one *round* together: what counts for a block is the listener that lacks
//! most. It sends fragments of parity that no listener has heard yet, which serve listeners that lack different ones;
//! only when those are used up, the data fragments that the bitmaps name. A question that comes while the repairs
//! it asks for are on their way adds nothing.
//!
//! # Bounds
//!
//! A NACK proves only that some member sent it, so it is a hint within a budget: each peer may cause
//! [`Budget`]ed repairs per message, all together too, and these grow back by the hour. A listener's own
//! questions have a budget for each sender, to which the fragments heard from it add: who opens messages and
//! never ends them gets few questions.

mod budget;
mod listener;

pub use budget::Budget;
pub use listener::{GOES_ON_WITHIN, Listener, OutNack};

use crate::bulk::fragment::{Layout, MessageId};
use crate::bulk::parity::BLOCK_FRAGMENTS_MAX;
use crate::peer::PeerId;
use crate::time::Millis;

/// Silence after the expected end of a burst before the first question, in full frames.
pub const WAIT_FRAMES: u64 = 3;
/// The random part of that wait, in full frames: room for some twenty short NACKs.
pub const SPREAD_FRAMES: u64 = 6;
/// The longest wait between two questions for one message.
pub const BACKOFF_MAX: Millis = Millis::from_ms(3_600_000);

/// The shortest NACK that asks for anything: head and one entry. A frame that carries less carries none.
pub const NACK_BYTES_MIN: usize = HEAD_BYTES + 2;

const HEAD_BYTES: usize = 3;
const BITMAP: u8 = 0x40;
const BLOCK_MASK: u8 = 0x3f;

/// Why a NACK was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NackError {
    /// Too short for a head.
    #[error("{bytes} bytes are no NACK")]
    TooShort {
        /// Length of the payload.
        bytes: usize,
    },
    /// A block or fragment that the message does not have, or an entry cut off.
    #[error("a NACK for message {id:?} names what that does not have")]
    Entry {
        /// The message that the entry names.
        id: MessageId,
    },
}

/// What a listener lacks of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) block: u8,
    /// How many fragments it needs, 1 to 64.
    pub(crate) deficit: usize,
    /// As many missing data fragments; all ones where only the number was sent.
    pub(crate) bitmap: u64,
}

/// The head of a NACK: which message it speaks of.
pub(crate) struct NackHead {
    pub(crate) whose: u8,
    pub(crate) id: MessageId,
}

/// The byte that stands for a sender.
pub(crate) fn whose(sender: &PeerId) -> u8 {
    let [first, ..] = sender.as_bytes();
    *first
}

impl NackHead {
    pub(crate) fn open(payload: &[u8]) -> Result<(Self, &[u8]), NackError> {
        let [whose, a, b, entries @ ..] = payload else {
            return Err(NackError::TooShort { bytes: payload.len() });
        };
        Ok((Self { whose: *whose, id: MessageId(u16::from_be_bytes([*a, *b])) }, entries))
    }

    /// A NACK of at most `payload_max` bytes: bitmaps where all fit, else numbers, of as many blocks as fit.
    pub(crate) fn seal(&self, layout: Layout, wanted: &[Wanted], payload_max: usize) -> Vec<u8> {
        let mut payload = vec![self.whose];
        payload.extend_from_slice(&self.id.0.to_be_bytes());
        let bitmap_bytes = |block: u8| layout.fragments_of(block).div_ceil(8);
        let in_bitmaps: usize = wanted.iter().map(|block| 1 + bitmap_bytes(block.block)).sum();
        let bitmaps = HEAD_BYTES + in_bitmaps <= payload_max;
        for block in wanted {
            if bitmaps {
                payload.push(BITMAP | block.block);
                payload.extend(block.bitmap.to_le_bytes().iter().take(bitmap_bytes(block.block)));
            } else if payload.len() + 2 <= payload_max {
                payload.extend([block.block, u8::try_from(block.deficit).unwrap_or(u8::MAX)]);
            }
        }
        payload
    }

    /// The entries of a NACK for a message of this layout, by block; the last of a block counts.
    pub(crate) fn entries(&self, layout: Layout, mut rest: &[u8]) -> Result<Vec<Wanted>, NackError> {
        let fault = NackError::Entry { id: self.id };
        let mut wanted: Vec<Wanted> = Vec::new();
        while let Some((head, behind)) = rest.split_first() {
            let block = head & BLOCK_MASK;
            if usize::from(block) >= layout.blocks() || wanted.len() >= layout.blocks() {
                return Err(fault);
            }
            let fragments = layout.fragments_of(block);
            let entry = match head & !BLOCK_MASK {
                BITMAP => {
                    let (bitmap, behind) = behind.split_at_checked(fragments.div_ceil(8)).ok_or(fault)?;
                    rest = behind;
                    let bitmap = bitmap.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                    Wanted { block, deficit: bitmap.count_ones() as usize, bitmap }
                }
                0 => {
                    let (number, behind) = behind.split_first().ok_or(fault)?;
                    rest = behind;
                    Wanted { block, deficit: usize::from(*number), bitmap: all(fragments) }
                }
                _ => return Err(fault),
            };
            if entry.deficit == 0 || entry.deficit > fragments || entry.bitmap & !all(fragments) != 0 {
                return Err(fault);
            }
            wanted.push(entry);
        }
        Ok(wanted)
    }
}

/// The bits of so many fragments.
pub(crate) fn all(fragments: usize) -> u64 {
    let unused = BLOCK_FRAGMENTS_MAX.saturating_sub(fragments);
    u32::try_from(unused).ok().and_then(|unused| u64::MAX.checked_shr(unused)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_asked_is_what_is_heard(
            count in 1..=4096_u16,
            whose: u8,
            id: u16,
            payload_max in 12..=241_usize,
            seed in prop::collection::vec((0..64_u8, any::<u64>()), 1..20),
        ) {
            let layout = Layout { count, shard_bytes: 32 };
            let mut wanted: Vec<Wanted> = Vec::new();
            for (block, bits) in seed {
                let block = block % layout.blocks() as u8;
                let bitmap = bits & all(layout.fragments_of(block));
                if bitmap != 0 && wanted.iter().all(|known| known.block != block) {
                    wanted.push(Wanted { block, deficit: bitmap.count_ones() as usize, bitmap });
                }
            }
            let head = NackHead { whose, id: MessageId(id) };
            let payload = head.seal(layout, &wanted, payload_max);
            prop_assert!(payload.len() <= payload_max);
            let (head, entries) = NackHead::open(&payload).unwrap();
            prop_assert_eq!((head.whose, head.id), (whose, MessageId(id)));
            let heard = head.entries(layout, entries).unwrap();
            prop_assert!(wanted.is_empty() || !heard.is_empty());
            for (asked, heard) in wanted.iter().zip(&heard) {
                prop_assert_eq!((asked.block, asked.deficit), (heard.block, heard.deficit));
                prop_assert_eq!(asked.bitmap & heard.bitmap, asked.bitmap);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_name_what_the_message_has(
            payload in prop::collection::vec(any::<u8>(), 0..60),
            count in 1..=4096_u16,
        ) {
            let layout = Layout { count, shard_bytes: 32 };
            let Ok((head, entries)) = NackHead::open(&payload) else { return Ok(()) };
            let Ok(wanted) = head.entries(layout, entries) else { return Ok(()) };
            prop_assert!(wanted.len() <= layout.blocks());
            for entry in wanted {
                prop_assert!(entry.deficit >= 1 && entry.deficit <= layout.fragments_of(entry.block));
            }
        }
    }
}
