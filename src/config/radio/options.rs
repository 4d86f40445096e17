//! The settings of `[[radio]]` that may stand in the URL of a radio as well, and that no driver reads. They are taken out of
//! the query before the driver's part of the URL is read.

use std::time::Duration;

use tombolo_mesh::frame::keys::Mode;
use tombolo_transports::radio::{RadioUrl, RadioUrlError};

use super::super::TimeSpan;
use super::RadioSettingsError;

/// The settings, as an error lists them for an unknown one.
const KNOWN: &str = "mode, frequency_hz, hopping, call_sign, call_sign_every, soft_cap_permille, sign_every";

/// The settings that a URL has, each at most once; not checked against each other yet.
#[derive(Debug, Default)]
pub(super) struct RadioOptions {
    pub(super) frequency_hz: Option<u32>,
    pub(super) hopping: Option<bool>,
    pub(super) mode: Option<Mode>,
    pub(super) call_sign: Option<String>,
    pub(super) call_sign_every: Option<Duration>,
    pub(super) soft_cap_permille: Option<u64>,
    pub(super) sign_every: Option<u64>,
}

/// Reads a radio's URL: the part of its driver, and the settings.
pub(super) fn read(text: &str) -> Result<(RadioUrl, RadioOptions), RadioSettingsError> {
    let (place, query) = text.split_once('?').unwrap_or((text, ""));
    let mut words = RadioOptions::default();
    let mut rest: Vec<&str> = Vec::new();
    for option in query.split('&') {
        let taken = match option.split_once('=').filter(|(_, value)| !value.is_empty()) {
            Some((word, value)) => words.take(own_word(place, word), value)?,
            None => false,
        };
        if !taken && !option.is_empty() {
            rest.push(option);
        }
    }
    let url = match rest.as_slice() {
        [] => place.to_owned(),
        rest => format!("{place}?{}", rest.join("&")),
    };
    Ok((RadioUrl::parse(&url).map_err(with_words)?, words))
}

/// Only KISS frames carry a call sign of their own, in AX.25; elsewhere `call` is the station's.
fn own_word<'a>(place: &str, word: &'a str) -> &'a str {
    let is_kiss = place.trim_start().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("kiss"));
    if word == "call" && !is_kiss { "call_sign" } else { word }
}

/// Adds the settings of this file to the error of the driver that lists the known ones.
fn with_words(error: RadioUrlError) -> RadioSettingsError {
    match error {
        RadioUrlError::Option { scheme, option, known } => {
            RadioSettingsError::Word { scheme, word: option, known: format!("{known}, {KNOWN}") }
        }
        error => RadioSettingsError::Url(error),
    }
}

