//! Messages longer than a frame, cut and joined again within bounds.
//!
//! A message of up to 64 KiB becomes a *stream*: its kind, its bytes, a print; the stream is cut into fragments
//! of **one** length, and these are dealt into blocks of at most 64. So every fragment, data or parity, shows the
//! whole layout: how many there are stands in its header, how long they are is its own length.
//!
//! ```text
//! stream            0          1        2               2 + n     6 + n
//!                   +------+---+--------+---------------+---------+----------+
//!                   | kind | 0 |  pad   |    n bytes    |  print  | pad x 00 |
//!                   +------+---+--------+---------------+---------+----------+
//!
//! fragment of a     0           2          3          4
//! single block      +-----------+----------+----------+------------------+
//! (count <= 64)     |    id     | 00 count |  index   |  shard           |
//!                   +-----------+----------+----------+------------------+
//!
//! of one of         0           2             4          5         6
//! several           +-----------+-------------+----------+---------+-----------------+
//!                   |    id     | 1000  count | 00 block |  index  |  shard          |
//!                   +-----------+-------------+----------+---------+-----------------+
//! ```
//! *Count* is the number of data fragments less one (6 or 12 bits); *block* and *index* name the fragment: below
//! the block's number of data fragments it is data, from there on parity ([`parity`](crate::bulk::parity)). *Print* is the
//! start of a BLAKE3 hash of kind and bytes, so that fragments of two messages joined by error or malice make a
//! refusal and never a message. *Id* comes from the same hash: who sends the same message again after a restart
//! goes on where the listeners are.
//!
//! [`Sender`] cuts and repairs, [`Assembler`] joins; who asks for what is missing is [`repair`](crate::bulk::repair). A
//! frame's seal is below this, what a message means is above.
//!
//! ```
//! use tombolo_mesh::PeerId;
//! use tombolo_mesh::bulk::fragment::{MemoryLimits, OutMessage, Progress, Sender, SenderLimits};
//! use tombolo_mesh::bulk::repair::Listener;
//! use tombolo_mesh::time::{Millis, Mono};
//!
//! let (ann, bob, frame_airtime) = (PeerId([1; 32]), PeerId([2; 32]), Millis::from_ms(640));
//! let mut sender = Sender::new(ann, SenderLimits::default(), frame_airtime);
//! let mut listener = Listener::new(MemoryLimits::default(), frame_airtime, 42);
//! // 500 bytes of kind 7 on Ann's own channel, 217 in each frame, at a loss of 5 %: three fragments.
//! let bytes = [b'x'; 500];
//! let message = OutMessage { channel: ann, kind: 7, bytes: &bytes, fragment_payload_max: 217, loss_permille: 50 };
//! sender.offer(Mono::ZERO, message)?;
//! let sent: Vec<_> = std::iter::from_fn(|| sender.next_fragment(Mono::ZERO)).collect();
//! for fragment in sent.iter().skip(1) {
//!     assert_eq!(listener.fragment(Mono::from_ms(700), ann, ann, &fragment.payload), Ok(Progress::Part));
//! }
//! // The first was lost. When its time has come the listener asks, and a fragment of parity answers.
//! let due = listener.poll_timeout().expect("something is lacking");
//! let nack = listener.poll_nack(due, 217).expect("it is due");
//! assert_eq!(sender.nack(due, nack.channel, bob, &nack.payload), Ok(1));
//! let repair = sender.next_fragment(due).expect("it was asked for");
//! let Ok(Progress::Whole(message)) = listener.fragment(due, ann, ann, &repair.payload) else { panic!() };
//! assert_eq!((message.kind, message.bytes), (7, vec![b'x'; 500]));
//! # Ok::<(), tombolo_mesh::bulk::fragment::OfferError>(())
//! ```

mod assembler;
mod sender;

pub use assembler::{Assembler, AssemblerCounts, MemoryLimits, Message, Open, Progress, Source};
pub use sender::{
    AGE_MAX, ArrivalReport, OfferError, OutFragment, OutMessage, Sender, SenderLimits, Waiting,
};

use crate::bulk::parity::{BLOCK_FRAGMENTS_MAX, PARITY_MAX};
use crate::peer::PeerId;
use std::ops::RangeInclusive;

/// The longest message, bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Kinds of message that the crate above may use: four bits, less the station's own.
pub const KINDS: RangeInclusive<u8> = 5..=15;
/// Data fragments of a message: what 12 bits count.
pub const FRAGMENTS_MAX: usize = 4096;
/// The longest fragment with its header, bytes: no radio's frame is longer.
pub const FRAGMENT_BYTES_MAX: usize = 255;
/// The shortest shard; with less room the headers would outweigh what they carry.
pub const SHARD_BYTES_MIN: usize = 8;

