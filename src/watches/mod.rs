//! Watches: what an operator wants to be informed of, the alarms that come of it, and the messages that carry them.
//!
//! Pure: readings, documents of peers and time come in, and what follows comes out as values. The desk reads the parts of the
//! node, signs the document `alarms` and hands messages to the runtime (`desk/alarms.rs`); words for people are made in
//! `report`.
//!
//! | file | what |
//! |---|---|
//! | `event` | kinds of alarm, subjects, ids, reports |
//! | `rule` | what an operator watches for |
//! | `condition` | from readings to alarms, with delays on both sides |
//! | `document` | what one node shows to the others: the document `alarms` (`FORMAT.md`) |
//! | `board` | the documents of all nodes laid over each other |
//! | `messages` | messages to the operator: durable, at most once |
//! | `quiet` | quiet hours |
//!
//! Invariants:
//! - one episode of one subject is raised at most once, and has the same id on every node that sees it;
//! - a message is *taken* on disk before its effect, and begins again only after an end that is known to have failed.

mod board;
mod condition;
mod document;
mod event;
mod messages;
mod quiet;
mod rule;

pub use board::{AlarmBoard, FederatedAlarm};
pub use condition::{Conditions, EpisodeHints, ReadingTime, Transition, WatchReading};
pub use document::{AlarmsDocument, MARKS_MAX, MessageProgress, OperatorGroup, REPORT_KEPT, REPORTS_MAX};
pub use event::{APP_BYTES_MAX, AlarmId, AlarmReport, AlarmSubject, NAME_BYTES_MAX, NodePrefix, WatchKind};
pub use messages::{
    AlarmMessageKey, DeliveryEnd, MESSAGE_RETRY, MESSAGE_TRIED, MESSAGES_KEPT_MAX, MESSAGES_WAITING_MAX,
    MessageQueue, MessageRecord, MessageState, NotifyChannel,
};
pub use quiet::{QuietHours, QuietHoursError};
pub use rule::{BadWatch, RULE_APPS_MAX, RULES_MAX, WatchRule};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tombolo_transports::PeerId;

use crate::time::{Millis, Mono, Wall};

/// How often watches are looked at when nothing happens: figures of the own machine change without an input.
pub const LOOK_EVERY: Millis = Millis::from_secs(5);
/// How long each node of one operator waits for the one before it.
pub const TURN_WAIT: Millis = Millis::from_secs(3);
/// The longest such wait.
pub const TURN_WAIT_MAX: Millis = Millis::from_secs(9);
/// How long a message that another node of the operator has taken is left to that node.
pub const CLAIM_PATIENCE: Millis = Millis::from_secs(60);
/// An alarm that was raised longer ago makes no message any more.
pub const MESSAGE_FRESH: Millis = Millis::from_secs(24 * 60 * 60);
/// Alarms whose first sight is remembered. Beyond, those that no document shows are forgotten.
const SEEN_MAX: usize = 1_024;

/// What the operator has set for watches and messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmSettings {
    /// The watches of `tombolo.toml`.
    pub rules: Vec<WatchRule>,
    /// The ways to the operator.
    pub channels: Vec<NotifyChannel>,
    /// When only urgent messages go out.
    pub quiet: Option<QuietHours>,
    /// The kinds that do not wait for the end of the quiet hours.
    pub urgent: BTreeSet<WatchKind>,
    /// The operator that is notified, where several nodes notify the same one.
    pub group: Option<OperatorGroup>,
}

/// A watch, with the number by which it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWatch {
    /// Its number, given once.
    pub number: u32,
    /// The rule of the watch.
    pub rule: WatchRule,
}

/// What is kept of the watches that were added by command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRecords {
    /// The number that the next watch gets.
    pub next_number: u32,
    /// The watches that commands have added.
    pub watches: Vec<StoredWatch>,
}

/// The watches of a node, its alarms and their messages.
#[derive(Debug, Default)]
pub struct Watches {
    settings: AlarmSettings,
    added: WatchRecords,
    conditions: Conditions,
    /// The content of the own document `alarms`.
    own: AlarmsDocument,
    queue: MessageQueue,
    /// When this run first saw each alarm.
    seen: BTreeMap<AlarmId, Mono>,
    /// Minutes from UTC to local time. The runtime sets it where it hands messages over: before, none is taken, so that a process
    /// that only carries out one command leaves them alone.
    utc_offset_minutes: Option<i32>,
    look_at: Option<Mono>,
    has_news: bool,
    /// When this process has loaded what is on disk.
    started: Option<Mono>,
}

