//! Large documents: time grows with their size, not with its square, and a small change stays small.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a measurement")]

#[path = "common/large.rs"]
mod large;

use large::KINDS;
use std::time::{Duration, Instant};
use tombolo_delta::{Context, Value, apply, decode, diff, encode, to_cbor};

/// The fastest of three runs there and back, and the bytes of the delta.
fn round_trip(base: &Value, target: &Value) -> (Duration, usize) {
    let context = Context::default();
    let mut best = (Duration::MAX, 0);
    for _ in 0..3 {
        let start = Instant::now();
        let bytes = encode(base, &diff(base, target, &context), &context);
        let made = apply(base, &decode(base, &bytes, &context).unwrap(), &context);
        let took = start.elapsed();
        assert_eq!(made.as_ref(), Ok(target));
        best = best.min((took, bytes.len()));
    }
    best
}

/// Six times the document takes less than fifteen times as long, where the square would take thirty-six; and one change
/// in a hundred takes a small part of the document's bytes.
#[test]
fn time_does_not_grow_with_the_square() {
    for (name, kind) in KINDS {
        let (base, target) = kind(1000);
        let (small, _) = round_trip(&base, &target);
        let (base, target) = kind(6000);
        let (large, bytes) = round_trip(&base, &target);
        let whole = to_cbor(&target).len();
        println!("{name}: {whole} bytes, delta {bytes}, {small:?} then {large:?}");
        assert!(large < small * 15 + Duration::from_millis(20), "{name}: {small:?} then {large:?}");
        assert!(bytes * 12 < whole, "{name}: a delta of {bytes} for {whole}");
    }
}
