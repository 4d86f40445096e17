//! Counts, choices and numbers as decisions, and the chances that adapt while a delta is read.
//!
//! Each function codes one symbol: encoding, it writes the symbol it is given; decoding, it finds it and ignores what
//! it is given. Nothing here allocates, and every loop is bounded by its arguments.

use crate::DecodeError;
use crate::entropy::{Coder, squash};
use crate::priors::{LOGITS, UNKNOWN};
use crate::slots::{COUNT_TOP, SIGNED_SHARED, SIGNED_SIGN, SIGNED_TOP, SLOTS};

/// The chance of a yes, in 65536ths, and how sure it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probability {
    pub(crate) yes: u16,
    seen: u8,
}

/// No chance comes nearer to 0 or 65536.
const CHANCE_LEAST: i32 = 16;
/// What a trained chance counts for when it begins to adapt.
const TRAINED_SEEN: u8 = 10;
/// An untrained chance adapts at once.
const UNTRAINED_SEEN: u8 = 1;
/// From here on a chance adapts no slower.
const SEEN_MAX: u8 = 250;

/// Chances are copied in pages of so many, when the first of them adapts: a delta touches few.
const PAGE: usize = 64;
const PAGES: usize = SLOTS.div_ceil(PAGE);

static STARTING: [[Probability; PAGE]; PAGES] = starting_chances();

const fn starting_chances() -> [[Probability; PAGE]; PAGES] {
    let mut chances = [[Probability { yes: 1 << 15, seen: UNTRAINED_SEEN }; PAGE]; PAGES];
    let mut slot = 0;
    while slot < SLOTS {
        #[allow(
            clippy::indexing_slicing,
            reason = "both have SLOTS elements at least; evaluated when compiled"
        )]
        if LOGITS[slot] != UNKNOWN {
            chances[slot / PAGE][slot % PAGE] =
                Probability { yes: squash(LOGITS[slot] as i32 * 16), seen: TRAINED_SEEN };
        }
        slot += 1;
    }
    chances
}

/// The step towards a decision, in 65536ths of the way, by how much was seen: 2 / (2 seen + 3).
static STEPS: [u32; 256] = steps();

const fn steps() -> [u32; 256] {
    let mut steps = [0; 256];
    let mut seen = 0;
    while seen < 256 {
        #[allow(clippy::indexing_slicing, reason = "the loop ends at the length; evaluated when compiled")]
        {
            steps[seen] = (2 << 16) / (2 * seen as u32 + 3);
        }
        seen += 1;
    }
    steps
}

impl Probability {
    /// The chance of a slot at first; behind the last slot as likely yes as no.
    pub(crate) fn starting(slot: usize) -> Probability {
        let page = STARTING.get(slot / PAGE).and_then(|page| page.get(slot % PAGE)).filter(|_| slot < SLOTS);
        page.copied().unwrap_or(Probability { yes: 1 << 15, seen: UNTRAINED_SEEN })
    }

    #[inline]
    pub(crate) fn learn(&mut self, decision: bool) {
        let target = if decision { 65535 } else { 0 };
        let step = STEPS.get(usize::from(self.seen)).copied().unwrap_or(0);
        let way = (i64::from(target - i32::from(self.yes)) * i64::from(step)) >> 16;
        self.yes = (i32::from(self.yes) + way as i32).clamp(CHANCE_LEAST, 65536 - CHANCE_LEAST) as u16;
        if self.seen < SEEN_MAX {
            self.seen += 1;
        }
    }
}

/// The chances of every slot: as they start, until they adapt.
struct Chances {
    /// For each page, its number among the touched ones plus one, or 0.
    pages: [u16; PAGES],
    touched: Vec<[Probability; PAGE]>,
}

#[allow(
    clippy::indexing_slicing,
    reason = "slots are constants below SLOTS; pages point into the touched ones"
)]
impl Chances {
    fn new() -> Chances {
        Chances { pages: [0; PAGES], touched: Vec::with_capacity(24) }
    }

    #[inline]
    fn get(&self, slot: usize) -> Probability {
        match usize::from(self.pages[slot / PAGE]) {
            0 => STARTING[slot / PAGE][slot % PAGE],
            page => self.touched[page - 1][slot % PAGE],
        }
    }

    #[inline]
    fn get_mut(&mut self, slot: usize) -> &mut Probability {
        let page = &mut self.pages[slot / PAGE];
        if *page == 0 {
            self.touched.push(STARTING[slot / PAGE]);
            *page = self.touched.len() as u16;
        }
        &mut self.touched[usize::from(*page) - 1][slot % PAGE]
    }
}

/// A coder and the chances of every slot.
pub(crate) struct Symbols<C> {
    pub(crate) coder: C,
    chances: Chances,
}

