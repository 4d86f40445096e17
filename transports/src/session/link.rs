//! One live link: what it can carry, whether its peer is alive, and how it ends.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::carrier::{Carrier, Close};
use super::outbox::LinkOutbox;
use crate::address::{Address, PeerId};
use crate::error::SendError;
use crate::link::{DownReason, LinkCaps, LinkId, LinkReport};
use crate::time::Millis;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a link asked for a sign of life is looked at.
const LIFE_LOOK: Duration = Duration::from_millis(20);

/// How often a link reports what it has measured, while there is news.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// One live link and the state that its tasks share.
#[derive(Debug)]
pub struct Link {
    pub(super) id: LinkId,
    pub(super) peer: PeerId,
    pub(super) since: Instant,
    pub(super) boot: [u8; 8],
    pub(super) outbox: LinkOutbox,
    pub(super) carrier: Arc<dyn Carrier>,
    message_bytes_max: usize,
    ending: watch::Sender<Option<DownReason>>,
    ended: watch::Sender<bool>,
    /// Bytes received on the stream.
    bytes: AtomicU64,
    /// One more than the signs of life at the moment when the link last fell silent.
    silent_at: AtomicU64,
    last: Mutex<LastSign>,
    reported: Mutex<LastReport>,
    doubted: AtomicBool,
    /// Answers to pings so far.
    pongs: watch::Sender<u64>,
}

/// The signs of life counted at the last look that found a new one.
#[derive(Debug)]
struct LastSign {
    signs: u64,
    at: Instant,
    pinged: bool,
}

