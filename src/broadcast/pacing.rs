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

use crate::broadcast::RadioLink;
use crate::layer::{Content, DocumentName, LayerHash, LayerId};
use crate::replica::Replica;
use crate::sync::broadcast::Transmission;
use crate::time::{Millis, Mono};

/// Layers whose last transmission is remembered; the oldest is forgotten for a further one, which makes it one that was never sent.
const LAYERS_MAX: usize = 1_024;
/// Bytes of payload of a usual frame with a state or a change of a document.
const USUAL_BYTES: usize = 100;

/// The paces of one radio.
#[derive(Debug)]
pub(super) struct LayerPacing {
    states: ClassPace,
    documents: ClassPace,
    sent: BTreeMap<LayerHash, SentLayer>,
}

/// The last transmission of a layer.
#[derive(Clone, Copy, Debug)]
struct SentLayer {
    at: Mono,
    /// What of it a person would want to know at once, as a digest.
    news: [u8; 8],
}

impl LayerPacing {
    /// The paces of a radio that has sent nothing.
    pub(super) fn new(now: Mono) -> Self {
        LayerPacing { states: ClassPace::new(now), documents: ClassPace::new(now), sent: BTreeMap::new() }
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

    fn note(&mut self, now: Mono, layer: LayerHash, news: [u8; 8]) {
        if self.sent.len() >= LAYERS_MAX
            && !self.sent.contains_key(&layer)
            && let Some(oldest) = self.sent.iter().min_by_key(|(_, sent)| sent.at).map(|(layer, _)| *layer)
        {
            self.sent.remove(&oldest);
        }
        self.sent.insert(layer, SentLayer { at: now, news });
    }
}

impl RadioLink {
    /// How urgent the present state of a layer is: for a person who is sent it, or for listeners that hold no state of it.
    pub(super) fn urgency(&self, replica: &Replica, id: &LayerId, is_unknown: bool) -> Urgency {
        let sent = self.pacing.sent.get(&id.hash());
        let is_news = || sent.is_none_or(|sent| sent.news != news_of(replica, id));
        match class_of(id) {
            Priority::State if !is_unknown && !is_news() => Urgency::Routine,
            _ => Urgency::News,
        }
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
        ClassPace::interval(
            self.station.ledger_view().of_hour_us(now, class),
            self.station.airtime_us(USUAL_BYTES),
        )
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
        let news = if class_of(id) == Priority::State { news_of(replica, id) } else { [0; 8] };
        self.pacing.note(now, id.hash(), news);
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