impl RadioOptions {
    /// Takes one setting; returns false if it is none of this file.
    fn take(&mut self, word: &str, value: &str) -> Result<bool, RadioSettingsError> {
        match word {
            "frequency_hz" => set("frequency_hz", &mut self.frequency_hz, frequency(value)?)?,
            "hopping" => set("hopping", &mut self.hopping, truth("hopping", value)?)?,
            "mode" => set("mode", &mut self.mode, mode(value)?)?,
            "call_sign" => set("call_sign", &mut self.call_sign, value.to_owned())?,
            "call_sign_every" => set("call_sign_every", &mut self.call_sign_every, call_sign_every(value)?)?,
            "soft_cap_permille" => {
                let permille =
                    number("soft_cap_permille", value, "between 1 and 1000: 10 is 1 % of the time")?;
                set("soft_cap_permille", &mut self.soft_cap_permille, permille)?;
            }
            "sign_every" => {
                let states = number("sign_every", value, "a number of states, 1 for a signature under each")?;
                set("sign_every", &mut self.sign_every, states)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn set<T>(word: &'static str, place: &mut Option<T>, value: T) -> Result<(), RadioSettingsError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(RadioUrlError::Twice(word.to_owned()).into()),
    }
}

fn number(word: &'static str, value: &str, wanted: &'static str) -> Result<u64, RadioSettingsError> {
    let number = value.parse().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| RadioSettingsError::Value { word, value: short(value), wanted })
}

fn truth(word: &'static str, value: &str) -> Result<bool, RadioSettingsError> {
    let wanted = "true or false";
    value.parse().map_err(|_| RadioSettingsError::Value { word, value: short(value), wanted })
}

fn frequency(value: &str) -> Result<u32, RadioSettingsError> {
    const WANTED: &str = "a frequency in Hz, like 869525000";
    let hz = number("frequency_hz", value, WANTED)?;
    let value = || short(value);
    u32::try_from(hz).map_err(|_| RadioSettingsError::Value {
        word: "frequency_hz",
        value: value(),
        wanted: WANTED,
    })
}

/// Reads a mode: `encrypted` or `signed-clear`.
pub(super) fn mode(text: &str) -> Result<Mode, RadioSettingsError> {
    match text {
        "encrypted" => Ok(Mode::Encrypted),
        "signed-clear" => Ok(Mode::SignedClear),
        _ => Err(RadioSettingsError::Mode(short(text))),
    }
}

/// A span of time.
pub(super) fn call_sign_every(text: &str) -> Result<Duration, RadioSettingsError> {
    let span = text.parse::<TimeSpan>();
    span.map(|TimeSpan(span)| span).map_err(|_| RadioSettingsError::CallSignSpan(short(text)))
}

/// What was written, as far as it fits a line.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{RadioRate, RadioSettings};

    /// Whatever may stand in `[[radio]]` may stand in the URL, and means the same.
    #[test]
    fn the_url_takes_all_that_the_settings_take() {
        let url = "kiss+serial:///dev/ttyUSB0?bitrate=1200&region=amateur&frequency_hz=144800000&mode=signed-clear\
                   &call_sign=N0CALL&call_sign_every=5m&soft_cap_permille=100&sign_every=16&mtu=120";
        let from_url = RadioSettings::from_url(url).unwrap();
        let lines = "name = \"a\"\n[[radio]]\nurl = \"kiss+serial:///dev/ttyUSB0?mtu=120\"\nbitrate = 1200\n\
                     region = \"amateur\"\nfrequency_hz = 144800000\nmode = \"signed-clear\"\ncall_sign = \"N0CALL\"\n\
                     call_sign_every = \"5m\"\nsoft_cap_permille = 100\nsign_every = 16\n";
        let written = super::super::super::Config::parse(lines).unwrap().radios.remove(0);
        // What the driver reads of the line stands in the URL or beside it; all else is the same.
        assert_eq!(from_url.driver_url().bitrate, written.driver_url().bitrate);
        assert_eq!(from_url.name(), written.name());
        let same = |of: RadioSettings| RadioSettings { url: written.url.clone(), ..of };
        assert_eq!(same(from_url), written);
        assert_eq!((written.rate, written.sign_every), (Some(RadioRate::Bits(1200)), 16));
    }

    #[test]
    fn a_lora_radio_may_be_described_by_its_modulation() {
        let url = "meshcore+tcp://h?preset=SF7/125&region=EU868&frequency_hz=869525000&call=N0CALL";
        let radio = RadioSettings::from_url(url).unwrap();
        assert!(matches!(radio.rate, Some(RadioRate::LoRa(lora)) if lora.bandwidth_hz == 125_000));
        assert_eq!((radio.frequency_hz, radio.call_sign.as_deref()), (Some(869_525_000), Some("N0CALL")));
    }

    #[test]
    fn every_wrong_word_is_refused_with_the_reason() {
        for (query, part) in [
            ("mode=loud", "`mode` \"loud\" is not \"encrypted\" or \"signed-clear\""),
            ("mode=", "\"mode=\" has no value"),
            ("mode", "\"mode\" has no value"),
            ("freq=868", "has no option \"freq\"; there are call, "),
            ("freq=868", "mode, frequency_hz, hopping, call_sign, "),
            ("frequency_hz=869.525", "frequency_hz=869.525 is not a frequency in Hz, like 869525000"),
            ("frequency_hz=86952500000", "is not a frequency in Hz"),
            ("frequency_hz=868650000&region=EU868&bitrate=1200", "868.650 MHz"),
            ("sign_every=often", "sign_every=often is not a number of states"),
            ("sign_every=257", "`sign_every` 257 is not between 1 and 256"),
            ("sign_every=2&sign_every=3", "\"sign_every\" is there twice"),
            ("hopping=maybe", "true or false"),
            ("soft_cap_permille=0", "between 1 and 1000"),
            ("soft_cap_permille=-1", "between 1 and 1000"),
            ("call_sign_every=often", "`call_sign_every` \"often\" is no span of time"),
            ("call_sign_every=1s", "10s"),
            ("region=amateur", "call_sign"),
            ("region=amateur&call=N0CALL&mode=encrypted", "nothing may be obscured"),
        ] {
            let error =
                RadioSettings::from_url(&format!("kiss+tcp://h?{query}")).expect_err(query).to_string();
            assert!(error.contains(part), "{query}: {error}");
        }
    }

    /// A setting has one place.
    #[test]
    fn what_stands_in_the_url_does_not_stand_beside_it() {
        for beside in [
            "sign_every = 2",
            "mode = \"encrypted\"",
            "frequency_hz = 869525000",
            "soft_cap_permille = 10",
            "call_sign = \"N0CALL\"",
            "call_sign_every = \"5m\"",
        ] {
            let url = "kiss+tcp://h?sign_every=2&mode=encrypted&frequency_hz=869525000&soft_cap_permille=10\
                       &call_sign=N0CALL&call_sign_every=5m";
            let text = format!("name = \"a\"\n[[radio]]\nurl = \"{url}\"\n{beside}\n");
            let (_, why) = super::super::super::Config::parse(&text).expect_err(beside);
            let word = beside.split(' ').next().unwrap();
            assert!(why.contains(&format!("`{word}` stands in the URL and beside it")), "{beside}: {why}");
        }
    }
}
