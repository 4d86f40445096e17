//! One owner's audience on one radio: what we hold of its documents, and what we believe its listeners hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tombolo_transports::PeerId;

use crate::layer::LayerPrint;
use crate::sync::cell::message::{ENTRIES_MAX, Entry, Told, short_print};
use crate::sync::cell::{Apart, Heard, Standing};
use crate::sync::frontier::{Frontier, State};

/// Changes of what we hold that are remembered, so that an older fingerprint of ours is recognised.
const PAST_MAX: usize = 32;
/// States remembered per layer, so that four bytes are enough to name one.
const STATES_MAX: usize = 24;
/// The same frontier is not told again within so many frame times.
const TOLD_PAUSE_FRAMES: u64 = 12;

/// Layers up to this rank are taken by who only observes their owner: rights and node states.
const OBSERVED_RANK_MAX: u8 = 1;

/// A layer that some listeners lack.
pub(super) struct Due {
    pub(super) layer: LayerPrint,
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
    layers: BTreeMap<LayerPrint, Held>,
    listeners: BTreeMap<PeerId, Listener>,
    /// Newest last: what one layer's state was before a change.
    past: VecDeque<(LayerPrint, Option<State>)>,
    tell_at: Option<u64>,
    told: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Held {
    rank: u8,
    /// When it came or was written.
    at: u64,
    /// From when on we may send it: a relay lets others go first.
    due: u64,
    /// What went out on air lately, newest last.
    sent: VecDeque<State>,
    /// What we held lately, newest last; ends with what we hold.
    states: VecDeque<State>,
    /// We do not take it, and only say that we have that state.
    declined: bool,
}

#[derive(Debug, Default)]
struct Listener {
    theirs: Frontier,
    /// Whether `theirs` is what it said, or what follows from it.
    known: bool,
    /// It only observes the owner, and lacks no documents.
    observes: bool,
    /// When it last said something that we could read as a whole.
    known_at: Option<u64>,
    /// Short names of layers that it said it has and that we have never seen; as many as fit a frontier.
    unseen: BTreeSet<u16>,
    /// States that it has held, and so keeps as bases: those it was seen to hold, and those sent before that.
    holds: BTreeMap<LayerPrint, BTreeSet<State>>,
    /// What was sent that it may have missed, and when.
    supplied: BTreeMap<LayerPrint, (State, u64)>,
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
            tell_at: None,
            told: None,
        }
    }

    pub(super) fn set(
        &mut self,
        now: u64,
        aliases: Vec<[u8; 2]>,
        ours: BTreeMap<LayerPrint, Standing>,
        members: Vec<PeerId>,
        observes: bool,
    ) {
        self.aliases = aliases;
        self.observes = observes;
        let gone: Vec<LayerPrint> =
            self.layers.keys().filter(|layer| !ours.contains_key(*layer)).copied().collect();
        for layer in gone {
            self.layers.remove(&layer);
            self.change(layer, None);
        }
        for (layer, Standing { state, bases, rank }) in ours {
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
        self.listeners.retain(|peer, _| members.contains(peer));
        for peer in members {
            self.listeners.entry(peer).or_default();
        }
    }

    pub(super) fn ours(&self) -> &Frontier {
        &self.ours
    }

    pub(super) fn should_have(&self, layer: &LayerPrint, peer: &PeerId) -> bool {
        let (Some(state), Some(listener)) = (self.ours.get(layer), self.listeners.get(peer)) else {
            return false;
        };
        let has = listener.theirs.get(layer).is_some_and(|theirs| theirs >= state);
        listener.known && (has || listener.supplied.get(layer).is_some_and(|(sent, _)| *sent >= state))
    }

    pub(super) fn may_have(&self, layer: &LayerPrint, peer: &PeerId, state: State) -> bool {
        let Some(listener) = self.listeners.get(peer) else { return false };
        listener.holds(layer, &state)
            || listener.theirs.get(layer) == Some(state)
            || listener.supplied.get(layer).is_some_and(|(sent, _)| *sent == state)
    }

    pub(super) fn has_member(&self, peer: &PeerId) -> bool {
        self.listeners.contains_key(peer)
    }

    pub(super) fn members(&self) -> usize {
        self.listeners.len()
    }

    fn change(&mut self, layer: LayerPrint, state: Option<State>) {
        for listener in self.listeners.values_mut().filter(|_| state.is_some()) {
            listener.unseen.remove(&short_print(&layer));
        }
        self.past.push_back((layer, self.ours.get(&layer)));
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
        self.ours.set(layer, state);
    }

    pub(super) fn stored(
        &mut self,
        now: u64,
        layer: LayerPrint,
        (state, bases): (State, Vec<State>),
        rank: u8,
        from: Option<PeerId>,
        wait: u64,
    ) {
        let held = self.layers.entry(layer).or_default();
        held.rank = rank;
        held.declined = false;
        // What is not kept below is no base any more.
        held.states = bases.into();
        held.note(state, now, now + wait);
        self.change(layer, Some(state));
        if let Some(from) = from {
            self.has(&from, layer, state);
            self.overheard(now, layer, state);
        }
    }

    /// We do not take a state that was sent to us. We say that we have it, else it would be sent for ever; to others
    /// we have nothing of it to send, until rights or the layer change.
    pub(super) fn decline(&mut self, layer: LayerPrint, state: State) {
        let held = self.layers.entry(layer).or_default();
        held.declined = true;
        held.note(state, held.at, held.due);
        self.change(layer, Some(state));
    }

    /// We say and send nothing of a layer of our own for now: whoever has a state of it sends that to us.
    pub(super) fn withhold(&mut self, layer: LayerPrint) {
        if self.layers.remove(&layer).is_some() {
            self.change(layer, None);
        }
    }

    /// The states of a layer that listeners say they hold, or are known to.
    pub(super) fn shown(&self, layer: &LayerPrint) -> impl Iterator<Item = State> {
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
    pub(super) fn overheard(&mut self, now: u64, layer: LayerPrint, state: State) {
        for listener in self.listeners.values_mut() {
            listener.supplied.insert(layer, (state, now));
        }
    }

    /// A listener holds a state.
    pub(super) fn has(&mut self, peer: &PeerId, layer: LayerPrint, state: State) {
        let sent = self.layers.get(&layer).map(|held| held.sent.clone()).unwrap_or_default();
        if let Some(listener) = self.listeners.get_mut(peer)
            && listener.theirs.get(&layer).is_none_or(|theirs| theirs < state)
        {
            listener.confirm(layer, state, &sent);
        }
    }

    /// How far a listener and we are apart; none: what it holds is not known.
    pub(super) fn apart(&self, peer: &PeerId) -> Option<Apart> {
        let listener = self.listeners.get(peer).filter(|listener| listener.known)?;
        let newer =
            |(layer, theirs): &(&LayerPrint, &State)| self.ours.get(layer).is_none_or(|ours| ours < **theirs);
        let mut apart = Apart {
            we_lack: listener.unseen.len() + listener.theirs.iter().filter(newer).count(),
            ..Apart::default()
        };
        for (layer, state) in self.ours.iter() {
            if listener.theirs.get(layer).is_some_and(|theirs| theirs >= *state) {
                continue;
            }
            match listener.supplied.get(layer).is_some_and(|(sent, _)| sent >= state) {
                true => apart.sent += 1,
                false => apart.they_lack += 1,
            }
        }
        Some(apart)
    }

    /// When a listener last said what it holds in words that we could read as a whole.
    pub(super) fn known_at(&self, peer: &PeerId) -> Option<u64> {
        self.listeners.get(peer)?.known_at
    }

    // ---- what listeners say ------------------------------------------------------------------------------

    /// A listener said in a few bytes what it holds.
    pub(super) fn heard_print(
        &mut self,
        now: u64,
        from: PeerId,
        said: impl Fn(&Frontier) -> bool,
        wait: u64,
        settle_ms: u64,
    ) {
        let matching = match self.listeners.get(&from) {
            None => return,
            Some(listener) if listener.known && said(&listener.theirs) => None,
            Some(_) => Some(self.recognise(said)),
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
                self.tell_at = Some(self.tell_at.map_or(now + wait, |at| at.min(now + wait)));
            }
            matching => {
                if let Some(frontier) = matching.flatten() {
                    listener.theirs = frontier;
                }
                listener.known = true;
                listener.known_at = Some(now);
                listener.unseen.clear();
                // What was sent long enough ago to be heard, and does not show, was missed.
                listener.supplied.retain(|_, (_, at)| *at + settle_ms > now);
            }
        }
    }

    /// What we hold, or held a short while ago, if that is what was said.
    fn recognise(&self, said: impl Fn(&Frontier) -> bool) -> Option<Frontier> {
        let mut frontier = self.ours.clone();
        let mut past = self.past.iter().rev();
        loop {
            if said(&frontier) {
                return Some(frontier);
            }
            let (layer, before) = past.next()?;
            frontier.set(*layer, *before);
        }
    }

    /// A listener said what it holds, layer by layer.
    pub(super) fn heard_frontier(
        &mut self,
        now: u64,
        from: PeerId,
        told: &Told,
        wait: u64,
        relay_wait: u64,
        frame_ms: u64,
    ) {
        let (theirs, unseen) = self.read(told);
        let newer =
            |(layer, state): (&LayerPrint, &State)| self.ours.get(layer).is_none_or(|ours| ours < *state);
        let we_lack = !unseen.is_empty() || theirs.iter().any(newer);
        let same = !we_lack && theirs == self.ours;
        let lacking: Vec<LayerPrint> = self
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
        for layer in &lacking {
            listener.supplied.remove(layer);
            // It knows best what it has.
            listener.holds.insert(*layer, theirs.get(layer).into_iter().collect());
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
                held.due = now + if is_ours { 0 } else { relay_wait };
            }
        }
        if we_lack {
            self.tell_soon(now, wait, frame_ms);
        }
        if same || !we_lack {
            // It asked what we were about to ask, or is the one who lacks.
            self.tell_at = None;
        }
    }

    /// Makes states of short names, where we know of what they speak; the others are given back.
    fn read(&self, told: &Told) -> (Frontier, BTreeSet<u16>) {
        let mut theirs = Frontier::default();
        let mut unseen = BTreeSet::new();
        for entry in &told.entries {
            let (layer, state) = match entry {
                Entry::Long { layer, state } => (*layer, *state),
                Entry::Short { layer, sequence, root } => {
                    let mut named = self.layers.iter().filter(|(print, _)| short_print(print) == *layer);
                    match (named.next(), named.next()) {
                        (Some((print, held)), None) => (*print, held.resolve(*sequence, *root)),
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
        self.tell_at
    }

    /// Tells what we hold after a while, unless we have just done so.
    pub(super) fn tell_soon(&mut self, now: u64, wait: u64, frame_ms: u64) {
        let said_lately = self.told.is_some_and(|(at, print)| {
            print == self.ours.fingerprint() && now < at + TOLD_PAUSE_FRAMES * frame_ms
        });
        if !said_lately {
            self.tell_at = Some(self.tell_at.map_or(now + wait, |at| at.min(now + wait)));
        }
    }

    /// What we hold, the most valuable first where not all can be named.
    pub(super) fn told(&self) -> Told {
        let mut layers: Vec<(u8, LayerPrint, State)> = self
            .ours
            .iter()
            .map(|(layer, state)| (self.layers.get(layer).map_or(u8::MAX, |held| held.rank), *layer, *state))
            .collect();
        layers.sort_by_key(|(rank, layer, _)| (*rank, *layer));
        let complete = !self.observes && layers.len() <= ENTRIES_MAX;
        layers.truncate(ENTRIES_MAX);
        let prints: BTreeSet<u16> = layers.iter().map(|(_, layer, _)| short_print(layer)).collect();
        let ambiguous = prints.len() < layers.len();
        let entry = |(_, layer, state): &(u8, LayerPrint, State)| match ambiguous {
            true => Entry::Long { layer: *layer, state: *state },
            false => Entry::short(layer, *state),
        };
        Told { complete, entries: layers.iter().map(entry).collect() }
    }

    pub(super) fn has_told(&mut self, now: u64) {
        self.tell_at = None;
        self.told = Some((now, self.ours.fingerprint()));
    }

    /// What listeners that are there lack and may be sent now.
    pub(super) fn supplies(&self, now: u64, heard: &BTreeMap<PeerId, Heard>) -> impl Iterator<Item = Due> {
        let due = self.layers.iter().filter(move |(_, held)| held.due <= now && !held.declined);
        due.filter_map(move |(layer, held)| {
            let (base, targets) = held.base_for(layer, &self.lacking(layer, heard, now))?;
            Some(Due { layer: *layer, base, targets, rank: held.rank, newest_at: held.at })
        })
    }

    fn lacking(
        &self,
        layer: &LayerPrint,
        heard: &BTreeMap<PeerId, Heard>,
        now: u64,
    ) -> Vec<(&PeerId, &Listener)> {
        let Some(state) = self.ours.get(layer) else { return Vec::new() };
        let is_there = |peer: &PeerId| heard.get(peer).is_some_and(|heard| heard.until > now);
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
    pub(super) fn due_times(&self, now: u64, heard: &BTreeMap<PeerId, Heard>) -> impl Iterator<Item = u64> {
        let supplies = self
            .layers
            .iter()
            .filter(move |(layer, held)| !held.declined && !self.lacking(layer, heard, now).is_empty());
        supplies.map(|(_, held)| held.due).chain(self.tell_at)
    }

    /// A layer's newest state went out to some.
    pub(super) fn supplied(&mut self, now: u64, layer: LayerPrint, targets: &[PeerId]) {
        let Some(state) = self.ours.get(&layer) else { return };
        for peer in targets {
            if let Some(listener) = self.listeners.get_mut(peer) {
                listener.supplied.insert(layer, (state, now));
            }
        }
        if let Some(held) = self.layers.get_mut(&layer) {
            held.sent.push_back(state);
            if held.sent.len() > STATES_MAX {
                held.sent.pop_front();
            }
        }
    }
}

impl Channel {
    /// A state on the way to the newest went out: whoever heard it takes the next step from there. Whoever did
    /// not will say what it holds.
    pub(super) fn stepped(&mut self, layer: LayerPrint, state: State, targets: &[PeerId]) {
        for peer in targets {
            if let Some(listener) = self.listeners.get_mut(peer) {
                listener.holds.entry(layer).or_default().insert(state);
            }
        }
        if let Some(held) = self.layers.get_mut(&layer) {
            held.sent.push_back(state);
            if held.sent.len() > STATES_MAX {
                held.sent.pop_front();
            }
        }
    }
}

impl Listener {
    /// It holds a state; what was sent between the one before and this it has most likely heard as well. If
    /// not, its next frontier puts that right.
    fn confirm(&mut self, layer: LayerPrint, state: State, sent: &VecDeque<State>) {
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

    fn holds(&self, layer: &LayerPrint, base: &State) -> bool {
        self.holds.get(layer).is_some_and(|holds| holds.contains(base))
    }
}

impl Held {
    fn note(&mut self, state: State, now: u64, due: u64) {
        self.at = now;
        self.due = due;
        if self.states.back() != Some(&state) {
            self.states.push_back(state);
        }
        if self.states.len() > STATES_MAX {
            self.states.pop_front();
        }
    }

    /// The state of which these are the low bits: one that we held, or the nearest there can be.
    fn resolve(&self, sequence: u16, root: u8) -> State {
        let fits = |state: &&State| {
            let [first, ..] = state.print;
            (state.sequence & 0xfff) as u16 == sequence && first == root
        };
        if let Some(known) = self.states.iter().rev().find(fits) {
            return *known;
        }
        let newest = self.states.back().map_or(0, |state| state.sequence);
        let candidates = [newest.saturating_sub(0x1000), newest, newest.saturating_add(0x1000)];
        let candidates = candidates.map(|near| near & !0xfff | u64::from(sequence));
        let nearest = candidates.into_iter().min_by_key(|candidate| candidate.abs_diff(newest));
        State { sequence: nearest.unwrap_or(0), print: [root, 0, 0, 0] }
    }

    /// The base that serves most, and whom it serves: the newest that all have, the *anchor*; else what the one
    /// furthest behind has, for those who have it as well. Where somebody has nothing that we know, the whole
    /// serves all.
    fn base_for(
        &self,
        layer: &LayerPrint,
        lacking: &[(&PeerId, &Listener)],
    ) -> Option<(Option<State>, Vec<PeerId>)> {
        let newest = self.states.back().filter(|_| !lacking.is_empty())?;
        let everybody = || lacking.iter().map(|(peer, _)| **peer).collect();
        let common = |base: &State| {
            base < newest
                && self.states.contains(base)
                && lacking.iter().all(|(_, listener)| listener.holds(layer, base))
        };
        if let Some(base) = self.states.iter().rev().find(|base| common(base)) {
            return Some((Some(*base), everybody()));
        }
        let theirs =
            |listener: &Listener| listener.theirs.get(layer).filter(|theirs| self.states.contains(theirs));
        if lacking.iter().any(|(_, listener)| theirs(listener).is_none()) {
            return Some((None, everybody()));
        }
        let oldest = lacking.iter().filter_map(|(_, listener)| theirs(listener)).min()?;
        let served = lacking.iter().filter(|(_, l)| theirs(l) == Some(oldest) || l.holds(layer, &oldest));
        Some((Some(oldest), served.map(|(peer, _)| **peer).collect()))
    }
}
