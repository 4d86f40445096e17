//! Large layers in parts that resume: first the signed head, then hashes of the tree, then entries, asked for by the node of the tree
//! below which they stand. What was verified once stays good under every later root that contains its hash.
//!
//! The receiver drives: it walks down the tree where its own layer differs, and asks for what it lacks. A question holds what the
//! receiver has there, as short hashes, and the answer brings the rest. Where the receiver has nothing, it asks for all below a node at
//! once, so that a first transfer needs no hashes of buckets. Nothing takes effect before the whole content has the signed root.
//!
//! Every peer that has offered the state is asked, over each of its links (a [`TransferLane`]) for as much as that link brings while the
//! fastest brings a full answer. A part counts wherever it comes from. What was asked for over a link that is gone, or was not
//! answered, is asked for over another.

mod answer;
mod difference;
mod places;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tombolo_transports::{LinkId, PeerId};

use crate::layer::packed::{self, PackedError};
use crate::layer::{
    Content, ContentError, Entry, KeyPath, Layer, LayerHash, MapContent, MapDifference, NodePath, SignedHead,
    TreeHash,
};
use crate::limits::{
    GROUP_ENTRIES_MAX, HELD_ENTRIES_MAX, PARTS_BYTES_MAX, PARTS_UNPACKED_MAX, TRANSFER_ASK_MAX,
    TRANSFER_STALE, WANT_RETRY, WHOLE_LAYER_BYTES_MAX,
};
use crate::sync::message::{LayerPart, Message, NodeAsk, TransferId, TreeNode};
use crate::time::{Millis, Mono};
pub use answer::{HELD_CHILDREN_BYTES, SHORT_HASH_BYTES, answer_parts, answer_tree};
use difference::Difference;
use places::WaitingOffer;
pub use places::{TransferPlace, TransferStanding};

/// The least that an entry is expected to take on its way, bytes.
const ENTRY_BYTES_MIN: u64 = 64;
/// What is asked for at once is expected to take no more than a quarter of an answer: several links share what is due.
const GROUP_BYTES: u64 = PARTS_BYTES_MAX as u64 / 4;
/// What one question holds of what is here already, bytes.
const HELD_BYTES_PER_ASK: usize = 16 * 1024;
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
    /// The peer whose place it takes.
    offered_by: PeerId,
    /// The peers that have offered it and are connected.
    sources: BTreeSet<PeerId>,
    /// What came of an older state, put into the layer that is held here; none where nothing came of one. The walk compares with it.
    base: Option<MapContent>,
    /// In what it differs from the layer that is held here, as far as its parts have come.
    difference: Difference,
    /// Hashes that the signed root vouches for.
    expected: BTreeMap<NodePath, TreeHash>,
    nodes_due: BTreeSet<NodePath>,
    /// Buckets, and nodes below which nothing is held here.
    parts_due: BTreeSet<NodePath>,
    /// Of these an answer that leaves out what is held here did not have the hash: they are asked for as if nothing were.
    plain: BTreeSet<NodePath>,
    /// What an entry takes on its way, bytes: of those that came, before that from what an offered layer has at the least.
    entry_bytes: u64,
    /// Verified contents that replace what the base has below their nodes.
    parts: Vec<(NodePath, MapContent)>,
    /// Bytes that they and the base take in memory.
    parts_memory: usize,
    /// What was asked for and has not come, of each link in the order in which it was asked.
    asked: BTreeMap<LinkId, VecDeque<TransferAsk>>,
    moved_at: Mono,
}

