//! The replica without a node: two sides that hand layers to each other by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tombolo_delta::Value;

use super::*;
use crate::core::InputRejection;
use crate::core::side::{TestSide, pair};
use crate::federation::{Refusal, TrustLevel};
use crate::layer::DocumentName;
use crate::limits::{COMPACT_CHANGES_MAX, OWNER_MEMORY_MAX};
use crate::store::Store;
use crate::sync::message::Message;

#[test]
fn a_delta_takes_effect_once_and_its_repetition_is_known() {
    let (mut owner, mut reader, id) = pair();
    let base = reader.replica.state(&id);
    owner.set(&id.document, &[("b", Some(2))]);
    let delta = owner.supply(reader.me(), &id, base);
    assert!(matches!(delta, Message::Compact(_)));
    assert!(
        matches!(reader.receive(owner.me(), delta.clone()), ApplyOutcome::Stored(stored) if stored.reads_differently)
    );
    assert!(matches!(reader.receive(owner.me(), delta), ApplyOutcome::Known(_)));
    assert_eq!(reader.value(&id.document), owner.value(&id.document));
}

#[test]
fn a_delta_with_another_signature_changes_nothing() {
    let (mut owner, mut reader, id) = pair();
    let (base, before) = (reader.replica.state(&id), reader.value(&id.document));
    owner.set(&id.document, &[("a", None), ("b", Some(2))]);
    let Message::Compact(mut envelope) = owner.supply(reader.me(), &id, base) else { panic!("a delta") };
    envelope.signature[5] ^= 1;
    assert!(matches!(reader.receive(owner.me(), Message::Compact(envelope)), ApplyOutcome::BaseMissing));
    assert_eq!((reader.value(&id.document), reader.replica.state(&id)), (before, base));
    assert!(reader.roots_hold());
    let rejections: Vec<_> = reader.core.metrics.rejections().collect();
    assert_eq!(rejections, [(InputRejection::DeltaDoesNotMatchRoot, 1)]);
}

/// Deltas with false signatures are worked on before that shows: their sender is slowed, then cut, and no other peer is.
#[test]
fn a_peer_whose_deltas_prove_nothing_is_slowed_and_then_cut() {
    let (mut owner, mut reader, id) = pair();
    let (hostile, base) = (TestSide::new(7).me(), reader.replica.state(&id));
    let keys: Vec<String> = (0..COMPACT_CHANGES_MAX).map(|at| format!("key {at}")).collect();
    let changes: Vec<(&str, Option<u64>)> = keys.iter().map(|key| (key.as_str(), Some(1))).collect();
    owner.set(&id.document, &changes);
    let message = owner.supply(reader.me(), &id, base);
    let Message::Compact(mut envelope) = message.clone() else { panic!("a delta") };
    envelope.signature[5] ^= 1;
    let bytes = envelope.delta.len();
    let (mut worked_on, mut dropped) = (0, 0);
    while !reader.core.is_cut(&hostile) {
        if reader.core.admits_message(hostile, bytes) {
            reader.receive(hostile, Message::Compact(envelope.clone()));
            worked_on += 1;
        } else {
            dropped += 1;
        }
        assert!(worked_on + dropped < 100, "it is never cut");
    }
    assert!((1..=8).contains(&worked_on) && dropped > worked_on, "{worked_on} worked on, {dropped} dropped");
    let refused: BTreeMap<_, _> = reader.core.metrics.rejections().collect();
    assert!(
        refused.contains_key(&InputRejection::SenderSlowed)
            && refused.contains_key(&InputRejection::SenderCut)
    );
    assert!(reader.core.admits_message(owner.me(), bytes));
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
}

