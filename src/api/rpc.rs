//! The HTTP server of the JSON calls: `POST /rpc/v1` on a loopback TCP address, which an onion service maps its port 80 to.
//!
//! It reads a request within its limits and hands headers and body to the node (what they mean: [`crate::rpc`]). A
//! connection carries one call. No answer has a `Date`: over Tor a clock identifies a machine.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::{ClientConnection, ServingLimits, serve_all};
use super::server::error_json;
use crate::io::{CallReply, IncomingCall};
use crate::limits::{CALL_BODY_BYTES_MAX, INSTALL_TIMEOUT};
use crate::rpc::{PATH, proof::HEADER_PREFIX};
use crate::runtime::NodeClient;

/// Connections at once. For a further one the call is given up that has taken longest to arrive.
pub const CALL_CONNECTIONS_MAX: usize = 64;
/// Bytes of a request line with its headers. A longer head is answered with status 431.
pub const CALL_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of one request. More are answered with status 431.
pub const CALL_HEADERS_MAX: usize = 64;
/// How long a caller may take over its request line and headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take over the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the node may take over the answer, and the caller over reading it: an installation and a margin.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(INSTALL_TIMEOUT.ms() + 10_000);

/// The server of a running node. Dropped, it aborts calls in progress.
#[derive(Debug)]
pub struct CallServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl CallServer {
    /// Listens on a loopback address; port 0 takes any free port. It runs on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// The system's error if the address is not of this machine or is in use.
    pub fn start(listen: SocketAddr, client: NodeClient) -> io::Result<Self> {
        if !listen.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "calls are taken on loopback only"));
        }
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let mut accepting = JoinSet::new();
        // Through an onion service all callers are one client.
        let limits = ServingLimits {
            name: "JSON calls",
            connections_max: CALL_CONNECTIONS_MAX,
            per_client_max: CALL_CONNECTIONS_MAX,
        };
        accepting.spawn(serve_all(limits, listener, stopped, move |stream, connection| {
            serve(stream, client.clone(), connection)
        }));
        Ok(CallServer { address, stop, accepting })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more calls and lets those in progress finish.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let _ = self.accepting.join_next().await;
    }
}

async fn serve(stream: TcpStream, client: NodeClient, connection: ClientConnection) {
    let handler = service_fn(move |request| {
        let (client, connection) = (client.clone(), connection.clone());
        async move { Ok::<_, Infallible>(answer(request, &client, &connection).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(CALL_HEAD_BYTES_MAX)
        .max_headers(CALL_HEADERS_MAX)
        .keep_alive(false)
        .auto_date_header(false);
    let connection = builder.serve_connection(TokioIo::new(stream), handler);
    let whole = HEADER_TIMEOUT + BODY_TIMEOUT + ANSWER_TIMEOUT;
    match tokio::time::timeout(whole, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a JSON call: {error}"),
        Err(_) => tracing::debug!("a JSON call took too long"),
    }
}

async fn answer(
    request: Request<Incoming>,
    client: &NodeClient,
    connection: &ClientConnection,
) -> Response<Full<Bytes>> {
    let read = read(request).await;
    let _at_work = connection.at_work();
    match read {
        Ok(call) => match tokio::time::timeout(ANSWER_TIMEOUT, client.call(call)).await {
            Ok(Ok(reply)) => respond(&reply),
            Ok(Err(gone)) => respond(&failure(StatusCode::SERVICE_UNAVAILABLE, "gone", &gone.to_string())),
            Err(_) => respond(&failure(StatusCode::GATEWAY_TIMEOUT, "too_slow", "the node took too long")),
        },
        Err(refused) => {
            client.count(refused.counter);
            let mut response = respond(&refused.reply);
            if refused.reply.status == StatusCode::METHOD_NOT_ALLOWED.as_u16() {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    }
}

/// A request that is no call: what it is answered, and the counter in `status`.
struct NoCall {
    reply: CallReply,
    counter: &'static str,
}

/// Reads a request's headers and body, within the limits.
async fn read(request: Request<Incoming>) -> Result<IncomingCall, NoCall> {
    let (head, body) = request.into_parts();
    let refuse =
        |status, code, message: &str, counter| Err(NoCall { reply: failure(status, code, message), counter });
    if head.uri.path() != PATH {
        let message = format!("there is no such path: calls go to {PATH}");
        return refuse(StatusCode::NOT_FOUND, "not_found", &message, "call_not_found");
    }
    if head.method != Method::POST {
        let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
        return refuse(status, code, "a call is a POST", "call_method_not_allowed");
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        let (status, code) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded");
        return refuse(status, code, "the body is sent as it is, without an encoding", "call_encoded");
    }
    let body = Limited::new(body, CALL_BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes().to_vec(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("a body has at most {CALL_BODY_BYTES_MAX} bytes");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "too_long", &message, "call_too_long");
        }
        Ok(Err(_)) => {
            let (status, code) = (StatusCode::BAD_REQUEST, "broken_off");
            return refuse(status, code, "the body broke off", "call_broken_off");
        }
        Err(_) => {
            let (status, code) = (StatusCode::REQUEST_TIMEOUT, "too_slow");
            return refuse(status, code, "the body took too long", "call_too_slow");
        }
    };
    let ours = head.headers.iter().filter(|(name, _)| name.as_str().starts_with(HEADER_PREFIX));
    let headers = ours.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    Ok(IncomingCall { headers: headers.collect(), body })
}

fn failure(status: StatusCode, code: &str, message: &str) -> CallReply {
    CallReply { status: status.as_u16(), body: error_json(code, message).into_bytes() }
}

fn respond(reply: &CallReply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body.clone())));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).expect("the node chooses among the statuses of HTTP");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
