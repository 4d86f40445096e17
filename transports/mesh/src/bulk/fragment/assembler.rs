//! The receiving side: fragments joined again, in bounded memory whatever arrives.
//!
//! What gives way when room is needed:
//!
//! 1. A *source* (a sender on a channel) over its own bounds pushes out its own: of its messages the one of
//!    which the smallest share is held. So a source that floods pushes out what it has flooded with.
//! 2. Over the common bounds, of all messages the one with the smallest share held; but none of another source
//!    that is nearly done (three quarters held) and got a fragment within the last hour. Is there no other, the
//!    fragment is refused.
//!
//! A message that got no new fragment for [`AGE_MAX`] is dropped.

use super::{AGE_MAX, FragmentError, FragmentPlace, Layout, MessageId, read_stream};
use crate::bulk::parity;
use crate::bulk::repair::{Wanted, all};
use crate::peer::PeerId;
use crate::time::{Millis, Mono};
use std::collections::{BTreeMap, VecDeque};

/// Ids of messages delivered that are remembered for a source: late repairs do not begin them again. Twice the
/// messages that a sender holds.
const DELIVERED_MAX: usize = 32;
/// Sources whose delivered ids are remembered; beyond, the one that delivered longest ago is forgotten.
const SOURCES_MAX: usize = 256;
/// From this share held, in thousandths, a message is nearly done.
const NEARLY_DONE_PERMILLE: usize = 750;
/// For so long after its last new fragment it is protected from others.
const PROTECTED: Millis = Millis::from_ms(3_600_000);
/// Fragments of another layout in a row that are believed against any number held: a sender that starts again in other frames
/// does not have to repeat what it had sent.
const CONTRADICTIONS_MAX: usize = 8;
/// What a fragment, a block and a message take in memory beyond their bytes.
const FRAGMENT_EXTRA_BYTES: usize = 48;
const BLOCK_EXTRA_BYTES: usize = 48;
const ASSEMBLY_EXTRA_BYTES: usize = 256;

/// Bounds of an [`Assembler`]. A message of 64 KiB in the smallest frames takes 180 kB until it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Memory for all messages together, bytes.
    pub bytes_max: usize,
    /// Memory for the messages of one source, bytes.
    pub source_bytes_max: usize,
    /// Incomplete messages held at once.
    pub messages_max: usize,
    /// Messages of one source at once.
    pub source_messages_max: usize,
}

impl Default for MemoryLimits {
    /// 1 MiB and 64 messages; of one source 288 KiB and 16.
    fn default() -> Self {
        Self { bytes_max: 1 << 20, source_bytes_max: 288 * 1024, messages_max: 64, source_messages_max: 16 }
    }
}

/// Who sends, and on which channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The owner whose audience key the frames are sealed under.
    pub channel: PeerId,
    /// The member that sends.
    pub sender: PeerId,
}

/// A message whose fragments have all been restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it, and where.
    pub source: Source,
    /// Its id among those of the source.
    pub id: MessageId,
    /// Its kind, one of [`KINDS`](super::KINDS).
    pub kind: u8,
    /// The bytes of the message, as its sender offered them.
    pub bytes: Vec<u8>,
}

/// What a fragment was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A new part of a message that is not whole yet.
    Part,
    /// Nothing new: held already, of a block that is whole, or of a message that was delivered.
    Duplicate,
    /// The last that was lacking. A message comes out once, unless its source is heard of it again only after [`AGE_MAX`].
    Whole(Message),
}

/// A message of which some fragments are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Who sends it, and where.
    pub source: Source,
    /// Fragments that are enough.
    pub fragments: usize,
    /// How many of those are held.
    pub held: usize,
    /// Length of each fragment's payload.
    pub payload_bytes: usize,
}

/// How often what happened; only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssemblerCounts {
    /// Messages that were completed and delivered.
    pub delivered: u64,
    /// Fragments that brought nothing new.
    pub duplicates: u64,
    /// Fragments refused as [`FragmentError::Malformed`].
    pub malformed: u64,
    /// Fragments refused as [`FragmentError::Inconsistent`].
    pub inconsistent: u64,
    /// Fragments refused as [`FragmentError::Conflicting`].
    pub conflicting: u64,
    /// Messages started again as [`FragmentError::Spliced`].
    pub spliced: u64,
    /// Fragments refused as [`FragmentError::Full`].
    pub full: u64,
    /// Messages that gave way to others.
    pub evicted: u64,
    /// Messages dropped after [`AGE_MAX`].
    pub expired: u64,
}

