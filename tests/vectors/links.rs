//! What stands around messages: the stream of a link, long messages and their parity, counters of frames, and one frame as
//! each kind of radio takes it.

use super::rules::case;
use super::{check, hex};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use tombolo_mesh::PeerId;
use tombolo_mesh::bulk::fragment::{OutMessage, Sender, SenderLimits};
use tombolo_mesh::bulk::parity::{parity, restore};
use tombolo_mesh::frame::Track;
use tombolo_mesh::time::{Millis, Mono};
use tombolo_mesh::wire::ax25::{DESTINATION, UiFrame};
use tombolo_mesh::wire::kiss::{Event as KissEvent, KissCommand, KissDecoder};
use tombolo_mesh::wire::meshcore::MeshcoreCommand;
use tombolo_mesh::wire::meshtastic::MeshtasticCommand;
use tombolo_transports::lan::mdns::SaltedHint;
use tombolo_transports::stream::{Frame, FrameDecoder, FrameError, Hello, Turns};

/// The frames of a stream that has them whole.
fn frames(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().transpose()).collect()
}

fn stream(about: &str, list: &[Frame]) -> Json {
    let mut bytes = Vec::new();
    list.iter().for_each(|frame| frame.encode(&mut bytes));
    assert_eq!(frames(&bytes).unwrap(), list, "{about}");
    let pairs: Vec<Json> = list
        .iter()
        .map(|frame| {
            let mut one = Vec::new();
            frame.encode(&mut one);
            json!([one[0], hex(&one[4..])])
        })
        .collect();
    json!({ "about": about, "hex": hex(bytes), "frames": pairs })
}

fn streams() -> Json {
    let hello = |version, message_bytes_max| {
        Frame::Hello(Hello { version, boot: [0, 1, 2, 3, 4, 5, 6, 7], message_bytes_max })
    };
    let message = |bytes: &[u8]| Frame::Message(bytes.to_vec());
    let start = [hello(1, 1 << 20), Frame::Chosen, message(b"tide"), Frame::Ping, Frame::Pong];
    let longer =
        [&[0x01, 0x00, 0x00, 0x10][..], &[1, 0, 1, 2, 3, 4, 5, 6, 7, 0, 16, 0, 0, 0xaa, 0xbb, 0xcc]].concat();
    assert_eq!(frames(&longer).unwrap(), [hello(1, 1 << 20)]);
    let refused = [
        ("a kind of a later version", vec![5, 0, 0, 0]),
        ("a message of 1 MiB and a byte", vec![0, 0x10, 0, 1]),
        ("a hello of 12 bytes", [&[1, 0, 0, 12][..], &[1; 12]].concat()),
        ("a hello of 65 bytes", [&[1, 0, 0, 65][..], &[1; 65]].concat()),
        ("a hello of version 0", [&[1, 0, 0, 13, 0][..], &[1; 12]].concat()),
        ("a chosen with content", vec![2, 0, 0, 1, 0]),
        ("a ping with content", vec![3, 0, 0, 1, 0]),
        ("a pong of 16 MiB", vec![4, 0xff, 0xff, 0xff]),
    ];
    let refused = refused.map(|(about, bytes)| {
        assert!(frames(&bytes).is_err(), "{about}");
        json!({ "about": about, "hex": hex(bytes) })
    });
    json!({
        "accepted": [
            stream("hello, chosen, a message, ping, pong", &start),
            stream("an empty message", &[message(b"")]),
            stream("a hello of a later version that takes short messages only", &[hello(7, 1200)]),
            { "about": "a hello with bytes of a later version", "hex": hex(&longer), "frames": [[1, hex(&longer[4..])]] },
        ],
        "refused": refused,
    })
}

/// Whether the frames of one end come in their turn.
pub(super) fn in_turn(bytes: &[u8], chooses: bool) -> bool {
    let mut turns = Turns::of(chooses);
    frames(bytes).is_ok_and(|frames| frames.iter().all(|frame| turns.take(frame).is_ok()))
}

fn turns(why: &str, from: &str, frames: &[Frame]) -> Json {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    case("L2", "frames of one end", why, json!({ "from": from, "hex": hex(bytes) }))
}

fn hello() -> Frame {
    Frame::Hello(Hello { version: 1, boot: [0, 1, 2, 3, 4, 5, 6, 7], message_bytes_max: 1 << 20 })
}

const LOWER: &str = "the lower key";
const HIGHER: &str = "the higher key";

pub(super) fn turns_accepted() -> Vec<Json> {
    let message = || Frame::Message(b"tide".to_vec());
    vec![
        turns("hello, chosen, then any", LOWER, &[hello(), Frame::Chosen, message(), Frame::Pong, message()]),
        turns("hello, then any", HIGHER, &[hello(), message(), Frame::Ping]),
    ]
}

