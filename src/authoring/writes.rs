//! Writes are checked against what is held and staged, or refused with the reason.

use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::authoring::draft::check_version;
use crate::authoring::long::is_long;
use crate::authoring::settle::Settlement;
use crate::authoring::tree::{put_at, remove_at};
use crate::authoring::{Authoring, WriteKind};
use crate::core::{Clockwork, Core};
use crate::federation::name::check_new_document_name;
use crate::federation::{Peer, TrustLevel};
use crate::io::view::DeletedScope;
use crate::io::{
    BadNameReason, CommandError, NodeState, Quota, ReadOnlyReason, RequestId, ValueError, Write,
};
use crate::layer::{Content, ContentError, DocumentId, DocumentName, Entry, KeyPath, Kind};
use crate::limits::{DOCUMENTS_PER_OWNER_MAX, MAP_ENTRIES_MAX};
use crate::merge::{Document, KeyView, Winner, flatten, leaf_count};
use crate::presence::sighting;
use crate::replica::Replica;
use crate::time::Millis;

/// A node state that is equal to the signed one is signed again, for its time, after so long.
const SAME_STATE_PAUSE: Millis = Millis::from_secs(10);

/// Refuses a value of which no layer has room for what is new, before any work is done for its entries: other requests wait
/// meanwhile. What is shown already, by any writer, takes no room.
pub(super) fn check_room(document: Option<&Document>, value: &Value) -> Result<(), ValueError> {
    let leaves = leaf_count(value);
    if leaves <= MAP_ENTRIES_MAX {
        return Ok(());
    }
    let shown = document.map_or(0, |document| document.winners().count());
    match leaves.saturating_sub(shown) > MAP_ENTRIES_MAX {
        true => Err(ContentError::TooManyEntries.into()),
        false => Ok(()),
    }
}

/// A write to a map: it becomes equal to `leaves` below a key, or as a whole.
struct LeafWrite<'a> {
    request: RequestId,
    id: &'a DocumentId,
    leaves: BTreeMap<KeyPath, Value>,
    below: Option<&'a KeyPath>,
    commits: Commits,
}

/// How many signed states a write may make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Commits {
    One,
    /// One a slice, where it is long.
    Any,
}

impl Authoring {
    /// The document whose own layer a write goes into; `None` if no document has that name.
    pub fn target(core: &Core, replica: &Replica, write: &Write) -> Option<DocumentId> {
        match write {
            Write::Set { doc, .. } | Write::Del { doc, .. } | Write::Put { doc, .. } => {
                replica.resolve_document(core, doc).ok()
            }
            Write::Create { name, .. } => {
                Some(DocumentId { owner: core.me, name: DocumentName::new(name).ok()? })
            }
            // The end of an own document stands in the audience.
            Write::Delete { doc, undo: false } => {
                let own = replica.resolve_document(core, doc).ok().filter(|id| id.owner == core.me);
                own.map(|_| core.own_document(DocumentName::AUDIENCE))
            }
            Write::Delete { undo: true, .. } => None,
            Write::OnBase { write, .. } => Self::target(core, replica, write),
            Write::Settle { doc, .. } => replica.resolve_document(core, doc).ok(),
            Write::PublishState { .. } => Some(core.own_document(DocumentName::STATE)),
        }
    }

    /// Whether what is staged has to be signed before a write to its target can be compared with it.
    pub fn must_settle_before(&self, replica: &Replica, write: &Write, target: Option<&DocumentId>) -> bool {
        let (key, value) = match write {
            Write::Create { .. } | Write::Delete { .. } | Write::OnBase { .. } | Write::Settle { .. } => {
                return true;
            }
            Write::Set { key, value, .. } => (Some(key), Some(value)),
            Write::Del { key, .. } => (Some(key), None),
            Write::Put { value, .. } => (None, Some(value)),
            Write::PublishState { .. } => return false,
        };
        if self.staged.may_create() || !self.staged.contents.is_empty() {
            return true;
        }
        let Some((id, document)) = target.and_then(|id| Some((id, replica.document(id)?))) else {
            return false;
        };
        let (Kind::Map, Some(key), Some(value)) = (document.kind(), key, value) else { return true };
        // One plain key, nothing staged on it: the usual burst of `set`s shares one signature.
        let is_plain = !matches!(value, Value::Map(members) if !members.is_empty());
        let is_staged = |above: KeyPath| self.staged.has_at(id, &above);
        !is_plain || self.staged.has_at_or_below(id, key) || key.parents().any(is_staged)
    }

