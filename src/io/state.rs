//! The state that a node publishes of itself: the `state` document of its owner. `probe` measures it; `authoring` signs it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::sensor::{Sensors, sensors};

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

/// What is known of an app beside its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AppHealth {
    /// Its own check finds nothing amiss.
    Healthy,
    /// Its own check fails.
    Unhealthy,
    /// It has started, and its check has not passed yet.
    Starting,
    /// It changes again and again; the status is the last one that was published before.
    Flapping,
    /// The status is old: it could not be read again.
    Stale,
}

impl AppHealth {
    /// Reads a word in any case; `None` for one that is not known, as for no check.
    pub fn read(word: &str) -> Option<Self> {
        let is = |known: &str| word.trim().eq_ignore_ascii_case(known);
        let known = [
            ("healthy", AppHealth::Healthy),
            ("unhealthy", AppHealth::Unhealthy),
            ("starting", AppHealth::Starting),
            ("flapping", AppHealth::Flapping),
            ("stale", AppHealth::Stale),
        ];
        known.into_iter().find(|(name, _)| is(name)).map(|(_, health)| health)
    }
}

/// Reads a health, or whatever else a foreign program puts there: what is not known is none.
fn health<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AppHealth>, D::Error> {
    struct AnyHealth;

    impl<'de> Visitor<'de> for AnyHealth {
        type Value = Option<AppHealth>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a word")
        }

        fn visit_str<E>(self, word: &str) -> Result<Self::Value, E> {
            Ok(AppHealth::read(word))
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
            while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }

    deserializer.deserialize_any(AnyHealth)
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
    /// Its health, where something is known of it. Readers that do not know this field see the status alone.
    #[serde(default, deserialize_with = "health", skip_serializing_if = "Option::is_none")]
    pub health: Option<AppHealth>,
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
    /// The operator's own fields: what sensors show, by name.
    #[serde(default, deserialize_with = "sensors", skip_serializing_if = "Option::is_none")]
    pub sensors: Option<Sensors>,
    /// Which peers the node hears and which it has lost: codes by keyed names (`presence::sighting`). The node fills it in;
    /// absent where it has heard no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<BTreeMap<String, u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(health: &str) -> Result<App, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"id": "web", "status": "running"{health}}}"#))
    }

    #[test]
    fn a_health_is_read_in_any_case_and_what_is_none_is_no_fault() {
        for (text, expected) in [
            ("", None),
            (r#", "health": "Unhealthy""#, Some(AppHealth::Unhealthy)),
            (r#", "health": "good""#, None),
            (r#", "health": null"#, None),
            (r#", "health": 7"#, None),
            (r#", "health": -7.5"#, None),
            (r#", "health": true"#, None),
            (r#", "health": {"Status": ["a", {"b": 1}]}"#, None),
        ] {
            assert_eq!(app(text).unwrap().health, expected, "{text}");
        }
    }

    /// The wire: an app without a health is the bytes that it was before there was one, and a state with any health reads.
    #[test]
    fn an_absent_health_costs_no_byte_and_a_known_one_survives_the_way() {
        let none = tombolo_delta::to_value(&app("").unwrap()).unwrap();
        let without = tombolo_delta::Value::map([("id", "web"), ("status", "running")]);
        assert_eq!(none, without);
        for word in ["healthy", "unhealthy", "starting", "flapping", "stale"] {
            let known = app(&format!(r#", "health": "{word}""#)).unwrap();
            assert_eq!(serde_json::to_value(&known).unwrap()["health"], word);
            let value = tombolo_delta::to_value(&known).unwrap();
            assert_eq!(tombolo_delta::from_value::<App>(&value).unwrap(), known);
        }
    }
}
