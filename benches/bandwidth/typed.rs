//! Messages with a schema that both ends compiled in: protobuf with the changed fields of a node state, and the codec of
//! this project with the names and kinds of a node state known beforehand. Documents that are no node state are beyond
//! them.
//!
//! The second row is what having no schema costs: it differs from `tombolo` in the first message only, since from then
//! on the base gives the names.

use crate::codecs::{Codec, Decoded, TomboloCodec};
use crate::traces::{TraceDocument, milliseconds, timestamp};
use prost::Message;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// A node state, or the fields of one that changed.
#[derive(Clone, PartialEq, Message)]
struct TypedState {
    #[prost(int64, optional, tag = "1")]
    time_ms: Option<i64>,
    #[prost(string, optional, tag = "2")]
    node_name: Option<String>,
    #[prost(message, repeated, tag = "3")]
    apps: Vec<TypedApp>,
    #[prost(string, repeated, tag = "4")]
    removed: Vec<String>,
    #[prost(double, optional, tag = "5")]
    cpu_usage_percent: Option<f64>,
    #[prost(uint64, optional, tag = "6")]
    mem_used_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    mem_total_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "8")]
    disk_used_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "9")]
    disk_total_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "10")]
    uptime_secs: Option<u64>,
    #[prost(bool, optional, tag = "11")]
    tor_active: Option<bool>,
    /// Whether the time is in milliseconds.
    #[prost(bool, optional, tag = "12")]
    fine: Option<bool>,
}

/// An app, or the fields of one that changed.
#[derive(Clone, PartialEq, Message)]
struct TypedApp {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, optional, tag = "2")]
    status: Option<String>,
    #[prost(string, optional, tag = "3")]
    version: Option<String>,
}

pub(crate) struct FieldMask;

impl Codec for FieldMask {
    fn name(&self) -> &str {
        "protobuf-field-mask"
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        let (old, new) = (TypedState::of(&base.json)?, TypedState::of(&target.json)?);
        Some(old.changes(&new).encode_to_vec())
    }

    fn decode(&mut self, base: &TraceDocument, _: u64, message: &[u8]) -> Option<Decoded> {
        let changes = TypedState::decode(message).ok()?;
        Some(Decoded::Json(TypedState::of(&base.json)?.changed(changes).json()?))
    }
}

/// The codec of this project, whose first message starts from a node state with nothing in it instead of from nothing:
/// its names, their kinds, and the words a status may be.
pub(crate) struct SchemaKnown {
    template: TraceDocument,
}

impl SchemaKnown {
    pub(crate) fn new() -> SchemaKnown {
        let app = |status: &str| json!({ "id": "", "status": status, "version": "" });
        let apps = ["running", "stopped", "installed"].map(app);
        let template = json!({
            "timestamp": timestamp(0, false),
            "node_name": "",
            "apps": apps,
            "cpu_usage_percent": 0.5,
            "mem_used_bytes": 0,
            "mem_total_bytes": 0,
            "disk_used_bytes": 0,
            "disk_total_bytes": 0,
            "uptime_secs": 0,
            "tor_active": false,
        });
        SchemaKnown {
            template: TraceDocument {
                sequence: 0,
                time_ms: 0,
                ..TraceDocument::new(0, &template.to_string())
            },
        }
    }

    fn base<'d>(&'d self, base: &'d TraceDocument) -> &'d TraceDocument {
        if base.json.is_null() { &self.template } else { base }
    }
}

impl Codec for SchemaKnown {
    fn name(&self) -> &str {
        "tombolo-schema-known"
    }

    fn encode(&mut self, base: &TraceDocument, target: &TraceDocument) -> Option<Vec<u8>> {
        if base.json.is_null() {
            TypedState::of(&target.json)?;
        }
        TomboloCodec.encode(self.base(base), target)
    }

    fn decode(&mut self, base: &TraceDocument, time_ms: u64, message: &[u8]) -> Option<Decoded> {
        TomboloCodec.decode(self.base(base), time_ms, message)
    }
}

impl TypedState {
    fn of(json: &Json) -> Option<TypedState> {
        if json.is_null() {
            return Some(TypedState::default());
        }
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let number = |key: &str| json.get(key).and_then(Json::as_u64);
        let state = TypedState {
            time_ms: Some(milliseconds(json.get("timestamp")?.as_str()?)? as i64),
            node_name: text("node_name"),
            apps: json.get("apps")?.as_array()?.iter().map(TypedApp::of).collect::<Option<_>>()?,
            removed: Vec::new(),
            cpu_usage_percent: json.get("cpu_usage_percent").and_then(Json::as_f64),
            mem_used_bytes: number("mem_used_bytes"),
            mem_total_bytes: number("mem_total_bytes"),
            disk_used_bytes: number("disk_used_bytes"),
            disk_total_bytes: number("disk_total_bytes"),
            uptime_secs: number("uptime_secs"),
            tor_active: json.get("tor_active").and_then(Json::as_bool),
            fine: Some(json.get("timestamp")?.as_str()?.len() > 20),
        };
        (state.json()? == *json).then_some(state)
    }