    /// Checks a write and stages it, or takes it to be done in slices; its reply follows when it is signed and on disk.
    ///
    /// # Errors
    /// Why the write is refused; nothing is staged then.
    pub fn stage(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        write: Write,
    ) -> Result<(), CommandError> {
        self.stage_in(core, replica, request, write, Commits::Any)
    }

    fn stage_in(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        write: Write,
        commits: Commits,
    ) -> Result<(), CommandError> {
        match write {
            Write::Create { name, kind } => self.create(core, replica, request, &name, kind),
            Write::Set { doc, key, value } => {
                let (id, kind) = writable(core, replica, &doc)?;
                match kind {
                    Kind::Snapshot => {
                        self.edit_snapshot(replica, request, &id, |tree| put_at(tree, key.segments(), value))
                    }
                    Kind::Map => {
                        check_room(replica.document(&id), &value)?;
                        let leaves = flatten(Some(&key), &value).map_err(ValueError::from)?;
                        let write = LeafWrite { request, id: &id, leaves, below: Some(&key), commits };
                        self.write_leaves(core, replica, write)
                    }
                }
            }
            Write::Del { doc, key } => self.delete(core, replica, request, (&doc, &key), commits),
            Write::Delete { doc, undo: true } => {
                let document = replica.remember(core, &doc)?;
                let kind = WriteKind::Deleted { document: document.clone(), scope: DeletedScope::Nowhere };
                self.staged.reply(request, &document, kind);
                Ok(())
            }
            Write::Delete { doc, undo: false } => self.end(core, replica, request, &doc),
            Write::OnBase { base, write } => {
                check_base(core, replica, &base, &write)?;
                self.stage_in(core, replica, request, *write, Commits::One)
            }
            Write::Settle { doc, key, take } => {
                let settlement = Settlement { doc: &doc, key: &key, take: take.as_deref() };
                self.settle_conflict(core, replica, request, &settlement)
            }
            Write::Put { doc, value, whole } => {
                let commits = if whole { Commits::One } else { commits };
                let document = self.put(core, replica, request, (&doc, value), commits)?;
                if whole {
                    self.staged.whole.insert(document);
                }
                Ok(())
            }
            Write::PublishState { state } => self.publish(core, replica, request, *state),
        }
    }

    fn put(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        (doc, value): (&str, Value),
        commits: Commits,
    ) -> Result<DocumentId, CommandError> {
        let (id, kind) = writable(core, replica, doc)?;
        match kind {
            Kind::Snapshot => self.edit_snapshot(replica, request, &id, |tree| {
                *tree = value;
                true
            })?,
            Kind::Map => {
                check_room(replica.document(&id), &value)?;
                let leaves = flatten(None, &value).map_err(ValueError::from)?;
                let write = LeafWrite { request, id: &id, leaves, below: None, commits };
                self.write_leaves(core, replica, write)?;
            }
        }
        Ok(id)
    }

    /// Ends an own document for all, or has a peer's forgotten here.
    fn end(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        doc: &str,
    ) -> Result<(), CommandError> {
        let document = named_in_full(core, replica, doc)?;
        if document.name.is_owners_alone() {
            return Err(CommandError::ReadOnly { doc: doc.to_owned(), why: ReadOnlyReason::Engine });
        }
        let (target, scope) = match document.owner == core.me {
            true => {
                let audience = replica.audience_without(core, &document)?.to_value();
                let target = core.own_document(DocumentName::AUDIENCE);
                self.staged.put_snapshot(&target, audience);
                self.staged.whole.insert(target.clone());
                (target, DeletedScope::Everywhere)
            }
            false => {
                replica.forget(core, &document)?;
                (document.clone(), DeletedScope::Here)
            }
        };
        self.staged.reply(request, &target, WriteKind::Deleted { document, scope });
        Ok(())
    }

