//! `Node`: the house around the rooms. It joins the sync engine, the router, the documents, the federation
//! and the store, and is driven the same way by the daemon, by the command line and by the simulation:
//! `handle_input` one or more times, `poll_output` until it is empty, `poll_timeout`.
//!
//! `outbound.rs` and `inbound.rs` are the two walks. **Nothing leaves before it is on disk**: outputs wait
//! behind the commit that the first `poll_output` makes.

mod commands;
mod holdings;
mod inbound;
pub mod io;
mod lens;
mod outbound;
mod peers;
pub mod radio;
mod recovery;
mod state;
mod status;
mod step;
mod timers;
pub mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::{Address, LinkCaps, LinkId, PeerId};

pub use io::{Command, CommandError, Event, Input, Output, Reply, RequestId};
pub use state::{App, AppStatus, NodeState};

use crate::clock::{HybridClock, Now, ReferenceClock, TimeSource, Timestamp};
use crate::federation::join::{JoinAnswer, JoinRefusal};
use crate::federation::peer::Joined;
use crate::federation::{Federation, Peer, TrustLevel};
use crate::identity::Keypair;
use crate::layer::{DocumentId, DocumentName, ForkEvidence, KeyPath, LayerId, LayerPrint};
use crate::limits::HEARTBEAT_MS;
use crate::random::Random;
use crate::router::{Preference, TransportRouter};
use crate::store::{Loaded, Store, StoreError, StoredLayer, Write};
use crate::sync::frontier::{Frontier, State};
use crate::sync::{self, Engine};
use holdings::Holdings;

/// Settings of a node; each default is safe.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// What the node calls itself.
    pub name: String,
    /// The operator vouches for the system clock.
    pub operator_clock_set: bool,
    /// Heartbeat on an idle link, milliseconds.
    pub heartbeat_ms: u64,
    /// Which links come first.
    pub preference: Preference,
    /// What stands in the briefs of documents, by document.
    pub briefs: BTreeMap<String, radio::brief::BriefFields>,
    /// The machine's boot that `Now::mono_ms` counts from, where it goes on when this process ends; else nothing is known of the
    /// time between two runs but what the wall clock says.
    pub machine_boot: Option<[u8; 16]>,
}

