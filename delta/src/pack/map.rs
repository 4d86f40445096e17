//! Maps: which keys come and go, and which entries change.
//!
//! A lively entry has a decision of its own, and so has each entry of a small record; the quiet ones are counted, then
//! picked by weight, so that what rarely changes costs next to nothing.

use super::{Packer, Site};
use crate::beside::Beside;
use crate::entropy::Coder;
use crate::hint::FieldKey;
use crate::left::Leftovers;
use crate::op::{Edit, MapEdit, Rename};
use crate::slots::{
    INSERTED_COUNT, KEY_INT, KEY_NUMBER, LIVELY, MAP_SHAPE, MAP_WHICH, QUIET_COUNT, RECORD, REMOVED_COUNT,
    RENAMED,
};
use crate::survey::NodeClass;
use crate::value::{Int, Key, Map};
use crate::{DecodeError, Value};

/// The key under which key names are encoded.
const KEYS: &str = "\u{1}";
/// A record of at most so many entries has a decision for each.
const SMALL_RECORD_MAX: usize = 8;

impl<C: Coder> Packer<'_, C> {
    pub(super) fn map(
        &mut self,
        site: Site<'_>,
        base: &Map,
        given: Option<&MapEdit>,
        is_root: bool,
    ) -> Result<MapEdit, DecodeError> {
        let place = usize::from(is_root) * 2 + usize::from(site.in_record);
        let (removed, keys) = self.map_shape(place, base, given)?;
        let reshaped = !removed.is_empty() || !keys.is_empty();
        let mut live = Vec::with_capacity(base.len());
        let mut gone = removed.iter().copied().peekable();
        for ((at, entry), child) in
            base.entries().iter().enumerate().zip(site.survey.children(site.at, base.len()))
        {
            if gone.next_if_eq(&at).is_none() {
                let key = FieldKey::new(entry.0.name());
                live.push(KeptEntry { at, key, child, value: &entry.1, changes: false });
            }
        }
        self.which_change(site, &mut live, base.len(), given, is_root, reshaped)?;
        let mut changed = Vec::new();
        for entry in live.iter().filter(|entry| entry.changes) {
            let edit = given.and_then(|given| edit_of(&given.changed, entry.at));
            changed.push((entry.at, self.change(entry.site(site), entry.value, edit)?));
        }
        let inserted = self.new_entries(base, &removed, keys, given)?;
        Ok(MapEdit { removed, changed, inserted })
    }

    /// The entries that go, and the keys that come.
    fn map_shape(
        &mut self,
        place: usize,
        base: &Map,
        given: Option<&MapEdit>,
    ) -> Result<(Vec<usize>, Vec<Key>), DecodeError> {
        let empty = MapEdit::default();
        let edit = given.unwrap_or(&empty);
        let (goes, comes) = (!edit.removed.is_empty(), !edit.inserted.is_empty());
        if !self.symbols.bit(MAP_SHAPE + place, goes || comes) {
            return Ok((Vec::new(), Vec::new()));
        }
        let (goes, comes) = self.which(MAP_WHICH, goes, comes);
        let removed = if goes { self.removed(0, base.len(), &edit.removed)? } else { Vec::new() };
        if !comes {
            return Ok((removed, Vec::new()));
        }
        let count = self.symbols.count(INSERTED_COUNT, edit.inserted.len().saturating_sub(1)) + 1;
        self.spend(count)?;
        let mut keys = Vec::new();
        for at in 0..count {
            let old = removed
                .first()
                .and_then(|first| base.entries().get(*first))
                .map_or("", |(key, _)| key.name());
            let key = self.key(old, edit.inserted.get(at).map(|(key, _)| key))?;
            if keys.last().is_some_and(|last| *last >= key) {
                return Err(DecodeError::KeyOrder);
            }
            keys.push(key);
        }
        Ok((removed, keys))
    }

    /// Whether something goes, comes, or both; at least one.
    pub(super) fn which(&mut self, slot: usize, goes: bool, comes: bool) -> (bool, bool) {
        let which = match (goes, comes) {
            (true, true) => 2,
            (true, false) => 1,
            _ => 0,
        };
        match self.symbols.tree(slot, 2, which) {
            0 => (false, true),
            1 => (true, false),
            _ => (true, true),
        }
    }

    /// A key that was not there.
    pub(super) fn key(&mut self, old: &str, given: Option<&Key>) -> Result<Key, DecodeError> {
        if self.symbols.bit(KEY_NUMBER, matches!(given, Some(Key::Int(_)))) {
            let number = if let Some(Key::Int(int)) = given { int.get() } else { 0 };
            let number = self.symbols.signed(KEY_INT, number)?;
            return Int::new(number).map(Key::Int).ok_or(DecodeError::Number);
        }
        let text = given.map(|key| key.name().as_bytes());
        let key = self.literal(KEYS, [old.as_bytes(), b""], b"", text)?;
        String::from_utf8(key).map(Key::Text).map_err(|_| DecodeError::NotUtf8)
    }

    fn which_change(
        &mut self,
        site: Site<'_>,
        live: &mut [KeptEntry<'_>],
        entries: usize,
        given: Option<&MapEdit>,
        is_root: bool,
        reshaped: bool,
    ) -> Result<(), DecodeError> {
        let is_changed =
            |entry: &KeptEntry<'_>| given.is_some_and(|given| edit_of(&given.changed, entry.at).is_some());
        let (mut quiet, mut weights, mut any) = (Vec::new(), Vec::new(), reshaped);
        let total = live.len();
        for (place, entry) in live.iter_mut().enumerate() {
            let node = entry.site(site).node();
            if node.lively || (site.in_record && entries <= SMALL_RECORD_MAX) {
                let slot = if node.lively {
                    LIVELY + node.class as usize
                } else {
                    RECORD + self.record_shape(entry, node.class)
                };
                entry.changes = self.symbols.bit(slot, is_changed(entry));
                any |= entry.changes;
            } else {
                quiet.push(place);
                weights.push(node.weight);
            }
        }
        if quiet.is_empty() {
            return Ok(());
        }
        // A map that changes, and in which nothing has yet, has a quiet change at least.
        let least = usize::from(!any && !is_root);
        let kind = if least == 1 { 1 } else { 2 * usize::from(!is_root || quiet.len() < total) };
        let is_quiet_change = |place: &usize| live.get(*place).is_some_and(is_changed);
        let count = quiet.iter().filter(|place| is_quiet_change(place)).count();
        let slot = QUIET_COUNT + kind * crate::slots::COUNT;
        let count = self.symbols.count(slot, count.saturating_sub(least)).saturating_add(least);
        if count > quiet.len() {
            return Err(DecodeError::Position);
        }
        let weight = |at: usize| weights.get(at).copied().unwrap_or(0);
        let is_chosen = |at: usize| quiet.get(at).is_some_and(is_quiet_change);
        let picked = self.symbols.pick(count, quiet.len(), weight, is_chosen);
        for place in picked.into_iter().filter_map(|at| quiet.get(at)) {
            if let Some(entry) = live.get_mut(*place) {
                entry.changes = true;
            }
        }
        Ok(())
    }

    /// Texts of a record by their shape, the rest by class.
    fn record_shape(&mut self, entry: &KeptEntry<'_>, class: NodeClass) -> usize {
        match entry.value {
            Value::Text(text) => 16 + self.shape(&entry.key, text) as usize,
            _ => class as usize,
        }
    }

    fn new_entries(
        &mut self,
        base: &Map,
        removed: &[usize],
        keys: Vec<Key>,
        given: Option<&MapEdit>,
    ) -> Result<Vec<(Key, Rename)>, DecodeError> {
        let mut inserted = Vec::with_capacity(keys.len());
        let mut left = Leftovers::of(removed);
        for (at, key) in keys.into_iter().enumerate() {
            let given = given.and_then(|given| given.inserted.get(at)).map(|(_, rename)| rename);
            let replaced = removed.get(at).copied();
            let rename = self.new_entry(base, &mut left, replaced, &key, given)?;
            inserted.push((key, rename));
        }
        Ok(inserted)
    }

    /// What stands under a new key. `left` are the removed entries that were not renamed yet: each is used once.
    fn new_entry(
        &mut self,
        base: &Map,
        left: &mut Leftovers<'_>,
        replaced: Option<usize>,
        key: &Key,
        given: Option<&Rename>,
    ) -> Result<Rename, DecodeError> {
        if !left.is_empty() {
            let from = if let Some(Rename::From(from)) = given { left.rank(*from) } else { None };
            if self.symbols.bit(RENAMED, from.is_some()) {
                let from = self.symbols.uniform(left.len(), from.unwrap_or(0));
                return left.take(from).map(Rename::From).ok_or(DecodeError::Position);
            }
        }
        let entries = base.entries();
        let replaced = replaced.and_then(|at| entries.get(at));
        let behind = entries.get(entries.partition_point(|(k, _)| k < key)).or(entries.last());
        let sibling = replaced.or(behind).map(|(_, value)| value);
        let new = if let Some(Rename::New(new)) = given { Some(new) } else { None };
        let key = FieldKey::new(key.name());
        self.fresh(&key, Beside::value(sibling), Beside::Nothing, new).map(Rename::New)
    }

    /// The indices of items or entries that go, out of `n`: `kind` is 0 for a map, 1 for a list.
    pub(super) fn removed(
        &mut self,
        kind: usize,
        n: usize,
        given: &[usize],
    ) -> Result<Vec<usize>, DecodeError> {
        let slot = REMOVED_COUNT + kind * crate::slots::COUNT;
        let count = self.symbols.count(slot, given.len().saturating_sub(1)) + 1;
        if count > n {
            return Err(DecodeError::Position);
        }
        Ok(self.symbols.pick(count, n, |_| 1, |at| given.binary_search(&at).is_ok()))
    }
}

/// An entry that stays.
struct KeptEntry<'m> {
    at: usize,
    key: FieldKey<'m>,
    child: u32,
    value: &'m Value,
    changes: bool,
}

impl<'m> KeptEntry<'m> {
    /// The entry, where the map is at `map`.
    fn site<'s>(&'s self, map: Site<'s>) -> Site<'s> {
        Site { key: &self.key, at: self.child as usize, ..map }
    }
}

/// The edit of an index in a sorted list.
pub(super) fn edit_of(changed: &[(usize, Edit)], at: usize) -> Option<&Edit> {
    let found = changed.binary_search_by_key(&at, |(index, _)| *index).ok()?;
    changed.get(found).map(|(_, edit)| edit)
}
