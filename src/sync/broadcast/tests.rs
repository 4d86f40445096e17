//! A handful of engines on one lossy channel, a frame at a time: they come into step, at a price that is counted.

use super::heartbeats::TRAILING_FRAMES;
use super::*;
use crate::layer::Sequence;
use crate::sync::broadcast::message::{FrontierEntry, FrontierMessage};
use proptest::prelude::*;
use std::collections::BTreeSet;

const FRAME_MS: u64 = 100;
const TIMING: Timing = Timing { frame: Millis::from_ms(FRAME_MS), heartbeat: Millis::from_secs(600) };

struct Station {
    me: PeerId,
    engine: BroadcastEngine,
    layers: BTreeMap<(PeerId, LayerHash), Vec<State>>,
    cut_off: bool,
    /// What it reports as its base is another state of that sequence and content: no delta fits.
    takes_no_delta: bool,
}

struct World {
    now: Mono,
    stations: Vec<Station>,
    random: Random,
    loss_permille: u64,
    sent: BTreeMap<&'static str, usize>,
}

fn peer(number: usize) -> PeerId {
    PeerId([number as u8 + 1; 32])
}

fn alias(owner: &PeerId) -> [u8; 2] {
    [owner.0[0], 0xa1]
}

fn layer(number: u8) -> LayerHash {
    LayerHash([number, number, 0, 0, 0, 0, 0, 0])
}

fn state(sequence: u64) -> State {
    let sequence_of = Sequence::new(sequence).unwrap();
    State { sequence: sequence_of, root_prefix: [(sequence * 37) as u8, (sequence >> 8) as u8, 1, 2] }
}

impl World {
    /// `count` nodes, all peers of each other, each with one state of `layers` layers that all hold.
    fn in_step(count: usize, layers: u8, loss_permille: u64, seed: u8) -> Self {
        let random = Random::new(&[seed; 32]);
        let mut world = World {
            now: Mono::from_ms(1_000),
            stations: Vec::new(),
            random,
            loss_permille,
            sent: BTreeMap::new(),
        };
        for number in 0..count {
            let me = peer(number);
            let engine = BroadcastEngine::new(me, TIMING, world.now, Random::new(&world.random.bytes()));
            let mut station =
                Station { me, engine, layers: BTreeMap::new(), cut_off: false, takes_no_delta: false };
            for owner in 0..count {
                let mine: BTreeMap<_, _> = (0..layers)
                    .map(|n| (layer(n), LayerOffer { state: state(1), bases: Vec::new(), rank: 3 }))
                    .collect();
                station.layers.extend(mine.keys().map(|n| ((peer(owner), *n), vec![state(1)])));
                let members = (0..count).filter(|n| *n != number).map(peer).collect();
                let owner = peer(owner);
                let input = Input::Channel {
                    owner,
                    aliases: vec![alias(&owner)],
                    ours: mine,
                    members,
                    observes: false,
                    readers: count,
                };
                station.engine.handle_input(world.now, input);
            }
            world.stations.push(station);
        }
        world
    }

    fn write(&mut self, station: usize, number: u8) {
        let now = self.now;
        let Station { me, engine, layers, .. } = &mut self.stations[station];
        let states = layers.entry((*me, layer(number))).or_default();
        let next = state(states.last().map_or(0, |s| s.sequence.get()) + 1);
        states.push(next);
        let bases = states[..states.len() - 1].to_vec();
        let (owner, layer) = (*me, layer(number));
        let stored = Input::Stored {
            owner,
            layer,
            state: next,
            bases,
            rank: 3,
            from: None,
            ours: true,
            is_routine: false,
        };
        engine.handle_input(now, stored);
    }

