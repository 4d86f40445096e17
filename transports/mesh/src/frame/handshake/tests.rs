use super::*;
use proptest::prelude::*;

const TOKEN: InviteHash = [0x77; 32];

fn id(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

fn inviter() -> Responder {
    let mut responder = Responder::new(id(1));
    responder.set_invites(BTreeSet::from([TOKEN, [0x55; 32]]));
    responder
}

fn joiner(payload: &[u8]) -> Initiator {
    Initiator::new(&id(2), &id(1).peer_id(), &TOKEN, payload, [9; 32]).unwrap()
}

/// The request, once the last frame is in.
fn ask(responder: &mut Responder, frames: &[Vec<u8>]) -> HandshakeEvent {
    frames.iter().map(|frame| responder.receive(frame).unwrap()).last().unwrap()
}

#[test]
fn two_radios_join_in_three_frames_each_way() {
    let (mut responder, mut initiator) = (inviter(), joiner(&[5; 400]));
    let frames = initiator.frames(231).unwrap();
    assert_eq!(frames.len(), 3);
    assert_eq!(frames.iter().map(|frame| frame.len() - HEADER_BYTES).sum::<usize>(), 96 + 400);
    let HandshakeEvent::Request(request) = ask(&mut responder, &frames) else { panic!("no request") };
    assert_eq!((request.token, &request.payload), (TOKEN, &vec![5; 400]));
    assert!(request.is_from(&id(2).peer_id()) && !request.is_from(&id(3).peer_id()));
    assert_eq!(responder.frames(request.id, 231), Err(HandshakeError::Unknown));
    responder.answer(request.id, &[6; 400], [8; 32]).unwrap();
    let answer = responder.frames(request.id, 231).unwrap();
    assert_eq!(answer.len(), 3);
    assert_eq!(answer.iter().map(|frame| frame.len() - HEADER_BYTES).sum::<usize>(), 48 + 400);
    let heard: Vec<_> = answer.iter().map(|frame| initiator.receive(frame).unwrap()).collect();
    assert_eq!(heard, [None, None, Some(vec![6; 400])]);
}

/// Found by a reader of the pages: with an ephemeral of zeros both sides agreed on zeros.
#[test]
fn a_shared_secret_of_zeros_is_refused() {
    let mut dh = Given { ephemeral: None }.resolve_dh(&snow::params::DHChoice::Curve25519).unwrap();
    dh.set(&[9; 32]);
    let mut shared = [0; 32];
    assert!(dh.dh(&[0; 32], &mut shared).is_err());
    assert!(dh.dh(&[9; 32], &mut shared).is_ok());
}

#[test]
fn the_longest_payload_fits_three_frames_of_231_and_fifteen_of_50() {
    let initiator = joiner(&[5; PAYLOAD_BYTES_MAX]);
    assert_eq!(initiator.frames(231).unwrap().len(), 3);
    assert_eq!(initiator.frames(50).unwrap().len(), PARTS_MAX);
    assert_eq!(initiator.frames(45), Err(HandshakeError::FrameSize { frame_bytes_max: 45 }));
    let long = Initiator::new(&id(2), &id(1).peer_id(), &TOKEN, &[0; 513], [9; 32]);
    assert_eq!(long.err(), Some(HandshakeError::TooLong { bytes: 513 }));
}

#[test]
fn a_repeated_request_is_answered_with_the_same_bytes() {
    let (mut responder, initiator) = (inviter(), joiner(b"me"));
    let frames = initiator.frames(60).unwrap();
    let HandshakeEvent::Request(request) = ask(&mut responder, &frames) else { panic!("no request") };
    assert_eq!(ask(&mut responder, &frames), HandshakeEvent::Undecided(request.id));
    responder.answer(request.id, b"welcome", [8; 32]).unwrap();
    let first = responder.frames(request.id, 60).unwrap();
    assert_eq!(ask(&mut responder, &frames), HandshakeEvent::Repeated(request.id));
    responder.answer(request.id, b"something else", [7; 32]).unwrap();
    assert_eq!(responder.frames(request.id, 60).unwrap(), first);
}

#[test]
fn any_part_of_an_answered_request_calls_for_the_answer_however_it_was_cut() {
    let (mut responder, initiator) = (inviter(), joiner(&[5; 300]));
    let HandshakeEvent::Request(request) = ask(&mut responder, &initiator.frames(231).unwrap()) else {
        panic!("no request")
    };
    for frame_bytes in [50, 64, 120, 231, 255] {
        for part in initiator.frames(frame_bytes).unwrap() {
            assert_eq!(responder.receive(&part), Ok(HandshakeEvent::Undecided(request.id)));
        }
    }
    responder.answer(request.id, b"welcome", [8; 32]).unwrap();
    for frame_bytes in [50, 64, 120, 231, 255] {
        for part in initiator.frames(frame_bytes).unwrap() {
            assert_eq!(responder.receive(&part), Ok(HandshakeEvent::Repeated(request.id)));
        }
    }
    // Made up by a peer that heard the head of one: no part of it.
    let mut part = initiator.frames(64).unwrap().remove(1);
    *part.last_mut().unwrap() ^= 1;
    assert_eq!(responder.receive(&part), Ok(HandshakeEvent::Part));
    responder.forget(request.id);
    assert_eq!(responder.receive(&initiator.frames(231).unwrap()[0]), Ok(HandshakeEvent::Part));
}

#[test]
fn parts_gather_over_the_repetitions_of_one_request() {
    let (mut responder, initiator) = (inviter(), joiner(&[5; 200]));
    let frames = initiator.frames(255).unwrap();
    assert_eq!(frames.len(), 2);
    // The second is lost, then the first.
    assert_eq!(responder.receive(&frames[0]), Ok(HandshakeEvent::Part));
    assert!(matches!(responder.receive(&frames[1]), Ok(HandshakeEvent::Request(_))));
}

#[test]
fn after_some_tries_frames_get_shorter_and_never_longer_than_the_radio_takes() {
    let lengths = |frame_bytes_max| [0, 1, 2, 3, 4, 5, 99].map(|tries| frame_bytes(tries, frame_bytes_max));
    assert_eq!(lengths(255), [255, 255, 120, 120, 64, 64, 64]);
    assert_eq!(lengths(100), [100, 100, 100, 100, 64, 64, 64]);
    assert_eq!(lengths(50), [50; 7]);
    let longest = joiner(&[5; PAYLOAD_BYTES_MAX]);
    let frames = longest.frames(frame_bytes(99, 255)).unwrap();
    assert!(frames.len() <= PARTS_MAX && frames.iter().all(|frame| frame.len() <= 64));
    let to_come: Vec<usize> = frames.iter().map(|frame| parts_to_come(frame)).collect();
    assert_eq!(to_come, (0..frames.len()).rev().collect::<Vec<_>>());
}

#[test]
fn an_inviter_that_lost_its_memory_can_still_answer_the_same_joiner() {
    let mut initiator = joiner(b"me");
    let frames = initiator.frames(231).unwrap();
    let mut restarted = inviter();
    assert!(matches!(ask(&mut inviter(), &frames), HandshakeEvent::Request(_)));
    let HandshakeEvent::Request(request) = ask(&mut restarted, &frames) else { panic!("no request") };
    restarted.answer(request.id, b"welcome", [3; 32]).unwrap();
    let answer = restarted.frames(request.id, 231).unwrap();
    assert_eq!(initiator.receive(&answer[0]), Ok(Some(b"welcome".to_vec())));
}

#[test]
fn who_does_not_know_the_token_gets_nothing() {
    // The first four bytes are right, as overheard.
    let mut guess = [0; 32];
    guess[..4].copy_from_slice(&TOKEN[..4]);
    let thief = Initiator::new(&id(4), &id(1).peer_id(), &guess, b"let me in", [9; 32]).unwrap();
    assert_eq!(inviter().receive(&thief.frames(231).unwrap()[0]), Err(HandshakeError::Proof));
    let stranger = Initiator::new(&id(4), &id(1).peer_id(), &[1; 32], b"let me in", [9; 32]).unwrap();
    assert_eq!(inviter().receive(&stranger.frames(231).unwrap()[0]), Ok(HandshakeEvent::Foreign));
}

#[test]
fn a_request_for_another_inviter_is_not_taken() {
    let mut other = Responder::new(id(5));
    other.set_invites(BTreeSet::from([TOKEN]));
    assert_eq!(other.receive(&joiner(b"me").frames(231).unwrap()[0]), Err(HandshakeError::Proof));
}

#[test]
fn a_false_answer_does_not_spoil_the_true_one() {
    let (mut responder, mut initiator) = (inviter(), joiner(b"me"));
    let HandshakeEvent::Request(request) = ask(&mut responder, &initiator.frames(231).unwrap()) else {
        panic!("no request")
    };
    responder.answer(request.id, b"welcome", [8; 32]).unwrap();
    let answer = responder.frames(request.id, 231).unwrap();
    let mut false_answer = answer[0].clone();
    *false_answer.last_mut().unwrap() ^= 1;
    assert_eq!(initiator.receive(&false_answer), Err(HandshakeError::Proof));
    let other = cut(Direction::Answer, &prefix(&TOKEN), &[7; 60], 231).unwrap();
    assert_eq!(initiator.receive(&other[0]), Err(HandshakeError::Proof));
    assert_eq!(initiator.receive(&answer[0]), Ok(Some(b"welcome".to_vec())));
}

#[test]
fn state_is_bounded_and_the_oldest_goes() {
    let mut responder = inviter();
    for number in 0..100_u8 {
        let request = Initiator::new(&id(2), &id(1).peer_id(), &TOKEN, &[number], [number; 32]).unwrap();
        assert!(matches!(ask(&mut responder, &request.frames(231).unwrap()), HandshakeEvent::Request(_)));
        let half = Initiator::new(&id(2), &id(1).peer_id(), &TOKEN, &[number; 50], [number; 32]).unwrap();
        assert_eq!(responder.receive(&half.frames(50).unwrap()[0]), Ok(HandshakeEvent::Part));
    }
    assert_eq!((responder.requests.len(), responder.half.0.len()), (REQUESTS_MAX, HALF_MESSAGES_MAX));
}

#[test]
fn the_token_and_its_key_are_in_no_frame() {
    let psk = blake3::derive_key(PSK_CONTEXT, &TOKEN);
    for frame in joiner(&[5; 400]).frames(231).unwrap() {
        assert!(
            !frame.windows(6).any(|six| TOKEN.windows(6).chain(psk.windows(6)).any(|secret| six == secret))
        );
    }
}

proptest! {
    #[test]
    fn any_order_loss_and_repetition_ends_in_the_same_join(
        frame_bytes_max in 50..=255_usize,
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let (mut responder, mut initiator) = (inviter(), joiner(&[5; 300]));
        let frames = initiator.frames(frame_bytes_max).unwrap();
        let mut requests = Vec::new();
        let picked = order.iter().map(|at| at.get(&frames));
        for frame in picked.chain(&frames).chain(&frames) {
            if let HandshakeEvent::Request(request) = responder.receive(frame).unwrap() {
                responder.answer(request.id, &[6; 200], [8; 32]).unwrap();
                requests.push(request);
            }
        }
        prop_assert_eq!(requests.len(), 1);
        let answer = responder.frames(requests[0].id, frame_bytes_max).unwrap();
        let heard: Vec<_> = answer.iter().rev().filter_map(|frame| initiator.receive(frame).unwrap()).collect();
        prop_assert_eq!(heard, [vec![6; 200]]);
    }

    #[test]
    fn a_changed_request_is_no_request(at: prop::sample::Index, bit in 0..8_u8) {
        let mut frame = joiner(&[5; 100]).frames(231).unwrap().remove(0);
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        prop_assert!(!matches!(inviter().receive(&frame), Ok(HandshakeEvent::Request(_))));
    }

    #[test]
    fn any_bytes_are_bounded(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..60)) {
        let (mut responder, mut initiator) = (inviter(), joiner(b"me"));
        for tail in frames {
            let towards = [&[0x30][..], &TOKEN[..4], &tail].concat();
            let from = [&[0x31][..], &TOKEN[..4], &tail].concat();
            prop_assert!(!matches!(responder.receive(&towards), Ok(HandshakeEvent::Request(_))));
            prop_assert!(!matches!(initiator.receive(&from), Ok(Some(_))));
            prop_assert!(responder.half.0.len() <= HALF_MESSAGES_MAX);
        }
    }
}
