//! Long documents whose transfer is interrupted.

use super::*;

/// Text that no codec makes short.
fn noise(seed: u64, bytes: usize) -> String {
    let mut random = seed;
    let mut text = String::new();
    while text.len() < bytes {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", random ^ random >> 29));
    }
    text
}

fn fragments(field: &Field, from: Mono) -> usize {
    since(field, from).filter(|on_air| kind(on_air) == 1).count()
}

/// Fragments sent before something happened to the transfer of a long document, and in all until it was there.
fn interrupted(seed: u64, interrupt: impl Fn(&mut Field)) -> (usize, usize) {
    let mut field = sf7(seed);
    friends(&mut field, 2);
    create(&mut field, 0, "book");
    let begun = field.now();
    set(&mut field, 0, "book", "text", noise(seed, 24_000));
    assert!(field.run_until(HOUR, |field| fragments(field, begun) >= 40), "a third is on its way");
    interrupt(&mut field);
    let before = fragments(&field, begun);
    in_step(&mut field, &[0, 1], "book", "text", 24 * HOUR);
    (before, fragments(&field, begun))
}

#[test]
fn a_transfer_goes_on_hours_later_with_what_is_missing() {
    for seed in 101..105 {
        let (_, whole) = interrupted(seed, |_| ());
        for node in [0, 1] {
            let (before, all) = interrupted(seed, |field| {
                let radio = field.radio(node);
                field.air.set_on(radio, false);
                field.run(5 * HOUR);
                field.air.set_on(radio, true);
            });
            // A third had been heard; a few frames more find out what is missing.
            assert!(all - before <= whole * 2 / 3 + 8, "of {whole}: {before}, then {}", all - before);
        }
    }
}

#[test]
fn a_document_that_goes_on_changing_is_sent_whole_once() {
    for seed in 111..114 {
        let mut field = sf7(seed);
        friends(&mut field, 3);
        let radio = field.radio(1);
        field.air.set_on(radio, false);
        create(&mut field, 0, "book");
        set(&mut field, 0, "book", "text", noise(seed, 24_000));
        in_step(&mut field, &[0, 2], "book", "text", HOUR);
        field.run(HOUR);
        field.air.set_on(radio, true);
        let back = field.now();
        for n in 0..60 {
            set(&mut field, 0, "book", &format!("page{n}"), n);
            field.run(20 * SECOND);
        }
        in_step(&mut field, &[0, 1, 2], "book", "page59", HOUR);
        // The text takes 115; what follows is small, and grows until it is acknowledged.
        let sent = fragments(&field, back);
        assert!(sent <= 200, "{sent} fragments");
    }
}
