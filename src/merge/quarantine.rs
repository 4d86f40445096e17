//! Entries from the future: kept and relayed, but without effect until their time has come.
//!
//! One far-future stamp would otherwise win a key for ever.

use crate::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::layer::{KeyPath, sort_by_key_path};
use crate::limits::FUTURE_BOUND;

/// Whether an entry with this stamp is too far ahead of reference time.
pub(super) fn holds_back(stamp: Timestamp, reference: Wall) -> bool {
    stamp.time() > reference + FUTURE_BOUND
}

/// Which keys have entries that wait, and until when.
#[derive(Clone, Debug, Default)]
pub(super) struct Quarantine {
    waiting: BTreeSet<(Wall, KeyPath)>,
    by_key: BTreeMap<KeyPath, Times>,
}

/// Until when the entries under a key wait: hardly ever more than one does.
#[derive(Clone, Debug)]
struct Times {
    first: Wall,
    others: Vec<Wall>,
}

impl Times {
    fn iter(&self) -> impl Iterator<Item = Wall> {
        self.others.iter().copied().chain([self.first])
    }
}

impl Quarantine {
    /// Takes note of the stamps that stand under a key now.
    pub(super) fn watch(&mut self, key: &KeyPath, stamps: Vec<Timestamp>, reference: Wall) {
        for at in self.by_key.remove(key).iter().flat_map(Times::iter) {
            self.waiting.remove(&(at, key.clone()));
        }
        let held_back = stamps.into_iter().filter(|stamp| holds_back(*stamp, reference));
        let mut times = held_back.map(|stamp| stamp.time() - FUTURE_BOUND);
        let Some(first) = times.next() else { return };
        let times = Times { first, others: times.collect() };
        self.waiting.extend(times.iter().map(|at| (at, key.clone())));
        self.by_key.insert(key.clone(), times);
    }

    /// Takes note of keys under which nothing waits yet, each with the stamp of the one entry that does now. Many at once are put
    /// among the others in one go.
    pub(super) fn watch_first(&mut self, keys: Vec<(KeyPath, Timestamp)>) {
        let until = |stamp: Timestamp| stamp.time() - FUTURE_BOUND;
        let mut keys = keys;
        // Most have one time, and a tree is made of what is in its order without another look at the keys.
        sort_by_key_path(&mut keys, |(key, _)| key);
        let is_many = keys.len() > self.by_key.len() / 8;
        let mut waiting: BTreeSet<_> = keys.iter().map(|(key, stamp)| (until(*stamp), key.clone())).collect();
        let times = |stamp| Times { first: until(stamp), others: Vec::new() };
        let mut by_key: BTreeMap<_, _> = keys.into_iter().map(|(key, stamp)| (key, times(stamp))).collect();
        match is_many {
            true => {
                self.waiting.append(&mut waiting);
                self.by_key.append(&mut by_key);
            }
            false => {
                self.waiting.extend(waiting);
                self.by_key.extend(by_key);
            }
        }
    }

    /// Whether an entry under a key waits.
    pub(super) fn holds(&self, key: &KeyPath) -> bool {
        self.by_key.contains_key(key)
    }

    /// The keys with an entry that waits, and until when each was judged to.
    pub(super) fn keys(&self) -> impl Iterator<Item = &KeyPath> {
        self.by_key.keys()
    }

    /// The keys with an entry whose time has come.
    pub(super) fn due(&self, reference: Wall) -> Vec<KeyPath> {
        let due = self.waiting.iter().take_while(|(at, _)| *at <= reference);
        due.map(|(_, key)| key.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// When the next is due, by reference time.
    pub(super) fn next(&self) -> Option<Wall> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
