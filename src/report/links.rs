//! The table of `links`: every link, every radio with its listeners, and peers that have neither; and for each why
//! it is used, or is not.

use crate::time::{Millis, Mono};
use std::fmt::Write as _;

use tombolo_mesh::airtime::ledger::Priority;
use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::RadioLink;
use crate::clock::rfc3339;
use crate::federation::Peer;
use crate::federation::peer::Joined;
use crate::identity::did;
use crate::io::CommandError;
use crate::io::view::{self, LinkView, PingLinkView, PingView};
use crate::report::NodeReport;
use crate::report::why::verdict_text;
use crate::router::{Class, Decision, RadioScope, Request, Subject};
use crate::unicast::route_time;

/// Payload of a frame that stands for a node state, bytes.
pub(super) const STATE_BYTES: usize = 100;

impl NodeReport<'_> {
    /// Every link and every radio, with the peer at its other end; then peers without any.
    pub fn links(&self) -> Vec<LinkView> {
        let mut rows = self.link_rows();
        for (link, radio) in self.broadcast.radios() {
            rows.push(self.radio_row(link, radio));
            rows.extend(self.listener_rows(link, radio));
        }
        rows.extend(self.away_rows(&rows));
        rows
    }

    /// The links and radios that lead to a peer. It is not asked here.
    ///
    /// # Errors
    /// [`CommandError`] where no peer is called so, or several are.
    pub(super) fn ping(&self, peer: &str) -> Result<PingView, CommandError> {
        let id = self.replica.resolve_peer(peer)?;
        let did = did(&id);
        let rows = self.links().into_iter().filter(|row| row.did == did && row.link != view::NO_LINK);
        let rows = rows.map(|row| PingLinkView {
            link: row.link,
            asked: false,
            round_trip_us: None,
            last_heard: row.last_heard,
        });
        let links = rows.collect();
        Ok(PingView { peer: self.name_of(&id), did, links })
    }

    /// Links to one peer each.
    fn link_rows(&self) -> Vec<LinkView> {
        let rows = self.unicast.links().filter_map(|(id, link)| {
            let peer = self.replica.federation().peer(&link.peer)?;
            let today = self.core.metrics.today(link.peer, link.caps.medium);
            let why = match self.replica.federation().is_member(&peer.id) {
                false => LinkUse::not(UNTRUSTED),
                true => self.why_link(&self.present_choice(&link.peer), id),
            };
            let row = LinkView {
                link: link.caps.medium.to_string(),
                state: "up",

                last_heard: peer.heard_at.map(rfc3339),
                bytes_sent: Some(today.bytes_sent),
                bytes_heard: Some(today.bytes_received),
                step: Some(self.lag_of(peer)),
                ..self.row_of(peer, why)
            };
            Some(self.with_measurements(&link.peer, id, row))
        });
        rows.collect()
    }

    /// A row with what was measured of its link.
    fn with_measurements(&self, peer: &PeerId, link: LinkId, row: LinkView) -> LinkView {
        let Some(path) = self.unicast.router().table.paths(peer).find(|path| path.link == link) else {
            return row;
        };
        let failures = path.health.failures().rev().map(|failure| view::LinkFailureView {
            at: self.core.clock.wall_of(failure.at),
            why: failure.why.to_string(),
        });
        LinkView {
            rate_bps: path.health.rate_bps().or(path.caps.rate_bps),
            rtt_ms: path.health.rtt().map(Millis::ms),
            loss_permille: Some(path.health.loss_permille()),
            backlog_bytes: Some(path.health.backlog_bytes()),
            failures: failures.collect(),
            last_heard: path
                .health
                .heard_at()
                .map(|at| self.core.clock.wall_of(at))
                .or(row.last_heard.clone()),
            ..row
        }
    }

    /// A row of a peer, of which nothing is known yet.
    fn row_of(&self, peer: &Peer, LinkUse { used, why }: LinkUse) -> LinkView {
        LinkView { peer: self.name_of(&peer.id), did: did(&peer.id), used, why, ..LinkView::default() }
    }

    /// A radio itself: what it sends is for all.
    fn radio_row(&self, link: LinkId, radio: &RadioLink) -> LinkView {
        let caps = self.unicast.router().table.radio_caps(link);
        let now = self.core.now();
        let airtime_us: u64 = radio.ledger().by_priority(now).iter().map(|p| p.today_us).sum();
        LinkView {
            peer: view::ALL_WHO_LISTEN.to_owned(),
            link: radio.spec().name.clone(),
            state: if radio.is_up() { "up" } else { "down" },
            rate_bps: caps.and_then(|caps| caps.rate_bps),
            loss_permille: caps.map(|caps| caps.loss_permille),
            bytes_sent: Some(radio.counts().today.bytes_sent),
            bytes_heard: Some(radio.counts().today.bytes_received),
            airtime_today_s: Some(airtime_us as f64 / 1e6),
            transfers: self.transfers_on(radio),
            used: radio.is_up() && radio.spec().ledger.rules.is_some(),
            why: why_radio(radio, now),
            ..LinkView::default()
        }
    }

    /// The listeners that were received on a radio. What it sends is for all of them, so each has a share of the airtime.
    fn listener_rows(&self, link: LinkId, radio: &RadioLink) -> Vec<LinkView> {
        let rows = self.replica.federation().peers().filter_map(|peer| {
            let heard = radio.presence(&peer.id)?;
            let there = radio.is_present(&peer.id, self.core.now());
            let step =
                there.then(|| self.radio_lag_view(&peer.id, radio, radio.lag(self.core.now(), &peer.id)));
            let of_today = radio.counts().today.of(&peer.id);
            Some(LinkView {
                link: radio.spec().name.clone(),
                state: if there { "heard" } else { "silent" },
                last_heard: Some(self.core.clock.wall_of(heard.at)),
                bytes_heard: Some(of_today.bytes_received),
                airtime_share_today_s: Some(of_today.airtime_us as f64 / 1e6),
                step,
                ..self.row_of(peer, self.why_listener(link, radio, peer, there))
            })
        });
        rows.collect()
    }

    fn why_listener(&self, link: LinkId, radio: &RadioLink, peer: &Peer, there: bool) -> LinkUse {
        match () {
            _ if !self.replica.federation().is_member(&peer.id) => LinkUse::not(UNTRUSTED),
            _ if !radio.is_up() => LinkUse::not("not used: the radio is down"),
            _ if radio.spec().ledger.rules.is_none() => LinkUse::not("not used: this radio may not send"),
            _ if !there => LinkUse::not("not used: three of its heartbeats missed"),
            _ => self.why_link(&self.present_choice(&peer.id), link),
        }
    }

    /// What the router would choose for a short document now, among all that leads to a peer.
    pub(super) fn present_choice(&self, peer: &PeerId) -> Decision {
        let request = Request::new(Class::Document, super::why::DOCUMENT_BYTES);
        let now = route_time(self.core);
        self.unicast.router().consider(peer, &Subject::Engine, request, RadioScope::Present, now)
    }

    /// Why a link is used for a peer, or is not.
    fn why_link(&self, decision: &Decision, link: LinkId) -> LinkUse {
        let used = decision.chosen() == Some(link);
        let why = match decision.verdict(link) {
            Some(_) if decision.question.links.len() == 1 && used => ONLY.to_owned(),
            Some(verdict) => verdict_text(decision, &verdict),
            None => "listening: nothing to send yet".to_owned(),
        };
        LinkUse { used, why }
    }

    /// Peers that no link leads to and no radio has received.
    fn away_rows(&self, rows: &[LinkView]) -> Vec<LinkView> {
        let has_row = |peer: &Peer| {
            let did = did(&peer.id);
            rows.iter().any(|row| row.did == did)
        };
        let rows = self.replica.federation().peers().filter(|peer| !has_row(peer)).map(|peer| {
            let why = match (self.replica.federation().is_member(&peer.id), &peer.joined) {
                (false, _) => UNTRUSTED,
                (_, Joined::Waiting { .. }) => "not met: its answer to the invite is waited for",
                _ if peer.heard_at.is_some() => "no link to it now: it is off or out of reach",
                _ if self.broadcast.is_empty() => "not met yet: no link to it",
                _ => "not met yet: no link to it, no heartbeat by radio",
            };
            LinkView {
                link: view::NO_LINK.to_owned(),
                state: "away",
                last_heard: peer.heard_at.map(rfc3339),
                step: Some(self.lag_of(peer)),
                ..self.row_of(peer, LinkUse::not(why))
            }
        });
        rows.collect()
    }
}

