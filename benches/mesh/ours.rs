//! Whole nodes on the emulated channel.

use crate::report::{Kinds, MeshRow};
use crate::states::States;
use crate::{Case, FRAME_BYTES_MAX};
use tombolo::federation::TrustLevel;
use tombolo::identity::did;
use tombolo::node::{Admin, Query, Reply, Write};
use tombolo::time::{Millis, Mono};
use tombolo_mesh::emulated::Loss;
use tombolo_mesh::frame::Kind;
use tombolo_sim::MINUTE;
use tombolo_sim::field::{Field, FieldConfig};
use tombolo_sim::rng::XorShift;

/// The node that changes.
const SENDER: usize = 0;
/// So long the radios hear each other before they are taken apart.
const TOGETHER: Millis = Millis::from_secs(40 * 60);
/// They meet at any time of the ten minutes between two heartbeats.
const HEARTBEAT: Millis = Millis::from_secs(10 * 60);
/// A listener that is not in step by then never is.
const PATIENCE: Millis = Millis::from_secs(48 * 60 * 60);
/// So long frames are counted after all are in step.
const AFTER: Millis = Millis::from_secs(10 * 60);

/// Changes are made while the nodes are apart, then they meet; from then on all frames count until all nodes hold the newest
/// state. What follows in ten minutes (heartbeats that acknowledge) is counted beside.
pub(crate) fn apart(case: &Case, states: &States) -> MeshRow {
    let mut rng = XorShift::new(case.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let first = rng.below(states.states.len() as u64) as usize;
    let mut field = cell(case, states, first);
    hear_sender(&mut field, case, false);
    for change in 1..=case.changes {
        field.run(states.step);
        publish(&mut field, SENDER, states, first + change);
    }
    field.run(Millis::from_ms(rng.below(HEARTBEAT.ms())));
    hear_sender(&mut field, case, true);
    let met = field.now();
    assert!(
        field.run_until(PATIENCE, |field| all_hold(field, case)),
        "not in step: seed {}, {case:?}",
        case.seed
    );
    let done = field.now();
    field.run(AFTER);
    let mut row = MeshRow::new("apart", case);
    count(&field, case, &mut row, met..done);
    let mut after = MeshRow::new("after", case);
    count(&field, case, &mut after, done..done + AFTER);
    (row.after_bytes, row.after_frames) = (after.bytes(), after.frames());
    row.seconds = done.since(met).ms() as f64 / 1e3;
    if case.frames {
        println!(
            "\nseed {}, {} listeners, {} changes: {:.0} bytes",
            case.seed,
            case.listeners,
            case.changes,
            row.bytes()
        );
        frames(&field, met, done);
    }
    row
}

/// One state after the other while all listen.
pub(crate) fn live(case: &Case, states: &States) -> MeshRow {
    let mut field = cell(case, states, 0);
    let began = field.now();
    for change in 1..=case.changes {
        publish(&mut field, SENDER, states, change);
        field.run(states.step);
    }
    let done = field.now();
    assert!(field.run_until(PATIENCE, |field| all_hold(field, case)), "not in step: {case:?}");
    let mut row = MeshRow::new("live", case);
    count(&field, case, &mut row, began..done);
    row.seconds = done.since(began).ms() as f64 / 1e3;
    row
}

/// A sender and its listeners, which have no other peers: they join and come into step over cables, which are then cut.
fn cell(case: &Case, states: &States, first: usize) -> Field {
    let config =
        FieldConfig { frame_bytes_max: FRAME_BYTES_MAX, ..FieldConfig::new(case.seed, case.preset.line) };
    let mut field = Field::new(config);
    field.calls_reach = true;
    for place in 0..=case.listeners {
        field.add(&format!("n{place}"), false).expect("a node in memory");
    }
    for listener in 1..=case.listeners {
        join(&mut field, listener);
        field.connect(SENDER, listener);
    }
    (0..=case.listeners).for_each(|place| publish(&mut field, place, states, first));
    field.run(MINUTE);
    assert!(all_hold(&mut field, case), "cables bring all into step");
    (0..=case.listeners).for_each(|place| field.switch_on(place));
    field.run(TOGETHER);
    (1..=case.listeners).for_each(|listener| field.cut(SENDER, listener));
    field.run(TOGETHER);
    field.air.set_loss(Loss::single(case.loss_percent * 10));
    // Whole seconds: what a state is stamped with.
    let now = field.now();
    field.run(Millis::from_ms(1_000 - now.ms() % 1_000));
    field
}

fn join(field: &mut Field, listener: usize) {
    let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in: 60 * MINUTE, addresses: vec![] };
    let Some(Ok(Reply::Invite(invite))) = field.ask(SENDER, invite) else { panic!("an invite") };
    let request = field.begin(listener, Admin::Join { code: invite.code, addresses: vec![] });
    let joined = field.run_until(MINUTE, |field| matches!(field.answer(listener, request), Some(Ok(_))));
    assert!(joined, "a cable is there to join");
}

