//! What goes wrong: losses, bursts, stations out of earshot, damage, repetition, replays; radios and cables pulled;
//! power lost, disks restored, clocks wrong.

use tombolo_mesh::emulated::{Faults as AirFaults, Loss};

use crate::sim::Seat;
use crate::sim::faults::{Fault, Rates, WallClock};
use crate::sim::isles::{Backup, Day, HOUR_MS, MINUTE_MS};

/// Backups kept per machine.
const BACKUPS_MAX: usize = 3;

/// Something that happens to the federation.
#[derive(Debug)]
pub(super) enum Step {
    Deed,
    Weather,
    Replay,
    Radio { seat: Seat, plugged: bool },
    PullRadio,
    Cable { seat: Seat, plugged: bool },
    PullCable,
    Crash,
    Restart(Seat),
    BackUp,
    Restore,
    Clock,
}

impl Day {
    fn at(&mut self, at_ms: u64, step: Step) {
        self.planned += 1;
        self.steps.insert((at_ms, self.planned), step);
    }

    fn soon(&mut self, longest_ms: u64, step: Step) {
        let at_ms = self.simulation.time_ms() + self.dice.between(MINUTE_MS / 6, longest_ms);
        self.at(at_ms, step);
    }

    pub(super) fn plan_day(&mut self) {
        let (shortest, longest) = self.plan.faulty_ms;
        let faulty_ms = self.dice.between(shortest, longest);
        self.report.faulty_ms = faulty_ms;
        let deeds = self.dice.between(self.plan.deeds / 2, self.plan.deeds);
        type Often = (u64, u64, fn() -> Step);
        let often: [Often; 9] = [
            (deeds, deeds, || Step::Deed),
            (1, 4, || Step::Weather),
            (0, 3, || Step::Replay),
            (0, 3, || Step::PullRadio),
            (0, 3, || Step::PullCable),
            (0, 5, || Step::Crash),
            (1, 4, || Step::BackUp),
            (0, 2, || Step::Restore),
            (0, 3, || Step::Clock),
        ];
        for (least, most, step) in often {
            for _ in 0..self.dice.between(least, most) {
                let at_ms = self.simulation.time_ms() + self.dice.below(faulty_ms);
                self.at(at_ms, step());
            }
        }
        let mut seats = self.simulation.seats();
        self.dice.shuffle(&mut seats);
        self.erring = seats.iter().copied().take(usize::from(self.dice.chance(400))).collect();
        for seat in seats {
            let clock = self.right_clock();
            self.simulation.set_clock(seat, clock);
        }
        for seat in self.erring.clone() {
            for (link, ..) in self.simulation.radios(seat) {
                self.simulation.monitor().excuse(link);
            }
        }
        self.simulation.rates = Rates::draw(&mut self.dice);
        self.change_weather();
    }

