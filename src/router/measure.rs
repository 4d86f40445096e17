//! What traffic has shown of each link: round trips, loss, rate, backlog, when its peer last sent anything, and its failures. Each
//! link stands on its own: nothing that happens on one changes what is known of another. Time is passed in.
//!
//! [`LinkHealth`] belongs to a peer and a kind of carrier, not to one session: a link that comes back is known as one that
//! had failed. It is fed by what links report of themselves ([`LinkReport`]), by answers to questions, and by links that
//! come and go. Nothing is sent to measure: a silent IP link is probed by its own session, a radio never.

use std::collections::VecDeque;

use tombolo_transports::{DownReason, LinkCaps, LinkReport, Medium};

use crate::router::decision::DWELL;
use crate::router::facts::{AirFacts, LinkCondition, PathFacts};
use crate::time::{Millis, Mono};

/// Rate assumed of a link that does not know its own: 1 Mbit/s.
const RATE_BPS_ASSUMED: u64 = 1_000_000;
/// The weight of one round trip in the smoothed one: an eighth (RFC 6298, section 2).
const RTT_WEIGHT: u64 = 8;
/// The same of a report in the smoothed loss, which is noisier.
const LOSS_WEIGHT: u64 = 4;
/// Packets below which a report shows no loss: one of three lost is no third.
const LOSS_PACKETS_MIN: u64 = 20;
/// Failures that are remembered of one link; the oldest goes first.
const FAILURES_KEPT_MAX: usize = 8;
/// A link that fails again and again has to stay up longer each time, up to this many doublings of the dwell time.
const DOUBLINGS_MAX: u32 = 4;
/// Questions whose answer is waited for, to measure the round trip; a further one replaces the oldest.
const ASKED_MAX: usize = 4;
/// An answer that comes later than this measures the peer, not the link.
const ANSWER_MAX: Millis = Millis::from_secs(60);

/// A failure of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFailure {
    /// When the link has failed.
    pub at: Mono,
    /// Why the link has failed.
    pub why: DownReason,
}

/// What is known of one kind of carrier to one peer.
#[derive(Clone, Debug)]
pub struct LinkHealth {
    rtt: Option<Millis>,
    loss_permille: u16,
    rate_bps: Option<u64>,
    backlog_bytes: u64,
    /// Packets sent and lost, as the last report counted them.
    counted: (u64, u64),
    heard_at: Option<Mono>,
    /// Since when it is up, or down.
    since: Mono,
    is_up: bool,
    /// Failures shortly after it had come up, without one in between that lasted.
    streak: u32,
    failures: VecDeque<LinkFailure>,
    asked: VecDeque<Mono>,
}

impl LinkHealth {
    /// A link that has come up for the first time.
    pub fn new(now: Mono) -> Self {
        LinkHealth {
            rtt: None,
            loss_permille: 0,
            rate_bps: None,
            backlog_bytes: 0,
            counted: (0, 0),
            heard_at: None,
            since: now,
            is_up: true,
            streak: 0,
            failures: VecDeque::new(),
            asked: VecDeque::new(),
        }
    }

    /// It has come up again. Its queue is a new one.
    pub fn up(&mut self, now: Mono) {
        if !self.is_up {
            (self.is_up, self.since) = (true, now);
            (self.counted, self.backlog_bytes) = ((0, 0), 0);
            self.asked.clear();
        }
    }

    /// Notes that the link is gone.
    pub fn down(&mut self, why: DownReason, now: Mono) {
        if !self.is_up {
            return;
        }
        let lasted = now >= self.steady_at();
        (self.is_up, self.since) = (false, now);
        if is_wanted(why) {
            return;
        }
        self.streak = if lasted { 1 } else { self.streak.saturating_add(1) };
        self.failures.push_back(LinkFailure { at: now, why });
        if self.failures.len() > FAILURES_KEPT_MAX {
            self.failures.pop_front();
        }
    }

    /// The peer has sent something.
    pub fn heard(&mut self, now: Mono) {
        self.heard_at = Some(now);
    }

