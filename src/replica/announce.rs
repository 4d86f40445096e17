//! What watchers learn of documents: which of them reads differently, and in which keys.

use tombolo_transports::PeerId;

use crate::core::Core;
use crate::io::{Event, view};
use crate::layer::{DocumentId, Sequence};
use crate::replica::Replica;

impl Replica {
    /// Informs watchers that a document reads differently, by the new state of an author's layer; by none where rights or time
    /// changed what is read.
    pub fn announce(&mut self, core: &mut Core, id: &DocumentId, by: Option<(PeerId, Sequence)>) {
        let changes = self.layers.take_changes(id);
        let (author, sequence) = by.unwrap_or((id.owner, Sequence::NONE));
        let [owner_did, author_did] = [&id.owner, &author].map(|node| core.did_again(node));
        core.event(Event::Changed(view::ChangedView {
            document: self.document_name(core, id),
            owner: owner_did,
            name: id.name.as_str().to_owned(),
            author: author_did,
            by: self.name_of(core, &author),
            sequence: sequence.get(),
            keys: changes.keys,
            more: changes.has_more,
        }));
    }

    /// Informs watchers that documents read differently, though no author wrote.
    pub fn announce_by_time(&mut self, core: &mut Core, documents: &[DocumentId]) {
        for id in documents {
            self.announce(core, id, None);
        }
    }
}
