//! Watches on a wire: a node that falls silent is an alarm on all nodes, with one id and one message.

use super::*;
use crate::io::AlarmMessage;
use crate::limits::HEARTBEAT;
use crate::watches::{AlarmSettings, DeliveryEnd, NotifyChannel, OperatorGroup, WatchRule, Watches};

/// What the issue of an alarm may take after the "next by" of the silent node.
const AFTER_NEXT_BY: Millis = Millis::from_secs(10);

fn watch(peer: &str) -> WatchRule {
    WatchRule { peer: peer.to_owned(), silent: true, back: true, ..WatchRule::default() }
}

/// Sets how the operator of a node is notified.
fn notifies(wire: &mut Wire, at: usize, operator: &str) {
    let channels = vec![NotifyChannel::Command];
    let settings =
        AlarmSettings { channels, group: OperatorGroup::named(operator), ..AlarmSettings::default() };
    let node = &mut wire.nodes[at];
    node.watches = Watches::new(settings);
    let loaded = node.core.gate.load().unwrap();
    node.desk().alarms().load(&loaded.meta);
    wire.queue.push_back((at, Input::UtcOffset { minutes: 0 }));
    wire.run();
}

/// Three nodes that know each other; all are linked.
fn three() -> Wire {
    let mut wire = Wire::new(3);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        wire.join(a, b, TrustLevel::Trusted);
        wire.connect(a, b);
    }
    for at in 0..3 {
        wire.ask(at, Write::publish(NodeState::default())).unwrap();
    }
    wire.pass(40_000);
    wire
}

/// Time passes; what is handed over arrives.
fn pass(wire: &mut Wire, ms: u64) -> Vec<(usize, AlarmMessage)> {
    let mut arrived = Vec::new();
    for _ in 0..ms.div_ceil(100) {
        wire.pass(100);
        for (at, key, message) in std::mem::take(&mut wire.messages) {
            arrived.push((at, message));
            wire.queue.push_back((at, Input::Notified { key, end: DeliveryEnd::Sent }));
            wire.run();
        }
    }
    arrived
}

fn alarms(wire: &mut Wire, at: usize) -> Vec<view::RaisedAlarmView> {
    match wire.ask(at, Query::Alarms) {
        Ok(Reply::Alarms(alarms)) => alarms,
        other => panic!("{other:?}"),
    }
}

fn pull_the_plug(wire: &mut Wire, at: usize) {
    for other in (0..wire.nodes.len()).filter(|other| *other != at) {
        wire.cut(at, other);
    }
}

#[test]
fn a_pulled_plug_is_one_message_within_its_time_and_an_alarm_on_all_nodes() {
    let mut wire = three();
    notifies(&mut wire, 0, "");
    wire.ask(0, Admin::WatchFor(watch("n2"))).unwrap();
    assert!(pass(&mut wire, 60_000).is_empty(), "all is well");
    pull_the_plug(&mut wire, 2);
    let promised = HEARTBEAT + AFTER_NEXT_BY;
    let arrived = pass(&mut wire, promised.ms());
    let [(0, message)] = arrived.as_slice() else { panic!("{arrived:?}") };
    assert_eq!((message.title.as_str(), message.kind), ("n2 is silent", "silent"));
    // The other node watches nothing itself, and shows it all the same.
    let shown = alarms(&mut wire, 1);
    assert_eq!(shown.len(), 1);
    assert_eq!((&shown[0].id, shown[0].open), (&message.id, true));
    assert_eq!(shown[0].reported_by, ["n0"]);
    let seen = |event: &&(usize, Event)| matches!(event, (1, Event::Alarm(Alarm::Watched { .. })));
    assert_eq!(wire.events.iter().filter(seen).count(), 1);
    assert!(pass(&mut wire, 600_000).is_empty(), "one event, one message");
    assert_eq!(alarms(&mut wire, 0)[0].messages[0].state, "sent");
    // It comes back: that is news too, once.
    wire.connect(0, 2);
    let arrived = pass(&mut wire, 120_000);
    let titles: Vec<&str> = arrived.iter().map(|(_, message)| message.title.as_str()).collect();
    assert_eq!(titles, ["n2 is back"]);
    assert!(alarms(&mut wire, 1).iter().all(|alarm| !alarm.open));
}

#[test]
fn an_acknowledgement_on_one_node_counts_on_all() {
    let mut wire = three();
    wire.ask(0, Admin::WatchFor(watch("n2"))).unwrap();
    pull_the_plug(&mut wire, 2);
    pass(&mut wire, 30_000);
    let id = alarms(&mut wire, 1)[0].id.clone();
    let Ok(Reply::Alarms(acknowledged)) = wire.ask(1, Admin::AcknowledgeAlarm { id: id[..6].to_owned() })
    else {
        panic!("not acknowledged")
    };
    assert_eq!(acknowledged[0].acknowledged_by, ["n1"]);
    wire.pass(1_000);
    assert_eq!(alarms(&mut wire, 0)[0].acknowledged_by, ["n1"]);
    // A node that is set up to notify after that has nothing to send.
    notifies(&mut wire, 1, "");
    assert!(pass(&mut wire, 60_000).is_empty());
    let unknown = Err(CommandError::UnknownAlarm("ffff".to_owned()));
    assert_eq!(wire.ask(0, Admin::AcknowledgeAlarm { id: "ffff".to_owned() }), unknown);
}

