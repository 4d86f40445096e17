//! What the broker is sent: for each node one retained message that describes its device, and messages with its values.
//!
//! ```text
//! homeassistant/device/tombolo_OWN_PEER/config    retained: the device and its components
//! tombolo/OWN/bridge                              retained: online; offline by the broker when the bridge is gone
//! tombolo/OWN/PEER/presence                       retained: connected, state, why, when it was heard
//! tombolo/OWN/PEER/figures                        CPU, memory, disk, uptime, apps; only when the peer was heard again
//! ```
//! OWN and PEER are prints of the identities in hex. Figures carry `expire_after`: the time within which the peer is to be heard again,
//! and a margin; so Home Assistant shows them as unavailable when they are old, whatever has become of this bridge.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::words::{clean, is_current, items, name, number, presence, text};

/// What is added to the time within which a peer is heard again, seconds.
const GRACE_S: u64 = 60;
/// Apps of a node that become components.
const APPS_MAX: usize = 64;
/// Hex digits of a print.
const PRINT_CHARS: usize = 12;
/// Within how many seconds this node's own figures are published again.
const OWN_WITHIN_S: u64 = 180;

/// The topics of one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topics {
    pub(super) discovery: String,
    /// The first part, and the print of this node.
    pub(super) base: String,
    own: String,
}

/// One node as the broker is shown it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BrokerDevice {
    /// Its id at the broker.
    pub(super) id: String,
    /// The description of the device, sent as a retained message.
    pub(super) config: Json,
    pub(super) presence: Json,
    /// None while what is known of the node is old.
    pub(super) figures: Option<Json>,
    topic: String,
}

impl Topics {
    /// The topics of the bridge of a node.
    pub(super) fn new(discovery: &str, prefix: &str, own_did: &str) -> Self {
        let own = print(own_did);
        Topics { discovery: discovery.to_owned(), base: format!("{prefix}/{own}"), own }
    }

    /// Where the bridge shows whether it is there.
    pub(super) fn bridge(&self) -> String {
        format!("{}/bridge", self.base)
    }

    /// Where Home Assistant announces its start.
    pub(super) fn birth(&self) -> String {
        format!("{}/status", self.discovery)
    }

    /// Where a device is described.
    pub(super) fn config(&self, id: &str) -> String {
        format!("{}/device/{id}/config", self.discovery)
    }

    /// All descriptions of devices, of this bridge and of others.
    pub(super) fn all_configs(&self) -> String {
        self.config("+")
    }

    /// The device of this bridge that a topic describes.
    pub(super) fn device_of<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let id = topic.strip_prefix(&format!("{}/device/", self.discovery))?.strip_suffix("/config")?;
        let own = format!("tombolo_{}", self.own);
        (id == own || id.strip_prefix(&own).is_some_and(|rest| rest.starts_with('_'))).then_some(id)
    }
}

impl BrokerDevice {
    pub(super) fn presence_topic(&self) -> String {
        format!("{}/presence", self.topic)
    }

    pub(super) fn figures_topic(&self) -> String {
        format!("{}/figures", self.topic)
    }
}

/// All devices: this node, and each peer.
pub(super) fn devices(topics: &Topics, status: &Json, peers: &Json, own_state: &Json) -> Vec<BrokerDevice> {
    let id = status.get("id").unwrap_or(&Json::Null);
    let own = BrokerDeviceFacts {
        id: format!("tombolo_{}", topics.own),
        topic: format!("{}/self", topics.base),
        name: text(id, "name").to_owned(),
        via: None,
        within_s: OWN_WITHIN_S,
        state: own_state,
        presence: json!({ "connected": "ON", "state": "this node", "why": "", "heard": text(status, "time") }),
        is_current: true,
    };
    let rows = status.get("peers").map(items).unwrap_or_default().iter();
    let others = rows.map(|row| {
        let shown = row.get("presence").unwrap_or(&Json::Null);
        let peer = items(peers).iter().find(|peer| text(peer, "did") == text(row, "did"));
        let print = print(text(row, "did"));
        BrokerDeviceFacts {
            id: format!("tombolo_{}_{print}", topics.own),
            topic: format!("{}/{print}", topics.base),
            name: name(row),
            via: Some(format!("tombolo_{}", topics.own)),
            within_s: number(shown, "next_within_s"),
            state: peer.and_then(|peer| peer.get("last_state")).unwrap_or(&Json::Null),
            presence: json!({
                "connected": if is_current(shown) { "ON" } else { "OFF" },
                "state": presence(shown), "why": clean(text(shown, "why")), "heard": row.get("heard_at"),
                "step": text(row, "state"),
            }),
            is_current: is_current(shown),
        }
    });
    let all: Vec<BrokerDeviceFacts<'_>> = std::iter::once(own).chain(others).collect();
    all.into_iter().map(|facts| facts.device(topics)).collect()
}

