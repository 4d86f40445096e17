//! Machines: what survives a crash, the node that runs, and wrong clocks.

use std::collections::{BTreeMap, VecDeque};
use tombolo::time::{Millis, Mono, Wall};

use tombolo::clock::Now;
use tombolo::commands::{CommandKey, Deploy};
use tombolo::identity::{Keypair, did};
use tombolo::layer::Head;
use tombolo::node::{CommandError, Input, Node, NodeSettings, Reply, RequestId};
use tombolo::store::Store;
use tombolo_transports::PeerId;

use crate::checker::DocumentRef;
use crate::faults::WallClock;
use crate::wires::SeatPair;
use crate::{EPOCH, Happening, QueueKey, Seat, Simulation};

/// A machine: what survives a crash, and the node that runs on it.
pub(super) struct Machine {
    pub(super) seeds: ([u8; 32], [u8; 32]),
    pub(super) peer: PeerId,
    pub(super) settings: NodeSettings,
    pub(super) store: Store,
    pub(super) node: Option<Node>,
    pub(super) clock: WallClock,
    pub(super) booted: Mono,
    /// Monotonic clocks start anywhere.
    pub(super) mono_origin: Mono,
    pub(super) wake: Option<QueueKey>,
    pub(super) wakes_at_once: (Mono, u32),
    pub(super) joining: bool,
    pub(super) last_request: u64,
    pub(super) replies: BTreeMap<RequestId, Result<Reply, CommandError>>,
    /// Per document and author: the newest sequence that this boot has reported.
    pub(super) reported: BTreeMap<(String, String, String), u64>,
    pub(super) remembered: VecDeque<(PeerId, Vec<u8>)>,
    pub(super) alarms: u64,
    /// The installs that were begun here, over all boots.
    pub(super) installs: Vec<(CommandKey, Deploy)>,
}

fn copy_of(store: &Store) -> Store {
    let copy = Store::in_memory().expect("memory takes a new store");
    store.copy_into(&copy).expect("memory takes a copy");
    copy
}

impl Simulation {
    /// Adds a machine whose node has no peers, wired to all others.
    pub fn add(&mut self, settings: NodeSettings) -> Seat {
        let seeds = (self.rng.bytes32(), self.rng.bytes32());
        let peer = Keypair::from_seeds(&seeds.0, &seeds.1).peer_id();
        let seat = Seat(self.machines.len());
        self.machines.push(Machine {
            seeds,
            peer,
            settings,
            store: Store::in_memory().expect("memory takes a new store"),
            node: None,
            clock: WallClock::default(),
            booted: Mono::ZERO,
            mono_origin: Mono::ZERO,
            wake: None,
            wakes_at_once: (Mono::ZERO, 0),
            joining: false,
            last_request: 0,
            replies: BTreeMap::new(),
            reported: BTreeMap::new(),
            remembered: VecDeque::new(),
            alarms: 0,
            installs: Vec::new(),
        });
        self.start(seat);
        seat
    }

    /// The machines, in the order in which they were added.
    pub fn seats(&self) -> Vec<Seat> {
        (0..self.machines.len()).map(Seat).collect()
    }

    /// The identity of a machine's node.
    pub fn peer_id(&self, seat: Seat) -> PeerId {
        self.machine(seat).peer
    }

    /// The same as a DID.
    pub fn did(&self, seat: Seat) -> String {
        did(&self.machine(seat).peer)
    }

    /// The installs that a machine began, over all its boots, oldest first.
    pub fn installs(&self, seat: Seat) -> &[(CommandKey, Deploy)] {
        &self.machine(seat).installs
    }

    /// Whether a machine runs.
    pub fn is_running(&self, seat: Seat) -> bool {
        self.machine(seat).node.is_some()
    }

    /// The node that runs on a machine, if one does.
    pub(super) fn node(&self, seat: Seat) -> Option<&Node> {
        self.machine(seat).node.as_ref()
    }

    /// The sequence of an author's layer as a machine holds it; 0 where it holds none.
    pub fn sequence_held(&self, seat: Seat, document: &DocumentRef, author: Seat) -> u64 {
        let (owner, author) = (self.peer_id(document.owner), self.peer_id(author));
        let layers = self.node(seat).into_iter().flat_map(|node| node.report().replica.layers().layers());
        let heads = layers.map(|layer| layer.head());
        let of = |head: &&Head| {
            let id = &head.layer;
            id.document.owner == owner && id.document.name.as_str() == document.name && id.author == author
        };
        heads.filter(of).map(|head| head.sequence.get()).max().unwrap_or(0)
    }

