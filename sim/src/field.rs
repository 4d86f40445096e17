//! Nodes with radios in one field, on virtual time: the emulated channel below, whole nodes above, and a LAN
//! cable between those that have one. Tests and the bench use it.
//!
//! Deterministic: the same seed and the same calls give the same frames.

use std::collections::{BTreeMap, VecDeque};
use tombolo::time::{Millis, Mono, Wall};

use tombolo::clock::{BUILD_DATE, Now};
use tombolo::commands::{Catalogue, CatalogueState, Deploy, RunEnd, RunResult};
use tombolo::identity::Keypair;
use tombolo::io::{CallFailure, RadioSpec};
use tombolo::node::{Command, CommandError, Event, Input, Node, Output, Reply, RequestId};
use tombolo::store::{Store, StoreError, StoreOrigin};
use tombolo::watches::{AlarmMessageKey, DeliveryEnd};
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::Rules;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::emulated::{Access, Air, EmulatedRadioId};
use tombolo_mesh::frame::keys::Mode;
use tombolo_transports::{DownReason, JoinError, LinkId, Medium, PeerId};

pub use crate::patch::CableKind;
use crate::patch::{CableEnd, Cables};

use crate::DAY;
use crate::transcript::{self, Disk, NodeStart, Transcript};

/// Wall time when a field begins: a day after the build.
pub const START: Wall = Wall::from_ms(BUILD_DATE.ms() + DAY.ms());
/// Every radio is this link of its node.
const RADIO: LinkId = LinkId(1);

/// Rules without limits, for measurements without a duty cycle.
pub const UNLIMITED: Rules =
    Rules { duty_permille: None, dwell: None, call_sign_every: None, clear_only: false, source: "none" };

/// The settings of a field.
#[derive(Clone, Debug)]
pub struct FieldConfig {
    /// The seed of everything random.
    pub seed: u64,
    /// How fast the radios are.
    pub line: PhyRate,
    /// The longest frame, 50 to 255 bytes.
    pub frame_bytes_max: usize,
    /// The limits on airtime.
    pub ledger: LedgerConfig,
    /// Whether frames are sealed, or signed in clear.
    pub mode: Mode,
    /// One of so many states is signed on air.
    pub sign_every: u32,
}

impl FieldConfig {
    /// LoRa frames of 231 bytes without a duty cycle.
    pub fn new(seed: u64, line: PhyRate) -> Self {
        let ledger = LedgerConfig::new(Some(UNLIMITED));
        FieldConfig { seed, line, frame_bytes_max: 231, ledger, mode: Mode::Encrypted, sign_every: 1 }
    }

    /// The field of all transcripts.
    pub fn of_transcripts(seed: u64) -> Self {
        FieldConfig::new(seed, PhyRate::lora(Modulation::SF7_125))
    }

    /// What a node is given as its radio.
    pub(crate) fn radio_spec(&self) -> RadioSpec {
        let FieldConfig { line, frame_bytes_max, ledger, mode, sign_every, .. } = *self;
        RadioSpec {
            name: "field".to_owned(),
            mode,
            frame_bytes_max,
            frame_bytes_min: 0,
            call_sign: None,
            line,
            ledger,
            sign_every,
            rules_text: "a field of the simulation".to_owned(),
        }
    }
}

struct FieldNode {
    name: String,
    node: Node,
    store: Store,
    radio: EmulatedRadioId,
    has_radio: bool,
    /// Whether the node waits until its radio takes a frame.
    sending: bool,
    boots: u64,
}

