//! The words that stand under each key: a text that the base has elsewhere is encoded as its rank among them.
//!
//! For each key the texts of the base, and those of the delta since, the frequent first. The base is walked once,
//! when the first text is due; a key's words are counted when they are. The base's texts are borrowed, and found by
//! their order: a document of many texts does not grow by much.

use crate::Value;
use std::collections::HashMap;
use std::rc::Rc;

/// A text of the delta that is longer is not counted, so that no copy of it is kept.
const COUNTED_BYTES_MAX: usize = 4096;

/// The words of every key.
#[derive(Default)]
pub(crate) struct Vocabulary<'b> {
    texts: Option<HashMap<&'b str, Vec<&'b str>>>,
    lists: HashMap<String, WordList<'b>>,
}

/// The words under one key, by falling frequency; those as frequent in the order in which they came.
///
/// A word has a number: those of the base in the order of their texts, then those of the delta as they came.
#[derive(Default)]
pub(crate) struct WordList<'b> {
    /// The base's words, sorted.
    base: Vec<&'b str>,
    added: Vec<Rc<str>>,
    delta_numbers: HashMap<Rc<str>, u32>,
    /// By number: how often the word stands there, and its rank.
    counts: Vec<u32>,
    ranks: Vec<u32>,
    /// By rank: the number.
    ranked: Vec<u32>,
    /// How many texts there are, repetitions counted.
    total: u32,
}

impl<'b> Vocabulary<'b> {
    /// The words under a key of this base, which is always the same.
    pub(crate) fn under(&mut self, key: &str, base: &'b Value) -> &mut WordList<'b> {
        if !self.lists.contains_key(key) {
            let texts = self.texts.get_or_insert_with(|| {
                let mut texts = HashMap::new();
                gather("", base, &mut texts);
                texts
            });
            self.lists.insert(key.to_owned(), WordList::of(texts.remove(key).unwrap_or_default()));
        }
        self.lists.entry(key.to_owned()).or_default()
    }
}

fn gather<'b>(key: &'b str, value: &'b Value, texts: &mut HashMap<&'b str, Vec<&'b str>>) {
    match value {
        Value::Text(text) => texts.entry(key).or_default().push(text),
        Value::Array(items) => items.iter().for_each(|item| gather(key, item, texts)),
        Value::Map(map) => map.iter().for_each(|(key, value)| gather(key.name(), value, texts)),
        _ => {}
    }
}

impl<'b> WordList<'b> {
    fn of(texts: Vec<&'b str>) -> WordList<'b> {
        let text = |at: u32| texts.get(at as usize).copied().unwrap_or_default();
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        order.sort_unstable_by(|a, b| text(*a).cmp(text(*b)).then(a.cmp(b)));
        let mut words = WordList { total: texts.len() as u32, ..WordList::default() };
        // Where each word came first.
        let mut first: Vec<u32> = Vec::new();
        for same in order.chunk_by(|a, b| text(*a) == text(*b)) {
            let at = same.first().copied().unwrap_or(0);
            words.base.push(text(at));
            words.counts.push(same.len() as u32);
            first.push(at);
        }
        let of = |list: &[u32], number: u32| list.get(number as usize).copied().unwrap_or(0);
        words.ranked = (0..words.base.len() as u32).collect();
        let counts = &words.counts;
        words
            .ranked
            .sort_unstable_by_key(|number| (std::cmp::Reverse(of(counts, *number)), of(&first, *number)));
        words.ranks = first;
        for (rank, number) in words.ranked.iter().enumerate() {
            if let Some(place) = words.ranks.get_mut(*number as usize) {
                *place = rank as u32;
            }
        }
        words
    }

    pub(crate) fn len(&self) -> usize {
        self.ranked.len()
    }

    /// Whether a few words are used again and again.
    pub(crate) fn is_vocabulary(&self) -> bool {
        self.len() <= 4 && self.total as usize >= 3 * self.len()
    }

    pub(crate) fn rank(&self, word: &str) -> Option<usize> {
        self.ranks.get(self.number(word)?).map(|rank| *rank as usize)
    }

    pub(crate) fn at(&self, rank: usize) -> Option<&str> {
        let number = *self.ranked.get(rank)? as usize;
        match number.checked_sub(self.base.len()) {
            None => self.base.get(number).copied(),
            Some(added) => self.added.get(added).map(AsRef::as_ref),
        }
    }

    fn number(&self, word: &str) -> Option<usize> {
        match self.base.binary_search(&word) {
            Ok(number) => Some(number),
            Err(_) => self.delta_numbers.get(word).map(|number| *number as usize),
        }
    }

    /// Counts a text of the delta.
    pub(crate) fn add(&mut self, text: &str) {
        if text.len() > COUNTED_BYTES_MAX {
            return;
        }
        self.total = self.total.saturating_add(1);
        let Some(number) = self.number(text) else {
            let (word, number) = (Rc::from(text), self.counts.len() as u32);
            self.added.push(Rc::clone(&word));
            self.delta_numbers.insert(word, number);
            self.counts.push(1);
            self.ranks.push(self.ranked.len() as u32);
            self.ranked.push(number);
            return;
        };
        let count = self.counts.get(number).copied().unwrap_or(0);
        let rank = self.ranks.get(number).copied().unwrap_or(0) as usize;
        // It passes all that were as frequent.
        let is_more_frequent = |other: &u32| self.counts.get(*other as usize).is_some_and(|c| *c > count);
        let first = self.ranked.partition_point(is_more_frequent);
        self.ranked.swap(first, rank);
        for place in [first, rank] {
            let moved = self.ranked.get(place).copied().unwrap_or(0);
            if let Some(of) = self.ranks.get_mut(moved as usize) {
                *of = place as u32;
            }
        }
        if let Some(of) = self.counts.get_mut(number) {
            *of = count.saturating_add(1);
        }
    }
}
