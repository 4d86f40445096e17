//! Cables between machines: pulled, plugged in, silent; sessions that come up and go down; and what becomes of each
//! message on its way.

use tombolo::node::Input;
use tombolo::time::Millis;
use tombolo_transports::{DownReason, LinkId};

use crate::faults::{Fault, damage};
use crate::wires::{SeatPair, WireEnd, caps};
use crate::{Happening, SECOND, Seat, Simulation};

/// Messages remembered per machine, to be replayed; the oldest goes first.
const REMEMBERED_MAX: usize = 64;

impl Simulation {
    /// Pulls the cable between two machines; both ends notice within some seconds.
    pub fn cut(&mut self, a: Seat, b: Seat) {
        let pair = SeatPair::new(a, b);
        self.wires.wire(pair).cut = true;
        self.notice_silence(pair);
    }

    /// Swallows what `from` sends to `to`. With `noticed` the link is given up after some seconds, as QUIC
    /// does; without, both ends go on believing in it, as on radio.
    pub fn silence(&mut self, from: Seat, to: Seat, noticed: bool) {
        let pair = SeatPair::new(from, to);
        *self.wires.wire(pair).silent.at_mut(pair.end_of(from)) = true;
        if noticed {
            self.notice_silence(pair);
        }
    }

    /// The wire between two machines is whole again, both ways.
    pub fn mend(&mut self, a: Seat, b: Seat) {
        let pair = SeatPair::new(a, b);
        let wire = self.wires.wire(pair);
        wire.cut = false;
        for end in [WireEnd::Low, WireEnd::High] {
            *wire.silent.at_mut(end) = false;
        }
        self.dial(pair);
    }

    /// Whether a link between two machines is up at both ends.
    pub fn is_linked(&mut self, a: Seat, b: Seat) -> bool {
        self.wires.wire(SeatPair::new(a, b)).is_up()
    }

    pub(super) fn notice_silence(&mut self, pair: SeatPair) {
        for end in [WireEnd::Low, WireEnd::High] {
            if let Some(link) = *self.wires.wire(pair).up.at(end) {
                let after = self.rng.length(Millis::from_ms(100), Millis::from_ms(12_000));
                self.after(after, Happening::Down { link });
            }
        }
    }

    pub(super) fn dial_all(&mut self, seat: Seat) {
        for other in self.seats().into_iter().filter(|other| *other != seat) {
            self.dial(SeatPair::new(seat, other));
        }
    }

    /// A dial, soon. What keeps it from succeeding schedules the next when it goes away.
    pub(super) fn dial(&mut self, pair: SeatPair) {
        let wire = self.wires.wire(pair);
        if wire.dialling || wire.is_up() {
            return;
        }
        wire.dialling = true;
        let after = self.rng.length(Millis::from_ms(50), Millis::from_ms(3_000));
        self.after(after, Happening::Dial(pair));
    }

    pub(super) fn dialled(&mut self, pair: SeatPair) {
        let wire = self.wires.wire(pair);
        wire.dialling = false;
        if !wire.passes() || wire.is_up() || !self.agree_to_link(pair) {
            return;
        }
        for end in [WireEnd::Low, WireEnd::High] {
            if let Some(link) = *self.wires.wire(pair).up.at(end) {
                self.down(link);
            }
        }
        self.wires.open(pair);
        for end in [WireEnd::Low, WireEnd::High] {
            let at = self.time + self.latency();
            let wire = self.wires.wire(pair);
            let link = wire.session.at(end).expect("a session was opened");
            *wire.arrives.at_mut(end) = at;
            self.at(at, Happening::Up { link });
        }
    }

    /// Whether both run and have each other on their lists.
    pub(super) fn agree_to_link(&self, pair: SeatPair) -> bool {
        [WireEnd::Low, WireEnd::High].into_iter().all(|end| {
            let other = self.machine(pair.seat(end.other())).peer;
            let node = self.machine(pair.seat(end)).node.as_ref();
            node.is_some_and(|node| node.report().dialable_peers().iter().any(|(peer, _)| *peer == other))
        })
    }