/// Nodes, their radio channel, their cables and virtual time.
pub struct Field {
    config: FieldConfig,
    /// The channel: reachability, losses and faults are set on it.
    pub air: Air,
    places: Vec<FieldNode>,
    cables: Cables,
    queue: VecDeque<(usize, Input)>,
    replies: BTreeMap<(usize, RequestId), Result<Reply, CommandError>>,
    /// The events of all nodes, oldest first.
    pub events: Vec<(usize, Event)>,
    /// The installs that nodes began, oldest first.
    pub installs: Vec<(usize, Deploy)>,
    /// The messages to operators that nodes handed over, oldest first.
    pub messages: Vec<(usize, AlarmMessageKey)>,
    /// How often anything happened, timers included: nodes that wait do not spin.
    pub steps: u64,
    /// Whether requests to join may go over a cable that is not there.
    pub calls_reach: bool,
    /// By how much the wall clocks of all nodes are ahead.
    pub clocks_ahead: Millis,
    /// What goes into the nodes and comes out of them, where it is written down.
    transcript: Option<Transcript>,
    now: Mono,
    next: u64,
}

impl Field {
    /// A field without nodes.
    pub fn new(config: FieldConfig) -> Self {
        Field {
            air: Air::new(config.seed, config.line),
            config,
            places: Vec::new(),
            cables: Cables::default(),
            queue: VecDeque::new(),
            replies: BTreeMap::new(),
            events: Vec::new(),
            installs: Vec::new(),
            messages: Vec::new(),
            steps: 0,
            calls_reach: false,
            clocks_ahead: Millis::ZERO,
            transcript: None,
            now: Mono::ZERO,
            next: 100,
        }
    }

    /// Adds a node, with a radio if `radio`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if its store cannot be made or opened.
    pub fn add(&mut self, name: &str, radio: bool) -> Result<usize, StoreError> {
        let place = self.places.len();
        let store = Store::in_memory()?;
        let node = self.open(&store, place, name, 0, Disk::Empty)?;
        let radio_id = self.air.add_radio();
        // Radios of stock firmware listen before they talk.
        self.air.set_access(radio_id, Access::Listen { persistence: 127, slot_ms: 20, detect_ms: 5 });
        let name = name.to_owned();
        let has_radio = false;
        self.places.push(FieldNode {
            name,
            node,
            store,
            radio: radio_id,
            has_radio,
            sending: false,
            boots: 1,
        });
        if radio {
            self.switch_on(place);
        }
        Ok(place)
    }

    fn open(
        &mut self,
        store: &Store,
        place: usize,
        name: &str,
        boots: u64,
        disk: Disk,
    ) -> Result<Node, StoreError> {
        let mut key = [place as u8 + 1; 32];
        key[..8].copy_from_slice(&self.config.seed.to_be_bytes());
        let mut seed = key;
        seed[8..16].copy_from_slice(&boots.to_be_bytes());
        let now = self.clocks();
        if let Some(transcript) = &mut self.transcript {
            transcript.started(now, &NodeStart { name, key, randomness: seed, disk });
        }
        let settings = transcript::settings(name, &key);
        Node::open(store.reopen(), Keypair::from_seeds(&key, &key), settings, now, seed)
            .map_err(|tombolo::node::OpenError::Store(error)| error)
    }

    /// Gives a node its radio.
    pub fn switch_on(&mut self, place: usize) {
        self.node_at_mut(place).has_radio = true;
        let spec = self.config.radio_spec();
        self.queue.push_back((place, Input::RadioUp { link: RADIO, spec: Box::new(spec) }));
        self.settle();
    }

    /// Gives a node a catalogue, until it restarts.
    ///
    /// # Panics
    ///
    /// If the text is no catalogue.
    pub fn set_catalogue(&mut self, place: usize, text: &str) {
        let catalogue = Catalogue::parse(text).expect("a story brings a catalogue that reads");
        self.queue.push_back((place, Input::Catalogue(CatalogueState::Read(catalogue))));
        self.settle();
    }

    /// The node's process ends abruptly and starts again, with its radio but without its cables.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if its store cannot be opened again.
    pub fn restart(&mut self, place: usize) -> Result<(), StoreError> {
        self.restart_on(place, Disk::Own)
    }

