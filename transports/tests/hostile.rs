//! Peers and strangers that do not keep to the protocol, over real QUIC on loopback: they are
//! counted, and honest peers go on.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tombolo_transports::stream::{Frame, Hello};
use tombolo_transports::tls::{ALPN_JOIN, AllowList, Tls, server_name};
use tombolo_transports::{DownReason, Lan, LanConfig, LinkEvent, PeerId, RejectReason};

const PATIENCE: Duration = Duration::from_secs(20);

async fn node(seed: u8, peers: Vec<PeerId>) -> (Lan, mpsc::Receiver<LinkEvent>) {
    let config = LanConfig {
        listen: vec![([127, 0, 0, 1], 0).into()],
        mdns: false,
        loopback: true,
        peers,
        ..LanConfig::new([seed; 32])
    };
    Lan::start(config).await.unwrap()
}

fn at(lan: &Lan) -> SocketAddr {
    lan.local_addresses()[0]
}

/// An attacker with a key and a QUIC stack.
struct Rogue {
    endpoint: Endpoint,
    tls: Tls,
}

impl Rogue {
    fn new(seed: u8, victim: PeerId) -> Self {
        let allow = Arc::new(AllowList::default());
        allow.replace([victim]);
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        Self { endpoint, tls: Tls::new(&[seed; 32], allow).unwrap() }
    }

    fn config(config: rustls::ClientConfig) -> ClientConfig {
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }

    async fn connect(
        &self,
        lan: &Lan,
        config: rustls::ClientConfig,
    ) -> Result<Connection, quinn::ConnectionError> {
        self.endpoint.connect_with(Self::config(config), at(lan), &server_name(&lan.id())).unwrap().await
    }

    /// A connection on which the victim has heard `bytes` and nothing else.
    async fn say(&self, lan: &Lan, bytes: &[u8]) -> (Connection, quinn::SendStream, quinn::RecvStream) {
        let connection = self.connect(lan, self.tls.client(false).unwrap()).await.unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (connection, send, recv)
    }
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::Hello(Hello { version: 1, boot: [1; 8], message_bytes_max: 1 << 20 }).encode(&mut bytes);
    bytes
}