    /// Lets every station take the due it has, one frame at a time, for a while.
    fn run(&mut self, ms: u64) {
        let end = self.now + Millis::from_ms(ms);
        while self.now < end {
            let due = self.stations.iter().filter_map(|s| s.engine.poll_timeout(self.now)).min();
            self.now = (self.now + TIMING.frame).max(due.unwrap_or(end).min(end));
            let first = self.random.below(self.stations.len() as u64) as usize;
            for n in 0..self.stations.len() {
                let n = (first + n) % self.stations.len();
                if let Some(transmission) = self.stations[n].engine.transmissions(self.now).into_iter().next()
                {
                    self.stations[n].engine.done(self.now, &transmission);
                    self.broadcast(n, &transmission);
                    break;
                }
            }
        }
    }

    fn broadcast(&mut self, from: usize, transmission: &Transmission) {
        let kind = match transmission {
            Transmission::Heartbeat(_) => "heartbeat",
            Transmission::Frontier { .. } => "frontier",
            Transmission::Supply { base: Some(_), .. } => "delta",
            Transmission::Supply { .. } => "whole",
            Transmission::Intermediate { .. } => "step",
        };
        if self.stations[from].cut_off {
            return;
        }
        *self.sent.entry(kind).or_default() += 1;
        let sender = self.stations[from].me;
        for n in (0..self.stations.len()).filter(|n| *n != from) {
            if self.stations[n].cut_off || self.random.below(1000) < self.loss_permille {
                continue;
            }
            let supplied = match transmission {
                Transmission::Supply { owner, layer, .. } => {
                    self.stations[from].layers[&(*owner, *layer)].last().copied()
                }
                _ => None,
            };
            self.stations[n].hear(self.now, sender, transmission, supplied);
        }
    }

    fn converged(&self) -> bool {
        let newest = |station: &Station| -> Vec<Option<State>> {
            station.layers.values().map(|states| states.last().copied()).collect()
        };
        self.stations.iter().all(|station| newest(station) == newest(&self.stations[0]))
    }

    fn frames(&self) -> usize {
        self.sent.values().sum()
    }
}

impl Station {
    fn hear(&mut self, now: Mono, from: PeerId, transmission: &Transmission, supplied: Option<State>) {
        self.engine.handle_input(now, Input::Present { peer: from });
        let input = match transmission {
            Transmission::Heartbeat(heartbeat) => {
                let heartbeat = Heartbeat::decode(&heartbeat.encode()).unwrap();
                Input::Heartbeat { from, heartbeat }
            }
            Transmission::Frontier { owner, frontier, .. } => {
                let frontier = FrontierMessage::decode(&frontier.encode()).unwrap();
                Input::Frontier { owner: *owner, from, frontier }
            }
            Transmission::Intermediate { .. } => return,
            Transmission::Supply { owner, layer, base, .. } => {
                let states = self.layers.entry((*owner, *layer)).or_default();
                let state = supplied.unwrap();
                if states.last().is_some_and(|newest| *newest >= state) {
                    self.engine
                        .handle_input(now, Input::Overheard { owner: *owner, from, layer: *layer, state });
                    return;
                }
                if base.is_some_and(|base| self.takes_no_delta || !states.contains(&base)) {
                    return self.engine.handle_input(now, Input::BaseMissing { owner: *owner });
                }
                states.push(state);
                let from = Some(from);
                let bases = states[..states.len() - 1].to_vec();
                Input::Stored {
                    owner: *owner,
                    layer: *layer,
                    state,
                    bases,
                    rank: 3,
                    from,
                    ours: false,
                    is_routine: false,
                }
            }
        };
        self.engine.handle_input(now, input);
    }
}

#[test]
fn in_step_there_are_heartbeats_and_nothing_else() {
    let mut world = World::in_step(4, 2, 0, 1);
    world.run(60_000);
    assert_eq!(world.sent.keys().copied().collect::<Vec<_>>(), ["heartbeat"], "{:?}", world.sent);
    let before = world.frames();
    world.run(6 * TIMING.heartbeat.ms());
    let per_node = (world.frames() - before) / 4;
    assert!((4..=6).contains(&per_node), "{per_node} heartbeats each in six periods");
}

