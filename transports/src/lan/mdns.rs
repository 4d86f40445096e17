//! Announce and browse by mDNS (RFC 6762) and DNS-SD (RFC 6763).
//!
//! The service carries no name of a node: instance and host name are random at each start, and
//! its one TXT entry is a hint that changes every hour and that only those recognise who know the
//! node's public key: its peers, and holders of its invite. A service found here proves no identity;
//! it goes to the [`book`](crate::session::book) as an address to try.

use crate::address::PeerId;
use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// The DNS-SD service type.
pub const SERVICE: &str = "_tombolo._udp.local.";
/// Services kept whose hint matches no known node; beyond, the one seen first is forgotten. One of them
/// may be a peer that is added a moment later.
pub const STRANGERS_MAX: usize = 128;
/// Services kept per peer; beyond, the one seen first is forgotten. A peer has one, and old ones
/// of earlier starts until their records expire.
pub const SERVICES_PER_PEER_MAX: usize = 4;
/// Addresses taken from one service; the rest is ignored.
pub const ADDRESSES_PER_SERVICE_MAX: usize = 16;

const HINT_KEY: &str = "h";
const HINT_CONTEXT: &str = "tombolo 2026 lan hint 1";
const SECONDS_PER_HOUR: u64 = 3600;

/// Eight bytes that name a node for one hour to those who know its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HourlyHint([u8; 8]);

impl HourlyHint {
    /// The hint of a node in an hour, counted since the Unix epoch.
    pub fn new(node: &PeerId, hour: u64) -> Self {
        let key = blake3::derive_key(HINT_CONTEXT, node.as_bytes());
        let hash = blake3::keyed_hash(&key, &hour.to_be_bytes());
        let mut hint = [0; 8];
        hint.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        Self(hint)
    }

    /// As written in the TXT record: 16 hexadecimal digits.
    pub fn text(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.get(..16)?).ok()?;
        (text.len() == 16).then(|| bytes.try_into().ok().map(Self))?
    }
}

/// The hour of a Unix time in seconds.
pub fn hour(unix_s: u64) -> u64 {
    unix_s / SECONDS_PER_HOUR
}

/// One service as resolved: a hint and where it points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The hint of its TXT record.
    pub hint: HourlyHint,
    /// Its addresses; link-local ones with their zone.
    pub addresses: Vec<SocketAddr>,
}

/// What mDNS shows at present, sorted into peers and strangers. Pure, and bounded whatever a
/// hostile network announces: strangers never push out what belongs to a peer.
#[derive(Debug, Default)]
pub struct Sightings {
    hints: BTreeMap<HourlyHint, PeerId>,
    services: BTreeMap<String, (Option<PeerId>, Service)>,
    /// Names in the order first seen.
    order: VecDeque<String>,
}

impl Sightings {
    /// Sets the peers whose hints to look for, in the given hour and its two neighbours: clocks differ. Call
    /// again each hour. Returns the peers that a known service belongs to.
    pub fn look_for(&mut self, peers: &BTreeSet<PeerId>, hour: u64) -> BTreeSet<PeerId> {
        let hours = [hour.saturating_sub(1), hour, hour.saturating_add(1)];
        self.hints =
            peers.iter().flat_map(|peer| hours.map(|hour| (HourlyHint::new(peer, hour), *peer))).collect();
        for (owner, service) in self.services.values_mut() {
            // A service once recognised stays its peer's while it is announced and the peer is looked for.
            *owner = self.hints.get(&service.hint).copied().or(owner.filter(|peer| peers.contains(peer)));
        }
        self.services.values().filter_map(|(owner, _)| *owner).collect()
    }

    /// Takes a service as resolved now, replacing what was known under its name. Returns its peer.
    pub fn resolved(&mut self, name: &str, service: Service) -> Option<PeerId> {
        let before = self.services.get(name).and_then(|(owner, _)| *owner);
        let owner = self.hints.get(&service.hint).copied();
        if before != owner {
            self.removed(name);
        }
        if !self.services.contains_key(name) {
            self.make_room(owner);
            self.order.push_back(name.to_owned());
        }
        self.services.insert(name.to_owned(), (owner, service));
        owner
    }

    /// Forgets a service that was withdrawn or expired. Returns its peer.
    pub fn removed(&mut self, name: &str) -> Option<PeerId> {
        self.order.retain(|known| known != name);
        self.services.remove(name).and_then(|(owner, _)| owner)
    }