    fn create(
        &mut self,
        core: &Core,
        replica: &Replica,
        request: RequestId,
        name: &str,
        kind: Kind,
    ) -> Result<(), CommandError> {
        let bad = |why| CommandError::BadName { name: name.to_owned(), why };
        let document_name = check_new_document_name(name).map_err(|why| bad(why.into()))?;
        if document_name.is_reserved() {
            return Err(bad(BadNameReason::Reserved));
        }
        if name.ends_with(DocumentName::BRIEF) {
            return Err(bad(BadNameReason::Brief));
        }
        let document = DocumentId { owner: core.me, name: document_name };
        if replica.document(&document).is_some() {
            return Err(CommandError::DocumentExists(name.to_owned()));
        }
        let own = replica.layers().documents().filter(|(id, _)| id.owner == core.me).count();
        if own >= DOCUMENTS_PER_OWNER_MAX {
            return Err(CommandError::Limit(Quota::Documents));
        }
        match kind {
            Kind::Map => self.staged.put_map(&document, []),
            Kind::Snapshot => self.staged.put_snapshot(&document, Value::Map(tombolo_delta::Map::new())),
        }
        self.staged.reply(request, &document, WriteKind::Document { set: 0, deleted: 0 });
        Ok(())
    }

    fn delete(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        (doc, key): (&str, &KeyPath),
        commits: Commits,
    ) -> Result<(), CommandError> {
        let (document, kind) = writable(core, replica, doc)?;
        let unknown = || CommandError::UnknownKey { doc: doc.to_owned(), key: key.to_string() };
        let held = replica.document(&document);
        match kind {
            Kind::Snapshot => {
                held.and_then(|document| document.get(key)).ok_or_else(unknown)?;
                self.edit_snapshot(replica, request, &document, |tree| remove_at(tree, key.segments()))
            }
            Kind::Map => {
                // What a concurrent write hides stands in `conflicts`: a deletion removes what its writer has seen. A long one
                // finds out with its slices.
                let shows = |document: &Document| {
                    let is_sliced = commits == Commits::Any && is_long(document, 0, Some(key));
                    is_sliced || document.look_below(key).any(|(_, at)| at.shown().is_some())
                };
                if !held.is_some_and(shows) {
                    return Err(unknown());
                }
                let (leaves, below) = (BTreeMap::new(), Some(key));
                self.write_leaves(core, replica, LeafWrite { request, id: &document, leaves, below, commits })
            }
        }
    }

    /// Stages the entries that a write to a map needs: what differs is put, what is not among its leaves is deleted. A long one is taken
    /// to be done in slices.
    fn write_leaves(
        &mut self,
        core: &mut Core,
        replica: &Replica,
        write: LeafWrite<'_>,
    ) -> Result<(), CommandError> {
        let LeafWrite { request, id, leaves, below, commits } = write;
        let document = replica.document(id).expect("a writable document is held");
        if commits == Commits::Any && is_long(document, leaves.len(), below) {
            return self.begin_long(core, request, id, leaves.into_iter().collect(), below);
        }
        let uncovered = uncovered(document, &leaves, below);
        let (set, deleted) = self.stage_leaves(core, document, id, uncovered, leaves)?;
        self.staged.reply(request, id, WriteKind::Document { set, deleted });
        Ok(())
    }

    /// Stages the entries of some keys: `leaves` are set where they differ, what is uncovered is deleted. Returns how many of each.
    pub(super) fn stage_leaves(
        &mut self,
        core: &mut Core,
        document: &Document,
        id: &DocumentId,
        uncovered: Uncovered<'_>,
        leaves: impl IntoIterator<Item = (KeyPath, Value)>,
    ) -> Result<(usize, usize), CommandError> {
        let Entries { changes, set, deleted } =
            entries_of(&core.me, &mut core.clock, document, uncovered, leaves)?;
        if !changes.is_empty() {
            self.staged.put_map(id, changes);
        }
        Ok((set, deleted))
    }

    fn edit_snapshot(
        &mut self,
        replica: &mut Replica,
        request: RequestId,
        id: &DocumentId,
        edit: impl FnOnce(&mut Value) -> bool,
    ) -> Result<(), CommandError> {
        let mut tree = replica.document(id).and_then(Document::view).unwrap_or_default();
        let changed = edit(&mut tree);
        let content = Content::snapshot(tree).map_err(ValueError::from)?;
        if let (true, Content::Snapshot(value)) = (changed, content) {
            replica.recovery_mut().note_written(id, []);
            self.staged.put_snapshot(id, value.into_value());
        }
        self.staged.reply(request, id, WriteKind::Document { set: usize::from(changed), deleted: 0 });
        Ok(())
    }

