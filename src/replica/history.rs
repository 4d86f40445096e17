//! What came before a layer's present state: the bases that a delta may start from.
//!
//! Of a snapshot the node keeps older contents, ever further apart towards the past; of a map it keeps when each key last
//! changed here, and the states that were held.

use crate::time::Wall;
use std::collections::VecDeque;
use std::sync::Arc;

use tombolo_delta::{Limits, Value};

use crate::layer::{AllEntries, EntryChange, KeyPath, Kind, MapContent, Sequence, is_written_whole};
use crate::limits::{
    COMPACT_CHANGES_MAX, DROPPED_KEYS_BYTES_MAX, DROPPED_KEYS_KEPT_MAX, MAP_BASES_KEPT_MAX,
    SNAPSHOT_BYTES_MAX, STATES_KEPT_BYTES_MAX, STATES_KEPT_MAX,
};
use crate::replica::Replaced;
use crate::replica::change_log::{ChangeLog, ChangesSeen};
use crate::store::{KeptState, LayerWrite, MapBase};
use crate::sync::frontier::State;

/// Bases in use by radio that are kept whatever comes: those that deltas started from, and the states that were sent or heard since, one of
/// which becomes the next base once listeners report it. Ten minutes may lie between two reports, and hundreds of states that their author signs
/// between two that a radio sends.
const BASES_IN_USE_MAX: usize = 10;

/// The history of one layer.
#[derive(Debug)]
pub(super) enum History {
    Snapshot {
        past: VecDeque<PastState>,
        /// The bases last used by radio, oldest first: they stay while they are in use.
        in_use: VecDeque<Sequence>,
    },
    Map {
        /// When each key last changed here; also of keys that are gone.
        changed: ChangeLog,
        /// States that were held here, oldest first: bases that a peer may name.
        bases: VecDeque<MapBase>,
    },
}

/// A base that a peer named and that is held here as well.
pub enum KnownBase {
    /// The older state of a snapshot.
    Snapshot(KeptState, Value),
    /// The changes of a map since then, and what was signed with the base.
    Map {
        /// Keys put (`Some`) and dropped (`None`) since the base.
        changes: Vec<EntryChange>,
        /// Signed time of the base.
        time: Wall,
        /// Audience sequence of the base.
        audience_sequence: Sequence,
    },
}

