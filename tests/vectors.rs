//! Bytes that other implementations can check, computed here from the inputs that stand beside them.
//! `TOMBOLO_BLESS=1 cargo test --test vectors` writes the files again after a deliberate change of a format.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "vectors/bundle.rs"]
mod bundle;
#[path = "vectors/fragments.rs"]
mod fragments;
#[path = "vectors/limits.rs"]
mod limits;
#[path = "vectors/links.rs"]
mod links;
#[path = "vectors/messages.rs"]
mod messages;
#[path = "vectors/readers.rs"]
mod readers;
#[path = "vectors/refused.rs"]
mod refused;
#[path = "vectors/requirements.rs"]
mod requirements;
#[path = "vectors/rights.rs"]
mod rights;
#[path = "vectors/rules.rs"]
mod rules;
#[path = "vectors/signed.rs"]
mod signed;
#[path = "vectors/strict.rs"]
mod strict;

use std::borrow::Cow;
use std::path::Path;
use tombolo::time::Wall;

use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use tombolo::broadcast::{KeyStates, PairMessage};
use tombolo::clock::Timestamp;
use tombolo::envelope::{
    BaseRef, Carried, Change, CompactEnvelope, Envelope, UpdateChange, decode_air, decode_provisional,
    decode_update, encode_air, encode_changes, encode_compact, encode_provisional, encode_update,
    encode_whole, join_update,
};
use tombolo::federation::invite::{Invite, token_hash};
use tombolo::federation::join::{JoinAnswer, JoinRefusal, JoinRequest};
use tombolo::federation::{Audience, TrustLevel};
use tombolo::identity::{Keypair, did, parse_onion, verify};
use tombolo::layer::{
    Content, DocumentId, DocumentName, Entry, Head, KeyPath, Kind, Layer, LayerId, MapContent, Sequence,
};
use tombolo::sync::broadcast::message::{FrontierEntry, FrontierMessage, Heartbeat};
use tombolo::sync::frontier::State;
use tombolo_delta::{Context, Value};
use tombolo_transports::Address;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn check(name: &str, computed: &Json) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let kept = || serde_json::from_str::<Json>(&std::fs::read_to_string(&path).unwrap_or_default());
    if std::env::var_os("TOMBOLO_BLESS").is_some() {
        let mut written = computed.clone();
        if let Some(table) = kept().ok().and_then(|kept| kept.get("requirements").cloned()) {
            written["requirements"] = table;
        }
        std::fs::write(&path, serde_json::to_string_pretty(&written).unwrap() + "\n").unwrap();
    }
    let mut kept = kept().unwrap();
    // The table is checked in `requirements.rs`.
    kept.as_object_mut().unwrap().remove("requirements");
    assert_eq!(&kept, computed, "{name}: a format changed; see CHANGELOG.md before blessing it");
}

fn owner() -> Keypair {
    Keypair::from_seeds(&[1; 32], &[2; 32])
}

fn writer() -> Keypair {
    Keypair::from_seeds(&[3; 32], &[4; 32])
}

fn head(kind: Kind, name: &str, author: &Keypair, sequence: u64, time_ms: u64, content: &Content) -> Head {
    let document = DocumentId { owner: owner().peer_id(), name: DocumentName::new(name).unwrap() };
    Head {
        kind,
        layer: LayerId { document, author: author.peer_id() },
        sequence: Sequence::new(sequence).unwrap(),
        time: Wall::from_ms(time_ms),
        audience_sequence: Sequence::new(2).unwrap(),
        root: content.root(),
    }
}

fn layer_vector(layer: &Layer) -> Json {
    let head = layer.head();
    json!({
        "name": head.layer.document.name.as_str(),
        "author": hex(head.layer.author.0),
        "sequence": head.sequence.get(),
        "time_ms": head.time.ms(),
        "content": hex(layer.content.to_cbor()),
        "root": hex(head.root.0),
        "layer_print": hex(head.layer.hash().0),
        "signed_bytes": hex(head.signing_bytes()),
        "signature": hex(layer.signed.signature),
        "whole_envelope": hex(encode_whole(&Envelope::seal(layer))),
    })
}

