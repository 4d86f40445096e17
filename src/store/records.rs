//! Records between memory and tables. What does not read back is damage, never a panic.

use crate::time::Wall;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tombolo_delta::{CborReader, CborWriter, Limits, Value};
use tombolo_transports::PeerId;

use crate::federation::Peer;
use crate::federation::invite::{IncomingInvite, OutgoingInvite};
use crate::layer::{
    DocumentId, DocumentName, Entry, ForkEvidence, Head, KeyPath, Kind, LayerId, Root, Sequence, SignedHead,
};
use crate::limits::LAYER_BYTES_MAX;
use crate::store::StoreError;

/// Everything a node finds when it starts.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Small records, by name.
    pub meta: BTreeMap<String, Vec<u8>>,
    /// The peers of this node.
    pub peers: Vec<Peer>,
    /// The invites that this node gave out.
    pub outgoing: Vec<OutgoingInvite>,
    /// The invites that this node redeemed.
    pub incoming: Vec<IncomingInvite>,
    /// The layers, with their kept states.
    pub layers: Vec<StoredLayer>,
    /// Authors who signed twice.
    pub forks: Vec<ForkEvidence>,
    /// The JSON calls that were accepted, by sender.
    pub calls: Vec<CallsRecord>,
    /// The states of peers that came by call.
    pub called_states: Vec<CalledState>,
    /// Commands sent and taken.
    pub commands: crate::commands::LoadedCommands,
}

/// The JSON calls of one sender that were accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallsRecord {
    /// The identity that made the calls.
    #[serde(with = "crate::federation::peer::peer_bytes")]
    pub sender: PeerId,
    /// Nothing at or before this time is accepted: nanoseconds since the Unix epoch.
    pub floor_ns: Option<i64>,
    /// The times that were accepted and may still be shown again.
    pub seen_ns: Vec<i64>,
}

impl CallsRecord {
    /// The record of a sender that has not called yet.
    pub fn new(sender: PeerId) -> Self {
        CallsRecord { sender, floor_ns: None, seen_ns: Vec::new() }
    }
}

/// A node state that came by call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledState {
    /// Whose state it is.
    pub peer: PeerId,
    /// The time that it carries.
    pub time: Wall,
    /// The state, canonical CBOR.
    pub state: Vec<u8>,
}

/// A layer as stored.
#[derive(Debug)]
pub struct StoredLayer {
    /// The signed head of the layer.
    pub signed: SignedHead,
    /// Of a snapshot: its content.
    pub snapshot: Option<Vec<u8>>,
    /// Of a snapshot: older states.
    pub kept: Vec<KeptState>,
    /// Of a map: its entries and those dropped, with the sequence at which this node saw the change.
    pub entries: Vec<(KeyPath, Option<Arc<Entry>>, Sequence)>,
    /// Of a map: bases that a peer may name.
    pub bases: Vec<MapBase>,
}

impl StoredLayer {
    pub(super) fn new(signed: SignedHead) -> Self {
        StoredLayer { signed, snapshot: None, kept: Vec::new(), entries: Vec::new(), bases: Vec::new() }
    }
}

/// An older state of a snapshot layer: a base for deltas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// The sequence of the state.
    pub sequence: Sequence,
    /// The time that its author signed.
    pub time: Wall,
    /// The audience sequence signed with it.
    pub audience_sequence: Sequence,
    /// Its content, canonical CBOR.
    pub content: Vec<u8>,
}

/// A state of a map layer that was held here: a base that a peer may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapBase {
    /// The sequence of the state.
    pub sequence: Sequence,
    /// The first 4 bytes of its root.
    pub root_prefix: [u8; 4],
    /// The time that its author signed.
    pub time: Wall,
    /// The audience sequence signed with it.
    pub audience_sequence: Sequence,
}

impl MapBase {
    /// The base that a head names.
    pub fn of(signed: &SignedHead) -> Self {
        let head = &signed.head;
        MapBase {
            sequence: head.sequence,
            root_prefix: head.root.prefix4(),
            time: head.time,
            audience_sequence: head.audience_sequence,
        }
    }
}

pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(record, &mut bytes)
        .map_err(|_| StoreError::Damaged("a record cannot be written"))?;
    Ok(bytes)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    ciborium::from_reader(bytes).map_err(|_| StoreError::Damaged("a record does not read back"))
}

