//! Transcripts: what goes into the nodes of a field and what comes out, as JSON lines. Another implementation can be driven by one
//! without sockets; [`replay`] drives nodes of this one. `tests/vectors/README.md` describes the lines.

use std::collections::{BTreeMap, VecDeque};

use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use tombolo::clock::Now;
use tombolo::federation::TrustLevel;
use tombolo::identity::{Keypair, did};
use tombolo::layer::{KeyPath, Kind};
use tombolo::node::{
    Admin, Command, Event, Input, Node, NodeSettings, Output, Query, Reply, RequestId, Write,
};
use tombolo::store::Store;
use tombolo::time::{Millis, Mono};
use tombolo_transports::{DownReason, JoinError, LinkId, PeerId};

use crate::field::{FieldConfig, START};
use crate::patch::CableKind;

/// The lines of one conversation. Only commands and inputs that such a conversation needs can be written.
#[derive(Debug)]
pub struct Transcript {
    lines: Vec<Json>,
}

/// A node's process begins.
pub(crate) struct NodeStart<'a> {
    pub(crate) name: &'a str,
    /// The seed of its key, and of that of its onion service.
    pub(crate) key: [u8; 32],
    /// What it draws randomness from.
    pub(crate) randomness: [u8; 32],
    pub(crate) disk: Disk,
}

/// What a node's disk holds when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Empty,
    Own,
    Backup,
}