/// Key, stamp, value or deletion, saw.
type Written<'a> = (&'a str, Timestamp, Option<Value>, Option<[u8; 4]>);

fn map(entries: &[Written<'_>]) -> Content {
    let mut map = MapContent::default();
    let entry = |(key, stamp, value, saw): &Written<'_>| {
        (
            KeyPath::parse(key).unwrap(),
            Some(Entry { stamp: *stamp, value: value.clone().map(Into::into), saw: *saw }),
        )
    };
    map.change(entries.iter().map(entry)).unwrap();
    Content::Map(map)
}

#[test]
fn envelopes_and_what_they_sign() {
    let time = 1_800_000_000_000;
    let (owner, writer) = (owner(), writer());
    let first =
        Value::map([("cpu_usage_percent", Value::from(12.5)), ("uptime_secs", Value::from(3_600u64))]);
    let second =
        Value::map([("cpu_usage_percent", Value::from(13.0)), ("uptime_secs", Value::from(3_660u64))]);
    let snapshot = |value: &Value, sequence, time| {
        let content = Content::snapshot(value.clone()).unwrap();
        let signed = head(Kind::Snapshot, "state", &owner, sequence, time, &content).sign(&owner);
        Layer { signed, content }
    };
    let (base, next) = (snapshot(&first, 7, time), snapshot(&second, 8, time + 60_000));
    let context = Context { base_sequence: 7, sequence: 8, base_time_ms: time, time_ms: time + 60_000 };
    let delta = tombolo_delta::encode(&first, &tombolo_delta::diff(&first, &second, &context), &context);
    let compact = |address| CompactEnvelope {
        base: BaseRef { distance: 1, root_prefix: base.head().root.prefix2(), is_short: false },
        address,
        time_step_ms: 60_000,
        audience_step: 0,
        signature: next.signed.signature,
        delta: delta.clone(),
    };
    let stamp = Timestamp::new(Wall::from_ms(time), 0);
    let entries = [
        ("rack/a", stamp, Some(Value::from("ok")), None),
        ("rack/b", Timestamp::new(Wall::from_ms(time), 1), Some(Value::from(7u64)), Some([1, 2, 3, 4])),
        ("gone", Timestamp::new(Wall::from_ms(time), 2), None, None),
    ];
    let content = map(&entries);
    let signed = head(Kind::Map, "notes", &writer, 3, time, &content).sign(&writer);
    let notes = Layer { signed, content };
    let entry = |(key, stamp, value, saw): &Written<'_>| {
        let entry = Entry { stamp: *stamp, value: value.clone().map(Into::into), saw: *saw };
        let key = KeyPath::parse(key).unwrap();
        json!({ "key": key.segments().collect::<Vec<_>>(), "stamp": stamp.bits().to_string(), "cbor": hex(entry.to_cbor(&key)), "saw_hash": hex(entry.hash4(&key)) })
    };
    let changes: Vec<_> = entries
        .iter()
        .map(|(key, stamp, value, saw)| {
            (
                KeyPath::parse(key).unwrap(),
                Some(Entry { stamp: *stamp, value: value.clone().map(Into::into), saw: *saw }.into()),
            )
        })
        .chain([(KeyPath::parse("dropped").unwrap(), None)])
        .collect();
    check(
        "envelope.json",
        &json!({
            "owner_seed": hex([1; 32]),
            "owner": hex(owner.peer_id().0),
            "owner_did": did(&owner.peer_id()),
            "writer_seed": hex([3; 32]),
            "writer": hex(writer.peer_id().0),
            "audience_sequence": 2,
            "snapshot": layer_vector(&base),
            "snapshot_next": layer_vector(&next),
            "compact": {
                "delta": hex(&delta),
                "lan": hex(encode_compact(&compact(Some(base.head().layer.hash().0[0])))),
            },
            "map": layer_vector(&notes),
            "map_empty_root": hex(map(&[]).root().0),
            "entries": entries.iter().map(entry).collect::<Vec<_>>(),
            "map_delta": { "time_ms": time, "cbor": hex(encode_changes(&changes, Wall::from_ms(time))) },
        }),
    );
}