    /// Where a peer is by what it announces, newest service first.
    pub fn addresses(&self, peer: &PeerId) -> Vec<SocketAddr> {
        let services = self.order.iter().rev().filter_map(|name| self.services.get(name));
        let own = services.filter(|(owner, _)| owner.as_ref() == Some(peer));
        own.flat_map(|(_, service)| &service.addresses).copied().collect()
    }

    /// Where services with a hint of this node are, whether it is looked for or not.
    pub fn addresses_by_hint(&self, node: &PeerId, hour: u64) -> Vec<SocketAddr> {
        let hints =
            [hour.saturating_sub(1), hour, hour.saturating_add(1)].map(|hour| HourlyHint::new(node, hour));
        let services = self.services.values().filter(|(_, service)| hints.contains(&service.hint));
        services.flat_map(|(_, service)| &service.addresses).copied().collect()
    }

    /// Forgets the oldest service of the same owner, or of strangers, when there are as many as may be.
    fn make_room(&mut self, owner: Option<PeerId>) {
        let services_max = if owner.is_some() { SERVICES_PER_PEER_MAX } else { STRANGERS_MAX };
        let same = |name: &&String| self.services.get(*name).is_some_and(|(known, _)| *known == owner);
        if self.order.iter().filter(same).count() >= services_max {
            let oldest = self.order.iter().find(same).cloned();
            oldest.map(|name| self.removed(&name));
        }
    }
}

/// The announcing and browsing daemon, a thread of its own.
pub(crate) struct Mdns {
    daemon: ServiceDaemon,
    instance: String,
    port: u16,
    /// Empty: all addresses the machine has, as they come and go.
    fixed: Vec<IpAddr>,
}

impl Mdns {
    /// Starts to browse; announce follows with the first hint.
    pub(crate) fn start(
        instance: String,
        bound: &[SocketAddr],
        loopback: bool,
    ) -> Result<(Self, mdns_sd::Receiver<ServiceEvent>), mdns_sd::Error> {
        /// The shortest check of the interfaces the daemon can do, in seconds.
        const IP_CHECK_S: u32 = 1;
        let daemon = ServiceDaemon::new()?;
        daemon.set_ip_check_interval(IP_CHECK_S)?;
        if !loopback {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        if !bound.iter().any(SocketAddr::is_ipv6) {
            daemon.disable_interface(IfKind::IPv6)?;
        }
        if !bound.iter().any(SocketAddr::is_ipv4) {
            daemon.disable_interface(IfKind::IPv4)?;
        }
        let services = daemon.browse(SERVICE)?;
        let any = bound.iter().any(|address| address.ip().is_unspecified());
        let fixed = if any { Vec::new() } else { bound.iter().map(SocketAddr::ip).collect() };
        let port = bound.first().map_or(0, SocketAddr::port);
        Ok((Self { daemon, instance, port, fixed }, services))
    }

    /// Browses again after a subscription was lost; the daemon reports what it knows once more.
    pub(crate) fn browse(&self) -> Result<mdns_sd::Receiver<ServiceEvent>, mdns_sd::Error> {
        self.daemon.browse(SERVICE)
    }

    /// Announces this node with a hint, or changes the hint.
    pub(crate) fn announce(&self, hint: HourlyHint) -> Result<(), mdns_sd::Error> {
        let host = format!("{}.local.", self.instance);
        let properties = [(HINT_KEY, hint.text())];
        let info =
            ServiceInfo::new(SERVICE, &self.instance, &host, &self.fixed[..], self.port, &properties[..])?;
        self.daemon.register(if self.fixed.is_empty() { info.enable_addr_auto() } else { info })
    }

    /// Whether a service is this node's own.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        name.strip_suffix(SERVICE).is_some_and(|instance| instance.strip_suffix('.') == Some(&self.instance))
    }

    /// Sends a goodbye packet and ends the thread; waits a little for the packet to leave.
    pub(crate) async fn shutdown(self) {
        const GOODBYE: Duration = Duration::from_millis(300);
        if let Ok(done) = self.daemon.unregister(&format!("{}.{SERVICE}", self.instance)) {
            let _ = tokio::time::timeout(GOODBYE, done.recv_async()).await;
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = tokio::time::timeout(GOODBYE, done.recv_async()).await;
        }
    }
}

