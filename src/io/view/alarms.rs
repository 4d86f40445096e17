//! Alarms that watches raised, and the watches.

use serde::Serialize;

/// The source of a watch that stands in `tombolo.toml`.
pub const WATCH_OF_SETTINGS: &str = "settings";
/// The source of a watch that a command has added.
pub const WATCH_OF_COMMAND: &str = "command";

/// An alarm, as all nodes together show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RaisedAlarmView {
    /// The id of the alarm, 16 hex digits, the same on every node.
    pub id: String,
    /// `silent`, `back`, `app_stopped`, `app_unhealthy`, `disk`, `clock` or `key_twice`.
    pub kind: &'static str,
    /// The name of the node that it is about.
    pub subject: String,
    /// The DID of that node, where it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// The app, for the kinds that are about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The sentence for people.
    pub message: String,
    /// Whether the alarm still stands.
    pub open: bool,
    /// When it was raised, RFC 3339.
    pub raised_at: String,
    /// When it was over, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleared_at: Option<String>,
    /// The names of the nodes that report it.
    pub reported_by: Vec<String>,
    /// The names of the nodes whose operators have acknowledged it.
    pub acknowledged_by: Vec<String>,
    /// The messages of this node about it.
    pub messages: Vec<AlarmMessageView>,
    /// Other nodes that have sent a message about it.
    pub notified_by: Vec<String>,
}

/// One message of this node about an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmMessageView {
    /// The way of the message: `command` or `url`.
    pub channel: &'static str,
    /// `waiting`, `taken`, `sent`, `failed`, `unknown` or `dropped`.
    pub state: &'static str,
    /// How often it was tried.
    pub tries: u32,
    /// What the last try met, where it did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A watch of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WatchView {
    /// The id by which it is removed.
    pub id: String,
    /// `settings` for one that stands in `tombolo.toml`, `command` for one that a command has added.
    pub source: &'static str,
    /// The name of the node that is watched.
    pub peer: String,
    /// Its DID, where it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// Whether silence past its "next by" raises an alarm.
    pub silent: bool,
    /// Whether its return is reported.
    pub back: bool,
    /// The apps that have to run, and be healthy.
    pub apps: Vec<String>,
    /// The per cent of its disk above which an alarm is raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_above: Option<u8>,
    /// Whether a wrong clock raises an alarm.
    pub clock: bool,
    /// Whether a key that two machines use raises an alarm.
    pub key_twice: bool,
    /// Why nothing is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
