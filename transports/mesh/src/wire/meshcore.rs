//! The MeshCore companion protocol, as bytes in and out.
//!
//! After `docs/companion_protocol.md` of the MeshCore project and its companion firmware from version code 11 on, which
//! carries channel datagrams: bytes for every holder of the channel's key, unacknowledged, repeated by repeaters.
//!
//! ```text
//! host to radio   3C | length, u16 little endian | command, data
//! radio to host   3E | length, u16 little endian | code, data         80 and above come unasked
//! ```
//!
//! One command is in flight at a time. Between frames a serial port may carry a console's text. Sans-io; who asks what
//! when is the driver's business.

use super::framed::{self, LengthPrefixed, Prefixed};
use crate::modulation::Modulation;

/// The payload that every firmware's channel datagram takes, bytes.
pub const PAYLOAD_BYTES: usize = 163;
/// The payload that the newest firmware takes, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 165;
/// Bytes of a channel's key.
pub const SECRET_BYTES: usize = 16;
/// Bytes of a channel's name, filled up with zeros.
pub const CHANNEL_NAME_BYTES: usize = 32;
/// The key of the channel where none is given. Everybody knows it: what must not be read is sealed before it comes here.
pub const CHANNEL_SECRET: [u8; SECRET_BYTES] = *b"tombolo on mesh\0";
/// The name of a channel that we set up.
pub const CHANNEL_NAME: &[u8] = b"tombolo";
/// What our datagrams are marked with: free for experiments (FF00 to FFFE).
pub const DATA_TYPE: u16 = 0xFF74;
/// The lowest firmware version code that carries channel datagrams.
pub const FIRMWARE_MIN: u8 = 11;
/// The longest body of a frame, bytes; firmware has 172 or 176, a longer one is no frame.
pub const BODY_BYTES_MAX: usize = 300;
/// Characters of names and versions that are kept.
pub const TEXT_CHARS_MAX: usize = 64;

const TO_RADIO: u8 = 0x3C;
const TO_HOST: u8 = 0x3E;
const HEADER_BYTES: usize = 3;

/// Bytes that leave the antenna for a channel datagram: header, path length, channel hash, check code, and the datagram
/// in AES blocks of 16.
pub fn on_air_bytes(payload_bytes: usize) -> usize {
    5 + (3 + payload_bytes).next_multiple_of(16)
}

/// Symbols of preamble before each packet: the newest firmware doubles it where symbols are short; older firmware has 16
/// everywhere, so that this is never too few.
pub fn preamble_symbols(spreading_factor: u8) -> u16 {
    if spreading_factor <= 8 { 32 } else { 16 }
}

/// What a host asks of its radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshcoreCommand<'a> {
    /// Who are you? Answered by [`Event::SelfInfo`].
    AppStart,
    /// Which firmware? Answered by [`Event::DeviceInfo`].
    DeviceQuery,
    /// How is this channel set up? Answered by [`Event::ChannelInfo`] or [`Event::Error`].
    GetChannel(u8),
    /// Sets a channel up. Answered by [`Event::Ok`] or [`Event::Error`].
    SetChannel {
        /// Index of the channel in the radio.
        index: u8,
        /// The key of the channel.
        secret: &'a [u8; SECRET_BYTES],
    },
    /// Sends a datagram to the channel by flooding. Answered by [`Event::Ok`] or [`Event::Error`].
    SendChannelData {
        /// Index of the channel in the radio.
        channel: u8,
        /// At most [`PAYLOAD_BYTES_MAX`] bytes.
        payload: &'a [u8],
    },
    /// The next thing heard. Answered by a message or [`Event::NoMore`].
    SyncNext,
}

