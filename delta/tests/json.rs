//! Values from JSON and back, and from Rust types.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tombolo_delta::{Int, Key, SerdeError, Value, from_value, to_value};

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn numbers_keep_their_kind_and_every_bit() {
    assert_eq!(value("1"), Value::from(1));
    assert_eq!(value("1.0"), Value::from(1.0));
    assert_ne!(value("1"), value("1.0"));
    assert_eq!(value("18446744073709551615"), Value::Int(Int::from(u64::MAX)));
    assert_eq!(value("-9223372036854775808"), Value::from(i64::MIN));
    assert_eq!(value("1.9680000000000002"), Value::from(1.968_000_000_000_000_2));
    assert_eq!(value("-0.0"), Value::from(-0.0));
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let error = serde_json::from_str::<Value>(r#"{"a": {"b": 1, "c": 2, "b": 1}}"#).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn values_print_as_json() {
    let text = r#"{"a":[null,true,-1,1.5,"é"],"bb":{}}"#;
    assert_eq!(serde_json::to_string(&value(text)).unwrap(), text);
    assert_eq!(serde_json::to_string(&Value::from(vec![1u8, 2])).unwrap(), "[1,2]");
    assert_eq!(serde_json::to_string(&Value::from(f64::NAN)).unwrap(), "null");
    assert_eq!(serde_json::to_string(&Value::map([(Key::Int(Int::from(7u64)), 1)])).unwrap(), r#"{"7":1}"#);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Station {
    name: String,
    power: Option<f32>,
    state: State,
    counts: BTreeMap<i16, u64>,
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Idle,
    Busy { since: i64 },
}

#[test]
fn rust_types_come_back() {
    let station = Station {
        name: "ridge".into(),
        power: Some(0.1),
        state: State::Busy { since: -5 },
        counts: [(-1, u64::MAX), (3, 0)].into(),
        key: vec![0, 255],
    };
    let value = to_value(&station).unwrap();
    assert_eq!(value.get("key"), Some(&Value::from(vec![0u8, 255])));
    assert_eq!(value.get("power"), Some(&Value::from(f64::from(0.1f32))));
    assert_eq!(from_value::<Station>(&value), Ok(station));
    assert_eq!(from_value::<State>(&Value::from("Idle")), Ok(State::Idle));
}

#[test]
fn what_the_model_leaves_out_is_refused_by_name() {
    assert_eq!(to_value(&u128::MAX), Err(SerdeError::Tag));
    assert_eq!(to_value(&BTreeMap::from([(vec![1], 1)])), Err(SerdeError::KeyKind));
}
