//! Requirements: each number on a FORMAT page, as `[E12]`, is a MUST. A table in each file of vectors leads from the number to the
//! vectors that show it kept (`accepted`) and broken (`refused`), as JSON pointers (RFC 6901) into that file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value as Json, json};

const PAGES: [&str; 6] = [
    "delta/FORMAT.md",
    "src/envelope/FORMAT.md",
    "src/commands/FORMAT.md",
    "src/watches/FORMAT.md",
    "transports/FORMAT.md",
    "transports/mesh/FORMAT.md",
];

const FILES: [&str; 13] = [
    "delta/tests/vectors/cbor.json",
    "delta/tests/vectors/deltas.json",
    "tests/vectors/air.json",
    "tests/vectors/alarms.json",
    "tests/vectors/bundle.json",
    "tests/vectors/commands.json",
    "tests/vectors/envelope.json",
    "tests/vectors/federation.json",
    "tests/vectors/frames.json",
    "tests/vectors/links.json",
    "tests/vectors/messages.json",
    "tests/vectors/refused.json",
    "tests/vectors/rules.json",
];

/// Which vectors show a requirement kept: file and pointers.
const ACCEPTED: &[(&str, &str, &[&str])] = &[
    ("D1", "cbor", &["/accepted/3", "/accepted/19"]),
    ("D2", "cbor", &["/accepted/7", "/accepted/9", "/accepted/11", "/accepted/13", "/accepted/17"]),
    ("D3", "cbor", &["/accepted/22", "/accepted/24", "/accepted/27", "/accepted/32", "/accepted/33"]),
    ("D4", "cbor", &["/accepted/0", "/accepted/1", "/accepted/4"]),
    ("D5", "cbor", &["/accepted/34"]),
    ("D6", "cbor", &["/accepted/5"]),
    ("D7", "cbor", &["/accepted/35"]),
    ("D8", "deltas", &["/deltas/0", "/deltas/3"]),
    ("D9", "deltas", &["/deltas/0"]),
    ("D10", "deltas", &["/deltas/7"]),
    ("D11", "deltas", &["/deltas/24"]),
    ("D12", "deltas", &["/deltas/11", "/deltas/12", "/deltas/50"]),
    ("D13", "deltas", &["/deltas/23"]),
    ("E1", "envelope", &["/snapshot", "/snapshot_next", "/map"]),
    ("E2", "envelope", &["/snapshot"]),
    ("E3", "envelope", &["/snapshot", "/map"]),
    ("E4", "envelope", &["/snapshot", "/map"]),
    ("E5", "messages", &["/names"]),
    ("E6", "envelope", &["/snapshot", "/snapshot_next"]),
    ("E7", "envelope", &["/entries/0", "/entries/1", "/entries/2"]),
    ("E8", "envelope", &["/entries/0"]),
    ("E9", "envelope", &["/entries/1"]),
    ("E10", "envelope", &["/map", "/map_empty_root"]),
    ("E10", "messages", &["/layers/1"]),
    ("E11", "messages", &["/accepted/11", "/accepted/12", "/accepted/13"]),
    ("E12", "messages", &["/accepted/20", "/accepted/21", "/accepted/22"]),
    ("E13", "envelope", &["/compact"]),
    ("E14", "envelope", &["/map_delta"]),
    ("E15", "messages", &["/accepted/0", "/accepted/1", "/accepted/2", "/accepted/3"]),
    ("E16", "messages", &["/accepted/4", "/accepted/5", "/accepted/6"]),
    ("E17", "messages", &["/accepted/7", "/accepted/8", "/accepted/9"]),
    ("E18", "messages", &["/accepted/10"]),
    ("E19", "messages", &["/accepted/14"]),
    ("E20", "messages", &["/accepted/16"]),
    ("E21", "messages", &["/accepted/17"]),
    ("E22", "messages", &["/accepted/18"]),
    ("E23", "messages", &["/accepted/19"]),
    ("E24", "messages", &["/accepted/15"]),
    ("E25", "messages", &["/accepted/16"]),
    ("E26", "messages", &["/accepted/0"]),
    ("E27", "messages", &["/frontier"]),
    ("E28", "messages", &["/audience"]),
    ("E28", "federation", &["/audience"]),
    ("E29", "federation", &["/audience"]),
    ("E30", "messages", &["/audience_with_end"]),
    ("E31", "air", &["/update"]),
    ("E32", "air", &["/whole/0", "/whole/1"]),
    ("E33", "air", &["/heartbeat"]),
    ("E34", "air", &["/frontier"]),
    ("E35", "air", &["/provisional, of the second, before its two tags"]),
    ("E36", "federation", &["/request"]),
    ("E37", "federation", &["/answer_agreed", "/answer_refused"]),
    ("E38", "federation", &["/request", "/token_hash"]),
    ("E39", "federation", &["/code"]),
    ("E40", "federation", &["/code_compact"]),
    ("E41", "bundle", &["/accepted/0"]),
    ("E42", "messages", &["/packed"]),
    ("E43", "air", &["/pair/which"]),
    ("C1", "commands", &["/command"]),
    ("C2", "commands", &["/command"]),
    ("C3", "commands", &["/answers"]),
    ("C4", "commands", &["/revocation, the sender of the addressee"]),
    ("C5", "commands", &["/revocation, the sender of the addressee"]),
    ("C6", "commands", &["/revocation, the sender of the addressee"]),
    ("A1", "alarms", &["/document"]),
    ("A2", "alarms", &["/ids"]),
    ("L1", "links", &["/names/certificate"]),
    ("L2", "links", &["/stream/accepted/0", "/stream/accepted/1"]),
    ("L3", "links", &["/stream/accepted/0", "/stream/accepted/2", "/stream/accepted/3"]),
    ("L4", "links", &["/names/hint"]),
    ("R1", "links", &["/long_messages/0"]),
    ("R2", "links", &["/long_messages/0", "/two_blocks"]),
    ("R3", "links", &["/parity/0", "/parity/1", "/parity/2", "/long_messages/0"]),
    ("R4", "links", &["/nacks/0", "/nacks/1"]),
    ("R5", "frames", &["/vectors/1"]),
    ("R6", "frames", &["/vectors/2", "/vectors/3"]),
    ("R7", "links", &["/counters/0"]),
    ("R8", "frames", &["/vectors/4", "/vectors/5"]),
    ("R9", "frames", &["/vectors/6"]),
    ("R10", "frames", &["/vectors/7"]),
    ("R11", "frames", &["/vectors/8"]),
    ("R12", "frames", &["/vectors/9"]),
    ("R13", "frames", &["/vectors/10"]),
    ("R14", "frames", &["/vectors/10"]),
    ("R15", "links", &["/carriers/kiss"]),
    ("R16", "links", &["/carriers/ax25"]),
];

