//! Section `[tor]`: where tor runs, and the onion service of this node.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tombolo_transports::OnionHost;
use tombolo_transports::tor::{Credentials, Endpoint};
use zeroize::Zeroizing;

use super::optional_path;

/// Section `[tor]`: links through a tor that runs on this machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TorSettings {
    /// Use tor where one runs.
    pub enabled: bool,
    /// Its SOCKS port; `None` for the usual one.
    #[serde(deserialize_with = "optional")]
    pub socks: Option<Endpoint>,
    /// Its control port; `None` for the usual places.
    #[serde(deserialize_with = "optional")]
    pub control: Option<Endpoint>,
    /// The cookie file of the control port; `None` for the one that tor names.
    #[serde(deserialize_with = "optional_path")]
    pub cookie: Option<PathBuf>,
    /// The password of the control port; empty for none.
    pub password: Password,
    /// The operator's own onion service; `None` has tor publish one with the node's key.
    #[serde(deserialize_with = "onion")]
    pub onion: Option<OnionHost>,
    /// Where that service's port 8662 leads.
    #[serde(deserialize_with = "endpoint")]
    pub listen: Endpoint,
    /// Let only peers and the holders of open invites reach the service.
    pub client_auth: bool,
}

impl TorSettings {
    /// Where tor's SOCKS port is unless set otherwise.
    pub const SOCKS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9050);
    /// Where tor's control port is tried unless set otherwise: tor's own default, then the sockets of Debian's package.
    pub const CONTROL: [&str; 3] = ["127.0.0.1:9051", "unix:/run/tor/control", "unix:/var/run/tor/control"];

    /// Whether the operator asks for Tor, beyond the default that uses it where it is.
    pub fn is_asked_for(&self) -> bool {
        self.enabled && (self.socks.is_some() || self.control.is_some() || self.onion.is_some())
    }

    /// The SOCKS port to dial through.
    pub fn socks(&self) -> Endpoint {
        self.socks.clone().unwrap_or(Endpoint::Tcp(Self::SOCKS))
    }

    /// How the node proves itself to the control port.
    pub fn credentials(&self) -> Credentials {
        let password = self.password.text().map(|text| Zeroizing::new(text.to_owned()));
        Credentials { cookie: self.cookie.clone(), password }
    }

    /// The control ports to try, in order.
    pub fn control(&self) -> Vec<Endpoint> {
        match &self.control {
            Some(endpoint) => vec![endpoint.clone()],
            None => Self::CONTROL
                .iter()
                .map(|text| text.parse().expect("the usual places are endpoints"))
                .collect(),
        }
    }
}

impl Default for TorSettings {
    fn default() -> Self {
        TorSettings {
            enabled: true,
            socks: None,
            control: None,
            cookie: None,
            password: Password::default(),
            onion: None,
            listen: Endpoint::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8664)),
            client_auth: true,
        }
    }
}

/// A password that no log shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// The password; `None` if it is empty.
    pub fn text(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Password(none)" } else { "Password(..)" })
    }
}

fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { place(&text).map(Some) }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
    place(&String::deserialize(deserializer)?)
}

fn place<E: serde::de::Error>(text: &str) -> Result<Endpoint, E> {
    text.parse().map_err(|why| E::custom(format!("`{text}` is {why}")))
}

fn onion<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OnionHost>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|why| D::Error::custom(format!("`{text}`: {why}")))
}