/// A large layer that is complete.
#[derive(Debug)]
pub struct Assembled {
    /// The layer, with the root that was signed.
    pub layer: Layer,
    /// The keys under which it differs from the one that is held here, in their order; none: that is to be found out.
    pub changed: Option<MapDifference>,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct TransferAsk {
    peer: PeerId,
    at: Mono,
    /// When it is asked again, over whichever link is idle then.
    again_at: Mono,
    /// The parts that it names; none where it asks for nodes of the tree.
    parts: BTreeSet<NodePath>,
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

/// All transfers of a node.
#[derive(Debug, Default)]
pub struct Transfers {
    under_way: BTreeMap<LayerHash, Transfer>,
    /// Offers that found no place, until they are offered again.
    waiting: BTreeMap<LayerHash, WaitingOffer>,
}

/// Why a peer's parts were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// No transfer was asked for, or the one under way is of another root.
    #[error("not a transfer under way")]
    Unknown,
    /// The bytes are no packed entries.
    #[error("{0}")]
    Packed(#[from] PackedError),
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
    /// Begins to fetch the state that a verified head names, or goes on with it from another peer. `own` is this node's present layer.
    pub fn begin(&mut self, signed: SignedHead, from: PeerId, own: Option<&MapContent>, now: Mono) {
        let layer = signed.head.layer.hash();
        let (mut base, mut difference) = (None, Difference::to(own, signed.head.sequence));
        if let Some(transfer) = self.under_way.get_mut(&layer) {
            if transfer.signed.head.root == signed.head.root {
                transfer.sources.insert(from);
                return;
            }
            if transfer.signed.supersedes(&signed) {
                return;
            }
            (base, difference) = transfer.take_base(own);
            difference = difference.overtaken(base.as_ref(), signed.head.sequence);
        } else if !self.make_room(&from, now) {
            return self.wait(layer, WaitingOffer { layer: signed.head.layer, from, since: now });
        }
        self.waiting.remove(&layer);
        let root = TreeHash { count: u32::MAX, hash: signed.head.root.0 };
        let transfer = Transfer {
            signed,
            offered_by: from,
            sources: BTreeSet::from([from]),
            parts_memory: base.as_ref().map_or(0, MapContent::memory_bytes),
            base,
            difference,
            expected: BTreeMap::from([(NodePath::ROOT, root)]),
            nodes_due: BTreeSet::from([NodePath::ROOT]),
            parts_due: BTreeSet::new(),
            plain: BTreeSet::new(),
            entry_bytes: ENTRY_BYTES_MIN,
            parts: Vec::new(),
            asked: BTreeMap::new(),
            moved_at: now,
        };
        self.under_way.insert(layer, transfer);
    }

    /// Gives up what a newer state has overtaken.
    pub fn end(&mut self, layer: &LayerHash) {
        self.under_way.remove(layer);
        self.waiting.remove(layer);
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

    /// What to ask now over each of these links: once after something arrived, and again when no answer came. `own_of` returns this
    /// node's present layer.
    pub fn asks<'a>(
        &mut self,
        now: Mono,
        lanes: &[TransferLane],
        own_of: impl Fn(&LayerHash) -> Option<&'a MapContent>,
    ) -> Vec<(TransferLane, Message)> {
        self.under_way.retain(|_, t| now < t.moved_at + TRANSFER_STALE);
        self.waiting.retain(|_, offer| now < offer.since + TRANSFER_STALE);
        let asks = |(layer, transfer): (&LayerHash, &mut Transfer)| transfer.asks(now, lanes, own_of(layer));
        self.under_way.iter_mut().flat_map(asks).collect()
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
        let transfer = find(&mut self.under_way, id)?;
        let answers = |ask: &TransferAsk| {
            ask.parts.is_empty() || nodes.iter().any(|node| ask.parts.contains(&node.path))
        };
        transfer.answered(link, answers);
        nodes.into_iter().try_for_each(|node| transfer.take_node(node, own, now))
    }

    /// Takes parts that arrived. `own` is this node's present layer, of which the answers leave out what they have too.
    ///
    /// # Errors
    ///
    /// An error where the parts do not belong to the root that was asked for, or exceed a limit.
    pub fn take_parts(
        &mut self,
        id: &TransferId,
        link: LinkId,
        parts: Vec<LayerPart>,
        own: Option<&MapContent>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let transfer = find(&mut self.under_way, id)?;
        transfer.answered(link, |ask| parts.iter().any(|part| ask.parts.contains(&part.path)));
        let mut room = PARTS_UNPACKED_MAX;
        let taken = parts.into_iter().try_for_each(|part| transfer.take_part(&part, own, &mut room, now));
        self.stay_within_limit();
        taken
    }

    /// The new state of a layer once all its parts are there: the content held here with what differs replaced. The transfer is over
    /// then, whether it succeeds or not.
    ///
    /// # Errors
    ///
    /// An error where the parts do not make the layer that was signed.
    pub fn finish(
        &mut self,
        id: &TransferId,
        own: Option<&MapContent>,
    ) -> Option<Result<Assembled, TransferError>> {
        let transfer = find(&mut self.under_way, id).ok()?;
        if !transfer.nodes_due.is_empty() || !transfer.parts_due.is_empty() {
            return None;
        }
        let transfer = self.under_way.remove(&id.layer)?;
        Some(transfer.assemble(own))
    }
}

impl Transfer {
    /// What is held here, with what came of this state in its place, and in what the two differ. None where nothing came and there
    /// is no older base.
    fn take_base(&mut self, own: Option<&MapContent>) -> (Option<MapContent>, Difference) {
        let sequence = self.signed.head.sequence;
        let difference = std::mem::replace(&mut self.difference, Difference::to(own, sequence));
        let base = self.base.take();
        if self.parts.is_empty() {
            return (base, difference);
        }
        let mut content = base.or_else(|| own.cloned()).unwrap_or_default();
        match content.replace_below(std::mem::take(&mut self.parts)) {
            Ok(()) => (Some(content), difference),
            Err(_) => (None, Difference::to(own, sequence)),
        }
    }

    fn take_node(
        &mut self,
        node: TreeNode,
        own: Option<&MapContent>,
        now: Mono,
    ) -> Result<(), TransferError> {
        let TreeNode { path, children, same } = node;
        let Some(expected) = self.expected.get(&path).filter(|_| self.is_due(&path)).copied() else {
            return Ok(());
        };
        let base = self.base.as_ref().or(own);
        let held = base.map(|base| base.children(path)).unwrap_or_default();
        let is_kept = |(slot, _): &&(u8, TreeHash)| same.unwrap_or(0) >> slot & 1 == 1;
        let kept = held.iter().filter(is_kept).copied();
        let mut children: Vec<(u8, TreeHash)> = children.into_iter().chain(kept).collect();
        children.sort_by_key(|(slot, _)| *slot);
        if TreeHash::of_node(path.level(), &children).hash != expected.hash {
            return self.differs(path, same.is_some());
        }
        self.moved_at = now;
        self.nodes_due.remove(&path);
        self.parts_due.remove(&path);
        if path == NodePath::ROOT {
            let entries: u64 = children.iter().map(|(_, child)| u64::from(child.count)).sum();
            self.entry_bytes = (WHOLE_LAYER_BYTES_MAX as u64 / entries.max(1)).max(ENTRY_BYTES_MIN);
        }
        for (slot, hash) in &children {
            let Some(child) = path.child(*slot) else { continue };
            let at_hand = held.iter().find(|(other, _)| other == slot);
            if at_hand.is_some_and(|(_, held)| held.hash == hash.hash) {
                continue;
            }
            self.expected.insert(child, *hash);
            let fits = u64::from(hash.count) * self.entry_bytes <= GROUP_BYTES;
            let all_at_once = at_hand.is_none() && hash.count <= GROUP_ENTRIES_MAX && fits;
            match child.bucket().is_some() || all_at_once {
                true => self.parts_due.insert(child),
                false => self.nodes_due.insert(child),
            };
        }
        let is_gone = |(slot, _): &&(u8, TreeHash)| !children.iter().any(|(other, _)| other == slot);
        let gone = held.iter().filter(is_gone).filter_map(|(slot, _)| path.child(*slot));
        for child in gone {
            let none = MapContent::default();
            self.difference.note(child, &none, self.base.as_ref(), own);
            self.parts.push((child, none));
        }
        Ok(())
    }

    fn take_part(
        &mut self,
        part: &LayerPart,
        own: Option<&MapContent>,
        room: &mut usize,
        now: Mono,
    ) -> Result<(), TransferError> {
        let path = part.path;
        let Some(expected) = self.expected.get(&path).filter(|_| self.parts_due.contains(&path)).copied()
        else {
            return Ok(());
        };
        let new = packed::unpack(&part.packed, room)?;
        let kept = match &part.same {
            Some(same) => kept(self.base.as_ref().or(own), path, same),
            None => Vec::new(),
        };
        if let Some(each) = (part.packed.len() as u64).checked_div(new.len() as u64) {
            self.entry_bytes = (self.entry_bytes + each.max(ENTRY_BYTES_MIN)) / 2;
        }
        let count = kept.len() + new.len();
        let new = new.into_iter().map(|(key, entry)| (key, Arc::new(entry)));
        let content = MapContent::of_entries(kept.into_iter().chain(new))?;
        let hash = content.hash(path).map(|hash| hash.hash);
        if hash != Some(expected.hash) || content.len() != count {
            return self.differs(path, part.same.is_some());
        }
        self.moved_at = now;
        self.parts_due.remove(&path);
        self.parts_memory += content.memory_bytes();
        self.parts_memory += self.difference.note(path, &content, self.base.as_ref(), own);
        self.parts.push((path, content));
        Ok(())
    }

    /// An answer does not have the hash. If it left out what is held here, a short hash or what is held here misled: once it is asked
    /// for whole.
    fn differs(&mut self, path: NodePath, is_partial: bool) -> Result<(), TransferError> {
        match is_partial && self.plain.insert(path) {
            true => Ok(()),
            false => Err(TransferError::Hash),
        }
    }

    fn is_due(&self, path: &NodePath) -> bool {
        self.nodes_due.contains(path) || self.parts_due.contains(path)
    }

    fn assemble(self, own: Option<&MapContent>) -> Result<Assembled, TransferError> {
        let mut content = self.base.or_else(|| own.cloned()).unwrap_or_default();
        content.replace_below(self.parts)?;
        if content.root() != self.signed.head.root {
            return Err(TransferError::Root);
        }
        let changed = self.difference.finish(own, &content);
        Ok(Assembled { layer: Layer { signed: self.signed, content: Content::Map(content) }, changed })
    }

    /// What each of these links that has nothing to bring is asked for, and each fast one that has little.
    fn asks(
        &mut self,
        now: Mono,
        lanes: &[TransferLane],
        own: Option<&MapContent>,
    ) -> Vec<(TransferLane, Message)> {
        self.drop_asks(|ask| ask.again_at <= now);
        let mut lanes: Vec<TransferLane> =
            lanes.iter().filter(|lane| self.sources.contains(&lane.peer)).copied().collect();
        lanes.sort_by_key(|lane| (lane.arrives, lane.link));
        let Some(fastest) = lanes.first().map(|lane| lane.arrives) else { return Vec::new() };
        let mut asks = Vec::new();
        for lane in lanes {
            let asks_max = if lane.arrives <= FAST_ANSWER { ASKS_PER_LINK_MAX } else { 1 };
            while self.asked.get(&lane.link).map_or(0, VecDeque::len) < asks_max {
                let Some((message, parts)) = self.ask_over(&lane, fastest, own, now) else { break };
                // A slow link is given the time that it takes.
                let again_at = now + (lane.arrives * 3).max(ASK_RETRY);
                let ask = TransferAsk { peer: lane.peer, at: now, again_at, parts };
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

    /// Nodes are asked for over one link at a time, the fastest that is idle; parts over all, each in proportion to how fast it is.
    fn ask_over(
        &self,
        lane: &TransferLane,
        fastest: Millis,
        own: Option<&MapContent>,
        now: Mono,
    ) -> Option<(Message, BTreeSet<NodePath>)> {
        let id = TransferId { layer: self.signed.head.layer.hash(), root: self.signed.head.root };
        let base = self.base.as_ref().or(own);
        if !self.nodes_due.is_empty() {
            if self.asks_open().any(|ask| ask.parts.is_empty()) {
                return None;
            }
            let nodes = self.nodes_due.iter().take(TRANSFER_ASK_MAX / 4);
            let nodes = nodes
                .map(|path| NodeAsk { path: *path, held: self.held(base, *path, answer::held_children) });
            return Some((Message::TreeAsk(id, nodes.collect()), BTreeSet::new()));
        }
        let is_asked = |path: &&NodePath| self.asks_open().any(|ask| ask.parts.contains(*path));
        let answer = PARTS_BYTES_MAX as u64 / self.entry_bytes;
        let share = (answer * fastest.ms().max(1) / lane.arrives.ms().max(1)).max(1);
        let mut asks = self.gather(self.parts_due.iter().filter(|path| !is_asked(path)), share, base, id);
        if asks.is_empty() && !self.asked.contains_key(&lane.link) {
            // The last parts are under way over a link that brings them later than this one would.
            let later = self.asks_open().filter(|ask| now > ask.at + lane.arrives * 2);
            let still_due = later.flat_map(|ask| &ask.parts).filter(|path| self.parts_due.contains(path));
            asks = self.gather(still_due, answer, base, id);
        }
        let parts: BTreeSet<NodePath> = asks.iter().map(|ask| ask.path).collect();
        (!asks.is_empty()).then_some((Message::PartsAsk(id, asks), parts))
    }

    /// The first of these parts that have so many entries in all, at least one, each with what is held of it.
    fn gather<'a>(
        &self,
        paths: impl Iterator<Item = &'a NodePath>,
        entries_max: u64,
        base: Option<&MapContent>,
        id: TransferId,
    ) -> Vec<NodeAsk> {
        let (mut asks, mut entries, mut held_bytes) = (Vec::new(), 0, 0);
        for path in paths.take(TRANSFER_ASK_MAX) {
            let count = self.expected.get(path).map_or(0, |hash| u64::from(hash.count));
            entries += count;
            if held_bytes > HELD_BYTES_PER_ASK || entries > entries_max && !asks.is_empty() {
                break;
            }
            let held = self.held(base, *path, |base, path| answer::held_entries(base, path, &id.root));
            held_bytes += held.as_ref().map_or(0, Vec::len);
            asks.push(NodeAsk { path: *path, held });
        }
        asks
    }

    /// What a question holds of what is here below a node; nothing where that has misled once.
    fn held(
        &self,
        base: Option<&MapContent>,
        path: NodePath,
        held: impl Fn(&MapContent, NodePath) -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        base.filter(|_| !self.plain.contains(&path)).and_then(|base| held(base, path))
    }
}

/// The entries held here that an answer has too. A question names no more than [`HELD_ENTRIES_MAX`] of them.
fn kept(base: Option<&MapContent>, path: NodePath, same: &[u8]) -> Vec<(KeyPath, Arc<Entry>)> {
    let is_same = |at: usize| same.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let held = base.into_iter().flat_map(|base| base.below(path)).take(HELD_ENTRIES_MAX).enumerate();
    held.filter(|(at, _)| is_same(*at)).map(|(_, (key, entry))| (key.clone(), entry.clone())).collect()
}

fn find<'a>(
    under_way: &'a mut BTreeMap<LayerHash, Transfer>,
    id: &TransferId,
) -> Result<&'a mut Transfer, TransferError> {
    under_way.get_mut(&id.layer).filter(|t| t.signed.head.root == id.root).ok_or(TransferError::Unknown)
}

#[cfg(test)]
mod tests;
