//! United States, 902 to 928 MHz: 47 CFR 15.247.

use super::{BandPlan, Extent, SubBand, band, free};
use crate::time::Millis;

/// 47 CFR 15.247 (a)(1)(i): the longest stay of a hopping radio on a channel.
const HOPPING_DWELL: Millis = Millis::from_ms(400);

const SUB_BANDS: [SubBand; 1] = [band(
    902_000_000,
    928_000_000,
    free("47 CFR 15.247: no duty cycle; (a)(1)(i) 0.4 s on a channel where the radio hops"),
)];

pub(super) const PLAN: BandPlan = BandPlan {
    name: "US915",
    spellings: &["us915", "us"],
    extent: Extent::SubBands { list: &SUB_BANDS, usual_hz: 906_875_000 },
    hopping_dwell: Some(HOPPING_DWELL),
};
