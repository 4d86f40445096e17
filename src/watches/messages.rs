//! Messages to the operator: one an alarm and channel, handed over at most once.
//!
//! A message waits until it may go, is *taken* on disk before the effect, and then has ended in one way or another. Only one
//! of which it is known that it did not arrive waits again. After a crash between taken and ended nothing is known: it is not
//! sent again. Invariant: whatever the order of calls and crashes, a message begins once after each end that is known to have
//! failed, and never after another end.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::event::AlarmId;
use crate::time::{Millis, Mono, Wall};

/// Messages that wait. One more is not taken up until some have gone; its alarm stands, so it is not lost.
pub const MESSAGES_WAITING_MAX: usize = 64;
/// Messages that are remembered once they have ended. Beyond, those whose alarm no node shows go first.
pub const MESSAGES_KEPT_MAX: usize = 512;
/// Waits before a message that did not arrive is tried again: first and longest.
pub const MESSAGE_RETRY: (Millis, Millis) = (Millis::from_secs(5), Millis::from_secs(10 * 60));
/// How long a message is tried: after that it has failed.
pub const MESSAGE_TRIED: Millis = Millis::from_secs(24 * 60 * 60);
/// Bytes of the reason that is kept of a failure; a longer one is cut.
const WHY_BYTES_MAX: usize = 200;

/// The way to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyChannel {
    /// The operator's program gets the message.
    Command,
    /// The operator's HTTP address.
    Url,
}

impl NotifyChannel {
    /// A stable label for programs.
    pub fn label(self) -> &'static str {
        match self {
            NotifyChannel::Command => "command",
            NotifyChannel::Url => "url",
        }
    }
}

/// Names one message: an event and a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmMessageKey {
    /// The alarm that it is about.
    pub alarm: AlarmId,
    /// The way that it goes.
    pub channel: NotifyChannel,
}

/// How a try to hand over a message has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// The message has arrived.
    Sent,
    /// It is known that it has not arrived, and another try may help.
    NotYet {
        /// What has failed, in words.
        why: String,
    },
    /// The other end refuses it for good.
    Refused {
        /// The reason of the other end.
        why: String,
    },
    /// It may have arrived.
    Unknown {
        /// What is known of the try, in words.
        why: String,
    },
}

/// How far a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// It waits for its time.
    Waiting,
    /// It is being handed over.
    Taken,
    /// It has arrived, and this node does not send it again.
    Sent,
    /// It did not arrive.
    Failed,
    /// It may have arrived; it is not sent again.
    Unknown,
    /// It was not wanted any more when its time came.
    Dropped,
}

impl MessageState {
    /// A stable label for programs.
    pub fn label(&self) -> &'static str {
        match self {
            MessageState::Waiting => "waiting",
            MessageState::Taken => "taken",
            MessageState::Sent => "sent",
            MessageState::Failed => "failed",
            MessageState::Unknown => "unknown",
            MessageState::Dropped => "dropped",
        }
    }

    /// Whether nothing more follows.
    pub fn is_over(&self) -> bool {
        match self {
            MessageState::Waiting | MessageState::Taken => false,
            MessageState::Sent | MessageState::Failed | MessageState::Unknown | MessageState::Dropped => true,
        }
    }
}

/// A message, as it is on disk. Its words are made when it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    alarm: [u8; 8],
    channel: NotifyChannel,
    /// Seconds since the epoch at which it was taken up.
    since_s: u64,
    state: MessageState,
    /// Tries that have begun.
    tries: u32,
    /// What the last try met, where it did not arrive.
    why: String,
}

impl MessageRecord {
    /// The name of the message.
    pub fn key(&self) -> AlarmMessageKey {
        AlarmMessageKey { alarm: AlarmId(self.alarm), channel: self.channel }
    }

    /// How far it is.
    pub fn state(&self) -> &MessageState {
        &self.state
    }

