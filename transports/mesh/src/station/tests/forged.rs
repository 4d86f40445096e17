//! A member who seals frames in another's name.

use super::*;
use crate::frame::{Counter, HEADER_BYTES};
use proptest::prelude::*;

/// A frame in the name of member 1 on its own channel, with any counter, by any peer that has the audience key.
fn forged(number: u32, epoch: BootEpoch, bytes: &[u8]) -> Vec<u8> {
    let key = audience(1, 1);
    let header = Header {
        kind: message(5),
        epoch_low: epoch.low(),
        alias: key.alias(),
        hint: key.hint(&peer(1)),
        counter_low: 0,
    };
    let counter: Counter = Counters::starting_at(number).take().unwrap();
    seal(&key.frame_key(Mode::Encrypted, &peer(1), &epoch), header, counter, bytes)
}

/// Member 1 and a listener that has heard its announcement and one frame.
fn pair() -> (Station, Station) {
    let mut a = station(1, &[1, 2], 10, StationRecords::default());
    let mut b = station(2, &[1, 2], 11, StationRecords::default());
    say(&mut a, 0, 1, b"first");
    assert_eq!(texts(&hear(&mut b, 0, &frames(&mut a, 0))), ["first"]);
    (a, b)
}

#[test]
fn counters_forged_far_ahead_lock_nobody_out_and_are_counted() {
    let (mut a, mut b) = pair();
    for number in (1..40).map(|step| step * 30_000) {
        assert_eq!(texts(&hear(&mut b, 1, &[forged(number, a.epoch(), b"false")])), ["false"]);
    }
    for n in 0..200_u64 {
        say(&mut a, n, 1, b"true");
        assert_eq!(texts(&hear(&mut b, n, &frames(&mut a, n))), ["true"], "frame {n}");
    }
    assert_eq!(b.rejections().get(&FrameRejection::LedAway), Some(&1));
    assert_eq!(b.rejections().get(&FrameRejection::TooOld), None);
}

/// The one whose name is used hears it too, and so does the listener, or not: both go on where they are.
#[test]
fn who_hears_its_own_name_used_is_not_led_away() {
    let (mut a, mut b) = pair();
    let mut missed = 0;
    for n in 0..300_u32 {
        let next = a.channels.next_counter(&peer(1));
        let number = [next, next + 3, next + 32_000, next + 20_000][n as usize % 4];
        let false_frame = [forged(number, a.epoch(), b"false")];
        hear(&mut a, n.into(), &false_frame);
        if n % 3 == 0 {
            hear(&mut b, n.into(), &false_frame);
        }
        say(&mut a, n.into(), 1, b"true");
        missed += usize::from(texts(&hear(&mut b, n.into(), &frames(&mut a, n.into()))).is_empty());
    }
    assert_eq!(missed, 0, "{:?}", b.rejections());
    assert!(a.channels.next_counter(&peer(1)) < 1_000);
}

/// Nothing that was taken before a forgery is taken again after it.
#[test]
fn what_was_heard_before_a_forged_leap_is_not_heard_again() {
    let (mut a, mut b) = pair();
    let mut old = Vec::new();
    for n in 0..300_u64 {
        say(&mut a, n, 1, b"old");
        old.extend(frames(&mut a, n));
    }
    hear(&mut b, 400, &old);
    hear(&mut b, 401, &[forged(30_000, a.epoch(), b"false")]);
    assert!(texts(&hear(&mut b, 402, &old)).is_empty());
    say(&mut a, 403, 1, b"new");
    assert_eq!(texts(&hear(&mut b, 403, &frames(&mut a, 403))), ["new"]);
    assert!(texts(&hear(&mut b, 404, &old)).is_empty());
}

