//! What every reader has to refuse though its shape may be right: signatures that do not hold, hashes over the wrong bytes, frames
//! that were changed. Each case has all that its reader needs.

use super::readers::is_refused;
use super::{check, head, hex, owner, writer};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use tombolo::commands::{RevocationNotice, SignedCommand};
use tombolo::envelope::{Envelope, encode_air, encode_whole};
use tombolo::federation::TrustLevel;
use tombolo::federation::join::JoinRequest;
use tombolo::identity::Keypair;
use tombolo::layer::{Content, Head, Kind, Layer, LayerHash, Sequence, SignedHead};
use tombolo::sync::frontier::{Frontier, State};
use tombolo::time::Wall;
use tombolo_delta::{Context, Limits, Value, from_cbor, to_cbor};
use tombolo_mesh::PeerId;
use tombolo_mesh::frame::keys::{Alias, AudienceKey, Hint, Identity};
use tombolo_transports::lan::mdns::SaltedHint;

pub(super) const TIME_MS: u64 = 1_800_000_000_000;

pub(super) fn case(requirement: &str, what: &str, why: &str, mut given: Json) -> Json {
    given["requirement"] = json!(requirement);
    given["what"] = json!(what);
    given["why"] = json!(why);
    given
}

pub(super) fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

pub(super) fn n(number: u64) -> Value {
    Value::from(number)
}

pub(super) fn text(text: &str) -> Value {
    Value::from(text)
}

// ---- layers and envelopes ----------------------------------------------------------------------------

fn snapshot(sequence: u64, time_ms: u64, cpu: f64) -> (Layer, Value) {
    let value = Value::map([("cpu_usage_percent", Value::from(cpu)), ("node_name", Value::from("attic"))]);
    let content = Content::snapshot(value.clone()).unwrap();
    let signed = head(Kind::Snapshot, "state", &owner(), sequence, time_ms, &content).sign(&owner());
    (Layer { signed, content }, value)
}

fn whole(layer: &Layer) -> Vec<u8> {
    encode_whole(&Envelope::seal(layer))
}

/// The envelope with one of its nine items replaced.
fn with(layer: &Layer, at: usize, item: Value) -> Vec<u8> {
    let Ok(Value::Array(mut items)) = from_cbor(&whole(layer), &Limits::default()) else { panic!() };
    items[at] = item;
    to_cbor(&list(items))
}

pub(super) fn signed_as(head: Head, by: &Keypair, content: Content) -> Vec<u8> {
    let signature = by.sign(&head.signing_bytes());
    whole(&Layer { signed: SignedHead { head, signature }, content })
}

