//! The vectors that pin radio frames and their keys: bytes another implementation can check itself against.
//!
//! `TOMBOLO_BLESS=1 cargo test -p tombolo-mesh --test frames` writes them again, after a new version of the format.
//! Replays what fuzzing of frames found worth keeping, too.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../fuzz/frame_checks.rs"]
mod frame_checks;

use proptest::prelude::*;
use std::collections::BTreeSet;
use tombolo_mesh::PeerId;
use tombolo_mesh::frame::announcement::{EpochAnnouncement, SenderAddress};
use tombolo_mesh::frame::handshake::{HandshakeEvent, Initiator, Responder};
use tombolo_mesh::frame::keys::pair::{PairChannel, PairKey, pair_tag, pair_tag_holds};
use tombolo_mesh::frame::keys::sealed::{open_sealed, seal_for_readers};
use tombolo_mesh::frame::keys::{
    Alias, AudienceKey, BootEpoch, Hint, Identity, Mode, SenderCheck, agreement_key,
};
use tombolo_mesh::frame::{ClearFrame, Counters, Header, Kind, Window, open, seal};

/// A JSON object, one field a line; values are text already.
struct Object(Vec<String>);

impl Object {
    fn new(about: &str) -> Self {
        Object(vec![format!("\"about\": \"{about}\"")])
    }

    fn number(mut self, name: &str, number: impl std::fmt::Display) -> Self {
        self.0.push(format!("\"{name}\": {number}"));
        self
    }

    fn hex(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.0.push(format!("\"{name}\": \"{}\"", hex(bytes)));
        self
    }

    fn hexes(mut self, name: &str, all: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let all: Vec<String> = all.into_iter().map(|bytes| format!("\"{}\"", hex(bytes))).collect();
        self.0.push(format!("\"{name}\": [{}]", all.join(", ")));
        self
    }

