//! The table of rights, case by case.

use super::*;
use crate::layer::DocumentName;
use crate::time::Wall;

const ME: PeerId = PeerId([1; 32]);
const OWNER: PeerId = PeerId([2; 32]);
const READER: PeerId = PeerId([3; 32]);
const OTHER: PeerId = PeerId([4; 32]);

fn layer(name: &str, author: PeerId) -> LayerId {
    LayerId { document: DocumentId { owner: OWNER, name: DocumentName::new(name).unwrap() }, author }
}

fn federation(our_level: TrustLevel, members: &[(PeerId, TrustLevel)]) -> Federation {
    let mut federation = Federation::new(ME);
    federation.put_peer(Peer {
        id: OWNER,
        onion: String::new(),
        given_name: None,
        own_name: None,
        trust_level: our_level,
        added_at: Wall::from_ms(0),
        heard_at: None,
        joined: peer::Joined::Agreed,
        addresses: vec![],
        last_known: None,
    });
    let audience = Audience::new([0; 16], members.iter().copied());
    federation.put_audience(OWNER, audience, Sequence::new(5).unwrap());
    federation
}

#[test]
fn we_take_part_as_far_as_we_trust_the_owner() {
    use TrustLevel::*;
    for (level, name, expected) in [
        (Trusted, "notes", Ok(())),
        (Trusted, "state", Ok(())),
        (Observer, "state", Ok(())),
        (Observer, "notes", Err(Refusal::ObservedOnly)),
        (Untrusted, "state", Err(Refusal::OwnerNotTrusted)),
        (Untrusted, "notes", Err(Refusal::OwnerNotTrusted)),
    ] {
        let admitted = federation(level, &[]).admits(&layer(name, OWNER), Sequence::NONE);
        assert_eq!(admitted, expected, "{level} {name}");
    }
}

#[test]
fn only_writers_the_owner_lists_count() {
    use TrustLevel::*;
    let held = federation(Trusted, &[(READER, Observer), (OTHER, Trusted)]);
    let at = |n| Sequence::new(n).unwrap();
    assert_eq!(held.admits(&layer("notes", OTHER), at(5)), Ok(()));
    assert_eq!(held.admits(&layer("notes", READER), at(5)), Err(Refusal::NotAWriter));
    assert_eq!(held.admits(&layer("notes", READER), at(6)), Err(Refusal::AudienceBehind));
    assert_eq!(
        held.admits(&layer("notes", OWNER), at(6)),
        Err(Refusal::AudienceBehind),
        "who writes is not known yet"
    );
    assert_eq!(held.admits(&layer("audience", OWNER), at(6)), Ok(()));
}

#[test]
fn a_layer_is_passed_to_those_the_owner_lists_and_no_one_else() {
    use TrustLevel::*;
    let held = federation(Trusted, &[(READER, Observer), (OTHER, Trusted)]);
    let at = |n| Sequence::new(n).unwrap();
    assert!(held.may_receive(&READER, &layer("notes", OTHER), at(5)));
    assert!(held.may_receive(&OWNER, &layer("notes", OTHER), at(9)), "the owner reads its own documents");
    assert!(!held.may_receive(&OWNER, &layer("notes", READER), at(1)), "the owner has removed its author");
    assert!(!held.may_receive(&READER, &layer("notes", OTHER), at(6)), "the author knew a later audience");
    assert!(!held.may_receive(&PeerId([9; 32]), &layer("notes", OWNER), at(1)), "a stranger");
    assert!(!held.may_receive(&OTHER, &layer("notes", READER), at(1)), "an author who may not write");
}
