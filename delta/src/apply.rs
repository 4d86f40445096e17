//! Applying a delta to its base: the other half of [`diff`](crate::diff).
//!
//! A delta may come from anywhere, so every position is checked. What it costs is bounded by base and delta together:
//! each value of the base is used once at most.

use crate::hint::FieldKey;
use crate::op::{Delta, Edit, Insert, ListEdit, MapEdit, Rename};
use crate::predict::Running;
use crate::value::{Key, Map};
use crate::{ApplyError, Context, Value};

/// The target: what `delta` makes of `base`.
///
/// # Errors
///
/// An error where the delta was made for another base.
pub fn apply(base: &Value, delta: &Delta, context: &Context) -> Result<Value, ApplyError> {
    let running = Running::new(context, delta.running);
    edited(&FieldKey::new(""), base, &delta.root, &running)
}

fn edited(key: &FieldKey<'_>, base: &Value, edit: &Edit, running: &Running) -> Result<Value, ApplyError> {
    match (edit, base) {
        (Edit::Keep, _) => Ok(running.advanced(key, base)),
        (Edit::Set(value), _) => Ok(value.clone()),
        (Edit::List(edit), Value::Array(items)) => list(key, items, edit, running).map(Value::Array),
        (Edit::Map(edit), Value::Map(entries)) => map(entries, edit, running).map(Value::Map),
        _ => Err(ApplyError::Kind),
    }
}

pub(crate) fn list(
    key: &FieldKey<'_>,
    base: &[Value],
    edit: &ListEdit,
    running: &Running,
) -> Result<Vec<Value>, ApplyError> {
    let mut removed = edit.removed.iter().copied().peekable();
    let mut changed = edit.changed.iter().peekable();
    let mut inserted = edit.inserted.iter().peekable();
    let mut target = Vec::with_capacity(base.len() + edit.inserted.len());
    for at in 0..=base.len() {
        while let Some((_, insert)) = inserted.next_if(|(slot, _)| *slot == target.len()) {
            target.push(match insert {
                Insert::New(value) => value.clone(),
                Insert::Moved(from, edit) => moved(key, base, *from, edit, running)?,
            });
        }
        let Some(item) = base.get(at) else { break };
        if removed.next_if_eq(&at).is_some() {
            continue;
        }
        let edit = changed.next_if(|(index, _)| *index == at).map_or(&Edit::Keep, |(_, edit)| edit);
        target.push(edited(key, item, edit, running)?);
    }
    if removed.next().is_some() || changed.next().is_some() || inserted.next().is_some() {
        return Err(ApplyError::Position);
    }
    Ok(target)
}

fn moved(
    key: &FieldKey<'_>,
    base: &[Value],
    from: usize,
    edit: &Edit,
    running: &Running,
) -> Result<Value, ApplyError> {
    edited(key, base.get(from).ok_or(ApplyError::Position)?, edit, running)
}

fn map(base: &Map, edit: &MapEdit, running: &Running) -> Result<Map, ApplyError> {
    let mut removed = edit.removed.iter().copied().peekable();
    let mut changed = edit.changed.iter().peekable();
    let mut inserted = edit.inserted.iter().peekable();
    let mut target: Vec<(Key, Value)> = Vec::with_capacity(base.len() + edit.inserted.len());
    for (at, (key, value)) in base.iter().enumerate() {
        if removed.next_if_eq(&at).is_some() {
            continue;
        }
        while let Some((key, rename)) = inserted.next_if(|(new, _)| new < key) {
            target.push((key.clone(), renamed(key, base, rename, running)?));
        }
        let edit = changed.next_if(|(index, _)| *index == at).map_or(&Edit::Keep, |(_, edit)| edit);
        target.push((key.clone(), edited(&FieldKey::new(key.name()), value, edit, running)?));
    }
    for (key, rename) in inserted {
        target.push((key.clone(), renamed(key, base, rename, running)?));
    }
    if removed.next().is_some() || changed.next().is_some() {
        return Err(ApplyError::Position);
    }
    Map::from_sorted(target).ok_or(ApplyError::KeyTwice)
}

fn renamed(key: &Key, base: &Map, rename: &Rename, running: &Running) -> Result<Value, ApplyError> {
    match rename {
        Rename::New(value) => Ok(value.clone()),
        Rename::From(at) => {
            let (_, value) = base.entries().get(*at).ok_or(ApplyError::Position)?;
            Ok(running.advanced(&FieldKey::new(key.name()), value))
        }
    }
}
