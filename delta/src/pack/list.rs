//! Arrays: which items come, go and move, and which ones change.

use super::map::edit_of;
use super::{Packer, Site};
use crate::beside::Beside;
use crate::entropy::Coder;
use crate::hint::FieldKey;
use crate::left::Leftovers;
use crate::lines::Listed;
use crate::op::{Edit, Insert, ListEdit};
use crate::slots::{
    COUNT, INSERTED_COUNT, INSERTED_WHERE, ITEM_COUNT, LIST_SHAPE, LIST_WHICH, MOVED, MOVED_CHANGED,
    REMOVED_COUNT, REMOVED_LAST,
};
use crate::{DecodeError, Value};

/// Kinds of list, by what they hold.
#[derive(Clone, Copy)]
enum Holds {
    Values = 0,
    Records = 1,
    Lines = 2,
}

/// The key under which the lines of a text are encoded.
pub(super) const LINES: &str = "\u{3}";

impl<C: Coder> Packer<'_, C> {
    /// An array in which something changes.
    pub(super) fn list(
        &mut self,
        site: Site<'_>,
        base: Listed<'_>,
        given: Option<&ListEdit>,
    ) -> Result<ListEdit, DecodeError> {
        let holds = match base {
            Listed::Lines(_) => Holds::Lines,
            Listed::Values([Value::Map(_), ..]) => Holds::Records,
            Listed::Values(_) => Holds::Values,
        };
        let empty = ListEdit::default();
        let (removed, slots) = self.list_shape(holds, base.len(), given.unwrap_or(&empty))?;
        let kept = KeptItems { removed: &removed, count: base.len() - removed.len() };
        let least = usize::from(removed.is_empty() && slots.is_empty());
        let children = match base {
            Listed::Values(values) => site.survey.children(site.at, values.len()),
            Listed::Lines(_) => Vec::new(),
        };
        // All lines are the one node of their survey.
        let item_site =
            |at: usize| Site { at: children.get(at).map_or(0, |at| *at as usize), in_record: true, ..site };

        let mut changed = Vec::with_capacity(given.map_or(0, |given| given.changed.len()));
        for at in self.items_that_change(holds, &kept, least, given, |at| item_site(at).node().weight)? {
            let item = base.get(at).ok_or(DecodeError::Position)?;
            let edit = given.and_then(|given| edit_of(&given.changed, at));
            changed.push((at, self.change(item_site(at), &item, edit)?));
        }
        let left = Leftovers::of(&removed);
        let mut arrivals = ArrivingItems { holds, base, left, inserted: Vec::with_capacity(slots.len()) };
        for (count, slot) in slots.iter().enumerate() {
            let given = given.and_then(|given| given.inserted.get(count)).map(|(_, insert)| insert);
            // The slots before this one that are no arrivals hold kept items.
            let kept_before = slot.saturating_sub(count);
            let before = kept_before.checked_sub(1).and_then(|before| kept.get(before));
            let gap = Gap { slot: *slot, before, after: kept.get(kept_before) };
            let insert = self.arrival(&mut arrivals, site.key, gap, given, &item_site)?;
            arrivals.inserted.push((*slot, insert));
        }
        let inserted = arrivals.inserted;
        Ok(ListEdit { removed, changed, inserted })
    }

    /// The items that go, and the target's slots for those that come.
    fn list_shape(
        &mut self,
        holds: Holds,
        n: usize,
        edit: &ListEdit,
    ) -> Result<(Vec<usize>, Vec<usize>), DecodeError> {
        let (goes, comes) = (!edit.removed.is_empty(), !edit.inserted.is_empty());
        if !self.symbols.bit(LIST_SHAPE + holds as usize, goes || comes) {
            return Ok((Vec::new(), Vec::new()));
        }
        let (goes, comes) = self.which(LIST_WHICH + holds as usize * 4, goes, comes);
        let removed = if goes { self.items_that_go(holds, n, &edit.removed)? } else { Vec::new() };
        let slots = if comes { self.slots_that_come(holds, n - removed.len(), edit)? } else { Vec::new() };
        Ok((removed, slots))
    }

    fn items_that_go(&mut self, holds: Holds, n: usize, given: &[usize]) -> Result<Vec<usize>, DecodeError> {
        let count = self.symbols.count(REMOVED_COUNT + COUNT, given.len().saturating_sub(1)) + 1;
        let first = n.checked_sub(count).ok_or(DecodeError::Position)?;
        if self.symbols.bit(REMOVED_LAST + holds as usize, given.first() == Some(&first)) {
            return Ok((first..n).collect());
        }
        Ok(self.symbols.pick(count, n, |_| 1, |at| given.binary_search(&at).is_ok()))
    }

    fn slots_that_come(
        &mut self,
        holds: Holds,
        kept: usize,
        edit: &ListEdit,
    ) -> Result<Vec<usize>, DecodeError> {
        let given: Vec<usize> = edit.inserted.iter().map(|(slot, _)| *slot).collect();
        let count = self.symbols.count(INSERTED_COUNT + COUNT, given.len().saturating_sub(1)) + 1;
        self.spend(count)?;
        let place = match (given.first(), given.last()) {
            (_, Some(last)) if last + 1 == count => 0,
            (Some(first), _) if *first == kept => 1,
            _ => 2,
        };
        Ok(match self.symbols.tree(INSERTED_WHERE + holds as usize * 4, 2, place) {
            0 => (0..count).collect(),
            1 => (kept..kept + count).collect(),
            _ => self.symbols.pick(count, kept + count, |_| 1, |slot| given.binary_search(&slot).is_ok()),
        })
    }

    /// Base indices of the kept items that change: counted, then picked by weight.
    fn items_that_change(
        &mut self,
        holds: Holds,
        kept: &KeptItems<'_>,
        least: usize,
        given: Option<&ListEdit>,
        weight: impl Fn(usize) -> u32,
    ) -> Result<Vec<usize>, DecodeError> {
        if kept.count == 0 {
            return Ok(Vec::new());
        }
        let count = given.map_or(0, |given| given.changed.len());
        let slot = ITEM_COUNT + (holds as usize * 2 + least) * COUNT;
        let count = self.symbols.count(slot, count.saturating_sub(least)).saturating_add(least);
        if count > kept.count {
            return Err(DecodeError::Position);
        }
        let weight = |place: usize| kept.get(place).map_or(0, &weight);
        let changes = |at: usize| given.is_some_and(|given| edit_of(&given.changed, at).is_some());
        let picked =
            self.symbols.pick(count, kept.count, weight, |place| kept.get(place).is_some_and(changes));
        Ok(picked.into_iter().filter_map(|place| kept.get(place)).collect())
    }

    /// What comes in at a gap between two kept items.
    fn arrival<'s>(
        &mut self,
        arrivals: &mut ArrivingItems<'_>,
        key: &FieldKey<'_>,
        gap: Gap,
        given: Option<&Insert>,
        item_site: &impl Fn(usize) -> Site<'s>,
    ) -> Result<Insert, DecodeError> {
        self.symbols.coder.check()?;
        let base = arrivals.base;
        if !arrivals.left.is_empty() {
            let from = if let Some(Insert::Moved(from, edit)) = given { Some((*from, edit)) } else { None };
            let place = from.and_then(|(from, _)| arrivals.left.rank(from));
            if self.symbols.bit(MOVED + arrivals.holds as usize, place.is_some()) {
                let place = self.symbols.uniform(arrivals.left.len(), place.unwrap_or(0));
                let from = arrivals.left.take(place).ok_or(DecodeError::Position)?;
                let edit = from_edit(given);
                if !self.symbols.bit(MOVED_CHANGED, edit.is_some_and(|edit| *edit != Edit::Keep)) {
                    return Ok(Insert::Moved(from, Edit::Keep));
                }
                let item = base.get(from).ok_or(DecodeError::Position)?;
                return Ok(Insert::Moved(from, self.change(item_site(from), &item, edit)?));
            }
        }
        let new = if let Some(Insert::New(new)) = given { Some(new) } else { None };
        let after = gap.after.map_or(Beside::Nothing, |after| base.beside(after));
        let sibling = match arrivals.item_before(gap.slot, gap.before) {
            Beside::Nothing => after,
            before => before,
        };
        self.fresh(key, sibling, after, new).map(Insert::New)
    }
}

