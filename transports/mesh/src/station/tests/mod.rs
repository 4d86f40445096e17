mod clear;
mod fit;
mod forged;
mod keys;
mod lives;
mod short;

use super::*;
use crate::airtime::Modulation;
use crate::airtime::ledger::{BootId, LedgerConfig, Moment};
use crate::airtime::region::Region;
use crate::airtime::region::Usage;
use crate::frame::announcement::{ANNOUNCEMENT_BYTES, REQUEST_BYTES};
use crate::frame::{Counters, Header, seal};
use crate::time::{Millis, Mono};

fn id(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

fn peer(seed: u8) -> PeerId {
    id(seed).peer_id()
}

fn audience(owner: u8, epoch: u32) -> AudienceKey {
    AudienceKey { epoch, key: [owner; 16] }
}

fn at(now_ms: u64) -> Moment {
    Moment { boot: BootId([0; 16]), monotonic: Mono::from_ms(now_ms), trusted_wall: None }
}

fn message(number: u8) -> Kind {
    Kind::message(number).unwrap()
}

/// A node that is `who` and takes part in the audiences of all of `all`.
fn station(who: u8, all: &[u8], seed: u8, records: StationRecords) -> Station {
    station_in(
        Setup { mode: Mode::Encrypted, region: Region::Wired, frame_bytes_max: 255 },
        who,
        all,
        seed,
        records,
    )
}

/// How a station of these tests is set up.
#[derive(Clone, Copy)]
struct Setup {
    mode: Mode,
    region: Region,
    frame_bytes_max: usize,
}

fn station_in(setup: Setup, who: u8, all: &[u8], seed: u8, records: StationRecords) -> Station {
    let Setup { mode, region, frame_bytes_max } = setup;
    let call_sign = (region == Region::Amateur)
        .then(|| CallSign { text: format!("X{who}ABC"), every: Millis::from_secs(600) });
    let line = PhyRate::lora(Modulation::SF7_125);
    let config = StationConfig {
        us: id(who),
        mode,
        frame_bytes_max,
        frame_bytes_min: 0,
        call_sign,
        line,
        seed: [seed; 32],
    };
    let ledger = Ledger::new(LedgerConfig::new(region.rules(Usage::default()).ok()), Mono::ZERO);
    let mut station = Station::new(config, records, ledger).unwrap();
    for owner in all {
        let members = all.iter().map(|who| peer(*who)).collect();
        match mode {
            Mode::Encrypted => station.set_channel(peer(*owner), audience(*owner, 1), None, members).unwrap(),
            Mode::SignedClear => station.set_clear_channel(peer(*owner), members).unwrap(),
        }
    }
    station
}

fn say(station: &mut Station, now_ms: u64, channel: u8, bytes: &[u8]) {
    let outgoing = Outgoing {
        channel: peer(channel),
        kind: message(5),
        bytes: bytes.to_vec(),
        priority: Priority::State,
        account: Account(7),
        previous_key: false,
    };
    station.send(Mono::from_ms(now_ms), outgoing).unwrap();
}

/// What must be durable is; gives it.
fn record(station: &mut Station) -> Vec<Record> {
    std::iter::from_fn(|| station.poll_record().inspect(|record| station.recorded(record))).collect()
}

/// All frames that may leave now.
fn frames(station: &mut Station, now_ms: u64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        record(station);
        match station.transmit(at(now_ms)) {
            Transmit::Frame { frame, .. } => frames.push(frame),
            Transmit::NeedsRecord => {}
            Transmit::Idle => return frames,
        }
    }
}

/// What `listener` makes of these frames.
fn hear(listener: &mut Station, now_ms: u64, frames: &[Vec<u8>]) -> Vec<Result<Received, FrameRejection>> {
    let mut heard = Vec::new();
    for frame in frames {
        heard.push(listener.receive(Mono::from_ms(now_ms), frame).outcome);
        heard.extend(std::iter::from_fn(|| listener.poll_received()).map(|reception| reception.outcome));
    }
    heard
}

fn texts(heard: &[Result<Received, FrameRejection>]) -> Vec<String> {
    let text = |heard: &Result<Received, FrameRejection>| match heard {
        Ok(Received::Message { bytes, .. }) => Some(String::from_utf8(bytes.clone()).unwrap()),
        _ => None,
    };
    heard.iter().filter_map(text).collect()
}

