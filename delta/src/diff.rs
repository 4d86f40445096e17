//! Comparing two states: a [`Delta`] with which [`apply`](crate::apply) makes the second from the first.
//!
//! Maps are merged by key, arrays aligned by [`list`](crate::list). Nothing here decides about bytes.

use crate::hint::FieldKey;
use crate::list;
use crate::op::{Delta, Edit, Insert, ListEdit, MapEdit, Rename};
use crate::predict::Running;
use crate::value::Map;
use crate::{Context, Value};
use std::collections::HashMap;

/// The delta that makes `target` of `base`.
///
/// Of the ways to encode it the one with the fewest edits is taken.
pub fn diff(base: &Value, target: &Value, context: &Context) -> Delta {
    let mut delta = Delta { running: true, root: edit(base, target, context, true) };
    if has_stopped(base, &delta.root) {
        let still = edit(base, target, context, false);
        if count(&still) < count(&delta.root) {
            delta = Delta { running: false, root: still };
        }
    }
    delta
}

fn edit(base: &Value, target: &Value, context: &Context, running: bool) -> Edit {
    Differ { running: Running::new(context, running) }.edit(&FieldKey::new(""), base, target)
}

/// Whether an edit sets a leaf to what it was: it was predicted to move, and has not.
fn has_stopped(base: &Value, edit: &Edit) -> bool {
    match (edit, base) {
        (Edit::Set(new), _) => new == base,
        (Edit::List(edit), Value::Array(items)) => {
            edit.changed.iter().any(|(at, edit)| items.get(*at).is_some_and(|item| has_stopped(item, edit)))
        }
        (Edit::Map(edit), Value::Map(map)) => edit
            .changed
            .iter()
            .any(|(at, edit)| map.entries().get(*at).is_some_and(|(_, item)| has_stopped(item, edit))),
        _ => false,
    }
}

/// How many values an edit names, removed ones included.
fn count(edit: &Edit) -> usize {
    let changed = |changed: &[(usize, Edit)]| changed.iter().map(|(_, edit)| count(edit)).sum::<usize>();
    match edit {
        Edit::Keep => 0,
        Edit::Set(new) => leaves(new),
        Edit::List(edit) => {
            let inserted = edit.inserted.iter().map(|(_, insert)| match insert {
                Insert::New(new) => leaves(new),
                Insert::Moved(_, edit) => count(edit),
            });
            edit.removed.len() + changed(&edit.changed) + inserted.sum::<usize>()
        }
        Edit::Map(edit) => {
            let inserted = edit.inserted.iter().map(|(_, rename)| match rename {
                Rename::New(new) => leaves(new),
                Rename::From(_) => 1,
            });
            edit.removed.len() + changed(&edit.changed) + inserted.sum::<usize>()
        }
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(leaves).sum::<usize>() + 1,
        Value::Map(map) => map.iter().map(|(_, value)| leaves(value)).sum::<usize>() + 1,
        _ => 1,
    }
}

struct Differ {
    running: Running,
}

impl Differ {
    fn edit(&self, key: &FieldKey<'_>, base: &Value, target: &Value) -> Edit {
        match (base, target) {
            (Value::Map(base), Value::Map(target)) => {
                let edit = self.map(base, target);
                let kept = edit.removed.is_empty() && edit.changed.is_empty() && edit.inserted.is_empty();
                if kept { Edit::Keep } else { Edit::Map(edit) }
            }
            _ if self.running.predicts(key, base, target) => Edit::Keep,
            (Value::Array(base), Value::Array(target)) => Edit::List(self.list(key, base, target)),
            _ => Edit::Set(target.clone()),
        }
    }

    fn list(&self, key: &FieldKey<'_>, base: &[Value], target: &[Value]) -> ListEdit {
        let plan = list::align(base, target);
        let mut edit = ListEdit { removed: plan.removed, ..ListEdit::default() };
        for (at, from) in plan.inserted {
            let Some(value) = target.get(at) else { continue };
            let insert = match from.and_then(|from| Some((from, base.get(from)?))) {
                Some((from, old)) => Insert::Moved(from, self.edit(key, old, value)),
                None => Insert::New(value.clone()),
            };
            edit.inserted.push((at, insert));
        }
        for (from, at) in plan.kept.iter().flat_map(|run| run.pairs()) {
            let (Some(old), Some(new)) = (base.get(from), target.get(at)) else { continue };
            match self.edit(key, old, new) {
                Edit::Keep => {}
                change => edit.changed.push((from, change)),
            }
        }
        edit
    }

    fn map(&self, base: &Map, target: &Map) -> MapEdit {
        let mut edit = MapEdit::default();
        let mut old = base.iter().enumerate().peekable();
        for (key, value) in target.iter() {
            while let Some((at, _)) = old.next_if(|(_, (k, _))| *k < key) {
                edit.removed.push(at);
            }
            match old.next_if(|(_, (k, _))| *k == key) {
                Some((at, (_, was))) => match self.edit(&FieldKey::new(key.name()), was, value) {
                    Edit::Keep => {}
                    change => edit.changed.push((at, change)),
                },
                None => edit.inserted.push((key.clone(), Rename::New(value.clone()))),
            }
        }
        edit.removed.extend(old.map(|(at, _)| at));
        self.find_renames(base, &mut edit);
        edit
    }

    /// A value that stood under a removed key and stands under a new one was renamed.
    fn find_renames(&self, base: &Map, edit: &mut MapEdit) {
        if edit.removed.is_empty() || edit.inserted.is_empty() {
            return;
        }
        let entries = base.entries();
        let mut left: HashMap<Value, Vec<usize>> = HashMap::new();
        for at in edit.removed.iter().rev() {
            let Some((_, value)) = entries.get(*at) else { continue };
            left.entry(value.clone()).or_default().push(*at);
        }
        for (key, rename) in &mut edit.inserted {
            let Rename::New(value) = rename else { continue };
            let Some(places) = left.get_mut(value) else { continue };
            let stays = |at: &usize| {
                entries
                    .get(*at)
                    .is_some_and(|(_, v)| self.running.predicts(&FieldKey::new(key.name()), v, value))
            };
            if let Some(at) = places.pop_if(|at| stays(at)) {
                *rename = Rename::From(at);
            }
        }
    }
}
