//! A federation on a LAN, drawn from a seed: its trust, its documents, and a day of writes under faults on the wires,
//! crashes and wrong clocks. Then the faults end, and what must hold is checked.

use tombolo::layer::Kind;
use tombolo::node::{CommandError, NodeSettings, Write};

use crate::checker::{DocumentRef, Hashes, hashes, in_step, same_content, states_in_step};
use crate::day::{Day, Patience, WriteOdds, draw_value, key_of, wait_in_step};
use crate::faults::{Fault, Rates, WallClock};
use crate::report::RunReport;
use crate::rng::Rng;
use crate::{HOUR, MINUTE, MS, SECOND, Seat, Simulation};
use tombolo::time::{Millis, Mono};
use tombolo_delta::Value;

/// How much happens in a run.
#[derive(Clone, Debug)]
pub struct SwarmPlan {
    /// Fewest and most machines.
    pub machines: (usize, usize),
    /// Virtual time with all faults on, after all have joined.
    pub faulty: Millis,
    /// Acknowledged writes, at least.
    pub writes: u64,
    /// Heartbeat of the nodes. Longer than on a real LAN: a virtual day of idle chatter proves little.
    pub heartbeat: Millis,
    /// In step at the latest so long after the faults.
    pub converge: Millis,
}

impl Default for SwarmPlan {
    fn default() -> Self {
        let heartbeat = 10 * MINUTE;
        SwarmPlan { machines: (3, 8), faulty: 24 * HOUR, writes: 200, heartbeat, converge: 3 * heartbeat }
    }
}

/// What the plan does to the federation.
#[derive(Debug)]
enum SwarmAction {
    Write,
    PublishState,
    Race,
    Crash,
    Restart(Seat),
    Part,
    Cut(Seat, Seat),
    Mend(Vec<(Seat, Seat)>),
    Clock(Seat),
}

const ODDS: WriteOdds = WriteOdds { own_permille: 500, own_keys: 6, shared_keys: 8, crash_permille: 25 };
/// Members that may only read, per thousand.
const OBSERVERS_PERMILLE: u32 = 150;
/// Races in a day.
const RACES: u64 = 8;

/// One run of the scenario.
struct Swarm {
    day: Day<SwarmAction>,
    plan: SwarmPlan,
    documents: Vec<DocumentRef>,
    /// Two machines that never reach each other directly.
    parted: Option<(Seat, Seat)>,
    healed: Mono,
    /// Draws the races; what else a seed does stays the same.
    races: Rng,
}

impl AsMut<Simulation> for Swarm {
    fn as_mut(&mut self) -> &mut Simulation {
        &mut self.day.simulation
    }
}

/// Runs a seed. What must never happen and did stands in the report's `wrongs`.
pub fn run(seed: u64, plan: &SwarmPlan) -> RunReport {
    let mut rng = Rng::new(seed);
    let rates = Rates::draw(&mut rng);
    let mut simulation = Simulation::new(rng.bits(), rates);
    simulation.watch_by_oracle();
    let day = Day::new(simulation, rng);
    let mut swarm = Swarm {
        day,
        plan: plan.clone(),
        documents: Vec::new(),
        parted: None,
        healed: Mono::ZERO,
        races: Rng::new(!seed),
    };
    if let Err(wrong) = swarm.live() {
        swarm.day.wrong(wrong);
    }
    swarm.day.close()
}

impl Swarm {
    fn live(&mut self) -> Result<(), String> {
        self.set_up()?;
        self.plan_day();
        self.pass_day();
        self.heal();
        self.converge()?;
        self.check()?;
        self.check_replay()?;
        self.day.note_rejections();
        self.check_restart()
    }

    // ---- the federation ------------------------------------------------------------------------------

    fn set_up(&mut self) -> Result<(), String> {
        for i in 0..self.day.draw_machines(self.plan.machines) {
            let (name, heartbeat) = (format!("node{i}"), self.plan.heartbeat);
            self.day.simulation.add(NodeSettings { name, heartbeat, ..NodeSettings::default() });
        }
        // All pairs know each other in half of the runs.
        let chords = if self.day.rng.chance(500) { 1000 } else { self.day.rng.between(100, 900) as u32 };
        self.day.federate_all(chords, OBSERVERS_PERMILLE)?;
        for owner in self.day.simulation.seats() {
            for i in 0..self.day.rng.between(1, 2) {
                let document = DocumentRef { owner, name: format!("document{i}") };
                let create = Write::Create { name: document.name.clone(), kind: Kind::Map };
                let created = self.day.simulation.ask(owner, create);
                created.map_err(|e| format!("{owner:?} cannot create: {e}"))?;
                self.documents.push(document);
            }
        }
        Ok(())
    }

    // ---- the day -------------------------------------------------------------------------------------

