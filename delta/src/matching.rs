//! New text, encoded byte by byte with what followed the same bytes before: in the base, in this delta, and in a short
//! lexicon for a first snapshot.
//!
//! For each byte the places are found where the bytes before it stood already; what followed there, what a guide (the
//! old text, a sibling's text) predicts, and which bytes are common at all are mixed into the chance of each of its
//! eight bits. The index is built only when a literal is due. The first bytes of new text in a delta are searched for
//! with the most effort, since most deltas have few; behind [`THOROUGH_BYTES`] fewer places are tried, and a byte costs a
//! quarter.

use crate::Value;
use crate::entropy::{Coder, LOGIT_MAX, squash, stretch};
use crate::priors::WEIGHTS;
use crate::slots::{TEXT_BYTE, TEXT_GROUP, TEXT_GUIDE_A, TEXT_GUIDE_B, TEXT_LONGEST};
use crate::symbols::Symbols;

/// The byte that ends a text.
pub(crate) const END: u8 = 0;
/// Announces that the next byte stands for one of the first two.
pub(crate) const ESCAPE: u8 = 1;
/// Stands between a key and its text.
const OF_KEY: u8 = 2;

/// Words that documents about machines and services share. Read before the base, so that a first snapshot is not
/// encoded letter by letter.
const LEXICON: &[u8] = include_bytes!("lexicon.txt");

/// Of the base, and of what stands before it, so many bytes are remembered: with the index, five times that in memory.
const REMEMBERED_MAX: usize = 64 * 1024;

/// Room for the new text of most deltas, so that nothing that large is moved for a few bytes.
const ROOM: usize = 2048;

/// How far is looked for places where the bytes before stood already.
struct Effort {
    /// Places tried where three bytes are the same, and how many of them are taken.
    long_steps: usize,
    long_max: usize,
    /// Where so many were taken, no others are looked for.
    long_enough: usize,
    /// Places tried where one byte is the same, and how many are taken in all.
    short_steps: usize,
    all_max: usize,
}

const THOROUGH: Effort =
    Effort { long_steps: 200, long_max: 100, long_enough: 100, short_steps: 250, all_max: 310 };
const BRISK: Effort = Effort { long_steps: 24, long_max: 16, long_enough: 8, short_steps: 16, all_max: 24 };
/// So many bytes of a delta are encoded with the thorough search.
const THOROUGH_BYTES: usize = 4096;

/// A match is measured up to here.
const MATCH_MAX: usize = 20;
/// A guide is searched so far ahead for the place where the text goes on.
const GUIDE_WINDOW: usize = 256;

const HASH_BITS: u32 = 12;
/// Groups of candidates by the length of their match.
const GROUPS: usize = 6;
/// Inputs of the mixer: one a group, the longest match, two guides, the byte alone, and a constant.
const INPUTS: usize = GROUPS + 5;
const LONGEST: usize = GROUPS;
const GUIDES: usize = GROUPS + 1;
const ALONE: usize = GROUPS + 3;
/// Sets of weights by the longest group, and by what the first guide predicts.
const MATCH_SETS: usize = (GROUPS + 1) * 3;
/// Sets of weights by the bit, and by the kind of the byte before.
const PLACE_SETS: usize = 8 * 4;
/// Sets of weights in all.
const SETS: usize = MATCH_SETS + PLACE_SETS;
/// The constant input, as a logit.
const BIAS: i32 = 64;
/// How fast the weights learn.
const LEARNING: i32 = 6;
/// The index of no slot.
const NONE: usize = usize::MAX;

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
    /// By set and input.
    weights: Box<[[i32; INPUTS]; SETS]>,
    /// Bytes coded so far.
    coded: usize,
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

/// Places where the bytes before stood already: those of one group that the same byte followed are counted.
struct Candidates {
    /// By group and byte: where in `kinds` it is, plus one; 0 where it is not.
    at: [[u16; 256]; GROUPS],
    kinds: Vec<CandidateKind>,
    /// How many places there are.
    count: usize,
    /// Length of the longest match, and what followed it.
    longest: usize,
    longest_byte: u8,
}

