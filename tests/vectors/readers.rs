//! The readers of `rules.json`: whether what a case gives holds.

use std::collections::BTreeSet;

use super::limits::expand;
use super::rules::{TIME_MS, audience_key, fixed, identity, unhex};
use super::{hex, owner};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use tombolo::commands::{CommandParties, RevocationNotice, SignedCommand};
use tombolo::envelope::{Base, Carried, decode_air, decode_changes, decode_compact, decode_whole};
use tombolo::federation::invite::token_hash;
use tombolo::federation::join::JoinRequest;
use tombolo::federation::{Audience, TrustLevel};
use tombolo::layer::{
    Content, DocumentId, DocumentName, Kind, LayerHash, LayerId, Root, Sequence, SignedHead,
};
use tombolo::sync::frontier::{Frontier, State};
use tombolo::sync::message::Message;
use tombolo::time::{Mono, Wall};
use tombolo::watches::{AlarmSubject, AlarmsDocument, NodePrefix, WatchKind};
use tombolo_delta::{Context, Limits, from_cbor};
use tombolo_mesh::PeerId;
use tombolo_mesh::bulk::fragment::{Assembler, MemoryLimits, Progress, Source};
use tombolo_mesh::frame::announcement::{EpochAnnouncements, OpenFrame};
use tombolo_mesh::frame::handshake::{HandshakeEvent, Responder};
use tombolo_mesh::frame::keys::pair::{PairKey, pair_tag_holds};
use tombolo_mesh::frame::keys::sealed::{SealedKeys, open_sealed};
use tombolo_mesh::frame::keys::{AudienceKey, BootEpoch, FrameKey, Identity, Mode};
use tombolo_mesh::frame::{ClearFrame, Track, open};
use tombolo_mesh::wire::ax25::{DESTINATION, UiFrame};
use tombolo_transports::lan::mdns::SaltedHint;

fn opens(json: &Json) -> bool {
    decode_whole(&unhex(json)).is_ok_and(|envelope| envelope.open().is_ok())
}

fn holds_on_base(compact: &Json, base: &Json) -> bool {
    let base = decode_whole(&unhex(base)).unwrap().open().unwrap();
    let head = base.head();
    let Ok(envelope) = decode_compact(&unhex(compact)) else { return false };
    let on = Base {
        layer: &head.layer,
        sequence: head.sequence,
        time: head.time,
        audience_sequence: head.audience_sequence,
    };
    let Some((sequence, time)) = envelope.sequence_on(&on).zip(envelope.time_on(&on)) else { return false };
    let Content::Snapshot(value) = &base.content else { return false };
    let value = value.get();
    let context = Context {
        base_sequence: head.sequence.get(),
        sequence: sequence.get(),
        base_time_ms: head.time.ms(),
        time_ms: time.ms(),
    };
    let Ok(delta) = tombolo_delta::decode(&value, &envelope.delta, &context) else { return false };
    let Ok(target) = tombolo_delta::apply(&value, &delta, &context) else { return false };
    let root: Root = Content::snapshot(target).unwrap().root();
    let claimed = envelope.head_on(&on, Kind::Snapshot, root);
    envelope.base.fits(&head.root.0)
        && claimed.is_some_and(|head| SignedHead { head, signature: envelope.signature }.verify())
}

