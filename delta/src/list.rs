//! Arrays: which item of the target is which item of the base.
//!
//! Items are the same when their identity is: a record's `id`, `name` or `repo` where it has one that is a text, else
//! the whole value. What stands at both ends alike is matched first, the rest by the longest increasing run of matches
//! (Hunt and Szymanski), in n log n. An item that left one place and came in at another was moved.
//!
//! Documents may have very many small items, so what is kept of each here is a few bytes: indices of 32 bits, and no
//! table of the items themselves.

use crate::Value;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash, RandomState};

/// Where each item of the target comes from.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Pairs of base index and target index, rising in both.
    pub(crate) kept: Vec<(u32, u32)>,
    /// Base indices without a partner, rising.
    pub(crate) removed: Vec<usize>,
    /// Target indices without a partner, rising, and the removed item that each one is.
    pub(crate) inserted: Vec<(usize, Option<usize>)>,
}

/// What can be aligned: the values of an array, the lines of a text.
pub(crate) trait Items {
    type Identity: ?Sized + Ord + Hash;

    fn len(&self) -> usize;

    /// What makes the item the same item.
    fn identity(&self, at: usize) -> Option<&Self::Identity>;

    /// Whether an item may be the other list's, changed.
    fn is_near(&self, at: usize, other: &Self, other_at: usize) -> bool;
}

impl Items for [Value] {
    type Identity = Value;

    fn len(&self) -> usize {
        self.len()
    }

    fn identity(&self, at: usize) -> Option<&Value> {
        self.get(at).map(identity)
    }

    fn is_near(&self, at: usize, other: &Self, other_at: usize) -> bool {
        self.get(at).zip(other.get(other_at)).is_some_and(|(old, new)| is_near(old, new))
    }
}

const IDENTITY_KEYS: [&str; 3] = ["id", "name", "repo"];

/// An item that stands in the base so often is tried at so many places at most, the nearest ones: this keeps the time
/// near n log n where lines repeat, and costs a few bytes at worst.
const PLACES_MAX: usize = 8;
/// The same where the list has more than [`LONG_LIST`] items, for which memory counts.
const PLACES_MAX_LONG: usize = 2;
const LONG_LIST: usize = 4096;

/// What makes a record the same record.
fn identity(value: &Value) -> &Value {
    let named = |key: &&str| value.get(key).filter(|id| matches!(id, Value::Text(_)));
    IDENTITY_KEYS.iter().find_map(named).unwrap_or(value)
}

/// Aligns two lists.
pub(crate) fn align<I: Items + ?Sized>(base: &I, target: &I) -> Plan {
    let same = |from: usize, at: usize| base.identity(from) == target.identity(at);
    let shorter = base.len().min(target.len());
    let head = (0..shorter).take_while(|at| same(*at, *at)).count();
    let from_end = |back: &usize| same(base.len() - 1 - back, target.len() - 1 - back);
    let tail = (0..shorter - head).take_while(from_end).count();
    let middle = Middle { base, target, head, base_end: base.len() - tail, target_end: target.len() - tail };
    let mut plan = Plan::default();
    plan.kept.reserve_exact(shorter);
    plan.kept.extend((0..head as u32).map(|at| (at, at)));
    middle.align(&mut plan);
    let ends = (middle.base_end..base.len()).zip(middle.target_end..target.len());
    plan.kept.extend(ends.map(|(from, at)| (from as u32, at as u32)));
    plan
}

/// The part between a common head and a common tail.
struct Middle<'a, I: ?Sized> {
    base: &'a I,
    target: &'a I,
    head: usize,
    base_end: usize,
    target_end: usize,
}

