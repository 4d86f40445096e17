//! Our driver on two real Dire Wolf TNCs that share one air: modems, carrier sense, collisions, echo and bit errors are theirs.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]
#![cfg(target_os = "linux")]

mod emulated;

use emulated::parts::{Direwolf, quick, ran_in_namespace};
use emulated::{Station, both_until, frame};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use tombolo_transports::radio::RadioEvent;

/// How many frames are sent in each direction.
const FRAMES: u16 = 10;
const BYTES: usize = 100;

fn all(from: u8) -> Vec<Vec<u8>> {
    (0..FRAMES).map(|number| frame(from, number, BYTES)).collect()
}

/// Hands over what the other has not heard, again and again, until both have heard all.
async fn deliver(what: &str, wait: Duration, a: &mut Station, b: &mut Station) {
    let begun = Instant::now();
    let mut rounds = 0;
    let missing = |from: u8, heard: &[Vec<u8>]| -> VecDeque<Vec<u8>> {
        all(from).into_iter().filter(|frame| !heard.contains(frame)).collect()
    };
    while !(missing(b'a', &b.heard).is_empty() && missing(b'b', &a.heard).is_empty()) {
        assert!(begun.elapsed() < wait, "{what}: {} and {} heard", a.heard.len(), b.heard.len());
        rounds += 1;
        a.outgoing = missing(b'a', &b.heard);
        b.outgoing = missing(b'b', &a.heard);
        let silent_since = |a: &Station, b: &Station| (a.heard.len(), b.heard.len());
        let (mut last, mut at) = (silent_since(a, b), Instant::now());
        both_until(what, wait, (a, b), |a, b| {
            if silent_since(a, b) != last {
                (last, at) = (silent_since(a, b), Instant::now());
            }
            let done = missing(b'a', &b.heard).is_empty() && missing(b'b', &a.heard).is_empty();
            let sent = a.outgoing.is_empty() && b.outgoing.is_empty() && a.ready && b.ready;
            done || (sent && at.elapsed() > Duration::from_secs(2))
        })
        .await;
    }
    println!(
        "totals: {what}: {FRAMES} frames each way in {rounds} rounds, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}

fn only_from(from: u8, heard: &[Vec<u8>]) {
    let want: BTreeSet<_> = all(from).into_iter().collect();
    assert!(heard.iter().all(|frame| want.contains(frame)), "an echo, a foreign or a damaged frame");
}

#[tokio::test]
async fn bare_frames_cross_the_air_both_ways_and_no_echo_comes_back() {
    if quick() || ran_in_namespace("bare_frames_cross_the_air_both_ways_and_no_echo_comes_back") {
        return;
    }
    let Some(pair) = Direwolf::start(&[]) else { return };
    let mut a = Station::open(&format!("kiss+tcp://{}?bitrate=9600", pair.kiss[0]));
    let mut b = Station::open(&format!("kiss+tcp://{}?bitrate=9600", pair.kiss[1]));
    deliver("clean", Duration::from_secs(40), &mut a, &mut b).await;
    only_from(b'a', &b.heard);
    only_from(b'b', &a.heard);
}

#[tokio::test]
async fn frames_with_call_signs_arrive_in_the_end_through_bit_errors() {
    if quick() || ran_in_namespace("frames_with_call_signs_arrive_in_the_end_through_bit_errors") {
        return;
    }
    let Some(pair) = Direwolf::start(&[("DW_BER", "2e-3")]) else { return };
    let url = |i: usize| format!("kiss+tcp://{}?bitrate=9600&call=N0CALL-{i}", pair.kiss[i]);
    let (mut a, mut b) = (Station::open(&url(0)), Station::open(&url(1)));
    deliver("bit errors", Duration::from_secs(60), &mut a, &mut b).await;
    only_from(b'a', &b.heard);
    only_from(b'b', &a.heard);
}

#[tokio::test]
async fn a_tnc_that_was_killed_is_found_again() {
    if quick() || ran_in_namespace("a_tnc_that_was_killed_is_found_again") {
        return;
    }
    let Some(pair) = Direwolf::start(&[]) else { return };
    let mut a = Station::open(&format!("kiss+tcp://{}?bitrate=9600", pair.kiss[0]));
    let mut b = Station::open(&format!("kiss+tcp://{}?bitrate=9600", pair.kiss[1]));
    a.up().await;
    b.up().await;
    pair.command(&["kill", "0"]);
    a.until("down", |a| a.count(|event| matches!(event, RadioEvent::Down { .. })) > 0).await;
    pair.command(&["restart", "0"]);
    a.until("up again", |a| a.count(|event| matches!(event, RadioEvent::Up { .. })) == 2).await;
    deliver("after a restart", Duration::from_secs(40), &mut a, &mut b).await;
}