    fn publish(
        &mut self,
        core: &Core,
        replica: &mut Replica,
        request: RequestId,
        state: NodeState,
    ) -> Result<(), CommandError> {
        let now = core.now();
        let apps = self.flaps.damp(now, state.apps);
        let state = NodeState { apps, heard: heard(core, replica), ..state };
        let value = tombolo_delta::to_value(&state).map_err(ValueError::from)?;
        let document = core.own_document(DocumentName::STATE);
        let is_signed = replica.layer(&core.own_layer(&document)).is_some_and(|layer| match &layer.content {
            Content::Snapshot(signed) => *signed == value,
            Content::Map(_) => false,
        });
        let is_recent = self.published_at.is_some_and(|at| now.since(at) < SAME_STATE_PAUSE);
        if is_signed && is_recent && !self.staged.snapshots.contains_key(&document) {
            self.staged.reply(request, &document, WriteKind::Published);
            return Ok(());
        }
        self.published_at = Some(now);
        replica.recovery_mut().note_written(&document, []);
        self.staged.put_snapshot(&document, value);
        self.staged.reply(request, &document, WriteKind::Published);
        Ok(())
    }
}

/// What a write leaves to nothing.
#[derive(Default)]
pub(super) struct Uncovered<'a> {
    /// The keys that it deletes, since it covers them and does not name them, with what wins there.
    pub(super) keys: BTreeMap<KeyPath, Option<Winner<'a>>>,
    /// Where it covers what is below a key: that key, with what stands there.
    pub(super) at_prefix: Option<(&'a KeyPath, KeyView<'a>)>,
}

pub(super) fn uncovered<'a>(
    document: &'a Document,
    leaves: &BTreeMap<KeyPath, Value>,
    below: Option<&'a KeyPath>,
) -> Uncovered<'a> {
    let is_gone = |at: &(&KeyPath, KeyView<'_>)| at.1.shown().is_some() && !leaves.contains_key(at.0);
    fn with_winner<'a>((key, at): (&KeyPath, KeyView<'a>)) -> (KeyPath, Option<Winner<'a>>) {
        (key.clone(), at.winner)
    }
    let Some(prefix) = below else {
        let keys = document.look_from(None).filter(is_gone).map(with_winner).collect();
        return Uncovered { keys, at_prefix: None };
    };
    let mut at_prefix = KeyView::default();
    let below = document.look_below(prefix).inspect(|(key, at)| {
        if *key == prefix {
            at_prefix = *at;
        }
    });
    let keys = below.filter(is_gone).map(with_winner).collect();
    Uncovered { keys, at_prefix: Some((prefix, at_prefix)) }
}

/// The entries that a write makes of some keys.
pub(super) struct Entries {
    pub(super) changes: Vec<(KeyPath, Option<Entry>)>,
    pub(super) set: usize,
    pub(super) deleted: usize,
}

/// The entries of some keys: `leaves` are set where they differ, what is uncovered is deleted.
pub(super) fn entries_of(
    me: &PeerId,
    clock: &mut Clockwork,
    document: &Document,
    uncovered: Uncovered<'_>,
    leaves: impl IntoIterator<Item = (KeyPath, Value)>,
) -> Result<Entries, CommandError> {
    let Uncovered { keys: mut gone, at_prefix } = uncovered;
    let leaves = leaves.into_iter().map(|(key, value)| {
        let seen = at_prefix.filter(|(prefix, _)| **prefix == key).map(|(_, seen)| seen);
        (seen.unwrap_or_else(|| document.look(&key)), key, value)
    });
    let new: Vec<_> = leaves.filter(|(at, _, value)| at.shown().is_none_or(|s| s != value)).collect();
    // A value above a new one makes way, as one that was seen.
    let above = new.iter().flat_map(|(_, key, _)| key.parents());
    gone.extend(above.filter(|key| stands_alone(document, key)).map(|key| {
        let winner = document.winner(&key);
        (key, winner)
    }));
    let (set, deleted) = (new.len(), gone.len());
    let gone = gone.into_iter().map(|(key, winner)| (key, winner, None));
    let new = new.into_iter().map(|(at, key, value)| (key, at.winner, Some(value)));
    let wanted: Vec<_> = gone.chain(new).collect();
    // This write goes above what it replaces, hides or uncovers, as far as that may count at all.
    for (key, winner, _) in &wanted {
        let above = key.parents().filter_map(|above| document.winner(&above));
        above.chain(*winner).for_each(|winner| clock.observe(winner.entry.stamp));
    }
    let mut changes = Vec::with_capacity(wanted.len());
    for (key, winner, value) in wanted {
        let seen = winner.filter(|winner| winner.author != *me);
        let saw = seen.map(|winner| winner.entry.hash4(&key));
        let entry = Entry { stamp: clock.tick(), value: value.map(Into::into), saw };
        entry.check(&key).map_err(|why| ValueError::Entry { key: key.clone(), why })?;
        changes.push((key, Some(entry)));
    }
    Ok(Entries { changes, set, deleted })
}

