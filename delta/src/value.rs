//! [`Value`]: the tree every document is, and nothing that deterministic CBOR could write in two ways.
//!
//! Integers and floats differ (1 is not 1.0), floats are equal when their bits are, text is kept as it came.
//! Tags, bignums, `undefined` and other simple values are left out. Bytes come from [`crate::codec`], JSON and
//! Rust types from [`crate::serde`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// One value of a document.
#[derive(Clone, Default)]
pub enum Value {
    /// The absence of a value: null.
    #[default]
    Null,
    /// A boolean: true or false.
    Bool(bool),
    /// A whole number in CBOR's range.
    Int(Int),
    /// A 64-bit float, compared by its bits.
    Float(f64),
    /// A string of bytes.
    Bytes(Vec<u8>),
    /// A text, not normalised.
    Text(String),
    /// Values in an order that means something.
    Array(Vec<Value>),
    /// Values under keys, in the order of the keys' CBOR.
    Map(Map),
}

/// A whole number from -2^64 to 2^64 - 1: what CBOR holds without a bignum.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Int {
    /// The number is `-1 - magnitude`.
    negative: bool,
    magnitude: u64,
}

/// The key of a map entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A key that is a number.
    Int(Int),
    /// A text: the common case.
    Text(String),
}

/// Entries in the order of their keys' deterministic CBOR, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Map {
    entries: Vec<(Key, Value)>,
}

impl Value {
    /// A map of these entries; a later entry replaces an earlier one with its key.
    pub fn map<K: Into<Key>, V: Into<Value>>(entries: impl IntoIterator<Item = (K, V)>) -> Value {
        Value::Map(entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// An array of these items.
    pub fn array<V: Into<Value>>(items: impl IntoIterator<Item = V>) -> Value {
        Value::Array(items.into_iter().map(Into::into).collect())
    }

    /// What stands under a text key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }

    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if this is a byte string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(bool) => Some(*bool),
            _ => None,
        }
    }

    /// The integer, if this is one.
    pub fn as_int(&self) -> Option<Int> {
        match self {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The integer, if this is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        i64::try_from(self.as_int()?.get()).ok()
    }

    /// The integer, if this is one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        u64::try_from(self.as_int()?.get()).ok()
    }

    /// The float, if this is one; an integer is none.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(float) => Some(*float),
            _ => None,
        }
    }

    /// The items, if this is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if this is a map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Whether this is `Null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The bytes that the value itself holds, beside those of its items or entries.
    pub(crate) fn own_bytes(&self) -> usize {
        match self {
            Value::Bytes(bytes) => bytes.len(),
            Value::Text(text) => text.len(),
            _ => 8,
        }
    }

    /// The kinds in the order of this enum, from 0 for `Null`.
    pub(crate) fn kind(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::Float(_) => 3,
            Value::Bytes(_) => 4,
            Value::Text(_) => 5,
            Value::Array(_) => 6,
            Value::Map(_) => 7,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(bool) => bool.fmt(f),
            Value::Int(int) => int.fmt(f),
            Value::Float(float) if float.is_nan() => write!(f, "NaN({:#x})", float.to_bits()),
            Value::Float(float) => float.fmt(f),
            Value::Bytes(bytes) => {
                f.write_str("h'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
            Value::Text(text) => text.fmt(f),
            Value::Array(items) => items.fmt(f),
            Value::Map(map) => f.debug_map().entries(map.iter()).finish(),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Ord for Value {
    /// A total order for sorted containers: by kind, then by content, floats by their bits.
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.to_bits().cmp(&b.to_bits()),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) => a.cmp(b),
            (Value::Map(a), Value::Map(b)) => a.cmp(b),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Value::Null => {}
            Value::Bool(bool) => bool.hash(state),
            Value::Int(int) => int.hash(state),
            Value::Float(float) => float.to_bits().hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Text(text) => text.hash(state),
            Value::Array(items) => items.hash(state),
            Value::Map(map) => map.hash(state),
        }
    }
}

impl Int {
    /// The least number: -2^64.
    pub const MIN: Int = Int { negative: true, magnitude: u64::MAX };
    /// The greatest number: 2^64 - 1.
    pub const MAX: Int = Int { negative: false, magnitude: u64::MAX };

    /// The number, or none outside CBOR's range.
    pub fn new(number: i128) -> Option<Int> {
        let negative = number < 0;
        let magnitude = if negative { -1 - number } else { number };
        Some(Int { negative, magnitude: u64::try_from(magnitude).ok()? })
    }

    /// The number as an `i128`, which holds them all.
    pub fn get(self) -> i128 {
        let magnitude = i128::from(self.magnitude);
        if self.negative { -1 - magnitude } else { magnitude }
    }

    /// CBOR's two parts: whether the number is `-1 - magnitude`, and the magnitude.
    pub(crate) fn parts(self) -> (bool, u64) {
        (self.negative, self.magnitude)
    }

    pub(crate) fn from_parts(negative: bool, magnitude: u64) -> Int {
        Int { negative, magnitude }
    }
}

impl fmt::Debug for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Ord for Int {
    fn cmp(&self, other: &Int) -> Ordering {
        self.get().cmp(&other.get())
    }
}

impl PartialOrd for Int {
    fn partial_cmp(&self, other: &Int) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    /// The text, or an empty one where the key is a number.
    pub(crate) fn name(&self) -> &str {
        match self {
            Key::Text(text) => text,
            Key::Int(_) => "",
        }
    }
}

