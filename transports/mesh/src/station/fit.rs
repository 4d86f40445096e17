//! How long frames may be and still arrive.
//!
//! Where single bits go wrong, a frame is lost for being long, and no repetition of it is of use. No peer reports which frames it
//! missed; but a listener that goes on lacking what was sent shows it:
//!
//! - The same long message is handed over again and again. Its listeners lack it still, and that is less likely than one in fifty by
//!   the loss that this radio meets otherwise.
//! - Of the fragments that are sent because listeners ask for them, fewer than one in five arrive.
//!
//! Then frames get shorter by a step ([`SHORT_FRAME_BYTES`]); and longer again after a while, to see whether that was it.

use crate::frame::handshake::SHORT_FRAME_BYTES;
use crate::time::{Millis, Mono};
use std::collections::VecDeque;

/// After so long longer frames are tried again; doubled each time that they fail, up to the second.
pub const LONGER_AFTER: (Millis, Millis) = (Millis::from_secs(1_800), Millis::from_secs(8 * 3_600));
/// After so long without a fall the next one counts as the first.
const FORGIVEN: Millis = Millis::from_ms(24 * 3_600_000);
/// Messages whose repetition is noticed; beyond, the oldest is forgotten.
const REMEMBERED_MAX: usize = 16;
/// How long a frame that was sent is remembered.
const REMEMBERED: Millis = Millis::from_ms(900_000);
/// Loss is taken for this at least: what is heard of a neighbour is no proof of what it hears.
const LOSS_PERMILLE_MIN: u16 = 100;
/// What happens more rarely than this by chance is no chance.
const CHANCE: f64 = 0.02;
/// Fragments sent on request before what arrived of them counts; and twice so many are remembered.
const FRAGMENTS_MIN: usize = 16;
/// Of them so many in a thousand must arrive.
const ARRIVED_PERMILLE_MIN: usize = 200;

#[derive(Debug)]
pub(super) struct Fit {
    frame_bytes_max: usize,
    /// Steps down; 0 for frames as long as the radio takes.
    fallen: usize,
    /// When to go up by one.
    longer_at: Option<Mono>,
    /// Falls in a row, and the last one.
    falls: u32,
    fell_at: Mono,
    sent: VecDeque<Offered>,
    /// Fragments of late that were asked for: how many were sent, and how many of them arrived.
    repairs: (usize, usize),
}

#[derive(Debug)]
struct Offered {
    print: [u8; 8],
    times: u32,
    last_at: Mono,
}

impl Fit {
    pub(super) fn new(frame_bytes_max: usize) -> Self {
        Fit {
            frame_bytes_max,
            fallen: 0,
            longer_at: None,
            falls: 0,
            fell_at: Mono::ZERO,
            sent: VecDeque::new(),
            repairs: (0, 0),
        }
    }

    /// The longest frame to send.
    pub(super) fn frame_bytes(&self) -> usize {
        self.after(self.fallen)
    }

    fn after(&self, fallen: usize) -> usize {
        let short = SHORT_FRAME_BYTES.iter().take(fallen).next_back();
        short.map_or(self.frame_bytes_max, |short| self.frame_bytes_max.min(*short))
    }

    /// Whether frames of this length would be shorter after a fall.
    fn can_fall(&self, frame_bytes: usize) -> bool {
        self.fallen < SHORT_FRAME_BYTES.len() && frame_bytes > self.after(self.fallen + 1)
    }

    pub(super) fn pass(&mut self, now: Mono) {
        if self.longer_at.is_some_and(|at| at <= now) {
            self.fallen = self.fallen.saturating_sub(1);
            self.longer_at = (self.fallen > 0).then(|| now + LONGER_AFTER.0);
        }
    }

