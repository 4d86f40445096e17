//! The messages that keep a node busy longest, of those that a member can make up: each is as long as its kind may be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tombolo::clock::Timestamp;
use tombolo::envelope::{BaseRef, CompactEnvelope, Envelope, Payload, address_byte, encode_changes};
use tombolo::federation::peer::Joined;
use tombolo::federation::{Peer, TrustLevel};
use tombolo::identity::Keypair;
use tombolo::layer::{
    Content, DocumentId, DocumentName, Entry, Head, KeyPath, Kind, Layer, LayerHash, LayerId, MapContent,
    NodePath, Sequence, SignedHead,
};
use tombolo::limits::{
    COMPACT_CHANGES_MAX, FRONTIER_ENTRIES_MAX, FUTURE_BOUND, HELD_ENTRIES_MAX, MESSAGE_BYTES_MAX,
    TRANSFER_ASK_MAX,
};
use tombolo::node::{Input, Node, NodeSettings, Output, RequestId, Write};
use tombolo::store::{Store, StoreWrite};
use tombolo::sync::frontier::{NamedBuckets, State};
use tombolo::sync::message::{Message, NodeAsk, TransferId};
use tombolo::sync::transfer::{answer_parts, answer_tree};
use tombolo::system_clock::now;
use tombolo::time::Millis;
use tombolo_delta::Value;
use tombolo_transports::LinkId;
use tombolo_transports::session::STREAM_CAPS;

use crate::part::Figures;
use crate::work::{DOCUMENT, key, path};

/// Entries of the node's map: few bytes each, since a layer has at most 16 MiB.
const ENTRIES: usize = 200_000;
/// Entries of the peer's map, where it has one: what both take in memory counts for the owner of the document.
const PEER_ENTRIES: usize = 100_000;
const LINK: LinkId = LinkId(1);

/// What a message is, for the table.
pub(crate) const KINDS: [&str; 12] = [
    "4,096 unknown layers shown",
    "4,096 unknown layers wanted",
    "256 nodes asked for",
    "parts of 256 nodes asked for",
    "parts asked for, 1 MiB held",
    "4,096 entries, false",
    "a whole map of 512 KiB",
    "a snapshot of 256 KiB, false",
    "1 MiB that is no message",
    "an empty map in place of 100,000 entries",
    "the last part of a map of 100,000 entries",
    "a whole map of 512 KiB, all of it later",
];

/// A node with a large map, and a trusted peer of it that makes up messages.
struct Victim {
    node: Node,
    peer: Keypair,
    requests: u64,
}

impl Victim {
    fn new() -> Self {
        let (keypair, peer) =
            (Keypair::from_seeds(&[1; 32], &[2; 32]), Keypair::from_seeds(&[8; 32], &[9; 32]));
        let mut store = Store::in_memory().unwrap();
        let record = Peer {
            id: peer.peer_id(),
            onion: peer.onion(),
            given_name: Some("peer".to_owned()),
            own_name: None,
            trust_level: TrustLevel::Trusted,
            added_at: now().wall,
            heard_at: None,
            joined: Joined::Agreed,
            addresses: Vec::new(),
            last_known: None,
        };
        store.commit(&[StoreWrite::PutPeer(record)]).unwrap();
        let node = Node::open(store, keypair, NodeSettings::default(), now(), [3; 32]).unwrap();
        let mut victim = Victim { node, peer, requests: 0 };
        victim.write(Write::Create { name: DOCUMENT.to_owned(), kind: Kind::Map });
        let content = (0..ENTRIES).map(|n| (key(n), Value::from(n as u64))).collect();
        victim.write(Write::Put { doc: DOCUMENT.to_owned(), value: content, whole: true });
        let peer = victim.peer.peer_id();
        victim.take(Input::LinkUp { link: LINK, peer, caps: STREAM_CAPS });
        victim
    }

    /// Lets the node handle an input. Returns the messages that it sends.
    fn take(&mut self, input: Input) -> Vec<Message> {
        self.node.handle_input(now(), input);
        let outputs = std::iter::from_fn(|| self.node.poll_output());
        let sent = outputs.filter_map(|output| match output {
            Output::Send { bytes, .. } => Message::decode(&bytes).ok(),
            _ => None,
        });
        sent.collect()
    }

