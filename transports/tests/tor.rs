//! The Tor carrier between two nodes, each beside a scripted tor of its own (`scripted/`): the name of each test states what
//! it proves. `tests/tor` does the same with a real Tor network.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]

mod scripted;
#[path = "../../fuzz/tor_checks.rs"]
mod tor_checks;

use scripted::{Answer, Host, Login, Network, Place, ScriptedTor};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tombolo_transports::tor::{Endpoint, OnionSource, SESSION_PORT, ServiceState, TorFailure, host_of};
use tombolo_transports::{
    Address, DownReason, JoinDial, JoinError, JoinSecret, LinkEvent, LinkId, Medium, OnionAddress, PeerId,
    RejectReason, Tor, TorConfig, TorStatus, Transports,
};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: JoinSecret = JoinSecret([9; 32]);

fn endpoint(place: &Place) -> Endpoint {
    match place {
        Place::Tcp(address) => Endpoint::Tcp(*address),
        Place::Unix(path) => Endpoint::Unix(path.clone()),
    }
}

struct Node {
    id: PeerId,
    onion: Address,
    transports: Transports,
    events: mpsc::Receiver<LinkEvent>,
    status: TorStatus,
}

impl Node {
    async fn start(tor: &ScriptedTor, seed: u8) -> Self {
        Self::start_with(tor, seed, |_| {}).await
    }

    async fn start_with(tor: &ScriptedTor, seed: u8, set: impl FnOnce(&mut TorConfig)) -> Self {
        let onion_seed = [seed ^ 0x80; 32];
        let mut config = TorConfig::new([seed; 32], onion_seed, endpoint(tor.socks.at()));
        config.control = vec![endpoint(tor.control.at())];
        set(&mut config);
        let (mut transports, events) = Transports::new();
        let carrier = Tor::start(config, transports.events(Medium::Tor)).await.unwrap();
        let status = carrier.status().clone();
        let id = {
            use tombolo_transports::Transport;
            carrier.sessions().id()
        };
        transports.add(carrier);
        let onion = Address::Onion(OnionAddress { host: host_of(&onion_seed), port: SESSION_PORT });
        Self { id, onion, transports, events, status }
    }

    fn lists(&self, other: &Node) {
        self.transports.set_peers(&[other.id]);
    }

    fn knows(&self, other: &Node) {
        self.transports.know_addresses(other.id, &[other.onion]);
    }

    async fn next(&mut self) -> LinkEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("a living driver")
    }

    async fn up(&mut self) -> LinkId {
        loop {
            if let LinkEvent::Up { link, caps, .. } = self.next().await {
                assert_eq!(caps.medium, Medium::Tor);
                return link;
            }
        }
    }

    async fn down(&mut self) -> DownReason {
        loop {
            if let LinkEvent::Down { reason, .. } = self.next().await {
                return reason;
            }
        }
    }

    async fn received(&mut self) -> Vec<u8> {
        loop {
            if let LinkEvent::Received { bytes, .. } = self.next().await {
                return bytes;
            }
        }
    }

    async fn published(&self) {
        self.service(|state| matches!(state, ServiceState::Published { .. })).await;
    }

    async fn service(&self, is: impl Fn(&ServiceState) -> bool) {
        until(|| is(&self.status.report().service), || format!("{:?}", self.status.report())).await;
    }

    async fn fails_with(&self, peer: &Node, failure: TorFailure) {
        let is = || self.status.report().failures.get(&peer.id) == Some(&failure);
        until(is, || format!("{failure:?}, not {:?}", self.status.report())).await;
    }
}

async fn until(is: impl Fn() -> bool, what: impl Fn() -> String) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {}", what());
        sleep(Duration::from_millis(10)).await;
    }
}

fn two_tors() -> (Network, ScriptedTor, ScriptedTor) {
    let network = Network::new();
    let (a, b) = (ScriptedTor::start(&network, Login::Open), ScriptedTor::start(&network, Login::Open));
    (network, a, b)
}