#[test]
fn nothing_leaves_before_the_own_epoch_is_durable_and_the_announcement_goes_first() {
    let mut a = station(1, &[1, 2], 10, StationRecords { own_epoch: Some(4), ..Default::default() });
    say(&mut a, 0, 1, b"up");
    assert_eq!(a.transmit(at(0)), Transmit::NeedsRecord);
    assert_eq!(a.poll_record(), Some(Record::OwnEpoch(a.epoch())));
    assert_eq!(a.transmit(at(0)), Transmit::NeedsRecord);
    a.recorded(&Record::OwnEpoch(a.epoch()));
    let sent = frames(&mut a, 0);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [ANNOUNCEMENT_BYTES, 14 + 2]);
    let mut b = station(2, &[1, 2], 11, StationRecords::default());
    let heard = hear(&mut b, 0, &sent);
    assert_eq!(heard[0], Ok(Received::Epoch { peer: peer(1), epoch: a.epoch() }));
    assert_eq!(
        heard[1],
        Ok(Received::Message {
            channel: peer(1),
            from: peer(1),
            kind: message(5),
            bytes: b"up".to_vec(),
            under_previous_key: false
        })
    );
    assert_eq!(a.epoch().number, 5);
}

#[test]
fn a_listener_that_missed_the_announcement_asks_and_reads_what_it_kept() {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    say(&mut a, 0, 1, b"first");
    say(&mut a, 0, 1, b"second");
    let sent = frames(&mut a, 0);
    assert_eq!(hear(&mut b, 0, &sent[1..]), [Ok(Received::Held), Ok(Received::Held)]);
    let due = b.poll_timeout(Mono::ZERO).unwrap();
    record(&mut b);
    let due = due.max(b.poll_timeout(due).unwrap());
    let question = frames(&mut b, due.ms());
    assert_eq!(question.iter().map(Vec::len).collect::<Vec<_>>(), [REQUEST_BYTES]);
    assert_eq!(hear(&mut a, due.ms(), &question), [Ok(Received::Question)]);
    let answer_at = due.max(Mono::ZERO + ANSWER_EVERY);
    let answer = frames(&mut a, answer_at.ms());
    assert_eq!(answer.len(), 1);
    assert_eq!(texts(&hear(&mut b, answer_at.ms(), &answer)), ["first", "second"]);
    assert_eq!(frames(&mut b, (answer_at + ASK_EVERY).ms()), Vec::<Vec<u8>>::new());
}

/// A replay of what was sent before a restart, or a frame whose first byte was damaged: it fits no epoch that its sender has announced.
/// Question and answer would go on for ever, and leave no airtime for anything else that the station does unasked.
#[test]
fn a_frame_of_an_earlier_start_is_asked_for_once() {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    say(&mut a, 0, 1, b"before");
    let old = frames(&mut a, 0).pop().unwrap();
    let number = a.epoch().number;
    let mut a = station(1, &[1, 2], 12, StationRecords { own_epoch: Some(number), ..Default::default() });
    say(&mut a, 0, 1, b"since");
    assert_eq!(texts(&hear(&mut b, 0, &frames(&mut a, 0))), ["since"]);
    record(&mut b);
    assert_eq!(hear(&mut b, 0, &[old]), [Ok(Received::Held)]);
    let (mut pair, mut on_air) = ([b, a], 0);
    for now_ms in (1_000..7_200_000).step_by(1_000) {
        for from in [0, 1] {
            for frame in frames(&mut pair[from], now_ms) {
                on_air += 1;
                hear(&mut pair[1 - from], now_ms, &[frame]);
            }
        }
    }
    assert_eq!(on_air, 2, "a question and its answer");
    assert_eq!(pair[0].inbound.held.len(), 1, "kept, until a newer epoch is told of");
}

