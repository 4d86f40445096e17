//! Bundles: what peers lack goes into a file, and what a peer's file has brought is answered with a file for it. The node hands
//! the layers of an opened bundle to the gate of all layers in between.

use tombolo_transports::PeerId;

use crate::bundle::{self, BundleError, BundlePart, OpenedBundle};
use crate::core::Core;
use crate::envelope::{Envelope, Payload};
use crate::io::view::{BundleChangeView, BundlePeerView, BundleReadView, BundleView};
use crate::io::{CommandError, Reply};
use crate::layer::LayerId;
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_PEERS_MAX};
use crate::replica::Replica;
use crate::router::Class;
use crate::sync::frontier::{Frontier, State};
use crate::sync::message::Message;
use crate::unicast::{Unicast, class_of};

/// Bytes that the heads and seals of the parts take at most.
const SEALS_BYTES: usize = BUNDLE_PEERS_MAX * 128 + 64;

/// The parts of a node that bundles work on.
#[derive(Debug)]
pub(crate) struct BundleDesk<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) replica: &'a Replica,
    pub(crate) unicast: &'a mut Unicast,
}

/// What is remembered of an opened bundle while its layers pass the gate.
#[derive(Debug)]
pub(crate) struct BundleReceipt {
    /// The peer that wrote the bundle.
    pub(crate) from: PeerId,
    theirs: Frontier,
    before: Frontier,
    brought: usize,
}

impl BundleDesk<'_> {
    /// Writes one file for these peers: what each lacks, as far as is known what it holds, sealed to it.
    ///
    /// # Errors
    ///
    /// A peer is unknown or has no rights, or there are too many.
    pub(crate) fn write(mut self, peers: &[String]) -> Result<Reply, CommandError> {
        if !(1..=BUNDLE_PEERS_MAX).contains(&peers.len()) {
            return Err(BundleError::Peers.into());
        }
        let mut readers = Vec::new();
        for text in peers {
            let peer = self.replica.resolve_peer(text)?;
            if !self.replica.federation().is_member(&peer) {
                return Err(CommandError::Untrusted(text.clone()));
            }
            if !readers.contains(&peer) {
                readers.push(peer);
            }
        }
        let (file, peers) = self.file_for(&readers)?;
        let bundle = data_encoding::BASE64.encode(&file);
        Ok(Reply::Bundle(BundleView { bundle, bytes: file.len(), peers }))
    }

    /// Opens the part of a file that is for this node: its layers, for the gate, and what [`answer`](Self::answer) takes after them.
    ///
    /// # Errors
    ///
    /// The file is no bundle, is damaged, is for others, or comes from no member.
    pub(crate) fn open(self, file: &str) -> Result<(Vec<Message>, BundleReceipt), CommandError> {
        let file = data_encoding::BASE64.decode(file.as_bytes()).map_err(|_| BundleError::NoBundle)?;
        let OpenedBundle { from, frontier, layers } = bundle::open(&file, &self.core.radio_identity())?;
        if !self.replica.federation().is_member(&from) {
            return Err(BundleError::NoPeer(from).into());
        }
        let before = self.replica.frontier();
        let receipt = BundleReceipt { from, theirs: frontier, before, brought: layers.len() };
        Ok((layers, receipt))
    }

    /// Notes what the writer of a bundle holds, and makes the file that can be carried back to it.
    ///
    /// # Errors
    ///
    /// The answer cannot be sealed to the writer.
    pub(crate) fn answer(mut self, receipt: BundleReceipt) -> Result<Reply, CommandError> {
        let BundleReceipt { from, theirs, before, brought } = receipt;
        self.unicast.note_receipt(self.core, from, theirs);
        let changed = changed_since(self.replica, &before);
        let (answer, peers) = self.file_for(&[from])?;
        Ok(Reply::BundleRead(BundleReadView {
            from: self.replica.name_of(self.core, &from),
            did: crate::identity::did(&from),
            brought,
            changed,
            answer: data_encoding::BASE64.encode(&answer),
            answer_layers: peers.first().map_or(0, |peer| peer.layers),
        }))
    }

    fn file_for(&mut self, readers: &[PeerId]) -> Result<(Vec<u8>, Vec<BundlePeerView>), CommandError> {
        let me = self.core.radio_identity();
        let (mut file, mut rows) = (bundle::begin(), Vec::new());
        let mut room = BUNDLE_BYTES_MAX - SEALS_BYTES;
        for reader in readers {
            let part = part_for(self.replica, reader, &self.unicast.known_frontier(reader), &mut room);
            let before = file.len();
            bundle::seal(&mut file, &part, &me, reader, &self.core.random.bytes())?;
            rows.push(BundlePeerView {
                peer: self.replica.name_of(self.core, reader),
                did: crate::identity::did(reader),
                layers: part.layers,
                left_out: part.left_out,
                bytes: file.len() - before,
            });
        }
        Ok((file, rows))
    }
}

/// The layers that are in another state than before.
fn changed_since(replica: &Replica, before: &Frontier) -> Vec<BundleChangeView> {
    let now = replica.frontier();
    let news = now.iter().filter(|(layer, state)| before.get(layer) != Some(**state));
    let rows = news.filter_map(|(layer, state)| {
        let LayerId { document, author } = replica.layer_id(layer)?;
        Some(BundleChangeView {
            owner: crate::identity::did(&document.owner),
            name: document.name.as_str().to_owned(),
            author: crate::identity::did(&author),
            sequence: state.sequence.get(),
        })
    });
    rows.collect()
}

/// What one peer may have and does not hold, rights first: what follows depends on them.
fn part_for(replica: &Replica, reader: &PeerId, held: &Frontier, room: &mut usize) -> BundlePart {
    let ours = replica.frontier_for(reader);
    let lacking = ours.iter().filter(|(layer, state)| held.is_behind(layer, **state));
    let mut lacking: Vec<LayerId> = lacking.filter_map(|(layer, _)| replica.layer_id(layer)).collect();
    lacking.sort_by_key(|id| (rank(class_of(id)), id.document.name.as_str().to_owned(), id.author));
    let mut part = BundlePart::of_frontier(&ours);
    for id in lacking {
        if let Some(message) = message_for(replica, reader, &id, held.get(&id.hash())) {
            part.add(&message, room);
        }
    }
    part
}

/// A delta where the reader holds a base, else the whole layer with its content, however long.
fn message_for(replica: &Replica, reader: &PeerId, id: &LayerId, held: Option<State>) -> Option<Message> {
    match replica.supply(reader, id, held)? {
        Message::Whole(envelope) if matches!(envelope.payload, Payload::Offer) => {
            let layer = replica.layer(id)?;
            let payload = Payload::Whole(layer.content.clone());
            Some(Message::Whole(Box::new(Envelope { signed: layer.signed.clone(), payload })))
        }
        message => Some(message),
    }
}

fn rank(class: Class) -> u8 {
    match class {
        Class::Rights => 0,
        Class::Alarm => 1,
        Class::Command => 2,
        Class::State => 3,
        Class::Document | Class::Bulk | Class::Upkeep => 4,
    }
}
