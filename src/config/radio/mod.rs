//! `[[radio]]` and `--mesh`: a radio, its region and its modem configuration, as the operator sets them. What is not set here
//! the radio may report once it is up (`runtime::radios`).

mod options;

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tombolo_mesh::airtime::region::{Region, RegionError, Rules, Usage};
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::CALL_SIGN_BYTES_MAX;
use tombolo_transports::radio::{KissOptions, RadioProtocol, RadioUrl, RadioUrlError};

use super::TimeSpan;
use crate::limits::RADIOS_MAX;
use options::RadioOptions;

/// Call signs are sent at least this far apart: more often they would be all that is sent.
pub const CALL_SIGN_EVERY_MIN: Duration = Duration::from_secs(10);
/// The default time between call signs: the longest that 47 CFR 97.119 allows.
pub const CALL_SIGN_EVERY_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// The most states between two signatures: a state without one is provisional.
pub const SIGN_EVERY_MAX: u32 = 256;
/// All of the time, per thousand: the operator sets no limit of its own.
const WHOLE_PERMILLE: u16 = 1_000;

/// The settings of one radio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioSettings {
    /// Where it is and what it speaks.
    pub url: RadioUrl,
    /// Its modem configuration; `None`: the one that the radio reports.
    pub rate: Option<RadioRate>,
    /// Its region in the sense of the law; `None`: the one that the radio reports.
    pub region: Option<Area>,
    /// Its frequency in Hz; `None`: the one that the radio reports, else the usual one of the region.
    pub frequency_hz: Option<u32>,
    /// Whether it changes channels.
    pub hopping: bool,
    /// Whether frames are sealed, or signed in clear.
    pub mode: Mode,
    /// The call sign of the station.
    pub call_sign: Option<String>,
    /// The longest time between two call signs.
    pub call_sign_every: Duration,
    /// The operator's own limit, per thousand of time.
    pub soft_cap_permille: u16,
    /// One state in so many is signed; the others carry a short tag per listener. 1: every one.
    pub sign_every: u32,
}

/// The modem configuration of a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RadioRate {
    /// The radio modulates as LoRa does.
    LoRa(Modulation),
    /// A modem of constant rate, bit/s.
    Bits(u32),
}

/// The region of a radio, as the operator sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// `none`: nothing is sent there, the node only listens.
    Nowhere,
    /// A region whose rules are known.
    In(Region),
}

