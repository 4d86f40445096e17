//! One owner's audience on one radio: what we hold of its documents, and what we believe its listeners hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::sync::broadcast::layer::ChannelLayer;
use crate::sync::broadcast::message::{ENTRIES_MAX, Fingerprint, FrontierEntry, FrontierMessage, short_hash};
use crate::sync::broadcast::schedule::FrontierSchedule;
use crate::sync::broadcast::{Lag, LayerOffer, Presence};
use crate::sync::frontier::{Frontier, State};

/// Changes of what we hold that are remembered, so that an older fingerprint of ours is recognised.
const PAST_MAX: usize = 32;
/// Deltas from far back that are heard before their author is told what we hold.
const FAR_MAX: u8 = 2;
/// States remembered per layer, so that four bytes are enough to name one.
pub(super) const STATES_MAX: usize = 24;
/// Layers up to this rank are taken by who only observes their owner: rights and node states.
const OBSERVED_RANK_MAX: u8 = 1;

/// A layer that some listeners lack.
pub(super) struct Due {
    pub(super) layer: LayerHash,
    pub(super) base: Option<State>,
    pub(super) targets: Vec<PeerId>,
    pub(super) rank: u8,
    pub(super) newest_at: u64,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) aliases: Vec<[u8; 2]>,
    is_ours: bool,
    /// Whether we only observe the owner: rights and node states are all we take.
    observes: bool,
    ours: Frontier,
    layers: BTreeMap<LayerHash, ChannelLayer>,
    listeners: BTreeMap<PeerId, Listener>,
    /// Newest last: what one layer's state was before a change.
    past: VecDeque<(LayerHash, Option<State>)>,
    schedule: FrontierSchedule,
    readers: usize,
    /// Short names of our layers are not enough: others hold more of them.
    is_ambiguous: bool,
    /// Deltas from far back that were heard since our last heartbeat for their sake.
    far: u8,
}

/// How long to wait with what a frontier brings about, milliseconds.
pub(super) struct ReplyDelays {
    /// Before we tell ours.
    pub(super) wait: u64,
    /// Before we send what is another's.
    pub(super) relay: u64,
    /// Before we ask what was asked.
    pub(super) answer: u64,
    /// Time on air of a short frame with the gap after it.
    pub(super) frame_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) theirs: Frontier,
    /// Whether `theirs` is what it said, or what follows from it.
    known: bool,
    /// It only observes the owner, and lacks no documents.
    observes: bool,
    /// When it last said something that we could read as a whole.
    known_at: Option<u64>,
    /// Short names of layers that it said it has and that we have never seen; as many as fit a frontier.
    unseen: BTreeSet<u16>,
    /// What it said of `theirs` that we could not tell, and when; none once it is known.
    said: Option<(Fingerprint, u64)>,
    /// It showed newer states than ours.
    is_ahead: bool,
    /// States that it has held, and so keeps as bases: those it was seen to hold, and those sent before that.
    holds: BTreeMap<LayerHash, BTreeSet<State>>,
    /// What was sent that it may have missed, and when.
    supplied: BTreeMap<LayerHash, (State, u64)>,
}

impl Channel {
    pub(super) fn new(is_ours: bool) -> Self {
        Channel {
            aliases: Vec::new(),
            is_ours,
            observes: false,
            ours: Frontier::default(),
            layers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            past: VecDeque::new(),
            schedule: FrontierSchedule::default(),
            readers: 1,
            is_ambiguous: false,
            far: 0,
        }
    }

