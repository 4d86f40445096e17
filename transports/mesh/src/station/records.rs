//! What a station makes durable, and what it finds of earlier runs.

use std::collections::BTreeMap;

use super::channels::WindowRecord;
use crate::airtime::ledger::LedgerRecord;
use crate::frame::announcement::EpochAnnouncement;
use crate::frame::keys::BootEpoch;
use crate::peer::PeerId;

/// What was made durable in earlier runs.
#[derive(Clone, Debug, Default)]
pub struct StationRecords {
    /// Number of our newest boot epoch.
    pub own_epoch: Option<u32>,
    /// The newest announcement heard of each peer.
    pub heard: BTreeMap<PeerId, EpochAnnouncement>,
    /// Where the windows were.
    pub windows: Vec<WindowRecord>,
}

/// What must be on disk; see [`Station::poll_record`](super::Station::poll_record).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Our boot epoch. Nothing is sent before it is durable. (Where an older one was lost with its disk, the fresh salt keeps the
    /// keys new and the peers send the number.)
    OwnEpoch(BootEpoch),
    /// The newest announcement of a peer.
    Heard(PeerId, EpochAnnouncement),
    /// How far a sender was heard in an audience.
    Window(WindowRecord),
    /// Airtime: no frame leaves that it does not cover.
    Ledger(LedgerRecord),
}

/// What is to be made durable, the newest of each only.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) own: Option<BootEpoch>,
    pub(super) heard: BTreeMap<PeerId, EpochAnnouncement>,
    pub(super) windows: BTreeMap<(PeerId, PeerId), WindowRecord>,
    pub(super) ledger: Option<LedgerRecord>,
}

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_none() && self.heard.is_empty() && self.windows.is_empty() && self.ledger.is_none()
    }

    pub(super) fn pop(&mut self) -> Option<Record> {
        let own = self.own.take().map(Record::OwnEpoch);
        let ledger = || self.ledger.take().map(Record::Ledger);
        let heard = || self.heard.pop_first().map(|(peer, announcement)| Record::Heard(peer, announcement));
        let window = || self.windows.pop_first().map(|(_, window)| Record::Window(window));
        own.or_else(ledger).or_else(heard).or_else(window)
    }
}
