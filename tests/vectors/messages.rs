//! Messages between engines, one of each form and what is refused, and the documents of the engine itself.

use super::{check, head, hex, layer_vector, map, owner, writer};
use serde_json::{Value as Json, json};
use tombolo::clock::Timestamp;
use tombolo::envelope::{BaseRef, CompactEnvelope, Envelope, Payload};
use tombolo::federation::ends::DocumentEnd;
use tombolo::federation::{Audience, DocumentPolicy, RadioUse, TrustLevel};
use tombolo::layer::packed::{pack, unpack};
use tombolo::layer::{
    BucketIndex, Content, DocumentId, DocumentName, Entry, KeyPath, Kind, Layer, LayerHash, LayerId,
    MapContent, NodePath, Root, Sequence,
};
use tombolo::sync::frontier::{BucketSize, Frontier, NamedBuckets, State};
use tombolo::sync::message::{Message, MessageError, NodeAsk, PeerClock, TransferId, TreeNode};
use tombolo::sync::transfer::answer_parts;
use tombolo::time::{Millis, Wall};
use tombolo_delta::{Key, Limits, Value};

const TIME_MS: u64 = 1_800_000_000_000;

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

/// A snapshot of the owner, and a map with three entries in one bucket: a key, one below it, and a shorter one behind both.
fn layers() -> (Layer, Layer) {
    let snapshot = Content::snapshot(Value::map([("name", Value::from("attic"))])).unwrap();
    let signed = head(Kind::Snapshot, "state", &owner(), 7, TIME_MS, &snapshot).sign(&owner());
    let snapshot = Layer { signed, content: snapshot };
    let bucket = |key: &str| BucketIndex::of(&KeyPath::parse(key).unwrap());
    let first =
        (0..).map(|n| format!("node-{n}")).find(|key| bucket(key) == bucket(&format!("{key}/x"))).unwrap();
    let below = format!("{first}/x");
    let shorter = (0..).map(|n| format!("z{n:x}")).find(|key| bucket(key) == bucket(&first)).unwrap();
    assert!(shorter.len() < first.len(), "{shorter} {first}");
    let stamp = |n| Timestamp::new(Wall::from_ms(TIME_MS), n);
    let value = |text| Some(Value::from(text));
    let content = map(&[
        (shorter.as_str(), stamp(0), value("last"), None),
        (below.as_str(), stamp(1), value("second"), None),
        (first.as_str(), stamp(2), value("first"), Some([1, 2, 3, 4])),
        ("elsewhere", stamp(3), None, None),
    ]);
    let signed = head(Kind::Map, "notes", &writer(), 300, TIME_MS, &content).sign(&writer());
    (snapshot, Layer { signed, content })
}

/// CBOR as JSON: bytes as an object with their hex digits.
fn plain(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => json!(bool),
        Value::Int(int) => {
            u64::try_from(int.get()).map_or_else(|_| json!({ "int": int.get().to_string() }), |n| json!(n))
        }
        Value::Text(text) => json!(text.to_string()),
        Value::Bytes(bytes) => json!({ "hex": hex(bytes) }),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Map(members) => {
            let name = |key: &Key| match key {
                Key::Text(text) => text.clone(),
                Key::Int(int) => int.get().to_string(),
            };
            Json::Object(members.iter().map(|(key, value)| (name(key), plain(value))).collect())
        }
        Value::Float(_) => unreachable!("no message has a float"),
    }
}

fn accepted(about: &str, bytes: &[u8]) -> Json {
    Message::decode(bytes).unwrap_or_else(|error| panic!("{about}: {error}"));
    let body = &bytes[1..];
    let limits = Limits::default();
    let array =
        if bytes[0] < 0x80 { plain(&tombolo_delta::from_cbor(body, &limits).unwrap()) } else { Json::Null };
    json!({ "about": about, "hex": hex(bytes), "array": array })
}

