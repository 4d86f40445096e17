//! The words that stand under each key: a text that the base has elsewhere is told by its rank among them.
//!
//! For each key the texts of the base, and those the delta has told since, the frequent first. The base is walked once,
//! when the first text is due; a key's words are counted when they are.

use crate::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// The words of every key.
#[derive(Default)]
pub(crate) struct Words<'b> {
    texts: Option<HashMap<&'b str, Vec<&'b str>>>,
    lists: HashMap<String, WordList<'b>>,
}

/// The words under one key, by falling frequency; those as frequent in the order in which they came.
#[derive(Default)]
pub(crate) struct WordList<'b> {
    words: Vec<(Cow<'b, str>, u32)>,
    ranks: HashMap<Cow<'b, str>, usize>,
    /// How many texts there are, repetitions counted.
    total: u32,
}

impl<'b> Words<'b> {
    /// The words under a key of this base, which is always the same.
    pub(crate) fn under(&mut self, key: &str, base: &'b Value) -> &mut WordList<'b> {
        if !self.lists.contains_key(key) {
            let texts = self.texts.get_or_insert_with(|| {
                let mut texts = HashMap::new();
                gather("", base, &mut texts);
                texts
            });
            let list = WordList::of(texts.get(key).map_or(&[], Vec::as_slice));
            self.lists.insert(key.to_owned(), list);
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
    fn of(texts: &[&'b str]) -> WordList<'b> {
        let mut counted: HashMap<&'b str, usize> = HashMap::with_capacity(texts.len());
        let mut words: Vec<(Cow<'b, str>, u32)> = Vec::new();
        for text in texts {
            let at = *counted.entry(text).or_insert_with(|| {
                words.push((Cow::Borrowed(text), 0));
                words.len() - 1
            });
            if let Some(word) = words.get_mut(at) {
                word.1 += 1;
            }
        }
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let ranks = words.iter().enumerate().map(|(rank, (word, _))| (word.clone(), rank)).collect();
        WordList { words, ranks, total: texts.len() as u32 }
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether a few words are used again and again.
    pub(crate) fn is_vocabulary(&self) -> bool {
        self.words.len() <= 4 && self.total as usize >= 3 * self.words.len()
    }

    pub(crate) fn rank(&self, word: &str) -> Option<usize> {
        self.ranks.get(word).copied()
    }

    pub(crate) fn at(&self, rank: usize) -> Option<&str> {
        self.words.get(rank).map(|(word, _)| word.as_ref())
    }

    /// Counts a text that the delta told.
    pub(crate) fn add(&mut self, text: &str) {
        self.total = self.total.saturating_add(1);
        let Some(rank) = self.rank(text) else {
            let word: Cow<'b, str> = Cow::Owned(text.to_owned());
            self.ranks.insert(word.clone(), self.words.len());
            self.words.push((word, 1));
            return;
        };
        let Some(count) = self.words.get(rank).map(|(_, count)| *count) else { return };
        // It passes all that were as frequent.
        let first = self.words.partition_point(|(_, other)| *other > count);
        self.words.swap(first, rank);
        if let Some(entry) = self.words.get_mut(first) {
            entry.1 = count.saturating_add(1);
        }
        for place in [first, rank] {
            if let Some((word, _)) = self.words.get(place) {
                self.ranks.insert(word.clone(), place);
            }
        }
    }
}
