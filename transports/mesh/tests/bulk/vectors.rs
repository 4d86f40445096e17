//! Bytes that must not change: those of `FORMAT.md`.

use crate::cell::peer;
use tombolo_mesh::bulk::fragment::{MemoryLimits, OutFragment, OutMessage, Sender, SenderLimits};
use tombolo_mesh::bulk::repair::Listener;
use tombolo_mesh::time::{Millis, Mono};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sent(bytes: &[u8], payload_max: usize, loss_permille: u16) -> Vec<OutFragment> {
    let mut sender = Sender::new(peer(0xaa), SenderLimits::default(), Millis::from_ms(500));
    let channel = peer(1);
    let message = OutMessage { channel, kind: 9, bytes, fragment_payload_max: payload_max, loss_permille };
    sender.offer(Mono::ZERO, message).unwrap();
    std::iter::from_fn(|| sender.next_fragment(Mono::ZERO)).collect()
}

#[test]
fn fragments_parity_and_a_nack_have_the_bytes_of_the_format() {
    let out = sent(b"the sand holds when the tide is out", 20, 300);
    let lines: Vec<String> = out.iter().map(|fragment| hex(&fragment.payload)).collect();
    println!("{lines:#?}");
    assert_eq!(lines, FRAGMENTS);
    let mut listener = Listener::new(MemoryLimits::default(), Millis::from_ms(500), 1);
    listener.fragment(Mono::ZERO, peer(1), peer(0xaa), &out[1].payload).unwrap();
    let nack = listener.poll_nack(Mono::from_ms(60_000), 36).unwrap();
    assert_eq!(hex(&nack.payload), NACK);
}

#[test]
fn a_long_message_has_the_header_of_the_format() {
    let out = sent(&[0x5a; 2_100], 36, 0);
    assert_eq!(out.len(), 71);
    let heads: Vec<String> = out.iter().take(3).map(|fragment| hex(&fragment.payload[..8])).collect();
    println!("{heads:#?}");
    assert_eq!(heads, LONG_HEADS);
    let mut listener = Listener::new(MemoryLimits::default(), Millis::from_ms(500), 1);
    listener.fragment(Mono::ZERO, peer(1), peer(0xaa), &out[0].payload).unwrap();
    assert_eq!(hex(&listener.poll_nack(Mono::from_ms(600_000), 9).unwrap().payload), LONG_NACK);
}

const FRAGMENTS: [&str; 4] = [
    "b48c020090017468652073616e6420686f6c",
    "b48c02016473207768656e20746865207469",
    "b48c02026465206973206f75743fa54fda00",
    "b48c020380d267f2ec52e8b2ac9704c254e2",
];
const NACK: &str = "aab48c4005";
const LONG_HEADS: [&str; 3] = ["65b1804600009018", "65b1804601005a5a", "65b1804600015a5a"];
const LONG_NACK: &str = "aa65b100230123";
