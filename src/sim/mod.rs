//! Whole federations on virtual time: real [`Node`]s on stores in memory, joined by wires that lose, repeat,
//! overtake and damage messages, on machines that crash and whose clocks err. Everything is drawn from one
//! seed, so a run can be had again; no clock, socket or thread is touched.
//!
//! | room | what it does |
//! |---|---|
//! | `mod.rs` | [`Simulation`]: machines, the queue of what happens next, the drive of each node |
//! | `lan.rs` | the wires: who reaches whom, which links are up |
//! | [`faults`] | rates, clocks, damage; the count of what was injected |
//! | [`checker`] | what must hold at the end: one content everywhere, nothing acknowledged lost |
//! | [`scenario`] | a federation and its day, drawn from a seed |
//! | [`report`] | what a run did, in figures |
//!
//! A machine that crashes loses its [`Node`] and every output not yet polled; its store stays as it was
//! committed. Left out: the disk's own faults (the store's tests) and real sockets (`tests/lab`).

pub mod checker;
pub mod dice;
pub mod faults;
pub mod field;
mod lan;
pub mod report;
pub mod scenario;

use std::collections::{BTreeMap, VecDeque};

use tombolo_transports::{LinkId, PeerId};

use crate::clock::{BUILD_DATE_MS, Now};
use crate::federation::TrustLevel;
use crate::identity::{Keypair, did};
use crate::limits::OWN_STATE_WAIT_MS;
use crate::node::{Command, CommandError, Event, Input, Node, NodeSettings, Output, Reply, RequestId};
use crate::sim::dice::Dice;
use crate::sim::faults::{Fault, Faults, Rates, WallClock, damage};
use crate::sim::lan::{End, Lan, Pair, caps};
use crate::store::Store;

/// The true time when a simulation begins: 30 days after the build date.
pub const EPOCH_MS: u64 = BUILD_DATE_MS + 30 * 24 * 60 * 60 * 1000;
/// Messages remembered per machine, to be replayed; the oldest goes first.
const REMEMBERED_MAX: usize = 64;
/// A join call that nobody answers fails after this long.
const JOIN_TIMEOUT_MS: u64 = 10_000;
/// Outputs of one drain. More is a node that never comes to rest.
const OUTPUTS_MAX: usize = 100_000;
/// Wakes at one instant of virtual time. More is a timer that is always due.
const WAKES_AT_ONCE_MAX: u32 = 1_000;

/// Names a machine of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub usize);

/// A machine: what survives a crash, and the node that runs on it.
struct Machine {
    seeds: ([u8; 32], [u8; 32]),
    peer: PeerId,
    settings: NodeSettings,
    store: Store,
    node: Option<Node>,
    clock: WallClock,
    booted_ms: u64,
    /// Monotonic clocks start anywhere.
    mono_origin_ms: u64,
    wake: Option<(u64, u64)>,
    wakes_at_once: (u64, u32),
    joining: bool,
    last_request: u64,
    replies: BTreeMap<RequestId, Result<Reply, CommandError>>,
    /// Per document and author: the newest sequence that this boot told of.
    told: BTreeMap<(String, String, String), u64>,
    remembered: VecDeque<(PeerId, Vec<u8>)>,
    alarms: u64,
}

/// Something that will happen.
enum Happening {
    /// A node's timer.
    Wake(Seat),
    /// A message reaches this end of a session.
    Deliver { link: LinkId, bytes: Vec<u8> },
    /// An end learns that its session is up.
    Up { link: LinkId },
    /// An end learns that its session is over.
    Down { link: LinkId },
    /// Somebody tries to make a link.
    Dial(Pair),
    /// A request to join arrives at the inviter.
    JoinArrives { joiner: Seat, inviter: Seat, bytes: Vec<u8> },
    /// The joiner hears what came of it.
    JoinAnswered { joiner: Seat, inviter: PeerId, result: Result<Vec<u8>, String> },
}

