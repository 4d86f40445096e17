//! Nodes that have only radios, and nodes that have a cable as well.

use std::collections::BTreeMap;

use tombolo::federation::{RadioUse, TrustLevel};
use tombolo::merge::KeyPath;
use tombolo::node::{Command, NodeState, Reply};
use tombolo::sim::field::{Field, FieldConfig};
use tombolo_delta::Value;
use tombolo_transports::mesh::airtime::{Line, Modulation};
use tombolo_transports::mesh::keys::Mode;

fn sf7(seed: u64) -> Field {
    Field::new(FieldConfig::new(seed, Line::lora(Modulation::SF7_125)))
}

fn join(field: &mut Field, inviter: usize, joiner: usize) {
    let invite = Command::Invite { level: TrustLevel::Trusted, expires_ms: 3_600_000, addresses: vec![] };
    let Some(Ok(Reply::Invite(invite))) = field.ask(inviter, invite) else { panic!("an invite") };
    let request = field.begin(joiner, Command::Join { code: invite.code, addresses: vec![] });
    let mut answer = None;
    let joined = field.run_until(1_800_000, |field| {
        answer = answer.take().or_else(|| field.answer(joiner, request));
        answer.is_some()
    });
    assert!(joined, "no answer in half an hour");
    assert!(matches!(answer, Some(Ok(Reply::Joined(_)))), "{answer:?}");
}

