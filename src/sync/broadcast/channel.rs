//! One owner's audience on one radio: what this node holds of the owner's documents, and what its listeners hold.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::sync::broadcast::heartbeats::News;
use crate::sync::broadcast::input::LayerOffer;
use crate::sync::broadcast::inventory::Inventory;
use crate::sync::broadcast::layer::SupplyPlan;
use crate::sync::broadcast::listener::ChannelListener;
use crate::sync::broadcast::message::{Fingerprint, FrontierMessage};
use crate::sync::broadcast::schedule::FrontierSchedule;
use crate::sync::broadcast::status::{LagKind, LayerLag, Presence};
use crate::sync::broadcast::timing::ReplyDelays;
use crate::sync::broadcast::{ALARMS_RANK, STATE_RANK};
use crate::sync::frontier::{Frontier, State};
use crate::time::{Millis, Mono};

/// Deltas from far back that are received before their author gets an early heartbeat.
const FAR_BASES_MAX: u8 = 2;
/// Layers up to this rank are taken by a node that only observes their owner: rights, alarms and node states.
const OBSERVED_RANK_MAX: u8 = STATE_RANK;

/// A node state that has not left so long after its pace would let it counts as behind: other traffic or the budget holds it up.
const STATE_LEAVES_WITHIN: Millis = Millis::from_secs(2 * 60);

/// The listeners of a radio that were received, and until when they count as present.
pub(super) type Present = BTreeMap<PeerId, Presence>;

/// What the node knows of a channel.
pub(super) struct ChannelSettings {
    pub(super) aliases: Vec<[u8; 2]>,
    pub(super) ours: BTreeMap<LayerHash, LayerOffer>,
    pub(super) members: Vec<PeerId>,
    pub(super) readers: usize,
    pub(super) observes: bool,
}

/// A layer that some listeners lack.
pub(super) struct DueLayer {
    pub(super) layer: LayerHash,
    pub(super) supply: SupplyPlan,
    pub(super) rank: u8,
    pub(super) newest_at: Mono,
}

fn is_present(present: &Present, peer: &PeerId, now: Mono) -> bool {
    present.get(peer).is_some_and(|presence| presence.is_current(now))
}

#[derive(Debug)]
pub(super) struct BroadcastChannel {
    pub(super) aliases: Vec<[u8; 2]>,
    is_ours: bool,
    /// Whether this node only observes the owner: rights and node states are all that it takes.
    observes: bool,
    inventory: Inventory,
    listeners: BTreeMap<PeerId, ChannelListener>,
    schedule: FrontierSchedule,
    readers: usize,
    /// Deltas from far back that were received since the last early heartbeat for their sake.
    far_bases: u8,
}

impl BroadcastChannel {
    pub(super) fn new(is_ours: bool) -> Self {
        BroadcastChannel {
            aliases: Vec::new(),
            is_ours,
            observes: false,
            inventory: Inventory::default(),
            listeners: BTreeMap::new(),
            schedule: FrontierSchedule::default(),
            readers: 1,
            far_bases: 0,
        }
    }

    pub(super) fn set(&mut self, now: Mono, settings: ChannelSettings) {
        let ChannelSettings { aliases, ours, members, readers, observes } = settings;
        self.aliases = aliases;
        self.observes = observes;
        let gone = self.inventory.layers.keys().filter(|layer| !ours.contains_key(*layer)).copied();
        for layer in gone.collect::<Vec<_>>() {
            self.remove(layer);
        }
        for (layer, LayerOffer { state, bases, rank }) in ours {
            let is_news = self.ours().get(&layer) != Some(state);
            let held = self.inventory.layers.entry(layer).or_default();
            held.rank = rank;
            held.declined = false;
            if is_news {
                held.replace_states(bases, state, now, now);
                self.change(now, layer, state);
            }
        }
        let members: BTreeSet<PeerId> = members.into_iter().collect();
        self.readers = readers.max(members.len());
        self.listeners.retain(|peer, _| members.contains(peer));
        for peer in members {
            self.listeners.entry(peer).or_default();
        }
    }

    // ---- questions ---------------------------------------------------------------------------------------

    pub(super) fn ours(&self) -> &Frontier {
        self.inventory.frontier()
    }

