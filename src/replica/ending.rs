//! The end of documents: those that their owner ends, by its audience, and those of peers that the operator has
//! forgotten or given up here.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::{Limits, Value};
use tombolo_transports::PeerId;

use crate::core::Core;
use crate::federation::Audience;
use crate::federation::ends::DocumentEnd;
use crate::io::{CommandError, Event, Quota, view};
use crate::layer::{DocumentId, DocumentName, Layer, LayerId, Sequence};
use crate::limits::FORGOTTEN_MAX;
use crate::replica::Replica;
use crate::store::StoreWrite;

/// The small record of what is forgotten here: `[[owner, name], …]`, deterministic CBOR.
const FORGOTTEN_RECORD: &str = "forgotten";

impl Replica {
    /// Whether a document's owner has brought it to life: its layer is held.
    pub(super) fn is_alive(&self, id: &DocumentId) -> bool {
        self.document(id).is_some_and(|document| document.layer(&id.owner).is_some())
    }

    /// The audience with which this node ends one of its documents, and the brief of it.
    ///
    /// # Errors
    /// [`CommandError::Limit`] where too many have ended.
    pub fn audience_without(&self, core: &mut Core, id: &DocumentId) -> Result<Audience, CommandError> {
        let federation = self.federation();
        let audience = federation.audience(&core.me).cloned();
        let mut audience = audience.unwrap_or_else(|| Audience::new(core.random.bytes(), []));
        let signed = federation.audience_sequence(&core.me);
        let since = signed.next().unwrap_or(signed);
        for name in [Some(id.name.clone()), id.name.brief()].into_iter().flatten() {
            let document = DocumentId { owner: id.owner, name };
            let layer = LayerId { document, author: id.owner };
            let Some(last) = self.layer(&layer).map(|layer| layer.head().sequence) else { continue };
            if audience.ends_are_full() {
                return Err(CommandError::Limit(Quota::Ends));
            }
            audience = audience.with_end(&layer.document.name, DocumentEnd { since, last });
        }
        Ok(audience)
    }

    /// The sequence above which the owner's layer of a document begins: an ended one of that name had it.
    pub fn ended_at(&self, id: &LayerId) -> Sequence {
        let audience = self.federation.audience(&id.document.owner);
        let audience = audience.filter(|_| id.author == id.document.owner);
        let end = audience.and_then(|audience| audience.end_of(&id.document.name));
        end.map_or(Sequence::NONE, |end| end.last)
    }

    /// Drops the documents that an owner's audience, as held, has ended.
    pub(super) fn drop_ended(&mut self, core: &mut Core, owner: &PeerId) {
        let is_over = |layer: &&Layer| {
            let (document, signed_under) = (&layer.head().layer.document, layer.head().audience_sequence);
            document.owner == *owner
                && document.name.as_str() != DocumentName::AUDIENCE
                && self.federation.is_ended(document, signed_under)
        };
        let over = self.layers.layers().filter(is_over);
        let over: Vec<LayerId> = over.map(|layer| layer.head().layer.clone()).collect();
        self.drop_layers(core, &over);
    }

    /// Drops the documents in which the levels of peers leave this node no part: all of those that are none or are untrusted, and of
    /// those that it only observes what they made. What this node itself has signed in them stays, hidden, since its sequences are
    /// used.
    pub fn drop_given_up(&mut self, core: &mut Core) {
        let is_gone = |id: &LayerId| id.author != core.me && self.federation.is_given_up(&id.document);
        let gone = self.layers.layers().map(|layer| &layer.head().layer).filter(|id| is_gone(id));
        let gone: Vec<LayerId> = gone.cloned().collect();
        for id in &gone {
            self.drop_layer(core, id);
            if id.document.name.as_str() == DocumentName::AUDIENCE {
                self.federation.forget_audience(&id.document.owner);
            }
        }
        self.rights_changed |= !gone.is_empty();
    }

