#![forbid(unsafe_code)]
//! Whole federations on virtual time: real [`Node`](tombolo::node::Node)s on stores in memory, joined by wires that lose, duplicate,
//! reorder and corrupt messages, on machines that crash and whose clocks are wrong. Everything is drawn from one
//! seed, so a run can be repeated; no clock, socket or thread is touched.
//!
//! | room | what it does |
//! |---|---|
//! | `lib.rs` | [`Simulation`]: the queue of what happens next, and the accounts |
//! | `machine.rs` | machines: what survives a crash, restored disks, clocks |
//! | `drive.rs` | inputs into a node, outputs out of it, commands |
//! | `wires.rs` `cables.rs` | cables: which machines reach each other, which links are up; what becomes of a message |
//! | [`ether`] [`monitor`] | radios: channels, the machines on them, outsiders; what was on air |
//! | `joining.rs` | invites and join calls |
//! | [`field`] | a smaller simulation: nodes with radios and perfect cables, for stories and the bench |
//! | [`transcript`] | what goes into nodes of a field and comes out, as JSON lines; driving nodes by them |
//! | [`faults`] | rates, clocks, damage; the count of what was injected |
//! | [`checker`] | what must hold at the end: one content everywhere, nothing acknowledged lost |
//! | `oracle/` | a naive model that keeps everything and merges from scratch, compared with every node at every change |
//! | [`swarm`] | a federation on a LAN and its day, drawn from a seed |
//! | [`chaos`] | a federation with radios, cables, both, and its day |
//! | `day.rs` | what the two share: trust, writes and their checks, the schedule |
//! | [`report`] | what a run did, in figures |
//!
//! A machine that crashes loses its node and every output not yet polled; its store stays as it was
//! committed. Left out: the disk's own faults (the store's tests) and real sockets (`tests/lab`).

mod cables;
pub mod chaos;
pub mod checker;
mod day;
mod drive;
pub mod ether;
pub mod faults;
pub mod field;
mod joining;
mod machine;
pub mod monitor;
mod oracle;
mod patch;
pub mod report;
pub mod rng;
pub mod swarm;
pub mod transcript;
mod wires;

use std::collections::BTreeMap;

use tombolo::clock::BUILD_DATE;
use tombolo::commands::{CommandKey, RunEnd, RunResult};
use tombolo::node::{Input, RequestId};
use tombolo::time::{Millis, Mono, Wall};
use tombolo_transports::{JoinError, LinkId, PeerId};

use crate::ether::{ChannelId, Ether};
use crate::faults::{FaultCounts, Rates};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::wires::{SeatPair, Wires};

/// One millisecond of virtual time.
pub const MS: Millis = Millis::from_ms(1);
/// One second of virtual time.
pub const SECOND: Millis = Millis::from_secs(1);
/// One minute of virtual time.
pub const MINUTE: Millis = Millis::from_secs(60);
/// One hour of virtual time.
pub const HOUR: Millis = Millis::from_secs(60 * 60);
/// One day of virtual time.
pub const DAY: Millis = Millis::from_secs(24 * 60 * 60);

/// The true time when a simulation begins: 30 days after the build date.
pub const EPOCH: Wall = Wall::from_ms(BUILD_DATE.ms() + 30 * DAY.ms());

/// Names a machine of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub usize);

/// Something that will happen.
enum Happening {
    /// The timer of a node is due.
    Wake(Seat),
    /// A message reaches this end of a session.
    Deliver { link: LinkId, bytes: Vec<u8> },
    /// An end learns that its session is up.
    Up { link: LinkId },
    /// An end learns that its session is over.
    Down { link: LinkId },
    /// A pair of machines tries to make a link.
    Dial(SeatPair),
    /// Something is due on a radio channel.
    Air(ChannelId),
    /// A request to join arrives at the inviter.
    JoinArrives { joiner: Seat, inviter: Seat, bytes: Vec<u8> },
    /// The joiner receives the answer, or learns that there is none.
    JoinAnswered { joiner: Seat, inviter: PeerId, result: Result<Vec<u8>, JoinError> },
    /// An install ends that began in this boot of the machine.
    Installed { seat: Seat, boot: Mono, key: CommandKey },
}

/// When something happens, and its number among all that was planned.
type QueueKey = (Mono, u64);

