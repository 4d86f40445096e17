//! The bytes of envelopes. `FORMAT.md` beside this file draws them; `tests/vectors/` pins them.

use tombolo_delta::varint::{self, VarintError, unzigzag, zigzag};
use tombolo_delta::{CborError, CborReader, CborWriter, Limits, Value};
use tombolo_transports::PeerId;

use crate::clock::Timestamp;
use crate::envelope::{BaseRef, Envelope, Payload};
use crate::identity::SignatureBytes;
use crate::layer::{
    Content, ContentError, DocumentId, DocumentName, Entry, EntryChange, EntryError, Head, KeyPath, Kind,
    LayerId, Root, Sequence, SignedHead,
};
use crate::limits::{DEPTH_MAX, LAYER_BYTES_MAX, MAP_ENTRIES_MAX, MESSAGE_BYTES_MAX};
use crate::time::Wall;

/// First byte of a compact envelope: this bit is set, as in no other message.
pub(super) const COMPACT: u8 = 0b1000_0000;
/// The time step counts milliseconds; clear: seconds.
const STEP_IN_MS: u8 = 0b0100_0000;
/// An audience step follows the time step.
const AUDIENCE_STEP: u8 = 0b0010_0000;
/// The layer's address byte follows the distance.
const ADDRESS: u8 = 0b0001_0000;
/// The base's distance, 1 to 15; 0: a varint follows.
const DISTANCE: u8 = 0b0000_1111;

/// Items of a whole envelope.
const WHOLE_ITEMS: usize = 9;

