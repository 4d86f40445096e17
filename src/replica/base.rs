//! From a delta to a candidate state: finds the base that the delta names, applies it and verifies the signature.
//!
//! A delta names its base by two bytes of its root, by radio by one, and its layer by a byte or not at all. Several states
//! may fit by chance, so each is tried until one makes the root that the author signed.

use std::borrow::Cow;

use tombolo_delta::{Context, Value};

use crate::envelope::{Base, Carried, CompactEnvelope};
use crate::layer::{Content, Layer, LayerId, MapChange, MapContent, MapDifference, Sequence, SignedHead};
use crate::replica::apply::Origin;
use crate::replica::{LayerSize, Replaced, Replica};
use crate::time::Wall;

/// A verified new state of a layer that has not taken effect yet.
#[derive(Debug)]
pub(super) enum VerifiedState {
    /// Beside the state that is held, with the keys in which they differ, if known.
    Whole(Box<Layer>, Option<MapDifference>),
    /// A map that is taken out of the replica and changed in place: a large map is never copied for a small change.
    InPlace(Box<InPlace>),
}

/// A map layer with its changes applied, and how to undo them.
#[derive(Debug)]
pub(super) struct InPlace {
    pub(super) signed: SignedHead,
    map: MapContent,
    before: SignedHead,
    change: MapChange,
}

impl VerifiedState {
    pub(super) fn whole(layer: Layer) -> Self {
        VerifiedState::Whole(Box::new(layer), None)
    }

    pub(super) fn signed(&self) -> &SignedHead {
        match self {
            VerifiedState::Whole(layer, _) => &layer.signed,
            VerifiedState::InPlace(change) => &change.signed,
        }
    }

    pub(super) fn size(&self) -> LayerSize {
        match self {
            VerifiedState::Whole(layer, _) => LayerSize::of(&layer.content),
            VerifiedState::InPlace(change) => LayerSize::of_map(&change.map),
        }
    }

    /// The head that it would replace.
    pub(super) fn held(&self, replica: &Replica) -> Option<SignedHead> {
        match self {
            VerifiedState::Whole(layer, _) => {
                replica.layer(&layer.head().layer).map(|held| held.signed.clone())
            }
            VerifiedState::InPlace(change) => Some(change.before.clone()),
        }
    }

    /// It takes effect: the new layer, what it replaces, and the keys in which they differ with their entries, if known.
    pub(super) fn accept(self, replica: &Replica) -> (Layer, Option<Replaced>, Option<MapDifference>) {
        match self {
            VerifiedState::Whole(layer, changed) => {
                let replaced = replica.layer(&layer.head().layer).map(Replaced::of);
                (*layer, replaced, changed)
            }
            VerifiedState::InPlace(in_place) => {
                let InPlace { signed, map, before, change } = *in_place;
                let layer = Layer { signed, content: Content::Map(map) };
                (layer, Some(Replaced::in_place(before)), Some(change.now.into()))
            }
        }
    }

    /// It does not take effect: the replica holds its old state again.
    pub(super) fn reject(self, replica: &mut Replica) {
        if let VerifiedState::InPlace(change) = self {
            change.undo(replica);
        }
    }

    /// It is set aside as a layer of its own; the replica holds its old state again.
    pub(super) fn set_aside(self, replica: &mut Replica) -> Layer {
        match self {
            VerifiedState::Whole(layer, _) => *layer,
            VerifiedState::InPlace(change) => {
                let content = Content::Map(change.map.clone());
                let layer = Layer { signed: change.signed.clone(), content };
                change.undo(replica);
                layer
            }
        }
    }
}

impl InPlace {
    fn undo(self, replica: &mut Replica) {
        let mut map = self.map;
        map.undo(self.change);
        replica.layers.put_back(self.before, map);
    }
}

/// What a delta turns out to be.
#[derive(Debug)]
pub(super) enum Resolved {
    /// A state that its author signed.
    New(VerifiedState),
    /// The state that is held.
    Known(SignedHead),
    /// If it is of a layer held here, it repeats a state that has been replaced.
    Old,
    /// No base that is held makes the signed root; `tried` is how many fitted by their digest.
    NoBase { tried: usize },
}

/// What became of a delta on one base.
enum DeltaAttempt {
    Fits(VerifiedState),
    /// The base fits by its digest, and the result is not what was signed.
    Wrong,
    Old,
    Known(SignedHead),
}

/// A state of a layer that a delta may start from.
enum StartsFrom {
    Present,
    PastSnapshot,
    PastMap,
}

/// A base to try: its layer, what of its head the envelope refers to, and its content.
struct Start {
    id: LayerId,
    sequence: Sequence,
    time: Wall,
    audience_sequence: Sequence,
    from: StartsFrom,
}

impl Start {
    fn base(&self) -> Base<'_> {
        Base {
            layer: &self.id,
            sequence: self.sequence,
            time: self.time,
            audience_sequence: self.audience_sequence,
        }
    }
}

impl Replica {
    /// Tries a delta on every base that it may name, as many as the origin allows.
    pub(super) fn resolve(&mut self, origin: &Origin, envelope: &CompactEnvelope<&dyn Carried>) -> Resolved {
        let (mut tried, mut is_old) = (0, false);
        for start in self.starts(origin, envelope) {
            if tried >= origin.base_candidates_max() {
                break;
            }
            match self.attempt(origin, envelope, start) {
                DeltaAttempt::Fits(candidate) => return Resolved::New(candidate),
                DeltaAttempt::Known(signed) => return Resolved::Known(signed),
                DeltaAttempt::Wrong => tried += 1,
                DeltaAttempt::Old => is_old = true,
            }
        }
        if is_old { Resolved::Old } else { Resolved::NoBase { tried } }
    }

