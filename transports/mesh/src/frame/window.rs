//! Which counters of a sender were seen: at most once each, and how the missing half is inferred.
//!
//! One window for each audience, sender and boot epoch, part of a [`Track`](super::track). It is asked before the tag is checked, so that a replay costs
//! nothing, and moved only after, so that a forged frame moves nothing. A signed counter moves the *inference* alone,
//! and only forward: a replayed old one opens nothing again.

/// How far behind the highest seen a frame may come late.
pub const WINDOW_FRAMES: u32 = 128;
/// How far from the expected counter the high half is inferred: a frame further out needs a signed counter first.
pub const INFERENCE_REACH: u32 = 1 << 15;

/// Why a counter is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// That very counter was taken before.
    Before,
    /// It is older than the window reaches, and may have been taken before.
    TooOld,
}

/// A sliding bitmap of 128 counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// One above the highest taken; 0 before the first. Up to 2^32.
    above: u64,
    /// Bit `n` is the counter `above - 1 - n`.
    seen: u128,
    /// The sender's signed word on what its next counter is.
    signed: u32,
}

impl Window {
    /// After a restart: everything up to and including `highest` counts as seen.
    pub fn from_record(highest: u32) -> Self {
        Window { above: u64::from(highest) + 1, seen: u128::MAX, signed: 0 }
    }

    /// With this highest counter taken, and below it those for which `is_taken` holds.
    pub(super) fn with(highest: u32, is_taken: impl Fn(u32) -> bool) -> Self {
        let seen = (0..WINDOW_FRAMES).filter(|n| highest.checked_sub(*n).is_none_or(&is_taken));
        Window { above: u64::from(highest) + 1, seen: seen.fold(1, |bits, n| bits | 1 << n), signed: 0 }
    }

    /// The highest counter taken.
    pub fn highest(&self) -> Option<u32> {
        self.above.checked_sub(1).and_then(|highest| u32::try_from(highest).ok())
    }

    /// The sender signed that its next counter is `next`. Moves the inference, forward only, and not the window.
    pub fn heard_signed(&mut self, next: u32) {
        self.signed = self.signed.max(next);
    }

    /// The counter with these low 16 bits that is nearest to the expected one; `None` if that is no counter.
    pub fn infer(&self, low: u16) -> Option<u32> {
        let expected = self.above.max(self.signed.into());
        // Of the 2^16 numbers from `expected - 2^15` on, the one with these low bits. Shifted up, so that none is negative.
        let from = expected + (1 << 32) - u64::from(INFERENCE_REACH);
        let ahead = u64::from(low).wrapping_sub(from) & 0xffff;
        (from + ahead).checked_sub(1 << 32).and_then(|counter| u32::try_from(counter).ok())
    }

    /// Whether this counter may still be taken.
    ///
    /// # Errors
    /// [`Seen`]: the counter was taken before, or is too old to know.
    pub fn check(&self, counter: u32) -> Result<(), Seen> {
        match self.above.checked_sub(u64::from(counter) + 1) {
            None => Ok(()),
            Some(behind) if behind >= WINDOW_FRAMES.into() => Err(Seen::TooOld),
            Some(behind) if self.seen >> behind & 1 == 1 => Err(Seen::Before),
            Some(_) => Ok(()),
        }
    }

    /// Takes a counter whose frame's tag was verified. Taking one twice is the caller's error, and changes nothing.
    pub fn take(&mut self, counter: u32) {
        let above = u64::from(counter) + 1;
        if above > self.above {
            let moved = u32::try_from(above - self.above).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(moved).unwrap_or(0) | 1;
            self.above = above;
        } else if self.above - above < WINDOW_FRAMES.into() {
            self.seen |= 1 << (self.above - above);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_late_frame_is_taken_once_and_a_very_late_one_never() {
        let mut window = Window::default();
        window.take(200);
        assert_eq!(window.check(200), Err(Seen::Before));
        assert_eq!(window.check(73), Ok(()));
        assert_eq!(window.check(72), Err(Seen::TooOld));
        window.take(73);
        assert_eq!(window.check(73), Err(Seen::Before));
        window.take(u32::MAX);
        assert_eq!(window.check(u32::MAX), Err(Seen::Before));
        assert_eq!(window.check(u32::MAX - 127), Ok(()));
    }

    #[test]
    fn a_receiver_too_far_out_needs_the_signed_counter() {
        let mut window = Window::default();
        assert_eq!(window.infer(0x7fff), Some(0x7fff));
        assert_eq!(window.infer(0x8000), None);
        window.heard_signed(1_000_000);
        assert_eq!(window.infer((1_000_007 & 0xffff) as u16), Some(1_000_007));
        window.heard_signed(5);
        assert_eq!(window.infer((999_000 & 0xffff) as u16), Some(999_000));
        // The signed counter opened nothing and shut nothing: what was taken decides.
        window.take(999_000);
        assert_eq!(window.check(999_000), Err(Seen::Before));
        assert_eq!(window.check(1_000_006), Ok(()));
    }

    #[test]
    fn the_last_counters_are_inferred_too() {
        let mut window = Window::from_record(u32::MAX - 1);
        assert_eq!(window.infer(0xffff), Some(u32::MAX));
        assert_eq!(window.infer(0), None);
        window.take(u32::MAX);
        assert_eq!(window.infer(0xffff), Some(u32::MAX));
        assert_eq!(window.highest(), Some(u32::MAX));
    }

    #[test]
    fn a_window_from_a_record_takes_nothing_that_came_before() {
        let window = Window::from_record(500);
        assert!((0..=500).all(|counter| window.check(counter).is_err()));
        assert_eq!(window.check(501), Ok(()));
    }

    proptest! {
        /// Against a set of all that was taken.
        #[test]
        fn no_counter_is_taken_twice(start in 0..u32::MAX - 2000, steps in prop::collection::vec(0..600_u32, 1..300)) {
            let (mut window, mut taken) = (Window::default(), BTreeSet::new());
            for step in steps {
                let counter = start + step;
                if window.check(counter).is_ok() {
                    prop_assert!(taken.insert(counter), "{counter} twice");
                    window.take(counter);
                } else if !taken.contains(&counter) {
                    prop_assert!(window.highest().unwrap() - counter >= WINDOW_FRAMES);
                }
            }
        }

        #[test]
        fn any_counter_within_reach_is_inferred(above in 0..=u32::MAX, away in -(1_i64 << 15)..(1 << 15)) {
            let mut window = Window::default();
            window.heard_signed(above);
            let counter = i64::from(above) + away;
            let expected = u32::try_from(counter).ok();
            prop_assert_eq!(window.infer((counter & 0xffff) as u16), expected);
        }
    }
}
