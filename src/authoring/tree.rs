//! Paths in the tree of a snapshot.

use tombolo_delta::{Map, Value};

/// Puts a value at a path; a value on the way that is no object is replaced by one. Returns whether anything changed.
pub(super) fn put_at(tree: &mut Value, path: &[String], value: Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
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
    let changed = put_at(&mut child, rest, value);
    members.insert(first.as_str(), child);
    *tree = Value::Map(members);
    changed
}

/// Removes the value at a path. Returns whether there was one.
pub(super) fn remove_at(tree: &mut Value, path: &[String]) -> bool {
    let (Some((first, rest)), Value::Map(members)) = (path.split_first(), &mut *tree) else { return false };
    if rest.is_empty() {
        return members.remove(first).is_some();
    }
    let Some(mut child) = members.remove(first) else { return false };
    let removed = remove_at(&mut child, rest);
    members.insert(first.as_str(), child);
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    fn at<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
        path.iter().try_fold(tree, |value, segment| value.get(segment))
    }

    #[test]
    fn a_value_put_at_a_path_is_found_there_and_removed_again() {
        let mut tree = Value::from("scalar");
        assert!(put_at(&mut tree, &path("a/b"), Value::from(1u64)));
        assert!(!put_at(&mut tree, &path("a/b"), Value::from(1u64)), "it is there already");
        assert_eq!(at(&tree, &path("a/b")), Some(&Value::from(1u64)));
        assert!(!remove_at(&mut tree, &path("a/c")));
        assert!(remove_at(&mut tree, &path("a/b")));
        assert_eq!(at(&tree, &path("a/b")), None);
        assert_eq!(at(&tree, &path("a")), Some(&Value::Map(Map::new())));
    }
}
