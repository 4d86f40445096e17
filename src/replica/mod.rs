//! The replica: what this node holds of its federation's documents, and who counts in them.
//!
//! It owns the layers with their histories, the audiences and peers that decide about rights, evidence of forks, large
//! layers on their way in, and the recovery of the node's own state. Every layer of another author enters through
//! [`Replica::apply`], whatever link or radio brought it; own layers enter through [`Replica::store`], signed by
//! `authoring`. Both end in `store`, which updates memory, queues the write and returns what changed, as [`Stored`].
//!
//! It sends nothing and knows no link: the node hands a [`Stored`] on to the engines.
//!
//! Invariants:
//! - a layer takes effect only if its root and signature hold and the owner's audience admits its author;
//! - the content held of a layer always has the root that its head was signed over;
//! - an own state that was not signed here is joined with what is held, never buried.
//!
//! | file | what |
//! |---|---|
//! | `apply` | the one gate for layers of others |
//! | `base` | from a delta to a candidate state, on the base that it names |
//! | `store` | a new state enters memory and the next commit |
//! | `layers`, `history`, `change_log` | layers held, the older states that deltas start from, when keys changed |
//! | `rights` | audiences, writers, peers |
//! | `serve` | what a peer may have, and the deltas and parts that lead there |
//! | `recovery` | own states that this disk does not have |
//! | `time` | quarantine, tombstones, a clock that steps back |
//! | `names` | documents and peers by the names that people use |
//! | `ending` | documents that their owner ends, or that are forgotten here |

mod announce;
mod apply;
mod base;
mod change_log;
mod ending;
mod history;
mod layers;
mod names;
mod recovery;
mod rights;
mod serve;
mod states;
mod store;
mod time;

use tombolo_transports::PeerId;

pub use apply::{ApplyOutcome, Arriving, Origin, Reclaimed, Recovered};
pub use change_log::ChangesSeen;
pub use history::KnownBase;
pub use layers::{Layers, PeersMemory};
pub use recovery::{OwnStateClaim, Recovery, Restage};
pub use states::{LayerSize, Replaced};
pub use store::Stored;

use crate::clock::Timestamp;
use crate::core::Core;
use crate::federation::Federation;
use crate::io::NodeState;
use crate::layer::{Content, DocumentId, DocumentName, ForkEvidence, Layer, LayerHash, LayerId, Sequence};
use crate::merge::Document;
use crate::store::{Loaded, StoreError, StoredLayer};
use crate::sync::frontier::{Frontier, State};
use crate::sync::transfer::Transfers;
use crate::time::{Mono, Wall};

/// The documents of a federation as one node holds them.
#[derive(Debug)]
pub struct Replica {
    federation: Federation,
    layers: Layers,
    transfers: Transfers,
    recovery: Recovery,
    forks: Vec<ForkEvidence>,
    /// Peers, levels or audiences changed since rights were last renewed.
    rights_changed: bool,
    /// When tombstones are swept next.
    sweep_at: Mono,
}

impl Replica {
    /// The replica of a node that holds nothing, at this instant.
    pub fn new(me: PeerId, now: Mono) -> Self {
        Replica {
            federation: Federation::new(me),
            layers: Layers::default(),
            transfers: Transfers::default(),
            recovery: Recovery::default(),
            forks: Vec::new(),
            rights_changed: true,
            sweep_at: now,
        }
    }

    /// Takes peers, layers and forks from disk, in place of what memory holds. Recovery that is under way goes on.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a layer's content does not have its signed root.
    pub fn load(&mut self, core: &mut Core, loaded: &mut Loaded) -> Result<(), StoreError> {
        self.recovery.load(&loaded.meta);
        self.federation = Federation::new(core.me);
        for peer in std::mem::take(&mut loaded.peers) {
            self.federation.put_peer(peer);
        }
        let newest_own = newest_own_stamp(&loaded.layers, &core.me);
        core.clock.load(newest_own);
        let reference = core.reference();
        let stamps = loaded.layers.iter().flat_map(|layer| &layer.entries).filter_map(|(_, e, _)| e.as_ref());
        for entry in stamps {
            // New stamps go above every stamp on disk.
            core.clock.observe(entry.stamp);
        }
        self.layers =
            Layers::load(std::mem::take(&mut loaded.layers), reference).map_err(StoreError::Damaged)?;
        self.forks = std::mem::take(&mut loaded.forks);
        core.clock.put_right();
        self.transfers = Transfers::default();
        self.federation.set_forgotten(ending::read_forgotten(&loaded.meta));
        self.drop_given_up(core);
        let owners: Vec<_> = self.layers.documents().map(|(id, _)| id.owner).collect();
        for owner in owners {
            self.learn_audience(&owner);
            self.drop_ended(core, &owner);
        }
        let reference = core.reference();
        let writers = self.all_writers();
        self.layers.change_documents(|id, document| {
            document.set_writers(writers.get(&id.owner).cloned().unwrap_or_default(), reference);
            let reads_differently = document.release(reference);
            document.forget_changes();
            reads_differently
        });
        self.rights_changed = true;
        Ok(())
    }

