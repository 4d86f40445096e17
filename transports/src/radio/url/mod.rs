//! What names a radio: `kiss+tcp://localhost:8001?call=N0CALL-1`.

mod options;

use options::Options;
use std::fmt;
use std::str::FromStr;
use tombolo_mesh::wire::ax25::{Ax25CallSign, CallSignError};
use tombolo_mesh::wire::{kiss, meshcore, meshtastic};

/// The shortest frame a radio may be limited to with `mtu`, bytes.
pub const MTU_MIN: usize = 50;
/// The frame length of a KISS TNC unless `mtu` is given, bytes: what LoRa takes.
pub const KISS_MTU: usize = 255;

/// A radio: where it is plugged in, what it speaks, and its settings of the air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioUrl {
    /// Where its bytes come from.
    pub port: RadioPort,
    /// What it speaks, with the settings of that.
    pub protocol: RadioProtocol,
    /// `preset=`: the LoRa modulation, by the name its community uses; read by the owner of the airtime ledger.
    pub preset: Option<String>,
    /// `bitrate=`: the line's rate on the air in bit/s.
    pub bitrate: Option<u32>,
    /// `region=`: the band plan, by name; read by the owner of the airtime ledger.
    pub region: Option<String>,
}

/// Where a radio is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadioPort {
    /// A program or a radio that listens on TCP.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The TCP port that it listens on.
        port: u16,
    },
    /// A serial port, 8N1 without flow control.
    Serial {
        /// The device: `/dev/ttyUSB0`, `COM3`.
        path: String,
        /// Speed of the line in bits per second.
        baud: u32,
    },
}

/// What a radio speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadioProtocol {
    /// A TNC or modem that speaks KISS.
    Kiss(KissOptions),
    /// The MeshCore companion protocol.
    Meshcore(MeshcoreOptions),
    /// The Meshtastic stream API.
    Meshtastic(MeshtasticOptions),
}

/// How a KISS TNC is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KissOptions {
    /// `call=`: sends AX.25 UI frames from this station; without it frames go out bare.
    pub call: Option<Ax25CallSign>,
    /// `txdelay=`: carrier before the first bit, in units of 10 ms; without it the TNC's own.
    pub txdelay: Option<u8>,
    /// `persist=`: the chance to send in a free slot, (p + 1) / 256; without it the TNC's own.
    pub persist: Option<u8>,
    /// `slot=`: length of a slot in units of 10 ms; without it the TNC's own.
    pub slot: Option<u8>,
    /// `tncport=`: the port of a TNC that has several radios, 0 to 15.
    pub tnc_port: u8,
    /// `mtu=`: the longest frame, bytes.
    pub mtu: usize,
    /// `modem=meshcore`: it reports what it sends, as the MeshCore modem firmware does.
    pub reports: bool,
}

/// How a MeshCore companion is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshcoreOptions {
    /// `channel=`: the index of the channel, 1 unless given.
    pub channel: u8,
    /// `secret=`: the channel's key, set in the radio; without it an unused channel gets
    /// [`meshcore::CHANNEL_SECRET`] and one that is in use is taken as it is.
    pub secret: Option<[u8; meshcore::SECRET_BYTES]>,
    /// `mtu=`: the longest frame, bytes.
    pub mtu: usize,
}

/// How a Meshtastic radio is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshtasticOptions {
    /// `channel=`: the index of the channel, 0 to 7.
    pub channel: u8,
    /// `hops=`: how often others may repeat our frames, 0 to 7; 0 unless given.
    pub hops: u8,
    /// `mtu=`: the longest frame, bytes.
    pub mtu: usize,
}