    /// What the link reports of itself.
    pub fn reported(&mut self, report: &LinkReport, now: Mono) {
        if let Some(rtt) = report.rtt {
            self.round_trip(rtt);
        }
        if report.rate_bps.is_some() {
            self.rate_bps = report.rate_bps;
        }
        self.backlog_bytes = report.backlog_bytes;
        if report.alive {
            self.heard_at = Some(now);
        }
        let (sent, lost) = (report.packets_sent, report.packets_lost);
        let newly = (sent.saturating_sub(self.counted.0), lost.saturating_sub(self.counted.1));
        if newly.0 >= LOSS_PACKETS_MIN {
            let permille = (newly.1.saturating_mul(1_000) / newly.0).min(1_000);
            let smoothed = (u64::from(self.loss_permille) * (LOSS_WEIGHT - 1) + permille) / LOSS_WEIGHT;
            self.loss_permille = u16::try_from(smoothed).unwrap_or(1_000);
            self.counted = (sent, lost);
        }
    }

    /// A question went out whose answer comes at once.
    pub fn asked(&mut self, now: Mono) {
        if self.asked.len() >= ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(now);
    }

    /// The answer to the oldest question has come.
    pub fn answered(&mut self, now: Mono) {
        if let Some(asked) = self.asked.pop_front()
            && now.since(asked) <= ANSWER_MAX
        {
            self.round_trip(now.since(asked));
        }
    }

    fn round_trip(&mut self, sample: Millis) {
        self.rtt = Some(match self.rtt {
            None => sample,
            Some(rtt) => (rtt * (RTT_WEIGHT - 1) + sample) / RTT_WEIGHT,
        });
    }

    /// The smoothed round trip, once one was measured.
    pub fn rtt(&self) -> Option<Millis> {
        self.rtt
    }

    /// Packets lost, per thousand.
    pub fn loss_permille(&self) -> u16 {
        self.loss_permille
    }

    /// Bits per second, once measured.
    pub fn rate_bps(&self) -> Option<u64> {
        self.rate_bps
    }

    /// Bytes that wait for the link.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes
    }

    /// When the peer last sent anything.
    pub fn heard_at(&self) -> Option<Mono> {
        self.heard_at
    }

    /// Since when it is up; `None` while it is down.
    pub fn up_since(&self) -> Option<Mono> {
        self.is_up.then_some(self.since)
    }

    /// Since when it is down; `None` while it is up.
    pub fn down_since(&self) -> Option<Mono> {
        (!self.is_up).then_some(self.since)
    }

    /// Its failures, the oldest first.
    pub fn failures(&self) -> impl DoubleEndedIterator<Item = &LinkFailure> {
        self.failures.iter()
    }

    /// Whether it can be relied on now.
    pub fn condition(&self, now: Mono) -> LinkCondition {
        let steady_at = self.steady_at();
        match self.is_up {
            false => LinkCondition::Down { since: self.since },
            true if steady_at > now => LinkCondition::Returned { steady_at },
            true => LinkCondition::Steady,
        }
    }

    /// When it counts as steady, if it stays up.
    fn steady_at(&self) -> Mono {
        match self.streak {
            0 => self.since,
            streak => self.since + DWELL * (1 << (streak - 1).min(DOUBLINGS_MAX)),
        }
    }

    /// How fast and how surely it carries: as measured, else as the carrier was born with.
    pub fn path(&self, caps: &LinkCaps) -> PathFacts {
        let latency = self.rtt.map(|rtt| rtt / 2);
        PathFacts {
            latency: latency.unwrap_or(Millis::from_ms(u64::from(caps.latency_ms))),
            rate_bps: self.rate_bps.or(caps.rate_bps).unwrap_or(RATE_BPS_ASSUMED),
            loss_permille: self.loss_permille.max(caps.loss_permille),
            backlog_bytes: self.backlog_bytes,
            measured: self.rtt.is_some(),
        }
    }
}

/// Whether a link ended because one of its ends wanted it to: that is no failure.
fn is_wanted(why: DownReason) -> bool {
    matches!(why, DownReason::Closed | DownReason::Replaced | DownReason::Shutdown)
}

/// The air of a radio, as its caps have it.
pub(super) fn air(caps: &LinkCaps, free_in: Option<Millis>) -> Option<AirFacts> {
    (caps.medium == Medium::Mesh || caps.airtime_us_per_byte > 0).then_some(AirFacts {
        us_per_byte: caps.airtime_us_per_byte,
        left: caps.airtime_left,
        free_in,
    })
}
