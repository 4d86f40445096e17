//! The router without a node: a table of decisions, what holds for any of them, measurements, settings, the journal.

mod decisions;
mod measures;
mod properties;
mod settings;

use tombolo_transports::{DownReason, LinkCaps, LinkReport};

use super::*;
use crate::time::{Millis, Mono};

const PEER: PeerId = PeerId([7; 32]);
const NOON: u16 = 12 * 60;

fn at(ms: u64) -> RouteTime {
    RouteTime { mono: Mono::from_ms(ms), minute_of_day: NOON }
}

fn caps(medium: Medium) -> LinkCaps {
    let lan = LinkCaps {
        medium,
        message_bytes_max: 1 << 20,
        rate_bps: Some(100_000_000),
        latency_ms: 1,
        loss_permille: 0,
        broadcast: false,
        metered: false,
        confidential: true,
        airtime_us_per_byte: 0,
        airtime_left: None,
    };
    match medium {
        Medium::Mesh => LinkCaps {
            message_bytes_max: 64 << 10,
            rate_bps: Some(1_000),
            latency_ms: 500,
            loss_permille: 100,
            broadcast: true,
            airtime_us_per_byte: 8_000,
            airtime_left: Some(Millis::from_secs(30)),
            ..lan
        },
        Medium::Tor => LinkCaps { rate_bps: Some(1_000_000), latency_ms: 800, ..lan },
        Medium::Lan | Medium::Memory => lan,
    }
}

/// A question about links of these media, numbered from 1.
fn question(media: &[Medium], request: Request) -> RouteQuestion {
    let mut router = TransportRouter::default();
    let radios = add_links(&mut router, media);
    let table = &router.table;
    table.question(&PEER, request, RadioScope::These(&radios), &router.policy, None, at(100_000))
}

/// Adds a link or radio of each medium, numbered from 1. Returns the radios.
fn add_links(router: &mut TransportRouter, media: &[Medium]) -> Vec<LinkId> {
    let mut radios = Vec::new();
    for (i, medium) in media.iter().enumerate() {
        let link = LinkId(i as u64 + 1);
        match medium {
            Medium::Mesh => {
                router.table.radio(link, &format!("radio{}", link.0), caps(*medium), None);
                radios.push(link);
            }
            Medium::Lan | Medium::Tor | Medium::Memory => {
                router.table.link_up(PEER, link, caps(*medium), Mono::ZERO);
            }
        }
    }
    radios
}

fn request(bytes: usize, class: Class) -> Request {
    Request::new(class, bytes)
}

/// The order of the links that may carry it, and the reason of each that lost.
fn outcome(decision: &Decision) -> (Vec<u64>, Vec<(u64, &'static str)>) {
    let is_permitted = |judged: &&JudgedLink| !matches!(judged.verdict, LinkVerdict::Excluded { .. });
    let order = decision.judged.iter().filter(is_permitted).map(|judged| judged.link.0).collect();
    let lost = decision
        .judged
        .iter()
        .filter_map(|judged| Reason::of(judged.verdict).map(|reason| (judged.link.0, reason.label())));
    (order, lost.collect())
}

fn report(rtt_ms: u64, sent: u64, lost: u64, backlog_bytes: u64) -> LinkReport {
    LinkReport {
        rtt: Some(Millis::from_ms(rtt_ms)),
        rate_bps: None,
        backlog_bytes,
        packets_sent: sent,
        packets_lost: lost,
        alive: true,
    }
}

/// The counters by their labels.
fn labels(router: &TransportRouter) -> std::collections::BTreeMap<String, u64> {
    router.counters().map(|(counter, count)| (counter.label(), count)).collect()
}

fn failed(router: &mut TransportRouter, link: u64, at_ms: u64) {
    router.table.link_down(&PEER, LinkId(link), DownReason::Silent, Mono::from_ms(at_ms));
}
