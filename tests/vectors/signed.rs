//! Whole envelopes with a true signature, each refused by one rule alone: the signature is over the root that follows where that rule
//! is not looked at, so a reader that lacks the rule accepts it.

use std::collections::BTreeMap;

use super::rules::{TIME_MS, case, list, n, text, unhex};
use super::{hex, owner, writer};
use serde_json::{Value as Json, json};
use tombolo::identity::{Keypair, verify};
use tombolo_delta::{Int, Limits, Value, from_cbor, to_cbor};
use tombolo_mesh::PeerId;

/// Beyond those of the format, so that what breaks one of them is read all the same.
const LIMITS: Limits = Limits { bytes_max: 1 << 20, depth_max: 100, items_max: 1 << 20 };

fn derived(context: &str, bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, bytes)
}

fn node(level: u64, count: u64, children: Vec<Value>) -> [u8; 32] {
    derived("tombolo 1 map node", &to_cbor(&list([n(level), n(count), list(children)])))
}

/// The hashes of the nodes of level 0 and, where there is one alone, below it: entries as they stand, whatever they are.
fn roots_of(entries: &[Value]) -> Vec<[u8; 32]> {
    let mut buckets: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for entry in entries {
        let hash = blake3::hash(&to_cbor(&entry.as_array().unwrap()[0]));
        let bucket = u64::from(u16::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]) >> 4);
        buckets.entry(bucket).or_default().push(entry.clone());
    }
    let hashed =
        |bucket: Vec<Value>| (bucket.len() as u64, derived("tombolo 1 map bucket", &to_cbor(&list(bucket))));
    let mut below: BTreeMap<u64, (u64, [u8; 32])> =
        buckets.into_iter().map(|(index, bucket)| (index, hashed(bucket))).collect();
    let mut roots = Vec::new();
    for level in (0..3).rev() {
        let only = below.values().next().filter(|_| below.len() == 1).map(|(_, hash)| *hash);
        let mut above: BTreeMap<u64, (u64, Vec<Value>)> = BTreeMap::new();
        for (index, (count, hash)) in below {
            let (total, children) = above.entry(index / 16).or_default();
            *total += count;
            children.push(list([n(index % 16), Value::Bytes(hash.to_vec())]));
        }
        below = above.into_iter().map(|(at, (count, of))| (at, (count, node(level, count, of)))).collect();
        roots = only.into_iter().collect();
    }
    let root = below.values().next().map_or_else(|| node(0, 0, Vec::new()), |(_, hash)| *hash);
    roots.insert(0, root);
    roots
}

/// What an author signs: of the nine items of an envelope, and the root.
fn signing_bytes(items: &[Value], root: [u8; 32]) -> Vec<u8> {
    let author = if items[3] == Value::Null { &items[1] } else { &items[3] };
    let [kind, owner, name] = [0, 1, 2].map(|at| items[at].clone());
    let [sequence, time, audience] = [4, 5, 6].map(|at| items[at].clone());
    let (author, root) = (author.clone(), Value::Bytes(root.to_vec()));
    to_cbor(&list([text("tombolo-layer-1"), kind, owner, name, author, sequence, time, audience, root]))
}

/// The roots of the content that stands in an envelope: the right one, then what could be taken for it.
fn roots(items: &[Value]) -> Vec<[u8; 32]> {
    let content = &items[8].as_array().unwrap()[0];
    match (&items[0], content) {
        (kind, Value::Array(entries)) if *kind == n(1) => roots_of(entries),
        _ => vec![blake3::hash(&to_cbor(content)).into()],
    }
}

/// Whether the signature holds over a root that a reader could compute without one of the rules.
fn is_truly_signed(bytes: &[u8]) -> bool {
    let Ok(Value::Array(items)) = from_cbor(bytes, &LIMITS) else { panic!("no array") };
    let author = if items[3] == Value::Null { &items[1] } else { &items[3] };
    let author = PeerId(author.as_bytes().unwrap().try_into().unwrap());
    let signature: [u8; 64] = items[7].as_bytes().unwrap().try_into().unwrap();
    roots(&items).into_iter().any(|root| verify(&author, &signing_bytes(&items, root), &signature))
}

