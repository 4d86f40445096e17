//! Which entry wins under each key, as a map document keeps it.
//!
//! What a large change brings **arrives** beside the rest, and is put among it in slices ([`Winners::settle_some`]): a change of 100,000 keys
//! keeps the node busy for no longer than one of some thousand. Reads look at both, and of two entries under one key the greater wins,
//! so nothing reads differently while that goes on.

use std::cmp::Ordering;
use std::collections::btree_map::{Entry as Place, Range};
use std::collections::{BTreeMap, VecDeque, vec_deque};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use tombolo_transports::PeerId;

use crate::layer::{Entry, KeyPath};
use crate::merge::register::{self, Winner};

/// The winners of a map document, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Winners {
    /// Those who wrote them, by number: an identity beside each entry would take more than the entry's place.
    authors: Vec<PeerId>,
    settled: BTreeMap<KeyPath, WinningEntry>,
    /// What is not among the settled ones yet. Under a key that both have, that of an author who stands in both is the greater.
    arrived: Arrived,
    /// How many of both are tombstones.
    tombstones: usize,
    /// No key has more segments. Those that are gone count.
    deepest: usize,
}

/// An entry that wins.
#[derive(Clone, Debug)]
struct WinningEntry {
    entry: Arc<Entry>,
    author: AuthorNumber,
    /// Kept here as well, since the entry stands elsewhere in memory.
    is_tombstone: bool,
    /// Whether the layer of another author may have an entry under the key too: who wins without this one is to be looked up then.
    is_contested: bool,
    /// Of what has arrived: whether it was put among the others, or is gone.
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AuthorNumber(u32);

/// Whether an entry wins under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// It does now, in the place of this one.
    Wins(Option<Arc<Entry>>),
    /// One of another author stays.
    Loses,
    /// Its author has one there that goes above it, or the same: which one wins now is to be found among all layers.
    Open,
}

impl Winners {
    /// How many keys have a winner; those that both have count twice.
    pub(super) fn len(&self) -> usize {
        self.settled.len() + self.arrived.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.arrived.is_empty()
    }

    /// Whether an author may have a winner.
    pub(super) fn knows(&self, author: &PeerId) -> bool {
        self.authors.contains(author)
    }

    /// Whether a tombstone wins under any key, or did when it arrived.
    pub(super) fn has_tombstones(&self) -> bool {
        self.tombstones > 0
    }

