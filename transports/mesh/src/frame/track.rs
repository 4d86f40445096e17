//! A sender's counters as one listener knows them: taken at most once each, and no forger carries them away.
//!
//! Under an audience key any member can seal a frame in another's name, with any counter. If the newest counter alone decided what is
//! too old, one such frame, far ahead, would lock its honest sender out. So there are two windows:
//!
//! - The *zone*: [`ZONE_FRAMES`] counters from the sender's signed word on (its announcement), one bit each. Who was heard in it and who
//!   was not is known exactly, so that nothing in it is too old. Only the sender moves it.
//! - Beyond the zone the sliding [`Window`], which follows what comes.
//!
//! A frame in the zone that is far behind the sliding window shows that this was led away, and brings it back: what a forger
//! leads away goes on with the next honest frame. A forger can still use up a counter before its owner does: one frame for one.
//! A sender beyond the zone that is locked out is heard again after its next announcement, which is asked for.

use super::Window;
use super::window::{Seen, WINDOW_FRAMES};

/// Counters known one by one, from the signed one on: half of what a header's low half distinguishes forward. A sender
/// signs again long before it has used so many.
pub const ZONE_FRAMES: u32 = 1 << 15;

/// The replay window of one sender in one epoch; the module describes the rule.
#[derive(Clone, Debug, Default)]
pub struct Track {
    window: Window,
    /// Where the zone begins.
    signed: u32,
    /// Bit `n` is the counter `signed + n`; zeros at the end are left out. At most 4 KiB, and that only after so many frames.
    taken: Vec<u64>,
    /// After a restart: whatever is below may have been taken before, until the sender's word is a newer one.
    floor: u64,
}

/// What taking a counter showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// By how much it was above the highest before; 0 for one below, and for the first.
    pub ahead: u32,
    /// Counters far ahead had come before it: forged in the sender's name, or else this frame was held up for long.
    pub leapt: bool,
}

impl Track {
    /// After a restart: everything up to and including `highest` counts as taken until the sender signs again, above `signed`, its
    /// newest word before.
    pub fn from_record(highest: u32, signed: u32) -> Self {
        Track {
            window: Window::from_record(highest),
            signed,
            taken: Vec::new(),
            floor: u64::from(highest) + 1,
        }
    }

    /// The highest counter taken, unless it was led away.
    pub fn highest(&self) -> Option<u32> {
        self.window.highest()
    }

    /// The sender signed that no later frame has a counter below `next`. Older words change nothing.
    pub fn heard_signed(&mut self, next: u32) {
        self.window.heard_signed(next);
        let Some(ahead) = next.checked_sub(self.signed).filter(|ahead| *ahead > 0) else { return };
        // What is in the new zone and was taken: as the old zone knows it, and beyond that the window.
        let from_zone = self.bits().filter_map(|bit| bit.checked_sub(ahead));
        let highest = self.window.highest();
        let recent = (0..WINDOW_FRAMES).filter_map(|n| highest?.checked_sub(n));
        let recent = recent.filter(|counter| self.bit(*counter).is_none() && self.check(*counter).is_err());
        let from_window =
            recent.filter_map(|counter| counter.checked_sub(next).filter(|bit| *bit < ZONE_FRAMES));
        let bits: Vec<u32> = from_zone.chain(from_window).collect();
        (self.signed, self.floor) = (next, 0);
        self.taken.clear();
        bits.into_iter().for_each(|bit| self.set(bit));
    }

    /// The counters that a header with these low 16 bits may stand for, the likelier first, and whether each may still be taken.
    pub fn candidates(&self, low: u16) -> impl Iterator<Item = (u32, Result<(), Seen>)> {
        let [_, _, high, signed_low] = self.signed.to_be_bytes();
        let ahead = low.wrapping_sub(u16::from_be_bytes([high, signed_low]));
        let zone = self.signed.checked_add(ahead.into()).filter(|counter| self.bit(*counter).is_some());
        let window = self.window.infer(low).filter(|counter| Some(*counter) != zone);
        zone.into_iter().chain(window).map(|counter| (counter, self.check(counter)))
    }

