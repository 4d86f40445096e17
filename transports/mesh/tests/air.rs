//! The emulated channel: each thing that makes radio hard, seen from the radios.

use std::collections::BTreeMap;
use tombolo_mesh::time::{Millis, Mono};

use proptest::prelude::*;
use tombolo_mesh::airtime::ledger::{Account, HOUR, Ledger, LedgerConfig, Priority, Verdict};
use tombolo_mesh::airtime::region::{Region, Usage};
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::emulated::{Access, Air, Busy, EmulatedRadioId, Faults, Loss, Position, QUEUE_FRAMES_MAX};

const HOUR_MS: u64 = HOUR.ms();

const SF7: PhyRate = PhyRate::lora(Modulation::SF7_125);

fn air_with<const N: usize>(seed: u64, line: PhyRate) -> (Air, [EmulatedRadioId; N]) {
    let mut air = Air::new(seed, line);
    let radios = [(); N].map(|()| air.add_radio());
    (air, radios)
}

/// Lets time run until nothing is left to happen; returns each arrival with its time and its receiver.
fn drain(air: &mut Air) -> Vec<(Mono, EmulatedRadioId, Vec<u8>)> {
    let mut heard = Vec::new();
    while let Some(at) = air.poll_timeout() {
        while let Some((radio, frame)) = air.poll(at) {
            heard.push((at, radio, frame));
        }
    }
    heard
}

#[test]
fn a_frame_takes_its_time_on_air_and_reaches_everybody_else() {
    let (mut air, [a, b, c]) = air_with(1, SF7);
    let end = air.transmit(Mono::from_ms(100), a, vec![7; 51]).unwrap();
    // 98.048 ms by AN1200.13: on air until the 199th.
    assert_eq!(end, Mono::from_ms(100 + SF7.frame_us(51).div_ceil(1_000)));
    assert_eq!(air.poll(end - Millis::from_ms(1)), None);
    assert!(!air.is_idle(a) && air.senses_carrier(b) && !air.senses_carrier(a));
    assert_eq!(drain(&mut air), [(end, b, vec![7; 51]), (end, c, vec![7; 51])]);
    let stats = air.stats(a);
    assert_eq!((stats.sent_frames, stats.sent_bytes, stats.airtime_us), (1, 51, SF7.frame_us(51)));
    assert_eq!((air.stats(b).heard_frames, air.stats(b).heard_bytes), (1, 51));
    let log: Vec<_> = air.log().collect();
    assert_eq!((log.len(), log[0].radio, log[0].end_us - log[0].start_us), (1, a, SF7.frame_us(51)));
}

#[test]
fn two_frames_that_overlap_are_both_lost_where_both_are_heard() {
    let (mut air, [a, b, c]) = air_with(1, SF7);
    air.transmit(Mono::ZERO, a, vec![1; 50]).unwrap();
    air.transmit(Mono::from_ms(40), b, vec![2; 50]).unwrap();
    assert_eq!(drain(&mut air), []);
    assert_eq!(air.stats(c).collisions, 2);
    // Half duplex: neither heard the other, for another reason.
    assert_eq!([a, b].map(|radio| air.stats(radio).missed_sending), [1, 1]);
    assert_eq!([a, b].map(|radio| air.stats(radio).collisions), [0, 0]);
}

#[test]
fn frames_that_only_touch_do_not_collide() {
    let (mut air, [a, b, c]) = air_with(1, SF7);
    let end = air.transmit(Mono::ZERO, a, vec![1; 50]).unwrap();
    air.transmit(end, b, vec![2; 50]).unwrap();
    let heard: Vec<_> = drain(&mut air).into_iter().map(|(_, to, frame)| (to, frame[0])).collect();
    assert_eq!(heard, [(b, 1), (c, 1), (a, 2), (c, 2)]);
}

