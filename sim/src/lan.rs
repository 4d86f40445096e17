//! The wires of a simulation: who can reach whom, which links are up, and what becomes of a message.
//! What happens because of it is scheduled by `Simulation`.

use std::collections::BTreeMap;

use tombolo::limits::MESSAGE_BYTES_MAX;
use tombolo_transports::{LinkCaps, LinkId, Medium};

use crate::Seat;

/// One of the two ends of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Low,
    High,
}

impl End {
    pub(super) fn other(self) -> End {
        match self {
            End::Low => End::High,
            End::High => End::Low,
        }
    }
}

/// Something of each end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Both<T> {
    low: T,
    high: T,
}

impl<T> Both<T> {
    pub(super) fn at(&self, end: End) -> &T {
        match end {
            End::Low => &self.low,
            End::High => &self.high,
        }
    }

    pub(super) fn at_mut(&mut self, end: End) -> &mut T {
        match end {
            End::Low => &mut self.low,
            End::High => &mut self.high,
        }
    }
}

/// Two machines and the wire between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    low: Seat,
    high: Seat,
}

impl Pair {
    pub(super) fn new(a: Seat, b: Seat) -> Self {
        Pair { low: a.min(b), high: a.max(b) }
    }

    pub(super) fn seat(self, end: End) -> Seat {
        match end {
            End::Low => self.low,
            End::High => self.high,
        }
    }

    pub(super) fn end_of(self, seat: Seat) -> End {
        if seat == self.low { End::Low } else { End::High }
    }
}

/// The state of one wire. A session of it is one link at each end, with ids never used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// The cable is out.
    pub(super) cut: bool,
    /// What leaves this end is swallowed.
    pub(super) silent: Both<bool>,
    /// The link that this end believes to be up.
    pub(super) up: Both<Option<LinkId>>,
    /// The links of the newest session.
    pub(super) session: Both<Option<LinkId>>,
    /// When the newest message towards this end arrives: a link keeps its order unless a fault breaks it.
    pub(super) arrives_ms: Both<u64>,
    /// A dial is on its way.
    pub(super) dialling: bool,
}

impl Line {
    /// Whether a handshake would succeed.
    pub(super) fn passes(&self) -> bool {
        !self.cut && !self.silent.low && !self.silent.high
    }

    /// Whether both ends believe in the same session.
    pub(super) fn is_up(&self) -> bool {
        let end = |end| self.up.at(end).is_some() && self.up.at(end) == self.session.at(end);
        end(End::Low) && end(End::High)
    }
}

/// All the wires.
#[derive(Clone, Debug, Default)]
pub(super) struct Lan {
    lines: BTreeMap<Pair, Line>,
    links: BTreeMap<LinkId, (Pair, End)>,
    last_link: u64,
}

impl Lan {
    pub(super) fn line(&mut self, pair: Pair) -> &mut Line {
        self.lines.entry(pair).or_default()
    }

    /// The pair and end of a link that was ever made.
    pub(super) fn place(&self, link: LinkId) -> Option<(Pair, End)> {
        self.links.get(&link).copied()
    }

    /// A new session: its two links.
    pub(super) fn open(&mut self, pair: Pair) {
        for end in [End::Low, End::High] {
            self.last_link += 1;
            let link = LinkId(self.last_link);
            self.links.insert(link, (pair, end));
            *self.line(pair).session.at_mut(end) = Some(link);
        }
    }
}

/// What a link of the simulation says of itself.
pub(super) fn caps(latency_ms: u64) -> LinkCaps {
    LinkCaps {
        medium: Medium::Memory,
        message_bytes_max: MESSAGE_BYTES_MAX,
        rate_bps: None,
        latency_ms: u32::try_from(latency_ms).unwrap_or(u32::MAX),
        loss_permille: 0,
        broadcast: false,
        metered: false,
        confidential: true,
        airtime_us_per_byte: 0,
        airtime_left_ms: None,
    }
}