    fn print(&self) -> String {
        format!("    {{\n      {}\n    }}", self.0.join(",\n      "))
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

fn audience() -> AudienceKey {
    AudienceKey { epoch: 7, key: std::array::from_fn(|at| at as u8) }
}

const BOOT: BootEpoch =
    BootEpoch { number: 0x0102_0345, salt: [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88] };

fn identities() -> Object {
    let public = |seed| identity(seed).peer_id().0;
    Object::new("ed25519 seeds 01.., 02.., 03.. of 32 bytes; their public keys; the X25519 keys of these")
        .hexes("ed25519", [1, 2, 3].map(public))
        .hexes("x25519", [1, 2, 3].map(|seed| agreement_key(&PeerId(public(seed))).unwrap()))
}

fn names() -> Object {
    let (key, owner, sender) = (audience(), identity(1).peer_id(), identity(2).peer_id());
    Object::new("an audience key: its alias, the hints of identities 1 and 2; in clear mode of owner 1, with their checks")
        .number("epoch", key.epoch)
        .hex("key", key.key)
        .hex("alias", key.alias().0)
        .hexes("hints", [owner, sender].map(|who| [key.hint(&who).0]))
        .hex("clear_alias", Alias::clear(&owner).0)
        .hexes("clear_hints", [owner, sender].map(|who| [Hint::clear(&owner, &who).0]))
        .hexes("clear_checks", [owner, sender].map(|who| SenderCheck::of(&owner, &who).0))
}

fn frame(counter: u32, payload: &[u8]) -> Object {
    let (key, sender) = (audience(), identity(2).peer_id());
    let frame_key = key.frame_key(Mode::Encrypted, &sender, &BOOT);
    let header = Header {
        kind: Kind::message(9).unwrap(),
        epoch_low: BOOT.low(),
        alias: key.alias(),
        hint: key.hint(&sender),
        counter_low: 0,
    };
    let sealed = seal(&frame_key, header, Counters::starting_at(counter).take().unwrap(), payload);
    assert_eq!(open(&frame_key, &sealed, counter).as_deref(), Some(payload));
    Object::new("kind 9, by identity 2 under that key")
        .number("boot_epoch", BOOT.number)
        .hex("salt", BOOT.salt)
        .hex("frame_key", frame_key.as_bytes())
        .number("counter", counter)
        .hex("payload", payload)
        .hex("frame", &sealed)
}

fn clear_frame() -> Object {
    let (owner, sender) = (identity(1).peer_id(), identity(2).peer_id());
    let (alias, hint) = (Alias::clear(&owner), Hint::clear(&owner, &sender));
    let header = Header { kind: Kind::message(9).unwrap(), epoch_low: 0, alias, hint, counter_low: 0x1234 };
    let payload = b"in plain words";
    let frame = ClearFrame { header, check: SenderCheck::of(&owner, &sender), payload };
    Object::new("clear mode: kind 9, by identity 2 in the audience of identity 1, counter 1234 (hex)")
        .hex("payload", payload)
        .hex("frame", frame.encode())
}

/// Of 15 bytes: for radios that take none so short.
fn padded_frames() -> Object {
    let (owner, sender) = (identity(1).peer_id(), identity(2).peer_id());
    let (alias, hint) = (Alias::clear(&owner), Hint::clear(&owner, &sender));
    let header = Header { kind: Kind::message(9).unwrap(), epoch_low: 0, alias, hint, counter_low: 0x1234 };
    let tide = ClearFrame { header, check: SenderCheck::of(&owner, &sender), payload: b"tide" };
    let frame = tide.encode_padded(15);
    assert_eq!(ClearFrame::decode(&frame), Some(tide));
    let key = audience();
    let question = SenderAddress { epoch_low: BOOT.low(), alias: key.alias(), hint: key.hint(&sender) };
    Object::new("filled up to 15 bytes: that clear frame with payload `tide`; that request")
        .hex("frame", frame)
        .hex("request", question.encode_padded(15))
}

fn announcement() -> Object {
    let (key, us) = (audience(), identity(2));
    let (alias, hint) = (key.alias(), key.hint(&us.peer_id()));
    let announcement = EpochAnnouncement::sign(&us, BOOT, 300);
    assert!(announcement.is_by(&us.peer_id()));
    Object::new("identity 2 opens that boot epoch; whole, in frames of 50 bytes, and asked for")
        .number("counter", announcement.counter)
        .hex("signature", announcement.signature)
        .hex("frame", &announcement.encode(alias, hint, 255)[0])
        .hexes("parts", announcement.encode(alias, hint, 50))
        .hex("request", SenderAddress { epoch_low: BOOT.low(), alias, hint }.encode())
}

fn sealed_keys() -> Object {
    let (key, owner) = (audience(), identity(1).peer_id());
    let readers: BTreeSet<PeerId> = [2, 3].map(|seed| identity(seed).peer_id()).into();
    let sealed = seal_for_readers(&key, &owner, &readers, &[0x42; 32]).unwrap();
    for reader in [2, 3] {
        assert_eq!(open_sealed(&identity(reader), &owner, key.epoch, &sealed), Some(key.clone()));
    }
    Object::new("that audience key of owner 1, sealed for identities 2 and 3")
        .hex("sealed", sealed.to_bytes())
}

fn pairs() -> Object {
    let (one, two) = (identity(1), identity(2));
    let there = PairKey::sending(&one, &two.peer_id()).unwrap();
    let back = PairKey::sending(&two, &one.peer_id()).unwrap();
    let tag = pair_tag(&there, b"tide");
    assert!(pair_tag_holds(&PairKey::receiving(&two, &one.peer_id()).unwrap(), b"tide", &tag));
    Object::new("identities 1 and 2: the key from 1 to 2, from 2 to 1, and the tag of `tide` from 1 to 2")
        .hex("there", there.as_bytes())
        .hex("back", back.as_bytes())
        .hex("tag", tag)
}

fn channel_of_two() -> Object {
    let (one, two) = (identity(1), identity(2));
    let channel = PairChannel::new(&one, &two.peer_id()).unwrap();
    assert_eq!(Some(&channel), PairChannel::new(&two, &one.peer_id()).as_ref());
    Object::new("identities 1 and 2: the channel of two, its alias and identity 1's hint in it")
        .hex("name", channel.name.as_bytes())
        .hex("key", channel.key.key)
        .hex("alias", channel.key.alias().0)
        .hex("hint", [channel.key.hint(&one.peer_id()).0])
}

fn join() -> Object {
    let (inviter, joiner) = (identity(1), identity(2));
    let token = [0x77; 32];
    let (ask, answer) = ([0x61; 100], [0x62; 40]);
    let mut initiator = Initiator::new(&joiner, &inviter.peer_id(), &token, &ask, [0x21; 32]).unwrap();
    let mut responder = Responder::new(inviter);
    responder.set_invites(BTreeSet::from([token]));
    let there = initiator.frames(120).unwrap();
    let heard: Vec<HandshakeEvent> = there.iter().map(|frame| responder.receive(frame).unwrap()).collect();
    let Some(HandshakeEvent::Request(request)) = heard.last() else { panic!("{heard:?}") };
    assert_eq!(request.payload, ask);
    responder.answer(request.id, &answer, [0x22; 32]).unwrap();
    let back = responder.frames(request.id, 120).unwrap();
    let answers: Vec<_> = back.iter().filter_map(|frame| initiator.receive(frame).unwrap()).collect();
    assert_eq!(answers, [answer]);
    Object::new("identity 2 joins identity 1; ephemeral secrets 21.. and 22.., frames of 120 bytes")
        .hex("token_hash", token)
        .hex("payload_1", ask)
        .hexes("frames_1", there)
        .hex("payload_2", answer)
        .hexes("frames_2", back)
}

/// What a receiver takes a counter's low half for.
fn inference() -> Vec<Object> {
    let cases =
        [(0, 0x7fff), (0, 0x8000), (70_000, 0x1170), (70_000, 0x9170), (70_000, 0x916f), (u32::MAX, 0xffff)];
    let case = |(expected, low): (u32, u16)| {
        let mut window = Window::default();
        window.heard_signed(expected);
        let inferred = window.infer(low).map_or("null".to_owned(), |counter| counter.to_string());
        Object::new("a counter inferred")
            .number("expected", expected)
            .number("low", low)
            .number("inferred", inferred)
    };
    cases.map(case).into()
}

fn vectors() -> String {
    let mut all = vec![identities(), names()];
    all.extend([frame(0, b""), frame(0x0001_fffe, b"the sand holds"), clear_frame()]);
    all.extend([padded_frames(), announcement(), sealed_keys(), pairs(), channel_of_two(), join()]);
    all.extend(inference());
    let all: Vec<String> = all.iter().map(Object::print).collect();
    format!("{{\n  \"version\": 1,\n  \"vectors\": [\n{}\n  ]", all.join(",\n"))
}

const TABLE: &str = ",\n  \"requirements\":";

/// Each vector is made again from its inputs, opened where it can be, and has the bytes that are written down.
#[test]
fn frames_have_the_bytes_that_are_written_down() {
    let path = format!("{}/../../tests/vectors/frames.json", env!("CARGO_MANIFEST_DIR"));
    let vectors = vectors();
    let written = std::fs::read_to_string(&path).unwrap();
    // The table behind the vectors is made and checked in `tests/vectors` of the repository.
    let (written, table) = written.split_once(TABLE).unwrap();
    if std::env::var_os("TOMBOLO_BLESS").is_some() {
        return std::fs::write(&path, [&vectors, TABLE, table].concat()).unwrap();
    }
    for (line, (made, written)) in vectors.lines().zip(written.lines()).enumerate() {
        assert_eq!(made, written, "line {}", line + 1);
    }
    assert_eq!(vectors, written);
}

#[test]
fn the_corpus_of_frames_holds() {
    let folder = format!("{}/../../fuzz/corpus/frame", env!("CARGO_MANIFEST_DIR"));
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).expect("the target has a corpus") {
        frame_checks::frame(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    println!("frame: {inputs} inputs");
    assert!(inputs > 0, "{folder} is empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_frames_are_refused_or_were_sent(input in prop::collection::vec(any::<u8>(), 0..400)) {
        frame_checks::frame(&input);
    }
}
