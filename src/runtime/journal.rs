//! The newest events of a node, each with an id and a time. Every watcher reads them at its own pace, and may go on after a break: the
//! events between are kept for a while, for all watchers together.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Serialize, Serializer};
use tokio::sync::watch;

use crate::clock::rfc3339;
use crate::layer::tree_bytes;
use crate::node::Event;
use crate::time::Wall;

/// Events that are kept. A watcher that is further behind learns how many it missed.
pub const EVENTS_MAX: usize = 4_096;
/// Bytes of them, about. When reached, the oldest go first.
pub const EVENTS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that any event takes, beside the values in it.
const EVENT_BYTES: usize = 512;

/// Names an event: which start of the node, and which of its events. Written `5f3a09c1-118`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// A number that each start of a node draws.
    pub start: u32,
    /// Counts from 1; 0 is before the first.
    pub number: u64,
}

/// A text that is no id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of an event looks like 5f3a09c1-118: it stands in each line of `watch` as `id`")]
pub struct BadEventId;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.start, self.number)
    }
}

impl FromStr for EventId {
    type Err = BadEventId;

    fn from_str(text: &str) -> Result<Self, BadEventId> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let (start, number) = text.split_once('-').filter(|_| is_plain).ok_or(BadEventId)?;
        let start = u32::from_str_radix(start, 16).map_err(|_| BadEventId)?;
        Ok(EventId { start, number: number.parse().map_err(|_| BadEventId)? })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An event with its id and the time at which the node reported it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StampedEvent {
    /// By which a watcher goes on behind it.
    pub id: EventId,
    /// By the clock of this machine.
    #[serde(serialize_with = "as_rfc3339")]
    pub at: Wall,
    /// The event itself, as the node returned it.
    #[serde(flatten)]
    pub event: Event,
}

fn as_rfc3339<S: Serializer>(at: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

/// Why a watcher gets no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventGap {
    /// So many events are not kept any more. The next one that is follows.
    Missed(u64),
    /// The node has ended.
    Ended,
}

/// The events that are kept.
#[derive(Debug)]
struct Kept {
    start: u32,
    /// The number of the newest event; 0 before the first.
    newest: u64,
    events: VecDeque<(Arc<StampedEvent>, usize)>,
    bytes: usize,
}

impl Kept {
    fn oldest(&self) -> u64 {
        self.events.front().map_or(self.newest + 1, |(event, _)| event.id.number)
    }

    fn get(&self, number: u64) -> Option<Arc<StampedEvent>> {
        let at = usize::try_from(number.checked_sub(self.oldest())?).ok()?;
        self.events.get(at).map(|(event, _)| event.clone())
    }
}

/// The writing end, which the node's thread holds. Watchers end with it.
#[derive(Debug)]
pub(crate) struct EventJournal {
    kept: Arc<Mutex<Kept>>,
    newest: watch::Sender<u64>,
}

impl EventJournal {
    /// An empty journal. `start` is drawn by each start of a node.
    pub(crate) fn new(start: u32) -> Self {
        let kept = Kept { start, newest: 0, events: VecDeque::new(), bytes: 0 };
        EventJournal { kept: Arc::new(Mutex::new(kept)), newest: watch::channel(0).0 }
    }

    /// Adds an event, and wakes the watchers.
    pub(crate) fn add(&self, at: Wall, event: Event) {
        let mut kept = lock(&self.kept);
        kept.newest += 1;
        let (number, bytes) = (kept.newest, EVENT_BYTES + bytes_of(&event));
        let id = EventId { start: kept.start, number };
        kept.bytes += bytes;
        kept.events.push_back((Arc::new(StampedEvent { id, at, event }), bytes));
        while kept.events.len() > EVENTS_MAX || (kept.bytes > EVENTS_BYTES_MAX && kept.events.len() > 1) {
            let Some((_, bytes)) = kept.events.pop_front() else { break };
            kept.bytes -= bytes;
        }
        drop(kept);
        self.newest.send_replace(number);
    }

    /// The id of the newest event.
    pub(crate) fn newest(&self) -> EventId {
        let kept = lock(&self.kept);
        EventId { start: kept.start, number: kept.newest }
    }

    /// The end from which readers take the events.
    pub(crate) fn tap(&self) -> EventTap {
        EventTap { kept: self.kept.clone(), newest: self.newest.subscribe() }
    }
}

/// Makes readers; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EventTap {
    kept: Arc<Mutex<Kept>>,
    newest: watch::Receiver<u64>,
}

impl EventTap {
    /// Reads the events from now on.
    pub(crate) fn begin_now(&self) -> EventReader {
        let next = lock(&self.kept).newest + 1;
        EventReader { tap: self.clone(), next }
    }

    /// Reads the events behind one; `None` where that was not of this start of the node.
    pub(crate) fn behind(&self, id: EventId) -> Option<EventReader> {
        let kept = lock(&self.kept);
        let is_of_this_start = id.start == kept.start && id.number <= kept.newest;
        is_of_this_start.then(|| EventReader { tap: self.clone(), next: id.number + 1 })
    }
}

