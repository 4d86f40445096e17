//! One measurement, in a process of its own: its memory and CPU time are then its own, and in a network namespace of its own the
//! bytes that cross the loopback interface are too.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Updates a second over raw quinn.
    RawBurst { updates: usize },
    /// One update at a time over raw quinn.
    RawLatency { updates: usize },
    /// A whole map over raw quinn.
    RawCold { entries: usize },
    /// One signature and its verification.
    Crypto,
    /// Updates a second between two nodes whose folders stand below `at`.
    Burst { at: PathBuf, updates: usize, writers: usize },
    /// One write at a time, until it is visible at the other node.
    Latency { at: PathBuf, updates: usize },
    /// Makes two nodes that know each other; one has a map, and the other has it too if `in_step`. Then the first changes keys
    /// while the other is away, in so many commits.
    Prepare { at: PathBuf, entries: usize, in_step: bool, changes: usize, commits: usize },
    /// The same, with so many documents of ten keys each.
    PrepareDocuments { at: PathBuf, documents: usize, changes: usize },
    /// Starts the two, and waits until the second has what the first has.
    Meet { at: PathBuf },
    /// Starts the first node alone.
    Open { at: PathBuf },
    /// Puts a map in one write, of one commit or not, while another client reads.
    Put { at: PathBuf, entries: usize, whole: bool },
    /// Deletes all of a map in one write, while another client reads.
    Clear { at: PathBuf, entries: usize, whole: bool },
    /// Single writes to a map of so many entries.
    Writes { entries: usize },
    /// Single writes to one of so many documents.
    Documents { documents: usize },
    /// Bytes that the node states of 20 peers hand to the disk in an hour, with so many of them in a commit.
    States { at: PathBuf, a_commit: usize },
    /// How long a node handles a message of one of the worst kinds.
    Worst { kind: usize },
    /// Bytes that a commit of one write hands to the disk.
    CommitBytes { at: PathBuf, commits: usize },
}

/// What a part has measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Wall time; the median where a part has many rounds.
    pub(crate) seconds: f64,
    /// Bytes over the loopback interface.
    pub(crate) wire_bytes: f64,
    /// CPU seconds of all threads.
    pub(crate) cpu_seconds: f64,
    /// The most memory that the process had, MB.
    pub(crate) peak_mb: f64,
    /// What only this part counts: the longest wait of another request, bytes of a commit.
    pub(crate) other: f64,
    #[serde(skip)]
    begun: Option<Begun>,
}

#[derive(Clone, Debug)]
struct Begun {
    at: Instant,
    wire_bytes: f64,
    cpu_seconds: f64,
}

impl Figures {
    /// Begins to measure; memory counts from here on.
    pub(crate) fn begin() -> Self {
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let begun = Begun { at: Instant::now(), wire_bytes: loopback_bytes(), cpu_seconds: cpu_seconds() };
        Figures { begun: Some(begun), ..Figures::default() }
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        let begun = self.begun.take().unwrap();
        self.seconds = begun.at.elapsed().as_secs_f64();
        self.wire_bytes = loopback_bytes() - begun.wire_bytes;
        self.cpu_seconds = cpu_seconds() - begun.cpu_seconds;
        self.peak_mb = peak_mb();
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn loopback_bytes() -> f64 {
    let table = read("/proc/self/net/dev");
    let line = table.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

/// User and system time; Linux counts 100 ticks a second.
fn cpu_seconds() -> f64 {
    let stat = read("/proc/self/stat");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn peak_mb() -> f64 {
    let status = read("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Bytes that this process has handed to files.
pub(crate) fn written_bytes() -> f64 {
    let io = read("/proc/self/io");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0)
}

/// The median of some numbers.
pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of each figure.
pub(crate) fn medians(all: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(all.iter().map(figure).collect());
    Figures {
        seconds: of(|f| f.seconds),
        wire_bytes: of(|f| f.wire_bytes),
        cpu_seconds: of(|f| f.cpu_seconds),
        peak_mb: of(|f| f.peak_mb),
        other: of(|f| f.other),
        ..Figures::default()
    }
}

/// Runs a part in a process of its own, in a network namespace of its own where the system allows one.
pub(crate) fn run(part: &Part) -> Figures {
    let program = std::env::current_exe().unwrap();
    let part = serde_json::to_string(part).unwrap();
    let mut command = match may_unshare() {
        true => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--net", "sh", "-c"]);
            command.arg("ip link set lo up && exec \"$0\" --part \"$1\"").arg(program).arg(&part);
            command
        }
        false => {
            let mut command = Command::new(program);
            command.args(["--part", &part]);
            command
        }
    };
    let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{part} failed: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether a network namespace of its own may be had.
pub(crate) fn may_unshare() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", "ip link set lo up"]);
    command.output().is_ok_and(|output| output.status.success())
}