/// Machines, wires and virtual time.
pub struct Simulation {
    time_ms: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    machines: Vec<Machine>,
    lan: Lan,
    joins: BTreeMap<(Seat, RequestId), Seat>,
    dice: Dice,
    /// How often each message meets which fate, from now on.
    pub rates: Rates,
    /// What was injected so far.
    pub faults: Faults,
    traffic: Traffic,
    wrongs: Vec<String>,
    digest: blake3::Hasher,
}

/// Messages handed to the wires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

fn copy_of(store: &Store) -> Store {
    let copy = Store::in_memory().expect("memory takes a new store");
    store.copy_into(&copy).expect("memory takes a copy");
    copy
}

impl Simulation {
    /// No machines yet; time stands at its beginning.
    pub fn new(seed: u64, rates: Rates) -> Self {
        Simulation {
            time_ms: 0,
            order: 0,
            queue: BTreeMap::new(),
            machines: Vec::new(),
            lan: Lan::default(),
            joins: BTreeMap::new(),
            dice: Dice::new(seed),
            rates,
            faults: Faults::default(),
            traffic: Traffic::default(),
            wrongs: Vec::new(),
            digest: blake3::Hasher::new(),
        }
    }

    // ---- machines ------------------------------------------------------------------------------------

    /// A new machine with a node that knows nobody, wired to all others.
    pub fn add(&mut self, settings: NodeSettings) -> Seat {
        let seeds = (self.dice.bytes32(), self.dice.bytes32());
        let peer = Keypair::from_seeds(&seeds.0, &seeds.1).peer_id();
        let seat = Seat(self.machines.len());
        self.machines.push(Machine {
            seeds,
            peer,
            settings,
            store: Store::in_memory().expect("memory takes a new store"),
            node: None,
            clock: WallClock::default(),
            booted_ms: 0,
            mono_origin_ms: 0,
            wake: None,
            wakes_at_once: (0, 0),
            joining: false,
            last_request: 0,
            replies: BTreeMap::new(),
            told: BTreeMap::new(),
            remembered: VecDeque::new(),
            alarms: 0,
        });
        self.start(seat);
        seat
    }

    /// All machines.
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

