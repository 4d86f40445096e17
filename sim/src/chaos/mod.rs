//! A federation with radios and cables, drawn from a seed: some machines have a cable, some a radio or two, some both,
//! and these come and go while machines crash and rights change. Then the faults end: all machines that may read a
//! document and can be reached read the same bytes. Then all are put on one cable: all machines read the same, and
//! the radios are silent.
//!
//! | file | what |
//! |---|---|
//! | `setup` | the machines, their trust, documents, cables and radios |
//! | `faults` | what goes wrong, and when |
//! | `operations` | writes, policies, removals |
//! | `quiescence` | what must hold afterwards |

mod faults;
mod operations;
mod quiescence;
mod setup;

use std::collections::{BTreeMap, BTreeSet};

use tombolo::federation::RadioUse;
use tombolo::layer::{Kind, LayerId, Sequence};
use tombolo::store::Store;
use tombolo::time::{Millis, Mono};
use tombolo_delta::Value;
use tombolo_mesh::frame::keys::Mode;

use crate::checker::DocumentRef;
use crate::day::Day;
use crate::faults::Rates;
use crate::report::RunReport;
use crate::rng::Rng;
use crate::{HOUR, MINUTE, Seat, Simulation};
use faults::ChaosAction;

/// How much happens in a run.
#[derive(Clone, Debug)]
pub struct ChaosPlan {
    /// Fewest and most machines.
    pub machines: (usize, usize),
    /// Virtual time with all faults on, at least and at most.
    pub faulty: (Millis, Millis),
    /// Operations in it, at most; at least half as many.
    pub operations: u64,
    /// Time between two heartbeats on cables.
    pub heartbeat: Millis,
    /// In step over the links that there are, at the latest so long after the faults.
    pub quiescence: Millis,
    /// In step at the latest so long after all machines were put on one cable.
    pub one_cable: Millis,
}

impl Default for ChaosPlan {
    fn default() -> Self {
        let heartbeat = 10 * MINUTE;
        ChaosPlan {
            machines: (3, 5),
            faulty: (HOUR, 8 * HOUR),
            operations: 50,
            heartbeat,
            quiescence: 48 * HOUR,
            one_cable: 3 * heartbeat,
        }
    }
}

/// A document of the run, with its policy.
#[derive(Clone, Debug)]
struct DrawnDocument {
    document: DocumentRef,
    kind: Kind,
    radio: RadioUse,
    confidential: bool,
}

impl DrawnDocument {
    /// Whether radios of this mode may carry it.
    fn goes_on_air(&self, mode: Mode) -> bool {
        self.radio == RadioUse::Full && (mode == Mode::Encrypted || !self.confidential)
    }
}

/// A key written after a machine was removed, which that machine must not read.
#[derive(Clone)]
struct Canary {
    document: DocumentRef,
    key: String,
    removed: Seat,
}

/// A disk as it was at some time.
struct Backup {
    store: Store,
    at: Mono,
}

/// One run of the scenario.
struct Chaos {
    day: Day<ChaosAction>,
    plan: ChaosPlan,
    mode: Mode,
    /// Owner and writer whose rights have changed: the one may not know yet what the other changed.
    unsettled: BTreeSet<(Seat, Seat)>,
    documents: Vec<DrawnDocument>,
    /// The contents that a snapshot may have, by the writes that its owner had acknowledged.
    snapshots: BTreeMap<DocumentRef, Vec<Value>>,
    /// Machines that have a cable; a fault may pull it.
    cabled: BTreeSet<Seat>,
    /// What machines without a cable held when they left it, of what radios must not carry.
    left_with: BTreeMap<(Seat, LayerId), Sequence>,
    canaries: Vec<Canary>,
    backups: BTreeMap<Seat, Vec<Backup>>,
    /// When a machine comes back with its new disk.
    restored: BTreeMap<Seat, Mono>,
}

impl AsMut<Simulation> for Chaos {
    fn as_mut(&mut self) -> &mut Simulation {
        &mut self.day.simulation
    }
}

/// Runs a seed. What must never happen and did stands in the report's `wrongs`.
pub fn run(seed: u64, plan: &ChaosPlan) -> RunReport {
    let mut rng = Rng::new(seed);
    let mode = if rng.chance(200) { Mode::SignedClear } else { Mode::Encrypted };
    let mut simulation = Simulation::new(rng.bits(), Rates::CLEAN);
    simulation.watch_by_oracle();
    let mut chaos = Chaos {
        day: Day::new(simulation, rng),
        plan: plan.clone(),
        mode,
        unsettled: BTreeSet::new(),
        documents: Vec::new(),
        snapshots: BTreeMap::new(),
        cabled: BTreeSet::new(),
        left_with: BTreeMap::new(),
        canaries: Vec::new(),
        backups: BTreeMap::new(),
        restored: BTreeMap::new(),
    };
    if let Err(wrong) = chaos.live() {
        chaos.day.wrong(wrong);
    }
    chaos.close()
}

impl Chaos {
    fn live(&mut self) -> Result<(), String> {
        self.set_up()?;
        self.disperse();
        self.plan_day();
        self.pass_day();
        self.end_faults();
        self.await_quiescence()?;
        self.join_one_cable()?;
        self.check_silence()?;
        self.day.note_rejections();
        self.check_memory()
    }

    /// Whether the rights between two machines have stayed as they were at the beginning.
    fn is_settled(&self, a: Seat, b: Seat) -> bool {
        !self.unsettled.contains(&(a, b)) && !self.unsettled.contains(&(b, a))
    }

    fn close(mut self) -> RunReport {
        let monitor = self.day.simulation.monitor();
        let (frames, wrongs) = (monitor.frames(), monitor.wrongs());
        let mut report = self.day.close();
        report.frames = frames;
        report.wrongs.extend(wrongs);
        report
    }
}