    /// What this node's heartbeats show. A node state that no listener on air has been sent yet is left out, since it waits for its pace
    /// or came over another link: the last one that they were sent stands in its place, or each heartbeat would make them ask for
    /// what is not sent yet.
    pub(super) fn announced(&self, is_on_air: impl Fn(&PeerId) -> bool) -> Frontier {
        let mut announced = self.ours().clone();
        let on_air: Vec<&ChannelListener> =
            self.listeners.iter().filter(|(peer, _)| is_on_air(peer)).map(|(_, listener)| listener).collect();
        let states = self.inventory.layers.iter().filter(|(_, held)| held.rank == STATE_RANK);
        for (layer, held) in states {
            let Some(ours) = self.ours().get(layer) else { continue };
            let is_unsent = !on_air.iter().any(|listener| listener.should_have(layer, ours))
                && on_air.iter().any(|listener| listener.state(layer).is_some());
            let last = match held.is_ours {
                true => held.sent.back().map(|sent| sent.state),
                false => on_air.iter().filter_map(|listener| listener.newest(layer)).max(),
            };
            if let Some(last) = last.filter(|last| *last < ours && is_unsent) {
                announced.set(*layer, Some(last));
            }
        }
        announced
    }

    /// How many nodes may have the same to send.
    pub(super) fn readers(&self) -> usize {
        self.readers
    }

    pub(super) fn has_member(&self, peer: &PeerId) -> bool {
        self.listeners.contains_key(peer)
    }

    /// The listeners of the channel, whether they are present or not.
    pub(super) fn members(&self) -> impl Iterator<Item = &PeerId> {
        self.listeners.keys()
    }

    /// What is believed of a member.
    pub(super) fn listener(&self, peer: &PeerId) -> Option<&ChannelListener> {
        self.listeners.get(peer)
    }

    /// The layers in which a listener and this node differ; none while what it holds is unknown. `state_pace` is the time between
    /// two node states.
    pub(super) fn lags(&self, now: Mono, peer: &PeerId, state_pace: Millis) -> Option<Vec<LayerLag>> {
        let waits_its_turn = |since: Mono| now.since(since) < state_pace + STATE_LEAVES_WITHIN;
        let is_fresh = |layer: &LayerHash, kind, since: Option<Mono>| {
            let rank = self.inventory.layers.get(layer).map(|held| held.rank);
            rank == Some(STATE_RANK)
                && match kind {
                    // A report that comes later and does not show it makes it lacking.
                    LagKind::Unacknowledged => true,
                    LagKind::TheyLack => since.is_some_and(waits_its_turn),
                    LagKind::WeLack | LagKind::NoRoomHere | LagKind::NoRoomThere => false,
                }
        };
        self.listeners.get(peer)?.lags(self.ours(), is_fresh)
    }

    /// When the newest state was sent here that a listener has reported as held since.
    pub(super) fn acknowledged_at(&self, peer: &PeerId) -> Option<Mono> {
        let listener = self.listeners.get(peer)?;
        let reported_at = listener.known_at()?;
        let layers = self.inventory.layers.iter();
        let sent = layers.flat_map(|(layer, held)| held.sent.iter().map(move |sent| (layer, sent)));
        // What was sent after the report is believed to have arrived, not known.
        let covered = sent.filter(|(layer, sent)| sent.at <= reported_at && listener.has(layer, sent.state));
        covered.map(|(_, sent)| sent.at).max()
    }

    /// Whether these listeners, and all that are present, hold a state of a layer or want none.
    pub(super) fn all_hold(
        &self,
        now: Mono,
        present: &Present,
        layer: &LayerHash,
        state: State,
        targets: &BTreeSet<PeerId>,
    ) -> bool {
        let is_document = self.is_document(layer);
        let concerned = |peer: &PeerId| targets.contains(peer) || is_present(present, peer, now);
        let concerned = self.listeners.iter().filter(|(peer, _)| concerned(peer));
        concerned
            .map(|(_, listener)| listener)
            .all(|listener| listener.has(layer, state) || (listener.observes && is_document))
    }

    /// Whether a layer is of a kind that a node which only observes its owner does not take.
    fn is_document(&self, layer: &LayerHash) -> bool {
        self.inventory.layers.get(layer).is_none_or(|held| held.rank > OBSERVED_RANK_MAX)
    }

    /// The states of a layer that listeners reported, or are known to hold.
    pub(super) fn shown(&self, layer: &LayerHash) -> impl Iterator<Item = State> {
        self.listeners.values().filter_map(|listener| listener.state(layer))
    }

    // ---- what happens here -------------------------------------------------------------------------------

    fn change(&mut self, now: Mono, layer: LayerHash, state: State) {
        let before = self.ours().get(&layer);
        for listener in self.listeners.values_mut() {
            listener.note_seen(&layer);
            listener.note_change(layer, before, now);
        }
        self.inventory.change(layer, Some(state));
    }

    fn remove(&mut self, layer: LayerHash) {
        if self.inventory.layers.remove(&layer).is_some() {
            self.inventory.change(layer, None);
        }
    }