/// What the last report had.
#[derive(Debug)]
struct LastReport {
    at: Instant,
    signs: u64,
    taken_bytes: u64,
    report: Option<LinkReport>,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        carrier: Arc<dyn Carrier>,
        boot: [u8; 8],
        message_bytes_max: usize,
        outbox: LinkOutbox,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            peer: carrier.peer(),
            since: now,
            boot,
            outbox,
            carrier,
            message_bytes_max,
            ending: watch::Sender::new(None),
            ended: watch::Sender::new(false),
            bytes: AtomicU64::new(0),
            silent_at: AtomicU64::new(0),
            last: Mutex::new(LastSign { signs: 0, at: now, pinged: false }),
            reported: Mutex::new(LastReport { at: now, signs: 0, taken_bytes: 0, report: None }),
            doubted: AtomicBool::new(false),
            pongs: watch::Sender::new(0),
        }
    }

    /// Where the other end is.
    pub(super) fn address(&self) -> Address {
        self.carrier.address()
    }

    /// What the link can carry, as measured now.
    pub fn caps(&self) -> LinkCaps {
        self.carrier.caps(self.message_bytes_max)
    }

    /// Queues one message for the task that writes.
    pub(super) fn send(&self, bytes: Vec<u8>) -> Result<(), SendError> {
        if self.is_ending() {
            return Err(SendError::Unknown);
        }
        if bytes.len() > self.message_bytes_max {
            return Err(SendError::TooLong { bytes: bytes.len(), bytes_max: self.message_bytes_max });
        }
        self.outbox.push(bytes)
    }

    /// Ends the link, whatever its task is waiting for: the connection is closed on return. The first
    /// reason counts.
    pub(super) fn end(&self, reason: DownReason) {
        self.ending.send_if_modified(|ending| ending.is_none() && ending.replace(reason).is_none());
        self.carrier.close(match reason {
            DownReason::Misbehaved(_) => Close::BadFrame,
            DownReason::Replaced => Close::Duplicate,
            DownReason::Closed
            | DownReason::PeerClosed
            | DownReason::Silent
            | DownReason::Restarted
            | DownReason::Shutdown
            | DownReason::Failed => Close::Done,
        });
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Why the link ends, once it does.
    pub(super) fn ending(&self) -> Option<DownReason> {
        *self.ending.borrow()
    }

    /// Returns when the link is to end.
    pub(super) async fn told_to_end(&self) -> DownReason {
        let mut ending = self.ending.subscribe();
        let reason = ending.wait_for(Option::is_some).await.map(|reason| *reason);
        reason.ok().flatten().expect("the link owns the sender, and waits until it holds a reason")
    }

    /// The link's `Down` is out.
    pub(super) fn has_ended(&self) {
        self.ended.send_replace(true);
    }

    /// Returns when the link's `Down` is out.
    pub(super) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Counts bytes received on the stream.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the link may be dead, so that its peer is worth dialling in parallel.
    pub(super) fn is_suspect(&self) -> bool {
        self.silent_at.load(Ordering::Relaxed) == self.signs() + 1
    }

    /// Notes that the peer has answered a ping.
    pub(super) fn ponged(&self) {
        self.pongs.send_modify(|count| *count += 1);
    }

    /// How long the peer's program takes to answer a ping; `None` where it does not within the time that the carrier gives.
    pub(super) async fn round_trip(&self) -> Option<Duration> {
        let mut pongs = self.pongs.subscribe();
        pongs.mark_unchanged();
        let asked = Instant::now();
        self.outbox.ping();
        let answered = tokio::time::timeout(self.carrier.liveness().answer_within, pongs.changed()).await;
        answered.is_ok_and(|changed| changed.is_ok()).then(|| asked.elapsed())
    }

    /// Asks for a sign of life. Anything that the carrier receives is one: with QUIC the peer answers
    /// even while its node is too busy to read.
    pub(super) async fn is_alive(&self) -> bool {
        let before = self.signs();
        self.outbox.ping();
        let (asked, within) = (Instant::now(), self.carrier.liveness().answer_within);
        while asked.elapsed() < within {
            tokio::time::sleep(LIFE_LOOK).await;
            // What was received may be the news that the connection is gone.
            if self.carrier.ended().is_some() {
                return false;
            }
            if self.signs() != before {
                return true;
            }
        }
        self.silent_at.store(before + 1, Ordering::Relaxed);
        false
    }

    /// The same for rumours, of which there may be many: `None` while one is being looked into.
    pub(super) async fn is_alive_after_all(&self) -> Option<bool> {
        if self.doubted.swap(true, Ordering::Relaxed) {
            return None;
        }
        let alive = self.is_alive().await;
        self.doubted.store(false, Ordering::Relaxed);
        Some(alive)
    }

    /// Checks for signs of life since the last check, and acts on their absence as the carrier's
    /// [`Liveness`](super::Liveness) asks. To be called about every second.
    pub(super) fn look(&self, now: Instant) {
        let (signs, rules) = (self.signs(), self.carrier.liveness());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.signs != signs {
            *last = LastSign { signs, at: now, pinged: false };
            return;
        }
        let silence = now.duration_since(last.at);
        if rules.ping_after.is_some_and(|after| silence >= after) && !last.pinged {
            last.pinged = true;
            self.outbox.ping();
        }
        if silence >= rules.suspect_after {
            self.silent_at.store(signs + 1, Ordering::Relaxed);
        }
        if rules.down_after.is_some_and(|after| silence >= after) {
            self.end(DownReason::Silent);
        }
    }

    /// What the link has measured, if it is time for a report and there is news in it.
    pub(super) fn report(&self, now: Instant) -> Option<LinkReport> {
        let mut last = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.duration_since(last.at);
        if since < REPORT_EVERY && last.report.is_some() {
            return None;
        }
        let (signs, measured) = (self.signs(), self.carrier.measured());
        let (backlog_bytes, taken_bytes) = self.outbox.progress();
        // What a queue that never ran empty gave away is what the link carries.
        let was_busy = backlog_bytes > 0 && last.report.is_some_and(|report| report.backlog_bytes > 0);
        let carried = (taken_bytes - last.taken_bytes).saturating_mul(8_000);
        let seen_bps =
            was_busy.then(|| carried / u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1));
        let window_bps = measured.map(|path| {
            let rtt_us = u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX).max(1);
            path.window_bytes.saturating_mul(8_000_000) / rtt_us
        });
        let report = LinkReport {
            rtt: measured.map(|path| {
                Millis::from_us_rounded_up(u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX))
            }),
            rate_bps: seen_bps.filter(|bps| *bps > 0).or(window_bps),
            backlog_bytes,
            packets_sent: measured.map_or(0, |path| path.packets_sent),
            packets_lost: measured.map_or(0, |path| path.packets_lost),
            alive: signs != last.signs,
        };
        let is_news = report.alive
            || last.report.is_none_or(|before| before != LinkReport { alive: before.alive, ..report });
        *last = LastReport { at: now, signs, taken_bytes, report: Some(report) };
        is_news.then_some(report)
    }

    fn signs(&self) -> u64 {
        self.carrier.received() + self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Pipe, STREAM_CAPS};

    /// A queue that does not run empty shows the rate; an idle link has nothing to report.
    #[test]
    fn a_busy_link_reports_its_rate_and_an_idle_one_nothing() {
        let place = Address::Memory(1);
        let (stream, _other) = tokio::io::duplex(1);
        let carrier = Pipe::connection(stream, PeerId([1; 32]), place, Some(place), STREAM_CAPS).carrier;
        let link = Link::new(LinkId(1), carrier, [0; 8], 1 << 20, LinkOutbox::new(1 << 20));
        let after = |seconds| link.since + Duration::from_secs(seconds);
        let first = link.report(after(1)).expect("the first one is news");
        assert_eq!((first.backlog_bytes, first.rate_bps, first.alive), (0, None, false));
        assert_eq!(link.report(after(10)), None, "nothing has changed");
        (0..20).for_each(|_| link.send(vec![0; 10_000]).unwrap());
        let queued = link.report(after(20)).unwrap();
        assert_eq!((queued.backlog_bytes, queued.rate_bps), (20 * 10_032, None));
        link.outbox.take(&mut Vec::new());
        link.received(1);
        assert_eq!(link.report(after(21)), None, "a report a second is too many");
        let busy = link.report(after(30)).unwrap();
        assert_eq!((busy.backlog_bytes, busy.rate_bps, busy.alive), (13 * 10_032, Some(56_000), true));
    }

    /// On a stream that does not keep itself alive: a ping, then doubt, then the end, unless a byte comes.
    #[test]
    fn silence_brings_a_ping_then_doubt_then_the_end() {
        let place = Address::Memory(1);
        let (stream, _other) = tokio::io::duplex(1);
        let carrier = Pipe::connection(stream, PeerId([1; 32]), place, Some(place), STREAM_CAPS).carrier;
        let link = Link::new(LinkId(1), carrier, [0; 8], 100, LinkOutbox::new(100));
        let after = |seconds| link.since + Duration::from_secs(seconds);
        link.received(1);
        link.look(after(10));
        link.look(after(39));
        assert!(!link.is_suspect());
        link.look(after(41));
        assert!(link.is_suspect() && !link.is_ending());
        link.received(1);
        assert!(!link.is_suspect(), "a byte ends the doubt");
        link.look(after(42));
        link.look(after(91));
        assert_eq!(link.ending(), None);
        link.look(after(92));
        assert_eq!(link.ending(), Some(DownReason::Silent));
    }
}
