//! Not radio: two modems on a wire, which no regulation of radio concerns.

use super::{BandPlan, Extent, free};

pub(super) const PLAN: BandPlan = BandPlan {
    name: "wired",
    spellings: &["wired"],
    extent: Extent::Everywhere(free("not radio")),
    hopping_dwell: None,
};
