//! Hard rules first, then cost; every loser has a reason; a decision replays.

use super::*;
use crate::time::Millis;

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
        airtime_left_ms: None,
    };
    match medium {
        Medium::Mesh => LinkCaps {
            message_bytes_max: 64 << 10,
            rate_bps: Some(1_000),
            latency_ms: 500,
            loss_permille: 100,
            broadcast: true,
            airtime_us_per_byte: 8_000,
            airtime_left_ms: Some(30_000),
            ..lan
        },
        Medium::Tor => LinkCaps { rate_bps: Some(1_000_000), latency_ms: 800, ..lan },
        Medium::Lan | Medium::Memory => lan,
    }
}

fn candidates(media: &[Medium]) -> Vec<Candidate> {
    media.iter().enumerate().map(|(i, m)| Candidate { link: LinkId(i as u64 + 1), caps: caps(*m) }).collect()
}

fn request(bytes: usize, class: Class) -> Request {
    Request { bytes, class, confidential: true, deadline: None }
}

#[test]
fn without_a_preference_the_air_is_spared() {
    let router = TransportRouter::default();
    let decision =
        router.decide(request(100, Class::State), &candidates(&[Medium::Mesh, Medium::Tor, Medium::Lan]));
    assert_eq!(decision.chosen, Some(LinkId(3)));
    assert_eq!(decision.order.iter().map(|(l, _)| l.0).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(decision.rejected, [(LinkId(2), Reason::CostsMore), (LinkId(1), Reason::CostsMore)]);
}

#[test]
fn mesh_first_takes_the_mesh_as_long_as_it_may() {
    let mut router = TransportRouter::new(Preference::MeshFirst);
    let links = candidates(&[Medium::Lan, Medium::Mesh]);
    assert_eq!(router.route(request(100, Class::State), &links).chosen, Some(LinkId(2)));
    assert_eq!(router.route(request(100, Class::Bulk), &links).chosen, Some(LinkId(1)));
    assert_eq!(router.route(request(4_000, Class::State), &links).chosen, Some(LinkId(1)));
    let counters = labels(&router);
    assert_eq!(counters["mesh taken"], 1);
    assert_eq!(counters["lan taken"], 2);
    assert_eq!(counters["mesh class_forbidden"], 1);
    assert_eq!(counters["mesh budget_spent"], 1);
    assert_eq!(counters["lan preference"], 1);
}

#[test]
fn hard_rules_leave_a_message_stranded_rather_than_leak_it() {
    let mut clear = candidates(&[Medium::Mesh]);
    clear[0].caps.confidential = false;
    let mut router = TransportRouter::default();
    let decision = router.route(request(100, Class::Document), &clear);
    assert_eq!(decision.chosen, None);
    assert_eq!(decision.rejected, [(LinkId(1), Reason::NotConfidential)]);
    assert_eq!(labels(&router)["stranded"], 1);
    let open = Request { confidential: false, ..request(100, Class::Document) };
    assert_eq!(router.route(open, &clear).chosen, Some(LinkId(1)));
}

#[test]
fn a_deadline_outweighs_the_air() {
    let mut links = candidates(&[Medium::Mesh, Medium::Tor]);
    links[1].caps.latency_ms = 60_000;
    let router = TransportRouter::default();
    let urgent = Request { deadline: Some(Millis::from_ms(5_000)), ..request(100, Class::State) };
    assert_eq!(router.decide(urgent, &links).chosen, Some(LinkId(1)));
    assert_eq!(router.decide(request(100, Class::State), &links).chosen, Some(LinkId(2)));
}

#[test]
fn the_order_of_the_candidates_does_not_matter() {
    let router = TransportRouter::default();
    let mut links = candidates(&[Medium::Lan, Medium::Lan, Medium::Tor]);
    let forward = router.decide(request(100, Class::State), &links);
    links.reverse();
    assert_eq!(router.decide(request(100, Class::State), &links), forward);
}

/// The counters by their labels.
fn labels(router: &TransportRouter) -> std::collections::BTreeMap<String, u64> {
    router.counters().map(|(counter, count)| (counter.label(), count)).collect()
}
