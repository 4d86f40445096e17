//! A commit that would not fit one frame is split by its author, at commit time, into several that do, the most valuable
//! part first: each counts as soon as it is received, whatever becomes of the others.
//!
//! Each part is a state of its own, signed. The broadcast engine handles newest states; so the delta that leads from one part
//! to the next is kept here until it has gone out.

use std::collections::BTreeMap;

use tombolo_delta::{Context, Map, Value};
use tombolo_transports::PeerId;

use crate::authoring::MapEdits;
use crate::broadcast::{Broadcast, RadioLink};
use crate::core::Core;
use crate::envelope::{encode_changes, join_update};
use crate::federation::RadioUse;
use crate::layer::{Content, DocumentId, LayerHash, LayerId};
use crate::replica::Replica;
use crate::sync::frontier::State;

/// Shorter frames are not split for: too little would stand beside each signature.
const FRAME_BYTES_MIN: usize = 120;
/// Parts of one commit. What is left goes as one more, in fragments.
const PARTS_MAX: usize = 16;
/// Signature and fields of an envelope in the form for radio, with room for a long distance.
const ENVELOPE_BYTES: usize = 72;
/// The fields of a node state that are worth most, first; all others follow in the order of their keys.
const FIRST_FIELDS: [&str; 2] = ["apps", "tor_active"];

/// The delta from one part of a commit to the next.
#[derive(Clone, Debug)]
pub(super) struct PartDelta {
    base: State,
    pub(super) state: State,
    /// An update of one envelope.
    pub(super) bytes: Vec<u8>,
}

/// The deltas between parts, by layer, oldest first.
#[derive(Debug, Default)]
pub(super) struct SplitParts(BTreeMap<LayerHash, Vec<PartDelta>>);

impl Broadcast {
    /// Bytes of a delta that fit one frame of every radio that the document goes over.
    fn delta_room(&self, replica: &Replica, document: &DocumentId) -> Option<usize> {
        if replica.federation().policy(document).radio != RadioUse::Full {
            return None;
        }
        let long = self.radios.values().filter(|radio| radio.spec.frame_bytes_max >= FRAME_BYTES_MIN);
        let payload = long.map(|radio| radio.station.payload_bytes_max()).min()?;
        payload.checked_sub(ENVELOPE_BYTES)
    }

    /// Cuts the changes of a map so that each part fits one frame, if any part of it does.
    pub fn split_map(
        &self,
        core: &Core,
        replica: &Replica,
        document: &DocumentId,
        changes: MapEdits,
    ) -> Vec<MapEdits> {
        let Some(room) = self.delta_room(replica, document).filter(|_| changes.len() > 1) else {
            return vec![changes];
        };
        let time = core.clock.signing_time();
        let mut parts: Vec<MapEdits> = Vec::new();
        let mut used = room;
        for (key, entry) in changes {
            let bytes = encode_changes(&vec![(key.clone(), entry.clone().map(Into::into))], time).len();
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

    /// The states on the way to a snapshot's new content, the last being that; each a frame away from the one before, if one
    /// field's change fits a frame.
    pub fn split_snapshot(
        &self,
        core: &Core,
        replica: &Replica,
        document: &DocumentId,
        value: Value,
    ) -> Vec<Value> {
        let present = replica.layer(&core.own_layer(document));
        let present = present.map(|layer| (&layer.content, layer.head().time));
        let (Some(room), Some((Content::Snapshot(old), old_time))) =
            (self.delta_room(replica, document), present)
        else {
            return vec![value];
        };
        let old = old.get();
        let (Value::Map(old), Value::Map(new)) = (&*old, &value) else { return vec![value] };
        let time = core.clock.signing_time();
        let context =
            Context { base_sequence: 1, sequence: 2, base_time_ms: old_time.ms(), time_ms: time.ms() };
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

    /// A part was committed: the delta that leads to it from the state before is kept until it is sent.
    pub fn note_part(&mut self, core: &Core, replica: &mut Replica, document: &DocumentId) {
        let id = core.own_layer(document);
        let Some(state) = replica.state(&id) else { return };
        let bases = replica.layers().bases(&id).into_iter().rev();
        let mut bases = bases;
        let Some(base) = bases.find(|base| *base < state) else { return };
        let Some(item) = self.shared.update_item(replica, &id, base) else { return };
        let Some(bytes) = join_update(&[item]) else { return };
        let parts = self.shared.parts.0.entry(id.hash()).or_default();
        parts.push(PartDelta { base, state, bytes });
        if parts.len() > PARTS_MAX {
            parts.remove(0);
        }
        replica.pin_base(&id, base.sequence);
    }
}

impl SplitParts {
    /// The part that leads on from what listeners have, where all that came since does not fit one frame.
    pub(super) fn next_for(
        &self,
        radio: &RadioLink,
        id: &LayerId,
        targets: &[PeerId],
        whole_bytes: usize,
    ) -> Option<PartDelta> {
        let payload = radio.station.payload_bytes_max();
        let parts = self.0.get(&id.hash()).filter(|_| whole_bytes > payload)?;
        let have = |state: State| {
            let (owner, layer) = (&id.document.owner, id.hash());
            targets.iter().all(|peer| radio.engine.may_have(owner, &layer, peer, state))
        };
        // A part that was passed over leads back.
        let reached = parts.iter().map(|part| part.state).filter(|state| have(*state)).max();
        let leads_on = |part: &&PartDelta| {
            part.bytes.len() <= payload
                && have(part.base)
                && reached.is_none_or(|reached| reached < part.state)
        };
        // The last that leads on from what they have: those before have gone out.
        parts.iter().rev().find(leads_on).cloned()
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
