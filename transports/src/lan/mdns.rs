//! Announce and browse by mDNS (RFC 6762) and DNS-SD (RFC 6763).
//!
//! The service carries no name of a node: instance and host name are random for each daemon, and
//! its one TXT entry is a hint that changes every hour and that only those recognise who know the
//! node's public key: its peers, and holders of its invite. No clock is in it, so nodes find each other
//! whatever theirs show. A service found here proves no identity;
//! it goes to the [`book`](crate::session::book) as an address to try.

use crate::address::PeerId;
use crate::lan::filters::Filtered;
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
/// Addresses whose vain tries are remembered; beyond, all are forgotten.
const TRIED_MAX: usize = STRANGERS_MAX * ADDRESSES_PER_SERVICE_MAX;

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
    /// A service was forgotten for lack of room.
    crowded: bool,
    /// How often addresses were tried in vain for a node that is no peer yet.
    tried: BTreeMap<SocketAddr, u32>,
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

    /// Where a peer is by what it announces: an address of each service, newest first, then a second one of each.
    pub fn addresses(&self, peer: &PeerId) -> Vec<SocketAddr> {
        self.in_turn(|owner, _| owner.as_ref() == Some(peer))
    }

    /// Where services with a hint of this node are, whether it is looked for or not, in the same order; those that were tried in vain
    /// come after those that were not. Anyone can repeat a hint, so the node may be behind any of them.
    pub fn addresses_by_hint(&self, node: &PeerId) -> Vec<SocketAddr> {
        let key = HintKey::of(node);
        let mut addresses = self.in_turn(|_, service| key.fits(&service.hint));
        addresses.sort_by_key(|address| self.tried.get(address).copied().unwrap_or_default());
        addresses
    }

    /// Notes addresses of [`addresses_by_hint`](Self::addresses_by_hint) behind which the node was not.
    pub fn tried_in_vain(&mut self, addresses: &[SocketAddr]) {
        if self.tried.len() + addresses.len() > TRIED_MAX {
            self.tried.clear();
        }
        for address in addresses {
            *self.tried.entry(*address).or_default() += 1;
        }
    }

    /// Whether a service was forgotten for lack of room since the last call.
    pub fn take_crowded(&mut self) -> bool {
        std::mem::take(&mut self.crowded)
    }

    /// Forgets all services: they are shown once more.
    pub fn clear(&mut self) {
        self.services.clear();
        self.order.clear();
    }

    /// The first address of each service, newest service first, then the second of each, and so on: one with many does not hide the
    /// others where a list is cut.
    fn in_turn(&self, is_meant: impl Fn(&Option<PeerId>, &Service) -> bool) -> Vec<SocketAddr> {
        let services = self.order.iter().rev().filter_map(|name| self.services.get(name));
        let meant: Vec<&Service> = services
            .filter(|(owner, service)| is_meant(owner, service))
            .map(|(_, service)| service)
            .collect();
        let turns = (0..ADDRESSES_PER_SERVICE_MAX)
            .flat_map(|turn| meant.iter().filter_map(move |service| service.addresses.get(turn)).copied());
        let mut seen = BTreeSet::new();
        turns.filter(|address| seen.insert(*address)).collect()
    }

    /// Forgets the oldest service of the same owner, or of strangers, when there are as many as may be.
    fn make_room(&mut self, owner: Option<PeerId>) {
        let services_max = if owner.is_some() { SERVICES_PER_PEER_MAX } else { STRANGERS_MAX };
        let same = |name: &&String| self.services.get(*name).is_some_and(|(known, _)| *known == owner);
        if self.order.iter().filter(same).count() >= services_max {
            let oldest = self.order.iter().find(same).cloned();
            oldest.map(|name| self.removed(&name));
            self.crowded = true;
        }
    }
}

fn owner_of(keys: &BTreeMap<PeerId, HintKey>, hint: &SaltedHint) -> Option<PeerId> {
    keys.iter().find(|(_, key)| key.fits(hint)).map(|(peer, _)| *peer)
}

/// The announcing and browsing daemon, a thread of its own.
pub(crate) struct Mdns {
    daemon: ServiceDaemon,
    options: DaemonOptions,
    instance: String,
    port: u16,
    /// Empty: all addresses the machine has, as they come and go.
    fixed: Vec<IpAddr>,
    /// The hint that is announced; none where nothing is.
    hint: Option<SaltedHint>,
}

