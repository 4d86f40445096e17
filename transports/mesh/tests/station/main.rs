//! Whole stations on a lossy channel on virtual time: what is long arrives, once and unchanged, whatever the channel does.
//! Failures print proptest's seed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod hostile;

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_mesh::airtime::ledger::{Account, BootId, Ledger, LedgerConfig, Moment, Priority};
use tombolo_mesh::airtime::region::{Region, Usage};
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::frame::Kind;
use tombolo_mesh::frame::keys::{AudienceKey, Identity, Mode};
use tombolo_mesh::station::{Outgoing, Received, Record, Station, StationConfig, StationRecords, Transmit};
use tombolo_mesh::time::Mono;
use tombolo_mesh::{PeerId, SplitMix64};

const NODES: usize = 3;
const HOUR_MS: u64 = 3_600_000;
/// Kinds, of the layers above.
const MESSAGE: u8 = 7;
const HEARTBEAT: u8 = 5;
const BEAT_MS: u64 = 300_000;
/// A frame that comes late comes at most so much later.
const LATE_MS: u64 = 4_000;

fn identity(node: usize) -> Identity {
    Identity::from_seed(&[node as u8 + 1; 32])
}

fn peer(node: usize) -> PeerId {
    identity(node).peer_id()
}

/// What the channel does, in thousandths, and how many frames in a row a loss takes.
#[derive(Clone, Copy, Debug)]
struct Faults {
    loss: u64,
    burst: u64,
    twice: u64,
    late: u64,
    bent: u64,
}

fn faults() -> impl Strategy<Value = Faults> {
    (0..=500_u64, 1..=5_u64, 0..=100_u64, 0..=100_u64, 0..=100_u64)
        .prop_map(|(loss, burst, twice, late, bent)| Faults { loss, burst, twice, late, bent })
}

/// Stations, their disks, and what is on its way.
struct Cell {
    stations: Vec<Station>,
    disks: Vec<StationRecords>,
    air: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    faults: Faults,
    losing: Vec<u64>,
    rng: SplitMix64,
    frame_bytes_max: usize,
    now_ms: u64,
    beat_ms: u64,
    starts: u8,
    sent: u64,
    heard: Vec<Vec<(PeerId, Vec<u8>)>>,
}

impl Cell {
    fn new(faults: Faults, frame_bytes_max: usize, seed: u64) -> Self {
        let mut cell = Cell {
            stations: Vec::new(),
            disks: vec![StationRecords::default(); NODES],
            air: BTreeMap::new(),
            faults,
            losing: vec![0; NODES],
            rng: SplitMix64::new(seed),
            frame_bytes_max,
            now_ms: 0,
            beat_ms: BEAT_MS,
            starts: 0,
            sent: 0,
            heard: vec![Vec::new(); NODES],
        };
        cell.stations = (0..NODES).map(|node| cell.start(node)).collect();
        cell
    }

    fn start(&mut self, node: usize) -> Station {
        self.starts += 1;
        let config = StationConfig {
            us: identity(node),
            mode: Mode::Encrypted,
            frame_bytes_max: self.frame_bytes_max,
            frame_bytes_min: 0,
            call_sign: None,
            line: PhyRate::lora(Modulation::SF7_125),
            seed: [self.starts; 32],
        };
        let ledger = Ledger::new(
            LedgerConfig::new(Region::Wired.rules(Usage::default()).ok()),
            Mono::from_ms(self.now_ms),
        );
        let mut station = Station::new(config, self.disks[node].clone(), ledger).unwrap();
        for owner in 0..NODES {
            let key = AudienceKey { epoch: 1, key: [owner as u8; 16] };
            station.set_channel(peer(owner), key, None, (0..NODES).map(peer).collect()).unwrap();
        }
        station
    }

    fn restart(&mut self, node: usize) {
        self.stations[node] = self.start(node);
    }

    /// What every node sends now and then, in one frame.
    fn beat(&mut self) {
        if self.now_ms >= self.beat_ms {
            self.beat_ms = self.now_ms + BEAT_MS;
            (0..NODES).for_each(|node| self.send(node, HEARTBEAT, vec![0; 8]));
        }
    }

    fn say(&mut self, node: usize, bytes: Vec<u8>) {
        self.send(node, MESSAGE, bytes);
    }

    fn send(&mut self, node: usize, kind: u8, bytes: Vec<u8>) {
        let kind = Kind::message(kind).unwrap();
        let (channel, priority, account) = (peer(node), Priority::Document, Account(1));
        let outgoing = Outgoing { channel, kind, bytes, priority, account, previous_key: false };
        self.stations[node].send(Mono::from_ms(self.now_ms), outgoing).unwrap();
    }

