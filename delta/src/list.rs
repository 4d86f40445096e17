//! Arrays: which item of the target is which item of the base.
//!
//! Items are the same when their identity is: a record's `id`, `name` or `repo` where it has one that is a text, else
//! the whole value. What stands at both ends alike is matched first, the rest by the longest increasing run of matches
//! (Hunt and Szymanski), in n log n. An item that left one place and came in at another was moved.
//!
//! Documents may have very many small items, so what is kept of each here is a few bytes: indices of 32 bits, and no
//! table of the items themselves. A long list is first cut where [`anchors`](crate::anchors) show that both run alike;
//! only what lies between two of them, and is not the same, is looked at item by item.

use crate::anchors::{Samples, hash};
use crate::{Value, steps};
use std::cmp::Ordering;
use std::hash::Hash;
use std::ops::Range;

/// Where each item of the target comes from.
#[derive(Debug, Default)]
pub(crate) struct Alignment {
    /// Items that stay in order, changed or not.
    pub(crate) kept: Vec<Run>,
    /// Base indices without a partner, rising.
    pub(crate) removed: Vec<usize>,
    /// Target indices without a partner, rising, and the removed item that each one is.
    pub(crate) inserted: Vec<(usize, Option<usize>)>,
}

/// Neighbours in the base that are neighbours in the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Where they begin in the base, and in the target.
    pub(crate) from: usize,
    pub(crate) at: usize,
    pub(crate) count: usize,
}

impl Run {
    /// Pairs of base index and target index.
    pub(crate) fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        (self.from..self.from + self.count).zip(self.at..self.at + self.count)
    }
}

/// Adds a run, to the last one where it goes on from there.
fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        _ if run.count == 0 => {}
        Some(last) if (last.from + last.count, last.at + last.count) == (run.from, run.at) => {
            last.count += run.count;
        }
        _ => runs.push(run),
    }
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
/// The same where a list has more than [`LONG_LIST`] items, for which memory counts.
const PLACES_MAX_LONG: usize = 2;
/// A longer list is cut at anchors.
const LONG_LIST: usize = 4096;

/// What makes a record the same record.
fn identity(value: &Value) -> &Value {
    let named = |key: &&str| value.get(key).filter(|id| matches!(id, Value::Text(_)));
    IDENTITY_KEYS.iter().find_map(named).unwrap_or(value)
}

/// Finds the items that two lists share.
pub(crate) fn align<I: Items + ?Sized>(base: &I, target: &I) -> Alignment {
    let mut alignment = Alignment::default();
    Middle { base, target, old: 0..base.len(), new: 0..target.len() }.align(&mut alignment);
    alignment
}

/// A part of both lists.
struct Middle<'a, I: ?Sized> {
    base: &'a I,
    target: &'a I,
    old: Range<usize>,
    new: Range<usize>,
}

