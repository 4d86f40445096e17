//! A receiver whose disk has gone back does not know what it took. Its sender still offers a command whose answer was lost: it is
//! not run a second time, and its outcome is unknown at both ends.

use super::deploy::{allow, deploy, end, friends, status};
use super::*;
use crate::commands::{COMMAND_CLOCK_SLACK, EARLY_WAIT};
use crate::store::StoreOrigin;

/// A deploy that has run, and whose sender has not received the answer; before, a copy of the receiver's disk was made.
fn ran_and_not_answered() -> (Wire, Store, String) {
    let mut wire = friends();
    wire.connect(0, 1);
    wire.ask(1, Write::publish(NodeState::default())).unwrap();
    wire.pass(2_000);
    let backup = wire.backup(1);
    wire.pass(60_000);
    let asked = deploy(&mut wire, "web").unwrap();
    let state = NodeState { cpu_usage_percent: Some(3.0), ..NodeState::default() };
    wire.ask(1, Write::publish(state)).unwrap();
    wire.pass(1_000);
    wire.cut(0, 1);
    end(&mut wire, "done");
    assert_eq!((status(&mut wire, 0, &asked.id).status, wire.installs.len()), ("taken", 1));
    (wire, backup, asked.id)
}

/// Both ends show that the outcome is unknown, and nothing ran again; what is asked for later runs.
fn check_unknown_and_later_ones_run(wire: &mut Wire, id: &str) {
    for at in [0, 1] {
        assert_eq!(status(wire, at, id).status, "unknown", "at {at}");
    }
    assert_eq!(wire.installs.len(), 1, "never a second run");
    wire.pass(COMMAND_CLOCK_SLACK.ms() + 1_000);
    let later = deploy(wire, "web").unwrap();
    wire.pass(1_000);
    assert_eq!(wire.installs.len(), 2);
    end(wire, "done again");
    assert_eq!(status(wire, 0, &later.id).status, "installed");
}

#[test]
fn a_restored_backup_does_not_run_what_it_ran_after_it_was_made() {
    let (mut wire, mut backup, id) = ran_and_not_answered();
    // As `restore` marks it.
    backup.commit(StoreOrigin::Unconfirmed.marks()).unwrap();
    wire.restore(1, &backup);
    allow(&mut wire, 1);
    wire.connect(0, 1);
    wire.pass(10_000);
    check_unknown_and_later_ones_run(&mut wire, &id);
}

/// The image of a disk has no mark: that it is older shows in what the peer holds, which comes after the command.
#[test]
fn a_disk_that_was_set_back_does_not_run_what_it_ran_before() {
    let (mut wire, backup, id) = ran_and_not_answered();
    wire.restore(1, &backup);
    allow(&mut wire, 1);
    wire.connect(0, 1);
    wire.pass(10_000);
    check_unknown_and_later_ones_run(&mut wire, &id);
    // It stays so on the disk.
    wire.restart(1);
    allow(&mut wire, 1);
    wire.connect(0, 1);
    wire.pass(1_000);
    assert_eq!((status(&mut wire, 1, &id).status, wire.installs.len()), ("unknown", 2));
}

/// The same where more was written on the older disk than had been lost, so that no sequence of the peer's is newer.
#[test]
fn a_disk_that_was_set_back_and_written_past_does_not_run_what_it_ran_before() {
    let mut wire = friends();
    wire.connect(0, 1);
    wire.create(1, "log");
    wire.set(1, "log", "before", 1i64).unwrap();
    wire.pass(2_000);
    let backup = wire.backup(1);
    wire.set(1, "log", "lost", 1i64).unwrap();
    let id = deploy(&mut wire, "web").unwrap().id;
    wire.pass(1_000);
    wire.cut(0, 1);
    end(&mut wire, "done");
    wire.restore(1, &backup);
    allow(&mut wire, 1);
    for n in 0..9i64 {
        wire.set(1, "log", "since", n).unwrap();
    }
    wire.connect(0, 1);
    wire.pass(20_000);
    check_unknown_and_later_ones_run(&mut wire, &id);
}

/// A store of its own for a key that existed before knows nothing of what was taken either.
#[test]
fn a_node_that_lost_its_store_does_not_run_what_it_ran_before() {
    let (mut wire, _, id) = ran_and_not_answered();
    let mut empty = Store::in_memory().unwrap();
    empty.commit(StoreOrigin::Unconfirmed.marks()).unwrap();
    wire.restore(1, &empty);
    wire.join(0, 1, TrustLevel::Trusted);
    allow(&mut wire, 1);
    wire.connect(0, 1);
    wire.pass(130_000);
    check_unknown_and_later_ones_run(&mut wire, &id);
}

/// A sender that never shows what it holds delays its commands, once, and by a bounded time.
#[test]
fn a_sender_that_shows_nothing_is_waited_for_once() {
    let mut wire = friends();
    let asked = deploy(&mut wire, "web").unwrap();
    let id: crate::commands::CommandId = asked.id.parse().unwrap();
    let sender = &wire.nodes[0];
    let command = sender.commands.outbox.signed(&id, &sender.core.keypair).unwrap().encode();
    let bytes = sync::message::Message::Command(command).encode();
    // Only one end knows of the link, so nothing else comes over it.
    wire.link(0, 1);
    wire.queue.pop_front();
    let (_, link) = wire.links[&(0, *wire.links.keys().map(|(_, link)| link).min().unwrap())];
    wire.links.clear();
    wire.run();
    wire.queue.push_back((1, Input::Received { link, bytes }));
    wire.run();
    assert_eq!(wire.installs.len(), 0);
    wire.pass(EARLY_WAIT.ms() - 1_000);
    assert_eq!(wire.installs.len(), 0);
    wire.pass(2_000);
    assert_eq!(wire.installs.len(), 1);
}

/// A sender that was in step once since the start has shown that this disk is not an older one: differences that arise later delay
/// nothing.
#[test]
fn a_sender_that_was_in_step_is_not_waited_for_again() {
    let mut wire = friends();
    wire.connect(0, 1);
    wire.pass(3_000);
    deploy(&mut wire, "web").unwrap();
    assert_eq!(wire.installs.len(), 1);
    end(&mut wire, "done");
    wire.cut(0, 1);
    wire.create(1, "log");
    deploy(&mut wire, "db").unwrap();
    wire.connect(0, 1);
    assert_eq!(wire.installs.len(), 2, "before the two are in step");
}