/// Why bytes are no envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// They end too early.
    #[error("the envelope ends too early")]
    Truncated,
    /// A number is longer than it needs to be, or too large.
    #[error("a number in the envelope is out of range or not in its shortest form")]
    Number,
    /// Not deterministic CBOR within the limits.
    #[error("{0}")]
    Cbor(#[from] CborError),
    /// The array does not have the fields of an envelope.
    #[error("the envelope's fields are not those of FORMAT.md")]
    Shape,
    /// A map delta over a link is longer than [`COMPACT_MAP_BYTES_MAX`](crate::limits::COMPACT_MAP_BYTES_MAX), or changes more
    /// than [`COMPACT_CHANGES_MAX`](crate::limits::COMPACT_CHANGES_MAX) entries.
    #[error("the delta changes more entries than one may: the layer has to come whole or in parts")]
    TooManyChanges,
    /// The content is none.
    #[error("{0}")]
    Content(#[from] ContentError),
    /// A changed entry is none.
    #[error("{0}")]
    Entry(#[from] EntryError),
}

/// A compact envelope: claims relative to a base, a signature, and a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactEnvelope<D = Vec<u8>> {
    /// The base that the delta starts from.
    pub base: BaseRef,
    /// One byte of the layer's hash, where the link is wide enough to spare it.
    pub address: Option<u8>,
    /// Signed time less the base's, milliseconds.
    pub time_step_ms: i64,
    /// Audience sequence less the base's.
    pub audience_step: i64,
    /// The author's signature over the head that results.
    pub signature: SignatureBytes,
    /// What changed. As bytes by themselves, of a snapshot: a packed delta, one CBOR byte string; of a map:
    /// `encode_changes`.
    pub delta: D,
}

impl<D> CompactEnvelope<D> {
    /// The same envelope around another form of its change.
    pub fn with<E>(&self, delta: E) -> CompactEnvelope<E> {
        let CompactEnvelope { base, address, time_step_ms, audience_step, signature, .. } = *self;
        CompactEnvelope { base, address, time_step_ms, audience_step, signature, delta }
    }
}

/// The bytes of a compact envelope.
pub fn encode_compact(envelope: &CompactEnvelope) -> Vec<u8> {
    let mut out = encode_head(envelope);
    out.extend(envelope.signature);
    out.extend_from_slice(&envelope.delta);
    out
}

fn encode_head(envelope: &CompactEnvelope) -> Vec<u8> {
    let in_seconds = envelope.time_step_ms % 1000 == 0;
    let distance = u8::try_from(envelope.base.distance).ok().filter(|d| (1..=DISTANCE).contains(d));
    let mut head = COMPACT | distance.unwrap_or(0);
    head |= if in_seconds { 0 } else { STEP_IN_MS };
    head |= if envelope.audience_step == 0 { 0 } else { AUDIENCE_STEP };
    head |= if envelope.address.is_some() { ADDRESS } else { 0 };
    let mut out = vec![head];
    if distance.is_none() {
        varint::put(&mut out, envelope.base.distance);
    }
    out.extend(envelope.address);
    out.extend(envelope.base.root_prefix);
    varint::put(
        &mut out,
        zigzag(if in_seconds { envelope.time_step_ms / 1000 } else { envelope.time_step_ms }),
    );
    if envelope.audience_step != 0 {
        varint::put(&mut out, zigzag(envelope.audience_step));
    }
    out
}

/// Reads a compact envelope of a peer.
///
/// # Errors
///
/// An error where the bytes are cut short or no compact envelope.
pub fn decode_compact(bytes: &[u8]) -> Result<CompactEnvelope, EnvelopeError> {
    let mut reader = EnvelopeReader { bytes };
    let envelope = read_head(&mut reader)?;
    Ok(CompactEnvelope { signature: reader.array()?, delta: reader.bytes.to_vec(), ..envelope })
}

fn read_head(reader: &mut EnvelopeReader<'_>) -> Result<CompactEnvelope, EnvelopeError> {
    let head = reader.byte()?;
    if head & COMPACT == 0 {
        return Err(EnvelopeError::Shape);
    }
    let distance = match head & DISTANCE {
        0 => reader.varint()?,
        short => u64::from(short),
    };
    // A distance that fits the head must stand there, and a base lies before its successor.
    if distance == 0 || (head & DISTANCE == 0 && distance <= u64::from(DISTANCE)) {
        return Err(EnvelopeError::Number);
    }
    let address = if head & ADDRESS != 0 { Some(reader.byte()?) } else { None };
    let root_prefix = reader.array()?;
    let step = unzigzag(reader.varint()?);
    let time_step_ms = if head & STEP_IN_MS != 0 { Some(step) } else { step.checked_mul(1000) };
    let audience_step = if head & AUDIENCE_STEP != 0 { unzigzag(reader.varint()?) } else { 0 };
    Ok(CompactEnvelope {
        base: BaseRef { distance, root_prefix, is_short: false },
        address,
        time_step_ms: time_step_ms.ok_or(EnvelopeError::Number)?,
        audience_step,
        signature: [0; 64],
        delta: Vec::new(),
    })
}

/// The bytes of a whole envelope: the deterministic CBOR array `[kind, owner, name, author, sequence, time,
/// audience sequence, signature, content | root]`. An author that is the owner is `null`. The last item is
/// an array of one (the content, whose root is computed) or the 32 bytes of the root (an offer).
pub fn encode_whole(envelope: &Envelope) -> Vec<u8> {
    let head = &envelope.signed.head;
    let room = match &envelope.payload {
        Payload::Whole(Content::Map(map)) => map.size_bytes(),
        Payload::Whole(Content::Snapshot(_)) | Payload::Offer => 0,
    };
    let mut out = CborWriter::with_capacity(512 + room);
    out.array(WHOLE_ITEMS).unsigned(u64::from(head.kind.code())).bytes(&head.layer.document.owner.0);
    out.text(head.layer.document.name.as_str());
    match head.layer.author == head.layer.document.owner {
        true => out.value(&Value::Null),
        false => out.bytes(&head.layer.author.0),
    };
    out.unsigned(head.sequence.get()).unsigned(head.time.ms()).unsigned(head.audience_sequence.get());
    out.bytes(&envelope.signed.signature);
    match &envelope.payload {
        Payload::Whole(Content::Snapshot(value)) => {
            value.write(out.array(1));
        }
        Payload::Whole(Content::Map(map)) => {
            out.array(1).array(map.len());
            map.iter().for_each(|(key, entry)| entry.write(key, &mut out));
        }
        Payload::Offer => {
            out.bytes(&head.root.0);
        }
    }
    out.finish()
}

/// Reads a whole envelope of a peer. The signature is not checked here: `Envelope::open` does.
///
/// # Errors
///
/// An error where the bytes are no whole envelope, or exceed a limit.
pub fn decode_whole(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    decode_whole_within(bytes, MESSAGE_BYTES_MAX)
}

/// The same with another limit of the bytes, for files.
///
/// # Errors
///
/// An error where the bytes are no whole envelope, or exceed a limit.
pub fn decode_whole_within(bytes: &[u8], bytes_max: usize) -> Result<Envelope, EnvelopeError> {
    let limits = Limits { bytes_max, depth_max: DEPTH_MAX + 4, items_max: bytes_max };
    if bytes.len() > bytes_max {
        return Err(CborError::TooLong { bytes: bytes.len(), max: bytes_max }.into());
    }
    let mut reader = CborReader::new(bytes, &limits);
    if reader.enter_array()? != Some(WHOLE_ITEMS) {
        return Err(EnvelopeError::Shape);
    }
    let items = (1..WHOLE_ITEMS).map(|_| reader.next_value()).collect::<Result<Vec<_>, _>>()?;
    let [kind, owner, name, author, sequence, time, audience, signature] = items.as_slice() else {
        unreachable!("so many items were just read");
    };
    let kind = kind.as_u64().and_then(Kind::from_code).ok_or(EnvelopeError::Shape)?;
    let owner = PeerId(fixed(owner)?);
    let author = if author.is_null() { owner } else { PeerId(fixed(author)?) };
    let name = name.as_text().and_then(|n| DocumentName::new(n).ok()).ok_or(EnvelopeError::Shape)?;
    let (payload, root) = match reader.enter_array()? {
        Some(1) => {
            // The rest is the content: it is read once, without a value in between.
            let content = Content::from_cbor(kind, bytes.get(reader.position()..).unwrap_or_default())?;
            let root = content.root();
            (Payload::Whole(content), root)
        }
        Some(_) => return Err(EnvelopeError::Shape),
        None => {
            let root = Root(fixed(&reader.next_value()?)?);
            reader.finish()?;
            (Payload::Offer, root)
        }
    };
    let head = Head {
        kind,
        layer: LayerId { document: DocumentId { owner, name }, author },
        sequence: number(sequence)?,
        time: Wall::from_ms(time.as_u64().ok_or(EnvelopeError::Shape)?),
        audience_sequence: number(audience)?,
        root,
    };
    Ok(Envelope { signed: SignedHead { head, signature: fixed(signature)? }, payload })
}

/// What changed in a map since a base: entries put (`Some`) and keys dropped (`None`).
pub type MapChanges = Vec<EntryChange>;

/// The bytes of a map delta: the deterministic CBOR array `[entries, dropped keys]`, the second left out
/// where it is empty. Entries are those of `layer/entry.rs` with their stamps relative to the signed time:
/// zigzag of the difference, modulo 2^64, to the stamp (time, counter 0).
pub fn encode_changes(changes: &MapChanges, time: Wall) -> Vec<u8> {
    let dropped = changes.iter().filter(|(_, entry)| entry.is_none()).count();
    let mut out = CborWriter::with_capacity(64 + 128 * changes.len());
    out.array(if dropped > 0 { 2 } else { 1 }).array(changes.len() - dropped);
    for (key, entry) in changes {
        if let Some(entry) = entry {
            entry.write_stamped(key, relative_stamp(entry.stamp, time), &mut out);
        }
    }
    if dropped > 0 {
        out.array(dropped);
        changes.iter().filter(|(_, entry)| entry.is_none()).for_each(|(key, _)| key.write(&mut out));
    }
    out.finish()
}

pub(super) fn changes_value(changes: &MapChanges, time: Wall) -> Value {
    let put = |(key, entry): &EntryChange| entry.as_ref().map(|e| relative(e, time).to_value(key));
    let entries = changes.iter().filter_map(put).collect();
    let dropped: Vec<Value> =
        changes.iter().filter(|(_, e)| e.is_none()).map(|(key, _)| key.to_value()).collect();
    let mut items = vec![Value::Array(entries)];
    if !dropped.is_empty() {
        items.push(Value::Array(dropped));
    }
    Value::Array(items)
}

/// Reads a map delta of a peer.
///
/// # Errors
///
/// An error where the bytes are no map delta, or exceed a limit.
pub fn decode_changes(bytes: &[u8], time: Wall) -> Result<MapChanges, EnvelopeError> {
    let limits = Limits { bytes_max: LAYER_BYTES_MAX, depth_max: DEPTH_MAX + 3, items_max: LAYER_BYTES_MAX };
    if bytes.len() > limits.bytes_max {
        return Err(CborError::TooLong { bytes: bytes.len(), max: limits.bytes_max }.into());
    }
    let mut reader = CborReader::new(bytes, &limits);
    let lists = reader.enter_array()?.filter(|lists| matches!(lists, 1 | 2)).ok_or(EnvelopeError::Shape)?;
    let entries = reader.enter_array()?.ok_or(EnvelopeError::Shape)?;
    if entries > MAP_ENTRIES_MAX {
        return Err(EnvelopeError::Content(ContentError::TooManyEntries));
    }
    let mut changes = MapChanges::new();
    for _ in 0..entries {
        let (key, entry) = Entry::read(&mut reader)?;
        changes.push((key, Some(absolute(entry, time).into())));
    }
    if lists == 2 {
        let dropped = reader.enter_array()?.ok_or(EnvelopeError::Shape)?;
        if entries.saturating_add(dropped) > MAP_ENTRIES_MAX {
            return Err(EnvelopeError::Content(ContentError::TooManyEntries));
        }
        for _ in 0..dropped {
            changes.push((KeyPath::read(&mut reader)?, None));
        }
    }
    reader.finish()?;
    Ok(changes)
}

pub(super) fn changes_from_value(value: Value, time: Wall) -> Result<MapChanges, EnvelopeError> {
    let Value::Array(items) = value else {
        return Err(EnvelopeError::Shape);
    };
    let mut items = items.into_iter();
    let (entries, dropped) = match (items.next(), items.next(), items.next()) {
        (Some(Value::Array(entries)), None, None) => (entries, Vec::new()),
        (Some(Value::Array(entries)), Some(Value::Array(dropped)), None) => (entries, dropped),
        _ => return Err(EnvelopeError::Shape),
    };
    if entries.len().saturating_add(dropped.len()) > MAP_ENTRIES_MAX {
        return Err(EnvelopeError::Content(ContentError::TooManyEntries));
    }
    let mut changes = MapChanges::with_capacity(entries.len() + dropped.len());
    for item in entries {
        let (key, entry) = Entry::from_value(item)?;
        changes.push((key, Some(absolute(entry, time).into())));
    }
    for item in dropped {
        changes.push((KeyPath::from_value(&item).map_err(EntryError::from)?, None));
    }
    Ok(changes)
}

fn relative(entry: &Entry, time: Wall) -> Entry {
    Entry { stamp: relative_stamp(entry.stamp, time), ..entry.clone() }
}

fn relative_stamp(stamp: Timestamp, time: Wall) -> Timestamp {
    let difference = stamp.bits().wrapping_sub(Timestamp::new(time, 0).bits());
    Timestamp::from_bits(zigzag(difference.cast_signed()))
}

fn absolute(entry: Entry, time: Wall) -> Entry {
    let difference = unzigzag(entry.stamp.bits()).cast_unsigned();
    Entry { stamp: Timestamp::from_bits(Timestamp::new(time, 0).bits().wrapping_add(difference)), ..entry }
}

pub(super) fn fixed<const N: usize>(value: &Value) -> Result<[u8; N], EnvelopeError> {
    value.as_bytes().and_then(|b| b.try_into().ok()).ok_or(EnvelopeError::Shape)
}

pub(super) fn number(value: &Value) -> Result<Sequence, EnvelopeError> {
    value.as_u64().and_then(Sequence::new).ok_or(EnvelopeError::Number)
}

struct EnvelopeReader<'a> {
    bytes: &'a [u8],
}

