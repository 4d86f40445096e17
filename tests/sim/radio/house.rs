//! The whole house: LAN, Tor and radio among five nodes, with links that come, go and go dead unnoticed, while all write.

use super::*;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::{Region, Usage};
use tombolo_sim::field::CableKind;
use tombolo_sim::rng::Rng;
use tombolo_transports::Medium;

const NODES: usize = 5;
/// A link that goes dead is missed after so long.
const NOTICED: Millis = Millis::from_secs(10);

/// Where a cable may lie, and of which kind.
const WAYS: [(usize, usize, CableKind); 6] = [
    (0, 1, CableKind::LAN),
    (0, 2, CableKind::LAN),
    (1, 2, CableKind::LAN),
    (0, 1, CableKind { medium: Medium::Tor, latency: Millis::from_ms(400), rate_bps: Some(200_000) }),
    (1, 3, CableKind { medium: Medium::Tor, latency: Millis::from_ms(400), rate_bps: Some(200_000) }),
    (3, 4, CableKind { medium: Medium::Tor, latency: Millis::from_ms(400), rate_bps: Some(200_000) }),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    /// Dead, and missed at that time.
    Silent(Mono),
    Down,
}

/// One step of one way: it comes, goes, or goes dead.
fn change(field: &mut Field, ways: &mut [Way; WAYS.len()], rng: &mut Rng) {
    let at = rng.index(WAYS.len());
    let (a, b, kind) = WAYS[at];
    ways[at] = match ways[at] {
        Way::Down => {
            field.connect_over(a, b, kind);
            Way::Up
        }
        Way::Up if rng.below(2) == 0 => {
            field.cut_over(a, b, kind.medium);
            Way::Down
        }
        Way::Up => {
            field.silence(a, b, kind.medium);
            Way::Silent(field.now() + NOTICED)
        }
        silent @ Way::Silent(_) => silent,
    };
}

fn notice(field: &mut Field, ways: &mut [Way; WAYS.len()]) {
    for (way, (a, b, kind)) in ways.iter_mut().zip(WAYS) {
        if matches!(way, Way::Silent(at) if *at <= field.now()) {
            field.cut_over(a, b, kind.medium);
            *way = Way::Down;
        }
    }
}

/// The most that one radio was on air in any hour, microseconds.
fn most_us_in_an_hour(field: &Field, at: usize) -> u64 {
    let radio = field.radio(at);
    let frames: Vec<_> = field.air.log().filter(|on_air| on_air.radio == radio).collect();
    let from = |start_us: u64| {
        let within =
            frames.iter().filter(|it| (start_us..start_us + HOUR.ms() * 1_000).contains(&it.start_us));
        within.map(|it| it.end_us - it.start_us).sum()
    };
    frames.iter().map(|it| from(it.start_us)).max().unwrap_or(0)
}

#[test]
fn a_house_whose_links_come_and_go_loses_nothing_and_keeps_the_law() {
    for seed in [441, 442] {
        println!("seed {seed}");
        let usage = Usage { frequency_hz: Some(869_525_000), ..Usage::default() };
        let rules = Region::Eu868.rules(usage).unwrap();
        let budget_us = u64::from(rules.duty_permille.unwrap()) * 3_600_000;
        let line = PhyRate::lora(Modulation::LONG_FAST);
        let mut field = Field::new(FieldConfig {
            ledger: LedgerConfig::new(Some(rules)),
            ..FieldConfig::new(seed, line)
        });
        friends(&mut field, NODES);
        create(&mut field, 0, "notes");
        set(&mut field, 0, "notes", "first", 0);
        in_step(&mut field, &[0, 1, 2, 3, 4], "notes", "first", HOUR);
        let mut rng = Rng::new(seed);
        let mut ways = [Way::Down; WAYS.len()];
        for step in 0..180_u64 {
            notice(&mut field, &mut ways);
            change(&mut field, &mut ways, &mut rng);
            let at = rng.index(NODES);
            set(&mut field, at, "notes", &format!("n{at}/k{}", step % 9), format!("step {step}"));
            field.run(Millis::from_ms(rng.between(500, 30_000)));
        }
        for at in 0..NODES {
            set(&mut field, at, "notes", &format!("last{at}"), 1);
        }
        field.run(NOTICED);
        notice(&mut field, &mut ways);
        for at in 0..NODES {
            in_step(&mut field, &[0, 1, 2, 3, 4], "notes", &format!("last{at}"), 4 * HOUR);
        }
        for at in 0..NODES {
            let most_us = most_us_in_an_hour(&field, at);
            assert!(most_us <= budget_us, "n{at}: {most_us} us in an hour");
        }
    }
}
