//! A peer is removed while the network is partitioned.

use crate::world::{HOUR, MINUTE, World};
use tombolo::node::{Admin, Write};
use tombolo_sim::{SECOND, Seat};

/// The removed node writes on in its part of the network: nothing of that takes effect once the removal arrives, what it
/// wrote before stays, and all remaining nodes read the same.
#[test]
fn what_a_removed_writer_adds_in_a_partition_takes_no_effect() {
    let mut world = World::of_friends(21, 4);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    world.set(3, &place, "before", 1);
    for who in [0, 1, 2] {
        world.await_value(who, &place, "before", Some(1), MINUTE);
    }
    // 0 and 1 on one side, 2 and 3 on the other.
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.simulation.cut(Seat(a), Seat(b));
    }
    world.simulation.run_for(MINUTE);
    let peer = world.simulation.did(Seat(3));
    world.simulation.ask(Seat(0), Admin::Remove { peer }).unwrap();
    world.set(3, &place, "after", 2);
    world.await_value(2, &place, "after", Some(2), MINUTE);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.simulation.mend(Seat(a), Seat(b));
    }
    world.await_value(2, &place, "after", None, MINUTE);
    world.simulation.run_for(HOUR);
    for who in [0, 1, 2] {
        assert_eq!(world.get(who, &place, "before"), Some(1), "removing deletes nothing");
        assert_eq!(
            world.get(who, &place, "after"),
            None,
            "node{who} shows what a removed writer wrote later"
        );
    }
    assert!(!world.simulation.is_linked(Seat(0), Seat(3)));
    world.no_wrongs();
}

/// A session that is up when its peer is removed ends within a second, and does not come back.
#[test]
fn a_live_session_ends_within_a_second() {
    let mut world = World::of_friends(22, 2);
    world.simulation.run_for(MINUTE);
    assert!(world.simulation.is_linked(Seat(0), Seat(1)));
    let peer = world.simulation.did(Seat(1));
    world.simulation.ask(Seat(0), Admin::Remove { peer }).unwrap();
    world.simulation.run_for(SECOND);
    assert!(!world.simulation.is_linked(Seat(0), Seat(1)));
    world.simulation.run_for(HOUR);
    assert!(!world.simulation.is_linked(Seat(0), Seat(1)));
}

/// A removed node stays out after a restart, and comes back with a new invite.
#[test]
fn a_removed_peer_is_let_in_again_by_a_new_invite() {
    let mut world = World::of_friends(23, 3);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    for (who, whom) in [(0, 2), (2, 0)] {
        let peer = world.simulation.did(Seat(whom));
        world.simulation.ask(Seat(who), Admin::Remove { peer }).unwrap();
    }
    world.simulation.crash(Seat(0));
    world.simulation.restart(Seat(0));
    world.set(0, &place, "while out", 1);
    world.simulation.run_for(10 * MINUTE);
    assert_eq!(world.get(2, &place, "while out"), None);
    world.join(0, 2, tombolo::federation::TrustLevel::Trusted);
    world.await_value(2, &place, "while out", Some(1), MINUTE);
    world.set(2, &place, "back", 2);
    for who in [0, 1] {
        world.await_value(who, &place, "back", Some(2), MINUTE);
    }
    world.no_wrongs();
}

/// A node is removed with a write that no other node has seen; others delete that key, and their tombstone expires. When
/// the node joins again, the key stays deleted, and the node can write.
#[test]
fn who_is_let_in_again_does_not_bring_back_what_was_deleted_meanwhile() {
    let mut world = World::of_friends(24, 4);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    for other in [0, 1, 2] {
        world.simulation.cut(Seat(other), Seat(3));
    }
    world.simulation.run_for(MINUTE);
    world.set(3, &place, "key", 1);
    world.set(1, &place, "key", 2);
    world.simulation.run_for(MINUTE);
    let peer = world.simulation.did(Seat(3));
    world.simulation.ask(Seat(0), Admin::Remove { peer }).unwrap();
    let key = tombolo::layer::KeyPath::parse("key").unwrap();
    let doc = place.text(&world.simulation);
    world.simulation.ask(Seat(0), Write::Del { doc, key }).unwrap();
    world.simulation.run_for(MINUTE);
    for who in [1, 2] {
        world.set(who, &place, "later", 1);
    }
    world.simulation.run_for(6 * HOUR);
    let peer = world.simulation.did(Seat(0));
    world.simulation.ask(Seat(3), Admin::Remove { peer }).unwrap();
    for other in [0, 1, 2] {
        world.simulation.mend(Seat(other), Seat(3));
    }
    world.join(0, 3, tombolo::federation::TrustLevel::Trusted);
    world.simulation.run_for(HOUR);
    for who in 0..4 {
        assert_eq!(world.get(who, &place, "key"), None, "node{who} shows what was deleted");
    }
    world.set(3, &place, "back", 3);
    for who in 0..4 {
        world.await_value(who, &place, "back", Some(3), MINUTE);
    }
    world.no_wrongs();
}
