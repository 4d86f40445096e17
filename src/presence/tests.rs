//! The table of transitions, and what holds in any order of inputs.

use proptest::prelude::*;

use super::sighting::{FriendsVerdict, SIGHTINGS_MAX, Sighting, field, name};
use super::*;
use crate::time::Wall;

const PEER: PeerId = PeerId([7; 32]);
const RADIO: HeardOver = HeardOver { link: LinkId(1), medium: Medium::Mesh };
const LAN: HeardOver = HeardOver { link: LinkId(2), medium: Medium::Lan };
const START: Mono = Mono::from_ms(1_000_000);

fn at(seconds: u64) -> Mono {
    START + Millis::from_secs(seconds)
}

fn seen(book: &PresenceBook, seconds: u64) -> PeerPresence {
    book.presence(at(seconds), &PEER).expect("the peer was heard")
}

/// By radio, with a "next by" of 900 s: each second at which the word changes, and the second before.
#[test]
fn a_silent_peer_goes_from_word_to_word_at_its_own_times() {
    let mut book = PresenceBook::default();
    assert_eq!(book.presence(at(0), &PEER), None, "a peer that was never heard has no state");
    book.heard(at(0), PEER, RADIO, Some(Millis::from_secs(900)));
    let day = GONE_AFTER.ms() / 1000;
    let table = [
        (0, "here", None),
        (59, "here", None),
        (60, "quiet", Some(900)),
        (899, "quiet", Some(900)),
        (900, "overdue", Some(900)),
        (2_699, "overdue", Some(900)),
        (2_700, "link lost", Some(2_700)),
        (day - 1, "link lost", Some(2_700)),
        (day, "gone", Some(day)),
        (day * 9, "gone", Some(day)),
    ];
    for (second, word, instant) in table {
        let it = seen(&book, second);
        assert_eq!((it.state.word(), it.state.instant()), (word, instant.map(at)), "at {second} s");
        assert_eq!((it.silent_for, it.over), (Millis::from_secs(second), Some(RADIO)));
    }
    assert_eq!(seen(&book, 900).reason, PresenceReason::NextByMissed { within: Millis::from_secs(900) });
    assert_eq!(seen(&book, 2_700).reason, PresenceReason::ThreeMissed { within: Millis::from_secs(900) });
    assert_eq!(seen(&book, day).reason, PresenceReason::SilentFor { limit: GONE_AFTER });
    let changes: Vec<u64> = std::iter::successors(book.next_change(at(0)), |now| book.next_change(*now))
        .map(|at| at.since(START).ms() / 1000)
        .collect();
    assert_eq!(changes, [60, 900, 2_700, day]);
    book.heard(at(day * 9), PEER, RADIO, None);
    assert_eq!(seen(&book, day * 9).state, PresenceState::Here);
}

/// Any message counts as a heartbeat; the promise stays that of the last heartbeat.
#[test]
fn a_message_between_two_heartbeats_renews_the_promise() {
    let mut book = PresenceBook::default();
    book.heard(at(0), PEER, RADIO, None);
    assert_eq!(seen(&book, 61).state, PresenceState::Quiet { until: START + RADIO_NEXT_BY_FIRST });
    book.heard(at(10), PEER, RADIO, Some(Millis::from_secs(100)));
    book.heard(at(90), PEER, RADIO, None);
    assert_eq!(seen(&book, 189).state, PresenceState::Quiet { until: at(190) });
    assert_eq!(seen(&book, 190).state, PresenceState::Overdue { since: at(190) });
    // A time that a peer makes up is believed within limits only.
    book.heard(at(200), PEER, RADIO, Some(Millis::from_ms(u64::MAX)));
    assert_eq!(seen(&book, 200).next_within, NEXT_BY_MAX);
    book.heard(at(200), PEER, RADIO, Some(Millis::ZERO));
    assert_eq!(seen(&book, 200).next_within, NEXT_BY_MIN);
}

