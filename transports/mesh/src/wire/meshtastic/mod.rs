//! The Meshtastic stream API, as bytes in and out.
//!
//! After the protocol's public description and the descriptors of its official client: protocol buffers in frames, between
//! which a serial port may carry a console's text. `protobuf` reads the few fields that are needed, and passes over
//! those of newer firmware.
//!
//! ```text
//! 94 C3 | length, u16 big endian, at most 512 | ToRadio or FromRadio
//! ```
//!
//! Sans-io; who asks what when is the driver's business.

mod protobuf;

use super::framed::{self, LengthPrefixed, Prefixed};
use crate::modulation::Modulation;
use protobuf::{FieldValue, Fields, Message};

/// The largest payload that a node sends, bytes; the constant in its sources is 233.
pub const PAYLOAD_BYTES_MAX: usize = 231;
/// Our packets' application: the first of those left to private use.
pub const PRIVATE_PORT: u32 = 256;
/// The node's own messages about packets.
const ROUTING_PORT: u32 = 5;
/// The address of all nodes.
pub const BROADCAST: u32 = 0xFFFF_FFFF;
/// A `want_config` with this number is answered without the list of all nodes heard; older firmware answers in full.
pub const CONFIG_ONLY: u32 = 69_420;
/// Wakes a radio on a serial port, and brings it into step.
pub const WAKE: [u8; 32] = [START_2; 32];
/// The longest message in a frame, bytes.
pub const FRAME_BYTES_MAX: usize = 512;
/// Characters of names and notifications that are kept.
pub const TEXT_CHARS_MAX: usize = 200;

const START_1: u8 = 0x94;
const START_2: u8 = 0xC3;

/// Bytes that leave the antenna for a broadcast of `payload_bytes`: the packet's header, the encoding around the payload,
/// and, where it `signs` and that still fits, the signature.
pub fn on_air_bytes(payload_bytes: usize, signs: bool) -> usize {
    const HEADER: usize = 16;
    const SIGNATURE: usize = 66;
    const ON_AIR_MAX: usize = 255;
    let bytes = HEADER + payload_bytes + if payload_bytes < 128 { 7 } else { 8 };
    if signs && bytes + SIGNATURE <= ON_AIR_MAX { bytes + SIGNATURE } else { bytes }
}

/// Whether firmware of this version, as a radio reports it (`2.7.11.abc`), signs its broadcasts: 2.8 and later do. A version
/// that cannot be read is taken for one that does, so that no time on air is left out.
pub fn signs_broadcasts(firmware: Option<&str>) -> bool {
    let mut numbers = firmware.unwrap_or_default().splitn(3, '.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 8),
        _ => true,
    }
}

/// What a host sends to its radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshtasticCommand<'a> {
    /// Asks for everything it is set to; answered up to [`Event::ConfigComplete`] with the same number.
    WantConfig(u32),
    /// A sign of life, answered by [`Event::QueueStatus`].
    Heartbeat,
    /// Broadcasts a payload on our private port, without acknowledgement.
    Broadcast {
        /// Names the packet to the radio; not 0, and not used before.
        id: u32,
        /// The index of the channel, 0 to 7.
        channel: u8,
        /// How often others may repeat it, 0 to 7.
        hops: u8,
        /// At most [`PAYLOAD_BYTES_MAX`] bytes.
        payload: &'a [u8],
    },
}

impl MeshtasticCommand<'_> {
    /// The bytes to write.
    pub fn encode(&self) -> Vec<u8> {
        let message = match self {
            Self::WantConfig(nonce) => Message::default().varint(3, u64::from(*nonce)),
            Self::Heartbeat => Message::default().message(7, Message::default()),
            Self::Broadcast { id, channel, hops, payload } => {
                let data = Message::default().varint(1, u64::from(PRIVATE_PORT)).bytes(2, payload);
                let packet = Message::default()
                    .fixed32(2, BROADCAST)
                    .varint(3, u64::from(*channel))
                    .message(4, data)
                    .fixed32(6, *id)
                    .varint(9, u64::from(*hops));
                Message::default().message(1, packet)
            }
        };
        let body = message.finish();
        let bytes = u16::try_from(body.len()).unwrap_or(u16::MAX);
        [&[START_1, START_2], bytes.to_be_bytes().as_slice(), &body].concat()
    }
}

