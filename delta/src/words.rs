//! The words that stand under each key: a text that the base has elsewhere is encoded as its rank among them.
//!
//! For each key the texts of the base, and those of the delta since, the frequent first. The base is walked once,
//! when the first text is due; a key's words are counted when they are. The base's texts are borrowed, and found by
//! their order: a document of many texts does not grow by much.

use crate::hint::FieldKey;
use crate::{Value, steps};
use std::collections::HashMap;
use std::rc::Rc;

/// A text of the delta that is longer is not counted, so that no copy of it is kept.
const COUNTED_BYTES_MAX: usize = 4096;

/// The words of every key.
#[derive(Default)]
pub(crate) struct Vocabulary<'b> {
    /// By the number of a key: its texts in the base, until they are counted, then its words.
    lists: Vec<KeyTexts<'b>>,
    /// The numbers of the base's keys, once the base was walked.
    base_numbers: Option<HashMap<&'b str, u32>>,
    /// The numbers of keys that the base does not have.
    new_numbers: HashMap<String, u32>,
}

/// What stands under one key.
enum KeyTexts<'b> {
    Gathered(Vec<&'b str>),
    Counted(Box<WordList<'b>>),
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
    pub(crate) fn under(&mut self, key: &FieldKey<'_>, base: &'b Value) -> &mut WordList<'b> {
        let number = match key.words.get() {
            Some(number) => number,
            None => self.number(key, base),
        };
        let list = self.lists.get_mut(number as usize).expect("a key's number was given here");
        if let KeyTexts::Gathered(texts) = list {
            *list = KeyTexts::Counted(Box::new(WordList::of(std::mem::take(texts))));
        }
        match list {
            KeyTexts::Counted(words) => words,
            KeyTexts::Gathered(_) => unreachable!("they were counted above"),
        }
    }

    fn number(&mut self, key: &FieldKey<'_>, base: &'b Value) -> u32 {
        if self.base_numbers.is_none() {
            let mut texts = BaseTexts::default();
            texts.gather(&FieldKey::new(""), base);
            self.lists = texts.lists.into_iter().map(KeyTexts::Gathered).collect();
            self.base_numbers = Some(texts.numbers);
        }
        steps::bytes(key.name().len() * 4);
        let of_base = self.base_numbers.as_ref().and_then(|numbers| numbers.get(key.name()));
        let number = of_base.or_else(|| self.new_numbers.get(key.name())).copied().unwrap_or_else(|| {
            let next = self.lists.len() as u32;
            self.new_numbers.insert(key.name().to_owned(), next);
            self.lists.push(KeyTexts::Gathered(Vec::new()));
            next
        });
        key.words.set(Some(number));
        number
    }
}

/// The texts of a base, by key.
#[derive(Default)]
struct BaseTexts<'b> {
    numbers: HashMap<&'b str, u32>,
    lists: Vec<Vec<&'b str>>,
}

impl<'b> BaseTexts<'b> {
    fn gather(&mut self, key: &FieldKey<'b>, value: &'b Value) {
        steps::took(1);
        match value {
            Value::Text(text) => {
                let number = key.words.get().unwrap_or_else(|| {
                    steps::bytes(key.name().len() * 4);
                    let next = self.lists.len() as u32;
                    let number = *self.numbers.entry(key.name()).or_insert(next);
                    if number == next {
                        // Most keys have one text.
                        self.lists.push(Vec::with_capacity(1));
                    }
                    key.words.set(Some(number));
                    number
                });
                if let Some(list) = self.lists.get_mut(number as usize) {
                    list.push(text);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.gather(key, item)),
            Value::Map(map) => {
                map.iter().for_each(|(key, value)| self.gather(&FieldKey::new(key.name()), value));
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Bytes(_) => {}
        }
    }
}

impl<'b> WordList<'b> {
    fn of(texts: Vec<&'b str>) -> WordList<'b> {
        let text = |at: u32| texts.get(at as usize).copied().unwrap_or_default();
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        steps::took(texts.len() * (texts.len().max(1).ilog2() as usize + 1));
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
        steps::bytes(word.len() + 64);
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
