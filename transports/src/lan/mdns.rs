//! Announce and browse by mDNS (RFC 6762) and DNS-SD (RFC 6763).
//!
//! The service carries no name of a node: instance and host name are random at each start, and
//! its one TXT entry is a hint that changes every hour and that only those recognise who know the
//! node's public key: its peers, and holders of its invite. No clock is in it, so nodes find each other
//! whatever theirs show. A service found here proves no identity;
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
const HINT_CONTEXT: &str = "tombolo 2026 lan hint 2";
/// Digits of a hint in a TXT record.
const HINT_TEXT: usize = 32;

/// A random salt, and eight bytes that name a node under it to those who know its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaltedHint {
    salt: [u8; 8],
    print: [u8; 8],
}

/// What recognises the hints of one node.
#[derive(Clone, Copy, Debug)]
struct HintKey([u8; 32]);

impl HintKey {
    fn of(node: &PeerId) -> Self {
        HintKey(blake3::derive_key(HINT_CONTEXT, node.as_bytes()))
    }

    fn print(&self, salt: [u8; 8]) -> [u8; 8] {
        let hash = blake3::keyed_hash(&self.0, &salt);
        let mut print = [0; 8];
        print.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        print
    }

    fn fits(&self, hint: &SaltedHint) -> bool {
        self.print(hint.salt) == hint.print
    }
}

impl SaltedHint {
    /// The hint of a node under a salt.
    pub fn new(node: &PeerId, salt: [u8; 8]) -> Self {
        SaltedHint { salt, print: HintKey::of(node).print(salt) }
    }

    /// As written in the TXT record: 32 hexadecimal digits.
    pub fn text(&self) -> String {
        data_encoding::HEXLOWER.encode(&[self.salt, self.print].concat())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = text.get(..HINT_TEXT).filter(|_| text.len() == HINT_TEXT)?;
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text).ok()?;
        let (salt, print) = bytes.split_at_checked(8)?;
        Some(SaltedHint { salt: salt.try_into().ok()?, print: print.try_into().ok()? })
    }
}

/// One service as resolved: a hint and where it points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The hint of its TXT record.
    pub hint: SaltedHint,
    /// Its addresses; link-local ones with their zone.
    pub addresses: Vec<SocketAddr>,
}

/// What mDNS shows at present, sorted into peers and strangers. Pure, and bounded whatever a
/// hostile network announces: strangers never push out what belongs to a peer.
#[derive(Debug, Default)]
pub struct Sightings {
    keys: BTreeMap<PeerId, HintKey>,
    services: BTreeMap<String, (Option<PeerId>, Service)>,
    /// Names in the order first seen.
    order: VecDeque<String>,
}

impl Sightings {
    /// Sets the peers whose hints to look for. Returns those that a known service belongs to.
    pub fn look_for(&mut self, peers: &BTreeSet<PeerId>) -> BTreeSet<PeerId> {
        self.keys = peers.iter().map(|peer| (*peer, HintKey::of(peer))).collect();
        for (owner, service) in self.services.values_mut() {
            *owner = owner_of(&self.keys, &service.hint);
        }
        self.services.values().filter_map(|(owner, _)| *owner).collect()
    }

