//! What a decision is made from: the message, what applies to it, and what is known of each link at that moment. All of it is
//! data, and stands in the JSON of an explanation, so that the decision can be made again from that alone.

use serde::{Deserialize, Serialize};
use tombolo_transports::{LinkId, Medium};

use crate::router::json;
use crate::router::{Class, LinkTerms, Route};
use crate::time::{Millis, Mono};

/// A message to be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The length of the message, bytes.
    pub bytes: usize,
    /// The class of the message.
    pub class: Class,
    /// Whether outsiders must not read it.
    pub confidential: bool,
    /// In what time it should have arrived.
    #[serde(rename = "deadline_ms", with = "json::millis")]
    pub deadline: Millis,
    /// A link that carried it already, and over which no answer has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<LinkId>,
    /// The link that it belongs to: it is taken while it may carry the message, whatever it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<LinkId>,
}

impl Request {
    /// A confidential message with the deadline of its class.
    pub fn new(class: Class, bytes: usize) -> Self {
        Request { bytes, class, confidential: true, deadline: class.deadline(), silent: None, over: None }
    }

    /// The same, readable for all or not.
    #[must_use]
    pub fn confidential(self, confidential: bool) -> Self {
        Request { confidential, ..self }
    }

    /// The same, sent again because a link stayed silent.
    #[must_use]
    pub fn after_silence(self, silent: Option<LinkId>) -> Self {
        Request { silent, ..self }
    }
}

/// The moment of a decision, by the clocks that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTime {
    /// The node's own clock.
    #[serde(rename = "mono_ms", with = "json::mono")]
    pub mono: Mono,
    /// The minute of the day in UTC.
    pub minute_of_day: u16,
}

/// What is known of the air of a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AirFacts {
    /// Time on air per byte, microseconds.
    pub us_per_byte: u32,
    /// Airtime that may be spent now; none without a limit.
    #[serde(rename = "left_ms", with = "json::maybe_millis")]
    pub left: Option<Millis>,
    /// When the airtime for a short message is free again; none: now, or unknown.
    #[serde(rename = "free_in_ms", default, with = "json::maybe_millis")]
    pub free_in: Option<Millis>,
}

/// How fast and how surely a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathFacts {
    /// One way, without the time that the bytes take.
    #[serde(rename = "latency_ms", with = "json::millis")]
    pub latency: Millis,
    /// The rate of the link, bits per second.
    pub rate_bps: u64,
    /// Messages lost, per thousand.
    pub loss_permille: u16,
    /// Bytes that wait for the link already.
    pub backlog_bytes: u64,
    /// Whether latency and rate were measured; else they are assumed.
    pub measured: bool,
}

/// Whether a link can be relied on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum LinkCondition {
    /// Up, and no failure is recent.
    Steady,
    /// Up again after a failure: it has to stay up until then to be taken before a link that was there.
    Returned {
        /// When it counts as steady.
        #[serde(rename = "steady_at_ms", with = "json::mono")]
        steady_at: Mono,
    },
    /// A radio beside which a link without airtime has just failed: what may wait gives that link time to return.
    Spared {
        /// The medium of the link that failed.
        lost: Medium,
        /// Until when it is waited for.
        #[serde(rename = "until_ms", with = "json::mono")]
        until: Mono,
    },
    /// The link is gone.
    Down {
        /// Since when it is gone.
        #[serde(rename = "since_ms", with = "json::mono")]
        since: Mono,
    },
}

/// What is known of one link at the moment of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFacts {
    /// The link that these facts are of.
    pub link: LinkId,
    /// The kind of carrier.
    pub medium: Medium,
    /// The longest message that it takes.
    pub message_bytes_max: usize,
    /// Whether outsiders are kept from reading.
    pub confidential: bool,
    /// How fast and how surely it carries.
    pub path: PathFacts,
    /// The air, of a radio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub air: Option<AirFacts>,
    /// What the operator has set for its kind.
    pub terms: LinkTerms,
    /// Whether it can be relied on.
    pub condition: LinkCondition,
}

/// The link that carried the messages of a class to a peer before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLink {
    /// The link that may carry the message.
    pub link: LinkId,
    /// Since when it has carried them.
    #[serde(rename = "since_ms", with = "json::mono")]
    pub since: Mono,
}

/// Everything that a decision depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteQuestion {
    /// The message that is to be sent.
    pub request: Request,
    /// What the operator has set for it.
    pub route: Route,
    /// When it is asked.
    pub now: RouteTime,
    /// The link that carried such messages before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastLink>,
    /// The links that lead to the peer, also those that are down.
    pub links: Vec<LinkFacts>,
}