#[derive(Clone, Copy)]
struct CandidateKind {
    byte: u8,
    group: u8,
    count: u16,
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
            history,
            candidates: Box::new(Candidates::none()),
            coded: 0,
            weights: Box::new(STARTING_WEIGHTS),
        }
    }

    /// The weights of the mixer, which training carries on.
    #[cfg(feature = "train")]
    pub(crate) fn mixer(&mut self) -> &mut [i32] {
        self.weights.as_flattened_mut()
    }

    /// Opens a text under a key, after what is known to stand before it.
    pub(crate) fn open(&mut self, key: &str, lead: &[u8]) {
        make_room(&mut self.history, key.len() + 1 + lead.len());
        self.history.extend_from_slice(key.as_bytes());
        self.history.push(OF_KEY);
        self.history.extend_from_slice(lead);
    }

    /// One byte of the text.
    pub(crate) fn byte<C: Coder>(
        &mut self,
        symbols: &mut Symbols<C>,
        byte: u8,
        guides: &mut [Guide<'_>; 2],
    ) -> u8 {
        self.index();
        self.find();
        let previous = self.history.last().copied().unwrap_or(0);
        let mut node = 1;
        for bit in (0..8).rev() {
            let inputs = self.candidates.inputs(bit, node, guides, previous);
            let decision = self.mix(symbols, &inputs, byte >> bit & 1 == 1);
            self.candidates.keep(bit, decision);
            node = node << 1 | usize::from(decision);
        }
        let byte = (node & 255) as u8;
        make_room(&mut self.history, 1);
        self.history.push(byte);
        self.coded += 1;
        guides.iter_mut().for_each(|guide| guide.follow(byte, &self.history));
        byte
    }

    /// Codes one bit with the mixed chance of its inputs, and lets weights and slots learn.
    ///
    /// Two sets of weights mix the same inputs, each learns from its own error, and the mean of their logits counts.
    fn mix<C: Coder>(&mut self, symbols: &mut Symbols<C>, inputs: &Inputs, decision: bool) -> bool {
        let mut logits = [0i32; INPUTS];
        for (logit, slot) in logits.iter_mut().zip(inputs.slots) {
            if slot != NONE {
                *logit = stretch(symbols.chance(slot));
            }
        }
        logits[INPUTS - 1] = BIAS;
        let mixed = inputs.sets.map(|set| self.mixed(set, &logits));
        let chance = squash((mixed[0] + mixed[1]) >> 1);
        let decision = symbols.coder.decide(u32::from(chance), 16, decision);
        for (set, logit) in inputs.sets.into_iter().zip(mixed) {
            // At most 2047 * 65535 * 6: no overflow.
            let error = (if decision { 65535 } else { 0 } - i32::from(squash(logit))) * LEARNING;
            for (input, weight) in logits.iter().zip(self.set(set)) {
                *weight = weight.saturating_add((*input * error) >> 18);
            }
        }
        for slot in inputs.slots {
            if slot != NONE {
                symbols.learn(slot, decision);
            }
        }
        decision
    }

    /// The logit that a set of weights makes of its inputs.
    #[inline]
    fn mixed(&mut self, set: usize, logits: &[i32; INPUTS]) -> i32 {
        let weights = self.set(set).iter();
        let sum: i64 =
            logits.iter().zip(weights).map(|(logit, weight)| i64::from(*logit) * i64::from(*weight)).sum();
        (sum >> 16).clamp(i64::from(-LOGIT_MAX), i64::from(LOGIT_MAX)) as i32
    }

    #[allow(clippy::indexing_slicing, reason = "sets are below SETS")]
    #[inline]
    fn set(&mut self, set: usize) -> &mut [i32; INPUTS] {
        &mut self.weights[set]
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
    fn find(&mut self) {
        let effort = if self.coded < THOROUGH_BYTES { &THOROUGH } else { &BRISK };
        let (history, candidates) = (self.history.as_slice(), &mut self.candidates);
        candidates.clear();
        for at in self.triples.chain(hash(history, history.len())).take(effort.long_steps) {
            if candidates.count >= effort.long_max {
                break;
            }
            candidates.weigh(history, at, 3..=MATCH_MAX);
        }
        if candidates.count < effort.long_enough {
            let last = history.last().copied().map(usize::from);
            for at in self.singles.chain(last).take(effort.short_steps) {
                if candidates.count >= effort.all_max {
                    break;
                }
                candidates.weigh(history, at, 0..=2);
            }
        }
    }
}

/// Room for more, and for some after it: doubling a model that has read a large base would be most of what it takes.
fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more + list.len() / 8 + ROOM);
    }
}

