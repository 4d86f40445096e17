//! The messages between broadcast engines, and their bytes. A radio's frame names the audience and the kind of message,
//! so that neither stands here.
//!
//! ```text
//! heartbeat   [next by 1][fingerprint 4] { [alias 2][fingerprint 2] }…
//! frontier    [form 1] { entry }…
//!   form      bit 0: long entries; bit 1: complete, a layer that is not named is not held
//!   short     u32: 12 bits of the layer's hash, 12 low bits of the sequence, 8 bits of the root
//!   long      [layer hash 8][root prefix 4][sequence varint]
//! ```
//! A heartbeat reports the sender's own documents, and in two bytes each those of others that it relays, named by
//! the alias of their audience. `next by` is seconds as (8 + low 3 bits) << high 5 bits.

use tombolo_delta::varint::{self, VarintError};

use crate::layer::{LayerHash, Sequence};
use crate::sync::frontier::{Frontier, State};

/// Entries in one frontier; beyond that the most valuable are named and the frontier is not complete.
pub const ENTRIES_MAX: usize = 256;
/// Other audiences in one heartbeat. Further ones wait for the next.
pub const OTHERS_MAX: usize = 16;

/// Fingerprints of what the sender has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// By when the next comes at the latest, seconds; rounded up to what one byte can carry.
    pub next_by_s: u32,
    /// Upper half of the fingerprint of what the sender holds of its own documents.
    pub fingerprint: u32,
    /// For other audiences: their alias, and the upper quarter of the fingerprint.
    pub others: Vec<([u8; 2], u16)>,
}

/// The report of a heartbeat on one owner's documents: the leading bits of the fingerprint of what its sender holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// The upper half, of the sender's own.
    Own(u32),
    /// The upper quarter, of another's.
    Other(u16),
}

impl Fingerprint {
    /// Whether a frontier has this fingerprint.
    pub fn is_of(&self, frontier: &Frontier) -> bool {
        let fingerprint = frontier.fingerprint();
        match self {
            Fingerprint::Own(half) => (fingerprint >> 32) as u32 == *half,
            Fingerprint::Other(quarter) => (fingerprint >> 48) as u16 == *quarter,
        }
    }
}

/// A state as a frontier on broadcast names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontierEntry {
    /// Four bytes: enough between nodes that know the layers.
    Short {
        /// The first 12 bits of the layer's hash.
        layer: u16,
        /// The low 12 bits of the sequence.
        sequence: u16,
        /// The first byte of the root.
        root: u8,
    },
    /// The state with full names.
    Long {
        /// The hash that names the layer.
        layer: LayerHash,
        /// The state of that layer.
        state: State,
    },
}

/// What the sender holds of one owner's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontierMessage {
    /// Whether layers that are not named are not held.
    pub complete: bool,
    /// The states that are held.
    pub entries: Vec<FrontierEntry>,
}

impl FrontierMessage {
    /// Whether its sender only observes the owner, and names all that it takes. A frontier that is incomplete for want
    /// of room is full.
    pub fn observes(&self) -> bool {
        !self.complete && self.entries.len() < ENTRIES_MAX
    }
}

/// Why bytes are no message of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastMessageError {
    /// The bytes are cut short, or some are left over.
    #[error("a message of impossible length")]
    Length,
    /// A form of a later version.
    #[error("a frontier of an unknown form")]
    Form,
    /// A sequence that is not in its shortest form, or beyond the largest.
    #[error("a sequence of an invalid form")]
    Number,
    /// More entries than one message may have.
    #[error("too many entries")]
    TooMany,
}

