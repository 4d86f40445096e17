//! A federation and its day, drawn from a seed: who trusts whom, who writes what when, and what goes wrong
//! meanwhile. Then the faults end, and what must hold is looked at.

use std::collections::{BTreeMap, BTreeSet};

use tombolo::federation::TrustLevel;
use tombolo::layer::{KeyPath, Kind};
use tombolo::node::{App, AppStatus, Command, CommandError, NodeSettings, NodeState, Reply};
use tombolo_delta::Value;

use crate::checker::{Checker, Place, in_step, same_content, states_in_step};
use crate::dice::Dice;
use crate::faults::{Fault, Rates, WallClock};
use crate::report::Report;
use crate::{Seat, Simulation};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// How much happens in a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Fewest and most machines.
    pub machines: (usize, usize),
    /// Virtual time with all faults on, after everybody joined.
    pub faulty_ms: u64,
    /// Acknowledged writes, at least.
    pub writes: u64,
    /// Heartbeat of the nodes. Longer than on a real LAN: a virtual day of idle chatter proves little.
    pub heartbeat_ms: u64,
    /// In step at the latest so long after the faults.
    pub converge_ms: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let heartbeat_ms = 10 * MINUTE_MS;
        Plan {
            machines: (3, 8),
            faulty_ms: 24 * HOUR_MS,
            writes: 200,
            heartbeat_ms,
            converge_ms: 3 * heartbeat_ms,
        }
    }
}

/// Something that the plan does to the federation.
#[derive(Debug)]
enum Step {
    Write,
    PublishState,
    Crash,
    Restart(Seat),
    Part,
    Cut(Seat, Seat),
    Mend(Vec<(Seat, Seat)>),
    Clock(Seat),
}

/// One run.
struct Day {
    simulation: Simulation,
    dice: Dice,
    plan: Plan,
    /// What the first lets the second do.
    levels: BTreeMap<(Seat, Seat), TrustLevel>,
    places: Vec<Place>,
    /// Machines whose clock goes wrong.
    erring: Vec<Seat>,
    /// Two machines that never reach each other directly.
    apart: Option<(Seat, Seat)>,
    steps: BTreeMap<(u64, u64), Step>,
    healed_ms: u64,
    planned: u64,
    checker: Checker,
    report: Report,
}

