//! Calls into the database behind a guard: what it does with damaged bytes comes back as an error, never as a panic.
//!
//! The database checks its pages when it is asked to ([`super::file`]), but bytes may also rot under a running node, and its
//! code then fails an assertion. The panic is caught here, its message goes to the log, and the caller gets
//! [`StoreError::Damaged`]. The handle of the database is not used again after that: [`super::Store::heal`] opens the file again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::store::StoreError;

thread_local! {
    /// Whether a panic of this thread is an answer of the database to damaged bytes.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Calls the database. A panic inside becomes `Damaged`, and prints nothing.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    HOOK.call_once(install_hook);
    let before = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    result.unwrap_or(Err(StoreError::Damaged("its bytes make no sense to the database")))
}

/// Panics outside the guard go to the hook that was there before.
fn install_hook() {
    let before = take_hook();
    set_hook(Box::new(move |panic| match IS_GUARDED.get() {
        true => {
            tracing::warn!(at = panic.location().map(ToString::to_string), "the database met damaged bytes")
        }
        false => before(panic),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second call shows that the thread is usable after a caught panic, and that an error passes through.
    #[test]
    fn a_panic_of_the_database_is_damage() {
        let damaged = guarded::<()>(|| panic!("index out of bounds"));
        assert!(matches!(damaged, Err(StoreError::Damaged(_))));
        assert_eq!(guarded(|| Ok(3)), Ok(3));
        assert_eq!(guarded::<()>(|| Err(StoreError::InUse)), Err(StoreError::InUse));
        assert!(!IS_GUARDED.get());
    }
}
