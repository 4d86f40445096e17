//! Two Dire Wolf TNCs, and nodes that have no other way to each other.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::harness::{Daemon, NodeDir};

const DIREWOLF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab/direwolf");
/// Set in the copy of a test that runs in a namespace of its own.
const INSIDE: &str = "TOMBOLO_TEST_NAMESPACE";
/// How long two nodes may take on a slow channel that loses frames. What is asserted is that they arrive at all.
pub(crate) const LONG: Duration = Duration::from_secs(420);

/// Whether this test is too slow for a quick run; then it prints that it is skipped.
pub(crate) fn quick() -> bool {
    let quick = std::env::var("TOMBOLO_QUICK").is_ok_and(|quick| quick == "1");
    if quick {
        println!("SKIPPED: quick run, radios on real time are left out");
    }
    quick
}

/// Whether nothing is left to do for the test of this name: a quick run, or it ran in a network namespace of its
/// own (Dire Wolf listens on all interfaces), where this process may make one.
pub(crate) fn done(test: &str) -> bool {
    if quick() {
        return true;
    }
    let possible = Command::new("unshare").args(["-n", "true"]).stderr(Stdio::null()).status();
    if std::env::var_os(INSIDE).is_some() || !possible.is_ok_and(|status| status.success()) {
        return false;
    }
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} failed in its namespace:\n{told}{error}");
    // Not the copy's own summary: it would be counted as a test of its own.
    let lines = told.lines().filter(|line| line.starts_with("totals:") || line.starts_with("SKIPPED:"));
    lines.for_each(|line| println!("{line}"));
    true
}

/// Two Dire Wolf TNCs on one air. Dropped, they are gone.
pub(crate) struct Tncs {
    folder: PathBuf,
    /// Where their KISS ports are.
    pub(crate) kiss: Vec<String>,
}

impl Tncs {
    /// The pair at 9600 baud, unless this machine cannot have it: then it prints the line that
    /// `scripts/test` counts.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Option<Self> {
        for (program, package) in [("direwolf", "direwolf"), ("pulseaudio", "pulseaudio libasound2-plugins")]
        {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
                println!("SKIPPED: needs {program} (apt install {package})");
                return None;
            }
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tombolo-tncs-{}-{number}", std::process::id()));
        let mut tncs = Tncs { folder, kiss: Vec::new() };
        let output = tncs.script("start").envs(settings.iter().copied()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "direwolf start: {}", String::from_utf8_lossy(&output.stderr));
        tncs.kiss = told.lines().filter_map(|line| line.split_once('=')).map(|(_, at)| at.into()).collect();
        assert_eq!(tncs.kiss.len(), 2, "{told}");
        Some(tncs)
    }

    fn script(&self, argument: &str) -> Command {
        let mut command = Command::new(DIREWOLF);
        command.arg(argument).env("DW_DIR", &self.folder).env("DW_BAUD", "9600").stdin(Stdio::null());
        command
    }
}

impl Drop for Tncs {
    fn drop(&mut self) {
        let _ = self.script("stop").status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running node with one radio.
pub(crate) struct RadioNode {
    pub(crate) place: NodeDir,
    url: String,
    daemon: Option<Daemon>,
}

impl RadioNode {
    /// A node whose only way to the other is this radio: one listens by IPv4, the other by IPv6, and neither is announced.
    pub(crate) fn up(name: &str, listen: &str, url: &str) -> Self {
        let place = NodeDir::with_node(name);
        place.setting("127.0.0.1:0", listen);
        place.setting("publish_every = \"60s\"", "publish_every = \"1h\"");
        let mut station = RadioNode { place, url: url.to_owned(), daemon: None };
        station.start();
        station
    }

    pub(crate) fn start(&mut self) {
        self.daemon = Some(self.place.up_with(&["--mesh", &self.url]));
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// What it reads at a key, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let output = self.place.run(&["get", "plan", key]);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }
}

impl Drop for RadioNode {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.place.folder.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("{} said:\n{}", self.url, lines[lines.len().saturating_sub(40)..].join("\n"));
            for command in ["status", "links", "airtime"] {
                println!("{}", String::from_utf8_lossy(&self.place.run(&[command]).stdout));
            }
        }
    }
}

/// Checks a condition until it holds; returns how long that took.
pub(crate) fn within(what: &str, longest: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < longest, "not within {longest:?}: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
    begun.elapsed()
}

/// Joins the second to the first by a code, over the radio alone; gives the code.
pub(crate) fn join(inviter: &RadioNode, joiner: &RadioNode) -> String {
    let code = inviter.place.ok(&["invite"]);
    joiner.place.ok(&["join", &code, "--timeout", &format!("{}s", LONG.as_secs())]);
    let link = &joiner.place.json(&["peers"])[0];
    assert_eq!(link["joined"], "agreed");
    code
}

/// Waits until both read the same document.
pub(crate) fn in_step(a: &RadioNode, b: &RadioNode) -> Duration {
    within("the same document at both", LONG, || {
        a.place.hash("plan").is_some() && a.place.hash("plan") == b.place.hash("plan")
    })
}
