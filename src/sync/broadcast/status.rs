//! What the engine reports of a listener: presence and sync lag.

use crate::layer::LayerHash;
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
    /// Of the last two, node states that are simply newer than its last report: sent, or signed moments ago. Each node signs
    /// the next state before the last is acknowledged, so these do not count as behind.
    pub fresh_states: usize,
}

/// A layer in which a listener and this node differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerLag {
    /// The layer; none: the listener reported one that was never seen here.
    pub layer: Option<LayerHash>,
    /// Which of the two is behind.
    pub kind: LagKind,
    /// Since when, as far as that is known.
    pub since: Option<Mono>,
    /// Whether it is a node state that is simply newer than the last report.
    pub is_fresh_state: bool,
    /// By how many sequences, where both states are known.
    pub sequences: Option<u64>,
}

/// Which of a listener and this node is behind in a layer, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagKind {
    /// This node lacks a state that the listener has.
    WeLack,
    /// The listener lacks it, and it was not sent yet.
    TheyLack,
    /// It was sent, and the listener has not acknowledged it yet.
    Unacknowledged,
    /// This node lacks it, and does not take it: its owner has used up the room that this node has.
    NoRoomHere,
    /// The listener does not take it for that reason.
    NoRoomThere,
}

impl Lag {
    /// Whether both hold the same, by the listener's own report, but for node states that are simply newer.
    pub fn is_in_step(&self) -> bool {
        self.we_lack == 0 && self.they_lack + self.unacknowledged == self.fresh_states
    }

    /// The numbers over some layers.
    pub(super) fn of(layers: &[LayerLag]) -> Self {
        let count = |kind| layers.iter().filter(|lag| lag.kind == kind).count();
        Lag {
            we_lack: count(LagKind::WeLack),
            they_lack: count(LagKind::TheyLack),
            unacknowledged: count(LagKind::Unacknowledged),
            fresh_states: layers.iter().filter(|lag| lag.is_fresh_state).count(),
        }
    }
}

impl std::ops::AddAssign for Lag {
    fn add_assign(&mut self, other: Lag) {
        self.we_lack += other.we_lack;
        self.they_lack += other.they_lack;
        self.unacknowledged += other.unacknowledged;
        self.fresh_states += other.fresh_states;
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
