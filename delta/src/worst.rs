//! The worst that a delta can cost: for inputs that once took seconds, the steps stay within what the bytes explain.
//!
//! Steps are counted, so the machine does not matter. [`LIMIT_START`] and [`LIMIT_BY_BYTE`] are 200 microseconds, and one
//! for each byte of delta, base and outcome. `cargo bench -p tombolo-delta` shows the same inputs by the clock.

#[path = "../tests/common/hostile.rs"]
mod hostile;
#[path = "../tests/common/large.rs"]
mod large;

use crate::{Context, Value, apply, decode, diff, encode, steps, to_cbor};
use hostile::{CONTEXT, Case, cases};

/// Steps of five nanoseconds that any delta may take.
const LIMIT_START: u64 = 40_000;
/// And for each byte.
const LIMIT_BY_BYTE: u64 = 200;

fn limit(base: &Value, delta: &[u8], target: &Value) -> u64 {
    let bytes = to_cbor(base).len() + delta.len() + to_cbor(target).len();
    LIMIT_START + LIMIT_BY_BYTE * bytes as u64
}

#[test]
fn no_delta_costs_more_than_its_bytes_explain() {
    let mut rows = Vec::new();
    for Case { name, base, target } in cases(1) {
        let (bytes, encoding) = steps::of(|| encode(&base, &diff(&base, &target, &CONTEXT), &CONTEXT));
        let (made, decoding) =
            steps::of(|| apply(&base, &decode(&base, &bytes, &CONTEXT).unwrap(), &CONTEXT));
        assert_eq!(made.as_ref(), Ok(&target), "{name}");
        let limit = limit(&base, &bytes, &target);
        rows.push((
            encoding.max(decoding) as f64 / limit as f64,
            name,
            bytes.len(),
            encoding,
            decoding,
            limit,
        ));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (part, name, bytes, encoding, decoding, limit) in &rows {
        println!("{part:5.2}  {name:52} delta {bytes:6}, {encoding:9} and {decoding:9} steps of {limit:9}");
    }
    assert!(rows.iter().all(|row| row.0 <= 1.0), "{:?}", rows.first());
}

/// Six times the document takes less than fifteen times the steps, where the square would take thirty-six; and one change in a
/// hundred takes a small part of the document's bytes.
#[test]
fn steps_do_not_grow_with_the_square() {
    for (name, kind) in large::KINDS {
        let round_trip = |n: usize| {
            let (base, target) = kind(n);
            let (bytes, steps) = steps::of(|| {
                let bytes = encode(&base, &diff(&base, &target, &CONTEXT), &CONTEXT);
                let made = apply(&base, &decode(&base, &bytes, &CONTEXT).unwrap(), &CONTEXT);
                assert_eq!(made.as_ref(), Ok(&target), "{name}");
                bytes
            });
            (steps, bytes.len(), to_cbor(&target).len())
        };
        let (small, ..) = round_trip(1000);
        let (large, bytes, whole) = round_trip(6000);
        println!("{name}: {whole} bytes, delta {bytes}, {small} then {large} steps");
        assert!(large < small * 15 + LIMIT_START, "{name}: {small} then {large} steps");
        assert!(bytes * 12 < whole, "{name}: a delta of {bytes} for {whole}");
    }
}

/// Bytes without sense on the same bases: what is refused late costs no more than what it would have made.
#[test]
fn bytes_without_sense_cost_no_more() {
    let mut seed = 0x5EED_u64;
    let mut random = || {
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (seed >> 33) as u8
    };
    let mut most = (0.0, "");
    for Case { name, base, .. } in cases(8) {
        for length in [8, 40, 90, 90, 300, 300] {
            let body: Vec<u8> = (0..length).map(|_| random()).collect();
            let bytes = to_cbor(&Value::from(body));
            let (_, took) = steps::of(|| decode(&base, &bytes, &CONTEXT).map(|d| apply(&base, &d, &CONTEXT)));
            // Of an outcome that is refused nothing is left to measure: at most what a delta may bring.
            let room = (to_cbor(&base).len() + bytes.len() + crate::limits::NEW_BYTES_MAX) as u64;
            let part = took as f64 / (LIMIT_START + LIMIT_BY_BYTE * room) as f64;
            if part > most.0 {
                most = (part, name);
            }
        }
    }
    println!("at most {:.3} of the limit: {}", most.0, most.1);
    assert!(most.0 <= 1.0, "{most:?}");
}

/// What is reserved for arrays and maps that announce more than can follow.
#[test]
fn an_announced_length_is_owed_by_the_bytes_that_follow() {
    use crate::{CborError, Limits, from_cbor};
    // Sixty-three arrays, each of which announces all that is left; the bytes are there for one of them only.
    let mut nested = Vec::new();
    for _ in 0..63 {
        nested.extend([0x9a, 0, 1, 0, 0]);
    }
    nested.resize(nested.len() + 65_536, 0xf6);
    let limits = Limits { bytes_max: 1 << 20, ..Limits::SNAPSHOT };
    assert_eq!(from_cbor(&nested, &limits), Err(CborError::Truncated));
    let fits = [[0x82, 0x82, 0xf6, 0xf6, 0xf6].as_slice(), &[0xa1, 0x00, 0x81, 0xf6]];
    assert!(fits.iter().all(|bytes| from_cbor(bytes, &limits).is_ok()));
    let _ = Context::default();
}