/// A session that is up is *here* while it keeps its times; one that closes is missed at its "next by", not before.
#[test]
fn a_session_is_here_until_its_next_by_and_one_that_closed_is_quiet_until_then() {
    let mut book = PresenceBook::default();
    book.session_up(at(0), PEER, LAN);
    book.heard(at(1), PEER, LAN, Some(Millis::from_secs(20)));
    assert_eq!(
        (seen(&book, 20).state, seen(&book, 20).reason),
        (PresenceState::Here, PresenceReason::SessionUp)
    );
    assert_eq!(seen(&book, 21).state, PresenceState::Overdue { since: at(21) });
    assert_eq!(seen(&book, 21).cause, None, "the session is up");
    book.session_down(at(10), &PEER, LAN.link);
    let quiet = seen(&book, 20);
    assert_eq!(quiet.state, PresenceState::Quiet { until: at(21) });
    assert_eq!(quiet.cause, Some(SilenceCause::SessionClosed { at: at(10) }));
    assert_eq!(seen(&book, 61).state.word(), "link lost");
    let again = HeardOver { link: LinkId(9), ..LAN };
    book.session_up(at(70), PEER, again);
    assert_eq!((seen(&book, 70).state, seen(&book, 70).over), (PresenceState::Here, Some(again)));
    assert!(book.presence_on(at(70), &PEER, LAN.link).is_none(), "the closed session is forgotten");
}

/// The radio hears a peer whose session is lost; the peer's own radio is heard no better by this node's radio that is down.
#[test]
fn the_best_link_speaks_for_the_peer_and_an_own_radio_that_is_down_is_named() {
    let mut book = PresenceBook::default();
    book.session_up(at(0), PEER, LAN);
    book.heard(at(0), PEER, RADIO, Some(Millis::from_secs(900)));
    book.session_down(at(5), &PEER, LAN.link);
    assert_eq!(seen(&book, 500).over, Some(RADIO));
    assert_eq!(seen(&book, 500).state, PresenceState::Quiet { until: at(900) });
    assert_eq!(book.presence_on(at(500), &PEER, LAN.link).map(|it| it.state.word()), Some("link lost"));
    book.radio_down(at(600), RADIO.link);
    book.radio_down(at(700), RADIO.link);
    let down = Some(SilenceCause::OwnRadioDown { since: at(600) });
    assert_eq!((seen(&book, 1_000).state.word(), seen(&book, 1_000).cause), ("overdue", down));
    book.radio_up(RADIO.link);
    let closed = Some(SilenceCause::SessionClosed { at: at(5) });
    assert_eq!(seen(&book, 1_000).cause, closed, "the session was there after the last frame");
}

#[test]
fn what_the_disk_knows_counts_until_the_peer_is_heard() {
    let mut book = PresenceBook::default();
    book.heard_before_start(at(0), PEER, Millis::from_secs(3_600));
    let quiet = seen(&book, 0);
    assert_eq!(quiet.state, PresenceState::Quiet { until: START + RADIO_NEXT_BY_FIRST });
    assert_eq!((quiet.cause, quiet.over), (Some(SilenceCause::NotSinceStart), None));
    assert_eq!(quiet.silent_for, Millis::from_secs(3_600));
    assert_eq!(
        seen(&book, 23 * 3_600).state.word(),
        "gone",
        "a day without the peer, the hour before the start included"
    );
    book.heard(at(30), PEER, RADIO, None);
    assert_eq!(seen(&book, 30).state, PresenceState::Here);
    book.heard_before_start(at(0), PeerId([8; 32]), GONE_AFTER);
    assert_eq!(book.presence(at(0), &PeerId([8; 32])).map(|it| it.state.word()), Some("gone"));
}

/// What a watch reads: each step down and each return once, *here* and *quiet* as one.
#[test]
fn changes_are_handed_out_once_each_and_name_both_states() {
    let mut book = PresenceBook::default();
    book.heard(at(0), PEER, RADIO, Some(Millis::from_secs(900)));
    let words = |book: &mut PresenceBook, second| -> Vec<(Option<&str>, &str)> {
        let changes = book.take_changes(at(second));
        changes.iter().map(|it| (it.before.map(PresenceState::word), it.now.state.word())).collect()
    };
    assert_eq!(words(&mut book, 0), [(None, "here")]);
    assert_eq!(words(&mut book, 100), []);
    assert_eq!(words(&mut book, 900), [(Some("quiet"), "overdue")]);
    assert_eq!(words(&mut book, 901), []);
    assert_eq!(words(&mut book, 2_700), [(Some("overdue"), "link lost")]);
    book.heard(at(2_800), PEER, RADIO, None);
    assert_eq!(words(&mut book, 2_800), [(Some("link lost"), "here")]);
    book.forget(&PEER);
    assert_eq!(words(&mut book, 99_999), []);
}

