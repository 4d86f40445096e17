//! Band plans: how much of the time, how long at once, and under what conditions a radio may send.
//!
//! A plan is data, and each sub-band cites the regulation it was taken from. This is an aid for people who run
//! radios, not legal advice: power, bandwidth and national exceptions are the operator's to know. What could not
//! be supported by a document was left out, and a frequency in no sub-band is a frequency we do not send on.
//! Where a regulation lets listen-before-talk stand in for a duty cycle, the duty cycle is what counts here.
//!
//! The hour over which a duty cycle counts is any continuous one, over the whole sub-band: ERC/REC 70-03,
//! *Duty cycle categories* (the ratio of the sum of the on times to an observation period of one continuous
//! hour).

use std::fmt;
use std::str::FromStr;

/// What a sub-band allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Share of any hour on air, per thousand; `None` where the regulation sets no duty cycle.
    pub duty_permille: Option<u16>,
    /// The longest single transmission, milliseconds.
    pub dwell_ms: Option<u32>,
    /// A call sign must be sent at least so often while there is traffic, milliseconds.
    pub call_sign_every_ms: Option<u64>,
    /// Nothing may be obscured: no encryption.
    pub clear_only: bool,
    /// The regulation.
    pub source: &'static str,
}

/// A stretch of a band with rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubBand {
    /// Lower edge, Hz.
    pub low_hz: u32,
    /// Upper edge, Hz; it belongs to the next sub-band if there is one.
    pub high_hz: u32,
    /// What it allows.
    pub rules: Rules,
}

/// Where a radio is, in the sense of the law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// Europe, 863 to 870 MHz.
    Eu868,
    /// Europe, 433 MHz.
    Eu433,
    /// United States, 902 to 928 MHz.
    Us915,
    /// Australia and New Zealand, 915 to 928 MHz.
    Anz,
    /// India, 865 to 867 MHz.
    In865,
    /// A licensed amateur station, on any of its bands.
    Amateur,
    /// Not radio: two modems on a cable.
    Wired,
}

/// How a radio uses its band, where the rules differ by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The frequency it sends on, Hz.
    pub frequency_hz: Option<u32>,
    /// It goes from channel to channel, which no stock mesh firmware does: in America each stay is then short.
    pub hopping: bool,
}

/// The frequency that Meshtastic and MeshCore radios take by themselves in Europe, in the 10 % sub-band.
pub const EU868_MESH_HZ: u32 = 869_525_000;

const fn duty(permille: u16, source: &'static str) -> Rules {
    Rules {
        duty_permille: Some(permille),
        dwell_ms: None,
        call_sign_every_ms: None,
        clear_only: false,
        source,
    }
}

const fn free(source: &'static str) -> Rules {
    Rules { duty_permille: None, ..duty(0, source) }
}

const fn band(low_hz: u32, high_hz: u32, rules: Rules) -> SubBand {
    SubBand { low_hz, high_hz, rules }
}

/// Not here: 868.6 to 868.7, 869.2 to 869.4 and 869.65 to 869.7 MHz, which are for alarms (ERC/REC 70-03,
/// annex 7 and 10), and 869.7 to 870 MHz, whose limits hang on the power.
const EU868: [SubBand; 5] = [
    band(863_000_000, 865_000_000, duty(1, "ETSI EN 300 220-2 V3.2.1, band K; ERC/REC 70-03 annex 1: 0.1 %")),
    band(
        865_000_000,
        868_000_000,
        duty(10, "ETSI EN 300 220-2 V3.2.1, table B.1; ERC/REC 70-03 annex 1: 1 %"),
    ),
    band(
        868_000_000,
        868_600_000,
        duty(10, "ETSI EN 300 220-2 V3.2.1, table B.1; ERC/REC 70-03 annex 1: 1 %"),
    ),
    band(868_700_000, 869_200_000, duty(1, "ETSI EN 300 220-2 V3.2.1, band N; ERC/REC 70-03 annex 1: 0.1 %")),
    band(
        869_400_000,
        869_650_000,
        duty(100, "ETSI EN 300 220-2 V3.2.1, table B.1; ERC/REC 70-03 annex 1: 10 %"),
    ),
];