/// Why a text names no radio.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RadioUrlError {
    /// No `://` in it.
    #[error("a radio is named like kiss+tcp://localhost:8001 or meshtastic+serial:///dev/ttyUSB0, not {0:?}")]
    NoUrl(String),
    /// Something else before `://`.
    #[error(
        "{0:?} is no radio; there are kiss+tcp, kiss+serial, meshcore+tcp, meshcore+serial, meshtastic+tcp and meshtastic+serial"
    )]
    Scheme(String),
    /// No host where one belongs.
    #[error("{0}:// is followed by host and port, like localhost:8001")]
    NoHost(&'static str),
    /// A host with characters that no name or address has.
    #[error("{0:?} is neither a host name nor an address (an IPv6 address stands in brackets)")]
    Host(String),
    /// No port number, or none from 1 to 65535.
    #[error("{0:?} is no port number")]
    Port(String),
    /// No device where one belongs.
    #[error(
        "{scheme}:// is followed by the path of a serial port, like {scheme}:///dev/ttyUSB0; got {path:?}"
    )]
    Path {
        /// The scheme that the URL begins with.
        scheme: &'static str,
        /// The path that was given.
        path: String,
    },
    /// An option without `=` or without a value.
    #[error("the option {0:?} has no value")]
    NoValue(String),
    /// An option that this kind of radio has not.
    #[error("{scheme} has no option {option:?}; there are {known}")]
    Option {
        /// The scheme that the URL begins with.
        scheme: &'static str,
        /// The option that was given.
        option: String,
        /// The options that the scheme has.
        known: &'static str,
    },
    /// The same option again.
    #[error("the option {0:?} is there twice")]
    Twice(String),
    /// A value outside what the option takes.
    #[error("{option}={value} is not {wanted}")]
    Value {
        /// The option that the value is for.
        option: &'static str,
        /// The value that was given.
        value: String,
        /// What may stand there.
        wanted: &'static str,
    },
    /// A value that is no call sign.
    #[error("call={value}: {source}")]
    CallSign {
        /// The value that was given.
        value: String,
        /// What is wrong with it.
        source: CallSignError,
    },
    /// Both `preset` and `bitrate`.
    #[error("a line has a preset (LoRa) or a bitrate, not both")]
    TwoRates,
}

struct Scheme {
    name: &'static str,
    serial: bool,
    port: u16,
    baud: u32,
    known: &'static str,
}

const SCHEMES: [Scheme; 6] = [
    Scheme {
        name: "kiss+tcp",
        serial: false,
        port: 8001,
        baud: 0,
        known: "call, txdelay, persist, slot, tncport, modem, mtu, preset, bitrate, region",
    },
    Scheme {
        name: "kiss+serial",
        serial: true,
        port: 0,
        baud: 9600,
        known: "baud, call, txdelay, persist, slot, tncport, modem, mtu, preset, bitrate, region",
    },
    Scheme {
        name: "meshcore+tcp",
        serial: false,
        port: 5000,
        baud: 0,
        known: "channel, secret, mtu, preset, region",
    },
    Scheme {
        name: "meshcore+serial",
        serial: true,
        port: 0,
        baud: 115_200,
        known: "baud, channel, secret, mtu, preset, region",
    },
    Scheme {
        name: "meshtastic+tcp",
        serial: false,
        port: 4403,
        baud: 0,
        known: "channel, hops, mtu, preset, region",
    },
    Scheme {
        name: "meshtastic+serial",
        serial: true,
        port: 0,
        baud: 115_200,
        known: "baud, channel, hops, mtu, preset, region",
    },
];

impl RadioUrl {
    /// Reads a URL; a small typing error is named.
    ///
    /// ```
    /// use tombolo_transports::radio::{RadioPort, RadioUrl};
    ///
    /// let url = RadioUrl::parse("kiss+serial:///dev/ttyUSB0?baud=19200&call=N0CALL-1").unwrap();
    /// assert_eq!(url.port, RadioPort::Serial { path: "/dev/ttyUSB0".into(), baud: 19_200 });
    /// let error = RadioUrl::parse("kiss+tcp://localhost:8001?tx_delay=30").unwrap_err();
    /// assert!(error.to_string().contains("has no option \"tx_delay\""));
    /// ```
    ///
    /// # Errors
    /// [`RadioUrlError`] names the part of the text that is wrong.
    pub fn parse(text: &str) -> Result<Self, RadioUrlError> {
        let (scheme, rest) =
            text.trim().split_once("://").ok_or_else(|| RadioUrlError::NoUrl(text.into()))?;
        let known = SCHEMES.iter().find(|known| known.name.eq_ignore_ascii_case(scheme));
        let scheme = known.ok_or_else(|| RadioUrlError::Scheme(scheme.into()))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = Options::parse(query, scheme)?;
        let protocol = protocol(scheme, &mut options)?;
        let reports = matches!(protocol, RadioProtocol::Kiss(KissOptions { reports: true, .. }));
        let port = if scheme.serial {
            let baud = if reports { 115_200 } else { scheme.baud };
            serial(place, scheme, options.number("baud", baud, 300..=4_000_000, BAUD)?)?
        } else {
            tcp(place, scheme)?
        };
        let (preset, region) = (options.name("preset")?, options.name("region")?);
        let bitrate = options.given("bitrate", 50..=10_000_000, "a rate in bit/s from 50 to 10000000")?;
        if preset.is_some() && bitrate.is_some() {
            return Err(RadioUrlError::TwoRates);
        }
        options.finish()?;
        Ok(Self { port, protocol, preset, bitrate, region })
    }

