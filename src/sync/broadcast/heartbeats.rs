//! When this node sends heartbeats: at their usual interval, early after news, and soon when a peer comes that does not
//! know yet that its frames are received.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::sync::broadcast::timing::Timing;
use crate::time::{Millis, Mono};

/// After news, heartbeats come early, so that a listener that missed the news learns of them: this many frame times
/// after, then four times as long, until the usual interval is reached.
pub(super) const TRAILING_FRAMES: u64 = 16;
/// The same after an alarm.
const ALARM_TRAILING_FRAMES: u64 = 4;
/// News closer together than this are one piece of work, and set no interval of their own.
const NEWS_INTERVAL_MIN: Millis = Millis::from_secs(30);
/// News closer together than this many frame times are the same news, still on their way out.
const SAME_NEWS_FRAMES: u64 = 4;
/// So long after a routine state the next one should have followed: its interval, and half of it.
const ROUTINE_MISSED: Millis = Millis::from_secs(180);
/// No heartbeat comes early for an author's sake sooner than so many frame times after the last.
const ACKNOWLEDGE_FRAMES: u64 = 64;

/// What was sent, by how soon a listener has to learn that it missed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A state that brings only what the next one brings as well: a heartbeat follows only where that does not come.
    Routine,
    /// What a person or an app changed. Where it comes at an interval, the next is awaited first, since it brings what was missed as well.
    Usual,
    /// An alarm.
    Alarm,
}

#[derive(Debug)]
pub(super) struct Heartbeats {
    usual_at: Mono,
    /// One that comes before its time, since there was news.
    early_at: Option<Mono>,
    /// When there was news of this node last.
    news_at: Option<Mono>,
    /// The interval at which they come, if they do.
    news_interval: Option<Millis>,
    /// The pause before the next early one; zero: none is due.
    trailing: Millis,
    /// Whether those that come early are the first after an alarm.
    is_for_alarm: bool,
    /// When one was sent last.
    last_at: Option<Mono>,
    /// The peers that have come, or come back.
    greetings: BTreeMap<PeerId, Greeting>,
}

/// A peer is present again. It is greeted with a heartbeat, unless other frames show it that its own are received, and
/// its report shows that it lacks nothing of this node's.
#[derive(Clone, Copy, Debug)]
struct Greeting {
    at: Mono,
    /// It joins: whatever else it receives, it needs to know what this node holds.
    joins: bool,
    is_met: bool,
    has_reported: bool,
}

