//! A commit that would not fit one frame is split by its author, at commit time, into several that do, the most
//! valuable part first: each counts as soon as it is heard, whatever becomes of the others.
//!
//! Each part is a state of its own, signed. The broadcast engine deals in newest states; so what leads from one
//! part to the next is remembered here until it has gone out.

use std::collections::BTreeMap;

use tombolo_delta::{Context, Map, Value};
use tombolo_transports::{LinkId, PeerId};

use crate::envelope::{encode_changes, join_update};
use crate::federation::RadioUse;
use crate::layer::{Content, DocumentId, Entry, KeyPath, LayerHash, LayerId};
use crate::node::Node;
use crate::sync::frontier::State;

/// Shorter frames are not split for: too little would stand beside each signature.
const FRAME_BYTES_MIN: usize = 120;
/// Parts of one commit. What is left goes as one more, in fragments.
const PARTS_MAX: usize = 16;
/// Signature and fields of an envelope in the form for radio, with room for a long distance.
const ENVELOPE_BYTES: usize = 72;
/// What of a node state is worth most, first; all else follows in the order of its keys.
const FIRST_FIELDS: [&str; 2] = ["apps", "tor_active"];

/// From one part to the next.
#[derive(Clone, Debug)]
pub(super) struct Step {
    base: State,
    pub(super) state: State,
    /// An update of one envelope.
    pub(super) bytes: Vec<u8>,
}

pub(super) type Steps = BTreeMap<LayerHash, Vec<Step>>;

impl Node {
    /// Bytes of a delta that fit one frame of every radio that the document goes over.
    fn delta_room(&self, document: &DocumentId) -> Option<usize> {
        if self.federation.policy(document).radio != RadioUse::Full {
            return None;
        }
        let long = self.radios.by_link.values().filter(|radio| radio.spec.frame_bytes_max >= FRAME_BYTES_MIN);
        let payload = long.map(|radio| radio.station.payload_bytes_max()).min()?;
        payload.checked_sub(ENVELOPE_BYTES)
    }

    /// The changes of a map, cut so that each part fits one frame if any part of it does.
    pub(in crate::node) fn split_map(
        &self,
        document: &DocumentId,
        changes: BTreeMap<KeyPath, Option<Entry>>,
    ) -> Vec<BTreeMap<KeyPath, Option<Entry>>> {
        let Some(room) = self.delta_room(document).filter(|_| changes.len() > 1) else {
            return vec![changes];
        };
        let time_ms = self.signing_ms();
        let mut parts: Vec<BTreeMap<KeyPath, Option<Entry>>> = Vec::new();
        let mut used = room;
        for (key, entry) in changes {
            let bytes = encode_changes(&vec![(key.clone(), entry.clone())], time_ms).len();
            if used + bytes > room && parts.len() < PARTS_MAX {
                parts.push(BTreeMap::new());
                // The arrays around the entries.
                used = 4;
            }
            used += bytes;
            if let Some(part) = parts.last_mut() {
                part.insert(key, entry);
            }
        }
        parts
    }

    /// The states on the way to a snapshot's new content, the last being that; each a frame away from the one
    /// before, if one field's change fits a frame.
    pub(in crate::node) fn split_snapshot(&self, document: &DocumentId, value: Value) -> Vec<Value> {
        let id = LayerId { document: document.clone(), author: self.me };
        let present = self.holdings.layer(&id).map(|layer| (&layer.content, layer.head().time_ms));
        let (Some(room), Some((Content::Snapshot(Value::Map(old)), old_ms)), Value::Map(new)) =
            (self.delta_room(document), present, &value)
        else {
            return vec![value];
        };
        let context =
            Context { base_sequence: 1, sequence: 2, base_time_ms: old_ms, time_ms: self.signing_ms() };
        let costs = |from: &Value, to: &Value| {
            let delta = tombolo_delta::diff(from, to, &context);
            tombolo_delta::encode(from, &delta, &context).len()
        };
        let mut base = Value::Map(old.clone());
        if costs(&base, &value) <= room {
            return vec![value];
        }
        let mut states = Vec::new();
        let mut reached = base.clone();
        for field in changed_fields(old, new) {
            let next = with_field(&reached, new, &field);
            if costs(&base, &next) > room && reached != base && states.len() + 1 < PARTS_MAX {
                states.push(reached.clone());
                base = reached;
                reached = with_field(&base, new, &field);
            } else {
                reached = next;
            }
        }
        states.push(value);
        states
    }