    /// The longest frame this radio may be handed at most; the radio itself may take less, and reports that as it comes up.
    pub fn frame_bytes_max(&self) -> usize {
        match &self.protocol {
            RadioProtocol::Kiss(options) => options.mtu,
            RadioProtocol::Meshcore(options) => options.mtu,
            RadioProtocol::Meshtastic(options) => options.mtu,
        }
    }

    /// The shortest frame this radio sends: a TNC built for AX.25 drops shorter ones.
    pub fn frame_bytes_min(&self) -> usize {
        match &self.protocol {
            RadioProtocol::Kiss(KissOptions { call: None, reports: false, .. }) => kiss::FRAME_BYTES_MIN,
            _ => 2,
        }
    }
}

impl FromStr for RadioUrl {
    type Err = RadioUrlError;

    fn from_str(text: &str) -> Result<Self, RadioUrlError> {
        Self::parse(text)
    }
}

const BAUD: &str = "a rate in bit/s from 300 to 4000000";

fn protocol(scheme: &Scheme, options: &mut Options) -> Result<RadioProtocol, RadioUrlError> {
    const BYTE: &str = "a number from 0 to 255";
    Ok(match scheme.name.split('+').next() {
        Some("kiss") => RadioProtocol::Kiss(KissOptions {
            call: options.call()?,
            txdelay: options.given("txdelay", 0..=255, "a number from 0 to 255, in units of 10 ms")?,
            persist: options.given("persist", 0..=255, BYTE)?,
            slot: options.given("slot", 0..=255, "a number from 0 to 255, in units of 10 ms")?,
            tnc_port: options.number("tncport", 0, 0..=15, "a number from 0 to 15")?,
            reports: options.modem()?,
            mtu: options.mtu(KISS_MTU, kiss::FRAME_BYTES_MAX, "a number of bytes from 50 to 2000")?,
        }),
        Some("meshcore") => RadioProtocol::Meshcore(MeshcoreOptions {
            channel: options.number("channel", 1, 0..=255, BYTE)?,
            secret: options.secret()?,
            mtu: options.mtu(
                meshcore::PAYLOAD_BYTES,
                meshcore::PAYLOAD_BYTES_MAX,
                "a number of bytes from 50 to 165",
            )?,
        }),
        _ => RadioProtocol::Meshtastic(MeshtasticOptions {
            channel: options.number("channel", 0, 0..=7, "a number from 0 to 7")?,
            hops: options.number("hops", 0, 0..=7, "a number from 0 to 7")?,
            mtu: options.mtu(
                meshtastic::PAYLOAD_BYTES_MAX,
                meshtastic::PAYLOAD_BYTES_MAX,
                "a number of bytes from 50 to 231",
            )?,
        }),
    })
}

fn tcp(place: &str, scheme: &Scheme) -> Result<RadioPort, RadioUrlError> {
    let place = place.strip_suffix('/').unwrap_or(place);
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
        None => place.split_once(':').map_or((place, Some("")), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(RadioUrlError::NoHost(scheme.name));
    }
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/@[]?#".contains(c);
    if host.contains(bad) || port.is_some_and(|port| port.contains(':')) {
        return Err(RadioUrlError::Host(place.into()));
    }
    let port = match port {
        Some("") if !place.ends_with(':') => scheme.port,
        port => port
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0)
            .ok_or_else(|| RadioUrlError::Port(port.unwrap_or(place).into()))?,
    };
    Ok(RadioPort::Tcp { host: host.into(), port })
}