impl Heartbeats {
    pub(super) fn new(first_at: Mono) -> Self {
        Heartbeats {
            usual_at: first_at,
            early_at: None,
            news_at: None,
            news_interval: None,
            trailing: Millis::ZERO,
            is_for_alarm: false,
            last_at: None,
            greetings: BTreeMap::new(),
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Mono {
        let greetings = self.greetings.values().map(|greeting| greeting.at);
        greetings.chain(self.early_at).fold(self.usual_at, Mono::min)
    }

    /// Makes one due at `at` at the latest.
    pub(super) fn by(&mut self, at: Mono) {
        self.usual_at = self.usual_at.min(at);
    }

    /// An author waits for an acknowledgement: one is due by `at`, if none was sent of late.
    pub(super) fn acknowledge(&mut self, now: Mono, at: Mono, timing: &Timing) {
        let pause = timing.frame * ACKNOWLEDGE_FRAMES;
        if self.last_at.is_none_or(|last| last + pause <= now) {
            self.by(at);
        }
    }

    /// News were sent: a listener that missed them learns of it early. `jitter` is a random part of a frame time.
    pub(super) fn expect_early(&mut self, now: Mono, timing: &Timing, jitter: Millis, news: News) {
        self.note_interval(now, timing);
        let trailing = timing.frame * TRAILING_FRAMES;
        let has_first_ahead = (Millis::from_ms(1)..=trailing).contains(&self.trailing);
        match news {
            // The heartbeat that is due for other news shows it as well.
            News::Routine if has_first_ahead => {}
            News::Usual if self.is_for_alarm => {}
            News::Routine => self.early_at = Some(now + ROUTINE_MISSED + jitter),
            News::Usual => {
                let wait = self.news_interval.map_or(trailing, |interval| interval + interval / 2);
                (self.trailing, self.early_at) = (trailing, Some(now + wait + jitter));
            }
            News::Alarm => {
                let wait = timing.frame * ALARM_TRAILING_FRAMES;
                (self.trailing, self.early_at) = (wait, Some(now + wait + jitter));
                self.is_for_alarm = true;
            }
        }
    }

    fn note_interval(&mut self, now: Mono, timing: &Timing) {
        let since = self.news_at.map(|before| now.since(before));
        if since.is_none_or(|since| since > timing.frame * SAME_NEWS_FRAMES) {
            let min = NEWS_INTERVAL_MIN.max(timing.frame * TRAILING_FRAMES);
            self.news_interval = since.filter(|gap| *gap > min && *gap < timing.heartbeat / 2);
            self.news_at = Some(now);
        }
    }

    /// One was sent. Early ones lie further and further apart until the usual interval is reached.
    pub(super) fn done(&mut self, now: Mono, timing: &Timing, jitter: Millis) {
        let usual = timing.heartbeat;
        self.last_at = Some(now);
        self.greetings.clear();
        self.usual_at = now + usual + jitter;
        self.trailing = self.trailing * 4;
        self.is_for_alarm &= self.trailing <= timing.frame * TRAILING_FRAMES;
        self.early_at = (Millis::from_ms(1)..usual).contains(&self.trailing).then(|| now + self.trailing);
        if self.early_at.is_none() {
            self.trailing = Millis::ZERO;
        }
    }

    /// No early one is sent that is due by now, and none after it for the same news, unless that is an alarm.
    pub(super) fn drop_early(&mut self, now: Mono) {
        if !self.is_for_alarm && self.early_at.is_some_and(|at| at <= now) {
            self.early_at = None;
            self.trailing = Millis::ZERO;
        }
    }

    /// A peer has come, or joins.
    pub(super) fn greet(&mut self, peer: PeerId, at: Mono, joins: bool) {
        self.greetings.insert(peer, Greeting { at, joins, is_met: false, has_reported: false });
    }

    /// A peer is reached otherwise.
    pub(super) fn withdraw_greeting(&mut self, peer: &PeerId) {
        self.greetings.retain(|of, greeting| of != peer || greeting.joins);
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

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { frame: Millis::from_ms(200), heartbeat: Millis::from_secs(1_200) };

    /// Of routine states every two minutes, with one heartbeat at its usual time: none comes early, until the states stop.
    #[test]
    fn a_heartbeat_follows_a_routine_state_only_where_the_next_one_does_not_come() {
        let mut heartbeats = Heartbeats::new(Mono::from_ms(600_000));
        for minute in (0..20).step_by(2) {
            let now = Mono::from_ms(minute * 60_000);
            heartbeats.expect_early(now, &TIMING, Millis::ZERO, News::Routine);
            assert!(heartbeats.next() >= (now + ROUTINE_MISSED).min(heartbeats.usual_at));
            if minute == 10 {
                heartbeats.done(now, &TIMING, Millis::ZERO);
                assert_eq!(heartbeats.next(), now + TIMING.heartbeat, "one shows what was sent");
            }
        }
        assert_eq!(heartbeats.next(), Mono::from_ms(18 * 60_000) + ROUTINE_MISSED);
    }

    #[test]
    fn a_routine_state_puts_off_no_heartbeat_after_news() {
        let mut heartbeats = Heartbeats::new(Mono::from_ms(600_000));
        let news_at = Mono::from_ms(10_000);
        heartbeats.expect_early(news_at, &TIMING, Millis::ZERO, News::Usual);
        heartbeats.expect_early(news_at + TIMING.frame, &TIMING, Millis::ZERO, News::Routine);
        assert_eq!(heartbeats.next(), news_at + TIMING.frame * TRAILING_FRAMES);
    }

    /// Nothing puts off the heartbeats by which a listener learns that it missed an alarm.
    #[test]
    fn heartbeats_follow_an_alarm_at_once_whatever_else_is_sent_and_however_little_airtime_is_left() {
        let mut heartbeats = Heartbeats::new(Mono::from_ms(600_000));
        let alarm_at = Mono::from_ms(10_000);
        heartbeats.expect_early(alarm_at, &TIMING, Millis::ZERO, News::Alarm);
        for news in [News::Usual, News::Routine] {
            heartbeats.expect_early(alarm_at + TIMING.frame, &TIMING, Millis::ZERO, news);
        }
        let first_at = alarm_at + TIMING.frame * ALARM_TRAILING_FRAMES;
        heartbeats.drop_early(first_at);
        assert_eq!(heartbeats.next(), first_at);
        heartbeats.done(first_at, &TIMING, Millis::ZERO);
        let second_at = first_at + TIMING.frame * TRAILING_FRAMES;
        assert_eq!(heartbeats.next(), second_at);
        heartbeats.done(second_at, &TIMING, Millis::ZERO);
        heartbeats.drop_early(heartbeats.next());
        assert_eq!(heartbeats.next(), second_at + TIMING.heartbeat, "two are enough where airtime is scarce");
    }
}