/// Why the settings of a radio are not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RadioSettingsError {
    /// The driver cannot read the URL.
    #[error(transparent)]
    Url(#[from] RadioUrlError),
    /// A word of the URL that does not exist.
    #[error("{scheme} has no option {word:?}; there are {known}")]
    Word {
        /// The scheme of the URL.
        scheme: &'static str,
        /// The option that does not exist.
        word: String,
        /// The words that the scheme knows.
        known: String,
    },
    /// A word of the URL with a value that it does not take.
    #[error("{word}={value} is not {wanted}")]
    Value {
        /// The word of the setting.
        word: &'static str,
        /// The value in the URL.
        value: String,
        /// A description of the valid values.
        wanted: &'static str,
    },
    /// The text is not a mode.
    #[error("`mode` {0:?} is not \"encrypted\" or \"signed-clear\"")]
    Mode(String),
    /// The text is not a span of time.
    #[error("`call_sign_every` {0:?} is no span of time, like 5m")]
    CallSignSpan(String),
    /// The preset, in the words of its parser.
    #[error("`preset`: {0}")]
    Preset(#[from] tombolo_mesh::airtime::PhyRateError),
    /// The region, or its frequency.
    #[error("`region`: {0}")]
    Region(#[from] RegionError),
    /// A setting stands both in the URL and beside it.
    #[error("`{0}` stands in the URL and beside it: set it once")]
    Twice(&'static str),
    /// Both a preset and a bit rate.
    #[error("a radio has a `preset` (LoRa) or a `bitrate`, not both")]
    TwoRates,
    /// A LoRa radio has no bit rate.
    #[error("{0} radios are LoRa radios: they have a `preset`, not a `bitrate`")]
    BitrateOfLora(&'static str),
    /// A TNC reports no rate, and airtime must be counted.
    #[error(
        "a TNC does not report how fast it sends, and in {0} its time on air counts: set `bitrate`, for instance 1200 or 9600, or `preset` where it is a LoRa modem"
    )]
    NoRate(Region),
    /// Encryption where the law forbids it.
    #[error("region {0}: nothing may be obscured there: `mode` is \"signed-clear\", or left out")]
    NotClear(Region),
    /// The call sign that the law asks for is missing.
    #[error("region {0}: the station's call sign is sent there: set `call_sign`, or `call=` in a KISS URL")]
    NoCallSign(Region),
    /// The text is not a call sign.
    #[error("`call_sign` {0:?} is empty, longer than {CALL_SIGN_BYTES_MAX} bytes, or not printable ASCII")]
    CallSign(String),
    /// The interval is too short, or longer than the law allows.
    #[error("`call_sign_every` {given} is not between {} and {longest}", TimeSpan(CALL_SIGN_EVERY_MIN))]
    CallSignEvery {
        /// The interval of the settings.
        given: TimeSpan,
        /// The longest valid interval.
        longest: TimeSpan,
    },
    /// The number is not a share of the time.
    #[error("`soft_cap_permille` {0} is not between 1 and 1000: 10 is 1 % of the time")]
    SoftCap(u64),
    /// The number is not a valid number of states.
    #[error("`sign_every` {0} is not between 1 and {SIGN_EVERY_MAX}: 1 signs every state")]
    SignEvery(u64),
    /// The same radio is set twice.
    #[error("the radio {0} is there twice")]
    Same(String),
    /// A node does not serve so many radios.
    #[error("{0} radios: a node has at most {RADIOS_MAX}")]
    TooMany(usize),
}

impl RadioSettings {
    /// Reads `--mesh URL`. Its query takes each setting of `[[radio]]`; for the others the radio's report or the default
    /// counts.
    ///
    /// # Errors
    ///
    /// [`RadioSettingsError`] with the first setting that is not valid.
    pub fn from_url(text: &str) -> Result<Self, RadioSettingsError> {
        RadioTable::of(options::read(text)?).check()
    }

    /// The name of the radio for people and for its records on disk: its place, without the settings that may differ at
    /// the next start.
    pub fn name(&self) -> String {
        let mut url = self.url.clone();
        (url.preset, url.bitrate, url.region) = (None, None, None);
        if let RadioProtocol::Kiss(options) = &mut url.protocol {
            let (tnc_port, mtu) = (options.tnc_port, tombolo_transports::radio::KISS_MTU);
            let (call, reports) = (None, false);
            *options = KissOptions { call, reports, tnc_port, mtu, txdelay: None, persist: None, slot: None };
        }
        let text = url.to_string();
        let (place, options) = text.split_once('?').unwrap_or((&text, ""));
        let kept = options.split('&').filter(|o| o.starts_with("channel=") || o.starts_with("tncport="));
        let kept: Vec<&str> = kept.filter(|option| *option != "channel=0").collect();
        if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) }
    }

    /// The URL with the rate of the radio, by which its driver paces what it sends.
    pub fn driver_url(&self) -> RadioUrl {
        let mut url = self.url.clone();
        let bits = match self.rate {
            None => None,
            Some(RadioRate::Bits(bits)) => Some(bits),
            Some(RadioRate::LoRa(modulation)) => {
                u32::try_from(PhyRate::lora(modulation).bits_per_second(100)).ok()
            }
        };
        url.bitrate = url.bitrate.or(bits);
        url
    }
}

/// Checks that there are not too many radios, and none twice.
///
/// # Errors
///
/// [`RadioSettingsError::TooMany`] or [`RadioSettingsError::Same`].
pub fn check_all(radios: &[RadioSettings]) -> Result<(), RadioSettingsError> {
    if radios.len() > RADIOS_MAX {
        return Err(RadioSettingsError::TooMany(radios.len()));
    }
    let mut names = std::collections::BTreeSet::new();
    match radios.iter().map(RadioSettings::name).find(|name| !names.insert(name.clone())) {
        Some(name) => Err(RadioSettingsError::Same(name)),
        None => Ok(()),
    }
}

/// The settings of one radio as they are written, not checked against each other yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RadioTable {
    /// The driver's part of the URL, and the settings in it.
    #[serde(deserialize_with = "url")]
    url: (RadioUrl, RadioOptions),
    #[serde(default)]
    preset: Option<String>,
    #[serde(default)]
    bitrate: Option<u32>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    frequency_hz: Option<u32>,
    #[serde(default, deserialize_with = "mode")]
    mode: Option<Mode>,
    #[serde(default)]
    call_sign: Option<String>,
    #[serde(default, deserialize_with = "span")]
    call_sign_every: Option<Duration>,
    #[serde(default)]
    soft_cap_permille: Option<u64>,
    #[serde(default)]
    sign_every: Option<u64>,
    #[serde(default)]
    hopping: Option<bool>,
}