fn exact(about: &str, message: &Message) -> Json {
    let bytes = message.encode();
    assert_eq!(hex(Message::decode(&bytes).unwrap().encode()), hex(&bytes), "{about}");
    accepted(about, &bytes)
}

fn compact(base: BaseRef, address: Option<u8>, time_step_ms: i64, audience_step: i64) -> Message {
    Message::Compact(Box::new(CompactEnvelope {
        base,
        address,
        time_step_ms,
        audience_step,
        signature: [9; 64],
        delta: vec![0x40],
    }))
}

fn compact_json(
    about: &str,
    base: BaseRef,
    address: Option<u8>,
    time_step_ms: i64,
    audience_step: i64,
) -> Json {
    let mut json = exact(about, &compact(base, address, time_step_ms, audience_step));
    json["fields"] = json!({
        "distance": base.distance, "address": address, "root_prefix": hex(base.root_prefix),
        "time_step_ms": time_step_ms, "audience_step": audience_step, "signature": hex([9; 64]), "delta": "40",
    });
    json
}

fn accepted_messages() -> Vec<Json> {
    let (snapshot, notes) = layers();
    let (a, b) = (snapshot.head().layer.hash(), notes.head().layer.hash());
    let (of_a, of_b) = (State::of(&snapshot.signed), State::of(&notes.signed));
    let clock =
        PeerClock { wall: Wall::from_ms(TIME_MS), uptime: Millis::from_ms(61_000), boot: 0xdead_beef };
    let heartbeat = |clock| Message::Heartbeat {
        fingerprint: 0x0102_0304_0506_0708,
        next_by_s: 15,
        clock,
        heard_s_ago: None,
    };
    let heard = Message::Heartbeat {
        fingerprint: 0x0102_0304_0506_0708,
        next_by_s: 15,
        clock: None,
        heard_s_ago: Some(40),
    };
    let later = [
        &[0x01][..],
        &tombolo_delta::to_cbor(&Value::Array(vec![
            Value::from(1u64),
            Value::from(15u64),
            Value::Null,
            Value::from(2u64),
            Value::from(40u64),
            Value::from("later"),
        ])),
    ]
    .concat();
    let Content::Map(map) = &notes.content else { unreachable!() };
    let id = TransferId { layer: b, root: notes.head().root };
    let bucket = map
        .iter()
        .map(|(key, _)| NodePath::from(BucketIndex::of(key)))
        .find(|b| map.below(*b).count() > 1)
        .unwrap();
    let below = bucket.parent();
    let held = [short_hashes(map, &notes, bucket), vec![9; 4]].concat();
    let plain = |path| NodeAsk { path, held: None };
    let ask = |path, held: &[u8]| NodeAsk { path, held: Some(held.to_vec()) };
    let node = |path, same| TreeNode {
        path,
        children: if same == Some(1) { Vec::new() } else { map.children(path) },
        same,
    };
    let offer = Envelope { signed: notes.signed.clone(), payload: Payload::Offer };
    let whole = |envelope| Message::Whole(Box::new(envelope));
    let base = |distance| BaseRef { distance, root_prefix: [0xab, 0xcd], is_short: false };
    vec![
        exact("heartbeat of a node that believes in its clock", &heartbeat(Some(clock))),
        exact("heartbeat without a clock", &heartbeat(None)),
        exact("heartbeat of a node that has received something 40 s ago", &heard),
        accepted("heartbeat of a later version: further items are left unread", &later),
        exact("ask of a node that believes nothing: all buckets are answered", &Message::Ask(vec![0; 16])),
        exact("ask", &Message::Ask((0..16).map(|n| n * 0x1111_1111).collect())),
        exact("ask by fine buckets", &Message::Ask((0..256).map(|n| n * 0x0101_0101).collect())),
        exact(
            "frontier: all of buckets 2 and 10",
            &Message::Frontier {
                buckets: named(BucketSize::Coarse, [2, 10]),
                states: vec![(a, of_a), (b, of_b)],
            },
        ),
        exact(
            "frontier: all of the fine buckets of the two",
            &Message::Frontier {
                buckets: named(BucketSize::Fine, [a.0[0], b.0[0]]),
                states: vec![(a, of_a), (b, of_b)],
            },
        ),
        exact(
            "frontier as a notice of news: no bucket is complete",
            &Message::Frontier { buckets: NamedBuckets::none(), states: vec![(b, of_b)] },
        ),
        exact(
            "want: one layer whole, one on a state that is held",
            &Message::Want(vec![(a, None), (b, Some(of_b))]),
        ),
        exact("whole: a snapshot", &whole(Envelope::seal(&snapshot))),
        exact("whole: a map by a writer that is not the owner", &whole(Envelope::seal(&notes))),
        exact("whole: an offer", &whole(offer)),
        exact(
            "refused, each reason",
            &Message::Refused([1, 2, 3, 5].map(|why| (a, sequence(7), why)).into()),
        ),
        exact("not understood: three messages", &Message::NotUnderstood(3)),
        exact(
            "tree ask: of the second node the children that are held",
            &Message::TreeAsk(id, vec![plain(NodePath::ROOT), ask(below, &[1; 64])]),
        ),
        exact(
            "tree: of the second node the child in slot 0 is held, and it has no other",
            &Message::Tree(id, vec![node(NodePath::ROOT, None), node(below, Some(1))]),
        ),
        exact(
            "parts ask: a bucket of which four entries are held, and all below a node",
            &Message::PartsAsk(id, vec![ask(bucket, &held), plain(below)]),
        ),
        exact(
            "parts: of the bucket the three entries are held, the fourth is not there; then all below the node",
            &answer_parts(id, map, &[ask(bucket, &held), plain(below)]),
        ),
        compact_json(
            "compact: one state on, a minute later, with an address",
            base(1),
            Some(0x21),
            60_000,
            0,
        ),
        compact_json("compact: 16 states on, milliseconds, an audience step", base(16), None, 60_123, 2),
        compact_json("compact: time and audience go back", base(300), Some(0), -1_000, -1),
    ]
}

