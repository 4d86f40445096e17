//! Between the tree that a reader sees and the entries that are kept: an object is spread over keys, one
//! segment per member; arrays, scalars and empty objects are values.

use std::collections::BTreeMap;

use tombolo_delta::{Map, Value};

use crate::layer::{KeyError, KeyPath};

/// Why a tree cannot be kept in a map document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A map document is an object at the top.
    #[error("a map document is a JSON object at the top")]
    NotAnObject,
    /// A member's name cannot be a key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Object members have text names.
    #[error("the members of an object have text names")]
    NotText,
}

/// Spreads `value` over keys below `prefix`; without a prefix it must be an object.
///
/// # Errors
///
/// An error where the value is no object, or a member has no name that can be a key.
pub fn flatten(prefix: Option<&KeyPath>, value: &Value) -> Result<BTreeMap<KeyPath, Value>, TreeError> {
    let mut leaves = BTreeMap::new();
    match (prefix, value) {
        (None, Value::Map(members)) => spread(&[], members, &mut leaves)?,
        (None, _) => return Err(TreeError::NotAnObject),
        (Some(prefix), value) => spread_value(prefix.segments(), value, &mut leaves)?,
    }
    Ok(leaves)
}

fn spread(above: &[String], members: &Map, leaves: &mut BTreeMap<KeyPath, Value>) -> Result<(), TreeError> {
    for (name, value) in members.iter() {
        let tombolo_delta::Key::Text(name) = name else { return Err(TreeError::NotText) };
        let mut segments = above.to_vec();
        segments.push(name.clone());
        spread_value(&segments, value, leaves)?;
    }
    Ok(())
}

fn spread_value(
    at: &[String],
    value: &Value,
    leaves: &mut BTreeMap<KeyPath, Value>,
) -> Result<(), TreeError> {
    match value {
        Value::Map(members) if !members.is_empty() => {
            KeyPath::new(at.to_vec())?;
            spread(at, members, leaves)
        }
        leaf => {
            leaves.insert(KeyPath::new(at.to_vec())?, leaf.clone());
            Ok(())
        }
    }
}

/// The tree that entries make, each given by the segments below the root of the tree. Where a value stands at a prefix of
/// another key, the object is what remains. None where there is no entry.
pub(super) fn assemble<'a>(entries: impl Iterator<Item = (&'a [String], &'a Value)>) -> Option<Value> {
    let mut entries = entries.peekable();
    entries.peek()?;
    let mut root = Branch::default();
    for (segments, value) in entries {
        root.put(segments, value);
    }
    Some(root.into_value())
}

#[derive(Default)]
struct Branch {
    leaf: Option<Value>,
    children: BTreeMap<String, Branch>,
}

impl Branch {
    fn put(&mut self, segments: &[String], value: &Value) {
        match segments.split_first() {
            None => self.leaf = Some(value.clone()),
            Some((first, rest)) => self.children.entry(first.clone()).or_default().put(rest, value),
        }
    }

    fn into_value(self) -> Value {
        match self.leaf {
            Some(leaf) if self.children.is_empty() => leaf,
            _ => self.children.into_iter().map(|(name, branch)| (name, branch.into_value())).collect(),
        }
    }
}
