//! Why a link was chosen, for people: each verdict as a sentence.

use tombolo_transports::Medium;

use crate::report::links::span;
use crate::router::{Decision, Exclusion, LinkVerdict, LostBy, Preference, SetFor};

/// The length of the document that stands for what would be sent now, bytes.
pub(super) const DOCUMENT_BYTES: usize = 128;

/// A verdict as it stands in `links` and `why`: whether the link is used, and the reason.
pub(super) fn verdict_text(decision: &Decision, verdict: &LinkVerdict) -> String {
    match verdict {
        LinkVerdict::Chosen { cost } if !cost.is_in_time() => "used: the least late".to_owned(),
        LinkVerdict::Chosen { .. } => match decision.question.route.order() {
            (Preference::Auto, _) => "used: the cheapest in time".to_owned(),
            (preference, of) => format!("used: first by {preference}, set for {}", set_for(of)),
        },
        LinkVerdict::Loses { by, .. } => match by {
            LostBy::Order => "not used: another link comes first by preference".to_owned(),
            LostBy::Late => "not used: it would be later after the deadline".to_owned(),
            LostBy::Airtime => "not used: it would spend airtime that another link does not need".to_owned(),
            LostBy::Price => "not used: another link costs less".to_owned(),
            LostBy::Arrival => "not used: another link is faster".to_owned(),
            LostBy::Tie => "not used: another link is as good, and came first".to_owned(),
            LostBy::Stays => "not used: another link carries, and a change would win time alone".to_owned(),
        },
        LinkVerdict::Excluded { why } => excluded_text(decision, why),
    }
}

fn excluded_text(decision: &Decision, why: &Exclusion) -> String {
    let now = decision.question.now.mono;
    match why {
        Exclusion::NotConfidential => "not used: everybody could read it".to_owned(),
        Exclusion::DoesNotFit { bytes_max } => {
            format!("not used: {} bytes do not fit, {bytes_max} would", decision.question.request.bytes)
        }
        Exclusion::ClassForbidden => "not used: too much for this link".to_owned(),
        Exclusion::Preference { preference, of } => {
            format!("not used: {preference} is set for {}", set_for(*of))
        }
        Exclusion::Metered => "not used: bytes cost money there, and this is bulk".to_owned(),
        Exclusion::Down { since } => format!("not used: down for {}", span(now.since(*since))),
        Exclusion::Closed { hours } => format!("not used: open {hours} UTC only"),
        Exclusion::AirtimeSpent { needs, left } => format!(
            "waits: this hour's airtime is spent, {} ms are left and {} ms needed",
            left.ms(),
            needs.ms()
        ),
        Exclusion::AwaitsReturn { lost, until } => {
            format!("waits: {} has just failed, and has {} to return", medium(*lost), span(until.since(now)))
        }
        Exclusion::NotSteady { steady_at } => {
            format!("not used: it has just come back, and has to stay up for {}", span(steady_at.since(now)))
        }
        Exclusion::LastResort => "not used: the last resort, and another link is in time".to_owned(),
        Exclusion::StayedSilent => "not used: it has carried this already, and no answer came".to_owned(),
    }
}

fn set_for(of: SetFor) -> &'static str {
    match of {
        SetFor::Node => "this node",
        SetFor::Peer => "this peer",
        SetFor::Document => "this document",
    }
}

/// The name of a kind of link.
pub(super) fn medium(medium: Medium) -> &'static str {
    match medium {
        Medium::Mesh => "the radio",
        Medium::Lan => "the LAN",
        Medium::Tor => "Tor",
        Medium::Memory => "the cable",
    }
}
