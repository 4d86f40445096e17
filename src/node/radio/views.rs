//! Radios in the words of `status` and `airtime`: how far listeners and long messages are, and what the air was for.

use std::collections::BTreeMap;

use tombolo_mesh::airtime::ledger::{Account, Priority};
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::BulkTransfer;
use tombolo_transports::{LinkId, PeerId};

use crate::identity::did;
use crate::layer::DocumentName;
use crate::node::radio::counts::Today;
use crate::node::radio::table::STATE_BYTES;
use crate::node::{Node, view};
use crate::sync::broadcast::SyncStatus;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Node {
    /// Whether a peer is heard on a radio, and then what the radio that knows most knows of how far it and we are apart.
    pub(in crate::node) fn step_by_radio(&self, peer: &PeerId) -> Option<(&super::Radio, SyncStatus)> {
        let now = self.now.mono_ms;
        let hears =
            |radio: &&super::Radio| radio.up && radio.cell.presence(peer).is_some_and(|h| h.until > now);
        let steps =
            self.radios.by_link.values().filter(hears).map(|radio| (radio, radio.cell.sync_status(peer)));
        steps.min_by_key(|(_, step)| match step {
            SyncStatus::Known(apart) => (0, apart.we_lack + apart.they_lack, apart.unacknowledged as u64),
            SyncStatus::Unknown { since } => (1, 0, since.map_or(u64::MAX, |since| u64::MAX - since)),
        })
    }

    /// How many layers a peer and we share that do not go by a radio: by its document's policy, or since all could read it.
    pub(in crate::node) fn layers_not_on(&self, radio: &super::Radio, peer: &PeerId) -> usize {
        let sealed = radio.spec.mode == Mode::Encrypted;
        let stays = self.holdings.layers().filter(|layer| {
            let id = &layer.head().layer;
            let name = id.document.name.as_str();
            let is_shared = self.federation.participates(&id.document)
                && self.federation.may_receive(peer, id, layer.head().audience_sequence);
            is_shared
                && !matches!(name, DocumentName::KEYS | DocumentName::AUDIENCE)
                && !self.goes_on_air(&layer.signed, sealed)
        });
        stays.count()
    }

    /// What is counted by the day begins anew with the day.
    pub(in crate::node) fn start_day(&mut self) {
        let day = u32::try_from(self.reference_ms() / DAY_MS).unwrap_or(u32::MAX);
        if std::mem::replace(&mut self.radios.day, day) == day {
            return;
        }
        self.counters.start_day();
        for radio in self.radios.by_link.values_mut() {
            radio.station.ledger().start_day(day);
            radio.counts.today = Today::default();
        }
    }

    /// What each account is, in words: a document and who wrote it, or what belongs to none.
    fn account_names(&self) -> AccountNames {
        let names = self.holdings.layers().map(|layer| {
            let id = &layer.head().layer;
            let (owner, name) = (self.name_of(&id.document.owner), id.document.name.as_str());
            let text = format!("{owner}/{name} by {}", self.name_of(&id.author));
            (super::outbound::account(&id.hash()), text)
        });
        AccountNames(names.collect())
    }

    /// The airtime of each radio.
    pub(in crate::node) fn airtime_view(&mut self) -> Vec<view::AirtimeView> {
        let now = self.now.mono_ms;
        let names = self.account_names();
        let peers: Vec<(PeerId, String)> =
            self.federation.peers().map(|peer| (peer.id, self.name_of(&peer.id))).collect();
        let radios = self.radios.by_link.values_mut().map(|radio| {
            let view = radio.airtime_view(now, &names);
            let by_peer = peers.iter().map(|(peer, name)| view::PeerAirtimeRow {
                what: name.clone(),
                did: did(peer),
                today_s: seconds(radio.counts.today.of(peer).airtime_us),
            });
            view::AirtimeView { by_peer: by_peer.filter(|row| row.today_s > 0.0).collect(), ..view }
        });
        radios.collect()
    }

    /// Long messages on their way on a radio, and about how long they will take.
    pub(super) fn transfers_on(&mut self, link: LinkId) -> Vec<view::TransferView> {
        let names = self.account_names();
        let now = self.now.mono_ms;
        let peers: BTreeMap<PeerId, String> =
            self.federation.peers().map(|peer| (peer.id, self.name_of(&peer.id))).collect();
        let Some(radio) = self.radios.by_link.get_mut(&link) else { return Vec::new() };
        let transfers = radio.station.transfers();
        let of = |transfer: BulkTransfer| view::TransferView {
            way: if transfer.from.is_none() { "out" } else { "in" },
            from: transfer.from.and_then(|from| peers.get(&from).cloned()),
            document: transfer.account.map(|account| names.of(account)),
            frames_done: transfer.frames.saturating_sub(transfer.frames_to_go),
            frames: transfer.frames,
            repair: transfer.repair,
            about_s: radio.done_in_s(now, &transfer),
        };
        transfers.into_iter().map(of).collect()
    }

    /// Long messages on their way on all radios.
    pub(in crate::node) fn transfers_view(&mut self) -> Vec<view::TransferView> {
        let links: Vec<LinkId> = self.radios.by_link.keys().copied().collect();
        links.into_iter().flat_map(|link| self.transfers_on(link)).collect()
    }

    /// Frames refused by the radios, by reason.
    pub(in crate::node) fn radio_rejections(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for radio in self.radios.by_link.values() {
            for (reason, count) in radio.station.rejections() {
                *all.entry(format!("radio: {reason}")).or_insert(0) += count;
            }
        }
        all
    }
}

