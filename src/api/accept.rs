//! The accept loop that all servers share: a bounded number of connections, and an orderly end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long requests in progress may take when the node ends.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a listener waits after an error: out of file handles, some will come free.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens for connections.
pub(crate) trait AcceptSocket: Send {
    /// A connection that it accepts.
    type Stream: Send + 'static;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl AcceptSocket for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }
}

/// What a server's log calls it, and how many connections it serves at once; a further one waits until one closes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServingLimits {
    pub(crate) name: &'static str,
    pub(crate) connections_max: usize,
}

/// Serves each connection in a task of its own until `stopped` changes; then those in progress get some time to finish.
pub(crate) async fn serve_all<L, S, F>(
    limits: ServingLimits,
    listener: L,
    mut stopped: watch::Receiver<bool>,
    serve: S,
) where
    L: AcceptSocket,
    S: Fn(L::Stream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            accepted = async {
                let place = places.clone().acquire_owned().await.expect("the places are never closed");
                listener.accept().await.map(|stream| (place, stream))
            } => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((place, stream)) => {
                let served = serve(stream);
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("{}: {error}", limits.name);
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(END_TIMEOUT, ended).await;
}
