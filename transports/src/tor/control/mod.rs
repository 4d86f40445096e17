//! A controller of tor over its control port (Tor control-spec): the few commands that an onion service needs.
//!
//! [`Control::open`] connects and authenticates; each command waits for its reply. An onion service that was added lives as
//! long as its control connection, so a daemon that ends leaves none behind.

mod auth;
mod reply;

pub use auth::{COOKIE_BYTES, NONCE_BYTES, ProtocolInfo, client_hash, server_hash};
pub use reply::{ControlReply, LINE_BYTES_MAX, REPLY_BYTES_MAX, ReplyDecoder, ReplyError};

use super::endpoint::{Endpoint, EndpointStream};
use crate::address::OnionHost;
use auth::{quoted, unquoted};
use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::scalar::clamp_integer;
use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha512};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Time for tor to answer one command. A frozen tor answers none.
pub const REPLY_MAX: Duration = Duration::from_secs(10);
/// Characters of tor's own words that an error repeats.
const WORDS_MAX: usize = 200;
/// Tor has the onion service already.
const COLLISION: u16 = 550;

/// How a controller finds the secret that tor asks for.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The cookie file, where tor's own word on it does not hold: inside a container, for example.
    pub cookie: Option<PathBuf>,
    /// The password of the control port.
    pub password: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// Why tor cannot be controlled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nothing takes the connection, or this user may not connect.
    #[error("{at}: {source}")]
    Connect {
        /// Where the control port was looked for.
        at: Endpoint,
        /// The error of the system.
        source: io::Error,
    },
    /// Tor ended the connection.
    #[error("tor ended the control connection")]
    Closed,
    /// No reply came in time: tor is frozen, or what listens is no tor.
    #[error("no reply within {} s", REPLY_MAX.as_secs())]
    Silent,
    /// What listens is no control port.
    #[error("what listens there is no control port: {0}")]
    Reply(#[from] ReplyError),
    /// Tor refused a command.
    #[error("tor refused {command}: {code} {text}")]
    Refused {
        /// The command, without its arguments, which may be secret.
        command: &'static str,
        /// The code of tor.
        code: u16,
        /// The text of tor.
        text: String,
    },
    /// The cookie file cannot be read.
    #[error("the cookie file {} cannot be read: {source}", path.display())]
    Cookie {
        /// The path of the file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The cookie file is not of a cookie's length.
    #[error("{} is no cookie file: it does not have {COOKIE_BYTES} bytes", path.display())]
    CookieLength {
        /// The path of the file.
        path: PathBuf,
    },
    /// The other end does not have the cookie: it is not the tor that the file belongs to.
    #[error("what listens there does not have tor's cookie")]
    CookieMismatch,
    /// What listens asks for the content of a file that it names. Only tor may have that of its cookie.
    #[error(
        "what listens there asks for its cookie in clear, as old versions of tor do: set `tor.cookie` if it is tor"
    )]
    CookieInClear,
    /// Tor asks for a password, and none is set.
    #[error("tor asks for a password, and `tor.password` is not set")]
    PasswordNeeded,
    /// Tor asks for a proof that is not known here.
    #[error("tor offers no way to authenticate that is known here")]
    NoMethod,
    /// The system gave no random bytes.
    #[error("no random bytes from the system")]
    Random,
}

/// An authenticated control connection.
#[derive(Debug)]
pub struct Control {
    stream: EndpointStream,
    decoder: ReplyDecoder,
    version: String,
}

/// A control port that has shown what it offers, and has been given no proof yet.
#[derive(Debug)]
pub struct ControlGreeting {
    control: Control,
    offered: ProtocolInfo,
}

/// How far tor is on the way into its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapPhase {
    /// From 0 to 100.
    pub percent: u8,
    /// The step that it is at, in its own words.
    pub summary: String,
}

/// An onion service to add.
pub struct OnionService<'a> {
    /// The ed25519 seed of the service's key.
    pub seed: &'a [u8; 32],
    /// Virtual ports, each with the place on this machine that it leads to.
    pub ports: &'a [(u16, String)],
    /// The X25519 public keys of the clients that may reach it; `None` lets every client.
    pub clients: Option<&'a [[u8; 32]]>,
    /// Streams that one circuit may have; tor ends a circuit that opens more.
    pub streams_max: u16,
}

