//! The decision itself: one pure function from what is known to a link, with the reason for every link that lost.
//!
//! Hard rules first (`rules`), then the links that give way to another that is in time, then cost (`cost`). A link that has
//! carried such messages stays in use while a change would win nothing but time, for a dwell time. From this follow, for every input:
//!
//! - an excluded link is never chosen;
//! - an alarm takes the link on which it arrives first, so a further link never makes it later;
//! - without a strict order of the operator's, a further link never makes a message late that was in time;
//! - the same question has the same answer: [`Decision::replays`].

use serde::{Deserialize, Serialize};
use tombolo_transports::LinkId;

use crate::router::cost::{Cost, LostBy};
use crate::router::facts::{LinkFacts, RouteQuestion};
use crate::router::rules::{self, Exclusion, GivesWay};
use crate::time::Millis;

/// How long a link that has begun to carry messages stays in use, and how long one that has come back must stay up before it is
/// taken again: ten heartbeats' round trips on a LAN, and shorter than any deadline of a document.
pub const DWELL: Millis = Millis::from_secs(30);
/// What became of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum LinkVerdict {
    /// The message goes over it.
    Chosen {
        /// The cost of the message on this link.
        cost: Cost,
    },
    /// It may carry the message, and another link is better.
    Loses {
        /// What it would cost.
        cost: Cost,
        /// What decided against it.
        by: LostBy,
    },
    /// It may not carry the message.
    Excluded {
        /// The rule that excludes the link.
        why: Exclusion,
    },
}

/// One link with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedLink {
    /// The link that was judged.
    pub link: LinkId,
    /// What became of it.
    pub verdict: LinkVerdict,
}

/// One decision, whole: what was asked, and what became of each link. [`decide`] makes it again from the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What it was made from.
    pub question: RouteQuestion,
    /// The links: the chosen one, then those that lost, the best first, then those that may not carry it.
    pub judged: Vec<JudgedLink>,
}

impl Decision {
    /// The link to use; `None` if no link may carry the message.
    pub fn chosen(&self) -> Option<LinkId> {
        self.judged
            .first()
            .filter(|first| matches!(first.verdict, LinkVerdict::Chosen { .. }))
            .map(|first| first.link)
    }

    /// What the choice costs.
    pub fn cost(&self) -> Option<Cost> {
        match self.judged.first()?.verdict {
            LinkVerdict::Chosen { cost } => Some(cost),
            LinkVerdict::Loses { .. } | LinkVerdict::Excluded { .. } => None,
        }
    }

    /// The links over which parts of one long message may go at once, each with its expected arrival: the chosen one, and those that
    /// lose by nothing but time.
    pub fn lanes(&self) -> impl Iterator<Item = (LinkId, Millis)> {
        self.judged.iter().filter_map(|judged| match judged.verdict {
            LinkVerdict::Chosen { cost } => Some((judged.link, cost.arrives)),
            LinkVerdict::Loses { cost, by: LostBy::Arrival | LostBy::Stays | LostBy::Tie } => {
                Some((judged.link, cost.arrives))
            }
            LinkVerdict::Loses { .. } | LinkVerdict::Excluded { .. } => None,
        })
    }

    /// The link for a second copy of a message that is hedged: the best one that lost.
    pub fn second(&self) -> Option<LinkId> {
        let second = self.judged.get(1)?;
        matches!(second.verdict, LinkVerdict::Loses { .. }).then_some(second.link)
    }

    /// How long the chosen link may stay silent before a message that is hedged goes over the second as well: twice what the
    /// message and its answer should take, within limits. Where that costs no airtime, an urgent one waits less than a second.
    pub fn hedge_after(&self) -> Option<Millis> {
        let request = &self.question.request;
        let cost = self.cost().filter(|_| request.class.is_hedged())?;
        let uses_air = self.facts(self.second()?)?.air.is_some();
        let (least, most) = match (request.class.is_urgent(), uses_air) {
            (true, false) => (URGENT_HEDGE_MIN, URGENT_HEDGE_MAX),
            (true, true) => (HEDGE_MIN * 2, request.deadline / 3),
            (false, false) => (HEDGE_MIN, request.deadline / 2),
            (false, true) => (HEDGE_MIN * 2, request.deadline / 2),
        };
        Some((cost.arrives * 4).max(least).min(most))
    }

    /// What became of a link; `None` if it was not there.
    pub fn verdict(&self, link: LinkId) -> Option<LinkVerdict> {
        self.judged.iter().find(|judged| judged.link == link).map(|judged| judged.verdict)
    }

    /// The rule that excluded a link.
    pub fn exclusion(&self, link: LinkId) -> Option<Exclusion> {
        match self.verdict(link)? {
            LinkVerdict::Excluded { why } => Some(why),
            LinkVerdict::Chosen { .. } | LinkVerdict::Loses { .. } => None,
        }
    }

    /// What was known of a link.
    pub fn facts(&self, link: LinkId) -> Option<&LinkFacts> {
        self.question.links.iter().find(|facts| facts.link == link)
    }