async fn linked(tor_a: &ScriptedTor, tor_b: &ScriptedTor) -> (Node, Node, LinkId, LinkId) {
    let (mut a, mut b) = (Node::start(tor_a, 1).await, Node::start(tor_b, 2).await);
    a.lists(&b);
    b.lists(&a);
    a.published().await;
    b.published().await;
    a.knows(&b);
    b.knows(&a);
    let (at_a, at_b) = (a.up().await, b.up().await);
    (a, b, at_a, at_b)
}

#[tokio::test]
async fn two_peers_that_both_dial_keep_one_link_and_talk_over_it() {
    let (_network, tor_a, tor_b) = two_tors();
    let (mut a, mut b, at_a, at_b) = linked(&tor_a, &tor_b).await;
    let long = vec![7; 300_000];
    a.transports.send(at_a, long.clone()).unwrap();
    b.transports.send(at_b, b"tide".to_vec()).unwrap();
    assert_eq!(b.received().await, long);
    assert_eq!(a.received().await, b"tide");
    sleep(Duration::from_millis(500)).await;
    for node in [&mut a, &mut b] {
        while let Ok(event) = node.events.try_recv() {
            assert!(!matches!(event, LinkEvent::Up { .. } | LinkEvent::Down { .. }), "{event:?}");
        }
    }
    // Names go to tor as they are, and no attempt shares its circuit with another.
    let dials = [tor_a.socks.dials(), tor_b.socks.dials()].concat();
    assert!(dials.iter().all(|dial| matches!(&dial.host, Host::Name(name) if name.ends_with(".onion"))));
    let users: BTreeSet<_> = dials.iter().map(|dial| format!("{:?}", dial.user)).collect();
    assert_eq!(users.len(), dials.len());
}

#[tokio::test]
async fn a_tor_that_ends_takes_the_link_and_the_service_and_brings_both_back() {
    let (network, mut tor_a, tor_b) = two_tors();
    let (mut a, mut b, ..) = linked(&tor_a, &tor_b).await;
    tor_a.kill();
    b.down().await;
    a.down().await;
    let is_absent = |failure: &TorFailure| matches!(failure, TorFailure::NoTor { .. });
    let local = || a.status.report().local;
    until(|| local().as_ref().is_some_and(is_absent), || format!("{:?}", local())).await;
    network.forget();
    tor_a.revive();
    a.published().await;
    let link = a.up().await;
    b.up().await;
    a.transports.send(link, b"again".to_vec()).unwrap();
    assert_eq!(b.received().await, b"again");
}

/// A circuit that is dead without a sign, which is what every other end of a tor looks like to its peers.
#[tokio::test]
async fn a_daemon_that_is_started_again_replaces_its_dead_link() {
    let (_network, tor_a, tor_b) = two_tors();
    let (a, mut b, ..) = linked(&tor_a, &tor_b).await;
    let (id, onion) = (a.id, a.onion);
    drop(a);
    let mut a = Node::start(&tor_a, 1).await;
    assert_eq!((a.id, a.onion), (id, onion), "one seed, one address");
    a.lists(&b);
    a.knows(&b);
    a.up().await;
    b.up().await;
}

