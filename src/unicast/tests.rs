//! Links without a node: what goes out over them, what is counted, and what a peer may not have.

use tombolo_transports::{DownReason, Medium};

use super::*;
use crate::core::side::{TestSide, link_caps, pair};
use crate::federation::TrustLevel;
use crate::store::Store;
use crate::time::{Millis, Mono};

const LINK: LinkId = LinkId(7);

/// A side with a link to a peer.
fn linked(side: &mut TestSide, peer: PeerId) -> Unicast {
    let mut unicast = Unicast::new(&mut side.core);
    unicast.load(&mut side.core, &side.replica);
    assert!(unicast.put_link(Mono::ZERO, LINK, peer, link_caps(Medium::Lan)));
    unicast.peer_up(&side.core, &side.replica, peer);
    unicast
}

/// The messages that leave over the link.
fn messages(side: &mut TestSide) -> Vec<Message> {
    let sent = side.outputs().into_iter().filter_map(|output| match output {
        Output::Send { link: LINK, bytes } => Some(Message::decode(&bytes).unwrap()),
        _ => None,
    });
    sent.collect()
}

fn supply(
    unicast: &mut Unicast,
    side: &mut TestSide,
    peer: PeerId,
    id: &LayerId,
    held: Option<State>,
) -> usize {
    let request = SupplyRequest { peer, class: Class::Document, id: id.clone(), held, silent: None };
    unicast.supply(&mut side.core, &mut side.replica, &request)
}

#[test]
fn a_message_takes_the_link_that_the_router_chooses_and_is_counted_for_peer_and_medium() {
    let (mut owner, reader, _) = pair();
    let mut unicast = linked(&mut owner, reader.me());
    assert!(
        !unicast.put_link(Mono::ZERO, LinkId(8), reader.me(), link_caps(Medium::Tor)),
        "a second link to one peer"
    );
    let dispatch = Dispatch::new(reader.me(), Class::Upkeep, Subject::Engine);
    let Dispatched::Sent { bytes: length, routed } =
        unicast.send(&mut owner.core, dispatch, &Message::Want(Vec::new()))
    else {
        panic!("one link may carry it")
    };
    let outputs = owner.outputs();
    let chosen = outputs.iter().find_map(|output| match output {
        Output::Send { link, bytes } => Some((*link, bytes.len())),
        _ => None,
    });
    let (link, sent) = chosen.expect("one link may carry it");
    assert_eq!((sent, Some(link)), (length, routed.chosen));
    let medium = unicast.link(link).unwrap().caps.medium;
    assert_eq!(owner.core.metrics.today(reader.me(), medium).bytes_sent, length as u64);
    let traffic = owner.core.metrics.traffic();
    assert_eq!((traffic.messages_sent, traffic.bytes_sent), (1, length as u64));
    assert!(unicast.router().counters().any(|(_, count)| count > 0));
}

#[test]
fn without_a_link_nothing_leaves_and_a_rejection_is_counted() {
    let (mut owner, reader, _) = pair();
    let mut unicast = Unicast::new(&mut owner.core);
    let dispatch = Dispatch::new(reader.me(), Class::Upkeep, Subject::Engine);
    assert_eq!(unicast.send(&mut owner.core, dispatch, &Message::Want(Vec::new())), Dispatched::Stranded);
    assert!(messages(&mut owner).is_empty());
    let rejections: Vec<_> = owner.core.metrics.rejections().collect();
    assert_eq!(rejections, [(InputRejection::NoLinkMayCarry, 1)]);
}

#[test]
fn a_peer_that_may_not_have_a_layer_is_sent_nothing() {
    let (mut owner, _, id) = pair();
    let mut other = TestSide::new(3);
    owner.trust(other.me(), TrustLevel::Untrusted);
    let mut unicast = linked(&mut owner, other.me());
    unicast.drain(&mut owner.core, &mut owner.replica);
    owner.outputs();
    assert_eq!(supply(&mut unicast, &mut owner, other.me(), &id, None), 0);
    assert!(messages(&mut owner).is_empty());
    // As a reader that the signed audience does not list yet.
    owner.trust(other.me(), TrustLevel::Trusted);
    assert_eq!(supply(&mut unicast, &mut owner, other.me(), &id, None), 0);
    assert!(messages(&mut owner).is_empty());
    assert!(other.outputs().is_empty());
}

