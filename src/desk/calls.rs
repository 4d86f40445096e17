//! JSON calls: those that arrive are checked, recorded and answered; those of this node are signed, and their answers taken.
//!
//! The order of an incoming call: the sender's signature, the body, what the sender may do, the timestamp, the deed. A refused
//! call changes nothing but its counter. The record of an accepted one is durable before the answer leaves.
//!
//! What only the node can do, for a call ([`CallStep`]) or after an answer ([`CallEnd`]), is returned.

use data_encoding::HEXLOWER;
use tombolo_transports::{OnionHost, PeerId};

use crate::clock::rfc3339;
use crate::commands::{CommandKey, CommandRefusal, Deploy, Outcome, RunEnd, RunResult, Taking};
use crate::core::InputRejection;
use crate::desk::CallDesk;
use crate::federation::Right;
use crate::federation::join::JoinAnswer;
use crate::federation::name::usable_name;
use crate::identity::{did, parse_onion_text};
use crate::io::{
    CallFailure, CallId, CallReply, CommandError, IncomingCall, JoinFailure, OutgoingCall, Output, Quota,
    Reply, RequestId, view,
};
use crate::limits::{CALL_BODY_BYTES_MAX, FUTURE_BOUND, SNAPSHOT_BYTES_MAX};
use crate::membership::CalledJoin;
use crate::rpc::refusal::is_passing;
use crate::rpc::{
    AnswerError, AnsweredState, CallRefusal, CallRequest, InstallRequest, Method, PeerJoined, PendingCall,
    Proof,
};
use crate::store::{CalledState, StoreWrite};

/// What a call that arrived leads to.
#[derive(Debug)]
#[must_use = "the caller waits for an answer"]
pub(crate) enum CallStep {
    /// It is answered now.
    Answer(CallReply),
    /// It is answered when its install has ended.
    Later,
    /// The sender may have this node's state: [`CallDesk::answer_state`] takes it, with what was staged.
    State(Proof),
    /// A joiner was added; these local requests waited for it.
    Joined {
        /// The peer that has joined.
        joiner: PeerId,
        /// Requests that are answered with it.
        waiters: Vec<RequestId>,
        /// The answer to the call.
        reply: CallReply,
    },
}

/// What follows when a call of this node has ended.
#[derive(Debug)]
#[must_use = "an inviter's answer decides about a peer"]
pub(crate) enum CallEnd {
    /// Nothing is left to do.
    Over,
    /// An inviter has answered, or may answer later.
    InviterAnswered {
        /// The inviter that was called.
        inviter: PeerId,
        /// The answer that the inviter gave.
        answer: Result<JoinAnswer, JoinFailure>,
    },
    /// An inviter has refused for good.
    InviterRefused {
        /// The inviter that was called.
        inviter: PeerId,
        /// Requests that get the reason.
        waiters: Vec<RequestId>,
        /// The reason that the inviter gave.
        why: String,
    },
}

