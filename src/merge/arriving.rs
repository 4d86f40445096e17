//! What an author has changed comes into the merge: few keys one by one, many of them in one go.

use std::sync::Arc;

use tombolo_transports::PeerId;

use crate::layer::{Entry, EntryChange, KeyPath, Kind, Layer, MapContent, sort_by_key_path};
use crate::merge::register::Winner;
use crate::merge::view::View;
use crate::merge::winners::Raised;
use crate::merge::{Document, LOOKED_UP_MAX, map_of, quarantine, register};
use crate::time::Wall;

impl Document {
    /// Takes a layer as [`put_layer`](Self::put_layer) does, where each of the changed keys is put, in the order of the keys, with an entry that goes above what its author had there
    /// and is not from the future.
    pub fn put_rising_layer(
        &mut self,
        layer: Layer,
        rising: Vec<(KeyPath, Arc<Entry>)>,
        changed: &[EntryChange],
        reference: Wall,
    ) -> bool {
        let author = layer.head().layer.author;
        let is_plain = self.kind == Kind::Map && self.quarantine.len() == 0 && self.counts(&author);
        if !is_plain || rising.len() != changed.len() || rising.len() <= LOOKED_UP_MAX {
            return self.put_layer(layer, Some(changed), reference);
        }
        let old = self.layers.insert(author, layer);
        self.arrive(author, rising);
        old.into_iter().for_each(|old| self.keep_to_shed(old));
        true
    }

    /// Takes an author's new entries into the merge, with what `old` had in their place. One that goes above the winner wins without a
    /// look at the other layers, and one below the winner of another author changes nothing.
    pub(super) fn resolve_of(
        &mut self,
        author: &PeerId,
        old: Option<&Layer>,
        changed: &[EntryChange],
        reference: Wall,
    ) -> bool {
        let gone = changed.iter().filter(|(_, entry)| entry.is_none()).count();
        let (mut reads_differently, mut open) = (false, Vec::new());
        if gone > LOOKED_UP_MAX {
            reads_differently |= self.drop_gone(author, &mut open);
        }
        let is_large = changed.len() - gone > LOOKED_UP_MAX;
        let before = self.entries_before(author, old, changed, is_large);
        let mut later = Vec::new();
        let mut rising = Vec::with_capacity(changed.len() - gone);
        for (key, entry) in changed {
            let waits = self.quarantine.holds(key);
            let Some(entry) = entry.as_ref().filter(|_| !waits) else {
                if waits || entry.is_some() || gone <= LOOKED_UP_MAX {
                    open.push(key.clone());
                }
                continue;
            };
            let waits = quarantine::holds_back(entry.stamp, reference);
            match waits {
                true if before.has_none(key, &self.merged) => later.push((key.clone(), entry.stamp)),
                false if !is_large || before.is_below((*author, entry), key, &self.merged) => {
                    rising.push((key.clone(), entry.clone()));
                }
                true | false => open.push(key.clone()),
            }
        }
        self.quarantine.watch_first(later);
        reads_differently |= self.raise_all(author, rising, &mut open);
        self.resolve(open, reference) | reads_differently
    }