/// What a refused CBOR value breaks.
fn of_cbor(vector: &Json) -> &'static str {
    match vector["error"].as_str().unwrap() {
        "NotUtf8" => "D1",
        "LongHead" => "D2",
        "LongFloat" => "D3",
        "Indefinite" | "Reserved" | "Tag" | "Simple" => "D4",
        "KeyOrder" | "KeyTwice" | "KeyKind" => "D5",
        "Truncated" | "Trailing" => "D6",
        "TooDeep" => "D7",
        other => panic!("no requirement for {other}"),
    }
}

/// What a refused delta breaks.
fn of_delta(vector: &Json) -> &'static str {
    match vector["error"].as_str().unwrap() {
        "Truncated" | "Trailing" => "D8",
        "Frame" | "NotBytes" => "D9",
        "Position" => "D10",
        "Number" => "D11",
        "NotUtf8" | "KeyOrder" | "KeyTwice" => "D12",
        "TooMuch" => "D13",
        other => panic!("no requirement for {other}"),
    }
}

/// What a refused message on a link breaks, by how its description begins.
fn of_message(vector: &Json) -> &'static str {
    let about = vector["about"].as_str().unwrap();
    const BY_WORDS: &[(&str, &str)] = &[
        ("heartbeat: a head longer", "E26"),
        ("heartbeat: a byte behind", "E26"),
        ("heartbeat: nested", "E25"),
        ("tree ask: 257", "E25"),
        ("heartbeat", "E15"),
        ("ask", "E16"),
        ("frontier", "E17"),
        ("want", "E18"),
        ("refused", "E19"),
        ("tree ask", "E20"),
        ("tree:", "E21"),
        ("parts ask", "E22"),
        ("parts:", "E23"),
        ("not understood", "E24"),
        ("whole: a name", "E2"),
        ("whole: an empty name", "E2"),
        ("whole: a sequence", "E3"),
        ("whole", "E11"),
        ("compact", "E12"),
        ("nothing", "E26"),
        ("kind 0x", "E26"),
    ];
    let found = BY_WORDS.iter().find(|(words, _)| about.starts_with(words));
    found.unwrap_or_else(|| panic!("no requirement for {about}")).1
}

