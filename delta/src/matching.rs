//! New text, encoded byte by byte with what followed the same bytes before: in the base, in this delta, and in a short
//! lexicon for a first snapshot.
//!
//! For each byte the places are found where the bytes before it stood already; what followed there, what a guide (the
//! old text, a sibling's text) predicts, and which bytes are common at all are mixed into the chance of each of its
//! eight bits. The index is built only when a literal is due. What the search may cost follows the base and what came in
//! so far; a long new text goes on with [`StreamModel`], so that no delta takes more time than its bytes explain.

use crate::Value;
use crate::candidates::{
    Candidates, Ending, GROUPS, Inputs, MATCH_MAX, MATCH_SETS, NO_SLOT, TEXT_SLOTS_FROM,
};
use crate::entropy::{Coder, LOGIT_MAX, squash, stretch};
use crate::priors::WEIGHTS;
use crate::steps;
use crate::stream::{Expected, StreamModel};
use crate::symbols::{Probability, Symbols};

/// A match so long is found by the hash of its last bytes.
const LONG_MATCH: usize = 3;

/// The byte that ends a text.
pub(crate) const END: u8 = 0;
/// Announces that the next byte stands for one of the first two.
pub(crate) const ESCAPE: u8 = 1;
/// Stands between a key and its text.
const OF_KEY: u8 = 2;

/// Words that documents about machines and services share. Read before the base, so that a first snapshot is not
/// encoded letter by letter.
pub(crate) const LEXICON: &[u8] = include_bytes!("lexicon.txt");

/// Of the base, and of what stands before it, so many bytes are remembered: with the index, five times that in memory.
const REMEMBERED_MAX: usize = 64 * 1024;

/// Of a key so many bytes are remembered: each text stands behind its key.
const KEY_BYTES_MAX: usize = 64;

/// Once the history is so long, texts are opened without their key: it then grows by new text alone.
const HISTORY_MAX: usize = 128 * 1024;

/// Room for the new text of most deltas, so that nothing that large is moved for a few bytes.
const ROOM: usize = 2048;

/// How far is looked for places where the bytes before stood already.
struct Effort {
    /// Places tried where three bytes are the same, and how many of them are taken.
    long_steps: usize,
    long_max: usize,
    /// Places tried where one byte is the same, where fewer were taken, and how many are taken in all.
    short_steps: usize,
    all_max: usize,
}

/// The most places that are tried: where three bytes are the same, and where one is.
const LONG_STEPS_MAX: usize = 200;
const SHORT_STEPS_MAX: usize = 250;
/// So many places with three equal bytes are taken before those with one are left out.
const LONG_ENOUGH: usize = 14;

impl Effort {
    /// What may be spent at one byte, of what is left for all.
    fn of(left: usize) -> Effort {
        let part = left / LEFT_BY_ROOT;
        let places = part.saturating_mul(part).min(LONG_STEPS_MAX + SHORT_STEPS_MAX);
        let long_steps = (places / 2).min(LONG_STEPS_MAX);
        Effort {
            long_steps,
            long_max: (long_steps / 2).max(places.min(LONG_ENOUGH)),
            short_steps: (places - long_steps).min(SHORT_STEPS_MAX),
            all_max: places * 7 / 10,
        }
    }
}

/// What the search may cost, counted in places tried, some five nanoseconds each: at the start, for each byte that is
/// remembered of the base, for each byte of new content, and for each byte of the delta so far. Both ends count alike.
/// When it is used up, [`StreamModel`] encodes the rest.
const SEARCH_START: usize = 36_000;
const SEARCH_BY_BASE: usize = 160;
const SEARCH_BY_NEW: usize = 190;
const SEARCH_BY_DELTA: usize = 50;
/// What a byte costs beside the places tried.
const SEARCH_BY_BYTE: usize = 160;
/// A byte tries as many places as the square of what is left by this: the first bytes of a text all that there are, later
/// ones fewer, and the search does not end at once.
const LEFT_BY_ROOT: usize = 1_700;

/// A guide is searched so far ahead for the place where the text goes on: while the search lasts, and behind it.
const GUIDE_WINDOW: usize = 256;
const GUIDE_WINDOW_STREAM: usize = 24;
/// So many pairs of a guide count as one place tried.
const PAIRS_A_PLACE: usize = 8;

const HASH_BITS: u32 = 12;
/// Inputs of the mixer: one a group, the longest match, two guides, the byte alone, and a constant.
pub(crate) const INPUTS: usize = GROUPS + 5;
/// The inputs of the guides.
pub(crate) const GUIDES: usize = GROUPS + 1;
/// Sets of weights by the bit, and by the kind of the byte before.
const PLACE_SETS: usize = 8 * 4;
/// Sets of weights in all.
const SETS: usize = MATCH_SETS + PLACE_SETS;
/// The constant input, as a logit.
const BIAS: i32 = 64;
/// How fast the weights learn.
const LEARNING: i32 = 6;