pub(super) fn turns_refused() -> Vec<Json> {
    let message = || Frame::Message(b"tide".to_vec());
    vec![
        turns("a message before the hello", HIGHER, &[message(), hello()]),
        turns("chosen before the hello", LOWER, &[Frame::Chosen, hello()]),
        turns("a second hello", HIGHER, &[hello(), hello()]),
        turns("a second hello behind chosen", LOWER, &[hello(), Frame::Chosen, hello()]),
        turns("a message before chosen", LOWER, &[hello(), message(), Frame::Chosen]),
        turns("a pong before chosen", LOWER, &[hello(), Frame::Pong, Frame::Chosen]),
        turns("a second chosen", LOWER, &[hello(), Frame::Chosen, message(), Frame::Chosen]),
        turns("chosen from the higher key", HIGHER, &[hello(), Frame::Chosen]),
    ]
}

const LONG_MESSAGE: &[u8] = b"the sand holds when the tide is out";

/// The sender of the long message below.
pub(super) fn sender_of_the_vector() -> Sender {
    let mut sender = Sender::new(PeerId([0xaa; 32]), SenderLimits::default(), Millis::from_ms(500));
    let (channel, bytes) = (PeerId([1; 32]), LONG_MESSAGE);
    let message = OutMessage { channel, kind: 9, bytes, fragment_payload_max: 20, loss_permille: 300 };
    sender.offer(Mono::ZERO, message).unwrap();
    sender
}

/// How many data frames a stream of a TNC has.
pub(super) fn kiss_frames(bytes: &[u8]) -> usize {
    let mut decoder = KissDecoder::default();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_event())
        .filter(|event| matches!(event, KissEvent::Data { .. }))
        .count()
}

/// What a listener that received only the second fragment asks for.
fn nacks() -> Json {
    let given = |payload: &str| {
        let mut sender = sender_of_the_vector();
        let payload_bytes = HEXLOWER.decode(payload.as_bytes()).unwrap();
        sender.nack(Mono::ZERO, PeerId([1; 32]), PeerId([2; 32]), &payload_bytes).unwrap();
        payload.to_owned()
    };
    json!([
        { "about": "fragments 0 and 2 of that message", "hex": given("aab48c4005"),
          "whose": "aa", "id": "b48c", "entries": [[0, [0, 2]]] },
        { "about": "any two of its first block", "hex": given("aab48c0002"),
          "whose": "aa", "id": "b48c", "entries": [[0, 2]] },
    ])
}

fn names() -> Json {
    let (key, salt) = ([1; 32], [0, 1, 2, 3, 4, 5, 6, 7]);
    let certificate = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &key].concat();
    assert_eq!(tombolo_transports::tls::key_of(&certificate.clone().into()), Some(PeerId(key)));
    json!({
        "certificate": { "key": hex(key), "hex": hex(certificate) },
        "hint": { "key": hex(key), "salt": hex(salt), "hint": SaltedHint::new(&PeerId(key), salt).text() },
    })
}

fn long_messages() -> Json {
    let bytes = LONG_MESSAGE;
    let mut sender = sender_of_the_vector();
    let fragments: Vec<String> = std::iter::from_fn(|| sender.next_fragment(Mono::ZERO))
        .map(|fragment| hex(fragment.payload))
        .collect();
    json!([{
        "about": "any three of the four fragments are the message",
        "kind": 9, "message": hex(bytes), "fragments": fragments,
    }])
}

/// A message of 83 fragments, and so of two blocks: the first has 42 of them, the second the rest.
fn message_of_two_blocks() -> Vec<u8> {
    (0..654_u32).map(|at| (at * at * 7 + at / 3) as u8).collect()
}

const TWO_BLOCKS_PAYLOAD: usize = 14;

fn fragments_of_two_blocks() -> Vec<Vec<u8>> {
    let mut sender = Sender::new(PeerId([0xaa; 32]), SenderLimits::default(), Millis::from_ms(500));
    let (channel, bytes) = (PeerId([1; 32]), message_of_two_blocks());
    let fragment_payload_max = TWO_BLOCKS_PAYLOAD;
    let message = OutMessage { channel, kind: 9, bytes: &bytes, fragment_payload_max, loss_permille: 50 };
    sender.offer(Mono::ZERO, message).unwrap();
    std::iter::from_fn(|| sender.next_fragment(Mono::ZERO))
        .map(|fragment| fragment.payload.to_vec())
        .collect()
}

/// Data fragments of the same message, the first in block 0, the second in block 1, and so on.
pub(super) fn dealt_in_turn() -> Vec<String> {
    let sent = fragments_of_two_blocks();
    let shard = |n: usize| {
        let (block, index) = if n < 42 { (0, n) } else { (1, n - 42) };
        let is_it = |payload: &&Vec<u8>| payload[4..6] == [block, index as u8];
        sent.iter().find(is_it).unwrap()[6..].to_vec()
    };
    let head = &sent[0][..4];
    (0..83).map(|n| hex([head, &[n as u8 % 2, n as u8 / 2], &shard(n)].concat())).collect()
}

fn two_blocks() -> Json {
    let fragments = fragments_of_two_blocks();
    json!({
        "about": "83 data fragments, 42 in block 0 and 41 in block 1, and their parity, in the order of the first burst",
        "kind": 9, "message": hex(message_of_two_blocks()), "payload_bytes_max": TWO_BLOCKS_PAYLOAD,
        "fragments": fragments.iter().map(hex).collect::<Vec<_>>(),
    })
}

