//! `/v1/watch`: the events of a node as they happen, as lines of JSON or as server-sent events.
//!
//! A watcher may begin with what is there, and go on behind the last event that it has read. What it may have missed is never left open:
//! a line `missed` stands in its place. A line comes at least every [`KEEP_ALIVE`], so that both sides notice when the other is gone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::routes::WatchRequest;
use super::server::{
    Answer, ConnectionContext, WATCHERS_MAX, WATCHERS_PER_CLIENT_MAX, failure, refusal, respond,
};
use crate::io::view::{ChangedView, EndedView};
use crate::node::{CommandError, Event, Query, Reply};
use crate::runtime::journal::{EventGap, EventId, EventReader, StampedEvent};
use crate::runtime::{AskError, NodeClient};

/// Lines that wait for a slow watcher; then it lags behind in the journal of events.
const WATCH_LINES_MAX: usize = 64;
/// After so long without a line, one that shows that the node is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The header by which a browser goes on behind the last event that it has read.
const LAST_EVENT_ID: &str = "last-event-id";

/// How the lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineFormat {
    /// One JSON object a line.
    Ndjson,
    /// Server-sent events, as browsers read them.
    Sse,
}

impl LineFormat {
    /// What a client asks for: server-sent events only by name.
    fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match accepted.contains("text/event-stream") {
            true => LineFormat::Sse,
            false => LineFormat::Ndjson,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            LineFormat::Ndjson => "application/x-ndjson",
            LineFormat::Sse => "text/event-stream",
        }
    }

    fn line(self, json: &Json) -> Bytes {
        let text = |field: &str| json.get(field).and_then(Json::as_str).unwrap_or_default();
        Bytes::from(match self {
            LineFormat::Ndjson => format!("{json}\n"),
            // JSON in one line has no line break, so it is one `data:`. Names of events are words.
            LineFormat::Sse => {
                let id = Some(text("id")).filter(|id| !id.is_empty());
                let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
                format!("{id}event: {}\ndata: {json}\n\n", text("event"))
            }
        })
    }
}

/// The answer without a body, for `HEAD`: a stream has no end that its head could name.
pub(super) fn head(headers: &HeaderMap) -> Answer {
    respond(
        StatusCode::OK,
        LineFormat::wanted(headers).content_type(),
        http_body_util::Full::default().boxed_unsync(),
    )
}

/// Answers with the events from now on, or from where the request asks to go on.
pub(super) async fn answer(
    request: WatchRequest,
    headers: &HeaderMap,
    context: &ConnectionContext,
) -> Answer {
    let Some(place) = context.watcher() else {
        let message = format!(
            "{WATCHERS_MAX} programs watch already, or this one {WATCHERS_PER_CLIENT_MAX} times: end one of them first"
        );
        return failure(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", &message);
    };
    let format = LineFormat::wanted(headers);
    let since = match request.since.map_or_else(|| last_event_id(headers), |since| Ok(Some(since))) {
        Ok(since) => since,
        Err(answer) => return *answer,
    };
    let (lines, body) = mpsc::channel(WATCH_LINES_MAX);
    let (client, context) = (context.client().clone(), context.clone());
    let mut stopped = context.stopped();
    let watcher = Watcher { client, context, format, lines, snapshot: request.snapshot, doc: request.doc };
    let (events, filter, begins) = match watcher.begin(since).await {
        Ok(begun) => begun,
        Err(error) => return refusal(&error),
    };
    tokio::spawn(async move {
        let gone = watcher.lines.clone();
        tokio::select! {
            _ = watcher.write(events, filter, begins) => {}
            _ = stopped.changed() => {}
            () = gone.closed() => {}
        }
        drop(place);
    });
    let mut answer = respond(StatusCode::OK, format.content_type(), LineBody(body).boxed_unsync());
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>, Box<Answer>> {
    let Some(text) = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error: crate::runtime::journal::BadEventId| {
            Box::new(failure(StatusCode::BAD_REQUEST, "bad_request", &error.to_string()))
        }),
    }
}

/// With what the lines begin, before the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// With the events themselves.
    Events,
    /// With the documents as they are.
    Snapshot,
    /// With the note that events are missing, since those behind the id are not known.
    Missed,
}

