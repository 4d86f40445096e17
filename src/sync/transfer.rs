//! Large layers in parts that resume: first the signed head, then hashes of the tree, then buckets, asked
//! for by hash. What was verified once stays good under every later root that contains its hash.
//!
//! The receiver drives: it walks down the tree where its own layer differs, and asks for the buckets that
//! it lacks. Nothing takes effect before the whole content has the signed root.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::PeerId;

use crate::layer::{BucketIndex, Content, ContentError, Layer, MapContent, NodePath, SignedHead, TreeHash};
use crate::limits::{
    PARTS_BYTES_MAX, TRANSFER_ASK_MAX, TRANSFER_BYTES_MAX, TRANSFER_STALE, TRANSFERS_MAX, WANT_RETRY,
};
use crate::sync::message::{Message, TransferId, TreeNode};
use crate::time::{Millis, Mono};

/// Buckets asked for in one message. Those that do not fit the answer are asked for again.
const BUCKETS_PER_ASK: usize = TRANSFER_ASK_MAX;
/// Nodes of the tree asked for in one message.
const NODES_PER_ASK: usize = TRANSFER_ASK_MAX / 4;
/// Questions on their way at once, so that parts are asked for while others arrive: answers of 128 kB fill a link of 10 Gbit/s
/// with 0.4 ms of round trip.
const ASKS_IN_FLIGHT_MAX: usize = 4;
/// What was asked for is asked for again after this long without an answer.
const ASK_RETRY: Millis = Millis::from_ms(2 * WANT_RETRY.ms());

/// One large layer on its way to this node.
#[derive(Debug)]
pub struct Transfer {
    signed: SignedHead,
    /// The peer that is asked.
    from: PeerId,
    /// Hashes that the signed root vouches for. A bucket without one is the same here, or empty.
    expected: BTreeMap<NodePath, [u8; 32]>,
    nodes_due: BTreeSet<NodePath>,
    buckets_due: BTreeSet<BucketIndex>,
    /// The questions without an answer yet, oldest first. The peer answers in this order.
    in_flight: VecDeque<TransferAsk>,
    /// When one of them was sent or answered last.
    asked_at: Option<Mono>,
    source_is_gone: bool,
    moved_at: Mono,
}

/// A question for parts.
#[derive(Debug)]
enum TransferAsk {
    Nodes(Vec<NodePath>),
    Buckets(Vec<BucketIndex>),
}

/// All transfers of a node, and the verified parts, by hash.
#[derive(Debug, Default)]
pub struct Transfers {
    under_way: BTreeMap<crate::layer::LayerHash, Transfer>,
    parts: BTreeMap<[u8; 32], Vec<u8>>,
    parts_bytes: usize,
}

/// Why a peer's parts were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// No transfer was asked for, or the one under way is of another root.
    #[error("not a transfer under way")]
    Unknown,
    /// The hash is not the one that the signed root vouches for.
    #[error("a part does not have the hash that the signed root contains")]
    Hash,
    /// All parts are there and still do not make the signed root.
    #[error("the parts do not make the signed root")]
    Root,
}

impl From<ContentError> for TransferError {
    fn from(_: ContentError) -> Self {
        TransferError::Root
    }
}

impl Transfers {
    /// Begins to fetch the state that a verified head names, or goes on with it from another peer.
    pub fn begin(&mut self, signed: SignedHead, from: PeerId, now: Mono) {
        let layer = signed.head.layer.hash();
        if let Some(transfer) = self.under_way.get_mut(&layer) {
            if transfer.signed.head.root == signed.head.root {
                // Another source is taken when the present one is gone or silent.
                if transfer.is_due(now) {
                    transfer.from = from;
                    transfer.source_is_gone = false;
                    transfer.in_flight.clear();
                    transfer.asked_at = None;
                }
                return;
            }
            if transfer.signed.supersedes(&signed) {
                return;
            }
        } else if self.under_way.len() >= TRANSFERS_MAX {
            return;
        }
        let root = signed.head.root.0;
        let transfer = Transfer {
            signed,
            from,
            expected: BTreeMap::from([(NodePath::ROOT, root)]),
            nodes_due: BTreeSet::from([NodePath::ROOT]),
            buckets_due: BTreeSet::new(),
            in_flight: VecDeque::new(),
            asked_at: None,
            source_is_gone: false,
            moved_at: now,
        };
        self.under_way.insert(layer, transfer);
    }