impl Control {
    /// Connects and authenticates, with the first of these that tor offers and this end can give: nothing, the cookie (as a
    /// hash where possible), the password.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn open(at: &Endpoint, credentials: &Credentials) -> Result<Self, ControlError> {
        ControlGreeting::open(at).await?.authenticate(credentials).await
    }

    /// The version of tor.
    pub fn version(&self) -> &str {
        &self.version
    }

    async fn protocol_info(&mut self) -> Result<ProtocolInfo, ControlError> {
        let reply = self.command("PROTOCOLINFO", "PROTOCOLINFO 1").await?;
        // Other services answer in lines with a code as well.
        let is_tor = reply.lines.first().is_some_and(|line| line.starts_with("PROTOCOLINFO "));
        match is_tor {
            true => Ok(ProtocolInfo::from_reply(&reply)),
            false => Err(ReplyError::Malformed.into()),
        }
    }

    async fn authenticate(
        &mut self,
        info: &ProtocolInfo,
        credentials: &Credentials,
    ) -> Result<(), ControlError> {
        let proof = if info.null {
            Zeroizing::default()
        } else if info.safe_cookie || info.cookie {
            let cookie = read_cookie(info, credentials);
            match (cookie, &credentials.password) {
                (Err(_), Some(password)) if info.password => quoted(password),
                (cookie, _) if info.safe_cookie => self.safe_cookie(&*cookie?).await?,
                (cookie, _) if credentials.cookie.is_some() => Zeroizing::new(HEXLOWER.encode(&*cookie?)),
                _ => return Err(ControlError::CookieInClear),
            }
        } else if info.password {
            quoted(credentials.password.as_deref().ok_or(ControlError::PasswordNeeded)?)
        } else {
            return Err(ControlError::NoMethod);
        };
        let line = Zeroizing::new(format!("AUTHENTICATE {}", proof.as_str()));
        self.command("AUTHENTICATE", line.trim_end()).await.map(|_| ())
    }

    /// The proof of SAFECOOKIE, once tor has given its own.
    async fn safe_cookie(&mut self, cookie: &[u8; COOKIE_BYTES]) -> Result<Zeroizing<String>, ControlError> {
        let mut client = [0; NONCE_BYTES];
        getrandom::fill(&mut client).map_err(|_| ControlError::Random)?;
        let line = format!("AUTHCHALLENGE SAFECOOKIE {}", HEXLOWER.encode(&client));
        let reply = self.command("AUTHCHALLENGE", &line).await?;
        let field = |name: &str| -> Option<[u8; 32]> {
            let words = reply.lines.first()?.split(' ');
            let hex = words.into_iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
            HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
        };
        let (Some(hash), Some(server)) = (field("SERVERHASH"), field("SERVERNONCE")) else {
            return Err(ControlError::Reply(ReplyError::Malformed));
        };
        if !bool::from(hash.ct_eq(&server_hash(cookie, &client, &server))) {
            return Err(ControlError::CookieMismatch);
        }
        Ok(Zeroizing::new(HEXLOWER.encode(&client_hash(cookie, &client, &server))))
    }

    /// Publishes an onion service for as long as this connection is open. Returns false where tor still has it from a
    /// connection before, whose end it has not noticed yet.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn add_onion(&mut self, service: &OnionService<'_>) -> Result<bool, ControlError> {
        match self.command("ADD_ONION", &add_onion_line(service)).await {
            Ok(_) => Ok(true),
            Err(ControlError::Refused { code: COLLISION, text, .. }) if text.contains("collision") => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends an onion service; one that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn del_onion(&mut self, host: &OnionHost) -> Result<(), ControlError> {
        match self.command("DEL_ONION", &format!("DEL_ONION {}", label(host))).await {
            Ok(_) | Err(ControlError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives tor the key by which this node reaches a service that asks for client authorisation.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn add_client_key(&mut self, host: &OnionHost, secret: &[u8; 32]) -> Result<(), ControlError> {
        let key = Zeroizing::new(BASE64.encode(secret));
        let line = Zeroizing::new(format!("ONION_CLIENT_AUTH_ADD {} x25519:{}", label(host), key.as_str()));
        self.command("ONION_CLIENT_AUTH_ADD", &line).await.map(|_| ())
    }

    /// Takes such a key from tor again; one that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn remove_client_key(&mut self, host: &OnionHost) -> Result<(), ControlError> {
        match self
            .command("ONION_CLIENT_AUTH_REMOVE", &format!("ONION_CLIENT_AUTH_REMOVE {}", label(host)))
            .await
        {
            Ok(_) | Err(ControlError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How far tor is on the way into its network.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn bootstrap(&mut self) -> Result<BootstrapPhase, ControlError> {
        let reply = self.command("GETINFO", "GETINFO status/bootstrap-phase").await?;
        let phase = reply.value("status/bootstrap-phase").and_then(BootstrapPhase::read);
        Ok(phase.ok_or(ReplyError::Malformed)?)
    }

    /// Sends one command and waits for its reply; events in between are dropped. Nothing of the command is logged.
    async fn command(&mut self, name: &'static str, line: &str) -> Result<ControlReply, ControlError> {
        let bytes = Zeroizing::new(format!("{line}\r\n").into_bytes());
        let exchange = async {
            self.stream.write_all(&bytes).await.map_err(|_| ControlError::Closed)?;
            loop {
                let reply = self.next_reply().await?;
                if reply.code != reply::EVENT {
                    return Ok::<_, ControlError>(reply);
                }
            }
        };
        let reply = timeout(REPLY_MAX, exchange).await.map_err(|_| ControlError::Silent)??;
        if reply.is_ok() {
            return Ok(reply);
        }
        let text = reply.lines.join(" ").chars().filter(|char| !char.is_control()).take(WORDS_MAX).collect();
        Err(ControlError::Refused { command: name, code: reply.code, text })
    }

    /// Returns why the connection ended, once it has; events are dropped.
    pub async fn closed(&mut self) -> ControlError {
        loop {
            if let Err(error) = self.next_reply().await {
                return error;
            }
        }
    }

    async fn next_reply(&mut self) -> Result<ControlReply, ControlError> {
        loop {
            if let Some(reply) = self.decoder.poll_reply()? {
                return Ok(reply);
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).await.map_err(|_| ControlError::Closed)?;
            if read == 0 {
                return Err(ControlError::Closed);
            }
            self.decoder.feed(bytes.get(..read).expect("no more is read than there is room for"));
        }
    }
}

impl ControlGreeting {
    /// Connects, and asks what is offered.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn open(at: &Endpoint) -> Result<Self, ControlError> {
        let connecting = timeout(REPLY_MAX, at.connect()).await.map_err(|_| ControlError::Silent)?;
        let stream = connecting.map_err(|source| ControlError::Connect { at: at.clone(), source })?;
        let mut control = Control { stream, decoder: ReplyDecoder::default(), version: String::new() };
        let offered = control.protocol_info().await?;
        control.version.clone_from(&offered.version);
        Ok(ControlGreeting { control, offered })
    }

    /// What the control port offers.
    pub fn offered(&self) -> &ProtocolInfo {
        &self.offered
    }

    /// Proves this end, as [`Control::open`] does.
    ///
    /// # Errors
    ///
    /// [`ControlError`] with the reason.
    pub async fn authenticate(mut self, credentials: &Credentials) -> Result<Control, ControlError> {
        self.control.authenticate(&self.offered, credentials).await?;
        Ok(self.control)
    }
}

impl BootstrapPhase {
    /// Reads the value of `status/bootstrap-phase`.
    fn read(phase: &str) -> Option<Self> {
        let percent = phase.split(' ').find_map(|word| word.strip_prefix("PROGRESS=")?.parse().ok())?;
        let summary = phase.split_once("SUMMARY=").and_then(|(_, text)| unquoted(text)).unwrap_or_default();
        (percent <= 100).then_some(BootstrapPhase { percent, summary })
    }
}

/// Tor takes and shows a service by its name without `.onion`.
fn label(host: &OnionHost) -> String {
    host.to_string().trim_end_matches(".onion").to_owned()
}

fn add_onion_line(service: &OnionService<'_>) -> Zeroizing<String> {
    let key = Zeroizing::new(BASE64.encode(&*expanded_key(service.seed)));
    let auth = if service.clients.is_some() { ",V3Auth" } else { "" };
    let mut line = Zeroizing::new(format!(
        "ADD_ONION ED25519-V3:{} Flags=DiscardPK,MaxStreamsCloseCircuit{auth} MaxStreams={}",
        key.as_str(),
        service.streams_max
    ));
    for (port, target) in service.ports {
        line.push_str(&format!(" Port={port},{target}"));
    }
    // Tor refuses an empty list. A key that no client has keeps the service hidden until there is a client.
    let none = [unused_key(service.seed)];
    let clients = service.clients.map(|clients| if clients.is_empty() { &none[..] } else { clients });
    for client in clients.unwrap_or_default() {
        line.push_str(&format!(" ClientAuthV3={}", BASE32_NOPAD.encode(client)));
    }
    line
}

/// A public key that no client has: its secret is thrown away.
fn unused_key(seed: &[u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(blake3::derive_key("tombolo 2026 onion client that no node is 1", seed))
        .to_bytes()
}

/// The form in which tor takes a service's key: not the seed, but the 64 bytes that RFC 8032, section 5.1.5, makes of it,
/// clamped.
fn expanded_key(seed: &[u8; 32]) -> Zeroizing<[u8; 64]> {
    let mut bytes = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
    let scalar = bytes.first_chunk_mut::<32>().expect("64 bytes have 32");
    *scalar = clamp_integer(*scalar);
    bytes
}

fn read_cookie(
    info: &ProtocolInfo,
    credentials: &Credentials,
) -> Result<Zeroizing<[u8; COOKIE_BYTES]>, ControlError> {
    let path =
        credentials.cookie.clone().or_else(|| info.cookie_file.clone()).ok_or(ControlError::NoMethod)?;
    let read = || -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(COOKIE_BYTES + 1));
        // Opening a pipe would wait for its other end.
        if std::fs::metadata(&path)?.is_file() {
            std::fs::File::open(&path)?.take(COOKIE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let bytes = read().map_err(|source| ControlError::Cookie { path: path.clone(), source })?;
    match <[u8; COOKIE_BYTES]>::try_from(bytes.as_slice()) {
        Ok(cookie) => Ok(Zeroizing::new(cookie)),
        Err(_) => Err(ControlError::CookieLength { path }),
    }
}