    fn some_time(&mut self) -> Mono {
        self.day.simulation.time() + self.day.rng.length_below(self.plan.faulty)
    }

    fn plan_day(&mut self) {
        self.plan_writes();
        self.plan_some((10, 40), || SwarmAction::PublishState);
        self.plan_some((4, 12), || SwarmAction::Crash);
        self.plan_some((5, 14), || SwarmAction::Part);
        self.plan_clocks();
        self.part_for_good();
        for _ in 0..RACES {
            let at = self.day.simulation.time() + self.races.length_below(self.plan.faulty);
            self.day.schedule.at(at, SwarmAction::Race);
        }
    }

    fn plan_writes(&mut self) {
        let mut writes = 0;
        while writes < self.plan.writes + self.plan.writes / 4 {
            // Alone, or many within a minute.
            let burst = if self.day.rng.chance(300) { self.day.rng.between(2, 20) } else { 1 };
            let at = self.some_time();
            for _ in 0..burst {
                let later = self.day.rng.length_below(MINUTE);
                self.day.schedule.at(at + later, SwarmAction::Write);
            }
            writes += burst;
        }
    }

    fn plan_some(&mut self, (least, most): (u64, u64), action: impl Fn() -> SwarmAction) {
        for _ in 0..self.day.rng.between(least, most) {
            let at = self.some_time();
            self.day.schedule.at(at, action());
        }
    }

    /// All clocks drift; few of them go wrong.
    fn plan_clocks(&mut self) {
        let seats = self.day.simulation.seats();
        // Fewer than half of the peers of any machine err, else none can find out which clocks are right.
        let fewest = seats.iter().map(|s| self.day.trust.pairs().filter(|((a, _), _)| a == s).count());
        let fewest = fewest.min().unwrap_or(0);
        let mut order = seats.clone();
        self.day.rng.shuffle(&mut order);
        self.day.erring = order.into_iter().take(if fewest >= 5 { 2 } else { 1 }).collect();
        for seat in self.day.erring.clone() {
            self.plan_some((1, 4), || SwarmAction::Clock(seat));
        }
        for seat in seats {
            let clock = self.day.draw_right_clock();
            self.day.simulation.faults.count(Fault::ClockDrift);
            self.day.simulation.set_clock(seat, clock);
        }
    }

    /// Two machines with a trusted third between them may never meet: all goes through the third.
    fn part_for_good(&mut self) {
        let (seats, trust) = (self.day.simulation.seats(), &self.day.trust);
        let share = |a: Seat, b: Seat| trust.writes(a, b) && trust.writes(b, a);
        let mut candidates = Vec::new();
        for a in &seats {
            for b in seats.iter().filter(|b| a < b && share(*a, **b)) {
                let is_between = |c: &Seat| [*a, *b].into_iter().all(|x| x != *c && share(x, *c));
                if seats.iter().any(is_between) {
                    candidates.push((*a, *b));
                }
            }
        }
        if self.day.rng.chance(600) {
            self.parted = self.day.rng.pick(&candidates).copied();
        }
        if let Some((a, b)) = self.parted {
            self.day.simulation.cut(a, b);
        }
    }

    fn pass_day(&mut self) {
        let begin = self.day.simulation.time();
        let end = begin + self.plan.faulty;
        while let Some((at, action)) = self.day.schedule.pop() {
            if at > end + 48 * HOUR {
                break;
            }
            self.day.simulation.run_until(at);
            self.carry_out(action);
        }
        self.day.simulation.run_until(end);
        for _ in 0..10 * self.plan.writes {
            if self.day.report.writes >= self.plan.writes {
                break;
            }
            self.day.simulation.run_for(MINUTE);
            self.carry_out(SwarmAction::Write);
        }
        self.day.report.faulty = self.day.simulation.time().since(begin);
    }

    fn carry_out(&mut self, action: SwarmAction) {
        match action {
            SwarmAction::Write => self.write(),
            SwarmAction::PublishState => self.day.publish_state(),
            SwarmAction::Race => self.race(),
            SwarmAction::Crash => self.crash(),
            SwarmAction::Restart(seat) => self.day.simulation.restart(seat),
            SwarmAction::Part => self.part(),
            SwarmAction::Cut(a, b) => self.day.simulation.cut(a, b),
            SwarmAction::Mend(wires) => {
                for (a, b) in wires.into_iter().filter(|wire| Some(*wire) != self.parted) {
                    self.day.simulation.mend(a, b);
                }
            }
            SwarmAction::Clock(seat) => self.day.err_clock(seat),
        }
    }