impl RadioTable {
    fn of(url: (RadioUrl, RadioOptions)) -> Self {
        RadioTable {
            url,
            preset: None,
            bitrate: None,
            region: None,
            frequency_hz: None,
            mode: None,
            call_sign: None,
            call_sign_every: None,
            soft_cap_permille: None,
            sign_every: None,
            hopping: None,
        }
    }

    /// Checks the settings against each other and against the rules of the region.
    fn check(self) -> Result<RadioSettings, RadioSettingsError> {
        let rate = self.rate()?;
        let (url, words) = self.url;
        let frequency_hz = once("frequency_hz", words.frequency_hz, self.frequency_hz)?;
        let area = once("region", url.region.as_ref(), self.region.as_ref())?;
        let area = area.map(|text| Region::parse(text)).transpose()?;
        let area = area.map(|region| region.map_or(Area::Nowhere, Area::In));
        let hopping = once("hopping", words.hopping, self.hopping)?.unwrap_or(false);
        let rules = match area {
            Some(Area::In(region)) => Some((region, region.rules(Usage { frequency_hz, hopping })?)),
            Some(Area::Nowhere) | None => None,
        };
        let kiss = match &url.protocol {
            RadioProtocol::Kiss(options) => Some(options),
            _ => None,
        };
        check_rate(rules, kiss, rate)?;
        let call_sign = once("call_sign", words.call_sign, self.call_sign)?
            .or_else(|| kiss.and_then(|kiss| kiss.call).map(|call| call.to_string()));
        if let Some(text) = call_sign.as_ref().filter(|text| !is_call_sign(text)) {
            return Err(RadioSettingsError::CallSign(text.chars().take(40).collect()));
        }
        let mode = once("mode", words.mode, self.mode)?.unwrap_or(match rules {
            Some((_, rules)) if rules.clear_only => Mode::SignedClear,
            _ => Mode::Encrypted,
        });
        let call_sign_every = once("call_sign_every", words.call_sign_every, self.call_sign_every)?
            .unwrap_or(CALL_SIGN_EVERY_DEFAULT);
        check_station(rules, mode, call_sign.as_deref(), call_sign_every)?;
        let soft_cap = once("soft_cap_permille", words.soft_cap_permille, self.soft_cap_permille)?;
        Ok(RadioSettings {
            rate,
            region: area,
            frequency_hz,
            hopping,
            mode,
            call_sign,
            call_sign_every,
            soft_cap_permille: soft_cap_permille(soft_cap)?,
            sign_every: sign_every(once("sign_every", words.sign_every, self.sign_every)?)?,
            url,
        })
    }

    fn rate(&self) -> Result<Option<RadioRate>, RadioSettingsError> {
        let (url, _) = &self.url;
        let preset = once("preset", url.preset.as_ref(), self.preset.as_ref())?;
        let bitrate = once("bitrate", url.bitrate.as_ref(), self.bitrate.as_ref())?;
        let rate = match (preset, bitrate) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(RadioSettingsError::TwoRates),
            (None, Some(bits)) => format!("{bits}bps").parse()?,
            (Some(preset), None) => preset.parse()?,
        };
        let rate = match rate {
            PhyRate::LoRa { modulation, .. } => RadioRate::LoRa(modulation),
            PhyRate::BitRate { bits_per_second, .. } => RadioRate::Bits(bits_per_second),
        };
        match (&url.protocol, rate) {
            (RadioProtocol::Meshcore(_), RadioRate::Bits(_)) => {
                Err(RadioSettingsError::BitrateOfLora("MeshCore"))
            }
            (RadioProtocol::Meshtastic(_), RadioRate::Bits(_)) => {
                Err(RadioSettingsError::BitrateOfLora("Meshtastic"))
            }
            _ => Ok(Some(rate)),
        }
    }
}

impl<'de> Deserialize<'de> for RadioSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RadioTable::deserialize(deserializer)?.check().map_err(D::Error::custom)
    }
}

/// The list of radios.
pub(super) fn all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RadioSettings>, D::Error> {
    let radios = Vec::deserialize(deserializer)?;
    check_all(&radios).map_err(D::Error::custom)?;
    Ok(radios)
}

impl fmt::Display for RadioRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RadioRate::LoRa(modulation) => PhyRate::lora(*modulation).fmt(f),
            RadioRate::Bits(bits) => write!(f, "{bits} bit/s"),
        }
    }
}