/// The signature with the order of the group added to its second half: the same point, another form.
fn malleable(signature: [u8; 64]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    let mut changed = signature.to_vec();
    for (byte, add) in changed[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    changed
}

fn signatures() -> Vec<Json> {
    let (state, value) = snapshot(7, TIME_MS, 12.5);
    let honest = state.signed.signature;
    let mut flipped = honest;
    flipped[3] ^= 1;
    let envelope = |why, bytes: Vec<u8>| case("E1", "whole envelope", why, json!({ "hex": hex(bytes) }));
    let other = Value::map([("cpu_usage_percent", Value::from(13.0)), ("node_name", Value::from("attic"))]);
    assert_ne!(value, other);
    vec![
        envelope("a bit of the signature changed", with(&state, 7, Value::Bytes(flipped.to_vec()))),
        envelope("signed by another key", signed_as(state.head().clone(), &writer(), state.content.clone())),
        envelope(
            "the order of the group is added to the second half of the signature",
            with(&state, 7, Value::Bytes(malleable(honest))),
        ),
        envelope("another audience sequence than was signed", with(&state, 6, n(3))),
        envelope("another content under the signature", with(&state, 8, list([other]))),
    ]
}

/// What is refused; or what is taken, though no writer sends it.
fn compact(is_refusing: bool) -> Vec<Json> {
    let ((base, first), (next, second)) = (snapshot(7, TIME_MS, 12.5), snapshot(8, TIME_MS + 60_000, 13.0));
    let context = Context { base_sequence: 7, sequence: 8, base_time_ms: TIME_MS, time_ms: TIME_MS + 60_000 };
    let delta = tombolo_delta::encode(&first, &tombolo_delta::diff(&first, &second, &context), &context);
    let [a, b] = base.head().root.prefix2();
    let bytes = |byte_0: u8, root: [u8; 2], step: &[u8], delta: &[u8]| {
        [&[byte_0][..], &root, step, &next.signed.signature, delta].concat()
    };
    let of = |why, bytes: Vec<u8>| {
        case("E13", "compact envelope", why, json!({ "hex": hex(bytes), "base": hex(whole(&base)) }))
    };
    let honest = bytes(0x81, [a, b], &[0x78], &delta);
    assert!(!is_refused(&of("none", honest)), "the honest one holds");
    let taken = [
        of("an audience step of 0", bytes(0xa1, [a, b], &[0x78, 0x00], &delta)),
        of("a minute in milliseconds", bytes(0xc1, [a, b], &[0xc0, 0xa9, 0x07], &delta)),
    ];
    if !is_refusing {
        return taken.into();
    }
    let other = tombolo_delta::encode(&first, &tombolo_delta::diff(&first, &first, &context), &context);
    vec![
        of("another root than the base's", bytes(0x81, [a ^ 1, b], &[0x78], &delta)),
        of("two states on in place of one", bytes(0x82, [a, b], &[0x78], &delta)),
        of("a minute as milliseconds", bytes(0xc1, [a, b], &[0x78], &delta)),
        of("a minute back", bytes(0x81, [a, b], &[0x77], &delta)),
        of("an audience step that was not signed", bytes(0xa1, [a, b], &[0x78, 0x02], &delta)),
        of("a delta that makes another state", bytes(0x81, [a, b], &[0x78], &other)),
    ]
}

fn map_deltas() -> Vec<Json> {
    let of = |why, value: Value| {
        case("E14", "map delta", why, json!({ "hex": hex(to_cbor(&value)), "time_ms": TIME_MS }))
    };
    vec![
        of("no array of entries", list([])),
        of("a third array", list([list([]), list([]), list([])])),
        of("an entry of one item", list([list([list([list([text("a")])])])])),
        of("a dropped key without segments", list([list([]), list([list([])])])),
        of("a dropped key that is a text", list([list([]), list([text("a")])])),
    ]
}

// ---- hashes over the wrong bytes ---------------------------------------------------------------------

fn derived(context: &str, parts: &[&[u8]], length: usize) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    let mut out = vec![0; length];
    hasher.finalize_xof().fill(&mut out);
    hex(out)
}

fn hashes() -> Vec<Json> {
    let (owner, author) = (owner().peer_id().0, writer().peer_id().0);
    let (salt, token) = ([6; 16], [5; 16]);
    let named = |why, hash: String| {
        let given = json!({ "owner": hex(owner), "author": hex(author), "name": "notes", "hash": hash });
        case("E5", "layer hash", why, given)
    };
    let member = |why, hash: String| {
        case("E29", "member hash", why, json!({ "salt": hex(salt), "identity": hex(owner), "hash": hash }))
    };
    let states = json!([[hex([0x21; 8]), 7, hex([0xab; 4])]]);
    let fingerprint = |why, fingerprint: u64| {
        let given = json!({ "states": states, "fingerprint": format!("{fingerprint:016x}") });
        case("E27", "fingerprint", why, given)
    };
    let mut frontier = Frontier::default();
    let state = State { sequence: Sequence::new(7).unwrap(), root_prefix: [0xab; 4] };
    frontier.set(LayerHash([0x21; 8]), Some(state));
    let token =
        |why, hash: String| case("E38", "token hash", why, json!({ "token": hex(token), "hash": hash }));
    vec![
        named("author before owner", derived("tombolo 1 layer print", &[&author, &owner, b"notes"], 8)),
        named(
            "without the context",
            hex(&blake3::hash(&[&owner[..], &author, b"notes"].concat()).as_bytes()[..8]),
        ),
        member("identity before salt", derived("tombolo 1 audience print", &[&owner, &salt], 16)),
        fingerprint("little-endian", frontier.fingerprint().swap_bytes()),
        fingerprint("of nothing", Frontier::default().fingerprint()),
        token("plain BLAKE3", hex(blake3::hash(&[5; 16]).as_bytes())),
    ]
}

