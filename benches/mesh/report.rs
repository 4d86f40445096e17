//! The output of the rows, as a table and as JSON.

use crate::Case;
use std::collections::BTreeMap;

/// Frames and bytes, by kind of frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds(BTreeMap<&'static str, (f64, f64)>);

impl Kinds {
    pub(crate) fn one(kind: &'static str, bytes: usize) -> Self {
        Kinds(BTreeMap::from([(kind, (1.0, bytes as f64))]))
    }

    fn add(&mut self, other: &Kinds, weight: f64) {
        for (kind, (frames, bytes)) in &other.0 {
            let sum = self.0.entry(kind).or_default();
            *sum = (sum.0 + frames * weight, sum.1 + bytes * weight);
        }
    }

    /// Mean length of a frame of one kind.
    pub(crate) fn mean(&self, kind: &str) -> Option<f64> {
        self.0.get(kind).map(|(frames, bytes)| bytes / frames)
    }

    fn text(&self) -> String {
        let one =
            |(kind, (frames, bytes)): (&&str, &(f64, f64))| format!("{kind} {frames:.1} ({bytes:.0} B)");
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// One case, or the mean of several with different seeds.
#[derive(Clone, Debug)]
pub(crate) struct MeshRow {
    scenario: &'static str,
    preset: &'static str,
    loss_percent: u32,
    listeners: usize,
    changes: usize,
    header_bytes: usize,
    kinds: Kinds,
    airtime_s: f64,
    pub(crate) seconds: f64,
    pub(crate) after_bytes: f64,
    pub(crate) after_frames: f64,
}

impl MeshRow {
    pub(crate) fn new(scenario: &'static str, case: &Case) -> MeshRow {
        MeshRow {
            scenario,
            preset: case.preset.name,
            loss_percent: case.loss_percent,
            listeners: case.listeners,
            changes: case.changes,
            header_bytes: case.preset.header_bytes,
            kinds: Kinds::default(),
            airtime_s: 0.0,
            seconds: 0.0,
            after_bytes: 0.0,
            after_frames: 0.0,
        }
    }

    pub(crate) fn add(&mut self, kinds: Kinds, airtime_us: u64) {
        self.kinds.add(&kinds, 1.0);
        self.airtime_s += airtime_us as f64 / 1e6;
    }

    pub(crate) fn bytes(&self) -> f64 {
        self.kinds.0.values().map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn frames(&self) -> f64 {
        self.kinds.0.values().map(|(frames, _)| frames).sum()
    }

    pub(crate) fn mean(rows: &[MeshRow]) -> MeshRow {
        let weight = 1.0 / rows.len() as f64;
        let mut mean = rows[0].clone();
        mean.kinds = Kinds::default();
        rows.iter().for_each(|row| mean.kinds.add(&row.kinds, weight));
        let average = |figure: fn(&MeshRow) -> f64| rows.iter().map(figure).sum::<f64>() * weight;
        mean.airtime_s = average(|row| row.airtime_s);
        mean.seconds = average(|row| row.seconds);
        mean.after_bytes = average(|row| row.after_bytes);
        mean.after_frames = average(|row| row.after_frames);
        mean
    }

    /// Mean lengths of the frames that carry states, and of heartbeats.
    pub(crate) fn sizes(&self) -> String {
        let size = |kind| self.kinds.mean(kind).map_or("none".to_owned(), |mean| format!("{mean:.1} B"));
        format!(
            "{}, {} states: update {}, heartbeat {}, frontier {}; {:.0} B an hour",
            self.preset,
            self.changes,
            size("update"),
            size("heartbeat"),
            size("frontier"),
            self.bytes() * 3_600.0 / self.seconds,
        )
    }

    pub(crate) fn print_head() {
        println!(
            "| scenario | preset | loss | listeners | changes | bytes | frames | radio headers | airtime s | seconds | \
             10 min after: bytes | frames |"
        );
        println!("|---|---|{}", "--:|".repeat(10));
    }

    pub(crate) fn print(&self, kinds: bool) {
        println!(
            "| {} | {} | {} % | {} | {} | {:.0} | {:.1} | {:.0} | {:.2} | {:.0} | {:.0} | {:.1} |{}",
            self.scenario,
            self.preset,
            self.loss_percent,
            self.listeners,
            self.changes,
            self.bytes(),
            self.frames(),
            self.frames() * self.header_bytes as f64,
            self.airtime_s,
            self.seconds,
            self.after_bytes,
            self.after_frames,
            if kinds { format!(" {}", self.kinds.text()) } else { String::new() },
        );
    }

    pub(crate) fn json(&self) -> String {
        let round = |number: f64| (number * 100.0).round() / 100.0;
        let kinds = self.kinds.0.iter().map(|(kind, (frames, bytes))| {
            ((*kind).to_owned(), serde_json::json!({ "frames": round(*frames), "bytes": round(*bytes) }))
        });
        serde_json::json!({
            "scenario": self.scenario,
            "preset": self.preset,
            "loss": f64::from(self.loss_percent) / 100.0,
            "listeners": self.listeners,
            "changes": self.changes,
            "bytes": round(self.bytes()),
            "frames": round(self.frames()),
            "airtime_s": round(self.airtime_s),
            "seconds": round(self.seconds),
            "radio_header_bytes": round(self.frames() * self.header_bytes as f64),
            "after_bytes": round(self.after_bytes),
            "after_frames": round(self.after_frames),
            "kinds": kinds.collect::<serde_json::Map<_, _>>(),
        })
        .to_string()
    }
}
