//! Bytes and texts that every reader has to refuse, by what they claim to be. Messages on links have theirs in `messages.json`,
//! streams in `links.json`.

use super::{check, hex, owner, writer};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde_json::{Value as Json, json};
use tombolo::broadcast::PairMessage;
use tombolo::commands::{CommandAnswer, RevocationNotice, SignedCommand};
use tombolo::envelope::{decode_air, decode_provisional, decode_update};
use tombolo::federation::Audience;
use tombolo::federation::invite::Invite;
use tombolo::federation::join::{JoinAnswer, JoinRequest};
use tombolo::identity::did;
use tombolo::sync::broadcast::message::{FrontierMessage, Heartbeat};
use tombolo_delta::{Value, to_cbor};
use tombolo_transports::PeerId;

/// What it claims to be, and what is wrong with it.
type Case = (&'static str, &'static str, Vec<u8>);

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

fn cbor(items: impl IntoIterator<Item = Value>) -> Vec<u8> {
    to_cbor(&list(items))
}

fn bytes(length: usize) -> Value {
    Value::Bytes(vec![7; length])
}

fn n(number: u64) -> Value {
    Value::from(number)
}

fn text(text: &str) -> Value {
    Value::from(text)
}

fn on_air() -> Vec<Case> {
    let whole = |kind, packed| {
        cbor([kind, text("state"), Value::Null, n(7), n(1_800_000_000_000), n(2), bytes(64), packed])
    };
    vec![
        ("heartbeat on air", "four bytes", vec![0; 4]),
        ("heartbeat on air", "half an alias", vec![0; 7]),
        ("heartbeat on air", "17 other audiences", vec![0; 5 + 4 * 17]),
        ("frontier on air", "no form", vec![]),
        ("frontier on air", "a form of a later version", vec![4]),
        ("frontier on air", "three bytes of a short entry", vec![2, 0, 0, 0]),
        ("frontier on air", "a long entry without a sequence", [&[1][..], &[7; 12]].concat()),
        (
            "frontier on air",
            "a sequence not in its shortest form",
            [&[1][..], &[7; 12], &[0x85, 0x00]].concat(),
        ),
        ("frontier on air", "a sequence of 2^53", [&[1][..], &[7; 12], &[0x80; 7], &[0x10]].concat()),
        ("frontier on air", "257 entries", [&[0][..], &[0; 4 * 257]].concat()),
        ("update", "63 bytes of a signature", vec![9; 63]),
        ("update", "another envelope is announced, and none follows", [&[9; 63][..], &[0x80]].concat()),
        ("update", "a change longer than what is left", [&[9; 63][..], &[0x80, 5, 0, 0]].concat()),
        ("update", "a coded part longer than what is left", [&[9; 63][..], &[0x40, 5, 0, 0]].concat()),
        ("provisional", "nothing", vec![]),
        ("provisional", "no tags", vec![0x02, 0xfe, 0x7c]),
        ("provisional", "fewer tags than announced", vec![0x22, 0, 0, 0, 0, 0, 0]),
        ("pair", "nothing", vec![]),
        ("pair", "a first byte of 7", vec![7, 0x80]),
        ("pair", "three bytes of a root", vec![0, 1, 0, 0, 0]),
        ("pair", "a byte behind the last number", [&[0][..], &[0; 5], &[0; 5], &[9, 0]].concat()),
        ("pair", "an audience of sequence 2^53", [&[0][..], &[0; 10], &[0x80; 7], &[0x10]].concat()),
        ("pair", "a sequence of 2^53", [&[0][..], &[0x80; 7], &[0x10], &[0; 4], &[0; 5], &[9]].concat()),
        ("whole on air", "kind 2", whole(n(2), bytes(3))),
        ("whole on air", "content that is no byte string", whole(n(0), list([]))),
        ("whole on air", "seven items", cbor((0..7).map(n))),
    ]
}

