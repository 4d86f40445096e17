//! Other people's suites, read from the folder that `TOMBOLO_VECTORS` names.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value as Json;
use std::path::PathBuf;
use tombolo_delta::{CborError, Context, Limits, Value, apply, decode, diff, encode, from_cbor, to_cbor};

/// A suite, or none and a line that reports it.
fn suite(path: &str) -> Option<Vec<Json>> {
    let Some(folder) = std::env::var_os("TOMBOLO_VECTORS") else {
        println!("SKIPPED: {path}: TOMBOLO_VECTORS is not set");
        return None;
    };
    let text = std::fs::read_to_string(PathBuf::from(folder).join(path)).expect("the suite can be read");
    Some(serde_json::from_str(&text).expect("the suite is JSON"))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The examples of RFC 8949, appendix A: each is read and written again, or refused because it is not deterministic or
/// holds what the model leaves out.
#[test]
fn cbor_appendix_a() {
    let Some(cases) = suite("cbor/appendix_a.json") else { return };
    let mut accepted = 0;
    for case in &cases {
        let hex = case["hex"].as_str().unwrap();
        let bytes = bytes_of(hex);
        let read = from_cbor(&bytes, &Limits::default());
        let tag_or_simple = matches!(read, Err(CborError::Tag { .. } | CborError::Simple { .. }));
        if case["roundtrip"] == false {
            assert!(read.is_err(), "{hex} is not deterministic");
        } else if !tag_or_simple {
            let value = read.unwrap_or_else(|error| panic!("{hex}: {error}"));
            assert_eq!(to_cbor(&value), bytes, "{hex}");
            check_decoded(&value, case);
            accepted += 1;
        }
    }
    println!("{accepted} of {} read and written again, the others refused", cases.len());
    assert!(cases.len() == 82 && accepted >= 52, "{accepted} of {}", cases.len());
}

/// Where the suite gives a value in JSON, it is that; big numbers lose digits in JSON and are left out.
fn check_decoded(value: &Value, case: &Json) {
    if let Some(decoded) = case.get("decoded") {
        let expected: Value = serde_json::from_value(decoded.clone()).unwrap();
        let same = match (value, &expected) {
            (Value::Int(int), Value::Float(float)) => int.get() as f64 == *float,
            (Value::Float(float), Value::Int(int)) => int.get() as f64 == *float,
            _ => *value == expected,
        };
        assert!(same, "{value:?} is not {expected:?}");
    }
}

/// RFC 6902's suite as pairs of documents: the difference of the two makes the second from the first.
#[test]
fn json_patch() {
    let mut pairs = 0;
    for path in ["json-patch/tests.json", "json-patch/spec_tests.json"] {
        let Some(cases) = suite(path) else { return };
        for case in cases.iter().filter(|case| case["disabled"] != true) {
            let (Some(doc), Some(expected)) = (case.get("doc"), case.get("expected")) else { continue };
            let base: Value = serde_json::from_value(doc.clone()).unwrap();
            let target: Value = serde_json::from_value(expected.clone()).unwrap();
            let context = Context::default();
            let bytes = encode(&base, &diff(&base, &target, &context), &context);
            let delta = decode(&base, &bytes, &context).unwrap();
            assert_eq!(apply(&base, &delta, &context), Ok(target), "{case}");
            pairs += 1;
        }
    }
    println!("{pairs} pairs");
    assert!(pairs > 60);
}