    pub(super) fn set(
        &mut self,
        now: u64,
        aliases: Vec<[u8; 2]>,
        ours: BTreeMap<LayerHash, LayerOffer>,
        members: Vec<PeerId>,
        readers: usize,
        observes: bool,
    ) {
        self.aliases = aliases;
        self.observes = observes;
        let gone: Vec<LayerHash> =
            self.layers.keys().filter(|layer| !ours.contains_key(*layer)).copied().collect();
        for layer in gone {
            self.layers.remove(&layer);
            self.change(layer, None);
        }
        for (layer, LayerOffer { state, bases, rank }) in ours {
            let held = self.layers.entry(layer).or_default();
            held.rank = rank;
            held.declined = false;
            if self.ours.get(&layer) != Some(state) {
                held.states = bases.into();
                held.note(state, now, now);
                self.change(layer, Some(state));
            }
        }
        let members: BTreeSet<PeerId> = members.into_iter().collect();
        self.readers = readers.max(members.len());
        self.listeners.retain(|peer, _| members.contains(peer));
        for peer in members {
            self.listeners.entry(peer).or_default();
        }
    }

    pub(super) fn ours(&self) -> &Frontier {
        &self.ours
    }

    pub(super) fn should_have(&self, layer: &LayerHash, peer: &PeerId) -> bool {
        let (Some(state), Some(listener)) = (self.ours.get(layer), self.listeners.get(peer)) else {
            return false;
        };
        let has = listener.theirs.get(layer).is_some_and(|theirs| theirs >= state);
        listener.known && (has || listener.supplied.get(layer).is_some_and(|(sent, _)| *sent >= state))
    }

    pub(super) fn may_have(&self, layer: &LayerHash, peer: &PeerId, state: State) -> bool {
        let Some(listener) = self.listeners.get(peer) else { return false };
        listener.holds(layer, &state)
            || listener.theirs.get(layer) == Some(state)
            || listener.supplied.get(layer).is_some_and(|(sent, _)| *sent == state)
    }

    pub(super) fn has_member(&self, peer: &PeerId) -> bool {
        self.listeners.contains_key(peer)
    }

    /// How many may have the same to say.
    pub(super) fn readers(&self) -> usize {
        self.readers
    }

    fn change(&mut self, layer: LayerHash, state: Option<State>) {
        for listener in self.listeners.values_mut().filter(|_| state.is_some()) {
            listener.unseen.remove(&short_hash(&layer));
        }
        self.past.push_back((layer, self.ours.get(&layer)));
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
        self.ours.set(layer, state);
    }

    /// A layer has a new state. Others' states are sent after a wait, our own (none) at once.
    pub(super) fn stored(
        &mut self,
        now: u64,
        layer: LayerHash,
        (state, bases): (State, Vec<State>),
        rank: u8,
        from: Option<PeerId>,
        wait: Option<u64>,
    ) {
        let held = self.layers.entry(layer).or_default();
        held.rank = rank;
        held.declined = false;
        held.is_ours = wait.is_none();
        // What is not kept below is no base any more.
        held.states = bases.into();
        held.note(state, now, now + wait.unwrap_or(0));
        self.change(layer, Some(state));
        if let Some(from) = from {
            self.has(&from, layer, state);
            self.overheard(now, layer, state);
        }
    }

    /// We do not take a state that was sent to us. We say that we have it, else it would be sent for ever; to others
    /// we have nothing of it to send, until rights or the layer change.
    pub(super) fn decline(&mut self, layer: LayerHash, state: State) {
        let held = self.layers.entry(layer).or_default();
        held.declined = true;
        held.note(state, held.at, held.due);
        self.change(layer, Some(state));
    }

    /// We say and send nothing of a layer of our own for now: whoever has a state of it sends that to us.
    pub(super) fn withhold(&mut self, layer: LayerHash) {
        if self.layers.remove(&layer).is_some() {
            self.change(layer, None);
        }
    }

    /// The states of a layer that listeners say they hold, or are known to.
    pub(super) fn shown(&self, layer: &LayerHash) -> impl Iterator<Item = State> {
        self.listeners.values().filter_map(|listener| listener.theirs.get(layer))
    }

    /// A delta came that may be of a layer that we declined: said to have it, we are sent deltas that we cannot read.
    pub(super) fn ask_for_declined(&mut self) {
        let declined = self.layers.iter().filter(|(_, held)| held.declined).map(|(layer, _)| *layer);
        for layer in declined.collect::<Vec<_>>() {
            self.layers.remove(&layer);
            self.change(layer, None);
        }
    }

