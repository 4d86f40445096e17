//! A wire made of a queue: nodes, the links between them, and what came out of each.

use std::collections::{BTreeMap, VecDeque};

use tombolo_delta::Value;
use tombolo_transports::{DownReason, LinkId, Medium};

use super::*;
use crate::clock::BUILD_DATE;
use crate::commands::{CommandKey, Deploy};
use crate::core::side::link_caps;
use crate::federation::TrustLevel;
use crate::io::AlarmMessage;
use crate::time::{Millis, Mono, Wall};
use crate::watches::AlarmMessageKey;

pub(super) const START: Wall = Wall::from_ms(BUILD_DATE.ms() + 86_400_000);

/// Nodes joined by perfect links of no latency.
pub(super) struct Wire {
    pub(super) nodes: Vec<Node>,
    /// Link id -> (from, to, id at the far end).
    pub(super) links: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    pub(super) queue: VecDeque<(usize, Input)>,
    pub(super) replies: BTreeMap<(usize, RequestId), Result<Reply, CommandError>>,
    pub(super) events: Vec<(usize, Event)>,
    pub(super) sent: Vec<(usize, Vec<u8>)>,
    /// Answers to JSON calls, and calls that wait for theirs.
    pub(super) call_replies: BTreeMap<(usize, RequestId), crate::io::CallReply>,
    pub(super) calls: Vec<(usize, crate::io::CallId, crate::io::OutgoingCall)>,
    pub(super) installs: Vec<(usize, CommandKey, Deploy)>,
    pub(super) messages: Vec<(usize, AlarmMessageKey, AlarmMessage)>,
    pub(super) mono: Mono,
    pub(super) next: u64,
}

impl Wire {
    pub(super) fn new(count: usize) -> Self {
        let nodes = (0..count).map(|i| open(Store::in_memory().unwrap(), i, Mono::ZERO)).collect();
        Wire {
            nodes,
            links: BTreeMap::new(),
            queue: VecDeque::new(),
            replies: BTreeMap::new(),
            events: Vec::new(),
            sent: Vec::new(),
            call_replies: BTreeMap::new(),
            calls: Vec::new(),
            installs: Vec::new(),
            messages: Vec::new(),
            mono: Mono::ZERO,
            next: 1,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: self.mono, wall: START + self.mono.since(Mono::ZERO) }
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        self.link(a, b);
        self.run();
    }