    /// The entry that wins under a key.
    pub(super) fn get(&self, key: &KeyPath) -> Option<Winner<'_>> {
        self.get_with_key(key).map(|(_, winner)| winner)
    }

    fn get_with_key(&self, key: &KeyPath) -> Option<(&KeyPath, Winner<'_>)> {
        let settled = self.settled.get_key_value(key);
        let arrived = if self.arrived.is_empty() { None } else { self.arrived.get(key) };
        let (key, held) = match (settled, arrived) {
            (Some((key, settled)), Some((_, arrived))) => (key, self.greater(settled, arrived)),
            (settled, arrived) => settled.or(arrived)?,
        };
        Some((key, self.winner(held)))
    }

    /// Whether a winner may stand below a key.
    pub(super) fn may_have_below(&self, key: &KeyPath) -> bool {
        key.depth() < self.deepest
    }

    /// The winners at a key and below it, by key.
    pub(super) fn at_and_below<'a>(
        &'a self,
        key: &KeyPath,
    ) -> impl Iterator<Item = (&'a KeyPath, Winner<'a>)> + Clone + use<'a> {
        let below = self.may_have_below(key).then(|| {
            let (from, key) = (self.from(key), key.clone());
            from.take_while(move |(other, _)| key.is_prefix_of(other))
        });
        // To find one key is less work than to find where a range begins.
        let alone = if below.is_none() { self.get_with_key(key) } else { None };
        alone.into_iter().chain(below.into_iter().flatten())
    }

    /// All winners, by key.
    pub(super) fn iter(&self) -> WinnersIter<'_> {
        WinnersIter {
            winners: self,
            settled: self.settled.range(..).peekable(),
            arrived: self.arrived.iter().peekable(),
        }
    }

    /// The winners from a key on.
    pub(super) fn from(&self, key: &KeyPath) -> WinnersIter<'_> {
        let range = (Bound::Included(key), Bound::Unbounded);
        WinnersIter {
            winners: self,
            settled: self.settled.range(range).peekable(),
            arrived: self.arrived.from(key).peekable(),
        }
    }

    /// Puts the entry that wins under a key, or none. Returns whether one stood there, or does now.
    pub(super) fn set(
        &mut self,
        key: KeyPath,
        winner: Option<(PeerId, Arc<Entry>)>,
        is_contested: bool,
    ) -> bool {
        self.settle(&key);
        self.note_depth(&key);
        let held = winner.map(|(author, entry)| WinningEntry::new(entry, self.number(author), is_contested));
        let added = held.as_ref().map_or(0, WinningEntry::tombstones);
        let old = match (self.settled.entry(key), held) {
            (Place::Occupied(mut place), Some(held)) => Some(place.insert(held)),
            (Place::Vacant(place), Some(held)) => {
                place.insert(held);
                self.tombstones += added;
                return true;
            }
            (Place::Occupied(place), None) => Some(place.remove()),
            (Place::Vacant(_), None) => None,
        };
        self.tombstones += added;
        self.tombstones -= old.as_ref().map_or(0, WinningEntry::tombstones);
        old.is_some()
    }

    /// Another layer has an entry under a key, which does not win.
    pub(super) fn contest(&mut self, key: &KeyPath) {
        for held in self.settled.get_mut(key).into_iter().chain(self.arrived.get_mut(key)) {
            held.is_contested = true;
        }
    }

    /// Puts an entry under a key if it goes above what wins there, with one look.
    pub(super) fn raise(&mut self, key: KeyPath, author: PeerId, entry: Arc<Entry>) -> Raised {
        self.settle(&key);
        self.note_depth(&key);
        let author = self.number(author);
        let authors = &self.authors;
        match self.settled.entry(key) {
            Place::Vacant(place) => {
                let held = place.insert(WinningEntry::new(entry, author, false));
                self.tombstones += held.tombstones();
                Raised::Wins(None)
            }
            Place::Occupied(mut place) => {
                let held = place.get_mut();
                held.is_contested |= held.author != author;
                match order(authors, (author, &entry), (held.author, &held.entry)) {
                    Ordering::Greater => {
                        let raised = WinningEntry::new(entry, author, held.is_contested);
                        self.tombstones += raised.tombstones();
                        self.tombstones -= held.tombstones();
                        Raised::Wins(Some(std::mem::replace(held, raised).entry))
                    }
                    Ordering::Less if held.author != author => Raised::Loses,
                    Ordering::Less | Ordering::Equal => Raised::Open,
                }
            }
        }
    }

    /// Takes many entries of an author, in the order of their keys. None of them is below one that the author has here.
    pub(super) fn arrive(&mut self, author: PeerId, entries: Vec<(KeyPath, Arc<Entry>)>) {
        debug_assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b), "in the order of their keys, each once");
        let author = self.number(author);
        entries.iter().for_each(|(key, _)| self.note_depth(key));
        let held = |(key, entry)| (key, WinningEntry::new(entry, author, false));
        let held: Vec<(KeyPath, WinningEntry)> = entries.into_iter().map(held).collect();
        self.tombstones += held.iter().filter(|(_, held)| held.is_tombstone).count();
        match (self.settled.is_empty(), self.arrived.is_empty()) {
            // All at once is faster.
            (true, true) => self.settled = held.into_iter().collect(),
            (_, true) => self.arrived = Arrived(held.into()),
            (_, false) => self.merge_arrived(held),
        }
    }

    /// Takes more of them while others are not settled yet.
    fn merge_arrived(&mut self, more: Vec<(KeyPath, WinningEntry)>) {
        let mut before = std::mem::take(&mut self.arrived);
        before.0.retain(|(_, held)| !held.is_over);
        let mut merged = VecDeque::with_capacity(before.0.len() + more.len());
        for (key, held) in more {
            while before.0.front().is_some_and(|(earlier, _)| *earlier < key) {
                merged.extend(before.pop());
            }
            let is_same = before.0.front().is_some_and(|(earlier, _)| *earlier == key);
            let held = match is_same.then(|| before.pop()).flatten() {
                Some((_, earlier)) => self.greater_of(earlier, held),
                None => held,
            };
            merged.push_back((key, held));
        }
        merged.extend(std::iter::from_fn(|| before.pop()));
        self.arrived = Arrived(merged);
    }

    /// Gives back the memory of so many. Returns whether that was all.
    pub(super) fn shed(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if self.settled.pop_first().is_none() && self.arrived.pop().is_none() {
                return true;
            }
        }
        false
    }

    /// Whether all that has arrived is among the rest.
    pub(super) fn is_settled(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Puts so many of those that have arrived among the rest.
    pub(super) fn settle_some(&mut self, most: usize) {
        let mut settled = std::mem::take(&mut self.settled);
        for _ in 0..most {
            let Some((key, held)) = self.arrived.pop() else { break };
            self.put_greater(&mut settled, key, held);
        }
        self.settled = settled;
    }

    /// The same with what has arrived under one key, which is about to change.
    fn settle(&mut self, key: &KeyPath) {
        if !self.arrived.is_empty()
            && let Some(held) = self.arrived.take(key)
        {
            let mut settled = std::mem::take(&mut self.settled);
            self.put_greater(&mut settled, key.clone(), held);
            self.settled = settled;
        }
    }

    /// Puts an entry that was counted under a key, unless one that goes above it is there.
    fn put_greater(&mut self, among: &mut BTreeMap<KeyPath, WinningEntry>, key: KeyPath, held: WinningEntry) {
        match among.entry(key) {
            Place::Vacant(place) => drop(place.insert(held)),
            Place::Occupied(mut place) => {
                let there = place.get().clone();
                place.insert(self.greater_of(there, held));
            }
        }
    }

    /// The greater of two under one key; the other counts no more.
    fn greater_of(&mut self, there: WinningEntry, held: WinningEntry) -> WinningEntry {
        let is_contested = there.is_contested || held.is_contested || there.author != held.author;
        let is_greater = order(&self.authors, held.place(), there.place()).is_ge();
        let (greater, lower) = if is_greater { (held, there) } else { (there, held) };
        self.tombstones -= lower.tombstones();
        WinningEntry { is_contested, ..greater }
    }

    /// Takes out what wins for an author and is meant: all are looked at, in the order in which they stand, which is faster than to look
    /// for many of them. Returns whether there were any, and the keys under which another layer may have an entry too.
    pub(super) fn take_out(
        &mut self,
        author: PeerId,
        is_meant: impl Fn(&KeyPath) -> bool,
    ) -> (bool, Vec<KeyPath>) {
        let author = self.number(author);
        let (mut contested, mut has_any, mut tombstones) = (Vec::new(), false, 0);
        let mut stays = |key: &KeyPath, held: &WinningEntry| {
            if held.author != author || !is_meant(key) {
                return true;
            }
            if held.is_contested {
                contested.push(key.clone());
            }
            tombstones += held.tombstones();
            has_any = true;
            false
        };
        self.settled.retain(|key, held| stays(key, held));
        self.arrived.0.retain(|(key, held)| !held.is_over && stays(key, held));
        self.tombstones -= tombstones;
        (has_any, contested)
    }

    fn note_depth(&mut self, key: &KeyPath) {
        self.deepest = self.deepest.max(key.depth());
    }

    fn number(&mut self, author: PeerId) -> AuthorNumber {
        let known = self.authors.iter().position(|known| *known == author);
        let at = known.unwrap_or_else(|| {
            self.authors.push(author);
            self.authors.len() - 1
        });
        AuthorNumber(u32::try_from(at).expect("a document has fewer writers"))
    }

    fn winner<'a>(&'a self, held: &'a WinningEntry) -> Winner<'a> {
        Winner { author: author_of(&self.authors, held.author), entry: &held.entry }
    }

    fn greater<'a>(&self, a: &'a WinningEntry, b: &'a WinningEntry) -> &'a WinningEntry {
        if order(&self.authors, a.place(), b.place()).is_gt() { a } else { b }
    }
}