impl Default for NodeSettings {
    fn default() -> Self {
        NodeSettings {
            name: String::new(),
            operator_clock_set: false,
            heartbeat_ms: HEARTBEAT_MS,
            preference: Preference::Auto,
            briefs: BTreeMap::new(),
            machine_boot: None,
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store does not open or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A link to a peer.
#[derive(Clone, Debug)]
struct Link {
    peer: PeerId,
    caps: LinkCaps,
}

/// A node of a federation, without sockets, clock or threads.
#[derive(Debug)]
pub struct Node {
    keypair: Keypair,
    me: PeerId,
    settings: NodeSettings,
    store: Store,
    now: Now,
    /// Reference time at the start, where our own clock was set: a state of ours signed later, and not by
    /// us, means a second machine with our key.
    started_ms: Option<u64>,
    clock: HybridClock,
    reference: ReferenceClock,
    random: Random,
    federation: Federation,
    invites: peers::Invites,
    holdings: Holdings,
    engine: Engine,
    transfers: sync::transfer::Transfers,
    router: TransportRouter,
    links: BTreeMap<LinkId, Link>,
    radios: radio::Radios,
    /// States that their authors have not signed yet.
    provisional: BTreeMap<LayerId, radio::provisional::Provisional>,
    /// Whose message a radio brought, while it is handled.
    hearing: Option<radio::Hearing>,
    /// Drawn at this start; goes out with our clock.
    boot: u32,
    /// Per connected peer, the boot and the newest uptime that came with its clock.
    uptimes: BTreeMap<PeerId, (u32, u64)>,
    staged: outbound::Staged,
    /// Keys written since the start, per document of which we write a layer: what a restore keeps.
    written: BTreeMap<DocumentId, BTreeSet<KeyPath>>,
    /// Our own layers in states that we do not hold.
    recovery: recovery::Recovery,
    forks: Vec<ForkEvidence>,
    sweep_at: u64,
    last_reference_ms: u64,
    /// Set when another machine signs with our key.
    stopped: Option<String>,
    /// The disk refused.
    trouble: Option<status::Trouble>,
    rights_changed: bool,
    counters: status::Counters,
    writes: Vec<Write>,
    /// Outputs that wait for the commit of `writes`.
    waiting: VecDeque<Output>,
    ready: VecDeque<Output>,
    /// Bytes of layers supplied since the last poll.
    supplied_bytes: usize,
}

impl Node {
    /// Opens the node that a store belongs to, or starts a new one. `seed` is fresh randomness: tokens and
    /// jitter come from it.
    pub fn open(
        store: Store,
        keypair: Keypair,
        settings: NodeSettings,
        now: Now,
        seed: [u8; 32],
    ) -> Result<Node, OpenError> {
        let loaded = store.load()?;
        let me = keypair.peer_id();
        let mut random = Random::new(&seed);
        let boot = u32::from_be_bytes(random.bytes());
        let engine = Engine::new(Frontier::default(), settings.heartbeat_ms, Random::new(&random.bytes()));
        let router = TransportRouter::new(settings.preference);
        let this_run = random.bytes();
        let radios = radio::Radios::new(settings.machine_boot.unwrap_or(this_run));
        let mut node = Node {
            keypair,
            me,
            settings,
            store,
            now,
            started_ms: None,
            clock: HybridClock::default(),
            reference: ReferenceClock::default(),
            random,
            federation: Federation::new(me),
            invites: peers::Invites::default(),
            holdings: Holdings::default(),
            engine,
            transfers: sync::transfer::Transfers::default(),
            router,
            links: BTreeMap::new(),
            radios,
            provisional: BTreeMap::new(),
            hearing: None,
            boot,
            uptimes: BTreeMap::new(),
            staged: outbound::Staged::default(),
            written: BTreeMap::new(),
            recovery: recovery::Recovery::default(),
            forks: Vec::new(),
            sweep_at: now.mono_ms,
            last_reference_ms: 0,
            stopped: None,
            trouble: None,
            rights_changed: true,
            counters: status::Counters::default(),
            writes: Vec::new(),
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            supplied_bytes: 0,
        };
        node.load(loaded)?;
        node.started_ms = node.reference.own_is_set(now).then(|| node.reference_ms());
        Ok(node)
    }

    /// Who we are.
    pub fn peer_id(&self) -> PeerId {
        self.me
    }

    /// Takes one input. Effects come out of `poll_output`.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.now = now;
        if self.memory_is_ahead() && self.trouble.as_ref().is_some_and(|t| t.until <= now.mono_ms) {
            self.go_back_to_disk();
        }
        if self.memory_is_ahead() {
            return self.handle_while_frozen(input);
        }
        self.put_clock_right();
        self.start_day();
        self.take_up_waiting();
        match input {
            Input::Timeout => {}
            Input::LinkUp { link, peer, caps } => self.link_up(link, peer, caps),
            Input::LinkDown { link } => self.link_down(link),
            Input::Received { link, bytes } => self.received(link, &bytes),
            Input::JoinRequest { request, peer, address, bytes } => {
                self.join_request(request, peer, address, &bytes);
            }
            Input::JoinAnswered { inviter, result } => self.join_answered(inviter, result),
            Input::RadioUp { link, spec } => self.radio_up(link, *spec),
            Input::RadioDown { link, why } => self.radio_down(link, why),
            Input::RadioReady { link } => self.radio_ready(link),
            Input::Frame { link, bytes } => self.frame_heard(link, &bytes),
            Input::Command { request, command } => self.command(request, command),
        }
        self.timers();
        self.drain_engine();
    }

    /// The next thing to do. The first call after an input signs what was written, makes everything durable
    /// in one commit, and only then lets outputs go.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.ready.is_empty() && !self.memory_is_ahead() {
            self.settle();
            self.drain_engine();
            self.drive_radios();
            self.commit();
        }
        self.ready.pop_front()
    }

    /// While the memory holds what the disk refused, nothing is answered from it and nothing is sent.
    fn handle_while_frozen(&mut self, input: Input) {
        let why = self.trouble.as_ref().map(|trouble| trouble.why.clone()).unwrap_or_default();
        match input {
            Input::LinkUp { link, peer, caps } => {
                self.links.insert(link, Link { peer, caps });
            }
            Input::LinkDown { link } => {
                self.links.remove(&link);
            }
            Input::Command { request, .. } => {
                self.ready.push_back(Output::Reply { request, result: Err(CommandError::Store(why)) });
            }
            Input::JoinRequest { request, .. } => {
                let bytes = JoinAnswer::Refused(JoinRefusal::Busy).encode();
                self.ready.push_back(Output::JoinAnswer { request, bytes });
            }
            Input::RadioUp { link, spec } => self.radio_up(link, *spec),
            Input::RadioDown { link, why } => self.radio_down(link, why),
            Input::RadioReady { link } => self.radio_ready(link),
            Input::JoinAnswered { .. } | Input::Received { .. } | Input::Frame { .. } | Input::Timeout => {}
        }
    }