const _: () = assert!(WEIGHTS.len() == SETS * INPUTS, "priors.rs was trained for another model");

static STARTING_WEIGHTS: [[i32; INPUTS]; SETS] = starting_weights();

const fn starting_weights() -> [[i32; INPUTS]; SETS] {
    let mut weights = [[0; INPUTS]; SETS];
    let mut at = 0;
    while at < SETS * INPUTS {
        #[allow(clippy::indexing_slicing, reason = "both have as many elements; evaluated when compiled")]
        {
            weights[at / INPUTS][at % INPUTS] = (WEIGHTS[at] as i32) << 8;
        }
        at += 1;
    }
    weights
}

/// The text so far, and how the mixer weighs its inputs.
pub(crate) struct TextModel {
    history: Vec<u8>,
    triples: Chains,
    singles: Chains,
    candidates: Box<Candidates>,
    /// The chances of the slots from [`TEXT_SLOTS_FROM`], and one that never moves.
    chances: Box<[Probability; NO_SLOT + 1]>,
    /// By set and input.
    weights: Box<[[i32; INPUTS]; SETS]>,
    /// What the search has cost, and what it may cost by the base alone, in places tried.
    spent: usize,
    allowed: usize,
    /// Once the search has cost more than it may.
    stream: Option<Box<StreamModel>>,
}

/// For each hash, the places in the history behind which it was seen, the latest first.
struct Chains {
    /// The latest place, or 0.
    heads: Vec<u32>,
    /// How far before each place the one before it is; 0 ends a chain, as does a distance that does not fit.
    back: Vec<u16>,
}

/// A text that the new one may follow, and where in it the new one seems to be.
pub(crate) struct Guide<'g> {
    text: &'g [u8],
    at: usize,
    matched: usize,
    missed: usize,
    resume: usize,
}

impl TextModel {
    /// A model that has read the lexicon and the base.
    pub(crate) fn new(base: &Value) -> TextModel {
        let capacity = remembered("", base) + LEXICON.len() + ROOM;
        let mut history = Vec::with_capacity(capacity);
        history.extend_from_slice(LEXICON);
        remember(&mut history, "", base);
        TextModel {
            triples: Chains { heads: vec![0; 1 << HASH_BITS], back: Vec::with_capacity(capacity) },
            singles: Chains { heads: vec![0; 256], back: Vec::with_capacity(capacity) },
            candidates: Box::new(Candidates::none()),
            chances: Box::new(std::array::from_fn(|slot| Probability::starting(TEXT_SLOTS_FROM + slot))),
            weights: Box::new(STARTING_WEIGHTS),
            spent: 0,
            allowed: SEARCH_START + SEARCH_BY_BASE * (history.len() - LEXICON.len()),
            stream: None,
            history,
        }
    }

    /// The weights of the mixer, which training carries on.
    #[cfg(feature = "train")]
    pub(crate) fn mixer(&mut self) -> &mut [i32] {
        self.weights.as_flattened_mut()
    }

    /// Opens a text under a key, after what is known to stand before it.
    pub(crate) fn open(&mut self, key: &str, lead: &[u8]) {
        if self.history.len() >= HISTORY_MAX {
            return;
        }
        let key = remembered_key(key);
        make_room(&mut self.history, key.len() + 1 + lead.len());
        self.history.extend_from_slice(key);
        self.history.push(OF_KEY);
        self.history.extend_from_slice(lead);
    }

