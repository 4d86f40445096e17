//! The paths, and which viewer each is for.
//!
//! | path | viewer |
//! |---|---|
//! | `/healthz` | any |
//! | `/`, `/metrics`, `GET /v1/peers/PEER/health` | reader |
//! | `/act/…` | operator, with the mark of a form of the page |
//! | `/v1/…` | a program that shows the token as a bearer |

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, Request, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::access::{AccessError, Viewer, WebAccess};
use super::page::{self, Rights};
use super::snapshot::{Snapshot, SnapshotError};
use super::{acts, metrics};
use crate::api::accept::ClientConnection;
use crate::api::server::{ServerContext, answer, error_json};
use crate::node::Query;
use crate::runtime::NodeClient;
use crate::system_clock::now;

/// Bytes of a form.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// How long a wrong token takes, so that guessing is slow.
const WRONG_TOKEN_PAUSE: Duration = Duration::from_secs(1);
/// How long the node may take to answer `/healthz`.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts of the server that all handlers share.
#[derive(Clone)]
pub(super) struct Web {
    pub(super) access: Arc<WebAccess>,
    pub(super) client: NodeClient,
    context: ServerContext,
}

/// All paths of the page, each with its handler.
pub(super) fn router(access: Arc<WebAccess>, client: NodeClient, context: ServerContext) -> Router {
    let forms = Router::new()
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/act/{act}", post(acts::run))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX));
    Router::new()
        .route("/", get(home))
        .route("/metrics", get(measured))
        .route("/healthz", get(healthz))
        .route("/v1/{*path}", any(interface))
        .merge(forms)
        .fallback(not_found)
        .with_state(Web { access, client, context })
}

impl Web {
    /// The rights of the page's viewer.
    pub(super) fn rights(&self, headers: &HeaderMap) -> Rights<'_> {
        let is_operator = self.access.viewer(headers) == Viewer::Operator;
        let form = Some(self.access.form_mark()).filter(|_| is_operator);
        Rights { form, has_token: self.access.has_token() }
    }
}

async fn home(State(web): State<Web>, headers: HeaderMap) -> Response {
    if web.access.viewer(&headers) == Viewer::Stranger {
        return html(StatusCode::UNAUTHORIZED, page::locked(false));
    }
    match Snapshot::whole(&web.client).await {
        Ok(snapshot) => html(StatusCode::OK, page::render(&snapshot, web.rights(&headers), now().wall)),
        Err(error) => html(StatusCode::SERVICE_UNAVAILABLE, page::message(&format!("{error}."))),
    }
}

async fn measured(State(web): State<Web>, headers: HeaderMap) -> Response {
    if web.access.viewer(&headers) == Viewer::Stranger {
        return needs_token();
    }
    let snapshot = match Snapshot::brief(&web.client).await {
        Ok(snapshot) => snapshot,
        Err(error @ (SnapshotError::Ask(_) | SnapshotError::Slow)) => {
            return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
        }
    };
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, text) = metrics::answer(accepted, &snapshot);
    respond(StatusCode::OK, kind, text)
}

/// Whether the node answers: for a service manager or a container's health check. It shows nothing else, to any client.
async fn healthz(State(web): State<Web>) -> Response {
    match tokio::time::timeout(HEALTH_TIMEOUT, web.client.command(Query::Id)).await {
        Ok(Ok(_)) => plain(StatusCode::OK, "ok\n".to_owned()),
        Ok(Err(error)) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the node does not answer\n".to_owned()),
    }
}

/// `/v1`, as on the unix socket: for programs with the token. A session does not do, so that no page elsewhere can use it.
async fn interface(
    State(web): State<Web>,
    Extension(connection): Extension<ClientConnection>,
    request: Request,
) -> Response {
    let is_read = *request.method() == Method::GET || *request.method() == Method::HEAD;
    let is_health = is_read && is_health_path(request.uri().path());
    let may = web.access.has_bearer(request.headers())
        || (is_health && web.access.viewer(request.headers()) != Viewer::Stranger);
    if !may {
        return needs_token();
    }
    let (head, body) = answer(request, web.context.of(connection)).await.into_parts();
    closed(Response::from_parts(head, Body::new(body)))
}

fn is_health_path(path: &str) -> bool {
    path.strip_prefix("/v1/peers/").is_some_and(|rest| rest.ends_with("/health"))
}

#[derive(Deserialize)]
struct LoginForm {
    token: String,
}

async fn login(State(web): State<Web>, Form(form): Form<LoginForm>) -> Response {
    if !web.access.is_token(form.token.trim()) {
        tokio::time::sleep(WRONG_TOKEN_PAUSE).await;
        return html(StatusCode::UNAUTHORIZED, page::locked(true));
    }
    with_cookie(home_again(), &web.access.set_cookie(true))
}

#[derive(Deserialize)]
struct LogoutForm {
    mark: String,
}

async fn logout(State(web): State<Web>, Form(form): Form<LogoutForm>) -> Response {
    match web.access.is_form_mark(&form.mark) {
        true => with_cookie(home_again(), &web.access.set_cookie(false)),
        false => no_form(),
    }
}

async fn not_found() -> Response {
    html(StatusCode::NOT_FOUND, page::message("There is no such page."))
}

/// A request that comes from elsewhere.
pub(super) fn foreign(error: &AccessError) -> Response {
    let status = match error {
        AccessError::NoHost => StatusCode::BAD_REQUEST,
        AccessError::ForeignHost(_) => StatusCode::MISDIRECTED_REQUEST,
        AccessError::ForeignOrigin(_) => StatusCode::FORBIDDEN,
    };
    plain(status, format!("{}\n", crate::words::clean(&error.to_string())))
}

/// A request that did not arrive in time.
pub(super) fn too_slow() -> Response {
    plain(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time: repeat it.\n".to_owned())
}

fn needs_token() -> Response {
    let message = "this needs the token of section [web]: `Authorization: Bearer TOKEN`";
    let mut response =
        respond(StatusCode::UNAUTHORIZED, "application/json", error_json("unauthorized", message) + "\n");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tombolo\""));
    response
}

/// A form that no page of this node carried.
pub(super) fn no_form() -> Response {
    let words = "This form is old, or was not made by this node: go back, load the page again and repeat it.";
    html(StatusCode::FORBIDDEN, page::message(words))
}

/// Back to the page, after a form has done its work.
pub(super) fn home_again() -> Response {
    let mut response = plain(StatusCode::SEE_OTHER, String::new());
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    response
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    let cookie = HeaderValue::from_str(cookie).expect("a cookie of hex digits is plain");
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

/// An answer that is a page of HTML.
pub(super) fn html(status: StatusCode, page: String) -> Response {
    respond(status, "text/html; charset=utf-8", page)
}

fn plain(status: StatusCode, text: String) -> Response {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    closed(response)
}

/// A response that no other page can use, and no cache keeps.
fn closed(mut response: Response) -> Response {
    let policy = HeaderValue::from_str(&page::CONTENT_POLICY).expect("the policy is plain");
    let headers: [(HeaderName, HeaderValue); 6] = [
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    response.headers_mut().extend(headers);
    response
}
