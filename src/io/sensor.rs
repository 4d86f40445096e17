//! What a sensor of a node shows: a number or a text, with its unit. An operator's own fields of the node state.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Sensors in one state. Beyond, the list is cut by name.
pub const SENSORS_MAX: usize = 64;
/// Bytes of a sensor's name or unit.
pub const SENSOR_NAME_BYTES_MAX: usize = 64;
/// Bytes of a sensor's text.
pub const SENSOR_TEXT_BYTES_MAX: usize = 256;

/// The value of a sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum SensorValue {
    /// A number without a fraction.
    Whole(i64),
    /// A number with a fraction.
    Number(f64),
    /// A word or a sentence.
    Text(String),
}

/// What a sensor shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sensor {
    /// The value as it was read.
    pub value: SensorValue,
    /// The unit of a number, like `cm` or `°C`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// The sensors of a node, by name.
pub type Sensors = BTreeMap<String, Sensor>;

/// Why a sensor is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SensorError {
    /// The name has no letter, too many, or one that moves a cursor.
    #[error("a sensor's name has 1 to {SENSOR_NAME_BYTES_MAX} bytes, without control characters")]
    Name,
    /// The unit is too long.
    #[error("a unit has at most {SENSOR_NAME_BYTES_MAX} bytes, without control characters")]
    Unit,
    /// The number is infinite or none.
    #[error("the value is no finite number")]
    Number,
    /// The text is too long.
    #[error("a sensor's text has at most {SENSOR_TEXT_BYTES_MAX} bytes, without control characters")]
    Text,
}

impl Sensor {
    /// A number with its unit.
    pub fn number(value: f64, unit: &str) -> Self {
        Sensor {
            value: SensorValue::Number(value),
            unit: Some(unit.to_owned()).filter(|unit| !unit.is_empty()),
        }
    }

    /// A reading that is a text.
    pub fn text(text: &str) -> Self {
        Sensor { value: SensorValue::Text(text.to_owned()), unit: None }
    }

    /// Checks what a state may have.
    ///
    /// # Errors
    ///
    /// The limit that the name, the unit or the value exceeds.
    pub fn check(&self, name: &str) -> Result<(), SensorError> {
        let is_plain = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        if name.trim().is_empty() || !is_plain(name, SENSOR_NAME_BYTES_MAX) {
            return Err(SensorError::Name);
        }
        if self.unit.as_deref().is_some_and(|unit| !is_plain(unit, SENSOR_NAME_BYTES_MAX)) {
            return Err(SensorError::Unit);
        }
        match &self.value {
            SensorValue::Whole(_) => Ok(()),
            SensorValue::Number(number) if number.is_finite() => Ok(()),
            SensorValue::Number(_) => Err(SensorError::Number),
            SensorValue::Text(text) if is_plain(text, SENSOR_TEXT_BYTES_MAX) => Ok(()),
            SensorValue::Text(_) => Err(SensorError::Text),
        }
    }
}

impl fmt::Display for Sensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            SensorValue::Whole(number) => write!(f, "{number}")?,
            SensorValue::Number(number) => write!(f, "{number}")?,
            SensorValue::Text(text) => f.write_str(text)?,
        }
        self.unit.as_ref().map_or(Ok(()), |unit| write!(f, " {unit}"))
    }
}

/// A sensor as programs write it: with its unit, or the bare value.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole { value: SensorValue, unit: Option<String> },
    Bare(SensorValue),
    Other(serde::de::IgnoredAny),
}

impl Written {
    fn sensor(self) -> Option<Sensor> {
        match self {
            Written::Whole { value, unit } => Some(Sensor { value, unit }),
            Written::Bare(value) => Some(Sensor { value, unit: None }),
            Written::Other(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Sensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sensor = Written::deserialize(deserializer)?.sensor();
        sensor
            .ok_or_else(|| serde::de::Error::custom("a sensor is a number, a text, or {\"value\", \"unit\"}"))
    }
}

/// Reads the sensors of a state, from whichever program: what is none is left out, and is no fault of the state.
pub(super) fn sensors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sensors>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum AnySensors {
        Sensors(BTreeMap<String, Written>),
        Other(serde::de::IgnoredAny),
    }
    let AnySensors::Sensors(written) = AnySensors::deserialize(deserializer)? else { return Ok(None) };
    let sensors = written.into_iter().filter_map(|(name, written)| Some((name, written.sensor()?)));
    Ok(Some(sensors.filter(|(name, sensor)| sensor.check(name).is_ok()).take(SENSORS_MAX).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::NodeState;

    #[test]
    fn sensors_of_any_program_are_read_and_what_is_none_is_left_out() {
        let text = r#"{"sensors": {"water": {"value": 4.5, "unit": "cm"}, "door": "open", "count": 3,
                       "odd": [1], "none": null, "": 1, "long": {"value": "x", "more": true}}}"#;
        let state: NodeState = serde_json::from_str(text).unwrap();
        let sensors = state.sensors.clone().unwrap();
        let shown: Vec<String> = sensors.iter().map(|(name, sensor)| format!("{name} {sensor}")).collect();
        assert_eq!(shown, ["count 3", "door open", "long x", "water 4.5 cm"]);
        let value = tombolo_delta::to_value(&state).unwrap();
        assert_eq!(tombolo_delta::from_value::<NodeState>(&value).unwrap(), state);
        for other in [r#"{"sensors": 7}"#, r#"{"sensors": null}"#, r#"{"sensors": ["a"]}"#, "{}"] {
            let state: NodeState = serde_json::from_str(other).unwrap();
            assert_eq!(state.sensors, None, "{other}");
        }
        assert_eq!(Sensor::number(f64::NAN, "").check("a"), Err(SensorError::Number));
        assert_eq!(Sensor::text("a\u{1b}[2J").check("a"), Err(SensorError::Text));
    }
}