fn serial(place: &str, scheme: &Scheme, baud: u32) -> Result<RadioPort, RadioUrlError> {
    let windows = place.trim_start_matches('/');
    let com = windows.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("com"));
    let path = if com && windows.len() > 3 { windows } else { place };
    if path.len() < 2 || !(com || path.starts_with('/')) || path.contains(char::is_control) {
        return Err(RadioUrlError::Path { scheme: scheme.name, path: place.into() });
    }
    Ok(RadioPort::Serial { path: path.into(), baud })
}

/// The URL with what was given and, of what was not, what decides how frames look; a channel's key is left out.
impl fmt::Display for RadioUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            options.extend(value.map(|value| format!("{name}={value}")));
        };
        let name = match &self.protocol {
            RadioProtocol::Kiss(kiss) => {
                option("call", kiss.call.map(|call| call.to_string()));
                option("txdelay", kiss.txdelay.map(|n| n.to_string()));
                option("persist", kiss.persist.map(|n| n.to_string()));
                option("slot", kiss.slot.map(|n| n.to_string()));
                option("tncport", (kiss.tnc_port > 0).then(|| kiss.tnc_port.to_string()));
                option("modem", kiss.reports.then(|| "meshcore".to_string()));
                option("mtu", (kiss.mtu != KISS_MTU).then(|| kiss.mtu.to_string()));
                "kiss"
            }
            RadioProtocol::Meshcore(meshcore) => {
                option("channel", Some(meshcore.channel.to_string()));
                option("mtu", (meshcore.mtu != meshcore::PAYLOAD_BYTES).then(|| meshcore.mtu.to_string()));
                "meshcore"
            }
            RadioProtocol::Meshtastic(meshtastic) => {
                option("channel", Some(meshtastic.channel.to_string()));
                option("hops", Some(meshtastic.hops.to_string()));
                let mtu = meshtastic.mtu;
                option("mtu", (mtu != meshtastic::PAYLOAD_BYTES_MAX).then(|| mtu.to_string()));
                "meshtastic"
            }
        };
        if let RadioPort::Serial { baud, .. } = &self.port {
            option("baud", Some(baud.to_string()));
        }
        option("preset", self.preset.clone());
        option("bitrate", self.bitrate.map(|rate| rate.to_string()));
        option("region", self.region.clone());
        match &self.port {
            RadioPort::Tcp { host, port } if host.contains(':') => write!(f, "{name}+tcp://[{host}]:{port}")?,
            RadioPort::Tcp { host, port } => write!(f, "{name}+tcp://{host}:{port}")?,
            RadioPort::Serial { path, .. } => write!(f, "{name}+serial://{path}")?,
        }
        if options.is_empty() { Ok(()) } else { write!(f, "?{}", options.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        RadioUrl::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn each_kind_of_radio_has_its_defaults() {
        let kiss = RadioUrl::parse("kiss+tcp://localhost:8002").unwrap();
        assert_eq!(kiss.port, RadioPort::Tcp { host: "localhost".into(), port: 8002 });
        let RadioProtocol::Kiss(options) = kiss.protocol else { panic!("{kiss:?}") };
        assert_eq!((options.call, options.mtu, options.reports), (None, 255, false));

        let meshcore = RadioUrl::parse("meshcore+serial:///dev/ttyACM0").unwrap();
        assert_eq!(meshcore.port, RadioPort::Serial { path: "/dev/ttyACM0".into(), baud: 115_200 });
        assert_eq!(meshcore.frame_bytes_max(), 163);

        let meshtastic =
            RadioUrl::parse("meshtastic+tcp://[fe80::1%eth0]?preset=LongFast&region=EU868").unwrap();
        assert_eq!(meshtastic.port, RadioPort::Tcp { host: "fe80::1%eth0".into(), port: 4403 });
        assert_eq!(meshtastic.frame_bytes_max(), 231);
        assert_eq!(meshtastic.preset.as_deref(), Some("LongFast"));
        assert_eq!(meshtastic.region.as_deref(), Some("EU868"));
        let RadioProtocol::Meshtastic(options) = meshtastic.protocol else { panic!("{meshtastic:?}") };
        assert_eq!((options.channel, options.hops), (0, 0));

        let modem = RadioUrl::parse("kiss+serial://COM3?modem=meshcore").unwrap();
        assert_eq!(modem.port, RadioPort::Serial { path: "COM3".into(), baud: 115_200 });
    }

    #[test]
    fn every_wrong_url_is_told_what_is_wrong() {
        for (text, part) in [
            ("localhost:8001", "a radio is named like"),
            ("", "a radio is named like"),
            ("http://localhost", "\"http\" is no radio"),
            ("kiss://localhost:8001", "\"kiss\" is no radio; there are kiss+tcp"),
            ("kiss+tcp://", "followed by host and port"),
            ("kiss+tcp://:8001", "followed by host and port"),
            ("kiss+tcp://host:", "\"\" is no port number"),
            ("kiss+tcp://host:99999", "\"99999\" is no port number"),
            ("kiss+tcp://host:0", "\"0\" is no port number"),
            ("kiss+tcp://fe80::1", "in brackets"),
            ("kiss+tcp://user@host:1", "neither a host name nor an address"),
            ("kiss+tcp:///dev/ttyUSB0", "neither a host name nor an address"),
            ("kiss+serial://", "like kiss+serial:///dev/ttyUSB0"),
            ("kiss+serial://dev/ttyUSB0", "got \"dev/ttyUSB0\""),
            ("kiss+serial:///dev/ttyUSB0?baud=fast", "baud=fast is not a rate in bit/s"),
            ("kiss+tcp://h:1?baud=9600", "kiss+tcp has no option \"baud\""),
            ("kiss+tcp://h:1?call=TOOLONG", "call=TOOLONG: a call sign has 1 to 6"),
            ("kiss+tcp://h:1?mtu=3000", "mtu=3000 is not a number of bytes from 50 to 2000"),
            ("kiss+tcp://h:1?mtu=", "\"mtu=\" has no value"),
            ("kiss+tcp://h:1?mtu=60&mtu=70", "\"mtu\" is there twice"),
            ("kiss+tcp://h:1?modem=mesh", "modem=mesh is not meshcore"),
            ("kiss+tcp://h:1?persist=256", "persist=256 is not a number from 0 to 255"),
            ("kiss+tcp://h:1?persist=-1", "persist=-1 is not"),
            ("kiss+tcp://h:1?preset=LongFast&bitrate=1200", "not both"),
            ("kiss+tcp://h:1?hops=3", "kiss+tcp has no option \"hops\""),
            ("meshtastic+tcp://h?hops=8", "hops=8 is not a number from 0 to 7"),
            ("meshtastic+tcp://h?mtu=232", "from 50 to 231"),
            ("meshcore+tcp://h?secret=00ff", "secret=… is not 32 hex digits"),
            ("meshcore+tcp://h?region=Eu 8", "region=Eu 8 is not a name"),
        ] {
            assert!(error(text).contains(part), "{text}: {}", error(text));
        }
    }

    proptest! {
        /// What is written is read as the same radio; a channel's key stays out of it.
        #[test]
        fn a_url_reads_as_it_is_written(
            scheme in 0_usize..6, mtu in 50_usize..160, channel in 0_u8..8, persist in any::<u8>(),
            call in "[A-Z0-9]{1,6}(-[1-9])?", preset in prop::option::of("[A-Z]{1,9}"),
        ) {
            let scheme = &SCHEMES[scheme];
            let mut options = vec![format!("mtu={mtu}")];
            if scheme.name.starts_with("kiss") {
                options.extend([format!("persist={persist}"), format!("call={call}")]);
            } else {
                options.push(format!("channel={channel}"));
            }
            options.extend(preset.map(|preset| format!("preset={preset}")));
            let place = if scheme.serial { "/dev/ttyS0" } else { "[::1]:77" };
            let text = format!("{}://{place}?{}", scheme.name, options.join("&"));
            let url = RadioUrl::parse(&text).unwrap();
            prop_assert_eq!(RadioUrl::parse(&url.to_string()).unwrap(), url);
        }

        #[test]
        fn any_text_is_a_radio_or_an_error(
            scheme in 0_usize..6, rest in "\\PC{0,40}",
        ) {
            let _ = RadioUrl::parse(&format!("{}://{rest}", SCHEMES[scheme].name));
            let _ = RadioUrl::parse(&rest);
        }
    }
}
