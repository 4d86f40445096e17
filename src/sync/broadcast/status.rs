//! What the engine reports of a listener: presence and sync lag.

use crate::time::Mono;

/// When a listener was last received, and how long it counts as present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// When a frame of it last arrived.
    pub at: Mono,
    /// Until when it counts as present.
    pub until: Mono,
}

impl Presence {
    pub(super) fn is_current(&self, now: Mono) -> bool {
        self.until > now
    }
}

/// What a listener and this node lack of each other on one or more channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Layers that it reported in a newer state than this node has.
    pub we_lack: usize,
    /// Layers that it lacks, or has in an older state, and that were not sent since.
    pub they_lack: usize,
    /// Layers that were sent to it and that it has not acknowledged yet.
    pub unacknowledged: usize,
}

impl Lag {
    /// Whether both hold the same, by the listener's own report.
    pub fn is_in_step(&self) -> bool {
        *self == Lag::default()
    }
}

impl std::ops::AddAssign for Lag {
    fn add_assign(&mut self, other: Lag) {
        self.we_lack += other.we_lack;
        self.they_lack += other.they_lack;
        self.unacknowledged += other.unacknowledged;
    }
}

/// What is known of the sync lag between a listener and this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStatus {
    /// The lag, by its last report and what was sent since.
    Known(Lag),
    /// It holds something else than was believed, or has not reported yet.
    Unknown {
        /// Until when the lag was known; none: never.
        since: Option<Mono>,
    },
}