    /// The same, of which neither end knows yet.
    pub(super) fn link(&mut self, a: usize, b: usize) {
        let (la, lb) = (LinkId(self.next), LinkId(self.next + 1));
        self.next += 2;
        self.links.insert((a, la), (b, lb));
        self.links.insert((b, lb), (a, la));
        let (pa, pb) = (self.nodes[a].peer_id(), self.nodes[b].peer_id());
        self.queue.push_back((a, Input::LinkUp { link: la, peer: pb, caps: link_caps(Medium::Memory) }));
        self.queue.push_back((b, Input::LinkUp { link: lb, peer: pa, caps: link_caps(Medium::Memory) }));
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|((f, _), (t, _))| (*f, *t) == (a, b) || (*f, *t) == (b, a))
            .map(|(k, _)| *k)
            .collect();
        for (node, link) in gone {
            self.links.remove(&(node, link));
            self.queue.push_back((node, Input::LinkDown { link, why: DownReason::Silent }));
        }
        self.run();
    }

    /// Everything that follows, and `ms` of time passing.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.mono + Millis::from_ms(ms);
        while self.mono < end {
            self.run();
            let next = self.nodes.iter().filter_map(Node::poll_timeout).min().unwrap_or(end);
            self.mono = next.clamp(self.mono + Millis::from_ms(1), end);
            for node in 0..self.nodes.len() {
                self.queue.push_back((node, Input::Timeout));
            }
            self.run();
        }
    }

    pub(super) fn run(&mut self) {
        while let Some((at, input)) = self.queue.pop_front() {
            let now = self.now();
            self.nodes[at].handle_input(now, input);
            while let Some(output) = self.nodes[at].poll_output() {
                self.output(at, output);
            }
        }
    }

    pub(super) fn output(&mut self, at: usize, output: Output) {
        match output {
            Output::Send { link, bytes } => {
                self.sent.push((at, bytes.clone()));
                if let Some((to, far)) = self.links.get(&(at, link)) {
                    self.queue.push_back((*to, Input::Received { link: *far, bytes }));
                }
            }
            Output::Close { link } => {
                if let Some((to, far)) = self.links.remove(&(at, link)) {
                    self.links.remove(&(to, far));
                    self.queue.push_back((to, Input::LinkDown { link: far, why: DownReason::PeerClosed }));
                }
            }
            Output::Reply { request, result } => {
                self.replies.insert((at, request), result);
            }
            Output::DialJoin { inviter, bytes, .. } => {
                let Some(to) = self.nodes.iter().position(|n| n.peer_id() == inviter) else { return };
                let peer = self.nodes[at].peer_id();
                // The asker's index stands in for the connection.
                let request = RequestId(at as u64);
                self.queue.push_back((to, Input::JoinRequest { request, peer, address: None, bytes }));
            }
            Output::JoinAnswer { request, bytes } => {
                let inviter = self.nodes[at].peer_id();
                self.queue
                    .push_back((request.0 as usize, Input::JoinAnswered { inviter, result: Ok(bytes) }));
            }
            Output::CallAnswer { request, reply } => {
                self.call_replies.insert((at, request), reply);
            }
            Output::DialCall { id, call, .. } => self.calls.push((at, id, *call)),
            Output::Frame { .. } => panic!("there are no radios on a wire"),
            Output::Event(event) => self.events.push((at, event)),
            Output::Install { key, deploy } => self.installs.push((at, key, deploy)),
            Output::Notify { key, message } => self.messages.push((at, key, *message)),
        }
    }

    pub(super) fn ask(&mut self, at: usize, command: impl Into<Command>) -> Result<Reply, CommandError> {
        self.next += 1;
        let request = RequestId(self.next);
        self.queue.push_back((at, Input::Command { request, command: command.into() }));
        self.run();
        while !self.replies.contains_key(&(at, request)) && self.nodes[at].is_under_way() {
            self.queue.push_back((at, Input::Timeout));
            self.run();
        }
        self.replies.remove(&(at, request)).expect("each command is answered").map(Reply::complete)
    }

    pub(super) fn join(&mut self, inviter: usize, joiner: usize, level: TrustLevel) {
        let invite = Admin::Invite { level, expires_in: Millis::from_ms(3_600_000), addresses: vec![] };
        let Reply::Invite(invite) = self.ask(inviter, invite).unwrap() else { panic!("an invite") };
        let joined = self.ask(joiner, Admin::Join { code: invite.code, addresses: vec![] });
        assert!(matches!(joined, Ok(Reply::Joined(_))), "{joined:?}");
    }

    pub(super) fn set(
        &mut self,
        at: usize,
        doc: &str,
        key: &str,
        value: impl Into<Value>,
    ) -> Result<Reply, CommandError> {
        let key = KeyPath::parse(key).unwrap();
        self.ask(at, Write::Set { doc: doc.into(), key, value: value.into() })
    }

    pub(super) fn create(&mut self, at: usize, name: &str) {
        self.ask(at, Write::Create { name: name.into(), kind: Kind::Map }).unwrap();
    }

    pub(super) fn get(&mut self, at: usize, doc: &str) -> Value {
        match self.ask(at, Query::Get { doc: doc.into(), key: None }) {
            Ok(Reply::Value(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn hashes(&mut self, at: usize) -> BTreeMap<(String, String), String> {
        let Ok(Reply::Documents(list)) = self.ask(at, Query::List) else { panic!("a list") };
        list.into_iter().map(|d| ((d.owner, d.name), d.hash)).collect()
    }

    pub(super) fn status(&mut self, at: usize) -> view::StatusView {
        let Ok(Reply::Status(status)) = self.ask(at, Query::Status) else { panic!("a status") };
        *status
    }

    pub(super) fn restart(&mut self, at: usize) {
        let links: Vec<_> = self.links.keys().filter(|(node, _)| *node == at).copied().collect();
        for (node, link) in links {
            if let Some((to, far)) = self.links.remove(&(node, link)) {
                self.links.remove(&(to, far));
                self.queue.push_back((to, Input::LinkDown { link: far, why: DownReason::PeerClosed }));
            }
        }
        let store = self.nodes[at].core.gate.store().reopen();
        self.nodes[at] = open(store, at, self.mono);
        self.run();
    }
}

pub(super) fn open(store: Store, index: usize, mono: Mono) -> Node {
    let key = [index as u8 + 1; 32];
    let settings = NodeSettings { name: format!("n{index}"), ..NodeSettings::default() };
    let now = Now { mono, wall: START + mono.since(Mono::ZERO) };
    let mut seed = [9; 32];
    seed[0] = index as u8;
    seed[1..9].copy_from_slice(&mono.ms().to_be_bytes());
    Node::open(store, Keypair::from_seeds(&key, &key), settings, now, seed).unwrap()
}
