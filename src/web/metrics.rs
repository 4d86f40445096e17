//! `/metrics`: figures for Prometheus, in the names that `contrib/grafana/tombolo.json` draws.
//!
//! A figure of a peer stops where its "next by" has passed, so that Prometheus marks it as stale; the times stay, and the query
//! subtracts. No sample carries a time of its own. Peers have their names as labels, never a DID.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value as Json;

use super::snapshot::Snapshot;
use crate::words::{clean, is_current, items, name, number, text};

type Labels = Vec<(&'static str, String)>;
type GaugeFamily = Family<Labels, Gauge<f64, AtomicU64>>;
type CounterFamily = Family<Labels, Counter<f64, AtomicU64>>;

/// What a metric is called, and what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Metric(&'static str, &'static str);

const BUILD_INFO: Metric = Metric("tombolo_build_info", "Always 1, with the version as a label");
const PEER_INFO: Metric =
    Metric("tombolo_peer_info", "Always 1, with the trust level of the peer as a label");
const PEER_UP: Metric = Metric("tombolo_peer_up", "1 while the peer is heard, or silent as it may be");
const PEER_HEARD: Metric =
    Metric("tombolo_peer_last_heard_timestamp_seconds", "When the peer was last heard, by this node's clock");
const PEER_STATE: Metric =
    Metric("tombolo_peer_state_timestamp_seconds", "When the peer signed its newest state, by its own clock");
const PEER_NEXT_BY: Metric =
    Metric("tombolo_peer_next_by_timestamp_seconds", "By when the peer is, or was, to be heard again");
const PEER_CLOCK: Metric =
    Metric("tombolo_peer_clock_ahead_seconds", "By how much the peer's clock is ahead of this machine's");
const PEER_IN_STEP: Metric = Metric("tombolo_peer_in_step", "1 while the peer and this node hold the same");
const PEER_BEHIND: Metric = Metric(
    "tombolo_peer_behind_sequences",
    "By how many sequences the peer (or this node, as `who` has it) lags in a document",
);
const PEER_CPU: Metric = Metric("tombolo_peer_cpu_usage_ratio", "CPU in use at the node");
const PEER_MEMORY: Metric = Metric("tombolo_peer_memory_used_bytes", "Memory in use at the node");
const PEER_MEMORY_ALL: Metric = Metric("tombolo_peer_memory_total_bytes", "Memory of the node");
const PEER_DISK: Metric = Metric("tombolo_peer_disk_used_bytes", "Disk in use at the node");
const PEER_DISK_ALL: Metric = Metric("tombolo_peer_disk_total_bytes", "Disk of the node");
const PEER_UPTIME: Metric = Metric("tombolo_peer_uptime_seconds", "Time since the node's machine has booted");
const APP_RUNNING: Metric = Metric("tombolo_app_running", "1 while an app of the node runs");
const SENSOR: Metric =
    Metric("tombolo_sensor_value", "A number that a sensor of the node shows, in its own unit");
const LINK_UP: Metric =
    Metric("tombolo_link_up", "1 while a link to the peer is up, or the peer is heard on the radio");
const LINK_BYTES: Metric =
    Metric("tombolo_link_bytes", "Bytes of messages, of a radio of its frames; starts anew at 00:00 UTC");
const LINK_LOSS: Metric = Metric("tombolo_link_loss_ratio", "Share of packets or frames that are lost");
const QUEUE: Metric = Metric("tombolo_queue_bytes", "Bytes that wait for the link");
const AIRTIME: Metric = Metric("tombolo_airtime_seconds", "Time on air; starts anew at 00:00 UTC");
const AIRTIME_USED: Metric =
    Metric("tombolo_airtime_used_ratio", "Share of what the radio may have in any hour that is used");
const AIRTIME_LEFT: Metric = Metric("tombolo_airtime_left_seconds", "Time on air that a class could use now");
const DECISIONS: Metric =
    Metric("tombolo_router_decisions", "Decisions of the router since the start, by link and result");
const REJECTIONS: Metric = Metric("tombolo_rejections", "What was refused since the start, by reason");
const ALARMS: Metric = Metric("tombolo_alarms", "Conditions that need the operator, by kind");
const DOCUMENTS: Metric = Metric("tombolo_documents", "Documents that this node participates in");

/// All figures of one moment in the form that a client accepts, OpenMetrics or the older text, with its content type.
pub(super) fn answer(accepted: &str, snapshot: &Snapshot) -> (&'static str, String) {
    let text = encode(snapshot);
    match accepted.contains("application/openmetrics-text") {
        true => ("application/openmetrics-text; version=1.0.0; charset=utf-8", text),
        false => ("text/plain; version=0.0.4; charset=utf-8", older_text(&text)),
    }
}

/// The same figures in the older text: there a counter is described under the name of its samples.
fn older_text(text: &str) -> String {
    let counter = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
    let counters: BTreeSet<String> = text.lines().filter_map(counter).collect();
    let described = |line: &str| {
        let (mark, rest) = line.split_at_checked("# TYPE ".len())?;
        let (name, words) = rest.split_once(' ')?;
        let is_described = matches!(mark, "# TYPE " | "# HELP ") && counters.contains(name);
        is_described.then(|| format!("{mark}{name}_total {words}\n"))
    };
    text.lines().map(|line| described(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

/// All figures of one moment as OpenMetrics.
fn encode(snapshot: &Snapshot) -> String {
    let mut sheet = Sheet::default();
    sheet.gauge(BUILD_INFO, vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
    let status = &snapshot.status;
    sheet.gauge(DOCUMENTS, Vec::new(), number(status, "documents") as f64);
    let own = status.get("id").map_or("", |id| text(id, "name")).to_owned();
    sheet.figures(&own, &snapshot.own_state);
    let peers = items(&snapshot.peers);
    for row in status.get("peers").map(items).unwrap_or_default() {
        let peer = peers.iter().find(|peer| text(peer, "did") == text(row, "did")).unwrap_or(&Json::Null);
        sheet.peer(row, peer);
    }
    for row in status.get("clocks").map(items).unwrap_or_default() {
        let ahead = row.get("ahead_s").and_then(Json::as_f64);
        sheet.gauge_of(PEER_CLOCK, &[("peer", &name(row))], ahead);
    }
    items(&snapshot.links).iter().for_each(|row| sheet.link(row));
    items(&snapshot.airtime).iter().for_each(|radio| sheet.radio(radio));
    sheet.counters(status);
    sheet.text(Convergence::of(status.get("convergence").unwrap_or(&Json::Null)))
}

/// The metrics of one moment, by their names.
#[derive(Default)]
struct Sheet {
    gauges: BTreeMap<Metric, GaugeFamily>,
    counters: BTreeMap<Metric, CounterFamily>,
}

impl Sheet {
    fn gauge(&mut self, metric: Metric, labels: Labels, value: f64) {
        self.gauges.entry(metric).or_default().get_or_create(&labels).set(value);
    }

    fn gauge_of(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.gauge(metric, plain(labels), value);
        }
    }

    fn count(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        let counter = self.counters.entry(metric).or_default().get_or_create_owned(&plain(labels));
        counter.inc_by(value.max(0.0));
    }

    fn peer(&mut self, row: &Json, peer: &Json) {
        let called = name(row);
        let labels = [("peer", called.as_str())];
        let presence = row.get("presence").unwrap_or(&Json::Null);
        let is_up = is_current(presence);
        let trust = text(row, "trust_level");
        self.gauge_of(PEER_INFO, &[("peer", &called), ("name", &called), ("trust", trust)], Some(1.0));
        self.gauge_of(PEER_UP, &labels, Some(flag(is_up)));
        self.gauge_of(PEER_HEARD, &labels, seconds(text(row, "heard_at")));
        let state = peer.get("last_state").unwrap_or(&Json::Null);
        self.gauge_of(PEER_STATE, &labels, seconds(text(state, "timestamp")));
        let within = presence.get("next_within_s").and_then(Json::as_f64);
        let next_by = seconds(text(row, "heard_at")).zip(within).map(|(heard, within)| heard + within);
        self.gauge_of(PEER_NEXT_BY, &labels, next_by);
        self.gauge_of(PEER_IN_STEP, &labels, Some(flag(text(row, "state") == "in step")));
        let mut behind: BTreeMap<(String, &str), u64> = BTreeMap::new();
        for lag in row.get("behind").map(items).unwrap_or_default() {
            let who = if text(lag, "kind") == "we_lack" { "this node" } else { "peer" };
            *behind.entry((text(lag, "document").to_owned(), who)).or_default() += number(lag, "sequences");
        }
        for ((document, who), sequences) in behind {
            let labels = [("peer", called.as_str()), ("document", &document), ("who", who)];
            self.gauge_of(PEER_BEHIND, &labels, Some(sequences as f64));
        }
        // What is older than its "next by" is no figure any more.
        if is_up {
            self.figures(&called, state);
        }
    }

    /// The figures of a node's state.
    fn figures(&mut self, called: &str, state: &Json) {
        let labels = [("peer", called)];
        let figure = |field: &str| state.get(field).and_then(Json::as_f64);
        self.gauge_of(PEER_CPU, &labels, figure("cpu_usage_percent").map(|percent| percent / 100.0));
        self.gauge_of(PEER_MEMORY, &labels, figure("mem_used_bytes"));
        self.gauge_of(PEER_MEMORY_ALL, &labels, figure("mem_total_bytes"));
        self.gauge_of(PEER_DISK, &labels, figure("disk_used_bytes"));
        self.gauge_of(PEER_DISK_ALL, &labels, figure("disk_total_bytes"));
        self.gauge_of(PEER_UPTIME, &labels, figure("uptime_secs"));
        for app in state.get("apps").map(items).unwrap_or_default() {
            let labels = [("peer", called), ("app", text(app, "id"))];
            self.gauge_of(APP_RUNNING, &labels, Some(flag(text(app, "status") == "running")));
        }
        for (sensor, shown) in state.get("sensors").and_then(Json::as_object).into_iter().flatten() {
            let labels = [("peer", called), ("sensor", sensor.as_str()), ("unit", text(shown, "unit"))];
            self.gauge_of(SENSOR, &labels, shown.get("value").and_then(Json::as_f64));
        }
    }

    fn link(&mut self, row: &Json) {
        let (peer, link) = (text(row, "peer"), text(row, "link"));
        if link == "none" {
            return;
        }
        let labels = [("peer", peer), ("link", link)];
        self.gauge_of(LINK_UP, &labels, Some(flag(matches!(text(row, "state"), "up" | "heard"))));
        for (direction, field) in [("sent", "bytes_sent"), ("received", "bytes_heard")] {
            if let Some(bytes) = row.get(field).and_then(Json::as_f64) {
                self.count(LINK_BYTES, &[("peer", peer), ("link", link), ("direction", direction)], bytes);
            }
        }
        let loss = row.get("loss_permille").and_then(Json::as_f64).map(|permille| permille / 1000.0);
        self.gauge_of(LINK_LOSS, &labels, loss);
        self.gauge_of(QUEUE, &labels, row.get("backlog_bytes").and_then(Json::as_f64));
    }

    fn radio(&mut self, radio: &Json) {
        let link = text(radio, "radio");
        let figure = |row: &Json, field: &str| row.get(field).and_then(Json::as_f64);
        let budget = figure(radio, "budget_hour_s").filter(|budget| *budget > 0.0);
        let used = figure(radio, "used_last_hour_s").zip(budget).map(|(used, budget)| used / budget);
        self.gauge_of(AIRTIME_USED, &[("link", link)], used);
        for class in radio.get("by_priority").map(items).unwrap_or_default() {
            let labels = [("link", link), ("class", text(class, "what"))];
            self.count(AIRTIME, &labels, figure(class, "today_s").unwrap_or_default());
            self.gauge_of(AIRTIME_LEFT, &labels, figure(class, "left_s"));
        }
    }

    /// CounterFamily of the status: decisions, refusals, alarms.
    fn counters(&mut self, status: &Json) {
        let entries = |field: &str| status.get(field).and_then(Json::as_object).into_iter().flatten();
        for (label, count) in entries("router") {
            let count = count.as_f64().unwrap_or_default();
            let (link, reason) = label.split_once(' ').unwrap_or(("none", label));
            let result = if reason == "taken" { "taken" } else { "refused" };
            self.count(DECISIONS, &[("link", link), ("result", result), ("reason", reason)], count);
        }
        for (reason, count) in entries("rejections") {
            self.count(REJECTIONS, &[("reason", reason)], count.as_f64().unwrap_or_default());
        }
        let mut alarms: BTreeMap<&str, u32> = BTreeMap::new();
        for code in status.get("alarm_codes").map(items).unwrap_or_default().iter().filter_map(Json::as_str) {
            *alarms.entry(code).or_default() += 1;
        }
        for (code, count) in alarms {
            self.gauge_of(ALARMS, &[("kind", code)], Some(f64::from(count)));
        }
    }

    fn text(self, convergence: Convergence) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(convergence));
        for (Metric(name, help), family) in self.gauges {
            registry.register(name, help, family);
        }
        for (Metric(name, help), family) in self.counters {
            registry.register(name, help, family);
        }
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry)
            .expect("a text takes whatever is written");
        out
    }
}

/// How long differences lasted: a histogram that the node keeps.
#[derive(Debug)]
struct Convergence {
    count: u64,
    sum_s: f64,
    /// Upper bounds in seconds, each with how many are in its class.
    classes: Vec<(f64, u64)>,
}

impl Convergence {
    fn of(view: &Json) -> Self {
        let class = |row: &Json| {
            let bound = row.get(0).and_then(Json::as_f64).unwrap_or(f64::INFINITY);
            (bound, row.get(1).and_then(Json::as_u64).unwrap_or_default())
        };
        Convergence {
            count: number(view, "count"),
            sum_s: view.get("sum_s").and_then(Json::as_f64).unwrap_or_default(),
            classes: view.get("classes").map(items).unwrap_or_default().iter().map(class).collect(),
        }
    }
}

impl Collector for Convergence {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "From the new state of a layer to the peer's heartbeat that shows both sides alike";
        let name = "tombolo_convergence_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<Labels>(self.sum_s, self.count, &self.classes, None)
    }
}

