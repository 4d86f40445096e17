//! `TransportRouter`: over which link a message goes. What is known of links comes in as data; a decision comes out with every
//! reason in it, and is kept, so that it can be explained and made again.
//!
//! | file | what |
//! |---|---|
//! | `class` | what kind of message it is, and when it should have arrived |
//! | `policy` | what the operator has set: order, exclusion, terms of links |
//! | `measure` | what traffic has shown of one link |
//! | `table` | the links to each peer; makes a question of them |
//! | `facts` | a question: everything that a decision depends on |
//! | `rules`, `cost` | hard rules; what remains is compared by its cost |
//! | `decision` | `decide`: one pure function from a question to the verdict on each link |
//! | `margin` | what would change a choice |
//! | `journal` | the last decisions |
//!
//! The room knows neither documents nor engines: the rooms above pass in what a message is, and carry it over the link that is
//! chosen. It has no clock; time is passed in.

mod class;
mod cost;
mod decision;
mod facts;
mod journal;
mod json;
mod margin;
mod measure;
mod policy;
mod rules;
mod table;

use std::collections::BTreeMap;

use tombolo_transports::{LinkId, Medium, PeerId};

use crate::time::Millis;

pub use class::Class;
pub use cost::{Cost, LostBy};
pub use decision::{DWELL, Decision, JudgedLink, LinkVerdict, decide};
pub use facts::{AirFacts, LastLink, LinkCondition, LinkFacts, PathFacts, Request, RouteQuestion, RouteTime};
pub use journal::{DECISIONS_KEPT_MAX, DecisionId, DecisionIdError, Journal, JournalEntry, Subject};
pub use margin::{ChoiceChange, Margin};
pub use measure::{LinkFailure, LinkHealth};
pub use policy::{
    LinkTerms, OpenHours, OpenHoursError, Preference, PreferenceError, ROUTES_MAX, Route, RouteChange,
    RoutePolicy, RouteSettings, SetFor,
};
pub use rules::Exclusion;
pub use table::{LINKS_CONSIDERED_MAX, LinkTable, PeerPath, RadioScope};

/// Why a link was not used, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A confidential message on a link that all can read.
    NotConfidential,
    /// The message is longer than the link takes.
    DoesNotFit,
    /// The class may not use such a link.
    ClassForbidden,
    /// The operator's setting leaves it out, or puts another one first.
    Preference,
    /// Bulk on a link whose bytes cost money.
    Metered,
    /// The link is down now.
    Down,
    /// Its hours are over.
    Closed,
    /// The legal airtime is spent.
    BudgetSpent,
    /// A link without airtime is given time to return.
    AwaitsReturn,
    /// It has just come back.
    NotSteady,
    /// It is the last resort.
    LastResort,
    /// It has carried the message already, and stayed silent.
    StayedSilent,
    /// Another link costs less.
    CostsMore,
}

impl Reason {
    /// The label in counters.
    pub fn label(self) -> &'static str {
        match self {
            Reason::NotConfidential => "not_confidential",
            Reason::DoesNotFit => "does_not_fit",
            Reason::ClassForbidden => "class_forbidden",
            Reason::Preference => "preference",
            Reason::Metered => "metered",
            Reason::Down => "down",
            Reason::Closed => "closed",
            Reason::BudgetSpent => "budget_spent",
            Reason::AwaitsReturn => "awaits_return",
            Reason::NotSteady => "not_steady",
            Reason::LastResort => "last_resort",
            Reason::StayedSilent => "stayed_silent",
            Reason::CostsMore => "costs_more",
        }
    }

    /// The reason of a verdict; `None` for the link that was chosen.
    pub fn of(verdict: LinkVerdict) -> Option<Reason> {
        Some(match verdict {
            LinkVerdict::Chosen { .. } => return None,
            LinkVerdict::Loses { by: LostBy::Order, .. } => Reason::Preference,
            LinkVerdict::Loses { .. } => Reason::CostsMore,
            LinkVerdict::Excluded { why } => match why {
                Exclusion::NotConfidential => Reason::NotConfidential,
                Exclusion::DoesNotFit { .. } => Reason::DoesNotFit,
                Exclusion::ClassForbidden => Reason::ClassForbidden,
                Exclusion::Preference { .. } => Reason::Preference,
                Exclusion::Metered => Reason::Metered,
                Exclusion::Down { .. } => Reason::Down,
                Exclusion::Closed { .. } => Reason::Closed,
                Exclusion::AirtimeSpent { .. } => Reason::BudgetSpent,
                Exclusion::AwaitsReturn { .. } => Reason::AwaitsReturn,
                Exclusion::NotSteady { .. } => Reason::NotSteady,
                Exclusion::LastResort => Reason::LastResort,
                Exclusion::StayedSilent => Reason::StayedSilent,
            },
        })
    }
}

