//! A lab of namespaces, and the program in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const TOMBOLO: &str = env!("CARGO_BIN_EXE_tombolo");
const NETLAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab/netlab");
const MDNS_FLOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab/mdns-flood");
const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab/capture");
/// First part of the names of all our namespaces; after it comes the process that made them.
const PREFIX: &str = "tombolo";
/// A command line that takes longer than this hangs.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Labs measure real time: one at a time, also where all tests of this file share a process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static LABS: AtomicU32 = AtomicU32::new(0);

/// So many namespaces on one switch. Dropped, it is gone.
pub(crate) struct Lab {
    name: String,
    net4: String,
    net6: String,
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// A lab, unless this machine cannot have one: then it prints the line that `scripts/test` counts.
    pub(crate) fn new(nodes: usize) -> Option<Lab> {
        if std::env::var("TOMBOLO_QUICK").is_ok_and(|quick| quick == "1") {
            println!("SKIPPED: quick run, the lab is left out");
            return None;
        }
        if let Some(missing) = missing() {
            println!("SKIPPED: needs {missing}");
            return None;
        }
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        sweep();
        let (process, number) = (std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        // Namespaces see nothing of each other, but a different subnet makes a leak visible.
        let net = (process + number) % 200 + 20;
        let lab = Lab {
            name: format!("{PREFIX}-{process}-{number}-"),
            net4: format!("10.77.{net}"),
            net6: format!("fd77:0:0:{net:x}"),
            folder: std::env::temp_dir().join(format!("{PREFIX}-lab-{process}-{number}")),
            _turn: turn,
        };
        std::fs::create_dir_all(&lab.folder).unwrap();
        lab.netlab(&["up", &nodes.to_string()]);
        Some(lab)
    }

    /// One command of the script.
    pub(crate) fn netlab(&self, arguments: &[&str]) -> String {
        let output = self.script(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "netlab {}: {error}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(NETLAB);
        command.args(arguments).env("NETLAB", &self.name).env("NETLAB_NET4", &self.net4);
        command.env("NETLAB_NET6", &self.net6).stdin(Stdio::null());
        command
    }

    /// The IPv4 address of a node.
    pub(crate) fn address(&self, index: usize) -> String {
        format!("{}.{index}", self.net4)
    }

    /// A new node, initialised and not yet running.
    pub(crate) fn node(&self, index: usize) -> LabNode<'_> {
        self.node_called(index, &format!("harbour{index}"))
    }

    /// The same with a name of its own: several may share a namespace.
    pub(crate) fn node_called(&self, index: usize, name: &str) -> LabNode<'_> {
        let folder = self.folder.join(name);
        let node = LabNode { lab: self, index, folder, arguments: Vec::new(), daemon: None };
        node.ok(&["init", "--name", name]);
        node
    }

    /// The network namespace of a node.
    pub(crate) fn namespace(&self, index: usize) -> String {
        format!("{}{index}", self.name)
    }

    /// Where a test may keep files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Nodes 1 to `count`, initialised and running.
    pub(crate) fn running(&self, count: usize) -> Vec<LabNode<'_>> {
        (1..=count)
            .map(|index| {
                let mut node = self.node(index);
                node.up();
                node
            })
            .collect()
    }

    /// A neighbour that sends so many answers a second, each with so many names under which it repeats a hint, from a namespace of
    /// its own.
    pub(crate) fn mdns_flood(&self, index: usize, rate: u32, seconds: u32, services: u32) -> Child {
        let (namespace, address) = (self.namespace(index), self.address(index));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace, "setpriv", "--pdeathsig", "KILL", MDNS_FLOOD, &address]);
        command
            .args([rate, seconds, services].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.spawn().unwrap()
    }

    /// Every frame that passes the switch until the capture is ended.
    pub(crate) fn capture(&self, seconds: u32) -> Capture {
        let file = std::fs::File::create(self.folder.join("frames")).unwrap();
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &format!("{}-sw", self.name),
            "setpriv",
            "--pdeathsig",
            "KILL",
            CAPTURE,
        ]);
        let child =
            command.args(["br0", &seconds.to_string()]).stdout(file).stdin(Stdio::null()).spawn().unwrap();
        Capture { child, path: self.folder.join("frames") }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.script(&["down"]).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Frames as they passed.
pub(crate) struct Capture {
    child: Child,
    path: PathBuf,
}

impl Capture {
    /// The frames, once the time is over.
    pub(crate) fn frames(mut self) -> Vec<Vec<u8>> {
        assert!(self.child.wait().unwrap().success());
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.lines().filter_map(|line| data_encoding::HEXLOWER.decode(line.as_bytes()).ok()).collect()
    }
}

/// What this machine lacks, with the remedy.
fn missing() -> Option<&'static str> {
    let runs = |program: &str, arguments: &[&str]| {
        let quiet = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        quiet.is_ok_and(|status| status.success())
    };
    if !runs("ip", &["-V"]) {
        return Some("iproute2 (apt install iproute2)");
    }
    if !runs("nft", &["--version"]) {
        return Some("nft (apt install nftables)");
    }
    if !runs("python3", &["--version"]) {
        return Some("python3 (apt install python3)");
    }
    let probe = format!("{PREFIX}-{}-probe", std::process::id());
    if !runs("ip", &["netns", "add", &probe]) {
        return Some("network namespaces (run as root)");
    }
    runs("ip", &["netns", "del", &probe]);
    None
}