/// Another link between two of them delivers what the first has written.
fn write_and_deliver(world: &mut World, from: usize, to: usize) {
    world.write(from, 0);
    let (now, owner, layer) = (world.now, peer(from), layer(0));
    let states = world.stations[from].layers[&(owner, layer)].clone();
    let (state, bases) = (*states.last().unwrap(), states[..states.len() - 1].to_vec());
    let receiver = &mut world.stations[to];
    receiver.layers.insert((owner, layer), states);
    let stored =
        Input::Stored { owner, layer, state, bases, rank: 3, from: None, ours: false, is_routine: false };
    receiver.engine.handle_input(now, stored);
    for (at, peer) in [(to, peer(from)), (from, peer(to))] {
        let delivered = Input::DeliveredElsewhere { owner, peer, layer, state };
        world.stations[at].engine.handle_input(now, delivered);
    }
}

/// Without another link each of these writes is followed by heartbeats.
#[test]
fn news_that_another_link_delivers_cost_no_frames() {
    let mut world = World::in_step(2, 2, 0, 11);
    world.run(60_000);
    write_and_deliver(&mut world, 0, 1);
    write_and_deliver(&mut world, 1, 0);
    world.run(2 * TIMING.heartbeat.ms());
    let before = world.frames();
    for n in 0..20 {
        write_and_deliver(&mut world, n % 2, (n + 1) % 2);
        world.run(15_000);
    }
    assert!(world.frames() - before <= 2, "{:?}", world.sent);
}

/// What a listener reports while its link is lost is asked about when the link was waited for in vain, and not at all if it is back.
#[test]
fn what_a_lost_link_may_still_bring_is_not_asked_for_on_air() {
    let mut world = World::in_step(2, 2, 0, 12);
    world.run(60_000);
    write_and_deliver(&mut world, 0, 1);
    write_and_deliver(&mut world, 1, 0);
    world.run(2 * TIMING.heartbeat.ms());
    let greet_at = world.now + Millis::from_secs(30);
    for at in 0..2 {
        let gone = Input::LinkGone { peer: peer(1 - at), greet_at };
        world.stations[at].engine.handle_input(world.now, gone);
    }
    world.write(1, 0);
    let heartbeat = world.stations[1].engine.heartbeat(world.now);
    let engine = &mut world.stations[0].engine;
    engine.handle_input(world.now, Input::Heartbeat { from: peer(1), heartbeat });
    let asks_at = |engine: &BroadcastEngine| engine.channels[&peer(1)].frontier_at();
    assert!(asks_at(engine).is_some_and(|at| at >= greet_at), "{:?}", asks_at(engine));
    engine.handle_input(world.now, Input::LinkBack { peer: peer(1) });
    assert_eq!(asks_at(engine), None);
}

/// A relay shows the state that all on air know until it has sent the one that it got over another link.
#[test]
fn a_state_that_is_not_on_air_yet_is_not_announced() {
    let mut world = World::in_step(3, 1, 0, 13);
    world.stations[2].cut_off = true;
    world.run(60_000);
    let (now, owner) = (world.now, peer(2));
    let of_owner = |engine: &BroadcastEngine| {
        let others = engine.heartbeat(now).others;
        others.into_iter().find(|(name, _)| *name == alias(&owner)).unwrap()
    };
    let engine = &mut world.stations[0].engine;
    let before = of_owner(engine);
    let (layer, state, bases) = (layer(0), state(2), vec![state(1)]);
    let stored = Input::Stored {
        owner,
        layer,
        state,
        bases,
        rank: STATE_RANK,
        from: None,
        ours: false,
        is_routine: false,
    };
    engine.handle_input(now, stored);
    assert_eq!(of_owner(engine), before, "nobody has been sent it");
    let supply = Transmission::Supply { owner, layer, base: None, targets: vec![peer(1)], rank: STATE_RANK };
    engine.done(now, &supply);
    assert_ne!(of_owner(engine), before);
}

