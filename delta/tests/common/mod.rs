//! Values and pairs of states for properties.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;
use tombolo_delta::{Context, Int, Key, Map, Value};

/// Any value, with the odd ones often: extreme integers, NaNs with payloads, times, versions, repeated words.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec((key(), inner), 0..8)
                .prop_map(|entries| Value::Map(Map::from_iter(entries))),
        ]
    })
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => prop::sample::select(vec!["id", "name", "version", "uptime_secs", "mem_used_bytes", "mem_total_bytes", "status", "", "seq", "é\0"])
            .prop_map(Key::from),
        1 => "[a-z_]{1,12}".prop_map(Key::Text),
        1 => any::<i64>().prop_map(|number| Key::Int(Int::from(number))),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::Bool),
        4 => int(),
        4 => float().prop_map(Value::Float),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        6 => text().prop_map(Value::Text),
    ]
}

fn int() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..100i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..1u64 << 40).prop_map(|pages| Value::from(pages << 12)),
        prop::sample::select(vec![Int::MIN, Int::MAX, Int::from(i64::MIN), Int::from(0u64)])
            .prop_map(Value::Int),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (0..100_000u32).prop_map(|number| f64::from(number) / 100.0),
        (0..1000u32).prop_map(|number| f64::from(number) / 7.0),
        any::<u16>().prop_map(|payload| f64::from_bits(f64::NAN.to_bits() | u64::from(payload) << 30)),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            5e-324,
            65504.0
        ]),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["running", "stopped", "a", "", "1.2.3", "v0.10.09", "line\nline\nother\n"])
            .prop_map(String::from),
        "[0-9]{1,3}\\.[0-9]{1,3}(-beta\\.[0-9])?",
        (0..4000u32).prop_map(|seconds| format!(
            "2026-01-01T0{}:{:02}:{:02}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )),
        ".{0,40}",
        "([a-z ]{0,12}\n){0,30}",
        "([a-z]{3,6} ){0,60}",
    ]
}

/// Two states of one document: the second a change of the first, or another value altogether.
pub(crate) fn pair() -> impl Strategy<Value = (Value, Value)> {
    (value(), prop::collection::vec((any::<u32>(), value()), 0..6), 0..10u8, value()).prop_map(
        |(base, changes, how, other)| {
            if how == 0 {
                return (base, other);
            }
            let target = changes.iter().fold(base.clone(), |tree, (at, new)| changed(tree, *at, new));
            (base, target)
        },
    )
}

/// The tree with one change somewhere that `at` picks.
fn changed(tree: Value, at: u32, new: &Value) -> Value {
    let (pick, next) = ((at % 7) as usize, at / 7);
    match tree {
        Value::Array(mut items) if !items.is_empty() => {
            let index = next as usize % items.len();
            match pick {
                0 => items.push(new.clone()),
                1 => drop(items.remove(index)),
                2 => items.reverse(),
                3 => {
                    let item = items.remove(index);
                    items.insert(0, item);
                }
                4 => items.insert(index, new.clone()),
                _ => items[index] = changed(items[index].clone(), next / 5, new),
            }
            Value::Array(items)
        }
        Value::Map(map) if !map.is_empty() => {
            let index = next as usize % map.len();
            let mut entries: Vec<(Key, Value)> = map.into_iter().collect();
            match pick {
                0 => drop(entries.remove(index)),
                1 => entries[index].0 = Key::from("renamed"),
                2 => entries.push((Key::from("added"), new.clone())),
                _ => entries[index].1 = changed(entries[index].1.clone(), next / 5, new),
            }
            Value::Map(Map::from_iter(entries))
        }
        Value::Text(text) if pick < 4 => {
            let characters: Vec<char> = text.chars().collect();
            let (head, tail) = (&characters[..characters.len() / 2], &characters[characters.len() / 3..]);
            Value::Text(head.iter().chain(['0'].iter()).chain(tail).collect())
        }
        Value::Int(int) if pick < 5 => {
            Value::Int(Int::new(int.get() + i128::from(next % 9) - 4).unwrap_or(int))
        }
        _ => new.clone(),
    }
}

pub(crate) fn context() -> impl Strategy<Value = Context> {
    let time = 1_767_225_600_000u64..1_767_225_700_000;
    prop_oneof![
        (any::<u8>(), any::<u8>(), time.clone(), time).prop_map(|(base, sequence, base_time_ms, time_ms)| {
            Context { base_sequence: base.into(), sequence: sequence.into(), base_time_ms, time_ms }
        }),
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
            |(base_sequence, sequence, base_time_ms, time_ms)| {
                Context { base_sequence, sequence, base_time_ms, time_ms }
            }
        ),
    ]
}
