//! A value as memory keeps it: as a tree, or as its CBOR where a tree takes many times as much.
//!
//! An array of small numbers has one byte for each in CBOR, and 32 in a tree. What a peer may fill is counted in memory, so such
//! values stay packed until they are read. The form follows from the value alone: equal values have equal forms.

use std::borrow::Cow;

use tombolo_delta::{CborWriter, Key, Limits, Value, cbor_len};

/// A tree that takes more than so many times the bytes of its CBOR stays packed.
const PACKED_RATIO: usize = 4;

/// A value of a layer, in the smaller of two forms.
#[derive(Clone, PartialEq, Eq)]
pub struct CompactValue(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Tree(Value),
    Packed {
        cbor: Box<[u8]>,
        /// How deep arrays and maps stand within each other.
        depth: u16,
    },
}

impl CompactValue {
    /// The value, to read; a packed one is unpacked for the reader.
    pub fn get(&self) -> Cow<'_, Value> {
        match &self.0 {
            Form::Tree(value) => Cow::Borrowed(value),
            Form::Packed { cbor, depth } => Cow::Owned(unpacked(cbor, *depth)),
        }
    }

    /// The value itself; a packed one is unpacked.
    pub fn into_value(self) -> Value {
        match self.0 {
            Form::Tree(value) => value,
            Form::Packed { cbor, depth } => unpacked(&cbor, depth),
        }
    }

    /// Its canonical CBOR, as it is hashed and sent.
    pub fn to_cbor(&self) -> Vec<u8> {
        match &self.0 {
            Form::Tree(value) => tombolo_delta::to_cbor(value),
            Form::Packed { cbor, .. } => cbor.to_vec(),
        }
    }

    /// Appends its canonical CBOR.
    pub fn write(&self, out: &mut CborWriter) {
        match &self.0 {
            Form::Tree(value) => out.value(value),
            Form::Packed { cbor, .. } => out.encoded(cbor),
        };
    }

    /// Bytes of its canonical CBOR.
    pub fn cbor_len(&self) -> usize {
        match &self.0 {
            Form::Tree(value) => cbor_len(value),
            Form::Packed { cbor, .. } => cbor.len(),
        }
    }

    /// How deep arrays and maps stand within each other; a scalar has none.
    pub fn depth(&self) -> usize {
        match &self.0 {
            Form::Tree(value) => Measure::of(value).depth,
            Form::Packed { depth, .. } => usize::from(*depth),
        }
    }

    /// Bytes that it takes in memory beside itself, about.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Form::Tree(value) => Measure::of(value).heap_bytes,
            Form::Packed { cbor, .. } => allocated(cbor.len()),
        }
    }

    /// A member of an object.
    pub fn member(&self, name: &str) -> Option<Cow<'_, Value>> {
        match self.get() {
            Cow::Borrowed(value) => value.get(name).map(Cow::Borrowed),
            Cow::Owned(value) => value.get(name).cloned().map(Cow::Owned),
        }
    }

    /// Whether it is an object, with or without members.
    pub fn is_object(&self) -> bool {
        match &self.0 {
            Form::Tree(value) => matches!(value, Value::Map(_)),
            Form::Packed { cbor, .. } => is_map(cbor),
        }
    }

    /// Whether it is the object without members: the place where others stand.
    pub fn is_empty_object(&self) -> bool {
        matches!(&self.0, Form::Tree(Value::Map(members)) if members.is_empty())
    }
}

impl From<Value> for CompactValue {
    fn from(value: Value) -> Self {
        let Measure { heap_bytes, depth } = Measure::of(&value);
        let has_items = matches!(value, Value::Array(_) | Value::Map(_));
        match u16::try_from(depth) {
            Ok(depth) if has_items && heap_bytes > PACKED_RATIO * cbor_len(&value) => {
                CompactValue(Form::Packed { cbor: tombolo_delta::to_cbor(&value).into(), depth })
            }
            _ => CompactValue(Form::Tree(value)),
        }
    }
}

impl PartialEq<Value> for CompactValue {
    fn eq(&self, other: &Value) -> bool {
        *self.get() == *other
    }
}

