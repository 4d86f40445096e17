//! India, 865 to 867 MHz: G.S.R. 168(E) of 11 March 2005.

use super::{BandPlan, Extent, SubBand, band, free};

const SUB_BANDS: [SubBand; 1] = [band(
    865_000_000,
    867_000_000,
    free("India: G.S.R. 168(E) of 11 March 2005; 1 W, 4 W ERP, carrier of 200 kHz, no duty cycle"),
)];

pub(super) const PLAN: BandPlan = BandPlan {
    name: "IN865",
    spellings: &["in865", "in"],
    extent: Extent::SubBands { list: &SUB_BANDS, usual_hz: 865_875_000 },
    hopping_dwell: None,
};