impl<I: Items + ?Sized> Middle<'_, I> {
    fn align(&self, plan: &mut Plan) {
        let places = Places::of(self.base, self.head, self.base_end);
        let mut pairs = self.longest_run(&places);
        pairs.push((self.base_end as u32, self.target_end as u32));
        let wanted = Places::of(self.target, self.head, self.target_end);
        let (mut from, mut at) = (self.head, self.head);
        for (pair_from, pair_at) in pairs {
            let (pair_from, pair_at) = (pair_from as usize, pair_at as usize);
            if self.alike(&places, &wanted, from..pair_from, at..pair_at) {
                plan.kept.extend((from..pair_from).zip(at..pair_at).map(|(f, a)| (f as u32, a as u32)));
            } else {
                plan.removed.extend(from..pair_from);
                plan.inserted.extend((at..pair_at).map(|a| (a, None)));
            }
            if pair_from < self.base_end {
                plan.kept.push((pair_from as u32, pair_at as u32));
            }
            (from, at) = (pair_from + 1, pair_at + 1);
        }
        drop((places, wanted));
        self.find_moves(plan);
    }

    /// The longest list of equal pairs that rises on both sides.
    fn longest_run(&self, places: &Places<'_, I>) -> Vec<(u32, u32)> {
        let mut steps = Steps::with_capacity(self.target_end - self.head);
        // For each length, the step whose run of that length ends earliest in the base.
        let mut ends: Vec<u32> =
            Vec::with_capacity((self.base_end - self.head).min(self.target_end - self.head));
        let is_long = places.sorted.len() > LONG_LIST;
        for at in self.head..self.target_end {
            for from in places.near(self.target, at).into_iter().rev() {
                let length = ends.partition_point(|end| steps.from(*end) < from);
                // A run that ends at the same place is as good; only a short list is searched for a later partner.
                if is_long && ends.get(length).is_some_and(|end| steps.from(*end) == from) {
                    continue;
                }
                let before = length.checked_sub(1).and_then(|l| ends.get(l).copied());
                let step = steps.push(from, at as u32, before.unwrap_or(NO_STEP));
                match ends.get_mut(length) {
                    Some(end) => steps.release(std::mem::replace(end, step)),
                    None => ends.push(step),
                }
            }
        }
        let (length, mut next) = (ends.len(), ends.last().copied());
        drop(ends);
        let mut run = Vec::with_capacity(length + 1);
        while let Some(step) = next.and_then(|step| steps.all.get(step as usize)) {
            run.push((step.from, step.at));
            next = Some(step.before).filter(|before| *before != NO_STEP);
        }
        run.reverse();
        run
    }

    /// Whether a gap between two matches holds the same items, changed: as many on both sides, most of them near to
    /// each other, and none of them moved here or elsewhere.
    fn alike(
        &self,
        places: &Places<'_, I>,
        wanted: &Places<'_, I>,
        old: std::ops::Range<usize>,
        new: std::ops::Range<usize>,
    ) -> bool {
        if old.len() != new.len() || old.is_empty() {
            return false;
        }
        let pairs = old.clone().zip(new.clone());
        let near = pairs.filter(|(from, at)| self.base.is_near(*from, self.target, *at)).count();
        near * 2 > old.len()
            && !old.clone().any(|from| wanted.has(self.base, from))
            && !new.clone().any(|at| places.has(self.target, at))
    }

    /// Pairs each inserted item with a removed one of its identity, the first that is left.
    fn find_moves(&self, plan: &mut Plan) {
        if plan.removed.is_empty() || plan.inserted.is_empty() {
            return;
        }
        let mut order: Vec<usize> = plan.removed.clone();
        order.sort_by(|a, b| self.base.identity(*a).cmp(&self.base.identity(*b)));
        // How many of each group of the same identity are used, at the place where the group begins.
        let mut used = vec![0usize; order.len()];
        for (at, from) in &mut plan.inserted {
            let wanted = self.target.identity(*at);
            let first = order.partition_point(|from| self.base.identity(*from) < wanted);
            let Some(used) = used.get_mut(first) else { continue };
            *from = order.get(first + *used).copied().filter(|from| self.base.identity(*from) == wanted);
            *used += usize::from(from.is_some());
        }
    }
}

/// The places of a list, found by identity: sorted by a hash of it, then by itself.
struct Places<'i, I: ?Sized> {
    items: &'i I,
    hasher: RandomState,
    sorted: Vec<(u32, u32)>,
}

