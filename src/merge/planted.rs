//! Faults of the merge that a simulation plants to prove that its oracle finds them. Without the feature `test-support`
//! there are none, and every question here is answered by a constant.

/// A fault in the merge of this thread's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "test-support"), allow(unreachable_pub, reason = "only simulations name it"))]
pub enum PlantedFault {
    /// A tombstone is dropped before all writers have signed later.
    TombstoneDroppedEarly,
    /// The counter of a stamp does not count.
    CounterIgnored,
    /// Of two authors with one stamp the lesser wins.
    TieBreakReversed,
}

#[cfg(feature = "test-support")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<PlantedFault>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault in all nodes of this thread, or takes it out.
#[cfg(feature = "test-support")]
pub fn plant(fault: Option<PlantedFault>) {
    PLANTED.set(fault);
}

/// Whether a fault is planted.
#[cfg(feature = "test-support")]
pub(super) fn has(fault: PlantedFault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Whether a fault is planted: none ever is.
#[cfg(not(feature = "test-support"))]
pub(super) const fn has(_: PlantedFault) -> bool {
    false
}
