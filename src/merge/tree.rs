//! Between the tree that a reader sees and the entries that are kept: an object is spread over keys, one
//! segment per member; arrays, scalars and empty objects are values.

use std::collections::BTreeMap;

use tombolo_delta::{Map, Value};

use crate::layer::{CompactValue, KeyError, KeyPath};

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
fn shown(segments: &[String]) -> String {
    const LETTERS_MAX: usize = 80;
    let whole = segments.join("/");
    match whole.char_indices().nth(LETTERS_MAX) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

fn key_of(segments: Vec<String>) -> Result<KeyPath, TreeError> {
    KeyPath::check(&segments).map_err(|why| TreeError::Key { at: shown(&segments), why })?;
    Ok(KeyPath::new(segments).expect("the segments were checked just now"))
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
    match (prefix, value) {
        (None, Value::Map(members)) => spread(&[], members, &mut leaves)?,
        (None, _) => return Err(TreeError::NotAnObject),
        (Some(prefix), Value::Map(members)) if !members.is_empty() => {
            spread(prefix.segments(), members, &mut leaves)?;
        }
        (Some(prefix), leaf) => drop(leaves.insert(prefix.clone(), leaf.clone())),
    }
    Ok(leaves)
}

fn spread(above: &[String], members: &Map, leaves: &mut BTreeMap<KeyPath, Value>) -> Result<(), TreeError> {
    for (name, value) in members.iter() {
        let tombolo_delta::Key::Text(name) = name else {
            return Err(TreeError::NotText { at: shown(above) });
        };
        let mut segments = Vec::with_capacity(above.len() + 1);
        segments.extend_from_slice(above);
        segments.push(name.clone());
        spread_value(segments, value, leaves)?;
    }
    Ok(())
}

fn spread_value(
    at: Vec<String>,
    value: &Value,
    leaves: &mut BTreeMap<KeyPath, Value>,
) -> Result<(), TreeError> {
    match value {
        Value::Map(members) if !members.is_empty() => {
            let key = key_of(at)?;
            spread(key.segments(), members, leaves)
        }
        leaf => {
            leaves.insert(key_of(at)?, leaf.clone());
            Ok(())
        }
    }
}

/// The tree that entries make, each given by the segments below the root of the tree. Where a value stands at a prefix of
/// another key, the object is what remains. None where there is no entry.
pub(super) fn assemble<'a>(entries: impl Iterator<Item = (&'a [String], &'a CompactValue)>) -> Option<Value> {
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
    fn put(&mut self, segments: &[String], value: &CompactValue) {
        match segments.split_first() {
            None => self.leaf = Some(value.get().into_owned()),
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