impl Watches {
    /// Watches with what the operator has set, and nothing from disk yet.
    pub fn new(settings: AlarmSettings) -> Self {
        Watches { settings, ..Watches::default() }
    }

    /// Takes what is on disk: watches, messages, the own document.
    pub fn load(
        &mut self,
        added: WatchRecords,
        messages: Vec<MessageRecord>,
        own: AlarmsDocument,
        now: Mono,
    ) {
        self.added = added;
        self.queue.load(messages);
        self.conditions = Conditions::load(&own.reports);
        self.own = own;
        self.started.get_or_insert(now);
        self.has_news = true;
    }

    /// When this process began to watch.
    pub fn started(&self) -> Mono {
        self.started.unwrap_or_default()
    }

    // ---- rules -------------------------------------------------------------------------------------------

    /// The watches of the settings.
    pub fn configured(&self) -> &[WatchRule] {
        &self.settings.rules
    }

    /// The watches that a command has added.
    pub fn added(&self) -> &[StoredWatch] {
        &self.added.watches
    }

    /// The rules of all watches, those of the settings first.
    pub fn rules(&self) -> impl Iterator<Item = &WatchRule> {
        self.settings.rules.iter().chain(self.added.watches.iter().map(|watch| &watch.rule))
    }

    /// Adds a watch; `None` if there are too many. Returns the record to put on disk with it.
    pub fn add(&mut self, rule: WatchRule) -> Option<(StoredWatch, WatchRecords)> {
        if self.added.watches.len() >= RULES_MAX {
            return None;
        }
        self.added.next_number = self.added.next_number.saturating_add(1);
        let watch = StoredWatch { number: self.added.next_number, rule };
        self.added.watches.push(watch.clone());
        self.has_news = true;
        Some((watch, self.added.clone()))
    }

    /// Removes a watch that a command has added. Returns it, and the record to put on disk.
    pub fn remove(&mut self, number: u32) -> Option<(StoredWatch, WatchRecords)> {
        let at = self.added.watches.iter().position(|watch| watch.number == number)?;
        let watch = self.added.watches.remove(at);
        self.has_news = true;
        Some((watch, self.added.clone()))
    }

    // ---- alarms ------------------------------------------------------------------------------------------

    /// The content of the own document.
    pub fn own(&self) -> &AlarmsDocument {
        &self.own
    }

    /// Something has changed that watches depend on: they are looked at with the next input.
    pub fn note_news(&mut self) {
        self.has_news = true;
    }

    /// The state of a node has changed.
    pub fn note_state(&mut self) {
        let is_watching = self.rules().next().is_some();
        self.has_news |= is_watching;
    }

    /// Whether watches are to be looked at now.
    pub fn is_due(&self, now: Mono) -> bool {
        self.has_news || self.queue.has_early() || self.look_at.is_some_and(|at| at <= now)
    }

    /// When watches are to be looked at again, if nothing happens before.
    pub fn next_timer(&self) -> Option<Mono> {
        self.look_at
    }

    /// Takes the readings of everything that is watched. `board` shows what all nodes reported so far, `floor` the sequence of
    /// the newest state of each subject's node, `name_of` what this node calls it. Returns the reports that are new.
    pub fn read(
        &mut self,
        at: ReadingTime,
        readings: &BTreeMap<AlarmSubject, (WatchReading, u64)>,
        board: &AlarmBoard,
        name_of: impl Fn(&AlarmSubject) -> String,
    ) {
        let watched = readings.keys().cloned().collect();
        for (subject, episode) in self.conditions.keep_only(&watched) {
            self.own.clear(&subject, episode, at.wall);
        }
        let backs: BTreeSet<NodePrefix> = readings
            .keys()
            .filter(|subject| subject.kind == WatchKind::Back)
            .map(|subject| subject.node)
            .collect();
        for (subject, (reading, floor)) in readings {
            if subject.kind == WatchKind::Back {
                continue;
            }
            match self.conditions.read(subject, at, *reading, &board.hints(subject, *floor)) {
                None => {}
                Some(Transition::Raised { episode, figure }) => {
                    let name = event::cut(&name_of(subject), NAME_BYTES_MAX).to_owned();
                    let (subject, raised_at) = (subject.clone(), at.wall);
                    let report = AlarmReport { subject, name, episode, raised_at, cleared_at: None, figure };
                    self.own.put(report);
                }
                Some(Transition::Cleared { episode }) => {
                    self.clear(subject, episode, at.wall, backs.contains(&subject.node));
                }
            }
        }
        // Times in the document are whole seconds, so that what is held equals what is read back.
        for report in &mut self.own.reports {
            let whole = |time: Wall| Wall::from_ms(time.ms() / 1000 * 1000);
            (report.raised_at, report.cleared_at) = (whole(report.raised_at), report.cleared_at.map(whole));
        }
    }