/// How a daemon is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DaemonOptions {
    /// Loopback addresses take part.
    pub(crate) loopback: bool,
    /// The kernel reports changes of interfaces, so the daemon need not look for them.
    pub(crate) kernel_reports: bool,
    ipv4: bool,
    ipv6: bool,
}

impl DaemonOptions {
    pub(crate) fn new(bound: &[SocketAddr], loopback: bool, kernel_reports: bool) -> Self {
        let [ipv4, ipv6] = [SocketAddr::is_ipv4, SocketAddr::is_ipv6].map(|is| bound.iter().any(is));
        DaemonOptions { loopback, kernel_reports, ipv4, ipv6 }
    }

    /// A daemon that browses.
    fn start(self) -> Result<(ServiceDaemon, mdns_sd::Receiver<ServiceEvent>), mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        daemon.set_ip_check_interval(self.ip_check_s(false))?;
        if !self.loopback {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        }
        if !self.ipv6 {
            daemon.disable_interface(IfKind::IPv6)?;
        }
        if !self.ipv4 {
            daemon.disable_interface(IfKind::IPv4)?;
        }
        let services = daemon.browse(SERVICE)?;
        Ok((daemon, services))
    }

    /// How often the daemon lists the interfaces, in seconds; 0 is never.
    fn ip_check_s(self, now_changing: bool) -> u32 {
        match self.kernel_reports {
            true => u32::from(now_changing),
            // Without news from the kernel it has to look by itself, as often as it can.
            false => 1,
        }
    }
}

impl Mdns {
    /// Starts to browse; announce follows with the first hint.
    pub(crate) fn start(
        random: [u8; 8],
        bound: &[SocketAddr],
        options: DaemonOptions,
    ) -> Result<(Self, mdns_sd::Receiver<ServiceEvent>), mdns_sd::Error> {
        let (daemon, services) = options.start()?;
        let any = bound.iter().any(|address| address.ip().is_unspecified());
        let fixed = if any { Vec::new() } else { bound.iter().map(SocketAddr::ip).collect() };
        let port = bound.first().map_or(0, SocketAddr::port);
        let instance = instance_name(random);
        Ok((Self { daemon, options, instance, port, fixed, hint: None }, services))
    }

    /// Ends the present daemon. One that does not take the request in time ends behind its successor.
    pub(crate) fn end_for_another(&self) -> tokio::task::JoinHandle<()> {
        let (silenced, daemon) = (Filtered::silenced(), self.daemon.clone());
        tokio::spawn(async move {
            if end(daemon).await {
                silenced.lift();
            }
        })
    }

    /// A fresh daemon takes the place of the one that was ended. Where none starts, this can be tried again.
    ///
    /// It announces another name. A neighbour that has heard nothing but the goodbye of the last one keeps its records for a second
    /// (RFC 6762, section 10.1); the same records, announced within it, are nothing new to a daemon of `mdns-sd`, which would not
    /// report the service until they expire.
    pub(crate) fn renew(
        &mut self,
        random: [u8; 8],
    ) -> Result<mdns_sd::Receiver<ServiceEvent>, mdns_sd::Error> {
        let (daemon, services) = self.options.start()?;
        self.daemon = daemon;
        self.instance = instance_name(random);
        if let Some(hint) = self.hint {
            self.announce(hint)?;
        }
        Ok(services)
    }

    /// Browses again after a subscription was lost; the daemon reports what it knows once more.
    pub(crate) fn browse(&self) -> Result<mdns_sd::Receiver<ServiceEvent>, mdns_sd::Error> {
        self.daemon.browse(SERVICE)
    }

    /// Asks the daemon what it holds; none if it takes no questions.
    pub(crate) fn metrics(&self) -> Option<mdns_sd::Receiver<mdns_sd::Metrics>> {
        self.daemon.get_metrics().ok()
    }

    /// Lets the daemon look at the interfaces each second while they change, or no longer.
    pub(crate) fn list_interfaces(&self, now_changing: bool) {
        if let Err(error) = self.daemon.set_ip_check_interval(self.options.ip_check_s(now_changing)) {
            tracing::debug!(%error, "mDNS does not look at the interfaces");
        }
    }

