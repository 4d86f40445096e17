//! JSON calls between nodes over HTTP (`src/rpc/API.md`): read, checked and written, without a socket.
//!
//! A call is `POST /rpc/v1` with a body `{method, params}` and headers that prove the sender ([`proof`]); the answer is `{result}`
//! or `{error: {code, message}}` ([`answer`]). They are what other programs of such federations speak. Between nodes of
//! this kind the session of `tombolo_transports` is the rule, and a call the exception.
//!
//! | file | what |
//! |---|---|
//! | [`proof`] | headers: who calls, when, over what it signed |
//! | [`window`] | each timestamp once, also across a restart |
//! | [`request`] | the body: method and parameters |
//! | [`answer`] | results and errors, both ways |
//! | [`refusal`] | every reason to refuse, with code and status |
//!
//! [`Calls`] is the state of a node's calls. What a sender may do is decided by the desk (`desk/calls.rs`), which also makes the
//! record of a call durable before its answer leaves. The HTTP server is `api/rpc.rs`, the client `runtime/rpc.rs`.

pub mod answer;
pub mod proof;
pub mod refusal;
pub mod request;
pub mod window;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

pub use answer::{AnswerError, AnsweredState, InstallAnswer};
pub use proof::{CallTime, Proof};
pub use refusal::CallRefusal;
pub use request::{CallRequest, InstallRequest, PeerJoined};
pub use window::SeenCalls;

use crate::clock::rfc3339;
use crate::commands::{CommandId, CommandKey};
use crate::identity::Keypair;
use crate::io::{CallId, RequestId};
use crate::limits::{CALL_TIMEOUT, CALLS_PENDING_MAX, INSTALL_TIMEOUT};
use crate::store::{CalledState, CallsRecord, StoreError};
use crate::time::{Millis, Wall};

/// The path of the calls.
pub const PATH: &str = "/rpc/v1";
/// The virtual port of the onion service that takes them.
pub const ONION_PORT: u16 = 80;

/// The methods of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Returns the receiver's node state.
    GetState,
    /// The sender has accepted an invite of the receiver.
    PeerJoined,
    /// Asks the receiver to install an app.
    Install,
}

impl Method {
    const ALL: [Method; 3] = [Method::GetState, Method::PeerJoined, Method::Install];

    /// The name in the body.
    pub fn name(self) -> &'static str {
        match self {
            Method::GetState => "federation.get-state",
            Method::PeerJoined => "federation.peer-joined",
            Method::Install => "package.install",
        }
    }

    /// The method of a name from outside.
    pub fn from_name(name: &str) -> Option<Self> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    /// How long a call of this method may take.
    pub fn timeout(self) -> Millis {
        match self {
            Method::GetState | Method::PeerJoined => CALL_TIMEOUT,
            Method::Install => INSTALL_TIMEOUT,
        }
    }
}

/// A call of this node that has not been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingCall {
    /// A local request waits for the state of a peer.
    State {
        /// The peer that was called.
        peer: PeerId,
        /// The request to answer.
        request: RequestId,
    },
    /// An inviter is informed that its invite was accepted.
    Join {
        /// The inviter that was called.
        inviter: PeerId,
    },
    /// A peer is asked to install an app.
    Install {
        /// The command, which is on disk.
        command: CommandId,
    },
}

/// What proves a call of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCall {
    /// Names and values of the headers.
    pub headers: Vec<(&'static str, String)>,
    /// The id of what the call asks for, at both ends.
    pub id: CommandId,
}

/// The calls of a node: those accepted, those on their way, and the states that came by call.
#[derive(Debug, Default)]
pub struct Calls {
    seen: SeenCalls,
    states: BTreeMap<PeerId, AnsweredState>,
    pending: BTreeMap<CallId, PendingCall>,
    /// Calls that are answered when their install has ended.
    installs: BTreeMap<CommandKey, RequestId>,
    last_id: u64,
    /// The timestamp signed last: the next is later, as each counts once.
    last_signed: Wall,
}

