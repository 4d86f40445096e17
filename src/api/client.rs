//! The client of the local interface: sends a command to the node that answers on a socket.

use std::path::Path;

use hyper::StatusCode;
use hyper::body::Bytes;

use super::routes::{self, WatchRequest};
use crate::node::Command;
use crate::unix_http::{self, LineStream, UnixError};

/// Why a command got no answer of a running node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The interface has no path for the command: only the node's own process sends it.
    #[error("the local interface has no such request")]
    NoRoute,
    /// The exchange over the socket failed.
    #[error(transparent)]
    Unix(#[from] UnixError),
}

/// Sends a command; returns the status and the JSON of the answer.
///
/// # Errors
///
/// [`ClientError`] if the command has no path, or the exchange fails. A refusal of the node is an answer.
pub async fn command(socket: &Path, command: &Command) -> Result<(StatusCode, Bytes), ClientError> {
    let (method, target, body) = routes::write(command).ok_or(ClientError::NoRoute)?;
    Ok(unix_http::request(socket, method, &target, body).await?)
}

/// Watches what is asked for: the lines of the answer are events.
///
/// # Errors
///
/// [`UnixError`] if no node answers or the connection breaks.
pub async fn watch(socket: &Path, request: &WatchRequest) -> Result<(StatusCode, LineStream), UnixError> {
    unix_http::request_lines(socket, &routes::write_watch(request)).await
}
