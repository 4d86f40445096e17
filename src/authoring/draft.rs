//! Large writes, worked out beside the node.
//!
//! To compare 100,000 keys and to hash what becomes of them takes long, and nothing of it shows before the commit. So the node
//! answers such a write with a [`Draft`]: the write with a copy of its document, which shares the entries. Who asked works it out in a
//! thread of its own ([`Draft::work_out`]) and hands in the result ([`DraftInput::Drafted`]). The node signs
//! that in one commit if the document is as it was. Otherwise the answer is another draft.
//!
//! Of a document that changes faster than that a few drafts are tried. Then a write goes in slices (`long`), for which the last draft only
//! takes the value apart; one that promises one commit (`--base`, `--whole`) is refused, since all others would wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use super::long::is_long;
use super::writes::{check_room, entries_of, read_only, uncovered, writable};
use super::{Authoring, MapEdits, WriteKind, following};
use crate::clock::Timestamp;
use crate::core::{Clockwork, Core};
use crate::io::{CommandError, RequestId, StopReason, ValueError, Write};
use crate::layer::{
    AllEntries, Content, ContentError, DocumentId, Entry, EntryChange, KeyPath, Kind, MapContent,
    MapDifference, Sequence, is_written_whole,
};
use crate::limits::{FUTURE_BOUND, LAYER_BYTES_MAX, MAP_ENTRIES_MAX, SLICE_KEYS_MAX, VERSION_CHARS_MIN};
use crate::merge::{Basis, Document, flatten, leaf_count, version_of};
use crate::replica::{ChangesSeen, Replica};

/// Drafts of one write that are out of date before it goes in slices.
const DRAFTS_BEFORE_SLICES: u8 = 2;
/// The same before one that promises one commit is refused.
const DRAFTS_MAX: u8 = 8;

/// A write with a copy of its document.
#[derive(Clone, Debug)]
pub struct Draft {
    order: DraftOrder,
    id: DocumentId,
    /// None where the write is to go in slices.
    copy: Option<Box<DocumentCopy>>,
}

/// A document as it was, with what a state of it is made of.
#[derive(Clone, Debug)]
struct DocumentCopy {
    me: PeerId,
    document: Document,
    clock: Clockwork,
    /// The sequence that the own layer gets.
    sequence: Sequence,
    /// When its keys were seen to change.
    seen: ChangesSeen,
    /// What was written of it.
    written: Arc<Vec<u64>>,
}

/// A write that may be answered with a draft. A copy shares the write.
#[derive(Clone, Debug)]
pub struct DraftOrder {
    write: Arc<Write>,
    /// How many drafts of it are out of date.
    tried: u8,
}

/// What the node takes of large writes.
#[derive(Debug)]
pub enum DraftInput {
    /// A write that may be answered with a draft.
    Order(DraftOrder),
    /// One that was worked out.
    Drafted(Box<Drafted>),
}

/// A write that was worked out.
#[derive(Clone, Debug)]
pub struct Drafted {
    order: DraftOrder,
    id: DocumentId,
    work: DraftedWork,
    /// What the document was like, where that matters, and when its keys were seen to change.
    of: Option<(Basis, ChangesSeen)>,
}

/// What a drafted write shares with its node.
#[derive(Debug)]
pub struct Ballast {
    _order: DraftOrder,
    _seen: Option<ChangesSeen>,
    _all: Option<Arc<AllEntries>>,
}

/// What is left to do of a write.
#[derive(Clone, Debug)]
enum DraftedWork {
    /// All, but that its version was compared.
    Write,
    /// It goes in slices: these values are set, and others go.
    Slices(Vec<(KeyPath, Value)>),
    /// So few entries are signed as any others.
    Entries(MapEdits, DraftedChange),
    /// The own layer gets this content.
    Content(Box<DraftedContent>, DraftedChange),
}

/// How much a write changes.
#[derive(Clone, Copy, Debug)]
struct DraftedChange {
    set: usize,
    deleted: usize,
    /// Of the stamps of its entries.
    newest: Timestamp,
}