/// No record is larger than the largest layer.
pub(super) const RECORD_LIMITS: Limits =
    Limits { bytes_max: LAYER_BYTES_MAX, depth_max: 80, items_max: LAYER_BYTES_MAX };

fn array(bytes: &[u8], what: &'static str) -> Result<Vec<Value>, StoreError> {
    match tombolo_delta::from_cbor(bytes, &RECORD_LIMITS) {
        Ok(Value::Array(items)) => Ok(items),
        _ => Err(StoreError::Damaged(what)),
    }
}

pub(super) fn head_record(number_of_layer: u64, signed: &SignedHead) -> Vec<u8> {
    let mut out = CborWriter::with_capacity(160);
    out.array(7).unsigned(number_of_layer).unsigned(u64::from(signed.head.kind.code()));
    out.unsigned(signed.head.sequence.get()).unsigned(signed.head.time.ms());
    out.unsigned(signed.head.audience_sequence.get());
    out.bytes(&signed.head.root.0).bytes(&signed.signature);
    out.finish()
}

pub(super) fn read_head(bytes: &[u8], layer: &LayerId) -> Result<(u64, SignedHead), StoreError> {
    let items = array(bytes, "head")?;
    let fields = || {
        let [number, kind, sequence, time, audience, root, signature] = items.as_slice() else { return None };
        let head = Head {
            kind: Kind::from_code(kind.as_u64()?)?,
            layer: layer.clone(),
            sequence: Sequence::new(sequence.as_u64()?)?,
            time: Wall::from_ms(time.as_u64()?),
            audience_sequence: Sequence::new(audience.as_u64()?)?,
            root: Root(root.as_bytes()?.try_into().ok()?),
        };
        Some((number.as_u64()?, SignedHead { head, signature: signature.as_bytes()?.try_into().ok()? }))
    };
    fields().ok_or(StoreError::Damaged("head"))
}

pub(super) fn read_name(bytes: &[u8]) -> Result<LayerId, StoreError> {
    let fields = || {
        let (owner, rest) = bytes.split_first_chunk::<32>()?;
        let (author, name) = rest.split_first_chunk::<32>()?;
        let name = DocumentName::new(std::str::from_utf8(name).ok()?).ok()?;
        Some(LayerId { document: DocumentId { owner: PeerId(*owner), name }, author: PeerId(*author) })
    };
    fields().ok_or(StoreError::Damaged("layer name"))
}

pub(super) fn state_record(state: &KeptState) -> Vec<u8> {
    let mut out = CborWriter::with_capacity(32 + state.content.len());
    out.array(3).unsigned(state.time.ms()).unsigned(state.audience_sequence.get()).bytes(&state.content);
    out.finish()
}

pub(super) fn read_state(sequence: Sequence, bytes: &[u8]) -> Result<KeptState, StoreError> {
    let items = array(bytes, "state")?;
    let fields = || {
        let [time, audience, content] = items.as_slice() else { return None };
        Some(KeptState {
            sequence,
            time: Wall::from_ms(time.as_u64()?),
            audience_sequence: Sequence::new(audience.as_u64()?)?,
            content: content.as_bytes()?.to_vec(),
        })
    };
    fields().ok_or(StoreError::Damaged("state"))
}

/// The record of an entry, in the place of what a buffer holds.
pub(super) fn entry_record_in(
    mut buffer: Vec<u8>,
    key: &KeyPath,
    entry: Option<&Entry>,
    changed_at: Sequence,
) -> Vec<u8> {
    buffer.clear();
    let mut out = CborWriter::appending(buffer);
    out.array(1 + usize::from(entry.is_some())).unsigned(changed_at.get());
    if let Some(entry) = entry {
        entry.write(key, &mut out);
    }
    out.finish()
}

pub(super) fn key_record(key: &KeyPath) -> Vec<u8> {
    key.to_cbor()
}

/// The same in the place of what a buffer holds.
pub(super) fn key_record_in(mut buffer: Vec<u8>, key: &KeyPath) -> Vec<u8> {
    buffer.clear();
    let mut out = CborWriter::appending(buffer);
    key.write(&mut out);
    out.finish()
}

