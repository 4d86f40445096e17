//! Values on the command line as people write them: addresses, levels, radios, kinds of link.

use std::net::SocketAddr;

use tombolo_transports::tor::endpoint::{Endpoint, EndpointError};
use tombolo_transports::{Address, Medium};

use crate::config::radio::{RadioSettings, RadioSettingsError};
use crate::federation::{RadioUse, TrustLevel};
use crate::layer::{KeyError, KeyPath};

/// The addresses that one `--addr` means.
pub(super) type Addresses = Vec<Address>;

pub(super) fn flat(addresses: Vec<Addresses>) -> Vec<Address> {
    addresses.into_iter().flatten().collect()
}

/// An address as people write it: with or without the port, or a host's name.
pub(super) fn addresses(text: &str) -> Result<Addresses, String> {
    use std::net::{IpAddr, ToSocketAddrs};
    let port = tombolo_transports::lan::PORT;
    if let Ok(address) = text.parse::<Address>() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::from((ip, port)).into()]);
    }
    let found = if text.contains(':') { text.to_socket_addrs() } else { (text, port).to_socket_addrs() };
    match found.map(|found| found.map(Address::from).collect::<Vec<_>>()) {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        _ => Err(format!("write an IP address like 192.168.1.20, 192.168.1.20:{port} or [fd00::20]:{port}")),
    }
}

pub(super) fn radio_use(text: &str) -> Result<RadioUse, String> {
    match text {
        "never" => Ok(RadioUse::Never),
        "brief" => Ok(RadioUse::Brief),
        "full" => Ok(RadioUse::Full),
        _ => Err("write never, brief or full".to_owned()),
    }
}

pub(super) fn medium(text: &str) -> Result<Medium, String> {
    match text {
        "lan" => Ok(Medium::Lan),
        "tor" => Ok(Medium::Tor),
        "mesh" => Ok(Medium::Mesh),
        _ => Err("write lan, tor or mesh".to_owned()),
    }
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

pub(super) fn radio(text: &str) -> Result<RadioSettings, RadioSettingsError> {
    RadioSettings::from_url(text)
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let example = "like 0.0.0.0:8662, or 127.0.0.1:0 for a node that no other machine is to find";
    text.parse().map_err(|_| format!("an address with a port, {example}"))
}

pub(super) fn endpoint(text: &str) -> Result<Endpoint, EndpointError> {
    text.parse()
}

pub(super) fn level(text: &str) -> Result<TrustLevel, String> {
    text.parse().map_err(|_| "a level is trusted, observer or untrusted".to_owned())
}

/// A level that an invite may give.
pub(super) fn joiner_level(text: &str) -> Result<TrustLevel, String> {
    match level(text)? {
        TrustLevel::Untrusted => {
            Err("who joins is trusted or an observer: an untrusted node is no peer".to_owned())
        }
        level => Ok(level),
    }
}

pub(super) fn key(text: &str) -> Result<KeyPath, KeyError> {
    KeyPath::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_gives_no_level_that_is_none() {
        assert_eq!(joiner_level("observer"), Ok(TrustLevel::Observer));
        assert!(joiner_level("untrusted").is_err() && joiner_level("x").is_err());
    }

    #[test]
    fn an_address_may_lack_its_port() {
        assert_eq!(addresses("192.0.2.1"), Ok(vec!["192.0.2.1:8662".parse().unwrap()]));
        assert_eq!(addresses("192.0.2.1:7"), Ok(vec!["192.0.2.1:7".parse().unwrap()]));
        assert_eq!(addresses("fd00::1"), Ok(vec!["[fd00::1]:8662".parse().unwrap()]));
        assert_eq!(addresses("[fd00::1]"), Ok(vec!["[fd00::1]:8662".parse().unwrap()]));
        assert!(addresses("").is_err() && addresses("a b").is_err() && addresses("192.0.2.1:x").is_err());
    }
}