#[test]
fn joining_and_its_codes() {
    let (inviter, joiner) = (owner(), writer());
    let token = [5; 16];
    let time = 1_800_000_000_000;
    let request = JoinRequest::sign(
        &joiner,
        &joiner.onion(),
        &inviter.peer_id(),
        token,
        "attic",
        TrustLevel::Trusted,
        Wall::from_ms(time),
    );
    let addresses: Vec<Address> =
        vec!["10.77.0.1:8662".parse().unwrap(), "[fd77:0:0:1::1]:8662".parse().unwrap()];
    let invite = Invite {
        inviter: inviter.peer_id(),
        onion: inviter.onion(),
        token,
        level: Some(TrustLevel::Trusted),
        expires: Some(Wall::from_ms(time)),
        addresses,
    };
    let members = [(joiner.peer_id(), TrustLevel::Trusted), (inviter.peer_id(), TrustLevel::Observer)];
    let audience = Audience::new([6; 16], members).to_value();
    let array = |items: Vec<Value>| tombolo_delta::to_cbor(&Value::Array(items));
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let domain = || Value::from("tombolo-join-1");
    let signed = array(vec![
        domain(),
        bytes(&inviter.peer_id().0),
        bytes(&joiner.peer_id().0),
        Value::from(joiner.onion().as_str()),
        bytes(&token_hash(&token)),
        Value::from(2_u64),
        Value::from(time),
    ]);
    assert!(verify(&joiner.peer_id(), &signed, &request.signature), "the page has another array");
    // On air, as the page has it; a test of `src/broadcast/join.rs` compares these with what is sent.
    let key = |number: u8| [Value::from(u64::from(number)), bytes(&[number; 16])];
    let [key_epoch, audience_key] = key(7);
    let air_request = array(vec![
        bytes(&joiner.peer_id().0),
        bytes(&parse_onion(&joiner.onion()).unwrap()),
        Value::from("attic"),
        Value::from(2_u64),
        Value::from(time),
        bytes(&request.signature),
        key_epoch,
        audience_key,
    ]);
    let [key_epoch, audience_key] = key(8);
    let air_agreed = array(vec![Value::Bool(true), Value::from("hut"), key_epoch, audience_key]);
    check(
        "federation.json",
        &json!({
            "inviter_seed": hex([1; 32]),
            "inviter_onion_seed": hex([2; 32]),
            "inviter_onion": inviter.onion(),
            "joiner_seed": hex([3; 32]),
            "joiner_onion_seed": hex([4; 32]),
            "token": hex(token),
            "token_hash": hex(token_hash(&token)),
            "request": hex(request.encode()),
            "request_signature": hex(request.signature),
            "request_signed_bytes": hex(signed),
            "answer_agreed": hex(JoinAnswer::Agreed { name: "hut".into() }.encode()),
            "answer_refused": hex(JoinAnswer::Refused(JoinRefusal::Expired).encode()),
            "code": invite.to_code(),
            "code_compact": invite.to_compact(),
            "audience": hex(tombolo_delta::to_cbor(&audience)),
            "air_request": hex(air_request),
            "air_answer_agreed": hex(air_agreed),
            "air_answer_refused": hex(array(vec![Value::Bool(false), Value::from("expired")])),
        }),
    );
}

