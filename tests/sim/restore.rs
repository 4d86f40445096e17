//! A disk dies, and a backup takes its place.

use crate::world::{HOUR_MS, MINUTE_MS, World};
use tombolo::sim::Seat;

/// The backup is a day old. The machine comes back without a link, its owner writes on, more than the lost day
/// had seen, and restarts it; then it meets the others again. What they had kept of the lost day, and what was
/// written since: all of it is there, on every node, and the later of two writes is shown.
#[test]
fn a_machine_restored_from_a_backup_and_written_on_loses_nothing_its_friends_still_have() {
    for seed in [31, 32, 33] {
        let mut world = World::of_friends(seed, 4);
        let place = world.create(0, "roster");
        world.simulation.run_for(MINUTE_MS);
        world.set(0, &place, "shared", 1);
        let backup = world.simulation.back_up(Seat(0));
        for n in 0..6 {
            world.set(0, &place, &format!("lost{n}"), n);
            world.simulation.run_for(4 * HOUR_MS);
        }
        world.set(0, &place, "shared", 2);
        world.simulation.run_for(MINUTE_MS);
        for other in 1..4 {
            world.simulation.cut(Seat(0), Seat(other));
        }
        world.simulation.run_for(MINUTE_MS);
        world.simulation.restore(Seat(0), &backup);
        for n in 0..20 {
            world.set(0, &place, &format!("since{}", n % 7), n);
            world.simulation.run_for(MINUTE_MS);
        }
        world.set(0, &place, "shared", 3);
        world.simulation.crash(Seat(0));
        world.simulation.restart(Seat(0));
        for other in [2, 1, 3] {
            world.simulation.mend(Seat(0), Seat(other));
        }
        for who in 0..4 {
            world.await_value(who, &place, "shared", Some(3), MINUTE_MS);
            for n in 0..6 {
                world.await_value(who, &place, &format!("lost{n}"), Some(n), MINUTE_MS);
            }
            for n in 13..20 {
                world.await_value(who, &place, &format!("since{}", n % 7), Some(n), MINUTE_MS);
            }
        }
        world.no_wrongs();
    }
}
