//! The accept loop that all servers share: a bounded number of connections, fair among clients, and an orderly end.
//!
//! A connection is *at work* while a whole request of it is answered, else it *waits* for its client. Where all places are taken, the one that
//! has waited longest is closed for the next client: connections that are half open, that drip, or that do not read their answer keep none out.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::slots::ClientId;

/// How long a client of a local server may take for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take none of an answer before its connection is closed.
const WRITE_PAUSE_MAX: Duration = Duration::from_secs(120);
/// How long requests in progress may take when the node ends.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a listener waits after an error: out of file handles, some will come free.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// What a connection gets that has no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 114\r\n\r\n\
{\"error\":{\"code\":\"too_many_connections\",\"message\":\"all connections are at work: close some, or try again later\"}}\n";

/// Answers the requests of one connection of the server of this name. When the server stops, a request that is being answered is
/// the last.
pub(crate) async fn serve_connection<S>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: S,
    mut stopped: watch::Receiver<bool>,
    server: &'static str,
) where
    S: HttpService<Incoming, Error: Into<Box<dyn Error + Send + Sync>>>,
    S::ResBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PAUSE_MAX));
    let stream = TokioIo::new(Box::pin(stream));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("{server}: {error}");
    }
}

/// A socket that listens for connections.
pub(crate) trait AcceptSocket: Send {
    /// A connection that it accepts.
    type Stream: ClientStream;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A connection of a client.
pub(crate) trait ClientStream: Send + 'static {
    /// The client that opened the connection.
    fn client(&self) -> ClientId;

    /// Writes what fits at once; the rest is lost.
    fn write_at_once(&self, bytes: &[u8]);
}

impl AcceptSocket for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }
}

impl ClientStream for TcpStream {
    fn client(&self) -> ClientId {
        self.peer_addr().as_ref().map(SocketAddr::ip).map_or(ClientId::Unknown, ClientId::Host)
    }

    fn write_at_once(&self, bytes: &[u8]) {
        let _ = self.try_write(bytes);
    }
}

impl ClientStream for UnixStream {
    fn client(&self) -> ClientId {
        let process = self.peer_cred().ok().and_then(|client| client.pid());
        process.filter(|pid| *pid > 0).map_or(ClientId::Unknown, ClientId::Process)
    }

    fn write_at_once(&self, bytes: &[u8]) {
        let _ = self.try_write(bytes);
    }
}

/// What a server's log calls it, how many connections it serves at once, and how many of them one client may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServingLimits {
    pub(crate) name: &'static str,
    pub(crate) connections_max: usize,
    pub(crate) per_client_max: usize,
}

/// One connection, as the accept loop and its server see it; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ClientConnection {
    client: ClientId,
    state: Arc<ConnectionState>,
}

#[derive(Debug, Default)]
struct ConnectionState {
    at_work: AtomicUsize,
    close: Notify,
}

impl ClientConnection {
    pub(super) fn of(client: ClientId) -> Self {
        ClientConnection { client, state: Arc::default() }
    }

    /// The client that opened the connection.
    pub(crate) fn client(&self) -> ClientId {
        self.client
    }

    /// A whole request is here and is answered: the connection keeps its place until this is dropped.
    pub(crate) fn at_work(&self) -> AtWork {
        self.state.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self.state.clone())
    }

    /// Ends the connection, whatever of an answer is not sent yet.
    pub(super) fn close(&self) {
        self.state.close.notify_one();
    }

    /// Waits until it is to end.
    pub(super) async fn closed(&self) {
        self.state.close.notified().await;
    }

    fn is_waiting(&self) -> bool {
        self.state.at_work.load(Ordering::Relaxed) == 0
    }
}

