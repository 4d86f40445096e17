//! The messages between engines, and their bytes. The first byte is the kind; the high bit marks a compact envelope,
//! the most frequent message. All else is one deterministic CBOR array behind the kind.
//!
//! ```text
//! 0x01 heartbeat     [fingerprint u64, next by s, [clock ms, uptime ms, boot] | null, codec version, heard s ago?]
//! 0x02 ask           [bucket hashes, 16 or 256 u32]
//! 0x03 frontier      [buckets answered (bit mask, of 256 in bytes), [[layer 8, sequence, root prefix 4], …]]
//! 0x04 want          [[layer 8] | [layer 8, sequence held, root prefix 4], …]
//! 0x05 whole         a whole envelope (envelope/FORMAT.md)
//! 0x06 refused       [[layer 8, sequence, reason], …]
//! 0x07 tree ask      [layer 8, root 32, [[level, index, held 64?], …]]
//! 0x08 tree          [layer 8, root 32, [[level, index, [[slot, hash, count], …], same?], …]]
//! 0x09 parts ask     [layer 8, root 32, [[level, index, held?], …]]
//! 0x0a parts         [layer 8, root 32, [[level, index, packed entries, same?], …]]
//! 0x0b command       a signed command (commands/FORMAT.md)
//! 0x0c answer        what became of a command (commands/FORMAT.md)
//! 0x0d notice        a notice that an identity is revoked (commands/FORMAT.md)
//! 0x0e heard         the hash of a notice
//! 0x0f not understood [messages of the receiver that the sender did not understand]
//! 0x80… compact      a compact envelope
//! ```

use tombolo_delta::{CborError, Limits, Value};

use crate::commands::{ANSWER_BYTES_MAX, COMMAND_BYTES_MAX, NOTICE_BYTES_MAX};
use crate::envelope::{
    CompactEnvelope, Envelope, EnvelopeError, decode_compact, decode_whole, encode_compact, encode_whole,
};
use crate::layer::{LayerHash, NodePath, Root, Sequence, TreeHash};
use crate::limits::{FRONTIER_ENTRIES_MAX, HELD_ENTRIES_MAX, MESSAGE_BYTES_MAX, TRANSFER_ASK_MAX};
use crate::sync::frontier::{BucketSize, NamedBuckets, State};
use crate::sync::transfer::{HELD_CHILDREN_BYTES, SHORT_HASH_BYTES};
use crate::time::{Millis, Wall};

/// The delta codec's version that this node speaks.
pub const CODEC_VERSION: u64 = 1;

/// A sender's clocks. The uptime orders two readings of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClock {
    /// The sender's wall clock.
    pub wall: Wall,
    /// How far the sender's monotonic clock is from its zero.
    pub uptime: Millis,
    /// Drawn at the sender's start: uptimes of one boot can be compared.
    pub boot: u32,
}

/// Names a large layer state in a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransferId {
    /// The layer that is transferred.
    pub layer: LayerHash,
    /// Which state of it.
    pub root: Root,
}

/// Asks for a node of a layer's hash tree, or for the entries below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAsk {
    /// The node or bucket.
    pub path: NodePath,
    /// The short hashes of what the sender holds there: of the 16 children in a question for nodes, of the entries of a bucket in one
    /// for parts. The answer leaves out what is among them.
    pub held: Option<Vec<u8>>,
}

/// A node of a layer's hash tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// The node of the tree, by level and index.
    pub path: NodePath,
    /// Its children by slot, but for those that are the same at the receiver.
    pub children: Vec<(u8, TreeHash)>,
    /// Bit n: the child in slot n is the one that the question named. None where the question named none.
    pub same: Option<u16>,
}

/// The entries below a node of a layer's hash tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPart {
    /// The bucket, or the node above several.
    pub path: NodePath,
    /// The entries ([`crate::layer::packed`]), but for those that are the same at the receiver.
    pub packed: Vec<u8>,
    /// Bit n, the lowest bit of a byte first: the n-th entry that the question named stands here too. None where it named none.
    pub same: Option<Vec<u8>>,
}