/// The short hashes of all entries of a bucket.
fn short_hashes(map: &MapContent, layer: &Layer, bucket: NodePath) -> Vec<u8> {
    let root = layer.head().root.0;
    let short = |cbor: Vec<u8>| blake3::keyed_hash(&root, &cbor).as_bytes()[..4].to_vec();
    map.below(bucket).flat_map(|(key, entry)| short(entry.to_cbor(key))).collect()
}

/// Entries and their packed form.
fn packed_entries() -> Json {
    let (_, notes) = layers();
    let Content::Map(map) = &notes.content else { unreachable!() };
    let mut entries: Vec<(&KeyPath, &Entry)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    let packed = pack(entries.iter().copied(), 1 << 20).unwrap();
    let head = [0x00, 0x01, b'a', 0x02, 0xf6];
    let refused = [
        ("shares a byte with the key before the first", vec![0x04, 0x00, 0x02, 0xf6]),
        ("cut within a key", vec![0x00, 0x02, b'a']),
        ("cut before its value", head[..4].to_vec()),
        ("no text", [&[0x00, 0x01, 0xfe][..], &head[3..]].concat()),
        ("a number longer than it need be", [&[0x80, 0x00][..], &head[1..]].concat()),
        ("an object that is not spread over keys", [&head[..4], &[0xa1, 0x61, b'b', 0x01]].concat()),
        ("three bytes of what it replaced", [&[0x02][..], &head[1..], &[1, 2, 3]].concat()),
    ];
    let refused = refused.map(|(about, bytes)| {
        let error = unpack(&bytes, &mut (1 << 20)).expect_err(about);
        json!({ "about": about, "hex": hex(bytes), "error": error.to_string() })
    });
    json!({
        "entries": entries.iter().map(|(key, entry)| json!(hex(entry.to_cbor(key)))).collect::<Vec<_>>(),
        "packed": hex(&packed),
        "root": hex(notes.head().root.0),
        "short_hashes": entries.iter().map(|(key, entry)| {
            json!(hex(&blake3::keyed_hash(&notes.head().root.0, &entry.to_cbor(key)).as_bytes()[..4]))
        }).collect::<Vec<_>>(),
        "refused": refused,
    })
}