/// What a radio sends to its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The radio's own node number.
    MyInfo {
        /// Number of the radio's node.
        node: u32,
    },
    /// A node it knows, perhaps itself.
    NodeInfo {
        /// Number of the node described.
        node: u32,
        /// Its long name; empty if it has none.
        name: String,
    },
    /// How its radio is set.
    LoRa(LoRa),
    /// How a channel is set up.
    Channel {
        /// Index of the channel in the radio.
        index: u32,
        /// Whether it is in use.
        enabled: bool,
    },
    /// The radio describes its firmware.
    Metadata {
        /// The version as people write it.
        firmware: String,
    },
    /// The answer to [`MeshtasticCommand::WantConfig`] is complete.
    ConfigComplete(u32),
    /// It restarted; its settings of this session are forgotten.
    Rebooted,
    /// What became of a packet handed over, and how full its queue is.
    QueueStatus {
        /// 0, or a number of [`error`].
        result: u32,
        /// Free places in the radio's queue.
        free: u32,
        /// All places in the radio's queue.
        places: u32,
        /// The packet's id; 0 in answer to a heartbeat.
        id: u32,
    },
    /// A packet was heard that its firmware could decode.
    Packet(Packet),
    /// The mesh's word on a packet of ours.
    Routing {
        /// Id of the packet that was routed.
        id: u32,
        /// 0, or a number of [`error`].
        error: u32,
    },
    /// Something a person should know.
    Notification {
        /// The packet it is about; 0 if none.
        id: u32,
        /// The text of the notification.
        text: String,
    },
    /// A message that is of no use here.
    Other,
}

/// Numbers by which a radio reports what became of a packet.
pub mod error {
    /// No channel of this index.
    pub const NO_CHANNEL: u32 = 6;
    /// The packet does not fit a frame.
    pub const TOO_LARGE: u32 = 7;
    /// The duty cycle of the region is used up.
    pub const DUTY_CYCLE_LIMIT: u32 = 9;
    /// The queue is full, or the request is bad.
    pub const QUEUE_FULL: u32 = 32;
    /// Too much in too short a time.
    pub const RATE_LIMIT: u32 = 38;
}

/// How a node's radio is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoRa {
    /// Set by hand, or what the preset stands for; `None` for presets that are not known here.
    pub modulation: Option<Modulation>,
    /// The region's number; 0 is none, and nothing is sent.
    pub region: u32,
    /// Whether the transmitter is on.
    pub transmits: bool,
}

impl LoRa {
    /// The region's name as its community writes it.
    pub fn region_name(&self) -> Option<String> {
        const NAMES: [&str; 34] = [
            "UNSET", "US", "EU_433", "EU_868", "CN", "JP", "ANZ", "KR", "TW", "RU", "IN", "NZ_865", "TH",
            "LORA_24", "UA_433", "UA_868", "MY_433", "MY_919", "SG_923", "PH_433", "PH_868", "PH_915",
            "ANZ_433", "KZ_433", "KZ_863", "NP_865", "BR_902", "ITU1_2M", "ITU2_2M", "EU_866", "EU_874",
            "EU_917", "EU_N_868", "ITU3_2M",
        ];
        let known = usize::try_from(self.region).ok().and_then(|region| NAMES.get(region));
        Some(known.map_or_else(|| format!("region {}", self.region), ToString::to_string))
    }
}

/// A packet on our private port or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The node that sent it first.
    pub from: u32,
    /// A node, or [`BROADCAST`].
    pub to: u32,
    /// The index of the channel.
    pub channel: u32,
    /// Number of the application that it is for.
    pub port: u32,
    /// The bytes for that application.
    pub payload: Vec<u8>,
}

/// Cuts what a radio sends into [`Event`]s.
pub type MeshtasticDecoder = framed::Decoder<LengthPrefixed<StreamApi>>;

/// The protocol, as the decoder needs it.
#[derive(Clone, Copy, Debug)]
pub struct StreamApi;

impl Prefixed for StreamApi {
    type Event = Event;
    const START: &'static [u8] = &[START_1, START_2];
    const BODY_BYTES_MIN: usize = 0;
    const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX;

    fn length(bytes: [u8; 2]) -> u16 {
        u16::from_be_bytes(bytes)
    }

    fn read(body: &[u8]) -> Option<Event> {
        Some(from_radio(body))
    }
}

fn from_radio(body: &[u8]) -> Event {
    let mut event = Event::Other;
    for (number, value) in Fields(body) {
        event = match number {
            2 => packet(value),
            3 => Event::MyInfo { node: first(value, 1) },
            4 => node_info(value),
            5 => match value.fields().find(|(number, _)| *number == 6) {
                Some((_, lora)) => Event::LoRa(self::lora(lora)),
                None => Event::Other,
            },
            7 => Event::ConfigComplete(value.u32()),
            8 if value.bool() => Event::Rebooted,
            10 => Event::Channel { index: first(value, 1), enabled: first(value, 3) != 0 },
            11 => Event::QueueStatus {
                result: first(value, 1),
                free: first(value, 2),
                places: first(value, 3),
                id: first(value, 4),
            },
            13 => Event::Metadata { firmware: text(value, 1) },
            16 => Event::Notification { id: first(value, 1), text: text(value, 4) },
            _ => event,
        };
    }
    event
}

