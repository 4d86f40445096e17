//! Writes of many keys of a map, in slices: each turn of the node signs one, and what else is asked of it is answered in between.
//!
//! What is new is set first, in the order of the keys: the database and the indexes take neighbours fastest. What the write covers and
//! does not name is deleted last, so that a write that is cut short has taken nothing away that it was to replace. Where a slice of
//! new values finds no room in the layer, the deletions go before. The request is answered with the last slice.

use std::collections::{BTreeMap, VecDeque};

use tombolo_delta::{Value, cbor_len};
use tombolo_transports::PeerId;

use super::writes::{Uncovered, read_only};
use super::{Authoring, DraftOrder, WriteKind};
use crate::clock::Timestamp;
use crate::core::Core;
use crate::io::{CommandError, Quota, RequestId};
use crate::layer::{DocumentId, KeyPath, Kind};
use crate::limits::{LONG_WRITES_MAX, SLICE_KEYS_MAX};
use crate::merge::{Document, KeyView};
use crate::replica::Replica;
use crate::time::{Millis, Mono};

/// Bytes of the new values of a slice.
const SLICE_BYTES_MAX: usize = 1024 * 1024;
/// Keys of which a slice finds out whether they are to be deleted.
const SLICE_LOOKS_MAX: usize = 16_384;
/// In a document of so many keys a slice has half as many, since it touches most buckets of the hash tree, and all entries of these are
/// hashed.
const DOCUMENT_KEYS_OF_HALF_SLICES: usize = 32_768;
/// But not fewer than these: the log of the store takes no more, and would write each twice.
const SLICE_KEYS_MIN: usize = 1_100;
/// When a slice that waits for a newer own state is looked at again, at the latest.
pub const SLICE_WAIT: Millis = Millis::from_ms(500);

/// A write of which slices are left.
#[derive(Debug)]
struct LongWrite {
    request: RequestId,
    id: DocumentId,
    /// What is to be set, in the order of the keys.
    leaves: Vec<(KeyPath, Value)>,
    /// Its keys that are set, up to the slice that is being signed and with it.
    set_before: usize,
    set_to: usize,
    /// What is not among them is deleted below this key, or everywhere.
    below: Option<KeyPath>,
    clearing: Clearing,
    /// What the write sets goes above this.
    begun: Timestamp,
    set: usize,
    deleted: usize,
    /// What of these is of the slice that is being signed.
    staged: (usize, usize),
}

/// How far the deletions are.
#[derive(Debug, PartialEq, Eq)]
enum Clearing {
    /// They follow the new values.
    Later,
    /// They are under way; all before this key is done.
    From(Option<KeyPath>),
    Done,
}

/// The long writes, the oldest first: one slice of it is staged in a turn.
#[derive(Debug, Default)]
pub(super) struct LongWrites {
    writes: VecDeque<LongWrite>,
    /// Writes of one commit that wait for the end of those of their document.
    behind: Vec<(RequestId, DocumentId, DraftOrder)>,
    /// A slice of the oldest is staged.
    is_staged: bool,
    /// When the next one is looked at again, where it waits.
    waits_until: Option<Mono>,
}

/// What follows where the changes of a document are not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceRefusal {
    /// They are of no slice.
    NoSlice,
    /// The slice is tried again once there is room.
    Again,
    /// The write ends, and its request gets the reason.
    Over(RequestId),
}

/// Whether a write that sets so many keys and covers those below a key, or all, is long.
pub(super) fn is_long(document: &Document, leaves: usize, below: Option<&KeyPath>) -> bool {
    leaves > SLICE_KEYS_MAX || document.has_more_than(SLICE_KEYS_MAX, below)
}

fn is_below(prefix: Option<&KeyPath>, key: &KeyPath) -> bool {
    prefix.is_none_or(|prefix| prefix.is_prefix_of(key))
}

/// How many keys a slice changes.
fn slice_keys(document: &Document) -> usize {
    let half = DOCUMENT_KEYS_OF_HALF_SLICES;
    (SLICE_KEYS_MAX * half / (half + document.keys_at_most())).max(SLICE_KEYS_MIN)
}