impl History {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Snapshot => History::Snapshot { past: VecDeque::new(), in_use: VecDeque::new() },
            Kind::Map => History::Map { changed: ChangeLog::default(), bases: VecDeque::new() },
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            History::Snapshot { .. } => Kind::Snapshot,
            History::Map { .. } => Kind::Map,
        }
    }

    /// The history of a snapshot as the store has it.
    pub(super) fn load_snapshot(states: Vec<KeptState>) -> Self {
        let past = states.into_iter().map(PastState::new).collect();
        History::Snapshot { past, in_use: VecDeque::new() }
    }

    /// The history of a map as the store has it: keys with the sequence at which each last changed, and whether it is gone.
    pub(super) fn load_map<'a>(
        changed: impl Iterator<Item = (&'a KeyPath, Sequence, bool)> + Clone,
        bases: Vec<MapBase>,
    ) -> Self {
        History::Map { changed: ChangeLog::load(changed), bases: bases.into() }
    }

    /// Bytes that it takes in memory beside the layer's present content, about.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            History::Snapshot { past, .. } => kept_bytes(past),
            History::Map { changed, bases } => changed.gone_memory + bases.len() * size_of::<MapBase>(),
        }
    }

    /// Gives back the memory of so many keys of a history that is of no use any more. Returns whether that was all.
    pub(super) fn shed(&mut self, keys: usize) -> bool {
        match self {
            History::Snapshot { .. } => true,
            History::Map { changed, .. } => changed.shed(keys),
        }
    }

    /// Gives back the memory of some keys that a large change has left behind.
    pub(super) fn tidy(&mut self, keys: usize) {
        if let History::Map { changed, .. } = self {
            changed.tidy(keys);
        }
    }

    /// Whether nothing of that is left.
    pub(super) fn is_tidy(&self) -> bool {
        match self {
            History::Map { changed, .. } => changed.is_tidy(),
            History::Snapshot { .. } => true,
        }
    }

    /// A base that a peer holds, if it is known. `map` is the layer's present content, of a map.
    pub(super) fn known_base(&self, base: State, map: Option<&MapContent>) -> Option<KnownBase> {
        match self {
            History::Snapshot { past, .. } => {
                let past = past.iter().find(|past| past.state() == base)?;
                Some(KnownBase::Snapshot(past.state.clone(), past.value()?))
            }
            History::Map { changed, bases } => {
                let known = bases.iter().find(|known| state_of(known) == base)?;
                Some(KnownBase::Map {
                    changes: changed.changes_since(known.sequence, map?),
                    time: known.time,
                    audience_sequence: known.audience_sequence,
                })
            }
        }
    }

    /// Whether so many keys have changed since a sequence as a delta may have. `map` is the layer's present content, of a map.
    pub(super) fn fits_delta(&self, since: Sequence, map: Option<&MapContent>) -> bool {
        match self {
            History::Map { changed, .. } => {
                changed.has_changed_within(since, COMPACT_CHANGES_MAX, map.map_or(0, MapContent::len))
            }
            History::Snapshot { .. } => true,
        }
    }

    /// When each key of a map was last seen to change.
    pub(super) fn changes_seen(&self) -> ChangesSeen {
        match self {
            History::Map { changed, .. } => changed.seen_all().clone(),
            History::Snapshot { .. } => ChangesSeen::default(),
        }
    }

    /// Whether a map was held here in this state, as far back as memory goes.
    pub(super) fn held_once(&self, state: State) -> bool {
        match self {
            History::Map { bases, .. } => bases.iter().any(|base| state_of(base) == state),
            History::Snapshot { .. } => false,
        }
    }

    /// When this node last saw a key of a map change; `map` is its present content. `None` for a key that it does not know, keys that
    /// are gone included.
    pub(super) fn change_seen(&self, key: &KeyPath, map: &MapContent) -> Option<Sequence> {
        match self {
            History::Map { changed, .. } => changed.seen(key, map),
            History::Snapshot { .. } => None,
        }
    }

    /// Older states of a snapshot whose root begins as asked for, newest first; their contents are not decoded.
    pub(super) fn past_snapshots(&self, root_fits: impl Fn(&[u8]) -> bool) -> Vec<PastSnapshot> {
        match self {
            History::Snapshot { past, .. } => {
                let fits = past.iter().rev().filter(|past| root_fits(&past.root_prefix));
                fits.map(PastState::head).collect()
            }
            History::Map { .. } => Vec::new(),
        }
    }

    /// The content that a snapshot had at a sequence, if it is kept.
    pub(super) fn past_value(&self, sequence: Sequence) -> Option<Value> {
        match self {
            History::Snapshot { past, .. } => {
                past.iter().find(|past| past.state.sequence == sequence)?.value()
            }
            History::Map { .. } => None,
        }
    }

    /// Older states of a map whose root begins as asked for, newest first.
    pub(super) fn map_bases(&self, root_fits: impl Fn(&[u8]) -> bool) -> Vec<MapBase> {
        match self {
            // The last is the present state.
            History::Map { bases, .. } => {
                bases.iter().rev().skip(1).filter(|base| root_fits(&base.root_prefix)).copied().collect()
            }
            History::Snapshot { .. } => Vec::new(),
        }
    }

    /// The states that a delta may start from, oldest first.
    pub(super) fn bases(&self) -> Vec<State> {
        match self {
            History::Snapshot { past, .. } => past.iter().map(PastState::state).collect(),
            History::Map { bases, .. } => bases.iter().map(state_of).collect(),
        }
    }

    /// A base is in use by radio: it and those pinned before it stay, whatever comes.
    pub(super) fn pin_base(&mut self, base: Sequence) {
        if let History::Snapshot { in_use, .. } = self
            && in_use.back() != Some(&base)
        {
            in_use.retain(|sequence| *sequence != base);
            in_use.push_back(base);
            if in_use.len() > BASES_IN_USE_MAX {
                in_use.pop_front();
            }
        }
    }
}

/// An older state of a snapshot.
#[derive(Debug)]
pub(super) struct PastState {
    state: KeptState,
    root_prefix: [u8; 4],
}

/// What was signed with an older state of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastSnapshot {
    /// The sequence of the state.
    pub sequence: Sequence,
    /// The signed time of the state.
    pub time: Wall,
    /// The audience sequence of the state.
    pub audience_sequence: Sequence,
}

impl PastState {
    fn head(&self) -> PastSnapshot {
        let KeptState { sequence, time, audience_sequence, .. } = self.state;
        PastSnapshot { sequence, time, audience_sequence }
    }

    fn new(state: KeptState) -> Self {
        let [a, b, c, d, ..] = *blake3::hash(&state.content).as_bytes();
        PastState { state, root_prefix: [a, b, c, d] }
    }

    fn state(&self) -> State {
        State { sequence: self.state.sequence, root_prefix: self.root_prefix }
    }

    fn value(&self) -> Option<Value> {
        let limits = Limits { bytes_max: SNAPSHOT_BYTES_MAX, ..Limits::default() };
        tombolo_delta::from_cbor(&self.state.content, &limits).ok()
    }
}

fn state_of(base: &MapBase) -> State {
    State { sequence: base.sequence, root_prefix: base.root_prefix }
}

