//! Watches as a whole: from readings to messages, without a node.

use super::*;

const ME: PeerId = PeerId([5; 32]);
const OTHER: PeerId = PeerId([3; 32]);
const HUT: PeerId = PeerId([9; 32]);
/// 2026-11-01T00:00:00Z.
const MIDNIGHT_S: u64 = 1_793_491_200;

fn at(seconds: u64) -> ReadingTime {
    ReadingTime { mono: Mono::from_ms(seconds * 1000), wall: Wall::from_ms((MIDNIGHT_S + seconds) * 1000) }
}

fn watching(settings: AlarmSettings) -> Watches {
    let rule = WatchRule { peer: "hut".to_owned(), silent: true, back: true, ..WatchRule::default() };
    let channels = vec![NotifyChannel::Command];
    let mut watches = Watches::new(AlarmSettings { rules: vec![rule], channels, ..settings });
    watches.set_utc_offset(0);
    watches
}

/// One look: a reading of the hut's silence, the documents of others, and the messages that go.
fn look(
    watches: &mut Watches,
    seconds: u64,
    reading: WatchReading,
    other: &AlarmsDocument,
    rank: usize,
) -> Vec<AlarmMessageKey> {
    let subjects = [WatchKind::Silent, WatchKind::Back].map(|kind| AlarmSubject::node(kind, &HUT));
    let readings = subjects.map(|subject| (subject, (reading, 7))).into_iter().collect();
    let board = AlarmBoard::of([(ME, &watches.own().clone()), (OTHER, other)]);
    watches.read(at(seconds), &readings, &board, |_| "hut".to_owned());
    let board = AlarmBoard::of([(ME, &watches.own().clone()), (OTHER, other)]);
    watches.take_unseen(&board, at(seconds).mono);
    watches.due_messages(&ME, at(seconds), &board, rank, None)
}

fn quiet_look(watches: &mut Watches, seconds: u64, reading: WatchReading) -> usize {
    look(watches, seconds, reading, &AlarmsDocument::default(), 0).len()
}

fn sent(watches: &mut Watches, key: AlarmMessageKey, seconds: u64) {
    watches.messages_mut().ended(&key, DeliveryEnd::Sent, at(seconds).mono, at(seconds).wall);
}

const BAD: WatchReading = WatchReading::Bad { figure: 0 };

#[test]
fn one_silence_makes_one_message_and_its_end_another() {
    let mut watches = watching(AlarmSettings::default());
    assert_eq!(quiet_look(&mut watches, 0, WatchReading::Good), 0);
    let keys = look(&mut watches, 10, BAD, &AlarmsDocument::default(), 0);
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert_eq!(quiet_look(&mut watches, 11, BAD), 0, "it is on its way");
    sent(&mut watches, *key, 12);
    assert_eq!(quiet_look(&mut watches, 13, BAD), 0);
    assert_eq!(quiet_look(&mut watches, 20, WatchReading::Good), 0, "it may be a moment only");
    let back = look(&mut watches, 40, WatchReading::Good, &AlarmsDocument::default(), 0);
    assert_eq!(back.len(), 1);
    let kinds: Vec<_> = watches.own().reports.iter().map(|report| report.subject.kind).collect();
    assert_eq!(kinds, [WatchKind::Silent, WatchKind::Back]);
    sent(&mut watches, back[0], 41);
    // The next silence is another event, though no state has come in between.
    assert_eq!(quiet_look(&mut watches, 50, BAD), 1);
}

