//! The dialling side: one QUIC connection to one address.

use super::quic::{Configs, Quic};
use crate::address::{Address, PeerId};
use crate::session::{BoxFuture, CarrierEnd, Connection, Dial, Protocol};
use crate::tls;
use quinn::Endpoint;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Time for one connection to come up. QUIC waits ever longer between its first packets, so a
/// fresh attempt finds a healed network sooner than an old one.
const CONNECT_MAX: Duration = Duration::from_secs(4);

/// The endpoints of this node, from which it dials.
#[derive(Debug)]
pub(super) struct LanDial {
    endpoints: Mutex<Vec<Endpoint>>,
    configs: Configs,
}

impl LanDial {
    pub(super) fn new(endpoints: Vec<Endpoint>, configs: Configs) -> Self {
        Self { endpoints: Mutex::new(endpoints), configs }
    }

    /// The addresses that the endpoints are bound to.
    pub(super) fn bound(&self) -> Vec<SocketAddr> {
        self.endpoints().iter().filter_map(|endpoint| endpoint.local_addr().ok()).collect()
    }

    /// Gives the endpoints away; nothing is dialled any more.
    pub(super) fn take(&self) -> Vec<Endpoint> {
        std::mem::take(&mut *self.endpoints())
    }

    fn endpoints(&self) -> std::sync::MutexGuard<'_, Vec<Endpoint>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoint of an address's family.
    fn endpoint_for(&self, address: SocketAddr) -> Option<Endpoint> {
        let same = |endpoint: &&Endpoint| {
            endpoint.local_addr().is_ok_and(|bound| bound.is_ipv6() == address.is_ipv6())
        };
        self.endpoints().iter().find(same).cloned()
    }

    async fn open(
        &self,
        peer: PeerId,
        address: Address,
        protocol: Protocol,
    ) -> Result<Connection, CarrierEnd> {
        let socket = address.as_socket().ok_or(CarrierEnd::Failed)?;
        let config = match protocol {
            Protocol::Peer => self.configs.dial.clone(),
            Protocol::Join => self.configs.join.clone(),
        };
        let connecting = {
            let endpoint = self.endpoint_for(socket).ok_or(CarrierEnd::Failed)?;
            endpoint.connect_with(config, socket, &tls::server_name(&peer)).map_err(|error| {
                tracing::debug!(%address, %error, "cannot dial");
                CarrierEnd::Failed
            })?
        };
        let connection = timeout(CONNECT_MAX, connecting).await.map_err(|_| CarrierEnd::Silent)??;
        let quic = Quic::new(connection).map_err(|_| CarrierEnd::OtherKey)?;
        // A peer that does not take this node may close before the stream is open.
        let (read, write) = quic.open().await.map_err(CarrierEnd::after_proof)?;
        Ok(Connection { carrier: Arc::new(quic), read, write })
    }
}

impl Dial for LanDial {
    fn dials(&self, address: &Address) -> bool {
        address.as_socket().is_some_and(|address| self.endpoint_for(address).is_some())
    }

    fn connect(
        &self,
        peer: PeerId,
        address: Address,
        protocol: Protocol,
    ) -> BoxFuture<'_, Result<Connection, CarrierEnd>> {
        Box::pin(self.open(peer, address, protocol))
    }
}
