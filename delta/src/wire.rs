//! A delta as bytes: exactly one CBOR byte string.

use crate::codec::{read_bytes, write_bytes};
use crate::op::{Delta, Edit, Insert, ListEdit, MapEdit, Rename};
use crate::value::Key;
use crate::{Context, DecodeError, Limits, Value, from_cbor, to_cbor};

/// The delta as one CBOR byte string.
pub fn encode(_base: &Value, delta: &Delta, _context: &Context) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(&mut out, &to_cbor(&Value::Array(vec![Value::Bool(delta.running), write(&delta.root)])));
    out
}

/// The delta of exactly one CBOR byte string.
pub fn decode(_base: &Value, bytes: &[u8], _context: &Context) -> Result<Delta, DecodeError> {
    let content = read_bytes(bytes)?.ok_or(DecodeError::NotBytes)?;
    let value = from_cbor(content, &Limits::default())?;
    let (Some(running), Some(root)) = (item(&value, 0)?.as_bool(), value.as_array().and_then(|a| a.get(1)))
    else {
        return Err(DecodeError::Position);
    };
    Ok(Delta { running, root: read(root)? })
}

fn index(at: usize) -> Value {
    Value::from(at as u64)
}

fn write(edit: &Edit) -> Value {
    match edit {
        Edit::Keep => Value::Null,
        Edit::Set(value) => Value::Array(vec![value.clone()]),
        Edit::List(edit) => Value::array([
            Value::array(edit.removed.iter().map(|at| index(*at))),
            Value::array(edit.changed.iter().map(|(at, edit)| Value::Array(vec![index(*at), write(edit)]))),
            Value::array(edit.inserted.iter().map(|(at, insert)| match insert {
                Insert::New(value) => Value::Array(vec![index(*at), value.clone()]),
                Insert::Moved(from, edit) => Value::Array(vec![index(*at), index(*from), write(edit)]),
            })),
        ]),
        Edit::Map(edit) => Value::array([
            Value::array(edit.removed.iter().map(|at| index(*at))),
            Value::array(edit.changed.iter().map(|(at, edit)| Value::Array(vec![index(*at), write(edit)]))),
            Value::Map(
                edit.inserted
                    .iter()
                    .map(|(key, rename)| match rename {
                        Rename::New(value) => (key.clone(), Value::Array(vec![value.clone()])),
                        Rename::From(from) => (key.clone(), index(*from)),
                    })
                    .collect(),
            ),
        ]),
    }
}

fn items(value: &Value) -> Result<&[Value], DecodeError> {
    value.as_array().ok_or(DecodeError::Position)
}

fn item(value: &Value, at: usize) -> Result<&Value, DecodeError> {
    items(value)?.get(at).ok_or(DecodeError::Position)
}

fn read_index(value: &Value) -> Result<usize, DecodeError> {
    usize::try_from(value.as_u64().ok_or(DecodeError::Position)?).map_err(|_| DecodeError::Position)
}

fn read_changed(value: &Value) -> Result<Vec<(usize, Edit)>, DecodeError> {
    items(value)?.iter().map(|pair| Ok((read_index(item(pair, 0)?)?, read(item(pair, 1)?)?))).collect()
}

fn read_insert(value: &Value) -> Result<(usize, Insert), DecodeError> {
    let at = read_index(item(value, 0)?)?;
    let insert = match item(value, 2) {
        Ok(edit) => Insert::Moved(read_index(item(value, 1)?)?, read(edit)?),
        Err(_) => Insert::New(item(value, 1)?.clone()),
    };
    Ok((at, insert))
}

fn read(value: &Value) -> Result<Edit, DecodeError> {
    let Value::Array(parts) = value else { return Ok(Edit::Keep) };
    let [removed, changed, inserted] = parts.as_slice() else {
        return Ok(Edit::Set(item(value, 0)?.clone()));
    };
    let removed = items(removed)?.iter().map(read_index).collect::<Result<_, _>>()?;
    let changed = read_changed(changed)?;
    match inserted {
        Value::Map(map) => {
            let inserted = map
                .iter()
                .map(|(key, value)| {
                    Ok((
                        Key::clone(key),
                        match value {
                            Value::Array(_) => Rename::New(item(value, 0)?.clone()),
                            from => Rename::From(read_index(from)?),
                        },
                    ))
                })
                .collect::<Result<_, DecodeError>>()?;
            Ok(Edit::Map(MapEdit { removed, changed, inserted }))
        }
        list => {
            let inserted = items(list)?.iter().map(read_insert).collect::<Result<_, _>>()?;
            Ok(Edit::List(ListEdit { removed, changed, inserted }))
        }
    }
}
