//! At what pace states and documents leave on one radio: budget left over time left, not the clock of their authors.
//!
//! A commit makes a layer due; how many commits an hour has is up to its author. So each of the two classes has a
//! [`ClassPace`], by what the ledger would let it have of the hour, and a layer whose class has to wait leaves later, in its newest state.
//! A node state that differs in nothing but figures is routine and leaves half of what may go at once to states that bring news:
//! an app that stopped, or a listener that knows none. Of several layers the one goes first that was not sent for the longest time, so
//! one that changes each second does not keep the others back.
//!
//! Rights, commands and what keeps nodes in step have shares of their own and no pace.

use std::collections::BTreeMap;

use tombolo_delta::{Map, Value};
use tombolo_mesh::airtime::ledger::Priority;
use tombolo_mesh::airtime::pace::{ClassPace, Urgency};
use tombolo_transports::PeerId;

use crate::broadcast::{RadioContext, RadioLink};
use crate::core::Core;
use crate::layer::{Content, DocumentName, LayerHash, LayerId, Sequence};
use crate::replica::Replica;
use crate::router::{Class, Preference, RoutePolicy};
use crate::sync::broadcast::Transmission;
use crate::time::{Millis, Mono};

/// Layers whose last transmission is remembered; the oldest is forgotten for a further one, which makes it one that was never sent.
const LAYERS_MAX: usize = 1_024;
/// A routine state of a layer leaves this long after the one before it, where the operator has set no order of links: so its reader has it
/// within the deadline of its class, and the air is spared every state that the next would have replaced by then.
const ROUTINE_EVERY: Millis = Class::State.deadline();
/// An author adds up to so many frame times at random: nodes that publish at the same moment would meet on air each time.
const ROUTINE_SPREAD_FRAMES: u64 = 8;
/// Bytes of payload of a usual frame with a state or a change of a document.
const USUAL_BYTES: usize = 100;

/// The paces of one radio.
#[derive(Debug)]
pub(super) struct LayerPacing {
    states: ClassPace,
    documents: ClassPace,
    /// The node has no order of links: routine states spare the air.
    spares: bool,
    sent: BTreeMap<LayerHash, SentLayer>,
}

/// The last transmission of a layer, by this node or another.
#[derive(Clone, Copy, Debug)]
struct SentLayer {
    at: Mono,
    /// When a routine state of it may follow.
    routine_at: Mono,
    sequence: Sequence,
    /// What of it a person would want to know at once, as a digest; none: all of it.
    news: Option<[u8; 8]>,
}

impl LayerPacing {
    /// The paces of a radio that has sent nothing.
    pub(super) fn new(now: Mono) -> Self {
        let (states, documents) = (ClassPace::new(now), ClassPace::new(now));
        LayerPacing { states, documents, spares: true, sent: BTreeMap::new() }
    }

    fn of(&self, class: Priority) -> Option<&ClassPace> {
        match class {
            Priority::State => Some(&self.states),
            Priority::Document => Some(&self.documents),
            Priority::Alarm
            | Priority::Control
            | Priority::Rights
            | Priority::Command
            | Priority::Upkeep
            | Priority::Bulk => None,
        }
    }

    fn of_mut(&mut self, class: Priority) -> Option<&mut ClassPace> {
        match class {
            Priority::State => Some(&mut self.states),
            Priority::Document => Some(&mut self.documents),
            Priority::Alarm
            | Priority::Control
            | Priority::Rights
            | Priority::Command
            | Priority::Upkeep
            | Priority::Bulk => None,
        }
    }

    /// Puts what was not sent for the longest time first, behind what has no pace.
    pub(super) fn order(&self, offers: &mut [Transmission]) {
        offers.sort_by_key(|offer| match offer {
            Transmission::Supply { layer, rank, .. } if *rank > 0 => {
                (*rank, self.sent.get(layer).map(|sent| sent.at))
            }
            Transmission::Supply { .. }
            | Transmission::Intermediate { .. }
            | Transmission::Frontier { .. }
            | Transmission::Heartbeat(_) => (0, None),
        });
    }

    fn note(&mut self, layer: LayerHash, sent: SentLayer) {
        if self.sent.len() >= LAYERS_MAX
            && !self.sent.contains_key(&layer)
            && let Some(oldest) = self.sent.iter().min_by_key(|(_, sent)| sent.at).map(|(layer, _)| *layer)
        {
            self.sent.remove(&oldest);
        }
        self.sent.insert(layer, sent);
    }

