//! Signed and provisional deltas as they travel on air, where a byte costs 8 ms: the fields that name the base stand in
//! the delta's own coder, and take the bits that they are worth. `FORMAT.md` draws both; `tests/vectors/air.json` pins
//! them.
//!
//! ```text
//! update       { signature 64, length 1, change }… signature 64, change as long as the rest
//! change       coded, or of a map also  length of the coded part 1, coded, CBOR
//! provisional  tags (high 4 bits), distance (low 4 bits), coded, { tag 4 }…
//! ```
//! An ed25519 signature ends with a number below 2^253: its highest three bits are always 0 and carry flags here.

use tombolo_delta::{Context, PreambleReader, PreambleWriter, Value};

use crate::envelope::codec::{changes_from_value, changes_value};
use crate::envelope::{BaseRef, Carried, Change, CompactEnvelope, EnvelopeError, MapChanges, decode_changes};
use crate::identity::SignatureBytes;
use crate::limits::DEPTH_MAX;
use crate::time::{Millis, Wall};

/// In a signature's last byte: another envelope follows, and this one's change has its length before it.
const ANOTHER: u8 = 0x80;
/// In a signature's last byte: the change stands as CBOR behind the coded part.
const PLAIN: u8 = 0x40;
/// In a signature's last byte: the highest bit of the prefix of the base's root.
const PREFIX_HIGH: u8 = 0x20;
const PREFIX_HIGH_SHIFT: u32 = 5;
/// Bits of the first byte of the base's root that an update carries.
const PREFIX_LOW_BITS: u32 = 7;
/// A map's content is packed up to here: a tenth of a second, and twice what a radio takes.
const CONTENT_BYTES_MAX: usize = 128 * 1024;
const SIGNATURE_BYTES: usize = 64;
const TAG_BYTES: usize = 4;
/// Major type of CBOR (RFC 8949, section 3.1).
const BYTE_STRING: u8 = 2;

/// The interval at which most documents on air are published: a signed time is sent as its deviation from that.
const PACE: Millis = Millis::from_ms(60_000);
/// A larger distance predicts no time.
const PACED_DISTANCE_MAX: u64 = 1 << 20;
/// Probabilities of yes, in 65536ths.
const AUDIENCE_MOVED: u16 = 1_024;
const IN_MILLISECONDS: u16 = 2_048;
const PREFIX_IS_LONG: u16 = 6_554;
const AT_PACE: u16 = 45_875;
const EVEN: u16 = 32_768;
/// A number's class is at least one more, by class; the last holds from there on.
const DISTANCE_GROWS: [u16; 5] = [49_152, 49_152, 36_045, 16_384, 26_214];
const TIME_GROWS: [u16; 1] = [52_429];
/// Classes of a number: all below 2^54.
const CLASSES_MAX: u32 = 54;
/// A longer change of a map is sent uncompressed: it is encoded again for each frame, without the cost of a text model.
const PACKED_BYTES_MAX: usize = 4_096;
/// The largest distance that fits the first byte of a provisional state.
const DISTANCE_MAX: u64 = 15;

/// A signed envelope as it stands in an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateItem(Vec<u8>);

impl UpdateItem {
    /// Its length as the last of an update, bytes.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How much longer an update becomes by it where it is not the last; none where it cannot stand there.
    pub fn room(&self) -> Option<usize> {
        (self.len() - SIGNATURE_BYTES <= usize::from(u8::MAX)).then_some(self.len() + 1)
    }
}

/// An envelope in the form for air. `plain`: what changed in a map stands there for anyone to read, as it must where
/// nothing may be obscured; else only where that is shorter.
pub fn encode_update(envelope: &CompactEnvelope<Change<'_>>, plain: bool) -> UpdateItem {
    let mut preamble = PreambleWriter::new();
    let BaseRef { distance, root_prefix: [first, second], is_short } = envelope.base;
    put_number(&mut preamble, distance.saturating_sub(1), &DISTANCE_GROWS);
    put_time(&mut preamble, distance, envelope.time_step_ms);
    preamble.bit(AUDIENCE_MOVED, envelope.audience_step != 0);
    if envelope.audience_step != 0 {
        put_signed(&mut preamble, i128::from(envelope.audience_step), EVEN);
    }
    preamble.bit(PREFIX_IS_LONG, !is_short);
    preamble.raw(PREFIX_LOW_BITS, u64::from(first));
    if !is_short {
        preamble.raw(8, u64::from(second));
    }
    let mut bytes = envelope.signature.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last |= first >> PREFIX_LOW_BITS << PREFIX_HIGH_SHIFT;
    }
    match &envelope.delta {
        Change::Snapshot { base, target, context } => {
            bytes.extend(preamble.delta(base, &tombolo_delta::diff(base, target, context), context));
        }
        Change::Map { changes, time } => {
            let value = changes_value(changes, *time);
            let cbor = tombolo_delta::to_cbor(&value);
            let may_pack = !plain && cbor.len() <= PACKED_BYTES_MAX;
            match may_pack.then(|| packed(&value, cbor.len())).flatten() {
                Some(delta) => bytes.extend(preamble.delta(&Value::Null, &delta, &Context::default())),
                None => {
                    if let Some(last) = bytes.last_mut() {
                        *last |= PLAIN;
                    }
                    let coded = preamble.finish();
                    bytes.push(coded.len() as u8);
                    bytes.extend(coded);
                    bytes.extend(cbor);
                }
            }
        }
    }
    UpdateItem(bytes)
}

