//! Members that flood, forge and splice: memory and airtime stay bounded, the honest message goes on.

use crate::KIND;
use crate::cell::{Cell, FRAME_AIRTIME_MS, Faults, HOUR_MS, chance, content, peer};
use proptest::prelude::*;
use tombolo_mesh::bulk::fragment::{
    Assembler, FragmentError, MemoryLimits, OutFragment, OutMessage, Progress, Sender, SenderLimits, Source,
};
use tombolo_mesh::bulk::repair::{GOES_ON_WITHIN, Listener};
use tombolo_mesh::time::{Millis, Mono};
use tombolo_mesh::{PeerId, SplitMix64};

fn fragments(sender: PeerId, channel: PeerId, bytes: &[u8], payload_max: usize) -> Vec<OutFragment> {
    let mut sender = Sender::new(sender, SenderLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS));
    let (kind, fragment_payload_max) = (KIND, payload_max);
    sender
        .offer(Mono::ZERO, OutMessage { channel, kind, bytes, fragment_payload_max, loss_permille: 0 })
        .unwrap();
    std::iter::from_fn(|| sender.next_fragment(Mono::ZERO)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes from any number of senders: refused or held, and what is held stays within the bounds.
    #[test]
    fn memory_is_bounded_whatever_arrives(
        seed: u64,
        senders in 1..=255_u8,
        payload_max in 10..=255_usize,
    ) {
        let limits = MemoryLimits { bytes_max: 60_000, source_bytes_max: 20_000, messages_max: 20, source_messages_max: 6 };
        let mut listener = Listener::new(limits, Millis::from_ms(FRAME_AIRTIME_MS), seed);
        let mut rng = SplitMix64::new(seed);
        for now_ms in 0..1_500 {
            let mut payload = content(payload_max - usize::from(chance(&mut rng, 300)), rng.bits());
            // Most of them of few messages, of a layout that there is.
            if chance(&mut rng, 900) {
                payload[0] = 0;
                payload[1] %= 4;
                payload[2] = if chance(&mut rng, 500) { 0x3f } else { 0x81 };
            }
            let sender = peer(rng.bits() as u8 % senders);
            let _ = listener.fragment(Mono::from_ms(now_ms * 100), peer(0), sender, &payload);
            let held = listener.assembler();
            prop_assert!(held.held_bytes() <= limits.bytes_max, "{} bytes", held.held_bytes());
            prop_assert!(held.open_messages() <= limits.messages_max);
        }
        let mut questions = 0;
        while listener.poll_nack(Mono::from_ms(150_000 + HOUR_MS), 36).is_some() {
            questions += 1;
        }
        prop_assert!(questions <= limits.messages_max, "{questions} at once");
    }

    /// Fragments of two messages under one id, in any mixture: one of the two or neither, never a third.
    #[test]
    fn spliced_fragments_never_make_a_message(seed: u64, length in 100..2_000_usize) {
        let (first, second) = (content(length, seed), content(length, seed + 1));
        let (channel, sender) = (peer(1), peer(2));
        let mine = fragments(sender, channel, &first, 100);
        let other = fragments(sender, channel, &second, 100);
        let mut assembler = Assembler::new(MemoryLimits::default());
        let mut rng = SplitMix64::new(seed);
        for (mine, other) in mine.iter().zip(&other) {
            let mut payload = if chance(&mut rng, 500) { mine } else { other }.payload.clone();
            payload[..2].copy_from_slice(&mine.payload[..2]);
            match assembler.receive(Mono::ZERO, Source { channel, sender }, &payload) {
                Ok(Progress::Whole(message)) => prop_assert!(message.bytes == first || message.bytes == second),
                Ok(_) | Err(FragmentError::Spliced { .. }) => {}
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
        // The honest sender is heard in the end.
        let whole = mine.iter().filter_map(|fragment| {
            match assembler.receive(Mono::from_ms(1), Source { channel, sender }, &fragment.payload) {
                Ok(Progress::Whole(message)) => Some(message.bytes),
                _ => None,
            }
        });
        let whole: Vec<Vec<u8>> = whole.collect();
        prop_assert!(whole.iter().all(|bytes| *bytes == first));
    }
}

#[test]
fn a_flood_does_not_push_out_what_others_have_nearly_done() {
    let (channel, honest) = (peer(1), peer(2));
    let bytes = content(50_000, 3);
    let parts = fragments(honest, channel, &bytes, 200);
    let mut assembler = Assembler::new(MemoryLimits::default());
    let source = Source { channel, sender: honest };
    let (last, first) = parts.split_last().unwrap();
    for part in first {
        assert_eq!(assembler.receive(Mono::ZERO, source, &part.payload), Ok(Progress::Part));
    }
    for flood in 0..40_000_u64 {
        let sender = peer(3 + (flood % 200) as u8);
        let mut payload = content(200, flood);
        (payload[2], payload[3]) = (0x3f, payload[3] % 200);
        let _ = assembler.receive(Mono::from_ms(1 + flood), Source { channel, sender }, &payload);
    }
    assert!(assembler.counts().evicted > 1_000, "{:?}", assembler.counts());
    let done = assembler.receive(Mono::from_ms(50_000), source, &last.payload);
    assert!(matches!(done, Ok(Progress::Whole(message)) if message.bytes == bytes));
}

#[test]
fn a_fragment_of_another_layout_is_refused_and_counted() {
    let (channel, sender) = (peer(1), peer(2));
    let source = Source { channel, sender };
    let parts = fragments(sender, channel, &content(800, 1), 100);
    let mut assembler = Assembler::new(MemoryLimits::default());
    // A single forged fragment that came first gives way.
    let mut forged = parts[0].payload.clone();
    forged[2] += 1;
    assert_eq!(assembler.receive(Mono::ZERO, source, &forged), Ok(Progress::Part));
    assert_eq!(assembler.receive(Mono::ZERO, source, &parts[0].payload), Ok(Progress::Part));
    assert_eq!(assembler.receive(Mono::ZERO, source, &parts[1].payload), Ok(Progress::Part));
    assert!(matches!(
        assembler.receive(Mono::ZERO, source, &forged),
        Err(FragmentError::Inconsistent { .. })
    ));
    let mut conflicting = parts[1].payload.clone();
    conflicting[50] ^= 1;
    let refused = assembler.receive(Mono::ZERO, source, &conflicting);
    assert!(matches!(refused, Err(FragmentError::Conflicting { index: 1, .. })), "{refused:?}");
    let last = parts.iter().skip(2).map(|part| assembler.receive(Mono::ZERO, source, &part.payload)).last();
    assert!(matches!(last, Some(Ok(Progress::Whole(_)))));
    assert_eq!((assembler.counts().inconsistent, assembler.counts().conflicting), (2, 1));
}

/// A sender and a listener of its one message, which is cut into fragments of so many bytes.
fn begun(bytes: &[u8], payload_max: usize) -> (Sender, Vec<OutFragment>) {
    let mut sender = Sender::new(peer(2), SenderLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS));
    let (channel, kind, fragment_payload_max) = (peer(1), KIND, payload_max);
    let message = OutMessage { channel, kind, bytes, fragment_payload_max, loss_permille: 0 };
    sender.offer(Mono::ZERO, message).unwrap();
    let burst = std::iter::from_fn(|| sender.next_fragment(Mono::ZERO)).collect();
    (sender, burst)
}

/// How many fragments the sender repeats for a listener within twelve hours.
fn repaired(sender: &mut Sender, listener: &mut Listener) -> usize {
    let mut repairs = 0;
    for now in (0..12 * 3_600).map(|second| Mono::from_ms(second * 1_000)) {
        while let Some(question) = listener.poll_nack(now, 36) {
            let _ = sender.nack(now, question.channel, peer(3), &question.payload);
        }
        while let Some(fragment) = sender.next_fragment(now) {
            repairs += 1;
            let _ = listener.fragment(now, peer(1), peer(2), &fragment.payload);
        }
    }
    repairs
}

/// Fragments of a message that was delivered come again, cut short: in clear nothing shows that. The message that they seem to begin
/// is asked for, and its sender's answer shows that there is none.
#[test]
fn damaged_fragments_of_what_was_delivered_are_not_asked_for_long() {
    for (length, damaged) in [(170, 1), (170, 2), (1_000, 3), (1_000, 9)] {
        let (mut sender, burst) = begun(&content(length, 5), 104);
        let mut listener = Listener::new(MemoryLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS), 1);
        for part in &burst {
            listener.fragment(Mono::ZERO, peer(1), peer(2), &part.payload).unwrap();
        }
        assert_eq!((listener.assembler().counts().delivered, listener.assembler().open_messages()), (1, 0));
        for part in burst.iter().cycle().take(damaged) {
            let short = &part.payload[..part.payload.len() - 28];
            let _ = listener.fragment(Mono::ZERO, peer(1), peer(2), short);
        }
        let repairs = repaired(&mut sender, &mut listener);
        assert!(repairs <= 16, "{repairs} repairs for {damaged} damaged fragments");
        let held = listener.assembler();
        assert_eq!((held.counts().delivered, held.open_messages()), (1, 0), "{damaged} damaged fragments");
    }
}