/// Two owners whose frames have one alias by chance: what a heartbeat reports of both is taken for each, so that a listener that is
/// behind is seen, and one in step asks nothing.
#[test]
fn two_owners_with_one_alias_are_distinguished_by_what_fits() {
    let now = Mono::from_ms(1_000);
    let (me, listener, others) = (peer(1), peer(0), [peer(2), peer(3)]);
    let mut engine = BroadcastEngine::new(me, TIMING, now, Random::new(&[9; 32]));
    for (n, owner) in others.into_iter().enumerate() {
        let offer = LayerOffer { state: state(1 + n as u64), bases: Vec::new(), rank: 3 };
        let ours = BTreeMap::from([(layer(1), offer)]);
        let (aliases, members) = (vec![[7, 7]], vec![listener, owner]);
        engine
            .handle_input(now, Input::Channel { owner, aliases, ours, members, readers: 3, observes: false });
    }
    let quarter = |engine: &BroadcastEngine, owner| {
        (engine.channels.get(&owner).unwrap().ours().fingerprint() >> 48) as u16
    };
    let [a, b] = others.map(|owner| quarter(&engine, owner));
    let hear = |engine: &mut BroadcastEngine, others: Vec<([u8; 2], u16)>| {
        let heartbeat = Heartbeat { next_by_s: 900, fingerprint: 0, others };
        engine.handle_input(now, Input::Heartbeat { from: listener, heartbeat });
    };
    let asks = |engine: &BroadcastEngine| others.map(|owner| engine.channels[&owner].frontier_at().is_some());
    hear(&mut engine, vec![([7, 7], b), ([7, 7], a)]);
    assert_eq!(asks(&engine), [false, false]);
    hear(&mut engine, vec![([7, 7], a), ([7, 7], b ^ 1)]);
    assert_eq!(asks(&engine), [false, true]);
}

/// The status of a listener: what it lacks, from the time of sending until the listener confirms that it holds it.
#[test]
fn a_listener_is_in_step_when_it_has_said_so_itself() {
    let mut world = World::in_step(3, 2, 0, 9);
    assert_eq!(
        world.stations[0].engine.sync_status(world.now, &peer(1), Millis::ZERO),
        SyncStatus::Unknown { since: None }
    );
    world.run(60_000);
    let in_step = SyncStatus::Known(Lag::default());
    assert_eq!(world.stations[0].engine.sync_status(world.now, &peer(1), Millis::ZERO), in_step);
    world.write(0, 0);
    let lag = |world: &World| match world.stations[0].engine.sync_status(world.now, &peer(1), Millis::ZERO) {
        SyncStatus::Known(Lag { we_lack, they_lack, unacknowledged, .. }) => {
            (we_lack, they_lack, unacknowledged)
        }
        SyncStatus::Unknown { .. } => panic!("it has reported what it holds"),
    };
    assert_eq!(lag(&world), (0, 1, 0));
    let written = world.now;
    let proved = |world: &World| world.stations[0].engine.acknowledged_at(&peer(1));
    world.run(TRAILING_FRAMES * FRAME_MS - FRAME_MS);
    assert!(world.converged());
    assert_eq!(lag(&world), (0, 0, 1), "sent, and not acknowledged yet");
    assert!(proved(&world).is_none_or(|at| at < written), "it has not shown that it received this");
    let since: Vec<_> = world.stations[0]
        .engine
        .layer_lags(world.now, &peer(1), Millis::ZERO)
        .iter()
        .map(|lag| lag.since)
        .collect();
    assert_eq!(since, [Some(written)], "it is behind since the write");
    world.run(2 * TIMING.heartbeat.ms());
    assert_eq!(lag(&world), (0, 0, 0));
    let settled = written + TIMING.frame * TRAILING_FRAMES;
    assert!(
        proved(&world).is_some_and(|at| (written..settled).contains(&at)),
        "it received what was sent then"
    );
}