    /// The states that a delta may start from: present ones first, then older ones; of each, those of its sender's own
    /// layers first. A radio frame concerns one owner's documents only.
    fn starts(&self, origin: &Origin, envelope: &CompactEnvelope<&dyn Carried>) -> Vec<Start> {
        let fits = |prefix: &[u8]| envelope.base.fits(prefix);
        let (mut present, mut older) = (Vec::new(), Vec::new());
        for layer in self.layers.layers_at(envelope.address) {
            let head = layer.head();
            if origin.channel().is_some_and(|channel| channel != head.layer.document.owner) {
                continue;
            }
            let id = || head.layer.clone();
            if fits(&head.root.0) {
                let (sequence, time, audience_sequence) = (head.sequence, head.time, head.audience_sequence);
                present.push(Start {
                    id: id(),
                    sequence,
                    time,
                    audience_sequence,
                    from: StartsFrom::Present,
                });
            }
            older.extend(self.layers.past_snapshots(&head.layer, fits).into_iter().map(|past| Start {
                id: id(),
                sequence: past.sequence,
                time: past.time,
                audience_sequence: past.audience_sequence,
                from: StartsFrom::PastSnapshot,
            }));
            older.extend(self.layers.map_bases(&head.layer, fits).into_iter().map(|base| Start {
                id: id(),
                sequence: base.sequence,
                time: base.time,
                audience_sequence: base.audience_sequence,
                from: StartsFrom::PastMap,
            }));
        }
        for starts in [&mut present, &mut older] {
            starts.sort_by_key(|start| start.id.author != origin.peer());
        }
        present.extend(older);
        present
    }

    fn attempt(
        &mut self,
        origin: &Origin,
        envelope: &CompactEnvelope<&dyn Carried>,
        start: Start,
    ) -> DeltaAttempt {
        let Some(layer) = self.layers.layer(&start.id) else { return DeltaAttempt::Wrong };
        let present = layer.head().sequence;
        let base = start.base();
        let (Some(sequence), Some(time)) = (envelope.sequence_on(&base), envelope.time_on(&base)) else {
            return DeltaAttempt::Wrong;
        };
        // A digest of one byte may fit by chance: there the signature decides this too.
        if sequence < present && !envelope.base.is_short {
            return DeltaAttempt::Old;
        }
        if sequence == present && envelope.signature == layer.signed.signature {
            return DeltaAttempt::Known(layer.signed.clone());
        }
        if sequence == present && matches!(start.from, StartsFrom::PastMap) {
            return DeltaAttempt::Wrong;
        }
        let snapshot = match (&layer.content, &start.from) {
            (Content::Snapshot(value), StartsFrom::Present) => value.get(),
            (Content::Snapshot(_), StartsFrom::PastSnapshot) => {
                // Decoded one at a time, as often as a base may be tried: nothing is proved yet.
                let Some(value) = self.layers.past_value(&start.id, start.sequence) else {
                    return DeltaAttempt::Wrong;
                };
                Cow::Owned(value)
            }
            (Content::Snapshot(_), StartsFrom::PastMap) => return DeltaAttempt::Wrong,
            (Content::Map(_), _) => return self.attempt_map(envelope, &start, time),
        };
        let attempt = attempt_snapshot(envelope, &base, &snapshot, (sequence, time));
        if matches!(attempt, DeltaAttempt::Fits(_)) && origin.is_radio() {
            // An author uses one base on air for a while.
            self.layers.pin_base(&start.id, start.sequence);
        }
        attempt
    }

    /// Changes the map in place. Where the base is older than the present state, the changes since then include all
    /// between the two.
    fn attempt_map(
        &mut self,
        envelope: &CompactEnvelope<&dyn Carried>,
        start: &Start,
        time: Wall,
    ) -> DeltaAttempt {
        let Ok(changes) = envelope.delta.changes(time) else { return DeltaAttempt::Wrong };
        let Some((before, mut map)) = self.layers.take_map(&start.id) else { return DeltaAttempt::Wrong };
        let Ok(change) = map.change(changes) else {
            self.layers.put_back(before, map);
            return DeltaAttempt::Wrong;
        };
        let content = Content::Map(map);
        let signed = signed_on(envelope, &start.base(), &content);
        let Content::Map(map) = content else { unreachable!("the content was just made a map") };
        match signed {
            Some(signed) => {
                DeltaAttempt::Fits(VerifiedState::InPlace(Box::new(InPlace { signed, map, before, change })))
            }
            None => {
                let signed = before.clone();
                InPlace { signed, map, before, change }.undo(self);
                DeltaAttempt::Wrong
            }
        }
    }
}

fn attempt_snapshot(
    envelope: &CompactEnvelope<&dyn Carried>,
    base: &Base<'_>,
    value: &Value,
    (sequence, time): (Sequence, Wall),
) -> DeltaAttempt {
    let context = Context {
        base_sequence: base.sequence.get(),
        sequence: sequence.get(),
        base_time_ms: base.time.ms(),
        time_ms: time.ms(),
    };
    let target = envelope.delta.target(value, &context);
    let Some(content) = target.and_then(|target| Content::snapshot(target).ok()) else {
        return DeltaAttempt::Wrong;
    };
    match signed_on(envelope, base, &content) {
        Some(signed) => DeltaAttempt::Fits(VerifiedState::whole(Layer { signed, content })),
        None => DeltaAttempt::Wrong,
    }
}

/// The head that results on this base, if its author signed it.
fn signed_on<D>(envelope: &CompactEnvelope<D>, base: &Base<'_>, content: &Content) -> Option<SignedHead> {
    let head = envelope.head_on(base, content.kind(), content.root())?;
    let signed = SignedHead { head, signature: envelope.signature };
    signed.verify().then_some(signed)
}