impl Disk {
    const ALL: [(Disk, &'static str); 3] =
        [(Disk::Empty, "empty"), (Disk::Own, "own"), (Disk::Backup, "backup")];

    fn label(self) -> &'static str {
        Disk::ALL.iter().find(|(disk, _)| *disk == self).expect("each has a label").1
    }
}

/// The settings of each node of a field.
pub(crate) fn settings(name: &str, key: &[u8; 32]) -> NodeSettings {
    let machine_boot = Some(key[..16].try_into().expect("16 of 32 bytes"));
    NodeSettings { name: name.to_owned(), machine_boot, deploys: true, ..NodeSettings::default() }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

impl Transcript {
    /// A transcript without lines yet, but for the first, which describes it.
    pub fn new(about: &str) -> Self {
        let first = json!({ "about": about, "wire": 1, "wall_ms_at_0": START.ms() });
        Transcript { lines: vec![first] }
    }

    /// One JSON object a line.
    pub fn to_text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub(crate) fn started(&mut self, now: Now, start: &NodeStart<'_>) {
        let NodeStart { name, key, randomness, disk } = start;
        let did = did(&Keypair::from_seeds(key, key).peer_id());
        let line = json!({ "input": "start", "did": did, "seed": hex(key), "onion_seed": hex(key),
                           "randomness": hex(randomness), "disk": disk.label() });
        self.line(now, name, line);
    }

    pub(crate) fn backed_up(&mut self, now: Now, name: &str) {
        self.line(now, name, json!({ "input": "back_up" }));
    }

    pub(crate) fn input(&mut self, now: Now, name: &str, input: &Input) {
        self.line(now, name, input_line(input));
    }

    pub(crate) fn output(&mut self, now: Now, name: &str, output: &Output) {
        if let Some(line) = output_line(output) {
            self.line(now, name, line);
        }
    }

    fn line(&mut self, now: Now, name: &str, line: Json) {
        self.lines.push(stamped(now, name, line));
    }
}

/// A line with its time and the name of its node.
fn stamped(now: Now, name: &str, mut line: Json) -> Json {
    if let Json::Object(members) = &mut line {
        members.insert("at_ms".to_owned(), json!(now.mono.ms()));
        members.insert("node".to_owned(), json!(name));
    }
    line
}

// ---- inputs ------------------------------------------------------------------------------------------

fn input_line(input: &Input) -> Json {
    match input {
        Input::Timeout => json!({ "input": "timeout" }),
        Input::LinkUp { link, peer, .. } => {
            json!({ "input": "link_up", "link": link.0, "peer": hex(peer.0), "medium": "lan" })
        }
        Input::LinkDown { link, .. } => json!({ "input": "link_down", "link": link.0 }),
        Input::Received { link, bytes } => {
            json!({ "input": "received", "link": link.0, "hex": hex(bytes) })
        }
        Input::JoinRequest { request, peer, bytes, .. } => {
            json!({ "input": "join_request", "request": request.0, "peer": hex(peer.0), "hex": hex(bytes) })
        }
        Input::JoinAnswered { inviter, result } => {
            let answer = result.as_ref().map_or(Json::Null, |bytes| json!(hex(bytes)));
            json!({ "input": "join_answered", "inviter": hex(inviter.0), "hex": answer })
        }
        Input::RadioUp { link, spec } => {
            json!({ "input": "radio_up", "link": link.0, "frame_bytes_max": spec.frame_bytes_max,
                    "setting": RADIO_SETTING })
        }
        Input::RadioReady { link } => json!({ "input": "radio_ready", "link": link.0 }),
        Input::Frame { link, bytes } => json!({ "input": "frame", "link": link.0, "hex": hex(bytes) }),
        Input::Command { request, command } => {
            json!({ "input": "command", "request": request.0, "command": command_line(command) })
        }
        Input::LinkMeasured { .. }
        | Input::Denied { .. }
        | Input::RadioDown { .. }
        | Input::Call { .. }
        | Input::CallAnswered { .. }
        | Input::Installed { .. }
        | Input::Catalogue(_)
        | Input::Notified { .. }
        | Input::UtcOffset { .. }
        | Input::ClockSynchronised(_)
        | Input::Ending => panic!("a transcript has no words for {input:?}"),
    }
}

/// The one radio setting of transcripts.
const RADIO_SETTING: &str = "SF7/125, no limit on airtime";

fn command_line(command: &Command) -> Json {
    match command {
        Command::Write(Write::Create { name, kind: Kind::Map }) => json!({ "create": name }),
        Command::Write(Write::Set { doc, key, value }) => {
            json!({ "set": doc, "key": key.to_string(), "value": value })
        }
        Command::Admin(Admin::Invite { level, expires_in, .. }) => {
            json!({ "invite": level, "expires_in_ms": expires_in.ms() })
        }
        Command::Admin(Admin::Join { code, .. }) => json!({ "join": code }),
        Command::Admin(Admin::Remove { peer }) => json!({ "remove": peer }),
        Command::Query(Query::Get { doc, key: None }) => json!({ "get": doc }),
        other => panic!("a transcript has no words for {other:?}"),
    }
}

// ---- outputs -----------------------------------------------------------------------------------------

/// What another node or the asking program would notice; events of this program's own lists are left out.
fn output_line(output: &Output) -> Option<Json> {
    Some(match output {
        Output::Send { link, bytes } => json!({ "output": "send", "link": link.0, "hex": hex(bytes) }),
        Output::Frame { link, bytes } => json!({ "output": "frame", "link": link.0, "hex": hex(bytes) }),
        Output::Close { link } => json!({ "output": "close", "link": link.0 }),
        Output::JoinAnswer { request, bytes } => {
            json!({ "output": "join_answer", "request": request.0, "hex": hex(bytes) })
        }
        Output::DialJoin { inviter, bytes, .. } => {
            json!({ "output": "dial_join", "inviter": hex(inviter.0), "hex": hex(bytes) })
        }
        Output::Reply { request, result } => {
            let reply = match result {
                Ok(Reply::Value(value)) => json!({ "value": value }),
                Ok(Reply::Written(written)) => json!({ "sequence": written.sequence }),
                Ok(Reply::Invite(invite)) => json!({ "code": invite.code }),
                Ok(_) => json!("done"),
                Err(_) => json!("refused"),
            };
            json!({ "output": "reply", "request": request.0, "reply": reply })
        }
        Output::Event(Event::Changed(view)) => {
            let doc = format!("{}/{}", view.owner, view.name);
            json!({ "output": "changed", "document": doc, "author": view.author, "sequence": view.sequence })
        }
        Output::Event(_)
        | Output::CallAnswer { .. }
        | Output::DialCall { .. }
        | Output::Install { .. }
        | Output::Notify { .. } => return None,
    })
}

// ---- replaying ---------------------------------------------------------------------------------------

/// A node that is driven by a transcript.
struct ReplayedNode {
    name: String,
    store: Store,
    backup: Option<Store>,
    node: Option<Node>,
    /// What it gave out for its last input and no line has named yet.
    made: VecDeque<Json>,
}

/// Drives nodes by the inputs of a transcript, and compares what they give out with its outputs. Returns how many inputs and
/// outputs there were.
///
/// # Errors
///
/// The line, from 1, at which an output differs, with both; or a line that is none.
pub fn replay(text: &str) -> Result<(usize, usize), String> {
    let mut nodes = BTreeMap::<String, ReplayedNode>::new();
    let (mut inputs, mut outputs) = (0, 0);
    for (at, line) in text.lines().enumerate().skip(1) {
        let wrong = |what: String| format!("line {}: {what}", at + 1);
        let line: Json = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let name = line.get("node").and_then(Json::as_str).ok_or_else(|| wrong("no node".to_owned()))?;
        if line.get("output").is_some() {
            outputs += 1;
            let made = nodes.get_mut(name).and_then(|driven| driven.made.pop_front());
            if made.as_ref() != Some(&line) {
                return Err(wrong(format!("{made:?} in place of {line}")));
            }
            continue;
        }
        inputs += 1;
        let driven = nodes.entry(name.to_owned()).or_insert_with(|| ReplayedNode::new(name));
        if let Some(more) = driven.made.pop_front() {
            return Err(wrong(format!("before it the node gives out {more} as well")));
        }
        driven.take(&line).ok_or_else(|| wrong(format!("{line} cannot be read")))?;
    }
    match nodes.into_values().find_map(|mut driven| driven.made.pop_front()) {
        Some(more) => Err(format!("at the end a node gives out {more} as well")),
        None => Ok((inputs, outputs)),
    }
}

impl ReplayedNode {
    fn new(name: &str) -> Self {
        let store = Store::in_memory().expect("memory takes a new store");
        ReplayedNode { name: name.to_owned(), store, backup: None, node: None, made: VecDeque::new() }
    }

    /// `None` for a line that cannot be read.
    fn take(&mut self, line: &Json) -> Option<()> {
        let mono = Mono::from_ms(line["at_ms"].as_u64()?);
        let now = Now { mono, wall: START + mono.since(Mono::ZERO) };
        match line["input"].as_str()? {
            "start" => return self.start(now, line),
            "back_up" => {
                self.backup = Some(copy_of(&self.store));
                return Some(());
            }
            _ => {}
        }
        let input = input_of(line)?;
        let node = self.node.as_mut()?;
        node.handle_input(now, input);
        while let Some(output) = node.poll_output() {
            if let Some(made) = output_line(&output) {
                self.made.push_back(stamped(now, &self.name, made));
            }
        }
        Some(())
    }

    fn start(&mut self, now: Now, line: &Json) -> Option<()> {
        let (key, onion) = (bytes32(&line["seed"])?, bytes32(&line["onion_seed"])?);
        let (disk, _) = *Disk::ALL.iter().find(|(_, label)| line["disk"] == *label)?;
        self.node = None;
        if disk == Disk::Backup {
            self.store = copy_of(self.backup.as_ref()?);
        }
        let keypair = Keypair::from_seeds(&key, &onion);
        let seed = bytes32(&line["randomness"])?;
        let node = Node::open(self.store.reopen(), keypair, settings(&self.name, &key), now, seed);
        self.node = Some(node.ok()?);
        Some(())
    }
}

/// A copy of a disk.
pub(crate) fn copy_of(store: &Store) -> Store {
    let copy = Store::in_memory().expect("memory takes a new store");
    store.copy_into(&copy).expect("memory takes a copy");
    copy
}

fn bytes(json: &Json) -> Option<Vec<u8>> {
    HEXLOWER.decode(json.as_str()?.as_bytes()).ok()
}

fn bytes32(json: &Json) -> Option<[u8; 32]> {
    bytes(json)?.try_into().ok()
}

fn input_of(line: &Json) -> Option<Input> {
    let link = || Some(LinkId(line["link"].as_u64()?));
    let request = || Some(RequestId(line["request"].as_u64()?));
    let peer = |name: &str| Some(PeerId(bytes32(&line[name])?));
    Some(match line["input"].as_str()? {
        "timeout" => Input::Timeout,
        "link_up" => Input::LinkUp { link: link()?, peer: peer("peer")?, caps: CableKind::LAN.caps() },
        "link_down" => Input::LinkDown { link: link()?, why: DownReason::Silent },
        "received" => Input::Received { link: link()?, bytes: bytes(&line["hex"])? },
        "join_request" => Input::JoinRequest {
            request: request()?,
            peer: peer("peer")?,
            address: None,
            bytes: bytes(&line["hex"])?,
        },
        "join_answered" => {
            let result =
                if line["hex"].is_null() { Err(JoinError::NotFound) } else { Ok(bytes(&line["hex"])?) };
            Input::JoinAnswered { inviter: peer("inviter")?, result }
        }
        "radio_up" => {
            let spec = FieldConfig::of_transcripts(0).radio_spec();
            Input::RadioUp { link: link()?, spec: Box::new(spec) }
        }
        "radio_ready" => Input::RadioReady { link: link()? },
        "frame" => Input::Frame { link: link()?, bytes: bytes(&line["hex"])? },
        "command" => Input::Command { request: request()?, command: command_of(&line["command"])? },
        _ => return None,
    })
}

fn command_of(json: &Json) -> Option<Command> {
    let text = |name: &str| Some(json[name].as_str()?.to_owned());
    let (name, _) = json.as_object()?.iter().find(|(name, _)| COMMANDS.contains(&name.as_str()))?;
    Some(match name.as_str() {
        "create" => Write::Create { name: text("create")?, kind: Kind::Map }.into(),
        "set" => {
            let key = KeyPath::parse(json["key"].as_str()?).ok()?;
            let value = serde_json::from_value(json["value"].clone()).ok()?;
            Write::Set { doc: text("set")?, key, value }.into()
        }
        "invite" => {
            let level: TrustLevel = serde_json::from_value(json["invite"].clone()).ok()?;
            let expires_in = Millis::from_ms(json["expires_in_ms"].as_u64()?);
            Admin::Invite { level, expires_in, addresses: vec![] }.into()
        }
        "join" => Admin::Join { code: text("join")?, addresses: vec![] }.into(),
        "remove" => Admin::Remove { peer: text("remove")? }.into(),
        _ => Query::Get { doc: text("get")?, key: None }.into(),
    })
}

const COMMANDS: [&str; 6] = ["create", "set", "invite", "join", "remove", "get"];
