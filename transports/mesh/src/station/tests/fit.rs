//! Lines on which long frames do not arrive.

use super::*;
use crate::time::Mono;

/// What arrives of these on a line that loses whatever is longer.
fn short_ones(sent: Vec<Vec<u8>>, bytes_max: usize) -> Vec<Vec<u8>> {
    sent.into_iter().filter(|frame| frame.len() <= bytes_max).collect()
}

fn give(station: &mut Station, now_ms: u64, bytes: &[u8]) {
    let outgoing = Outgoing {
        channel: peer(1),
        kind: message(6),
        bytes: bytes.to_vec(),
        priority: Priority::State,
        account: Account(7),
        previous_key: false,
    };
    station.send(Mono::from_ms(now_ms), outgoing).unwrap();
}

#[test]
fn what_never_arrives_in_long_frames_arrives_in_short_ones() {
    for (length, arrives) in [(200, 130), (200, 70), (230, 130), (3_000, 130), (3_000, 64)] {
        let mut a = station(1, &[1, 2], 10, StationRecords::default());
        let mut b = station(2, &[1, 2], 11, StationRecords::default());
        let bytes = vec![b'x'; length];
        let (mut now_ms, mut given, mut whole) = (0, 0, false);
        while !whole && given < 20 {
            // The layer above sees that it is lacking, and hands it over again.
            give(&mut a, now_ms, &bytes);
            given += 1;
            let until_ms = now_ms + 60_000;
            while now_ms < until_ms {
                let sent = short_ones(frames(&mut a, now_ms), arrives);
                whole |= !texts(&hear(&mut b, now_ms, &sent)).is_empty();
                let back = short_ones(frames(&mut b, now_ms), arrives);
                hear(&mut a, now_ms, &back);
                now_ms += 500;
            }
        }
        assert!(whole, "{length} bytes where {arrives} arrive: {given} times");
        assert!(a.longest_frame_bytes() <= arrives.max(64));
        println!("{length} bytes where {arrives} arrive: handed over {given} times");
    }
}

#[test]
fn where_long_frames_arrive_they_stay_long() {
    let mut a = station(1, &[1, 2], 10, StationRecords::default());
    let mut b = station(2, &[1, 2], 11, StationRecords::default());
    for n in 0..60_u64 {
        give(&mut a, n * 60_000, format!("{n:0>600}").as_bytes());
        let sent = frames(&mut a, n * 60_000);
        assert!(!texts(&hear(&mut b, n * 60_000, &sent)).is_empty());
    }
    assert_eq!(a.longest_frame_bytes(), 255);
}
