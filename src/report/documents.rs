//! Documents, their values and conflicts, and node states.

use std::collections::{BTreeSet, VecDeque};

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::authoring::state_with_brief;
use crate::core::reserved_document;
use crate::identity::did;
use crate::io::{CommandError, PartialReply, Reply, view};
use crate::layer::{CompactValue, DocumentId, DocumentName, KeyPath, Kind, Layer, LayerId};
use crate::limits::ANSWER_KEYS_MAX;
use crate::merge::{Document, Loser, ShownLeaves};
use crate::report::NodeReport;

/// In the list of documents, so many bytes of a small document count as a key.
const BYTES_OF_A_KEY: usize = 32;

/// A look at all keys of some documents for values that lost, done in parts: each key is shown as it is when it is looked at.
#[derive(Debug)]
pub struct ConflictWalk {
    /// The documents that are not done, and the key in the first of them from which on it is not.
    left: VecDeque<DocumentId>,
    from: Option<KeyPath>,
    found: Vec<view::ConflictView>,
}

/// What a reader sees of a document or below a key.
#[derive(Debug)]
pub enum ShownValue {
    /// The value itself.
    Whole(Value),
    /// The many entries that make it.
    Leaves(ShownLeaves),
}

/// The list of documents, made in parts.
#[derive(Debug)]
pub struct ListWalk {
    left: VecDeque<DocumentId>,
    done: BTreeSet<DocumentId>,
    rows: Vec<(view::DocumentView, Option<ShownLeaves>)>,
}

impl ListWalk {
    /// The list.
    pub fn into_reply(self) -> Reply {
        match self.rows.iter().any(|(_, leaves)| leaves.is_some()) {
            true => Reply::Partial(Box::new(PartialReply::Documents(self.rows))),
            false => Reply::Documents(self.rows.into_iter().map(|(row, _)| row).collect()),
        }
    }
}

impl ConflictWalk {
    /// What was found.
    pub fn into_found(self) -> Vec<view::ConflictView> {
        self.found
    }
}

