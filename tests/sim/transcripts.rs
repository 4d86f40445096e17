//! Ten conversations as JSON lines, by which another implementation can be driven without sockets: the simulator writes them
//! (`TOMBOLO_BLESS=1` after a deliberate change of bytes or conduct), and nodes that are given their inputs give out their outputs.

use std::path::PathBuf;

use tombolo::federation::TrustLevel;
use tombolo::layer::{KeyPath, Kind};
use tombolo::node::{Admin, Query, Reply, Write};
use tombolo::time::Millis;
use tombolo_delta::Value;
use tombolo_mesh::emulated::Loss;
use tombolo_sim::field::{Field, FieldConfig};
use tombolo_sim::transcript::{Transcript, replay};
use tombolo_sim::{HOUR, MINUTE, SECOND};

/// Name of the file, what it shows, and what happens.
type Story = (&'static str, &'static str, fn(&mut Field));

const STORIES: [Story; 10] = [
    (
        "first-contact",
        "two nodes that have joined get a link: heartbeat, ask, frontier, want, whole",
        first_contact,
    ),
    ("one-change", "two nodes in step: the author pushes a change as a compact envelope", one_change),
    (
        "lag-of-100",
        "a link was away for 100 changes: one whole layer and one signature make them good",
        lag_of_100,
    ),
    ("lost-delta", "by radio: an update is lost, the next is understood without it", lost_delta),
    ("fork", "an author signs two states with one sequence: the higher root stands until the next", fork),
    (
        "restore",
        "a disk is replaced by its backup: the author fetches its newer state and goes on above it",
        restore,
    ),
    (
        "removal",
        "an owner removes a reader: its audience and key are renewed, the reader gets nothing more",
        removal,
    ),
    ("join-lan", "a node redeems an invite over a LAN", join_lan),
    ("join-radio", "a node redeems an invite by radio: two handshake messages in parts", join_radio),
    ("long-message", "by radio at a loss of 20 %: fragments, what is missing, parity", long_message),
];

// ---- the stories -------------------------------------------------------------------------------------

fn do_now(field: &mut Field, at: usize, command: impl Into<tombolo::node::Command>) {
    let done = field.ask(at, command);
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

fn set(field: &mut Field, at: usize, key: &str, value: impl Into<Value>) {
    let (doc, key) = ("notes".to_owned(), KeyPath::parse(key).unwrap());
    do_now(field, at, Write::Set { doc, key, value: value.into() });
}

fn reads(field: &mut Field, at: usize, key: &str) -> Option<Value> {
    let doc = format!("{}/notes", tombolo::identity::did(&field.peer_id(0)));
    match field.ask(at, Query::Get { doc, key: None }) {
        Some(Ok(Reply::Value(value))) => value.get(key).cloned(),
        _ => None,
    }
}

/// Lets time pass in steps until a node reads a key; what it reads is in the transcript once.
fn comes_to_read(
    field: &mut Field,
    at: usize,
    key: &str,
    value: impl Into<Value>,
    step: Millis,
    patience: Millis,
) {
    let (value, end) = (value.into(), field.now() + patience);
    loop {
        field.run(step);
        let events = field.events.drain(..).any(|(place, event)| {
            place == at && matches!(event, tombolo::node::Event::Changed(view) if view.name == "notes")
        });
        if (events || field.now() >= end) && reads(field, at, key).as_ref() == Some(&value) {
            return;
        }
        assert!(field.now() < end, "node {at} does not read {key}");
    }
}

fn joins(field: &mut Field, inviter: usize, joiner: usize) {
    let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in: 24 * HOUR, addresses: vec![] };
    let Some(Ok(Reply::Invite(invite))) = field.ask(inviter, invite) else { panic!("an invite") };
    let request = field.begin(joiner, Admin::Join { code: invite.code, addresses: vec![] });
    let joined = field.run_until(HOUR, |field| field.answer(joiner, request).is_some());
    assert!(joined, "an answer within an hour");
}

fn nodes(field: &mut Field, names: &[&str]) {
    field.calls_reach = true;
    for name in names {
        field.add(name, false).unwrap();
    }
    (1..names.len()).for_each(|joiner| joins(field, 0, joiner));
}

/// Nodes with a document of the first, in step over a LAN.
fn in_step(field: &mut Field, names: &[&str]) {
    nodes(field, names);
    do_now(field, 0, Write::Create { name: "notes".into(), kind: Kind::Map });
    set(field, 0, "tide", "low");
    (1..names.len()).for_each(|other| field.connect(0, other));
    comes_to_read(field, names.len() - 1, "tide", "low", SECOND, MINUTE);
}

/// The same, on radios from then on.
fn on_air(field: &mut Field) {
    in_step(field, &["hut", "attic"]);
    field.cut(0, 1);
    (0..2).for_each(|node| field.switch_on(node));
    field.run(10 * MINUTE);
}

fn first_contact(field: &mut Field) {
    in_step(field, &["hut", "attic"]);
}

fn one_change(field: &mut Field) {
    in_step(field, &["hut", "attic"]);
    set(field, 0, "tide", "high");
    comes_to_read(field, 1, "tide", "high", SECOND, MINUTE);
}

