//! Long new text, encoded byte by byte by the bytes before it alone.
//!
//! Where the search of [`matching`](crate::matching) has used up what base and content allow, this model goes on: a few
//! contexts of fixed length, the latest place behind the same three bytes and the first guide, mixed. A byte takes a
//! tenth of what a searched one takes, whatever stands in the history.

use crate::candidates::MATCH_MAX;
use crate::entropy::{Coder, LOGIT_MAX, squash, stretch};
use crate::matching::Guide;
use crate::steps;

/// One to each 16 bits of a context's hash.
const CELLS: usize = 1 << 16;
/// Contexts: the last byte, the last two, the last four.
const ORDERS: usize = 3;
/// Inputs of the mixer: the contexts, the latest match, the guide, a constant.
const INPUTS: usize = ORDERS + 3;
const MATCH: usize = ORDERS;
const GUIDE: usize = ORDERS + 1;
/// The constant input, as a logit.
const BIAS: i32 = 64;
/// The weight of an input at first, in 65536ths.
const WEIGHT_START: i32 = 24_000;
/// How fast the weights learn.
const LEARNING: i32 = 12;
/// A cell of a context adapts no slower than behind so many bits.
const CELL_SEEN_MAX: u16 = 14;
/// A cell of a match or guide adapts no slower than behind so many bits.
const TRUST_SEEN_MAX: u16 = 15;
/// States of a guide.
const GUIDE_STATES: usize = 12;

/// A chance of yes: the 12 highest bits, in 4096ths; below it how many bits it has seen. Zero is a fresh one.
#[derive(Clone, Copy, Default)]
struct Cell(u16);

impl Cell {
    /// The chance in 65536ths. A fresh cell is as likely yes as no: the highest bit is stored the other way round.
    #[inline]
    fn chance(self) -> u16 {
        (self.0 ^ 0x8000) & 0xfff0
    }

    #[inline]
    fn learn(&mut self, decision: bool, seen_max: u16) {
        let seen = self.0 & 15;
        let target = if decision { 65_535 } else { 0 };
        let step = (2 << 16) / (2 * i32::from(seen) + 3);
        let chance = i32::from(self.chance());
        // At most 65535 * 43690: beyond 31 bits.
        let way = (i64::from(target - chance) * i64::from(step)) >> 16;
        let chance = (chance + way as i32).clamp(16, 65_520) as u16;
        self.0 = ((chance & 0xfff0) ^ 0x8000) | (seen + 1).min(seen_max);
    }
}

/// The contexts so far, and how the mixer weighs its inputs.
pub(crate) struct StreamModel {
    /// By order and hash.
    cells: [Vec<Cell>; ORDERS],
    /// Whether the latest match is right, by its length; whether the guide is, by its state.
    matches: [Cell; MATCH_MAX + 1],
    guides: [Cell; GUIDE_STATES],
    /// By whether a match and the guide agree with the bits so far.
    weights: [[i32; INPUTS]; 4],
}

/// What the next byte is expected to be.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// The byte behind the latest place with the same three bytes before it, and the length of that match.
    pub(crate) by_match: Option<(u8, usize)>,
    /// The byte that the guide predicts, and its state.
    pub(crate) by_guide: Option<(u8, usize)>,
}

impl Expected {
    pub(crate) fn of(by_match: Option<(u8, usize)>, guide: &Guide<'_>) -> Expected {
        Expected { by_match, by_guide: guide.next().map(|byte| (byte, guide.state())) }
    }
}

impl StreamModel {
    pub(crate) fn new() -> StreamModel {
        StreamModel {
            cells: std::array::from_fn(|_| vec![Cell::default(); CELLS]),
            matches: [Cell::default(); MATCH_MAX + 1],
            guides: [Cell::default(); GUIDE_STATES],
            weights: [[WEIGHT_START; INPUTS]; 4],
        }
    }

    /// One byte behind the last four.
    pub(crate) fn byte<C: Coder>(
        &mut self,
        coder: &mut C,
        byte: u8,
        last: [u8; 4],
        expected: Expected,
    ) -> u8 {
        // Beside the decisions.
        steps::took(80);
        let [.., b, a] = last;
        let hashes =
            [u32::from(a), u32::from(u16::from_be_bytes([b, a])) + 0x1_0000, u32::from_be_bytes(last)]
                .map(|context| context.wrapping_mul(0x9E37_79B1));
        let mut node = 1usize;
        for bit in (0..8).rev() {
            let places = hashes.map(|hash| ((hash ^ (node as u32).wrapping_mul(0x2545_F491)) >> 16) as usize);
            let decision = self.bit(coder, byte >> bit & 1 == 1, (bit, node), places, expected);
            node = node << 1 | usize::from(decision);
        }
        (node & 255) as u8
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "places have 16 bits; lengths, states and sets are below their maxima"
    )]
    #[inline]
    fn bit<C: Coder>(
        &mut self,
        coder: &mut C,
        decision: bool,
        (bit, node): (u32, usize),
        places: [usize; ORDERS],
        expected: Expected,
    ) -> bool {
        let alive = |by: Option<(u8, usize)>| {
            by.filter(|(byte, _)| (usize::from(*byte) | 256) >> (bit + 1) == node)
                .map(|(byte, state)| (byte >> bit & 1 == 1, state))
        };
        let (by_match, by_guide) = (alive(expected.by_match), alive(expected.by_guide));
        let mut logits = [0i32; INPUTS];
        for ((logit, cells), place) in logits.iter_mut().zip(&self.cells).zip(places) {
            *logit = stretch(cells[place].chance());
        }
        let signed = |logit: i32, yes: bool| if yes { logit } else { -logit };
        if let Some((yes, length)) = by_match {
            logits[MATCH] = signed(stretch(self.matches[length].chance()), yes);
        }
        if let Some((yes, state)) = by_guide {
            logits[GUIDE] = signed(stretch(self.guides[state].chance()), yes);
        }
        logits[INPUTS - 1] = BIAS;
        let set = usize::from(by_match.is_some()) + 2 * usize::from(by_guide.is_some());
        let weights = &mut self.weights[set];
        let sum: i64 = logits.iter().zip(weights.iter()).map(|(l, w)| i64::from(*l) * i64::from(*w)).sum();
        let mixed = (sum >> 16).clamp(i64::from(-LOGIT_MAX), i64::from(LOGIT_MAX)) as i32;
        let chance = squash(mixed);
        let decision = coder.decide(u32::from(chance), 16, decision);
        // At most 2047 * 65535 * 12: no overflow.
        let error = (if decision { 65_535 } else { 0 } - i32::from(chance)) * LEARNING;
        for (logit, weight) in logits.iter().zip(weights.iter_mut()) {
            *weight = weight.saturating_add((*logit * error) >> 18);
        }
        for (cells, place) in self.cells.iter_mut().zip(places) {
            cells[place].learn(decision, CELL_SEEN_MAX);
        }
        if let Some((yes, length)) = by_match {
            self.matches[length].learn(yes == decision, TRUST_SEEN_MAX);
        }
        if let Some((yes, state)) = by_guide {
            self.guides[state].learn(yes == decision, TRUST_SEEN_MAX);
        }
        decision
    }
}
