//! Engines that talk over links which lose, repeat and reorder: they come into step all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::layer::Sequence;

const HEARTBEAT: Millis = Millis::from_secs(1);

/// Engines in a full mesh; a layer is a number, its content is its state.
struct Mesh {
    engines: Vec<Engine>,
    held: Vec<BTreeMap<LayerHash, State>>,
    air: VecDeque<(usize, usize, Carried)>,
    random: Random,
    loss_percent: u64,
    now: Mono,
    supplies: usize,
    /// States that frontiers have named.
    named: usize,
    /// No delta can be read, as between two codecs.
    deltas_fail: bool,
}

enum Carried {
    Message(Message),
    Layer(LayerHash, State),
    Heartbeat(u64),
}

fn peer(n: usize) -> PeerId {
    PeerId([n as u8; 32])
}

fn layer(n: u64) -> LayerHash {
    LayerHash((n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes())
}

impl Mesh {
    fn new(count: usize, loss_percent: u64, seed: u8) -> Self {
        let engine = |i| Engine::new(Frontier::default(), HEARTBEAT, Random::new(&[seed ^ i as u8; 32]));
        let mut mesh = Mesh {
            engines: (0..count).map(engine).collect(),
            held: vec![BTreeMap::new(); count],
            air: VecDeque::new(),
            random: Random::new(&[seed; 32]),
            loss_percent,
            now: Mono::from_ms(0),
            supplies: 0,
            named: 0,
            deltas_fail: false,
        };
        for a in 0..count {
            for b in (0..count).filter(|b| *b != a) {
                let up = Input::PeerUp { peer: peer(b), ours: Frontier::default() };
                mesh.engines[a].handle_input(Mono::from_ms(0), up);
            }
        }
        mesh
    }

    fn write(&mut self, at: usize, n: u64, sequence: u64) {
        self.store(
            at,
            layer(n),
            State { sequence: Sequence::new(sequence).unwrap(), root_prefix: [sequence as u8; 4] },
            None,
        );
    }

    fn store(&mut self, at: usize, layer: LayerHash, state: State, from: Option<PeerId>) {
        if self.held[at].get(&layer).is_some_and(|held| *held >= state) {
            return;
        }
        self.held[at].insert(layer, state);
        let readers: BTreeSet<PeerId> = (0..self.engines.len()).map(peer).collect();
        self.engines[at].handle_input(self.now, Input::Stored { layer, state, readers, from });
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + Millis::from_ms(ms);
        while self.now < end {
            for at in 0..self.engines.len() {
                self.engines[at].handle_input(self.now, Input::Timeout);
            }
            self.drain();
            while !self.air.is_empty() {
                let next = self.random.below(self.air.len().min(4) as u64) as usize;
                let Some((from, to, carried)) = self.air.remove(next) else { break };
                if self.random.below(100) < self.loss_percent {
                    continue;
                }
                self.arrive(from, to, carried);
                self.drain();
            }
            self.now += Millis::from_ms(10);
        }
    }

    fn arrive(&mut self, from: usize, to: usize, carried: Carried) {
        match carried {
            Carried::Layer(layer, state) => self.store(to, layer, state, Some(peer(from))),
            Carried::Message(message) => {
                self.engines[to].handle_input(self.now, Input::Received { peer: peer(from), message });
            }
            Carried::Heartbeat(fingerprint) => {
                let message =
                    Message::Heartbeat { fingerprint, next_by_s: 1, clock: None, heard_s_ago: None };
                self.engines[to].handle_input(self.now, Input::Received { peer: peer(from), message });
            }
        }
    }

    fn drain(&mut self) {
        for at in 0..self.engines.len() {
            while let Some(output) = self.engines[at].poll_output() {
                let (to, carried) = match output {
                    Output::Send { peer, message } => {
                        if let Message::Frontier { states, .. } = &message {
                            self.named += states.len();
                        }
                        (peer, Carried::Message(message))
                    }
                    Output::Heartbeat { peer, fingerprint, .. } => (peer, Carried::Heartbeat(fingerprint)),
                    Output::Supply { held: Some(_), .. } if self.deltas_fail => continue,
                    Output::Supply { peer, layer, .. } => {
                        self.supplies += 1;
                        let state = self.held[at][&layer];
                        (peer, Carried::Layer(layer, state))
                    }
                };
                self.air.push_back((at, usize::from(to.0[0]), carried));
            }
        }
    }

    /// All links end, the machines start again, and the links come back; some states have changed on one side meanwhile.
    fn meet_again(&mut self, change: impl FnOnce(&mut [BTreeMap<LayerHash, State>])) {
        self.air.clear();
        change(&mut self.held);
        let frontier = |held: &BTreeMap<LayerHash, State>| {
            let mut frontier = Frontier::default();
            held.iter().for_each(|(layer, state)| frontier.set(*layer, Some(*state)));
            frontier
        };
        let random = |at: usize| Random::new(&[7 ^ at as u8; 32]);
        self.engines = self
            .held
            .iter()
            .enumerate()
            .map(|(at, held)| Engine::new(frontier(held), HEARTBEAT, random(at)))
            .collect();
        for a in 0..self.held.len() {
            for b in (0..self.held.len()).filter(|b| *b != a) {
                let ours = frontier(&self.held[a]);
                self.engines[a].handle_input(self.now, Input::PeerUp { peer: peer(b), ours });
            }
        }
        (self.named, self.supplies) = (0, 0);
    }

    fn in_step(&self) -> bool {
        self.held.windows(2).all(|pair| pair[0] == pair[1])
    }
}

#[test]
fn engines_come_into_step_whatever_is_lost() {
    for seed in 0..20 {
        let mut mesh = Mesh::new(4, 30, seed);
        for n in 0..60 {
            let at = mesh.random.below(4) as usize;
            mesh.write(at, n % 12, n + 1);
            mesh.run(30);
        }
        mesh.loss_percent = 0;
        mesh.run(20 * HEARTBEAT.ms());
        assert!(mesh.in_step(), "seed {seed}");
    }
}

#[test]
fn a_write_in_a_quiet_mesh_travels_once_to_each() {
    let mut mesh = Mesh::new(5, 0, 1);
    mesh.run(3_000);
    mesh.write(0, 1, 1);
    mesh.run(5_000);
    assert!(mesh.in_step());
    assert_eq!(mesh.supplies, 4, "the author's push alone");
}

#[test]
fn a_difference_is_counted_once_when_a_heartbeat_shows_that_it_has_ended() {
    let mut mesh = Mesh::new(2, 0, 3);
    mesh.run(3_000);
    let count = |mesh: &Mesh| mesh.engines[0].converged().classes().map(|(_, count)| count).sum::<u64>();
    let before = count(&mesh);
    mesh.write(0, 7, 1);
    mesh.run(20_000);
    assert_eq!(count(&mesh), before + 1);
    assert!(mesh.engines[0].converged().sum() <= Millis::from_secs(20));
    mesh.run(20_000);
    assert_eq!(count(&mesh), before + 1, "silence ends no difference");
}

#[test]
fn silence_costs_heartbeats_only() {
    let mut mesh = Mesh::new(2, 0, 2);
    mesh.write(0, 1, 1);
    mesh.run(5_000);
    mesh.drain();
    mesh.air.clear();
    for _ in 0..500 {
        for at in 0..2 {
            mesh.engines[at].handle_input(mesh.now, Input::Timeout);
            while let Some(output) = mesh.engines[at].poll_output() {
                let Output::Heartbeat { peer, fingerprint, .. } = output else { panic!("{output:?}") };
                mesh.air.push_back((at, usize::from(peer.0[0]), Carried::Heartbeat(fingerprint)));
            }
        }
        while let Some((from, to, carried)) = mesh.air.pop_front() {
            mesh.arrive(from, to, carried);
        }
        mesh.now += Millis::from_ms(10);
    }
    assert!(mesh.in_step());
}

#[test]
fn what_does_not_come_as_a_delta_comes_whole() {
    let mut mesh = Mesh::new(3, 0, 4);
    mesh.write(0, 1, 1);
    mesh.run(3_000);
    mesh.deltas_fail = true;
    mesh.write(0, 1, 2);
    mesh.run(40_000);
    assert!(mesh.in_step());
}

#[test]
fn what_a_peer_refuses_is_not_pressed_on_it() {
    let mut mesh = Mesh::new(2, 0, 3);
    mesh.write(0, 1, 1);
    mesh.drain();
    mesh.air.clear();
    let refuse = Input::Refuse {
        peer: peer(0),
        layer: layer(1),
        sequence: Sequence::new(1).unwrap(),
        reason: 2,
        lasting: true,
    };
    mesh.engines[1].handle_input(mesh.now, refuse);
    mesh.run(60_000);
    assert_eq!(mesh.held[1].len(), 0);
    assert!(mesh.supplies <= 2, "{}", mesh.supplies);
}

#[test]
fn refusals_beyond_the_limit_are_said_and_not_remembered() {
    let mut mesh = Mesh::new(2, 0, 5);
    let engine = &mut mesh.engines[1];
    while engine.poll_output().is_some() {}
    for n in 0..REFUSALS_KEPT_MAX as u64 + 10 {
        let refuse = Input::Refuse {
            peer: peer(0),
            layer: layer(n),
            sequence: Sequence::new(1).unwrap(),
            reason: 5,
            lasting: false,
        };
        engine.handle_input(Mono::from_ms(0), refuse);
        let said = std::iter::from_fn(|| engine.poll_output());
        let is_refusal = |o: &Output| matches!(o, Output::Send { message: Message::Refused(_), .. });
        assert!(said.filter(is_refusal).count() == 1);
    }
    assert_eq!(engine.refusing.len(), REFUSALS_KEPT_MAX);
    // Once they have run out there is room for others.
    let refuse = Input::Refuse {
        peer: peer(0),
        layer: layer(9),
        sequence: Sequence::new(2).unwrap(),
        reason: 5,
        lasting: false,
    };
    engine.handle_input(Mono::from_ms(REFUSAL_HOLD.ms() + 1), refuse);
    assert_eq!(engine.refusing.len(), 1);
}

/// Two that meet again and are in step name nothing. Where they differ they name the buckets that do, whichever has something new, and
/// come into step; also where a bucket has too many layers for one message, and where messages are lost.
#[test]
fn two_that_meet_again_name_only_what_differs() {
    let state = |sequence: u64| State { sequence: Sequence::new(sequence).unwrap(), root_prefix: [1; 4] };
    for (seed, layers, loss) in [(0, 1_000, 0), (1, 1_000, 20), (2, 5_000, 0), (3, 10, 20)] {
        // More than a message names fall into one bucket.
        let layer = |n: u64| match layers > FRONTIER_ENTRIES_MAX as u64 {
            true => LayerHash(n.to_be_bytes()),
            false => layer(n),
        };
        let mut mesh = Mesh::new(2, loss, seed);
        mesh.meet_again(|held| {
            for held in held.iter_mut() {
                held.extend((0..layers).map(|n| (layer(n), state(1))));
            }
        });
        mesh.run(3_000);
        assert!(mesh.in_step());
        assert_eq!((mesh.named, mesh.supplies), (0, 0), "{layers} layers");
        assert!(
            mesh.engines
                .iter()
                .all(|engine| engine.frontier_of(&peer(0)).or(engine.frontier_of(&peer(1))).is_some())
        );
        // One has newer states of some, the other lacks some and has one that the first never had.
        mesh.meet_again(|held| {
            for n in 0..3 {
                held[0].insert(layer(n), state(2));
                held[1].remove(&layer(n + 3));
            }
            held[1].insert(layer(layers), state(1));
        });
        mesh.run(20_000);
        assert!(mesh.in_step(), "{layers} layers, {loss} % lost");
        assert_eq!(mesh.held[0].len() as u64, layers + 1);
        if loss == 0 {
            assert!(mesh.named as u64 <= 2 * layers, "{} states named for {layers} layers", mesh.named);
            assert!(mesh.supplies <= 10, "{}", mesh.supplies);
        }
    }
}

/// Until two have met neither pushes anything, so neither waits for a push. Where several meet at once, each layer still comes to each once.
#[test]
fn who_meets_a_peer_asks_it_at_once() {
    for count in [2, 4] {
        let mut mesh = Mesh::new(count, 0, 6);
        let state = State { sequence: Sequence::new(1).unwrap(), root_prefix: [1; 4] };
        mesh.meet_again(|held| held[0].extend((0..10).map(|n| (layer(n), state))));
        mesh.run(WANT_DELAY.ms() / 2);
        assert!(mesh.in_step(), "{count} nodes");
        assert_eq!(mesh.supplies, 10 * (count - 1), "{count} nodes");
    }
}

/// What is written between the first question and its answer changes nothing of what the answer is about.
#[test]
fn a_write_between_question_and_answer_leaves_the_answer_right() {
    let state = |sequence: u64| State { sequence: Sequence::new(sequence).unwrap(), root_prefix: [1; 4] };
    let mut both = Frontier::default();
    both.set(layer(1), Some(state(1)));
    let mut engine = Engine::new(both.clone(), HEARTBEAT, Random::new(&[1; 32]));
    let now = Mono::from_ms(1);
    engine.handle_input(now, Input::PeerUp { peer: peer(1), ours: both.clone() });
    let heartbeat = |fingerprint| {
        let message = Message::Heartbeat { fingerprint, next_by_s: 1, clock: None, heard_s_ago: None };
        Input::Received { peer: peer(1), message }
    };
    engine.handle_input(now, heartbeat(7));
    assert!(engine.frontier_of(&peer(1)).is_none());
    let readers = BTreeSet::from([peer(1)]);
    engine.handle_input(now, Input::Stored { layer: layer(2), state: state(1), readers, from: None });
    engine.handle_input(now, heartbeat(both.fingerprint()));
    assert_eq!(engine.frontier_of(&peer(1)), Some(&both));
}