    /// Takes a service as resolved now, replacing what was known under its name. Returns its peer.
    pub fn resolved(&mut self, name: &str, service: Service) -> Option<PeerId> {
        let before = self.services.get(name).and_then(|(owner, _)| *owner);
        // What repeats is not looked up again: a flood costs a comparison.
        let owner = match self.services.get(name) {
            Some((owner, known)) if known.hint == service.hint => *owner,
            _ => owner_of(&self.keys, &service.hint),
        };
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
    pub fn addresses_by_hint(&self, node: &PeerId) -> Vec<SocketAddr> {
        let key = HintKey::of(node);
        let services = self.services.values().filter(|(_, service)| key.fits(&service.hint));
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

fn owner_of(keys: &BTreeMap<PeerId, HintKey>, hint: &SaltedHint) -> Option<PeerId> {
    keys.iter().find(|(_, key)| key.fits(hint)).map(|(peer, _)| *peer)
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
    pub(crate) fn announce(&self, hint: SaltedHint) -> Result<(), mdns_sd::Error> {
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
    let hint = SaltedHint::parse(resolved.get_property_val(HINT_KEY).flatten()?)?;
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
    const SALT: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

    fn service(hint: SaltedHint, port: u16) -> Service {
        Service { hint, addresses: vec![([192, 0, 2, 1], port).into()] }
    }

    /// No clock is in a hint: nodes whose clocks show different years, or none, recognise each other by any of their salts.
    #[test]
    fn a_hint_is_known_under_every_salt_and_to_those_with_the_key_alone() {
        let mut sightings = Sightings::default();
        sightings.look_for(&BTreeSet::from([PEER]));
        for n in 0..100_u64 {
            let hint = SaltedHint::new(&PEER, n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            assert_eq!(sightings.resolved("a", service(hint, 1)), Some(PEER), "{n}");
            let other = SaltedHint::new(&PeerId([2; 32]), n.to_be_bytes());
            assert_eq!(sightings.resolved("b", service(other, 1)), None, "{n}");
        }
        // A service that announces a new salt is the same peer's.
        assert_eq!(sightings.addresses(&PEER).len(), 1);
    }

    #[test]
    fn a_hint_has_a_fixed_form() {
        let hint = SaltedHint::new(&PEER, SALT);
        assert_eq!(SaltedHint::parse(hint.text().as_bytes()), Some(hint));
        for bad in [
            &b"0011"[..],
            b"00112233445566770011223344556677f",
            b"0011223344556677",
            b"x0112233445566770011223344556677",
        ] {
            assert_eq!(SaltedHint::parse(bad), None);
        }
        assert_ne!(SaltedHint::new(&PEER, [9; 8]).print, hint.print);
        assert!(include_str!("../../FORMAT.md").contains(&format!("`h={}`", hint.text())), "{}", hint.text());
    }

    #[test]
    fn a_flood_of_strangers_pushes_out_no_peer() {
        let mut sightings = Sightings::default();
        sightings.look_for(&BTreeSet::from([PEER]));
        sightings.resolved("peer", service(SaltedHint::new(&PEER, SALT), 1));
        for stranger in 0..10_000_u64 {
            let hint = SaltedHint::new(&PeerId([9; 32]), stranger.to_be_bytes());
            sightings.resolved(&format!("s{stranger}"), service(hint, 2));
        }
        assert_eq!(sightings.services.len(), STRANGERS_MAX + 1);
        assert_eq!(sightings.order.len(), STRANGERS_MAX + 1);
        assert_eq!(sightings.addresses(&PEER), vec![SocketAddr::from(([192, 0, 2, 1], 1))]);
    }

    #[test]
    fn somebody_who_repeats_a_hint_is_bounded_too() {
        let mut sightings = Sightings::default();
        sightings.look_for(&BTreeSet::from([PEER]));
        for port in 1..1000 {
            sightings.resolved(&format!("s{port}"), service(SaltedHint::new(&PEER, SALT), port));
        }
        assert_eq!(sightings.addresses(&PEER).len(), SERVICES_PER_PEER_MAX);
    }

    #[test]
    fn a_stranger_becomes_a_peer_when_it_is_looked_for() {
        let mut sightings = Sightings::default();
        sightings.resolved("a", service(SaltedHint::new(&PEER, SALT), 1));
        assert!(sightings.addresses(&PEER).is_empty());
        assert_eq!(sightings.addresses_by_hint(&PEER).len(), 1);
        assert_eq!(sightings.look_for(&BTreeSet::from([PEER])), BTreeSet::from([PEER]));
        assert_eq!(sightings.addresses(&PEER).len(), 1);
        assert_eq!(sightings.look_for(&BTreeSet::new()), BTreeSet::new());
    }
}
