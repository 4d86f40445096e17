//! yrs, the Rust form of Yjs: each transaction's update, in its second encoding.

use super::{DOCUMENT, PathStep, Tree, write};
use crate::codecs::{Codec, Decoded};
use crate::traces::TraceDocument;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use yrs::any::Number;
use yrs::types::ToJson;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayPrelim, ArrayRef, Doc, In, Map, MapPrelim, MapRef, Out, ReadTxn, StateVector, Transact,
    TransactionMut, Update, merge_updates_v2,
};

/// An id of 32 bits, as Yjs makes them at random.
const WRITER: u64 = 0x9E37_79B9;

pub(super) struct Yrs {
    writer: Doc,
    reader: Doc,
    /// What the writer's replica holds.
    now: Json,
    /// The update that led to each sequence.
    updates: BTreeMap<u64, Vec<u8>>,
}

impl Yrs {
    pub(super) fn new() -> Yrs {
        let (writer, reader) = (Doc::with_client_id(WRITER), Doc::with_client_id(WRITER + 1));
        Yrs { writer, reader, now: Json::Null, updates: BTreeMap::new() }
    }

    fn write(&mut self, target: &TraceDocument) {
        let root = YrsNode::Map(self.writer.get_or_insert_map(""));
        let mut transaction = self.writer.transact_mut();
        write(&mut transaction, &root, &PathStep::Key(DOCUMENT), &self.now, &target.json);
        self.updates.insert(target.sequence, transaction.encode_update_v2());
        self.now = target.json.clone();
    }
}

impl Codec for Yrs {
    fn name(&self) -> &str {
        "yrs"
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        self.write(target);
        if base.sequence == 0 {
            let transaction = self.writer.transact();
            return Some(transaction.encode_state_as_update_v2(&StateVector::default()));
        }
        let since: Vec<&[u8]> =
            self.updates.range(base.sequence + 1..).map(|(_, update)| update.as_slice()).collect();
        match since.as_slice() {
            [one] => Some(one.to_vec()),
            several => merge_updates_v2(several).ok(),
        }
    }

    fn decode(&mut self, _: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        let root = self.reader.get_or_insert_map("");
        let mut transaction = self.reader.transact_mut();
        transaction.apply_update(Update::decode_v2(message).ok()?).ok()?;
        let document = match root.get(&transaction, DOCUMENT)? {
            Out::Any(any) => json(&any),
            Out::YMap(map) => json(&map.to_json(&transaction)),
            Out::YArray(array) => json(&array.to_json(&transaction)),
            _ => return None,
        };
        Some(Decoded::Numbers(document))
    }
}

pub(super) enum YrsNode {
    Map(MapRef),
    Array(ArrayRef),
}

impl Tree for TransactionMut<'_> {
    type Node = YrsNode;

    fn child(&mut self, of: &YrsNode, at: &PathStep<'_>) -> YrsNode {
        let found = match (of, at) {
            (YrsNode::Map(map), PathStep::Key(key)) => map.get(self, key),
            (YrsNode::Array(array), PathStep::Index(index)) => array.get(self, *index as u32),
            _ => None,
        };
        match found {
            Some(Out::YMap(map)) => YrsNode::Map(map),
            Some(Out::YArray(array)) => YrsNode::Array(array),
            _ => unreachable!("an array or map stands at the step"),
        }
    }

    fn set(&mut self, of: &YrsNode, at: &PathStep<'_>, value: &Json) {
        match (of, at) {
            (YrsNode::Map(map), PathStep::Key(key)) => drop(map.insert(self, *key, input(value))),
            (YrsNode::Array(array), PathStep::Index(index)) => {
                array.remove(self, *index as u32);
                array.insert(self, *index as u32, input(value));
            }
            _ => unreachable!("keys are of maps, indices of arrays"),
        }
    }

    fn insert(&mut self, of: &YrsNode, index: usize, value: &Json) {
        if let YrsNode::Array(array) = of {
            array.insert(self, index as u32, input(value));
        }
    }

    fn remove(&mut self, of: &YrsNode, at: &PathStep<'_>) {
        match (of, at) {
            (YrsNode::Map(map), PathStep::Key(key)) => drop(map.remove(self, key)),
            (YrsNode::Array(array), PathStep::Index(index)) => array.remove(self, *index as u32),
            _ => unreachable!("keys are of maps, indices of arrays"),
        }
    }
}

fn input(value: &Json) -> In {
    match value {
        Json::Null => In::Any(Any::Null),
        Json::Bool(truth) => In::Any(Any::Bool(*truth)),
        Json::Number(number) => In::Any(Any::Number(match number.as_i64() {
            Some(int) => Number::Int(int),
            None => Number::Float(number.as_f64().expect("a number has a float near it")),
        })),
        Json::String(text) => In::Any(Any::String(text.as_str().into())),
        Json::Array(items) => In::Array(items.iter().map(input).collect::<ArrayPrelim>()),
        Json::Object(map) => {
            In::Map(map.iter().map(|(key, item)| (key.as_str(), input(item))).collect::<MapPrelim>())
        }
    }
}

fn json(any: &Any) -> Json {
    match any {
        Any::Null | Any::Undefined | Any::Buffer(_) => Json::Null,
        Any::Bool(truth) => json!(truth),
        Any::Number(Number::Int(int)) => json!(int),
        Any::Number(Number::Float(float)) => json!(float),
        Any::String(text) => json!(text.as_ref()),
        Any::Array(items) => items.iter().map(json).collect(),
        Any::Map(map) => Json::Object(map.iter().map(|(key, item)| (key.clone(), json(item))).collect()),
    }
}
