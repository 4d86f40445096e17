//! A bundle: what peers lack, in a file that is carried by hand, each peer's part sealed to it. It has the frontier of the node that
//! wrote it and the envelopes that a link would carry, so its reader also learns what that node holds, and a bundle that is
//! carried back is the receipt.
//!
//! ```text
//! tombolo-bundle-1 LF, then a part for each peer:
//! part   ephemeral key (32), sender sealed (48), length of the rest (u32, big endian), messages sealed
//! keys   of the sender:   BLAKE3 derive_key("tombolo 2026 bundle sender 1", ephemeral · reader, ephemeral key, reader)
//!        of the messages: BLAKE3 derive_key("tombolo 2026 bundle messages 1", ephemeral · reader, sender · reader, ephemeral key, sender, reader)
//! ```
//!
//! `·` is X25519 of the keys that belong to the ed25519 identities. Sealed means ChaCha20-Poly1305 under a key of this part alone, with
//! a nonce of zeros. The second key proves the sender to the reader, and to no third. Sealed messages are those of a link
//! (`sync::message`), each behind its length (u32): first the sender's frontier, then layers, rights before what depends on them. A
//! whole envelope has its content here however long it is. The file names neither sender nor readers in the open.
//!
//! This room turns layers into bytes and back. It decides nothing: what a peer may have is `replica`'s, what takes effect is decided at
//! the gate that all layers pass.

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use tombolo_mesh::frame::keys::Identity;
use tombolo_transports::PeerId;
use zeroize::Zeroizing;

use crate::envelope::{Envelope, EnvelopeError, decode_whole_within};
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_PEERS_MAX, FRONTIER_ENTRIES_MAX, LAYER_BYTES_MAX};
use crate::sync::frontier::{Frontier, NamedBuckets};
use crate::sync::message::{Message, MessageError};

/// The first line of the file.
const MAGIC: &[u8; 17] = b"tombolo-bundle-1\n";
const SENDER_CONTEXT: &str = "tombolo 2026 bundle sender 1";
const MESSAGES_CONTEXT: &str = "tombolo 2026 bundle messages 1";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Bytes of a part before its messages.
const HEAD_BYTES: usize = KEY_BYTES + KEY_BYTES + TAG_BYTES + 4;
/// Bytes of a whole envelope beside its content.
const ENVELOPE_EXTRA_BYTES: usize = 4_096;

/// Why a file is no bundle for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file is no bundle.
    #[error("this file is no bundle of tombolo")]
    NoBundle,
    /// No part of it opens with this node's key.
    #[error("no part of this bundle is for this node")]
    NotForUs,
    /// It ends too early, or was changed.
    #[error("the bundle is damaged: it ends too early, or was changed")]
    Damaged,
    /// Its sender is no peer of this node, or not trusted any more.
    #[error("the bundle is of {}, which is no peer of this node", crate::identity::did(.0))]
    NoPeer(PeerId),
    /// More bytes than any bundle has.
    #[error("a bundle has at most {BUNDLE_BYTES_MAX} bytes")]
    TooLong,
    /// More peers than one bundle is for.
    #[error("a bundle is for 1 to {BUNDLE_PEERS_MAX} peers")]
    Peers,
    /// The key of a peer is of no use for sealing.
    #[error("nothing can be sealed to {}", crate::identity::did(.0))]
    WeakKey(PeerId),
}

/// The messages of one part before they are sealed.
#[derive(Debug, Default)]
pub struct BundlePart {
    bytes: Zeroizing<Vec<u8>>,
    /// The number of layers that it carries.
    pub layers: usize,
    /// Layers that did not fit: the next bundle has them.
    pub left_out: usize,
}

impl BundlePart {
    /// A part that begins with what the sender holds.
    pub fn of_frontier(frontier: &Frontier) -> Self {
        let mut part = BundlePart::default();
        let states: Vec<_> = frontier.iter().map(|(layer, state)| (*layer, *state)).collect();
        for states in states.chunks(FRONTIER_ENTRIES_MAX) {
            part.push(&Message::Frontier { buckets: NamedBuckets::none(), states: states.to_vec() }.encode());
        }
        part
    }

    /// Adds the message that brings a layer, if the bundle has room for so many bytes.
    pub fn add(&mut self, message: &Message, room: &mut usize) {
        let bytes = message.encode();
        match room.checked_sub(bytes.len() + 4) {
            Some(left) => {
                *room = left;
                self.layers += 1;
                self.push(&bytes);
            }
            None => self.left_out += 1,
        }
    }