    /// An alarm is over. The end of a silence is news itself, where it is asked for.
    fn clear(&mut self, subject: &AlarmSubject, episode: u64, now: Wall, reports_back: bool) {
        let cleared = self.own.clear(subject, episode, now).cloned();
        let silence = cleared.filter(|_| subject.kind == WatchKind::Silent && reports_back);
        if let Some(silence) = silence {
            self.own.put(AlarmReport {
                subject: AlarmSubject { kind: WatchKind::Back, ..silence.subject },
                figure: silence.raised_at.ms() / 1000,
                raised_at: now,
                cleared_at: Some(now),
                ..silence
            });
        }
    }

    /// Notes that the operator has acknowledged an alarm, under each of its ids.
    pub fn acknowledge(&mut self, alarm: &FederatedAlarm, now: Wall) {
        for id in &alarm.ids {
            self.own.acknowledge(*id, Wall::from_ms(now.ms() / 1000 * 1000));
        }
        self.has_news = true;
    }

    /// The alarms on the board that this run has not seen before, oldest first.
    pub fn take_unseen(&mut self, board: &AlarmBoard, now: Mono) -> Vec<FederatedAlarm> {
        let mut unseen = Vec::new();
        for alarm in board.alarms().iter().rev() {
            let is_new = alarm.ids.iter().all(|id| !self.seen.contains_key(id));
            let first = alarm.ids.iter().filter_map(|id| self.seen.get(id)).min().copied();
            self.seen.extend(alarm.ids.iter().map(|id| (*id, first.unwrap_or(now))));
            if is_new {
                unseen.push(alarm.clone());
            }
        }
        if self.seen.len() > SEEN_MAX {
            self.seen.retain(|id, _| board.alarm(id).is_some());
        }
        unseen
    }

    // ---- messages ----------------------------------------------------------------------------------------

    /// The messages of this node, to show them.
    pub fn messages(&self) -> &MessageQueue {
        &self.queue
    }

    /// The messages, to note how they ended.
    pub fn messages_mut(&mut self) -> &mut MessageQueue {
        self.has_news = true;
        &mut self.queue
    }

    /// Sets the distance from UTC to local time. From now on messages are handed over.
    pub fn set_utc_offset(&mut self, minutes: i32) {
        self.has_news |= self.utc_offset_minutes != Some(minutes);
        self.utc_offset_minutes = Some(minutes);
    }

    /// What is kept of messages, if it has changed since it was last asked for.
    pub fn take_changed_messages(&mut self) -> Option<Vec<MessageRecord>> {
        self.queue.take_changed()
    }

    /// Decides which messages go now: each that is returned was taken, and goes once that is on disk. `rank` is this node's place
    /// among those that notify the same operator. Also sets when to look again, at `deadline` at the latest.
    pub fn due_messages(
        &mut self,
        me: &PeerId,
        at: ReadingTime,
        board: &AlarmBoard,
        rank: usize,
        deadline: Option<Mono>,
    ) -> Vec<AlarmMessageKey> {
        self.has_news = false;
        self.own.group = self.settings.group.filter(|_| !self.settings.channels.is_empty());
        let turn = (TURN_WAIT * rank as u64).min(TURN_WAIT_MAX);
        let timers = [deadline, self.conditions.next_timer(), self.queue.next_timer()];
        // What is due and cannot go on now is looked at again with the next input, or after `LOOK_EVERY`.
        let mut next = timers.into_iter().flatten().filter(|timer| *timer > at.mono).min();
        let mut soonest = |at: Mono| next = Some(next.map_or(at, |next| next.min(at)));
        for alarm in board.alarms() {
            match self.wish(me, at, alarm, turn) {
                MessageWish::Now => {}
                MessageWish::At(mono) => {
                    soonest(mono);
                    continue;
                }
                MessageWish::Never(why) => {
                    for channel in &self.settings.channels {
                        self.queue.drop_waiting(&AlarmMessageKey { alarm: alarm.id, channel: *channel }, why);
                    }
                    continue;
                }
            }
            for channel in &self.settings.channels {
                // Under whichever of its ids it went before.
                if !self.queue.about(&alarm.ids).any(|record| record.key().channel == *channel) {
                    self.queue.offer(AlarmMessageKey { alarm: alarm.id, channel: *channel }, at.wall);
                }
            }
        }
        let taken = self.take_due(at, board, &mut soonest);
        if self.rules().next().is_some() {
            soonest(at.mono + LOOK_EVERY);
        }
        self.look_at = next;
        self.queue.forget(|id| board.alarm(id).is_some());
        self.own.expire(at.wall, |id| board.alarm(id).is_some());
        self.claim(at.wall, board);
        taken
    }

