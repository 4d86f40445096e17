//! What the two drawn scenarios share: a federation in the course of a run, how a write is made and noted for the
//! checks, and how the run is reported. [`swarm`](crate::swarm) and [`chaos`](crate::chaos) add what goes wrong.
//!
//! Every method draws from the one stream of the run, so the order of calls decides what a seed does.

use std::collections::BTreeMap;

use tombolo::federation::TrustLevel;
use tombolo::layer::KeyPath;
use tombolo::node::{App, AppStatus, CommandError, NodeState, Query, Reply, Write};
use tombolo::time::{Millis, Mono};
use tombolo_delta::Value;

use crate::checker::{Checker, DocumentRef};
use crate::faults::{Fault, WallClock};
use crate::report::RunReport;
use crate::rng::Rng;
use crate::{HOUR, Seat, Simulation};

/// A run of a drawn federation; `A` is what its plan does to it.
pub(crate) struct Day<A> {
    pub(crate) simulation: Simulation,
    pub(crate) rng: Rng,
    pub(crate) trust: Trust,
    pub(crate) schedule: Schedule<A>,
    /// Machines whose clock goes wrong.
    pub(crate) erring: Vec<Seat>,
    pub(crate) checker: Checker,
    pub(crate) report: RunReport,
}

/// Which machine lets which other do what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust(BTreeMap<(Seat, Seat), TrustLevel>);

impl Trust {
    /// What `owner` lets `other` do. Each machine trusts itself.
    pub(crate) fn level(&self, owner: Seat, other: Seat) -> TrustLevel {
        if owner == other {
            return TrustLevel::Trusted;
        }
        self.0.get(&(owner, other)).copied().unwrap_or(TrustLevel::Untrusted)
    }

    pub(crate) fn set(&mut self, owner: Seat, other: Seat, level: TrustLevel) {
        self.0.insert((owner, other), level);
    }

    /// Each pair that was ever set, with its level.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = ((Seat, Seat), TrustLevel)> {
        self.0.iter().map(|(pair, level)| (*pair, *level))
    }

    /// Whether `reader` holds the documents of `owner`: the owner lets it, and it participates.
    pub(crate) fn reads(&self, owner: Seat, reader: Seat) -> bool {
        self.level(owner, reader) >= TrustLevel::Observer && self.level(reader, owner) == TrustLevel::Trusted
    }

    /// Whether `writer` may write the documents of `owner`.
    pub(crate) fn writes(&self, owner: Seat, writer: Seat) -> bool {
        self.level(owner, writer) == TrustLevel::Trusted && self.level(writer, owner) == TrustLevel::Trusted
    }

    /// Whether both are peers of each other: then each holds the other's node state.
    pub(crate) fn are_peers(&self, a: Seat, b: Seat) -> bool {
        self.level(a, b) >= TrustLevel::Observer && self.level(b, a) >= TrustLevel::Observer
    }
}

/// Actions by the time at which they are due; those of one time in the order in which they were planned.
pub(crate) struct Schedule<A> {
    actions: BTreeMap<(Mono, u64), A>,
    planned: u64,
}

impl<A> Schedule<A> {
    pub(crate) fn at(&mut self, at: Mono, action: A) {
        self.planned += 1;
        self.actions.insert((at, self.planned), action);
    }

    /// The next action and the time at which it is due.
    pub(crate) fn pop(&mut self) -> Option<(Mono, A)> {
        self.actions.pop_first().map(|((at, _), action)| (at, action))
    }
}

/// How the writes of a scenario are drawn.
pub(crate) struct WriteOdds {
    /// Writes to a key that the writer alone writes, per thousand; the rest goes to shared keys.
    pub(crate) own_permille: u32,
    pub(crate) own_keys: u64,
    pub(crate) shared_keys: u64,
    /// Writes during which the machine crashes, per thousand.
    pub(crate) crash_permille: u32,
}