impl WinningEntry {
    fn new(entry: Arc<Entry>, author: AuthorNumber, is_contested: bool) -> Self {
        let is_tombstone = entry.is_tombstone();
        WinningEntry { entry, author, is_tombstone, is_contested, is_over: false }
    }

    fn place(&self) -> (AuthorNumber, &Arc<Entry>) {
        (self.author, &self.entry)
    }

    fn tombstones(&self) -> usize {
        usize::from(self.is_tombstone)
    }
}

/// What has arrived, in the order of the keys: the first are put among the others first.
#[derive(Clone, Debug, Default)]
struct Arrived(VecDeque<(KeyPath, WinningEntry)>);

impl Arrived {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where a key stands that is not over.
    fn place(&self, key: &KeyPath) -> Option<usize> {
        let at = self.0.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.0.get(at).is_some_and(|(_, held)| !held.is_over).then_some(at)
    }

    fn get(&self, key: &KeyPath) -> Option<(&KeyPath, &WinningEntry)> {
        self.0.get(self.place(key)?).map(|(key, held)| (key, held))
    }

    fn get_mut(&mut self, key: &KeyPath) -> Option<&mut WinningEntry> {
        let at = self.place(key)?;
        self.0.get_mut(at).map(|(_, held)| held)
    }

    /// Takes out what stands under a key.
    fn take(&mut self, key: &KeyPath) -> Option<WinningEntry> {
        let held = self.get_mut(key)?;
        let taken = held.clone();
        held.is_over = true;
        Some(taken)
    }

