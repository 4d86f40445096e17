//! Frames that get lost.

use super::*;
use tombolo_mesh::emulated::{Faults, Loss};

fn join_and_share(seed: u64, loss: Loss) {
    let mut field = sf7(seed);
    field.air.set_loss(loss);
    field.air.set_faults(Faults { corrupt_permille: 10, duplicate_permille: 20 });
    let (a, b) = (field.add("a", true).unwrap(), field.add("b", true).unwrap());
    join(&mut field, a, b);
    create(&mut field, a, "notes");
    for n in 0..10 {
        set(&mut field, a, "notes", &format!("k{n}"), n);
        field.run(20 * SECOND);
    }
    in_step(&mut field, &[a, b], "notes", "k9", 6 * HOUR);
    set(&mut field, b, "notes", "l", "from b");
    in_step(&mut field, &[a, b], "notes", "l", 6 * HOUR);
}

#[test]
fn two_nodes_join_and_share_a_document_with_nothing_but_radios() {
    join_and_share(1, Loss::NONE);
}

#[test]
fn two_nodes_join_and_share_where_every_seventh_frame_is_lost() {
    (11..14).for_each(|seed| join_and_share(seed, Loss::single(150)));
}

#[test]
fn two_nodes_join_and_share_where_every_third_frame_is_lost() {
    (21..24).for_each(|seed| join_and_share(seed, Loss::single(300)));
}

#[test]
fn two_nodes_join_and_share_through_bursts_of_loss() {
    (31..34).for_each(|seed| join_and_share(seed, Loss::bursts(300, 6)));
}

#[test]
fn joining_takes_three_frames_each_way_at_most() {
    let mut field = sf7(2);
    let (a, b) = (field.add("a", true).unwrap(), field.add("b", true).unwrap());
    join(&mut field, a, b);
    for node in [a, b] {
        let radio = field.radio(node);
        let joins = field.air.log().filter(|on_air| on_air.radio == radio && kind(on_air) == 3);
        let lengths: Vec<usize> = joins.map(|on_air| on_air.frame.len()).collect();
        assert!((1..=3).contains(&lengths.len()) && lengths.iter().all(|bytes| *bytes <= 231), "{lengths:?}");
    }
}

/// Long documents go in fragments; lost ones are asked for.
#[test]
fn a_long_document_arrives_whole_under_loss() {
    for seed in 41..43 {
        let mut field = sf7(seed);
        friends(&mut field, 3);
        field.air.set_loss(Loss::bursts(200, 4));
        create(&mut field, 0, "book");
        let mut random = seed;
        for page in 0..20 {
            let words = (0..60).map(|_| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{:x} ", random >> 40)
            });
            set(&mut field, 0, "book", &format!("page{page}"), words.collect::<String>());
        }
        in_step(&mut field, &[0, 1, 2], "book", "page19", 12 * HOUR);
    }
}

/// The two ends of a row of three do not hear each other; the middle one relays what they send, and their frames collide
/// there.
#[test]
fn stations_hidden_from_each_other_come_into_step() {
    for seed in 51..53 {
        let mut field = sf7(seed);
        friends(&mut field, 3);
        let (left, right) = (field.radio(0), field.radio(2));
        field.air.set_hear_each_other(left, right, false);
        for (node, doc) in [(0, "left"), (2, "right")] {
            create(&mut field, node, doc);
            set(&mut field, node, doc, "first", 1);
        }
        in_step(&mut field, &[0, 1, 2], "left", "first", 6 * HOUR);
        in_step(&mut field, &[0, 1, 2], "right", "first", 6 * HOUR);
        for n in 0..10 {
            set(&mut field, 0, "left", &format!("k{n}"), n);
            set(&mut field, 2, "right", &format!("k{n}"), n);
            field.run(7 * SECOND);
        }
        set(&mut field, 2, "left", "answer", "from the other end");
        in_step(&mut field, &[0, 1, 2], "left", "answer", 6 * HOUR);
        in_step(&mut field, &[0, 1, 2], "left", "k9", 6 * HOUR);
        in_step(&mut field, &[0, 1, 2], "right", "k9", 6 * HOUR);
    }
}
