//! Pairs that take the decisions which the others leave out, and those on which two readings of the page would part.

use super::{Case, context_of};
use tombolo_delta::{Context, Key, Value, diff};

fn text(text: &str) -> Value {
    Value::from(text)
}

fn texts(list: &[&str]) -> Value {
    Value::array(list.iter().map(|item| text(item)))
}

fn record(id: &str, size: u64, note: &str) -> Value {
    Value::map([("id", text(id)), ("size", Value::from(size)), ("note", text(note))])
}

/// Records whose one field under a key has these texts.
fn states(key: &str, list: &[&str]) -> Value {
    let record = |(at, item): (usize, &&str)| Value::map([("id", text(&at.to_string())), (key, text(item))]);
    Value::array(list.iter().enumerate().map(record))
}

/// One pair a decision, the context a minute.
pub(super) fn pairs() -> Vec<Case> {
    [in_texts(), in_numbers(), in_lists(), in_maps(), what_counts()].concat()
}

fn case(about: &'static str, base: Value, target: Value) -> Case {
    Case { about, base, target, context: context_of(60), delta: None }
}

fn in_texts() -> Vec<Case> {
    let sailing = "The boat leaves the old harbour at noon, weather permitting, and is back at dusk.";
    let commas: String = (0..60).map(|at| format!("n{},", at * 7919 % 1009)).collect();
    let few = commas.split_at(100).0;
    let clock = "2026-01-01T00:01:00Z";
    let lines = "one day\ntwo nights\nthree years\n";
    let long_key = "a long key ".repeat(9);
    let far = Context { base_sequence: 41, sequence: 42, base_time_ms: LAST_MS, time_ms: LAST_MS + 60_000 };
    vec![
        case("the middle of a text changes", text(sailing), text(&sailing.replace("noon", "three"))),
        case(
            "numbers go down, the rest is set, a run of 16 digits is no number",
            Value::map([
                ("a", "1.2.3"),
                ("b", "2026.08.31-rc2"),
                ("c", "v2 1234567890123456"),
                ("d", "r7.1.4"),
            ]),
            Value::map([
                ("a", "1.1.7"),
                ("b", "2026.09.12-rc3"),
                ("c", "v3 1234567890123456"),
                ("d", "r7.2.0"),
            ]),
        ),
        case(
            "a text is cut at commas from 241 bytes on, a shorter one is spliced",
            texts(&[&commas, few]),
            texts(&[&commas.replace("n244,", "xx,"), &few.replace("n244,", "xx,")]),
        ),
        case(
            "lines move, come and go",
            text("one day\ntwo nights\nthree years\nfour winds\nfive\n"),
            text("four winds\none day\ntwo nights\nsix\nfive\n"),
        ),
        case(
            "a clock that becomes another text is not counted among the words",
            Value::map([("at", texts(&[clock, "on", "off"]))]),
            Value::map([("at", texts(&["never", "never", "never"]))]),
        ),
        Case {
            context: far,
            ..case(
                "a clock that would leave the year 9999 stays",
                Value::map([("now", text("9999-12-31T23:59:59Z")), ("x", Value::from(1))]),
                Value::map([("now", text("9999-12-31T23:59:59Z")), ("x", Value::from(2))]),
            )
        },
        case(
            "few words are left beside the old one, and a word that is counted again passes others",
            Value::map([
                ("s", states("w", &["alpha", "beta", "gamma"])),
                ("t", states("v", &["one", "two", "three", "four"])),
            ]),
            Value::map([
                ("s", states("w", &["gamma", "gamma", "alpha"])),
                ("t", states("v", &["four", "four", "one", "two"])),
            ]),
        ),
        case(
            "a text of lines is a word of its key, a long text of the base too",
            Value::map([("t", states("v", &[lines, "x"])), ("u", states("w", &[&"z".repeat(4_200), "y"]))]),
            Value::map([
                ("t", states("v", &[&lines.replace("two", "2"), &lines.replace("two", "2")])),
                ("u", states("w", &[&"z".repeat(4_200), &"z".repeat(4_200)])),
            ]),
        ),
        case(
            "clocks run up to 90 s from the signed time, lines never",
            Value::map([
                ("a", text("2026-01-01T00:02:30Z")),
                ("b", text("2026-01-01T00:02:30.001Z")),
                ("c", text("2020-01-01T00:00:00Z")),
                ("d", text("2026-01-01T00:01:00Z\nup since\n2026-01-01T00:00:30Z\n")),
            ]),
            Value::map([
                ("a", text("2026-01-01T00:03:30Z")),
                ("b", text("2026-01-01T00:02:30.001Z")),
                ("c", text("2020-01-01T00:00:00Z")),
                ("d", text("2026-01-01T00:02:00Z\nup since\n2026-01-01T00:00:30Z\n")),
            ]),
        ),
        case(
            "a new moment is a word from then on",
            Value::map([("at", Value::array([Value::Null])), ("b", Value::from(1))]),
            Value::map([
                ("at", texts(&["2026-01-01T08:00:00Z", "2026-01-01T08:00:00Z"])),
                ("b", Value::from(1)),
            ]),
        ),
        case(
            "a key of more than 64 bytes, and empty ones that leave nothing behind",
            Value::map([
                (long_key.as_str(), text("tide")),
                ("empty one", Value::array([0; 0])),
                ("f", text("")),
            ]),
            Value::map([
                (long_key.as_str(), text("the empty one of the long keys")),
                ("empty one", Value::array([0; 0])),
                ("f", text("long keys, one empty")),
            ]),
        ),
    ]
}

