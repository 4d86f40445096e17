//! What it costs on air when a node comes back to its listeners, and when one joins them: counted in bytes and airtime.

use super::*;

/// Slow frames, and what Meshtastic adds to each.
fn long_fast() -> PhyRate {
    PhyRate::lora(Modulation::LONG_FAST).with_overhead_bytes(24)
}

fn uptime(field: &mut Field, at: usize, of: usize) -> Option<u64> {
    let peer = Some(tombolo::identity::did(&field.peer_id(of)));
    match field.ask(at, Query::State { peer }) {
        Some(Ok(Reply::State(view))) => view.state.uptime_secs,
        _ => None,
    }
}

/// Bytes, and microseconds of air, that began to leave in a span of time.
fn cost(field: &Field, from: Mono, to: Mono) -> (usize, u64) {
    let line = field.air.line();
    let counted =
        field.air.log().filter(|on_air| (from..to).contains(&Mono::from_ms(on_air.start_us / 1_000)));
    counted.fold((0, 0), |(bytes, airtime_us), on_air| {
        (bytes + on_air.frame.len(), airtime_us + line.frame_us(on_air.frame.len()))
    })
}

/// A node and its listeners, which have no other peers, are in step after cables that are gone; it writes ten states out of
/// reach and comes back at any moment between two heartbeats. Returns what all of them send from then until all hold the
/// newest.
fn coming_back(seed: u64, listeners: usize) -> (usize, u64) {
    let mut field = Field::new(FieldConfig::new(seed, long_fast()));
    field.calls_reach = true;
    for node in 0..=listeners {
        field.add(&format!("n{node}"), false).unwrap();
    }
    for listener in 1..=listeners {
        join(&mut field, 0, listener);
        field.connect(0, listener);
    }
    (0..=listeners).for_each(|node| publish(&mut field, node, 0));
    field.run(MINUTE);
    (0..=listeners).for_each(|node| field.switch_on(node));
    (1..=listeners).for_each(|listener| field.cut(0, listener));
    field.run(40 * MINUTE);
    let radio = field.radio(0);
    field.air.set_on(radio, false);
    for minute in 1..=10 {
        publish(&mut field, 0, minute);
        field.run(MINUTE);
    }
    field.run(seed * 7_919 % 600 * SECOND);
    field.air.set_on(radio, true);
    let met = field.now();
    let in_step = field
        .run_until(HOUR, |field| (1..=listeners).all(|listener| uptime(field, listener, 0) == Some(600)));
    assert!(in_step, "seed {seed}, {listeners} listeners: not in step in an hour");
    cost(&field, met, field.now())
}

/// One request stands for all listeners, the answer serves all of them, and nothing else is sent.
#[test]
fn a_node_that_comes_back_to_eight_costs_at_most_a_third_more_than_with_one() {
    let sum = |listeners: usize| {
        (1..=8).map(|seed| coming_back(seed, listeners)).fold((0, 0), |(bytes, air_us), cost| {
            println!("totals: {listeners} listeners: {} bytes, {} ms", cost.0, cost.1 / 1_000);
            (bytes + cost.0, air_us + cost.1)
        })
    };
    let (one, eight) = (sum(1), sum(8));
    assert!(eight.0 * 10 <= one.0 * 13, "bytes: {} for eight, {} for one", eight.0, one.0);
    assert!(eight.1 * 10 <= one.1 * 13, "airtime: {} us for eight, {} us for one", eight.1, one.1);
}

/// The demo's fourth node, on virtual time: two others know its peer by cable only. A frame that meets another costs it
/// some seconds, and a state that is newer than the one it was sent waits for its pace; but nothing is asked for that could be known.
#[test]
fn who_joins_by_radio_is_in_step_within_seconds() {
    let mut total = Millis::ZERO;
    for seed in 501..521 {
        let mut field = sf7(seed);
        field.calls_reach = true;
        let harbour = field.add("harbour", true).unwrap();
        for name in ["ferry", "lighthouse"] {
            let other = field.add(name, false).unwrap();
            join(&mut field, harbour, other);
            field.connect(harbour, other);
        }
        field.calls_reach = false;
        publish(&mut field, harbour, 1);
        let buoy = field.add("buoy", true).unwrap();
        publish(&mut field, buoy, 1);
        field.run(Millis::from_ms(7_000 + seed % 3 * 400));
        create(&mut field, harbour, "tide");
        let joining = field.now();
        join(&mut field, harbour, buoy);
        let joined = field.now();
        (0..3).for_each(|n| set(&mut field, harbour, "tide", &format!("k{n}"), n));
        publish(&mut field, harbour, 2);
        publish(&mut field, buoy, 2);
        in_step(&mut field, &[harbour, buoy], "tide", "k2", MINUTE);
        set(&mut field, buoy, "tide", "swell", "1.2 m");
        in_step(&mut field, &[harbour, buoy], "tide", "swell", MINUTE);
        let states = field.run_until(MINUTE, |field| {
            uptime(field, buoy, harbour) == Some(120) && uptime(field, harbour, buoy) == Some(120)
        });
        let (joining, all) = (joined.since(joining), field.now().since(joining));
        println!("joined in {} ms, in step after {}", joining.ms(), all.ms());
        if !states || all > 30 * SECOND {
            dump(&field);
            panic!(
                "seed {seed}: {} ms to join, {} ms to come into step, states: {states}",
                joining.ms(),
                all.ms()
            );
        }
        total += all;
    }
    assert!(total <= 20 * 15 * SECOND, "{} ms in the mean", total.ms() / 20);
}
