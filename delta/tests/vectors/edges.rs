//! Pairs at the limits of single sentences of the page: a reader that counts one more or one less decodes another value.

use super::{Case, context_of};
use tombolo_delta::{Int, Key, Value};

fn case(about: &'static str, base: Value, target: Value) -> Case {
    Case { about, base, target, context: context_of(60), delta: None }
}

/// Under one key this text and five short ones.
fn among_others(text: &str) -> Value {
    let others = [text, "x", "y", "z", "w", "v"];
    Value::map([("a", Value::array(others.map(Value::from)))])
}

fn fields<const N: usize>(fields: [(&str, u64); N]) -> Value {
    Value::map(fields.map(|(key, number)| (key, Value::from(number))))
}

fn under_two_keys(text: &str) -> Value {
    let inner = |text: &str| Value::map([("t", Value::from(text))]);
    Value::map([("a", inner(text)), ("b", inner(text))])
}

fn in_texts() -> Vec<Case> {
    let words: Vec<Value> = (0..15).map(|at| Value::from(format!("word{}", at % 5).as_str())).collect();
    let mut other_words = words.clone();
    other_words[3] = Value::from("word3 and more");
    let long = "long text ".repeat(12);
    let digits = "7.37".repeat(10);
    let whole = "abcdef".repeat(8);
    vec![
        case(
            "a text of 4,096 bytes is counted as a word",
            under_two_keys("short"),
            under_two_keys(&"w ".repeat(2048)),
        ),
        case("five words are no vocabulary", Value::Array(words), Value::Array(other_words)),
        case(
            "a text of 120 bytes is not long",
            among_others(&long),
            among_others(&long.replacen("text", "word", 1)),
        ),
        case(
            "40 bytes of digits are no number",
            among_others(&digits),
            among_others(&digits.replacen("37", "38", 1)),
        ),
        case(
            "a text of 48 bytes is not trimmed",
            Value::from(whole.as_str()),
            Value::from(whole.replacen("fab", "f-b", 1).as_str()),
        ),
    ]
}

fn in_numbers() -> Vec<Case> {
    let float = |bits: u64| Value::from(f64::from_bits(bits));
    let (edge, half) = (0x4330_0000_0000_0000, 0x4320_0000_0000_0001);
    vec![
        case(
            "a key without an underscore is its own first word",
            fields([("used", 409_600), ("bytes", 315_623), ("mem_used", 135_168)]),
            fields([("used", 413_696), ("bytes", 315_623), ("mem_used", 135_168)]),
        ),
        case(
            "pages by sixes of bits: 7 and 13 bits",
            fields([("mem_used", 64 << 12), ("disk_free", 5_000 << 12)]),
            fields([("mem_used", 67 << 12), ("disk_free", 4_990 << 12)]),
        ),
        case(
            "lively numbers by eights of bits: 7 and 14 bits",
            fields([("rx_count", 100), ("tx_count", 9_000)]),
            fields([("rx_count", 113), ("tx_count", 9_117)]),
        ),
        case("2^52 is a decimal", float(edge), float(edge - 100)),
        case("halves are rounded away from zero", float(half), float(half - 18)),
    ]
}

fn in_keys() -> Vec<Case> {
    let key = |key: i128, value: u64| (Key::Int(Int::new(key).unwrap()), Value::from(value));
    let text = |key: &str, value: u64| (Key::from(key), Value::from(value));
    let base = [key(1, 5), text("name of it", 6), text("other", 7)];
    let target = [text("name of all", 8), text("other", 7)];
    vec![case(
        "the first removed key is a number: no guide",
        Value::Map(base.into_iter().collect()),
        Value::Map(target.into_iter().collect()),
    )]
}

pub(super) fn pairs() -> Vec<Case> {
    [in_texts(), in_numbers(), in_keys()].concat()
}
