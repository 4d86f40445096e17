//! Rust types and JSON as [`Value`]s.
//!
//! [`to_value`] and [`from_value`] go through `ciborium`'s value, which keeps what serde's own data model would lose:
//! bytes as bytes, floats to the bit. [`Value`] itself implements serde's traits, so that `serde_json` reads and prints
//! it. In JSON a byte string is printed as an array of numbers and an infinity or NaN as `null`: both come back as what
//! was printed. Number keys are printed as texts.

use crate::SerdeError;
use crate::limits::DEPTH_MAX;
use crate::value::{Int, Key, Map, Value};
use ciborium::value::Value as Cbor;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Any serializable value as a tree.
///
/// # Errors
///
/// An error where the value has no place in a tree: a map key that is neither text nor integer, or a number out of range.
pub fn to_value<T: Serialize + ?Sized>(t: &T) -> Result<Value, SerdeError> {
    let cbor = Cbor::serialized(t).map_err(type_error)?;
    from_ciborium(cbor, 0)
}

/// The typed value that a tree stands for.
///
/// # Errors
///
/// An error where the tree is no value of that type.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, SerdeError> {
    to_ciborium(value).deserialized().map_err(type_error)
}

/// What a type's own conversion reports, without the name of the error around it.
fn type_error(error: ciborium::value::Error) -> SerdeError {
    let ciborium::value::Error::Custom(text) = error;
    SerdeError::Type(text)
}

fn from_ciborium(cbor: Cbor, depth: usize) -> Result<Value, SerdeError> {
    if depth > DEPTH_MAX {
        return Err(SerdeError::TooDeep { max: DEPTH_MAX });
    }
    Ok(match cbor {
        Cbor::Null => Value::Null,
        Cbor::Bool(bool) => Value::Bool(bool),
        Cbor::Integer(int) => Value::Int(Int::new(int.into()).ok_or(SerdeError::Tag)?),
        Cbor::Float(float) => Value::Float(float),
        Cbor::Bytes(bytes) => Value::Bytes(bytes),
        Cbor::Text(text) => Value::Text(text),
        Cbor::Array(items) => Value::Array(
            items.into_iter().map(|item| from_ciborium(item, depth + 1)).collect::<Result<_, _>>()?,
        ),
        Cbor::Map(entries) => {
            let mut map = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                map.push((key_of(key)?, from_ciborium(value, depth + 1)?));
            }
            map.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(Map::from_sorted(map).ok_or(SerdeError::KeyTwice)?)
        }
        _ => return Err(SerdeError::Tag),
    })
}

fn key_of(cbor: Cbor) -> Result<Key, SerdeError> {
    match cbor {
        Cbor::Text(text) => Ok(Key::Text(text)),
        Cbor::Integer(int) => Int::new(int.into()).map(Key::Int).ok_or(SerdeError::Tag),
        _ => Err(SerdeError::KeyKind),
    }
}

fn to_ciborium(value: &Value) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(bool) => Cbor::Bool(*bool),
        Value::Int(int) => integer(*int),
        Value::Float(float) => Cbor::Float(*float),
        Value::Bytes(bytes) => Cbor::Bytes(bytes.clone()),
        Value::Text(text) => Cbor::Text(text.clone()),
        Value::Array(items) => Cbor::Array(items.iter().map(to_ciborium).collect()),
        Value::Map(map) => {
            Cbor::Map(map.iter().map(|(key, value)| (key_to(key), to_ciborium(value))).collect())
        }
    }
}

fn key_to(key: &Key) -> Cbor {
    match key {
        Key::Int(int) => integer(*int),
        Key::Text(text) => Cbor::Text(text.clone()),
    }
}

fn integer(int: Int) -> Cbor {
    Cbor::Integer(int.get().try_into().expect("Int has the range of CBOR's integers"))
}

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = self.get();
        if let Ok(number) = u64::try_from(number) {
            serializer.serialize_u64(number)
        } else if let Ok(number) = i64::try_from(number) {
            serializer.serialize_i64(number)
        } else {
            serializer.serialize_i128(number)
        }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Key::Int(int) => int.serialize(serializer),
            Key::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(bool) => serializer.serialize_bool(*bool),
            Value::Int(int) => int.serialize(serializer),
            Value::Float(float) => serializer.serialize_f64(*float),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Array(items) => items.serialize(serializer),
            Value::Map(map) => map.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Text(text) => Ok(Key::Text(text)),
            Value::Int(int) => Ok(Key::Int(int)),
            _ => Err(D::Error::custom(SerdeError::KeyKind)),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a truth value, a number of at most 64 bits, bytes, a text, an array or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i128<E: serde::de::Error>(self, number: i128) -> Result<Value, E> {
        Int::new(number).map(Value::Int).ok_or_else(|| E::custom(SerdeError::Tag))
    }

    fn visit_u128<E: serde::de::Error>(self, number: u128) -> Result<Value, E> {
        i128::try_from(number)
            .map_or_else(|_| Err(E::custom(SerdeError::Tag)), |number| self.visit_i128(number))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Value, E> {
        Ok(Value::Float(float))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Key, Value)> = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Map::from_sorted(entries).map(Value::Map).ok_or_else(|| A::Error::custom(SerdeError::KeyTwice))
    }
}