fn is_call_sign(text: &str) -> bool {
    (1..=CALL_SIGN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where airtime is limited, the rate of a TNC must be known: it does not report one.
fn check_rate(
    rules: Option<(Region, Rules)>,
    kiss: Option<&KissOptions>,
    rate: Option<RadioRate>,
) -> Result<(), RadioSettingsError> {
    match (rules, kiss, rate) {
        (Some((region, rules)), Some(kiss), None)
            if (rules.duty_permille.is_some() || rules.dwell.is_some()) && !kiss.reports =>
        {
            Err(RadioSettingsError::NoRate(region))
        }
        _ => Ok(()),
    }
}

/// What the law asks of a station: clear text and a call sign in time, where the region has such rules.
fn check_station(
    rules: Option<(Region, Rules)>,
    mode: Mode,
    call_sign: Option<&str>,
    every: Duration,
) -> Result<(), RadioSettingsError> {
    let mut longest = super::PACE_MAX;
    if let Some((region, rules)) = rules {
        if rules.clear_only && mode != Mode::SignedClear {
            return Err(RadioSettingsError::NotClear(region));
        }
        if let Some(every) = rules.call_sign_every {
            if call_sign.is_none() {
                return Err(RadioSettingsError::NoCallSign(region));
            }
            longest = Duration::from_millis(every.ms());
        }
    }
    if every < CALL_SIGN_EVERY_MIN || every > longest {
        return Err(RadioSettingsError::CallSignEvery { given: TimeSpan(every), longest: TimeSpan(longest) });
    }
    Ok(())
}

fn soft_cap_permille(permille: Option<u64>) -> Result<u16, RadioSettingsError> {
    let Some(given) = permille else { return Ok(WHOLE_PERMILLE) };
    let permille = u16::try_from(given).ok().filter(|permille| (1..=WHOLE_PERMILLE).contains(permille));
    permille.ok_or(RadioSettingsError::SoftCap(given))
}

fn sign_every(states: Option<u64>) -> Result<u32, RadioSettingsError> {
    let Some(given) = states else { return Ok(1) };
    let states = u32::try_from(given).ok().filter(|states| (1..=SIGN_EVERY_MAX).contains(states));
    states.ok_or(RadioSettingsError::SignEvery(given))
}

fn once<T>(
    name: &'static str,
    in_url: Option<T>,
    beside: Option<T>,
) -> Result<Option<T>, RadioSettingsError> {
    match (in_url, beside) {
        (Some(_), Some(_)) => Err(RadioSettingsError::Twice(name)),
        (in_url, beside) => Ok(in_url.or(beside)),
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(RadioUrl, RadioOptions), D::Error> {
    options::read(&String::deserialize(deserializer)?).map_err(|e| D::Error::custom(format!("`url`: {e}")))
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mode>, D::Error> {
    options::mode(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    options::call_sign_every(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn radio(lines: &str) -> Result<RadioSettings, (usize, String)> {
        Config::parse(&format!("name = \"a\"\n[[radio]]\n{lines}\n"))
            .map(|mut config| config.radios.remove(0))
    }

    #[test]
    fn a_radio_is_read_with_all_its_settings() {
        let radio = radio(
            "url = \"kiss+serial:///dev/ttyUSB0\"\nbitrate = 1200\nregion = \"amateur\"\nfrequency_hz = 144800000\n\
             mode = \"signed-clear\"\ncall_sign = \"N0CALL\"\ncall_sign_every = \"5m\"\nsoft_cap_permille = 100\nsign_every = 16",
        )
        .unwrap();
        assert_eq!(radio.rate, Some(RadioRate::Bits(1200)));
        assert_eq!((radio.region, radio.frequency_hz), (Some(Area::In(Region::Amateur)), Some(144_800_000)));
        assert_eq!((radio.mode, radio.soft_cap_permille), (Mode::SignedClear, 100));
        assert_eq!(radio.sign_every, 16);
        assert_eq!(radio.call_sign_every, Duration::from_secs(300));
        assert_eq!(radio.name(), "kiss+serial:///dev/ttyUSB0");
    }

    /// The template's own lines, without the # before them.
    #[test]
    fn what_the_template_proposes_is_read() {
        let template = Config::template("a");
        let proposed = template.split_once("# [[radio]]").unwrap().1;
        let lines = proposed.lines().map(|line| line.trim_start_matches("# "));
        let lines = lines.filter(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')));
        let lines: Vec<&str> = lines.filter(|line| !line.starts_with("bitrate")).collect();
        assert_eq!(lines.len(), 10, "{lines:?}");
        let radio = radio(&lines.join("\n")).unwrap();
        assert_eq!(radio.rate, Some(RadioRate::LoRa(Modulation::LONG_FAST)));
    }

    #[test]
    fn every_wrong_value_is_refused_with_the_reason() {
        let tnc = "url = \"kiss+tcp://h:1\"";
        for (lines, part) in [
            ("region = \"wired\"", "url"),
            ("url = \"http://h\"", "\"http\" is no radio"),
            (&format!("{tnc}\npreset = \"LongFats\""), "LongFats"),
            (&format!("{tnc}\nbitrate = 5"), "`preset`: bit rate \"5\""),
            (&format!("{tnc}\nbitrate = \"fast\""), "\"fast\""),
            (&format!("{tnc}\nregion = \"EU869\""), "unknown region \"EU869\""),
            (&format!("{tnc}\nbitrate = 1200\nregion = \"EU868\"\nfrequency_hz = 868650000"), "868.650 MHz"),
            (&format!("{tnc}\nregion = \"EU868\""), "set `bitrate`"),
            (&format!("{tnc}\nregion = \"US\"\nhopping = true"), "set `bitrate`"),
            (&format!("{tnc}\nmode = \"clear\""), "\"signed-clear\""),
            (&format!("{tnc}\nregion = \"amateur\""), "call_sign"),
            (&format!("{tnc}\nregion = \"amateur\"\ncall_sign = \"A\"\nmode = \"encrypted\""), "obscured"),
            (&format!("{tnc}\nregion = \"amateur\"\ncall_sign = \"A\"\ncall_sign_every = \"11m\""), "10m"),
            (&format!("{tnc}\ncall_sign = \"\""), "printable"),
            (&format!("{tnc}\ncall_sign = \"A B\""), "printable"),
            (&format!("{tnc}\ncall_sign_every = \"often\""), "span"),
            (&format!("{tnc}\ncall_sign_every = \"1s\""), "10s"),
            (&format!("{tnc}\nsoft_cap_permille = 0"), "between 1 and 1000"),
            (&format!("{tnc}\nsoft_cap_permille = 1001"), "between 1 and 1000"),
            (&format!("{tnc}\nsign_every = 0"), "between 1 and 256"),
            (&format!("{tnc}\nfrequency_mhz = 868"), "frequency_mhz"),
            (&format!("{tnc}\npreset = \"LongFast\"\nbitrate = 1200"), "not both"),
            ("url = \"kiss+tcp://h?region=wired\"\nregion = \"wired\"", "`region` stands in the URL"),
            ("url = \"meshtastic+tcp://h\"\nbitrate = 1200", "not a `bitrate`"),
            (&format!("{tnc}\n[[radio]]\nurl = \"kiss+tcp://h:1?call=N0CALL\""), "twice"),
        ] {
            let (line, why) = radio(lines).expect_err(lines);
            assert!(why.contains(part), "{lines}: {why}");
            assert!(line >= 2, "{lines}: line {line}: {why}");
        }
        let nine: Vec<String> = (1..=9).map(|n| format!("[[radio]]\nurl = \"kiss+tcp://h:{n}\"")).collect();
        let (_, why) = Config::parse(&format!("name = \"a\"\n{}", nine.join("\n"))).unwrap_err();
        assert!(why.contains("at most 8"), "{why}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let line = |lines: &str| radio(lines).unwrap_err().0;
        assert_eq!(line("url = \"kiss+tcp://h\"\nmode = \"clear\""), 4);
        assert_eq!(line("region = \"wired\"\nurl = \"http://h\""), 4);
    }

    /// What may be set otherwise at the next start does not make it another radio: its airtime goes on.
    #[test]
    fn a_radios_name_is_where_it_is() {
        let name = |url: &str| RadioSettings::from_url(url).unwrap().name();
        for url in
            ["kiss+tcp://h", "kiss+tcp://h:8001?bitrate=9600&region=wired&call=N0CALL-1&mtu=100&persist=1"]
        {
            assert_eq!(name(url), "kiss+tcp://h:8001");
        }
        assert_eq!(name("kiss+tcp://h?tncport=1&region=wired"), "kiss+tcp://h:8001?tncport=1");
        assert_eq!(
            name("meshtastic+serial:///dev/ttyUSB0?region=EU868&hops=3"),
            "meshtastic+serial:///dev/ttyUSB0"
        );
        let secret = "meshcore+tcp://h?channel=2&secret=00112233445566778899aabbccddeeff";
        assert_eq!(name(secret), "meshcore+tcp://h:5000?channel=2");
    }
}
