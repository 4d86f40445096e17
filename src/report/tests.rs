//! Reports without a node.

use crate::time::Millis;
use std::collections::BTreeSet;

use super::*;
use crate::commands::CatalogueState;
use crate::core::InputRejection;
use crate::core::side::{TestSide, pair};
use crate::envelope::{Envelope, Payload};
use crate::federation::Refusal;
use crate::federation::join::JoinRefusal;
use crate::io::{CommandError, Query, Reply};
use crate::limits::TRANSFERS_MAX;
use crate::replica::ApplyOutcome;
use crate::sync::message::Message;
use crate::watches::Watches;

struct Parts {
    membership: Membership,
    unicast: Unicast,
    broadcast: Broadcast,
    calls: Calls,
    commands: Commands,
    watches: Watches,
}

impl Parts {
    fn of(side: &mut TestSide) -> Self {
        let unicast = Unicast::new(&mut side.core);
        Parts {
            membership: Membership::default(),
            unicast,
            broadcast: Broadcast::new([0; 16]),
            calls: Calls::default(),
            commands: Commands::new(false, CatalogueState::Missing),
            watches: Watches::default(),
        }
    }

    fn report<'a>(&'a self, side: &'a TestSide) -> NodeReport<'a> {
        NodeReport {
            core: &side.core,
            replica: &side.replica,
            membership: &self.membership,
            unicast: &self.unicast,
            broadcast: &self.broadcast,
            calls: &self.calls,
            commands: &self.commands,
            watches: &self.watches,
        }
    }
}

#[test]
fn the_status_of_an_empty_node_has_no_peers_no_counts_and_no_alarms() {
    let mut side = TestSide::new(1);
    let parts = Parts::of(&mut side);
    let report = parts.report(&side);
    let status = report.status();
    assert_eq!((status.documents, status.peers.len(), status.quarantined), (0, 0, 0));
    assert!(status.rejections.is_empty() && status.forks.is_empty() && status.transfers.is_empty());
    assert_eq!((status.traffic.messages_sent, status.traffic.bytes_received), (0, 0));
    assert_eq!((status.time_source, status.alarms), ("own", Vec::new()));
    assert!(report.links().is_empty() && report.airtime().is_empty() && report.documents().is_empty());
    assert!(matches!(report.peer(&PeerId([9; 32])), Err(CommandError::UnknownPeer(_))));
    assert!(matches!(report.state(None), Err(CommandError::NoState(_))));
}

#[test]
fn a_peer_without_a_link_is_away_and_a_document_of_its_is_listed() {
    let (owner, mut reader, id) = pair();
    let parts = Parts::of(&mut reader);
    let report = parts.report(&reader);
    let links = report.links();
    assert_eq!(links.len(), 1);
    assert_eq!((links[0].state, links[0].link.as_str()), ("away", "none"));
    assert_eq!(links[0].did, crate::identity::did(&owner.me()));
    let names: Vec<_> = report.documents().into_iter().map(|document| document.name).collect();
    assert!(names.contains(&id.document.name.as_str().to_owned()));
    let key = crate::layer::KeyPath::parse("a").unwrap();
    let value = report.answer(&Query::Get { doc: "list".to_owned(), key: Some(key) }).unwrap();
    assert_eq!(value, Reply::Value(1u64.into()));
    assert_eq!(report.conflicts(None), Ok(Vec::new()));
}

/// A deletion waits for the one writer that has not signed since; once it has, nothing waits.
#[test]
fn the_writer_for_whom_a_deletion_waits_is_named() {
    let (mut owner, mut reader, id) = pair();
    owner.at(Millis::from_secs(1));
    let mut edits = owner.edits(&[("a", Some(1))]);
    for entry in edits.values_mut().flatten() {
        entry.value = None;
    }
    owner.commit(&id.document, edits).unwrap();
    let parts = Parts::of(&mut owner);
    let waits = parts.report(&owner).status().tombstones_wait;
    assert_eq!(waits.len(), 1);
    assert!(waits[0].document.ends_with("/list") && waits[0].tombstones == 1, "{waits:?}");
    let start =
        crate::identity::did(&reader.me()).chars().skip("did:key:".len()).take(12).collect::<String>();
    assert_eq!((&waits[0].writers, waits[0].unknown_writers), (&vec![start], 0));
    assert_eq!(Parts::of(&mut reader).report(&reader).status().tombstones_wait, []);

    reader.at(Millis::from_secs(2));
    reader.set(&id.document, &[("b", Some(2))]);
    let own = reader.core.own_layer(&id.document);
    let message = reader.supply(owner.me(), &own, None);
    owner.receive(reader.me(), message);
    assert_eq!(parts.report(&owner).status().tombstones_wait, []);
}

