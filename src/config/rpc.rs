//! Section `[rpc]`: where JSON calls are taken, and where they go.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tombolo_transports::OnionHost;

use crate::identity::parse_onion_text;

/// Onion services that are reached without Tor.
pub const FORWARD_MAX: usize = 64;

/// Section `[rpc]`: JSON calls over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpcSettings {
    /// The loopback TCP address that takes calls; none: only the onion service does.
    #[serde(deserialize_with = "loopback")]
    pub listen: Option<SocketAddr>,
    /// Take `package.install` without the signature over the whole call.
    pub legacy_install: bool,
    /// Onion services that are reached at an address of this machine instead of through Tor.
    #[serde(deserialize_with = "forward")]
    pub forward: BTreeMap<OnionHost, SocketAddr>,
}

/// An address of this machine only: the calls travel in clear.
fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "" => Ok(None),
        text => loopback_address(text).map(Some).map_err(D::Error::custom),
    }
}

fn forward<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<OnionHost, SocketAddr>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    if texts.len() > FORWARD_MAX {
        return Err(D::Error::custom(format!("`forward` has at most {FORWARD_MAX} onion services")));
    }
    let read = |(onion, address): (&String, &String)| {
        let onion = parse_onion_text(onion).map_err(|e| D::Error::custom(format!("`{onion}`: {e}")))?;
        Ok((onion, loopback_address(address).map_err(D::Error::custom)?))
    };
    texts.iter().map(read).collect()
}

fn loopback_address(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    let address = address.filter(|address| address.ip().is_loopback());
    address.ok_or_else(|| format!("`{text}` is no loopback address with a port, like \"127.0.0.1:8663\""))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let cases = [
            ("listen = \"0.0.0.0:80\"", "loopback"),
            ("forward = { \"abc\" = \"127.0.0.1:1\" }", "56 characters"),
        ];
        for (setting, word) in cases {
            let (line, why) = Config::parse(&format!("name = \"a\"\n[rpc]\n{setting}\n")).expect_err(setting);
            assert_eq!(line, 3, "{setting}: {why}");
            assert!(why.contains(word), "{setting}: {why}");
        }
    }
}
