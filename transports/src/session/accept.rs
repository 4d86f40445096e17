//! The accepting side: how many strangers may knock at once, and what becomes of a connection.

use super::Sessions;
use super::carrier::{Carrier, CarrierEnd, Protocol, ReadHalf, SessionError, WriteHalf};
use super::greet::SessionSide;
use crate::address::Address;
use crate::link::RejectReason;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time from the first packet to a link or a whole request to join; then the connection is closed.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The same while more than [`RETRY_ABOVE`] are unfinished: an honest handshake takes milliseconds.
pub const HANDSHAKE_BUSY_MAX: Duration = Duration::from_secs(3);
/// Above this many unfinished handshakes a client must first show that it receives our answers (QUIC Retry).
pub const RETRY_ABOVE: usize = 16;
/// Unfinished handshakes at once; beyond, new ones are refused.
pub const HALF_OPEN_MAX: usize = 128;
/// Unfinished handshakes at once of one IPv4 address, IPv6 /64 or other place; beyond, its new ones are refused.
pub const HALF_OPEN_PER_ADDRESS_MAX: usize = 32;
/// Requests to join worked on at once; beyond, new ones are refused.
pub const JOINS_MAX: usize = 8;

/// Counts the handshakes that are not finished yet, by address.
#[derive(Debug, Default)]
pub struct HalfOpen(Mutex<BTreeMap<Address, usize>>);

/// The address a handshake is counted for: an IPv4 address, or an IPv6 /64, which is one network and as a
/// rule one machine's to draw addresses from.
fn counted(address: Address) -> Address {
    const SUBNET: u128 = !0 << 64;
    let Address::Socket(address) = address else { return address };
    let ip = match address.ip().to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & SUBNET).into(),
        v4 @ IpAddr::V4(_) => v4,
    };
    Address::Socket((ip, 0).into())
}

/// One unfinished handshake, counted while it lives.
#[derive(Debug)]
pub struct HalfOpenPlace(Arc<HalfOpen>, Address);

impl HalfOpen {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<Address, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many handshakes are unfinished now.
    pub fn total(&self) -> usize {
        self.counts().values().sum()
    }

    /// A place for one more from an address; `None` when there are as many as are allowed.
    pub fn enter(self: &Arc<Self>, address: Address) -> Option<HalfOpenPlace> {
        self.enter_as_one_of(counted(address), HALF_OPEN_PER_ADDRESS_MAX)
    }

    /// The same where all connections come from one address, as those of an onion service do: as many as are allowed in all.
    pub fn enter_unnamed(self: &Arc<Self>, address: Address) -> Option<HalfOpenPlace> {
        self.enter_as_one_of(address, HALF_OPEN_MAX)
    }

    fn enter_as_one_of(self: &Arc<Self>, address: Address, own_max: usize) -> Option<HalfOpenPlace> {
        let mut counts = self.counts();
        let (total, own) = (counts.values().sum::<usize>(), counts.get(&address).copied().unwrap_or(0));
        if total >= HALF_OPEN_MAX || own >= own_max {
            return None;
        }
        counts.insert(address, own + 1);
        Some(HalfOpenPlace(self.clone(), address))
    }
}

impl Drop for HalfOpenPlace {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        if let Some(own) = counts.get_mut(&self.1) {
            *own -= 1;
        }
        counts.retain(|_, own| *own > 0);
    }
}

impl Sessions {
    /// Takes an accepted connection whose other end has proved its key, and makes of it what its protocol
    /// asks for. Returns when it is a link or its request is answered; what is turned away is counted. The
    /// streams are waited for only once the other end may open them.
    pub async fn admit(
        self: &Arc<Self>,
        carrier: Arc<dyn Carrier>,
        protocol: Protocol,
        streams: impl Future<Output = Result<(ReadHalf, WriteHalf), CarrierEnd>>,
        place: HalfOpenPlace,
        time_max: Duration,
    ) {
        let address = carrier.address();
        match protocol {
            Protocol::Join => {
                if let Err(reason) = self.answer(&*carrier, streams, time_max, place).await {
                    self.reject(reason, address);
                }
            }
            Protocol::Peer => match self.start(carrier, streams, SessionSide::Accepted, time_max).await {
                Ok(()) => {}
                Err(SessionError::Rejected(reason)) => self.reject(reason, address),
                Err(SessionError::Slow) => self.reject(RejectReason::HandshakeTimeout, address),
                Err(error) => tracing::debug!(%address, %error, "no link"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_takes_only_its_share_of_the_places() {
        let half_open = Arc::new(HalfOpen::default());
        let from = |host: u16| Address::Socket(([0xfd00, 0, 0, 0, 0, 0, 0, host], host).into());
        let places: Vec<_> = (0..100).map_while(|host| half_open.enter(from(host))).collect();
        assert_eq!(places.len(), HALF_OPEN_PER_ADDRESS_MAX);
        assert!(half_open.enter(Address::Socket(([192, 0, 2, 1], 1).into())).is_some());
        drop(places);
        assert_eq!(half_open.total(), 0);
    }
}
