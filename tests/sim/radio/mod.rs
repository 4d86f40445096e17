//! Nodes that have only radios, and nodes that have a cable as well.

mod absence;
mod airtime_shares;
mod alarms;
mod bulk;
mod cost_of_return;
mod deploys;
mod duty;
mod failover;
mod flapping;
mod forger;
mod hostile;
mod house;
mod interrupted;
mod links;
mod loss;
mod lossy_line;
mod policies;
mod presence;
mod renewal;
mod routine;
mod states;
mod views;

use tombolo::federation::{RadioUse, TrustLevel};
use tombolo::io::view::RouteOrder;
use tombolo::layer::Kind;
use tombolo::merge::KeyPath;
use tombolo::node::{Admin, NodeState, Query, Reply, Write};
use tombolo::router::Preference;
use tombolo::time::{Millis, Mono};
use tombolo_delta::Value;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::emulated::OnAir;
use tombolo_sim::field::{Field, FieldConfig};
use tombolo_sim::{HOUR, MINUTE, SECOND};

fn sf7(seed: u64) -> Field {
    println!("seed {seed}");
    Field::new(FieldConfig::new(seed, PhyRate::lora(Modulation::SF7_125)))
}

fn invite(field: &mut Field, inviter: usize) -> String {
    let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in: 24 * HOUR, addresses: vec![] };
    let Some(Ok(Reply::Invite(invite))) = field.ask(inviter, invite) else { panic!("an invite") };
    invite.code
}

fn join(field: &mut Field, inviter: usize, joiner: usize) {
    let code = invite(field, inviter);
    let request = field.begin(joiner, Admin::Join { code, addresses: vec![] });
    let mut answer = None;
    let joined = field.run_until(6 * HOUR, |field| {
        answer = answer.take().or_else(|| field.answer(joiner, request));
        answer.is_some()
    });
    assert!(joined, "no answer in six hours");
    assert!(matches!(answer, Some(Ok(Reply::Joined(_)))), "{answer:?}");
}

/// A node with a cable only, three with a cable and a radio, and two with a radio only, all of which trust each other.
fn gateways(seed: u64) -> Field {
    let mut field = sf7(seed);
    field.calls_reach = true;
    for node in 0..6 {
        field.add(&format!("n{node}"), false).unwrap();
    }
    for a in 0..6 {
        for b in a + 1..6 {
            join(&mut field, a, b);
            field.connect(a, b);
        }
    }
    field.run(MINUTE);
    field.calls_reach = false;
    for a in 0..6 {
        (a + 1..6).filter(|b| *b > 3).for_each(|b| field.cut(a, b));
    }
    (1..6).for_each(|node| field.switch_on(node));
    field
}

/// Sets the order of links of a node.
fn prefer(field: &mut Field, at: usize, preference: Preference) {
    let order = RouteOrder { preference: Some(preference), ..RouteOrder::default() };
    let done = field.ask(at, Admin::Route(order));
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

/// So many nodes with radios, all of which trust each other; they joined over cables that are gone.
fn friends(field: &mut Field, nodes: usize) {
    field.calls_reach = true;
    for node in 0..nodes {
        field.add(&format!("n{node}"), false).unwrap();
    }
    for a in 0..nodes {
        for b in a + 1..nodes {
            join(field, a, b);
            field.connect(a, b);
        }
    }
    field.run(MINUTE);
    field.calls_reach = false;
    for a in 0..nodes {
        (a + 1..nodes).for_each(|b| field.cut(a, b));
    }
    (0..nodes).for_each(|node| field.switch_on(node));
    field.run(40 * MINUTE);
}

/// `owner/name` of the document of a name that a node holds: a bare name writes none of a peer.
fn path(field: &mut Field, at: usize, doc: &str) -> String {
    let Some(Ok(Reply::Documents(list))) = field.ask(at, Query::List) else { panic!("a list") };
    let row = list.iter().find(|row| row.name == doc);
    row.map_or_else(|| doc.to_owned(), |row| format!("{}/{doc}", row.owner))
}

fn set(field: &mut Field, at: usize, doc: &str, key: &str, value: impl Into<Value>) {
    let (doc, key) = (path(field, at, doc), KeyPath::parse(key).unwrap());
    let done = field.ask(at, Write::Set { doc, key, value: value.into() });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

/// A node's state of some minute, as its probes would give it.
fn publish(field: &mut Field, at: usize, minute: u64) {
    let state = NodeState {
        node_name: Some(format!("station {at}")),
        cpu_usage_percent: Some((minute * 37 % 1000) as f64 / 10.0),
        mem_used_bytes: Some(2_000_000_000 + minute * 4096 * 17 % 90_000_000),
        mem_total_bytes: Some(8_000_000_000),
        uptime_secs: Some(minute * 60),
        ..NodeState::default()
    };
    let done = field.ask(at, Write::publish(state));
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

fn get(field: &mut Field, at: usize, doc: &str) -> Option<Value> {
    match field.ask(at, Query::Get { doc: doc.into(), key: None }) {
        Some(Ok(Reply::Value(value))) => Some(value),
        _ => None,
    }
}

fn create(field: &mut Field, at: usize, name: &str) {
    let done = field.ask(at, Write::Create { name: name.into(), kind: Kind::Map });
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

/// Lets time pass until all of them read the same in a document, and it has this key.
fn in_step(field: &mut Field, nodes: &[usize], doc: &str, key: &str, patience: Millis) {
    let same = field.run_until(patience, |field| {
        let values: Vec<_> = nodes.iter().map(|node| get(field, *node, doc)).collect();
        let has_key = |value: &Option<Value>| value.as_ref().is_some_and(|value| value.get(key).is_some());
        values.iter().all(|value| has_key(value) && *value == values[0])
    });
    if !same {
        let values: Vec<_> = nodes.iter().map(|node| get(field, *node, doc)).collect();
        let kinds: Vec<_> = field.air.log().map(|on_air| (on_air.radio.0, kind(on_air))).collect();
        panic!(
            "{key} is not everywhere: {values:#?}\nthe last frames: {:?}",
            &kinds[kinds.len().saturating_sub(60)..]
        );
    }
}

fn policy(field: &mut Field, at: usize, doc: &str, radio: Option<RadioUse>, confidential: Option<bool>) {
    let done = field.ask(at, Admin::Policy { doc: doc.into(), radio, confidential });
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
    field.run(Millis::from_ms(60_000));
    assert!(get(&mut field, b, "notes").is_some() && get(&mut field, b, "secret").is_some());
    field.cut(a, b);
    field.calls_reach = false;
    field.switch_on(a);
    field.switch_on(b);
    field.run(Millis::from_ms(1_800_000));
    (field, a, b)
}

fn rejections(field: &mut Field, at: usize) -> u64 {
    let Some(Ok(Reply::Status(status))) = field.ask(at, Query::Status) else { panic!("a status") };
    status.rejections.values().sum()
}

/// The kind in a frame's first byte.
fn kind(on_air: &OnAir) -> u8 {
    on_air.frame.first().map_or(u8::MAX, |first| first >> 4)
}

/// What was on air since a moment.
fn since(field: &Field, from: Mono) -> impl Iterator<Item = &OnAir> {
    field.air.log().filter(move |on_air| on_air.start_us >= from.ms() * 1_000)
}

/// Whether a frame carries content: a part of something longer, an update, a whole layer.
fn carries(on_air: &OnAir) -> bool {
    matches!(kind(on_air), 1 | 5 | 6 | 9)
}

/// Every frame that was on air.
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
