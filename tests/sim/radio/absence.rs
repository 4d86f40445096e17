//! Nodes that are away for a while: out of reach, or killed.

use super::*;
use tombolo_mesh::emulated::Loss;

/// Ten missed changes cost one frame of content, for any number of listeners.
#[test]
fn who_was_out_of_reach_gets_one_update_for_all_it_missed() {
    let mut field = sf7(71);
    friends(&mut field, 3);
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 0);
    in_step(&mut field, &[0, 1, 2], "notes", "first", HOUR);
    field.run(HOUR);
    let radio = field.radio(0);
    field.air.set_on(radio, false);
    for n in 0..10 {
        set(&mut field, 0, "notes", &format!("k{n}"), n);
        field.run(MINUTE);
    }
    field.run(HOUR);
    field.air.set_on(radio, true);
    let met = field.now();
    in_step(&mut field, &[0, 1, 2], "notes", "k9", HOUR);
    let sent: Vec<_> = since(&field, met).filter(|on_air| carries(on_air)).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
}

/// Each node in turn is killed in the middle of what goes on, and starts again with what was on its disk.
#[test]
fn every_node_may_be_killed_in_the_middle() {
    for seed in 81..84 {
        let mut field = sf7(seed);
        friends(&mut field, 3);
        field.air.set_loss(Loss::single(100));
        create(&mut field, 0, "notes");
        set(&mut field, 0, "notes", "first", "x".repeat(1_500));
        for node in 0..3 {
            let doc = "notes";
            field.run_until(6 * HOUR, |field| get(field, node, doc).is_some());
            for n in 0..5 {
                set(&mut field, node, doc, &format!("of{node}/k{n}"), format!("{n} {}", "y".repeat(100)));
                field.run(Millis::from_ms((seed * 37 + n * 91) % 700));
            }
            field.restart(node).unwrap();
            set(&mut field, node, doc, &format!("of{node}/after"), "the restart");
            field.run(2 * SECOND);
        }
        set(&mut field, 0, "notes", "last", 1);
        in_step(&mut field, &[0, 1, 2], "notes", "last", 12 * HOUR);
        let notes = get(&mut field, 1, "notes").unwrap();
        for node in 0..3 {
            let of_it = notes.get(&format!("of{node}")).unwrap();
            assert!((0..5).all(|n| of_it.get(&format!("k{n}")).is_some()) && of_it.get("after").is_some());
        }
    }
}