/// A listener whose fingerprint matches no state of ours, present or past: until it sends more, no number is made up.
#[test]
fn of_a_listener_that_holds_something_else_nothing_is_claimed() {
    let mut world = World::in_step(2, 2, 0, 10);
    world.run(60_000);
    // It wrote, and only its heartbeat was heard.
    world.stations[1].cut_off = true;
    world.write(1, 0);
    world.run(60_000);
    let (now, next_by_s) = (world.now, 900);
    let fingerprint = match &world.stations[1].engine.heartbeat(world.now) {
        heartbeat if heartbeat.fingerprint != world.stations[0].engine.heartbeat(world.now).fingerprint => {
            heartbeat.clone()
        }
        other => panic!("{other:?} reports nothing new"),
    };
    let heartbeat = Heartbeat { next_by_s, others: Vec::new(), ..fingerprint };
    let engine = &mut world.stations[0].engine;
    engine.handle_input(now, Input::Heartbeat { from: peer(1), heartbeat });
    let step = engine.sync_status(now, &peer(1), Millis::ZERO);
    assert!(matches!(step, SyncStatus::Unknown { since: Some(at) } if at < now), "{step:?}");
    // A frontier with a layer that we have never seen is a layer that we lack.
    let unseen = FrontierEntry::short(&layer(9), state(4));
    let held = [0, 1].map(|n| FrontierEntry::short(&layer(n), state(1)));
    let told = FrontierMessage { complete: true, entries: held.into_iter().chain([unseen]).collect() };
    engine.handle_input(now, Input::Frontier { owner: peer(1), from: peer(1), frontier: told });
    assert_eq!(
        engine.sync_status(now, &peer(1), Millis::ZERO),
        SyncStatus::Known(Lag { we_lack: 1, ..Lag::default() })
    );
}

#[test]
fn a_commit_among_listeners_costs_one_delta() {
    for listeners in [1, 8] {
        let mut world = World::in_step(1 + listeners, 2, 0, 2);
        world.run(60_000);
        world.sent.clear();
        world.write(0, 0);
        world.run(TRAILING_FRAMES * FRAME_MS - FRAME_MS);
        assert!(world.converged());
        assert_eq!(world.sent, BTreeMap::from([("delta", 1)]), "{listeners} listeners");
    }
}

#[test]
fn who_was_away_gets_one_delta_for_all_it_missed() {
    for listeners in [1, 8] {
        let mut world = World::in_step(1 + listeners, 2, 0, 3);
        world.run(60_000);
        world.stations[0].cut_off = true;
        for _ in 0..10 {
            world.write(0, 1);
            world.run(60_000);
        }
        world.run(100_000_000);
        world.stations[0].cut_off = false;
        world.sent.clear();
        while !world.converged() {
            world.run(FRAME_MS);
        }
        assert_eq!(world.sent.get("delta"), Some(&1), "{listeners} listeners: {:?}", world.sent);
        assert!(
            world.sent.get("frontier").is_none_or(|n| *n <= 2),
            "{listeners} listeners: {:?}",
            world.sent
        );
        assert_eq!(world.sent.get("whole"), None);
    }
}

#[test]
fn a_stranger_to_the_documents_gets_them_whole_and_once() {
    let mut world = World::in_step(3, 2, 0, 4);
    world.stations[2].layers.values_mut().for_each(Vec::clear);
    for owner in 0..3 {
        let members = (0..2).map(peer).collect();
        let ours = BTreeMap::new();
        let input = Input::Channel {
            owner: peer(owner),
            aliases: vec![alias(&peer(owner))],
            ours,
            members,
            observes: false,
            readers: 2,
        };
        world.stations[2].engine.handle_input(world.now, input);
    }
    for n in 0..2 {
        world.stations[2].layers.remove(&(peer(2), layer(n)));
        (0..2).for_each(|s| drop(world.stations[s].layers.remove(&(peer(2), layer(n)))));
        let input = Input::ChannelGone { owner: peer(2) };
        (0..3).for_each(|s| {
            world.stations[s].engine.handle_input(world.now, Input::ChannelGone { owner: peer(2) })
        });
        drop(input);
    }
    world.run(600_000);
    assert!(world.converged(), "{:?}", world.sent);
    assert_eq!(world.sent.get("whole"), Some(&4), "{:?}", world.sent);
}

