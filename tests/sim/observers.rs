//! Who may only read.

use crate::world::{MINUTE, World};
use tombolo::federation::TrustLevel;
use tombolo::node::{Admin, CommandError};
use tombolo_sim::Seat;

/// An observer reads; its writes are refused with the reason and have no effect on any node.
#[test]
fn an_observer_reads_and_cannot_write() {
    let mut world = World::new(31, 3);
    world.join(0, 1, TrustLevel::Observer);
    world.join(0, 2, TrustLevel::Trusted);
    let place = world.create(0, "roster");
    world.set(0, &place, "monday", 1);
    world.await_value(1, &place, "monday", Some(1), MINUTE);
    assert!(matches!(world.try_set(1, &place, "monday", 9), Err(CommandError::ReadOnly { .. })));
    world.simulation.run_for(MINUTE);
    for who in 0..3 {
        assert_eq!(world.get(who, &place, "monday"), Some(1));
    }
    world.no_wrongs();
}

/// A writer who is made an observer keeps reading; what it wrote stays; what it writes later is refused.
#[test]
fn a_writer_made_an_observer_writes_no_more() {
    let mut world = World::of_friends(32, 3);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    world.set(1, &place, "before", 1);
    world.await_value(0, &place, "before", Some(1), MINUTE);
    let peer = world.simulation.did(Seat(1));
    world.simulation.ask(Seat(0), Admin::Trust { peer, level: TrustLevel::Observer }).unwrap();
    world.simulation.run_for(MINUTE);
    assert!(matches!(world.try_set(1, &place, "after", 2), Err(CommandError::ReadOnly { .. })));
    world.set(0, &place, "news", 3);
    world.await_value(1, &place, "news", Some(3), MINUTE);
    for who in 0..3 {
        assert_eq!(world.get(who, &place, "before"), Some(1));
    }
    world.no_wrongs();
}
