//! Waits: how long a node holds back what several nodes may be about to send, so that one of them sends it for all.

use crate::random::Random;

/// Readers of one audience that a random wait is spread for; of more, several send at once.
const COMPANY_MAX: usize = 32;
/// A random wait is spread over so many frame times for each reader.
const SPREAD_FRAMES: u64 = 2;
/// An answer arrives so many frame times after a question, where the owner of what is asked for is present.
const ANSWER_FRAMES: u64 = 2;
/// A relay waits so many frame times for the owner to answer, and then up to thrice as many at random.
const RELAY_FRAMES: u64 = 4;
/// The lead that others get before a frontier on this node's own channel: most often it is they who lack something.
const OWN_CHANNEL_FRAMES: u64 = 6;

/// How fast the radio below is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time on air of a short frame with the gap after it, milliseconds: random waits are multiples of it.
    pub frame_ms: u64,
    /// Time between two heartbeats when nothing happens, milliseconds.
    pub heartbeat_ms: u64,
}

impl Timing {
    /// A report sent so soon after a transmission may have been composed before that transmission was received.
    pub(super) fn settle_ms(&self) -> u64 {
        self.frame_ms * 2
    }

    /// The span over which the readers of an audience spread what several of them may send.
    pub(super) fn spread_ms(&self, readers: usize) -> u64 {
        self.frame_ms * (1 + SPREAD_FRAMES * readers.min(COMPANY_MAX) as u64)
    }
}

/// How long to wait with what a received report brings about.
pub(super) struct ReplyDelays {
    /// Before this node sends its own frontier, milliseconds.
    pub(super) frontier_ms: u64,
    /// Before it supplies what another author wrote, milliseconds.
    pub(super) relay_ms: u64,
    pub(super) timing: Timing,
}

/// Draws random waits for one radio.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) timing: Timing,
    random: Random,
}

impl Waits {
    pub(super) fn new(timing: Timing, random: Random) -> Self {
        Waits { timing, random }
    }

    /// Between nothing and so many frame times.
    pub(super) fn frames(&mut self, frames: u64) -> u64 {
        self.random.below(self.timing.frame_ms * frames + 1)
    }

    /// Jitter of the heartbeats.
    pub(super) fn heartbeat_jitter(&mut self) -> u64 {
        self.random.below(self.timing.heartbeat_ms / 8 + 1)
    }

    /// A relay lets the author, and other relays, go first.
    pub(super) fn relay(&mut self) -> u64 {
        self.timing.frame_ms * RELAY_FRAMES + self.frames(3 * RELAY_FRAMES)
    }

    /// Before a frontier, on a channel with so many readers.
    pub(super) fn frontier(&mut self, is_ours: bool, readers: usize) -> u64 {
        let lead = if is_ours { self.timing.frame_ms * OWN_CHANNEL_FRAMES } else { 0 };
        lead + self.random.below(self.timing.spread_ms(readers) + 1)
    }

    /// After another node's question: the time that its answer takes, and a wait of this node's own.
    pub(super) fn answer(&mut self, owner_is_present: bool, is_ours: bool, readers: usize) -> u64 {
        let frames = if owner_is_present { ANSWER_FRAMES } else { 4 * RELAY_FRAMES + ANSWER_FRAMES };
        self.timing.frame_ms * frames + self.frontier(is_ours, readers)
    }
}
