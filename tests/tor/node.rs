//! A node that reaches others by nothing but its tor.

use std::time::{Duration, Instant};

use super::harness::{Daemon, NodeDir};
use super::network::{Tor, tail};
use super::scripted::Place;

/// How long anything may take that has to go through Tor, on a busy machine. What is asserted is that it happens at all.
pub(crate) const LONG: Duration = Duration::from_secs(150);

/// A node with a tor of its own.
pub(crate) struct TorNode<'net> {
    pub(crate) place: NodeDir,
    pub(crate) tor: Tor<'net>,
    /// Where it takes tor's SOCKS port to be.
    pub(crate) socks: Place,
    daemon: Option<Daemon>,
}

impl<'net> TorNode<'net> {
    /// A node without LAN and radio, which logs all it can; running.
    pub(crate) fn up(name: &str, tor: Tor<'net>) -> Self {
        let mut node = TorNode::new(name, tor);
        node.start();
        node
    }

    /// The same, not yet running.
    pub(crate) fn new(name: &str, tor: Tor<'net>) -> Self {
        let place = NodeDir::with_node(name);
        place.setting("listen = [\"127.0.0.1:0\"]", "listen = []");
        place.setting("publish_every = \"60s\"", "publish_every = \"1h\"");
        place.setting("log = \"info\"", "log = \"debug,tombolo=trace,tombolo_transports=trace\"");
        TorNode { place, tor, socks: tor.socks(), daemon: None }
    }

    pub(crate) fn start(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        let (socks, control) = (self.socks.to_string(), self.tor.control().to_string());
        let cookie = self.tor.cookie().to_str().unwrap();
        let arguments = ["--tor-socks", &socks, "--tor-control", &control, "--tor-cookie", cookie];
        self.daemon = Some(self.place.up_with(&arguments));
    }

    /// Ends the daemon as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    pub(crate) fn set(&self, key: &str, value: &str) {
        self.place.ok(&["set", "attic/plan", key, value]);
    }

    /// What it reads at a key, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let output = self.place.run(&["get", "plan", key]);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }

    /// Whether it has a link to a peer.
    pub(crate) fn is_connected(&self) -> bool {
        let peers = self.place.json(&["peers"]);
        peers.as_array().unwrap().iter().any(|peer| peer["connected"] == true)
    }

    /// How many links through Tor are up.
    pub(crate) fn links_up(&self) -> usize {
        let links = self.place.json(&["links"]);
        let rows = links.as_array().unwrap().iter();
        rows.filter(|row| row["link"] == "tor" && row["state"] == "up" && row["did"] != "").count()
    }

    /// Its onion service, without `.onion`.
    pub(crate) fn onion(&self) -> String {
        self.place.json(&["id"])["onion"].as_str().unwrap().trim_end_matches(".onion").to_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.folder.join("log")).unwrap_or_default()
    }

    /// Prints what helps to see why a story failed.
    pub(crate) fn explain(&self) {
        println!("--- {}: its log ends:\n{}", self.place.folder.display(), tail(&self.log(), 60));
        println!("--- its tor's log ends:\n{}", self.tor.log_tail());
        for command in ["status", "links", "peers"] {
            println!("{}", String::from_utf8_lossy(&self.place.run(&[command]).stdout));
        }
    }
}

impl Drop for TorNode<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
    }
}

/// Checks a condition until it holds; returns how long that took.
pub(crate) fn within(what: &str, longest: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < longest, "not within {longest:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    begun.elapsed()
}
