//! What every radio's session looks like to the task that owns its port: bytes and frames in, [`Output`]s out.

use super::{DownReason, RadioEvent};
use std::collections::VecDeque;

/// What a session wants done, in this order.
#[derive(Debug)]
pub(super) enum Output {
    /// To the radio.
    Write(Vec<u8>),
    /// To whoever opened it.
    Tell(RadioEvent),
    /// Close the port, and open it anew.
    Fail(DownReason),
}

/// A conversation with one radio, from the moment its port is open. Sans-io; times are milliseconds of one clock that only
/// goes forward. After each call, drain with [`take`](Self::take); call [`tick`](Self::tick) at
/// [`timeout`](Self::timeout).
pub(super) trait Modem: Send {
    /// The port is open.
    fn connected(&mut self, now_ms: u64);
    /// Bytes came from the radio.
    fn received(&mut self, now_ms: u64, bytes: &[u8]);
    /// One frame to send; only after a `Ready`, and only one.
    fn send(&mut self, now_ms: u64, frame: Vec<u8>);
    /// Time has passed.
    fn tick(&mut self, now_ms: u64);
    /// When to call `tick`.
    fn timeout(&self) -> Option<u64>;
    /// What to do next.
    fn take(&mut self) -> Option<Output>;
}

/// Outputs waiting to be taken: a call leaves a handful, since bytes come in bounded portions.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Output>);

impl Outbox {
    pub(super) fn write(&mut self, bytes: Vec<u8>) {
        self.0.push_back(Output::Write(bytes));
    }

    pub(super) fn tell(&mut self, event: RadioEvent) {
        self.0.push_back(Output::Tell(event));
    }

    pub(super) fn fail(&mut self, why: DownReason) {
        self.0.push_back(Output::Fail(why));
    }

    pub(super) fn take(&mut self) -> Option<Output> {
        self.0.pop_front()
    }
}
