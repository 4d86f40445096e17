//! The local interface: HTTP on `control.sock` in the node's folder, described in `API.md`.
//!
//! Any process that can open the socket may use all of the interface, so the mode of the socket is 0600, and that of a
//! new folder 0700; with a group in section `[socket]` 0660, and the group may enter the folder.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::{AtWork, ClientConnection, ServingLimits, serve_all, serve_connection};
use super::answers::{AnswerBudget, Turn};
use super::body::{self, BodyBudget};
use super::conditions::{self, ConditionedCommand};
use super::description::DESCRIPTION;
use super::routes::{self, ApiRequest, RouteError};
use super::slots::{Slot, Slots};
use super::socket::{LastingSocket, SocketGroup};
use super::{health, watch as watching};
use crate::config::SocketSettings;
use crate::folder::socket::SOCKET_FILE;
use crate::node::{Admin, Command, CommandError, Query, Reply, Write};
use crate::runtime::{AskError, NodeClient};

/// Bytes of a request's body; a longer one is refused (`413`).
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Connections at once, watchers included. For a further one the connection is closed that has waited longest for its client.
pub const CONNECTIONS_MAX: usize = 128;
/// Those that one client has: a process on the socket, a machine over TCP. Of further ones its own give way.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 96;
/// Watchers at once; a further one is refused (`503`), so that they never take all connections.
pub const WATCHERS_MAX: usize = 64;
/// Watchers of one client.
pub const WATCHERS_PER_CLIENT_MAX: usize = 48;
/// Bytes of a body from which on it is read on a thread of its own, so that nothing else waits.
const LARGE_BODY_BYTES: usize = 64 * 1024;

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
    pub(crate) fn start(folder: &Path, settings: &SocketSettings, client: NodeClient) -> io::Result<Self> {
        let path = folder.join(SOCKET_FILE);
        let group = settings.group.as_deref().map(SocketGroup::find).transpose()?;
        let listener = LastingSocket::bind(path.clone(), group)?;
        let (stop, stopped) = watch::channel(false);
        let mut accepting = JoinSet::new();
        let context = ServerContext::new(client, stopped.clone());
        let limits = limits(SOCKET_FILE);
        accepting.spawn(serve_all(limits, listener, stopped, move |stream, connection| {
            serve(stream, context.of(connection))
        }));
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

/// The limits of a server of `/v1`.
pub(crate) fn limits(name: &'static str) -> ServingLimits {
    ServingLimits { name, connections_max: CONNECTIONS_MAX, per_client_max: CONNECTIONS_PER_CLIENT_MAX }
}

/// What the handling of all requests shares.
#[derive(Clone)]
pub(crate) struct ServerContext {
    client: NodeClient,
    watchers: Slots,
    bodies: BodyBudget,
    answers: AnswerBudget,
    stopped: watch::Receiver<bool>,
}

impl ServerContext {
    /// The context of a server that ends when `stopped` changes.
    pub(crate) fn new(client: NodeClient, stopped: watch::Receiver<bool>) -> Self {
        let watchers = Slots::new(WATCHERS_MAX, WATCHERS_PER_CLIENT_MAX);
        let (bodies, answers) = (BodyBudget::default(), AnswerBudget::default());
        ServerContext { client, watchers, bodies, answers, stopped }
    }

    /// The context of one connection.
    pub(crate) fn of(&self, connection: ClientConnection) -> ConnectionContext {
        ConnectionContext { server: self.clone(), connection }
    }
}

/// What the handling of the requests of one connection needs.
#[derive(Clone)]
pub(crate) struct ConnectionContext {
    server: ServerContext,
    connection: ClientConnection,
}

impl ConnectionContext {
    pub(super) fn client(&self) -> &NodeClient {
        &self.server.client
    }

    /// Changes when the server ends.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.server.stopped.clone()
    }

    /// Waits for the turn of the connection's client to have a long answer made.
    pub(super) async fn turn(&self) -> Turn {
        self.server.answers.turn(self.connection.client()).await
    }

    /// Waits until bytes for the client have room; `None`: they find none.
    pub(super) async fn hold(&self, bytes: Bytes) -> Option<Bytes> {
        self.server.answers.hold(bytes, &self.connection).await
    }

    /// A place among the watchers, with the mark that the connection is at work as long as it is held.
    pub(super) fn watcher(&self) -> Option<(Slot, AtWork)> {
        Some((self.server.watchers.take(self.connection.client())?, self.connection.at_work()))
    }
}

async fn serve(stream: UnixStream, context: ConnectionContext) {
    let stopped = context.stopped();
    let handler = service_fn(move |request| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(answer(request, context).await) }
    });
    serve_connection(stream, handler, stopped, "control.sock").await;
}

