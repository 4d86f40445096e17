//! Large documents: what a delta takes to make and to read stays near what the two values take themselves.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/large.rs"]
mod large;

use large::KINDS;
use peak_alloc::PeakAlloc;
use tombolo_delta::{Context, apply, decode, diff, encode, to_cbor};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The documents have about so many bytes of CBOR.
const DOCUMENT_BYTES: usize = 200_000;

/// What was made, and how much heap its making needed at once beyond what was there.
fn needed<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let made = make();
    (made, HEAP.peak_usage() - before)
}

/// One test in a program of its own, since the heap is everybody's.
#[test]
fn a_delta_takes_at_most_twice_what_the_two_values_take() {
    let context = Context::default();
    for (name, kind) in KINDS {
        let parts = 1000 * DOCUMENT_BYTES / to_cbor(&kind(1000).0).len();
        let ((base, target), own) = needed(|| kind(parts));
        let own = own.min(needed(|| (base.clone(), target.clone())).1);
        let (bytes, encoding) = needed(|| encode(&base, &diff(&base, &target, &context), &context));
        let (made, decoding) =
            needed(|| apply(&base, &decode(&base, &bytes, &context).unwrap(), &context).unwrap());
        assert_eq!(made, target);
        let times = |bytes: usize| bytes as f64 / own as f64;
        println!(
            "{name}: {parts} parts, the values {own}, to make {:.2}, to read {:.2} times that",
            times(encoding),
            times(decoding)
        );
        assert!(encoding <= 2 * own, "{name}: {encoding} to make, {own} the values");
        assert!(decoding <= 2 * own, "{name}: {decoding} to read, {own} the values");
    }
}