    /// A layer has a new state. Another author's is sent after `wait`, this node's own (none) at once.
    pub(super) fn stored(
        &mut self,
        now: Mono,
        layer: LayerHash,
        offer: LayerOffer,
        from: Option<PeerId>,
        wait: Option<Millis>,
    ) {
        let LayerOffer { state, bases, rank } = offer;
        let held = self.inventory.layers.entry(layer).or_default();
        held.rank = rank;
        held.declined = false;
        held.is_ours = wait.is_none();
        // What is not kept below is no base any more.
        held.replace_states(bases, state, now, now + wait.unwrap_or_default());
        self.change(now, layer, state);
        if let Some(from) = from {
            self.confirm(&from, layer, state);
            self.overheard(now, layer, state);
        }
    }

    /// How soon a listener has to learn that it missed the newest state of a layer.
    pub(super) fn news(&self, layer: &LayerHash) -> News {
        match self.inventory.layers.get(layer) {
            Some(held) if held.rank == ALARMS_RANK => News::Alarm,
            Some(held) if held.is_routine => News::Routine,
            Some(_) | None => News::Usual,
        }
    }

    pub(super) fn note_routine(&mut self, layer: &LayerHash, is_routine: bool) {
        if let Some(held) = self.inventory.layers.get_mut(layer) {
            held.is_routine = is_routine;
        }
    }

    /// A state that was received is not taken. It is reported as held, or it would be sent for ever; it is not sent on
    /// until rights or the layer change.
    pub(super) fn decline(&mut self, now: Mono, layer: LayerHash, state: State) {
        let held = self.inventory.layers.entry(layer).or_default();
        held.declined = true;
        held.note(state, held.at, held.due);
        self.change(now, layer, state);
    }

    /// A layer of this node is neither reported nor sent for now: a listener that has a state of it sends that.
    pub(super) fn withhold(&mut self, layer: LayerHash) {
        self.remove(layer);
    }

    /// A delta arrived that may be of a layer that was declined. While that is reported as held, only deltas that
    /// cannot be read arrive.
    pub(super) fn ask_for_declined(&mut self) {
        let declined =
            self.inventory.layers.iter().filter(|(_, held)| held.declined).map(|(layer, _)| *layer);
        for layer in declined.collect::<Vec<_>>() {
            self.remove(layer);
        }
    }

    /// Another node has just sent this to all: it is not sent again unless a listener shows that it missed it.
    pub(super) fn overheard(&mut self, now: Mono, layer: LayerHash, state: State) {
        self.listeners.values_mut().for_each(|listener| listener.note_supplied(layer, state, now));
    }

    /// A listener holds a state.
    pub(super) fn confirm(&mut self, peer: &PeerId, layer: LayerHash, state: State) {
        let sent = self.inventory.layers.get(&layer).map(|held| &held.sent);
        if let Some(listener) = self.listeners.get_mut(peer) {
            listener.confirm(layer, state, sent);
        }
    }

    /// What a listener was believed to have received over another link may not have arrived: it is sent here, unless the listener
    /// reports that it holds it.
    pub(super) fn undelivered(&mut self, now: Mono, peer: &PeerId, layer: LayerHash, held: Option<State>) {
        if let Some(listener) = self.listeners.get_mut(peer) {
            listener.take_back(layer, held, now);
        }
    }

    /// Whether a fingerprint is of what a listener is believed to hold, or may hold.
    pub(super) fn fits(&self, peer: &PeerId, fingerprint: Fingerprint) -> bool {
        let Some(listener) = self.listeners.get(peer) else { return false };
        listener.matches(fingerprint) || self.recognised(fingerprint, listener).is_some()
    }

    /// The frontier that a fingerprint of a listener is of, as far as it follows from what is held here.
    fn recognised(&self, fingerprint: Fingerprint, listener: &ChannelListener) -> Option<Frontier> {
        let expected = listener.expected().into_iter().find(|frontier| fingerprint.is_of(frontier));
        expected
            .or_else(|| self.inventory.recognise(fingerprint))
            .or_else(|| self.inventory.recognise_present(fingerprint, listener))
    }

    fn confirm_all(&mut self, peer: &PeerId, frontier: &Frontier) {
        for (layer, state) in frontier.iter() {
            self.confirm(peer, *layer, *state);
        }
    }

    // ---- what listeners report ---------------------------------------------------------------------------

