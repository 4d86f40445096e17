//! loro: the operations since the base's version vector; a new peer gets the smaller of history and snapshot.

use super::{DOCUMENT, PathStep, Tree, write};
use crate::codecs::{Codec, Decoded};
use crate::traces::TraceDocument;
use loro::{
    Container, ExportMode, LoroDoc, LoroList, LoroMap, LoroValue, ToJson, ValueOrContainer, VersionVector,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// An id of 64 bits, as loro makes them at random.
const WRITER: u64 = 0x9E37_79B9_7F4A_7C15;
/// The name of the map that holds the document.
const ROOT: &str = "";

pub(super) struct Loro {
    writer: LoroDoc,
    reader: LoroDoc,
    /// What the writer's replica holds.
    now: Json,
    /// Its version after each sequence.
    versions: BTreeMap<u64, VersionVector>,
}

impl Loro {
    pub(super) fn new() -> Loro {
        let (writer, reader) = (LoroDoc::new(), LoroDoc::new());
        writer.set_peer_id(WRITER).expect("nothing was written yet");
        Loro { writer, reader, now: Json::Null, versions: BTreeMap::new() }
    }

    fn write(&mut self, target: &TraceDocument) {
        let root = LoroNode::Map(self.writer.get_map(ROOT));
        write(&mut Writer, &root, &PathStep::Key(DOCUMENT), &self.now, &target.json);
        self.writer.commit();
        self.now = target.json.clone();
        self.versions.insert(target.sequence, self.writer.oplog_vv());
    }
}

impl Codec for Loro {
    fn name(&self) -> &str {
        "loro"
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        self.write(target);
        if let Some(version) = self.versions.get(&base.sequence) {
            return self.writer.export(ExportMode::updates(version)).ok();
        }
        let history = self.writer.export(ExportMode::all_updates()).ok()?;
        let snapshot = self.writer.export(ExportMode::Snapshot).ok()?;
        Some(if history.len() < snapshot.len() { history } else { snapshot })
    }

    fn decode(&mut self, _: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        self.reader.import(message).ok()?;
        let document = self.reader.get_map(ROOT).get_deep_value().to_json_value().get_mut(DOCUMENT)?.take();
        Some(Decoded::Numbers(document))
    }
}

/// Writes into the replica that a node belongs to.
struct Writer;

pub(super) enum LoroNode {
    Map(LoroMap),
    List(LoroList),
}

impl Tree for Writer {
    type Node = LoroNode;

    fn child(&mut self, of: &LoroNode, at: &PathStep<'_>) -> LoroNode {
        let found = match (of, at) {
            (LoroNode::Map(map), PathStep::Key(key)) => map.get(key),
            (LoroNode::List(list), PathStep::Index(index)) => list.get(*index),
            _ => None,
        };
        match found {
            Some(ValueOrContainer::Container(Container::Map(map))) => LoroNode::Map(map),
            Some(ValueOrContainer::Container(Container::List(list))) => LoroNode::List(list),
            _ => unreachable!("an array or map stands at the step"),
        }
    }

    fn set(&mut self, of: &LoroNode, at: &PathStep<'_>, value: &Json) {
        match (of, at) {
            (LoroNode::Map(map), PathStep::Key(key)) => {
                let node = match value {
                    Json::Object(_) => map.insert_container(key, LoroMap::new()).map(LoroNode::Map),
                    Json::Array(_) => map.insert_container(key, LoroList::new()).map(LoroNode::List),
                    leaf => return map.insert(key, scalar(leaf)).expect("the key can be set"),
                };
                fill(self, &node.expect("the key can be set"), value);
            }
            (LoroNode::List(list), PathStep::Index(index)) => {
                list.delete(*index, 1).expect("the index is within");
                self.insert(of, *index, value);
            }
            _ => unreachable!("keys are of maps, indices of arrays"),
        }
    }

    fn insert(&mut self, of: &LoroNode, index: usize, value: &Json) {
        let LoroNode::List(list) = of else { unreachable!("indices are of arrays") };
        let node = match value {
            Json::Object(_) => list.insert_container(index, LoroMap::new()).map(LoroNode::Map),
            Json::Array(_) => list.insert_container(index, LoroList::new()).map(LoroNode::List),
            leaf => return list.insert(index, scalar(leaf)).expect("the index is within"),
        };
        fill(self, &node.expect("the index is within"), value);
    }

    fn remove(&mut self, of: &LoroNode, at: &PathStep<'_>) {
        match (of, at) {
            (LoroNode::Map(map), PathStep::Key(key)) => map.delete(key),
            (LoroNode::List(list), PathStep::Index(index)) => list.delete(*index, 1),
            _ => unreachable!("keys are of maps, indices of arrays"),
        }
        .expect("a value stands at the step");
    }
}

fn scalar(value: &Json) -> LoroValue {
    match value {
        Json::Bool(truth) => LoroValue::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(int) => LoroValue::I64(int),
            None => LoroValue::Double(number.as_f64().expect("a number has a float near it")),
        },
        Json::String(text) => LoroValue::from(text.as_str()),
        _ => LoroValue::Null,
    }
}

fn fill(tree: &mut Writer, node: &LoroNode, value: &Json) {
    match value {
        Json::Array(items) => items.iter().enumerate().for_each(|(at, item)| tree.insert(node, at, item)),
        Json::Object(map) => map.iter().for_each(|(key, item)| tree.set(node, &PathStep::Key(key), item)),
        _ => {}
    }
}
