//! Our driver on an emulated Meshtastic radio, and that radio judged by the official client (PyPI meshtastic).
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]

mod emulated;

use data_encoding::HEXLOWER;
use emulated::air::Air;
use emulated::meshtastic::EmulatedMeshtastic;
use emulated::parts::{Program, client, python, quick};
use emulated::{PATIENCE, Station, both_until, frame};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tombolo_mesh::airtime::Modulation;
use tombolo_mesh::time::Millis;
use tombolo_mesh::wire::meshtastic::PAYLOAD_BYTES_MAX;
use tombolo_transports::radio::{BusyReason, RadioDownReason, RadioEvent};

const CLIENT: &str = "meshtastic==2.7.11";
const FRAMES: u16 = 8;

fn frames(from: u8) -> Vec<Vec<u8>> {
    (0..FRAMES).map(|number| frame(from, number, PAYLOAD_BYTES_MAX - 28 * usize::from(number))).collect()
}

fn official(python: &Path, at: &str) -> Program {
    let official = Program::start(Command::new(python).arg(client("meshtastic_client.py")).arg(at));
    let told = official.until("READY");
    assert!(told.contains(&"firmware 2.7.11.emulated".to_string()), "{told:?}");
    official
}

fn two() -> (EmulatedMeshtastic, EmulatedMeshtastic) {
    let air = Air::new();
    (EmulatedMeshtastic::start("ours", &air), EmulatedMeshtastic::start("theirs", &air))
}

