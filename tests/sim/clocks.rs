//! Wrong clocks: no other node's clock moves, and no node stays locked out.

use crate::world::{HOUR, MINUTE, World};
use tombolo::node::{NodeState, Query, Reply, Write};
use tombolo::time::Millis;
use tombolo_sim::faults::WallClock;
use tombolo_sim::{DAY, Seat};

fn ahead(by: Millis) -> WallClock {
    WallClock { offset_ms: by.ms() as i64, ..WallClock::default() }
}

/// Alone among two, a clock two days fast is believed by its own node only: its entry waits elsewhere.
/// Once the clock is right, one more commit puts the node's stamps right, and all nodes agree at once.
#[test]
fn a_fast_clock_put_right_locks_no_peer_out() {
    let mut world = World::of_friends(41, 2);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    world.simulation.set_clock(Seat(1), ahead(2 * DAY));
    world.set(1, &place, "key", 1);
    world.simulation.run_for(MINUTE);
    assert_eq!(world.get(0, &place, "key"), None, "an entry from the future does not take part");
    world.simulation.set_clock(Seat(1), WallClock::default());
    world.simulation.run_for(MINUTE);
    world.set(1, &place, "other", 2);
    world.await_value(0, &place, "key", Some(1), MINUTE);
    world.set(0, &place, "key", 3);
    world.await_value(1, &place, "key", Some(3), MINUTE);
    world.no_wrongs();
}

/// The order among writers is the true one, although one of them wrote under a fast clock: what the other wrote later wins, and
/// what it wrote before does not.
#[test]
fn a_clock_put_right_rewrites_no_history() {
    for (seed, by) in [(46, 2 * DAY), (47, 3 * HOUR), (48, 40 * MINUTE)] {
        let mut world = World::of_friends(seed, 2);
        let place = world.create(0, "roster");
        world.set(0, &place, "before", 1);
        world.await_value(1, &place, "before", Some(1), MINUTE);
        world.simulation.set_clock(Seat(1), ahead(by));
        world.simulation.run_for(MINUTE);
        world.set(1, &place, "after", 1);
        world.set(1, &place, "before", 2);
        world.simulation.run_for(MINUTE);
        assert_eq!(world.get(0, &place, "after"), None, "it waits for its time");
        world.set(0, &place, "after", 2);
        world.simulation.run_for(MINUTE);
        world.simulation.set_clock(Seat(1), WallClock::default());
        world.simulation.run_for(MINUTE);
        world.set(1, &place, "other", 3);
        for who in [0, 1] {
            world.await_value(who, &place, "other", Some(3), MINUTE);
            world.await_value(who, &place, "before", Some(2), MINUTE);
            world.await_value(who, &place, "after", Some(2), MINUTE);
        }
        world.no_wrongs();
    }
}

/// The same where the clock is put right while the node is down, and its operator vouches for it then. What it wrote is seen as soon as it runs.
#[test]
fn a_clock_put_right_while_the_node_is_down_rewrites_no_history() {
    for (seed, by) in [(50, 2 * DAY), (51, 3 * HOUR), (52, 40 * MINUTE)] {
        let mut world = World::of_friends(seed, 2);
        let place = world.create(0, "roster");
        world.set(0, &place, "key", 1);
        world.await_value(1, &place, "key", Some(1), MINUTE);
        world.simulation.set_clock(Seat(1), ahead(by));
        world.simulation.run_for(MINUTE);
        world.set(1, &place, "key", 2);
        world.set(1, &place, "alone", 2);
        world.simulation.run_for(MINUTE);
        world.simulation.crash(Seat(1));
        world.simulation.set_clock(Seat(1), WallClock::default());
        world.simulation.vouch_for_clock(Seat(1));
        for who in [0, 1] {
            world.await_value(who, &place, "key", Some(2), MINUTE);
            world.await_value(who, &place, "alone", Some(2), MINUTE);
        }
        world.set(0, &place, "key", 3);
        world.simulation.run_for(MINUTE);
        world.set(1, &place, "other", 4);
        for who in [0, 1] {
            world.await_value(who, &place, "other", Some(4), MINUTE);
            world.await_value(who, &place, "key", Some(3), MINUTE);
        }
        world.no_wrongs();
    }
}

/// An entry from the future takes effect by itself when its time has come.
#[test]
fn an_entry_from_the_future_takes_effect_in_time() {
    let mut world = World::of_friends(42, 2);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    world.simulation.set_clock(Seat(1), ahead(3 * HOUR));
    world.set(1, &place, "key", 1);
    world.simulation.run_for(2 * HOUR);
    assert_eq!(world.get(0, &place, "key"), None);
    world.simulation.run_for(HOUR);
    assert_eq!(world.get(0, &place, "key"), Some(1));
}

/// A machine that wakes in 1970 takes the time from its peers: what it writes wins over what it saw.
#[test]
fn a_machine_without_a_clock_writes_with_its_peers_time() {
    let mut world = World::of_friends(43, 3);
    let place = world.create(0, "roster");
    world.set(0, &place, "key", 1);
    world.await_value(2, &place, "key", Some(1), MINUTE);
    world.simulation.set_clock(Seat(2), WallClock { unset: true, ..WallClock::default() });
    world.simulation.crash(Seat(2));
    world.simulation.restart(Seat(2));
    world.simulation.run_for(MINUTE);
    world.set(2, &place, "key", 2);
    for who in [0, 1] {
        world.await_value(who, &place, "key", Some(2), MINUTE);
    }
    world.no_wrongs();
}

