//! JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396), as JSON and as CBOR.

use crate::codecs::{Codec, Decoded, WHOLE};
use crate::traces::TraceDocument;
use serde_json::Value as Json;
use tombolo_delta::{Value, from_cbor, to_cbor};

pub(crate) fn all() -> Vec<Box<dyn Codec>> {
    [
        ("json-patch", false, false),
        ("json-patch-cbor", false, true),
        ("merge-patch", true, false),
        ("merge-patch-cbor", true, true),
    ]
    .into_iter()
    .map(|(name, merge, cbor)| Box::new(Patch { name, merge, cbor }) as Box<dyn Codec>)
    .collect()
}

struct Patch {
    name: &'static str,
    merge: bool,
    cbor: bool,
}

impl Codec for Patch {
    fn name(&self) -> &str {
        self.name
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        let patch = if self.merge {
            merge_patch(&base.json, &target.json)
        } else {
            serde_json::to_value(json_patch::diff(&base.json, &target.json)).ok()?
        };
        if self.cbor {
            Some(to_cbor(&serde_json::from_value::<Value>(patch).ok()?))
        } else {
            serde_json::to_vec(&patch).ok()
        }
    }

    fn decode(&mut self, base: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        let patch: Json = if self.cbor {
            serde_json::to_value(from_cbor(message, &WHOLE).ok()?).ok()?
        } else {
            serde_json::from_slice(message).ok()?
        };
        let mut document = base.json.clone();
        if self.merge {
            json_patch::merge(&mut document, &patch);
        } else {
            json_patch::patch(&mut document, &serde_json::from_value::<json_patch::Patch>(patch).ok()?)
                .ok()?;
        }
        Some(Decoded::Json(document))
    }
}

/// What makes `target` of `base` when merged. A null in the target cannot be expressed: null means removal.
fn merge_patch(base: &Json, target: &Json) -> Json {
    let (Json::Object(old), Json::Object(new)) = (base, target) else { return target.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Json::Null));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let changed =
        changed.map(|(key, value)| (key.clone(), merge_patch(old.get(key).unwrap_or(&Json::Null), value)));
    Json::Object(gone.chain(changed).collect())
}
