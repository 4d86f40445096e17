//! Real QUIC on loopback, whole nodes: the name of each test states what it proves.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tombolo_transports::{
    DownReason, JoinError, Lan, LanConfig, LinkEvent, LinkId, PeerId, RejectReason, SendError,
};

/// Longer than anything here should take, on a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    lan: Lan,
    events: mpsc::Receiver<LinkEvent>,
}

fn config(seed: u8) -> LanConfig {
    LanConfig {
        listen: vec![([127, 0, 0, 1], 0).into()],
        mdns: false,
        loopback: true,
        ..LanConfig::new([seed; 32])
    }
}

impl Node {
    async fn start(config: LanConfig) -> Self {
        let (lan, events) = Lan::start(config).await.unwrap();
        Self { lan, events }
    }

    async fn new(seed: u8) -> Self {
        Self::start(config(seed)).await
    }

    fn at(&self) -> SocketAddr {
        self.lan.local_addresses()[0]
    }

    fn knows(&self, other: &Node) {
        self.lan.know_address(other.lan.id(), vec![other.at()]);
    }

    async fn next(&mut self) -> LinkEvent {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.expect("an event in time");
            match event.expect("a living driver") {
                // Reports come whenever there is something to measure, refusals whenever a stranger dials.
                LinkEvent::Measured { .. } | LinkEvent::Denied { .. } => {}
                other => return other,
            }
        }
    }

    async fn up(&mut self) -> LinkId {
        loop {
            match self.next().await {
                LinkEvent::Up { link, .. } => return link,
                LinkEvent::Rejected { .. } | LinkEvent::Down { .. } => {}
                other => panic!("{other:?} instead of a link"),
            }
        }
    }

    async fn down(&mut self) -> DownReason {
        loop {
            match self.next().await {
                LinkEvent::Down { reason, .. } => return reason,
                LinkEvent::Up { .. } => panic!("a second link"),
                _ => {}
            }
        }
    }

    async fn received(&mut self) -> Vec<u8> {
        loop {
            match self.next().await {
                LinkEvent::Received { bytes, .. } => return bytes,
                LinkEvent::Rejected { .. } | LinkEvent::Drained { .. } => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// Nothing happens for a while.
    async fn quiet(&mut self, time: Duration) {
        let event = timeout(time, self.next()).await;
        assert!(event.is_err(), "{event:?}");
    }

    async fn rejected(&self, reason: RejectReason) {
        let begun = Instant::now();
        while !self.lan.rejections().contains_key(&reason) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.lan.rejections());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Two nodes that list each other; the first dials.
async fn pair(a: u8, b: u8) -> (Node, Node) {
    let (a, b) = (Node::new(a).await, Node::new(b).await);
    a.lan.set_peers(vec![b.lan.id()]);
    b.lan.set_peers(vec![a.lan.id()]);
    a.knows(&b);
    (a, b)
}

#[tokio::test]
async fn peers_prove_their_keys_and_messages_arrive_whole_and_in_order() {
    for (one, other) in [(1, 2), (2, 1)] {
        let (mut a, mut b) = pair(one, other).await;
        let (at_a, at_b) = (a.up().await, b.up().await);
        let sizes = [0, 1, 1000, 100_000, 1 << 20];
        for size in sizes {
            a.lan.send(at_a, vec![7; size]).unwrap();
            b.lan.send(at_b, vec![8; size]).unwrap();
        }
        for size in sizes {
            assert_eq!(b.received().await, vec![7; size]);
            assert_eq!(a.received().await, vec![8; size]);
        }
        assert!(matches!(a.lan.send(at_a, vec![0; (1 << 20) + 1]), Err(SendError::TooLong { .. })));
        a.lan.shutdown().await;
        assert_eq!(b.down().await, DownReason::PeerClosed);
    }
}

#[tokio::test]
async fn a_key_that_is_not_listed_gets_no_link() {
    let (mut stranger, mut node) = (Node::new(1).await, Node::new(2).await);
    stranger.lan.set_peers(vec![node.lan.id()]);
    stranger.knows(&node);
    node.rejected(RejectReason::UnknownKey).await;
    assert!(matches!(node.next().await, LinkEvent::Rejected { reason: RejectReason::UnknownKey, .. }));
    stranger.quiet(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn an_address_that_leads_to_another_key_is_refused_by_the_dialler() {
    let (node, other) = (Node::new(1).await, Node::new(2).await);
    let absent = PeerId([9; 32]);
    node.lan.set_peers(vec![absent, other.lan.id()]);
    other.lan.set_peers(vec![node.lan.id()]);
    node.lan.know_address(absent, vec![other.at()]);
    node.rejected(RejectReason::UnknownKey).await;
    assert!(other.lan.rejections().is_empty());
}

#[tokio::test]
async fn while_invites_are_open_strangers_still_get_no_link() {
    let (mut stranger, node) = (Node::new(1).await, Node::new(2).await);
    node.lan.set_joining(true);
    stranger.lan.set_peers(vec![node.lan.id()]);
    stranger.knows(&node);
    node.rejected(RejectReason::UnknownKey).await;
    stranger.quiet(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_key_struck_off_is_cut_within_a_second_and_stays_out() {
    let (mut a, mut b) = pair(1, 2).await;
    let (_, at_b) = (a.up().await, b.up().await);
    let begun = Instant::now();
    b.lan.set_peers(Vec::new());
    b.lan.close(at_b);
    assert_eq!(b.down().await, DownReason::Closed);
    assert_eq!(a.down().await, DownReason::PeerClosed);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(b.lan.send(at_b, vec![1]), Err(SendError::Unknown));
    b.rejected(RejectReason::UnknownKey).await;
    b.lan.set_peers(vec![a.lan.id()]);
    a.up().await;
    b.up().await;
}

#[tokio::test]
async fn both_dialling_at_once_gives_one_link_that_stays() {
    for round in 0..20 {
        let (mut a, mut b) = pair(10 + round, 100 + round).await;
        b.knows(&a);
        let (at_a, at_b) = (a.up().await, b.up().await);
        for n in 0..50 {
            a.lan.send(at_a, vec![n]).unwrap();
            b.lan.send(at_b, vec![n]).unwrap();
        }
        for n in 0..50 {
            assert_eq!((a.received().await, b.received().await), (vec![n], vec![n]), "round {round}");
        }
        a.quiet(Duration::from_millis(100)).await;
        b.quiet(Duration::from_millis(100)).await;
    }
}

/// Links are closed at random on either side while both dial: never two at once, each message of a
/// link that stays arrives, and at the end there is one link that works.
#[tokio::test]
async fn links_closed_at_random_come_back_one_at_a_time() {
    let (mut a, mut b) = pair(1, 2).await;
    b.knows(&a);
    let mut live = [None, None];
    let mut ups = 0;
    for round in 0..6_u8 {
        let link = one_link(&mut a, &mut b, &mut live, &mut ups).await;
        for n in 0..10 {
            a.lan.send(link[0], vec![round, n]).unwrap();
            b.lan.send(link[1], vec![round, n]).unwrap();
        }
        for n in 0..10 {
            assert_eq!((a.received().await, b.received().await), (vec![round, n], vec![round, n]));
        }
        match round % 3 {
            0 => a.lan.close(link[0]),
            1 => b.lan.close(link[1]),
            _ => {
                a.lan.close(link[0]);
                b.lan.close(link[1]);
            }
        }
    }
    assert_eq!(ups, 12);
}

/// Waits until both have one link, and the one before is down.
async fn one_link(a: &mut Node, b: &mut Node, live: &mut [Option<LinkId>; 2], ups: &mut u32) -> [LinkId; 2] {
    let before = *live;
    loop {
        if let [Some(x), Some(y)] = *live
            && before[0] != Some(x)
            && before[1] != Some(y)
        {
            return [x, y];
        }
        let (side, event) = tokio::select! {
            event = a.next() => (0, event),
            event = b.next() => (1, event),
        };
        match event {
            LinkEvent::Up { link, .. } => {
                assert_eq!(live[side].replace(link), None, "a second link at once");
                *ups += 1;
            }
            LinkEvent::Down { link, .. } => assert_eq!(live[side].take(), Some(link)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_peer_that_ends_and_starts_again_on_its_port_is_back_soon() {
    let (mut a, mut b) = pair(1, 2).await;
    let (_, _) = (a.up().await, b.up().await);
    let (address, ids) = (b.at(), vec![a.lan.id()]);
    b.lan.shutdown().await;
    assert_eq!(a.down().await, DownReason::PeerClosed);
    let again = LanConfig { listen: vec![address], peers: ids, ..config(2) };
    let begun = Instant::now();
    let mut b = Node::start(again).await;
    let at_a = a.up().await;
    b.up().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    a.lan.send(at_a, vec![5]).unwrap();
    assert_eq!(b.received().await, vec![5]);
}

/// A node in a thread and runtime of its own, which can be torn down without a goodbye, as by kill -9.
struct Doomed {
    id: PeerId,
    at: SocketAddr,
    kill: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Doomed {
    fn start(config: LanConfig) -> Self {
        let ((born, birth), (kill, killed)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let node = runtime.block_on(async {
                let mut node = Node::start(config).await;
                born.send((node.lan.id(), node.at())).unwrap();
                while killed.try_recv().is_err() {
                    let _ = timeout(Duration::from_millis(10), node.events.recv()).await;
                }
                node
            });
            // The runtime goes first, and with it every task that could still send a packet.
            drop(runtime);
            drop(node);
        });
        let (id, at) = birth.recv().unwrap();
        Self { id, at, kill, thread }
    }

    fn kill(self) {
        self.kill.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_was_killed_is_noticed_at_the_next_packet_when_it_runs_again() {
    let mut a = Node::new(1).await;
    let doomed = Doomed::start(LanConfig { peers: vec![a.lan.id()], ..config(2) });
    let (other, at) = (doomed.id, doomed.at);
    a.lan.set_peers(vec![other]);
    a.lan.know_address(other, vec![at]);
    let link = a.up().await;
    doomed.kill();
    let again = LanConfig { listen: vec![at], peers: vec![a.lan.id()], ..config(2) };
    let mut again = Node::start(again).await;
    let begun = Instant::now();
    a.lan.send(link, vec![1]).unwrap();
    assert_eq!(a.down().await, DownReason::Restarted);
    a.up().await;
    again.up().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_killed_peer_that_dials_first_replaces_its_dead_link() {
    for (one, other) in [(1, 2), (2, 1)] {
        let mut a = Node::new(one).await;
        let doomed = Doomed::start(LanConfig { peers: vec![a.lan.id()], ..config(other) });
        let (id, at) = (doomed.id, doomed.at);
        a.lan.set_peers(vec![id]);
        a.lan.know_address(id, vec![at]);
        a.up().await;
        doomed.kill();
        // On another port: no reset can reveal the restart, only the greeting does.
        let mut again = Node::start(LanConfig { peers: vec![a.lan.id()], ..config(other) }).await;
        let begun = Instant::now();
        again.knows(&a);
        assert_eq!(a.down().await, DownReason::Restarted);
        a.up().await;
        again.up().await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_reader_that_stops_makes_the_sender_wait_with_bounded_queues() {
    let (a, b) = (Node::start(LanConfig { queue_bytes_max: 1 << 20, ..config(1) }).await, Node::new(2).await);
    let (mut a, mut b) = (a, b);
    a.lan.set_peers(vec![b.lan.id()]);
    b.lan.set_peers(vec![a.lan.id()]);
    a.knows(&b);
    let link = a.up().await;
    b.up().await;
    let (size, mut sent) = (100_000, 0);
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_secs(1) {
        match a.lan.send(link, vec![sent as u8; size]) {
            Ok(()) => (sent, last) = (sent + 1, Instant::now()),
            Err(SendError::Full) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
    let held_max = (1 << 20) + (2 << 20) + (2 << 20) + size * 64 + (1 << 20);
    assert!(sent * size <= held_max, "{sent} messages of {size} bytes");
    for n in 0..sent {
        assert_eq!(b.received().await, vec![n as u8; size]);
    }
    loop {
        if let LinkEvent::Drained { .. } = a.next().await {
            break;
        }
    }
    a.lan.send(link, vec![1]).unwrap();
    assert_eq!(b.received().await, vec![1]);
}

#[tokio::test]
async fn one_may_join_only_while_an_invite_is_open() {
    let (guest, mut host) = (Node::new(1).await, Node::new(2).await);
    let (at, id, key) = (host.at(), guest.lan.id(), host.lan.id());
    let ask = || guest.lan.join(key, vec![at], b"please".to_vec());
    assert_eq!(ask().await, Err(JoinError::NoInvite { address: at.into() }));
    host.rejected(RejectReason::NoInvite).await;

    host.lan.set_joining(true);
    let answering = tokio::spawn(async move {
        loop {
            if let LinkEvent::JoinRequest { peer, bytes, answer, .. } = host.next().await {
                assert_eq!((peer, &bytes[..]), (id, &b"please"[..]));
                answer.send(vec![3; 4096]).unwrap();
                return host;
            }
        }
    });
    assert_eq!(ask().await, Ok(vec![3; 4096]));
    let mut host = answering.await.unwrap();

    // An address that meanwhile belongs to another node, which has no invites, does not stop the guest.
    let other = Node::new(3).await;
    let answering = tokio::spawn(async move {
        loop {
            if let LinkEvent::JoinRequest { answer, .. } = host.next().await {
                answer.send(Vec::new()).unwrap();
                return host;
            }
        }
    });
    assert_eq!(guest.lan.join(key, vec![other.at(), at], b"please".to_vec()).await, Ok(Vec::new()));
    let mut host = answering.await.unwrap();

    let refusing = tokio::spawn(async move {
        while !matches!(host.next().await, LinkEvent::JoinRequest { .. }) {}
        host
    });
    assert_eq!(ask().await, Err(JoinError::Refused { address: at.into() }));
    let host = refusing.await.unwrap();

    host.lan.set_joining(false);
    assert_eq!(ask().await, Err(JoinError::NoInvite { address: at.into() }));
    let other = guest.lan.join(PeerId([7; 32]), vec![at], b"please".to_vec()).await;
    assert_eq!(other, Err(JoinError::NoInvite { address: at.into() }));
    host.lan.set_joining(true);
    let other = guest.lan.join(PeerId([7; 32]), vec![at], b"please".to_vec()).await;
    assert_eq!(other, Err(JoinError::OtherKey { address: at.into() }));
    let long = guest.lan.join(key, vec![at], vec![0; 4097]).await;
    assert_eq!(long, Err(JoinError::TooLong { bytes: 4097 }));
    let dead: SocketAddr = ([127, 0, 0, 1], 9).into();
    let nobody = guest.lan.join(key, vec![dead], b"please".to_vec()).await;
    assert_eq!(nobody, Err(JoinError::NobodyAnswered { tried: vec![dead.into()] }));
    assert_eq!(guest.lan.join(key, vec![], b"please".to_vec()).await, Err(JoinError::NotFound));
}

#[tokio::test]
async fn one_free_port_serves_both_families() {
    let both = vec![([127, 0, 0, 1], 0).into(), (std::net::Ipv6Addr::LOCALHOST, 0).into()];
    let node = Node::start(LanConfig { listen: both, ..config(1) }).await;
    let ports: Vec<u16> = node.lan.local_addresses().iter().map(SocketAddr::port).collect();
    assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let node = Node::new(1).await;
    let error = Lan::start(LanConfig { listen: vec![node.at()], ..config(2) }).await.unwrap_err();
    assert!(error.to_string().contains(&node.at().to_string()), "{error}");
}