#[test]
fn a_replay_is_a_duplicate_also_after_a_restart_of_the_listener() {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    let mut sent = Vec::new();
    for number in 0..40_u64 {
        say(&mut a, number, 1, format!("{number}").as_bytes());
        sent.extend(frames(&mut a, number));
    }
    let mut records = StationRecords::default();
    let mut heard = Vec::new();
    for frame in &sent {
        heard.extend(hear(&mut b, 50, std::slice::from_ref(frame)));
        for kept in record(&mut b) {
            match kept {
                Record::Heard(peer, announcement) => drop(records.heard.insert(peer, announcement)),
                Record::Window(window) => {
                    records
                        .windows
                        .retain(|old| (old.channel, old.sender) != (window.channel, window.sender));
                    records.windows.push(window);
                }
                _ => {}
            }
        }
    }
    assert_eq!(texts(&heard).len(), 40);
    assert!(texts(&hear(&mut b, 60, &sent)).is_empty());
    let mut again = station(2, &[1, 2], 12, records);
    let replayed = texts(&hear(&mut again, 60, &sent)).len();
    assert!(replayed < WINDOW_RECORD_FRAMES as usize, "{replayed} of 40");
}

#[test]
fn a_restored_backup_goes_beyond_what_its_peers_know() {
    let mut b = station(2, &[1, 2], 11, Default::default());
    let mut past = station(1, &[1, 2], 10, StationRecords { own_epoch: Some(40), ..Default::default() });
    say(&mut past, 0, 1, b"before the crash");
    assert_eq!(texts(&hear(&mut b, 0, &frames(&mut past, 0))).len(), 1);
    let mut restored = station(1, &[1, 2], 20, StationRecords { own_epoch: Some(3), ..Default::default() });
    say(&mut restored, 0, 1, b"after");
    let sent = frames(&mut restored, 0);
    assert_eq!(hear(&mut b, 1_000, &sent)[0], Err(FrameRejection::OldEpoch));
    let answer = frames(&mut b, 20_000);
    let theirs = past.epoch();
    assert!(hear(&mut restored, 20_000, &answer).contains(&Ok(Received::OwnEpoch { theirs })));
    assert_eq!(restored.epoch().number, theirs.number + 1);
    assert_ne!(restored.epoch().salt, theirs.salt);
    assert_eq!(restored.transmit(at(20_000)), Transmit::NeedsRecord, "the new epoch is not durable");
    say(&mut restored, 20_000, 1, b"beyond");
    let sent = frames(&mut restored, 20_000);
    assert_eq!(texts(&hear(&mut b, 20_000, &sent)), ["beyond"]);
}

#[test]
fn clones_push_each_other_on_only_so_often() {
    let mut one = station(1, &[1, 2], 10, StationRecords { own_epoch: Some(3), ..Default::default() });
    let mut two = station(1, &[1, 2], 20, StationRecords { own_epoch: Some(3), ..Default::default() });
    let mut now = 0;
    for _ in 0..2_000 {
        now += 1_000;
        say(&mut one, now, 1, b"one");
        say(&mut two, now, 1, b"two");
        one.own.asked(Mono::from_ms(now));
        two.own.asked(Mono::from_ms(now));
        let (from_one, from_two) = (frames(&mut one, now), frames(&mut two, now));
        hear(&mut one, now, &from_two);
        hear(&mut two, now, &from_one);
    }
    assert_ne!(one.epoch(), two.epoch());
    let hour = now / RENEW_EVERY.ms() + 3;
    assert!(u64::from(one.epoch().number.max(two.epoch().number)) <= 4 + 2 * hour, "{:?}", one.epoch());
}

#[test]
fn a_renewed_key_is_sent_under_and_the_previous_one_still_heard() {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    let members: BTreeSet<PeerId> = [peer(1), peer(2)].into();
    let renewed = AudienceKey { epoch: 2, key: [0x99; 16] };
    b.set_channel(peer(1), renewed.clone(), Some(audience(1, 1)), members.clone()).unwrap();
    say(&mut a, 0, 1, b"old");
    let heard = hear(&mut b, 0, &frames(&mut a, 0));
    assert!(matches!(heard[1], Ok(Received::Message { under_previous_key: true, .. })));
    a.set_channel(peer(1), renewed, Some(audience(1, 1)), members).unwrap();
    say(&mut a, 1, 1, b"new");
    let sent = frames(&mut a, 1);
    let heard = hear(&mut b, 1, &sent);
    assert!(matches!(heard[0], Ok(Received::Message { under_previous_key: false, .. })));
    let mut left_behind = station(3, &[1, 2, 3], 12, Default::default());
    assert_eq!(hear(&mut left_behind, 1, &sent), [Ok(Received::Foreign)]);
}

