//! What traffic shows of a link, and what follows for the choice.

use super::*;

use Medium::{Lan, Mesh, Tor};

#[test]
fn round_trips_and_loss_are_smoothed_and_count_in_the_next_decision() {
    let mut health = LinkHealth::new(Mono::ZERO);
    assert_eq!(health.path(&caps(Tor)).latency, Millis::from_ms(800), "as it was born");
    health.reported(&report(400, 100, 0, 0), Mono::from_ms(1));
    assert_eq!(health.rtt(), Some(Millis::from_ms(400)));
    health.reported(&report(1_200, 200, 40, 7_000), Mono::from_ms(2));
    assert_eq!(health.rtt(), Some(Millis::from_ms(500)), "an eighth of the way");
    assert_eq!((health.loss_permille(), health.backlog_bytes()), (100, 7_000));
    let path = health.path(&caps(Tor));
    assert_eq!((path.latency, path.loss_permille, path.measured), (Millis::from_ms(250), 100, true));
    health.reported(&report(500, 210, 49, 0), Mono::from_ms(3));
    assert_eq!(health.loss_permille(), 100, "ten packets show no loss");
}

#[test]
fn an_answer_measures_a_round_trip_and_a_late_one_does_not() {
    let mut health = LinkHealth::new(Mono::ZERO);
    health.asked(Mono::from_ms(1_000));
    health.answered(Mono::from_ms(1_700));
    assert_eq!(health.rtt(), Some(Millis::from_ms(700)));
    health.answered(Mono::from_ms(9_000));
    health.asked(Mono::from_ms(10_000));
    health.answered(Mono::from_ms(90_000));
    assert_eq!(health.rtt(), Some(Millis::from_ms(700)));
}

#[test]
fn a_link_that_failed_must_stay_up_longer_each_time() {
    let mut health = LinkHealth::new(Mono::ZERO);
    assert_eq!(health.condition(Mono::ZERO), LinkCondition::Steady, "new, not returned");
    let mut now = 1_000;
    for wait_s in [30, 60, 120, 240, 480, 480] {
        health.down(DownReason::Silent, Mono::from_ms(now));
        assert!(matches!(health.condition(Mono::from_ms(now)), LinkCondition::Down { .. }));
        health.up(Mono::from_ms(now + 500));
        let steady_at = Mono::from_ms(now + 500 + wait_s * 1_000);
        assert_eq!(health.condition(Mono::from_ms(now + 500)), LinkCondition::Returned { steady_at });
        assert_eq!(health.condition(steady_at), LinkCondition::Steady);
        now += 10_000;
    }
    now += 1_000_000;
    health.down(DownReason::Failed, Mono::from_ms(now));
    health.up(Mono::from_ms(now));
    let steady_at = Mono::from_ms(now) + DWELL;
    assert_eq!(health.condition(Mono::from_ms(now)), LinkCondition::Returned { steady_at }, "it had lasted");
    assert_eq!(health.failures().count(), 7);
    health.down(DownReason::Closed, Mono::from_ms(now + 1));
    assert_eq!(health.failures().count(), 7, "what was wanted is no failure");
}

/// Each link stands on its own.
#[test]
fn what_happens_on_one_link_changes_nothing_on_another() {
    let mut router = TransportRouter::default();
    add_links(&mut router, &[Lan, Tor]);
    let facts = |router: &TransportRouter| {
        let asked = router.table.question(
            &PEER,
            request(100, Class::State),
            RadioScope::None,
            &router.policy,
            None,
            at(50),
        );
        asked.links.into_iter().find(|facts| facts.link == LinkId(2)).unwrap()
    };
    let before = facts(&router);
    router.table.reported(&PEER, LinkId(1), &report(60_000, 1_000_000, 900_000, 1 << 30), Mono::from_ms(10));
    for flap in 0..100 {
        failed(&mut router, 1 + flap * 10, 20 + flap);
        router.table.link_up(PEER, LinkId(11 + flap * 10), caps(Lan), Mono::from_ms(20 + flap));
    }
    assert_eq!(facts(&router), before);
    assert_eq!(router.table.paths(&PEER).count(), 2, "one path a carrier, however often it came back");
}

