//! What quotas count as memory, against what the process takes for it: a quota counted in other units than what runs out holds nothing.
//!
//! One test in a process of its own, since it reads the memory of the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use tombolo::clock::Timestamp;
use tombolo::identity::Keypair;
use tombolo::layer::{
    Content, DocumentId, DocumentName, Entry, Head, KeyPath, Kind, Layer, LayerId, MapContent, Sequence,
};
use tombolo::merge::Document;
use tombolo::time::Wall;
use tombolo_delta::Value;

const MIB: usize = 1024 * 1024;
/// What measuring by pages and the allocator's reserve may add.
const SLACK: usize = 3 * MIB;

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * page_bytes()
}

fn page_bytes() -> usize {
    // The kernel counts in pages; `getconf` prints how large they are.
    let output = std::process::Command::new("getconf").arg("PAGESIZE").output();
    output.ok().and_then(|o| String::from_utf8(o.stdout).ok()?.trim().parse().ok()).unwrap_or(4_096)
}

/// A document of so many entries as a reader holds it, with its estimate and its bytes of CBOR.
fn document(count: usize, value: impl Fn(usize) -> Value) -> (Document, usize, usize) {
    let owner = Keypair::from_seeds(&[1; 32], &[2; 32]);
    let mut map = MapContent::default();
    // A few at a time: what is made on the way is small beside what stays.
    for first in (0..count).step_by(16) {
        let some = first..count.min(first + 16);
        let entry = |n: usize| Entry {
            stamp: Timestamp::from_bits(n as u64 + 1),
            value: Some(value(n).into()),
            saw: None,
        };
        map.change(some.map(|n| (KeyPath::parse(&format!("k{n}")).unwrap(), Some(entry(n))))).unwrap();
    }
    let (memory, cbor) = (map.memory_bytes(), map.size_bytes());
    let id = DocumentId { owner: owner.peer_id(), name: DocumentName::new("d").unwrap() };
    let head = Head {
        kind: Kind::Map,
        layer: LayerId { document: id, author: owner.peer_id() },
        sequence: Sequence::new(1).unwrap(),
        time: Wall::from_ms(1),
        audience_sequence: Sequence::NONE,
        root: map.root(),
    };
    let layer = Layer { signed: head.sign(&owner), content: Content::Map(map) };
    let mut document = Document::new(Kind::Map, owner.peer_id());
    document.put_layer(layer, None, Wall::from_ms(1 << 40));
    (document, memory, cbor)
}

/// For arrays of small values, small entries, texts and records the process takes at most what is counted; arrays of small values at
/// most twice their CBOR, where a tree takes 32 times as much.
#[test]
fn the_count_of_memory_holds_what_is_taken() {
    let zeros = |_: usize| Value::Array(vec![Value::from(0u64); 60_000]);
    let small = |n: usize| Value::from(n as u64 % 7);
    let text = |n: usize| Value::from(format!("{n:0100}").as_str());
    let record = |n: usize| {
        let row = |k: usize| Value::map([("id", Value::from((n + k) as u64)), ("on", Value::from(true))]);
        Value::Array((0..40).map(row).collect())
    };
    type Kind<'a> = (&'a str, usize, &'a dyn Fn(usize) -> Value);
    let kinds: [Kind<'_>; 4] = [
        ("zeros", 128, &zeros),
        ("small", 20_000, &small),
        ("texts", 20_000, &text),
        ("records", 4_000, &record),
    ];
    let mut kept = Vec::new();
    for (name, count, value) in kinds {
        let before = resident();
        let (document, memory, cbor) = document(count, value);
        let taken = resident().saturating_sub(before);
        println!(
            "totals: {name}: {} kB of CBOR, counted {} kB, taken {} kB",
            cbor / 1024,
            memory / 1024,
            taken / 1024
        );
        assert!(taken <= memory + SLACK, "{name}: {taken} bytes are taken, {memory} are counted");
        // Of an entry of a few bytes the key and the indexes count for more than its value.
        if ["zeros", "records"].contains(&name) {
            assert!(memory <= 4 * cbor, "{name}: {memory} bytes are counted for {cbor} of CBOR");
        }
        if name == "zeros" {
            assert!(taken <= 2 * cbor + SLACK, "{taken} bytes are taken for {cbor} of CBOR");
        }
        kept.push(document);
    }
    assert!(kept.iter().all(|document| document.view().is_some()));
}