/// Runs a seed. What must never happen and did stands in the report's `wrongs`.
pub fn run(seed: u64, plan: &Plan) -> Report {
    let mut dice = Dice::new(seed);
    let rates = Rates::draw(&mut dice);
    let mut day = Day {
        simulation: Simulation::new(dice.bits(), rates),
        dice,
        plan: plan.clone(),
        levels: BTreeMap::new(),
        places: Vec::new(),
        erring: Vec::new(),
        apart: None,
        steps: BTreeMap::new(),
        healed_ms: 0,
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
        self.plan_day();
        self.pass_day();
        self.heal();
        self.converge()?;
        self.check()?;
        self.check_replay()?;
        self.note_rejections();
        self.check_restart()
    }

    // ---- the federation ------------------------------------------------------------------------------

    fn found(&mut self) -> Result<(), String> {
        let (least, most) = self.plan.machines;
        // Small ones more often: the work grows with the square.
        let mut drawn = || self.dice.between(least as u64, most as u64);
        for i in 0..drawn().min(drawn()) {
            let (name, heartbeat_ms) = (format!("node{i}"), self.plan.heartbeat_ms);
            self.simulation.add(NodeSettings { name, heartbeat_ms, ..NodeSettings::default() });
        }
        self.federate_all()?;
        for owner in self.simulation.seats() {
            for i in 0..self.dice.between(1, 2) {
                let place = Place { owner, name: format!("document{i}") };
                let create = Command::Create { name: place.name.clone(), kind: Kind::Map };
                self.simulation.ask(owner, create).map_err(|e| format!("{owner:?} cannot create: {e}"))?;
                self.places.push(place);
            }
        }
        Ok(())
    }

    /// A ring, so that nobody stands alone, and chords: all of them in half of the runs.
    fn federate_all(&mut self) -> Result<(), String> {
        let seats = self.simulation.seats();
        let chords = if self.dice.chance(500) { 1000 } else { self.dice.between(100, 900) as u32 };
        for (i, a) in seats.iter().enumerate() {
            for (j, b) in seats.iter().enumerate().skip(i + 1) {
                let in_ring = j == i + 1 || (i == 0 && j + 1 == seats.len());
                if !in_ring && !self.dice.chance(chords) {
                    continue;
                }
                let (inviter, joiner) = if self.dice.chance(500) { (*a, *b) } else { (*b, *a) };
                let level = if self.dice.chance(150) { TrustLevel::Observer } else { TrustLevel::Trusted };
                self.simulation.federate(inviter, joiner, level, HOUR_MS)?;
                self.levels.insert((inviter, joiner), level);
                self.levels.insert((joiner, inviter), TrustLevel::Trusted);
            }
        }
        Ok(())
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

    // ---- the day -------------------------------------------------------------------------------------

    fn at(&mut self, at_ms: u64, step: Step) {
        self.planned += 1;
        self.steps.insert((at_ms, self.planned), step);
    }

    fn some_time(&mut self) -> u64 {
        self.simulation.time_ms() + self.dice.below(self.plan.faulty_ms)
    }

    fn plan_day(&mut self) {
        let seats = self.simulation.seats();
        let mut writes = 0;
        while writes < self.plan.writes + self.plan.writes / 4 {
            // Alone, or many within a minute.
            let burst = if self.dice.chance(300) { self.dice.between(2, 20) } else { 1 };
            let at_ms = self.some_time();
            for _ in 0..burst {
                let later_ms = self.dice.below(MINUTE_MS);
                self.at(at_ms + later_ms, Step::Write);
            }
            writes += burst;
        }
        for _ in 0..self.dice.between(10, 40) {
            let at_ms = self.some_time();
            self.at(at_ms, Step::PublishState);
        }
        for _ in 0..self.dice.between(4, 12) {
            let at_ms = self.some_time();
            self.at(at_ms, Step::Crash);
        }
        for _ in 0..self.dice.between(5, 14) {
            let at_ms = self.some_time();
            self.at(at_ms, Step::Part);
        }
        // Fewer than half of anybody's peers err, else there is no telling who is right.
        let fewest =
            seats.iter().map(|s| self.levels.keys().filter(|(a, _)| a == s).count()).min().unwrap_or(0);
        let mut order = seats.clone();
        self.dice.shuffle(&mut order);
        self.erring = order.into_iter().take(if fewest >= 5 { 2 } else { 1 }).collect();
        for seat in self.erring.clone() {
            for _ in 0..self.dice.between(1, 4) {
                let at_ms = self.some_time();
                self.at(at_ms, Step::Clock(seat));
            }
        }
        for seat in seats {
            let drift_ppm = self.dice.below(301) as i64 - 150;
            self.simulation.faults.count(Fault::ClockDrift);
            self.simulation.set_clock(seat, WallClock { drift_ppm, ..WallClock::default() });
        }
        self.part_for_good();
    }

    /// Two machines with a trusted third between them may never meet: all goes through the third.
    fn part_for_good(&mut self) {
        let seats = self.simulation.seats();
        let mut apart = Vec::new();
        for a in &seats {
            for b in seats.iter().filter(|b| a < b && self.writes(*a, **b) && self.writes(**b, *a)) {
                let between = |c: &&Seat| {
                    [*a, *b].into_iter().all(|x| x != **c && self.writes(x, **c) && self.writes(**c, x))
                };
                if seats.iter().any(|c| between(&c)) {
                    apart.push((*a, *b));
                }
            }
        }
        if self.dice.chance(600) {
            self.apart = self.dice.pick(&apart).copied();
        }
        if let Some((a, b)) = self.apart {
            self.simulation.cut(a, b);
        }
    }

    fn pass_day(&mut self) {
        let begin_ms = self.simulation.time_ms();
        let end_ms = begin_ms + self.plan.faulty_ms;
        while let Some(((at_ms, _), step)) = self.steps.pop_first() {
            if at_ms > end_ms + 48 * HOUR_MS {
                break;
            }
            self.simulation.run_until(at_ms);
            self.take(step);
        }
        self.simulation.run_until(end_ms);
        for _ in 0..10 * self.plan.writes {
            if self.report.writes >= self.plan.writes {
                break;
            }
            self.simulation.run_for(MINUTE_MS);
            self.take(Step::Write);
        }
        self.report.faulty_ms = self.simulation.time_ms() - begin_ms;
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write => self.write(),
            Step::PublishState => self.publish_state(),
            Step::Crash => self.crash(),
            Step::Restart(seat) => self.simulation.restart(seat),
            Step::Part => self.part(),
            Step::Cut(a, b) => self.simulation.cut(a, b),
            Step::Mend(wires) => {
                for (a, b) in wires.into_iter().filter(|wire| Some(*wire) != self.apart) {
                    self.simulation.mend(a, b);
                }
            }
            Step::Clock(seat) => {
                let clock = WallClock::draw(&mut self.dice);
                self.simulation.faults.count(if clock.unset { Fault::ClockUnset } else { Fault::ClockJump });
                self.simulation.set_clock(seat, clock);
            }
        }
    }

    fn running(&self) -> Vec<Seat> {
        self.simulation.seats().into_iter().filter(|seat| self.simulation.is_running(*seat)).collect()
    }

    fn restart_later(&mut self, seat: Seat) {
        let longest =
            *self.dice.pick(&[10_000, MINUTE_MS, 20 * MINUTE_MS, 3 * HOUR_MS]).unwrap_or(&MINUTE_MS);
        let at_ms = self.simulation.time_ms() + self.dice.between(1, longest);
        self.at(at_ms, Step::Restart(seat));
    }

    fn crash(&mut self) {
        if let Some(seat) = self.dice.pick(&self.running()).copied() {
            self.simulation.faults.count(Fault::Crash);
            self.simulation.crash(seat);
            self.restart_later(seat);
        }
    }

    fn part(&mut self) {
        let mut seats = self.simulation.seats();
        self.dice.shuffle(&mut seats);
        let now_ms = self.simulation.time_ms();
        let longest = *self.dice.pick(&[MINUTE_MS, 30 * MINUTE_MS, 5 * HOUR_MS]).unwrap_or(&MINUTE_MS);
        let until_ms = now_ms + self.dice.between(MINUTE_MS / 2, longest);
        let kind = self.dice.below(4);
        let size = if kind == 2 { 1 } else { self.dice.between(1, seats.len() as u64 / 2) as usize };
        let (inside, outside) = seats.split_at(size.min(seats.len()));
        let wires: Vec<(Seat, Seat)> =
            inside.iter().flat_map(|a| outside.iter().map(|b| (*a.min(b), *a.max(b)))).collect();
        let noticed = self.dice.chance(500);
        match kind {
            0 => {
                self.simulation.faults.count(Fault::Partition);
                for (a, b) in &wires {
                    self.simulation.silence(*a, *b, noticed);
                    self.simulation.silence(*b, *a, noticed);
                }
            }
            1 => {
                self.simulation.faults.count(Fault::OneWay);
                let inside: BTreeSet<Seat> = inside.iter().copied().collect();
                for (a, b) in &wires {
                    let (from, to) = if inside.contains(a) { (*a, *b) } else { (*b, *a) };
                    self.simulation.silence(from, to, noticed);
                }
            }
            2 => {
                self.simulation.faults.count(Fault::Isolation);
                for (a, b) in &wires {
                    self.simulation.cut(*a, *b);
                }
            }
            _ => {
                // Pulled one by one, plugged in another order.
                self.simulation.faults.count(Fault::Swizzle);
                let mut back = wires.clone();
                self.dice.shuffle(&mut back);
                for (i, (a, b)) in wires.iter().enumerate() {
                    self.at(now_ms + i as u64 * 2_000, Step::Cut(*a, *b));
                }
                for (i, wire) in back.into_iter().enumerate() {
                    self.at(until_ms + i as u64 * 3_000, Step::Mend(vec![wire]));
                }
            }
        }
        if kind < 3 {
            self.at(until_ms, Step::Mend(wires));
        }
    }

    // ---- writes --------------------------------------------------------------------------------------

    fn write(&mut self) {
        let running = self.running();
        let Some(writer) = self.dice.pick(&running).copied() else { return };
        let Some(place) = self.dice.pick(&self.places).cloned() else { return };
        if !self.reads(place.owner, writer) && place.owner != writer {
            return self.write_elsewhere(writer);
        }
        if !self.writes(place.owner, writer) {
            return self.intrude(writer, &place);
        }
        let own = self.dice.chance(500);
        let doc = place.text(&self.simulation);
        let path = match own {
            true => vec!["own".to_owned(), format!("node{}", writer.0), format!("k{}", self.dice.below(6))],
            false => vec!["shared".to_owned(), format!("k{}", self.dice.below(8))],
        };
        let key = KeyPath::new(path).expect("short segments");
        let deletes = self.dice.chance(120);
        let (command, value) = if deletes {
            (Command::Del { doc, key: key.clone() }, None)
        } else {
            let value = self.value(!own);
            (Command::Set { doc, key: key.clone(), value: value.clone() }, Some(value))
        };
        let result = if self.dice.chance(25) {
            self.simulation.faults.count(Fault::CrashAmidWrite);
            let outputs = self.dice.below(6) as usize;
            let result = self.simulation.ask_and_crash(writer, command, outputs);
            self.restart_later(writer);
            result
        } else {
            Some(self.simulation.ask(writer, command))
        };
        match result {
            Some(Ok(_)) => {
                self.report.writes += 1;
                if own {
                    self.checker.acknowledged(&place, &key, value, self.simulation.time_ms());
                }
            }
            Some(Err(CommandError::UnknownKey { .. })) if deletes => {}
            Some(Err(CommandError::ReadOnly(_) | CommandError::UnknownDocument(_))) => {
                self.report.refused += 1
            }
            Some(Err(error)) => {
                self.report.wrongs.push(format!("{writer:?} cannot write {place:?}: {error}"))
            }
            None if own => self.checker.attempted(&place, &key, value),
            None => {}
        }
    }

    /// The document drawn is none of the writer's: into one of its own, then.
    fn write_elsewhere(&mut self, writer: Seat) {
        let Some(place) = self.places.iter().find(|place| place.owner == writer).cloned() else { return };
        let key = KeyPath::new(vec!["own".into(), format!("node{}", writer.0), "elsewhere".into()]);
        let key = key.expect("short segments");
        let value = self.value(false);
        let doc = place.text(&self.simulation);
        match self.simulation.ask(writer, Command::Set { doc, key: key.clone(), value: value.clone() }) {
            Ok(_) => {
                self.report.writes += 1;
                self.checker.acknowledged(&place, &key, Some(value), self.simulation.time_ms());
            }
            Err(error) => {
                self.report.wrongs.push(format!("{writer:?} cannot write its own {place:?}: {error}"))
            }
        }
    }

    /// Somebody who may only read tries to write: it hears so, and nothing comes of it.
    fn intrude(&mut self, writer: Seat, place: &Place) {
        let key = KeyPath::new(vec!["intruder".into(), format!("node{}", writer.0)]).expect("short segments");
        let doc = place.text(&self.simulation);
        match self.simulation.ask(writer, Command::Set { doc, key, value: Value::from(1u64) }) {
            Err(CommandError::ReadOnly(_) | CommandError::UnknownDocument(_)) => self.report.refused += 1,
            other => {
                self.report
                    .wrongs
                    .push(format!("{writer:?} may only read {place:?}, and writing gave {other:?}"));
            }
        }
    }

    fn value(&mut self, spread: bool) -> Value {
        drawn_value(&mut self.dice, spread)
    }

    fn publish_state(&mut self) {
        let running = self.running();
        let Some(seat) = self.dice.pick(&running).copied() else { return };
        let state = drawn_state(&mut self.dice, seat, self.simulation.time_ms());
        if let Err(error) = self.simulation.ask(seat, Command::PublishState { state }) {
            self.report.wrongs.push(format!("{seat:?} cannot publish its state: {error}"));
        }
    }

    // ---- after the faults ----------------------------------------------------------------------------

    /// The network and the clocks do what they should from now on. Who had a wrong clock writes once more
    /// in each document it wrote, so that its stamps are put right.
    fn heal(&mut self) {
        self.healed_ms = self.simulation.time_ms();
        self.simulation.rates = Rates::CLEAN;
        let seats = self.simulation.seats();
        for seat in &seats {
            self.simulation.set_clock(*seat, WallClock::default());
            self.simulation.restart(*seat);
        }
        for (i, a) in seats.iter().enumerate() {
            for b in seats.iter().skip(i + 1).filter(|b| Some((*a, **b)) != self.apart) {
                self.simulation.mend(*a, *b);
            }
        }
        self.simulation.run_for(MINUTE_MS);
        for seat in self.erring.clone() {
            for place in self.places.clone() {
                if self.writes(place.owner, seat) {
                    self.restamp(seat, &place);
                }
            }
        }
    }

    fn restamp(&mut self, seat: Seat, place: &Place) {
        let key = KeyPath::new(vec!["own".into(), format!("node{}", seat.0), "restamp".into()]);
        let key = key.expect("short segments");
        let doc = place.text(&self.simulation);
        let value = Value::from(self.dice.bits());
        match self.simulation.ask(seat, Command::Set { doc, key: key.clone(), value: value.clone() }) {
            Ok(_) => self.checker.acknowledged(place, &key, Some(value), self.simulation.time_ms()),
            Err(error) => {
                self.report.wrongs.push(format!("{seat:?} cannot write {place:?} after all: {error}"))
            }
        }
    }

    fn in_step(&mut self) -> Result<(), String> {
        let levels = self.levels.clone();
        let level =
            |who: Seat, whom: Seat| levels.get(&(who, whom)).copied().unwrap_or(TrustLevel::Untrusted);
        let reads = |owner: Seat, reader: Seat| {
            level(owner, reader) >= TrustLevel::Observer && level(reader, owner) == TrustLevel::Trusted
        };
        in_step(&mut self.simulation, &self.places, reads)?;
        states_in_step(&mut self.simulation, |owner, reader| {
            level(owner, reader) >= TrustLevel::Observer && level(reader, owner) >= TrustLevel::Observer
        })
    }

    /// In step within the plan's bound.
    fn converge(&mut self) -> Result<(), String> {
        loop {
            let so_far_ms = self.simulation.time_ms() - self.healed_ms;
            match self.in_step() {
                Ok(()) => {
                    self.report.converged_ms = so_far_ms;
                    return Ok(());
                }
                Err(why) if so_far_ms >= self.plan.converge_ms => {
                    return Err(format!("not in step {so_far_ms} ms after the faults: {why}"));
                }
                Err(_) => self.simulation.run_for((so_far_ms / 4).clamp(500, MINUTE_MS)),
            }
        }
    }

    fn check(&mut self) -> Result<(), String> {
        for place in self.places.clone() {
            let mut seats = self.simulation.seats();
            seats.retain(|seat| *seat == place.owner || self.reads(place.owner, *seat));
            let content = same_content(&mut self.simulation, &place, &seats)?;
            if content.get("intruder").is_some() {
                return Err(format!("{place:?} holds what somebody wrote who may only read"));
            }
            self.checker.lost(&mut self.simulation, &place, place.owner, |_| true)?;
        }
        Ok(())
    }

    /// Old messages again change nothing.
    fn check_replay(&mut self) -> Result<(), String> {
        let before = self.hashes();
        self.simulation.replay();
        self.simulation.run_for(2 * MINUTE_MS);
        match self.hashes() == before {
            true => Ok(()),
            false => Err("messages received before changed something when they came again".into()),
        }
    }

    /// What was in step is so after all machines lost power at once.
    fn check_restart(&mut self) -> Result<(), String> {
        let before = self.hashes();
        for seat in self.simulation.seats() {
            self.simulation.crash(seat);
        }
        for seat in self.simulation.seats() {
            self.simulation.restart(seat);
        }
        let after = self.hashes();
        if after != before {
            return Err("documents read differently after all machines lost power".into());
        }
        self.simulation.run_for(self.plan.heartbeat_ms);
        self.in_step().map_err(|why| format!("out of step after all machines lost power: {why}"))
    }

    /// What the nodes refused since each of them last started.
    fn note_rejections(&mut self) {
        for seat in self.running() {
            if let Ok(Reply::Status(status)) = self.simulation.ask(seat, Command::Status) {
                for (reason, count) in status.rejections {
                    *self.report.rejections.entry(reason).or_default() += count;
                }
            }
        }
    }

    fn hashes(&mut self) -> Vec<crate::checker::Hashes> {
        let seats = self.simulation.seats();
        seats.into_iter().map(|seat| crate::checker::hashes(&mut self.simulation, seat)).collect()
    }

    fn close(mut self) -> Report {
        self.report.machines = self.simulation.seats().len() as u64;
        self.report.faults = self.simulation.faults.clone();
        self.report.carry(self.simulation.traffic());
        self.report.digest = self.simulation.digest();
        self.report.wrongs.extend(self.simulation.wrongs().iter().cloned());
        self.report
    }
}