impl Calls {
    /// Takes what is on disk. Calls on their way stay.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if a state does not read back.
    pub fn load(&mut self, seen: Vec<CallsRecord>, states: Vec<CalledState>) -> Result<(), StoreError> {
        let read = |stored: CalledState| {
            let state = tombolo_delta::from_cbor(&stored.state, &tombolo_delta::Limits::default()).ok()?;
            let state = tombolo_delta::from_value(&state).ok()?;
            Some((stored.peer, AnsweredState { time: stored.time, state }))
        };
        let states = states.into_iter().map(read).collect::<Option<_>>();
        self.states = states.ok_or(StoreError::Damaged("a state that came by call"))?;
        self.seen = SeenCalls::load(seen);
        Ok(())
    }

    /// The calls that were accepted.
    pub fn seen(&self) -> &SeenCalls {
        &self.seen
    }

    /// The same, to accept one.
    pub fn seen_mut(&mut self) -> &mut SeenCalls {
        &mut self.seen
    }

    /// Signs a call to `receiver`, under a timestamp of its own.
    pub fn sign(
        &mut self,
        keypair: &Keypair,
        receiver: &PeerId,
        reference: Wall,
        method: Method,
        body: &[u8],
    ) -> SignedCall {
        self.last_signed = reference.max(self.last_signed + Millis::from_ms(1));
        SignedCall {
            headers: proof::signed_headers(keypair, receiver, self.last_signed, method, body),
            id: proof::command_id_at(&rfc3339(self.last_signed)),
        }
    }

    /// A call begins; none with too many on their way.
    pub fn begin(&mut self, call: PendingCall) -> Option<CallId> {
        if self.pending.len() >= CALLS_PENDING_MAX {
            return None;
        }
        self.last_id += 1;
        let id = CallId(self.last_id);
        self.pending.insert(id, call);
        Some(id)
    }

    /// A call is answered when this install has ended.
    pub fn await_install(&mut self, key: CommandKey, request: RequestId) {
        self.installs.insert(key, request);
    }

    /// The call that waits for this install, which has ended.
    pub fn end_install(&mut self, key: &CommandKey) -> Option<RequestId> {
        self.installs.remove(key)
    }

    /// A call has ended.
    pub fn end(&mut self, id: CallId) -> Option<PendingCall> {
        self.pending.remove(&id)
    }

    /// Whether a call to an inviter is on its way.
    pub fn is_joining(&self, inviter: &PeerId) -> bool {
        self.pending
            .values()
            .any(|call| matches!(call, PendingCall::Join { inviter: called } if called == inviter))
    }

    /// Takes the requests that wait for calls, to answer them otherwise. No request waits for an install: its answer still
    /// counts.
    pub fn take_waiters(&mut self) -> Vec<RequestId> {
        let (installs, others): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|(_, call)| matches!(call, PendingCall::Install { .. }));
        self.pending = installs;
        let waiter = |call| match call {
            PendingCall::State { request, .. } => Some(request),
            PendingCall::Join { .. } | PendingCall::Install { .. } => None,
        };
        others.into_values().filter_map(waiter).collect()
    }

    /// Keeps of the calls for installs those of these commands, and returns which of them are on their way.
    pub fn retain_installs(&mut self, commands: &BTreeSet<CommandId>) -> BTreeSet<CommandId> {
        self.pending.retain(|_, call| match call {
            PendingCall::Install { command } => commands.contains(command),
            PendingCall::State { .. } | PendingCall::Join { .. } => true,
        });
        let command = |call: &PendingCall| match call {
            PendingCall::Install { command } => Some(*command),
            PendingCall::State { .. } | PendingCall::Join { .. } => None,
        };
        self.pending.values().filter_map(command).collect()
    }

    /// The newest state of a peer that came by call.
    pub fn state(&self, peer: &PeerId) -> Option<&AnsweredState> {
        self.states.get(peer)
    }

    /// Keeps a state that came by call, unless a newer one is held. Returns whether it is kept.
    pub fn put_state(&mut self, peer: PeerId, state: AnsweredState) -> bool {
        let is_newer = self.states.get(&peer).is_none_or(|held| held.time < state.time);
        if is_newer {
            self.states.insert(peer, state);
        }
        is_newer
    }

    /// Forgets the state of a removed peer. What it signed is still accepted once only.
    pub fn forget(&mut self, peer: &PeerId) -> bool {
        self.states.remove(peer).is_some()
    }
}

#[cfg(test)]
mod tests;
