//! The law: EU868, 1 % of any hour.

use super::*;
use std::collections::BTreeMap;
use tombolo::node::NodeState;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::{Region, Usage};

const FREQUENCY_HZ: u32 = 868_100_000;

/// A virtual day of three nodes that write all the time, far more than the law lets out.
#[test]
fn no_node_sends_longer_than_the_law_allows_in_any_hour_and_what_is_sent_is_the_newest() {
    let rules = Region::Eu868.rules(Usage { frequency_hz: Some(FREQUENCY_HZ), ..Usage::default() }).unwrap();
    let budget_us = u64::from(rules.duty_permille.unwrap()) * 3_600_000;
    assert_eq!(budget_us, 36_000_000);
    println!("seed 91");
    let line = PhyRate::lora(Modulation::LONG_FAST);
    let mut field =
        Field::new(FieldConfig { ledger: LedgerConfig::new(Some(rules)), ..FieldConfig::new(91, line) });
    friends(&mut field, 3);
    let mut sent: BTreeMap<u16, Vec<(u64, u64)>> = BTreeMap::new();
    let mut published: BTreeMap<usize, Vec<(Mono, String)>> = BTreeMap::new();
    let mut last_us = 0;
    let mut read: BTreeMap<(usize, usize), String> = BTreeMap::new();
    let mut updates = 0;
    for round in 0..24 * 60 * 2u64 {
        for node in 0..3 {
            let state = NodeState {
                cpu_usage_percent: Some((round * 7 % 1000) as f64 / 10.0),
                uptime_secs: Some(round * 30),
                mem_used_bytes: Some((round * 7_919 % 100_000) << 12),
                ..NodeState::default()
            };
            let done = field.ask(node, Write::publish(state));
            let Some(Ok(Reply::Published(view))) = done else { panic!("{done:?}") };
            published.entry(node).or_default().push((field.now(), view.timestamp));
        }
        field.run(30 * SECOND);
        for on_air in field.air.log().filter(|on_air| on_air.start_us >= last_us) {
            sent.entry(on_air.radio.0).or_default().push((on_air.start_us, on_air.end_us));
        }
        last_us = sent.values().filter_map(|frames| frames.last()).map(|(_, end)| *end).max().unwrap_or(0);
        // A reader that has something new has what was the newest less than two frames and a round ago.
        for (author, reader) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let Some(Ok(Reply::State(state))) =
                field.ask(reader, Query::State { peer: Some(format!("n{author}")) })
            else {
                continue;
            };
            if read.insert((author, reader), state.timestamp.clone()).as_ref() != Some(&state.timestamp) {
                updates += 1;
                let newest = published[&author].iter().rev().take(3).map(|(_, stamp)| stamp);
                assert!(
                    newest.clone().any(|stamp| *stamp == state.timestamp),
                    "{state:?} is stale, {newest:?}"
                );
            }
        }
    }
    assert!(updates > 600, "only {updates} states came through in a day");
    // A node with nothing left to spend waits for the hour to pass: it does not ask every millisecond.
    assert!(field.steps < 50_000, "{} steps in a day", field.steps);
    for (radio, frames) in &sent {
        let most_us = most_in_an_hour(frames);
        let total_s = frames.iter().map(|(start, end)| end - start).sum::<u64>() / 1_000_000;
        println!("radio {radio}: {} frames, {total_s} s, {most_us} us in the worst hour", frames.len());
        assert!(most_us <= budget_us, "radio {radio} sent {most_us} us in an hour");
        // The budget is used, too: this is no test of silence.
        assert!(most_us > budget_us / 4, "radio {radio} sent no more than {most_us} us in an hour");
    }
}

/// A clock that was set wrong while the process was down, or between two starts, buys no time on air: the machine knows
/// better how long that was.
#[test]
fn a_clock_set_ahead_between_two_runs_does_not_let_the_spent_hour_be_forgotten() {
    let rules = Region::Eu868.rules(Usage { frequency_hz: Some(FREQUENCY_HZ), ..Usage::default() }).unwrap();
    println!("seed 92");
    let line = PhyRate::lora(Modulation::LONG_FAST);
    let mut field =
        Field::new(FieldConfig { ledger: LedgerConfig::new(Some(rules)), ..FieldConfig::new(92, line) });
    friends(&mut field, 2);
    create(&mut field, 0, "plan");
    let mut sent: Vec<(u64, u64)> = Vec::new();
    for round in 0..4 * 30u64 {
        for _ in 0..4 {
            let value = Value::from(field.now().ms() as i64);
            set(&mut field, 0, "plan", &format!("k{}", round % 9), value);
            field.run(30 * SECOND);
            let new = field.air.log().filter(|on_air| on_air.radio == field.radio(0));
            let known_us = sent.last().map_or(0, |(_, end)| *end);
            sent.extend(
                new.filter(|on_air| on_air.start_us >= known_us)
                    .map(|on_air| (on_air.start_us, on_air.end_us)),
            );
        }
        if round % 8 == 7 {
            field.clocks_ahead += 2 * HOUR;
            field.restart(0).unwrap();
        }
    }
    let most_us = most_in_an_hour(&sent);
    println!("{} frames, {most_us} us in the worst hour", sent.len());
    assert!(most_us <= 36_000_000, "{most_us} us in an hour");
    assert!(most_us > 12_000_000, "no more than {most_us} us in an hour: this is no test of silence");
}

/// The longest time on air within any window of an hour: the worst begins with a frame or ends with one.
fn most_in_an_hour(frames: &[(u64, u64)]) -> u64 {
    let hour_us = HOUR.ms() * 1_000;
    let within = |from: u64, to: u64| {
        frames.iter().map(|(start, end)| (*end).min(to).saturating_sub((*start).max(from))).sum::<u64>()
    };
    let begins = frames.iter().map(|(start, _)| within(*start, start + hour_us));
    let ends = frames.iter().map(|(_, end)| within(end.saturating_sub(hour_us), *end));
    begins.chain(ends).max().unwrap_or(0)
}