impl Heartbeat {
    /// The bytes that travel: 5, and 4 for each other audience.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![pack_seconds(self.next_by_s)];
        bytes.extend(self.fingerprint.to_be_bytes());
        for (alias, fingerprint) in self.others.iter().take(OTHERS_MAX) {
            bytes.extend(alias);
            bytes.extend(fingerprint.to_be_bytes());
        }
        bytes
    }

    /// Reads a peer's bytes.
    ///
    /// # Errors
    ///
    /// `Length`, `Form`, `Number` or `TooMany` where they are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BroadcastMessageError> {
        let (head, rest) = bytes.split_first_chunk::<5>().ok_or(BroadcastMessageError::Length)?;
        let [next_by, a, b, c, d] = *head;
        let (others, left) = rest.as_chunks::<4>();
        if !left.is_empty() {
            return Err(BroadcastMessageError::Length);
        }
        if others.len() > OTHERS_MAX {
            return Err(BroadcastMessageError::TooMany);
        }
        Ok(Heartbeat {
            next_by_s: unpack_seconds(next_by),
            fingerprint: u32::from_be_bytes([a, b, c, d]),
            others: others.iter().map(|[a, b, c, d]| ([*a, *b], u16::from_be_bytes([*c, *d]))).collect(),
        })
    }
}

impl FrontierEntry {
    /// The short form of a state.
    pub fn short(layer: &LayerHash, state: State) -> Self {
        let [first, ..] = state.root_prefix;
        FrontierEntry::Short {
            layer: short_hash(layer),
            sequence: (state.sequence.get() & 0xfff) as u16,
            root: first,
        }
    }
}

/// The first 12 bits of a layer's hash.
pub fn short_hash(layer: &LayerHash) -> u16 {
    let [a, b, ..] = layer.0;
    u16::from_be_bytes([a, b]) >> 4
}

impl FrontierMessage {
    /// The bytes that travel: 1, and 4 for each short entry.
    pub fn encode(&self) -> Vec<u8> {
        let long = self.entries.iter().any(|entry| matches!(entry, FrontierEntry::Long { .. }));
        let mut bytes = vec![u8::from(long) | u8::from(self.complete) << 1];
        for entry in self.entries.iter().take(ENTRIES_MAX) {
            match entry {
                FrontierEntry::Short { layer, sequence, root } => {
                    let word = u32::from(*layer) << 20 | u32::from(*sequence & 0xfff) << 8 | u32::from(*root);
                    bytes.extend(word.to_be_bytes());
                }
                FrontierEntry::Long { layer, state } => {
                    bytes.extend(layer.0);
                    bytes.extend(state.root_prefix);
                    varint::put(&mut bytes, state.sequence.get());
                }
            }
        }
        bytes
    }

    /// Reads a peer's bytes.
    ///
    /// # Errors
    ///
    /// `Length`, `Form`, `Number` or `TooMany` where they are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BroadcastMessageError> {
        let (form, mut rest) = bytes.split_first().ok_or(BroadcastMessageError::Length)?;
        if *form > 3 {
            return Err(BroadcastMessageError::Form);
        }
        let mut entries = Vec::new();
        while !rest.is_empty() {
            if entries.len() >= ENTRIES_MAX {
                return Err(BroadcastMessageError::TooMany);
            }
            let (entry, left) = match form & 1 {
                0 => read_short(rest)?,
                _ => read_long(rest)?,
            };
            entries.push(entry);
            rest = left;
        }
        Ok(FrontierMessage { complete: form & 2 != 0, entries })
    }
}

fn read_short(bytes: &[u8]) -> Result<(FrontierEntry, &[u8]), BroadcastMessageError> {
    let (word, rest) = bytes.split_first_chunk::<4>().ok_or(BroadcastMessageError::Length)?;
    let word = u32::from_be_bytes(*word);
    let entry = FrontierEntry::Short {
        layer: (word >> 20) as u16,
        sequence: ((word >> 8) & 0xfff) as u16,
        root: (word & 0xff) as u8,
    };
    Ok((entry, rest))
}

