//! Our own layer in a state that we do not hold: this disk is a restored backup, or a copy of another
//! machine's (DESIGN section 3, *Restore*). The federation is the backup.
//!
//! A peer may hold a state that is *newer* than ours: then our writes to that document wait for it, it is
//! fetched, and one is signed above it. Or it may hold one that we have *passed* without knowing it, since more
//! was written here after the restore than had been lost: then that peer is asked for it before it is sent
//! anything newer, and what we lack is taken into the next state. Either way the two are joined key by key
//! (`word_on_each`). What a peer merely says delays us by a bounded time; what it sends must be signed by us.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::{LinkId, PeerId};

use crate::layer::{
    Content, DocumentId, DocumentName, Entry, KeyPath, Kind, Layer, LayerHash, LayerId, MapContent, Sequence,
    SignedHead,
};
use crate::limits::{
    OWN_STATE_TRUST_MS, OWN_STATE_WAIT_MS, OWN_STATE_WAIT_ON_AIR_MAX_MS, RECLAIM_WAIT_MS,
    RECLAIM_WAIT_ON_AIR_MS, RECLAIMED_KEPT_MAX, WAITING_WRITES_MAX,
};
use crate::merge::map_of;
use crate::node::Node;
use crate::node::holdings::Before;
use crate::node::io::{Command, CommandError, Event, Output, RequestId};
use crate::router::Class;
use crate::sync::broadcast::BroadcastEngine;
use crate::sync::frontier::State;
use crate::sync::message::Message;

/// What is under way about our own layers elsewhere.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// What newer states of layers of ours are waited for.
    awaited: BTreeMap<LayerHash, Awaited>,
    /// Writes that wait for one, in order.
    waiting: VecDeque<(RequestId, Command)>,
    /// What follows from changed rights waits as well.
    rights_wait: bool,
    /// States that we do not know, asked for from the peer that holds them.
    reclaims: BTreeMap<(PeerId, LayerHash), Reclaim>,
    /// The same on air: layers of which nothing goes out until a listener has sent what it has.
    on_air: BTreeMap<LayerHash, OnAir>,
    /// States that were asked for: once is enough.
    reclaimed: BTreeSet<(LayerHash, State)>,
}

/// A newer state of a layer of ours is waited for: since when, and until when, monotonic milliseconds.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    since: u64,
    until: u64,
}

/// What listeners hold of a layer of ours that we do not know: as far as a frontier on air tells it.
#[derive(Debug)]
struct OnAir {
    id: LayerId,
    states: Vec<State>,
    since: u64,
    /// Whether it is still waited for.
    is_open: bool,
}

#[derive(Debug)]
struct Reclaim {
    state: State,
    until: u64,
}

/// Which of two states of one layer has the word on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Ours,
    Theirs,
}

impl Recovery {
    /// When something that waits may go on.
    pub(super) fn next_timer(&self, now: u64) -> Option<u64> {
        let waits = self.rights_wait || !self.waiting.is_empty();
        let ends = self.awaited.values().map(|awaited| awaited.until).filter(|end| *end > now);
        let open = self.on_air.values().filter(|on_air| on_air.is_open);
        let reclaimed = open.map(|on_air| on_air.since + RECLAIM_WAIT_ON_AIR_MS).min();
        waits.then(|| ends.min()).flatten().into_iter().chain(reclaimed).min()
    }

    /// Whether nothing of a layer of ours goes on air for now.
    pub(super) fn withholds(&self, layer: &LayerHash) -> bool {
        self.on_air.get(layer).is_some_and(|on_air| on_air.is_open)
    }

    /// A peer is gone: what was asked of it is asked anew when it is back.
    pub(super) fn peer_down(&mut self, gone: &PeerId) {
        self.reclaims.retain(|(peer, _), _| peer != gone);
    }

    fn note_reclaimed(&mut self, layer: LayerHash, state: State) {
        if self.reclaimed.len() >= RECLAIMED_KEPT_MAX {
            self.reclaimed.clear();
        }
        self.reclaimed.insert((layer, state));
    }
}

