//! The cables of a field: between which nodes they lie, what kind of link they are, how fast they are and whether they swallow what is
//! sent.

use std::collections::BTreeMap;

use tombolo::time::{Millis, Mono};
use tombolo_transports::{LinkCaps, LinkId, Medium};

/// A node's end of a cable: the node, and the link that the cable is to it.
pub(crate) type CableEnd = (usize, LinkId);

/// What kind of link a cable is, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CableKind {
    /// The medium that both ends see.
    pub medium: Medium,
    /// The time from one end to the other.
    pub latency: Millis,
    /// Bits per second each way; none: what is sent takes no time.
    pub rate_bps: Option<u64>,
}

impl CableKind {
    /// A LAN that takes no time.
    pub const LAN: CableKind = CableKind { medium: Medium::Lan, latency: Millis::ZERO, rate_bps: None };
    /// A link through Tor that takes no time.
    pub const TOR: CableKind = CableKind { medium: Medium::Tor, ..CableKind::LAN };

    pub(crate) fn caps(self) -> LinkCaps {
        let usual_ms = if self.medium == Medium::Tor { 400 } else { 1 };
        LinkCaps {
            medium: self.medium,
            message_bytes_max: 1 << 20,
            rate_bps: self.rate_bps,
            latency_ms: match self.latency.ms() {
                0 => usual_ms,
                known => u32::try_from(known).unwrap_or(u32::MAX),
            },
            loss_permille: 0,
            broadcast: false,
            metered: false,
            confidential: true,
            airtime_us_per_byte: 0,
            airtime_left: None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct CableWire {
    to: CableEnd,
    kind: CableKind,
    is_silent: bool,
    /// Until when what was sent before takes, microseconds.
    busy_until_us: u64,
}

/// All cables, and what is on its way over them.
#[derive(Debug, Default)]
pub(crate) struct Cables {
    ends: BTreeMap<CableEnd, CableWire>,
    /// What arrives when, microseconds; in the order in which it was sent where that is equal.
    on_the_way: BTreeMap<(u64, u64), (CableEnd, Vec<u8>)>,
    sent: u64,
    /// Bytes that were sent.
    pub(crate) bytes: u64,
}

impl Cables {
    pub(crate) fn lay(&mut self, one: CableEnd, other: CableEnd, kind: CableKind) {
        let cable = |to| CableWire { to, kind, is_silent: false, busy_until_us: 0 };
        self.ends.insert(one, cable(other));
        self.ends.insert(other, cable(one));
    }

    /// Takes the cable at one end away. Returns its other end.
    pub(crate) fn take(&mut self, end: CableEnd) -> Option<CableEnd> {
        let far = self.ends.remove(&end)?.to;
        self.ends.remove(&far);
        self.on_the_way.retain(|_, (to, _)| *to != end && *to != far);
        Some(far)
    }

    /// The ends of all cables of a node.
    pub(crate) fn of(&self, place: usize) -> Vec<CableEnd> {
        self.ends.keys().filter(|(at, _)| *at == place).copied().collect()
    }

    /// One end of each cable between two nodes, of this medium or any.
    pub(crate) fn between(&self, a: usize, b: usize, medium: Option<Medium>) -> Vec<CableEnd> {
        let is_meant = |cable: &CableWire| medium.is_none_or(|medium| cable.kind.medium == medium);
        let ends = self
            .ends
            .iter()
            .filter(|((from, _), cable)| (*from, cable.to.0) == (a.min(b), a.max(b)) && is_meant(cable));
        ends.map(|(end, _)| *end).collect()
    }

    /// What is sent at either end of a cable is lost from now on.
    pub(crate) fn silence(&mut self, end: CableEnd) {
        let far = self.ends.get(&end).map(|cable| cable.to);
        for end in [Some(end), far].into_iter().flatten() {
            if let Some(cable) = self.ends.get_mut(&end) {
                cable.is_silent = true;
            }
        }
    }

    /// Sends a message into an end. Returns it with the far end if it takes no time.
    pub(crate) fn send(&mut self, now: Mono, end: CableEnd, bytes: Vec<u8>) -> Option<(CableEnd, Vec<u8>)> {
        let cable = self.ends.get_mut(&end)?;
        self.bytes += bytes.len() as u64;
        if cable.is_silent {
            return None;
        }
        let CableKind { latency, rate_bps, .. } = cable.kind;
        if latency == Millis::ZERO && rate_bps.is_none() {
            return Some((cable.to, bytes));
        }
        let takes_us = rate_bps.map_or(0, |rate| bytes.len() as u64 * 8_000_000 / rate.max(1));
        cable.busy_until_us = cable.busy_until_us.max(now.ms() * 1_000) + takes_us;
        self.sent += 1;
        self.on_the_way.insert((cable.busy_until_us + latency.ms() * 1_000, self.sent), (cable.to, bytes));
        None
    }

    /// When the next message arrives.
    pub(crate) fn next_at(&self) -> Option<Mono> {
        self.on_the_way.keys().next().map(|(at_us, _)| Mono::from_ms(at_us.div_ceil(1_000)))
    }

    /// The next message that has arrived by now.
    pub(crate) fn poll(&mut self, now: Mono) -> Option<(CableEnd, Vec<u8>)> {
        let first = self.on_the_way.first_entry()?;
        (first.key().0 <= now.ms() * 1_000).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cable_carries_one_message_after_the_other_at_its_rate() {
        let mut cables = Cables::default();
        let (one, other) = ((0, LinkId(1)), (1, LinkId(2)));
        let latency = Millis::from_ms(300);
        let slow = CableKind { medium: Medium::Tor, latency, rate_bps: Some(8_000) };
        cables.lay(one, other, slow);
        let at = Mono::from_ms;
        assert_eq!(cables.send(at(1_000), one, vec![0; 500]), None);
        assert_eq!(cables.send(at(1_000), one, vec![1; 1_000]), None);
        assert_eq!((cables.next_at(), cables.poll(at(1_799))), (Some(at(1_800)), None));
        assert_eq!(cables.poll(at(1_800)), Some((other, vec![0; 500])));
        assert_eq!(cables.next_at(), Some(at(2_800)));
        cables.silence(other);
        assert_eq!((cables.send(at(2_000), one, vec![2]), cables.next_at()), (None, Some(at(2_800))));
        assert_eq!((cables.take(one), cables.next_at()), (Some(other), None));
    }
}