/// Puts envelopes one behind the other. One that has no [`room`](UpdateItem::room) must come last.
pub fn join_update(items: &[UpdateItem]) -> Option<Vec<u8>> {
    let (last, before) = items.split_last()?;
    let mut bytes = Vec::new();
    for UpdateItem(item) in before {
        let (signature, coded) = item.split_first_chunk::<SIGNATURE_BYTES>()?;
        let mut signature = *signature;
        *signature.last_mut()? |= ANOTHER;
        bytes.extend(signature);
        bytes.push(u8::try_from(coded.len()).ok()?);
        bytes.extend(coded);
    }
    bytes.extend(&last.0);
    Some(bytes)
}

/// Splits a peer's update into its envelopes. The references to their bases are read; nothing is verified yet.
///
/// # Errors
///
/// An error where the bytes are no update.
pub fn decode_update(bytes: &[u8]) -> Result<Vec<CompactEnvelope<UpdateChange>>, EnvelopeError> {
    let mut envelopes = Vec::new();
    let mut rest = bytes;
    loop {
        let (signature, behind) =
            rest.split_first_chunk::<SIGNATURE_BYTES>().ok_or(EnvelopeError::Truncated)?;
        let another = signature.last().is_some_and(|last| last & ANOTHER != 0);
        if !another {
            envelopes.push(read_update(*signature, behind)?);
            return Ok(envelopes);
        }
        let (length, behind) = behind.split_first().ok_or(EnvelopeError::Truncated)?;
        let (coded, left) = behind.split_at_checked(usize::from(*length)).ok_or(EnvelopeError::Truncated)?;
        envelopes.push(read_update(*signature, coded)?);
        rest = left;
    }
}

fn read_update(
    mut signature: SignatureBytes,
    change: &[u8],
) -> Result<CompactEnvelope<UpdateChange>, EnvelopeError> {
    let last = signature.last_mut().ok_or(EnvelopeError::Truncated)?;
    let (high, is_plain) = ((*last & PREFIX_HIGH) >> PREFIX_HIGH_SHIFT, *last & PLAIN != 0);
    *last &= !(ANOTHER | PLAIN | PREFIX_HIGH);
    let (coded, plain) = if is_plain {
        let (length, behind) = change.split_first().ok_or(EnvelopeError::Truncated)?;
        behind.split_at_checked(usize::from(*length)).ok_or(EnvelopeError::Truncated)?
    } else {
        (change, &[][..])
    };
    let mut preamble = PreambleReader::new(coded.to_vec());
    let distance = get_number(&mut preamble, &DISTANCE_GROWS)? + 1;
    let time_step_ms = get_time(&mut preamble, distance)?;
    let audience_step = if preamble.bit(AUDIENCE_MOVED) { get_signed(&mut preamble, EVEN)? } else { 0 };
    let is_short = !preamble.bit(PREFIX_IS_LONG);
    let first = high << PREFIX_LOW_BITS | preamble.raw(PREFIX_LOW_BITS) as u8;
    let second = if is_short { 0 } else { preamble.raw(8) as u8 };
    preamble.check().map_err(|_| EnvelopeError::Truncated)?;
    let delta = if is_plain {
        preamble.finish().map_err(|_| EnvelopeError::Truncated)?;
        UpdateChange::Plain(plain.to_vec())
    } else {
        UpdateChange::Behind(preamble)
    };
    Ok(CompactEnvelope {
        base: BaseRef { distance, root_prefix: [first, second], is_short },
        address: None,
        time_step_ms,
        audience_step: i64::try_from(audience_step).map_err(|_| EnvelopeError::Number)?,
        signature,
        delta,
    })
}