    fn json(&self) -> Option<Json> {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Json>| value.map(|value| map.insert(key.to_owned(), value));
        put("timestamp", Some(json!(timestamp(self.time_ms? as u64, self.fine?))));
        put("node_name", self.node_name.as_ref().map(|name| json!(name)));
        put("apps", Some(self.apps.iter().map(TypedApp::json).collect::<Option<_>>()?));
        put("cpu_usage_percent", self.cpu_usage_percent.map(|cpu| json!(cpu)));
        put("mem_used_bytes", self.mem_used_bytes.map(|bytes| json!(bytes)));
        put("mem_total_bytes", self.mem_total_bytes.map(|bytes| json!(bytes)));
        put("disk_used_bytes", self.disk_used_bytes.map(|bytes| json!(bytes)));
        put("disk_total_bytes", self.disk_total_bytes.map(|bytes| json!(bytes)));
        put("uptime_secs", self.uptime_secs.map(|seconds| json!(seconds)));
        put("tor_active", self.tor_active.map(|active| json!(active)));
        Some(Json::Object(map))
    }

    /// The fields of `new` that differ.
    fn changes(&self, new: &TypedState) -> TypedState {
        fn differing<T: PartialEq + Clone>(old: &Option<T>, new: &Option<T>) -> Option<T> {
            if old == new { None } else { new.clone() }
        }
        let old_apps: BTreeMap<&str, &TypedApp> =
            self.apps.iter().map(|app| (app.id.as_str(), app)).collect();
        let apps = new.apps.iter().filter_map(|app| match old_apps.get(app.id.as_str()) {
            Some(old) if *old == app => None,
            Some(old) => Some(TypedApp {
                id: app.id.clone(),
                status: differing(&old.status, &app.status),
                version: differing(&old.version, &app.version),
            }),
            None => Some(app.clone()),
        });
        let stays = |id: &String| new.apps.iter().any(|app| app.id == *id);
        TypedState {
            time_ms: differing(&self.time_ms, &new.time_ms),
            node_name: differing(&self.node_name, &new.node_name),
            apps: apps.collect(),
            removed: self.apps.iter().map(|app| app.id.clone()).filter(|id| !stays(id)).collect(),
            cpu_usage_percent: differing(&self.cpu_usage_percent, &new.cpu_usage_percent),
            mem_used_bytes: differing(&self.mem_used_bytes, &new.mem_used_bytes),
            mem_total_bytes: differing(&self.mem_total_bytes, &new.mem_total_bytes),
            disk_used_bytes: differing(&self.disk_used_bytes, &new.disk_used_bytes),
            disk_total_bytes: differing(&self.disk_total_bytes, &new.disk_total_bytes),
            uptime_secs: differing(&self.uptime_secs, &new.uptime_secs),
            tor_active: differing(&self.tor_active, &new.tor_active),
            fine: differing(&self.fine, &new.fine),
        }
    }

    fn changed(self, changes: TypedState) -> TypedState {
        let mut apps: BTreeMap<String, TypedApp> =
            self.apps.into_iter().map(|app| (app.id.clone(), app)).collect();
        apps.retain(|id, _| !changes.removed.contains(id));
        for app in changes.apps {
            let old = apps.entry(app.id.clone()).or_default();
            *old = TypedApp {
                id: app.id,
                status: app.status.or(old.status.take()),
                version: app.version.or(old.version.take()),
            };
        }
        TypedState {
            time_ms: changes.time_ms.or(self.time_ms),
            node_name: changes.node_name.or(self.node_name),
            apps: apps.into_values().collect(),
            removed: Vec::new(),
            cpu_usage_percent: changes.cpu_usage_percent.or(self.cpu_usage_percent),
            mem_used_bytes: changes.mem_used_bytes.or(self.mem_used_bytes),
            mem_total_bytes: changes.mem_total_bytes.or(self.mem_total_bytes),
            disk_used_bytes: changes.disk_used_bytes.or(self.disk_used_bytes),
            disk_total_bytes: changes.disk_total_bytes.or(self.disk_total_bytes),
            uptime_secs: changes.uptime_secs.or(self.uptime_secs),
            tor_active: changes.tor_active.or(self.tor_active),
            fine: changes.fine.or(self.fine),
        }
    }
}

impl TypedApp {
    fn of(json: &Json) -> Option<TypedApp> {
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        Some(TypedApp { id: text("id")?, status: text("status"), version: text("version") })
    }

    fn json(&self) -> Option<Json> {
        let mut map = Map::from_iter([("id".to_owned(), json!(self.id))]);
        self.status.as_ref().map(|status| map.insert("status".to_owned(), json!(status)));
        self.version.as_ref().map(|version| map.insert("version".to_owned(), json!(version)));
        Some(Json::Object(map))
    }
}
