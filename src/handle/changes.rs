//! What changes in one document, as a stream: each key with its old and its new value.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::CallError;
use super::documents::read;
pub use crate::merge::KeyChange;
use crate::merge::{Leaves, differences, leaves_of};
use crate::node::{CommandError, Event};
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
        let known = read_leaves(&client, &doc).await?;
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

/// Reads the document after each event that may concern it, and hands over what differs.
async fn follow(
    client: NodeClient,
    doc: String,
    mut events: EventReader,
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
            Ok(event) => concerns(&event.event, &name),
            Err(EventGap::Missed(_)) => true,
            Err(EventGap::Ended) => return,
        };
        if !concerns {
            continue;
        }
        let Ok(now) = read_leaves(&client, &doc).await else { return };
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

/// The document as it reads now; one that is not there is empty.
async fn read_leaves(client: &NodeClient, doc: &str) -> Result<Leaves, CallError> {
    match read(client, doc, None).await {
        Ok(value) => Ok(leaves_of(Some(&value))),
        Err(error) => match error.refusal() {
            Some(CommandError::UnknownDocument(_) | CommandError::UnknownPeer(_)) => Ok(Leaves::new()),
            _ => Err(error),
        },
    }
}