async fn count(lan: &Lan, reason: RejectReason) -> u64 {
    let begun = Instant::now();
    loop {
        if let Some(count) = lan.rejections().get(&reason) {
            return *count;
        }
        assert!(begun.elapsed() < PATIENCE, "no {reason:?} in {:?}", lan.rejections());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn down(events: &mut mpsc::Receiver<LinkEvent>) -> DownReason {
    loop {
        let event = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        if let LinkEvent::Down { reason, .. } = event {
            return reason;
        }
    }
}

/// Whether two honest nodes can still meet, and how long that took.
async fn honest_link(lan: &Lan, events: &mut mpsc::Receiver<LinkEvent>, honest: u8) -> Duration {
    let begun = Instant::now();
    let (other, _others) = node(honest, vec![lan.id()]).await;
    other.know_address(lan.id(), vec![at(lan)]);
    loop {
        let event = timeout(PATIENCE, events.recv()).await.expect("an honest link in time").unwrap();
        if matches!(event, LinkEvent::Up { peer, .. } if peer == other.id()) {
            return begun.elapsed();
        }
    }
}

fn id(seed: u8) -> PeerId {
    Tls::new(&[seed; 32], Arc::default()).unwrap().id()
}

#[tokio::test]
async fn a_peer_that_sends_garbage_loses_its_link_and_nobody_else_does() {
    // Of these two seeds the rogue's key is the lower one, so that it may choose.
    let rogue_seed = if id(2) < id(1) { 2 } else { 1 };
    let victim_seed = 3 - rogue_seed;
    let (lan, mut events) = node(victim_seed, vec![id(rogue_seed), id(7)]).await;
    let rogue = Rogue::new(rogue_seed, lan.id());
    let mut chosen = hello();
    Frame::Chosen.encode(&mut chosen);
    let cases: [(&[u8], RejectReason); 4] = [
        (&[0xff; 64], RejectReason::BadFrame),
        (&[0, 0x10, 0, 1], RejectReason::Oversized),
        (&[3, 0, 0, 9], RejectReason::BadFrame),
        (&[2, 0, 0, 0], RejectReason::BadFrame),
    ];
    for (bytes, reason) in cases {
        let (connection, _send, _recv) = rogue.say(&lan, &[&chosen, bytes].concat()).await;
        assert_eq!(down(&mut events).await, DownReason::Misbehaved(reason));
        timeout(PATIENCE, connection.closed()).await.unwrap();
    }
    assert_eq!(count(&lan, RejectReason::BadFrame).await, 3);
    assert_eq!(count(&lan, RejectReason::Oversized).await, 1);
    honest_link(&lan, &mut events, 7).await;
}

#[tokio::test]
async fn a_bad_greeting_makes_no_link() {
    let (lan, mut events) = node(1, vec![id(2)]).await;
    let rogue = Rogue::new(2, lan.id());
    for bytes in [&[0, 0, 0, 1, 9][..], &[1, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0]]
    {
        let (connection, _send, _recv) = rogue.say(&lan, bytes).await;
        timeout(PATIENCE, connection.closed()).await.unwrap();
    }
    assert_eq!(count(&lan, RejectReason::BadHello).await, 3);
    while let Ok(event) = events.try_recv() {
        assert!(matches!(event, LinkEvent::Rejected { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_peer_that_greets_and_falls_silent_is_dropped_in_time() {
    let (lan, _events) = node(1, vec![id(2)]).await;
    let rogue = Rogue::new(2, lan.id());
    let begun = Instant::now();
    let (connection, mut send, _recv) = rogue.say(&lan, &hello()[..5]).await;
    // One byte a second keeps the connection alive, and must not keep the handshake open.
    tokio::spawn(async move {
        for byte in &hello()[5..] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = send.write_all(&[*byte]).await;
        }
    });
    timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    assert_eq!(count(&lan, RejectReason::HandshakeTimeout).await, 1);
}

#[tokio::test]
async fn a_key_struck_off_finds_no_ticket_to_come_back_with() {
    let (lan, mut events) = node(1, vec![id(2)]).await;
    let rogue = Rogue::new(2, lan.id());
    // Keeps every ticket it is given, and would send early data.
    let store = Arc::new(Counting::default());
    let mut config = rogue.tls.client(false).unwrap();
    config.resumption = rustls::client::Resumption::store(store.clone());
    config.enable_early_data = true;
    let connection = rogue.connect(&lan, config.clone()).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&hello()).await.unwrap();
    let _ = recv.read(&mut [0; 17]).await;
    lan.set_peers(Vec::new());
    connection.close(0_u32.into(), b"");
    assert_eq!(store.0.load(std::sync::atomic::Ordering::Relaxed), 0, "a session ticket was sent");
    if let Ok(connection) = rogue.connect(&lan, config).await {
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        let _ = send.write_all(&hello()).await;
        timeout(PATIENCE, connection.closed()).await.unwrap();
    }
    count(&lan, RejectReason::UnknownKey).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, LinkEvent::Received { .. }));
    }
}

/// Remembers nothing but how often it was given a ticket.
#[derive(Debug, Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl rustls::client::ClientSessionStore for Counting {
    fn set_kx_hint(&self, _: rustls::pki_types::ServerName<'static>, _: rustls::NamedGroup) {}
    fn kx_hint(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }
    fn set_tls12_session(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        _: rustls::client::Tls12ClientSessionValue,
    ) {
    }
    fn tls12_session(
        &self,
        _: &rustls::pki_types::ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &rustls::pki_types::ServerName<'static>) {}
    fn insert_tls13_ticket(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        _: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    fn take_tls13_ticket(
        &self,
        _: &rustls::pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test]
async fn no_stream_but_the_one_is_granted() {
    let (lan, _events) = node(1, vec![id(2)]).await;
    let rogue = Rogue::new(2, lan.id());
    let (connection, _send, _recv) = rogue.say(&lan, &hello()).await;
    let more = timeout(Duration::from_millis(300), connection.open_bi()).await;
    assert!(more.is_err(), "a second stream was granted");
    assert!(timeout(Duration::from_millis(300), connection.open_uni()).await.is_err());
    assert!(connection.max_datagram_size().is_none());
}

#[tokio::test]
async fn a_request_to_join_that_is_too_long_or_never_ends_is_counted() {
    let (lan, mut events) = node(1, vec![]).await;
    lan.set_joining(true);
    let rogue = Rogue::new(2, lan.id());
    let connection = rogue.connect(&lan, rogue.tls.client(true).unwrap()).await.unwrap();
    let data =
        connection.handshake_data().unwrap().downcast::<quinn::crypto::rustls::HandshakeData>().unwrap();
    assert_eq!(data.protocol.as_deref(), Some(ALPN_JOIN));
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    let _ = send.write_all(&[0; 5000]).await;
    timeout(PATIENCE, connection.closed()).await.unwrap();
    assert_eq!(count(&lan, RejectReason::BadJoin).await, 1);
    let connection = rogue.connect(&lan, rogue.tls.client(true).unwrap()).await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    let _ = send.write_all(b"pl").await;
    timeout(PATIENCE, connection.closed()).await.unwrap();
    assert_eq!(count(&lan, RejectReason::HandshakeTimeout).await, 1);
    while let Ok(event) = events.try_recv() {
        assert!(matches!(event, LinkEvent::Rejected { .. }), "{event:?}");
    }
}

/// First packets of handshakes that never go on, from many ports: what a spoofing flood looks like.
#[tokio::test]
async fn a_flood_of_handshakes_leaves_room_for_an_honest_peer() {
    let (lan, mut events) = node(1, vec![id(7), id(8)]).await;
    let usual = honest_link(&lan, &mut events, 7).await;
    let initial = initial_packet(&lan).await;
    let victim = at(&lan);
    let flood = tokio::spawn(async move {
        let mut sockets = Vec::new();
        for _ in 0..200 {
            sockets.push(tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
        }
        for _ in 0..20 {
            for socket in &sockets {
                let _ = socket.send_to(&initial, victim).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let flooded = honest_link(&lan, &mut events, 8).await;
    println!("a link took {usual:?}, and {flooded:?} under a flood");
    assert!(flooded < usual * 2 + Duration::from_secs(1));
    flood.await.unwrap();
}

/// The first datagram of an honest client, recorded.
async fn initial_packet(lan: &Lan) -> Vec<u8> {
    let tap = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let rogue = Rogue::new(9, lan.id());
    let config = Rogue::config(rogue.tls.client(false).unwrap());
    let connecting =
        rogue.endpoint.connect_with(config, tap.local_addr().unwrap(), &server_name(&lan.id())).unwrap();
    let mut bytes = vec![0; 2000];
    let (length, _) = tap.recv_from(&mut bytes).await.unwrap();
    drop(connecting);
    bytes.truncate(length);
    bytes
}