/// What a device is made of.
struct BrokerDeviceFacts<'a> {
    id: String,
    topic: String,
    name: String,
    via: Option<String>,
    within_s: u64,
    state: &'a Json,
    presence: Json,
    is_current: bool,
}

/// A figure of a node's state: its field, its id, its name, class and unit.
const FIGURES: [(&str, &str, &str, Option<&str>, &str); 6] = [
    ("cpu_usage_percent", "cpu", "CPU", None, "%"),
    ("mem_used_bytes", "memory_used", "Memory used", Some("data_size"), "B"),
    ("mem_total_bytes", "memory_total", "Memory", Some("data_size"), "B"),
    ("disk_used_bytes", "disk_used", "Disk used", Some("data_size"), "B"),
    ("disk_total_bytes", "disk_total", "Disk", Some("data_size"), "B"),
    ("uptime_secs", "uptime", "Up for", Some("duration"), "s"),
];

impl BrokerDeviceFacts<'_> {
    fn device(self, topics: &Topics) -> BrokerDevice {
        let mut parts = self.presence_parts();
        let mut figures = Map::new();
        let known = FIGURES.iter().filter_map(|figure| Some((figure, self.state.get(figure.0)?.as_f64()?)));
        for ((_, id, title, class, unit), value) in known {
            figures.insert((*id).to_owned(), json!(value));
            parts.insert((*id).to_owned(), self.figure(id, title, *class, unit));
        }
        for app in self.state.get("apps").map(items).unwrap_or_default().iter().take(APPS_MAX) {
            let id = format!("app_{}", print(text(app, "id")));
            let is_running = text(app, "status") == "running";
            figures.insert(id.clone(), json!(if is_running { "ON" } else { "OFF" }));
            let title = clean(text(app, "id"));
            let part = json!({
                "p": "binary_sensor", "name": title, "device_class": "running", "unique_id": format!("{}_{id}", self.id),
                "state_topic": format!("{}/figures", self.topic), "value_template": format!("{{{{ value_json.{id} }}}}"),
                "expire_after": self.expires_s(),
            });
            parts.insert(id, part);
        }
        self.sensors(&mut figures, &mut parts);
        let mut device =
            json!({ "ids": [self.id], "name": clean(&self.name), "mf": "Tombolo", "mdl": "node" });
        if let (Some(via), Some(device)) = (&self.via, device.as_object_mut()) {
            device.insert("via_device".to_owned(), json!(via));
        }
        let config = json!({
            "dev": device,
            "o": { "name": "Tombolo", "sw": env!("CARGO_PKG_VERSION") },
            "availability": [{ "topic": topics.bridge() }],
            "state_topic": format!("{}/presence", self.topic),
            "qos": 0,
            "cmps": parts,
        });
        BrokerDevice {
            figures: Some(Json::Object(figures)).filter(|_| self.is_current && !self.state.is_null()),
            id: self.id,
            config,
            presence: self.presence,
            topic: self.topic,
        }
    }

    /// What sensors show, each a component of its own.
    fn sensors(&self, figures: &mut Map<String, Json>, parts: &mut BTreeMap<String, Json>) {
        for (name, shown) in self.state.get("sensors").and_then(Json::as_object).into_iter().flatten() {
            let id = format!("sensor_{}", print(name));
            figures.insert(id.clone(), shown.get("value").cloned().unwrap_or_default());
            let mut part = self.figure(&id, &clean(name), None, &clean(text(shown, "unit")));
            let is_text = !shown.get("value").is_some_and(Json::is_number);
            if let Some(part) = part.as_object_mut().filter(|_| is_text) {
                // A text has no statistics.
                part.remove("state_class");
                part.remove("unit_of_measurement");
            }
            parts.insert(id, part);
        }
    }

    /// What is always there: whether the node is heard, in which words, and since when.
    fn presence_parts(&self) -> BTreeMap<String, Json> {
        let part = |id: &str, rest: Json| {
            let mut part = json!({
                "unique_id": format!("{}_{id}", self.id), "state_topic": format!("{}/presence", self.topic),
            });
            if let (Some(part), Some(rest)) = (part.as_object_mut(), rest.as_object()) {
                part.extend(rest.clone());
            }
            (id.to_owned(), part)
        };
        let connected = json!({
            "p": "binary_sensor", "name": "Heard", "device_class": "connectivity",
            "value_template": "{{ value_json.connected }}",
            "json_attributes_topic": format!("{}/presence", self.topic),
        });
        let state = json!({ "p": "sensor", "name": "State", "icon": "mdi:access-point", "value_template": "{{ value_json.state }}" });
        let heard = json!({
            "p": "sensor", "name": "Last heard", "device_class": "timestamp", "value_template": "{{ value_json.heard }}",
        });
        BTreeMap::from([part("connected", connected), part("state", state), part("heard", heard)])
    }

    fn figure(&self, id: &str, title: &str, class: Option<&str>, unit: &str) -> Json {
        json!({
            "p": "sensor", "name": title, "unique_id": format!("{}_{id}", self.id), "device_class": class,
            "unit_of_measurement": unit, "state_class": "measurement",
            "state_topic": format!("{}/figures", self.topic), "value_template": format!("{{{{ value_json.{id} }}}}"),
            "expire_after": self.expires_s(),
        })
    }

    fn expires_s(&self) -> u64 {
        self.within_s + GRACE_S
    }
}