/// Classes of a count: beyond 2^24 nothing is counted.
const COUNT_CLASSES: usize = 24;
/// Bits of a signed number's class.
const CLASS_BITS: u32 = 7;
/// The largest class of a signed number: differences of any two integers or floats fit.
const CLASS_MAX: usize = 79;
/// The scale of chances that are worked out rather than learned.
const FINE: u32 = 24;

impl<C: Coder> Symbols<C> {
    pub(crate) fn new(coder: C) -> Symbols<C> {
        Symbols { coder, chances: Chances::new() }
    }

    #[inline]
    fn learn(&mut self, slot: usize, decision: bool) {
        self.coder.note(slot, decision);
        self.chances.get_mut(slot).learn(decision);
    }

    /// One decision with the chance of its slot.
    #[inline]
    pub(crate) fn bit(&mut self, slot: usize, decision: bool) -> bool {
        let decision = self.coder.decide(u32::from(self.chances.get(slot).yes), 16, decision);
        self.learn(slot, decision);
        decision
    }

    /// Bits as likely one as zero.
    fn raw(&mut self, bits: u32, value: u128) -> u128 {
        (0..bits)
            .rev()
            .fold(0, |sum, bit| sum << 1 | u128::from(self.coder.decide(1, 1, value >> bit & 1 == 1)))
    }

    /// A number of so many bits, each with a chance of its own in a tree of `1 << bits` slots.
    pub(crate) fn tree(&mut self, slot: usize, bits: u32, value: usize) -> usize {
        let node = (0..bits)
            .rev()
            .fold(1, |node, bit| node << 1 | usize::from(self.bit(slot + node, value >> bit & 1 == 1)));
        node - (1 << bits)
    }

    /// A count: small ones are short (Exp-Golomb with learned classes).
    pub(crate) fn count(&mut self, slot: usize, value: usize) -> usize {
        let class_given = (value + 1).ilog2() as usize;
        let mut class = 0;
        while class < COUNT_CLASSES && self.bit(slot + class, class < class_given) {
            class += 1;
        }
        if class == 0 {
            return 0;
        }
        let below = (value + 1).wrapping_sub(1 << class);
        let top = self.bit(slot + COUNT_TOP + class, below >> (class - 1) & 1 == 1);
        let rest = self.raw(class as u32 - 1, (below & ((1 << (class - 1)) - 1)) as u128) as usize;
        (1 << class) + (usize::from(top) << (class - 1) | rest) - 1
    }

    /// One of `n` equally likely numbers, at least one.
    pub(crate) fn uniform(&mut self, n: usize, value: usize) -> usize {
        let (mut low, mut high) = (0, n);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let yes = ((high - middle) as u64) << FINE;
            if self.coder.decide((yes / (high - low) as u64) as u32, FINE, value >= middle) {
                low = middle
            } else {
                high = middle
            }
        }
        low
    }

    /// A signed number: its bit length, its sign, the two bits below the highest, then the rest as they are.
    pub(crate) fn signed(&mut self, slot: usize, value: i128) -> Result<i128, DecodeError> {
        let size = value.unsigned_abs();
        let class = self.tree(slot, CLASS_BITS, (u128::BITS - size.leading_zeros()) as usize);
        if class == 0 {
            return Ok(0);
        }
        if class > CLASS_MAX {
            return Err(DecodeError::Number);
        }
        let negative = self.bit(slot + SIGNED_SIGN + class.min(SIGNED_SHARED), value < 0);
        let below = class as u32 - 1;
        let top_bits = below.min(2);
        let low_bits = below - top_bits;
        let top = self.tree(
            slot + SIGNED_TOP + class.min(SIGNED_SHARED) * 4 - 4,
            top_bits,
            (size >> low_bits) as usize & ((1 << top_bits) - 1),
        );
        let rest = self.raw(low_bits, size & ((1 << low_bits) - 1));
        let size = (1 << below | (top as u128) << low_bits | rest) as i128;
        Ok(if negative { -size } else { size })
    }

    /// Which `k` of `n` places, each as likely as its weight. Decoding does not call `chosen`.
    pub(crate) fn pick(
        &mut self,
        k: usize,
        n: usize,
        weight: impl Fn(usize) -> u32,
        chosen: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut total: u64 = (0..n).map(|at| u64::from(weight(at))).sum();
        let mut picked = Vec::with_capacity(k.min(n));
        for at in 0..n {
            let left = k - picked.len();
            if left == 0 {
                break;
            }
            let weight = u64::from(weight(at));
            if left >= n - at
                || self.coder.decide(
                    pick_chance(left as u64 * weight, total),
                    FINE,
                    C::ENCODING && chosen(at),
                )
            {
                picked.push(at);
            }
            total -= weight;
        }
        picked
    }
}

/// The chance of a place whose weight, times the picks left, is `part` of the total; never quite nothing or all.
fn pick_chance(part: u64, total: u64) -> u32 {
    let chance = (u128::from(part) << FINE) / u128::from(total.max(1));
    chance.clamp(1 << 6, (1 << FINE) - (1 << 16)) as u32
}