/// What a refused reading of `refused.json` breaks, by what it claims to be.
fn of_reading(vector: &Json) -> &'static str {
    match vector["what"].as_str().unwrap() {
        "heartbeat on air" => "E33",
        "frontier on air" => "E34",
        "update" => "E31",
        "provisional" => "E35",
        "pair" => "E43",
        "whole on air" => "E32",
        "join request" => "E36",
        "join answer" => "E37",
        "audience" => "E28",
        "invite code" if vector["text"].as_str().unwrap().starts_with("FED1C:") => "E40",
        "invite code" => "E39",
        "command" => "C1",
        "answer to a command" => "C3",
        "notice" => "C4",
        other => panic!("no requirement for {other}"),
    }
}

fn of_stream(vector: &Json) -> &'static str {
    if vector["about"].as_str().unwrap().starts_with("a hello") { "L3" } else { "L2" }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn stem(file: &str) -> &str {
    file.rsplit('/').next().unwrap().trim_end_matches(".json")
}

fn load(file: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(root().join(file)).unwrap()).unwrap()
}

type Table = BTreeMap<String, BTreeMap<&'static str, Vec<String>>>;

/// From a requirement to the vectors of one file.
fn table(file: &str, vectors: &Json) -> Table {
    let mut table = Table::new();
    let mut enter = |id: &str, which, pointer: String| {
        table.entry(id.to_owned()).or_default().entry(which).or_default().push(pointer);
    };
    for (id, _, pointers) in ACCEPTED.iter().filter(|(_, of, _)| *of == stem(file)) {
        pointers.iter().for_each(|pointer| enter(id, "accepted", (*pointer).to_owned()));
    }
    let (at, requirement): (&str, fn(&Json) -> &str) = match stem(file) {
        "cbor" => ("/refused", |vector| of_cbor(vector)),
        "deltas" => ("/refused", |vector| of_delta(vector)),
        "messages" => ("/refused", |vector| of_message(vector)),
        "refused" => ("/refused", |vector| of_reading(vector)),
        "links" => ("/stream/refused", |vector| of_stream(vector)),
        "bundle" => ("/refused", |_| "E41"),
        "rules" => ("/refused", |vector| vector["requirement"].as_str().unwrap()),
        _ => return table,
    };
    for (number, vector) in vectors.pointer(at).unwrap().as_array().unwrap().iter().enumerate() {
        enter(requirement(vector), "refused", format!("{at}/{number}"));
    }
    for (number, vector) in vectors["accepted"].as_array().into_iter().flatten().enumerate() {
        // Those of rules.json name theirs; the other files stand in the list above.
        if let Some(id) = vector["requirement"].as_str() {
            enter(id, "accepted", format!("/accepted/{number}"));
        }
    }
    let packed = vectors.pointer("/packed/refused").and_then(Json::as_array);
    for number in 0..packed.map_or(0, Vec::len) {
        enter("E42", "refused", format!("/packed/refused/{number}"));
    }
    table
}

