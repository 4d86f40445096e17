//! Long messages while the audience's key is renewed.

use super::*;
use crate::time::{Millis, Mono};

fn renewed(epoch: u32) -> AudienceKey {
    AudienceKey { epoch, key: [0x90 + epoch as u8; 16] }
}

fn both() -> BTreeSet<PeerId> {
    [peer(1), peer(2)].into()
}

/// A speaks in its own audience, B listens; everything but the third frame of A is heard.
fn half_heard(words: &str) -> (Station, Station) {
    let (mut a, mut b) =
        (station(1, &[1, 2], 10, Default::default()), station(2, &[1, 2], 11, Default::default()));
    say(&mut a, 0, 1, words.as_bytes());
    let mut sent = frames(&mut a, 0);
    sent.remove(2);
    assert!(texts(&hear(&mut b, 0, &sent)).is_empty());
    (a, b)
}

/// Both speak when they want to, until an hour is over; what `b` then has heard whole.
fn talk(a: &mut Station, b: &mut Station) -> Vec<String> {
    let mut heard = Vec::new();
    for now in (1_000..3_600_000).step_by(1_000) {
        let there = frames(a, now);
        heard.extend(texts(&hear(b, now, &there)));
        let back = frames(b, now);
        hear(a, now, &back);
    }
    heard
}

/// Either side shows how far a long message is, whose frames they are, and which account pays.
#[test]
fn a_long_message_shows_how_far_it_is() {
    let mut a = station(1, &[1, 2], 10, Default::default());
    let mut b = station(2, &[1, 2], 11, Default::default());
    say(&mut a, 0, 1, long().as_bytes());
    let ours = a.transfers()[0];
    assert_eq!((ours.from, ours.channel, ours.frames_to_go), (None, peer(1), ours.frames));
    assert!(ours.frames > 3 && ours.airtime_us >= ours.frames as u64 * a.airtime_us(100), "{ours:?}");
    let mut sent = Vec::new();
    let mut charges = Vec::new();
    loop {
        record(&mut a);
        match a.transmit(at(0)) {
            Transmit::Frame { frame, charge } => {
                sent.push(frame);
                charges.push(charge);
            }
            Transmit::NeedsRecord => {}
            Transmit::Idle => break,
        }
    }
    assert!(a.transfers().is_empty(), "all is out");
    assert!(
        charges.last().is_some_and(|charge| Some(charge.account) == ours.account && charge.airtime_us > 0)
    );
    hear(&mut b, 0, &sent[..2]);
    assert_eq!(b.receive(Mono::ZERO, &sent[2]).from, Some(peer(1)));
    let theirs = b.transfers()[0];
    // The first frame was the announcement.
    assert_eq!((theirs.from, theirs.frames - theirs.frames_to_go), (Some(peer(1)), 2), "{theirs:?}");
    assert_eq!(b.receive(Mono::ZERO, &[0x50; 30]).from, None, "of no member");
    hear(&mut b, 0, &sent[3..]);
    assert!(b.transfers().is_empty(), "it is whole");
}

fn long() -> String {
    (0..300).map(|number| format!("{number} ")).collect()
}

#[test]
fn a_repair_goes_under_the_key_that_its_message_was_first_sent_under() {
    let (mut a, mut b) = half_heard(&long());
    a.set_channel(peer(1), renewed(2), Some(audience(1, 1)), both()).unwrap();
    // B does not have the new key: it asks, and must be answered, under the old one.
    assert_eq!(talk(&mut a, &mut b), [long()]);
}

#[test]
fn a_message_whose_key_is_gone_is_forgotten() {
    let (mut a, mut b) = half_heard(&long());
    a.set_channel(peer(1), renewed(2), Some(audience(1, 1)), both()).unwrap();
    assert!(a.sender.held_bytes() > long().len());
    a.set_channel(peer(1), renewed(3), Some(renewed(2)), both()).unwrap();
    assert_eq!((a.sender.held_bytes(), a.outbox.metas.len()), (0, 0));
    assert!(talk(&mut a, &mut b).is_empty());
    assert_eq!((a.frames_waiting(), a.poll_timeout(Mono::from_ms(3_600_000))), (0, None));
}

#[test]
fn what_was_not_begun_before_the_renewal_goes_under_the_new_key() {
    let mut a = station(1, &[1, 2], 10, Default::default());
    let mut b = station(2, &[1, 2], 11, Default::default());
    say(&mut a, 0, 1, long().as_bytes());
    say(&mut a, 0, 1, b"short");
    a.set_channel(peer(1), renewed(2), Some(audience(1, 1)), both()).unwrap();
    let sent = frames(&mut a, 0);
    // B has the old key alone, and nothing was sent under it.
    assert!(hear(&mut b, 0, &sent[1..]).iter().all(|heard| *heard == Ok(Received::Foreign)));
}

#[test]
fn who_does_not_have_the_new_key_yet_is_asked_under_the_old_one() {
    let (mut a, mut b) = half_heard(&long());
    b.set_channel(peer(1), renewed(2), Some(audience(1, 1)), both()).unwrap();
    assert_eq!(talk(&mut a, &mut b), [long()]);
}

#[test]
fn a_message_offered_for_those_behind_while_it_is_sent_goes_on_under_the_old_key() {
    let mut a = station(1, &[1, 2], 10, Default::default());
    let mut b = station(2, &[1, 2], 11, Default::default());
    a.set_channel(peer(1), renewed(2), Some(audience(1, 1)), both()).unwrap();
    say(&mut a, 0, 1, long().as_bytes());
    let outgoing = Outgoing {
        channel: peer(1),
        kind: message(5),
        bytes: long().into_bytes(),
        priority: Priority::State,
        account: Account(7),
        previous_key: true,
    };
    assert!(matches!(a.send(Mono::ZERO, outgoing), Ok(Sent::Fragments(_))));
    assert_eq!(talk(&mut a, &mut b), [long()]);
}

#[test]
fn that_a_message_is_there_no_more_is_said_as_soon_as_it_is_asked_for() {
    let (mut a, mut b) = half_heard(&long());
    let message = a.outbox.metas[0].0;
    assert!(a.forget(message));
    record(&mut a);
    assert_eq!(a.poll_timeout(Mono::from_ms(1_000)), None);
    let due = b.poll_timeout(Mono::from_ms(1_000)).unwrap().max(Mono::from_ms(60_000));
    let question = frames(&mut b, due.ms());
    assert_eq!(hear(&mut a, due.ms(), &question).last(), Some(&Ok(Received::Nack)));
    record(&mut a);
    let wake = a.poll_timeout(due).unwrap();
    assert_eq!(wake, due + Millis::from_ms(1));
    let said = frames(&mut a, wake.ms());
    assert_eq!(hear(&mut b, wake.ms(), &said), [Ok(Received::Nack)]);
    assert_eq!(a.poll_timeout(wake), None);
}
