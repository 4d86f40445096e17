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
}

impl OwnRefusal {
    /// Whether it covers a state at this time.
    pub(super) fn covers(&self, now: Mono, state: State) -> bool {
        self.up_to.is_none_or(|up_to| state.sequence <= up_to) && now < self.until
    }
}
