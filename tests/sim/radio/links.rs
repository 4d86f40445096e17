//! A radio beside a cable.

use super::*;

/// What the cable has delivered never goes on air; when it is cut, the radio takes over.
#[test]
fn what_a_cable_delivers_is_not_sent_on_air() {
    let mut field = sf7(61);
    friends(&mut field, 2);
    field.connect(0, 1);
    field.run(MINUTE);
    create(&mut field, 0, "notes");
    let from = field.now();
    for n in 0..20 {
        set(&mut field, 0, "notes", &format!("k{n}"), n);
        set(&mut field, 1, "notes", &format!("l{n}"), n);
        field.run(MINUTE);
    }
    in_step(&mut field, &[0, 1], "notes", "l19", MINUTE);
    field.run(HOUR);
    let sent: Vec<_> = since(&field, from).filter(|on_air| carries(on_air)).map(kind).collect();
    assert!(sent.is_empty(), "content went on air: kinds {sent:?}");

    field.cut(0, 1);
    let cut = field.now();
    set(&mut field, 0, "notes", "after", "the cable");
    in_step(&mut field, &[0, 1], "notes", "after", 10 * MINUTE);
    assert!(since(&field, cut).any(carries));

    let cable_bytes = field.cable_bytes();
    field.connect(0, 1);
    field.run(MINUTE);
    let again = field.now();
    set(&mut field, 1, "notes", "mended", "the cable");
    in_step(&mut field, &[0, 1], "notes", "mended", MINUTE);
    field.run(HOUR);
    assert!(field.cable_bytes() > cable_bytes);
    assert!(!since(&field, again).any(carries));
}

/// B has a cable to A and a radio; D has only a radio. A's documents reach D through B, and D's writes reach A.
#[test]
fn a_gateway_takes_documents_from_the_cable_to_the_air_and_back() {
    let mut field = sf7(62);
    let (a, b, d) = (0, 1, 2);
    field.calls_reach = true;
    for name in ["a", "b", "d"] {
        field.add(name, false).unwrap();
    }
    for (one, other) in [(a, b), (a, d), (b, d)] {
        join(&mut field, one, other);
        field.connect(one, other);
    }
    field.run(MINUTE);
    [a, b].into_iter().for_each(|near| field.cut(near, d));
    [b, d].into_iter().for_each(|place| field.switch_on(place));
    field.run(40 * MINUTE);
    create(&mut field, a, "notes");
    set(&mut field, a, "notes", "k", "by cable and by air");
    in_step(&mut field, &[a, b, d], "notes", "k", HOUR);
    set(&mut field, d, "notes", "answer", "by air and by cable");
    in_step(&mut field, &[a, b, d], "notes", "answer", HOUR);
    // Once in step, the gateway keeps silent but for heartbeats.
    field.run(HOUR);
    let quiet = field.now();
    field.run(2 * HOUR);
    assert!(!since(&field, quiet).any(carries));
}
