//! automerge: the changes since the base's heads; a new peer gets the compressed whole.

use super::{DOCUMENT, PathStep, Tree, write};
use crate::codecs::{Codec, Decoded, WHOLE};
use crate::traces::TraceDocument;
use automerge::transaction::Transactable;
use automerge::{
    ActorId, AutoCommit, AutoSerde, ChangeHash, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use tombolo_delta::{from_cbor, to_cbor};

pub(super) struct Automerge {
    name: &'static str,
    form: StoredForm,
    writer: AutoCommit,
    reader: AutoCommit,
    /// What the writer's replica holds.
    now: Json,
    /// Its heads after each sequence.
    heads: BTreeMap<u64, Vec<ChangeHash>>,
}

enum StoredForm {
    /// A tree, of which only what differs is written.
    Tree,
    /// The document's CBOR as one value; each write is made in a fork, by an actor of its own, and merged.
    Bytes,
}

impl Automerge {
    pub(super) fn of_trees() -> Automerge {
        Automerge::new("automerge", StoredForm::Tree)
    }

    pub(super) fn of_bytes() -> Automerge {
        Automerge::new("automerge-bytes-fork", StoredForm::Bytes)
    }

    fn new(name: &'static str, form: StoredForm) -> Automerge {
        let writer = AutoCommit::new().with_actor(actor(0));
        let (reader, now, heads) = (AutoCommit::new(), Json::Null, BTreeMap::new());
        Automerge { name, form, writer, reader, now, heads }
    }

    fn write(&mut self, target: &TraceDocument) -> Option<()> {
        match self.form {
            StoredForm::Tree => {
                write(&mut self.writer, &ROOT, &PathStep::Key(DOCUMENT), &self.now, &target.json)
            }
            StoredForm::Bytes => {
                let mut fork = self.writer.fork().with_actor(actor(target.sequence));
                fork.put(ROOT, DOCUMENT, ScalarValue::Bytes(to_cbor(&target.value))).ok()?;
                self.writer.merge(&mut fork).ok()?;
            }
        }
        self.now = target.json.clone();
        self.heads.insert(target.sequence, self.writer.get_heads());
        Some(())
    }
}

/// An id of 16 bytes, as automerge makes them at random.
fn actor(number: u64) -> ActorId {
    let spread = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ActorId::from([spread.to_be_bytes(), (!spread).to_be_bytes()].concat())
}

impl Codec for Automerge {
    fn name(&self) -> &str {
        self.name
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        self.write(target)?;
        match self.heads.get(&base.sequence) {
            Some(heads) => Some(self.writer.save_after(heads)),
            None => Some(self.writer.save()),
        }
    }

    fn decode(&mut self, _: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        self.reader.load_incremental(message).ok()?;
        if let StoredForm::Bytes = self.form {
            let (value, _) = self.reader.get(ROOT, DOCUMENT).ok()??;
            let Value::Scalar(value) = value else { return None };
            return from_cbor(value.as_bytes()?, &WHOLE).ok().map(Decoded::Value);
        }
        let mut whole = serde_json::to_value(AutoSerde::from(&self.reader)).ok()?;
        Some(Decoded::Json(whole.get_mut(DOCUMENT)?.take()))
    }
}

impl Tree for AutoCommit {
    type Node = ObjId;

    fn child(&mut self, of: &ObjId, at: &PathStep<'_>) -> ObjId {
        let found = self.get(of, prop(at)).expect("the node is there");
        found.expect("a value stands at the step").1
    }

    fn set(&mut self, of: &ObjId, at: &PathStep<'_>, value: &Json) {
        match kind(value) {
            Ok(scalar) => self.put(of, prop(at), scalar).expect("the step can be set"),
            Err(kind) => {
                let node = self.put_object(of, prop(at), kind).expect("the step can be set");
                fill(self, &node, value);
            }
        }
    }

    fn insert(&mut self, of: &ObjId, index: usize, value: &Json) {
        match kind(value) {
            Ok(scalar) => Transactable::insert(self, of, index, scalar).expect("the index is within"),
            Err(kind) => {
                let node = self.insert_object(of, index, kind).expect("the index is within");
                fill(self, &node, value);
            }
        }
    }

    fn remove(&mut self, of: &ObjId, at: &PathStep<'_>) {
        self.delete(of, prop(at)).expect("a value stands at the step");
    }
}

fn prop(at: &PathStep<'_>) -> Prop {
    match at {
        PathStep::Key(key) => Prop::Map((*key).to_owned()),
        PathStep::Index(index) => Prop::Seq(*index),
    }
}

/// A scalar, or the kind of an object.
fn kind(value: &Json) -> Result<ScalarValue, ObjType> {
    Ok(match value {
        Json::Null => ScalarValue::Null,
        Json::Bool(truth) => ScalarValue::Boolean(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => ScalarValue::Int(int),
            (_, Some(int)) => ScalarValue::Uint(int),
            _ => ScalarValue::F64(number.as_f64().expect("a number is one of the three")),
        },
        Json::String(text) => ScalarValue::Str(text.as_str().into()),
        Json::Array(_) => return Err(ObjType::List),
        Json::Object(_) => return Err(ObjType::Map),
    })
}

fn fill(tree: &mut AutoCommit, node: &ObjId, value: &Json) {
    match value {
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| Tree::insert(tree, node, at, item));
        }
        Json::Object(map) => map.iter().for_each(|(key, item)| tree.set(node, &PathStep::Key(key), item)),
        _ => {}
    }
}
