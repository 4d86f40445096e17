//! `Node`: takes inputs apart and hands them to the parts that own the state. It is driven the same way by the program, by the
//! library and by simulations: `handle_input` one or more times, `poll_output` until it is empty, `poll_timeout`.
//!
//! `outbound.rs` and `inbound.rs` are the two walks; `on_air.rs` is the way in from a radio frame to `inbound.rs`. **Nothing leaves
//! before it is on disk**: outputs wait behind the commit that the first `poll_output` makes ([`crate::core::Gate`]).
//!
//! | part | what it owns |
//! |---|---|
//! | [`core`](crate::core) | identity, settings, clocks, randomness, the gate, counters |
//! | [`replica`](crate::replica) | documents, peers, rights, recovery of the own state |
//! | [`membership`](crate::membership) | invites and joining |
//! | [`authoring`](crate::authoring) | local writes that wait for a signature |
//! | [`unicast`](crate::unicast) | links to one peer each, sync engine, router |
//! | [`broadcast`](crate::broadcast) | radios |
//! | [`rpc`](crate::rpc) | JSON calls: what was accepted, what is on its way, states that came so |
//! | [`commands`](crate::commands) | deploys sent and taken, notices of revocation |
//! | [`watches`](crate::watches) | what is watched, alarms, messages to the operator |
//!
//! What these do with each other for commands, notices and JSON calls stands in `desk`, which borrows them from here.

mod borrows;
mod calls;
mod commands;
mod drafts;
mod inbound;
mod long;
mod on_air;
mod outbound;
mod timers;
mod waiting;

use tombolo_transports::PeerId;

pub use crate::core::NodeSettings;
pub use crate::io::{
    self, Admin, Alarm, App, AppHealth, AppStatus, Command, CommandError, Event, Input, JoinFailure,
    NodeState, Output, Query, Reply, RequestId, Write, view,
};

use crate::authoring::Authoring;
use crate::broadcast::Broadcast;
use crate::clock::Now;
use crate::commands::Commands;
use crate::core::Core;
use crate::federation::join::{JoinAnswer, JoinRefusal};
use crate::identity::Keypair;
use crate::io::CallReply;
use crate::membership::Membership;
use crate::replica::Replica;
use crate::rpc::{CallRefusal, Calls};
use crate::store::{Loaded, RECALL_RECORD, Store, StoreError};
use crate::unicast::Unicast;
use crate::watches::Watches;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store does not open or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node of a federation, without sockets, clock or threads.
#[derive(Debug)]
pub struct Node {
    core: Core,
    replica: Replica,
    membership: Membership,
    authoring: Authoring,
    unicast: Unicast,
    broadcast: Broadcast,
    calls: Calls,
    commands: Commands,
    watches: Watches,
    under_way: long::UnderWay,
}

impl Node {
    /// Opens the node that a store belongs to, or starts a new one. `seed` is fresh randomness: tokens and jitter come from it.
    ///
    /// # Errors
    /// [`OpenError::Store`] if the store does not read.
    pub fn open(
        store: Store,
        keypair: Keypair,
        settings: NodeSettings,
        now: Now,
        seed: [u8; 32],
    ) -> Result<Node, OpenError> {
        let mut core = Core::new(store, keypair, settings, now, &seed);
        let loaded = core.gate.load()?;
        let unicast = Unicast::new(&mut core);
        let this_run = core.random.bytes();
        let broadcast = Broadcast::new(core.settings.machine_boot.unwrap_or(this_run));
        let mut node = Node {
            replica: Replica::new(core.me, now.mono),
            membership: Membership::default(),
            authoring: Authoring::default(),
            unicast,
            broadcast,
            calls: Calls::default(),
            commands: Commands::new(core.settings.deploys, core.settings.catalogue.clone()),
            watches: Watches::new(core.settings.alarms.clone()),
            under_way: long::UnderWay::default(),
            core,
        };
        node.load(loaded)?;
        node.core.clock.start();
        Ok(node)
    }

