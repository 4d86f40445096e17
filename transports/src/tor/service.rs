//! Keeps tor supplied with what this node wants of it: its onion service, who may reach it, and the keys by which it
//! reaches others.
//!
//! One control connection is held. When it ends, tor has dropped the service with it, or was restarted: the next
//! connection adds both again, after a wait of 1 s that grows by half up to 60 s. Nothing is dialled from here.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::control::{Control, ControlError, Credentials, OnionService};
use super::endpoint::Endpoint;
use super::status::{ServiceState, TorStatus};
use super::wanted::TorKeys;
use crate::address::OnionHost;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// The wait after a control connection that failed or ended; it grows by half each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A control connection that lived this long was good: the next wait is the shortest again.
const SETTLED: Duration = Duration::from_secs(10);
/// How often tor is asked for its state while it is on the way into its network, and later: a frozen tor does not answer.
const LOOK_EARLY: Duration = Duration::from_secs(2);
const LOOK_LATER: Duration = Duration::from_secs(20);
/// How long tor may take to notice that an earlier control connection, with the same service, has ended.
const COLLISION_TRIES: u32 = 20;
const COLLISION_WAIT: Duration = Duration::from_millis(500);
/// Streams that one circuit may have: a peer needs one, and a call another.
const STREAMS_MAX: u16 = 16;

/// The onion service that this node publishes by itself.
pub(super) struct OwnService {
    pub(super) host: OnionHost,
    pub(super) seed: Zeroizing<[u8; 32]>,
    pub(super) ports: Vec<(u16, String)>,
    pub(super) client_auth: bool,
}

/// The task that holds the control connection.
pub(super) struct ServiceTask {
    /// Tried in turn; the first that answers is used.
    pub(super) places: Vec<Endpoint>,
    pub(super) credentials: Credentials,
    /// `None` where the operator's tor publishes the service: only keys are supplied then.
    pub(super) service: Option<OwnService>,
    pub(super) wanted: watch::Receiver<TorKeys>,
    /// What tor has, for dials that wait for a key; the default while there is no connection.
    pub(super) supplied: watch::Sender<Option<TorKeys>>,
    pub(super) status: TorStatus,
}

impl ServiceTask {
    pub(super) async fn run(mut self) {
        let mut wait = RETRY_FIRST;
        loop {
            let begun = Instant::now();
            let error = self.serve().await;
            self.supplied.send_replace(None);
            if self.wanted.has_changed().is_err() {
                return;
            }
            if begun.elapsed() >= SETTLED {
                wait = RETRY_FIRST;
            }
            self.report(ServiceState::NoControl { why: error.to_string() });
            sleep(wait).await;
            wait = (wait * 3 / 2).min(RETRY_MAX);
        }
    }

    /// Serves one control connection until it ends.
    async fn serve(&mut self) -> ControlError {
        let mut control = match self.open().await {
            Ok(control) => control,
            Err(error) => return error,
        };
        tracing::debug!(version = control.version(), "tor's control port answers");
        match self.supply(&mut control).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn open(&self) -> Result<Control, ControlError> {
        let mut reason = None;
        for place in &self.places {
            match Control::open(place, &self.credentials).await {
                Ok(control) => return Ok(control),
                // A port that refuses this node explains more than one that is not there.
                Err(error @ ControlError::Connect { .. }) => {
                    reason.get_or_insert(error);
                }
                Err(error) => reason = Some(error),
            }
        }
        Err(reason.unwrap_or(ControlError::NoMethod))
    }

    async fn supply(&mut self, control: &mut Control) -> Result<std::convert::Infallible, ControlError> {
        let mut has = TorKeys::default();
        let mut published = false;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.supply_keys(control, &has, &wanted).await?;
            if !published || (has.clients != wanted.clients && self.client_auth()) {
                self.publish(control, &wanted, published).await?;
                published = true;
            }
            self.supplied.send_replace(Some(wanted.clone()));
            has = wanted;
            let percent = control.bootstrap().await?.percent;
            self.report(if percent < 100 {
                ServiceState::Bootstrapping { percent }
            } else if self.service.is_some() {
                ServiceState::Published { client_auth: self.client_auth() }
            } else {
                ServiceState::Fixed
            });
            tokio::select! {
                error = control.closed() => return Err(error),
                changed = self.wanted.changed() => changed.map_err(|_| ControlError::Closed)?,
                () = sleep(if percent < 100 { LOOK_EARLY } else { LOOK_LATER }) => {}
            }
        }
    }

    fn client_auth(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.client_auth)
    }

    async fn supply_keys(
        &self,
        control: &mut Control,
        has: &TorKeys,
        wanted: &TorKeys,
    ) -> Result<(), ControlError> {
        for host in has.keys.keys().filter(|host| !wanted.keys.contains_key(*host)) {
            control.remove_client_key(host).await?;
        }
        for (host, key) in wanted.keys.iter().filter(|(host, key)| has.keys.get(*host) != Some(*key)) {
            match control.add_client_key(host, key.secret()).await {
                // An old tor has no such command: services that ask for a key are out of its reach.
                Err(ControlError::Refused { code, text, .. }) => {
                    tracing::debug!(code, text, %host, "no client key")
                }
                result => result?,
            }
        }
        Ok(())
    }

    async fn publish(
        &self,
        control: &mut Control,
        wanted: &TorKeys,
        again: bool,
    ) -> Result<(), ControlError> {
        let Some(service) = &self.service else { return Ok(()) };
        if again {
            // Streams that are open stay open: removing a peer closes its session above.
            control.del_onion(&service.host).await?;
        }
        let clients = service.client_auth.then_some(wanted.clients.as_slice());
        let onion =
            OnionService { seed: &service.seed, ports: &service.ports, clients, streams_max: STREAMS_MAX };
        for _ in 0..COLLISION_TRIES {
            if control.add_onion(&onion).await? {
                return Ok(());
            }
            sleep(COLLISION_WAIT).await;
        }
        Err(ControlError::Refused {
            command: "ADD_ONION",
            code: 550,
            text: "another program publishes this node's onion service".to_owned(),
        })
    }

    /// Without a service of its own the node is reached by the operator's, whatever the control port does.
    fn report(&self, state: ServiceState) {
        match (&self.service, &state) {
            (None, ServiceState::NoControl { .. } | ServiceState::Published { .. }) => {
                self.status.set_service(ServiceState::Fixed);
            }
            _ => self.status.set_service(state),
        }
    }
}