/// The last second of the year 9999.
const LAST_MS: u64 = 253_402_300_799_000;

fn in_numbers() -> Vec<Case> {
    let map = |numbers: [u64; 8]| {
        let keys = ["rx_count", "tx_bytes", "RX_COUNT", "size_used", "p_bytes", "p_used", "q_bytes", "x"];
        Value::map(keys.into_iter().zip(numbers.map(Value::from)))
    };
    vec![
        case(
            "lively numbers, small, large, in pages of 512 bytes or not, at 65,536; case counts",
            map([1_200, 1_000_001, 70_000, 40_000, 512 * 401, 512 * 399, 65_536, 40_000]),
            map([1_260, 1_000_777, 70_100, 41_000, 512 * 403, 512 * 399 + 100, 65_600, 41_000]),
        ),
        Case {
            context: Context { base_sequence: 0, sequence: 1, ..context_of(60) },
            ..case(
                "no counter is the sequence 0, a decimal is cut towards zero",
                Value::map([("seq", Value::from(0)), ("x", Value::array([-1.25, 2.75].map(Value::from)))]),
                Value::map([("seq", Value::from(0)), ("x", Value::array([-1.2, 2.8].map(Value::from)))]),
            )
        },
        case(
            "an uptime that is the sequence as well, and a version that is a name as well",
            Value::map([("rev_uptime", Value::from(41)), ("tag_name", text("seven")), ("b", text("eight"))]),
            Value::map([("rev_uptime", Value::from(101)), ("tag_name", text("nine")), ("b", text("eight"))]),
        ),
    ]
}

fn in_lists() -> Vec<Case> {
    let other = Value::map([("id", text("n")), ("note", text("a new one, by the river side"))]);
    let river = Value::map([("id", text("z")), ("note", text("by the river side"))]);
    let long = |word: &str| (0..60).map(|at| format!("{word}{} ", at * at % 97)).collect::<String>();
    vec![
        case(
            "a record moves and changes",
            Value::array([record("a", 10, "first"), record("b", 20, "second"), record("c", 30, "third")]),
            Value::array([record("c", 31, "third"), record("a", 10, "first"), record("b", 20, "second")]),
        ),
        case(
            "a new record with other keys than the one before, and a new list within a list",
            Value::map([
                ("a", Value::array([record("a", 10, "by the sea"), river.clone()])),
                ("b", Value::array([texts(&["east", "west"]), texts(&["up the hill", "and down"])])),
            ]),
            Value::map([
                ("a", Value::array([record("a", 10, "by the sea"), other, river])),
                (
                    "b",
                    Value::array([
                        texts(&["east", "west"]),
                        texts(&["up the hills", "and on"]),
                        texts(&["up the hill", "and down"]),
                    ]),
                ),
            ]),
        ),
        case(
            "beside a new record stand others as the base has them",
            Value::array([
                record("a", 10, "a red boat"),
                record("b", 20, "a sea"),
                record("c", 30, "some green hut"),
            ]),
            Value::array([
                record("c", 30, "some blue house"),
                record("n", 31, "some blue houses"),
                record("a", 10, "a grey ship"),
                record("m", 11, "a grey ship, too"),
                record("b", 20, "a sea"),
            ]),
        ),
        case(
            "a new text between two others",
            texts(&[&long("a"), &long("b")]),
            texts(&[&long("a"), &(long("c") + &story(250)), &long("b")]),
        ),
    ]
}

