//! Documents that change: recordings, files that people bring, and generators.

use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use tombolo_delta::Value;
use tombolo_sim::rng::XorShift;

/// A document at one moment, in the forms that the codecs start from.
pub(crate) struct TraceDocument {
    pub(crate) value: Value,
    pub(crate) json: Json,
    pub(crate) json_text: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) time_ms: u64,
}

pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) documents: Vec<TraceDocument>,
}

/// Documents without a timestamp get this time, and one minute a change.
const TIMELESS_START_MS: u64 = 1_800_000_000_000;
const TIMELESS_STEP_MS: u64 = 60_000;

impl TraceDocument {
    /// The document of a peer that holds nothing yet.
    pub(crate) fn empty() -> TraceDocument {
        TraceDocument { value: Value::Null, json: Json::Null, json_text: Vec::new(), sequence: 0, time_ms: 0 }
    }

    pub(crate) fn new(at: usize, line: &str) -> TraceDocument {
        let json: Json = serde_json::from_str(line).expect("each line of a trace is a JSON document");
        let stamp = json.get("timestamp").and_then(Json::as_str).and_then(milliseconds);
        TraceDocument {
            value: serde_json::from_str(line).expect("a JSON document is a value"),
            json_text: serde_json::to_vec(&json).expect("JSON prints"),
            sequence: at as u64 + 1,
            time_ms: stamp.unwrap_or(TIMELESS_START_MS + at as u64 * TIMELESS_STEP_MS),
            json,
        }
    }
}

impl Trace {
    fn new(name: &str, lines: impl Iterator<Item = String>) -> Trace {
        let documents = lines.enumerate().map(|(at, line)| TraceDocument::new(at, &line)).collect();
        Trace { name: name.to_owned(), documents }
    }
}

/// A file of JSON Lines, plain or gzipped.
pub(crate) fn load(path: &Path) -> Trace {
    let mut file =
        BufReader::new(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    let mut text = String::new();
    if file.fill_buf().is_ok_and(|start| start.starts_with(&[0x1f, 0x8b])) {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("a gzipped trace");
    } else {
        file.read_to_string(&mut text).expect("a trace in UTF-8");
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let name = name.trim_end_matches(".gz").trim_end_matches(".jsonl");
    Trace::new(name, text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned))
}

/// The recording and the generators of the repository, and the folder that `TOMBOLO_TRACES` names.
pub(crate) fn built_in() -> Vec<Trace> {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/data/t1c-node-state-live.jsonl.gz");
    let mut traces = vec![load(&recording), generated_states(), generated_inventory()];
    let Some(folder) = std::env::var_os("TOMBOLO_TRACES") else {
        eprintln!("TOMBOLO_TRACES is not set: only the recording and the generators of the repository");
        return traces;
    };
    let entries = std::fs::read_dir(&folder).expect("TOMBOLO_TRACES names a folder");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| {
        path.to_string_lossy().contains(".jsonl") && path.file_name() != recording.file_name()
    });
    paths.sort();
    traces.extend(paths.iter().map(|path| load(path)));
    traces
}

/// A node state a minute: load and memory wander, an app is upgraded or stopped now and then.
fn generated_states() -> Trace {
    let mut rng = XorShift::new(88_172_645_463_325_252);
    let names = [
        "alert-relay",
        "backup",
        "camera-store",
        "field-notes",
        "heating",
        "library",
        "radio-log",
        "water-level",
    ];
    let mut versions: Vec<[u64; 3]> =
        names.iter().map(|_| [rng.below(4), rng.below(20), rng.below(9)]).collect();
    let mut running = vec![true; names.len()];
    let (mut memory, mut disk) = (400_000, 9_000_000);
    let states = (0..600).map(move |minute| {
        let app = rng.below(names.len() as u64) as usize;
        match rng.below(40) {
            0 => versions[app] = [versions[app][0], versions[app][1] + 1, 0],
            1 => versions[app][2] += 1,
            2 => running[app] = !running[app],
            _ => {}
        }
        memory = memory + rng.below(4000) - 2000 + if memory < 100_000 { 2000 } else { 0 };
        disk += if rng.below(5) == 0 { rng.below(200) } else { 0 };
        let apps =
            names.iter().zip(&versions).zip(&running).map(|((name, [major, minor, patch]), running)| {
                let status = if *running { "running" } else { "stopped" };
                json!({ "id": name, "status": status, "version": format!("{major}.{minor}.{patch}") })
            });
        let state = json!({
            "timestamp": timestamp(1_780_000_000_000 + minute * 60_000, false),
            "node_name": "ridge-station",
            "apps": apps.collect::<Vec<Json>>(),
            "cpu_usage_percent": (500 + rng.below(2500)) as f64 / 100.0,
            "mem_used_bytes": memory << 12,
            "mem_total_bytes": 4_u64 << 30,
            "disk_used_bytes": disk << 12,
            "disk_total_bytes": 64_u64 << 30,
            "uptime_secs": 86_400 + minute * 60,
            "tor_active": true,
        });
        state.to_string()
    });
    Trace::new("generated-node-state", states)
}

/// A stock list: quantities change, things come, go and change their place.
fn generated_inventory() -> Trace {
    let mut rng = XorShift::new(2_463_534_242);
    let things = [
        "rope",
        "lamp",
        "battery",
        "water filter",
        "tarpaulin",
        "radio",
        "antenna",
        "blanket",
        "stove",
        "gloves",
    ];
    let places = ["shed", "van", "attic", "kitchen"];
    let mut stock: Vec<(u64, &str, &str, u64)> = Vec::new();
    let inventories = (0..300).map(move |_| {
        let at = rng.below(stock.len().max(1) as u64) as usize;
        match rng.below(6) {
            _ if stock.len() < 20 => {
                let thing = things[rng.below(10) as usize];
                stock.push((rng.below(1 << 20), thing, places[rng.below(4) as usize], rng.below(30)));
            }
            0 => stock.push((
                rng.below(1 << 20),
                things[rng.below(10) as usize],
                places[rng.below(4) as usize],
                1,
            )),
            1 => drop(stock.remove(at)),
            2 => stock[at].2 = places[rng.below(4) as usize],
            3 => {
                let moved = stock.remove(at);
                stock.insert(0, moved);
            }
            _ => stock[at].3 += 1 + rng.below(5),
        }
        let rows = stock.iter().map(|(id, thing, place, count)| {
            json!({ "id": format!("{id:05x}"), "name": thing, "place": place, "count": count })
        });
        json!({ "inventory": rows.collect::<Vec<Json>>() }).to_string()
    });
    Trace::new("generated-inventory", inventories)
}

/// Milliseconds since the Unix epoch of an RFC 3339 text in UTC.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

/// The text of a time, with or without milliseconds.
pub(crate) fn timestamp(time_ms: u64, fine: bool) -> String {
    let time = chrono::DateTime::from_timestamp_millis(time_ms as i64).unwrap_or_default();
    time.format(if fine { "%Y-%m-%dT%H:%M:%S%.3fZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string()
}
