//! A [`PhyRate`] is how fast bytes leave one radio, named in words a user knows.

use std::fmt;
use std::str::FromStr;

use super::{FRAME_BYTES_MAX, Modulation};
use crate::wire::{meshcore, meshtastic};

/// HDLC puts a zero after five ones, so that a frame grows by a fifth at worst. The worst is what is charged:
/// the length is known before the bytes are.
pub const STUFFING_DIVISOR: u64 = 5;

/// AX.25 addresses, control and protocol (16), frame check (2) and the flags around.
const AX25_OVERHEAD_BYTES: u16 = 16 + 2 + 2;
/// Dire Wolf's TXDELAY of 300 ms and TXTAIL of 100 ms.
const KEY_UP_MS: u32 = 400;
/// Slowest and fastest bit rate that is believed, bits per second.
const BIT_RATES: std::ops::RangeInclusive<u32> = 50..=1_000_000;

/// How long a frame of ours occupies the air when one radio sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhyRate {
    /// A LoRa radio, whose time on air follows from its modulation.
    LoRa {
        /// The spreading factor, bandwidth and coding rate that it is set to.
        modulation: Modulation,
        /// What it makes of a frame of ours.
        wrapping: Wrapping,
    },
    /// A modem of constant rate with HDLC framing, as packet radio has.
    BitRate {
        /// Bits per second on air.
        bits_per_second: u32,
        /// What it adds to a frame of ours.
        overhead_bytes: u16,
        /// Carrier before and after the frame: TXDELAY and tail, milliseconds.
        key_up_ms: u32,
    },
}

/// What a LoRa radio adds to a frame of ours before it sends it; never beyond a whole LoRa frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// So many bytes, whatever the frame.
    Bytes(u16),
    /// A Meshtastic broadcast, see [`meshtastic::on_air_bytes`].
    Meshtastic {
        /// Whether its firmware signs broadcasts.
        signs: bool,
    },
    /// A MeshCore channel datagram, see [`meshcore::on_air_bytes`].
    Meshcore,
}

impl Wrapping {
    /// Bytes on the air for a frame of ours of `bytes`.
    fn on_air_bytes(self, bytes: usize) -> usize {
        let wrapped = match self {
            Wrapping::Bytes(more) => bytes.saturating_add(usize::from(more)),
            // Longer than any that the radio takes; it is counted all the same.
            _ if bytes > FRAME_BYTES_MAX => bytes,
            Wrapping::Meshtastic { signs } => meshtastic::on_air_bytes(bytes, signs),
            Wrapping::Meshcore => meshcore::on_air_bytes(bytes),
        };
        wrapped.min(bytes.max(FRAME_BYTES_MAX))
    }
}

impl PhyRate {
    /// A LoRa radio that sends our frames as they are.
    pub const fn lora(modulation: Modulation) -> Self {
        PhyRate::LoRa { modulation, wrapping: Wrapping::Bytes(0) }
    }

    /// A Meshtastic radio of stock firmware: its headers, and its signature under broadcasts if it `signs`.
    pub const fn meshtastic(modulation: Modulation, signs: bool) -> Self {
        PhyRate::LoRa { modulation, wrapping: Wrapping::Meshtastic { signs } }
    }

    /// A MeshCore companion that sends channel datagrams.
    pub const fn meshcore(modulation: Modulation) -> Self {
        PhyRate::LoRa { modulation, wrapping: Wrapping::Meshcore }
    }

    /// Packet radio with AX.25 headers and the usual time to key up.
    pub const fn ax25(bits_per_second: u32) -> Self {
        PhyRate::BitRate { bits_per_second, overhead_bytes: AX25_OVERHEAD_BYTES, key_up_ms: KEY_UP_MS }
    }