    /// One frame of a node that has something to send, or time goes on.
    fn step(&mut self) {
        self.beat();
        let moment =
            Moment { boot: BootId([0; 16]), monotonic: Mono::from_ms(self.now_ms), trusted_wall: None };
        let first = self.rng.below(NODES as u64) as usize;
        let mut spoke = false;
        for node in (0..NODES).map(|node| (node + first) % NODES) {
            self.persist(node);
            let mut sent = self.stations[node].transmit(moment);
            if sent == Transmit::NeedsRecord {
                self.persist(node);
                sent = self.stations[node].transmit(moment);
            }
            if let Transmit::Frame { frame, .. } = sent {
                assert!(frame.len() <= self.frame_bytes_max);
                self.now_ms += PhyRate::lora(Modulation::SF7_125).frame_us(frame.len()).div_ceil(1_000);
                self.transmit(node, &frame);
                spoke = true;
                break;
            }
        }
        self.deliver();
        if !spoke {
            let now_ms = self.now_ms;
            let due = self
                .stations
                .iter_mut()
                .filter_map(|station| station.poll_timeout(Mono::from_ms(now_ms)))
                .map(Mono::ms)
                .min();
            let next = due.into_iter().chain(self.air.keys().next().map(|(at, _)| *at)).min();
            self.now_ms = next.unwrap_or(self.beat_ms).min(self.beat_ms).max(now_ms + 10);
        }
    }

    fn persist(&mut self, node: usize) {
        while let Some(record) = self.stations[node].poll_record() {
            let disk = &mut self.disks[node];
            match &record {
                Record::OwnEpoch(epoch) => disk.own_epoch = Some(epoch.number),
                Record::Heard(peer, announcement) => drop(disk.heard.insert(*peer, *announcement)),
                Record::Window(window) => {
                    disk.windows.retain(|old| (old.channel, old.sender) != (window.channel, window.sender));
                    disk.windows.push(*window);
                }
                Record::Ledger(_) => {}
            }
            self.stations[node].recorded(&record);
        }
    }

    fn transmit(&mut self, from: usize, frame: &[u8]) {
        let faults = self.faults;
        for to in (0..NODES).filter(|to| *to != from) {
            if self.losing[to] > 0 {
                self.losing[to] -= 1;
                continue;
            }
            if self.rng.below(1_000) * faults.burst < faults.loss {
                self.losing[to] = faults.burst - 1;
                continue;
            }
            let copies = 1 + u64::from(self.rng.below(1_000) < faults.twice);
            for _ in 0..copies {
                let mut frame = frame.to_vec();
                if self.rng.below(1_000) < faults.bent {
                    let at = self.rng.below(frame.len() as u64) as usize;
                    frame[at] ^= 1 << self.rng.below(8);
                }
                let late = if self.rng.below(1_000) < faults.late { self.rng.below(LATE_MS) } else { 0 };
                self.sent += 1;
                self.air.insert((self.now_ms + late, self.sent), (to, frame));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.air.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
            let (to, frame) = entry.remove();
            let station = &mut self.stations[to];
            let first = station.receive(Mono::from_ms(self.now_ms), &frame);
            for reception in std::iter::once(first).chain(std::iter::from_fn(|| station.poll_received())) {
                if let Ok(Received::Message { from, bytes, kind, .. }) = reception.outcome
                    && kind.number() == MESSAGE
                {
                    self.heard[to].push((from, bytes));
                }
            }
        }
    }
}

/// Bytes that identify their message, enough for several fragments.
fn content(node: usize, number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251 + node * 31 + number * 13) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn long_messages_arrive_once_and_unchanged(
        faults in faults(),
        frame_bytes_max in 50..=255_usize,
        seed: u64,
        frames in prop::collection::vec(30..60_usize, NODES),
        restart in prop::option::of((0..NODES, 5..200_usize)),
    ) {
        let mut cell = Cell::new(faults, frame_bytes_max, seed);
        let said: Vec<Vec<u8>> = frames.iter().enumerate().map(|(node, frames)| content(node, 0, frames * (frame_bytes_max - 20))).collect();
        (0..NODES).for_each(|node| cell.say(node, said[node].clone()));
        let mut steps = 0;
        // Who restarts loses what was half heard; to notice that is the business of the layers above.
        let whole = |node: usize| restart.is_none_or(|(who, _)| who != node);
        let done = |cell: &Cell| (0..NODES).filter(|node| whole(*node)).all(|node| {
            let from: BTreeSet<PeerId> = cell.heard[node].iter().map(|(from, _)| *from).collect();
            from.len() == NODES - 1
        });
        while !done(&cell) && cell.now_ms < 10 * HOUR_MS {
            cell.step();
            steps += 1;
            if let Some((node, _)) = restart.filter(|(_, at)| *at == steps) {
                // What it was sending it sends again, as the node above would; what it had heard whole it has.
                cell.restart(node);
                cell.say(node, said[node].clone());
            }
        }
        // Who has heard no fragment of a message, for want of an announcement, cannot ask for it: the layer above notices. What
        // was half heard is never given up.
        let given_up = |node: usize| {
            let counts = cell.stations[node].assembler().counts();
            counts.evicted + counts.expired > 0
        };
        prop_assert!(!(0..NODES).any(given_up), "{} h, {} frames", cell.now_ms / HOUR_MS, cell.sent);
        prop_assert!(done(&cell) || cell.faults.loss > 250, "{} h, {} frames", cell.now_ms / HOUR_MS, cell.sent);
        for node in 0..NODES {
            let restarted = |other: PeerId| restart.is_some_and(|(who, _)| who == node || peer(who) == other);
            for (from, bytes) in &cell.heard[node] {
                let who = (0..NODES).find(|who| peer(*who) == *from).unwrap();
                prop_assert!(*bytes == said[who], "node {node} heard from {who} what that did not say");
                let times = cell.heard[node].iter().filter(|(other, _)| other == from).count();
                prop_assert!(times == 1 || restarted(*from), "{times} times");
            }
        }
    }
}
