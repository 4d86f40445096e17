//! What would change a choice. Of an excluded link that follows from its rule; of a link that costs more it is found by asking the
//! same question with other figures, so each change that is named here does change the answer.

use serde::{Deserialize, Serialize};
use tombolo_transports::LinkId;

use crate::router::decision::{Decision, LinkVerdict, decide};
use crate::router::facts::{LinkFacts, RouteQuestion};
use crate::router::json;
use crate::router::rules::Exclusion;
use crate::router::{OpenHours, Preference};
use crate::time::{Millis, Mono};

/// Latencies above this are not looked for: a link that slow carries nothing.
const LATENCY_MAX: Millis = Millis::from_secs(24 * 60 * 60);

/// One change by which another link would be chosen, or could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "if")]
pub enum ChoiceChange {
    /// The chosen link's latency was above this.
    ChosenSlower {
        /// The lowest latency of the chosen link with which it loses.
        #[serde(rename = "latency_ms", with = "json::millis")]
        latency: Millis,
    },
    /// This link's latency was at most this.
    Faster {
        /// The highest latency with which it wins.
        #[serde(rename = "latency_ms", with = "json::millis")]
        latency: Millis,
    },
    /// The chosen link was gone.
    ChosenGone,
    /// The message was at most so long.
    Shorter {
        /// The longest that fits.
        bytes: usize,
    },
    /// So much airtime was free.
    AirtimeFree {
        /// What the message takes.
        #[serde(rename = "needs_ms", with = "json::millis")]
        needs: Millis,
        /// When airtime is free again, as far as that is known.
        #[serde(rename = "free_in_ms", default, with = "json::maybe_millis")]
        free_in: Option<Millis>,
    },
    /// The hours have begun at which the operator opens the link.
    Opens {
        /// The hours at which the link may be used.
        hours: OpenHours,
        /// Minutes until the hours begin.
        in_minutes: u16,
    },
    /// The link has stayed up until then, or the chosen one is gone.
    Steady {
        /// When it counts as steady.
        #[serde(rename = "in_ms", with = "json::millis")]
        in_: Millis,
    },
    /// The link without airtime has not come back by then.
    NotReturned {
        /// How long it is still waited for.
        #[serde(rename = "in_ms", with = "json::millis")]
        in_: Millis,
    },
    /// The link was up.
    Up,
    /// The document was not confidential.
    NotConfidential,
    /// The operator's setting was another.
    OtherPreference {
        /// The setting that excludes it at present.
        preference: Preference,
    },
    /// The link was not metered.
    NotMetered,
    /// No other link was in time.
    NoOtherInTime,
}

/// What would change the choice in favour of one link; nothing, where no single change would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Margin {
    /// The link that would be chosen, or could be.
    pub link: LinkId,
    /// Each of these alone.
    pub changes: Vec<ChoiceChange>,
}

impl Decision {
    /// For each link that was not chosen: what would change that.
    pub fn margins(&self) -> Vec<Margin> {
        let chosen = self.chosen();
        let others = self.judged.iter().filter(|judged| Some(judged.link) != chosen);
        let margin = |judged: &crate::router::JudgedLink| match judged.verdict {
            LinkVerdict::Excluded { why } => self.if_permitted(judged.link, why),
            LinkVerdict::Loses { .. } => self.if_cheaper(judged.link),
            LinkVerdict::Chosen { .. } => Vec::new(),
        };
        others.map(|judged| Margin { link: judged.link, changes: margin(judged) }).collect()
    }

    fn if_permitted(&self, link: LinkId, why: Exclusion) -> Vec<ChoiceChange> {
        let RouteQuestion { now, .. } = &self.question;
        let left = |until: Mono| until.since(now.mono);
        let change = match why {
            Exclusion::NotConfidential => ChoiceChange::NotConfidential,
            Exclusion::DoesNotFit { bytes_max } => ChoiceChange::Shorter { bytes: bytes_max },
            Exclusion::ClassForbidden => return Vec::new(),
            Exclusion::Preference { preference, .. } => ChoiceChange::OtherPreference { preference },
            Exclusion::Metered => ChoiceChange::NotMetered,
            Exclusion::Down { .. } => ChoiceChange::Up,
            Exclusion::Closed { hours } => {
                ChoiceChange::Opens { hours, in_minutes: hours.opens_in(now.minute_of_day) }
            }
            Exclusion::AirtimeSpent { needs, .. } => {
                let air = self.facts(link).and_then(|facts| facts.air);
                ChoiceChange::AirtimeFree { needs, free_in: air.and_then(|air| air.free_in) }
            }
            Exclusion::AwaitsReturn { until, .. } => ChoiceChange::NotReturned { in_: left(until) },
            Exclusion::NotSteady { steady_at } => ChoiceChange::Steady { in_: left(steady_at) },
            Exclusion::LastResort => ChoiceChange::NoOtherInTime,
            Exclusion::StayedSilent => return Vec::new(),
        };
        vec![change]
    }

    fn if_cheaper(&self, link: LinkId) -> Vec<ChoiceChange> {
        let mut changes = Vec::new();
        let Some(chosen) = self.chosen() else { return changes };
        let latency = |of: LinkId| self.facts(of).map_or(Millis::ZERO, |facts| facts.path.latency);
        let wins = |of: LinkId, latency: Millis| {
            let mut question = self.question.clone();
            if let Some(facts) = question.links.iter_mut().find(|facts| facts.link == of) {
                facts.path.latency = latency;
            }
            decide(question).chosen() == Some(link)
        };
        if wins(link, Millis::ZERO) {
            // It wins with none and loses with its own: the highest with which it wins stands between.
            let above = first(Millis::ZERO, latency(link), |latency| !wins(link, latency));
            changes.push(ChoiceChange::Faster { latency: above - Millis::from_ms(1) });
        }
        if wins(chosen, LATENCY_MAX) {
            let latency = first(latency(chosen), LATENCY_MAX, |latency| wins(chosen, latency));
            changes.push(ChoiceChange::ChosenSlower { latency });
        }
        let mut without = self.question.clone();
        without.links.retain(|facts: &LinkFacts| facts.link != chosen);
        if decide(without).chosen() == Some(link) {
            changes.push(ChoiceChange::ChosenGone);
        }
        changes
    }
}

/// The first length after `from`, up to `to`, at which `holds` does; it does at `to`, not at `from`, and changes once.
fn first(from: Millis, to: Millis, holds: impl Fn(Millis) -> bool) -> Millis {
    let (mut below, mut at) = (from, to);
    while at - below > Millis::from_ms(1) {
        let middle = below + (at - below) / 2;
        match holds(middle) {
            true => at = middle,
            false => below = middle,
        }
    }
    at
}