/// A slot and the base indices of the kept items around it.
#[derive(Clone, Copy)]
struct Gap {
    slot: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Items that came in so far, and what can still come from elsewhere.
struct ArrivingItems<'m> {
    holds: Holds,
    base: Listed<'m>,
    /// Removed items that were not moved yet, rising.
    left: Leftovers<'m>,
    inserted: Vec<(usize, Insert)>,
}

impl ArrivingItems<'_> {
    /// The item in the slot before: one that came in, or a kept one as it was.
    fn item_before(&self, slot: usize, kept: Option<usize>) -> Beside<'_> {
        match self.inserted.last() {
            Some((last, Insert::New(value))) if last + 1 == slot => Beside::Value(value),
            Some((last, Insert::Moved(from, _))) if last + 1 == slot => self.base.beside(*from),
            _ => kept.map_or(Beside::Nothing, |kept| self.base.beside(kept)),
        }
    }
}

fn from_edit(given: Option<&Insert>) -> Option<&Edit> {
    match given {
        Some(Insert::Moved(_, edit)) => Some(edit),
        _ => None,
    }
}

/// The items that stay: all but a rising list of removed ones.
struct KeptItems<'r> {
    removed: &'r [usize],
    count: usize,
}

impl KeptItems<'_> {
    /// The index of the item that stays in this place.
    fn get(&self, place: usize) -> Option<usize> {
        // Before each removed item stand as many kept ones as its index, less those removed before it.
        let (mut low, mut high) = (0, self.removed.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before = self.removed.get(middle).is_some_and(|at| at.saturating_sub(middle) <= place);
            if is_before { low = middle + 1 } else { high = middle }
        }
        (place < self.count).then_some(place + low)
    }
}
