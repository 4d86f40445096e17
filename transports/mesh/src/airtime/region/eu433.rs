//! Europe, 433 MHz: ERC/REC 70-03, annex 1.

use super::{BandPlan, Extent, SubBand, band, duty};

const SUB_BANDS: [SubBand; 1] =
    [band(433_050_000, 434_790_000, duty(100, "ERC/REC 70-03 annex 1, 433.05 to 434.79 MHz at 10 mW: 10 %"))];

pub(super) const PLAN: BandPlan = BandPlan {
    name: "EU433",
    spellings: &["eu433"],
    extent: Extent::SubBands { list: &SUB_BANDS, usual_hz: 433_175_000 },
    hopping_dwell: None,
};
