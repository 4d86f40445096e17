//! Radios in the words of `links` and `airtime`.

use std::collections::BTreeMap;

use tombolo_transports::mesh::keys::Mode;
use tombolo_transports::mesh::ledger::Priority;
use tombolo_transports::{LinkId, PeerId};

use crate::clock::rfc3339;
use crate::identity::did;
use crate::layer::DocumentName;
use crate::node::{Node, view};
use crate::router::{Decision, Reason};
use crate::sync::cell::Step;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What was counted on one radio: frames since the start, bytes today.
#[derive(Debug, Default)]
pub(super) struct Counts {
    frames_sent: u64,
    bytes_sent_today: u64,
    frames_heard: u64,
    bytes_heard_today: u64,
    /// Why something will never be sent.
    pub(super) never: Option<String>,
    /// What the driver last said.
    pub(super) trouble: Option<String>,
    /// The router's last word, by peer.
    decisions: BTreeMap<PeerId, Decision>,
}

impl Counts {
    pub(super) fn sent(&mut self, bytes: usize) {
        self.frames_sent += 1;
        self.bytes_sent_today += bytes as u64;
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.frames_heard += 1;
        self.bytes_heard_today += bytes as u64;
    }

    pub(super) fn decided(&mut self, peer: PeerId, decision: Decision) {
        self.decisions.insert(peer, decision);
    }
}

impl Node {
    /// Every link and every radio, with who is at its other end and whether it is used.
    pub(in crate::node) fn links_view(&mut self) -> Vec<view::LinkView> {
        let mut rows = Vec::new();
        for (id, link) in &self.links {
            let radio_too = self.radios.by_link.values().find_map(|radio| {
                radio
                    .counts
                    .decisions
                    .get(&link.peer)
                    .map(|decision| (decision.chosen == Some(*id), decision))
            });
            let why = match radio_too {
                Some((true, _)) => "used: cheaper than the radio".to_owned(),
                Some((false, decision)) => why_not(decision, *id),
                None => "used: the only link to this peer".to_owned(),
            };
            let (sent, heard) = self.counters.today(*id);
            rows.push(view::LinkView {
                peer: self.name_of(&link.peer),
                did: did(&link.peer),
                link: link.caps.medium.to_string(),
                state: "up",
                last_heard: self.federation.peer(&link.peer).and_then(|peer| peer.heard_at_ms).map(rfc3339),
                bytes_sent: Some(sent),
                bytes_heard: Some(heard),
                airtime_today_s: None,
                step: self.federation.peer(&link.peer).map(|peer| self.step_of(peer)),
                why,
            });
        }
        let links: Vec<LinkId> = self.radios.by_link.keys().copied().collect();
        for link in links {
            rows.extend(self.radio_row(link));
            rows.extend(self.listener_rows(link));
        }
        rows
    }

    /// A radio itself: what it sends is for all.
    fn radio_row(&mut self, link: LinkId) -> Option<view::LinkView> {
        let now = self.now.mono_ms;
        let radio = self.radios.by_link.get_mut(&link)?;
        let airtime_us: u64 = radio.station.ledger().by_priority(now).iter().map(|p| p.today_us).sum();
        Some(view::LinkView {
            peer: view::ALL_WHO_LISTEN.to_owned(),
            did: String::new(),
            link: radio.spec.name.clone(),
            state: if radio.up { "up" } else { "down" },
            last_heard: None,
            bytes_sent: Some(radio.counts.bytes_sent_today),
            bytes_heard: Some(radio.counts.bytes_heard_today),
            airtime_today_s: Some(airtime_us as f64 / 1e6),
            step: None,
            why: radio.why(),
        })
    }

    /// Who was heard on a radio.
    fn listener_rows(&self, link: LinkId) -> Vec<view::LinkView> {
        let now = self.now.mono_ms;
        let Some(radio) = self.radios.by_link.get(&link) else { return Vec::new() };
        let rows = self.federation.peers().filter_map(|peer| {
            let heard = radio.cell.heard(&peer.id)?;
            let there = heard.until > now;
            let why = match radio.counts.decisions.get(&peer.id) {
                _ if !there => "not used: three of its heartbeats missed".to_owned(),
                Some(decision) if decision.chosen == Some(link) => "used: the cheapest in time".to_owned(),
                Some(decision) => why_not(decision, link),
                None => "listening: nothing to send yet".to_owned(),
            };
            let step = there.then(|| self.radio_step_view(&peer.id, (radio, radio.cell.step(&peer.id))));
            Some(view::LinkView {
                peer: self.name_of(&peer.id),
                did: did(&peer.id),
                link: radio.spec.name.clone(),
                state: if there { "heard" } else { "silent" },
                last_heard: Some(self.wall_of(heard.at)),
                bytes_sent: None,
                bytes_heard: None,
                airtime_today_s: None,
                step,
                why,
            })
        });
        rows.collect()
    }

