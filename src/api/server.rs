//! The local interface: HTTP on `control.sock` in the node's folder, described in `API.md`.
//!
//! Any process that can open the socket may use all of the interface, so the mode of the socket is 0600, and that of a
//! new folder 0700.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::accept::{ServingLimits, serve_all};
use super::health;
use super::routes::{self, ApiRequest, RouteError};
use super::socket::LastingSocket;
use crate::folder::socket::SOCKET_FILE;
use crate::io::view::{ChangedView, EndedView};
use crate::node::{Command, CommandError, Event, Query, Reply, Write};
use crate::runtime::{AskError, NodeClient};

/// Bytes of a request's body; a longer one is refused (`413`).
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Connections at once, watchers included. A further one waits until one closes.
pub const CONNECTIONS_MAX: usize = 128;
/// Watchers at once; a further one is refused (`503`), so that they never take all connections.
pub const WATCHERS_MAX: usize = 64;
/// Lines that wait for a slow watcher before events are left out for it.
pub const WATCH_LINES_MAX: usize = 64;
/// How long a client may take over its request line and headers.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The kind of a body of lines.
const NDJSON: &str = "application/x-ndjson";

/// An answer of the interface.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The local interface of a running node. Dropped, it aborts requests in progress.
pub(crate) struct LocalServer {
    path: PathBuf,
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl LocalServer {
    /// Listens in `folder`. The caller holds the store, so a socket that is there is a stale one. Where the disk takes no writes,
    /// it listens as soon as it does.
    pub(crate) fn start(folder: &Path, client: NodeClient) -> io::Result<Self> {
        let path = folder.join(SOCKET_FILE);
        let listener = LastingSocket::bind(path.clone())?;
        let (stop, stopped) = watch::channel(false);
        let mut accepting = JoinSet::new();
        let context = ServerContext::new(client, stopped.clone());
        let limits = ServingLimits { name: SOCKET_FILE, connections_max: CONNECTIONS_MAX };
        accepting.spawn(serve_all(limits, listener, stopped, move |stream| serve(stream, context.clone())));
        Ok(LocalServer { path, stop, accepting })
    }

    /// The path of its socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts no more requests and lets those in progress finish.
    pub(crate) async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let _ = std::fs::remove_file(&self.path);
        let _ = self.accepting.join_next().await;
        // It may have been made again in the moment before.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the handling of a request needs.
#[derive(Clone)]
pub(crate) struct ServerContext {
    client: NodeClient,
    watchers: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl ServerContext {
    /// The context of a server that ends when `stopped` changes.
    pub(crate) fn new(client: NodeClient, stopped: watch::Receiver<bool>) -> Self {
        ServerContext { client, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)), stopped }
    }
}

async fn serve(stream: UnixStream, context: ServerContext) {
    let mut stopped = context.stopped.clone();
    let handler = service_fn(move |request| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(answer(request, context).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("control.sock: {error}");
    }
}

/// Answers a request of `/v1`, whichever server took it. `HEAD` is `GET` without the body.
pub(crate) async fn answer<B>(request: Request<B>, context: ServerContext) -> Answer
where
    B: Body,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    if is_head {
        head.method = Method::GET;
    }
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("a body has at most {BODY_BYTES_MAX} bytes");
            return failure(StatusCode::PAYLOAD_TOO_LARGE, "too_long", &message);
        }
        Err(error) => return failure(StatusCode::BAD_REQUEST, "bad_request", &error.to_string()),
    };
    let answer = match routes::read(&head.method, head.uri.path(), head.uri.query(), &body) {
        Err(error) => refused_route(&error, &head),
        // A stream has no end that its head could name.
        Ok(ApiRequest::Watch(_)) if is_head => {
            respond(StatusCode::OK, NDJSON, Full::default().boxed_unsync())
        }
        Ok(ApiRequest::Watch(doc)) => watch_answer(doc, context).await,
        Ok(ApiRequest::Health(peer)) => match health::of(&peer, &context.client).await {
            Ok((status, json)) => whole(status, json.to_string().into_bytes()),
            Err(error) => refusal(&error),
        },
        Ok(ApiRequest::Command(command)) => command_answer(command, &head, &context.client).await,
    };
    if is_head { without_body(answer) } else { answer }
}

async fn command_answer(command: Command, head: &Parts, client: &NodeClient) -> Answer {
    let (command, shape) = with_headers(command, &head.headers);
    match client.command(command).await {
        Ok(reply) if head.method == Method::GET => unless_held(tagged(&reply, shape), &head.headers).await,
        Ok(reply) => tagged(&reply, shape),
        Err(error) => refusal(&error),
    }
}

/// A request that no path takes; where only the method is wrong, with those that are right.
fn refused_route(error: &RouteError, head: &Parts) -> Answer {
    let mut answer = failure(error.status(), error.code(), &error.to_string());
    if let RouteError::Method { .. } = error {
        let methods = routes::allowed(head.uri.path(), head.uri.query());
        let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        let value = HeaderValue::from_str(&methods.join(", ")).expect("methods are words");
        answer.headers_mut().insert(ALLOW, value);
    }
    answer
}

/// An answer with an `ETag`, the hash of its body where it has no version; without a body where the client holds that one already.
async fn unless_held(answer: Answer, headers: &HeaderMap) -> Answer {
    let (mut head, body) = answer.into_parts();
    let body =
        body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_else(|never| match never {});
    let tag = head.headers.entry(ETAG).or_insert_with(|| {
        let hash = blake3::hash(&body).to_hex();
        let tag = format!("\"{}\"", hash.get(..32).unwrap_or(&hash));
        HeaderValue::from_str(&tag).expect("a hash in quotes is plain")
    });
    let held = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_held = held.split(',').any(|one| one.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes());
    if is_held && head.status == StatusCode::OK {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(CONTENT_TYPE);
        return Response::from_parts(head, Full::default().boxed_unsync());
    }
    Response::from_parts(head, Full::new(body).boxed_unsync())
}

