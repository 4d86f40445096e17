//! Time on air of a LoRa frame.
//!
//! Semtech application note AN1200.13, *LoRa Modem Designer's Guide*, section 4, for the SX127x family and
//! spreading factors 7 to 12:
//!
//! ```text
//! Ts = 2^SF / BW
//! n  = 8 + max(ceil((8 PL - 4 SF + 28 + 16 CRC - 20 IH) / (4 (SF - 2 DE))) (CR + 4), 0)
//! T  = (preamble + 4.25 + n) Ts
//! ```
//! PL is the frame in bytes, with the radio's own header; IH is 0 (explicit header), CRC is 1, DE is 1 where a
//! symbol takes more than 16 ms. Whole microseconds, rounded up: what is legal is never rounded in our favour.

/// The longest LoRa frame, bytes.
pub const FRAME_BYTES_MAX: usize = 255;

/// How a LoRa radio modulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulation {
    /// Spreading factor, 7 to 12.
    pub spreading_factor: u8,
    /// Bandwidth in Hz.
    pub bandwidth_hz: u32,
    /// Coding rate 4/5 to 4/8, written 5 to 8.
    pub coding_rate: u8,
    /// Preamble in symbols, without the 4.25 of the sync word.
    pub preamble_symbols: u16,
}

impl Modulation {
    /// Meshtastic's default preset.
    pub const LONG_FAST: Modulation =
        Modulation { spreading_factor: 11, bandwidth_hz: 250_000, coding_rate: 5, preamble_symbols: 16 };
    /// The fastest common setting at 125 kHz.
    pub const SF7_125: Modulation =
        Modulation { spreading_factor: 7, bandwidth_hz: 125_000, coding_rate: 5, preamble_symbols: 8 };
    /// The slowest common setting at 125 kHz.
    pub const SF12_125: Modulation =
        Modulation { spreading_factor: 12, bandwidth_hz: 125_000, coding_rate: 5, preamble_symbols: 8 };

    /// Time on air of one frame of `bytes`, microseconds.
    pub fn frame_us(&self, bytes: usize) -> u64 {
        let spreading = u64::from(self.spreading_factor.clamp(7, 12));
        let bandwidth = u64::from(self.bandwidth_hz.max(1));
        // A symbol takes more than 16 ms: the radio then spends two more chips per symbol.
        let low_rate = (1 << spreading) * 1_000 > 16 * bandwidth;
        let bits = (8 * bytes as u64 + 28 + 16).saturating_sub(4 * spreading);
        let blocks = bits.div_ceil(4 * (spreading - if low_rate { 2 } else { 0 }));
        let payload_symbols = 8 + blocks * u64::from(self.coding_rate.clamp(5, 8));
        // In quarters, for the 4.25 symbols of the sync word.
        let quarter_symbols = 4 * (u64::from(self.preamble_symbols) + payload_symbols) + 17;
        (quarter_symbols * (1 << spreading) * 1_000_000).div_ceil(4 * bandwidth)
    }

    /// Time on air of a message cut into as few frames as hold it, microseconds.
    pub fn message_us(&self, bytes: usize) -> u64 {
        let full = (bytes / FRAME_BYTES_MAX) as u64;
        let rest = bytes % FRAME_BYTES_MAX;
        let last = if rest > 0 || full == 0 { self.frame_us(rest) } else { 0 };
        full * self.frame_us(FRAME_BYTES_MAX) + last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(spreading_factor: u8, bandwidth_hz: u32, coding_rate: u8, preamble_symbols: u16) -> Modulation {
        Modulation { spreading_factor, bandwidth_hz, coding_rate, preamble_symbols }
    }

    /// The Things Network's published airtime tables for EU868, 125 kHz, preamble 8: 51 bytes of payload and
    /// 13 of LoRaWAN header.
    #[test]
    fn published_values_are_met() {
        assert_eq!(Modulation::SF12_125.frame_us(64), 2_793_472);
        assert_eq!(Modulation::SF12_125.frame_us(23), 1_482_752);
        assert_eq!(Modulation::SF7_125.frame_us(64), 118_016);
        assert_eq!(at(10, 125_000, 5, 8).frame_us(64), 698_368);
    }

    #[test]
    fn a_longer_frame_never_takes_less() {
        for modulation in
            [Modulation::LONG_FAST, Modulation::SF7_125, Modulation::SF12_125, at(8, 62_500, 8, 16)]
        {
            let times: Vec<u64> = (0..=FRAME_BYTES_MAX).map(|bytes| modulation.frame_us(bytes)).collect();
            assert!(times.is_sorted());
            assert!(modulation.message_us(256) > modulation.frame_us(255));
            assert_eq!(modulation.message_us(510), 2 * modulation.frame_us(255));
        }
    }
}