/// Which message of which source.
pub(crate) type MessageKey = (Source, MessageId);

/// Restores messages from the fragments of any number of senders.
#[derive(Debug, Default)]
pub struct Assembler {
    limits: MemoryLimits,
    open: BTreeMap<MessageKey, Assembly>,
    delivered: BTreeMap<Source, Delivered>,
    counts: AssemblerCounts,
}

/// What a source has delivered, the latest last; an id is not remembered longer than its sender holds it.
#[derive(Debug, Default)]
struct Delivered {
    ids: VecDeque<(MessageId, Layout, Mono)>,
    last_at: Mono,
}

#[derive(Debug)]
struct Assembly {
    layout: Layout,
    blocks: Vec<Block>,
    fragments: usize,
    /// Fragments since the last fitting one that show another layout.
    contradictions: usize,
    progress_at: Mono,
}

#[derive(Debug, Default)]
struct Block {
    held: BTreeMap<u8, Box<[u8]>>,
    whole: Option<Box<[u8]>>,
}

impl Assembler {
    /// An empty assembler that holds no more than `limits` allow.
    pub fn new(limits: MemoryLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes the payload of a frame of kind Fragment.
    ///
    /// # Errors
    /// [`FragmentError`], counted.
    pub fn receive(&mut self, now: Mono, source: Source, payload: &[u8]) -> Result<Progress, FragmentError> {
        let result =
            FragmentPlace::open(payload).and_then(|(place, shard)| self.place(now, source, place, shard));
        let count = match &result {
            Ok(Progress::Part) => return result,
            Ok(Progress::Duplicate) => &mut self.counts.duplicates,
            Ok(Progress::Whole(_)) => &mut self.counts.delivered,
            Err(FragmentError::Malformed { .. }) => &mut self.counts.malformed,
            Err(FragmentError::Inconsistent { .. }) => &mut self.counts.inconsistent,
            Err(FragmentError::Conflicting { .. }) => &mut self.counts.conflicting,
            Err(FragmentError::Spliced { .. }) => &mut self.counts.spliced,
            Err(FragmentError::Full { .. }) => &mut self.counts.full,
        };
        *count += 1;
        result
    }

    /// Drops what has waited too long.
    pub fn expire(&mut self, now: Mono) {
        let before = self.open.len();
        self.open.retain(|_, assembly| now.since(assembly.progress_at) < AGE_MAX);
        self.counts.expired += (before - self.open.len()) as u64;
    }

    /// Drops what a source has begun and not gone on with for `pause`: it brings nothing new.
    pub fn drop_begun(&mut self, now: Mono, source: &Source, pause: Millis) {
        self.open.retain(|(of, _), assembly| of != source || now.since(assembly.progress_at) < pause);
    }

    /// Drops all of a channel: it is no longer ours to hear.
    pub fn drop_channel(&mut self, channel: &PeerId) {
        self.open.retain(|(source, _), _| source.channel != *channel);
        self.delivered.retain(|source, _| source.channel != *channel);
    }

    /// What happened so far.
    pub fn counts(&self) -> AssemblerCounts {
        self.counts
    }

    /// Messages begun and not whole.
    pub fn open_messages(&self) -> usize {
        self.open.len()
    }

    /// Memory taken by messages that are not whole, bytes: never above the limits.
    pub fn held_bytes(&self) -> usize {
        self.open.values().map(Assembly::memory_bytes).sum()
    }

    /// The messages begun and not whole.
    pub fn open(&self) -> impl Iterator<Item = Open> {
        self.open.iter().map(|((source, _), assembly)| Open {
            source: *source,
            fragments: usize::from(assembly.layout.count),
            held: assembly.useful(),
            payload_bytes: assembly.layout.header_bytes() + assembly.layout.shard_bytes,
        })
    }

    pub(crate) fn open_keys(&self) -> impl Iterator<Item = &MessageKey> {
        self.open.keys()
    }

    pub(crate) fn layout(&self, key: &MessageKey) -> Option<Layout> {
        self.open.get(key).map(|assembly| assembly.layout)
    }

    /// What an open message lacks, block by block.
    pub(crate) fn lacks(&self, key: &MessageKey) -> Vec<Wanted> {
        let Some(assembly) = self.open.get(key) else { return Vec::new() };
        (0_u8..)
            .zip(&assembly.blocks)
            .filter_map(|(block, held)| held.lacks(assembly.layout, block))
            .collect()
    }

    fn place(
        &mut self,
        now: Mono,
        source: Source,
        place: FragmentPlace,
        shard: &[u8],
    ) -> Result<Progress, FragmentError> {
        let key = (source, place.id);
        let was_delivered = self.was_delivered(now, &key, place.layout);
        let fits = self.check_layout(&key, place.layout);
        if was_delivered {
            return Ok(Progress::Duplicate);
        }
        fits?;
        if let Some(duplicate) = self.open.get(&key).and_then(|assembly| assembly.compare(place, shard)) {
            return duplicate;
        }
        self.make_room(now, &key, place.layout)?;
        let assembly = self.open.entry(key).or_insert_with(|| Assembly::new(place.layout, now));
        assembly.insert(place, shard, now);
        if !assembly.is_whole() {
            return Ok(Progress::Part);
        }
        let Some((kind, bytes)) = read_stream(&assembly.stream(), assembly.layout) else {
            *assembly = Assembly::new(assembly.layout, now);
            return Err(FragmentError::Spliced { id: place.id });
        };
        self.open.remove(&key);
        self.note_delivered(now, &key, place.layout);
        Ok(Progress::Whole(Message { source, id: place.id, kind, bytes }))
    }

    /// Of one message all fragments show one layout. What is held gives way once as many in a row have shown another: it may be
    /// itself what is wrong, damaged on its way or from before its sender started again, and would be asked for until it is too old.
    fn check_layout(&mut self, key: &MessageKey, layout: Layout) -> Result<(), FragmentError> {
        let Some(assembly) = self.open.get_mut(key) else { return Ok(()) };
        if assembly.layout == layout {
            assembly.contradictions = 0;
            return Ok(());
        }
        assembly.contradictions += 1;
        if assembly.contradictions >= assembly.fragments.min(CONTRADICTIONS_MAX) {
            self.open.remove(key);
            self.counts.inconsistent += 1;
            return Ok(());
        }
        let Layout { count, shard_bytes } = layout;
        Err(FragmentError::Inconsistent { id: key.1, count, shard_bytes })
    }

    fn was_delivered(&mut self, now: Mono, key: &MessageKey, layout: Layout) -> bool {
        let Some(delivered) = self.delivered.get_mut(&key.0) else { return false };
        delivered.ids.retain(|(_, _, at)| now.since(*at) < AGE_MAX);
        let known = delivered.ids.iter().position(|(id, known, _)| (*id, *known) == (key.1, layout));
        let Some(entry) = known.and_then(|at| delivered.ids.remove(at)) else { return false };
        // One that is still being repaired for others stays remembered.
        delivered.ids.push_back((entry.0, entry.1, now));
        delivered.last_at = now;
        true
    }

    fn note_delivered(&mut self, now: Mono, key: &MessageKey, layout: Layout) {
        if self.delivered.len() >= SOURCES_MAX && !self.delivered.contains_key(&key.0) {
            let oldest = self.delivered.iter().min_by_key(|(_, delivered)| delivered.last_at);
            if let Some(source) = oldest.map(|(source, _)| *source) {
                self.delivered.remove(&source);
            }
        }
        let delivered = self.delivered.entry(key.0).or_default();
        if delivered.ids.len() >= DELIVERED_MAX {
            delivered.ids.pop_front();
        }
        delivered.ids.push_back((key.1, layout, now));
        delivered.last_at = now;
    }

    /// Makes room for one more fragment of a message, by the rule at the top.
    fn make_room(&mut self, now: Mono, key: &MessageKey, layout: Layout) -> Result<(), FragmentError> {
        let opens = !self.open.contains_key(key);
        let more = Assembly::fragment_memory_bytes(layout)
            + if opens { Assembly::empty_memory_bytes(layout) } else { 0 };
        loop {
            let own = |other: &MessageKey| other.0 == key.0;
            let (own_messages, own_bytes) = self.usage(own);
            let (messages, bytes) = self.usage(|_| true);
            let limits = &self.limits;
            let own_over = own_messages + usize::from(opens) > limits.source_messages_max
                || own_bytes + more > limits.source_bytes_max;
            let over = messages + usize::from(opens) > limits.messages_max || bytes + more > limits.bytes_max;
            if !own_over && !over {
                return Ok(());
            }
            let may_go = |other: &MessageKey, assembly: &Assembly| {
                other != key && (own(other) || (!own_over && !assembly.is_protected(now)))
            };
            let victims = self.open.iter().filter(|(other, assembly)| may_go(other, assembly));
            let victim =
                victims.min_by_key(|(_, assembly)| (assembly.share_permille(), assembly.progress_at));
            let Some(victim) = victim.map(|(victim, _)| *victim) else {
                return Err(FragmentError::Full { id: key.1 });
            };
            self.open.remove(&victim);
            self.counts.evicted += 1;
        }
    }

    /// Messages and memory of those that count.
    fn usage(&self, counts: impl Fn(&MessageKey) -> bool) -> (usize, usize) {
        let counted = self.open.iter().filter(|(key, _)| counts(key));
        counted
            .fold((0, 0), |(messages, bytes), (_, assembly)| (messages + 1, bytes + assembly.memory_bytes()))
    }
}

impl Assembly {
    fn new(layout: Layout, now: Mono) -> Self {
        let blocks = std::iter::repeat_with(Block::default).take(layout.blocks()).collect();
        Self { layout, blocks, fragments: 0, contradictions: 0, progress_at: now }
    }