/// The hint, port and addresses of a resolved service; `None` if it is not of our format.
pub(crate) fn service(resolved: &ResolvedService, loopback: bool) -> Option<Service> {
    let hint = HourlyHint::parse(resolved.get_property_val(HINT_KEY).flatten()?)?;
    let port = resolved.get_port();
    let mut addresses: Vec<SocketAddr> = resolved.get_addresses().iter().map(|ip| socket(ip, port)).collect();
    addresses.retain(|address| usable(address, loopback));
    addresses.sort();
    addresses.truncate(ADDRESSES_PER_SERVICE_MAX);
    (port != 0).then_some(Service { hint, addresses })
}

fn socket(ip: &ScopedIp, port: u16) -> SocketAddr {
    match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
        }
        _ => (ip.to_ip_addr(), port).into(),
    }
}

fn usable(address: &SocketAddr, loopback: bool) -> bool {
    let ip = address.ip();
    !ip.is_unspecified() && !ip.is_multicast() && (loopback || !ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId([1; 32]);
    const HOUR: u64 = 495_000;

    fn service(hint: HourlyHint, port: u16) -> Service {
        Service { hint, addresses: vec![([192, 0, 2, 1], port).into()] }
    }

    #[test]
    fn a_hint_is_known_in_its_hour_and_the_ones_beside_it() {
        let mut sightings = Sightings::default();
        for (hour, found) in [
            (HOUR - 2, None),
            (HOUR - 1, Some(PEER)),
            (HOUR, Some(PEER)),
            (HOUR + 1, Some(PEER)),
            (HOUR + 2, None),
        ] {
            sightings.look_for(&BTreeSet::from([PEER]), HOUR);
            assert_eq!(sightings.resolved("a", service(HourlyHint::new(&PEER, hour), 1)), found, "{hour}");
        }
    }

    #[test]
    fn a_hint_has_a_fixed_form() {
        let hint = HourlyHint::new(&PEER, HOUR);
        assert_eq!(HourlyHint::parse(hint.text().as_bytes()), Some(hint));
        assert_eq!(HourlyHint::parse(b"0011"), None);
        assert_eq!(HourlyHint::parse(b"00112233445566778"), None);
        assert_ne!(HourlyHint::new(&PEER, HOUR + 1), hint);
        assert!(include_str!("../../FORMAT.md").contains(&format!("`h={}`", hint.text())), "{}", hint.text());
    }

    #[test]
    fn a_flood_of_strangers_pushes_out_no_peer() {
        let mut sightings = Sightings::default();
        sightings.look_for(&BTreeSet::from([PEER]), HOUR);
        sightings.resolved("peer", service(HourlyHint::new(&PEER, HOUR), 1));
        for stranger in 0..10_000_u32 {
            let hint = HourlyHint::new(&PeerId([9; 32]), u64::from(stranger));
            sightings.resolved(&format!("s{stranger}"), service(hint, 2));
        }
        assert_eq!(sightings.services.len(), STRANGERS_MAX + 1);
        assert_eq!(sightings.order.len(), STRANGERS_MAX + 1);
        assert_eq!(sightings.addresses(&PEER), vec![SocketAddr::from(([192, 0, 2, 1], 1))]);
    }

    #[test]
    fn somebody_who_repeats_a_hint_is_bounded_too() {
        let mut sightings = Sightings::default();
        sightings.look_for(&BTreeSet::from([PEER]), HOUR);
        for port in 1..1000 {
            sightings.resolved(&format!("s{port}"), service(HourlyHint::new(&PEER, HOUR), port));
        }
        assert_eq!(sightings.addresses(&PEER).len(), SERVICES_PER_PEER_MAX);
    }

    #[test]
    fn a_stranger_becomes_a_peer_when_it_is_looked_for() {
        let mut sightings = Sightings::default();
        sightings.resolved("a", service(HourlyHint::new(&PEER, HOUR), 1));
        assert!(sightings.addresses(&PEER).is_empty());
        assert_eq!(sightings.addresses_by_hint(&PEER, HOUR).len(), 1);
        assert_eq!(sightings.look_for(&BTreeSet::from([PEER]), HOUR), BTreeSet::from([PEER]));
        assert_eq!(sightings.addresses(&PEER).len(), 1);
        assert_eq!(sightings.look_for(&BTreeSet::new(), HOUR), BTreeSet::new());
    }
}