/// Answers a request of `/v1`, whichever server took it. `HEAD` is `GET` without the body.
pub(crate) async fn answer<B>(request: Request<B>, context: ConnectionContext) -> Answer
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
    let body = match body::read(body, &context.server.bodies).await {
        Ok(body) => body,
        Err(error) => return error.answer(),
    };
    let _at_work = context.connection.at_work();
    let read = match body.bytes.len() < LARGE_BODY_BYTES {
        true => routes::read(&head.method, head.uri.path(), head.uri.query(), &body.bytes),
        false => read_apart(&head, &body.bytes).await,
    };
    drop(body);
    let client = context.client();
    let answer = match read {
        Err(error) => refused_route(&error, &head),
        Ok(ApiRequest::Watch(_)) if is_head => watching::head(&head.headers),
        Ok(ApiRequest::Watch(request)) => watching::answer(request, &head.headers, &context).await,
        Ok(ApiRequest::Health(peer)) => match health::of(&peer, client).await {
            Ok((status, json)) => whole(status, json.to_string().into_bytes()),
            Err(error) => refusal(&error),
        },
        Ok(ApiRequest::Description) => whole(StatusCode::OK, DESCRIPTION.into()),
        Ok(ApiRequest::Command(command)) => {
            let _turn = if may_be_long(&command) { Some(context.turn().await) } else { None };
            let answer = command_answer(command, &head, client).await;
            context.server.answers.hold_answer(answer, &context.connection).await
        }
    };
    if is_head { without_body(answer) } else { answer }
}

/// Reads a long body where it keeps no other request waiting.
async fn read_apart(head: &Parts, body: &[u8]) -> Result<ApiRequest, RouteError> {
    let (method, target, body) = (head.method.clone(), head.uri.clone(), body.to_vec());
    let read = move || routes::read(&method, target.path(), target.query(), &body);
    tokio::task::spawn_blocking(read).await.expect("the reader of requests does not panic")
}

async fn command_answer(command: Command, head: &Parts, client: &NodeClient) -> Answer {
    let creates = creates(&command);
    let ConditionedCommand { command, absent } = match conditions::read(command, &head.method, &head.headers)
    {
        Ok(read) => read,
        Err(error) => return failure(StatusCode::BAD_REQUEST, "bad_request", &error.to_string()),
    };
    if let Some(doc) = absent {
        // A `PUT` makes no document, so none comes between.
        if client.command(Query::Document { doc: doc.clone() }).await.is_ok() {
            let error = CommandError::DocumentExists(doc);
            return failure(StatusCode::PRECONDITION_FAILED, error.code(), &error.to_string());
        }
    }
    let (command, shape) = shaped(command);
    match client.command(command).await {
        Ok(reply) if creates => created(&reply),
        Ok(reply) if head.method == Method::GET => unless_held(tagged(&reply, shape), &head.headers).await,
        Ok(reply) => tagged(&reply, shape),
        Err(error) => refusal(&error),
    }
}

/// Whether the answer may have the size of a document.
fn may_be_long(command: &Command) -> bool {
    matches!(command, Command::Query(Query::Get { .. } | Query::Document { .. } | Query::Conflicts { .. }))
}

/// Whether a command makes something that was not there.
fn creates(command: &Command) -> bool {
    matches!(
        command,
        Command::Write(Write::Create { .. })
            | Command::Admin(
                Admin::Invite { .. }
                    | Admin::WatchFor(_)
                    | Admin::Deploy { .. }
                    | Admin::DeployByCall { .. }
                    | Admin::Revoke { .. }
                    | Admin::RevokeOwn { .. }
            )
    )
}

/// The answer about what was made: 201, with the place where it is read, where it has one of its own.
fn created(reply: &Reply) -> Answer {
    let mut answer = success(reply);
    if answer.status() == StatusCode::OK {
        *answer.status_mut() = StatusCode::CREATED;
        let place = routes::place_of(reply).and_then(|place| HeaderValue::from_str(&place).ok());
        answer.headers_mut().extend(place.map(|place| (LOCATION, place)));
    }
    answer
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

/// A whole document is answered as it is, with its version.
fn shaped(command: Command) -> (Command, BodyShape) {
    match command {
        Command::Query(Query::Get { doc, key: None }) => (Query::Document { doc }.into(), BodyShape::Bare),
        command => (command, BodyShape::Reply),
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

pub(super) fn refusal(error: &AskError) -> Answer {
    match error {
        AskError::Refused(error) => failure(routes::status_of(error), error.code(), &error.to_string()),
        AskError::Gone(error) => failure(StatusCode::SERVICE_UNAVAILABLE, "gone", &error.to_string()),
    }
}

pub(super) fn failure(status: StatusCode, code: &str, message: &str) -> Answer {
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

pub(super) fn respond(
    status: StatusCode,
    kind: &'static str,
    body: UnsyncBoxBody<Bytes, Infallible>,
) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