    /// Whether the operator is to be notified of an alarm by this node.
    fn wish(&self, me: &PeerId, at: ReadingTime, alarm: &FederatedAlarm, turn: Millis) -> MessageWish {
        if !alarm.acknowledged.is_empty() {
            return MessageWish::Never("acknowledged");
        }
        if alarm.report.raised_at + MESSAGE_FRESH < at.wall {
            return MessageWish::Never("too old");
        }
        let Some(group) = self.settings.group else { return MessageWish::Now };
        if self.queue.about(&alarm.ids).next().is_some() {
            // Taken up before: it stays with this node unless another was faster.
            return match self.others(me, alarm, group) {
                Some(MessageProgress::Done) => MessageWish::Never("sent by another node"),
                Some(MessageProgress::Claimed) | None => MessageWish::Now,
            };
        }
        let seen = alarm.ids.iter().filter_map(|id| self.seen.get(id)).min().copied().unwrap_or(at.mono);
        let wait = match self.others(me, alarm, group) {
            Some(MessageProgress::Done) => return MessageWish::Never("sent by another node"),
            Some(MessageProgress::Claimed) => CLAIM_PATIENCE,
            None => turn,
        };
        match seen + wait <= at.mono {
            true => MessageWish::Now,
            false => MessageWish::At(seen + wait),
        }
    }

    /// How far another node of the same operator is with the message.
    fn others(&self, me: &PeerId, alarm: &FederatedAlarm, group: OperatorGroup) -> Option<MessageProgress> {
        let others = alarm.messages.iter().filter(|(node, (of, _))| *node != me && *of == Some(group));
        others.map(|(_, (_, progress))| *progress).max()
    }

    /// Takes what may go now: one message a channel at a time, and in quiet hours only what is urgent.
    fn take_due(
        &mut self,
        at: ReadingTime,
        board: &AlarmBoard,
        soonest: &mut impl FnMut(Mono),
    ) -> Vec<AlarmMessageKey> {
        let Some(offset) = self.utc_offset_minutes else { return Vec::new() };
        let quiet = self.settings.quiet.and_then(|quiet| quiet.left(at.wall, offset));
        let mut taken = Vec::new();
        for key in self.queue.due(at.mono) {
            let Some(alarm) = board.alarm(&key.alarm) else {
                self.queue.drop_waiting(&key, "no node shows the alarm any more");
                continue;
            };
            if !self.settings.channels.contains(&key.channel) {
                self.queue.drop_waiting(&key, "the settings do not name this way any more");
                continue;
            }
            let kind = alarm.report.subject.kind;
            if let Some(left) = quiet.filter(|_| !self.settings.urgent.contains(&kind)) {
                soonest(at.mono + left);
                if !alarm.is_open() && kind != WatchKind::Back {
                    self.queue.drop_waiting(&key, "over before the end of the quiet hours");
                }
                continue;
            }
            if !self.queue.is_busy(key.channel) && self.queue.take(&key) {
                taken.push(key);
            }
        }
        taken
    }

    /// Shows the other nodes of the operator which messages this node has taken.
    fn claim(&mut self, now: Wall, board: &AlarmBoard) {
        if self.own.group.is_none() {
            self.own.messages.clear();
            return;
        }
        let now = Wall::from_ms(now.ms() / 1000 * 1000);
        let mut progress: BTreeMap<AlarmId, Option<MessageProgress>> = BTreeMap::new();
        let shown = self.queue.all().filter(|record| board.alarm(&record.key().alarm).is_some());
        for record in shown {
            let of = match record.state() {
                MessageState::Waiting | MessageState::Taken => Some(MessageProgress::Claimed),
                MessageState::Sent | MessageState::Unknown => Some(MessageProgress::Done),
                MessageState::Failed | MessageState::Dropped => None,
            };
            let entry = progress.entry(record.key().alarm).or_default();
            *entry = (*entry).max(of);
        }
        for (id, of) in progress {
            if self.own.messages.get(&id).map(|(known, _)| *known) != of {
                self.own.note_message(id, of, now);
            }
        }
    }
}

/// Whether and when the message of an alarm goes.
enum MessageWish {
    /// As soon as the channel is free.
    Now,
    /// Not before this instant.
    At(Mono),
    /// Not at all, for this reason.
    Never(&'static str),
}

#[cfg(test)]
mod tests;