impl MeshcoreCommand<'_> {
    /// The bytes to write.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HEADER_BYTES + BODY_BYTES_MAX);
        match self {
            Self::AppStart => {
                body.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
                body.extend_from_slice(b"tombolo");
            }
            // The version of the protocol that we speak.
            Self::DeviceQuery => body.extend_from_slice(&[22, 3]),
            Self::GetChannel(index) => body.extend_from_slice(&[31, *index]),
            Self::SetChannel { index, secret } => {
                let mut name = [0; CHANNEL_NAME_BYTES];
                name.iter_mut().zip(CHANNEL_NAME).for_each(|(to, from)| *to = *from);
                body.extend_from_slice(&[32, *index]);
                body.extend_from_slice(&name);
                body.extend_from_slice(*secret);
            }
            Self::SendChannelData { channel, payload } => {
                const FLOOD: u8 = 0xFF;
                body.extend_from_slice(&[62, *channel, FLOOD]);
                body.extend_from_slice(&DATA_TYPE.to_le_bytes());
                body.extend_from_slice(payload);
            }
            Self::SyncNext => body.push(10),
        }
        let bytes = u16::try_from(body.len()).unwrap_or(u16::MAX);
        [&[TO_RADIO], bytes.to_le_bytes().as_slice(), &body].concat()
    }
}

/// What a radio sends to its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The command is done, or taken for sending.
    Ok,
    /// The command is refused.
    Error(ErrorCode),
    /// The radio's name and settings.
    SelfInfo {
        /// What the node calls itself.
        name: String,
        /// Centre of the channel in kHz.
        frequency_khz: u32,
        /// With the preamble of the newest firmware.
        modulation: Modulation,
    },
    /// The firmware describes itself.
    DeviceInfo {
        /// Counts the changes of the protocol.
        version: u8,
        /// Channels it has room for; 0 if it does not report it.
        channels: u8,
        /// Its version as people write it; empty if it does not report it.
        text: String,
    },
    /// How a channel is set up.
    ChannelInfo {
        /// Index of the channel in the radio.
        index: u8,
        /// Its key; zeros where nothing is set up.
        secret: [u8; SECRET_BYTES],
    },
    /// A datagram of a channel was heard.
    ChannelData {
        /// Index of the channel in the radio.
        channel: u8,
        /// What it is marked with.
        data_type: u16,
        /// The bytes that the sender gave.
        payload: Vec<u8>,
    },
    /// Something else that was heard: a text, an answer. Not for us.
    Message,
    /// Nothing heard is left.
    NoMore,
    /// Something was heard; fetch it with [`MeshcoreCommand::SyncNext`].
    MessageWaiting,
    /// A packet of so many bytes passed on the air.
    Overheard {
        /// Length on air with all headers.
        on_air_bytes: usize,
    },
    /// A code that we do not know or need.
    Other(u8),
}

/// Why a radio refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The firmware does not know the command.
    Unsupported,
    /// There is no such channel.
    NotFound,
    /// The queue is full.
    TableFull,
    /// The radio cannot do this now.
    BadState,
    /// Not with these values.
    IllegalArgument,
    /// A code that this list does not know.
    Other(u8),
}

impl ErrorCode {
    /// The number in the protocol.
    pub fn code(self) -> u8 {
        match self {
            Self::Unsupported => 1,
            Self::NotFound => 2,
            Self::TableFull => 3,
            Self::BadState => 4,
            Self::IllegalArgument => 6,
            Self::Other(code) => code,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            1 => Self::Unsupported,
            2 => Self::NotFound,
            3 => Self::TableFull,
            4 => Self::BadState,
            6 => Self::IllegalArgument,
            other => Self::Other(other),
        }
    }
}

/// Cuts what a radio sends into [`Event`]s.
pub type MeshcoreDecoder = framed::Decoder<LengthPrefixed<CompanionProtocol>>;

/// The protocol, as the decoder needs it.
#[derive(Clone, Copy, Debug)]
pub struct CompanionProtocol;

impl Prefixed for CompanionProtocol {
    type Event = Event;
    const START: &'static [u8] = &[TO_HOST];
    const BODY_BYTES_MIN: usize = 1;
    const BODY_BYTES_MAX: usize = BODY_BYTES_MAX;

    fn length(bytes: [u8; 2]) -> u16 {
        u16::from_le_bytes(bytes)
    }

    fn read(body: &[u8]) -> Option<Event> {
        event(body)
    }
}