/// A relay or a cable has brought what a message was about: its rest is asked for no more, however late the first question might leave.
/// What is still on its way goes on, and so does what another sends.
#[test]
fn what_is_held_by_another_way_is_not_asked_for() {
    let (mut sender, burst) = begun(&content(500, 5), 104);
    let mut listener = Listener::new(MemoryLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS), 1);
    for from in [peer(2), peer(4)] {
        listener.fragment(Mono::ZERO, peer(1), from, &burst[0].payload).unwrap();
    }
    let open = |listener: &Listener| listener.assembler().open_messages();
    listener.holds_all_of(Mono::from_ms(60_000), peer(1), peer(2));
    assert_eq!(open(&listener), 2, "more of it may come");
    let later = Mono::ZERO + GOES_ON_WITHIN;
    listener.holds_all_of(later, peer(1), peer(2));
    assert_eq!(open(&listener), 1);
    listener.holds_all_of(later, peer(1), peer(4));
    assert_eq!((open(&listener), listener.poll_timeout()), (0, None));
    assert_eq!(repaired(&mut sender, &mut listener), 0);
}

/// A sender starts again and cuts the same message, of the same id, into shorter fragments. What its listeners hold of the longer
/// ones gives way, and they get it from the shorter.
#[test]
fn a_message_in_other_frames_after_a_restart_arrives() {
    for held in [1, 2, 7, 40] {
        let bytes = content(5_000, 6);
        let (_, before) = begun(&bytes, 104);
        let (mut sender, burst) = begun(&bytes, 60);
        let mut listener = Listener::new(MemoryLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS), 1);
        for part in before.iter().take(held).chain(&burst) {
            let _ = listener.fragment(Mono::ZERO, peer(1), peer(2), &part.payload);
        }
        let repairs = repaired(&mut sender, &mut listener);
        let delivered = listener.assembler().counts().delivered;
        assert_eq!((before[0].message, delivered), (burst[0].message, 1), "{held} fragments held before");
        assert!(repairs <= 12, "{repairs} repairs after {held} fragments held before");
    }
}

