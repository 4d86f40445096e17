//! Radios that drop short frames, and bands with rules of their own.

use super::*;
use crate::airtime::region::Usage;
use crate::frame::PADDED_BYTES_MAX;
use crate::time::{Millis, Mono};
use proptest::prelude::*;

fn config(mode: Mode, frame_bytes_max: usize, frame_bytes_min: usize, call_sign: bool) -> StationConfig {
    let call_sign = call_sign.then(|| CallSign { text: "X1A".into(), every: Millis::from_ms(u64::MAX) });
    let line = PhyRate::lora(Modulation::SF7_125);
    StationConfig { us: id(1), mode, frame_bytes_max, frame_bytes_min, call_sign, line, seed: [5; 32] }
}

fn ledger(region: Region) -> Ledger {
    Ledger::new(LedgerConfig::new(region.rules(Usage::default()).ok()), Mono::ZERO)
}

fn tnc(mode: Mode, frame_bytes_max: usize) -> Station {
    let config = config(mode, frame_bytes_max, PADDED_BYTES_MAX, true);
    let mut station = Station::new(config, StationRecords::default(), ledger(Region::Wired)).unwrap();
    let members: BTreeSet<PeerId> = [peer(1), peer(2)].into();
    match mode {
        Mode::Encrypted => station.set_channel(peer(1), audience(1, 1), None, members).unwrap(),
        Mode::SignedClear => station.set_clear_channel(peer(1), members).unwrap(),
    }
    station
}

#[test]
fn a_question_and_a_call_sign_are_filled_up_and_understood() {
    let (mut a, mut b) = (tnc(Mode::Encrypted, 255), station(2, &[1, 2], 11, Default::default()));
    say(&mut b, 0, 1, b"who is it");
    let sent = frames(&mut b, 0);
    hear(&mut a, 0, &sent[1..]);
    let spoken = frames(&mut a, 60_000);
    assert_eq!(spoken.iter().map(Vec::len).collect::<Vec<_>>(), [PADDED_BYTES_MAX; 2]);
    assert_eq!(spoken[0], b"\x40DE X1A        ");
    assert_eq!(hear(&mut b, 60_000, &spoken), [Ok(Received::CallSign("X1A".into())), Ok(Received::Question)]);
    // What was charged is what was sent.
    let sent_us: u64 = spoken.iter().map(|frame| a.line.frame_us(frame.len())).sum();
    assert_eq!(a.ledger().hour_us(Mono::from_ms(60_000)), sent_us);
}

#[test]
fn a_clear_frame_is_the_same_however_it_was_filled_up() {
    let (mut a, mut b) = (
        tnc(Mode::SignedClear, 255),
        station_in(
            Setup { mode: Mode::SignedClear, region: Region::Wired, frame_bytes_max: 255 },
            2,
            &[1, 2],
            11,
            Default::default(),
        ),
    );
    for (number, text) in ["", "a", "\0", "\0\0", "12345", "123456", "1234567"].into_iter().enumerate() {
        say(&mut a, number as u64, 1, text.as_bytes());
        let sent = frames(&mut a, number as u64);
        let frame = sent.last().unwrap();
        assert_eq!(frame.len(), PADDED_BYTES_MAX.max(9 + text.len()));
        assert_eq!(texts(&hear(&mut b, number as u64, &sent)), [text]);
        let mut shorter = frame[..9 + text.len()].to_vec();
        shorter[0] &= 0xf0;
        assert_eq!(hear(&mut b, number as u64, &[shorter]), [Ok(Received::Duplicate)]);
    }
    let mut false_pad = frames_of_clear(&mut a);
    *false_pad.last_mut().unwrap() = 1;
    assert_eq!(b.receive(Mono::from_ms(100), &false_pad).outcome, Err(FrameRejection::Padding));
    let mut long = frames_of_clear(&mut a);
    long.resize(PADDED_BYTES_MAX + 1, 0);
    long[0] += 1;
    assert_eq!(b.receive(Mono::from_ms(100), &long).outcome, Err(FrameRejection::Padding));
}