    /// Time on air of one frame of `bytes` of ours, microseconds, rounded up.
    pub fn frame_us(&self, bytes: usize) -> u64 {
        match *self {
            PhyRate::LoRa { modulation, wrapping } => modulation.frame_us(wrapping.on_air_bytes(bytes)),
            PhyRate::BitRate { bits_per_second, overhead_bytes, key_up_ms } => {
                let bits = (bytes as u64).saturating_add(u64::from(overhead_bytes)).saturating_mul(8);
                let bits = bits.saturating_add(bits.div_ceil(STUFFING_DIVISOR));
                let sending_us = bits.saturating_mul(1_000_000).div_ceil(u64::from(bits_per_second.max(1)));
                sending_us.saturating_add(u64::from(key_up_ms) * 1_000)
            }
        }
    }

    /// Time on air that one more byte costs in a frame of usual length, microseconds, for
    /// the link's `LinkCaps`.
    pub fn us_per_byte(&self) -> u32 {
        let (short, long) = (50, 200);
        let more_us = self.frame_us(long).saturating_sub(self.frame_us(short));
        u32::try_from(more_us.div_ceil((long - short) as u64)).unwrap_or(u32::MAX)
    }

    /// Bits of ours per second in frames of `bytes`, back to back.
    pub fn bits_per_second(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(8_000_000) / self.frame_us(bytes).max(1)
    }

    /// The bandwidth where it is known, Hz.
    pub fn bandwidth_hz(&self) -> Option<u32> {
        match self {
            PhyRate::LoRa { modulation, .. } => Some(modulation.bandwidth_hz),
            PhyRate::BitRate { .. } => None,
        }
    }

    /// The same line with another number of bytes that the radio adds.
    pub fn with_overhead_bytes(mut self, bytes: u16) -> Self {
        match &mut self {
            PhyRate::LoRa { wrapping, .. } => *wrapping = Wrapping::Bytes(bytes),
            PhyRate::BitRate { overhead_bytes, .. } => *overhead_bytes = bytes,
        }
        self
    }
}

/// Names of settings as their projects write them.
const PRESETS: [(&str, Modulation); 16] = [
    ("LongFast", Modulation::LONG_FAST),
    ("LongSlow", Modulation::LONG_SLOW),
    ("LongModerate", Modulation::LONG_MODERATE),
    ("MediumFast", Modulation::MEDIUM_FAST),
    ("MediumSlow", Modulation::MEDIUM_SLOW),
    ("ShortFast", Modulation::SHORT_FAST),
    ("ShortSlow", Modulation::SHORT_SLOW),
    ("ShortTurbo", Modulation::SHORT_TURBO),
    ("MeshCore", Modulation::MESHCORE),
    ("MeshCoreNarrow", Modulation::MESHCORE_EU_NARROW),
    ("DR0", Modulation::lorawan(12)),
    ("DR1", Modulation::lorawan(11)),
    ("DR2", Modulation::lorawan(10)),
    ("DR3", Modulation::lorawan(9)),
    ("DR4", Modulation::lorawan(8)),
    ("DR5", Modulation::lorawan(7)),
];

/// Bandwidths that the SX127x family has, in Hz, rounded down: the narrower, the longer on air.
const BANDWIDTHS_HZ: [u32; 10] =
    [7_800, 10_400, 15_600, 20_800, 31_200, 41_600, 62_500, 125_000, 250_000, 500_000];

/// A text that names no line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhyRateError {
    /// Neither a preset nor of a known form.
    #[error(
        "unknown radio setting {0:?}: a preset as LongFast, ShortTurbo, MeshCore, DR0 to DR5, or SF7/125, or 1200bps"
    )]
    Unknown(String),
    /// A spreading factor out of range.
    #[error("spreading factor {0:?} is not a number from 7 to 12")]
    SpreadingFactor(String),
    /// A bandwidth that LoRa radios do not have.
    #[error("bandwidth {0:?} kHz is none of 7.8, 10.4, 15.6, 20.8, 31.2, 41.6, 62.5, 125, 250, 500")]
    Bandwidth(String),
    /// A coding rate out of range.
    #[error("coding rate {0:?} is none of 5, 6, 7, 8 (for 4/5 to 4/8)")]
    CodingRate(String),
    /// A bit rate out of range.
    #[error("bit rate {0:?} is not a number from 50 to 1000000")]
    BitRate(String),
}