fn without_body(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Full::default().boxed_unsync())
}

/// How a document is answered.
#[derive(Clone, Copy)]
enum BodyShape {
    /// As it is, with its version in `ETag`.
    Bare,
    /// As the reply is.
    Reply,
}

/// What HTTP asks for besides: a whole document has its version, and `If-Match` makes a write one for that version alone.
fn with_headers(command: Command, headers: &HeaderMap) -> (Command, BodyShape) {
    let wanted = headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
    let wanted =
        wanted.map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"')).filter(|tag| *tag != "*");
    match (command, wanted) {
        (Command::Query(Query::Get { doc, key: None }), _) => {
            (Query::Document { doc }.into(), BodyShape::Bare)
        }
        (Command::Write(write @ (Write::Set { .. } | Write::Del { .. } | Write::Put { .. })), Some(tag)) => {
            (Write::OnBase { base: tag.to_owned(), write: Box::new(write) }.into(), BodyShape::Reply)
        }
        (command, _) => (command, BodyShape::Reply),
    }
}

fn tagged(reply: &Reply, shape: BodyShape) -> Answer {
    let Reply::Document(document) = reply else { return success(reply) };
    let mut answer = match shape {
        BodyShape::Bare => success(&document.value),
        BodyShape::Reply => success(reply),
    };
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", document.version)) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

fn success(reply: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(reply) {
        Ok(json) => whole(StatusCode::OK, json),
        Err(error) => {
            let message = format!("this content cannot be written as JSON: {error}");
            failure(StatusCode::INTERNAL_SERVER_ERROR, "not_json", &message)
        }
    }
}

fn refusal(error: &AskError) -> Answer {
    match error {
        AskError::Refused(error) => failure(routes::status_of(error), error.code(), &error.to_string()),
        AskError::Gone(error) => failure(StatusCode::SERVICE_UNAVAILABLE, "gone", &error.to_string()),
    }
}

fn failure(status: StatusCode, code: &str, message: &str) -> Answer {
    whole(status, error_json(code, message).into_bytes())
}

/// An error as the interface and `--json` write it: `{"error":{"code":…,"message":…}}`.
pub fn error_json(code: &str, message: &str) -> String {
    serde_json::json!({ "error": { "code": code, "message": message } }).to_string()
}

fn whole(status: StatusCode, mut json: Vec<u8>) -> Answer {
    json.push(b'\n');
    respond(status, "application/json", Full::new(Bytes::from(json)).boxed_unsync())
}

fn respond(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn watch_answer(doc: Option<String>, context: ServerContext) -> Answer {
    let ServerContext { client, watchers, stopped } = context;
    let Ok(place) = watchers.try_acquire_owned() else {
        let message = format!("{WATCHERS_MAX} programs watch already: end one of them first");
        return failure(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", &message);
    };
    let events = client.events();
    let filter = match Filter::new(doc, &client).await {
        Ok(filter) => filter,
        Err(error) => return refusal(&error),
    };
    let (lines, body) = mpsc::channel(WATCH_LINES_MAX);
    tokio::spawn(async move {
        write_lines(events, filter, lines, stopped).await;
        drop(place);
    });
    respond(StatusCode::OK, NDJSON, LineBody(body).boxed_unsync())
}

/// One line per event until the watcher or the node goes.
async fn write_lines(
    mut events: broadcast::Receiver<Event>,
    filter: Filter,
    lines: mpsc::Sender<Bytes>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = stopped.changed() => break,
            () = lines.closed() => break,
        };
        let line = match event {
            Ok(event) if filter.passes(&event) => {
                serde_json::to_string(&event).expect("events have text keys and no failing parts")
            }
            Ok(_) => continue,
            // A watcher that lags learns how much it missed, and can read the documents again.
            Err(broadcast::error::RecvError::Lagged(count)) => {
                serde_json::json!({ "event": "missed", "count": count }).to_string()
            }
            Err(broadcast::error::RecvError::Closed) => break,
        };
        if lines.send(Bytes::from(line + "\n")).await.is_err() {
            break;
        }
    }
}

/// The events that a watcher receives.
enum Filter {
    All,
    Document { name: String, owner: Option<String> },
}

impl Filter {
    /// Reads `name` or `peer/name`; refuses a document that is unknown or ambiguous.
    async fn new(doc: Option<String>, client: &NodeClient) -> Result<Self, AskError> {
        let Some(doc) = doc else { return Ok(Filter::All) };
        client.command(Query::Get { doc: doc.clone(), key: None }).await?;
        match doc.rsplit_once('/') {
            None => Ok(Filter::Document { name: doc, owner: None }),
            Some((peer, name)) => {
                let owner = owner_called(peer, name, client).await?;
                Ok(Filter::Document { name: name.to_owned(), owner })
            }
        }
    }

    fn passes(&self, event: &Event) -> bool {
        match (self, event) {
            (Filter::All, _) => true,
            (
                Filter::Document { name, owner },
                Event::Changed(ChangedView { owner: of, name: called, .. })
                | Event::Ended(EndedView { owner: of, name: called }),
            ) => called == name && owner.as_ref().is_none_or(|owner| owner == of),
            _ => false,
        }
    }
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
