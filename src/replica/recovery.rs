//! The node's own layers in states that this disk does not have: it is a restored backup, or a copy of another machine's.
//! The federation is the backup.
//!
//! A peer may hold a state that is *newer* than the one here: then writes to that document wait for it, it is fetched, and
//! a state is signed above it. Or it may hold one that was *passed* without knowing it, since more was written here after
//! the restore than had been lost: then the peer is asked for that state before it is sent anything newer, and what is
//! missing here is taken into the next state. Either way the two are joined key by key ([`Replica::join`]). A peer's claim
//! delays a write by a bounded time; what it sends must be signed by this node.
//!
//! A store that was made for a key that existed before holds nothing at all. Then nothing is signed, since it would begin with
//! sequences that the identity has used, until a peer has answered what it holds ([`Recovery::peer_answered`]) or the operator
//! states that the node is new.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::core::Core;
use crate::io::{Alarm, Event, RequestId, StopReason, Write};
use crate::layer::{
    Content, DocumentId, DocumentName, Entry, KeyPath, Kind, Layer, LayerHash, LayerId, MapContent, Sequence,
    SignedHead,
};
use crate::limits::{
    CONFIRM_LOOK, CONFIRM_PAUSE, CONFIRM_WAIT_MAX, OWN_STATE_TRUST, RECLAIM_WAIT, RECLAIM_WAIT_ON_AIR,
    RECLAIMED_KEPT_MAX, SETBACK_SHOWN, WAITING_WRITES_MAX,
};
use crate::merge::map_of;
use crate::replica::{ApplyOutcome, Reclaimed, Recovered, Replaced, Replica, Stored};
use crate::store::{ORIGIN_RECORD, SETBACK_RECORD, StoreOrigin};
use crate::sync::frontier::State;
use crate::time::{Millis, Mono};

/// What is under way about own layers that others hold in another state.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Newer own states that writes wait for.
    awaited: BTreeMap<LayerHash, Awaited>,
    /// Writes that wait for one, in order.
    waiting: VecDeque<(RequestId, Write)>,
    /// What follows from changed rights waits as well.
    rights_wait: bool,
    /// Own states that are not known here, asked for from the peer that holds them.
    claims: BTreeMap<(PeerId, LayerHash), OpenClaim>,
    /// The same by radio: layers that are withheld until a listener has sent what it has.
    withheld: BTreeMap<LayerHash, Withheld>,
    /// States that were asked for: once is enough.
    settled: BTreeSet<(LayerHash, State)>,
    /// Keys written since the start, per document with an own layer: a restore keeps these.
    written: BTreeMap<DocumentId, WrittenKeys>,
    /// Set when another machine signs with this node's key: nothing is signed any more.
    stopped: Option<StopReason>,
    /// What a peer's answer is waited for.
    awaited_answer: AwaitedAnswer,
}

/// Keys, by their hashes.
#[derive(Debug, Default)]
struct WrittenKeys {
    /// Only looked up, so their order is not seen.
    each: HashSet<u64>,
    /// Those of writes of many keys, sorted.
    many: Arc<Vec<u64>>,
}

impl WrittenKeys {
    fn contains(&self, hash: u64) -> bool {
        self.each.contains(&hash) || self.many.binary_search(&hash).is_ok()
    }
}

/// What is open until a peer has answered what it holds of this identity.
#[derive(Clone, Copy, Debug, Default)]
struct AwaitedAnswer {
    /// The store was made for a key that existed before: nothing is signed.
    is_unconfirmed: bool,
    /// Acknowledged commits that the store lost.
    lost_commits: u64,
    /// When the first answer came in this run.
    since: Option<Mono>,
}

/// What has come about since a peer answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerEffect {
    /// This node signs from now on.
    pub is_confirmed: bool,
    /// The alarm about lost commits is over.
    pub ends_setback: bool,
}

/// Since when and until when a newer own state is waited for.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    since: Mono,
    until: Mono,
}

/// A state that a peer was asked for.
#[derive(Debug)]
struct OpenClaim {
    state: State,
    until: Mono,
}

/// States of an own layer that listeners hold and this node does not know, as far as a frontier by radio shows.
#[derive(Debug)]
struct Withheld {
    id: LayerId,
    states: Vec<State>,
    since: Mono,
    /// Whether it is still waited for.
    is_open: bool,
}

