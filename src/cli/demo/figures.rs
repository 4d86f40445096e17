//! What the demo measured, as one JSON object and as a table.

use crate::time::Millis;
use serde::Serialize;
use tombolo_mesh::emulated::RadioStats;

use super::super::print::{self, Table, size};
use super::behind_tor::TorTimes;

/// How to read the table of nodes.
const LEGEND: [&str; 5] = [
    "Bytes that each node sent. As JSON: the changed document, whole, to each other",
    "node that reads it. JSON changes: only the changed key, its author and time,",
    "unsigned; a state counts whole. On the wire: with QUIC, UDP and IP headers and",
    "acknowledgements. The harbour also relays between the other two.",
    "",
];

/// How to read the table of radios.
const LEGEND_RADIOS: [&str; 5] = [
    "Frames on an emulated LoRa channel, SF7/125, under the rules of EU868 (10 % of",
    "any hour), since the start: heartbeats and questions included. What one sent and",
    "the other did not hear met another frame. The harbour's messages above include",
    "those that it sent by radio.",
    "",
];

/// The figures of one node.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct NodeFigures {
    pub(super) name: String,
    /// How often it changed a document.
    pub(super) changes: u64,
    /// Messages handed to its links, and their bytes.
    pub(super) messages_sent: u64,
    pub(super) message_bytes_sent: u64,
    pub(super) message_bytes_received: u64,
    /// Bytes it sent on the cables: QUIC, UDP and IP included.
    pub(super) wire_bytes_sent: u64,
    /// What its changes cost as JSON: the changed document, whole, once per change and other reader.
    pub(super) json_bytes: u64,
    /// The same with only the changed key, its author and time, instead of the document.
    pub(super) json_change_bytes: u64,
}

/// What one radio did on the emulated channel.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RadioFigures {
    pub(super) node: String,
    pub(super) frames_sent: u64,
    pub(super) frames_heard: u64,
    /// In the frames that it sent.
    pub(super) bytes_sent: u64,
    /// How long it was on air.
    #[serde(rename = "airtime_ms", serialize_with = "whole_ms")]
    pub(super) airtime: Millis,
}

fn whole_ms<S: serde::Serializer>(length: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(length.ms())
}

impl RadioFigures {
    pub(super) fn of(node: &str, stats: &RadioStats) -> Self {
        RadioFigures {
            node: node.to_owned(),
            frames_sent: stats.sent_frames,
            frames_heard: stats.heard_frames,
            bytes_sent: stats.sent_bytes,
            airtime: Millis::from_us_rounded_up(stats.airtime_us),
        }
    }

    fn row(&self) -> [String; 5] {
        [
            self.node.clone(),
            self.frames_sent.to_string(),
            self.frames_heard.to_string(),
            size(self.bytes_sent),
            format!("{:.2} s", self.airtime.ms() as f64 / 1e3),
        ]
    }
}

/// A document, and whether it is the same on every node that holds it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DocumentFigures {
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) nodes: usize,
    pub(super) hash: String,
    pub(super) identical: bool,
}

/// All figures of the demo.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) converged: bool,
    pub(super) documents_identical: bool,
    pub(super) converge_ms: ConvergeFigures,
    pub(super) nodes: Vec<NodeFigures>,
    pub(super) total: NodeFigures,
    pub(super) radios: Vec<RadioFigures>,
    pub(super) documents: Vec<DocumentFigures>,
    /// What the node that only a radio reaches shares with the harbour.
    pub(super) documents_by_radio: Vec<DocumentFigures>,
    pub(super) seconds: f64,
}

/// How long it took until all read the same.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct ConvergeFigures {
    /// From the invite until both had joined.
    pub(super) joining: Option<u64>,
    /// From the last state published until all had it.
    pub(super) states: Option<u64>,
    /// From the last of the simultaneous edits.
    pub(super) edits_at_once: Option<u64>,
    /// From the moment the cut cable was mended.
    pub(super) after_the_cut: Option<u64>,
    /// From the invite until the node that only a radio reaches had joined.
    pub(super) joining_by_radio: Option<u64>,
    /// From then until both held each other's states, what the one wrote and what the other replied.
    pub(super) by_radio: Option<u64>,
    /// The node that only Tor reaches; absent where no tor runs.
    #[serde(flatten)]
    pub(super) by_tor: Option<TorTimes>,
}