impl NodeReport<'_> {
    /// All documents that this node participates in, as `ls` shows them.
    pub fn documents(&self) -> Vec<view::DocumentView> {
        let mut walk = self.begin_list();
        while !self.walk_list(&mut walk, usize::MAX) {}
        walk.rows.into_iter().map(|(row, _)| row).collect()
    }

    /// Begins the list of them.
    pub fn begin_list(&self) -> ListWalk {
        ListWalk { left: self.replica.visible().cloned().collect(), done: BTreeSet::new(), rows: Vec::new() }
    }

    /// Adds documents to the list, of about so many keys. Returns whether that is all. Those with more keys are to be measured by who
    /// asked.
    pub fn walk_list(&self, walk: &mut ListWalk, keys: usize) -> bool {
        let mut left = keys;
        while let Some(id) = self.next_listed(walk) {
            // It may have ended meanwhile.
            let Some(document) = self.replica.visible_document(&id) else { continue };
            let mut row = self.document_row(&id, document);
            let leaves = document.has_more_than(keys, None).then(|| document.shown_leaves(None));
            if leaves.is_none() {
                let Some(view) = document.view() else { continue };
                row.measure(&view);
            }
            left = left.saturating_sub(document.keys_at_most() + row.bytes / BYTES_OF_A_KEY);
            walk.rows.push((row, leaves));
            if left == 0 {
                return false;
            }
        }
        true
    }

    /// The next document of a list. One that came to life while that was being made is in no event behind the answer: it comes last.
    fn next_listed(&self, walk: &mut ListWalk) -> Option<DocumentId> {
        if walk.left.is_empty() {
            walk.left.extend(self.replica.visible().filter(|id| !walk.done.contains(id)).cloned());
        }
        let next = walk.left.pop_front();
        walk.done.extend(next.clone());
        next
    }

    /// A document without its size.
    fn document_row(&self, id: &DocumentId, document: &Document) -> view::DocumentView {
        let changed_at = document.layers().map(|(_, layer)| layer.head().time).max();
        view::DocumentView {
            document: self.replica.document_name(self.core, id),
            owner: did(&id.owner),
            name: id.name.as_str().to_owned(),
            kind: document.kind(),
            bytes: 0,
            hash: String::new(),
            changed_at: changed_at.map(crate::clock::rfc3339),
        }
    }

    /// The layers that are held, with what their authors signed.
    pub fn layers(&self) -> Vec<view::LayerView> {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let layer = |layer: &Layer| {
            let head = layer.head();
            view::LayerView {
                owner: did(&head.layer.document.owner),
                name: head.layer.document.name.as_str().to_owned(),
                author: did(&head.layer.author),
                kind: head.kind,
                sequence: head.sequence.get(),
                time_ms: head.time.ms(),
                audience_sequence: head.audience_sequence.get(),
                root: hex(&head.root.0),
                signature: hex(&layer.signed.signature),
                bytes: layer.content.bytes(),
            }
        };
        self.replica.layers().layers().map(layer).collect()
    }

    /// A document, or the part of it below a key. Of a map only the neighbours of the key are looked at; where it has many entries, who asked
    /// puts them together.
    ///
    /// # Errors
    /// If no document, or no key, has that name.
    pub fn shown(&self, doc: &str, key: Option<&KeyPath>) -> Result<ShownValue, CommandError> {
        let id = self.replica.resolve_document(self.core, doc)?;
        let document = self.replica.document(&id);
        let unknown = || match key {
            None => CommandError::UnknownDocument(doc.to_owned()),
            Some(key) => CommandError::UnknownKey { doc: doc.to_owned(), key: key.to_string() },
        };
        let Some(map) = document.filter(|document| document.kind() == Kind::Map) else {
            let value =
                document.and_then(|document| key.map_or_else(|| document.view(), |key| document.get(key)));
            return value.map(ShownValue::Whole).ok_or_else(unknown);
        };
        let leaves = map.shown_leaves(key);
        match key.is_some() && leaves.is_empty() {
            true => Err(unknown()),
            false if leaves.len() > ANSWER_KEYS_MAX => Ok(ShownValue::Leaves(leaves)),
            false => Ok(ShownValue::Whole(leaves.value())),
        }
    }

    /// Begins to look for the values that lost against a concurrent write, in one document or in all.
    ///
    /// # Errors
    /// If no document has that name.
    pub fn begin_conflicts(&self, doc: Option<&str>) -> Result<ConflictWalk, CommandError> {
        let left = match doc {
            Some(doc) => VecDeque::from([self.replica.resolve_document(self.core, doc)?]),
            None => self.replica.visible().cloned().collect(),
        };
        Ok(ConflictWalk { left, from: None, found: Vec::new() })
    }

    /// Looks at about so many keys more. Returns whether that is all.
    pub fn walk_conflicts(&self, walk: &mut ConflictWalk, keys: usize) -> bool {
        let mut keys = keys;
        while let Some(id) = walk.left.front() {
            // It may have ended meanwhile.
            let document = self.replica.visible_document(id);
            let from = walk.from.take();
            let (found, next) = document.map_or_else(Default::default, |document| {
                document.conflicts_from(from.as_ref(), keys, self.core.reference())
            });
            walk.found.extend(found.into_iter().map(|(key, loser)| conflict_view(id, &key, loser)));
            if next.is_some() {
                walk.from = next;
                return false;
            }
            keys = keys.saturating_sub(document.map_or(0, Document::keys_at_most)).max(1);
            walk.left.pop_front();
        }
        true
    }

    /// The values that lost against a concurrent write, of one document or of all.
    ///
    /// # Errors
    /// If no document has that name.
    pub fn conflicts(&self, doc: Option<&str>) -> Result<Vec<view::ConflictView>, CommandError> {
        let mut walk = self.begin_conflicts(doc)?;
        while !self.walk_conflicts(&mut walk, ANSWER_KEYS_MAX) {}
        Ok(walk.found)
    }

    /// The newest node state of a peer, or of this node.
    ///
    /// # Errors
    /// If no peer has that name, or no state of it has arrived yet.
    pub fn state(&self, peer: Option<&str>) -> Result<view::StateView, CommandError> {
        let me = self.core.me;
        let id = match peer {
            None => me,
            Some(text) if text == self.core.settings.name || text == did(&me) => me,
            Some(text) => self.replica.resolve_peer(text)?,
        };
        self.newest_state(&id).ok_or_else(|| CommandError::NoState(self.name_of(&id)))
    }

    /// The node state to show: a provisional one, if a radio has brought it, else the signed one.
    pub fn newest_state(&self, id: &PeerId) -> Option<view::StateView> {
        let layer = LayerId { document: reserved_document(*id, DocumentName::STATE), author: *id };
        let shown = self.broadcast.provisional(self.core.now(), &layer).and_then(|provisional| {
            Some(view::StateView {
                timestamp: crate::clock::rfc3339(provisional.time),
                provisional: true,
                state: tombolo_delta::from_value(&provisional.value).ok()?,
            })
        });
        shown.or_else(|| self.newest_kept_state(id))
    }

    /// The signed node state, or the one that came by a JSON call where that is newer.
    fn newest_kept_state(&self, id: &PeerId) -> Option<view::StateView> {
        let signed = state_with_brief(self.replica, id);
        let is_member = self.replica.federation().is_member(id);
        let Some(called) = self.calls.state(id).filter(|_| is_member) else { return signed };
        let timestamp = crate::clock::rfc3339(called.time);
        let is_newer = signed.as_ref().is_none_or(|signed| signed.timestamp < timestamp);
        let called = || view::StateView { timestamp, provisional: false, state: called.state.clone() };
        if is_newer { Some(called()) } else { signed }
    }
}

fn conflict_view(id: &DocumentId, key: &KeyPath, loser: Loser) -> view::ConflictView {
    view::ConflictView {
        document: format!("{}/{}", did(&id.owner), id.name.as_str()),
        key: key.to_string(),
        winner: did(&loser.winner),
        loser: did(&loser.author),
        deleted: loser.entry.is_tombstone(),
        written_at: crate::clock::rfc3339(loser.entry.stamp.time()),
        value: loser.entry.value.map(CompactValue::into_value).unwrap_or_default(),
        hidden_by: loser.hidden_by.map(|key| key.to_string()),
    }
}