/// The requirements on a page, in their order.
fn on_page(text: &str) -> Vec<String> {
    let parts = text.split('[').skip(1).filter_map(|part| part.split_once(']'));
    let is_id = |id: &str| {
        let (letter, digits) = id.split_at_checked(1).unwrap_or_default();
        "DECALR".contains(letter) && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    parts.map(|(id, _)| id.to_owned()).filter(|id| !id.is_empty() && is_id(id)).collect()
}

/// The table of each file is what it should be (`TOMBOLO_BLESS=1` writes it), and each pointer in it leads to a vector.
#[test]
fn each_file_leads_from_requirements_to_its_vectors() {
    for file in FILES {
        let mut vectors = load(file);
        let table = json!(table(file, &vectors));
        if std::env::var_os("TOMBOLO_BLESS").is_some() && vectors["requirements"] != table {
            vectors["requirements"] = table.clone();
            let text = if stem(file) == "frames" {
                // Written by a crate that has no JSON: its text stays.
                let text = std::fs::read_to_string(root().join(file)).unwrap();
                let (rest, _) = text.split_once("\n  ]").unwrap();
                let own = serde_json::to_string(&table).unwrap();
                format!("{rest}\n  ],\n  \"requirements\": {own}\n}}\n")
            } else {
                serde_json::to_string_pretty(&vectors).unwrap() + "\n"
            };
            std::fs::write(root().join(file), text).unwrap();
        }
        assert_eq!(load(file)["requirements"], table, "{file}");
        for lists in table.as_object().unwrap().values() {
            for pointer in lists.as_object().unwrap().values().flat_map(|list| list.as_array().unwrap()) {
                let pointer = pointer.as_str().unwrap();
                assert!(vectors.pointer(pointer).is_some(), "{file} has nothing at {pointer}");
            }
        }
    }
}

/// Each number stands on its page once, none is left out, and each has a vector that keeps it and one that breaks it; each MUST has a
/// number in its paragraph.
#[test]
fn each_requirement_has_a_vector_that_keeps_it_and_one_that_breaks_it() {
    let mut shown: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for file in FILES {
        for (id, lists) in table(file, &load(file)) {
            shown.entry(id).or_default().extend(lists.keys());
        }
    }
    let mut required = BTreeSet::new();
    for page in PAGES {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let found = on_page(&text);
        assert!(!found.is_empty(), "{page} has no requirements");
        let mut numbers: Vec<usize> = found.iter().filter_map(|id| id[1..].parse().ok()).collect();
        numbers.sort_unstable();
        assert_eq!(
            numbers,
            (1..=found.len()).collect::<Vec<_>>(),
            "{page}: each number from 1 on stands there once"
        );
        for id in &found {
            let lists = shown.get(id).cloned().unwrap_or_default();
            assert_eq!(lists, BTreeSet::from(["accepted", "refused"]), "{page}: {id}");
        }
        for paragraph in text.split("\n\n").filter(|paragraph| paragraph.contains("MUST")) {
            assert!(!on_page(paragraph).is_empty(), "{page}: a MUST without a number: {paragraph}");
        }
        required.extend(found);
    }
    let unknown: Vec<&String> = shown.keys().filter(|id| !required.contains(*id)).collect();
    assert!(unknown.is_empty(), "on no page: {unknown:?}");
    println!("totals: {} requirements", required.len());
}

/// A decoder that checks nothing fails at least as many vectors as it passes.
#[test]
fn at_least_as_many_vectors_are_refused_as_accepted() {
    fn count(json: &Json, name: &str) -> usize {
        match json {
            Json::Object(members) => members
                .iter()
                .filter(|(key, _)| *key != "requirements")
                .map(|(key, value)| match value {
                    Json::Array(items) if key == name => items.len(),
                    value => count(value, name),
                })
                .sum(),
            Json::Array(items) => items.iter().map(|item| count(item, name)).sum(),
            _ => 0,
        }
    }
    let files = FILES.map(load);
    let refused: usize = files.iter().map(|file| count(file, "refused")).sum();
    let listed: usize = files.iter().map(|file| count(file, "accepted") + count(file, "deltas")).sum();
    let singles = ACCEPTED.iter().flat_map(|(_, file, pointers)| pointers.iter().map(move |at| (file, at)));
    let singles: BTreeSet<_> =
        singles.filter(|(_, at)| !at.contains("accepted") && !at.contains("deltas")).collect();
    println!("totals: {} vectors are accepted, {refused} refused", listed + singles.len());
    assert!(refused >= listed + singles.len());
}
