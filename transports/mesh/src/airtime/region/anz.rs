//! Australia and New Zealand, 915 to 928 MHz: Radiocommunications (Low Interference Potential Devices) Class Licence 2015.

use super::{BandPlan, Extent, SubBand, band, free};

const SUB_BANDS: [SubBand; 1] = [band(
    915_000_000,
    928_000_000,
    free(
        "Australia: Radiocommunications (Low Interference Potential Devices) Class Licence 2015; no duty cycle",
    ),
)];

pub(super) const PLAN: BandPlan = BandPlan {
    name: "ANZ",
    spellings: &["anz", "au915"],
    extent: Extent::SubBands { list: &SUB_BANDS, usual_hz: 919_875_000 },
    hopping_dwell: None,
};