#[test]
fn messages_on_air() {
    let value = Value::map([("cpu", Value::from(12.5)), ("name", Value::from("attic"))]);
    let content = Content::snapshot(value).unwrap();
    let snapshot = Layer {
        signed: head(Kind::Snapshot, "state", &owner(), 7, 1_800_000_000_000, &content).sign(&owner()),
        content,
    };
    let content = map(&[
        ("a/b", Timestamp::new(Wall::from_ms(1_799_999_000_000), 0), Some(Value::from("x")), None),
        ("c", Timestamp::new(Wall::from_ms(1_799_999_001_000), 1), None, None),
    ]);
    let shared = Layer {
        signed: head(Kind::Map, "notes", &writer(), 3, 1_800_000_000_000, &content).sign(&writer()),
        content,
    };
    for layer in [&snapshot, &shared] {
        let opened = decode_air(owner().peer_id(), &encode_air(layer, false)).unwrap().open().unwrap();
        assert_eq!(opened.signed, layer.signed);
    }
    let target = Value::map([("cpu", Value::from(13.25)), ("name", Value::from("attic"))]);
    let Content::Snapshot(base) = &snapshot.content else { unreachable!() };
    let base = &*base.get();
    let context = Context {
        base_sequence: 7,
        sequence: 9,
        base_time_ms: 1_800_000_000_000,
        time_ms: 1_800_000_121_000,
    };
    let changed = CompactEnvelope {
        base: BaseRef { distance: 2, root_prefix: [0xab, 0], is_short: true },
        address: None,
        time_step_ms: 121_000,
        audience_step: 0,
        signature: [9; 64],
        delta: Change::Snapshot { base: base.clone(), target: Cow::Borrowed(&target), context },
    };
    // Long enough that the packed form is the shorter one.
    let text = "the sand holds when the tide is out, and the sand holds when the tide is in";
    let entry = Entry {
        stamp: Timestamp::new(Wall::from_ms(1_800_000_000_000), 0),
        value: Some(Value::from(text).into()),
        saw: None,
    };
    let changes =
        vec![(KeyPath::parse("a/b").unwrap(), Some(entry.into())), (KeyPath::parse("c").unwrap(), None)];
    let changed_map = CompactEnvelope {
        base: BaseRef { distance: 1, root_prefix: [0xab, 0xcd], is_short: false },
        audience_step: 1,
        ..changed.with(Change::Map { changes: changes.clone(), time: Wall::from_ms(1_800_000_000_000) })
    };
    let update = join_update(&[
        encode_update(&changed_map, false),
        encode_update(&changed_map, true),
        encode_update(&changed, false),
    ])
    .unwrap();
    let read = decode_update(&update).unwrap();
    let is_plain = |at: usize| matches!(read[at].delta, UpdateChange::Plain(_));
    assert!(!is_plain(0) && is_plain(1), "the first stands there in both forms");
    assert_eq!(read[0].delta.changes(Wall::from_ms(1_800_000_000_000)), Ok(changes.clone()));
    assert_eq!(read[1].delta.changes(Wall::from_ms(1_800_000_000_000)), Ok(changes.clone()));
    assert_eq!(read[2].delta.target(base, &context).as_ref(), Some(&target));
    let provisional = encode_provisional(&changed, 2).unwrap();
    assert!(decode_provisional(&[&provisional[..], &[0; 8]].concat()).is_ok());
    let states: Vec<_> = [&snapshot, &shared].map(|l| (l.head().layer.hash(), State::of(&l.signed))).into();
    let short = FrontierMessage {
        complete: true,
        entries: states.iter().map(|(l, s)| FrontierEntry::short(l, *s)).collect(),
    };
    let long = states.iter().map(|(layer, state)| FrontierEntry::Long { layer: *layer, state: *state });
    let long = FrontierMessage { complete: false, entries: long.collect() };
    let heartbeat =
        Heartbeat { next_by_s: 900, fingerprint: 0x0102_0304, others: vec![([0xaa, 0xbb], 0x0506)] };
    assert_eq!(Heartbeat::decode(&heartbeat.encode()).map(|read| read.next_by_s), Ok(960));
    let keys = |sequence, root_prefix| State { sequence: Sequence::new(sequence).unwrap(), root_prefix };
    let which = PairMessage::Which(KeyStates {
        mine: keys(300, [0x0b, 0xad, 0xca, 0xfe]),
        yours: keys(0, [0; 4]),
        audience: Sequence::new(9).unwrap(),
    });
    assert_eq!(PairMessage::decode(&which.encode()).as_ref(), Some(&which));
    let whole: Vec<Json> = [&snapshot, &shared]
        .map(|layer| json!({ "layer": layer_vector(layer), "bytes": hex(encode_air(layer, false)) }))
        .into();
    check(
        "air.json",
        &json!({
            "whole": whole,
            "update": {
                "envelopes, the first both packed and plain": [
                    {
                        "distance": 1, "print": "abcd", "time_step_ms": 121_000, "audience_step": 1,
                        "signature": hex([9; 64]), "time_ms": 1_800_000_000_000_u64,
                        "changes": hex(encode_changes(&changes, Wall::from_ms(1_800_000_000_000))),
                    },
                    {
                        "distance": 2, "print": "ab", "time_step_ms": 121_000, "audience_step": 0,
                        "signature": hex([9; 64]), "context": [7, 9, 1_800_000_000_000_u64, 1_800_000_121_000_u64],
                        "base": hex(tombolo_delta::to_cbor(base)), "target": hex(tombolo_delta::to_cbor(&target)),
                    },
                ],
                "bytes": hex(update),
            },
            "heartbeat": {
                "next_by_s": 900, "carried_s": 960, "fingerprint": "01020304", "others": [["aabb", "0506"]],
                "bytes": hex(heartbeat.encode()),
            },
            "frontier": {
                "states": states.iter().map(|(l, s)| json!([hex(l.0), s.sequence.get(), hex(s.root_prefix)])).collect::<Vec<_>>(),
                "short, complete": hex(short.encode()),
                "long": hex(long.encode()),
            },
            "provisional, of the second, before its two tags": hex(provisional),
            "pair": {
                "keys": [[300, "0badcafe"], [0, "00000000"], 9],
                "which": hex(which.encode()),
                "mine, then a layer": hex(PairMessage::Mine(&[0x80]).encode()),
                "yours, then a layer": hex(PairMessage::Yours(&[0x80]).encode()),
            },
        }),
    );
}