impl std::fmt::Debug for CompactValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

fn unpacked(cbor: &[u8], depth: u16) -> Value {
    let limits = Limits { bytes_max: cbor.len(), depth_max: usize::from(depth), items_max: cbor.len() };
    tombolo_delta::from_cbor(cbor, &limits).expect("these bytes were written from a value here")
}

/// Whether some CBOR is a map: its major type stands in the first three bits.
fn is_map(cbor: &[u8]) -> bool {
    cbor.first().is_some_and(|head| head >> 5 == 5)
}

/// Bytes that a value takes in memory as a tree, about.
pub fn tree_bytes(value: &Value) -> usize {
    size_of::<Value>() + Measure::of(value).heap_bytes
}

/// What a tree takes.
struct Measure {
    /// Bytes beside the top value itself.
    heap_bytes: usize,
    depth: usize,
}

impl Measure {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                Measure { heap_bytes: 0, depth: 0 }
            }
            Value::Bytes(bytes) => Measure { heap_bytes: allocated(bytes.len()), depth: 0 },
            Value::Text(text) => Measure { heap_bytes: allocated(text.len()), depth: 0 },
            Value::Array(items) => Self::around(size_of::<Value>() * items.len(), items.iter()),
            Value::Map(map) => {
                let texts = map
                    .iter()
                    .map(|(key, _)| if let Key::Text(text) = key { allocated(text.len()) } else { 0 });
                let entries = size_of::<(Key, Value)>() * map.len() + texts.sum::<usize>();
                Self::around(entries, map.iter().map(|(_, value)| value))
            }
        }
    }

    fn around<'a>(own_bytes: usize, items: impl Iterator<Item = &'a Value>) -> Self {
        let outer = Measure { heap_bytes: allocated(own_bytes), depth: 1 };
        items.map(Measure::of).fold(outer, |all, item| Measure {
            heap_bytes: all.heap_bytes + item.heap_bytes,
            depth: all.depth.max(item.depth + 1),
        })
    }
}

/// Bytes that an allocation of this length takes: with the allocator's word, in steps of 16 from 32 on. An empty one needs none.
pub(super) fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
            "[a-z]{0,20}".prop_map(|text| Value::from(text.as_str())),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(5, 60, 12, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..12).prop_map(Value::Array),
                proptest::collection::vec(("[a-z]{0,6}", inner), 0..6)
                    .prop_map(|members| members.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        /// The form is no part of the value: what goes in comes out, and is equal to what has the same bytes.
        #[test]
        fn a_compact_value_is_its_value(value in value(), other in value()) {
            let compact = CompactValue::from(value.clone());
            let cbor = tombolo_delta::to_cbor(&value);
            prop_assert_eq!(&*compact.get(), &value);
            prop_assert_eq!(compact.clone().into_value(), value.clone());
            prop_assert_eq!(compact.to_cbor(), cbor.clone());
            prop_assert_eq!(compact.cbor_len(), cbor.len());
            prop_assert_eq!(compact.is_object(), matches!(value, Value::Map(_)));
            prop_assert_eq!(compact.is_empty_object(), value.as_map().is_some_and(tombolo_delta::Map::is_empty));
            prop_assert_eq!(compact.depth(), Measure::of(&value).depth);
            let second = CompactValue::from(other.clone());
            prop_assert_eq!(compact == second, value == other);
            let mut out = CborWriter::default();
            compact.write(&mut out);
            prop_assert_eq!(out.finish(), cbor.clone());
            // Beside itself it takes at most four times its bytes, or what one allocation needs at least.
            prop_assert!(compact.memory_bytes() <= (PACKED_RATIO * cbor.len()).max(allocated(cbor.len())));
        }
    }

    #[test]
    fn small_values_in_an_array_take_as_much_as_their_bytes() {
        let zeros = CompactValue::from(Value::Array(vec![Value::from(0u64); 60_000]));
        assert!(zeros.memory_bytes() < 60_100, "{}", zeros.memory_bytes());
        assert!(zeros.depth() == 1 && !zeros.is_object());
    }
}