fn set(field: &mut Field, at: usize, doc: &str, key: &str, value: impl Into<Value>) {
    let key = KeyPath::parse(key).unwrap();
    let done = field.ask(at, Command::Set { doc: doc.into(), key, value: value.into() });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

fn get(field: &mut Field, at: usize, doc: &str) -> Option<Value> {
    match field.ask(at, Command::Get { doc: doc.into(), key: None }) {
        Some(Ok(Reply::Value(value))) => Some(value),
        _ => None,
    }
}

fn create(field: &mut Field, at: usize, name: &str) {
    let done = field.ask(at, Command::Create { name: name.into(), kind: tombolo::layer::Kind::Map });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

#[test]
fn two_nodes_join_and_share_a_document_with_nothing_but_radios() {
    let mut field = sf7(1);
    let (a, b) = (field.add("a", true).unwrap(), field.add("b", true).unwrap());
    join(&mut field, a, b);
    create(&mut field, a, "notes");
    set(&mut field, a, "notes", "k", "from a");
    let came = field.run_until(3_600_000, |field| get(field, b, "notes").is_some());
    assert!(came, "b has no notes after an hour: {:?}", field.ask(b, Command::Status));
    set(&mut field, b, "notes", "l", "from b");
    let both = field.run_until(3_600_000, |field| {
        let seen = get(field, a, "notes");
        seen.is_some_and(|v| v.get("l").is_some()) && get(field, a, "notes") == get(field, b, "notes")
    });
    assert!(both, "{:?} and {:?}", get(&mut field, a, "notes"), get(&mut field, b, "notes"));
}

fn policy(field: &mut Field, at: usize, doc: &str, radio: Option<RadioUse>, confidential: Option<bool>) {
    let done = field.ask(at, Command::Policy { doc: doc.into(), radio, confidential });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

/// Two nodes joined by cable and in step, the cable cut, their radios on.
fn parted(config: FieldConfig) -> (Field, usize, usize) {
    let mut field = Field::new(config);
    let (a, b) = (field.add("a", false).unwrap(), field.add("b", false).unwrap());
    field.calls_reach = true;
    join(&mut field, a, b);
    field.connect(a, b);
    create(&mut field, a, "notes");
    create(&mut field, a, "secret");
    set(&mut field, a, "notes", "k", "first");
    set(&mut field, a, "secret", "k", "first");
    field.run(60_000);
    assert!(get(&mut field, b, "notes").is_some() && get(&mut field, b, "secret").is_some());
    field.cut(a, b);
    field.calls_reach = false;
    field.switch_on(a);
    field.switch_on(b);
    field.run(1_800_000);
    (field, a, b)
}

fn value(field: &mut Field, at: usize, doc: &str, key: &str) -> Option<String> {
    get(field, at, doc)?.get(key)?.as_text().map(str::to_owned)
}

#[test]
fn what_is_never_to_go_by_radio_does_not() {
    let (mut field, a, b) = parted(FieldConfig::new(5, Line::lora(Modulation::SF7_125)));
    policy(&mut field, a, "secret", Some(RadioUse::Never), None);
    set(&mut field, a, "secret", "k", "second");
    set(&mut field, a, "notes", "k", "second");
    let came = field.run_until(3_600_000, |field| value(field, b, "notes", "k").as_deref() == Some("second"));
    assert!(came);
    field.run(3_600_000);
    assert_eq!(value(&mut field, b, "secret", "k").as_deref(), Some("first"));
    field.connect(a, b);
    field.run(60_000);
    assert_eq!(value(&mut field, b, "secret", "k").as_deref(), Some("second"), "a cable still carries it");
}

#[test]
fn in_clear_only_what_everybody_may_see_goes_out() {
    let mut config = FieldConfig::new(6, Line::lora(Modulation::SF7_125));
    config.mode = Mode::SignedClear;
    let (mut field, a, b) = parted(config);
    // It came by cable that outsiders may see the notes.
    field.connect(a, b);
    policy(&mut field, a, "notes", None, Some(false));
    field.run(60_000);
    field.cut(a, b);
    set(&mut field, a, "notes", "k", "for all");
    set(&mut field, a, "secret", "k", "for few");
    let came =
        field.run_until(7_200_000, |field| value(field, b, "notes", "k").as_deref() == Some("for all"));
    assert!(came, "{:?}", field.ask(b, Command::Status));
    field.run(7_200_000);
    assert_eq!(value(&mut field, b, "secret", "k").as_deref(), Some("first"));
    let on_air: Vec<Vec<u8>> = field.air.log().map(|on_air| on_air.frame.clone()).collect();
    let contains = |text: &str| on_air.iter().any(|f| f.windows(text.len()).any(|w| w == text.as_bytes()));
    assert!(contains("for all") && !contains("for few"));
}

#[test]
fn who_is_removed_cannot_read_what_comes_after_and_the_others_can() {
    let mut field = sf7(7);
    let nodes: Vec<usize> = ["a", "b", "c"].iter().map(|name| field.add(name, true).unwrap()).collect();
    let [a, b, c] = nodes[..] else { panic!("three") };
    join(&mut field, a, b);
    join(&mut field, a, c);
    create(&mut field, a, "notes");
    set(&mut field, a, "notes", "k", "for three");
    let all = |field: &mut Field| {
        [b, c].iter().all(|n| value(field, *n, "notes", "k").as_deref() == Some("for three"))
    };
    assert!(field.run_until(7_200_000, all), "three in step");
    let peer = tombolo::identity::did(&field.peer_id(c));
    assert!(matches!(field.ask(a, Command::Remove { peer }), Some(Ok(_))));
    set(&mut field, a, "notes", "k", "for two");
    let came =
        field.run_until(14_400_000, |field| value(field, b, "notes", "k").as_deref() == Some("for two"));
    if !came {
        eprintln!("A: {:?}", field.ask(a, Command::Status));
        eprintln!("A: {:?}", field.ask(a, Command::Links));
        dump(&field);
    }
    assert!(
        came,
        "b has the new key: {:?} {:?}",
        field.ask(b, Command::Status),
        field.ask(a, Command::Airtime)
    );
    field.run(3_600_000);
    assert_eq!(value(&mut field, c, "notes", "k").as_deref(), Some("for three"));
}

#[allow(dead_code)]
fn dump(field: &Field) {
    for on_air in field.air.log() {
        let f = &on_air.frame;
        eprintln!(
            "{:>9} {:?} kind {} alias {:02x}{:02x} hint {:02x} len {}",
            on_air.start_us / 1000,
            on_air.radio,
            f[0] >> 4,
            f[1],
            f[2],
            f[3],
            f.len()
        );
    }
}

fn publish(field: &mut Field, at: usize, minute: u64) {
    let state = NodeState {
        node_name: Some("station".into()),
        cpu_usage_percent: Some((minute * 37 % 1000) as f64 / 10.0),
        mem_used_bytes: Some(2_000_000_000 + minute * 4096 * 17 % 90_000_000),
        mem_total_bytes: Some(8_000_000_000),
        uptime_secs: Some(minute * 60),
        ..NodeState::default()
    };
    let done = field.ask(at, Command::PublishState { state });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

fn seen_cpu(field: &mut Field, at: usize, of: usize) -> Option<(f64, bool)> {
    let peer = Some(tombolo::identity::did(&field.peer_id(of)));
    match field.ask(at, Command::State { peer }) {
        Some(Ok(Reply::State(view))) => Some((view.state.cpu_usage_percent?, view.provisional)),
        _ => None,
    }
}

#[test]
fn rare_signatures_make_small_frames_and_what_is_unsigned_is_shown_as_such() {
    let mut config = FieldConfig::new(8, Line::lora(Modulation::SF7_125));
    config.sign_every = 16;
    let (mut field, a, b) = parted(config);
    let mut provisional = 0;
    let from = field.air.log().count();
    for minute in 1..=160 {
        publish(&mut field, a, minute);
        field.run(60_000);
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
    let (mut field, a, b) = parted(FieldConfig::new(9, Line::lora(Modulation::SF7_125)));
    let long = |n: u64| {
        Value::map((0..8).map(|k| {
            (format!("key{k}"), Value::from(format!("{n} is what stands at {k} {}", "abc".repeat(12))))
        }))
    };
    for (whole, expected) in [(false, 5), (true, 1)] {
        let from = field.air.log().count();
        let value = long(u64::from(whole));
        let put = Command::Put { doc: "notes".into(), value: value.clone(), whole };
        assert!(matches!(field.ask(a, put), Some(Ok(_))));
        assert!(
            field.run_until(60_000, |field| get(field, b, "notes").as_ref() == Some(&value)),
            "whole: {whole}"
        );
        let kinds = kinds(&field, a, from);
        assert!(kinds.get(&expected).is_some_and(|n| *n >= 3), "whole: {whole}: {kinds:?}");
        assert_eq!(kinds.get(&if whole { 5 } else { 1 }), None, "whole: {whole}: {kinds:?}");
        field.run(1_200_000);
    }
}

#[test]
fn a_brief_goes_by_radio_in_place_of_the_state_and_the_reader_shows_the_later_of_both() {
    let (mut field, a, b) = parted(FieldConfig::new(10, Line::lora(Modulation::SF7_125)));
    field.connect(a, b);
    publish(&mut field, a, 1);
    policy(&mut field, a, "state", Some(RadioUse::Brief), None);
    field.run(60_000);
    field.cut(a, b);
    let from = field.air.log().count();
    for minute in 2..=60 {
        // The CPU wanders by 0.1 a minute: two briefs in an hour, not sixty states.
        let state = NodeState {
            cpu_usage_percent: Some(20.0 + minute as f64 / 5.0),
            uptime_secs: Some(minute * 60),
            ..NodeState::default()
        };
        assert!(matches!(field.ask(a, Command::PublishState { state }), Some(Ok(_))));
        field.run(60_000);
    }
    let (cpu, _) = seen_cpu(&mut field, b, a).expect("b has a state of a");
    assert!((25.0..=35.0).contains(&cpu), "{cpu}");
    let sent = kinds(&field, a, from);
    let states = sent.get(&5).copied().unwrap_or(0) + sent.get(&6).copied().unwrap_or(0);
    assert!((1..=8).contains(&states), "{sent:?}");
    let map = field
        .ask(a, Command::Policy { doc: "notes".into(), radio: Some(RadioUse::Brief), confidential: None });
    assert!(matches!(map, Some(Err(_))), "a map has no brief: {map:?}");
}