fn in_maps() -> Vec<Case> {
    let nine = |skipped: usize, number: u64| {
        let entries = (0..9_usize).filter(|at| *at != skipped);
        Value::array([Value::map(
            entries.map(|at| (format!("k{at}"), Value::from(if at == 4 { number } else { 7 }))),
        )])
    };
    let two = |key: &'static str, value: u64| Value::map([(key, value), ("c", 3)]);
    // Made where no time passes, or for another base: an encoder may choose so, this one does not.
    let by_hand = |about, base: Value, made_for: (Value, Value)| {
        let delta = diff(&made_for.0, &made_for.1, &context_of(0));
        let context = context_of(60);
        let target = tombolo_delta::apply(&base, &delta, &context).unwrap();
        Case { about, base, target, context, delta: Some(delta) }
    };
    vec![
        case(
            "keys only go",
            Value::map([("a", 1), ("b", 2), ("c", 3), ("d", 4)]),
            Value::map([("a", 1), ("d", 4)]),
        ),
        case(
            "keys come and go below the root",
            Value::map([("x", Value::map([("a", 1), ("b", 2)])), ("y", Value::map([("c", 3)]))]),
            Value::map([("x", Value::map([("a", 1), ("b", 2), ("bb", 20)])), ("y", Value::map([("d", 4)]))]),
        ),
        case("a record of nine entries loses one", nine(9, 1), nine(0, 2)),
        case(
            "a new key beside the removed one of its rank, though that was renamed",
            Value::map([("a", Value::from(1000)), ("b", text("tide")), ("c", Value::from(5))]),
            Value::map([("d", text("tide")), ("e", Value::from(1010))]),
        ),
        by_hand(
            "a value runs as what stands under its new key",
            Value::map([("started", 500), ("z", 1)]),
            (Value::map([("started", 500), ("z", 1)]), Value::map([("uptime", 500), ("z", 1)])),
        ),
        by_hand("a key goes and comes in one delta", two("b", 1), (two("a", 1), two("b", 7))),
    ]
}

/// A text that repeats itself little.
fn story(count: usize) -> String {
    (0..count).map(|at| format!("{} boats, {}; ", at * at * 31 % 509, at * at % 7)).collect()
}

/// What the search may cost goes by the new content before, so that what counts shows in a long literal.
fn what_counts() -> Vec<Case> {
    let river: String = (0..100).map(|at| char::from(b'a' + (at * at % 26) as u8)).collect();
    let name = |at: usize| Key::from(format!("key{at}").as_str());
    let many = |count: usize| (0..count).map(move |at| (name(at), Value::from(at as u64 * 7)));
    let zeros: Vec<u8> =
        (0..300_usize).map(|at| if at % 3 == 0 { (at * at % 251) as u8 } else { 0 }).collect();
    let last = |text: String| [(Key::from("z"), Value::from(text))];
    let bumps = |minor: u64| {
        Value::array((0..4_u64).map(|at| text(&format!("{at}.{minor}.123456.123456.abcdefghijklmnopqrs"))))
    };
    vec![
        case(
            "many new keys, then a long text",
            Value::map(many(1)),
            Value::map(many(60).chain(last(story(320)))),
        ),
        case(
            "escaped bytes, then streamed ones",
            Value::from(vec![7_u8]),
            Value::from([zeros.clone(), story(320).into_bytes()].concat()),
        ),
        case(
            "texts with a number that changes and one whose middle does, then a long text",
            Value::map([("a", bumps(1)), ("b", text(&river.repeat(2))), ("z", text(""))]),
            Value::map([
                ("a", bumps(2)),
                ("b", text(&(river.clone() + "!" + &river))),
                ("z", Value::from(story(320))),
            ]),
        ),
        case(
            "bytes and a text, the first of them streamed",
            Value::map([("a", Value::from(vec![7_u8])), ("b", text(""))]),
            Value::map([("a", Value::from(vec![0_u8; 900])), ("b", Value::from(story(60)))]),
        ),
    ]
}