    /// A heartbeat of a listener carried a fingerprint of what it holds.
    pub(super) fn received_fingerprint(
        &mut self,
        now: Mono,
        from: PeerId,
        fingerprint: Fingerprint,
        delays: &ReplyDelays,
    ) {
        let Some(listener) = self.listeners.get(&from) else { return };
        let recognised = match listener.matches(fingerprint) {
            true => None,
            false => match self.recognised(fingerprint, listener) {
                Some(frontier) => Some(frontier),
                None => return self.not_recognised(now, from, fingerprint, delays),
            },
        };
        if let Some(frontier) = &recognised {
            self.confirm_all(&from, frontier);
        }
        if let Some(listener) = self.listeners.get_mut(&from) {
            listener.recognised(recognised, now);
            listener.forget_missed(now, delays.timing.settle());
        }
        self.let_authors_go_first(now, from, delays.relay);
    }

    fn not_recognised(&mut self, now: Mono, from: PeerId, fingerprint: Fingerprint, delays: &ReplyDelays) {
        if let Some(listener) = self.listeners.get_mut(&from) {
            listener.not_recognised(fingerprint, now);
            self.schedule.by(now + delays.frontier);
        }
    }

    /// Several nodes may hold what a listener lacks: those that did not write it wait for its author, each a while of
    /// its own.
    fn let_authors_go_first(&mut self, now: Mono, from: PeerId, relay: Millis) {
        let Some(listener) = self.listeners.get(&from) else { return };
        if !self.is_ours {
            self.inventory.postpone(now, now + relay, listener);
        }
    }

    /// A listener reported what it holds, layer by layer.
    pub(super) fn received_frontier(
        &mut self,
        now: Mono,
        from: PeerId,
        message: &FrontierMessage,
        delays: &ReplyDelays,
        answer: Millis,
    ) {
        let report = self.inventory.read(message);
        let we_lack = self.inventory.lacks_of(&report);
        let lacking = self.inventory.lacked_by(&report);
        for (layer, state) in report.theirs.iter().filter(|(layer, _)| !lacking.contains(layer)) {
            self.confirm(&from, *layer, *state);
        }
        let Some(listener) = self.listeners.get_mut(&from) else { return };
        let settle_from = now - delays.timing.settle();
        for layer in &lacking {
            let theirs = report.theirs.get(layer);
            let held = self.inventory.layers.get(layer);
            let fits = |base: &State| theirs == Some(*base) || listener.holds(layer, base);
            let crossing = held.and_then(|held| held.crossing(settle_from, fits));
            listener.note_lack(*layer, theirs, crossing);
        }
        listener.take_report(report, now);
        listener.is_ahead = we_lack;
        self.make_due(now, &lacking, delays.relay);
        match we_lack {
            true => {
                let ours = self.ours().fingerprint();
                let at = now + delays.frontier;
                self.schedule.by_unless_sent(now, at, ours, delays.timing.frame);
            }
            // It asked what this node was about to ask, or is the one that lacks something.
            false => {
                self.settle(now);
                self.schedule.postpone(now + answer);
            }
        }
    }

    fn make_due(&mut self, now: Mono, layers: &[LayerHash], relay: Millis) {
        for layer in layers {
            if let Some(held) = self.inventory.layers.get_mut(layer) {
                held.due = now + if self.is_ours || held.is_ours { Millis::ZERO } else { relay };
            }
        }
    }

    /// A delta from far back arrived. Returns whether it is one of several: a single one is normal from a node that
    /// has just come back.
    pub(super) fn received_far_base(&mut self) -> bool {
        self.far_bases += 1;
        let is_often = self.far_bases >= FAR_BASES_MAX;
        if is_often {
            self.far_bases = 0;
        }
        is_often
    }

    /// What a listener reported, and was not recognised, is found out otherwise.
    pub(super) fn drop_question_of(&mut self, now: Mono, peer: &PeerId) {
        if let Some(listener) = self.listeners.get_mut(peer) {
            listener.drop_question();
        }
        self.settle(now);
    }

    /// A node that is unknown here asked something that cannot be read.
    pub(super) fn received_question(&mut self, until: Mono) {
        self.schedule.postpone(until);
    }

    /// What this node holds has changed, or what it knows of others. Where it now holds what they reported, no frontier
    /// is due; otherwise none is before `later`.
    pub(super) fn settle(&mut self, later: Mono) {
        let recognise = |(peer, listener): (&PeerId, &ChannelListener)| {
            let it = listener.unrecognised()?;
            let frontier = self.inventory.recognise_present(it.fingerprint, listener)?;
            Some((*peer, frontier, it.at))
        };
        for (peer, frontier, at) in self.listeners.iter().filter_map(recognise).collect::<Vec<_>>() {
            self.confirm_all(&peer, &frontier);
            if let Some(listener) = self.listeners.get_mut(&peer) {
                listener.recognised(Some(frontier), at);
            }
        }
        self.listeners.values_mut().for_each(|listener| listener.settle(self.inventory.frontier()));
        match self.schedule.is_required() || self.listeners.values().any(ChannelListener::is_open) {
            true => self.schedule.postpone(later),
            false => self.schedule.cancel(),
        }
    }