/// What changes more entries than a delta may goes whole or is offered, and comes in step; as a delta it is not looked at.
#[test]
fn a_change_of_many_entries_travels_whole() {
    let (mut owner, mut reader, id) = pair();
    let base = reader.replica.state(&id);
    let keys: Vec<String> = (0..=COMPACT_CHANGES_MAX).map(|at| format!("key {at}")).collect();
    let changes: Vec<(&str, Option<u64>)> = keys.iter().map(|key| (key.as_str(), Some(1))).collect();
    owner.set(&id.document, &changes);
    let too_long = owner.replica.delta_for(&id, base.unwrap()).unwrap().packed();
    let outcome = reader.receive(owner.me(), Message::Compact(Box::new(too_long)));
    assert!(matches!(outcome, ApplyOutcome::BaseMissing), "{outcome:?}");
    assert_eq!(reader.replica.state(&id), base);
    let whole = owner.supply(reader.me(), &id, base);
    assert!(matches!(whole, Message::Whole(_)));
    assert!(matches!(reader.receive(owner.me(), whole), ApplyOutcome::Stored(_)));
    assert_eq!(reader.value(&id.document), owner.value(&id.document));
}

/// A delta changes a map in place; a refusal after that puts the entries back.
#[test]
fn a_refused_delta_leaves_the_map_as_it_was() {
    let (mut owner, mut reader, id) = pair();
    let (base, before) = (reader.replica.state(&id), reader.value(&id.document));
    owner.set(&id.document, &[("a", None), ("b", Some(2))]);
    reader.trust(owner.me(), TrustLevel::Untrusted);
    let delta = owner.supply(reader.me(), &id, base);
    let outcome = reader.receive(owner.me(), delta);
    assert!(matches!(outcome, ApplyOutcome::Refused(_, Refusal::OwnerNotTrusted)), "{outcome:?}");
    assert_eq!((reader.value(&id.document), reader.replica.state(&id)), (before, base));
    assert!(reader.roots_hold());
}

#[test]
fn a_delta_without_its_base_asks_for_another() {
    let (mut owner, mut reader, id) = pair();
    owner.set(&id.document, &[("b", Some(2))]);
    let second = owner.replica.state(&id);
    owner.set(&id.document, &[("c", Some(3))]);
    let delta = owner.supply(reader.me(), &id, second);
    assert!(matches!(reader.receive(owner.me(), delta), ApplyOutcome::BaseMissing));
}

#[test]
fn a_layer_of_no_writer_is_refused() {
    let (owner, mut reader, id) = pair();
    let mut other = TestSide::new(3);
    other.trust(owner.me(), TrustLevel::Trusted);
    other.set(&id.document, &[("z", Some(9))]);
    let layer = other.replica.layer(&other.core.own_layer(&id.document)).unwrap();
    let envelope = crate::envelope::Envelope::seal(layer);
    let outcome = reader.receive(owner.me(), Message::Whole(Box::new(envelope)));
    assert!(matches!(outcome, ApplyOutcome::Refused(_, Refusal::NotAWriter)), "{outcome:?}");
}

/// A restored backup: the peer has a newer state of the own layer; what was written since the start goes above it.
#[test]
fn an_own_newer_state_is_recovered_and_later_writes_go_above_it() {
    let (mut owner, reader, id) = pair();
    let copy = Store::in_memory().unwrap();
    owner.core.gate.commit(Default::default()).unwrap();
    owner.core.gate.store().copy_into(&copy).unwrap();
    owner.set(&id.document, &[("lost", Some(7))]);
    // A later sequence than the one that the restored machine signs: else the two would be a fork.
    owner.set(&id.document, &[("lost", Some(8))]);
    let newest = owner.supply(reader.me(), &id, None);
    // The restored machine starts later than what it had signed.
    let mut restored = TestSide::in_store(1, copy);
    restored.trust(reader.me(), TrustLevel::Trusted);
    restored.set(&id.document, &[("since", Some(8))]);
    let outcome = restored.receive(reader.me(), newest);
    let ApplyOutcome::Recovered(recovered) = outcome else { panic!("{outcome:?}") };
    assert_eq!(restored.value(&id.document).unwrap().get("lost"), Some(&Value::from(8u64)));
    let Restage::Map(document, changes) = recovered.restage else { panic!("nothing to sign above it") };
    assert_eq!(document, id.document);
    assert_eq!(changes.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>(), ["since"]);
}

