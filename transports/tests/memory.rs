//! Sessions over plain byte streams, seen through the set of transports: the name of each test states what it proves.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test measures time, and fails by panicking"
)]

use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tombolo_transports::memory::{Memory, Network};
use tombolo_transports::{
    Address, DownReason, JoinDial, JoinError, JoinSecret, LinkEvent, LinkId, Medium, PeerId, RejectReason,
    SendError, Transports,
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    id: PeerId,
    place: Address,
    transports: Transports,
    events: mpsc::Receiver<LinkEvent>,
}

impl Node {
    fn start(network: &Network, number: u8) -> Self {
        let (id, place) = (PeerId([number; 32]), u64::from(number));
        let (mut transports, events) = Transports::new();
        transports.add(Memory::start(network, place, id, transports.events(Medium::Memory)));
        Self { id, place: Address::Memory(place), transports, events }
    }

    fn lists(&self, other: &Node) {
        self.transports.set_peers(&[other.id]);
    }

    fn knows(&self, other: &Node) {
        self.transports.know_addresses(other.id, &[other.place]);
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
        match self.next().await {
            LinkEvent::Up { link, .. } => link,
            other => panic!("{other:?} instead of a link"),
        }
    }
}

fn pair() -> (Node, Node) {
    let network = Network::default();
    let (a, b) = (Node::start(&network, 1), Node::start(&network, 2));
    a.lists(&b);
    b.lists(&a);
    (a, b)
}

#[tokio::test]
async fn both_dialling_at_once_gives_one_link_that_carries_messages_whole_and_in_order() {
    let (mut a, mut b) = pair();
    a.knows(&b);
    b.knows(&a);
    let (at_a, at_b) = (a.up().await, b.up().await);
    let sizes = [0, 1, 1000, 100_000, 1 << 20];
    for size in sizes {
        a.transports.send(at_a, vec![7; size]).unwrap();
        b.transports.send(at_b, vec![8; size]).unwrap();
    }
    for size in sizes {
        let (got_a, got_b) = (a.next().await, b.next().await);
        assert!(
            matches!(got_a, LinkEvent::Received { link, bytes } if link == at_a && bytes == vec![8; size])
        );
        assert!(
            matches!(got_b, LinkEvent::Received { link, bytes } if link == at_b && bytes == vec![7; size])
        );
    }
    assert_eq!(a.transports.caps(at_a).unwrap().medium, Medium::Memory);
    a.transports.shutdown().await;
    assert!(matches!(b.next().await, LinkEvent::Down { reason: DownReason::PeerClosed, .. }));
    assert_eq!(b.transports.send(at_b, vec![1]), Err(SendError::Unknown));
}

#[tokio::test]
async fn a_peer_that_is_removed_is_cut_within_a_second_and_stays_out() {
    let (mut a, mut b) = pair();
    a.knows(&b);
    let (_, at_b) = (a.up().await, b.up().await);
    let begun = Instant::now();
    b.transports.set_peers(&[]);
    b.transports.close(at_b);
    assert!(matches!(b.next().await, LinkEvent::Down { reason: DownReason::Closed, .. }));
    assert!(matches!(a.next().await, LinkEvent::Down { reason: DownReason::PeerClosed, .. }));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(b.transports.send(at_b, vec![1]), Err(SendError::Unknown));
    while !matches!(b.next().await, LinkEvent::Rejected { reason: RejectReason::UnknownKey, .. }) {}
    assert!(b.transports.rejections().contains_key(&(Medium::Memory, RejectReason::UnknownKey)));
}

fn call(inviter: PeerId, addresses: &[Address]) -> JoinDial {
    let (addresses, request) = (addresses.to_vec(), b"please".to_vec());
    JoinDial { inviter, addresses, secret: JoinSecret([1; 32]), request }
}

#[tokio::test]
async fn a_request_to_join_crosses_a_stream_that_cannot_be_half_closed() {
    let network = Network::default();
    let (guest, mut host) = (Node::start(&network, 1), Node::start(&network, 2));
    let (inviter, at) = (host.id, host.place);
    assert_eq!(guest.transports.join(&call(inviter, &[])).await, Err(JoinError::NotFound));
    let refused = guest.transports.join(&call(inviter, &[at])).await;
    assert_eq!(refused, Err(JoinError::Refused { address: at }));
    let other = guest.transports.join(&call(PeerId([7; 32]), &[at])).await;
    assert_eq!(other, Err(JoinError::OtherKey { address: at }));

    host.transports.set_joining(&[JoinSecret([1; 32])]);
    let from = guest.id;
    let answering = tokio::spawn(async move {
        loop {
            if let LinkEvent::JoinRequest { peer, bytes, answer, .. } = host.next().await {
                assert_eq!((peer, &bytes[..]), (from, &b"please"[..]));
                answer.send(vec![3; 4096]).unwrap();
                return host;
            }
        }
    });
    assert_eq!(guest.transports.join(&call(inviter, &[at])).await, Ok(vec![3; 4096]));
    answering.await.unwrap();
}
