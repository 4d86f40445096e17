//! What followed where the last bytes of a text stood before: counted, and turned into the inputs of the mixer.

use crate::matching::{GUIDES, Guide, INPUTS};
use crate::slots::{TEXT_BYTE, TEXT_GROUP, TEXT_GUIDE_A, TEXT_GUIDE_B, TEXT_LONGEST};

/// A match is measured up to here.
pub(crate) const MATCH_MAX: usize = 20;
/// Groups of candidates by the length of their match.
pub(crate) const GROUPS: usize = 6;
/// The input of the longest match.
const LONGEST: usize = GROUPS;
/// The input of the byte alone.
const ALONE: usize = GROUPS + 3;
/// Sets of weights by the longest group, and by what the first guide predicts.
pub(crate) const MATCH_SETS: usize = (GROUPS + 1) * 3;
/// Where the slots of the text model begin.
pub(crate) const TEXT_SLOTS_FROM: usize = TEXT_GROUP;
/// The slot of an input without information, counted from there: behind all others.
pub(crate) const NO_SLOT: usize = TEXT_BYTE + 4 * 256 - TEXT_SLOTS_FROM;

/// More kinds of candidates than places are ever taken.
const KINDS_MAX: usize = 512;

/// Places where the bytes before stood already: those of one group that the same byte followed are counted.
pub(crate) struct Candidates {
    /// By group and byte: where in `kinds` it is, plus one; 0 where it is not.
    at: [[u16; 256]; GROUPS],
    /// Those that agree with the bits so far stand first.
    kinds: [CandidateKind; KINDS_MAX],
    /// How many kinds there are, and how many of them agree.
    all: usize,
    alive: usize,
    /// How many places there are.
    pub(crate) count: usize,
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

/// Slots that inform on the next bit, from [`TEXT_SLOTS_FROM`], and the weights to mix them with.
pub(crate) struct Inputs {
    pub(crate) slots: [usize; INPUTS - 1],
    pub(crate) sets: [usize; 2],
}

/// The last bytes of a history, which its earlier places are compared with.
pub(crate) struct Ending<'h> {
    history: &'h [u8],
    /// The last eight, the eight before them, and the eight before those.
    words: [Option<u64>; 3],
}

impl<'h> Ending<'h> {
    pub(crate) fn of(history: &'h [u8]) -> Ending<'h> {
        let word = |back: usize| eight_before(history, history.len().checked_sub(back)?);
        Ending { history, words: [word(0), word(8), word(16)] }
    }

    /// How many bytes before a place, up to [`MATCH_MAX`], are those at the end.
    #[inline]
    pub(crate) fn match_length(&self, at: usize) -> usize {
        let mut length = 0;
        for word in self.words {
            let before = at.checked_sub(length).and_then(|at| eight_before(self.history, at));
            let (Some(before), Some(last)) = (before, word) else { return self.match_length_at_start(at) };
            let same = ((before ^ last).leading_zeros() / 8) as usize;
            length += same;
            if same < 8 {
                break;
            }
        }
        length.min(MATCH_MAX)
    }

    /// The same where fewer bytes stand before.
    fn match_length_at_start(&self, at: usize) -> usize {
        let before = self.history.iter().take(at).rev().zip(self.history.iter().rev()).take(MATCH_MAX);
        before.take_while(|(a, b)| a == b).count()
    }
}

/// The eight bytes before a place, the last one highest.
#[inline]
fn eight_before(history: &[u8], at: usize) -> Option<u64> {
    let eight = history.get(at.checked_sub(8)?..at)?;
    Some(u64::from_le_bytes(eight.try_into().ok()?))
}

#[allow(
    clippy::indexing_slicing,
    reason = "groups are below GROUPS, places point into the kinds, of which there are fewer than places tried"
)]
impl Candidates {
    pub(crate) fn none() -> Candidates {
        Candidates {
            at: [[0; 256]; GROUPS],
            kinds: [CandidateKind { byte: 0, group: 0, count: 0 }; KINDS_MAX],
            all: 0,
            alive: 0,
            count: 0,
            longest: 0,
            longest_byte: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        for kind in &self.kinds[..self.all] {
            self.at[usize::from(kind.group)][usize::from(kind.byte)] = 0;
        }
        (self.all, self.alive) = (0, 0);
        (self.count, self.longest, self.longest_byte) = (0, 0, 0);
    }

    /// Takes a place if its match has one of these lengths.
    #[inline]
    pub(crate) fn weigh(&mut self, ending: &Ending<'_>, at: usize, lengths: std::ops::RangeInclusive<usize>) {
        let Some(next) = ending.history.get(at).copied() else { return };
        let length = ending.match_length(at);
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
            self.kinds[self.all] = CandidateKind { byte: next, group, count: 0 };
            self.all += 1;
            self.alive = self.all;
            *place = self.all as u16;
        }
        self.kinds[usize::from(*place) - 1].count += 1;
        if length > self.longest {
            (self.longest, self.longest_byte) = (length, next);
        }
    }

