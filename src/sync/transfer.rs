//! Large layers in parts that resume: first the signed head, then hashes of the tree, then buckets, asked
//! for by hash. What was verified once stays good under every later root that contains its hash.
//!
//! The receiver drives: it walks down the tree where its own layer differs, and asks for the buckets that
//! it lacks. Nothing takes effect before the whole content has the signed root.
//!
//! Every peer that has offered the state is asked, over each of its links (a [`TransferLane`]) for as much as that link brings while the
//! fastest brings a full answer. A part counts wherever it comes from. What was asked for over a link that is gone, or was not
//! answered, is asked for over another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::{LinkId, PeerId};

use crate::layer::{BucketIndex, Content, ContentError, Layer, MapContent, NodePath, SignedHead, TreeHash};
use crate::limits::{
    PARTS_BYTES_MAX, TRANSFER_ASK_MAX, TRANSFER_BYTES_MAX, TRANSFER_STALE, TRANSFERS_MAX, WANT_RETRY,
};
use crate::sync::message::{Message, TransferId, TreeNode};
use crate::time::{Millis, Mono};

/// Buckets asked for in one message: at 4 kB each they stay within one answer.
const BUCKETS_PER_ASK: usize = 32;
/// What was asked for is asked for again after this long without an answer.
const ASK_RETRY: Millis = Millis::from_ms(2 * WANT_RETRY.ms());
/// Questions for buckets that wait for their answers over a fast link: while one answer is taken, the next ones are made and sent.
const ASKS_PER_LINK_MAX: usize = 4;
/// A link is fast if a full answer takes at most so long over it. What was asked of a slower one is a wait for all that follows on it, and
/// is asked for twice where the link dies, so that has one question at a time.
const FAST_ANSWER: Millis = Millis::from_ms(100);

/// One large layer on its way to this node.
#[derive(Debug)]
pub struct Transfer {
    signed: SignedHead,
    /// The peers that have offered it and are connected.
    sources: BTreeSet<PeerId>,
    /// Hashes that the signed root vouches for. A bucket without one is the same here, or empty.
    expected: BTreeMap<NodePath, [u8; 32]>,
    nodes_due: BTreeSet<NodePath>,
    buckets_due: BTreeSet<BucketIndex>,
    /// What was asked for and has not come, of each link in the order in which it was asked.
    asked: BTreeMap<LinkId, VecDeque<TransferAsk>>,
    moved_at: Mono,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct TransferAsk {
    peer: PeerId,
    at: Mono,
    /// When it is asked again, over whichever link is idle then.
    again_at: Mono,
    /// The buckets that it names; none where it asks for nodes of the tree.
    buckets: BTreeSet<BucketIndex>,
}

/// A link over which parts may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLane {
    /// The peer at its far end.
    pub peer: PeerId,
    /// The link over which the parts come.
    pub link: LinkId,
    /// In what time a full answer is expected over it.
    pub arrives: Millis,
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
                transfer.sources.insert(from);
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
            sources: BTreeSet::from([from]),
            expected: BTreeMap::from([(NodePath::ROOT, root)]),
            nodes_due: BTreeSet::from([NodePath::ROOT]),
            buckets_due: BTreeSet::new(),
            asked: BTreeMap::new(),
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

    /// A peer is gone. Transfers that no other peer has offered wait until a peer offers the same state.
    pub fn peer_down(&mut self, peer: &PeerId) {
        for transfer in self.under_way.values_mut() {
            transfer.sources.remove(peer);
            transfer.drop_asks(|ask| ask.peer == *peer);
        }
    }

    /// A link is gone: what was asked for over it is asked for over another.
    pub fn link_down(&mut self, link: LinkId) {
        for transfer in self.under_way.values_mut() {
            transfer.asked.remove(&link);
        }
    }

    /// The peers that parts are asked of.
    pub fn sources(&self) -> BTreeSet<PeerId> {
        self.under_way.values().flat_map(|transfer| transfer.sources.iter().copied()).collect()
    }