proptest! {
    /// Whatever order deltas and whole states arrive in, and however often, the reader ends where the owner is once it has
    /// the newest, and no content ever differs from its signed root.
    #[test]
    fn any_order_and_any_repetition_end_in_the_same_state(
        writes in proptest::collection::vec((0u8..5, proptest::option::of(0u64..9)), 1..8),
        order in proptest::collection::vec((0usize..16, any::<bool>()), 0..24),
    ) {
        let (mut owner, mut reader, id) = pair();
        let mut states = vec![reader.replica.state(&id)];
        let mut messages = Vec::new();
        for (key, value) in writes {
            owner.set(&id.document, &[(["a", "b", "c", "a/x", "d"][usize::from(key)], value)]);
            for base in &states {
                messages.push(owner.supply(reader.me(), &id, *base));
            }
            messages.push(owner.supply(reader.me(), &id, None));
            states.push(owner.replica.state(&id));
        }
        for (pick, _) in order {
            let message = messages[pick % messages.len()].clone();
            reader.receive(owner.me(), message);
            prop_assert!(reader.roots_hold());
        }
        reader.receive(owner.me(), messages[messages.len() - 1].clone());
        prop_assert_eq!(reader.value(&id.document), owner.value(&id.document));
        prop_assert_eq!(reader.replica.state(&id), owner.replica.state(&id));
        let held: BTreeMap<_, _> =
            reader.replica.layers().layers().map(|layer| (layer.head().layer.hash(), layer.head().sequence)).collect();
        prop_assert_eq!(held.get(&id.hash()), Some(&owner.replica.layer(&id).unwrap().head().sequence));
    }
}

/// What one owner's documents take is counted in memory as well as in bytes on disk, and given back with them.
#[test]
fn quotas_count_memory() {
    let (mut owner, mut reader, id) = pair();
    let before = reader.replica.layers().size_of(&owner.me());
    let zeros = Value::Array(vec![Value::from(0u64); 60_000]);
    let list = DocumentId { owner: owner.me(), name: DocumentName::new("zeros").unwrap() };
    let TestSide { core, replica, authoring } = &mut owner;
    authoring.commit_snapshot(core, replica, &list, zeros).unwrap();
    let layer = LayerId { document: list, author: owner.me() };
    let message = owner.supply(reader.me(), &layer, None);
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
    let size = reader.replica.layers().size_of(&owner.me());
    let grown = (size.cbor - before.cbor, size.memory - before.memory);
    assert!((60_000..62_000).contains(&grown.0) && (60_000..62_000).contains(&grown.1), "{grown:?}");
    let layers = reader.replica.layers();
    let room = LayerSize { cbor: 1, memory: OWNER_MEMORY_MAX - size.memory };
    assert!(layers.has_room_for(&id, room, false));
    let too_much = LayerSize { memory: OWNER_MEMORY_MAX, ..room };
    let other = LayerId {
        document: DocumentId { name: DocumentName::new("b").unwrap(), ..id.document.clone() },
        ..id
    };
    assert!(!layers.has_room_for(&other, too_much, false), "memory alone is reason enough");
    // Once the owner is no peer any more, all of it is gone from memory and from disk.
    let owner_id = owner.me();
    reader.remove(owner_id);
    assert_eq!(reader.replica.layers().size_of(&owner_id), LayerSize::default());
    assert!(reader.replica.layers().layers().all(|layer| layer.head().layer.author == reader.me()));
    reader.outputs();
    let loaded = reader.core.gate.store().load().unwrap();
    assert!(loaded.layers.iter().all(|layer| layer.signed.head.layer.document.owner != owner_id));
    assert!(reader.replica.federation().audience(&owner_id).is_none());
}