impl CallDesk<'_> {
    // ---- calls that arrive -------------------------------------------------------------------------------

    /// Checks a call, and does what it asks as far as this room can.
    ///
    /// # Errors
    /// [`CallRefusal`]: nothing has changed.
    pub(crate) fn take_call(
        &mut self,
        request: RequestId,
        call: &IncomingCall,
    ) -> Result<CallStep, CallRefusal> {
        let proof = Proof::read(&call.headers)?;
        if proof.sender == self.commands.core.me {
            return Err(CallRefusal::OwnCall);
        }
        let asked = CallRequest::read(&call.body)?;
        let method = asked.method();
        let is_bound = proof.check_second(&self.commands.core.me, method, &call.body)?;
        match asked {
            CallRequest::GetState => {
                self.check_right(&proof.sender, Right::ReadState)?;
                Ok(CallStep::State(proof))
            }
            CallRequest::PeerJoined(joined) => self.peer_joined(&proof, &joined),
            CallRequest::Install(install) => {
                self.check_right(&proof.sender, Right::Deploy)?;
                if !is_bound && !self.commands.core.settings.rpc_legacy_install {
                    return Err(CallRefusal::MissingSecond(method));
                }
                self.accept_call(&proof)?;
                self.install_called(request, &proof, &install)
            }
        }
    }

    /// The answer to [`CallStep::State`].
    ///
    /// # Errors
    /// [`CallRefusal::NoState`], or the reason why the timestamp does not count.
    pub(crate) fn answer_state(
        &mut self,
        proof: &Proof,
        state: Option<view::StateView>,
    ) -> Result<CallReply, CallRefusal> {
        let mut state = state.ok_or(CallRefusal::NoState)?;
        // Its names mean something only beside the audience, which no call brings.
        state.state.heard = None;
        self.accept_call(proof)?;
        Ok(CallReply::result(&state))
    }

    /// Answers a call behind the commit that records it.
    pub(crate) fn reply(&mut self, request: RequestId, result: Result<CallReply, CallRefusal>) {
        let reply = result.unwrap_or_else(|refusal| {
            tracing::debug!(code = refusal.code(), "a call was refused: {refusal}");
            self.commands.core.reject(InputRejection::Call(refusal.code()));
            CallReply::refused(&refusal)
        });
        self.commands.core.gate.output(Output::CallAnswer { request, reply });
    }

    /// A trusted peer wants an app installed; the call's record is in the next commit. The same call never runs twice.
    fn install_called(
        &mut self,
        request: RequestId,
        proof: &Proof,
        install: &InstallRequest,
    ) -> Result<CallStep, CallRefusal> {
        let url = install.marketplace_url.as_deref().or_else(|| self.commands.own_marketplace(&install.id));
        let deploy = Deploy::new(&install.id, &install.version, url.unwrap_or_default());
        let deploy = deploy.map_err(CallRefusal::BadDeploy)?;
        let key = CommandKey { sender: proof.sender, id: proof.command_id() };
        match self.commands.install_requested(key.sender, &deploy, key.id, proof.time.wall()) {
            Taking::Begin | Taking::Running => {
                self.calls.await_install(key, request);
                Ok(CallStep::Later)
            }
            Taking::Over(outcome) => install_reply(&outcome).map(CallStep::Answer),
        }
    }

    /// The operator's command has ended: a call that waits for it is answered.
    pub(crate) fn installed(&mut self, key: CommandKey, result: RunResult) {
        let Some(outcome) = self.commands.installed(key, result) else { return };
        let Some(request) = self.calls.end_install(&key) else { return };
        let reply = install_reply(&outcome).unwrap_or_else(|refusal| CallReply::refused(&refusal));
        self.commands.core.gate.output(Output::CallAnswer { request, reply });
    }

    fn peer_joined(&mut self, proof: &Proof, joined: &PeerJoined) -> Result<CallStep, CallRefusal> {
        if proof.sender != joined.joiner {
            return Err(CallRefusal::OtherJoiner);
        }
        // A stranger's call leaves a record only when it has shown a token.
        self.calls.seen().check(&proof.sender, proof.time, self.commands.core.reference())?;
        let call = CalledJoin { joiner: joined.joiner, onion: joined.onion, token: joined.token };
        let waiters = self.membership.redeem_called(self.commands.core, self.commands.replica, &call);
        let waiters = waiters.map_err(CallRefusal::Join)?;
        self.accept_call(proof)?;
        let (name, me) = (&self.commands.core.settings.name, self.commands.core.me);
        let pubkey = HEXLOWER.encode(&me.0);
        let result = serde_json::json!({ "did": did(&me), "pubkey": pubkey, "name": name });
        Ok(CallStep::Joined { joiner: joined.joiner, waiters, reply: CallReply::result(&result) })
    }

    fn check_right(&self, sender: &PeerId, right: Right) -> Result<(), CallRefusal> {
        let federation = self.commands.replica.federation();
        federation.peer(sender).ok_or(CallRefusal::NotAPeer)?;
        match federation.grants(sender, right) {
            true => Ok(()),
            false => Err(CallRefusal::NotTrusted { needs: right.level_needed() }),
        }
    }

    /// Takes the call's timestamp, which counts once.
    fn accept_call(&mut self, proof: &Proof) -> Result<(), CallRefusal> {
        let now = self.commands.core.reference();
        let accepted = self.calls.seen_mut().accept(&proof.sender, proof.time, now)?;
        if let Some(gone) = accepted.dropped {
            self.commands.core.gate.write(StoreWrite::RemoveCalls(gone));
        }
        self.commands.core.gate.write(StoreWrite::PutCalls(accepted.record));
        self.commands.replica.note_presence(&proof.sender, now);
        Ok(())
    }

    // ---- calls of this node ------------------------------------------------------------------------------

    /// Asks a peer for its state by a call; `request` is answered when it has answered.
    pub(crate) fn fetch_state(&mut self, request: RequestId, text: &str) -> Result<(), CommandError> {
        let peer = self.commands.replica.resolve_peer(text)?;
        if !self.commands.replica.federation().is_member(&peer) {
            return Err(CommandError::Untrusted(self.commands.replica.name_of(self.commands.core, &peer)));
        }
        let onion = self.onion_of(&peer)?;
        let body = CallRequest::get_state_body();
        self.dial_call(PendingCall::State { peer, request }, peer, onion, Method::GetState, body)
    }

    /// The onion service of a peer.
    pub(super) fn onion_of(&self, peer: &PeerId) -> Result<OnionHost, CommandError> {
        let record = self.commands.replica.federation().peer(peer);
        let onion = record.and_then(|record| parse_onion_text(&record.onion).ok());
        onion.ok_or_else(|| CommandError::NoOnion(self.commands.replica.name_of(self.commands.core, peer)))
    }

    /// An inviter whose code had only what the JSON calls need was not reached otherwise: it is called.
    pub(crate) fn call_inviter(&mut self, inviter: PeerId) {
        let Some(token) = self.membership.plain_token(self.commands.replica, &inviter) else { return };
        let onion =
            self.commands.replica.federation().peer(&inviter).map(|peer| parse_onion_text(&peer.onion));
        let Some(Ok(onion)) = onion else { return };
        if self.calls.is_joining(&inviter) {
            return;
        }
        let body =
            CallRequest::peer_joined_body(&self.commands.core.keypair, &self.commands.core.onion(), &token);
        let call = PendingCall::Join { inviter };
        if let Err(error) = self.dial_call(call, inviter, onion, Method::PeerJoined, body) {
            tracing::debug!(%error, "an inviter is called later");
        }
    }

    fn dial_call(
        &mut self,
        call: PendingCall,
        receiver: PeerId,
        onion: OnionHost,
        method: Method,
        body: Vec<u8>,
    ) -> Result<(), CommandError> {
        let id = self.calls.begin(call).ok_or(CommandError::Limit(Quota::Calls))?;
        let now = self.commands.core.reference();
        let signed = self.calls.sign(&self.commands.core.keypair, &receiver, now, method, &body);
        let call = OutgoingCall { onion, headers: signed.headers, body, timeout: method.timeout() };
        self.commands.core.gate.output(Output::DialCall { id, peer: receiver, call: Box::new(call) });
        Ok(())
    }

    /// A call of this node was answered, or has failed.
    pub(crate) fn call_answered(&mut self, id: CallId, result: Result<CallReply, CallFailure>) -> CallEnd {
        match self.calls.end(id) {
            Some(PendingCall::State { peer, request }) => {
                let result = self.state_answered(peer, result);
                self.commands.core.gate.reply(request, result.map(Box::new).map(Reply::State));
                CallEnd::Over
            }
            Some(PendingCall::Join { inviter }) => self.join_call_answered(inviter, result),
            Some(PendingCall::Install { command }) => {
                self.install_answered(&command, result);
                CallEnd::Over
            }
            // Its request was answered when the disk refused.
            None => CallEnd::Over,
        }
    }

    fn state_answered(
        &mut self,
        peer: PeerId,
        result: Result<CallReply, CallFailure>,
    ) -> Result<view::StateView, CommandError> {
        let name = self.commands.replica.name_of(self.commands.core, &peer);
        let reply =
            result.map_err(|failure| CommandError::CallFailed { peer: name.clone(), why: failure.why })?;
        let answered = reply.read_state().map_err(|error| match error {
            AnswerError::Refused { message, .. } => {
                CommandError::CallRefused { peer: name.clone(), why: message }
            }
            other => CommandError::BadCallAnswer { peer: name.clone(), why: other.to_string() },
        });
        let answered = answered.and_then(|state| self.checked_state(&name, state)).inspect_err(|error| {
            if matches!(error, CommandError::BadCallAnswer { .. }) {
                self.commands.core.reject(InputRejection::BadCallAnswer);
            }
        });
        let (state, cbor) = answered?;
        if !self.commands.replica.federation().is_member(&peer) {
            return Err(CommandError::UnknownPeer(name));
        }
        self.commands.replica.note_presence(&peer, self.commands.core.reference());
        if self.calls.put_state(peer, state.clone()) {
            let stored = CalledState { peer, time: state.time, state: cbor };
            self.commands.core.gate.write(StoreWrite::PutCalledState(stored));
            self.learn_called_name(&peer, &state);
        }
        let timestamp = rfc3339(state.time);
        Ok(view::StateView { timestamp, provisional: false, state: state.state })
    }

    /// A state that came by call, with the bytes to store; refused where it is too large or its time is too far ahead.
    fn checked_state(
        &self,
        name: &str,
        state: AnsweredState,
    ) -> Result<(AnsweredState, Vec<u8>), CommandError> {
        let bad = |why: &str| CommandError::BadCallAnswer { peer: name.to_owned(), why: why.to_owned() };
        if state.time > self.commands.core.reference() + FUTURE_BOUND {
            return Err(bad("the state is of more than 10 minutes ahead: check both clocks"));
        }
        let value = tombolo_delta::to_value(&state.state).map_err(|error| bad(&error.to_string()))?;
        let cbor = tombolo_delta::to_cbor(&value);
        match cbor.len() > SNAPSHOT_BYTES_MAX {
            true => Err(bad("the state is longer than any node's")),
            false => Ok((state, cbor)),
        }
    }

    /// The name that a peer gives itself in a state that came by call.
    fn learn_called_name(&mut self, peer: &PeerId, state: &AnsweredState) {
        let name = state.state.node_name.clone().filter(|name| !name.is_empty());
        let Some(record) = self.commands.replica.federation().peer(peer).cloned() else { return };
        if name.is_some() && record.own_name != name {
            let named = crate::federation::Peer { own_name: name, ..record };
            self.membership.put_peer(self.commands.core, self.commands.replica, named);
        }
    }

    fn join_call_answered(&mut self, inviter: PeerId, result: Result<CallReply, CallFailure>) -> CallEnd {
        let answered = match result {
            Err(failure) => Err((true, failure.why)),
            Ok(reply) if reply.body.len() > CALL_BODY_BYTES_MAX => {
                Err((true, AnswerError::TooLong.to_string()))
            }
            Ok(reply) => reply.read::<serde_json::Value>().map_err(|error| match error {
                AnswerError::Refused { status, code, message } => {
                    (is_passing(status, code.as_deref()), message)
                }
                other => (true, other.to_string()),
            }),
        };
        match answered {
            Ok(result) => {
                let name = result.get("name").and_then(serde_json::Value::as_str).and_then(usable_name);
                let agreed = JoinAnswer::Agreed { name: name.unwrap_or_default() };
                CallEnd::InviterAnswered { inviter, answer: Ok(agreed) }
            }
            Err((true, why)) => CallEnd::InviterAnswered { inviter, answer: Err(JoinFailure::JsonCall(why)) },
            Err((false, why)) => match self.membership.refused(self.commands.core, &inviter) {
                Some(waiters) => CallEnd::InviterRefused { inviter, waiters, why },
                None => CallEnd::Over,
            },
        }
    }
}

/// What a call for an install is answered with.
fn install_reply(outcome: &Outcome) -> Result<CallReply, CallRefusal> {
    match outcome {
        Outcome::Ended(RunResult { end: RunEnd::Success, output }) => {
            Ok(CallReply::result(&serde_json::json!({ "deployed": true, "output": output })))
        }
        Outcome::Ended(result) => Err(CallRefusal::InstallFailed(result.end)),
        Outcome::Refused(CommandRefusal::Off) => Err(CallRefusal::DeploysOff),
        Outcome::Refused(why) => Err(CallRefusal::NotInstalled(*why)),
        Outcome::Unknown => Err(CallRefusal::OutcomeUnknown),
    }
}
