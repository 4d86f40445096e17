//! What a listener on air cannot or need not take is not sent to it forever.

use tombolo::federation::TrustLevel;
use tombolo::layer::Kind;
use tombolo::merge::KeyPath;
use tombolo::node::{Admin, NodeState, Query, Reply, Write};
use tombolo_delta::Value;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_sim::MINUTE;
use tombolo_sim::field::{Field, FieldConfig};

/// Two nodes that trust each other, joined by a cable that is still there.
fn pair(seed: u64) -> (Field, usize, usize) {
    println!("seed {seed}");
    pair_in(Field::new(FieldConfig::new(seed, PhyRate::lora(Modulation::SF7_125))))
}

fn pair_in(mut field: Field) -> (Field, usize, usize) {
    let (a, b) = (field.add("a", false).unwrap(), field.add("b", false).unwrap());
    field.calls_reach = true;
    join(&mut field, a, b);
    (field, a, b)
}

fn join(field: &mut Field, inviter: usize, joiner: usize) {
    let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in: 60 * MINUTE, addresses: vec![] };
    let Some(Ok(Reply::Invite(invite))) = field.ask(inviter, invite) else { panic!("an invite") };
    field.begin(joiner, Admin::Join { code: invite.code, addresses: vec![] });
    field.run(MINUTE);
}

/// From now on there are only radios.
fn part(field: &mut Field, a: usize, b: usize) {
    field.cut(a, b);
    [a, b].into_iter().for_each(|place| field.switch_on(place));
    field.run(30 * MINUTE);
}

