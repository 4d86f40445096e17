//! A whole layer for a radio: the owner is known from the channel, and the content is packed.
//!
//! ```text
//! [kind, name, author | null, sequence, time ms, audience sequence, signature, packed]
//! packed: of a snapshot, the packed delta from null, in the context (0, sequence, 0, time);
//!         of a map, its entries as in a map delta: that CBOR, or where it is shorter the packed delta from null to it
//! ```

use tombolo_delta::{Context, Limits, Value};
use tombolo_transports::PeerId;

use crate::envelope::codec::{fixed, number};
use crate::envelope::update::{decode_content, encode_content};
use crate::envelope::{Envelope, EnvelopeError, Payload};
use crate::layer::{Content, DocumentId, DocumentName, Head, Kind, Layer, LayerId, SignedHead};
use crate::limits::RADIO_MESSAGE_BYTES_MAX;
use crate::time::Wall;

/// The bytes of a whole layer for a radio. `plain`: the entries of a map are readable by everyone. The result may be
/// longer than a radio takes; the sender checks.
pub fn encode_air(layer: &Layer, plain: bool) -> Vec<u8> {
    let head = layer.head();
    let id = &head.layer;
    let packed = match &layer.content {
        Content::Snapshot(value) => {
            let context = from_nothing(head.sequence.get(), head.time);
            let delta = tombolo_delta::diff(&Value::Null, &value.get(), &context);
            tombolo_delta::encode(&Value::Null, &delta, &context)
        }
        Content::Map(map) => {
            let entries = map.iter().map(|(key, entry)| (key.clone(), Some(entry.clone().into()))).collect();
            encode_content(&entries, head.time, plain)
        }
    };
    let author = match id.author == id.document.owner {
        true => Value::Null,
        false => Value::Bytes(id.author.0.to_vec()),
    };
    tombolo_delta::to_cbor(&Value::Array(vec![
        Value::from(u64::from(head.kind.code())),
        Value::from(id.document.name.as_str()),
        author,
        Value::from(head.sequence.get()),
        Value::from(head.time.ms()),
        Value::from(head.audience_sequence.get()),
        Value::Bytes(layer.signed.signature.to_vec()),
        Value::Bytes(packed),
    ]))
}

/// Reads a whole layer heard in `owner`'s channel. The root is computed, and nothing is verified yet.
///
/// # Errors
///
/// An error where the bytes are no whole layer, or exceed a limit.
pub fn decode_air(owner: PeerId, bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    let limits = Limits { bytes_max: RADIO_MESSAGE_BYTES_MAX, depth_max: 2, items_max: 16 };
    let Value::Array(items) = tombolo_delta::from_cbor(bytes, &limits)? else {
        return Err(EnvelopeError::Shape);
    };
    let [kind, name, author, sequence, time, audience, signature, Value::Bytes(packed)] = items.as_slice()
    else {
        return Err(EnvelopeError::Shape);
    };
    let kind = kind.as_u64().and_then(Kind::from_code).ok_or(EnvelopeError::Shape)?;
    let name = name.as_text().and_then(|name| DocumentName::new(name).ok()).ok_or(EnvelopeError::Shape)?;
    let author = match author {
        Value::Null => owner,
        other => PeerId(fixed(other)?),
    };
    let (sequence, time) = (number(sequence)?, Wall::from_ms(time.as_u64().ok_or(EnvelopeError::Shape)?));
    let content = match kind {
        Kind::Snapshot => {
            let context = from_nothing(sequence.get(), time);
            let delta =
                tombolo_delta::decode(&Value::Null, packed, &context).map_err(|_| EnvelopeError::Shape)?;
            let value =
                tombolo_delta::apply(&Value::Null, &delta, &context).map_err(|_| EnvelopeError::Shape)?;
            Content::snapshot(value)?
        }
        Kind::Map => {
            let mut content = Content::empty(Kind::Map);
            if let Content::Map(map) = &mut content {
                map.change(decode_content(packed, time)?)?;
            }
            content
        }
    };
    let head = Head {
        kind,
        layer: LayerId { document: DocumentId { owner, name }, author },
        sequence,
        time,
        audience_sequence: number(audience)?,
        root: content.root(),
    };
    Ok(Envelope {
        signed: SignedHead { head, signature: fixed(signature)? },
        payload: Payload::Whole(content),
    })
}

fn from_nothing(sequence: u64, time: Wall) -> Context {
    Context { base_sequence: 0, sequence, base_time_ms: 0, time_ms: time.ms() }
}