    /// One byte of the text, where `content` bytes of new content stand before it.
    pub(crate) fn byte<C: Coder>(
        &mut self,
        symbols: &mut Symbols<C>,
        byte: u8,
        guides: &mut [Guide<'_>; 2],
        content: usize,
    ) -> u8 {
        let gained = SEARCH_BY_NEW * content + SEARCH_BY_DELTA * symbols.coder.bytes();
        let left = (self.allowed + gained).saturating_sub(self.spent);
        if self.stream.is_none() && left == 0 {
            self.stream = Some(Box::new(StreamModel::new()));
        }
        let byte = match self.stream.take() {
            None => {
                self.index();
                self.find(&Effort::of(left));
                self.searched(symbols, byte, guides)
            }
            Some(mut stream) => {
                let byte = self.streamed(&mut stream, symbols, byte, &guides[0]);
                self.stream = Some(stream);
                byte
            }
        };
        make_room(&mut self.history, 1);
        self.history.push(byte);
        let window = if self.stream.is_none() { GUIDE_WINDOW } else { GUIDE_WINDOW_STREAM };
        for guide in guides {
            self.spent += guide.follow(byte, &self.history, window) / PAIRS_A_PLACE;
        }
        byte
    }

    fn searched<C: Coder>(&mut self, symbols: &mut Symbols<C>, byte: u8, guides: &[Guide<'_>; 2]) -> u8 {
        let previous = self.history.last().copied().unwrap_or(0);
        let mut node = 1;
        for bit in (0..8).rev() {
            let inputs = self.candidates.inputs(bit, node, guides, previous);
            let decision = self.mix(symbols, &inputs, byte >> bit & 1 == 1);
            self.candidates.keep(bit, decision);
            node = node << 1 | usize::from(decision);
        }
        (node & 255) as u8
    }

    fn streamed<C: Coder>(
        &mut self,
        stream: &mut StreamModel,
        symbols: &mut Symbols<C>,
        byte: u8,
        guide: &Guide<'_>,
    ) -> u8 {
        self.index();
        let history = self.history.as_slice();
        let by_match = self.triples.chain(hash(history, history.len())).next().and_then(|at| {
            let length = Ending::of(history).match_length(at);
            Some((history.get(at).copied()?, length)).filter(|_| length >= LONG_MATCH)
        });
        let last = history.last_chunk::<4>().copied().unwrap_or_default();
        stream.byte(&mut symbols.coder, byte, last, Expected::of(by_match, guide))
    }

    /// Codes one bit with the mixed chance of its inputs, and lets weights and slots learn.
    ///
    /// Two sets of weights mix the same inputs, each learns from its own error, and the mean of their logits counts.
    #[allow(clippy::indexing_slicing, reason = "sets are below SETS, slots at most NO_SLOT")]
    fn mix<C: Coder>(&mut self, symbols: &mut Symbols<C>, inputs: &Inputs, decision: bool) -> bool {
        let mut logits = [0i32; INPUTS];
        for (logit, slot) in logits.iter_mut().zip(inputs.slots) {
            *logit = stretch(self.chances[slot].yes);
        }
        logits[INPUTS - 1] = BIAS;
        let mixed = inputs.sets.map(|set| mixed(&self.weights[set], &logits));
        let chance = squash((mixed[0] + mixed[1]) >> 1);
        let decision = symbols.coder.decide(u32::from(chance), 16, decision);
        let target = if decision { 65535 } else { 0 };
        for (set, logit) in inputs.sets.into_iter().zip(mixed) {
            // At most 2047 * 65535 * 6: no overflow.
            let error = (target - i32::from(squash(logit))) * LEARNING;
            for (input, weight) in logits.iter().zip(&mut self.weights[set]) {
                *weight = weight.saturating_add((*input * error) >> 18);
            }
        }
        for slot in inputs.slots {
            if slot != NO_SLOT {
                symbols.coder.note(TEXT_SLOTS_FROM + slot, decision);
                self.chances[slot].learn(decision);
            }
        }
        decision
    }

    /// Enters the text since the last time.
    fn index(&mut self) {
        let new = self.history.len() - self.triples.back.len();
        make_room(&mut self.triples.back, new);
        make_room(&mut self.singles.back, new);
        for at in self.triples.back.len()..self.history.len() {
            let place = at as u32;
            self.triples.enter(hash(&self.history, at), place);
            self.singles.enter(self.history.get(at.wrapping_sub(1)).copied().map(usize::from), place);
        }
    }

    /// What followed where the last bytes stood before: first where three of them did, then where one did.
    fn find(&mut self, effort: &Effort) {
        let (history, candidates) = (self.history.as_slice(), &mut self.candidates);
        let ending = Ending::of(history);
        let mut tried = 0;
        candidates.clear();
        for at in self.triples.chain(hash(history, history.len())).take(effort.long_steps) {
            if candidates.count >= effort.long_max {
                break;
            }
            tried += 1;
            candidates.weigh(&ending, at, LONG_MATCH..=MATCH_MAX);
        }
        if candidates.count < effort.long_max {
            let last = history.last().copied().map(usize::from);
            for at in self.singles.chain(last).take(effort.short_steps) {
                if candidates.count >= effort.all_max {
                    break;
                }
                tried += 1;
                candidates.weigh(&ending, at, 0..=LONG_MATCH - 1);
            }
        }
        steps::took(SEARCH_BY_BYTE + tried);
        self.spent += SEARCH_BY_BYTE + tried;
    }
}

/// The logit that a set of weights makes of its inputs.
#[inline]
fn mixed(weights: &[i32; INPUTS], logits: &[i32; INPUTS]) -> i32 {
    let sum: i64 =
        logits.iter().zip(weights).map(|(logit, weight)| i64::from(*logit) * i64::from(*weight)).sum();
    (sum >> 16).clamp(i64::from(-LOGIT_MAX), i64::from(LOGIT_MAX)) as i32
}

/// Room for more, and for some after it: doubling a model that has read a large base would be most of what it takes.
fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more + list.len() / 8 + ROOM);
    }
}

