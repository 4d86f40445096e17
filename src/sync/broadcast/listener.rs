//! What is believed of one listener of a channel: what it holds, by its own reports and by what was sent since.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::layer::LayerHash;
use crate::sync::broadcast::inventory::FrontierReport;
use crate::sync::broadcast::layer::STATES_MAX;
use crate::sync::broadcast::message::{Fingerprint, short_hash};
use crate::sync::broadcast::status::{LagKind, LayerLag};
use crate::sync::frontier::{Frontier, State};
use crate::time::{Millis, Mono};

/// Reports in a row that do not show what was sent as deltas; then the layer goes whole. Even where half of all frames are lost,
/// so many are hardly ever lost one after the other.
const DELTAS_IN_VAIN_MAX: u32 = 8;

/// A state that was sent to a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Supplied {
    pub(super) state: State,
    pub(super) at: Mono,
}

/// A fingerprint that fits no state of this node's frontier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unrecognised {
    pub(super) fingerprint: Fingerprint,
    pub(super) at: Mono,
}

#[derive(Debug, Default)]
pub(super) struct ChannelListener {
    theirs: Frontier,
    /// Whether `theirs` is what it reported, or follows from that.
    known: bool,
    /// It only observes the owner, and lacks no documents.
    pub(super) observes: bool,
    /// When it last sent a report that could be read in full.
    known_at: Option<Mono>,
    /// Short hashes of layers that it reported and that were never seen here; as many as fit a frontier.
    unseen: BTreeSet<u16>,
    /// Its last fingerprint, while that is not recognised.
    unrecognised: Option<Unrecognised>,
    /// No frontier of this node was sent to it since that fingerprint.
    is_unanswered: bool,
    /// It reported newer states than this node has.
    pub(super) is_ahead: bool,
    /// It gets this node's next frontier whatever it reports: it may believe that this node holds what it does not.
    pub(super) is_owed: bool,
    /// States that it has held, and so keeps as bases: those it was seen to hold, and those sent before that.
    bases: BTreeMap<LayerHash, BTreeSet<State>>,
    /// What was sent to it and may have been missed.
    supplied: BTreeMap<LayerHash, Supplied>,
    /// How many of its reports in a row did not show what it had been sent of a layer.
    in_vain: BTreeMap<LayerHash, u32>,
    /// When a layer was first changed here after the state that it holds. An entry counts only while it lacks the layer.
    behind_since: BTreeMap<LayerHash, Mono>,
}

impl ChannelListener {
    // ---- questions ---------------------------------------------------------------------------------------

    /// The state of a layer that it holds, as far as known.
    pub(super) fn state(&self, layer: &LayerHash) -> Option<State> {
        self.theirs.get(layer)
    }

    /// The newest state of a layer that it holds or was sent, as far as known.
    pub(super) fn newest(&self, layer: &LayerHash) -> Option<State> {
        self.state(layer).max(self.supplied.get(layer).map(|supplied| supplied.state))
    }

    /// Whether a state of a layer can serve it as a base.
    pub(super) fn holds(&self, layer: &LayerHash, base: &State) -> bool {
        self.bases.get(layer).is_some_and(|bases| bases.contains(base))
    }

    /// Whether it holds a state of a layer, or a newer one, as far as known.
    pub(super) fn has(&self, layer: &LayerHash, state: State) -> bool {
        self.state(layer).is_some_and(|theirs| theirs >= state)
    }

    /// Whether deltas of a layer were sent to it in vain so often that it may not hold the base that it reports: four bytes of a root
    /// do not distinguish a state from another of the same sequence and content.
    pub(super) fn needs_whole(&self, layer: &LayerHash) -> bool {
        self.in_vain.get(layer).is_some_and(|times| *times >= DELTAS_IN_VAIN_MAX)
    }

    fn was_supplied(&self, layer: &LayerHash, state: State) -> bool {
        self.supplied.get(layer).is_some_and(|supplied| supplied.state >= state)
    }

    /// Whether it has, or has just been sent, a state or a newer one.
    pub(super) fn should_have(&self, layer: &LayerHash, state: State) -> bool {
        self.known && (self.has(layer, state) || self.was_supplied(layer, state))
    }

    /// Whether it holds exactly this state, or was sent it last.
    pub(super) fn may_have(&self, layer: &LayerHash, state: State) -> bool {
        self.holds(layer, &state)
            || self.state(layer) == Some(state)
            || self.supplied.get(layer).is_some_and(|supplied| supplied.state == state)
    }

    /// Whether it is known to lack a state, and was not sent it.
    pub(super) fn lacks(&self, layer: &LayerHash, state: State, is_document: bool) -> bool {
        if !self.known || self.observes && is_document {
            return false;
        }
        !self.has(layer, state) && !self.was_supplied(layer, state)
    }

    /// Whether `theirs` is known and has this fingerprint.
    pub(super) fn matches(&self, fingerprint: Fingerprint) -> bool {
        self.known && fingerprint.is_of(&self.theirs)
    }