fn joining() -> Vec<Case> {
    let onion = writer().onion();
    let request = |domain: &str, token, onion: &str, name, level, signature| {
        cbor([text(domain), token, text(onion), name, level, n(1), signature])
    };
    let good = "tombolo-join-1";
    vec![
        (
            "join request",
            "another domain",
            request("tombolo-join-2", bytes(16), &onion, text("a"), n(2), bytes(64)),
        ),
        ("join request", "a token of 15 bytes", request(good, bytes(15), &onion, text("a"), n(2), bytes(64))),
        (
            "join request",
            "an onion of 63 bytes",
            request(good, bytes(16), &"a".repeat(63), text("a"), n(2), bytes(64)),
        ),
        ("join request", "a name that is no text", request(good, bytes(16), &onion, n(1), n(2), bytes(64))),
        ("join request", "level 3", request(good, bytes(16), &onion, text("a"), n(3), bytes(64))),
        (
            "join request",
            "a signature of 63 bytes",
            request(good, bytes(16), &onion, text("a"), n(2), bytes(63)),
        ),
        ("join answer", "an unknown reason", cbor([text(good), Value::Bool(false), text("mood")])),
        ("join answer", "no truth value", cbor([text(good), n(1), text("hut")])),
        ("join answer", "two items", cbor([text(good), Value::Bool(true)])),
        ("audience", "no salt", to_cbor(&Value::map([("members", list([]))]))),
        (
            "audience",
            "a salt of 15 bytes",
            to_cbor(&Value::map([("salt", bytes(15)), ("members", list([]))])),
        ),
        ("audience", "a member of one item", audience(list([bytes(16)]))),
        ("audience", "level 3", audience(list([bytes(16), n(3)]))),
        ("audience", "a hash of 15 bytes", audience(list([bytes(15), n(1)]))),
        ("audience", "since as text", audience(list([bytes(16), n(2), text("9")]))),
    ]
}

fn audience(member: Value) -> Vec<u8> {
    to_cbor(&Value::map([("salt", bytes(16)), ("members", list([member]))]))
}

fn codes() -> Vec<Case> {
    let (inviter, other) = (owner(), writer().peer_id());
    let long = |did: String, onion: &str, token: &str| {
        let json = json!({ "did": did, "onion": onion, "pubkey": hex(inviter.peer_id().0), "token": token });
        format!("fed1:{}", BASE64URL_NOPAD.encode(json.to_string().as_bytes())).into_bytes()
    };
    let optional = |name: &str, item: Json| {
        let (did, key) = (did(&inviter.peer_id()), hex(inviter.peer_id().0));
        let mut json =
            json!({ "did": did, "onion": inviter.onion(), "pubkey": key, "token": "05".repeat(16) });
        json[name] = item;
        format!("fed1:{}", BASE64URL_NOPAD.encode(json.to_string().as_bytes())).into_bytes()
    };
    let (own, onion, token) = (did(&inviter.peer_id()), inviter.onion(), "05".repeat(16));
    let compact = |version: u8, behind: &[u8]| {
        let body =
            [&[version][..], &inviter.peer_id().0, &[8; 32], &[5; 16], &[2], &[0xff; 4], behind].concat();
        format!("FED1C:{}", BASE32_NOPAD.encode(&body)).into_bytes()
    };
    // y = p + 3, for y = 3.
    let mut overlong = [0xff; 32];
    (overlong[0], overlong[31]) = (0xf0, 0x7f);
    let of_overlong =
        json!({ "did": did(&PeerId(overlong)), "onion": onion, "pubkey": hex(overlong), "token": token });
    let of_overlong = format!("fed1:{}", BASE64URL_NOPAD.encode(of_overlong.to_string().as_bytes()));
    vec![
        ("invite code", "a key that is not in its canonical form", of_overlong.into_bytes()),
        ("invite code", "a level of another name", optional("level", json!("x"))),
        ("invite code", "an end that is no time", optional("expires", json!("soon"))),
        ("invite code", "an address that is none", optional("addrs", json!(["hut"]))),
        ("invite code", "a bit left over that is not zero", odd_code(&compact(1, &[]))),
        ("invite code", "no prefix", b"FED2:AAAA".to_vec()),
        ("invite code", "a key and a DID that differ", long(did(&other), &onion, &token)),
        (
            "invite code",
            "an onion with a wrong checksum",
            long(own.clone(), &onion.replace('q', "r"), &token),
        ),
        ("invite code", "a token of 15 bytes", long(own, &onion, &"05".repeat(15))),
        ("invite code", "version 2 of the compact form", compact(2, &[])),
        ("invite code", "an address of another kind", compact(1, &[5, 1, 2, 3, 4, 0, 80])),
        ("invite code", "an address that is cut short", compact(1, &[4, 1, 2, 3])),
    ]
}

