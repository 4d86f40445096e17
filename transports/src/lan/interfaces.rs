//! The machine's own addresses, as they come and go.

use if_addrs::{IfAddr, Interface};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the sockets are bound to, and what that means on the interfaces there are.
#[derive(Debug)]
pub(super) struct Interfaces {
    bound: Vec<SocketAddr>,
    loopback: bool,
    last: Option<BTreeSet<(String, IpAddr)>>,
}

impl Interfaces {
    pub(super) fn new(bound: Vec<SocketAddr>, loopback: bool) -> Self {
        Self { bound, loopback, last: None }
    }

    /// Addresses under which others can reach this node, the most useful first: lists of them are cut. `linked` are those of
    /// linked peers: the network that they are on is the one that others are on.
    pub(super) fn reachable(&self, linked: &BTreeSet<IpAddr>) -> Vec<SocketAddr> {
        let present = present();
        let any = |bound: &SocketAddr| bound.ip().is_unspecified();
        let fixed: Vec<SocketAddr> = self.bound.iter().filter(|bound| !any(bound)).copied().collect();
        let routes = DefaultRoutes::read();
        let found = self.bound.iter().filter(|bound| any(bound)).flat_map(|bound| {
            let same_family = present.iter().filter(|interface| interface.ip().is_ipv6() == bound.is_ipv6());
            same_family.filter(|interface| self.is_shown(interface)).map(|interface| Candidate {
                use_of: routes.use_of(interface, linked),
                interface: interface.name.clone(),
                address: (interface.ip(), bound.port()).into(),
            })
        });
        let mut all = fixed;
        for address in ranked(found.collect()) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// Whether an address came or went since the last call; the first call only looks.
    pub(super) fn changed(&mut self) -> bool {
        let now = present().into_iter().map(|interface| (interface.name.clone(), interface.ip())).collect();
        self.last.replace(now).is_some_and(|last| self.last.as_ref() != Some(&last))
    }

    fn is_shown(&self, interface: &Interface) -> bool {
        let link_local = matches!(&interface.addr, IfAddr::V6(v6) if v6.ip.is_unicast_link_local());
        !link_local && (self.loopback || !interface.is_loopback())
    }
}

/// What an interface is for, the most useful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum InterfaceUse {
    /// Peers that are linked now are on its network.
    Peers,
    /// Traffic without a route of its own leaves here: the network that others are on as well.
    DefaultRoute,
    /// An interface of hardware.
    Physical,
    /// A bridge, a tunnel, the network of containers.
    Virtual,
    Loopback,
}

/// An address that may be shown.
#[derive(Clone, Debug)]
struct Candidate {
    use_of: InterfaceUse,
    interface: String,
    address: SocketAddr,
}

/// By the use of the interface, IPv4 first; of each interface one address of a family before any has a second one.
fn ranked(candidates: Vec<Candidate>) -> Vec<SocketAddr> {
    let mut seen: BTreeMap<(String, bool), usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, Candidate)> = candidates
        .into_iter()
        .map(|candidate| {
            let of_family =
                seen.entry((candidate.interface.clone(), candidate.address.is_ipv6())).or_default();
            *of_family += 1;
            (*of_family, candidate)
        })
        .collect();
    ranked.sort_by_key(|(nth, candidate)| (*nth, candidate.use_of, candidate.address));
    ranked.into_iter().map(|(_, candidate)| candidate.address).collect()
}

/// The interfaces that a default route leads through.
struct DefaultRoutes(BTreeSet<String>);

impl DefaultRoutes {
    /// As Linux shows them; none elsewhere, and every interface with hardware is alike.
    fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut names = routes_v4(&text("/proc/net/route"));
        names.extend(routes_v6(&text("/proc/net/ipv6_route")));
        DefaultRoutes(names)
    }

    fn use_of(&self, interface: &Interface, linked: &BTreeSet<IpAddr>) -> InterfaceUse {
        let has_hardware = || {
            let shown = std::path::Path::new("/sys/class/net").join(&interface.name);
            !shown.exists() || shown.join("device").exists()
        };
        match interface {
            loopback if loopback.is_loopback() => InterfaceUse::Loopback,
            peers if linked.iter().any(|peer| is_on_network(*peer, &peers.addr)) => InterfaceUse::Peers,
            routed if self.0.contains(&routed.name) => InterfaceUse::DefaultRoute,
            _ if has_hardware() => InterfaceUse::Physical,
            _ => InterfaceUse::Virtual,
        }
    }
}