/// Each refused whole envelope is there for a rule of its own: a wrong signature shows E1, and nothing else.
pub(super) fn check_signatures(refused: &[Json]) {
    for case in refused.iter().filter(|case| case["what"] == "whole envelope") {
        let is_of_signature = case["requirement"] == "E1";
        assert_eq!(is_truly_signed(&unhex(&case["hex"])), !is_of_signature, "{case}");
    }
}

/// An envelope by the owner with these items of its own, signed as it stands.
fn signed(kind: u64, change: impl FnOnce(&mut Vec<Value>), content: Value, by: &Keypair) -> Vec<u8> {
    let owner = Value::Bytes(owner().peer_id().0.to_vec());
    let name = if kind == 1 { "notes" } else { "state" };
    let mut items = vec![n(kind), owner, text(name), Value::Null, n(7), n(TIME_MS), n(2), Value::Null];
    items.push(list([content]));
    change(&mut items);
    let signature = by.sign(&signing_bytes(&items, roots(&items)[0]));
    items[7] = Value::Bytes(signature.to_vec());
    to_cbor(&list(items))
}

fn of(requirement: &str, why: &str, bytes: Vec<u8>) -> Json {
    case(requirement, "whole envelope", why, json!({ "hex": hex(bytes) }))
}

fn state() -> Value {
    Value::map([("node_name", "attic")])
}

/// A snapshot with one of its items replaced.
fn snapshot_with(requirement: &str, why: &str, at: usize, item: Value) -> Json {
    of(requirement, why, signed(0, |items| items[at] = item, state(), &owner()))
}

/// A map of these entries, signed by its owner.
fn map_of(requirement: &str, why: &str, entries: Vec<Value>) -> Json {
    of(requirement, why, signed(1, |_| (), list(entries), &owner()))
}

fn stamp() -> u64 {
    TIME_MS << 16
}

fn dead() -> Value {
    Value::Int(Int::new(-1 - i128::from(stamp())).unwrap())
}

fn key() -> Value {
    list([text("a")])
}

/// An entry with this key and a value.
fn keyed(key: Value) -> Vec<Value> {
    vec![list([key, n(stamp()), n(1)])]
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(list([]), |inner, _| list([inner]))
}

fn heads() -> Vec<Json> {
    let name = |why, name: &str| snapshot_with("E2", why, 2, text(name));
    let by_writer = |items: &mut Vec<Value>| items[3] = Value::Bytes(writer().peer_id().0.to_vec());
    vec![
        name("a name of 65 bytes", &"x".repeat(65)),
        name("a name of 33 letters of two bytes", &"ä".repeat(33)),
        name("a name with a control character", "a\u{7}"),
        name("a name with U+007F", "a\u{7f}"),
        name("a name with U+0085", "a\u{85}"),
        name("a name with a slash", "a/b"),
        name("a name with a backslash", "a\\b"),
        name("an empty name", ""),
        snapshot_with("E3", "sequence 0", 4, n(0)),
        snapshot_with("E3", "a sequence of 2^53", 4, n(1 << 53)),
        snapshot_with("E3", "a time of 2^48", 5, n(1 << 48)),
        snapshot_with("E3", "an audience sequence of 2^53", 6, n(1 << 53)),
        of("E4", "a snapshot by an author that is not the owner", signed(0, by_writer, state(), &writer())),
        of("E6", "a value of 65 arrays in each other", signed(0, |_| (), nested(65), &owner())),
        of("E11", "kind 2", signed(2, |_| (), state(), &owner())),
        of("E11", "a tenth item", signed(0, |items| items.push(n(0)), state(), &owner())),
    ]
}

