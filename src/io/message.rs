//! The message that goes to the operator about an alarm.

use serde::Serialize;

/// A message about one alarm, in words and as fields. `notify.format = "json"` sends exactly these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmMessage {
    /// The id of the alarm.
    pub id: String,
    /// The kind of the alarm, a stable label.
    pub kind: &'static str,
    /// The subject of the alarm in a few words.
    pub title: String,
    /// The sentences for people.
    #[serde(rename = "message")]
    pub body: String,
    /// The name of the node that it is about.
    pub subject: String,
    /// The DID of that node, where it is known.
    pub did: Option<String>,
    /// The app, for the kinds that are about one.
    pub app: Option<String>,
    /// 3 (default) to 5 (highest).
    pub priority: u8,
    /// A tag of ntfy, which shows it as a sign.
    pub tag: &'static str,
    /// When the alarm was raised, RFC 3339.
    pub raised_at: String,
    /// The names of the nodes that report it.
    pub reported_by: Vec<String>,
}
