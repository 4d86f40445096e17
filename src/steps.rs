//! Counted steps, for tests of what a request costs: comparisons of keys, and items of walks over everything that is held.
//!
//! Time depends on the machine; steps do not. Outside unit tests nothing is counted.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts one step of the thread that calls it.
#[inline(always)]
pub(crate) fn count() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

/// The steps of this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> u64 {
    STEPS.take()
}