fn named(size: BucketSize, numbers: [u8; 2]) -> NamedBuckets {
    NamedBuckets { size, numbers: numbers.into() }
}

fn of_kind(kind: u8, items: impl IntoIterator<Item = Value>) -> Vec<u8> {
    [&[kind][..], &tombolo_delta::to_cbor(&Value::Array(items.into_iter().collect()))].concat()
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

fn bytes(length: usize) -> Value {
    Value::Bytes(vec![7; length])
}

fn n(number: u64) -> Value {
    Value::from(number)
}

/// A whole envelope of nine items, with one of them replaced.
fn whole_with(at: usize, item: Value) -> Vec<u8> {
    let (snapshot, _) = layers();
    let honest = Message::Whole(Box::new(Envelope::seal(&snapshot))).encode();
    let Ok(Value::Array(mut items)) = tombolo_delta::from_cbor(&honest[1..], &Limits::default()) else {
        panic!()
    };
    items[at] = item;
    of_kind(0x05, items)
}

fn refused_lists() -> Vec<(&'static str, Vec<u8>)> {
    let id = || [bytes(8), bytes(32)];
    let two = |a, b| list([a, b]);
    let transfer = |kind, items| of_kind(kind, id().into_iter().chain([list(items)]));
    vec![
        ("ask of 15 hashes", of_kind(0x02, (0..15).map(n))),
        ("ask of 255 hashes", of_kind(0x02, (0..255).map(n))),
        ("ask with a hash of 33 bits", of_kind(0x02, (0..16).map(|_| n(1 << 32)))),
        ("frontier with a mask of 17 bits", of_kind(0x03, [n(1 << 16), list([])])),
        ("frontier with a mask of 31 bytes", of_kind(0x03, [bytes(31), list([])])),
        ("frontier: a hash of 7 bytes", of_kind(0x03, [n(0), list([list([bytes(7), n(1), bytes(4)])])])),
        (
            "frontier: a sequence of 2^53",
            of_kind(0x03, [n(0), list([list([bytes(8), n(1 << 53), bytes(4)])])]),
        ),
        ("frontier: a third item", of_kind(0x03, [n(0), list([]), n(0)])),
        ("want: a sequence without a root", of_kind(0x04, [two(bytes(8), n(1))])),
        ("refused: a reason above 255", of_kind(0x06, [list([bytes(8), n(1), n(256)])])),
        ("refused: no reason", of_kind(0x06, [two(bytes(8), n(1))])),
        ("not understood: no number", of_kind(0x0f, [bytes(1)])),
        ("tree ask: level 4", transfer(0x07, vec![two(n(4), n(0))])),
        ("tree ask: an index that level 1 lacks", transfer(0x07, vec![two(n(1), n(16))])),
        ("tree ask: 257 places", transfer(0x07, vec![two(n(0), n(0)); 257])),
        ("tree: slot 16", transfer(0x08, vec![list([n(0), n(0), list([list([n(16), bytes(32), n(1)])])])])),
        (
            "tree: a child of no entries",
            transfer(0x08, vec![list([n(0), n(0), list([list([n(1), bytes(32), n(0)])])])]),
        ),
        ("tree ask: 63 bytes of what is held", transfer(0x07, vec![list([n(0), n(0), bytes(63)])])),
        (
            "tree: the held children in 17 bits",
            transfer(0x08, vec![list([n(0), n(0), list([]), n(1 << 16)])]),
        ),
        ("parts ask: bucket 4096", transfer(0x09, vec![two(n(3), n(4096))])),
        ("parts ask: an entry held in 3 bytes", transfer(0x09, vec![list([n(3), n(0), bytes(3)])])),
        ("parts ask: entries held of a node", transfer(0x09, vec![list([n(2), n(0), bytes(4)])])),
        ("parts ask: no entry held", transfer(0x09, vec![list([n(3), n(0), bytes(0)])])),
        ("parts ask: 1,025 entries held", transfer(0x09, vec![list([n(3), n(0), bytes(4 * 1025)])])),
        ("parts: entries that are no byte string", transfer(0x0a, vec![list([n(3), n(1), list([])])])),
        ("parts: five items", transfer(0x0a, vec![list([n(3), n(1), bytes(0), bytes(1), n(0)])])),
        ("parts: a root of 31 bytes", of_kind(0x0a, [bytes(8), bytes(31), list([])])),
    ]
}

fn refused_messages() -> Vec<(&'static str, Vec<u8>)> {
    let clock = |items: &[u64]| of_kind(0x01, [n(1), n(15), list(items.iter().copied().map(n)), n(1)]);
    let base = |distance| BaseRef { distance, root_prefix: [0xab, 0xcd], is_short: false };
    let honest = compact(base(1), None, 60_000, 0).encode();
    let mut all = vec![
        ("nothing", vec![]),
        ("kind 0x00", of_kind(0x00, [])),
        ("kind 0x10, of a later version", of_kind(0x10, [])),
        ("not understood: no items", of_kind(0x0f, [])),
        (
            "heartbeat: nested 9 deep",
            of_kind(0x01, [n(1), n(15), Value::Null, (0..8).fold(n(1), |inner, _| list([inner]))]),
        ),
        ("heartbeat: the fingerprint as 8 bytes", of_kind(0x01, [bytes(8), n(15), Value::Null, n(1)])),
        ("heartbeat: two items", of_kind(0x01, [n(1), n(15)])),
        ("heartbeat: next by of 33 bits", of_kind(0x01, [n(1), n(1 << 32), Value::Null, n(1)])),
        ("heartbeat: a clock of two items", clock(&[1, 2])),
        ("heartbeat: a boot of 33 bits", clock(&[1, 2, 1 << 32])),
        ("heartbeat: a head longer than it need be", vec![0x01, 0x84, 0x18, 0x05, 0x0f, 0xf6, 0x01]),
        ("heartbeat: a byte behind the array", vec![0x01, 0x84, 0x05, 0x0f, 0xf6, 0x01, 0x00]),
        ("heartbeat that is no array", vec![0x01, 0x05]),
        ("whole: kind 2", whole_with(0, n(2))),
        ("whole: an owner of 31 bytes", whole_with(1, bytes(31))),
        ("whole: a name with a slash", whole_with(2, Value::from("a/b"))),
        ("whole: an empty name", whole_with(2, Value::from(""))),
        ("whole: a sequence of 2^53", whole_with(4, n(1 << 53))),
        ("whole: a signature of 63 bytes", whole_with(7, bytes(63))),
        ("whole: two contents", whole_with(8, list([n(1), n(2)]))),
        ("whole: a root of 31 bytes", whole_with(8, bytes(31))),
        ("compact, cut within the signature", honest[..honest.len() - 2].to_vec()),
        ("compact: a varint of 15, which fits the first byte", [&[0x80, 15][..], &honest[1..]].concat()),
        ("compact: a distance not in its shortest form", [&[0x80, 0x90, 0x00][..], &honest[1..]].concat()),
    ];
    all.extend(refused_lists());
    all
}

fn name_of(error: &MessageError) -> &'static str {
    match error {
        MessageError::Empty => "empty",
        MessageError::UnknownKind(_) => "unknown kind",
        MessageError::Cbor(_) => "cbor",
        MessageError::Shape(_) => "shape",
        MessageError::Envelope(_) => "envelope",
    }
}