    /// Keeps nothing of a peer's document from now on. What this node itself has signed in it stays, hidden, since its sequences
    /// are used.
    ///
    /// # Errors
    /// [`CommandError::Limit`] where too many are forgotten.
    pub fn forget(&mut self, core: &mut Core, id: &DocumentId) -> Result<(), CommandError> {
        let mut forgotten = self.federation.forgotten().clone();
        if forgotten.len() >= FORGOTTEN_MAX {
            return Err(CommandError::Limit(Quota::Forgotten));
        }
        forgotten.insert(id.clone());
        self.set_forgotten(core, forgotten);
        let layers = self.document(id).into_iter().flat_map(|document| document.layers());
        let authors = layers.map(|(author, _)| *author).filter(|author| *author != core.me);
        let layers: Vec<LayerId> = authors.map(|author| LayerId { document: id.clone(), author }).collect();
        self.drop_layers(core, &layers);
        Ok(())
    }

    /// Takes a forgotten document again, named by `peer/name`. It comes when its owner or another reader is met.
    ///
    /// # Errors
    /// [`CommandError::UnknownDocument`] if none is forgotten that is called so, or those of
    /// [`resolve_peer`](Self::resolve_peer).
    pub fn remember(&mut self, core: &mut Core, text: &str) -> Result<DocumentId, CommandError> {
        let unknown = || CommandError::UnknownDocument(text.to_owned());
        let (owner, name) = text.rsplit_once('/').ok_or_else(unknown)?;
        let owner = self.resolve_peer(owner)?;
        let mut forgotten = self.federation.forgotten().clone();
        let id = forgotten.iter().find(|id| id.owner == owner && id.name.as_str() == name);
        let id = id.cloned().ok_or_else(unknown)?;
        forgotten.remove(&id);
        self.set_forgotten(core, forgotten);
        Ok(id)
    }

    fn set_forgotten(&mut self, core: &mut Core, forgotten: BTreeSet<DocumentId>) {
        let record = tombolo_delta::to_cbor(&forgotten_value(&forgotten));
        core.gate.write(StoreWrite::PutMeta(FORGOTTEN_RECORD.into(), record));
        self.federation.set_forgotten(forgotten);
        self.rights_changed = true;
    }

    fn drop_layers(&mut self, core: &mut Core, layers: &[LayerId]) {
        let mut gone = BTreeSet::new();
        for id in layers {
            if self.drop_layer(core, id) {
                gone.insert(&id.document);
            }
        }
        for document in gone {
            core.event(Event::Ended(view::EndedView {
                document: self.document_name(core, document),
                owner: crate::identity::did(&document.owner),
                name: document.name.as_str().to_owned(),
            }));
        }
        self.rights_changed |= !layers.is_empty();
    }

    /// Drops a layer from memory and disk. Returns whether it was held.
    fn drop_layer(&mut self, core: &mut Core, id: &LayerId) -> bool {
        let was_held = self.layers.drop_layer(id, core.reference());
        if was_held {
            self.transfers.end(&id.hash());
            core.gate.write(StoreWrite::RemoveLayer(id.clone()));
        }
        was_held
    }
}

fn forgotten_value(forgotten: &BTreeSet<DocumentId>) -> Value {
    let row = |id: &DocumentId| {
        Value::Array(vec![Value::Bytes(id.owner.0.to_vec()), Value::from(id.name.as_str())])
    };
    Value::Array(forgotten.iter().map(row).collect())
}

/// What is forgotten, from the small records of a store.
pub(super) fn read_forgotten(meta: &BTreeMap<String, Vec<u8>>) -> BTreeSet<DocumentId> {
    let value =
        meta.get(FORGOTTEN_RECORD).and_then(|bytes| tombolo_delta::from_cbor(bytes, &Limits::default()).ok());
    let read = |row: &Value| {
        let [owner, name] = row.as_array()? else { return None };
        let owner = PeerId(owner.as_bytes()?.try_into().ok()?);
        Some(DocumentId { owner, name: DocumentName::new(name.as_text()?).ok()? })
    };
    value.iter().filter_map(Value::as_array).flatten().filter_map(read).collect()
}
