//! The operator's own fields of the node state, from a program or a file that the settings name, as JSON or as lines:
//!
//! ```text
//! {"water": {"value": 4.2, "unit": "cm"}, "door": "open", "count": 3}
//! ```
//!
//! ```text
//! water 4.2 cm
//! # a comment
//! door open
//! ```
//!
//! A line has a name, a value and, of a number, a unit. A row that cannot be read is left out and counted. Sensors that could not
//! be read twice in a row are published no more: an old value would look fresh.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::STALE_AFTER;
use super::command::{ListError, ListSource};
use super::foreign::{strict, text_of};
use crate::config::StateSettings;
use crate::io::{SENSORS_MAX, Sensor, SensorValue, Sensors};
use crate::runtime::NodeClient;

/// What a source reports, by its setting.
pub(super) type SensorReading = (&'static str, Sensors);

/// The sources that the settings name.
pub(super) fn sources(settings: &StateSettings) -> Vec<(&'static str, ListSource)> {
    let program = settings.sensors_command.split_first();
    let program = program.map(|(path, arguments)| ListSource::Program(path.into(), arguments.to_vec()));
    let file = settings.sensors_file.clone().map(ListSource::File);
    let named = [("sensors_command", program), ("sensors_file", file)];
    named.into_iter().filter_map(|(name, source)| Some((name, source?))).collect()
}

/// Reads one source at an interval.
pub(super) async fn watch(
    name: &'static str,
    source: ListSource,
    every: Duration,
    found: mpsc::Sender<SensorReading>,
    client: NodeClient,
) {
    let mut failures = 0;
    loop {
        let read = match source.bytes().await {
            Ok(bytes) => {
                let named = |why| format!("{}: {why}", source.path().display());
                parse(&text_of(&bytes)).map(|(sensors, faults)| (sensors, faults.map(named))).map_err(named)
            }
            Err(error) => Err(ListError::to_string(&error)),
        };
        let (reading, problem) = match read {
            Ok((sensors, problem)) => {
                failures = 0;
                (Some(sensors), problem)
            }
            Err(problem) => {
                failures += 1;
                ((failures == STALE_AFTER).then(Sensors::new), Some(problem))
            }
        };
        if let Some(reading) = reading
            && found.send((name, reading)).await.is_err()
        {
            return;
        }
        client.problem(name, problem);
        tokio::time::sleep(every).await;
    }
}

/// Reads sensors; the text states how many rows were left out, and why the first was.
///
/// # Errors
/// Why the text is neither an object of JSON nor lines.
fn parse(text: &str) -> Result<(Sensors, Option<String>), String> {
    let mut sensors = Sensors::new();
    let (mut left_out, mut first) = (0_usize, None);
    let trimmed = text.trim();
    let rows: Vec<(String, Result<Sensor, String>)> = match trimmed.starts_with('{') {
        // Each field is still text: a number out of range, or a broken escape, is no fault of the others.
        true => serde_json::from_str::<BTreeMap<String, &RawValue>>(&strict(trimmed))
            .map_err(|error| format!("it is no JSON object: {error}"))?
            .into_iter()
            .map(|(name, value)| (name, serde_json::from_str(value.get()).map_err(|error| error.to_string())))
            .collect(),
        false => trimmed.lines().filter_map(of_line).collect(),
    };
    for (name, sensor) in rows {
        let checked = sensor.and_then(|sensor| match sensor.check(&name) {
            Ok(()) if sensors.len() < SENSORS_MAX => Ok(sensor),
            Ok(()) => Err(format!("a state has at most {SENSORS_MAX} sensors")),
            Err(error) => Err(error.to_string()),
        });
        match checked {
            Ok(sensor) => drop(sensors.insert(name, sensor)),
            Err(why) => {
                left_out += 1;
                first.get_or_insert(why);
            }
        }
    }
    Ok((sensors, first.map(|why| format!("{left_out} of its sensors are left out; the first: {why}"))))
}

/// `water 4.2 cm`; none for an empty line or a comment.
fn of_line(line: &str) -> Option<(String, Result<Sensor, String>)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let (word, unit) =
        rest.split_once(char::is_whitespace).map_or((rest, None), |(a, b)| (a, Some(b.trim())));
    let number = word.parse().map(SensorValue::Whole).or_else(|_| word.parse().map(SensorValue::Number));
    let sensor = match number {
        Ok(value) => Ok(Sensor { value, unit: unit.map(str::to_owned) }),
        Err(_) if rest.is_empty() => Err("a line has a name and a value".to_owned()),
        Err(_) => Ok(Sensor::text(rest)),
    };
    Some((name.to_owned(), sensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> (Vec<String>, bool) {
        let Ok((sensors, fault)) = parse(text) else { return (vec!["none".into()], true) };
        (sensors.iter().map(|(name, sensor)| format!("{name}={sensor}")).collect(), fault.is_some())
    }

    #[test]
    fn sensors_are_read_from_json_and_from_lines() {
        let json = r#"{"water": {"value": 4.25, "unit": "cm"}, "door": "open", "count": 3, "bad": [1]}"#;
        assert_eq!(shown(json), (vec!["count=3".into(), "door=open".into(), "water=4.25 cm".into()], true));
        let lines = "\n# the tide\nwater 4.25 cm\ndoor is open\ncount -3\nalone\ninf inf m\n";
        let expected = vec!["count=-3".into(), "door=is open".into(), "water=4.25 cm".into()];
        assert_eq!(shown(lines), (expected, true));
        assert_eq!(shown("{\"a\": 1"), (vec!["none".into()], true), "half a file is no reading");
        let odd = format!(
            r#"{{"ok": 1, "big": 1e999, "half": "\ud800", "deep": {}1{}}}"#,
            "[".repeat(300),
            "]".repeat(300)
        );
        assert_eq!(shown(&odd), (vec!["ok=1".into()], true));
        // As Python's `json` writes what a broken sensor gives.
        assert_eq!(shown("{\"air\": NaN, \"ok\": 1,}"), (vec!["ok=1".into()], true));
        assert_eq!(shown(""), (vec![], false));
        let many: String = (0..70).map(|n| format!("s{n} {n}\n")).collect();
        assert_eq!(parse(&many).unwrap().0.len(), SENSORS_MAX);
    }
}
