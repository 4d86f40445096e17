//! Nodes that have only radios, and nodes that have a cable as well.

use tombolo::federation::TrustLevel;
use tombolo::merge::KeyPath;
use tombolo::node::{Command, Reply};
use tombolo::sim::field::{Field, FieldConfig};
use tombolo_delta::Value;
use tombolo_transports::mesh::airtime::{Line, Modulation};

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