/// An author whose disk was restored has signed a state once more: its listeners hold another of the same sequence and content, and no
/// delta from it fits there. After some of them the layer goes whole.
#[test]
fn who_makes_nothing_of_deltas_is_sent_the_layer_whole() {
    for loss_permille in [0, 300] {
        let mut world = World::in_step(3, 2, loss_permille, 5);
        world.run(TIMING.heartbeat.ms());
        world.stations[1].takes_no_delta = true;
        world.write(0, 0);
        world.run(24 * TIMING.heartbeat.ms());
        assert!(world.converged(), "{:?}", world.sent);
        assert!((1..=3).contains(&world.sent["whole"]) && world.sent["delta"] <= 24, "{:?}", world.sent);
    }
}

#[test]
fn who_has_left_is_sent_nothing() {
    let mut world = World::in_step(2, 1, 0, 5);
    world.run(60_000);
    world.stations[1].cut_off = true;
    world.run(10 * TIMING.heartbeat.ms());
    world.sent.clear();
    for _ in 0..5 {
        world.write(0, 0);
        world.run(60_000);
    }
    assert_eq!(world.sent.get("delta"), None, "{:?}", world.sent);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_loss_up_to_a_half_ends_in_step(
        seed in any::<u8>(), count in 2usize..6, loss in 0u64..500,
        writes in proptest::collection::vec((0usize..6, 0u8..3, 0u64..900_000), 1..30),
    ) {
        let mut world = World::in_step(count, 3, loss, seed);
        for (station, number, pause) in writes {
            world.write(station % count, number);
            world.run(pause);
        }
        let mut periods = 0;
        while !world.converged() {
            world.run(TIMING.heartbeat.ms());
            periods += 1;
            prop_assert!(periods < 60, "not in step after {periods} periods: {:?}", world.sent);
        }
        let held: BTreeSet<usize> = world.stations.iter().map(|s| s.layers.len()).collect();
        prop_assert_eq!(held.len(), 1);
    }
}

/// Twelve bits of a layer hash may be those of another layer: once a node has named that one, ours are named in full.
#[test]
fn whoever_holds_one_of_two_layers_of_one_short_name_names_it_in_full_once_it_knows() {
    let (held, other) =
        (LayerHash([0xe8, 0x55, 0, 0, 0, 0, 0, 0]), LayerHash([0xe8, 0x5d, 0, 0, 0, 0, 0, 0]));
    let (me, owner) = (peer(0), peer(1));
    let mut engine = BroadcastEngine::new(me, TIMING, Mono::from_ms(0), Random::new(&[7; 32]));
    let ours = BTreeMap::from([(held, LayerOffer { state: state(1), bases: Vec::new(), rank: 3 })]);
    let (aliases, members) = (vec![alias(&owner)], vec![owner]);
    let channel = Input::Channel { owner, aliases, ours, members, observes: true, readers: 2 };
    engine.handle_input(Mono::from_ms(0), channel);
    let all = [held, other].map(|layer| FrontierEntry::Long { layer, state: state(1) });
    let told = FrontierMessage { complete: true, entries: all.to_vec() };
    engine.handle_input(Mono::from_ms(1_000), Input::Frontier { owner, from: owner, frontier: told });
    engine.handle_input(Mono::from_ms(2_000), Input::BaseMissing { owner });
    let due = engine.transmissions(Mono::from_ms(600_000));
    let said = due.iter().find_map(|transmission| match transmission {
        Transmission::Frontier { frontier, .. } => Some(frontier.entries.clone()),
        _ => None,
    });
    assert_eq!(said, Some(vec![FrontierEntry::Long { layer: held, state: state(1) }]));
}