/// Keeps the replaced state of a snapshot as a base, and forgets others so that number and bytes stay within bounds, of bytes also what
/// the owner's quota has left. The
/// states that stay lie ever further apart towards the past: near bases for peers that are in touch, a far one for a peer
/// that returns after a long absence.
pub(super) fn remember_state(
    past: &mut VecDeque<PastState>,
    in_use: &VecDeque<Sequence>,
    replaced: Option<Replaced>,
    bytes_max: usize,
    write: &mut LayerWrite,
) {
    let Some(Replaced { signed, content: Some(content) }) = replaced else { return };
    let head = signed.head;
    let state = KeptState {
        sequence: head.sequence,
        time: head.time,
        audience_sequence: head.audience_sequence,
        content,
    };
    write.kept = Some(state.clone());
    past.push_back(PastState::new(state));
    while past.len() > STATES_KEPT_MAX || kept_bytes(past) > bytes_max.min(STATES_KEPT_BYTES_MAX) {
        let Some(gone) = past.remove(most_crowded(past, in_use)) else { break };
        if write.kept.as_ref().is_some_and(|k| k.sequence == gone.state.sequence) {
            write.kept = None;
        } else {
            write.forgotten.push(gone.state.sequence);
        }
    }
}

fn kept_bytes(past: &VecDeque<PastState>) -> usize {
    past.iter().map(|past| past.state.content.len()).sum()
}

/// The state whose absence opens the smallest gap, measured by how long ago it was.
fn most_crowded(past: &VecDeque<PastState>, in_use: &VecDeque<Sequence>) -> usize {
    let sequence = |i: usize| past.get(i).map_or(0, |p| p.state.sequence.get());
    let newest = sequence(past.len().saturating_sub(1)) + 1;
    let crowding = |i: &usize| {
        let gap = sequence(i + 1) - sequence(i - 1);
        gap.saturating_mul(1000) / (newest - sequence(*i)).max(1)
    };
    let is_free = |i: &usize| past.get(*i).is_some_and(|p| !in_use.contains(&p.state.sequence));
    (1..past.len().saturating_sub(1)).filter(is_free).min_by_key(crowding).unwrap_or(0)
}

/// Notes the keys in which a map's new state differs, and the state as a base. Head and changes are those in `write`.
pub(super) fn remember_map(
    bases: &mut VecDeque<MapBase>,
    log: &mut ChangeLog,
    map: &MapContent,
    write: &mut LayerWrite,
) {
    let sequence = write.signed.head.sequence;
    // What changed within a fork is noted at its one sequence: such a base would lack it.
    bases.retain(|base| base.sequence < sequence);
    bases.push_back(MapBase::of(&write.signed));
    let is_gone = |(key, entry): &EntryChange| entry.is_none().then(|| key.clone());
    let gone = write.entries.iter().filter(|(_, entry)| entry.is_none()).count();
    let keeps_gone = gone <= DROPPED_KEYS_KEPT_MAX;
    log.note_all(&write.entries, sequence, write.entries.len() - gone == map.len(), keeps_gone);
    write.forgotten_keys = match keeps_gone {
        true => trim_bases(bases, log),
        false => {
            bases.retain(|base| base.sequence >= sequence);
            let before = log.forget_gone().0;
            before.into_iter().chain(write.entries.iter().filter_map(is_gone)).collect()
        }
    };
    write.bases_from = bases.front().map(|base| base.sequence);
    if write.all.is_none() && is_written_whole(write.entries.len(), map.len()) {
        write.all = Some(Arc::new(AllEntries::of(log.seen_all().all_known(map))));
    }
}