/// Kind and pad before the message, print behind it.
const STREAM_HEAD_BYTES: usize = 2;
const PRINT_BYTES: usize = 4;
const STREAM_BYTES_MAX: usize = MESSAGE_BYTES_MAX + STREAM_HEAD_BYTES + PRINT_BYTES;
const SINGLE_HEADER_BYTES: usize = 4;
const LONG_HEADER_BYTES: usize = 6;
/// Marks the header of a message of several blocks.
const LONG: u8 = 0x80;
/// What a print is of, and of nothing else.
const PRINT_CONTEXT: &str = "tombolo 2026 radio message 1";
const ID_CONTEXT: &str = "tombolo 2026 radio message id 1";

/// What names a message among those of one sender: 2 bytes, chosen afresh for each that the sender remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u16);

/// Why a fragment was not taken. The message it belongs to, if any, goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// Too short or too long, bits set that have no meaning, or a layout that no message has.
    #[error("{bytes} bytes are no fragment")]
    Malformed {
        /// Length of the payload.
        bytes: usize,
    },
    /// It claims another layout than the fragments held of that message.
    #[error("a fragment of message {id:?} with {count} of {shard_bytes} bytes does not fit those held")]
    Inconsistent {
        /// The message that the fragment names.
        id: MessageId,
        /// Data fragments that it claims.
        count: u16,
        /// Length of the shard that the fragment carries.
        shard_bytes: usize,
    },
    /// A fragment with this index is held and has other bytes; the first stays.
    #[error("two different fragments {index} of block {block} of message {id:?}")]
    Conflicting {
        /// The message that the fragments belong to.
        id: MessageId,
        /// The block that the fragments belong to.
        block: u8,
        /// The index in it.
        index: u8,
    },
    /// All fragments are there and the print does not fit what they make: all are dropped, to be asked for again.
    #[error("the fragments of message {id:?} are not of one message")]
    Spliced {
        /// The message that was put together.
        id: MessageId,
    },
    /// No room, and nothing that may give way.
    #[error("no room for a fragment of message {id:?}")]
    Full {
        /// The message that finds no place.
        id: MessageId,
    },
}

/// How a message lies in fragments: known from any one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Data fragments, 1 to [`FRAGMENTS_MAX`].
    pub(crate) count: u16,
    /// Bytes of each: even, for the parity.
    pub(crate) shard_bytes: usize,
}

impl Layout {
    /// The layout of a stream in fragments of at most `payload_max` bytes: as few as will do, all of one length,
    /// so that the last is no longer than it must be. `None` where they would be too many.
    pub(crate) fn of(stream_bytes: usize, payload_max: usize) -> Option<Self> {
        let payload_max = payload_max.min(FRAGMENT_BYTES_MAX);
        let single = Self::with_header(stream_bytes, payload_max, SINGLE_HEADER_BYTES);
        let single = single.filter(|layout| layout.blocks() == 1);
        single.or_else(|| {
            Self::with_header(stream_bytes, payload_max, LONG_HEADER_BYTES)
                .filter(|layout| layout.blocks() > 1)
        })
    }

    fn with_header(stream_bytes: usize, payload_max: usize, header_bytes: usize) -> Option<Self> {
        let room = payload_max.checked_sub(header_bytes)? & !1;
        if room < SHARD_BYTES_MIN {
            return None;
        }
        // As few as will do, then no longer than these need to be: `count` is again `fewest`, the pad under a shard.
        let fewest = stream_bytes.div_ceil(room).max(1);
        let shard_bytes = stream_bytes.div_ceil(fewest).next_multiple_of(2).max(SHARD_BYTES_MIN);
        let count = stream_bytes.div_ceil(shard_bytes).max(1);
        let count = u16::try_from(count).ok().filter(|count| usize::from(*count) <= FRAGMENTS_MAX)?;
        Some(Self { count, shard_bytes })
    }

    /// The stream with its padding, bytes.
    pub(crate) fn stream_bytes(&self) -> usize {
        usize::from(self.count) * self.shard_bytes
    }

    pub(crate) fn blocks(&self) -> usize {
        usize::from(self.count).div_ceil(BLOCK_FRAGMENTS_MAX)
    }

    /// Data fragments of a block: the same in all, or one more in the first ones.
    pub(crate) fn fragments_of(&self, block: u8) -> usize {
        let (count, blocks) = (usize::from(self.count), self.blocks());
        count / blocks + usize::from(usize::from(block) < count % blocks)
    }

    /// Data fragments before those of a block.
    pub(crate) fn fragments_before(&self, block: u8) -> usize {
        let (count, blocks, block) = (usize::from(self.count), self.blocks(), usize::from(block));
        count / blocks * block + block.min(count % blocks)
    }

    pub(crate) fn header_bytes(&self) -> usize {
        if self.blocks() == 1 { SINGLE_HEADER_BYTES } else { LONG_HEADER_BYTES }
    }