#[test]
fn a_long_message_goes_in_fragments_at_every_frame_size_and_its_loss_is_asked_for() {
    for frame_bytes_max in [50, 160, 255] {
        let make = |who, seed| {
            station_in(
                Setup { mode: Mode::Encrypted, region: Region::Wired, frame_bytes_max },
                who,
                &[1, 2],
                seed,
                Default::default(),
            )
        };
        let (mut a, mut b) = (make(1, 10), make(2, 11));
        let text: String = (0..600).map(|number| format!("{number} ")).collect();
        say(&mut a, 0, 1, text.as_bytes());
        let (mut now, mut heard, mut count) = (0, Vec::new(), 0);
        while texts(&heard).is_empty() && now < 600_000 {
            for frame in frames(&mut a, now) {
                assert!(frame.len() <= frame_bytes_max);
                count += 1;
                if count % 7 != 0 {
                    heard.extend(hear(&mut b, now, &[frame]));
                }
            }
            let back = frames(&mut b, now);
            hear(&mut a, now, &back);
            now += 500;
        }
        assert_eq!(texts(&heard), [text]);
    }
}

#[test]
fn a_frame_forged_in_our_name_does_not_lock_us_out() {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    say(&mut a, 0, 1, b"first");
    hear(&mut b, 0, &frames(&mut a, 0));
    // A member knows all that it takes.
    let key = audience(1, 1);
    let (alias, hint) = (key.alias(), key.hint(&peer(1)));
    let header = Header { kind: message(5), epoch_low: a.epoch().low(), alias, hint, counter_low: 0 };
    let mut counters = Counters::starting_at(30_000);
    let frame_key = key.frame_key(Mode::Encrypted, &peer(1), &a.epoch());
    let forged = seal(&frame_key, header, counters.take().unwrap(), b"false");
    assert_eq!(texts(&hear(&mut b, 1, std::slice::from_ref(&forged))), ["false"]);
    assert_eq!(a.receive(Mono::from_ms(1), &forged).outcome, Err(FrameRejection::InOurName));
    say(&mut a, 2, 1, b"second");
    assert_eq!(texts(&hear(&mut b, 2, &frames(&mut a, 2))), ["second"]);
}

#[test]
fn a_listener_far_out_is_brought_back_by_the_signed_counter() {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    say(&mut a, 0, 1, b"first");
    hear(&mut b, 0, &frames(&mut a, 0));
    a.channels.restart_counters(1_000_000);
    let mut heard = Vec::new();
    for number in 0..3 {
        say(&mut a, number, 1, b"far");
        heard.extend(hear(&mut b, number, &frames(&mut a, number)));
    }
    assert!(texts(&heard).is_empty());
    let question = frames(&mut b, 60_000);
    assert_eq!(hear(&mut a, 60_000, &question), [Ok(Received::Question)]);
    let answer = frames(&mut a, 60_000);
    hear(&mut b, 60_000, &answer);
    say(&mut a, 60_000, 1, b"back");
    assert_eq!(texts(&hear(&mut b, 60_000, &frames(&mut a, 60_000))), ["back"]);
}

#[test]
fn clear_mode_shows_everything_and_sends_the_call_sign() {
    let make = |who, seed| {
        station_in(
            Setup { mode: Mode::SignedClear, region: Region::Amateur, frame_bytes_max: 255 },
            who,
            &[1, 2],
            seed,
            Default::default(),
        )
    };
    let (mut a, mut b) = (make(1, 10), make(2, 11));
    say(&mut a, 0, 1, b"in plain words");
    let sent = frames(&mut a, 0);
    assert_eq!(sent[0], b"\x40DE X1ABC");
    assert!(sent[1].ends_with(b"in plain words") && sent[1].len() == 9 + 14);
    let heard = hear(&mut b, 0, &sent);
    assert_eq!(heard[0], Ok(Received::CallSign("X1ABC".into())));
    assert_eq!(texts(&heard), ["in plain words"]);
    assert_eq!(hear(&mut b, 1, &sent[1..]), [Ok(Received::Duplicate)]);
    let handshake = vec![vec![0x30; 20]];
    assert_eq!(a.send_join(handshake, Priority::State, Account(1)), Err(SendRefusal::ClearMode));
    // The last of a conversation is within the interval too; then silence.
    let due = a.poll_timeout(Mono::from_ms(1)).unwrap();
    assert!(due <= Mono::from_ms(600_000));
    assert_eq!(frames(&mut a, due.ms()), [b"\x40DE X1ABC".to_vec()]);
    assert_eq!(a.poll_timeout(due), None);
}

