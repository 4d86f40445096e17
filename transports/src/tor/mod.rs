//! Tor: links between onion services, through a tor that runs beside the node.
//!
//! [`Tor::start`] listens for the node's onion service, has tor publish it, dials every listed peer that has no link over
//! Tor and whose onion address is known, and accepts. Everything after the proof of a key is the
//! [`session`](crate::session)'s; what Tor does for the node can be read in its [`TorStatus`].
//!
//! | file | what it holds |
//! |---|---|
//! | [`endpoint`] | where tor listens: a TCP address or a unix socket |
//! | [`socks`], [`failure`] | one stream through tor's SOCKS port; why it could not be had |
//! | [`control`] | tor's control port: replies, authentication, the few commands that are needed |
//! | `service` | keeps tor supplied: the onion service, its clients, keys for others' services |
//! | [`client_auth`], `wanted` | who may reach which service, and the keys for it |
//! | `session_stream` | TLS over a stream, bound to the address that was dialled |
//! | `dial`, `accept` | the two ends |
//! | [`status`] | how things stand, for people |
//!
//! **What is left out.** Tor itself: it is a program of the operator's. Without it the node logs that once and goes on; dials
//! are tried again, at most a minute apart. No event of tor is waited for before a dial: a dormant tor sends none.

pub mod client_auth;
pub mod control;
pub mod endpoint;
pub mod failure;
pub mod socks;
pub mod status;

mod accept;
mod dial;
mod service;
mod session_stream;
mod wanted;

pub use control::Credentials;
pub use endpoint::Endpoint;
pub use failure::TorFailure;
pub use status::{ServiceState, TorReport, TorStatus};

use crate::address::{Address, OnionAddress, OnionHost, PeerId};
use crate::error::JoinError;
use crate::events::Events;
use crate::link::Medium;
use crate::session::book::Backoff;
use crate::session::{BoxFuture, Dialler, JoinSecret, QUEUE_BYTES_MAX, Sessions};
use crate::set::{JoinDial, Transport};
use crate::tls::{AllowList, Tls};
use accept::{OnionDoor, OnionListener};
use dial::TorDial;
use ed25519_dalek::SigningKey;
use service::{OwnService, ServiceTask};
use session_stream::SessionTls;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tombolo_mesh::frame::keys::Identity;
use wanted::{Clients, TorKeys};
use zeroize::Zeroizing;

/// The virtual port of sessions on every onion service.
pub const SESSION_PORT: u16 = 8662;
/// The virtual port of the JSON calls on every onion service.
pub const CALLS_PORT: u16 = 80;

/// The waits between dials: each costs tor several look-ups and a circuit.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// How this node's onion service comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnionSource {
    /// Tor is asked for it over its control port, with the key of [`TorConfig::onion_seed`].
    Control {
        /// Lets only peers and the holders of open invites reach it.
        client_auth: bool,
    },
    /// The operator's torrc has a `HiddenServiceDir`; this node only listens where it leads.
    Fixed {
        /// The name in its `hostname` file.
        host: OnionHost,
        /// Where its port [`SESSION_PORT`] leads.
        listen: Endpoint,
    },
}

/// How a [`Tor`] is set up.
#[derive(Clone)]
pub struct TorConfig {
    /// The ed25519 seed of this node (RFC 8032, section 5.1.5).
    pub secret: Zeroizing<[u8; 32]>,
    /// The seed of the onion service's own key.
    pub onion_seed: Zeroizing<[u8; 32]>,
    /// Where the SOCKS port of tor is.
    pub socks: Endpoint,
    /// Tor's control port: places that are tried in turn. Without one nothing is published, and services that ask for
    /// client authorisation are out of reach.
    pub control: Vec<Endpoint>,
    /// How this node proves itself to the control port.
    pub credentials: Credentials,
    /// How the onion service comes about.
    pub onion: OnionSource,
    /// Where the service's port [`CALLS_PORT`] leads, if there is an answer to calls: `127.0.0.1:PORT`.
    pub calls: Option<String>,
    /// The operator asked for Tor: then it is shown, though no tor runs.
    pub asked_for: bool,
    /// Bytes that may wait in one link's queue.
    pub queue_bytes_max: usize,
}

impl TorConfig {
    /// A service of tor's, with client authorisation, and no control port to ask for it yet.
    pub fn new(secret: [u8; 32], onion_seed: [u8; 32], socks: Endpoint) -> Self {
        Self {
            secret: Zeroizing::new(secret),
            onion_seed: Zeroizing::new(onion_seed),
            socks,
            control: Vec::new(),
            credentials: Credentials::default(),
            onion: OnionSource::Control { client_auth: true },
            calls: None,
            asked_for: true,
            queue_bytes_max: QUEUE_BYTES_MAX,
        }
    }

    /// The name of the service that this node is reached at.
    pub fn host(&self) -> OnionHost {
        match &self.onion {
            OnionSource::Control { .. } => host_of(&self.onion_seed),
            OnionSource::Fixed { host, .. } => *host,
        }
    }
}

impl fmt::Debug for TorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TorConfig")
            .field("socks", &self.socks)
            .field("control", &self.control)
            .field("onion", &self.onion)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// The name of the service whose key comes from a seed.
pub fn host_of(seed: &[u8; 32]) -> OnionHost {
    OnionHost(SigningKey::from_bytes(seed).verifying_key().to_bytes())
}

