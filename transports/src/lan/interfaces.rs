//! The machine's own addresses, as they come and go.

use if_addrs::{IfAddr, Interface};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

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

    /// Addresses under which others can reach this node, in order.
    pub(super) fn reachable(&self) -> Vec<SocketAddr> {
        let present = present();
        let any = |bound: &SocketAddr| bound.ip().is_unspecified();
        let fixed = self.bound.iter().filter(|bound| !any(bound)).copied();
        let found = self.bound.iter().filter(|bound| any(bound)).flat_map(|bound| {
            let same_family = present.iter().filter(|interface| interface.ip().is_ipv6() == bound.is_ipv6());
            same_family
                .filter(|interface| self.is_shown(interface))
                .map(|interface| (interface.ip(), bound.port()).into())
        });
        fixed.chain(found).collect::<BTreeSet<SocketAddr>>().into_iter().collect()
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

/// Addresses of interfaces that carry traffic; none when the system cannot list them.
fn present() -> Vec<Interface> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|interface| interface.is_loopback() || interface.is_oper_up());
    interfaces
}