    /// Announces this node with a hint, or changes the hint.
    pub(crate) fn announce(&mut self, hint: SaltedHint) -> Result<(), mdns_sd::Error> {
        self.hint = Some(hint);
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
        if let Ok(done) = self.daemon.unregister(&format!("{}.{SERVICE}", self.instance)) {
            let _ = tokio::time::timeout(GOODBYE, done.recv_async()).await;
        }
        let _ = tokio::time::timeout(GOODBYE, end(self.daemon)).await;
    }
}

/// A name without a meaning.
fn instance_name(random: [u8; 8]) -> String {
    data_encoding::HEXLOWER.encode(&random)
}

/// How long a goodbye is waited for.
const GOODBYE: Duration = Duration::from_millis(300);
/// How long an end is waited for: what a daemon has received before is read first.
const END: Duration = Duration::from_secs(3);
/// How often a daemon is asked to end that has no room for the request.
const ENDS_MAX: usize = 10;

/// Ends a daemon and its thread. One under a flood may have no room for the request at first. Returns whether it ended in time.
async fn end(daemon: ServiceDaemon) -> bool {
    for _ in 0..ENDS_MAX {
        match daemon.shutdown() {
            Ok(done) => return tokio::time::timeout(END, done.recv_async()).await.is_ok(),
            Err(mdns_sd::Error::Again) => tokio::time::sleep(GOODBYE).await,
            // It has ended already.
            Err(_) => return true,
        }
    }
    false
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

    /// A neighbour repeats the hint of an inviter under names of its own, each with as many addresses as are taken. The inviter is
    /// tried within few rounds all the same, whether it was shown first or last.
    #[test]
    fn forged_hints_do_not_hide_where_an_inviter_is() {
        const TRIED_AT_ONCE: usize = 24;
        let inviter: SocketAddr = ([192, 0, 2, 1], 8662).into();
        let hint = SaltedHint::new(&PEER, SALT);
        for shown_at in [0, 50, 99] {
            let mut sightings = Sightings::default();
            for forged in 0..100_u16 {
                if forged == shown_at {
                    sightings.resolved("inviter", Service { hint, addresses: vec![inviter] });
                }
                let addresses = (0..ADDRESSES_PER_SERVICE_MAX as u16)
                    .map(|port| ([198, 51, 100, 1], forged * 20 + port + 1).into());
                sightings.resolved(&format!("f{forged}"), Service { hint, addresses: addresses.collect() });
            }
            let round = |sightings: &mut Sightings| {
                let mut addresses = sightings.addresses_by_hint(&PEER);
                addresses.truncate(TRIED_AT_ONCE);
                sightings.tried_in_vain(&addresses);
                addresses.contains(&inviter)
            };
            assert!((0..5).any(|_| round(&mut sightings)), "shown at {shown_at}");
        }
    }

    /// What had to be forgotten is reported once by the daemon, so someone has to ask again.
    #[test]
    fn what_was_forgotten_for_lack_of_room_is_noticed() {
        let mut sightings = Sightings::default();
        let hint = SaltedHint::new(&PEER, SALT);
        for stranger in 0..STRANGERS_MAX {
            sightings.resolved(&format!("s{stranger}"), service(hint, 2));
        }
        assert!(!sightings.take_crowded());
        sightings.resolved("one more", service(hint, 2));
        assert!(sightings.take_crowded() && !sightings.take_crowded());
        sightings.clear();
        assert!(sightings.addresses_by_hint(&PEER).is_empty());
    }

    /// A neighbour begins to browse just before a daemon ends for another, so that the goodbye is all that it has heard of it.
    #[tokio::test]
    async fn a_daemon_that_takes_the_place_of_another_is_seen_by_those_who_heard_the_goodbye_alone() {
        let bound = [SocketAddr::from(([127, 0, 0, 1], 9))];
        let options = DaemonOptions::new(&bound, true, true);
        let hint = SaltedHint::new(&PEER, SALT);
        let (mut renewed, _found) = Mdns::start([1; 8], &bound, options).unwrap();
        renewed.announce(hint).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (_neighbour, found) = Mdns::start([2; 8], &bound, options).unwrap();
        end(renewed.daemon.clone()).await;
        renewed.renew([3; 8]).unwrap();
        let seen = async {
            while let Ok(event) = found.recv_async().await {
                if let ServiceEvent::ServiceResolved(resolved) = event
                    && super::service(&resolved, true).is_some_and(|service| service.hint == hint)
                    && resolved.get_fullname().starts_with("03")
                {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("the service is shown");
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