/// A hash of the three bytes before a place, if there are three.
fn hash(history: &[u8], at: usize) -> Option<usize> {
    let [a, b, c] = <[u8; 3]>::try_from(history.get(at.checked_sub(3)?..at)?).ok()?;
    let sum = u32::from_be_bytes([0, a, b, c]).wrapping_mul(0x9E37_79B1);
    Some((sum >> (32 - HASH_BITS)) as usize)
}

impl Chains {
    fn enter(&mut self, hash: Option<usize>, place: u32) {
        let head = hash.and_then(|hash| self.heads.get_mut(hash));
        let earlier = head.map_or(0, |head| std::mem::replace(head, place));
        let back = if earlier == 0 { 0 } else { u16::try_from(place - earlier).unwrap_or(0) };
        self.back.push(back);
    }

    fn chain(&self, hash: Option<usize>) -> impl Iterator<Item = usize> {
        let head = hash.and_then(|hash| self.heads.get(hash)).copied().unwrap_or(0);
        std::iter::successors(Some(head as usize).filter(|head| *head > 0), |at| match self.back.get(*at) {
            Some(0) | None => None,
            Some(back) => at.checked_sub(usize::from(*back)),
        })
    }
}

/// What the history holds of a key.
fn remembered_key(key: &str) -> &[u8] {
    key.as_bytes().get(..KEY_BYTES_MAX).unwrap_or(key.as_bytes())
}

/// So much is remembered of the base at most: see [`remember`].
fn remembered(key: &str, value: &Value) -> usize {
    let length = match value {
        Value::Array(items) => items.iter().map(|item| remembered(key, item)).sum(),
        Value::Map(map) => map.iter().map(|(key, value)| remembered(key.name(), value)).sum(),
        leaf => {
            let text = leaf.as_text().map(str::as_bytes).or(leaf.as_bytes());
            remembered_key(key).len() + text.map_or(0, <[u8]>::len) + 2
        }
    };
    length.min(REMEMBERED_MAX)
}

/// The texts of the base, each behind its key.
fn remember(history: &mut Vec<u8>, key: &str, value: &Value) {
    match value {
        _ if history.len() >= REMEMBERED_MAX => {}
        Value::Array(items) => items.iter().for_each(|item| remember(history, key, item)),
        Value::Map(map) => map.iter().for_each(|(key, value)| remember(history, key.name(), value)),
        leaf => {
            history.extend_from_slice(remembered_key(key));
            if let Some(text) = leaf.as_text().map(str::as_bytes).or(leaf.as_bytes()) {
                history.push(OF_KEY);
                history.extend(text.iter().take(REMEMBERED_MAX - history.len().min(REMEMBERED_MAX)));
            }
            history.push(END);
        }
    }
}

impl<'g> Guide<'g> {
    /// A guide, which is followed from its first byte; an empty one predicts nothing.
    pub(crate) fn new(text: &'g [u8]) -> Guide<'g> {
        Guide { text, at: usize::from(text.is_empty()), matched: 0, missed: 0, resume: 0 }
    }

    /// The next byte by this guide, or the end.
    pub(crate) fn next(&self) -> Option<u8> {
        if self.at == self.text.len() { Some(END) } else { self.text.get(self.at).copied() }
    }

    /// How far it is to be trusted: by the length of the match, less once it missed.
    pub(crate) fn state(&self) -> usize {
        if self.missed == 0 { self.matched.min(7) } else { 8 + self.matched.min(3) }
    }

    /// Moves on behind a byte of the text. Returns how many pairs were looked at to find the way back.
    fn follow(&mut self, byte: u8, history: &[u8], window: usize) -> usize {
        if self.next() == Some(byte) {
            self.matched += 1;
        } else {
            if self.matched > 0 {
                self.resume = self.at;
            }
            self.matched = 0;
            self.missed += 1;
        }
        self.at += 1;
        if self.matched > 0 {
            return 0;
        }
        let Some(last) = history.last_chunk::<2>() else { return 0 };
        let ahead = self.text.get(self.resume..).unwrap_or_default();
        let ahead = ahead.get(..window + 1).unwrap_or(ahead);
        let found = ahead.windows(2).position(|pair| pair == last);
        if let Some(found) = found {
            self.at = self.resume + found + 2;
            self.matched = 1;
        }
        found.map_or(ahead.len().saturating_sub(1), |found| found + 1)
    }
}
