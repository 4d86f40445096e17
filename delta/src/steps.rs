//! Work, counted: what a test compares with the bytes of a delta, its base and its outcome.
//!
//! A step is what takes some five nanoseconds: a decision, a place tried by the search for text, a node visited, 64 bytes
//! hashed, compared or copied. Outside of the tests of this crate nothing is counted.

#[cfg(test)]
pub(crate) use counted::{of, took};

/// Adds steps where they are counted.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn took(_: usize) {}

/// Adds the steps that so many bytes take.
#[inline(always)]
pub(crate) fn bytes(count: usize) {
    took(count / 64 + 1);
}

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    /// Adds steps of this thread.
    pub(crate) fn took(steps: usize) {
        STEPS.with(|all| all.set(all.get() + steps as u64));
    }

    /// The steps that `work` takes, and what it makes.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, u64) {
        let before = STEPS.with(Cell::get);
        let made = work();
        (made, STEPS.with(Cell::get) - before)
    }
}