/// Deletions among the writes, per thousand.
const DELETE_PERMILLE: u32 = 120;
/// A crash amid a write comes after fewer outputs than this.
const CRASH_OUTPUTS: u64 = 6;

impl<A> Day<A> {
    pub(crate) fn new(simulation: Simulation, rng: Rng) -> Self {
        Day {
            simulation,
            rng,
            trust: Trust::default(),
            schedule: Schedule { actions: BTreeMap::new(), planned: 0 },
            erring: Vec::new(),
            checker: Checker::default(),
            report: RunReport { runs: 1, ..RunReport::default() },
        }
    }

    // ---- the federation ------------------------------------------------------------------------------

    /// How many machines there are. Small federations come more often: the work grows with the square.
    pub(crate) fn draw_machines(&mut self, (least, most): (usize, usize)) -> u64 {
        let mut draw = || self.rng.between(least as u64, most as u64);
        draw().min(draw())
    }

    /// Joins the machines in a ring, so that each has a peer, and the given share of the other pairs.
    pub(crate) fn federate_all(
        &mut self,
        chords_permille: u32,
        observers_permille: u32,
    ) -> Result<(), String> {
        let seats = self.simulation.seats();
        for (i, a) in seats.iter().enumerate() {
            for (j, b) in seats.iter().enumerate().skip(i + 1) {
                let in_ring = j == i + 1 || (i == 0 && j + 1 == seats.len());
                if !in_ring && !self.rng.chance(chords_permille) {
                    continue;
                }
                let (inviter, joiner) = if self.rng.chance(500) { (*a, *b) } else { (*b, *a) };
                let observer = self.rng.chance(observers_permille);
                let level = if observer { TrustLevel::Observer } else { TrustLevel::Trusted };
                self.simulation.federate(inviter, joiner, level, HOUR)?;
                self.trust.set(inviter, joiner, level);
                self.trust.set(joiner, inviter, TrustLevel::Trusted);
            }
        }
        Ok(())
    }

    pub(crate) fn running(&self) -> Vec<Seat> {
        self.simulation.seats().into_iter().filter(|seat| self.simulation.is_running(*seat)).collect()
    }

    /// One of the machines that run.
    pub(crate) fn pick_running(&mut self) -> Option<Seat> {
        let running = self.running();
        self.rng.pick(&running).copied()
    }

    /// A clock as good as real ones: right, with some drift.
    pub(crate) fn draw_right_clock(&mut self) -> WallClock {
        WallClock { drift_ppm: self.rng.below(301) as i64 - 150, ..WallClock::default() }
    }

    /// A machine's clock goes wrong.
    pub(crate) fn err_clock(&mut self, seat: Seat) {
        let clock = WallClock::draw(&mut self.rng);
        self.simulation.faults.count(if clock.unset { Fault::ClockUnset } else { Fault::ClockJump });
        self.simulation.set_clock(seat, clock);
    }

    pub(crate) fn wrong(&mut self, what: String) {
        self.report.wrongs.push(what);
    }

    // ---- writes --------------------------------------------------------------------------------------