/// The line that stands in the place of events that are not known any more.
#[derive(Serialize)]
struct Missed {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<EventId>,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl Missed {
    fn to_json(&self) -> Json {
        serde_json::to_value(self).expect("a line has no failing parts")
    }
}

/// The watcher is gone.
struct WatcherGone;

/// One program that watches.
struct Watcher {
    client: NodeClient,
    context: ConnectionContext,
    format: LineFormat,
    lines: mpsc::Sender<Bytes>,
    /// Whether it wants what is there where it cannot go on from what it has.
    snapshot: bool,
    doc: Option<String>,
}

impl Watcher {
    /// Where it begins to read. A document that is unknown or ambiguous is an error.
    async fn begin(&self, since: Option<EventId>) -> Result<(EventReader, EventFilter, Beginning), AskError> {
        let now = self.client.events();
        let resumed = since.and_then(|id| self.client.events_behind(id));
        let filter = EventFilter::new(self.doc.as_deref(), &self.client).await?;
        let beginning = match (since, &resumed) {
            (Some(_), None) => Beginning::Missed,
            (None, _) if self.snapshot => Beginning::Snapshot,
            (Some(_), Some(_)) | (None, _) => Beginning::Events,
        };
        Ok((resumed.unwrap_or(now), filter, beginning))
    }

    /// Writes until the watcher or the node is gone.
    async fn write(
        &self,
        mut events: EventReader,
        mut filter: EventFilter,
        begins: Beginning,
    ) -> Result<(), WatcherGone> {
        match begins {
            Beginning::Events => {}
            Beginning::Snapshot => self.write_snapshot(&mut events, &mut filter).await?,
            Beginning::Missed => self.write_missed(None, &mut events, &mut filter).await?,
        }
        let mut ticks = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = ticks.tick() => {
                    self.send(&json!({ "id": events.last_id(), "event": "alive" })).await?;
                    continue;
                }
            };
            match event {
                Ok(event) if filter.passes(&event) => {
                    self.send(&json_of(&event)).await?;
                    ticks.reset();
                }
                Ok(_) => {}
                Err(EventGap::Missed(count)) => {
                    self.write_missed(Some(count), &mut events, &mut filter).await?;
                }
                Err(EventGap::Ended) => return Ok(()),
            }
        }
    }

    /// Events are missing, so many or an unknown number: who asked for it gets what is there now.
    async fn write_missed(
        &self,
        count: Option<u64>,
        events: &mut EventReader,
        filter: &mut EventFilter,
    ) -> Result<(), WatcherGone> {
        // A watcher that breaks off within a snapshot begins again; only the line behind it has an id.
        let id = (!self.snapshot).then(|| events.last_id());
        self.send(&Missed { id, event: "missed", count }.to_json()).await?;
        match self.snapshot {
            true => self.write_snapshot(events, filter).await,
            false => Ok(()),
        }
    }

    /// Each document as it is, then a mark. Events go on behind what each document shows: none is missing, none comes twice.
    async fn write_snapshot(
        &self,
        events: &mut EventReader,
        filter: &mut EventFilter,
    ) -> Result<(), WatcherGone> {
        let Ok((Reply::Documents(rows), from)) = self.client.command_at(Query::List).await else {
            return Err(WatcherGone);
        };
        filter.shown.clear();
        let rows: Vec<_> = rows.into_iter().filter(|row| filter.is_of(&row.owner, &row.name)).collect();
        for row in rows {
            let doc = row.document.clone();
            let turn = self.context.turn().await;
            let (document, up_to) = match self.client.command_at(Query::Document { doc }).await {
                Ok((Reply::Document(document), up_to)) => (document, up_to),
                // It is gone meanwhile: an event has that.
                Ok(_) | Err(AskError::Refused(_)) => continue,
                Err(AskError::Gone(_)) => return Err(WatcherGone),
            };
            let line = self.format.line(&json!({
                "event": "snapshot",
                "document": row.document,
                "owner": row.owner,
                "name": row.name,
                "version": document.version,
                "value": document.value,
            }));
            // One that reads nothing for a while, though its client has no room left, begins again.
            let line = self.context.hold(line).await.ok_or(WatcherGone)?;
            drop(turn);
            self.lines.send(line).await.map_err(|_| WatcherGone)?;
            filter.shown.insert((row.owner, row.name), up_to.number);
        }
        if let Some(reader) = self.client.events_behind(from) {
            *events = reader;
        }
        self.send(&json!({ "id": from, "event": "ready" })).await
    }

    async fn send(&self, json: &Json) -> Result<(), WatcherGone> {
        self.lines.send(self.format.line(json)).await.map_err(|_| WatcherGone)
    }
}

fn json_of(event: &Arc<StampedEvent>) -> Json {
    serde_json::to_value(&**event).expect("events have text keys and no failing parts")
}

