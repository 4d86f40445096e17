//! One private Tor network, and the client tors that nodes use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::scripted::Place;
use super::scripted::client::{Controller, dial, echo, echoes};

const TESTNET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab/tor-testnet");
/// First part of the folder's name; after it comes the process that made it.
const PREFIX: &str = "tombolo-tor-";
/// How long the network may take to start, beside other tests.
const START: &str = "240";

/// Real authorities, relays and clients on the loopback. Dropped, they have ended; should this process be killed, they end
/// by themselves within 15 s.
pub(crate) struct TorNetwork {
    folder: PathBuf,
    variables: BTreeMap<String, String>,
    /// Secrets that its nodes use.
    planted: Mutex<Vec<Vec<u8>>>,
}

impl TorNetwork {
    /// A network with so many client tors, unless this machine cannot have one: then it prints the line that
    /// `scripts/test` counts.
    pub(crate) fn start(clients: usize) -> Option<Self> {
        if std::env::var("TOMBOLO_QUICK").is_ok_and(|quick| quick == "1") {
            println!("SKIPPED: quick run, the private Tor network is left out");
            return None;
        }
        for (program, package) in [("tor", "tor"), ("tor-gencert", "tor"), ("python3", "python3")] {
            if !has(program) {
                println!("SKIPPED: needs {program} (apt install {package})");
                return None;
            }
        }
        sweep();
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("{PREFIX}{process}"));
        let mut network = TorNetwork { folder, variables: BTreeMap::new(), planted: Mutex::default() };
        let begun = Instant::now();
        let (clients, owner) = (clients.to_string(), process.to_string());
        let lines =
            network.script(&["start", "--clients", &clients, "--owner-pid", &owner, "--timeout", START]);
        let variables = lines.lines().filter_map(|line| line.split_once('='));
        network.variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        println!("totals: tor: the private network is up after {:.1} s", begun.elapsed().as_secs_f64());
        Some(network)
    }

    /// One command of the script; returns what it printed.
    fn script(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(TESTNET);
        command.args(arguments).arg("--dir").arg(&self.folder).stdin(Stdio::null());
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tor-testnet {}: {error}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The client tor of this number, from 1.
    pub(crate) fn tor(&self, number: usize) -> Tor<'_> {
        Tor { network: self, number }
    }

    /// A service at one tor, an echo through another: what all stories stand on, without a node.
    pub(crate) fn check(&self) {
        let (home, away) = (self.tor(1), self.tor(2));
        let mut controller = home.controller();
        let begun = Instant::now();
        let answer = controller.ask(&format!("ADD_ONION NEW:BEST Flags=DiscardPK Port=7,{}", echo()));
        let name =
            answer[0].strip_prefix("250-ServiceID=").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        let mut attempt = 0;
        loop {
            attempt += 1;
            match dial(&away.socks(), &format!("check-{attempt}"), &name, 7) {
                Ok(stream) => break assert!(echoes(&stream)),
                Err(code) => assert!(begun.elapsed() < Duration::from_secs(60), "refused with {code:#x}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("totals: tor: a service answers {:.1} s after ADD_ONION", begun.elapsed().as_secs_f64());
    }

    /// Keeps secrets that are to be found nowhere.
    pub(crate) fn plant(&self, secrets: Vec<Vec<u8>>) {
        self.planted.lock().unwrap().extend(secrets);
    }

    /// All secrets that were kept, each once.
    pub(crate) fn planted(&self) -> Vec<Vec<u8>> {
        let mut planted = self.planted.lock().unwrap().clone();
        planted.sort();
        planted.dedup();
        planted
    }

    /// The control ports of the client tors, and their SOCKS ports.
    pub(crate) fn ports(&self) -> [Vec<u16>; 2] {
        ["_CONTROL", "_SOCKS"].map(|kind| {
            let of_kind = self.variables.iter().filter(|(name, _)| name.contains(kind));
            of_kind.filter_map(|(_, place)| place.rsplit(':').next()?.parse().ok()).collect()
        })
    }

    /// Ends one node as a power cut would, or starts it again.
    pub(crate) fn kill_node(&self, name: &str) {
        self.script(&["kill", name, "--signal", "KILL"]);
    }

    pub(crate) fn revive_node(&self, name: &str) {
        self.script(&["revive", name, "--owner-pid", &std::process::id().to_string()]);
    }

    /// Where all logs of all tors are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for TorNetwork {
    fn drop(&mut self) {
        let mut command = Command::new(TESTNET);
        command.args(["stop", "--dir"]).arg(&self.folder).stdin(Stdio::null());
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One client tor of the network.
#[derive(Clone, Copy)]
pub(crate) struct Tor<'net> {
    network: &'net TorNetwork,
    number: usize,
}

impl Tor<'_> {
    fn variable(&self, name: &str) -> &str {
        &self.network.variables[&format!("TOR_TESTNET_CLIENT{}_{name}", self.number)]
    }

    /// Its SOCKS port, with extended errors.
    pub(crate) fn socks(&self) -> Place {
        self.variable("SOCKS_EXTENDED").parse().unwrap()
    }

    pub(crate) fn control(&self) -> Place {
        self.variable("CONTROL").parse().unwrap()
    }

    pub(crate) fn cookie(&self) -> &Path {
        Path::new(self.variable("COOKIE"))
    }

    /// A connection to its control port.
    pub(crate) fn controller(&self) -> Controller {
        Controller::logged_in(&self.control(), self.cookie())
    }

    fn name(&self) -> String {
        format!("client{}", self.number)
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self) {
        self.network.kill_node(&self.name());
    }

    /// Starts it again, with what its data directory has.
    pub(crate) fn revive(&self) {
        self.network.revive_node(&self.name());
    }

    pub(crate) fn freeze(&self) {
        self.network.script(&["kill", &self.name(), "--signal", "STOP"]);
    }

    pub(crate) fn thaw(&self) {
        self.network.script(&["kill", &self.name(), "--signal", "CONT"]);
    }

    /// Puts it right after a story that failed half way.
    pub(crate) fn mend(&self) {
        let status =
            Command::new(TESTNET).args(["status", "--dir"]).arg(&self.network.folder).output().unwrap();
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        let down = status.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(&self.name()) && words.next() == Some("DOWN")
        });
        if down { self.revive() } else { self.thaw() }
    }

    /// The circuits of its open streams to onion services, as a client.
    pub(crate) fn circuits(&self) -> Vec<String> {
        let lines = self.controller().block("GETINFO stream-status");
        let streams = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        let open = streams.filter_map(|words| match words.as_slice() {
            [_, "SUCCEEDED", circuit, target, ..] if target.contains(".onion:") => {
                Some((*circuit).to_owned())
            }
            _ => None,
        });
        open.collect()
    }

    /// The relays of each circuit that is built, by the circuit's number: the first is its guard.
    pub(crate) fn paths(&self) -> BTreeMap<String, Vec<String>> {
        let lines = self.controller().block("GETINFO circuit-status");
        let built = lines.iter().filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [circuit, "BUILT", path, ..] = words.as_slice() else { return None };
            let relays =
                path.split(',').filter_map(|hop| hop.split_once('~')).map(|(_, name)| name.to_owned());
            Some(((*circuit).to_owned(), relays.collect()))
        });
        built.collect()
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.network.folder.join(self.name()).join("notice.log");
        tail(&std::fs::read_to_string(log).unwrap_or_default(), 15)
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn has(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Removes what a test left that was killed; its tors have ended by themselves.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
