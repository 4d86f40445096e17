//! Documents, their values and conflicts, and node states.

use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::authoring::state_with_brief;
use crate::core::reserved_document;
use crate::identity::did;
use crate::io::{CommandError, view};
use crate::layer::{CompactValue, DocumentId, DocumentName, KeyPath, Layer, LayerId};
use crate::merge::{Document, version_of};
use crate::report::NodeReport;
use crate::time::Wall;

impl NodeReport<'_> {
    /// All documents that this node participates in, as `ls` shows them.
    pub fn documents(&self) -> Vec<view::DocumentView> {
        let mut changed: BTreeMap<&DocumentId, Wall> = BTreeMap::new();
        for layer in self.replica.layers().layers() {
            let newest = changed.entry(&layer.head().layer.document).or_default();
            *newest = layer.head().time.max(*newest);
        }
        let documents = self.replica.visible().filter_map(|id| Some((id, self.replica.document(id)?)));
        documents
            .filter_map(|(id, document)| {
                let cbor = tombolo_delta::to_cbor(&document.view()?);
                Some(view::DocumentView {
                    document: self.replica.document_name(self.core, id),
                    owner: did(&id.owner),
                    name: id.name.as_str().to_owned(),
                    kind: document.kind(),
                    bytes: cbor.len(),
                    hash: blake3::hash(&cbor).to_hex().to_string(),
                    changed_at: changed.get(id).copied().map(crate::clock::rfc3339),
                })
            })
            .collect()
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

    /// A document, or the part of it below a key.
    ///
    /// # Errors
    /// If no document, or no key, has that name.
    pub fn value(&self, doc: &str, key: Option<&KeyPath>) -> Result<Value, CommandError> {
        let id = self.replica.resolve_document(self.core, doc)?;
        let document = self.replica.document(&id);
        match key {
            None => {
                let unknown = || CommandError::UnknownDocument(doc.to_owned());
                document.and_then(Document::view).ok_or_else(unknown)
            }
            // Looks at the key's neighbours only: the document is not assembled.
            Some(key) => {
                let unknown = || CommandError::UnknownKey { doc: doc.to_owned(), key: key.to_string() };
                document.and_then(|document| document.get(key)).ok_or_else(unknown)
            }
        }
    }

    /// A document with its version.
    ///
    /// # Errors
    /// If no document has that name.
    pub fn versioned(&self, doc: &str) -> Result<view::VersionedView, CommandError> {
        let value = self.value(doc, None)?;
        Ok(view::VersionedView { version: version_of(&value), value })
    }

    /// The values that lost against a concurrent write, of one document or of all.
    ///
    /// # Errors
    /// If no document has that name.
    pub fn conflicts(&self, doc: Option<&str>) -> Result<Vec<view::ConflictView>, CommandError> {
        let only = doc.map(|doc| self.replica.resolve_document(self.core, doc)).transpose()?;
        let reference = self.core.reference();
        let ids = self.replica.visible().filter(|id| only.as_ref().is_none_or(|only| only == *id));
        let documents = ids.filter_map(|id| Some((id, self.replica.document(id)?)));
        let found = documents.flat_map(|(id, document)| {
            document.conflicts(reference).into_iter().map(move |(key, loser)| (id, key, loser))
        });
        let view = |(id, key, loser): (&DocumentId, KeyPath, crate::merge::Loser)| view::ConflictView {
            document: format!("{}/{}", did(&id.owner), id.name.as_str()),
            key: key.to_string(),
            winner: did(&loser.winner),
            loser: did(&loser.author),
            deleted: loser.entry.is_tombstone(),
            written_at: crate::clock::rfc3339(loser.entry.stamp.time()),
            value: loser.entry.value.map(CompactValue::into_value).unwrap_or_default(),
            hidden_by: loser.hidden_by.map(|key| key.to_string()),
        };
        Ok(found.map(view).collect())
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
