//! Bytes and airtime that it takes on a radio until all listeners are in step.
//!
//! ```text
//! cargo bench --bench mesh -- [--scenario NAME]... [--preset NAME]... [--loss PERCENT]... [--listeners N]...
//!     [--changes N]... [--seeds N] [--trace FILE] [--first-seed N] [--kinds] [--frames] [--json]
//! ```
//!
//! | scenario | what |
//! |---|---|
//! | `apart` | whole nodes: changes made while out of reach, then met again ([`ours`]) |
//! | `snapshot` | the newest state whole, as CBOR in fragments ([`snapshot`]) |
//! | `published` | what two systems over Reticulum send for as much: figures measured with them, not here |
//! | `live` | whole nodes: one state after the other while all listen; sizes of frames |
//!
//! *bytes* are those of our frames, *radio headers* what the radio adds to them; *airtime* counts both. LongFast is a
//! Meshtastic radio (24 bytes a frame; the newest firmware adds 66 more where it signs), SF7/125 a modem that sends
//! frames as they are. *seconds* begin when the nodes meet, at any moment between two heartbeats. Rows are means over seeds.

#![allow(clippy::indexing_slicing, reason = "a measurement may panic")]

mod ours;
mod report;
mod snapshot;
mod states;

use clap::{Parser, ValueEnum};
use report::{Kinds, MeshRow};
use states::States;
use std::path::PathBuf;
use tombolo_mesh::airtime::{Modulation, PhyRate};

/// What Meshtastic takes: the least of the LoRa radios people own but MeshCore's.
const FRAME_BYTES_MAX: usize = 231;
/// States in the `live` scenario.
const LIVE_STATES: usize = 120;
/// Bytes that Meshtastic adds to a frame.
const MESHTASTIC_BYTES: usize = 24;

/// What others send, from measurements with the real programs over Reticulum: frames of one change with everything it
/// takes; bytes and frames of ten.
const MESHLOGD_ONE: [usize; 5] = [99, 195, 115, 355, 83];
const MESHLOGD_TEN: (usize, usize) = (2104, 8);
const LXMF_ONE: [usize; 2] = [307, 83];

/// Bytes and airtime until all are in step.
#[derive(Parser)]
struct MeshArguments {
    /// Only these scenarios.
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// Only these presets: LongFast, SF7/125.
    #[arg(long)]
    preset: Vec<String>,
    /// Frames lost, percent.
    #[arg(long, default_values_t = [0, 5, 15, 30], value_parser = clap::value_parser!(u32).range(0..=90))]
    loss: Vec<u32>,
    /// How many listen.
    #[arg(long, default_values_t = [1, 8])]
    listeners: Vec<usize>,
    /// Changes made while apart.
    #[arg(long, default_values_t = [1, 10, 100])]
    changes: Vec<usize>,
    /// Runs of each case.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Node states: JSON Lines, gzipped. Without it `t1-node-state` in TOMBOLO_TRACES, else the repository's recording.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Prints the frames of each kind.
    #[arg(long)]
    kinds: bool,
    /// Prints the frames of each run, with their times.
    #[arg(long)]
    frames: bool,
    /// The first of the runs.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Apart,
    Snapshot,
    Published,
    Live,
}

/// A setting of radios.
#[derive(Clone, Copy, Debug)]
struct Preset {
    name: &'static str,
    /// With what the radio adds.
    line: PhyRate,
    header_bytes: usize,
}

/// The parameters of one run.
#[derive(Clone, Copy, Debug)]
struct Case {
    preset: Preset,
    loss_percent: u32,
    listeners: usize,
    changes: usize,
    seed: u64,
    frames: bool,
}

