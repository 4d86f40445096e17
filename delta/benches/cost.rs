//! What the worst deltas cost, by the clock: `cargo bench -p tombolo-delta --bench cost`.
//!
//! The bound is 200 microseconds, and one for each byte of delta, base and outcome. The test `worst` holds the same inputs
//! to it by counted steps; this shows what a step is on a machine.

#![allow(clippy::unwrap_used, reason = "a bench may panic")]
#![allow(clippy::disallowed_methods, reason = "a measurement")]

#[path = "../tests/common/hostile.rs"]
mod hostile;

use hostile::{CONTEXT, Case, cases};
use std::time::Instant;
use tombolo_delta::{apply, decode, diff, encode, to_cbor};

/// The fastest of a few runs, in microseconds.
fn best(mut run: impl FnMut()) -> f64 {
    let mut times = (0..5).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e6
    });
    let first = times.next().unwrap_or(0.0);
    times.fold(first, f64::min)
}

fn main() {
    let mut rows = Vec::new();
    for Case { name, base, target } in cases(1) {
        let bytes = encode(&base, &diff(&base, &target, &CONTEXT), &CONTEXT);
        let encoding = best(|| drop(encode(&base, &diff(&base, &target, &CONTEXT), &CONTEXT)));
        let decoding =
            best(|| drop(apply(&base, &decode(&base, &bytes, &CONTEXT).unwrap(), &CONTEXT).unwrap()));
        let whole = to_cbor(&base).len() + bytes.len() + to_cbor(&target).len();
        let bound = 200.0 + whole as f64;
        rows.push((encoding.max(decoding) / bound, name, bytes.len(), whole, encoding, decoding));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!(
        "{:>8}  {:44} {:>8} {:>8} {:>10} {:>10}",
        "of bound", "input", "delta", "in all", "encode us", "decode us"
    );
    for (part, name, bytes, whole, encoding, decoding) in rows {
        println!("{part:8.2}  {name:44} {bytes:8} {whole:8} {encoding:10.0} {decoding:10.0}");
    }
}
