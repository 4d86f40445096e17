//! What a peer may have of the layers held, and what leads it there: deltas on a base that both hold, and the parts of
//! large layers.

use tombolo_delta::Context;
use tombolo_transports::PeerId;

use crate::envelope::{BaseRef, Change, CompactEnvelope, Envelope, address_byte};
use crate::layer::{Content, DocumentName, LayerHash, LayerId, MapContent};
use crate::limits::WHOLE_LAYER_BYTES_MAX;
use crate::merge::map_of;
use crate::replica::Replica;
use crate::replica::history::KnownBase;
use crate::sync::frontier::{Frontier, State};
use crate::sync::message::{Message, TransferId};

impl Replica {
    /// What one peer may see of what is held.
    pub fn frontier_for(&self, peer: &PeerId) -> Frontier {
        let mut frontier = Frontier::default();
        for layer in self.layers.layers() {
            let head = layer.head();
            // What this node has written itself it holds also where it takes part no more.
            let is_held = head.layer.author == self.federation.me()
                || self.federation.participates(&head.layer.document);
            if is_held && self.federation.may_receive(peer, &head.layer, head.audience_sequence) {
                frontier.set(head.layer.hash(), Some(State::of(&layer.signed)));
            }
        }
        frontier
    }

    /// Whether a peer may have the present state of a layer.
    pub fn may_receive(&self, peer: &PeerId, id: &LayerId) -> bool {
        self.federation.participates(&id.document)
            && self
                .layer(id)
                .is_some_and(|layer| self.federation.may_receive(peer, id, layer.head().audience_sequence))
    }

    /// A peer's question for layers in the order in which they can be taken: those that list who reads and writes, then those of
    /// the owners, which bring documents to life, then those of other writers.
    pub fn rights_first(
        &self,
        mut wants: Vec<(LayerHash, Option<State>)>,
    ) -> Vec<(LayerHash, Option<State>)> {
        let turn = |hash: &LayerHash| {
            let layer = self.layers.layer_of_hash(hash).map(|layer| &layer.head().layer);
            match layer {
                Some(id) if id.document.name.as_str() == DocumentName::AUDIENCE => 0,
                Some(id) if id.author == id.document.owner => 1,
                _ => 2,
            }
        };
        wants.sort_by_cached_key(|(hash, _)| turn(hash));
        wants
    }

    /// The message that brings a peer to a layer's present state: a delta where it holds a base that is held here as
    /// well, else the whole layer. `None` if the peer may not have it.
    pub fn supply(&self, peer: &PeerId, id: &LayerId, held: Option<State>) -> Option<Message> {
        let base = held.filter(|base| self.layers.fits_delta(id, *base));
        let delta = base.and_then(|base| self.delta_for(id, base));
        let layer = self.layer(id)?;
        if !self.federation.may_receive(peer, id, layer.head().audience_sequence) {
            return None;
        }
        let whole = || Message::Whole(Box::new(Envelope::seal(layer)));
        let whole_max = layer.content.bytes().min(WHOLE_LAYER_BYTES_MAX);
        let compact = delta.and_then(|envelope| envelope.packed_for_link());
        // Much may have changed since the base: then the whole may be the shorter message.
        let compact = compact.filter(|compact| compact.delta.len() <= whole_max);
        Some(compact.map_or_else(whole, |compact| Message::Compact(Box::new(compact))))
    }

    /// The delta from a base to the present state of a layer; `None` if the base is not held.
    pub fn delta_for(&self, id: &LayerId, base: State) -> Option<CompactEnvelope<Change<'_>>> {
        let layer = self.layer(id)?;
        let head = layer.head();
        let (base_time, base_audience, delta) = match self.layers.known_base(id, base)? {
            KnownBase::Snapshot(past, value) => {
                let Content::Snapshot(target) = &layer.content else { return None };
                let context = Context {
                    base_sequence: past.sequence.get(),
                    sequence: head.sequence.get(),
                    base_time_ms: past.time.ms(),
                    time_ms: head.time.ms(),
                };
                let change = Change::Snapshot { base: value, target: target.get(), context };
                (past.time, past.audience_sequence, change)
            }
            KnownBase::Map { changes, time, audience_sequence } => {
                (time, audience_sequence, Change::Map { changes, time: head.time })
            }
        };
        Some(CompactEnvelope {
            base: BaseRef {
                distance: head.sequence.get().checked_sub(base.sequence.get()).filter(|d| *d > 0)?,
                root_prefix: [base.root_prefix[0], base.root_prefix[1]],
                is_short: false,
            },
            address: Some(address_byte(id)),
            time_step_ms: i64::try_from(head.time.ms()).ok()? - i64::try_from(base_time.ms()).ok()?,
            audience_step: i64::try_from(head.audience_sequence.get()).ok()?
                - i64::try_from(base_audience.get()).ok()?,
            signature: layer.signed.signature,
            delta,
        })
    }

    /// Answers a question for parts of a large layer. `None` if the peer may not have it, or if a newer state has
    /// replaced the one in question: the next heartbeat shows that.
    pub fn answer_transfer(
        &self,
        peer: &PeerId,
        id: &TransferId,
        answer: impl FnOnce(&MapContent) -> Message,
    ) -> Option<Message> {
        let layer = self.layers.layer_of_hash(&id.layer)?;
        let head = layer.head();
        let may = self.federation.may_receive(peer, &head.layer, head.audience_sequence);
        map_of(layer).filter(|_| may && head.root == id.root).map(answer)
    }
}
