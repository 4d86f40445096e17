//! One layer on a channel: its newest state here, the states that a delta may start from, and what of it was sent.

use std::collections::VecDeque;

use tombolo_transports::PeerId;

use crate::layer::{LayerHash, Sequence};
use crate::sync::broadcast::listener::{ChannelListener, Supplied};
use crate::sync::frontier::State;
use crate::time::Mono;

/// States remembered per layer, so that four bytes are enough to name one.
pub(super) const STATES_MAX: usize = 24;

/// The newest transmission of a layer.
#[derive(Clone, Copy, Debug)]
struct LastSupply {
    state: State,
    base: Option<State>,
    at: Mono,
}

/// What a listener is to be sent of a layer.
pub(super) struct SupplyPlan {
    pub(super) base: Option<State>,
    pub(super) targets: Vec<PeerId>,
}

#[derive(Debug, Default)]
pub(super) struct ChannelLayer {
    pub(super) rank: u8,
    /// When the newest state arrived or was written.
    pub(super) at: Mono,
    /// From when on it may be sent: a relay lets others go first.
    pub(super) due: Mono,
    /// The states that were sent lately, newest last.
    pub(super) sent: VecDeque<Supplied>,
    last: Option<LastSupply>,
    /// The states held lately, newest last; the last is the present one.
    states: VecDeque<State>,
    /// This node is its author: no other node goes first.
    pub(super) is_ours: bool,
    /// It is not taken, and only reported as held.
    pub(super) declined: bool,
    /// Its newest state brings only what the next one brings as well.
    pub(super) is_routine: bool,
}

impl ChannelLayer {
    /// Replaces the states that a delta may start from, and puts the newest behind them.
    pub(super) fn replace_states(&mut self, bases: Vec<State>, state: State, now: Mono, due: Mono) {
        self.states = bases.into();
        self.note(state, now, due);
    }

    pub(super) fn note(&mut self, state: State, now: Mono, due: Mono) {
        self.at = now;
        self.due = due;
        if self.states.back() != Some(&state) {
            self.states.push_back(state);
        }
        if self.states.len() > STATES_MAX {
            self.states.pop_front();
        }
    }

    /// A state was sent.
    pub(super) fn note_sent(&mut self, state: State, at: Mono) {
        self.sent.push_back(Supplied { state, at });
        if self.sent.len() > STATES_MAX {
            self.sent.pop_front();
        }
    }

    /// The newest state was sent, as a delta from `base` or whole.
    pub(super) fn note_supplied(&mut self, state: State, base: Option<State>, now: Mono) {
        self.note_sent(state, now);
        self.last = Some(LastSupply { state, base, at: now });
    }

    /// The newest state, if it was sent since `since` from a base that fits: a report received in that time was
    /// composed before. If the listener missed it, the next heartbeat shows it.
    pub(super) fn crossing(&self, since: Mono, fits: impl Fn(&State) -> bool) -> Option<Supplied> {
        let LastSupply { state, base, at } =
            self.last.filter(|sent| self.states.back() == Some(&sent.state) && sent.at >= since)?;
        base.as_ref().is_none_or(fits).then_some(Supplied { state, at })
    }

    /// The state of which these are the low bits: one that was held here, or the nearest possible one.
    pub(super) fn resolve(&self, sequence: u16, root: u8) -> State {
        let fits = |state: &&State| {
            let [first, ..] = state.root_prefix;
            (state.sequence.get() & 0xfff) as u16 == sequence && first == root
        };
        if let Some(known) = self.states.iter().rev().find(fits) {
            return *known;
        }
        let newest = self.states.back().expect("a layer of a channel has a state").sequence.get();
        let rounds = [newest.saturating_sub(0x1000), newest, newest.saturating_add(0x1000)];
        let candidates =
            rounds.into_iter().filter_map(|near| Sequence::new(near & !0xfff | u64::from(sequence)));
        let nearest = candidates.min_by_key(|candidate| candidate.get().abs_diff(newest));
        State { sequence: nearest.expect("the round of a sequence is one"), root_prefix: [root, 0, 0, 0] }
    }

    /// The base that serves most listeners, and which: the newest that all have, the *anchor*; else what the one
    /// furthest behind has, for those who have it as well. Where one has no state known here, or makes nothing of deltas, the whole
    /// layer serves all.
    pub(super) fn supply_for(
        &self,
        layer: &LayerHash,
        lacking: &[(&PeerId, &ChannelListener)],
    ) -> Option<SupplyPlan> {
        let newest = self.states.back().filter(|_| !lacking.is_empty())?;
        let for_all =
            |base| Some(SupplyPlan { base, targets: lacking.iter().map(|(peer, _)| **peer).collect() });
        if lacking.iter().any(|(_, listener)| listener.needs_whole(layer)) {
            return for_all(None);
        }
        let is_anchor =
            |base: &&State| *base < newest && lacking.iter().all(|(_, listener)| listener.holds(layer, base));
        if let Some(anchor) = self.states.iter().rev().find(is_anchor) {
            return for_all(Some(*anchor));
        }
        let theirs =
            |listener: &ChannelListener| listener.state(layer).filter(|theirs| self.states.contains(theirs));
        let Some(states) = lacking.iter().map(|(_, l)| theirs(l)).collect::<Option<Vec<_>>>() else {
            return for_all(None);
        };
        let oldest = states.into_iter().min()?;
        let serves =
            |listener: &ChannelListener| theirs(listener) == Some(oldest) || listener.holds(layer, &oldest);
        let served = lacking.iter().filter(|(_, listener)| serves(listener)).map(|(peer, _)| **peer);
        Some(SupplyPlan { base: Some(oldest), targets: served.collect() })
    }
}