/// One message between neighbours.
#[derive(Clone, Debug)]
pub enum Message {
    /// "This is what I have of what you may see."
    Heartbeat {
        /// Fingerprint of the sender's frontier towards this receiver.
        fingerprint: u64,
        /// By when the next message comes at the latest, seconds.
        next_by_s: u32,
        /// The sender's wall clock, if it believes in it.
        clock: Option<PeerClock>,
        /// How long ago the sender last received anything of this receiver over a session, seconds.
        heard_s_ago: Option<u32>,
    },
    /// Asks where the frontier of the peer differs from this, which the sender believes it to be: hashes of its coarse or fine buckets.
    Ask(Vec<u32>),
    /// The states that the sender has.
    Frontier {
        /// The buckets of which all states are named. None of them: there may be more.
        buckets: NamedBuckets,
        /// The states that the sender has.
        states: Vec<(LayerHash, State)>,
    },
    /// "Send me these; I hold that of them."
    Want(Vec<(LayerHash, Option<State>)>),
    /// A signed state, whole or offered.
    Whole(Box<Envelope>),
    /// A signed state as a delta.
    Compact(Box<CompactEnvelope>),
    /// "I do not take these": layer, sequence, reason.
    Refused(Vec<(LayerHash, Sequence, u8)>),
    /// Asks for nodes of a large layer's hash tree.
    TreeAsk(TransferId, Vec<NodeAsk>),
    /// Nodes of a hash tree that was asked for.
    Tree(TransferId, Vec<TreeNode>),
    /// Asks for entries of a large layer, by the bucket or node below which they stand.
    PartsAsk(TransferId, Vec<NodeAsk>),
    /// Entries that were asked for.
    Parts(TransferId, Vec<LayerPart>),
    /// A signed command; the room `commands` reads it.
    Command(Vec<u8>),
    /// The answer to a command; the room `commands` reads it.
    Answer(Vec<u8>),
    /// A notice that an identity is revoked; the room `commands` reads it.
    Notice(Vec<u8>),
    /// Confirms a notice by its hash.
    NoticeHeard(Vec<u8>),
    /// How many messages of the receiver the sender has not understood in this session.
    NotUnderstood(u64),
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No bytes at all.
    #[error("an empty message")]
    Empty,
    /// A kind of a later version; left unread.
    #[error("a message of an unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// Not deterministic CBOR within the limits.
    #[error("{0}")]
    Cbor(#[from] CborError),
    /// The fields are not those of the kind.
    #[error("a message of kind {0:#04x} with fields that are not its own")]
    Shape(u8),
    /// The envelope inside is none.
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
}

impl Message {
    /// The kind of [`Message::NotUnderstood`].
    pub const NOT_UNDERSTOOD: u8 = 0x0f;

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, fields) = match self {
            Message::Compact(envelope) => return encode_compact(envelope),
            Message::Whole(envelope) => return [&[0x05][..], &encode_whole(envelope)].concat(),
            Message::Command(bytes) => return [&[0x0b][..], bytes].concat(),
            Message::Answer(bytes) => return [&[0x0c][..], bytes].concat(),
            Message::Notice(bytes) => return [&[0x0d][..], bytes].concat(),
            Message::NoticeHeard(hash) => return [&[0x0e][..], hash].concat(),
            Message::Heartbeat { fingerprint, next_by_s, clock, heard_s_ago } => {
                let clock =
                    clock.map_or(Value::Null, |c| Value::array([c.wall.ms(), c.uptime.ms(), c.boot.into()]));
                let next_by = Value::from(u64::from(*next_by_s));
                let heard = heard_s_ago.map(|seconds| Value::from(u64::from(seconds)));
                let fields = [Value::from(*fingerprint), next_by, clock, Value::from(CODEC_VERSION)];
                (0x01, fields.into_iter().chain(heard).collect())
            }
            Message::Ask(hashes) => (0x02, hashes.iter().map(|p| Value::from(u64::from(*p))).collect()),
            Message::Frontier { buckets, states } => {
                let states = states.iter().map(|(layer, state)| state_value(layer, state)).collect();
                (0x03, vec![buckets_value(buckets), Value::Array(states)])
            }
            Message::NotUnderstood(messages) => (Message::NOT_UNDERSTOOD, vec![Value::from(*messages)]),
            Message::Want(wants) => (0x04, wants.iter().map(want_value).collect()),
            Message::Refused(list) => (0x06, list.iter().map(refused_value).collect()),
            Message::TreeAsk(id, asks) => (0x07, id_and(id, asks.iter().map(ask_value).collect())),
            Message::Tree(id, nodes) => (0x08, id_and(id, nodes.iter().map(node_value).collect())),
            Message::PartsAsk(id, asks) => (0x09, id_and(id, asks.iter().map(ask_value).collect())),
            Message::Parts(id, parts) => (0x0a, id_and(id, parts.iter().map(part_value).collect())),
        };
        [&[kind][..], &tombolo_delta::to_cbor(&Value::Array(fields))].concat()
    }

    /// Reads a peer's bytes.
    ///
    /// # Errors
    ///
    /// An error where the bytes are no message, or exceed a limit.
    pub fn decode(bytes: &[u8]) -> Result<Message, MessageError> {
        let (kind, body) = bytes.split_first().ok_or(MessageError::Empty)?;
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(CborError::TooLong { bytes: bytes.len(), max: MESSAGE_BYTES_MAX }.into());
        }
        match kind {
            0x80.. => return Ok(Message::Compact(Box::new(decode_compact(bytes)?))),
            0x05 => return Ok(Message::Whole(Box::new(decode_whole(body)?))),
            0x0b if body.len() <= COMMAND_BYTES_MAX => return Ok(Message::Command(body.to_vec())),
            0x0c if body.len() <= ANSWER_BYTES_MAX => return Ok(Message::Answer(body.to_vec())),
            0x0d if body.len() <= NOTICE_BYTES_MAX => return Ok(Message::Notice(body.to_vec())),
            0x0e if body.len() <= NOTICE_BYTES_MAX => return Ok(Message::NoticeHeard(body.to_vec())),
            0x0b..=0x0e => return Err(MessageError::Shape(*kind)),
            0x01..=0x0a | &Message::NOT_UNDERSTOOD => {}
            other => return Err(MessageError::UnknownKind(*other)),
        }
        let limits = Limits { bytes_max: MESSAGE_BYTES_MAX, depth_max: 8, items_max: 65_536 };
        let Value::Array(items) = tombolo_delta::from_cbor(body, &limits)? else {
            return Err(MessageError::Shape(*kind));
        };
        read_fields(*kind, &items).ok_or(MessageError::Shape(*kind))
    }
}

