//! Invites on a network that loses things.

use crate::world::{HOUR, MINUTE, World};
use tombolo::federation::TrustLevel;
use tombolo::node::{Admin, Query, Reply};
use tombolo::time::Millis;
use tombolo_sim::Seat;
use tombolo_sim::faults::Rates;

fn code(world: &mut World, inviter: usize) -> String {
    let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in: HOUR, addresses: Vec::new() };
    match world.simulation.ask(Seat(inviter), invite).unwrap() {
        Reply::Invite(view) => view.code,
        other => panic!("an invite brought {other:?}"),
    }
}

fn peers(world: &mut World, who: usize) -> usize {
    match world.simulation.ask(Seat(who), Query::Peers).unwrap() {
        Reply::Peers(peers) => peers.len(),
        other => panic!("peers brought {other:?}"),
    }
}

/// However many requests and answers are lost, both sides agree in the end, and on one record each.
#[test]
fn a_join_survives_lost_requests_and_answers() {
    for seed in 0..50 {
        let mut world = World::new(seed, 2);
        world.simulation.rates = Rates { loss: 500, ..Rates::CLEAN };
        world.join(0, 1, TrustLevel::Trusted);
        assert_eq!((peers(&mut world, 0), peers(&mut world, 1)), (1, 1));
    }
}

/// The inviter loses power right after it burnt the token: the joiner's next try gets the answer.
#[test]
fn a_join_survives_a_crash_of_the_inviter_and_of_the_joiner() {
    for (seed, victim) in [(51, 0), (52, 1)] {
        for step_ms in [1, 3, 5, 8, 12, 500] {
            let mut world = World::new(seed, 2);
            let code = code(&mut world, 0);
            world.simulation.begin(Seat(1), Admin::Join { code, addresses: Vec::new() });
            world.simulation.run_for(Millis::from_ms(step_ms));
            world.simulation.crash(Seat(victim));
            world.simulation.run_for(Millis::from_ms(1_000));
            world.simulation.restart(Seat(victim));
            world.simulation.run_for(10 * MINUTE);
            assert_eq!((peers(&mut world, 0), peers(&mut world, 1)), (1, 1), "crash after {step_ms} ms");
            assert!(world.simulation.is_linked(Seat(0), Seat(1)), "crash after {step_ms} ms");
        }
    }
}

/// Two who redeem one code at once: one gets in.
#[test]
fn a_code_works_once() {
    let mut world = World::new(53, 3);
    let code = code(&mut world, 0);
    for joiner in [1, 2] {
        world.simulation.begin(Seat(joiner), Admin::Join { code: code.clone(), addresses: Vec::new() });
    }
    world.simulation.run_for(10 * MINUTE);
    assert_eq!(peers(&mut world, 0), 1);
}