/// Whether a link is used, and why or why not.
struct LinkUse {
    used: bool,
    why: String,
}

impl LinkUse {
    fn not(why: &str) -> Self {
        LinkUse { used: false, why: why.to_owned() }
    }
}

/// What a radio may do, and what keeps it from doing so now.
pub(super) fn why_radio(radio: &RadioLink, now: Mono) -> String {
    let spec = radio.spec();
    if let Some(fault) = radio.fault().filter(|_| !radio.is_up()) {
        return fault.to_string();
    }
    if spec.ledger.rules.is_none() {
        return spec.rules_text.clone();
    }
    let mut text = String::new();
    for (class, what) in [(Priority::State, "state"), (Priority::Document, "document")] {
        let _ = match radio.leaves_in(now, class) {
            Some(Millis::ZERO) => Ok(()),
            Some(wait) => write!(text, "airtime is short: the next {what} leaves in {}; ", span(wait)),
            None => write!(text, "a {what} never leaves: it takes longer than may be sent; "),
        };
    }
    if let Some(never) = &radio.counts().never {
        let _ = write!(text, "something is never sent: {never}; ");
    }
    text + &spec.rules_text
}

const ONLY: &str = "used: the only link to this peer";
const UNTRUSTED: &str = "not used: an untrusted peer is sent nothing, and nothing of it is taken";

/// `40 s`, `12 min`: never shorter than it is.
pub(super) fn span(wait: Millis) -> String {
    match wait.ms().div_ceil(1000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