impl Node {
    // ---- a newer state: writes wait for it ---------------------------------------------------------------

    /// Whether a peer says that it holds a newer state of our layer than we do, and we still wait for it.
    pub(super) fn awaits_own(&mut self, document: &DocumentId) -> bool {
        let id = LayerId { document: document.clone(), author: self.me };
        let print = id.hash();
        let held = self.holdings.layer(&id).map(|layer| State::of(&layer.signed));
        if self.stopped.is_some() {
            return false;
        }
        let by_link = self.engine.newest_known(&print) > held;
        let on_air = self.newer_on_air(&document.owner, &print, held);
        let Some(wait) = on_air.into_iter().chain(by_link.then_some(OWN_STATE_WAIT_MS)).max() else {
            return false;
        };
        let now = self.now.mono_ms;
        let awaited = self.recovery.awaited.entry(print).or_insert(Awaited { since: now, until: now + wait });
        if now >= awaited.since + OWN_STATE_TRUST_MS {
            *awaited = Awaited { since: now, until: now + wait };
        }
        now < awaited.until
    }

    /// How long a newer state of our layer is waited for that a listener on air says it holds; none, if none does.
    /// A frontier on air has few bits of a sequence: only a higher one counts.
    fn newer_on_air(&self, owner: &PeerId, layer: &LayerHash, held: Option<State>) -> Option<u64> {
        let held = held.map_or(Sequence::NONE, |held| held.sequence);
        let shows =
            |cell: &BroadcastEngine| cell.shown(owner, layer).iter().any(|state| state.sequence > held);
        let cells = self.radios.cells().filter(|cell| shows(cell));
        cells
            .map(|cell| (64 * cell.timing().frame_ms).clamp(OWN_STATE_WAIT_MS, OWN_STATE_WAIT_ON_AIR_MAX_MS))
            .max()
    }

    /// A write waits until our own newer state has come, or for a bounded time: a peer may lie about it.
    pub(super) fn wait_for_own(&mut self, request: RequestId, command: Command) {
        if self.recovery.waiting.len() < WAITING_WRITES_MAX {
            return self.recovery.waiting.push_back((request, command));
        }
        let what = "the number of writes that wait for this node's own newer state";
        let remedy = "try again in a few seconds";
        let error = CommandError::Limit { what, limit: WAITING_WRITES_MAX, remedy };
        self.output(Output::Reply { request, result: Err(error) });
    }

    /// What follows from changed rights waits for our own newer state.
    pub(super) fn rights_wait_for_own(&mut self) {
        self.recovery.rights_wait = true;
    }

    /// Carries out what waited for our own newer state.
    pub(super) fn take_up_waiting(&mut self) {
        let now = self.now.mono_ms;
        let still_waits = |awaited: &Awaited| now < awaited.until;
        if self.recovery.rights_wait && !self.recovery.awaited.values().any(still_waits) {
            self.recovery.rights_wait = false;
            self.rights_changed = true;
        }
        self.end_reclaims_on_air();
        // Those whose document waits still go to the end of the new queue, in their old order.
        for (request, command) in std::mem::take(&mut self.recovery.waiting) {
            self.command(request, command);
        }
    }

    /// Takes our own newer layer, and signs one above it: for a snapshot what is true now, for a map both
    /// states joined.
    pub(super) fn recover(&mut self, layer: Layer) {
        if self.is_anothers(&layer.signed) {
            return self.stop_authoring();
        }
        let id = layer.head().layer.clone();
        tracing::warn!(document = id.document.name.as_str(), "recovered our own newer state from a peer");
        self.recovery.awaited.remove(&id.hash());
        self.end_reclaim_on_air(&id);
        match layer.head().kind {
            Kind::Map => self.recover_map(&id, layer),
            Kind::Snapshot => self.recover_snapshot(&id, layer),
        }
        self.rights_changed = true;
    }