    /// The monotonic time in milliseconds at which `Input::Timeout` is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        match &self.trouble {
            Some(trouble) if trouble.memory_is_ahead => Some(trouble.until),
            _ => self.next_timer(),
        }
    }

    /// Whom to let in and to dial, and where: all peers but the untrusted.
    pub fn dialable_peers(&self) -> Vec<(PeerId, Vec<Address>)> {
        let peers = self.federation.peers().filter(|peer| peer.trust_level > TrustLevel::Untrusted);
        // An inviter that has not agreed yet would turn a call as its peer away.
        let addresses = |peer: &Peer| match peer.joined {
            Joined::Agreed => peer.addresses.clone(),
            Joined::Waiting { .. } => Vec::new(),
        };
        peers.map(|peer| (peer.id, addresses(peer))).collect()
    }

    /// Whether an invite is open: `tombolo-join/1` is answered only then.
    pub fn joining_open(&self) -> bool {
        self.invites.is_open(self.reference_ms())
    }

    /// Makes `writes` durable and lets the outputs behind them go. If the disk refuses, everything since
    /// the last commit is undone: local requests hear why, and peers will offer their layers again.
    fn commit(&mut self) {
        self.supplied_bytes = 0;
        if !self.writes.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            if let Err(error) = self.store.commit(&writes) {
                self.undo(&error.to_string());
                return;
            }
            self.trouble = None;
        }
        self.ready.append(&mut self.waiting);
    }

    fn undo(&mut self, why: &str) {
        tracing::error!(why, "the store did not commit; going back to what is on disk");
        for output in std::mem::take(&mut self.waiting) {
            match output {
                Output::Reply { request, .. } => {
                    let result = Err(CommandError::Store(why.to_owned()));
                    self.ready.push_back(Output::Reply { request, result });
                }
                // The radio was given nothing: it takes another frame.
                Output::Frame { link, .. } => self.radio_ready(link),
                // A link that had to close has to close all the same.
                Output::Close { link } => self.ready.push_back(Output::Close { link }),
                _ => {}
            }
        }
        for request in self.invites.take_waiters() {
            let result = Err(CommandError::Store(why.to_owned()));
            self.ready.push_back(Output::Reply { request, result });
        }
        self.staged = outbound::Staged::default();
        self.trouble = Some(status::Trouble {
            why: why.to_owned(),
            until: self.now.mono_ms + timers::TROUBLE_PAUSE_MS,
            memory_is_ahead: true,
        });
        self.go_back_to_disk();
    }

    /// Opens the store's file anew and takes the memory from it. Until that works, requests are refused.
    fn go_back_to_disk(&mut self) {
        let loaded = self.store.heal().and_then(|()| self.store.load()).map_err(OpenError::from);
        let links = self.links.clone();
        match loaded.and_then(|loaded| self.load(loaded)) {
            Ok(()) => {
                if let Some(trouble) = &mut self.trouble {
                    trouble.memory_is_ahead = false;
                }
                self.links.clear();
                for (link, Link { peer, caps }) in links {
                    self.link_up(link, peer, caps);
                }
                self.drain_engine();
            }
            Err(error) => {
                tracing::error!(%error, "the store's file was not opened again");
                if let Some(trouble) = &mut self.trouble {
                    trouble.until = self.now.mono_ms + timers::TROUBLE_PAUSE_MS;
                }
            }
        }
    }

    /// Whether the memory holds what the disk refused: nothing is answered from it.
    fn memory_is_ahead(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.memory_is_ahead)
    }

    /// Fills the memory from what is on disk.
    fn load(&mut self, loaded: Loaded) -> Result<(), OpenError> {
        self.federation = Federation::new(self.me);
        for peer in loaded.peers {
            self.federation.put_peer(peer);
        }
        self.invites = peers::Invites::load(loaded.outgoing, loaded.incoming, &self.federation, self.now);
        let newest_own = newest_own_stamp(&loaded.layers, &self.me);
        self.clock = HybridClock::starting_after(newest_own);
        self.reference = ReferenceClock::new(newest_own, self.settings.operator_clock_set);
        let reference = self.reference_ms();
        let stamps = loaded.layers.iter().flat_map(|layer| &layer.entries).filter_map(|(_, e, _)| e.as_ref());
        for entry in stamps {
            // What we had seen stays below what we write.
            self.clock.observe(entry.stamp, reference);
        }
        self.holdings = Holdings::load(loaded.layers, reference).map_err(StoreError::Damaged)?;
        self.forks = loaded.forks;
        self.radios.load(&loaded.meta);
        self.put_clock_right();
        self.transfers = sync::transfer::Transfers::default();
        self.writes.clear();
        let audiences: Vec<_> = self.holdings.documents().map(|(id, _)| id.owner).collect();
        for owner in audiences {
            self.learn_audience(&owner);
        }
        let reference = self.reference_ms();
        let mut held = Frontier::default();
        for layer in self.holdings.layers() {
            held.set(layer.head().layer.print(), Some(State::of(&layer.signed)));
        }
        let writers = self.all_writers();
        for (id, document) in self.holdings.documents_mut() {
            document.set_writers(writers.get(&id.owner).cloned().unwrap_or_default(), reference);
            document.release(reference);
        }
        self.engine = Engine::new(held, self.settings.heartbeat_ms, Random::new(&self.random.bytes()));
        self.rights_changed = true;
        Ok(())
    }

    /// A system clock that was fast has been put right: our stamps follow it back. Alone and without a
    /// clock they go on from the newest stamp held.
    fn put_clock_right(&mut self) {
        let (reference, source) = self.reference.reference(self.now);
        if source != TimeSource::Logical {
            self.clock.pull_back(reference);
        }
    }

    /// The time that we sign and stamp with: whole seconds where a radio has to carry it.
    fn signing_ms(&self) -> u64 {
        let reference = self.reference_ms();
        if self.radios.is_empty() { reference } else { reference / 1000 * 1000 }
    }

    /// Reference time, milliseconds since the Unix epoch.
    fn reference_ms(&self) -> u64 {
        self.reference.reference(self.now).0
    }

    fn own_document(&self, name: &'static str) -> Option<DocumentId> {
        Some(DocumentId { owner: self.me, name: DocumentName::new(name).ok()? })
    }

    fn connected_peers(&self) -> BTreeSet<PeerId> {
        self.links.values().map(|link| link.peer).collect()
    }

    /// Which connected peers may have a layer's present state.
    fn readers(&self, layer: &LayerId) -> BTreeSet<PeerId> {
        let Some(held) = self.holdings.layer(layer) else { return BTreeSet::new() };
        if !self.federation.takes_part(&layer.document) {
            return BTreeSet::new();
        }
        let audience = held.head().audience_sequence;
        let may = |peer: &PeerId| self.federation.may_receive(peer, layer, audience);
        self.connected_peers().into_iter().filter(may).collect()
    }

    /// What one peer may see of what we have.
    fn frontier_for(&self, peer: &PeerId) -> Frontier {
        let mut frontier = Frontier::default();
        for layer in self.holdings.layers() {
            let head = layer.head();
            if self.federation.takes_part(&head.layer.document)
                && self.federation.may_receive(peer, &head.layer, head.audience_sequence)
            {
                frontier.set(head.layer.print(), Some(State::of(&layer.signed)));
            }
        }
        frontier
    }

    fn output(&mut self, output: Output) {
        self.waiting.push_back(output);
    }

    fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    fn layer_of(&self, print: &LayerPrint) -> Option<LayerId> {
        self.holdings.layer_of_print(print).map(|layer| layer.head().layer.clone())
    }
}

/// The newest time that an identity's stored layers carry.
fn newest_own_stamp(layers: &[StoredLayer], me: &PeerId) -> Timestamp {
    let own = layers.iter().filter(|layer| layer.signed.head.layer.author == *me);
    let stamps = own.flat_map(|layer| {
        let entries = layer.entries.iter().filter_map(|(_, entry, _)| entry.as_ref());
        entries.map(|entry| entry.stamp).chain([Timestamp::new(layer.signed.head.time_ms, 0)])
    });
    stamps.max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
