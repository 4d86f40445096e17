//! What a link that may carry a message would cost: being late first, then scarce air, then money, then time.

use tombolo_transports::LinkCaps;

use crate::router::Request;
use crate::time::Millis;

/// Rate assumed where a link does not know its own: 1 Mbit/s.
const RATE_BPS_ASSUMED: u64 = 1_000_000;

/// A cost; compared field by field, in this order. All are expected values, retries included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// How long after the deadline.
    pub late: Millis,
    /// Time on air; more where little of the budget is left.
    pub airtime: Millis,
    /// Bytes that cost money.
    pub metered_bytes: u64,
    /// How long until it has arrived.
    pub arrives: Millis,
}

impl Cost {
    /// The cost of one message on one link.
    pub(super) fn of(request: &Request, caps: &LinkCaps) -> Cost {
        let bytes = request.bytes as u64;
        let rate = caps.rate_bps.unwrap_or(RATE_BPS_ASSUMED).max(1);
        let once_ms = u64::from(caps.latency_ms).saturating_add(bytes.saturating_mul(8_000) / rate);
        let arrives = Millis::from_ms(with_retries(once_ms, caps.loss_permille));
        let airtime_ms = bytes.saturating_mul(u64::from(caps.airtime_us_per_byte)).div_ceil(1000);
        Cost {
            late: request.deadline.map_or(Millis::ZERO, |deadline| arrives - deadline),
            airtime: Millis::from_ms(with_retries(airtime_ms, caps.loss_permille)),
            metered_bytes: if caps.metered { with_retries(bytes, caps.loss_permille) } else { 0 },
            arrives,
        }
    }
}

/// What something costs when a share of the tries is lost: 1 / (1 - loss) times as much.
fn with_retries(once: u64, loss_permille: u16) -> u64 {
    let through = 1000 - u64::from(loss_permille.min(990));
    once.saturating_mul(1000) / through
}