    // ---- what this node sends ----------------------------------------------------------------------------

    /// When a frontier is due.
    pub(super) fn frontier_at(&self) -> Option<Mono> {
        self.schedule.at()
    }

    /// Sends a frontier after a while, whatever others send, unless the same one has just been sent.
    pub(super) fn require_frontier(&mut self, now: Mono, wait: Millis, frame: Millis) {
        self.schedule.require_by(now, now + wait, self.inventory.frontier().fingerprint(), frame);
        if self.schedule.is_required() {
            self.listeners.values_mut().for_each(|listener| listener.is_owed = true);
        }
    }

    pub(super) fn frontier_message(&self) -> FrontierMessage {
        self.inventory.message(self.observes)
    }

    /// The present listeners that wait for this node's frontier.
    pub(super) fn awaiting(&self, now: Mono, present: &Present) -> Vec<PeerId> {
        let waits = |(peer, listener): &(&PeerId, &ChannelListener)| {
            listener.is_open() && is_present(present, peer, now)
        };
        self.listeners.iter().filter(waits).map(|(peer, _)| *peer).collect()
    }

    /// The frontier was sent under a key that `to` have. It goes out once more if others wait for it.
    pub(super) fn sent_frontier(&mut self, now: Mono, to: &[PeerId], present: &Present) {
        let gets_it = |peer: &PeerId| to.contains(peer) || !is_present(present, peer, now);
        for (_, listener) in self.listeners.iter_mut().filter(|(peer, _)| gets_it(peer)) {
            listener.answered();
        }
        self.schedule.done(now, self.inventory.frontier().fingerprint());
        if self.listeners.values().any(ChannelListener::is_open) {
            self.schedule.by(now);
        }
    }

    /// What present listeners lack and may be sent now.
    pub(super) fn supplies(&self, now: Mono, present: &Present) -> impl Iterator<Item = DueLayer> {
        let due = self.inventory.layers.iter().filter(move |(_, held)| held.due <= now && !held.declined);
        due.filter_map(move |(layer, held)| {
            let supply = held.supply_for(layer, &self.lacking(layer, present, now))?;
            Some(DueLayer { layer: *layer, supply, rank: held.rank, newest_at: held.at })
        })
    }

    fn lacking(&self, layer: &LayerHash, present: &Present, now: Mono) -> Vec<(&PeerId, &ChannelListener)> {
        let state = self.ours().get(layer).expect("a layer of a channel has a state");
        let is_document = self.is_document(layer);
        let lacks = |listener: &ChannelListener| listener.lacks(layer, state, is_document);
        let is_present = |peer| is_present(present, peer, now);
        self.listeners.iter().filter(|(peer, listener)| is_present(peer) && lacks(listener)).collect()
    }

    /// When each thing of this channel becomes due.
    pub(super) fn due_times(&self, now: Mono, present: &Present) -> impl Iterator<Item = Mono> {
        let is_lacked = move |layer: &LayerHash| !self.lacking(layer, present, now).is_empty();
        let supplies =
            self.inventory.layers.iter().filter(move |(layer, held)| !held.declined && is_lacked(layer));
        supplies.map(|(_, held)| held.due).chain(self.schedule.at())
    }

    /// A layer's newest state was sent to some listeners.
    pub(super) fn supplied(&mut self, now: Mono, layer: LayerHash, base: Option<State>, targets: &[PeerId]) {
        let Some(state) = self.ours().get(&layer) else { return };
        for peer in targets {
            if let Some(listener) = self.listeners.get_mut(peer) {
                listener.note_supplied(layer, state, now);
            }
        }
        if let Some(held) = self.inventory.layers.get_mut(&layer) {
            held.note_supplied(state, base, now);
        }
    }

    /// A state on the way to the newest was sent. A listener that received it takes the next delta from there; one that
    /// did not reports what it holds.
    pub(super) fn sent_intermediate(
        &mut self,
        now: Mono,
        layer: LayerHash,
        state: State,
        targets: &[PeerId],
    ) {
        for peer in targets {
            if let Some(listener) = self.listeners.get_mut(peer) {
                listener.note_base(layer, state);
            }
        }
        if let Some(held) = self.inventory.layers.get_mut(&layer) {
            held.note_sent(state, now);
        }
    }
}
