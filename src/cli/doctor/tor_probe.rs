//! Asks a tor on this machine who it is: the greeting of its SOCKS port, and at its control port what it offers and how far its
//! start has come.
//!
//! No peer is dialled: the one address that the SOCKS port gets has a wrong checksum, which tor refuses by itself. Its answer
//! shows whether the port gives extended errors. At the control port this program proves itself as the node does
//! ([`ControlGreeting::authenticate`]): the cookie is shown to no other program than tor, a password to what listens there.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::time::timeout;
use tombolo_transports::tor::control::{BootstrapPhase, ControlError, ControlGreeting, ProtocolInfo};
use tombolo_transports::tor::{Credentials, Endpoint};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// An onion address of version 3 with a wrong checksum.
const MISTYPED_ONION: &[u8] = b"35njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid.onion";
/// The extended reply for an address that is none (`SocksPort … ExtendedErrors`).
const REPLY_BAD_ADDRESS: u8 = 0xf6;

/// What a SOCKS port answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocksAnswer {
    /// It takes requests; whether it gives extended errors, where that is known.
    Socks { extended: Option<bool> },
    /// Something else listens there.
    NotSocks,
    /// Nothing answers, and why.
    Silent(io::ErrorKind),
}

/// What a control port answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlAnswer {
    Control(ControlSeen),
    NotControl,
    Silent(io::ErrorKind),
}

/// A control port of tor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControlSeen {
    pub(super) offered: ProtocolInfo,
    pub(super) login: ControlLogin,
}

/// How far a login with the node's settings came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlLogin {
    /// Tor let this program in, and answered how far its start has come.
    Open(BootstrapPhase),
    /// Tor did not, or did not answer.
    Failed(String),
}

pub(super) fn ask_socks(place: &Endpoint) -> SocksAnswer {
    let mut stream = match connect(place) {
        Ok(stream) => stream,
        Err(error) => return SocksAnswer::Silent(error.kind()),
    };
    let mut method = [0; 2];
    let greeted = stream.write_all(&[5, 1, 0]).and_then(|()| stream.read_exact(&mut method));
    if greeted.is_err() || method != [5, 0] {
        return SocksAnswer::NotSocks;
    }
    SocksAnswer::Socks { extended: ask_mistyped(&mut *stream).ok() }
}

/// Whether the reply to an address that is none is the extended one.
fn ask_mistyped(stream: &mut dyn ByteStream) -> io::Result<bool> {
    let length = u8::try_from(MISTYPED_ONION.len()).expect("62 bytes");
    stream.write_all(&[&[5, 1, 0, 3, length][..], MISTYPED_ONION, &[0, 1]].concat())?;
    let mut reply = [0; 2];
    stream.read_exact(&mut reply)?;
    Ok(reply == [5, REPLY_BAD_ADDRESS])
}

/// Asks a control port what it offers, logs in as the node would, and asks how far tor's start has come.
pub(super) fn ask_control(place: &Endpoint, credentials: &Credentials) -> ControlAnswer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(look_at_control(place, credentials)),
        Err(error) => ControlAnswer::Silent(error.kind()),
    }
}

async fn look_at_control(place: &Endpoint, credentials: &Credentials) -> ControlAnswer {
    let greeting = match timeout(ANSWER_TIMEOUT, ControlGreeting::open(place)).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(ControlError::Connect { source, .. })) => return ControlAnswer::Silent(source.kind()),
        Ok(Err(_)) => return ControlAnswer::NotControl,
        Err(_) => return ControlAnswer::Silent(io::ErrorKind::TimedOut),
    };
    let offered = greeting.offered().clone();
    let login = async { greeting.authenticate(credentials).await?.bootstrap().await };
    let login = match timeout(ANSWER_TIMEOUT, login).await {
        Ok(Ok(phase)) => ControlLogin::Open(phase),
        Ok(Err(error)) => ControlLogin::Failed(error.to_string()),
        Err(_) => ControlLogin::Failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    };
    ControlAnswer::Control(ControlSeen { offered, login })
}

trait ByteStream: Read + Write {}
impl<S: Read + Write> ByteStream for S {}

fn connect(place: &Endpoint) -> io::Result<Box<dyn ByteStream>> {
    match place {
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, ANSWER_TIMEOUT)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(Box::new(stream))
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(Box::new(stream))
        }
    }
}