/// Whether a peer must be asked for its state of an own layer before it is sent a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnStateClaim {
    /// No: that state is known here.
    No,
    /// It was asked and has not answered yet.
    Pending,
    /// It is to be asked now.
    Ask,
}

/// What is to be signed above a state that was recovered; newer local writes go first.
#[derive(Clone, Debug)]
pub enum Restage {
    /// Nothing is to be signed.
    Nothing,
    /// Entries of a map: `Some` puts, `None` drops.
    Map(DocumentId, Vec<(KeyPath, Option<Entry>)>),
    /// The content of a snapshot.
    Snapshot(DocumentId, Value),
}

/// Decides, per key, which of two states of an own layer wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WinningSide {
    Held,
    Arrived,
}

impl Recovery {
    /// When something that waits may go on.
    pub fn next_timer(&self, now: Mono) -> Option<Mono> {
        let waits = self.rights_wait || !self.waiting.is_empty();
        let ends = self.awaited.values().map(|awaited| awaited.until).filter(|end| *end > now);
        let open = self.withheld.values().filter(|withheld| withheld.is_open);
        let ended = open.map(|withheld| withheld.since + RECLAIM_WAIT_ON_AIR).min();
        let confirmed = self.is_unconfirmed().then(|| now + CONFIRM_LOOK);
        waits.then(|| ends.min()).flatten().into_iter().chain(ended).chain(confirmed).min()
    }

    // ---- a store that is newer than its key, or has gone back --------------------------------------------

    /// Takes from disk whether a peer's answer is waited for. One that has come in this run still counts.
    pub(super) fn load(&mut self, meta: &BTreeMap<String, Vec<u8>>) {
        let lost = meta.get(SETBACK_RECORD).and_then(|bytes| bytes.as_slice().try_into().ok());
        self.awaited_answer.is_unconfirmed =
            StoreOrigin::of_record(meta.get(ORIGIN_RECORD)) == StoreOrigin::Unconfirmed;
        self.awaited_answer.lost_commits = lost.map_or(0, u64::from_be_bytes);
    }

    /// Whether the store was made for a key that existed before, and no peer has answered yet: nothing is signed.
    pub fn is_unconfirmed(&self) -> bool {
        self.awaited_answer.is_unconfirmed
    }

    /// Acknowledged commits that the store lost; 0 when none, or when that is over.
    pub fn lost_commits(&self) -> u64 {
        self.awaited_answer.lost_commits
    }

    /// Whether a peer's answer ends something.
    pub fn awaits_answer(&self) -> bool {
        self.is_unconfirmed() || self.lost_commits() > 0
    }

    /// A peer has answered what it holds, and lacks nothing that it has, or does. Returns what that ends.
    pub fn peer_answered(&mut self, now: Mono, is_in_step: bool) -> AnswerEffect {
        let awaited = &mut self.awaited_answer;
        let since = *awaited.since.get_or_insert(now);
        let is_complete = now >= since + CONFIRM_PAUSE && is_in_step;
        let is_over = is_complete || now >= since + CONFIRM_WAIT_MAX;
        let ended = AnswerEffect {
            is_confirmed: awaited.is_unconfirmed && is_over,
            ends_setback: awaited.lost_commits > 0 && now >= since + SETBACK_SHOWN,
        };
        awaited.is_unconfirmed &= !ended.is_confirmed;
        if ended.ends_setback {
            awaited.lost_commits = 0;
        }
        ended
    }

