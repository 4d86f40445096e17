//! What must hold of any frames that reach the long messages of a radio: shared by the fuzz target and by the test
//! that replays its corpus.

use tombolo_mesh::PeerId;
use tombolo_mesh::bulk::fragment::{AGE_MAX, KINDS, MESSAGE_BYTES_MAX, MemoryLimits, Progress};
use tombolo_mesh::bulk::fragment::{OutMessage, Sender, SenderLimits};
use tombolo_mesh::bulk::repair::Listener;
use tombolo_mesh::time::{Millis, Mono};

const LIMITS: MemoryLimits =
    MemoryLimits { bytes_max: 24_000, source_bytes_max: 8_000, messages_max: 12, source_messages_max: 4 };
const CHANNEL: PeerId = PeerId([1; 32]);
const HONEST: PeerId = PeerId([2; 32]);
const AIRTIME_MS: u64 = 400;
const NACK_BYTES_MAX: usize = 36;

/// Frames, forged, cut and mixed with those of an honest sender, at any time: memory stays bounded, what comes out
/// is a message that some sender wrote, and the honest one goes through in the end, once.
pub(crate) fn reassembly(input: &[u8]) {
    let mut bytes = Bytes(input);
    let content: Vec<u8> = (0..u16::from(bytes.next()) * 3).map(|at| (at % 251) as u8).collect();
    let payload_max = 36 + usize::from(bytes.next() % 205);
    let mut sender = Sender::new(HONEST, SenderLimits::default(), Millis::from_ms(AIRTIME_MS));
    let mut listener = Listener::new(LIMITS, Millis::from_ms(AIRTIME_MS), u64::from(bytes.next()));
    let loss_permille = u16::from(bytes.next()) * 2;
    let message = OutMessage {
        channel: CHANNEL,
        kind: 5,
        bytes: &content,
        fragment_payload_max: payload_max,
        loss_permille,
    };
    sender.offer(Mono::ZERO, message).expect("it fits");
    let (mut now_ms, mut delivered_ms, mut last) = (0, None::<u64>, Vec::new());
    let mut hear = |listener: &mut Listener, now_ms: u64, from: PeerId, payload: &[u8]| {
        match listener.fragment(Mono::from_ms(now_ms), CHANNEL, from, payload) {
            Ok(Progress::Whole(message)) if from == HONEST => {
                assert_eq!((message.kind, &message.bytes), (5, &content));
                // Once, as long as a listener remembers what it has.
                assert!(delivered_ms.is_none_or(|before| now_ms.saturating_sub(before) >= AGE_MAX.ms()));
                delivered_ms = Some(now_ms);
            }
            Ok(Progress::Whole(message)) => {
                assert!(KINDS.contains(&message.kind) && message.bytes.len() <= MESSAGE_BYTES_MAX);
            }
            _ => {}
        }
        assert!(listener.assembler().held_bytes() <= LIMITS.bytes_max);
        assert!(listener.assembler().open_messages() <= LIMITS.messages_max);
    };
    while !bytes.0.is_empty() {
        let (act, who) = (bytes.next(), PeerId([3 + bytes.next() % 8; 32]));
        now_ms += u64::from(act) << (act % 16);
        match act % 6 {
            0 => {
                if let Some(fragment) = sender.next_fragment(Mono::from_ms(now_ms)) {
                    last = fragment.payload;
                    hear(&mut listener, now_ms, HONEST, &last);
                }
            }
            // Lost.
            1 => {
                last = sender
                    .next_fragment(Mono::from_ms(now_ms))
                    .map_or_else(Vec::new, |fragment| fragment.payload)
            }
            2 => hear(&mut listener, now_ms, who, bytes.some()),
            // A member forwards, under its own name, what it received and altered.
            3 => {
                let (at, bits) = (usize::from(bytes.next()), bytes.next());
                last.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
                hear(&mut listener, now_ms, who, &last);
            }
            4 => {
                let payload = bytes.some();
                let _ = listener.nack(Mono::from_ms(now_ms), CHANNEL, who, payload);
                let _ = sender.nack(Mono::from_ms(now_ms), CHANNEL, who, payload);
            }
            _ => {
                if let Some(nack) = listener.poll_nack(Mono::from_ms(now_ms), NACK_BYTES_MAX) {
                    assert!(nack.payload.len() <= NACK_BYTES_MAX);
                    let _ = sender.nack(Mono::from_ms(now_ms), CHANNEL, who, &nack.payload);
                }
            }
        }
    }
    // What one fragment of is held goes through as soon as the air is good, unless it was pushed out.
    for _ in 0..2_000 {
        now_ms += 60_000;
        while let Some(fragment) = sender.next_fragment(Mono::from_ms(now_ms)) {
            hear(&mut listener, now_ms, HONEST, &fragment.payload);
        }
        while let Some(nack) = listener.poll_nack(Mono::from_ms(now_ms), NACK_BYTES_MAX) {
            let _ = sender.nack(Mono::from_ms(now_ms), CHANNEL, PeerId([12; 32]), &nack.payload);
        }
        if listener.poll_timeout().is_none() {
            break;
        }
    }
    assert_eq!(listener.assembler().open_messages(), 0, "asked for, or given up after its time");
}

/// Bytes that are eaten up; zeros behind their end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// As many as the next byte.
    fn some(&mut self) -> &'a [u8] {
        let (some, rest) = self.0.split_at(usize::from(self.next()).min(self.0.len()));
        self.0 = rest;
        some
    }
}