#[test]
fn a_call_sign_is_never_further_apart_than_the_interval_while_there_is_traffic() {
    let mut a = station_in(
        Setup { mode: Mode::SignedClear, region: Region::Amateur, frame_bytes_max: 255 },
        1,
        &[1, 2],
        10,
        Default::default(),
    );
    let mut last = None;
    for second in 0..7_200 {
        let now = second * 1_000;
        if second % 7 == 0 {
            say(&mut a, now, 1, b"traffic");
        }
        for frame in frames(&mut a, now) {
            if frame.starts_with(b"\x40DE ") {
                assert!(last.is_none_or(|last| now - last <= 600_000));
                last = Some(now);
            }
            assert!(last.is_some_and(|last| now - last <= 600_000));
        }
    }
}

#[test]
fn the_ledger_is_asked_before_each_frame_and_its_record_is_durable_first() {
    let mut a = station_in(
        Setup { mode: Mode::Encrypted, region: Region::Eu868, frame_bytes_max: 255 },
        1,
        &[1, 2],
        10,
        Default::default(),
    );
    let mut sent_us = 0;
    for _ in 0..QUEUE_FRAMES_MAX {
        say(&mut a, 0, 1, &[0; 200]);
    }
    let mut durable_us = 0;
    let mut now = 0;
    while now < 3_600_000 {
        if a.frames_waiting() < 8 {
            say(&mut a, now, 1, &[0; 200]);
        }
        match a.transmit(at(now)) {
            Transmit::Frame { frame, charge } => {
                sent_us += a.line.frame_us(frame.len());
                assert_eq!(
                    charge,
                    FrameCharge { account: charge.account, airtime_us: a.line.frame_us(frame.len()) }
                );
                assert!(sent_us <= durable_us, "{sent_us} us sent, {durable_us} us on disk");
            }
            Transmit::NeedsRecord => {
                let records = record(&mut a);
                assert!(!records.is_empty());
                for kept in &records {
                    if let Record::Ledger(record) = kept {
                        durable_us = sent_us + record.ahead_us();
                    }
                }
            }
            Transmit::Idle => {
                now = (a.poll_timeout(Mono::from_ms(now)).unwrap().max(Mono::from_ms(now + 1))).ms()
            }
        }
    }
    // All that states may have of an hour, and the announcement.
    assert!((13_000_000..=17_000_000).contains(&sent_us), "{sent_us} us in an hour at 1 %");
}

#[test]
fn the_queue_is_bounded_and_refuses() {
    let mut a = station(1, &[1, 2], 10, Default::default());
    (0..QUEUE_FRAMES_MAX).for_each(|_| say(&mut a, 0, 1, b"x"));
    let one_more = Outgoing {
        channel: peer(1),
        kind: message(5),
        bytes: vec![1],
        priority: Priority::Control,
        account: Account(1),
        previous_key: false,
    };
    assert_eq!(a.send(Mono::ZERO, one_more.clone()), Err(SendRefusal::Full));
    let stranger = Outgoing { channel: peer(9), ..one_more.clone() };
    assert_eq!(a.send(Mono::ZERO, stranger), Err(SendRefusal::NoChannel));
    assert_eq!(
        a.send(Mono::ZERO, Outgoing { previous_key: true, ..one_more.clone() }),
        Err(SendRefusal::NoPreviousKey)
    );
    assert_eq!(a.send(Mono::ZERO, Outgoing { kind: Kind::NACK, ..one_more }), Err(SendRefusal::Kind(2)));
    a.drop_channel(&peer(1));
    assert_eq!(a.frames_waiting(), 0);
}

