//! What the page and the metrics show, asked of the node in one go: the replies of `/v1` as JSON.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::layer::KeyPath;
use crate::node::{Command, Query, Reply};
use crate::runtime::{AskError, NodeClient};
use crate::words::{items, text};

/// How long the node may take over all answers; a node that takes longer is busy or stuck, and the page shows that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Peers for which the page asks why a link was chosen.
const WHY_MAX: usize = 24;
/// Conflicts that the page shows with both values.
pub(super) const CONFLICTS_MAX: usize = 20;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    /// The node refused a question, or has ended.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The node did not answer in time.
    #[error("the node has not answered within {} s: it is busy, or its disk hangs", ANSWER_TIMEOUT.as_secs())]
    Slow,
}

/// The replies of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) status: Json,
    pub(super) peers: Json,
    /// The state of this node; null before the first.
    pub(super) own_state: Json,
    pub(super) links: Json,
    pub(super) airtime: Json,
    pub(super) hearing: Json,
    pub(super) documents: Json,
    /// Conflicts, each with `shown`, the value that stands there now.
    pub(super) conflicts: Json,
    pub(super) log: Json,
    pub(super) invites: Json,
    /// The newest choice of a link for each peer.
    pub(super) choices: Vec<Json>,
}

impl Snapshot {
    /// What the metrics need.
    pub(super) async fn brief(client: &NodeClient) -> Result<Self, SnapshotError> {
        let asked = async {
            Ok(Snapshot {
                status: ask(client, Query::Status).await?,
                peers: ask(client, Query::Peers).await?,
                own_state: ask(client, Query::State { peer: None }).await.unwrap_or_default(),
                links: ask(client, Query::Links).await?,
                airtime: ask(client, Query::Airtime).await?,
                ..Snapshot::default()
            })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or(Err(SnapshotError::Slow))
    }

    /// What the page needs.
    pub(super) async fn whole(client: &NodeClient) -> Result<Self, SnapshotError> {
        let brief = Snapshot::brief(client).await?;
        let asked = async {
            let mut snapshot = Snapshot {
                hearing: ask(client, Query::Hearing).await?,
                documents: ask(client, Query::List).await?,
                conflicts: ask(client, Query::Conflicts { doc: None }).await?,
                log: ask(client, Query::Log).await?,
                invites: ask(client, Query::Invites).await?,
                ..brief
            };
            snapshot.choices = choices(&snapshot.peers, client).await;
            show_winners(&mut snapshot.conflicts, client).await;
            Ok(snapshot)
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or(Err(SnapshotError::Slow))
    }
}

/// Asks one question; the reply as JSON.
pub(super) async fn ask(client: &NodeClient, command: impl Into<Command>) -> Result<Json, SnapshotError> {
    let reply: Reply = client.command(command).await?;
    Ok(serde_json::to_value(&reply).unwrap_or(Json::Null))
}

async fn choices(peers: &Json, client: &NodeClient) -> Vec<Json> {
    let mut choices = Vec::new();
    for peer in items(peers).iter().take(WHY_MAX) {
        let about = Some(text(peer, "did").to_owned());
        // A peer may have been removed meanwhile.
        let Ok(reply) = ask(client, Query::Why { about }).await else { continue };
        choices.extend(items(&reply).first().cloned());
    }
    choices
}

/// Adds to each conflict the value that stands there now.
async fn show_winners(conflicts: &mut Json, client: &NodeClient) {
    let rows = conflicts.as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    for row in rows.iter_mut().take(CONFLICTS_MAX) {
        let Ok(key) = KeyPath::parse(text(row, "key")) else { continue };
        let doc = text(row, "document").to_owned();
        let shown = ask(client, Query::Get { doc, key: Some(key) }).await;
        if let Some(row) = row.as_object_mut() {
            // A deleted key has none.
            row.insert("shown".to_owned(), shown.map_or(Json::Null, |value| json!({ "value": value })));
        }
    }
}
