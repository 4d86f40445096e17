//! What waits to be sent on one link: bounded in bytes, whole messages only.

use crate::error::SendError;
use crate::stream::{Frame, encode_message};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a waiting message counts for beyond its own bytes, so that empty ones are bounded too.
const MESSAGE_COST_BYTES: usize = 32;
/// Messages are written together up to about this many bytes: few writes under load, and one
/// message at once when idle.
const BATCH_BYTES: usize = 64 << 10;

/// A queue between [`Sessions::send`](super::Sessions::send) and the task that writes.
#[derive(Debug)]
pub(super) struct LinkOutbox {
    waiting: Mutex<QueuedMessages>,
    ready: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct QueuedMessages {
    messages: VecDeque<Vec<u8>>,
    cost_bytes: usize,
    ping: bool,
    pong: bool,
    refused: bool,
    taken_bytes: u64,
}

impl LinkOutbox {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { waiting: Mutex::default(), ready: Notify::new(), bytes_max }
    }

    /// Queues a message. One always fits an empty queue, however small the maximum.
    pub(super) fn push(&self, bytes: Vec<u8>) -> Result<(), SendError> {
        let mut waiting = self.lock();
        let cost_bytes = bytes.len() + MESSAGE_COST_BYTES;
        if !waiting.messages.is_empty() && waiting.cost_bytes + cost_bytes > self.bytes_max {
            waiting.refused = true;
            return Err(SendError::Full);
        }
        waiting.cost_bytes += cost_bytes;
        waiting.messages.push_back(bytes);
        drop(waiting);
        self.ready.notify_one();
        Ok(())
    }

    /// Bytes that wait, and bytes of messages that were taken since the start.
    pub(super) fn progress(&self) -> (u64, u64) {
        let waiting = self.lock();
        (waiting.cost_bytes as u64, waiting.taken_bytes)
    }

    /// Asks the peer for a sign of life, ahead of all messages.
    pub(super) fn ping(&self) {
        self.lock().ping = true;
        self.ready.notify_one();
    }

    /// Answers a ping, once however many came.
    pub(super) fn pong(&self) {
        self.lock().pong = true;
        self.ready.notify_one();
    }

    /// Waits until there is something to write, then fills `out` with frames. Returns whether a
    /// sender that was refused may now go on.
    pub(super) async fn fill(&self, out: &mut Vec<u8>) -> bool {
        loop {
            let drained = self.take(out);
            if !out.is_empty() {
                return drained;
            }
            self.ready.notified().await;
        }
    }

    pub(super) fn take(&self, out: &mut Vec<u8>) -> bool {
        let mut waiting = self.lock();
        if std::mem::take(&mut waiting.ping) {
            Frame::Ping.encode(out);
        }
        if std::mem::take(&mut waiting.pong) {
            Frame::Pong.encode(out);
        }
        while out.len() < BATCH_BYTES {
            let Some(message) = waiting.messages.pop_front() else { break };
            waiting.cost_bytes -= message.len() + MESSAGE_COST_BYTES;
            waiting.taken_bytes += message.len() as u64;
            encode_message(&message, out);
        }
        let drained = waiting.refused && waiting.cost_bytes <= self.bytes_max / 2;
        waiting.refused &= !drained;
        drained
    }

    fn lock(&self) -> MutexGuard<'_, QueuedMessages> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_reports_when_it_has_drained() {
        let outbox = LinkOutbox::new(200_000);
        let refused = (0..).find(|_| outbox.push(vec![0; 10_000]).is_err()).unwrap();
        assert_eq!(refused, 19);
        let mut out = Vec::new();
        assert!(!outbox.take(&mut out));
        assert!(out.len() < BATCH_BYTES + 10_004);
        out.clear();
        assert!(outbox.take(&mut out), "fell below half");
        out.clear();
        assert!(!outbox.take(&mut out), "and reports it once");
    }

    #[test]
    fn empty_messages_are_bounded_too() {
        let outbox = LinkOutbox::new(3200);
        assert_eq!((0..).find(|_| outbox.push(Vec::new()).is_err()), Some(100));
    }

    #[test]
    fn one_message_always_fits() {
        let outbox = LinkOutbox::new(10);
        assert_eq!(outbox.push(vec![0; 1000]), Ok(()));
        assert_eq!(outbox.push(vec![0; 1]), Err(SendError::Full));
    }
}
