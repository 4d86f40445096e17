//! What the MeshCore KISS modem firmware sends beyond KISS, in SetHardware frames.
//!
//! After `docs/kiss_modem_protocol.md` of the MeshCore project (firmware version 1 and later): a request is a sub-command and
//! its data, the answer is the sub-command with the high bit set; 0xF0 and above come unasked. One packet may be
//! pending: a second is dropped, by newer firmware with [`ModemReport::Error`]`(`[`TX_BUSY`]`)`, by older without a word.

/// Asks for the radio's frequency and modulation.
pub const GET_RADIO: &[u8] = &[0x0B];
/// Asks for the board's name.
pub const GET_DEVICE_NAME: &[u8] = &[0x16];
/// Asks for a sign of life.
pub const PING: &[u8] = &[0x17];
/// The error code for "a packet is pending already".
pub const TX_BUSY: u8 = 7;
/// The longest packet, bytes: what LoRa takes.
pub const PACKET_BYTES_MAX: usize = 255;
/// Characters of a device name that are kept.
pub const NAME_CHARS_MAX: usize = 64;

/// The request for a packet's time on air, of `bytes` length.
pub fn get_airtime(bytes: u8) -> [u8; 2] {
    [0x0F, bytes]
}

/// One SetHardware frame of the modem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModemReport {
    /// The pending packet is through: on the air, or failed.
    TxDone {
        /// Whether it went out.
        sent: bool,
    },
    /// A request, or the last data frame, was refused.
    Error(u8),
    /// Time on air of the length asked for.
    Airtime {
        /// The time on air in milliseconds.
        ms: u32,
    },
    /// How the radio is set; zeros until it is set by KISS.
    Radio {
        /// Centre of the channel in Hz.
        frequency_hz: u32,
        /// Width of the channel in Hz.
        bandwidth_hz: u32,
        /// Spreading factor, 5 to 12.
        spreading_factor: u8,
        /// Coding rate 4/5 to 4/8, written 5 to 8.
        coding_rate: u8,
    },
    /// What the board calls itself.
    DeviceName(String),
    /// How the data frame before this one was heard.
    Signal {
        /// Signal to noise in quarters of a dB.
        snr_quarter_db: i8,
        /// Signal strength in dBm.
        rssi_dbm: i8,
    },
    /// The answer to [`PING`].
    Pong,
    /// Anything else, by its sub-command.
    Other(u8),
}

impl ModemReport {
    /// Reads a SetHardware frame, without its command byte; `None` if it is empty or too short for what it claims to be.
    /// Later fields are passed over.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        Some(match kind {
            0xF8 => Self::TxDone { sent: *rest.first()? != 0 },
            0xF1 => Self::Error(*rest.first()?),
            0x8F => Self::Airtime { ms: u32::from_le_bytes(*rest.first_chunk()?) },
            0x8B => {
                let (frequency, rest) = rest.split_first_chunk()?;
                let (bandwidth, rest) = rest.split_first_chunk()?;
                let [spreading_factor, coding_rate] = *rest.first_chunk()?;
                Self::Radio {
                    frequency_hz: u32::from_le_bytes(*frequency),
                    bandwidth_hz: u32::from_le_bytes(*bandwidth),
                    spreading_factor,
                    coding_rate,
                }
            }
            0x96 => {
                let name = String::from_utf8_lossy(rest);
                Self::DeviceName(name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect())
            }
            0xF9 => {
                let [snr, rssi] = *rest.first_chunk()?;
                Self::Signal { snr_quarter_db: snr as i8, rssi_dbm: rssi as i8 }
            }
            0x97 => Self::Pong,
            other => Self::Other(*other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_modem_says_is_understood() {
        assert_eq!(ModemReport::parse(&[0xF1, 7]), Some(ModemReport::Error(TX_BUSY)));
        assert_eq!(ModemReport::parse(&[0xF8, 1]), Some(ModemReport::TxDone { sent: true }));
        assert_eq!(ModemReport::parse(&[0x8F, 0x10, 0x27, 0, 0]), Some(ModemReport::Airtime { ms: 10_000 }));
        let radio = ModemReport::Radio {
            frequency_hz: 869_618_000,
            bandwidth_hz: 62_500,
            spreading_factor: 8,
            coding_rate: 8,
        };
        let mut bytes = vec![0x8B];
        bytes.extend(869_618_000_u32.to_le_bytes());
        bytes.extend(62_500_u32.to_le_bytes());
        bytes.extend([8, 8, 99]);
        assert_eq!(ModemReport::parse(&bytes), Some(radio));
        assert_eq!(ModemReport::parse(&bytes[..10]), None);
        assert_eq!(
            ModemReport::parse(&[0xF9, 0xF0, 0x9C]),
            Some(ModemReport::Signal { snr_quarter_db: -16, rssi_dbm: -100 })
        );
    }

    proptest! {
        /// Any bytes are a report or none.
        #[test]
        fn any_bytes_are_a_report_or_none(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(ModemReport::DeviceName(name)) = ModemReport::parse(&bytes) {
                prop_assert!(name.chars().count() <= NAME_CHARS_MAX);
            }
        }
    }
}