    /// Why this node has stopped writing, if it has.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Notes keys of a document that are written here now; a restore keeps them.
    pub fn note_written<'a>(&mut self, document: &DocumentId, keys: impl IntoIterator<Item = &'a KeyPath>) {
        let hashes = keys.into_iter().map(KeyPath::hash64);
        self.written.entry(document.clone()).or_default().each.extend(hashes);
    }

    /// The keys of earlier writes of many keys of a document, by their hashes, sorted.
    pub fn written_by_many(&self, document: &DocumentId) -> Arc<Vec<u64>> {
        self.written.get(document).map(|written| written.many.clone()).unwrap_or_default()
    }

    /// Notes those of one more: `all` are these and `before`, sorted.
    pub fn note_written_by_many(
        &mut self,
        document: &DocumentId,
        before: &Arc<Vec<u64>>,
        all: Arc<Vec<u64>>,
    ) {
        let written = self.written.entry(document.clone()).or_default();
        match written.many.is_empty() || Arc::ptr_eq(&written.many, before) {
            true => written.many = all,
            false => written.each.extend(all.iter()),
        }
    }

    // ---- a newer state: writes wait for it ---------------------------------------------------------------

    /// Whether writes to a layer wait for a newer own state that a peer shows. `wait` is how long that is worth waiting;
    /// the wait is bounded, since a peer may be wrong about what it holds.
    pub fn awaits(&mut self, now: Mono, layer: LayerHash, wait: Millis) -> bool {
        let fresh = Awaited { since: now, until: now + wait };
        let awaited = self.awaited.entry(layer).or_insert(fresh);
        if now >= awaited.since + OWN_STATE_TRUST {
            *awaited = fresh;
        }
        now < awaited.until
    }

    /// Lets a write wait. `false` if as many wait as may.
    #[must_use]
    pub fn wait(&mut self, request: RequestId, write: Write) -> bool {
        let has_room = self.waiting.len() < WAITING_WRITES_MAX;
        if has_room {
            self.waiting.push_back((request, write));
        }
        has_room
    }

    /// What follows from changed rights waits for a newer own state.
    pub fn rights_wait(&mut self) {
        self.rights_wait = true;
    }

    /// Whether what follows from changed rights has waited long enough.
    pub fn take_rights_wait(&mut self, now: Mono) -> bool {
        let is_over = self.rights_wait
            && !self.is_unconfirmed()
            && !self.awaited.values().any(|awaited| now < awaited.until);
        self.rights_wait &= !is_over;
        is_over
    }

    /// The writes that wait, in order; those whose document still waits come back by [`wait`](Self::wait).
    pub fn take_waiting(&mut self) -> VecDeque<(RequestId, Write)> {
        std::mem::take(&mut self.waiting)
    }

    // ---- a passed state: asked for before anything newer is sent -----------------------------------------

    /// A peer is gone: what was asked of it is asked again when it is back.
    pub(super) fn disconnected(&mut self, gone: &PeerId) {
        self.claims.retain(|(peer, _), _| peer != gone);
    }

    /// Parts of a large state arrive: there is more time.
    pub(super) fn extend_claim(&mut self, peer: PeerId, layer: LayerHash, now: Mono) {
        if let Some(claim) = self.claims.get_mut(&(peer, layer)) {
            claim.until = now + RECLAIM_WAIT;
        }
    }

    /// Whether this is the own state that a peer, or any listener, was asked for.
    pub(super) fn is_reclaimed(&self, me: &PeerId, peer: &PeerId, signed: &SignedHead) -> bool {
        let (layer, state) = (signed.head.layer.hash(), State::of(signed));
        let is_asked = self.claims.get(&(*peer, layer)).is_some_and(|claim| claim.state == state);
        let is_same = |shown: &State| shown.sequence == state.sequence && has_root(*shown, state.root_prefix);
        let withheld = self.withheld.get(&layer).filter(|withheld| withheld.is_open);
        signed.head.layer.author == *me
            && (is_asked || withheld.is_some_and(|withheld| withheld.states.iter().any(is_same)))
    }

    /// Whether a layer is withheld from radios for now.
    pub fn withholds(&self, layer: &LayerHash) -> bool {
        self.withheld.get(layer).is_some_and(|withheld| withheld.is_open)
    }

    /// Ends the waits that have lasted long enough. Returns the layers that may go out by radio again.
    pub fn end_overdue(&mut self, now: Mono) -> Vec<LayerId> {
        let is_over = |w: &&Withheld| w.is_open && now >= w.since + RECLAIM_WAIT_ON_AIR;
        let over: Vec<LayerId> = self.withheld.values().filter(is_over).map(|w| w.id.clone()).collect();
        over.iter().for_each(|id| {
            self.release(id);
        });
        over
    }

    /// A state has arrived. A listener that held an older one has received it as well, and holds that instead. Returns
    /// whether the layer may go out by radio again.
    fn arrived(&mut self, id: &LayerId, state: State) -> bool {
        let Some(withheld) = self.withheld.get_mut(&id.hash()) else { return false };
        withheld.states.retain(|other| other.sequence > state.sequence);
        withheld.states.is_empty() && self.release(id)
    }

    /// A layer is no longer withheld. Returns whether it was.
    fn release(&mut self, id: &LayerId) -> bool {
        let layer = id.hash();
        let Some(withheld) = self.withheld.get_mut(&layer).filter(|withheld| withheld.is_open) else {
            return false;
        };
        withheld.is_open = false;
        for state in std::mem::take(&mut withheld.states) {
            self.settle(layer, state);
        }
        true
    }

    /// A state was asked for, and came or did not.
    fn settle(&mut self, layer: LayerHash, state: State) {
        if self.settled.len() >= RECLAIMED_KEPT_MAX {
            self.settled.clear();
        }
        self.settled.insert((layer, state));
    }

    /// Whether an own state that was not signed here is of this very time: a second machine has the key.
    fn is_anothers(core: &Core, signed: &SignedHead) -> bool {
        core.clock.started().is_some_and(|started| signed.head.time > started)
    }

    fn stop_authoring(&mut self, core: &mut Core) -> ApplyOutcome {
        if self.stopped.replace(StopReason::KeyUsedElsewhere).is_none() {
            core.event(Event::Alarm(Alarm::KeyUsedElsewhere));
        }
        ApplyOutcome::AnotherMachine
    }
}