#[test]
fn the_latest_proof_that_a_peer_hears_this_node_counts() {
    let mut book = PresenceBook::default();
    let proof = |second, proof| HearsUs { at: at(second), medium: Medium::Mesh, proof };
    assert_eq!(book.hears_us(&PEER), None);
    book.hears(PEER, proof(50, HearsUsProof::Acknowledged));
    book.hears(PEER, proof(40, HearsUsProof::Heartbeat));
    assert_eq!(book.hears_us(&PEER), Some(proof(50, HearsUsProof::Acknowledged)));
    book.hears(PEER, proof(60, HearsUsProof::SignedState));
    assert_eq!(book.hears_us(&PEER), Some(proof(60, HearsUsProof::SignedState)));
    assert_eq!(book.presence(at(60), &PEER), None, "what others prove is no sign of life");
}

#[derive(Clone, Debug)]
enum Happening {
    Heard(u64, Option<u64>),
    SessionUp(u64),
    SessionDown(u64),
    RadioDown,
    RadioUp,
    Before(u64),
    Forget,
}

fn happening() -> impl Strategy<Value = Happening> {
    let next_by = proptest::option::of(prop_oneof![0..4_000_000_u64, Just(u64::MAX)]);
    prop_oneof![
        4 => (1..6_u64, next_by).prop_map(|(link, next_by)| Happening::Heard(link, next_by)),
        2 => (2..6_u64).prop_map(Happening::SessionUp),
        2 => (2..6_u64).prop_map(Happening::SessionDown),
        1 => Just(Happening::RadioDown),
        1 => Just(Happening::RadioUp),
        1 => (0..200_000_000_u64).prop_map(Happening::Before),
        1 => Just(Happening::Forget),
    ]
}

fn over(link: u64) -> HeardOver {
    let medium = match link {
        1 => Medium::Mesh,
        2 | 3 => Medium::Lan,
        _ => Medium::Tor,
    };
    HeardOver { link: LinkId(link), medium }
}

/// Whether the clock and the inputs bear a conclusion out.
fn is_reasoned(it: &PeerPresence, now: Mono) -> bool {
    match (it.state, it.reason) {
        (PresenceState::Here, PresenceReason::SessionUp | PresenceReason::JustHeard) => {
            it.cause.is_none() && it.silent_for < it.next_within
        }
        (PresenceState::Quiet { until }, PresenceReason::NextByAhead) => now < until,
        (PresenceState::Overdue { since }, PresenceReason::NextByMissed { within }) => {
            since <= now && it.silent_for >= within
        }
        (PresenceState::LinkLost { since }, PresenceReason::ThreeMissed { within }) => {
            since <= now && it.silent_for >= within * MISSED_MAX
        }
        (PresenceState::Gone { since }, PresenceReason::SilentFor { limit }) => {
            since <= now && it.silent_for >= limit
        }
        _ => false,
    }
}

