//! A federation of isles, drawn from a seed: some machines have a cable, some a radio or two, some both, and
//! these come and go. Then the weather clears: whoever may read a document and can be reached reads the same
//! bytes. Then everybody comes ashore: so does everybody, and with all on one cable the radios fall silent.
//!
//! | file | what |
//! |---|---|
//! | `found` | who there is, who trusts whom, which documents, which radios |
//! | `weather` | what goes wrong |
//! | `deeds` | what people do: writes, policies, removals |
//! | `calm` | what must hold afterwards |

mod calm;
mod deeds;
mod found;
mod weather;

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::Value;
use tombolo_mesh::frame::keys::Mode;

use crate::federation::{RadioUse, TrustLevel};
use crate::layer::{Kind, LayerId, Sequence};
use crate::sim::checker::{Checker, Place};
use crate::sim::dice::Dice;
use crate::sim::faults::{Rates, WallClock};
use crate::sim::report::Report;
use crate::sim::{Seat, Simulation};
use crate::store::Store;
use weather::Step;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// How much happens in a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Fewest and most machines.
    pub machines: (usize, usize),
    /// Virtual time with all faults on, at least and at most.
    pub faulty_ms: (u64, u64),
    /// Things that people do in it.
    pub deeds: u64,
    /// Time between two heartbeats on cables.
    pub heartbeat_ms: u64,
    /// In step over what there is, at the latest so long after the faults.
    pub calm_ms: u64,
    /// In step with everybody on one cable, at the latest so long after they came ashore.
    pub ashore_ms: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let heartbeat_ms = 10 * MINUTE_MS;
        Plan {
            machines: (3, 5),
            faulty_ms: (HOUR_MS, 8 * HOUR_MS),
            deeds: 50,
            heartbeat_ms,
            calm_ms: 48 * HOUR_MS,
            ashore_ms: 3 * heartbeat_ms,
        }
    }
}

/// A document of the run.
#[derive(Clone, Debug)]
struct Paper {
    place: Place,
    kind: Kind,
    radio: RadioUse,
    confidential: bool,
}

impl Paper {
    /// Whether radios of this mode may carry it.
    fn goes_on_air(&self, mode: Mode) -> bool {
        self.radio == RadioUse::Full && (mode == Mode::Encrypted || !self.confidential)
    }
}

/// A disk as it was at some time.
struct Backup {
    store: Store,
    at_ms: u64,
}

/// One run.
struct Day {
    simulation: Simulation,
    dice: Dice,
    plan: Plan,
    mode: Mode,
    /// What the first lets the second do.
    levels: BTreeMap<(Seat, Seat), TrustLevel>,
    /// Owner and writer whose rights have changed: what the one knows of it the other may not yet.
    unsettled: BTreeSet<(Seat, Seat)>,
    papers: Vec<Paper>,
    /// Whole contents that a snapshot may have, by owner's acknowledged writes.
    snapshots: BTreeMap<Place, Vec<Value>>,
    /// Machines with a cable, when nobody has pulled it.
    cabled: BTreeSet<Seat>,
    /// What machines without a cable held when they left, of what radios must not bring them.
    left_with: BTreeMap<(Seat, LayerId), Sequence>,
    /// Keys written after somebody was removed, who must not read them: owner's document, and who.
    canaries: Vec<(Place, String, Seat)>,
    backups: BTreeMap<Seat, Vec<Backup>>,
    erring: Vec<Seat>,
    steps: BTreeMap<(u64, u64), Step>,
    planned: u64,
    checker: Checker,
    report: Report,
}

/// Runs a seed. What must never happen and did stands in the report's `wrongs`.
pub fn run(seed: u64, plan: &Plan) -> Report {
    let mut dice = Dice::new(seed);
    let mode = if dice.chance(200) { Mode::SignedClear } else { Mode::Encrypted };
    let mut day = Day {
        simulation: Simulation::new(dice.bits(), Rates::CLEAN),
        dice,
        plan: plan.clone(),
        mode,
        levels: BTreeMap::new(),
        unsettled: BTreeSet::new(),
        papers: Vec::new(),
        snapshots: BTreeMap::new(),
        cabled: BTreeSet::new(),
        left_with: BTreeMap::new(),
        canaries: Vec::new(),
        backups: BTreeMap::new(),
        erring: Vec::new(),
        steps: BTreeMap::new(),
        planned: 0,
        checker: Checker::default(),
        report: Report { runs: 1, ..Report::default() },
    };
    if let Err(wrong) = day.live() {
        day.report.wrongs.push(wrong);
    }
    day.close()
}

impl Day {
    fn live(&mut self) -> Result<(), String> {
        self.found()?;
        self.leave();
        self.plan_day();
        self.pass_day();
        self.clear_up();
        self.calm_down()?;
        self.come_ashore()?;
        self.check_silence()?;
        self.note_rejections();
        self.check_memory()
    }

    fn level(&self, who: Seat, whom: Seat) -> TrustLevel {
        if who == whom {
            return TrustLevel::Trusted;
        }
        self.levels.get(&(who, whom)).copied().unwrap_or(TrustLevel::Untrusted)
    }

    /// Whether `reader` holds the documents of `owner`: it may, and it takes part.
    fn reads(&self, owner: Seat, reader: Seat) -> bool {
        self.level(owner, reader) >= TrustLevel::Observer && self.level(reader, owner) == TrustLevel::Trusted
    }

    fn writes(&self, owner: Seat, writer: Seat) -> bool {
        self.level(owner, writer) == TrustLevel::Trusted && self.level(writer, owner) == TrustLevel::Trusted
    }

    fn running(&self) -> Vec<Seat> {
        self.simulation.seats().into_iter().filter(|seat| self.simulation.is_running(*seat)).collect()
    }

    fn right_clock(&mut self) -> WallClock {
        WallClock { drift_ppm: self.dice.below(301) as i64 - 150, ..WallClock::default() }
    }

    fn close(mut self) -> Report {
        self.report.machines = self.simulation.seats().len() as u64;
        self.report.faults = self.simulation.faults.clone();
        self.report.frames = self.simulation.monitor().frames();
        self.report.carry(self.simulation.traffic());
        self.report.digest = self.simulation.digest();
        self.report.wrongs.extend(self.simulation.wrongs().iter().cloned());
        self.report.wrongs.extend(self.simulation.monitor().wrongs());
        self.report
    }
}
