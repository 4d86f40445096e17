//! Where peers may be found, and when to dial them next.
//!
//! Pure: time and chance come in as arguments. Invites, operators and mDNS fill the book, the dialler asks it
//! which peers are due. An address is a hint; only a handshake shows who is there.

use crate::address::{Address, PeerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Addresses kept per peer and source; beyond, one that never worked gives way, oldest first.
pub const ADDRESSES_MAX: usize = 16;
/// Peers the book has a page for; beyond, addresses of further ones are not kept.
pub const PAGES_MAX: usize = 1024;
/// The waits between dials that come to nothing, before jitter: doubling from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait: a healed network is noticed that soon even without an event.
    pub longest: Duration,
}

impl Default for Backoff {
    /// For carriers on which a dial costs a few packets.
    fn default() -> Self {
        Self { first: Duration::from_millis(700), longest: Duration::from_secs(12) }
    }
}

/// News makes a dial due at once, but not sooner than this after the one before: mDNS shows a
/// peer's addresses in several events some 30 ms apart.
pub const HURRY_GAP: Duration = Duration::from_millis(300);
/// How long a peer that refuses this node is left alone; twice as long each time. At first it may be about to learn of it.
pub const DENIED_FIRST: Duration = Duration::from_secs(30);
/// At most so long.
pub const DENIED_LONGEST: Duration = Duration::from_secs(6 * 60 * 60);
/// A link that lived this long was good: the next loss starts with the shortest wait again.
pub const SETTLED: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Page {
    /// From an invite, an operator, an earlier session, or a link that worked; newest last.
    known: Vec<Address>,
    /// Shown by the peer now, by mDNS for example.
    seen: Vec<Address>,
    /// Where the last link went.
    worked: Option<Address>,
    failures: u32,
    /// How often the peer itself has refused since it last took this node.
    denials: u32,
    due: Option<Instant>,
    dialled: Option<Instant>,
}

/// What is known of where peers are.
#[derive(Debug, Default)]
pub struct Book {
    pages: BTreeMap<PeerId, Page>,
    backoff: Backoff,
}

impl Book {
    /// An empty book whose dials wait as `backoff` asks for.
    pub fn new(backoff: Backoff) -> Self {
        Self { pages: BTreeMap::new(), backoff }
    }

    /// Adds addresses from an invite, an operator or an earlier session, and makes the peer due.
    pub fn learn(&mut self, peer: PeerId, addresses: &[Address], now: Instant) {
        let Some(page) = self.page(peer) else { return };
        for address in addresses {
            page.keep(*address);
        }
        page.hurry(now);
    }

    /// Replaces the addresses that a peer shows; a new one makes it due. Returns whether there is a new one.
    pub fn see(&mut self, peer: PeerId, addresses: Vec<Address>, now: Instant) -> bool {
        let Some(page) = self.page(peer) else { return false };
        let fresh = addresses.iter().any(|address| !page.seen.contains(address));
        page.seen = addresses;
        page.seen.truncate(ADDRESSES_MAX);
        if fresh {
            page.hurry(now);
        }
        fresh
    }

    /// Makes every peer due: the network changed.
    pub fn hurry_all(&mut self, now: Instant) {
        self.pages.values_mut().for_each(|page| page.hurry(now));
    }

    /// Makes one peer due.
    pub fn hurry(&mut self, peer: &PeerId, now: Instant) {
        if let Some(page) = self.pages.get_mut(peer) {
            page.hurry(now);
        }
    }

    /// The addresses of a peer, the likeliest first, each once.
    pub fn addresses(&self, peer: &PeerId) -> Vec<Address> {
        let Some(page) = self.pages.get(peer) else { return Vec::new() };
        let mut all: Vec<Address> = Vec::new();
        for address in page.worked.iter().chain(&page.seen).chain(page.known.iter().rev()) {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        all
    }

    /// The addresses that a peer shows now.
    pub fn seen(&self, peer: &PeerId) -> &[Address] {
        self.pages.get(peer).map_or(&[], |page| &page.seen)
    }

    /// When a peer is to be dialled; `None` while no address is known.
    pub fn due(&self, peer: &PeerId, now: Instant) -> Option<Instant> {
        let page = self.pages.get(peer)?;
        let known = page.worked.is_some() || !page.seen.is_empty() || !page.known.is_empty();
        known.then(|| page.due.unwrap_or(now))
    }

    /// A dial begins: until it ends only news makes the peer due.
    pub fn dialling(&mut self, peer: &PeerId, now: Instant, longest: Duration) {
        if let Some(page) = self.pages.get_mut(peer) {
            page.dialled = Some(now);
            page.due = Some(now + longest);
        }
    }

    /// A dial came to nothing. `chance` is any number: the jitter.
    pub fn failed(&mut self, peer: &PeerId, now: Instant, chance: u32) {
        if let Some(page) = self.pages.get_mut(peer) {
            page.wait(now, self.backoff, chance);
        }
    }

    /// The peer does not take this node: that is asked again ever more rarely, and where there is news of the peer.
    pub fn denied(&mut self, peer: &PeerId, now: Instant) {
        if let Some(page) = self.pages.get_mut(peer) {
            page.due = Some(now + DENIED_FIRST.saturating_mul(1 << page.denials.min(16)).min(DENIED_LONGEST));
            page.denials = page.denials.saturating_add(1);
        }
    }

    /// A link ended after so long. One that had settled is dialled again soon; one that had not
    /// waits a little longer each time, but the peer is there, so not very long.
    pub fn lost(&mut self, peer: &PeerId, lived: Duration, now: Instant, chance: u32) {
        const FAILURES_MAX: u32 = 2;
        if let Some(page) = self.pages.get_mut(peer) {
            page.failures = if lived >= SETTLED { 0 } else { page.failures.min(FAILURES_MAX) };
            page.wait(now, self.backoff, chance);
        }
    }

    /// A link came up at this address.
    pub fn worked(&mut self, peer: PeerId, address: Address) {
        if let Some(page) = self.page(peer) {
            page.worked = Some(address);
            page.denials = 0;
            page.keep(address);
        }
    }

    fn page(&mut self, peer: PeerId) -> Option<&mut Page> {
        if self.pages.len() >= PAGES_MAX && !self.pages.contains_key(&peer) {
            return None;
        }
        Some(self.pages.entry(peer).or_default())
    }
}

impl Page {
    fn keep(&mut self, address: Address) {
        self.known.retain(|known| *known != address);
        self.known.push(address);
        if self.known.len() > ADDRESSES_MAX {
            let oldest = self.known.iter().position(|known| Some(*known) != self.worked).unwrap_or(0);
            self.known.remove(oldest);
        }
    }

