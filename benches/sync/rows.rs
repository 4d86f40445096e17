//! The rows of the table: which parts each takes, and how they are shown.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::SyncArguments;
use crate::part::{self, Figures, Part, median, medians, run as run_part};
use crate::worst;

/// One row.
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// Ours over raw quinn's.
    ratio: Option<f64>,
}

/// How large the measurements are.
struct Sizes {
    rounds: u32,
    burst: usize,
    durable_burst: usize,
    singles: usize,
    cold: Vec<usize>,
    large: usize,
    documents: usize,
    maps: Vec<usize>,
}

impl Sizes {
    fn of(arguments: &SyncArguments) -> Self {
        match arguments.quick {
            true => Sizes {
                rounds: 1,
                burst: 4_000,
                durable_burst: 4_000,
                singles: 100,
                cold: vec![10_000],
                large: 10_000,
                documents: 100,
                maps: vec![100, 1_000, 10_000],
            },
            false => Sizes {
                rounds: arguments.rounds,
                burst: 16_000,
                durable_burst: 16_000,
                singles: 500,
                cold: vec![10_000, 100_000],
                large: 100_000,
                documents: 1_000,
                maps: vec![100, 1_000, 10_000, 100_000, 200_000],
            },
        }
    }
}

/// Measures what is asked for, and prints each row as it is known.
pub(crate) fn run(arguments: &SyncArguments) {
    if !arguments.json && !part::may_unshare() {
        println!(
            "no network namespace of its own: bytes of other programs on the loopback interface count too"
        );
    }
    let bench = Bench {
        sizes: Sizes::of(arguments),
        memory: PathBuf::from("/dev/shm"),
        disk: arguments.disk.clone().unwrap_or_else(std::env::temp_dir),
        json: arguments.json,
    };
    let wants = |name: &str| arguments.row.is_empty() || arguments.row.iter().any(|row| name == row);
    if !bench.json {
        println!("{:<44}{:>14} {:<12}{:>10}", "row", "value", "unit", "ratio");
    }
    let groups: [(&str, Measure); 9] = [
        ("updates", Bench::updates),
        ("visible", Bench::visible),
        ("write", Bench::write),
        ("cold", Bench::cold),
        ("differ", Bench::differ),
        ("documents", Bench::documents),
        ("large", Bench::large),
        ("commit", Bench::commit),
        ("worst", Bench::worst),
    ];
    for (name, measure) in groups {
        if wants(name) {
            measure(&bench);
        }
    }
}

/// Measures one group of rows, and prints them.
type Measure = fn(&Bench);

struct Bench {
    sizes: Sizes,
    memory: PathBuf,
    disk: PathBuf,
    json: bool,
}

impl Bench {
    fn print(&self, row: &Row) {
        let Row { name, value, unit, ratio } = row;
        if self.json {
            let row = serde_json::json!({
                "name": name, "value": value, "unit": unit, "ratio_to_raw_quinn": ratio
            });
            println!("{row}");
            return;
        }
        let ratio = ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
        println!("{name:<44}{value:>14.1} {unit:<12}{ratio:>10}");
    }

    fn show(&self, name: impl Into<String>, value: f64, unit: &'static str, raw: Option<f64>) {
        let ratio = raw.map(|raw| value / raw);
        self.print(&Row { name: name.into(), value, unit, ratio });
    }

    /// The medians of a part and of another that runs in turn with it.
    fn rounds(&self, mut ours: impl FnMut() -> Figures, mut raw: impl FnMut() -> Figures) -> [Figures; 2] {
        let (mut of_ours, mut of_raw) = (Vec::new(), Vec::new());
        for _ in 0..self.sizes.rounds {
            of_raw.push(raw());
            of_ours.push(ours());
        }
        [medians(&of_ours), medians(&of_raw)]
    }

