//! Derives the parameters of a radio from the settings of the operator and from what the radio reports.
//!
//! A setting of the operator wins over the radio's report. Nothing is sent while the region of a radio is unknown, or
//! its modulation where airtime is limited; the text of the rules then names the setting to add.

use crate::time::Millis;
use std::fmt::Write as _;

use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::{EU868_MESH_HZ, Region, Rules, Usage};
use tombolo_mesh::airtime::{FRAME_BYTES_MAX, Modulation, PhyRate};
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::CallSign;
use tombolo_mesh::wire::meshtastic::signs_broadcasts;
use tombolo_transports::radio::{KissOptions, MTU_MIN, RadioInfo, RadioProtocol};

use crate::config::radio::{Area, RadioRate, RadioSettings};
use crate::io::RadioSpec;

/// AX.25 addresses, control and protocol.
const AX25_BYTES: u16 = 16;
/// Frame check and two flags, which every HDLC frame has.
const HDLC_BYTES: u16 = 4;
/// Dire Wolf's TXTAIL, and what is added to a TXDELAY that was set.
const TAIL_MS: u32 = 100;
/// The rate that is assumed where none is set and airtime has no limit: that of most TNCs.
const BITS_ASSUMED: u32 = 1200;

/// The parameters of a radio, as the node uses them.
pub(super) fn spec(settings: &RadioSettings, frame_bytes_max: usize, info: &RadioInfo) -> RadioSpec {
    let line = line(settings, info);
    let (rules, mut rules_text) = match rules(settings, info, line) {
        Ok((rules, text)) => (Some(rules), text),
        Err(why) => (None, why),
    };
    if settings.soft_cap_permille < 1_000 && rules.is_some() {
        let _ = write!(rules_text, "; your own limit: {} of any hour", percent(settings.soft_cap_permille));
    }
    if settings.mode == Mode::SignedClear {
        rules_text.push_str("; in clear: everybody can read it");
    }
    let law = rules.and_then(|rules| rules.call_sign_every).unwrap_or(Millis::from_ms(u64::MAX));
    let every = u64::try_from(settings.call_sign_every.as_millis()).map_or(law, Millis::from_ms).min(law);
    RadioSpec {
        name: settings.name(),
        mode: settings.mode,
        frame_bytes_max: at_once(frame_bytes_max.min(FRAME_BYTES_MAX), line, rules),
        frame_bytes_min: settings.url.frame_bytes_min(),
        call_sign: settings.call_sign.clone().map(|text| CallSign { text, every }),
        line: line.unwrap_or_else(|| assumed(settings)),
        ledger: LedgerConfig { soft_cap_permille: settings.soft_cap_permille, ..LedgerConfig::new(rules) },
        sign_every: settings.sign_every,
        rules_text,
    }
}

/// The longest frame that one transmission may carry by law. Where not even a short one fits, the limit stays as it is:
/// nothing is sent then, and the rules report it.
fn at_once(bytes_max: usize, line: Option<PhyRate>, rules: Option<Rules>) -> usize {
    let dwell_us = rules.and_then(|rules| rules.dwell).map(|dwell| dwell.ms() * 1_000);
    let (Some(line), Some(dwell_us)) = (line, dwell_us) else { return bytes_max };
    let longest = (MTU_MIN..=bytes_max).rev().find(|bytes| line.frame_us(*bytes) <= dwell_us);
    longest.unwrap_or(bytes_max)
}

/// The rules, as far as they are known before the radio has reported.
pub(super) fn expected(settings: &RadioSettings) -> String {
    let reports = !matches!(&settings.url.protocol, RadioProtocol::Kiss(kiss) if !kiss.reports);
    if reports && settings.region.is_none() {
        return "uses the region that the radio reports, once it is there".to_owned();
    }
    if reports && settings.rate.is_none() {
        let region = match settings.region {
            Some(Area::In(region)) => region.name(),
            _ => "none",
        };
        return format!("region {region}; its modulation is what the radio reports, once it is there");
    }
    spec(settings, settings.url.frame_bytes_max(), &RadioInfo::default()).rules_text
}