fn hash_is_right(case: &Json) -> bool {
    match case["what"].as_str().unwrap() {
        "layer hash" => {
            let document = DocumentId {
                owner: PeerId(fixed(&case["owner"])),
                name: DocumentName::new("notes").unwrap(),
            };
            let id = LayerId { document, author: PeerId(fixed(&case["author"])) };
            hex(id.hash().0) == case["hash"]
        }
        "member hash" => {
            let audience = Audience::new(
                fixed(&case["salt"]),
                [(PeerId(fixed(&case["identity"])), TrustLevel::Trusted)],
            );
            let value = audience.to_value();
            let first = value
                .get("members")
                .and_then(|members| members.as_array()?.first()?.as_array()?.first()?.as_bytes());
            hex(first.unwrap()) == case["hash"]
        }
        "fingerprint" => {
            let mut frontier = Frontier::default();
            for state in case["states"].as_array().unwrap() {
                let sequence = Sequence::new(state[1].as_u64().unwrap()).unwrap();
                frontier.set(
                    LayerHash(fixed(&state[0])),
                    Some(State { sequence, root_prefix: fixed(&state[2]) }),
                );
            }
            format!("{:016x}", frontier.fingerprint()) == case["fingerprint"]
        }
        "token hash" => hex(token_hash(&fixed(&case["token"]))) == case["hash"],
        "confirmation of a notice" => {
            hex(RevocationNotice::decode(&unhex(&case["hex"])).unwrap().hash().0) == case["hash"]
        }
        "alarm id" => {
            let subject = AlarmSubject {
                kind: WatchKind::Silent,
                node: NodePrefix(fixed(&case["node"])),
                app: String::new(),
            };
            subject.id(case["episode"].as_u64().unwrap()).to_string() == case["id"]
        }
        other => panic!("no reader for {other}"),
    }
}

/// `hex`, or what stands in its place.
fn given(case: &Json) -> Vec<u8> {
    match case.get("hex") {
        Some(hex) => unhex(hex),
        None => expand(case),
    }
}

fn radio_is_right(case: &Json) -> bool {
    let bytes = || given(case);
    match case["what"].as_str().unwrap() {
        "alias and hint" => {
            let key = AudienceKey { epoch: case["epoch"].as_u64().unwrap() as u32, key: fixed(&case["key"]) };
            let sender = PeerId(fixed(&case["sender"]));
            hex(key.alias().0) == case["alias"] && hex([key.hint(&sender).0]) == case["hint"]
        }
        "frame" => {
            // The one frame of `frames.json`: its key is derived, and cannot be made of bytes.
            let boot =
                BootEpoch { number: 0x0102_0345, salt: [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88] };
            let key: FrameKey = audience_key().frame_key(Mode::Encrypted, &identity(2).peer_id(), &boot);
            assert_eq!(hex(key.as_bytes()), case["frame_key"]);
            let counter = u32::try_from(case["counter"].as_u64().unwrap()).unwrap();
            open(&key, &bytes(), counter).is_some()
        }
        "clear frame" => ClearFrame::decode(&bytes()).is_some(),
        "counter" => {
            let mut track = Track::default();
            track.heard_signed(1_000);
            let number = |json: &Json| u32::try_from(json.as_u64().unwrap()).unwrap();
            for before in case["before"].as_array().unwrap() {
                track.take(number(before));
            }
            let counter = number(&case["counter"]);
            let found = track.candidates((counter & 0xffff) as u16).find(|(found, _)| *found == counter);
            matches!(found, Some((_, Ok(()))))
        }
        "announcement" => {
            let mut parts = EpochAnnouncements::default();
            let frames = case["frames"].as_array().unwrap().iter();
            frames.filter_map(|frame| parts.decode(&unhex(frame))).any(|opened| {
                matches!(opened, OpenFrame::Announcement(_, one) if one.is_by(&PeerId(fixed(&case["sender"]))))
            })
        }
        "sealed key" => {
            let reader = Identity::from_seed(&fixed(&case["reader_seed"]));
            let (owner, epoch) = (PeerId(fixed(&case["owner"])), case["epoch"].as_u64().unwrap() as u32);
            SealedKeys::from_bytes(&case.get("sealed").map_or_else(|| expand(case), unhex))
                .is_ok_and(|sealed| open_sealed(&reader, &owner, epoch, &sealed).is_some())
        }
        "pair tag" => {
            let (us, speaker) = (Identity::from_seed(&fixed(&case["seed"])), PeerId(fixed(&case["speaker"])));
            let key = PairKey::receiving(&us, &speaker).unwrap();
            pair_tag_holds(&key, &unhex(&case["bytes"]), &fixed(&case["tag"]))
        }
        "channel of two" => {
            let us = Identity::from_seed(&fixed(&case["seed"]));
            let channel =
                tombolo_mesh::frame::keys::pair::PairChannel::new(&us, &PeerId(fixed(&case["other"])))
                    .unwrap();
            hex(channel.key.key) == case["key"]
        }
        "join" => {
            let mut responder = Responder::new(Identity::from_seed(&fixed(&case["inviter_seed"])));
            responder.set_invites(BTreeSet::from([fixed(&case["token_hash"])]));
            let frames = case["frames"].as_array().unwrap().iter();
            let heard = frames.map(|frame| responder.receive(&unhex(frame)));
            heard.collect::<Vec<_>>().iter().any(|event| matches!(event, Ok(HandshakeEvent::Request(_))))
        }
        "fragment" => assembled(&[json!(hex(bytes()))]).is_some(),
        "long message" => assembled(case["fragments"].as_array().unwrap()) == Some(true),
        "NACK" => {
            let mut sender = super::links::sender_of_the_vector();
            sender.nack(Mono::ZERO, PeerId([1; 32]), PeerId([2; 32]), &bytes()).is_ok()
        }
        "frames of one end" => super::links::in_turn(&bytes(), case["from"] == "the lower key"),
        "KISS" => super::links::kiss_frames(&bytes()) > 0,
        "AX.25" => UiFrame::decode(&bytes()).is_some_and(|frame| frame.destination == DESTINATION),
        other => panic!("no reader for {other}"),
    }
}

