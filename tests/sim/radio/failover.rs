//! A LAN that goes dead in the middle of traffic, before its session notices: what leaves over another link, and when; and that
//! nothing is lost, nothing comes twice.

use super::*;
use tombolo::node::{App, AppStatus};
use tombolo::watches::WatchRule;
use tombolo_sim::field::CableKind;
use tombolo_transports::Medium;

/// The session of a dead LAN notices after so long (`transports/src/lan/quic.rs`).
const LAN_NOTICED: Millis = Millis::from_secs(10);
/// How finely the time until an arrival is measured.
const STEP: Millis = Millis::from_ms(20);

fn publish_app(field: &mut Field, status: AppStatus) {
    let app = App { id: "web".to_owned(), status, version: None, health: None };
    let state = NodeState { apps: vec![app], ..NodeState::default() };
    assert!(matches!(field.ask(0, Write::publish(state)), Some(Ok(_))));
}

fn open_alarms(field: &mut Field, at: usize) -> usize {
    match field.ask(at, Query::Alarms) {
        Some(Ok(Reply::Alarms(alarms))) => alarms.iter().filter(|alarm| alarm.open).count(),
        other => panic!("{other:?}"),
    }
}

/// Two nodes in step with a LAN between them and these other ways; n0 watches its own app.
fn pair(seed: u64, beside: &[Medium]) -> Field {
    let mut field = sf7(seed);
    friends(&mut field, 2);
    field.connect(0, 1);
    if beside.contains(&Medium::Tor) {
        field.connect_over(0, 1, CableKind::TOR);
    }
    let radio = field.radio(1);
    field.air.set_on(radio, beside.contains(&Medium::Mesh));
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 0);
    let peer = tombolo::identity::did(&field.peer_id(0));
    let rule = WatchRule { peer, apps: vec!["web".to_owned()], ..WatchRule::default() };
    assert!(matches!(field.ask(0, Admin::WatchFor(rule)), Some(Ok(_))));
    publish_app(&mut field, AppStatus::Running);
    field.run(HOUR);
    in_step(&mut field, &[0, 1], "notes", "first", MINUTE);
    field
}

/// Writes each 200 ms until an alarm of n0 has arrived at n1; returns how long that took from the moment it was raised.
fn alarm_under_traffic(field: &mut Field) -> Millis {
    let mut raised = None;
    for step in 0..1_500 {
        if step % 10 == 0 {
            set(field, 0, "notes", &format!("k{}", step % 7), step);
        }
        field.run(STEP);
        if raised.is_none() && open_alarms(field, 0) == 1 {
            raised = Some(field.now() - STEP);
        }
        if let Some(raised) = raised
            && open_alarms(field, 1) == 1
        {
            return field.now().since(raised);
        }
    }
    panic!("no alarm has arrived: raised at {raised:?} of {:?}", field.now());
}

fn dies_while_an_app_stops(seed: u64, beside: &[Medium]) -> (Field, Millis) {
    let mut field = pair(seed, beside);
    publish_app(&mut field, AppStatus::Stopped);
    // The app has ten seconds to come back; the LAN dies before the alarm is raised, and is not missed before it is sent.
    field.run(7 * SECOND);
    assert_eq!(open_alarms(&mut field, 0), 0);
    field.silence(0, 1, Medium::Lan);
    let took = alarm_under_traffic(&mut field);
    println!("beside {beside:?}: the alarm took {} ms", took.ms());
    (field, took)
}

/// Both have the same, every write and one alarm.
fn nothing_is_lost_or_twice(field: &mut Field) {
    let alarm = |field: &mut Field, at: usize| match field.ask(at, Query::Alarms) {
        Some(Ok(Reply::Alarms(alarms))) => alarms.iter().map(|alarm| alarm.id.clone()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    set(field, 0, "notes", "last", 1);
    in_step(field, &[0, 1], "notes", "last", HOUR);
    let ids = alarm(field, 1);
    assert_eq!((ids.len(), &ids), (1, &alarm(field, 0)));
}

#[test]
fn an_alarm_leaves_a_dead_lan_for_another_ip_link_within_a_second() {
    let (mut field, took) = dies_while_an_app_stops(421, &[Medium::Tor]);
    assert!(took <= SECOND, "{took:?}");
    // What else was sent into the dead LAN follows as soon as the session notices.
    field.run(LAN_NOTICED - took);
    set(&mut field, 0, "notes", "unnoticed", 1);
    let cut = field.now();
    field.cut_over(0, 1, Medium::Lan);
    in_step(&mut field, &[0, 1], "notes", "unnoticed", SECOND);
    println!("all that was under way had arrived {} ms after the cut", field.now().since(cut).ms());
    nothing_is_lost_or_twice(&mut field);
}

#[test]
fn an_alarm_leaves_a_dead_lan_by_radio_within_five_seconds() {
    let (mut field, took) = dies_while_an_app_stops(422, &[Medium::Mesh]);
    assert!(took <= 5 * SECOND, "{took:?}");
    field.run(LAN_NOTICED - took);
    set(&mut field, 0, "notes", "unnoticed", 1);
    field.run(SECOND);
    let cut = field.now();
    field.cut_over(0, 1, Medium::Lan);
    // The air waits for the LAN to return, and then takes what the LAN had swallowed.
    in_step(&mut field, &[0, 1], "notes", "unnoticed", 2 * MINUTE);
    println!("by radio {} ms after the cut", field.now().since(cut).ms());
    nothing_is_lost_or_twice(&mut field);
}

/// A LAN that answers leaves nothing for the air.
#[test]
fn an_alarm_that_a_lan_delivers_is_not_sent_on_air() {
    let mut field = pair(423, &[Medium::Mesh]);
    let from = field.now();
    publish_app(&mut field, AppStatus::Stopped);
    assert!(field.run_until(MINUTE, |field| open_alarms(field, 1) == 1));
    field.run(10 * MINUTE);
    let sent: Vec<_> = since(&field, from).filter(|on_air| carries(on_air)).map(kind).collect();
    assert!(sent.is_empty(), "content went on air: kinds {sent:?}");
}