fn read_fields(kind: u8, items: &[Value]) -> Option<Message> {
    match (kind, items) {
        (0x01, [fingerprint, next_by, clock, rest @ ..]) => Some(Message::Heartbeat {
            fingerprint: fingerprint.as_u64()?,
            next_by_s: u32::try_from(next_by.as_u64()?).ok()?,
            clock: if clock.is_null() { None } else { Some(read_clock(clock.as_array()?)?) },
            heard_s_ago: match rest {
                // Of another form it is one of a later version, and left unread.
                [_, heard, ..] => heard.as_u64().and_then(|heard| u32::try_from(heard).ok()),
                [_] | [] => None,
            },
        }),
        (0x02, hashes) => {
            BucketSize::of_count(hashes.len())?;
            Some(Message::Ask(hashes.iter().map(|p| u32::try_from(p.as_u64()?).ok()).collect::<Option<_>>()?))
        }
        (0x03, [buckets, Value::Array(states)]) => Some(Message::Frontier {
            buckets: read_buckets(buckets)?,
            states: list(states, FRONTIER_ENTRIES_MAX, |item| {
                let [layer, rest @ ..] = item.as_array()? else { return None };
                Some((LayerHash(fixed(layer)?), read_state(rest)?))
            })?,
        }),
        (0x04, wants) => Some(Message::Want(list(wants, FRONTIER_ENTRIES_MAX, |item| {
            let [layer, rest @ ..] = item.as_array()? else { return None };
            let held = if rest.is_empty() { None } else { Some(read_state(rest)?) };
            Some((LayerHash(fixed(layer)?), held))
        })?)),
        (0x06, refused) => Some(Message::Refused(list(refused, FRONTIER_ENTRIES_MAX, |item| {
            let [layer, sequence, reason] = item.as_array()? else { return None };
            Some((
                LayerHash(fixed(layer)?),
                Sequence::new(sequence.as_u64()?)?,
                u8::try_from(reason.as_u64()?).ok()?,
            ))
        })?)),
        (Message::NOT_UNDERSTOOD, [messages]) => Some(Message::NotUnderstood(messages.as_u64()?)),
        (0x07, [layer, root, Value::Array(asks)]) => {
            let is_held = |held: &[u8]| held.len() == HELD_CHILDREN_BYTES;
            let ask = |item: &Value| read_ask(item, is_held);
            Some(Message::TreeAsk(read_id(layer, root)?, list(asks, TRANSFER_ASK_MAX, ask)?))
        }
        (0x08, [layer, root, Value::Array(nodes)]) => {
            Some(Message::Tree(read_id(layer, root)?, list(nodes, TRANSFER_ASK_MAX, read_node)?))
        }
        (0x09, [layer, root, Value::Array(asks)]) => {
            let is_held = |held: &[u8]| {
                !held.is_empty()
                    && held.len().is_multiple_of(SHORT_HASH_BYTES)
                    && held.len() <= HELD_ENTRIES_MAX * SHORT_HASH_BYTES
            };
            let is_ask = |ask: &NodeAsk| ask.held.is_none() || ask.path.bucket().is_some();
            let ask = |item: &Value| read_ask(item, is_held).filter(is_ask);
            Some(Message::PartsAsk(read_id(layer, root)?, list(asks, TRANSFER_ASK_MAX, ask)?))
        }
        (0x0a, [layer, root, Value::Array(parts)]) => {
            Some(Message::Parts(read_id(layer, root)?, list(parts, TRANSFER_ASK_MAX, read_part)?))
        }
        _ => None,
    }
}