fn main() {
    let arguments = MeshArguments::parse();
    let states = States::find(arguments.trace.as_deref());
    if !arguments.json {
        println!("{}: a state every {} s\n", states.name, states.step.ms() / 1_000);
        MeshRow::print_head();
    }
    let seeds = arguments.first_seed..arguments.first_seed.saturating_add(arguments.seeds);
    let wants = |scenario| arguments.scenario.is_empty() || arguments.scenario.contains(&scenario);
    let print = |row: &MeshRow| match arguments.json {
        true => println!("{}", row.json()),
        false => row.print(arguments.kinds),
    };
    for preset in presets(&arguments.preset) {
        if wants(Scenario::Published) {
            published(preset).iter().for_each(print);
        }
        for case in cases(&arguments, preset) {
            let runs = || seeds.clone().map(|seed| Case { seed, ..case });
            if wants(Scenario::Snapshot) {
                let bytes = |seed: u64| states.cbor_bytes[seed as usize % states.cbor_bytes.len()];
                let rows: Vec<MeshRow> = runs().map(|case| snapshot::run(&case, bytes(case.seed))).collect();
                print(&MeshRow::mean(&rows));
            }
            if wants(Scenario::Apart) {
                let rows: Vec<MeshRow> = runs().map(|case| ours::apart(&case, &states)).collect();
                print(&MeshRow::mean(&rows));
            }
        }
        if wants(Scenario::Live) {
            let changes = LIVE_STATES.min(states.states.len() - 1);
            let case = Case {
                preset,
                loss_percent: 0,
                listeners: arguments.listeners[0],
                changes,
                seed: 1,
                frames: false,
            };
            let row = ours::live(&case, &states);
            print(&row);
            if !arguments.json {
                println!("\n{}\n", row.sizes());
            }
        }
    }
}

fn presets(names: &[String]) -> Vec<Preset> {
    let long_fast = PhyRate::lora(Modulation::LONG_FAST).with_overhead_bytes(MESHTASTIC_BYTES as u16);
    let all = [
        Preset { name: "LongFast", line: long_fast, header_bytes: MESHTASTIC_BYTES },
        Preset { name: "SF7/125", line: PhyRate::lora(Modulation::SF7_125), header_bytes: 0 },
    ];
    let named = |preset: &Preset| names.iter().any(|name| name.eq_ignore_ascii_case(preset.name));
    let presets: Vec<Preset> = all.into_iter().filter(|preset| names.is_empty() || named(preset)).collect();
    assert!(!presets.is_empty(), "presets are LongFast and SF7/125");
    presets
}

fn cases(arguments: &MeshArguments, preset: Preset) -> Vec<Case> {
    let MeshArguments { loss, listeners, changes, .. } = arguments;
    let mut cases = Vec::new();
    for &loss_percent in loss {
        for &listeners in listeners {
            for &changes in changes {
                cases.push(Case {
                    preset,
                    loss_percent,
                    listeners,
                    changes,
                    seed: 0,
                    frames: arguments.frames,
                });
            }
        }
    }
    cases
}

/// Reticulum sends frames of up to 500 bytes; over LoRa each longer one is sent as two.
fn published(preset: Preset) -> Vec<MeshRow> {
    let (bytes, frames) = MESHLOGD_TEN;
    let ten = (0..frames).map(|frame| bytes / frames + usize::from(frame < bytes % frames));
    let rows: [(&str, usize, Vec<usize>); 3] = [
        ("meshlogd over Reticulum", 1, MESHLOGD_ONE.to_vec()),
        ("meshlogd over Reticulum", 10, ten.collect()),
        ("one LXMF message", 1, LXMF_ONE.to_vec()),
    ];
    let rows = rows.into_iter().map(|(name, changes, frames)| {
        let bare = Preset { header_bytes: 0, ..preset };
        let mut row = MeshRow::new(
            name,
            &Case { preset: bare, loss_percent: 0, listeners: 1, changes, seed: 0, frames: false },
        );
        for frame in frames {
            let PhyRate::LoRa { modulation, .. } = preset.line else { continue };
            row.add(Kinds::one("reticulum", frame), modulation.message_us(frame));
        }
        row
    });
    rows.collect()
}