    /// Another node has sent a state. One that was sent or heard before changes nothing: a member could keep the next one back by
    /// repeating it.
    fn note_heard(&mut self, layer: LayerHash, heard: SentLayer) {
        if self.sent.get(&layer).is_none_or(|sent| sent.sequence < heard.sequence) {
            self.note(layer, heard);
        }
    }
}

impl RadioLink {
    /// How urgent the present state of a layer is: for a person who is sent it, or for listeners that hold no state of it.
    pub(super) fn urgency(&self, replica: &Replica, id: &LayerId, is_unknown: bool) -> Urgency {
        let sent = self.pacing.sent.get(&id.hash());
        let is_news = || sent.is_none_or(|sent| sent.news != Some(news_of(replica, id)));
        match class_of(id) {
            Priority::State if !is_unknown && !is_news() => Urgency::Routine,
            _ => Urgency::News,
        }
    }

    /// Follows what the operator has set for the node.
    pub(super) fn follow_policy(&mut self, policy: &RoutePolicy) {
        self.pacing.spares = policy.node() == Preference::Auto;
    }

    /// Whether a new state of a layer brings nothing but figures and leaves when the air has had none of it for a while.
    pub(super) fn is_spared(&self, replica: &Replica, id: &LayerId) -> bool {
        self.pacing.spares && self.urgency(replica, id, false) == Urgency::Routine
    }

    /// Until when a routine state of a layer spares the air, for listeners that have no order of links set for them.
    pub(super) fn spared_until(&self, cx: &RadioContext<'_>, id: &LayerId, to: &[PeerId]) -> Option<Mono> {
        let document = Some((&id.document.owner, id.document.name.as_str()));
        let policy = &cx.unicast.router().policy;
        let routine_at = self.pacing.sent.get(&id.hash())?.routine_at;
        let is_auto = |peer| policy.route(peer, document).order().0 == Preference::Auto;
        Some(routine_at).filter(|at| *at > cx.core.now() && to.iter().all(is_auto))
    }

    /// Until when a frame of a class has to wait for its pace; `None`: it does not.
    pub(super) fn paced_until(&mut self, now: Mono, class: Priority, urgency: Urgency) -> Option<Mono> {
        let airtime_us = self.station.airtime_us(USUAL_BYTES);
        let of_hour_us = self.station.ledger().of_hour_us(now, class);
        let wait = self.pacing.of(class)?.wait(now, of_hour_us, airtime_us, urgency);
        (wait > Millis::ZERO).then(|| now + wait)
    }

    /// After how long a usual frame of a class leaves, by law and by its pace; `None`: never.
    pub fn leaves_in(&self, now: Mono, class: Priority) -> Option<Millis> {
        let (mut ledger, airtime_us) = (self.station.ledger_view(), self.station.airtime_us(USUAL_BYTES));
        let by_law = ledger.leaves_in(now, airtime_us, class)?;
        let urgency = if class == Priority::State { Urgency::Routine } else { Urgency::News };
        let of_hour_us = ledger.of_hour_us(now, class);
        let pace = self.pacing.of(class);
        Some(pace.map_or(by_law, |pace| by_law.max(pace.wait(now, of_hour_us, airtime_us, urgency))))
    }

    /// The time between two usual frames of a class at its pace, if it always has something to send; `None`: it has no pace.
    pub fn sends_every(&self, now: Mono, class: Priority) -> Option<Millis> {
        self.pacing.of(class)?;
        let of_hour_us = self.station.ledger_view().of_hour_us(now, class);
        let interval = ClassPace::interval(of_hour_us, self.station.airtime_us(USUAL_BYTES))?;
        let is_spared = class == Priority::State && self.pacing.spares;
        Some(if is_spared { interval.max(ROUTINE_EVERY) } else { interval })
    }

    /// Whether less than half of what upkeep may have of an hour is left: what is left serves the usual heartbeats, and early ones would take
    /// the airtime of documents.
    pub(super) fn upkeep_is_scarce(&mut self, now: Mono) -> bool {
        let ledger = self.station.ledger();
        let whole_us = ledger.whole_us(Priority::Upkeep).unwrap_or_default();
        ledger.left_us(now, Priority::Upkeep) < whole_us / 2
    }

    /// The time between two node states of this node: what waits no longer than that waits for its pace.
    pub(super) fn state_pace(&self, now: Mono) -> Millis {
        self.sends_every(now, Priority::State).unwrap_or(Millis::ZERO)
    }