/// The number in this field; 0 where it is left out.
fn first(value: FieldValue<'_>, wanted: u32) -> u32 {
    value.fields().filter(|(number, _)| *number == wanted).last().map_or(0, |(_, value)| value.u32())
}

fn text(value: FieldValue<'_>, wanted: u32) -> String {
    let text = value.fields().filter(|(number, _)| *number == wanted).last();
    text.map(|(_, value)| value.text(TEXT_CHARS_MAX)).unwrap_or_default()
}

fn node_info(value: FieldValue<'_>) -> Event {
    let user = value.fields().filter(|(number, _)| *number == 2).last();
    Event::NodeInfo { node: first(value, 1), name: user.map(|(_, user)| text(user, 2)).unwrap_or_default() }
}

fn lora(value: FieldValue<'_>) -> LoRa {
    let preset = match first(value, 2) {
        0 => Some(Modulation::LONG_FAST),
        1 => Some(Modulation::LONG_SLOW),
        3 => Some(Modulation::MEDIUM_SLOW),
        4 => Some(Modulation::MEDIUM_FAST),
        5 => Some(Modulation::SHORT_SLOW),
        6 => Some(Modulation::SHORT_FAST),
        7 => Some(Modulation::LONG_MODERATE),
        8 => Some(Modulation::SHORT_TURBO),
        9 => Some(Modulation { coding_rate: 8, bandwidth_hz: 500_000, ..Modulation::LONG_FAST }),
        _ => None,
    };
    let by_hand = || {
        let (spreading, coding) = (first(value, 4).try_into().ok()?, first(value, 5).try_into().ok()?);
        // Whole kHz stand for the chip's odd steps.
        let bandwidth_hz = match first(value, 3) {
            31 => 31_250,
            62 => 62_500,
            khz => khz.checked_mul(1000)?,
        };
        let known = (7..=12).contains(&spreading) && (5..=8).contains(&coding) && bandwidth_hz > 0;
        let modulation = Modulation {
            spreading_factor: spreading,
            bandwidth_hz,
            coding_rate: coding,
            ..Modulation::LONG_FAST
        };
        known.then_some(modulation)
    };
    LoRa {
        modulation: if first(value, 1) != 0 { preset } else { by_hand() },
        region: first(value, 7),
        transmits: first(value, 9) != 0,
    }
}