#[test]
fn two_watchers_make_one_alarm_and_one_message_for_one_operator() {
    for (operators, expected) in [(["ada", "ada"], 1), (["ada", "grace"], 2), (["", ""], 2)] {
        let mut wire = three();
        for (at, operator) in operators.into_iter().enumerate() {
            notifies(&mut wire, at, operator);
            wire.ask(at, Admin::WatchFor(watch("n2"))).unwrap();
        }
        pass(&mut wire, 60_000);
        pull_the_plug(&mut wire, 2);
        let arrived = pass(&mut wire, 300_000);
        assert_eq!(arrived.len(), expected, "{operators:?} {arrived:?}");
        let (of_0, of_1) = (alarms(&mut wire, 0), alarms(&mut wire, 1));
        assert_eq!((of_0.len(), &of_0[0].id), (1, &of_1[0].id));
        assert_eq!(of_0[0].reported_by.len(), 2);
        assert!(arrived.iter().all(|(_, message)| message.id == of_0[0].id));
    }
}

/// The node whose turn it is has lost its link to the other: each sends, since no one can know of the other's message.
#[test]
fn apart_from_each_other_two_nodes_of_one_operator_both_send() {
    let mut wire = three();
    for at in 0..2 {
        notifies(&mut wire, at, "ada");
        wire.ask(at, Admin::WatchFor(watch("n2"))).unwrap();
    }
    pass(&mut wire, 60_000);
    wire.cut(0, 1);
    pull_the_plug(&mut wire, 2);
    assert_eq!(pass(&mut wire, 300_000).len(), 2);
}

#[test]
fn alarms_of_a_node_that_is_only_observed_do_not_count() {
    let mut wire = three();
    wire.ask(1, Admin::Trust { peer: "n0".to_owned(), level: TrustLevel::Observer }).unwrap();
    notifies(&mut wire, 1, "");
    wire.ask(0, Admin::WatchFor(watch("n2"))).unwrap();
    pull_the_plug(&mut wire, 2);
    assert!(pass(&mut wire, 60_000).is_empty());
    assert!(alarms(&mut wire, 1).is_empty());
    assert_eq!(alarms(&mut wire, 0).len(), 1);
}

fn app(id: &str, status: AppStatus) -> NodeState {
    let app = App { id: id.to_owned(), status, version: None, health: None };
    NodeState {
        apps: vec![app],
        disk_used_bytes: Some(95),
        disk_total_bytes: Some(100),
        ..NodeState::default()
    }
}

/// What keeps it from being published again and again must not keep it from being reported.
#[test]
fn an_app_that_flaps_raises_an_alarm() {
    let mut wire = three();
    let rule = WatchRule { apps: vec!["web".to_owned()], silent: false, back: false, ..watch("n1") };
    wire.ask(0, Admin::WatchFor(rule)).unwrap();
    for round in 0..10 {
        let status = if round % 2 == 0 { AppStatus::Running } else { AppStatus::Stopped };
        wire.ask(1, Write::publish(app("web", status))).unwrap();
        pass(&mut wire, 2_000);
    }
    pass(&mut wire, 45_000);
    let kinds: Vec<_> = alarms(&mut wire, 2).into_iter().map(|alarm| alarm.kind).collect();
    assert!(kinds.contains(&"app_unhealthy"), "{kinds:?}");
}

#[test]
fn apps_and_disks_are_read_from_the_signed_state() {
    let mut wire = three();
    let rule = WatchRule { apps: vec!["web".to_owned()], disk_above: Some(90), ..watch("n1") };
    wire.ask(0, Admin::WatchFor(WatchRule { silent: false, back: false, ..rule })).unwrap();
    wire.ask(1, Write::publish(app("web", AppStatus::Stopped))).unwrap();
    pass(&mut wire, 15_000);
    let mut kinds: Vec<_> =
        alarms(&mut wire, 2).into_iter().map(|alarm| (alarm.kind, alarm.message)).collect();
    kinds.sort();
    let expected = [("app_stopped", "web on n1 does not run"), ("disk", "the disk of n1 is 95 % full")];
    assert_eq!(kinds, expected.map(|(kind, message)| (kind, message.to_owned())));
    wire.ask(1, Write::publish(app("web", AppStatus::Running))).unwrap();
    pass(&mut wire, 60_000);
    let open: Vec<_> =
        alarms(&mut wire, 2).into_iter().filter(|alarm| alarm.open).map(|alarm| alarm.kind).collect();
    assert_eq!(open, ["disk"]);
    // The watch is removed: its alarm is over.
    let Ok(Reply::Watches(watches)) = wire.ask(0, Query::Watches) else { panic!("watches") };
    wire.ask(0, Admin::Unwatch { id: watches[0].id.clone() }).unwrap();
    pass(&mut wire, 6_000);
    assert!(alarms(&mut wire, 2).iter().all(|alarm| !alarm.open));
    let unknown = Err(CommandError::UnknownWatch("1".to_owned()));
    assert_eq!(wire.ask(0, Admin::Unwatch { id: "1".to_owned() }), unknown);
}

#[test]
fn watches_are_on_disk() {
    let mut wire = three();
    wire.ask(0, Admin::WatchFor(watch("n2"))).unwrap();
    wire.restart(0);
    let Ok(Reply::Watches(watches)) = wire.ask(0, Query::Watches) else { panic!("watches") };
    assert_eq!((watches[0].peer.as_str(), watches[0].id.as_str()), ("n2", "1"));
    let unknown = wire.ask(0, Admin::WatchFor(watch("nowhere")));
    assert!(matches!(unknown, Err(CommandError::UnknownPeer(_))), "{unknown:?}");
}