#[test]
fn hidden_stations_collide_only_in_the_middle() {
    // a - middle - b, and a listener beside each end.
    let (mut air, [a, middle, b, beside_a, beside_b]) = air_with(1, SF7);
    for (radio, x_m) in [(a, 0), (middle, 900), (b, 1_800), (beside_a, -100), (beside_b, 1_900)] {
        air.place(radio, Position { x_m, y_m: 0 });
    }
    air.set_range_m(Some(1_000));
    air.transmit(Mono::ZERO, a, vec![1; 50]).unwrap();
    air.transmit(Mono::from_ms(10), b, vec![2; 50]).unwrap();
    let heard: Vec<_> = drain(&mut air).into_iter().map(|(_, to, frame)| (to, frame[0])).collect();
    assert_eq!(heard, [(beside_a, 1), (beside_b, 2)]);
    assert_eq!(air.stats(middle).collisions, 2);
    // Carrier sense does not help those who do not hear each other; who hears one of them waits.
    [a, b].iter().for_each(|radio| {
        air.set_access(*radio, Access::Listen { persistence: 255, slot_ms: 1, detect_ms: 0 })
    });
    air.transmit(Mono::from_ms(1_000), a, vec![3; 50]).unwrap();
    air.transmit(Mono::from_ms(1_010), b, vec![4; 50]).unwrap();
    drain(&mut air);
    assert_eq!(air.stats(middle).collisions, 4);
}

#[test]
fn an_explicit_matrix_may_be_one_way() {
    let (mut air, [a, b, c]) = air_with(1, SF7);
    air.set_hear_each_other(a, c, false);
    air.set_hears(b, a, false);
    for (n, radio) in [a, b, c].into_iter().enumerate() {
        air.transmit(Mono::from_ms(n as u64 * 1_000), radio, vec![n as u8]).unwrap();
    }
    let heard: Vec<_> = drain(&mut air).into_iter().map(|(_, to, frame)| (frame[0], to)).collect();
    assert_eq!(heard, [(0, b), (1, c), (2, b)]);
}

#[test]
fn radios_on_different_frequencies_do_not_meet() {
    let (mut air, [a, b, c, d]) = air_with(1, SF7);
    [a, b].iter().for_each(|radio| air.set_frequency_hz(*radio, 868_100_000));
    [c, d].iter().for_each(|radio| air.set_frequency_hz(*radio, 869_525_000));
    air.transmit(Mono::ZERO, a, vec![1]).unwrap();
    air.transmit(Mono::ZERO, c, vec![2]).unwrap();
    let heard: Vec<_> = drain(&mut air).into_iter().map(|(_, to, frame)| (to, frame[0])).collect();
    assert_eq!(heard, [(b, 1), (d, 2)]);
}

#[test]
fn with_capture_the_much_louder_frame_survives() {
    for (louder_db, survives) in [(5, false), (6, true)] {
        let (mut air, [a, b, c]) = air_with(1, SF7);
        air.set_capture_db(Some(6));
        air.set_level_db(a, c, louder_db);
        air.set_level_db(b, c, 0);
        air.transmit(Mono::ZERO, a, vec![1; 50]).unwrap();
        air.transmit(Mono::from_ms(10), b, vec![2; 50]).unwrap();
        assert_eq!(drain(&mut air).len(), usize::from(survives));
        assert_eq!(air.stats(c).collisions, if survives { 1 } else { 2 });
    }
}