/// A link that flaps every 0.5 to 30 s for an hour beside one that is steady: one switch, and no airtime.
#[test]
fn a_flapping_link_is_left_once_and_costs_no_airtime() {
    let mut random = 0x5eed_u64;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let mut router = TransportRouter::default();
    let radios = add_links(&mut router, &[Tor, Lan, Mesh]);
    let (mut lan, mut up, mut turn_at) = (2, true, 5_000);
    let mut carried = Vec::new();
    for second in 0..3_600_u64 {
        let now = second * 1_000;
        while turn_at <= now {
            match up {
                true => failed(&mut router, lan, turn_at),
                false => {
                    lan += 10;
                    router.table.link_up(PEER, LinkId(lan), caps(Lan), Mono::from_ms(turn_at));
                }
            }
            up = !up;
            turn_at += 500 + below(29_500);
        }
        let asked = (request(200, Class::Document), RadioScope::These(&radios), at(now));
        let routed = router.route(PEER, Subject::Engine, asked.0, asked.1, asked.2);
        carried.push(router.table.medium(&PEER, routed.chosen.unwrap()).unwrap());
    }
    let switches = carried.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(switches, 1, "from the link that flaps to the one that does not, and not back");
    assert!(!carried.contains(&Mesh));
    assert_eq!(labels(&router)["switched"], 1);
}

/// What each second of an hour takes to a peer over this steady link and one that flaps, each stretch so many milliseconds long.
fn carried_beside(steady: Medium, flapping: Medium, class: Class, stretches: &[u64]) -> Vec<(u64, LinkId)> {
    let mut router = TransportRouter::default();
    add_links(&mut router, &[steady, flapping]);
    let (mut link, mut up, mut stretches) = (2, true, stretches.iter().cycle());
    let mut turn_at = 5_000;
    let mut carried = Vec::new();
    for now in (0..3_600_000_u64).step_by(1_000) {
        while turn_at <= now {
            match up {
                true => failed(&mut router, link, turn_at),
                false => {
                    link += 10;
                    router.table.link_up(PEER, LinkId(link), caps(flapping), Mono::from_ms(turn_at));
                }
            }
            up = !up;
            turn_at += stretches.next().unwrap();
        }
        let routed = router.route(PEER, Subject::Engine, request(200, class), RadioScope::None, at(now));
        carried.push((now, routed.chosen.unwrap()));
    }
    carried
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    /// However a link flaps every 0.5 to 30 s, and whichever of the two is the better one: two changes of the link are at least a
    /// dwell time apart.
    #[test]
    fn a_flapping_link_causes_at_most_one_change_in_a_dwell_time(
        stretches in proptest::collection::vec(500_u64..=30_000, 1..40),
        lan_flaps in proptest::prelude::any::<bool>(),
        class in proptest::sample::select(Class::ALL.into_iter().filter(|class| !class.is_urgent()).collect::<Vec<_>>()),
    ) {
        let (steady, flapping) = if lan_flaps { (Tor, Lan) } else { (Lan, Tor) };
        let carried = carried_beside(steady, flapping, class, &stretches);
        let changes: Vec<u64> = carried.windows(2).filter(|two| two[0].1 != two[1].1).map(|two| two[1].0).collect();
        for two in changes.windows(2) {
            proptest::prop_assert!(two[1] - two[0] >= DWELL.ms(), "{changes:?}");
        }
    }
}

/// The same with nothing but a radio beside it: what may wait waits, so no airtime is spent.
#[test]
fn beside_a_flapping_link_the_radio_is_spared() {
    let mut router = TransportRouter::default();
    let radios = add_links(&mut router, &[Lan, Mesh]);
    failed(&mut router, 1, 10_000);
    let chosen = |router: &mut TransportRouter, class, now| {
        router.route(PEER, Subject::Engine, request(100, class), RadioScope::These(&radios), at(now)).chosen
    };
    assert_eq!(chosen(&mut router, Class::Document, 10_001), None);
    assert_eq!(chosen(&mut router, Class::Alarm, 10_001), Some(LinkId(2)), "an alarm leaves at once");
    assert_eq!(chosen(&mut router, Class::Command, 10_001), Some(LinkId(2)));
    assert_eq!(chosen(&mut router, Class::Document, 40_000), Some(LinkId(2)), "it did not return");
    router.table.link_up(PEER, LinkId(9), caps(Lan), Mono::from_ms(41_000));
    assert_eq!(chosen(&mut router, Class::Document, 41_000), Some(LinkId(9)), "any link before the air");
}

#[test]
fn a_radio_counts_where_it_has_received_the_peer() {
    let mut router = TransportRouter::default();
    router.table.radio(LinkId(5), "radio5", caps(Mesh), None);
    router.table.present(PEER, LinkId(5), Mono::from_ms(1_000));
    let chosen = |router: &TransportRouter, now| {
        router
            .consider(&PEER, &Subject::Engine, request(100, Class::State), RadioScope::Present, at(now))
            .chosen()
    };
    assert_eq!(chosen(&router, 999), Some(LinkId(5)));
    assert_eq!(chosen(&router, 1_000), None);
    router.table.present(PEER, LinkId(5), Mono::from_ms(9_000));
    router.table.radio_down(LinkId(5));
    assert_eq!(chosen(&router, 1_001), None);
}
