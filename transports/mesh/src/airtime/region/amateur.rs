//! A licensed amateur station, on any of its bands: 47 CFR 97.
//!
//! Which bands and powers the licence covers is the operator's to know.

use super::{BandPlan, Extent, Rules, free};
use crate::time::Millis;

const RULES: Rules = Rules {
    call_sign_every: Some(Millis::from_secs(600)),
    clear_only: true,
    ..free("47 CFR 97.119 (a): call sign every 10 minutes; 97.113 (a)(4): nothing obscured")
};

pub(super) const PLAN: BandPlan = BandPlan {
    name: "amateur",
    spellings: &["amateur", "ham"],
    extent: Extent::Everywhere(RULES),
    hopping_dwell: None,
};