    pub(super) fn pass_day(&mut self) {
        let end_ms = self.simulation.time_ms() + self.report.faulty_ms;
        while let Some(((at_ms, _), step)) = self.steps.pop_first() {
            if at_ms > end_ms {
                break;
            }
            if at_ms > self.simulation.time_ms() {
                self.simulation.run_until(at_ms);
            }
            self.take(step);
            self.note_secrets();
            if let Err(wrong) = self.check_canaries() {
                return self.report.wrongs.push(format!("at {} ms: {wrong}", self.simulation.time_ms()));
            }
        }
        self.simulation.run_until(end_ms.max(self.simulation.time_ms()));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Deed => self.deed(),
            Step::Weather => self.change_weather(),
            Step::Replay => {
                if let Some(channel) = self.dice.pick(&self.simulation.channels()).copied() {
                    self.simulation.replay_on_air(channel);
                }
            }
            Step::Radio { seat, plugged } => self.plug_radios(seat, plugged),
            Step::PullRadio => {
                if let Some(seat) = self.dice.pick(&self.simulation.seats()).copied() {
                    self.simulation.faults.count(Fault::RadioPulled);
                    self.plug_radios(seat, false);
                    self.soon(HOUR_MS, Step::Radio { seat, plugged: true });
                }
            }
            Step::Cable { seat, plugged } => self.plug_cable(seat, plugged),
            Step::PullCable => {
                let cabled: Vec<Seat> = self.cabled.iter().copied().collect();
                if let Some(seat) = self.dice.pick(&cabled).copied() {
                    self.simulation.faults.count(Fault::CablePulled);
                    self.plug_cable(seat, false);
                    self.soon(2 * HOUR_MS, Step::Cable { seat, plugged: true });
                }
            }
            Step::Crash => {
                if let Some(seat) = self.dice.pick(&self.running()).copied() {
                    self.simulation.faults.count(Fault::Crash);
                    self.crash_for_a_while(seat);
                }
            }
            Step::Restart(seat) => self.simulation.restart(seat),
            Step::BackUp => self.back_up(),
            Step::Restore => self.restore(),
            Step::Clock => {
                if let Some(seat) = self.dice.pick(&self.erring.clone()).copied() {
                    let clock = WallClock::draw(&mut self.dice);
                    self.simulation.faults.count(if clock.unset {
                        Fault::ClockUnset
                    } else {
                        Fault::ClockJump
                    });
                    self.simulation.set_clock(seat, clock);
                }
            }
        }
    }

    pub(super) fn crash_for_a_while(&mut self, seat: Seat) {
        self.simulation.crash(seat);
        let longest = *self.dice.pick(&[MINUTE_MS, 20 * MINUTE_MS, 2 * HOUR_MS]).unwrap_or(&MINUTE_MS);
        self.soon(longest, Step::Restart(seat));
    }

    // ---- radios and cables -------------------------------------------------------------------------------

    fn change_weather(&mut self) {
        self.simulation.faults.count(Fault::BadAir);
        for channel in self.simulation.channels() {
            let permille = self.dice.below(500) as u32;
            let loss = match self.dice.chance(500) {
                true => Loss::single(permille),
                false => Loss::bursts(permille, 2 + self.dice.below(8) as u32),
            };
            let faults = AirFaults {
                corrupt_permille: self.dice.below(80) as u32,
                duplicate_permille: self.dice.below(80) as u32,
            };
            let air = self.simulation.air(channel);
            air.set_loss(loss);
            air.set_faults(faults);
            self.hide_stations(channel);
        }
    }

    /// Two of a channel may not hear each other, or one not the other.
    fn hide_stations(&mut self, channel: crate::sim::ether::ChannelId) {
        let mut radios: Vec<_> = self.simulation.seats().into_iter().collect();
        self.dice.shuffle(&mut radios);
        let on_it: Vec<_> = radios
            .into_iter()
            .flat_map(|seat| self.simulation.radios(seat))
            .filter(|(_, of, _)| *of == channel)
            .map(|(.., radio)| radio)
            .collect();
        let (hidden, one_way) = (self.dice.chance(300), self.dice.chance(300));
        let air = self.simulation.air(channel);
        for a in &on_it {
            on_it.iter().for_each(|b| air.set_hears(*a, *b, true));
        }
        if let (true, [a, b, ..]) = (hidden, on_it.as_slice()) {
            air.set_hears(*a, *b, false);
            air.set_hears(*b, *a, one_way);
            self.simulation.faults.count(Fault::HiddenStations);
        }
    }

    fn plug_radios(&mut self, seat: Seat, plugged: bool) {
        for (link, ..) in self.simulation.radios(seat) {
            match plugged {
                true => self.simulation.plug_radio(link),
                false => self.simulation.unplug_radio(link),
            }
        }
    }

    pub(super) fn plug_cable(&mut self, seat: Seat, plugged: bool) {
        let others: Vec<Seat> = self.cabled.iter().copied().filter(|other| *other != seat).collect();
        for other in others {
            match plugged {
                true => self.simulation.mend(seat, other),
                false => self.simulation.cut(seat, other),
            }
        }
    }

    // ---- disks -------------------------------------------------------------------------------------------

    fn back_up(&mut self) {
        let Some(seat) = self.dice.pick(&self.simulation.seats()).copied() else { return };
        let backup = Backup { store: self.simulation.back_up(seat), at_ms: self.simulation.time_ms() };
        let kept = self.backups.entry(seat).or_default();
        kept.push(backup);
        if kept.len() > BACKUPS_MAX {
            kept.remove(0);
        }
    }

    /// A disk dies, and a backup takes its place. That takes more than an hour: what the old disk knew of the last
    /// hour's airtime died with it.
    fn restore(&mut self) {
        let clocks = self.erring.clone();
        let seats: Vec<Seat> = self.backups.keys().copied().filter(|seat| !clocks.contains(seat)).collect();
        let Some(seat) = self.dice.pick(&seats).copied() else { return };
        let Some(backups) = self.backups.get_mut(&seat) else { return };
        let which = self.dice.index(backups.len());
        let Some(backup) = backups.get(which) else { return };
        self.simulation.faults.count(Fault::DiskRestored);
        self.simulation.crash(seat);
        self.simulation.run_for(HOUR_MS + MINUTE_MS);
        let at_ms = backup.at_ms;
        self.simulation.restore(seat, &backup.store);
        backups.retain(|backup| backup.at_ms <= at_ms);
        let own = format!("node{}", seat.0);
        self.checker.set_back(at_ms, |_, key| key.segments().get(1).is_some_and(|whose| *whose == own));
        // A snapshot is what its owner says now.
        self.snapshots.retain(|place, _| place.owner != seat);
    }
}
