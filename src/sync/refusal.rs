//! What this node refuses, and for how long.

use super::frontier::State;
use crate::layer::Sequence;
use crate::time::Mono;

/// States of a layer that this node refuses for now.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnRefusal {
    /// The last sequence refused; none: all.
    pub(super) up_to: Option<Sequence>,
    pub(super) until: Mono,
    /// The sequence and the reason that peers are sent.
    pub(super) sequence: Sequence,
    pub(super) reason: u8,
}

impl OwnRefusal {
    /// Whether it holds until rights change: what it covers is not lacking.
    pub(super) fn is_lasting(&self) -> bool {
        self.up_to.is_none()
    }

    /// Whether it is about a state.
    pub(super) fn is_of(&self, state: State) -> bool {
        self.up_to.is_none_or(|up_to| state.sequence <= up_to)
    }

    /// Whether it covers a state at this time.
    pub(super) fn covers(&self, now: Mono, state: State) -> bool {
        self.is_of(state) && now < self.until
    }
}
