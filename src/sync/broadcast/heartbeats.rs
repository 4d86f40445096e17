//! When our heartbeats come: at their usual pace, early after news, and soon when somebody comes who does not know
//! yet that anybody is there.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::sync::broadcast::Timing;

/// After news, heartbeats come early: a listener that missed them learns of it. This many frame times after,
/// then four times as long, until the usual pace is reached.
pub(super) const TRAILING_FRAMES: u64 = 16;
/// News closer together than this have no pace to wait for: somebody is at work, milliseconds.
const PACE_MIN_MS: u64 = 30_000;

/// No heartbeat comes early for an author's sake sooner than so many frame times after the last.
const ACKNOWLEDGE_FRAMES: u64 = 64;

#[derive(Debug)]
pub(super) struct Heartbeats {
    usual_at: u64,
    /// One that comes before its time, since there was news.
    early_at: Option<u64>,
    /// When there was news of ours last.
    news_at: Option<u64>,
    /// The pace at which they come, if they do.
    news_gap: Option<u64>,
    /// The pause before the next early one; 0: none is due.
    trailing_ms: u64,
    /// When one went out last.
    last_at: Option<u64>,
    /// Who has come, or come back.
    greetings: BTreeMap<PeerId, Greeting>,
}

/// Somebody is there again. It is greeted with a heartbeat, unless it learns otherwise that somebody hears it, and
/// we learn from it that it lacks nothing of ours.
#[derive(Clone, Copy, Debug)]
struct Greeting {
    at: u64,
    /// It joins: whatever else it hears, it wants to know what we hold.
    joins: bool,
    is_met: bool,
    has_said: bool,
}

impl Heartbeats {
    pub(super) fn new(first_at: u64) -> Self {
        Heartbeats {
            usual_at: first_at,
            early_at: None,
            news_at: None,
            news_gap: None,
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

    /// No later than this.
    pub(super) fn by(&mut self, at: u64) {
        self.usual_at = self.usual_at.min(at);
    }

    /// An author waits to hear what we hold: one comes by `at`, if none went out of late.
    pub(super) fn acknowledge(&mut self, now: u64, at: u64, timing: &Timing) {
        let pause_ms = timing.frame_ms * ACKNOWLEDGE_FRAMES;
        if self.last_at.is_none_or(|last| last + pause_ms <= now) {
            self.by(at);
        }
    }

    /// News went out: whoever missed them learns of it early. Where news come at a pace, the next are awaited
    /// first, since they bring what was missed as well. `jitter` is a random part of a frame time.
    pub(super) fn expect_early(&mut self, now: u64, timing: &Timing, jitter: u64) {
        self.trailing_ms = timing.frame_ms * TRAILING_FRAMES;
        let since = self.news_at.map(|before| now.saturating_sub(before));
        if since.is_none_or(|since| since > timing.frame_ms * 4) {
            // Not still the same news on its way out.
            self.news_gap = since
                .filter(|gap| *gap > self.trailing_ms.max(PACE_MIN_MS) && *gap < timing.heartbeat_ms / 2);
            self.news_at = Some(now);
        }
        let wait = self.news_gap.map_or(self.trailing_ms, |gap| gap + gap / 2);
        self.early_at = Some(now + wait + jitter);
    }

    /// One went out. Early ones lie further and further apart until the usual pace is reached.
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

    /// Somebody has come, or joins.
    pub(super) fn greet(&mut self, peer: PeerId, at: u64, joins: bool) {
        self.greetings.insert(peer, Greeting { at, joins, is_met: false, has_said: false });
    }

    /// Something was sent that those can hear for whom this holds: they know now that somebody is there.
    pub(super) fn met(&mut self, hears: impl Fn(&PeerId) -> bool) {
        for (_, greeting) in self.greetings.iter_mut().filter(|(peer, _)| hears(peer)) {
            greeting.is_met = true;
        }
        self.drop_needless();
    }

    /// Somebody said what it holds of our documents.
    pub(super) fn has_said(&mut self, peer: &PeerId) {
        if let Some(greeting) = self.greetings.get_mut(peer) {
            greeting.has_said = true;
        }
        self.drop_needless();
    }

    fn drop_needless(&mut self) {
        self.greetings.retain(|_, greeting| greeting.joins || !greeting.is_met || !greeting.has_said);
    }
}
