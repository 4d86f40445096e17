//! The accepting side: connections that tor hands over, or that a local program makes.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::dial::{LATENCY_ASSUMED_MS, caps};
use super::endpoint::{Endpoint, EndpointStream};
use super::session_stream::SessionTls;
use crate::address::{Address, OnionAddress, OnionHost};
use crate::link::RejectReason;
use crate::session::{Connection, HalfOpenPlace, Pipe, Sessions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{Instant, sleep, timeout};

/// Time from a stream to a link or a whole request to join: circuits are slow.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// The wait after the system gave no connection: too many files are open, for example.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Where the onion service's streams arrive.
#[derive(Debug)]
pub(super) enum OnionListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl OnionListener {
    /// Binds. A unix socket that an earlier start left behind is replaced; a file of another kind is not.
    pub(super) async fn bind(at: &Endpoint) -> io::Result<Self> {
        match at {
            Endpoint::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Endpoint::Unix(path) => {
                if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                    std::fs::remove_file(path)?;
                }
                UnixListener::bind(path).map(Self::Unix)
            }
        }
    }

    /// Binds any free port of this machine.
    pub(super) async fn bind_any() -> io::Result<Self> {
        TcpListener::bind("127.0.0.1:0").await.map(Self::Tcp)
    }

    /// The place as a control port takes it.
    pub(super) fn target(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().expect("the socket was bound to a path");
                Ok(format!("unix:{}", path.display()))
            }
        }
    }

    async fn accept(&self) -> io::Result<EndpointStream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(EndpointStream::Tcp(stream))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| EndpointStream::Unix(stream)),
        }
    }
}

/// Takes streams and makes links or requests to join of them.
pub(super) struct OnionDoor {
    pub(super) sessions: Arc<Sessions>,
    pub(super) configs: SessionTls,
    pub(super) own: OnionAddress,
}

impl OnionDoor {
    pub(super) async fn run(self: Arc<Self>, listener: OnionListener) {
        loop {
            match listener.accept().await {
                Ok(stream) => self.knock(stream),
                Err(error) => {
                    tracing::debug!(%error, "no connection from tor");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    fn knock(self: &Arc<Self>, stream: EndpointStream) {
        // All streams come from tor: which circuit, and so which stranger, cannot be seen. So there is one count for all.
        let Some(place) = self.sessions.half_open().enter_unnamed(self.address()) else {
            return self.sessions.reject(RejectReason::TooManyHalfOpen, self.address());
        };
        let door = self.clone();
        tokio::spawn(async move {
            if let Err(reason) = door.admit(stream, place).await {
                door.sessions.reject(reason, door.address());
            }
        });
    }

    async fn admit(&self, stream: EndpointStream, place: HalfOpenPlace) -> Result<(), RejectReason> {
        let begun = Instant::now();
        let host: &OnionHost = &self.own.host;
        let accepting = self.configs.accept(stream, host, self.sessions.is_joining());
        let accepted = timeout(HANDSHAKE_MAX, accepting).await.map_err(|_| RejectReason::HandshakeTimeout)?;
        let (stream, peer, protocol) = accepted?;
        let Connection { carrier, read, write } =
            Pipe::connection(stream, peer, self.address(), None, caps(LATENCY_ASSUMED_MS));
        let streams = std::future::ready(Ok((read, write)));
        let left = HANDSHAKE_MAX.saturating_sub(begun.elapsed());
        self.sessions.admit(carrier, protocol, streams, place, left).await;
        Ok(())
    }

    fn address(&self) -> Address {
        Address::Onion(self.own)
    }
}