/// What accounts are called.
struct AccountNames(BTreeMap<Account, String>);

impl AccountNames {
    fn of(&self, account: Account) -> String {
        let fixed = match account.0 {
            0 => "radio's own frames",
            1 => "heartbeats",
            2 => "frontiers",
            3 => "joining",
            4 => "asking for a key",
            u64::MAX => "others",
            _ => {
                return self
                    .0
                    .get(&account)
                    .cloned()
                    .unwrap_or_else(|| "a document no longer held".to_owned());
            }
        };
        fixed.to_owned()
    }
}

impl super::Radio {
    fn airtime_view(&mut self, now: u64, names: &AccountNames) -> view::AirtimeView {
        let frame_us = self.station.airtime_us(STATE_BYTES);
        let (spec, ledger) = (&self.spec, self.station.ledger());
        let (hours, accounts) = (ledger.by_priority(now), ledger.by_account());
        let by_priority = hours.iter().map(|of| view::PriorityAirtimeRow {
            what: of.priority.name().to_owned(),
            today_s: seconds(of.today_us),
            hour_s: seconds(of.hour_us),
            budget_hour_s: ledger.whole_us(of.priority).map(seconds),
            left_s: seconds(ledger.left_us(now, of.priority)),
            leaves_in_s: ledger.leaves_in_ms(now, frame_us, of.priority).map(|ms| ms as f64 / 1e3),
        });
        let by_priority = by_priority.collect();
        let by_account = accounts.iter().map(|of| view::AirtimeRow {
            what: names.of(of.account),
            today_s: seconds(of.today_us),
            hour_s: seconds(of.hour_us),
        });
        let rules = ledger.rules().copied();
        view::AirtimeView {
            radio: spec.name.clone(),
            rules: spec.rules_text.clone(),
            regulation: rules.map(|rules| rules.source.to_owned()),
            duty_permille: rules.and_then(|rules| rules.duty_permille),
            used_last_hour_s: seconds(ledger.hour_us(now)),
            budget_hour_s: ledger.budget_ms().map(|ms| ms as f64 / 1e3),
            frame_of_100_bytes_s: seconds(frame_us),
            state_leaves_in_s: ledger.leaves_in_ms(now, frame_us, Priority::State).map(|ms| ms as f64 / 1e3),
            never: self.counts.never.clone(),
            frames_sent: self.counts.frames_sent,
            frames_heard: self.counts.frames_heard,
            by_priority,
            by_account: by_account.collect(),
            by_peer: Vec::new(),
        }
    }

    /// In about how many seconds a long message is through, if nothing else is sent and nothing lost; none: never, or
    /// not before its sender goes on.
    fn done_in_s(&mut self, now: u64, transfer: &BulkTransfer) -> Option<f64> {
        let airtime_us = transfer.airtime_us;
        if transfer.from.is_some() {
            return Some(seconds(airtime_us));
        }
        let frame_us = airtime_us / (transfer.frames_to_go as u64).max(1);
        let ledger = self.station.ledger();
        let first_ms = ledger.leaves_in_ms(now, frame_us, transfer.priority)?;
        let left_us = ledger.left_us(now, transfer.priority);
        let an_hour_us = ledger.whole_us(transfer.priority)?.max(1);
        // What does not fit this hour's budget comes as that grows back.
        let waits_s = airtime_us.saturating_sub(left_us) as f64 / an_hour_us as f64 * 3_600.0;
        Some(seconds(airtime_us) + waits_s.max(first_ms as f64 / 1e3))
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
