//! The paths of the local interface (`API.md`), in both directions: the server reads a request into a command, the client
//! writes a command as a request. Both stand in this file, and a test checks that they agree. Bodies are in `bodies`.

mod bodies;
mod query;

use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use bodies::{
    AddressesBody, CreateBody, DeployBody, DeployVia, InviteBody, JoinBody, LevelBody, NameBody, PolicyBody,
    ReadBundleBody, RevokeBody, SettleBody, WriteBundleBody,
};

use query::{UrlQuery, decode, encode};

use crate::commands::COMMAND_LIFE_DEFAULT;
use crate::config::TimeSpan;
use crate::federation::TrustLevel;
use crate::io::FederationRecords;
use crate::layer::KeyPath;
use crate::node::{Admin, Command, CommandError, Query, Reply, Write};
use crate::runtime::journal::EventId;
use crate::time::Millis;

/// The default lifetime of an invite: a day.
pub const INVITE_LIFE_DEFAULT: Millis = Millis::from_secs(24 * 60 * 60);

/// What a request of the interface asks for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one is made for each request, and moved once")]
#[non_exhaustive]
pub enum ApiRequest {
    /// A command; its reply is the answer.
    Command(Command),
    /// Changes as they happen, of one document or of all.
    Watch(WatchRequest),
    /// Whether a peer is well, as a status code for uptime monitors.
    Health(String),
    /// The description of the interface for programs.
    Description,
}

/// What a watcher asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// One document; none: all that happens.
    pub doc: Option<String>,
    /// Go on behind this event.
    pub since: Option<EventId>,
    /// Begin with what is there; also where it cannot go on behind `since`.
    pub snapshot: bool,
}

/// Why a request is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The interface has no such path.
    #[error("there is no {0}: the paths stand in src/api/API.md")]
    NotFound(String),
    /// The path takes other methods.
    #[error("{path} does not know {method}")]
    Method {
        /// The path of the request.
        path: String,
        /// The method of the request.
        method: String,
    },
    /// The body is not what the path takes.
    #[error("the body is not the JSON that is wanted here: {0}")]
    Body(String),
    /// The body is JSON that a document cannot keep, or too much of it.
    #[error("{0}")]
    Value(String),
    /// The path or the query is not well-formed.
    #[error("{0}")]
    Query(String),
}

