//! Successive states of a node, from a recording.

use flate2::read::GzDecoder;
use serde_json::Value as Json;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use tombolo::node::NodeState;
use tombolo::time::Millis;

/// A recording with more states than this a minute is thinned: no node publishes on a radio every second.
const STEP_MIN_MS: u64 = 10_000;

/// States, and the time between two of them.
pub(crate) struct States {
    pub(crate) name: String,
    pub(crate) step: Millis,
    pub(crate) states: Vec<NodeState>,
    /// The length of each as deterministic CBOR, with its timestamp: what a full snapshot takes.
    pub(crate) cbor_bytes: Vec<usize>,
}

impl States {
    /// The file named, or `t1-node-state` in the folder that `TOMBOLO_TRACES` names, or the repository's own
    /// recording of a real machine.
    pub(crate) fn find(file: Option<&Path>) -> States {
        let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/data/t1c-node-state-live.jsonl.gz");
        let folder = std::env::var_os("TOMBOLO_TRACES").map(PathBuf::from);
        let brought = folder.map(|folder| folder.join("t1-node-state.jsonl.gz")).filter(|path| path.exists());
        States::load(&file.map(Path::to_owned).or(brought).unwrap_or_else(own))
    }

    fn load(path: &Path) -> States {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines = BufReader::new(GzDecoder::new(file)).lines();
        let lines: Vec<String> = lines.collect::<Result<_, _>>().expect("a gzipped trace in UTF-8");
        let documents: Vec<Json> = lines
            .iter()
            .map(|line| serde_json::from_str(line).expect("each line is a JSON document"))
            .collect();
        let between_ms = time_ms(&documents[1]).saturating_sub(time_ms(&documents[0])).max(1);
        let stride = STEP_MIN_MS.div_ceil(between_ms);
        let kept = documents.into_iter().step_by(stride as usize);
        let (states, cbor_bytes) = kept.map(state).unzip();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let name = name.trim_end_matches(".gz").trim_end_matches(".jsonl").to_owned();
        States { name, step: Millis::from_ms(between_ms * stride / 1_000 * 1_000), states, cbor_bytes }
    }

    /// The state `at`, from the beginning again after the last.
    pub(crate) fn at(&self, at: usize) -> NodeState {
        self.states[at % self.states.len()].clone()
    }
}

fn state(document: Json) -> (NodeState, usize) {
    let value: tombolo_delta::Value =
        serde_json::from_value(document.clone()).expect("a JSON document is a value");
    let state = serde_json::from_value(document).expect("each line is a node state");
    (state, tombolo_delta::to_cbor(&value).len())
}

fn time_ms(document: &Json) -> u64 {
    let text = document.get("timestamp").and_then(Json::as_str).expect("a state has a timestamp");
    let time = chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339");
    u64::try_from(time.timestamp_millis()).expect("after 1970")
}