fn read_long(bytes: &[u8]) -> Result<(FrontierEntry, &[u8]), BroadcastMessageError> {
    let (layer, rest) = bytes.split_first_chunk::<8>().ok_or(BroadcastMessageError::Length)?;
    let (root_prefix, rest) = rest.split_first_chunk::<4>().ok_or(BroadcastMessageError::Length)?;
    let (sequence, rest) = varint::take(rest).map_err(|error| match error {
        VarintError::Truncated => BroadcastMessageError::Length,
        VarintError::Overlong | VarintError::Overflow => BroadcastMessageError::Number,
    })?;
    let sequence = Sequence::new(sequence).ok_or(BroadcastMessageError::Number)?;
    Ok((
        FrontierEntry::Long {
            layer: LayerHash(*layer),
            state: State { sequence, root_prefix: *root_prefix },
        },
        rest,
    ))
}

/// The code of the smallest duration that is not shorter.
fn pack_seconds(seconds: u32) -> u8 {
    let fits = |code: &u8| unpack_seconds(*code) >= seconds;
    (0..=u8::MAX).find(fits).unwrap_or(u8::MAX)
}

fn unpack_seconds(code: u8) -> u32 {
    let seconds = u64::from(8 + (code & 7)) << (code >> 3);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_those_that_radio_was_promised() {
        let heartbeat = Heartbeat { next_by_s: 750, fingerprint: 7, others: vec![([1, 2], 3)] };
        assert_eq!(14 + heartbeat.encode().len(), 23);
        let state = State { sequence: Sequence::new(70_000).unwrap(), root_prefix: [9; 4] };
        let entries = (0..16).map(|n| FrontierEntry::short(&LayerHash([n; 8]), state)).collect();
        assert_eq!(14 + FrontierMessage { complete: true, entries }.encode().len(), 79);
    }

    #[test]
    fn next_by_is_never_sent_too_early() {
        for seconds in [0, 1, 8, 9, 15, 16, 17, 600, 3_601, 86_400, 1 << 30] {
            let sent = unpack_seconds(pack_seconds(seconds));
            assert!(sent >= seconds && sent <= 8 + seconds + seconds / 7, "{seconds} was sent as {sent}");
        }
    }

    /// A sequence has one form: the lenient reader that once took overlong ones let a state have two names.
    #[test]
    fn an_overlong_sequence_is_refused() {
        let state = State { sequence: Sequence::new(5).unwrap(), root_prefix: [9; 4] };
        let entries = vec![FrontierEntry::Long { layer: LayerHash([1; 8]), state }];
        let honest = FrontierMessage { complete: true, entries }.encode();
        assert!(FrontierMessage::decode(&honest).is_ok());
        let (last, head) = honest.split_last().unwrap();
        let overlong = [head, &[last | 0x80, 0x00]].concat();
        assert_eq!(FrontierMessage::decode(&overlong), Err(BroadcastMessageError::Number));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            next_by in any::<u8>(),
            fingerprint in any::<u32>(),
            others in proptest::collection::vec((any::<[u8; 2]>(), any::<u16>()), 0..OTHERS_MAX),
            states in proptest::collection::vec((any::<[u8; 8]>(), 0u64..1 << 53, any::<[u8; 4]>()), 0..20),
            complete in any::<bool>(), long in any::<bool>(),
        ) {
            let heartbeat = Heartbeat { next_by_s: unpack_seconds(next_by), fingerprint, others };
            prop_assert_eq!(Heartbeat::decode(&heartbeat.encode()), Ok(heartbeat));
            let entries = states.iter().map(|(layer, sequence, root_prefix)| {
                let sequence = Sequence::new(*sequence).unwrap();
                let (layer, state) = (LayerHash(*layer), State { sequence, root_prefix: *root_prefix });
                if long { FrontierEntry::Long { layer, state } } else { FrontierEntry::short(&layer, state) }
            });
            let told = FrontierMessage { complete, entries: entries.collect() };
            prop_assert_eq!(FrontierMessage::decode(&told.encode()), Ok(told));
        }

        #[test]
        fn nothing_panics_on_hostile_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Heartbeat::decode(&bytes);
            let _ = FrontierMessage::decode(&bytes);
        }
    }
}