#[test]
fn a_sender_is_understood_in_an_audience_though_its_own_is_not_known() {
    // 3 speaks in the audience of 1 and announces itself under its own, which 2 does not know.
    let mut sender = station(3, &[1, 3], 10, Default::default());
    let mut listener = station(2, &[1, 2], 11, Default::default());
    let members: BTreeSet<PeerId> = [peer(1), peer(2), peer(3)].into();
    sender.set_channel(peer(1), audience(1, 1), None, members.clone()).unwrap();
    listener.set_channel(peer(1), audience(1, 1), None, members).unwrap();
    say(&mut sender, 0, 1, b"a guest");
    assert_eq!(texts(&hear(&mut listener, 0, &frames(&mut sender, 0))), ["a guest"]);
}

#[test]
fn a_correction_that_another_made_is_not_made_again() {
    let all = [1, 2, 3];
    let (mut b, mut c) = (station(2, &all, 11, Default::default()), station(3, &all, 12, Default::default()));
    let mut past = station(1, &all, 10, StationRecords { own_epoch: Some(40), ..Default::default() });
    say(&mut past, 0, 1, b"before");
    let sent = frames(&mut past, 0);
    let mut restored = station(1, &all, 20, StationRecords { own_epoch: Some(3), ..Default::default() });
    say(&mut restored, 0, 1, b"after");
    let old = frames(&mut restored, 0);
    for listener in [&mut b, &mut c] {
        hear(listener, 0, &sent);
        hear(listener, 0, &old[..1]);
    }
    let answer = frames(&mut b, 20_000);
    assert_eq!(answer.len(), 1);
    hear(&mut c, 20_000, &answer);
    assert!(frames(&mut c, 40_000).is_empty());
    // And the same old announcement again is not answered at once.
    hear(&mut b, 30_000, &old[..1]);
    assert!(frames(&mut b, 60_000).is_empty());
    assert_eq!(frames(&mut b, 20_000 + CORRECT_EVERY.ms()).len(), 1);
}

/// Frames of a member of which every fourth is lost, with nothing else on air.
#[test]
fn the_loss_that_the_counters_show_is_what_was_lost() {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    assert_eq!(b.loss_permille(), 0);
    for number in 0..400_u64 {
        say(&mut a, number, 1, b"x");
        let sent = frames(&mut a, number);
        if number == 0 || number % 4 != 0 {
            hear(&mut b, number, &sent);
        }
    }
    assert!((180..=320).contains(&b.loss_permille()), "{}", b.loss_permille());
}

/// A peer that is no member sends headers of a member, forged questions and old announcements for an hour. The rest is for heartbeats.
#[test]
fn what_a_stranger_provokes_leaves_upkeep_to_heartbeats() {
    let mut b = station_in(
        Setup { mode: Mode::Encrypted, region: Region::Eu868, frame_bytes_max: 255 },
        2,
        &[1, 2],
        11,
        Default::default(),
    );
    let mut a = station(1, &[1, 2], 10, Default::default());
    say(&mut a, 0, 1, b"x");
    hear(&mut b, 0, &frames(&mut a, 0));
    // It has announced itself.
    say(&mut b, 0, 1, b"y");
    frames(&mut b, 0);
    let key = audience(1, 1);
    let mut sent_us = 0;
    for second in 0..3_600_u64 {
        let now = second * 1_000;
        let mut forged = vec![
            0x50 | (second % 16) as u8,
            0,
            0,
            key.hint(&peer(1)).0,
            0,
            second as u8,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            9,
        ];
        forged[1..3].copy_from_slice(&key.alias().0);
        let mut question = vec![0; 4];
        question[1..3].copy_from_slice(&key.alias().0);
        question[3] = key.hint(&peer(2)).0;
        hear(&mut b, now, &[forged, question]);
        sent_us += frames(&mut b, now).iter().map(|frame| b.line.frame_us(frame.len())).sum::<u64>();
    }
    assert!(b.inbound.held.len() <= HELD_FRAMES_MAX);
    // A fifth of 1 % of an hour is upkeep's, 7.2 s: a third of it at once, and a third as it grows back.
    assert!(sent_us <= 4_900_000, "{sent_us} us");
    assert_eq!(b.rejections().values().sum::<u64>(), 3_600, "{:?}", b.rejections());
}