const EU433: [SubBand; 1] =
    [band(433_050_000, 434_790_000, duty(100, "ERC/REC 70-03 annex 1, 433.05 to 434.79 MHz at 10 mW: 10 %"))];

/// 47 CFR 15.247 (a)(1)(i): the longest stay of a hopping radio on a channel, milliseconds.
const HOPPING_DWELL_MS: u32 = 400;

const US915: [SubBand; 1] = [band(
    902_000_000,
    928_000_000,
    Rules { ..free("47 CFR 15.247: no duty cycle; (a)(1)(i) 0.4 s on a channel where the radio hops") },
)];

const ANZ: [SubBand; 1] = [band(
    915_000_000,
    928_000_000,
    free(
        "Australia: Radiocommunications (Low Interference Potential Devices) Class Licence 2015; no duty cycle",
    ),
)];

const IN865: [SubBand; 1] = [band(
    865_000_000,
    867_000_000,
    free("India: G.S.R. 168(E) of 11 March 2005; 1 W, 4 W ERP, carrier of 200 kHz, no duty cycle"),
)];

const AMATEUR: Rules = Rules {
    call_sign_every_ms: Some(600_000),
    clear_only: true,
    ..free("47 CFR 97.119 (a): call sign every 10 minutes; 97.113 (a)(4): nothing obscured")
};

const WIRED: Rules = free("not radio");

impl Region {
    /// All of them, in the order they are listed to people.
    pub const ALL: [Region; 7] = [
        Region::Eu868,
        Region::Eu433,
        Region::Us915,
        Region::Anz,
        Region::In865,
        Region::Amateur,
        Region::Wired,
    ];

    /// As a configuration writes it: `EU868`, `eu_868`, `US`; `none` or nothing is no region, and then
    /// nothing may be sent.
    pub fn parse(text: &str) -> Result<Option<Region>, RegionError> {
        let word: String = text
            .chars()
            .filter(|c| !matches!(c, '_' | '-' | ' '))
            .take(32)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        Ok(Some(match word.as_str() {
            "" | "none" | "unset" => return Ok(None),
            "eu868" => Region::Eu868,
            "eu433" => Region::Eu433,
            "us915" | "us" => Region::Us915,
            "anz" | "au915" => Region::Anz,
            "in865" | "in" => Region::In865,
            "amateur" | "ham" => Region::Amateur,
            "wired" => Region::Wired,
            _ => return Err(RegionError::Unknown(text.chars().take(32).collect())),
        }))
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Region::Eu868 => "EU868",
            Region::Eu433 => "EU433",
            Region::Us915 => "US915",
            Region::Anz => "ANZ",
            Region::In865 => "IN865",
            Region::Amateur => "amateur",
            Region::Wired => "wired",
        }
    }

    /// Its sub-bands in order of frequency; none where the frequency makes no difference.
    pub fn sub_bands(self) -> &'static [SubBand] {
        match self {
            Region::Eu868 => &EU868,
            Region::Eu433 => &EU433,
            Region::Us915 => &US915,
            Region::Anz => &ANZ,
            Region::In865 => &IN865,
            Region::Amateur | Region::Wired => &[],
        }
    }

    /// What a radio may do at this frequency and bandwidth, where known.
    ///
    /// With no frequency given: what holds on every channel that LoRaWAN, Meshtastic and MeshCore radios of the
    /// region take by themselves. In Europe these lie between 868.0 and 868.6 MHz (1 %) or 869.4 and
    /// 869.65 MHz (10 %), so 1 %. Who has tuned a radio elsewhere must say where.
    pub fn rules(self, usage: Usage) -> Result<Rules, RegionError> {
        let usual_hz = match self {
            Region::Amateur => return Ok(AMATEUR),
            Region::Wired => return Ok(WIRED),
            Region::Eu868 => 868_100_000,
            Region::Eu433 => 433_175_000,
            Region::Us915 => 906_875_000,
            Region::Anz => 919_875_000,
            Region::In865 => 865_875_000,
        };
        let frequency_hz = usage.frequency_hz.unwrap_or(usual_hz);
        let sub_band =
            self.sub_bands().iter().find(|band| (band.low_hz..band.high_hz).contains(&frequency_hz));
        let mut rules = sub_band.ok_or(RegionError::OutOfBand { region: self, frequency_hz })?.rules;
        if self == Region::Us915 && usage.hopping {
            rules.dwell_ms = Some(HOPPING_DWELL_MS);
        }
        Ok(rules)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, RegionError> {
        Region::parse(text)?.ok_or_else(|| RegionError::Unknown(text.chars().take(32).collect()))
    }
}

