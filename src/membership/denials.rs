//! Peers that do not take this node any more: since when, kept on disk, for `status`.

use std::collections::BTreeMap;

use tombolo_delta::{Limits, Value};
use tombolo_transports::PeerId;

use super::Membership;
use crate::core::Core;
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::io::{Alarm, Event};
use crate::replica::Replica;
use crate::store::StoreWrite;
use crate::time::Wall;

/// The name of the record.
const DENIALS_RECORD: &str = "denials";

/// Since when each peer has refused this node.
#[derive(Debug, Default)]
pub(super) struct Denials(BTreeMap<PeerId, Wall>);

impl Denials {
    fn to_record(&self) -> Vec<u8> {
        let row = |(peer, since): (&PeerId, &Wall)| {
            Value::Array(vec![Value::Bytes(peer.0.to_vec()), Value::from(since.ms())])
        };
        tombolo_delta::to_cbor(&Value::Array(self.0.iter().map(row).collect()))
    }

    fn read(record: &[u8]) -> Option<Self> {
        let rows = tombolo_delta::from_cbor(record, &Limits::default()).ok()?;
        let row = |row: &Value| {
            let [peer, since] = row.as_array()? else { return None };
            Some((PeerId(peer.as_bytes()?.try_into().ok()?), Wall::from_ms(since.as_u64()?)))
        };
        Some(Denials(rows.as_array()?.iter().filter_map(row).collect()))
    }

    fn write(&self, core: &mut Core) {
        core.gate.write(StoreWrite::PutMeta(DENIALS_RECORD.into(), self.to_record()));
    }
}

impl Membership {
    /// Takes what is known from disk.
    pub fn load_denials(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        self.denials = meta.get(DENIALS_RECORD).and_then(|record| Denials::read(record)).unwrap_or_default();
    }

    /// A peer that proved its key does not take this node. The first time is an alarm; a join that is under way has its own.
    pub fn denied(&mut self, core: &mut Core, replica: &Replica, peer: PeerId) {
        let record = replica.federation().peer(&peer);
        let has_joined = record.is_some_and(|record| matches!(record.joined, Joined::Agreed));
        if !has_joined || self.denials.0.contains_key(&peer) {
            return;
        }
        let since = core.reference();
        self.denials.0.insert(peer, since);
        self.denials.write(core);
        let name = replica.name_of(core, &peer);
        core.event(Event::Alarm(Alarm::RemovedBy { peer: name, since }));
    }

    /// A peer takes this node, or is none any more.
    pub fn taken_again(&mut self, core: &mut Core, peer: &PeerId) {
        if self.denials.0.remove(peer).is_some() {
            self.denials.write(core);
        }
    }

    /// Whether a peer has shown that it does not take this node.
    pub(super) fn is_denied_by(&self, peer: &PeerId) -> bool {
        self.denials.0.contains_key(peer)
    }

    /// A peer that had removed this node refused to take it again: it stays what it was, with its documents. Returns whether it
    /// is such a peer.
    pub fn stays_denied(&mut self, core: &mut Core, replica: &mut Replica, peer: &PeerId) -> bool {
        let known = replica.federation().peer(peer).filter(|_| self.is_denied_by(peer)).cloned();
        let is_such = known.is_some();
        if let Some(known) = known {
            self.put_peer(core, replica, Peer { joined: Joined::Agreed, ..known });
        }
        is_such
    }

    /// The peers that do not take this node, each with the time since when.
    pub fn denials(&self) -> impl Iterator<Item = (&PeerId, Wall)> {
        self.denials.0.iter().map(|(peer, since)| (peer, *since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_read_as_it_is_written_and_any_other_is_none() {
        let denials = Denials(BTreeMap::from([
            (PeerId([1; 32]), Wall::from_ms(7)),
            (PeerId([2; 32]), Wall::from_ms(8)),
        ]));
        assert_eq!(Denials::read(&denials.to_record()).unwrap().0, denials.0);
        assert!(Denials::read(b"").is_none() && Denials::read(&[0x81, 0x01]).unwrap().0.is_empty());
    }
}