    fn restart_on(&mut self, place: usize, disk: Disk) -> Result<(), StoreError> {
        for end in self.cables.of(place) {
            if let Some((to, far)) = self.cables.take(end) {
                self.queue.push_back((to, Input::LinkDown { link: far, why: DownReason::PeerClosed }));
            }
        }
        let FieldNode { store, name, boots, has_radio, .. } = self.node_at(place);
        let (store, name, boots, has_radio) = (store.reopen(), name.clone(), *boots, *has_radio);
        let node = self.open(&store, place, &name, boots, disk)?;
        // What waited for the process that is gone.
        self.queue.retain(|(to, _)| *to != place);
        let here = self.node_at_mut(place);
        (here.node, here.boots, here.sending) = (node, boots + 1, false);
        match has_radio {
            true => self.switch_on(place),
            false => self.settle(),
        }
        Ok(())
    }

    /// A copy of a node's disk as it is now.
    pub fn back_up(&mut self, place: usize) -> Store {
        let (now, here) = (self.clocks(), self.node_at(place));
        let (copy, name) = (transcript::copy_of(&here.store), here.name.clone());
        if let Some(transcript) = &mut self.transcript {
            transcript.backed_up(now, &name);
        }
        copy
    }

    /// The node's disk is replaced by a copy of it that was made before.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the copy cannot be opened.
    pub fn restore(&mut self, place: usize, backup: &Store) -> Result<(), StoreError> {
        self.node_at_mut(place).store = transcript::copy_of(backup);
        self.restart_on(place, Disk::Backup)
    }

    /// Writes down from now on what goes into the nodes and what comes out. Nodes that are there already are not in it.
    pub fn write_down(&mut self, transcript: Transcript) {
        self.transcript = Some(transcript);
    }

    /// What was written down.
    pub fn transcript(&self) -> Option<&Transcript> {
        self.transcript.as_ref()
    }

    /// The node's disk is lost; it starts again with its identity and nothing else.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if a new store cannot be made.
    pub fn lose_disk(&mut self, place: usize) -> Result<(), StoreError> {
        let mut store = Store::in_memory()?;
        // As the folder of a node makes a store for a key that is there.
        store.commit(StoreOrigin::Unconfirmed.marks())?;
        self.node_at_mut(place).store = store;
        self.restart(place)
    }

    /// How many nodes there are.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Virtual time since the field began.
    pub fn now(&self) -> Mono {
        self.now
    }

    /// The identity of a node.
    pub fn peer_id(&self, place: usize) -> PeerId {
        self.node_at(place).node.peer_id()
    }

    /// A node's radio on the channel.
    pub fn radio(&self, place: usize) -> EmulatedRadioId {
        self.node_at(place).radio
    }

    /// A frame that one node, a member, makes up in another's name: of this kind, on that one's own channel, with any counter.
    pub fn forge(&self, by: usize, victim: usize, kind: u8, counter: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let forged = tombolo::broadcast::Forged { victim: self.peer_id(victim), kind, counter, bytes };
        let report = self.node_at(by).node.report();
        report.broadcast.forge(report.core, report.replica, RADIO, &forged)
    }

    /// A node's radio hands over these bytes, which no other radio has sent. No time passes.
    pub fn hand_over(&mut self, place: usize, bytes: Vec<u8>) {
        self.queue.push_back((place, Input::Frame { link: RADIO, bytes }));
        self.settle();
    }

    /// Lays a LAN cable between two nodes.
    pub fn connect(&mut self, a: usize, b: usize) {
        self.connect_over(a, b, CableKind::LAN);
    }

    /// Lays a cable of a kind between two nodes.
    pub fn connect_over(&mut self, a: usize, b: usize, kind: CableKind) {
        let (la, lb) = (LinkId(self.next), LinkId(self.next + 1));
        self.next += 2;
        self.cables.lay((a, la), (b, lb), kind);
        let (pa, pb) = (self.peer_id(a), self.peer_id(b));
        self.queue.push_back((a, Input::LinkUp { link: la, peer: pb, caps: kind.caps() }));
        self.queue.push_back((b, Input::LinkUp { link: lb, peer: pa, caps: kind.caps() }));
        self.settle();
    }

