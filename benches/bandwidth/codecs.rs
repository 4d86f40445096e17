//! What a row is, the codec of this project, and documents sent whole.

use crate::traces::TraceDocument;
use serde_json::Value as Json;
use tombolo_delta::{Context, Limits, Value, apply, decode, diff, encode, from_cbor};

/// A way to send a document to a peer that holds an older one.
pub(crate) trait Codec {
    fn name(&self) -> &str;

    /// The message; none if such documents are beyond it.
    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>>;

    /// The document, of the base, the signed time and the message alone.
    fn decode(&mut self, base: &TraceDocument, time_ms: u64, message: &[u8]) -> Option<Decoded>;
}

/// What came out, in the codec's own terms.
pub(crate) enum Decoded {
    Value(Value),
    Json(Json),
    /// From a codec that keeps a large integer as the float it equals.
    #[cfg_attr(not(feature = "peers"), allow(dead_code, reason = "only other engines do"))]
    Numbers(Json),
}

impl Decoded {
    /// Whether this is the document: integers and floats differ, floats compared by their bits.
    pub(crate) fn is(&self, document: &TraceDocument) -> bool {
        match self {
            Decoded::Value(value) => *value == document.value,
            Decoded::Json(json) => *json == document.json,
            Decoded::Numbers(json) => same_numbers(json, &document.json),
        }
    }
}

/// Whether two documents are the same but for the kinds of their numbers.
fn same_numbers(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_numbers(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_numbers(a, b)))
        }
        _ => a == b,
    }
}

/// The codec of this project.
pub(crate) struct TomboloCodec;

fn context(base: &TraceDocument, time_ms: u64) -> Context {
    Context { base_sequence: base.sequence, sequence: base.sequence + 1, base_time_ms: base.time_ms, time_ms }
}

impl Codec for TomboloCodec {
    fn name(&self) -> &str {
        "tombolo"
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        let context = context(base, target.time_ms);
        Some(encode(&base.value, &diff(&base.value, &target.value, &context), &context))
    }

    fn decode(&mut self, base: &TraceDocument, time_ms: u64, message: &[u8]) -> Option<Decoded> {
        let context = context(base, time_ms);
        let delta = decode(&base.value, message, &context).ok()?;
        apply(&base.value, &delta, &context).ok().map(Decoded::Value)
    }
}

/// The codecs that send a document whole.
pub(crate) fn full() -> Vec<Box<dyn Codec>> {
    vec![
        Box::new(Full {
            name: "json",
            write: |document| document.json_text.clone(),
            read: |bytes| serde_json::from_slice(bytes).ok().map(Decoded::Json),
        }),
        Box::new(Full {
            name: "cbor",
            write: |document| tombolo_delta::to_cbor(&document.value),
            read: |bytes| from_cbor(bytes, &WHOLE).ok().map(Decoded::Value),
        }),
        Box::new(Full {
            name: "messagepack",
            write: |document| rmp_serde::to_vec(&document.json).expect("JSON has a MessagePack form"),
            read: |bytes| rmp_serde::from_slice(bytes).ok().map(Decoded::Json),
        }),
    ]
}

/// Any document that a trace may hold.
pub(crate) const WHOLE: Limits = Limits { bytes_max: usize::MAX, depth_max: 128, items_max: usize::MAX };

struct Full {
    name: &'static str,
    write: fn(&TraceDocument) -> Vec<u8>,
    read: fn(&[u8]) -> Option<Decoded>,
}

impl Codec for Full {
    fn name(&self) -> &str {
        self.name
    }

    fn encode(&mut self, _: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        Some((self.write)(target))
    }

    fn decode(&mut self, _: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        (self.read)(message)
    }
}