    /// Gives up what a newer state has overtaken.
    pub fn end(&mut self, layer: &crate::layer::LayerHash) {
        self.under_way.remove(layer);
        if self.under_way.is_empty() {
            self.parts.clear();
            self.parts_bytes = 0;
        }
    }

    /// A peer is gone: its transfers wait until another peer offers the same state.
    pub fn peer_down(&mut self, peer: &PeerId) {
        for transfer in self.under_way.values_mut().filter(|t| t.from == *peer) {
            transfer.source_is_gone = true;
        }
    }

    /// When something is to be asked again.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let asked = self.under_way.values().filter(|t| !t.source_is_gone);
        let retries = asked.filter_map(|t| t.asked_at.map(|at| at + ASK_RETRY));
        retries.chain(self.under_way.values().map(|t| t.moved_at + TRANSFER_STALE)).min()
    }

    /// What to ask now: as long as there is room for questions on their way, and all again when no answer came.
    pub fn asks(&mut self, now: Mono) -> Vec<(PeerId, Message)> {
        if self.under_way.is_empty() {
            return Vec::new();
        }
        self.under_way.retain(|_, t| now < t.moved_at + TRANSFER_STALE);
        let mut asks = Vec::new();
        for transfer in self.under_way.values_mut().filter(|t| !t.source_is_gone) {
            if transfer.is_due(now) {
                transfer.in_flight.clear();
            }
            while let Some(message) = transfer.ask() {
                transfer.asked_at = Some(now);
                asks.push((transfer.from, message));
            }
        }
        asks
    }

    /// Takes nodes of the hash tree. `own` is this node's present layer, whose equal parts need not travel.
    ///
    /// # Errors
    ///
    /// An error where the nodes do not belong to the root that was asked for.
    pub fn take_nodes(
        &mut self,
        id: &TransferId,
        nodes: Vec<TreeNode>,
        own: Option<&MapContent>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let parts = &self.parts;
        let transfer = find(&mut self.under_way, id)?;
        let first = nodes.first().map(|(path, _)| *path);
        transfer.answered(
            now,
            |ask| matches!(ask, TransferAsk::Nodes(asked) if first.is_some_and(|path| asked.contains(&path))),
        );
        for (path, children) in nodes {
            if !transfer.nodes_due.contains(&path) {
                continue;
            }
            transfer.moved_at = now;
            if Some(&TreeHash::of_node(path.level(), &children).hash) != transfer.expected.get(&path) {
                return Err(TransferError::Hash);
            }
            transfer.nodes_due.remove(&path);
            for (slot, hash) in children {
                let Some(child) = path.child(slot) else { continue };
                transfer.expected.insert(child, hash.hash);
                if own.and_then(|own| own.hash(child)).is_some_and(|own| own.hash == hash.hash) {
                    continue;
                }
                match child.bucket() {
                    Some(bucket) if !parts.contains_key(&hash.hash) => {
                        transfer.buckets_due.insert(bucket);
                    }
                    Some(_) => {}
                    None => {
                        transfer.nodes_due.insert(child);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes buckets that arrived.
    ///
    /// # Errors
    ///
    /// An error where the buckets do not belong to the root that was asked for, or exceed a limit.
    pub fn take_parts(
        &mut self,
        id: &TransferId,
        parts: Vec<(BucketIndex, Vec<u8>)>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let taken = self.take_each_part(id, parts, now);
        self.stay_within_limit();
        taken
    }

    fn take_each_part(
        &mut self,
        id: &TransferId,
        parts: Vec<(BucketIndex, Vec<u8>)>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let transfer = find(&mut self.under_way, id)?;
        let first = parts.first().map(|(bucket, _)| *bucket);
        transfer.answered(now, |ask| matches!(ask, TransferAsk::Buckets(asked) if first.is_some_and(|bucket| asked.contains(&bucket))));
        for (bucket, cbor) in parts {
            if !transfer.buckets_due.contains(&bucket) {
                continue;
            }
            let hash = TreeHash::of_bucket(0, &cbor).hash;
            if transfer.expected.get(&NodePath::from(bucket)) != Some(&hash) {
                return Err(TransferError::Hash);
            }
            transfer.buckets_due.remove(&bucket);
            transfer.moved_at = now;
            self.parts_bytes += cbor.len();
            self.parts.insert(hash, cbor);
        }
        Ok(())
    }

    /// The new state of a layer once all its parts are there: the content held here with the differing buckets
    /// replaced. The transfer is over then, whether it succeeds or not.
    ///
    /// # Errors
    ///
    /// An error where the parts do not make the layer that was signed.
    pub fn finish(
        &mut self,
        id: &TransferId,
        own: Option<&MapContent>,
    ) -> Option<Result<Layer, TransferError>> {
        let transfer = find(&mut self.under_way, id).ok()?;
        if !transfer.nodes_due.is_empty() || !transfer.buckets_due.is_empty() {
            return None;
        }
        let transfer = self.under_way.remove(&id.layer)?;
        let result = self.assemble(&transfer, own);
        self.end(&id.layer);
        Some(result)
    }

    fn assemble(&mut self, transfer: &Transfer, own: Option<&MapContent>) -> Result<Layer, TransferError> {
        let none = MapContent::default();
        let own = own.unwrap_or(&none);
        let same = |path: NodePath| own.hash(path).map(|h| h.hash) == transfer.expected.get(&path).copied();
        // A bucket below a node that is the same here was never looked at.
        let is_below_same = |path: NodePath| {
            let above = std::iter::successors(Some(path.parent()), |node| {
                (*node != NodePath::ROOT).then(|| node.parent())
            });
            above.into_iter().any(|node| transfer.expected.contains_key(&node) && same(node))
        };
        let mut changes = Vec::new();
        for number in 0..crate::layer::BUCKETS {
            let bucket = BucketIndex::new(u64::from(number)).expect("a number below the count of buckets");
            let path = NodePath::from(bucket);
            if same(path) || is_below_same(path) {
                continue;
            }
            let cbor = match transfer.expected.get(&path) {
                None => Vec::new(),
                Some(hash) => self.take_part(hash).ok_or(TransferError::Root)?,
            };
            changes.extend(own.bucket_changes(bucket, &cbor)?);
        }
        let content = match own.is_empty() {
            true => MapContent::of_entries(
                changes.into_iter().filter_map(|(key, entry)| Some((key, entry?))).collect(),
            )?,
            false => {
                let mut content = own.clone();
                content.change(changes)?;
                content
            }
        };
        if content.root() != transfer.signed.head.root {
            return Err(TransferError::Root);
        }
        Ok(Layer { signed: transfer.signed.clone(), content: Content::Map(content) })
    }

    /// A verified part. It goes as it is taken unless another transfer may need it: a large layer is not held twice.
    fn take_part(&mut self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        match self.under_way.is_empty() {
            true => self.parts.remove(hash),
            false => self.parts.get(hash).cloned(),
        }
    }

    /// Drops the transfer that moved least recently, with all parts, when too many bytes wait.
    fn stay_within_limit(&mut self) {
        if self.parts_bytes <= TRANSFER_BYTES_MAX {
            return;
        }
        let oldest = self.under_way.iter().min_by_key(|(_, t)| t.moved_at).map(|(layer, _)| *layer);
        if let Some(layer) = oldest {
            self.under_way.remove(&layer);
        }
        self.parts.clear();
        self.parts_bytes = 0;
        for transfer in self.under_way.values_mut() {
            let known = std::mem::take(&mut transfer.expected);
            transfer.expected = known.into_iter().filter(|(path, _)| *path == NodePath::ROOT).collect();
            transfer.nodes_due = BTreeSet::from([NodePath::ROOT]);
            transfer.buckets_due.clear();
            transfer.in_flight.clear();
            transfer.asked_at = None;
        }
    }
}

impl Transfer {
    /// Whether something may be asked: nothing is under way, or no answer came.
    fn is_due(&self, now: Mono) -> bool {
        self.source_is_gone || self.asked_at.is_none_or(|at| now >= at + ASK_RETRY)
    }

    /// An answer came: what it left out is asked for again.
    fn answered(&mut self, now: Mono, is_for: impl Fn(&TransferAsk) -> bool) {
        if let Some(at) = self.in_flight.iter().position(is_for) {
            self.in_flight.remove(at);
            self.asked_at = (!self.in_flight.is_empty()).then_some(now);
        }
    }

    /// The next question, if there is room for one on its way and something that is not asked for.
    fn ask(&mut self) -> Option<Message> {
        if self.in_flight.len() >= ASKS_IN_FLIGHT_MAX {
            return None;
        }
        let id = TransferId { layer: self.signed.head.layer.hash(), root: self.signed.head.root };
        let (mut asked_nodes, mut asked_buckets) =
            (BTreeSet::<NodePath>::new(), BTreeSet::<BucketIndex>::new());
        for ask in &self.in_flight {
            match ask {
                TransferAsk::Nodes(nodes) => asked_nodes.extend(nodes),
                TransferAsk::Buckets(buckets) => asked_buckets.extend(buckets),
            }
        }
        let nodes = self.nodes_due.iter().filter(|node| !asked_nodes.contains(*node));
        let nodes: Vec<_> = nodes.take(NODES_PER_ASK).copied().collect();
        if !nodes.is_empty() {
            self.in_flight.push_back(TransferAsk::Nodes(nodes.clone()));
            return Some(Message::TreeAsk(id, nodes));
        }
        let buckets = self.buckets_due.iter().filter(|bucket| !asked_buckets.contains(*bucket));
        let buckets: Vec<_> = buckets.take(BUCKETS_PER_ASK).copied().collect();
        if buckets.is_empty() {
            return None;
        }
        self.in_flight.push_back(TransferAsk::Buckets(buckets.clone()));
        Some(Message::PartsAsk(id, buckets))
    }
}

fn find<'a>(
    under_way: &'a mut BTreeMap<crate::layer::LayerHash, Transfer>,
    id: &TransferId,
) -> Result<&'a mut Transfer, TransferError> {
    under_way.get_mut(&id.layer).filter(|t| t.signed.head.root == id.root).ok_or(TransferError::Unknown)
}

/// Answers a `TreeAsk` from a layer that is held here in the state asked for.
pub fn answer_tree(id: TransferId, content: &MapContent, nodes: &[NodePath]) -> Message {
    let known = nodes.iter().filter(|path| path.bucket().is_none());
    Message::Tree(id, known.map(|path| (*path, content.children(*path))).collect())
}

/// Answers a `PartsAsk`, as far as one message goes; the rest is asked for again.
pub fn answer_parts(id: TransferId, content: &MapContent, buckets: &[BucketIndex]) -> Message {
    let mut bytes = 0;
    let parts = buckets
        .iter()
        .map(|bucket| (*bucket, content.bucket_cbor(*bucket)))
        .take_while(|(_, cbor)| {
            let first = bytes == 0;
            bytes += cbor.len();
            first || bytes <= PARTS_BYTES_MAX
        })
        .collect();
    Message::Parts(id, parts)
}