/// Monitoring reads these: a label that changes breaks its reader without an error.
#[test]
fn the_labels_of_rejections_are_stable() {
    use InputRejection as R;
    let labels = [
        (R::LinkOfNoPeer, "link_of_no_peer"),
        (R::FrameOfNoPeer, "frame_of_no_peer"),
        (R::NotUnderstoodByPeer, "not_understood_by_peer"),
        (R::SenderSlowed, "sender_slowed"),
        (R::SenderCut, "sender_cut"),
        (R::BadMessage, "bad_message"),
        (R::BadSignature, "bad_signature"),
        (R::BadPart, "bad_part"),
        (R::BadJoinFrame, "bad_join_frame"),
        (R::DeltaDoesNotMatchRoot, "delta_does_not_make_the_signed_root"),
        (R::DeltaWithoutBase, "delta_without_base"),
        (R::KindDiffersFromOwner, "kind_differs_from_the_owners"),
        (R::Fork, "fork"),
        (R::Layer(Refusal::OwnerNotTrusted), "owner_not_trusted"),
        (R::Layer(Refusal::ObservedOnly), "owner_only_observed"),
        (R::Layer(Refusal::NotAWriter), "author_is_no_writer"),
        (R::Layer(Refusal::AudienceBehind), "audience_behind"),
        (R::Layer(Refusal::Quota), "quota"),
        (R::Join(JoinRefusal::Token), "join_token"),
        (R::Join(JoinRefusal::Expired), "join_expired"),
        (R::Join(JoinRefusal::Signature), "join_signature"),
        (R::Join(JoinRefusal::Busy), "join_busy"),
        (R::Join(JoinRefusal::Full), "join_full"),
        (R::JoinAnswerDelayed, "join_answer_put_off"),
        (R::DiskRefuses, "disk_refuses"),
        (R::NoLinkMayCarry, "no_link_may_carry"),
        (R::ProvisionalRefused, "provisional_not_taken"),
        (R::RadioRefusedMessage, "radio_refused_message"),
        (R::TooLongForRadio, "too_long_for_radio"),
        (R::TooManyRadios, "too_many_radios"),
    ];
    for (why, label) in labels {
        assert_eq!(why.label(), label);
    }
    assert_eq!(labels.iter().map(|(_, label)| label).collect::<BTreeSet<_>>().len(), labels.len());
}

#[test]
fn a_rejection_is_shown_under_its_label() {
    let mut side = TestSide::new(1);
    let parts = Parts::of(&mut side);
    side.core.reject(InputRejection::BadMessage);
    side.core.reject(InputRejection::BadMessage);
    let rejections = parts.report(&side).status().rejections;
    assert_eq!(rejections.into_iter().collect::<Vec<_>>(), [("bad_message".to_owned(), 2)]);
}

/// A person reads the sentence, a program the code; what repeats is one entry.
#[test]
fn a_rejection_is_in_the_log_and_in_status_as_a_sentence() {
    let (owner, mut reader, _) = pair();
    let parts = Parts::of(&mut reader);
    reader.core.reject_from(Some(owner.me()), InputRejection::DeltaWithoutBase);
    reader.core.reject_from(Some(owner.me()), InputRejection::DeltaWithoutBase);
    let report = parts.report(&reader);
    let log = report.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!((log[0].kind, &*log[0].code, log[0].times), ("rejection", "delta_without_base", 2));
    assert_eq!(log[0].did, Some(crate::identity::did(&owner.me())));
    assert!(log[0].message.starts_with("a change could not be applied: "), "{log:?}");
    let words = report.status().rejection_words;
    assert_eq!(words.get("delta_without_base"), Some(&log[0].message));
}