/// A region or frequency of which we know no rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// No region of that name.
    #[error("unknown region {0:?}: one of EU868, EU433, US915, ANZ, IN865, amateur, wired, none")]
    Unknown(String),
    /// No sub-band that we know of holds the frequency.
    #[error("{}.{:03} MHz is in no sub-band of {region} that may be used", frequency_hz / 1_000_000, frequency_hz / 1_000 % 1_000)]
    OutOfBand {
        /// The region asked for.
        region: Region,
        /// The frequency asked for, Hz.
        frequency_hz: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hz: u32) -> Usage {
        Usage { frequency_hz: Some(hz), ..Usage::default() }
    }

    fn duty_at(hz: u32) -> Option<u16> {
        Region::Eu868.rules(at(hz)).unwrap().duty_permille
    }

    #[test]
    fn europe_has_three_duty_cycles_by_sub_band() {
        for hz in [868_100_000, 868_300_000, 868_500_000, 867_100_000] {
            assert_eq!(duty_at(hz), Some(10));
        }
        assert_eq!(duty_at(EU868_MESH_HZ), Some(100));
        assert_eq!(duty_at(869_000_000), Some(1));
        assert_eq!(duty_at(864_000_000), Some(1));
        assert_eq!(Region::Eu433.rules(Usage::default()).unwrap().duty_permille, Some(100));
    }

    #[test]
    fn a_frequency_in_no_sub_band_is_not_sent_on() {
        for hz in [868_650_000, 869_300_000, 870_500_000, 0, u32::MAX] {
            let refused = Region::Eu868.rules(at(hz)).unwrap_err();
            assert_eq!(refused, RegionError::OutOfBand { region: Region::Eu868, frequency_hz: hz });
        }
        let refused = Region::Eu868.rules(at(868_650_000)).unwrap_err().to_string();
        assert!(refused.starts_with("868.650 MHz"), "{refused}");
    }

    #[test]
    fn america_limits_the_single_transmission_of_a_radio_that_hops() {
        assert_eq!(Region::Us915.rules(Usage::default()).unwrap().dwell_ms, None);
        let hopping = Usage { hopping: true, ..Usage::default() };
        assert_eq!(Region::Us915.rules(hopping).unwrap().dwell_ms, Some(400));
        assert_eq!(Region::Eu868.rules(hopping).unwrap().dwell_ms, None);
    }

    #[test]
    fn an_amateur_station_gives_its_call_sign_and_hides_nothing() {
        let rules = Region::Amateur.rules(at(144_800_000)).unwrap();
        assert_eq!((rules.duty_permille, rules.call_sign_every_ms), (None, Some(600_000)));
        assert!(rules.clear_only);
    }

    #[test]
    fn every_name_is_read_again_and_none_is_no_region() {
        for region in Region::ALL {
            assert_eq!(Region::parse(region.name()), Ok(Some(region)));
            assert!(region.rules(Usage::default()).is_ok_and(|rules| !rules.source.is_empty()));
            assert!(region.sub_bands().is_sorted_by_key(|band| band.low_hz));
            assert!(region.sub_bands().iter().all(|band| band.low_hz < band.high_hz));
        }
        assert_eq!(Region::parse("eu_868"), Ok(Some(Region::Eu868)));
        assert_eq!(Region::parse("none"), Ok(None));
        assert!(Region::parse("EU869").is_err());
        assert!("none".parse::<Region>().is_err());
    }
}