#[test]
fn commands() {
    use tombolo::commands::{
        CommandAnswer, CommandId, CommandKind, CommandParties, CommandRefusal, CommandTimes, Deploy, Outcome,
        RunEnd, RunResult, SignedCommand,
    };
    let (sender, addressee, id) = (owner(), writer().peer_id(), CommandId([7; 16]));
    let deploy = Deploy::new("web", "1.2", "https://market.example").unwrap();
    let times = CommandTimes { made_s: 1_800_000_000, expires_s: 1_800_086_400 };
    let command = SignedCommand::sign(&sender, addressee, id, times, CommandKind::Deploy(deploy.clone()));
    let parties = CommandParties { sender: sender.peer_id(), addressee };
    assert!(SignedCommand::decode(&command.encode()).unwrap().verify(parties));
    let ended = |end| Some(Outcome::Ended(RunResult { end, output: "pulled".to_owned() }));
    let answers = [
        ("taken", None),
        ("success", ended(RunEnd::Success)),
        ("exit code 3", ended(RunEnd::Exit(3))),
        ("signal 9", ended(RunEnd::Signal(9))),
        ("over its time", ended(RunEnd::TimedOut)),
        ("not started", ended(RunEnd::NotStarted)),
        ("refused, not in the catalogue", Some(Outcome::Refused(CommandRefusal::NotInCatalogue))),
        ("unknown", Some(Outcome::Unknown)),
    ];
    let answers = answers.map(|(what, outcome)| {
        let answer = CommandAnswer { id, outcome };
        let bytes = answer.encode(4096);
        assert_eq!(CommandAnswer::decode(&bytes), Ok(answer));
        json!({ "what": what, "bytes": hex(bytes) })
    });
    let revocation = tombolo::commands::RevocationNotice::sign(&sender, addressee, 1_800_000_000);
    let reasons = CommandRefusal::ALL.map(|why| json!([why.code(), why.label()]));
    check(
        "commands.json",
        &json!({
            "sender": hex(sender.peer_id().0),
            "addressee": hex(addressee.0),
            "id": hex(id.0),
            "made_s": times.made_s,
            "expires_s": times.expires_s,
            "deploy": { "app": deploy.id, "version": deploy.version, "marketplace": deploy.marketplace_url },
            "signed_bytes": hex(command.signing_bytes(parties)),
            "signature": hex(command.signature),
            "command": hex(command.encode()),
            "revocation, the sender of the addressee": {
                "time_s": 1_800_000_000_u64,
                "signed_bytes": hex(revocation.signing_bytes()),
                "bytes": hex(revocation.encode()),
                "text": revocation.to_text(),
                "hash": hex(revocation.hash().0),
            },
            "answers": answers.to_vec(),
            "reasons": reasons.to_vec(),
        }),
    );
}

