//! How a LoRa radio modulates, and the time on air of a frame that follows from it.
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
    /// Width of the channel in Hz.
    pub bandwidth_hz: u32,
    /// Coding rate 4/5 to 4/8, written 5 to 8.
    pub coding_rate: u8,
    /// Preamble in symbols, without the 4.25 of the sync word.
    pub preamble_symbols: u16,
}

/// Preamble of Meshtastic and, above spreading factor 8, of MeshCore, symbols.
const MESH_PREAMBLE: u16 = 16;
/// Preamble of LoRaWAN, symbols.
const LORAWAN_PREAMBLE: u16 = 8;

impl Modulation {
    /// Meshtastic's preset `LongFast`, its default.
    pub const LONG_FAST: Modulation = Modulation::mesh(11, 250_000, 5);
    /// Meshtastic's preset `LongSlow`, its slowest.
    pub const LONG_SLOW: Modulation = Modulation::mesh(12, 125_000, 8);
    /// Meshtastic's preset between `LongSlow` and `LongFast`.
    pub const LONG_MODERATE: Modulation = Modulation::mesh(11, 125_000, 8);
    /// Meshtastic's `MediumSlow`, which was also MeshCore's default.
    pub const MEDIUM_SLOW: Modulation = Modulation::mesh(10, 250_000, 5);
    /// Meshtastic's preset `MediumFast`, at 250 kHz.
    pub const MEDIUM_FAST: Modulation = Modulation::mesh(9, 250_000, 5);
    /// Meshtastic's preset `ShortSlow`, at 250 kHz.
    pub const SHORT_SLOW: Modulation = Modulation::mesh(8, 250_000, 5);
    /// Meshtastic's preset `ShortFast`, at 250 kHz.
    pub const SHORT_FAST: Modulation = Modulation::mesh(7, 250_000, 5);
    /// Meshtastic's fastest preset; 500 kHz wide, so not for the 10 % band of EU868.
    pub const SHORT_TURBO: Modulation = Modulation::mesh(7, 500_000, 5);
    /// What a MeshCore radio is set to as it comes.
    pub const MESHCORE: Modulation = Modulation::mesh(10, 250_000, 5);
    /// What MeshCore proposes for Europe. With 32 symbols of preamble, which its newest firmware sends at spreading factor 8 and
    /// below; older firmware sends 16, so that for this one the time is never too short.
    pub const MESHCORE_EU_NARROW: Modulation =
        Modulation { preamble_symbols: 32, ..Modulation::mesh(8, 62_500, 8) };
    /// The fastest common setting at 125 kHz; LoRaWAN's DR5 in Europe.
    pub const SF7_125: Modulation = Modulation::lorawan(7);
    /// The slowest common setting at 125 kHz; LoRaWAN's DR0 in Europe.
    pub const SF12_125: Modulation = Modulation::lorawan(12);

    const fn mesh(spreading_factor: u8, bandwidth_hz: u32, coding_rate: u8) -> Self {
        Modulation { spreading_factor, bandwidth_hz, coding_rate, preamble_symbols: MESH_PREAMBLE }
    }

    pub(crate) const fn lorawan(spreading_factor: u8) -> Self {
        Modulation {
            spreading_factor,
            bandwidth_hz: 125_000,
            coding_rate: 5,
            preamble_symbols: LORAWAN_PREAMBLE,
        }
    }

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

    /// Milliseconds for 50, 100, 150, 200 and 255 bytes, as an independent implementation of the same note
    /// prints them; each to the nearest millisecond.
    #[test]
    fn every_setting_people_use_takes_what_an_independent_table_says() {
        let table = [
            (Modulation::LONG_FAST, [641, 1010, 1378, 1747, 2157]),
            (Modulation::LONG_SLOW, [3547, 6169, 8790, 11411, 14295]),
            (Modulation::MEDIUM_FAST, [181, 293, 406, 519, 642]),
            (Modulation::SHORT_FAST, [53, 91, 127, 163, 204]),
            (Modulation::SHORT_TURBO, [26, 46, 64, 81, 102]),
            (Modulation::MESHCORE, [341, 546, 751, 955, 1181]),
            (Modulation::MESHCORE_EU_NARROW, [607, 1033, 1426, 1852, 2311]),
            (Modulation::lorawan(12), [2302, 3940, 5579, 7217, 9019]),
            (Modulation::lorawan(11), [1315, 2216, 3117, 4018, 5001]),
            (Modulation::lorawan(10), [616, 1026, 1436, 1845, 2296]),
            (Modulation::lorawan(9), [329, 554, 779, 1005, 1250]),
            (Modulation::lorawan(8), [175, 308, 431, 564, 707]),
            (Modulation::lorawan(7), [98, 174, 246, 318, 400]),
        ];
        for (modulation, expected) in table {
            for (bytes, expected_ms) in [50, 100, 150, 200, 255].into_iter().zip(expected) {
                let off_us = modulation.frame_us(bytes).abs_diff(expected_ms * 1_000);
                assert!(off_us <= 501, "{modulation:?}, {bytes} bytes: {off_us} us from {expected_ms} ms");
            }
        }
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