/// Labels without control characters; the encoder escapes the rest.
fn plain(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| (*key, clean(value))).collect()
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

/// An RFC 3339 time as seconds since 1970.
fn seconds(time: &str) -> Option<f64> {
    let at = chrono::DateTime::parse_from_rfc3339(time).ok()?;
    Some(at.timestamp_millis() as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOSTILE: &str = "a\"} 7\n# HELP x\u{1b}[2J\\";

    /// A moment in which every metric has a value.
    fn snapshot(state: &str, name: &str) -> Snapshot {
        let node = json!({
            "timestamp": "2027-01-15T08:00:00Z", "cpu_usage_percent": 50.0, "mem_used_bytes": 1, "mem_total_bytes": 2,
            "disk_used_bytes": 3, "disk_total_bytes": 4, "uptime_secs": 5,
            "sensors": { "tide": { "value": 4.5, "unit": "m" }, "sky": { "value": "clear" } },
            "apps": [{ "id": "web", "status": "running" }],
        });
        Snapshot {
            status: json!({
                "id": { "name": "hut" }, "documents": 3,
                "peers": [{
                    "name": name, "did": "did:key:z6MkExample", "trust_level": "trusted", "state": "in step",
                    "heard_at": "2027-01-15T08:00:00Z",
                    "presence": { "state": state, "next_within_s": 1200 },
                    "behind": [{ "document": "hut/plan", "kind": "they_lack", "sequences": 2 },
                               { "document": "hut/plan", "kind": "they_lack", "sequences": 1 }],
                }],
                "clocks": [{ "name": name, "did": "did:key:z6MkExample", "ahead_s": 14400 }],
                "router": { "lan taken": 4, "mesh costs_more": 4, "stranded": 1 },
                "convergence": { "count": 3, "sum_s": 4.5, "classes": [[1, 2], [5, 1], [null, 0]] },
                "rejections": { "bad_message": 2 }, "alarm_codes": ["silent"],
            }),
            peers: json!([{ "name": name, "did": "did:key:z6MkExample", "last_state": node }]),
            own_state: node.clone(),
            links: json!([{ "peer": name, "did": "did:key:z6MkExample", "link": "lan", "state": "up", "bytes_sent": 10,
                            "bytes_heard": 20, "loss_permille": 5, "backlog_bytes": 0 }]),
            airtime: json!([{ "radio": "kiss+tcp://h:8001", "used_last_hour_s": 36.0, "budget_hour_s": 360.0,
                              "by_priority": [{ "what": "state", "today_s": 3.5, "left_s": 2.0 }] }]),
            ..Snapshot::default()
        }
    }

    /// Each sample has a description under its own name, which promtool asks for.
    #[test]
    fn the_older_text_describes_counters_by_the_name_of_their_samples() {
        let snapshot = snapshot("here", "# TYPE tombolo_link_bytes counter");
        let (kind, older) = answer("text/plain", &snapshot);
        assert!(kind.starts_with("text/plain"));
        for line in [
            "# TYPE tombolo_link_bytes_total counter",
            "# TYPE tombolo_peer_up gauge",
            "# HELP tombolo_link_bytes_total ",
        ] {
            assert!(older.contains(line), "no {line} in\n{older}");
        }
        let (kind, open) = answer("application/openmetrics-text;version=1.0.0", &snapshot);
        assert!(kind.starts_with("application/openmetrics-text"));
        assert!(open.contains("# TYPE tombolo_link_bytes counter"), "{open}");
        let samples = |text: &str| {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert_eq!(samples(&older), samples(&open));
    }

    #[test]
    fn figures_stop_at_the_next_by_and_the_times_stay() {
        let fresh = encode(&snapshot("quiet", "boat"));
        for line in [
            "tombolo_peer_up{peer=\"boat\"} 1.0",
            "tombolo_peer_cpu_usage_ratio{peer=\"boat\"} 0.5",
            "tombolo_sensor_value{peer=\"boat\",sensor=\"tide\",unit=\"m\"} 4.5",
            "tombolo_peer_next_by_timestamp_seconds{peer=\"boat\"} 1800001200.0",
            "tombolo_peer_behind_sequences{peer=\"boat\",document=\"hut/plan\",who=\"peer\"} 3.0",
            "tombolo_link_bytes_total{peer=\"boat\",link=\"lan\",direction=\"sent\"} 10.0",
            "tombolo_convergence_seconds_bucket{le=\"5.0\"} 3",
            "tombolo_convergence_seconds_bucket{le=\"+Inf\"} 3",
            "tombolo_airtime_used_ratio{link=\"kiss+tcp://h:8001\"} 0.1",
            "tombolo_router_decisions_total{link=\"mesh\",result=\"refused\",reason=\"costs_more\"} 4.0",
        ] {
            assert!(fresh.contains(line), "no {line} in\n{fresh}");
        }
        let old = encode(&snapshot("overdue", "boat"));
        assert!(old.contains("tombolo_peer_up{peer=\"boat\"} 0.0"), "{old}");
        assert!(old.contains("tombolo_peer_last_heard_timestamp_seconds{peer=\"boat\"}"), "{old}");
        assert!(
            !old.contains("cpu_usage_ratio{peer=\"boat\"}") && old.contains("cpu_usage_ratio{peer=\"hut\"}")
        );
        assert!(!old.contains("did:key"), "{old}");
    }

    #[test]
    fn a_hostile_name_is_one_label() {
        let text = encode(&snapshot("here", HOSTILE));
        let up: Vec<&str> = text.lines().filter(|line| line.starts_with("tombolo_peer_up{")).collect();
        assert_eq!(up, ["tombolo_peer_up{peer=\"a\\\"} 7\u{fffd}# HELP x\u{fffd}[2J\\\\\"} 1.0"]);
        assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("tombolo_")));
    }

    /// A board whose queries name what nothing exports is empty, and looks like a fault of the node.
    #[test]
    fn every_metric_of_the_dashboard_is_exported() {
        let board = include_str!("../../contrib/grafana/tombolo.json");
        let board: Json = serde_json::from_str(board).unwrap();
        assert_eq!(board["uid"], "tombolo");
        let text = board.to_string();
        let exported = encode(&snapshot("here", "boat"));
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts = text.match_indices("tombolo_").map(|(at, _)| &text[at..]);
        let names: std::collections::BTreeSet<&str> =
            starts.map(|rest| rest.split(|c| !is_of_name(c)).next().unwrap()).collect();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            let has = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            assert!(exported.lines().any(has), "the board asks for {name}, which is not exported");
        }
    }
}
