//! Local writes that are not signed yet: what gathers between two polls goes under one signature per document.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::Value;

use crate::authoring::draft::DraftedContent;
use crate::io::RequestId;
use crate::io::view::DeletedScope;
use crate::layer::{DocumentId, Entry, KeyPath};
use crate::replica::Restage;

/// Changes of the node's own layer in a map: `Some` puts an entry, `None` drops it.
pub type MapEdits = BTreeMap<KeyPath, Option<Entry>>;

/// Local writes that wait for their signature.
#[derive(Debug, Default)]
pub struct Staged {
    /// Entries to sign in maps, by document.
    pub maps: BTreeMap<DocumentId, MapEdits>,
    /// New contents of own layers in maps that were worked out as one commit, by document.
    pub contents: BTreeMap<DocumentId, Box<DraftedContent>>,
    /// New contents of snapshots, by document.
    pub snapshots: BTreeMap<DocumentId, Value>,
    /// Documents that are signed in one commit, even where a radio has to cut that into fragments.
    pub whole: BTreeSet<DocumentId>,
    /// Requests that are answered once their write is signed and on disk.
    pub replies: Vec<StagedReply>,
}

/// A request that waits for its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedReply {
    /// The request to answer.
    pub request: RequestId,
    /// The document that was written.
    pub document: DocumentId,
    /// What the reply is about.
    pub kind: WriteKind,
}

/// What a staged write was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// A document was written, in so many keys.
    Document {
        /// Keys that have a new value.
        set: usize,
        /// Keys that have none any more.
        deleted: usize,
    },
    /// A document was deleted, or is taken again.
    Deleted {
        /// The document in question.
        document: DocumentId,
        /// The nodes for which the document ends.
        scope: DeletedScope,
    },
    /// The node state was published.
    Published,
}

impl Staged {
    /// Stages entries of the own layer in a map.
    pub fn put_map(
        &mut self,
        document: &DocumentId,
        changes: impl IntoIterator<Item = (KeyPath, Option<Entry>)>,
    ) {
        match self.maps.get_mut(document) {
            Some(staged) => staged.extend(changes),
            None => drop(self.maps.insert(document.clone(), changes.into_iter().collect())),
        }
    }

    /// Stages entries where nothing is staged yet: a newer local write goes first.
    pub fn put_map_below(
        &mut self,
        document: &DocumentId,
        changes: impl IntoIterator<Item = (KeyPath, Option<Entry>)>,
    ) {
        let staged = self.maps.entry(document.clone()).or_default();
        for (key, entry) in changes {
            staged.entry(key).or_insert(entry);
        }
    }

    /// Stages the content of an own snapshot.
    pub fn put_snapshot(&mut self, document: &DocumentId, value: Value) {
        self.snapshots.insert(document.clone(), value);
    }

    /// Stages what a recovered state needs signed above it; newer local writes go first.
    pub fn restage(&mut self, restage: Restage) {
        match restage {
            Restage::Nothing => {}
            Restage::Map(document, changes) => self.put_map_below(&document, changes),
            Restage::Snapshot(document, value) => {
                self.snapshots.entry(document).or_insert(value);
            }
        }
    }

    /// Replies to a request once its write is on disk.
    pub fn reply(&mut self, request: RequestId, document: &DocumentId, kind: WriteKind) {
        self.replies.push(StagedReply { request, document: document.clone(), kind });
    }

    /// Whether something is staged at a key or below it.
    pub fn has_at_or_below(&self, document: &DocumentId, key: &KeyPath) -> bool {
        let staged = self.maps.get(document);
        staged.is_some_and(|changes| changes.range(key..).next().is_some_and(|(k, _)| key.is_prefix_of(k)))
    }

    /// Whether something is staged at a key itself.
    pub fn has_at(&self, document: &DocumentId, key: &KeyPath) -> bool {
        self.maps.get(document).is_some_and(|changes| changes.contains_key(key))
    }

    /// Whether a document may be staged that is not there yet: its first state has no keys.
    pub fn may_create(&self) -> bool {
        self.maps.values().any(BTreeMap::is_empty) || !self.snapshots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::reserved_document;
    use crate::layer::DocumentName;
    use tombolo_transports::PeerId;

    fn key(text: &str) -> KeyPath {
        KeyPath::parse(text).unwrap()
    }

    #[test]
    fn a_recovered_entry_does_not_replace_a_newer_write() {
        let document = reserved_document(PeerId([1; 32]), DocumentName::STATE);
        let mut staged = Staged::default();
        staged.put_snapshot(&document, Value::from(2u64));
        staged.restage(Restage::Snapshot(document.clone(), Value::from(1u64)));
        assert_eq!(staged.snapshots.get(&document), Some(&Value::from(2u64)));
    }

    #[test]
    fn staged_keys_are_found_at_and_below_a_prefix() {
        let document = reserved_document(PeerId([1; 32]), DocumentName::STATE);
        let mut staged = Staged::default();
        staged.put_map(&document, [(key("a/b"), None)]);
        assert!(staged.has_at_or_below(&document, &key("a")));
        assert!(staged.has_at_or_below(&document, &key("a/b")));
        assert!(!staged.has_at_or_below(&document, &key("b")));
        assert!(!staged.may_create());
        staged.put_map(&reserved_document(PeerId([2; 32]), DocumentName::STATE), []);
        assert!(staged.may_create());
    }
}
