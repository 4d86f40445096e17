//! The pace of publication follows the airtime that is left, and no class of traffic spends what another needs.

use super::*;
use tombolo::node::{App, AppHealth, AppStatus};
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::{Region, Usage};

/// The 1 % sub-band of EU868, and the 10 % one.
const ONE_PERCENT_HZ: u32 = 868_100_000;
const TEN_PERCENT_HZ: u32 = 869_525_000;

/// LongFast under the law of a frequency, all else by default.
fn eu868(seed: u64, frequency_hz: u32) -> (Field, u64) {
    println!("seed {seed}");
    let usage = Usage { frequency_hz: Some(frequency_hz), ..Usage::default() };
    let rules = Region::Eu868.rules(usage).unwrap();
    let budget_us = u64::from(rules.duty_permille.unwrap()) * 3_600_000;
    let line = PhyRate::lora(Modulation::LONG_FAST);
    let config = FieldConfig { ledger: LedgerConfig::new(Some(rules)), ..FieldConfig::new(seed, line) };
    (Field::new(config), budget_us)
}

/// When a node's frames were on air since a time, from and to in microseconds.
fn frames(field: &Field, at: usize, from: Mono) -> Vec<(u64, u64)> {
    let radio = field.radio(at);
    since(field, from)
        .filter(|on_air| on_air.radio == radio)
        .map(|on_air| (on_air.start_us, on_air.end_us))
        .collect()
}

/// The longest silence between two frames, in minutes.
fn longest_silence_min(frames: &[(u64, u64)]) -> u64 {
    let pauses = frames.iter().zip(frames.iter().skip(1)).map(|((_, end), (start, _))| start - end);
    pauses.max().unwrap_or(u64::MAX) / 60_000_000
}

fn most_us_in_an_hour(frames: &[(u64, u64)]) -> u64 {
    let hour_us = HOUR.ms() * 1_000;
    let within = |from: u64| {
        frames
            .iter()
            .filter(|(start, _)| (from..from + hour_us).contains(start))
            .map(|(start, end)| end - start)
            .sum()
    };
    frames.iter().map(|(start, _)| within(*start)).max().unwrap_or(0)
}

/// The age of the state of one node that another shows, seconds.
fn age_s(field: &mut Field, at: usize, of: usize, published: &[(Mono, String)]) -> u64 {
    let peer = Some(tombolo::identity::did(&field.peer_id(of)));
    let Some(Ok(Reply::State(state))) = field.ask(at, Query::State { peer }) else { return u64::MAX };
    let at =
        published.iter().rev().find(|(_, stamp)| *stamp == state.timestamp).map_or(Mono::ZERO, |(at, _)| *at);
    field.now().since(at) / SECOND
}

fn publish_apps(field: &mut Field, at: usize, second: u64, apps: Vec<App>) -> String {
    let state = NodeState {
        cpu_usage_percent: Some((second * 37 % 1000) as f64 / 10.0),
        mem_used_bytes: Some(2_000_000_000 + second * 4096 * 17 % 90_000_000),
        mem_total_bytes: Some(8_000_000_000),
        uptime_secs: Some(second),
        apps,
        ..NodeState::default()
    };
    match field.ask(at, Write::publish(state)) {
        Some(Ok(Reply::Published(view))) => view.timestamp,
        other => panic!("{other:?}"),
    }
}

fn app(id: &str, runs: bool) -> App {
    let status = if runs { AppStatus::Running } else { AppStatus::Stopped };
    App { id: id.into(), status, version: Some("1.2".into()), health: None }
}

/// Default settings on the 1 % sub-band: a state each minute, for three hours. Before publication had a pace, the hour's airtime was spent
/// in its first 21 minutes, and the node was mute for 37.
#[test]
fn a_node_at_its_default_settings_is_never_mute_for_longer_than_eight_minutes() {
    let (mut field, budget_us) = eu868(301, ONE_PERCENT_HZ);
    friends(&mut field, 2);
    let began = field.now();
    let mut published = [Vec::new(), Vec::new()];
    let mut oldest_s = 0;
    for minute in 0..180 {
        for (node, published) in published.iter_mut().enumerate() {
            let stamp = publish_apps(&mut field, node, minute * 60, vec![app("web", true)]);
            published.push((field.now(), stamp));
        }
        field.run(MINUTE);
        if minute > 20 {
            oldest_s = oldest_s.max(age_s(&mut field, 0, 1, &published[1])).max(age_s(
                &mut field,
                1,
                0,
                &published[0],
            ));
        }
    }
    for node in 0..2 {
        let sent = frames(&field, node, began);
        let (silence_min, most_us) = (longest_silence_min(&sent), most_us_in_an_hour(&sent));
        println!(
            "node {node}: {} frames, longest silence {silence_min} min, {most_us} us in the worst hour",
            sent.len()
        );
        assert!(silence_min < 8, "mute for {silence_min} minutes");
        assert!(most_us <= budget_us, "{most_us} us in an hour");
        assert!(sent.len() >= 30, "{} frames in three hours are no publication", sent.len());
    }
    println!("the oldest state that was shown: {oldest_s} s");
    assert!(oldest_s < 15 * 60, "a state of {oldest_s} s was shown");
}

