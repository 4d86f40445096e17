//! The hard rules: what keeps a message from a link, whatever the link would cost. They are asked in a fixed order, the lasting
//! ones first, so that the reason which is given is the one that a person can do something about.

use serde::{Deserialize, Serialize};
use tombolo_transports::Medium;

use crate::router::cost::airtime_us;
use crate::router::facts::{LinkCondition, LinkFacts, RouteQuestion};
use crate::router::json;
use crate::router::{Class, OpenHours, Preference, SetFor};
use crate::time::{Millis, Mono};

/// The rule that keeps a message from a link, with the facts that it was applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "rule")]
pub enum Exclusion {
    /// A confidential message on a link that all can read.
    NotConfidential,
    /// The message is longer than the link takes.
    DoesNotFit {
        /// The longest message that it takes.
        bytes_max: usize,
    },
    /// Messages of this class do not go by radio.
    ClassForbidden,
    /// The operator's setting leaves out links of this kind.
    Preference {
        /// The setting that excludes the link.
        preference: Preference,
        /// What the setting is made for.
        of: SetFor,
    },
    /// Bulk on a link whose bytes cost money.
    Metered,
    /// The link is down.
    Down {
        /// Since when the link is down.
        #[serde(rename = "since_ms", with = "json::mono")]
        since: Mono,
    },
    /// The operator's hours for this kind of link are over.
    Closed {
        /// The hours at which it may be used.
        hours: OpenHours,
    },
    /// The airtime that the law or the operator allows is spent.
    AirtimeSpent {
        /// What the message takes.
        #[serde(rename = "needs_ms", with = "json::millis")]
        needs: Millis,
        /// What is left now.
        #[serde(rename = "left_ms", with = "json::millis")]
        left: Millis,
    },
    /// A link without airtime has just failed, and the message may wait for its return.
    AwaitsReturn {
        /// The medium of the link that failed.
        lost: Medium,
        /// Until when it is waited for.
        #[serde(rename = "until_ms", with = "json::mono")]
        until: Mono,
    },
    /// The link has just come back, and another one that is in time has been there.
    NotSteady {
        /// When it counts as steady.
        #[serde(rename = "steady_at_ms", with = "json::mono")]
        steady_at: Mono,
    },
    /// The link is the last resort, and another one is in time.
    LastResort,
    /// The link has carried the message already, no answer has come, and there is another one.
    StayedSilent,
}

/// The rule by which a link may not carry the message at all.
pub(super) fn excludes(question: &RouteQuestion, link: &LinkFacts) -> Option<Exclusion> {
    let RouteQuestion { request, route, now, .. } = question;
    if request.confidential && !link.confidential {
        return Some(Exclusion::NotConfidential);
    }
    if request.bytes > link.message_bytes_max {
        return Some(Exclusion::DoesNotFit { bytes_max: link.message_bytes_max });
    }
    if request.class == Class::Bulk && link.air.is_some() {
        return Some(Exclusion::ClassForbidden);
    }
    if let Some((preference, of)) = route.forbids(link.medium) {
        return Some(Exclusion::Preference { preference, of });
    }
    if request.class == Class::Bulk && link.terms.metered {
        return Some(Exclusion::Metered);
    }
    if let LinkCondition::Down { since } = link.condition {
        return Some(Exclusion::Down { since });
    }
    if let Some(hours) = link.terms.only.filter(|hours| !hours.contains(now.minute_of_day)) {
        return Some(Exclusion::Closed { hours });
    }
    if let Some(air) = link.air
        && let Some(left) = air.left
        && let needs = Millis::from_us_rounded_up(airtime_us(request, air))
        && needs > left
    {
        return Some(Exclusion::AirtimeSpent { needs, left });
    }
    match link.condition {
        LinkCondition::Spared { lost, until } if request.class.may_wait() && until > now.mono => {
            Some(Exclusion::AwaitsReturn { lost, until })
        }
        LinkCondition::Spared { .. }
        | LinkCondition::Steady
        | LinkCondition::Returned { .. }
        | LinkCondition::Down { .. } => None,
    }
}

/// Why a link gives way to another that is in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivesWay {
    /// It has just come back.
    NotSteady { steady_at: Mono },
    /// The operator has made it the last resort.
    LastResort,
    /// It has carried the message already, and stayed silent.
    StayedSilent,
}

/// Whether a link gives way to another that is in time. For what is urgent none does, but one that stayed silent.
pub(super) fn gives_way(question: &RouteQuestion, link: &LinkFacts) -> Option<GivesWay> {
    if question.request.silent == Some(link.link) {
        return Some(GivesWay::StayedSilent);
    }
    if question.request.class.is_urgent() {
        return None;
    }
    if link.terms.last_resort {
        return Some(GivesWay::LastResort);
    }
    match link.condition {
        LinkCondition::Returned { steady_at } if steady_at > question.now.mono => {
            Some(GivesWay::NotSteady { steady_at })
        }
        LinkCondition::Returned { .. }
        | LinkCondition::Steady
        | LinkCondition::Spared { .. }
        | LinkCondition::Down { .. } => None,
    }
}
