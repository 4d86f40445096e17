//! What mDNS shows, within bounds: the subscription, and the daemon behind it, which has no bound of its own.
//!
//! The daemon keeps every record that it receives until its time is over, which the sender chooses. So its cache is counted from time
//! to time, and a fresh daemon takes its place beyond [`CACHED_MAX`]: what is really there answers its first question within a second.
//! The same is done after services had to be forgotten for lack of room, since the daemon reports each service once only.

use super::filters::Filtered;
use super::mdns::{Mdns, SaltedHint};
use super::sentinel::{SAMPLE, Sentinel};
use mdns_sd::{Metrics, ServiceEvent};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Records of others that the daemon may hold: those of some 300 nodes.
pub(super) const CACHED_MAX: i64 = 2_000;
/// How often they are counted while there are few, and above [`BUSY_ABOVE`].
const COUNT_EVERY: Duration = Duration::from_secs(15);
const COUNT_OFTEN: Duration = Duration::from_secs(3);
/// Events after which they are counted soon, at the earliest [`COUNT_SOON`] after the last count: under a flood a daemon takes in up to
/// 20 MB of records a second.
const EVENTS_MAX: usize = 256;
const COUNT_SOON: Duration = Duration::from_secs(1);
/// What comes in by mDNS in so short a time is a flood from so many bytes on, until nothing like it has come for a while. 400 short
/// answers a second are none: they are let in, and counted.
const FLOOD_WINDOW: Duration = Duration::from_secs(1);
const FLOOD_BYTES: usize = 1 << 20;
const FLOOD_OVER: Duration = Duration::from_secs(5);
/// How often sockets that have been opened meanwhile get the filter, too.
const FILTER_EVERY: Duration = Duration::from_millis(200);
/// How often it is logged that a daemon was replaced.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// More records than a quiet network shows.
const BUSY_ABOVE: i64 = 500;
/// How long the daemon may take to count; one that does not is replaced.
const COUNT_MAX: Duration = Duration::from_millis(1_500);
/// How long after a lost subscription the next one is asked for.
const BROWSE_AGAIN: Duration = Duration::from_secs(1);
/// Events taken between two rounds of dialling; the rest comes after.
const DRAIN_MAX: usize = 256;
/// How long the daemon lists the interfaces itself once one has changed: addresses of IPv6 are probed before they are used.
const LISTING: Duration = Duration::from_secs(4);

type Found = mdns_sd::Receiver<ServiceEvent>;

/// What came of the waiting.
#[derive(Debug)]
pub(super) enum MdnsNews {
    /// A service, or that one is gone.
    Event(Box<ServiceEvent>),
    /// A fresh daemon begins: what is there is shown once more.
    Renewed,
}

/// The daemon, if there is one, and what it shows.
pub(super) struct Discovery {
    mdns: Option<Mdns>,
    found: Option<Found>,
    /// When to subscribe again, if there is no subscription.
    browse_at: Instant,
    count: Count,
    /// Events since the last count, and when that was.
    events: usize,
    counted_at: Instant,
    /// The daemon is ending, and a fresh one takes its place when it has: two of them never fill the memory at once.
    ending: Option<JoinHandle<()>>,
    sentinel: Sentinel,
    flood: Flood,
    /// When a replaced daemon was logged last.
    logged_at: Option<Instant>,
    crowd: Crowd,
    /// Until when the daemon lists the interfaces itself.
    listing_until: Option<Instant>,
}

/// The next count of records: when it is asked for, then the answer and until when it is waited for.
enum Count {
    At(Instant),
    Asked(mdns_sd::Receiver<Metrics>, Instant),
}

impl Discovery {
    pub(super) fn new(mdns: Option<(Mdns, Found)>) -> Self {
        let (mdns, found) = mdns.unzip();
        let now = Instant::now();
        Discovery {
            mdns,
            found,
            browse_at: now,
            count: Count::At(now + COUNT_EVERY),
            events: 0,
            counted_at: now,
            ending: None,
            sentinel: Sentinel::open(),
            flood: Flood::new(now),
            logged_at: None,
            crowd: Crowd::new(now),
            listing_until: None,
        }
    }

    /// Announces this node under a hint, or changes the hint.
    pub(super) fn announce(&mut self, hint: SaltedHint) {
        if let Some(mdns) = &mut self.mdns
            && let Err(error) = mdns.announce(hint)
        {
            tracing::warn!(%error, "cannot announce by mDNS");
        }
    }