/// A print of a text that topics and ids can carry.
fn print(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    hash.chars().take(PRINT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(state: &str, name: &str) -> Vec<BrokerDevice> {
        let topics = Topics::new("homeassistant", "tombolo", "did:key:z6MkOwn");
        let status = json!({
            "id": { "name": "hut", "did": "did:key:z6MkOwn" }, "time": "2027-01-15T08:00:00Z",
            "peers": [{ "name": name, "did": "did:key:z6MkBoat", "state": "in step", "heard_at": "2027-01-15T08:00:00Z",
                        "presence": { "state": state, "next_within_s": 1200, "why": "its session is up" } }],
        });
        let figures = json!({ "timestamp": "2027-01-15T08:00:00Z", "cpu_usage_percent": 12.5, "disk_used_bytes": 7,
"sensors": { "tide / height": { "value": 4.5, "unit": "m" }, "sky": { "value": "clear" } },
                              "apps": [{ "id": "web \"1\"", "status": "running" }, { "id": "db", "status": "stopped" }] });
        devices(&topics, &status, &json!([{ "did": "did:key:z6MkBoat", "last_state": figures }]), &Json::Null)
    }

    #[test]
    fn a_peer_is_a_device_whose_figures_expire_with_its_next_by() {
        let devices = all("quiet", "boat");
        let [own, boat] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!(boat.config["dev"]["via_device"], json!(own.id));
        assert!(own.figures.is_none() && own.config["dev"].get("via_device").is_none());
        let cpu = &boat.config["cmps"]["cpu"];
        assert_eq!((&cpu["expire_after"], &cpu["unit_of_measurement"]), (&json!(1260), &json!("%")));
        assert_eq!(cpu["value_template"], "{{ value_json.cpu }}");
        let figures = boat.figures.as_ref().unwrap();
        assert_eq!((&figures["cpu"], &figures["disk_used"]), (&json!(12.5), &json!(7.0)));
        let sensors = boat.config["cmps"].as_object().unwrap().values();
        let sensors: Vec<&Json> =
            sensors.filter(|part| part["unique_id"].as_str().unwrap().contains("_sensor_")).collect();
        let is_tide = |it: &&Json| it["name"] == "tide / height" && it["unit_of_measurement"] == "m";
        let is_sky = |it: &&Json| it["name"] == "sky" && it.get("state_class").is_none();
        assert!(sensors.len() == 2 && sensors.iter().any(is_tide) && sensors.iter().any(is_sky));
        let apps: Vec<&Json> = boat.config["cmps"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(id, _)| id.starts_with("app_"))
            .map(|(_, app)| app)
            .collect();
        assert!(apps.len() == 2 && apps.iter().all(|app| app["device_class"] == "running"), "{apps:?}");
        assert_eq!(boat.presence["connected"], "ON");
    }

    #[test]
    fn an_overdue_peer_keeps_its_presence_and_loses_its_figures() {
        let devices = all("overdue", "boat");
        assert_eq!((devices[1].figures.as_ref(), &devices[1].presence["connected"]), (None, &json!("OFF")));
    }

    #[test]
    fn names_do_not_reach_topics() {
        let topics = Topics::new("homeassistant", "tombolo", "did:key:z6MkOwn");
        for name in ["boat/#", "+", "a\u{0}b", "{{ states }}"] {
            let device = all("here", name).pop().unwrap();
            let places = [topics.config(&device.id), device.presence_topic(), device.figures_topic()];
            assert!(places.iter().all(|topic| !topic.contains(['#', '+', '\0', ' '])), "{places:?}");
            assert!(!device.config.to_string().contains("\\u0000"));
            assert_eq!(topics.device_of(&topics.config(&device.id)), Some(device.id.as_str()));
        }
        assert_eq!(topics.device_of("homeassistant/device/lamp/config"), None);
    }
}
