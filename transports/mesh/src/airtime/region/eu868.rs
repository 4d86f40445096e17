//! Europe, 863 to 870 MHz: ETSI EN 300 220-2 V3.2.1 and ERC/REC 70-03, annex 1.
//!
//! Left out: 868.6 to 868.7, 869.2 to 869.4 and 869.65 to 869.7 MHz, which are for alarms (ERC/REC 70-03, annex 7 and
//! 10), and 869.7 to 870 MHz, whose limits depend on the power. Where the regulation lets listen-before-talk stand in for
//! a duty cycle, the duty cycle counts.

use super::{BandPlan, Extent, SubBand, band, duty};

/// The frequency that Meshtastic and MeshCore radios take by themselves in Europe, in the 10 % sub-band.
pub const EU868_MESH_HZ: u32 = 869_525_000;

const BAND_K: &str = "ETSI EN 300 220-2 V3.2.1, band K; ERC/REC 70-03 annex 1: 0.1 %";
const BAND_N: &str = "ETSI EN 300 220-2 V3.2.1, band N; ERC/REC 70-03 annex 1: 0.1 %";
const ONE_PERCENT: &str = "ETSI EN 300 220-2 V3.2.1, table B.1; ERC/REC 70-03 annex 1: 1 %";
const TEN_PERCENT: &str = "ETSI EN 300 220-2 V3.2.1, table B.1; ERC/REC 70-03 annex 1: 10 %";

const SUB_BANDS: [SubBand; 5] = [
    band(863_000_000, 865_000_000, duty(1, BAND_K)),
    band(865_000_000, 868_000_000, duty(10, ONE_PERCENT)),
    band(868_000_000, 868_600_000, duty(10, ONE_PERCENT)),
    band(868_700_000, 869_200_000, duty(1, BAND_N)),
    band(869_400_000, 869_650_000, duty(100, TEN_PERCENT)),
];

/// The channels that LoRaWAN, Meshtastic and MeshCore radios take by themselves lie between 868.0 and 868.6 MHz (1 %) or
/// 869.4 and 869.65 MHz (10 %); with no frequency given the smaller share counts.
pub(super) const PLAN: BandPlan = BandPlan {
    name: "EU868",
    spellings: &["eu868"],
    extent: Extent::SubBands { list: &SUB_BANDS, usual_hz: 868_100_000 },
    hopping_dwell: None,
};