    fn push(&mut self, message: &[u8]) {
        let length = u32::try_from(message.len()).expect("a layer is shorter than 4 GiB");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(message);
    }
}

/// A part that was opened.
pub struct OpenedBundle {
    /// The node that wrote it; proved by its key.
    pub from: PeerId,
    /// What the sender held.
    pub frontier: Frontier,
    /// Layers, as they are handed to the gate.
    pub layers: Vec<Message>,
}

/// The bytes with which a bundle begins.
pub fn begin() -> Vec<u8> {
    MAGIC.to_vec()
}

/// Seals a part to its reader and adds it to the file. `ephemeral` is fresh randomness; it is used for no other part.
///
/// # Errors
///
/// [`BundleError::WeakKey`] if the reader's key is of no use.
pub fn seal(
    file: &mut Vec<u8>,
    part: &BundlePart,
    me: &Identity,
    reader: &PeerId,
    ephemeral: &[u8; 32],
) -> Result<(), BundleError> {
    let weak = || BundleError::WeakKey(*reader);
    let ephemeral = Identity::from_seed(ephemeral);
    let (shared, proved) = (ephemeral.agree(reader).ok_or_else(weak)?, me.agree(reader).ok_or_else(weak)?);
    let (opening, from) = (ephemeral.peer_id(), me.peer_id());
    let sender = encrypt(&sender_key(&shared, &opening, reader), from.as_bytes());
    let messages = encrypt(&messages_key(&shared, &proved, &opening, &from, reader), &part.bytes);
    file.extend_from_slice(opening.as_bytes());
    file.extend_from_slice(&sender);
    file.extend_from_slice(
        &u32::try_from(messages.len()).expect("a bundle is shorter than 4 GiB").to_be_bytes(),
    );
    file.extend_from_slice(&messages);
    Ok(())
}

/// Opens the part of a file that is for this node.
///
/// # Errors
///
/// [`BundleError`] if it is no bundle, none of it is for this node, or it was changed.
pub fn open(file: &[u8], me: &Identity) -> Result<OpenedBundle, BundleError> {
    if file.len() > BUNDLE_BYTES_MAX {
        return Err(BundleError::TooLong);
    }
    let mut rest = file.strip_prefix(MAGIC).ok_or(BundleError::NoBundle)?;
    let reader = me.peer_id();
    for _ in 0..BUNDLE_PEERS_MAX {
        if rest.is_empty() {
            break;
        }
        let (head, after) = rest.split_at_checked(HEAD_BYTES).ok_or(BundleError::Damaged)?;
        let (opening, head) = head.split_at(KEY_BYTES);
        let (sender, length) = head.split_at(KEY_BYTES + TAG_BYTES);
        let length = u32::from_be_bytes(length.try_into().map_err(|_| BundleError::Damaged)?);
        let length = usize::try_from(length).map_err(|_| BundleError::Damaged)?;
        let (sealed, after) = after.split_at_checked(length).ok_or(BundleError::Damaged)?;
        rest = after;
        let opening = PeerId(opening.try_into().map_err(|_| BundleError::Damaged)?);
        // A key that agrees on nothing makes a part that none can open.
        let Some(shared) = me.agree(&opening) else { continue };
        let Some(from) = decrypt(&sender_key(&shared, &opening, &reader), sender) else { continue };
        let from = PeerId(from.as_slice().try_into().map_err(|_| BundleError::Damaged)?);
        let proved = me.agree(&from).ok_or(BundleError::Damaged)?;
        let key = messages_key(&shared, &proved, &opening, &from, &reader);
        let messages = decrypt(&key, sealed).ok_or(BundleError::Damaged)?;
        return read(from, &messages);
    }
    Err(BundleError::NotForUs)
}

fn read(from: PeerId, mut bytes: &[u8]) -> Result<OpenedBundle, BundleError> {
    let mut opened = OpenedBundle { from, frontier: Frontier::default(), layers: Vec::new() };
    while let Some((length, after)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BundleError::Damaged)?;
        let (message, after) = after.split_at_checked(length).ok_or(BundleError::Damaged)?;
        bytes = after;
        match decode(message).map_err(|_| BundleError::Damaged)? {
            Message::Frontier { states, .. } => {
                states.into_iter().for_each(|(layer, state)| opened.frontier.set(layer, Some(state)));
            }
            layer @ (Message::Whole(_) | Message::Compact(_)) => opened.layers.push(layer),
            // Questions have no answer here.
            Message::Heartbeat { .. }
            | Message::Ask(_)
            | Message::Want(_)
            | Message::Refused(_)
            | Message::TreeAsk(..)
            | Message::Tree(..)
            | Message::PartsAsk(..)
            | Message::Parts(..)
            | Message::Command(_)
            | Message::Answer(_)
            | Message::Notice(_)
            | Message::NoticeHeard(_)
            | Message::NotUnderstood(_) => return Err(BundleError::Damaged),
        }
    }
    if bytes.is_empty() { Ok(opened) } else { Err(BundleError::Damaged) }
}