proptest! {
    /// In any order of inputs and at any time, also one that stands still or runs back: a conclusion has the reason that fits
    /// it; it becomes worse only as time passes, one word after the other, or because a session has closed, which it then
    /// names; and where nothing happens, the word changes exactly when `next_change` had named.
    #[test]
    fn a_state_becomes_worse_by_time_or_a_named_cause_alone(
        steps in proptest::collection::vec((happening(), prop_oneof![0..30_000_u64, 0..90_000_000_u64]), 1..40),
    ) {
        let (mut book, mut now) = (PresenceBook::default(), START);
        for (happening, wait) in steps {
            let before = book.presence(now, &PEER);
            match happening.clone() {
                Happening::Heard(link, next_by) => book.heard(now, PEER, over(link), next_by.map(Millis::from_ms)),
                Happening::SessionUp(link) => book.session_up(now, PEER, over(link)),
                Happening::SessionDown(link) => book.session_down(now, &PEER, LinkId(link)),
                Happening::RadioDown => book.radio_down(now, LinkId(1)),
                Happening::RadioUp => book.radio_up(LinkId(1)),
                Happening::Before(ago) => book.heard_before_start(now, PEER, Millis::from_ms(ago)),
                Happening::Forget => book.forget(&PEER),
            }
            let after = book.presence(now, &PEER);
            if let Some(after) = &after {
                prop_assert!(is_reasoned(after, now), "{after:?}");
            }
            if let (Some(before), Some(after)) = (&before, &after) {
                let is_worse = after.state.rank() > before.state.rank();
                let named = match after.cause {
                    Some(SilenceCause::SessionClosed { at }) => at == now,
                    Some(SilenceCause::NotSinceStart) => matches!(happening, Happening::Before(_)),
                    // The session that closed was heard of late; the radio that would speak now is down.
                    Some(SilenceCause::OwnRadioDown { .. }) => matches!(happening, Happening::SessionDown(_)),
                    None => false,
                };
                let shortened = matches!(happening, Happening::Heard(_, Some(_)));
                prop_assert!(!is_worse || named || shortened, "{happening:?}: {before:?} became {after:?}");
            }
            // Changes are handed out as they happen, driven by `poll_timeout` alone.
            let shown = book.take_changes(now);
            prop_assert!(shown.iter().all(|it| Some(it.now) == after));
            prop_assert!(book.next_change(now).is_none_or(|next| book.poll_timeout().is_some_and(|due| due <= next)));
            // Then only time passes.
            let end = now + Millis::from_ms(wait);
            while now < end {
                let word = book.presence(now, &PEER).map(|it| it.state.rank());
                let next = book.next_change(now).unwrap_or(Mono::NEVER).min(end);
                let just_before = book.presence(next - Millis::from_ms(1), &PEER).map(|it| it.state.rank());
                prop_assert_eq!(word, just_before, "the word changed before {:?}", next);
                prop_assert!(book.presence(next, &PEER).map(|it| it.state.rank()) >= word, "time made it better");
                now = next;
            }
        }
        book.heard(START - Millis::from_secs(1), PEER, RADIO, None);
        prop_assert!(book.presence(Mono::ZERO, &PEER).is_some() && book.presence(Mono::NEVER, &PEER).is_some());
    }

    #[test]
    fn every_number_is_a_sighting_and_keeps_its_meaning(code in any::<u64>(), wall in 0..4_000_000_000_000_u64) {
        let read = Sighting::from_code(code);
        prop_assert_eq!(Sighting::from_code(read.code()), read);
        let heard = Wall::from_ms(wall);
        if let Sighting::Lost { heard: shown } = Sighting::from_code(Sighting::Lost { heard }.code()) {
            prop_assert!(shown <= heard.max(shown) && heard.since(shown) < Millis::from_secs(600) || heard < shown);
        }
    }
}

#[test]
fn readers_recognise_the_peers_that_they_know_and_no_others() {
    let (salt, a, b) = ([3; 16], PeerId([1; 32]), PeerId([2; 32]));
    let lost = Sighting::Lost { heard: Wall::from_ms(1_790_000_000_000) };
    let field = field(&salt, [(a, Sighting::Hears(Medium::Lan)), (b, lost)]);
    assert_eq!(field.len(), 2);
    assert_eq!(field.get(&name(&salt, &a)), Some(&1));
    assert_eq!(field.get(&name(&salt, &PeerId([9; 32]))), None);
    assert_ne!(name(&salt, &a), name(&[4; 16], &a), "another author has other names");
    assert!(field.keys().all(|name| name.len() == 4));
}

#[test]
fn a_state_names_a_limited_number_of_peers_and_those_that_are_lost_first() {
    let lost = Sighting::Lost { heard: Wall::from_ms(1_790_000_000_000) };
    let peers =
        (0..200_u8).map(|n| (PeerId([n; 32]), if n % 4 == 0 { lost } else { Sighting::Hears(Medium::Mesh) }));
    let field = field(&[1; 16], peers);
    assert_eq!(field.len(), SIGHTINGS_MAX);
    assert_eq!(field.values().filter(|code| **code > 3).count(), 50);
}

#[test]
fn several_nodes_give_one_verdict() {
    let lost = |minutes: u64| Sighting::Lost { heard: Wall::from_ms(1_790_000_000_000 + minutes * 60_000) };
    assert_eq!(FriendsVerdict::of([]), None);
    let verdict = FriendsVerdict::of([lost(10), lost(30), Sighting::Hears(Medium::Mesh), lost(20)]).unwrap();
    assert_eq!((verdict.friends, verdict.missing), (4, 3));
    assert_eq!(verdict.last_heard, Some(Wall::from_ms(1_790_000_000_000 + 30 * 60_000)));
    assert_eq!(verdict.heard_over, Some(Medium::Mesh));
}