/// The listener restarts, and what it has on disk is the forged counter. It asks, and its sender's newer word counts.
#[test]
fn a_forged_counter_that_is_on_disk_is_overcome_by_the_next_announcement() {
    let (mut a, mut b) = pair();
    let mut records = record(&mut b);
    hear(&mut b, 1, &[forged(25_000, a.epoch(), b"false")]);
    records.extend(record(&mut b));
    let mut kept = StationRecords { own_epoch: Some(1), ..StationRecords::default() };
    for record in records {
        match record {
            Record::Heard(peer, announcement) => drop(kept.heard.insert(peer, announcement)),
            Record::Window(window) => {
                kept.windows.retain(|known| (known.channel, known.sender) != (window.channel, window.sender));
                kept.windows.push(window);
            }
            _ => {}
        }
    }
    assert!(kept.windows.iter().any(|window| window.highest == 25_000), "{:?}", kept.windows);
    let mut b = station(2, &[1, 2], 12, kept);
    let mut answered = None;
    for n in 0..100_u64 {
        let now_ms = 60_000 + n * 1_000;
        say(&mut a, now_ms, 1, b"true");
        let heard = hear(&mut b, now_ms, &frames(&mut a, now_ms));
        if !texts(&heard).is_empty() {
            answered = Some(n);
            break;
        }
        hear(&mut a, now_ms, &frames(&mut b, now_ms));
    }
    assert!(answered.is_some_and(|n| n <= 40), "{answered:?} of {:?}", b.rejections());
}

#[derive(Clone, Debug)]
enum Step {
    /// So many honest frames are lost, and the next one arrives.
    Honest {
        lost: u8,
    },
    /// Forged, so far from the last honest one.
    Near(i32),
    Any(u32),
    /// Forged, just above what the listener has taken.
    Walk(u8),
    /// Everything heard so far once more, from here on.
    Replay(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8).prop_map(|lost| Step::Honest { lost }),
        1 => (-200..60_000_i32).prop_map(Step::Near),
        1 => any::<u32>().prop_map(Step::Any),
        1 => (1..=128_u8).prop_map(Step::Walk),
        1 => any::<prop::sample::Index>().prop_map(Step::Replay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of the honest frames all are heard but those whose very counters the forger has used up, one for one; and no frame is
    /// heard twice.
    #[test]
    fn whatever_a_member_forges_the_honest_frames_get_in(steps in prop::collection::vec(step(), 1..120)) {
        let (mut a, mut b) = pair();
        let epoch = a.epoch();
        let (mut on_air, mut now_ms, mut spoilt, mut forgeries, mut top) = (Vec::new(), 0, 0, 0, 0_u32);
        for step in steps {
            now_ms += 100;
            let number = match step {
                Step::Honest { lost } => {
                    for n in 0..=lost {
                        let text = format!("true {now_ms} {n}");
                        say(&mut a, now_ms, 1, text.as_bytes());
                        let sent = frames(&mut a, now_ms);
                        if n == lost {
                            let heard = texts(&hear(&mut b, now_ms, &sent));
                            prop_assert!(heard.is_empty() || heard == [text]);
                            spoilt += usize::from(heard.is_empty());
                            on_air.extend(sent.into_iter().filter(|frame| frame.len() > HEADER_BYTES));
                        }
                    }
                    continue;
                }
                Step::Replay(at) if on_air.is_empty() => { let _ = at; continue }
                Step::Replay(at) => {
                    prop_assert!(texts(&hear(&mut b, now_ms, &on_air[at.index(on_air.len())..])).is_empty());
                    continue;
                }
                Step::Near(away) => (i64::from(top) + i64::from(away)).clamp(0, u32::MAX.into()) as u32,
                Step::Any(number) => number,
                Step::Walk(step) => top.saturating_add(step.into()),
            };
            let heard = hear(&mut b, now_ms, &[forged(number, epoch, b"false")]);
            forgeries += texts(&heard).len();
            top = if heard.is_empty() { top } else { number };
        }
        prop_assert!(spoilt <= forgeries, "{spoilt} of {forgeries}");
        // Once it is silent, or only misses, the next one is heard.
        let spoilt_next = (0..=forgeries).take_while(|n| {
            let now_ms = now_ms + 1 + *n as u64;
            say(&mut a, now_ms, 1, b"next");
            texts(&hear(&mut b, now_ms, &frames(&mut a, now_ms))).is_empty()
        }).count();
        prop_assert!(spoilt + spoilt_next <= forgeries);
    }
}