/// Even alone, without a clock and without peers, a write wins over what was there before it.
#[test]
fn a_machine_without_a_clock_and_alone_goes_on_from_what_it_holds() {
    let mut world = World::of_friends(44, 2);
    let place = world.create(0, "roster");
    world.set(0, &place, "key", 1);
    world.await_value(1, &place, "key", Some(1), MINUTE);
    world.simulation.cut(Seat(0), Seat(1));
    world.simulation.set_clock(Seat(1), WallClock { unset: true, ..WallClock::default() });
    world.simulation.crash(Seat(1));
    world.simulation.restart(Seat(1));
    world.set(1, &place, "key", 2);
    assert_eq!(world.get(1, &place, "key"), Some(2));
    world.simulation.mend(Seat(0), Seat(1));
    world.await_value(0, &place, "key", Some(2), MINUTE);
    world.no_wrongs();
}

/// With three clocks heard, a node two days fast follows their median: its writes are seen at once.
#[test]
fn three_clocks_overrule_a_fast_one() {
    let mut world = World::of_friends(45, 4);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    world.simulation.set_clock(Seat(3), ahead(2 * DAY));
    world.simulation.run_for(MINUTE);
    world.set(3, &place, "key", 1);
    for who in 0..3 {
        world.await_value(who, &place, "key", Some(1), MINUTE);
    }
    world.no_wrongs();
}

/// Three trusted peers whose clocks are a year ahead move a clock that is right, for which neither operator nor kernel vouches; from the moment at which the
/// kernel counts it as synchronised they do not, and what is written then does not wait anywhere where time is right.
#[test]
fn three_liars_do_not_move_a_clock_that_the_kernel_counts_as_synchronised() {
    const YEAR: Millis = Millis::from_secs(365 * 24 * 3600);
    let mut world = World::of_friends(50, 5);
    let place = world.create(0, "roster");
    world.simulation.run_for(MINUTE);
    world.simulation.cut(Seat(0), Seat(1));
    for liar in 2..5 {
        world.simulation.cut(Seat(1), Seat(liar));
        world.simulation.set_clock(Seat(liar), ahead(YEAR));
    }
    world.simulation.run_for(2 * MINUTE);
    let source = |world: &mut World| world.status(0).time_source;
    assert_eq!(source(&mut world), "median");
    let synchronised = WallClock { synchronised: true, ..WallClock::default() };
    world.simulation.set_clock(Seat(0), synchronised);
    let status = world.status(0);
    let alarms: Vec<&str> = status.alarms.iter().map(|alarm| alarm.code).collect();
    assert_eq!((status.time_source, alarms), ("own", vec!["peers_clocks_differ"]));
    // A node that does not know them, and whose time is right, shows at once what is written.
    world.set(0, &place, "key", 1);
    world.simulation.mend(Seat(0), Seat(1));
    world.await_value(1, &place, "key", Some(1), MINUTE);
    // So it is after a restart, and for as long as it is synchronised.
    world.simulation.crash(Seat(0));
    world.simulation.restart(Seat(0));
    world.simulation.run_for(2 * MINUTE);
    assert_eq!(source(&mut world), "own");
    world.simulation.set_clock(Seat(0), WallClock::default());
    assert_eq!(source(&mut world), "median");
    world.simulation.set_clock(Seat(0), synchronised);
    world.set(0, &place, "key", 2);
    world.await_value(1, &place, "key", Some(2), MINUTE);
    world.no_wrongs();
}

/// What is shown of its clock when a fast one was put right, and the node starts again before it has published anything more: it believes
/// its own clock, since nothing of it is signed with the wrong time any more.
#[test]
fn a_state_of_a_fast_clock_is_signed_again() {
    let mut world = World::of_friends(53, 2);
    let place = world.create(1, "roster");
    world.simulation.run_for(MINUTE);
    world.simulation.set_clock(Seat(1), ahead(2 * DAY));
    world.simulation.run_for(MINUTE);
    let state = NodeState { cpu_usage_percent: Some(7.5), ..NodeState::default() };
    world.simulation.ask(Seat(1), Write::publish(state)).unwrap();
    world.set(1, &place, "key", 1);
    world.simulation.set_clock(Seat(1), WallClock::default());
    world.simulation.run_for(MINUTE);
    world.simulation.cut(Seat(0), Seat(1));
    world.simulation.crash(Seat(1));
    world.simulation.restart(Seat(1));
    world.simulation.run_for(MINUTE);
    assert_eq!(world.status(1).time_source, "own");
    let Ok(Reply::State(view)) = world.simulation.ask(Seat(1), Query::State { peer: None }) else {
        panic!("a state")
    };
    assert_eq!(view.state.cpu_usage_percent, Some(7.5));
    world.no_wrongs();
}

/// The disk holds stamps of a clock that was half a day fast; it is put right, and no peer is there that shows it. What the machine
/// wrote since its start, and what it writes now, it reads itself; once a peer is there, both read it.
#[test]
fn a_machine_alone_behind_its_own_stamps_reads_what_it_writes() {
    let mut world = World::of_friends(49, 2);
    let place = world.create(1, "roster");
    world.simulation.run_for(MINUTE);
    world.simulation.cut(Seat(0), Seat(1));
    world.simulation.set_clock(Seat(1), ahead(12 * HOUR));
    world.set(1, &place, "before", 1);
    world.simulation.crash(Seat(1));
    world.simulation.restart(Seat(1));
    world.simulation.run_for(HOUR);
    world.set(1, &place, "since", 2);
    world.simulation.set_clock(Seat(1), WallClock::default());
    world.set(1, &place, "now", 3);
    let written = [("before", 1), ("since", 2), ("now", 3)];
    for (key, value) in written {
        assert_eq!(world.get(1, &place, key), Some(value), "{key}");
    }
    world.simulation.mend(Seat(0), Seat(1));
    for who in [0, 1] {
        for (key, value) in written {
            world.await_value(who, &place, key, Some(value), MINUTE);
        }
    }
    world.no_wrongs();
}