/// Why Tor did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorError {
    /// The place where the service's streams arrive cannot be had.
    #[error("cannot listen on {at} for the onion service: {source}")]
    Listen {
        /// The place that cannot be bound.
        at: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("no random bytes from the system")]
    Random,
    /// The TLS configuration was refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Tor as one node sees it. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Tor {
    sessions: Arc<Sessions>,
    dial: Arc<TorDial>,
    clients: Mutex<Clients>,
    wanted: watch::Sender<TorKeys>,
    status: TorStatus,
    tasks: JoinSet<()>,
}

impl Tor {
    /// Listens, and starts to publish, dial and accept on the present tokio runtime. Tor need not run yet.
    ///
    /// # Errors
    ///
    /// [`TorError`] when this machine lacks what a node needs; a tor that is not there is none.
    pub async fn start(config: TorConfig, events: Events) -> Result<Self, TorError> {
        let allow = Arc::new(AllowList::default());
        let tls = Tls::new(&config.secret, allow.clone())?;
        let configs = SessionTls::new(&tls)?;
        let status = TorStatus::new(config.host(), config.socks.clone(), config.asked_for);
        let boot = random()?;
        let sessions = Sessions::with_backoff(tls.id(), boot, config.queue_bytes_max, allow, events, BACKOFF);
        let (wanted, wanted_now) = watch::channel(TorKeys::default());
        let (supplied, supplied_now) = watch::channel(None);
        let isolation = u32::from_be_bytes(random()?);
        let dial = TorDial::new(configs.clone(), status.clone(), wanted_now.clone(), supplied_now, isolation);
        let (clients, dial) = (Mutex::new(Clients::new(Identity::from_seed(&config.secret))), Arc::new(dial));
        let mut tasks = JoinSet::new();
        let listener = listen(&config).await?;
        let target =
            listener.target().map_err(|source| TorError::Listen { at: "any port".to_owned(), source })?;
        let own = OnionAddress { host: config.host(), port: SESSION_PORT };
        let door = Arc::new(OnionDoor { sessions: sessions.clone(), configs, own });
        tasks.spawn(door.run(listener));
        tasks.spawn(Dialler::new(sessions.clone(), dial.clone()).run());
        if config.control.is_empty() {
            status.set_service(match config.onion {
                OnionSource::Control { .. } => {
                    ServiceState::NoControl { why: "no control port is set".to_owned() }
                }
                OnionSource::Fixed { .. } => ServiceState::Fixed,
            });
        } else {
            let service = own_service(&config, target);
            let (places, credentials, status) = (config.control, config.credentials, status.clone());
            let task = ServiceTask { places, credentials, service, wanted: wanted_now, supplied, status };
            tasks.spawn(task.run());
        }
        Ok(Self { sessions, dial, clients, wanted, status, tasks })
    }

    /// How things stand, for who shows it.
    pub fn status(&self) -> &TorStatus {
        &self.status
    }

    /// Changes who may reach the service, or what this node reaches, and has tor supplied with it.
    fn change(&self, change: impl FnOnce(&mut Clients)) {
        let mut clients = self.clients();
        change(&mut clients);
        let wanted = clients.wanted();
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            *now = wanted;
            changed
        });
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(config: &TorConfig) -> Result<OnionListener, TorError> {
    let (at, bound) = match &config.onion {
        OnionSource::Control { .. } => ("a port of this machine".to_owned(), OnionListener::bind_any().await),
        OnionSource::Fixed { listen, .. } => (listen.to_string(), OnionListener::bind(listen).await),
    };
    bound.map_err(|source| TorError::Listen { at, source })
}

fn own_service(config: &TorConfig, session_target: String) -> Option<OwnService> {
    let OnionSource::Control { client_auth } = config.onion else { return None };
    let mut ports = vec![(SESSION_PORT, session_target)];
    ports.extend(config.calls.clone().map(|target| (CALLS_PORT, target)));
    Some(OwnService { host: config.host(), seed: config.onion_seed.clone(), ports, client_auth })
}

fn random<const N: usize>() -> Result<[u8; N], TorError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| TorError::Random)?;
    Ok(bytes)
}

impl Transport for Tor {
    fn medium(&self) -> Medium {
        Medium::Tor
    }

    fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    fn join(&self, call: JoinDial) -> BoxFuture<'_, Result<Vec<u8>, JoinError>> {
        Box::pin(async move {
            let JoinDial { inviter, addresses, secret, request } = call;
            self.change(|clients| clients.join(&addresses, &secret));
            let answer =
                self.sessions.join(self.dial.clone(), inviter, addresses.clone(), request, None).await;
            self.change(|clients| clients.joined(&addresses));
            answer
        })
    }

    fn shutdown(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.sessions.shutdown().await;
            // The control connection ends with its task, and the onion service with the connection.
            self.tasks.shutdown().await;
        })
    }

    fn set_joining(&self, secrets: &[JoinSecret]) {
        self.sessions.set_joining(!secrets.is_empty());
        self.change(|clients| clients.set_invites(secrets));
    }

    fn set_peers(&self, peers: &BTreeSet<PeerId>) {
        self.change(|clients| clients.set_peers(peers));
        self.status.keep(|peer| peers.contains(peer));
        self.sessions.set_peers(peers);
    }

    fn know_addresses(&self, peer: PeerId, addresses: &[Address]) {
        let onions: Vec<_> =
            addresses.iter().copied().filter(|address| matches!(address, Address::Onion(_))).collect();
        if !onions.is_empty() {
            self.change(|clients| clients.know(peer, &onions));
            self.sessions.know_addresses(peer, &onions);
        }
    }
}

impl Drop for Tor {
    fn drop(&mut self) {
        self.sessions.end_all();
    }
}