    /// Whether a machine runs.
    pub fn is_running(&self, seat: Seat) -> bool {
        self.machine(seat).node.is_some()
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
            let pair = Pair::new(seat, other);
            let end = pair.end_of(seat);
            let line = self.lan.line(pair);
            *line.up.at_mut(end) = None;
            // The other side notices when the restarted machine says so, or by the silence.
            if let Some(link) = *line.up.at(end.other()) {
                let after_ms = self.dice.between(0, 15_000);
                self.after(after_ms, Happening::Down { link });
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
        if self.is_running(seat) {
            self.crash(seat);
        }
        self.record("restore", seat, &[]);
        self.machine_mut(seat).store = copy_of(backup);
        self.start(seat);
        self.dial_all(seat);
    }

    fn start(&mut self, seat: Seat) {
        let (seed, mono_origin_ms) = (self.dice.bytes32(), self.dice.below(1 << 40));
        let time_ms = self.time_ms;
        let machine = self.machine_mut(seat);
        machine.booted_ms = time_ms;
        machine.mono_origin_ms = mono_origin_ms;
        machine.told.clear();
        let keypair = Keypair::from_seeds(&machine.seeds.0, &machine.seeds.1);
        let (store, settings) = (machine.store.reopen(), machine.settings.clone());
        let now = self.now(seat);
        match Node::open(store, keypair, settings, now, seed) {
            Ok(node) => self.machine_mut(seat).node = Some(node),
            Err(error) => self.wrong(format!("{seat:?} does not open its own store: {error}")),
        }
        self.drain(seat, usize::MAX);
    }

    /// What a machine's clocks show.
    pub fn now(&self, seat: Seat) -> Now {
        let machine = self.machine(seat);
        let since_boot_ms = self.time_ms - machine.booted_ms;
        Now {
            mono_ms: machine.mono_origin_ms + since_boot_ms,
            wall_ms: machine.clock.shows(self.true_ms(), self.time_ms, since_boot_ms),
        }
    }

    /// Sets a machine's wall clock right or wrong.
    pub fn set_clock(&mut self, seat: Seat, clock: WallClock) {
        self.machine_mut(seat).clock = clock;
    }

    /// Milliseconds since the simulation began.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The true time, milliseconds since the Unix epoch.
    pub fn true_ms(&self) -> u64 {
        EPOCH_MS + self.time_ms
    }

    // ---- wires ---------------------------------------------------------------------------------------

    /// Pulls the cable between two machines; both ends notice within some seconds.
    pub fn cut(&mut self, a: Seat, b: Seat) {
        let pair = Pair::new(a, b);
        self.lan.line(pair).cut = true;
        self.notice_silence(pair);
    }

    /// Swallows what `from` sends to `to`. With `noticed` the link is given up after some seconds, as QUIC
    /// does; without, both ends go on believing in it, as on radio.
    pub fn silence(&mut self, from: Seat, to: Seat, noticed: bool) {
        let pair = Pair::new(from, to);
        *self.lan.line(pair).silent.at_mut(pair.end_of(from)) = true;
        if noticed {
            self.notice_silence(pair);
        }
    }

    /// The wire between two machines is whole again, both ways.
    pub fn mend(&mut self, a: Seat, b: Seat) {
        let pair = Pair::new(a, b);
        let line = self.lan.line(pair);
        line.cut = false;
        for end in [End::Low, End::High] {
            *line.silent.at_mut(end) = false;
        }
        self.dial(pair);
    }

    /// Whether a link between two machines is up at both ends.
    pub fn is_linked(&mut self, a: Seat, b: Seat) -> bool {
        self.lan.line(Pair::new(a, b)).is_up()
    }

    fn notice_silence(&mut self, pair: Pair) {
        for end in [End::Low, End::High] {
            if let Some(link) = *self.lan.line(pair).up.at(end) {
                let after_ms = self.dice.between(100, 12_000);
                self.after(after_ms, Happening::Down { link });
            }
        }
    }

    fn dial_all(&mut self, seat: Seat) {
        for other in self.seats().into_iter().filter(|other| *other != seat) {
            self.dial(Pair::new(seat, other));
        }
    }

    /// A dial, soon. What keeps it from succeeding schedules the next when it goes away.
    fn dial(&mut self, pair: Pair) {
        let line = self.lan.line(pair);
        if line.dialling || line.is_up() {
            return;
        }
        line.dialling = true;
        let after_ms = self.dice.between(50, 3_000);
        self.after(after_ms, Happening::Dial(pair));
    }

    fn dialled(&mut self, pair: Pair) {
        let line = self.lan.line(pair);
        line.dialling = false;
        if !line.passes() || line.is_up() || !self.agree_to_link(pair) {
            return;
        }
        for end in [End::Low, End::High] {
            if let Some(link) = *self.lan.line(pair).up.at(end) {
                self.down(link);
            }
        }
        self.lan.open(pair);
        for end in [End::Low, End::High] {
            let at_ms = self.time_ms + self.latency_ms();
            let line = self.lan.line(pair);
            let link = line.session.at(end).expect("a session was opened");
            *line.arrives_ms.at_mut(end) = at_ms;
            self.at(at_ms, Happening::Up { link });
        }
    }

    /// Whether both run and have each other on their lists.
    fn agree_to_link(&self, pair: Pair) -> bool {
        [End::Low, End::High].into_iter().all(|end| {
            let other = self.machine(pair.seat(end.other())).peer;
            let node = self.machine(pair.seat(end)).node.as_ref();
            node.is_some_and(|node| node.dialable_peers().iter().any(|(peer, _)| *peer == other))
        })
    }

    fn up(&mut self, link: LinkId) {
        let Some((pair, end)) = self.lan.place(link) else { return };
        let (seat, peer) = (pair.seat(end), self.machine(pair.seat(end.other())).peer);
        let line = self.lan.line(pair);
        if *line.session.at(end) != Some(link) {
            return;
        }
        if !self.is_running(seat) {
            // The dialler hears nothing and gives up.
            if let Some(link) = *self.lan.line(pair).up.at(end.other()) {
                self.after(10_000, Happening::Down { link });
            }
            return;
        }
        *self.lan.line(pair).up.at_mut(end) = Some(link);
        let caps = caps(self.rates.latency_ms.0);
        self.input(seat, Input::LinkUp { link, peer, caps });
    }

    fn down(&mut self, link: LinkId) {
        let Some((pair, end)) = self.lan.place(link) else { return };
        let line = self.lan.line(pair);
        if *line.up.at(end) != Some(link) {
            return;
        }
        *line.up.at_mut(end) = None;
        // The far end of the session learns it too, if it has not yet.
        if let Some(far) = *line.up.at(end.other()) {
            let after_ms = self.dice.between(10, 12_000);
            self.after(after_ms, Happening::Down { link: far });
        }
        self.input(pair.seat(end), Input::LinkDown { link });
        self.dial(pair);
    }

    fn latency_ms(&mut self) -> u64 {
        let (least, more) = self.rates.latency_ms;
        least + self.dice.below(more + 1)
    }

    fn transmit(&mut self, link: LinkId, bytes: Vec<u8>) {
        self.traffic.messages += 1;
        self.traffic.bytes += bytes.len() as u64;
        assert!(bytes.len() <= crate::limits::MESSAGE_BYTES_MAX, "a node sent more than a link takes");
        let Some((pair, end)) = self.lan.place(link) else { return };
        let line = self.lan.line(pair);
        if *line.up.at(end) != Some(link) || *line.session.at(end) != Some(link) {
            return;
        }
        if line.cut || *line.silent.at(end) {
            self.faults.count(Fault::Silence);
            return;
        }
        if self.dice.chance(self.rates.loss) {
            self.faults.count(Fault::Loss);
            return;
        }
        let to = end.other();
        let Some(far) = *self.lan.line(pair).session.at(to) else { return };
        let latency_ms = self.latency_ms();
        let time_ms = self.time_ms;
        let in_order_ms = {
            let newest = self.lan.line(pair).arrives_ms.at_mut(to);
            *newest = (*newest).max(time_ms + latency_ms);
            *newest
        };
        if self.dice.chance(self.rates.duplication) {
            self.faults.count(Fault::Duplication);
            let at_ms = in_order_ms + self.dice.below(self.rates.lag_ms + 1);
            self.at(at_ms, Happening::Deliver { link: far, bytes: bytes.clone() });
        }
        let mut at_ms = in_order_ms;
        if self.dice.chance(self.rates.reordering) {
            self.faults.count(Fault::Reordering);
            at_ms += self.dice.below(self.rates.lag_ms + 1);
        }
        let bytes = if self.dice.chance(self.rates.corruption) {
            self.faults.count(Fault::Corruption);
            let other = self.machine(pair.seat(to)).remembered.back().map(|(_, b)| b.clone());
            damage(&mut self.dice, &bytes, &other.unwrap_or_default())
        } else {
            bytes
        };
        self.at(at_ms, Happening::Deliver { link: far, bytes });
    }

    fn deliver(&mut self, link: LinkId, bytes: Vec<u8>) {
        let Some((pair, end)) = self.lan.place(link) else { return };
        if *self.lan.line(pair).up.at(end) != Some(link) {
            return;
        }
        let (seat, from) = (pair.seat(end), self.machine(pair.seat(end.other())).peer);
        let machine = self.machine_mut(seat);
        if machine.remembered.len() == REMEMBERED_MAX {
            machine.remembered.pop_front();
        }
        machine.remembered.push_back((from, bytes.clone()));
        self.input(seat, Input::Received { link, bytes });
    }

    /// Gives every machine again what it received before, on the links that are up now.
    pub fn replay(&mut self) {
        for seat in self.seats() {
            let remembered = std::mem::take(&mut self.machine_mut(seat).remembered);
            for (from, bytes) in remembered {
                let Some(other) = self.seats().into_iter().find(|s| self.machine(*s).peer == from) else {
                    continue;
                };
                let pair = Pair::new(seat, other);
                if let Some(link) = *self.lan.line(pair).up.at(pair.end_of(seat)) {
                    self.faults.count(Fault::Replay);
                    self.input(seat, Input::Received { link, bytes });
                }
            }
        }
    }

    // ---- asking --------------------------------------------------------------------------------------

    /// A command, answered before anything else happens; only a write whose author is said to have newer
    /// states elsewhere (a damaged message may say so) lets time pass before. The machine must run.
    pub fn ask(&mut self, seat: Seat, command: Command) -> Result<Reply, CommandError> {
        let request = self.begin(seat, command);
        let end_ms = self.time_ms + OWN_STATE_WAIT_MS + 1_000;
        loop {
            if let Some(reply) = self.reply(seat, request) {
                return reply;
            }
            assert!(self.time_ms < end_ms, "every command but Join is answered in time");
            self.run_for(10);
        }
    }

    /// A command whose reply may come later.
    pub fn begin(&mut self, seat: Seat, command: Command) -> RequestId {
        let request = self.next_request(seat);
        self.input(seat, Input::Command { request, command });
        request
    }

    /// The reply, once it has come.
    pub fn reply(&mut self, seat: Seat, request: RequestId) -> Option<Result<Reply, CommandError>> {
        self.machine_mut(seat).replies.remove(&request)
    }

    /// A command during which the machine crashes, after so many outputs were polled: none means that not
    /// even the commit was begun. Returns the reply if it was among those polled.
    pub fn ask_and_crash(
        &mut self,
        seat: Seat,
        command: Command,
        outputs: usize,
    ) -> Option<Result<Reply, CommandError>> {
        let request = self.next_request(seat);
        self.feed(seat, Input::Command { request, command });
        self.drain(seat, outputs);
        self.crash(seat);
        self.reply(seat, request)
    }

    /// Invites and joins through the join call, in `within_ms` of virtual time or not at all.
    pub fn federate(
        &mut self,
        inviter: Seat,
        joiner: Seat,
        level: TrustLevel,
        within_ms: u64,
    ) -> Result<(), String> {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        let invite = Command::Invite { level, expires_ms: 20 * DAY_MS, addresses: Vec::new() };
        let code = match self.ask(inviter, invite) {
            Ok(Reply::Invite(view)) => view.code,
            other => return Err(format!("no invite: {other:?}")),
        };
        let request = self.begin(joiner, Command::Join { code, addresses: Vec::new() });
        let end_ms = self.time_ms + within_ms;
        while self.time_ms < end_ms {
            match self.reply(joiner, request) {
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) => return Err(format!("refused: {error}")),
                None => self.run_for(100),
            }
        }
        Err(format!("{joiner:?} and {inviter:?} did not agree in {within_ms} ms"))
    }