    fn recover_map(&mut self, id: &LayerId, layer: Layer) {
        let (Some(held), Some(theirs)) = (self.holdings.layer(id), map_of(&layer)) else {
            return self.keep(layer, None, None, None);
        };
        let Some(ours) = map_of(held) else { return };
        let before = Before::of(held);
        let mine = |(_, word): &(KeyPath, Word)| *word == Word::Ours;
        let kept: Vec<_> = self
            .word_on_each(held.head().sequence, id, ours, layer.head().sequence, theirs)
            .into_iter()
            .filter(mine)
            .map(|(key, _)| {
                let later = theirs.get(&key).map(|entry| entry.stamp);
                (ours.get(&key).cloned(), later, key)
            })
            .collect();
        self.keep(layer, Some(before), None, None);
        let reference = self.reference_ms();
        let mut changes = Vec::new();
        for (entry, later, key) in kept {
            let entry = entry.map(|entry| match later {
                // Written by a clock that was behind: it goes above what it replaces.
                Some(later) if later >= entry.stamp => Entry { stamp: self.clock.tick(reference), ..entry },
                _ => entry,
            });
            changes.push((key, entry));
        }
        if !changes.is_empty() {
            self.stage_map_below(&id.document, changes);
        }
    }

    fn recover_snapshot(&mut self, id: &LayerId, layer: Layer) {
        let held = self.holdings.layer(id);
        let later = held.is_some_and(|held| held.head().time_ms > layer.head().time_ms);
        let ours = held.map(|held| held.content.clone());
        let before = held.map(Before::of);
        let recovered = layer.content.clone();
        self.keep(layer, before, None, None);
        // The audience follows from our peers and is renewed with the rights; a state that was published
        // since the start, or signed later, is true now; anything else stands as recovered.
        let is_ours = later || self.written.contains_key(&id.document);
        let is_audience = id.document.name.as_str() == DocumentName::AUDIENCE;
        let content = if is_ours || is_audience { ours } else { None };
        let Content::Snapshot(value) = content.unwrap_or(recovered) else { return };
        self.stage_snapshot_below(&id.document, value);
    }

    // ---- a state that we have passed without knowing it ----------------------------------------------------

    /// Whether a peer must be asked for the state of our layer that it holds before it is sent a newer one: a
    /// state that we have passed and never signed here, so the one that takes its place would bury it.
    pub(super) fn reclaims_first(&mut self, peer: PeerId, id: &LayerId, held: Option<State>) -> bool {
        let Some(own) = self.holdings.layer(id).filter(|own| own.head().kind == Kind::Map) else {
            return false;
        };
        let (present, print, now) = (State::of(&own.signed), id.hash(), self.now.mono_ms);
        if let Some(Reclaim { state, until }) = self.recovery.reclaims.get(&(peer, print)) {
            if now < *until {
                return true;
            }
            // It has not come: the peer may not have what it said it had.
            let state = *state;
            self.recovery.reclaims.remove(&(peer, print));
            self.recovery.note_reclaimed(print, state);
        }
        let Some(state) = held.filter(|state| state.sequence <= present.sequence) else { return false };
        if self.recovery.reclaimed.contains(&(print, state)) || self.is_own_past(id, state) {
            return false;
        }
        self.recovery.reclaims.retain(|_, reclaim| now < reclaim.until);
        self.recovery.reclaims.insert((peer, print), Reclaim { state, until: now + RECLAIM_WAIT_MS });
        self.send(peer, Class::Document, &Message::Want(vec![(print, None)]));
        true
    }

    /// Whether a layer of ours had this state on this disk. What is too old to be remembered counts as such.
    fn is_own_past(&self, id: &LayerId, state: State) -> bool {
        self.holdings.held_once(id, state)
            || match self.store.past_state(id, state.sequence) {
                Ok(Some(print)) => is_print(state, print),
                Ok(None) | Err(_) => true,
            }
    }