    /// How often a try has begun.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// What the last try met; empty where that is nothing.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// The messages of one node.
#[derive(Debug, Default)]
pub struct MessageQueue {
    records: BTreeMap<AlarmMessageKey, MessageRecord>,
    /// When a message that waits is tried again; one that is not named here may go now.
    again_at: BTreeMap<AlarmMessageKey, Mono>,
    /// The messages that this process is handing over.
    running: BTreeSet<AlarmMessageKey>,
    /// Ends that arrived while the disk refused.
    early: BTreeMap<AlarmMessageKey, DeliveryEnd>,
    is_changed: bool,
}

impl MessageQueue {
    /// Takes what is on disk. What was taken by a process that is gone may have arrived.
    pub fn load(&mut self, records: Vec<MessageRecord>) {
        self.records = records.into_iter().map(|record| (record.key(), record)).collect();
        self.is_changed = false;
        // What the disk did not take as taken has not begun.
        let is_taken = |key: &AlarmMessageKey| {
            self.records.get(key).is_some_and(|record| record.state == MessageState::Taken)
        };
        self.running.retain(is_taken);
        for (key, record) in &mut self.records {
            if record.state == MessageState::Taken && !self.running.contains(key) {
                record.state = MessageState::Unknown;
                record.why = "the node ended while it was handed over".to_owned();
                self.is_changed = true;
            }
        }
    }

    /// The records to put on disk, if they have changed since they were last asked for.
    pub fn take_changed(&mut self) -> Option<Vec<MessageRecord>> {
        let is_changed = std::mem::take(&mut self.is_changed);
        is_changed.then(|| self.records.values().cloned().collect())
    }

    /// A message of this node.
    pub fn record(&self, key: &AlarmMessageKey) -> Option<&MessageRecord> {
        self.records.get(key)
    }

    /// All messages that are remembered.
    pub fn all(&self) -> impl Iterator<Item = &MessageRecord> {
        self.records.values()
    }

    /// The messages about one alarm, by any of its ids.
    pub fn about<'a>(&'a self, ids: &'a BTreeSet<AlarmId>) -> impl Iterator<Item = &'a MessageRecord> {
        self.records.values().filter(|record| ids.contains(&AlarmId(record.alarm)))
    }

    /// Takes a message up, if there is room. Returns whether it waits now.
    pub fn offer(&mut self, key: AlarmMessageKey, now: Wall) -> bool {
        let waiting = self.records.values().filter(|record| !record.state.is_over()).count();
        if waiting >= MESSAGES_WAITING_MAX || self.records.contains_key(&key) {
            return false;
        }
        let record = MessageRecord {
            alarm: key.alarm.0,
            channel: key.channel,
            since_s: now.ms() / 1000,
            state: MessageState::Waiting,
            tries: 0,
            why: String::new(),
        };
        self.records.insert(key, record);
        self.is_changed = true;
        true
    }

    /// The messages that wait and may go now.
    pub fn due(&self, now: Mono) -> Vec<AlarmMessageKey> {
        let waiting = self.records.iter().filter(|(_, record)| record.state == MessageState::Waiting);
        let due = waiting.filter(|(key, _)| self.again_at.get(key).is_none_or(|at| *at <= now));
        due.map(|(key, _)| *key).collect()
    }

    /// When the next message that waits for another try may go.
    pub fn next_timer(&self) -> Option<Mono> {
        let waits = |key: &AlarmMessageKey| {
            self.records.get(key).is_some_and(|record| record.state == MessageState::Waiting)
        };
        self.again_at.iter().filter(|(key, _)| waits(key)).map(|(_, at)| *at).min()
    }

    /// Whether a message is being handed over on a channel: they go one after the other.
    pub fn is_busy(&self, channel: NotifyChannel) -> bool {
        self.running.iter().any(|key| key.channel == channel)
    }

    /// A message is handed over now. The caller makes that durable before the effect.
    pub fn take(&mut self, key: &AlarmMessageKey) -> bool {
        let Some(record) = self.records.get_mut(key) else { return false };
        if record.state != MessageState::Waiting {
            return false;
        }
        record.state = MessageState::Taken;
        record.tries = record.tries.saturating_add(1);
        self.running.insert(*key);
        self.again_at.remove(key);
        self.is_changed = true;
        true
    }

