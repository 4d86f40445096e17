//! One node without links and with its store in memory, driven by hand: what a write costs by itself.

use std::path::Path;
use std::time::Instant;

use tombolo::identity::{Keypair, verify};
use tombolo::layer::{Content, DocumentId, DocumentName, Head, Kind, LayerId, Sequence};
use tombolo::node::{Input, Node, NodeSettings, Output, RequestId, Write};
use tombolo::store::{KeptState, LayerWrite, Store, StoreOrigin, StoreWrite};
use tombolo::system_clock::now;
use tombolo::time::Wall;
use tombolo_delta::Value;

use crate::part::{Figures, median, written_bytes};
use crate::work::{DOCUMENT, object, path, value};

/// Writes that are timed.
const WRITES: usize = 200;

struct SingleNode {
    node: Node,
    requests: u64,
}

impl SingleNode {
    fn new() -> Self {
        let keypair = Keypair::from_seeds(&[1; 32], &[2; 32]);
        let store = Store::in_memory().unwrap();
        let node = Node::open(store, keypair, NodeSettings::default(), now(), [3; 32]).unwrap();
        SingleNode { node, requests: 0 }
    }

    fn write(&mut self, write: Write) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.node.handle_input(now(), Input::Command { request, command: write.into() });
        while let Some(output) = self.node.poll_output() {
            if let Output::Reply { request: of, result } = output
                && of == request
            {
                result.unwrap();
            }
        }
    }

    fn create(&mut self, name: &str) {
        self.write(Write::Create { name: name.to_owned(), kind: Kind::Map });
    }

    fn set(&mut self, document: &str, n: usize, version: u64) -> f64 {
        let value = Value::Bytes(value(n, version));
        let write = Write::Set { doc: document.to_owned(), key: path(n), value };
        let begun = Instant::now();
        self.write(write);
        begun.elapsed().as_secs_f64()
    }
}

/// Single writes to a map of so many entries; the median.
pub(crate) fn writes(entries: usize) -> Figures {
    let mut node = SingleNode::new();
    node.create(DOCUMENT);
    // A layer holds at most 16 MiB, so long values are written to some entries only.
    let small = entries > 100_000;
    let content = match small {
        true => (0..entries).map(|n| (crate::work::key(n), Value::from(n as u64))).collect(),
        false => object(entries),
    };
    node.write(Write::Put { doc: DOCUMENT.to_owned(), value: content, whole: true });
    let mut figures = Figures::begin();
    let all = (0..WRITES).map(|n| node.set(DOCUMENT, n * 7919 % entries, 1 + n as u64)).collect();
    figures.end();
    figures.seconds = median(all);
    figures
}

/// Single writes to one of so many documents; the median.
pub(crate) fn documents(documents: usize) -> Figures {
    let mut node = SingleNode::new();
    for n in 0..documents {
        let name = format!("note-{n}");
        node.create(&name);
        node.set(&name, 0, 0);
    }
    let mut figures = Figures::begin();
    let all =
        (0..WRITES).map(|n| node.set(&format!("note-{}", n * 7 % documents), 0, 1 + n as u64)).collect();
    figures.end();
    figures.seconds = median(all);
    figures
}

/// The node states of 20 peers for an hour, one a minute each, handed to the disk in commits of so many; `other` is the bytes.
pub(crate) fn states(at: &Path, a_commit: usize) -> Figures {
    let path = at.join("states.redb");
    let peers: Vec<Keypair> = (0..20u8).map(|n| Keypair::from_seeds(&[n; 32], &[n; 32])).collect();
    Store::create(&path, peers[0].peer_id(), StoreOrigin::Known).unwrap();
    let mut store = Store::open(&path).unwrap();
    let minutes = (1..=60u64).flat_map(|minute| peers.iter().map(move |peer| state(peer, minute)));
    let all: Vec<StoreWrite> = minutes.collect();
    let mut figures = Figures::begin();
    let before = written_bytes();
    for writes in all.chunks(a_commit) {
        store.commit(writes).unwrap();
    }
    figures.other = written_bytes() - before;
    figures.end();
    figures
}

/// A node state of a peer as it goes to the disk, with the one before it, which is kept as a base for deltas.
fn state(peer: &Keypair, minute: u64) -> StoreWrite {
    let content = |minute| {
        Content::Snapshot(Value::Bytes(value(usize::from(peer.peer_id().0[0]), minute).repeat(4)).into())
    };
    let document =
        DocumentId { owner: peer.peer_id(), name: DocumentName::new(DocumentName::STATE).unwrap() };
    let head = Head {
        kind: Kind::Snapshot,
        layer: LayerId { document, author: peer.peer_id() },
        sequence: Sequence::new(minute).unwrap(),
        time: Wall::from_ms(minute * 60_000),
        audience_sequence: Sequence::new(1).unwrap(),
        root: content(minute).root(),
    };
    let kept = |before| KeptState {
        sequence: Sequence::new(before).unwrap(),
        time: Wall::from_ms(before * 60_000),
        audience_sequence: Sequence::new(1).unwrap(),
        content: content(before).to_cbor(),
    };
    StoreWrite::PutLayer(Box::new(LayerWrite {
        signed: head.sign(peer),
        snapshot: Some(content(minute).to_cbor()),
        entries: Vec::new(),
        kept: minute.checked_sub(1).filter(|before| *before > 0).map(kept),
        forgotten: minute.checked_sub(9).into_iter().filter_map(Sequence::new).collect(),
        forgotten_keys: Vec::new(),
        bases_from: None,
        is_own_map: false,
        all: None,
    }))
}

/// One signature and its verification, over as many bytes as a layer's head has.
pub(crate) fn crypto() -> Figures {
    let keypair = Keypair::from_seeds(&[1; 32], &[2; 32]);
    let mut figures = Figures::begin();
    let all = (0..2_000u64).map(|n| {
        let message = [&[7; 150][..], &n.to_be_bytes()].concat();
        let begun = Instant::now();
        let signature = keypair.sign(&message);
        assert!(verify(&keypair.peer_id(), &message, &signature), "a signature holds");
        begun.elapsed().as_secs_f64()
    });
    let all = all.collect();
    figures.end();
    figures.seconds = median(all);
    figures
}