    /// The same on air, where all who listen hear what one is sent: whether a listener shows a state of our layer
    /// that we have passed and never signed here. Then nothing of that layer goes out, and we say that we hold none:
    /// so whoever has one sends it.
    pub(super) fn reclaims_on_air_first(&mut self, link: LinkId, id: &LayerId) -> bool {
        let Some(own) = self.holdings.layer(id).filter(|own| own.head().kind == Kind::Map) else {
            return false;
        };
        let (present, print, now) = (State::of(&own.signed), id.hash(), self.now.mono_ms);
        let shown = self.radios.cell(link).map(|cell| cell.shown(&id.document.owner, &print));
        let mut states: Vec<State> = shown.unwrap_or_default();
        states.retain(|state| {
            let is_present = state.sequence == present.sequence && is_print(*state, present.root_prefix);
            state.sequence > Sequence::NONE
                && state.sequence <= present.sequence
                && !is_present
                && !self.recovery.reclaimed.contains(&(print, *state))
                && !self.is_own_past(id, *state)
        });
        let lately =
            self.recovery.on_air.get(&print).is_some_and(|last| now < last.since + OWN_STATE_TRUST_MS);
        if states.is_empty() || lately {
            return false;
        }
        let on_air = OnAir { id: id.clone(), states, since: now, is_open: true };
        self.recovery.on_air.insert(print, on_air);
        self.withhold_on_air(id);
        true
    }

    /// What has not come in time is not waited for longer.
    fn end_reclaims_on_air(&mut self) {
        let now = self.now.mono_ms;
        let is_over = |on_air: &OnAir| on_air.is_open && now >= on_air.since + RECLAIM_WAIT_ON_AIR_MS;
        let over = self.recovery.on_air.values().filter(|on_air| is_over(on_air));
        for id in over.map(|on_air| on_air.id.clone()).collect::<Vec<_>>() {
            self.end_reclaim_on_air(&id);
        }
    }

    /// One has come. Who held an older one has heard it as well, and holds that instead.
    fn reclaimed_on_air(&mut self, id: &LayerId, state: State) {
        let Some(on_air) = self.recovery.on_air.get_mut(&id.hash()) else { return };
        on_air.states.retain(|other| other.sequence > state.sequence);
        if on_air.states.is_empty() {
            self.end_reclaim_on_air(id);
        }
    }

    fn end_reclaim_on_air(&mut self, id: &LayerId) {
        let print = id.hash();
        let Some(on_air) = self.recovery.on_air.get_mut(&print).filter(|on_air| on_air.is_open) else {
            return;
        };
        on_air.is_open = false;
        for state in std::mem::take(&mut on_air.states) {
            self.recovery.note_reclaimed(print, state);
        }
        self.stored_on_air(id);
    }

    /// Whether this is the state of our layer that a peer was asked for.
    pub(super) fn is_reclaimed(&self, peer: &PeerId, signed: &SignedHead) -> bool {
        let (print, state) = (signed.head.layer.hash(), State::of(signed));
        let asked = self.recovery.reclaims.get(&(*peer, print)).is_some_and(|asked| asked.state == state);
        let is_same = |shown: &State| shown.sequence == state.sequence && is_print(*shown, state.root_prefix);
        let on_air = self.recovery.on_air.get(&print).filter(|on_air| on_air.is_open);
        signed.head.layer.author == self.me
            && (asked || on_air.is_some_and(|on_air| on_air.states.iter().any(is_same)))
    }

    /// Parts of a large one are coming: there is time.
    pub(super) fn reclaim_moves(&mut self, peer: PeerId, layer: LayerHash) {
        let until = self.now.mono_ms + RECLAIM_WAIT_MS;
        if let Some(reclaim) = self.recovery.reclaims.get_mut(&(peer, layer)) {
            reclaim.until = until;
        }
    }