impl ConvergeFigures {
    /// Whether the nodes were in step after each part of the demo.
    pub(super) fn all_reached(&self) -> bool {
        let ConvergeFigures {
            joining,
            states,
            edits_at_once,
            after_the_cut,
            joining_by_radio,
            by_radio,
            by_tor,
        } = self;
        let steps = [joining, states, edits_at_once, after_the_cut, joining_by_radio, by_radio];
        steps.into_iter().all(Option::is_some) && by_tor.is_none_or(|times| times.in_step.is_some())
    }
}

impl NodeFigures {
    /// The sum over these nodes.
    pub(super) fn sum(nodes: &[NodeFigures]) -> NodeFigures {
        let add = |figure: fn(&NodeFigures) -> u64| nodes.iter().map(figure).sum();
        NodeFigures {
            name: "all".to_owned(),
            changes: add(|n| n.changes),
            messages_sent: add(|n| n.messages_sent),
            message_bytes_sent: add(|n| n.message_bytes_sent),
            message_bytes_received: add(|n| n.message_bytes_received),
            wire_bytes_sent: add(|n| n.wire_bytes_sent),
            json_bytes: add(|n| n.json_bytes),
            json_change_bytes: add(|n| n.json_change_bytes),
        }
    }

    fn row(&self) -> [String; 7] {
        [
            self.name.clone(),
            self.changes.to_string(),
            self.messages_sent.to_string(),
            size(self.message_bytes_sent),
            size(self.json_bytes),
            size(self.json_change_bytes),
            size(self.wire_bytes_sent),
        ]
    }
}

impl Figures {
    /// The table and the sentences below it.
    pub(super) fn lines(&self) -> String {
        let mut table = Table::new(&[
            "NODE",
            ">CHANGES",
            ">MESSAGES",
            ">MESSAGE BYTES",
            ">AS JSON",
            ">JSON CHANGES",
            ">ON THE WIRE",
        ]);
        for node in self.nodes.iter().chain([&self.total]) {
            table.row(node.row());
        }
        let mut lines = vec![table.lines(), String::new()];
        lines.extend(LEGEND.map(str::to_owned));
        let mut radios = Table::new(&["RADIO", ">FRAMES SENT", ">HEARD", ">BYTES SENT", ">ON AIR"]);
        self.radios.iter().for_each(|radio| radios.row(radio.row()));
        lines.extend([radios.lines(), String::new()]);
        lines.extend(LEGEND_RADIOS.map(str::to_owned));
        let waits = [
            ("all joined", self.converge_ms.joining),
            ("states everywhere", self.converge_ms.states),
            ("edits at once, in step", self.converge_ms.edits_at_once),
            ("cable mended, in step", self.converge_ms.after_the_cut),
            ("joined by radio", self.converge_ms.joining_by_radio),
            ("in step by radio", self.converge_ms.by_radio),
        ];
        let by_tor = self.converge_ms.by_tor.map(|times| {
            [("joined through Tor", Some(times.joining)), ("in step through Tor", times.in_step)]
        });
        for (what, wait) in waits.into_iter().chain(by_tor.into_iter().flatten()) {
            let words = wait.map_or("not reached".to_owned(), |ms| format!("{ms} ms"));
            lines.push(format!("{what:<24}{words:>8}"));
        }
        lines.push(String::new());
        let by_cable = self.documents.iter().map(|document| (document, ""));
        let by_radio = self.documents_by_radio.iter().map(|document| (document, ", by radio"));
        for (document, way) in by_cable.chain(by_radio) {
            let verdict = if document.identical { "byte-identical" } else { "DIFFERENT" };
            let hash: String = document.hash.chars().take(16).collect();
            let place = format!("{} / {}", document.owner, document.name);
            lines.push(format!(
                "{place:<24}{verdict} on {}  {hash}{way}",
                print::count(document.nodes as u64, "node")
            ));
        }
        lines.join("\n")
    }
}
