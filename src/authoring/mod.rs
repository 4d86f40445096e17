//! Authoring: local writes become signed states of the node's own layers.
//!
//! A write is checked and staged ([`Authoring::stage`], in `writes`). The node then settles: each staged document becomes
//! one signed state ([`Authoring::commit_map`], [`Authoring::commit_snapshot`]), stored in the replica. What gathers
//! between two polls shares one signature per document. A write of many keys is staged slice by slice (`long`), or worked out
//! on a copy of its document where it is one commit by promise (`draft`).
//!
//! A node state is damped first (`flapping`): an app that changes again and again is published once. A state that is equal to the
//! one before is signed again only after a while.
//!
//! Invariants: a sequence is signed once; nothing is signed after another machine was seen to sign with the same key; a
//! stamp is greater than the stamp of every entry that it replaces.

mod brief;
mod draft;
pub(crate) mod flapping;
mod long;
mod settle;
mod staged;
mod tree;
mod writes;

use tombolo_delta::Value;

pub use brief::{state_brief, state_with_brief};
pub use draft::{Ballast, Draft, DraftInput, DraftOrder, Drafted, DraftedContent};
pub use long::{SLICE_WAIT, SliceRefusal};
pub use staged::{MapEdits, Staged, StagedReply, WriteKind};

use crate::core::Core;
use crate::io::{CommandError, Reply, RequestId, StopReason, ValueError, view};
use crate::layer::{
    Content, DocumentId, Entry, Head, Kind, Layer, LayerId, MapContent, Sequence, SignedHead,
};
use crate::merge::map_of;
use crate::replica::{Replaced, Replica, Stored};
use crate::time::{Mono, Wall};

/// Local writes on their way to a signature.
#[derive(Debug, Default)]
pub struct Authoring {
    staged: Staged,
    long: long::LongWrites,
    /// Drafts that are to be handed out.
    drafts: Vec<(RequestId, Draft)>,
    flaps: flapping::FlapFilter,
    /// When the node state was staged last.
    published_at: Option<Mono>,
}

impl Authoring {
    /// Whether entries of a map wait for their signature.
    pub fn has_staged(&self, document: &DocumentId) -> bool {
        self.staged.maps.contains_key(document)
    }

    /// What is staged, to add to it.
    pub fn staged_mut(&mut self) -> &mut Staged {
        &mut self.staged
    }

    /// Takes everything staged, to sign it.
    pub fn take_staged(&mut self) -> Staged {
        std::mem::take(&mut self.staged)
    }

    /// Signs and stores a new state of an own snapshot.
    ///
    /// # Errors
    /// [`CommandError::BadValue`] if the value is beyond the limits of the format, [`CommandError::Stopped`] if this node
    /// does not sign any more.
    pub fn commit_snapshot(
        &self,
        core: &mut Core,
        replica: &mut Replica,
        document: &DocumentId,
        value: Value,
    ) -> Result<Stored, CommandError> {
        let content = Content::snapshot(value).map_err(ValueError::from)?;
        let id = core.own_layer(document);
        let sequence = next_sequence(replica, &id)?;
        let signed = sign(core, replica, &id, &content, sequence);
        Ok(replica.store_own_snapshot(core, Layer { signed, content }))
    }

    /// Signs and stores a new state of the own layer in a map.
    ///
    /// # Errors
    /// [`CommandError::BadValue`] if the entries are beyond the limits of the format, [`CommandError::Stopped`] if this
    /// node does not sign any more; the layer then stays as it was.
    pub fn commit_map(
        &self,
        core: &mut Core,
        replica: &mut Replica,
        document: &DocumentId,
        changes: MapEdits,
    ) -> Result<Stored, CommandError> {
        let id = core.own_layer(document);
        let is_snapshot = replica.document(document).is_some_and(|document| document.kind() != Kind::Map);
        if is_snapshot || replica.layer(&id).is_some_and(|layer| layer.head().kind != Kind::Map) {
            return Err(CommandError::UnknownDocument(document.name.as_str().to_owned()));
        }
        let sequence = next_sequence(replica, &id)?;
        let mut changes = changes;
        leave_behind(replica, &id, &mut changes);
        restamp(core, replica, &id, &mut changes);
        let (before, mut map) = match replica.take_own_map(&id) {
            Some((signed, map)) => (Some(signed), map),
            None => (None, MapContent::default()),
        };
        let changed = match map.change(changes) {
            Ok(change) => change.now,
            Err(error) => {
                // The map is as it was.
                if let Some(before) = before {
                    replica.put_back_own_map(before, map);
                }
                return Err(ValueError::from(error).into());
            }
        };
        let content = Content::Map(map);
        let signed = sign(core, replica, &id, &content, sequence);
        replica.recovery_mut().note_written(document, changed.iter().map(|(key, _)| key));
        Ok(replica.store(
            core,
            Layer { signed, content },
            before.map(Replaced::in_place),
            Some(changed.into()),
        ))
    }

