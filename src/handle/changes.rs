//! What changes in one document, as a stream: each key with its old and its new value.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{broadcast, mpsc};
use tombolo_delta::{Key, Map, Value};

use super::CallError;
use super::documents::read;
use crate::layer::KeyPath;
use crate::node::{CommandError, Event};
use crate::runtime::NodeClient;

/// Changes that wait for a slow reader. Beyond, the document is read again only when there is room: what changed meanwhile is one
/// change per key.
const CHANGES_MAX: usize = 256;

/// One key of a document that reads differently.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyChange {
    /// The key, `a/b/c`; empty where the document is no map.
    pub key: String,
    /// What it was; `None` where it was not there.
    pub old: Option<Value>,
    /// What it is; `None` where it is deleted.
    pub new: Option<Value>,
}

/// The changes of a document, in the order in which this node sees them. It ends with the node.
///
/// It is a [`Stream`]; [`next`](Self::next) does without a crate for streams.
#[derive(Debug)]
pub struct Changes {
    receiver: mpsc::Receiver<KeyChange>,
}

impl Changes {
    pub(super) async fn of(client: NodeClient, doc: String) -> Result<Self, CallError> {
        let events = client.events();
        let known = leaves_of(&client, &doc).await?;
        let (sender, receiver) = mpsc::channel(CHANGES_MAX);
        tokio::spawn(follow(client, doc, events, known, sender));
        Ok(Changes { receiver })
    }

    /// The next change; `None` when the node has ended.
    pub async fn next(&mut self) -> Option<KeyChange> {
        self.receiver.recv().await
    }
}

impl Stream for Changes {
    type Item = KeyChange;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<KeyChange>> {
        self.receiver.poll_recv(task)
    }
}

/// The values of a document that are no map, by key.
type Leaves = BTreeMap<String, Value>;

/// Reads the document after each event that may concern it, and hands over what differs.
async fn follow(
    client: NodeClient,
    doc: String,
    mut events: broadcast::Receiver<Event>,
    mut known: Leaves,
    sender: mpsc::Sender<KeyChange>,
) {
    let name = doc.rsplit_once('/').map_or(&*doc, |(_, name)| name).to_owned();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sender.closed() => return,
        };
        let concerns = match event {
            Ok(Event::Changed(change)) => change.name == name,
            Ok(Event::Ended(ended)) => ended.name == name,
            // Rights decide what is read.
            Ok(Event::PeersChanged) | Err(broadcast::error::RecvError::Lagged(_)) => true,
            Ok(
                Event::JoiningChanged { .. }
                | Event::Link(_)
                | Event::Alarm(_)
                | Event::Deploy(_)
                | Event::Presence(_),
            ) => false,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if !concerns {
            continue;
        }
        let Ok(now) = leaves_of(&client, &doc).await else { return };
        for change in differences(&known, &now) {
            if sender.send(change).await.is_err() {
                return;
            }
        }
        known = now;
    }
}

/// The document as it reads now; one that is not there is empty.
async fn leaves_of(client: &NodeClient, doc: &str) -> Result<Leaves, CallError> {
    let mut leaves = Leaves::new();
    match read(client, doc, None).await {
        Ok(value) => flatten(&mut Vec::new(), &value, &mut leaves),
        Err(error) => match error.refusal() {
            Some(CommandError::UnknownDocument(_) | CommandError::UnknownPeer(_)) => {}
            _ => return Err(error),
        },
    }
    Ok(leaves)
}

fn flatten(path: &mut Vec<String>, value: &Value, into: &mut Leaves) {
    let is_text = |key: &Key| matches!(key, Key::Text(_));
    let fields = value.as_map().filter(|map| !map.is_empty() && map.iter().all(|(key, _)| is_text(key)));
    let Some(fields) = fields else {
        // An empty document has no key, and one that is no map has none but itself.
        let key = KeyPath::new(path.clone()).map(|key| key.to_string()).unwrap_or_default();
        if !(path.is_empty() && (value.is_null() || value.as_map().is_some_and(Map::is_empty))) {
            into.insert(key, value.clone());
        }
        return;
    };
    for (key, value) in fields.iter() {
        if let Key::Text(text) = key {
            path.push(text.clone());
            flatten(path, value, into);
            path.pop();
        }
    }
}

/// The keys that differ, in order.
fn differences(old: &Leaves, new: &Leaves) -> Vec<KeyChange> {
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |key: &String| {
        let (before, after) = (old.get(key).cloned(), new.get(key).cloned());
        (before != after).then(|| KeyChange { key: key.clone(), old: before, new: after })
    };
    keys.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(json: serde_json::Value) -> Leaves {
        let mut leaves = Leaves::new();
        flatten(&mut Vec::new(), &tombolo_delta::to_value(&json).unwrap(), &mut leaves);
        leaves
    }

    #[test]
    fn each_key_that_differs_is_one_change() {
        let old = leaves(serde_json::json!({"a": {"b": 1, "c": [1]}, "d": {}, "x/y": true}));
        let new = leaves(serde_json::json!({"a": {"b": 2, "c": [1]}, "x/y": true, "e": "new"}));
        let changes: Vec<(String, bool, bool)> =
            differences(&old, &new).into_iter().map(|c| (c.key, c.old.is_some(), c.new.is_some())).collect();
        assert_eq!(
            changes,
            [("a/b".into(), true, true), ("d".into(), true, false), ("e".into(), false, true)]
        );
        assert!(old.contains_key("x\\/y"), "{old:?}");
        assert_eq!(differences(&old, &old), []);
        assert_eq!(leaves(serde_json::json!({})), Leaves::new());
    }
}