/// Whether a reader sees a value under a key that has no place for members.
pub(super) fn stands_alone(document: &Document, key: &KeyPath) -> bool {
    document.shown(key).is_some_and(|value| !value.is_object())
}

/// Which peers this node hears and which it has lost, for those who read its state and know them; none: it has heard no peer.
fn heard(core: &Core, replica: &Replica) -> Option<BTreeMap<String, u64>> {
    let salt = replica.federation().audience(&core.me)?.salt();
    let (now, reference) = (core.now(), core.reference());
    let sighting = |peer: &Peer| Some((peer.id, core.presence.sighting(now, &peer.id, reference)?));
    let heard = sighting::field(&salt, replica.federation().members().filter_map(sighting));
    (!heard.is_empty()).then_some(heard)
}

/// The document that a text names, if this node may write it.
pub(super) fn writable(
    core: &Core,
    replica: &Replica,
    doc: &str,
) -> Result<(DocumentId, Kind), CommandError> {
    let id = replica.resolve_document(core, doc)?;
    let kind = replica.document(&id).expect("a document is resolved among those held").kind();
    if let Some(why) = read_only(core, replica, &id, kind) {
        return Err(CommandError::ReadOnly { doc: doc.to_owned(), why });
    }
    Ok((in_full(core, replica, id, doc)?, kind))
}

/// Refuses a write that was made for another state of a document than the present one.
fn check_base(core: &Core, replica: &Replica, base: &str, write: &Write) -> Result<(), CommandError> {
    let doc = write.versioned_document().ok_or(CommandError::NoBase)?;
    let id = replica.resolve_document(core, doc)?;
    check_version(replica.document(&id), base, doc)
}

/// The document that a text names, to change it. A bare name changes no document of a peer: as soon as this node had one of that
/// name, the same command would mean that.
fn named_in_full(core: &Core, replica: &Replica, doc: &str) -> Result<DocumentId, CommandError> {
    in_full(core, replica, replica.resolve_document(core, doc)?, doc)
}

/// The same, where the document that the text names was found.
fn in_full(core: &Core, replica: &Replica, id: DocumentId, doc: &str) -> Result<DocumentId, CommandError> {
    match id.owner == core.me || doc.contains('/') {
        true => Ok(id),
        false => {
            let full = format!("{}/{doc}", replica.name_of(core, &id.owner));
            Err(CommandError::PeersDocument { name: doc.to_owned(), full })
        }
    }
}

/// Why this node may not write a document that it reads.
pub(super) fn read_only(
    core: &Core,
    replica: &Replica,
    id: &DocumentId,
    kind: Kind,
) -> Option<ReadOnlyReason> {
    let federation = replica.federation();
    match kind {
        Kind::Map if federation.may_write(&id.owner) => None,
        Kind::Map => match federation.audience(&id.owner).map(|audience| audience.level(&core.me)) {
            Some(TrustLevel::Observer) => Some(ReadOnlyReason::Observer),
            Some(TrustLevel::Trusted | TrustLevel::Untrusted) | None => Some(ReadOnlyReason::NotListed),
        },
        Kind::Snapshot if id.owner != core.me => Some(ReadOnlyReason::OwnersAlone),
        Kind::Snapshot if id.name.is_reserved() => Some(ReadOnlyReason::Engine),
        Kind::Snapshot => None,
    }
}
