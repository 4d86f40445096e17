//! What of a radio is on disk, under `radio/NAME/` in `meta`:
//!
//! | key | bytes |
//! |---|---|
//! | `epoch` | number of this node's newest boot epoch, u32 |
//! | `heard/PEER` | its newest epoch announcement: number u32, salt 8, counter u32, signature 64 |
//! | `window/OWNER/PEER` | boot epoch u32, highest counter u32 |
//! | `ledger` | the ledger's own record |
//! | `today` | bytes and shares of airtime of this day, see `counts` |
//!
//! Numbers big endian, identities in hex. What does not read is left out: of the ledger that counts as a full hour.

use std::collections::BTreeMap;

use tombolo_mesh::airtime::ledger::{Ledger, LedgerConfig, LedgerRecord, Moment};
use tombolo_mesh::frame::announcement::EpochAnnouncement;
use tombolo_mesh::frame::keys::BootEpoch;
use tombolo_mesh::station::{Record, StationRecords, WindowRecord};
use tombolo_transports::PeerId;

use crate::core::Core;
use crate::store::StoreWrite;

/// What is on disk of radios, connected or not: by `radio/NAME/KEY`.
#[derive(Debug, Default)]
pub(super) struct RadioRecords(BTreeMap<String, Vec<u8>>);

impl RadioRecords {
    /// Takes what is on disk of radios, and leaves the rest of `meta`.
    pub(super) fn load(meta: &BTreeMap<String, Vec<u8>>) -> Self {
        let of_radios = meta.iter().filter(|(key, _)| key.starts_with("radio/"));
        RadioRecords(of_radios.map(|(key, bytes)| (key.clone(), bytes.clone())).collect())
    }

    /// The records of one radio, by the part of their key behind its name.
    pub(super) fn of(&self, radio: &str) -> BTreeMap<String, Vec<u8>> {
        let prefix = format!("radio/{radio}/");
        let of_radio = self.0.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        of_radio.map(|(key, bytes)| (key.split_at(prefix.len()).1.to_owned(), bytes.clone())).collect()
    }

    /// Writes a record with the next commit.
    pub(super) fn write(&mut self, core: &mut Core, radio: &str, key: &str, bytes: Vec<u8>) {
        let name = format!("radio/{radio}/{key}");
        self.0.insert(name.clone(), bytes.clone());
        core.gate.write(StoreWrite::PutMeta(name.into(), bytes));
    }
}

pub(super) fn encode(record: &Record) -> (String, Vec<u8>) {
    match record {
        Record::OwnEpoch(epoch) => ("epoch".to_owned(), epoch.number.to_be_bytes().to_vec()),
        Record::Heard(peer, opening) => {
            let mut bytes = opening.epoch.number.to_be_bytes().to_vec();
            bytes.extend(opening.epoch.salt);
            bytes.extend(opening.counter.to_be_bytes());
            bytes.extend(opening.signature);
            (format!("heard/{}", hex(peer)), bytes)
        }
        Record::Window(window) => {
            let bytes = [window.epoch.to_be_bytes(), window.highest.to_be_bytes()].concat();
            (format!("window/{}/{}", hex(&window.channel), hex(&window.sender)), bytes)
        }
        Record::Ledger(record) => ("ledger".to_owned(), record.encode()),
    }
}

pub(super) fn station(records: &BTreeMap<String, Vec<u8>>) -> StationRecords {
    let mut station = StationRecords::default();
    for (key, bytes) in records {
        match key.split('/').collect::<Vec<_>>().as_slice() {
            ["epoch"] => station.own_epoch = number(bytes).map(|(number, _)| number),
            ["heard", peer] => {
                if let (Some(peer), Some(opening)) = (peer_of(peer), opening(bytes)) {
                    station.heard.insert(peer, opening);
                }
            }
            ["window", channel, sender] => {
                if let (Some(channel), Some(sender), Some((epoch, rest))) =
                    (peer_of(channel), peer_of(sender), number(bytes))
                    && let Some((highest, _)) = number(rest)
                {
                    station.windows.push(WindowRecord { channel, sender, epoch, highest });
                }
            }
            _ => {}
        }
    }
    station
}

pub(super) fn ledger(records: &BTreeMap<String, Vec<u8>>, config: LedgerConfig, moment: Moment) -> Ledger {
    match records.get("ledger").map(|bytes| LedgerRecord::decode(bytes)) {
        None => Ledger::new(config, moment.monotonic),
        Some(Ok(record)) => Ledger::restore(config, &record, moment),
        Some(Err(error)) => {
            tracing::warn!(%error, "the airtime of the last hour is not known: counted as full");
            Ledger::after_loss(config, moment.monotonic)
        }
    }
}

fn opening(bytes: &[u8]) -> Option<EpochAnnouncement> {
    let (number_of, rest) = number(bytes)?;
    let (salt, rest) = rest.split_first_chunk::<8>()?;
    let (counter, signature) = number(rest)?;
    let epoch = BootEpoch { number: number_of, salt: *salt };
    Some(EpochAnnouncement { epoch, counter, signature: signature.try_into().ok()? })
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn hex(peer: &PeerId) -> String {
    data_encoding::HEXLOWER.encode(&peer.0)
}

fn peer_of(text: &str) -> Option<PeerId> {
    Some(PeerId(data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?))
}
