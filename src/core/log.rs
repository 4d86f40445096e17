//! The log of a node: what it refused, and what happened, in the order in which it did, for `tombolo log`.
//!
//! It is in memory and bounded: the newest [`LOG_ENTRIES_MAX`] entries stay. What repeats is one entry with a count, so that a
//! peer that sends the same bad message for hours pushes nothing else out. Reasons are typed; their sentences are
//! made in `report`.

use std::collections::VecDeque;

use tombolo_transports::PeerId;

use crate::core::InputRejection;
use crate::io::Event;
use crate::presence::PresenceChange;
use crate::time::{Millis, Wall};

/// Entries that are kept; the oldest goes first.
pub const LOG_ENTRIES_MAX: usize = 1_000;
/// What happens again within this time of its last entry is counted there.
const LOG_REPEAT: Millis = Millis::from_secs(10 * 60);
/// How far back the same entry is looked for.
const REPEAT_ENTRIES_MAX: usize = 64;

/// What an entry is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Logged {
    /// An input was refused.
    Rejection {
        /// The reason why it was refused.
        why: InputRejection,
        /// The peer that it came from, where that is known.
        from: Option<PeerId>,
    },
    /// Something that watchers are informed of as well.
    Event(Event),
    /// A peer is heard better or worse.
    Presence(PresenceChange),
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Counts up from 1 since the start.
    pub id: u64,
    /// When it happened first.
    pub first: Wall,
    /// When it happened last.
    pub last: Wall,
    /// How often it has happened in this entry.
    pub times: u64,
    /// What has happened, as a typed fact.
    pub what: Logged,
}

/// The newest entries, oldest first.
#[derive(Debug, Default)]
pub struct EventLog {
    entries: VecDeque<LogEntry>,
    ids: u64,
}

impl EventLog {
    /// Adds what happened, or counts it where it has just happened before.
    pub fn add(&mut self, now: Wall, what: Logged) {
        let newest = self.entries.iter_mut().rev().take(REPEAT_ENTRIES_MAX);
        let mut same = newest.filter(|entry| entry.what == what && now.since(entry.last) <= LOG_REPEAT);
        if let Some(entry) = same.next().filter(|_| what.may_repeat()) {
            entry.times += 1;
            entry.last = entry.last.max(now);
            return;
        }
        if self.entries.len() >= LOG_ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.ids += 1;
        self.entries.push_back(LogEntry { id: self.ids, first: now, last: now, times: 1, what });
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &LogEntry> + ExactSizeIterator {
        self.entries.iter()
    }
}

impl Logged {
    /// Whether several of it are one entry. A peer that comes and goes is shown as often as it does.
    fn may_repeat(&self) -> bool {
        match self {
            Logged::Rejection { .. } => true,
            Logged::Event(event) => matches!(event, Event::Alarm(_)),
            Logged::Presence(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Wall {
        Wall::from_ms(1_000_000) + Millis::from_secs(seconds)
    }

    fn rejection(why: InputRejection) -> Logged {
        Logged::Rejection { why, from: Some(PeerId([1; 32])) }
    }

    #[test]
    fn what_repeats_is_one_entry_with_a_count_until_it_has_rested() {
        let mut log = EventLog::default();
        for second in [0, 300, 900] {
            log.add(at(second), rejection(InputRejection::BadMessage));
            log.add(at(second), rejection(InputRejection::BadSignature));
        }
        log.add(at(2_000), rejection(InputRejection::BadMessage));
        log.add(at(2_000), Logged::Rejection { why: InputRejection::BadMessage, from: None });
        let entries: Vec<_> = log.entries().map(|it| (it.id, it.first, it.last, it.times)).collect();
        assert_eq!(
            entries,
            [
                (1, at(0), at(900), 3),
                (2, at(0), at(900), 3),
                (3, at(2_000), at(2_000), 1),
                (4, at(2_000), at(2_000), 1)
            ]
        );
    }

    #[test]
    fn the_oldest_entries_go_first_and_no_reason_pushes_the_others_out() {
        let mut log = EventLog::default();
        log.add(at(0), rejection(InputRejection::Fork));
        for n in 0..5_000 {
            log.add(at(n % 60), rejection(InputRejection::BadMessage));
        }
        assert_eq!(log.entries().len(), 2);
        for n in 0..2_000_u64 {
            log.add(at(n * 700), rejection(InputRejection::BadMessage));
        }
        assert_eq!(log.entries().len(), LOG_ENTRIES_MAX);
        assert_eq!(log.entries().next_back().map(|entry| entry.id), Some(2_001));
    }
}