/// `LongFast` (also `LONG_FAST`), `SF7/125`, `SF8/62.5/8` with the coding rate last: the preamble of LoRaWAN
/// and nothing added by the radio. `1200bps`: packet radio with AX.25.
impl FromStr for PhyRate {
    type Err = PhyRateError;

    fn from_str(text: &str) -> Result<Self, PhyRateError> {
        let word = plain(text);
        if let Some((_, modulation)) = PRESETS.iter().find(|(name, _)| plain(name) == word) {
            return Ok(PhyRate::lora(*modulation));
        }
        if let Some(rate) = word.strip_suffix("bps").or_else(|| word.strip_suffix("bit/s")) {
            let bits_per_second = rate.parse().ok().filter(|rate| BIT_RATES.contains(rate));
            return Ok(PhyRate::ax25(bits_per_second.ok_or_else(|| PhyRateError::BitRate(short(rate)))?));
        }
        let setting = word.strip_prefix("sf").ok_or_else(|| PhyRateError::Unknown(short(text)))?;
        parse_setting(setting, text).map(PhyRate::lora)
    }
}

/// Reads a setting such as `7/125` or `8/62.5/8`.
fn parse_setting(setting: &str, text: &str) -> Result<Modulation, PhyRateError> {
    let mut parts = setting.splitn(3, '/');
    let factor = parts.next().unwrap_or_default();
    let bandwidth = parts.next().ok_or_else(|| PhyRateError::Unknown(short(text)))?;
    let spreading_factor = factor.parse().ok().filter(|factor| (7..=12).contains(factor));
    let spreading_factor = spreading_factor.ok_or_else(|| PhyRateError::SpreadingFactor(short(factor)))?;
    let bandwidth_hz = BANDWIDTHS_HZ.iter().copied().find(|hz| kilohertz(*hz) == bandwidth);
    let bandwidth_hz = bandwidth_hz.ok_or_else(|| PhyRateError::Bandwidth(short(bandwidth)))?;
    let coding_rate = match parts.next() {
        None => 5,
        Some(rate) => rate
            .parse()
            .ok()
            .filter(|rate| (5..=8).contains(rate))
            .ok_or_else(|| PhyRateError::CodingRate(short(rate)))?,
    };
    Ok(Modulation { spreading_factor, bandwidth_hz, coding_rate, ..Modulation::lorawan(7) })
}

/// Lower case, without what people put between words.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).take(64).map(|c| c.to_ascii_lowercase()).collect()
}

/// What of a user's text goes into an error.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn kilohertz(hz: u32) -> String {
    match hz % 1_000 {
        0 => (hz / 1_000).to_string(),
        rest => format!("{}.{}", hz / 1_000, rest / 100),
    }
}