    fn empty_memory_bytes(layout: Layout) -> usize {
        ASSEMBLY_EXTRA_BYTES + layout.blocks() * BLOCK_EXTRA_BYTES
    }

    fn fragment_memory_bytes(layout: Layout) -> usize {
        layout.shard_bytes + FRAGMENT_EXTRA_BYTES
    }

    /// Upper bound: a whole block is counted as its fragments.
    fn memory_bytes(&self) -> usize {
        Self::empty_memory_bytes(self.layout) + self.fragments * Self::fragment_memory_bytes(self.layout)
    }

    fn share_permille(&self) -> usize {
        self.fragments * 1000 / usize::from(self.layout.count)
    }

    /// Fragments that count: of a block no more than are enough.
    fn useful(&self) -> usize {
        let blocks = (0_u8..).zip(&self.blocks);
        let useful = blocks.map(|(number, block)| match (&block.whole, self.layout.fragments_of(number)) {
            (Some(_), enough) => enough,
            (None, enough) => block.held.len().min(enough),
        });
        useful.sum()
    }

    fn is_protected(&self, now: Mono) -> bool {
        self.share_permille() >= NEARLY_DONE_PERMILLE && now.since(self.progress_at) < PROTECTED
    }

    fn is_whole(&self) -> bool {
        self.blocks.iter().all(|block| block.whole.is_some())
    }