/// Peers share what there is for all of them: beyond it only those that take more than an equal share are refused, and this node
/// itself never.
#[test]
fn peers_share_a_limit_and_none_takes_the_share_of_another() {
    let (mut owner, mut reader, id) = pair();
    let zeros = Value::Array(vec![Value::from(0u64); 60_000]);
    let list = DocumentId { owner: owner.me(), name: DocumentName::new("zeros").unwrap() };
    let TestSide { core, replica, authoring } = &mut owner;
    authoring.commit_snapshot(core, replica, &list, zeros).unwrap();
    let layer = LayerId { document: list, author: owner.me() };
    let message = owner.supply(reader.me(), &layer, None);
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
    let layers = reader.replica.layers();
    let held = layers.size_of(&owner.me()).memory;
    let bytes_max = held + 20_000;
    let shared = PeersMemory { me: reader.me(), bytes_max };
    let size = |memory| LayerSize { cbor: 1, memory };
    let of = |owner| LayerId {
        document: DocumentId { owner, name: DocumentName::new("b").unwrap() },
        author: owner,
    };
    let fits = |owner, memory| layers.leaves_room_for(&of(owner), size(memory), false, shared);
    assert!(fits(owner.me(), 20_000) && !fits(owner.me(), 20_001));
    // Another owner has half of it, whatever the first has taken.
    let other = PeerId([9; 32]);
    assert!(fits(other, bytes_max / 2) && !fits(other, bytes_max / 2 + 1));
    assert!(fits(reader.me(), usize::MAX / 4), "this node's own documents are not counted");
    // A layer takes the place of its older state.
    assert!(layers.leaves_room_for(&layer, size(held), false, shared));
    assert!(layers.document(&id.document).is_some());
    let owner_id = owner.me();
    reader.remove(owner_id);
    let layers = reader.replica.layers();
    assert!(layers.leaves_room_for(&of(other), size(bytes_max), false, shared), "what is removed makes room");
}

/// A peer that has used up its room may still change rights and take back what it wrote: else nothing could make room.
#[test]
fn a_quota_that_is_reached_refuses_neither_rights_nor_what_makes_room() {
    let (mut owner, mut reader, id) = pair();
    reader.core.settings.peers_memory_max = 0;
    let base = reader.replica.state(&id);
    owner.set(&id.document, &[("b", Some(2))]);
    let grown = owner.supply(reader.me(), &id, base);
    let outcome = reader.receive(owner.me(), grown);
    assert!(matches!(outcome, ApplyOutcome::Refused(_, Refusal::Quota)), "{outcome:?}");
    owner.trust(PeerId([9; 32]), TrustLevel::Observer);
    owner.sign_audience();
    let audience = owner.core.own_layer(&owner.core.own_document(DocumentName::AUDIENCE));
    let message = owner.supply(reader.me(), &audience, None);
    assert!(matches!(reader.receive(owner.me(), message), ApplyOutcome::Stored(_)));
    owner.set(&id.document, &[("a", None), ("b", None)]);
    let shrunk = owner.supply(reader.me(), &id, None);
    assert!(matches!(reader.receive(owner.me(), shrunk), ApplyOutcome::Stored(_)));
    assert_eq!(reader.value(&id.document), owner.value(&id.document));
}

/// Older states of a snapshot count as well, and stay within what the owner's quota has left.
#[test]
fn older_states_count_in_the_quota() {
    let mut side = TestSide::new(1);
    let note = side.document("note");
    for n in 0..6u64 {
        let TestSide { core, replica, authoring } = &mut side;
        let value = Value::from(n.to_string().repeat(10_000).as_str());
        authoring.commit_snapshot(core, replica, &note, value).unwrap();
    }
    let size = side.replica.layers().size_of(&side.me());
    assert!(size.memory > size.cbor + 5 * 10_000, "{size:?}");
}
