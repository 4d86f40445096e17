//! Writes are checked against what is held and staged, or refused with the reason.

use std::collections::BTreeMap;

use tombolo_delta::Value;

use crate::authoring::tree::{put_at, remove_at};
use crate::authoring::{Authoring, WriteKind};
use crate::core::Core;
use crate::federation::Peer;
use crate::io::{BadNameReason, CommandError, NodeState, Quota, RequestId, ValueError, Write};
use crate::layer::{Content, DocumentId, DocumentName, Entry, KeyPath, Kind};
use crate::limits::DOCUMENTS_PER_OWNER_MAX;
use crate::merge::{Document, Winner, flatten};
use crate::presence::sighting;
use crate::replica::Replica;
use crate::time::Millis;

/// A node state that is equal to the signed one is signed again, for its time, after so long.
const SAME_STATE_PAUSE: Millis = Millis::from_secs(10);

/// A write to a map: everything below `prefix`, or everything, becomes equal to `leaves`.
struct LeafWrite<'a> {
    request: RequestId,
    id: &'a DocumentId,
    leaves: BTreeMap<KeyPath, Value>,
    prefix: Option<&'a KeyPath>,
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
            Write::PublishState { .. } => Some(core.own_document(DocumentName::STATE)),
        }
    }

    /// Whether what is staged has to be signed before a write can be compared with it.
    pub fn must_settle_before(&self, core: &Core, replica: &Replica, write: &Write) -> bool {
        let (doc, key, value) = match write {
            Write::Create { .. } => return true,
            Write::Set { doc, key, value } => (doc, Some(key), Some(value)),
            Write::Del { doc, key } => (doc, Some(key), None),
            Write::Put { doc, value, .. } => (doc, None, Some(value)),
            Write::PublishState { .. } => return false,
        };
        if self.staged.may_create() {
            return true;
        }
        let Ok((document, kind)) = writable(core, replica, doc) else { return false };
        let (Kind::Map, Some(key), Some(value)) = (kind, key, value) else { return true };
        // One plain key, nothing staged on it: the usual burst of `set`s shares one signature.
        let is_plain =
            flatten(Some(key), value).is_ok_and(|leaves| leaves.len() == 1 && leaves.contains_key(key));
        !is_plain || self.staged.has_at_or_below(&document, key)
    }

    /// Checks a write and stages it; its reply follows when it is signed and on disk.
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
        match write {
            Write::Create { name, kind } => self.create(core, replica, request, &name, kind),
            Write::Set { doc, key, value } => {
                let (document, kind) = writable(core, replica, &doc)?;
                match kind {
                    Kind::Snapshot => self.edit_snapshot(replica, request, &document, |tree| {
                        put_at(tree, key.segments(), value)
                    }),
                    Kind::Map => {
                        let leaves = flatten(Some(&key), &value).map_err(ValueError::from)?;
                        self.write_leaves(
                            core,
                            replica,
                            LeafWrite { request, id: &document, leaves, prefix: Some(&key) },
                        )
                    }
                }
            }
            Write::Del { doc, key } => self.delete(core, replica, request, &doc, &key),
            Write::Put { doc, value, whole } => {
                let (document, kind) = writable(core, replica, &doc)?;
                match kind {
                    Kind::Snapshot => self.edit_snapshot(replica, request, &document, |tree| {
                        *tree = value;
                        true
                    })?,
                    Kind::Map => {
                        let leaves = flatten(None, &value).map_err(ValueError::from)?;
                        self.write_leaves(
                            core,
                            replica,
                            LeafWrite { request, id: &document, leaves, prefix: None },
                        )?;
                    }
                }
                if whole {
                    self.staged.whole.insert(document);
                }
                Ok(())
            }
            Write::PublishState { state } => self.publish(core, replica, request, state),
        }
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
        let document_name = DocumentName::new(name).map_err(|why| bad(why.into()))?;
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
        self.staged.reply(request, &document, WriteKind::Document { changed: 0 });
        Ok(())
    }

    fn delete(
        &mut self,
        core: &mut Core,
        replica: &mut Replica,
        request: RequestId,
        doc: &str,
        key: &KeyPath,
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
                let stands = |(_, winner): (&KeyPath, &Winner)| !winner.entry.is_tombstone();
                if !held.is_some_and(|document| document.winners_below(key).any(stands)) {
                    return Err(unknown());
                }
                let write = LeafWrite { request, id: &document, leaves: BTreeMap::new(), prefix: Some(key) };
                self.write_leaves(core, replica, write)
            }
        }
    }

    /// Stages the entries that a write to a map needs: what differs is put, what is not among its leaves is deleted.
    fn write_leaves(
        &mut self,
        core: &mut Core,
        replica: &Replica,
        write: LeafWrite<'_>,
    ) -> Result<(), CommandError> {
        let LeafWrite { request, id, leaves, prefix } = write;
        let document = replica.document(id).expect("a writable document is held");
        let is_gone =
            |(key, winner): &(&KeyPath, &Winner)| !winner.entry.is_tombstone() && !leaves.contains_key(key);
        let gone: Vec<KeyPath> = match prefix {
            Some(prefix) => {
                document.winners_below(prefix).filter(is_gone).map(|(key, _)| key.clone()).collect()
            }
            None => document.winners().filter(is_gone).map(|(key, _)| key.clone()).collect(),
        };
        let new =
            leaves.into_iter().filter(|(key, value)| document.shown(key).is_none_or(|shown| shown != value));
        let wanted: Vec<(KeyPath, Option<Value>)> = gone
            .into_iter()
            .map(|key| (key, None))
            .chain(new.map(|(key, value)| (key, Some(value))))
            .collect();
        // This write goes above what it replaces, hides or uncovers, as far as that may count at all.
        let touched = wanted.iter().flat_map(|(key, _)| key.parents().chain([key.clone()]));
        for winner in touched.filter_map(|key| document.winner(&key)) {
            core.clock.observe(winner.entry.stamp);
        }
        let mut changes = Vec::new();
        for (key, value) in wanted {
            let saw = document
                .winner(&key)
                .filter(|winner| winner.author != core.me)
                .map(|winner| winner.entry.hash4(&key));
            let entry = Entry { stamp: core.clock.tick(), value, saw };
            entry.check(&key).map_err(|why| ValueError::Entry { key: key.clone(), why })?;
            changes.push((key, Some(entry)));
        }
        let changed = changes.len();
        if changed > 0 {
            self.staged.put_map(id, changes);
        }
        self.staged.reply(request, id, WriteKind::Document { changed });
        Ok(())
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
            self.staged.put_snapshot(id, value);
        }
        self.staged.reply(request, id, WriteKind::Document { changed: usize::from(changed) });
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

/// Which peers this node hears and which it has lost, for those who read its state and know them; none: it has heard no peer.
fn heard(core: &Core, replica: &Replica) -> Option<BTreeMap<String, u64>> {
    let salt = replica.federation().audience(&core.me)?.salt();
    let (now, reference) = (core.now(), core.reference());
    let sighting = |peer: &Peer| Some((peer.id, core.presence.sighting(now, &peer.id, reference)?));
    let heard = sighting::field(&salt, replica.federation().members().filter_map(sighting));
    (!heard.is_empty()).then_some(heard)
}

/// The document that a text names, if this node may write it.
fn writable(core: &Core, replica: &Replica, doc: &str) -> Result<(DocumentId, Kind), CommandError> {
    let id = replica.resolve_document(core, doc)?;
    let document = replica.document(&id).expect("a document is resolved among those held");
    let kind = document.kind();
    let may = match kind {
        Kind::Map => replica.federation().may_write(&id.owner),
        Kind::Snapshot => id.owner == core.me && !id.name.is_reserved(),
    };
    if may { Ok((id, kind)) } else { Err(CommandError::ReadOnly(doc.to_owned())) }
}
