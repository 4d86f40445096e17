//! Alarms over nothing but radios: one frame, ahead of what else is due, also when the hour of documents is spent.

use super::*;
use tombolo::node::{App, AppStatus};
use tombolo::watches::WatchRule;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::{Region, Usage};

fn frames(field: &Field, by: usize) -> usize {
    let radio = field.radio(by);
    field.air.log().filter(|on_air| on_air.radio == radio).count()
}

/// Publishes a state in which the app runs or not.
fn publish(field: &mut Field, at: usize, status: AppStatus) {
    let app = App { id: "web".to_owned(), status, version: None, health: None };
    let state = NodeState { apps: vec![app], ..NodeState::default() };
    assert!(matches!(field.ask(at, Write::publish(state)), Some(Ok(_))));
}

fn watch_own_app(field: &mut Field, at: usize) {
    let peer = tombolo::identity::did(&field.peer_id(at));
    let rule = WatchRule { peer, apps: vec!["web".to_owned()], ..WatchRule::default() };
    assert!(matches!(field.ask(at, Admin::WatchFor(rule)), Some(Ok(_))));
}

fn open_alarms(field: &mut Field, at: usize) -> usize {
    match field.ask(at, Query::Alarms) {
        Some(Ok(Reply::Alarms(alarms))) => alarms.iter().filter(|alarm| alarm.open).count(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_alarm_by_radio_is_the_next_frame_and_goes_to_all() {
    let mut field = sf7(71);
    friends(&mut field, 3);
    watch_own_app(&mut field, 0);
    publish(&mut field, 0, AppStatus::Stopped);
    // The state has left; the app has some seconds to come back.
    field.run(9 * SECOND);
    assert_eq!(open_alarms(&mut field, 0), 0);
    let before = frames(&field, 0);
    let all_know = |field: &mut Field| (1..3).all(|at| open_alarms(field, at) == 1);
    assert!(field.run_until(MINUTE, all_know));
    assert_eq!(frames(&field, 0) - before, 1, "one frame");
    // It is over: that is a change of the same document.
    publish(&mut field, 0, AppStatus::Running);
    assert!(field.run_until(5 * MINUTE, |field| (0..3).all(|at| open_alarms(field, at) == 0)));
}

/// States have spent what the law lets them have of this hour; the share that is kept for alarms is left.
#[test]
fn an_alarm_leaves_when_the_hour_of_states_is_spent() {
    let usage = Usage { frequency_hz: Some(868_100_000), ..Usage::default() };
    let ledger = LedgerConfig::new(Some(Region::Eu868.rules(usage).unwrap()));
    println!("seed 73");
    let line = PhyRate::lora(Modulation::LONG_FAST);
    let mut field = Field::new(FieldConfig { ledger, ..FieldConfig::new(73, line) });
    friends(&mut field, 2);
    watch_own_app(&mut field, 0);
    for round in 0..120_u64 {
        let app = App { id: "web".to_owned(), status: AppStatus::Running, version: None, health: None };
        let state = NodeState {
            apps: vec![app],
            cpu_usage_percent: Some((round * 37 % 1000) as f64 / 10.0),
            mem_used_bytes: Some(round * 7_919 * 4_096),
            uptime_secs: Some(round * round),
            ..NodeState::default()
        };
        assert!(matches!(field.ask(0, Write::publish(state)), Some(Ok(_))));
        field.run(10 * SECOND);
    }
    let Some(Ok(Reply::Airtime(airtime))) = field.ask(0, Query::Airtime) else { panic!("airtime") };
    let wait = airtime[0].state_leaves_in_s.unwrap();
    assert!(wait > 20.0, "the next state may leave in {wait} s");
    publish(&mut field, 0, AppStatus::Stopped);
    let before_any_state = Millis::from_ms((wait * 1_000.0) as u64) - SECOND;
    assert!(field.run_until(before_any_state, |field| open_alarms(field, 1) == 1));
}

/// What one operator has acknowledged by radio is acknowledged for all.
#[test]
fn an_acknowledgement_goes_by_radio() {
    let mut field = sf7(72);
    friends(&mut field, 2);
    watch_own_app(&mut field, 0);
    publish(&mut field, 0, AppStatus::Stopped);
    assert!(field.run_until(2 * MINUTE, |field| open_alarms(field, 1) == 1));
    let Some(Ok(Reply::Alarms(alarms))) = field.ask(1, Query::Alarms) else { panic!("alarms") };
    let acknowledged = field.ask(1, Admin::AcknowledgeAlarm { id: alarms[0].id.clone() });
    assert!(matches!(acknowledged, Some(Ok(Reply::Alarms(_)))));
    let is_known = |field: &mut Field| match field.ask(0, Query::Alarms) {
        Some(Ok(Reply::Alarms(alarms))) => alarms[0].acknowledged_by == ["n1"],
        other => panic!("{other:?}"),
    };
    assert!(field.run_until(2 * MINUTE, is_known));
}

/// An author that has no radio is not waited for on air: one gateway relays its alarm within a few frame times.
#[test]
fn an_alarm_of_a_node_without_a_radio_is_relayed_at_once() {
    let mut field = gateways(74);
    watch_own_app(&mut field, 0);
    field.run(40 * MINUTE);
    let mut waits_ms = Vec::new();
    for _ in 0..12 {
        publish(&mut field, 0, AppStatus::Stopped);
        assert!(field.run_until(MINUTE, |field| open_alarms(field, 0) == 1));
        let raised_at = field.now();
        let mut missing = vec![4, 5];
        while !missing.is_empty() {
            field.run(Millis::from_ms(50));
            let arrived = missing.extract_if(.., |at| open_alarms(&mut field, *at) == 1).count();
            waits_ms.extend(std::iter::repeat_n(field.now().since(raised_at).ms(), arrived));
            assert!(field.now().since(raised_at) < MINUTE, "{waits_ms:?}");
        }
        publish(&mut field, 0, AppStatus::Running);
        assert!(field.run_until(5 * MINUTE, |field| (0..6).all(|at| open_alarms(field, at) == 0)));
        // An app that changes more often than that is flapping.
        field.run(12 * MINUTE);
    }
    let mean_ms = waits_ms.iter().sum::<u64>() / waits_ms.len() as u64;
    println!("{mean_ms} ms in the mean: {waits_ms:?}");
    assert!(mean_ms < 1_000, "{mean_ms} ms");
}