    /// A part has been committed: what leads to it from the state before is remembered until it is sent.
    pub(in crate::node) fn note_step(&mut self, document: &DocumentId) {
        let id = LayerId { document: document.clone(), author: self.me };
        let Some(base) = self
            .holdings
            .bases(&id)
            .into_iter()
            .rev()
            .find(|base| self.holdings.layer(&id).is_some_and(|layer| *base < State::of(&layer.signed)))
        else {
            return;
        };
        let Some(bytes) = self.air_delta(&id, base).and_then(|item| join_update(&[item])) else { return };
        let Some(state) = self.holdings.layer(&id).map(|layer| State::of(&layer.signed)) else { return };
        let steps = self.radios.steps.entry(id.hash()).or_default();
        steps.push(Step { base, state, bytes });
        if steps.len() > PARTS_MAX {
            steps.remove(0);
        }
        self.holdings.keep_as_base(&id, base.sequence);
    }

    /// The step that leads on from what listeners have, where all that came since does not fit one frame.
    pub(super) fn step_for(
        &self,
        link: LinkId,
        id: &LayerId,
        targets: &[PeerId],
        whole_bytes: usize,
    ) -> Option<Step> {
        let radio = self.radios.by_link.get(&link)?;
        let payload = radio.station.payload_bytes_max();
        let steps = self.radios.steps.get(&id.hash()).filter(|_| whole_bytes > payload)?;
        let have = |state: State| {
            let (owner, layer) = (&id.document.owner, id.hash());
            targets.iter().all(|peer| radio.cell.may_have(owner, &layer, peer, state))
        };
        // A step that was passed over leads back.
        let reached = steps.iter().map(|step| step.state).filter(|state| have(*state)).max();
        let leads_on = |step: &&Step| {
            step.bytes.len() <= payload
                && have(step.base)
                && reached.is_none_or(|reached| reached < step.state)
        };
        // The last that leads on from what they have: those before have gone out.
        steps.iter().rev().find(leads_on).cloned()
    }
}

/// The fields in which two maps differ, the most valuable first.
fn changed_fields(old: &Map, new: &Map) -> Vec<tombolo_delta::Key> {
    let keys = old.iter().chain(new.iter()).map(|(key, _)| key.clone());
    let mut fields: Vec<tombolo_delta::Key> = Vec::new();
    for key in keys {
        if find(old, &key) != find(new, &key) && !fields.contains(&key) {
            fields.push(key);
        }
    }
    let is_first = |key: &tombolo_delta::Key| match key {
        tombolo_delta::Key::Text(name) => FIRST_FIELDS.contains(&name.as_str()),
        tombolo_delta::Key::Int(_) => false,
    };
    fields.sort_by_key(|key| !is_first(key));
    fields
}

fn find<'a>(map: &'a Map, key: &tombolo_delta::Key) -> Option<&'a Value> {
    map.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
}

/// `from` with one field as it is in `to`.
fn with_field(from: &Value, to: &Map, field: &tombolo_delta::Key) -> Value {
    let Value::Map(map) = from else { return from.clone() };
    let kept = map.iter().filter(|(key, _)| *key != field).map(|(key, value)| (key.clone(), value.clone()));
    let new = find(to, field).map(|value| (field.clone(), value.clone()));
    Value::Map(kept.chain(new).collect())
}
