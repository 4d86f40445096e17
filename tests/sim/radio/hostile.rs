//! An outsider with a radio sends arbitrary frames, and a member sends arbitrary content.

use super::*;
use tombolo::identity::did;
use tombolo::node::Event;
use tombolo_mesh::emulated::EmulatedRadioId;
use tombolo_sim::rng::Rng;

/// Two nodes in step, and a stranger's radio that has heard everything.
fn with_stranger(seed: u64) -> (Field, EmulatedRadioId) {
    let mut field = sf7(seed);
    friends(&mut field, 2);
    create(&mut field, 0, "notes");
    for n in 0..10 {
        set(&mut field, 0, "notes", &format!("k{n}"), n);
        field.run(MINUTE);
    }
    in_step(&mut field, &[0, 1], "notes", "k9", HOUR);
    let stranger = field.air.add_radio();
    (field, stranger)
}

/// Sends frames one after the other with a pause between them; nothing that the nodes read changes.
fn attack(field: &mut Field, stranger: EmulatedRadioId, frames: impl IntoIterator<Item = Vec<u8>>) {
    let before = (get(field, 0, "notes"), get(field, 1, "notes"));
    let refused = rejections(field, 0) + rejections(field, 1);
    for frame in frames {
        let now = field.now();
        let _ = field.air.transmit(now, stranger, frame);
        field.run(Millis::from_ms(600));
    }
    assert_eq!((get(field, 0, "notes"), get(field, 1, "notes")), before);
    assert!(rejections(field, 0) + rejections(field, 1) > refused, "nothing was counted");
    let key = format!("after-{}", field.now().ms());
    set(field, 1, "notes", &key, "honest");
    in_step(field, &[0, 1], "notes", &key, 2 * HOUR);
}

#[test]
fn random_frames_change_nothing_and_are_counted() {
    let (mut field, stranger) = with_stranger(101);
    let mut rng = Rng::new(101);
    let frames: Vec<_> = (0..600)
        .map(|_| {
            let n = rng.index(256);
            rng.byte_vec(n)
        })
        .collect();
    attack(&mut field, stranger, frames);
}

#[test]
fn everything_heard_may_be_sent_again() {
    let (mut field, stranger) = with_stranger(102);
    let log: Vec<Vec<u8>> = field.air.log().map(|on_air| on_air.frame.clone()).collect();
    assert!(log.len() > 20, "{} frames to replay", log.len());
    attack(&mut field, stranger, log.iter().cloned());
    attack(&mut field, stranger, log.into_iter().rev());
}

/// The same holds after a restart, when counters start again.
#[test]
fn everything_heard_may_be_sent_again_after_a_restart() {
    let (mut field, stranger) = with_stranger(103);
    let log: Vec<Vec<u8>> = field.air.log().map(|on_air| on_air.frame.clone()).collect();
    field.restart(0).unwrap();
    field.restart(1).unwrap();
    attack(&mut field, stranger, log);
}