fn entries() -> Vec<Json> {
    let entry = |why, items: Vec<Value>| map_of("E7", why, vec![list(items)]);
    let saw = |length: usize| Value::Bytes(vec![1; length]);
    let segments = |segments: Vec<Value>| keyed(list(segments));
    let [once] = <[Value; 1]>::try_from(keyed(key())).unwrap();
    let valued = |value| vec![list([key(), n(stamp()), value])];
    vec![
        entry("an entry: no value behind a stamp", vec![key(), n(stamp())]),
        entry("an entry: a tombstone with a value and what it saw", vec![key(), dead(), n(1), saw(4)]),
        entry("an entry: a stamp as text", vec![key(), text("1"), n(1)]),
        entry("an entry: it saw 3 bytes", vec![key(), n(stamp()), n(1), saw(3)]),
        entry("an entry: five items", vec![key(), n(stamp()), n(1), saw(4), n(1)]),
        map_of("E8", "a key without segments", segments(vec![])),
        map_of("E8", "a key of 65 segments", segments(vec![text("s"); 65])),
        map_of("E8", "a segment of 1,025 bytes", segments(vec![text(&"s".repeat(1025))])),
        map_of("E8", "a key that is a text", keyed(text("a"))),
        map_of("E8", "a segment that is bytes", segments(vec![saw(1)])),
        map_of("E9", "a value that is a map with members", valued(Value::map([("a", 1)]))),
        map_of("E44", "an entry whose value is 65 arrays in each other", valued(nested(65))),
        map_of("E10", "a key twice", vec![once.clone(), once]),
        map_of("E10", "a key twice, with two values", [keyed(key()), valued(n(2))].concat()),
    ]
}

/// The signature is over the hash of the one child of node 0.
fn root_of_a_child() -> Json {
    let items = |items: &mut Vec<Value>| items[4] = n(3);
    let honest = signed(1, items, list(keyed(key())), &owner());
    let Ok(Value::Array(mut items)) = from_cbor(&honest, &LIMITS) else { unreachable!() };
    let signature = owner().sign(&signing_bytes(&items, roots(&items)[1]));
    items[7] = Value::Bytes(signature.to_vec());
    of("E10", "the root that is signed is that of a child of node 0", to_cbor(&list(items)))
}

pub(super) fn refused() -> Vec<Json> {
    [heads(), entries(), vec![root_of_a_child()]].concat()
}

pub(super) fn accepted() -> Vec<Json> {
    let numbered = |number: usize| list([list([text(&number.to_string())]), n(stamp()), n(1)]);
    let honest = signed(1, |_| (), list((0..3).map(numbered)), &owner());
    let mut other_order = from_cbor(&honest, &LIMITS).unwrap().as_array().unwrap().to_vec();
    other_order[8] = list([list((0..3).rev().map(numbered))]);
    let own = |items: &mut Vec<Value>| items[3] = items[1].clone();
    let of_segments = list([vec![text(&"s".repeat(1024)), text("")], vec![text("s"); 62]].concat());
    vec![
        snapshot_with("E2", "a name of 64 bytes", 2, text(&"ä".repeat(32))),
        snapshot_with("E2", "a name with a space, a dot and U+00A0", 2, text("a .\u{a0}")),
        snapshot_with("E3", "a sequence of 2^53 - 1", 4, n((1 << 53) - 1)),
        snapshot_with("E3", "a time of 2^48 - 1", 5, n((1 << 48) - 1)),
        of("E11", "the owner's own 32 bytes as author", signed(0, own, state(), &owner())),
        map_of("E8", "a key of 64 segments, one of 1,024 bytes, one empty", keyed(of_segments)),
        map_of("E9", "an empty map as value", vec![list([key(), n(stamp()), Value::map::<&str, u64>([])])]),
        of("E10", "entries in another order than writers put them", to_cbor(&list(other_order))),
    ]
}