/// Shards of more than one block of 64 bytes, with an odd number of words in the last; and the first and last parity.
fn parities() -> Json {
    let vector = |count: usize, length: usize| {
        let shard = |n: usize| (0..length).map(move |at| (n * 7 + at * 13 + at * at) as u8);
        let data: Vec<Vec<u8>> = (0..count).map(|n| shard(n).collect()).collect();
        let block = data.concat();
        let made = [0, 1, 191].map(|number| (number, parity(&block, length, number).unwrap()));
        let held = (1..count).map(|n| (n as u8, data[n].clone().into_boxed_slice()));
        let held = held.chain([((count + 191) as u8, made[2].1.clone().into_boxed_slice())]).collect();
        assert_eq!(restore(count, length, &held).unwrap(), block);
        let made: serde_json::Map<_, _> =
            made.into_iter().map(|(number, shard)| (number.to_string(), json!(hex(shard)))).collect();
        json!({ "data": data.iter().map(hex).collect::<Vec<_>>(), "parity": made })
    };
    json!([vector(5, 130), vector(1, 8), vector(8, 12)])
}

/// Counters as frames bring them, in order, and whether each is taken.
fn counters() -> Json {
    let mut track = Track::default();
    track.heard_signed(1_000);
    let mut steps = Vec::new();
    let mut step = |track: &mut Track, counter: u32, why: &str| {
        let found = track.candidates((counter & 0xffff) as u16).find(|(found, _)| *found == counter);
        let taken = matches!(found, Some((_, Ok(()))));
        if taken {
            track.take(counter);
        }
        steps.push(json!({ "counter": counter, "taken": taken, "why": why }));
        taken
    };
    assert!(step(&mut track, 1_000, "the first of the zone"));
    assert!(!step(&mut track, 1_000, "taken before"));
    assert!(step(&mut track, 33_767, "the last of the zone"));
    assert!(step(&mut track, 1_500, "late, and in the zone: the window goes back to it"));
    assert!(step(&mut track, 33_768, "beyond the zone, ahead of the window"));
    assert!(step(&mut track, 33_700, "in the zone"));
    assert!(step(&mut track, 50_000, "beyond the zone"));
    assert!(step(&mut track, 49_873, "beyond the zone, 127 below the highest"));
    assert!(!step(&mut track, 49_872, "beyond the zone, 128 below the highest"));
    assert!(!step(&mut track, 49_873, "taken before"));
    assert!(!step(
        &mut track,
        82_769,
        "more than 2^15 - 1 above the expected 50,001: stands for another counter"
    ));
    assert!(step(&mut track, 82_768, "2^15 - 1 above the expected 50,001"));
    assert!(step(&mut track, 20_000, "in the zone, and far below the highest: the window goes back to it"));
    assert!(step(&mut track, 50_000, "beyond the zone: that it was taken before is forgotten"));
    assert!(!step(&mut track, 49_000, "beyond the zone, 1,000 below the highest"));
    assert!(step(&mut track, 1_200, "in the zone, though 66,736 is nearer to the expected 50,001"));
    assert!(!step(&mut track, 50_000, "no number: the one near the expected 1,201 would be below 0"));
    json!([{ "about": "an announcement carried the counter 1000", "announced": 1_000, "steps": steps }])
}

/// The shortest sealed frame, with bytes that KISS escapes.
fn carriers() -> Json {
    let frame = [0x95, 0x58, 0xdf, 0xbb, 0x00, 0xc0, 0x63, 0xdb, 0xd3, 0x71, 0xfe, 0x7f, 0x4e, 0x02, 0x00];
    let ui =
        UiFrame { destination: DESTINATION, source: "N0CALL-1".parse().unwrap(), payload: frame.to_vec() };
    assert_eq!(UiFrame::decode(&ui.encode()), Some(ui.clone()));
    let broadcast = MeshtasticCommand::Broadcast { id: 0x1234_5678, channel: 1, hops: 0, payload: &frame };
    let datagram = MeshcoreCommand::SendChannelData { channel: 1, payload: &frame };
    json!({
        "frame": hex(frame),
        "kiss": hex(KissCommand::Data(&frame).encode(0)),
        "ax25": { "about": "of N0CALL-1; it stands in KISS in its turn", "hex": hex(ui.encode()) },
        "meshcore companion": { "about": "on channel 1", "hex": hex(datagram.encode()) },
        "meshtastic": { "about": "packet 12345678 (hex) on channel 1, no hops", "hex": hex(broadcast.encode()) },
    })
}

#[test]
fn streams_long_messages_and_carriers() {
    check(
        "links.json",
        &json!({
            "stream": streams(),
            "long_messages": long_messages(),
            "two_blocks": two_blocks(),
            "parity": parities(),
            "counters": counters(),
            "carriers": carriers(),
            "nacks": nacks(),
            "names": names(),
        }),
    );
}