/// `None` where a fragment is refused; whether they are a whole message.
fn assembled(fragments: &[Json]) -> Option<bool> {
    let mut assembler = Assembler::new(MemoryLimits::default());
    let source = Source { channel: PeerId([1; 32]), sender: PeerId([0xaa; 32]) };
    let mut whole = false;
    for fragment in fragments {
        whole |= matches!(assembler.receive(Mono::ZERO, source, &unhex(fragment)).ok()?, Progress::Whole(_));
    }
    Some(whole)
}

/// Whether the reader of a case refuses it.
pub(super) fn is_refused(case: &Json) -> bool {
    let bytes = || given(case);
    let value = || from_cbor(&bytes(), &Limits::default()).unwrap();
    let peer = |name: &str| PeerId(fixed(&case[name]));
    let is_right = match case["what"].as_str().unwrap() {
        "whole envelope" => opens(&case["hex"]),
        "compact envelope" => holds_on_base(&case["hex"], &case["base"]),
        "map delta" => decode_changes(&bytes(), Wall::from_ms(TIME_MS)).is_ok(),
        "map delta over a link" => bytes().changes(Wall::from_ms(TIME_MS)).is_ok(),
        "may see" => super::rights::may_see(case),
        "audience" => Audience::from_value(&value()).is_ok(),
        "snapshot" => Content::from_cbor(Kind::Snapshot, &bytes()).is_ok(),
        "map" => Content::from_cbor(Kind::Map, &bytes()).is_ok(),
        "message" => Message::decode(&bytes()).is_ok(),
        "signed join request" => {
            JoinRequest::decode(&bytes()).unwrap().verify(&peer("inviter"), &peer("joiner"))
        }
        "signed command" => SignedCommand::decode(&bytes())
            .unwrap()
            .verify(CommandParties { sender: peer("sender"), addressee: peer("addressee") }),
        "signed notice" => RevocationNotice::decode(&bytes()).unwrap().verify(),
        "notice as text" => RevocationNotice::from_text(case["text"].as_str().unwrap()).is_ok(),
        "alarm" => !AlarmsDocument::from_value(&value()).reports.is_empty(),
        "ends of an audience" => {
            let read = Audience::from_value(&value()).map(|audience| audience.to_value());
            read.is_ok_and(|read| read.get("ends").is_some())
        }
        "whole on air" => {
            decode_air(owner().peer_id(), &bytes()).is_ok_and(|envelope| envelope.open().is_ok())
        }
        "certificate" => tombolo_transports::tls::key_of(&bytes().into()).is_some(),
        "mDNS hint" => {
            let salt = HEXLOWER.decode(&case["hint"].as_str().unwrap().as_bytes()[..16]).unwrap();
            SaltedHint::new(&peer("key"), salt.try_into().unwrap()).text() == case["hint"]
        }
        "layer hash"
        | "member hash"
        | "fingerprint"
        | "token hash"
        | "confirmation of a notice"
        | "alarm id" => hash_is_right(case),
        _ => radio_is_right(case),
    };
    !is_right
}