    fn wait(&mut self, now: Instant, backoff: Backoff, chance: u32) {
        self.due = Some(now + backoff.wait(self.failures, chance));
        self.failures = self.failures.saturating_add(1);
    }

    fn hurry(&mut self, now: Instant) {
        self.failures = 0;
        self.due = Some(self.dialled.map_or(now, |dialled| now.max(dialled + HURRY_GAP)));
    }
}

impl Backoff {
    /// The wait after so many failures: doubling up to the longest, then between 70 and 130 % of it,
    /// so that nodes which lost each other at once do not dial in step.
    fn wait(self, failures: u32, chance: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.min(10)).min(self.longest);
        whole * (70 + chance % 61) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: PeerId = PeerId([1; 32]);

    fn address(port: u16) -> Address {
        Address::Socket(([127, 0, 0, 1], port).into())
    }

    // Any instant will do: the book only adds to it.
    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    proptest! {
        #[test]
        fn the_wait_is_bounded_and_never_nothing(failures: u32, chance: u32) {
            let wait = Backoff::default().wait(failures, chance);
            prop_assert!(wait >= Duration::from_millis(490) && wait <= Duration::from_millis(15_600));
        }

        #[test]
        fn a_page_never_outgrows_its_limit(ports in prop::collection::vec(1_u16.., 0..200)) {
            let (mut book, now) = (Book::default(), start());
            book.worked(PEER, address(9));
            for port in &ports {
                book.learn(PEER, &[address(*port)], now);
            }
            book.see(PEER, ports.iter().map(|port| address(*port)).collect(), now);
            prop_assert!(book.addresses(&PEER).len() <= 2 * ADDRESSES_MAX);
            prop_assert_eq!(book.addresses(&PEER)[0], address(9));
        }
    }

    #[test]
    fn news_cuts_the_wait_short_but_not_below_the_gap() {
        let (mut book, now) = (Book::default(), start());
        book.learn(PEER, &[address(1)], now);
        assert_eq!(book.due(&PEER, now), Some(now));
        book.dialling(&PEER, now, Duration::from_secs(4));
        book.failed(&PEER, now, 0);
        assert!(book.due(&PEER, now).unwrap() > now);
        assert!(book.see(PEER, vec![address(2)], now));
        assert_eq!(book.due(&PEER, now), Some(now + HURRY_GAP));
        let later = now + Duration::from_secs(3);
        assert!(!book.see(PEER, vec![address(2)], later));
        assert_eq!(book.due(&PEER, later), Some(now + HURRY_GAP));
    }

    #[test]
    fn a_link_that_keeps_breaking_is_dialled_again_within_seconds() {
        let (mut book, now) = (Book::default(), start());
        book.learn(PEER, &[address(1)], now);
        for _ in 0..20 {
            book.lost(&PEER, Duration::from_secs(1), now, u32::MAX);
            assert!(book.due(&PEER, now).unwrap() <= now + Duration::from_secs(4));
        }
        book.lost(&PEER, SETTLED, now, u32::MAX);
        assert!(book.due(&PEER, now).unwrap() <= now + Duration::from_secs(1));
    }

    #[test]
    fn a_peer_that_refuses_is_asked_ever_more_rarely_until_it_takes_this_node() {
        let (mut book, now) = (Book::default(), start());
        book.learn(PEER, &[address(1)], now);
        let waits = |book: &mut Book| {
            book.denied(&PEER, now);
            book.due(&PEER, now).unwrap() - now
        };
        assert_eq!([waits(&mut book), waits(&mut book)], [DENIED_FIRST, 2 * DENIED_FIRST]);
        let last = (0..100).map(|_| waits(&mut book)).last();
        assert_eq!(last, Some(DENIED_LONGEST));
        book.worked(PEER, address(1));
        assert_eq!(waits(&mut book), DENIED_FIRST);
    }

    #[test]
    fn nobody_is_due_without_an_address() {
        let (mut book, now) = (Book::default(), start());
        book.hurry(&PEER, now);
        assert_eq!(book.due(&PEER, now), None);
        book.see(PEER, Vec::new(), now);
        assert_eq!(book.due(&PEER, now), None);
    }
}