fn list<T>(items: &[Value], max: usize, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    if items.len() > max {
        return None;
    }
    items.iter().map(read).collect()
}

/// The mask of coarse buckets is a number, of fine ones 32 bytes: bit n mod 8, the lowest first, of byte n / 8.
fn buckets_value(buckets: &NamedBuckets) -> Value {
    match buckets.size {
        BucketSize::Coarse => {
            Value::from(buckets.numbers.iter().fold(0, |mask, number| mask | 1u64 << number))
        }
        BucketSize::Fine => {
            let byte = |at: u8| {
                (0..8).filter(|bit| buckets.numbers.contains(&(at * 8 + bit))).fold(0, |b, n| b | 1 << n)
            };
            Value::Bytes((0..32).map(byte).collect())
        }
    }
}

fn read_buckets(mask: &Value) -> Option<NamedBuckets> {
    let (size, mask) = match mask.as_bytes() {
        Some(bytes) => (BucketSize::Fine, <[u8; 32]>::try_from(bytes).ok()?.to_vec()),
        None => (BucketSize::Coarse, u16::try_from(mask.as_u64()?).ok()?.to_le_bytes().to_vec()),
    };
    let is_set =
        |number: &u8| mask.get(usize::from(number / 8)).is_some_and(|byte| byte >> (number % 8) & 1 == 1);
    Some(NamedBuckets { size, numbers: (0..=u8::MAX).filter(is_set).collect() })
}