impl Authoring {
    /// Takes a write that is done in slices: the document is made equal to `leaves` below a key, or as a whole.
    pub(super) fn begin_long(
        &mut self,
        core: &mut Core,
        request: RequestId,
        id: &DocumentId,
        leaves: Vec<(KeyPath, Value)>,
        below: Option<&KeyPath>,
    ) -> Result<(), CommandError> {
        debug_assert!(leaves.is_sorted_by(|(a, _), (b, _)| a < b), "in the order of the keys, each once");
        if self.long.writes.len() >= LONG_WRITES_MAX {
            return Err(CommandError::Limit(Quota::LongWrites));
        }
        self.long.writes.push_back(LongWrite {
            request,
            id: id.clone(),
            leaves,
            set_before: 0,
            set_to: 0,
            below: below.cloned(),
            clearing: Clearing::Later,
            begun: core.clock.tick(),
            set: 0,
            deleted: 0,
            staged: (0, 0),
        });
        Ok(())
    }

    /// The document of which the next slice is due.
    pub fn sliced_document(&self) -> Option<&DocumentId> {
        self.long.writes.front().map(|write| &write.id)
    }

    /// Whether slices are left, or writes that wait for the end of some.
    pub fn is_slicing(&self) -> bool {
        !self.long.writes.is_empty() || !self.long.behind.is_empty()
    }

    /// A write waits for the slices of its document.
    pub fn wait_for_slices(&mut self, request: RequestId, document: DocumentId, order: DraftOrder) {
        self.long.behind.push((request, document, order));
    }

    /// The writes of which the document has no slices left.
    pub fn take_behind_slices(&mut self) -> Vec<(RequestId, DraftOrder)> {
        let is_sliced = |id: &DocumentId| self.long.writes.iter().any(|write| write.id == *id);
        let due = self.long.behind.extract_if(.., |(_, document, _)| !is_sliced(document));
        due.map(|(request, _, order)| (request, order)).collect()
    }

    /// Whether slices of a document are left.
    pub fn has_slices_of(&self, document: &DocumentId) -> bool {
        self.long.writes.iter().any(|write| write.id == *document)
    }

    /// The next slice waits, and is looked at again by then.
    pub fn wait_with_slices(&mut self, until: Mono) {
        self.long.waits_until = Some(until);
    }

    /// When the next slice is due.
    pub fn next_slice(&self, now: Mono) -> Option<Mono> {
        (!self.long.writes.is_empty()).then(|| self.long.waits_until.unwrap_or(now))
    }

    /// Stages the next slice, with the reply where it is the last one. Returns a request that is refused in place of that.
    pub fn stage_slice(&mut self, core: &mut Core, replica: &Replica) -> Option<(RequestId, CommandError)> {
        self.long.waits_until = None;
        let mut write = self.long.writes.pop_front()?;
        match self.stage_slice_of(core, replica, &mut write) {
            Ok(()) if write.is_over() => {
                let kind = WriteKind::Document { set: write.set, deleted: write.deleted };
                self.staged.reply(write.request, &write.id, kind);
                None
            }
            Ok(()) => {
                self.long.is_staged = true;
                self.long.writes.push_front(write);
                None
            }
            Err(why) => Some((write.request, why)),
        }
    }

    fn stage_slice_of(
        &mut self,
        core: &mut Core,
        replica: &Replica,
        write: &mut LongWrite,
    ) -> Result<(), CommandError> {
        let doc = || replica.document_name(core, &write.id);
        let document = replica.document(&write.id).filter(|document| document.kind() == Kind::Map);
        let document = document.ok_or_else(|| CommandError::UnknownDocument(doc()))?;
        if let Some(why) = read_only(core, replica, &write.id, Kind::Map) {
            return Err(CommandError::ReadOnly { doc: doc(), why });
        }
        let (gone, leaves) = match write.sets_now() {
            true => (Uncovered::default(), write.next_leaves(slice_keys(document))),
            false => (write.next_gone(document, &core.me, slice_keys(document)), Vec::new()),
        };
        let (set, deleted) = self.stage_leaves(core, document, &write.id, gone, leaves)?;
        write.set += set;
        write.deleted += deleted;
        write.staged = (set, deleted);
        match (write.is_over() && write.is_of_nothing(), &write.below) {
            (true, Some(key)) => Err(CommandError::UnknownKey {
                doc: replica.document_name(core, &write.id),
                key: key.to_string(),
            }),
            (true, None) | (false, _) => Ok(()),
        }
    }

