//! Waits: how long a node holds back what several nodes may be about to send, so that one of them sends it for all.

use crate::random::Random;
use crate::time::Millis;

/// Readers of one audience that a random wait is spread for; of more, several send at once.
const COMPANY_MAX: usize = 32;
/// A random wait is spread over so many frame times for each reader.
const SPREAD_FRAMES: u64 = 2;
/// An answer arrives so many frame times after a question, where the owner of what is asked for is present.
const ANSWER_FRAMES: u64 = 2;
/// A relay waits so many frame times for the owner to answer, and then up to thrice as many at random.
const RELAY_FRAMES: u64 = 4;
/// A relay of an alarm whose author is not on this radio waits up to so many frame times at random: only other relays may go first.
const ALARM_RELAY_FRAMES: u64 = 8;
/// The lead that others get before a frontier on this node's own channel: most often it is they who lack something.
const OWN_CHANNEL_FRAMES: u64 = 6;

/// How fast the radio below is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time on air of a short frame with the gap after it: random waits are multiples of it.
    pub frame: Millis,
    /// Time between two heartbeats when nothing happens.
    pub heartbeat: Millis,
}

impl Timing {
    /// A report sent so soon after a transmission may have been composed before that transmission was received.
    pub(super) fn settle(&self) -> Millis {
        self.frame * 2
    }

    /// The span over which the readers of an audience spread what several of them may send.
    pub(super) fn spread(&self, readers: usize) -> Millis {
        self.frame * (1 + SPREAD_FRAMES * readers.min(COMPANY_MAX) as u64)
    }
}

/// How long to wait with what a received report brings about.
pub(super) struct ReplyDelays {
    /// Before this node sends its own frontier.
    pub(super) frontier: Millis,
    /// Before it supplies what another author wrote.
    pub(super) relay: Millis,
    pub(super) timing: Timing,
}

/// Draws random waits for one radio.
#[derive(Debug)]
pub struct Waits {
    pub(super) timing: Timing,
    random: Random,
}

impl Waits {
    pub(super) fn new(timing: Timing, random: Random) -> Self {
        Waits { timing, random }
    }

    /// Between nothing and `most`.
    fn up_to(&mut self, most: Millis) -> Millis {
        Millis::from_ms(self.random.below(most.ms() + 1))
    }

    /// Between nothing and so many frame times.
    pub fn frames(&mut self, frames: u64) -> Millis {
        self.up_to(self.timing.frame * frames)
    }

    /// Jitter of the heartbeats.
    pub(super) fn heartbeat_jitter(&mut self) -> Millis {
        self.up_to(self.timing.heartbeat / 8)
    }

    /// A relay lets the author, and other relays, go first.
    pub fn relay(&mut self) -> Millis {
        self.timing.frame * RELAY_FRAMES + self.frames(3 * RELAY_FRAMES)
    }

    /// A relay of an alarm whose author is not heard on this radio lets other relays go first.
    pub(super) fn relay_alarm(&mut self) -> Millis {
        self.frames(ALARM_RELAY_FRAMES)
    }

    /// Before a frontier, on a channel with so many readers.
    pub(super) fn frontier(&mut self, is_ours: bool, readers: usize) -> Millis {
        let lead = if is_ours { self.timing.frame * OWN_CHANNEL_FRAMES } else { Millis::ZERO };
        lead + self.up_to(self.timing.spread(readers))
    }

    /// After another node's question: the time that its answer takes, and a wait of this node's own.
    pub(super) fn answer(&mut self, owner_is_present: bool, is_ours: bool, readers: usize) -> Millis {
        let frames = if owner_is_present { ANSWER_FRAMES } else { 4 * RELAY_FRAMES + ANSWER_FRAMES };
        self.timing.frame * frames + self.frontier(is_ours, readers)
    }
}