fn frames_of_clear(station: &mut Station) -> Vec<u8> {
    say(station, 99, 1, b"x");
    frames(station, 99).pop().unwrap()
}

#[test]
fn what_is_sealed_is_not_filled_up_and_an_empty_message_is_refused() {
    let mut a = tnc(Mode::Encrypted, 255);
    let outgoing = |bytes: &[u8]| Outgoing {
        channel: peer(1),
        kind: message(5),
        bytes: bytes.to_vec(),
        priority: Priority::State,
        account: Account(1),
        previous_key: false,
    };
    assert_eq!(a.send(Mono::ZERO, outgoing(b"")), Err(SendRefusal::TooShort { bytes: 14, bytes_min: 15 }));
    assert_eq!(a.send(Mono::ZERO, outgoing(b"x")), Ok(Sent::Frame));
    assert_eq!(frames(&mut a, 0).last().map(Vec::len), Some(PADDED_BYTES_MAX));
    let short = vec![vec![0x30; 14]];
    let refusal = Err(SendRefusal::TooShort { bytes: 14, bytes_min: 15 });
    assert_eq!(a.send_join(short, Priority::State, Account(1)), refusal);
}

#[test]
fn a_band_that_hides_nothing_has_no_encrypted_station_and_one_with_call_signs_none_without() {
    let new = |mode, call_sign, region| {
        Station::new(config(mode, 255, 0, call_sign), StationRecords::default(), ledger(region))
    };
    let source = Region::Amateur.rules(Usage::default()).unwrap().source;
    assert_eq!(
        new(Mode::Encrypted, true, Region::Amateur).unwrap_err(),
        StationError::ClearOnly { rules: source }
    );
    assert_eq!(
        new(Mode::SignedClear, false, Region::Amateur).unwrap_err(),
        StationError::NoCallSign { rules: source }
    );
    let station = new(Mode::SignedClear, true, Region::Amateur).unwrap();
    // No rarer than the rules require, whatever is set.
    assert_eq!(station.call_sign.unwrap().every, Millis::from_ms(600_000));
    assert!(new(Mode::Encrypted, false, Region::Eu868).is_ok());
    assert_eq!(
        Station::new(
            config(Mode::Encrypted, 255, 16, false),
            StationRecords::default(),
            ledger(Region::Wired)
        )
        .unwrap_err(),
        StationError::FrameSizeMin { frame_bytes_min: 16 }
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Epoch announcements in parts, fragments, NACKs, clear frames: nothing is shorter than the radio takes, at any frame size.
    #[test]
    fn nothing_shorter_than_the_radio_takes_ever_leaves(
        clear: bool, frame_bytes_max in 50..=255_usize, lengths in prop::collection::vec(1..1_500_usize, 1..5), lost in 2..9_usize,
    ) {
        let mode = if clear { Mode::SignedClear } else { Mode::Encrypted };
        let mut a = tnc(mode, frame_bytes_max);
        let mut b = tnc(mode, frame_bytes_max);
        (b.us, b.me) = (id(2), peer(2));
        lengths.iter().for_each(|length| say(&mut a, 0, 1, &vec![b'x'; *length]));
        let mut count = 0;
        for now in (0..120_000).step_by(1_000) {
            for frame in frames(&mut a, now) {
                prop_assert!((PADDED_BYTES_MAX..=frame_bytes_max).contains(&frame.len()), "{frame:?}");
                count += 1;
                if count % lost != 0 {
                    hear(&mut b, now, &[frame]);
                }
            }
            let back = frames(&mut b, now);
            prop_assert!(back.iter().all(|frame| (PADDED_BYTES_MAX..=frame_bytes_max).contains(&frame.len())));
            hear(&mut a, now, &back);
        }
        prop_assert!(count > lengths.len());
    }
}