// ---- joining, commands, notices, alarms --------------------------------------------------------------

fn parties() -> Vec<Json> {
    use tombolo::commands::{CommandId, CommandKind, CommandTimes, Deploy};
    let (inviter, joiner) = (owner(), writer());
    let sign = |inviter: &Keypair| {
        JoinRequest::sign(
            &joiner,
            &joiner.onion(),
            &inviter.peer_id(),
            [5; 16],
            "attic",
            TrustLevel::Trusted,
            Wall::from_ms(TIME_MS),
        )
    };
    let request = |why, request: &JoinRequest, to: &Keypair, by: &Keypair| {
        let given = json!({ "hex": hex(request.encode()), "inviter": hex(to.peer_id().0), "joiner": hex(by.peer_id().0) });
        case("E38", "signed join request", why, given)
    };
    let mut raised = sign(&inviter);
    raised.level = TrustLevel::Observer;
    let deploy = Deploy::new("web", "1.2", "https://market.example").unwrap();
    let kind = CommandKind::Deploy(deploy);
    let times = CommandTimes { made_s: 1_800_000_000, expires_s: 1_800_086_400 };
    let command = SignedCommand::sign(&inviter, joiner.peer_id(), CommandId([7; 16]), times, kind);
    let given = |sender: &Keypair, addressee: &Keypair| json!({ "hex": hex(command.encode()), "sender": hex(sender.peer_id().0), "addressee": hex(addressee.peer_id().0) });
    let notice = RevocationNotice::sign(&inviter, joiner.peer_id(), 1_800_000_000);
    let mut other = notice.clone();
    other.time_s += 1;
    let hash = hex(&blake3::hash(&notice.encode()).as_bytes()[..8]);
    vec![
        request("to another inviter", &sign(&inviter), &joiner, &joiner),
        request("of another joiner", &sign(&inviter), &inviter, &inviter),
        request("another level than was signed", &raised, &inviter, &joiner),
        case("C2", "signed command", "to another addressee", given(&inviter, &inviter)),
        case("C2", "signed command", "of another sender", given(&joiner, &joiner)),
        case("C4", "signed notice", "another time than was signed", json!({ "hex": hex(other.encode()) })),
        case(
            "C5",
            "confirmation of a notice",
            "the hash of the notice, not of what is signed",
            json!({ "hex": hex(notice.encode()), "hash": hash }),
        ),
        case(
            "C6",
            "notice as text",
            "another prefix",
            json!({ "text": notice.to_text().replace("tombolo-revoke1:", "tombolo-revoke2:") }),
        ),
        case(
            "C6",
            "notice as text",
            "a character too few",
            json!({ "text": notice.to_text()[..notice.to_text().len() - 1] }),
        ),
        case("C6", "notice as text", "padded", json!({ "text": format!("{}=", notice.to_text()) })),
    ]
}

fn alarms() -> Vec<Json> {
    let node = || Value::Bytes(vec![7; 16]);
    let of = |why, items: Vec<Value>| {
        let document = Value::map([("alarms", list([list(items)]))]);
        case("A1", "alarm", why, json!({ "hex": hex(to_cbor(&document)) }))
    };
    let full =
        |kind: u64, node: Value, name: &str| vec![n(kind), node, text(name), n(4), n(100), Value::Null, n(5)];
    let id = |why, hash: String| {
        case(
            "A2",
            "alarm id",
            why,
            json!({ "kind": 1, "node": hex([7; 16]), "episode": 4, "app": "", "id": hash }),
        )
    };
    let little = 4_u64.to_le_bytes();
    vec![
        of("kind 8", full(8, node(), "hut")),
        of("a node of 15 bytes", full(1, Value::Bytes(vec![7; 15]), "hut")),
        of("six items", full(1, node(), "hut").into_iter().take(6).collect()),
        of("a name of 33 bytes", full(1, node(), &"x".repeat(33))),
        id("the episode little-endian", derived("tombolo 1 alarm", &[&[1], &[7; 16], &little], 8)),
    ]
}

