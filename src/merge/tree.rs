//! Between the tree that a reader sees and the entries that are kept: an object is spread over keys, one
//! segment per member; arrays, scalars and empty objects are values.

use std::collections::BTreeMap;

use tombolo_delta::{Map, Value};

use crate::layer::{CompactValue, KeyError, KeyPath, key_excerpt};

/// Why a tree cannot be kept in a map document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A map document is an object at the top.
    #[error("a map document is a JSON object at the top")]
    NotAnObject,
    /// A member's name cannot be a key.
    #[error("the key `{at}`: {why}")]
    Key {
        /// Its segments, cut where it is long.
        at: String,
        /// The rule of keys that it breaks.
        #[source]
        why: KeyError,
    },
    /// Object members have text names.
    #[error("the members of an object have text names; below `{at}` one has none")]
    NotText {
        /// The segments above it.
        at: String,
    },
}

/// A key that may be none, for an error.
fn shown(segments: &[&str]) -> String {
    key_excerpt(&segments.join("/"))
}

fn key_of(segments: &[&str]) -> Result<KeyPath, TreeError> {
    KeyPath::new(segments).map_err(|why| TreeError::Key { at: shown(segments), why })
}

/// How many entries of a map a value makes.
pub fn leaf_count(value: &Value) -> usize {
    match value {
        Value::Map(members) if !members.is_empty() => {
            members.iter().map(|(_, value)| leaf_count(value)).sum()
        }
        Value::Map(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Array(_) => 1,
    }
}

/// Spreads `value` over keys below `prefix`; without a prefix it must be an object.
///
/// # Errors
///
/// An error where the value is no object, or a member has no name that can be a key.
pub fn flatten(prefix: Option<&KeyPath>, value: &Value) -> Result<BTreeMap<KeyPath, Value>, TreeError> {
    let mut leaves = BTreeMap::new();
    let mut at: Vec<&str> = prefix.into_iter().flat_map(KeyPath::segments).collect();
    match (prefix, value) {
        (None, Value::Map(members)) => spread(&mut at, members, &mut leaves)?,
        (None, _) => return Err(TreeError::NotAnObject),
        (Some(_), Value::Map(members)) if !members.is_empty() => spread(&mut at, members, &mut leaves)?,
        (Some(prefix), leaf) => drop(leaves.insert(prefix.clone(), leaf.clone())),
    }
    Ok(leaves)
}

fn spread<'a>(
    at: &mut Vec<&'a str>,
    members: &'a Map,
    leaves: &mut BTreeMap<KeyPath, Value>,
) -> Result<(), TreeError> {
    for (name, value) in members.iter() {
        let tombolo_delta::Key::Text(name) = name else {
            return Err(TreeError::NotText { at: shown(at) });
        };
        at.push(name);
        let key = key_of(at)?;
        match value {
            Value::Map(members) if !members.is_empty() => spread(at, members, leaves)?,
            leaf => drop(leaves.insert(key, leaf.clone())),
        }
        at.pop();
    }
    Ok(())
}

/// The tree that entries make, each given by the segments below the root of the tree. Where a value stands at a prefix of
/// another key, the object is what remains. None where there is no entry.
pub(super) fn assemble<'a>(
    entries: impl Iterator<Item = (impl Iterator<Item = &'a str>, &'a CompactValue)>,
) -> Option<Value> {
    let mut entries = entries.peekable();
    entries.peek()?;
    let mut root = Branch::default();
    for (segments, value) in entries {
        root.at(segments).leaf = Some(value.get().into_owned());
    }
    Some(root.into_value())
}

#[derive(Default)]
struct Branch<'a> {
    leaf: Option<Value>,
    children: BTreeMap<&'a str, Branch<'a>>,
}

impl<'a> Branch<'a> {
    fn at(&mut self, segments: impl Iterator<Item = &'a str>) -> &mut Self {
        segments.fold(self, |branch, segment| branch.children.entry(segment).or_default())
    }

    fn into_value(self) -> Value {
        match self.leaf {
            Some(leaf) if self.children.is_empty() => leaf,
            _ => self
                .children
                .into_iter()
                .map(|(name, branch)| (name.to_owned(), branch.into_value()))
                .collect(),
        }
    }
}