    /// Peers and audiences: who may do what.
    pub fn federation(&self) -> &Federation {
        &self.federation
    }

    /// The layers with their histories.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// A document that is held.
    pub fn document(&self, id: &DocumentId) -> Option<&Document> {
        self.layers.document(id)
    }

    /// A layer that is held.
    pub fn layer(&self, id: &LayerId) -> Option<&Layer> {
        self.layers.layer(id)
    }

    /// The state of a layer that is held.
    pub fn state(&self, id: &LayerId) -> Option<State> {
        self.layer(id).map(|layer| State::of(&layer.signed))
    }

    /// The layer that a short name stands for.
    pub fn layer_id(&self, layer: &LayerHash) -> Option<LayerId> {
        self.layers.layer_of_hash(layer).map(|layer| layer.head().layer.clone())
    }

    /// The pairs that no later state of their layer has ended yet: in step again, an author is no case for an operator.
    pub fn open_forks(&self) -> impl Iterator<Item = &ForkEvidence> {
        self.forks.iter().filter(|fork| {
            let head = &fork.higher.head;
            let is_gone = self.federation.is_ended(&head.layer.document, head.audience_sequence);
            !is_gone && self.layer(&head.layer).is_none_or(|held| held.head().sequence <= head.sequence)
        })
    }

    /// Pairs of states that one author signed with one sequence.
    pub fn forks(&self) -> &[ForkEvidence] {
        &self.forks
    }

    /// The recovery of this node's own state.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The same, to make writes wait or to release them.
    pub fn recovery_mut(&mut self) -> &mut Recovery {
        &mut self.recovery
    }

    /// Keeps a base that is in use by radio, whatever newer states come.
    pub fn pin_base(&mut self, id: &LayerId, sequence: Sequence) {
        self.layers.pin_base(id, sequence);
    }

    /// Everything held, as the engine counts it.
    pub fn frontier(&self) -> Frontier {
        let mut held = Frontier::default();
        for layer in self.layers.layers() {
            held.set(layer.head().layer.hash(), Some(State::of(&layer.signed)));
        }
        held
    }

    /// Whether rights changed since this was last called.
    pub fn take_rights_changed(&mut self) -> bool {
        std::mem::take(&mut self.rights_changed)
    }

    /// Marks rights as changed: peers, levels or audiences are not as before.
    pub fn rights_changed(&mut self) {
        self.rights_changed = true;
    }

    /// The newest signed node state held of an identity, with its signed time.
    pub fn node_state(&self, owner: &PeerId) -> Option<(Wall, NodeState)> {
        let document = crate::core::reserved_document(*owner, DocumentName::STATE);
        if !self.federation.participates(&document) {
            return None;
        }
        let layer = self.layer(&LayerId { document, author: *owner })?;
        let Content::Snapshot(value) = &layer.content else { return None };
        Some((layer.head().time, tombolo_delta::from_value(&value.get()).ok()?))
    }
}

/// The newest time that an identity's stored layers carry.
fn newest_own_stamp(layers: &[StoredLayer], me: &PeerId) -> Timestamp {
    let own = layers.iter().filter(|layer| layer.signed.head.layer.author == *me);
    let stamps = own.flat_map(|layer| {
        let entries = layer.entries.iter().filter_map(|(_, entry, _)| entry.as_ref());
        entries.map(|entry| entry.stamp).chain([Timestamp::new(layer.signed.head.time, 0)])
    });
    stamps.max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