impl Replica {
    /// Takes an own newer layer, and returns what is to be signed above it: for a snapshot what is true now, for a map both
    /// states joined.
    pub(super) fn recover(&mut self, core: &mut Core, layer: Layer) -> ApplyOutcome {
        if Recovery::is_anothers(core, &layer.signed) {
            return self.recovery.stop_authoring(core);
        }
        let id = layer.head().layer.clone();
        let dropped = self.drop_if_other_kind(&id.document, layer.head().kind);
        tracing::warn!(document = id.document.name.as_str(), "recovered our own newer state from a peer");
        self.recovery.awaited.remove(&id.hash());
        self.recovery.release(&id);
        let (stored, restage) = match layer.head().kind {
            Kind::Map => self.recover_map(core, &id, layer),
            Kind::Snapshot => self.recover_snapshot(core, &id, layer),
        };
        self.rights_changed = true;
        ApplyOutcome::Recovered(Recovered { stored: Stored { dropped, ..stored }, restage })
    }

    fn recover_map(
        &mut self,
        core: &mut Core,
        id: &LayerId,
        layer: Layer,
    ) -> (crate::replica::Stored, Restage) {
        let theirs = map_of(&layer).expect("a layer of a map has entries");
        let held = self.layer(id);
        let Some((held, ours)) = held.and_then(|held| Some((held, map_of(held)?))) else {
            return (self.store(core, layer, None, None), Restage::Nothing);
        };
        let replaced = Replaced::of(held);
        let joined = self.join(id, (held.head().sequence, ours), (layer.head().sequence, theirs));
        let kept: Vec<_> = joined
            .into_iter()
            .filter(|(_, side)| *side == WinningSide::Held)
            .map(|(key, _)| {
                let later = theirs.get(&key).map(|entry| entry.stamp);
                (ours.get(&key).cloned(), later, key)
            })
            .collect();
        let stored = self.store(core, layer, Some(replaced), None);
        let mut changes = Vec::new();
        for (entry, later, key) in kept {
            let entry = entry.map(|entry| match later {
                // Written by a clock that was behind: it goes above what it replaces.
                Some(later) if later >= entry.stamp => Entry { stamp: core.clock.tick_exact(), ..entry },
                _ => entry,
            });
            changes.push((key, entry));
        }
        let restage = match changes.is_empty() {
            true => Restage::Nothing,
            false => Restage::Map(id.document.clone(), changes),
        };
        (stored, restage)
    }

    fn recover_snapshot(
        &mut self,
        core: &mut Core,
        id: &LayerId,
        layer: Layer,
    ) -> (crate::replica::Stored, Restage) {
        let held = self.layer(id);
        let is_later = held.is_some_and(|held| held.head().time > layer.head().time);
        let ours = held.map(|held| held.content.clone());
        let replaced = held.map(Replaced::of);
        let recovered = layer.content.clone();
        let stored = self.store(core, layer, replaced, None);
        // The audience follows from the peers and is renewed with the rights; a state that was published since the start,
        // or signed later, is true now; anything else stands as recovered.
        let is_ours = is_later || self.recovery.written.contains_key(&id.document);
        let is_audience = id.document.name.as_str() == DocumentName::AUDIENCE;
        let content = if is_ours || is_audience { ours } else { None };
        let restage = match content.unwrap_or(recovered) {
            Content::Snapshot(value) => Restage::Snapshot(id.document.clone(), value.into_value()),
            Content::Map(_) => Restage::Nothing,
        };
        (stored, restage)
    }