#[test]
fn quiet_hours_hold_back_what_is_not_urgent() {
    let quiet = Some("00:00-07:00".parse().unwrap());
    let mut watches = watching(AlarmSettings { quiet, ..AlarmSettings::default() });
    assert_eq!(quiet_look(&mut watches, 60, BAD), 0);
    assert_eq!(watches.next_timer(), Some(at(60).mono + LOOK_EVERY));
    assert_eq!(quiet_look(&mut watches, 7 * 3600 - 1, BAD), 0);
    assert_eq!(quiet_look(&mut watches, 7 * 3600, BAD), 1, "the morning");
    let urgent = BTreeSet::from([WatchKind::Silent]);
    let mut watches = watching(AlarmSettings { quiet, urgent, ..AlarmSettings::default() });
    assert_eq!(quiet_look(&mut watches, 60, BAD), 1);
    // What is over by the morning makes no message; its end does.
    let mut watches = watching(AlarmSettings { quiet, ..AlarmSettings::default() });
    for (second, reading) in [(60, BAD), (100, WatchReading::Good), (130, WatchReading::Good)] {
        assert_eq!(quiet_look(&mut watches, second, reading), 0);
    }
    let morning = look(&mut watches, 7 * 3600, WatchReading::Good, &AlarmsDocument::default(), 0);
    let [key] = morning.as_slice() else { panic!("{morning:?}") };
    let back = AlarmSubject::node(WatchKind::Back, &HUT);
    assert_eq!(key.alarm, back.id(7));
    // Local time counts: at midnight UTC it is 8 o'clock further east.
    let mut watches = watching(AlarmSettings { quiet, ..AlarmSettings::default() });
    watches.set_utc_offset(8 * 60);
    assert_eq!(quiet_look(&mut watches, 60, BAD), 1);
}

#[test]
fn an_acknowledged_alarm_makes_no_message() {
    let quiet = Some("00:00-07:00".parse().unwrap());
    let mut watches = watching(AlarmSettings { quiet, ..AlarmSettings::default() });
    quiet_look(&mut watches, 60, BAD);
    let mut other = AlarmsDocument::default();
    other.acknowledge(watches.own().reports[0].id(), at(70).wall);
    assert!(look(&mut watches, 80, BAD, &other, 0).is_empty());
    assert!(look(&mut watches, 7 * 3600, BAD, &other, 0).is_empty());
    assert_eq!(
        watches.messages().all().map(MessageRecord::state).collect::<Vec<_>>(),
        [&MessageState::Dropped]
    );
}

fn in_group() -> AlarmSettings {
    AlarmSettings { group: OperatorGroup::named("ada"), ..AlarmSettings::default() }
}

/// The other node's document: the same alarm, and how far it is with the message.
fn of_other(watches: &Watches, progress: Option<MessageProgress>) -> AlarmsDocument {
    let mut other = AlarmsDocument { group: OperatorGroup::named("ada"), ..AlarmsDocument::default() };
    for report in &watches.own().reports {
        other.put(report.clone());
        other.note_message(report.id(), progress, at(11).wall);
    }
    other
}

#[test]
fn of_two_nodes_of_one_operator_the_second_waits_for_the_first() {
    // Alone it does not wait.
    assert_eq!(quiet_look(&mut watching(in_group()), 10, BAD), 1);
    // The first one sends.
    let mut watches = watching(in_group());
    assert!(look(&mut watches, 10, BAD, &AlarmsDocument::default(), 1).is_empty());
    assert_eq!(watches.next_timer(), Some(at(10).mono + TURN_WAIT));
    for second in [12, 13, 99, 999] {
        let other = of_other(&watches, Some(MessageProgress::Done));
        assert!(look(&mut watches, second, BAD, &other, 1).is_empty());
    }
    // The first one is silent: the second sends after its turn, and shows that it has.
    let mut watches = watching(in_group());
    look(&mut watches, 10, BAD, &AlarmsDocument::default(), 1);
    let keys = look(&mut watches, 13, BAD, &AlarmsDocument::default(), 1);
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    let shown = |watches: &Watches| watches.own().messages.values().map(|(p, _)| *p).collect::<Vec<_>>();
    assert_eq!(shown(&watches), [MessageProgress::Claimed]);
    sent(&mut watches, *key, 14);
    quiet_look(&mut watches, 15, BAD);
    assert_eq!(shown(&watches), [MessageProgress::Done]);
}

