//! What changes in one document, as a stream: each key with its old and its new value.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::CallError;
use super::documents::read;
pub use crate::merge::KeyChange;
use crate::merge::{Leaves, differences, leaves_of};
use crate::node::{CommandError, Event, Query, Reply};
use crate::runtime::NodeClient;
use crate::runtime::journal::{EventGap, EventReader};

/// Changes that wait for a slow reader. Beyond, the document is read again only when there is room: what changed meanwhile is one
/// change per key.
const CHANGES_MAX: usize = 256;

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
        let mut watched = WatchedDocument { doc, is_fixed: false };
        let known = watched.read_leaves(&client).await?;
        let (sender, receiver) = mpsc::channel(CHANGES_MAX);
        tokio::spawn(follow(client, watched, events, known, sender));
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

/// Reads the document after each event that may concern it, and hands over what differs.
async fn follow(
    client: NodeClient,
    mut watched: WatchedDocument,
    mut events: EventReader,
    mut known: Leaves,
    sender: mpsc::Sender<KeyChange>,
) {
    let name = watched.doc.rsplit_once('/').map_or(&*watched.doc, |(_, name)| name).to_owned();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sender.closed() => return,
        };
        let concerns = match event {
            Ok(event) => concerns(&event.event, &name),
            Err(EventGap::Missed(_)) => true,
            Err(EventGap::Ended) => return,
        };
        if !concerns {
            continue;
        }
        let Ok(now) = watched.read_leaves(&client).await else { return };
        for change in differences(&known, &now) {
            if sender.send(change).await.is_err() {
                return;
            }
        }
        known = now;
    }
}

/// Whether an event may change what a document of this name reads.
fn concerns(event: &Event, name: &str) -> bool {
    match event {
        Event::Changed(change) => change.name == name,
        Event::Ended(ended) => ended.name == name,
        // Rights decide what is read.
        Event::PeersChanged => true,
        Event::JoiningChanged { .. }
        | Event::Link(_)
        | Event::Alarm(_)
        | Event::Deploy(_)
        | Event::Presence(_) => false,
    }
}

/// The document that is watched. Once it is there it is named by its owner's identity: another name of the owner, or another document
/// of its name, changes nothing in it.
struct WatchedDocument {
    doc: String,
    is_fixed: bool,
}

impl WatchedDocument {
    /// The document as it reads now; one that is not there is empty.
    async fn read_leaves(&mut self, client: &NodeClient) -> Result<Leaves, CallError> {
        if !self.is_fixed
            && let Some(doc) = fixed_name(&self.doc, client).await?
        {
            *self = WatchedDocument { doc, is_fixed: true };
        }
        match read(client, &self.doc, None).await {
            Ok(value) => Ok(leaves_of(Some(&value))),
            Err(error) => match error.refusal() {
                Some(CommandError::UnknownDocument(_) | CommandError::UnknownPeer(_)) => Ok(Leaves::new()),
                _ => Err(error),
            },
        }
    }
}

/// The name of a document with the identity of its owner: of the one that it names in full, else of the only one that is called so.
async fn fixed_name(doc: &str, client: &NodeClient) -> Result<Option<String>, CallError> {
    let Reply::Documents(rows) = client.command(Query::List).await? else {
        return Err(CallError::Unexpected);
    };
    let in_full = rows.iter().find(|row| row.document == doc);
    let mut called = rows.iter().filter(|row| row.name == doc);
    let found = in_full.or_else(|| called.next().filter(|_| called.next().is_none()));
    Ok(found.map(|row| format!("{}/{}", row.owner, row.name)))
}