/// The next content of an own layer.
#[derive(Clone, Debug)]
pub struct DraftedContent {
    /// All entries.
    pub map: MapContent,
    /// In what it differs from the present one, and all of it for the disk.
    pub difference: MapDifference,
    /// The keys of earlier writes of many, by their hashes.
    pub written_before: Arc<Vec<u64>>,
    /// The same with the keys of this one.
    pub written: Arc<Vec<u64>>,
    /// The sequence that stands with the keys on disk.
    pub sequence: Sequence,
}

impl DraftOrder {
    /// A write of which no draft was made yet.
    pub fn new(write: Write) -> Self {
        DraftOrder { write: Arc::new(write), tried: 0 }
    }

    /// Whether so many drafts of it are out of date that no other one is made.
    pub fn is_given_up(&self) -> bool {
        self.tried >= DRAFTS_MAX
    }

    /// What is to be written.
    pub fn write(&self) -> &Write {
        &self.write
    }

    /// Whether it promises one commit.
    fn is_one_commit(&self) -> bool {
        matches!(self.write(), Write::OnBase { .. } | Write::Put { whole: true, .. })
    }

    /// The same, to do it without a draft.
    pub fn into_write(self) -> Write {
        Arc::unwrap_or_clone(self.write)
    }
}

impl Draft {
    /// The map of a write that takes long; `None` for another write, and where the node is to refuse it.
    pub fn document_of(core: &Core, replica: &Replica, order: &DraftOrder) -> Option<DocumentId> {
        let write = without_bases(order.write());
        let (doc, below, leaves) = match write {
            Write::Put { doc, value, .. } => (doc, None, leaf_count(value)),
            Write::Set { doc, key, value } => (doc, Some(key), leaf_count(value)),
            Write::Del { doc, key } => (doc, Some(key), 0),
            Write::Delete { doc, undo: false } if order.is_one_commit() => (doc, None, 0),
            _ => return None,
        };
        let id = match write {
            Write::Delete { .. } => replica.resolve_document(core, doc).ok()?,
            _ => writable(core, replica, doc).ok()?.0,
        };
        let document = replica.document(&id).filter(|document| document.kind() == Kind::Map)?;
        // A version is that of all keys.
        let below = below.filter(|_| !order.is_one_commit());
        // A writer that is listed again leaves its old layer behind with the next state.
        let counts = document.layer(&core.me).is_none() || document.counts(&core.me);
        (counts && is_long(document, leaves, below)).then_some(id)
    }

    /// A draft of a write to a document.
    ///
    /// # Errors
    /// [`CommandError::Stopped`] where the own layer has no further sequence, [`CommandError::UnknownDocument`] where the document is gone.
    pub fn new(
        core: &Core,
        replica: &Replica,
        order: DraftOrder,
        id: DocumentId,
    ) -> Result<Draft, CommandError> {
        if !order.is_one_commit() && order.tried >= DRAFTS_BEFORE_SLICES {
            return Ok(Draft { order, id, copy: None });
        }
        let layer = core.own_layer(&id);
        let document = replica.document(&id);
        let document =
            document.ok_or_else(|| CommandError::UnknownDocument(replica.document_name(core, &id)))?;
        let copy = DocumentCopy {
            me: core.me,
            document: document.copy(),
            clock: core.clock.clone(),
            sequence: following(replica, &layer).ok_or(CommandError::Stopped(StopReason::SequenceUsedUp))?,
            seen: replica.layers().changes_seen(&layer),
            written: replica.recovery().written_by_many(&id),
        };
        Ok(Draft { order, id, copy: Some(Box::new(copy)) })
    }

    /// Does all of the write that needs nothing else of the node.
    ///
    /// # Errors
    /// Why the write is refused.
    pub fn work_out(self) -> Result<Drafted, CommandError> {
        let Draft { order, id, copy } = self;
        let (work, of) = match copy {
            Some(mut copy) => {
                let basis = copy.document.basis();
                (copy.work_out(order.write())?, Some((basis, copy.seen)))
            }
            None => (DraftedWork::Slices(leaves_of(order.write())?), None),
        };
        Ok(Drafted { order, id, work, of })
    }
}

