//! Audience keys are renewed while a member does not receive.

use super::*;
use tombolo_mesh::emulated::Loss;

/// Nothing is sent in a pairwise channel while all have each other's keys.
const PAIR: u8 = 10;

/// So many friends on a lossy channel who read one document of the first.
fn readers(seed: u64, nodes: usize) -> Field {
    let mut field = sf7(seed);
    friends(&mut field, nodes);
    field.air.set_loss(Loss::single(100));
    create(&mut field, 0, "notes");
    let others: Vec<usize> = (1..nodes).collect();
    reads(&mut field, 0, &others, "first", "for all");
    field.run(3 * HOUR);
    assert!(!field.air.log().any(|on_air| kind(on_air) == PAIR), "all have all keys");
    field
}

fn remove(field: &mut Field, at: usize, whom: usize) {
    let peer = tombolo::identity::did(&field.peer_id(whom));
    assert!(matches!(field.ask(at, Admin::Remove { peer }), Some(Ok(_))));
}

/// Those in `nodes` read the owner's document; the others have what they had.
fn reads(field: &mut Field, owner: usize, nodes: &[usize], key: &str, value: &str) {
    set(field, owner, "notes", key, value);
    in_step(field, &[&[owner], nodes].concat(), "notes", key, 12 * HOUR);
}

#[test]
fn a_key_renewed_just_before_a_power_cut_reaches_who_has_only_the_old_one() {
    let mut field = readers(91, 3);
    let radio = field.radio(0);
    field.air.set_on(radio, false);
    remove(&mut field, 0, 2);
    field.restart(0).unwrap();
    field.air.set_on(radio, true);
    reads(&mut field, 0, &[1], "second", "for two");
}

#[test]
fn who_slept_through_several_renewals_gets_the_newest_key() {
    let mut field = readers(92, 5);
    let radio = field.radio(1);
    field.air.set_on(radio, false);
    for gone in [2, 3] {
        remove(&mut field, 0, gone);
        reads(&mut field, 0, &[4], &format!("without {gone}"), "for those who stay");
        field.run(HOUR);
    }
    field.air.set_on(radio, true);
    reads(&mut field, 0, &[1, 4], "last", "for three");
    for gone in [2, 3] {
        assert!(get(&mut field, gone, "notes").unwrap().get("last").is_none());
    }
}

#[test]
fn whoever_renewed_while_apart_finds_each_other_again() {
    let mut field = readers(93, 3);
    let radio = field.radio(0);
    field.air.set_on(radio, false);
    // The third is lost: both that stay remove it, and learn of each other's removal only later.
    remove(&mut field, 0, 2);
    remove(&mut field, 1, 2);
    field.run(3 * HOUR);
    (0..2).for_each(|node| field.restart(node).unwrap());
    field.air.set_on(radio, true);
    reads(&mut field, 0, &[1], "second", "for two");
}

#[test]
fn an_owner_whose_disk_is_lost_gets_its_key_back_from_the_peer_it_joins() {
    let mut field = readers(94, 3);
    field.lose_disk(0).unwrap();
    join(&mut field, 1, 0);
    in_step(&mut field, &[0, 1], "notes", "first", 12 * HOUR);
    reads(&mut field, 0, &[1], "second", "for two");
}
