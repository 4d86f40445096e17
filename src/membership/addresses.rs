//! Addresses that an operator writes: those at which no node can be reached are refused.

use std::net::IpAddr;

use tombolo_transports::Address;

use crate::io::CommandError;

/// Refuses addresses at which no one machine listens: all interfaces, a group, all of a network, no port.
pub(super) fn check_addresses(addresses: &[Address]) -> Result<(), CommandError> {
    let is_of_none = |address: &&Address| {
        address.as_socket().is_some_and(|socket| {
            let ip = socket.ip().to_canonical();
            let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            socket.port() == 0 || ip.is_unspecified() || ip.is_multicast() || is_broadcast
        })
    };
    match addresses.iter().find(is_of_none) {
        Some(address) => Err(CommandError::BadAddress(*address)),
        None => Ok(()),
    }
}