    fn next_request(&mut self, seat: Seat) -> RequestId {
        let machine = self.machine_mut(seat);
        machine.last_request += 1;
        RequestId(machine.last_request)
    }

    // ---- time ----------------------------------------------------------------------------------------

    /// Lets so much time pass.
    pub fn run_for(&mut self, ms: u64) {
        self.run_until(self.time_ms + ms);
    }

    /// Lets time pass until then.
    pub fn run_until(&mut self, end_ms: u64) {
        while let Some(next) = self.queue.first_entry() {
            let at_ms = next.key().0;
            if at_ms > end_ms {
                break;
            }
            let happening = next.remove();
            self.time_ms = self.time_ms.max(at_ms);
            self.happen(happening);
        }
        self.time_ms = self.time_ms.max(end_ms);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(seat) => self.woken(seat),
            Happening::Deliver { link, bytes } => self.deliver(link, bytes),
            Happening::Up { link } => self.up(link),
            Happening::Down { link } => self.down(link),
            Happening::Dial(pair) => self.dialled(pair),
            Happening::JoinArrives { joiner, inviter, bytes } => self.join_arrives(joiner, inviter, bytes),
            Happening::JoinAnswered { joiner, inviter, result } => {
                if self.is_running(joiner) {
                    self.input(joiner, Input::JoinAnswered { inviter, result });
                }
            }
        }
    }

    fn after(&mut self, ms: u64, happening: Happening) {
        self.at(self.time_ms + ms, happening);
    }

    fn at(&mut self, at_ms: u64, happening: Happening) -> (u64, u64) {
        self.order += 1;
        let key = (at_ms, self.order);
        self.queue.insert(key, happening);
        key
    }

    // ---- the drive of one node -----------------------------------------------------------------------

    fn input(&mut self, seat: Seat, input: Input) {
        self.feed(seat, input);
        self.drain(seat, usize::MAX);
    }

    fn feed(&mut self, seat: Seat, input: Input) {
        match &input {
            Input::Received { bytes, .. } => self.record("received", seat, bytes),
            Input::Timeout => self.record("timeout", seat, &[]),
            other => self.record("input", seat, format!("{other:?}").as_bytes()),
        }
        let now = self.now(seat);
        let node = self.machine_mut(seat).node.as_mut().expect("only a running machine is given inputs");
        node.handle_input(now, input);
    }

    /// Polls at most so many outputs, then carries them out.
    fn drain(&mut self, seat: Seat, outputs_max: usize) {
        let Some(node) = self.machine_mut(seat).node.as_mut() else { return };
        let mut outputs = Vec::new();
        while outputs.len() < outputs_max {
            let Some(output) = node.poll_output() else { break };
            outputs.push(output);
            assert!(outputs.len() < OUTPUTS_MAX, "{seat:?} never comes to rest");
        }
        self.schedule_wake(seat);
        for output in outputs {
            self.carry_out(seat, output);
        }
    }

    fn schedule_wake(&mut self, seat: Seat) {
        let mono_ms = self.now(seat).mono_ms;
        let due = self.machine(seat).node.as_ref().and_then(Node::poll_timeout);
        if let Some(key) = self.machine_mut(seat).wake.take() {
            self.queue.remove(&key);
        }
        if let Some(due_ms) = due {
            let at_ms = self.time_ms + due_ms.saturating_sub(mono_ms);
            let key = self.at(at_ms, Happening::Wake(seat));
            self.machine_mut(seat).wake = Some(key);
        }
    }

    fn woken(&mut self, seat: Seat) {
        let time_ms = self.time_ms;
        let machine = self.machine_mut(seat);
        machine.wake = None;
        machine.wakes_at_once = match machine.wakes_at_once {
            (at_ms, count) if at_ms == time_ms => (at_ms, count + 1),
            _ => (time_ms, 1),
        };
        assert!(machine.wakes_at_once.1 < WAKES_AT_ONCE_MAX, "{seat:?}: a timer is due for ever");
        self.input(seat, Input::Timeout);
    }

    fn carry_out(&mut self, seat: Seat, output: Output) {
        match output {
            Output::Send { link, bytes } => {
                self.record("send", seat, &bytes);
                self.transmit(link, bytes);
            }
            Output::Frame { link, bytes } => {
                self.record("frame", seat, &bytes);
                self.wrongs.push(format!("a frame on {link}, where there is no radio"));
            }
            Output::Close { link } => {
                self.record("close", seat, &[]);
                self.after(0, Happening::Down { link });
            }
            Output::JoinAnswer { request, bytes } => self.join_answer(seat, request, bytes),
            Output::DialJoin { inviter, bytes, .. } => self.dial_join(seat, inviter, bytes),
            Output::Reply { request, result } => {
                self.record("reply", seat, format!("{result:?}").as_bytes());
                self.machine_mut(seat).replies.insert(request, result);
            }
            Output::Event(event) => self.event(seat, event),
        }
    }

    fn event(&mut self, seat: Seat, event: Event) {
        self.record("event", seat, format!("{event:?}").as_bytes());
        match event {
            Event::PeersChanged => self.dial_all(seat),
            Event::JoiningChanged { open } => self.machine_mut(seat).joining = open,
            // Sequence 0: it reads otherwise because rights changed, not because of a new state.
            Event::Changed(view) if view.sequence == 0 => {}
            Event::Changed(view) => {
                let key = (view.owner, view.name, view.author);
                let told = self.machine_mut(seat).told.entry(key.clone()).or_default();
                let before = std::mem::replace(told, view.sequence);
                if before > view.sequence {
                    self.wrong(format!("{seat:?} went back from {before} to {} in {key:?}", view.sequence));
                }
            }
            Event::Alarm { .. } => self.machine_mut(seat).alarms += 1,
            Event::Link(_) => {}
        }
    }

    fn dial_join(&mut self, joiner: Seat, inviter: PeerId, bytes: Vec<u8>) {
        let found = self.seats().into_iter().find(|seat| self.machine(*seat).peer == inviter);
        let reachable = found.filter(|other| self.lan.line(Pair::new(joiner, *other)).passes());
        let Some(inviter_seat) = reachable.filter(|_| !self.dice.chance(self.rates.loss)) else {
            self.faults.count(Fault::JoinLost);
            let result = Err("nobody answered".to_owned());
            self.after(JOIN_TIMEOUT_MS, Happening::JoinAnswered { joiner, inviter, result });
            return;
        };
        let after_ms = self.latency_ms();
        self.after(after_ms, Happening::JoinArrives { joiner, inviter: inviter_seat, bytes });
    }

    fn join_arrives(&mut self, joiner: Seat, inviter: Seat, bytes: Vec<u8>) {
        let (from, to) = (self.machine(joiner).peer, self.machine(inviter).peer);
        if !self.machine(inviter).joining || !self.is_running(inviter) {
            let result = Err("it takes no requests to join".to_owned());
            self.after(JOIN_TIMEOUT_MS, Happening::JoinAnswered { joiner, inviter: to, result });
            return;
        }
        let request = self.next_request(inviter);
        self.joins.insert((inviter, request), joiner);
        self.input(inviter, Input::JoinRequest { request, peer: from, address: None, bytes });
        if self.joins.remove(&(inviter, request)).is_some() {
            let result = Err("it did not answer".to_owned());
            self.after(JOIN_TIMEOUT_MS, Happening::JoinAnswered { joiner, inviter: to, result });
        }
    }

    fn join_answer(&mut self, seat: Seat, request: RequestId, bytes: Vec<u8>) {
        let Some(joiner) = self.joins.remove(&(seat, request)) else { return };
        let inviter = self.machine(seat).peer;
        let (after_ms, result) = if self.dice.chance(self.rates.loss) {
            self.faults.count(Fault::JoinLost);
            (JOIN_TIMEOUT_MS, Err("the answer was lost".to_owned()))
        } else {
            (self.latency_ms(), Ok(bytes))
        };
        self.after(after_ms, Happening::JoinAnswered { joiner, inviter, result });
    }

    // ---- accounts ------------------------------------------------------------------------------------

    /// What the wires were given.
    pub fn traffic(&self) -> Traffic {
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

    /// A print of everything that happened so far, in order: equal for equal seeds.
    pub fn digest(&self) -> String {
        self.digest.finalize().to_hex().chars().take(16).collect()
    }

    fn wrong(&mut self, what: String) {
        self.wrongs.push(format!("at {} ms: {what}", self.time_ms));
    }

    fn record(&mut self, what: &str, seat: Seat, bytes: &[u8]) {
        self.digest.update(&self.time_ms.to_le_bytes());
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