    /// Whether a service is this node's own.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.mdns.as_ref().is_some_and(|mdns| mdns.is_own(name))
    }

    /// An interface came or went: the daemon has to look.
    pub(super) fn interfaces_changed(&mut self) {
        if let Some(mdns) = &self.mdns {
            self.sentinel = Sentinel::open();
            mdns.list_interfaces(true);
            self.listing_until = Some(Instant::now() + LISTING);
        }
    }

    /// A service was forgotten for lack of room: it is to be shown once more when there is room again.
    pub(super) fn crowded(&mut self) {
        self.crowd.is_crowded = true;
    }

    /// What waits at this moment, without waiting.
    pub(super) fn waiting(&mut self) -> Vec<ServiceEvent> {
        let events = self.found.iter().flat_map(|found| std::iter::from_fn(|| found.try_recv().ok()));
        let events: Vec<ServiceEvent> = events.take(DRAIN_MAX).collect();
        self.shown(events.len());
        events
    }

    /// The next news; a lost subscription is replaced, and a daemon that holds too much. May be dropped and called again at any time.
    pub(super) async fn next(&mut self) -> MdnsNews {
        if self.mdns.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::select! {
                event = received(self.found.as_ref()), if self.ending.is_none() => match event {
                    Some(event) => {
                        self.shown(1);
                        return MdnsNews::Event(Box::new(event));
                    }
                    None => {
                        self.shown(EVENTS_MAX);
                        tracing::warn!("mDNS shows more than was read in time: browsing again");
                        self.found = None;
                        self.browse_at = Instant::now() + BROWSE_AGAIN;
                    }
                },
                () = sleep_until(self.browse_at), if self.found.is_none() && self.ending.is_none() => self.browse(),
                cached = self.count.next(self.mdns.as_ref()), if self.ending.is_none() => {
                    let is_busy = self.crowd.is_crowded || cached.is_none_or(|cached| cached > BUSY_ABOVE);
                    let wait = if is_busy { COUNT_OFTEN } else { COUNT_EVERY };
                    let now = Instant::now();
                    self.count = Count::At(now + wait);
                    (self.events, self.counted_at) = (0, now);
                    if self.crowd.is_too_much(cached, now) {
                        self.end(cached, now);
                    }
                }
                () = ended(self.ending.as_mut()) => {
                    self.ending = None;
                    self.renew();
                    return MdnsNews::Renewed;
                }
                bytes = self.sentinel.next() => {
                    if self.flood.sampled(bytes * SAMPLE, Instant::now()) {
                        self.count.hasten(self.counted_at + COUNT_SOON);
                    }
                }
                () = at(self.flood.until) => self.flood.end(),
                () = at(self.listing_until) => {
                    self.listing_until = None;
                    if let Some(mdns) = &self.mdns {
                        mdns.list_interfaces(false);
                    }
                }
            }
        }
    }

    /// So many events were read: many of them in a row have the records counted soon.
    fn shown(&mut self, events: usize) {
        self.events += events;
        if self.events >= EVENTS_MAX {
            self.count.hasten(self.counted_at + COUNT_SOON);
        }
    }

    fn browse(&mut self) {
        let found = self.mdns.as_ref().map(Mdns::browse);
        let found =
            found.and_then(|found| found.inspect_err(|error| tracing::debug!(%error, "cannot browse")).ok());
        self.found = found;
        self.browse_at = Instant::now() + BROWSE_AGAIN;
    }

    /// Ends the daemon for a fresh one.
    fn end(&mut self, cached: Option<i64>, now: Instant) {
        if self.logged_at.is_none_or(|at| now >= at + LOG_EVERY) {
            self.logged_at = Some(now);
            tracing::info!(cached, "mDNS shows more than this node keeps: looking at the network afresh");
        }
        self.ending = self.mdns.as_ref().map(Mdns::end_for_another);
    }

    fn renew(&mut self) {
        let mut name = [0; 8];
        getrandom::fill(&mut name).expect("the system gave random bytes at the start");
        let found = self.mdns.as_mut().map(|mdns| mdns.renew(name));
        let found = found.and_then(|found| {
            found
                .inspect_err(
                    |error| tracing::warn!(%error, "no mDNS for now: peers are found by known addresses alone"),
                )
                .ok()
        });
        self.found = found;
        self.browse_at = Instant::now() + BROWSE_AGAIN;
    }

    /// Sends a goodbye, and ends the daemon.
    pub(super) async fn shutdown(self) {
        if let Some(mdns) = self.mdns {
            mdns.shutdown().await;
        }
    }
}

/// The next event of a subscription; none if it is lost.
async fn received(found: Option<&Found>) -> Option<ServiceEvent> {
    match found {
        Some(found) => found.recv_async().await.ok(),
        None => std::future::pending().await,
    }
}