    /// What a fragment is that brings nothing new; `None` for a new one.
    fn compare(&self, place: FragmentPlace, shard: &[u8]) -> Option<Result<Progress, FragmentError>> {
        let block = self.blocks.get(usize::from(place.block))?;
        if block.whole.is_some() {
            return Some(Ok(Progress::Duplicate));
        }
        let held = block.held.get(&place.index)?;
        let FragmentPlace { id, block, index, .. } = place;
        let conflict = FragmentError::Conflicting { id, block, index };
        Some(if **held == *shard { Ok(Progress::Duplicate) } else { Err(conflict) })
    }

    fn insert(&mut self, place: FragmentPlace, shard: &[u8], now: Mono) {
        let fragments = self.layout.fragments_of(place.block);
        let Some(block) = self.blocks.get_mut(usize::from(place.block)) else { return };
        block.held.insert(place.index, shard.into());
        self.fragments += 1;
        self.progress_at = now;
        if let Ok(data) = parity::restore(fragments, self.layout.shard_bytes, &block.held) {
            block.whole = Some(data.into_boxed_slice());
            block.held.clear();
        }
    }

    fn stream(&self) -> Vec<u8> {
        self.blocks.iter().filter_map(|block| block.whole.as_deref()).flatten().copied().collect()
    }
}

impl Block {
    fn lacks(&self, layout: Layout, block: u8) -> Option<Wanted> {
        if self.whole.is_some() {
            return None;
        }
        let fragments = layout.fragments_of(block);
        let deficit = fragments.saturating_sub(self.held.len());
        let held = self.held.keys().fold(0, |bits, index| bits | bit(*index));
        let missing = all(fragments) & !held;
        // Of the missing only as many as are needed: what parity is held stands in for the others.
        let needed = (0..64).map(bit).filter(|bit| missing & bit != 0).take(deficit);
        Some(Wanted { block, deficit, bitmap: needed.fold(0, |bits, bit| bits | bit) })
    }
}

/// The bit of a data fragment; none for parity beyond.
fn bit(index: u8) -> u64 {
    1_u64.checked_shl(u32::from(index)).unwrap_or(0)
}