    /// A message that waits is not wanted any more.
    pub fn drop_waiting(&mut self, key: &AlarmMessageKey, why: &str) {
        let waiting = self.records.get_mut(key).filter(|record| record.state == MessageState::Waiting);
        if let Some(record) = waiting {
            record.state = MessageState::Dropped;
            record.why = why.to_owned();
            self.again_at.remove(key);
            self.is_changed = true;
        }
    }

    /// A try has ended. One that began before the disk refused its record is forgotten with the record.
    pub fn ended(&mut self, key: &AlarmMessageKey, end: DeliveryEnd, now: Mono, reference: Wall) {
        self.running.remove(key);
        let taken = self.records.get_mut(key).filter(|record| record.state == MessageState::Taken);
        let Some(record) = taken else { return };
        let (state, why) = match end {
            DeliveryEnd::Sent => (MessageState::Sent, String::new()),
            DeliveryEnd::Refused { why } => (MessageState::Failed, why),
            DeliveryEnd::Unknown { why } => (MessageState::Unknown, why),
            DeliveryEnd::NotYet { why }
                if reference.ms() / 1000 >= record.since_s + MESSAGE_TRIED.ms() / 1000 =>
            {
                (MessageState::Failed, why)
            }
            DeliveryEnd::NotYet { why } => {
                let (first, longest) = MESSAGE_RETRY;
                let wait = (first * 2u64.saturating_pow(record.tries.saturating_sub(1).min(20))).min(longest);
                self.again_at.insert(*key, now + wait);
                (MessageState::Waiting, why)
            }
        };
        record.state = state;
        record.why = super::event::cut(&why, WHY_BYTES_MAX).to_owned();
        self.is_changed = true;
    }

    /// Remembers an end that arrived while the disk refused.
    pub fn note_early(&mut self, key: AlarmMessageKey, end: DeliveryEnd) {
        self.early.insert(key, end);
    }

    /// The ends that arrived while the disk refused.
    pub fn take_early(&mut self) -> BTreeMap<AlarmMessageKey, DeliveryEnd> {
        std::mem::take(&mut self.early)
    }