    /// Somebody has just sent this to all: it is not sent again unless a listener shows that it missed it.
    pub(super) fn overheard(&mut self, now: u64, layer: LayerHash, state: State) {
        for listener in self.listeners.values_mut() {
            listener.supplied.insert(layer, (state, now));
        }
    }

    /// A listener holds a state.
    pub(super) fn has(&mut self, peer: &PeerId, layer: LayerHash, state: State) {
        let sent = self.layers.get(&layer).map(|held| held.sent.clone()).unwrap_or_default();
        if let Some(listener) = self.listeners.get_mut(peer)
            && listener.theirs.get(&layer).is_none_or(|theirs| theirs < state)
        {
            listener.confirm(layer, state, &sent);
        }
    }

    /// The lag of a listener; none while what it holds is unknown.
    pub(super) fn lag(&self, peer: &PeerId) -> Option<Lag> {
        let listener = self.listeners.get(peer).filter(|listener| listener.known)?;
        let newer =
            |(layer, theirs): &(&LayerHash, &State)| self.ours.get(layer).is_none_or(|ours| ours < **theirs);
        let mut lag = Lag {
            we_lack: listener.unseen.len() + listener.theirs.iter().filter(newer).count(),
            ..Lag::default()
        };
        for (layer, state) in self.ours.iter() {
            if listener.theirs.get(layer).is_some_and(|theirs| theirs >= *state) {
                continue;
            }
            match listener.supplied.get(layer).is_some_and(|(sent, _)| sent >= state) {
                true => lag.unacknowledged += 1,
                false => lag.they_lack += 1,
            }
        }
        Some(lag)
    }

    /// When a listener last said what it holds in words that we could read as a whole.
    pub(super) fn known_at(&self, peer: &PeerId) -> Option<u64> {
        self.listeners.get(peer)?.known_at
    }

    // ---- what listeners say ------------------------------------------------------------------------------

    /// A listener said in a few bytes what it holds. How long to wait before we tell, before we send what is another's, and
    /// until what was just sent must show.
    pub(super) fn received_fingerprint(
        &mut self,
        now: u64,
        from: PeerId,
        said: Fingerprint,
        [wait, relay, settle_ms]: [u64; 3],
    ) {
        let matching = match self.listeners.get(&from) {
            None => return,
            Some(listener) if listener.known && said.is_of(&listener.theirs) => None,
            Some(listener) => Some(self.recognise(said).or_else(|| self.recognise_now(said, listener))),
        };
        if let Some(Some(frontier)) = &matching {
            for (layer, state) in frontier.iter() {
                self.has(&from, *layer, *state);
            }
        }
        let Some(listener) = self.listeners.get_mut(&from) else { return };
        match matching {
            Some(None) => {
                listener.known = false;
                listener.said = Some((said, now));
                self.schedule.by(now + wait);
            }
            matching => {
                if let Some(frontier) = matching.flatten() {
                    listener.theirs = frontier;
                }
                listener.known = true;
                listener.known_at = Some(now);
                listener.unseen.clear();
                listener.said = None;
                // What was sent long enough ago to be heard, and does not show, was missed.
                listener.supplied.retain(|_, (_, at)| *at + settle_ms > now);
                self.let_authors_go_first(now, from, relay);
            }
        }
    }

    /// Several may hold what a listener lacks: who did not write it waits for who did, and each its own while.
    fn let_authors_go_first(&mut self, now: u64, from: PeerId, relay: u64) {
        let Some(listener) = self.listeners.get(&from) else { return };
        let others =
            self.layers.iter_mut().filter(|(_, held)| !self.is_ours && !held.is_ours && held.due <= now);
        for (layer, held) in others {
            if listener.theirs.get(layer) < self.ours.get(layer) {
                held.due = now + relay;
            }
        }
    }