#[test]
fn a_radio_refuses_what_it_cannot_take_and_counts_it() {
    let (mut air, [a, b]) = air_with(1, SF7);
    let until = air.transmit(Mono::ZERO, a, vec![0; 50]).unwrap();
    assert_eq!(air.transmit(until - Millis::from_ms(1), a, vec![0; 50]), Err(Busy::Sending { until }));
    assert!(air.transmit(until, a, vec![0; 50]).is_ok());
    assert_eq!(air.transmit(Mono::ZERO, b, vec![0; 256]), Err(Busy::TooLong { bytes: 256 }));
    air.set_access(b, Access::TNC);
    for _ in 0..QUEUE_FRAMES_MAX {
        air.transmit(until, b, vec![0; 50]).unwrap();
    }
    assert_eq!(air.transmit(until, b, vec![0; 50]), Err(Busy::QueueFull));
    air.set_on(b, false);
    assert_eq!(air.transmit(until, b, vec![0; 50]), Err(Busy::Off));
    assert_eq!(air.transmit(until, EmulatedRadioId(9), vec![]), Err(Busy::Off));
    assert_eq!((air.stats(a).refused, air.stats(b).refused), (1, 3));
    drain(&mut air);
    // A radio that is off has no queue and hears nothing.
    assert_eq!((air.stats(b).sent_frames, air.stats(b).heard_frames), (0, 1));
}

#[test]
fn listening_before_talking_lets_everybody_through() {
    let line = PhyRate::ax25(9600);
    let run = |access: Access| {
        let (mut air, radios) = air_with::<4>(11, line);
        for radio in radios {
            air.set_access(radio, access);
        }
        for round in 0..100u64 {
            for radio in radios {
                air.transmit(
                    Mono::from_ms(round * 10_000 + u64::from(radio.0) * 20),
                    radio,
                    vec![radio.0 as u8; 100],
                )
                .unwrap();
            }
        }
        let heard = drain(&mut air).len();
        assert!(radios.iter().all(|radio| air.is_idle(*radio) && air.stats(*radio).sent_frames == 100));
        heard
    };
    let listen = |persistence, detect_ms| Access::Listen { persistence, slot_ms: 100, detect_ms };
    let all = 4 * 100 * 3;
    println!(
        "XX {} {} {} {}",
        run(Access::AtOnce),
        run(listen(63, 0)),
        run(Access::TNC),
        run(listen(255, 0))
    );
    assert_eq!(run(Access::AtOnce), 0, "20 ms apart, all collide");
    let keen = run(listen(63, 0));
    assert!(keen > all * 6 / 10, "{keen} of {all}");
    // A carrier that is noticed late leaves the slots before it to collide in.
    let tnc = run(Access::TNC);
    assert!(tnc > all / 4 && tnc < keen, "{tnc} of {all}, {keen} with keen ears");
    // As eager as they can be: all who waited for the same frame begin at the same moment.
    let eager = run(listen(255, 0));
    assert!(eager < tnc, "{eager} of {all}, {tnc} by throwing dice");
}

fn loss_permille(loss: Loss, seed: u64) -> (u64, Vec<bool>) {
    let (mut air, [a, b]) = air_with(seed, SF7);
    air.set_loss(loss);
    let mut got = Vec::new();
    for n in 0..20_000u64 {
        air.transmit(Mono::from_ms(n * 100), a, vec![0]).expect("an idle radio");
        got.push(!drain(&mut air).is_empty());
    }
    assert_eq!(air.stats(b).lost + air.stats(b).heard_frames, 20_000);
    (air.stats(b).lost / 20, got)
}

#[test]
fn losses_come_as_often_and_as_clustered_as_asked() {
    for asked in [0, 10, 50, 150, 300, 500] {
        for (loss, burst_frames) in [(Loss::single(asked), 1.0), (Loss::bursts(asked, 5), 5.0)] {
            let (lost, got) = loss_permille(loss, 42);
            let tolerance = 4 + u64::from(asked) / 10;
            assert!(lost.abs_diff(u64::from(asked)) <= tolerance, "asked {asked}, lost {lost}: {loss:?}");
            let bursts = got.windows(2).filter(|pair| pair[0] && !pair[1]).count().max(1) as f64;
            let mean = got.iter().filter(|got| !**got).count() as f64 / bursts;
            if asked == 150 {
                let random = 1.0 / (1.0 - 0.15);
                let expected: f64 = if burst_frames > 1.0 { burst_frames } else { random };
                assert!((mean - expected).abs() < 0.5, "bursts of {mean}, expected {expected}");
            }
        }
    }
}