impl<'i, I: Items + ?Sized> Places<'i, I> {
    fn of(items: &'i I, first: usize, end: usize) -> Places<'i, I> {
        let hasher = RandomState::new();
        let mut sorted: Vec<(u32, u32)> = Vec::with_capacity(end - first);
        sorted.extend((first..end).map(|at| (hasher.hash_one(items.identity(at)) as u32, at as u32)));
        sorted.sort_unstable_by(|a, b| {
            let by_identity = || items.identity(a.1 as usize).cmp(&items.identity(b.1 as usize));
            a.0.cmp(&b.0).then_with(by_identity).then(a.1.cmp(&b.1))
        });
        Places { items, hasher, sorted }
    }

    /// All places of another list's item here, rising.
    fn all(&self, other: &I, at: usize) -> &[(u32, u32)] {
        let wanted = other.identity(at);
        let hash = self.hasher.hash_one(wanted) as u32;
        let order = |place: &(u32, u32)| {
            place.0.cmp(&hash).then_with(|| self.items.identity(place.1 as usize).cmp(&wanted))
        };
        let (_, rest) = self.sorted.split_at(self.sorted.partition_point(|p| order(p) == Ordering::Less));
        // Most stand there once.
        let count = match rest.get(1) {
            Some(second) if order(second) == Ordering::Equal => {
                rest.partition_point(|p| order(p) == Ordering::Equal)
            }
            _ => usize::from(rest.first().is_some_and(|first| order(first) == Ordering::Equal)),
        };
        rest.split_at(count).0
    }

    fn has(&self, other: &I, at: usize) -> bool {
        !self.all(other, at).is_empty()
    }

    /// Where the item stands, rising; only the nearest places where it stands often.
    fn near(&self, other: &I, at: usize) -> Vec<u32> {
        let places = self.all(other, at);
        let most = if self.sorted.len() > LONG_LIST { PLACES_MAX_LONG } else { PLACES_MAX };
        let first = places.partition_point(|place| (place.1 as usize) < at).saturating_sub(most / 2);
        let first = first.min(places.len().saturating_sub(most));
        places.iter().skip(first).take(most).map(|place| place.1).collect()
    }
}

const NO_STEP: u32 = u32::MAX;

/// A pair, and the one before it in its run.
#[derive(Clone, Copy)]
struct Step {
    from: u32,
    at: u32,
    before: u32,
    /// How many runs go on from here, and whether one ends here.
    uses: u32,
}

/// The steps of all runs; one that no run needs any more gives its place to the next.
struct Steps {
    all: Vec<Step>,
    free: Vec<u32>,
}

impl Steps {
    fn with_capacity(steps: usize) -> Steps {
        // Where a few items stand twice, as many steps as items are nearly enough.
        Steps { all: Vec::with_capacity(steps + steps / 4), free: Vec::new() }
    }

    fn from(&self, step: u32) -> u32 {
        self.all.get(step as usize).map_or(u32::MAX, |step| step.from)
    }

    /// A step that ends a run.
    fn push(&mut self, from: u32, at: u32, before: u32) -> u32 {
        if let Some(before) = self.all.get_mut(before as usize) {
            before.uses += 1;
        }
        let step = Step { from, at, before, uses: 1 };
        if let Some(number) = self.free.pop()
            && let Some(place) = self.all.get_mut(number as usize)
        {
            *place = step;
            return number;
        }
        // Doubling would be most of what an alignment takes.
        if self.all.len() == self.all.capacity() {
            self.all.reserve_exact(self.all.len() / 4 + 16);
        }
        self.all.push(step);
        self.all.len() as u32 - 1
    }

    /// No run ends at this step any more.
    fn release(&mut self, mut number: u32) {
        while let Some(step) = self.all.get_mut(number as usize) {
            step.uses -= 1;
            if step.uses > 0 {
                return;
            }
            let before = step.before;
            self.free.push(number);
            number = before;
        }
    }
}

/// Whether one value may be the other, changed.
fn is_near(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Text(old), Value::Text(new)) => is_near_text(old, new),
        (Value::Map(_), Value::Map(_)) => std::ptr::eq(identity(old), old),
        (Value::Array(_) | Value::Bytes(_), _) => false,
        _ => old.kind() == new.kind(),
    }
}

/// Whether two texts share half of the shorter one at their ends.
pub(crate) fn is_near_text(old: &str, new: &str) -> bool {
    let (head, tail) = common_ends(old.as_bytes(), new.as_bytes());
    (head + tail) * 2 >= old.len().min(new.len())
}

/// How many bytes two strings share at their head, and how many of the rest at their tail.
pub(crate) fn common_ends(old: &[u8], new: &[u8]) -> (usize, usize) {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = old.iter().skip(head).rev().zip(new.iter().skip(head).rev());
    (head, rest.take_while(|(a, b)| a == b).count())
}
