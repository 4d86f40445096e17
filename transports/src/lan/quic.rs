//! QUIC endpoints for the local network: sockets, limits, and what its errors mean here.
//!
//! One endpoint per listen address. A connection is only a proved key; [`session`](crate::session)
//! makes a link of it.

use crate::address::{Address, PeerId};
use crate::error::LanError;
use crate::link::{LinkCaps, Medium, RejectReason};
use crate::session::{
    BoxFuture, Carrier, CarrierEnd, Close, Liveness, PathMeasure, Protocol, ReadHalf, STREAM_CAPS, WriteHalf,
};
use crate::tls::{self, Tls};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, ConnectionError, ConnectionId, ConnectionIdGenerator, Endpoint,
    EndpointConfig, MtuDiscoveryConfig, Runtime, ServerConfig, TransportConfig, TransportErrorCode, VarInt,
    crypto,
};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A link on which nothing is received for this long is down.
const IDLE: Duration = Duration::from_secs(10);
/// The dialling end sends at least this often; the other's acknowledgements are life enough.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A link on which nothing is received for this long is suspect: the dialling end sends more often.
const QUIET: Duration = Duration::from_secs(7);
/// The round trip assumed before one is measured: a lost first packet is repeated after about
/// three times this, where QUIC's default of 333 ms means a second.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Bytes a peer may have in flight towards us; beyond, it waits until the node has read.
const RECEIVE_WINDOW_BYTES: u32 = 2 << 20;
/// The same before the greeting is checked: a stranger's bytes are not worth more.
const STRANGER_WINDOW_BYTES: u32 = 16 << 10;
/// Bytes of ours that may be unacknowledged; beyond, messages wait in the link's queue.
const SEND_WINDOW_BYTES: u64 = 2 << 20;
/// Room asked of the system for datagrams that wait to be read; it may give less, then bursts
/// are repaired by QUIC.
const SOCKET_BUFFER_BYTES: usize = 2 << 20;
/// Connection attempts that may wait to be accepted; beyond, QUIC refuses.
const INCOMING_MAX: usize = 256;
/// Bytes kept of one such attempt, and of all; beyond, its packets are dropped.
const INCOMING_BYTES_MAX: u64 = 16 << 10;
const INCOMING_ALL_BYTES_MAX: u64 = 1 << 20;
/// The payload of a datagram with which every connection begins; QUIC asks for it of each path.
const INITIAL_PAYLOAD_BYTES: u16 = 1_200;
/// The payload that fits a frame of an Ethernet over IPv6 as well.
const ETHERNET_PAYLOAD_BYTES: u16 = 1_452;
/// Times a set of listen addresses that wants one free port for several families is tried.
const PORT_TRIES: usize = 8;
/// Bytes of a connection id.
const CONNECTION_ID_BYTES: usize = 8;

/// The configurations of one node, made once.
#[derive(Clone, Debug)]
pub(super) struct Configs {
    /// For accepting peers only.
    pub(super) closed: Arc<ServerConfig>,
    /// For accepting while invites are open.
    pub(super) joining: Arc<ServerConfig>,
    pub(super) dial: ClientConfig,
    pub(super) join: ClientConfig,
}

impl Configs {
    pub(super) fn new(tls: &Tls) -> Result<Self, LanError> {
        Ok(Self {
            closed: Arc::new(server(tls, false)?),
            joining: Arc::new(server(tls, true)?),
            dial: client(tls, false)?,
            join: client(tls, true)?,
        })
    }
}

fn server(tls: &Tls, joining: bool) -> Result<ServerConfig, LanError> {
    let crypto = QuicServerConfig::try_from(tls.server(joining)?).expect("TLS 1.3 has QUIC's initial suite");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport()))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_ALL_BYTES_MAX);
    Ok(config)
}

fn client(tls: &Tls, joining: bool) -> Result<ClientConfig, LanError> {
    let crypto = QuicClientConfig::try_from(tls.client(joining)?).expect("TLS 1.3 has QUIC's initial suite");
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    if joining {
        // Seven tenths of the bytes of a short exchange are probes for a larger MTU.
        transport.mtu_discovery_config(None);
    }
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// One stream, opened by the dialling end, and no datagrams.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IDLE.try_into().expect("ten seconds are a QUIC idle time-out")))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .mtu_discovery_config(Some(one_probe()))
        .datagram_receive_buffer_size(None);
    transport
}