/// The events of a node, in order.
#[derive(Clone, Debug)]
pub struct EventReader {
    tap: EventTap,
    next: u64,
}

impl EventReader {
    /// The next event, as soon as there is one. It may be cancelled without loss.
    ///
    /// # Errors
    ///
    /// [`EventGap`] where events are not kept any more, or the node has ended.
    pub async fn recv(&mut self) -> Result<Arc<StampedEvent>, EventGap> {
        loop {
            self.tap.newest.borrow_and_update();
            if let Some(next) = self.try_recv() {
                return next;
            }
            if self.tap.newest.changed().await.is_err() {
                return Err(EventGap::Ended);
            }
        }
    }

    /// The next event if there is one.
    fn try_recv(&mut self) -> Option<Result<Arc<StampedEvent>, EventGap>> {
        let kept = lock(&self.tap.kept);
        if let Some(missed) = kept.oldest().checked_sub(self.next).filter(|missed| *missed > 0) {
            self.next = kept.oldest();
            return Some(Err(EventGap::Missed(missed)));
        }
        let event = kept.get(self.next)?;
        self.next += 1;
        Some(Ok(event))
    }

    /// Leaves out what has happened so far.
    pub fn skip_to_now(&mut self) {
        self.next = lock(&self.tap.kept).newest + 1;
    }

    /// The id of the last event that was read or left out: one that goes on behind it misses nothing.
    pub fn last_id(&self) -> EventId {
        EventId { start: lock(&self.tap.kept).start, number: self.next - 1 }
    }
}

/// Bytes of the values in an event.
fn bytes_of(event: &Event) -> usize {
    match event {
        Event::Changed(change) => {
            let values = change.keys.iter().map(|change| {
                let values = change.old.iter().chain(&change.new);
                // In memory, where a small number takes 32 times its encoding.
                change.key.len() + values.map(tree_bytes).sum::<usize>()
            });
            values.sum()
        }
        Event::Ended(_)
        | Event::PeersChanged
        | Event::JoiningChanged { .. }
        | Event::Link(_)
        | Event::Alarm(_)
        | Event::Deploy(_)
        | Event::Presence(_) => 0,
    }
}

/// Locks the events; a panic of another thread leaves them whole.
fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(journal: &EventJournal, count: usize) {
        for _ in 0..count {
            journal.add(Wall::from_ms(1_000), Event::PeersChanged);
        }
    }

    #[tokio::test]
    async fn a_reader_goes_on_where_it_stopped_and_learns_what_it_missed() {
        let journal = EventJournal::new(7);
        let tap = journal.tap();
        let mut reader = tap.begin_now();
        add(&journal, 3);
        let first = reader.recv().await.unwrap();
        assert_eq!((first.id.to_string().as_str(), reader.last_id()), ("00000007-1", first.id));
        let mut again = tap.behind("7-1".parse().unwrap()).unwrap();
        assert_eq!(again.recv().await.unwrap().id.number, 2);
        assert!(tap.behind(EventId { start: 8, number: 1 }).is_none(), "another start");
        assert!(tap.behind(EventId { start: 7, number: 4 }).is_none(), "not yet");
        add(&journal, EVENTS_MAX);
        assert_eq!(reader.recv().await, Err(EventGap::Missed(2)));
        assert_eq!(reader.recv().await.unwrap().id.number, 4);
        reader.skip_to_now();
        drop(journal);
        assert_eq!(reader.recv().await, Err(EventGap::Ended));
        assert_eq!(again.recv().await, Err(EventGap::Missed(1)), "what is kept can be read after the end");
    }

    #[test]
    fn only_an_id_is_an_id() {
        for text in ["", "1", "-", "1-", "-1", "x-1", "+1-1", "1-+1", "1-1-1", "123456789-1", "1--1"] {
            assert_eq!(text.parse::<EventId>(), Err(BadEventId), "{text}");
        }
        let id = EventId { start: 0xabc, number: 12 };
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn large_events_push_older_ones_out() {
        use crate::io::view::ChangedView;
        use crate::merge::KeyChange;
        let journal = EventJournal::new(1);
        // Arrays of small numbers among them.
        let zeros = tombolo_delta::Value::Array(vec![0u64.into(); 20_000]);
        let value = tombolo_delta::Value::from("x".repeat(800_000).as_str());
        for n in 0..100 {
            let value = if n % 2 == 0 { &value } else { &zeros };
            let change = KeyChange { key: "a".into(), old: None, new: Some(value.clone()) };
            let text = String::new;
            let view = ChangedView {
                document: text(),
                owner: text(),
                name: text(),
                author: text(),
                by: text(),
                sequence: 1,
                keys: vec![change],
                more: false,
            };
            journal.add(Wall::default(), Event::Changed(view));
        }
        let kept = lock(&journal.kept);
        assert!(kept.bytes <= EVENTS_BYTES_MAX && kept.events.len() > 5, "{}", kept.events.len());
        assert_eq!(kept.oldest() + u64::try_from(kept.events.len()).unwrap(), 101);
    }
}
