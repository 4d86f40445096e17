//! Which radio hears which, how well, and how much is lost between them.

use std::collections::BTreeMap;

use super::EmulatedRadioId;
use crate::split_mix::SplitMix64;

/// How much of what one radio sends another does not get, collisions apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Frames lost each for itself, per million.
    pub single_per_million: u32,
    /// Frames after which a burst begins, per million (Gilbert and Elliott); all frames of a burst are lost.
    pub burst_begins_per_million: u32,
    /// Frames of a burst with which it ends, per million.
    pub burst_ends_per_million: u32,
    /// Bits that go wrong, each for itself, per million: a frame with one of them is lost, so long ones more often.
    pub bit_errors_per_million: u32,
}

impl Loss {
    /// A way on which nothing is lost.
    pub const NONE: Loss = Loss {
        single_per_million: 0,
        burst_begins_per_million: 0,
        burst_ends_per_million: 1_000_000,
        bit_errors_per_million: 0,
    };

    /// So many wrong bits in a million. At 2,000 (2e-3) of frames of 255 bytes two in a hundred arrive, of 64 bytes one in three.
    pub const fn bit_errors(per_million: u32) -> Self {
        Loss { bit_errors_per_million: per_million, ..Loss::NONE }
    }

    /// So many frames in a thousand, each for itself.
    pub const fn single(permille: u32) -> Self {
        Loss { single_per_million: permille * 1_000, ..Loss::NONE }
    }

    /// So many frames in a thousand (below 1000), in bursts of so many on average.
    pub fn bursts(permille: u32, frames: u32) -> Self {
        let lost = u64::from(permille.min(999));
        let ends = 1_000_000 / u64::from(frames.max(1));
        // In the long run: time in bursts / time outside = begins / ends.
        let begins = ends * lost / (1_000 - lost);
        Loss {
            single_per_million: 0,
            burst_begins_per_million: begins.min(1_000_000) as u32,
            burst_ends_per_million: ends as u32,
            ..Loss::NONE
        }
    }
}

/// Where a radio stands, metres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Metres to the east of the origin.
    pub x_m: i32,
    /// Metres to the north of the origin.
    pub y_m: i32,
}

impl Position {
    fn distance_squared(self, other: Position) -> u64 {
        let (dx, dy) =
            (i64::from(self.x_m) - i64::from(other.x_m), i64::from(self.y_m) - i64::from(other.y_m));
        // At most 2 (2^32)^2; saturates.
        let square = |d: i64| d.unsigned_abs().saturating_mul(d.unsigned_abs());
        square(dx).saturating_add(square(dy))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct RadioPair {
    /// Overrides the positions: heard at so many dB, or not at all.
    level_db: Option<Option<i32>>,
    loss: Option<Loss>,
    in_burst: bool,
}

/// The space between radios.
#[derive(Clone, Debug, Default)]
pub(super) struct Propagation {
    positions: BTreeMap<EmulatedRadioId, Position>,
    range_m: Option<u32>,
    loss: Loss,
    pairs: BTreeMap<(EmulatedRadioId, EmulatedRadioId), RadioPair>,
}

impl Propagation {
    pub(super) fn place(&mut self, radio: EmulatedRadioId, position: Position) {
        self.positions.insert(radio, position);
    }

    pub(super) fn set_range_m(&mut self, range_m: Option<u32>) {
        self.range_m = range_m;
    }

    pub(super) fn set_loss(&mut self, loss: Loss) {
        self.loss = loss;
    }

    pub(super) fn set_pair_loss(&mut self, from: EmulatedRadioId, to: EmulatedRadioId, loss: Loss) {
        self.pairs.entry((from, to)).or_default().loss = Some(loss);
    }

    pub(super) fn set_level_db(&mut self, from: EmulatedRadioId, to: EmulatedRadioId, level_db: Option<i32>) {
        self.pairs.entry((from, to)).or_default().level_db = Some(level_db);
    }

    /// How loud one is at the other, in dB against an arbitrary zero; `None` if not heard.
    pub(super) fn level_db(&self, from: EmulatedRadioId, to: EmulatedRadioId) -> Option<i32> {
        if from == to {
            return None;
        }
        if let Some(said) = self.pairs.get(&(from, to)).and_then(|pair| pair.level_db) {
            return said;
        }
        let at = |radio| self.positions.get(&radio).copied().unwrap_or_default();
        let squared = at(from).distance_squared(at(to));
        let range = self.range_m.map_or(u64::MAX, u64::from);
        // 3.5 powers of distance, as near the ground: 10.5 dB per doubling, by whole halvings of the square.
        (squared <= range.saturating_mul(range))
            .then(|| -(squared.checked_ilog2().unwrap_or(0) as i32) * 21 / 4)
    }

    /// Draws whether a frame is lost on the way.
    pub(super) fn loses(
        &mut self,
        from: EmulatedRadioId,
        to: EmulatedRadioId,
        bytes: usize,
        rng: &mut SplitMix64,
    ) -> bool {
        let pair = self.pairs.entry((from, to)).or_default();
        let loss = pair.loss.unwrap_or(self.loss);
        let turns = if pair.in_burst { loss.burst_ends_per_million } else { loss.burst_begins_per_million };
        pair.in_burst ^= rng.chance(turns);
        let bits = if loss.bit_errors_per_million == 0 { 0 } else { 8 * bytes };
        let is_damaged = (0..bits).any(|_| rng.chance(loss.bit_errors_per_million));
        rng.chance(loss.single_per_million) || pair.in_burst || is_damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_bits_take_long_frames_before_short_ones() {
        let (mut medium, mut rng) = (Propagation::default(), SplitMix64::new(1));
        medium.set_loss(Loss::bit_errors(2_000));
        let mut arrived = |bytes| {
            let frames =
                (0..10_000).map(|_| medium.loses(EmulatedRadioId(0), EmulatedRadioId(1), bytes, &mut rng));
            frames.filter(|lost| !lost).count()
        };
        // 0.998 to the power of the bits: 0.359, 0.017.
        let (short, long) = (arrived(64), arrived(255));
        assert!((3_450..3_730).contains(&short) && (130..210).contains(&long), "{short} and {long}");
    }

    #[test]
    fn distance_decides_until_somebody_says_otherwise() {
        let [a, b, c] = [EmulatedRadioId(0), EmulatedRadioId(1), EmulatedRadioId(2)];
        let mut medium = Propagation::default();
        assert_eq!(medium.level_db(a, b), Some(0));
        medium.place(b, Position { x_m: 300, y_m: 400 });
        medium.place(c, Position { x_m: -2_000, y_m: 0 });
        medium.set_range_m(Some(500));
        assert!(medium.level_db(a, b).is_some_and(|db| db < -80));
        assert_eq!(medium.level_db(a, c), None);
        assert_eq!(medium.level_db(b, b), None);
        medium.set_level_db(a, c, Some(3));
        medium.set_level_db(a, b, None);
        assert_eq!((medium.level_db(a, c), medium.level_db(a, b)), (Some(3), None));
        medium.place(a, Position { x_m: i32::MIN, y_m: i32::MIN });
        medium.place(b, Position { x_m: i32::MAX, y_m: i32::MAX });
        assert_eq!(medium.level_db(b, c), None);
    }
}