    /// Whether this counter may still be taken.
    ///
    /// # Errors
    /// [`Seen`]: the counter was taken before, or is too old to know.
    pub fn check(&self, counter: u32) -> Result<(), Seen> {
        let Some(bit) = self.bit(counter) else { return self.window.check(counter) };
        if self.has(bit) {
            Err(Seen::Before)
        } else if u64::from(counter) < self.floor {
            Err(Seen::TooOld)
        } else {
            Ok(())
        }
    }

    /// Takes a counter whose frame's tag was verified. Taking one twice is the caller's error, and changes nothing.
    pub fn take(&mut self, counter: u32) -> Taken {
        let highest = self.window.highest();
        let ahead = highest.map_or(0, |highest| counter.saturating_sub(highest));
        let mut leapt = false;
        if let Some(bit) = self.bit(counter) {
            self.set(bit);
            leapt = highest.is_some_and(|highest| highest.saturating_sub(counter) >= WINDOW_FRAMES);
            if leapt {
                // Back to where the sender is. What the zone does not know counts as taken.
                let is_taken = |counter| self.bit(counter).is_none() || self.check(counter).is_err();
                let mut window = Window::with(counter, is_taken);
                window.heard_signed(self.signed);
                self.window = window;
            }
        }
        self.window.take(counter);
        Taken { ahead, leapt }
    }

    /// The place of a counter in the zone.
    fn bit(&self, counter: u32) -> Option<u32> {
        counter.checked_sub(self.signed).filter(|bit| *bit < ZONE_FRAMES)
    }

    fn has(&self, bit: u32) -> bool {
        self.taken.get((bit / u64::BITS) as usize).is_some_and(|word| word >> (bit % u64::BITS) & 1 == 1)
    }

    fn set(&mut self, bit: u32) {
        let word = (bit / u64::BITS) as usize;
        if self.taken.len() <= word {
            self.taken.resize(word + 1, 0);
        }
        if let Some(word) = self.taken.get_mut(word) {
            *word |= 1 << (bit % u64::BITS);
        }
    }

