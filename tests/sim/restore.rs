//! A disk dies, and a backup takes its place.

use crate::world::{HOUR, MINUTE, World};
use tombolo::io::RadioSpec;
use tombolo::time::Millis;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::frame::keys::Mode;
use tombolo_sim::Seat;
use tombolo_sim::field::UNLIMITED;

/// The backup is a day old. The machine comes back without a link, its owner writes on, more than the lost day
/// had seen, and restarts it; then it meets the others again. What they had kept of the lost day, and what was
/// written since: all of it is there, on every node, and the later of two writes is shown.
#[test]
fn a_machine_restored_from_a_backup_and_written_on_loses_nothing_its_friends_still_have() {
    for seed in [31, 32] {
        let mut world = World::of_friends(seed, 4);
        let place = world.create(0, "roster");
        world.simulation.run_for(MINUTE);
        world.set(0, &place, "shared", 1);
        let backup = world.simulation.back_up(Seat(0));
        for n in 0..6 {
            world.set(0, &place, &format!("lost{n}"), n);
            world.simulation.run_for(4 * HOUR);
        }
        world.set(0, &place, "shared", 2);
        world.simulation.run_for(MINUTE);
        for other in 1..4 {
            world.simulation.cut(Seat(0), Seat(other));
        }
        world.simulation.run_for(MINUTE);
        world.simulation.restore(Seat(0), &backup);
        for n in 0..20 {
            world.set(0, &place, &format!("since{}", n % 7), n);
            world.simulation.run_for(MINUTE);
        }
        world.set(0, &place, "shared", 3);
        world.simulation.crash(Seat(0));
        world.simulation.restart(Seat(0));
        for other in [2, 1, 3] {
            world.simulation.mend(Seat(0), Seat(other));
        }
        for who in 0..4 {
            world.await_value(who, &place, "shared", Some(3), MINUTE);
            for n in 0..6 {
                world.await_value(who, &place, &format!("lost{n}"), Some(n), MINUTE);
            }
            for n in 13..20 {
                world.await_value(who, &place, &format!("since{}", n % 7), Some(n), MINUTE);
            }
        }
        world.no_wrongs();
    }
}

fn radio(line: PhyRate) -> RadioSpec {
    RadioSpec {
        name: "radio".to_owned(),
        mode: Mode::Encrypted,
        frame_bytes_max: 231,
        frame_bytes_min: 0,
        call_sign: None,
        line,
        ledger: LedgerConfig::new(Some(UNLIMITED)),
        sign_every: 1,
        rules_text: "a story".to_owned(),
    }
}

/// So many friends in step over a document of the first; then they have radios and nothing else.
fn on_air(seed: u64, machines: usize, modulation: Modulation) -> (World, tombolo_sim::checker::DocumentRef) {
    let mut world = World::of_friends(seed, machines);
    let place = world.create(0, "roster");
    world.set(0, &place, "shared", 1);
    world.simulation.run_for(MINUTE);
    let line = PhyRate::lora(modulation);
    let channel = world.simulation.add_channel(line);
    for a in 0..machines {
        world.simulation.add_radio(Seat(a), channel, radio(line));
        (a + 1..machines).for_each(|b| world.simulation.cut(Seat(a), Seat(b)));
    }
    world.simulation.run_for(30 * MINUTE);
    (world, place)
}

/// A machine with nothing but a radio comes back with an old disk. Its friends bring it what it wrote itself since, and
/// what it is then asked to write goes above that.
#[test]
fn on_air_a_restored_machine_gets_back_its_own_newer_state_and_signs_above_it() {
    for (seed, modulation) in [(41, Modulation::SF7_125), (42, Modulation::LONG_FAST)] {
        let (mut world, place) = on_air(seed, 3, modulation);
        let backup = world.simulation.back_up(Seat(0));
        for n in 0..4 {
            world.set(0, &place, &format!("lost{n}"), n);
            world.simulation.run_for(10 * MINUTE);
        }
        world.await_value(1, &place, "lost3", Some(3), HOUR);
        world.await_value(2, &place, "lost3", Some(3), HOUR);
        world.simulation.restore(Seat(0), &backup);
        let before = world.simulation.sequence_held(Seat(1), &place, Seat(0));
        let back = world.simulation.time();
        while world.simulation.sequence_held(Seat(0), &place, Seat(0)) < before {
            assert!(world.simulation.time() < back + HOUR, "nobody brings back what was lost");
            world.simulation.run_for(Millis::from_ms(200));
        }
        let written = world.set(0, &place, "since", 7);
        assert!(written > before, "signed as {written}, and a friend holds {before}");
        for who in 0..3 {
            world.await_value(who, &place, "since", Some(7), HOUR);
            for n in 0..4 {
                world.await_value(who, &place, &format!("lost{n}"), Some(n), HOUR);
            }
            assert_eq!(world.forks(who), 0, "no second state was signed");
        }
        world.no_wrongs();
    }
}

/// Before it received anything it wrote more than it had lost: so the state that its peers hold has the lower sequence, and
/// its first frame would supersede that state. It fetches the state first.
#[test]
fn on_air_a_restored_machine_buries_nothing_by_what_it_wrote_in_silence() {
    for seed in [51, 52, 53] {
        let (mut world, place) = on_air(seed, 3, Modulation::SF7_125);
        world.set(0, &place, "gone", 1);
        world.await_value(1, &place, "gone", Some(1), HOUR);
        let backup = world.simulation.back_up(Seat(0));
        for n in 0..4 {
            world.set(0, &place, &format!("lost{n}"), n);
            world.simulation.run_for(10 * MINUTE);
        }
        world.set(0, &place, "shared", 2);
        world.await_value(1, &place, "shared", Some(2), HOUR);
        world.await_value(2, &place, "shared", Some(2), HOUR);
        let radios = world.simulation.radios(Seat(0));
        radios.iter().for_each(|(link, ..)| world.simulation.unplug_radio(*link));
        world.simulation.restore(Seat(0), &backup);
        for n in 0..20 {
            world.set(0, &place, &format!("since{}", n % 7), n);
            world.simulation.run_for(MINUTE);
        }
        world.set(0, &place, "shared", 3);
        world.simulation.crash(Seat(0));
        world.simulation.restart(Seat(0));
        radios.iter().for_each(|(link, ..)| world.simulation.plug_radio(*link));
        for who in 0..3 {
            world.await_value(who, &place, "shared", Some(3), 2 * HOUR);
            for n in 0..4 {
                world.await_value(who, &place, &format!("lost{n}"), Some(n), HOUR);
            }
            for n in 13..20 {
                world.await_value(who, &place, &format!("since{}", n % 7), Some(n), HOUR);
            }
        }
        world.no_wrongs();
    }
}