/// Returns when a daemon that is ending has ended, or will not in time.
async fn ended(ending: Option<&mut JoinHandle<()>>) {
    match ending {
        Some(ending) => {
            // An error would be a panic of the task: the daemon is as good as gone.
            let _ = ending.await;
        }
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Count {
    /// Counts by then, unless the answer is waited for already.
    fn hasten(&mut self, by: Instant) {
        if let Count::At(time) = self {
            *time = (*time).min(by);
        }
    }

    /// How many records the daemon holds, when it is time; none if it does not answer.
    async fn next(&mut self, mdns: Option<&Mdns>) -> Option<i64> {
        loop {
            match self {
                Count::At(time) => {
                    sleep_until(*time).await;
                    let asked = mdns?.metrics()?;
                    *self = Count::Asked(asked, Instant::now() + COUNT_MAX);
                }
                Count::Asked(answer, until) => {
                    let metrics = tokio::time::timeout_at(*until, answer.recv_async()).await.ok()?.ok()?;
                    return Some(cached(&metrics));
                }
            }
        }
    }
}

/// A flood, as far as the sample shows it. While it lasts the daemon receives little, so that neither memory nor a processor is filled.
#[derive(Debug)]
struct Flood {
    since: Instant,
    /// Bytes that have come in since then, about.
    bytes: usize,
    filtered: Option<Filtered>,
    filtered_at: Instant,
    /// When it is over, if nothing more comes.
    until: Option<Instant>,
}

impl Flood {
    fn new(now: Instant) -> Self {
        Flood { since: now, bytes: 0, filtered: None, filtered_at: now, until: None }
    }

    /// So many bytes have come in. Returns whether there is a flood.
    fn sampled(&mut self, bytes: usize, now: Instant) -> bool {
        if now.duration_since(self.since) > FLOOD_WINDOW {
            (self.since, self.bytes) = (now, 0);
        }
        self.bytes += bytes;
        if self.bytes < FLOOD_BYTES {
            return false;
        }
        self.until = Some(now + FLOOD_OVER);
        // A fresh daemon opens sockets of its own.
        if self.filtered.is_none() || now >= self.filtered_at + FILTER_EVERY {
            // The copies of before are closed first: they would be found again.
            self.filtered = None;
            (self.filtered, self.filtered_at) = (Some(Filtered::thinned()), now);
        }
        true
    }

    /// The daemon receives all again.
    fn end(&mut self) {
        self.until = None;
        if let Some(filtered) = self.filtered.take() {
            filtered.lift();
        }
    }
}

/// The records of all kinds.
fn cached(metrics: &Metrics) -> i64 {
    metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| *count).sum()
}

/// When a fresh daemon takes the place of one that holds too much.
#[derive(Debug)]
struct Crowd {
    is_crowded: bool,
    /// Not before this time for a crowd alone: a network may have more nodes than are kept.
    not_before: Instant,
    wait: Duration,
}

impl Crowd {
    /// The first wait and the longest.
    const WAITS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

    fn new(now: Instant) -> Self {
        Crowd { is_crowded: false, not_before: now, wait: Self::WAITS[0] }
    }

    /// Judges one count. A daemon that does not answer is no better than one that holds too much.
    fn is_too_much(&mut self, cached: Option<i64>, now: Instant) -> bool {
        if !self.is_crowded && now >= self.not_before {
            self.wait = Self::WAITS[0];
        }
        let is_due = self.is_crowded && now >= self.not_before;
        if is_due {
            self.not_before = now + self.wait;
            self.wait = (self.wait * 2).min(Self::WAITS[1]);
        }
        let is_too_much = is_due || cached.is_none_or(|cached| cached > CACHED_MAX);
        self.is_crowded &= !is_too_much;
        is_too_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ordinary traffic is none, however long it lasts; a flood lasts until nothing like it has come for a while.
    #[tokio::test]
    async fn only_many_bytes_in_a_second_are_a_flood() {
        let begun = Instant::now();
        let mut flood = Flood::new(begun);
        let at = |ms| begun + Duration::from_millis(ms);
        assert!((0..100).all(|n| !flood.sampled(FLOOD_BYTES / 3, at(n * 500))));
        assert_eq!(flood.until, None);
        let floods: Vec<bool> =
            (0..4).map(|n| flood.sampled(FLOOD_BYTES / 3 + 1, at(60_000 + n * 10))).collect();
        assert_eq!(floods, [false, false, true, true]);
        assert_eq!(flood.until, Some(at(60_030) + FLOOD_OVER));
        flood.end();
        assert!(flood.until.is_none() && flood.filtered.is_none());
        assert!(!flood.sampled(FLOOD_BYTES / 3, at(70_000)));
    }

    /// The cache is bounded at each count, a crowd is looked at again ever more rarely while it lasts, and soon once it is over.
    #[test]
    fn a_daemon_is_replaced_when_it_holds_too_much_or_shows_too_much() {
        let begun = Instant::now();
        let mut crowd = Crowd::new(begun);
        let seconds = |s| begun + Duration::from_secs(s);
        assert!(!crowd.is_too_much(Some(CACHED_MAX), seconds(5)));
        assert!(crowd.is_too_much(Some(CACHED_MAX + 1), seconds(10)));
        assert!(crowd.is_too_much(None, seconds(15)));
        let mut renewed = Vec::new();
        for second in (20..320).step_by(5) {
            crowd.is_crowded = true;
            if crowd.is_too_much(Some(0), seconds(second)) {
                renewed.push(second);
            }
        }
        assert_eq!(renewed, [20, 25, 35, 55, 95, 155, 215, 275]);
        // The crowd is gone; the one that comes after a while is met at once.
        assert!(crowd.is_too_much(Some(0), seconds(335)), "what was forgotten last is shown once more");
        assert!(!crowd.is_too_much(Some(0), seconds(395)));
        crowd.is_crowded = true;
        assert!(crowd.is_too_much(Some(0), seconds(400)));
        assert_eq!(crowd.not_before, seconds(405));
    }
}
