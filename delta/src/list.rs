//! Arrays: which item of the target is which item of the base.
//!
//! Items are the same when their identity is: a record's `id`, `name` or `repo` where it has one that is a text, else
//! the whole value. What stands at both ends alike is matched first, the rest by the longest increasing run of matches
//! (Hunt and Szymanski), in n log n. An item that left one place and came in at another was moved.

use crate::Value;
use std::collections::{HashMap, HashSet};

/// Where each item of the target comes from.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Pairs of base index and target index, rising in both.
    pub(crate) kept: Vec<(usize, usize)>,
    /// Base indices without a partner, rising.
    pub(crate) removed: Vec<usize>,
    /// Target indices without a partner, rising, and the removed item that each one is.
    pub(crate) inserted: Vec<(usize, Option<usize>)>,
}

const IDENTITY_KEYS: [&str; 3] = ["id", "name", "repo"];

/// An item that stands in the base so often is tried at so many places at most, the nearest ones: this keeps the time
/// near n log n where lines repeat, and costs a few bytes at worst.
const PLACES_MAX: usize = 8;

/// What makes a record the same record.
pub(crate) fn identity(value: &Value) -> &Value {
    let named = |key: &&str| value.get(key).filter(|id| matches!(id, Value::Text(_)));
    IDENTITY_KEYS.iter().find_map(named).unwrap_or(value)
}

/// Aligns two arrays.
pub(crate) fn align(base: &[Value], target: &[Value]) -> Plan {
    let same = |pair: &(&Value, &Value)| identity(pair.0) == identity(pair.1);
    let head = base.iter().zip(target).take_while(same).count();
    let (base_rest, target_rest) = (base.split_at(head).1, target.split_at(head).1);
    let tail = base_rest.iter().rev().zip(target_rest.iter().rev()).take_while(same).count();
    let middle = Middle::new(
        base_rest.split_at(base_rest.len() - tail).0,
        target_rest.split_at(target_rest.len() - tail).0,
    );
    let mut plan = Plan { kept: (0..head).map(|at| (at, at)).collect(), ..Plan::default() };
    middle.align(head, &mut plan);
    plan.kept.extend((0..tail).map(|at| (base.len() - tail + at, target.len() - tail + at)));
    plan
}

/// The part between a common head and a common tail.
struct Middle<'a> {
    base: &'a [Value],
    target: &'a [Value],
    /// Where each identity stands in the base, rising.
    places: HashMap<&'a Value, Vec<usize>>,
    wanted: HashSet<&'a Value>,
}

impl<'a> Middle<'a> {
    fn new(base: &'a [Value], target: &'a [Value]) -> Middle<'a> {
        let mut places: HashMap<&Value, Vec<usize>> = HashMap::new();
        for (at, item) in base.iter().enumerate() {
            places.entry(identity(item)).or_default().push(at);
        }
        Middle { base, target, places, wanted: target.iter().map(identity).collect() }
    }

    fn align(&self, shift: usize, plan: &mut Plan) {
        let mut pairs = self.longest_run();
        pairs.push((self.base.len(), self.target.len()));
        let (mut from, mut at) = (0, 0);
        for (pair_from, pair_at) in pairs {
            if self.alike(from, pair_from, at, pair_at) {
                plan.kept.extend((from..pair_from).zip(at..pair_at).map(|(f, a)| (shift + f, shift + a)));
            } else {
                plan.removed.extend((from..pair_from).map(|f| shift + f));
                plan.inserted.extend((at..pair_at).map(|a| (shift + a, None)));
            }
            if pair_from < self.base.len() {
                plan.kept.push((shift + pair_from, shift + pair_at));
            }
            (from, at) = (pair_from + 1, pair_at + 1);
        }
        self.find_moves(shift, plan);
    }

    /// The longest list of equal pairs that rises on both sides.
    fn longest_run(&self) -> Vec<(usize, usize)> {
        let mut steps: Vec<Step> = Vec::new();
        // For each length, the step whose run of that length ends earliest in the base.
        let mut ends: Vec<usize> = Vec::new();
        let from_of = |steps: &[Step], step: usize| steps.get(step).map_or(usize::MAX, |s| s.from);
        for (at, item) in self.target.iter().enumerate() {
            for from in self.places_near(item, at).into_iter().rev() {
                let length = ends.partition_point(|end| from_of(&steps, *end) < from);
                let before = length.checked_sub(1).and_then(|l| ends.get(l).copied());
                steps.push(Step { from, at, before });
                match ends.get_mut(length) {
                    Some(end) => *end = steps.len() - 1,
                    None => ends.push(steps.len() - 1),
                }
            }
        }
        let mut run = Vec::with_capacity(ends.len());
        let mut next = ends.last().copied();
        while let Some(step) = next.and_then(|step| steps.get(step)) {
            run.push((step.from, step.at));
            next = step.before;
        }
        run.reverse();
        run
    }

    /// Where the item stands in the base, rising; only the nearest places where it stands often.
    fn places_near(&self, item: &Value, at: usize) -> Vec<usize> {
        let Some(places) = self.places.get(identity(item)) else { return Vec::new() };
        let first = places.partition_point(|place| *place < at).saturating_sub(PLACES_MAX / 2);
        let first = first.min(places.len().saturating_sub(PLACES_MAX));
        places.iter().skip(first).take(PLACES_MAX).copied().collect()
    }

    /// Whether a gap between two matches holds the same items, changed: as many on both sides, most of them near to
    /// each other, and none of them moved here or elsewhere.
    fn alike(&self, from: usize, from_end: usize, at: usize, at_end: usize) -> bool {
        let (Some(old), Some(new)) = (self.base.get(from..from_end), self.target.get(at..at_end)) else {
            return false;
        };
        if old.len() != new.len() || old.is_empty() {
            return false;
        }
        let near = old.iter().zip(new).filter(|(a, b)| is_near(a, b)).count();
        let moves = old.iter().any(|item| self.wanted.contains(identity(item)))
            || new.iter().any(|item| self.places.contains_key(identity(item)));
        near * 2 > old.len() && !moves
    }

    /// Pairs each inserted item with a removed one of its identity, the first that is left.
    fn find_moves(&self, shift: usize, plan: &mut Plan) {
        let mut left: HashMap<&Value, Vec<usize>> = HashMap::new();
        for from in plan.removed.iter().rev() {
            let Some(item) = self.base.get(from - shift) else { continue };
            left.entry(identity(item)).or_default().push(*from);
        }
        for (at, from) in &mut plan.inserted {
            let item = self.target.get(*at - shift);
            *from = item.and_then(|item| left.get_mut(identity(item))?.pop());
        }
    }
}

struct Step {
    from: usize,
    at: usize,
    before: Option<usize>,
}

/// Whether one value may be the other, changed.
fn is_near(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Text(old), Value::Text(new)) => {
            let (head, tail) = common_ends(old.as_bytes(), new.as_bytes());
            (head + tail) * 2 >= old.len().min(new.len())
        }
        (Value::Map(_), Value::Map(_)) => std::ptr::eq(identity(old), old),
        (Value::Array(_) | Value::Bytes(_), _) => false,
        _ => old.kind() == new.kind(),
    }
}

/// How many bytes two strings share at their head, and how many of the rest at their tail.
pub(crate) fn common_ends(old: &[u8], new: &[u8]) -> (usize, usize) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = old.iter().skip(head).rev().zip(new.iter().skip(head).rev());
    (head, rest.take_while(|(a, b)| a == b).count())
}