#[tokio::test]
async fn the_official_client_accepts_our_emulated_radio() {
    if quick() {
        return;
    }
    let Some(python) = python(&[CLIENT]) else { return };
    let (ours, theirs) = two();
    let info = Command::new(&python)
        .args(["-m", "meshtastic", "--host", &ours.at.to_string(), "--info"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&info.stdout);
    assert!(info.status.success(), "{told}{}", String::from_utf8_lossy(&info.stderr));
    for part in ["Owner: ours", "far away", "SHORT_FAST", "EU_868", "2.7.11.emulated"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (mut a, mut b) = (official(&python, &ours.at.to_string()), official(&python, &theirs.at.to_string()));
    a.write("0102ff");
    a.until("queued");
    assert_eq!(b.line().as_deref(), Some("heard 70000001 0102ff"));
    b.write("70000001 07");
    assert_eq!(a.line().as_deref(), Some("heard 70000002 07"));
    assert!(b.until("routing").pop().unwrap().ends_with(" NONE"), "acknowledged");
    a.write(&"00".repeat(PAYLOAD_BYTES_MAX + 1));
    assert!(a.until("routing").pop().unwrap().ends_with(" TOO_LARGE"));
    ours.moods.lock().unwrap().duty_cycle_minutes = Some(12);
    a.write("00");
    assert!(a.until("notice").pop().unwrap().contains("in 12 mins"));
    assert!(a.until("routing").pop().unwrap().ends_with(" DUTY_CYCLE_LIMIT"));
}

#[tokio::test]
async fn our_driver_and_the_official_client_hear_each_other() {
    if quick() {
        return;
    }
    let Some(python) = python(&[CLIENT]) else { return };
    let (ours, theirs) = two();
    let mut station = Station::open(&format!("meshtastic+tcp://{}", ours.at));
    let mut official = official(&python, &theirs.at.to_string());
    station.up().await;
    station.outgoing.extend(frames(b'a'));
    let (mut heard, begun) = (vec![], Instant::now());
    while heard.len() < usize::from(FRAMES) {
        assert!(begun.elapsed() < PATIENCE, "{heard:?} {:?}", station.log);
        station.step(Duration::from_millis(50)).await;
        heard.extend(official.line_now());
    }
    let told = |bytes: &Vec<u8>| format!("heard 70000001 {}", HEXLOWER.encode(bytes));
    assert_eq!(heard, frames(b'a').iter().map(told).collect::<Vec<_>>());
    assert_eq!(station.count(|event| *event == RadioEvent::Sent), usize::from(FRAMES));
    assert_eq!(ours.moods.lock().unwrap().hops, [0; FRAMES as usize]);
    for bytes in frames(b'b') {
        official.write(&HEXLOWER.encode(&bytes));
        official.until("queued");
    }
    station.until("all heard", |station| station.heard.len() == usize::from(FRAMES)).await;
    assert_eq!(station.heard, frames(b'b'));
}

#[tokio::test]
async fn our_driver_on_both_says_what_the_radio_is_set_to() {
    let (ours, theirs) = two();
    let mut a = Station::open(&format!("meshtastic+tcp://{}?hops=3&channel=2", ours.at));
    let mut b = Station::open(&format!("meshtastic+tcp://{}?channel=2", theirs.at));
    let (frame_bytes_max, info) = a.up().await;
    b.up().await;
    assert_eq!((frame_bytes_max, info.name.as_deref()), (231, Some("ours")));
    assert_eq!((info.modulation, info.region.as_deref()), (Some(Modulation::SHORT_FAST), Some("EU_868")));
    assert_eq!(info.firmware.as_deref(), Some("2.7.11.emulated"));
    a.outgoing.extend(frames(b'a'));
    b.outgoing.extend(frames(b'b'));
    both_until("both ways", PATIENCE, (&mut a, &mut b), |a, b| {
        a.heard.len() + b.heard.len() == 2 * usize::from(FRAMES)
    })
    .await;
    assert_eq!((&a.heard, &b.heard), (&frames(b'b'), &frames(b'a')));
    assert_eq!(ours.moods.lock().unwrap().hops, [3; FRAMES as usize]);
}

#[tokio::test]
async fn each_refusal_of_the_radio_is_understood() {
    let (ours, theirs) = two();
    let mut a = Station::open(&format!("meshtastic+tcp://{}", ours.at));
    let mut b = Station::open(&format!("meshtastic+tcp://{}", theirs.at));
    a.up().await;
    b.up().await;

    ours.moods.lock().unwrap().payload_max = 219;
    a.outgoing.push_back(frame(b'a', 1, 225));
    a.until("too large", |a| a.log.contains(&RadioEvent::TooLarge { frame_bytes_max: 217 }) && a.ready).await;
    assert!(a.radio.send(vec![0; 218]).is_err());

    ours.moods.lock().unwrap().full = true;
    a.outgoing.push_back(frame(b'a', 2, 60));
    let busy = |event: &RadioEvent| matches!(event, RadioEvent::Busy { why: BusyReason::QueueFull, .. });
    a.until("busy", |a| a.count(busy) >= 2).await;
    ours.moods.lock().unwrap().full = false;
    both_until("sent after all", PATIENCE, (&mut a, &mut b), |a, b| a.ready && b.heard.len() == 1).await;
    assert_eq!(b.heard, [frame(b'a', 2, 60)]);

    ours.moods.lock().unwrap().duty_cycle_minutes = Some(12);
    a.outgoing.push_back(frame(b'a', 3, 60));
    let limited = RadioEvent::DutyCycle { wait: Millis::from_secs(12 * 60) };
    a.until("duty cycle", |a| a.log.contains(&limited)).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        a.step(Duration::from_millis(100)).await;
        assert!(!a.ready, "no frame is asked for while the radio may not send");
    }
}

#[tokio::test]
async fn a_radio_without_region_or_channel_is_told_as_that() {
    let (ours, theirs) = two();
    ours.moods.lock().unwrap().region = 0;
    let mut a = Station::open(&format!("meshtastic+tcp://{}", ours.at));
    let mut b = Station::open(&format!("meshtastic+tcp://{}?channel=5", theirs.at));
    a.until("no region", |a| a.log.contains(&RadioEvent::Down { why: RadioDownReason::NoRegion })).await;
    b.until("no channel", |b| b.log.contains(&RadioEvent::Down { why: RadioDownReason::NoChannel })).await;
    ours.moods.lock().unwrap().region = 3;
    a.up().await;
}

#[tokio::test]
async fn a_nearly_full_queue_is_waited_for() {
    if quick() {
        return;
    }
    let (ours, theirs) = two();
    // Slower than its preset: the computed airtime is too short, and the queue fills up.
    ours.moods.lock().unwrap().on_air = Duration::from_millis(700);
    let mut a = Station::open(&format!("meshtastic+tcp://{}", ours.at));
    let mut b = Station::open(&format!("meshtastic+tcp://{}", theirs.at));
    a.up().await;
    b.up().await;
    let many: Vec<_> = (0..24).map(|number| frame(b'a', number, 40)).collect();
    a.outgoing.extend(many.clone());
    both_until("all", Duration::from_secs(40), (&mut a, &mut b), |_, b| b.heard.len() == 24).await;
    assert_eq!(b.heard, many);
    assert_eq!(a.count(|event| matches!(event, RadioEvent::Busy { .. })), 0, "{:?}", a.log);
}