impl RouteError {
    /// The error's stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            RouteError::NotFound(_) => "not_found",
            RouteError::Method { .. } => "method_not_allowed",
            RouteError::Body(_) => "bad_json",
            RouteError::Value(_) => "bad_value",
            RouteError::Query(_) => "bad_request",
        }
    }

    /// The HTTP status of the error.
    pub fn status(&self) -> StatusCode {
        match self {
            RouteError::NotFound(_) => StatusCode::NOT_FOUND,
            RouteError::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            RouteError::Body(_) | RouteError::Value(_) | RouteError::Query(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The HTTP status of a command's refusal.
pub fn status_of(error: &CommandError) -> StatusCode {
    match error {
        CommandError::UnknownPeer(_)
        | CommandError::UnknownDocument(_)
        | CommandError::UnknownKey { .. }
        | CommandError::NoOnion(_)
        | CommandError::NoState(_)
        | CommandError::UnknownDecision(_)
        | CommandError::UnknownInvite(_)
        | CommandError::UnknownDeploy(_)
        | CommandError::UnknownAlarm(_)
        | CommandError::UnknownWatch(_) => StatusCode::NOT_FOUND,
        CommandError::AmbiguousPeer { .. }
        | CommandError::AmbiguousDocument { .. }
        | CommandError::DocumentExists(_)
        | CommandError::PeersDocument { .. }
        | CommandError::WatchInSettings(_)
        | CommandError::Changing(_)
        | CommandError::AlreadyPeer(_) => StatusCode::CONFLICT,
        CommandError::ReadOnly { .. }
        | CommandError::JoinRefused { .. }
        | CommandError::CallRefused { .. }
        | CommandError::Untrusted(_)
        | CommandError::NotTrusted(_)
        | CommandError::Revoked(_)
        | CommandError::NotInOwnCatalogue { .. } => StatusCode::FORBIDDEN,
        CommandError::CallFailed { .. } | CommandError::BadCallAnswer { .. } => StatusCode::BAD_GATEWAY,
        CommandError::Stale { .. } => StatusCode::PRECONDITION_FAILED,
        CommandError::Limit(_) => StatusCode::PAYLOAD_TOO_LARGE,
        CommandError::Stopped(_) | CommandError::Unconfirmed => StatusCode::SERVICE_UNAVAILABLE,
        CommandError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Reads a request.
///
/// # Errors
///
/// [`RouteError`] if the path does not exist, does not take the method, or the query or body is not valid.
pub fn read(method: &Method, path: &str, query: Option<&str>, body: &[u8]) -> Result<ApiRequest, RouteError> {
    let rest = path.strip_prefix("/v1/").ok_or_else(|| RouteError::NotFound(path.to_owned()))?;
    let (room, name) = rest.split_once('/').map_or((rest, None), |(room, name)| (room, Some(name)));
    let query = UrlQuery::read(query)?;
    // A setting of a peer has a path of its own: `/v1/peers/PEER/trust`.
    let (name, act) = match name {
        Some(name) if room == "peers" => match name.rsplit_once('/') {
            Some((peer, act)) => (Some(peer), Some(act)),
            None => (Some(name), None),
        },
        name => (name, None),
    };
    let name = name.map(decode).transpose()?;
    let names = query.names.clone();
    let request = route(RawRequest { method, path, query, body }, room, name, act)?;
    match names.iter().find(|name| !takes(method, path, room, name)) {
        Some(name) => {
            Err(RouteError::Query(format!("`{name}` means nothing to {method} {path}: leave it out")))
        }
        None => Ok(request),
    }
}

/// Whether a query of that name means something to a request. Any other is refused: a condition that is not read is not kept.
fn takes(method: &Method, path: &str, room: &str, name: &str) -> bool {
    match (room, method) {
        ("docs", &Method::GET) => ["key", "versioned"].contains(&name),
        ("docs", &Method::PUT) => ["key", "base", "whole"].contains(&name),
        ("docs", &Method::DELETE) => ["key", "base", "undo"].contains(&name),
        ("conflicts", &Method::GET) => name == "doc",
        ("state", &Method::GET) => name == "via" && path != "/v1/state",
        ("watch", &Method::GET) => ["doc", "since", "snapshot"].contains(&name),
        _ => false,
    }
}

fn route(
    request: RawRequest<'_>,
    room: &str,
    name: Option<String>,
    act: Option<&str>,
) -> Result<ApiRequest, RouteError> {
    let RawRequest { method, body, .. } = request;
    match (room, name, act) {
        ("id", None, None) => request.get(Query::Id),
        ("status", None, None) => request.get(Query::Status),
        ("openapi.json", None, None) => request.get(Query::Id).map(|_| ApiRequest::Description),
        ("conflicts", None, None) if method == Method::POST => {
            let SettleBody { doc, key, take } = json(body)?;
            let key = KeyPath::parse(&key).map_err(|e| RouteError::Query(format!("`key`: {e}")))?;
            command(Write::Settle { doc, key, take })
        }
        ("conflicts", None, None) => request.get(Query::Conflicts { doc: request.query.doc.clone() }),
        ("state", Some(peer), None) if request.query.via_rpc => request.get(Admin::FetchState { peer }),
        ("state", peer, None) => request.get(Query::State { peer }),
        ("watch", None, None) => {
            request.get(Query::Id)?;
            let UrlQuery { doc, since, snapshot, .. } = request.query;
            Ok(ApiRequest::Watch(WatchRequest { doc, since, snapshot }))
        }
        ("log", None, None) => request.get(Query::Log),
        ("links", None, None) => request.get(Query::Links),
        ("airtime", None, None) => request.get(Query::Airtime),
        ("layers", None, None) => request.get(Query::Layers),
        ("hearing", None, None) => request.get(Query::Hearing),
        ("alarms" | "watches", name, None) => request.watching(room, name),
        ("why", about, None) => request.get(Query::Why { about }),
        ("routes", None, None) if method == Method::PUT => command(Admin::Route(json(body)?)),
        ("routes", None, None) => request.get(Query::Routes),
        ("deploys", None, None) if method == Method::POST => command(deploy(json(body)?)?),
        ("revocations", None, None) if method == Method::POST => command(match json(body)? {
            RevokeBody { peer: Some(peer), notice: None } => Admin::Revoke { peer },
            RevokeBody { peer: None, notice: Some(notice) } => Admin::RevokeOwn { notice },
            _ => return Err(RouteError::Body("it has either `peer` or `notice`".to_owned())),
        }),
        ("revocations", None, None) => request.get(Query::Revocations),
        ("bundles", name, None) => request.bundle(name.as_deref()),
        ("deploys", id, None) => request.get(Query::Deploys { id }),
        ("policies", Some(doc), None) => request.policy(doc),
        ("peers", None, None) => request.get(Query::Peers),
        ("peers", Some(peer), act) => request.peer(peer, act),
        ("invites", None, None) if method == Method::GET => request.get(Query::Invites),
        ("invites", Some(id), None) if method == Method::DELETE => command(Admin::WithdrawInvite { id }),
        ("invites", Some(_), None) => Err(request.unknown_method()),
        ("invites" | "join" | "adopt", None, None) => request.federate(room),
        ("docs", None, None) if method == Method::POST => {
            let CreateBody { name, kind } = json(body)?;
            command(Write::Create { name, kind })
        }
        ("docs", None, None) => request.get(Query::List),
        ("docs", Some(doc), None) => request.document(doc),
        _ => Err(request.not_found()),
    }
}

/// The methods that a path takes, for `Allow`: those that are not refused as such.
pub(super) fn allowed(path: &str, query: Option<&str>) -> Vec<Method> {
    let takes = |method: &Method| {
        !matches!(read(method, path, query, b""), Err(RouteError::Method { .. } | RouteError::NotFound(_)))
    };
    let methods = [Method::GET, Method::PUT, Method::POST, Method::DELETE].into_iter().filter(takes);
    methods
        .flat_map(|method| if method == Method::GET { vec![method, Method::HEAD] } else { vec![method] })
        .collect()
}

/// A request whose path is parted already.
struct RawRequest<'a> {
    method: &'a Method,
    path: &'a str,
    query: UrlQuery,
    body: &'a [u8],
}

impl RawRequest<'_> {
    fn not_found(&self) -> RouteError {
        RouteError::NotFound(self.path.to_owned())
    }

    fn unknown_method(&self) -> RouteError {
        RouteError::Method { path: self.path.to_owned(), method: self.method.to_string() }
    }

    fn get(&self, of: impl Into<Command>) -> Result<ApiRequest, RouteError> {
        if self.method == Method::GET { command(of) } else { Err(self.unknown_method()) }
    }

    /// Alarms, `PUT /v1/alarms/ID/ack`, and watches.
    fn watching(&self, room: &str, name: Option<String>) -> Result<ApiRequest, RouteError> {
        match (room, self.method, name) {
            ("alarms", _, None) => self.get(Query::Alarms),
            ("alarms", method, Some(alarm)) => {
                let id = alarm.strip_suffix("/ack").ok_or_else(|| self.not_found())?.to_owned();
                match *method == Method::PUT {
                    true => command(Admin::AcknowledgeAlarm { id }),
                    false => Err(self.unknown_method()),
                }
            }
            (_, &Method::POST, None) => command(Admin::WatchFor(json(self.body)?)),
            (_, _, None) => self.get(Query::Watches),
            (_, &Method::DELETE, Some(id)) => command(Admin::Unwatch { id }),
            (_, _, Some(_)) => Err(self.unknown_method()),
        }
    }

    /// `POST /v1/bundles` writes one, `POST /v1/bundles/read` reads one.
    fn bundle(&self, act: Option<&str>) -> Result<ApiRequest, RouteError> {
        match (act, self.method) {
            (None, &Method::POST) => {
                command(Admin::WriteBundle { peers: json::<WriteBundleBody>(self.body)?.peers })
            }
            (Some("read"), &Method::POST) => {
                command(Admin::ReadBundle { bundle: json::<ReadBundleBody>(self.body)?.bundle })
            }
            (None | Some("read"), _) => Err(self.unknown_method()),
            (Some(_), _) => Err(self.not_found()),
        }
    }

    fn policy(self, doc: String) -> Result<ApiRequest, RouteError> {
        if self.method != Method::PUT {
            return Err(self.unknown_method());
        }
        let PolicyBody { radio, confidential } = json(self.body)?;
        command(Admin::Policy { doc, radio, confidential })
    }

    fn peer(self, peer: String, act: Option<&str>) -> Result<ApiRequest, RouteError> {
        match (self.method, act) {
            (&Method::DELETE, None) => command(Admin::Remove { peer }),
            (&Method::POST, Some("ping")) => command(Query::Ping { peer }),
            (&Method::PUT, Some("trust")) => {
                command(Admin::Trust { peer, level: json::<LevelBody>(self.body)?.level })
            }
            (&Method::PUT, Some("name")) => {
                command(Admin::Rename { peer, name: json::<NameBody>(self.body)?.name })
            }
            (&Method::PUT, Some("addresses")) => {
                command(Admin::Dial { peer, addresses: json::<AddressesBody>(self.body)?.addresses })
            }
            (&Method::GET, Some("health")) => Ok(ApiRequest::Health(peer)),
            (_, None | Some("trust" | "name" | "addresses" | "ping" | "health")) => {
                Err(self.unknown_method())
            }
            _ => Err(self.not_found()),
        }
    }

    fn federate(self, room: &str) -> Result<ApiRequest, RouteError> {
        if self.method != Method::POST {
            return Err(self.unknown_method());
        }
        if room == "invites" {
            return command(invite(json(self.body)?)?);
        }
        if room == "adopt" {
            return command(Admin::Adopt(json::<FederationRecords>(self.body)?));
        }
        let JoinBody { code, addresses } = json(self.body)?;
        command(Admin::Join { code, addresses })
    }

    fn document(self, doc: String) -> Result<ApiRequest, RouteError> {
        let base = self.query.base;
        let on_base = |write: Write| match base {
            Some(base) => command(Write::OnBase { base, write: Box::new(write) }),
            None => command(write),
        };
        match (self.method, self.query.key) {
            (&Method::GET, None) if self.query.versioned => command(Query::Document { doc }),
            (&Method::GET, key) => command(Query::Get { doc, key }),
            (&Method::PUT, Some(_)) if self.query.whole => Err(RouteError::Query(
                "`whole` is of a whole document: leave `key` out, or `whole`".to_owned(),
            )),
            (&Method::PUT, Some(key)) => on_base(Write::Set { doc, key, value: json(self.body)? }),
            (&Method::PUT, None) => {
                on_base(Write::Put { doc, value: json(self.body)?, whole: self.query.whole })
            }
            (&Method::DELETE, Some(_)) if self.query.undo => {
                Err(RouteError::Query("`undo` takes a whole document again: leave `key` out".to_owned()))
            }
            (&Method::DELETE, Some(key)) => on_base(Write::Del { doc, key }),
            (&Method::DELETE, None) => on_base(Write::Delete { doc, undo: self.query.undo }),
            _ => Err(RouteError::Method { path: self.path.to_owned(), method: self.method.to_string() }),
        }
    }
}

fn command(command: impl Into<Command>) -> Result<ApiRequest, RouteError> {
    Ok(ApiRequest::Command(command.into()))
}

/// A request as it is written: method, path with query, body.
pub type WrittenRequest = (Method, String, Vec<u8>);

/// Writes a command as a request. `None` for a command that only the node's own process sends.
pub fn write(command: &Command) -> Option<WrittenRequest> {
    match command {
        Command::Query(query) => Some(write_query(query)),
        Command::Admin(admin) => Some(write_admin(admin)),
        Command::Write(write) => write_write(write),
    }
}

fn write_query(query: &Query) -> WrittenRequest {
    let target = match query {
        Query::Ping { peer } => {
            return (Method::POST, format!("/v1/peers/{}/ping", encode(peer)), Vec::new());
        }
        Query::Id => "/v1/id".to_owned(),
        Query::Status => "/v1/status".to_owned(),
        Query::Log => "/v1/log".to_owned(),
        Query::Links => "/v1/links".to_owned(),
        Query::Airtime => "/v1/airtime".to_owned(),
        Query::Layers => "/v1/layers".to_owned(),
        Query::Hearing => "/v1/hearing".to_owned(),
        Query::Why { about: None } => "/v1/why".to_owned(),
        Query::Why { about: Some(about) } => format!("/v1/why/{}", encode(about)),
        Query::Routes => "/v1/routes".to_owned(),
        Query::Revocations => "/v1/revocations".to_owned(),
        Query::Alarms => "/v1/alarms".to_owned(),
        Query::Watches => "/v1/watches".to_owned(),
        Query::Deploys { id: None } => "/v1/deploys".to_owned(),
        Query::Deploys { id: Some(id) } => format!("/v1/deploys/{}", encode(id)),
        Query::Peers => "/v1/peers".to_owned(),
        Query::Invites => "/v1/invites".to_owned(),
        Query::List => "/v1/docs".to_owned(),
        Query::State { peer: None } => "/v1/state".to_owned(),
        Query::State { peer: Some(peer) } => format!("/v1/state/{}", encode(peer)),
        Query::Document { doc } => format!("{}?versioned=true", doc_path(doc)),
        Query::Conflicts { doc: None } => "/v1/conflicts".to_owned(),
        Query::Conflicts { doc: Some(doc) } => format!("/v1/conflicts?doc={}", encode(doc)),
        Query::Get { doc, key: None } => doc_path(doc),
        Query::Get { doc, key: Some(key) } => key_path(doc, key),
    };
    (Method::GET, target, Vec::new())
}

fn write_admin(admin: &Admin) -> WrittenRequest {
    let peer_path = |peer: &str, act: &str| format!("/v1/peers/{}{act}", encode(peer));
    match admin {
        Admin::FetchState { peer } => {
            (Method::GET, format!("/v1/state/{}?via=rpc", encode(peer)), Vec::new())
        }
        Admin::Remove { peer } => (Method::DELETE, peer_path(peer, ""), Vec::new()),
        Admin::Trust { peer, level } => put(peer_path(peer, "/trust"), &LevelBody { level: *level }),
        Admin::Rename { peer, name } => put(peer_path(peer, "/name"), &NameBody { name: name.clone() }),
        Admin::Dial { peer, addresses } => {
            put(peer_path(peer, "/addresses"), &AddressesBody { addresses: addresses.clone() })
        }
        Admin::Policy { doc, radio, confidential } => {
            let body = PolicyBody { radio: *radio, confidential: *confidential };
            put(format!("/v1/policies/{}", encode(doc)), &body)
        }
        Admin::Invite { level, expires_in, addresses } => {
            let (level, expires_ms) = (Some(*level), Some(expires_in.ms()));
            let body = InviteBody { level, expires: None, expires_ms, addresses: addresses.clone() };
            post("/v1/invites", &body)
        }
        Admin::WithdrawInvite { id } => (Method::DELETE, format!("/v1/invites/{}", encode(id)), Vec::new()),
        Admin::Revoke { peer } => {
            post("/v1/revocations", &RevokeBody { peer: Some(peer.clone()), notice: None })
        }
        Admin::RevokeOwn { notice } => {
            post("/v1/revocations", &RevokeBody { peer: None, notice: Some(notice.clone()) })
        }
        Admin::Deploy { peer, app, version, marketplace_url, expires_in } => {
            let body = DeployBody {
                peer: peer.clone(),
                app: app.clone(),
                version: version.clone(),
                marketplace_url: marketplace_url.clone(),
                expires: None,
                expires_ms: Some(expires_in.ms()),
                via: None,
            };
            post("/v1/deploys", &body)
        }
        Admin::DeployByCall { peer, app, version, marketplace_url } => {
            let body = DeployBody {
                peer: peer.clone(),
                app: app.clone(),
                version: version.clone(),
                marketplace_url: marketplace_url.clone(),
                expires: None,
                expires_ms: None,
                via: Some(DeployVia::Rpc),
            };
            post("/v1/deploys", &body)
        }
        Admin::WatchFor(rule) => post("/v1/watches", rule),
        Admin::Unwatch { id } => (Method::DELETE, format!("/v1/watches/{}", encode(id)), Vec::new()),
        Admin::AcknowledgeAlarm { id } => (Method::PUT, format!("/v1/alarms/{}/ack", encode(id)), Vec::new()),
        Admin::Join { code, addresses } => {
            post("/v1/join", &JoinBody { code: code.clone(), addresses: addresses.clone() })
        }
        Admin::WriteBundle { peers } => post("/v1/bundles", &WriteBundleBody { peers: peers.clone() }),
        Admin::ReadBundle { bundle } => post("/v1/bundles/read", &ReadBundleBody { bundle: bundle.clone() }),
        Admin::Adopt(records) => post("/v1/adopt", records),
        Admin::Route(order) => put("/v1/routes".to_owned(), order),
    }
}

fn write_write(write: &Write) -> Option<WrittenRequest> {
    Some(match write {
        Write::Del { doc, key } => (Method::DELETE, key_path(doc, key), Vec::new()),
        Write::Delete { doc, undo } => {
            let query = if *undo { "?undo=true" } else { "" };
            (Method::DELETE, format!("{}{query}", doc_path(doc)), Vec::new())
        }
        Write::Set { doc, key, value } => put(key_path(doc, key), value),
        Write::Put { doc, value, whole } => {
            let query = if *whole { "?whole=true" } else { "" };
            put(format!("{}{query}", doc_path(doc)), value)
        }
        Write::OnBase { base, write } => {
            let (method, target, body) = write_write(write)?;
            let sign = if target.contains('?') { '&' } else { '?' };
            (method, format!("{target}{sign}base={}", encode(base)), body)
        }
        Write::Settle { doc, key, take } => {
            let body = SettleBody { doc: doc.clone(), key: key.to_string(), take: take.clone() };
            post("/v1/conflicts", &body)
        }
        Write::Create { name, kind } => post("/v1/docs", &CreateBody { name: name.clone(), kind: *kind }),
        Write::PublishState { .. } => return None,
    })
}

fn doc_path(doc: &str) -> String {
    format!("/v1/docs/{}", encode(doc))
}

fn key_path(doc: &str, key: &KeyPath) -> String {
    format!("{}?key={}", doc_path(doc), encode(&key.to_string()))
}

fn put<T: Serialize>(target: String, body: &T) -> WrittenRequest {
    (Method::PUT, target, bytes(body))
}

fn post<T: Serialize>(target: &str, body: &T) -> WrittenRequest {
    (Method::POST, target.to_owned(), bytes(body))
}

/// The path at which the thing of a reply is read, where it has one of its own.
pub(super) fn place_of(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Written(written) => Some(format!("/v1/docs/{}", encode(&written.document))),
        Reply::Deploy(deploy) => Some(format!("/v1/deploys/{}", encode(&deploy.id))),
        _ => None,
    }
}

/// The path and query that watch one document or all.
pub fn write_watch(request: &WatchRequest) -> String {
    let WatchRequest { doc, since, snapshot } = request;
    let fields = [
        doc.as_ref().map(|doc| format!("doc={}", encode(doc))),
        since.map(|since| format!("since={since}")),
        snapshot.then(|| "snapshot=true".to_owned()),
    ];
    let fields: Vec<String> = fields.into_iter().flatten().collect();
    match fields.is_empty() {
        true => "/v1/watch".to_owned(),
        false => format!("/v1/watch?{}", fields.join("&")),
    }
}

/// A span of time in a body, in milliseconds.
fn span(text: &str) -> Result<u64, RouteError> {
    let TimeSpan(span) = text.parse().map_err(|e| RouteError::Query(format!("`expires`: {e}")))?;
    Ok(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn deploy(body: DeployBody) -> Result<Admin, RouteError> {
    let expires = body.expires.as_deref().map(span).transpose()?;
    let DeployBody { peer, app, version, marketplace_url, .. } = body;
    if let Some(DeployVia::Rpc) = body.via {
        if body.expires_ms.or(expires).is_some() {
            let why = "`expires`: a call is made now or not at all; leave it out with `via`";
            return Err(RouteError::Query(why.to_owned()));
        }
        return Ok(Admin::DeployByCall { peer, app, version, marketplace_url });
    }
    Ok(Admin::Deploy {
        peer,
        app,
        version,
        marketplace_url,
        expires_in: body.expires_ms.or(expires).map_or(COMMAND_LIFE_DEFAULT, Millis::from_ms),
    })
}

fn invite(body: InviteBody) -> Result<Admin, RouteError> {
    let expires = body.expires.as_deref().map(span).transpose()?;
    Ok(Admin::Invite {
        level: body.level.unwrap_or(TrustLevel::Trusted),
        expires_in: body.expires_ms.or(expires).map_or(INVITE_LIFE_DEFAULT, Millis::from_ms),
        addresses: body.addresses,
    })
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, RouteError> {
    let body = body.strip_prefix(super::json::BOM).unwrap_or(body);
    super::json::check(body).map_err(|e| RouteError::Value(e.to_string()))?;
    serde_json::from_slice(&super::json::with_whole_zeros(body)).map_err(|e| RouteError::Body(e.to_string()))
}

fn bytes<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("bodies have text keys and no failing parts")
}

#[cfg(test)]
mod tests;