    fn restart_later(&mut self, seat: Seat) {
        let longest = *self.day.rng.pick(&[10 * SECOND, MINUTE, 20 * MINUTE, 3 * HOUR]).unwrap_or(&MINUTE);
        let at = self.day.simulation.time() + self.day.rng.length(MS, longest);
        self.day.schedule.at(at, SwarmAction::Restart(seat));
    }

    fn crash(&mut self) {
        if let Some(seat) = self.day.pick_running() {
            self.day.simulation.faults.count(Fault::Crash);
            self.day.simulation.crash(seat);
            self.restart_later(seat);
        }
    }

    /// Some machines are cut off from the others for a while.
    fn part(&mut self) {
        let mut seats = self.day.simulation.seats();
        self.day.rng.shuffle(&mut seats);
        let now = self.day.simulation.time();
        let longest = *self.day.rng.pick(&[MINUTE, 30 * MINUTE, 5 * HOUR]).unwrap_or(&MINUTE);
        let until = now + self.day.rng.length(MINUTE / 2, longest);
        let kind = self.day.rng.below(4);
        let size = if kind == 2 { 1 } else { self.day.rng.between(1, seats.len() as u64 / 2) as usize };
        let (inside, outside) = seats.split_at(size.min(seats.len()));
        let wires: Vec<(Seat, Seat)> =
            inside.iter().flat_map(|a| outside.iter().map(|b| (*a.min(b), *a.max(b)))).collect();
        let noticed = self.day.rng.chance(500);
        match kind {
            0 => self.silence(&wires, noticed),
            1 => self.silence_one_way(&wires, inside, noticed),
            2 => self.isolate(&wires),
            _ => return self.swizzle(wires, until),
        }
        self.day.schedule.at(until, SwarmAction::Mend(wires));
    }

    fn silence(&mut self, wires: &[(Seat, Seat)], noticed: bool) {
        self.day.simulation.faults.count(Fault::Partition);
        for (a, b) in wires {
            self.day.simulation.silence(*a, *b, noticed);
            self.day.simulation.silence(*b, *a, noticed);
        }
    }

    /// What the machines inside send is swallowed; they receive what is sent to them.
    fn silence_one_way(&mut self, wires: &[(Seat, Seat)], inside: &[Seat], noticed: bool) {
        self.day.simulation.faults.count(Fault::OneWay);
        for (a, b) in wires {
            let (from, to) = if inside.contains(a) { (*a, *b) } else { (*b, *a) };
            self.day.simulation.silence(from, to, noticed);
        }
    }

    fn isolate(&mut self, wires: &[(Seat, Seat)]) {
        self.day.simulation.faults.count(Fault::Isolation);
        for (a, b) in wires {
            self.day.simulation.cut(*a, *b);
        }
    }

    /// The cables are pulled one by one, and plugged in another order.
    fn swizzle(&mut self, wires: Vec<(Seat, Seat)>, until: Mono) {
        self.day.simulation.faults.count(Fault::Swizzle);
        let now = self.day.simulation.time();
        let mut back = wires.clone();
        self.day.rng.shuffle(&mut back);
        for (i, (a, b)) in wires.into_iter().enumerate() {
            self.day.schedule.at(now + i as u64 * 2 * SECOND, SwarmAction::Cut(a, b));
        }
        for (i, wire) in back.into_iter().enumerate() {
            self.day.schedule.at(until + i as u64 * 3 * SECOND, SwarmAction::Mend(vec![wire]));
        }
    }

    // ---- writes --------------------------------------------------------------------------------------

    fn write(&mut self) {
        let Some(writer) = self.day.pick_running() else { return };
        let Some(document) = self.day.rng.pick(&self.documents).cloned() else { return };
        if !self.day.trust.reads(document.owner, writer) && document.owner != writer {
            return self.write_elsewhere(writer);
        }
        if !self.day.trust.writes(document.owner, writer) {
            let is_refusal = |e: &CommandError| {
                matches!(e, CommandError::ReadOnly { .. } | CommandError::UnknownDocument(_))
            };
            return self.day.intrude(writer, &document, is_refusal);
        }
        if self.day.write(writer, &document, &ODDS) {
            self.restart_later(writer);
        }
    }

    /// Two machines that have one time write the same keys at one instant, unseen by each other. Of two stamps of one millisecond
    /// the counter decides, of equal ones the author.
    fn race(&mut self) {
        let Some(document) = self.races.pick(&self.documents).cloned() else { return };
        let mut writers = self.day.running();
        writers
            .retain(|seat| !self.day.erring.contains(seat) && self.day.trust.writes(document.owner, *seat));
        self.races.shuffle(&mut writers);
        let [first, second, ..] = *writers.as_slice() else { return };
        let key = key_of(["shared".to_owned(), format!("k{}", self.races.below(ODDS.shared_keys))]);
        let before = self.races.chance(500).then(|| key_of(["shared".to_owned(), "before".to_owned()]));
        for (seat, before) in [(first, before), (second, None)] {
            let number = Value::from(self.races.bits());
            let pair = Value::map([("left", number.clone()), ("right", number.clone())]);
            let clock = self.day.simulation.clock(seat);
            self.day.simulation.set_clock(seat, WallClock::default());
            for (key, value) in before.iter().map(|key| (key, number.clone())).chain([(&key, pair)]) {
                self.day.set_shared(seat, &document, key, value);
            }
            self.day.simulation.set_clock(seat, clock);
        }
    }