/// The peer shows a state of this node's own layer that this disk never had.
#[test]
fn an_own_state_that_is_not_known_here_is_asked_for_before_anything_is_sent() {
    let (mut owner, reader, id) = pair();
    let copy = Store::in_memory().unwrap();
    owner.core.gate.commit(Default::default()).unwrap();
    owner.core.gate.store().copy_into(&copy).unwrap();
    owner.set(&id.document, &[("lost", Some(1))]);
    let shown = owner.replica.state(&id).unwrap();
    let mut restored = TestSide::in_store(1, copy);
    restored.trust(reader.me(), TrustLevel::Trusted);
    restored.set(&id.document, &[("since", Some(1))]);
    restored.set(&id.document, &[("since", Some(2))]);
    restored.core.gate.commit(Default::default()).unwrap();
    restored.outputs();
    let mut unicast = linked(&mut restored, reader.me());
    assert_eq!(supply(&mut unicast, &mut restored, reader.me(), &id, Some(shown)), 0);
    let sent = messages(&mut restored);
    assert!(matches!(sent.as_slice(), [Message::Want(wanted)] if wanted == &[(id.hash(), None)]), "{sent:?}");
    assert_eq!(supply(&mut unicast, &mut restored, reader.me(), &id, Some(shown)), 0);
    assert!(messages(&mut restored).is_empty(), "it was asked, and has not answered");
}

#[test]
fn a_new_state_goes_to_its_reader_and_a_dropped_layer_is_no_longer_shown() {
    let (mut owner, reader, id) = pair();
    let mut unicast = linked(&mut owner, reader.me());
    unicast.drain(&mut owner.core, &mut owner.replica);
    owner.outputs();
    let stored = owner.set(&id.document, &[("b", Some(2))]);
    unicast.stored(&owner.core, &owner.replica, &stored, None);
    assert_eq!(unicast.newest_known(&id.hash()), None, "no peer has shown it");
    let gone = Stored { dropped: vec![id.hash()], ..owner.set(&owner.document("other"), &[("c", Some(3))]) };
    unicast.stored(&owner.core, &owner.replica, &gone, None);
    for _ in 0..8 {
        let at = unicast.poll_timeout().map_or(0, |at| at.ms().saturating_sub(1_000));
        owner.at(Millis::from_ms(at));
        unicast.timeout(&owner.core);
        unicast.drain(&mut owner.core, &mut owner.replica);
    }
    let named: Vec<_> = messages(&mut owner)
        .into_iter()
        .filter_map(|message| match message {
            Message::Whole(envelope) => Some(envelope.signed.head.layer),
            _ => None,
        })
        .collect();
    assert!(named.iter().all(|layer| *layer != id), "a dropped layer is not supplied: {named:?}");
}

#[test]
fn the_last_link_to_a_peer_is_told_from_the_others() {
    let mut side = TestSide::new(1);
    let (mut unicast, peer) = (Unicast::new(&mut side.core), PeerId([9; 32]));
    assert!(unicast.put_link(Mono::ZERO, LinkId(1), peer, link_caps(Medium::Lan)));
    assert!(!unicast.put_link(Mono::ZERO, LinkId(2), peer, link_caps(Medium::Tor)));
    assert_eq!(unicast.links_to(&peer), [LinkId(1), LinkId(2)]);
    assert!(matches!(unicast.remove_link(Mono::ZERO, LinkId(1), DownReason::Silent), Some((_, false))));
    assert!(matches!(unicast.remove_link(Mono::ZERO, LinkId(2), DownReason::Silent), Some((_, true))));
    assert!(
        unicast.remove_link(Mono::ZERO, LinkId(2), DownReason::Silent).is_none()
            && !unicast.has_link_to(&peer)
    );
}