/// Reads a body; `None` if it is too short for its code. Later fields are passed over.
fn event(body: &[u8]) -> Option<Event> {
    let (code, rest) = body.split_first()?;
    Some(match code {
        0 => Event::Ok,
        1 => Event::Error(rest.first().map_or(ErrorCode::Other(0), |code| ErrorCode::of(*code))),
        5 => self_info(rest)?,
        13 => device_info(rest)?,
        18 => {
            let (index, rest) = rest.split_first()?;
            let secret = rest.get(CHANNEL_NAME_BYTES..)?.first_chunk()?;
            Event::ChannelInfo { index: *index, secret: *secret }
        }
        27 => channel_data(rest)?,
        7 | 8 | 16 | 17 => Event::Message,
        10 => Event::NoMore,
        0x83 => Event::MessageWaiting,
        // Signal to noise, signal strength, and the packet.
        0x88 => Event::Overheard { on_air_bytes: rest.len().saturating_sub(2) },
        other => Event::Other(*other),
    })
}

fn self_info(rest: &[u8]) -> Option<Event> {
    // Type, power, power at most, public key, position, and four bytes of settings.
    const BEFORE: usize = 3 + 32 + 8 + 4;
    let (frequency, rest) = rest.get(BEFORE..)?.split_first_chunk()?;
    let (bandwidth, rest) = rest.split_first_chunk()?;
    let ([spreading_factor, coding_rate], name) = rest.split_first_chunk()?;
    Some(Event::SelfInfo {
        name: text(name),
        frequency_khz: u32::from_le_bytes(*frequency),
        modulation: Modulation {
            spreading_factor: *spreading_factor,
            bandwidth_hz: u32::from_le_bytes(*bandwidth),
            coding_rate: *coding_rate,
            preamble_symbols: preamble_symbols(*spreading_factor),
        },
    })
}

fn device_info(rest: &[u8]) -> Option<Event> {
    // Contacts, channels, PIN, build date, maker, version.
    const VERSION_AT: usize = 1 + 1 + 4 + 12 + 40;
    const VERSION_BYTES: usize = 20;
    let (version, rest) = rest.split_first()?;
    let text = rest.get(VERSION_AT..).map(|bytes| text(bytes.get(..VERSION_BYTES).unwrap_or(bytes)));
    Some(Event::DeviceInfo {
        version: *version,
        channels: rest.get(1).copied().unwrap_or(0),
        text: text.unwrap_or_default(),
    })
}

