//! Our driver on MeshCore companions: two complete nodes of another make (PyPI openhop-core), first with our driver on both, then with
//! the official client (PyPI meshcore) on one; and our emulated companion, judged by the official client.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]

mod emulated;

use data_encoding::HEXLOWER;
use emulated::air::Air;
use emulated::meshcore::EmulatedMeshcore;
use emulated::parts::{Program, client, lab, python, quick};
use emulated::{PATIENCE, Station, both_until, frame};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tombolo_mesh::wire::meshcore::{CHANNEL_SECRET, DATA_TYPE, PAYLOAD_BYTES};
use tombolo_transports::radio::{BusyReason, RadioDownReason, RadioEvent};

const CLIENT: &str = "meshcore==2.3.17";
const NODES: &str = "openhop-core==1.1.3";
const FRAMES: u16 = 10;

/// Two nodes of another make on a channel without loss, and where their companion ports are.
fn pair(python: &Path) -> (Program, Vec<String>) {
    let pair = Program::start(Command::new(python).arg(lab("meshcore-pair")).args(["--speed", "20"]));
    let told = pair.until("READY");
    let at = told.iter().filter_map(|line| line.split_once('=')).map(|(_, at)| at.to_string()).collect();
    (pair, at)
}

/// The official client at a port, with our channel set up.
fn official(python: &Path, at: &str) -> Program {
    let mut command = Command::new(python);
    command.arg(client("meshcore_client.py")).args([at, "1", &HEXLOWER.encode(&CHANNEL_SECRET)]);
    let official = Program::start(&mut command);
    official.until("READY");
    official
}

/// Frames of several lengths, up to the longest.
fn frames(from: u8) -> Vec<Vec<u8>> {
    (0..FRAMES).map(|number| frame(from, number, PAYLOAD_BYTES - 15 * usize::from(number % 8))).collect()
}

/// Ours to the official client, and back.
async fn talk(station: &mut Station, official: &mut Program) {
    let mut heard = vec![];
    station.outgoing.extend(frames(b'a'));
    let begun = Instant::now();
    while heard.len() < usize::from(FRAMES) {
        assert!(begun.elapsed() < PATIENCE, "{heard:?} {:?}", station.log);
        station.step(Duration::from_millis(50)).await;
        heard.extend(official.line_now());
    }
    let marked = |bytes: &Vec<u8>| format!("heard {DATA_TYPE:04x} {}", HEXLOWER.encode(bytes));
    assert_eq!(heard, frames(b'a').iter().map(marked).collect::<Vec<_>>());
    for bytes in frames(b'b') {
        official.write(&HEXLOWER.encode(&bytes));
        assert_eq!(official.line().as_deref(), Some("sent"));
    }
    station.until("all heard", |station| station.heard.len() == usize::from(FRAMES)).await;
    assert_eq!(station.heard, frames(b'b'));
}

#[tokio::test]
async fn our_driver_on_both_nodes_of_another_make() {
    if quick() {
        return;
    }
    let Some(python) = python(&[NODES, CLIENT]) else { return };
    let (_pair, at) = pair(&python);
    let mut a = Station::open(&format!("meshcore+tcp://{}?channel=1", at[0]));
    let mut b = Station::open(&format!("meshcore+tcp://{}?channel=1", at[1]));
    let (frame_bytes_max, info) = a.up().await;
    b.up().await;
    assert_eq!((frame_bytes_max, info.name.as_deref()), (PAYLOAD_BYTES, Some("node A")));
    assert_eq!(info.modulation.unwrap().spreading_factor, 10);
    let begun = Instant::now();
    // One way, then both at once: then the channel is busy at times, and a datagram may be lost like any.
    a.outgoing.extend(frames(b'a'));
    both_until("one way", PATIENCE, (&mut a, &mut b), |_, b| b.heard.len() == usize::from(FRAMES)).await;
    assert_eq!(b.heard, frames(b'a'));
    println!("totals: MeshCore, our driver on both: {FRAMES} frames, {:.1} s", begun.elapsed().as_secs_f64());
    let both = both_until("both ways", Duration::from_secs(60), (&mut a, &mut b), |a, b| {
        let next = |from, own: &Station, heard: &[Vec<u8>]| {
            let idle = own.outgoing.is_empty() && own.ready;
            frames(from).into_iter().find(|frame| idle && !heard.contains(frame))
        };
        a.outgoing.extend(next(b'c', a, &b.heard));
        b.outgoing.extend(next(b'd', b, &a.heard));
        let all = |from, station: &Station| frames(from).iter().all(|frame| station.heard.contains(frame));
        all(b'c', b) && all(b'd', a)
    });
    both.await;
}

#[tokio::test]
async fn our_driver_on_one_node_of_another_make_and_the_official_client_on_the_other() {
    if quick() {
        return;
    }
    let Some(python) = python(&[NODES, CLIENT]) else { return };
    let (_pair, at) = pair(&python);
    let mut station = Station::open(&format!("meshcore+tcp://{}?channel=1", at[0]));
    station.up().await;
    let mut official = official(&python, &at[1]);
    talk(&mut station, &mut official).await;
}

#[tokio::test]
async fn the_official_client_accepts_our_emulated_companion() {
    if quick() {
        return;
    }
    let Some(python) = python(&[NODES, CLIENT]) else { return };
    let air = Air::new();
    let (ours, theirs) = (EmulatedMeshcore::start("ours", &air), EmulatedMeshcore::start("theirs", &air));
    let mut station = Station::open(&format!("meshcore+tcp://{}", ours.at));
    station.up().await;
    let mut official = official(&python, &theirs.at.to_string());
    talk(&mut station, &mut official).await;
    theirs.moods.lock().unwrap().full = true;
    official.write("00");
    assert!(official.line().unwrap().starts_with("refused"), "a full queue is told to it as well");
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_a_mute_radio_left() {
    let air = Air::new();
    let (ours, theirs) = (EmulatedMeshcore::start("ours", &air), EmulatedMeshcore::start("theirs", &air));
    let mut a = Station::open(&format!("meshcore+tcp://{}?channel=3", ours.at));
    let mut b = Station::open(&format!("meshcore+tcp://{}?channel=2", theirs.at));
    a.up().await;
    b.up().await;
    ours.moods.lock().unwrap().full = true;
    a.outgoing.push_back(frame(b'a', 1, 40));
    let busy = |event: &RadioEvent| matches!(event, RadioEvent::Busy { why: BusyReason::QueueFull, .. });
    a.until("busy", |a| a.count(busy) >= 2).await;
    ours.moods.lock().unwrap().full = false;
    both_until("sent after all", PATIENCE, (&mut a, &mut b), |a, b| a.ready && b.heard.len() == 1).await;
    assert_eq!(b.heard, [frame(b'a', 1, 40)]);
    ours.moods.lock().unwrap().mute = true;
    b.outgoing.push_back(frame(b'b', 2, 40));
    let silent = RadioEvent::Down { why: RadioDownReason::Silent };
    both_until("down", PATIENCE, (&mut a, &mut b), |a, _| a.log.contains(&silent)).await;
    ours.moods.lock().unwrap().mute = false;
    a.until("up again", |a| a.count(|event| matches!(event, RadioEvent::Up { .. })) == 2).await;
}