    /// The machine stops at once: outputs not yet polled are lost, what was committed stays.
    pub fn crash(&mut self, seat: Seat) {
        self.record("crash", seat, &[]);
        let machine = self.machine_mut(seat);
        machine.node = None;
        machine.joining = false;
        if let Some(key) = machine.wake.take() {
            self.queue.remove(&key);
        }
        self.joins.retain(|(inviter, _), _| *inviter != seat);
        for other in self.seats().into_iter().filter(|other| *other != seat) {
            let pair = SeatPair::new(seat, other);
            let end = pair.end_of(seat);
            let wire = self.wires.wire(pair);
            *wire.up.at_mut(end) = None;
            // The other side notices when the restarted machine connects again, or by a timeout.
            if let Some(link) = *wire.up.at(end.other()) {
                let after = self.rng.length(Millis::from_ms(0), Millis::from_ms(15_000));
                self.after(after, Happening::Down { link });
            }
        }
    }

    /// A crashed machine comes back with what its store holds.
    pub fn restart(&mut self, seat: Seat) {
        if !self.is_running(seat) {
            self.record("restart", seat, &[]);
            self.start(seat);
            self.dial_all(seat);
        }
    }

    /// A copy of a machine's disk as it is now.
    pub fn back_up(&self, seat: Seat) -> Store {
        copy_of(&self.machine(seat).store)
    }

    /// The machine crashes, and comes back with a backup's disk in place of its own; its wires stay as they
    /// are.
    pub fn restore(&mut self, seat: Seat, backup: &Store) {
        self.replace_disk(seat, backup);
        self.start(seat);
        self.dial_all(seat);
    }

    /// The machine crashes, and a backup's disk takes the place of its own; it stays down.
    pub fn replace_disk(&mut self, seat: Seat, backup: &Store) {
        if self.is_running(seat) {
            self.crash(seat);
        }
        self.record("restore", seat, &[]);
        self.set_back_by_oracle(seat);
        self.machine_mut(seat).store = copy_of(backup);
    }

    pub(super) fn start(&mut self, seat: Seat) {
        let (seed, mono_origin) = (self.rng.bytes32(), Mono::from_ms(self.rng.below(1 << 40)));
        let time = self.time;
        let machine = self.machine_mut(seat);
        machine.booted = time;
        machine.mono_origin = mono_origin;
        machine.reported.clear();
        let keypair = Keypair::from_seeds(&machine.seeds.0, &machine.seeds.1);
        let (store, settings) = (machine.store.reopen(), machine.settings.clone());
        let now = self.now(seat);
        match Node::open(store, keypair, settings, now, seed) {
            Ok(node) => self.machine_mut(seat).node = Some(node),
            Err(error) => self.wrong(format!("{seat:?} does not open its own store: {error}")),
        }
        self.drain(seat, usize::MAX);
        self.started_by_oracle(seat);
        self.switch_on_all(seat);
    }

    /// What a machine's clocks show.
    pub fn now(&self, seat: Seat) -> Now {
        let machine = self.machine(seat);
        let since_boot = self.time.since(machine.booted);
        Now {
            mono: machine.mono_origin + since_boot,
            wall: machine.clock.shows(self.true_time(), self.time.since(Mono::ZERO), since_boot),
        }
    }

    /// How a machine's wall clock goes.
    pub fn clock(&self, seat: Seat) -> WallClock {
        self.machine(seat).clock
    }

    /// Sets a machine's wall clock right or wrong.
    pub fn set_clock(&mut self, seat: Seat, clock: WallClock) {
        let machine = self.machine_mut(seat);
        let before = std::mem::replace(&mut machine.clock, clock);
        machine.settings.clock_vouchers.kernel = clock.synchronised;
        if clock.synchronised != before.synchronised && machine.node.is_some() {
            self.input(seat, Input::ClockSynchronised(clock.synchronised));
        }
    }

    /// The operator of a machine vouches for its wall clock, and starts its node again.
    pub fn vouch_for_clock(&mut self, seat: Seat) {
        self.machine_mut(seat).settings.clock_vouchers.operator = true;
        self.crash(seat);
        self.restart(seat);
    }

    /// Virtual time since the simulation began.
    pub fn time(&self) -> Mono {
        self.time
    }

    /// The true time, which the clocks of machines may miss.
    pub fn true_time(&self) -> Wall {
        EPOCH + self.time.since(Mono::ZERO)
    }
}
