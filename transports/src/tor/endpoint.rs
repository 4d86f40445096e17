//! Where a program on this machine listens: a TCP address or a unix socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

const UNIX_PREFIX: &str = "unix:";

/// A place of tor's: `127.0.0.1:9050`, `[::1]:9051`, `unix:/run/tor/control`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// An IP address and a port. A host name is not taken: looking it up could leak what is dialled.
    Tcp(SocketAddr),
    /// A unix socket, by its absolute path.
    Unix(PathBuf),
}

impl Endpoint {
    /// Connects.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub async fn connect(&self) -> io::Result<EndpointStream> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(EndpointStream::Tcp(stream))
            }
            Self::Unix(path) => UnixStream::connect(path).await.map(EndpointStream::Unix),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(EndpointError::Relative) };
        }
        let text = text.replace("localhost:", "127.0.0.1:");
        let address: SocketAddr = text.parse().map_err(|_| EndpointError::Syntax)?;
        if address.port() == 0 { Err(EndpointError::PortZero) } else { Ok(Self::Tcp(address)) }
    }
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither an IP address with a port nor a unix socket.
    #[error("not of the form 127.0.0.1:9050, [::1]:9050 or unix:/path/of/a/socket")]
    Syntax,
    /// The path of a socket does not begin at the root.
    #[error("the path behind `unix:` begins with /")]
    Relative,
    /// Nothing listens on port 0.
    #[error("port 0 is no place that a program listens on")]
    PortZero,
}

/// A connection to an [`Endpoint`].
#[derive(Debug)]
pub enum EndpointStream {
    /// A connection over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl AsyncRead for EndpointStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for EndpointStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_reads_back_and_each_bad_one_has_its_error() {
        for text in ["127.0.0.1:9050", "[::1]:9051", "unix:/run/tor/control"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("localhost:9050".parse::<Endpoint>().unwrap().to_string(), "127.0.0.1:9050");
        assert_eq!("unix:run/tor".parse::<Endpoint>(), Err(EndpointError::Relative));
        assert_eq!("127.0.0.1:0".parse::<Endpoint>(), Err(EndpointError::PortZero));
        for text in ["", "9050", "tor.example:9050", "127.0.0.1"] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::Syntax), "{text}");
        }
    }
}
