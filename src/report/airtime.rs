//! Radios in the words of `status` and `airtime`: how far long messages are, and what the airtime was for.

use crate::time::{Millis, Mono};
use std::collections::BTreeMap;

use tombolo_mesh::airtime::ledger::{Account, Priority};
use tombolo_mesh::station::BulkTransfer;

use crate::broadcast::{RadioLink, account};
use crate::identity::did;
use crate::io::view;
use crate::report::NodeReport;
use crate::report::links::STATE_BYTES;

impl NodeReport<'_> {
    /// The airtime of each radio.
    pub fn airtime(&self) -> Vec<view::AirtimeView> {
        let names = self.account_names();
        let radios = self.broadcast.radios().map(|(_, radio)| {
            let by_peer = self.replica.federation().peers().map(|peer| view::PeerAirtimeRow {
                what: self.name_of(&peer.id),
                did: did(&peer.id),
                today_s: seconds(radio.counts().today.of(&peer.id).airtime_us),
            });
            let by_peer = by_peer.filter(|row| row.today_s > 0.0).collect();
            view::AirtimeView { by_peer, ..airtime_view(radio, self.core.now(), &names) }
        });
        radios.collect()
    }

    /// Long messages on their way on a radio, and about how long they will take.
    pub(super) fn transfers_on(&self, radio: &RadioLink) -> Vec<view::TransferView> {
        let names = self.account_names();
        let now = self.core.now();
        let peer_name = |from| self.replica.federation().peer(&from).map(|peer| self.name_of(&peer.id));
        let of = |transfer: BulkTransfer| view::TransferView {
            way: if transfer.from.is_none() { "out" } else { "in" },
            from: transfer.from.and_then(peer_name),
            document: transfer.account.map(|account| names.of(account)),
            frames_done: transfer.frames.saturating_sub(transfer.frames_to_go),
            frames: transfer.frames,
            repair: transfer.repair,
            about_s: done_in_s(radio, now, &transfer),
        };
        radio.transfers().into_iter().map(of).collect()
    }

    /// Long messages on their way on all radios.
    pub(super) fn transfers(&self) -> Vec<view::TransferView> {
        self.broadcast.radios().flat_map(|(_, radio)| self.transfers_on(radio)).collect()
    }

    /// Frames rejected by the radios, by reason.
    pub(super) fn radio_rejections(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (_, radio) in self.broadcast.radios() {
            for (reason, count) in radio.rejections() {
                *all.entry(format!("radio: {reason}")).or_insert(0) += count;
            }
        }
        all
    }

    /// What each account is, in words: a document and its author, or what belongs to none.
    fn account_names(&self) -> AccountNames {
        let names = self.replica.layers().layers().map(|layer| {
            let id = &layer.head().layer;
            let (owner, name) = (self.name_of(&id.document.owner), id.document.name.as_str());
            (account(&id.hash()), format!("{owner}/{name} by {}", self.name_of(&id.author)))
        });
        AccountNames(names.collect())
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
            5 => "commands",
            6 => "revocations",
            u64::MAX => "others",
            _ => {
                let known = self.0.get(&account).cloned();
                return known.unwrap_or_else(|| "a document no longer held".to_owned());
            }
        };
        fixed.to_owned()
    }
}

fn airtime_view(radio: &RadioLink, now: Mono, names: &AccountNames) -> view::AirtimeView {
    let frame_us = radio.airtime_us(STATE_BYTES);
    let (spec, mut ledger) = (radio.spec(), radio.ledger());
    let (hours, accounts) = (ledger.by_priority(now), ledger.by_account());
    let by_priority = hours.iter().map(|of| view::PriorityAirtimeRow {
        what: of.priority.name().to_owned(),
        today_s: seconds(of.today_us),
        hour_s: seconds(of.hour_us),
        budget_hour_s: ledger.whole_us(of.priority).map(seconds),
        share_s: ledger.share_us(of.priority).map(seconds),
        share_left_s: seconds(ledger.share_us(of.priority).unwrap_or_default().saturating_sub(of.hour_us)),
        left_s: seconds(ledger.left_us(now, of.priority)),
        leaves_in_s: radio.leaves_in(now, of.priority).map(seconds_of),
        every_s: radio.sends_every(now, of.priority).map(seconds_of),
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
        budget_hour_s: ledger.budget().map(seconds_of),
        frame_of_100_bytes_s: seconds(frame_us),
        state_leaves_in_s: radio.leaves_in(now, Priority::State).map(seconds_of),
        never: radio.counts().never.map(|never| never.to_string()),
        frames_sent: radio.counts().frames_sent,
        frames_heard: radio.counts().frames_received,
        by_priority,
        by_account: by_account.collect(),
        by_peer: Vec::new(),
    }
}

/// In about how many seconds a long message is through, if nothing else is sent and nothing lost; `None`: never, or not before
/// its sender resumes it.
fn done_in_s(radio: &RadioLink, now: Mono, transfer: &BulkTransfer) -> Option<f64> {
    let airtime_us = transfer.airtime_us;
    if transfer.from.is_some() {
        return Some(seconds(airtime_us));
    }
    let frame_us = airtime_us / (transfer.frames_to_go as u64).max(1);
    let mut ledger = radio.ledger();
    let first = ledger.leaves_in(now, frame_us, transfer.priority)?;
    let left_us = ledger.left_us(now, transfer.priority);
    let an_hour_us = ledger.whole_us(transfer.priority)?.max(1);
    // What does not fit this hour's budget leaves as that grows back.
    let waits_s = airtime_us.saturating_sub(left_us) as f64 / an_hour_us as f64 * 3_600.0;
    Some(seconds(airtime_us) + waits_s.max(seconds_of(first)))
}

fn seconds_of(length: Millis) -> f64 {
    length.ms() as f64 / 1e3
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