/// A member that asks for everything over and over causes so much and no more; an honest listener is served.
#[test]
fn a_flood_of_nacks_causes_bounded_airtime_and_the_honest_are_served() {
    let mut cell = Cell::new(1, Faults::loss(100), 4);
    cell.offer(KIND, &content(5_000, 4), 100);
    let count = cell.fragments_to_go();
    cell.deaf = vec![0];
    cell.run_frames(count - 20);
    cell.deaf = Vec::new();
    cell.run_frames(20);
    let id = [cell.sent[0][0], cell.sent[0][1]];
    let everything = [&[cell.me.0[0], id[0], id[1], 0x40][..], &[0xff; 6], &[0x0f]].concat();
    let mut caused = 0;
    for flood in 0..5_000 {
        cell.now_ms += 100;
        let asked = cell.sender.nack(Mono::from_ms(cell.now_ms), cell.channel, peer(9), &everything);
        caused += asked.unwrap_or(0);
        if flood % 50 == 0 {
            cell.run_until(cell.now_ms + 1);
        }
    }
    assert!(caused > 0 && caused <= 4 * count + 32, "{caused} of {count}");
    cell.run_until(HOUR_MS);
    assert_eq!(cell.listeners[0].delivered.len(), 1);
    assert!(cell.fragments <= 6 * count, "{} of {count}", cell.fragments);
}

