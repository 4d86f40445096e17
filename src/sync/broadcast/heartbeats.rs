//! When this node sends heartbeats: at their usual interval, early after news, and soon when a peer comes that does not
//! know yet that its frames are received.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::sync::broadcast::timing::Timing;

/// After news, heartbeats come early, so that a listener that missed the news learns of them: this many frame times
/// after, then four times as long, until the usual interval is reached.
pub(super) const TRAILING_FRAMES: u64 = 16;
/// News closer together than this are one piece of work, and set no interval of their own, milliseconds.
const NEWS_INTERVAL_MIN_MS: u64 = 30_000;
/// News closer together than this many frame times are the same news, still on their way out.
const SAME_NEWS_FRAMES: u64 = 4;
/// No heartbeat comes early for an author's sake sooner than so many frame times after the last.
const ACKNOWLEDGE_FRAMES: u64 = 64;

#[derive(Debug)]
pub(super) struct Heartbeats {
    usual_at: u64,
    /// One that comes before its time, since there was news.
    early_at: Option<u64>,
    /// When there was news of this node last.
    news_at: Option<u64>,
    /// The interval at which they come, if they do.
    news_interval: Option<u64>,
    /// The pause before the next early one; 0: none is due.
    trailing_ms: u64,
    /// When one was sent last.
    last_at: Option<u64>,
    /// The peers that have come, or come back.
    greetings: BTreeMap<PeerId, Greeting>,
}

/// A peer is present again. It is greeted with a heartbeat, unless other frames show it that its own are received, and
/// its report shows that it lacks nothing of this node's.
#[derive(Clone, Copy, Debug)]
struct Greeting {
    at: u64,
    /// It joins: whatever else it receives, it needs to know what this node holds.
    joins: bool,
    is_met: bool,
    has_reported: bool,
}

impl Heartbeats {
    pub(super) fn new(first_at: u64) -> Self {
        Heartbeats {
            usual_at: first_at,
            early_at: None,
            news_at: None,
            news_interval: None,
            trailing_ms: 0,
            last_at: None,
            greetings: BTreeMap::new(),
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> u64 {
        let greetings = self.greetings.values().map(|greeting| greeting.at);
        greetings.chain(self.early_at).fold(self.usual_at, u64::min)
    }

    /// Makes one due at `at` at the latest.
    pub(super) fn by(&mut self, at: u64) {
        self.usual_at = self.usual_at.min(at);
    }

    /// An author waits for an acknowledgement: one is due by `at`, if none was sent of late.
    pub(super) fn acknowledge(&mut self, now: u64, at: u64, timing: &Timing) {
        let pause_ms = timing.frame_ms * ACKNOWLEDGE_FRAMES;
        if self.last_at.is_none_or(|last| last + pause_ms <= now) {
            self.by(at);
        }
    }

    /// News were sent: a listener that missed them learns of it early. Where news come at an interval, the next are
    /// awaited first, since they bring what was missed as well. `jitter` is a random part of a frame time.
    pub(super) fn expect_early(&mut self, now: u64, timing: &Timing, jitter: u64) {
        self.trailing_ms = timing.frame_ms * TRAILING_FRAMES;
        let since = self.news_at.map(|before| now.saturating_sub(before));
        if since.is_none_or(|since| since > timing.frame_ms * SAME_NEWS_FRAMES) {
            let min = self.trailing_ms.max(NEWS_INTERVAL_MIN_MS);
            self.news_interval = since.filter(|gap| *gap > min && *gap < timing.heartbeat_ms / 2);
            self.news_at = Some(now);
        }
        let wait = self.news_interval.map_or(self.trailing_ms, |interval| interval + interval / 2);
        self.early_at = Some(now + wait + jitter);
    }

    /// One was sent. Early ones lie further and further apart until the usual interval is reached.
    pub(super) fn done(&mut self, now: u64, timing: &Timing, jitter: u64) {
        let usual = timing.heartbeat_ms;
        self.last_at = Some(now);
        self.greetings.clear();
        self.usual_at = now + usual + jitter;
        self.trailing_ms = self.trailing_ms.saturating_mul(4);
        self.early_at = (1..usual).contains(&self.trailing_ms).then(|| now + self.trailing_ms);
        if self.early_at.is_none() {
            self.trailing_ms = 0;
        }
    }

    /// A peer has come, or joins.
    pub(super) fn greet(&mut self, peer: PeerId, at: u64, joins: bool) {
        self.greetings.insert(peer, Greeting { at, joins, is_met: false, has_reported: false });
    }

    /// Something was sent that the peers for which `receives` holds can receive: they know now that a node is there.
    pub(super) fn note_met(&mut self, receives: impl Fn(&PeerId) -> bool) {
        for (_, greeting) in self.greetings.iter_mut().filter(|(peer, _)| receives(peer)) {
            greeting.is_met = true;
        }
        self.drop_needless();
    }

    /// A peer reported what it holds of this node's documents.
    pub(super) fn note_report(&mut self, peer: &PeerId) {
        if let Some(greeting) = self.greetings.get_mut(peer) {
            greeting.has_reported = true;
        }
        self.drop_needless();
    }

    fn drop_needless(&mut self) {
        self.greetings.retain(|_, greeting| greeting.joins || !greeting.is_met || !greeting.has_reported);
    }
}
