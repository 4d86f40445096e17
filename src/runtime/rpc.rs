//! Makes the node's JSON calls: a stream to the peer's onion service, one HTTP request, one answer.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tombolo_transports::tor::{Endpoint, TorFailure, socks};
use tombolo_transports::{OnionHost, PeerId};

use super::{NodeClient, Task};
use crate::io::{CallId, CallReply, OutgoingCall};
use crate::limits::CALL_ANSWER_BYTES_MAX;
use crate::node::Input;
use crate::rpc::{ONION_PORT, PATH};

/// Bytes of an answer's status line with its headers. A longer one is no answer.
const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of an answer.
const ANSWER_HEADERS_MAX: usize = 64;

/// How onion services are reached.
#[derive(Debug, Default)]
pub(crate) struct CallRoutes {
    /// Those that an address of this machine leads to.
    forward: BTreeMap<OnionHost, SocketAddr>,
    /// Tor's SOCKS port, which leads to all others.
    socks: Option<Endpoint>,
}

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialCallError {
    /// No route leads to onion services.
    #[error("onion addresses need Tor, which the settings turn off (section [tor])")]
    NoTor,
    /// Tor does not reach the onion service.
    #[error(transparent)]
    Tor(#[from] TorFailure),
    /// The address that stands for the onion service does not answer.
    #[error("{address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    /// The answer is too long or broke off.
    #[error("the answer broke off, or is longer than {CALL_ANSWER_BYTES_MAX} bytes")]
    Answer,
    /// The call took too long.
    #[error("no answer came within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// A stream to a peer.
pub(crate) trait CallStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> CallStream for T {}

impl CallRoutes {
    /// Routes with these onion services on this machine, and all others behind a SOCKS port.
    pub(crate) fn new(forward: BTreeMap<OnionHost, SocketAddr>, socks: Option<Endpoint>) -> Self {
        CallRoutes { forward, socks }
    }

    /// Opens a stream to an onion service. Calls with different `isolation` texts share no circuit.
    async fn dial_onion(
        &self,
        onion: &OnionHost,
        port: u16,
        isolation: &str,
    ) -> Result<Box<dyn CallStream>, DialCallError> {
        if let Some(address) = self.forward.get(onion).copied() {
            let stream = TcpStream::connect(address).await;
            let stream = stream.map_err(|source| DialCallError::Connect { address, source })?;
            return Ok(Box::new(stream));
        }
        let tor = self.socks.as_ref().ok_or(DialCallError::NoTor)?;
        Ok(Box::new(socks::connect(tor, onion, port, isolation).await?))
    }

    async fn exchange(
        &self,
        peer: PeerId,
        id: CallId,
        call: OutgoingCall,
    ) -> Result<CallReply, DialCallError> {
        let isolation = format!("{peer}-call-{}", id.0);
        let stream = self.dial_onion(&call.onion, ONION_PORT, &isolation).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(ANSWER_HEAD_BYTES_MAX).max_headers(ANSWER_HEADERS_MAX);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(DialCallError::Broken)?;
        let mut connecting = tokio::task::JoinSet::new();
        connecting.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a JSON call: {error}");
            }
        });
        let mut request = Request::builder()
            .method("POST")
            .uri(PATH)
            .header("host", call.onion.to_string())
            .header("content-type", "application/json")
            .header("connection", "close");
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(call.body)));
        let request = request.expect("headers are DIDs, times and hex digits");
        let response = sender.send_request(request).await.map_err(DialCallError::Broken)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), CALL_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| DialCallError::Answer)?.to_bytes().to_vec();
        Ok(CallReply { status, body })
    }
}

/// Makes a call and gives the node its answer.
pub(crate) async fn answer(
    routes: Arc<CallRoutes>,
    client: NodeClient,
    id: CallId,
    peer: PeerId,
    call: OutgoingCall,
) {
    let span = Duration::from_millis(call.timeout.ms());
    let result = match tokio::time::timeout(span, routes.exchange(peer, id, call)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(DialCallError::Timeout(span).to_string()),
    };
    let _ = client.send(Task::Input(Input::CallAnswered { id, result })).await;
}