/// One probe for the packets of an Ethernet, in place of a search in four steps, which costs a short session more bytes than all else.
/// Where it is lost, as on a tunnel, packets stay at the 1,200 bytes that every path carries.
fn one_probe() -> MtuDiscoveryConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery
        .upper_bound(ETHERNET_PAYLOAD_BYTES)
        .minimum_change(ETHERNET_PAYLOAD_BYTES - INITIAL_PAYLOAD_BYTES);
    discovery
}

/// Shows when an endpoint's socket is closed, which is a little after its last handle is gone.
pub(super) type SocketWatch = Weak<dyn AsyncUdpSocket>;

/// Binds every address. Those with port 0 share one free port; a family this machine does not
/// have is left out as long as another address can be bound. No address, no socket: no peer is met here.
pub(super) fn bind(
    listen: &[SocketAddr],
    configs: &Configs,
    secret: &[u8; 32],
) -> Result<(Vec<Endpoint>, Vec<SocketWatch>), LanError> {
    let mut tries = 0;
    let sockets = loop {
        tries += 1;
        match bind_sockets(listen) {
            Err(LanError::Bind { address, .. }) if address.port() == 0 && tries < PORT_TRIES => {}
            done => break done?,
        }
    };
    let bound = sockets.into_iter().enumerate().map(|(index, socket)| {
        let address = socket.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        let reset = ResetKey::new(secret, index);
        endpoint(socket, configs, reset).map_err(|source| LanError::Bind { address, source })
    });
    Ok(bound.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

fn endpoint(socket: UdpSocket, configs: &Configs, reset: ResetKey) -> io::Result<(Endpoint, SocketWatch)> {
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = runtime.wrap_udp_socket(socket)?;
    let port = Arc::downgrade(&socket);
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(|| Box::new(RandomIds));
    let server = Some((*configs.closed).clone());
    Ok((Endpoint::new_with_abstract_socket(config, server, socket, runtime)?, port))
}

fn bind_sockets(listen: &[SocketAddr]) -> Result<Vec<UdpSocket>, LanError> {
    let (mut sockets, mut shared_port) = (Vec::new(), 0);
    for asked in listen {
        let mut address = *asked;
        if address.port() == 0 {
            address.set_port(shared_port);
        }
        match bind_socket(address) {
            Ok(socket) => {
                if asked.port() == 0 {
                    shared_port = socket.local_addr().map_or(0, |bound| bound.port());
                }
                sockets.push(socket);
            }
            Err(source) if no_such_family(&source) => tracing::info!(%address, %source, "not listening here"),
            Err(source) => return Err(LanError::Bind { address: *asked, source }),
        }
    }
    // No address was asked for: a node that is to stay off the network.
    if sockets.is_empty() && !listen.is_empty() {
        Err(LanError::NoAddress { listen: listen.to_vec() })
    } else {
        Ok(sockets)
    }
}

fn bind_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn no_such_family(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    /// EAFNOSUPPORT on Linux, on BSD and macOS, and on Windows: `std` has no kind for it.
    const NO_FAMILY: [i32; 3] = [97, 47, 10047];
    matches!(error.kind(), AddrNotAvailable | Unsupported)
        || error.raw_os_error().is_some_and(|code| NO_FAMILY.contains(&code))
}

/// One QUIC connection with a proved key, as the session sees it.
#[derive(Debug)]
pub(super) struct Quic {
    connection: Connection,
    peer: PeerId,
}

impl Quic {
    pub(super) fn new(connection: Connection) -> Result<Self, RejectReason> {
        let peer = proved_key(&connection).ok_or(RejectReason::HandshakeFailed)?;
        Ok(Self { connection, peer })
    }

    /// Opens the one stream.
    pub(super) async fn open(&self) -> Result<(ReadHalf, WriteHalf), CarrierEnd> {
        let (write, read) = self.connection.open_bi().await?;
        Ok((Box::new(read), Box::new(write)))
    }

    /// Waits until the dialling end has opened it.
    pub(super) async fn accept(&self) -> Result<(ReadHalf, WriteHalf), CarrierEnd> {
        let (write, read) = self.connection.accept_bi().await?;
        Ok((Box::new(read), Box::new(write)))
    }
}

impl Carrier for Quic {
    fn peer(&self) -> PeerId {
        self.peer
    }

    /// Peers dial from the port they listen on, so that of an accepted connection can be dialled too.
    fn address(&self) -> Address {
        self.connection.remote_address().into()
    }

    fn caps(&self, message_bytes_max: usize) -> LinkCaps {
        let latency_ms = u32::try_from(self.connection.rtt().as_millis() / 2).unwrap_or(u32::MAX);
        LinkCaps { medium: Medium::Lan, message_bytes_max, latency_ms, ..STREAM_CAPS }
    }

    fn ended(&self) -> Option<CarrierEnd> {
        self.connection.close_reason().map(CarrierEnd::from)
    }

    fn close(&self, code: Close) {
        self.connection.close(VarInt::from_u32(code as u32), b"");
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.connection.closed().await;
        })
    }

    fn received(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    fn measured(&self) -> Option<PathMeasure> {
        let path = self.connection.stats().path;
        Some(PathMeasure {
            rtt: path.rtt,
            window_bytes: path.cwnd,
            packets_sent: path.sent_packets,
            packets_lost: path.lost_packets,
        })
    }

    fn ends_streams(&self) -> bool {
        true
    }

    fn trust(&self) {
        self.connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES));
    }

    fn liveness(&self) -> Liveness {
        Liveness { ping_after: None, suspect_after: QUIET, down_after: None, ..Liveness::default() }
    }
}