/// Some value; a map is spread over keys of its own.
pub(crate) fn drawn_value(dice: &mut Dice, spread: bool) -> Value {
    let number = dice.bits() >> dice.below(64);
    match dice.below(if spread { 7 } else { 6 }) {
        0 => Value::from(number),
        1 => Value::from(number as i64),
        2 => Value::from(f64::from_bits(dice.bits() & !(0x7ff << 52) | (1023 << 52))),
        3 => Value::from(number.is_multiple_of(2)),
        4 => Value::from("ebb and flow ".repeat(dice.below(12) as usize).as_str()),
        5 => Value::array((0..dice.below(5)).map(|i| Value::from(number ^ i))),
        _ => Value::map([("left", Value::from(number)), ("right", Value::from("tide"))]),
    }
}

/// Some node state of a machine.
pub(crate) fn drawn_state(dice: &mut Dice, seat: Seat, time_ms: u64) -> NodeState {
    let status = if dice.chance(500) { AppStatus::Running } else { AppStatus::Stopped };
    NodeState {
        node_name: Some(format!("node{}", seat.0)),
        apps: vec![App { id: "harbour".into(), status, version: Some("1.2".into()) }],
        cpu_usage_percent: Some(dice.below(1000) as f64 / 10.0),
        uptime_secs: Some(time_ms / 1000),
        ..NodeState::default()
    }
}
