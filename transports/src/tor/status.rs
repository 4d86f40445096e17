//! What Tor does for this node, for people: the state of its own service, and why a peer was not reached.

use super::endpoint::Endpoint;
use super::failure::TorFailure;
use crate::address::{OnionHost, PeerId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Peers whose last failure is kept; those beyond are shown without a reason.
const FAILURES_MAX: usize = 1024;

/// How this node's own onion service stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceState {
    /// Not looked at yet.
    #[default]
    Starting,
    /// No control port is there, and no service is set by the operator: peers cannot dial this node through Tor.
    NoControl {
        /// Why the control port cannot be used.
        why: String,
    },
    /// Tor is not connected to its network yet.
    Bootstrapping {
        /// How far it is, 0 to 100.
        percent: u8,
    },
    /// Tor publishes the service.
    Published {
        /// Whether only listed clients reach it.
        client_auth: bool,
    },
    /// The operator's tor publishes it; this node only listens.
    Fixed,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::NoControl { why } => write!(f, "not published: {why}"),
            Self::Bootstrapping { percent } => write!(f, "tor is still bootstrapping ({percent} %)"),
            Self::Published { client_auth: true } => {
                f.write_str("published, for peers and open invites only")
            }
            Self::Published { client_auth: false } => f.write_str("published, without client authorisation"),
            Self::Fixed => f.write_str("published by the operator's tor"),
        }
    }
}

/// What a [`TorStatus`] shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TorReport {
    /// How this node's own service stands.
    pub service: ServiceState,
    /// Why the last dial of each peer failed; a peer that was reached is not listed.
    pub failures: BTreeMap<PeerId, TorFailure>,
    /// A fault on this machine that keeps every peer from being reached.
    pub local: Option<TorFailure>,
}

/// The state of Tor, shared between the carrier and who shows it; cheap to clone.
#[derive(Clone, Debug)]
pub struct TorStatus {
    onion: OnionHost,
    socks: Endpoint,
    asked_for: bool,
    report: Arc<Mutex<TorReport>>,
}

impl TorStatus {
    pub(super) fn new(onion: OnionHost, socks: Endpoint, asked_for: bool) -> Self {
        Self { onion, socks, asked_for, report: Arc::default() }
    }

    /// Whether the operator asked for Tor.
    pub fn is_asked_for(&self) -> bool {
        self.asked_for
    }

    /// The onion service of this node.
    pub fn onion(&self) -> OnionHost {
        self.onion
    }

    /// Where tor's SOCKS port is.
    pub fn socks(&self) -> &Endpoint {
        &self.socks
    }

    /// How things stand now.
    pub fn report(&self) -> TorReport {
        self.lock().clone()
    }

    /// Notes the state of the service; a change is logged.
    pub(super) fn set_service(&self, service: ServiceState) {
        let mut report = self.lock();
        if report.service != service {
            // That a machine has no tor is no news where the operator never asked for it.
            if self.asked_for || !matches!(service, ServiceState::NoControl { .. }) {
                tracing::info!(onion = %self.onion, "onion service: {service}");
            }
            report.service = service;
        }
    }

    /// How far tor is, where it is on the way.
    pub(super) fn bootstrapping(&self) -> Option<u8> {
        match self.lock().service {
            ServiceState::Bootstrapping { percent } => Some(percent),
            _ => None,
        }
    }

    /// Notes how a dial ended. A fault of this machine is logged once, when it begins and when it ends.
    pub(super) fn dialled(&self, peer: PeerId, result: Result<(), &TorFailure>) {
        let mut report = self.lock();
        let local = result.err().filter(|failure| failure.is_local()).cloned();
        match (&report.local, &local) {
            _ if !self.asked_for => {}
            (None, Some(failure)) => tracing::info!("Tor cannot be used: {failure}"),
            (Some(_), None) => tracing::info!("tor takes connections again"),
            _ => {}
        }
        report.local = local;
        match result {
            Ok(()) => {
                report.failures.remove(&peer);
            }
            Err(failure) => {
                if report.failures.len() < FAILURES_MAX || report.failures.contains_key(&peer) {
                    report.failures.insert(peer, failure.clone());
                }
            }
        }
    }

    /// Forgets peers that are no longer listed.
    pub(super) fn keep(&self, listed: impl Fn(&PeerId) -> bool) {
        self.lock().failures.retain(|peer, _| listed(peer));
    }

    fn lock(&self) -> MutexGuard<'_, TorReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
