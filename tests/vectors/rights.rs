//! Which layers a peer may see: the owner's list, a layer, a reader, and which identities notices suspend at the node that is asked.

use super::rules::{case, fixed, unhex};
use super::{hex, owner, writer};
use serde_json::{Value as Json, json};
use tombolo::federation::{Audience, Federation, TrustLevel};
use tombolo::identity::Keypair;
use tombolo::layer::{DocumentId, DocumentName, LayerId, Sequence};
use tombolo_delta::{Limits, from_cbor, to_cbor};
use tombolo_mesh::PeerId;

const LIST_SEQUENCE: u64 = 5;

fn peer(seed: u8) -> PeerId {
    Keypair::from_seeds(&[seed; 32], &[seed + 1; 32]).peer_id()
}

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

pub(super) fn may_see(case: &Json) -> bool {
    let peer = |name: &str| PeerId(fixed(&case[name]));
    let number = |name: &str| sequence(case[name].as_u64().unwrap());
    // A node that is neither of them is asked.
    let mut federation = Federation::new(PeerId([0xee; 32]));
    let list = from_cbor(&unhex(&case["list"]), &Limits::default()).unwrap();
    federation.put_audience(peer("owner"), Audience::from_value(&list).unwrap(), number("list_sequence"));
    let suspended = case["suspended"].as_array().unwrap();
    federation.set_suspended(suspended.iter().map(|id| PeerId(fixed(id))).collect());
    let name = DocumentName::new(case["name"].as_str().unwrap()).unwrap();
    let layer = LayerId { document: DocumentId { owner: peer("owner"), name }, author: peer("author") };
    federation.may_receive(&peer("reader"), &layer, number("audience_sequence"))
}

/// A layer of `author` in `name`, signed under a list of `audience_sequence`, and whether `reader` may see it.
struct Asked {
    name: &'static str,
    author: PeerId,
    audience_sequence: u64,
    reader: PeerId,
    suspended: Vec<PeerId>,
}

impl Asked {
    /// The list: a writer from the start, a writer since the list itself, an observer. The fourth is on it no more.
    fn case(self, why: &str) -> Json {
        let (writer, observer, later) = (writer().peer_id(), peer(5), peer(7));
        let first = [(writer, TrustLevel::Trusted), (observer, TrustLevel::Observer)];
        let all = first.into_iter().chain([(later, TrustLevel::Trusted)]);
        let list = Audience::new([6; 16], first).followed_by(all, sequence(LIST_SEQUENCE));
        let given = json!({
            "owner": hex(owner().peer_id().0),
            "list": hex(to_cbor(&list.to_value())),
            "list_sequence": LIST_SEQUENCE,
            "name": self.name,
            "author": hex(self.author.0),
            "audience_sequence": self.audience_sequence,
            "reader": hex(self.reader.0),
            "suspended": self.suspended.iter().map(|id| hex(id.0)).collect::<Vec<_>>(),
        });
        case("E48", "may see", why, given)
    }
}

fn asked(author: PeerId, reader: PeerId) -> Asked {
    Asked { name: "notes", author, audience_sequence: LIST_SEQUENCE, reader, suspended: Vec::new() }
}

pub(super) fn accepted() -> Vec<Json> {
    let (owner, writer, observer, later) = (owner().peer_id(), writer().peer_id(), peer(5), peer(7));
    vec![
        asked(owner, observer).case("an observer, a layer of the owner"),
        asked(writer, observer).case("an observer, a layer of a writer"),
        Asked { audience_sequence: 2, ..asked(later, writer) }
            .case("a writer, a layer that was signed before its author's `since`"),
        Asked { audience_sequence: 6, ..asked(writer, owner) }
            .case("the owner, a layer whose author knew a newer list"),
        Asked { name: "audience", audience_sequence: 6, ..asked(owner, observer) }
            .case("an observer, an audience that was signed under a newer one"),
        Asked { suspended: vec![writer], ..asked(writer, owner) }
            .case("the owner, a layer of a writer that is suspended"),
    ]
}

pub(super) fn refused() -> Vec<Json> {
    let (owner, writer, observer, removed) = (owner().peer_id(), writer().peer_id(), peer(5), peer(9));
    vec![
        asked(owner, removed).case("a reader that is not on the list"),
        Asked { name: "audience", ..asked(owner, removed) }
            .case("a reader that is not on the list, the list itself"),
        asked(removed, writer).case("a layer of a writer that was removed"),
        asked(removed, owner).case("the owner, a layer of a writer that was removed"),
        asked(observer, writer).case("a layer of an observer"),
        Asked { audience_sequence: 6, ..asked(writer, observer) }
            .case("a layer whose author knew a newer list"),
        Asked { audience_sequence: 6, ..asked(owner, observer) }
            .case("a layer of the owner under a newer list than the one held"),
        Asked { suspended: vec![observer], ..asked(owner, observer) }.case("a reader that is suspended"),
        Asked { suspended: vec![owner], ..asked(writer, owner) }.case("the owner, that is suspended"),
        Asked { suspended: vec![writer], ..asked(writer, observer) }
            .case("a layer of a writer that is suspended"),
        Asked { suspended: vec![owner], ..asked(owner, observer) }
            .case("a layer of an owner that is suspended"),
    ]
}