    /// Takes the cables between two nodes away.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut_ends(self.cables.between(a, b, None));
    }

    /// Takes the cables of this medium between two nodes away.
    pub fn cut_over(&mut self, a: usize, b: usize, medium: Medium) {
        self.cut_ends(self.cables.between(a, b, Some(medium)));
    }

    fn cut_ends(&mut self, ends: Vec<CableEnd>) {
        for end in ends {
            let far = self.cables.take(end);
            for (node, link) in [Some(end), far].into_iter().flatten() {
                self.queue.push_back((node, Input::LinkDown { link, why: DownReason::Silent }));
            }
        }
        self.settle();
    }

    /// What goes over the cables of this medium between two nodes is lost from now on; both go on believing in them until they are
    /// cut.
    pub fn silence(&mut self, a: usize, b: usize, medium: Medium) {
        for end in self.cables.between(a, b, Some(medium)) {
            self.cables.silence(end);
        }
    }

    /// A number that grows with each new state of any layer that a node takes: the sum of their sequences.
    pub fn states_taken(&self, place: usize) -> u64 {
        let report = self.node_at(place).node.report();
        report.replica.layers().layers().map(|layer| layer.head().sequence.get()).sum()
    }

    /// Bytes that went over cables.
    pub fn cable_bytes(&self) -> u64 {
        self.cables.bytes
    }

    /// Sends a command and lets no time pass; `None` if the reply takes time.
    pub fn ask(&mut self, place: usize, command: impl Into<Command>) -> Option<Result<Reply, CommandError>> {
        let request = self.begin(place, command);
        self.replies.remove(&(place, request))
    }

    /// Sends a command whose reply takes time.
    pub fn begin(&mut self, place: usize, command: impl Into<Command>) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.queue.push_back((place, Input::Command { request, command: command.into() }));
        self.settle();
        request
    }

    /// The reply to a command, once it has come.
    pub fn answer(&mut self, place: usize, request: RequestId) -> Option<Result<Reply, CommandError>> {
        self.replies.remove(&(place, request))
    }

    /// Lets so much virtual time pass.
    pub fn run(&mut self, length: Millis) {
        let end = self.now + length;
        while self.now < end {
            self.step(end);
        }
    }

    /// Lets time pass until `holds` returns true, at most so long. Returns whether it did.
    pub fn run_until(&mut self, length: Millis, mut holds: impl FnMut(&mut Field) -> bool) -> bool {
        let end = self.now + length;
        while !holds(self) {
            if self.now >= end {
                return false;
            }
            self.step(end);
        }
        true
    }

    fn step(&mut self, end: Mono) {
        self.steps += 1;
        self.settle();
        let timers = self.places.iter().filter_map(|place| place.node.poll_timeout()).min();
        let waits = [timers, self.air.poll_timeout(), self.cables.next_at()];
        let next = waits.into_iter().flatten().min().unwrap_or(end);
        let soonest = self.now + Millis::from_ms(1);
        self.now = next.clamp(soonest, end.max(soonest));
        while let Some((radio, frame)) = self.air.poll(self.now) {
            if let Some(place) = self.places.iter().position(|place| place.radio == radio) {
                self.queue.push_back((place, Input::Frame { link: RADIO, bytes: frame }));
            }
        }
        while let Some(((to, far), bytes)) = self.cables.poll(self.now) {
            self.queue.push_back((to, Input::Received { link: far, bytes }));
        }
        for (place, at) in self.places.iter().enumerate() {
            // Written down is what is due; others get their chance with each step.
            let is_due = at.node.poll_timeout().is_some_and(|due| due <= self.now);
            if is_due || self.transcript.is_none() {
                self.queue.push_back((place, Input::Timeout));
            }
        }
        self.settle();
    }

    /// Handles the queued inputs and what follows from them, until the queue is empty.
    fn settle(&mut self) {
        loop {
            for place in 0..self.places.len() {
                let here = self.node_at(place);
                if here.sending && self.air.is_idle(here.radio) {
                    self.node_at_mut(place).sending = false;
                    self.queue.push_back((place, Input::RadioReady { link: RADIO }));
                }
            }
            let Some((place, input)) = self.queue.pop_front() else { return };
            let now = self.clocks();
            if let (Some(transcript), Some(here)) = (&mut self.transcript, self.places.get(place)) {
                transcript.input(now, &here.name, &input);
            }
            self.node_at_mut(place).node.handle_input(now, input);
            while let Some(output) = self.node_at_mut(place).node.poll_output() {
                if let (Some(transcript), Some(here)) = (&mut self.transcript, self.places.get(place)) {
                    transcript.output(now, &here.name, &output);
                }
                self.output(place, output);
            }
        }
    }

    fn output(&mut self, place: usize, output: Output) {
        match output {
            Output::Frame { bytes, .. } => {
                let (now, radio) = (self.now, self.node_at(place).radio);
                self.node_at_mut(place).sending = true;
                // A frame that the radio does not take is lost, as on any radio.
                let _ = self.air.transmit(now, radio, bytes);
            }
            Output::Send { link, bytes } => {
                if let Some(((to, far), bytes)) = self.cables.send(self.now, (place, link), bytes) {
                    self.queue.push_back((to, Input::Received { link: far, bytes }));
                }
            }
            Output::Close { link } => {
                if let Some((to, far)) = self.cables.take((place, link)) {
                    self.queue.push_back((to, Input::LinkDown { link: far, why: DownReason::PeerClosed }));
                }
            }
            Output::Reply { request, result } => {
                self.replies.insert((place, request), result);
            }
            Output::DialJoin { inviter, bytes, .. } => self.dial_join(place, inviter, bytes),
            Output::JoinAnswer { request, bytes } => {
                let inviter = self.peer_id(place);
                let joiner = usize::try_from(request.0).unwrap_or(0);
                self.queue.push_back((joiner, Input::JoinAnswered { inviter, result: Ok(bytes) }));
            }
            Output::Event(event) => self.events.push((place, event)),
            Output::CallAnswer { .. } => {}
            Output::DialCall { id, .. } => {
                let why = "there is no Tor in a field".to_owned();
                let result = Err(CallFailure { why, may_have_arrived: false });
                self.queue.push_back((place, Input::CallAnswered { id, result }));
            }
            Output::Notify { key, .. } => {
                self.messages.push((place, key));
                self.queue.push_back((place, Input::Notified { key, end: DeliveryEnd::Sent }));
            }
            Output::Install { key, deploy } => {
                self.installs.push((place, deploy));
                let result = RunResult { end: RunEnd::Success, output: "installed".repeat(100) };
                self.queue.push_back((place, Input::Installed { key, result }));
            }
        }
    }

    /// Hands a request to join to the inviter, where calls reach.
    fn dial_join(&mut self, place: usize, inviter: PeerId, bytes: Vec<u8>) {
        let to = (0..self.places.len()).find(|n| self.peer_id(*n) == inviter);
        match to.filter(|_| self.calls_reach) {
            Some(to) => {
                let (request, peer) = (RequestId(place as u64), self.peer_id(place));
                self.queue.push_back((to, Input::JoinRequest { request, peer, address: None, bytes }));
            }
            None => {
                let result = Err(JoinError::NotFound);
                self.queue.push_back((place, Input::JoinAnswered { inviter, result }));
            }
        }
    }

    /// What the clocks of every node show.
    fn clocks(&self) -> Now {
        Now { mono: self.now, wall: START + self.now.since(Mono::ZERO) + self.clocks_ahead }
    }

    fn node_at(&self, place: usize) -> &FieldNode {
        self.places.get(place).expect("places are numbered by `add`")
    }

    fn node_at_mut(&mut self, place: usize) -> &mut FieldNode {
        self.places.get_mut(place).expect("places are numbered by `add`")
    }
}
