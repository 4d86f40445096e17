//! Bundles: what peers lack goes into a file, and what a peer's file has goes through the same gate as what a link brings.

use tombolo_transports::PeerId;

use super::Node;
use crate::bundle::{self, BundleError, BundlePart};
use crate::envelope::{Envelope, Payload};
use crate::io::view::{BundlePeerView, BundleReadView, BundleView, ChangedView};
use crate::io::{CommandError, Reply};
use crate::layer::LayerId;
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_PEERS_MAX};
use crate::replica::{Arriving, Origin, Replica};
use crate::router::Class;
use crate::sync::frontier::{Frontier, State};
use crate::sync::message::Message;
use crate::unicast::class_of;

/// Bytes that the heads and seals of the parts take at most.
const SEALS_BYTES: usize = BUNDLE_PEERS_MAX * 128 + 64;

/// Writes one file for these peers: what each lacks, as far as is known what it holds, sealed to it.
pub(super) fn write(node: &mut Node, peers: &[String]) -> Result<Reply, CommandError> {
    if !(1..=BUNDLE_PEERS_MAX).contains(&peers.len()) {
        return Err(BundleError::Peers.into());
    }
    let mut readers = Vec::new();
    for text in peers {
        let peer = node.replica.resolve_peer(text)?;
        if !node.replica.federation().is_member(&peer) {
            return Err(CommandError::Untrusted(text.clone()));
        }
        if !readers.contains(&peer) {
            readers.push(peer);
        }
    }
    let (file, peers) = file_for(node, &readers)?;
    Ok(Reply::Bundle(BundleView { bundle: data_encoding::BASE64.encode(&file), bytes: file.len(), peers }))
}

/// Reads the part of a file that is for this node, and makes the answer that can be carried back.
pub(super) fn read(node: &mut Node, file: &str) -> Result<Reply, CommandError> {
    let file = data_encoding::BASE64.decode(file.as_bytes()).map_err(|_| BundleError::NoBundle)?;
    let opened = bundle::open(&file, &node.core.radio_identity())?;
    let from = opened.from;
    if !node.replica.federation().is_member(&from) {
        return Err(BundleError::NoPeer(from).into());
    }
    let (before, brought) = (node.replica.frontier(), opened.layers.len());
    let origin = Origin::Link { peer: from };
    for message in opened.layers {
        match message {
            Message::Whole(envelope) => node.arrived(origin, Arriving::Whole(*envelope)),
            Message::Compact(envelope) => node.arrived(origin, Arriving::delta(&envelope)),
            _ => unreachable!("a bundle that has anything else is refused as it is opened"),
        }
    }
    node.unicast.note_receipt(&mut node.core, from, opened.frontier);
    let changed = changed_since(&node.replica, &before);
    let (answer, peers) = file_for(node, &[from])?;
    let answer_layers = peers.first().map_or(0, |peer| peer.layers);
    Ok(Reply::BundleRead(BundleReadView {
        from: node.replica.name_of(&node.core, &from),
        did: crate::identity::did(&from),
        brought,
        changed,
        answer: data_encoding::BASE64.encode(&answer),
        answer_layers,
    }))
}

/// The layers that are in another state than before.
fn changed_since(replica: &Replica, before: &Frontier) -> Vec<ChangedView> {
    let now = replica.frontier();
    let news = now.iter().filter(|(layer, state)| before.get(layer) != Some(**state));
    let rows = news.filter_map(|(layer, state)| {
        let LayerId { document, author } = replica.layer_id(layer)?;
        Some(ChangedView {
            owner: crate::identity::did(&document.owner),
            name: document.name.as_str().to_owned(),
            author: crate::identity::did(&author),
            sequence: state.sequence.get(),
        })
    });
    rows.collect()
}

fn file_for(node: &mut Node, readers: &[PeerId]) -> Result<(Vec<u8>, Vec<BundlePeerView>), CommandError> {
    let me = node.core.radio_identity();
    let (mut file, mut rows) = (bundle::begin(), Vec::new());
    let mut room = BUNDLE_BYTES_MAX - SEALS_BYTES;
    for reader in readers {
        let part = part_for(&node.replica, reader, &node.unicast.known_frontier(reader), &mut room);
        let before = file.len();
        bundle::seal(&mut file, &part, &me, reader, &node.core.random.bytes())?;
        rows.push(BundlePeerView {
            peer: node.replica.name_of(&node.core, reader),
            did: crate::identity::did(reader),
            layers: part.layers,
            left_out: part.left_out,
            bytes: file.len() - before,
        });
    }
    Ok((file, rows))
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
