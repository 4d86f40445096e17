//! How states go out: signed rarely, split by their author, in brief.

use super::*;
use std::collections::BTreeMap;

fn seen_cpu(field: &mut Field, at: usize, of: usize) -> Option<(f64, bool)> {
    let peer = Some(tombolo::identity::did(&field.peer_id(of)));
    match field.ask(at, Query::State { peer }) {
        Some(Ok(Reply::State(view))) => Some((view.state.cpu_usage_percent?, view.provisional)),
        _ => None,
    }
}

#[test]
fn rare_signatures_make_small_frames_and_what_is_unsigned_is_shown_as_such() {
    let mut config = FieldConfig::new(8, PhyRate::lora(Modulation::SF7_125));
    config.sign_every = 16;
    let (mut field, a, b) = parted(config);
    prefer(&mut field, a, Preference::MeshFirst);
    let mut provisional = 0;
    let from = field.air.log().count();
    for minute in 1..=160 {
        publish(&mut field, a, minute);
        field.run(Millis::from_ms(60_000));
        let (cpu, unsigned) = seen_cpu(&mut field, b, a).expect("b has a state of a");
        assert_eq!(cpu, (minute * 37 % 1000) as f64 / 10.0, "minute {minute}");
        provisional += usize::from(unsigned);
    }
    assert!(provisional > 140, "{provisional} of 160 states were provisional");
    let radio = field.radio(a);
    let lengths: Vec<usize> = field
        .air
        .log()
        .skip(from)
        .filter(|f| f.radio == radio && matches!(f.frame[0] >> 4, 5 | 9))
        .map(|f| f.frame.len())
        .collect();
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    println!("totals: {} frames of states, {mean:.1} bytes each", lengths.len());
    assert!(mean <= 37.0, "{mean} bytes a frame");
}

/// Frames of each kind that a node has sent since the log was `from` long.
fn kinds(field: &Field, at: usize, from: usize) -> BTreeMap<u8, usize> {
    let radio = field.radio(at);
    let mut kinds = BTreeMap::new();
    for on_air in field.air.log().skip(from).filter(|on_air| on_air.radio == radio) {
        *kinds.entry(on_air.frame[0] >> 4).or_default() += 1;
    }
    kinds
}

#[test]
fn a_commit_that_does_not_fit_a_frame_goes_out_in_several_that_do() {
    let (mut field, a, b) = parted(FieldConfig::new(9, PhyRate::lora(Modulation::SF7_125)));
    // Letters without a pattern: nothing packs them.
    let letters = |n: u64| {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let letter = |_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            char::from(b'!' + (state >> 33) as u8 % 94)
        };
        (0..70).map(letter).collect::<String>()
    };
    let long =
        |n: u64| Value::map((0..8).map(|k| (format!("key{k}"), Value::from(letters(n * 8 + k).as_str()))));
    for (whole, expected) in [(false, 5), (true, 1)] {
        let from = field.air.log().count();
        let value = long(u64::from(whole));
        let put = Write::Put { doc: "notes".into(), value: value.clone(), whole };
        assert!(matches!(field.ask(a, put), Some(Ok(_))));
        assert!(
            field.run_until(Millis::from_ms(60_000), |field| get(field, b, "notes").as_ref() == Some(&value)),
            "whole: {whole}"
        );
        let kinds = kinds(&field, a, from);
        assert!(kinds.get(&expected).is_some_and(|n| *n >= 3), "whole: {whole}: {kinds:?}");
        assert_eq!(kinds.get(&if whole { 5 } else { 1 }), None, "whole: {whole}: {kinds:?}");
        field.run(Millis::from_ms(1_200_000));
    }
}

#[test]
fn a_brief_goes_by_radio_in_place_of_the_state_and_the_reader_shows_the_later_of_both() {
    let (mut field, a, b) = parted(FieldConfig::new(10, PhyRate::lora(Modulation::SF7_125)));
    field.connect(a, b);
    publish(&mut field, a, 1);
    policy(&mut field, a, "state", Some(RadioUse::Brief), None);
    field.run(Millis::from_ms(60_000));
    field.cut(a, b);
    let from = field.air.log().count();
    for minute in 2..=60 {
        // The CPU wanders by 0.1 a minute: two briefs in an hour, not sixty states.
        let state = NodeState {
            cpu_usage_percent: Some(20.0 + minute as f64 / 5.0),
            uptime_secs: Some(minute * 60),
            ..NodeState::default()
        };
        assert!(matches!(field.ask(a, Write::publish(state)), Some(Ok(_))));
        field.run(Millis::from_ms(60_000));
    }
    let (cpu, _) = seen_cpu(&mut field, b, a).expect("b has a state of a");
    assert!((25.0..=35.0).contains(&cpu), "{cpu}");
    let sent = kinds(&field, a, from);
    let states = sent.get(&5).copied().unwrap_or(0) + sent.get(&6).copied().unwrap_or(0);
    assert!((1..=8).contains(&states), "{sent:?}");
    let map =
        field.ask(a, Admin::Policy { doc: "notes".into(), radio: Some(RadioUse::Brief), confidential: None });
    assert!(matches!(map, Some(Err(_))), "a map has no brief: {map:?}");
}

/// Deltas start from what all listeners are known to hold. An author that edits faster than heartbeats come gets
/// acknowledgements in between, so that each edit still fits a frame.
#[test]
fn a_hundred_quick_edits_take_a_frame_each() {
    for seed in [61, 62] {
        let mut field = sf7(seed);
        friends(&mut field, 3);
        create(&mut field, 0, "notes");
        set(&mut field, 0, "notes", "first", 0);
        in_step(&mut field, &[0, 1, 2], "notes", "first", HOUR);
        field.run(HOUR);
        let began = field.now();
        for n in 0..100 {
            set(&mut field, 0, "notes", &format!("watch{n}"), format!("harbour {n}, all well"));
            field.run(20 * SECOND);
        }
        in_step(&mut field, &[0, 1, 2], "notes", "watch99", HOUR);
        let fragments = since(&field, began).filter(|on_air| kind(on_air) == 1).count();
        let content: Vec<usize> =
            since(&field, began).filter(|on_air| carries(on_air)).map(|on_air| on_air.frame.len()).collect();
        assert_eq!(fragments, 0, "{content:?}");
        assert!((100..=115).contains(&content.len()), "{} frames", content.len());
    }
}
