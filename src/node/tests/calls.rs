//! JSON calls at a whole node: who may call, once, across restarts; joining and states by call.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use tombolo_transports::JoinError;

use super::*;
use crate::federation::Peer;
use crate::identity::did;
use crate::io::{CallFailure, CallReply, IncomingCall, OutgoingCall};
use crate::rpc::proof::signed_headers;
use crate::rpc::{CallRequest, InstallRequest, Method};
use crate::time::{Millis, Mono, Wall};

/// A node of another program: a key, and nothing of this one's machinery.
pub(super) struct Foreign {
    pub(super) keypair: Keypair,
}

impl Foreign {
    pub(super) fn new(seed: u8) -> Self {
        Foreign { keypair: Keypair::from_seeds(&[seed; 32], &[seed + 1; 32]) }
    }

    pub(super) fn id(&self) -> PeerId {
        self.keypair.peer_id()
    }

    /// A bare code of it, as such programs write them.
    fn code(&self, onion: &str) -> String {
        let json = format!(
            r#"{{"did":"{}","onion":"{onion}","pubkey":"{}","token":"{}"}}"#,
            did(&self.id()),
            HEXLOWER.encode(&self.id().0),
            "07".repeat(16)
        );
        format!("fed1:{}", BASE64URL_NOPAD.encode(json.as_bytes()))
    }

    /// A call under only the signature over the timestamp.
    fn plain_call(&self, time: Wall, body: &[u8]) -> IncomingCall {
        let mut call = self.bound_call(PeerId([0; 32]), time, Method::GetState, body);
        call.headers.retain(|(name, _)| name != "X-Federation-Sig2");
        call
    }

    /// A call with both signatures.
    fn bound_call(&self, receiver: PeerId, time: Wall, method: Method, body: &[u8]) -> IncomingCall {
        let headers = signed_headers(&self.keypair, &receiver, time, method, body);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
        IncomingCall { headers: headers.collect(), body: body.to_vec() }
    }

    fn joined(&self, token: &[u8; 16]) -> Vec<u8> {
        CallRequest::peer_joined_body(&self.keypair, &self.keypair.onion(), token)
    }
}

impl Wire {
    fn call(&mut self, at: usize, call: IncomingCall) -> CallReply {
        self.next += 1;
        let request = RequestId(self.next);
        self.queue.push_back((at, Input::Call { request, call }));
        self.run();
        self.call_replies.remove(&(at, request)).expect("each call is answered")
    }

    fn code_of(&mut self, at: usize, call: IncomingCall) -> String {
        let reply = self.call(at, call);
        let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        json["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {json}")).to_owned()
    }

    fn result_of(&mut self, at: usize, call: IncomingCall) -> serde_json::Value {
        let reply = self.call(at, call);
        let mut json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 200, "{json}");
        json["result"].take()
    }

    fn token(&mut self, at: usize, level: TrustLevel) -> [u8; 16] {
        let invite = Admin::Invite { level, expires_in: Millis::from_ms(3_600_000), addresses: vec![] };
        let Reply::Invite(invite) = self.ask(at, invite).unwrap() else { panic!("an invite") };
        crate::federation::invite::Invite::parse(&invite.code).unwrap().token
    }

    /// A foreign peer of the node, joined by call.
    pub(super) fn befriend(&mut self, at: usize, foreign: &Foreign, level: TrustLevel) {
        let token = self.token(at, level);
        let now = self.now().wall;
        let result = self.result_of(at, foreign.plain_call(now, &foreign.joined(&token)));
        assert_eq!(result["did"].as_str().unwrap(), did(&self.nodes[at].peer_id()));
    }

    fn publish(&mut self, at: usize) {
        let state = NodeState { node_name: Some("hut".into()), uptime_secs: Some(7), ..NodeState::default() };
        self.ask(at, Write::publish(state)).unwrap();
    }

    /// The call that a node wants made.
    pub(super) fn outgoing(&mut self, at: usize) -> (crate::io::CallId, OutgoingCall) {
        let found = self.calls.iter().position(|(from, ..)| *from == at).expect("a call is wanted");
        let (_, id, call) = self.calls.remove(found);
        (id, call)
    }

    pub(super) fn answer(&mut self, at: usize, id: crate::io::CallId, status: u16, body: &str) {
        let reply = CallReply { status, body: body.as_bytes().to_vec() };
        self.queue.push_back((at, Input::CallAnswered { id, result: Ok(reply) }));
        self.run();
    }

    pub(super) fn counted(&self, at: usize, label: &str) -> u64 {
        self.nodes[at].report().status().rejections.get(label).copied().unwrap_or_default()
    }
}