impl DocumentCopy {
    fn work_out(&mut self, write: &Write) -> Result<DraftedWork, CommandError> {
        let (doc, key, value) = match write {
            Write::OnBase { base, write } => {
                let doc = write.versioned_document().ok_or(CommandError::NoBase)?;
                check_version(Some(&self.document), base, doc)?;
                return self.work_out(write);
            }
            Write::Put { doc, value, .. } => (doc, None, Some(value)),
            Write::Set { doc, key, value } => (doc, Some(key), Some(value)),
            Write::Del { doc, key } => (doc, Some(key), None),
            _ => return Ok(DraftedWork::Write),
        };
        let leaves = match value {
            Some(value) => {
                check_room(Some(&self.document), value)?;
                flatten(key, value).map_err(ValueError::from)?
            }
            None => BTreeMap::new(),
        };
        let uncovered = uncovered(&self.document, &leaves, key);
        if let (None, Some(key), true) = (value, key, uncovered.keys.is_empty()) {
            return Err(CommandError::UnknownKey { doc: doc.clone(), key: key.to_string() });
        }
        let entries = entries_of(&self.me, &mut self.clock, &self.document, uncovered, leaves)?;
        let newest = entries.changes.iter().flat_map(|(_, entry)| entry).map(|entry| entry.stamp).max();
        let newest = newest.unwrap_or_default();
        let change = DraftedChange { set: entries.set, deleted: entries.deleted, newest };
        let edits = entries.changes.into_iter().collect::<MapEdits>();
        match edits.len() <= SLICE_KEYS_MAX {
            true => Ok(DraftedWork::Entries(edits, change)),
            false => Ok(DraftedWork::Content(Box::new(self.content_with(edits)?), change)),
        }
    }

    /// The own layer with changes.
    fn content_with(&mut self, edits: MapEdits) -> Result<DraftedContent, CommandError> {
        let mut map = match self.document.take_layer(&self.me).map(|layer| layer.content) {
            Some(Content::Map(map)) => map,
            Some(Content::Snapshot(_)) | None => MapContent::default(),
        };
        let newest_before = map.newest_at_most();
        let entries = map.change(edits).map_err(ValueError::from)?.now;
        let put = |(key, entry): &EntryChange| Some((key.clone(), entry.clone()?));
        let rises = |(_, entry): &EntryChange| entry.as_ref().is_some_and(|new| new.stamp > newest_before);
        let rising = entries.iter().all(rises).then(|| entries.iter().filter_map(put).collect());
        let mut written: Vec<u64> = entries.iter().map(|(key, _)| key.hash64()).collect();
        written.extend(self.written.iter());
        written.sort_unstable();
        written.dedup();
        let seen = self.seen.clone().with(&entries, self.sequence, &map);
        let is_whole = is_written_whole(entries.len(), map.len());
        let all = is_whole.then(|| Arc::new(AllEntries::of(seen.all_known(&map))));
        Ok(DraftedContent {
            map,
            difference: MapDifference { entries, all, rising },
            written_before: self.written.clone(),
            written: Arc::new(written),
            sequence: self.sequence,
        })
    }
}

/// What a write sets, in the order of the keys, within the limits of a layer.
fn leaves_of(write: &Write) -> Result<Vec<(KeyPath, Value)>, CommandError> {
    let leaves = match write {
        Write::Put { value, .. } => flatten(None, value),
        Write::Set { key, value, .. } => flatten(Some(key), value),
        _ => return Ok(Vec::new()),
    };
    let leaves = leaves.map_err(ValueError::from)?;
    if leaves.len() > MAP_ENTRIES_MAX {
        return Err(ValueError::from(ContentError::TooManyEntries).into());
    }
    let mut bytes = 0;
    for (key, value) in &leaves {
        // The largest that it may become.
        let entry = Entry {
            stamp: Timestamp::from_bits(u64::MAX),
            value: Some(value.clone().into()),
            saw: Some([0; 4]),
        };
        bytes += entry.check(key).map_err(|why| ValueError::Entry { key: key.clone(), why })?;
    }
    match bytes > LAYER_BYTES_MAX {
        true => Err(ValueError::from(ContentError::TooLarge).into()),
        false => Ok(leaves.into_iter().collect()),
    }
}

