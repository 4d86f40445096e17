//! What is at a limit, and what is one above it. Long bytes are described by rule: `runs`, hex and how often it is repeated; or
//! `counted`, numbered entries.

use super::rules::{TIME_MS, case, list, signed_as, text};
use super::{head, hex, owner};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use tombolo::layer::{BucketIndex, Content, KeyPath, Kind};
use tombolo_delta::{CborWriter, Value, to_cbor};

/// Bytes as pieces, each repeated.
type Runs = Vec<(Vec<u8>, usize)>;

pub(super) fn expand(case: &Json) -> Vec<u8> {
    let number = |json: &Json| usize::try_from(json.as_u64().unwrap()).unwrap();
    let rows = |name: &str| case[name].as_array().cloned().unwrap_or_default();
    if case.get("counted").is_some() {
        let sizes = rows("counted").into_iter().flat_map(|row| vec![number(&row[1]); number(&row[0])]);
        let sizes: Vec<usize> = sizes.collect();
        let mut out = CborWriter::with_capacity(16 << 20);
        out.array(sizes.len());
        for (at, size) in sizes.iter().enumerate() {
            out.array(3).array(1).text(&at.to_string()).unsigned(0).bytes(&vec![0; *size]);
        }
        return out.finish();
    }
    let piece = |row: &Json| HEXLOWER.decode(row[0].as_str().unwrap().as_bytes()).unwrap();
    rows("runs").iter().flat_map(|row| piece(row).repeat(number(&row[1]))).collect()
}

fn by_runs(requirement: &str, what: &str, why: &str, runs: Runs) -> Json {
    let runs: Vec<Json> = runs.into_iter().map(|(piece, times)| json!([hex(piece), times])).collect();
    case(requirement, what, why, json!({ "runs": runs }))
}