fn audience() -> Audience {
    let (owner, writer) = (owner().peer_id(), writer().peer_id());
    let first = Audience::new([6; 16], [(writer, TrustLevel::Observer), (owner, TrustLevel::Trusted)]);
    let members = [(writer, TrustLevel::Trusted), (owner, TrustLevel::Trusted)];
    first
        .followed_by(members, sequence(9))
        .with_policy("notes", DocumentPolicy { confidential: false, radio: RadioUse::Brief })
        .with_policy("log", DocumentPolicy { confidential: true, radio: RadioUse::Never })
}

fn audience_with_end() -> Audience {
    let name = DocumentName::new("log").unwrap();
    let end = DocumentEnd { since: sequence(4), last: sequence(3) };
    Audience::new([6; 16], [(writer().peer_id(), TrustLevel::Observer)]).with_end(&name, end)
}

#[test]
fn messages_between_engines() {
    let (snapshot, notes) = layers();
    let mut frontier = Frontier::default();
    for layer in [&snapshot, &notes] {
        frontier.set(layer.head().layer.hash(), Some(State::of(&layer.signed)));
    }
    let states: Vec<Json> = frontier
        .iter()
        .map(|(LayerHash(layer), state)| json!([hex(layer), state.sequence.get(), hex(state.root_prefix)]))
        .collect();
    let refused: Vec<Json> = refused_messages()
        .into_iter()
        .map(|(about, bytes)| {
            let error = Message::decode(&bytes).expect_err(about);
            json!({ "about": about, "hex": hex(bytes), "error": name_of(&error) })
        })
        .collect();
    let sealed = Value::map([("epoch", n(3)), ("sealed", bytes(80))]);
    check(
        "messages.json",
        &json!({
            "about": "one of each form of a message; `array` is the CBOR behind the first byte, byte strings as {hex}",
            "accepted": accepted_messages(),
            "refused": refused,
            "layers": [layer_vector(&snapshot), layer_vector(&notes)],
            "frontier": {
                "states": states,
                "bucket_hashes": frontier.bucket_hashes(BucketSize::Coarse),
                "fine_bucket_hashes": frontier.bucket_hashes(BucketSize::Fine),
                "fingerprint": format!("{:016x}", frontier.fingerprint()),
            },
            "packed": packed_entries(),
            "audience": {
                "about": "the writer of sequence 9; `notes` open and as its brief by radio, `log` never by radio",
                "value": plain(&audience().to_value()),
                "cbor": hex(tombolo_delta::to_cbor(&audience().to_value())),
            },
            "audience_with_end": {
                "about": "`log` has ended: its layer 3 in the audience of sequence 4",
                "name": "log", "since": 4, "last": 3,
                "cbor": hex(tombolo_delta::to_cbor(&audience_with_end().to_value())),
            },
            "keys": { "value": plain(&sealed), "cbor": hex(tombolo_delta::to_cbor(&sealed)) },
            "names": names(),
        }),
    );
}

/// The hash of a layer by its three names.
fn names() -> Json {
    let (owner, author) = (owner().peer_id(), writer().peer_id());
    let id = LayerId { document: DocumentId { owner, name: DocumentName::new("notes").unwrap() }, author };
    json!({ "owner": hex(owner.0), "author": hex(author.0), "name": "notes", "hash": hex(id.hash().0) })
}

/// A root is what a layer's signature covers: another one is another state.
#[test]
fn an_offer_names_the_root_that_is_signed() {
    let (_, notes) = layers();
    let Root(root) = notes.head().root;
    let offer = Envelope { signed: notes.signed, payload: Payload::Offer };
    let bytes = Message::Whole(Box::new(offer)).encode();
    assert!(bytes.ends_with(&root));
}