fn publish(field: &mut Field, place: usize, states: &States, at: usize) {
    let done = field.ask(place, Write::publish(states.at(at)));
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
}

fn hear_sender(field: &mut Field, case: &Case, hear: bool) {
    let sender = field.radio(SENDER);
    for listener in 1..=case.listeners {
        let listener = field.radio(listener);
        field.air.set_hear_each_other(sender, listener, hear);
    }
}

fn all_hold(field: &mut Field, case: &Case) -> bool {
    let own = field.ask(SENDER, Query::State { peer: None });
    let Some(Ok(Reply::State(own))) = own else { return false };
    let sender = did(&field.peer_id(SENDER));
    (1..=case.listeners).all(|listener| {
        let theirs = field.ask(listener, Query::State { peer: Some(sender.clone()) });
        matches!(theirs, Some(Ok(Reply::State(theirs))) if theirs == own)
    })
}

/// Every frame from a moment on, in seconds after it; `!`: another was on air at the same time; `-`: all were in step.
fn frames(field: &Field, met: Mono, done: Mono) {
    let all: Vec<_> = field.air.log().filter(|on_air| on_air.end_us >= met.ms() * 1_000).collect();
    for on_air in &all {
        let overlaps = |other: &&&tombolo_mesh::emulated::OnAir| {
            other.radio != on_air.radio && other.start_us < on_air.end_us && on_air.start_us < other.end_us
        };
        println!(
            "{}{} {:>9.2} to {:>9.2} n{} {} {} bytes",
            if on_air.start_us >= done.ms() * 1_000 { '-' } else { ' ' },
            if all.iter().any(|other| overlaps(&other)) { '!' } else { ' ' },
            on_air.start_us as f64 / 1e6 - met.ms() as f64 / 1e3,
            on_air.end_us as f64 / 1e6 - met.ms() as f64 / 1e3,
            on_air.radio.0,
            on_air.frame.first().map_or("empty", |first| name(Kind::of(*first))),
            on_air.frame.len(),
        );
    }
}

/// What began to leave in that time.
fn count(field: &Field, case: &Case, row: &mut MeshRow, time: std::ops::Range<Mono>) {
    let time_us = time.start.ms() * 1_000..time.end.ms() * 1_000;
    for on_air in field.air.log().filter(|on_air| time_us.contains(&on_air.start_us)) {
        let kind = on_air.frame.first().map_or("empty", |first| name(Kind::of(*first)));
        row.add(Kinds::one(kind, on_air.frame.len()), case.preset.line.frame_us(on_air.frame.len()));
    }
}

fn name(kind: Kind) -> &'static str {
    match kind.number() {
        0 => "opening",
        1 => "fragment",
        2 => "nack",
        3 => "join",
        5 => "update",
        6 => "whole",
        7 => "heartbeat",
        8 => "frontier",
        _ => "other",
    }
}