/// How many bytes before a place, up to [`MATCH_MAX`], are those at the end.
fn match_length(history: &[u8], at: usize) -> usize {
    let mut length = 0;
    while length < MATCH_MAX {
        let (before, last) =
            (eight_before(history, at - length), eight_before(history, history.len() - length));
        let (Some(before), Some(last)) = (before, last) else {
            let before = history.iter().take(at).rev().zip(history.iter().rev()).take(MATCH_MAX);
            return before.take_while(|(a, b)| a == b).count();
        };
        let same = ((before ^ last).leading_zeros() / 8) as usize;
        length += same;
        if same < 8 {
            break;
        }
    }
    length.min(MATCH_MAX)
}

/// The eight bytes before a place, the last one highest.
fn eight_before(history: &[u8], at: usize) -> Option<u64> {
    let eight = history.get(at.checked_sub(8)?..at)?;
    Some(u64::from_le_bytes(eight.try_into().ok()?))
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

/// So much is remembered of the base at most: see [`remember`].
fn remembered(key: &str, value: &Value) -> usize {
    let length = match value {
        Value::Array(items) => items.iter().map(|item| remembered(key, item)).sum(),
        Value::Map(map) => map.iter().map(|(key, value)| remembered(key.name(), value)).sum(),
        leaf => {
            let text = leaf.as_text().map(str::as_bytes).or(leaf.as_bytes());
            key.len() + text.map_or(0, <[u8]>::len) + 2
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
            history.extend_from_slice(key.as_bytes());
            if let Some(text) = leaf.as_text().map(str::as_bytes).or(leaf.as_bytes()) {
                history.push(OF_KEY);
                history.extend(text.iter().take(REMEMBERED_MAX - history.len().min(REMEMBERED_MAX)));
            }
            history.push(END);
        }
    }
}

/// Slots that inform on the next bit, and the weights to mix them with.
struct Inputs {
    slots: [usize; INPUTS - 1],
    sets: [usize; 2],
}

#[allow(
    clippy::indexing_slicing,
    reason = "groups are below GROUPS, places point into the kinds, inputs are constants"
)]
impl Candidates {
    fn none() -> Candidates {
        Candidates { at: [[0; 256]; GROUPS], kinds: Vec::new(), count: 0, longest: 0, longest_byte: 0 }
    }

    fn clear(&mut self) {
        // What was dropped on the way has left its mark too.
        self.at = [[0; 256]; GROUPS];
        self.kinds.clear();
        (self.count, self.longest, self.longest_byte) = (0, 0, 0);
    }

    /// Takes a place if its match has one of these lengths.
    fn weigh(&mut self, history: &[u8], at: usize, lengths: std::ops::RangeInclusive<usize>) {
        let Some(next) = history.get(at).copied() else { return };
        let length = match_length(history, at);
        if !lengths.contains(&length) {
            return;
        }
        let group = match length {
            0..=1 => 0,
            2 => 1,
            3 => 2,
            4..=5 => 3,
            6..=8 => 4,
            _ => 5,
        };
        self.count += 1;
        let place = &mut self.at[usize::from(group)][usize::from(next)];
        if *place == 0 {
            self.kinds.push(CandidateKind { byte: next, group, count: 0 });
            *place = self.kinds.len() as u16;
        }
        self.kinds[usize::from(*place) - 1].count += 1;
        if length > self.longest {
            (self.longest, self.longest_byte) = (length, next);
        }
    }

