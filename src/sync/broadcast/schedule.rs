//! When this node sends its frontier of one owner's documents. Several nodes may have the same question, and one answer
//! serves all: a node that receives another's question waits for that answer first, and drops its own once it arrived.

use crate::time::{Millis, Mono};

/// How often at most a frontier is postponed for others' questions and answers.
const POSTPONED_MAX: u8 = 4;
/// The same frontier is not sent again within so many frame times.
const REPEAT_PAUSE_FRAMES: u64 = 12;

/// A frontier that was sent.
#[derive(Clone, Copy, Debug)]
struct SentFrontier {
    at: Mono,
    fingerprint: u64,
}

#[derive(Debug, Default)]
pub(super) struct FrontierSchedule {
    at: Option<Mono>,
    postponed: u8,
    /// Nothing that others send makes it needless: a node believes that this one holds what it does not.
    is_required: bool,
    last: Option<SentFrontier>,
}

impl FrontierSchedule {
    /// When it is due.
    pub(super) fn at(&self) -> Option<Mono> {
        self.at
    }

    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Makes it due at `at` at the latest.
    pub(super) fn by(&mut self, at: Mono) {
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// As [`by`](Self::by), unless the same frontier was sent lately.
    pub(super) fn by_unless_sent(&mut self, now: Mono, at: Mono, fingerprint: u64, frame: Millis) {
        let pause = frame * REPEAT_PAUSE_FRAMES;
        if !self.last.is_some_and(|last| last.fingerprint == fingerprint && now < last.at + pause) {
            self.by(at);
        }
    }

    /// As [`by_unless_sent`](Self::by_unless_sent), whatever others send.
    pub(super) fn require_by(&mut self, now: Mono, at: Mono, fingerprint: u64, frame: Millis) {
        self.by_unless_sent(now, at, fingerprint, frame);
        self.is_required |= self.at.is_some();
    }

    /// Another node asked, or gets its answer: not due before `until`.
    pub(super) fn postpone(&mut self, until: Mono) {
        if let Some(at) = self.at.filter(|at| *at < until && self.postponed < POSTPONED_MAX) {
            self.at = Some(at.max(until));
            self.postponed += 1;
        }
    }

    /// Nothing is due any more.
    pub(super) fn cancel(&mut self) {
        (self.at, self.postponed, self.is_required) = (None, 0, false);
    }

    /// Notes that the frontier was sent.
    pub(super) fn done(&mut self, now: Mono, fingerprint: u64) {
        self.cancel();
        self.last = Some(SentFrontier { at: now, fingerprint });
    }
}