/// The modem configuration, if the settings or the radio name one.
fn line(settings: &RadioSettings, info: &RadioInfo) -> Option<PhyRate> {
    let rate = settings.rate.or(info.modulation.map(RadioRate::LoRa))?;
    if let (Some(RadioRate::LoRa(set)), Some(reported)) = (settings.rate, info.modulation)
        && set != reported
    {
        let (set, reported) = (PhyRate::lora(set), PhyRate::lora(reported));
        tracing::warn!(radio = settings.name(), %set, %reported, "the radio sends otherwise than it is set to");
    }
    Some(of_rate(&settings.url.protocol, rate, info))
}

fn of_rate(protocol: &RadioProtocol, rate: RadioRate, info: &RadioInfo) -> PhyRate {
    match (protocol, rate) {
        (RadioProtocol::Meshtastic(_), RadioRate::LoRa(modulation)) => {
            PhyRate::meshtastic(modulation, signs_broadcasts(info.firmware.as_deref()))
        }
        (RadioProtocol::Meshcore(_), RadioRate::LoRa(modulation)) => PhyRate::meshcore(modulation),
        (RadioProtocol::Kiss(kiss), RadioRate::LoRa(modulation)) => {
            PhyRate::lora(modulation).with_overhead_bytes(kiss.call.map_or(0, |_| AX25_BYTES))
        }
        (RadioProtocol::Kiss(kiss), RadioRate::Bits(bits)) => packet(kiss, bits),
        (_, RadioRate::Bits(bits)) => PhyRate::ax25(bits),
    }
}

fn packet(kiss: &KissOptions, bits: u32) -> PhyRate {
    let mut line = PhyRate::ax25(bits).with_overhead_bytes(HDLC_BYTES + kiss.call.map_or(0, |_| AX25_BYTES));
    if let (Some(txdelay), PhyRate::BitRate { key_up_ms, .. }) = (kiss.txdelay, &mut line) {
        *key_up_ms = u32::from(txdelay) * 10 + TAIL_MS;
    }
    line
}

/// The modem configuration that is assumed where none is known; nothing depends on it.
fn assumed(settings: &RadioSettings) -> PhyRate {
    let rate = match &settings.url.protocol {
        RadioProtocol::Kiss(_) => RadioRate::Bits(BITS_ASSUMED),
        _ => RadioRate::LoRa(Modulation::LONG_SLOW),
    };
    of_rate(&settings.url.protocol, rate, &RadioInfo::default())
}

/// The rules for airtime, in figures and in words; or why nothing may be sent.
fn rules(
    settings: &RadioSettings,
    info: &RadioInfo,
    line: Option<PhyRate>,
) -> Result<(Rules, String), String> {
    let region = region(settings, info)?;
    let lora_mesh = !matches!(settings.url.protocol, RadioProtocol::Kiss(_));
    let usual = (region == Region::Eu868 && lora_mesh).then_some(EU868_MESH_HZ);
    let frequency_hz = settings.frequency_hz.or(info.frequency_hz).or(usual);
    let rules = region.rules(Usage { frequency_hz, hopping: settings.hopping });
    let rules = rules.map_err(|why| format!("nothing is sent: {why}"))?;
    let limited = rules.duty_permille.is_some() || rules.dwell.is_some();
    if limited && line.is_none() {
        return Err(format!(
            "nothing is sent: the radio does not report how it modulates, and in {region} its time on air counts: set `preset`"
        ));
    }
    Ok((rules, in_words(region, frequency_hz, line, &rules)))
}