/// What the router counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteCounter {
    /// A link of this medium was chosen.
    Taken(Medium),
    /// A link of this medium lost, for this reason.
    Lost(Medium, Reason),
    /// No link could carry the message.
    Stranded,
    /// Another link than the one before carries the messages of a class to a peer.
    Switched,
}

impl RouteCounter {
    /// The label in `status` and metrics: `lan taken`, `mesh costs_more`, `stranded`.
    pub fn label(self) -> String {
        match self {
            RouteCounter::Taken(medium) => format!("{medium} taken"),
            RouteCounter::Lost(medium, reason) => format!("{medium} {}", reason.label()),
            RouteCounter::Stranded => "stranded".to_owned(),
            RouteCounter::Switched => "switched".to_owned(),
        }
    }
}

/// Decides, counts its decisions and keeps the last of them.
#[derive(Clone, Debug, Default)]
pub struct TransportRouter {
    /// What the operator has set.
    pub policy: RoutePolicy,
    /// The links to each peer.
    pub table: LinkTable,
    journal: Journal,
    counters: BTreeMap<RouteCounter, u64>,
}

/// What a decision came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The number under which the decision is kept.
    pub id: DecisionId,
    /// The link to use; `None` if no link may carry the message.
    pub chosen: Option<LinkId>,
    /// How long that link may stay silent before the message goes over a second one as well; `None` where it does not.
    pub hedge_after: Option<Millis>,
}

impl TransportRouter {
    /// A router with the operator's settings.
    pub fn new(policy: RoutePolicy) -> Self {
        TransportRouter { policy, ..TransportRouter::default() }
    }

    /// Decides over which link a message to a peer goes, counts and keeps the decision.
    pub fn route(
        &mut self,
        peer: PeerId,
        subject: Subject,
        request: Request,
        radios: RadioScope<'_>,
        now: RouteTime,
    ) -> Routed {
        let decision = self.consider(&peer, &subject, request, radios, now);
        self.count(&decision);
        let (chosen, hedge_after) = (decision.chosen(), decision.hedge_after());
        if let Some(link) = chosen
            && self.table.carried(peer, request.class, link, now.mono)
        {
            *self.counters.entry(RouteCounter::Switched).or_default() += 1;
        }
        let id = self.journal.record(peer, subject, decision);
        Routed { id, chosen, hedge_after }
    }

    /// The decision alone: it is neither counted nor kept, and changes nothing.
    pub fn consider(
        &self,
        peer: &PeerId,
        subject: &Subject,
        request: Request,
        radios: RadioScope<'_>,
        now: RouteTime,
    ) -> Decision {
        decide(self.table.question(peer, request, radios, &self.policy, subject.document(), now))
    }

    fn count(&mut self, decision: &Decision) {
        for judged in &decision.judged {
            let Some(facts) = decision.facts(judged.link) else { continue };
            let counter = match Reason::of(judged.verdict) {
                None => RouteCounter::Taken(facts.medium),
                Some(reason) => RouteCounter::Lost(facts.medium, reason),
            };
            *self.counters.entry(counter).or_default() += 1;
        }
        if decision.chosen().is_none() {
            *self.counters.entry(RouteCounter::Stranded).or_default() += 1;
        }
    }

    /// The rule that excluded a link in a decision that is kept.
    pub fn exclusion(&self, id: DecisionId, link: LinkId) -> Option<Exclusion> {
        self.journal.get(id)?.decision.exclusion(link)
    }

    /// The decisions counted since the start.
    pub fn counters(&self) -> impl Iterator<Item = (RouteCounter, u64)> {
        self.counters.iter().map(|(counter, count)| (*counter, *count))
    }

    /// The decisions that are kept.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Drops what is known of a peer that was removed.
    pub fn forget_peer(&mut self, peer: &PeerId) {
        self.table.forget_peer(peer);
        self.journal.forget_peer(peer);
    }
}

#[cfg(test)]
mod tests;
