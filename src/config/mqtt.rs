//! Section `[mqtt]`: the broker that receives how the peers stand.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{Password, publish_every};

/// The port of a broker without TLS.
const PORT: u16 = 1883;
/// Bytes of a topic's first part.
const PREFIX_BYTES_MAX: usize = 64;

/// The host and port of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// A name or an address.
    pub host: String,
    /// The TCP port on which the broker listens.
    pub port: u16,
}

/// Section `[mqtt]`: the bridge to a broker, as Home Assistant reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttSettings {
    /// The broker; none: no bridge.
    #[serde(deserialize_with = "broker")]
    pub broker: Option<Broker>,
    /// The user name at the broker; empty for none.
    pub user: String,
    /// The password that the broker asks for.
    pub password: Password,
    /// Where Home Assistant looks for devices.
    #[serde(deserialize_with = "prefix")]
    pub discovery: String,
    /// The first part of all topics of this bridge.
    #[serde(deserialize_with = "prefix")]
    pub prefix: String,
    /// How often figures are published.
    #[serde(deserialize_with = "publish_every")]
    pub every: Duration,
}

impl Default for MqttSettings {
    fn default() -> Self {
        MqttSettings {
            broker: None,
            user: String::new(),
            password: Password::default(),
            discovery: "homeassistant".to_owned(),
            prefix: "tombolo".to_owned(),
            every: Duration::from_secs(30),
        }
    }
}

/// `host`, `host:port`, `[address]:port`, or the same behind `mqtt://`.
fn broker<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Broker>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with("mqtts://") || text.starts_with("ssl://") {
        return Err(D::Error::custom(format!(
            "`{text}` asks for TLS, which this bridge does not have: use a broker on this machine or network"
        )));
    }
    let place = text.strip_prefix("mqtt://").unwrap_or(&text).trim_end_matches('/');
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (place, Some(PORT)),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte);
    match port.filter(|port| *port > 0) {
        Some(port) if !host.is_empty() && host.bytes().all(is_plain) => {
            Ok(Some(Broker { host: host.to_owned(), port }))
        }
        _ => Err(D::Error::custom(format!("`{text}` is no broker, like \"127.0.0.1:1883\" or \"hut.lan\""))),
    }
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/');
    match !text.is_empty() && text.len() <= PREFIX_BYTES_MAX && text.chars().all(is_plain) {
        true => Ok(text.trim_matches('/').to_owned()),
        false => {
            Err(D::Error::custom(format!("`{text}` is no start of a topic: letters, digits, -, _ and /")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn brokers_are_read_as_people_write_them() {
        let read = |text: &str| Config::parse(&format!("name = \"a\"\n[mqtt]\nbroker = \"{text}\"\n"));
        let broker = |host: &str, port| Ok(Some(Broker { host: host.to_owned(), port }));
        for (text, expected) in [
            ("", Ok(None)),
            ("127.0.0.1", broker("127.0.0.1", 1883)),
            ("mqtt://hut.lan:1884/", broker("hut.lan", 1884)),
            ("[::1]:1883", broker("::1", 1883)),
            ("::1", broker("::1", 1883)),
            ("mqtts://hut.lan", Err("TLS")),
            ("hut:port", Err("no broker")),
            ("hut lan", Err("no broker")),
        ] {
            match (read(text), expected) {
                (Ok(config), expected) => assert_eq!(Ok(config.mqtt.broker), expected, "{text}"),
                (Err((line, why)), Err(word)) => assert!(line == 3 && why.contains(word), "{text}: {why}"),
                (Err(why), Ok(_)) => panic!("{text}: {why:?}"),
            }
        }
    }
}
