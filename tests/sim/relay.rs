//! What reaches a node only through others.

use crate::world::{HOUR, MINUTE, World};
use tombolo::federation::TrustLevel;
use tombolo::node::{Admin, NodeState, Query, Write};
use tombolo_sim::Seat;

/// Two nodes that trust each other and never have a link read each other's documents through a third.
#[test]
fn a_layer_travels_through_a_third() {
    let mut world = World::of_friends(11, 3);
    world.simulation.cut(Seat(0), Seat(2));
    world.simulation.run_for(MINUTE);
    let place = world.create(0, "roster");
    world.set(0, &place, "monday", 1);
    world.await_value(2, &place, "monday", Some(1), MINUTE);
    world.set(2, &place, "tuesday", 2);
    world.await_value(0, &place, "tuesday", Some(2), MINUTE);
    assert!(!world.simulation.is_linked(Seat(0), Seat(2)));
    world.no_wrongs();
}

/// A relay holds what it may read until another reader connects, though the author is gone.
#[test]
fn a_relay_serves_while_the_author_is_away() {
    let mut world = World::of_friends(12, 3);
    let place = world.create(0, "roster");
    world.set(0, &place, "first", 1);
    world.await_value(2, &place, "first", Some(1), MINUTE);
    world.simulation.crash(Seat(2));
    world.set(0, &place, "second", 2);
    world.await_value(1, &place, "second", Some(2), MINUTE);
    world.simulation.crash(Seat(0));
    world.simulation.run_for(HOUR);
    world.simulation.restart(Seat(2));
    world.await_value(2, &place, "second", Some(2), MINUTE);
    world.no_wrongs();
}

/// Two writers of one document need not know each other: their owner passes on what they wrote.
#[test]
fn writers_who_are_strangers_meet_in_their_owners_document() {
    let mut world = World::new(13, 3);
    world.join(1, 0, TrustLevel::Trusted);
    world.join(1, 2, TrustLevel::Trusted);
    let place = world.create(1, "roster");
    world.simulation.run_for(MINUTE);
    world.set(0, &place, "from0", 1);
    world.set(2, &place, "from2", 2);
    world.await_value(2, &place, "from0", Some(1), MINUTE);
    world.await_value(0, &place, "from2", Some(2), MINUTE);
    world.no_wrongs();
}

/// The node state of a peer without a link comes through a third, with the time at which it was signed.
#[test]
fn a_node_state_travels_through_a_third() {
    let mut world = World::of_friends(14, 3);
    world.simulation.cut(Seat(0), Seat(2));
    world.simulation.run_for(MINUTE);
    let state = NodeState { uptime_secs: Some(7), ..NodeState::default() };
    world.simulation.ask(Seat(0), Write::publish(state)).unwrap();
    let truth = world.simulation.ask(Seat(0), Query::State { peer: None }).unwrap();
    world.simulation.run_for(MINUTE);
    let peer = Some(world.simulation.did(Seat(0)));
    assert_eq!(world.simulation.ask(Seat(2), Query::State { peer }).unwrap(), truth);
}

/// A document does not reach a node that its owner does not list, though a relay holds it.
#[test]
fn a_relay_keeps_from_strangers_what_they_may_not_read() {
    let mut world = World::new(15, 3);
    world.join(1, 0, TrustLevel::Trusted);
    world.join(1, 2, TrustLevel::Trusted);
    let place = world.create(0, "diary");
    world.set(0, &place, "page", 1);
    world.await_value(1, &place, "page", Some(1), MINUTE);
    world.simulation.run_for(HOUR);
    assert_eq!(world.get(2, &place, "page"), None);
    world.no_wrongs();
}

/// A node that the owner removed gets nothing more of the owner's documents from a relay, though it has not removed the
/// owner and the relay trusts both.
#[test]
fn a_relay_passes_nothing_to_a_node_that_the_owner_removed() {
    let mut world = World::of_friends(16, 3);
    let place = world.create(0, "diary");
    world.set(0, &place, "before", 1);
    world.await_value(2, &place, "before", Some(1), MINUTE);
    let peer = world.simulation.did(Seat(2));
    world.simulation.ask(Seat(0), Admin::Remove { peer }).unwrap();
    world.simulation.run_for(MINUTE);
    world.set(0, &place, "after", 2);
    world.await_value(1, &place, "after", Some(2), MINUTE);
    assert!(world.simulation.is_linked(Seat(1), Seat(2)));
    world.simulation.run_for(HOUR);
    assert_eq!(world.get(2, &place, "after"), None);
    world.no_wrongs();
}