    /// When something is to be asked again.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let asked = self.under_way.values().filter(|transfer| !transfer.sources.is_empty());
        let retries = asked.flat_map(|transfer| transfer.asks_open().map(|ask| ask.again_at));
        retries.chain(self.under_way.values().map(|t| t.moved_at + TRANSFER_STALE)).min()
    }

    /// What to ask now over each of these links: once after something arrived, and again when no answer came.
    pub fn asks(&mut self, now: Mono, lanes: &[TransferLane]) -> Vec<(TransferLane, Message)> {
        if self.under_way.is_empty() {
            return Vec::new();
        }
        self.under_way.retain(|_, t| now < t.moved_at + TRANSFER_STALE);
        self.under_way.values_mut().flat_map(|transfer| transfer.asks(now, lanes)).collect()
    }

    /// Takes nodes of the hash tree. `own` is this node's present layer, whose equal parts need not travel.
    ///
    /// # Errors
    ///
    /// An error where the nodes do not belong to the root that was asked for.
    pub fn take_nodes(
        &mut self,
        id: &TransferId,
        link: LinkId,
        nodes: Vec<TreeNode>,
        own: Option<&MapContent>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let parts = &self.parts;
        let transfer = find(&mut self.under_way, id)?;
        transfer.answered(link, |ask| ask.buckets.is_empty());
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
        link: LinkId,
        parts: Vec<(BucketIndex, Vec<u8>)>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let taken = self.take_each_part(id, link, parts, now);
        self.stay_within_limit();
        taken
    }

    fn take_each_part(
        &mut self,
        id: &TransferId,
        link: LinkId,
        parts: Vec<(BucketIndex, Vec<u8>)>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let transfer = find(&mut self.under_way, id)?;
        transfer.answered(link, |ask| parts.iter().any(|(bucket, _)| ask.buckets.contains(bucket)));
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

    fn assemble(&self, transfer: &Transfer, own: Option<&MapContent>) -> Result<Layer, TransferError> {
        let mut content = own.cloned().unwrap_or_default();
        let same = |path: NodePath, content: &MapContent| {
            content.hash(path).map(|h| h.hash) == transfer.expected.get(&path).copied()
        };
        // All buckets in one change: what is above them is hashed once.
        let mut changes = Vec::new();
        for number in 0..crate::layer::BUCKETS {
            let bucket = BucketIndex::new(u64::from(number)).expect("a number below the count of buckets");
            let path = NodePath::from(bucket);
            // A bucket below a node that is the same here was never looked at.
            let above_same = own.is_some_and(|own| {
                let (mut node, mut unchanged) = (path, false);
                while node != NodePath::ROOT {
                    node = node.parent();
                    unchanged |= transfer.expected.contains_key(&node) && same(node, own);
                }
                unchanged
            });
            if above_same || same(path, &content) {
                continue;
            }
            let cbor = match transfer.expected.get(&path) {
                None => &[][..],
                Some(hash) => self.parts.get(hash).ok_or(TransferError::Root)?,
            };
            changes.extend(content.bucket_changes(bucket, cbor)?);
        }
        content.change(changes)?;
        if content.root() != transfer.signed.head.root {
            return Err(TransferError::Root);
        }
        Ok(Layer { signed: transfer.signed.clone(), content: Content::Map(content) })
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
            transfer.asked.clear();
        }
    }
}

