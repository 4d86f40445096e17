//! JSON calls: those that arrive are checked, recorded and answered; those of this node are signed, and their answers taken.
//!
//! The order of an incoming call: the sender's signature, the body, what the sender may do, the timestamp, the deed. A refused
//! call changes nothing but its counter. The record of an accepted one is durable before the answer leaves.

use data_encoding::HEXLOWER;
use tombolo_transports::{OnionHost, PeerId};

use crate::clock::rfc3339;
use crate::commands::{CommandKey, CommandRefusal, Deploy, Outcome, RunEnd, RunResult, Taking};
use crate::core::InputRejection;
use crate::federation::TrustLevel;
use crate::federation::join::{JoinAnswer, usable_name};
use crate::identity::{did, parse_onion_text};
use crate::io::{
    CallId, CallReply, CommandError, IncomingCall, JoinFailure, OutgoingCall, Output, Quota, Reply,
    RequestId, view,
};
use crate::limits::{CALL_BODY_BYTES_MAX, FUTURE_BOUND, SNAPSHOT_BYTES_MAX};
use crate::membership::CalledJoin;
use crate::node::Node;
use crate::rpc::refusal::is_passing;
use crate::rpc::{
    AnswerError, AnsweredState, CallRefusal, CallRequest, InstallRequest, Method, PeerJoined, PendingCall,
    Proof,
};
use crate::store::{CalledState, StoreWrite};

impl Node {
    // ---- calls that arrive -------------------------------------------------------------------------------

    pub(super) fn call_received(&mut self, request: RequestId, call: &IncomingCall) {
        let reply = match self.answer_call(request, call) {
            Ok(None) => return,
            Ok(Some(reply)) => reply,
            Err(refusal) => {
                tracing::debug!(code = refusal.code(), "a call was refused: {refusal}");
                self.core.metrics.reject(InputRejection::Call(refusal.code()));
                CallReply::refused(&refusal)
            }
        };
        // Behind the commit that records the call.
        self.core.gate.output(Output::CallAnswer { request, reply });
    }

    /// Answers a call; `None`: it is answered later.
    fn answer_call(
        &mut self,
        request: RequestId,
        call: &IncomingCall,
    ) -> Result<Option<CallReply>, CallRefusal> {
        let proof = Proof::read(&call.headers)?;
        if proof.sender == self.core.me {
            return Err(CallRefusal::OwnCall);
        }
        let asked = CallRequest::read(&call.body)?;
        let method = asked.method();
        let is_bound = proof.check_second(&self.core.me, method, &call.body)?;
        match asked {
            CallRequest::GetState => {
                self.check_level(&proof.sender, TrustLevel::Observer)?;
                self.settle();
                let state = self.report().newest_state(&self.core.me).ok_or(CallRefusal::NoState)?;
                self.accept_call(&proof)?;
                Ok(Some(CallReply::result(&state)))
            }
            CallRequest::PeerJoined(joined) => self.peer_joined(&proof, &joined).map(Some),
            CallRequest::Install(install) => {
                self.check_level(&proof.sender, TrustLevel::Trusted)?;
                if !is_bound && !self.core.settings.rpc_legacy_install {
                    return Err(CallRefusal::MissingSecond(method));
                }
                self.accept_call(&proof)?;
                self.install_called(request, &proof, &install)
            }
        }
    }

    /// A trusted peer wants an app installed; the call's record is in the next commit. `None`: it is answered when the
    /// installation has ended. The same call never runs twice.
    fn install_called(
        &mut self,
        request: RequestId,
        proof: &Proof,
        install: &InstallRequest,
    ) -> Result<Option<CallReply>, CallRefusal> {
        let url = install.marketplace_url.as_deref().or_else(|| self.own_marketplace(&install.id));
        let deploy = Deploy::new(&install.id, &install.version, url.unwrap_or_default());
        let deploy = deploy.map_err(CallRefusal::BadDeploy)?;
        let key = CommandKey { sender: proof.sender, id: proof.command_id() };
        match self.install_requested(key.sender, &deploy, key.id) {
            Taking::Begin | Taking::Running => {
                self.calls.await_install(key, request);
                Ok(None)
            }
            Taking::Over(outcome) => install_reply(&outcome).map(Some),
        }
    }

    /// Answers the calls whose installs have ended.
    pub(super) fn answer_installs(&mut self) {
        for (key, outcome) in self.take_ended_calls() {
            let Some(request) = self.calls.end_install(&key) else { continue };
            let reply = install_reply(&outcome).unwrap_or_else(|refusal| CallReply::refused(&refusal));
            self.core.gate.output(Output::CallAnswer { request, reply });
        }
    }

    fn peer_joined(&mut self, proof: &Proof, joined: &PeerJoined) -> Result<CallReply, CallRefusal> {
        if proof.sender != joined.joiner {
            return Err(CallRefusal::OtherJoiner);
        }
        // A stranger's call leaves a record only when it has shown a token.
        self.calls.seen().check(&proof.sender, proof.time, self.core.reference())?;
        let call = CalledJoin { joiner: joined.joiner, onion: joined.onion, token: joined.token };
        let waiters = self.membership.redeem_called(&mut self.core, &mut self.replica, &call);
        let waiters = waiters.map_err(CallRefusal::Join)?;
        self.accept_call(proof)?;
        self.answer_joined(&joined.joiner, waiters);
        let (name, me) = (&self.core.settings.name, self.core.me);
        let pubkey = HEXLOWER.encode(&me.0);
        Ok(CallReply::result(&serde_json::json!({ "did": did(&me), "pubkey": pubkey, "name": name })))
    }