fn get_state() -> Vec<u8> {
    CallRequest::get_state_body()
}

#[test]
fn members_read_the_state_and_others_do_not() {
    let (mut wire, observer, stranger) = (Wire::new(1), Foreign::new(50), Foreign::new(60));
    wire.befriend(0, &observer, TrustLevel::Observer);
    let now = wire.now().wall;
    assert_eq!(wire.code_of(0, observer.plain_call(now + Millis::from_ms(1), &get_state())), "no_state");
    wire.publish(0);
    let state = wire.result_of(0, observer.plain_call(now + Millis::from_ms(2), &get_state()));
    assert_eq!((state["node_name"].as_str(), state["uptime_secs"].as_u64()), (Some("hut"), Some(7)));
    assert!(state["timestamp"].is_string() && state["apps"].is_array());
    assert_eq!(wire.code_of(0, stranger.plain_call(now, &get_state())), "not_a_peer");
    wire.ask(0, Admin::Trust { peer: did(&observer.id()), level: TrustLevel::Untrusted }).unwrap();
    assert_eq!(wire.code_of(0, observer.plain_call(now + Millis::from_ms(3), &get_state())), "not_trusted");
    assert_eq!((wire.counted(0, "call_not_a_peer"), wire.counted(0, "call_not_trusted")), (1, 1));
}

#[test]
fn a_call_counts_once_also_after_a_restart_of_the_node() {
    let (mut wire, peer) = (Wire::new(1), Foreign::new(50));
    wire.befriend(0, &peer, TrustLevel::Trusted);
    wire.publish(0);
    let now = wire.now().wall;
    let call = peer.plain_call(now + Millis::from_ms(5), &get_state());
    wire.result_of(0, call.clone());
    assert_eq!(wire.code_of(0, call.clone()), "replayed");
    let store = wire.nodes[0].core.gate.store().reopen();
    wire.nodes[0] = open(store, 0, Mono::from_ms(9));
    assert_eq!(wire.code_of(0, call.clone()), "replayed");
    wire.result_of(0, peer.plain_call(now + Millis::from_ms(6), &get_state()));
    wire.pass(11 * 60_000);
    assert_eq!(wire.code_of(0, call), "timestamp_late");
    let ahead = wire.now().wall + Millis::from_ms(5 * 60_000 + 1);
    assert_eq!(wire.code_of(0, peer.plain_call(ahead, &get_state())), "timestamp_early");
}

/// The record of a call stands on the disk when its answer leaves.
#[test]
fn an_answer_leaves_behind_the_record_of_its_call() {
    let (mut wire, peer) = (Wire::new(1), Foreign::new(50));
    wire.befriend(0, &peer, TrustLevel::Trusted);
    wire.publish(0);
    let (now, call) = (wire.now(), peer.plain_call(wire.now().wall + Millis::from_ms(5), &get_state()));
    wire.nodes[0].handle_input(now, Input::Call { request: RequestId(77), call });
    let recorded = |node: &Node| node.core.gate.store().load().unwrap().calls[0].seen_ns.len();
    assert_eq!(recorded(&wire.nodes[0]), 1, "the join alone");
    while let Some(output) = wire.nodes[0].poll_output() {
        if matches!(output, Output::CallAnswer { .. }) {
            assert_eq!(recorded(&wire.nodes[0]), 2);
            return;
        }
    }
    panic!("no answer left");
}