    /// A layer's present state was handed to the station, and takes so long.
    pub(super) fn note_paced(&mut self, now: Mono, replica: &Replica, id: &LayerId, airtime_us: u64) {
        let class = class_of(id);
        let of_hour_us = self.station.ledger().of_hour_us(now, class);
        if let Some(pace) = self.pacing.of_mut(class) {
            pace.spend(now, of_hour_us, airtime_us);
        }
        self.note_begun(now, replica, id);
    }

    /// A layer's present state is on its way in many frames, which the ledger spreads.
    pub(super) fn note_begun(&mut self, now: Mono, replica: &Replica, id: &LayerId) {
        let Some(sequence) = replica.state(id).map(|state| state.sequence) else { return };
        let routine_at = now + ROUTINE_EVERY + self.engine.waits().frames(ROUTINE_SPREAD_FRAMES);
        let news = Some(digest_of(replica, id));
        self.pacing.note(id.hash(), SentLayer { at: now, routine_at, sequence, news });
    }

    /// Another node has sent a layer's present state.
    pub(super) fn note_heard(&mut self, core: &Core, replica: &Replica, id: &LayerId) {
        if let Some(state) = replica.state(id) {
            self.note_heard_news(core, id, state.sequence, Some(digest_of(replica, id)));
        }
    }

    /// Another node has sent an older state of a layer than the one held: what is news in that stays news.
    pub(super) fn note_older_heard(&mut self, core: &Core, id: &LayerId, sequence: Sequence) {
        let before = self.pacing.sent.get(&id.hash()).and_then(|sent| sent.news);
        self.note_heard_news(core, id, sequence, before);
    }

    /// Who has sent a state of a layer sends the next one as well, so this node lets it go first; not with what this node wrote itself.
    fn note_heard_news(&mut self, core: &Core, id: &LayerId, sequence: Sequence, news: Option<[u8; 8]>) {
        if id.author == core.me {
            return;
        }
        let (at, others) = (core.now(), self.engine.timing().frame * ROUTINE_SPREAD_FRAMES);
        let routine_at = at + ROUTINE_EVERY + others + self.engine.waits().relay();
        self.pacing.note_heard(id.hash(), SentLayer { at, routine_at, sequence, news });
    }
}

/// The class of traffic that a layer belongs to, while a message of it fits one frame.
pub(crate) fn class_of(id: &LayerId) -> Priority {
    let name = id.document.name.as_str();
    match name.strip_suffix(DocumentName::BRIEF).unwrap_or(name) {
        DocumentName::KEYS | DocumentName::AUDIENCE => Priority::Rights,
        DocumentName::ALARMS => Priority::Alarm,
        DocumentName::STATE => Priority::State,
        _ => Priority::Document,
    }
}

fn digest_of(replica: &Replica, id: &LayerId) -> [u8; 8] {
    if class_of(id) == Priority::State { news_of(replica, id) } else { [0; 8] }
}

/// What of a node state is news: all that is no figure.
fn news_of(replica: &Replica, id: &LayerId) -> [u8; 8] {
    let Some(Content::Snapshot(value)) = replica.layer(id).map(|layer| &layer.content) else {
        return [0; 8];
    };
    let value = value.get();
    let Value::Map(fields) = &*value else { return [0; 8] };
    let is_figure = |value: &Value| matches!(value, Value::Float(_)) || value.as_u64().is_some();
    let news: Map = fields
        .iter()
        .filter(|(_, value)| !is_figure(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut digest = [0; 8];
    blake3::Hasher::new().update(&tombolo_delta::to_cbor(&Value::Map(news))).finalize_xof().fill(&mut digest);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_repeated_keeps_no_relay_back() {
        let mut pacing = LayerPacing::new(Mono::ZERO);
        let layer = LayerHash([1; 8]);
        let heard = |s: u64, sequence| SentLayer {
            at: Mono::from_ms(s * 1_000),
            routine_at: Mono::from_ms(s * 1_000) + ROUTINE_EVERY,
            sequence: Sequence::new(sequence).unwrap(),
            news: None,
        };
        pacing.note_heard(layer, heard(10, 5));
        for s in 11..100 {
            pacing.note_heard(layer, heard(s, 5 - s % 3));
        }
        assert_eq!(pacing.sent[&layer].routine_at, Mono::from_ms(10_000) + ROUTINE_EVERY);
        pacing.note_heard(layer, heard(100, 6));
        assert_eq!(pacing.sent[&layer].routine_at, Mono::from_ms(100_000) + ROUTINE_EVERY);
    }
}