    /// A message goes out in frames of this length, to so many listeners. Whether frames get shorter first.
    pub(super) fn sends(
        &mut self,
        now: Mono,
        print: [u8; 8],
        frame_bytes: usize,
        listeners: usize,
        loss_permille: u16,
    ) -> bool {
        self.pass(now);
        if !self.can_fall(frame_bytes) {
            return false;
        }
        self.sent.retain(|sent| now.since(sent.last_at) < REMEMBERED);
        let known = self.sent.iter().position(|sent| sent.print == print);
        let times = known.and_then(|at| self.sent.remove(at)).map_or(0, |sent| sent.times);
        if times > 0 && chance(times, listeners, loss_permille) < CHANCE {
            self.fall(now);
            return true;
        }
        if self.sent.len() >= REMEMBERED_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Offered { print, times: times + 1, last_at: now });
        false
    }

    /// A listener has reported how many of the fragments that it asked for, of this length with all headers, have arrived. Whether frames
    /// get shorter.
    pub(super) fn arrived(&mut self, now: Mono, frame_bytes: usize, arrived: usize, sent: usize) -> bool {
        if !self.can_fall(frame_bytes) {
            return false;
        }
        let (all_sent, all_arrived) = self.repairs;
        self.repairs = (all_sent.saturating_add(sent), all_arrived.saturating_add(arrived.min(sent)));
        let (sent, arrived) = self.repairs;
        if sent >= FRAGMENTS_MIN && arrived.saturating_mul(1_000) < sent.saturating_mul(ARRIVED_PERMILLE_MIN)
        {
            self.fall(now);
            return true;
        }
        if sent > 2 * FRAGMENTS_MIN {
            self.repairs = (sent / 2, arrived / 2);
        }
        false
    }

    fn fall(&mut self, now: Mono) {
        let (first, longest) = LONGER_AFTER;
        if now.since(self.fell_at) > FORGIVEN {
            self.falls = 0;
        }
        let wait = (first * (1 << self.falls.min(16))).min(longest);
        self.falls = self.falls.saturating_add(1);
        self.fell_at = now;
        self.fallen += 1;
        self.longer_at = Some(now + wait);
        self.sent.clear();
        self.repairs = (0, 0);
    }
}

/// How likely it is that one of the listeners lacks a message still that was sent so often, if length makes no difference.
fn chance(times: u32, listeners: usize, loss_permille: u16) -> f64 {
    let lost = f64::from(loss_permille.max(LOSS_PERMILLE_MIN)) / 1_000.0;
    let times = i32::try_from(times).unwrap_or(i32::MAX);
    let listeners = i32::try_from(listeners.max(1)).unwrap_or(i32::MAX);
    1.0 - (1.0 - lost.powi(times)).powi(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(fit: &mut Fit, from_ms: u64, bytes: usize, listeners: usize, loss: u16) -> usize {
        (0..50)
            .take_while(|n| !fit.sends(Mono::from_ms(from_ms + n * 1_000), [7; 8], bytes, listeners, loss))
            .count()
    }

    #[test]
    fn what_is_sent_in_vain_again_and_again_goes_in_shorter_frames() {
        let mut fit = Fit::new(255);
        // As often as the loss makes improbable, and more often where many listen.
        assert_eq!(again(&mut fit, 0, 200, 1, 0), 2);
        assert_eq!(fit.frame_bytes(), 120);
        assert_eq!(again(&mut fit, 10_000, 118, 1, 300), 4);
        assert_eq!(fit.frame_bytes(), 64);
        assert_eq!(again(&mut fit, 20_000, 64, 1, 0), 50);
        assert_eq!(again(&mut Fit::new(255), 0, 200, 8, 300), 5);
    }

    #[test]
    fn short_messages_and_new_ones_are_no_sign() {
        let mut fit = Fit::new(255);
        assert_eq!(again(&mut fit, 0, 120, 1, 0), 50);
        assert!((0..200_u8).all(|n| !fit.sends(Mono::from_ms(n.into()), [n; 8], 255, 1, 0)));
        assert!(fit.sent.len() <= REMEMBERED_MAX);
        // The same once in a while.
        assert!((0..50).all(|n| !fit.sends(Mono::ZERO + n * REMEMBERED, [9; 8], 255, 1, 0)));
        assert_eq!(fit.frame_bytes(), 255);
    }

    #[test]
    fn longer_frames_are_tried_again_ever_more_rarely() {
        let mut fit = Fit::new(231);
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..7 {
            again(&mut fit, now, 200, 1, 0);
            assert_eq!(fit.frame_bytes(), 120);
            let fell_at = now;
            while fit.frame_bytes() < 231 {
                now += 60_000;
                fit.pass(Mono::from_ms(now));
            }
            waits.push((now - fell_at) / 60_000);
        }
        assert!(waits.is_sorted() && waits[0] <= 31 && (480..=482).contains(&waits[6]), "{waits:?}");
    }

    #[test]
    fn fragments_of_which_few_arrive_get_shorter_and_small_radios_stay_as_they_are() {
        let mut fit = Fit::new(255);
        // One in four is enough, whatever the length.
        assert!((0..100).all(|n| !fit.arrived(Mono::from_ms(n), 250, 1, 4)));
        assert!((0..100).all(|n| !fit.arrived(Mono::from_ms(n), 100, 0, 4)));
        assert!((0..20).any(|n| fit.arrived(Mono::from_ms(n), 250, 0, 4)));
        assert_eq!(fit.frame_bytes(), 120);
        let mut fit = Fit::new(50);
        assert!(!fit.arrived(Mono::ZERO, 50, 0, 99));
        assert_eq!(again(&mut fit, 0, 50, 1, 0), 50);
    }
}