    /// What we hold, or held a short while ago, if that is what was said.
    fn recognise(&self, said: Fingerprint) -> Option<Frontier> {
        let mut frontier = self.ours.clone();
        let mut past = self.past.iter().rev();
        loop {
            if said.is_of(&frontier) {
                return Some(frontier);
            }
            let (layer, before) = past.next()?;
            frontier.set(*layer, *before);
        }
    }

    /// What we hold, if that is what was said: as it is, or without what we wrote that the listener does not have.
    fn recognise_now(&self, said: Fingerprint, listener: &Listener) -> Option<Frontier> {
        let mut without = self.ours.clone();
        for (layer, _) in self.layers.iter().filter(|(_, held)| held.is_ours) {
            without.set(*layer, listener.theirs.get(layer));
        }
        [self.ours.clone(), without].into_iter().find(|frontier| said.is_of(frontier))
    }

    /// A listener said what it holds, layer by layer.
    pub(super) fn received_frontier(
        &mut self,
        now: u64,
        from: PeerId,
        told: &FrontierMessage,
        delays: &ReplyDelays,
    ) {
        self.is_ambiguous |= self.is_taken_for_another(told);
        let (theirs, unseen) = self.read(told);
        let newer =
            |(layer, state): (&LayerHash, &State)| self.ours.get(layer).is_none_or(|ours| ours < *state);
        let we_lack = !unseen.is_empty() || theirs.iter().any(newer);
        let lacking: Vec<LayerHash> = self
            .ours
            .iter()
            .filter(|(layer, state)| match theirs.get(layer) {
                Some(theirs) => theirs < **state,
                None => told.complete,
            })
            .map(|(layer, _)| *layer)
            .collect();
        for (layer, state) in theirs.iter().filter(|(layer, _)| !lacking.contains(layer)) {
            self.has(&from, *layer, *state);
        }
        let Some(listener) = self.listeners.get_mut(&from) else { return };
        listener.observes = told.observes();
        listener.is_ahead = we_lack;
        listener.said = None;
        for layer in &lacking {
            let its = theirs.get(layer);
            let crossed = self.layers.get(layer).and_then(|held| {
                let fits = |base: &State| its == Some(*base) || listener.holds(layer, base);
                held.crossing(now.saturating_sub(delays.frame_ms * 2), fits)
            });
            match crossed {
                Some(sent) => listener.supplied.insert(*layer, sent),
                None => listener.supplied.remove(layer),
            };
            // It knows best what it has.
            listener.holds.insert(*layer, its.into_iter().collect());
        }
        if told.complete || told.observes() {
            listener.theirs = theirs;
            listener.known = true;
            listener.known_at = Some(now);
            listener.unseen = unseen;
        } else {
            for (layer, state) in theirs.iter() {
                listener.theirs.set(*layer, Some(*state));
            }
        }
        let is_ours = self.is_ours;
        for layer in lacking {
            if let Some(held) = self.layers.get_mut(&layer) {
                held.due = now + if is_ours || held.is_ours { 0 } else { delays.relay };
            }
        }
        match we_lack {
            true => {
                let ours = self.ours.fingerprint();
                self.schedule.again_by(now, now + delays.wait, ours, delays.frame_ms);
            }
            // It asked what we were about to ask, or is the one who lacks.
            false => {
                self.settle(now);
                self.schedule.put_off(now + delays.answer);
            }
        }
    }

    /// A delta from far back came; whether it is not the first, as from who has just come back.
    pub(super) fn received_far(&mut self) -> bool {
        self.far += 1;
        let is_often = self.far >= FAR_MAX;
        if is_often {
            self.far = 0;
        }
        is_often
    }

    /// Somebody asked, whom we do not understand.
    pub(super) fn received_asking(&mut self, until: u64) {
        self.schedule.put_off(until);
    }

