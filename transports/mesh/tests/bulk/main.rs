//! Long messages over a lossy shared channel on virtual time: one sender, several listeners, one frame at a time.
//! Seeds print; the name of each test states what it proves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod cell;
mod corpus;
mod hostile;
mod measured;
mod vectors;

use cell::{Cell, Faults, HOUR_MS, content, peer};
use proptest::prelude::*;
use tombolo_mesh::bulk::fragment::{
    MESSAGE_BYTES_MAX, OfferError, OutMessage, Progress, Sender, SenderLimits,
};
use tombolo_mesh::time::{Millis, Mono};

const KIND: u8 = 7;

fn faults() -> impl Strategy<Value = Faults> {
    (0..=500_u16, 1..=6_u16, 0..=100_u16, 0..=100_u16).prop_map(|(loss, burst, duplicated, reordered)| {
        Faults {
            loss_permille: loss,
            burst_frames: burst,
            duplicated_permille: duplicated,
            reordered_permille: reordered,
            corrupted_permille: 0,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any loss up to a half, in bursts or not, frames twice or out of turn: a listener that heard any of it gets it all,
    /// once; where the loss is so high that twenty questions and answers may fail, or is still asking.
    #[test]
    fn whoever_hears_a_fragment_gets_the_message_once_and_whole(
        seed: u64,
        faults in faults(),
        payload_max in 36..=241_usize,
        length in 0..6_000_usize,
        listeners in 1..=5_usize,
    ) {
        let mut cell = Cell::new(listeners, faults, seed);
        let bytes = content(length, seed);
        cell.offer(KIND, &bytes, payload_max);
        cell.run_until(10 * HOUR_MS);
        for listener in &cell.listeners {
            prop_assert!(listener.delivered.len() <= 1);
            prop_assert!(listener.delivered.iter().all(|message| message.bytes == bytes && message.kind == KIND));
            if faults.loss_permille > 250 && listener.ear.poll_timeout().is_some() {
                continue;
            }
            prop_assert_eq!(!listener.delivered.is_empty(), listener.heard > 0, "{} fragments heard", listener.heard);
        }
    }

    /// Fragments with flipped bits, which the frame's tag would have stopped: never a wrong message, and what is
    /// not whole is still asked for.
    #[test]
    fn corrupted_fragments_never_make_a_message(
        seed: u64,
        faults in faults(),
        corrupted_permille in 1..=200_u16,
        length in 0..3_000_usize,
    ) {
        let mut cell = Cell::new(2, Faults { corrupted_permille, ..faults }, seed);
        let bytes = content(length, seed);
        cell.offer(KIND, &bytes, 100);
        cell.run_until(3 * HOUR_MS);
        for listener in &cell.listeners {
            prop_assert!(listener.delivered.len() <= 1);
            prop_assert!(listener.delivered.iter().all(|message| message.bytes == bytes && message.kind == KIND));
            let trying = listener.ear.poll_timeout().is_some();
            prop_assert!(!listener.delivered.is_empty() || trying || listener.heard == 0);
        }
    }

    /// Several messages at once, each of its own length: all arrive, none mixed with another.
    #[test]
    fn messages_sent_together_do_not_mix(seed: u64, lengths in prop::collection::vec(0..2_000_usize, 1..8)) {
        let mut cell = Cell::new(2, Faults::loss(200), seed);
        let sent: Vec<Vec<u8>> = lengths.iter().zip(seed..).map(|(length, seed)| content(*length, seed)).collect();
        for bytes in &sent {
            cell.offer(KIND, bytes, 80);
        }
        cell.run_until(10 * HOUR_MS);
        for listener in &cell.listeners {
            for message in &listener.delivered {
                prop_assert_eq!(sent.iter().filter(|bytes| **bytes == message.bytes).count(), 1);
            }
            prop_assert_eq!(listener.ear.assembler().open_messages(), 0);
        }
    }
}

#[test]
fn the_longest_message_goes_through_the_smallest_frames() {
    let mut cell = Cell::new(1, Faults::loss(100), 11);
    let bytes = content(MESSAGE_BYTES_MAX, 11);
    cell.offer(KIND, &bytes, 36);
    cell.run_until(6 * HOUR_MS);
    assert_eq!(cell.listeners[0].delivered.len(), 1);
    assert!(cell.listeners[0].delivered[0].bytes == bytes);
}

#[test]
fn what_cannot_be_sent_is_refused_by_name() {
    let (me, channel) = (peer(1), peer(2));
    let mut sender = Sender::new(me, SenderLimits::default(), Millis::from_ms(300));
    let mut offer = |kind: u8, bytes: &[u8], fragment_payload_max: usize| {
        sender.offer(Mono::ZERO, OutMessage { channel, kind, bytes, fragment_payload_max, loss_permille: 0 })
    };
    let long = content(MESSAGE_BYTES_MAX + 1, 1);
    let refused = offer(KIND, &long, 200);
    assert_eq!(
        refused,
        Err(OfferError::TooLong { bytes: MESSAGE_BYTES_MAX + 1, bytes_max: MESSAGE_BYTES_MAX })
    );
    assert_eq!(offer(4, b"x", 200), Err(OfferError::Kind { kind: 4 }));
    for payload_max in [0, 3, 11] {
        let refused = offer(KIND, b"x", payload_max);
        assert_eq!(refused, Err(OfferError::TooSmallFrames { bytes: 1, payload_max }));
    }
    let refused = offer(KIND, &content(MESSAGE_BYTES_MAX, 1), 20);
    assert!(matches!(refused, Err(OfferError::TooSmallFrames { .. })), "{refused:?}");
    for number in 0..16 {
        offer(KIND, &content(500, number), 100).unwrap();
    }
    assert_eq!(offer(KIND, &content(500, 99), 100), Err(OfferError::Full { messages: 16 }));
}

/// The radio is out of reach for most of a transfer and for seven hours after it: then only what was not heard is
/// sent, little more, and nothing that was held.
#[test]
fn an_interrupted_transfer_goes_on_hours_later_where_it_was() {
    for (seed, heartbeats) in [(1, false), (2, true), (3, false)] {
        let mut cell = Cell::new(2, Faults::loss(0), seed);
        let bytes = content(20_000, seed);
        cell.offer(KIND, &bytes, 200);
        let all = cell.fragments_to_go();
        cell.run_frames(all / 3);
        cell.cut = true;
        cell.run_until(7 * HOUR_MS);
        assert_eq!(cell.fragments_to_go(), 0, "the burst went out to nobody");
        let asked = cell.nacks;
        assert!(asked < 40, "{asked} questions into the void");
        cell.cut = false;
        let before = cell.fragments;
        if heartbeats {
            cell.heartbeat();
            cell.run_until(7 * HOUR_MS + HOUR_MS / 4);
        } else {
            cell.run_until(9 * HOUR_MS);
        }
        let resent = cell.fragments - before;
        println!("seed {seed}: {all} fragments, {} lacking, {resent} sent, {asked} questions", all - all / 3);
        assert!(cell.listeners.iter().all(|listener| listener.delivered.len() == 1), "seed {seed}");
        assert_eq!(resent, all - all / 3, "seed {seed}");
    }
}

/// Who starts again and offers the same message goes on with those that held a part of it.
#[test]
fn the_same_message_after_a_restart_is_the_same_message() {
    let mut cell = Cell::new(1, Faults::loss(0), 5);
    let bytes = content(3_000, 5);
    let id = cell.offer(KIND, &bytes, 100);
    cell.run_frames(20);
    cell.restart_sender();
    assert_eq!(cell.offer(KIND, &bytes, 100), id);
    cell.run_until(HOUR_MS);
    assert_eq!(cell.listeners[0].delivered.len(), 1);
    // And offered once more on purpose it is another one.
    assert_ne!(cell.offer(KIND, &bytes, 100), id);
    cell.run_until(2 * HOUR_MS);
    assert_eq!(cell.listeners[0].delivered.len(), 2);
}

#[test]
fn a_sender_that_lost_a_message_says_so_and_is_not_asked_every_few_seconds() {
    let mut cell = Cell::new(3, Faults::loss(0), 6);
    cell.offer(KIND, &content(3_000, 6), 100);
    cell.run_frames(20);
    cell.restart_sender();
    cell.run_until(HOUR_MS / 2);
    assert!((1..=6).contains(&cell.nacks), "{} questions", cell.nacks);
    assert!(
        cell.listeners.iter().all(|listener| listener.ear.poll_timeout() > Some(Mono::from_ms(HOUR_MS / 2)))
    );
}

/// Two listeners lack different fragments: one asks, the other hears it and keeps silent; as many parity
/// fragments as each lacks serve both, and nothing is sent twice.
#[test]
fn an_overheard_question_is_not_asked_and_a_repair_not_sent_again() {
    let mut cell = Cell::new(2, Faults::loss(0), 8);
    cell.offer(KIND, &content(900, 8), 100);
    let all = cell.fragments_to_go();
    for number in 0..all {
        cell.deaf = match number {
            2 | 5 => vec![0],
            3 | 7 => vec![1],
            _ => Vec::new(),
        };
        cell.run_frames(1);
    }
    cell.run_until(HOUR_MS);
    assert!(cell.listeners.iter().all(|listener| listener.delivered.len() == 1));
    assert_eq!((cell.fragments, cell.nacks), (all + 2, 1), "of {all}");
}

#[test]
fn late_repairs_and_copies_of_a_delivered_message_are_nothing_new() {
    let mut cell = Cell::new(1, Faults::loss(0), 9);
    cell.offer(KIND, &content(700, 9), 100);
    cell.run_until(HOUR_MS);
    for payload in cell.sent.clone() {
        let (channel, sender) = (cell.channel, cell.me);
        let again = cell.listeners[0].ear.fragment(Mono::from_ms(cell.now_ms), channel, sender, &payload);
        assert_eq!(again, Ok(Progress::Duplicate));
    }
    assert_eq!(cell.listeners[0].ear.assembler().open_messages(), 0);
}
