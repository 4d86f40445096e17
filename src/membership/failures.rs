//! Counts wrong tokens.

use crate::federation::join::JoinRefusal;
use crate::limits::JOIN_FAILURES_PER_MINUTE_MAX;
use crate::time::Mono;

/// Wrong tokens in the present minute: a peer that guesses is slowed down, and a valid token is always accepted.
#[derive(Debug, Default)]
pub(super) struct TokenFailures {
    minute: u64,
    count: u32,
}

impl TokenFailures {
    /// The counting starts again with each minute.
    pub(super) fn start_minute(&mut self, now: Mono) {
        let minute = now.ms() / 60_000;
        if self.minute != minute {
            *self = TokenFailures { minute, count: 0 };
        }
    }

    /// One more wrong token. Returns the answer to it.
    pub(super) fn refuse(&mut self) -> JoinRefusal {
        self.count = self.count.saturating_add(1);
        if self.count > JOIN_FAILURES_PER_MINUTE_MAX { JoinRefusal::Busy } else { JoinRefusal::Token }
    }
}
