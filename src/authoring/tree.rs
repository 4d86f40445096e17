//! Paths in the tree of a snapshot.

use tombolo_delta::{Map, Value};

use crate::layer::Segments;

/// Puts a value at a path; a value on the way that is no object is replaced by one. Returns whether anything changed.
pub(super) fn put_at(tree: &mut Value, mut path: Segments<'_>, value: Value) -> bool {
    let Some(first) = path.next() else {
        let changed = *tree != value;
        *tree = value;
        return changed;
    };
    let mut members = match std::mem::take(tree) {
        Value::Map(members) => members,
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Array(_) => Map::new(),
    };
    let mut child = members.remove(first).unwrap_or_default();
    let changed = put_at(&mut child, path, value);
    members.insert(first, child);
    *tree = Value::Map(members);
    changed
}

/// Removes the value at a path. Returns whether there was one.
pub(super) fn remove_at(tree: &mut Value, mut path: Segments<'_>) -> bool {
    let (Some(first), Value::Map(members)) = (path.next(), &mut *tree) else { return false };
    if path.len() == 0 {
        return members.remove(first).is_some();
    }
    let Some(mut child) = members.remove(first) else { return false };
    let removed = remove_at(&mut child, path);
    members.insert(first, child);
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::KeyPath;

    fn put(tree: &mut Value, path: &str, value: u64) -> bool {
        put_at(tree, KeyPath::parse(path).unwrap().segments(), Value::from(value))
    }

    fn remove(tree: &mut Value, path: &str) -> bool {
        remove_at(tree, KeyPath::parse(path).unwrap().segments())
    }

    fn at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
        path.split('/').try_fold(tree, |value, segment| value.get(segment))
    }

    #[test]
    fn a_value_put_at_a_path_is_found_there_and_removed_again() {
        let mut tree = Value::from("scalar");
        assert!(put(&mut tree, "a/b", 1));
        assert!(!put(&mut tree, "a/b", 1), "it is there already");
        assert_eq!(at(&tree, "a/b"), Some(&Value::from(1u64)));
        assert!(!remove(&mut tree, "a/c"));
        assert!(remove(&mut tree, "a/b"));
        assert_eq!(at(&tree, "a/b"), None);
        assert_eq!(at(&tree, "a"), Some(&Value::Map(Map::new())));
    }
}