fn ends_of(why: &str, ends: Value) -> Json {
    let value = Value::map([("salt", Value::Bytes(vec![6; 16])), ("members", list([])), ("ends", ends)]);
    case("E30", "ends of an audience", why, json!({ "hex": hex(to_cbor(&value)) }))
}

fn ends_accepted() -> Vec<Json> {
    let end = |length: usize| vec![Value::Bytes(vec![7; length]), n(4), n(3)];
    vec![
        ends_of("one of another form, then one that counts", list([list(end(7)), list(end(8))])),
        ends_of("a fourth item, of a later version", list([list([end(8), vec![text("x")]].concat())])),
    ]
}

fn ends() -> Vec<Json> {
    let of = ends_of;
    vec![
        of("since as text", list([list([Value::Bytes(vec![7; 8]), text("4"), n(3)])])),
        of("last of 2^53", list([list([Value::Bytes(vec![7; 8]), n(4), n(1 << 53)])])),
        of("a hash of 7 bytes", list([list([Value::Bytes(vec![7; 7]), n(4), n(3)])])),
        of("two items", list([list([Value::Bytes(vec![7; 8]), n(4)])])),
    ]
}

fn on_air() -> Vec<Json> {
    let (state, _) = snapshot(7, TIME_MS, 12.5);
    let honest = encode_air(&state, false);
    let Ok(Value::Array(mut items)) = from_cbor(&honest, &Limits::default()) else { panic!() };
    items[3] = n(8);
    vec![case(
        "E32",
        "whole on air",
        "another sequence than was signed",
        json!({ "hex": hex(to_cbor(&list(items))), "owner": hex(owner().peer_id().0) }),
    )]
}

// ---- links and radios --------------------------------------------------------------------------------

fn links() -> Vec<Json> {
    let key = [1; 32];
    let spki =
        |prefix: &str, key: &[u8]| [HEXLOWER.decode(prefix.as_bytes()).unwrap(), key.to_vec()].concat();
    let certificate = |why, bytes: Vec<u8>| case("L1", "certificate", why, json!({ "hex": hex(bytes) }));
    let salt = [0, 1, 2, 3, 4, 5, 6, 7];
    let hint = SaltedHint::new(&PeerId(key), salt).text();
    let hints = |why, key: [u8; 32], text: String| {
        case("L4", "mDNS hint", why, json!({ "key": hex(key), "hint": text }))
    };
    vec![
        certificate("of an X25519 key", spki("302a300506032b656e032100", &key)),
        certificate("a key of 31 bytes", spki("302a300506032b6570032100", &key[1..])),
        certificate("a byte behind the key", spki("302a300506032b6570032100", &[&key[..], &[0]].concat())),
        hints("of another key", [2; 32], hint.clone()),
        hints("under another salt", key, format!("ff{}", &hint[2..])),
    ]
}

pub(super) fn audience_key() -> AudienceKey {
    AudienceKey { epoch: 7, key: std::array::from_fn(|at| at as u8) }
}

pub(super) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