fn lag_of_100(field: &mut Field) {
    in_step(field, &["hut", "attic"]);
    field.cut(0, 1);
    for n in 1..=100_u64 {
        set(field, 0, &format!("gauge/{}", n % 5), n);
        field.run(SECOND);
    }
    set(field, 0, "tide", "turned");
    field.connect(0, 1);
    comes_to_read(field, 1, "tide", "turned", SECOND, MINUTE);
}

fn lost_delta(field: &mut Field) {
    on_air(field);
    let (hut, attic) = (field.radio(0), field.radio(1));
    field.air.set_pair_loss(hut, attic, Loss::single(1_000));
    set(field, 0, "tide", "rising");
    field.run(3 * SECOND);
    assert_ne!(reads(field, 1, "tide"), Some(Value::from("rising")));
    field.air.set_pair_loss(hut, attic, Loss::NONE);
    set(field, 0, "tide", "high");
    comes_to_read(field, 1, "tide", "high", SECOND, HOUR);
}

fn fork(field: &mut Field) {
    in_step(field, &["hut", "attic"]);
    let backup = field.back_up(0);
    set(field, 0, "tide", "high");
    comes_to_read(field, 1, "tide", "high", SECOND, MINUTE);
    field.cut(0, 1);
    field.restore(0, &backup).unwrap();
    set(field, 0, "tide", "rising");
    field.connect(0, 1);
    field.run(20 * SECOND);
    set(field, 0, "tide", "falling");
    comes_to_read(field, 1, "tide", "falling", SECOND, MINUTE);
}

fn restore(field: &mut Field) {
    in_step(field, &["hut", "attic"]);
    let backup = field.back_up(0);
    set(field, 0, "tide", "high");
    set(field, 0, "wind", 5_u64);
    comes_to_read(field, 1, "wind", 5_u64, SECOND, MINUTE);
    field.cut(0, 1);
    field.restore(0, &backup).unwrap();
    field.connect(0, 1);
    comes_to_read(field, 0, "wind", 5_u64, SECOND, MINUTE);
    set(field, 0, "wind", 6_u64);
    comes_to_read(field, 1, "wind", 6_u64, SECOND, MINUTE);
}

fn removal(field: &mut Field) {
    in_step(field, &["hut", "attic", "shed"]);
    let peer = tombolo::identity::did(&field.peer_id(2));
    do_now(field, 0, Admin::Remove { peer });
    set(field, 0, "tide", "high");
    comes_to_read(field, 1, "tide", "high", SECOND, MINUTE);
    assert_eq!(reads(field, 2, "tide"), Some(Value::from("low")));
}

fn join_lan(field: &mut Field) {
    nodes(field, &["hut", "attic"]);
    field.connect(0, 1);
    field.run(2 * SECOND);
}

fn join_radio(field: &mut Field) {
    for name in ["hut", "attic"] {
        field.add(name, true).unwrap();
    }
    joins(field, 0, 1);
}

fn long_message(field: &mut Field) {
    on_air(field);
    field.air.set_loss(Loss::single(200));
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        char::from(b'!' + (state >> 33) as u8 % 94)
    };
    let text: String = (0..1_500).map(|_| letter()).collect();
    set(field, 0, "log", text.as_str());
    comes_to_read(field, 1, "log", text.as_str(), 10 * SECOND, 6 * HOUR);
}

// ---- writing and replaying ---------------------------------------------------------------------------

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/transcripts/{name}.jsonl"))
}

/// Proves that the files are what the simulator writes, and that fresh nodes which are given only the inputs of a file give out its
/// outputs, byte for byte.
#[test]
fn transcripts_are_written_by_the_simulator_and_replayed_by_nodes() {
    for (at, (name, about, story)) in STORIES.into_iter().enumerate() {
        let mut field = Field::new(FieldConfig::of_transcripts(1_500 + at as u64));
        field.write_down(Transcript::new(about));
        story(&mut field);
        let text = field.transcript().unwrap().to_text();
        if std::env::var_os("TOMBOLO_BLESS").is_some() {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), &text).unwrap();
        }
        let kept = std::fs::read_to_string(path(name)).unwrap();
        let differs = kept.lines().zip(text.lines()).position(|(a, b)| a != b).map(|line| line + 1);
        assert!(
            kept == text,
            "{name}: bytes or conduct changed from line {differs:?} on; TOMBOLO_BLESS=1 writes it again"
        );
        let (inputs, outputs) = replay(&kept).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {inputs} inputs, {outputs} outputs, {} bytes", kept.len());
    }
}

/// Proves that a replay notices an output that differs, one that is missing, and one too many.
#[test]
fn a_replay_notices_what_differs() {
    let text = std::fs::read_to_string(path("join-lan")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|line| line.contains("\"output\":\"send\"")).unwrap();
    let without = [&lines[..at], &lines[at + 1..]].concat().join("\n");
    let twice = [&lines[..=at], &lines[at..]].concat().join("\n");
    let changed = lines.iter().map(|line| line.replace("\"output\":\"send\"", "\"output\":\"frame\""));
    let changed = changed.collect::<Vec<_>>().join("\n");
    for (what, text) in [("missing", without), ("too many", twice), ("differs", changed)] {
        assert!(replay(&text).is_err(), "{what}");
    }
}