    /// Whether a peer must be asked for its state of an own layer before it is sent a newer one: a state that was passed and
    /// never signed here, so the one that takes its place would bury it.
    pub fn claim(&mut self, core: &Core, peer: PeerId, id: &LayerId, held: Option<State>) -> OwnStateClaim {
        let Some(own) = self.layers.layer(id).filter(|own| own.head().kind == Kind::Map) else {
            return OwnStateClaim::No;
        };
        let (present, layer, now) = (State::of(&own.signed), id.hash(), core.now());
        if let Some(OpenClaim { state, until }) = self.recovery.claims.get(&(peer, layer)) {
            if now < *until {
                return OwnStateClaim::Pending;
            }
            // It has not come: the peer may not have what it showed.
            let state = *state;
            self.recovery.claims.remove(&(peer, layer));
            self.recovery.settle(layer, state);
        }
        let Some(state) = held.filter(|state| state.sequence <= present.sequence) else {
            return OwnStateClaim::No;
        };
        if self.recovery.settled.contains(&(layer, state)) || self.is_own_past(core, id, state) {
            return OwnStateClaim::No;
        }
        self.recovery.claims.retain(|_, claim| now < claim.until);
        self.recovery.claims.insert((peer, layer), OpenClaim { state, until: now + RECLAIM_WAIT });
        OwnStateClaim::Ask
    }

    /// The same by radio, where every listener receives what one is sent: whether a listener shows a state of an own layer
    /// that was passed and never signed here. Then nothing of that layer goes out, and this node's frontier shows that it
    /// holds none, so that a listener that has one sends it.
    pub fn withhold(&mut self, core: &Core, id: &LayerId, shown: Vec<State>) -> bool {
        let Some(own) = self.layers.layer(id).filter(|own| own.head().kind == Kind::Map) else {
            return false;
        };
        let (present, layer, now) = (State::of(&own.signed), id.hash(), core.now());
        let mut states = shown;
        states.retain(|state| {
            let is_present = state.sequence == present.sequence && has_root(*state, present.root_prefix);
            state.sequence > Sequence::NONE
                && state.sequence <= present.sequence
                && !is_present
                && !self.recovery.settled.contains(&(layer, *state))
                && !self.is_own_past(core, id, *state)
        });
        let last = self.recovery.withheld.get(&layer);
        if states.is_empty() || last.is_some_and(|last| now < last.since + OWN_STATE_TRUST) {
            return false;
        }
        let withheld = Withheld { id: id.clone(), states, since: now, is_open: true };
        self.recovery.withheld.insert(layer, withheld);
        true
    }

    /// Whether a state that a peer held is one of an own map that was passed here and never signed on this disk, and has not been
    /// asked for yet.
    pub fn was_passed(&self, core: &Core, layer: &LayerHash, held: State) -> bool {
        let own = self.layers.layer_of_hash(layer).map(Layer::head);
        own.filter(|head| head.layer.author == core.me && head.kind == Kind::Map).is_some_and(|head| {
            !self.recovery.settled.contains(&(*layer, held)) && !self.is_own_past(core, &head.layer, held)
        })
    }

    /// Whether an own layer had this state on this disk. A state too old to be remembered counts as such.
    fn is_own_past(&self, core: &Core, id: &LayerId, state: State) -> bool {
        self.layers.held_once(id, state)
            || match core.gate.past_state(id, state.sequence) {
                Ok(Some(root)) => has_root(state, root),
                Ok(None) | Err(_) => true,
            }
    }