    fn write(&mut self, write: Write) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.take(Input::Command { request, command: write.into() });
    }

    fn receive(&mut self, message: &Message) -> Vec<Message> {
        self.take(Input::Received { link: LINK, bytes: message.encode() })
    }

    fn document(&self) -> DocumentId {
        DocumentId { owner: self.node.peer_id(), name: DocumentName::new(DOCUMENT).unwrap() }
    }

    /// The signed head of its map, as it offers it.
    fn head(&mut self) -> SignedHead {
        let layer = LayerId { document: self.document(), author: self.node.peer_id() };
        let sent = self.receive(&Message::Want(vec![(layer.hash(), None)]));
        let offered = sent.into_iter().find_map(|message| match message {
            Message::Whole(envelope) if envelope.signed.head.layer == layer => Some(envelope.signed),
            _ => None,
        });
        offered.expect("a map of this size is offered")
    }

    fn message(&mut self, kind: usize) -> Vec<u8> {
        let signed = self.head();
        let id = TransferId { layer: signed.head.layer.hash(), root: signed.head.root };
        let unknown = |n: usize| LayerHash((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let state = State { sequence: Sequence::new(1).unwrap(), root_prefix: [1; 4] };
        let asks = |level: u64, held: Option<usize>| -> Vec<NodeAsk> {
            let ask = |n| NodeAsk {
                path: NodePath::new(level, n as u64).unwrap(),
                held: held.map(|entries| vec![n as u8; 4 * entries]),
            };
            (0..TRANSFER_ASK_MAX).map(ask).collect()
        };
        let message = match kind {
            0 => {
                let states = (0..FRONTIER_ENTRIES_MAX).map(|n| (unknown(n), state)).collect();
                Message::Frontier { buckets: NamedBuckets::none(), states }
            }
            1 => Message::Want((0..FRONTIER_ENTRIES_MAX).map(|n| (unknown(n), Some(state))).collect()),
            2 => Message::TreeAsk(id, asks(2, None)),
            3 => Message::PartsAsk(id, asks(2, None)),
            4 => Message::PartsAsk(id, asks(3, Some(HELD_ENTRIES_MAX - 8))),
            5 => {
                let entry =
                    |n: usize| Entry { stamp: stamp(), value: Some(Value::from(n as u64).into()), saw: None };
                let change = |n: usize| (path(n * 48), Some(entry(n).into()));
                let changes = (0..COMPACT_CHANGES_MAX).map(change).collect();
                Message::Compact(Box::new(CompactEnvelope {
                    base: BaseRef {
                        distance: 1,
                        root_prefix: [signed.head.root.0[0], signed.head.root.0[1]],
                        is_short: false,
                    },
                    address: Some(address_byte(&signed.head.layer)),
                    time_step_ms: 1,
                    audience_step: 0,
                    signature: [7; 64],
                    delta: encode_changes(&changes, signed.head.time),
                }))
            }
            6 | 11 => {
                let ahead = if kind == 6 { Millis::ZERO } else { FUTURE_BOUND * 2 };
                let stamp = Timestamp::new(now().wall + ahead, 0);
                let entry = Arc::new(Entry { stamp, value: Some(Value::Null.into()), saw: None });
                let entries = (0..27_000).map(|n| (KeyPath::parse(&format!("x{n}")).unwrap(), entry.clone()));
                let map = MapContent::of_entries(entries).unwrap();
                let layer = self.layer(Content::Map(map), self.document(), &signed);
                Message::Whole(Box::new(Envelope::seal(&layer)))
            }
            7 => {
                let items = Value::Array(vec![Value::from(0u64); 262_000]);
                let document = DocumentId { owner: self.peer.peer_id(), ..self.document() };
                let mut layer = self.layer(Content::snapshot(items).unwrap(), document, &signed);
                layer.signed.signature = [7; 64];
                let Layer { signed, content } = layer;
                Message::Whole(Box::new(Envelope { signed, payload: Payload::Whole(content) }))
            }
            8 => return vec![0x0f; MESSAGE_BYTES_MAX],
            9 => {
                self.fetch(&signed, usize::MAX);
                let mut empty = self.layer(Content::empty(Kind::Map), self.document(), &signed);
                empty.signed.head.sequence = Sequence::new(2).unwrap();
                empty.signed = empty.signed.head.sign(&self.peer);
                Message::Whole(Box::new(Envelope::seal(&empty)))
            }
            _ => {
                let (answers, _) = Victim::new().fetch(&signed, usize::MAX);
                self.fetch(&signed, answers - 1).1.unwrap()
            }
        };
        message.encode()
    }

    /// Lets the node fetch a large layer of the peer, with so many answers at most. Returns how many it took, and the one that it lacks.
    fn fetch(&mut self, like: &SignedHead, answers_max: usize) -> (usize, Option<Message>) {
        let stamp = stamp();
        let entry = |n: usize| {
            let value = Some(Value::from(n as u64).into());
            (path(ENTRIES + n), Arc::new(Entry { stamp, value, saw: None }))
        };
        let map = MapContent::of_entries((0..PEER_ENTRIES).map(entry)).unwrap();
        let layer = self.layer(Content::Map(map.clone()), self.document(), like);
        let mut waiting = VecDeque::from([Message::Whole(Box::new(Envelope::seal(&layer)))]);
        let mut answers = 0;
        while let Some(next) = waiting.pop_front() {
            if answers == answers_max {
                return (answers, Some(next));
            }
            answers += 1;
            for message in self.receive(&next) {
                waiting.extend(match message {
                    Message::TreeAsk(id, asks) => Some(answer_tree(id, &map, &asks)),
                    Message::PartsAsk(id, asks) => Some(answer_parts(id, &map, &asks)),
                    _ => None,
                });
            }
        }
        (answers, None)
    }

    /// A first state of the peer's layer in a document.
    fn layer(&self, content: Content, document: DocumentId, like: &SignedHead) -> Layer {
        let head = Head {
            kind: content.kind(),
            layer: LayerId { document, author: self.peer.peer_id() },
            sequence: Sequence::new(1).unwrap(),
            root: content.root(),
            ..like.head.clone()
        };
        Layer { signed: head.sign(&self.peer), content }
    }
}

fn stamp() -> Timestamp {
    Timestamp::new(now().wall, 0)
}

/// How long a message of one of the kinds keeps the node busy; `other` is its length.
pub(crate) fn message(kind: usize) -> Figures {
    let mut victim = Victim::new();
    let bytes = victim.message(kind);
    let length = bytes.len();
    let mut figures = Figures::begin();
    let begun = Instant::now();
    victim.take(Input::Received { link: LINK, bytes });
    let seconds = begun.elapsed().as_secs_f64();
    figures.end();
    (figures.seconds, figures.other) = (seconds, length as f64);
    figures
}