    /// What it holds if it received all that was sent to it since its last report, or all up to some moment; the latest first. Of a node
    /// state that follows its pace only some are sent, so this node itself may never have held the same states together.
    pub(super) fn expected(&self) -> Vec<Frontier> {
        let mut frontier = self.theirs.clone();
        let mut sent: Vec<_> =
            self.supplied.iter().filter(|(layer, sent)| !self.has(layer, sent.state)).collect();
        sent.iter().for_each(|(layer, sent)| frontier.set(**layer, Some(sent.state)));
        sent.sort_by_key(|(_, sent)| sent.at);
        let mut expected = Vec::with_capacity(sent.len());
        while let Some((layer, _)) = sent.pop() {
            expected.push(frontier.clone());
            frontier.set(*layer, self.state(layer));
        }
        expected
    }

    /// When it last sent a report that could be read in full.
    pub(super) fn known_at(&self) -> Option<Mono> {
        self.known_at
    }

    /// Whether a node that holds `ours` holds all that it reports.
    pub(super) fn brings_nothing(&self, ours: &Frontier) -> bool {
        self.known
            && self.unseen.is_empty()
            && self.theirs.iter().all(|(layer, state)| !ours.is_behind(layer, *state))
    }

    pub(super) fn unrecognised(&self) -> Option<Unrecognised> {
        self.unrecognised
    }

    /// The layers in which it and a node that holds `ours` differ, with what is known of each; none while what it holds is unknown.
    /// `is_fresh` names the layers that count as a fresh node state, by when the listener fell behind and whether it was
    /// sent.
    pub(super) fn lags(
        &self,
        ours: &Frontier,
        is_fresh: impl Fn(&LayerHash, LagKind, Option<Mono>) -> bool,
    ) -> Option<Vec<LayerLag>> {
        if !self.known {
            return None;
        }
        let we_lack = |layer, sequences| LayerLag {
            layer,
            kind: LagKind::WeLack,
            since: None,
            is_fresh_state: false,
            sequences,
        };
        let newer = self.theirs.iter().filter(|(layer, theirs)| ours.is_behind(layer, **theirs));
        let mut lags: Vec<_> = newer
            .map(|(layer, theirs)| we_lack(Some(*layer), Some(theirs.ahead_of(ours.get(layer)))))
            .collect();
        lags.extend(self.unseen.iter().map(|_| we_lack(None, None)));
        for (layer, state) in ours.iter().filter(|(layer, state)| !self.has(layer, **state)) {
            let kind = match self.was_supplied(layer, *state) {
                true => LagKind::Unacknowledged,
                false => LagKind::TheyLack,
            };
            let since = self.behind_since.get(layer).copied();
            // An older state that was sent since, and may have arrived, is the one before the next.
            let sent_at = self.supplied.get(layer).map(|supplied| supplied.at);
            let is_fresh_state = is_fresh(layer, kind, since.max(sent_at));
            let sequences = Some(state.ahead_of(self.theirs.get(layer)));
            lags.push(LayerLag { layer: Some(*layer), kind, since, is_fresh_state, sequences });
        }
        Some(lags)
    }

    /// A layer has changed here, after `before`: it is behind from now on, unless it was already.
    pub(super) fn note_change(&mut self, layer: LayerHash, before: Option<State>, now: Mono) {
        let was_behind = before.is_some_and(|before| !self.has(&layer, before));
        if !was_behind {
            self.behind_since.remove(&layer);
        }
        self.behind_since.entry(layer).or_insert(now);
    }

    // ---- what it reports ---------------------------------------------------------------------------------

    /// It holds a state. What was sent between the one before and this it has most likely received as well; if
    /// not, its next frontier corrects that.
    pub(super) fn confirm(&mut self, layer: LayerHash, state: State, sent: Option<&VecDeque<Supplied>>) {
        if self.has(&layer, state) {
            return;
        }
        self.in_vain.remove(&layer);
        let before = self.state(&layer);
        let sent_at = sent.into_iter().flatten().rev().find(|sent| sent.state == state).map(|sent| sent.at);
        if let (Some(sent_at), Some(since)) = (sent_at, self.behind_since.get_mut(&layer)) {
            // It was the newest when it was sent.
            *since = sent_at.max(*since);
        }
        let bases = self.bases.entry(layer).or_default();
        let between = sent
            .into_iter()
            .flatten()
            .map(|sent| sent.state)
            .filter(|sent| *sent < state && before.is_some_and(|before| *sent > before));
        bases.extend(between.chain([state]));
        while bases.len() > STATES_MAX {
            bases.pop_first();
        }
        self.theirs.set(layer, Some(state));
    }

    /// It may not hold what was confirmed of a layer beyond `held`.
    pub(super) fn take_back(&mut self, layer: LayerHash, held: Option<State>, now: Mono) {
        if self.state(&layer) <= held {
            return;
        }
        self.theirs.set(layer, held);
        self.supplied.remove(&layer);
        if let Some(bases) = self.bases.get_mut(&layer) {
            bases.retain(|base| Some(*base) <= held);
        }
        self.behind_since.entry(layer).or_insert(now);
    }