/// A state that lists this node shows that its author hears it, as of the time of that state.
#[test]
fn a_signed_state_shows_that_its_author_hears_this_node() {
    use crate::presence::sighting::{Sighting, field};
    let (mut owner, mut reader, _) = pair();
    owner.at(Millis::from_secs(100));
    let salt = owner.replica.federation().audience(&owner.me()).unwrap().salt();
    let heard = field(&salt, [(reader.me(), Sighting::Hears(tombolo_transports::Medium::Mesh))]);
    let state = crate::io::NodeState { heard: Some(heard), ..crate::io::NodeState::default() };
    let document = owner.core.own_document(crate::layer::DocumentName::STATE);
    let value = tombolo_delta::to_value(&state).unwrap();
    owner.authoring.commit_snapshot(&mut owner.core, &mut owner.replica, &document, value).unwrap();
    let id = owner.core.own_layer(&document);
    let message = owner.supply(reader.me(), &id, None);
    reader.at(Millis::from_secs(160));
    reader.receive(owner.me(), message);
    let parts = Parts::of(&mut reader);
    let proved = parts.report(&reader).hears_us_by_state(&id).expect("the state lists the reader");
    assert_eq!(reader.core.now().since(proved.at), Millis::from_secs(60));
    assert_eq!(proved.medium, tombolo_transports::Medium::Mesh);
    assert_eq!(
        parts.report(&reader).friends_verdict(&owner.me()),
        None,
        "a state is no friend of its author"
    );
}

/// Offers of large layers that never come are shown, and which of them wait for whose.
#[test]
fn large_layers_are_shown_and_what_waits_names_the_peer_that_holds_the_places() {
    let (mut owner, mut reader, _) = pair();
    for n in 0..TRANSFERS_MAX + 2 {
        let document = owner.document(&format!("d{n}"));
        owner.set(&document, &[("a", Some(1))]);
        let signed = owner.replica.layer(&owner.core.own_layer(&document)).unwrap().signed.clone();
        let offer = Message::Whole(Box::new(Envelope { signed, payload: Payload::Offer }));
        assert!(matches!(reader.receive(owner.me(), offer), ApplyOutcome::TransferBegun(_)));
    }
    reader.at(Millis::from_secs(7));
    let parts = Parts::of(&mut reader);
    let rows = parts.report(&reader).status().large_layers;
    let (waits, coming): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.state == "waits");
    assert_eq!((coming.len(), waits.len()), (TRANSFERS_MAX, 2));
    assert!(rows.iter().all(|row| row.quiet_s == 7 && row.from.len() == 1), "{rows:?}");
    assert!(coming[0].words.ends_with("0 parts are here, 0 are due, quiet for 7 s"), "{}", coming[0].words);
    let holder = &waits[0].from[0];
    let words = format!("waits for a place: 64 of 64 are taken by what {holder} offers");
    assert!(waits.iter().all(|row| row.words.ends_with(&words)), "{waits:?}");
}

/// Later, no age in an entry of the log goes on: beside the time of the entry it would belie the others.
#[test]
fn an_entry_of_the_log_keeps_the_ages_that_it_had() {
    use crate::presence::HeardOver;
    use tombolo_transports::{LinkId, Medium};
    let (owner, mut reader, _) = pair();
    let (parts, peer, link) = (Parts::of(&mut reader), owner.me(), LinkId(7));
    let start = reader.core.now();
    reader.core.presence.session_up(start, peer, HeardOver { link, medium: Medium::Lan });
    reader.core.presence_changes();
    reader.core.presence.session_down(start, &peer, link);
    reader.at(Millis::from_secs(90));
    assert_eq!(reader.core.presence_changes().len(), 1, "the peer is missed");
    let newest = |side: &TestSide| parts.report(side).log().pop().unwrap().message;
    let then = newest(&reader);
    assert!(then.starts_with("overdue") && then.ends_with("its session closed 90 s ago"), "{then}");
    reader.at(Millis::from_secs(4_000));
    assert_eq!(newest(&reader), then);
}