    /// The changes of a document are refused. Where they are those of a slice that finds no room, its write goes on with what it
    /// deletes.
    pub fn refuse_slice(&mut self, document: &DocumentId, why: &CommandError) -> SliceRefusal {
        let is_staged = self.long.is_staged;
        let Some(write) = self.long.writes.front_mut().filter(|write| is_staged && write.id == *document)
        else {
            return SliceRefusal::NoSlice;
        };
        if matches!(why, CommandError::BadValue(_)) && write.clearing == Clearing::Later {
            write.set_to = write.set_before;
            write.set -= write.staged.0;
            write.deleted -= write.staged.1;
            write.clearing = Clearing::From(None);
            return SliceRefusal::Again;
        }
        let request = write.request;
        self.long.writes.pop_front();
        SliceRefusal::Over(request)
    }

    /// The staged slice is signed.
    pub fn slice_signed(&mut self) {
        self.long.is_staged = false;
    }

    /// The requests of all long writes, which end: what is written of them stays.
    pub fn take_long_waiters(&mut self) -> Vec<RequestId> {
        let behind = std::mem::take(&mut self.long.behind).into_iter().map(|(request, ..)| request);
        std::mem::take(&mut self.long.writes).into_iter().map(|write| write.request).chain(behind).collect()
    }
}

impl LongWrite {
    /// Whether the next slice is of new values.
    fn sets_now(&self) -> bool {
        self.set_to < self.leaves.len() && !matches!(self.clearing, Clearing::From(_))
    }

    fn is_over(&self) -> bool {
        self.set_to == self.leaves.len() && self.clearing == Clearing::Done
    }

    /// Whether it was to delete, and nothing was there.
    fn is_of_nothing(&self) -> bool {
        self.leaves.is_empty() && self.deleted == 0
    }

    /// The new values of the next slice.
    fn next_leaves(&mut self, keys: usize) -> Vec<(KeyPath, Value)> {
        let left = self.leaves.get(self.set_to..).unwrap_or_default();
        let mut bytes = 0;
        let fits = |(key, value): &&(KeyPath, Value)| {
            let has_room = bytes < SLICE_BYTES_MAX;
            bytes += key.size() + cbor_len(value);
            has_room
        };
        let slice: Vec<_> = left.iter().take(keys).take_while(fits).cloned().collect();
        self.set_before = self.set_to;
        self.set_to += slice.len();
        slice
    }

    /// What the next slice deletes.
    fn next_gone<'a>(&mut self, document: &'a Document, me: &PeerId, keys: usize) -> Uncovered<'a> {
        let from = match &mut self.clearing {
            Clearing::From(key) => key.take(),
            Clearing::Later | Clearing::Done => None,
        };
        let from = from.or_else(|| self.below.clone());
        let first = self.leaves.partition_point(|(key, _)| from.as_ref().is_some_and(|from| key < from));
        let mut kept = self.leaves.iter().skip(first).map(|(key, _)| key).peekable();
        let mut gone = BTreeMap::new();
        self.clearing = Clearing::Done;
        let covered =
            document.look_from(from.as_ref()).take_while(|(key, _)| is_below(self.below.as_ref(), key));
        for (looked, (key, at)) in covered.enumerate() {
            if looked == SLICE_LOOKS_MAX || gone.len() == keys {
                self.clearing = Clearing::From(Some(key.clone()));
                break;
            }
            while kept.next_if(|next| *next < key).is_some() {}
            let is_kept = kept.peek().is_some_and(|next| *next == key);
            if !is_kept && self.is_to_go(document, me, key, at) {
                gone.insert(key.clone(), at.winner);
            }
        }
        Uncovered { keys: gone, at_prefix: None }
    }

    /// Whether a reader sees a value under a key, or would if this write had not set one above or below it.
    fn is_to_go(&self, document: &Document, me: &PeerId, key: &KeyPath, at: KeyView<'_>) -> bool {
        let is_value = at.winner.is_some_and(|winner| !winner.entry.is_tombstone());
        let is_hidden_by_this = || {
            let hider = document.hidden_by(key);
            hider.is_some_and(|(_, hider)| hider.author == *me && hider.entry.stamp > self.begun)
        };
        at.shown().is_some() || (is_value && !self.leaves.is_empty() && is_hidden_by_this())
    }
}