fn state_value(layer: &LayerHash, state: &State) -> Value {
    let root_prefix = Value::Bytes(state.root_prefix.to_vec());
    Value::Array(vec![Value::Bytes(layer.0.to_vec()), Value::from(state.sequence.get()), root_prefix])
}

fn want_value((layer, held): &(LayerHash, Option<State>)) -> Value {
    match held {
        Some(state) => state_value(layer, state),
        None => Value::Array(vec![Value::Bytes(layer.0.to_vec())]),
    }
}

fn refused_value((layer, sequence, reason): &(LayerHash, Sequence, u8)) -> Value {
    let reason = Value::from(u64::from(*reason));
    Value::Array(vec![Value::Bytes(layer.0.to_vec()), Value::from(sequence.get()), reason])
}

fn id_and(id: &TransferId, list: Vec<Value>) -> Vec<Value> {
    vec![Value::Bytes(id.layer.0.to_vec()), Value::Bytes(id.root.0.to_vec()), Value::Array(list)]
}

fn path_items(path: NodePath) -> Vec<Value> {
    vec![Value::from(u64::from(path.level())), Value::from(u64::from(path.index()))]
}

fn ask_value(ask: &NodeAsk) -> Value {
    let held = ask.held.iter().map(|held| Value::Bytes(held.clone()));
    Value::Array(path_items(ask.path).into_iter().chain(held).collect())
}

fn node_value(node: &TreeNode) -> Value {
    let child = |(slot, hash): &(u8, TreeHash)| {
        let slot = Value::from(u64::from(*slot));
        Value::Array(vec![slot, Value::Bytes(hash.hash.to_vec()), Value::from(u64::from(hash.count))])
    };
    let children = Value::Array(node.children.iter().map(child).collect());
    let same = node.same.map(|same| Value::from(u64::from(same)));
    Value::Array(path_items(node.path).into_iter().chain([children]).chain(same).collect())
}

fn part_value(part: &LayerPart) -> Value {
    let packed = Value::Bytes(part.packed.clone());
    let same = part.same.iter().map(|same| Value::Bytes(same.clone()));
    Value::Array(path_items(part.path).into_iter().chain([packed]).chain(same).collect())
}

fn read_id(layer: &Value, root: &Value) -> Option<TransferId> {
    Some(TransferId { layer: LayerHash(fixed(layer)?), root: Root(fixed(root)?) })
}

fn read_path(level: &Value, index: &Value) -> Option<NodePath> {
    NodePath::new(level.as_u64()?, index.as_u64()?)
}

fn read_ask(item: &Value, is_held: impl Fn(&[u8]) -> bool) -> Option<NodeAsk> {
    let [level, index, rest @ ..] = item.as_array()? else { return None };
    let held = match rest {
        [] => None,
        [held] => Some(held.as_bytes().filter(|held| is_held(held))?.to_vec()),
        _ => return None,
    };
    Some(NodeAsk { path: read_path(level, index)?, held })
}

fn read_node(item: &Value) -> Option<TreeNode> {
    let [level, index, Value::Array(children), rest @ ..] = item.as_array()? else { return None };
    let child = |child: &Value| match child.as_array()? {
        [slot, hash, count] => {
            let slot = u8::try_from(slot.as_u64()?).ok().filter(|s| *s < 16)?;
            let count = u32::try_from(count.as_u64()?).ok().filter(|c| *c > 0)?;
            Some((slot, TreeHash { count, hash: fixed(hash)? }))
        }
        _ => None,
    };
    let same = match rest {
        [] => None,
        [same] => Some(u16::try_from(same.as_u64()?).ok()?),
        _ => return None,
    };
    Some(TreeNode { path: read_path(level, index)?, children: list(children, 16, child)?, same })
}

