//! One stream to an onion service through tor's SOCKS5 port.
//!
//! `tokio-socks` makes the request. It folds the replies 0xf0 to 0xf7, by which tor gives its reason, into one error; so
//! the connection below it is watched for the reply code. The name goes to tor as it is: an onion name is never looked up.

use super::endpoint::{Endpoint, EndpointStream};
use super::failure::TorFailure;
use crate::address::OnionHost;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_socks::tcp::Socks5Stream;

/// Time for tor to open a stream. Its own limit of 120 s is too long: a circuit to a service that is gone can wait that
/// long, and a new attempt in another circuit would have succeeded.
pub const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Time to reach tor itself, on this machine.
const LOCAL_MAX: Duration = Duration::from_secs(5);

/// Version and method of the first reply, version and status of the authentication, version and code of the second.
const WATCHED_BYTES: usize = 6;
const SOCKS_VERSION: u8 = 5;
const METHOD_NONE: u8 = 0;
const METHOD_PASSWORD: u8 = 2;
/// Tor isolates by user name and password alike; the user name is enough.
const PASSWORD: &str = "-";

/// A stream to an onion service.
pub type Stream = Socks5Stream<WatchedStream>;

/// Opens a stream to a port of an onion service. Streams with different `isolation` never share a circuit; it is 1 to 255
/// bytes long.
///
/// # Errors
///
/// [`TorFailure`] with tor's reason; [`TorFailure::TimedOut`] after [`CONNECT_MAX`].
pub async fn connect(
    socks: &Endpoint,
    host: &OnionHost,
    port: u16,
    isolation: &str,
) -> Result<Stream, TorFailure> {
    connect_to(socks, &host.to_string(), port, isolation).await
}

/// The same to any host, by a name that tor looks up.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_to(
    socks: &Endpoint,
    host: &str,
    port: u16,
    isolation: &str,
) -> Result<Stream, TorFailure> {
    let seen = Arc::new(Mutex::new(FirstBytes::default()));
    let socket = WatchedStream { inner: local(socks).await?, seen: seen.clone() };
    let asking = Socks5Stream::connect_with_password_and_socket(socket, (host, port), isolation, PASSWORD);
    match timeout(CONNECT_MAX, asking).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let failure = lock(&seen).failure();
            tracing::debug!(%error, %failure, %host, "not reached through tor");
            Err(failure)
        }
        Err(_) => Err(TorFailure::TimedOut { after: CONNECT_MAX }),
    }
}

async fn local(socks: &Endpoint) -> Result<EndpointStream, TorFailure> {
    let no_tor = |denied| TorFailure::NoTor { socks: socks.clone(), denied };
    match timeout(LOCAL_MAX, socks.connect()).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(no_tor(error.kind() == io::ErrorKind::PermissionDenied)),
        Err(_) => Err(no_tor(false)),
    }
}

/// The first bytes that a SOCKS server sent.
#[derive(Debug, Default)]
struct FirstBytes {
    bytes: [u8; WATCHED_BYTES],
    filled: usize,
}

impl FirstBytes {
    fn note(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.filled).zip(bytes) {
            *to = *from;
            self.filled += 1;
        }
    }

    /// What a request that came to nothing failed by.
    fn failure(&self) -> TorFailure {
        let seen = self.bytes.get(..self.filled).expect("no more is counted than there is room for");
        match seen {
            [SOCKS_VERSION, METHOD_PASSWORD, _, 0, SOCKS_VERSION, code]
            | [SOCKS_VERSION, METHOD_NONE, SOCKS_VERSION, code, ..] => {
                // A reply of success that is cut off afterwards.
                TorFailure::from_reply(*code).unwrap_or(TorFailure::NoSession)
            }
            [] | [SOCKS_VERSION] | [SOCKS_VERSION, METHOD_PASSWORD | METHOD_NONE, ..] => {
                TorFailure::BrokenOff
            }
            _ => TorFailure::NotSocks,
        }
    }
}

/// A connection to tor that notes the first bytes of what it reads.
#[derive(Debug)]
pub struct WatchedStream {
    inner: EndpointStream,
    seen: Arc<Mutex<FirstBytes>>,
}

impl AsyncRead for WatchedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        lock(&this.seen).note(buf.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

fn lock(seen: &Mutex<FirstBytes>) -> MutexGuard<'_, FirstBytes> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const HOST: OnionHost = OnionHost([7; 32]);

    /// A SOCKS server that answers one request with a reply code, and returns the user name and the host it was asked for.
    async fn server(code: u8) -> (Endpoint, tokio::task::JoinHandle<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = Endpoint::Tcp(listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let methods = {
                let mut head = [0; 2];
                stream.read_exact(&mut head).await.unwrap();
                read(&mut stream, usize::from(head[1])).await
            };
            assert!(methods.contains(&METHOD_PASSWORD));
            stream.write_all(&[SOCKS_VERSION, METHOD_PASSWORD]).await.unwrap();
            let user = {
                let head = read(&mut stream, 2).await;
                let user = read(&mut stream, usize::from(head[1])).await;
                let password = read(&mut stream, 1).await;
                read(&mut stream, usize::from(password[0])).await;
                user
            };
            stream.write_all(&[1, 0]).await.unwrap();
            let head = read(&mut stream, 5).await;
            assert_eq!(head[..4], [SOCKS_VERSION, 1, 0, 3], "a CONNECT to a host name");
            let name = read(&mut stream, usize::from(head[4])).await;
            read(&mut stream, 2).await;
            stream.write_all(&[SOCKS_VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            let _ = stream.read(&mut [0]).await;
            (String::from_utf8(user).unwrap(), String::from_utf8(name).unwrap())
        });
        (at, served)
    }

    async fn read(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        stream.read_exact(&mut read).await.unwrap();
        read
    }

    #[tokio::test]
    async fn every_reply_of_tor_becomes_its_reason() {
        for code in (1..=8).chain(0xf0..=0xf7) {
            let (at, served) = server(code).await;
            let failure = connect(&at, &HOST, 80, "peer-1").await.unwrap_err();
            assert_eq!(Some(failure), TorFailure::from_reply(code), "0x{code:02x}");
            let (user, host) = served.await.unwrap();
            assert_eq!((user.as_str(), host), ("peer-1", HOST.to_string()), "the name goes out unresolved");
        }
    }

    #[tokio::test]
    async fn a_reply_of_success_opens_the_stream() {
        let (at, served) = server(0).await;
        drop(connect(&at, &HOST, 80, "peer-1").await.unwrap());
        served.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_proxy_is_named_so() {
        for (answer, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], TorFailure::NotSocks),
            (&[SOCKS_VERSION, 0xff][..], TorFailure::NotSocks),
            (&[SOCKS_VERSION, METHOD_PASSWORD, 1][..], TorFailure::BrokenOff),
            (&[][..], TorFailure::BrokenOff),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = Endpoint::Tcp(listener.local_addr().unwrap());
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
            assert_eq!(connect(&at, &HOST, 80, "peer-1").await.unwrap_err(), expected);
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_no_tor() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = Endpoint::Tcp(listener.local_addr().unwrap());
        drop(listener);
        let failure = connect(&at, &HOST, 80, "peer-1").await.unwrap_err();
        assert_eq!(failure, TorFailure::NoTor { socks: at, denied: false });
    }
}