    /// Whether the question, asked again, has the same answer.
    pub fn replays(&self) -> bool {
        decide(self.question.clone()).judged == self.judged
    }
}

/// A shorter wait would send a second copy beside an answer that is on its way.
const HEDGE_MIN: Millis = Millis::from_secs(1);
/// What is urgent is sent twice rather than late: an answer may wait for a disk for so long.
const URGENT_HEDGE_MIN: Millis = Millis::from_ms(500);
/// It is on its way over the second link within a second.
const URGENT_HEDGE_MAX: Millis = Millis::from_ms(900);

/// A link that no hard rule excludes.
#[derive(Clone, Copy)]
struct Permitted {
    link: LinkId,
    cost: Cost,
    uses_air: bool,
    gives_way: Option<GivesWay>,
}

/// Decides over which link a message goes.
pub fn decide(mut question: RouteQuestion) -> Decision {
    question.links.sort_by_key(|facts| facts.link);
    let mut permitted: Vec<Permitted> = Vec::with_capacity(question.links.len());
    let mut judged = Vec::with_capacity(question.links.len());
    let mut excluded = Vec::new();
    for facts in &question.links {
        match rules::excludes(&question, facts) {
            Some(why) => excluded.push((facts.link, why)),
            None => permitted.push(Permitted {
                link: facts.link,
                cost: Cost::of(&question, facts),
                uses_air: facts.air.is_some(),
                gives_way: rules::gives_way(&question, facts),
            }),
        }
    }
    give_way(&mut permitted, &mut excluded);
    let best = best_of(&permitted, &question);
    if let Some(best) = best {
        let asked_over = permitted.iter().find(|link| Some(link.link) == question.request.over).copied();
        let chosen = asked_over.or_else(|| kept(&permitted, &best, &question)).unwrap_or(best);
        let why = if asked_over.is_some() { LostBy::AskedOver } else { LostBy::Stays };
        judged.push(JudgedLink { link: chosen.link, verdict: LinkVerdict::Chosen { cost: chosen.cost } });
        permitted.retain(|other| other.link != chosen.link);
        while let Some(next) = best_of(&permitted, &question) {
            permitted.retain(|other| other.link != next.link);
            let by = chosen.cost.beats(&next.cost, &question.request).unwrap_or(why);
            judged.push(JudgedLink { link: next.link, verdict: LinkVerdict::Loses { cost: next.cost, by } });
        }
    }
    let verdicts = excluded.into_iter().map(|(link, why)| (link, LinkVerdict::Excluded { why }));
    judged.extend(verdicts.map(|(link, verdict)| JudgedLink { link, verdict }));
    Decision { question, judged }
}

/// Links that give way leave where another one is in time: a last resort to any, a link that has just come back to one that
/// uses no airtime, or no more than itself. One that has stayed silent leaves to any that has not.
fn give_way(permitted: &mut Vec<Permitted>, excluded: &mut Vec<(LinkId, Exclusion)>) {
    if permitted.iter().all(|link| link.gives_way.is_none()) {
        return;
    }
    let stay = permitted.iter().filter(|link| link.gives_way.is_none() && link.cost.is_in_time());
    let stay: Vec<Permitted> = stay.copied().collect();
    let another_speaks = permitted.iter().any(|link| link.gives_way != Some(GivesWay::StayedSilent));
    permitted.retain(|link| {
        let why = match link.gives_way {
            None => return true,
            Some(GivesWay::NotSteady { steady_at }) => {
                if !stay.iter().any(|other| !other.uses_air || link.uses_air) {
                    return true;
                }
                Exclusion::NotSteady { steady_at }
            }
            Some(GivesWay::LastResort) => {
                if stay.is_empty() {
                    return true;
                }
                Exclusion::LastResort
            }
            Some(GivesWay::StayedSilent) => {
                if !another_speaks {
                    return true;
                }
                Exclusion::StayedSilent
            }
        };
        excluded.push((link.link, why));
        false
    });
    excluded.sort_by_key(|(link, _)| *link);
}

/// The cheapest link. Where two cost the same it is the one that came first.
fn best_of(permitted: &[Permitted], question: &RouteQuestion) -> Option<Permitted> {
    let cheaper = |best: Permitted, other: &Permitted| match best.cost.beats(&other.cost, &question.request) {
        Some(_) => best,
        None => *other,
    };
    let (first, others) = permitted.split_first()?;
    Some(others.iter().fold(*first, cheaper))
}

/// The link that carried such messages before, if a change would win nothing but time and its dwell time is not over.
fn kept(permitted: &[Permitted], best: &Permitted, question: &RouteQuestion) -> Option<Permitted> {
    let last = question.last.filter(|last| question.now.mono < last.since + DWELL)?;
    let kept = permitted.iter().find(|link| link.link == last.link)?;
    let wins_time_alone = kept.cost.is_in_time()
        && kept.cost.rank == best.cost.rank
        && kept.cost.air_ppm <= best.cost.air_ppm
        && kept.cost.price_micro <= best.cost.price_micro;
    (!question.request.class.is_urgent() && wins_time_alone).then_some(*kept)
}