    /// Writes into a document of the writer's own, as the document that was drawn is not readable to it.
    fn write_elsewhere(&mut self, writer: Seat) {
        let Some(document) = self.documents.iter().find(|document| document.owner == writer).cloned() else {
            return;
        };
        let value = draw_value(&mut self.day.rng, false);
        match self.day.set_own(writer, &document, "elsewhere", value) {
            Ok(()) => self.day.report.writes += 1,
            Err(error) => self.day.wrong(format!("{writer:?} cannot write its own {document:?}: {error}")),
        }
    }

    // ---- after the faults ----------------------------------------------------------------------------

    /// The network and the clocks work from now on. A machine whose clock was wrong writes once more in each
    /// document that it may write, so that its stamps are put right.
    fn heal(&mut self) {
        self.healed = self.day.simulation.time();
        self.day.simulation.rates = Rates::CLEAN;
        let seats = self.day.simulation.seats();
        for seat in &seats {
            self.day.simulation.set_clock(*seat, WallClock::default());
            self.day.simulation.restart(*seat);
        }
        for (i, a) in seats.iter().enumerate() {
            for b in seats.iter().skip(i + 1).filter(|b| Some((*a, **b)) != self.parted) {
                self.day.simulation.mend(*a, *b);
            }
        }
        self.day.simulation.run_for(MINUTE);
        for seat in self.day.erring.clone() {
            for document in self.documents.clone() {
                if self.day.trust.writes(document.owner, seat) {
                    self.day.restamp(seat, &document);
                }
            }
        }
    }

    fn in_step(&mut self) -> Result<(), String> {
        let Day { simulation, trust, .. } = &mut self.day;
        in_step(simulation, &self.documents, |owner, reader| trust.reads(owner, reader))?;
        states_in_step(simulation, |owner, reader| trust.are_peers(owner, reader))
    }

    /// The federation is in step within the plan's bound.
    fn converge(&mut self) -> Result<(), String> {
        let patience = Patience {
            began: self.healed,
            within: self.plan.converge,
            pause: (500 * MS, MINUTE),
            pause_part: 4,
        };
        let converged = wait_in_step(self, &patience, Swarm::in_step);
        let failed = |(waited, why): (Millis, String)| {
            format!("not in step {} ms after the faults: {why}", waited.ms())
        };
        self.day.report.converged = converged.map_err(failed)?;
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        for document in self.documents.clone() {
            let mut seats = self.day.simulation.seats();
            seats.retain(|seat| *seat == document.owner || self.day.trust.reads(document.owner, *seat));
            let content = same_content(&mut self.day.simulation, &document, &seats)?;
            if content.get("intruder").is_some() {
                return Err(format!("{document:?} holds what a reader without the right to write wrote"));
            }
            self.day.checker.lost(&mut self.day.simulation, &document, document.owner, |_| true)?;
        }
        Ok(())
    }

    /// Old messages that arrive once more change nothing, once each node has heard the clocks of its peers: a link repeats nothing that was
    /// sent over another, and one that has heard none since its start cannot know that a heartbeat is old.
    fn check_replay(&mut self) -> Result<(), String> {
        self.day.simulation.run_for(self.plan.heartbeat * 2);
        let before = self.hashes();
        self.day.simulation.replay();
        self.day.simulation.run_for(2 * MINUTE);
        match self.hashes() == before {
            true => Ok(()),
            false => Err("messages received before changed something when they came again".into()),
        }
    }

    /// Documents read the same after all machines lost power at once.
    fn check_restart(&mut self) -> Result<(), String> {
        let before = self.hashes();
        for seat in self.day.simulation.seats() {
            self.day.simulation.crash(seat);
        }
        for seat in self.day.simulation.seats() {
            self.day.simulation.restart(seat);
        }
        let after = self.hashes();
        if after != before {
            return Err("documents read differently after all machines lost power".into());
        }
        self.day.simulation.run_for(self.plan.heartbeat);
        self.in_step().map_err(|why| format!("out of step after all machines lost power: {why}"))
    }

    fn hashes(&mut self) -> Vec<Hashes> {
        let seats = self.day.simulation.seats();
        seats.into_iter().map(|seat| hashes(&mut self.day.simulation, seat)).collect()
    }
}