/// A connection that is at work.
#[derive(Debug)]
pub(crate) struct AtWork(Arc<ConnectionState>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of a server, in the order in which they came.
#[derive(Debug, Default)]
struct Connections {
    open: BTreeMap<u64, ClientConnection>,
    last: u64,
}

impl Connections {
    /// Takes one more in; closes a waiting one for it where there is no place. `None`: all are at work.
    fn admit(&mut self, client: ClientId, limits: ServingLimits) -> Option<(u64, ClientConnection)> {
        let own = self.of(client).count();
        if own >= limits.per_client_max {
            self.close_waiting(Some(client))?;
        } else if self.open.len() >= limits.connections_max {
            let greediest =
                self.open.values().map(ClientConnection::client).max_by_key(|it| self.of(*it).count());
            self.close_waiting(greediest).or_else(|| self.close_waiting(None))?;
        }
        self.last += 1;
        let connection = ClientConnection::of(client);
        self.open.insert(self.last, connection.clone());
        Some((self.last, connection))
    }

    fn of(&self, client: ClientId) -> impl Iterator<Item = (&u64, &ClientConnection)> {
        self.open.iter().filter(move |(_, open)| open.client == client)
    }

    /// Closes the oldest connection that waits, of one client or of any.
    fn close_waiting(&mut self, client: Option<ClientId>) -> Option<()> {
        let is_meant = |open: &ClientConnection| client.is_none_or(|client| open.client == client);
        let (number, _) = self.open.iter().find(|(_, open)| is_meant(open) && open.is_waiting())?;
        let closed = self.open.remove(&number.to_owned())?;
        closed.close();
        Some(())
    }
}

/// Serves each connection in a task of its own until `stopped` changes; then those in progress get some time to finish.
pub(crate) async fn serve_all<L, S, F>(
    limits: ServingLimits,
    listener: L,
    mut stopped: watch::Receiver<bool>,
    serve: S,
) where
    L: AcceptSocket,
    S: Fn(L::Stream, ClientConnection) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let open = Arc::new(Mutex::new(Connections::default()));
    let lock = |open: &Arc<Mutex<Connections>>, client| {
        open.lock().unwrap_or_else(PoisonError::into_inner).admit(client, limits)
    };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(stream) => {
                let Some((number, connection)) = lock(&open, stream.client()) else {
                    stream.write_at_once(NO_PLACE);
                    continue;
                };
                let (open, closed) = (open.clone(), connection.clone());
                let served = serve(stream, connection);
                connections.spawn(async move {
                    tokio::select! {
                        () = served => {}
                        () = closed.closed() => {}
                    }
                    open.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&number);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ServingLimits = ServingLimits { name: "test", connections_max: 4, per_client_max: 3 };

    fn numbers(open: &Connections) -> Vec<u64> {
        open.open.keys().copied().collect()
    }

    #[test]
    fn what_waits_gives_way_and_what_works_stays() {
        let [greedy, other, third] = [1, 2, 3].map(ClientId::Process);
        let mut open = Connections::default();
        let work = open.admit(greedy, LIMITS).unwrap().1.at_work();
        for _ in 0..2 {
            open.admit(greedy, LIMITS).unwrap();
        }
        // Over its share it loses the oldest of its own that waits.
        open.admit(greedy, LIMITS).unwrap();
        assert_eq!(numbers(&open), [1, 3, 4]);
        open.admit(other, LIMITS).unwrap();
        // All places are taken: the client with the most gives one.
        open.admit(third, LIMITS).unwrap();
        assert_eq!(numbers(&open), [1, 4, 5, 6]);
        drop(work);
        open.admit(third, LIMITS).unwrap();
        assert_eq!(numbers(&open), [4, 5, 6, 7]);
    }

    #[test]
    fn none_is_closed_at_work() {
        let mut open = Connections::default();
        let clients = [1, 1, 1, 2].map(ClientId::Process);
        let works: Vec<AtWork> =
            clients.into_iter().map(|it| open.admit(it, LIMITS).unwrap().1.at_work()).collect();
        assert!(open.admit(clients[0], LIMITS).is_none() && open.admit(ClientId::Unknown, LIMITS).is_none());
        drop(works);
        assert!(open.admit(ClientId::Unknown, LIMITS).is_some());
    }

    #[test]
    fn the_refusal_is_a_whole_answer() {
        let text = std::str::from_utf8(NO_PLACE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
