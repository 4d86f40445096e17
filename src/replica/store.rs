//! The shared end of both walks: a verified new state of a layer enters memory and the next commit.

use tombolo_transports::PeerId;

use crate::core::Core;
use crate::identity::parse_onion;
use crate::io::Event;
use crate::layer::{
    DocumentId, DocumentName, Kind, Layer, LayerHash, LayerId, MapContent, MapDifference, SignedHead,
};
use crate::replica::{Replaced, Replica};
use crate::store::StoreWrite;
use crate::sync::frontier::State;

/// A layer has a new state: what the engines and watchers need to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The layer that was stored.
    pub id: LayerId,
    /// The state that it has now.
    pub state: State,
    /// Whether the document reads differently now.
    pub reads_differently: bool,
    /// Layers that were dropped with the document, because its owner gave it another kind.
    pub dropped: Vec<LayerHash>,
}

impl Replica {
    /// Drops a document that is held as another kind than its owner signs now. Returns the layers that it had.
    pub(super) fn drop_if_other_kind(&mut self, id: &DocumentId, kind: Kind) -> Vec<LayerHash> {
        match self.document(id).is_some_and(|document| document.kind() != kind) {
            true => self.layers.drop_document(id),
            false => Vec::new(),
        }
    }

    /// Stores an own snapshot as [`store`](Self::store) does. A document of another kind, which a writer can have brought
    /// to life under this name, is dropped first.
    pub fn store_own_snapshot(&mut self, core: &mut Core, layer: Layer) -> Stored {
        let id = layer.head().layer.clone();
        let dropped = self.drop_if_other_kind(&id.document, Kind::Snapshot);
        let replaced = self.layer(&id).map(Replaced::of);
        Stored { dropped, ..self.store(core, layer, replaced, None) }
    }

    /// Takes an own map out, to change it and give it to [`store`](Self::store) or back to
    /// [`put_back_own_map`](Self::put_back_own_map).
    pub fn take_own_map(&mut self, id: &LayerId) -> Option<(SignedHead, MapContent)> {
        self.layers.take_map(id)
    }

    /// Puts an own map back that was not changed after all.
    pub fn put_back_own_map(&mut self, signed: SignedHead, map: MapContent) {
        self.layers.put_back(signed, map);
    }

    /// Takes a layer's new state, verified or just signed, into memory and into the next commit. `replaced` is the
    /// state before, `changed` the keys in which a map differs from it, with their entries; `None` compares all keys.
    pub fn store(
        &mut self,
        core: &mut Core,
        layer: Layer,
        replaced: Option<Replaced>,
        changed: Option<MapDifference>,
    ) -> Stored {
        let reference = core.reference();
        let head = layer.head().clone();
        let id = head.layer.clone();
        let state = State::of(&layer.signed);
        let is_new_document = self.layers.document(&id.document).is_none();
        // What waited for its owner to bring it to life may come now.
        self.rights_changed |= replaced.is_none() && id.author == id.document.owner;
        if replaced.is_none() && !is_new_document {
            // The author may be a writer that is no peer of this node.
            self.set_writers_of(&id.document, Some(id.author), reference);
        }
        let (mut write, reads_differently) = self.layers.put_layer(layer, replaced, changed, reference);
        // What is dropped has no stamp, and of what stayed as it was each was observed when it came.
        let stamps = write.entries.iter().flat_map(|(_, entry)| entry).map(|entry| entry.stamp);
        core.clock.observe(stamps.max().unwrap_or_default());
        write.is_own_map = id.author == core.me && head.kind == Kind::Map;
        let is_peers_state = id.author != core.me && id.document.name.as_str() == DocumentName::STATE;
        match is_peers_state && head.kind == Kind::Snapshot {
            true => core.gate.write_later(core.now(), Box::new(write)),
            false => core.gate.write(StoreWrite::PutLayer(Box::new(write))),
        }
        if is_new_document {
            self.set_writers_of(&id.document, None, reference);
            self.rights_changed = true;
        }
        match id.document.name.as_str() {
            DocumentName::AUDIENCE => {
                self.learn_audience(&id.document.owner);
                self.drop_ended(core, &id.document.owner);
                self.rights_changed = true;
            }
            DocumentName::STATE if id.author != core.me => self.learn_from_state(core, &id.author),
            _ => {}
        }
        Stored { id, state, reads_differently, dropped: Vec::new() }
    }

    /// The name that a peer gives itself in its node state, and its onion address, where it is another than at the join.
    fn learn_from_state(&mut self, core: &mut Core, author: &PeerId) {
        let Some((_, state)) = self.node_state(author) else { return };
        let name = state.node_name.filter(|name| !name.is_empty());
        let name = name.and_then(|name| crate::federation::name::usable_name(&name));
        let onion = state.onion.filter(|onion| parse_onion(onion).is_some());
        let Some(peer) = self.federation.peer_mut(author) else { return };
        let moved = onion.as_ref().is_some_and(|onion| peer.onion != *onion);
        if (name.is_some() && peer.own_name != name) || moved {
            peer.own_name = name.or_else(|| peer.own_name.take());
            peer.onion = onion.unwrap_or_else(|| std::mem::take(&mut peer.onion));
            core.gate.write(StoreWrite::PutPeer(peer.clone()));
        }
        if moved {
            core.event(Event::PeersChanged);
        }
    }
}
