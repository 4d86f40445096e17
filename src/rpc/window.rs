//! Each timestamp of a sender is accepted once, within five minutes of this node's clock, also across a restart.
//!
//! What was accepted is recorded per sender, and durable before the answer leaves. A record that is no longer in the window is
//! dropped, and the newest time dropped so stays as the sender's *floor*: nothing at or below it is accepted, so a clock that
//! steps back, of this machine or by a restored backup of its clock, opens no door to what was captured before. A sender
//! whose clock goes forward is never below its own floor.

use crate::time::Wall;
use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::limits::{CALL_SENDERS_MAX, CALL_WINDOW, CALLS_PER_SENDER_MAX};
use crate::rpc::{CallRefusal, CallTime};
use crate::store::CallsRecord;

/// The calls that were accepted, by sender.
#[derive(Debug, Default)]
pub struct SeenCalls {
    senders: BTreeMap<PeerId, CallsRecord>,
}

/// What accepting a call changes on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The sender's new record.
    pub record: CallsRecord,
    /// A sender whose record went to make room.
    pub dropped: Option<PeerId>,
}

impl SeenCalls {
    /// Takes the records from disk.
    pub fn load(records: Vec<CallsRecord>) -> Self {
        SeenCalls { senders: records.into_iter().map(|record| (record.sender, record)).collect() }
    }

    /// Whether a call of this time would be accepted now.
    ///
    /// # Errors
    ///
    /// The reason why it would not.
    pub fn check(&self, sender: &PeerId, time: CallTime, reference: Wall) -> Result<(), CallRefusal> {
        let now = CallTime::from(reference);
        if time < begin(now) {
            return Err(CallRefusal::Late);
        }
        if time.0 > now.0.saturating_add(window_ns()) {
            return Err(CallRefusal::Early);
        }
        let Some(record) = self.senders.get(sender) else {
            let room = self.senders.len() < CALL_SENDERS_MAX || self.oldest_idle(now).is_some();
            return if room { Ok(()) } else { Err(CallRefusal::TooManyCalls) };
        };
        if record.seen_ns.contains(&time.0) {
            return Err(CallRefusal::Replayed);
        }
        if record.floor_ns.is_some_and(|floor| time.0 <= floor) {
            return Err(CallRefusal::Superseded);
        }
        let in_window = record.seen_ns.iter().filter(|seen| **seen >= begin(now).0).count();
        if in_window >= CALLS_PER_SENDER_MAX { Err(CallRefusal::TooManyCalls) } else { Ok(()) }
    }

    /// Accepts a call, and drops what is no longer in the window. The record must be durable before the answer leaves.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check); nothing changes then.
    pub fn accept(
        &mut self,
        sender: &PeerId,
        time: CallTime,
        reference: Wall,
    ) -> Result<Accepted, CallRefusal> {
        self.check(sender, time, reference)?;
        let now = CallTime::from(reference);
        let is_new = !self.senders.contains_key(sender);
        let dropped = match is_new && self.senders.len() >= CALL_SENDERS_MAX {
            true => self.oldest_idle(now),
            false => None,
        };
        if let Some(gone) = &dropped {
            self.senders.remove(gone);
        }
        let record = self.senders.entry(*sender).or_insert_with(|| CallsRecord::new(*sender));
        let (kept, over): (Vec<i64>, Vec<i64>) =
            record.seen_ns.iter().partition(|seen| **seen >= begin(now).0);
        record.floor_ns = record.floor_ns.into_iter().chain(over).max();
        record.seen_ns = kept;
        record.seen_ns.push(time.0);
        Ok(Accepted { record: record.clone(), dropped })
    }

    /// Among the senders of which nothing is in the window, the one that called longest ago.
    fn oldest_idle(&self, now: CallTime) -> Option<PeerId> {
        let newest = |record: &CallsRecord| record.seen_ns.iter().copied().chain(record.floor_ns).max();
        let idle = self.senders.values().filter(|record| newest(record) < Some(begin(now).0));
        idle.min_by_key(|record| newest(record)).map(|record| record.sender)
    }
}

fn window_ns() -> i64 {
    CallTime::from(Wall::default() + CALL_WINDOW).0
}

