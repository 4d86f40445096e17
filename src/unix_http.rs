//! HTTP over a unix socket, the client's side: the command line uses it for the daemon, the containers probe for Docker and
//! Podman.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::socket_path::ShortPath;

/// Bytes of an answer; a longer one is an error.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one line of a streamed answer: a whole document may be one.
pub const LINE_BYTES_MAX: usize = ANSWER_BYTES_MAX;
/// How long a peer on this machine may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixError {
    /// No process listens: there is no socket, or a stale one.
    #[error("no process answers at {}", path.display())]
    NotListening {
        /// The path of the socket.
        path: PathBuf,
    },
    /// The system refuses the connection.
    #[error("{}: {source}", path.display())]
    Connect {
        /// The path of the socket.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to {} broke: {source}", path.display())]
    Broken {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the connection.
        source: hyper::Error,
    },
    /// The answer is too long, or broke off.
    #[error("no whole answer from {}", path.display())]
    Answer {
        /// The path of the socket.
        path: PathBuf,
    },
}

/// An answer whose body arrives line by line.
pub struct LineStream {
    body: Incoming,
    buffer: Vec<u8>,
    /// Bytes of the buffer in which there is no end of a line.
    searched: usize,
    path: PathBuf,
}

/// Sends a request and waits for the whole answer.
///
/// # Errors
///
/// [`UnixError`] if no process listens, the connection breaks, or the answer is too long.
pub async fn request(
    socket: &Path,
    method: Method,
    target: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), UnixError> {
    let response = send(socket, method, target, body).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|_| UnixError::Answer { path: socket.to_owned() })?;
    Ok((status, body.to_bytes()))
}

/// Sends a request whose answer is read line by line, as it comes.
///
/// # Errors
///
/// [`UnixError`] if no process listens or the connection breaks.
pub async fn request_lines(socket: &Path, target: &str) -> Result<(StatusCode, LineStream), UnixError> {
    let response = send(socket, Method::GET, target, Vec::new()).await?;
    let status = response.status();
    Ok((
        status,
        LineStream { body: response.into_body(), buffer: Vec::new(), searched: 0, path: socket.to_owned() },
    ))
}

impl LineStream {
    /// The next line without its end; `None` when the answer has ended.
    ///
    /// # Errors
    ///
    /// [`UnixError`] if the connection breaks or the line is too long.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, UnixError> {
        loop {
            let unsearched = self.buffer.iter().skip(self.searched);
            if let Some(end) = unsearched.copied().position(|byte| byte == b'\n') {
                let end = self.searched + end;
                self.searched = 0;
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(UnixError::Answer { path: self.path.clone() });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(source)) => return Err(UnixError::Broken { path: self.path.clone(), source }),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.searched = 0;
                    return Ok(Some(std::mem::take(&mut self.buffer)));
                }
            }
        }
    }
}

async fn send(
    socket: &Path,
    method: Method,
    target: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>, UnixError> {
    let stream = connect(socket).await?;
    let broken = |source| UnixError::Broken { path: socket.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| UnixError::Answer { path: socket.to_owned() })?;
    sender.send_request(request).await.map_err(broken)
}

async fn connect(socket: &Path) -> Result<UnixStream, UnixError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            UnixError::NotListening { path: socket.to_owned() }
        }
        _ => UnixError::Connect { path: socket.to_owned(), source },
    };
    let short = ShortPath::new(socket).map_err(error)?;
    match tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(&short.path)).await {
        Ok(stream) => stream.map_err(error),
        Err(_) => Err(error(io::ErrorKind::TimedOut.into())),
    }
}