/// A message of a link, where a whole envelope may be longer than any that goes over a link.
fn decode(message: &[u8]) -> Result<Message, MessageError> {
    match message.split_first() {
        Some((0x05, body)) => {
            let envelope: Result<Envelope, EnvelopeError> =
                decode_whole_within(body, LAYER_BYTES_MAX + ENVELOPE_EXTRA_BYTES);
            Ok(Message::Whole(Box::new(envelope?)))
        }
        _ => Message::decode(message),
    }
}

type PartKey = Zeroizing<[u8; KEY_BYTES]>;

fn sender_key(shared: &[u8; 32], opening: &PeerId, reader: &PeerId) -> PartKey {
    let mut hasher = blake3::Hasher::new_derive_key(SENDER_CONTEXT);
    hasher.update(shared).update(opening.as_bytes()).update(reader.as_bytes());
    Zeroizing::new(*hasher.finalize().as_bytes())
}

fn messages_key(
    shared: &[u8; 32],
    proved: &[u8; 32],
    opening: &PeerId,
    from: &PeerId,
    reader: &PeerId,
) -> PartKey {
    let mut hasher = blake3::Hasher::new_derive_key(MESSAGES_CONTEXT);
    hasher.update(shared).update(proved);
    hasher.update(opening.as_bytes()).update(from.as_bytes()).update(reader.as_bytes());
    Zeroizing::new(*hasher.finalize().as_bytes())
}

/// Under a key that seals nothing else, so the nonce is always the same.
fn encrypt(key: &PartKey, plain: &[u8]) -> Vec<u8> {
    let sealed = ChaCha20Poly1305::new((&**key).into()).encrypt(&Nonce::default(), plain);
    sealed.expect("a bundle is shorter than the cipher's limit of 256 GiB")
}

fn decrypt(key: &PartKey, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    ChaCha20Poly1305::new((&**key).into()).decrypt(&Nonce::default(), sealed).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{LayerHash, Sequence};
    use crate::sync::frontier::State;

    fn frontier() -> Frontier {
        let mut frontier = Frontier::default();
        for n in 1..=3 {
            let state = State { sequence: Sequence::new(n).unwrap(), root_prefix: [n as u8; 4] };
            frontier.set(LayerHash([n as u8; 8]), Some(state));
        }
        frontier
    }

    /// Each reader opens its own part and no other; a stranger opens none, and nothing in the file names the parties.
    #[test]
    fn a_part_opens_for_its_reader_alone() {
        let [hut, boat, mill, stranger] = [1, 2, 3, 4].map(|n| Identity::from_seed(&[n; 32]));
        let part = BundlePart::of_frontier(&frontier());
        let mut file = begin();
        seal(&mut file, &part, &hut, &boat.peer_id(), &[7; 32]).unwrap();
        seal(&mut file, &part, &hut, &mill.peer_id(), &[8; 32]).unwrap();
        for reader in [&boat, &mill] {
            let opened = open(&file, reader).unwrap();
            assert_eq!((opened.from, opened.frontier.iter().count()), (hut.peer_id(), 3));
            assert_eq!(opened.frontier, frontier());
        }
        assert_eq!(open(&file, &stranger).err(), Some(BundleError::NotForUs));
        for party in [&hut, &boat, &mill] {
            let key = party.peer_id();
            assert!(!file.windows(32).any(|bytes| bytes == key.as_bytes()));
        }
    }

    /// A byte changed or cut off anywhere: refused, or not for this node; never a panic, never another content.
    #[test]
    fn damage_is_never_read() {
        let [hut, boat] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
        let mut file = begin();
        seal(&mut file, &BundlePart::of_frontier(&frontier()), &hut, &boat.peer_id(), &[7; 32]).unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(open(&changed, &boat).is_err(), "byte {at}");
            assert!(open(&file[..at], &boat).is_err(), "cut at {at}");
        }
        assert!(open(&[&file[..], b"x"].concat(), &boat).is_ok(), "its own part is whole");
        assert_eq!(open(&vec![0; BUNDLE_BYTES_MAX + 1], &boat).err(), Some(BundleError::TooLong));
    }
}