/// Forgets old bases of a map, and when there are too many of them the dropped keys, with the bases that need them.
/// Returns the keys forgotten.
fn trim_bases(bases: &mut VecDeque<MapBase>, log: &mut ChangeLog) -> Vec<KeyPath> {
    while bases.len() > MAP_BASES_KEPT_MAX {
        bases.pop_front();
    }
    if log.gone() <= DROPPED_KEYS_KEPT_MAX && log.gone_memory <= DROPPED_KEYS_BYTES_MAX {
        return Vec::new();
    }
    let (gone, last) = log.forget_gone();
    bases.retain(|base| base.sequence >= last);
    gone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::side::TestSide;
    use crate::layer::{Content, Layer};
    use crate::replica::Layers;

    fn sequence(n: u64) -> Sequence {
        Sequence::new(n).unwrap()
    }

    /// The histories of a side's own map and snapshot after so many commits of each.
    fn commits(count: u64) -> (TestSide, [crate::layer::LayerId; 2]) {
        let mut side = TestSide::new(1);
        let (map, note) = (side.document("map"), side.document("note"));
        for n in 0..count {
            side.set(&map, &[("a", Some(n)), ("b", (n % 3 == 0).then_some(n))]);
            let TestSide { core, replica, authoring } = &mut side;
            authoring.commit_snapshot(core, replica, &note, Value::map([("n", Value::from(n))])).unwrap();
        }
        let ids = [map, note].map(|document| side.core.own_layer(&document));
        (side, ids)
    }

    #[test]
    fn bases_stay_within_their_limits_and_the_newest_is_among_them() {
        let (side, [map, note]) = commits(100);
        let layers = side.replica.layers();
        let (of_map, of_note) = (layers.bases(&map), layers.bases(&note));
        assert!(of_map.len() <= MAP_BASES_KEPT_MAX && of_note.len() <= STATES_KEPT_MAX);
        assert_eq!(of_map.last().map(|base| base.sequence), Some(sequence(100)));
        assert_eq!(
            of_note.last().map(|base| base.sequence),
            Some(sequence(99)),
            "the state before the present"
        );
        assert!(of_note.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    }

    /// A peer that returns after a long absence finds a base: the states kept lie further apart towards the past.
    #[test]
    fn snapshots_kept_reach_far_back() {
        let (side, [_, note]) = commits(100);
        let bases = side.replica.layers().bases(&note);
        let oldest = bases.first().unwrap().sequence.get();
        assert!(oldest <= 50, "{oldest}");
    }

    #[test]
    fn a_pinned_base_stays_whatever_comes() {
        let (mut side, [_, note]) = commits(10);
        side.replica.pin_base(&note, sequence(9));
        let document = note.document.clone();
        for n in 0..40u64 {
            let TestSide { core, replica, authoring } = &mut side;
            authoring.commit_snapshot(core, replica, &document, Value::from(n)).unwrap();
        }
        assert!(side.replica.layers().bases(&note).iter().any(|base| base.sequence == sequence(9)));
    }

    #[test]
    fn a_fork_of_a_base_is_not_a_known_base() {
        let (side, [map, _]) = commits(5);
        let base = side.replica.layers().bases(&map)[2];
        assert!(side.replica.layers().known_base(&map, base).is_some());
        let other = State { root_prefix: [base.root_prefix[0] ^ 1, 0, 0, 0], ..base };
        assert!(side.replica.layers().known_base(&map, other).is_none());
        assert!(side.replica.layers().held_once(&map, base) && !side.replica.layers().held_once(&map, other));
    }

    #[test]
    fn keys_that_are_gone_are_forgotten_with_the_bases_that_need_them() {
        let (mut log, mut bases) = (ChangeLog::default(), VecDeque::new());
        let head = |n: u64| MapBase {
            sequence: sequence(n),
            root_prefix: [0; 4],
            time: Wall::default(),
            audience_sequence: Sequence::NONE,
        };
        for n in 1..=DROPPED_KEYS_KEPT_MAX as u64 + 1 {
            let listed = log.note(&KeyPath::parse(&format!("k{n}")).unwrap(), true, sequence(n));
            log.list(sequence(n), listed);
        }
        bases.extend([head(1), head(DROPPED_KEYS_KEPT_MAX as u64 + 1)]);
        let gone = trim_bases(&mut bases, &mut log);
        assert_eq!(gone.len(), DROPPED_KEYS_KEPT_MAX + 1);
        assert_eq!(bases.len(), 1, "the older base would lack what was dropped");
    }

    /// Applies the changes since a base to the content at that base.
    fn replayed(layers: &Layers, layer: &Layer, base: State, at_base: &MapContent) -> MapContent {
        let Some(KnownBase::Map { changes, .. }) = layers.known_base(&layer.head().layer, base) else {
            panic!("the base is known")
        };
        let mut map = at_base.clone();
        map.change(changes).unwrap();
        map
    }

    proptest! {
        /// The changes since any state that was held lead from its content to the present one.
        #[test]
        fn the_changes_since_any_base_lead_to_the_present(
            writes in prop::collection::vec(prop::collection::vec((0usize..4, prop::option::of(0u64..9)), 1..4), 1..20),
        ) {
            let mut side = TestSide::new(1);
            let document = side.document("list");
            let id = side.core.own_layer(&document);
            let mut held = Vec::new();
            for write in writes {
                let changes: Vec<_> =
                    write.into_iter().map(|(key, value)| (["a", "b", "c", "d"][key], value)).collect();
                side.set(&document, &changes);
                let layer = side.replica.layer(&id).unwrap();
                let Content::Map(map) = &layer.content else { unreachable!("the layer is a map") };
                held.push((State::of(&layer.signed), map.clone()));
            }
            let layer = side.replica.layer(&id).unwrap();
            for (base, map) in &held {
                let reached = replayed(side.replica.layers(), layer, *base, map);
                prop_assert_eq!(reached.root(), layer.head().root);
            }
        }
    }
}
