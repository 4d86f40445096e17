//! A byte stream to a radio: TCP or a serial port.

use super::{RadioDownReason, RadioPort};
use serial2_tokio::SerialPort;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Time for a TCP connection to come up, name look-up included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A TCP radio that is switched off is silent; after this silence the kernel asks, and gives up a minute later.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Between the kernel's questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// What Unix systems report of a file that has no line settings ("inappropriate ioctl", POSIX `tcgetattr`).
const ENOTTY: i32 = 25;

/// A port that is open, as a byte stream.
#[derive(Debug)]
pub(super) enum OpenPort {
    Tcp(TcpStream),
    Serial(SerialPort),
}

impl OpenPort {
    pub(super) async fn open(place: &RadioPort) -> Result<Self, RadioDownReason> {
        match place {
            RadioPort::Tcp { host, port } => match timeout(CONNECT_MAX, tcp(host, *port)).await {
                Ok(opened) => opened.map(Self::Tcp),
                Err(_) => Err(RadioDownReason::Open(io::ErrorKind::TimedOut)),
            },
            RadioPort::Serial { path, baud } => serial(path, *baud).map(Self::Serial),
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, RadioDownReason> {
    let addresses = lookup_host((host, port)).await.map_err(|_| RadioDownReason::NoHost)?;
    let (mut stream, mut last) = (None, RadioDownReason::NoHost);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = RadioDownReason::Open(error.kind()),
        }
    }
    let stream = stream.ok_or(last)?;
    attend(&stream).map_err(|error| RadioDownReason::Open(error.kind()))?;
    Ok(stream)
}

fn attend(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn serial(path: &str, baud: u32) -> Result<SerialPort, RadioDownReason> {
    SerialPort::open(path, baud).map_err(|error| match error.raw_os_error() {
        Some(ENOTTY) if cfg!(unix) => RadioDownReason::NoSerialPort,
        _ => RadioDownReason::Open(error.kind()),
    })
}

impl AsyncRead for OpenPort {
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

impl AsyncWrite for OpenPort {
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
