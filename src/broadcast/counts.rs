//! What is counted on one radio, for reports: frames since the start; today's bytes, and the airtime of each listener. It decides nothing.
//!
//! Today's figures are on disk as `radio/NAME/today`, written with the ledger's record and every [`WRITE_EVERY`]: a
//! restart loses at most what came since.
//!
//! ```text
//! [day u32][bytes sent u64][bytes received u64] { [peer 32][bytes received u64][airtime µs u64] }…
//! ```

use crate::time::{Millis, Mono};
use std::collections::{BTreeMap, VecDeque};

use tombolo_mesh::airtime::ledger::{Account, NeverLegal};
use tombolo_mesh::station::FrameCharge;
use tombolo_transports::PeerId;

/// Key of the record among those of its radio.
pub(crate) const RECORD: &str = "today";
/// Peers counted one by one; what comes of further ones counts for the radio only.
const PEERS_COUNTED_MAX: usize = 256;
/// Accounts whose listeners are known; the oldest goes first.
const MEANT_MAX: usize = 64;
/// Pause between two records that nothing else asks for.
const WRITE_EVERY: Millis = Millis::from_secs(10 * 60);

/// The counters of one radio.
#[derive(Debug, Default)]
pub(crate) struct RadioCounts {
    pub(crate) frames_sent: u64,
    pub(crate) frames_received: u64,
    pub(crate) today: Today,
    /// Why something will never be sent.
    pub(crate) never: Option<NeverLegal>,
    /// The listeners of the last message of an account.
    meant: VecDeque<(Account, Vec<PeerId>)>,
    written: Option<(Mono, Today)>,
}

/// Since the day began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Today {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    peers: BTreeMap<PeerId, OfPeer>,
}

/// What of a radio's day belongs to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OfPeer {
    /// Bytes of its frames that were received.
    pub(crate) bytes_received: u64,
    /// Its share of the airtime of what was sent for it, microseconds: what is for several is shared among them.
    pub(crate) airtime_us: u64,
}

impl RadioCounts {
    /// Goes on from what was counted today before.
    pub(crate) fn going_on(today: Today) -> Self {
        RadioCounts { today, ..RadioCounts::default() }
    }

    /// A frame left, and was charged so much.
    pub(crate) fn sent(&mut self, bytes: usize, charge: FrameCharge) {
        self.frames_sent += 1;
        self.today.bytes_sent += bytes as u64;
        let FrameCharge { account, airtime_us } = charge;
        let meant = self.meant.iter().find(|(of, _)| *of == account);
        let Some((_, listeners)) = meant.filter(|(_, listeners)| !listeners.is_empty()) else { return };
        let share_us = airtime_us / listeners.len() as u64;
        for peer in listeners {
            if let Some(of) = self.today.of_mut(*peer) {
                of.airtime_us += share_us;
            }
        }
    }

    /// A frame was received; `from` is its sender, if it could be opened.
    pub(crate) fn received(&mut self, bytes: usize, from: Option<PeerId>) {
        self.frames_received += 1;
        self.today.bytes_received += bytes as u64;
        if let Some(of) = from.and_then(|from| self.today.of_mut(from)) {
            of.bytes_received += bytes as u64;
        }
    }

    /// What is charged to an account from now on is for these.
    pub(crate) fn meant_for(&mut self, account: Account, listeners: &[PeerId]) {
        self.meant.retain(|(of, _)| *of != account);
        if self.meant.len() >= MEANT_MAX {
            self.meant.pop_front();
        }
        self.meant.push_back((account, listeners.to_vec()));
    }

    /// The record to write now, if there is news worth a write.
    pub(crate) fn record_due(&mut self, now: Mono, day: u32, writes_anyway: bool) -> Option<Vec<u8>> {
        let (at, last) = self.written.get_or_insert_with(|| (now, self.today.clone()));
        if *last == self.today || (!writes_anyway && now < *at + WRITE_EVERY) {
            return None;
        }
        self.written = Some((now, self.today.clone()));
        Some(self.today.encode(day))
    }
}

impl Today {
    /// What belongs to a peer.
    pub(crate) fn of(&self, peer: &PeerId) -> OfPeer {
        self.peers.get(peer).copied().unwrap_or_default()
    }

    fn of_mut(&mut self, peer: PeerId) -> Option<&mut OfPeer> {
        if self.peers.len() >= PEERS_COUNTED_MAX && !self.peers.contains_key(&peer) {
            return None;
        }
        Some(self.peers.entry(peer).or_default())
    }

    fn encode(&self, day: u32) -> Vec<u8> {
        let mut bytes = day.to_be_bytes().to_vec();
        bytes.extend(self.bytes_sent.to_be_bytes());
        bytes.extend(self.bytes_received.to_be_bytes());
        for (peer, of) in &self.peers {
            bytes.extend(peer.0);
            bytes.extend(of.bytes_received.to_be_bytes());
            bytes.extend(of.airtime_us.to_be_bytes());
        }
        bytes
    }

    /// What was written on this day; of another day, or of what does not read, nothing.
    pub(crate) fn decode(bytes: &[u8], day: u32) -> Today {
        Self::read(bytes, day).unwrap_or_default()
    }

    fn read(bytes: &[u8], day: u32) -> Option<Today> {
        let (written, rest) = bytes.split_first_chunk::<4>()?;
        let (bytes_sent, rest) = number(rest)?;
        let (bytes_received, mut rest) = number(rest)?;
        let mut today = Today { bytes_sent, bytes_received, peers: BTreeMap::new() };
        while let Some((peer, of)) = rest.split_first_chunk::<32>() {
            let (bytes_received, of) = number(of)?;
            let (airtime_us, next) = number(of)?;
            *today.of_mut(PeerId(*peer))? = OfPeer { bytes_received, airtime_us };
            rest = next;
        }
        (rest.is_empty() && u32::from_be_bytes(*written) == day).then_some(today)
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_for_several_is_shared_among_them() {
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut counts = RadioCounts::default();
        counts.sent(50, FrameCharge { account: Account(1), airtime_us: 900 });
        counts.meant_for(Account(7), &[a, b]);
        counts.sent(100, FrameCharge { account: Account(7), airtime_us: 1_000 });
        counts.meant_for(Account(7), &[b]);
        counts.sent(100, FrameCharge { account: Account(7), airtime_us: 1_000 });
        assert_eq!((counts.today.of(&a).airtime_us, counts.today.of(&b).airtime_us), (500, 1_500));
        counts.received(30, Some(a));
        counts.received(40, None);
        assert_eq!((counts.today.bytes_sent, counts.today.bytes_received), (250, 70));
        assert_eq!((counts.today.of(&a).bytes_received, counts.today.of(&b).bytes_received), (30, 0));
    }

    #[test]
    fn a_record_is_written_for_news_and_read_on_its_day_only() {
        let mut counts = RadioCounts::default();
        assert_eq!(counts.record_due(Mono::ZERO, 5, true), None, "nothing happened");
        counts.received(30, Some(PeerId([1; 32])));
        assert_eq!(counts.record_due(Mono::from_ms(1_000), 5, false), None, "no write for its sake so soon");
        let record = counts.record_due(Mono::ZERO + WRITE_EVERY, 5, false).unwrap();
        assert_eq!(counts.record_due(Mono::ZERO + WRITE_EVERY, 5, true), None, "it is written");
        assert_eq!(Today::decode(&record, 5), counts.today);
        assert_eq!(Today::decode(&record, 6), Today::default());
        assert_eq!(Today::decode(&record[..record.len() - 1], 5), Today::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_day_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Today::decode(&bytes, 5);
        }
    }
}