    /// Takes out the first.
    fn pop(&mut self) -> Option<(KeyPath, WinningEntry)> {
        std::iter::from_fn(|| self.0.pop_front()).find(|(_, held)| !held.is_over)
    }

    fn iter(&self) -> ArrivedIter<'_> {
        ArrivedIter(self.0.iter())
    }

    fn from(&self, key: &KeyPath) -> ArrivedIter<'_> {
        ArrivedIter(self.0.range(self.0.partition_point(|(other, _)| other < key)..))
    }
}

#[derive(Clone, Debug)]
struct ArrivedIter<'a>(vec_deque::Iter<'a, (KeyPath, WinningEntry)>);

impl<'a> Iterator for ArrivedIter<'a> {
    type Item = (&'a KeyPath, &'a WinningEntry);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find(|(_, held)| !held.is_over).map(|(key, held)| (key, held))
    }
}

fn author_of(authors: &[PeerId], number: AuthorNumber) -> PeerId {
    *authors.get(number.0 as usize).expect("each number was given to an author")
}

/// The order of the merge.
fn order(authors: &[PeerId], a: (AuthorNumber, &Arc<Entry>), b: (AuthorNumber, &Arc<Entry>)) -> Ordering {
    register::compare((author_of(authors, a.0), a.1), (author_of(authors, b.0), b.1))
}

/// Winners in the order of their keys.
#[derive(Clone, Debug)]
pub(super) struct WinnersIter<'a> {
    winners: &'a Winners,
    settled: Peekable<Range<'a, KeyPath, WinningEntry>>,
    arrived: Peekable<ArrivedIter<'a>>,
}