    /// All that are set.
    fn bits(&self) -> impl Iterator<Item = u32> {
        let bits = (0_u32..).step_by(u64::BITS as usize).zip(&self.taken);
        bits.flat_map(|(first, word)| {
            (0..u64::BITS).filter(move |n| word >> n & 1 == 1).map(move |n| first + n)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn low(counter: u32) -> u16 {
        (counter & 0xffff) as u16
    }

    /// As a listener does it: the counter of a frame whose tag holds with `counter` alone.
    fn receive(track: &mut Track, counter: u32) -> Option<Taken> {
        let taken = track.candidates(low(counter)).find(|(c, check)| *c == counter && check.is_ok());
        taken.map(|(counter, _)| track.take(counter))
    }

    #[test]
    fn a_counter_far_ahead_locks_nobody_out() {
        let mut track = Track::default();
        assert_eq!(receive(&mut track, 0), Some(Taken { ahead: 0, leapt: false }));
        for forged in [20_000, 52_000, 84_000, 84_127] {
            assert!(receive(&mut track, forged).is_some());
        }
        assert_eq!(receive(&mut track, 1), Some(Taken { ahead: 0, leapt: true }));
        assert_eq!(receive(&mut track, 2), Some(Taken { ahead: 1, leapt: false }));
        // What was taken stays taken.
        assert!([0, 1, 2, 20_000].iter().all(|taken| track.check(*taken) == Err(Seen::Before)));
        assert_eq!(track.highest(), Some(2));
    }

    #[test]
    fn beyond_the_zone_the_next_signed_word_ends_a_lock_out() {
        let mut track = Track::default();
        let (honest, forged) = (ZONE_FRAMES + 10, ZONE_FRAMES + 20_000);
        assert!([20_000, honest, forged].iter().all(|counter| receive(&mut track, *counter).is_some()));
        assert_eq!(receive(&mut track, honest + 1), None);
        track.heard_signed(honest + 1);
        assert_eq!(receive(&mut track, honest + 1).map(|taken| taken.leapt), Some(true));
        assert_eq!(track.check(forged), Err(Seen::Before));
        assert!(track.check(honest).is_err());
    }

    #[test]
    fn after_a_restart_nothing_before_counts_until_the_sender_signs_anew() {
        let mut track = Track::from_record(500, 100);
        track.heard_signed(100);
        assert!((0..=500).all(|counter| receive(&mut track, counter).is_none()));
        assert!(receive(&mut track, 501).is_some());
        assert!(receive(&mut track, 30_000).is_some() && receive(&mut track, 502).is_some());
        assert!((0..=502).all(|counter| receive(&mut track, counter).is_none()));
        // The record had been led away: its owner is at 400, and signs that.
        track.heard_signed(400);
        assert!(receive(&mut track, 400).is_some());
        assert!((0..=400).all(|counter| receive(&mut track, counter).is_none()));
    }

    #[test]
    fn memory_is_bounded_and_the_last_counters_are_taken_once_as_well() {
        let mut track = Track::default();
        track.heard_signed(u32::MAX - 5);
        assert!(receive(&mut track, u32::MAX).is_some() && receive(&mut track, u32::MAX).is_none());
        assert!(receive(&mut track, u32::MAX - 5).is_some());
        let mut track = Track::default();
        for counter in (0..u32::MAX - 40_000).step_by(30_000) {
            receive(&mut track, counter);
            assert!(track.taken.len() <= (ZONE_FRAMES / u64::BITS) as usize);
        }
    }

    proptest! {
        /// A forger takes any counters it likes between the honest frames, some of which are lost; the sender signs now and then.
        #[test]
        fn whatever_is_forged_the_next_honest_frame_is_taken_unless_its_very_counter_was_used(
            start in 0..u32::MAX - 300_000,
            steps in prop::collection::vec((any::<u32>(), 0..8_u8, 1..2_000_u32), 1..300),
        ) {
            let mut track = Track::default();
            track.heard_signed(start);
            let (mut next, mut signed, mut used) = (start, start, BTreeSet::new());
            // Taken beyond the zone: the window may have forgotten them when the sender's next announcement brings them into it.
            let mut beyond = BTreeSet::new();
            for (dice, what, step) in steps {
                let forged = match what {
                    0 => Some(dice),
                    1 => Some(next.saturating_add(dice % 70_000)),
                    2 => track.highest().and_then(|highest| highest.checked_add(dice % 128 + 1)),
                    3 => Some(next.saturating_sub(dice % 300)),
                    _ => None,
                };
                if let Some(forged) = forged {
                    if receive(&mut track, forged).is_some() {
                        match forged >= signed && forged - signed < ZONE_FRAMES {
                            true => prop_assert!(used.insert(forged), "{} twice", forged),
                            false => _ = beyond.insert(forged),
                        }
                    }
                    continue;
                }
                if what == 4 || next - signed > 20_000 {
                    (signed, used) = (next, used.split_off(&next));
                    track.heard_signed(signed);
                }
                // So many were lost.
                next += step;
                let was_used = used.contains(&next);
                let taken = receive(&mut track, next);
                prop_assert!(taken.is_none() || !was_used, "{} twice in {:?}", next, track);
                let may_be_refused = was_used || beyond.contains(&next);
                prop_assert!(taken.is_some() || may_be_refused, "{} refused in {:?}", next, track);
                prop_assert!(receive(&mut track, next).is_none());
                used.insert(next);
                next += 1;
            }
        }

        /// Without a forger: as a set of all that was taken.
        #[test]
        fn no_counter_is_taken_twice(
            start in 0..u32::MAX - 200_000,
            steps in prop::collection::vec((0..3_000_u32, any::<bool>()), 1..300),
        ) {
            let (mut track, mut taken, mut signed) = (Track::default(), BTreeSet::new(), start);
            track.heard_signed(start);
            for (step, signs) in steps {
                let counter = signed + step;
                prop_assert_eq!(receive(&mut track, counter).is_some(), taken.insert(counter));
                if signs {
                    signed += step / 2;
                    track.heard_signed(signed);
                }
            }
        }
    }
}
