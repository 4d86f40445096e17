//! A link that comes and goes every 0.5 to 30 s for an hour, while both ends write: what is chosen does not flap with it, and what may
//! wait costs no airtime that a steady link would not cost.

use super::*;
use tombolo_sim::field::CableKind;
use tombolo_sim::rng::Rng;
use tombolo_transports::Medium;

/// Between two looks at what is due.
const TICK: Millis = Millis::from_ms(500);

/// A change goes by radio so long after the LAN was lost for good: half a minute in which it may return, and some frames.
const LEAVES_WITHIN: Millis = Millis::from_secs(45);

/// What an hour of writes has cost.
struct FlapHour {
    airtime_ms: u64,
    /// Frames that carry content.
    content: usize,
    switched: u64,
    changes: u64,
}

fn counter(field: &mut Field, at: usize, label: &str) -> u64 {
    let Some(Ok(Reply::Status(status))) = field.ask(at, Query::Status) else { panic!("a status") };
    status.router.get(label).copied().unwrap_or(0)
}

/// The airtime of all radios, microseconds.
fn airtime_us(field: &Field) -> u64 {
    field.air.all_stats().map(|(_, stats)| stats.airtime_us).sum()
}

/// Two nodes with radios, a LAN between them and these other ways, in step; then an hour in which both write every few seconds and
/// publish each minute, and the LAN comes and goes if it `flaps`.
fn hour(seed: u64, beside: &[CableKind], flaps: bool) -> FlapHour {
    let mut field = sf7(seed);
    friends(&mut field, 2);
    field.connect(0, 1);
    beside.iter().for_each(|kind| field.connect_over(0, 1, *kind));
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 0);
    field.run(HOUR);
    in_step(&mut field, &[0, 1], "notes", "first", MINUTE);
    let mut rng = Rng::new(seed);
    let (from, air_us) = (field.now(), airtime_us(&field));
    let switched: u64 = (0..2).map(|at| counter(&mut field, at, "switched")).sum();
    let end = from + HOUR;
    let (mut is_up, mut turns_at, mut changes, mut step) = (true, from + 5 * SECOND, 0, 0_u64);
    while field.now() < end {
        if flaps && turns_at <= field.now() {
            match is_up {
                true => field.cut_over(0, 1, Medium::Lan),
                false => field.connect(0, 1),
            }
            (is_up, changes) = (!is_up, changes + 1);
            turns_at = field.now() + Millis::from_ms(rng.between(500, 30_000));
        }
        if step % 8 == 0 {
            let at = step as usize / 8 % 2;
            set(&mut field, at, "notes", &format!("k{}", step / 8 % 11), step);
        }
        if step % 120 < 2 {
            publish(&mut field, step as usize % 2, step / 120);
        }
        let turn_in = if flaps { turns_at.since(field.now()) } else { TICK };
        field.run(TICK.min(turn_in));
        step += 1;
    }
    let content = since(&field, from).filter(|on_air| carries(on_air)).count();
    let airtime_ms = (airtime_us(&field) - air_us) / 1_000;
    if is_up && beside.is_empty() {
        // It is gone for good: the next change goes by radio, once the LAN was waited for.
        field.cut_over(0, 1, Medium::Lan);
    }
    let cut = field.now();
    set(&mut field, 0, "notes", "last", 1);
    in_step(&mut field, &[0, 1], "notes", "last", LEAVES_WITHIN);
    println!("the next change took {} ms", field.now().since(cut).ms());
    let after: u64 = (0..2).map(|at| counter(&mut field, at, "switched")).sum();
    FlapHour { airtime_ms, content, switched: after - switched, changes }
}

#[test]
fn a_lan_that_flaps_beside_a_radio_costs_no_airtime() {
    let steady = hour(451, &[], false);
    let flapping = hour(451, &[], true);
    println!(
        "{} changes: {} ms on air, {} frames with content; steady: {} ms, {}",
        flapping.changes, flapping.airtime_ms, flapping.content, steady.airtime_ms, steady.content
    );
    assert!(flapping.changes > 100, "{}", flapping.changes);
    assert_eq!((steady.content, flapping.content), (0, 0), "content went on air");
    // One usual heartbeat of ten more or fewer may fall into the hour.
    assert!(
        flapping.airtime_ms <= steady.airtime_ms * 12 / 10,
        "{} ms on air, {} without flapping",
        flapping.airtime_ms,
        steady.airtime_ms
    );
}

#[test]
fn a_lan_that_flaps_beside_tor_is_left_once() {
    let tor = CableKind { medium: Medium::Tor, latency: Millis::from_ms(400), rate_bps: Some(200_000) };
    let steady = hour(452, &[tor], false);
    let flapping = hour(452, &[tor], true);
    println!(
        "{} changes: {} switches, {} ms on air; steady: {} ms",
        flapping.changes, flapping.switched, flapping.airtime_ms, steady.airtime_ms
    );
    assert_eq!(flapping.content, 0, "content went on air");
    assert!(flapping.airtime_ms <= steady.airtime_ms * 12 / 10);
    // Each node leaves it once for each class of message that goes to the other: documents, states, upkeep, rights.
    assert!(flapping.switched <= 2 * 4, "{} switches", flapping.switched);
}