/// Whether an address is on the network of an interface.
fn is_on_network(address: IpAddr, interface: &IfAddr) -> bool {
    match (address, interface) {
        (IpAddr::V4(address), IfAddr::V4(own)) => {
            let network = |ip: Ipv4Addr| ip.to_bits() & own.netmask.to_bits();
            network(address) == network(own.ip)
        }
        (IpAddr::V6(address), IfAddr::V6(own)) => {
            let network = |ip: Ipv6Addr| ip.to_bits() & own.netmask.to_bits();
            network(address) == network(own.ip)
        }
        (IpAddr::V4(_), IfAddr::V6(_)) | (IpAddr::V6(_), IfAddr::V4(_)) => false,
    }
}

/// Interfaces with a route to 0.0.0.0/0: name, destination and, in the eighth column, mask.
fn routes_v4(table: &str) -> BTreeSet<String> {
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| match row.as_slice() {
        [name, "00000000", _, _, _, _, _, "00000000", ..] => Some((*name).to_owned()),
        _ => None,
    })
    .collect()
}

/// Interfaces with a route to ::/0; the kernel's own refusal of all others stands on the loopback interface.
fn routes_v6(table: &str) -> BTreeSet<String> {
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| match row.as_slice() {
        [destination, "00", .., name] if destination.bytes().all(|byte| byte == b'0') => {
            Some((*name).to_owned())
        }
        _ => None,
    })
    .collect()
}

/// Addresses of interfaces that carry traffic; none when the system cannot list them.
fn present() -> Vec<Interface> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|interface| interface.is_loopback() || interface.is_oper_up());
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(use_of: InterfaceUse, interface: &str, address: &str) -> Candidate {
        let address = SocketAddr::new(address.parse().unwrap(), 8662);
        Candidate { use_of, interface: interface.to_owned(), address }
    }

    /// A machine with containers: ten bridges come before the LAN by number.
    #[test]
    fn the_network_that_others_are_on_comes_before_bridges() {
        use InterfaceUse::{DefaultRoute, Loopback, Peers, Physical, Virtual};
        let mut candidates: Vec<Candidate> =
            (0..10).map(|at| candidate(Virtual, &format!("br{at}"), &format!("10.{at}.0.1"))).collect();
        candidates.push(candidate(Loopback, "lo", "127.0.0.1"));
        candidates.push(candidate(Physical, "eth1", "172.20.0.9"));
        candidates.push(candidate(DefaultRoute, "eth0", "2001:db8::1"));
        candidates.push(candidate(DefaultRoute, "eth0", "2001:db8::2"));
        candidates.push(candidate(DefaultRoute, "eth0", "192.168.1.20"));
        let all = ranked(candidates.clone());
        let texts: Vec<String> = all.iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(texts[..4], ["192.168.1.20", "2001:db8::1", "172.20.0.9", "10.0.0.1"]);
        assert_eq!(texts[13..], ["127.0.0.1", "2001:db8::2"]);
        candidates[4].use_of = Peers;
        assert_eq!(
            ranked(candidates)[0].ip().to_string(),
            "10.4.0.1",
            "a bridge over which peers come is the LAN"
        );
    }

    #[test]
    fn default_routes_are_read_as_linux_shows_them() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
                  wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        assert_eq!(routes_v4(v4), BTreeSet::from(["eth0".to_owned()]));
        let zeros = "0".repeat(32);
        let v6 = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     wlan0\n\
             fd000000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001     eth1\n"
        );
        assert_eq!(routes_v6(&v6), BTreeSet::from(["wlan0".to_owned()]));
        assert!(routes_v4("").is_empty() && routes_v6("x\n").is_empty());
    }
}