impl Ord for Key {
    /// The order of the keys' deterministic CBOR (RFC 8949, 4.2.1): numbers from zero up, negative numbers from -1
    /// down, then texts, the shorter first and equal lengths bytewise.
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Int(a), Key::Int(b)) => a.parts().cmp(&b.parts()),
            (Key::Int(_), Key::Text(_)) => Ordering::Less,
            (Key::Text(_), Key::Int(_)) => Ordering::Greater,
            (Key::Text(a), Key::Text(b)) => compare_text(a, b),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn compare_text(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl Map {
    /// A map without entries.
    pub fn new() -> Map {
        Map::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value under a text key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let found = self.entries.binary_search_by(|(k, _)| match k {
            Key::Int(_) => Ordering::Less,
            Key::Text(text) => compare_text(text, key),
        });
        self.entries.get(found.ok()?).map(|(_, value)| value)
    }

    /// The value under any key.
    pub fn get_key(&self, key: &Key) -> Option<&Value> {
        self.entries.get(self.find(key).ok()?).map(|(_, value)| value)
    }

    /// Puts a value under a key, and returns the one that stood there.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(at) => self.entries.get_mut(at).map(|entry| std::mem::replace(&mut entry.1, value)),
            Err(at) => {
                self.entries.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes the entry with a text key out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.find(&Key::from(key)).ok()?;
        Some(self.entries.remove(at).1)
    }

    /// The entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Key, &Value)> + ExactSizeIterator {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The entries as a sorted slice.
    pub fn entries(&self) -> &[(Key, Value)] {
        &self.entries
    }

    /// Entries that are already in order, each key once: none otherwise.
    pub(crate) fn from_sorted(entries: Vec<(Key, Value)>) -> Option<Map> {
        entries.is_sorted_by(|a, b| a.0 < b.0).then_some(Map { entries })
    }

    /// The same keys with other values.
    pub(crate) fn with_values(&self, mut value: impl FnMut(&Key, &Value) -> Value) -> Map {
        Map { entries: self.entries.iter().map(|(key, old)| (key.clone(), value(key, old))).collect() }
    }

    fn find(&self, key: &Key) -> Result<usize, usize> {
        self.entries.binary_search_by(|(k, _)| k.cmp(key))
    }
}

impl FromIterator<(Key, Value)> for Map {
    /// A later entry replaces an earlier one with its key.
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(entries: I) -> Map {
        let mut entries: Vec<(Key, Value)> = entries.into_iter().collect();
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, first| later.0 == first.0);
        Map { entries }
    }
}

impl FromIterator<(String, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Map {
        entries.into_iter().map(|(key, value)| (Key::Text(key), value)).collect()
    }
}

impl FromIterator<(String, Value)> for Value {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Value {
        Value::Map(entries.into_iter().collect())
    }
}

impl IntoIterator for Map {
    type Item = (Key, Value);
    type IntoIter = std::vec::IntoIter<(Key, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key::Text(text.to_owned())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Key {
        Key::Text(text)
    }
}

impl From<Int> for Key {
    fn from(int: Int) -> Key {
        Key::Int(int)
    }
}

impl From<u64> for Int {
    fn from(number: u64) -> Int {
        Int { negative: false, magnitude: number }
    }
}

impl From<i64> for Int {
    fn from(number: i64) -> Int {
        let negative = number < 0;
        Int { negative, magnitude: if negative { !number as u64 } else { number as u64 } }
    }
}

macro_rules! value_from {
    ($($from:ty, $name:ident => $value:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($name: $from) -> Value {
                $value
            }
        })*
    };
}

value_from! {
    bool, bool => Value::Bool(bool);
    u8, number => Value::Int(Int::from(u64::from(number)));
    u16, number => Value::Int(Int::from(u64::from(number)));
    u32, number => Value::Int(Int::from(u64::from(number)));
    u64, number => Value::Int(Int::from(number));
    i32, number => Value::Int(Int::from(i64::from(number)));
    i64, number => Value::Int(Int::from(number));
    Int, int => Value::Int(int);
    f64, float => Value::Float(float);
    &str, text => Value::Text(text.to_owned());
    String, text => Value::Text(text);
    Vec<u8>, bytes => Value::Bytes(bytes);
    Vec<Value>, items => Value::Array(items);
    Map, map => Value::Map(map);
}

impl<V: Into<Value>> From<Option<V>> for Value {
    /// `None` becomes the null value.
    fn from(value: Option<V>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_cover_the_range_of_cbor_and_no_more() {
        for number in [0, 1, -1, i128::from(u64::MAX), -(1 << 64)] {
            assert_eq!(Int::new(number).map(Int::get), Some(number));
        }
        assert_eq!(Int::new(1 << 64), None);
        assert_eq!(Int::new(-(1 << 64) - 1), None);
        assert_eq!(Int::from(i64::MIN).get(), i128::from(i64::MIN));
    }

    #[test]
    fn the_last_of_two_entries_with_one_key_stays() {
        let map = Value::map([("a", 1), ("b", 2), ("a", 3)]);
        assert_eq!(map, Value::map([("b", 2), ("a", 3)]));
        assert_eq!(map.get("a"), Some(&Value::from(3)));
    }
}