    /// What an author may win with under the keys that it changes now.
    fn entries_before<'a>(
        &mut self,
        author: &PeerId,
        old: Option<&'a Layer>,
        changed: &[EntryChange],
        is_large: bool,
    ) -> EntriesBefore<'a> {
        let oldest = || changed.iter().flat_map(|(_, entry)| entry).map(|entry| entry.stamp).min();
        match old.and_then(map_of) {
            _ if !self.merged.winners_mut().knows(author) => EntriesBefore::None,
            // All of them rise: none has to be looked up.
            Some(old) if oldest().is_some_and(|oldest| oldest > old.newest_at_most()) => EntriesBefore::Older,
            Some(old) => EntriesBefore::OfLayer(old),
            // The layer was taken out, and changed in place.
            None => {
                while is_large && !self.merged.is_settled() {
                    self.merged.winners_mut().settle_some(LOOKED_UP_MAX);
                }
                EntriesBefore::InView(*author)
            }
        }
    }

    /// Puts entries of an author where they go above what wins there, and adds the keys that are to be looked at. Returns whether the
    /// document reads differently. Many of them arrive, and may change nothing.
    fn raise_all(
        &mut self,
        author: &PeerId,
        mut entries: Vec<(KeyPath, Arc<Entry>)>,
        open: &mut Vec<KeyPath>,
    ) -> bool {
        if entries.len() > LOOKED_UP_MAX {
            sort_by_key_path(&mut entries, |(key, _)| key);
            self.arrive(*author, entries);
            return true;
        }
        let mut wins = false;
        for (key, entry) in entries {
            let raised = self.raise(&key, author, &entry);
            wins |= matches!(raised, Raised::Wins(_));
            if raised == Raised::Open {
                open.push(key);
            }
        }
        wins
    }

    /// Many entries of an author, in the order of their keys, stand beside the winners from now on.
    fn arrive(&mut self, author: PeerId, entries: Vec<(KeyPath, Arc<Entry>)>) {
        self.recorder.note_arriving(self.merged.is_empty(), entries.iter().map(|(key, _)| key));
        self.merged.winners_mut().arrive(author, entries);
    }

    /// Puts an entry under a key if it goes above what wins there. What a reader saw there before is noted first, as long as that is.
    fn raise(&mut self, key: &KeyPath, author: &PeerId, entry: &Arc<Entry>) -> Raised {
        if !self.recorder.is_full() {
            if self.merged.is_alone(key) {
                let raised = self.merged.winners_mut().raise(key.clone(), *author, entry.clone());
                if let Raised::Wins(before) = &raised {
                    self.recorder.note_alone(key, before.as_ref(), entry);
                }
                return raised;
            }
            let below = self.merged.at_and_below(key);
            let held = below.clone().next().filter(|(at, _)| *at == key).map(|(_, winner)| winner);
            let goes_above =
                |held: Winner<'_>| register::compare((*author, entry), (held.author, held.entry)).is_gt();
            if held.is_none_or(goes_above) {
                self.recorder.note_with(&self.merged, key, self.merged.key_views(below));
            }
        }
        self.merged.winners_mut().raise(key.clone(), *author, entry.clone())
    }

    /// Takes out what won for an author whose layer does not have it any more, and adds the keys that are to be looked at.
    pub(super) fn drop_gone(&mut self, author: &PeerId, open: &mut Vec<KeyPath>) -> bool {
        let map = self.layers.get(author).and_then(map_of).filter(|map| !map.is_empty());
        let is_gone = |key: &KeyPath| map.is_none_or(|map| map.get(key).is_none());
        let (has_dropped, mut contested) = self.merged.winners_mut().take_out(*author, is_gone);
        if has_dropped {
            self.recorder.note_many();
        }
        open.append(&mut contested);
        has_dropped
    }

    /// Takes the entries of an author into a merge that is empty yet. Returns whether it did: where one of them waits
    /// for its time, each key is looked at.
    pub(super) fn take_first(
        &mut self,
        author: &PeerId,
        entries: Vec<(KeyPath, Arc<Entry>)>,
        reference: Wall,
    ) -> bool {
        let waits = entries.iter().any(|(_, entry)| quarantine::holds_back(entry.stamp, reference));
        if waits || self.quarantine.len() > 0 || !self.merged.is_empty() {
            return false;
        }
        let mut entries = entries;
        sort_by_key_path(&mut entries, |(key, _)| key);
        self.arrive(*author, entries);
        true
    }
}

/// Where the entries stand that an author had before a change.
enum EntriesBefore<'a> {
    None,
    /// Where there is one, its stamp is an earlier one.
    Older,
    OfLayer(&'a MapContent),
    /// Those of them that win.
    InView(PeerId),
}

impl EntriesBefore<'_> {
    /// Whether there is none under a key.
    fn has_none(&self, key: &KeyPath, view: &View) -> bool {
        match self {
            EntriesBefore::Older => false,
            before => before.at(key, view).is_none(),
        }
    }

    /// Whether an entry of the author goes above the one under its key.
    fn is_below(&self, (author, entry): (PeerId, &Entry), key: &KeyPath, view: &View) -> bool {
        let rises = |before: &Arc<Entry>| register::compare((author, entry), (author, before)).is_gt();
        self.at(key, view).is_none_or(rises)
    }

    fn at<'a>(&'a self, key: &KeyPath, view: &'a View) -> Option<&'a Arc<Entry>> {
        match self {
            EntriesBefore::None | EntriesBefore::Older => None,
            EntriesBefore::OfLayer(old) => old.shared(key),
            EntriesBefore::InView(author) => {
                view.winner(key).filter(|winner| winner.author == *author).map(|winner| winner.entry)
            }
        }
    }
}
