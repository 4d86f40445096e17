//! A licensed amateur station, on any of its bands: 47 CFR 97.
//!
//! Which bands and powers the licence covers is the operator's to know.

use super::{BandPlan, Extent, Rules, free};

const RULES: Rules = Rules {
    call_sign_every_ms: Some(600_000),
    clear_only: true,
    ..free("47 CFR 97.119 (a): call sign every 10 minutes; 97.113 (a)(4): nothing obscured")
};

pub(super) const PLAN: BandPlan = BandPlan {
    name: "amateur",
    spellings: &["amateur", "ham"],
    extent: Extent::Everywhere(RULES),
    hopping_dwell_ms: None,
};