#[test]
fn a_message_that_another_node_has_taken_is_left_to_it_for_a_minute() {
    let mut watches = watching(in_group());
    look(&mut watches, 10, BAD, &AlarmsDocument::default(), 1);
    let other = of_other(&watches, Some(MessageProgress::Claimed));
    assert!(look(&mut watches, 14, BAD, &other, 1).is_empty());
    assert!(look(&mut watches, 69, BAD, &other, 1).is_empty());
    assert_eq!(look(&mut watches, 70, BAD, &other, 1).len(), 1);
    // It gives up: the next one does not wait the minute.
    let mut watches = watching(in_group());
    look(&mut watches, 10, BAD, &AlarmsDocument::default(), 1);
    let other = of_other(&watches, Some(MessageProgress::Claimed));
    assert!(look(&mut watches, 14, BAD, &other, 1).is_empty());
    let other = of_other(&watches, None);
    assert_eq!(look(&mut watches, 15, BAD, &other, 1).len(), 1);
}

/// The records of a process that was killed, and what the next one makes of them.
#[test]
fn a_restart_neither_loses_nor_repeats() {
    let mut watches =
        watching(AlarmSettings { quiet: Some("00:00-00:01".parse().unwrap()), ..AlarmSettings::default() });
    quiet_look(&mut watches, 10, BAD);
    let reload = |watches: &mut Watches, settings: AlarmSettings| {
        let (messages, own) = (watches.take_changed_messages().unwrap(), watches.own().clone());
        let mut next = watching(settings);
        next.load(WatchRecords::default(), messages, own, Mono::ZERO);
        next
    };
    let mut watches = reload(&mut watches, AlarmSettings::default());
    assert_eq!(quiet_look(&mut watches, 70, BAD), 1, "it waited, and goes now");
    let mut watches = reload(&mut watches, AlarmSettings::default());
    assert_eq!(quiet_look(&mut watches, 80, BAD), 0, "it was taken, and may have arrived");
    assert_eq!(
        watches.messages().all().map(MessageRecord::state).collect::<Vec<_>>(),
        [&MessageState::Unknown]
    );
}

/// A process that carries out one command and ends takes no message with it.
#[test]
fn without_a_runtime_no_message_is_taken() {
    let mut watches = watching(AlarmSettings::default());
    watches.utc_offset_minutes = None;
    assert_eq!(quiet_look(&mut watches, 10, BAD), 0);
    assert_eq!(
        watches.messages().all().map(MessageRecord::state).collect::<Vec<_>>(),
        [&MessageState::Waiting]
    );
    watches.set_utc_offset(0);
    assert_eq!(quiet_look(&mut watches, 11, BAD), 1);
}

/// A timer that has passed would wake the node without an end.
#[test]
fn no_timer_lies_in_the_past() {
    let mut watches = watching(AlarmSettings::default());
    let app = AlarmSubject::app(WatchKind::AppStopped, &HUT, "web");
    let board = AlarmBoard::default();
    for (second, reading) in [(0, BAD), (11, WatchReading::Unknown), (12, WatchReading::Unknown)] {
        let readings = BTreeMap::from([(app.clone(), (reading, 7))]);
        watches.read(at(second), &readings, &board, |_| String::new());
        watches.due_messages(&ME, at(second), &board, 0, None);
        assert!(watches.next_timer().is_some_and(|timer| timer > at(second).mono), "at {second}");
    }
}

#[test]
fn watches_are_numbered_once_and_limited() {
    let mut watches = Watches::default();
    let rule = WatchRule { peer: "hut".to_owned(), ..WatchRule::default() };
    for n in 1..=RULES_MAX as u32 {
        assert_eq!(watches.add(rule.clone()).map(|(watch, _)| watch.number), Some(n));
    }
    assert!(watches.add(rule.clone()).is_none());
    let (removed, _) = watches.remove(3).unwrap();
    assert_eq!((removed.number, watches.remove(3)), (3, None));
    assert_eq!(watches.add(rule).map(|(watch, _)| watch.number), Some(RULES_MAX as u32 + 1));
}

#[test]
fn a_node_without_watches_has_no_timer() {
    let mut watches = Watches::default();
    watches.due_messages(&ME, at(0), &AlarmBoard::default(), 0, None);
    assert_eq!((watches.next_timer(), watches.is_due(at(99).mono)), (None, false));
}