    /// Signs and stores a new content of the own layer in a map, which was worked out for the present one.
    ///
    /// # Errors
    /// [`CommandError::BadValue`] if the entries are beyond the limits of the format, [`CommandError::Stopped`] if this
    /// node does not sign any more; the layer then stays as it was.
    pub fn commit_drafted(
        &self,
        core: &mut Core,
        replica: &mut Replica,
        document: &DocumentId,
        content: DraftedContent,
    ) -> Result<Stored, CommandError> {
        let id = core.own_layer(document);
        let sequence = next_sequence(replica, &id)?;
        let DraftedContent { mut map, mut difference, written_before, written, sequence: worked_out_for } =
            content;
        let mut ahead = MapEdits::new();
        restamp(core, replica, &id, &mut ahead);
        let held = replica.layer(&id).and_then(map_of);
        ahead.retain(|key, _| held.and_then(|held| held.shared(key)) == map.shared(key));
        if !ahead.is_empty() || sequence != worked_out_for {
            (difference.all, difference.rising) = (None, None);
            difference.entries.extend(map.change(ahead).map_err(ValueError::from)?.now);
        }
        let content = Content::Map(map);
        let signed = sign(core, replica, &id, &content, sequence);
        replica.recovery_mut().note_written_by_many(document, &written_before, written);
        let replaced = replica.layer(&id).map(Replaced::of);
        Ok(replica.store(core, Layer { signed, content }, replaced, Some(difference)))
    }

    /// The reply to a write that is signed, from the layer as it is held now.
    pub fn reply_to(core: &Core, replica: &Replica, reply: &StagedReply) -> Reply {
        let head = replica.layer(&core.own_layer(&reply.document)).map(Layer::head);
        let sequence = head.map_or(0, |head| head.sequence.get());
        match &reply.kind {
            WriteKind::Deleted { document, scope } => Reply::Deleted(view::DeletedView {
                owner: crate::identity::did(&document.owner),
                name: document.name.as_str().to_owned(),
                deleted: *scope,
            }),
            WriteKind::Published => {
                let timestamp = crate::clock::rfc3339(head.map_or(Wall::default(), |head| head.time));
                Reply::Published(view::PublishedView { sequence, timestamp })
            }
            WriteKind::Document { set, deleted } => Reply::Written(view::WrittenView {
                document: replica.document_name(core, &reply.document),
                owner: core.did(&reply.document.owner),
                name: reply.document.name.as_str().to_owned(),
                sequence,
                id: format!("{}@{sequence}", reply.document.name.as_str()),
                changed: set + deleted,
                set: *set,
                deleted: *deleted,
            }),
        }
    }
}

/// A writer that is listed again starts with an empty layer: the owner has taken over what it wrote before its removal,
/// and what has been deleted since must not come back.
fn leave_behind(replica: &Replica, id: &LayerId, changes: &mut MapEdits) {
    let from = replica.federation().counts_from(&id.document.owner, &id.author);
    let Some(old) = replica.layer(id).filter(|old| Some(old.head().audience_sequence) < from) else {
        return;
    };
    let entries = map_of(old).map_or(0, MapContent::len);
    let document = id.document.name.as_str();
    tracing::warn!(document, entries, "listed again as a writer: our old layer is left behind");
    for (key, _) in map_of(old).into_iter().flat_map(MapContent::iter) {
        changes.entry(key.clone()).or_insert(None);
    }
}

/// Own entries in the future, left by a clock that has been put right, are moved back by the size of the step with the next commit:
/// no other writer stays locked out, and what others wrote later stays later.
fn restamp(core: &mut Core, replica: &Replica, id: &LayerId, changes: &mut MapEdits) {
    // The input that brought the right time may be the one that is being handled.
    core.clock.put_right();
    let ahead = replica.own_entries_ahead(core, id, |key| changes.contains_key(key));
    for (key, entry) in ahead {
        let replaced = entry.saw.and_then(|saw| replica.document(&id.document)?.stamp_of(&key, saw));
        let stamp = core.clock.moved_back(entry.stamp, replaced);
        changes.insert(key, Some(Entry { stamp, ..entry }));
    }
}

/// The sequence of the next state of an own layer, if one may be signed.
fn next_sequence(replica: &Replica, id: &LayerId) -> Result<Sequence, CommandError> {
    if let Some(why) = replica.recovery().stopped() {
        return Err(CommandError::Stopped(why));
    }
    if replica.recovery().is_unconfirmed() {
        return Err(CommandError::Unconfirmed);
    }
    following(replica, id).ok_or(CommandError::Stopped(StopReason::SequenceUsedUp))
}

/// The sequence of the next state of an own layer, unless they are used up.
fn following(replica: &Replica, id: &LayerId) -> Option<Sequence> {
    let last = replica.layer(id).map_or_else(|| replica.ended_at(id), |layer| layer.head().sequence);
    last.next()
}

fn sign(core: &Core, replica: &Replica, id: &LayerId, content: &Content, sequence: Sequence) -> SignedHead {
    let head = Head {
        kind: content.kind(),
        layer: id.clone(),
        sequence,
        time: core.clock.signing_time(),
        audience_sequence: replica.federation().audience_sequence(&id.document.owner),
        root: content.root(),
    };
    head.sign(&core.keypair)
}

#[cfg(test)]
mod tests;
