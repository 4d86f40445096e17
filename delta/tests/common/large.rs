//! Large documents of several shapes, with one part in a hundred changed.

use tombolo_delta::Value;

/// One way to make a large document of `n` parts with one in a hundred changed.
pub(crate) type Kind = (&'static str, fn(usize) -> (Value, Value));

pub(crate) const KINDS: [Kind; 7] = [
    ("records with an id", records),
    ("a flat map", flat_map),
    ("a list of texts, some moved", moved_texts),
    ("a text of many lines", lines),
    ("a text of very short lines", short_lines),
    ("a list that repeats a few values", repeated),
    ("a long text without lines", words),
];

fn number(seed: usize) -> usize {
    (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

fn pair(n: usize, part: impl Fn(usize, bool) -> Value) -> (Vec<Value>, Vec<Value>) {
    let base = (0..n).map(|at| part(at, false)).collect();
    (base, (0..n).map(|at| part(at, at % 100 == 50)).collect())
}

fn records(n: usize) -> (Value, Value) {
    let (base, target) = pair(n, |at, changed| {
        let entries = [
            ("id", Value::from(format!("node-{}", number(at)))),
            ("seen", Value::from((number(at + 7) + usize::from(changed)) as u64)),
            ("status", Value::from(if changed { "stopped" } else { "running" })),
        ];
        Value::map(entries)
    });
    (Value::map([("records", base)]), Value::map([("records", target)]))
}

fn flat_map(n: usize) -> (Value, Value) {
    let (base, target) =
        pair(n, |at, changed| Value::from(format!("value {}", number(at + usize::from(changed)))));
    let keyed = |values: Vec<Value>| {
        values.into_iter().enumerate().map(|(at, v)| (format!("key {}", number(at * 3)), v)).collect()
    };
    (keyed(base), keyed(target))
}

fn moved_texts(n: usize) -> (Value, Value) {
    let (base, mut target) =
        pair(n, |at, changed| Value::from(format!("item {}{}", number(at), if changed { "x" } else { "" })));
    for at in (0..n / 100).map(|at| at * 100) {
        let item = target.remove(at);
        target.insert((at * 7 + 13) % (n - 1), item);
    }
    (Value::Array(base), Value::Array(target))
}

fn lines(n: usize) -> (Value, Value) {
    let text = |changed: bool| -> String {
        (0..n)
            .map(|at| {
                format!(
                    "line {} of a text{}\n",
                    number(at),
                    if changed && at % 100 == 50 { ", changed" } else { "" }
                )
            })
            .collect()
    };
    (Value::from(text(false)), Value::from(text(true)))
}

fn short_lines(n: usize) -> (Value, Value) {
    let text = |changed: bool| -> String {
        let sum = |at: usize| number(at) % 900_000 + 50_000 + usize::from(changed && at % 100 == 50);
        (0..n).map(|at| format!("{}\n", sum(at))).collect()
    };
    (Value::from(text(false)), Value::from(text(true)))
}

fn repeated(n: usize) -> (Value, Value) {
    let (base, target) = pair(n, |at, changed| Value::from(((number(at) + usize::from(changed)) % 5) as u64));
    (Value::Array(base), Value::Array(target))
}

fn words(n: usize) -> (Value, Value) {
    let text = |changed: bool| -> String {
        (0..n)
            .map(|at| {
                format!("word{}{} ", number(at) % 5000, if changed && at % 100 == 50 { "s" } else { "" })
            })
            .collect()
    };
    (Value::from(text(false)), Value::from(text(true)))
}