    /// The slots for the next bit, after those that led to `node`.
    fn inputs(&self, bit: u32, node: usize, guides: &[Guide<'_>; 2], previous: u8) -> Inputs {
        let mut counts = [[0u32; 2]; GROUPS];
        for kind in &self.kinds {
            counts[usize::from(kind.group)][usize::from(kind.byte >> bit & 1)] += u32::from(kind.count);
        }
        let mut slots = [NONE; INPUTS - 1];
        let (mut sum, mut best) = ([0u32; 2], 0);
        for group in (0..GROUPS).rev() {
            sum[0] += counts[group][0];
            sum[1] += counts[group][1];
            if sum[0] + sum[1] > 0 {
                best = best.max(group + 1);
                slots[group] = TEXT_GROUP + group * 64 + steps(sum);
            }
        }
        let alive = |byte: u8| (usize::from(byte) | 256) >> (bit + 1) == node;
        let next = |byte: u8| usize::from(byte >> bit & 1);
        if self.longest > 0 && alive(self.longest_byte) {
            slots[LONGEST] = TEXT_LONGEST + self.longest.min(MATCH_MAX - 1) * 2 + next(self.longest_byte);
        }
        let mut trust = 0;
        for (which, (guide, slot)) in guides.iter().zip([TEXT_GUIDE_A, TEXT_GUIDE_B]).enumerate() {
            let Some(byte) = guide.next().filter(|byte| alive(*byte)) else { continue };
            let state = guide.state();
            slots[GUIDES + which] = slot + state * 2 + next(byte);
            if which == 0 {
                trust = if state == 0 || state >= 8 { 1 } else { 2 };
            }
        }
        slots[ALONE] = TEXT_BYTE + kind(previous) * 256 + node;
        Inputs { slots, sets: [best * 3 + trust, MATCH_SETS + bit as usize * 4 + kind(previous)] }
    }

    /// Keeps those that agree with the bit.
    fn keep(&mut self, bit: u32, decision: bool) {
        self.kinds.retain(|kind| (kind.byte >> bit & 1 == 1) == decision);
    }
}

/// How many candidates predict no and yes, in eight steps each; many of both count by their ratio.
fn steps(counts: [u32; 2]) -> usize {
    let excess = u32::BITS - (counts[0].max(counts[1]) / 32).leading_zeros();
    let step = |count: u32| match (count >> excess).max(u32::from(count > 0)) {
        count @ 0..=2 => count as usize,
        3..=4 => 3,
        5..=7 => 4,
        8..=12 => 5,
        13..=19 => 6,
        _ => 7,
    };
    step(counts[0]) * 8 + step(counts[1])
}

/// Letters, digits, marks of this model, and the rest.
fn kind(byte: u8) -> usize {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | 128.. => 0,
        b'0'..=b'9' => 1,
        0..=2 => 2,
        _ => 3,
    }
}

impl<'g> Guide<'g> {
    /// A guide, which is followed from its first byte; an empty one predicts nothing.
    pub(crate) fn new(text: &'g [u8]) -> Guide<'g> {
        Guide { text, at: usize::from(text.is_empty()), matched: 0, missed: 0, resume: 0 }
    }

    /// The next byte by this guide, or the end.
    fn next(&self) -> Option<u8> {
        if self.at == self.text.len() { Some(END) } else { self.text.get(self.at).copied() }
    }

    /// How far it is to be trusted: by the length of the match, less once it missed.
    fn state(&self) -> usize {
        if self.missed == 0 { self.matched.min(7) } else { 8 + self.matched.min(3) }
    }

    fn follow(&mut self, byte: u8, history: &[u8]) {
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
        if self.matched == 0
            && let Some(last) = history.last_chunk::<2>()
        {
            let ahead = self
                .text
                .iter()
                .skip(self.resume)
                .zip(self.text.iter().skip(self.resume + 1))
                .take(GUIDE_WINDOW);
            if let Some(found) = ahead.into_iter().position(|(a, b)| [*a, *b] == *last) {
                self.at = self.resume + found + 2;
                self.matched = 1;
            }
        }
    }
}