/// The events that a watcher receives.
struct EventFilter {
    of: WatchedDocuments,
    /// Up to which event each document was shown as it is.
    shown: BTreeMap<(String, String), u64>,
}

enum WatchedDocuments {
    All,
    One { name: String, owner: Option<String> },
}

impl EventFilter {
    /// Reads `name` or `peer/name`; refuses a document that is unknown or ambiguous.
    async fn new(doc: Option<&str>, client: &NodeClient) -> Result<Self, AskError> {
        let of = match doc {
            None => WatchedDocuments::All,
            Some(doc) => {
                client.command(Query::Get { doc: doc.to_owned(), key: None }).await?;
                match doc.rsplit_once('/') {
                    None => {
                        WatchedDocuments::One { name: doc.to_owned(), owner: own_or_only(doc, client).await? }
                    }
                    Some((peer, name)) => {
                        let owner = owner_called(peer, name, client).await?;
                        WatchedDocuments::One { name: name.to_owned(), owner }
                    }
                }
            }
        };
        Ok(EventFilter { of, shown: BTreeMap::new() })
    }

    fn is_of(&self, of_owner: &str, called: &str) -> bool {
        match &self.of {
            WatchedDocuments::All => true,
            WatchedDocuments::One { name, owner } => {
                called == name && owner.as_ref().is_none_or(|owner| owner == of_owner)
            }
        }
    }

    fn passes(&self, event: &StampedEvent) -> bool {
        match &event.event {
            Event::Changed(ChangedView { owner, name, .. }) | Event::Ended(EndedView { owner, name, .. }) => {
                let shown = self.shown.get(&(owner.clone(), name.clone()));
                self.is_of(owner, name) && shown.is_none_or(|shown| event.id.number > *shown)
            }
            Event::PeersChanged
            | Event::JoiningChanged { .. }
            | Event::Link(_)
            | Event::Alarm(_)
            | Event::Deploy(_)
            | Event::Presence(_) => matches!(self.of, WatchedDocuments::All),
        }
    }
}

/// The owner of the document that a bare name reads: this node, or the one peer that has it.
async fn own_or_only(name: &str, client: &NodeClient) -> Result<Option<String>, AskError> {
    let (Reply::Id(id), Reply::Documents(documents)) =
        (client.command(Query::Id).await?, client.command(Query::List).await?)
    else {
        return Ok(None);
    };
    let owners: Vec<String> = documents.into_iter().filter(|d| d.name == name).map(|d| d.owner).collect();
    Ok(owners.iter().find(|owner| **owner == id.did).or(owners.first()).cloned())
}

/// The DID of the owner that a text names: this node by name or DID; a peer by DID, name or prefix. The node has found
/// one document by the text, so only owners of a document of that name count. If several are left, the name is
/// ambiguous.
async fn owner_called(text: &str, name: &str, client: &NodeClient) -> Result<Option<String>, AskError> {
    let (Reply::Id(id), Reply::Peers(peers), Reply::Documents(documents)) = (
        client.command(Query::Id).await?,
        client.command(Query::Peers).await?,
        client.command(Query::List).await?,
    ) else {
        return Ok(None);
    };
    if id.name == text || id.did == text {
        return Ok(Some(id.did));
    }
    let owners: Vec<&str> = documents.iter().filter(|d| d.name == name).map(|d| d.owner.as_str()).collect();
    let peers: Vec<_> = peers.iter().filter(|peer| owners.contains(&peer.did.as_str())).collect();
    let short = text.strip_prefix("did:key:").unwrap_or(text);
    let starts = |did: &str| did.strip_prefix("did:key:").is_some_and(|key| key.starts_with(short));
    let mut found: Vec<&str> =
        peers.iter().map(|peer| peer.did.as_str()).filter(|did| *did == text).collect();
    if found.is_empty() {
        found.extend(peers.iter().filter(|p| p.name.as_deref() == Some(text)).map(|p| p.did.as_str()));
    }
    if found.is_empty() {
        found.extend(peers.iter().map(|peer| peer.did.as_str()).filter(|did| starts(did)));
    }
    match found.as_slice() {
        [one] => Ok(Some((*one).to_owned())),
        several => {
            let choices = several.iter().map(|did| format!("{did}/{name}")).collect();
            let name = format!("{text}/{name}");
            Err(AskError::Refused(CommandError::AmbiguousDocument { name, choices }))
        }
    }
}

/// A body of lines that are sent as they come.
struct LineBody(mpsc::Receiver<Bytes>);

impl Body for LineBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(task).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