#[test]
fn one_pair_may_lose_more_than_the_others() {
    let (mut air, [a, b, c]) = air_with(3, SF7);
    air.set_pair_loss(a, b, Loss::single(1_000));
    for n in 0..10 {
        air.transmit(Mono::from_ms(n * 1_000), a, vec![1]).unwrap();
    }
    drain(&mut air);
    assert_eq!((air.stats(b).lost, air.stats(c).heard_frames), (10, 10));
}

#[test]
fn frames_come_damaged_and_twice_as_often_as_asked() {
    let (mut air, [a, b]) = air_with(5, SF7);
    air.set_faults(Faults { corrupt_permille: 100, duplicate_permille: 200 });
    let mut copies = BTreeMap::new();
    for n in 0..2_000u16 {
        air.transmit(Mono::from_ms(u64::from(n) * 5_000), a, n.to_be_bytes().to_vec()).unwrap();
    }
    for (_, _, frame) in drain(&mut air) {
        *copies.entry(frame).or_insert(0) += 1;
    }
    let stats = air.stats(b);
    assert!((150..250).contains(&stats.corrupted) && (330..470).contains(&stats.duplicated), "{stats:?}");
    assert_eq!(stats.heard_frames, 2_000 + stats.duplicated);
    // As many arrive, but that many are not what was sent.
    assert_eq!(copies.values().sum::<u64>(), stats.heard_frames);
}

/// A busy channel with everything on: what was heard when, and what was on air.
fn busy_hour(seed: u64) -> String {
    let (mut air, radios) = air_with::<6>(seed, PhyRate::lora(Modulation::LONG_FAST));
    air.set_loss(Loss::bursts(100, 3));
    air.set_faults(Faults { corrupt_permille: 50, duplicate_permille: 50 });
    air.set_hear_each_other(radios[0], radios[5], false);
    for radio in &radios[2..] {
        air.set_access(*radio, Access::TNC);
    }
    let mut story = String::new();
    for n in 0..600u64 {
        let radio = EmulatedRadioId((n * 7 % 6) as u16);
        let taken = air.transmit(Mono::from_ms(n * 900), radio, vec![n as u8; 20 + (n % 80) as usize]);
        story += &format!("{n} {taken:?}\n");
        while let Some(heard) = air.poll(Mono::from_ms(n * 900 + 450)) {
            story += &format!("{heard:?}\n");
        }
    }
    story += &format!("{:?}\n", drain(&mut air));
    air.log().for_each(|on_air| story += &format!("{on_air:?}\n"));
    air.all_stats().for_each(|stats| story += &format!("{stats:?}\n"));
    story
}

#[test]
fn a_seed_replays_byte_for_byte() {
    let story = busy_hour(2026);
    assert!(story.len() > 100_000);
    assert!(story == busy_hour(2026));
    assert!(story != busy_hour(2027));
}

