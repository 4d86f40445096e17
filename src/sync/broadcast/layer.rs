//! One layer that we hold: its newest state, those a delta may start from, and what of it went out on air.

use std::collections::VecDeque;

use tombolo_transports::PeerId;

use crate::layer::LayerHash;
use crate::sync::broadcast::channel::{Listener, STATES_MAX};
use crate::sync::frontier::State;

#[derive(Debug, Default)]
pub(super) struct ChannelLayer {
    pub(super) rank: u8,
    /// When it came or was written.
    pub(super) at: u64,
    /// From when on we may send it: a relay lets others go first.
    pub(super) due: u64,
    /// What went out on air lately, newest last.
    pub(super) sent: VecDeque<State>,
    /// The newest that we sent, from which base, and when.
    pub(super) last: Option<(State, Option<State>, u64)>,
    /// What we held lately, newest last; ends with what we hold.
    pub(super) states: VecDeque<State>,
    /// We are its author: nobody else need be waited for.
    pub(super) is_ours: bool,
    /// We do not take it, and only say that we have that state.
    pub(super) declined: bool,
}

impl ChannelLayer {
    pub(super) fn note(&mut self, state: State, now: u64, due: u64) {
        self.at = now;
        self.due = due;
        if self.states.back() != Some(&state) {
            self.states.push_back(state);
        }
        if self.states.len() > STATES_MAX {
            self.states.pop_front();
        }
    }

    pub(super) fn went_out(&mut self, state: State) {
        self.sent.push_back(state);
        if self.sent.len() > STATES_MAX {
            self.sent.pop_front();
        }
    }

    /// What we sent since, from a base that fits, if it is the newest: what a listener says in the same moment was
    /// said before it heard that. If it missed it, the next heartbeat finds out.
    pub(super) fn crossing(&self, since: u64, fits: impl Fn(&State) -> bool) -> Option<(State, u64)> {
        let (state, base, at) =
            self.last.filter(|(state, _, at)| self.states.back() == Some(state) && *at >= since)?;
        base.as_ref().is_none_or(fits).then_some((state, at))
    }

    /// The state of which these are the low bits: one that we held, or the nearest there can be.
    pub(super) fn resolve(&self, sequence: u16, root: u8) -> State {
        let fits = |state: &&State| {
            let [first, ..] = state.root_prefix;
            (state.sequence & 0xfff) as u16 == sequence && first == root
        };
        if let Some(known) = self.states.iter().rev().find(fits) {
            return *known;
        }
        let newest = self.states.back().map_or(0, |state| state.sequence);
        let candidates = [newest.saturating_sub(0x1000), newest, newest.saturating_add(0x1000)];
        let candidates = candidates.map(|near| near & !0xfff | u64::from(sequence));
        let nearest = candidates.into_iter().min_by_key(|candidate| candidate.abs_diff(newest));
        State { sequence: nearest.unwrap_or(0), root_prefix: [root, 0, 0, 0] }
    }

    /// The base that serves most, and whom it serves: the newest that all have, the *anchor*; else what the one
    /// furthest behind has, for those who have it as well. Where somebody has nothing that we know, the whole
    /// serves all.
    pub(super) fn base_for(
        &self,
        layer: &LayerHash,
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