/// A provisional state of a snapshot, all but its tags: their number, 1 to 15, and what they are over.
pub fn encode_provisional(envelope: &CompactEnvelope<Change<'_>>, tags: u8) -> Option<Vec<u8>> {
    let Change::Snapshot { base, target, context } = &envelope.delta else { return None };
    let distance = envelope.base.distance;
    let short = distance <= DISTANCE_MAX;
    let mut preamble = PreambleWriter::new();
    if !short {
        put_number(&mut preamble, distance - DISTANCE_MAX - 1, &DISTANCE_GROWS);
    }
    put_time(&mut preamble, distance, envelope.time_step_ms);
    let mut bytes = vec![tags << 4 | if short { distance as u8 } else { 0 }];
    bytes.extend(preamble.delta(base, &tombolo_delta::diff(base, target, context), context));
    Some(bytes)
}

/// A provisional state of a peer, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionalUpdate<'b> {
    /// The envelope, which names no base and has no signature.
    pub envelope: CompactEnvelope<UpdateChange>,
    /// The bytes that the tags are over.
    pub body: &'b [u8],
    /// A tag for each listener that is meant.
    pub tags: &'b [[u8; TAG_BYTES]],
}

/// Splits the bytes of a peer's provisional state. Nothing is verified yet.
///
/// # Errors
///
/// An error where the bytes are no provisional state.
pub fn decode_provisional(bytes: &[u8]) -> Result<ProvisionalUpdate<'_>, EnvelopeError> {
    let first = *bytes.first().ok_or(EnvelopeError::Truncated)?;
    let tags_bytes = usize::from(first >> 4) * TAG_BYTES;
    let body_bytes = bytes.len().checked_sub(tags_bytes).filter(|length| *length > 0 && tags_bytes > 0);
    let (body, tags) = bytes.split_at(body_bytes.ok_or(EnvelopeError::Truncated)?);
    let coded = body.split_first().map_or(&[][..], |(_, coded)| coded);
    let mut preamble = PreambleReader::new(coded.to_vec());
    let distance = match u64::from(first & 0x0f) {
        0 => get_number(&mut preamble, &DISTANCE_GROWS)? + DISTANCE_MAX + 1,
        short => short,
    };
    let time_step_ms = get_time(&mut preamble, distance)?;
    preamble.check().map_err(|_| EnvelopeError::Truncated)?;
    let envelope = CompactEnvelope {
        base: BaseRef { distance, root_prefix: [0; 2], is_short: true },
        address: None,
        time_step_ms,
        audience_step: 0,
        signature: [0; SIGNATURE_BYTES],
        delta: UpdateChange::Behind(preamble),
    };
    Ok(ProvisionalUpdate { envelope, body, tags: tags.as_chunks().0 })
}

/// What a map holds: packed as a delta from nothing, where that is shorter than its CBOR and may be.
pub(super) fn encode_content(changes: &MapChanges, time: Wall, plain: bool) -> Vec<u8> {
    let value = changes_value(changes, time);
    let cbor = tombolo_delta::to_cbor(&value);
    if plain || cbor.len() > CONTENT_BYTES_MAX {
        return cbor;
    }
    let delta = packed(&value, cbor.len());
    delta.map_or(cbor, |delta| tombolo_delta::encode(&Value::Null, &delta, &Context::default()))
}

/// Reads it: a packed delta is a byte string, and the CBOR of a map's content an array.
pub(super) fn decode_content(bytes: &[u8], time: Wall) -> Result<MapChanges, EnvelopeError> {
    if bytes.first().is_none_or(|first| first >> 5 != BYTE_STRING) {
        return decode_changes(bytes, time);
    }
    let (nothing, context) = (Value::Null, Context::default());
    let delta = tombolo_delta::decode(&nothing, bytes, &context).map_err(|_| EnvelopeError::Shape)?;
    let value = tombolo_delta::apply(&nothing, &delta, &context).map_err(|_| EnvelopeError::Shape)?;
    changes_from_value(value, time)
}

/// What changed in a map as a delta from nothing, where that is shorter than its CBOR. No delta makes a value that is nested
/// deeper than a snapshot may be: the arrays around an entry count there.
fn packed(value: &Value, cbor_bytes: usize) -> Option<tombolo_delta::Delta> {
    if depth(value) > DEPTH_MAX {
        return None;
    }
    let context = Context::default();
    let delta = tombolo_delta::diff(&Value::Null, value, &context);
    let bytes = tombolo_delta::encode(&Value::Null, &delta, &context).len();
    (bytes <= cbor_bytes).then_some(delta)
}

