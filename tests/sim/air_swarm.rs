//! Random federations with radios on a bad channel: loss up to a half, bursts, corruption, duplication, hidden
//! stations, restarts; then a quiet channel, on which all must come to read the same bytes. Safety is checked on
//! the way: every value that a node reads was written by some node.
//!
//! `TOMBOLO_SEED=N cargo test --test sim air_swarm::replay -- --exact --nocapture` runs one seed.

use std::collections::{BTreeMap, BTreeSet};

use tombolo::federation::TrustLevel;
use tombolo::layer::Kind;
use tombolo::merge::KeyPath;
use tombolo::node::{Admin, Query, Reply, Write};
use tombolo::time::Millis;
use tombolo_delta::Value;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::emulated::{Faults, Loss};
use tombolo_sim::field::{Field, FieldConfig};
use tombolo_sim::report::RunReport;
use tombolo_sim::rng::Rng;
use tombolo_sim::{HOUR, MINUTE};

use crate::seeds;

fn one(seed: u64) -> RunReport {
    let mut report = RunReport { runs: 1, ..RunReport::default() };
    if let Err(wrong) = live(seed, &mut report) {
        report.wrongs.push(wrong);
    }
    report
}

fn live(seed: u64, report: &mut RunReport) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let line = if rng.chance(500) { Modulation::SF7_125 } else { Modulation::LONG_FAST };
    let mut config = FieldConfig::new(seed, PhyRate::lora(line));
    config.frame_bytes_max = [50, 120, 163, 231, 255][rng.below(5) as usize];
    config.sign_every = if rng.chance(250) { 8 } else { 1 };
    let mut field = Field::new(config);
    let count = 2 + rng.below(3) as usize;
    for n in 0..count {
        field.add(&format!("n{n}"), false).map_err(|e| e.to_string())?;
    }
    field.calls_reach = true;
    for a in 0..count {
        for b in a + 1..count {
            let invite = Admin::Invite { level: TrustLevel::Trusted, expires_in: HOUR, addresses: vec![] };
            let Some(Ok(Reply::Invite(invite))) = field.ask(a, invite) else {
                return Err("no invite".into());
            };
            field.begin(b, Admin::Join { code: invite.code, addresses: vec![] });
            field.connect(a, b);
            field.run(Millis::from_ms(2_000));
        }
        let create = Write::Create { name: format!("doc{a}"), kind: Kind::Map };
        field.ask(a, create);
    }
    field.run(Millis::from_ms(60_000));
    field.calls_reach = false;
    for a in 0..count {
        for b in a + 1..count {
            field.cut(a, b);
        }
    }
    (0..count).for_each(|n| field.switch_on(n));
    let loss = rng.below(500) as u32;
    field.air.set_loss(if rng.chance(500) {
        Loss::single(loss)
    } else {
        Loss::bursts(loss, 2 + rng.below(6) as u32)
    });
    let faults = Faults { corrupt_permille: rng.below(60) as u32, duplicate_permille: rng.below(60) as u32 };
    field.air.set_faults(faults);
    if count > 2 && rng.chance(400) {
        let (a, b) = (field.radio(0), field.radio(1));
        field.air.set_hear_each_other(a, b, false);
    }
    let mut written: BTreeSet<String> = BTreeSet::new();
    for step in 0..12 + rng.below(30) {
        let (at, doc) = (rng.below(count as u64) as usize, rng.below(count as u64) as usize);
        match rng.below(10) {
            0 => field.restart(at).map_err(|e| e.to_string())?,
            1..=7 => {
                let owner = tombolo::identity::did(&field.peer_id(doc));
                let doc = if doc == at { format!("doc{doc}") } else { format!("{owner}/doc{doc}") };
                let value = format!("{step} by {at} {}", "x".repeat(rng.below(90) as usize));
                let key = KeyPath::parse(&format!("k{}", rng.below(6))).unwrap();
                written.insert(value.clone());
                field.ask(at, Write::Set { doc, key, value: Value::from(value) });
            }
            _ => {}
        }
        field.run(rng.length_below(20 * MINUTE));
        for at in 0..count {
            for value in texts(&mut field, at) {
                if !written.contains(&value) {
                    return Err(format!("node {at} reads {value:?}, which nobody wrote"));
                }
            }
        }
    }
    field.air.set_loss(Loss::NONE);
    field.air.set_faults(Faults::default());
    for a in 0..count {
        for b in a + 1..count {
            let (a, b) = (field.radio(a), field.radio(b));
            field.air.set_hear_each_other(a, b, true);
        }
    }
    let began = field.now();
    let same = |field: &mut Field| {
        let first = documents(field, 0);
        (1..field.places()).all(|n| documents(field, n) == first)
    };
    let mut healed = false;
    for _ in 0..24 {
        field.run(HOUR / 2);
        if same(&mut field) {
            healed = true;
            break;
        }
    }
    if !healed {
        let all: Vec<_> = (0..count).map(|n| documents(&mut field, n)).collect();
        let why: Vec<_> = (0..count).map(|n| format!("{:?}", field.ask(n, Query::Status))).collect();
        return Err(format!("not the same after 12 quiet hours: {all:#?}\n{}", why.join("\n")));
    }
    report.converged = field.now().since(began);
    report.frames = field.air.all_stats().map(|(_, stats)| stats.sent_frames).sum();
    // Over the last frames on air: equal seeds, equal histories.
    let mut digest = blake3::Hasher::new();
    for frame in field.air.log() {
        digest.update(&frame.radio.0.to_le_bytes());
        digest.update(&frame.frequency_hz.to_le_bytes());
        digest.update(&frame.start_us.to_le_bytes());
        digest.update(&frame.end_us.to_le_bytes());
        digest.update(&frame.frame);
    }
    report.digest = digest.finalize().to_hex().chars().take(16).collect();
    Ok(())
}

fn texts(field: &mut Field, at: usize) -> Vec<String> {
    let Some(Ok(Reply::Documents(list))) = field.ask(at, Query::List) else { return Vec::new() };
    let mut found = Vec::new();
    for document in list.into_iter().filter(|d| d.name.starts_with("doc")) {
        let doc = format!("{}/{}", document.owner, document.name);
        if let Some(Ok(Reply::Value(value))) = field.ask(at, Query::Get { doc, key: None })
            && let Some(map) = value.as_map()
        {
            found.extend(map.iter().filter_map(|(_, value)| value.as_text().map(str::to_owned)));
        }
    }
    found
}

fn documents(field: &mut Field, at: usize) -> BTreeMap<(String, String), String> {
    let Some(Ok(Reply::Documents(list))) = field.ask(at, Query::List) else { return BTreeMap::new() };
    list.into_iter().filter(|d| d.name.starts_with("doc")).map(|d| ((d.owner, d.name), d.hash)).collect()
}

/// All nodes of each federation read the same bytes within twelve quiet hours, and none reads a value that was never written.
#[test]
fn every_seed_ends_in_step() {
    let (failed, total) = seeds::run_all("air_swarm", one, seeds::wanted(30));
    println!("totals: {total}");
    assert!(failed.is_empty(), "{} of {} seeds failed: {failed:?}", failed.len(), total.runs);
}

/// Not a test of its own: runs the seed that `TOMBOLO_SEED` names, and prints its report.
#[test]
fn replay() {
    seeds::replay("air_swarm", one);
}