/// An app that starts and stops each second for an hour, while a document is written each five minutes. Before, it spent the legal hour
/// in 7.5 minutes, and what was written then waited for up to 50.
fn flapping_app(seed: u64, frequency_hz: u32, within_s: u64) {
    let (mut field, budget_us) = eu868(seed, frequency_hz);
    friends(&mut field, 2);
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 0);
    in_step(&mut field, &[0, 1], "notes", "first", HOUR);
    let began = field.now();
    let mut waits_s: Vec<u64> = Vec::new();
    let mut written: Vec<(String, u64)> = Vec::new();
    for second in 0..3_600 + within_s {
        publish_apps(&mut field, 0, second, vec![app("db", true), app("web", second % 2 == 0)]);
        if second % 300 == 60 && second < 3_600 {
            let key = format!("k{second}");
            set(&mut field, 0, "notes", &key, format!("written at {second}"));
            written.push((key, second));
        }
        field.run(SECOND);
        if !written.is_empty() {
            let notes = get(&mut field, 1, "notes");
            let has = |key: &str| notes.as_ref().is_some_and(|notes| notes.get(key).is_some());
            waits_s.extend(written.iter().filter(|(key, _)| has(key)).map(|(_, at)| second - at));
            written.retain(|(key, _)| !has(key));
        }
    }
    let sent = frames(&field, 0, began);
    let most_us = most_us_in_an_hour(&sent);
    println!("{} frames, {most_us} us in the worst hour; documents took {waits_s:?} s", sent.len());
    assert!(most_us <= budget_us, "{most_us} us in an hour");
    assert_eq!(waits_s.len(), 12);
    assert!(waits_s.iter().all(|wait| *wait <= within_s), "{waits_s:?}");
    let Some(Ok(Reply::State(seen))) = field.ask(1, Query::State { peer: Some("n0".into()) }) else {
        panic!("a state of n0")
    };
    let web = seen.state.apps.iter().find(|app| app.id == "web").expect("the app");
    assert_eq!(web.health, Some(AppHealth::Flapping), "{web:?}");
    assert!(matches!(web.status, AppStatus::Running | AppStatus::Stopped));
}

#[test]
fn documents_arrive_within_a_minute_while_an_app_flaps_on_ten_percent() {
    flapping_app(302, TEN_PERCENT_HZ, 60);
}

#[test]
fn documents_arrive_within_eight_minutes_while_an_app_flaps_on_one_percent() {
    flapping_app(303, ONE_PERCENT_HZ, 8 * 60);
}

/// Documents far beyond what an hour has airtime for: rights and heartbeats go on, and states have at least their share, which on one
/// percent is two or three an hour.
#[test]
fn a_flood_of_documents_leaves_states_rights_and_heartbeats_their_shares() {
    let (mut field, budget_us) = eu868(304, ONE_PERCENT_HZ);
    friends(&mut field, 2);
    for n in 0..2 {
        create(&mut field, 0, &format!("notes{n}"));
    }
    field.run(2 * HOUR);
    let began = field.now();
    let text = |n: u64| {
        (0..6)
            .map(|k| format!("{:016x}", (n * 6 + k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect::<String>()
    };
    let mut published = Vec::new();
    let mut oldest_s = 0;
    for minute in 0..100 {
        for n in 0..2 {
            set(&mut field, 0, &format!("notes{n}"), &format!("k{}", minute % 7), text(minute * 2 + n));
        }
        let stamp = publish_apps(&mut field, 0, minute * 60, vec![app("web", minute < 70)]);
        published.push((field.now(), stamp));
        if minute == 50 {
            policy(&mut field, 0, "notes0", None, Some(false));
        }
        field.run(MINUTE);
        if minute > 20 {
            oldest_s = oldest_s.max(age_s(&mut field, 1, 0, &published));
        }
    }
    let sent = frames(&field, 0, began);
    let (silence_min, most_us) = (longest_silence_min(&sent), most_us_in_an_hour(&sent));
    println!(
        "{} frames, longest silence {silence_min} min, {most_us} us in the worst hour; oldest state {oldest_s} s",
        sent.len()
    );
    assert!(most_us <= budget_us, "{most_us} us in an hour");
    assert!(silence_min < 12, "mute for {silence_min} minutes");
    assert!(oldest_s < 40 * 60, "a state of {oldest_s} s was shown");
    let Some(Ok(Reply::Airtime(radios))) = field.ask(0, Query::Airtime) else { panic!("airtime") };
    for row in &radios[0].by_priority {
        println!("{row:?}");
        assert!(row.left_s + 1e-6 >= row.share_left_s, "{row:?}");
    }
}