/// The preset's name, `SF7/125`, or `1200bps`: what [`PhyRate::from_str`] takes, apart from what the radio adds.
impl fmt::Display for PhyRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PhyRate::BitRate { bits_per_second, .. } => write!(f, "{bits_per_second}bps"),
            PhyRate::LoRa { modulation, .. } => {
                // The data rates of LoRaWAN read better as what they are.
                let named = PRESETS.iter().take(10).find(|(_, preset)| preset == modulation);
                if let Some((name, _)) = named {
                    return f.write_str(name);
                }
                write!(f, "SF{}/{}", modulation.spreading_factor, kilohertz(modulation.bandwidth_hz))?;
                if modulation.coding_rate == 5 { Ok(()) } else { write!(f, "/{}", modulation.coding_rate) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_setting_is_read_as_people_write_it() {
        for (text, modulation) in [
            ("LongFast", Modulation::LONG_FAST),
            ("LONG_FAST", Modulation::LONG_FAST),
            ("short-turbo", Modulation::SHORT_TURBO),
            ("DR5", Modulation::SF7_125),
            ("SF7/125", Modulation::SF7_125),
            ("sf12/125", Modulation::SF12_125),
            ("SF10/250", Modulation { preamble_symbols: 8, ..Modulation::MESHCORE }),
            ("SF8/62.5/8", Modulation { preamble_symbols: 8, ..Modulation::MESHCORE_EU_NARROW }),
        ] {
            assert_eq!(text.parse(), Ok(PhyRate::lora(modulation)), "{text}");
        }
        assert_eq!("1200bps".parse(), Ok(PhyRate::ax25(1200)));
        assert_eq!("9600 bit/s".parse(), Ok(PhyRate::ax25(9600)));
    }

    #[test]
    fn a_wrong_setting_is_refused_by_the_part_that_is_wrong() {
        let refused = |text: &str| text.parse::<PhyRate>().unwrap_err();
        assert!(matches!(refused("LongFats"), PhyRateError::Unknown(_)));
        assert!(matches!(refused("SF7"), PhyRateError::Unknown(_)));
        assert!(matches!(refused("SF6/125"), PhyRateError::SpreadingFactor(_)));
        assert!(matches!(refused("SF7/126"), PhyRateError::Bandwidth(_)));
        assert!(matches!(refused("SF7/125/9"), PhyRateError::CodingRate(_)));
        assert!(matches!(refused("0bps"), PhyRateError::BitRate(_)));
        assert!(refused("SF7/126").to_string().contains("62.5"));
    }

    #[test]
    fn a_packet_radio_pays_its_key_up_once_and_a_fifth_for_stuffing() {
        let line = PhyRate::BitRate { bits_per_second: 1200, overhead_bytes: 20, key_up_ms: 400 };
        assert_eq!(line.frame_us(100), 400_000 + 960_000);
        assert_eq!(line.us_per_byte(), 8_000);
        assert!(PhyRate::ax25(9600).frame_us(100) < PhyRate::ax25(1200).frame_us(100));
    }

    #[test]
    fn a_radios_own_bytes_count_up_to_a_whole_lora_frame() {
        let (bare, radio) = (Modulation::LONG_FAST, PhyRate::meshtastic(Modulation::LONG_FAST, true));
        assert_eq!(radio.frame_us(100), bare.frame_us(16 + 7 + 100 + 66));
        assert_eq!(radio.frame_us(166), bare.frame_us(16 + 8 + 166), "a signature does not fit");
        assert_eq!(radio.frame_us(231), bare.frame_us(255));
        assert_eq!(PhyRate::meshtastic(bare, false).frame_us(100), bare.frame_us(123));
        let on_air = [(20, 37), (50, 69), (100, 117), (150, 165), (163, 181)];
        for (ours, all) in on_air {
            assert_eq!(PhyRate::meshcore(bare).frame_us(ours), bare.frame_us(all));
        }
        assert_eq!(PhyRate::lora(bare).with_overhead_bytes(24).frame_us(100), bare.frame_us(124));
        assert_eq!(PhyRate::lora(Modulation::LONG_FAST).bits_per_second(200), 915);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_printed_is_read_again(text in "\\PC{0,20}") {
            if let Ok(line) = text.parse::<PhyRate>() {
                prop_assert_eq!(line.to_string().parse::<PhyRate>(), Ok(line));
            }
        }

        #[test]
        fn every_setting_is_read_again_and_no_length_overflows(
            factor in 7u8..=12, at in 0usize..10, rate in 5u8..=8, bytes in any::<usize>(),
        ) {
            let text = format!("SF{factor}/{}/{rate}", kilohertz(BANDWIDTHS_HZ[at]));
            let line: PhyRate = text.parse().unwrap();
            prop_assert_eq!(line.to_string().parse::<PhyRate>(), Ok(line));
            prop_assert!(line.frame_us(bytes % 100_000) > 0);
            prop_assert!(PhyRate::ax25(1200).frame_us(bytes) > 0);
        }
    }
}