fn proved_key(connection: &Connection) -> Option<PeerId> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    match identity.as_slice() {
        [certificate] => tls::key_of(certificate),
        _ => None,
    }
}

/// What the connection is for.
pub(super) fn protocol(connection: &Connection) -> Protocol {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let joins = data.is_some_and(|data| data.protocol.as_deref() == Some(tls::ALPN_JOIN));
    if joins { Protocol::Join } else { Protocol::Peer }
}

/// TLS alerts, RFC 8446 section 6.
const ACCESS_DENIED: u8 = 49;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Whether this end refused the other's key.
fn refused_key(error: &ConnectionError) -> bool {
    let denied = TransportErrorCode::crypto(ACCESS_DENIED);
    matches!(error, ConnectionError::TransportError(error) if error.code == denied)
}

/// What a failed handshake counts as at the accepting end; `None` if the other end gave up.
pub(super) fn rejection(error: &ConnectionError) -> Option<RejectReason> {
    match error {
        ConnectionError::TransportError(_) if refused_key(error) => Some(RejectReason::UnknownKey),
        ConnectionError::TransportError(error)
            if error.code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
        {
            Some(RejectReason::NoInvite)
        }
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
            Some(RejectReason::HandshakeFailed)
        }
        ConnectionError::TimedOut => Some(RejectReason::HandshakeTimeout),
        _ => None,
    }
}

impl From<ConnectionError> for CarrierEnd {
    fn from(error: ConnectionError) -> Self {
        let refusals = [ACCESS_DENIED, NO_APPLICATION_PROTOCOL].map(TransportErrorCode::crypto);
        match &error {
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::Reset => Self::Restarted,
            ConnectionError::ApplicationClosed(close) => {
                Self::Peer(Close::from_code(close.error_code.into_inner()))
            }
            ConnectionError::ConnectionClosed(close) if refusals.contains(&close.error_code) => Self::Refused,
            ConnectionError::ConnectionClosed(_) => Self::Aborted,
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::TransportError(_) if refused_key(&error) => Self::OtherKey,
            ConnectionError::TransportError(_)
            | ConnectionError::VersionMismatch
            | ConnectionError::CidsExhausted => Self::Failed,
        }
    }
}

/// Signs stateless resets (RFC 9000, section 10.3) with a key that outlives a restart, so that a
/// peer learns at its next packet that this node has forgotten the connection, not after [`IDLE`].
///
/// Each endpoint has its own: one must not answer for ids the other still uses (section 21.11).
struct ResetKey([u8; 32]);

impl ResetKey {
    fn new(secret: &[u8; 32], endpoint: usize) -> Self {
        let key = blake3::derive_key("tombolo 2026 lan stateless reset 1", secret);
        Self(*blake3::keyed_hash(&key, &endpoint.to_be_bytes()).as_bytes())
    }

    fn code(&self, data: &[u8]) -> [u8; 64] {
        let mut code = [0; 64];
        blake3::Hasher::new_keyed(&self.0).update(data).finalize_xof().fill(&mut code);
        code
    }
}

impl crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.iter_mut().zip(self.code(data)).for_each(|(to, from)| *to = from);
    }

    fn signature_len(&self) -> usize {
        64
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), crypto::CryptoError> {
        use subtle::ConstantTimeEq;
        if bool::from(self.code(data).ct_eq(signature)) { Ok(()) } else { Err(crypto::CryptoError) }
    }
}

/// Connection ids that carry no meaning. Ids of an earlier start must get a reset too, so none is
/// recognised by its form.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_BYTES];
        getrandom::fill(&mut id).expect("the system gave random bytes at the start");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
