//! The state of the cables of a simulation: which machines reach each other, which links are up. `Simulation`
//! schedules what follows from it.

use std::collections::BTreeMap;

use tombolo::limits::MESSAGE_BYTES_MAX;
use tombolo::time::{Millis, Mono};
use tombolo_transports::{LinkCaps, LinkId, Medium};

use crate::Seat;

/// One of the two ends of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WireEnd {
    Low,
    High,
}

impl WireEnd {
    pub(super) fn other(self) -> WireEnd {
        match self {
            WireEnd::Low => WireEnd::High,
            WireEnd::High => WireEnd::Low,
        }
    }
}

/// A value for each end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Both<T> {
    low: T,
    high: T,
}

impl<T> Both<T> {
    pub(super) fn at(&self, end: WireEnd) -> &T {
        match end {
            WireEnd::Low => &self.low,
            WireEnd::High => &self.high,
        }
    }

    pub(super) fn at_mut(&mut self, end: WireEnd) -> &mut T {
        match end {
            WireEnd::Low => &mut self.low,
            WireEnd::High => &mut self.high,
        }
    }
}

/// Two machines and the wire between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeatPair {
    low: Seat,
    high: Seat,
}

impl SeatPair {
    pub(super) fn new(a: Seat, b: Seat) -> Self {
        SeatPair { low: a.min(b), high: a.max(b) }
    }

    pub(super) fn seat(self, end: WireEnd) -> Seat {
        match end {
            WireEnd::Low => self.low,
            WireEnd::High => self.high,
        }
    }

    pub(super) fn end_of(self, seat: Seat) -> WireEnd {
        if seat == self.low { WireEnd::Low } else { WireEnd::High }
    }
}

/// The state of one wire. A session of it is one link at each end, with ids never used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    /// The cable is out.
    pub(super) cut: bool,
    /// What leaves this end is swallowed.
    pub(super) silent: Both<bool>,
    /// The link that this end believes to be up.
    pub(super) up: Both<Option<LinkId>>,
    /// The links of the newest session.
    pub(super) session: Both<Option<LinkId>>,
    /// When the newest message towards this end arrives: a link keeps its order unless a fault breaks it.
    pub(super) arrives: Both<Mono>,
    /// A dial is on its way.
    pub(super) dialling: bool,
}

impl Wire {
    /// Whether a handshake would succeed.
    pub(super) fn passes(&self) -> bool {
        !self.cut && !self.silent.low && !self.silent.high
    }

    /// Whether both ends believe in the same session.
    pub(super) fn is_up(&self) -> bool {
        let end = |end| self.up.at(end).is_some() && self.up.at(end) == self.session.at(end);
        end(WireEnd::Low) && end(WireEnd::High)
    }
}

/// The wires between all pairs of machines.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires {
    wires: BTreeMap<SeatPair, Wire>,
    links: BTreeMap<LinkId, (SeatPair, WireEnd)>,
    last_link: u64,
}

impl Wires {
    pub(super) fn wire(&mut self, pair: SeatPair) -> &mut Wire {
        self.wires.entry(pair).or_default()
    }

    /// The pair and end of a link that was ever made.
    pub(super) fn find(&self, link: LinkId) -> Option<(SeatPair, WireEnd)> {
        self.links.get(&link).copied()
    }

    /// A new session: its two links.
    pub(super) fn open(&mut self, pair: SeatPair) {
        for end in [WireEnd::Low, WireEnd::High] {
            self.last_link += 1;
            let link = LinkId(self.last_link);
            self.links.insert(link, (pair, end));
            *self.wire(pair).session.at_mut(end) = Some(link);
        }
    }
}

/// The capabilities of a cable.
pub(super) fn caps(latency: Millis) -> LinkCaps {
    LinkCaps {
        medium: Medium::Memory,
        message_bytes_max: MESSAGE_BYTES_MAX,
        rate_bps: None,
        latency_ms: u32::try_from(latency.ms()).unwrap_or(u32::MAX),
        loss_permille: 0,
        broadcast: false,
        metered: false,
        confidential: true,
        airtime_us_per_byte: 0,
        airtime_left: None,
    }
}