    /// Whether a message could have it.
    fn is_possible(&self) -> bool {
        let shard = self.shard_bytes;
        let before_last = (usize::from(self.count).saturating_sub(1)).saturating_mul(shard);
        shard >= SHARD_BYTES_MIN && shard.is_multiple_of(2) && before_last < STREAM_BYTES_MAX
    }
}

/// Which fragment of which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FragmentPlace {
    pub(crate) id: MessageId,
    pub(crate) layout: Layout,
    pub(crate) block: u8,
    pub(crate) index: u8,
}

impl FragmentPlace {
    /// Writes the fragment's payload: this place, then the shard.
    pub(crate) fn seal(&self, shard: &[u8]) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.layout.header_bytes() + shard.len());
        payload.extend_from_slice(&self.id.0.to_be_bytes());
        let [high, low] = (self.layout.count - 1).to_be_bytes();
        if self.layout.blocks() == 1 {
            payload.extend_from_slice(&[low, self.index]);
        } else {
            payload.extend_from_slice(&[LONG | high, low, self.block, self.index]);
        }
        payload.extend_from_slice(shard);
        payload
    }

    /// Reads a payload; whatever it is, what comes out is a place that the layout has.
    pub(crate) fn open(payload: &[u8]) -> Result<(Self, &[u8]), FragmentError> {
        let place = match payload {
            [a, b, head, high_or_index, rest @ ..] if head & LONG == 0 && head >> 6 == 0 => {
                Self::at([*a, *b], u16::from(*head), 0, *high_or_index, rest)
            }
            [a, b, high, low, block, index, rest @ ..] if high >> 4 == LONG >> 4 => {
                let count = u16::from_be_bytes([high & 0x0f, *low]);
                let long = usize::from(count) >= BLOCK_FRAGMENTS_MAX;
                long.then(|| Self::at([*a, *b], count, *block, *index, rest)).flatten()
            }
            _ => None,
        };
        place
            .filter(|_| payload.len() <= FRAGMENT_BYTES_MAX)
            .ok_or(FragmentError::Malformed { bytes: payload.len() })
    }

    fn at(id: [u8; 2], count_less_one: u16, block: u8, index: u8, shard: &[u8]) -> Option<(Self, &[u8])> {
        let layout = Layout { count: count_less_one + 1, shard_bytes: shard.len() };
        let there = layout.is_possible()
            && usize::from(block) < layout.blocks()
            && usize::from(index) < layout.fragments_of(block) + PARITY_MAX;
        let id = MessageId(u16::from_be_bytes(id));
        there.then_some((Self { id, layout, block, index }, shard))
    }
}

/// A message's hash: print and id are parts of it.
fn hash(kind: u8, bytes: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key(PRINT_CONTEXT).update(&[kind]).update(bytes).finalize().as_bytes()
}

/// What the ids of a message are cut from, first to last: of its hash and its sender.
fn hash_of_id(hash: &[u8; 32], sender: &PeerId) -> [u8; 32] {
    *blake3::Hasher::new_derive_key(ID_CONTEXT).update(hash).update(sender.as_bytes()).finalize().as_bytes()
}

fn print_of(hash: &[u8; 32]) -> [u8; PRINT_BYTES] {
    let [a, b, c, d, ..] = *hash;
    [a, b, c, d]
}

/// The stream of a message, padded for its layout.
fn write_stream(kind: u8, bytes: &[u8], hash: &[u8; 32], layout: Layout) -> Vec<u8> {
    let unpadded = STREAM_HEAD_BYTES + bytes.len() + PRINT_BYTES;
    let pad = layout.stream_bytes().saturating_sub(unpadded);
    let mut stream = Vec::with_capacity(layout.stream_bytes());
    stream.extend_from_slice(&[kind << 4, u8::try_from(pad).unwrap_or(u8::MAX)]);
    stream.extend_from_slice(bytes);
    stream.extend_from_slice(&print_of(hash));
    stream.resize(layout.stream_bytes(), 0);
    stream
}

/// Kind and bytes of a whole stream; `None` where it is not what one sender wrote as one message.
fn read_stream(stream: &[u8], layout: Layout) -> Option<(u8, Vec<u8>)> {
    let [first, pad, rest @ ..] = stream else { return None };
    let (rest, padding) = rest.split_at_checked(rest.len().checked_sub(usize::from(*pad))?)?;
    let (bytes, print) = rest.split_last_chunk::<PRINT_BYTES>()?;
    let kind = first >> 4;
    let sound = first & 0x0f == 0
        && KINDS.contains(&kind)
        && usize::from(*pad) < layout.shard_bytes
        && padding.iter().all(|byte| *byte == 0)
        && bytes.len() <= MESSAGE_BYTES_MAX;
    (sound && print_of(&hash(kind, bytes)) == *print).then(|| (kind, bytes.to_vec()))
}
