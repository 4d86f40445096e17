//! Band plans: how much of the time, how long at once, and under what conditions a radio may send.
//!
//! A plan is data in a file of its own, and each sub-band cites the regulation it was taken from. This is an aid for people
//! who run radios, not legal advice: power, bandwidth and national exceptions are the operator's to know. What could not
//! be supported by a document is left out, and no frame is sent on a frequency in no sub-band.
//!
//! The hour over which a duty cycle counts is any continuous one, over the whole sub-band: ERC/REC 70-03,
//! *Duty cycle categories* (the ratio of the sum of the on times to an observation period of one continuous
//! hour).

mod amateur;
mod anz;
mod eu433;
mod eu868;
mod in865;
mod us915;
mod wired;

pub use eu868::EU868_MESH_HZ;

use crate::time::Millis;
use std::fmt;
use std::str::FromStr;

/// What a sub-band allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Share of any hour on air, per thousand; `None` where the regulation sets no duty cycle.
    pub duty_permille: Option<u16>,
    /// The longest single transmission.
    pub dwell: Option<Millis>,
    /// A call sign must be sent at least so often while there is traffic.
    pub call_sign_every: Option<Millis>,
    /// Nothing may be obscured: no encryption.
    pub clear_only: bool,
    /// The regulation that these rules come from.
    pub source: &'static str,
}

/// A stretch of a band with rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubBand {
    /// Lower edge of the band in Hz.
    pub low_hz: u32,
    /// Upper edge, Hz; it belongs to the next sub-band if there is one.
    pub high_hz: u32,
    /// What the regulation allows in it.
    pub rules: Rules,
}

/// Where a radio is, in the sense of the law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// Europe, 863 to 870 MHz.
    Eu868,
    /// Europe, the ISM band at 433 MHz.
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

/// A region's rules, as data.
struct BandPlan {
    /// What people call it.
    name: &'static str,
    /// How a configuration may write it: lower case, without separators.
    spellings: &'static [&'static str],
    extent: Extent,
    /// The longest stay on a channel of a radio that hops.
    hopping_dwell: Option<Millis>,
}

/// Where a plan's rules hold.
enum Extent {
    /// The frequency makes no difference.
    Everywhere(Rules),
    /// In the sub-bands of `list`, which is in order of frequency. Where no frequency is given `usual_hz` stands for the
    /// region's channels.
    SubBands { list: &'static [SubBand], usual_hz: u32 },
}

const fn duty(permille: u16, source: &'static str) -> Rules {
    Rules { duty_permille: Some(permille), dwell: None, call_sign_every: None, clear_only: false, source }
}

const fn free(source: &'static str) -> Rules {
    Rules { duty_permille: None, ..duty(0, source) }
}

const fn band(low_hz: u32, high_hz: u32, rules: Rules) -> SubBand {
    SubBand { low_hz, high_hz, rules }
}

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

    /// Reads a region as a configuration writes it: `EU868`, `eu_868`, `US`. `none` or nothing is no region, and then
    /// nothing may be sent.
    ///
    /// # Errors
    /// [`RegionError::Unknown`] for any other text.
    pub fn parse(text: &str) -> Result<Option<Region>, RegionError> {
        let word: String = text
            .chars()
            .filter(|c| !matches!(c, '_' | '-' | ' '))
            .take(32)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if ["", "none", "unset"].contains(&word.as_str()) {
            return Ok(None);
        }
        let known = |region: &Region| region.plan().spellings.contains(&word.as_str());
        let region = Region::ALL.into_iter().find(known);
        region.map(Some).ok_or_else(|| RegionError::Unknown(text.chars().take(32).collect()))
    }

    fn plan(self) -> &'static BandPlan {
        match self {
            Region::Eu868 => &eu868::PLAN,
            Region::Eu433 => &eu433::PLAN,
            Region::Us915 => &us915::PLAN,
            Region::Anz => &anz::PLAN,
            Region::In865 => &in865::PLAN,
            Region::Amateur => &amateur::PLAN,
            Region::Wired => &wired::PLAN,
        }
    }

    /// The name that people know it by.
    pub fn name(self) -> &'static str {
        self.plan().name
    }

    /// Its sub-bands in order of frequency; none where the frequency makes no difference.
    pub fn sub_bands(self) -> &'static [SubBand] {
        match self.plan().extent {
            Extent::Everywhere(_) => &[],
            Extent::SubBands { list, .. } => list,
        }
    }

    /// What a radio may do at this frequency and bandwidth, where known.
    ///
    /// With no frequency given: the rules that hold on every channel that LoRaWAN, Meshtastic and MeshCore radios of the
    /// region take by themselves. The operator of a radio that is tuned elsewhere has to give its frequency.
    ///
    /// # Errors
    /// [`RegionError::OutOfBand`] where no sub-band of the region holds the frequency.
    pub fn rules(self, usage: Usage) -> Result<Rules, RegionError> {
        let plan = self.plan();
        let (list, usual_hz) = match plan.extent {
            Extent::Everywhere(rules) => return Ok(rules),
            Extent::SubBands { list, usual_hz } => (list, usual_hz),
        };
        let frequency_hz = usage.frequency_hz.unwrap_or(usual_hz);
        let holds = |band: &&SubBand| (band.low_hz..band.high_hz).contains(&frequency_hz);
        let sub_band = list.iter().find(holds);
        let mut rules = sub_band.ok_or(RegionError::OutOfBand { region: self, frequency_hz })?.rules;
        if usage.hopping {
            rules.dwell = plan.hopping_dwell;
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
        assert_eq!(Region::Us915.rules(Usage::default()).unwrap().dwell, None);
        let hopping = Usage { hopping: true, ..Usage::default() };
        assert_eq!(Region::Us915.rules(hopping).unwrap().dwell, Some(Millis::from_ms(400)));
        assert_eq!(Region::Eu868.rules(hopping).unwrap().dwell, None);
    }

    #[test]
    fn an_amateur_station_gives_its_call_sign_and_hides_nothing() {
        let rules = Region::Amateur.rules(at(144_800_000)).unwrap();
        assert_eq!((rules.duty_permille, rules.call_sign_every), (None, Some(Millis::from_secs(600))));
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