    /// Takes what we lack out of a state of our layer that we have passed without knowing it.
    pub(super) fn reclaim(&mut self, peer: PeerId, layer: &Layer) {
        let id = layer.head().layer.clone();
        let (print, state) = (id.hash(), State::of(&layer.signed));
        self.recovery.reclaims.remove(&(peer, print));
        self.recovery.note_reclaimed(print, state);
        self.reclaimed_on_air(&id, state);
        self.transfers.end(&print);
        if self.is_anothers(&layer.signed) {
            return self.stop_authoring();
        }
        let held = self.holdings.layer(&id);
        let (Some(held), Some(theirs)) = (held, map_of(layer)) else { return };
        let Some(ours) = map_of(held) else { return };
        let counts = self.federation.counts_from(&id.document.owner, &self.me);
        let changes: Vec<_> = match counts.is_some_and(|from| layer.head().audience_sequence >= from) {
            true => self
                .word_on_each(held.head().sequence, &id, ours, layer.head().sequence, theirs)
                .into_iter()
                .filter(|(_, word)| *word == Word::Theirs)
                .map(|(key, _)| (theirs.get(&key).cloned(), key))
                .map(|(entry, key)| (key, entry))
                .collect(),
            // Signed before we were listed again: nothing of it counts.
            false => Vec::new(),
        };
        if changes.is_empty() {
            self.supply(peer, Class::Document, &id, Some(state));
            return;
        }
        let (document, keys) = (id.document.name.as_str(), changes.len());
        tracing::warn!(document, keys, "took back what this node had written before its disk was restored");
        self.stage_map_below(&id.document, changes);
    }

    // ---- joining two states of one layer -------------------------------------------------------------------

    /// Which of two states of one layer of ours has the word on each key in which they differ. Both go back to
    /// one that they have in common; how far that is from now is known from the entries that are the same.
    ///
    /// What was written since this start is ours. What changed here at a later sequence than theirs is ours.
    /// What has stood here since before the two parted was changed there. Of the rest the later stamp has the
    /// word, and an entry goes before none: a deletion is an entry, so nothing written is lost.
    fn word_on_each(
        &self,
        our_sequence: Sequence,
        id: &LayerId,
        ours: &MapContent,
        their_sequence: Sequence,
        theirs: &MapContent,
    ) -> Vec<(KeyPath, Word)> {
        let seen = self.holdings.changes_seen(id);
        let written = self.written.get(&id.document);
        let both = our_sequence.min(their_sequence);
        let same = ours.iter().filter(|(key, entry)| theirs.get(key) == Some(entry));
        let since = same.filter_map(|(key, _)| seen.get(key).copied()).filter(|at| *at <= both);
        let parted_after = since.max().unwrap_or(Sequence::NONE);
        let word = |key: &KeyPath| {
            let at = seen.get(key).copied();
            let here = at.is_some_and(|at| at > their_sequence);
            let before = at.is_some_and(|at| at <= parted_after);
            let is_new = written.is_some_and(|written| written.contains(key));
            match (ours.get(key), theirs.get(key)) {
                (Some(_), _) if is_new || here => Word::Ours,
                (None, _) if here => Word::Ours,
                (Some(_), _) if before => Word::Theirs,
                (Some(a), Some(b)) if (b.stamp, b.value_hash()) > (a.stamp, a.value_hash()) => Word::Theirs,
                (Some(_), _) => Word::Ours,
                (None, _) => Word::Theirs,
            }
        };
        let gone = theirs.iter().filter(|(key, _)| ours.get(key).is_none());
        let other = ours.iter().filter(|(key, entry)| theirs.get(key) != Some(entry));
        gone.chain(other).map(|(key, _)| (key.clone(), word(key))).collect()
    }

    /// Whether a state of ours that we did not sign is of this very time: a second machine has our key.
    fn is_anothers(&self, signed: &SignedHead) -> bool {
        self.started_ms.is_some_and(|started| signed.head.time_ms > started)
    }

    fn stop_authoring(&mut self) {
        let why = "another machine signs with this node's key at this moment. Two nodes must not share one \
                   identity: stop one of them, and `init` it anew in an empty folder";
        if self.stopped.is_none() {
            self.stopped = Some(why.to_owned());
            self.event(Event::Alarm { message: why.to_owned() });
        }
    }
}

/// Whether a state may have this root. Of one told on air only the first byte is known, the others are 0.
fn is_print(state: State, print: [u8; 4]) -> bool {
    let ([first, rest @ ..], [same, ..]) = (state.root_prefix, print);
    state.root_prefix == print || rest == [0; 3] && first == same
}