    fn check_level(&self, sender: &PeerId, needs: TrustLevel) -> Result<(), CallRefusal> {
        let peer = self.replica.federation().peer(sender).ok_or(CallRefusal::NotAPeer)?;
        if peer.trust_level < needs {
            return Err(CallRefusal::NotTrusted { needs });
        }
        Ok(())
    }

    /// Takes the call's timestamp, which counts once.
    fn accept_call(&mut self, proof: &Proof) -> Result<(), CallRefusal> {
        let now = self.core.reference();
        let accepted = self.calls.seen_mut().accept(&proof.sender, proof.time, now)?;
        if let Some(gone) = accepted.dropped {
            self.core.gate.write(StoreWrite::RemoveCalls(gone));
        }
        self.core.gate.write(StoreWrite::PutCalls(accepted.record));
        self.replica.note_presence(&proof.sender, now);
        Ok(())
    }

    // ---- calls of this node ------------------------------------------------------------------------------

    /// Asks a peer for its state by a call; `request` is answered when it has answered.
    pub(super) fn fetch_state(&mut self, request: RequestId, text: &str) -> Result<(), CommandError> {
        let peer = self.replica.resolve_peer(text)?;
        let name = self.replica.name_of(&self.core, &peer);
        let record = self.replica.federation().peer(&peer).expect("a peer is resolved among the peers");
        if !record.is_member() {
            return Err(CommandError::Untrusted(name));
        }
        let onion = parse_onion_text(&record.onion).map_err(|_| CommandError::NoOnion(name))?;
        let body = CallRequest::get_state_body();
        self.dial_call(PendingCall::State { peer, request }, peer, onion, Method::GetState, body)
    }

    /// An inviter whose code had only what the JSON calls need was not reached otherwise: it is called.
    pub(super) fn call_inviter(&mut self, inviter: PeerId) {
        let Some(token) = self.membership.plain_token(&self.replica, &inviter) else { return };
        let onion = self.replica.federation().peer(&inviter).map(|peer| parse_onion_text(&peer.onion));
        let Some(Ok(onion)) = onion else { return };
        if self.calls.is_joining(&inviter) {
            return;
        }
        let body = CallRequest::peer_joined_body(&self.core.keypair, &self.core.onion(), &token);
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
        let now = self.core.reference();
        let headers = self.calls.sign(&self.core.keypair, &receiver, now, method, &body);
        let call = OutgoingCall { onion, headers, body, timeout: method.timeout() };
        self.core.gate.output(Output::DialCall { id, peer: receiver, call: Box::new(call) });
        Ok(())
    }

    pub(super) fn call_answered(&mut self, id: CallId, result: Result<CallReply, String>) {
        match self.calls.end(id) {
            Some(PendingCall::State { peer, request }) => {
                let result = self.state_answered(peer, result);
                self.core.gate.reply(request, result.map(Reply::State));
            }
            Some(PendingCall::Join { inviter }) => self.join_call_answered(inviter, result),
            // Its request was answered when the disk refused.
            None => {}
        }
    }

    fn state_answered(
        &mut self,
        peer: PeerId,
        result: Result<CallReply, String>,
    ) -> Result<view::StateView, CommandError> {
        let name = self.replica.name_of(&self.core, &peer);
        let reply = result.map_err(|why| CommandError::CallFailed { peer: name.clone(), why })?;
        let answered = reply.read_state().map_err(|error| match error {
            AnswerError::Refused { message, .. } => {
                CommandError::CallRefused { peer: name.clone(), why: message }
            }
            other => CommandError::BadCallAnswer { peer: name.clone(), why: other.to_string() },
        });
        let answered = answered.and_then(|state| self.checked_state(&name, state)).inspect_err(|error| {
            if matches!(error, CommandError::BadCallAnswer { .. }) {
                self.core.metrics.reject(InputRejection::BadCallAnswer);
            }
        });
        let (state, cbor) = answered?;
        if !self.replica.federation().peer(&peer).is_some_and(crate::federation::Peer::is_member) {
            return Err(CommandError::UnknownPeer(name));
        }
        self.replica.note_presence(&peer, self.core.reference());
        if self.calls.put_state(peer, state.clone()) {
            let stored = CalledState { peer, time: state.time, state: cbor };
            self.core.gate.write(StoreWrite::PutCalledState(stored));
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
        if state.time > self.core.reference() + FUTURE_BOUND {
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
        let Some(record) = self.replica.federation().peer(peer).cloned() else { return };
        if name.is_some() && record.own_name != name {
            let named = crate::federation::Peer { own_name: name, ..record };
            self.membership.put_peer(&mut self.core, &mut self.replica, named);
        }
    }

    fn join_call_answered(&mut self, inviter: PeerId, result: Result<CallReply, String>) {
        let answered = match result {
            Err(why) => Err((true, why)),
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
                self.inviter_answered(inviter, Ok(agreed));
            }
            Err((true, why)) => self.inviter_answered(inviter, Err(JoinFailure::JsonCall(why))),
            Err((false, why)) => {
                let waiters = self.membership.refused(&mut self.core, &inviter);
                if let Some(waiters) = waiters {
                    let refused = |peer| CommandError::CallRefused { peer, why: why.clone() };
                    self.joining_refused(&inviter, waiters, refused);
                }
            }
        }
    }

    /// What the node cannot answer while its memory has what the disk refused.
    pub(super) fn call_while_frozen(&mut self, request: RequestId) {
        let reply = CallReply::refused(&CallRefusal::Busy);
        self.core.gate.output_uncommitted(Output::CallAnswer { request, reply });
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