impl Transfer {
    /// What each of these links that has nothing to bring is asked for, and each fast one that has little.
    fn asks(&mut self, now: Mono, lanes: &[TransferLane]) -> Vec<(TransferLane, Message)> {
        self.drop_asks(|ask| ask.again_at <= now);
        let mut lanes: Vec<TransferLane> =
            lanes.iter().filter(|lane| self.sources.contains(&lane.peer)).copied().collect();
        lanes.sort_by_key(|lane| (lane.arrives, lane.link));
        let Some(fastest) = lanes.first().map(|lane| lane.arrives) else { return Vec::new() };
        let mut asks = Vec::new();
        for lane in lanes {
            let asks_max = if lane.arrives <= FAST_ANSWER { ASKS_PER_LINK_MAX } else { 1 };
            while self.asked.get(&lane.link).map_or(0, VecDeque::len) < asks_max {
                let Some((message, buckets)) = self.ask_over(&lane, fastest, now) else { break };
                // A slow link is given the time that it takes.
                let again_at = now + (lane.arrives * 3).max(ASK_RETRY);
                let ask = TransferAsk { peer: lane.peer, at: now, again_at, buckets };
                self.asked.entry(lane.link).or_default().push_back(ask);
                asks.push((lane, message));
            }
        }
        asks
    }

    fn asks_open(&self) -> impl Iterator<Item = &TransferAsk> {
        self.asked.values().flatten()
    }

    fn drop_asks(&mut self, is_over: impl Fn(&TransferAsk) -> bool) {
        self.asked.retain(|_, asks| {
            asks.retain(|ask| !is_over(ask));
            !asks.is_empty()
        });
    }

    /// An answer came over a link: to the question that it fits, else to the one that was asked first.
    fn answered(&mut self, link: LinkId, fits: impl Fn(&TransferAsk) -> bool) {
        let Some(asks) = self.asked.get_mut(&link) else { return };
        asks.remove(asks.iter().position(fits).unwrap_or(0));
        if asks.is_empty() {
            self.asked.remove(&link);
        }
    }