/// How many arrays and maps stand in each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(fields) => 1 + fields.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Bytes(_) => {
            0
        }
    }
}

/// A change as it stands in an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateChange {
    /// Behind the fields that name its base, in the same bytes.
    Behind(PreambleReader),
    /// Of a map, as CBOR.
    Plain(Vec<u8>),
}

impl Carried for UpdateChange {
    fn bytes(&self) -> usize {
        match self {
            UpdateChange::Plain(cbor) => cbor.len(),
            UpdateChange::Behind(preamble) => preamble.input_bytes(),
        }
    }

    fn target(&self, base: &Value, context: &Context) -> Option<Value> {
        let UpdateChange::Behind(preamble) = self else { return None };
        let delta = preamble.delta(base, context).ok()?;
        tombolo_delta::apply(base, &delta, context).ok()
    }

    fn changes(&self, time: Wall) -> Result<MapChanges, EnvelopeError> {
        match self {
            UpdateChange::Plain(cbor) => decode_changes(cbor, time),
            UpdateChange::Behind(preamble) => {
                let (nothing, context) = (Value::Null, Context::default());
                let delta = preamble.delta(&nothing, &context).map_err(|_| EnvelopeError::Shape)?;
                let value =
                    tombolo_delta::apply(&nothing, &delta, &context).map_err(|_| EnvelopeError::Shape)?;
                changes_from_value(value, time)
            }
        }
    }
}

/// The signed time less what the pace predicts: in seconds where both are whole.
fn put_time(preamble: &mut PreambleWriter, distance: u64, time_step_ms: i64) {
    let off = i128::from(time_step_ms) - predicted_ms(distance);
    let fine = off % 1000 != 0;
    preamble.bit(IN_MILLISECONDS, fine);
    put_signed(preamble, if fine { off } else { off / 1000 }, AT_PACE);
}

fn get_time(preamble: &mut PreambleReader, distance: u64) -> Result<i64, EnvelopeError> {
    let unit = if preamble.bit(IN_MILLISECONDS) { 1 } else { 1000 };
    let off = get_signed(preamble, AT_PACE)? * unit;
    let step = predicted_ms(distance) + off;
    i64::try_from(step).map_err(|_| EnvelopeError::Number)
}

fn predicted_ms(distance: u64) -> i128 {
    i128::from(distance.min(PACED_DISTANCE_MAX) * PACE.ms())
}

/// A number below 2^54: its bit length in unary, then the bits below the highest.
fn put_number(preamble: &mut PreambleWriter, number: u64, grows: &[u16]) {
    let class_given = (number + 1).ilog2();
    let mut class = 0;
    while class < CLASSES_MAX {
        preamble.bit(chance(grows, class), class < class_given);
        if class == class_given {
            break;
        }
        class += 1;
    }
    preamble.raw(class, number + 1);
}

fn get_number(preamble: &mut PreambleReader, grows: &[u16]) -> Result<u64, EnvelopeError> {
    let mut class = 0;
    while class < CLASSES_MAX && preamble.bit(chance(grows, class)) {
        class += 1;
    }
    if class == CLASSES_MAX {
        return Err(EnvelopeError::Number);
    }
    Ok((1 << class | preamble.raw(class)) - 1)
}

fn chance(grows: &[u16], class: u32) -> u16 {
    grows.get(class as usize).or(grows.last()).copied().unwrap_or(EVEN)
}

/// A number of either sign: whether it is 0, its sign, its size less one.
fn put_signed(preamble: &mut PreambleWriter, number: i128, is_nothing: u16) {
    preamble.bit(is_nothing, number == 0);
    if number != 0 {
        preamble.bit(EVEN, number < 0);
        let size = u64::try_from(number.unsigned_abs() - 1).unwrap_or(u64::MAX);
        put_number(preamble, size.min((1 << (CLASSES_MAX - 1)) - 1), &TIME_GROWS);
    }
}

fn get_signed(preamble: &mut PreambleReader, is_nothing: u16) -> Result<i128, EnvelopeError> {
    if preamble.bit(is_nothing) {
        return Ok(0);
    }
    let negative = preamble.bit(EVEN);
    let size = i128::from(get_number(preamble, &TIME_GROWS)?) + 1;
    Ok(if negative { -size } else { size })
}
