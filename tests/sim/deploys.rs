//! Deploys on a network that loses, repeats and overtakes, between machines that lose power.

use std::collections::BTreeMap;

use crate::world::{HOUR, MINUTE, World};
use tombolo::commands::{Catalogue, CatalogueState};
use tombolo::federation::TrustLevel;
use tombolo::io::view::DeployView;
use tombolo::node::{Admin, NodeSettings, Query, Reply};
use tombolo::time::Millis;
use tombolo_sim::faults::Rates;
use tombolo_sim::rng::Rng;
use tombolo_sim::{Seat, Simulation};

const SENDER: Seat = Seat(0);
const RECEIVER: Seat = Seat(1);

/// A sender and a receiver that may install four apps.
fn world(seed: u64) -> World {
    println!("seed {seed}");
    let mut simulation = Simulation::new(seed, Rates::CLEAN);
    let apps: String = (0..4).map(|n| format!("[[app]]\nid = \"a{n}\"\n")).collect();
    simulation.add(NodeSettings { name: "sender".into(), ..NodeSettings::default() });
    simulation.add(NodeSettings {
        name: "receiver".into(),
        deploys: true,
        catalogue: CatalogueState::Read(Catalogue::parse(&apps).unwrap()),
        ..NodeSettings::default()
    });
    let mut world = World { simulation };
    world.join(0, 1, TrustLevel::Trusted);
    world
}

fn deploy(world: &mut World, app: u64) -> String {
    let order = Admin::Deploy {
        peer: "receiver".into(),
        app: format!("a{app}"),
        version: "1".into(),
        marketplace_url: None,
        expires_in: 24 * HOUR,
    };
    match world.simulation.ask(SENDER, order).unwrap() {
        Reply::Deploy(view) => view.id,
        other => panic!("a deploy brought {other:?}"),
    }
}

fn deploys(world: &mut World, at: Seat) -> BTreeMap<String, DeployView> {
    match world.simulation.ask(at, Query::Deploys { id: None }).unwrap() {
        Reply::Deploys(list) => list.into_iter().map(|view| (view.id.clone(), view)).collect(),
        other => panic!("deploys brought {other:?}"),
    }
}

/// How often each command was begun at the receiver.
fn runs(world: &World) -> BTreeMap<String, usize> {
    let mut runs = BTreeMap::new();
    for (key, _) in world.simulation.installs(RECEIVER) {
        *runs.entry(key.id.to_string()).or_default() += 1;
    }
    runs
}

/// Drawn faults, but for damage: a session between two nodes lets no damaged message through.
fn rates(rng: &mut Rng) -> Rates {
    Rates { corruption: 0, ..Rates::draw(rng) }
}

/// Any loss, repetition and order: each command runs exactly once, and both ends know.
#[test]
fn on_a_bad_network_each_command_runs_exactly_once() {
    for seed in 0..30 {
        let mut world = world(100 + seed);
        let mut rng = Rng::new(seed);
        world.simulation.rates = rates(&mut rng);
        let mut ids = Vec::new();
        for n in 0..8 {
            ids.push(deploy(&mut world, n % 4));
            world.simulation.run_for(rng.length(Millis::ZERO, MINUTE));
        }
        world.simulation.run_for(3 * HOUR);
        let (sent, received, runs) =
            (deploys(&mut world, SENDER), deploys(&mut world, RECEIVER), runs(&world));
        for id in &ids {
            assert_eq!(runs.get(id), Some(&1), "seed {seed}: {:?}", sent.get(id));
            assert_eq!((sent[id].status, received[id].status), ("installed", "installed"), "seed {seed}");
        }
        world.no_wrongs();
    }
}

/// Both lose power again and again: no command runs twice, and both ends agree on what became of each.
#[test]
fn power_cuts_never_run_a_command_twice() {
    let mut unknown = 0;
    for seed in 0..30 {
        let mut world = world(200 + seed);
        let mut rng = Rng::new(seed);
        world.simulation.rates = rates(&mut rng);
        let mut ids = Vec::new();
        for n in 0..10 {
            ids.push(deploy(&mut world, n % 4));
            world.simulation.run_for(rng.length(Millis::ZERO, Millis::from_secs(20)));
            let victim = if rng.between(0, 2) == 0 { SENDER } else { RECEIVER };
            world.simulation.crash(victim);
            world.simulation.run_for(rng.length(Millis::ZERO, Millis::from_secs(20)));
            world.simulation.restart(victim);
        }
        world.simulation.rates = Rates::CLEAN;
        world.simulation.run_for(3 * HOUR);
        let (sent, received, runs) =
            (deploys(&mut world, SENDER), deploys(&mut world, RECEIVER), runs(&world));
        for id in &ids {
            assert_eq!(runs.get(id), Some(&1), "seed {seed}: {:?}", sent.get(id));
            assert_eq!(sent[id].status, received[id].status, "seed {seed}");
            assert!(matches!(sent[id].status, "installed" | "unknown"), "seed {seed}: {:?}", sent[id]);
            unknown += usize::from(sent[id].status == "unknown");
        }
        world.no_wrongs();
    }
    assert!(unknown > 0, "no cut fell into an install");
}

/// What one end sends and the other never gets expires at both, and is never run.
#[test]
fn a_command_that_arrives_too_late_is_not_run() {
    let mut world = world(300);
    world.simulation.crash(RECEIVER);
    let id = deploy(&mut world, 0);
    world.simulation.run_for(25 * HOUR);
    world.simulation.restart(RECEIVER);
    world.simulation.run_for(HOUR);
    assert_eq!(deploys(&mut world, SENDER)[&id].status, "expired");
    assert!(runs(&world).is_empty());
    world.no_wrongs();
}
