//! Node states in which only figures are new: how often they are on air, and from which base they start.

use super::*;

const WHOLE: u8 = 6;

/// Lets so many minutes pass in which each node publishes; returns how many frames with content were sent, and how many with whole layers.
fn live(field: &mut Field, nodes: usize, minutes: u64) -> (usize, usize) {
    let from = field.now();
    for _ in 0..minutes {
        let minute = field.now().since(Mono::ZERO) / MINUTE;
        (0..nodes).for_each(|at| publish(field, at, minute));
        field.run(MINUTE);
    }
    let sent: Vec<u8> = since(field, from).filter(|on_air| carries(on_air)).map(kind).collect();
    (sent.len(), sent.iter().filter(|kind| **kind == WHOLE).count())
}

/// Without an order of links each second of the states that come every minute is on air; with one, each.
#[test]
fn routine_states_spare_the_air_where_no_order_of_links_is_set() {
    let mut field = sf7(310);
    friends(&mut field, 3);
    live(&mut field, 3, 20);
    let (spared, _) = live(&mut field, 3, 40);
    (0..3).for_each(|at| prefer(&mut field, at, Preference::MeshFirst));
    live(&mut field, 3, 5);
    let (prompt, _) = live(&mut field, 3, 40);
    println!("{spared} frames in 40 minutes, {prompt} in a strict order");
    assert!((55..=68).contains(&spared), "{spared}");
    assert!((110..=150).contains(&prompt), "{prompt}");
}

/// Three gateways of one LAN send the states of a node there to two that have only radios: one of them each time, from a base that all
/// who listen hold.
#[test]
fn one_of_several_gateways_sends_a_routine_state_as_a_delta() {
    let mut field = gateways(311);
    field.run(40 * MINUTE);
    live(&mut field, 6, 30);
    let (spared, whole) = live(&mut field, 6, 40);
    println!("{spared} frames of six nodes in 40 minutes, {whole} whole");
    assert!((110..=140).contains(&spared), "{spared}");
    assert_eq!(whole, 0);
}
