//! What a link that may carry a message would cost: being late first, then scarce air, then money, then time.

use serde::{Deserialize, Serialize};

use crate::router::facts::{AirFacts, LinkFacts, PathFacts, Request, RouteQuestion};
use crate::router::json;
use crate::time::Millis;

/// Airtime without a limit counts as this much left: an hour, as the law counts it.
const AIR_LEFT_ASSUMED: Millis = Millis::from_secs(60 * 60);
/// More than this is lost of no link that is used: the expected number of tries stays finite.
const LOSS_PERMILLE_MAX: u16 = 990;

/// What one message would cost on one link. All are expected values, retries included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The place of the link's kind in the operator's order; 0 without one.
    pub rank: u8,
    /// How long after the deadline.
    #[serde(rename = "late_ms", with = "json::millis")]
    pub late: Millis,
    /// How long the message is on air.
    #[serde(rename = "airtime_ms", with = "json::millis")]
    pub airtime: Millis,
    /// The part of the airtime left that it would use, in millionths: the same airtime weighs more where little is left.
    pub air_ppm: u64,
    /// The price, in millionths of the operator's unit.
    pub price_micro: u64,
    /// How long until it has arrived.
    #[serde(rename = "arrives_ms", with = "json::millis")]
    pub arrives: Millis,
    /// The number of tries expected, in thousandths.
    pub tries_permille: u64,
}

/// What a cost was decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostBy {
    /// The operator's order puts it behind.
    Order,
    /// It is later after the deadline.
    Late,
    /// It uses more of scarce air.
    Airtime,
    /// Its bytes cost more money.
    Price,
    /// The message arrives later over it.
    Arrival,
    /// Both cost the same; the link that came first is taken.
    Tie,
    /// Another one has carried such messages, and this one is not better by enough to change.
    Stays,
    /// The message belongs to another link, over which it was asked for.
    AskedOver,
}

impl Cost {
    /// The cost of a message on a link.
    pub(super) fn of(question: &RouteQuestion, link: &LinkFacts) -> Cost {
        let RouteQuestion { request, route, .. } = question;
        let PathFacts { latency, rate_bps, loss_permille, backlog_bytes, .. } = link.path;
        let tries_permille = 1_000_000 / u64::from(1_000 - loss_permille.min(LOSS_PERMILLE_MAX));
        let bytes = request.bytes as u64;
        let sends_ms = |bytes: u64| bytes.saturating_mul(8_000) / rate_bps.max(1);
        let waits_ms = sends_ms(backlog_bytes);
        // A loss is noticed a round trip later, and the bytes are sent again.
        let again_ms = latency.ms().saturating_mul(2).saturating_add(sends_ms(bytes));
        let once_ms = latency.ms().saturating_add(waits_ms).saturating_add(sends_ms(bytes));
        let arrives = once_ms.saturating_add(again_ms.saturating_mul(tries_permille - 1_000) / 1_000);
        let air_us =
            link.air.map_or(0, |air| airtime_us(request, air).saturating_mul(tries_permille) / 1_000);
        let left = link.air.and_then(|air| air.left).unwrap_or(AIR_LEFT_ASSUMED);
        let price = if link.terms.metered { link.terms.price.max(1) } else { link.terms.price };
        let arrives = Millis::from_ms(arrives);
        Cost {
            rank: route.order().0.rank(link.medium),
            late: arrives - request.deadline,
            airtime: Millis::from_us_rounded_up(air_us),
            air_ppm: air_us.saturating_mul(1_000) / left.ms().max(1),
            price_micro: (bytes.saturating_mul(tries_permille) / 1_000).saturating_mul(u64::from(price)),
            arrives,
            tries_permille,
        }
    }

    /// Whether it arrives within the deadline.
    pub fn is_in_time(&self) -> bool {
        self.late == Millis::ZERO
    }

    /// By what `self` is cheaper than, or as cheap as, `other`; `None` if it costs more.
    pub(super) fn beats(&self, other: &Cost, request: &Request) -> Option<LostBy> {
        let fields = |cost: &Cost| {
            let Cost { rank, late, air_ppm, price_micro, arrives, .. } = *cost;
            match request.class.is_urgent() {
                true => [
                    (LostBy::Arrival, arrives.ms()),
                    (LostBy::Airtime, air_ppm),
                    (LostBy::Price, price_micro),
                    (LostBy::Tie, 0),
                    (LostBy::Tie, 0),
                ],
                false => [
                    (LostBy::Order, u64::from(rank)),
                    (LostBy::Late, late.ms()),
                    (LostBy::Airtime, air_ppm),
                    (LostBy::Price, price_micro),
                    (LostBy::Arrival, arrives.ms()),
                ],
            }
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        let decisive = pairs.into_iter().find(|((_, ours), (_, theirs))| ours != theirs);
        match decisive {
            Some(((by, ours), (_, theirs))) => (ours < theirs).then_some(by),
            None => Some(LostBy::Tie),
        }
    }
}

/// Time on air of one try.
pub(super) fn airtime_us(request: &Request, air: AirFacts) -> u64 {
    (request.bytes as u64).saturating_mul(u64::from(air.us_per_byte))
}
