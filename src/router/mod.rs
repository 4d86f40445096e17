//! `TransportRouter`: over which link a message goes. Candidates, hard rules, a cost for the rest, then
//! order; and why each loser lost, so that the choice can be explained and replayed.
//!
//! Pure: what it knows of links comes in as data. The node joins it with the sync engine; the two never
//! meet.

mod cost;

use crate::time::Millis;
use std::collections::BTreeMap;

use tombolo_transports::{LinkCaps, LinkId, Medium};

pub use cost::Cost;

/// Which links come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preference {
    /// The cheapest link that is in time.
    #[default]
    Auto,
    /// Mesh before LAN before Tor, whatever they cost.
    MeshFirst,
}

/// What kind of message it is: what it may cost, and what it must not be kept waiting by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Heartbeats, frontiers and wants of the sync engine.
    Upkeep,
    /// An audience change: ahead of everything else.
    Audience,
    /// A command to one peer, or its answer.
    Command,
    /// The state document of a node.
    State,
    /// A document that nodes share.
    Document,
    /// Parts of large layers.
    Bulk,
}

/// A message to be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The length of the message, bytes.
    pub bytes: usize,
    /// The class of the message.
    pub class: Class,
    /// Whether outsiders must not read it.
    pub confidential: bool,
    /// In what time it should have arrived; none: it may take its time.
    pub deadline: Option<Millis>,
}

/// A link that could carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The link that may carry it.
    pub link: LinkId,
    /// What it can do.
    pub caps: LinkCaps,
}

/// Why a link was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The message is longer than the link takes.
    DoesNotFit,
    /// The legal airtime is spent.
    BudgetSpent,
    /// A confidential message on a clear link.
    NotConfidential,
    /// The class may not use a metered or scarce link.
    ClassForbidden,
    /// Another link costs less.
    CostsMore,
    /// Another link comes first by preference.
    Preference,
}

impl Reason {
    /// The label in counters and explanations.
    pub fn label(self) -> &'static str {
        match self {
            Reason::DoesNotFit => "does_not_fit",
            Reason::BudgetSpent => "budget_spent",
            Reason::NotConfidential => "not_confidential",
            Reason::ClassForbidden => "class_forbidden",
            Reason::CostsMore => "costs_more",
            Reason::Preference => "preference",
        }
    }
}

/// One decision, whole: what was asked, what was chosen, and why not the others. Feeding the same request
/// and candidates to `decide` gives the same decision again.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What was to be sent.
    pub request: Request,
    /// The link to use; none if no link may carry it.
    pub chosen: Option<LinkId>,
    /// Links that may carry it, best first, with their cost.
    pub order: Vec<(LinkId, Cost)>,
    /// Links that lost, and why.
    pub rejected: Vec<(LinkId, Reason)>,
}

/// Decides, and counts its decisions.
#[derive(Clone, Debug, Default)]
pub struct TransportRouter {
    preference: Preference,
    counters: BTreeMap<RouteCounter, u64>,
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
}

impl RouteCounter {
    /// The label in `status` and metrics: `lan taken`, `mesh costs_more`, `stranded`.
    pub fn label(self) -> String {
        match self {
            RouteCounter::Taken(medium) => format!("{medium} taken"),
            RouteCounter::Lost(medium, reason) => format!("{medium} {}", reason.label()),
            RouteCounter::Stranded => "stranded".to_owned(),
        }
    }
}

impl TransportRouter {
    /// A router with the operator's preference.
    pub fn new(preference: Preference) -> Self {
        TransportRouter { preference, ..TransportRouter::default() }
    }

    /// Decides over which of a peer's links a message goes, and counts it.
    pub fn route(&mut self, request: Request, candidates: &[Candidate]) -> Decision {
        let decision = self.decide(request, candidates);
        for candidate in candidates {
            let medium = candidate.caps.medium;
            if decision.chosen == Some(candidate.link) {
                self.count(RouteCounter::Taken(medium));
            }
            for (_, reason) in decision.rejected.iter().filter(|(link, _)| *link == candidate.link) {
                self.count(RouteCounter::Lost(medium, *reason));
            }
        }
        if decision.chosen.is_none() {
            self.count(RouteCounter::Stranded);
        }
        decision
    }

    fn count(&mut self, counter: RouteCounter) {
        *self.counters.entry(counter).or_default() += 1;
    }

    /// The decision alone, without counting: what an explanation replays.
    pub fn decide(&self, request: Request, candidates: &[Candidate]) -> Decision {
        let mut order = Vec::new();
        let mut rejected = Vec::new();
        for candidate in candidates {
            match forbidden(&request, &candidate.caps) {
                Some(reason) => rejected.push((candidate.link, reason)),
                None => {
                    order.push((self.rank(candidate), Cost::of(&request, &candidate.caps), candidate.link))
                }
            }
        }
        order.sort();
        let best_rank = order.first().map(|(rank, ..)| *rank);
        for (rank, _, link) in order.iter().skip(1) {
            let reason = if Some(*rank) == best_rank { Reason::CostsMore } else { Reason::Preference };
            rejected.push((*link, reason));
        }
        let order: Vec<(LinkId, Cost)> = order.into_iter().map(|(_, cost, link)| (link, cost)).collect();
        Decision { request, chosen: order.first().map(|(link, _)| *link), order, rejected }
    }

    /// The decisions counted since the start.
    pub fn counters(&self) -> impl Iterator<Item = (RouteCounter, u64)> {
        self.counters.iter().map(|(counter, count)| (*counter, *count))
    }

    fn rank(&self, candidate: &Candidate) -> u8 {
        match (self.preference, candidate.caps.medium) {
            (Preference::Auto, _) => 0,
            (Preference::MeshFirst, Medium::Mesh) => 0,
            (Preference::MeshFirst, Medium::Lan | Medium::Memory) => 1,
            (Preference::MeshFirst, Medium::Tor) => 2,
        }
    }
}

/// The hard rules, in the order in which a person would want to hear them.
fn forbidden(request: &Request, caps: &LinkCaps) -> Option<Reason> {
    if request.confidential && !caps.confidential {
        return Some(Reason::NotConfidential);
    }
    if request.bytes > caps.message_bytes_max {
        return Some(Reason::DoesNotFit);
    }
    if request.class == Class::Bulk && (caps.metered || caps.airtime_us_per_byte > 0) {
        return Some(Reason::ClassForbidden);
    }
    let airtime_ms = (request.bytes as u64).saturating_mul(u64::from(caps.airtime_us_per_byte)) / 1000;
    if caps.airtime_left_ms.is_some_and(|left| airtime_ms > left) {
        return Some(Reason::BudgetSpent);
    }
    None
}

#[cfg(test)]
mod tests;
