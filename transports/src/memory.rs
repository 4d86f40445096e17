//! Links within one process: the sessions of every carrier over pipes in memory, for tests and examples.
//!
//! A [`Network`] has numbered places; a node at one can be dialled as `memory:NUMBER`. Keys are taken as
//! given: there is no outsider in a process. Nothing is lost, delayed or reordered; what a bad network does
//! belongs to a simulator above. [`Transport`] shows two nodes over it.

use crate::address::{Address, PeerId};
use crate::error::JoinError;
use crate::events::Events;
use crate::link::Medium;
use crate::session::{
    BoxFuture, CarrierEnd, Connection, Dial, Dialler, HANDSHAKE_MAX, Pipe, Protocol, QUEUE_BYTES_MAX,
    STREAM_CAPS, Sessions,
};
use crate::set::{JoinDial, Transport};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Bytes that a pipe holds in each direction; beyond, the writer waits.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that may wait to be accepted at a place; beyond, the dialler waits.
const INCOMING_MAX: usize = 16;

/// The places of one process, shared by its nodes; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Network(Arc<Mutex<BTreeMap<u64, ListeningNode>>>);

#[derive(Clone, Debug)]
struct ListeningNode {
    id: PeerId,
    incoming: mpsc::Sender<Incoming>,
}

/// A connection that waits to be accepted.
#[derive(Debug)]
struct Incoming {
    from: PeerId,
    at: u64,
    protocol: Protocol,
    stream: DuplexStream,
}

impl Network {
    fn listeners(&self) -> MutexGuard<'_, BTreeMap<u64, ListeningNode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's place in a [`Network`]. Dropped, it ends its links.
#[derive(Debug)]
pub struct Memory {
    sessions: Arc<Sessions>,
    dial: Arc<MemoryDial>,
    tasks: JoinSet<()>,
}

impl Memory {
    /// Takes a place in the network, and dials and accepts on the present tokio runtime. A node that had the
    /// place before is no longer dialled there.
    pub fn start(network: &Network, place: u64, id: PeerId, events: Events) -> Self {
        /// Distinguishes the starts of nodes within a process.
        static BOOTS: AtomicU64 = AtomicU64::new(0);
        let boot = BOOTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let sessions = Sessions::new(id, boot, QUEUE_BYTES_MAX, Arc::default(), events);
        let (incoming, accepting) = mpsc::channel(INCOMING_MAX);
        network.listeners().insert(place, ListeningNode { id, incoming });
        let dial = Arc::new(MemoryDial { network: network.clone(), id, place });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(sessions.clone(), accepting));
        tasks.spawn(Dialler::new(sessions.clone(), dial.clone()).run());
        Self { sessions, dial, tasks }
    }
}

impl Transport for Memory {
    fn medium(&self) -> Medium {
        Medium::Memory
    }

    fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    fn join(&self, call: JoinDial) -> BoxFuture<'_, Result<Vec<u8>, JoinError>> {
        let JoinDial { inviter, addresses, request, secret: _ } = call;
        Box::pin(self.sessions.join(self.dial.clone(), inviter, addresses, request, None))
    }

    fn shutdown(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.sessions.shutdown().await;
            self.tasks.shutdown().await;
        })
    }

    fn local_addresses(&self) -> Vec<Address> {
        vec![Address::Memory(self.dial.place)]
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.sessions.end_all();
        let mut listeners = self.dial.network.listeners();
        // Another node may have taken the place.
        if listeners.get(&self.dial.place).is_some_and(|listener| listener.id == self.dial.id) {
            listeners.remove(&self.dial.place);
        }
    }
}

/// The way to every other place.
#[derive(Debug)]
struct MemoryDial {
    network: Network,
    id: PeerId,
    place: u64,
}

impl Dial for MemoryDial {
    fn dials(&self, address: &Address) -> bool {
        matches!(address, Address::Memory(_))
    }

    fn connect(
        &self,
        peer: PeerId,
        address: Address,
        protocol: Protocol,
    ) -> BoxFuture<'_, Result<Connection, CarrierEnd>> {
        Box::pin(async move {
            let Address::Memory(place) = address else { return Err(CarrierEnd::Failed) };
            let listener = self.network.listeners().get(&place).cloned().ok_or(CarrierEnd::Failed)?;
            if listener.id != peer {
                return Err(CarrierEnd::OtherKey);
            }
            let (own, other) = tokio::io::duplex(PIPE_BYTES);
            let incoming = Incoming { from: self.id, at: self.place, protocol, stream: other };
            listener.incoming.send(incoming).await.map_err(|_| CarrierEnd::Aborted)?;
            Ok(Pipe::connection(own, peer, address, Some(address), STREAM_CAPS))
        })
    }
}

async fn accept(sessions: Arc<Sessions>, mut accepting: mpsc::Receiver<Incoming>) {
    while let Some(Incoming { from, at, protocol, stream }) = accepting.recv().await {
        let address = Address::Memory(at);
        // Without a place the stream is dropped, and the dialler finds its end.
        let Some(place) = sessions.half_open().enter(address) else { continue };
        let sessions = sessions.clone();
        tokio::spawn(async move {
            let Connection { carrier, read, write } =
                Pipe::connection(stream, from, address, Some(address), STREAM_CAPS);
            let streams = std::future::ready(Ok((read, write)));
            sessions.admit(carrier, protocol, streams, place, HANDSHAKE_MAX).await;
        });
    }
}