/// The oldest instant that is accepted.
fn begin(now: CallTime) -> CallTime {
    CallTime(now.0.saturating_sub(window_ns()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const NOW: Wall = Wall::from_ms(1_800_000_000_000);
    const MINUTE: Millis = Millis::from_secs(60);
    const TICK: Millis = Millis::from_ms(1);
    const A: PeerId = PeerId([1; 32]);

    fn at(time: Wall) -> CallTime {
        CallTime::from(time)
    }

    #[test]
    fn a_timestamp_is_accepted_for_five_minutes_on_either_side() {
        let mut seen = SeenCalls::default();
        for (time, expected) in [
            (NOW - 5 * MINUTE, Ok(())),
            (NOW - 5 * MINUTE - TICK, Err(CallRefusal::Late)),
            (NOW + 5 * MINUTE, Ok(())),
            (NOW + 5 * MINUTE + TICK, Err(CallRefusal::Early)),
        ] {
            assert_eq!(seen.accept(&A, at(time), NOW).map(|_| ()), expected, "{time:?}");
        }
    }

    #[test]
    fn a_timestamp_counts_once_per_sender_and_after_a_restart() {
        let mut seen = SeenCalls::default();
        let record = seen.accept(&A, at(NOW), NOW).unwrap().record;
        assert_eq!(seen.check(&A, at(NOW), NOW), Err(CallRefusal::Replayed));
        assert_eq!(seen.check(&PeerId([2; 32]), at(NOW), NOW), Ok(()));
        let restarted = SeenCalls::load(vec![record]);
        assert_eq!(restarted.check(&A, at(NOW), NOW), Err(CallRefusal::Replayed));
    }

    /// The record of a call is dropped; then the clock steps back to where the call would be within the window again.
    #[test]
    fn a_clock_that_steps_back_accepts_nothing_again() {
        let mut seen = SeenCalls::default();
        seen.accept(&A, at(NOW), NOW).unwrap();
        let record = seen.accept(&A, at(NOW + 20 * MINUTE), NOW + 20 * MINUTE).unwrap().record;
        assert_eq!(record.seen_ns.len(), 1, "the first is out of the window");
        assert_eq!(seen.check(&A, at(NOW), NOW), Err(CallRefusal::Superseded));
        assert_eq!(seen.check(&A, at(NOW - TICK), NOW), Err(CallRefusal::Superseded));
        assert_eq!(seen.check(&A, at(NOW + TICK), NOW), Ok(()), "a sender whose clock is right goes on");
    }

    #[test]
    fn one_sender_fills_its_own_share_only() {
        let mut seen = SeenCalls::default();
        for n in 0..CALLS_PER_SENDER_MAX as u64 {
            seen.accept(&A, at(NOW + Millis::from_ms(n)), NOW).unwrap();
        }
        assert_eq!(seen.check(&A, at(NOW - TICK), NOW), Err(CallRefusal::TooManyCalls));
        assert_eq!(seen.check(&PeerId([2; 32]), at(NOW - TICK), NOW), Ok(()));
        let later = NOW + 6 * MINUTE;
        assert!(seen.accept(&A, at(later), later).is_ok(), "the window has moved on");
    }

    #[test]
    fn more_senders_than_the_limit_take_the_place_of_idle_ones() {
        let mut seen = SeenCalls::default();
        let sender = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            PeerId(id)
        };
        for n in 0..CALL_SENDERS_MAX {
            seen.accept(&sender(n), at(NOW + Millis::from_ms(n as u64)), NOW).unwrap();
        }
        let next = sender(CALL_SENDERS_MAX);
        assert_eq!(seen.check(&next, at(NOW), NOW), Err(CallRefusal::TooManyCalls));
        let later = NOW + 20 * MINUTE;
        assert_eq!(seen.accept(&next, at(later), later).unwrap().dropped, Some(sender(0)));
    }

    proptest! {
        /// Whatever way the clock goes and whatever is tried again, no time of a sender is accepted twice.
        #[test]
        fn nothing_is_accepted_twice(steps in proptest::collection::vec((0u64..40, 0u64..40, any::<bool>()), 1..200)) {
            let (mut seen, mut accepted) = (SeenCalls::default(), BTreeSet::new());
            for (clock, time, restart) in steps {
                let (now, time) = (NOW + clock * MINUTE, at(NOW + time * MINUTE));
                if let Ok(change) = seen.accept(&A, time, now) {
                    prop_assert!(accepted.insert(time));
                    if restart {
                        seen = SeenCalls::load(vec![change.record]);
                    }
                }
            }
        }
    }
}
