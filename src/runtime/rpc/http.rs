//! One JSON call: a stream to the peer's onion service, one HTTP request, one answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tombolo_transports::tor::{TorFailure, socks};
use tombolo_transports::{OnionHost, PeerId};

use super::CallRoutes;
use crate::io::{CallFailure, CallId, CallReply, OutgoingCall};
use crate::limits::CALL_ANSWER_BYTES_MAX;
use crate::rpc::{ONION_PORT, PATH};

/// Bytes of an answer's status line with its headers. A longer one is no answer.
const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of an answer.
const ANSWER_HEADERS_MAX: usize = 64;

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

    /// Makes a call within its time. What failed while the stream was opened did not reach the peer.
    pub(super) async fn call(
        &self,
        peer: PeerId,
        id: CallId,
        call: OutgoingCall,
    ) -> Result<CallReply, CallFailure> {
        let isolation = format!("{peer}-call-{}", id.0);
        let onion = call.onion;
        call_over(self.dial_onion(&onion, ONION_PORT, &isolation), call).await
    }
}

/// Makes a call over the stream that `dial` opens; both together have the time of the call.
async fn call_over(
    dial: impl Future<Output = Result<Box<dyn CallStream>, DialCallError>>,
    call: OutgoingCall,
) -> Result<CallReply, CallFailure> {
    let span = Duration::from_millis(call.timeout.ms());
    let end = Instant::now() + span;
    let failed = |may_have_arrived| {
        move |error: DialCallError| CallFailure { why: error.to_string(), may_have_arrived }
    };
    let too_late = |_| DialCallError::Timeout(span);
    let dialled = timeout_at(end, dial).await;
    let stream = dialled.map_err(too_late).flatten().map_err(failed(false))?;
    let answered = timeout_at(end, exchange(stream, call)).await;
    answered.map_err(too_late).flatten().map_err(failed(true))
}

/// One request and its answer.
async fn exchange(stream: Box<dyn CallStream>, call: OutgoingCall) -> Result<CallReply, DialCallError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Method;
    use crate::time::Millis;
    use std::collections::BTreeMap;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::sleep;
    use tombolo_transports::tor::Endpoint;

    const ONION: OnionHost = OnionHost([3; 32]);

    async fn failure(routes: CallRoutes, timeout_ms: u64) -> CallFailure {
        let body = b"{}".to_vec();
        let timeout = Millis::from_ms(timeout_ms);
        let call = OutgoingCall { onion: ONION, headers: vec![], body, timeout };
        routes.call(PeerId([1; 32]), CallId(1), call).await.expect_err("nothing answers")
    }

    fn forward_to(address: SocketAddr) -> CallRoutes {
        CallRoutes::new(BTreeMap::from([(ONION, address)]), None)
    }

    /// Takes connections, reads, and answers nothing.
    async fn silent() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut streams = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 64]).await;
                streams.push(stream);
            }
        });
        address
    }

    #[tokio::test]
    async fn only_a_call_that_left_may_have_arrived() {
        let late = failure(forward_to(silent().await), 300).await;
        assert!(late.may_have_arrived && late.why.contains("no answer came"), "{late:?}");
        let nothing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = failure(forward_to(nothing), 5_000).await;
        assert!(!refused.may_have_arrived, "{refused:?}");
        // A SOCKS port that answers nothing: no stream was ever open.
        let hangs = CallRoutes::new(BTreeMap::new(), Some(Endpoint::Tcp(silent().await)));
        let stuck = failure(hangs, 300).await;
        assert!(!stuck.may_have_arrived, "{stuck:?}");
        assert!(!failure(CallRoutes::default(), 300).await.may_have_arrived);
    }

    /// Calls a peer that takes `dial_s` to reach and answers after `answer_s`. Returns what came, and after how many seconds.
    /// The time passes at once.
    async fn timed(
        method: Method,
        dial_s: u64,
        answer_s: Option<u64>,
    ) -> (Result<CallReply, CallFailure>, u64) {
        let dial = async move {
            sleep(Duration::from_secs(dial_s)).await;
            let (near, mut far) = tokio::io::duplex(4096);
            tokio::spawn(async move {
                let _ = far.read(&mut [0; 2048]).await;
                sleep(Duration::from_secs(answer_s.unwrap_or(100_000))).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut far, answer).await;
                far
            });
            Ok(Box::new(near) as Box<dyn CallStream>)
        };
        let timeout = method.timeout();
        let call = OutgoingCall { onion: ONION, headers: vec![], body: b"{}".to_vec(), timeout };
        let begun = Instant::now();
        let result = call_over(dial, call).await;
        (result, begun.elapsed().as_secs())
    }

    /// 30 s for a question, 120 s for an install, from the first step of the dial to the last byte of the answer.
    #[tokio::test(start_paused = true)]
    async fn each_call_has_the_time_of_its_method_and_no_more() {
        for (method, limit_s) in [(Method::GetState, 30), (Method::PeerJoined, 30), (Method::Install, 120)] {
            let just = timed(method, 5, Some(limit_s - 6)).await;
            assert_eq!((just.0.expect("it is in time").status, just.1), (200, limit_s - 1), "{method:?}");
            for answer_s in [None, Some(limit_s - 4)] {
                let (result, took_s) = timed(method, 5, answer_s).await;
                let late = result.expect_err("it is too late");
                assert_eq!(took_s, limit_s, "{method:?}");
                assert_eq!(late.why, format!("no answer came within {limit_s} s"));
                assert!(late.may_have_arrived, "the peer may have run it");
            }
            let (result, took_s) = timed(method, limit_s + 1, Some(0)).await;
            let unreached = result.expect_err("it was not reached in time");
            assert!(!unreached.may_have_arrived && took_s == limit_s, "{method:?}");
        }
    }
}