/// A compact code whose last letter has a bit set that belongs to no byte.
fn odd_code(code: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (last, rest) = code.split_last().unwrap();
    let at = LETTERS.iter().position(|letter| letter == last).unwrap();
    [rest, &[LETTERS[at | 1]]].concat()
}

fn commands() -> Vec<Case> {
    let deploy = || list([text("web"), text("1"), text("")]);
    vec![
        ("command", "an id of 15 bytes", cbor([bytes(15), n(1), n(1), n(0), deploy(), bytes(64)])),
        ("command", "a signature of 63 bytes", cbor([bytes(16), n(1), n(1), n(0), deploy(), bytes(63)])),
        ("command", "five items", cbor([bytes(16), n(1), n(1), n(0), deploy()])),
        ("command", "more than 1,024 bytes", cbor([bytes(16), n(1), n(1), n(1), bytes(1024), bytes(64)])),
        ("answer to a command", "status 4", cbor([bytes(16), n(4)])),
        ("answer to a command", "taken, with a further item", cbor([bytes(16), n(0), n(0)])),
        ("answer to a command", "end 5", cbor([bytes(16), n(1), n(5), n(0), text("")])),
        ("answer to a command", "exit code 0", cbor([bytes(16), n(1), n(1), n(0), text("")])),
        ("answer to a command", "success with a number", cbor([bytes(16), n(1), n(0), n(1), text("")])),
        (
            "answer to a command",
            "output of 4,097 bytes",
            cbor([bytes(16), n(1), n(0), n(0), text(&"x".repeat(4097))]),
        ),
        ("notice", "three items", cbor([bytes(32), bytes(32), n(1)])),
        ("notice", "an author of 31 bytes", cbor([bytes(31), bytes(32), n(1), bytes(64)])),
        ("notice", "time as text", cbor([bytes(32), bytes(32), text("1"), bytes(64)])),
    ]
}

fn is_refused(what: &str, bytes: &[u8]) -> bool {
    match what {
        "heartbeat on air" => Heartbeat::decode(bytes).is_err(),
        "frontier on air" => FrontierMessage::decode(bytes).is_err(),
        "update" => decode_update(bytes).is_err(),
        "pair" => PairMessage::decode(bytes).is_none(),
        "provisional" => decode_provisional(bytes).is_err(),
        "whole on air" => decode_air(owner().peer_id(), bytes).is_err(),
        "join request" => JoinRequest::decode(bytes).is_err(),
        "join answer" => JoinAnswer::decode(bytes).is_err(),
        "audience" => {
            let value = tombolo_delta::from_cbor(bytes, &tombolo_delta::Limits::default()).unwrap();
            Audience::from_value(&value).is_err()
        }
        "invite code" => Invite::parse(std::str::from_utf8(bytes).unwrap()).is_err(),
        "command" => SignedCommand::decode(bytes).is_err(),
        "answer to a command" => CommandAnswer::decode(bytes).is_err(),
        "notice" => RevocationNotice::decode(bytes).is_err(),
        other => panic!("no reader for {other}"),
    }
}

#[test]
fn what_is_refused() {
    let cases = [on_air(), joining(), codes(), commands()].concat();
    let cases: Vec<Json> = cases
        .into_iter()
        .map(|(what, why, bytes)| {
            assert!(is_refused(what, &bytes), "{what}: {why}");
            match what {
                "invite code" => {
                    json!({ "what": what, "why": why, "text": String::from_utf8(bytes).unwrap() })
                }
                _ => json!({ "what": what, "why": why, "hex": hex(bytes) }),
            }
        })
        .collect();
    check("refused.json", &json!({ "refused": cases }));
}