#[tokio::test]
async fn only_peers_and_the_holders_of_open_invites_reach_the_service() {
    let (network, tor_a, tor_b) = two_tors();
    let (mut a, b) = (Node::start(&tor_a, 1).await, Node::start(&tor_b, 2).await);
    a.published().await;
    b.lists(&a);
    b.knows(&a);
    b.fails_with(&a, TorFailure::AuthorisationWrong).await;

    // The holder of a code gets through with the secret that the code carries, and with no other.
    a.transports.set_joining(&[SECRET]);
    let call =
        |secret| JoinDial { inviter: a.id, addresses: vec![a.onion], secret, request: b"please".to_vec() };
    let (with_it, without) = (call(SECRET), call(JoinSecret([8; 32])));
    let label = a.onion.to_string();
    let label = label.trim_end_matches(":8662").trim_end_matches(".onion").to_owned();
    until(|| network.services().contains_key(&label), || "the service with its new client".to_owned()).await;
    let unreached = Err(JoinError::NobodyAnswered { tried: vec![a.onion] });
    assert_eq!(b.transports.join(&without).await, unreached);
    let from = b.id;
    let answering = async {
        loop {
            if let LinkEvent::JoinRequest { peer, bytes, address, answer } = a.next().await {
                assert_eq!((peer, &bytes[..], address), (from, &b"please"[..], None));
                answer.send(b"welcome".to_vec()).unwrap();
                return;
            }
        }
    };
    let (answer, ()) = tokio::join!(b.transports.join(&with_it), answering);
    assert_eq!(answer, Ok(b"welcome".to_vec()));

    // A peer needs no code, and one that is removed has no key any more.
    a.transports.set_joining(&[]);
    a.lists(&b);
    a.up().await;
    let client_key = || {
        let commands = tor_a.control.commands();
        let last = commands.iter().rfind(|line| line.starts_with("ADD_ONION")).unwrap();
        assert_eq!(last.matches("ClientAuthV3=").count(), 1, "{last}");
        last.split_once("ClientAuthV3=").unwrap().1.to_owned()
    };
    let of_the_peer = client_key();
    a.transports.set_peers(&[]);
    until(|| client_key() != of_the_peer, || "a list with a key that no client has".to_owned()).await;
    b.transports.set_peers(&[]);
    until(
        || tor_b.control.count("ONION_CLIENT_AUTH_REMOVE") > 0,
        || "b's key to be taken from its tor".to_owned(),
    )
    .await;
}

#[tokio::test]
async fn why_a_peer_is_not_reached_is_said_in_words_that_name_the_cause() {
    let (_network, tor_a, tor_b) = two_tors();
    let (a, b) = (Node::start(&tor_a, 1).await, Node::start(&tor_b, 2).await);
    a.lists(&b);
    a.published().await;
    b.published().await;
    drop(tor_a);
    b.lists(&a);
    b.knows(&a);
    b.fails_with(&a, TorFailure::ServiceGone).await;
    for (code, failure) in [
        (0x01, TorFailure::DaemonDown),
        (0x05, TorFailure::PortClosed),
        (0xf0, TorFailure::NotPublished),
        (0xf6, TorFailure::BadAddress),
    ] {
        tor_b.socks.always(scripted::Treatment::Code(code));
        // News of the peer: it is dialled at once.
        b.knows(&a);
        b.fails_with(&a, failure).await;
    }
    tor_b.control.bootstrap(45);
    b.transports.set_joining(&[SECRET]);
    b.service(|state| *state == ServiceState::Bootstrapping { percent: 45 }).await;
    b.knows(&a);
    b.fails_with(&a, TorFailure::Bootstrapping { percent: 45 }).await;
}

#[tokio::test]
async fn a_stranger_who_reaches_the_port_learns_nothing_and_is_counted() {
    let (_network, tor_a, tor_b) = two_tors();
    let open = |config: &mut TorConfig| config.onion = OnionSource::Control { client_auth: false };
    let (a, b) = (Node::start_with(&tor_a, 1, open).await, Node::start(&tor_b, 2).await);
    a.published().await;
    b.lists(&a);
    b.knows(&a);
    let refused = || a.transports.rejections().get(&(Medium::Tor, RejectReason::UnknownKey)).copied();
    until(|| refused() > Some(0), || format!("{:?}", a.transports.rejections())).await;
    assert!(tor_a.control.commands().iter().all(|line| !line.contains("ClientAuthV3")));
}