    /// A drawn write to a document that the writer may write. Whether the machine crashed amid it.
    pub(crate) fn write(&mut self, writer: Seat, document: &DocumentRef, odds: &WriteOdds) -> bool {
        let own = self.rng.chance(odds.own_permille);
        let key = match own {
            true => own_key(writer, &format!("k{}", self.rng.below(odds.own_keys))),
            false => key_of(["shared".to_owned(), format!("k{}", self.rng.below(odds.shared_keys))]),
        };
        let doc = document.text(&self.simulation);
        let deletes = self.rng.chance(DELETE_PERMILLE);
        let value = (!deletes).then(|| draw_value(&mut self.rng, !own));
        let command = match &value {
            None => Write::Del { doc, key: key.clone() },
            Some(value) => Write::Set { doc, key: key.clone(), value: value.clone() },
        };
        let crashes = self.rng.chance(odds.crash_permille);
        let result = if crashes {
            self.simulation.faults.count(Fault::CrashAmidWrite);
            let outputs = self.rng.below(CRASH_OUTPUTS) as usize;
            self.simulation.ask_and_crash(writer, command, outputs)
        } else {
            Some(self.simulation.ask(writer, command))
        };
        match result {
            Some(Ok(_)) => {
                self.report.writes += 1;
                if own {
                    self.checker.acknowledged(document, &key, value, self.simulation.time());
                }
            }
            Some(Err(CommandError::UnknownKey { .. })) if deletes => {}
            Some(Err(CommandError::ReadOnly { .. } | CommandError::UnknownDocument(_))) => {
                self.report.refused += 1;
            }
            Some(Err(error)) => self.wrong(format!("{writer:?} cannot write {document:?}: {error}")),
            None if own => self.checker.attempted(document, &key, value),
            None => {}
        }
        crashes
    }

    /// Sets a key that the writer alone writes; the value must be there at the end.
    pub(crate) fn set_own(
        &mut self,
        writer: Seat,
        document: &DocumentRef,
        name: &str,
        value: Value,
    ) -> Result<(), CommandError> {
        let (doc, key) = (document.text(&self.simulation), own_key(writer, name));
        self.simulation.ask(writer, Write::Set { doc, key: key.clone(), value: value.clone() })?;
        self.checker.acknowledged(document, &key, Some(value), self.simulation.time());
        Ok(())
    }

    /// Sets a key that others write as well. A machine may not know yet of its right to do so.
    pub(crate) fn set_shared(&mut self, writer: Seat, document: &DocumentRef, key: &KeyPath, value: Value) {
        let (doc, key) = (document.text(&self.simulation), key.clone());
        match self.simulation.ask(writer, Write::Set { doc, key, value }) {
            Ok(_) => self.report.writes += 1,
            Err(CommandError::ReadOnly { .. } | CommandError::UnknownDocument(_)) => self.report.refused += 1,
            Err(error) => self.wrong(format!("{writer:?} cannot write {document:?}: {error}")),
        }
    }

    /// A machine whose clock was wrong writes once more in a document, so that its stamps are put right.
    pub(crate) fn restamp(&mut self, seat: Seat, document: &DocumentRef) {
        let value = Value::from(self.rng.bits());
        if let Err(error) = self.set_own(seat, document, "restamp", value) {
            self.wrong(format!("{seat:?} cannot write {document:?} after all: {error}"));
        }
    }

    /// The operators of machines whose clock is right again, and whose nodes have no clock that they believe, do as the page of
    /// alarms advises: a node that has written under a fast clock cannot know by itself that it was fast.
    pub(crate) fn vouch_for_clocks(&mut self) {
        for seat in self.erring.clone() {
            let status = self.simulation.ask(seat, Query::Status);
            if matches!(status, Ok(Reply::Status(status)) if status.time_source == "logical") {
                self.simulation.vouch_for_clock(seat);
            }
        }
    }

    /// A machine that may only read tries to write: it is refused, and nothing comes of it.
    pub(crate) fn intrude(
        &mut self,
        writer: Seat,
        document: &DocumentRef,
        is_refusal: fn(&CommandError) -> bool,
    ) {
        let key = key_of(["intruder".to_owned(), name_of(writer)]);
        let doc = document.text(&self.simulation);
        match self.simulation.ask(writer, Write::Set { doc, key, value: Value::from(1u64) }) {
            Err(error) if is_refusal(&error) => self.report.refused += 1,
            other => self.wrong(format!("{writer:?} may only read {document:?}, and writing gave {other:?}")),
        }
    }

    pub(crate) fn publish_state(&mut self) {
        let Some(seat) = self.pick_running() else { return };
        let state = draw_state(&mut self.rng, seat, self.simulation.time());
        if let Err(error) = self.simulation.ask(seat, Write::publish(state)) {
            self.wrong(format!("{seat:?} cannot publish its state: {error}"));
        }
    }