    /// What we hold has changed, or what we know of others: where we now hold what they said, there is nothing to
    /// tell. Otherwise not before `later`.
    pub(super) fn settle(&mut self, later: u64) {
        let matches = |listener: &Listener| {
            let (said, at) = listener.said?;
            Some((self.recognise_now(said, listener)?, at))
        };
        let clear: Vec<_> =
            self.listeners.iter().filter_map(|(peer, listener)| Some((*peer, matches(listener)?))).collect();
        for (peer, (frontier, at)) in clear {
            for (layer, state) in frontier.iter() {
                self.has(&peer, *layer, *state);
            }
            if let Some(listener) = self.listeners.get_mut(&peer) {
                (listener.theirs, listener.known, listener.said) = (frontier, true, None);
                listener.known_at = Some(at);
                listener.unseen.clear();
            }
        }
        for listener in self.listeners.values_mut() {
            let newer =
                |(layer, state): (&LayerHash, &State)| self.ours.get(layer).is_none_or(|ours| ours < *state);
            listener.is_ahead &= !listener.unseen.is_empty() || listener.theirs.iter().any(newer);
        }
        let told_at = self.schedule.told_at();
        let is_open = |listener: &Listener| {
            listener.is_ahead || listener.said.is_some_and(|(_, at)| told_at.is_none_or(|told| at > told))
        };
        match self.schedule.must() || self.listeners.values().any(is_open) {
            true => self.schedule.put_off(later),
            false => self.schedule.drop(),
        }
    }

    /// Whether others hold a layer whose short name is that of one of ours: they cannot tell then which we mean.
    fn is_taken_for_another(&self, told: &FrontierMessage) -> bool {
        told.entries.iter().any(|entry| match entry {
            FrontierEntry::Long { layer, .. } => {
                let is_like = |ours: &LayerHash| ours != layer && short_hash(ours) == short_hash(layer);
                self.layers.keys().any(is_like)
            }
            FrontierEntry::Short { .. } => false,
        })
    }

    /// Makes states of short names, where we know of what they speak; the others are given back.
    fn read(&self, told: &FrontierMessage) -> (Frontier, BTreeSet<u16>) {
        let mut theirs = Frontier::default();
        let mut unseen = BTreeSet::new();
        for entry in &told.entries {
            let (layer, state) = match entry {
                FrontierEntry::Long { layer, state } => (*layer, *state),
                FrontierEntry::Short { layer, sequence, root } => {
                    let mut named = self.layers.iter().filter(|(hash, _)| short_hash(hash) == *layer);
                    match (named.next(), named.next()) {
                        (Some((hash, held)), None) => (*hash, held.resolve(*sequence, *root)),
                        _ => {
                            unseen.insert(*layer);
                            continue;
                        }
                    }
                }
            };
            theirs.set(layer, Some(state));
        }
        (theirs, unseen)
    }

    // ---- what we say -------------------------------------------------------------------------------------

    pub(super) fn tells_at(&self) -> Option<u64> {
        self.schedule.at()
    }

    /// Tells what we hold after a while, unless we have just done so.
    pub(super) fn must_tell(&mut self, now: u64, wait: u64, frame_ms: u64) {
        self.schedule.must_by(now, now + wait, self.ours.fingerprint(), frame_ms);
    }

    /// What we hold, the most valuable first where not all can be named.
    pub(super) fn frontier_message(&self) -> FrontierMessage {
        let mut layers: Vec<(u8, LayerHash, State)> = self
            .ours
            .iter()
            .map(|(layer, state)| (self.layers.get(layer).map_or(u8::MAX, |held| held.rank), *layer, *state))
            .collect();
        layers.sort_by_key(|(rank, layer, _)| (*rank, *layer));
        let complete = !self.observes && layers.len() <= ENTRIES_MAX;
        layers.truncate(ENTRIES_MAX);
        let short_hashes: BTreeSet<u16> = layers.iter().map(|(_, layer, _)| short_hash(layer)).collect();
        let ambiguous = self.is_ambiguous || short_hashes.len() < layers.len();
        let entry = |(_, layer, state): &(u8, LayerHash, State)| match ambiguous {
            true => FrontierEntry::Long { layer: *layer, state: *state },
            false => FrontierEntry::short(layer, *state),
        };
        FrontierMessage { complete, entries: layers.iter().map(entry).collect() }
    }

