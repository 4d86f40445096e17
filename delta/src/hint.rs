//! The key that a value stands under, and what is found out about it once: however many values stand under it, and
//! however long it is, it is read a few times.

use std::cell::{Cell, OnceCell};
use std::sync::LazyLock;

use crate::steps;

/// A key on its way down a tree. The items of an array share the array's, and integer keys have no name.
#[derive(Debug, Default)]
pub(crate) struct FieldKey<'k> {
    name: &'k str,
    hint: OnceCell<KeyHint>,
    /// The number of its words, by [`Vocabulary`](crate::words::Vocabulary).
    pub(crate) words: Cell<Option<u32>>,
}

impl<'k> FieldKey<'k> {
    pub(crate) const fn new(name: &'k str) -> FieldKey<'k> {
        FieldKey { name, hint: OnceCell::new(), words: Cell::new(None) }
    }

    /// A key whose hint is known from another place.
    pub(crate) fn with_hint(name: &'k str, hint: KeyHint) -> FieldKey<'k> {
        FieldKey { hint: OnceCell::from(hint), ..FieldKey::new(name) }
    }

    pub(crate) fn name(&self) -> &'k str {
        self.name
    }

    /// What the name suggests.
    pub(crate) fn hint(&self) -> KeyHint {
        *self.hint.get_or_init(|| KeyHint::of(self.name))
    }
}

/// What a key's name suggests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyHint {
    pub(crate) settled: bool,
    pub(crate) lively: bool,
    pub(crate) version: bool,
    pub(crate) name: bool,
    pub(crate) uptime: bool,
    pub(crate) counter: bool,
}

/// Words in a key for an integer that stays.
const SETTLED_WORDS: [&str; 6] = ["total", "max", "limit", "capacity", "port", "size"];
/// Words in a key for an integer that moves.
const LIVELY_WORDS: [&str; 14] = [
    "used", "free", "avail", "bytes", "count", "load", "temp", "rx", "tx", "battery", "rssi", "level", "_ms",
    "percent",
];
/// Words in a key for versions.
const VERSION_WORDS: [&str; 4] = ["version", "tag", "rev", "digest"];
/// Words in a key for names; `id` alone is one too.
const NAME_WORDS: [&str; 2] = ["name", "kind"];
/// Words in a key for seconds since an event.
const UPTIME_WORDS: [&str; 2] = ["uptime", "elapsed"];
/// Words in a key for a number that may be the sequence.
const COUNTER_WORDS: [&str; 4] = ["seq", "rev", "counter", "generation"];

impl KeyHint {
    /// One pass over the key; at each place only the words that begin with its byte are tried.
    pub(crate) fn of(key: &str) -> KeyHint {
        steps::bytes(key.len() * 8);
        let mut hint = KeyHint { name: key == "id", ..KeyHint::default() };
        let index: &[Vec<HintWord>; 128] = &BY_FIRST_BYTE;
        for (at, first) in key.bytes().enumerate() {
            let Some(words) = index.get(usize::from(first)) else { continue };
            for (word, suggests) in words {
                if key.as_bytes().split_at(at).1.starts_with(word.as_bytes()) {
                    suggests(&mut hint);
                }
            }
        }
        hint
    }
}

/// A word in a key, and what it suggests.
type HintWord = (&'static str, fn(&mut KeyHint));

static BY_FIRST_BYTE: LazyLock<[Vec<HintWord>; 128]> = LazyLock::new(|| {
    let mut index: [Vec<HintWord>; 128] = std::array::from_fn(|_| Vec::new());
    let mut enter = |words: &[&'static str], suggests: fn(&mut KeyHint)| {
        for word in words {
            if let Some(list) = word.bytes().next().and_then(|first| index.get_mut(usize::from(first))) {
                list.push((word, suggests));
            }
        }
    };
    enter(&SETTLED_WORDS, |hint| hint.settled = true);
    enter(&LIVELY_WORDS, |hint| hint.lively = true);
    enter(&VERSION_WORDS, |hint| hint.version = true);
    enter(&NAME_WORDS, |hint| hint.name = true);
    enter(&UPTIME_WORDS, |hint| hint.uptime = true);
    enter(&COUNTER_WORDS, |hint| hint.counter = true);
    index
});

/// The lists of words by their names in `tables.json`.
#[cfg(test)]
pub(crate) const WORD_LISTS: [(&str, &[&str]); 6] = [
    ("settled_words", &SETTLED_WORDS),
    ("lively_words", &LIVELY_WORDS),
    ("version_words", &VERSION_WORDS),
    ("name_words", &NAME_WORDS),
    ("uptime_words", &UPTIME_WORDS),
    ("counter_words", &COUNTER_WORDS),
];