impl<I: Items + ?Sized> Middle<'_, I> {
    fn align(&self, alignment: &mut Alignment) {
        let mut matches = Vec::new();
        self.find_matches(&mut matches);
        matches.push(Run { from: self.old.end, at: self.new.end, count: 0 });
        let gaps = || {
            let (mut from, mut at) = (self.old.start, self.new.start);
            matches.iter().map(move |run| {
                let gap = (from..run.from, at..run.at);
                (from, at) = (run.from + run.count, run.at + run.count);
                gap
            })
        };
        let places = Places::of(self.base, gaps().flat_map(|(old, _)| old));
        let wanted = Places::of(self.target, gaps().flat_map(|(_, new)| new));
        for ((old, new), run) in gaps().zip(&matches) {
            if self.alike(&places, &wanted, &old, &new) {
                push(&mut alignment.kept, Run { from: old.start, at: new.start, count: old.len() });
            } else {
                alignment.removed.extend(old);
                alignment.inserted.extend(new.map(|at| (at, None)));
            }
            push(&mut alignment.kept, *run);
        }
        drop((places, wanted));
        self.find_moves(alignment);
    }

    /// Runs of equal items, rising on both sides.
    fn find_matches(&self, matches: &mut Vec<Run>) {
        self.trim(matches, |middle, matches| {
            if middle.old.len().max(middle.new.len()) <= LONG_LIST {
                return middle.find_pairs(matches);
            }
            for part in middle.parts() {
                part.trim(matches, |middle, matches| middle.find_pairs(matches));
            }
        });
    }

    /// What both ends have in common, and what is found between.
    fn trim(&self, matches: &mut Vec<Run>, find: impl FnOnce(&Self, &mut Vec<Run>)) {
        let same = |(from, at): &(usize, usize)| self.base.identity(*from) == self.target.identity(*at);
        let (old, new) = (&self.old, &self.new);
        let head = old.clone().zip(new.clone()).take_while(same).count();
        let (from, at) = (old.start + head, new.start + head);
        let tail = (from..old.end).rev().zip((at..new.end).rev()).take_while(same).count();
        push(matches, Run { from: old.start, at: new.start, count: head });
        let middle = Middle { old: from..old.end - tail, new: at..new.end - tail, ..*self };
        if !middle.old.is_empty() && !middle.new.is_empty() {
            find(&middle, matches);
        }
        push(matches, Run { from: old.end - tail, at: new.end - tail, count: tail });
    }

    /// Cuts a long part where both lists seem to run alike.
    fn parts(&self) -> impl Iterator<Item = Self> {
        let cuts = self.anchors().into_iter().map(|(from, at)| (from as usize, at as usize));
        let (mut from, mut at) = (self.old.start, self.new.start);
        cuts.chain([(self.old.end, self.new.end)]).map(move |(cut_from, cut_at)| {
            let part = Middle { old: from..cut_from, new: at..cut_at, ..*self };
            (from, at) = (cut_from, cut_at);
            part
        })
    }

    /// Pairs of items that are very likely equal, rising on both sides.
    fn anchors(&self) -> Vec<(u32, u32)> {
        let base = Samples::of(self.base, self.old.clone());
        let target = Samples::of(self.target, self.new.clone());
        let samples = Middle { base: &base, target: &target, old: 0..base.len(), new: 0..target.len() };
        let pairs = samples.longest_run(&Places::of(&base, 0..base.len())).into_iter();
        pairs.filter_map(|(from, at)| Some((base.place(from)?, target.place(at)?))).collect()
    }

    fn find_pairs(&self, matches: &mut Vec<Run>) {
        for (from, at) in self.longest_run(&Places::of(self.base, self.old.clone())) {
            push(matches, Run { from: from as usize, at: at as usize, count: 1 });
        }
    }

    /// The longest list of equal pairs that rises on both sides.
    fn longest_run(&self, places: &Places<'_, I>) -> Vec<(u32, u32)> {
        let mut steps = MatchLinks::with_capacity(self.new.len());
        // For each length, the step whose run of that length ends earliest in the base.
        let mut ends: Vec<u32> = Vec::with_capacity(self.old.len().min(self.new.len()));
        let is_long = places.sorted.len() > LONG_LIST;
        for at in self.new.clone() {
            for from in places.near(self.target, at).into_iter().rev() {
                let length = ends.partition_point(|end| steps.from(*end) < from);
                // A run that ends at the same place is as good; only a short list is searched for a later partner.
                if is_long && ends.get(length).is_some_and(|end| steps.from(*end) == from) {
                    continue;
                }
                let before = length.checked_sub(1).and_then(|l| ends.get(l).copied());
                let step = steps.push(from, at as u32, before.unwrap_or(NO_LINK));
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
            next = Some(step.before).filter(|before| *before != NO_LINK);
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
        old: &Range<usize>,
        new: &Range<usize>,
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
    fn find_moves(&self, alignment: &mut Alignment) {
        if alignment.removed.is_empty() || alignment.inserted.is_empty() {
            return;
        }
        let mut order: Vec<usize> = alignment.removed.clone();
        order.sort_by(|a, b| self.base.identity(*a).cmp(&self.base.identity(*b)));
        // How many of each group of the same identity are used, at the place where the group begins.
        let mut used = vec![0usize; order.len()];
        for (at, from) in &mut alignment.inserted {
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
    sorted: Vec<(u32, u32)>,
}

impl<'i, I: Items + ?Sized> Places<'i, I> {
    fn of(items: &'i I, places: impl Iterator<Item = usize> + Clone) -> Places<'i, I> {
        let mut sorted: Vec<(u32, u32)> = Vec::with_capacity(places.clone().count());
        sorted.extend(places.map(|at| ((hash(items.identity(at)) >> 32) as u32, at as u32)));
        steps::took(2 * sorted.len());
        sorted.sort_unstable_by(|a, b| {
            let by_identity = || items.identity(a.1 as usize).cmp(&items.identity(b.1 as usize));
            a.0.cmp(&b.0).then_with(by_identity).then(a.1.cmp(&b.1))
        });
        Places { items, sorted }
    }

    /// All places of another list's item here, rising.
    fn all(&self, other: &I, at: usize) -> &[(u32, u32)] {
        steps::took(2);
        let wanted = other.identity(at);
        let hash = (hash(wanted) >> 32) as u32;
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

const NO_LINK: u32 = u32::MAX;

/// A pair, and the one before it in its run.
#[derive(Clone, Copy)]
struct MatchLink {
    from: u32,
    at: u32,
    before: u32,
    /// How many runs go on from here, and whether one ends here.
    uses: u32,
}

/// The steps of all runs; one that no run needs any more gives its place to the next.
struct MatchLinks {
    all: Vec<MatchLink>,
    free: Vec<u32>,
}

impl MatchLinks {
    fn with_capacity(steps: usize) -> MatchLinks {
        // Where a few items stand twice, as many steps as items are nearly enough.
        MatchLinks { all: Vec::with_capacity(steps + steps / 4), free: Vec::new() }
    }

    fn from(&self, step: u32) -> u32 {
        self.all.get(step as usize).map_or(u32::MAX, |step| step.from)
    }

    /// A step that ends a run.
    fn push(&mut self, from: u32, at: u32, before: u32) -> u32 {
        if let Some(before) = self.all.get_mut(before as usize) {
            before.uses += 1;
        }
        let step = MatchLink { from, at, before, uses: 1 };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of which every one is near to all others, and few stand twice.
    fn texts(numbers: impl Iterator<Item = usize>) -> Vec<Value> {
        numbers.map(|n| Value::from(format!("value {}", n.wrapping_mul(0x9E37_79B9) >> 7 & 0xFFFF))).collect()
    }

    fn aligned(base: &[Value], target: &[Value]) -> Alignment {
        let alignment = align(base, target);
        let pairs: Vec<(usize, usize)> = alignment.kept.iter().flat_map(|run| run.pairs()).collect();
        assert!(pairs.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
        let kept: usize = alignment.kept.iter().map(|run| run.count).sum();
        assert_eq!(
            (kept + alignment.removed.len(), kept + alignment.inserted.len()),
            (base.len(), target.len())
        );
        alignment
    }

    #[test]
    fn in_a_long_list_a_block_that_is_longer_than_the_anchors_reach_comes_in_alone() {
        let n = LONG_LIST * 3;
        let base = texts(0..n);
        let target = texts((0..n / 2).chain(n * 2..n * 4).chain(n / 2..n));
        let alignment = aligned(&base, &target);
        assert_eq!((alignment.removed.len(), alignment.inserted.len()), (0, n * 2));
        let back = aligned(&target, &base);
        assert_eq!((back.removed.len(), back.inserted.len()), (n * 2, 0));
    }

    #[test]
    fn in_a_long_list_items_that_change_places_are_moved_and_not_changed() {
        let n = LONG_LIST * 3;
        let base = texts(0..n);
        let mut target = base.clone();
        (0..20).for_each(|at| target.swap(n / 10 + at * 50, n / 2 + at * 77));
        let alignment = aligned(&base, &target);
        assert!(alignment.inserted.len() <= 40, "{}", alignment.inserted.len());
        assert!(alignment.inserted.iter().all(|(_, from)| from.is_some()));
        assert!(
            alignment
                .kept
                .iter()
                .flat_map(|run| run.pairs())
                .all(|(from, at)| base.get(from) == target.get(at))
        );
    }

    /// Where nothing is the same the anchors find nothing, and the lists are aligned all the same.
    #[test]
    fn long_lists_without_a_common_item_are_aligned() {
        let base = texts(0..LONG_LIST + 7);
        let target: Vec<Value> = (0..LONG_LIST as u64).map(Value::from).collect();
        let alignment = aligned(&base, &target);
        assert_eq!((alignment.removed.len(), alignment.inserted.len()), (base.len(), target.len()));
    }
}