    /// The identity of the node, its public key.
    pub fn peer_id(&self) -> PeerId {
        self.core.me
    }

    /// Does what comes before each input. Returns false while the memory is ahead of the disk, which changes nothing then.
    fn begin_input(&mut self, now: Now, is_time: bool) -> bool {
        self.core.clock.set_now(now);
        self.under_way.note_input(is_time);
        if self.core.gate.retry_due(now.mono) {
            self.reload();
        }
        if self.core.gate.memory_is_ahead() {
            return false;
        }
        self.core.clock.put_right();
        self.broadcast.start_day(&mut self.core);
        self.resume_waiting();
        true
    }

    /// Takes one input. Effects come out of `poll_output`.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        if !self.begin_input(now, matches!(input, Input::Timeout)) {
            return self.handle_while_frozen(input);
        }
        match input {
            Input::Timeout => {}
            Input::Ending => self.core.gate.write_deferred(),
            Input::LinkUp { link, peer, caps } => self.link_up(link, peer, caps),
            Input::LinkDown { link, why } => self.link_down(link, why),
            Input::LinkMeasured { link, report } => self.unicast.measured(&self.core, link, &report),
            Input::Denied { peer } => self.membership.denied(&mut self.core, &self.replica, peer),
            Input::Received { link, bytes } => self.received(link, &bytes),
            Input::JoinRequest { request, peer, address, bytes } => {
                self.join_request(request, peer, address, &bytes);
            }
            Input::JoinAnswered { inviter, result } => {
                let is_unreached = result.is_err();
                let answer = result.map_err(JoinFailure::from);
                self.inviter_answered(inviter, answer.and_then(|bytes| Ok(JoinAnswer::decode(&bytes)?)));
                if is_unreached {
                    self.desk().call_inviter(inviter);
                }
            }
            Input::RadioUp { link, spec } => self.broadcast.radio_up(&mut self.core, link, *spec),
            Input::RadioDown { link, why } => self.broadcast.radio_down(&mut self.core, link, why),
            Input::RadioReady { link } => self.broadcast.radio_ready(&mut self.core, link),
            Input::Frame { link, bytes } => self.frame_received(link, &bytes),
            Input::Command { request, command } => self.command(request, command),
            Input::Call { request, call } => self.call_received(request, &call),
            Input::CallAnswered { id, result } => self.call_answered(id, result),
            Input::Installed { key, result } => self.desk().installed(key, result),
            Input::Catalogue(catalogue) => self.commands.catalogue = catalogue,
            Input::Notified { key, end } => self.desk().alarms().notified(&key, end),
            Input::UtcOffset { minutes } => self.watches.set_utc_offset(minutes),
            Input::ClockSynchronised(is) => self.core.clock.set_kernel_synchronised(is),
        }
    }

    /// The next thing to do. The first call after one or more inputs does what time brings and what follows from them, signs what was
    /// written, makes everything durable in one commit, and only then lets outputs go.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.core.gate.is_drained() && !self.core.gate.memory_is_ahead() {
            self.timers();
            self.go_on();
            self.unicast.drain(&mut self.core, &mut self.replica);
            self.settle();
            self.unicast.drain(&mut self.core, &mut self.replica);
            self.broadcast.drive(&mut self.core, &mut self.replica, &mut self.unicast);
            self.commit();
        }
        self.core.gate.pop()
    }

    /// While the memory has what the disk refused, nothing is answered from it and nothing is sent.
    fn handle_while_frozen(&mut self, input: Input) {
        match input {
            Input::LinkUp { link, peer, caps } => {
                self.unicast.put_link(self.core.now(), link, peer, caps);
            }
            Input::LinkDown { link, why } => {
                self.unicast.remove_link(self.core.now(), link, why);
            }
            Input::LinkMeasured { link, report } => self.unicast.measured(&self.core, link, &report),
            Input::Command { request, .. } => self.core.gate.reply_refused(request),
            Input::Call { request, .. } => {
                let reply = CallReply::refused(&CallRefusal::Busy);
                self.core.gate.output_uncommitted(Output::CallAnswer { request, reply });
            }
            Input::JoinRequest { request, .. } => {
                let bytes = JoinAnswer::Refused(JoinRefusal::Busy).encode();
                self.core.gate.output_uncommitted(Output::JoinAnswer { request, bytes });
            }
            Input::RadioUp { link, spec } => self.broadcast.radio_up(&mut self.core, link, *spec),
            Input::RadioDown { link, why } => self.broadcast.radio_down(&mut self.core, link, why),
            Input::RadioReady { link } => self.broadcast.radio_ready(&mut self.core, link),
            Input::Installed { key, result } => self.commands.inbox.note_result(key, result),
            Input::Catalogue(catalogue) => self.commands.catalogue = catalogue,
            Input::Notified { key, end } => self.watches.messages_mut().note_early(key, end),
            Input::UtcOffset { minutes } => self.watches.set_utc_offset(minutes),
            Input::ClockSynchronised(is) => self.core.clock.set_kernel_synchronised(is),
            // The requests that waited for calls were answered when the disk refused; an install counts as lost.
            Input::CallAnswered { id, .. } => drop(self.calls.end(id)),
            Input::JoinAnswered { .. }
            | Input::Denied { .. }
            | Input::Received { .. }
            | Input::Frame { .. }
            | Input::Timeout
            | Input::Ending => {}
        }
    }

    /// Makes the writes durable and lets the outputs behind them go. If the disk refuses, everything since the last commit is
    /// undone: local requests get the reason, and peers offer their layers again.
    fn commit(&mut self) {
        self.unicast.end_turn();
        let Err(undone) = self.core.gate.commit(self.core.now()) else { return };
        for link in undone.idle_radios {
            self.broadcast.radio_ready(&mut self.core, link);
        }
        let waiters = self.membership.take_waiters().into_iter().chain(self.calls.take_waiters());
        let waiters = waiters.chain(self.authoring.take_long_waiters());
        let waiters = waiters.chain(self.under_way.take_waiters());
        for request in waiters {
            self.core.gate.reply_refused(request);
        }
        self.authoring = Authoring::default();
        self.reload();
    }

    /// Opens the store's file again and takes the memory from it. Until that works, requests are refused.
    fn reload(&mut self) {
        let loaded = self.core.gate.load_again().map_err(OpenError::from);
        let links = self.unicast.take_links();
        match loaded.and_then(|loaded| self.load(loaded)) {
            Ok(()) => {
                self.core.gate.loaded();
                for (id, link) in links {
                    self.link_up(id, link.peer, link.caps);
                }
                self.unicast.drain(&mut self.core, &mut self.replica);
            }
            Err(error) => {
                tracing::error!(%error, "the store's file was not opened again");
                self.unicast.restore_links(links);
                self.core.gate.retry_later(self.core.now());
            }
        }
    }

    /// Fills the memory from what is on disk.
    fn load(&mut self, mut loaded: Loaded) -> Result<(), OpenError> {
        self.replica.load(&mut self.core, &mut loaded)?;
        self.replica.note_heard_before(&mut self.core);
        self.calls.load(loaded.calls, loaded.called_states)?;
        let (outgoing, incoming) = (loaded.outgoing, loaded.incoming);
        self.membership.load(&self.core, outgoing, incoming, self.replica.federation());
        self.membership.load_denials(&loaded.meta);
        self.broadcast.load(&loaded.meta);
        self.unicast.load_routes(&loaded.meta);
        self.unicast.load_receipts(&loaded.meta);
        self.unicast.load(&mut self.core, &self.replica);
        self.desk().alarms().load(&loaded.meta);
        self.commands.load_recall(loaded.meta.get(RECALL_RECORD));
        let changes = self.commands.load(loaded.commands, self.core.reference());
        let mut desk = self.desk().commands;
        desk.record(changes);
        desk.suspend_revoked();
        self.desk().end_lost_calls();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