/// The write behind one or several versions.
fn without_bases(write: &Write) -> &Write {
    match write {
        Write::OnBase { write, .. } => without_bases(write),
        write => write,
    }
}

/// Refuses a write that was made for another state of a document than this one.
pub(super) fn check_version(document: Option<&Document>, base: &str, doc: &str) -> Result<(), CommandError> {
    let version = version_of(&document.and_then(Document::view).unwrap_or_default());
    let is_it = |one: &str| one.len() >= VERSION_CHARS_MIN && version.starts_with(one);
    match base.split(',').any(is_it) {
        true => Ok(()),
        false => Err(CommandError::Stale { doc: doc.to_owned(), version }),
    }
}

impl Drafted {
    /// What would take long to free: who hands this in keeps it meanwhile, and frees it elsewhere.
    pub fn ballast(&self) -> Ballast {
        let all = match &self.work {
            DraftedWork::Content(content, _) => content.difference.all.clone(),
            DraftedWork::Write | DraftedWork::Slices(_) | DraftedWork::Entries(..) => None,
        };
        let seen = self.of.as_ref().map(|(_, seen)| seen.clone());
        Ballast { _order: self.order.clone(), _seen: seen, _all: all }
    }

    /// The document that it changes.
    pub fn document(&self) -> &DocumentId {
        &self.id
    }

    /// Whether the document is as it was, and the clock.
    pub fn holds(&self, core: &Core, replica: &Replica) -> bool {
        let Some((basis, _)) = &self.of else { return true };
        let newest = match &self.work {
            DraftedWork::Write | DraftedWork::Slices(_) => Timestamp::default(),
            DraftedWork::Entries(_, change) | DraftedWork::Content(_, change) => change.newest,
        };
        let is_as_it_was = |document: &Document| document.kind() == Kind::Map && document.basis() == *basis;
        newest.time() <= core.reference() + FUTURE_BOUND
            && replica.document(&self.id).is_some_and(is_as_it_was)
    }

    /// To try it once more.
    pub fn again(self) -> DraftOrder {
        DraftOrder { tried: self.order.tried + 1, ..self.order }
    }
}

impl Authoring {
    /// Keeps a draft until it is handed out.
    pub fn offer(&mut self, request: RequestId, draft: Draft) {
        self.drafts.push((request, draft));
    }

    /// The drafts that are to be handed out.
    pub fn take_drafts(&mut self) -> Vec<(RequestId, Draft)> {
        std::mem::take(&mut self.drafts)
    }

    /// Stages what was worked out, and still [holds](Drafted::holds).
    ///
    /// # Errors
    /// Why the write is refused.
    pub fn stage_drafted(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        drafted: Drafted,
    ) -> Result<(), CommandError> {
        let Drafted { order, id, work, .. } = drafted;
        if let (Some(why), false) =
            (read_only(core, replica, &id, Kind::Map), matches!(work, DraftedWork::Write))
        {
            return Err(CommandError::ReadOnly { doc: replica.document_name(core, &id), why });
        }
        let is_whole = matches!(without_bases(order.write()), Write::Put { whole: true, .. });
        let change = match work {
            DraftedWork::Write => {
                let mut write = order.into_write();
                while let Write::OnBase { write: inner, .. } = write {
                    write = *inner;
                }
                return self.stage(core, replica, request, write);
            }
            DraftedWork::Slices(leaves) => {
                let below = match order.write() {
                    Write::Set { key, .. } | Write::Del { key, .. } => Some(key),
                    _ => None,
                };
                return self.begin_long(core, request, &id, leaves, below);
            }
            DraftedWork::Entries(edits, change) => {
                if !edits.is_empty() {
                    self.staged.put_map(&id, edits);
                }
                change
            }
            DraftedWork::Content(content, change) => {
                self.staged.contents.insert(id.clone(), content);
                change
            }
        };
        core.clock.observe(change.newest);
        if is_whole {
            self.staged.whole.insert(id.clone());
        }
        self.staged.reply(request, &id, WriteKind::Document { set: change.set, deleted: change.deleted });
        Ok(())
    }
}
