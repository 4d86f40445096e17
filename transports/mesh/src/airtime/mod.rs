//! Time on air: what one frame takes, what was sent, and what a regulation allows.
//!
//! A [`PhyRate`] is a [`Modulation`] or a bit rate together with what the radio adds to a frame of ours. The [`ledger`] holds
//! what was sent; a [`region`] holds the band plan that the ledger applies; a [`pace`] spreads what a class may send over the hour.

pub mod ledger;
pub mod pace;
mod phy_rate;
pub mod region;

pub use crate::modulation::{FRAME_BYTES_MAX, Modulation};
pub use phy_rate::{PhyRate, PhyRateError, STUFFING_DIVISOR, Wrapping};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::meshcore::preamble_symbols;

    /// MeshCore's newest firmware doubles the preamble where symbols are short: what is charged is that or more.
    #[test]
    fn a_meshcore_preset_is_charged_with_the_longest_preamble_that_its_firmware_sends() {
        for preset in [Modulation::MESHCORE, Modulation::MESHCORE_EU_NARROW] {
            assert!(preset.preamble_symbols >= preamble_symbols(preset.spreading_factor), "{preset:?}");
        }
    }
}