    /// Nodes are asked for over one link at a time, the fastest that is idle; buckets over all, each in proportion to how fast it is.
    fn ask_over(
        &self,
        lane: &TransferLane,
        fastest: Millis,
        now: Mono,
    ) -> Option<(Message, BTreeSet<BucketIndex>)> {
        let id = TransferId { layer: self.signed.head.layer.hash(), root: self.signed.head.root };
        if !self.nodes_due.is_empty() {
            if self.asks_open().any(|ask| ask.buckets.is_empty()) {
                return None;
            }
            let nodes = self.nodes_due.iter().take(TRANSFER_ASK_MAX / 4).copied().collect();
            return Some((Message::TreeAsk(id, nodes), BTreeSet::new()));
        }
        let is_asked = |bucket: &&BucketIndex| self.asks_open().any(|ask| ask.buckets.contains(*bucket));
        let unasked = self.buckets_due.iter().filter(|bucket| !is_asked(bucket));
        let share = BUCKETS_PER_ASK as u64 * fastest.ms().max(1) / lane.arrives.ms().max(1);
        let mut buckets: BTreeSet<BucketIndex> = unasked.take((share as usize).max(1)).copied().collect();
        if buckets.is_empty() && !self.asked.contains_key(&lane.link) {
            // The last parts are under way over a link that brings them later than this one would.
            let later = self.asks_open().filter(|ask| now > ask.at + lane.arrives * 2);
            buckets = later.flat_map(|ask| &ask.buckets).take(BUCKETS_PER_ASK).copied().collect();
            buckets.retain(|bucket| self.buckets_due.contains(bucket));
        }
        let list = buckets.iter().copied().collect();
        (!buckets.is_empty()).then_some((Message::PartsAsk(id, list), buckets))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::identity::Keypair;
    use crate::layer::{DocumentId, DocumentName, Entry, Head, KeyPath, Kind, LayerId, Sequence};
    use crate::time::Wall;
    use tombolo_delta::Value;

    /// A map of 4,000 entries in nearly as many buckets, signed.
    fn layer() -> (SignedHead, MapContent) {
        let me = Keypair::from_seeds(&[1; 32], &[2; 32]);
        let entry = |n: u64| Entry { stamp: Timestamp::from_bits(n), value: Some(Value::from(n)), saw: None };
        let mut map = MapContent::default();
        map.change((0..4_000).map(|n| (KeyPath::parse(&n.to_string()).unwrap(), Some(entry(n))))).unwrap();
        let document = DocumentId { owner: me.peer_id(), name: DocumentName::new("d").unwrap() };
        let head = Head {
            kind: Kind::Map,
            layer: LayerId { document, author: me.peer_id() },
            sequence: Sequence::new(1).unwrap(),
            time: Wall::from_ms(1),
            audience_sequence: Sequence::NONE,
            root: map.root(),
        };
        (head.sign(&me), map)
    }

    /// The most questions that waited at once over one link, and how many there were until the layer had come.
    fn fetch(arrives: Millis) -> (usize, usize) {
        let (signed, map) = layer();
        let id = TransferId { layer: signed.head.layer.hash(), root: signed.head.root };
        let (peer, link, now) = (PeerId([3; 32]), LinkId(1), Mono::ZERO);
        let lane = TransferLane { peer, link, arrives };
        let mut transfers = Transfers::default();
        transfers.begin(signed, peer, now);
        let (mut open, mut open_max, mut asked) = (VecDeque::new(), 0, 0);
        loop {
            let asks = transfers.asks(now, &[lane]);
            asked += asks.len();
            open.extend(asks.into_iter().map(|(_, message)| message));
            open_max = open_max.max(open.len());
            match open.pop_front().expect("a question is open until all has come") {
                Message::TreeAsk(_, nodes) => {
                    let Message::Tree(_, nodes) = answer_tree(id, &map, &nodes) else { unreachable!() };
                    transfers.take_nodes(&id, link, nodes, None, now).unwrap();
                }
                Message::PartsAsk(_, buckets) => {
                    let Message::Parts(_, parts) = answer_parts(id, &map, &buckets) else { unreachable!() };
                    transfers.take_parts(&id, link, parts, now).unwrap();
                }
                other => panic!("{other:?} is no question for parts"),
            }
            if let Some(layer) = transfers.finish(&id, None) {
                assert_eq!(layer.unwrap().content.root(), map.root());
                return (open_max, asked);
            }
        }
    }

    /// Over a fast link the next questions are on their way while an answer is; a slow link has one at a time. No bucket is asked for twice.
    #[test]
    fn a_fast_link_has_several_questions_under_way() {
        let (fast, asked) = fetch(Millis::from_ms(3));
        let (slow, asked_slowly) = fetch(Millis::from_secs(2));
        assert_eq!((fast, slow), (ASKS_PER_LINK_MAX, 1));
        assert!(asked <= asked_slowly + 1, "{asked} questions, {asked_slowly} one at a time");
    }

    /// What was asked for over a link that is gone is asked for over another, with all that waited there.
    #[test]
    fn what_a_dead_link_owes_is_asked_for_elsewhere() {
        let (signed, map) = layer();
        let id = TransferId { layer: signed.head.layer.hash(), root: signed.head.root };
        let (peer, now) = (PeerId([3; 32]), Mono::ZERO);
        let lane = |link| TransferLane { peer, link: LinkId(link), arrives: Millis::from_ms(3) };
        let mut transfers = Transfers::default();
        transfers.begin(signed, peer, now);
        let mut owed = Vec::new();
        while owed.is_empty() {
            for (_, message) in transfers.asks(now, &[lane(1)]) {
                match message {
                    Message::TreeAsk(_, nodes) => {
                        let Message::Tree(_, nodes) = answer_tree(id, &map, &nodes) else { unreachable!() };
                        transfers.take_nodes(&id, LinkId(1), nodes, None, now).unwrap();
                    }
                    Message::PartsAsk(_, buckets) => owed.extend(buckets),
                    other => panic!("{other:?} is no question for parts"),
                }
            }
        }
        assert!(transfers.asks(now, &[lane(1)]).is_empty(), "nothing more is asked before an answer");
        transfers.link_down(LinkId(1));
        let again = transfers.asks(now, &[lane(2)]).into_iter().flat_map(|(_, message)| match message {
            Message::PartsAsk(_, buckets) => buckets,
            other => panic!("{other:?} is no question for buckets"),
        });
        assert_eq!(again.collect::<Vec<_>>(), owed);
    }
}