#[test]
fn an_install_needs_trust_and_a_signature_over_the_whole_call() {
    let (mut wire, trusted, observer) = (Wire::new(1), Foreign::new(50), Foreign::new(60));
    wire.befriend(0, &trusted, TrustLevel::Trusted);
    wire.befriend(0, &observer, TrustLevel::Observer);
    let (me, now) = (wire.nodes[0].peer_id(), wire.now().wall);
    let install = InstallRequest { id: "wiki".into(), version: "1".into(), marketplace_url: None };
    let body = CallRequest::install_body(&install);
    let bound = |peer: &Foreign, ms| peer.bound_call(me, now + Millis::from_ms(ms), Method::Install, &body);
    assert_eq!(wire.code_of(0, observer.plain_call(now + Millis::from_ms(1), &body)), "not_trusted");
    assert_eq!(wire.code_of(0, trusted.plain_call(now + Millis::from_ms(1), &body)), "missing_sig2");
    assert_eq!(wire.code_of(0, bound(&trusted, 2)), "deploys_off");
    assert_eq!(wire.code_of(0, bound(&trusted, 2)), "replayed");
    let for_another = trusted.bound_call(observer.id(), now + Millis::from_ms(3), Method::Install, &body);
    assert_eq!(wire.code_of(0, for_another), "wrong_sig2");
    wire.nodes[0].core.settings.rpc_legacy_install = true;
    assert_eq!(wire.code_of(0, trusted.plain_call(now + Millis::from_ms(4), &body)), "deploys_off");
}

/// A key that a member reports as stolen reads nothing more by call, though the operator has not decided yet.
#[test]
fn a_suspended_identity_gets_no_state() {
    let (mut wire, lost) = (Wire::new(2), Foreign::new(50));
    wire.join(0, 1, TrustLevel::Trusted);
    wire.befriend(0, &lost, TrustLevel::Trusted);
    wire.befriend(1, &lost, TrustLevel::Trusted);
    wire.ask(1, Write::publish(NodeState::default())).unwrap();
    let (now, body) = (wire.now().wall, CallRequest::get_state_body());
    wire.result_of(1, lost.plain_call(now + Millis::from_ms(1), &body));
    wire.connect(0, 1);
    wire.ask(0, Admin::Revoke { peer: did(&lost.id()) }).unwrap();
    assert!(wire.nodes[1].replica.federation().is_suspended(&lost.id()));
    assert_eq!(wire.code_of(1, lost.plain_call(now + Millis::from_ms(2), &body)), "not_trusted");
}

#[test]
fn an_invite_is_used_by_call_once_and_its_joiner_may_repeat() {
    let (mut wire, joiner, other) = (Wire::new(1), Foreign::new(50), Foreign::new(60));
    let token = wire.token(0, TrustLevel::Observer);
    let now = wire.now().wall;
    let call = |who: &Foreign, ms| who.plain_call(now + Millis::from_ms(ms), &who.joined(&token));
    let first = wire.result_of(0, call(&joiner, 1));
    let Reply::Peers(peers) = wire.ask(0, Query::Peers).unwrap() else { panic!() };
    assert_eq!((peers.len(), peers[0].trust_level, peers[0].joined), (1, TrustLevel::Observer, "agreed"));
    assert_eq!(peers[0].onion, joiner.keypair.onion());
    assert_eq!(wire.code_of(0, call(&joiner, 1)), "replayed");
    assert_eq!(
        wire.result_of(0, call(&joiner, 2)),
        first,
        "the same joiner repeats and gets the same answer"
    );
    assert_eq!(wire.code_of(0, call(&other, 3)), "join_token");
    assert_eq!(
        wire.code_of(0, other.plain_call(now + Millis::from_ms(4), &joiner.joined(&token))),
        "other_joiner"
    );
    let store = wire.nodes[0].core.gate.store().reopen();
    wire.nodes[0] = open(store, 0, Mono::from_ms(9));
    assert_eq!(wire.result_of(0, call(&joiner, 5)), first);
    let Reply::Peers(peers) = wire.ask(0, Query::Peers).unwrap() else { panic!() };
    assert_eq!(peers.len(), 1);
}

#[test]
fn wrong_tokens_are_slowed_down_and_a_right_one_is_taken() {
    let (mut wire, joiner) = (Wire::new(1), Foreign::new(50));
    let token = wire.token(0, TrustLevel::Trusted);
    let now = wire.now().wall;
    let wrong = |n: u8| joiner.plain_call(now + Millis::from_ms(u64::from(n)), &joiner.joined(&[n; 16]));
    for n in 1..=5 {
        assert_eq!(wire.code_of(0, wrong(n)), "join_token");
    }
    assert_eq!(wire.code_of(0, wrong(6)), "join_busy");
    wire.result_of(0, joiner.plain_call(now + Millis::from_ms(7), &joiner.joined(&token)));
    assert_eq!(wire.counted(0, "call_join_token"), 5);
}

