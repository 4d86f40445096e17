//! What must hold of any frames that reach a station: shared by the fuzz target and by the test that replays its corpus.

use std::collections::BTreeSet;
use tombolo_mesh::PeerId;
use tombolo_mesh::airtime::ledger::{Account, BootId, Ledger, LedgerConfig, Moment, Priority};
use tombolo_mesh::airtime::region::{Region, Usage};
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::frame::Kind;
use tombolo_mesh::frame::handshake::{self, Responder};
use tombolo_mesh::frame::keys::{AudienceKey, Identity, Mode};
use tombolo_mesh::station::{Outgoing, Received, Station, StationConfig, StationRecords, Transmit};
use tombolo_mesh::time::Mono;

const FRAME_BYTES_MAX: usize = 120;
const TOKEN: [u8; 32] = [0x77; 32];

/// Frames of an honest sender, lost, bent, cut, spliced and repeated, and frames made up, at any time: what comes out was sent,
/// once; no node joins without the token; nothing grows without bound; no input panics.
pub(crate) fn frame(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (mut honest, mut listener) = (station(1), station(2));
    let mut responder = Responder::new(Identity::from_seed(&[2; 32]));
    responder.set_invites(BTreeSet::from([TOKEN]));
    let (mut now_ms, mut said, mut sent): (u64, BTreeSet<Vec<u8>>, Vec<Vec<u8>>) =
        (0, BTreeSet::new(), Vec::new());
    let mut heard = BTreeSet::new();
    for _ in 0..200 {
        let Some(act) = bytes.next() else { break };
        now_ms += u64::from(act) << (act % 12);
        let pick = usize::from(bytes.next().unwrap_or(0)) % sent.len().max(1);
        let mut frame = sent.get(pick).cloned().unwrap_or_default();
        match act % 6 {
            0 => {
                let length = usize::from(bytes.next().unwrap_or(0)) * 2;
                let text: Vec<u8> = [said.len() as u8, 0].into_iter().cycle().take(length.max(1)).collect();
                if honest.send(Mono::from_ms(now_ms), outgoing(text.clone())).is_ok() {
                    said.insert(text);
                }
                sent.extend(frames(&mut honest, now_ms));
                continue;
            }
            1 => {
                let (at, bits) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(1));
                frame.get_mut(usize::from(at)).into_iter().for_each(|byte| *byte ^= bits);
            }
            2 => frame.truncate(usize::from(bytes.next().unwrap_or(0))),
            3 => {
                let at = frame.len().min(usize::from(bytes.next().unwrap_or(0)));
                frame.splice(at.., bytes.some());
            }
            _ => {}
        }
        let first = listener.receive(Mono::from_ms(now_ms), &frame);
        let later = std::iter::from_fn(|| listener.poll_received());
        for reception in std::iter::once(first).chain(later) {
            if let Ok(Received::Message { bytes, .. }) = reception.outcome {
                assert!(said.contains(&bytes), "nobody said that");
                assert!(heard.insert(bytes), "heard twice");
            }
        }
        if let Ok(result) = responder.receive(&frame) {
            assert!(!matches!(result, handshake::HandshakeEvent::Request(_)));
        }
        for answer in frames(&mut listener, now_ms) {
            let _ = honest.receive(Mono::from_ms(now_ms), &answer);
        }
    }
}

fn station(who: u8) -> Station {
    let peers = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]).peer_id());
    let config = StationConfig {
        us: Identity::from_seed(&[who; 32]),
        mode: Mode::Encrypted,
        frame_bytes_max: FRAME_BYTES_MAX,
        frame_bytes_min: 0,
        call_sign: None,
        line: PhyRate::lora(Modulation::SF7_125),
        seed: [who; 32],
    };
    let ledger = Ledger::new(LedgerConfig::new(Region::Wired.rules(Usage::default()).ok()), Mono::ZERO);
    let mut station = Station::new(config, StationRecords::default(), ledger).expect("a good configuration");
    let key = AudienceKey { epoch: 1, key: [9; 16] };
    station.set_channel(owner(), key, None, peers.into()).expect("two members");
    station
}

fn owner() -> PeerId {
    Identity::from_seed(&[1; 32]).peer_id()
}

fn outgoing(bytes: Vec<u8>) -> Outgoing {
    let kind = Kind::message(5).expect("5 is a message");
    let (priority, account) = (Priority::State, Account(1));
    Outgoing { channel: owner(), kind, bytes, priority, account, previous_key: false }
}

/// What may leave now, at most 40.
fn frames(station: &mut Station, now_ms: u64) -> Vec<Vec<u8>> {
    let moment = Moment { boot: BootId([0; 16]), monotonic: Mono::from_ms(now_ms), trusted_wall: None };
    let mut frames = Vec::new();
    for _ in 0..40 {
        while let Some(record) = station.poll_record() {
            station.recorded(&record);
        }
        if let Transmit::Frame { frame, .. } = station.transmit(moment) {
            frames.push(frame);
        }
    }
    frames
}

/// Bytes that are eaten up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Up to 130 of them.
    fn some(&mut self) -> Vec<u8> {
        let length = usize::from(self.next().unwrap_or(0) % 131).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some.to_vec()
    }
}