pub(super) fn read_key(bytes: &[u8]) -> Result<KeyPath, StoreError> {
    KeyPath::read(&mut CborReader::new(bytes, &RECORD_LIMITS)).map_err(|_| StoreError::Damaged("key"))
}

/// A key of a map with its entry, and the sequence at which this node saw it change.
pub(super) type StoredEntry = (KeyPath, Option<Arc<Entry>>, Sequence);

pub(super) fn read_entry(key: &[u8], bytes: &[u8]) -> Result<StoredEntry, StoreError> {
    let fields = || {
        let mut reader = CborReader::new(bytes, &RECORD_LIMITS);
        let items = reader.enter_array().ok()??;
        let changed_at = Sequence::new(u64::try_from(reader.next_int().ok()??.get()).ok()?)?;
        if items < 2 {
            return Some((read_key(key).ok()?, None, changed_at));
        }
        let (of, entry) = Entry::read(&mut reader).ok()?;
        (key_record(&of) == key).then(|| (of, Some(Arc::new(entry)), changed_at))
    };
    fields().ok_or(StoreError::Damaged("entry"))
}

pub(super) fn bases_record(bases: &[MapBase]) -> Vec<u8> {
    let mut out = CborWriter::with_capacity(8 + 32 * bases.len());
    out.array(bases.len());
    for base in bases {
        out.array(4).unsigned(base.sequence.get()).bytes(&base.root_prefix);
        out.unsigned(base.time.ms()).unsigned(base.audience_sequence.get());
    }
    out.finish()
}

pub(super) fn read_bases(bytes: &[u8]) -> Result<Vec<MapBase>, StoreError> {
    let base = |item: &Value| match item.as_array()? {
        [sequence, prefix, time, audience] => Some(MapBase {
            sequence: Sequence::new(sequence.as_u64()?)?,
            root_prefix: prefix.as_bytes()?.try_into().ok()?,
            time: Wall::from_ms(time.as_u64()?),
            audience_sequence: Sequence::new(audience.as_u64()?)?,
        }),
        _ => None,
    };
    array(bytes, "bases")?.iter().map(base).collect::<Option<_>>().ok_or(StoreError::Damaged("bases"))
}

pub(super) fn fork_record(evidence: &ForkEvidence) -> (Vec<u8>, Vec<u8>) {
    let head = &evidence.lower.head;
    let sequence = head.sequence.get().to_be_bytes();
    let key = [&head.layer.author.0[..], &sequence, &head.root.prefix4()].concat();
    let heads = [&evidence.lower, &evidence.higher];
    let record = Value::Array(
        std::iter::once(Value::Bytes(name_bytes(&head.layer)))
            .chain(heads.map(|signed| Value::Bytes(head_record(0, signed))))
            .collect(),
    );
    (key, tombolo_delta::to_cbor(&record))
}

pub(super) fn read_fork(bytes: &[u8]) -> Result<ForkEvidence, StoreError> {
    let items = array(bytes, "fork")?;
    let fields = || {
        let [name, lower, higher] = items.as_slice() else { return None };
        let layer = read_name(name.as_bytes()?).ok()?;
        let head = |value: &Value| Some(read_head(value.as_bytes()?, &layer).ok()?.1);
        Some(ForkEvidence { lower: head(lower)?, higher: head(higher)? })
    };
    fields().ok_or(StoreError::Damaged("fork"))
}

pub(super) fn called_state_record(called: &CalledState) -> Vec<u8> {
    let items = vec![Value::from(called.time.ms()), Value::Bytes(called.state.clone())];
    tombolo_delta::to_cbor(&Value::Array(items))
}

pub(super) fn read_called_state(peer: [u8; 32], bytes: &[u8]) -> Result<CalledState, StoreError> {
    match array(bytes, "called state")?.as_slice() {
        [time, Value::Bytes(state)] => {
            let time = time.as_u64().map(Wall::from_ms).ok_or(StoreError::Damaged("called state"))?;
            Ok(CalledState { peer: PeerId(peer), time, state: state.clone() })
        }
        _ => Err(StoreError::Damaged("called state")),
    }
}

/// owner 32 ‖ author 32 ‖ document name.
pub(super) fn name_bytes(layer: &LayerId) -> Vec<u8> {
    let name = layer.document.name.as_str().as_bytes();
    [&layer.document.owner.0[..], &layer.author.0[..], name].concat()
}