#[tokio::test]
async fn each_odd_answer_of_a_control_port_has_its_reason_and_the_next_try_succeeds() {
    let folder = std::env::temp_dir().join(format!("tombolo-tor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let cookie = folder.join("cookie");
    let network = Network::new();
    for (command, answer, words) in [
        ("PROTOCOLINFO", Answer::eof(), "tor ended the control connection"),
        ("PROTOCOLINFO", Answer::lines(&["HTTP/1.1 400 Bad Request"]), "no control port"),
        ("PROTOCOLINFO", Answer::Endless(200_000), "a line of more than 100000 bytes"),
        ("PROTOCOLINFO", Answer::lines(&["510 Unrecognized"]), "tor refused PROTOCOLINFO: 510 Unrecognized"),
        ("AUTHCHALLENGE", Answer::wrong_server_hash(), "does not have tor's cookie"),
        ("AUTHENTICATE", Answer::last(&["515 Bad authentication"]), "tor refused AUTHENTICATE: 515"),
        ("ADD_ONION", Answer::lines(&["512 Bad arguments"]), "tor refused ADD_ONION: 512 Bad arguments"),
        ("GETINFO", Answer::lines(&["250-odd=1", "250 OK"]), "no control port"),
    ] {
        let tor = ScriptedTor::start(&network, Login::cookie(cookie.clone()));
        tor.control.once(command, answer);
        let node = Node::start(&tor, 3).await;
        let is =
            |state: &ServiceState| matches!(state, ServiceState::NoControl { why } if why.contains(words));
        node.service(is).await;
        node.published().await;
        node.transports.shutdown().await;
    }
    let missing = |config: &mut TorConfig| config.credentials.cookie = Some(PathBuf::from("/nowhere/cookie"));
    let tor = ScriptedTor::start(&network, Login::cookie(cookie));
    let node = Node::start_with(&tor, 3, missing).await;
    let is = |state: &ServiceState| matches!(state, ServiceState::NoControl { why } if why.contains("/nowhere/cookie"));
    node.service(is).await;
    let plain = folder.join("plain");
    std::fs::write(&plain, [0xc0; 32]).unwrap();
    let tor = ScriptedTor::start(&network, Login::PlainCookie(plain.clone()));
    let node = Node::start(&tor, 3).await;
    node.service(|state| matches!(state, ServiceState::NoControl { why } if why.contains("in clear"))).await;
    assert_eq!(tor.control.count("AUTHENTICATE"), 0, "no file is shown to a program that merely names it");
    node.transports.shutdown().await;
    let named = |config: &mut TorConfig| config.credentials.cookie = Some(plain);
    Node::start_with(&tor, 3, named).await.published().await;
    let tor = ScriptedTor::start(&network, Login::Password("se\"cret".to_owned()));
    let node = Node::start(&tor, 4).await;
    node.service(|state| matches!(state, ServiceState::NoControl { why } if why.contains("password"))).await;
    let with = |config: &mut TorConfig| config.credentials.password = Some("se\"cret".to_owned().into());
    Node::start_with(&tor, 5, with).await.published().await;
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn the_operators_own_service_needs_no_control_port() {
    let (network, tor_a, tor_b) = two_tors();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap();
    drop(listener);
    let host = host_of(&[0x81; 32]);
    let fixed = |config: &mut TorConfig| {
        config.control = Vec::new();
        config.onion = OnionSource::Fixed { host, listen: Endpoint::Tcp(listen) };
    };
    let mut a = Node::start_with(&tor_a, 1, fixed).await;
    network.publish(host.to_string().trim_end_matches(".onion"), SESSION_PORT, Place::Tcp(listen));
    let b = Node::start(&tor_b, 2).await;
    b.published().await;
    a.service(|state| *state == ServiceState::Fixed).await;
    a.lists(&b);
    b.lists(&a);
    b.knows(&a);
    a.up().await;
}

/// Bytes that a fuzzer begins with, and those that it found worth keeping, are replayed by every test run.
#[test]
fn the_corpus_of_each_decoder_holds() {
    let checks = [
        ("control_reply", tor_checks::control_reply as fn(&[u8])),
        ("onion_address", tor_checks::onion_address),
    ];
    for (name, check) in checks {
        let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let corpus = std::fs::read_dir(&folder).expect("the target has a corpus");
        let replayed = corpus.map(|entry| check(&std::fs::read(entry.unwrap().path()).unwrap())).count();
        assert!(replayed >= 3, "{folder}");
    }
}