/// `frames.json` as it is written down.
fn written() -> Json {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/frames.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The vector of `frames.json` that has this field.
fn having(field: &str) -> Json {
    written()["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|vector| vector.get(field).is_some())
        .unwrap()
        .clone()
}

pub(super) fn unhex(json: &Json) -> Vec<u8> {
    HEXLOWER.decode(json.as_str().unwrap().as_bytes()).unwrap()
}

pub(super) fn fixed<const N: usize>(json: &Json) -> [u8; N] {
    unhex(json).try_into().unwrap()
}

pub(super) fn flip(json: &Json, at: usize) -> String {
    let mut bytes = unhex(json);
    let at = if at < bytes.len() { at } else { bytes.len() - 1 };
    bytes[at] ^= 1;
    hex(bytes)
}

fn frames() -> Vec<Json> {
    let sealed = written()["vectors"][3].clone();
    let (key, counter) = (sealed["frame_key"].clone(), sealed["counter"].as_u64().unwrap());
    let frame = |why, hex: String, counter: u64| {
        case("R6", "frame", why, json!({ "frame_key": key, "counter": counter, "hex": hex }))
    };
    let honest = sealed["frame"].as_str().unwrap().to_owned();
    let clear = |why, hex: &str| case("R8", "clear frame", why, json!({ "hex": hex }));
    let (audience, sender) = (audience_key(), identity(2).peer_id());
    let names = |why, alias: Alias, hint: Hint| {
        let given = json!({ "key": hex(audience.key), "epoch": 7, "sender": hex(sender.0), "alias": hex(alias.0), "hint": hex([hint.0]) });
        case("R5", "alias and hint", why, given)
    };
    let older = AudienceKey { epoch: 6, ..audience.clone() };
    let counters = |why, before: &[u32], counter: u32| {
        case("R7", "counter", why, json!({ "announced": 1_000, "before": before, "counter": counter }))
    };
    vec![
        names("of the epoch before", older.alias(), audience.hint(&sender)),
        names("of another sender", audience.alias(), audience.hint(&identity(1).peer_id())),
        frame("a bit of the header changed", flip(&sealed["frame"], 0), counter),
        frame("a bit of the payload changed", flip(&sealed["frame"], 7), counter),
        frame("a bit of the tag changed", flip(&sealed["frame"], 1_000), counter),
        frame("a counter 65,536 ahead", honest.clone(), counter + 65_536),
        frame("cut short by a byte", honest[..honest.len() - 2].to_owned(), counter),
        counters("taken before", &[1_000], 1_000),
        counters("beyond the zone, 128 below the highest", &[50_000], 49_872),
        counters("more than 2^15 - 1 above the expected", &[50_000], 82_769),
        clear("a filling of more than 15 bytes in all", "930000ee12340102037469646500000000"),
        clear("a filling that is not zero", "920000ee123401020374690001"),
        clear("five bytes", "900000ee12"),
        clear("eight bytes", "900000ee12340102"),
        clear("a filling longer than what is there", "940000ee1234010203000000"),
    ]
}

/// An announcement that was cut into more parts than one may be.
fn in_four_parts(frame: &[u8]) -> Vec<Json> {
    let (head, body) = frame.split_at(4);
    let hash = blake3::hash(body);
    let check = &hash.as_bytes()[..2];
    let parts = body.chunks(20).zip(0_u8..);
    parts.map(|(slice, n)| json!(hex([head, &[n << 4 | 4], check, slice].concat()))).collect()
}

fn keys() -> Vec<Json> {
    let sealed = having("sealed");
    let seal = |why, bytes: String, owner: u8, epoch: u32, reader: u8| {
        let given = json!({ "sealed": bytes, "owner": hex(identity(owner).peer_id().0), "epoch": epoch, "reader_seed": hex([reader; 32]) });
        case("R10", "sealed key", why, given)
    };
    let honest = || sealed["sealed"].as_str().unwrap().to_owned();
    let pair = having("there");
    let tag = |why, seed: u8, speaker: u8, bytes: &str| {
        let given = json!({ "seed": hex([seed; 32]), "speaker": hex(identity(speaker).peer_id().0), "bytes": hex(bytes), "tag": pair["tag"] });
        case("R11", "pair tag", why, given)
    };
    let opened = having("parts");
    let announcement = |why, frames: Vec<Json>, sender: u8| {
        let given = json!({ "frames": frames, "sender": hex(identity(sender).peer_id().0) });
        case("R9", "announcement", why, given)
    };
    let parts = opened["parts"].as_array().unwrap();
    let channel = having("name");
    vec![
        announcement("of another sender", vec![opened["frame"].clone()], 1),
        announcement("a bit of the salt changed", vec![json!(flip(&opened["frame"], 9))], 2),
        announcement("a bit of the signature changed", vec![json!(flip(&opened["frame"], 80))], 2),
        announcement("the low bits of another number", vec![json!(flip(&opened["frame"], 0))], 2),
        announcement("in four parts", in_four_parts(&unhex(&opened["frame"])), 2),
        announcement("a part less", vec![parts[0].clone()], 2),
        announcement("a part that was changed", vec![parts[0].clone(), json!(flip(&parts[1], 20))], 2),
        with_slots(1_025),
        seal("for other readers", honest(), 1, 7, 1),
        seal("of another owner", honest(), 2, 7, 2),
        seal("of another epoch", honest(), 1, 8, 2),
        seal("cut within a slot", honest()[..honest().len() - 2].to_owned(), 1, 7, 2),
        tag("of other bytes", 2, 1, "ebb!"),
        tag("for another listener", 3, 1, "tide"),
        case(
            "R12",
            "channel of two",
            "the key from one to the other in its place",
            json!({ "seed": hex([1; 32]), "other": hex(identity(2).peer_id().0), "key": pair["there"] }),
        ),
        case(
            "R12",
            "channel of two",
            "of another pair",
            json!({ "seed": hex([1; 32]), "other": hex(identity(3).peer_id().0), "key": channel["key"] }),
        ),
    ]
}

/// The frames of a join with these low bits of their first bytes.
fn towards(frames: &[Json], low: u8) -> Vec<Json> {
    let changed = |frame: &Json| {
        let mut bytes = unhex(frame);
        bytes[0] |= low;
        json!(hex(bytes))
    };
    frames.iter().map(changed).collect()
}

/// The key of `frames.json`, sealed, and further slots of zeros: so many in all.
fn with_slots(count: usize) -> Json {
    let honest = having("sealed")["sealed"].as_str().unwrap().to_owned();
    let more = count - (honest.len() / 2 - 32) / 24;
    let given = json!({
        "runs": [[honest, 1], [hex([0; 24]), more]],
        "owner": hex(identity(1).peer_id().0), "epoch": 7, "reader_seed": hex([2; 32]),
    });
    case("R10", "sealed key", &format!("{count} slots"), given)
}

fn handshakes() -> Vec<Json> {
    let join = having("frames_1");
    let of = |requirement, why, inviter: u8, token: [u8; 32], frames: Vec<Json>| {
        let given = json!({ "inviter_seed": hex([inviter; 32]), "token_hash": hex(token), "frames": frames });
        case(requirement, "join", why, given)
    };
    let frames = join["frames_1"].as_array().unwrap().clone();
    let (first, rest) = frames.split_first().unwrap();
    let changed = |at| [&[json!(flip(first, at))], rest].concat();
    let mut other = [0x77; 32];
    other[31] = 0;
    vec![
        of("R13", "another token with the same first bytes", 1, other, frames.clone()),
        of("R13", "to another inviter", 3, [0x77; 32], frames.clone()),
        of("R14", "a part less", 1, [0x77; 32], rest.to_vec()),
        of("R14", "a part that was changed", 1, [0x77; 32], changed(20)),
        of("R14", "another check", 1, [0x77; 32], changed(6)),
        of("R14", "a direction of 3", 1, [0x77; 32], towards(&frames, 3)),
        of("R14", "in the direction of an answer", 1, [0x77; 32], towards(&frames, 1)),
    ]
}

#[test]
fn what_does_not_hold_is_refused() {
    let cases = [
        signatures(),
        super::signed::refused(),
        compact(true),
        map_deltas(),
        hashes(),
        parties(),
        alarms(),
        ends(),
        on_air(),
        links(),
        frames(),
        keys(),
        handshakes(),
        super::fragments::refused(),
        super::strict::refused(),
        super::limits::refused(),
        super::links::turns_refused(),
        super::rights::refused(),
    ]
    .concat();
    for case in &cases {
        assert!(is_refused(case), "{case}");
    }
    super::signed::check_signatures(&cases);
    let accepted = [
        super::strict::accepted(),
        super::signed::accepted(),
        compact(false),
        ends_accepted(),
        vec![with_slots(1_024)],
        super::limits::accepted(),
        super::links::turns_accepted(),
        super::rights::accepted(),
    ]
    .concat();
    for case in &accepted {
        assert!(!is_refused(case), "{case}");
    }
    check("rules.json", &json!({ "accepted": accepted, "refused": cases }));
}
