//! Many lives and any frames: no (key, nonce) pair twice, no message twice, none that was not sent.

use super::*;
use crate::frame::keys::FrameKey;
use crate::frame::{Counters, Header, open, seal};
use crate::time::Mono;
use proptest::prelude::*;

/// What a sender did with its keys over several lives: each (key, nonce) at most once.
#[derive(Default)]
struct Nonces(BTreeSet<([u8; 16], u32)>);

impl Nonces {
    /// Finds the key and counter of each sealed frame by trying what `station` could have used.
    fn note(&mut self, station: &Station, who: u8, owners: &[u8], frames: &[Vec<u8>]) {
        for frame in frames.iter().filter(|frame| !matches!(Kind::of(frame[0]).number(), 0 | 3 | 4)) {
            let found = owners.iter().find_map(|owner| {
                let key: FrameKey =
                    audience(*owner, 1).frame_key(Mode::Encrypted, &peer(who), &station.epoch());
                let low = u32::from(u16::from_be_bytes([frame[4], frame[5]]));
                let counters = (0..40_u32).map(|high| high << 16 | low);
                let mut opens = counters.filter(|counter| open(&key, frame, *counter).is_some());
                opens.next().map(|counter| (*key.as_bytes(), counter))
            });
            assert!(self.0.insert(found.expect("one of the keys")), "a nonce twice");
        }
    }
}

#[derive(Clone, Debug)]
enum Life {
    Say(u8),
    Long,
    Crash,
    RestoreDisk(u8),
    Clone,
    HearOwnPast(prop::sample::Index),
    LeaveAndComeBack,
    Forged(u16),
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let one = prop_oneof![
        4 => (1..3_u8).prop_map(Life::Say),
        1 => Just(Life::Long),
        1 => Just(Life::Crash),
        1 => (0..8_u8).prop_map(Life::RestoreDisk),
        1 => Just(Life::Clone),
        2 => any::<prop::sample::Index>().prop_map(Life::HearOwnPast),
        1 => Just(Life::LeaveAndComeBack),
        1 => (0..60_000_u16).prop_map(Life::Forged),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Crashes, restored disks, clones that run beside, audiences left and taken up again, own past frames and forgeries heard.
    #[test]
    fn no_key_and_nonce_are_used_twice(lives in lives()) {
        let owners = [1, 2];
        let (mut nonces, mut disks, mut past) = (Nonces::default(), vec![None], Vec::new());
        let mut seed = 100;
        let mut alive = vec![station(1, &owners, seed, Default::default())];
        let mut now = 0;
        for life in lives {
            now += 700_000;
            let records = |own_epoch| StationRecords { own_epoch, ..Default::default() };
            let last = alive.len() - 1;
            match life {
                Life::Say(owner) => say(&mut alive[last], now, owner, b"state"),
                Life::Long => say(&mut alive[last], now, 1, &[3; 700]),
                Life::Crash | Life::Clone | Life::RestoreDisk(_) => {
                    seed += 1;
                    let disk = match life {
                        Life::RestoreDisk(at) => disks[usize::from(at) % disks.len()],
                        _ => *disks.last().unwrap(),
                    };
                    let next = station(1, &owners, seed, records(disk));
                    match life {
                        Life::Clone if alive.len() < 3 => alive.push(next),
                        _ => alive[last] = next,
                    }
                }
                Life::HearOwnPast(at) if !past.is_empty() => {
                    let frame: &Vec<u8> = at.get(&past);
                    let _ = alive[0].receive(Mono::from_ms(now), frame);
                }
                Life::HearOwnPast(_) => {}
                Life::LeaveAndComeBack => {
                    alive[last].drop_channel(&peer(2));
                    let members = owners.map(peer).into_iter().collect();
                    alive[last].set_channel(peer(2), audience(2, 1), None, members).unwrap();
                }
                Life::Forged(counter) => {
                    let (epoch, key) = (alive[last].epoch(), audience(1, 1));
                    let header = Header {
                        kind: message(5), epoch_low: epoch.low(), alias: key.alias(), hint: key.hint(&peer(1)), counter_low: 0,
                    };
                    let counter = Counters::starting_at(counter.into()).take().unwrap();
                    let frame_key = key.frame_key(Mode::Encrypted, &peer(1), &epoch);
                    let _ = alive[last].receive(Mono::from_ms(now), &seal(&frame_key, header, counter, b"x"));
                }
            }
            for station in &mut alive {
                loop {
                    let epoch = station.epoch();
                    let kept = record(station);
                    disks.extend(kept.iter().filter_map(|record| match record {
                        Record::OwnEpoch(epoch) => Some(Some(epoch.number)),
                        _ => None,
                    }));
                    match station.transmit(at(now)) {
                        Transmit::Frame { frame, .. } => {
                            prop_assert_eq!(epoch, station.epoch());
                            nonces.note(station, 1, &owners, std::slice::from_ref(&frame));
                            past.push(frame);
                        }
                        Transmit::NeedsRecord => {}
                        Transmit::Idle => break,
                    }
                }
            }
        }
    }

    /// Loss, duplication, reordering, corruption, truncation, splicing: each message at most once, and none that was not sent.
    #[test]
    fn never_twice_and_never_wrong(
        said in 1..25_usize,
        air in prop::collection::vec((any::<prop::sample::Index>(), 0..6_u8, any::<prop::sample::Index>(), 1..=255_u8), 0..120),
    ) {
        let mut a = station(1, &[1, 2], 10, Default::default());
        let mut b = station(2, &[1, 2], 11, Default::default());
        let mut sent = Vec::new();
        for number in 0..said {
            say(&mut a, number as u64, 1 + (number % 2) as u8, format!("message {number}").as_bytes());
            sent.extend(frames(&mut a, number as u64));
        }
        let whole: BTreeSet<String> = (0..said).map(|number| format!("message {number}")).collect();
        let mut heard = Vec::new();
        for (which, what, other, bits) in air {
            let mut frame = which.get(&sent).clone();
            match what {
                0 => { let at = other.index(frame.len()); frame[at] ^= bits; }
                1 => frame.truncate(other.index(frame.len())),
                2 => {
                    let tail = other.get(&sent);
                    let at = usize::from(bits) % frame.len();
                    frame.truncate(at);
                    frame.extend(tail.iter().skip(at));
                }
                _ => {}
            }
            heard.extend(hear(&mut b, 100, &[frame]));
        }
        let texts = texts(&heard);
        let distinct: BTreeSet<String> = texts.iter().cloned().collect();
        prop_assert_eq!(distinct.len(), texts.len(), "one twice");
        prop_assert!(distinct.is_subset(&whole), "one that was not said");
    }

    #[test]
    fn any_bytes_are_refused_and_bounded(input in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..80)) {
        let mut b = station(2, &[1, 2], 11, Default::default());
        let key = audience(1, 1);
        for (number, mut frame) in input.into_iter().enumerate() {
            // Half of it passes for a frame of a member.
            if number % 2 == 0 && frame.len() > 4 {
                frame[1..3].copy_from_slice(&key.alias().0);
                frame[3] = key.hint(&peer(1)).0;
            }
            let heard = b.receive(Mono::from_ms(number as u64), &frame).outcome;
            let message = matches!(heard, Ok(Received::Message { .. } | Received::Epoch { .. }));
            prop_assert!(!message);
            prop_assert!(b.inbound.held.len() <= HELD_FRAMES_MAX);
            frames(&mut b, number as u64);
        }
    }
}