#[test]
fn cut_spliced_and_damaged_frames_change_nothing_and_are_counted() {
    let (mut field, stranger) = with_stranger(104);
    let log: Vec<Vec<u8>> = field.air.log().map(|on_air| on_air.frame.clone()).collect();
    let mut rng = Rng::new(104);
    let mut frames = Vec::new();
    for _ in 0..600 {
        let (one, other) = (&log[rng.index(log.len())], &log[rng.index(log.len())]);
        let mut frame = match rng.below(3) {
            0 => one[..rng.index(one.len())].to_vec(),
            1 => [&one[..rng.index(one.len())], &other[rng.index(other.len())..]].concat(),
            _ => one.clone(),
        };
        for _ in 0..1 + rng.below(3) {
            let at = rng.index(frame.len());
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        frame.truncate(255);
        frames.push(frame);
    }
    attack(&mut field, stranger, frames);
}

/// A million frames that are none, or that were damaged, on one radio: the session beside it stays up, carries what is written
/// meanwhile at once, and is chosen as before.
#[test]
fn a_million_bad_frames_on_a_radio_leave_the_lan_alone() {
    const BATCH: usize = 1_000;
    let (mut field, _) = with_stranger(106);
    field.connect(0, 1);
    field.run(MINUTE);
    let log: Vec<Vec<u8>> = field.air.log().map(|on_air| on_air.frame.clone()).collect();
    let mut rng = Rng::new(106);
    let before = field.events.len();
    for batch in 0..1_000_000 / BATCH {
        for _ in 0..BATCH {
            let mut frame = match rng.below(2) {
                0 => rng.byte_vec(20),
                _ => log[rng.index(log.len())].clone(),
            };
            let at = rng.index(frame.len());
            frame[at] ^= 1 << rng.below(8);
            field.hand_over(1, frame);
        }
        if batch % 50 == 0 {
            set(&mut field, 0, "notes", "beside", batch as u64);
            in_step(&mut field, &[0, 1], "notes", "beside", SECOND);
        }
    }
    let downs =
        field.events.iter().skip(before).filter(|(_, event)| matches!(event, Event::Link(link) if !link.up));
    assert_eq!(downs.count(), 0, "the LAN was given up");
    let from = field.now();
    set(&mut field, 1, "notes", "after", 1);
    in_step(&mut field, &[0, 1], "notes", "after", SECOND);
    field.run(10 * MINUTE);
    assert!(!since(&field, from).any(carries), "it went by radio as well");
}

/// One of three writes as fast as its radio sends. The other two still come into step.
#[test]
fn a_member_who_floods_does_not_stop_the_others() {
    let mut field = sf7(105);
    friends(&mut field, 3);
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 1);
    create(&mut field, 2, "flood");
    in_step(&mut field, &[0, 1, 2], "notes", "first", HOUR);
    for n in 0..1_200 {
        set(&mut field, 2, "flood", &format!("k{}", n % 50), n);
        if n == 600 {
            set(&mut field, 0, "notes", "during", "the flood");
        }
        field.run(Millis::from_ms(500));
    }
    in_step(&mut field, &[0, 1], "notes", "during", HOUR);
    in_step(&mut field, &[0, 1, 2], "flood", "k49", HOUR);
}

/// A recording of all frames contains no name, no identity and no content.
#[test]
fn captures_contain_no_planted_secret() {
    let mut field = sf7(106);
    let (a, b) = (field.add("planted-name-a", true).unwrap(), field.add("planted-name-b", true).unwrap());
    let code = invite(&mut field, a);
    let request = field.begin(b, Admin::Join { code: code.clone(), addresses: vec![] });
    assert!(field.run_until(HOUR, |field| matches!(field.answer(b, request), Some(Ok(_)))));
    create(&mut field, a, "planted-document");
    for n in 0..5 {
        set(&mut field, a, "planted-document", "planted-key", format!("planted-secret-{n}"));
        field.run(MINUTE);
    }
    let long = (0..100).map(|n| format!("planted-{n} ")).collect::<String>();
    set(&mut field, b, "planted-document", "long", long);
    in_step(&mut field, &[a, b], "planted-document", "long", HOUR);
    assert!(field.air.log().filter(|on_air| carries(on_air)).count() > 5);
    let ids = [field.peer_id(a), field.peer_id(b)];
    let mut secrets: Vec<Vec<u8>> = vec![b"planted".to_vec(), b"did:key".to_vec(), code[5..25].into()];
    for id in ids {
        secrets.push(did(&id).as_bytes()[8..20].to_vec());
        // Any eight bytes of an identity in a row.
        secrets.extend(id.0.windows(8).map(<[u8]>::to_vec));
    }
    let captured: Vec<u8> = field.air.log().flat_map(|on_air| on_air.frame.iter().copied()).collect();
    for secret in &secrets {
        let found = captured.windows(secret.len()).any(|window| window == secret.as_slice());
        assert!(!found, "{:?} is on air", String::from_utf8_lossy(secret));
    }
}