    /// Its fingerprint was recognised: it held `frontier` at `at`; none: what was believed.
    pub(super) fn recognised(&mut self, frontier: Option<Frontier>, at: Mono) {
        if let Some(frontier) = frontier {
            self.theirs = frontier;
        }
        self.known = true;
        self.known_at = Some(at);
        self.unseen.clear();
        self.unrecognised = None;
    }

    /// Its fingerprint was not recognised: what it holds is unknown.
    pub(super) fn not_recognised(&mut self, fingerprint: Fingerprint, at: Mono) {
        self.known = false;
        self.unrecognised = Some(Unrecognised { fingerprint, at });
        self.is_unanswered = true;
    }

    /// What it holds stays unknown, and is not asked for here.
    pub(super) fn drop_question(&mut self) {
        self.unrecognised = None;
        self.is_ahead = false;
    }

    /// Its report does not show a layer's newest state here. `crossing`: what was sent too late for the report.
    pub(super) fn note_lack(&mut self, layer: LayerHash, theirs: Option<State>, crossing: Option<Supplied>) {
        let sent = match crossing {
            Some(supplied) => {
                self.supplied.insert(layer, supplied);
                None
            }
            None => self.supplied.remove(&layer),
        };
        if theirs > self.state(&layer) {
            // It has come further, if not as far as what was sent.
            self.in_vain.remove(&layer);
        } else if sent.is_some() {
            *self.in_vain.entry(layer).or_default() += 1;
        }
        // It knows best what it has.
        self.bases.insert(layer, theirs.into_iter().collect());
    }

    /// It reported its states layer by layer.
    pub(super) fn take_report(&mut self, report: FrontierReport, now: Mono) {
        self.unrecognised = None;
        self.observes = report.observes;
        if report.complete || report.observes {
            self.theirs = report.theirs;
            self.known = true;
            self.known_at = Some(now);
            self.unseen = report.unseen;
        } else {
            for (layer, state) in report.theirs.iter() {
                self.theirs.set(*layer, Some(*state));
            }
        }
    }

    // ---- what happens here -------------------------------------------------------------------------------

    /// A layer is known here now.
    pub(super) fn note_seen(&mut self, layer: &LayerHash) {
        self.unseen.remove(&short_hash(layer));
    }

    /// A state was sent to it.
    pub(super) fn note_supplied(&mut self, layer: LayerHash, state: State, at: Mono) {
        self.supplied.insert(layer, Supplied { state, at });
    }

    /// A state was sent to it that the next delta may start from.
    pub(super) fn note_base(&mut self, layer: LayerHash, state: State) {
        self.bases.entry(layer).or_default().insert(state);
    }

    /// What was sent long enough ago to be received, and does not show in a report, was missed.
    pub(super) fn forget_missed(&mut self, now: Mono, settle: Millis) {
        let ChannelListener { supplied, theirs, in_vain, .. } = self;
        supplied.retain(|layer, sent| {
            let is_on_its_way = sent.at + settle > now;
            if !is_on_its_way && theirs.get(layer).is_none_or(|theirs| theirs < sent.state) {
                *in_vain.entry(*layer).or_default() += 1;
            }
            is_on_its_way
        });
    }

    /// It is no longer ahead once this node holds all that it reported.
    pub(super) fn settle(&mut self, ours: &Frontier) {
        self.is_ahead &=
            !self.unseen.is_empty() || self.theirs.iter().any(|(layer, state)| ours.is_behind(layer, *state));
    }

    /// Whether it waits for this node's frontier.
    pub(super) fn is_open(&self) -> bool {
        self.is_ahead || self.is_owed || (self.is_unanswered && self.unrecognised.is_some())
    }

    /// This node's frontier was sent, and it can read that.
    pub(super) fn answered(&mut self) {
        (self.is_ahead, self.is_owed, self.is_unanswered) = (false, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Sequence;

    /// Of a node state only each second one is sent, and a document between two of them: no two of these were held together here.
    #[test]
    fn what_was_sent_is_expected_together_and_up_to_each_moment() {
        let state = |sequence| State {
            sequence: Sequence::new(sequence).unwrap(),
            root_prefix: [1, 2, 3, sequence as u8],
        };
        let [figures, notes] = [1, 2].map(|n| LayerHash([n; 8]));
        let frontier = |of_figures, of_notes| {
            let mut frontier = Frontier::default();
            frontier.set(figures, Some(state(of_figures)));
            frontier.set(notes, Some(state(of_notes)));
            frontier
        };
        let mut listener = ChannelListener::default();
        listener.recognised(Some(frontier(1, 1)), Mono::from_ms(1));
        assert!(listener.expected().is_empty(), "nothing was sent");
        listener.note_supplied(figures, state(3), Mono::from_ms(10));
        listener.note_supplied(notes, state(2), Mono::from_ms(20));
        let [both, first] = &listener.expected()[..] else { panic!("two moments") };
        assert_eq!(both.fingerprint(), frontier(3, 2).fingerprint());
        assert_eq!(first.fingerprint(), frontier(3, 1).fingerprint());
    }
}
