//! The vectors that pin the format: bytes another implementation can check itself against.
//!
//! `TOMBOLO_BLESS=1 cargo test -p tombolo-delta --test vectors` writes them again, after a new version of the format.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "vectors/decisions.rs"]
mod decisions;
#[path = "vectors/edges.rs"]
mod edges;

use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use tombolo_delta::{Context, Delta, Int, Key, Limits, VERSION, Value};
use tombolo_delta::{apply, decode, diff, encode, from_cbor, to_cbor};

fn path(name: &str) -> String {
    format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn load(name: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// Keeps the table of requirements, which `tests/vectors` of the repository checks.
fn write(name: &str, mut file: Json) {
    file["requirements"] = load(name)["requirements"].clone();
    std::fs::write(path(name), serde_json::to_string_pretty(&file).unwrap() + "\n").unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn read(hex: &Json) -> Value {
    from_cbor(&bytes(hex), &Limits::default()).unwrap()
}

#[test]
fn accepted_cbor_is_written_again() {
    for case in load("cbor.json")["accepted"].as_array().unwrap() {
        let value = read(&case["hex"]);
        assert_eq!(plain(&value), case["value"], "{case}");
        assert_eq!(to_cbor(&value), bytes(&case["hex"]), "{case}");
    }
}

#[test]
fn refused_cbor_is_refused_by_name() {
    for case in load("cbor.json")["refused"].as_array().unwrap() {
        let error = from_cbor(&bytes(&case["hex"]), &Limits::default()).unwrap_err();
        assert_eq!(name(&error), case["error"], "{case}");
    }
}

/// Each delta is read, and is what would be written today.
#[test]
fn deltas_are_read_and_written_as_ever() {
    let file = load("deltas.json");
    assert_eq!(file["version"], VERSION);
    for case in file["deltas"].as_array().unwrap() {
        let (base, target, packed) = (read(&case["base"]), read(&case["target"]), bytes(&case["delta"]));
        let context = context(case);
        let delta = decode(&base, &packed, &context).unwrap();
        assert_eq!(apply(&base, &delta, &context), Ok(target.clone()), "{}", case["about"]);
        // An encoder may choose other edits than these; what they are is written the same.
        assert_eq!(hex(&encode(&base, &delta, &context)), hex(&packed), "{}", case["about"]);
    }
    for case in pairs().iter().filter(|case| case.delta.is_none()) {
        let written = delta_json(case);
        let is_it = |known: &&Json| known["about"] == written["about"];
        assert_eq!(file["deltas"].as_array().unwrap().iter().find(is_it), Some(&written));
    }
}

#[test]
fn refused_deltas_are_refused_by_name() {
    let file = load("deltas.json");
    let refused = file["refused"].as_array().unwrap();
    for case in refused {
        assert_eq!(
            refusal(&read(&case["base"]), &bytes(&case["delta"]), &context(case)),
            case["error"],
            "{case}"
        );
    }
    assert!(refused.len() >= file["deltas"].as_array().unwrap().len());
}

/// The name of the error with which a delta is read or applied; empty if it is not refused.
fn refusal(base: &Value, packed: &[u8], context: &Context) -> String {
    match decode(base, packed, context) {
        Err(error) => name(&error),
        Ok(delta) => apply(base, &delta, context).map_or_else(|error| name(&error), |_| String::new()),
    }
}

fn context(case: &Json) -> Context {
    let field = |name: &str| case["context"][name].as_u64().unwrap();
    Context {
        base_sequence: field("base_sequence"),
        sequence: field("sequence"),
        base_time_ms: field("base_time_ms"),
        time_ms: field("time_ms"),
    }
}

/// A value as JSON: what JSON has is itself; an integer `{int}` in decimals, a float `{float}` as its 64 bits in hex, bytes `{hex}`, a
/// map `{map}` as pairs, in order.
fn plain(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => json!(bool),
        Value::Int(int) => json!({ "int": int.get().to_string() }),
        Value::Float(float) => json!({ "float": format!("{:016x}", float.to_bits()) }),
        Value::Bytes(bytes) => json!({ "hex": hex(bytes) }),
        Value::Text(text) => json!(text.to_string()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Map(members) => {
            let key = |key: &Key| match key {
                Key::Text(text) => json!(text.to_string()),
                Key::Int(int) => json!({ "int": int.get().to_string() }),
            };
            json!({ "map": members.iter().map(|(own, value)| json!([key(own), plain(value)])).collect::<Vec<_>>() })
        }
    }
}

fn name(error: &impl std::fmt::Debug) -> String {
    format!("{error:?}").split([' ', '{', '(']).next().unwrap().to_owned()
}

/// Deltas that are refused: those above with a bit flipped, cut off or with bytes behind them, a few for each error.
fn refused_deltas(deltas: &[Json]) -> Vec<Json> {
    const EACH: usize = 8;
    let mut found: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for case in deltas {
        let (base, packed, context) = (read(&case["base"]), bytes(&case["delta"]), context(case));
        let Value::Bytes(body) = from_cbor(&packed, &Limits::default()).unwrap() else { continue };
        let flipped = (0..body.len().min(40) * 8).map(|bit| {
            let mut body = body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            body
        });
        let cut = (0..body.len()).step_by(7).map(|length| body[..length].to_vec());
        let framed = flipped
            .chain(cut)
            .chain([[body.as_slice(), &[1]].concat()])
            .map(|body| to_cbor(&Value::from(body)));
        let others = [
            vec![0x01],
            packed.split_last().map_or(vec![], |(_, rest)| rest.to_vec()),
            [&packed[..], &[0]].concat(),
        ];
        for delta in framed.chain(others) {
            let error = refusal(&base, &delta, &context);
            let known = found.entry(error.clone()).or_default();
            if !error.is_empty() && known.len() < EACH && hex(&to_cbor(&base)).len() < 2000 {
                known.push(json!({
                    "about": format!("{error} {}, of: {}", known.len() + 1, case["about"].as_str().unwrap()),
                    "context": case["context"], "base": case["base"], "delta": hex(&delta), "error": error,
                }));
            }
        }
    }
    found.into_values().flatten().collect()
}

#[test]
fn vectors_are_written_anew_on_request_only() {
    if std::env::var_os("TOMBOLO_BLESS").is_none() {
        return;
    }
    let deltas: Vec<Json> = pairs().iter().map(delta_json).collect();
    let mut refused = refused_deltas(&deltas);
    refused.extend([a_key_twice(), commas_of_a_short_text()]);
    let file = json!({ "version": VERSION, "deltas": deltas, "refused": refused });
    write("deltas.json", file);
    let accepted: Vec<Json> =
        values().iter().map(|v| json!({ "hex": hex(&to_cbor(v)), "value": plain(v) })).collect();
    let refused: Vec<Json> = REFUSED
        .iter()
        .map(|text| {
            let error = from_cbor(&bytes(&json!(text)), &Limits::default()).unwrap_err();
            json!({ "hex": text, "error": name(&error) })
        })
        .collect();
    let file = json!({ "accepted": accepted, "refused": refused });
    write("cbor.json", file);
}

/// A base and what becomes of it; the delta where it is not the one that the encoder would choose.
#[derive(Clone)]
struct Case {
    about: &'static str,
    base: Value,
    target: Value,
    context: Context,
    delta: Option<Delta>,
}

/// The next sequence, so many seconds later.
fn context_of(seconds: u64) -> Context {
    Context {
        base_sequence: 41,
        sequence: 42,
        base_time_ms: 1_767_225_660_000,
        time_ms: 1_767_225_660_000 + seconds * 1000,
    }
}

fn pairs() -> Vec<Case> {
    let case = |(about, base, target, seconds)| Case {
        about,
        base,
        target,
        context: context_of(seconds),
        delta: None,
    };
    features().into_iter().map(case).chain(decisions::pairs()).chain(edges::pairs()).collect()
}

fn context_json(context: &Context) -> Json {
    json!({
        "base_sequence": context.base_sequence,
        "sequence": context.sequence,
        "base_time_ms": context.base_time_ms,
        "time_ms": context.time_ms,
    })
}

fn delta_json(case: &Case) -> Json {
    let Case { about, base, target, context, delta } = case;
    let chosen = || diff(base, target, context);
    let delta = encode(base, &delta.clone().unwrap_or_else(chosen), context);
    json!({
        "about": about,
        "context": context_json(context),
        "base": hex(&to_cbor(base)),
        "target": hex(&to_cbor(target)),
        "delta": hex(&delta),
    })
}

/// A key comes that the base has and keeps: the delta was made for a base without it.
fn a_key_twice() -> Json {
    let map = |first, second| Value::map([(first, 1), (second, 3)]);
    let context = context_of(0);
    let base = map("a", "b");
    let delta = encode(&base, &diff(&map("a", "c"), &map("b", "c"), &context), &context);
    let error = refusal(&base, &delta, &context);
    assert_eq!(error, "KeyTwice");
    json!({
        "about": "KeyTwice 1: a new key that the base has and keeps", "context": context_json(&context),
        "base": hex(&to_cbor(&base)), "delta": hex(&delta), "error": error,
    })
}

/// The delta of a text that is cut at commas, for a shorter one, which is not.
fn commas_of_a_short_text() -> Json {
    let words = |count: usize| (0..count).map(|at| format!("n{},", at * 7919 % 1009)).collect::<String>();
    let (context, long, short) = (context_of(0), Value::from(words(60)), Value::from(words(40)));
    let target = Value::from(words(60).replace("n244,", "xx,"));
    let delta = encode(&long, &diff(&long, &target, &context), &context);
    let error = refusal(&short, &delta, &context);
    assert_eq!(error, "Position");
    json!({
        "about": "Position: the lines of a text of 195 bytes that has commas alone", "context": context_json(&context),
        "base": hex(&to_cbor(&short)), "delta": hex(&delta), "error": error,
    })
}

/// Not deterministic, beyond the model, or cut off.
const REFUSED: [&str; 25] = [
    "",
    "1817",
    "190017",
    "1a00000017",
    "1b0000000000000017",
    "fa3fc00000",
    "fb3ff8000000000000",
    "9f01ff",
    "5f4101ff",
    "7f6161ff",
    "bf616101ff",
    "c11a514b67b0",
    "c249010000000000000000",
    "f7",
    "f0",
    "f8ff",
    "1c",
    "ff",
    "61ff",
    "a2616201616101",
    "a2616101616102",
    "a14101f6",
    "8201",
    "0000",
    // 65 arrays in each other.
    "8181818181818181818181818181818181818181818181818181818181818181\
     818181818181818181818181818181818181818181818181818181818181818180",
];

fn values() -> Vec<Value> {
    let int = |number: i128| Value::Int(Int::new(number).unwrap());
    let ints = [
        0,
        23,
        24,
        255,
        256,
        65_535,
        65_536,
        u32::MAX.into(),
        1 << 32,
        u64::MAX.into(),
        -1,
        -24,
        -25,
        -256,
        -(1 << 64),
    ];
    let floats = [
        0.0,
        -0.0,
        1.5,
        65_504.0,
        65_505.0,
        5.960_464_477_539_063e-8,
        100_000.0,
        1.1,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let nans = [0x7ff8_0000_0000_0000, 0x7ff8_0000_2000_0000, 0x7ff8_0000_0000_0001, 0xfff0_0400_0000_0000]
        .map(f64::from_bits);
    let keys = [
        Key::Int(Int::from(10u64)),
        Key::Int(Int::from(-1i64)),
        Key::from("z"),
        Key::from("aa"),
        Key::from(""),
    ];
    let mut values = vec![
        Value::Null,
        Value::from(true),
        Value::from(vec![0u8, 255]),
        Value::from("é"),
        Value::from(vec![Value::Null]),
    ];
    values.extend(ints.map(int));
    values.extend(floats.map(Value::from));
    values.extend(nans.map(Value::from));
    values.push(Value::map(keys.map(|key| (key, 0))));
    values.push((0..64).fold(Value::Null, |inner, _| Value::from(vec![inner])));
    values
}

/// A text of numbered items.
fn distinct(count: usize) -> String {
    (0..count).map(|at| format!("item {at};")).collect()
}

fn state(timestamp: &str, cpu: f64, memory: u64, uptime: u64, apps: &[(&str, &str, &str)]) -> Value {
    let app = |(id, status, version): &(&str, &str, &str)| {
        Value::map([("id", *id), ("status", *status), ("version", *version)])
    };
    Value::map([
        ("timestamp", Value::from(timestamp)),
        ("node_name", Value::from("attic")),
        ("apps", Value::Array(apps.iter().map(app).collect())),
        ("cpu_usage_percent", Value::from(cpu)),
        ("mem_used_bytes", Value::from(memory << 12)),
        ("mem_total_bytes", Value::from(8u64 << 30)),
        ("uptime_secs", Value::from(uptime)),
        ("tor_active", Value::from(true)),
    ])
}

/// One pair a feature, and how many seconds lie between.
fn features() -> Vec<(&'static str, Value, Value, u64)> {
    let old_apps =
        [("files", "running", "1.4.2"), ("mail", "running", "v3.0.9"), ("wiki", "stopped", "2.1.0")];
    let new_apps =
        [("chat", "running", "0.9.1"), ("files", "running", "1.5.0"), ("wiki", "running", "2.1.0")];
    let first = state("2026-01-01T00:01:00Z", 12.5, 300_000, 86_400, &old_apps);
    let quiet = state("2026-01-01T00:02:00Z", 12.5, 300_000, 86_460, &old_apps);
    let busy = state("2026-01-01T00:02:00Z", 13.25, 300_017, 86_460, &new_apps);
    let late = state("2026-01-01T00:02:03Z", 13.250_000_000_000_002, 300_017, 5, &old_apps);
    let list = |text: &str| Value::array(text.split(' ').map(Value::from));
    let lines = "first line\nsecond line\nthird line\nfourth line\n";
    let long =
        "A long text without lines is cut into words, and only the words that differ are told. ".repeat(4);
    let colours = ["red", "green", "blue", "grey"];
    let line = |at: usize| format!("{} sheets, {}; ", at * at * 7919 % 1009, colours[at * at % 7 % 4]);
    let many: String = (0..320).map(line).collect();
    vec![
        ("nothing changes", Value::Null, Value::Null, 0),
        ("a first snapshot", Value::Null, first.clone(), 0),
        ("time passes, nothing else", first.clone(), quiet.clone(), 60),
        ("numbers, a bump, a word, a record comes and one goes", first.clone(), busy.clone(), 60),
        ("the clock is off, the uptime starts again, a float is one unit off", first.clone(), late, 60),
        (
            "the clock has stopped",
            first.clone(),
            state("2026-01-01T00:01:00Z", 13.0, 300_000, 86_400, &old_apps),
            60,
        ),
        ("another kind of document", first, list("a b"), 60),
        ("items come, go and move", list("a b c d e f g h"), list("h a b c x e f g"), 0),
        ("a list of its own words", list("red green red red red"), list("red green red green red red"), 0),
        ("lines change", Value::from(lines), Value::from(lines.replace("second", "2nd")), 0),
        ("words change", Value::from(long.as_str()), Value::from(long.replacen("only", "just", 2)), 0),
        (
            "keys come, go and change their name",
            Value::map([("a", 1), ("b", 20), ("c", 3)]),
            Value::map([("a", 1), ("bb", 20), ("d", 4)]),
            0,
        ),
        (
            "keys that are numbers",
            Value::map([(Key::Int(Int::from(1u64)), 1)]),
            Value::map([(Key::Int(Int::from(-1i64)), 1), (Key::Int(Int::from(1u64)), 2)]),
            0,
        ),
        (
            "a long new text, searched and then streamed",
            Value::map([("notes", "")]),
            Value::map([("notes", Value::from(many.as_str()))]),
            0,
        ),
        ("bytes", Value::from(vec![0u8, 1, 2, 3]), Value::from(vec![0u8, 0, 1, 255]), 0),
        (
            "floats that are no decimals",
            Value::from(vec![Value::from(1.0 / 3.0)]),
            Value::from(vec![Value::from(f64::NAN)]),
            0,
        ),
        (
            "floats next to a negative zero",
            Value::array([-0.0, 5e-324, 1.0].map(Value::from)),
            Value::array([-5e-324, -1e-323, -0.0].map(Value::from)),
            0,
        ),
        (
            "a counter off its sequence",
            Value::map([("revision", 41), ("seq", 41)]),
            Value::map([("revision", 43), ("seq", 42)]),
            0,
        ),
        (
            "a map two levels below an array",
            Value::array([Value::map([("a", Value::map([("b", 1), ("c", 2)]))])]),
            Value::array([Value::map([("a", Value::map([("b", 1), ("c", 3)]))])]),
            0,
        ),
        (
            "a runner under a new key",
            Value::map([("uptime_secs", 500), ("z", 1)]),
            Value::map([("uptime", 560), ("z", 1)]),
            60,
        ),
        (
            "a clock that becomes another text while an uptime runs",
            Value::map([("timestamp", Value::from("2026-01-01T00:01:00Z")), ("uptime", Value::from(9))]),
            Value::map([("timestamp", Value::from("never")), ("uptime", Value::from(69))]),
            60,
        ),
        (
            "an uptime at its end stays",
            Value::map([("uptime", Value::Int(Int::MAX)), ("x", Value::from(1))]),
            Value::map([("uptime", Value::Int(Int::MAX)), ("x", Value::from(2))]),
            60,
        ),
        (
            "a history of more than 65,535 bytes",
            Value::map([("a", Value::from(distinct(9000))), ("b", Value::from("item 17 item 8999"))]),
            Value::map([("a", Value::from(distinct(9000))), ("b", Value::from("number 8998, item 3"))]),
            0,
        ),
        ("a text long enough to be streamed", Value::Null, Value::from(distinct(500)), 0),
        ("the widest step", Value::Int(Int::MIN), Value::Int(Int::MAX), 0),
        ("a counter that is the sequence", Value::map([("revision", 41)]), Value::map([("revision", 42)]), 0),
        (
            "a moment near the signed time",
            Value::map([("at", Value::Null)]),
            Value::map([("at", "2026-01-01T08:00:00.250Z")]),
            0,
        ),
    ]
}