/// A packet that is decoded; one that is still encrypted is none of ours.
fn packet(value: FieldValue<'_>) -> Event {
    let Some((_, data)) = value.fields().filter(|(number, _)| *number == 4).last() else {
        return Event::Other;
    };
    let payload = data.fields().filter(|(number, _)| *number == 2).last();
    let payload = payload.map(|(_, payload)| payload.bytes()).unwrap_or_default();
    let port = first(data, 1);
    if port == ROUTING_PORT {
        let reason = Fields(payload).filter(|(number, _)| *number == 3).last();
        return match reason {
            Some((_, reason)) => Event::Routing { id: first(data, 6), error: reason.u32() },
            None => Event::Other,
        };
    }
    Event::Packet(Packet {
        from: first(value, 1),
        to: first(value, 2),
        channel: first(value, 3),
        port,
        payload: payload.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER_PERMISSIVE;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap()
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        [&[0x94, 0xC3], (body.len() as u16).to_be_bytes().as_slice(), body].concat()
    }

    fn decode(parts: &[&[u8]]) -> Vec<Event> {
        let mut decoder = MeshtasticDecoder::default();
        let mut events = vec![];
        for part in parts {
            decoder.push(part);
            events.extend(std::iter::from_fn(|| decoder.next_event()));
        }
        events
    }

    /// As the official client's library writes the same messages.
    #[test]
    fn commands_have_the_bytes_of_the_official_library() {
        assert_eq!(MeshtasticCommand::WantConfig(CONFIG_ONLY).encode(), hex("94c3 0004 18ac9e04"));
        assert_eq!(MeshtasticCommand::Heartbeat.encode(), hex("94c3 0002 3a00"));
        let broadcast =
            MeshtasticCommand::Broadcast { id: 0x1234_5678, channel: 2, hops: 3, payload: b"tide" };
        assert_eq!(
            broadcast.encode(),
            hex("94c3 001b 0a19 15ffffffff 1802 2209 088002 1204 74696465 3578563412 4803")
        );
    }

    #[test]
    fn what_the_radio_says_is_understood() {
        let own = framed(&hex("1a08 0885808080044009"));
        let status = framed(&hex("5a0b 0807 1010 1810 2085a2bf64"));
        let channel = framed(&hex("5206 0801 1200 1802"));
        let lora = framed(&hex("2a0c 320a 0801 3803 4003 4801 5816"));
        let done = framed(&hex("38ac9e04"));
        assert_eq!(
            decode(&[&own, &status, &channel, &lora, &done]),
            [
                Event::MyInfo { node: 0x4000_0005 },
                Event::QueueStatus { result: 7, free: 16, places: 16, id: 0x0c8f_d105 },
                Event::Channel { index: 1, enabled: true },
                Event::LoRa(LoRa { modulation: Some(Modulation::LONG_FAST), region: 3, transmits: true }),
                Event::ConfigComplete(CONFIG_ONLY),
            ]
        );
    }

    #[test]
    fn a_packet_with_fields_of_newer_firmware_is_understood() {
        let data = Message::default().varint(1, 256).bytes(2, b"tide").bytes(10, &[7; 64]).varint(99, 5);
        let packet = Message::default()
            .fixed32(1, 5)
            .fixed32(2, BROADCAST)
            .varint(3, 1)
            .message(4, data)
            .varint(12, -90_i64 as u64)
            .varint(21, 1)
            .bytes(200, b"new");
        let body = Message::default().varint(1, 77).message(2, packet).finish();
        let packet = Packet { from: 5, to: BROADCAST, channel: 1, port: 256, payload: b"tide".to_vec() };
        assert_eq!(decode(&[&framed(&body)]), [Event::Packet(packet)]);
    }

    #[test]
    fn a_refusal_by_routing_names_the_packet() {
        let routing = Message::default().varint(3, 9).finish();
        let data = Message::default().varint(1, 5).bytes(2, &routing).fixed32(6, 42);
        let packet = Message::default().fixed32(1, 5).message(4, data);
        let body = Message::default().message(2, packet).finish();
        assert_eq!(decode(&[&framed(&body)]), [Event::Routing { id: 42, error: error::DUTY_CYCLE_LIMIT }]);
    }

    #[test]
    fn a_consoles_text_is_passed_over() {
        let done = framed(&hex("38ac9e04"));
        let console = b"\x1b[32mINFO\x94 | boot \x94\xC3\xFF\xFF more\r\n";
        assert_eq!(decode(&[console, &done]), [Event::ConfigComplete(CONFIG_ONLY)]);
        let mut decoder = MeshtasticDecoder::default();
        decoder.push(&[0x94, 0xC3, 0, 200]);
        decoder.push(&done);
        assert_eq!(decoder.next_event(), None);
        decoder.resync();
        assert_eq!(decoder.next_event(), Some(Event::ConfigComplete(CONFIG_ONLY)));
    }

    #[test]
    fn on_air_sizes_are_those_of_the_firmware() {
        assert_eq!(on_air_bytes(231, true), 255);
        assert_eq!(on_air_bytes(100, true), 16 + 100 + 7 + 66);
        assert_eq!(on_air_bytes(100, false), 16 + 100 + 7);
        assert_eq!(on_air_bytes(166, true), 16 + 166 + 8);
    }

    #[test]
    fn firmware_signs_from_2_8_on_and_where_it_does_not_say() {
        for (firmware, signs) in [
            (Some("2.7.11.ee68575"), false),
            (Some("2.6.9"), false),
            (Some("2.8.0.ab"), true),
            (Some("2.10.1"), true),
            (Some("3.0.0"), true),
            (Some("nightly"), true),
            (None, true),
        ] {
            assert_eq!(signs_broadcasts(firmware), signs, "{firmware:?}");
        }
    }

    proptest! {
        /// Any payload, cut anywhere, arrives as it was sent.
        #[test]
        fn payloads_survive_any_cut(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..232), 0..8), step in 1_usize..300) {
            let mut bytes = vec![];
            for payload in &payloads {
                let data = Message::default().varint(1, 256).bytes(2, payload);
                let packet = Message::default().fixed32(1, 9).message(4, data);
                bytes.extend(framed(&Message::default().message(2, packet).finish()));
            }
            let got = decode(&bytes.chunks(step).collect::<Vec<_>>());
            let want: Vec<_> = payloads.into_iter().map(|payload| {
                Event::Packet(Packet { from: 9, to: 0, channel: 0, port: 256, payload })
            }).collect();
            prop_assert_eq!(got, want);
        }

        /// After any bytes whatever, giving up what began leads to the frame that follows.
        #[test]
        fn any_bytes_leave_it_in_step(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let mut decoder = MeshtasticDecoder::default();
            decoder.push(&bytes);
            while decoder.next_event().is_some() {}
            while decoder.held_bytes() > 0 {
                decoder.resync();
                while decoder.next_event().is_some() {}
            }
            decoder.push(&framed(&hex("38ac9e04")));
            prop_assert_eq!(decoder.next_event(), Some(Event::ConfigComplete(CONFIG_ONLY)));
        }

        /// Any message is an event.
        #[test]
        fn any_message_is_an_event(body in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert_eq!(decode(&[&framed(&body)]).len(), 1);
        }
    }
}
