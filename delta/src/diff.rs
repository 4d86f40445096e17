//! Comparing two states: a [`Delta`] with which [`apply`](crate::apply) makes the second from the first.
//!
//! Maps are merged by key, arrays aligned by [`list`](crate::list). Nothing here decides about bytes.

use crate::list;
use crate::op::{Delta, Edit, Insert, ListEdit, MapEdit, Rename};
use crate::predict::Running;
use crate::value::Map;
use crate::{Context, Value};
use std::collections::HashMap;

/// The delta that makes `target` of `base`.
pub fn diff(base: &Value, target: &Value, context: &Context) -> Delta {
    let running = Running::new(context, true);
    let root = Differ { running }.edit("", base, target);
    Delta { running: true, root }
}

/// The edit that makes one list of lines of another: here nothing runs.
pub(crate) fn diff_lines(base: &[Value], target: &[Value]) -> ListEdit {
    let running = Running::new(&Context::default(), false);
    Differ { running }.list("", base, target)
}

struct Differ {
    running: Running,
}

impl Differ {
    fn edit(&self, key: &str, base: &Value, target: &Value) -> Edit {
        if self.running.foretells(key, base, target) {
            return Edit::Keep;
        }
        match (base, target) {
            (Value::Array(base), Value::Array(target)) => Edit::List(self.list(key, base, target)),
            (Value::Map(base), Value::Map(target)) => Edit::Map(self.map(base, target)),
            _ => Edit::Set(target.clone()),
        }
    }

    fn list(&self, key: &str, base: &[Value], target: &[Value]) -> ListEdit {
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
        for (from, at) in plan.kept {
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
                Some((at, (_, was))) => match self.edit(key.name(), was, value) {
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
                entries.get(*at).is_some_and(|(_, v)| self.running.foretells(key.name(), v, value))
            };
            if let Some(at) = places.pop_if(|at| stays(at)) {
                *rename = Rename::From(at);
            }
        }
    }
}