fn set(field: &mut Field, at: usize, doc: &str, value: u64) {
    let key = KeyPath::parse("k").unwrap();
    let done = field.ask(at, Write::Set { doc: doc.into(), key, value: Value::from(value) });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

/// Frames with content within the next hour.
fn content_in_an_hour(field: &mut Field) -> usize {
    let from = field.now();
    field.run(60 * MINUTE);
    let on_air = field.air.log().filter(|on_air| on_air.start_us >= from.ms() * 1_000);
    on_air.filter(|on_air| matches!(on_air.frame[0] >> 4, 1 | 5 | 6 | 9)).count()
}

/// Between two signed states a radio has unsigned ones. Not where a cable brings the signed ones: there the radio is
/// silent, and both announce on air that they hold the same.
#[test]
fn with_a_cable_beside_it_a_radio_sends_no_unsigned_states_and_has_nothing_to_ask() {
    println!("seed 9");
    let config = FieldConfig { sign_every: 8, ..FieldConfig::new(9, PhyRate::lora(Modulation::SF7_125)) };
    let (mut field, a, b) = pair_in(Field::new(config));
    part(&mut field, a, b);
    let publish = |field: &mut Field, uptime_secs: u64| {
        let state = NodeState { uptime_secs: Some(uptime_secs), ..NodeState::default() };
        let done = field.ask(a, Write::publish(state));
        assert!(matches!(done, Some(Ok(_))), "{done:?}");
        field.run(5 * MINUTE);
    };
    (0..4).for_each(|n| publish(&mut field, n));
    field.connect(a, b);
    field.run(30 * MINUTE);
    let from = field.now();
    (4..8).for_each(|n| publish(&mut field, n));
    field.run(40 * MINUTE);
    let kinds: Vec<u8> = field
        .air
        .log()
        .filter(|on_air| on_air.start_us >= from.ms() * 1_000)
        .map(|on_air| on_air.frame[0] >> 4)
        .collect();
    assert!(!kinds.iter().any(|kind| matches!(kind, 1 | 5 | 6 | 9)), "content went on air: {kinds:?}");
    let asked = kinds.iter().filter(|kind| **kind == 8).count();
    assert!(asked <= 2, "{asked} frontiers where nothing differs: {kinds:?}");
}

/// B only observes A: it takes A's node state and no document. A does not know that and need not: B does not announce on
/// air that it lacks documents that it does not want.
#[test]
fn who_only_observes_an_owner_is_sent_its_documents_once_and_its_states_always() {
    let (mut field, a, b) = pair(7);
    let observes = field.ask(b, Admin::Trust { peer: "a".into(), level: TrustLevel::Observer });
    assert!(matches!(observes, Some(Ok(_))), "{observes:?}");
    field.connect(a, b);
    field.run(MINUTE);
    part(&mut field, a, b);
    field.ask(a, Write::Create { name: "notes".into(), kind: Kind::Map });
    for round in 0..3u64 {
        set(&mut field, a, "notes", round);
        let state = NodeState { uptime_secs: Some(round), ..NodeState::default() };
        field.ask(a, Write::publish(state));
        field.run(10 * MINUTE);
        let content = content_in_an_hour(&mut field);
        assert_eq!(content, 0, "in round {round}: what b does not take is sent again and again");
        let held = field.ask(b, Query::State { peer: Some("a".into()) });
        let Some(Ok(Reply::State(held))) = held else { panic!("{held:?}") };
        assert_eq!(held.state.uptime_secs, Some(round));
    }
}

/// Each writer signs an empty layer in each map, and all empty layers have one root: two bytes of it do not identify a
/// layer.
#[test]
fn the_first_write_into_one_of_many_empty_layers_is_understood() {
    let (mut field, a, b) = pair(8);
    let names: Vec<String> = (0..12).map(|n| format!("map{n}")).collect();
    for name in &names {
        field.ask(a, Write::Create { name: name.clone(), kind: Kind::Map });
    }
    field.connect(a, b);
    field.run(MINUTE);
    part(&mut field, a, b);
    for (n, name) in names.iter().enumerate().rev() {
        let (writer, reader) = if n % 2 == 0 { (a, b) } else { (b, a) };
        // The one owns the maps, the other writes them by their full name.
        let doc = if writer == a { name.clone() } else { format!("a/{name}") };
        set(&mut field, writer, &doc, n as u64);
        let came = field.run_until(10 * MINUTE, |field| {
            let key = Some(KeyPath::parse("k").unwrap());
            matches!(field.ask(reader, Query::Get { doc: name.clone(), key }), Some(Ok(Reply::Value(value))) if value == Value::from(n as u64))
        });
        assert!(came, "{name} did not come");
    }
    field.run(10 * MINUTE);
    assert_eq!(content_in_an_hour(&mut field), 0);
}

/// A removes D, so its audience has a new key. C does not hear A, only B, who does: B has both keys, and hears from
/// C's heartbeats that C has only the old one.
#[test]
fn a_renewed_key_reaches_who_is_behind_a_relay_and_not_who_was_removed() {
    println!("seed 10");
    let mut field = Field::new(FieldConfig::new(10, PhyRate::lora(Modulation::SF7_125)));
    field.calls_reach = true;
    for name in ["a", "b", "c", "d"] {
        field.add(name, false).unwrap();
    }
    for a in 0..4 {
        for b in a + 1..4 {
            join(&mut field, a, b);
            field.connect(a, b);
        }
    }
    field.ask(0, Write::Create { name: "notes".into(), kind: Kind::Map });
    field.run(MINUTE);
    for a in 0..4 {
        (a + 1..4).for_each(|b| field.cut(a, b));
    }
    (0..4).for_each(|place| field.switch_on(place));
    field.run(30 * MINUTE);
    for far in [2, 3] {
        let (a, far) = (field.radio(0), field.radio(far));
        field.air.set_hear_each_other(a, far, false);
    }
    let removed = field.ask(0, Admin::Remove { peer: "d".into() });
    assert!(matches!(removed, Some(Ok(_))), "{removed:?}");
    set(&mut field, 0, "notes", 7);
    let reads = |field: &mut Field, at: usize| {
        let key = Some(KeyPath::parse("k").unwrap());
        let get = Query::Get { doc: "notes".into(), key };
        matches!(field.ask(at, get), Some(Ok(Reply::Value(value))) if value == Value::from(7u64))
    };
    assert!(field.run_until(6 * 60 * MINUTE, |field| reads(field, 2)), "c does not read what a wrote");
    field.run(60 * MINUTE);
    assert!(!reads(&mut field, 3), "d reads what was written after its removal");
}