    fn updates(&self) {
        for (name, place, updates) in [
            ("updates, memory", &self.memory, self.sizes.burst),
            ("updates, disk", &self.disk, self.sizes.durable_burst),
        ] {
            let ours = || {
                let folder = folder(place);
                run_part(&Part::Burst { at: folder.path().to_owned(), updates, writers: 256 })
            };
            let [ours, raw] = self.rounds(ours, || run_part(&Part::RawBurst { updates }));
            let count = updates as f64;
            self.show(name, count / ours.seconds, "updates/s", Some(count / raw.seconds));
            self.show(
                format!("{name}, wire"),
                ours.wire_bytes / count,
                "B/update",
                Some(raw.wire_bytes / count),
            );
            self.show(
                format!("{name}, CPU"),
                ours.cpu_seconds * 1e6 / count,
                "us/update",
                Some(raw.cpu_seconds * 1e6 / count),
            );
            self.show(format!("{name}, peak memory"), ours.peak_mb, "MB", Some(raw.peak_mb));
        }
    }

    fn visible(&self) {
        let crypto = run_part(&Part::Crypto);
        self.show("sign and verify", crypto.seconds * 1e6, "us", None);
        let updates = self.sizes.singles;
        for (name, place) in [("visible, memory", &self.memory), ("visible, disk", &self.disk)] {
            let ours = || {
                let folder = folder(place);
                run_part(&Part::Latency { at: folder.path().to_owned(), updates })
            };
            let [ours, raw] = self.rounds(ours, || run_part(&Part::RawLatency { updates }));
            self.show(name, ours.seconds * 1e6, "us", Some(raw.seconds * 1e6));
            let over = (ours.seconds - raw.seconds) / crypto.seconds;
            self.show(format!("{name}, over raw quinn"), over, "sign+verify", None);
        }
    }

    fn write(&self) {
        for &entries in &self.sizes.maps {
            let one = median(self.seconds(|| run_part(&Part::Writes { entries })));
            self.show(format!("write, {entries} entries"), one * 1e6, "us", None);
        }
        for documents in [1, 100, self.sizes.documents - 10] {
            let one = median(self.seconds(|| run_part(&Part::Documents { documents })));
            self.show(format!("write, {documents} documents"), one * 1e6, "us", None);
        }
    }

    fn seconds(&self, mut part: impl FnMut() -> Figures) -> Vec<f64> {
        (0..self.sizes.rounds).map(|_| part().seconds).collect()
    }

    fn cold(&self) {
        for &entries in &self.sizes.cold {
            let prepared = folder(&self.memory);
            let at = prepared.path().to_owned();
            run_part(&Part::Prepare { at: at.clone(), entries, in_step: false, changes: 0, commits: 0 });
            let [ours, raw] = self.rounds(|| self.meet(&at), || run_part(&Part::RawCold { entries }));
            let name = format!("cold, {entries} entries");
            self.show(&name, ours.seconds * 1e3, "ms", Some(raw.seconds * 1e3));
            let count = entries as f64;
            self.show(
                format!("{name}, wire"),
                ours.wire_bytes / count,
                "B/entry",
                Some(raw.wire_bytes / count),
            );
            self.show(format!("{name}, CPU"), ours.cpu_seconds * 1e3, "ms", Some(raw.cpu_seconds * 1e3));
            self.show(format!("{name}, peak memory of both"), ours.peak_mb, "MB", Some(raw.peak_mb));
        }
    }

    /// Lets two prepared nodes meet, in a copy of their folders.
    fn meet(&self, prepared: &Path) -> Figures {
        let copy = folder(&self.memory);
        copy_folder(prepared, copy.path());
        run_part(&Part::Meet { at: copy.path().to_owned() })
    }

