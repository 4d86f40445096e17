//! The accepting side: a QUIC handshake within its time, then the session.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::quic::{self, Configs, Quic};
use crate::link::RejectReason;
use crate::session::{HANDSHAKE_BUSY_MAX, HANDSHAKE_MAX, HalfOpenPlace, RETRY_ABOVE, Sessions};
use quinn::{Endpoint, Incoming};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Accepts on all endpoints until the end.
pub(super) fn spawn(sessions: &Arc<Sessions>, endpoints: &[Endpoint], configs: &Configs) {
    for endpoint in endpoints {
        let door = Door { sessions: sessions.clone(), configs: configs.clone() };
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                door.knock(incoming);
            }
        });
    }
}

#[derive(Clone)]
struct Door {
    sessions: Arc<Sessions>,
    configs: Configs,
}

impl Door {
    fn knock(&self, incoming: Incoming) {
        let half_open = self.sessions.half_open();
        let busy = half_open.total() >= RETRY_ABOVE;
        if busy && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            return;
        }
        let address = incoming.remote_address().into();
        let Some(place) = half_open.enter(address) else {
            incoming.refuse();
            self.sessions.reject(RejectReason::TooManyHalfOpen, address);
            return;
        };
        let (door, time_max) = (self.clone(), if busy { HANDSHAKE_BUSY_MAX } else { HANDSHAKE_MAX });
        tokio::spawn(async move {
            if let Err(reason) = door.admit(incoming, time_max, place).await {
                door.sessions.reject(reason, address);
            }
        });
    }

    async fn admit(
        &self,
        incoming: Incoming,
        time_max: Duration,
        place: HalfOpenPlace,
    ) -> Result<(), RejectReason> {
        let begun = tokio::time::Instant::now();
        let config = if self.sessions.is_joining() { &self.configs.joining } else { &self.configs.closed };
        // The first packet alone may already be refused.
        let handshake = async { incoming.accept_with(config.clone())?.await };
        let connection = match timeout(time_max, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return quic::rejection(&error).map_or(Ok(()), Err),
            Err(_) => return Err(RejectReason::HandshakeTimeout),
        };
        let left = time_max.saturating_sub(begun.elapsed());
        let protocol = quic::protocol(&connection);
        let quic = Arc::new(Quic::new(connection)?);
        let streams = quic.clone();
        self.sessions.admit(quic, protocol, async move { streams.accept().await }, place, left).await;
        Ok(())
    }
}