    /// Whether such an end waits.
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Forgets what ended, as far as there is too much of it.
    pub fn forget(&mut self, is_shown: impl Fn(&AlarmId) -> bool) {
        let surplus = self.records.len().saturating_sub(MESSAGES_KEPT_MAX);
        if surplus == 0 {
            return;
        }
        let over = self.records.iter().filter(|(_, record)| record.state.is_over());
        let mut over: Vec<(bool, u64, AlarmMessageKey)> =
            over.map(|(key, record)| (is_shown(&key.alarm), record.since_s, *key)).collect();
        over.sort();
        for (_, _, key) in over.into_iter().take(surplus) {
            self.records.remove(&key);
            self.is_changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Wall = Wall::from_ms(1_793_491_200_000);

    fn key(n: u64) -> AlarmMessageKey {
        AlarmMessageKey { alarm: AlarmId(n.to_be_bytes()), channel: NotifyChannel::Url }
    }

    fn not_yet() -> DeliveryEnd {
        DeliveryEnd::NotYet { why: "refused".to_owned() }
    }

    /// What a process that was killed leaves on disk.
    fn killed(queue: &mut MessageQueue) -> MessageQueue {
        let records = queue.records.values().cloned().collect();
        let mut next = MessageQueue::default();
        next.load(records);
        next
    }

    #[test]
    fn a_message_that_did_not_arrive_is_tried_again_ever_more_rarely() {
        let (mut queue, mut now) = (MessageQueue::default(), Mono::from_ms(0));
        assert!(queue.offer(key(1), NOW) && !queue.offer(key(1), NOW));
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(queue.due(now), [key(1)]);
            assert!(queue.take(&key(1)) && !queue.take(&key(1)));
            assert!(queue.is_busy(NotifyChannel::Url) && queue.due(now).is_empty());
            queue.ended(&key(1), not_yet(), now, NOW);
            let next = queue.next_timer().unwrap();
            waits.push(next.since(now).ms() / 1000);
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(queue.take(&key(1)));
        queue.ended(&key(1), not_yet(), now, NOW + MESSAGE_TRIED);
        assert_eq!(queue.record(&key(1)).unwrap().state(), &MessageState::Failed);
    }

    #[test]
    fn a_crash_before_taken_loses_nothing_and_one_after_it_repeats_nothing() {
        let mut queue = MessageQueue::default();
        queue.offer(key(1), NOW);
        queue.offer(key(2), NOW);
        queue.take(&key(2));
        let mut next = killed(&mut queue);
        assert_eq!(next.due(Mono::ZERO), [key(1)]);
        assert_eq!(next.record(&key(2)).unwrap().state(), &MessageState::Unknown);
        assert!(!next.offer(key(2), NOW) && !next.take(&key(2)));
        assert!(next.take_changed().is_some() && next.take_changed().is_none());
    }

    /// The disk refused, and the same process read its records again: what it is handing over goes on.
    #[test]
    fn a_message_that_runs_on_is_not_unknown() {
        let mut queue = MessageQueue::default();
        queue.offer(key(1), NOW);
        queue.take(&key(1));
        let records = queue.take_changed().unwrap();
        queue.load(records);
        queue.ended(&key(1), DeliveryEnd::Sent, Mono::ZERO, NOW);
        assert_eq!(queue.record(&key(1)).unwrap().state(), &MessageState::Sent);
    }

    /// The disk refused the record that it was taken, so its effect was undone: it waits, and its channel is free.
    #[test]
    fn a_message_whose_record_was_refused_goes_later() {
        let mut queue = MessageQueue::default();
        queue.offer(key(1), NOW);
        let on_disk = queue.take_changed().unwrap();
        queue.take(&key(1));
        queue.load(on_disk);
        assert!(!queue.is_busy(NotifyChannel::Url));
        assert_eq!(queue.due(Mono::ZERO), [key(1)]);
    }

    #[test]
    fn a_full_queue_takes_nothing_up_until_some_have_gone() {
        let mut queue = MessageQueue::default();
        let taken = (0..100).filter(|n| queue.offer(key(*n), NOW)).count();
        assert_eq!(taken, MESSAGES_WAITING_MAX);
        queue.drop_waiting(&key(0), "acknowledged");
        assert!(queue.offer(key(99), NOW));
        for n in 1_000..2_000 {
            queue.drop_waiting(&key(99), "");
            queue.offer(key(n), NOW);
            queue.drop_waiting(&key(n), "");
        }
        queue.forget(|alarm| *alarm == key(1_000).alarm);
        assert_eq!(queue.records.len(), MESSAGES_KEPT_MAX);
        assert!(queue.record(&key(1_000)).is_some() && queue.record(&key(1_001)).is_none());
    }

    proptest! {
        /// Offers, takes, ends and crashes in any order: a message begins again only after an end that is known to have failed.
        #[test]
        fn a_message_begins_once_for_each_known_failure(
            steps in proptest::collection::vec((0..6_u8, 0..3_u64), 0..120),
        ) {
            let (mut queue, mut now) = (MessageQueue::default(), Mono::ZERO);
            let (mut begun, mut failed) = (BTreeMap::<u64, u32>::new(), BTreeMap::<u64, u32>::new());
            for (step, n) in steps {
                now += Millis::from_secs(700);
                let was_taken = queue.record(&key(n)).is_some_and(|r| r.state == MessageState::Taken);
                match step {
                    0 => drop(queue.offer(key(n), NOW)),
                    1 => if queue.due(now).contains(&key(n)) && queue.take(&key(n)) { *begun.entry(n).or_default() += 1 },
                    2 => queue.ended(&key(n), DeliveryEnd::Sent, now, NOW),
                    3 => {
                        queue.ended(&key(n), not_yet(), now, NOW);
                        *failed.entry(n).or_default() += u32::from(was_taken);
                    }
                    4 => queue = killed(&mut queue),
                    _ => queue.drop_waiting(&key(n), "over"),
                }
            }
            for (n, begun) in begun {
                prop_assert!(begun <= 1 + failed.get(&n).copied().unwrap_or(0));
            }
        }
    }
}
