//! First meetings: what a node sends before the other has asked for anything.

use super::*;
use crate::io::NodeState;

/// Delivers what is on its way, in an order that the randomness chooses; each link keeps its own order.
fn deliver_some(wire: &mut Wire, random: &mut Random, most: u64) {
    for _ in 0..random.below(most) {
        let mut first_of: BTreeMap<Option<(usize, u64)>, usize> = BTreeMap::new();
        for (place, (at, input)) in wire.queue.iter().enumerate() {
            let link = match input {
                Input::Received { link, .. } => Some((*at, link.0)),
                _ => None,
            };
            first_of.entry(link).or_insert(place);
        }
        let places: Vec<usize> = first_of.into_values().collect();
        if places.is_empty() {
            return;
        }
        let place = places[random.below(places.len() as u64) as usize];
        let (at, input) = wire.queue.remove(place).expect("a place in the queue");
        let now = wire.now();
        wire.nodes[at].handle_input(now, input);
        while let Some(output) = wire.nodes[at].poll_output() {
            wire.output(at, output);
        }
    }
}

fn later(wire: &mut Wire, ms: u64) {
    wire.mono += Millis::from_ms(ms);
    for node in 0..wire.nodes.len() {
        wire.queue.push_back((node, Input::Timeout));
    }
}

/// A layer never comes before the audience under which it was signed, whatever either side writes while the two meet and have
/// not asked each other for anything yet: its refusal would leave a line in `status` that worries a person for nothing.
#[test]
fn what_is_written_while_two_meet_follows_the_audience() {
    for seed in 0..200u8 {
        let mut random = Random::new(&[seed; 32]);
        let mut wire = Wire::new(2);
        wire.join(0, 1, TrustLevel::Trusted);
        wire.link(0, 1);
        for step in 0..12 {
            let at = random.below(2) as usize;
            let write: Write = match random.below(3) {
                0 => Write::publish(NodeState::default()),
                1 => Write::Create { name: format!("d{step}"), kind: Kind::Map },
                _ => Write::publish(NodeState { uptime_secs: Some(step), ..NodeState::default() }),
            };
            wire.next += 1;
            let request = RequestId(wire.next);
            wire.queue.push_back((at, Input::Command { request, command: write.into() }));
            deliver_some(&mut wire, &mut random, 12);
            let ms = random.below(30);
            later(&mut wire, ms);
        }
        wire.pass(3_000);
        for node in [0, 1] {
            assert_eq!(wire.status(node).rejections, BTreeMap::new(), "seed {seed}, node {node}");
        }
        assert_eq!(wire.hashes(0), wire.hashes(1), "seed {seed}");
    }
}
