//! A carrier made of a plain byte stream: TLS over a TCP or SOCKS connection, a pipe in memory.

use super::carrier::{Carrier, CarrierEnd, Close, Connection, Liveness};
use crate::address::{Address, PeerId};
use crate::link::{LinkCaps, Medium};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream whose end is noticed by reading it alone. Closing it is letting its halves go, which the session
/// does; the peer receives no code.
#[derive(Debug)]
pub struct Pipe {
    peer: PeerId,
    address: Address,
    dial_address: Option<Address>,
    caps: LinkCaps,
    closed: OnceLock<CarrierEnd>,
}

impl Pipe {
    /// A connection over one stream. The peer must have proved its key before, by TLS for example.
    /// `dial_address` is the place where it can be dialled later, if it is known.
    pub fn connection(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        peer: PeerId,
        address: Address,
        dial_address: Option<Address>,
        caps: LinkCaps,
    ) -> Connection {
        let (read, write) = tokio::io::split(stream);
        let carrier = Arc::new(Self { peer, address, dial_address, caps, closed: OnceLock::new() });
        Connection { carrier, read: Box::new(read), write: Box::new(write) }
    }
}

impl Carrier for Pipe {
    fn peer(&self) -> PeerId {
        self.peer
    }

    fn address(&self) -> Address {
        self.address
    }

    fn dial_address(&self) -> Option<Address> {
        self.dial_address
    }

    fn caps(&self, message_bytes_max: usize) -> LinkCaps {
        LinkCaps { message_bytes_max, ..self.caps.clone() }
    }

    fn ended(&self) -> Option<CarrierEnd> {
        self.closed.get().copied()
    }

    /// A slow stream has longer to answer: a second, and two round trips as they were when it was opened.
    fn liveness(&self) -> Liveness {
        let usual = Liveness::default();
        let round_trips = Duration::from_millis(4 * u64::from(self.caps.latency_ms));
        Liveness { answer_within: usual.answer_within + round_trips, ..usual }
    }

    fn close(&self, _code: Close) {
        // A second close changes nothing.
        let _ = self.closed.set(CarrierEnd::Here);
    }
}

/// What a reliable, confidential stream can carry, before anything is known of its rate.
pub const STREAM_CAPS: LinkCaps = LinkCaps {
    medium: Medium::Memory,
    message_bytes_max: crate::stream::MESSAGE_BYTES_MAX,
    rate_bps: None,
    latency_ms: 0,
    loss_permille: 0,
    broadcast: false,
    metered: false,
    confidential: true,
    airtime_us_per_byte: 0,
    airtime_left: None,
};