    /// Takes what is missing here out of an own state that was passed without knowing it.
    pub(super) fn reclaim(&mut self, core: &mut Core, peer: PeerId, layer: &Layer) -> ApplyOutcome {
        if Recovery::is_anothers(core, &layer.signed) {
            // What is withheld goes out again when its time is over.
            return self.recovery.stop_authoring(core);
        }
        let id = layer.head().layer.clone();
        let (hash, state) = (id.hash(), State::of(&layer.signed));
        self.recovery.claims.remove(&(peer, hash));
        self.recovery.settle(hash, state);
        let was_withheld = self.recovery.arrived(&id, state);
        self.transfers.end(&hash);
        let changes = self.missing_from(core, layer);
        let restage = match changes.is_empty() {
            true => None,
            false => {
                let (document, keys) = (id.document.name.as_str(), changes.len());
                tracing::warn!(
                    document,
                    keys,
                    "took back what this node had written before its disk was restored"
                );
                Some(Restage::Map(id.document.clone(), changes))
            }
        };
        ApplyOutcome::Reclaimed(Reclaimed { id, state, restage, was_withheld })
    }

    /// The entries of an own older state that belong above the present one.
    fn missing_from(&self, core: &Core, layer: &Layer) -> Vec<(KeyPath, Option<Entry>)> {
        let id = &layer.head().layer;
        let (Some(held), Some(theirs)) = (self.layer(id), map_of(layer)) else { return Vec::new() };
        let Some(ours) = map_of(held) else { return Vec::new() };
        let counts = self.federation.counts_from(&id.document.owner, &core.me);
        if counts.is_none_or(|from| layer.head().audience_sequence < from) {
            // Signed before this node was listed again: nothing of it counts.
            return Vec::new();
        }
        let joined = self.join(id, (held.head().sequence, ours), (layer.head().sequence, theirs));
        let theirs_wins = joined.into_iter().filter(|(_, side)| *side == WinningSide::Arrived);
        theirs_wins.map(|(key, _)| (key.clone(), theirs.get(&key).cloned())).collect()
    }

    /// Which of two states of an own layer wins on each key in which they differ. Both go back to a state that they have in
    /// common; how far that is from now is known from the entries that are the same.
    ///
    /// The state held here wins on keys written since this start, and where a key is gone from one of the two and last changed
    /// here at a later sequence than that of the other state. The other state wins on keys that have not changed here since the
    /// two parted. Of the rest the later stamp wins, whatever the sequences: those of two histories that have parted do not
    /// compare. An entry wins over none: a deletion is an entry, so nothing written is lost.
    fn join(
        &self,
        id: &LayerId,
        (our_sequence, ours): (Sequence, &MapContent),
        (their_sequence, theirs): (Sequence, &MapContent),
    ) -> Vec<(KeyPath, WinningSide)> {
        let seen = |key: &KeyPath| self.layers.change_seen(id, key, ours);
        let written = self.recovery.written.get(&id.document);
        let both = our_sequence.min(their_sequence);
        let same = ours.iter().filter(|(key, entry)| theirs.get(key) == Some(entry));
        let since = same.filter_map(|(key, _)| seen(key)).filter(|at| *at <= both);
        let parted_after = since.max().unwrap_or(Sequence::NONE);
        let side = |key: &KeyPath| {
            let at = seen(key);
            let here = at.is_some_and(|at| at > their_sequence);
            let before = at.is_some_and(|at| at <= parted_after);
            let is_new = written.is_some_and(|written| written.contains(key.hash64()));
            match (ours.get(key), theirs.get(key)) {
                (Some(_), _) if is_new => WinningSide::Held,
                (_, None) | (None, _) if here => WinningSide::Held,
                (Some(_), _) if before => WinningSide::Arrived,
                (Some(a), Some(b)) if (b.stamp, b.value_hash()) > (a.stamp, a.value_hash()) => {
                    WinningSide::Arrived
                }
                (Some(_), _) => WinningSide::Held,
                (None, _) => WinningSide::Arrived,
            }
        };
        let gone = theirs.iter().filter(|(key, _)| ours.get(key).is_none());
        let other = ours.iter().filter(|(key, entry)| theirs.get(key) != Some(entry));
        gone.chain(other).map(|(key, _)| (key.clone(), side(key))).collect()
    }
}

/// Whether a state may have this root. A state shown by radio has only the first byte of its root; the others are 0.
fn has_root(state: State, root: [u8; 4]) -> bool {
    let ([first, rest @ ..], [same, ..]) = (state.root_prefix, root);
    state.root_prefix == root || rest == [0; 3] && first == same
}