/// Four stations with more to send than the law lets them, each behind a modem that listens first, for three hours:
/// the frames seen on the channel against the duty cycle, in every hour, and the time left unused.
#[test]
fn stations_that_ask_their_ledger_keep_to_the_law_by_what_is_seen_on_air() {
    let (mut air, radios) = air_with::<4>(9, PhyRate::lora(Modulation::LONG_FAST));
    let rules = Region::Eu868.rules(Usage::default()).unwrap();
    let mut ledgers = radios.map(|_| Ledger::new(LedgerConfig::new(Some(rules)), Mono::ZERO));
    radios.iter().for_each(|radio| air.set_access(*radio, Access::TNC));
    for now_ms in (0..3 * HOUR_MS).step_by(250) {
        while air.poll(Mono::from_ms(now_ms)).is_some() {}
        for (radio, ledger) in radios.iter().zip(&mut ledgers) {
            let bytes = 20 + (now_ms / 250 % 230) as usize;
            let airtime_us = air.line().frame_us(bytes);
            let due = now_ms % 1_000 == u64::from(radio.0) * 250;
            if due
                && air.is_idle(*radio)
                && ledger.verdict(Mono::from_ms(now_ms), airtime_us, Priority::State) == Verdict::Now
            {
                ledger.charge(Mono::from_ms(now_ms), airtime_us, Account(0), Priority::State);
                air.transmit(Mono::from_ms(now_ms), *radio, vec![0; bytes]).unwrap();
            }
        }
    }
    drain(&mut air);
    for (radio, ledger) in radios.iter().zip(&ledgers) {
        let own: Vec<_> = air.log().filter(|on_air| on_air.radio == *radio).collect();
        let hour_us = HOUR_MS * 1_000;
        let in_hour = |begin_us: u64| -> u64 {
            let held =
                own.iter().map(|f| f.end_us.min(begin_us + hour_us).saturating_sub(f.start_us.max(begin_us)));
            held.sum()
        };
        let most_us =
            own.iter().flat_map(|f| [f.start_us, f.end_us.saturating_sub(hour_us)]).map(in_hour).max();
        // All that states may have, less one frame.
        let whole_us = ledger.whole_us(Priority::State).unwrap();
        assert!(most_us.is_some_and(|us| us <= whole_us && us > whole_us - 2_300_000), "{most_us:?}");
        let sent_us: u64 = own.iter().map(|f| f.end_us - f.start_us).sum();
        assert_eq!(ledger.by_account().iter().map(|row| row.today_us).sum::<u64>(), sent_us);
        assert!(sent_us > 2 * (whole_us - 2_300_000), "a third of the time unused: {sent_us}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is sent when: nothing is heard that was not sent, no radio sends two frames at once, every frame
    /// is accounted for at every radio that could hear it, and the end comes.
    #[test]
    fn nothing_comes_from_nowhere_and_nothing_is_unaccounted_for(
        seed in any::<u64>(),
        frames in prop::collection::vec((0u64..2_000, 0usize..5, 0usize..100), 1..200),
        listening in prop::collection::vec(any::<bool>(), 5),
        loss in 0u32..500,
    ) {
        let (mut air, radios) = air_with::<5>(seed, SF7);
        air.set_loss(Loss::bursts(loss, 3));
        for (radio, listens) in radios.iter().zip(listening) {
            air.set_access(*radio, if listens { Access::TNC } else { Access::AtOnce });
        }
        let mut now_ms = 0;
        let mut taken = 0;
        for (n, (gap_ms, from, bytes)) in frames.into_iter().enumerate() {
            now_ms += gap_ms;
            let frame = [&(n as u32).to_be_bytes()[..], &vec![from as u8; bytes]].concat();
            taken += u64::from(air.transmit(Mono::from_ms(now_ms), radios[from], frame).is_ok());
        }
        let heard = drain(&mut air);
        prop_assert!(heard.is_sorted_by_key(|(at, _, _)| *at));
        let sent: Vec<_> = air.log().cloned().collect();
        prop_assert_eq!(sent.len() as u64, taken);
        for (_, to, frame) in &heard {
            prop_assert!(sent.iter().any(|on_air| on_air.frame == *frame && on_air.radio != *to));
        }
        for radio in radios {
            let own: Vec<_> = sent.iter().filter(|on_air| on_air.radio == radio).collect();
            prop_assert!(own.windows(2).all(|pair| pair[0].end_us <= pair[1].start_us));
            let stats = air.stats(radio);
            prop_assert_eq!(stats.airtime_us, own.iter().map(|on_air| on_air.end_us - on_air.start_us).sum::<u64>());
            let met = stats.heard_frames + stats.collisions + stats.missed_sending + stats.lost;
            prop_assert_eq!(met, taken - own.len() as u64);
            prop_assert!(air.is_idle(radio));
        }
    }
}