    pub(super) fn up(&mut self, link: LinkId) {
        let Some((pair, end)) = self.wires.find(link) else { return };
        let (seat, peer) = (pair.seat(end), self.machine(pair.seat(end.other())).peer);
        let wire = self.wires.wire(pair);
        if *wire.session.at(end) != Some(link) {
            return;
        }
        if !self.is_running(seat) {
            // The dialling side gets no answer and gives up.
            if let Some(link) = *self.wires.wire(pair).up.at(end.other()) {
                self.after(10 * SECOND, Happening::Down { link });
            }
            return;
        }
        *self.wires.wire(pair).up.at_mut(end) = Some(link);
        let caps = caps(self.rates.latency.0);
        self.input(seat, Input::LinkUp { link, peer, caps });
    }

    pub(super) fn down(&mut self, link: LinkId) {
        let Some((pair, end)) = self.wires.find(link) else { return };
        let wire = self.wires.wire(pair);
        if *wire.up.at(end) != Some(link) {
            return;
        }
        *wire.up.at_mut(end) = None;
        // The far end of the session notices as well, if it has not yet.
        if let Some(far) = *wire.up.at(end.other()) {
            let after = self.rng.length(Millis::from_ms(10), Millis::from_ms(12_000));
            self.after(after, Happening::Down { link: far });
        }
        self.input(pair.seat(end), Input::LinkDown { link, why: DownReason::Silent });
        self.dial(pair);
    }

    pub(super) fn latency(&mut self) -> Millis {
        let (least, more) = self.rates.latency;
        least + self.rng.length(Millis::ZERO, more)
    }

    pub(super) fn transmit(&mut self, link: LinkId, bytes: Vec<u8>) {
        self.traffic.messages += 1;
        self.traffic.bytes += bytes.len() as u64;
        assert!(bytes.len() <= tombolo::limits::MESSAGE_BYTES_MAX, "a node sent more than a link takes");
        let Some((pair, end)) = self.wires.find(link) else { return };
        let wire = self.wires.wire(pair);
        if *wire.up.at(end) != Some(link) || *wire.session.at(end) != Some(link) {
            return;
        }
        if wire.cut || *wire.silent.at(end) {
            self.faults.count(Fault::Silence);
            return;
        }
        if self.rng.chance(self.rates.loss) {
            self.faults.count(Fault::Loss);
            return;
        }
        let to = end.other();
        let Some(far) = *self.wires.wire(pair).session.at(to) else { return };
        let latency = self.latency();
        let time = self.time;
        let in_order = {
            let newest = self.wires.wire(pair).arrives.at_mut(to);
            *newest = (*newest).max(time + latency);
            *newest
        };
        if self.rng.chance(self.rates.duplication) {
            self.faults.count(Fault::Duplication);
            let at = in_order + self.rng.length(Millis::ZERO, self.rates.lag);
            self.at(at, Happening::Deliver { link: far, bytes: bytes.clone() });
        }
        let mut at = in_order;
        if self.rng.chance(self.rates.reordering) {
            self.faults.count(Fault::Reordering);
            at += self.rng.length(Millis::ZERO, self.rates.lag);
        }
        let bytes = if self.rng.chance(self.rates.corruption) {
            self.faults.count(Fault::Corruption);
            let other = self.machine(pair.seat(to)).remembered.back().map(|(_, b)| b.clone());
            damage(&mut self.rng, &bytes, &other.unwrap_or_default())
        } else {
            bytes
        };
        self.at(at, Happening::Deliver { link: far, bytes });
    }

    pub(super) fn deliver(&mut self, link: LinkId, bytes: Vec<u8>) {
        let Some((pair, end)) = self.wires.find(link) else { return };
        if *self.wires.wire(pair).up.at(end) != Some(link) {
            return;
        }
        let (seat, from) = (pair.seat(end), self.machine(pair.seat(end.other())).peer);
        let machine = self.machine_mut(seat);
        if machine.remembered.len() == REMEMBERED_MAX {
            machine.remembered.pop_front();
        }
        machine.remembered.push_back((from, bytes.clone()));
        self.input(seat, Input::Received { link, bytes });
    }

    /// Gives every machine again what it received before, on the links that are up now.
    pub fn replay(&mut self) {
        for seat in self.seats() {
            let remembered = std::mem::take(&mut self.machine_mut(seat).remembered);
            for (from, bytes) in remembered {
                let Some(other) = self.seats().into_iter().find(|s| self.machine(*s).peer == from) else {
                    continue;
                };
                let pair = SeatPair::new(seat, other);
                if let Some(link) = *self.wires.wire(pair).up.at(pair.end_of(seat)) {
                    self.faults.count(Fault::Replay);
                    self.input(seat, Input::Received { link, bytes });
                }
            }
        }
    }
}