/// Machines, wires and virtual time.
pub struct Simulation {
    time: Mono,
    order: u64,
    queue: BTreeMap<QueueKey, Happening>,
    machines: Vec<Machine>,
    wires: Wires,
    ether: Ether,
    joins: BTreeMap<(Seat, RequestId), Seat>,
    rng: Rng,
    /// How often each message meets which fate, from now on.
    pub rates: Rates,
    /// What was injected so far.
    pub faults: FaultCounts,
    traffic: WireTraffic,
    wrongs: Vec<String>,
    /// The naive model, where a run is watched by it.
    oracle: Option<oracle::Oracle>,
    digest: blake3::Hasher,
}

/// Messages handed to the wires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireTraffic {
    /// The number of messages.
    pub messages: u64,
    /// The bytes of all messages.
    pub bytes: u64,
}

impl Simulation {
    /// No machines yet; time stands at its beginning.
    pub fn new(seed: u64, rates: Rates) -> Self {
        Simulation {
            time: Mono::ZERO,
            order: 0,
            queue: BTreeMap::new(),
            machines: Vec::new(),
            wires: Wires::default(),
            ether: Ether::default(),
            joins: BTreeMap::new(),
            rng: Rng::new(seed),
            rates,
            faults: FaultCounts::default(),
            traffic: WireTraffic::default(),
            wrongs: Vec::new(),
            oracle: None,
            digest: blake3::Hasher::new(),
        }
    }

    // ---- time ----------------------------------------------------------------------------------------

    /// Lets so much time pass.
    pub fn run_for(&mut self, length: Millis) {
        self.run_until(self.time + length);
    }

    /// Lets time pass until then.
    pub fn run_until(&mut self, end: Mono) {
        while let Some(next) = self.queue.first_entry() {
            let at = next.key().0;
            if at > end {
                break;
            }
            let happening = next.remove();
            self.time = self.time.max(at);
            self.happen(happening);
        }
        self.time = self.time.max(end);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(seat) => self.woken(seat),
            Happening::Deliver { link, bytes } => self.deliver(link, bytes),
            Happening::Up { link } => self.up(link),
            Happening::Down { link } => self.down(link),
            Happening::Dial(pair) => self.dialled(pair),
            Happening::Air(channel) => self.look_at_air(channel),
            Happening::JoinArrives { joiner, inviter, bytes } => self.join_arrives(joiner, inviter, bytes),
            Happening::JoinAnswered { joiner, inviter, result } => {
                if self.is_running(joiner) {
                    self.input(joiner, Input::JoinAnswered { inviter, result });
                }
            }
            Happening::Installed { seat, boot, key } => {
                if self.is_running(seat) && self.machine(seat).booted == boot {
                    let result = RunResult { end: RunEnd::Success, output: "done".to_owned() };
                    self.input(seat, Input::Installed { key, result });
                }
            }
        }
    }

    fn after(&mut self, length: Millis, happening: Happening) {
        self.at(self.time + length, happening);
    }

    fn at(&mut self, at: Mono, happening: Happening) -> QueueKey {
        self.order += 1;
        let key = (at, self.order);
        self.queue.insert(key, happening);
        key
    }

    // ---- accounts ------------------------------------------------------------------------------------

    /// The messages handed to the wires so far.
    pub fn traffic(&self) -> WireTraffic {
        self.traffic
    }

    /// Alarms that nodes raised for a person.
    pub fn alarms(&self) -> u64 {
        self.machines.iter().map(|machine| machine.alarms).sum()
    }

    /// What must never happen and did.
    pub fn wrongs(&self) -> &[String] {
        &self.wrongs
    }

    /// A digest of all messages and frames, and of when each input, reply and event happened: equal for equal seeds, and
    /// the same after a change that renames or moves code only.
    pub fn digest(&self) -> String {
        self.digest.finalize().to_hex().chars().take(16).collect()
    }

    fn wrong(&mut self, what: String) {
        self.wrongs.push(format!("at {} ms: {what}", self.time.ms()));
    }

    fn record(&mut self, what: &str, seat: Seat, bytes: &[u8]) {
        self.digest.update(&self.time.ms().to_le_bytes());
        self.digest.update(&(seat.0 as u64).to_le_bytes());
        self.digest.update(what.as_bytes());
        self.digest.update(&(bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }

    fn machine(&self, seat: Seat) -> &Machine {
        self.machines.get(seat.0).expect("a seat names a machine of its simulation")
    }

    fn machine_mut(&mut self, seat: Seat) -> &mut Machine {
        self.machines.get_mut(seat.0).expect("a seat names a machine of its simulation")
    }
}
