//! A byte stream to a radio: TCP or a serial port.

use super::{DownReason, RadioPort};
use serial2_tokio::SerialPort;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for a TCP connection to come up, name look-up included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A TCP radio that is switched off says no more; after this silence the kernel asks, and gives up a minute later.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Between the kernel's questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// An open port.
#[derive(Debug)]
pub(super) enum Port {
    Tcp(TcpStream),
    Serial(SerialPort),
}

impl Port {
    pub(super) async fn open(place: &RadioPort) -> Result<Self, DownReason> {
        let opened = match place {
            RadioPort::Tcp { host, port } => match timeout(CONNECT_MAX, tcp(host, *port)).await {
                Ok(opened) => opened.map(Self::Tcp),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
            RadioPort::Serial { path, baud } => SerialPort::open(path, *baud).map(Self::Serial),
        };
        opened.map_err(|error| DownReason::Open(error.kind()))
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(KEEPALIVE_EVERY);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Serial(port) => Pin::new(port).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Serial(port) => Pin::new(port).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Serial(port) => Pin::new(port).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Serial(port) => Pin::new(port).poll_shutdown(cx),
        }
    }
}