    // ---- accounts ------------------------------------------------------------------------------------

    /// Notes what the nodes refused since each of them last started.
    pub(crate) fn note_rejections(&mut self) {
        for seat in self.running() {
            if let Ok(Reply::Status(status)) = self.simulation.ask(seat, Query::Status) {
                for (reason, count) in status.rejections {
                    *self.report.rejections.entry(reason).or_default() += count;
                }
            }
        }
    }

    /// The report of the run.
    pub(crate) fn close(mut self) -> RunReport {
        self.simulation.consult_oracle_about_all();
        self.report.machines = self.simulation.seats().len() as u64;
        self.report.faults = self.simulation.faults.clone();
        self.report.carry(self.simulation.traffic());
        self.report.digest = self.simulation.digest();
        self.report.wrongs.extend(self.simulation.wrongs().iter().cloned());
        self.report
    }
}

/// How a run waits for its federation to be in step.
pub(crate) struct Patience {
    /// From when it waits.
    pub(crate) began: Mono,
    /// How long, at most.
    pub(crate) within: Millis,
    /// Shortest and longest time between two looks.
    pub(crate) pause: (Millis, Millis),
    /// A look comes after this fraction of the time that has passed.
    pub(crate) pause_part: u64,
}

/// Lets time pass until `look` finds nothing wrong; how long that took, or how long it waited in vain and what was
/// wrong last.
pub(crate) fn wait_in_step<R: AsMut<Simulation>>(
    run: &mut R,
    patience: &Patience,
    mut look: impl FnMut(&mut R) -> Result<(), String>,
) -> Result<Millis, (Millis, String)> {
    loop {
        let so_far = run.as_mut().time().since(patience.began);
        match look(run) {
            Ok(()) => return Ok(so_far),
            Err(why) if so_far >= patience.within => return Err((so_far, why)),
            Err(_) => {
                let (shortest, longest) = patience.pause;
                run.as_mut().run_for((so_far / patience.pause_part).clamp(shortest, longest));
            }
        }
    }
}

/// The name of a machine in keys.
pub(crate) fn name_of(seat: Seat) -> String {
    format!("node{}", seat.0)
}

/// A key that one machine alone writes.
pub(crate) fn own_key(writer: Seat, name: &str) -> KeyPath {
    key_of(["own".to_owned(), name_of(writer), name.to_owned()])
}

/// A key of these segments.
pub(crate) fn key_of<const N: usize>(segments: [String; N]) -> KeyPath {
    KeyPath::new(segments).expect("the keys of a run have few and short segments")
}

/// A value of any kind; a map is spread over keys of its own.
pub(crate) fn draw_value(rng: &mut Rng, spread: bool) -> Value {
    let number = rng.bits() >> rng.below(64);
    match rng.below(if spread { 7 } else { 6 }) {
        0 => Value::from(number),
        1 => Value::from(number as i64),
        2 => Value::from(f64::from_bits(rng.bits() & !(0x7ff << 52) | (1023 << 52))),
        3 => Value::from(number.is_multiple_of(2)),
        4 => Value::from("ebb and flow ".repeat(rng.below(12) as usize).as_str()),
        5 => Value::array((0..rng.below(5)).map(|i| Value::from(number ^ i))),
        _ => Value::map([("left", Value::from(number)), ("right", Value::from("tide"))]),
    }
}

fn draw_state(rng: &mut Rng, seat: Seat, time: Mono) -> NodeState {
    let status = if rng.chance(500) { AppStatus::Running } else { AppStatus::Stopped };
    NodeState {
        node_name: Some(name_of(seat)),
        apps: vec![App { id: "harbour".into(), status, version: Some("1.2".into()), health: None }],
        cpu_usage_percent: Some(rng.below(1000) as f64 / 10.0),
        uptime_secs: Some(time.ms() / 1000),
        ..NodeState::default()
    }
}