fn hexed(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// The head of a CBOR item with a length of 16 or 32 bits.
fn cbor_head(major: u8, length: usize) -> Vec<u8> {
    match u16::try_from(length) {
        Ok(short) => [&[major << 5 | 25][..], &short.to_be_bytes()].concat(),
        Err(_) => [&[major << 5 | 26][..], &u32::try_from(length).unwrap().to_be_bytes()].concat(),
    }
}

fn nested(requirement: &str, what: &str, why: &str, before: &[u8], depth: usize) -> Json {
    by_runs(requirement, what, why, vec![(before.to_vec(), 1), (vec![0x81], depth - 1), (vec![0x80], 1)])
}

/// Of the CBOR text `xxx…` so many bytes in all.
fn snapshot_of(bytes: usize, why: &str) -> Json {
    by_runs("E6", "snapshot", why, vec![(cbor_head(3, bytes - 5), 1), (vec![0x78], bytes - 5)])
}

/// `[["a"], 0, bytes]` of so many bytes in all, as the one entry of a map.
fn entry_of(bytes: usize, why: &str) -> Json {
    let head = hexed("81838161610059");
    let value = bytes - 8;
    let length = u16::try_from(value).unwrap().to_be_bytes().to_vec();
    by_runs("E44", "map", why, vec![(head, 1), (length, 1), (vec![0], value)])
}

/// Nine entries of one bucket, the last one such that the bucket has so many bytes.
fn bucket_of(bytes: usize, why: &str) -> Json {
    let bucket = |number: usize| BucketIndex::of(&KeyPath::parse(&number.to_string()).unwrap());
    let keys: Vec<usize> = (0..).filter(|number| bucket(*number) == bucket(0)).take(9).collect();
    let mut runs: Runs = vec![(vec![0x89], 1)];
    let mut left = bytes - 1;
    for (at, key) in keys.iter().enumerate() {
        let head = [&[0x83][..], &to_cbor(&list([text(&key.to_string())])), &[0]].concat();
        let value = if at < 8 { 65_000 } else { left - head.len() - 3 };
        left -= head.len() + 3 + value;
        runs.extend([([head, cbor_head(2, value)].concat(), 1), (vec![0], value)]);
    }
    by_runs("E45", "map", why, runs)
}

fn counted(why: &str, groups: &[(usize, usize)]) -> Json {
    case("E46", "map", why, json!({ "counted": groups }))
}

/// A message of kind 0x01 whose sixth item are so many bytes that it has this length.
fn heartbeat_of(bytes: usize, why: &str) -> Json {
    let (head, value) = (hexed("01860000f60100"), bytes - 7 - 5);
    by_runs("E25", "message", why, vec![(head, 1), (cbor_head(2, value), 1), (vec![0], value)])
}

fn wants(count: usize, why: &str) -> Json {
    let want = to_cbor(&list([Value::Bytes(vec![7; 8])]));
    by_runs("E25", "message", why, vec![(vec![4], 1), (cbor_head(4, count), 1), (want, count)])
}

/// A heartbeat with so many items, itself counted.
fn items(count: usize, why: &str) -> Json {
    let head = [&[1][..], &cbor_head(4, count - 1), &hexed("0000f6")].concat();
    by_runs("E25", "message", why, vec![(head, 1), (vec![0], count - 4)])
}

fn deep_snapshot() -> Json {
    let value = (0..63).fold(list([]), |inner, _| list([inner]));
    let content = Content::snapshot(value).unwrap();
    let head = head(Kind::Snapshot, "state", &owner(), 7, TIME_MS, &content);
    let bytes = signed_as(head, &owner(), content);
    case("E6", "whole envelope", "a value of 64 arrays in each other", json!({ "hex": hex(bytes) }))
}

const DEEP_ENTRY: [u8; 6] = [0x81, 0x83, 0x81, 0x61, 0x61, 0x00];

fn changes(count: usize, why: &str) -> Json {
    let entry = hexed("8381616100f6");
    let head = [&[0x81][..], &cbor_head(4, count)].concat();
    by_runs("E47", "map delta over a link", why, vec![(head, 1), (entry, count)])
}

fn delta_of(bytes: usize, why: &str) -> Json {
    let mut runs: Runs = vec![(hexed("8183"), 1)];
    let mut left = bytes - 2;
    for (key, most) in [("61", 60_000), ("62", 60_000), ("63", usize::MAX)] {
        let value = most.min(left - 8);
        left -= 8 + value;
        runs.extend([(hexed(&format!("838161{key}00")), 1), (cbor_head(2, value), 1), (vec![0], value)]);
    }
    by_runs("E47", "map delta over a link", why, runs)
}

/// An audience of so many members, which all have one hash.
fn members(count: usize, why: &str) -> Json {
    let member = to_cbor(&list([Value::Bytes(vec![7; 16]), Value::from(1_u64)]));
    let salt = [&hexed("6473616c7450")[..], &[6; 16]].concat();
    let head = [&hexed("a2")[..], &salt].concat();
    let name = [hexed("676d656d62657273"), cbor_head(4, count)].concat();
    by_runs("E28", "audience", why, vec![(head, 1), (name, 1), (member, count)])
}

/// A frame of so many bytes between two `c0`.
fn kiss_of(bytes: usize, why: &str) -> Json {
    by_runs("R15", "KISS", why, vec![(hexed("c000"), 1), (vec![0x95], bytes), (hexed("c0"), 1)])
}

/// A payload of so many bytes, the first of three fragments.
fn fragment_of(bytes: usize, why: &str) -> Json {
    by_runs("R1", "fragment", why, vec![(hexed("b48c0200"), 1), (vec![0x90], bytes - 4)])
}

pub(super) fn accepted() -> Vec<Json> {
    vec![
        kiss_of(2_000, "2,000 bytes"),
        fragment_of(254, "a payload of 254 bytes"),
        snapshot_of(262_144, "a text of 262,144 bytes with its head"),
        nested("E6", "snapshot", "64 arrays in each other", &[], 64),
        deep_snapshot(),
        entry_of(65_536, "an entry of 65,536 bytes"),
        nested("E44", "map", "an entry whose value is 64 arrays in each other", &DEEP_ENTRY, 64),
        bucket_of(524_288, "a bucket of 524,288 bytes"),
        counted("262,144 entries", &[(262_144, 0)]),
        counted("entries of 16,777,216 bytes", &[(256, 65_500), (1, 6_756)]),
        changes(4_096, "4,096 changes"),
        delta_of(131_072, "131,072 bytes"),
        heartbeat_of(1_048_576, "1,048,576 bytes with the kind"),
        wants(4_096, "a list of 4,096"),
        items(65_536, "65,536 items, the array itself counted"),
        nested(
            "E25",
            "message",
            "8 arrays in each other, the outermost counted",
            &hexed("01860000f60100"),
            7,
        ),
    ]
}

pub(super) fn refused() -> Vec<Json> {
    vec![
        members(1_001, "1,001 members"),
        kiss_of(2_001, "2,001 bytes"),
        fragment_of(256, "a payload of 256 bytes"),
        snapshot_of(262_145, "a text of 262,145 bytes with its head"),
        nested("E6", "snapshot", "65 arrays in each other", &[], 65),
        entry_of(65_537, "an entry of 65,537 bytes"),
        nested("E44", "map", "an entry whose value is 65 arrays in each other", &DEEP_ENTRY, 65),
        bucket_of(524_289, "a bucket of 524,289 bytes"),
        counted("262,145 entries", &[(262_145, 0)]),
        counted("entries of 16,777,217 bytes", &[(256, 65_500), (1, 6_757)]),
        changes(4_097, "4,097 changes"),
        delta_of(131_073, "131,073 bytes"),
        heartbeat_of(1_048_577, "1,048,577 bytes with the kind"),
        wants(4_097, "a list of 4,097"),
        items(65_537, "65,537 items, the array itself counted"),
        nested(
            "E25",
            "message",
            "9 arrays in each other, the outermost counted",
            &hexed("01860000f60100"),
            8,
        ),
    ]
}
