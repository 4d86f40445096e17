//! What replicated documents send for a change: automerge, yrs, loro.
//!
//! These engines merge concurrent writes, which a snapshot never needs, and pay for it with history. They are driven as
//! a snapshot's owner would: two replicas, the writer's and the reader's. A document is one tree in them, texts are
//! registers, and only what differs is written, with as few operations as this file finds. The message is the update
//! since the version that the base had, without the handshake of their own sync protocols; `first` is the smallest form
//! a new peer can load. Reading applies the message to the reader's replica and takes the document out of it. Replicas'
//! ids have the length these engines choose themselves, and are fixed so that every run gives the same bytes.
//!
//! With `--base N` the message holds what a reader lacks who is N changes behind; the reader here got the changes
//! between too, and drops what it knows.

mod automerge;
mod loro;
mod yrs;

use crate::codecs::Codec;
use serde_json::Value as Json;

pub(crate) fn all() -> Vec<Box<dyn Codec>> {
    vec![
        Box::new(automerge::Automerge::of_trees()),
        Box::new(automerge::Automerge::of_bytes()),
        Box::new(yrs::Yrs::new()),
        Box::new(loro::Loro::new()),
    ]
}

/// The key of the document in a replica.
const DOCUMENT: &str = "d";

/// A tree that is written to node by node.
trait Tree {
    type Node;

    fn child(&mut self, of: &Self::Node, at: &PathStep<'_>) -> Self::Node;
    fn set(&mut self, of: &Self::Node, at: &PathStep<'_>, value: &Json);
    fn insert(&mut self, of: &Self::Node, index: usize, value: &Json);
    fn remove(&mut self, of: &Self::Node, at: &PathStep<'_>);
}

/// Where a value stands in the one above.
enum PathStep<'s> {
    Key(&'s str),
    Index(usize),
}

/// Writes what differs. The value at this step is `old`.
fn write<T: Tree>(tree: &mut T, of: &T::Node, at: &PathStep<'_>, old: &Json, new: &Json) {
    match (old, new) {
        _ if old == new => {}
        (Json::Object(old), Json::Object(new)) => {
            let node = tree.child(of, at);
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                tree.remove(&node, &PathStep::Key(key));
            }
            for (key, value) in new {
                match old.get(key) {
                    Some(was) => write(tree, &node, &PathStep::Key(key), was, value),
                    None => tree.set(&node, &PathStep::Key(key), value),
                }
            }
        }
        (Json::Array(old), Json::Array(new)) => {
            let node = tree.child(of, at);
            write_list(tree, &node, old, new);
        }
        _ => tree.set(of, at, new),
    }
}

/// Items that are the same record stay; between two that do, the rest is replaced in place, then added or removed.
fn write_list<T: Tree>(tree: &mut T, node: &T::Node, old: &[Json], new: &[Json]) {
    let mut pairs = common(old, new);
    pairs.push((old.len(), new.len()));
    let (mut from, mut to, mut at) = (0, 0, 0);
    for (pair_from, pair_to) in pairs {
        while from < pair_from || to < pair_to {
            if from < pair_from && to < pair_to {
                write(tree, node, &PathStep::Index(at), &old[from], &new[to]);
                (from, to, at) = (from + 1, to + 1, at + 1);
            } else if from < pair_from {
                tree.remove(node, &PathStep::Index(at));
                from += 1;
            } else {
                tree.insert(node, at, &new[to]);
                (to, at) = (to + 1, at + 1);
            }
        }
        if pair_from < old.len() {
            write(tree, node, &PathStep::Index(at), &old[pair_from], &new[pair_to]);
            (from, to, at) = (pair_from + 1, pair_to + 1, at + 1);
        }
    }
}

/// The longest list of pairs of the same item that rises on both sides.
fn common(old: &[Json], new: &[Json]) -> Vec<(usize, usize)> {
    let same = |a: &Json, b: &Json| identity(a) == identity(b);
    let head = old.iter().zip(new).take_while(|(a, b)| same(a, b)).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| same(a, b)).count();
    let (old_rest, new_rest) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    // For each pair of ends, how many pairs the best list from there has.
    let mut longest = vec![vec![0u32; new_rest.len() + 1]; old_rest.len() + 1];
    for (from, a) in old_rest.iter().enumerate().rev() {
        for (to, b) in new_rest.iter().enumerate().rev() {
            let skipping = longest[from + 1][to].max(longest[from][to + 1]);
            let taking = if same(a, b) { longest[from + 1][to + 1] + 1 } else { 0 };
            longest[from][to] = skipping.max(taking);
        }
    }
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|at| (at, at)).collect();
    let (mut from, mut to) = (0, 0);
    while from < old_rest.len() && to < new_rest.len() {
        if same(&old_rest[from], &new_rest[to]) && longest[from][to] == longest[from + 1][to + 1] + 1 {
            pairs.push((head + from, head + to));
            (from, to) = (from + 1, to + 1);
        } else if longest[from + 1][to] >= longest[from][to + 1] {
            from += 1;
        } else {
            to += 1;
        }
    }
    pairs.extend((0..tail).map(|at| (old.len() - tail + at, new.len() - tail + at)));
    pairs
}

/// What makes a record the same record, else the whole value: as in the codec of this project.
fn identity(value: &Json) -> &Json {
    ["id", "name", "repo"].iter().find_map(|key| value.get(key).filter(|id| id.is_string())).unwrap_or(value)
}