    /// Whether a peer is heard on a radio, and then what the radio that knows most knows of how far it and we are apart.
    pub(in crate::node) fn step_by_radio(&self, peer: &PeerId) -> Option<(&super::Radio, Step)> {
        let now = self.now.mono_ms;
        let hears = |radio: &&super::Radio| radio.up && radio.cell.heard(peer).is_some_and(|h| h.until > now);
        let steps = self.radios.by_link.values().filter(hears).map(|radio| (radio, radio.cell.step(peer)));
        steps.min_by_key(|(_, step)| match step {
            Step::Known(apart) => (0, apart.we_lack + apart.they_lack, apart.sent as u64),
            Step::Unknown { since } => (1, 0, since.map_or(u64::MAX, |since| u64::MAX - since)),
        })
    }

    /// How many layers a peer and we share that do not go by a radio: by its document's policy, or since all could read it.
    pub(in crate::node) fn layers_not_on(&self, radio: &super::Radio, peer: &PeerId) -> usize {
        let sealed = radio.spec.mode == Mode::Encrypted;
        let stays = self.holdings.layers().filter(|layer| {
            let id = &layer.head().layer;
            let name = id.document.name.as_str();
            let is_shared = self.federation.takes_part(&id.document)
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
            (radio.counts.bytes_sent_today, radio.counts.bytes_heard_today) = (0, 0);
        }
    }

    /// The airtime of each radio.
    pub(in crate::node) fn airtime_view(&mut self) -> Vec<view::AirtimeView> {
        let now = self.now.mono_ms;
        let labels: BTreeMap<u64, String> = self
            .holdings
            .layers()
            .map(|layer| {
                let id = &layer.head().layer;
                let name = id.document.name.as_str();
                (
                    super::outbound::account(&id.print()).0,
                    format!("{}/{name} by {}", self.name_of(&id.document.owner), self.name_of(&id.author)),
                )
            })
            .collect();
        let label = |account: u64| match account {
            0 => "radio's own frames".to_owned(),
            1 => "heartbeats".to_owned(),
            2 => "frontiers".to_owned(),
            3 => "joining".to_owned(),
            u64::MAX => "others".to_owned(),
            other => labels.get(&other).cloned().unwrap_or_else(|| "a document no longer held".to_owned()),
        };
        let seconds = |us: u64| us as f64 / 1e6;
        let radios = self.radios.by_link.values_mut().map(|radio| {
            let frame_us = radio.station.airtime_us(100);
            let spec = &radio.spec;
            let ledger = radio.station.ledger();
            view::AirtimeView {
                radio: spec.name.clone(),
                rules: spec.rules_text.clone(),
                used_last_hour_s: seconds(ledger.hour_us(now)),
                budget_hour_s: ledger.budget_ms().map(|ms| ms as f64 / 1e3),
                frame_of_100_bytes_s: seconds(frame_us),
                state_leaves_in_s: ledger
                    .leaves_in_ms(now, frame_us, Priority::State)
                    .map(|ms| ms as f64 / 1e3),
                never: radio.counts.never.clone(),
                frames_sent: radio.counts.frames_sent,
                frames_heard: radio.counts.frames_heard,
                by_priority: ledger
                    .by_priority(now)
                    .iter()
                    .map(|p| view::AirtimeRow {
                        what: p.priority.name().to_owned(),
                        today_s: seconds(p.today_us),
                        hour_s: seconds(p.hour_us),
                    })
                    .collect(),
                by_account: ledger
                    .by_account()
                    .iter()
                    .map(|a| view::AirtimeRow {
                        what: label(a.account.0),
                        today_s: seconds(a.today_us),
                        hour_s: seconds(a.hour_us),
                    })
                    .collect(),
            }
        });
        radios.collect()
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

impl super::Radio {
    fn why(&self) -> String {
        match (&self.counts.trouble, &self.counts.never, self.up) {
            (Some(trouble), _, false) => trouble.clone(),
            (_, Some(never), _) => format!("something is never sent: {never}"),
            _ => self.spec.rules_text.clone(),
        }
    }
}

fn why_not(decision: &Decision, link: LinkId) -> String {
    let reason = decision.rejected.iter().find(|(lost, _)| *lost == link).map(|(_, reason)| *reason);
    match reason {
        None => "used: the cheapest in time".to_owned(),
        Some(Reason::DoesNotFit) => "not used: the message does not fit".to_owned(),
        Some(Reason::BudgetSpent) => "not used: this hour's airtime is spent".to_owned(),
        Some(Reason::NotConfidential) => "not used: everybody could read it".to_owned(),
        Some(Reason::ClassForbidden) => "not used: too much for this link".to_owned(),
        Some(Reason::CostsMore) => "not used: another link costs less".to_owned(),
        Some(Reason::Preference) => "not used: another link comes first by preference".to_owned(),
    }
}