fn region(settings: &RadioSettings, info: &RadioInfo) -> Result<Region, String> {
    const HOW: &str = "set where the radio is, for instance `region = \"EU868\"` or ?region=EU868";
    match (settings.region, &info.region) {
        (Some(Area::In(region)), _) => Ok(region),
        (Some(Area::Nowhere), _) => Err("nothing is sent: region none".to_owned()),
        (None, None) => Err(format!("nothing is sent: no region is set; {HOW}")),
        (None, Some(text)) => match Region::parse(text) {
            Ok(Some(region)) if region != Region::Amateur => Ok(region),
            Ok(_) => Err(format!("nothing is sent: the radio has no region; {HOW}")),
            Err(_) => {
                Err(format!("nothing is sent: no rules are known for the radio's region {text}; {HOW}"))
            }
        },
    }
}

/// `EU868, 869.525 MHz, LongFast: 10 % of any hour [ETSI …]`.
fn in_words(region: Region, frequency_hz: Option<u32>, line: Option<PhyRate>, rules: &Rules) -> String {
    let mut text = region.to_string();
    if let Some(hz) = frequency_hz.filter(|_| region != Region::Wired) {
        let _ = write!(text, ", {}.{:03} MHz", hz / 1_000_000, hz / 1_000 % 1_000);
    }
    match line {
        Some(line) => {
            let _ = write!(text, ", {line}");
        }
        None => {
            let _ = write!(text, ", {BITS_ASSUMED}bps assumed");
        }
    }
    let mut limits: Vec<String> = Vec::new();
    limits.extend(rules.duty_permille.map(|permille| format!("{} of any hour", percent(permille))));
    limits.extend(rules.dwell.map(|dwell| format!("at most {} ms at once", dwell.ms())));
    limits.extend(rules.call_sign_every.map(|every| format!("call sign every {} min", every.ms() / 60_000)));
    if limits.is_empty() {
        limits.push("no limit on time".to_owned());
    }
    let _ = write!(text, ": {} [{}]", limits.join(", "), rules.source);
    text
}