    /// The slots for the next bit, after those that led to `node`.
    #[inline]
    pub(crate) fn inputs(&self, bit: u32, node: usize, guides: &[Guide<'_>; 2], previous: u8) -> Inputs {
        let mut counts = [[0u32; 2]; GROUPS];
        for kind in &self.kinds[..self.alive] {
            counts[usize::from(kind.group)][usize::from(kind.byte >> bit & 1)] += u32::from(kind.count);
        }
        let mut slots = [NO_SLOT; INPUTS - 1];
        let (mut sum, mut best) = ([0u32; 2], 0);
        for group in (0..GROUPS).rev() {
            sum[0] += counts[group][0];
            sum[1] += counts[group][1];
            if sum[0] + sum[1] > 0 {
                best = best.max(group + 1);
                slots[group] = group * 64 + ratio(sum);
            }
        }
        let alive = |byte: u8| (usize::from(byte) | 256) >> (bit + 1) == node;
        let next = |byte: u8| usize::from(byte >> bit & 1);
        if self.longest > 0 && alive(self.longest_byte) {
            let slot = TEXT_LONGEST + self.longest.min(MATCH_MAX - 1) * 2 + next(self.longest_byte);
            slots[LONGEST] = slot - TEXT_SLOTS_FROM;
        }
        let mut trust = 0;
        for (which, (guide, slot)) in guides.iter().zip([TEXT_GUIDE_A, TEXT_GUIDE_B]).enumerate() {
            let Some(byte) = guide.next().filter(|byte| alive(*byte)) else { continue };
            let state = guide.state();
            slots[GUIDES + which] = slot + state * 2 + next(byte) - TEXT_SLOTS_FROM;
            if which == 0 {
                trust = if state == 0 || state >= 8 { 1 } else { 2 };
            }
        }
        let kind = kind(previous);
        slots[ALONE] = TEXT_BYTE + kind * 256 + node - TEXT_SLOTS_FROM;
        Inputs { slots, sets: [best * 3 + trust, MATCH_SETS + bit as usize * 4 + kind] }
    }

    /// Keeps those that agree with the bit.
    #[inline]
    pub(crate) fn keep(&mut self, bit: u32, decision: bool) {
        let mut at = 0;
        while at < self.alive {
            if (self.kinds[at].byte >> bit & 1 == 1) == decision {
                at += 1;
            } else {
                self.alive -= 1;
                self.kinds.swap(at, self.alive);
            }
        }
    }
}

/// How many candidates predict no and yes, in eight steps each; many of both count by their ratio.
#[inline]
fn ratio(counts: [u32; 2]) -> usize {
    const STEP: [u8; 64] = {
        let mut steps = [7; 64];
        let mut count = 0;
        while count < 20 {
            #[allow(clippy::indexing_slicing, reason = "evaluated when compiled")]
            {
                steps[count] = match count {
                    0..=2 => count as u8,
                    3..=4 => 3,
                    5..=7 => 4,
                    8..=12 => 5,
                    _ => 6,
                };
            }
            count += 1;
        }
        steps
    };
    let excess = u32::BITS - (counts[0].max(counts[1]) / 32).leading_zeros();
    let step = |count: u32| {
        let count = (count >> excess).max(u32::from(count > 0));
        usize::from(STEP.get(count as usize).copied().unwrap_or(7))
    };
    step(counts[0]) * 8 + step(counts[1])
}

/// Letters, digits, marks of this model, and the rest.
pub(crate) fn kind(byte: u8) -> usize {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | 128.. => 0,
        b'0'..=b'9' => 1,
        0..=2 => 2,
        _ => 3,
    }
}