impl<'a> Iterator for WinnersIter<'a> {
    type Item = (&'a KeyPath, Winner<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let winners = self.winners;
        let Some((arrived, _)) = self.arrived.peek() else {
            let (key, held) = self.settled.next()?;
            return Some((key, winners.winner(held)));
        };
        let order = self.settled.peek().map_or(Ordering::Greater, |(settled, _)| settled.cmp(arrived));
        let (key, held) = match order {
            Ordering::Less => self.settled.next()?,
            Ordering::Greater => self.arrived.next()?,
            Ordering::Equal => {
                let ((key, settled), (_, arrived)) = (self.settled.next()?, self.arrived.next()?);
                (key, winners.greater(settled, arrived))
            }
        };
        Some((key, winners.winner(held)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tombolo_delta::Value;

    use super::*;
    use crate::clock::Timestamp;

    fn key(n: u8) -> KeyPath {
        KeyPath::parse(&format!("k{n}")).unwrap()
    }

    fn entry(stamp: u64, is_tombstone: bool) -> Arc<Entry> {
        let value = (!is_tombstone).then(|| Value::from(stamp).into());
        Arc::new(Entry { stamp: Timestamp::from_bits(stamp), value, saw: None })
    }

    fn read(winners: &Winners) -> Vec<(KeyPath, PeerId, Arc<Entry>)> {
        winners.iter().map(|(key, winner)| (key.clone(), winner.author, winner.entry.clone())).collect()
    }

    proptest! {
        /// What arrives reads as if each entry had been put in its place, at once and while it is settled.
        #[test]
        fn what_arrives_reads_as_what_is_raised(
            batches in proptest::collection::vec(
                (0u8..3, proptest::collection::btree_map(0u8..20, proptest::bool::ANY, 1..12), 0usize..6, any::<bool>()), 1..8),
        ) {
            let (mut arriving, mut raised) = (Winners::default(), Winners::default());
            for (n, (author, entries, settled, is_large)) in (1u64..).zip(batches) {
                // Later entries of an author go above its earlier ones; those of two authors may go either way.
                let stamp = |at: u8| 2 * n + 7 * (u64::from(at) % 3) * u64::from(author % 2);
                let own = |winners: &Winners, at: u8| {
                    let own = winners.get(&key(at)).filter(|winner| winner.author == PeerId([author; 32]));
                    own.is_none_or(|winner| winner.entry.stamp.bits() < stamp(at))
                };
                let author_id = PeerId([author; 32]);
                let mut entries: Vec<_> = entries.into_iter().filter(|(at, _)| own(&raised, *at))
                    .map(|(at, is_tombstone)| (key(at), entry(stamp(at), is_tombstone))).collect();
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                for (key, entry) in entries.clone() {
                    prop_assert_ne!(raised.raise(key, author_id, entry), Raised::Open);
                }
                match is_large {
                    true => arriving.arrive(author_id, entries),
                    false => for (key, entry) in entries {
                        arriving.raise(key, author_id, entry);
                    },
                }
                prop_assert_eq!(read(&arriving), read(&raised));
                arriving.settle_some(settled);
                prop_assert_eq!(read(&arriving), read(&raised));
                for at in 0..20 {
                    let of = |winners: &Winners| winners.get(&key(at)).map(|w| (w.author, w.entry.clone()));
                    prop_assert_eq!(of(&arriving), of(&raised));
                }
            }
            arriving.settle_some(1_000);
            prop_assert!(arriving.is_settled());
            prop_assert_eq!(arriving.tombstones, raised.tombstones);
            prop_assert_eq!(arriving.len(), raised.len());
        }
    }

    /// No other author has an entry under a key that is not contested.
    #[test]
    fn only_contested_keys_are_to_be_looked_up_when_their_winner_goes() {
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut winners = Winners::default();
        for at in 0..4 {
            winners.raise(key(at), a, entry(5, at == 3));
        }
        winners
            .arrive(b, vec![(key(1), entry(4, false)), (key(2), entry(9, false)), (key(7), entry(1, true))]);
        let (any, contested) = winners.clone().take_out(a, |_| true);
        assert!(any && contested.is_empty(), "b's stand beside them");
        winners.settle_some(10);
        assert_eq!(winners.take_out(a, |_| true), (true, vec![key(1)]));
        assert_eq!(winners.take_out(b, |_| true), (true, vec![key(2)]));
        assert!(winners.is_empty() && !winners.has_tombstones());
    }
}