    pub(super) fn has_told(&mut self, now: u64) {
        self.listeners.values_mut().for_each(|listener| listener.is_ahead = false);
        self.schedule.done(now, self.ours.fingerprint());
    }

    /// What listeners that are there lack and may be sent now.
    pub(super) fn supplies(
        &self,
        now: u64,
        presence: &BTreeMap<PeerId, Presence>,
    ) -> impl Iterator<Item = Due> {
        let due = self.layers.iter().filter(move |(_, held)| held.due <= now && !held.declined);
        due.filter_map(move |(layer, held)| {
            let (base, targets) = held.base_for(layer, &self.lacking(layer, presence, now))?;
            Some(Due { layer: *layer, base, targets, rank: held.rank, newest_at: held.at })
        })
    }

    fn lacking(
        &self,
        layer: &LayerHash,
        presence: &BTreeMap<PeerId, Presence>,
        now: u64,
    ) -> Vec<(&PeerId, &Listener)> {
        let Some(state) = self.ours.get(layer) else { return Vec::new() };
        let is_there = |peer: &PeerId| presence.get(peer).is_some_and(|presence| presence.until > now);
        let is_document = self.layers.get(layer).is_none_or(|held| held.rank > OBSERVED_RANK_MAX);
        let lacks = |listener: &Listener| {
            listener.known
                && !(listener.observes && is_document)
                && listener.theirs.get(layer).is_none_or(|theirs| theirs < state)
                && listener.supplied.get(layer).is_none_or(|(sent, _)| *sent < state)
        };
        self.listeners.iter().filter(|(peer, listener)| is_there(peer) && lacks(listener)).collect()
    }

    /// When each thing of this channel becomes due.
    pub(super) fn due_times(
        &self,
        now: u64,
        presence: &BTreeMap<PeerId, Presence>,
    ) -> impl Iterator<Item = u64> {
        let supplies = self
            .layers
            .iter()
            .filter(move |(layer, held)| !held.declined && !self.lacking(layer, presence, now).is_empty());
        supplies.map(|(_, held)| held.due).chain(self.schedule.at())
    }

    /// A layer's newest state went out to some.
    pub(super) fn supplied(&mut self, now: u64, layer: LayerHash, base: Option<State>, targets: &[PeerId]) {
        let Some(state) = self.ours.get(&layer) else { return };
        for peer in targets {
            if let Some(listener) = self.listeners.get_mut(peer) {
                listener.supplied.insert(layer, (state, now));
            }
        }
        if let Some(held) = self.layers.get_mut(&layer) {
            held.went_out(state);
            held.last = Some((state, base, now));
        }
    }

    /// A state on the way to the newest went out: whoever heard it takes the next step from there. Whoever did
    /// not will say what it holds.
    pub(super) fn stepped(&mut self, layer: LayerHash, state: State, targets: &[PeerId]) {
        for peer in targets {
            if let Some(listener) = self.listeners.get_mut(peer) {
                listener.holds.entry(layer).or_default().insert(state);
            }
        }
        if let Some(held) = self.layers.get_mut(&layer) {
            held.went_out(state);
        }
    }
}

impl Listener {
    /// It holds a state; what was sent between the one before and this it has most likely heard as well. If
    /// not, its next frontier puts that right.
    fn confirm(&mut self, layer: LayerHash, state: State, sent: &VecDeque<State>) {
        let before = self.theirs.get(&layer);
        let holds = self.holds.entry(layer).or_default();
        let between =
            sent.iter().filter(|sent| **sent < state && before.is_some_and(|before| **sent > before));
        holds.extend(between.copied().chain([state]));
        while holds.len() > STATES_MAX {
            holds.pop_first();
        }
        self.theirs.set(layer, Some(state));
    }

    pub(super) fn holds(&self, layer: &LayerHash, base: &State) -> bool {
        self.holds.get(layer).is_some_and(|holds| holds.contains(base))
    }
}