/// The document `alarms`, and the ids that readers compute.
#[test]
fn alarms() {
    use tombolo::watches::{
        AlarmReport, AlarmSubject, AlarmsDocument, MessageProgress, OperatorGroup, WatchKind,
    };

    let node = Keypair::from_seeds(&[1; 32], &[2; 32]).peer_id();
    let at = |seconds: u64| Wall::from_ms(seconds * 1000);
    let mut document = AlarmsDocument { group: OperatorGroup::named("ada"), ..AlarmsDocument::default() };
    for kind in WatchKind::ALL {
        let subject = match kind {
            WatchKind::AppStopped | WatchKind::AppUnhealthy => AlarmSubject::app(kind, &node, "web"),
            _ => AlarmSubject::node(kind, &node),
        };
        let cleared_at = (kind == WatchKind::Back).then(|| at(1_800_000_600));
        let (name, figure) = ("hut".to_owned(), u64::from(kind.code()));
        let report =
            AlarmReport { subject, name, episode: 41, raised_at: at(1_800_000_000), cleared_at, figure };
        document.put(report);
    }
    let ids: Vec<Json> = document
        .reports
        .iter()
        .map(|report| json!([report.subject.kind.label(), report.id().to_string()]))
        .collect();
    let (first, second) = (document.reports[0].id(), document.reports[1].id());
    document.acknowledge(first, at(1_800_000_060));
    document.note_message(first, Some(MessageProgress::Done), at(1_800_000_001));
    document.note_message(second, Some(MessageProgress::Claimed), at(1_800_000_601));
    let bytes = tombolo_delta::to_cbor(&document.to_value());
    let limits = tombolo_delta::Limits { bytes_max: 10_000, depth_max: 20, items_max: 10_000 };
    let read = AlarmsDocument::from_value(&tombolo_delta::from_cbor(&bytes, &limits).unwrap());
    assert_eq!(read, document);
    check(
        "alarms.json",
        &json!({
            "node": hex(node.0),
            "app": "web",
            "episode": 41,
            "raised_s": 1_800_000_000_u64,
            "ids": ids,
            "operator": "ada",
            "document": hex(bytes),
        }),
    );
}

/// The decoder in Python (`examples/python/`, and `tests/python/` for the further pages) finds in every file what is
/// written down, and has not grown beyond its 900 lines.
#[test]
fn a_decoder_in_python_reads_every_vector() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = std::process::Command::new("python3")
        .current_dir(root)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["tests/python/check.py", "tests/vectors", "delta/tests/vectors"])
        .output();
    let output = match run {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: needs python3 (apt install python3)");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    // With exit code 77 its line begins with SKIPPED itself: a package is missing.
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 77)), "a vector is not what the pages have");
}