fn percent(permille: u16) -> String {
    match (permille / 10, permille % 10) {
        (whole, 0) => format!("{whole} %"),
        (whole, tenth) => format!("{whole}.{tenth} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str, info: &RadioInfo) -> RadioSpec {
        spec(&RadioSettings::from_url(url).unwrap(), 231, info)
    }

    fn reporting(region: &str, modulation: Option<Modulation>) -> RadioInfo {
        RadioInfo { region: Some(region.into()), modulation, ..RadioInfo::default() }
    }

    #[test]
    fn without_a_region_nothing_is_sent_and_the_text_names_the_setting() {
        let spec = of("kiss+tcp://h?bitrate=1200", &RadioInfo::default());
        assert_eq!(spec.ledger.rules, None);
        assert!(spec.rules_text.contains("region = \"EU868\""), "{}", spec.rules_text);
        assert_eq!(of("kiss+tcp://h?region=none", &RadioInfo::default()).ledger.rules, None);
        assert_eq!(of("meshtastic+tcp://h", &reporting("MOON", None)).ledger.rules, None);
        assert_eq!(
            of("meshtastic+tcp://h", &reporting("UNSET", Some(Modulation::LONG_FAST))).ledger.rules,
            None
        );
    }

    #[test]
    fn what_the_radio_reports_is_used_where_the_operator_sets_nothing() {
        let reported = reporting("EU_868", Some(Modulation::LONG_FAST));
        let spec = of("meshtastic+tcp://h", &reported);
        assert_eq!(spec.line, PhyRate::meshtastic(Modulation::LONG_FAST, true));
        assert_eq!(spec.ledger.rules.and_then(|rules| rules.duty_permille), Some(100));
        assert!(spec.rules_text.starts_with("EU868, 869.525 MHz, LongFast: 10 % of any hour ["));
        let spec = of("meshtastic+tcp://h?region=US&preset=ShortTurbo", &reported);
        assert_eq!(spec.line, PhyRate::meshtastic(Modulation::SHORT_TURBO, true));
        let older = RadioInfo { firmware: Some("2.7.11.abc".into()), ..reported.clone() };
        assert_eq!(of("meshtastic+tcp://h", &older).line, PhyRate::meshtastic(Modulation::LONG_FAST, false));
        assert_eq!(spec.ledger.rules.map(|rules| (rules.duty_permille, rules.dwell)), Some((None, None)));
        // On another frequency, other rules.
        let spec =
            of("meshtastic+tcp://h", &RadioInfo { frequency_hz: Some(868_300_000), ..reported.clone() });
        assert_eq!(spec.ledger.rules.and_then(|rules| rules.duty_permille), Some(10));
        let spec = of("meshtastic+tcp://h", &RadioInfo { frequency_hz: Some(868_650_000), ..reported });
        assert_eq!(spec.ledger.rules, None);
        assert!(spec.rules_text.contains("868.650 MHz"), "{}", spec.rules_text);
    }

    #[test]
    fn where_one_transmission_is_limited_frames_are_as_short_as_that() {
        let spec = of("kiss+tcp://h?region=US915&preset=MediumFast&hopping=true", &RadioInfo::default());
        let us = |bytes| spec.line.frame_us(bytes);
        assert!(us(spec.frame_bytes_max) <= 400_000 && us(spec.frame_bytes_max + 1) > 400_000);
        assert!((100..231).contains(&spec.frame_bytes_max), "{}", spec.frame_bytes_max);
        let spec = of("kiss+tcp://h?region=US915&preset=ShortFast&hopping=true", &RadioInfo::default());
        assert_eq!(spec.frame_bytes_max, 231);
        // Stock radios stay on their channel: the default one of America sends.
        let spec = of("meshtastic+tcp://h", &reporting("US", Some(Modulation::LONG_FAST)));
        assert_eq!(spec.ledger.rules.map(|rules| (rules.duty_permille, rules.dwell)), Some((None, None)));
        assert_eq!(spec.frame_bytes_max, 231);
    }

    #[test]
    fn airtime_that_cannot_be_counted_is_not_used_where_it_counts() {
        let spec = of("meshcore+tcp://h?region=EU868", &RadioInfo::default());
        assert_eq!(spec.ledger.rules, None);
        assert!(spec.rules_text.contains("preset"), "{}", spec.rules_text);
        let spec = of("kiss+tcp://h?region=wired", &RadioInfo::default());
        assert_eq!(spec.line.frame_us(100), PhyRate::ax25(1200).with_overhead_bytes(4).frame_us(100));
        assert_eq!(spec.rules_text, "wired, 1200bps assumed: no limit on time [not radio]");
    }

    #[test]
    fn no_rules_are_shown_for_a_radio_that_reports_its_own() {
        let expected = |url: &str| expected(&RadioSettings::from_url(url).unwrap());
        assert!(expected("meshtastic+tcp://h").starts_with("uses the region that the radio reports"));
        assert!(expected("meshcore+tcp://h?region=EU868").starts_with("region EU868; its modulation"));
        assert!(expected("meshcore+tcp://h?region=EU868&preset=MeshCore").contains("10 % of any hour"));
        assert!(expected("kiss+tcp://h").starts_with("nothing is sent: no region is set"));
    }

    #[test]
    fn an_amateur_station_sends_in_clear_under_its_call_sign() {
        let spec = of("kiss+tcp://h?region=amateur&call=N0CALL-1&bitrate=9600", &RadioInfo::default());
        assert_eq!(spec.mode, Mode::SignedClear);
        assert_eq!(spec.call_sign, Some(CallSign { text: "N0CALL-1".into(), every: Millis::from_secs(600) }));
        assert_eq!(spec.line.frame_us(100), PhyRate::ax25(9600).frame_us(100));
        assert!(spec.rules_text.contains("everybody can read it"), "{}", spec.rules_text);
    }
}