fn channel_data(rest: &[u8]) -> Option<Event> {
    // Signal to noise, two reserved, channel, path length, type, length.
    let ([_, _, _, channel, _, low, high, bytes], payload) = rest.split_first_chunk()?;
    let payload = payload.get(..usize::from(*bytes))?.to_vec();
    Some(Event::ChannelData { channel: *channel, data_type: u16::from_le_bytes([*low, *high]), payload })
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        [&[TO_HOST], (body.len() as u16).to_le_bytes().as_slice(), body].concat()
    }

    fn decode(parts: &[&[u8]]) -> Vec<Event> {
        let mut decoder = MeshcoreDecoder::default();
        let mut events = vec![];
        for part in parts {
            decoder.push(part);
            events.extend(std::iter::from_fn(|| decoder.next_event()));
        }
        events
    }

    #[test]
    fn commands_have_their_known_bytes() {
        assert_eq!(MeshcoreCommand::DeviceQuery.encode(), [0x3C, 2, 0, 22, 3]);
        assert_eq!(MeshcoreCommand::SyncNext.encode(), [0x3C, 1, 0, 10]);
        assert_eq!(MeshcoreCommand::AppStart.encode(), b"\x3C\x0F\0\x01\0\0\0\0\0\0\0tombolo");
        let send = MeshcoreCommand::SendChannelData { channel: 1, payload: b"hi" };
        assert_eq!(send.encode(), [0x3C, 7, 0, 62, 1, 0xFF, 0x74, 0xFF, b'h', b'i']);
        let set = MeshcoreCommand::SetChannel { index: 2, secret: &[9; 16] }.encode();
        assert_eq!(
            (set.len(), &set[..5], &set[5..13], &set[37..]),
            (53, &[0x3C, 50, 0, 32, 2][..], &b"tombolo\0"[..], &[9; 16][..])
        );
        // The firmware's buffer holds 172 bytes.
        let longest = MeshcoreCommand::SendChannelData { channel: 1, payload: &[0; PAYLOAD_BYTES] }.encode();
        assert!(longest.len() - HEADER_BYTES <= 172);
    }

    #[test]
    fn what_the_radio_says_is_understood() {
        let mut info = vec![5, 1, 22, 22];
        info.extend([7; 32]);
        info.extend([0; 12]);
        info.extend(869_618_u32.to_le_bytes());
        info.extend(62_500_u32.to_le_bytes());
        info.extend([8, 8]);
        info.extend(b"hut");
        let data = [27, 40, 0, 0, 1, 2, 0x74, 0xFF, 3, 1, 2, 3];
        let events =
            decode(&[&framed(&info), &framed(&data), &framed(&[1, 3]), &framed(&[0x83]), &framed(&[10])]);
        let modulation =
            Modulation { spreading_factor: 8, bandwidth_hz: 62_500, coding_rate: 8, preamble_symbols: 32 };
        assert_eq!(
            events,
            [
                Event::SelfInfo { name: "hut".into(), frequency_khz: 869_618, modulation },
                Event::ChannelData { channel: 1, data_type: DATA_TYPE, payload: vec![1, 2, 3] },
                Event::Error(ErrorCode::TableFull),
                Event::MessageWaiting,
                Event::NoMore,
            ]
        );
    }

    #[test]
    fn a_datagram_that_claims_more_than_it_has_is_none() {
        let mut decoder = MeshcoreDecoder::default();
        decoder.push(&framed(&[27, 0, 0, 0, 1, 0, 0x74, 0xFF, 9, 1, 2, 3]));
        assert_eq!((decoder.next_event(), decoder.spoilt()), (None, 1));
    }

    #[test]
    fn a_consoles_text_is_passed_over_and_a_false_start_given_up() {
        assert_eq!(decode(&[b"boot ok\r\n", &framed(&[0])]), [Event::Ok]);
        let mut decoder = MeshcoreDecoder::default();
        decoder.push(b"rx > d");
        decoder.push(&framed(&[0]));
        assert_eq!(decoder.next_event(), Some(Event::Ok), "no frame has the 25632 bytes of \"> d\"");
        let mut decoder = MeshcoreDecoder::default();
        decoder.push(b"a>\x40\0b");
        decoder.push(&framed(&[0]));
        assert_eq!(decoder.next_event(), None);
        decoder.resync();
        assert_eq!(decoder.next_event(), Some(Event::Ok));
    }

    #[test]
    fn the_key_drawn_in_the_format_is_the_key() {
        let key = data_encoding::HEXLOWER.encode(&CHANNEL_SECRET);
        assert!(include_str!("../../FORMAT.md").contains(&format!("`{key}`")));
    }

    #[test]
    fn on_air_sizes_are_those_measured() {
        let measured = [(20, 37), (50, 69), (100, 117), (150, 165), (163, 181)];
        measured.iter().for_each(|(payload, on_air)| assert_eq!(on_air_bytes(*payload), *on_air));
    }

    proptest! {
        /// Frames cut anywhere come out; what is pushed is never more than held.
        #[test]
        fn frames_survive_any_cut(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..165), 0..10), step in 1_usize..200) {
            let mut bytes = vec![];
            for payload in &payloads {
                let head = [27, 0, 0, 0, 1, 0xFF, 0x74, 0xFF, payload.len() as u8];
                bytes.extend(framed(&[&head, payload.as_slice()].concat()));
            }
            let got = decode(&bytes.chunks(step).collect::<Vec<_>>());
            let want: Vec<_> = payloads.into_iter().map(|payload| Event::ChannelData { channel: 1, data_type: DATA_TYPE, payload }).collect();
            prop_assert_eq!(got, want);
        }

        /// After any bytes whatever, giving up what began leads to the frame that follows.
        #[test]
        fn any_bytes_leave_it_in_step(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let mut decoder = MeshcoreDecoder::default();
            decoder.push(&bytes);
            while decoder.next_event().is_some() {}
            while decoder.held_bytes() > 0 {
                decoder.resync();
                while decoder.next_event().is_some() {}
            }
            decoder.push(&framed(&[10]));
            prop_assert_eq!(decoder.next_event(), Some(Event::NoMore));
        }
    }
}
