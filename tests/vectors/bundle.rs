//! A file that is carried by hand: a part for one reader, sealed to it, and what is no bundle for it.

use super::{check, hex, owner};
use serde_json::{Value as Json, json};
use tombolo::bundle::{BundlePart, begin, open, seal};
use tombolo::envelope::Envelope;
use tombolo::layer::{Content, Kind, Layer};
use tombolo::sync::frontier::{Frontier, NamedBuckets, State};
use tombolo::sync::message::Message;
use tombolo_delta::Value;
use tombolo_mesh::frame::keys::Identity;

const READER: [u8; 32] = [2; 32];
const OTHER: [u8; 32] = [3; 32];

fn layer() -> Layer {
    let content = Content::snapshot(Value::map([("name", Value::from("attic"))])).unwrap();
    let signed = super::head(Kind::Snapshot, "state", &owner(), 7, 1_800_000_000_000, &content);
    Layer { signed: signed.sign(&owner()), content }
}

/// The file, where its parts begin, and the messages in each.
fn file() -> (Vec<u8>, Vec<Vec<u8>>) {
    let layer = layer();
    let mut frontier = Frontier::default();
    frontier.set(layer.head().layer.hash(), Some(State::of(&layer.signed)));
    let mut part = BundlePart::of_frontier(&frontier);
    let message = Message::Whole(Box::new(Envelope::seal(&layer)));
    let mut room = 10_000;
    part.add(&message, &mut room);
    let mut file = begin();
    for (reader, ephemeral) in [(OTHER, [8; 32]), (READER, [7; 32])] {
        let (me, reader) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&reader).peer_id());
        seal(&mut file, &part, &me, &reader, &ephemeral).unwrap();
    }
    let states = frontier.iter().map(|(layer, state)| (*layer, *state)).collect();
    (file, vec![Message::Frontier { buckets: NamedBuckets::none(), states }.encode(), message.encode()])
}

#[test]
fn a_bundle_and_what_is_none() {
    let (file, messages) = file();
    let opened = open(&file, &Identity::from_seed(&READER)).unwrap();
    assert_eq!((opened.from, opened.layers.len()), (owner().peer_id(), 1));
    let refused = |why: &str, file: &[u8], reader: [u8; 32]| -> Json {
        assert!(open(file, &Identity::from_seed(&reader)).is_err(), "{why}");
        json!({ "why": why, "hex": hex(file), "reader_seed": hex(reader) })
    };
    let changed = |at: usize| {
        let mut file = file.clone();
        file[at] ^= 1;
        file
    };
    let last = file.len() - 1;
    check(
        "bundle.json",
        &json!({
            "accepted": [{
                "about": "of the owner, for the identities of seeds 03 and 02, in this order", "hex": hex(&file),
                "reader_seed": hex(READER), "from": hex(owner().peer_id().0),
                "messages": messages.iter().map(hex).collect::<Vec<_>>(),
            }],
            "refused": [
                refused("another first line", &changed(15), READER),
                refused("for other readers", &file, [4; 32]),
                refused("a bit of the messages changed", &changed(last), READER),
                refused("cut short", &file[..last], READER),
                refused("a length beyond the file", &changed(17 + 32 + 48), READER),
            ],
        }),
    );
}