/// Removes what test runs that were killed left behind; those of running processes stay.
fn sweep() {
    let Ok(output) = Command::new("ip").args(["netns", "list"]).output() else { return };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(name) = line.split_whitespace().next() else { continue };
        let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-').skip(1);
        let Some(process) = parts.next().and_then(|process| process.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{process}")).exists() {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A node: a folder, and the daemon on it while it runs.
pub(crate) struct LabNode<'lab> {
    lab: &'lab Lab,
    pub(crate) index: usize,
    folder: PathBuf,
    /// What `up` is called with, beside the folder.
    pub(crate) arguments: Vec<String>,
    daemon: Option<Child>,
}

impl LabNode<'_> {
    /// Changes one line of `tombolo.toml`.
    pub(crate) fn setting(&self, from: &str, to: &str) {
        let path = self.folder.join("tombolo.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no `{from}` in {text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn up(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let namespace = self.lab.namespace(self.index);
        // Should this process be killed, its daemons end with it.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace, "setpriv", "--pdeathsig", "KILL", TOMBOLO]);
        command.arg("--data-dir").arg(&self.folder).arg("up").args(&self.arguments).env("RUST_LOG", "info");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let begin = Instant::now();
        while !self.socket_answers() {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "node {} does not come up:\n{}",
                self.index,
                self.tail()
            );
            sleep(Duration::from_millis(20));
        }
    }

    fn socket_answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.folder.join("control.sock")).is_ok()
    }

    /// Ends the daemon as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// The running daemon, for a test that ends it at a moment of its own.
    pub(crate) fn take_daemon(&mut self) -> Child {
        self.daemon.take().expect("the daemon runs")
    }

    /// The most memory that the daemon has had, in kB.
    pub(crate) fn memory_high_kb(&self) -> u64 {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux shows it");
        high.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The processor time of the daemon so far, in ticks of 10 ms.
    pub(crate) fn processor_ticks(&self) -> u64 {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap();
        // proc(5): utime and stime are fields 14 and 15; the name of the program, field 2, is in parentheses.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    fn log(&self) -> PathBuf {
        self.folder.with_extension("log")
    }

    /// The end of the daemon's log.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// One command line in the node's namespace, with its exit code.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let namespace = self.lab.namespace(self.index);
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &namespace,
            "timeout",
            &COMMAND_TIMEOUT.as_secs().to_string(),
            TOMBOLO,
        ]);
        command.arg("--data-dir").arg(&self.folder).args(arguments).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// One command line that must work; what it prints.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.run(arguments);
        assert_eq!(code, 0, "node {}: {}: {error}\n{}", self.index, arguments.join(" "), self.tail());
        out.trim_end().to_owned()
    }

    /// The same, read as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let out = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{}: {error} in {out}", arguments.join(" ")))
    }

    /// The name that it was given.
    pub(crate) fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).expect("a folder is called by the name")
    }

    pub(crate) fn did(&self) -> String {
        self.json(&["id"])["did"].as_str().unwrap().to_owned()
    }

    /// What it reads at a key, if it is there.
    pub(crate) fn get(&self, doc: &str, key: &str) -> Option<String> {
        let (code, out, _) = self.run(&["get", doc, key]);
        (code == 0).then(|| out.trim_end().to_owned())
    }

    /// Invites `joiner` and waits until both sides agreed.
    pub(crate) fn federate(&self, joiner: &LabNode<'_>) {
        let code = self.ok(&["invite"]);
        joiner.ok(&["join", &code]);
    }

    /// Whether a link to that peer is up.
    pub(crate) fn is_connected(&self, did: &str) -> bool {
        let peers = self.json(&["peers"]);
        peers.as_array().unwrap().iter().any(|peer| peer["did"] == did && peer["connected"] == true)
    }

    /// The hash of a document's merged view.
    pub(crate) fn hash(&self, doc: &str) -> Option<String> {
        let documents = self.json(&["ls"]);
        let document = documents.as_array().unwrap().iter().find(|document| document["name"] == doc)?;
        Some(document["hash"].as_str().unwrap().to_owned())
    }
}

impl Drop for LabNode<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("node {} said:\n{}", self.name(), self.tail());
        }
        self.kill();
    }
}

/// Waits until a condition holds; returns how long that took.
pub(crate) fn wait_for(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < within, "not within {within:?}: {what}");
        sleep(Duration::from_millis(50));
    }
    begin.elapsed()
}

/// Waits until a document reads the same at all nodes.
pub(crate) fn wait_in_step(nodes: &[LabNode<'_>], doc: &str, within: Duration) -> Duration {
    wait_for(&format!("`{doc}` the same at all nodes"), within, || {
        let hashes: Vec<Option<String>> = nodes.iter().map(|node| node.hash(doc)).collect();
        hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0])
    })
}