/// Who opens messages and never ends them gets few questions out of us.
#[test]
fn phantom_messages_cause_few_questions() {
    let mut listener = Listener::new(MemoryLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS), 1);
    let mut questions = 0;
    for second in 0..3_600_u64 {
        let mut payload = content(100, second);
        (payload[2], payload[3]) = (0x20, payload[3] % 33);
        let _ = listener.fragment(Mono::from_ms(second * 1_000), peer(1), peer(2), &payload);
        questions += std::iter::from_fn(|| listener.poll_nack(Mono::from_ms(second * 1_000), 36)).count();
    }
    println!("{questions} questions for 3600 phantom fragments");
    assert!(questions <= 3_600 / 4 + 40, "{questions}");
}

#[test]
fn a_forged_word_that_a_message_is_gone_only_delays() {
    let mut cell = Cell::new(1, Faults::loss(0), 7);
    cell.offer(KIND, &content(3_000, 7), 100);
    let count = cell.fragments_to_go();
    cell.deaf = vec![0];
    cell.run_frames(5);
    cell.deaf = Vec::new();
    cell.run_frames(count - 5);
    let gone = [cell.me.0[0], cell.sent[0][0], cell.sent[0][1]];
    let (now_ms, channel) = (cell.now_ms, cell.channel);
    // From another member it counts for nothing.
    cell.listeners[0].ear.nack(Mono::from_ms(now_ms), channel, peer(77), &gone).unwrap();
    assert!(cell.listeners[0].ear.poll_timeout() < Some(Mono::from_ms(now_ms + 60_000)));
    cell.listeners[0].ear.nack(Mono::from_ms(now_ms), channel, cell.me, &gone).unwrap();
    assert!(cell.listeners[0].ear.poll_timeout() > Some(Mono::from_ms(now_ms + 3_000_000)));
    cell.run_until(now_ms + 2 * HOUR_MS);
    assert_eq!(cell.listeners[0].delivered.len(), 1);
}

/// Two relays whose identities begin with one byte have sent one message; a listener has a part of what the first sent, which has started
/// again since. What it asks for is not sent by the second: of that it has all, and would ask for twelve hours.
#[test]
fn a_relay_does_not_answer_for_another_of_the_same_first_byte() {
    let relay = |second: u8| {
        let mut identity = peer(9).0;
        identity[1] = second;
        PeerId(identity)
    };
    let airtime = Millis::from_ms(FRAME_AIRTIME_MS);
    let bytes = content(200, 7);
    let message = OutMessage {
        channel: peer(1),
        kind: KIND,
        bytes: &bytes,
        fragment_payload_max: 60,
        loss_permille: 0,
    };
    let mut relays = [1, 2].map(|n| (relay(n), Sender::new(relay(n), SenderLimits::default(), airtime)));
    let mut listener = Listener::new(MemoryLimits::default(), airtime, 1);
    for (n, (who, sender)) in relays.iter_mut().enumerate() {
        sender.offer(Mono::ZERO, message).unwrap();
        let burst: Vec<_> = std::iter::from_fn(|| sender.next_fragment(Mono::ZERO)).collect();
        let heard = if n == 0 { 1 } else { burst.len() };
        for fragment in burst.iter().take(heard) {
            listener.fragment(Mono::ZERO, peer(1), *who, &fragment.payload).unwrap();
        }
    }
    let [(first, restarted), (_, second)] = &mut relays;
    *restarted = Sender::new(*first, SenderLimits::default(), airtime);
    let mut asked = 0;
    for now in (0..12 * 3_600).map(|second| Mono::from_ms(second * 1_000)) {
        while let Some(question) = listener.poll_nack(now, 36) {
            asked += 1;
            let queued = second.nack(now, question.channel, peer(3), &question.payload).unwrap();
            assert_eq!(queued, 0, "at {now:?}");
        }
    }
    assert!(asked > 3, "{asked}");
}
