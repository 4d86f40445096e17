//! What a listener on air cannot or will not take is not sent to it for ever.

use tombolo::federation::TrustLevel;
use tombolo::layer::Kind;
use tombolo::merge::KeyPath;
use tombolo::node::{Command, NodeState, Reply};
use tombolo::sim::field::{Field, FieldConfig};
use tombolo_delta::Value;
use tombolo_transports::mesh::airtime::{Line, Modulation};

const MINUTE: u64 = 60_000;

/// Two nodes that trust each other, joined by a cable that is still there.
fn pair(seed: u64) -> (Field, usize, usize) {
    println!("seed {seed}");
    let mut field = Field::new(FieldConfig::new(seed, Line::lora(Modulation::SF7_125)));
    let (a, b) = (field.add("a", false).unwrap(), field.add("b", false).unwrap());
    field.calls_reach = true;
    let invite = Command::Invite { level: TrustLevel::Trusted, expires_ms: 60 * MINUTE, addresses: vec![] };
    let Some(Ok(Reply::Invite(invite))) = field.ask(a, invite) else { panic!("an invite") };
    field.begin(b, Command::Join { code: invite.code, addresses: vec![] });
    field.run(MINUTE);
    (field, a, b)
}

/// From now on there are only radios.
fn part(field: &mut Field, a: usize, b: usize) {
    field.cut(a, b);
    [a, b].into_iter().for_each(|place| field.switch_on(place));
    field.run(30 * MINUTE);
}

fn set(field: &mut Field, at: usize, doc: &str, value: u64) {
    let key = KeyPath::parse("k").unwrap();
    let done = field.ask(at, Command::Set { doc: doc.into(), key, value: Value::from(value) });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

/// Frames with content within the next hour.
fn content_in_an_hour(field: &mut Field) -> usize {
    let from_ms = field.now_ms();
    field.run(60 * MINUTE);
    let on_air = field.air.log().filter(|on_air| on_air.start_us >= from_ms * 1_000);
    on_air.filter(|on_air| matches!(on_air.frame[0] >> 4, 1 | 5 | 6 | 9)).count()
}

/// B only observes A: it takes A's node state and no document. A does not know that, and need not: it is not told
/// on air that B lacks what B does not want.
#[test]
fn who_only_observes_an_owner_is_sent_its_documents_once_and_its_states_always() {
    let (mut field, a, b) = pair(7);
    let observes = field.ask(b, Command::Trust { peer: "a".into(), level: TrustLevel::Observer });
    assert!(matches!(observes, Some(Ok(_))), "{observes:?}");
    field.connect(a, b);
    field.run(MINUTE);
    part(&mut field, a, b);
    field.ask(a, Command::Create { name: "notes".into(), kind: Kind::Map });
    for round in 0..3u64 {
        set(&mut field, a, "notes", round);
        let state = NodeState { uptime_secs: Some(round), ..NodeState::default() };
        field.ask(a, Command::PublishState { state });
        field.run(10 * MINUTE);
        let content = content_in_an_hour(&mut field);
        assert_eq!(content, 0, "in round {round}: what b does not take is sent again and again");
        let held = field.ask(b, Command::State { peer: Some("a".into()) });
        let Some(Ok(Reply::State(held))) = held else { panic!("{held:?}") };
        assert_eq!(held.state.uptime_secs, Some(round));
    }
}

/// Whoever may write signs an empty layer in each map, and all empty layers have one root: two bytes of it say
/// nothing of which is meant.
#[test]
fn the_first_write_into_one_of_many_empty_layers_is_understood() {
    let (mut field, a, b) = pair(8);
    let names: Vec<String> = (0..12).map(|n| format!("map{n}")).collect();
    for name in &names {
        field.ask(a, Command::Create { name: name.clone(), kind: Kind::Map });
    }
    field.connect(a, b);
    field.run(MINUTE);
    part(&mut field, a, b);
    for (n, name) in names.iter().enumerate().rev() {
        let (writer, reader) = if n % 2 == 0 { (a, b) } else { (b, a) };
        set(&mut field, writer, name, n as u64);
        let came = field.run_until(10 * MINUTE, |field| {
            let key = Some(KeyPath::parse("k").unwrap());
            matches!(field.ask(reader, Command::Get { doc: name.clone(), key }), Some(Ok(Reply::Value(value))) if value == Value::from(n as u64))
        });
        assert!(came, "{name} did not come");
    }
    field.run(10 * MINUTE);
    assert_eq!(content_in_an_hour(&mut field), 0);
}
