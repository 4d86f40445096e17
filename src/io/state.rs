//! The state that a node publishes of itself: the `state` document of its owner. `probe` measures it; `authoring` signs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether an app runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppStatus {
    /// The app is running.
    Running,
    /// It is there and does not run.
    Stopped,
    /// It is installed and has no process or container of its own now.
    Installed,
}

/// An app of the node, as it stands in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The name of the app; unique on its node.
    pub id: String,
    /// Whether the app runs now.
    pub status: AppStatus,
    /// The version, where the app shows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The state of a node. Absent fields are allowed on input. The time is not a field:
/// it is the signed time of the layer, so it costs nothing on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// What the node calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Its apps, by id.
    #[serde(default)]
    pub apps: Vec<App>,
    /// CPU in use, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// Memory in use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_used_bytes: Option<u64>,
    /// Memory in all, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_total_bytes: Option<u64>,
    /// Disk in use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_used_bytes: Option<u64>,
    /// Disk in all, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_total_bytes: Option<u64>,
    /// Seconds since the machine booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_secs: Option<u64>,
    /// The onion address of the node, where it is not that of the node's key: peers learn a new one from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onion: Option<String>,
    /// Whether Tor is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor_active: Option<bool>,
    /// Which peers the node hears and which it has lost: codes by keyed names (`presence::sighting`). The node fills it in;
    /// absent where it has heard no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<BTreeMap<String, u64>>,
}