/// The native session finds no node; the call does. A lost answer is asked for again.
#[test]
fn a_bare_code_is_redeemed_by_call_where_the_session_gives_nothing() {
    let (mut wire, inviter) = (Wire::new(1), Foreign::new(50));
    let onion = inviter.keypair.onion();
    let code = inviter.code(onion.strip_suffix(".onion").unwrap());
    let (request, now) = (RequestId(99), wire.now().wall);
    let join = Admin::Join { code, addresses: vec![] };
    wire.queue.push_back((0, Input::Command { request, command: join.into() }));
    wire.run();
    assert!(wire.calls.is_empty(), "the session is tried first");
    let failed =
        |inviter: &Foreign| Input::JoinAnswered { inviter: inviter.id(), result: Err(JoinError::NotFound) };
    wire.queue.push_back((0, failed(&inviter)));
    wire.run();
    let (id, call) = wire.outgoing(0);
    assert_eq!(call.onion.to_string(), onion);
    let json: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(
        (json["method"].as_str(), json["params"]["token"].as_str()),
        (Some("federation.peer-joined"), Some(&*"07".repeat(16)))
    );
    let failure = CallFailure { why: "no answer came within 30 s".into(), may_have_arrived: true };
    wire.queue.push_back((0, Input::CallAnswered { id, result: Err(failure) }));
    wire.run();
    assert!(!wire.replies.contains_key(&(0, request)), "it is tried again");
    // The node starts again meanwhile, and remembers that it was a bare code.
    let store = wire.nodes[0].core.gate.store().reopen();
    wire.nodes[0] = open(store, 0, Mono::from_ms(9));
    wire.pass(2_000);
    wire.queue.push_back((0, failed(&inviter)));
    wire.queue.push_back((0, failed(&inviter)));
    wire.run();
    assert_eq!(wire.calls.len(), 1, "one call at a time");
    let (id, _) = wire.outgoing(0);
    wire.answer(0, id, 200, r#"{"result": {"accepted": true, "name": "mill"}}"#);
    let Reply::Peers(peers) = wire.ask(0, Query::Peers).unwrap() else { panic!() };
    assert_eq!(
        (peers[0].joined, peers[0].name.as_deref(), &peers[0].onion),
        ("agreed", Some("mill"), &onion)
    );
    assert!(wire.now().wall >= now);
}

#[test]
fn an_inviter_that_refuses_a_call_is_no_peer() {
    let (mut wire, inviter) = (Wire::new(1), Foreign::new(50));
    let (request, code) = (RequestId(99), inviter.code(&inviter.keypair.onion()));
    let join = Admin::Join { code, addresses: vec![] };
    wire.queue.push_back((0, Input::Command { request, command: join.into() }));
    wire.queue
        .push_back((0, Input::JoinAnswered { inviter: inviter.id(), result: Err(JoinError::NotFound) }));
    wire.run();
    let (id, _) = wire.outgoing(0);
    wire.answer(0, id, 403, r#"{"error": {"message": "invalid token"}}"#);
    let refused = wire.replies.remove(&(0, request)).unwrap();
    assert!(
        matches!(&refused, Err(CommandError::CallRefused { why, .. }) if why == "invalid token"),
        "{refused:?}"
    );
    assert!(matches!(wire.ask(0, Query::Peers), Ok(Reply::Peers(peers)) if peers.is_empty()));
}

/// A code of ours has more fields, so its maker speaks the session: no call is made for it.
#[test]
fn a_code_of_this_program_is_redeemed_over_sessions_only() {
    let mut wire = Wire::new(2);
    let invite = Admin::Invite {
        level: TrustLevel::Trusted,
        expires_in: Millis::from_ms(3_600_000),
        addresses: vec![],
    };
    let Reply::Invite(invite) = wire.ask(0, invite).unwrap() else { panic!("an invite") };
    let inviter = wire.nodes[0].peer_id();
    let join = Admin::Join { code: invite.code, addresses: vec![] };
    let now = wire.now();
    wire.nodes[1].handle_input(now, Input::Command { request: RequestId(99), command: join.into() });
    wire.nodes[1].handle_input(now, Input::JoinAnswered { inviter, result: Err(JoinError::NotFound) });
    while let Some(output) = wire.nodes[1].poll_output() {
        assert!(!matches!(output, Output::DialCall { .. }));
    }
}

#[test]
fn a_state_fetched_by_call_is_the_peers_last_state_also_after_a_restart() {
    let (mut wire, peer) = (Wire::new(1), Foreign::new(50));
    wire.befriend(0, &peer, TrustLevel::Trusted);
    let fetch = |wire: &mut Wire, request: u64| {
        let command = Admin::FetchState { peer: did(&peer.id()) }.into();
        wire.queue.push_back((0, Input::Command { request: RequestId(request), command }));
        wire.run();
        wire.outgoing(0)
    };
    let (id, call) = fetch(&mut wire, 501);
    assert_eq!(call.onion.to_string(), peer.keypair.onion());
    let timestamp = crate::clock::rfc3339(wire.now().wall);
    let body = format!(
        r#"{{"result": {{"timestamp": "{timestamp}", "node_name": "mill", "apps": [{{"id": "wiki", "status": "running"}}]}}}}"#
    );
    wire.answer(0, id, 200, &body);
    assert!(
        matches!(&wire.replies[&(0, RequestId(501))], Ok(Reply::State(state)) if state.timestamp == timestamp)
    );
    for restart in [false, true] {
        if restart {
            let store = wire.nodes[0].core.gate.store().reopen();
            wire.nodes[0] = open(store, 0, Mono::from_ms(9));
        }
        let Reply::Peers(peers) = wire.ask(0, Query::Peers).unwrap() else { panic!() };
        assert_eq!((peers[0].last_seen.as_ref(), peers[0].name.as_deref()), (Some(&timestamp), Some("mill")));
        assert_eq!(peers[0].last_state.as_ref().unwrap().state.apps[0].id, "wiki");
    }
    // An older state does not replace it, one from the future is refused, a refusal is shown.
    let (id, _) = fetch(&mut wire, 502);
    wire.answer(0, id, 200, r#"{"result": {"timestamp": "2026-01-01T00:00:00Z", "node_name": "old"}}"#);
    let (id, _) = fetch(&mut wire, 503);
    wire.answer(0, id, 200, r#"{"result": {"timestamp": "2039-01-01T00:00:00Z"}}"#);
    assert!(matches!(wire.replies[&(0, RequestId(503))], Err(CommandError::BadCallAnswer { .. })));
    let (id, _) = fetch(&mut wire, 504);
    wire.answer(0, id, 403, r#"{"error": {"message": "who are you?"}}"#);
    assert!(
        matches!(&wire.replies[&(0, RequestId(504))], Err(CommandError::CallRefused { why, .. }) if why == "who are you?")
    );
    let Reply::State(state) = wire.ask(0, Query::State { peer: Some("mill".into()) }).unwrap() else {
        panic!()
    };
    assert_eq!(state.timestamp, timestamp);
    assert_eq!(wire.counted(0, "bad_call_answer"), 1);
    wire.ask(0, Admin::Remove { peer: "mill".into() }).unwrap();
    assert!(wire.nodes[0].core.gate.store().load().unwrap().called_states.is_empty());
}

#[test]
fn a_peer_without_a_usable_onion_address_or_trust_is_not_called() {
    let (mut wire, peer) = (Wire::new(1), Foreign::new(50));
    wire.befriend(0, &peer, TrustLevel::Trusted);
    let fetch = |wire: &mut Wire| wire.ask(0, Admin::FetchState { peer: did(&peer.id()) });
    wire.ask(0, Admin::Trust { peer: did(&peer.id()), level: TrustLevel::Untrusted }).unwrap();
    assert!(matches!(fetch(&mut wire), Err(CommandError::Untrusted(_))));
    wire.ask(0, Admin::Trust { peer: did(&peer.id()), level: TrustLevel::Trusted }).unwrap();
    let record = wire.nodes[0].replica.federation().peer(&peer.id()).unwrap().clone();
    wire.nodes[0].replica.put_peer(Peer { onion: String::new(), ..record });
    assert!(matches!(fetch(&mut wire), Err(CommandError::NoOnion(_))));
}