fn read_part(item: &Value) -> Option<LayerPart> {
    let [level, index, packed, rest @ ..] = item.as_array()? else { return None };
    let same = match rest {
        [] => None,
        [same] => Some(same.as_bytes()?.to_vec()),
        _ => return None,
    };
    Some(LayerPart { path: read_path(level, index)?, packed: packed.as_bytes()?.to_vec(), same })
}

fn read_state(items: &[Value]) -> Option<State> {
    match items {
        [sequence, prefix] => {
            Some(State { sequence: Sequence::new(sequence.as_u64()?)?, root_prefix: fixed(prefix)? })
        }
        _ => None,
    }
}

fn read_clock(items: &[Value]) -> Option<PeerClock> {
    match items {
        [wall, uptime, boot] => Some(PeerClock {
            wall: Wall::from_ms(wall.as_u64()?),
            uptime: Millis::from_ms(uptime.as_u64()?),
            boot: u32::try_from(boot.as_u64()?).ok()?,
        }),
        _ => None,
    }
}

fn fixed<const N: usize>(value: &Value) -> Option<[u8; N]> {
    value.as_bytes()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layer(n: u8) -> LayerHash {
        LayerHash([n; 8])
    }

    #[test]
    fn every_kind_reads_back() {
        let id = TransferId { layer: layer(1), root: Root([2; 32]) };
        let state = State { sequence: Sequence::new(300).unwrap(), root_prefix: [1, 2, 3, 4] };
        let hash = TreeHash { count: 9, hash: [7; 32] };
        let named = |size, numbers: &[u8]| NamedBuckets { size, numbers: numbers.iter().copied().collect() };
        let (root, bucket) = (NodePath::ROOT, NodePath::new(3, 4095).unwrap());
        let plain = |path| NodeAsk { path, held: None };
        let node = |same| TreeNode { path: root, children: vec![(15, hash)], same };
        let part = |same| LayerPart { path: bucket, packed: vec![0x80], same };
        for message in [
            Message::Heartbeat {
                fingerprint: u64::MAX,
                next_by_s: 60,
                clock: Some(PeerClock { wall: Wall::from_ms(5), uptime: Millis::from_ms(6), boot: 7 }),
                heard_s_ago: None,
            },
            Message::Heartbeat { fingerprint: 0, next_by_s: 20, clock: None, heard_s_ago: Some(40) },
            Message::Ask(vec![7; 16]),
            Message::Ask(vec![7; 256]),
            Message::Frontier {
                buckets: named(BucketSize::Coarse, &[0, 9, 15]),
                states: vec![(layer(1), state)],
            },
            Message::Frontier {
                buckets: named(BucketSize::Fine, &[0, 9, 255]),
                states: vec![(layer(1), state)],
            },
            Message::Want(vec![(layer(1), None), (layer(2), Some(state))]),
            Message::Refused(vec![(layer(3), Sequence::new(7).unwrap(), 2)]),
            Message::TreeAsk(id, vec![plain(root), NodeAsk { path: root, held: Some(vec![1; 64]) }]),
            Message::Tree(id, vec![node(None), node(Some(0x8001))]),
            Message::PartsAsk(id, vec![plain(bucket), NodeAsk { path: bucket, held: Some(vec![1; 12]) }]),
            Message::Parts(id, vec![part(None), part(Some(vec![5]))]),
            Message::Command(vec![1, 2]),
            Message::Answer(vec![3]),
            Message::Notice(vec![4]),
            Message::NoticeHeard(vec![5; 8]),
            Message::NotUnderstood(3),
        ] {
            let bytes = message.encode();
            let again = Message::decode(&bytes).unwrap();
            assert_eq!(format!("{again:?}"), format!("{message:?}"));
            assert_eq!(again.encode(), bytes);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(kind in 0u8..16, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&bytes);
            let _ = Message::decode(&[&[kind][..], &bytes].concat());
        }
    }
}