impl EnvelopeReader<'_> {
    fn byte(&mut self) -> Result<u8, EnvelopeError> {
        let (first, rest) = self.bytes.split_first().ok_or(EnvelopeError::Truncated)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(EnvelopeError::Truncated)?;
        self.bytes = rest;
        Ok(*head)
    }

    fn varint(&mut self) -> Result<u64, EnvelopeError> {
        let (number, rest) = varint::take(self.bytes).map_err(|error| match error {
            VarintError::Truncated => EnvelopeError::Truncated,
            VarintError::Overlong | VarintError::Overflow => EnvelopeError::Number,
        })?;
        self.bytes = rest;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact() -> impl Strategy<Value = CompactEnvelope> {
        let step = prop_oneof![(-9_000i64..9_000).prop_map(|s| s * 1000), any::<i32>().prop_map(i64::from)];
        (
            1u64..1_000_000,
            any::<[u8; 2]>(),
            any::<Option<u8>>(),
            step,
            -3i64..3,
            any::<[u8; 32]>(),
            any::<Vec<u8>>(),
        )
            .prop_map(
                |(distance, root_prefix, address, time_step_ms, audience_step, half, delta)| {
                    CompactEnvelope {
                        base: BaseRef { distance, root_prefix, is_short: false },
                        address,
                        time_step_ms,
                        audience_step,
                        signature: [half, half].concat().try_into().unwrap(),
                        delta,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_compact_envelope_reads_back(envelope in compact()) {
            prop_assert_eq!(decode_compact(&encode_compact(&envelope)), Ok(envelope));
        }

        #[test]
        fn only_one_form_of_each_is_read(bytes in proptest::collection::vec(any::<u8>(), 60..120)) {
            if let Ok(envelope) = decode_compact(&bytes) {
                let again = encode_compact(&envelope);
                prop_assert!(again == bytes || envelope.audience_step == 0 || envelope.time_step_ms % 1000 == 0);
            }
            let _ = decode_whole(&bytes);
            let _ = decode_changes(&bytes, Wall::from_ms(7));
        }

        #[test]
        fn stamps_travel_relative_to_the_signed_time(bits in any::<u64>(), time in 0u64..1 << 48) {
            let entry = Entry { stamp: Timestamp::from_bits(bits), value: None, saw: None };
            prop_assert_eq!(absolute(relative(&entry, Wall::from_ms(time)), Wall::from_ms(time)), entry);
        }
    }

    #[test]
    fn the_overhead_on_a_lan_stays_within_its_budget() {
        let envelope = |time_step_ms, address| CompactEnvelope {
            base: BaseRef { distance: 1, root_prefix: [1, 2], is_short: false },
            address,
            time_step_ms,
            audience_step: 0,
            signature: [0; 64],
            delta: Vec::new(),
        };
        assert_eq!(encode_compact(&envelope(60_123, Some(9))).len(), 71, "a minute later, milliseconds");
    }
}