    fn differ(&self) {
        let entries = self.sizes.large;
        let handshake = median(self.seconds(|| run_part(&Part::RawCold { entries: 1 })));
        self.show("handshake, raw quinn", handshake * 1e3, "ms", None);
        for (name, commits) in [("base known", 10), ("no base", 100)] {
            let prepared = folder(&self.memory);
            let at = prepared.path().to_owned();
            run_part(&Part::Prepare { at: at.clone(), entries, in_step: true, changes: 10, commits });
            let open = || {
                let copy = folder(&self.memory);
                copy_folder(&at.join("reader"), &copy.path().join("writer"));
                std::fs::copy(at.join("reader.port"), copy.path().join("writer.port")).unwrap();
                run_part(&Part::Open { at: copy.path().to_owned() })
            };
            let [ours, alone] = self.rounds(|| self.meet(&at), open);
            let name = format!("differ, 10 of {entries}, {name}");
            self.show(format!("{name}, wire"), ours.wire_bytes, "B", None);
            self.show(&name, ours.seconds * 1e3, "ms", None);
            let beyond = ours.seconds - alone.seconds;
            self.show(format!("{name}, beyond the start"), beyond / handshake, "handshakes", None);
        }
    }

    fn documents(&self) {
        let documents = self.sizes.documents - 10;
        for changes in [0, 10] {
            let prepared = folder(&self.memory);
            let at = prepared.path().to_owned();
            run_part(&Part::PrepareDocuments { at: at.clone(), documents, changes });
            let [ours, _] = self.rounds(|| self.meet(&at), Figures::default);
            let name = format!("{documents} documents, {changes} differ");
            self.show(format!("{name}, wire"), ours.wire_bytes, "B", None);
            self.show(name, ours.seconds * 1e3, "ms", None);
        }
    }

    fn large(&self) {
        let entries = self.sizes.large;
        let prepared = folder(&self.memory);
        let at = prepared.path().to_owned();
        run_part(&Part::Prepare { at: at.clone(), entries, in_step: false, changes: 0, commits: 0 });
        let [opened, _] = self.rounds(|| run_part(&Part::Open { at: at.clone() }), Figures::default);
        self.show(format!("open, {entries} entries"), opened.seconds * 1e3, "ms", None);
        self.show(format!("open, {entries} entries, peak memory"), opened.peak_mb, "MB", None);
        type MakePart = fn(PathBuf, usize, bool) -> Part;
        let puts: MakePart = |at, entries, whole| Part::Put { at, entries, whole };
        let clears: MakePart = |at, entries, whole| Part::Clear { at, entries, whole };
        for (name, part, whole) in [
            ("put", puts, false),
            ("clear", clears, false),
            ("put, one commit", puts, true),
            ("clear, one commit", clears, true),
        ] {
            let write = || {
                let folder = folder(&self.memory);
                run_part(&part(folder.path().to_owned(), entries, whole))
            };
            let [written, _] = self.rounds(write, Figures::default);
            self.show(format!("{name}, {entries} entries"), written.seconds * 1e3, "ms", None);
            self.show(format!("{name}, {entries} entries, longest wait"), written.other * 1e3, "ms", None);
        }
    }

    /// The five messages that take longest.
    fn worst(&self) {
        let measured = worst::KINDS.iter().enumerate().map(|(kind, name)| {
            let [ours, _] = self.rounds(|| run_part(&Part::Worst { kind }), Figures::default);
            (*name, ours.seconds)
        });
        let mut measured: Vec<_> = measured.collect();
        measured.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (name, seconds) in measured.into_iter().take(5) {
            self.show(format!("worst, {name}"), seconds * 1e3, "ms", None);
        }
    }

    fn commit(&self) {
        let part = || {
            let folder = folder(&self.disk);
            run_part(&Part::CommitBytes { at: folder.path().to_owned(), commits: 200 })
        };
        let [ours, _] = self.rounds(part, Figures::default);
        self.show("commit, bytes to the disk", ours.other, "B", None);
        for (name, a_commit) in
            [("states of 20 peers, an hour, each alone", 1), ("the same, three minutes together", 60)]
        {
            let states = || {
                let folder = folder(&self.disk);
                run_part(&Part::States { at: folder.path().to_owned(), a_commit })
            };
            let [states, _] = self.rounds(states, Figures::default);
            self.show(name, states.other / 1e6, "MB", None);
        }
    }
}

fn folder(place: &Path) -> TempDir {
    tempfile::Builder::new().prefix("tombolo-sync-").tempdir_in(place).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
